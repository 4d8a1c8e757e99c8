//! What can go wrong. No text contains a token, nor anything that a registry said.

use std::fmt;

/// A registry did not give what was asked of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{registry}: {problem}")]
pub struct Error {
    /// Which one.
    pub registry: Registry,
    /// Why.
    pub problem: Problem,
}

impl Error {
    /// Whether the same request may succeed a little later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        use ostler_egress::Error::{Connect, Protocol, Resolve, Timeout};
        match &self.problem {
            Problem::Unreachable(Connect { .. } | Protocol { .. } | Resolve { .. } | Timeout { .. }) | Problem::Late(_) => true,
            Problem::Refused(status) => matches!(status, 408 | 425 | 429 | 500..=599),
            _ => false,
        }
    }

    /// Whether the token was not accepted (401): a renewed one may be, as the original assumes of SLAM (`facts/indigo.md`,
    /// section 3).
    #[must_use]
    pub fn wants_new_token(&self) -> bool {
        self.problem == Problem::Refused(401)
    }
}

/// The registries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Registry {
    /// Service level agreements.
    Slam,
    /// Providers, services, images, flavors.
    Cmdb,
    /// The cloud provider ranker.
    Cpr,
    /// The Zabbix wrapper.
    Monitoring,
}

impl Registry {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Slam, Self::Cmdb, Self::Cpr, Self::Monitoring];

    /// The name in lower case: `slam`, `cmdb`, `cpr`, `monitoring`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Slam => "slam",
            Self::Cmdb => "cmdb",
            Self::Cpr => "cpr",
            Self::Monitoring => "monitoring",
        }
    }
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slam => "SLAM",
            Self::Cmdb => "CMDB",
            Self::Cpr => "the cloud provider ranker",
            Self::Monitoring => "monitoring",
        })
    }
}

/// Why a registry did not give what was asked of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// There is no base URL of it.
    #[error("not configured")]
    NotConfigured,
    /// What is asked for cannot be written into a request: nothing was sent.
    #[error("cannot be asked: {0}")]
    Unaskable(&'static str),
    /// The request failed on its way, or the answer did.
    #[error("unreachable: {0}")]
    Unreachable(ostler_egress::Error),
    /// The whole exchange took longer than [`Config::deadline`](crate::Config::deadline), in milliseconds.
    #[error("unreachable: no complete answer within {0} ms")]
    Late(u128),
    /// A status other than 2xx. A redirect is one of them: it is not followed.
    #[error("refused with the status {0}")]
    Refused(u16),
    /// The answer does not read like what was asked for. Says where and what, never what stood there.
    #[error("malformed answer: {0}")]
    Malformed(String),
    /// The answer has more than so many bytes.
    #[error("too large an answer: more than {0} bytes")]
    TooLarge(u64),
    /// A list of the answer has more than so many items.
    #[error("too large an answer: more than {limit} items in `{list}`")]
    TooMany {
        /// Which list; `values` are all values of the answer.
        list: String,
        /// How many are accepted.
        limit: usize,
    },
}

/// Why no [`Registries`](crate::Registries) can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The base URL of a registry is unacceptable.
    #[error("the URL of {registry} {why}")]
    Url {
        /// Which one.
        registry: Registry,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A limit is zero.
    #[error("{0} must be more than zero")]
    Zero(&'static str),
    /// The HTTP client cannot be made.
    #[error("the client of {registry}: {error}")]
    Client {
        /// Whose.
        registry: Registry,
        /// Why.
        error: ostler_egress::ConfigError,
    },
}
