//! Who presented a token.

use std::collections::BTreeSet;

use crate::claims::{self, Claims};
use crate::config::IssuerConfig;
use crate::error::Invalid;

/// What a token says about whoever presents it. It contains no token.
///
/// `issuer` and `subject` together identify; everything else can change from one token to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The issuer as configured.
    pub issuer: String,
    /// `sub`, unique within the issuer: a person, or a client that acts for itself.
    pub subject: String,
    /// `aud`.
    pub audience: Vec<String>,
    /// The client that obtained the token (`client_id` or `azp`).
    pub client_id: Option<String>,
    /// `scope` or `scp`.
    pub scopes: BTreeSet<String>,
    /// When the token expires, microseconds since 1970 UTC, without leeway. For a token whose issuer tells no time, a minute
    /// after it was asked.
    pub expires_at: i64,
    /// The full name, for people to read.
    pub name: Option<String>,
    /// The e-mail address, which the issuer has not necessarily verified.
    pub email: Option<String>,
    /// Groups as the issuer writes them, with or without a slash at the front.
    pub groups: BTreeSet<String>,
    /// The organisation.
    pub organisation: Option<String>,
}

impl Identity {
    /// Of claims that were checked.
    pub(crate) fn new(config: &IssuerConfig, claims: &Claims, subject: &str, expires_at: i64) -> Result<Self, Invalid> {
        let audience = claims::texts(claims, "aud")?.unwrap_or_default();
        let mut identity = Self {
            issuer: config.issuer.clone(),
            subject: subject.to_owned(),
            audience: audience.into_iter().map(str::to_owned).collect(),
            client_id: client(claims).map(str::to_owned),
            scopes: claims::scopes(claims)?,
            expires_at,
            name: None,
            email: None,
            groups: BTreeSet::new(),
            organisation: None,
        };
        identity.describe(config, claims);
        Ok(identity)
    }

    /// Adds what userinfo says: groups are joined, texts replace those of the token.
    ///
    /// These are descriptions: what is not of the expected type is left out rather than refused.
    pub(crate) fn describe(&mut self, config: &IssuerConfig, claims: &Claims) {
        let text =
            |name: &str| claims.get(name).and_then(|value| value.as_str()).filter(|text| !text.is_empty()).map(str::to_owned);
        self.name = text("name").or(self.name.take());
        self.email = text("email").or(self.email.take());
        self.organisation = text(&config.organisation_claim).or(self.organisation.take());
        for name in &config.groups_claims {
            match claims.get(name) {
                Some(serde_json::Value::String(group)) => self.groups.extend([group.clone()]),
                Some(serde_json::Value::Array(groups)) => {
                    self.groups.extend(groups.iter().filter_map(|group| group.as_str()).map(str::to_owned));
                }
                _ => {}
            }
        }
        self.groups.remove("");
    }
}

/// The client that obtained the token.
pub(crate) fn client(claims: &Claims) -> Option<&str> {
    ["client_id", "azp"].into_iter().find_map(|name| claims.get(name)?.as_str()).filter(|client| !client.is_empty())
}
