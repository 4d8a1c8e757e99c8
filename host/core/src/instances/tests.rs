#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! On the real dummy driver, with the real store in memory.

use super::*;
use crate::compute::tests::{CLOUD, compute};
use crate::identity::Role;
use crate::images::tests::{House, class, furnish, house, key, pace};
use crate::model::{Action, Force, NodeSpec};
use crate::scheduler::fault::Fault;
use crate::sweeper::{Orphans, Sweeper};
use ostler_store::OperationFilter;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const SOFT: Action = Action::Stop(Force::Soft);
const HARD: Action = Action::Stop(Force::Hard);

/// An order for an instance of the smallest image of a cloud, which is on record with it.
async fn order(house: &House) -> NewInstance {
    let images = house.images.list(&house.admin().await, CLOUD).await.unwrap();
    let image = images.iter().find(|image| image.name == "CirrOS 0.6").unwrap();
    NewInstance { cloud: CLOUD.into(), image: image.id, ..NewInstance::default() }
}

async fn nodes(house: &House) -> usize {
    house.compute.cloud(CLOUD).unwrap().list_nodes().await.unwrap().len()
}

async fn until(house: &House, who: &Principal, id: i64, state: InstanceState) -> Instance {
    let began = Instant::now();
    loop {
        let now = house.instances.get(who, CLOUD, id).await.unwrap();
        if now.state == state {
            return now;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{now:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn an_instance_from_its_order_to_its_end() {
    let house = house(&[], pace()).await;
    let gus = house.user("gus", Role::Guest).await;
    let made = house.instances.create(&gus, order(&house).await, None).await.unwrap();
    assert_eq!((made.state, made.name.clone()), (InstanceState::Stopped, format!("CirrOS 0.6-instance-{}", made.id)));
    assert_eq!((made.owner, made.image_name.as_str(), made.address), (gus.account.as_ref().unwrap().number, "CirrOS 0.6", None));
    let cloud = house.compute.cloud(CLOUD).unwrap();
    let node = cloud.get_node(made.node_id.as_deref().unwrap()).await.unwrap();
    assert_eq!((node.size_id.as_deref(), node.name.as_str()), (Some("tiny"), made.name.as_str()), "the smallest size");
    assert_eq!(node.state, crate::model::NodeState::Stopped);

    // What its state allows, one after the other: (action, whether it is possible, the state after it)
    for (action, possible, state) in [
        (SOFT, false, InstanceState::Stopped),
        (HARD, false, InstanceState::Stopped),
        (Action::Reboot(Force::Soft), false, InstanceState::Stopped),
        (Action::Suspend, false, InstanceState::Stopped),
        (Action::Resume, false, InstanceState::Stopped),
        (Action::Start, true, InstanceState::Running),
        (Action::Start, false, InstanceState::Running),
        (Action::Resume, false, InstanceState::Running),
        (Action::Reboot(Force::Hard), true, InstanceState::Running),
        (Action::Suspend, true, InstanceState::Frozen),
        (Action::Start, false, InstanceState::Frozen),
        (SOFT, false, InstanceState::Frozen),
        (Action::Resume, true, InstanceState::Running),
        (HARD, true, InstanceState::Stopped),
    ] {
        let before = house.instances.get(&gus, CLOUD, made.id).await.unwrap().state;
        let done = house.instances.act(&gus, CLOUD, made.id, action.clone()).await;
        assert_eq!(class(&done), if possible { "ok" } else { "not-now" }, "{action:?} {before:?}: {done:?}");
        if let Err(error) = done {
            assert!(error.to_string().contains(view::word(before)), "{error}: it names the state");
        }
        let now = house.instances.get(&gus, CLOUD, made.id).await.unwrap();
        assert_eq!(now.state, state, "{action:?}");
        assert_eq!(now.address.is_some(), !matches!(state, InstanceState::Stopped), "{action:?}");
        assert_eq!(house.instances.address(made.id).await.unwrap(), now.address);
        house.assert_settled().await;
    }
    let unknown = house.instances.act(&gus, CLOUD, made.id, Action::Other("dance".into())).await;
    assert_eq!(class(&unknown), "invalid");
    house.instances.delete(&gus, CLOUD, made.id).await.unwrap();
    for result in [house.instances.delete(&gus, CLOUD, made.id).await, house.instances.address(made.id).await.map(drop)] {
        assert!(matches!(result, Err(Error::NoInstance(id)) if id == made.id));
    }
    assert_eq!((nodes(&house).await, house.instances.list(&gus, CLOUD, None).await.unwrap()), (0, vec![]));
    house.assert_settled().await;
    let told = house.told().await;
    for kind in ["instance.create.intent", "instance.create.done", "instance.act.intent", "instance.act.done"] {
        assert!(told.iter().any(|told| told == kind), "{kind}");
    }
    assert_eq!(told[told.len() - 2..], ["instance.delete.intent", "instance.delete.done"]);
}

#[tokio::test]
async fn orders_are_within_bounds() {
    let house = house(&[], pace()).await;
    let gus = house.user("gus", Role::Guest).await;
    let good = order(&house).await;
    let change = |change: &dyn Fn(&mut NewInstance)| {
        let mut order = good.clone();
        change(&mut order);
        order
    };
    for (new, expected) in [
        (change(&|new| new.name = Some(String::new())), "invalid"),
        (change(&|new| new.name = Some("a\nb".into())), "invalid"),
        (change(&|new| new.name = Some("x".repeat(256))), "invalid"),
        (change(&|new| new.user_data = Some(vec![0; (64 << 10) + 1])), "invalid"),
        (change(&|new| new.ssh_keys = vec!["a\nb".into()]), "invalid"),
        (change(&|new| new.ssh_keys = vec!["a".into(); 65]), "invalid"),
        (change(&|new| new.image = 999), "none"),
        (change(&|new| new.size = Some("huge".into())), "failed"),
        (change(&|new| new.cloud = "nowhere".into()), "failed"),
    ] {
        let result = house.instances.create(&gus, new.clone(), None).await;
        assert_eq!(class(&result), expected, "{new:?}: {result:?}");
    }
    assert!(matches!(
        house.instances.create(&gus, change(&|new| new.size = Some("x".into())), None).await,
        Err(Error::NoSize(_))
    ));
    assert_eq!(nodes(&house).await, 0);
    // What is at the bounds. Data for the first boot are not kept.
    let secret = "canary-of-the-first-boot";
    let full = change(&|new| {
        new.name = Some("ä".repeat(255));
        new.size = Some("small".into());
        new.user_data = Some(secret.into());
        new.ssh_keys = vec!["ssh-ed25519 AAAA".into()];
    });
    let made = house.instances.create(&gus, full, None).await.unwrap();
    assert_eq!(made.name, "ä".repeat(255));
    let operations = house.store.operations_list(&OperationFilter::default(), None, 100).await.unwrap();
    use base64::Engine;
    let encoded = base64::engine::general_purpose::STANDARD.encode(secret);
    assert!(operations.iter().all(|operation| !operation.input.to_string().contains(&encoded)));
    house.assert_settled().await;
}

#[tokio::test]
async fn who_may_do_what_with_instances() {
    let house = house(&[], pace()).await;
    let (gus, new) = (house.user("gus", Role::Guest).await, order(&house).await);
    let his = house.instances.create(&gus, new.clone(), None).await.unwrap();
    let nobody = Principal { account: None, ..gus.clone() };
    // (who, what he is, creates, what he is told of another's: seen, acted on, deleted)
    for (name, role, creates, sees, acts) in [
        ("root", Role::Admin, "ok", "ok", "not-now"),
        ("pat", Role::Provider, "forbidden", "ok", "forbidden"),
        ("lea", Role::LocalAdmin, "ok", "ok", "not-now"),
        ("gil", Role::Guest, "ok", "none", "none"),
        ("gus", Role::Guest, "ok", "ok", "not-now"),
        ("agent", Role::Agent, "ok", "none", "none"),
        ("user", Role::User, "forbidden", "forbidden", "forbidden"),
        ("carl", Role::Customer, "forbidden", "forbidden", "forbidden"),
    ] {
        let who = house.user(name, role).await;
        let victim = house.instances.create(&gus, new.clone(), None).await.unwrap();
        assert_eq!(class(&house.instances.get(&who, CLOUD, his.id).await), sees, "{name} sees");
        let list = house.instances.list(&who, CLOUD, None).await;
        let listed = list.as_ref().is_ok_and(|list| list.iter().any(|one| one.id == his.id));
        assert_eq!((list.is_ok(), listed), (sees != "forbidden", sees == "ok"), "{name} lists");
        // Not possible now, for those who may.
        assert_eq!(class(&house.instances.act(&who, CLOUD, his.id, Action::Resume).await), acts, "{name} acts");
        let deletes = if acts == "not-now" { "ok" } else { acts };
        assert_eq!(class(&house.instances.delete(&who, CLOUD, victim.id).await), deletes, "{name} deletes");
        let made = house.instances.create(&who, new.clone(), None).await;
        assert_eq!(class(&made), creates, "{name} creates");
        if let Ok(made) = made {
            let own = house.instances.list(&who, CLOUD, Some(new.image)).await.unwrap();
            assert!(own.iter().any(|one| one.id == made.id));
            assert!(house.instances.list(&who, CLOUD, Some(new.image + 1)).await.unwrap().is_empty());
        }
    }
    assert_eq!(class(&house.instances.create(&nobody, new, None).await), "forbidden", "instances have an owner");
    assert_eq!(class(&house.instances.list(&nobody, CLOUD, None).await), "forbidden");
    assert_eq!(class(&house.instances.get(&gus, "nowhere", his.id).await), "failed");

    // Handing over.
    let (gil, root) = (house.user("gil", Role::Guest).await, house.admin().await);
    let number = |who: &Principal| who.account.as_ref().unwrap().number;
    assert_eq!(class(&house.instances.hand_over(&gil, number(&gus), number(&gil)).await), "forbidden");
    assert!(matches!(house.instances.hand_over(&root, number(&gus), 999).await, Err(Error::NoUser(_))));
    let (before, hers) = (house.instances.owned(number(&gus)).await.unwrap(), house.instances.owned(number(&gil)).await.unwrap());
    assert!(before > 0);
    house.instances.hand_over(&root, number(&gus), number(&gil)).await.unwrap();
    assert_eq!(house.instances.owned(number(&gus)).await.unwrap(), 0);
    assert_eq!(house.instances.owned(number(&gil)).await.unwrap(), before + hers);
    assert_eq!(class(&house.instances.get(&gus, CLOUD, his.id).await), "none");
    assert_eq!(class(&house.instances.get(&gil, CLOUD, his.id).await), "ok");
    house.assert_settled().await;
}

#[tokio::test]
async fn a_key_stands_for_one_instance() {
    let house = house(&[], pace()).await;
    let gus = house.user("gus", Role::Guest).await;
    let good = order(&house).await;
    let named = |name: &str| NewInstance { name: Some(name.into()), ..good.clone() };
    let first = house.instances.create(&gus, named("a"), key("k1")).await.unwrap();
    assert_eq!(house.instances.create(&gus, named("a"), key("k1")).await.unwrap().id, first.id);
    assert_eq!(class(&house.instances.create(&gus, named("b"), key("k1")).await), "key-reused");
    let gil = house.user("gil", Role::Guest).await;
    assert_ne!(house.instances.create(&gil, named("a"), key("k1")).await.unwrap().id, first.id, "keys are each one's own");
    let racing = futures::future::join_all((0..8).map(|_| house.instances.create(&gus, named("c"), key("k2")))).await;
    let ids: BTreeSet<_> = racing.iter().filter_map(|result| result.as_ref().ok()).map(|made| made.id).collect();
    assert_eq!(ids.len(), 1);
    assert!(racing.iter().all(|result| matches!(result, Ok(_) | Err(Error::UnderWay))), "{racing:?}");
    assert_eq!(nodes(&house).await, 3);
    house.instances.delete(&gus, CLOUD, first.id).await.unwrap();
    assert_eq!(class(&house.instances.create(&gus, named("a"), key("k1")).await), "none", "it was, and is no more");
    house.assert_settled().await;
}

#[tokio::test]
async fn what_fails_leaves_nothing() {
    for (faults, keyed, fails) in [
        (r#"{"create-node": {"quota": 1}}"#, false, true),
        (r#"{"create-node": {"quota": 1}}"#, true, true),
        (r#"{"create-node": {"trap": 1}}"#, false, true),
        (r#"{"create-node": {"failed": 1}}"#, false, true),
        (r#"{"create-node": {"lost": 1}, "act": {"lost": 1}, "destroy-node": {"lost": 1}}"#, false, false),
        (r#"{"create-node": {"lost": 1}, "act": {"lost": 1}, "destroy-node": {"lost": 1}}"#, true, false),
    ] {
        let mut house = house(&[("faults", faults)], pace()).await;
        let (gus, new) = (house.user("gus", Role::Guest).await, order(&house).await);
        let key = || keyed.then(|| key("k")).flatten();
        let made = house.instances.create(&gus, new.clone(), key()).await;
        house.quiet().await;
        house.assert_settled().await;
        assert_eq!(made.is_err(), fails, "{faults}: {made:?}");
        let listed = house.instances.list(&gus, CLOUD, None).await.unwrap();
        assert_eq!((listed.len(), nodes(&house).await), if fails { (0, 0) } else { (1, 1) }, "{faults}");
        if keyed {
            let again = house.instances.create(&gus, new, key()).await;
            assert_eq!(again.map(|made| made.id).map_err(|e| e.to_string()), made.map(|made| made.id).map_err(|e| e.to_string()));
        }
        if let Some(one) = listed.first() {
            house.instances.act(&gus, CLOUD, one.id, Action::Start).await.unwrap();
            assert_eq!(house.instances.get(&gus, CLOUD, one.id).await.unwrap().state, InstanceState::Running, "{faults}");
            house.instances.delete(&gus, CLOUD, one.id).await.unwrap();
        }
        house.assert_settled().await;
    }
}

#[tokio::test]
async fn a_provider_that_does_not_answer() {
    let faults = r#"{"list-nodes": {"transient": 1}, "get-node": {"transient": 1}}"#;
    let house = house(&[("faults", faults)], pace()).await;
    let (gus, new) = (house.user("gus", Role::Guest).await, order(&house).await);
    let made = house.instances.create(&gus, new, None).await.unwrap();
    let listed = house.instances.list(&gus, CLOUD, None).await.unwrap();
    for now in [&listed[0], &house.instances.get(&gus, CLOUD, made.id).await.unwrap()] {
        assert_eq!((now.id, now.state), (made.id, InstanceState::Stopped));
        assert!(now.detail.as_deref().is_some_and(|why| why.contains("does not answer")), "{now:?}");
    }
    let started = house.instances.act(&gus, CLOUD, made.id, Action::Start).await;
    assert!(matches!(started, Err(Error::Cloud(_))), "{started:?}");
    let record = house.store.instance_get(made.id).await.unwrap().unwrap();
    assert_eq!((record.task, record.detail), (None, None), "that is not on record");
}

#[tokio::test]
async fn a_machine_that_somebody_else_destroyed() {
    let house = house(&[], pace()).await;
    let (gus, new) = (house.user("gus", Role::Guest).await, order(&house).await);
    let made = house.instances.create(&gus, new.clone(), None).await.unwrap();
    let cloud = house.compute.cloud(CLOUD).unwrap();
    cloud.destroy_node(made.node_id.as_deref().unwrap()).await.unwrap();
    let foreign = cloud.create_node("foreign", NodeSpec::new("x", "debian-13", "tiny")).await.unwrap().value;
    for _ in 0..2 {
        let now = house.instances.list(&gus, CLOUD, None).await.unwrap().remove(0);
        assert_eq!((now.state, now.detail.as_deref()), (InstanceState::Error, Some("its machine is gone at the provider")));
    }
    let refused = house.instances.act(&gus, CLOUD, made.id, Action::Start).await.unwrap_err();
    assert!(matches!(refused, Error::NotNow(ref why) if why.contains("in error")), "{refused}");
    house.instances.delete(&gus, CLOUD, made.id).await.unwrap();
    assert_eq!(cloud.list_nodes().await.unwrap().iter().map(|node| node.id.as_str()).collect::<Vec<_>>(), [foreign.id]);
}

#[tokio::test]
async fn one_thing_at_a_time() {
    let mut house = house(&[], pace()).await;
    let (gus, new) = (house.user("gus", Role::Guest).await, order(&house).await);
    let made = house.instances.create(&gus, new, None).await.unwrap();
    let racing = futures::future::join_all((0..6).map(|_| house.instances.act(&gus, CLOUD, made.id, Action::Start))).await;
    let words: Vec<_> = racing.iter().map(class).collect();
    assert_eq!(words.iter().filter(|word| **word == "ok").count(), 1, "{words:?}");
    assert_eq!(words.iter().filter(|word| **word == "not-now").count(), 5, "{words:?}");
    let deleting = futures::future::join_all((0..4).map(|_| house.instances.delete(&gus, CLOUD, made.id))).await;
    assert!(deleting.iter().all(|result| matches!(class(result), "ok" | "none")), "{deleting:?}");
    house.quiet().await;
    house.assert_settled().await;
    assert_eq!(nodes(&house).await, 0);
}

#[tokio::test]
async fn an_instance_is_stopped_until_somebody_starts_it() {
    for stop_here in [false, true] {
        let mut house = house(&[("boot_ms", "150")], crate::images::Pace { stop_here, ..pace() }).await;
        let (gus, new) = (house.user("gus", Role::Guest).await, order(&house).await);
        let made = house.instances.create(&gus, new.clone(), None).await.unwrap();
        assert_eq!(made.state, InstanceState::Stopped, "{stop_here}");
        assert!(!house.store.operations_pending(1).await.unwrap().is_empty() || !stop_here, "it is being stopped still");
        for now in [
            house.instances.get(&gus, CLOUD, made.id).await.unwrap(),
            house.instances.list(&gus, CLOUD, None).await.unwrap().remove(0),
        ] {
            assert_eq!((now.id, now.state), (made.id, InstanceState::Stopped), "{stop_here}");
        }
        if stop_here {
            assert_eq!(class(&house.instances.act(&gus, CLOUD, made.id, Action::Start).await), "not-now");
            house.quiet().await;
            house.assert_settled().await;
        }
        // While it is being built this waits for it.
        house.instances.act(&gus, CLOUD, made.id, Action::Start).await.unwrap();
        let now = house.instances.get(&gus, CLOUD, made.id).await.unwrap();
        assert!(matches!(now.state, InstanceState::Starting | InstanceState::Running), "{now:?}");
        until(&house, &gus, made.id, InstanceState::Running).await;
        // Whoever does not wait is told that it is accepted: the host goes on.
        let hasty = crate::images::Pace { patience: Duration::from_millis(1), ..pace() };
        let mut hasty = furnish(&house.compute, Arc::default(), hasty, "");
        let other = hasty.instances.create(&gus, new, None).await;
        if let Ok(other) = other {
            hasty.instances.act(&gus, CLOUD, other.id, Action::Start).await.unwrap();
            assert_eq!(until(&hasty, &gus, other.id, InstanceState::Starting).await.detail, None);
            until(&hasty, &gus, other.id, InstanceState::Running).await;
        }
        hasty.quiet().await;
        hasty.assert_settled().await;
    }
}

#[tokio::test]
async fn the_sweeper_leaves_instances_alone() {
    let mut house = house(&[], pace()).await;
    let (gus, new) = (house.user("gus", Role::Guest).await, order(&house).await);
    let kept = house.instances.create(&gus, new.clone(), None).await.unwrap();
    let cloud = house.compute.cloud(CLOUD).unwrap();
    let spec = || NodeSpec::new("x", "debian-13", "tiny");
    cloud.create_node("foreign", spec()).await.unwrap();
    // An order that was undone takes effect late, as does one whose instance is deleted.
    let gone = house.instances.create(&gus, new.clone(), None).await.unwrap();
    house.instances.delete(&gus, CLOUD, gone.id).await.unwrap();
    let broken = furnish(&house.compute, Arc::default(), pace(), "create-instance.make-node.act:refused");
    assert!(broken.instances.create(&gus, new, None).await.is_err());
    let operations = house.store.operations_list(&OperationFilter::default(), None, 1).await.unwrap();
    let failed = house.store.work_get(&operations[0].id).await.unwrap().unwrap().steps[0].token.clone().unwrap();
    house.quiet().await;
    for token in [&gone.token, &failed] {
        cloud.create_node(token, spec()).await.unwrap();
    }
    let sweeper = Sweeper::new(Arc::clone(&house.compute), Orphans::Remove, Duration::from_secs(3600));
    let (first, second) = (sweeper.once().await, sweeper.once().await);
    assert_eq!((first.removed, first.left, second.removed, second.left), (0, 2, 2, 0), "{first:?} {second:?}");
    let left: BTreeSet<_> = cloud.list_nodes().await.unwrap().iter().filter_map(|node| node.token.clone()).collect();
    assert_eq!(left, BTreeSet::from(["foreign".to_owned(), kept.token]));
}

/// For every step of every workflow, each fault, once and twice, doing and undoing: the cloud has the machines that instances have,
/// and whoever has a key gets what he ordered.
#[tokio::test]
async fn every_step_of_instances_breaks() {
    let compute = compute(&[("form", "plain")]).await;
    let (mut runs, mut idle) = (0, BTreeSet::new());
    for (workflow, step) in
        [("create-instance", "make-node"), ("create-instance", "stop-node"), ("act", "act"), ("delete-instance", "destroy-node")]
    {
        for fault in Fault::ALL {
            for (times, direction) in [(1, "act"), (2, "act"), (1, "undo"), (2, "undo")] {
                let mut plot = format!("{workflow}.{step}.{direction}:{}:{times}", fault.as_str());
                if direction == "undo" {
                    // So that there is something to be undone; nothing else ever is.
                    if step != "make-node" {
                        continue;
                    }
                    plot += ",create-instance.stop-node.act:refused:1";
                }
                for keyed in [false, true] {
                    runs += 1;
                    let pace = crate::images::Pace { stop_here: true, ..pace() };
                    let house = furnish(&compute, Arc::default(), pace, &plot);
                    idle.extend(one_life(house, &plot, keyed.then(|| runs.to_string())).await);
                }
            }
        }
    }
    assert_eq!(runs, (4 * 2 + 2) * 5 * 2);
    assert!(idle.is_empty(), "each fault struck, but those at {idle:?}");
}

/// An instance's whole life, in which this goes wrong. Returns what of it did not.
async fn one_life(mut house: House, plot: &str, k: Option<String>) -> Vec<String> {
    let scheduler = Arc::clone(house.compute.scheduler());
    let (gus, new) = (house.user("gus", Role::Guest).await, order(&house).await);
    let key = || k.as_deref().and_then(key);
    let plot = format!("{plot} {k:?}");
    let instances = Arc::clone(&house.instances);
    let made = house.has(instances.create(&gus, new.clone(), key())).await;
    let listed = house.instances.list(&gus, CLOUD, None).await.unwrap();
    match (&made, &k) {
        (Some(Ok(made)), _) => {
            // One that was accepted, and could not be stopped, may be taken back.
            assert!(listed.iter().any(|one| one.id == made.id) || plot.contains("stop-node.act:refused"), "{plot}");
        }
        (Some(Err(_)), _) => assert!(listed.is_empty(), "{plot}: {listed:?}"),
        (None, Some(_)) => match house.instances.create(&gus, new, key()).await {
            Ok(made) => assert_eq!(listed.iter().map(|one| one.id).collect::<Vec<_>>(), [made.id], "{plot}"),
            Err(_) => assert!(listed.is_empty() && plot.contains("refused"), "{plot}"),
        },
        (None, None) => assert!(listed.len() <= 1, "{plot}"),
    }
    if let Some(one) = listed.first() {
        assert_eq!(one.state, InstanceState::Stopped, "{plot}: {one:?}");
        let instances = Arc::clone(&house.instances);
        let started = house.has(instances.act(&gus, CLOUD, one.id, Action::Start)).await;
        let now = house.instances.get(&gus, CLOUD, one.id).await.unwrap();
        let running = now.state == InstanceState::Running;
        // A crash is no reason not to do it.
        let refused = plot.starts_with("act.act.act:refused");
        assert_eq!(running, !refused, "{plot}: {started:?} {now:?}");
        assert!(started.is_none_or(|started| started.is_err() == refused), "{plot}");
        let instances = Arc::clone(&house.instances);
        if let Some(deleted) = house.has(instances.delete(&gus, CLOUD, one.id)).await {
            deleted.unwrap();
        }
    }
    assert!(house.instances.list(&gus, CLOUD, None).await.unwrap().is_empty(), "{plot}");
    assert_eq!(nodes(&house).await, 0, "{plot}");
    house.assert_settled().await;
    if plot.contains("crash") { Vec::new() } else { scheduler.idle_faults() }
}
