//! Every operation, under both instance policies, over the life of instances.

use crate::components::{dummy, intruder};
use crate::support::{Adjust, MemoryState, TestHost, eventually, kind, node_ids, order, plain, until_state};
use ostler_drivers::model::{Action, Force, ImageSource, ImageSpec, ImageStatus, NodeState};
use ostler_drivers::{Cloud, CloudSettings, ErrorKind, LoadPolicy};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

fn import(name: &str) -> ImageSpec {
    let source = ImageSource::Url("https://images.invalid/a.qcow2".into());
    ImageSpec { name: name.into(), source, format: None, checksum: None, properties: Vec::new(), extra: String::new() }
}

/// Goes through every operation; what was answered, without times.
async fn tour(cloud: &Arc<Cloud>) -> Vec<String> {
    let mut seen = Vec::new();
    macro_rules! note {
        ($value:expr) => {
            seen.push(format!("{:?}", $value))
        };
    }
    note!(cloud.description().unwrap());
    note!(cloud.check().await.unwrap());
    note!(cloud.list_images().await.unwrap());
    note!(cloud.list_sizes().await.unwrap());
    note!(cloud.get_image("debian-13").await.unwrap());
    assert_eq!(cloud.find_image("i-1").await.unwrap(), None);
    let image = cloud.import_image("i-1", import("mine")).await.unwrap();
    assert_eq!(image.digest, cloud.package().unwrap().digest);
    let image = image.value;
    assert_eq!((image.token.as_deref(), &image.status), (Some("i-1"), &ImageStatus::Active));
    assert_eq!(cloud.import_image("i-1", import("mine")).await.unwrap().value.id, image.id);
    assert_eq!(cloud.find_image("i-1").await.unwrap().unwrap().id, image.id);
    assert!(cloud.list_images().await.unwrap().iter().any(|listed| listed.id == image.id));
    cloud.delete_image(&image.id).await.unwrap();
    assert_eq!(kind(cloud.get_image(&image.id).await), ErrorKind::NotFound);

    let mut wanted = order("web");
    wanted.metadata = vec![("owner".into(), "me".into())];
    wanted.user_data = Some(b"#!".to_vec());
    wanted.public_address = true;
    let made = cloud.create_node("n-1", wanted).await.unwrap();
    assert_eq!(made.digest, cloud.package().unwrap().digest);
    let mut node = made.value;
    assert_eq!(node, cloud.get_node(&node.id).await.unwrap());
    assert_eq!(cloud.find_node("n-1").await.unwrap(), Some(node.clone()));
    assert_eq!(cloud.find_node("n-2").await.unwrap(), None);
    assert_eq!(cloud.list_nodes().await.unwrap().as_slice(), [node.clone()]);
    assert!(node.created_at.take().is_some());
    note!(node);
    for (action, state) in [
        (Action::Stop(Force::Soft), NodeState::Stopped),
        (Action::Start, NodeState::Running),
        (Action::Reboot(Force::Hard), NodeState::Running),
        (Action::Suspend, NodeState::Suspended),
        (Action::Resume, NodeState::Running),
    ] {
        cloud.act(&node.id, action).await.unwrap();
        until_state(cloud, &node.id, state).await;
    }
    assert_eq!(kind(cloud.act(&node.id, Action::Start).await), ErrorKind::Conflict);
    assert_eq!(kind(cloud.act(&node.id, Action::Other("dance".into())).await), ErrorKind::Unsupported);
    note!(cloud.capacity().await.unwrap());
    let samples = cloud.sample(vec![node.id.clone(), "node-none".into()]).await.unwrap();
    note!(samples.iter().map(|s| (&s.node_id, s.values.iter().map(|v| &v.name).collect::<Vec<_>>())).collect::<Vec<_>>());
    assert_eq!(samples.len(), 1);
    cloud.destroy_node(&node.id).await.unwrap();
    assert_eq!(kind(cloud.destroy_node(&node.id).await), ErrorKind::NotFound);
    assert_eq!(kind(cloud.get_node(&node.id).await), ErrorKind::NotFound);
    assert!(cloud.list_nodes().await.unwrap().is_empty());
    seen
}

