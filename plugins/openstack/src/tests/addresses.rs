//! Public addresses: from the order to the release.

use std::time::Duration;

use ostler_driver::{Driver, Node, NodeSpec, NodeState, Reach};
use serde_json::json;

use super::fake::{Fault, Play, driver};
use super::order;

const FLOATING: &str = "POST :9696/v2.0/floatingips";

fn public() -> NodeSpec {
    NodeSpec { public_address: true, ..order() }
}

fn public_ips(node: &Node) -> Vec<String> {
    node.addresses.iter().filter(|address| address.reach == Reach::Public).map(|address| address.ip.clone()).collect()
}

#[test]
fn a_node_gets_its_address_when_it_is_up() {
    let play = Play::open();
    let cloud = Play::cloud();
    let node = driver(&cloud).create_node("t-1", public()).unwrap();
    assert_eq!(play.look(|stage| stage.floating.len()), 0, "nothing is allocated for a server that may not be");
    assert_eq!(driver(&cloud).get_node(&node.id).unwrap().state, NodeState::Pending);
    cloud.advance(Duration::from_secs(6));
    // A list changes nothing, and does not say that the node is ready.
    let listed = &driver(&cloud).list_nodes(None).unwrap().items[0];
    assert_eq!((&listed.state, play.count(FLOATING)), (&NodeState::Pending, 0));
    let up = driver(&cloud).get_node(&node.id).unwrap();
    assert_eq!((up.state.clone(), public_ips(&up)), (NodeState::Running, vec!["203.0.113.11".to_owned()]));
    let body = play.body(FLOATING);
    let expected = json!({"floatingip": {
        "floating_network_id": "11111111-0000-4000-8000-000000000002", "port_id": format!("port-{}", node.id),
        "fixed_ip_address": "10.0.0.7", "description": format!("ostler:t-1:{}", node.id),
    }});
    assert_eq!(body, expected, "the port that the external network does not reach was tried first");
    // It is known from now on, without another question.
    play.seen();
    let again = driver(&cloud).get_node(&node.id).unwrap();
    assert_eq!((public_ips(&again), play.seen().len()), (public_ips(&up), 1));
    assert_eq!(public_ips(&driver(&cloud).list_nodes(None).unwrap().items[0]), public_ips(&up));
    driver(&cloud).destroy_node(&node.id).unwrap();
    assert_eq!(play.look(|stage| stage.floating.len()), 0);
}

#[test]
fn a_crash_anywhere_leaves_one_address_that_is_released() {
    let metadata = "POST :8774/v2.1/servers/3";
    for (what, request, fault) in [
        ("before the allocation", FLOATING, Fault::Lost),
        ("after the allocation", FLOATING, Fault::LostAnswer),
        ("before it is noted", metadata, Fault::Lost),
        ("after it is noted", metadata, Fault::LostAnswer),
    ] {
        let play = Play::open();
        let cloud = Play::cloud();
        let node = driver(&cloud).create_node("t-1", public()).unwrap();
        cloud.advance(Duration::from_secs(6));
        if request == FLOATING {
            // The first try is for a port that cannot have one.
            play.fault(FLOATING, Fault::Before(Box::new(|| {})));
        }
        play.fault(request, fault);
        assert_eq!(driver(&cloud).get_node(&node.id).unwrap_err().class(), "transient", "{what}");
        let up = driver(&cloud).get_node(&node.id).unwrap();
        assert_eq!((up.state, play.look(|stage| stage.floating.len())), (NodeState::Running, 1), "{what}");
        driver(&cloud).destroy_node(&node.id).unwrap();
        assert_eq!(play.look(|stage| stage.floating.len()), 0, "{what}");
    }
}

#[test]
fn two_polls_at_once_attach_one_address() {
    let play = Play::open();
    let cloud = Play::cloud();
    let node = driver(&cloud).create_node("t-1", public()).unwrap();
    cloud.advance(Duration::from_secs(6));
    let (other, id) = (cloud.clone(), node.id.clone());
    play.fault(FLOATING, Fault::Before(Box::new(move || drop(driver(&other).get_node(&id).unwrap()))));
    let up = driver(&cloud).get_node(&node.id).unwrap();
    assert_eq!((up.state, play.look(|stage| stage.floating.len())), (NodeState::Running, 1));
}

