use std::collections::HashSet;
use std::sync::Arc;

use ostler_store::{
    CreditError, CreditKind, Error, NewService, NewServiceNode, NodeFacts, NodeRole, OperationKind, OperationState, Service,
    ServiceBegin, ServiceError, ServiceKind, ServiceNodeState, ServiceState,
};
use serde_json::json;

use crate::certificates;
use crate::credit::{sound, user};
use crate::fixture::{Fixture, race};
use crate::world::{HOUR, World, begun, event, existing, facts, failed, keyed, node, order, succeeded};

pub(crate) async fn applications(f: Arc<Fixture>) {
    let store = &f.store;
    let (alice, bob) = (user(store, "alice", 5).await, user(store, "bob", 5).await);
    let first = store.application_create(&alice.id, "first").await.unwrap();
    let second = store.application_create(&alice.id, "second").await.unwrap();
    store.application_create(&bob.id, "first").await.unwrap();
    assert!(second.id > first.id);
    assert_eq!(store.applications(&alice.id).await.unwrap(), [first.clone(), second.clone()]);
    assert_eq!(store.application_get(first.id).await.unwrap(), Some(first.clone()));
    assert_eq!(store.application_get(999).await.unwrap(), None);
    assert!(matches!(store.application_create(&alice.id, "first").await, Err(Error::Exists("the application"))));
    assert!(matches!(store.application_create("none", "first").await, Err(Error::NotFound("the user"))));

    assert!(store.application_rename(&alice.id, first.id, "renamed").await.unwrap());
    assert!(matches!(store.application_rename(&alice.id, first.id, "second").await, Err(Error::Exists("the application"))));
    assert!(!store.application_rename(&bob.id, first.id, "mine").await.unwrap());
    assert_eq!(store.application_get(first.id).await.unwrap().unwrap().name, "renamed");

    let world = World { store: store.clone(), user: alice.clone(), application: first.clone() };
    let (operation, service, _) = begun(world.begin(ServiceKind::Service, 1).await);
    assert!(matches!(store.application_delete(&alice.id, first.id).await, Err(Error::Referenced("the application"))));
    store.service_start_failed(&operation.id, "me", &failed(json!("why")).save(), service.id, &event("x")).await.unwrap();
    assert!(!store.application_delete(&bob.id, first.id).await.unwrap());
    assert!(store.application_delete(&alice.id, first.id).await.unwrap());
    assert!(!store.application_delete(&alice.id, first.id).await.unwrap());
    assert_eq!(store.applications(&alice.id).await.unwrap(), std::slice::from_ref(&second));
    assert!(store.application_delete(&alice.id, second.id).await.unwrap());
    assert!(store.application_create(&alice.id, "third").await.unwrap().id > second.id + 1, "numbers are not used again");
}

