//! Users' tokens. Only a hash of the secret is kept.

use crate::db::{Row, Tx, args};
use crate::users::{fold, user_columns};
use crate::{Error, Store, User};

/// A token of a user.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// A uuid v7, made by the store.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// SHA-256 of the secret.
    pub hash: Vec<u8>,
    /// What the user calls it.
    pub label: String,
    /// What it may be used for, as given.
    pub scopes: Vec<String>,
    /// When it was created, in microseconds UTC.
    pub created_at: i64,
    /// From when on it is not accepted, in microseconds UTC.
    pub expires_at: Option<i64>,
    /// When it was revoked, in microseconds UTC.
    pub revoked_at: Option<i64>,
    /// When it was last used, roughly, in microseconds UTC.
    pub last_used_at: Option<i64>,
}

/// Without the hash.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("id", &self.id)
            .field("user_id", &self.user_id)
            .field("label", &self.label)
            .field("scopes", &self.scopes)
            .field("expires_at", &self.expires_at)
            .field("revoked_at", &self.revoked_at)
            .finish_non_exhaustive()
    }
}

/// A token to create.
#[derive(Clone)]
pub struct NewToken {
    /// See [`Token::user_id`].
    pub user_id: String,
    /// See [`Token::hash`]. The secret must be random and long; it needs no salt then.
    pub hash: Vec<u8>,
    /// See [`Token::label`].
    pub label: String,
    /// See [`Token::scopes`].
    pub scopes: Vec<String>,
    /// See [`Token::expires_at`].
    pub expires_at: Option<i64>,
}

/// Without the hash.
impl std::fmt::Debug for NewToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewToken")
            .field("user_id", &self.user_id)
            .field("label", &self.label)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// The columns of a token `t`.
macro_rules! columns {
    () => {
        "t.id, t.user_id, t.hash, t.label, t.scopes, t.created_at, t.expires_at, t.revoked_at, t.last_used_at"
    };
}

impl Store {
    /// Creates a token. [`Error::Exists`] where the hash is known, [`Error::NotFound`] where there is no such user.
    pub async fn token_create(&self, new: &NewToken) -> Result<Token, Error> {
        let id = crate::new_id();
        let now = crate::now();
        let scopes = serde_json::Value::from(new.scopes.clone()).to_string();
        let sql = "INSERT INTO tokens (id, user_id, hash, label, scopes, created_at, expires_at) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING 1";
        let args = args![&id, &new.user_id, &new.hash, &new.label, &scopes, now, new.expires_at];
        self.db().write_count(sql, args).await.map_err(|error| match error {
            Error::NotFound(_) => error.about("the user"),
            error => error.about("the token"),
        })?;
        Ok(Token {
            id,
            user_id: new.user_id.clone(),
            hash: new.hash.clone(),
            label: new.label.clone(),
            scopes: new.scopes.clone(),
            created_at: now,
            expires_at: new.expires_at,
            revoked_at: None,
            last_used_at: None,
        })
    }

    /// The token with this hash and its user, if it is to be accepted at `now`: not revoked, not expired, the user active.
    pub async fn token_find(&self, hash: &[u8], now: i64) -> Result<Option<(Token, User)>, Error> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            ", ",
            user_columns!(),
            " FROM tokens t JOIN users u ON u.id = t.user_id LEFT JOIN user_roles r ON r.user_id = u.id \
             WHERE t.hash = $1 AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > $2) \
             AND u.active = 1 ORDER BY r.role"
        );
        let rows = self.db().all(sql, args![hash, now]).await?;
        let Some(first) = rows.first() else {
            return Ok(None);
        };
        let token = token(first)?;
        Ok(fold(&rows, 9)?.pop().map(|user| (token, user)))
    }

    /// Notes that a token was used, unless that was noted in the last `every` microseconds: so that not every request writes.
    pub async fn token_touch(&self, id: &str, now: i64, every: i64) -> Result<(), Error> {
        let sql = "UPDATE tokens SET last_used_at = $2 \
                   WHERE id = $1 AND (last_used_at IS NULL OR last_used_at <= $3) RETURNING 1";
        self.db().write_count(sql, args![id, now, now.saturating_sub(every)]).await?;
        Ok(())
    }

    /// Revokes a token of this user, for good. Whether there was one that was not revoked.
    pub async fn token_revoke(&self, user_id: &str, id: &str) -> Result<bool, Error> {
        let sql = "UPDATE tokens SET revoked_at = $3 \
                   WHERE id = $2 AND user_id = $1 AND revoked_at IS NULL RETURNING 1";
        Ok(self.db().write_count(sql, args![user_id, id, crate::now()]).await? > 0)
    }

    /// Revokes a token, whose it ever is, for good. Whether there was one that was not revoked.
    pub async fn token_revoke_any(&self, id: &str) -> Result<bool, Error> {
        let sql = "UPDATE tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL RETURNING 1";
        Ok(self.db().write_count(sql, args![id, crate::now()]).await? > 0)
    }

    /// All tokens of a user, the oldest first, those revoked and expired included.
    pub async fn tokens(&self, user_id: &str) -> Result<Vec<Token>, Error> {
        let sql = concat!("SELECT ", columns!(), " FROM tokens t WHERE t.user_id = $1 ORDER BY t.id");
        self.db().all(sql, args![user_id]).await?.iter().map(token).collect()
    }

    /// Deletes the tokens that had expired at `now`. How many.
    pub async fn tokens_delete_expired(&self, now: i64) -> Result<u64, Error> {
        self.db().write_count("DELETE FROM tokens WHERE expires_at <= $1 RETURNING 1", args![now]).await
    }
}

/// Revokes all tokens of a user, in the caller's transaction.
pub(crate) async fn revoke_user(tx: &mut Tx, user_id: &str) -> Result<u64, Error> {
    let sql = "UPDATE tokens SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL";
    tx.execute(sql, args![user_id, crate::now()]).await
}

fn token(row: &Row) -> Result<Token, Error> {
    let scopes: Option<Vec<String>> =
        row.json(4)?.as_array().and_then(|scopes| scopes.iter().map(|scope| scope.as_str().map(str::to_owned)).collect());
    Ok(Token {
        id: row.get(0)?,
        user_id: row.get(1)?,
        hash: row.get(2)?,
        label: row.get(3)?,
        scopes: scopes.ok_or(Error::Corrupt("scopes"))?,
        created_at: row.get(5)?,
        expires_at: row.get(6)?,
        revoked_at: row.get(7)?,
        last_used_at: row.get(8)?,
    })
}
