//! Services that are down, or go down in the middle.

use std::time::Instant;

use ostler_driver::testing::Cloud;
use ostler_driver::{Action, Driver, Error, Force, Node, NodeSpec, NodeState, Result};

use super::stack::Stack;
use super::{DEADLINE, destroy, driver, gone, nap, order, wait, wait_for};
use crate::driver::OpenStack;

/// Repeats what is transient, as the host does. The cloud's clock goes on, so that claims end.
fn persist<T>(cloud: &Cloud, what: &str, work: impl Fn(&OpenStack) -> Result<T>) -> Result<T> {
    let end = Instant::now() + DEADLINE;
    loop {
        match work(&driver(cloud)) {
            Err(error @ Error::Transient(_)) => assert!(Instant::now() < end, "{what}: {error}"),
            result => return result,
        }
        nap();
        cloud.advance(std::time::Duration::from_secs(1));
    }
}

/// The last step of a build, which the fakes make as long as they are told.
fn is_spawning(node: &Node) -> bool {
    assert_eq!(node.state, NodeState::Pending, "the build is over");
    node.state_detail.as_deref() == Some("spawning")
}

fn assert_class<T>(result: Result<T>, class: &str, what: &str) {
    match result {
        Ok(_) => panic!("{what}: success instead of {class}"),
        Err(error) => assert_eq!(error.class(), class, "{what}: {error}"),
    }
}

#[test]
fn nova_dies_in_a_build_and_comes_back() {
    let Some(stack) = Stack::open() else { return };
    let cloud = stack.cloud();
    let up = driver(&cloud).create_node("fault-0", NodeSpec { public_address: true, ..order(&cloud, "fault") }).unwrap();
    let up = wait(&cloud, &up.id, &NodeState::Running);
    let metadata = vec![("fake_spawn_seconds".to_owned(), "60".to_owned())];
    let spec = NodeSpec { metadata, public_address: true, ..order(&cloud, "fault") };
    let building = driver(&cloud).create_node("fault-1", spec.clone()).unwrap();
    wait_for(&cloud, &building.id, "spawning", is_spawning);
    stack.kill(&["nova"]);
    assert_class(driver(&cloud).get_node(&up.id), "transient", "get");
    assert_class(driver(&cloud).list_nodes(None), "transient", "list");
    assert_class(driver(&cloud).list_sizes(None), "transient", "sizes");
    assert_class(driver(&cloud).find_node("fault-1"), "transient", "find");
    assert_class(driver(&cloud).create_node("fault-2", spec.clone()), "transient", "create");
    assert_class(driver(&cloud).act(&up.id, Action::Stop(Force::Soft)), "transient", "act");
    assert_class(driver(&cloud).destroy_node(&up.id), "transient", "destroy");
    assert_class(driver(&cloud).get_capacity(), "transient", "capacity");
    assert_class(driver(&cloud).check(), "transient", "check");
    assert!(!driver(&cloud).list_images(None).unwrap().items.is_empty(), "Glance is there");
    stack.start(&["nova"], None);
    // What ran runs, with its address; what was being built failed, and says so; the order that was refused is free.
    let again = persist(&cloud, "get", |driver| driver.get_node(&up.id)).unwrap();
    let ips = |node: &Node| node.addresses.iter().map(|address| address.ip.clone()).collect::<Vec<_>>();
    assert_eq!((&again.state, ips(&again)), (&NodeState::Running, ips(&up)));
    driver(&cloud).act(&up.id, Action::Stop(Force::Hard)).unwrap();
    wait(&cloud, &up.id, &NodeState::Stopped);
    wait(&cloud, &building.id, &NodeState::Failed);
    let plain = NodeSpec { public_address: false, ..order(&cloud, "fault") };
    let third = persist(&cloud, "create", |driver| driver.create_node("fault-2", plain.clone())).unwrap();
    wait(&cloud, &third.id, &NodeState::Running);
    destroy(&cloud, &[up.id, building.id, third.id]);
    stack.assert_unchanged();
}

