//! A store for one test.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ostler_store::{Options, Store};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Memory,
    Sqlite,
    Postgres,
}

/// A database of the test's own.
pub(crate) struct Fixture {
    pub(crate) engine: Engine,
    pub(crate) url: String,
    pub(crate) store: Store,
    _dir: Option<tempfile::TempDir>,
}

impl Fixture {
    /// The store as a second host sees it, where there can be one; otherwise the same.
    pub(crate) async fn other_host(&self) -> Store {
        match self.engine {
            Engine::Postgres => Store::open(&self.url, &Options::default()).await.unwrap(),
            _ => self.store.clone(),
        }
    }
}

/// Runs a test with a fixture, and drops the database, however the test ends.
pub(crate) async fn run<T, F>(engine: Engine, test: T)
where
    T: FnOnce(Arc<Fixture>) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let mut dir = None;
    let mut server = None;
    let url = match engine {
        Engine::Memory => "sqlite::memory:".to_owned(),
        Engine::Sqlite => {
            let temporary = dir.insert(tempfile::tempdir().unwrap());
            format!("sqlite:{}", temporary.path().join("ostler.db").display())
        }
        Engine::Postgres => {
            let Ok(url) = std::env::var("OSTLER_TEST_POSTGRES") else {
                println!("SKIPPED: OSTLER_TEST_POSTGRES is not set");
                return;
            };
            let (base, parameters) = url.split_once('?').unwrap_or((&url, ""));
            let root = base.rsplit_once('/').filter(|(root, _)| !root.ends_with('/')).map_or(base, |(root, _)| root);
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let name = format!("ostler_test_{}_{number}_{}", std::process::id(), ostler_store::now());
            execute(&url, format!("CREATE DATABASE {name}")).await;
            let own = format!("{root}/{name}?{parameters}");
            server = Some((url, name));
            own
        }
    };
    let store = Store::open(&url, &Options::default()).await.unwrap();
    let fixture = Arc::new(Fixture { engine, url, store: store.clone(), _dir: dir });
    let outcome = tokio::spawn(test(fixture)).await;
    store.close().await;
    if let Some((url, name)) = server {
        execute(&url, format!("DROP DATABASE {name} WITH (FORCE)")).await;
    }
    if let Err(error) = outcome {
        std::panic::resume_unwind(error.into_panic());
    }
}

/// A statement on a PostgreSQL database.
pub(crate) async fn execute(url: &str, sql: String) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// Runs a future `count` times at once, with numbers from 0; the results in that order.
pub(crate) async fn race<T, F>(count: usize, run: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let barrier = Arc::new(tokio::sync::Barrier::new(count));
    let tasks: Vec<_> = (0..count)
        .map(|number| {
            let barrier = barrier.clone();
            let future = run(number);
            tokio::spawn(async move {
                barrier.wait().await;
                future.await
            })
        })
        .collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}
