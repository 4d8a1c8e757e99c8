//! Users as a platform knows them: by number, with what must hold of all of them together.

use crate::db::{Refusal, Tx, args, transaction};
use crate::users::{GRANT, create, created, fold, found, user_columns};
use crate::{Error, NewUser, Store, User, certificates, credit, tokens};

/// The role that somebody must have at any time.
const ADMIN: &str = "admin";
/// The role of a person's own certificates.
const USER: &str = "user";

/// A request that came with an idempotency key, by which it is told from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedRequest {
    /// For whom and what the key holds.
    pub scope: String,
    /// The key.
    pub key: String,
    /// A digest of what is asked for, without secrets.
    pub input_hash: Vec<u8>,
}

/// What is to become different of a user; what is none stays.
#[derive(Clone, Default)]
pub struct UserChange {
    /// The roles, all of them.
    pub roles: Option<Vec<String>>,
    /// Whether the user may do anything at all. Whoever may not loses its certificates for good.
    pub active: Option<bool>,
    /// The address for mail; within, none takes it away.
    pub email: Option<Option<String>>,
    /// The password. With the old one, all tokens of the user end, and the certificates that are its own.
    pub password: Option<NewPassword>,
}

/// A password to set.
#[derive(Clone, Default)]
pub struct NewPassword {
    /// See [`User::password_hash`].
    pub hash: Option<String>,
    /// See [`User::password_expires_at`].
    pub until: Option<i64>,
}

/// Without the password's hash.
impl std::fmt::Debug for UserChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserChange")
            .field("roles", &self.roles)
            .field("active", &self.active)
            .field("email", &self.email)
            .field("password", &self.password)
            .finish()
    }
}

/// Without the hash.
impl std::fmt::Debug for NewPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewPassword").field("until", &self.until).finish_non_exhaustive()
    }
}

/// Why a user was not changed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// It is the only administrator who may log in.
    #[error("the last administrator stays one")]
    LastAdministrator,
    /// Something is the user's still.
    #[error("the user has {0} still")]
    Owns(&'static str),
    /// The store.
    #[error(transparent)]
    Store(#[from] Error),
}

impl Refusal for AccountError {
    fn is_contention(&self) -> bool {
        matches!(self, Self::Store(Error::Contention))
    }
}

impl Store {
    /// As [`Store::user_create_with`], once for a request: the user of the first one, and whether that was made now.
    /// [`Error::IdempotencyMismatch`] where the first one had another input.
    pub async fn user_request(
        &self,
        new: &NewUser,
        application: Option<&str>,
        request: &KeyedRequest,
    ) -> Result<(User, bool), Error> {
        if new.credit != 0 {
            credit::check(new.credit, 0)?;
        }
        let id = crate::new_id();
        let now = crate::now();
        let made = transaction!(self.db(), |tx| requested(tx, &id, now, new, application, request))?;
        match made {
            Ok(number) => Ok((created(id, number, now, new), true)),
            Err(user) => Ok((*user, false)),
        }
    }

    /// All users, by number.
    pub async fn users_by_number(&self) -> Result<Vec<User>, Error> {
        let sql = concat!(
            "SELECT ",
            user_columns!(),
            " FROM users u LEFT JOIN user_roles r ON r.user_id = u.id WHERE u.deleted_at IS NULL ORDER BY u.number, r.role"
        );
        fold(&self.db().all(sql, &[]).await?, 0)
    }

    /// Whether somebody is an administrator and may log in.
    pub async fn has_administrator(&self) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM users u JOIN user_roles r ON r.user_id = u.id \
                   WHERE r.role = $1 AND u.active = 1 AND u.deleted_at IS NULL LIMIT 1";
        Ok(self.db().optional(sql, args![ADMIN]).await?.is_some())
    }

    /// Changes a user: all of it or nothing. Refused so that nobody would be an administrator any more who may log in.
    /// [`Error::Exists`] (`the e-mail address`) where that is another's, [`Error::NotFound`] where there is no such user. The user
    /// as it is now.
    pub async fn user_change(&self, id: &str, change: &UserChange) -> Result<User, AccountError> {
        transaction!(self.db(), |tx| changed(tx, id, change))
    }

    /// Whether a user could be deleted at present.
    pub async fn user_deletable(&self, id: &str) -> Result<(), AccountError> {
        transaction!(self.db(), |tx| deletable(tx, id))
    }

    /// Deletes a user for good: the name and the address for mail are free again, the number is not. Tokens, links and requests
    /// go, certificates are revoked; the ledger stays. Refused to the last administrator, and while services, deployments or
    /// schedules are the user's.
    pub async fn user_delete(&self, id: &str) -> Result<(), AccountError> {
        transaction!(self.db(), |tx| delete(tx, id))
    }
}

