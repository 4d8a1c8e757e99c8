//! The resources of a deployment.

use std::sync::Arc;

use ostler_store::{Error, Resource, ResourceChange, ResourceState};
use serde_json::json;

use crate::deployments::{idle, resource};
use crate::fixture::Fixture;

pub(crate) async fn changes(f: Arc<Fixture>) {
    let store = &f.store;
    let (deployment, resources) = idle(store, 2).await;
    let read = store.resource_get(&deployment, &resources[0].id).await.unwrap().unwrap();
    let all = ResourceChange {
        state: Some(ResourceState::Started),
        cloud: Some(Some("d".into())),
        token: Some(Some("t".into())),
        physical_id: Some(Some("p".into())),
        attributes: Some(json!({"address": "192.0.2.1"})),
        required_by: Some(vec!["a".into(), "b".into()]),
    };
    assert!(store.resource_change(&read.id, &all).await.unwrap());
    let changed = store.resource_get(&deployment, &read.id).await.unwrap().unwrap();
    let expected = Resource {
        state: ResourceState::Started,
        cloud: Some("d".into()),
        token: Some("t".into()),
        physical_id: Some("p".into()),
        attributes: json!({"address": "192.0.2.1"}),
        required_by: vec!["a".into(), "b".into()],
        updated_at: changed.updated_at,
        ..read.clone()
    };
    assert_eq!(changed, expected);
    assert!(store.resource_change(&read.id, &ResourceChange::default()).await.unwrap());
    let nulls = ResourceChange { cloud: Some(None), token: Some(None), physical_id: Some(None), ..Default::default() };
    assert!(store.resource_change(&read.id, &nulls).await.unwrap());
    let changed = store.resource_get(&deployment, &read.id).await.unwrap().unwrap();
    assert_eq!(changed, Resource { cloud: None, token: None, physical_id: None, updated_at: changed.updated_at, ..expected });
    assert!(!store.resource_change("none", &all).await.unwrap());
    let taken = ResourceChange { cloud: Some(Some("c".into())), token: Some(resources[1].token.clone()), ..Default::default() };
    let refused = store.resource_change(&read.id, &taken).await;
    assert!(matches!(refused, Err(Error::Exists("a resource with this token"))), "{refused:?}");

    // Added twice, they are there once, as they were.
    let new = resource(&deployment, 5, None);
    store.resource_add(std::slice::from_ref(&new)).await.unwrap();
    let other = Resource { node: "other".into(), ..new.clone() };
    store.resource_add(&[other, resource(&deployment, 6, None)]).await.unwrap();
    let all = store.resources(&deployment).await.unwrap();
    assert_eq!((all.len(), &all[2].id, all[2].node.as_str()), (4, &new.id, "node_5"));
    // All or none.
    let refused = store.resource_add(&[resource(&deployment, 7, None), resource("none", 0, None)]).await;
    assert!(matches!(refused, Err(Error::NotFound("the deployment"))), "{refused:?}");
    let same = resource(&deployment, 7, resources[1].token.as_deref());
    let refused = store.resource_add(&[resource(&deployment, 7, None), same]).await;
    assert!(matches!(refused, Err(Error::Exists("a resource with this token"))), "{refused:?}");
    assert_eq!(store.resources(&deployment).await.unwrap(), all);
    assert!(store.resource_remove(&new.id).await.unwrap());
    assert!(!store.resource_remove(&new.id).await.unwrap());
    assert_eq!(store.resources(&deployment).await.unwrap().len(), 3);
}
