//! Why a call failed.

use std::time::Duration;

use crate::bindings::ostler::driver::types as wit;

/// The result of nearly everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed. The host decides by the class whether to try again and what to answer to its client; the text is for
/// people, says what was wrong and contains no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// What was named does not exist (any more).
    #[error("not-found: {0}")]
    NotFound(String),
    /// The request can never succeed as it is: a malformed value, an unknown image or size.
    #[error("invalid: {0}")]
    Invalid(String),
    /// The object is in a state that does not allow this now.
    #[error("conflict: {0}")]
    Conflict(String),
    /// The provider does not accept the credentials.
    #[error("unauthorized: {0}")]
    Unauthorized(String),
    /// The credentials are valid but do not permit this.
    #[error("forbidden: {0}")]
    Forbidden(String),
    /// A quota of the account is used up.
    #[error("quota: {0}")]
    Quota(String),
    /// The provider has no room at present.
    #[error("capacity: {0}")]
    Capacity(String),
    /// The provider asks to slow down.
    #[error("throttled: {message}")]
    Throttled {
        /// For people.
        message: String,
        /// How long to wait before the next call, where the provider says so.
        retry_after: Option<Duration>,
    },
    /// The driver or the provider has no such feature.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// Worth trying again as it is: a lost connection, a provider's 5xx.
    #[error("transient: {0}")]
    Transient(String),
    /// The provider tried and failed; the same call may fail again.
    #[error("failed: {0}")]
    Failed(String),
    /// Anything else.
    #[error("{kind}: {message}")]
    Other {
        /// A short machine-readable name of the class, in kebab-case.
        kind: String,
        /// For people.
        message: String,
    },
}

/// The text of an error, borrowed as the error is.
macro_rules! message_of {
    ($error:expr) => {
        match $error {
            Self::NotFound(text)
            | Self::Invalid(text)
            | Self::Conflict(text)
            | Self::Unauthorized(text)
            | Self::Forbidden(text)
            | Self::Quota(text)
            | Self::Capacity(text)
            | Self::Unsupported(text)
            | Self::Transient(text)
            | Self::Failed(text)
            | Self::Throttled { message: text, .. }
            | Self::Other { message: text, .. } => text,
        }
    };
}

impl Error {
    /// [`Error::NotFound`] of a kind of thing and its identifier: ``no node `7` ``.
    pub fn not_found(kind: &str, id: &str) -> Self {
        Self::NotFound(format!("no {kind} `{id}`"))
    }

    /// [`Error::Unsupported`], naming the feature.
    pub fn unsupported(feature: &str) -> Self {
        Self::Unsupported(format!("this driver does not support {feature}"))
    }

    /// The class in kebab-case, as the contract names it.
    pub fn class(&self) -> &str {
        match self {
            Self::NotFound(_) => "not-found",
            Self::Invalid(_) => "invalid",
            Self::Conflict(_) => "conflict",
            Self::Unauthorized(_) => "unauthorized",
            Self::Forbidden(_) => "forbidden",
            Self::Quota(_) => "quota",
            Self::Capacity(_) => "capacity",
            Self::Throttled { .. } => "throttled",
            Self::Unsupported(_) => "unsupported",
            Self::Transient(_) => "transient",
            Self::Failed(_) => "failed",
            Self::Other { kind, .. } => kind,
        }
    }

    /// The text without the class.
    pub fn message(&self) -> &str {
        message_of!(self)
    }

    /// The same class with `what: ` in front of the text.
    #[must_use]
    pub fn context(mut self, what: &str) -> Self {
        message_of!(&mut self).insert_str(0, &format!("{what}: "));
        self
    }
}

/// A provider that answers with something else than was agreed has failed.
impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Failed(format!("unexpected JSON: {error}"))
    }
}

/// As for JSON.
impl From<std::string::FromUtf8Error> for Error {
    fn from(error: std::string::FromUtf8Error) -> Self {
        Self::Failed(format!("unexpected text: {error}"))
    }
}

/// Reading and writing fails when a connection does.
impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Transient(error.to_string())
    }
}

impl From<Error> for wit::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound(text) => Self::NotFound(text),
            Error::Invalid(text) => Self::Invalid(text),
            Error::Conflict(text) => Self::Conflict(text),
            Error::Unauthorized(text) => Self::Unauthorized(text),
            Error::Forbidden(text) => Self::Forbidden(text),
            Error::Quota(text) => Self::Quota(text),
            Error::Capacity(text) => Self::Capacity(text),
            Error::Throttled { message, retry_after } => Self::Throttled(wit::Throttling {
                message,
                retry_after_ms: retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            }),
            Error::Unsupported(text) => Self::Unsupported(text),
            Error::Transient(text) => Self::Transient(text),
            Error::Failed(text) => Self::Failed(text),
            Error::Other { kind, message } => Self::Other(wit::OtherError { kind, message }),
        }
    }
}

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::NotFound(text) => Self::NotFound(text),
            wit::Error::Invalid(text) => Self::Invalid(text),
            wit::Error::Conflict(text) => Self::Conflict(text),
            wit::Error::Unauthorized(text) => Self::Unauthorized(text),
            wit::Error::Forbidden(text) => Self::Forbidden(text),
            wit::Error::Quota(text) => Self::Quota(text),
            wit::Error::Capacity(text) => Self::Capacity(text),
            wit::Error::Throttled(wit::Throttling { message, retry_after_ms }) => {
                Self::Throttled { message, retry_after: retry_after_ms.map(Duration::from_millis) }
            }
            wit::Error::Unsupported(text) => Self::Unsupported(text),
            wit::Error::Transient(text) => Self::Transient(text),
            wit::Error::Failed(text) => Self::Failed(text),
            wit::Error::Other(wit::OtherError { kind, message }) => Self::Other { kind, message },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_survives_the_way_through_the_contract() {
        let text = || "why".to_owned();
        let errors = [
            Error::NotFound(text()),
            Error::Invalid(text()),
            Error::Conflict(text()),
            Error::Unauthorized(text()),
            Error::Forbidden(text()),
            Error::Quota(text()),
            Error::Capacity(text()),
            Error::Throttled { message: text(), retry_after: Some(Duration::from_millis(1500)) },
            Error::Throttled { message: text(), retry_after: None },
            Error::Unsupported(text()),
            Error::Transient(text()),
            Error::Failed(text()),
            Error::Other { kind: "odd".into(), message: text() },
        ];
        for error in errors {
            assert_eq!(Error::from(wit::Error::from(error.clone())), error);
            assert_eq!(error.message(), "why");
            assert_eq!(error.to_string(), format!("{}: why", error.class()));
            assert_eq!(error.context("here").message(), "here: why");
        }
    }
}