/// The number of the new user, or the user that there is already.
async fn requested(
    tx: &mut Tx,
    id: &str,
    now: i64,
    new: &NewUser,
    application: Option<&str>,
    request: &KeyedRequest,
) -> Result<Result<i64, Box<User>>, Error> {
    lock(tx).await?;
    let sql = "SELECT user_id, input_hash FROM user_requests WHERE scope = $1 AND key = $2";
    if let Some(row) = tx.optional(sql, args![&request.scope, &request.key]).await? {
        if row.get::<Vec<u8>>(1)? != request.input_hash {
            return Err(Error::IdempotencyMismatch);
        }
        let first: String = row.get(0)?;
        let user = one(tx, &first).await?;
        return user.map(|user| Err(Box::new(user))).ok_or(Error::NotFound("the user"));
    }
    let number = create(tx, id, now, new, application).await?;
    let sql = "INSERT INTO user_requests (scope, key, input_hash, user_id, created_at) VALUES ($1, $2, $3, $4, $5)";
    tx.execute(sql, args![&request.scope, &request.key, &request.input_hash, id, now]).await?;
    Ok(Ok(number))
}

async fn changed(tx: &mut Tx, id: &str, change: &UserChange) -> Result<User, AccountError> {
    lock(tx).await?;
    found(tx.execute("UPDATE users SET updated_at = $2 WHERE id = $1 AND deleted_at IS NULL", args![id, crate::now()]).await?)?;
    let demoted = change.roles.as_ref().is_some_and(|roles| !roles.iter().any(|role| role == ADMIN));
    if demoted || change.active == Some(false) {
        keep_one(tx, id).await?;
    }
    if let Some(roles) = &change.roles {
        tx.execute("DELETE FROM user_roles WHERE user_id = $1", args![id]).await?;
        for role in roles {
            tx.execute(GRANT, args![id, role]).await?;
        }
    }
    if let Some(email) = &change.email {
        let set = tx.execute("UPDATE users SET email = $2 WHERE id = $1", args![id, email]).await;
        set.map_err(|error| error.about("the e-mail address"))?;
    }
    if let Some(password) = &change.password {
        let sql = "UPDATE users SET password_hash = $2, password_expires_at = $3 WHERE id = $1";
        tx.execute(sql, args![id, &password.hash, password.until]).await?;
        tokens::revoke_user(tx, id).await?;
        certificates::revoke_user(tx, id, "superseded", Some(USER)).await?;
    }
    if let Some(active) = change.active {
        tx.execute("UPDATE users SET active = $2 WHERE id = $1", args![id, active]).await?;
        if !active {
            certificates::revoke_user(tx, id, "privilege-withdrawn", None).await?;
        }
    }
    one(tx, id).await?.ok_or_else(|| Error::NotFound("the user").into())
}

/// The user of this identifier.
async fn one(tx: &mut Tx, id: &str) -> Result<Option<User>, Error> {
    let sql = concat!(
        "SELECT ",
        user_columns!(),
        " FROM users u LEFT JOIN user_roles r ON r.user_id = u.id WHERE u.id = $1 ORDER BY r.role"
    );
    Ok(fold(&tx.all(sql, args![id]).await?, 0)?.pop())
}

async fn deletable(tx: &mut Tx, id: &str) -> Result<(), AccountError> {
    lock(tx).await?;
    keep_one(tx, id).await?;
    for (sql, what) in [
        ("SELECT 1 FROM services WHERE user_id = $1 LIMIT 1", "services"),
        ("SELECT 1 FROM deployments WHERE user_id = $1 LIMIT 1", "deployments"),
        ("SELECT 1 FROM schedules WHERE user_id = $1 LIMIT 1", "schedules"),
    ] {
        if tx.optional(sql, args![id]).await?.is_some() {
            return Err(AccountError::Owns(what));
        }
    }
    Ok(())
}

async fn delete(tx: &mut Tx, id: &str) -> Result<(), AccountError> {
    deletable(tx, id).await?;
    // No user name has a colon, so nobody else is called like that.
    let sql = "UPDATE users SET deleted_at = $2, updated_at = $2, active = 0, username = username || ':' || number, \
               password_hash = NULL, password_expires_at = NULL, email = NULL, first_name = NULL, last_name = NULL, \
               affiliation = NULL WHERE id = $1 AND deleted_at IS NULL";
    found(tx.execute(sql, args![id, crate::now()]).await?)?;
    for sql in [
        "DELETE FROM user_roles WHERE user_id = $1",
        "DELETE FROM tokens WHERE user_id = $1",
        "DELETE FROM user_links WHERE user_id = $1",
        "DELETE FROM user_requests WHERE user_id = $1",
        "DELETE FROM application_requests WHERE user_id = $1",
    ] {
        tx.execute(sql, args![id]).await?;
    }
    certificates::revoke_user(tx, id, "cessation-of-operation", None).await?;
    Ok(())
}

/// Whoever changes what holds of all users together waits here for whoever does, and for whoever creates one.
async fn lock(tx: &mut Tx) -> Result<(), Error> {
    tx.one("UPDATE counters SET last = last WHERE name = 'user' RETURNING last", &[]).await.map(drop)
}

/// Refuses to take the last administrator away.
async fn keep_one(tx: &mut Tx, id: &str) -> Result<(), AccountError> {
    let sql = "SELECT u.id FROM users u JOIN user_roles r ON r.user_id = u.id WHERE r.role = $1 AND u.active = 1 \
               AND u.deleted_at IS NULL ORDER BY CASE WHEN u.id = $2 THEN 1 ELSE 0 END LIMIT 1";
    // Others come first: if it is the first, it is the only one.
    match tx.optional(sql, args![ADMIN, id]).await? {
        Some(row) if row.get::<String>(0)? == id => Err(AccountError::LastAdministrator),
        _ => Ok(()),
    }
}
