//! Many who start, use and stop services at once; the credit adds up afterwards.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use ostler_store::{
    CreditError, Error, NodeRole, Operation, OperationKind, Service, ServiceBegin, ServiceError, ServiceKind, ServiceNodeState,
    ServiceState, Store, now,
};
use serde_json::json;

use crate::credit::{Random, sound};
use crate::fixture::{Fixture, race};
use crate::world::{HOUR, World, begun, event, facts, failed, succeeded};

/// What tasks share, and what they know was spent.
#[derive(Default)]
struct Known {
    services: Vec<Service>,
    spent: i64,
    /// In advance, and not used by services that are gone.
    lost: i64,
}

/// One of many who start, use and stop services at once. Now and then it leaves an operation where it is, as a crash does.
async fn work(world: World, known: Arc<Mutex<Known>>, mut random: Random) {
    let store = &world.store;
    for _ in 0..14 {
        let crash = random.below(8) == 0;
        let pick = random.below(1000);
        let service = {
            let known = known.lock().unwrap();
            if known.services.is_empty() { None } else { Some(known.services[pick % known.services.len()].clone()) }
        };
        match (random.below(9), service) {
            (0 | 1, _) | (_, None) => start_one(&world, &known, crash, random.below(3) == 0, 1 + random.below(4) as i64).await,
            (2 | 3, Some(service)) => {
                let prices: Vec<i64> = (0..1 + random.below(3)).map(|_| random.below(4) as i64).collect();
                add_some(&world, &known, &service, &prices, crash, random.below(3) == 0).await;
            }
            (4, Some(service)) => {
                let agents = store.service_nodes(service.id).await.unwrap();
                let agents: Vec<i64> = agents.iter().filter(|node| node.role == NodeRole::Agent).map(|node| node.id).collect();
                let some = &agents[..agents.len().min(1 + random.below(2))];
                match world.remove_begin(&service, some).await {
                    Ok(begin) if !crash => undo(store, &begun(Ok(begin)).0, "me", &known).await,
                    Ok(_) | Err(ServiceError::NotFound | ServiceError::Busy) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            (5, Some(service)) => {
                let amount = 1 + random.below(4) as i64;
                match store.service_prepay(service.id, amount, None, "manager").await {
                    Ok(_) | Err(CreditError::Insufficient { .. } | CreditError::Store(Error::NotFound(_))) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            (6 | 7, Some(_)) => {
                for (node, _) in store.nodes_due(i64::MAX, None, 3).await.unwrap() {
                    let until = node.paid_until.unwrap();
                    match store.node_charge(node.id, until, until + HOUR, "host").await {
                        Ok(true) => known.lock().unwrap().spent += node.price,
                        Ok(false) | Err(CreditError::Insufficient { .. }) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            }
            (_, Some(service)) => match world.stop_begin(&service).await {
                Ok(ServiceBegin::New { operation, service, .. }) => {
                    known.lock().unwrap().lost += service.prepaid;
                    if !crash {
                        undo(store, &operation, "me", &known).await;
                    }
                }
                Ok(ServiceBegin::Existing(_)) | Err(ServiceError::NotFound) => {}
                Err(other) => panic!("{other}"),
            },
        }
    }
}

async fn start_one(world: &World, known: &Mutex<Known>, crash: bool, fail: bool, price: i64) {
    let (operation, service, nodes) = match world.begin(ServiceKind::Service, price).await {
        Ok(begin) => begun(Ok(begin)),
        Err(ServiceError::Insufficient { .. }) => return,
        Err(other) => panic!("{other}"),
    };
    if crash {
        return;
    }
    world.store.service_node_found(nodes[0].id, &facts(&nodes[0])).await.unwrap();
    if fail {
        return world
            .store
            .service_start_failed(&operation.id, "me", &failed(json!(1)).save(), service.id, &event("x"))
            .await
            .unwrap();
    }
    let facts = facts(&nodes[0]);
    let started = world
        .store
        .service_started(&operation.id, "me", &succeeded(json!(1)).save(), service.id, &facts, HOUR, &event("x"))
        .await;
    let mut known = known.lock().unwrap();
    known.services.push(started.unwrap());
    known.spent += price;
}

async fn add_some(world: &World, known: &Mutex<Known>, service: &Service, prices: &[i64], crash: bool, fail: bool) {
    let (operation, _, nodes) = match world.nodes_begin(service, prices).await {
        Ok(begin) => begun(Ok(begin)),
        Err(ServiceError::Insufficient { .. } | ServiceError::NotFound | ServiceError::Busy) => return,
        Err(other) => panic!("{other}"),
    };
    if crash {
        return;
    }
    let rows: Vec<_> = nodes.iter().map(|node| (node.id, facts(node))).collect();
    if !fail {
        match world
            .store
            .nodes_added(&operation.id, "me", &succeeded(json!(1)).save(), service.id, &rows, HOUR, &event("x"))
            .await
        {
            Ok(_) => {
                known.lock().unwrap().spent += prices.iter().sum::<i64>();
                return;
            }
            Err(ServiceError::Busy) => {}
            Err(other) => panic!("{other}"),
        }
    }
    if nodes.len() > 1 {
        // Already known to be gone.
        assert!(world.store.service_node_gone(nodes[0].id).await.unwrap());
    }
    world.store.nodes_failed(&operation.id, "me", &failed(json!(1)).save(), &event("x")).await.unwrap();
}

/// Brings an operation to its end without any node. One that stops a service may have to wait for others, and stays then.
async fn undo(store: &Store, operation: &Operation, owner: &str, known: &Mutex<Known>) {
    let op = operation.id.as_str();
    match operation.kind {
        OperationKind::StartService => {
            let service = store.services_by_operation(op).await.unwrap().remove(0);
            store.service_start_failed(op, owner, &failed(json!(1)).save(), service.id, &event("x")).await.unwrap();
        }
        OperationKind::AddNodes => store.nodes_failed(op, owner, &failed(json!(1)).save(), &event("x")).await.unwrap(),
        OperationKind::RemoveNodes => {
            for node in store.service_nodes_of_operation(op).await.unwrap() {
                store.service_node_gone(node.id).await.unwrap();
            }
            store.nodes_removed(op, owner, &succeeded(json!({})).save(), &event("x")).await.unwrap();
        }
        OperationKind::StopService => {
            let service = store.services_by_operation(op).await.unwrap().remove(0);
            for node in store.service_nodes(service.id).await.unwrap() {
                if node.state == ServiceNodeState::Doomed {
                    store.service_node_gone(node.id).await.unwrap();
                }
            }
            match store.service_stopped(op, owner, &succeeded(json!({})).save(), service.id, &event("x")).await {
                Ok(()) => known.lock().unwrap().services.retain(|other| other.id != service.id),
                Err(ServiceError::Busy) => {}
                Err(other) => panic!("{other}"),
            }
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn random_interleavings_add_up(f: Arc<Fixture>) {
    const CREDIT: i64 = 120;
    let hosts = [f.store.clone(), f.other_host().await];
    for seed in 0..4 {
        let world = World::new(&f.store, &format!("u{seed}"), CREDIT).await;
        let known = Arc::new(Mutex::new(Known::default()));
        race(5, |task| {
            let world = World { store: hosts[task % 2].clone(), ..world.clone() };
            work(world, known.clone(), Random::new(seed, task))
        })
        .await;
        sound(&f.store).await;

        // Recovery, by another owner, until nothing is pending. Stops may wait for others once.
        let mut rounds = 0;
        loop {
            let pending = f.store.operation_claim("recovery", i64::MAX, now() + HOUR, 1000).await.unwrap();
            if pending.is_empty() {
                break;
            }
            rounds += 1;
            assert!(rounds < 4, "seed {seed}: {pending:?}");
            for operation in pending {
                undo(&f.store, &operation, "recovery", &known).await;
            }
        }
        sound(&f.store).await;
        let (spent, lost, alive) = {
            let known = known.lock().unwrap();
            (known.spent, known.lost, known.services.iter().map(|service| service.id).collect::<HashSet<_>>())
        };
        let services = f.store.services(&world.user.id, None).await.unwrap();
        assert!(services.iter().all(|service| service.state == ServiceState::Running && service.operation.is_none()));
        assert_eq!(services.iter().map(|service| service.id).collect::<HashSet<_>>(), alive, "seed {seed}");
        let nodes = f.store.service_nodes_of_user(&world.user.id).await.unwrap();
        assert!(nodes.iter().all(|node| node.state == ServiceNodeState::Present && node.reservation.is_none()), "{nodes:?}");
        let in_advance: i64 = services.iter().map(|service| service.prepaid).sum();
        let history = f.store.credit_history(&world.user.id, None, u32::MAX).await.unwrap();
        assert!(history.iter().all(|entry| entry.balance >= 0));
        assert_eq!(world.balance().await, CREDIT - spent - lost - in_advance, "seed {seed}: each period was paid for once");
        // Nothing of this round is in the way of the next.
        for service in services {
            let (operation, ..) = begun(world.stop_begin(&service).await);
            undo(&f.store, &operation, "me", &known).await;
        }
        assert_eq!(f.store.services(&world.user.id, None).await.unwrap(), []);
    }
}
