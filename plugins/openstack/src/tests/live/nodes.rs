//! Servers from the order to the end, with openstacksdk as the witness.

use std::time::Instant;

use base64::Engine;
use ostler_driver::testing::Cloud;
use ostler_driver::{Action, Driver, Force, Node, NodeSpec, NodeState, Reach, Result};
use serde_json::{Value, json};

use super::stack::{Stack, ids};
use super::{DEADLINE, destroy, driver, gone, nap, order, wait, wait_for};
use crate::auth::Service;

/// Fails where a node is not what openstacksdk sees.
fn assert_same(node: &Node, seen: &Value) {
    let server = &seen["servers"][&node.id];
    let state = match server["status"].as_str().unwrap() {
        "ACTIVE" => NodeState::Running,
        "SHUTOFF" => NodeState::Stopped,
        "SUSPENDED" | "PAUSED" => NodeState::Suspended,
        "ERROR" => NodeState::Failed,
        other => panic!("{other} is no end"),
    };
    let mut addresses: Vec<_> = node.addresses.iter().map(|one| json!([one.network, one.ip, one.mac])).collect();
    addresses.sort_by_key(Value::to_string);
    let theirs = server["addresses"].as_array().unwrap().iter();
    let mut theirs: Vec<_> = theirs.map(|one| json!([one[0], one[1], one[3]])).collect();
    theirs.sort_by_key(Value::to_string);
    assert_eq!((&node.state, addresses), (&state, theirs));
    let flavor = &seen["flavors"][node.size_id.as_deref().unwrap()];
    let read = json!([node.name, flavor["name"], node.image_id]);
    assert_eq!(read, json!([server["name"], server["flavor"], server["image"]]));
}

