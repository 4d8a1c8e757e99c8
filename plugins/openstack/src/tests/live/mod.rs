//! The driver against a real OpenStack: `tests/setup/openstack.sh start DIR`, then `OSTLER_TEST_OPENSTACK=DIR/env`. Without that these
//! tests do nothing.

mod faults;
mod images;
mod lists;
mod lost;
mod nodes;
mod quotas;
mod sessions;
mod stack;
mod wire;

use std::time::{Duration, Instant};

use ostler_driver::testing::{Cloud, conformance};
use ostler_driver::{Driver, Node, NodeSpec, NodeState};

use crate::driver::OpenStack;
use stack::Stack;

/// After so long something will not happen any more. Nova builds about a server a second on a busy machine.
const DEADLINE: Duration = Duration::from_secs(600);

fn driver(cloud: &Cloud) -> OpenStack {
    cloud.driver().unwrap()
}

/// Between two looks at something.
fn nap() {
    std::thread::sleep(Duration::from_millis(200));
}

/// Polls a node as the host does, until it is as wanted. The cloud's clock goes with the polls.
fn wait_for(cloud: &Cloud, id: &str, what: &str, wanted: impl Fn(&Node) -> bool) -> Node {
    let end = Instant::now() + DEADLINE;
    loop {
        let node = driver(cloud).get_node(id).unwrap();
        if wanted(&node) {
            return node;
        }
        assert!(Instant::now() < end, "not {what} but {:?} {:?}", node.state, node.state_detail);
        nap();
        cloud.advance(Duration::from_millis(200));
    }
}

fn wait(cloud: &Cloud, id: &str, wanted: &NodeState) -> Node {
    let settled = |node: &Node| {
        assert!(node.state != NodeState::Failed || *wanted == NodeState::Failed, "{:?}", node.state_detail);
        node.state == *wanted
    };
    wait_for(cloud, id, &format!("{wanted:?}"), settled)
}

/// Destroys nodes and waits until they do not exist any more.
fn destroy(cloud: &Cloud, ids: &[String]) {
    for id in ids {
        driver(cloud).destroy_node(id).unwrap_or_else(|error| panic!("{id}: {error}"));
    }
    for id in ids {
        gone(cloud, id);
    }
}

fn gone(cloud: &Cloud, id: &str) {
    let end = Instant::now() + DEADLINE;
    loop {
        match driver(cloud).get_node(id) {
            Err(error) => break assert_eq!(error.class(), "not-found", "{error}"),
            Ok(node) => assert!(Instant::now() < end, "{id} stays: {node:?}"),
        }
        nap();
    }
}

/// An order for the smallest server there is.
fn order(cloud: &Cloud, name: &str) -> NodeSpec {
    let image = driver(cloud).list_images(None).unwrap().items.into_iter().find(|image| image.name == "cirros-fake").unwrap();
    NodeSpec::new(name, image.id, "42")
}

#[test]
fn it_keeps_the_contract() {
    let Some(stack) = Stack::open() else { return };
    // Who administrates sees diagnostics, too, and all networks of all projects.
    let cloud = stack.admins_cloud().config("networks", r#"["private"]"#);
    // Glance looks up the host of an image before it takes the order.
    let options = conformance::Options::default().image_url(wire::origin(&[0; 1024])).pause(Duration::from_millis(300));
    conformance::check_with::<OpenStack>(&cloud, &options).unwrap();
    stack.assert_unchanged();
}
