use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use ostler_store::{Error, NewEvent, Options, Store, Write};
use sqlx::{Connection as _, SqliteConnection};

use crate::fixture::{Engine, Fixture, execute};

async fn open(url: &str) -> Result<Store, Error> {
    Store::open(url, &Options::default()).await
}

fn write(key: &str) -> Write {
    Write { key: key.into(), value: Some(b"v".to_vec()) }
}

/// A statement on the database, past the store, which is closed for it.
async fn past_the_store(f: &Fixture, sql: &'static str) {
    f.store.close().await;
    match f.engine {
        Engine::Memory => {}
        Engine::Postgres => execute(&f.url, sql.to_owned()).await,
        Engine::Sqlite => {
            let mut connection = SqliteConnection::connect(&f.url).await.unwrap();
            sqlx::query(sql).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
    }
}

pub(crate) async fn migrations_are_idempotent(f: Arc<Fixture>) {
    if f.engine == Engine::Memory {
        return;
    }
    f.store.state_commit("c", &[], &[write("a")], 100).await.unwrap();
    for _ in 0..3 {
        f.store.close().await;
        let again = open(&f.url).await.unwrap();
        assert_eq!(again.state_load("c").await.unwrap().1.len(), 1);
        again.close().await;
    }
    if f.engine == Engine::Postgres {
        // Hosts that start at once.
        let url = f.url.clone();
        crate::fixture::race(4, |_| {
            let url = url.clone();
            async move { open(&url).await.unwrap().close().await }
        })
        .await;
    }
}

pub(crate) async fn newer_schema_is_refused(f: Arc<Fixture>) {
    let sql = match f.engine {
        Engine::Memory => return,
        Engine::Sqlite => {
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (9000, 'later', TRUE, x'00', 0)"
        }
        Engine::Postgres => {
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (9000, 'later', TRUE, '\\x00', 0)"
        }
    };
    past_the_store(&f, sql).await;
    for _ in 0..2 {
        let error = open(&f.url).await.unwrap_err();
        assert!(matches!(error, Error::NewerSchema { found: 9000, known: 1 }), "{error:?}");
    }
}

pub(crate) async fn nul_is_refused(f: Arc<Fixture>) {
    let outcome = f.store.assignment_upsert_node("c", "vm", "a\0b").await;
    assert!(matches!(outcome, Err(Error::Invalid(_))), "{outcome:?}");
    assert!(matches!(f.store.user_by_name("\0").await, Err(Error::Invalid(_))));
}

pub(crate) async fn closed_is_closed(f: Arc<Fixture>) {
    f.store.ping().await.unwrap();
    assert_eq!(f.store.is_shared(), f.engine == Engine::Postgres);
    f.store.clone().close().await;
    assert!(matches!(f.store.ping().await, Err(Error::Closed)));
    assert!(matches!(f.store.state_commit("c", &[], &[], 0).await, Err(ostler_store::StateError::Store(Error::Closed))));
    f.store.close().await;
}

/// What was written is there after a reopening, and a transaction that was dropped halfway is not.
pub(crate) async fn writing_is_durable(f: Arc<Fixture>) {
    if f.engine == Engine::Memory {
        return;
    }
    let event = NewEvent { kind: "k".into(), subject: "s".into(), cloud: None, actor: "a".into(), data: 1.into() };
    let revision = f.store.state_commit("c", &[], &[write("a")], 100).await.unwrap().revision;
    let node = f.store.assignment_upsert_node("c", "vm", "one").await.unwrap();
    f.store.event_append(&event).await.unwrap();
    for polls in 1..20 {
        // Polled a few times and dropped: the transaction is wherever it got to.
        let writes = [write("b")];
        let mut commit = Box::pin(f.store.state_commit("dropped", &[], &writes, 100));
        for _ in 0..polls {
            let polled = std::future::poll_fn(|context| {
                std::task::Poll::Ready(std::future::Future::poll(commit.as_mut(), context).is_ready())
            });
            if polled.await {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    // The writer is free again, and what was not finished is not half there.
    let commit = f.store.state_commit("dropped", &[], &[], 100).await.unwrap();
    let (_, entries) = f.store.state_load("dropped").await.unwrap();
    assert_eq!(commit.bytes, entries.len() as u64 * 2);

    f.store.close().await;
    let again = open(&f.url).await.unwrap();
    let (loaded, entries) = again.state_load("c").await.unwrap();
    assert_eq!((loaded, entries.len()), (revision, 1));
    assert_eq!(again.assignments("c").await.unwrap(), [node]);
    assert_eq!(again.event_last().await.unwrap(), 1);
    again.close().await;
}

#[tokio::test]
async fn a_second_opening_of_a_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ostler.db");
    let link = dir.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let url = format!("sqlite:{}", path.display());
    let first = open(&url).await.unwrap();
    for url in [&url, &format!("sqlite://{}", path.display()), &format!("sqlite:{}", link.display())] {
        let error = open(url).await.unwrap_err();
        assert!(matches!(&error, Error::InUse(lock) if lock.ends_with("ostler.db.lock")), "{error:?}");
        assert!(error.to_string().contains("ostler.db.lock"), "{error}");
    }
    // The refused ones took nothing from the first: it still writes.
    first.state_commit("c", &[], &[write("a")], 100).await.unwrap();
    first.close().await;
    let second = open(&url).await.unwrap();
    assert_eq!(second.state_load("c").await.unwrap().1.len(), 1);
    // Dropping the last handle is enough, too.
    drop(first);
    drop(second);
    open(&url).await.unwrap();
}

/// Names another process: this test itself, started again.
#[tokio::test]
async fn a_second_process_is_refused() {
    const URL: &str = "OSTLER_TEST_SECOND_PROCESS";
    if let Ok(url) = std::env::var(URL) {
        let error = open(&url).await.unwrap_err();
        assert!(matches!(error, Error::InUse(_)), "{error:?}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("ostler.db").display());
    let store = open(&url).await.unwrap();
    let second = || {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "opening::a_second_process_is_refused"]).env(URL, &url).output().unwrap()
    };
    let refused = second();
    assert!(refused.status.success(), "{}", String::from_utf8_lossy(&refused.stdout));
    assert!(String::from_utf8_lossy(&refused.stdout).contains("1 passed"));
    store.close().await;
    assert!(!second().status.success(), "the lock outlived the store");
}

/// Another process, this test itself, is killed while it writes: what it was told is written is there.
#[tokio::test]
async fn a_killed_process_loses_nothing() {
    const DIR: &str = "OSTLER_TEST_KILLED_PROCESS";
    let event = NewEvent { kind: "k".into(), subject: "s".into(), cloud: None, actor: "a".into(), data: 1.into() };
    if let Ok(dir) = std::env::var(DIR) {
        let store = open(&format!("sqlite:{dir}/ostler.db")).await.unwrap();
        loop {
            let id = store.event_append(&event).await.unwrap();
            std::fs::write(format!("{dir}/acknowledged.new"), id.to_string()).unwrap();
            std::fs::rename(format!("{dir}/acknowledged.new"), format!("{dir}/acknowledged")).unwrap();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let acknowledged = || {
        let text = std::fs::read_to_string(dir.path().join("acknowledged")).unwrap_or_default();
        text.parse::<i64>().unwrap_or(0)
    };
    let mut before = 0;
    for _ in 0..3 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "opening::a_killed_process_loses_nothing"])
            .env(DIR, dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while acknowledged() < before + 20 {
            assert!(std::time::Instant::now() < deadline, "the other process does not write");
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        child.kill().unwrap();
        child.wait().unwrap();

        let store = open(&format!("sqlite:{}/ostler.db", dir.path().display())).await.unwrap();
        let last = store.event_last().await.unwrap();
        // The last one may have been written without its process learning of it.
        assert!([acknowledged(), acknowledged() + 1].contains(&last), "{last} of {}", acknowledged());
        assert_eq!(store.events_after(0, u32::MAX).await.unwrap().len() as i64, last);
        before = last;
        store.close().await;
    }
}

#[tokio::test]
async fn files_are_their_owners_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&format!("sqlite:{}", dir.path().join("ostler.db").display())).await.unwrap();
    store.state_commit("c", &[], &[write("a")], 100).await.unwrap();
    let mut names = Vec::new();
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
        names.push(file.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["ostler.db", "ostler.db-shm", "ostler.db-wal", "ostler.db.lock"]);
    store.close().await;
}

#[tokio::test]
async fn bad_urls() {
    for url in [
        "",
        "ostler.db",
        "sqlite",
        "sqlite:",
        "sqlite://",
        "sqlite:a.db?mode=ro",
        "mysql://u:hunter2@h/d",
        "postgres://u:hunter2@h:port/d",
        "postgres://u:hunter2@[/d",
    ] {
        let error = open(url).await.unwrap_err();
        assert!(matches!(error, Error::Url(_)), "{url}: {error:?}");
        assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
    }
    let missing = open("sqlite:/nonexistent/directory/ostler.db").await.unwrap_err();
    assert!(matches!(missing, Error::File { .. }), "{missing:?}");
    assert!(missing.to_string().contains("/nonexistent/directory/ostler.db"), "{missing}");
}
