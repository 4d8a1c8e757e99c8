use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use ostler_store::{Error, NewEvent, Options, Progress, StepState, Store, Write};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, Connection as _, PgPool, SqlSafeStr as _, SqliteConnection, SqlitePool};

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

/// A database as it was at earlier versions: brought to each of them, with what was written down there, where EMPTY is no bytes.
async fn earlier(f: &Fixture, dir: &std::path::Path, history: &[(usize, &'static str)]) -> Option<String> {
    let versions = [
        (include_str!("../../migrations/0001_initial.sqlite.sql"), include_str!("../../migrations/0001_initial.postgres.sql")),
        (include_str!("../../migrations/0002_services.sqlite.sql"), include_str!("../../migrations/0002_services.postgres.sql")),
        (include_str!("../../migrations/0003_work.sqlite.sql"), include_str!("../../migrations/0003_work.postgres.sql")),
    ];
    let names = ["initial", "services", "work"];
    let migrator = |last: usize, sqlite: bool| {
        let migrations = versions[..last].iter().zip(names).zip(1..).map(|((sql, name), version)| {
            let sql = if sqlite { sql.0 } else { sql.1 };
            Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
        });
        Migrator::with_migrations(migrations.collect())
    };
    match f.engine {
        Engine::Memory => None,
        Engine::Sqlite => {
            let url = format!("sqlite:{}", dir.join("earlier.db").display());
            let pool = SqlitePool::connect(&format!("{url}?mode=rwc")).await.unwrap();
            for (version, sql) in history {
                migrator(*version, true).run(&pool).await.unwrap();
                sqlx::raw_sql(AssertSqlSafe(sql.replace("EMPTY", "x''"))).execute(&pool).await.unwrap();
            }
            pool.close().await;
            Some(url)
        }
        Engine::Postgres => {
            f.store.close().await;
            execute(&f.url, "DROP SCHEMA public CASCADE".into()).await;
            execute(&f.url, "CREATE SCHEMA public".into()).await;
            let pool = PgPool::connect(&f.url).await.unwrap();
            for (version, sql) in history {
                migrator(*version, false).run(&pool).await.unwrap();
                sqlx::raw_sql(AssertSqlSafe(sql.replace("EMPTY", "''"))).execute(&pool).await.unwrap();
            }
            pool.close().await;
            Some(f.url.clone())
        }
    }
}

/// The first version's tables with users in them, of whom two have the same address for mail.
pub(crate) async fn users_of_the_first_version_are_numbered(f: Arc<Fixture>) {
    const USERS: &str = "INSERT INTO users (id, username, email, active, created_at, updated_at) VALUES \
                         ('3', 'carol', 'A@b.c', 1, 0, 0), ('1', 'alice', 'a@B.c', 1, 0, 0), ('2', 'bob', NULL, 0, 0, 0), \
                         ('4', 'dave', 'd@b.c', 1, 0, 0), ('5', 'erin', NULL, 1, 0, 0)";
    let dir = tempfile::tempdir().unwrap();
    let Some(url) = earlier(&f, dir.path(), &[(1, USERS)]).await else { return };
    for _ in 0..2 {
        let store = open(&url).await.unwrap();
        let users = store.users(None, 10).await.unwrap();
        let facts: Vec<_> = users.iter().map(|u| (u.username.as_str(), u.number, u.email.as_deref(), u.active)).collect();
        let expected = [
            ("alice", 1, Some("a@B.c"), true),
            ("bob", 2, None, false),
            ("carol", 3, None, true),
            ("dave", 4, Some("d@b.c"), true),
            ("erin", 5, None, true),
        ];
        assert_eq!(facts[..5], expected);
        for user in &users {
            assert_eq!(store.credit_balance(&user.id).await.unwrap(), Some(0));
        }
        assert_eq!(store.credit_audit().await.unwrap(), [""; 0]);
        if users.len() == 5 {
            let new = ostler_store::NewUser { username: "frank".into(), ..Default::default() };
            assert_eq!(store.user_create(&new).await.unwrap().number, 6);
        }
        store.close().await;
    }
}

/// An operation of the second version and one of the third, with a step, both pending.
pub(crate) async fn work_of_earlier_versions_goes_on(f: Arc<Fixture>) {
    const SECOND: &str = "INSERT INTO operations (id, cloud, kind, token, input, input_hash, state, actor, attempts, created_at, \
                          updated_at) VALUES ('1', 'c', 'create-node', 't-1', '{}', EMPTY, 'pending', 'alice', 1, 0, 0)";
    const THIRD: &str = "INSERT INTO operations (id, cloud, kind, input, input_hash, state, actor, attempts, created_at, \
                         updated_at, subject, wake_at) VALUES ('2', 'c', 'start-service', '{}', EMPTY, 'pending', 'alice', 1, \
                         1, 1, 's', 50); \
                         INSERT INTO steps (operation, position, attempt, stage, onward, kind, cloud, token, input, state, tries, \
                         wake_at) VALUES ('2', 0, 0, 0, 0, 'make-node', 'c', 't-2', 'null', 'doing', 0, 0)";
    let dir = tempfile::tempdir().unwrap();
    let Some(url) = earlier(&f, dir.path(), &[(2, SECOND), (3, THIRD)]).await else { return };
    let store = open(&url).await.unwrap();
    let work = store.work_get("1").await.unwrap().unwrap();
    assert_eq!((work.progress, work.steps.len(), work.subject), (Progress::default(), 0, None));
    let (operation, _, step) = store.step_by_token("c", "t-2").await.unwrap().unwrap();
    assert_eq!((operation.as_str(), step.state), ("2", StepState::Doing));
    // The one of the third version waits for its time.
    for (now, expected) in [(49, "1"), (50, "2")] {
        let claimed = store.operation_claim("me", now, 100, 9).await.unwrap();
        assert_eq!(claimed.iter().map(|operation| operation.id.as_str()).collect::<Vec<_>>(), [expected]);
        store.operation_finish(expected, "me", &crate::operations::done(), None).await.unwrap();
    }
    assert_eq!(store.prune(ostler_store::now() + 1, 9).await.unwrap(), 1, "there may be a node with the first one's token");
    let new = crate::deployments::new();
    crate::deployments::made(&store, &new, &[]).await;
    store.close().await;
    let again = open(&url).await.unwrap();
    assert!(again.deployment_get(&new.id).await.unwrap().is_some());
    again.close().await;
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
        assert!(matches!(error, Error::NewerSchema { found: 9000, known: 10 }), "{error:?}");
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
