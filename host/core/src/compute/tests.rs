#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! On the real dummy driver, with the real store in memory. What a process that died would have left in the store is written
//! there by hand.

use super::*;
use crate::model::NodeSpec;
use crate::{SECOND, StoreState};
use ostler_drivers::{CloudSettings, LoadPolicy, Runtime, Seal, Strictness};
use ostler_store::{Begin, Lease, NewOperation, OperationKind, OperationState, Options};
use serde_json::{Value, json};

pub(crate) const CLOUD: &str = "lab";

/// The dummy driver, as the build of the server leaves it.
pub(crate) fn component() -> Vec<u8> {
    let target =
        std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../target").into());
    let path = format!("{target}/drivers/wasm32-wasip2/driver/ostler_plugin_dummy.wasm");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}; build the server first: cargo build --release"))
}

pub(crate) async fn compute(config: &[(&str, &str)]) -> Arc<Compute> {
    compute_on(Store::open("sqlite::memory:", &Options::default()).await.unwrap(), config).await
}

/// What a host finds that starts on this store.
pub(crate) async fn compute_on(store: Store, config: &[(&str, &str)]) -> Arc<Compute> {
    let state = Arc::new(StoreState(store.clone()));
    let host = Arc::new(Host::new(Runtime::new(None).unwrap(), LoadPolicy::default(), state).unwrap());
    let mut settings = CloudSettings::new(CLOUD, "dummy");
    // A call goes on when nobody waits for it any more. Here it would outlive the crash of its host: the next one waits for it.
    settings.limits.concurrency = 1;
    settings.config = config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    host.add_cloud(settings).unwrap();
    let prepared = host.prepare("dummy", component(), Seal::Builtin, Strictness::AllOrNothing).await.unwrap();
    host.activate(prepared).await;
    Compute::new(host, Arc::new(Scheduler::new(store)), None)
}

/// A process begins on what another one has left; all of it is done before this returns. How much it took up.
async fn recovered(compute: &Arc<Compute>) -> usize {
    let taken_up = crate::recovery::Recovery::new(Arc::clone(&compute.scheduler)).at_start().await.unwrap();
    quiet(compute).await;
    taken_up
}

