//! Who uses which virtual machine.

use crate::db::{Row, args};
use crate::{Error, Store};

/// [`Assignment::status`] of a machine that nobody uses.
pub const FREE: i64 = 1;

/// [`Assignment::status`] of a machine that somebody uses.
pub const ASSIGNED: i64 = 2;

/// A virtual machine and who uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// A number that is never used again, not even after a removal.
    pub id: i64,
    /// The cloud.
    pub cloud: String,
    /// The machine's identifier in the cloud.
    pub id_vm: String,
    /// The machine's name.
    pub hostname: String,
    /// Who uses it; none: it is free.
    pub user: Option<String>,
    /// For which application.
    pub recipe: Option<String>,
    /// The application's number, where it has one.
    pub recipe_id: Option<i64>,
    /// [`FREE`] or [`ASSIGNED`].
    pub status: i64,
    /// When it was first seen, in microseconds UTC.
    pub created_at: i64,
    /// When it last changed, in microseconds UTC.
    pub updated_at: i64,
}

/// Why a machine was not assigned.
#[derive(Debug, thiserror::Error)]
pub enum AssignError {
    /// There is no such machine.
    #[error("the machine does not exist")]
    NotFound,
    /// Somebody uses it.
    #[error("the machine is taken")]
    Taken(Box<Assignment>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
}

macro_rules! columns {
    () => {
        "id, cloud, id_vm, hostname, user_name, recipe, recipe_id, status, created_at, updated_at"
    };
}

impl Store {
    /// Makes a machine known, free, or notes its new name. Writes nothing where all is known.
    pub async fn assignment_upsert_node(&self, cloud: &str, id_vm: &str, hostname: &str) -> Result<Assignment, Error> {
        if let Some(known) = self.assignment_by_vm(cloud, id_vm).await?
            && known.hostname == hostname
        {
            return Ok(known);
        }
        let sql = concat!(
            "INSERT INTO assignments (cloud, id_vm, hostname, status, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $5) ON CONFLICT (cloud, id_vm) \
             DO UPDATE SET hostname = excluded.hostname, updated_at = excluded.updated_at RETURNING ",
            columns!()
        );
        let row = self.db().write_optional(sql, args![cloud, id_vm, hostname, FREE, crate::now()]).await?;
        assignment(&row.ok_or(Error::Corrupt("assignment"))?)
    }

    /// Gives a free machine to a user. Of several at once, one gets it.
    pub async fn assignment_assign(
        &self,
        cloud: &str,
        id_vm: &str,
        user: &str,
        recipe: Option<&str>,
        recipe_id: Option<i64>,
    ) -> Result<Assignment, AssignError> {
        let sql = concat!(
            "UPDATE assignments SET user_name = $3, recipe = $4, recipe_id = $5, status = $6, updated_at = $7 \
             WHERE cloud = $1 AND id_vm = $2 AND user_name IS NULL RETURNING ",
            columns!()
        );
        let args = args![cloud, id_vm, user, recipe, recipe_id, ASSIGNED, crate::now()];
        if let Some(row) = self.db().write_optional(sql, args).await? {
            return Ok(assignment(&row)?);
        }
        match self.assignment_by_vm(cloud, id_vm).await? {
            None => Err(AssignError::NotFound),
            Some(taken) => Err(AssignError::Taken(Box::new(taken))),
        }
    }

    /// Frees a machine, whoever used it; none where there is no such machine. Freeing a free one changes nothing.
    pub async fn assignment_release(&self, cloud: &str, id_vm: &str) -> Result<Option<Assignment>, Error> {
        let sql = concat!(
            "UPDATE assignments SET user_name = NULL, recipe = NULL, recipe_id = NULL, status = $3, updated_at = $4 \
             WHERE cloud = $1 AND id_vm = $2 AND user_name IS NOT NULL RETURNING ",
            columns!()
        );
        match self.db().write_optional(sql, args![cloud, id_vm, FREE, crate::now()]).await? {
            Some(row) => assignment(&row).map(Some),
            None => self.assignment_by_vm(cloud, id_vm).await,
        }
    }

    /// Forgets a machine. Whether it was known.
    pub async fn assignment_remove(&self, cloud: &str, id_vm: &str) -> Result<bool, Error> {
        let sql = "DELETE FROM assignments WHERE cloud = $1 AND id_vm = $2 RETURNING 1";
        Ok(self.db().write_count(sql, args![cloud, id_vm]).await? > 0)
    }

    /// All machines of a cloud, in the order in which they became known.
    pub async fn assignments(&self, cloud: &str) -> Result<Vec<Assignment>, Error> {
        let sql = concat!("SELECT ", columns!(), " FROM assignments WHERE cloud = $1 ORDER BY id");
        self.db().all(sql, args![cloud]).await?.iter().map(assignment).collect()
    }

    /// The machine of this name; of several, the one that became known first.
    pub async fn assignment_by_hostname(&self, cloud: &str, hostname: &str) -> Result<Option<Assignment>, Error> {
        let sql = concat!("SELECT ", columns!(), " FROM assignments WHERE cloud = $1 AND hostname = $2 ORDER BY id LIMIT 1");
        self.db().optional(sql, args![cloud, hostname]).await?.as_ref().map(assignment).transpose()
    }

    /// The machine with this identifier.
    pub async fn assignment_by_vm(&self, cloud: &str, id_vm: &str) -> Result<Option<Assignment>, Error> {
        let sql = concat!("SELECT ", columns!(), " FROM assignments WHERE cloud = $1 AND id_vm = $2");
        self.db().optional(sql, args![cloud, id_vm]).await?.as_ref().map(assignment).transpose()
    }
}

fn assignment(row: &Row) -> Result<Assignment, Error> {
    Ok(Assignment {
        id: row.get(0)?,
        cloud: row.get(1)?,
        id_vm: row.get(2)?,
        hostname: row.get(3)?,
        user: row.get(4)?,
        recipe: row.get(5)?,
        recipe_id: row.get(6)?,
        status: row.get(7)?,
        created_at: row.get(8)?,
        updated_at: row.get(9)?,
    })
}