#[test]
#[allow(clippy::print_stderr, reason = "a measurement")]
fn a_node_lives_with_a_public_address() {
    let Some(stack) = Stack::open() else { return };
    let cloud = stack.cloud();
    let api = Stack::api(&cloud);
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGFFRQF2mTbhHhkYg1oVgTKhfCyXLqcHM7xCYGz9QeHd me";
    api.post(Service::Compute, "/os-keypairs").json_body(&json!({"keypair": {"name": "k1", "public_key": key}})).send().unwrap();
    let spec = NodeSpec {
        public_address: true,
        key_name: Some("k1".into()),
        networks: vec!["private".into()],
        security_groups: vec!["default".into()],
        ssh_keys: vec![key.into()],
        user_data: Some(b"#!/bin/sh\ntrue\n".to_vec()),
        metadata: vec![("role".into(), "web".into()), ("fake_spawn_seconds".into(), "2".into())],
        ..order(&cloud, "live-1")
    };
    let began = Instant::now();
    let node = driver(&cloud).create_node("live-1", spec.clone()).unwrap();
    let ordered = began.elapsed();
    assert_eq!(driver(&cloud).find_node("live-1").unwrap().unwrap().id, node.id, "at once");
    assert_eq!(driver(&cloud).create_node("live-1", spec).unwrap().id, node.id);
    let up = wait(&cloud, &node.id, &NodeState::Running);
    eprintln!("ordered in {ordered:?}, up with its address in {:?}, two seconds of them in the build", began.elapsed());
    let public: Vec<_> = up.addresses.iter().filter(|address| address.reach == Reach::Public).collect();
    assert!(public.len() == 1 && public[0].ip.starts_with("203.0.113."), "{up:?}");
    // Nova itself shows the address when it has heard of it from Neutron.
    let known = wait_for(&cloud, &node.id, "shown with its address by Nova", |node| {
        node.addresses.iter().any(|address| address.reach == Reach::Public && address.network.is_some())
    });
    let seen = stack.report();
    assert_same(&known, &seen);
    let server = &seen["servers"][&node.id];
    assert_eq!((&server["key"], &server["groups"]), (&json!("k1"), &json!(["default"])));
    assert_eq!((&server["metadata"]["role"], &server["metadata"]["ostler-token"]), (&json!("web"), &json!("live-1")));
    let floating: Vec<_> = seen["floating_ips"].as_object().unwrap().values().collect();
    assert_eq!((floating.len(), &floating[0]["address"]), (1, &json!(public[0].ip)));
    assert_eq!(floating[0]["description"], format!("ostler:live-1:{}", node.id));
    let admin = Stack::api(&stack.admins_cloud());
    let shown: Value = admin.get(Service::Compute, format!("/servers/{}", node.id)).microversion(version(2, 46)).json().unwrap();
    let data = shown["server"]["OS-EXT-SRV-ATTR:user_data"].as_str().unwrap();
    let data = String::from_utf8(base64::engine::general_purpose::STANDARD.decode(data).unwrap()).unwrap();
    assert!(data.contains("text/x-shellscript") && data.contains("text/cloud-config"), "{data}");

    for (action, state) in [
        (Action::Stop(Force::Soft), NodeState::Stopped),
        (Action::Start, NodeState::Running),
        (Action::Stop(Force::Hard), NodeState::Stopped),
        (Action::Start, NodeState::Running),
        (Action::Reboot(Force::Soft), NodeState::Running),
        (Action::Reboot(Force::Hard), NodeState::Running),
        (Action::Suspend, NodeState::Suspended),
        (Action::Resume, NodeState::Running),
    ] {
        driver(&cloud).act(&node.id, action.clone()).unwrap_or_else(|error| panic!("{action:?}: {error}"));
        let now = wait(&cloud, &node.id, &state);
        // The kept list hears of it by `changes-since`.
        let listed = driver(&cloud).list_nodes(None).unwrap().items.into_iter().find(|listed| listed.id == node.id).unwrap();
        assert_eq!(listed, now, "{action:?}");
        assert_same(&now, &stack.report());
    }
    // What does not fit the state is refused, and somebody else's pause is ended by a resume.
    for action in [Action::Start, Action::Resume] {
        let error = driver(&cloud).act(&node.id, action.clone()).unwrap_err();
        assert_eq!(error.class(), "conflict", "{action:?}: {error}");
    }
    api.post(Service::Compute, format!("/servers/{}/action", node.id)).json_body(&json!({"pause": null})).send().unwrap();
    wait(&cloud, &node.id, &NodeState::Suspended);
    assert_eq!(driver(&cloud).act(&node.id, Action::Suspend).unwrap_err().class(), "conflict");
    driver(&cloud).act(&node.id, Action::Resume).unwrap();
    wait(&cloud, &node.id, &NodeState::Running);
    // A lock holds off the driver as everybody else.
    let lock = |word: &str| {
        let body = json!({word: null});
        api.post(Service::Compute, format!("/servers/{}/action", node.id)).json_body(&body).send().unwrap();
    };
    lock("lock");
    assert_eq!(driver(&cloud).act(&node.id, Action::Stop(Force::Soft)).unwrap_err().class(), "conflict");
    assert_eq!(driver(&cloud).destroy_node(&node.id).unwrap_err().class(), "conflict");
    lock("unlock");

    driver(&cloud).destroy_node(&node.id).unwrap();
    // Again, while it is under way and when it is done.
    let again = driver(&cloud).destroy_node(&node.id);
    assert!(again.as_ref().is_err_and(|error| error.class() == "not-found") || again.is_ok(), "{again:?}");
    gone(&cloud, &node.id);
    assert_eq!(driver(&cloud).destroy_node(&node.id).unwrap_err().class(), "not-found");
    assert_eq!(driver(&cloud).find_node("live-1").unwrap(), None);
    assert!(driver(&cloud).list_nodes(None).unwrap().items.iter().all(|listed| listed.id != node.id));
    api.delete(Service::Compute, "/os-keypairs/k1").send().unwrap();
    stack.assert_unchanged();
}

fn version(major: u16, minor: u16) -> Option<crate::microversion::Microversion> {
    Some(crate::microversion::Microversion(major, minor))
}