#[test]
fn an_address_that_was_taken_off_before_it_was_noted_is_put_back() {
    let play = Play::open();
    let cloud = Play::cloud();
    let node = driver(&cloud).create_node("t-1", public()).unwrap();
    cloud.advance(Duration::from_secs(6));
    play.set(|stage| {
        stage.floating.push(json!({"id": "f1", "floating_ip_address": "203.0.113.99", "port_id": null,
            "description": format!("ostler:t-1:{}", node.id)}));
    });
    assert_eq!(public_ips(&driver(&cloud).get_node(&node.id).unwrap()), ["203.0.113.99"]);
    assert_eq!(play.look(|stage| stage.floating.len()), 1);
}

#[test]
fn an_address_that_cannot_be_had_fails_the_order_early_or_the_node() {
    let two = |stage: &mut super::fake::Stage| stage.networks.push(json!({"id": "x", "name": "other", "router:external": true}));
    let none = |stage: &mut super::fake::Stage| drop(stage.networks.pop());
    let full = |stage: &mut super::fake::Stage| stage.floating_limit = 0;
    type Change = Box<dyn Fn(&mut super::fake::Stage)>;
    let changes: [(Change, &str, &str); 3] = [
        (Box::new(two), "invalid", "setting `floating_network` is missing: there are public, other"),
        (Box::new(none), "unsupported", "no external network"),
        (Box::new(full), "quota", "0 of 0 floating IPs"),
    ];
    for (change, class, part) in changes {
        let play = Play::open();
        let cloud = Play::cloud();
        play.set(&change);
        let error = driver(&cloud).create_node("t-1", public()).unwrap_err();
        assert!(error.class() == class && error.message().contains(part), "{error}");
        assert_eq!(play.look(|stage| stage.servers.len()), 0);

        let play = Play::open();
        let node = driver(&cloud).create_node("t-1", public()).unwrap();
        cloud.advance(Duration::from_secs(6));
        play.set(&change);
        let node = driver(&cloud).get_node(&node.id).unwrap();
        assert_eq!(node.state, NodeState::Failed, "{class}");
        assert!(node.state_detail.unwrap().starts_with("no public address: "));
    }
    // What passes is an error of the call and not the end of the node.
    let play = Play::open();
    let cloud = Play::cloud();
    let node = driver(&cloud).create_node("t-1", public()).unwrap();
    cloud.advance(Duration::from_secs(6));
    play.fault("GET :9696/v2.0/ports", Fault::Answer(503, ""));
    assert_eq!(driver(&cloud).get_node(&node.id).unwrap_err().class(), "transient");
    assert_eq!(driver(&cloud).get_node(&node.id).unwrap().state, NodeState::Running);
}

#[test]
fn the_network_can_be_set_or_be_none() {
    let play = Play::open();
    play.set(|stage| stage.networks.push(json!({"id": "x", "name": "other", "router:external": true})));
    let cloud = Play::cloud().config("floating_network", "other");
    let node = driver(&cloud).create_node("t-1", public()).unwrap();
    cloud.advance(Duration::from_secs(6));
    driver(&cloud).get_node(&node.id).unwrap();
    assert_eq!(play.body(FLOATING)["floatingip"]["floating_network_id"], "x");

    let play = Play::open();
    let cloud = Play::cloud().config("floating_network", "none");
    let node = driver(&cloud).create_node("t-1", public()).unwrap();
    cloud.advance(Duration::from_secs(6));
    assert_eq!(driver(&cloud).get_node(&node.id).unwrap().state, NodeState::Running);
    assert!(!play.seen().iter().any(|request| request.contains(":9696")));
}

