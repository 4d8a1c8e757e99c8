//! Users as a platform knows them: by number, each with one role of the platform, looked after by its administrators, who keep
//! everybody, and by its local administrators, who keep the guests.

use super::mail::Letter;
use super::users::{check, check_email, check_password};
use super::{Identity, Permission, Principal, Registration, Role, random_secret};
use crate::Error;
use crate::compute::Key;
use crate::instances::Instances;
use ostler_store::{AccountError, KeyedRequest, NewPassword, User, UserChange};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// The roles of a platform, the one that may most first.
pub const PLATFORM_ROLES: [Role; 4] = [Role::Admin, Role::Provider, Role::LocalAdmin, Role::Guest];

/// How long a password that was sent by mail is good.
const RESET_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Somebody who is to become a user of the platform.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// The name to log in with.
    pub username: String,
    /// One of [`PLATFORM_ROLES`].
    pub role: Role,
    /// The address for mail.
    pub email: Option<String>,
    /// The password; none makes one, which is told once.
    pub password: Option<SecretString>,
}

/// What is to become different of a user.
#[derive(Clone, Debug)]
pub enum AccountChange {
    /// The address for mail.
    Email(Option<String>),
    /// The password. Certificates and tokens of the user are revoked with the old one.
    Password(SecretString),
    /// The password, too: a new one is sent by mail, and is good for a day unless another one is set.
    Reset,
    /// The role of the platform, one of [`PLATFORM_ROLES`].
    Role(Role),
}

/// A user who was made.
#[derive(Debug)]
pub struct NewUserMade {
    /// The user.
    pub user: User,
    /// The password that was made for it. None where the caller gave one, and where the user was made by an earlier request with
    /// the same key.
    pub password: Option<SecretString>,
}

/// The role of the platform that a user has: the one that may most.
pub fn platform_role(user: &User) -> Option<Role> {
    PLATFORM_ROLES.into_iter().find(|role| user.roles.iter().any(|name| name == role.as_str()))
}

/// A guest, and nothing else besides: whoever looks after guests must not get at more through them.
fn is_guest(user: &User) -> bool {
    user.roles.iter().all(|name| name == Role::Guest.as_str()) && !user.roles.is_empty()
}

fn is_himself(who: &Principal, user: &User) -> bool {
    who.account.as_ref().is_some_and(|account| account.id == user.id)
}

fn may_see(who: &Principal, user: &User) -> bool {
    is_himself(who, user)
        || who.require(Permission::ReadUsers).is_ok()
        || (is_guest(user) && who.require(Permission::ManageGuests).is_ok())
}

fn may_manage(who: &Principal, user: &User) -> bool {
    who.require(Permission::ChangeUsers).is_ok() || (is_guest(user) && who.require(Permission::ManageGuests).is_ok())
}

impl Identity {
    /// The users whom the caller may see, by number; those of one role, if one is named.
    pub async fn accounts(&self, who: &Principal, role: Option<Role>) -> Result<Vec<User>, Error> {
        who.require(Permission::UseCatalogue)?;
        let mut users = self.store.users_by_number().await?;
        users.retain(|user| may_see(who, user) && role.is_none_or(|role| platform_role(user) == Some(role)));
        Ok(users)
    }

    /// One user whom the caller may see. [`Error::NoAccount`].
    pub async fn account(&self, who: &Principal, number: i64) -> Result<User, Error> {
        who.require(Permission::UseCatalogue)?;
        let user = self.store.user_by_number(number).await?;
        user.filter(|user| may_see(who, user)).ok_or(Error::NoAccount(number))
    }