#[test]
fn several_nodes_have_an_address_each_and_lose_it() {
    let Some(stack) = Stack::open() else { return };
    let cloud = stack.cloud();
    let spec = NodeSpec { public_address: true, ..order(&cloud, "live-2") };
    let nodes: Vec<_> = (0..3).map(|at| driver(&cloud).create_node(&format!("live-2-{at}"), spec.clone()).unwrap()).collect();
    // Two hosts poll one node.
    let (polled, other) = (nodes[0].id.clone(), cloud.clone());
    let both = std::thread::spawn(move || wait(&other, &polled, &NodeState::Running));
    let up: Vec<_> = nodes.iter().map(|node| wait(&cloud, &node.id, &NodeState::Running)).collect();
    both.join().unwrap();
    assert_eq!(stack.report()["floating_ips"].as_object().unwrap().len(), 3, "{up:?}");
    // One is deleted by somebody else: what was allocated for it goes when the host asks for it.
    let api = Stack::api(&cloud);
    api.delete(Service::Compute, format!("/servers/{}", nodes[0].id)).send().unwrap();
    gone(&cloud, &nodes[0].id);
    assert_eq!(stack.report()["floating_ips"].as_object().unwrap().len(), 3);
    assert_eq!(driver(&cloud).find_node("live-2-0").unwrap(), None);
    assert_eq!(stack.report()["floating_ips"].as_object().unwrap().len(), 2);
    // One has its address taken away: that is not undone.
    let seen = stack.report();
    let of_second = |(_, ip): &(&String, &Value)| ip["description"].as_str().unwrap().contains(&nodes[1].id);
    let (taken, _) = seen["floating_ips"].as_object().unwrap().iter().find(of_second).unwrap();
    let off = json!({"floatingip": {"port_id": null}});
    api.call("PUT", Service::Network, format!("/floatingips/{taken}")).json_body(&off).send().unwrap();
    assert_eq!(driver(&cloud).get_node(&nodes[1].id).unwrap().state, NodeState::Running);
    destroy(&cloud, &[nodes[1].id.clone(), nodes[2].id.clone()]);
    stack.assert_unchanged();
}

#[test]
fn orders_at_the_same_time_make_a_server_for_each_token() {
    let Some(stack) = Stack::open() else { return };
    let cloud = stack.cloud();
    let spec = order(&cloud, "live-3");
    let persist = |cloud: &Cloud, token: &str, spec: &NodeSpec| -> String {
        let end = Instant::now() + DEADLINE;
        loop {
            match driver(cloud).create_node(token, spec.clone()) {
                Ok(node) => return node.id,
                Err(error) => assert!(error.class() == "transient" && Instant::now() < end, "{error}"),
            }
            nap();
        }
    };
    // Four by one token, and one each by four more.
    let orders: Vec<_> = ["live-3-0"; 4].into_iter().chain(["live-3-1", "live-3-2", "live-3-3", "live-3-4"]).collect();
    let found: Vec<String> = std::thread::scope(|scope| {
        let work: Vec<_> = orders.iter().map(|token| scope.spawn(|| persist(&cloud, token, &spec))).collect();
        work.into_iter().map(|work| work.join().unwrap()).collect()
    });
    assert!(found[..4].iter().all(|id| *id == found[0]), "{found:?}");
    let mut distinct = found;
    distinct.sort();
    distinct.dedup();
    let seen = stack.report();
    assert_eq!((distinct.len(), ids(&seen["servers"]).count()), (5, 5));
    assert_eq!(cloud.context().state().list("order/", None, 10).unwrap(), [], "no claim stays");
    // And they end at the same time.
    std::thread::scope(|scope| {
        for id in &distinct {
            scope.spawn(|| driver(&cloud).destroy_node(id).unwrap());
        }
    });
    distinct.iter().for_each(|id| gone(&cloud, id));
    stack.assert_unchanged();
}

