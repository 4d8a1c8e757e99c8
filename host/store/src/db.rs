//! The one place that knows two engines: each statement is written once, with `$1` parameters, and runs on either.

use std::pin::Pin;
use std::time::Duration;

use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, PgPool, Postgres, Row as _, Sqlite, SqlitePool, Transaction, Type};

use crate::error::Error;

/// How often a transaction runs that collides with others.
const ATTEMPTS: u32 = 10;

/// A future that is known to be `Send`. The library's own futures are so for particular lifetimes only, which the compiler cannot
/// see through the callers' futures.
type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// The pools.
pub(crate) enum Db {
    /// One connection writes, others read; in memory they are the same one.
    Sqlite { writer: SqlitePool, readers: SqlitePool },
    /// Shared with other hosts.
    Postgres(PgPool),
}

/// A parameter. Typed also where it is null, as PostgreSQL wants to know.
pub(crate) enum Arg<'a> {
    Int(Option<i64>),
    Text(Option<&'a str>),
    Blob(Option<&'a [u8]>),
}

macro_rules! arg_from {
    ($($source:ty => $variant:ident),* $(,)?) => {$(
        impl<'a> From<$source> for Arg<'a> {
            fn from(value: $source) -> Self {
                Arg::$variant(value.into())
            }
        }
    )*};
}
arg_from!(
    i64 => Int, Option<i64> => Int,
    &'a str => Text, Option<&'a str> => Text,
    &'a [u8] => Blob, Option<&'a [u8]> => Blob,
);

impl<'a> From<&'a String> for Arg<'a> {
    fn from(value: &'a String) -> Self {
        Arg::Text(Some(value))
    }
}

impl<'a> From<&'a Option<String>> for Arg<'a> {
    fn from(value: &'a Option<String>) -> Self {
        Arg::Text(value.as_deref())
    }
}

impl<'a> From<&'a Vec<u8>> for Arg<'a> {
    fn from(value: &'a Vec<u8>) -> Self {
        Arg::Blob(Some(value))
    }
}

impl From<u32> for Arg<'_> {
    fn from(value: u32) -> Self {
        Arg::Int(Some(value.into()))
    }
}

impl From<bool> for Arg<'_> {
    fn from(value: bool) -> Self {
        Arg::Int(Some(value.into()))
    }
}

/// Parameters, in order.
macro_rules! args {
    ($($value:expr),* $(,)?) => { &[$($crate::db::Arg::from($value)),*] };
}
pub(crate) use args;

/// A row of a result.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// A type that a column of either engine can be read as.
pub(crate) trait Column:
    Type<Sqlite> + Type<Postgres> + for<'r> Decode<'r, Sqlite> + for<'r> Decode<'r, Postgres>
{
}
impl<T> Column for T where T: Type<Sqlite> + Type<Postgres> + for<'r> Decode<'r, Sqlite> + for<'r> Decode<'r, Postgres> {}

impl Row {
    /// A column, by its number from 0.
    pub(crate) fn get<T: Column>(&self, index: usize) -> Result<T, Error> {
        match self {
            Self::Sqlite(row) => row.try_get(index),
            Self::Postgres(row) => row.try_get(index),
        }
        .map_err(Error::of)
    }

    /// A column that holds a count, a version or a size.
    pub(crate) fn unsigned(&self, index: usize) -> Result<u64, Error> {
        u64::try_from(self.get::<i64>(index)?).map_err(|_| Error::Corrupt("number"))
    }

    /// A column that holds 0 or 1.
    pub(crate) fn flag(&self, index: usize) -> Result<bool, Error> {
        Ok(self.get::<i64>(index)? != 0)
    }

    /// A column that holds JSON.
    pub(crate) fn json(&self, index: usize) -> Result<serde_json::Value, Error> {
        serde_json::from_str(&self.get::<String>(index)?).map_err(|_| Error::Corrupt("JSON"))
    }

    /// A column that holds JSON or null.
    pub(crate) fn json_option(&self, index: usize) -> Result<Option<serde_json::Value>, Error> {
        self.get::<Option<String>>(index)?.map(|text| serde_json::from_str(&text).map_err(|_| Error::Corrupt("JSON"))).transpose()
    }
}

