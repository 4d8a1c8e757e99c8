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
    /// No image on record has this number, for whoever asks.
    #[error("there is no image {0}")]
    NoImageRecord(i64),
    /// No instance has this number, for whoever asks.
    #[error("there is no instance {0}")]
    NoInstance(i64),
    /// No forwarding rule has this number, for whoever asks.
    #[error("there is no forwarding rule {0}")]
    NoRule(i64),
    /// Nothing is measured under this name.
    #[error("there is no metric `{0}`")]
    NoMetric(String),
    /// The present state of an instance or image does not allow it.
    #[error("{0}")]
    NotNow(String),
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
    /// A password came by a way on which others could have read it.
    #[error("a password is taken by HTTPS only, or from this machine (server.plain_passwords)")]
    Exposed,
    /// Too many wrong credentials of late.
    #[error("too many wrong credentials; try again later")]
    Throttled(Duration),
    /// The issuer of a token cannot be asked whether it is good.
    #[error("the issuer of the token does not answer at present")]
    NoIssuer,
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
    /// The certificate authority.
    #[error(transparent)]
    Authority(#[from] ostler_ca::Error),
    /// A certificate signing request was refused.
    #[error("the certificate signing request is refused: {0}")]
    Request(#[from] ostler_ca::RequestError),
    /// No user of this name.
    #[error("no user is called `{0}`")]
    NoUser(String),
    /// No user has this number, for whoever asks.
    #[error("there is no user {0}")]
    NoAccount(i64),
    /// No mail can be sent.
    #[error("mail cannot be sent at present: {0}")]
    NoMail(String),
    /// No application of this user has this number.
    #[error("there is no such application")]
    NoApplication,
    /// No service of this user has this number.
    #[error("there is no such service")]
    NoService,
    /// No certificate with this serial number.
    #[error("no certificate has the serial number `{0}`")]
    NoCertificate(String),
    /// The catalogue has no such type of service.
    #[error("no type of service is called `{0}`")]
    NoServiceType(String),
    /// Somebody or something has this name already.
    #[error("{0} exists already")]
    Taken(&'static str),
    /// The state of what is to be changed does not allow it now.
    #[error("{0}")]
    Busy(&'static str),
    /// The account does not have so much credit.
    #[error("not enough credit: {balance} left")]
    NoCredit {
        /// What is left.
        balance: i64,
    },
    /// Nobody can register himself here.
    #[error("registration is closed: ask an administrator for an account")]
    RegistrationClosed,
    /// A service's manager does not answer, or not as it should.
    #[error("the manager of the service does not answer: {0}")]
    NoManager(String),
    /// Adding and removing clouds.
    #[error(transparent)]
    Clouds(#[from] crate::clouds::CloudsError),
    /// Deployments.
    #[error(transparent)]
    Deployment(#[from] crate::deployments::DeploymentError),
    /// Schedules.
    #[error(transparent)]
    Schedule(#[from] crate::schedules::ScheduleError),
    /// No operation with this identifier.
    #[error("no operation has the id `{0}`")]
    NoOperation(String),
    /// The operation is over.
    #[error("operation `{0}` is over already")]
    Ended(String),
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

/// What the ledger refuses.
impl From<ostler_store::CreditError> for Error {
    fn from(error: ostler_store::CreditError) -> Self {
        match error {
            ostler_store::CreditError::Insufficient { balance } => Self::NoCredit { balance },
            ostler_store::CreditError::Closed => Self::Busy("the reservation was closed before"),
            ostler_store::CreditError::Store(error) => error.into(),
        }
    }
}

/// What the repository of services refuses.
impl From<ostler_store::ServiceError> for Error {
    fn from(error: ostler_store::ServiceError) -> Self {
        use ostler_store::ServiceError;
        match error {
            ServiceError::Insufficient { balance } => Self::NoCredit { balance },
            ServiceError::NotFound => Self::NoService,
            ServiceError::Busy => Self::Busy("the service is in a state that does not allow it"),
            ServiceError::Exists => Self::Taken("the service"),
            ServiceError::Store(ostler_store::Error::IdempotencyMismatch) => Self::KeyReused,
            ServiceError::Store(error) => error.into(),
        }
    }
}
