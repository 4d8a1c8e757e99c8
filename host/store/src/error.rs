//! Why the store did not do what it was asked to.

use std::path::PathBuf;

/// Why the store did not do what it was asked to. Nothing was changed, unless it is [`Error::Unavailable`]: a connection that is
/// lost during a commit leaves the outcome open. Carries no stored value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL is none that the store understands. Does not repeat the URL, which may hold a password.
    #[error("the store's URL is not usable: {0}")]
    Url(String),
    /// Another process, or another handle in this one, has opened the SQLite file.
    #[error("the store is in use: another process holds the lock {}", .0.display())]
    InUse(PathBuf),
    /// A file of the store cannot be opened.
    #[error("the store's file {} cannot be opened: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database was written by a later version of this program.
    #[error("the database is from a newer version: it has migration {found}, this program knows none after {known}")]
    NewerSchema {
        /// A migration of the database that this program lacks.
        found: i64,
        /// The last migration that this program has.
        known: i64,
    },
    /// The tables cannot be brought up to date.
    #[error("the database cannot be migrated: {0}")]
    Migration(String),
    /// The database does not answer, or has no connection to spare.
    #[error("the database does not answer: {0}")]
    Unavailable(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The transaction collided with others more often than it is repeated.
    #[error("the database is too busy: the transaction collided with others")]
    Contention,
    /// Something of the kind with this name exists.
    #[error("{0} exists already")]
    Exists(&'static str),
    /// There is no such thing.
    #[error("{0} does not exist")]
    NotFound(&'static str),
    /// Something else still refers to it.
    #[error("{0} is still in use")]
    Referenced(&'static str),
    /// The idempotency key was used before, with another input.
    #[error("the idempotency key was used before with another input")]
    IdempotencyMismatch,
    /// The operation is no longer pending, or its lease is another owner's.
    #[error("the operation is not pending or another owner holds its lease")]
    Lost,
    /// A value that the store cannot hold.
    #[error("cannot be stored: {0}")]
    Invalid(&'static str),
    /// A stored value that cannot be read.
    #[error("the stored {0} cannot be read")]
    Corrupt(&'static str),
    /// The database refused a statement.
    #[error("the database refused ({code}): {message}")]
    Database {
        /// The engine's code; empty where it gave none.
        code: String,
        /// The engine's message.
        message: String,
    },
}

impl Error {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Contention)
    }

    /// Names what exists already, or does not exist.
    pub(crate) fn about(self, what: &'static str) -> Self {
        match self {
            Self::Exists(_) => Self::Exists(what),
            Self::NotFound(_) => Self::NotFound(what),
            other => other,
        }
    }

    /// Translates. The library's error is not kept as a source: its `Debug` output quotes rows.
    pub(crate) fn of(error: sqlx::Error) -> Self {
        use sqlx::error::ErrorKind;
        match error {
            sqlx::Error::PoolClosed => Self::Closed,
            sqlx::Error::PoolTimedOut
            | sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => Self::Unavailable(error.to_string()),
            sqlx::Error::Database(error) => match error.kind() {
                ErrorKind::UniqueViolation => Self::Exists("the record"),
                ErrorKind::ForeignKeyViolation => Self::NotFound("what the record refers to"),
                _ => {
                    let code = error.code().unwrap_or_default();
                    match &*code {
                        // PostgreSQL: serialization failure, deadlock.
                        "40001" | "40P01" => Self::Contention,
                        // PostgreSQL: statement timeout, lock timeout, shutdown, crash, starting, too many connections.
                        "57014" | "55P03" | "57P01" | "57P02" | "57P03" | "53300"
                        // SQLite, where it has waited in vain for a foreign program: busy, locked, and forms of busy.
                        | "5" | "6" | "261" | "517" => Self::Unavailable(error.message().to_owned()),
                        _ => Self::Database { code: code.into_owned(), message: error.message().to_owned() },
                    }
                }
            },
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnIndexOutOfBounds { .. } => {
                Self::Corrupt("column")
            }
            other => Self::Database { code: String::new(), message: other.to_string() },
        }
    }
}