#[test]
fn what_is_left_of_a_server_that_somebody_else_deleted_is_released() {
    let left = |play: &Play| play.look(|stage| stage.floating.len());
    let begin = || {
        let play = Play::open();
        let cloud = Play::cloud();
        let node = driver(&cloud).create_node("t-1", public()).unwrap();
        cloud.advance(Duration::from_secs(6));
        driver(&cloud).get_node(&node.id).unwrap();
        play.set(|stage| {
            stage
                .floating
                .push(json!({"id": "theirs", "floating_ip_address": "203.0.113.5", "port_id": null, "description": "mine"}));
            stage
                .floating
                .push(json!({"id": "t-2", "floating_ip_address": "203.0.113.6", "port_id": null, "description": "ostler:t-2:s"}));
            stage.servers.clear();
        });
        assert_eq!(left(&play), 3);
        (play, cloud, node)
    };
    // Whether the host asks by identifier or by token.
    let (play, cloud, node) = begin();
    assert_eq!(driver(&cloud).destroy_node(&node.id).unwrap_err().class(), "not-found");
    assert_eq!(left(&play), 2);
    let (play, cloud, _) = begin();
    play.fault("DELETE :9696", Fault::Answer(503, ""));
    assert_eq!(driver(&cloud).find_node("t-1").unwrap_err().class(), "transient", "it must be asked again");
    assert_eq!(driver(&cloud).find_node("t-1").unwrap(), None);
    assert_eq!(left(&play), 2);
}

#[test]
fn a_server_without_its_tag_keeps_its_address_and_is_found() {
    let play = Play::open();
    let cloud = Play::cloud();
    let node = driver(&cloud).create_node("t-1", public()).unwrap();
    cloud.advance(Duration::from_secs(6));
    driver(&cloud).get_node(&node.id).unwrap();
    play.set(|stage| stage.servers[0].fields["tags"] = json!([]));
    assert_eq!(driver(&cloud).find_node("t-1").unwrap().unwrap().id, node.id);
    assert_eq!(play.look(|stage| stage.floating.len()), 1);
}

#[test]
fn an_address_attached_while_the_node_is_destroyed_is_released_too() {
    let play = Play::open();
    let cloud = Play::cloud();
    let node = driver(&cloud).create_node("t-1", public()).unwrap();
    cloud.advance(Duration::from_secs(6));
    let (other, id) = (cloud.clone(), node.id.clone());
    play.fault("DELETE :8774/v2.1/servers", Fault::Before(Box::new(move || drop(driver(&other).get_node(&id).unwrap()))));
    driver(&cloud).destroy_node(&node.id).unwrap();
    assert_eq!(play.look(|stage| stage.floating.len()), 0);
}

/// Neutron says so with 400 where the network is external. Somebody may give an address back.
#[test]
fn a_pool_that_is_used_up_is_the_end_of_a_node_until_it_is_not() {
    let play = Play::open();
    let cloud = Play::cloud();
    let node = driver(&cloud).create_node("t-1", public()).unwrap();
    cloud.advance(Duration::from_secs(6));
    let exhausted = r#"{"NeutronError":{"type":"ExternalIpAddressExhausted","message":"Unable to find any IP address on external network n.","detail":""}}"#;
    play.fault(FLOATING, Fault::Answer(400, exhausted));
    let failed = driver(&cloud).get_node(&node.id).unwrap();
    assert_eq!(failed.state, NodeState::Failed);
    assert!(failed.state_detail.unwrap().contains("Unable to find any IP address on external network n."));
    assert_eq!(driver(&cloud).get_node(&node.id).unwrap().state, NodeState::Running);
}

/// While Neutron is down Nova shows no server: it asks for the security groups.
#[test]
fn a_server_that_nova_cannot_show_is_left_as_it_is() {
    let play = Play::open();
    let cloud = Play::cloud();
    let node = driver(&cloud).create_node("t-1", public()).unwrap();
    cloud.advance(Duration::from_secs(6));
    driver(&cloud).get_node(&node.id).unwrap();
    let broken = r#"{"computeFault":{"code":500,"message":"Unexpected API Error."}}"#;
    play.fault("GET :8774/v2.1/servers/3", Fault::Answer(500, broken));
    assert_eq!(driver(&cloud).destroy_node(&node.id).unwrap_err().class(), "transient");
    assert_eq!(play.look(|stage| (stage.floating.len(), stage.servers.len())), (1, 1));
    driver(&cloud).destroy_node(&node.id).unwrap();
    assert_eq!(play.look(|stage| stage.floating.len()), 0);
}
