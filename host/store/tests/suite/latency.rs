//! `cargo nextest run --release -p ostler-store --run-ignored only --no-capture` prints what calls cost.

use std::time::Instant;

use ostler_store::{
    Begin, DeploymentFilter, DeploymentSort, Lease, NewOperation, OperationKind, Options, Outcome, Page, Store, Write,
};
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};

use crate::fixture::{Engine, Fixture, execute, run};

const ROUNDS: u32 = 2000;

async fn time<F: Future>(name: &str, call: impl Fn(u32) -> F) {
    time_rounds(name, ROUNDS, call).await;
}

async fn time_rounds<F: Future>(name: &str, rounds: u32, call: impl Fn(u32) -> F) {
    for round in 0..50 {
        call(round).await;
    }
    let mut times = Vec::new();
    for round in 50..50 + rounds {
        let start = Instant::now();
        call(round).await;
        times.push(start.elapsed());
    }
    times.sort();
    let at = |percent: usize| times[times.len() * percent / 100].as_micros();
    println!("{name:44} median {:6} µs   p99 {:6} µs", at(50), at(99));
}

async fn measure(name: &str, store: &Store) {
    let write = |round: u32| [Write { key: format!("k{}", round % 500), value: Some(vec![7; 100]) }];
    time(&format!("{name}: one insert (event)"), |_| async {
        let event =
            ostler_store::NewEvent { kind: "k".into(), subject: "s".into(), cloud: None, actor: "a".into(), data: 1.into() };
        store.event_append(&event).await.unwrap();
    })
    .await;
    time(&format!("{name}: state_commit, one key"), |round| async move {
        store.state_commit("c", &[], &write(round), u64::MAX).await.unwrap();
    })
    .await;
    time(&format!("{name}: operation begin + finish"), |_| async {
        let new = NewOperation {
            cloud: "c".into(),
            kind: OperationKind::CreateNode,
            token: None,
            node_id: None,
            input: 1.into(),
            input_hash: vec![0; 32],
            driver_digest: None,
            actor: "a".into(),
            lease: Some(Lease { owner: "h".into(), until: 1 }),
            idempotency: None,
        };
        let Begin::New(operation) = store.operation_begin(&new, None).await.unwrap() else { panic!() };
        let outcome = Outcome::Succeeded { node_id: None, output: None };
        store.operation_finish(&operation.id, "h", &outcome, None).await.unwrap();
    })
    .await;
    time(&format!("{name}: state_get, by primary key"), |round| async move {
        store.state_get("c", &format!("k{}", round % 500)).await.unwrap().unwrap();
    })
    .await;
    time(&format!("{name}: state_revision"), |_| async { store.state_revision("c").await.unwrap() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn latency() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("ostler.db").display());
    let store = Store::open(&url, &Options::default()).await.unwrap();
    measure("sqlite file", &store).await;
    store.close().await;
    run(Engine::Memory, |f| async move { measure("sqlite memory", &f.store).await }).await;
    run(Engine::Postgres, |f| async move { measure("postgres", &f.store).await }).await;
}

/// 10,000 deployments of fifty people in five organisations, each with a template of 8 kB.
async fn populate(f: &Fixture) {
    let numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)";
    let rows = format!(
        "{numbers} INSERT INTO deployments (id, issuer, subject, organisation, status, task, keep_last_attempt, created_at, \
         updated_at, outputs, attempts) SELECT 'd-' || i, 'i', 's-' || (i % 50), 'o-' || (i % 5), 'CREATE_COMPLETE', 'NONE', 0, \
         i / 2, i, '{{}}', '[]' FROM n"
    );
    let template = match f.engine {
        Engine::Postgres => "repeat('x', 8000)",
        _ => "replace(hex(zeroblob(4000)), '0', 'x')",
    };
    let texts = format!("{numbers} INSERT INTO deployment_texts SELECT 'd-' || i, {template}, '{{}}', '' FROM n");
    for sql in [rows, texts] {
        if f.engine == Engine::Postgres {
            execute(&f.url, sql).await;
        } else {
            let mut connection = SqliteConnection::connect(&f.url).await.unwrap();
            sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
    }
    if f.engine == Engine::Postgres {
        // As its daemon does within a minute.
        execute(&f.url, "VACUUM ANALYZE deployments, deployment_texts".into()).await;
    }
}

async fn measure_pages(name: &str, store: &Store) {
    let everything = DeploymentFilter::default();
    let person = DeploymentFilter { issuer_subject: Some(("i".into(), "s-7".into())), ..everything.clone() };
    let organisation = DeploymentFilter { issuer: Some("i".into()), organisation: Some("o-2".into()), ..everything.clone() };
    let issuer = DeploymentFilter { issuer: Some("i".into()), ..everything.clone() };
    let by_change = vec![(DeploymentSort::UpdatedAt, true)];
    for (what, filter, sort, far) in [
        ("everything", &everything, Vec::new(), 900),
        ("an issuer's", &issuer, Vec::new(), 900),
        ("an organisation's", &organisation, Vec::new(), 180),
        ("a person's", &person, Vec::new(), 18),
        ("everything, by change", &everything, by_change, 900),
    ] {
        for number in [0, far / 2, far] {
            let page = Page { offset: number * 10, limit: 10, sort: sort.clone() };
            time_rounds(&format!("{name}: {what}, page {number}"), 200, |_| async {
                assert_eq!(store.deployments(filter, &page).await.unwrap().0.len(), 10);
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn pages() {
    for (name, engine) in [("sqlite file", Engine::Sqlite), ("postgres", Engine::Postgres)] {
        run(engine, move |f| async move {
            populate(&f).await;
            measure_pages(name, &f.store).await;
        })
        .await;
    }
}
