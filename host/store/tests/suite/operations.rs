use std::collections::HashSet;
use std::sync::Arc;

use ostler_store::{
    Begin, Error, Idempotency, Lease, NewEvent, NewOperation, Operation, OperationFilter, OperationKind, OperationState, Outcome,
    Store,
};
use serde_json::json;

use crate::fixture::{Fixture, race};

pub(crate) fn new(cloud: &str) -> NewOperation {
    NewOperation {
        cloud: cloud.into(),
        kind: OperationKind::CreateNode,
        token: None,
        node_id: None,
        input: json!({"name": "n", "nul": "\0"}),
        input_hash: vec![0, 1, 255],
        driver_digest: Some("sha256:00".into()),
        actor: "alice".into(),
        lease: None,
        idempotency: None,
    }
}

pub(crate) fn leased(owner: &str, until: i64) -> NewOperation {
    NewOperation { lease: Some(Lease { owner: owner.into(), until }), ..new("c") }
}

fn keyed(key: &str, hash: u8) -> NewOperation {
    let idempotency = Idempotency { scope: "crs4/start/alice".into(), key: key.into() };
    NewOperation { idempotency: Some(idempotency), input_hash: vec![hash], ..new("c") }
}

pub(crate) fn event(kind: &str) -> NewEvent {
    NewEvent { kind: kind.into(), subject: "s".into(), cloud: None, actor: "alice".into(), data: json!({}) }
}

pub(crate) fn done() -> Outcome {
    Outcome::Succeeded { node_id: None, output: None }
}

async fn begin(store: &Store, new: &NewOperation) -> Operation {
    match store.operation_begin(new, None).await.unwrap() {
        Begin::New(operation) => operation,
        Begin::Existing(operation) => panic!("{operation:?} existed"),
    }
}

pub(crate) async fn begins_and_ends(f: Arc<Fixture>) {
    let store = &f.store;
    let order = NewOperation { token: Some("t-1".into()), ..leased("host", 7) };
    let begun = begin(store, &order).await;
    assert_eq!(store.operation_get(&begun.id).await.unwrap().unwrap(), begun);
    assert_eq!(store.operation_by_token("c", "t-1").await.unwrap().unwrap(), begun);
    assert_eq!(store.operation_by_token("d", "t-1").await.unwrap(), None);
    assert_eq!(store.operation_get("none").await.unwrap(), None);
    assert_eq!((begun.kind, begun.state, begun.attempts), (OperationKind::CreateNode, OperationState::Pending, 1));
    assert_eq!((&begun.input, &begun.input_hash), (&order.input, &order.input_hash));
    assert_eq!((begun.lease_owner.as_deref(), begun.lease_until), (Some("host"), Some(7)));
    assert_eq!((begun.driver_digest.as_deref(), begun.actor.as_str()), (Some("sha256:00"), "alice"));
    assert_eq!(store.operations_pending(10).await.unwrap(), std::slice::from_ref(&begun));

    let outcome = Outcome::Succeeded { node_id: Some("n-1".into()), output: Some(json!({"ok": true})) };
    let ended = store.operation_finish(&begun.id, "host", &outcome, None).await.unwrap();
    assert_eq!(store.operation_get(&begun.id).await.unwrap().unwrap(), ended);
    assert_eq!((ended.state, ended.node_id.as_deref()), (OperationState::Succeeded, Some("n-1")));
    assert_eq!((ended.output, ended.error), (Some(json!({"ok": true})), None));
    assert_eq!((ended.lease_owner, ended.lease_until), (None, None));
    assert_eq!(store.operations_pending(10).await.unwrap(), []);

    for (outcome, state) in
        [(Outcome::Failed(json!("why")), OperationState::Failed), (Outcome::Abandoned(json!("why")), OperationState::Abandoned)]
    {
        let known = NewOperation { node_id: Some("n-2".into()), kind: OperationKind::DestroyNode, ..leased("host", 7) };
        let id = begin(store, &known).await.id;
        let ended = store.operation_finish(&id, "host", &outcome, None).await.unwrap();
        assert_eq!((ended.state, ended.error, ended.output), (state, Some(json!("why")), None));
        assert_eq!(ended.node_id.as_deref(), Some("n-2"));
    }
}

pub(crate) async fn idempotency(f: Arc<Fixture>) {
    let store = &f.store;
    let first = begin(store, &keyed("k", 1)).await;
    assert_eq!(store.operation_begin(&keyed("k", 1), None).await.unwrap(), Begin::Existing(first));
    let other = store.operation_begin(&keyed("k", 2), None).await;
    assert!(matches!(other, Err(Error::IdempotencyMismatch)), "{other:?}");
    begin(store, &keyed("l", 2)).await;
    let mut elsewhere = keyed("k", 2);
    elsewhere.idempotency.as_mut().unwrap().scope = "indigo".into();
    begin(store, &elsewhere).await;
    // Without a key nothing is the same.
    begin(store, &new("c")).await;
    begin(store, &new("c")).await;
    assert_eq!(store.operations_pending(10).await.unwrap().len(), 5);
}

