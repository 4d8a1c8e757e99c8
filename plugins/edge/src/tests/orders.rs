//! Orders: what is sent, what repeats and breaks do to them, and what is owed to a node that was made.

use std::time::Duration;

use ostler_driver::orders::LEASE;
use ostler_driver::{Action, BlockDevice, Driver, Extra, Force, NodeSpec, NodeState};
use serde_json::json;

use super::fake::{Fault, Manners, Play, driver};
use super::{IMAGE, all_manners, order};

const START: &str = "POST /instances/6";
const BUSY: Fault = Fault::Answer(409, r#"{"buildInProgress":{"code":409,"message":"still being built"}}"#);

#[test]
fn an_order_says_everything() {
    let play = Play::open(Manners::of_an_ostler());
    let cloud = Play::cloud().config("far_user_data", "true").config("sizes", r#"[{"id":"small","vcpus":1,"ram_mb":512}]"#);
    let spec = NodeSpec {
        size_id: "small".into(),
        ssh_keys: vec!["ssh-ed25519 AAAA".into()],
        user_data: Some(b"#!/bin/sh\n".to_vec()),
        metadata: vec![("role".into(), "web".into())],
        ..order()
    };
    let node = driver(&cloud).create_node("t-1", spec).unwrap();
    let body = json!({"instance": {"imageRef": 62, "name": "web--ostler-t-1", "flavor": "small", "ssh_keys": ["ssh-ed25519 AAAA"],
        "user_data": "IyEvYmluL3NoCg=="}});
    assert_eq!(play.body("POST /instances"), json!({"start": null}));
    assert_eq!(play.look(|stage| stage.bodies[0].1.clone()), body);
    assert_eq!((node.name.as_str(), node.token.as_deref(), node.state), ("web", Some("t-1"), NodeState::Pending));
    assert_eq!(node.size_id.as_deref(), Some("small"));
    // Two of a plain order, and no flavor.
    driver(&cloud).create_node("t-2", order()).unwrap();
    let bodies = play.look(|stage| stage.bodies.clone());
    let plain = bodies.iter().rfind(|(line, _)| line == "POST /instances").unwrap();
    assert_eq!(plain.1, json!({"instance": {"imageRef": 62, "name": "web--ostler-t-2"}}));
}

#[test]
fn orders_that_cannot_be_are_refused_and_leave_nothing() {
    for manners in all_manners() {
        for (what, spec, class) in [
            ("image", NodeSpec { image_id: "999".into(), ..order() }, "invalid"),
            ("no image", NodeSpec { image_id: "a/b".into(), ..order() }, "invalid"),
            ("size", NodeSpec { size_id: "none".into(), ..order() }, "invalid"),
            ("data", NodeSpec { user_data: Some(b"x".to_vec()), ..order() }, "unsupported"),
            ("keys", NodeSpec { ssh_keys: vec!["k".into()], ..order() }, "unsupported"),
            ("key pair", NodeSpec { key_name: Some("k".into()), ..order() }, "unsupported"),
            ("network", NodeSpec { networks: vec!["n".into()], ..order() }, "unsupported"),
            ("group", NodeSpec { security_groups: vec!["n".into()], ..order() }, "unsupported"),
            ("zone", NodeSpec { zone: Some("z".into()), ..order() }, "unsupported"),
            (
                "disk",
                NodeSpec { block_devices: vec![BlockDevice { volume_id: None, size_gb: 1, device: None }], ..order() },
                "unsupported",
            ),
            ("extra", NodeSpec { extra: r#"{"colour":1}"#.into(), ..order() }, "invalid"),
        ] {
            let play = Play::open(manners.clone());
            let cloud = Play::cloud();
            let error = driver(&cloud).create_node("t-1", spec).unwrap_err();
            assert_eq!(error.class(), class, "{what}: {error}");
            assert_eq!(play.look(|stage| stage.instances.len()), 0, "{what}");
            assert_eq!(cloud.context().state().list("", None, 10).unwrap(), [], "{what}");
            driver(&cloud).create_node("t-1", order()).unwrap_or_else(|error| panic!("after {what}: {error}"));
        }
    }
    Play::open(Manners::of_the_text());
    for token in ["", "T", "a_b", &"x".repeat(65)] {
        assert_eq!(driver(&Play::cloud()).create_node(token, order()).unwrap_err().class(), "invalid");
        assert_eq!(driver(&Play::cloud()).find_node(token).unwrap(), None);
    }
}

#[test]
fn refusals_of_an_order_keep_their_class() {
    for (fault, class) in [
        (Fault::Answer(413, r#"{"overLimit":{"code":413,"message":"no more instances"}}"#), "quota"),
        (Fault::Answer(403, r#"{"forbidden":{"code":403,"message":"not you"}}"#), "forbidden"),
        (Fault::Answer(409, r#"{"buildInProgress":{"code":409,"message":"the image is being saved"}}"#), "conflict"),
        (Fault::AnswerWith(503, ("retry-after", "2"), ""), "throttled"),
        (Fault::Answer(400, r#"{"badRequest":{"code":400,"message":"no"}}"#), "invalid"),
    ] {
        let play = Play::open(Manners::of_the_text());
        let cloud = Play::cloud();
        play.fault("POST /instances", fault);
        assert_eq!(driver(&cloud).create_node("t-1", order()).unwrap_err().class(), class);
        // Nothing was made, and that is known: the next order is free at once.
        assert_eq!(cloud.context().state().list("", None, 10).unwrap(), [], "{class}");
        driver(&cloud).create_node("t-1", order()).unwrap();
    }
}

#[test]
fn a_repeated_order_finds_the_first_one() {
    for manners in all_manners() {
        let play = Play::open(manners);
        let cloud = Play::cloud();
        let first = driver(&cloud).create_node("t-1", order()).unwrap();
        for _ in 0..2 {
            cloud.clear_cache();
            assert_eq!(driver(&cloud).create_node("t-1", order()).unwrap().id, first.id);
        }
        assert_eq!(play.look(|stage| stage.instances.len()), 1);
    }
}

/// Two orders at once: whenever the other one comes in between, there is one instance.
#[test]
fn concurrent_orders_make_one_instance() {
    for manners in all_manners() {
        for at in ["GET /instances", "POST /instances"] {
            let play = Play::open(manners.clone());
            let cloud = Play::cloud();
            let other = cloud.clone();
            let keys = manners.ostler;
            let between = move || {
                if keys {
                    // The key sees to it.
                    driver(&other).create_node("t-1", order()).unwrap();
                    return;
                }
                let error = driver(&other).create_node("t-1", order()).unwrap_err();
                assert_eq!(error.to_string(), "transient: another order with this token is under way");
            };
            play.fault(at, Fault::Before(Box::new(between)));
            let first = driver(&cloud).create_node("t-1", order()).unwrap();
            assert_eq!(driver(&cloud).create_node("t-1", order()).unwrap().id, first.id);
            assert_eq!(play.look(|stage| stage.instances.len()), 1, "{at}");
        }
    }
}

/// Two hosts that know nothing of each other's claims order by one token: the lowest number stays, for both.
#[test]
fn doubles_are_settled_for_the_lowest_number() {
    let play = Play::open(Manners::of_the_text());
    let (one, two) = (Play::cloud(), Play::cloud());
    let other = two.clone();
    play.fault("POST /instances", Fault::Before(Box::new(move || drop(driver(&other).create_node("t-1", order()).unwrap()))));
    let first = driver(&one).create_node("t-1", order()).unwrap();
    assert_eq!(play.look(|stage| stage.instances.len()), 1);
    assert_eq!(first.id, "63", "the other's, which was first");
    assert_eq!(driver(&two).create_node("t-1", order()).unwrap().id, first.id);
    assert!(one.logs().iter().any(|line| line.message.contains("took effect twice")));
    // An instance of another token or without one is not a double.
    play.set(|stage| {
        stage.add_instance("web--ostler-t-2", "running");
        stage.add_instance("web", "running");
    });
    driver(&one).create_node("t-1", order()).unwrap();
    assert_eq!(play.look(|stage| stage.instances.len()), 3);
}

#[test]
fn an_order_without_an_answer_is_not_repeated_too_soon() {
    let play = Play::open(Manners::of_the_text());
    let cloud = Play::cloud();
    play.fault("POST /instances", Fault::Later);
    assert_eq!(driver(&cloud).create_node("t-1", order()).unwrap_err().class(), "transient");
    let error = driver(&cloud).create_node("t-1", order()).unwrap_err();
    assert!(error.message().starts_with("an earlier order with this token may still take effect"), "{error}");
    assert_eq!(play.count("POST /instances"), 1);
    play.catch_up();
    let node = driver(&cloud).find_node("t-1").unwrap().unwrap();
    assert_eq!(node.state, NodeState::Pending, "it is started by whoever looks at it");
    assert_eq!(driver(&cloud).get_node(&node.id).unwrap().state, NodeState::Running);
    // Nothing took effect: when the lease is over it is ordered anew, once.
    play.fault("POST /instances", Fault::Lost);
    assert_eq!(driver(&cloud).create_node("t-2", order()).unwrap_err().class(), "transient");
    cloud.advance(LEASE);
    driver(&cloud).create_node("t-2", order()).unwrap();
    // It takes effect after the lease, even so: the next order that looks settles it.
    play.fault("POST /instances", Fault::Later);
    assert!(driver(&cloud).create_node("t-3", order()).is_err());
    cloud.advance(LEASE);
    let kept = driver(&cloud).create_node("t-3", order()).unwrap();
    play.catch_up();
    assert_eq!(play.look(|stage| stage.instances.len()), 4);
    assert_eq!(driver(&cloud).create_node("t-3", order()).unwrap().id, kept.id);
    assert_eq!(play.look(|stage| stage.instances.len()), 3);
}

#[test]
fn an_ostler_is_asked_again_at_once() {
    let play = Play::open(Manners::of_an_ostler());
    let cloud = Play::cloud();
    play.fault("POST /instances", Fault::Later);
    assert_eq!(driver(&cloud).create_node("t-1", order()).unwrap_err().class(), "transient");
    let node = driver(&cloud).create_node("t-1", order()).unwrap();
    play.catch_up();
    assert_eq!(play.look(|stage| stage.instances.len()), 1);
    // The first request by a key may be under way still.
    play.fault("POST /instances", Fault::Answer(409, r#"{"buildInProgress":{"code":409,"message":"under way"}}"#));
    assert_eq!(driver(&cloud).create_node("t-2", order()).unwrap_err().class(), "transient");
    driver(&cloud).create_node("t-2", order()).unwrap();
    // What is gone is not made again by a key that was used.
    driver(&cloud).destroy_node(&node.id).unwrap();
    let error = driver(&cloud).create_node("t-1", order()).unwrap_err();
    assert!(error.class() == "failed" && error.message().contains("gone again"), "{error}");
}

#[test]
fn a_far_side_with_names_of_its_own_is_refused() {
    let play = Play::open(Manners { own_names: true, ..Manners::of_the_text() });
    let error = driver(&Play::cloud()).create_node("t-1", order()).unwrap_err();
    assert!(error.class() == "unsupported" && error.message().contains("keep the names"), "{error}");
    assert_eq!(play.look(|stage| stage.instances.len()), 0);
}

#[test]
fn nodes_that_are_created_stopped_stay_so() {
    for manners in all_manners() {
        let play = Play::open(manners);
        let cloud = Play::cloud();
        let node = driver(&cloud).create_node("t-1", NodeSpec { start: false, ..order() }).unwrap();
        assert_eq!(node.state, NodeState::Stopped);
        cloud.advance(Duration::from_secs(60));
        assert_eq!(driver(&cloud).get_node(&node.id).unwrap().state, NodeState::Stopped);
        assert_eq!(play.count(START), 0);
        assert_eq!(cloud.context().state().list("", None, 10).unwrap(), []);
    }
}

/// The driver ends after the instance is made, or the start is refused for now: whoever looks at the node goes on.
#[test]
fn a_start_that_did_not_happen_is_made_good() {
    for looks_by in ["id", "token", "list"] {
        for fault in
            [BUSY, Fault::Lost, Fault::Answer(500, ""), Fault::AnswerWith(503, ("retry-after", "1"), ""), Fault::LostAnswer]
        {
            let play = Play::open(Manners { boot_seconds: 3, ..Manners::of_the_text() });
            let cloud = Play::cloud();
            play.fault(START, fault);
            let node = driver(&cloud).create_node("t-1", order()).unwrap();
            assert_eq!(node.state, NodeState::Pending);
            let look = || match looks_by {
                "id" => driver(&cloud).get_node(&node.id).unwrap(),
                "token" => driver(&cloud).find_node("t-1").unwrap().unwrap(),
                _ => driver(&cloud).list_nodes(None).unwrap().items.remove(0),
            };
            assert_eq!(look().state, NodeState::Pending, "not sooner than in two seconds");
            assert_eq!(play.count(START), 1);
            cloud.advance(Duration::from_secs(2));
            assert_eq!(look().state, NodeState::Pending);
            cloud.advance(Duration::from_secs(3));
            assert_eq!(look().state, NodeState::Running);
            assert_eq!(cloud.context().state().list("", None, 10).unwrap(), [], "nothing is owed any more");
        }
    }
}

#[test]
fn a_start_is_not_tried_for_ever() {
    let play = Play::open(Manners::of_the_text());
    let cloud = Play::cloud();
    for _ in 0..200 {
        play.fault(START, BUSY);
    }
    let node = driver(&cloud).create_node("t-1", order()).unwrap();
    assert_eq!(node.state_detail.as_deref(), Some("at far:5555: still being built"));
    for _ in 0..660 {
        cloud.advance(Duration::from_secs(1));
        driver(&cloud).get_node(&node.id).unwrap();
    }
    let node = driver(&cloud).get_node(&node.id).unwrap();
    assert_eq!(node.state, NodeState::Failed);
    let why = "it could not be made as ordered: not started in time: at far:5555: still being built";
    assert_eq!(node.state_detail.as_deref(), Some(why));
    let tries = play.count(START);
    assert!((15..30).contains(&tries), "{tries}");
    // Whoever starts it by hand has a node.
    play.set(|stage| stage.instances[0]["status"] = "running".into());
    assert_eq!(driver(&cloud).get_node(&node.id).unwrap().state, NodeState::Running);
}

#[test]
fn a_start_that_is_refused_for_good_undoes_the_order() {
    for (fault, class) in [
        (Fault::Answer(413, r#"{"overLimit":{"code":413,"message":"no memory"}}"#), "quota"),
        (Fault::Answer(403, r#"{"forbidden":{"code":403,"message":"not you"}}"#), "forbidden"),
    ] {
        let play = Play::open(Manners::of_the_text());
        let cloud = Play::cloud();
        play.fault(START, fault);
        assert_eq!(driver(&cloud).create_node("t-1", order()).unwrap_err().class(), class);
        assert_eq!(play.look(|stage| stage.instances.len()), 0);
        assert_eq!(cloud.context().state().list("", None, 10).unwrap(), []);
    }
    // What cannot be undone is shown as it is.
    let play = Play::open(Manners::of_the_text());
    let cloud = Play::cloud();
    play.fault(START, Fault::Answer(403, r#"{"forbidden":{"code":403,"message":"not you"}}"#));
    play.fault("DELETE", Fault::Lost);
    let node = driver(&cloud).create_node("t-1", order()).unwrap();
    assert_eq!((node.state, play.unused()), (NodeState::Failed, 0));
}

#[test]
fn whoever_stops_a_node_is_not_overruled() {
    for boot_seconds in [0, 30] {
        let play = Play::open(Manners { boot_seconds, ..Manners::of_the_text() });
        let cloud = Play::cloud();
        play.fault(START, BUSY);
        let node = driver(&cloud).create_node("t-1", order()).unwrap();
        if boot_seconds > 0 {
            cloud.advance(Duration::from_secs(2));
            assert_eq!(driver(&cloud).get_node(&node.id).unwrap().state, NodeState::Pending);
        }
        driver(&cloud).act(&node.id, Action::Stop(Force::Hard)).unwrap();
        cloud.advance(Duration::from_secs(60));
        assert_eq!(driver(&cloud).get_node(&node.id).unwrap().state, NodeState::Stopped);
        assert_eq!(play.look(|stage| stage.instances[0]["status"].clone()), "stopped");
    }
}

#[test]
fn ports_are_forwarded_where_a_public_address_is_wanted() {
    for manners in all_manners() {
        let play = Play::open(manners);
        let cloud = Play::cloud().config("forward_ports", "[22, 443]");
        driver(&cloud).create_node("t-0", order()).unwrap();
        assert_eq!(play.look(|stage| stage.rules.len()), 0, "nobody wanted it");
        let spec = NodeSpec { public_address: true, ..order() };
        // The answer to the second rule is lost: it is found, not made twice.
        play.fault("POST /fwrules", Fault::Slow(Duration::ZERO));
        play.fault("POST /fwrules", Fault::LostAnswer);
        let node = driver(&cloud).create_node("t-1", spec).unwrap();
        assert_eq!(node.state, NodeState::Pending);
        cloud.advance(Duration::from_secs(60));
        driver(&cloud).get_node(&node.id).unwrap();
        let node = driver(&cloud).get_node(&node.id).unwrap();
        assert_eq!(node.state, NodeState::Running);
        assert_eq!(play.look(|stage| stage.rules.len()), 2);
        let extra = node.extra().unwrap();
        assert_eq!(extra["forwards"], json!([{"port_to": 22, "port_from": 7000}, {"port_to": 443, "port_from": 7001}]));
        assert_eq!(extra["forward_host"], "far");
        play.seen();
        driver(&cloud).get_node(&node.id).unwrap();
        assert_eq!(play.seen().len(), 1, "rules that were made are not asked for again");
        let listed = driver(&cloud).list_nodes(None).unwrap().items;
        assert_eq!(listed.iter().find(|other| other.id == node.id).unwrap().extra().unwrap()["forwards"], extra["forwards"]);
    }
    // Without ports the far side decides.
    let play = Play::open(Manners::of_the_text());
    driver(&Play::cloud()).create_node("t-1", NodeSpec { public_address: true, ..order() }).unwrap();
    assert_eq!(play.look(|stage| stage.rules.len()), 0);
}

/// The host's store does not answer for a moment, at any point of an order.
#[test]
fn an_outage_of_the_state_makes_no_second_instance() {
    for manners in all_manners() {
        for at in ["GET /instances", "GET /", "POST /instances", "GET /instances/", "POST /instances/", "POST /fwrules"] {
            for operations in 1..4 {
                let play = Play::open(manners.clone());
                let cloud = Play::cloud().config("forward_ports", "[22]");
                let spec = NodeSpec { public_address: true, ..order() };
                let other = cloud.clone();
                play.fault(at, Fault::Before(Box::new(move || other.state_outage(operations))));
                let told = format!("{at}, {operations} operations, {manners:?}");
                let mut made = None;
                for _ in 0..20 {
                    match driver(&cloud).create_node("t-1", spec.clone()) {
                        Ok(node) => made = Some(node.id),
                        Err(error) => assert_eq!(error.class(), "transient", "{told}: {error}"),
                    }
                    cloud.advance(Duration::from_secs(10));
                }
                let node = driver(&cloud).get_node(&made.expect(&told)).expect(&told);
                assert_eq!((node.state, play.unused()), (NodeState::Running, 0), "{told}");
                assert_eq!(play.look(|stage| (stage.instances.len(), stage.rules.len())), (1, 1), "{told}");
            }
        }
    }
}

#[test]
fn records_of_orders_that_came_to_nothing_are_swept() {
    let play = Play::open(Manners::of_the_text());
    let cloud = Play::cloud();
    play.fault("POST /instances", Fault::Lost);
    assert!(driver(&cloud).create_node("t-1", order()).is_err());
    driver(&cloud).list_nodes(None).unwrap();
    let records = || cloud.context().state().list("node/", None, 10).unwrap().len();
    assert_eq!(records(), 1, "it may take effect late");
    cloud.advance(Duration::from_secs(3600));
    driver(&cloud).list_nodes(None).unwrap();
    assert_eq!(records(), 0);
    assert_eq!(IMAGE, "62");
}
