//! Opening and closing.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use crate::db::Db;
use crate::error::Error;
use crate::migrations;

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Connections to PostgreSQL at most.
    pub connections: u32,
    /// Connections that read a SQLite file, besides the one that writes.
    pub readers: u32,
    /// How long a call waits for a connection before it is [`Error::Unavailable`].
    pub acquire_timeout: Duration,
    /// How long PostgreSQL works on one statement, waiting for locks included, before it is [`Error::Unavailable`]; also how
    /// long SQLite waits for a lock of a foreign program.
    pub statement_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { connections: 16, readers: 4, acquire_timeout: Duration::from_secs(10), statement_timeout: Duration::from_secs(10) }
    }
}

/// A handle to the database; clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    db: Db,
    /// Held as long as the SQLite file is open.
    lock: Option<File>,
    /// Signalled when a callback was written down by way of this handle.
    callbacks: tokio::sync::Notify,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_shared() { "Store(PostgreSQL)" } else { "Store(SQLite)" })
    }
}

impl Store {
    /// Opens the database, creates it (SQLite) and brings its tables up to date.
    ///
    /// The URL is `sqlite:PATH` (`sqlite:///absolute/path` means the same as `sqlite:/absolute/path`), `sqlite::memory:`, or
    /// `postgres://…`, `postgresql://…` with the parameters of libpq. A SQLite file is created readable by its owner only and
    /// guarded by a lock on `PATH.lock`: a second opening is [`Error::InUse`] until the first is closed or its process is gone.
    pub async fn open(url: &str, options: &Options) -> Result<Self, Error> {
        let opening: Pin<Box<dyn Future<Output = Result<Self, Error>> + Send + '_>> = match url.split_once(':') {
            Some(("sqlite", ":memory:")) => Box::pin(Self::open_memory(options)),
            Some(("sqlite", path)) => Box::pin(Self::open_file(Path::new(path.strip_prefix("//").unwrap_or(path)), options)),
            Some(("postgres" | "postgresql", _)) => Box::pin(Self::open_postgres(url, options)),
            _ => {
                let known = "it must start with sqlite:, postgres: or postgresql:";
                return Err(Error::Url(known.into()));
            }
        };
        opening.await
    }

    async fn open_memory(options: &Options) -> Result<Self, Error> {
        let connect = SqliteConnectOptions::new().busy_timeout(options.statement_timeout);
        let pool = sqlite_pool(options, 1).connect_with(connect).await.map_err(Error::of)?;
        migrations::sqlite().run(&pool).await.map_err(migrations::error)?;
        Ok(Self::new(Db::Sqlite { writer: pool.clone(), readers: pool }, None))
    }

    async fn open_file(path: &Path, options: &Options) -> Result<Self, Error> {
        let name = path.to_str().unwrap_or_default();
        if name.is_empty() || name.starts_with(':') || name.contains(['?', '\0']) {
            return Err(Error::Url("sqlite: must be followed by a path, without parameters".into()));
        }
        let (path, lock) = lock_file(path)?;
        let connect = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(options.statement_timeout)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL: in this mode NORMAL may lose the last commits with the power.
            .synchronous(SqliteSynchronous::Full);
        let writer = sqlite_pool(options, 1).connect_with(connect.clone()).await.map_err(Error::of)?;
        migrations::sqlite().run(&writer).await.map_err(migrations::error)?;
        let readers = sqlite_pool(options, options.readers.max(1))
            .connect_with(connect.pragma("query_only", "ON"))
            .await
            .map_err(Error::of)?;
        Ok(Self::new(Db::Sqlite { writer, readers }, Some(lock)))
    }

    async fn open_postgres(url: &str, options: &Options) -> Result<Self, Error> {
        // The parser's own words are not passed on, as they may quote the password.
        let connect = PgConnectOptions::from_str(url)
            .map_err(|_| Error::Url("it is not a PostgreSQL connection URL".into()))?
            .application_name("ostler");

        // On a connection of its own, without the timeout: another host may be migrating just now. Its end releases the
        // migrator's lock, also after a failure.
        let migrating = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(options.acquire_timeout)
            .connect_with(connect.clone())
            .await
            .map_err(Error::of)?;
        let migrated = migrations::postgres().run(&migrating).await;
        migrating.close().await;
        migrated.map_err(migrations::error)?;

        let timeout = options.statement_timeout.as_millis().max(1).to_string();
        let connect = connect.options([
            ("statement_timeout", timeout.as_str()),
            ("idle_in_transaction_session_timeout", "60000"),
            // The statements are written for it.
            ("default_transaction_isolation", "read committed"),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(options.connections.max(1))
            .acquire_timeout(options.acquire_timeout)
            .connect_with(connect)
            .await
            .map_err(Error::of)?;
        Ok(Self::new(Db::Postgres(pool), None))
    }

    fn new(db: Db, lock: Option<File>) -> Self {
        Self { inner: Arc::new(Inner { db, lock, callbacks: tokio::sync::Notify::new() }) }
    }

    pub(crate) fn db(&self) -> &Db {
        &self.inner.db
    }

    pub(crate) fn callbacks_signal(&self) -> &tokio::sync::Notify {
        &self.inner.callbacks
    }

    /// Whether other hosts may share this database: true for PostgreSQL.
    pub fn is_shared(&self) -> bool {
        matches!(self.inner.db, Db::Postgres(_))
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), Error> {
        self.db().all("SELECT 1", &[]).await?;
        Ok(())
    }

    /// Waits for the connections in use, closes all of them and releases the SQLite file's lock. Every later call, on any
    /// clone, is [`Error::Closed`].
    pub async fn close(&self) {
        match &self.inner.db {
            Db::Sqlite { writer, readers } => {
                readers.close().await;
                // Last, so that it is the one that folds the write-ahead log into the file.
                writer.close().await;
            }
            Db::Postgres(pool) => pool.close().await,
        }
        if let Some(lock) = &self.inner.lock
            && let Err(error) = lock.unlock()
        {
            tracing::warn!(%error, "the store's lock is released only at the end of the process");
        }
    }
}

/// Connections of SQLite cost nothing while idle, and in memory they are the database: none is ever retired.
fn sqlite_pool(options: &Options, connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .min_connections(connections)
        .acquire_timeout(options.acquire_timeout)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

/// Locks the database file against other processes and creates it where there is none. The lock is on a file of its own, and a
/// database file that exists is not opened here: closing any of a process's descriptors of it would drop the locks that SQLite
/// holds on it in the same process.
fn lock_file(path: &Path) -> Result<(PathBuf, File), Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { path, source }
    };
    let path = canonical(path).map_err(failed(path))?;
    let mut lock_path = path.clone().into_os_string();
    lock_path.push(".lock");
    let lock_path = PathBuf::from(lock_path);
    let lock = private_file(&lock_path).map_err(failed(&lock_path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(Error::InUse(lock_path)),
        Err(TryLockError::Error(source)) => {
            return Err(Error::File { path: lock_path, source });
        }
    }
    if !path.exists() {
        private_file(&path).map_err(failed(&path))?;
    }
    Ok((path, lock))
}

/// The path without links, so that one database has one lock, whatever it is called. The file need not exist.
fn canonical(path: &Path) -> std::io::Result<PathBuf> {
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Err(error), Some(parent), Some(name)) if error.kind() == std::io::ErrorKind::NotFound => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            Ok(parent.canonicalize()?.join(name))
        }
        (outcome, ..) => outcome,
    }
}

/// Opens a file and, where there is none, creates it for its owner alone. SQLite gives its own files the same mode.
fn private_file(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