/// Runs on an executor of either engine, always to the end of the result: a statement left halfway would not be committed.
macro_rules! run {
    ($executor:expr, $sql:expr, $args:expr, $method:ident) => {{
        let mut query = sqlx::query($sql);
        for arg in $args {
            query = match *arg {
                Arg::Int(value) => query.bind(value),
                Arg::Text(value) => query.bind(value),
                Arg::Blob(value) => query.bind(value),
            };
        }
        query.$method($executor).await.map_err(Error::of)?
    }};
}

/// The same refusal on both engines; SQLite would take such text and PostgreSQL would not.
fn check(args: &[Arg<'_>]) -> Result<(), Error> {
    let holds_nul = |arg: &Arg<'_>| matches!(arg, Arg::Text(Some(text)) if text.as_bytes().contains(&0));
    if args.iter().any(holds_nul) { Err(Error::Invalid("text with U+0000")) } else { Ok(()) }
}

fn sqlite_rows(rows: Vec<SqliteRow>) -> Vec<Row> {
    rows.into_iter().map(Row::Sqlite).collect()
}

fn postgres_rows(rows: Vec<PgRow>) -> Vec<Row> {
    rows.into_iter().map(Row::Postgres).collect()
}

/// The row of a statement that gives at most one.
fn at_most_one(rows: Vec<Row>) -> Option<Row> {
    rows.into_iter().next()
}

/// A transaction. On SQLite it holds the only writing connection from its beginning on; on PostgreSQL it is READ COMMITTED.
/// Rolled back when dropped.
pub(crate) enum Tx {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

impl Tx {
    /// All rows.
    pub(crate) fn all<'a>(&'a mut self, sql: &'static str, args: &'a [Arg<'a>]) -> Boxed<'a, Vec<Row>> {
        Box::pin(async move {
            check(args)?;
            Ok(match self {
                Self::Sqlite(tx) => sqlite_rows(run!(&mut **tx, sql, args, fetch_all)),
                Self::Postgres(tx) => postgres_rows(run!(&mut **tx, sql, args, fetch_all)),
            })
        })
    }

    /// The row, if there is one.
    pub(crate) async fn optional(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<Option<Row>, Error> {
        self.all(sql, args).await.map(at_most_one)
    }

    /// The row of a statement that always gives one.
    pub(crate) async fn one(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<Row, Error> {
        self.optional(sql, args).await?.ok_or(Error::Corrupt("row"))
    }

    /// The number of rows changed.
    pub(crate) fn execute<'a>(&'a mut self, sql: &'static str, args: &'a [Arg<'a>]) -> Boxed<'a, u64> {
        Box::pin(async move {
            check(args)?;
            Ok(match self {
                Self::Sqlite(tx) => run!(&mut **tx, sql, args, execute).rows_affected(),
                Self::Postgres(tx) => run!(&mut **tx, sql, args, execute).rows_affected(),
            })
        })
    }

    /// Commits what went well and rolls back what did not.
    pub(crate) async fn end<T, E: Refusal>(self, outcome: Result<T, E>) -> Result<T, E> {
        let closed = self.close(outcome.is_ok()).await;
        match (outcome, closed) {
            (Ok(_), Err(error)) => Err(error.into()),
            (outcome, Ok(())) => outcome,
            (refused, Err(error)) => {
                tracing::debug!(%error, "rollback failed; the connection is given up");
                refused
            }
        }
    }

    fn close(self, commit: bool) -> Boxed<'static, ()> {
        Box::pin(async move {
            match (self, commit) {
                (Self::Sqlite(tx), true) => tx.commit().await,
                (Self::Postgres(tx), true) => tx.commit().await,
                (Self::Sqlite(tx), false) => tx.rollback().await,
                (Self::Postgres(tx), false) => tx.rollback().await,
            }
            .map_err(Error::of)
        })
    }
}

/// Runs a future in a transaction, `transaction!(db, |tx| future)`: commits what ends well and rolls back what does not. The
/// future is made anew when it collided with another transaction, so it must do nothing but talk to the database. A macro,
/// since the future of an asynchronous closure that borrows is not known to be `Send`, either.
macro_rules! transaction {
    ($db:expr, |$tx:ident| $future:expr) => {{
        let mut attempt = 1;
        loop {
            let outcome = match $db.begin().await {
                Ok(mut open) => {
                    let $tx = &mut open;
                    let outcome = $future.await;
                    open.end(outcome).await
                }
                Err(error) => Err(error.into()),
            };
            if !$crate::db::again(&outcome, &mut attempt).await {
                break outcome;
            }
        }
    }};
}
pub(crate) use transaction;

/// Whether a transaction that ended so is to run again; waits before it.
pub(crate) async fn again<T, E: Refusal>(outcome: &Result<T, E>, attempt: &mut u32) -> bool {
    let contention = matches!(outcome, Err(refused) if refused.is_contention());
    if !contention || *attempt == ATTEMPTS {
        return false;
    }
    // Longer each time, and not as long as those who collided with us.
    let most = 1000_u64 << (*attempt).min(6);
    let (_, random) = uuid::Uuid::new_v4().as_u64_pair();
    tokio::time::sleep(Duration::from_micros(most / 2 + random % most)).await;
    *attempt += 1;
    true
}

/// What a transaction may end with instead of a commit.
pub(crate) trait Refusal: From<Error> {
    /// Whether it collided with another transaction and should run again.
    fn is_contention(&self) -> bool;
}

impl Refusal for Error {
    fn is_contention(&self) -> bool {
        matches!(self, Self::Contention)
    }
}

impl Db {
    /// Begins a transaction; see [`transaction`].
    pub(crate) fn begin(&self) -> Boxed<'_, Tx> {
        Box::pin(async move {
            match self {
                Self::Sqlite { writer, .. } => writer.begin_with("BEGIN IMMEDIATE").await.map(Tx::Sqlite),
                Self::Postgres(pool) => pool.begin().await.map(Tx::Postgres),
            }
            .map_err(Error::of)
        })
    }

    /// All rows of a statement that only reads.
    pub(crate) fn all<'a>(&'a self, sql: &'static str, args: &'a [Arg<'a>]) -> Boxed<'a, Vec<Row>> {
        Box::pin(async move {
            check(args)?;
            Ok(match self {
                Self::Sqlite { readers, .. } => sqlite_rows(run!(readers, sql, args, fetch_all)),
                Self::Postgres(pool) => postgres_rows(run!(pool, sql, args, fetch_all)),
            })
        })
    }

    /// The row of a statement that only reads, if there is one.
    pub(crate) async fn optional(&self, sql: &'static str, args: &[Arg<'_>]) -> Result<Option<Row>, Error> {
        self.all(sql, args).await.map(at_most_one)
    }

    /// The rows of one statement that writes and is a transaction by itself.
    pub(crate) async fn write_all(&self, sql: &'static str, args: &[Arg<'_>]) -> Result<Vec<Row>, Error> {
        check(args)?;
        let mut attempt = 1;
        loop {
            let outcome = self.write_once(sql, args).await;
            if !again(&outcome, &mut attempt).await {
                return outcome;
            }
        }
    }

    fn write_once<'a>(&'a self, sql: &'static str, args: &'a [Arg<'a>]) -> Boxed<'a, Vec<Row>> {
        Box::pin(async move {
            Ok(match self {
                Self::Sqlite { writer, .. } => sqlite_rows(run!(writer, sql, args, fetch_all)),
                Self::Postgres(pool) => postgres_rows(run!(pool, sql, args, fetch_all)),
            })
        })
    }

    /// The row of one statement that writes and is a transaction by itself.
    pub(crate) async fn write_optional(&self, sql: &'static str, args: &[Arg<'_>]) -> Result<Option<Row>, Error> {
        self.write_all(sql, args).await.map(at_most_one)
    }

    /// One statement that writes and is a transaction by itself; the number of rows changed, which it must return.
    pub(crate) async fn write_count(&self, sql: &'static str, args: &[Arg<'_>]) -> Result<u64, Error> {
        self.write_all(sql, args).await.map(|rows| rows.len() as u64)
    }
}
