//! Why a call to a driver failed, and why a component was refused.

use std::time::Duration;

/// The class of a failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// What was named does not exist.
    NotFound,
    /// The request can never succeed as it is.
    Invalid,
    /// The object's present state does not allow it.
    Conflict,
    /// The provider does not accept the credentials.
    Unauthorized,
    /// The credentials do not permit it.
    Forbidden,
    /// A quota is used up.
    Quota,
    /// The provider has no room.
    Capacity,
    /// The provider asks to slow down.
    Throttled,
    /// No such feature.
    Unsupported,
    /// Worth trying again.
    Transient,
    /// The provider tried and failed.
    Failed,
    /// A class that this version does not know, as the driver named it.
    Other(String),
    /// No cloud of this name is configured.
    UnknownCloud,
    /// The cloud has no driver that could be loaded.
    NotLoaded,
    /// The driver trapped.
    Crashed,
    /// The driver did not answer in time, or used more processor time than it may.
    Deadline,
    /// The driver exceeded its memory or the size of an answer.
    Limit,
    /// The driver broke the contract: a page cursor that never ends, `extra` that is no JSON object.
    Contract,
    /// Too many calls are waiting for this cloud, or its circuit breaker is open.
    Unavailable,
}

impl ErrorKind {
    /// A short name for logs and metric labels.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::Invalid => "invalid",
            Self::Conflict => "conflict",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Quota => "quota",
            Self::Capacity => "capacity",
            Self::Throttled => "throttled",
            Self::Unsupported => "unsupported",
            Self::Transient => "transient",
            Self::Failed => "failed",
            Self::Other(_) => "other",
            Self::UnknownCloud => "unknown-cloud",
            Self::NotLoaded => "not-loaded",
            Self::Crashed => "crashed",
            Self::Deadline => "deadline",
            Self::Limit => "limit",
            Self::Contract => "contract",
            Self::Unavailable => "unavailable",
        }
    }

    /// Whether the fault lies in the driver itself (and may trip the breaker), not in what it was asked.
    pub fn is_fault(&self) -> bool {
        matches!(self, Self::Crashed | Self::Deadline | Self::Limit | Self::Contract)
    }

    /// Whether the effect of a mutating call is unknown after this error: it may have happened or not.
    pub fn is_ambiguous(&self) -> bool {
        self.is_fault() || matches!(self, Self::Transient | Self::Failed | Self::Other(_) | Self::Throttled)
    }
}

/// A failed call. The message has been cleared of the cloud's secrets.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{message}")]
pub struct Error {
    /// The class.
    pub kind: ErrorKind,
    /// For people.
    pub message: String,
    /// When to try again, where that is known.
    pub retry_after: Option<Duration>,
    /// Of [`ErrorKind::Deadline`]: whether the driver was waiting when its time was over, most likely for its provider.
    pub waited: bool,
}

impl Error {
    /// An error without a hint when to try again.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None, waited: false }
    }
}

/// Why a component was refused. What ran before still runs.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadError {
    /// More bytes than the configuration admits.
    #[error("the component has {size} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The bytes are not a WebAssembly component.
    #[error("not a WebAssembly component: {0}")]
    NotAComponent(String),
    /// A signature is required, and is missing or wrong.
    #[error("signature: {0}")]
    Signature(String),
    /// An import that the host does not provide, or not to this cloud.
    #[error("cloud `{cloud}`: the component imports `{import}`, {reason}")]
    Import {
        /// The cloud.
        cloud: String,
        /// The import with its version.
        import: String,
        /// Why it is refused, and what would change that.
        reason: String,
    },
    /// An export that is missing or has another type.
    #[error("the component does not fit the contract: {0}")]
    Export(String),
    /// The code could not be compiled.
    #[error("compilation failed: {0}")]
    Compile(String),
    /// A probing call failed.
    #[error("cloud `{cloud}`: {call} failed when probed: {reason}")]
    Probe {
        /// The cloud.
        cloud: String,
        /// `describe` or `check`.
        call: &'static str,
        /// Why.
        reason: String,
    },
    /// Reading or writing a file failed.
    #[error("{0}")]
    Io(String),
    /// What a cloud is configured with cannot be used.
    #[error("cloud `{cloud}`: {reason}")]
    Settings {
        /// The cloud.
        cloud: String,
        /// Why.
        reason: String,
    },
    /// No such driver, version or cloud.
    #[error("{0}")]
    Unknown(String),
    /// The driver is in use.
    #[error("{0}")]
    InUse(String),
}
