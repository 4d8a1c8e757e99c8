//! What is forgotten after a time, and what is not.

use std::sync::Arc;

use ostler_store::{
    Begin, DeploymentChange, Idempotency, NewOperation, Operation, OperationKind, Outcome, Progress, ServiceKind, Step, Store,
    now,
};
use serde_json::json;

use crate::deployments::{begun as new_work, new, resource, try_begin};
use crate::fixture::Fixture;
use crate::world::{World, begun, event, keyed, order};

/// An operation that ended so.
async fn ended(store: &Store, new: &NewOperation, steps: &[Step], outcome: &Outcome) -> Operation {
    let operation = new_work(store.work_begin(new, None, &Progress::default(), steps, None).await);
    store.operation_finish(&operation.id, "me", outcome, None).await.unwrap()
}

fn done(node_id: Option<&str>) -> Outcome {
    Outcome::Succeeded { node_id: node_id.map(Into::into), output: None }
}

fn failed() -> Outcome {
    Outcome::Failed(json!({}))
}

fn step(token: &str) -> Step {
    Step { cloud: Some("c".into()), token: Some(token.into()), ..Step::new(0, 0, "make-node") }
}

/// Forgets all that is older; the operations that are left, the latest first.
async fn left(store: &Store) -> Vec<String> {
    store.prune(now() + 1, 1000).await.unwrap();
    let operations = store.operations_list(&Default::default(), None, 1000).await.unwrap();
    operations.into_iter().map(|operation| operation.id).collect()
}

pub(crate) async fn operations_that_are_over(f: Arc<Fixture>) {
    let store = &f.store;
    let op = keyed(OperationKind::StartService, "k", 1);
    let old = ended(store, &op, &[step("s-1")], &done(None)).await;
    let pending = new_work(store.work_begin(&order(OperationKind::StartService), None, &Progress::default(), &[], None).await);
    // An operation is as old as its end.
    assert_eq!(store.prune(old.updated_at, 10).await.unwrap(), 0);
    assert!(old.updated_at > old.created_at);
    assert_eq!(store.operation_begin(&op, None).await.unwrap(), Begin::Existing(old.clone()));
    assert_eq!(store.prune(old.updated_at + 1, 10).await.unwrap(), 1);
    assert_eq!(store.work_get(&old.id).await.unwrap(), None);
    assert_eq!(store.step_by_token("c", "s-1").await.unwrap(), None, "with its steps");
    assert_eq!(left(store).await, std::slice::from_ref(&pending.id));
    // The key is free again, also for another input.
    let idempotency = Some(Idempotency { scope: "s".into(), key: "k".into() });
    let other = NewOperation { idempotency, input_hash: vec![2], ..order(OperationKind::StopService) };
    let again = ended(store, &other, &[step("s-1")], &failed()).await;
    assert_ne!(again.id, old.id);
    assert_eq!(left(store).await, [pending.id]);
}