pub(crate) async fn a_start_and_a_stop(f: Arc<Fixture>) {
    let store = &f.store;
    let world = World::new(store, "alice", 5).await;
    let (operation, service, nodes) = begun(world.begin(ServiceKind::Service, 2).await);
    assert_eq!((service.state, service.operation.as_deref()), (ServiceState::Starting, Some(operation.id.as_str())));
    assert_eq!((service.type_name.as_str(), service.prepaid, service.address.as_deref()), ("php", 0, None));
    assert_eq!(store.service_get(service.id).await.unwrap(), Some(service.clone()));
    assert_eq!(store.services_by_operation(&operation.id).await.unwrap(), std::slice::from_ref(&service));
    assert_eq!(store.service_nodes_of_operation(&operation.id).await.unwrap(), nodes);
    assert_eq!((nodes.len(), nodes[0].state, nodes[0].role), (1, ServiceNodeState::Intended, NodeRole::Manager));
    assert_eq!((world.balance().await, nodes[0].paid_until), (3, None));
    let reserved = &store.credit_history(&world.user.id, None, 1).await.unwrap()[0];
    assert_eq!((reserved.kind, Some(reserved.id), reserved.actor.as_str()), (CreditKind::Reserve, nodes[0].reservation, "alice"));
    let events = store.events_after(0, 10).await.unwrap();
    assert_eq!(events.iter().map(|event| event.subject.clone()).collect::<Vec<_>>(), [service.id.to_string()]);
    sound(store).await;

    let known = NodeFacts { node_id: "n".into(), name: "m".into(), address: None };
    assert!(store.service_node_found(nodes[0].id, &known).await.unwrap());
    assert!(!store.service_node_found(999, &known).await.unwrap());
    let noted = store.service_node_by_provider("c", "n").await.unwrap().unwrap();
    assert_eq!((noted.id, noted.name.as_deref(), noted.state), (nodes[0].id, Some("m"), ServiceNodeState::Intended));
    assert!(matches!(world.stop_begin(&service).await, Err(ServiceError::Busy)), "it starts");

    let facts = facts(&nodes[0]);
    let output = json!({"service": service.id});
    let running = store
        .service_started(
            &operation.id,
            "me",
            &succeeded(output.clone()).with_node(&facts.node_id).save(),
            service.id,
            &facts,
            77,
            &event("started"),
        )
        .await
        .unwrap();
    assert_eq!(
        (running.state, running.address.as_deref(), &running.operation),
        (ServiceState::Running, Some("192.0.2.1"), &None)
    );
    assert_eq!(running.node_id.as_ref(), Some(&facts.node_id));
    let ended = store.operation_get(&operation.id).await.unwrap().unwrap();
    assert_eq!((ended.state, ended.output, ended.node_id), (OperationState::Succeeded, Some(output), running.node_id.clone()));
    let present = store.service_nodes(service.id).await.unwrap();
    assert_eq!((present[0].state, present[0].paid_until, present[0].reservation), (ServiceNodeState::Present, Some(77), None));
    assert_eq!((present[0].operation.as_ref(), present[0].node_id.as_ref()), (None, Some(&facts.node_id)));
    let settled = &store.credit_history(&world.user.id, None, 1).await.unwrap()[0];
    assert_eq!((settled.kind, settled.amount, settled.balance), (CreditKind::Settle, 0, 3));
    sound(store).await;

    assert!(store.service_rename(&world.user.id, service.id, "blog").await.unwrap());
    assert!(!store.service_rename("somebody", service.id, "blog").await.unwrap());
    assert_eq!(store.service_of_user(&world.user.id, service.id).await.unwrap().unwrap().name, "blog");
    assert_eq!(store.service_of_user("somebody", service.id).await.unwrap(), None);

    store.certificate_add(&certificates::new("01", Some(&world.user.id), Some(service.id))).await.unwrap();
    store.certificate_add(&certificates::new("02", Some(&world.user.id), None)).await.unwrap();
    let (stop, stopping, doomed) = begun(world.stop_begin(&running).await);
    assert_eq!((stopping.state, stopping.operation.as_ref()), (ServiceState::Stopping, Some(&stop.id)));
    assert_eq!((doomed.len(), doomed[0].state, doomed[0].operation.as_ref()), (1, ServiceNodeState::Doomed, Some(&stop.id)));
    assert_eq!(existing(world.stop_begin(&running).await).id, stop.id);
    assert!(!store.service_node_found(doomed[0].id, &known).await.unwrap(), "doomed");
    assert!(matches!(
        store.service_stopped(&stop.id, "me", &succeeded(json!({})).save(), service.id, &event("x")).await,
        Err(ServiceError::Busy)
    ));
    assert_eq!(store.operation_get(&stop.id).await.unwrap().unwrap().state, OperationState::Pending);
    assert!(store.service_node_gone(doomed[0].id).await.unwrap());
    assert!(!store.service_node_gone(doomed[0].id).await.unwrap());
    store.service_stopped(&stop.id, "me", &succeeded(json!({})).save(), service.id, &event("stopped")).await.unwrap();
    assert_eq!(store.service_get(service.id).await.unwrap(), None);
    assert_eq!(store.operation_get(&stop.id).await.unwrap().unwrap().state, OperationState::Succeeded);
    let revoked = store.certificate_get("01").await.unwrap().unwrap();
    assert_eq!(revoked.reason.as_deref(), Some("cessation-of-operation"));
    assert!(store.certificate_get("02").await.unwrap().unwrap().revoked_at.is_none());
    assert!(matches!(world.stop_begin(&running).await, Err(ServiceError::NotFound)));
    assert_eq!(world.balance().await, 3);
    sound(store).await;
    assert!(world.running(ServiceKind::Service, 1).await.id > service.id, "numbers are not used again");
}

pub(crate) async fn a_failed_start_costs_nothing(f: Arc<Fixture>) {
    let store = &f.store;
    let world = World::new(store, "alice", 5).await;
    let (operation, service, nodes) = begun(world.begin(ServiceKind::Manager, 5).await);
    assert_eq!(world.balance().await, 0);
    let before = world.everything().await;
    let poor = world.begin(ServiceKind::Service, 1).await;
    assert!(matches!(poor, Err(ServiceError::Insufficient { balance: 0 })), "{poor:?}");
    assert_eq!(world.everything().await, before);

    store.certificate_add(&certificates::new("01", Some(&world.user.id), Some(service.id))).await.unwrap();
    store
        .service_start_failed(&operation.id, "me", &failed(json!("no room")).save(), service.id, &event("failed"))
        .await
        .unwrap();
    assert_eq!(world.balance().await, 5);
    assert_eq!(store.services(&world.user.id, None).await.unwrap(), []);
    assert_eq!(store.service_nodes(service.id).await.unwrap(), []);
    assert!(!store.service_node_gone(nodes[0].id).await.unwrap());
    let ended = store.operation_get(&operation.id).await.unwrap().unwrap();
    assert_eq!((ended.state, ended.error), (OperationState::Failed, Some(json!("no room"))));
    let revoked = store.certificate_get("01").await.unwrap().unwrap();
    assert_eq!(revoked.reason.as_deref(), Some("cessation-of-operation"));
    let last = &store.credit_history(&world.user.id, None, 1).await.unwrap()[0];
    assert_eq!((last.kind, last.amount, last.reservation), (CreditKind::Release, 5, nodes[0].reservation));
    sound(store).await;

    // A node that is known to be gone gives its credit back at once, and once.
    let (operation, service, nodes) = begun(world.begin(ServiceKind::Manager, 4).await);
    assert!(store.service_node_gone(nodes[0].id).await.unwrap());
    assert_eq!(world.balance().await, 5);
    sound(store).await;
    store.service_start_failed(&operation.id, "me", &failed(json!(1)).save(), service.id, &event("failed")).await.unwrap();
    assert_eq!(world.balance().await, 5);
    // Nothing costs nothing.
    let free = world.running(ServiceKind::Service, 0).await;
    assert_eq!((free.state, world.balance().await), (ServiceState::Running, 5));
    sound(store).await;
}