#[tokio::test]
async fn warm_and_fresh_instances_answer_alike() {
    let dummy = dummy();
    let mut tours = Vec::new();
    for settings in [plain(), plain().fresh(), plain().limit(|limits| limits.calls_per_instance = 1)] {
        tours.push(tour(&TestHost::new().serve(settings, &dummy).await).await);
    }
    assert_eq!(tours[0], tours[1]);
    assert_eq!(tours[0], tours[2]);
}

/// Two hosts on one store: neither keeps a mirror.
#[tokio::test]
async fn hosts_that_share_a_store_see_each_other() {
    let state = Arc::new(MemoryState::shared());
    let host = || TestHost::with(LoadPolicy::default(), Arc::clone(&state));
    let (one, other) = (host(), host());
    let (one, other) = (one.serve(plain(), &dummy()).await, other.serve(plain(), &dummy()).await);
    tour(&one).await;
    let node = one.create_node("n-9", order("n")).await.unwrap().value;
    assert_eq!(other.find_node("n-9").await.unwrap(), Some(node.clone()));
    other.destroy_node(&node.id).await.unwrap();
    assert_eq!(kind(one.get_node(&node.id).await), ErrorKind::NotFound);
}

/// How many calls the instance has served that answers now.
async fn calls(cloud: &Arc<Cloud>) -> u64 {
    cloud.list_sizes().await.unwrap()[0].ram_mb
}

#[tokio::test]
async fn instances_live_as_long_as_they_should() {
    let intruder = intruder();
    let settings = || CloudSettings::new("c", "intruder");
    // Of the three calls of an instance, `describe` and `check` at load take the first two.
    for (settings, expected) in [
        (settings(), [1, 2, 3, 4, 5]),
        (settings().fresh(), [1, 1, 1, 1, 1]),
        (settings().limit(|limits| limits.warm = 0), [1, 1, 1, 1, 1]),
        (settings().limit(|limits| limits.calls_per_instance = 3), [1, 1, 2, 3, 1]),
    ] {
        let cloud = TestHost::new().serve(settings, &intruder).await;
        let mut seen = Vec::new();
        for _ in 0..expected.len() {
            seen.push(calls(&cloud).await);
        }
        assert_eq!(seen, expected);
    }
}

#[tokio::test]
async fn an_instance_that_grew_is_retired() {
    let cloud = TestHost::new().serve(CloudSettings::new("c", "intruder"), &intruder()).await;
    for (taken, expected) in [("keep-8", 2), ("keep-8", 3), ("keep-20", 1)] {
        let before = calls(&cloud).await;
        cloud.get_image(taken).await.unwrap();
        let after = calls(&cloud).await;
        assert_eq!(after, if expected == 1 { 1 } else { before + 1 }, "{taken}");
    }
    // More than it may have at all.
    assert_eq!(kind(cloud.get_image("keep-80").await), ErrorKind::Limit);
    assert_eq!(calls(&cloud).await, 1);
}

#[tokio::test]
async fn an_idle_instance_is_retired() {
    let host = TestHost::new();
    let cloud = host.serve(CloudSettings::new("c", "intruder").limit(|limits| limits.idle = Duration::ZERO), &intruder()).await;
    assert_eq!([calls(&cloud).await, calls(&cloud).await], [1, 2]);
    let tidy = tokio::spawn(Arc::clone(&host.host).tidy());
    eventually("a new instance", async || (calls(&cloud).await == 1).then_some(())).await;
    tidy.abort();
}

