//! Servers: orders, and what repeats and crashes do to them; lists; power; the end.

use std::time::Duration;

use base64::Engine;
use ostler_driver::orders::LEASE;
use ostler_driver::{Action, BlockDevice, Driver, Extra, Force, Node, NodeSpec, NodeState};
use serde_json::{Value, json};

use super::fake::{FakeServer, Fault, Play, driver};
use super::order;

const SERVERS: &str = "POST :8774/v2.1/servers";

#[test]
fn an_order_says_everything() {
    let play = Play::open();
    let cloud = Play::cloud();
    let spec = NodeSpec {
        key_name: Some("k1".into()),
        ssh_keys: vec!["ssh-ed25519 AAAA".into()],
        user_data: Some(b"#!/bin/sh\n".to_vec()),
        metadata: vec![("role".into(), "web".into())],
        networks: vec!["private".into(), "11111111-0000-4000-8000-000000000002".into()],
        security_groups: vec!["default".into()],
        zone: Some("nova".into()),
        block_devices: vec![
            BlockDevice { volume_id: None, size_gb: 5, device: Some("/dev/vdb".into()) },
            BlockDevice { volume_id: Some("v-1".into()), size_gb: 0, device: None },
        ],
        public_address: true,
        extra: json!({"config_drive": true, "scheduler_hints": {"group": "g"}}).to_string(),
        ..order()
    };
    let node = driver(&cloud).create_node("t-1", spec).unwrap();
    assert_eq!((node.state, node.token.as_deref(), node.size_id.as_deref()), (NodeState::Pending, Some("t-1"), Some("42")));
    let mut body = play.body(SERVERS);
    let data = body["server"]["user_data"].take();
    let data = base64::engine::general_purpose::STANDARD.decode(data.as_str().unwrap()).unwrap();
    assert!(String::from_utf8(data).unwrap().contains("text/x-shellscript"));
    let expected = json!({
        "server": {
            "name": "vm1", "imageRef": "image-1", "flavorRef": "42", "key_name": "k1", "availability_zone": "nova",
            "metadata": {"role": "web", "ostler-token": "t-1", "ostler-public-address": "wanted"}, "tags": ["ostler:t-1"],
            "networks": [{"uuid": "11111111-0000-4000-8000-000000000001"}, {"uuid": "11111111-0000-4000-8000-000000000002"}],
            "security_groups": [{"name": "22222222-0000-4000-8000-000000000001"}], "user_data": null, "config_drive": true,
            "block_device_mapping_v2": [
                {"boot_index": 0, "source_type": "image", "uuid": "image-1", "destination_type": "local", "delete_on_termination": true},
                {"boot_index": -1, "source_type": "blank", "destination_type": "volume", "volume_size": 5, "delete_on_termination": true,
                    "device_name": "/dev/vdb"},
                {"boot_index": -1, "source_type": "volume", "uuid": "v-1", "destination_type": "volume", "delete_on_termination": false},
            ],
        },
        "os:scheduler_hints": {"group": "g"},
    });
    assert_eq!(body, expected);
}

