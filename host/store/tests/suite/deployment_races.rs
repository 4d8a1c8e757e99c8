//! Those who want something of one deployment at once.

use std::sync::Arc;

use ostler_store::{Begin, DeploymentChange, DeploymentStatus, Error, OperationKind, ResourceChange, ResourceState, Store};

use crate::deployments::{idle, made, new, resource, try_begin, work};
use crate::fixture::{Fixture, race};
use crate::world::{event, keyed, order};

/// Exactly one has begun something; the others were told that it is busy.
async fn one_won(store: &Store, id: &str, results: &[Result<Begin, Error>]) {
    let mut winners = Vec::new();
    for result in results {
        match result {
            Ok(Begin::New(operation)) => winners.push(operation.id.clone()),
            Err(Error::Referenced(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(store.deployment_get(id).await.unwrap().unwrap().operation.as_ref(), winners.first());
}

pub(crate) async fn one_begins(f: Arc<Fixture>) {
    let hosts = [f.store.clone(), f.other_host().await];
    let (id, _) = idle(&f.store, 1).await;
    let begin = |instead_of: Option<String>| {
        let (hosts, id) = (hosts.clone(), id.clone());
        race(16, move |task| {
            let (store, id, instead_of) = (hosts[task % 2].clone(), id.clone(), instead_of.clone());
            async move { work(&store, &id, instead_of.as_deref(), &order(OperationKind::UpdateDeployment)).await }
        })
    };
    let before = f.store.event_last().await.unwrap();
    one_won(&f.store, &id, &begin(None).await).await;
    // One takes over.
    let update = f.store.deployment_get(&id).await.unwrap().unwrap().operation;
    one_won(&f.store, &id, &begin(update).await).await;
    assert_eq!(f.store.event_last().await.unwrap(), before + 2);
    assert_eq!(f.store.operations_list(&Default::default(), None, 99).await.unwrap().len(), 3);
}

pub(crate) async fn one_key_one_work(f: Arc<Fixture>) {
    let hosts = [f.store.clone(), f.other_host().await];
    let (id, _) = idle(&f.store, 1).await;
    let results = race(16, |task| {
        let (store, id) = (hosts[task % 2].clone(), id.clone());
        async move {
            if task < 8 {
                work(&store, &id, None, &keyed(OperationKind::UpdateDeployment, "update", 1)).await.unwrap()
            } else {
                let new = new();
                let node = resource(&new.id, 0, None);
                try_begin(&store, &new, &[node], &keyed(OperationKind::CreateDeployment, "create", 1), &[]).await.unwrap()
            }
        }
    })
    .await;
    for results in results.chunks(8) {
        let id = |begin: &Begin| match begin {
            Begin::New(operation) | Begin::Existing(operation) => operation.id.clone(),
        };
        let ids: std::collections::HashSet<_> = results.iter().map(id).collect();
        let new = results.iter().filter(|begin| matches!(begin, Begin::New(_))).count();
        assert_eq!((ids.len(), new), (1, 1), "{results:?}");
    }
    let (_, total) = f.store.deployments(&Default::default(), &Default::default()).await.unwrap();
    assert_eq!(total, 2);
}

pub(crate) async fn lines_are_not_lost(f: Arc<Fixture>) {
    let hosts = [f.store.clone(), f.other_host().await];
    let (id, _) = idle(&f.store, 0).await;
    race(16, |task| {
        let (store, id) = (hosts[task % 2].clone(), id.clone());
        async move {
            let change = DeploymentChange { log_line: Some(format!("{task:02}")), ..Default::default() };
            store.deployment_change(&id, &change, None).await.unwrap().unwrap();
        }
    })
    .await;
    let log = f.store.deployment_get(&id).await.unwrap().unwrap().log;
    let mut lines: Vec<_> = log.lines().map(|line| line.parse::<usize>().unwrap()).collect();
    lines.sort_unstable();
    assert_eq!(lines, (0..16).collect::<Vec<_>>());
}

/// Changes are made before the removal or find nothing; nothing of the deployment is left.
pub(crate) async fn a_removal_races_changes(f: Arc<Fixture>) {
    let hosts = [f.store.clone(), f.other_host().await];
    for round in 0..10 {
        let new = new();
        let resources = [resource(&new.id, 0, Some(&new.id)), resource(&new.id, 1, None)];
        let operation = made(&f.store, &new, &resources).await.id;
        let events = f.store.event_last().await.unwrap();
        let told = race(12, |task| {
            let (store, id, node, operation) =
                (hosts[(task + round) % 2].clone(), new.id.clone(), resources[0].id.clone(), operation.clone());
            async move {
                let change = DeploymentChange {
                    status: Some(DeploymentStatus::CreateComplete),
                    log_line: Some("x".into()),
                    ..Default::default()
                };
                match task % 6 {
                    0 => store.deployment_change(&id, &change, Some(&event("x"))).await.unwrap().is_some(),
                    1 => {
                        let change = ResourceChange { state: Some(ResourceState::Started), ..Default::default() };
                        store.resource_change(&node, &change).await.unwrap();
                        false
                    }
                    2 => {
                        match store.resource_add(&[resource(&id, 9, None)]).await {
                            Ok(()) | Err(Error::NotFound("the deployment")) => {}
                            Err(error) => panic!("{error:?}"),
                        }
                        false
                    }
                    3 => match work(&store, &id, Some(&operation), &order(OperationKind::DeleteDeployment)).await {
                        Ok(_) => true,
                        Err(Error::NotFound("the deployment") | Error::Referenced(_)) => false,
                        Err(error) => panic!("{error:?}"),
                    },
                    4 => {
                        store.resource_remove(&node).await.unwrap();
                        false
                    }
                    _ => store.deployment_remove(&id, &event("gone")).await.unwrap(),
                }
            }
        })
        .await;
        let told = told.into_iter().filter(|told| *told).count() as i64;
        assert_eq!(f.store.event_last().await.unwrap(), events + told);
        assert_eq!(f.store.deployment_get(&new.id).await.unwrap(), None);
        assert_eq!(f.store.resources(&new.id).await.unwrap(), []);
        assert_eq!(f.store.resource_by_token("c", &new.id).await.unwrap(), None);
    }
}