pub(crate) async fn an_application_and_its_members(f: Arc<Fixture>) {
    let store = &f.store;
    let world = World::new(store, "alice", 50).await;
    let mallory = World::new(store, "mallory", 50).await;
    let member = |number| NewService { number: Some(number), ..world.service(ServiceKind::Member) };
    assert!(matches!(store.service_member_add(&member(1), &event("")).await, Err(ServiceError::NotFound)), "no manager");
    let (operation, manager, nodes) = begun(world.begin(ServiceKind::Manager, 1).await);
    assert_eq!(store.service_manager_of(world.application.id).await.unwrap(), Some(manager.clone()));
    assert!(matches!(store.service_member_add(&member(1), &event("")).await, Err(ServiceError::Busy)), "the manager starts");
    assert!(matches!(world.begin(ServiceKind::Manager, 1).await, Err(ServiceError::Exists)), "one manager");
    let facts = facts(&nodes[0]);
    let manager = store
        .service_started(&operation.id, "me", &succeeded(json!({})).save(), manager.id, &facts, 1, &event("x"))
        .await
        .unwrap();

    let first = store.service_member_add(&member(1), &event("")).await.unwrap();
    let second = store.service_member_add(&member(2), &event("")).await.unwrap();
    assert_eq!((first.kind, first.state, first.number), (ServiceKind::Member, ServiceState::Running, Some(1)));
    let last = store.events_after(0, 100).await.unwrap().pop().unwrap();
    assert_eq!(last.subject, second.id.to_string());
    assert!(matches!(store.service_member_add(&member(2), &event("")).await, Err(ServiceError::Exists)));
    let foreign = NewService { user_id: mallory.user.id.clone(), ..member(3) };
    assert!(matches!(store.service_member_add(&foreign, &event("")).await, Err(ServiceError::NotFound)));
    assert!(matches!(world.begin(ServiceKind::Member, 1).await, Err(ServiceError::Store(Error::Invalid(_)))));
    let wrong = store.service_member_add(&world.service(ServiceKind::Service), &event("")).await;
    assert!(matches!(wrong, Err(ServiceError::Store(Error::Invalid(_)))));
    assert!(matches!(world.stop_begin(&first).await, Err(ServiceError::NotFound)), "a member is not stopped");
    assert!(matches!(world.nodes_begin(&first, &[1]).await, Err(ServiceError::NotFound)), "a member orders nothing");

    let of_member = |member_id| NewServiceNode { role: NodeRole::Agent, member_id: Some(member_id), ..node(1) };
    let add = || order(OperationKind::AddNodes);
    for not_a_member in [manager.id, 999] {
        let outcome = store.nodes_begin(manager.id, &[of_member(not_a_member)], &add(), &[], &event("x")).await;
        assert!(matches!(outcome, Err(ServiceError::NotFound)), "{outcome:?}");
    }
    let (operation, ..) = begun(store.nodes_begin(manager.id, &[of_member(first.id)], &add(), &[], &event("x")).await);
    assert!(matches!(store.service_member_remove(&world.user.id, first.id, &event("x")).await, Err(ServiceError::Busy)));
    store.nodes_failed(&operation.id, "me", &failed(json!("why")).save(), &event("x")).await.unwrap();
    assert!(!store.service_member_remove(&mallory.user.id, first.id, &event("x")).await.unwrap());
    assert!(!store.service_member_remove(&world.user.id, manager.id, &event("x")).await.unwrap());
    assert!(store.service_member_remove(&world.user.id, first.id, &event("x")).await.unwrap());
    assert!(!store.service_member_remove(&world.user.id, first.id, &event("x")).await.unwrap());

    // A service beside the manager, in the same application, outlives it; the members do not.
    let beside = world.running(ServiceKind::Service, 1).await;
    let ids = |services: Vec<Service>| services.into_iter().map(|service| service.id).collect::<Vec<_>>();
    assert_eq!(
        ids(store.services(&world.user.id, Some(world.application.id)).await.unwrap()),
        [manager.id, second.id, beside.id]
    );
    assert_eq!(store.services(&world.user.id, Some(mallory.application.id)).await.unwrap(), []);
    let (stop, _, doomed) = begun(world.stop_begin(&manager).await);
    assert!(store.service_node_gone(doomed[0].id).await.unwrap());
    store.service_stopped(&stop.id, "me", &succeeded(json!({})).save(), manager.id, &event("x")).await.unwrap();
    assert_eq!(ids(store.services(&world.user.id, None).await.unwrap()), [beside.id]);
    assert_eq!(store.service_manager_of(world.application.id).await.unwrap(), None);
    world.running(ServiceKind::Manager, 1).await;
    sound(store).await;
}