#[test]
fn keystone_is_away_for_a_while() {
    let Some(stack) = Stack::open() else { return };
    let cloud = stack.cloud();
    let spec = order(&cloud, "fault");
    driver(&cloud).list_sizes(None).unwrap();
    stack.kill(&["keystone"]);
    // Who has no token gets none, and that is not for ever.
    assert_class(driver(&stack.cloud()).list_sizes(None), "transient", "without a token");
    assert_class(driver(&cloud).check(), "transient", "check");
    // Services that have just seen the token believe it, and all else that they cannot ask Keystone passes, too.
    match driver(&cloud).create_node("fault-3", spec.clone()) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.class(), "transient", "{error}"),
    }
    stack.start(&["keystone"], None);
    let node = persist(&cloud, "create", |driver| driver.create_node("fault-3", spec.clone())).unwrap();
    let end = wait_for(&cloud, &node.id, "settled", |node| [NodeState::Running, NodeState::Failed].contains(&node.state));
    assert!(end.token.is_some(), "{end:?}");
    driver(&cloud).check().unwrap();
    destroy(&cloud, &[node.id]);
    stack.assert_unchanged();
}

#[test]
fn neutron_is_away_for_a_while() {
    let Some(stack) = Stack::open() else { return };
    let cloud = stack.cloud();
    let spec = NodeSpec { networks: vec!["private".into()], public_address: true, ..order(&cloud, "fault") };
    let plain = order(&cloud, "fault");
    let with_address = driver(&cloud).create_node("fault-4", spec.clone()).unwrap();
    wait(&cloud, &with_address.id, &NodeState::Running);
    let without = driver(&cloud).create_node("fault-5", plain.clone()).unwrap();
    wait(&cloud, &without.id, &NodeState::Running);
    // This build ends when Neutron is away: well or badly, as Nova needs it by then or not.
    let metadata = vec![("fake_spawn_seconds".to_owned(), "15".to_owned())];
    let waiting = driver(&cloud).create_node("fault-6", NodeSpec { metadata, ..spec.clone() }).unwrap();
    wait_for(&cloud, &waiting.id, "spawning", is_spawning);
    stack.kill(&["neutron"]);
    assert_class(driver(&cloud).create_node("fault-7", spec.clone()), "transient", "create by the network's name");
    assert_class(driver(&cloud).create_node("fault-8", plain.clone()), "transient", "create, and Nova asks");
    assert_class(driver(&cloud).destroy_node(&with_address.id), "transient", "destroy with an address");
    assert_class(driver(&cloud).find_node("fault-9"), "transient", "find what may have an address");
    assert_class(driver(&cloud).check(), "transient", "check");
    assert_class(driver(&cloud).get_capacity(), "transient", "capacity");
    // Nova asks Neutron for the security groups of a server that it shows.
    assert_class(driver(&cloud).get_node(&with_address.id), "transient", "get");
    assert_class(driver(&cloud).list_nodes(None), "transient", "list");
    // Nova takes this order and cannot fulfil it: the host sees that the node stays, and repeats it.
    match driver(&cloud).destroy_node(&without.id) {
        Ok(()) => {}
        Err(error) => assert_eq!(error.class(), "transient", "{error}"),
    }
    stack.start(&["neutron"], None);
    wait_for(&cloud, &waiting.id, "settled", |node| [NodeState::Running, NodeState::Failed].contains(&node.state));
    let made = persist(&cloud, "create", |driver| driver.create_node("fault-8", plain.clone())).unwrap();
    wait(&cloud, &made.id, &NodeState::Running);
    destroy(&cloud, &[with_address.id, waiting.id, made.id]);
    match persist(&cloud, "destroy", |driver| driver.destroy_node(&without.id)) {
        Ok(()) => gone(&cloud, &without.id),
        Err(error) => assert_eq!(error.class(), "not-found", "{error}"),
    }
    stack.assert_unchanged();
}

#[test]
fn glance_and_placement_are_away_for_a_while() {
    let Some(stack) = Stack::open() else { return };
    let cloud = stack.cloud();
    let spec = order(&cloud, "fault");
    stack.kill(&["glance"]);
    assert_class(driver(&cloud).list_images(None), "transient", "images");
    assert_class(driver(&cloud).get_image(&spec.image_id), "transient", "image");
    assert_class(driver(&cloud).create_node("fault-10", spec.clone()), "transient", "create, and Nova asks for the image");
    stack.start(&["glance"], None);
    let node = persist(&cloud, "create", |driver| driver.create_node("fault-10", spec.clone())).unwrap();
    wait(&cloud, &node.id, &NodeState::Running);
    // Without Placement Nova finds no host, after it has taken the order.
    stack.kill(&["placement"]);
    let homeless = driver(&cloud).create_node("fault-11", spec.clone()).unwrap();
    wait(&cloud, &homeless.id, &NodeState::Failed);
    stack.start(&["placement"], None);
    destroy(&cloud, &[node.id, homeless.id]);
    stack.assert_unchanged();
}