async fn quiet(compute: &Compute) {
    let began = std::time::Instant::now();
    while !compute.store.operations_pending(1).await.unwrap().is_empty() {
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "it does not come to its end");
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

fn spec(name: &str) -> NodeSpec {
    NodeSpec::new(name, "debian-13", "tiny")
}

fn key(key: &str) -> Option<Key> {
    Some(Key { scope: "test", key: key.into() })
}

/// What a host that died in the middle has left: an intent, with a lease that still runs.
async fn left_behind(compute: &Compute, kind: OperationKind, token: Option<&str>, node_id: Option<&str>, input: Value) -> String {
    let new = NewOperation {
        cloud: CLOUD.into(),
        kind,
        token: token.map(str::to_owned),
        node_id: node_id.map(str::to_owned),
        input,
        input_hash: vec![1],
        driver_digest: None,
        actor: "ann".into(),
        lease: Some(Lease { owner: "the dead".into(), until: ostler_store::now() + 3600 * SECOND }),
        idempotency: None,
    };
    match compute.store.operation_begin(&new, None).await.unwrap() {
        Begin::New(operation) | Begin::Existing(operation) => operation.id,
    }
}

async fn names(compute: &Compute) -> Vec<String> {
    let listing = compute.nodes(&Principal::open(), CLOUD).await.unwrap();
    listing.items.iter().map(|node| node.name.clone()).collect()
}

async fn state(compute: &Compute, operation: &str) -> OperationState {
    compute.store.operation_get(operation).await.unwrap().unwrap().state
}

#[tokio::test]
async fn an_interrupted_creation_is_finished_or_undone() {
    for (accepted, resume, expected, nodes) in [
        (false, false, OperationState::Failed, 0),
        (false, true, OperationState::Succeeded, 1),
        (true, false, OperationState::Succeeded, 1),
        (true, true, OperationState::Succeeded, 1),
    ] {
        let compute = compute(&[("form", "plain")]).await;
        let operation =
            left_behind(&compute, OperationKind::CreateNode, Some("t-1"), None, json!({"spec": spec("a"), "resume": resume}))
                .await;
        if accepted {
            compute.cloud(CLOUD).unwrap().create_node("t-1", spec("a")).await.unwrap();
        }
        let recovery = crate::recovery::Recovery::new(Arc::clone(&compute.scheduler));
        assert_eq!(recovery.once().await.unwrap(), 0, "its lease still runs: the owner may be alive");
        for taken_up in [1, 0] {
            assert_eq!(recovered(&compute).await, taken_up, "{accepted} {resume}");
            assert_eq!(state(&compute, &operation).await, expected, "{accepted} {resume}");
            assert_eq!(names(&compute).await.len(), nodes, "{accepted} {resume}");
        }
    }
}

#[tokio::test]
async fn an_interrupted_destruction_takes_the_node_that_was_meant_and_no_other() {
    // (token of the node that has the id now, token of the one that was to be destroyed, is it still there afterwards)
    for (now, meant, stays) in [(Some("t-1"), Some("t-1"), false), (Some("t-2"), Some("t-1"), true), (None, Some("t-1"), false)] {
        let compute = compute(&[("form", "plain")]).await;
        let cloud = compute.cloud(CLOUD).unwrap();
        let id = match now {
            Some(token) => cloud.create_node(token, spec("a")).await.unwrap().value.id,
            None => "node-000001".into(),
        };
        let operation =
            left_behind(&compute, OperationKind::DestroyNode, None, Some(&id), json!({"id": id, "token": meant})).await;
        assert_eq!(recovered(&compute).await, 1);
        assert_eq!(state(&compute, &operation).await, OperationState::Succeeded);
        assert_eq!(!names(&compute).await.is_empty(), stays, "{now:?} {meant:?}");
    }
}

#[tokio::test]
async fn a_lost_answer_makes_neither_two_nodes_nor_an_error() {
    let compute = compute(&[("form", "plain"), ("faults", r#"{"create-node": {"lost": 1}, "destroy-node": {"lost": 1}}"#)]).await;
    let node = compute.start_node(&Principal::open(), CLOUD, spec("a"), None).await.unwrap().node;
    assert_eq!(names(&compute).await, ["a"]);
    compute.stop_node(&Principal::open(), CLOUD, Some(&node.id), None).await.unwrap();
    assert!(names(&compute).await.is_empty());
    assert!(compute.store.operations_pending(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_cannot_be_done_leaves_nothing_pending() {
    for (faults, expected) in [
        (r#"{"create-node": {"quota": 1}}"#, "quota"),
        (r#"{"create-node": {"trap": 1}}"#, "crashed"),
        (r#"{"create-node": {"transient": 1}}"#, "transient"),
        (r#"{"create-node": {"unauthorized": 1}}"#, "unauthorized"),
    ] {
        let compute = compute(&[("form", "plain"), ("faults", faults)]).await;
        let error = compute.start_node(&Principal::open(), CLOUD, spec("a"), None).await.unwrap_err();
        assert_eq!(error.cloud_kind().map(ostler_drivers::ErrorKind::as_str), Some(expected), "{error}");
        assert!(names(&compute).await.is_empty());
        assert!(compute.store.operations_pending(10).await.unwrap().is_empty(), "{faults}");
    }
}

#[tokio::test]
async fn where_the_outcome_cannot_be_known_the_duty_to_find_out_stays() {
    let compute = compute(&[("form", "plain"), ("faults", r#"{"create-node": {"lost": 1}, "find-node": {"failed": 1}}"#)]).await;
    let error = compute.start_node(&Principal::open(), CLOUD, spec("a"), None).await.unwrap_err();
    let Error::Uncertain { operation, .. } = error else { panic!("{error}") };
    assert_eq!(state(&compute, &operation).await, OperationState::Pending);
}

#[tokio::test]
async fn a_key_stands_for_one_request() {
    let compute = compute(&[("form", "plain")]).await;
    let who = Principal::open();
    let start = |name: &'static str, k: &'static str| {
        let (compute, who) = (Arc::clone(&compute), who.clone());
        async move { compute.start_node(&who, CLOUD, spec(name), key(k)).await.map(|listed| listed.node.id) }
    };
    let first = start("a", "k1").await.unwrap();
    assert_eq!(start("a", "k1").await.unwrap(), first, "the same again");
    assert!(matches!(start("b", "k1").await, Err(Error::KeyReused)), "another request");
    assert_ne!(start("a", "k2").await.unwrap(), first, "another key");
    assert_eq!(names(&compute).await, ["a", "a"]);
    let racing = futures::future::join_all((0..16).map(|_| start("c", "k3"))).await;
    let ids: std::collections::BTreeSet<_> = racing.iter().filter_map(|result| result.as_ref().ok()).collect();
    assert_eq!(ids.len(), 1, "one node for one key");
    assert!(racing.iter().all(|result| matches!(result, Ok(_) | Err(Error::UnderWay))));
    // A failure is remembered like a success.
    let mut wrong = spec("d");
    wrong.image_id = "no such".into();
    for _ in 0..2 {
        let error = compute.start_node(&who, CLOUD, wrong.clone(), key("k4")).await.unwrap_err();
        assert!(matches!(error, Error::NoImage(ref id) if id == "no such"), "{error}");
    }
    assert_eq!(names(&compute).await.len(), 3);
}

#[tokio::test]
async fn what_failed_for_a_while_can_be_ordered_again_with_its_key() {
    for (class, kind, operations) in
        [("transient", ostler_drivers::ErrorKind::Transient, 2), ("quota", ostler_drivers::ErrorKind::Quota, 1)]
    {
        let compute = compute(&[("form", "plain"), ("faults", &format!(r#"{{"create-node": {{"{class}": 1}}}}"#))]).await;
        for _ in 0..2 {
            let error = compute.start_node(&Principal::open(), CLOUD, spec("a"), key("k")).await.unwrap_err();
            assert_eq!(error.cloud_kind(), Some(&kind), "{error}");
        }
        let begun = compute.store().operations_list(&ostler_store::OperationFilter::default(), None, 9).await.unwrap();
        assert_eq!(begun.len(), operations, "{class}: {begun:?}");
        assert!(names(&compute).await.is_empty());
    }
}

#[tokio::test]
async fn assignments_follow_the_nodes() {
    let compute = compute(&[]).await;
    let who = Principal::open();
    let by_id = |id: &str| Target { node: Some(id.into()), hostname: None };
    let assigned = compute.assign(&who, CLOUD, &by_id("1"), "ann", "wiki").await.unwrap();
    assert_eq!((assigned.id_vm, assigned.result.as_str()), (json!("1"), "Node 1 assigned"));
    let again = compute.assign(&who, CLOUD, &by_id("1"), "bob", "wiki").await;
    assert!(matches!(again, Err(Error::Assigned { .. })), "{again:?}");
    let by_name = Target { node: Some("1".into()), hostname: Some("dummy-2".into()) };
    assert_eq!(compute.assign(&who, CLOUD, &by_name, "bob", "wiki").await.unwrap().id_vm, json!("2"), "the name decides");
    assert!(matches!(compute.assign(&who, CLOUD, &by_id("9"), "bob", "x").await, Err(Error::NoNode(_))));
    let released = compute.release(&who, CLOUD, &by_id("1")).await.unwrap();
    assert_eq!(released.result, "Node 1 released and deleted");
    assert_eq!(names(&compute).await, ["dummy-2"]);
    let rows: Vec<Value> = compute.assignments(&who, CLOUD).await.unwrap().iter().map(NodeAssignment::to_value).collect();
    assert_eq!(rows.len(), 1);
    assert_eq!((&rows[0]["user"], &rows[0]["status_desc"]), (&json!("bob"), &json!("ASSIGNED")));
}

#[tokio::test]
async fn who_may_not_does_not() {
    use crate::identity::{Role, Scheme};
    let compute = compute(&[]).await;
    let user = Principal::new("ann", vec![Role::User], Scheme::Basic);
    let nobody = Principal { roles: vec![], ..user.clone() };
    assert!(compute.nodes(&user, CLOUD).await.is_ok());
    assert!(matches!(compute.nodes(&nobody, CLOUD).await, Err(Error::Forbidden)));
    let target = Target { node: Some("1".into()), hostname: None };
    assert!(matches!(compute.start_node(&user, CLOUD, spec("a"), None).await, Err(Error::Forbidden)));
    assert!(matches!(compute.stop_node(&user, CLOUD, Some("1"), None).await, Err(Error::Forbidden)));
    assert!(matches!(compute.assign(&user, CLOUD, &target, "x", "y").await, Err(Error::Forbidden)));
    assert!(matches!(compute.release(&user, CLOUD, &target).await, Err(Error::Forbidden)));
    assert_eq!(names(&compute).await.len(), 2);
}