pub(crate) async fn nodes_come_and_go(f: Arc<Fixture>) {
    let store = &f.store;
    let world = World::new(store, "alice", 10).await;
    let service = world.running(ServiceKind::Service, 1).await;
    let other = world.running(ServiceKind::Service, 1).await;
    let before = world.everything().await;
    let poor = world.nodes_begin(&service, &[3, 3, 3]).await;
    assert!(matches!(poor, Err(ServiceError::Insufficient { balance: 8 })), "what there was before the order: {poor:?}");
    assert_eq!(world.everything().await, before);

    let (operation, _, intended) = begun(world.nodes_begin(&service, &[1, 2, 3]).await);
    assert_eq!(world.balance().await, 2);
    assert_eq!(intended.iter().map(|node| node.reservation.unwrap()).collect::<HashSet<_>>().len(), 3);
    assert!(intended.iter().all(|node| (node.state, node.role) == (ServiceNodeState::Intended, NodeRole::Agent)));
    assert_eq!(store.service_nodes_of_operation(&operation.id).await.unwrap(), intended);
    let all: Vec<_> = intended.iter().map(|node| (node.id, facts(node))).collect();
    let add = |rows: Vec<(i64, NodeFacts)>| {
        let (op, output, event) = (operation.id.clone(), json!({"n": 3}), event("added"));
        async move { store.nodes_added(&op, "me", &succeeded(output).save(), service.id, &rows, 50, &event).await }
    };
    let before = world.everything().await;
    assert!(matches!(add(all[..2].to_vec()).await, Err(ServiceError::Store(Error::Invalid(_)))), "one is missing");
    let foreign = [all[0].clone(), all[1].clone(), (store.service_nodes(other.id).await.unwrap()[0].id, all[2].1.clone())];
    assert!(matches!(add(foreign.to_vec()).await, Err(ServiceError::NotFound)));
    assert_eq!(world.everything().await, before);
    let present = add(all).await.unwrap();
    assert!(
        present.iter().all(|node| (node.state, node.paid_until, node.reservation) == (ServiceNodeState::Present, Some(50), None))
    );
    assert_eq!(store.service_nodes(service.id).await.unwrap()[1..], present);
    assert_eq!(store.service_nodes_of_user(&world.user.id).await.unwrap().len(), 5);
    assert_eq!(store.operation_get(&operation.id).await.unwrap().unwrap().output, Some(json!({"n": 3})));
    assert_eq!(world.balance().await, 2);
    sound(store).await;

    let (operation, ..) = begun(world.nodes_begin(&service, &[1, 1]).await);
    assert_eq!(world.balance().await, 0);
    store.nodes_failed(&operation.id, "me", &failed(json!("why")).save(), &event("failed")).await.unwrap();
    assert_eq!((world.balance().await, store.service_nodes(service.id).await.unwrap().len()), (2, 4));
    assert_eq!(store.operation_get(&operation.id).await.unwrap().unwrap().state, OperationState::Failed);

    let rows: Vec<i64> = present.iter().map(|node| node.id).collect();
    let manager = store.service_nodes(service.id).await.unwrap()[0].id;
    let before = world.everything().await;
    for wrong in [vec![rows[0], manager], vec![rows[0], 999], vec![store.service_nodes(other.id).await.unwrap()[0].id]] {
        assert!(matches!(world.remove_begin(&service, &wrong).await, Err(ServiceError::NotFound)), "{wrong:?}");
    }
    assert_eq!(world.everything().await, before);
    let (operation, _, doomed) = begun(world.remove_begin(&service, &[rows[1], rows[0], rows[1]]).await);
    assert_eq!(doomed.iter().map(|node| node.id).collect::<Vec<_>>(), rows[..2]);
    assert!(matches!(world.remove_begin(&service, &rows[..1]).await, Err(ServiceError::NotFound)), "doomed already");
    assert!(store.service_node_gone(rows[0]).await.unwrap());
    assert!(matches!(
        store.nodes_removed(&operation.id, "me", &succeeded(json!({})).save(), &event("x")).await,
        Err(ServiceError::Busy)
    ));
    assert!(store.service_node_gone(rows[1]).await.unwrap());
    assert!(!store.service_node_gone(rows[2]).await.unwrap(), "it is present");
    store.nodes_removed(&operation.id, "me", &succeeded(json!({})).save(), &event("removed")).await.unwrap();
    assert_eq!(store.operation_get(&operation.id).await.unwrap().unwrap().state, OperationState::Succeeded);
    assert_eq!(store.service_nodes(service.id).await.unwrap().len(), 2);
    sound(store).await;
}

