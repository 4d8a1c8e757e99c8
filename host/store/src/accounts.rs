//! Users as a platform knows them: by number, with what must hold of all of them together.

use crate::db::{Refusal, Tx, args, transaction};
use crate::users::{GRANT, TOUCH, create, created, fold, found, user_columns};
use crate::{Error, NewUser, Store, User, certificates, credit};

/// The role that somebody must have at any time.
const ADMIN: &str = "admin";

/// A request for a user, by which it is told from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRequest {
    /// For whom and what the key holds.
    pub scope: String,
    /// The key.
    pub key: String,
    /// A digest of what is asked for, without secrets.
    pub input_hash: Vec<u8>,
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
        request: &UserRequest,
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

    /// Sets or takes away the address for mail. [`Error::Exists`] where it is another's, [`Error::NotFound`] where there is no such
    /// user.
    pub async fn user_set_email(&self, id: &str, email: Option<&str>) -> Result<(), Error> {
        let sql = "UPDATE users SET email = $2, updated_at = $3 WHERE id = $1 AND deleted_at IS NULL RETURNING 1";
        let count = self.db().write_count(sql, args![id, email, crate::now()]).await;
        found(count.map_err(|error| error.about("the e-mail address"))?)
    }

    /// Sets a password that is good until then, in microseconds UTC. [`Error::NotFound`] where there is no such user.
    pub async fn user_set_password_until(&self, id: &str, password_hash: &str, until: i64) -> Result<(), Error> {
        let sql = "UPDATE users SET password_hash = $2, password_expires_at = $3, updated_at = $4 \
                   WHERE id = $1 AND deleted_at IS NULL RETURNING 1";
        found(self.db().write_count(sql, args![id, password_hash, until, crate::now()]).await?)
    }

    /// As [`Store::user_set_roles`], but not so that nobody is an administrator any more.
    pub async fn user_set_roles_keeping_one(&self, id: &str, roles: &[String]) -> Result<(), AccountError> {
        transaction!(self.db(), |tx| set_roles(tx, id, roles))
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
    request: &UserRequest,
) -> Result<Result<i64, Box<User>>, Error> {
    lock(tx).await?;
    let sql = "SELECT user_id, input_hash FROM user_requests WHERE scope = $1 AND key = $2";
    if let Some(row) = tx.optional(sql, args![&request.scope, &request.key]).await? {
        if row.get::<Vec<u8>>(1)? != request.input_hash {
            return Err(Error::IdempotencyMismatch);
        }
        let sql = concat!(
            "SELECT ",
            user_columns!(),
            " FROM users u LEFT JOIN user_roles r ON r.user_id = u.id WHERE u.id = $1 ORDER BY r.role"
        );
        let first: String = row.get(0)?;
        let user = fold(&tx.all(sql, args![&first]).await?, 0)?.pop();
        return user.map(|user| Err(Box::new(user))).ok_or(Error::NotFound("the user"));
    }
    let number = create(tx, id, now, new, application).await?;
    let sql = "INSERT INTO user_requests (scope, key, input_hash, user_id, created_at) VALUES ($1, $2, $3, $4, $5)";
    tx.execute(sql, args![&request.scope, &request.key, &request.input_hash, id, now]).await?;
    Ok(Ok(number))
}

async fn set_roles(tx: &mut Tx, id: &str, roles: &[String]) -> Result<(), AccountError> {
    lock(tx).await?;
    if !roles.iter().any(|role| role == ADMIN) {
        keep_one(tx, id).await?;
    }
    found(tx.execute(TOUCH, args![id, crate::now()]).await?)?;
    tx.execute("DELETE FROM user_roles WHERE user_id = $1", args![id]).await?;
    for role in roles {
        tx.execute(GRANT, args![id, role]).await?;
    }
    Ok(())
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
