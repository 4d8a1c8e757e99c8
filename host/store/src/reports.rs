//! What machines say of what they had to do.

use crate::db::args;
use crate::operations::text_enum;
use crate::{Error, Store};

text_enum! {
    /// How far a machine is with what it has to do.
    ReportState, "state of a report" {
        /// It has not come to its end.
        Awaited = "awaited",
        /// All is done.
        Done = "done",
        /// Something went wrong.
        Failed = "failed",
    }
}

/// What is known of what a machine had to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineReport {
    /// The deployment.
    pub deployment: String,
    /// The machine's resource.
    pub resource: String,
    /// How far it is.
    pub state: ReportState,
    /// What went wrong.
    pub message: Option<String>,
}

impl Store {
    /// Expects reports with the token of this hash. Doing it again changes nothing. [`Error::NotFound`] where the deployment is gone.
    pub async fn report_await(&self, token_hash: &[u8], deployment: &str, resource: &str) -> Result<(), Error> {
        let sql = "INSERT INTO machine_reports (token_hash, deployment, resource, state, created_at, updated_at) \
                   SELECT $1, $2, $3, 'awaited', $4, $4 WHERE EXISTS (SELECT 1 FROM deployments WHERE id = $2) \
                   ON CONFLICT (token_hash) DO UPDATE SET token_hash = excluded.token_hash RETURNING 1";
        match self.db().write_count(sql, args![token_hash, deployment, resource, crate::now()]).await? {
            0 => Err(Error::NotFound("the deployment")),
            _ => Ok(()),
        }
    }

    /// What came with the token of this hash.
    pub async fn report_get(&self, token_hash: &[u8]) -> Result<Option<MachineReport>, Error> {
        let sql = "SELECT deployment, resource, state, message FROM machine_reports WHERE token_hash = $1";
        let Some(row) = self.db().optional(sql, args![token_hash]).await? else { return Ok(None) };
        let state = ReportState::parse(&row.get::<String>(2)?)?;
        Ok(Some(MachineReport { deployment: row.get(0)?, resource: row.get(1)?, state, message: row.get(3)? }))
    }

    /// Notes that all is done, whatever went wrong before, or what went wrong, if nothing was done or wrong yet.
    pub async fn report_end(&self, token_hash: &[u8], failure: Option<&str>) -> Result<(), Error> {
        let sql = match failure {
            None => "UPDATE machine_reports SET state = 'done', message = $2, updated_at = $3 WHERE token_hash = $1 RETURNING 1",
            Some(_) => {
                "UPDATE machine_reports SET state = 'failed', message = $2, updated_at = $3 \
                 WHERE token_hash = $1 AND state = 'awaited' RETURNING 1"
            }
        };
        self.db().write_count(sql, args![token_hash, failure, crate::now()]).await?;
        Ok(())
    }

    /// Expects no reports of a resource's machine any more.
    pub async fn report_forget(&self, deployment: &str, resource: &str) -> Result<(), Error> {
        let sql = "DELETE FROM machine_reports WHERE deployment = $1 AND resource = $2 RETURNING 1";
        self.db().write_count(sql, args![deployment, resource]).await?;
        Ok(())
    }
}
