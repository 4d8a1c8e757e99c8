//! The tables and their history. Each version is a pair of files, one an engine, in `migrations/`; a released file is never
//! edited, a change is a new version.

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use crate::error::Error;

/// Version, name, text for SQLite, text for PostgreSQL.
const MIGRATIONS: &[(i64, &str, &str, &str)] = &[
    (
        1,
        "initial",
        include_str!("../migrations/0001_initial.sqlite.sql"),
        include_str!("../migrations/0001_initial.postgres.sql"),
    ),
    (
        2,
        "services",
        include_str!("../migrations/0002_services.sqlite.sql"),
        include_str!("../migrations/0002_services.postgres.sql"),
    ),
    (3, "work", include_str!("../migrations/0003_work.sqlite.sql"), include_str!("../migrations/0003_work.postgres.sql")),
    (
        4,
        "deployments",
        include_str!("../migrations/0004_deployments.sqlite.sql"),
        include_str!("../migrations/0004_deployments.postgres.sql"),
    ),
    (
        5,
        "callbacks",
        include_str!("../migrations/0005_callbacks.sqlite.sql"),
        include_str!("../migrations/0005_callbacks.postgres.sql"),
    ),
    (
        6,
        "schedules",
        include_str!("../migrations/0006_schedules.sqlite.sql"),
        include_str!("../migrations/0006_schedules.postgres.sql"),
    ),
    (7, "links", include_str!("../migrations/0007_links.sqlite.sql"), include_str!("../migrations/0007_links.postgres.sql")),
    (
        8,
        "reports",
        include_str!("../migrations/0008_reports.sqlite.sql"),
        include_str!("../migrations/0008_reports.postgres.sql"),
    ),
    (
        9,
        "instances",
        include_str!("../migrations/0009_instances.sqlite.sql"),
        include_str!("../migrations/0009_instances.postgres.sql"),
    ),
    (
        10,
        "forwards",
        include_str!("../migrations/0010_forwards.sqlite.sql"),
        include_str!("../migrations/0010_forwards.postgres.sql"),
    ),
    (
        11,
        "samples",
        include_str!("../migrations/0011_samples.sqlite.sql"),
        include_str!("../migrations/0011_samples.postgres.sql"),
    ),
    (
        12,
        "resource credit",
        include_str!("../migrations/0012_resource_credit.sqlite.sql"),
        include_str!("../migrations/0012_resource_credit.postgres.sql"),
    ),
    (
        13,
        "accounts",
        include_str!("../migrations/0013_accounts.sqlite.sql"),
        include_str!("../migrations/0013_accounts.postgres.sql"),
    ),
    (14, "grants", include_str!("../migrations/0014_grants.sqlite.sql"), include_str!("../migrations/0014_grants.postgres.sql")),
    (
        15,
        "application requests",
        include_str!("../migrations/0015_application_requests.sqlite.sql"),
        include_str!("../migrations/0015_application_requests.postgres.sql"),
    ),
];

/// The migrations for SQLite.
pub(crate) fn sqlite() -> Migrator {
    migrator(|&(version, name, sqlite, _)| (version, name, sqlite))
}

/// The migrations for PostgreSQL.
pub(crate) fn postgres() -> Migrator {
    migrator(|&(version, name, _, postgres)| (version, name, postgres))
}

type Versioned = (i64, &'static str, &'static str, &'static str);

fn migrator(pick: impl Fn(&Versioned) -> (i64, &'static str, &'static str)) -> Migrator {
    let migrations = MIGRATIONS.iter().map(|versioned| {
        let (version, name, sql) = pick(versioned);
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.collect())
}

/// Translates.
pub(crate) fn error(error: MigrateError) -> Error {
    let known = MIGRATIONS.iter().map(|(version, ..)| *version).max().unwrap_or(0);
    match error {
        MigrateError::VersionMissing(found) if found > known => Error::NewerSchema { found, known },
        MigrateError::Execute(error) => Error::of(error),
        other => Error::Migration(other.to_string()),
    }
}