#[test]
fn a_plain_order_leaves_the_network_to_nova_or_to_the_settings() {
    for (networks, expected) in
        [(None, json!("auto")), (Some(r#"["private"]"#), json!([{"uuid": "11111111-0000-4000-8000-000000000001"}]))]
    {
        let play = Play::open();
        let cloud = networks.map_or_else(Play::cloud, |networks| Play::cloud().config("networks", networks));
        driver(&cloud).create_node("t-1", order()).unwrap();
        assert_eq!(play.body(SERVERS)["server"]["networks"], expected);
    }
}

#[test]
fn a_server_may_boot_from_a_volume() {
    let play = Play::open();
    let cloud = Play::cloud();
    let spec = NodeSpec { extra: r#"{"boot_volume_gb": 20}"#.into(), ..order() };
    let node = driver(&cloud).create_node("t-1", spec).unwrap();
    let body = play.body(SERVERS);
    assert_eq!(body["server"]["imageRef"], "");
    assert_eq!(
        body["server"]["block_device_mapping_v2"],
        json!([{"boot_index": 0, "source_type": "image", "uuid": "image-1", "destination_type": "volume", "volume_size": 20,
            "delete_on_termination": true}])
    );
    assert_eq!(driver(&cloud).get_node(&node.id).unwrap().image_id.as_deref(), Some("image-1"));
}

#[test]
fn orders_that_cannot_be_are_refused_and_leave_nothing() {
    let pair = |key: &str| vec![(key.to_owned(), "x".to_owned())];
    let disk = |volume_id: Option<&str>| vec![BlockDevice { volume_id: volume_id.map(str::to_owned), size_gb: 0, device: None }];
    for (what, spec, class) in [
        ("image", NodeSpec { image_id: "none".into(), ..order() }, "invalid"),
        ("size", NodeSpec { size_id: "none".into(), ..order() }, "invalid"),
        ("no size", NodeSpec { size_id: String::new(), ..order() }, "invalid"),
        ("network", NodeSpec { networks: vec!["none".into()], ..order() }, "invalid"),
        ("group", NodeSpec { security_groups: vec!["none".into()], ..order() }, "invalid"),
        ("our key", NodeSpec { metadata: pair("ostler-token"), ..order() }, "invalid"),
        ("extra", NodeSpec { extra: r#"{"colour": 1}"#.into(), ..order() }, "invalid"),
        ("key", NodeSpec { ssh_keys: vec!["a\nb".into()], ..order() }, "invalid"),
        ("stopped", NodeSpec { start: false, ..order() }, "unsupported"),
        ("empty disk", NodeSpec { block_devices: disk(None), ..order() }, "invalid"),
        ("odd disk", NodeSpec { block_devices: disk(Some("a/b")), ..order() }, "invalid"),
    ] {
        let play = Play::open();
        let cloud = Play::cloud();
        assert_eq!(driver(&cloud).create_node("t-1", spec).unwrap_err().class(), class, "{what}");
        assert_eq!(play.look(|stage| stage.servers.len()), 0, "{what}");
        driver(&cloud).create_node("t-1", order()).unwrap_or_else(|error| panic!("after {what}: {error}"));
    }
}

#[test]
fn refusals_of_an_order_keep_their_class() {
    for (status, body, class) in [
        (403, r#"{"forbidden":{"code":403,"message":"Quota exceeded for cores, ram: Requested 4"}}"#, "quota"),
        (403, r#"{"forbidden":{"code":403,"message":"Maximum number of ports exceeded"}}"#, "quota"),
        (403, r#"{"forbidden":{"code":403,"message":"Policy doesn't allow os_compute_api:servers:create"}}"#, "forbidden"),
        (409, r#"{"conflictingRequest":{"code":409,"message":"Multiple possible networks found, use a Network ID"}}"#, "invalid"),
        (404, r#"{"itemNotFound":{"code":404,"message":"Volume v could not be found."}}"#, "invalid"),
        (429, "", "throttled"),
    ] {
        let play = Play::open();
        let cloud = Play::cloud();
        play.fault(SERVERS, Fault::Answer(status, body));
        assert_eq!(driver(&cloud).create_node("t-1", order()).unwrap_err().class(), class);
        // Nothing was made, and that is known: the next order is free at once.
        driver(&cloud).create_node("t-1", order()).unwrap();
    }
}

#[test]
fn block_storage_is_needed_for_disks_only() {
    let play = Play::open();
    play.set(|stage| drop(stage.catalog.as_array_mut().unwrap().pop()));
    let cloud = Play::cloud();
    let spec = NodeSpec { block_devices: vec![BlockDevice { volume_id: None, size_gb: 1, device: None }], ..order() };
    assert_eq!(driver(&cloud).create_node("t-1", spec).unwrap_err().class(), "unsupported");
    let node = driver(&cloud).create_node("t-1", order()).unwrap();
    driver(&cloud).destroy_node(&node.id).unwrap();
}

#[test]
fn a_repeated_order_finds_the_first_one() {
    let play = Play::open();
    let cloud = Play::cloud();
    let first = driver(&cloud).create_node("t-1", order()).unwrap();
    for _ in 0..2 {
        cloud.clear_cache();
        assert_eq!(driver(&cloud).create_node("t-1", order()).unwrap().id, first.id);
    }
    assert_eq!(play.look(|stage| stage.servers.len()), 1);
    // No claim stays behind.
    assert_eq!(cloud.context().state().list("", None, 10).unwrap(), []);
}

/// Two orders at once: whenever the other one comes in between, there is one server.
#[test]
fn concurrent_orders_make_one_server() {
    for at in ["GET :8774/v2.1/servers/detail", SERVERS] {
        let play = Play::open();
        let cloud = Play::cloud();
        let other = cloud.clone();
        play.fault(
            at,
            Fault::Before(Box::new(move || {
                let error = driver(&other).create_node("t-1", order()).unwrap_err();
                assert_eq!(error.to_string(), "transient: another order with this token is under way");
            })),
        );
        let first = driver(&cloud).create_node("t-1", order()).unwrap();
        assert_eq!(driver(&cloud).create_node("t-1", order()).unwrap().id, first.id, "the other tries again");
        assert_eq!(play.look(|stage| stage.servers.len()), 1, "{at}");
    }
    // The other one is done before ours has claimed the token, or while ours wants to.
    let play = Play::open();
    let cloud = Play::cloud();
    cloud.before_next_write(|cloud| drop(driver(cloud).create_node("t-1", order()).unwrap()));
    driver(&cloud).create_node("t-1", order()).unwrap();
    assert_eq!(play.look(|stage| stage.servers.len()), 1);
    // The other one holds the token and its server is there already.
    let other = cloud.clone();
    play.fault(
        "GET :8774/v2.1/servers/detail",
        Fault::Before(Box::new(move || {
            assert!(driver(&other).create_node("t-1", order()).is_ok());
        })),
    );
    driver(&cloud).create_node("t-1", order()).unwrap();
    assert_eq!(play.look(|stage| stage.servers.len()), 1);
}

/// An order without an answer: it took effect, or it did not, or it does so later.
#[test]
fn a_lost_answer_makes_no_second_server() {
    let play = Play::open();
    let cloud = Play::cloud();
    play.fault(SERVERS, Fault::LostAnswer);
    assert_eq!(driver(&cloud).create_node("t-1", order()).unwrap_err().class(), "transient");
    let found = driver(&cloud).find_node("t-1").unwrap().unwrap();
    assert_eq!(driver(&cloud).create_node("t-1", order()).unwrap().id, found.id);

    let play = Play::open();
    let cloud = Play::cloud();
    play.fault(SERVERS, Fault::Lost);
    driver(&cloud).create_node("t-1", order()).unwrap_err();
    // Nobody knows yet whether Nova is still at it.
    let error = driver(&cloud).create_node("t-1", order()).unwrap_err();
    assert!(
        error.class() == "transient"
            && error.message().contains("may still take effect (POST http://cloud:8774/v2.1/servers: ConnectionReset)"),
        "{error}"
    );
    assert_eq!(play.count(SERVERS), 1);
    cloud.advance(LEASE);
    driver(&cloud).create_node("t-1", order()).unwrap();
    assert_eq!(play.look(|stage| stage.servers.len()), 1);
}

#[test]
fn a_failing_state_or_search_orders_nothing() {
    let play = Play::open();
    let cloud = Play::cloud();
    cloud.state_outage(1);
    assert_eq!(driver(&cloud).create_node("t-1", order()).unwrap_err().class(), "transient");
    play.fault("GET :8774/v2.1/servers/detail", Fault::Answer(500, ""));
    assert_eq!(driver(&cloud).create_node("t-1", order()).unwrap_err().class(), "transient");
    assert_eq!(play.count(SERVERS), 0);
    driver(&cloud).create_node("t-1", order()).unwrap();
}

#[test]
fn a_token_is_found_by_metadata() {
    let play = Play::open();
    let cloud = Play::cloud();
    let add = |id: &str, metadata: Value, tags: Value, status: &str, created: &str| {
        let fields = json!({"id": id, "name": id, "status": status, "created": created, "addresses": {}, "metadata": metadata, "tags": tags});
        play.set(|stage| stage.servers.push(FakeServer { fields, coming: None, updated: 0 }));
    };
    let ours = json!({"ostler-token": "t-1"});
    let tags = json!(["ostler:t-1"]);
    add("gone", ours.clone(), tags.clone(), "SOFT_DELETED", "2001-01-01T00:00:00Z");
    add("tagged-only", json!({}), tags.clone(), "ACTIVE", "2001-01-01T00:00:00Z");
    assert_eq!(driver(&cloud).find_node("t-1").unwrap(), None);
    add("late", ours.clone(), tags.clone(), "ACTIVE", "2001-01-03T00:00:00Z");
    add("early", ours, tags, "ACTIVE", "2001-01-02T00:00:00Z");
    assert_eq!(driver(&cloud).find_node("t-1").unwrap().unwrap().id, "early");
    assert!(cloud.logs().iter().any(|line| line.message == "several servers carry one token"));
    // The longest token has a tag, too.
    let token = "x".repeat(64);
    let node = driver(&cloud).create_node(&token, order()).unwrap();
    assert_eq!(driver(&cloud).find_node(&token).unwrap().unwrap().id, node.id);
    assert_eq!(driver(&cloud).find_node(&"x".repeat(63)).unwrap(), None);
}

fn ids(nodes: &[Node]) -> Vec<String> {
    nodes.iter().map(|node| node.id.clone()).collect()
}

#[test]
fn a_short_list_is_brought_up_to_date() {
    let play = Play::open();
    let cloud = Play::cloud();
    let list = || driver(&cloud).list_nodes(None).unwrap().items;
    let first = driver(&cloud).create_node("t-1", order()).unwrap();
    let second = driver(&cloud).create_node("t-2", order()).unwrap();
    cloud.advance(Duration::from_secs(20));
    assert_eq!(ids(&list()), [second.id.clone(), first.id.clone()]);
    play.seen();
    assert_eq!(list().len(), 2);
    let seen = play.seen();
    assert!(
        seen.len() == 1 && seen[0].contains("changes-since=2001-09-09T01%3A46%3A50Z"),
        "ten seconds before the last: {seen:?}"
    );
    // Somebody else changes one, deletes the other and makes a third.
    play.set(|stage| {
        let now = stage.now;
        stage.servers[0].fields["status"] = "SHUTOFF".into();
        stage.servers[1].fields["status"] = "DELETED".into();
        let fields = json!({"id": "third", "name": "x", "status": "ACTIVE", "addresses": {}, "metadata": {}, "tags": []});
        stage.servers.push(FakeServer { fields, coming: None, updated: now });
        stage.servers.iter_mut().for_each(|server| server.updated = now);
    });
    let nodes = list();
    assert_eq!(ids(&nodes), ["third".to_owned(), first.id.clone()]);
    assert_eq!(nodes[1].state, NodeState::Stopped);
    // It ends: what `changes-since` does not tell is not missed for ever. What Nova still lists after its end does not count.
    cloud.advance(Duration::from_secs(31));
    play.set(|stage| stage.servers[0].fields["status"] = "SOFT_DELETED".into());
    play.seen();
    assert_eq!(ids(&list()), ["third".to_owned()]);
    assert!(!play.seen().iter().any(|request| request.contains("changes-since")));
}

#[test]
fn a_long_list_is_read_anew() {
    let play = Play::open();
    let cloud = Play::cloud();
    for token in ["t-1", "t-2", "t-3"] {
        driver(&cloud).create_node(token, order()).unwrap();
    }
    play.set(|stage| stage.page = 2);
    let pages = || {
        let first = driver(&cloud).list_nodes(None).unwrap();
        let second = driver(&cloud).list_nodes(first.next.as_deref()).unwrap();
        assert_eq!(second.next, None);
        (first.items.len(), second.items.len())
    };
    play.seen();
    assert_eq!((pages(), pages()), ((2, 1), (2, 1)));
    assert!(!play.seen().iter().any(|request| request.contains("changes-since")));
    // A kept list whose changes do not fit on a page is read anew, too.
    play.set(|stage| stage.page = 1000);
    driver(&cloud).list_nodes(None).unwrap();
    play.set(|stage| stage.page = 2);
    assert_eq!(pages(), (2, 1));
    // And nothing is kept where the operator does not want it.
    play.set(|stage| stage.page = 1000);
    let cloud = Play::cloud().config("snapshot_seconds", "0");
    play.seen();
    driver(&cloud).list_nodes(None).unwrap();
    driver(&cloud).list_nodes(None).unwrap();
    assert!(!play.seen().iter().any(|request| request.contains("changes-since")));
}

#[test]
fn power_is_changed_by_novas_words() {
    let play = Play::open();
    let cloud = Play::cloud();
    let node = driver(&cloud).create_node("t-1", order()).unwrap();
    cloud.advance(Duration::from_secs(6));
    let act = |action: Action, body: Value, on_the_way: NodeState, then: NodeState| {
        driver(&cloud).act(&node.id, action).unwrap();
        assert_eq!(play.body("POST :8774/v2.1/servers/"), body);
        assert_eq!(driver(&cloud).get_node(&node.id).unwrap().state, on_the_way);
        cloud.advance(Duration::from_secs(3));
        assert_eq!(driver(&cloud).get_node(&node.id).unwrap().state, then);
    };
    act(Action::Stop(Force::Soft), json!({"os-stop": null}), NodeState::Stopping, NodeState::Stopped);
    act(Action::Start, json!({"os-start": null}), NodeState::Starting, NodeState::Running);
    act(Action::Stop(Force::Hard), json!({"os-stop": null}), NodeState::Stopping, NodeState::Stopped);
    act(Action::Start, json!({"os-start": null}), NodeState::Starting, NodeState::Running);
    act(Action::Reboot(Force::Soft), json!({"reboot": {"type": "SOFT"}}), NodeState::Rebooting, NodeState::Running);
    act(Action::Reboot(Force::Hard), json!({"reboot": {"type": "HARD"}}), NodeState::Rebooting, NodeState::Running);
    act(Action::Suspend, json!({"suspend": null}), NodeState::Stopping, NodeState::Suspended);
    act(Action::Resume, json!({"resume": null}), NodeState::Starting, NodeState::Running);
    // Paused by somebody else: resumed all the same.
    play.set(|stage| stage.servers[0].fields["status"] = "PAUSED".into());
    act(Action::Resume, json!({"unpause": null}), NodeState::Starting, NodeState::Running);
    assert_eq!(driver(&cloud).act(&node.id, Action::Resume).unwrap_err().class(), "conflict");
    assert_eq!(driver(&cloud).act("../x", Action::Start).unwrap_err().class(), "not-found");
    for action in [Action::Stop(Force::Other("x".into())), Action::Other("pause".into())] {
        assert_eq!(driver(&cloud).act(&node.id, action).unwrap_err().class(), "unsupported");
    }
}

#[test]
fn the_end_comes_in_steps_and_is_safe_to_repeat() {
    let play = Play::open();
    let cloud = Play::cloud();
    let node = driver(&cloud).create_node("t-1", order()).unwrap();
    driver(&cloud).destroy_node(&node.id).unwrap();
    assert_eq!(driver(&cloud).get_node(&node.id).unwrap().state, NodeState::Terminating);
    driver(&cloud).destroy_node(&node.id).unwrap();
    cloud.advance(Duration::from_secs(2));
    for _ in 0..2 {
        assert_eq!(driver(&cloud).destroy_node(&node.id).unwrap_err().class(), "not-found");
    }
    assert_eq!(driver(&cloud).find_node("t-1").unwrap(), None);
    // Identifiers that cannot be are not sent.
    play.seen();
    for id in ["..", "a/b", "", "a?b"] {
        assert_eq!(driver(&cloud).destroy_node(id).unwrap_err().class(), "not-found", "{id:?}");
        assert_eq!(driver(&cloud).get_node(id).unwrap_err().class(), "not-found", "{id:?}");
    }
    assert_eq!(play.seen(), Vec::<String>::new());
}

#[test]
fn a_locked_server_is_not_touched() {
    let play = Play::open();
    let cloud = Play::cloud();
    let node = driver(&cloud).create_node("t-1", NodeSpec { public_address: true, ..order() }).unwrap();
    cloud.advance(Duration::from_secs(6));
    driver(&cloud).get_node(&node.id).unwrap();
    play.set(|stage| stage.servers[0].fields["locked"] = true.into());
    assert_eq!(driver(&cloud).destroy_node(&node.id).unwrap_err().class(), "conflict");
    assert_eq!(play.look(|stage| stage.floating.len()), 1);
}

#[test]
fn volumes_that_nova_left_are_deleted_with_their_server() {
    let play = Play::open();
    let cloud = Play::cloud();
    let volume = |id: &str, name: &str, status: &str| json!({"id": id, "name": name, "status": status});
    play.set(|stage| {
        stage.volumes = vec![
            volume("left", "s-1-blank-vol", "available"),
            volume("used", "s-1-blank-vol", "in-use"),
            volume("other", "s-2-blank-vol", "available"),
        ];
    });
    assert_eq!(driver(&cloud).destroy_node("s-1").unwrap_err().class(), "not-found");
    let left =
        play.look(|stage| stage.volumes.iter().map(|volume| volume["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>());
    assert_eq!(left, ["used", "other"]);
}

#[test]
fn a_broken_build_says_why() {
    let play = Play::open();
    let cloud = Play::cloud();
    let node = driver(&cloud).create_node("t-1", order()).unwrap();
    play.set(|stage| {
        let server = &mut stage.servers[0];
        (server.coming, server.fields["status"]) = (None, "ERROR".into());
        server.fields["OS-EXT-STS:task_state"] = Value::Null;
        server.fields["fault"] = json!({"code": 500, "created": "2026-11-22T15:21:06Z", "message": "No valid host was found. "});
    });
    let node = driver(&cloud).get_node(&node.id).unwrap();
    assert_eq!((node.state.clone(), node.state_detail.as_deref()), (NodeState::Failed, Some("No valid host was found.")));
    assert_eq!(node.extra().unwrap()["status"], "ERROR");
}