#[tokio::test]
async fn an_instance_that_failed_serves_nobody_again() {
    let cloud = TestHost::new().serve(CloudSettings::new("c", "intruder"), &intruder()).await;
    assert_eq!([calls(&cloud).await, calls(&cloud).await], [1, 2]);
    assert_eq!(kind(cloud.get_image("nothing").await), ErrorKind::NotFound);
    assert_eq!(calls(&cloud).await, 3, "an error is an answer");
    assert_eq!(kind(cloud.get_image("trap").await), ErrorKind::Crashed);
    assert_eq!(calls(&cloud).await, 1);
    // Memory that was refused, and done without, is not why a later call of the same instance fails.
    cloud.get_image("bounce").await.unwrap();
    assert_eq!(calls(&cloud).await, 2);
    assert_eq!(kind(cloud.get_image("trap").await), ErrorKind::Crashed);
}

#[tokio::test]
async fn concurrent_orders_lose_nothing() {
    for settings in [plain(), plain().fresh(), plain().limit(|limits| limits.calls_per_instance = 3)] {
        assert_eq!(settings.limits.warm, 4);
        let cloud = TestHost::new().serve(settings, &dummy()).await;
        let orders = (0..64).map(|n| {
            let cloud = Arc::clone(&cloud);
            // Each token is used twice.
            tokio::spawn(async move { cloud.create_node(&format!("t-{}", n / 2), order("n")).await.unwrap().value.id })
        });
        let made: BTreeSet<_> = futures::future::join_all(orders).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(made.len(), 32, "one node a token");
        assert_eq!(node_ids(&cloud).await, made.into_iter().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_caller_who_leaves_does_not_stop_an_order() {
    let slow = plain().set("latency_ms", r#"{"create-node": 100}"#).limit(|limits| limits.list_ttl = Duration::from_secs(3600));
    let cloud = TestHost::new().serve(slow, &dummy()).await;
    assert!(cloud.list_nodes().await.unwrap().is_empty());
    let mut call = Box::pin(cloud.create_node("t-1", order("n")));
    assert!(futures::poll!(call.as_mut()).is_pending());
    drop(call);
    assert_eq!(cloud.find_node("t-1").await.unwrap(), None, "not yet");
    let node = eventually("the node", async || cloud.find_node("t-1").await.unwrap()).await;
    // What was listed before does not count any more.
    eventually("the node in the list", async || (cloud.list_nodes().await.unwrap().len() == 1).then_some(())).await;
    assert_eq!(cloud.get_node(&node.id).await.unwrap().token.as_deref(), Some("t-1"));
}

#[tokio::test]
async fn a_driver_s_errors_arrive_as_their_class() {
    let (host, dummy) = (TestHost::new(), dummy());
    for (class, expected) in [
        ("not-found", ErrorKind::NotFound),
        ("invalid", ErrorKind::Invalid),
        ("conflict", ErrorKind::Conflict),
        ("unauthorized", ErrorKind::Unauthorized),
        ("forbidden", ErrorKind::Forbidden),
        ("quota", ErrorKind::Quota),
        ("capacity", ErrorKind::Capacity),
        ("throttled", ErrorKind::Throttled),
        ("unsupported", ErrorKind::Unsupported),
        ("transient", ErrorKind::Transient),
        ("failed", ErrorKind::Failed),
        ("other", ErrorKind::Other("dummy-fault".into())),
    ] {
        let cloud = host.serve(plain().set("faults", &format!(r#"{{"get-node": {{"{class}": 1}}}}"#)), &dummy).await;
        let error = cloud.get_node("x").await.unwrap_err();
        assert_eq!(error.kind, expected);
        assert!(error.message.contains("get-node"), "{error}");
        assert_eq!(error.retry_after, (class == "throttled").then_some(Duration::from_secs(1)));
    }
}

#[tokio::test]
async fn pages_come_as_one_list() {
    let settings = plain().set("page_size", "2").set("nodes", "7");
    let cloud = TestHost::new().serve(settings, &dummy()).await;
    assert_eq!(node_ids(&cloud).await.len(), 7);
    assert_eq!((cloud.list_images().await.unwrap().len(), cloud.list_sizes().await.unwrap().len()), (3, 6));
}
