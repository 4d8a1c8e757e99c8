//! What the account may have: limits told, quotas used up, addresses used up.

use ostler_driver::{Driver, NodeSpec, NodeState};
use serde_json::{Value, json};

use super::stack::Stack;
use super::{destroy, driver, gone, order, wait, wait_for};
use crate::auth::Service;

#[test]
fn limits_are_what_openstacksdk_sees() {
    let Some(stack) = Stack::open() else { return };
    let cloud = stack.cloud();
    let spec = NodeSpec { public_address: true, ..order(&cloud, "live-9") };
    let node = driver(&cloud).create_node("live-9", spec).unwrap();
    wait(&cloud, &node.id, &NodeState::Running);
    let capacity = driver(&cloud).get_capacity().unwrap();
    let told = |name: &str| capacity.quotas.iter().find(|quota| quota.name == name).unwrap().amount;
    for (name, theirs) in stack.report()["limits"].as_object().unwrap() {
        assert_eq!(json!([told(name).total, told(name).used]), *theirs, "{name}");
    }
    assert_eq!((capacity.nodes.used, capacity.vcpus.used, capacity.ram_mb.used), (Some(1), Some(1), Some(64)));
    assert_eq!((told("floating-ips").total, told("floating-ips").used), (Some(50), Some(1)));
    for name in ["networks", "ports", "routers", "security-groups", "key-pairs", "server-groups"] {
        assert!(told(name).total.is_some(), "{name}");
    }
    // Measurements are for administrators here; what does not exist has none.
    let ids = [node.id.clone(), "11111111-0000-4000-8000-000000000001".to_owned()];
    assert_eq!(driver(&cloud).get_samples(&ids).unwrap_err().class(), "forbidden");
    assert_eq!(driver(&cloud).get_samples(&ids[1..]).unwrap(), []);
    let samples = driver(&stack.admins_cloud()).get_samples(&ids).unwrap();
    assert_eq!(samples.iter().map(|sample| &sample.node_id).collect::<Vec<_>>(), [&node.id]);
    destroy(&cloud, &[node.id]);
    let capacity = driver(&cloud).get_capacity().unwrap();
    assert_eq!((capacity.nodes.used, capacity.ram_mb.used), (Some(0), Some(0)));
    stack.assert_unchanged();
}

#[test]
fn a_quota_that_is_used_up_refuses_an_order() {
    let Some(stack) = Stack::open() else { return };
    let cloud = stack.cloud();
    let first = driver(&cloud).create_node("live-10", order(&cloud, "live-10")).unwrap();
    wait(&cloud, &first.id, &NodeState::Running);
    let ports = stack.report()["ports"].as_object().unwrap().len();
    let plain = order(&cloud, "live-10");
    let public = NodeSpec { public_address: true, ..plain.clone() };
    let labels = (0..200).map(|at| (format!("k{at}"), "v".to_owned())).collect();
    let many = NodeSpec { metadata: labels, ..plain.clone() };
    for (what, service, values, spec) in [
        ("instances", Service::Compute, json!({"instances": 1}), &plain),
        ("cores", Service::Compute, json!({"cores": 1}), &plain),
        ("ram", Service::Compute, json!({"ram": 100}), &plain),
        ("ports", Service::Network, json!({"port": ports}), &plain),
        ("floating IPs", Service::Network, json!({"floatingip": 0}), &public),
        ("metadata", Service::Compute, json!({"cores": 10}), &many),
    ] {
        let quota = stack.quota(service, &values);
        let error = driver(&cloud).create_node("live-10-1", spec.clone()).unwrap_err();
        assert_eq!(error.class(), "quota", "{what}: {error}");
        assert_eq!(driver(&cloud).find_node("live-10-1").unwrap(), None, "{what}");
        drop(quota);
    }
    // Nothing stands in the way afterwards.
    let second = driver(&cloud).create_node("live-10-1", plain).unwrap();
    destroy(&cloud, &[first.id, second.id]);
    stack.assert_unchanged();
}

/// An address that was to be had when the node was ordered, and is not when it is up.
#[test]
fn an_address_that_cannot_be_had_any_more_is_the_end_of_a_node() {
    let Some(stack) = Stack::open() else { return };
    let admin = Stack::api(&stack.admins_cloud());
    // An external network whose only address is taken.
    let make = |path: &str, body: Value| -> Value { admin.post(Service::Network, path).json_body(&body).json().unwrap() };
    let network = make("/networks", json!({"network": {"name": "small", "router:external": true}}));
    let network = network["network"]["id"].as_str().unwrap().to_owned();
    let subnet = json!({"subnet": {"network_id": network, "ip_version": 4, "cidr": "198.51.100.0/28", "enable_dhcp": false,
        "allocation_pools": [{"start": "198.51.100.10", "end": "198.51.100.10"}]}});
    make("/subnets", subnet);
    let taken = make("/floatingips", json!({"floatingip": {"floating_network_id": network}}));

    let rest = stack.cloud().config("floating_network", "public");
    let full = stack.cloud().config("floating_network", "small");
    let spec = |cloud| NodeSpec { public_address: true, networks: vec!["private".into()], ..order(cloud, "live-11") };
    // Of a name that two networks have, or none, no address is ordered.
    assert_eq!(driver(&stack.cloud()).create_node("live-11", spec(&rest)).unwrap_err().class(), "invalid");
    let none = stack.cloud().config("floating_network", "none-such");
    assert_eq!(driver(&none).create_node("live-11", spec(&rest)).unwrap_err().class(), "invalid");

    let first = driver(&rest).create_node("live-11-0", spec(&rest)).unwrap();
    let second = driver(&full).create_node("live-11-1", spec(&full)).unwrap();
    // The taken one counts.
    let quota = stack.quota(Service::Network, &json!({"floatingip": 1}));
    let failed = wait(&rest, &first.id, &NodeState::Failed);
    assert!(failed.state_detail.as_deref().unwrap().contains("uota exceeded"), "{failed:?}");
    drop(quota);
    // With quota again it is given the address after all.
    wait_for(&rest, &first.id, "running", |node| node.state == NodeState::Running);
    // No router leads from the node to this network; with one its addresses would be used up.
    let failed = wait(&full, &second.id, &NodeState::Failed);
    assert!(failed.state_detail.as_deref().unwrap().starts_with("no public address: "), "{failed:?}");
    let more = json!({"floatingip": {"floating_network_id": network}});
    let error = admin.post(Service::Network, "/floatingips").json_body(&more).send().err().unwrap();
    assert_eq!(error.class(), "capacity", "{error}");
    destroy(&rest, &[first.id]);
    driver(&full).destroy_node(&second.id).unwrap();
    gone(&full, &second.id);
    let taken = taken["floatingip"]["id"].as_str().unwrap();
    admin.delete(Service::Network, format!("/floatingips/{taken}")).send().unwrap();
    admin.delete(Service::Network, format!("/networks/{network}")).send().unwrap();
    stack.assert_unchanged();
}
