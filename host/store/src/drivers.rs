//! Which component serves which driver name, now and before.

use serde_json::Value;

use crate::db::{Row, args, transaction};
use crate::events::append;
use crate::operations::text_enum;
use crate::{Error, NewEvent, Store};

text_enum! {
    /// How a component came to serve.
    DriverSource, "source of a driver" {
        /// It is part of the program.
        Builtin = "builtin",
        /// It lay in the watched directory.
        Directory = "directory",
        /// Somebody uploaded it.
        Upload = "upload",
        /// Somebody went back to it.
        Rollback = "rollback",
    }
}

/// A component that serves or served a driver name.
#[derive(Debug, Clone, PartialEq)]
pub struct DriverVersion {
    /// A number that grows with every installation of any driver.
    pub id: i64,
    /// The driver's name.
    pub driver: String,
    /// The component's digest, `sha256:<hex>`.
    pub digest: String,
    /// How it came to serve.
    pub source: DriverSource,
    /// What it said of itself when it was installed, as JSON.
    pub description: Value,
    /// When, in microseconds UTC.
    pub installed_at: i64,
    /// Who did it.
    pub installed_by: String,
}

/// A component that is to serve from now on.
#[derive(Debug, Clone, PartialEq)]
pub struct NewDriverVersion {
    /// See [`DriverVersion::driver`].
    pub driver: String,
    /// See [`DriverVersion::digest`].
    pub digest: String,
    /// See [`DriverVersion::source`].
    pub source: DriverSource,
    /// See [`DriverVersion::description`].
    pub description: Value,
    /// See [`DriverVersion::installed_by`].
    pub installed_by: String,
}

/// The columns of a version `v`.
macro_rules! columns {
    () => {
        "v.id, v.driver, v.digest, v.source, v.description, v.installed_at, v.installed_by"
    };
}

macro_rules! active {
    ($condition:literal) => {
        concat!("SELECT ", columns!(), " FROM driver_active a JOIN driver_versions v ON v.id = a.version_id ", $condition)
    };
}

impl Store {
    /// Adds a component to the driver's history and makes it the active one, and appends the event with it. Of several at once,
    /// the one with the highest number ends up active.
    pub async fn driver_record(&self, new: &NewDriverVersion, event: Option<&NewEvent>) -> Result<DriverVersion, Error> {
        let now = crate::now();
        let description = new.description.to_string();
        transaction!(self.db(), |tx| async {
            // Locks the driver, so that the numbers are given in the order of the commits.
            let sql = "INSERT INTO driver_active (driver, version_id) VALUES ($1, NULL) \
                           ON CONFLICT (driver) DO UPDATE SET driver = excluded.driver";
            tx.execute(sql, args![&new.driver]).await?;
            let sql = "INSERT INTO driver_versions (driver, digest, source, description, installed_at, installed_by) \
                           VALUES ($1, $2, $3, $4, $5, $6) RETURNING id";
            let args = args![&new.driver, &new.digest, new.source.as_str(), &description, now, &new.installed_by];
            let id: i64 = tx.one(sql, args).await?.get(0)?;
            let sql = "UPDATE driver_active SET version_id = $2 WHERE driver = $1";
            tx.execute(sql, args![&new.driver, id]).await?;
            if let Some(event) = event {
                append(tx, event).await?;
            }
            Ok(DriverVersion {
                id,
                driver: new.driver.clone(),
                digest: new.digest.clone(),
                source: new.source,
                description: new.description.clone(),
                installed_at: now,
                installed_by: new.installed_by.clone(),
            })
        })
    }

    /// The component that serves this driver.
    pub async fn driver_active(&self, driver: &str) -> Result<Option<DriverVersion>, Error> {
        let row = self.db().optional(active!("WHERE a.driver = $1"), args![driver]).await?;
        row.as_ref().map(version).transpose()
    }

    /// The components that serve, sorted by the driver's name.
    pub async fn drivers_active(&self) -> Result<Vec<DriverVersion>, Error> {
        self.db().all(active!("ORDER BY a.driver"), &[]).await?.iter().map(version).collect()
    }

    /// Up to `limit` components that serve or served this driver, the latest first.
    pub async fn driver_history(&self, driver: &str, limit: u32) -> Result<Vec<DriverVersion>, Error> {
        let sql = concat!("SELECT ", columns!(), " FROM driver_versions v WHERE v.driver = $1 ORDER BY v.id DESC LIMIT $2");
        self.db().all(sql, args![driver, limit]).await?.iter().map(version).collect()
    }

    /// Leaves the driver without an active component; the history stays. Whether there was one.
    pub async fn driver_forget(&self, driver: &str) -> Result<bool, Error> {
        let sql = "UPDATE driver_active SET version_id = NULL WHERE driver = $1 AND version_id IS NOT NULL RETURNING 1";
        Ok(self.db().write_count(sql, args![driver]).await? > 0)
    }

    /// The digest that was last taken from the watched directory for this driver.
    pub async fn directory_seen(&self, driver: &str) -> Result<Option<String>, Error> {
        let sql = "SELECT digest FROM driver_directory WHERE driver = $1";
        self.db().optional(sql, args![driver]).await?.map(|row| row.get(0)).transpose()
    }

    /// Notes the digest taken from the watched directory.
    pub async fn set_directory_seen(&self, driver: &str, digest: &str) -> Result<(), Error> {
        let sql = "INSERT INTO driver_directory (driver, digest, seen_at) VALUES ($1, $2, $3) ON CONFLICT (driver) \
                   DO UPDATE SET digest = excluded.digest, seen_at = excluded.seen_at RETURNING 1";
        self.db().write_count(sql, args![driver, digest, crate::now()]).await?;
        Ok(())
    }
}

fn version(row: &Row) -> Result<DriverVersion, Error> {
    Ok(DriverVersion {
        id: row.get(0)?,
        driver: row.get(1)?,
        digest: row.get(2)?,
        source: DriverSource::parse(&row.get::<String>(3)?)?,
        description: row.json(4)?,
        installed_at: row.get(5)?,
        installed_by: row.get(6)?,
    })
}