pub(crate) async fn nodes_are_paid_for(f: Arc<Fixture>) {
    let store = &f.store;
    let world = World::new(store, "alice", 20).await;
    let service = world.running(ServiceKind::Service, 1).await;
    let late = world.running(ServiceKind::Service, 0).await;
    let node = world.nodes(&service, &[3]).await.remove(0);
    let (_, _, intended) = begun(world.nodes_begin(&service, &[1]).await);
    assert_eq!(world.balance().await, 15);
    assert_eq!(store.nodes_due(HOUR - 1, None, 10).await.unwrap(), []);
    let due = store.nodes_due(HOUR, None, 10).await.unwrap();
    assert_eq!(due.iter().map(|(_, service)| service.id).collect::<Vec<_>>(), [service.id, service.id, late.id]);
    assert_eq!(due[1].0, node);
    assert_eq!(due[0].1, service);
    let first = store.nodes_due(HOUR, None, 1).await.unwrap();
    assert_eq!(first, due[..1]);
    let after = Some((first[0].0.service_id, first[0].0.id));
    assert_eq!(store.nodes_due(HOUR, after, 10).await.unwrap(), due[1..]);

    // Nothing in advance, then some, then more than enough.
    assert!(store.node_charge(node.id, HOUR, 2 * HOUR, "host").await.unwrap());
    assert!(!store.node_charge(node.id, HOUR, 2 * HOUR, "host").await.unwrap(), "paid already");
    assert!(!store.node_charge(999, HOUR, 2 * HOUR, "host").await.unwrap());
    assert!(!store.node_charge(intended[0].id, HOUR, 2 * HOUR, "host").await.unwrap(), "not there yet");
    let backwards = store.node_charge(node.id, 2 * HOUR, 2 * HOUR, "host").await;
    assert!(matches!(backwards, Err(CreditError::Store(Error::Invalid(_)))));
    let entry = &store.credit_history(&world.user.id, None, 1).await.unwrap()[0];
    assert_eq!((entry.kind, entry.amount, entry.balance), (CreditKind::Charge, -3, 12));
    assert_eq!(entry.reference, Some(format!("node:{}:{HOUR}", node.id)));

    let prepaid = store.service_prepay(service.id, 4, Some("p"), "manager").await.unwrap();
    assert_eq!(store.service_prepay(service.id, 4, Some("p"), "manager").await.unwrap(), prepaid);
    assert_eq!((world.balance().await, store.service_get(service.id).await.unwrap().unwrap().prepaid), (8, 4));
    assert!(store.node_charge(node.id, 2 * HOUR, 3 * HOUR, "host").await.unwrap());
    assert_eq!((world.balance().await, store.service_get(service.id).await.unwrap().unwrap().prepaid), (8, 1));
    assert!(store.node_charge(node.id, 3 * HOUR, 4 * HOUR, "host").await.unwrap());
    assert_eq!((world.balance().await, store.service_get(service.id).await.unwrap().unwrap().prepaid), (6, 0));

    let poor = store.service_prepay(service.id, 7, None, "manager").await;
    assert!(matches!(poor, Err(CreditError::Insufficient { balance: 6 })));
    assert!(matches!(store.service_prepay(999, 1, None, "m").await, Err(CreditError::Store(Error::NotFound(_)))));
    store.service_prepay(service.id, 1, None, "manager").await.unwrap();
    store.credit_charge(&world.user.id, 4, None, "", "a").await.unwrap();
    let before = world.everything().await;
    let poor = store.node_charge(node.id, 4 * HOUR, 5 * HOUR, "host").await;
    assert!(matches!(poor, Err(CreditError::Insufficient { balance: 1 })), "{poor:?}");
    assert_eq!(world.everything().await, before, "what was paid in advance is there still");

    begun(world.stop_begin(&service).await);
    assert!(!store.node_charge(node.id, 4 * HOUR, 5 * HOUR, "host").await.unwrap(), "being stopped");
    assert!(matches!(store.service_prepay(service.id, 1, None, "m").await, Err(CreditError::Store(Error::NotFound(_)))));
    assert_eq!(store.nodes_due(i64::MAX, None, 10).await.unwrap().len(), 1);
    sound(store).await;

    // Several hosts that see the same node due: one charges.
    let world = World::new(store, "bob", 20).await;
    let service = world.running(ServiceKind::Service, 1).await;
    let node = store.service_nodes(service.id).await.unwrap().remove(0);
    let hosts = [store.clone(), f.other_host().await];
    let outcomes = race(8, |task| {
        let (store, row) = (hosts[task % 2].clone(), node.id);
        async move { store.node_charge(row, HOUR, 2 * HOUR, "host").await.unwrap() }
    })
    .await;
    assert_eq!(outcomes.into_iter().filter(|&charged| charged).count(), 1);
    assert_eq!(world.balance().await, 18);
}

