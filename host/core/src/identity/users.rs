//! Users and tokens: registration, and what administrators do.

use super::accounts::{refused, taken};
use super::{Identity, Issued, LONGEST, Permission, Principal, ROLES, Role};
use crate::Error;
use crate::compute::Key;
use ostler_store::{KeyedRequest, NewPassword, NewUser, Token, User, UserChange};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use std::time::Duration;

/// Bytes of the longest user name, and of every other part of a registration.
const LONGEST_NAME: usize = 128;
const LONGEST_PART: usize = 256;
/// The most credit with which a user begins.
const MOST_CREDIT: i64 = 1_000_000_000;
/// Bytes of the longest label of a token.
const LONGEST_LABEL: usize = 256;

/// Somebody who is to become a user.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The name to log in with.
    pub username: String,
    /// The password.
    pub password: SecretString,
    /// The address for mail; one user has it.
    pub email: Option<String>,
    /// The first name.
    pub first_name: Option<String>,
    /// The last name.
    pub last_name: Option<String>,
    /// Where he works.
    pub affiliation: Option<String>,
}

impl Registration {
    /// With a name only, and a password that nobody knows.
    pub fn named(username: impl Into<String>) -> Self {
        Self {
            username: username.into(),
            password: super::random_secret(),
            email: None,
            first_name: None,
            last_name: None,
            affiliation: None,
        }
    }
}

/// What is to become different of a user; what is none stays.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The roles, all of them.
    pub roles: Option<Vec<Role>>,
    /// Whether he may do anything at all. Who is disabled loses his certificates for good.
    pub active: Option<bool>,
    /// The password. His certificates and all of his tokens are revoked with the old one.
    pub password: Option<SecretString>,
}

/// A token to make.
#[derive(Clone, Debug)]
pub struct TokenOrder {
    /// What it is called.
    pub label: String,
    /// What it is good for; empty: whatever its user may do.
    pub scopes: Vec<Permission>,
    /// How long it is good; none: until it is revoked.
    pub life: Option<Duration>,
}

impl Identity {
    /// Adds a user. [`Error::Taken`] where the name or the address for mail is another's.
    pub async fn add_user(&self, who: &Principal, new: &Registration, roles: &[Role], credit: i64) -> Result<User, Error> {
        who.require(Permission::ChangeUsers)?;
        if !(0..=MOST_CREDIT).contains(&credit) {
            return Err(Error::Invalid(format!("the credit is between 0 and {MOST_CREDIT}")));
        }
        self.create(new, roles, credit).await
    }

    /// Checks and creates, with the first application that everybody has.
    pub(crate) async fn create(&self, new: &Registration, roles: &[Role], credit: i64) -> Result<User, Error> {
        Ok(self.create_once(new, roles, credit, None).await?.0)
    }

    /// Registers whoever comes from this address, once for a key: of a second request with it the password must be right, too.
    pub(crate) async fn register(
        &self,
        new: &Registration,
        roles: &[Role],
        credit: i64,
        key: Option<Key>,
        from: IpAddr,
    ) -> Result<User, Error> {
        let asked = credit.to_string();
        let request = key.map(|key| {
            let names = [Some(&new.username), new.first_name.as_ref(), new.last_name.as_ref()];
            let parts = names.into_iter().chain([new.email.as_ref(), new.affiliation.as_ref(), Some(&asked)]);
            let input_hash = digest(parts.map(|part| part.map(String::as_str)));
            KeyedRequest { scope: key.scope.to_owned(), key: key.key, input_hash }
        });
        let (user, fresh) = self.create_once(new, roles, credit, request.as_ref()).await?;
        if fresh {
            return Ok(user);
        }
        // Digests of requests hold no passwords: whether it is the same one, the user's own hash says, and not as often as one likes.
        match self.check_password(&new.username, &new.password, from).await {
            Err(Error::Unauthenticated) => Err(Error::KeyReused),
            other => other,
        }
    }

    /// As [`Self::create`], once for a request; and whether that was now.
    async fn create_once(
        &self,
        new: &Registration,
        roles: &[Role],
        credit: i64,
        request: Option<&KeyedRequest>,
    ) -> Result<(User, bool), Error> {
        check(new)?;
        let hash = self.passwords.hash(new.password.clone()).await?;
        let user = NewUser {
            username: new.username.clone(),
            password_hash: Some(hash),
            email: new.email.clone(),
            first_name: new.first_name.clone(),
            last_name: new.last_name.clone(),
            affiliation: new.affiliation.clone(),
            active: true,
            roles: roles.iter().map(|role| role.as_str().to_owned()).collect(),
            credit,
        };
        let first = Some(crate::services::applications::FIRST);
        let made = match request {
            None => self.store.user_create_with(&user, first).await.map(|user| (user, true)),
            Some(request) => self.store.user_request(&user, first, request).await,
        };
        made.map_err(taken)
    }

    /// Up to `limit` users whose name comes after `after`.
    pub async fn users(&self, who: &Principal, after: Option<&str>, limit: u32) -> Result<Vec<User>, Error> {
        who.require(Permission::ReadUsers)?;
        Ok(self.store.users(after, limit).await?)
    }

    /// One user, by name.
    pub async fn user(&self, who: &Principal, name: &str) -> Result<User, Error> {
        who.require(Permission::ReadUsers)?;
        self.user_named(name).await
    }

