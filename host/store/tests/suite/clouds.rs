//! What still needs a cloud.

use std::collections::BTreeMap;
use std::sync::Arc;

use ostler_store::{Begin, NewOperation, OperationKind, Progress, ServiceKind, Step, Store};

use crate::deployments::idle;
use crate::fixture::Fixture;
use crate::operations::leased;
use crate::world::World;

async fn uses(store: &Store, cloud: &str) -> BTreeMap<&'static str, (u64, Vec<String>)> {
    store.cloud_uses(cloud).await.unwrap().into_iter().map(|one| (one.kind, (one.count, one.examples))).collect()
}

pub(crate) async fn uses_are_counted_and_named(f: Arc<Fixture>) {
    let store = &f.store;
    assert!(uses(store, "c").await.is_empty());
    let machine = |number: u32| format!("vm-{number:02}");
    for number in 0..12 {
        store.assignment_upsert_node("c", &machine(number), "host").await.unwrap();
    }
    assert!(uses(store, "c").await.is_empty(), "nobody uses them");
    for number in 0..12 {
        store.assignment_assign("c", &machine(number), "ann", None, None).await.unwrap();
    }
    let first: Vec<String> = (0..10).map(machine).collect();
    assert_eq!(uses(store, "c").await, BTreeMap::from([("assigned machines", (12, first))]));

    // Two machines are one deployment.
    let (deployment, _) = idle(store, 2).await;
    assert_eq!(uses(store, "c").await["deployments"], (1, vec![deployment.clone()]));

    // An operation that is elsewhere, with a step here.
    let new = NewOperation { cloud: "elsewhere".into(), kind: OperationKind::UpdateDeployment, ..leased("me", 7) };
    let step = Step { cloud: Some("here".into()), token: Some("t".into()), ..Step::new(0, 0, "make-node") };
    let Begin::New(operation) = store.work_begin(&new, None, &Progress::default(), &[step], None).await.unwrap() else {
        panic!("it is new")
    };
    for cloud in ["elsewhere", "here"] {
        assert_eq!(uses(store, cloud).await, BTreeMap::from([("pending operations", (1, vec![operation.id.clone()]))]));
    }

    let world = World::new(store, "alice", 50).await;
    let service = world.running(ServiceKind::Service, 1).await;
    let used = uses(store, "c").await;
    assert_eq!(used["services"], (1, vec![service.id.to_string()]));
    assert_eq!(used["nodes of services"].0, 1);
    assert!(uses(store, "nowhere").await.is_empty());
}