pub(crate) async fn idempotency(f: Arc<Fixture>) {
    let store = &f.store;
    let world = World::new(store, "alice", 9).await;
    let hosts = [store.clone(), f.other_host().await];
    let outcomes =
        race(12, |task| {
            let (store, new) = (hosts[task % 2].clone(), world.service(ServiceKind::Service));
            async move {
                store.service_begin(&new, &node(2), &keyed(OperationKind::StartService, "k", 1), &[], &event("")).await.unwrap()
            }
        })
        .await;
    let (new, known): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(|begin| matches!(begin, ServiceBegin::New { .. }));
    assert_eq!(new.len(), 1);
    let (operation, service, nodes) = begun(Ok(new.into_iter().next().unwrap()));
    assert!(known.iter().all(|begin| matches!(begin, ServiceBegin::Existing(known) if known.id == operation.id)));
    assert_eq!((world.balance().await, store.services(&world.user.id, None).await.unwrap().len()), (7, 1));
    assert_eq!(store.event_last().await.unwrap(), 1);
    let wrong = keyed(OperationKind::StartService, "k", 2);
    let wrong = store.service_begin(&world.service(ServiceKind::Service), &node(2), &wrong, &[], &event("")).await;
    assert!(matches!(wrong, Err(ServiceError::Store(Error::IdempotencyMismatch))));

    store
        .service_started(&operation.id, "me", &succeeded(json!({})).save(), service.id, &facts(&nodes[0]), 1, &event("x"))
        .await
        .unwrap();
    let add = keyed(OperationKind::AddNodes, "a", 1);
    let new = [NewServiceNode { role: NodeRole::Agent, ..node(1) }];
    let (added, _, agents) = begun(store.nodes_begin(service.id, &new, &add, &[], &event("x")).await);
    assert_eq!(existing(store.nodes_begin(service.id, &new, &add, &[], &event("x")).await).id, added.id);
    let rows = [(agents[0].id, facts(&agents[0]))];
    store.nodes_added(&added.id, "me", &succeeded(json!({})).save(), service.id, &rows, 1, &event("x")).await.unwrap();
    let remove = keyed(OperationKind::RemoveNodes, "r", 1);
    let (removed, ..) = begun(store.nodes_remove_begin(service.id, &[agents[0].id], &remove, &[], &event("x")).await);
    assert_eq!(existing(store.nodes_remove_begin(service.id, &[agents[0].id], &remove, &[], &event("x")).await).id, removed.id);
    store.service_node_gone(agents[0].id).await.unwrap();
    store.nodes_removed(&removed.id, "me", &succeeded(json!({})).save(), &event("x")).await.unwrap();
    let stop = keyed(OperationKind::StopService, "s", 1);
    let (stopped, ..) = begun(store.service_stop_begin(None, service.id, &stop, &[], &event("x")).await);
    store.service_node_gone(nodes[0].id).await.unwrap();
    store.service_stopped(&stopped.id, "me", &succeeded(json!({})).save(), service.id, &event("x")).await.unwrap();
    // The keys outlive the service.
    let before = world.everything().await;
    assert_eq!(existing(store.service_stop_begin(None, service.id, &stop, &[], &event("x")).await).id, stopped.id);
    assert_eq!(existing(store.nodes_begin(service.id, &new, &add, &[], &event("x")).await).id, added.id);
    assert_eq!(existing(store.nodes_remove_begin(service.id, &[agents[0].id], &remove, &[], &event("x")).await).id, removed.id);
    let start = keyed(OperationKind::StartService, "k", 1);
    let again = store.service_begin(&world.service(ServiceKind::Service), &node(2), &start, &[], &event("")).await;
    assert_eq!(existing(again).id, operation.id);
    assert_eq!(world.everything().await, before);
}

