//! Why a use case failed. Each dialect makes its own answer of it.

use std::time::Duration;

/// Why a use case failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The cloud, its driver or its provider.
    #[error(transparent)]
    Cloud(#[from] ostler_drivers::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] ostler_store::Error),
    /// A component was refused.
    #[error(transparent)]
    Load(#[from] ostler_drivers::LoadError),
    /// No image with this identifier.
    #[error("no image has the id `{0}`")]
    NoImage(String),
    /// No size with this identifier.
    #[error("no size has the id `{0}`")]
    NoSize(String),
    /// No node with this identifier or name.
    #[error("no node is known as `{0}`")]
    NoNode(String),
    /// The assignment service knows a node that the cloud does not have (any more).
    #[error("the cloud has no node `{0}`")]
    NotInCloud(String),
    /// The node is assigned to somebody.
    #[error("node `{node}` is assigned to somebody already")]
    Assigned {
        /// The node.
        node: String,
    },
    /// The service that keeps assignments refused, in its own words.
    #[error("{0}")]
    Refused(String),
    /// The service that keeps assignments does not answer.
    #[error("the assignment service does not answer: {0}")]
    NoAssignments(String),
    /// Neither or no valid credentials.
    #[error("the credentials are not valid")]
    Unauthenticated,
    /// Too many wrong credentials of late.
    #[error("too many wrong credentials; try again later")]
    Throttled(Duration),
    /// The credentials do not permit it.
    #[error("this needs another role")]
    Forbidden,
    /// The same key came with another request.
    #[error("this idempotency key was used before, for another request")]
    KeyReused,
    /// A request with the same key is under way.
    #[error("a request with this idempotency key is still under way")]
    UnderWay,
    /// The effect at the provider is not known yet; the host finds out by itself.
    #[error("the outcome is not known yet; the host finds out by itself (operation {operation}): {reason}")]
    Uncertain {
        /// The durable operation.
        operation: String,
        /// What happened.
        reason: String,
    },
    /// Malformed input.
    #[error("{0}")]
    Invalid(String),
    /// The host is shutting down.
    #[error("the host is shutting down")]
    Stopping,
}

impl Error {
    /// The class of a failure at the cloud.
    pub fn cloud_kind(&self) -> Option<&ostler_drivers::ErrorKind> {
        match self {
            Self::Cloud(error) => Some(&error.kind),
            _ => None,
        }
    }
}
