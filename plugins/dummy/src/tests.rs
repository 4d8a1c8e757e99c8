#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ostler_driver::testing::{Cloud, conformance};
use ostler_driver::{
    Action, Driver, Error, Extra, Force, ImageSpec, ImageStatus, Node, NodeSpec, NodeState, Page, Reach, Result,
};
use serde_json::json;

use crate::Dummy;

fn fake() -> Cloud {
    Cloud::new("fake_driver")
}

fn plain() -> Cloud {
    Cloud::new("plain").config("form", "plain")
}

fn dummy(cloud: &Cloud) -> Dummy {
    cloud.driver().unwrap()
}

fn spec(cloud: &Cloud) -> NodeSpec {
    let driver = dummy(cloud);
    let (image, size) = (driver.list_images(None).unwrap().items, driver.list_sizes(None).unwrap().items);
    NodeSpec::new("wanted", &image[0].id, &size[0].id)
}

fn create(cloud: &Cloud, token: &str) -> Node {
    dummy(cloud).create_node(token, spec(cloud)).unwrap()
}

/// All nodes, over all pages.
fn nodes(driver: &Dummy) -> Vec<Node> {
    let (mut nodes, mut cursor) = (Vec::new(), None);
    loop {
        let Page { items, next } = driver.list_nodes(cursor.as_deref()).unwrap();
        nodes.extend(items);
        cursor = next;
        if cursor.is_none() {
            return nodes;
        }
    }
}

fn ids(cloud: &Cloud) -> Vec<String> {
    nodes(&dummy(cloud)).into_iter().map(|node| node.id).collect()
}

fn ip(node: &Node) -> &str {
    &node.addresses[0].ip
}

#[test]
fn both_forms_keep_the_contract() {
    for cloud in [
        fake(),
        fake().config("boot_ms", "5000").config("page_size", "1"),
        plain(),
        plain().config("nodes", "5").config("boot_ms", "5000").config("image_ms", "5000").config("page_size", "2"),
    ] {
        conformance::check::<Dummy>(&cloud).unwrap();
    }
}

#[test]
fn the_fake_form_begins_as_the_original() {
    let cloud = fake();
    let driver = dummy(&cloud);
    let first = nodes(&driver);
    let seen: Vec<_> = first.iter().map(|node| (node.id.as_str(), node.name.as_str(), ip(node))).collect();
    assert_eq!(seen, [("1", "dummy-1", "127.0.0.1"), ("2", "dummy-2", "127.0.0.1")]);
    for node in &first {
        assert_eq!((node.addresses.len(), &node.addresses[0].reach), (1, &Reach::Public));
        assert_eq!(node.state, NodeState::Running);
        assert_eq!(node.extra().unwrap(), *json!({"foo": "bar"}).as_object().unwrap());
    }
    let images: Vec<_> = driver.list_images(None).unwrap().items.into_iter().map(|image| (image.id, image.name)).collect();
    assert_eq!(images, [("1", "Ubuntu 9.10"), ("2", "Ubuntu 9.04"), ("3", "Slackware 4")].map(|(a, b)| (a.into(), b.into())));
    let sizes: Vec<_> = driver.list_sizes(None).unwrap().items;
    assert!(sizes.iter().all(|size| size.vcpus.is_none()));
    let sizes: Vec<_> = sizes.iter().map(|size| (&*size.id, &*size.name, size.ram_mb, size.disk_gb)).collect();
    assert_eq!(sizes, [("1", "Small", 128, 4), ("2", "Medium", 512, 16), ("3", "Big", 4096, 32), ("4", "XXL Big", 8192, 128)]);
    let described = Dummy::describe(&cloud.context());
    assert_eq!((&*described.provider, &*described.cloud_type), ("dummy", "Dummy Node Provider"));
    assert_eq!(driver.check().unwrap().endpoint.as_deref(), Some("127.0.0.1"));
}