pub(crate) async fn refusals(f: Arc<Fixture>) {
    let store = &f.store;
    let world = World::new(store, "alice", 20).await;
    let mallory = World::new(store, "mallory", 20).await;
    let service = world.running(ServiceKind::Service, 1).await;
    let before = (world.everything().await, mallory.everything().await);
    let start = || order(OperationKind::StartService);
    for new in [
        NewService { application_id: world.application.id, ..mallory.service(ServiceKind::Service) },
        NewService { application_id: 999, ..mallory.service(ServiceKind::Service) },
        NewService { user_id: "none".into(), ..mallory.service(ServiceKind::Service) },
    ] {
        let outcome = store.service_begin(&new, &node(1), &start(), &[], &event("")).await;
        assert!(matches!(outcome, Err(ServiceError::NotFound)), "{outcome:?}");
    }
    let stop = order(OperationKind::StopService);
    let foreign = store.service_stop_begin(Some(&mallory.user.id), service.id, &stop, &[], &event("x")).await;
    assert!(matches!(foreign, Err(ServiceError::NotFound)), "{foreign:?}");
    let token = store.service_nodes(service.id).await.unwrap()[0].token.clone();
    let known = NewServiceNode { token, ..node(1) };
    let outcome = store.service_begin(&world.service(ServiceKind::Service), &known, &start(), &[], &event("")).await;
    assert!(matches!(outcome, Err(ServiceError::Store(Error::Exists(_)))), "a known token: {outcome:?}");
    for price in [-1, 1_000_000_001] {
        let outcome = world.begin(ServiceKind::Service, price).await;
        assert!(matches!(outcome, Err(ServiceError::Store(Error::Invalid(_)))), "{outcome:?}");
    }
    let unknown = Service { id: 999, ..service.clone() };
    assert!(matches!(world.nodes_begin(&unknown, &[1]).await, Err(ServiceError::NotFound)));
    assert!(matches!(world.remove_begin(&unknown, &[1]).await, Err(ServiceError::NotFound)));
    assert!(matches!(world.stop_begin(&unknown).await, Err(ServiceError::NotFound)));
    assert_eq!((world.everything().await, mallory.everything().await), before);

    // Operations of other things.
    let (add, _, agents) = begun(world.nodes_begin(&service, &[1]).await);
    let before = world.everything().await;
    let facts = facts(&agents[0]);
    let wrong = store.service_started(&add.id, "me", &succeeded(json!({})).save(), service.id, &facts, 1, &event("x")).await;
    assert!(matches!(wrong, Err(Error::NotFound(_))), "{wrong:?}");
    let wrong = store.service_start_failed(&add.id, "me", &failed(json!(1)).save(), service.id, &event("x")).await;
    assert!(matches!(wrong, Err(Error::NotFound(_))), "{wrong:?}");
    let wrong = store.service_stopped(&add.id, "me", &succeeded(json!({})).save(), service.id, &event("x")).await;
    assert!(matches!(wrong, Err(ServiceError::NotFound)), "{wrong:?}");
    assert_eq!(world.everything().await, before);

    begun(world.stop_begin(&service).await);
    assert!(matches!(world.nodes_begin(&service, &[1]).await, Err(ServiceError::Busy)));
    assert!(matches!(world.remove_begin(&service, &[agents[0].id]).await, Err(ServiceError::Busy)));
}

pub(crate) async fn races(f: Arc<Fixture>) {
    let hosts = [f.store.clone(), f.other_host().await];
    let on = |world: &World, task: usize| World { store: hosts[task % 2].clone(), ..world.clone() };

    // Credit for five of sixteen.
    let world = World::new(&f.store, "alice", 5).await;
    let outcomes = race(16, |task| {
        let world = on(&world, task);
        async move { world.begin(ServiceKind::Service, 1).await }
    })
    .await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 5);
    assert!(outcomes.iter().all(|o| matches!(o, Ok(_) | Err(ServiceError::Insufficient { balance: 0 }))), "{outcomes:?}");
    sound(&f.store).await;

    // One manager.
    let world = World::new(&f.store, "bob", 50).await;
    let outcomes = race(8, |task| {
        let world = on(&world, task);
        async move { world.begin(ServiceKind::Manager, 1).await }
    })
    .await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert!(outcomes.iter().all(|o| matches!(o, Ok(_) | Err(ServiceError::Exists))), "{outcomes:?}");
    assert_eq!(world.balance().await, 49);

    // One stop; the others learn of it.
    let service = world.running(ServiceKind::Service, 1).await;
    let outcomes = race(8, |task| {
        let (world, service) = (on(&world, task), service.clone());
        async move { world.stop_begin(&service).await.unwrap() }
    })
    .await;
    let ids = outcomes.iter().map(|begin| match begin {
        ServiceBegin::New { operation, .. } | ServiceBegin::Existing(operation) => operation.id.clone(),
    });
    assert_eq!(ids.collect::<HashSet<_>>().len(), 1);
    assert_eq!(outcomes.iter().filter(|begin| matches!(begin, ServiceBegin::New { .. })).count(), 1);

    // Several that find the same node gone: the credit comes back once.
    let (_, _, nodes) = begun(world.begin(ServiceKind::Service, 5).await);
    let before = world.balance().await;
    let outcomes = race(8, |task| {
        let (store, row) = (hosts[task % 2].clone(), nodes[0].id);
        async move { store.service_node_gone(row).await.unwrap() }
    })
    .await;
    assert_eq!((outcomes.into_iter().filter(|&gone| gone).count(), world.balance().await), (1, before + 5));

    // An application is deleted while a service begins in it: one of both.
    for round in 0..8 {
        let application = f.store.application_create(&world.user.id, &format!("a{round}")).await.unwrap();
        let world = World { application, ..world.clone() };
        let outcomes = race(2, |task| {
            let world = on(&world, task + round);
            async move {
                match task {
                    0 => match world.store.application_delete(&world.user.id, world.application.id).await {
                        Ok(deleted) => deleted,
                        Err(Error::Referenced(_)) => false,
                        Err(other) => panic!("{other}"),
                    },
                    _ => match world.begin(ServiceKind::Service, 1).await {
                        Ok(_) => true,
                        Err(ServiceError::NotFound) => false,
                        Err(other) => panic!("{other}"),
                    },
                }
            }
        })
        .await;
        assert_ne!(outcomes[0], outcomes[1], "round {round}");
    }
    sound(&f.store).await;
}

