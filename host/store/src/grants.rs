//! What issuers have given for acting on behalf of persons later. It is sealed: what is in here is of no use without a key that is
//! elsewhere.

use crate::db::args;
use crate::{Error, Store};

impl Store {
    /// Keeps a sealed grant in the place of the one before.
    pub async fn grant_put(&self, issuer: &str, subject: &str, sealed: &[u8]) -> Result<(), Error> {
        let sql = "INSERT INTO grants (issuer, subject, sealed, updated_at) VALUES ($1, $2, $3, $4) \
                   ON CONFLICT (issuer, subject) DO UPDATE SET sealed = excluded.sealed, updated_at = excluded.updated_at, \
                   lease_owner = NULL, lease_until = NULL RETURNING 1";
        self.db().write_count(sql, args![issuer, subject, sealed, crate::now()]).await?;
        Ok(())
    }

    /// Whether there is a grant, whoever has it.
    pub async fn grant_exists(&self, issuer: &str, subject: &str) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM grants WHERE issuer = $1 AND subject = $2";
        Ok(self.db().optional(sql, args![issuer, subject]).await?.is_some())
    }

    /// Takes a grant, for nobody else until then; none where there is none, or somebody else has it.
    pub async fn grant_take(
        &self,
        issuer: &str,
        subject: &str,
        owner: &str,
        now: i64,
        until: i64,
    ) -> Result<Option<Vec<u8>>, Error> {
        let sql = "UPDATE grants SET lease_owner = $3, lease_until = $5 \
                   WHERE issuer = $1 AND subject = $2 AND (lease_until IS NULL OR lease_until <= $4) RETURNING sealed";
        self.db().write_optional(sql, args![issuer, subject, owner, now, until]).await?.map(|row| row.get(0)).transpose()
    }

    /// Gives back a grant that was taken: another in its place, or the same. [`Error::Lost`] where it is not this owner's.
    pub async fn grant_return(&self, issuer: &str, subject: &str, owner: &str, sealed: Option<&[u8]>) -> Result<(), Error> {
        let sql = "UPDATE grants SET sealed = COALESCE($4, sealed), lease_owner = NULL, lease_until = NULL, updated_at = $5 \
                   WHERE issuer = $1 AND subject = $2 AND lease_owner = $3 RETURNING 1";
        let returned = self.db().write_count(sql, args![issuer, subject, owner, sealed, crate::now()]).await?;
        if returned == 0 { Err(Error::Lost) } else { Ok(()) }
    }

    /// Forgets a grant that this owner has taken: it is good for nothing any more.
    pub async fn grant_forget(&self, issuer: &str, subject: &str, owner: &str) -> Result<bool, Error> {
        let sql = "DELETE FROM grants WHERE issuer = $1 AND subject = $2 AND lease_owner = $3 RETURNING 1";
        Ok(self.db().write_count(sql, args![issuer, subject, owner]).await? > 0)
    }
}
