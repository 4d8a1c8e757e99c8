//! Applications: what users keep their services in.

use crate::db::{Row, Tx, args, transaction};
use crate::{Error, KeyedRequest, Store};

/// An application of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// A number that is never used again.
    pub id: i64,
    /// Whose it is.
    pub user_id: String,
    /// What it is called; unique among the user's.
    pub name: String,
    /// When it was created, in microseconds UTC.
    pub created_at: i64,
}

macro_rules! columns {
    () => {
        "id, user_id, name, created_at"
    };
}

impl Store {
    /// Creates an application. [`Error::Exists`] where the user has one of this name, [`Error::NotFound`] where there is no such
    /// user.
    pub async fn application_create(&self, user_id: &str, name: &str) -> Result<Application, Error> {
        transaction!(self.db(), |tx| create(tx, user_id, name))
    }

    /// As [`Store::application_create`], once for a request of this user: the application of the first one, and whether that was
    /// made now. [`Error::IdempotencyMismatch`] where the first one had another input, [`Error::NotFound`] (`the application`) where
    /// its application was deleted.
    pub async fn application_request(
        &self,
        user_id: &str,
        name: &str,
        request: &KeyedRequest,
    ) -> Result<(Application, bool), Error> {
        transaction!(self.db(), |tx| requested(tx, user_id, name, request))
    }

    /// Forgets up to `limit` requests, the oldest first, that came before that time, in microseconds UTC. How many: fewer than
    /// `limit` means that none is left.
    pub async fn application_requests_prune(&self, before: i64, limit: u32) -> Result<u64, Error> {
        let sql = "DELETE FROM application_requests WHERE (user_id, scope, key) IN \
                   (SELECT user_id, scope, key FROM application_requests WHERE created_at < $1 ORDER BY created_at LIMIT $2) \
                   RETURNING 1";
        self.db().write_count(sql, args![before, limit]).await
    }

    /// One application, whose it ever is.
    pub async fn application_get(&self, id: i64) -> Result<Option<Application>, Error> {
        let sql = concat!("SELECT ", columns!(), " FROM applications WHERE id = $1");
        self.db().optional(sql, args![id]).await?.as_ref().map(application).transpose()
    }

    /// The applications of a user, the oldest first.
    pub async fn applications(&self, user_id: &str) -> Result<Vec<Application>, Error> {
        let sql = concat!("SELECT ", columns!(), " FROM applications WHERE user_id = $1 ORDER BY id");
        self.db().all(sql, args![user_id]).await?.iter().map(application).collect()
    }

    /// Gives an application of this user another name. Whether there is one. [`Error::Exists`] where another has the name.
    pub async fn application_rename(&self, user_id: &str, id: i64, name: &str) -> Result<bool, Error> {
        let sql = "UPDATE applications SET name = $3 WHERE id = $2 AND user_id = $1 RETURNING 1";
        let renamed = self.db().write_count(sql, args![user_id, id, name]).await;
        Ok(renamed.map_err(|error| error.about("the application"))? > 0)
    }

    /// Deletes an application of this user. Whether there was one. [`Error::Referenced`] while it has services.
    pub async fn application_delete(&self, user_id: &str, id: i64) -> Result<bool, Error> {
        let sql = "DELETE FROM applications WHERE id = $2 AND user_id = $1 RETURNING 1";
        match self.db().write_count(sql, args![user_id, id]).await {
            // The foreign key of its services.
            Err(Error::NotFound(_)) => Err(Error::Referenced("the application")),
            deleted => Ok(deleted? > 0),
        }
    }
}

async fn requested(tx: &mut Tx, user_id: &str, name: &str, request: &KeyedRequest) -> Result<(Application, bool), Error> {
    // Requests of one user wait here for each other.
    if tx.execute("UPDATE users SET updated_at = updated_at WHERE id = $1", args![user_id]).await? == 0 {
        return Err(Error::NotFound("the user"));
    }
    let sql = "SELECT application_id, input_hash FROM application_requests WHERE user_id = $1 AND scope = $2 AND key = $3";
    if let Some(row) = tx.optional(sql, args![user_id, &request.scope, &request.key]).await? {
        if row.get::<Vec<u8>>(1)? != request.input_hash {
            return Err(Error::IdempotencyMismatch);
        }
        let sql = concat!("SELECT ", columns!(), " FROM applications WHERE id = $1 AND user_id = $2");
        let first = tx.optional(sql, args![row.get::<i64>(0)?, user_id]).await?.ok_or(Error::NotFound("the application"))?;
        return Ok((application(&first)?, false));
    }
    let made = create(tx, user_id, name).await?;
    let sql = "INSERT INTO application_requests (user_id, scope, key, input_hash, application_id, created_at) \
               VALUES ($1, $2, $3, $4, $5, $6)";
    tx.execute(sql, args![user_id, &request.scope, &request.key, &request.input_hash, made.id, made.created_at]).await?;
    Ok((made, true))
}

/// Creates in the caller's transaction.
pub(crate) async fn create(tx: &mut Tx, user_id: &str, name: &str) -> Result<Application, Error> {
    let sql = concat!("INSERT INTO applications (user_id, name, created_at) VALUES ($1, $2, $3) RETURNING ", columns!());
    let row = tx.one(sql, args![user_id, name, crate::now()]).await.map_err(|error| match error {
        Error::NotFound(_) => error.about("the user"),
        error => error.about("the application"),
    })?;
    application(&row)
}

fn application(row: &Row) -> Result<Application, Error> {
    Ok(Application { id: row.get(0)?, user_id: row.get(1)?, name: row.get(2)?, created_at: row.get(3)? })
}