#[test]
fn orders_that_cannot_be_are_refused_and_leave_nothing() {
    let Some(stack) = Stack::open() else { return };
    let cloud = stack.cloud();
    let spec = order(&cloud, "live-4");
    let unknown = "11111111-0000-4000-8000-000000000001";
    for (what, spec, class) in [
        ("image", NodeSpec { image_id: "none".into(), ..spec.clone() }, "invalid"),
        ("an image's identifier", NodeSpec { image_id: unknown.into(), ..spec.clone() }, "invalid"),
        ("size", NodeSpec { size_id: "none".into(), ..spec.clone() }, "invalid"),
        ("network", NodeSpec { networks: vec!["none".into()], ..spec.clone() }, "invalid"),
        ("a network's identifier", NodeSpec { networks: vec![unknown.into()], ..spec.clone() }, "invalid"),
        ("group", NodeSpec { security_groups: vec!["none".into()], ..spec.clone() }, "invalid"),
        ("a group's identifier", NodeSpec { security_groups: vec![unknown.into()], ..spec.clone() }, "invalid"),
        ("key", NodeSpec { key_name: Some("none".into()), ..spec.clone() }, "invalid"),
        ("zone", NodeSpec { zone: Some("none".into()), ..spec.clone() }, "invalid"),
        ("name", NodeSpec { name: "x".repeat(256), ..spec.clone() }, "invalid"),
        ("metadata", NodeSpec { metadata: vec![("x".repeat(256), "y".into())], ..spec.clone() }, "invalid"),
        ("stopped", NodeSpec { start: false, ..spec.clone() }, "unsupported"),
        ("volume", NodeSpec { extra: r#"{"boot_volume_gb": 1}"#.into(), ..spec.clone() }, "unsupported"),
        ("hints", NodeSpec { extra: r#"{"scheduler_hints": {"group": "none"}}"#.into(), ..spec.clone() }, "invalid"),
    ] {
        let error = driver(&cloud).create_node("live-4", spec).unwrap_err();
        assert_eq!(error.class(), class, "{what}: {error}");
    }
    type Work = fn(&crate::driver::OpenStack, &str) -> Result<()>;
    let works: [(&str, Work); 7] = [
        ("get", |driver, id| driver.get_node(id).map(drop)),
        ("destroy", |driver, id| driver.destroy_node(id)),
        ("start", |driver, id| driver.act(id, Action::Start)),
        ("reboot", |driver, id| driver.act(id, Action::Reboot(Force::Hard))),
        ("resume", |driver, id| driver.act(id, Action::Resume)),
        ("get image", |driver, id| driver.get_image(id).map(drop)),
        ("delete image", |driver, id| driver.delete_image(id)),
    ];
    for (what, work) in works {
        for id in [unknown, "none", "..", "a/b", "", "1%00", "é", "1?x=y"] {
            let error = work(&driver(&cloud), id).unwrap_err();
            assert_eq!(error.class(), "not-found", "{what} {id:?}: {error}");
        }
    }
    assert_eq!(driver(&cloud).find_node("live-4").unwrap(), None);
    stack.assert_unchanged();
}

#[test]
fn builds_that_fail_say_why() {
    let Some(stack) = Stack::open() else { return };
    let cloud = stack.cloud();
    let spec = order(&cloud, "live-5");
    // A flavor that no host has room for.
    let admin = Stack::api(&stack.admins_cloud());
    let huge = json!({"flavor": {"id": "huge", "name": "huge", "ram": 9_000_000, "vcpus": 1, "disk": 1}});
    admin.post(Service::Compute, "/flavors").json_body(&huge).send().unwrap();
    let quota = stack.quota(Service::Compute, &json!({"ram": -1}));
    let told = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
    let orders = [
        ("live-5-0", NodeSpec { metadata: told("fake_spawn_error", "disk on fire"), ..spec.clone() }, "disk on fire"),
        ("live-5-1", NodeSpec { size_id: "huge".into(), ..spec.clone() }, "No valid host was found"),
        // A public address is not waited for by a node that has failed.
        ("live-5-2", NodeSpec { public_address: true, metadata: told("fake_spawn_error", "no luck"), ..spec }, "no luck"),
    ];
    let mut made = Vec::new();
    for (token, spec, why) in orders {
        let node = driver(&cloud).create_node(token, spec).unwrap();
        let failed = wait(&cloud, &node.id, &NodeState::Failed);
        let detail = failed.state_detail.clone().unwrap();
        assert!(detail.contains(why), "{detail}");
        assert_same(&failed, &stack.report());
        assert_eq!(driver(&cloud).act(&node.id, Action::Start).unwrap_err().class(), "conflict");
        made.push(node.id);
    }
    // One is destroyed while it is being built.
    let slow = NodeSpec { metadata: told("fake_spawn_seconds", "3"), ..order(&cloud, "live-5") };
    let node = driver(&cloud).create_node("live-5-3", slow).unwrap();
    wait(&cloud, &node.id, &NodeState::Pending);
    made.push(node.id);
    destroy(&cloud, &made);
    drop(quota);
    admin.delete(Service::Compute, "/flavors/huge").send().unwrap();
    stack.assert_unchanged();
}
