//! `cargo nextest run --release -p ostler-store --run-ignored only --no-capture` prints what calls cost.

use std::time::Instant;

use ostler_store::{Begin, Lease, NewOperation, OperationKind, Options, Outcome, Store, Write};

use crate::fixture::{Engine, run};

const ROUNDS: u32 = 2000;

async fn time<F: Future>(name: &str, call: impl Fn(u32) -> F) {
    for round in 0..50 {
        call(round).await;
    }
    let mut times = Vec::new();
    for round in 50..50 + ROUNDS {
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