    /// Adds a user of the platform. [`Error::Taken`] where the name or the address for mail is another's.
    ///
    /// With a key, a second call returns the user of the first one; [`Error::KeyReused`] if it asks for something else.
    pub async fn add_account(&self, who: &Principal, new: &NewAccount, key: Option<Key>) -> Result<NewUserMade, Error> {
        may_give(who, new.role)?;
        let made = random_secret();
        let registration = Registration {
            username: new.username.clone(),
            password: new.password.clone().unwrap_or_else(|| made.clone()),
            email: new.email.clone(),
            ..Registration::named(String::new())
        };
        check(&registration)?;
        let hash = self.passwords.hash(registration.password.clone()).await?;
        let order = ostler_store::NewUser {
            username: registration.username,
            password_hash: Some(hash),
            email: registration.email,
            active: true,
            roles: vec![new.role.as_str().to_owned()],
            ..ostler_store::NewUser::default()
        };
        let first = Some(crate::services::applications::FIRST);
        let (user, fresh) = match key {
            None => (self.store.user_create_with(&order, first).await.map_err(taken)?, true),
            Some(key) => {
                let request = request(who, new, key);
                self.store.user_request(&order, first, &request).await.map_err(taken)?
            }
        };
        if !fresh {
            // Digests of requests hold no passwords: whether it is the same one, the user's own hash says.
            if let Some(password) = &new.password
                && !self.passwords.verify(password.clone(), user.password_hash.clone()).await?.right
            {
                return Err(Error::KeyReused);
            }
            return Ok(NewUserMade { user, password: None });
        }
        tracing::info!(user = user.username, role = new.role.as_str(), by = who.user, "user added");
        Ok(NewUserMade { user, password: new.password.is_none().then_some(made) })
    }

    /// Changes a user whom the caller looks after, or himself as far as everybody may.
    pub async fn change_account(&self, who: &Principal, number: i64, change: &AccountChange) -> Result<(), Error> {
        let user = self.account(who, number).await?;
        // A token that is good for some things only is not good for taking its user over.
        let himself = is_himself(who, &user) && who.scopes.is_none();
        let own = !matches!(change, AccountChange::Role(_));
        if !(may_manage(who, &user) || himself && own) {
            return Err(Error::Forbidden);
        }
        let change = match change {
            AccountChange::Email(email) => {
                check_email(email.as_deref())?;
                UserChange { email: Some(email.clone()), ..UserChange::default() }
            }
            AccountChange::Password(password) => {
                check_password(password)?;
                let hash = Some(self.passwords.hash(password.clone()).await?);
                UserChange { password: Some(NewPassword { hash, until: None }), ..UserChange::default() }
            }
            AccountChange::Reset => self.reset(who, &user).await?,
            AccountChange::Role(role) => {
                may_give(who, *role)?;
                let others = user.roles.iter().filter(|name| PLATFORM_ROLES.iter().all(|role| role.as_str() != name.as_str()));
                let roles = others.cloned().chain([role.as_str().to_owned()]).collect();
                UserChange { roles: Some(roles), ..UserChange::default() }
            }
        };
        self.store.user_change(&user.id, &change).await.map_err(refused)?;
        tracing::info!(user = user.username, by = who.user, "user changed");
        Ok(())
    }

    /// A new password, which was sent by mail.
    async fn reset(&self, who: &Principal, user: &User) -> Result<UserChange, Error> {
        let Some(mail) = &self.mail else { return Err(Error::NoMail("no mail server is configured".into())) };
        let Some(email) = &user.email else { return Err(Error::Invalid("the user has no e-mail address".into())) };
        // Nobody's mailbox is to be filled through this.
        if !self.resets.entry(user.number).or_insert(()).is_fresh() {
            return Err(Error::Busy("a new password was sent a moment ago"));
        }
        let password = random_secret();
        let hash = self.passwords.hash(password.clone()).await?;
        let text = format!(
            "{} has asked for a new password for the user {}.\n\nThe new password is\n\n    {}\n\n\
             It is good for 24 hours; set one of your own until then.\n",
            if is_himself(who, user) { "You" } else { "An administrator" },
            user.username,
            password.expose_secret()
        );
        let letter = Letter { to: email.clone(), subject: "Your new password".into(), text: text.into() };
        // Mail first: with a password that nobody has, nobody would come in.
        if let Err(reason) = mail.send(&letter).await {
            self.resets.invalidate(&user.number);
            tracing::warn!(user = user.username, reason, "a new password could not be sent");
            return Err(Error::NoMail("the letter was not taken, the server's log says why".into()));
        }
        let life = i64::try_from(RESET_LIFE.as_micros()).unwrap_or(i64::MAX);
        let until = Some(ostler_store::now().saturating_add(life));
        Ok(UserChange { password: Some(NewPassword { hash: Some(hash), until }), ..UserChange::default() })
    }

