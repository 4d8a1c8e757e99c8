//! `[[oidc]]`: issuers.

use std::path::PathBuf;

use ostler_core::identity::{Algorithm, Exchange, Introspection, Role};
use ostler_egress::Origin;

use super::Secret;

/// `[[oidc]]`: an issuer of bearer tokens.
#[derive(Clone, Debug)]
pub struct Oidc {
    /// The issuer, exactly as its tokens say in `iss`. https, or http on a loopback address. Required.
    pub issuer: String,
    /// Accepted values of `aud`, at least one. Required.
    pub audience: Vec<String>,
    /// Accepted signature algorithms, asymmetric ones only. Default `["RS256", "ES256"]`.
    pub algorithms: Vec<Algorithm>,
    /// Certificate authorities for the issuer's address, PEM, instead of the system's. Relative to the configuration file.
    /// Default: none.
    pub ca: Option<PathBuf>,
    /// Origins besides the issuer's own at which its keys and endpoints may be. Default: none.
    pub endpoints: Vec<Origin>,
    /// Who this server is to the issuer, to ask about tokens. Default: none.
    pub client_id: Option<String>,
    /// The secret of that. Default: none.
    pub client_secret: Option<Secret>,
    /// About which tokens the issuer is asked: those that only it can read, all (so that one it has revoked is refused within a
    /// minute), or none. Default `opaque`; without `client_id` it is asked about none.
    pub introspection: Introspection,
    /// `exchange = true`: what is done for a person later, by his schedules, is done with a token of his own, for which the one that
    /// he showed is exchanged (RFC 8693). `exchange_scopes`: what is asked for (default `openid profile offline_access`);
    /// `exchange_audience`: for whom (default: the issuer decides). Default: none. Needs `client_id`.
    pub exchange: Option<Exchange>,
    /// Whether groups and organisation are also asked of the userinfo endpoint, for tokens with the scope `openid`. Default false.
    pub userinfo: bool,
    /// Claims that list groups; what they say is joined. Default `["groups", "wlcg.groups"]`.
    pub groups_claims: Vec<String>,
    /// The claim that names the organisation. Default `organisation_name`.
    pub organisation_claim: String,
    /// The organisation of those for whom the issuer names none. Default: none.
    pub organisation: Option<String>,
    /// How far the issuer's clock may be from ours, in seconds, at most 300. Default 30.
    pub leeway_seconds: u64,
    /// What whoever comes with one of its tokens is. Default `["customer"]`. A linked user's roles are added.
    pub roles: Vec<Role>,
    /// The group whose members handle the deployments of everybody of their organisation. Default: none.
    pub supervisors: Option<String>,
}