pub(crate) async fn what_is_kept(f: Arc<Fixture>) {
    let store = &f.store;
    // What was given up.
    let plain = order(OperationKind::ImportImage);
    let abandoned = ended(store, &plain, &[], &Outcome::Abandoned(json!({}))).await.id;
    assert_eq!(left(store).await, std::slice::from_ref(&abandoned));

    // What has made a node, until that is destroyed; not what has made none.
    let create = |token: &str| NewOperation { token: Some(token.into()), ..order(OperationKind::CreateNode) };
    let destroy = |node: &str| NewOperation { node_id: Some(node.into()), ..order(OperationKind::DestroyNode) };
    ended(store, &destroy("n-1"), &[], &done(None)).await;
    let made = ended(store, &create("t-1"), &[], &done(Some("n-1"))).await.id;
    ended(store, &create("t-2"), &[], &failed()).await;
    ended(store, &destroy("n-1"), &[], &failed()).await;
    ended(store, &NewOperation { cloud: "d".into(), ..destroy("n-1") }, &[], &done(None)).await;
    assert_eq!(left(store).await, [made.clone(), abandoned.clone()], "the node is there");
    assert_eq!(store.operation_by_token("c", "t-1").await.unwrap().unwrap().id, made);
    ended(store, &destroy("n-1"), &[], &done(None)).await;
    assert_eq!(left(store).await, std::slice::from_ref(&abandoned));

    // What a service or its nodes name, and what has ordered a node of one.
    let world = World::new(store, "alice", 100).await;
    let (start, ..) = begun(world.begin(ServiceKind::Service, 1).await);
    store.operation_finish(&start.id, "me", &failed(), None).await.unwrap();
    let service = world.running(ServiceKind::Service, 1).await;
    let (add, _, nodes) = begun(world.nodes_begin(&service, &[1]).await);
    store.operation_finish(&add.id, "me", &failed(), None).await.unwrap();
    assert_eq!(left(store).await, [add.id.clone(), start.id.clone(), abandoned.clone()]);
    let ordered = ended(store, &order(OperationKind::AddNodes), &[step(&nodes[0].token)], &done(None)).await.id;
    assert_eq!(left(store).await, [ordered, add.id, start.id.clone(), abandoned.clone()]);
    store.service_node_gone(nodes[0].id).await.unwrap();
    assert_eq!(left(store).await, [start.id.clone(), abandoned.clone()]);

    // What a deployment names, and what has ordered a resource of one.
    let new = new();
    let resources = [resource(&new.id, 0, Some("r-1"))];
    let steps = [step("r-1")];
    let create = new_work(try_begin(store, &new, &resources, &order(OperationKind::CreateDeployment), &steps).await);
    store.operation_finish(&create.id, "me", &done(None), None).await.unwrap();
    let other = ended(store, &order(OperationKind::ActOnResource), &[step("r-2")], &done(None)).await.id;
    assert_eq!(left(store).await, [create.id.clone(), start.id.clone(), abandoned.clone()], "not {other}");
    store.resource_remove(&resources[0].id).await.unwrap();
    assert_eq!(left(store).await, [create.id.clone(), start.id.clone(), abandoned.clone()]);
    store.resource_add(&resources).await.unwrap();
    let free = DeploymentChange { operation: Some(None), ..Default::default() };
    store.deployment_change(&new.id, &free, None).await.unwrap();
    assert_eq!(left(store).await, [create.id, start.id.clone(), abandoned.clone()]);
    store.deployment_remove(&new.id, &event("x")).await.unwrap();
    assert_eq!(left(store).await, [start.id, abandoned]);
}

pub(crate) async fn in_portions(f: Arc<Fixture>) {
    let store = &f.store;
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.push(ended(store, &order(OperationKind::StopService), &[], &done(None)).await.id);
    }
    let before = now() + 1;
    assert_eq!(store.prune(before, 0).await.unwrap(), 0);
    assert_eq!(store.prune(before, 3).await.unwrap(), 3);
    let mut left: Vec<_> = store.operations_list(&Default::default(), None, 9).await.unwrap();
    left.reverse();
    assert_eq!(left.iter().map(|operation| &operation.id).collect::<Vec<_>>(), ids[3..].iter().collect::<Vec<_>>(), "the oldest");
    // Hosts that do so at once do not forget anything twice.
    let hosts = [f.store.clone(), f.other_host().await];
    let counts = crate::fixture::race(4, |task| {
        let store = hosts[task % 2].clone();
        async move { store.prune(before, 9).await.unwrap() }
    })
    .await;
    assert_eq!(counts.iter().sum::<u64>(), 4, "{counts:?}");
}

pub(crate) async fn events(f: Arc<Fixture>) {
    let store = &f.store;
    for _ in 0..4 {
        store.event_append(&event("old")).await.unwrap();
    }
    let before = store.events_after(3, 1).await.unwrap()[0].at + 1;
    while now() <= before {
        tokio::task::yield_now().await;
    }
    for _ in 0..4 {
        store.event_append(&event("young")).await.unwrap();
    }
    let ids = async || store.events_after(0, 99).await.unwrap().into_iter().map(|event| event.id).collect::<Vec<_>>();
    assert_eq!(store.events_prune(0, 10).await.unwrap(), 0);
    assert_eq!(store.events_prune(before, 0).await.unwrap(), 0);
    assert_eq!(store.events_prune(before, 3).await.unwrap(), 3);
    assert_eq!(ids().await, [4, 5, 6, 7, 8]);
    assert_eq!(store.events_prune(before, 3).await.unwrap(), 1);
    assert_eq!(store.events_prune(before, 3).await.unwrap(), 0);
    assert_eq!(ids().await, [5, 6, 7, 8]);
    // Numbers are not given again, even where none is left.
    assert_eq!(store.events_prune(now() + 1, 10).await.unwrap(), 4);
    assert_eq!(store.event_last().await.unwrap(), 8);
    assert_eq!(store.event_append(&event("new")).await.unwrap(), 9);
    assert_eq!(ids().await, [9]);
}
