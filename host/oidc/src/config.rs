//! What the operator configures for an issuer.

use std::time::Duration;

use http::Uri;
use ostler_egress::{AddressPolicy, ClientConfig, HostPattern, Origin, Scheme, Timeouts};
use secrecy::SecretString;

use crate::algorithm::Algorithm;
use crate::error::ConfigError;

/// The largest answer of an issuer, in bytes. Key sets with certificate chains take some ten thousand.
pub(crate) const LARGEST_ANSWER: u64 = 256 << 10;

/// The largest [`IssuerConfig::leeway`], in seconds.
const LARGEST_LEEWAY: u32 = 300;

/// An issuer whose tokens are accepted.
#[derive(Clone, Debug)]
pub struct IssuerConfig {
    /// The issuer exactly as its tokens say it in `iss`, a slash at the end included: https, or http on a loopback address.
    pub issuer: String,
    /// Accepted values of `aud`, at least one; a token needs one of them. Better not the identifier of a client with which people
    /// log in: the ID tokens that such a client receives have it for their audience and look much like access tokens.
    pub audience: Vec<String>,
    /// Accepted algorithms, at least one.
    pub algorithms: Vec<Algorithm>,
    /// Origins besides the issuer's own that its discovery document may name for keys and endpoints.
    pub endpoints: Vec<Origin>,
    /// Who we are to the issuer, for introspection, token exchange and refresh.
    pub credentials: Option<ClientCredentials>,
    /// Which tokens the issuer is asked about. Without credentials it is asked about none.
    pub introspection: Introspection,
    /// Whether name, groups and organisation are also asked of the userinfo endpoint, for tokens with the scope `openid`.
    pub userinfo: bool,
    /// Claims that list groups, in tokens and in userinfo; what they say is joined.
    pub groups_claims: Vec<String>,
    /// The claim that names the organisation.
    pub organisation_claim: String,
    /// The organisation of those for whom the issuer names none.
    pub organisation: Option<String>,
    /// How far the issuer's clock may be from ours, in seconds, at most 300.
    pub leeway: u32,
    /// Allows token exchange and refresh, which need `credentials`.
    pub exchange: Option<Exchange>,
    /// How the issuer is reached: addresses, certificate authorities, timeouts. Where requests may go (`allow`) is set by this
    /// crate, and answers are limited to 256 KiB.
    pub client: ClientConfig,
}

impl IssuerConfig {
    /// RS256 and ES256, a leeway of 30 s, groups from `groups` and `wlcg.groups`, organisation from `organisation_name`; no
    /// credentials, no userinfo, no exchange. Private addresses may be connected to, and loopback ones if the issuer is at one.
    #[must_use]
    pub fn new(issuer: impl Into<String>, audience: Vec<String>) -> Self {
        let issuer = issuer.into();
        let loopback = origin(&issuer).is_ok_and(|origin| is_loopback(&origin));
        Self {
            issuer,
            audience,
            algorithms: vec![Algorithm::RS256, Algorithm::ES256],
            endpoints: Vec::new(),
            credentials: None,
            introspection: Introspection::Opaque,
            userinfo: false,
            groups_claims: vec!["groups".to_owned(), "wlcg.groups".to_owned()],
            organisation_claim: "organisation_name".to_owned(),
            organisation: None,
            leeway: 30,
            exchange: None,
            client: ClientConfig {
                addresses: AddressPolicy { loopback, ..AddressPolicy::PROVIDER },
                timeouts: Timeouts {
                    connect: Duration::from_secs(5),
                    first_byte: Duration::from_secs(10),
                    between_bytes: Duration::from_secs(5),
                },
                max_connections: 16,
                max_response_bytes: Some(LARGEST_ANSWER),
                ..ClientConfig::default()
            },
        }
    }

    /// The leeway in microseconds.
    pub(crate) fn leeway_micros(&self) -> i64 {
        i64::from(self.leeway) * 1_000_000
    }

    /// Every origin that requests may go to, the issuer's own first.
    pub(crate) fn check(&self) -> Result<Vec<Origin>, ConfigError> {
        let refuse = |why| Err(ConfigError::Issuer { issuer: self.issuer.clone(), why });
        let own = match origin(&self.issuer) {
            Ok(origin) => origin,
            Err(why) => return refuse(why),
        };
        let secure = |origin: &Origin| origin.scheme() == Scheme::Https || (is_loopback(&own) && is_loopback(origin));
        if !secure(&own) {
            return refuse("must begin with https:// (http:// is possible for a loopback address only)");
        }
        if self.audience.is_empty() || self.audience.iter().any(String::is_empty) {
            return refuse("needs an audience");
        }
        if self.algorithms.is_empty() {
            return refuse("needs an algorithm");
        }
        if self.leeway > LARGEST_LEEWAY {
            return refuse("has a leeway of more than 300 seconds");
        }
        if self.credentials.is_none() && self.introspection == Introspection::Always {
            return refuse("needs client credentials for the introspection of every token");
        }
        if self.credentials.is_none() && self.exchange.is_some() {
            return refuse("needs client credentials for token exchange");
        }
        if !self.endpoints.iter().all(secure) {
            return refuse("has an endpoint that is not https (http is possible on a loopback address, for an issuer on one)");
        }
        Ok(std::iter::once(own.clone()).chain(self.endpoints.iter().cloned()).collect())
    }
}

/// A client registered with the issuer.
#[derive(Clone, Debug)]
pub struct ClientCredentials {
    /// The client's identifier.
    pub id: String,
    /// Its secret, presented by HTTP Basic (`client_secret_basic`).
    pub secret: SecretString,
}

/// Which tokens an issuer is asked about (RFC 7662).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Introspection {
    /// Those that are not JSON Web Tokens.
    #[default]
    Opaque,
    /// All of its tokens, so that one it has revoked is refused within a minute.
    Always,
    /// None.
    Never,
}

/// What to ask for in a token exchange (RFC 8693).
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Scopes. A refresh token is given for `offline_access`.
    pub scopes: Vec<String>,
    /// The audience of the new token, where the issuer wants one named.
    pub audience: Option<String>,
}

impl Default for Exchange {
    /// `openid profile offline_access`, no audience.
    fn default() -> Self {
        Self { scopes: ["openid", "profile", "offline_access"].map(str::to_owned).into(), audience: None }
    }
}

/// The origin of an issuer, which has neither query nor fragment (OpenID Connect Core 1.0, section 2).
fn origin(issuer: &str) -> Result<Origin, &'static str> {
    const URL: &str = "must be a URL, such as \"https://issuer.example/\"";
    if issuer.contains(['?', '#']) {
        return Err("has a query or a fragment, which no issuer has");
    }
    let uri: Uri = issuer.parse().map_err(|_| URL)?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(URL);
    };
    if authority.as_str().contains('@') {
        return Err("contains credentials");
    }
    let origin: Origin = format!("{scheme}://{authority}").parse().map_err(|_| URL)?;
    match origin.host() {
        HostPattern::Below(_) => Err(URL),
        HostPattern::Name(_) | HostPattern::Address(_) => Ok(origin),
    }
}

pub(crate) fn is_loopback(origin: &Origin) -> bool {
    match origin.host() {
        HostPattern::Name(name) => name == "localhost",
        HostPattern::Address(address) => address.is_loopback(),
        HostPattern::Below(_) => false,
    }
}
