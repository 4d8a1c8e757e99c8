//! Persons who come with a token of an issuer, and the users of ours that they are.

use super::{Account, Identity, Person, Principal, Role, Scheme};
use crate::Error;
use crate::identity::Permission;
pub use ostler_oidc::{Algorithm, ClientCredentials, Exchange, Introspection, IssuerConfig};
use ostler_oidc::{ConfigError, Issuers};
use ostler_store::{Link, NewEvent};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

/// Bytes of the longest subject (OpenID Connect Core 1.0, section 2) and issuer.
const LONGEST_SUBJECT: usize = 255;
const LONGEST_ISSUER: usize = 1024;

/// An issuer, and what its word is worth here.
#[derive(Clone, Debug)]
pub struct Trusted {
    /// How its tokens are checked.
    pub config: IssuerConfig,
    /// What whoever comes with one of its tokens is.
    pub roles: Vec<Role>,
    /// The group whose members handle the deployments of all whom the issuer vouches for.
    pub supervisors: Option<String>,
}

/// The issuers, and what their word is worth.
pub(super) struct Trust {
    pub(super) issuers: Issuers,
    terms: HashMap<String, Terms>,
}

struct Terms {
    roles: Vec<Role>,
    supervisors: Option<String>,
}

impl Trust {
    fn new(trusted: Vec<Trusted>) -> Result<Self, ConfigError> {
        let terms =
            |one: &Trusted| (one.config.issuer.clone(), Terms { roles: one.roles.clone(), supervisors: one.supervisors.clone() });
        let terms = trusted.iter().map(terms).collect();
        Ok(Self { issuers: Issuers::new(trusted.into_iter().map(|one| one.config).collect())?, terms })
    }
}

/// A group, however issuers write it: some put a slash at its front.
fn plain(group: &str) -> &str {
    group.trim_start_matches('/')
}

impl Identity {
    /// Also takes the tokens of these issuers. Within a Tokio runtime.
    pub fn trusting(self, trusted: Vec<Trusted>) -> Result<Self, Error> {
        if trusted.is_empty() {
            return Ok(self);
        }
        let trust = Trust::new(trusted).map_err(|error| Error::Invalid(error.to_string()))?;
        Ok(Self { trust: Some(trust), ..self })
    }

    /// Who shows this token of an issuer.
    pub(super) async fn by_issuer(&self, trust: &Trust, token: &SecretString, from: IpAddr) -> Result<Principal, Error> {
        let identity = match trust.issuers.verify(token.expose_secret()).await {
            Ok(identity) => identity,
            Err(ostler_oidc::Error::Invalid(reason)) => {
                // Why is not for whoever shows it.
                tracing::debug!(%reason, %from, "a token of an issuer is refused");
                self.backoff.failed(from, Instant::now());
                return Err(Error::Unauthenticated);
            }
            Err(ostler_oidc::Error::Unavailable(_)) => return Err(Error::NoIssuer),
        };
        let Some(terms) = trust.terms.get(&identity.issuer) else { return Err(Error::Unauthenticated) };
        let user = self.store.user_linked(&identity.issuer, &identity.subject).await?;
        if user.as_ref().is_some_and(|user| !user.active) {
            return Err(Error::Unauthenticated);
        }
        let mut roles = terms.roles.clone();
        let supervises = |group: &String| identity.groups.iter().any(|one| plain(one) == plain(group));
        roles.extend(terms.supervisors.as_ref().filter(|group| supervises(group)).map(|_| Role::Supervisor));
        let of_user = user.iter().flat_map(|user| &user.roles);
        roles.extend(of_user.filter_map(|role| Role::parse(role)));
        Ok(Principal {
            user: match &user {
                Some(user) => user.username.clone(),
                None => format!("{}@{}", identity.subject, identity.issuer),
            },
            roles,
            scheme: Scheme::Token,
            account: user.map(|user| Account { id: user.id, number: user.number }),
            scopes: None,
            person: Some(Person {
                issuer: identity.issuer.clone(),
                subject: identity.subject.clone(),
                organisation: identity.organisation.clone(),
                groups: Some(identity.groups.iter().cloned().collect()),
                scopes: Some(identity.scopes.iter().cloned().collect()),
            }),
        })
    }

    /// Has whoever comes with a token of this issuer for this subject be a user of ours, with his account and roles.
    pub async fn link(&self, who: &Principal, name: &str, issuer: &str, subject: &str) -> Result<Link, Error> {
        who.require(Permission::ChangeUsers)?;
        check(issuer, "issuer", LONGEST_ISSUER)?;
        check(subject, "subject", LONGEST_SUBJECT)?;
        if self.trust.as_ref().is_none_or(|trust| !trust.terms.contains_key(issuer)) {
            return Err(Error::Invalid(format!("`{issuer}` is no configured issuer")));
        }
        let user = self.user(&Principal::host(), name).await?;
        let event = event("user.link", who, name, issuer, subject);
        match self.store.user_link(&user.id, issuer, subject, &event).await {
            Err(ostler_store::Error::Exists(what)) => Err(Error::Taken(what)),
            other => Ok(other?),
        }
    }

    /// Takes such a link away. Whether there was one.
    pub async fn unlink(&self, who: &Principal, name: &str, issuer: &str, subject: &str) -> Result<bool, Error> {
        who.require(Permission::ChangeUsers)?;
        check(issuer, "issuer", LONGEST_ISSUER)?;
        check(subject, "subject", LONGEST_SUBJECT)?;
        let user = self.user(&Principal::host(), name).await?;
        let event = event("user.unlink", who, name, issuer, subject);
        Ok(self.store.user_unlink(&user.id, issuer, subject, &event).await?)
    }

    /// The persons that a user is.
    pub async fn links(&self, who: &Principal, name: &str) -> Result<Vec<Link>, Error> {
        let user = self.user(who, name).await?;
        Ok(self.store.user_links(&user.id).await?)
    }
}

fn check(text: &str, what: &str, longest: usize) -> Result<(), Error> {
    if text.is_empty() || text.len() > longest || text.chars().any(char::is_control) {
        return Err(Error::Invalid(format!("the {what} has 1 to {longest} bytes and no control characters")));
    }
    Ok(())
}

fn event(kind: &str, who: &Principal, name: &str, issuer: &str, subject: &str) -> NewEvent {
    NewEvent {
        kind: kind.to_owned(),
        subject: name.to_owned(),
        cloud: None,
        actor: who.user.clone(),
        data: json!({ "issuer": issuer, "subject": subject }),
    }
}