    /// Deletes a user whom the caller looks after. [`Error::NotNow`] while the user has instances, unless `force` hands them to the
    /// caller; [`Error::Busy`] for the last administrator.
    pub async fn delete_account(&self, who: &Principal, number: i64, instances: &Instances, force: bool) -> Result<(), Error> {
        let user = self.account(who, number).await?;
        if !may_manage(who, &user) {
            return Err(Error::Forbidden);
        }
        self.store.user_deletable(&user.id).await.map_err(refused)?;
        let owned = instances.owned(number).await?;
        if owned > 0 && !force {
            let what = if owned == 1 { "instance" } else { "instances" };
            return Err(Error::NotNow(format!("user {number} has {owned} {what}: with force=true, they become yours")));
        }
        if owned > 0 {
            hand_over(who, &user, instances).await?;
        }
        self.store.user_delete(&user.id).await.map_err(refused)?;
        // What was on its way while the user was deleted.
        if instances.owned(number).await? > 0 && who.account.is_some() {
            hand_over(who, &user, instances).await?;
        }
        tracing::info!(user = user.username, number, by = who.user, "user deleted");
        Ok(())
    }
}

/// In the name of whoever may delete the user, and therefore this.
async fn hand_over(who: &Principal, user: &User, instances: &Instances) -> Result<(), Error> {
    let to = who.account()?.number;
    if to == user.number {
        return Err(Error::NotNow("whoever deletes himself cannot keep his instances".into()));
    }
    let caller = Principal { roles: vec![Role::Admin], scopes: None, ..who.clone() };
    instances.hand_over(&caller, user.number, to).await
}

/// Whether the caller may make somebody this.
fn may_give(who: &Principal, role: Role) -> Result<(), Error> {
    if !PLATFORM_ROLES.contains(&role) {
        let known = PLATFORM_ROLES.map(Role::as_str).join(", ");
        return Err(Error::Invalid(format!("`{}` is no role of the platform; there are {known}", role.as_str())));
    }
    match role {
        Role::Guest => who.require(Permission::ManageGuests).or_else(|_| who.require(Permission::ChangeUsers)),
        _ => who.require(Permission::ChangeUsers),
    }
}

/// By what requests for users are told apart. Whether there is a password is part of it, which one is not.
fn request(who: &Principal, new: &NewAccount, key: Key) -> KeyedRequest {
    let mut hasher = Sha256::new();
    for part in [new.username.as_str(), new.role.as_str(), new.email.as_deref().unwrap_or("\0")] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.update([u8::from(new.password.is_some())]);
    let input_hash = hasher.finalize().to_vec();
    KeyedRequest { scope: format!("{}:{}", key.scope, who.user), key: key.key, input_hash }
}

pub(super) fn taken(error: ostler_store::Error) -> Error {
    match error {
        ostler_store::Error::Exists(what) => Error::Taken(what),
        ostler_store::Error::IdempotencyMismatch => Error::KeyReused,
        other => other.into(),
    }
}

pub(super) fn refused(error: AccountError) -> Error {
    match error {
        AccountError::LastAdministrator => Error::Busy("the last administrator stays one"),
        AccountError::Owns(what) => Error::NotNow(format!("the user has {what} still")),
        AccountError::Store(error) => taken(error),
    }
}

#[cfg(test)]
mod tests;