pub(crate) async fn idempotency_race(f: Arc<Fixture>) {
    let hosts = [f.store.clone(), f.other_host().await];
    for round in 0..5 {
        let key = format!("k{round}");
        let outcomes = race(16, |task| {
            let store = hosts[task % 2].clone();
            // Every fourth brings another input.
            let order = keyed(&key, u8::from(task % 4 == 3));
            async move { (order.input_hash[0], store.operation_begin(&order, Some(&event("intent"))).await) }
        })
        .await;
        let mut ids = HashSet::new();
        let (mut created, mut refused, mut winner) = (0, 0, None);
        for (hash, outcome) in &outcomes {
            match outcome {
                Ok(Begin::New(operation)) => {
                    created += 1;
                    winner = Some(*hash);
                    ids.insert(operation.id.clone());
                }
                Ok(Begin::Existing(operation)) => {
                    ids.insert(operation.id.clone());
                }
                Err(Error::IdempotencyMismatch) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!((created, ids.len()), (1, 1));
        assert_eq!(refused, if winner == Some(0) { 4 } else { 12 });
        assert_eq!(f.store.event_last().await.unwrap(), round + 1);
    }
}

pub(crate) async fn failure_keeps_the_key(f: Arc<Fixture>) {
    let store = &f.store;
    let order = NewOperation { lease: Some(Lease { owner: "host".into(), until: 1 }), ..keyed("k", 1) };
    let begun = begin(store, &order).await;
    let failed = store.operation_finish(&begun.id, "host", &Outcome::Failed(json!("no room")), None).await.unwrap();
    assert_eq!(store.operation_begin(&order, None).await.unwrap(), Begin::Existing(failed));
}

/// What failed for a reason that passes does not keep its key; whoever races for it then gets one operation.
pub(crate) async fn what_passes_gives_the_key_back(f: Arc<Fixture>) {
    let store = &f.store;
    for (kind, reason, kept) in [
        (OperationKind::CreateNode, "unavailable", false),
        (OperationKind::CreateInstance, "transient", false),
        (OperationKind::CreateNode, "throttled", false),
        (OperationKind::CreateNode, "quota", true),
        (OperationKind::CreateDeployment, "unavailable", true),
    ] {
        let key = format!("{}-{reason}", kind.as_str());
        let order = NewOperation { kind, lease: Some(Lease { owner: "host".into(), until: 1 }), ..keyed(&key, 1) };
        let begun = begin(store, &order).await;
        let failed = Outcome::Failed(json!({ "kind": reason, "message": "m" }));
        let failed = store.operation_finish(&begun.id, "host", &failed, None).await.unwrap();
        let other = NewOperation { input_hash: vec![2], ..order.clone() };
        assert!(matches!(store.operation_begin(&other, None).await, Err(Error::IdempotencyMismatch)), "{key}");
        if kept {
            assert_eq!(store.operation_begin(&order, None).await.unwrap(), Begin::Existing(failed), "{key}");
            continue;
        }
        assert_eq!(store.operation_known(&order).await.unwrap(), None, "{key}");
        let hosts = [f.store.clone(), f.other_host().await];
        let again = race(4, |task| {
            let (store, order) = (hosts[task % 2].clone(), order.clone());
            async move { store.operation_begin(&order, None).await.unwrap() }
        })
        .await;
        let new = again.iter().filter(|begin| matches!(begin, Begin::New(_))).count();
        assert_eq!(new, 1, "{key}: {again:?}");
        assert_eq!(store.operation_get(&begun.id).await.unwrap().unwrap(), failed, "{key}");
    }
}

pub(crate) async fn tokens_are_unique(f: Arc<Fixture>) {
    let store = &f.store;
    let order = NewOperation { token: Some("t".into()), ..new("c") };
    begin(store, &order).await;
    let again = store.operation_begin(&order, Some(&event("intent"))).await;
    assert!(matches!(again, Err(Error::Exists(_))), "{again:?}");
    assert_eq!(store.event_last().await.unwrap(), 0);
    begin(store, &NewOperation { token: Some("t".into()), ..new("d") }).await;
}

pub(crate) async fn claims_are_disjoint(f: Arc<Fixture>) {
    const OPERATIONS: usize = 60;
    let hosts = [f.store.clone(), f.other_host().await];
    let mut expected = HashSet::new();
    for _ in 0..OPERATIONS {
        expected.insert(begin(&f.store, &new("c")).await.id);
    }
    let claimed = race(8, |task| {
        let store = hosts[task % 2].clone();
        async move {
            let owner = format!("owner-{task}");
            let mut mine = Vec::new();
            loop {
                let some = store.operation_claim(&owner, 1000, 2000, 3).await.unwrap();
                assert!(some.len() <= 3);
                assert!(some.iter().all(|o| o.lease_owner.as_ref() == Some(&owner) && o.lease_until == Some(2000)));
                assert!(some.is_sorted_by_key(|o| (o.created_at, o.id.clone())));
                if some.is_empty() {
                    return mine;
                }
                mine.extend(some.into_iter().map(|operation| operation.id));
            }
        }
    })
    .await;
    let all: Vec<String> = claimed.into_iter().flatten().collect();
    assert_eq!(all.len(), OPERATIONS, "claimed twice, or not at all");
    assert_eq!(all.into_iter().collect::<HashSet<_>>(), expected);
}

pub(crate) async fn expired_lease_is_taken_over(f: Arc<Fixture>) {
    let store = &f.store;
    let id = begin(store, &leased("old", 1000)).await.id;
    let mut ended = begin(store, &leased("old", 1)).await;
    ended = store.operation_finish(&ended.id, "old", &done(), None).await.unwrap();
    assert_eq!(store.operation_claim("new", 999, 5000, 10).await.unwrap(), []);
    let taken = store.operation_claim("new", 1000, 5000, 10).await.unwrap();
    assert_eq!(taken.len(), 1);
    assert_eq!((&taken[0].id, taken[0].lease_owner.as_deref(), taken[0].attempts), (&id, Some("new"), 2));
    assert_eq!(store.operation_claim("third", 1001, 5000, 10).await.unwrap(), []);

    store.operation_renew(&id, "new", 9000).await.unwrap();
    assert_eq!(store.operation_claim("third", 8999, 9999, 10).await.unwrap(), []);
    assert!(matches!(store.operation_renew(&id, "old", 9000).await, Err(Error::Lost)));
    assert!(matches!(store.operation_renew(&ended.id, "old", 9000).await, Err(Error::Lost)));
}

pub(crate) async fn stale_owner_is_refused(f: Arc<Fixture>) {
    let store = &f.store;
    let id = begin(store, &leased("old", 1000)).await.id;
    store.operation_claim("new", 1000, 5000, 1).await.unwrap();
    for owner in ["old", ""] {
        let outcome = store.operation_finish(&id, owner, &done(), Some(&event("stale"))).await;
        assert!(matches!(outcome, Err(Error::Lost)), "{outcome:?}");
    }
    store.operation_finish(&id, "new", &done(), None).await.unwrap();
    let again = store.operation_finish(&id, "new", &Outcome::Failed(json!(1)), Some(&event("again"))).await;
    assert!(matches!(again, Err(Error::Lost)));
    assert!(matches!(store.operation_finish("none", "new", &done(), None).await, Err(Error::Lost)));
    assert_eq!(store.operation_get(&id).await.unwrap().unwrap().state, OperationState::Succeeded);
    assert_eq!(store.event_last().await.unwrap(), 0);
    // Nobody has taken this one: no owner may finish it.
    let free = begin(store, &new("c")).await.id;
    assert!(matches!(store.operation_finish(&free, "new", &done(), None).await, Err(Error::Lost)));
}

pub(crate) async fn listing(f: Arc<Fixture>) {
    let store = &f.store;
    let mut all = Vec::new();
    for number in 0..12 {
        let order = NewOperation { cloud: ["c", "d"][number % 2].into(), ..leased("host", 1) };
        let mut operation = begin(store, &order).await;
        if number % 3 == 0 {
            operation = store.operation_finish(&operation.id, "host", &done(), None).await.unwrap();
        }
        all.push(operation);
    }
    all.reverse();
    for cloud in [None, Some("c"), Some("none")] {
        for state in [None, Some(OperationState::Pending), Some(OperationState::Succeeded)] {
            let filter = OperationFilter { cloud: cloud.map(Into::into), state };
            let expected: Vec<&Operation> = all
                .iter()
                .filter(|o| cloud.is_none_or(|cloud| o.cloud == cloud) && state.is_none_or(|state| o.state == state))
                .collect();
            let mut found: Vec<Operation> = Vec::new();
            loop {
                let page = store.operations_list(&filter, found.last().map(|o| o.id.as_str()), 2).await.unwrap();
                if page.is_empty() {
                    break;
                }
                found.extend(page);
            }
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{filter:?}");
        }
    }
}

pub(crate) async fn events_come_with_the_change(f: Arc<Fixture>) {
    let store = &f.store;
    let order = NewOperation { lease: Some(Lease { owner: "host".into(), until: 1 }), ..keyed("k", 1) };
    let Begin::New(operation) = store.operation_begin(&order, Some(&event("node.create.intent"))).await.unwrap() else {
        panic!("existed");
    };
    store.operation_begin(&order, Some(&event("not appended"))).await.unwrap();
    store.operation_finish(&operation.id, "host", &done(), Some(&event("node.create.succeeded"))).await.unwrap();
    let kinds: Vec<String> = store.events_after(0, 10).await.unwrap().into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, ["node.create.intent", "node.create.succeeded"]);
}