pub(crate) async fn nodes_race_a_stop(f: Arc<Fixture>) {
    let hosts = [f.store.clone(), f.other_host().await];
    let world = World::new(&f.store, "alice", 1000).await;
    for round in 0..6 {
        let service = world.running(ServiceKind::Service, 1).await;
        let (add, _, agents) = begun(world.nodes_begin(&service, &[2, 2]).await);
        let before = world.balance().await;
        let arrived = race(2, |task| {
            let (world, service) = (World { store: hosts[(task + round) % 2].clone(), ..world.clone() }, service.clone());
            let (add, agents) = (add.clone(), agents.clone());
            async move {
                if task == 0 {
                    begun(world.stop_begin(&service).await);
                    return None;
                }
                let rows: Vec<_> = agents.iter().map(|node| (node.id, facts(node))).collect();
                match world
                    .store
                    .nodes_added(&add.id, "me", &succeeded(json!({})).save(), service.id, &rows, HOUR, &event("x"))
                    .await
                {
                    Ok(_) => Some(true),
                    Err(ServiceError::Busy) => Some(false),
                    Err(other) => panic!("{other}"),
                }
            }
        })
        .await;
        let nodes = f.store.service_nodes(service.id).await.unwrap();
        if arrived[1] == Some(true) {
            assert!(nodes.iter().all(|node| node.state == ServiceNodeState::Doomed), "the stop came after them: {nodes:?}");
        } else {
            assert!(nodes[1..].iter().all(|node| node.state == ServiceNodeState::Intended), "the caller undoes it: {nodes:?}");
            f.store.nodes_failed(&add.id, "me", &failed(json!("stopped")).save(), &event("x")).await.unwrap();
            assert_eq!(world.balance().await, before + 4);
        }
        sound(&f.store).await;
    }
}

/// Every finishing method, by an owner who has lost the lease and by one who comes again.
pub(crate) async fn stale_owners_change_nothing(f: Arc<Fixture>) {
    let store = &f.store;
    let world = World::new(store, "alice", 100).await;
    let methods = ["started", "start failed", "stopped", "added", "failed", "removed"];
    for method in methods {
        let (operation, service, nodes) = match method {
            "started" | "start failed" => begun(world.begin(ServiceKind::Service, 3).await),
            "stopped" => begun(world.stop_begin(&world.running(ServiceKind::Service, 3).await).await),
            "added" | "failed" => begun(world.nodes_begin(&world.running(ServiceKind::Service, 3).await, &[2, 2]).await),
            _ => {
                let service = world.running(ServiceKind::Service, 3).await;
                let rows: Vec<i64> = world.nodes(&service, &[1, 1]).await.iter().map(|node| node.id).collect();
                begun(world.remove_begin(&service, &rows).await)
            }
        };
        if ["stopped", "removed"].contains(&method) {
            for node in &nodes {
                store.service_node_gone(node.id).await.unwrap();
            }
        }
        let serial = format!("{:x}", service.id);
        store.certificate_add(&certificates::new(&serial, Some(&world.user.id), Some(service.id))).await.unwrap();
        let finish = |owner: &'static str| {
            let (nodes, operation, service) = (&nodes, &operation, &service);
            async move {
                let rows: Vec<_> = nodes.iter().map(|node| (node.id, facts(node))).collect();
                let (op, event) = (operation.id.as_str(), event("x"));
                match method {
                    "started" => {
                        let outcome = store
                            .service_started(op, owner, &succeeded(json!(1)).save(), service.id, &rows[0].1, HOUR, &event)
                            .await;
                        outcome.map(|_| ()).map_err(ServiceError::from)
                    }
                    "start failed" => store
                        .service_start_failed(op, owner, &failed(json!(1)).save(), service.id, &event)
                        .await
                        .map_err(ServiceError::from),
                    "stopped" => store.service_stopped(op, owner, &succeeded(json!({})).save(), service.id, &event).await,
                    "added" => store
                        .nodes_added(op, owner, &succeeded(json!(1)).save(), service.id, &rows, HOUR, &event)
                        .await
                        .map(|_| ()),
                    "failed" => store.nodes_failed(op, owner, &failed(json!(1)).save(), &event).await.map_err(ServiceError::from),
                    _ => store.nodes_removed(op, owner, &succeeded(json!({})).save(), &event).await,
                }
            }
        };
        let before = world.everything().await;
        for stale in ["other", ""] {
            let outcome = finish(stale).await;
            assert!(matches!(outcome, Err(ServiceError::Store(Error::Lost))), "{method}: {outcome:?}");
            assert_eq!(world.everything().await, before, "{method}");
        }
        // The lease is taken over: who had it is stale, too.
        store.operation_claim("new", i64::MAX, i64::MAX, 10).await.unwrap();
        let before = world.everything().await;
        let outcome = finish("me").await;
        assert!(matches!(outcome, Err(ServiceError::Store(Error::Lost))), "{method}: {outcome:?}");
        assert_eq!(world.everything().await, before, "{method}");
        finish("new").await.unwrap();
        let before = world.everything().await;
        let outcome = finish("new").await;
        assert!(matches!(outcome, Err(ServiceError::Store(Error::Lost))), "{method}, twice: {outcome:?}");
        assert_eq!(world.everything().await, before, "{method}");
        sound(store).await;
    }
}