#[test]
fn the_fake_form_names_new_nodes_by_their_number() {
    let cloud = fake();
    for (token, id, name, address) in [("a", "3", "dummy-3", "127.0.0.3"), ("b", "4", "dummy-4", "127.0.0.4")] {
        let node = create(&cloud, token);
        assert_eq!((&*node.id, &*node.name, ip(&node), &node.state), (id, name, address, &NodeState::Running));
        assert_eq!(node.extra, r#"{"foo":"bar"}"#);
    }
    assert_eq!(ids(&cloud), ["1", "2", "3", "4"]);
    let order = |image: &str, size: &str| dummy(&cloud).create_node("c", NodeSpec::new("x", image, size)).unwrap_err();
    assert_eq!(order("9", "9"), Error::Invalid("no useful image id here".into()));
    assert_eq!(order("1", "9"), Error::Invalid("no useful size id here".into()));
}

/// What the original was seen to do.
#[test]
fn the_fake_form_repeats_identifiers() {
    let cloud = fake();
    for token in ["a", "b", "c"] {
        create(&cloud, token);
    }
    for id in ["1", "3", "2", "4"] {
        dummy(&cloud).destroy_node(id).unwrap();
    }
    assert_eq!(ids(&cloud), ["5"]);
    let node = create(&cloud, "d");
    assert_eq!((&*node.id, ip(&node)), ("2", "127.0.0.2"));
    assert_eq!(dummy(&cloud).get_node("2").unwrap(), node);
    assert_eq!(ids(&cloud), ["5", "2"]);

    let cloud = fake();
    create(&cloud, "a");
    dummy(&cloud).destroy_node("1").unwrap();
    assert_eq!(create(&cloud, "b").id, "3");
    assert_eq!(ids(&cloud), ["2", "3", "3"]);
    let token = |id: &str| dummy(&cloud).get_node(id).unwrap().token;
    assert_eq!(token("3").as_deref(), Some("a"), "the first in the list");
    dummy(&cloud).destroy_node("3").unwrap();
    assert_eq!(token("3").as_deref(), Some("b"), "then the next");
    assert_eq!(dummy(&cloud).find_node("a").unwrap(), None);
    assert_eq!(ids(&cloud), ["2", "3"]);
}

#[test]
fn a_plain_cloud_keeps_what_was_ordered() {
    let cloud = plain();
    let order = NodeSpec {
        metadata: vec![("owner".into(), "me".into())],
        key_name: Some("key".into()),
        user_data: Some(b"#!/bin/sh".to_vec()),
        ..spec(&cloud)
    };
    let node = dummy(&cloud).create_node("a", order.clone()).unwrap();
    assert_eq!((&*node.id, &*node.name, ip(&node)), ("node-000001", "wanted", "10.0.0.1"));
    assert!(node.addresses.iter().all(|address| address.reach == Reach::Private));
    let extra = json!({"metadata": {"owner": "me"}, "key_name": "key", "user_data_bytes": 9});
    assert_eq!(node.extra().unwrap(), *extra.as_object().unwrap());
    let keeping = plain().config("keep_user_data", "true");
    let node = dummy(&keeping).create_node("a", order.clone()).unwrap();
    assert_eq!(node.extra().unwrap()["user_data"], "#!/bin/sh");
    dummy(&cloud).destroy_node("node-000001").unwrap();
    let public = dummy(&cloud).create_node("b", NodeSpec { public_address: true, ..order }).unwrap();
    assert_eq!(public.id, "node-000002", "identifiers do not repeat");
    assert_eq!((&*public.addresses[1].ip, &public.addresses[1].reach), ("198.51.100.2", &Reach::Public));
}

#[test]
fn time_brings_nodes_up() {
    let cloud = plain().config("boot_ms", "1000");
    let node = create(&cloud, "a");
    assert_eq!(node.state, NodeState::Pending);
    let warm = dummy(&cloud);
    let state = || {
        let listed = warm.list_nodes(None).unwrap().items.remove(0).state;
        assert_eq!(warm.get_node(&node.id).unwrap().state, listed);
        listed
    };
    assert_eq!(state(), NodeState::Pending);
    let busy = warm.act(&node.id, Action::Stop(Force::Soft)).unwrap_err();
    assert_eq!(busy.class(), "conflict");
    cloud.advance(Duration::from_millis(999));
    assert_eq!(state(), NodeState::Pending);
    cloud.advance(Duration::from_millis(1));
    assert_eq!(state(), NodeState::Running);
    warm.act(&node.id, Action::Reboot(Force::Hard)).unwrap();
    assert_eq!(state(), NodeState::Rebooting);
    cloud.advance(Duration::from_secs(1));
    assert_eq!(state(), NodeState::Running);
}

#[test]
fn images_arrive_and_stay_while_they_are_used() {
    let cloud = plain().config("image_ms", "1000");
    let driver = dummy(&cloud);
    let image = driver.import_image("i", ImageSpec::from_url("mine", "https://a/b")).unwrap();
    let status = || dummy(&cloud).get_image(&image.id).unwrap().status;
    assert_eq!(status(), ImageStatus::Pending);
    let order = NodeSpec { image_id: image.id.clone(), ..spec(&cloud) };
    assert_eq!(driver.create_node("a", order.clone()).unwrap_err().class(), "conflict");
    cloud.advance(Duration::from_millis(500));
    assert_eq!(status(), ImageStatus::Importing(Some(50)));
    cloud.advance(Duration::from_millis(500));
    assert_eq!(status(), ImageStatus::Active);
    let node = driver.create_node("a", order).unwrap();
    assert_eq!(driver.delete_image(&image.id).unwrap_err().class(), "conflict");
    assert_eq!(driver.delete_image("debian-13").unwrap_err().class(), "forbidden");
    driver.destroy_node(&node.id).unwrap();
    driver.delete_image(&image.id).unwrap();
    assert_eq!(driver.find_image("i").unwrap(), None);
    let next = driver.import_image("j", ImageSpec::from_url("mine", "https://a/b")).unwrap();
    assert_ne!(next.id, image.id);
}

#[test]
fn bounds_hold() {
    for (key, class) in [("quota_nodes", "quota"), ("capacity_nodes", "capacity")] {
        for cloud in [fake(), plain().config("nodes", "2")] {
            let cloud = cloud.config(key, "3");
            create(&cloud, "a");
            let error = dummy(&cloud).create_node("b", spec(&cloud)).unwrap_err();
            assert_eq!(error.class(), class);
            assert_eq!(create(&cloud, "a").token.as_deref(), Some("a"), "what exists is still answered");
            dummy(&cloud).destroy_node(&ids(&cloud)[0]).unwrap();
            create(&cloud, "b");
        }
    }
}

#[test]
fn a_lost_answer_leaves_the_node() {
    let cloud = plain().config("faults", r#"{"create-node": {"lost": 1}, "destroy-node": {"lost": 1}}"#);
    let driver = dummy(&cloud);
    assert_eq!(driver.create_node("a", spec(&cloud)).unwrap_err().class(), "transient");
    let node = dummy(&cloud).find_node("a").unwrap().unwrap();
    assert_eq!(ids(&cloud), std::slice::from_ref(&node.id));
    assert_eq!(driver.destroy_node(&node.id).unwrap_err().class(), "transient");
    assert_eq!(dummy(&cloud).find_node("a").unwrap(), None);
}

#[test]
fn faults_and_latency_belong_to_their_operation() {
    let cloud = plain()
        .config("latency_ms", r#"{"list-nodes": 50, "*": 5}"#)
        .config("faults", r#"{"list-nodes": {"throttled": 1}, "list-images": {"endless-pages": 1}}"#);
    let driver = dummy(&cloud);
    let Err(Error::Throttled { retry_after: Some(_), .. }) = driver.list_nodes(None) else { panic!("not throttled") };
    assert_eq!(cloud.slept(), Duration::from_millis(50));
    driver.list_sizes(None).unwrap();
    assert_eq!(cloud.slept(), Duration::from_millis(55));
    let mut cursor = None;
    for _ in 0..100 {
        let page = driver.list_images(cursor.as_deref()).unwrap();
        assert!(!page.items.is_empty() && page.next.is_some() && page.next != cursor);
        cursor = page.next;
    }
}

#[test]
fn rates_repeat_over_instances() {
    let outcomes = |seed: &str| {
        let cloud = plain().config("seed", seed).config("faults", r#"{"check": {"failed": 0.5}}"#);
        (0..64).map(|_| dummy(&cloud).check().is_ok()).collect::<Vec<_>>()
    };
    assert_eq!(outcomes("1"), outcomes("1"));
    assert_ne!(outcomes("1"), outcomes("2"));
    assert!(outcomes("1").contains(&true) && outcomes("1").contains(&false));
}

#[test]
fn pages_cover_the_list_once() {
    for size in ["1", "2", "3", "7", "1000"] {
        let cloud = plain().config("nodes", "5").config("page_size", size);
        for token in ["a", "b", "c"] {
            create(&cloud, token);
        }
        // One of the first, one of the later ones, one changed in its place.
        dummy(&cloud).destroy_node("node-000002").unwrap();
        dummy(&cloud).destroy_node("node-000007").unwrap();
        dummy(&cloud).act("node-000003", Action::Suspend).unwrap();
        let expected = ["node-000001", "node-000003", "node-000004", "node-000005", "node-000006", "node-000008"];
        let warm = dummy(&cloud);
        for _ in 0..2 {
            let listed = nodes(&warm);
            assert_eq!(listed.iter().map(|node| &*node.id).collect::<Vec<_>>(), expected, "pages of {size}");
            assert_eq!(listed[1].state, NodeState::Suspended);
        }
    }
}

#[test]
fn a_warm_instance_asks_once_and_sees_every_change() {
    let cloud = plain().config("nodes", "100");
    let warm = dummy(&cloud);
    assert_eq!(nodes(&warm).len(), 100);
    let before = cloud.state_operations();
    assert_eq!(nodes(&warm).len(), 100);
    assert_eq!(cloud.state_operations() - before, 1, "the revision");
    create(&cloud, "a");
    assert_eq!(nodes(&warm).len(), 101);
}

#[test]
fn many_nodes_cost_an_order_no_more() {
    let cost = |nodes: &str| {
        let cloud = fake().config("nodes", nodes);
        create(&cloud, "a");
        let before = cloud.state_operations();
        create(&cloud, "b");
        cloud.state_operations() - before
    };
    assert_eq!(cost("2"), cost("10000"));
    let cloud = fake().config("nodes", "10000");
    assert_eq!(create(&cloud, "a").id, "10001");
    assert_eq!(ids(&cloud).len(), 10_001);
}

/// Whatever another instance does between reading and writing, nothing is lost or doubled.
#[test]
fn an_interrupted_change_starts_over() {
    for cloud in [fake(), plain().config("nodes", "2")] {
        cloud.before_next_write(|cloud| {
            create(cloud, "other");
        });
        let node = create(&cloud, "mine");
        let other = dummy(&cloud).find_node("other").unwrap().unwrap();
        assert_ne!(node.id, other.id);
        assert_eq!(ids(&cloud).len(), 4);

        cloud.before_next_write(|cloud| {
            create(cloud, "same");
        });
        let node = create(&cloud, "same");
        assert_eq!(dummy(&cloud).find_node("same").unwrap(), Some(node.clone()));
        assert_eq!(ids(&cloud).len(), 5, "one node by two orders with one token");

        let id = node.id.clone();
        cloud.before_next_write(move |cloud| dummy(cloud).destroy_node(&id).unwrap());
        assert_eq!(dummy(&cloud).act(&node.id, Action::Suspend).unwrap_err().class(), "not-found");
        let first = ids(&cloud)[0].clone();
        let twice = first.clone();
        cloud.before_next_write(move |cloud| dummy(cloud).destroy_node(&twice).unwrap());
        assert_eq!(dummy(&cloud).destroy_node(&first).unwrap_err().class(), "not-found");
        assert_eq!(ids(&cloud).len(), 3);
    }
}

#[test]
fn concurrent_orders_neither_lose_nor_double() {
    for cloud in [fake(), plain()] {
        let before = ids(&cloud).len();
        let made = Arc::new(Mutex::new(Vec::new()));
        let order = spec(&cloud);
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let (cloud, made, order) = (cloud.clone(), Arc::clone(&made), order.clone());
                scope.spawn(move || {
                    let driver = dummy(&cloud);
                    for turn in 0..25 {
                        // Every token is ordered by two writers.
                        let token = format!("t-{}-{turn}", writer / 2);
                        let node = driver.create_node(&token, order.clone()).unwrap();
                        made.lock().unwrap().push(node.id);
                    }
                });
            }
        });
        let mut made = made.lock().unwrap().clone();
        assert_eq!(made.len(), 200);
        made.sort();
        made.dedup();
        assert_eq!(made.len(), 100, "one node a token, no identifier twice");
        let mut listed = ids(&cloud);
        listed.sort();
        listed.dedup();
        assert_eq!(listed.len(), before + 100);
    }
}

#[test]
fn wrong_settings_fail_every_call() {
    for (key, value) in [("colour", "red"), ("boot_ms", "soon")] {
        let cloud = fake().config(key, value);
        let error = cloud.driver::<Dummy>().map(|_| ()).unwrap_err();
        assert_eq!(error.class(), "invalid");
        assert!(error.message().contains(key), "{error}");
        assert_eq!(Dummy::describe(&cloud.context()).name, "dummy");
    }
}

#[test]
fn outages_of_the_state_are_told_as_such() {
    let cloud = fake();
    let driver = dummy(&cloud);
    cloud.state_outage(1);
    let class = |result: Result<()>| result.unwrap_err().class().to_owned();
    assert_eq!(class(driver.list_nodes(None).map(|_| ())), "transient");
    driver.list_nodes(None).unwrap();
}

#[test]
fn measurements_repeat_and_counters_grow() {
    let cloud = plain();
    let node = create(&cloud, "a");
    let first = dummy(&cloud).get_samples(&[]).unwrap();
    assert_eq!(first, dummy(&cloud).get_samples(&[node.id.clone(), "node-000009".into()]).unwrap());
    cloud.advance(Duration::from_secs(600));
    let later = dummy(&cloud).get_samples(&[]).unwrap();
    for (before, after) in first[0].values.iter().zip(&later[0].values).skip(2) {
        assert!(after.value > before.value, "{}", after.name);
    }
}