    async fn user_named(&self, name: &str) -> Result<User, Error> {
        let known = if name.contains('\0') { None } else { self.store.user_by_name(name).await? };
        known.ok_or_else(|| Error::NoUser(name.to_owned()))
    }

    /// Changes a user: all of it or nothing. Effective with the next request, whatever he shows. [`Error::Busy`] where nobody would
    /// be an administrator any more who may log in.
    pub async fn change_user(&self, who: &Principal, name: &str, changes: &Changes) -> Result<User, Error> {
        who.require(Permission::ChangeUsers)?;
        let user = self.user_named(name).await?;
        let himself = who.account.as_ref().is_some_and(|account| account.id == user.id);
        let loses = changes.active == Some(false) || changes.roles.as_ref().is_some_and(|roles| !roles.contains(&Role::Admin));
        if himself && loses {
            return Err(Error::Invalid("an administrator cannot take his own rights away".into()));
        }
        let hash = match &changes.password {
            None => None,
            Some(password) => {
                check_password(password)?;
                Some(self.passwords.hash(password.clone()).await?)
            }
        };
        let change = UserChange {
            roles: changes.roles.as_ref().map(|roles| roles.iter().map(|role| role.as_str().to_owned()).collect()),
            active: changes.active,
            password: hash.map(|hash| NewPassword { hash: Some(hash), until: None }),
            email: None,
        };
        let changed = self.store.user_change(&user.id, &change).await.map_err(refused)?;
        tracing::info!(user = name, by = who.user, "user changed");
        Ok(changed)
    }

    /// Makes a token for a user.
    pub async fn create_token(&self, who: &Principal, name: &str, order: &TokenOrder) -> Result<Issued, Error> {
        who.require(Permission::ChangeUsers)?;
        if order.label.is_empty() || order.label.len() > LONGEST_LABEL || order.label.chars().any(char::is_control) {
            return Err(Error::Invalid(format!("a label has 1 to {LONGEST_LABEL} bytes and no control characters")));
        }
        let user = self.user_named(name).await?;
        self.issue_token(&user.id, &order.label, &order.scopes, order.life).await
    }

    /// All tokens of a user.
    pub async fn tokens(&self, who: &Principal, name: &str) -> Result<Vec<Token>, Error> {
        who.require(Permission::ReadUsers)?;
        Ok(self.store.tokens(&self.user_named(name).await?.id).await?)
    }

    /// Revokes a token for good. Whether there was one that was good.
    pub async fn revoke_token(&self, who: &Principal, id: &str) -> Result<bool, Error> {
        who.require(Permission::ChangeUsers)?;
        Ok(!id.contains('\0') && self.store.token_revoke_any(id).await?)
    }
}

/// By what requests with one key are told apart: each part counts with its length, and one that is missing is none that is empty.
pub(crate) fn digest<'p>(parts: impl IntoIterator<Item = Option<&'p str>>) -> Vec<u8> {
    let mut hasher = Sha256::new();
    for part in parts {
        match part {
            Some(part) => {
                hasher.update((part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
            None => hasher.update(u64::MAX.to_le_bytes()),
        }
    }
    hasher.finalize().to_vec()
}

pub(super) fn check(new: &Registration) -> Result<(), Error> {
    let name = &new.username;
    if name.is_empty() || name.len() > LONGEST_NAME || name.contains(':') || name.chars().any(char::is_control) {
        return Err(Error::Invalid(format!("a user name has 1 to {LONGEST_NAME} bytes, no colon and no control characters")));
    }
    check_password(&new.password)?;
    let parts = [("e-mail address", &new.email), ("first name", &new.first_name), ("last name", &new.last_name)];
    for (what, part) in parts.into_iter().chain([("affiliation", &new.affiliation)]) {
        let part = part.as_deref().unwrap_or_default();
        if part.len() > LONGEST_PART || part.chars().any(char::is_control) {
            return Err(Error::Invalid(format!("the {what} has at most {LONGEST_PART} bytes and no control characters")));
        }
    }
    check_email(new.email.as_deref())
}

/// Whether mail arrives there cannot be told by looks.
pub(super) fn check_email(email: Option<&str>) -> Result<(), Error> {
    let Some(email) = email else { return Ok(()) };
    let (local, domain) = email.rsplit_once('@').unwrap_or_default();
    let strange = |c: char| c == ' ' || c.is_control();
    if local.is_empty() || domain.is_empty() || email.len() > LONGEST_PART || email.contains(strange) {
        return Err(Error::Invalid(format!("an e-mail address looks like name@host and has at most {LONGEST_PART} bytes")));
    }
    Ok(())
}

pub(super) fn check_password(password: &SecretString) -> Result<(), Error> {
    let length = password.expose_secret().len();
    if length == 0 || length > LONGEST {
        return Err(Error::Invalid(format!("a password has 1 to {LONGEST} bytes")));
    }
    Ok(())
}

/// The roles of these names.
pub fn parse_roles<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<Vec<Role>, Error> {
    let known = || ROLES.map(Role::as_str).join(", ");
    let parse = |name: &str| {
        Role::parse(name).ok_or_else(|| Error::Invalid(format!("no role is called `{name}`; there are {}", known())))
    };
    names.into_iter().map(parse).collect()
}
