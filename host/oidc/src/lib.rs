//! Bearer tokens of configured OpenID Connect issuers: who presents this token, and what may it be used for?
//!
//! [`Issuers::verify`] answers it. A JSON Web Token (RFC 7519) is checked here, with the keys that its issuer publishes; any
//! other token is shown to the issuers that let us ask (introspection, RFC 7662). Where it is configured, the issuer's userinfo
//! endpoint (OpenID Connect Core 1.0, section 5.3) adds groups and organisation. For work that outlives a token there are
//! [`Issuers::exchange`] (RFC 8693) and [`Issuers::refresh`] (RFC 6749, section 6).
//!
//! What is fixed by the configuration is never read from a token: an issuer is found by the exact text of `iss`, its algorithms
//! are a list of asymmetric ones ([`Algorithm`] has no others), and a key is used only with the algorithms of its own type.
//!
//! All requests go through [`ostler_egress`], to the issuer's own origin and to those the operator added
//! ([`IssuerConfig::endpoints`]). An issuer that does not answer is not asked again and again: there is one request at a time for
//! each of its documents, failures are remembered for a while, and unknown key names fetch its keys only now and then.
//!
//! No token and no secret appears in an error, in a log line or in the output of `Debug`. Tokens are remembered by their SHA-256
//! only. A caller that lets strangers present opaque tokens passes each new one on to the issuers: limit the rate by address.

mod algorithm;
mod cached;
mod claims;
mod config;
mod discovery;
mod error;
mod grants;
mod header;
mod identity;
mod issuer;
mod issuers;
mod keys;
mod remote;
mod token;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use config::{ClientCredentials, Exchange, Introspection, IssuerConfig};
pub use error::{ConfigError, Document, Error, GrantError, Invalid, Problem, Unavailable};
pub use grants::Tokens;
pub use header::{access_token, bearer};
pub use identity::Identity;
pub use issuers::{Clock, Issuers};
