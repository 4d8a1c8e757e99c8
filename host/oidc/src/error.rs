//! What can go wrong. No text contains a token, a part of one that is not readable by anybody, or a secret.

use std::fmt;

/// Why a token was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The token is at fault: 401. The reason is for the log; whoever presented the token learns no more than that it is invalid.
    #[error("invalid token: {0}")]
    Invalid(#[from] Invalid),
    /// It cannot be told whether the token is good: 503. Trying again later is sensible.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// What is wrong with a token. Texts from a token are cut and escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// More than 16 KiB.
    #[error("longer than 16 KiB")]
    TooLong,
    /// Not a token, or a JSON Web Token that does not read like one.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// Not a JSON Web Token, and there is no issuer to ask about it.
    #[error("not a JSON Web Token, and no issuer is configured for the introspection of others")]
    Opaque,
    /// `iss` is not a configured issuer.
    #[error("the issuer {0} is not configured")]
    UnknownIssuer(String),
    /// `alg` is not among the issuer's algorithms; this includes `none` and those with shared secrets.
    #[error("the algorithm {0} is not accepted")]
    Algorithm(String),
    /// `crit` lists extensions that must be understood (RFC 7515, section 4.1.11); we know none.
    #[error("the header has critical extensions")]
    Critical,
    /// `typ` says that it is a token for something else.
    #[error("the type {0} is not that of an access token")]
    Type(String),
    /// The issuer has no key of this name.
    #[error("the issuer has no key {0}")]
    UnknownKey(String),
    /// The issuer's key of this name is for another algorithm.
    #[error("the issuer's key is not for the algorithm {0}")]
    KeyMismatch(&'static str),
    /// The signature is not of the issuer's key.
    #[error("wrong signature")]
    Signature,
    /// `exp` has passed.
    #[error("expired")]
    Expired,
    /// `nbf` or `iat` is in the future.
    #[error("not yet valid: `{0}` is in the future")]
    NotYetValid(&'static str),
    /// `aud` names none of the configured audiences.
    #[error("meant for another audience")]
    Audience,
    /// A claim is missing.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// Bound to a key of its holder (`cnf`, RFC 7800), whose possession cannot be shown here: not a bearer token.
    #[error("bound to a key (`cnf`)")]
    Bound,
    /// The issuer says that the token is not active (RFC 7662).
    #[error("the issuer says that it is not active")]
    Inactive,
    /// The issuer's userinfo endpoint refuses the token.
    #[error("the userinfo endpoint refuses it")]
    Userinfo,
    /// Introspection or userinfo speaks of another subject or issuer than the token.
    #[error("the issuer's answer is about another {0}")]
    Other(&'static str),
}

/// Something of an issuer cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{document} of the issuer {issuer}: {problem}")]
pub struct Unavailable {
    /// The issuer as configured.
    pub issuer: String,
    /// What was asked for.
    pub document: Document,
    /// Why it cannot be had.
    pub problem: Problem,
}

/// What is asked of an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// Its discovery document (OpenID Connect Discovery 1.0, section 4).
    Discovery,
    /// Its keys (`jwks_uri`; RFC 7517).
    Keys,
    /// The state of a token (`introspection_endpoint`).
    Introspection,
    /// Facts about a subject (`userinfo_endpoint`).
    Userinfo,
    /// New tokens (`token_endpoint`).
    Tokens,
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Discovery => "the discovery document",
            Self::Keys => "the keys",
            Self::Introspection => "the introspection endpoint",
            Self::Userinfo => "the userinfo endpoint",
            Self::Tokens => "the token endpoint",
        })
    }
}

/// Why something of an issuer cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The request failed on its way, or the answer was too large.
    #[error(transparent)]
    Egress(#[from] ostler_egress::Error),
    /// The whole exchange took too long.
    #[error("no complete answer within {0} seconds")]
    Timeout(u64),
    /// An unexpected status.
    #[error("the answer has the status {0}")]
    Status(u16),
    /// The answer does not read like what was asked for.
    #[error("the answer is not acceptable: {0}")]
    Answer(&'static str),
    /// The discovery document is about another issuer.
    #[error("it is about the issuer {0}")]
    OtherIssuer(String),
    /// The discovery document names no such endpoint.
    #[error("the discovery document does not name it")]
    NotOffered,
    /// The endpoint is not a URL with https (or with http on a loopback address, for an issuer on one).
    #[error("the discovery document names a URL for it that is not https")]
    Insecure,
    /// The endpoint is at an origin that requests may not go to.
    #[error("the discovery document places it at {origin}: add \"{origin}\" to the issuer's endpoints to permit that")]
    Origin {
        /// The origin, as an operator would write it.
        origin: String,
    },
    /// The issuer does not accept our client credentials.
    #[error("the issuer does not accept our client credentials")]
    Credentials,
    /// A program error ended the request.
    #[error("the request was abandoned")]
    Abandoned,
}

/// Why no [`Issuers`](crate::Issuers) can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Something of an issuer is wrong.
    #[error("the issuer {issuer} {why}")]
    Issuer {
        /// The issuer as configured.
        issuer: String,
        /// What is wrong.
        why: &'static str,
    },
    /// An issuer is configured twice.
    #[error("the issuer {0} is configured twice")]
    Twice(String),
    /// The HTTP client of an issuer cannot be made.
    #[error("the issuer {issuer}: {error}")]
    Client {
        /// The issuer as configured.
        issuer: String,
        /// Why.
        error: ostler_egress::ConfigError,
    },
}

/// Why there are no new tokens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// Not a configured issuer.
    #[error("the issuer {0} is not configured")]
    UnknownIssuer(String),
    /// Token exchange is not configured for this issuer.
    #[error("token exchange is not configured for the issuer {0}")]
    NotConfigured(String),
    /// The issuer refused. `invalid_grant` means that the token is expired, revoked or used up: its owner has to come again.
    #[error("the issuer {issuer} refused: {code}")]
    Refused {
        /// The issuer as configured.
        issuer: String,
        /// Its error code (RFC 6749, section 5.2).
        code: String,
    },
    /// The issuer cannot be reached or answers nonsense. Trying again later is sensible.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// A text of somebody else, fit for a log line.
pub(crate) fn brief(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut brief: String = text.escape_debug().take(LONGEST).collect();
    if text.escape_debug().count() > LONGEST {
        brief.push('…');
    }
    format!("\"{brief}\"")
}
