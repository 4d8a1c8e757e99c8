//! The driver against a hypervisor in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub(crate) mod fake;

use fake::{Fake, GIB};
use ostler_driver::hypervisor_types::{DomainState, Lease, VolumeRef, VolumeStatus};
use ostler_driver::testing::{Cloud, conformance};
use ostler_driver::{
    Action, BlockDevice, Driver, Error, Extra, Force, ImageSource, ImageSpec, ImageStatus, Node, NodeSpec, NodeState, Reach,
    Result,
};
use serde_json::json;

use crate::driver::Libvirt;
use crate::identity;

/// A cloud with a hypervisor.
fn lab() -> (Cloud, Fake) {
    lab_with(&[])
}

fn lab_with(entries: &[(&str, &str)]) -> (Cloud, Fake) {
    let fake = Fake::new();
    let cloud = Cloud::new("lab").hypervisor(fake.clone());
    (entries.iter().fold(cloud, |cloud, (key, value)| cloud.config(key, value)), fake)
}

fn driver(cloud: &Cloud) -> Libvirt {
    cloud.driver().unwrap()
}

fn order() -> NodeSpec {
    NodeSpec::new("web <1>", "tiny.qcow2", "small")
}

fn class(result: Result<Node>) -> String {
    result.unwrap_err().class().to_owned()
}

#[test]
fn it_keeps_the_contract() {
    for entries in [&[][..], &[("disks", "copied")], &[("page_size", "1")], &[("public_networks", "[\"lan\"]")]] {
        let (cloud, fake) = lab_with(entries);
        conformance::check::<Libvirt>(&cloud).unwrap_or_else(|violations| panic!("{entries:?}: {violations}"));
        assert!(fake.disks().is_empty() && fake.stage().domains.is_empty(), "{entries:?}: {:?}", fake.disks());
    }
}

#[test]
fn an_order_becomes_disks_and_a_domain() {
    let (cloud, fake) = lab();
    let spec = NodeSpec {
        ssh_keys: vec!["ssh-ed25519 AAAA".to_owned()],
        user_data: Some(b"#!/bin/sh\n".to_vec()),
        metadata: vec![("owner".to_owned(), "me & you".to_owned())],
        networks: vec!["lan".to_owned(), "nat".to_owned()],
        block_devices: vec![BlockDevice { volume_id: None, size_gb: 3, device: None }],
        extra: json!({"disk_bus": "scsi", "nic_model": "e1000"}).to_string(),
        ..order()
    };
    let node = driver(&cloud).create_node("t-1", spec).unwrap();
    let uuid = identity::node("lab", "t-1");
    assert_eq!((node.id.as_str(), node.name.as_str(), node.token.as_deref()), (uuid.as_str(), "web <1>", Some("t-1")));
    assert_eq!(
        (node.image_id.as_deref(), node.size_id.as_deref(), &node.state),
        (Some("tiny.qcow2"), Some("small"), &NodeState::Running)
    );
    assert_eq!(node.extra().unwrap()["metadata"], json!({"owner": "me & you"}));
    let stage = fake.stage();
    let domain = &stage.domains[&uuid];
    assert_eq!((domain.vcpus, domain.ram_mb), (1, 1024));
    assert_eq!(domain.nics.iter().map(|nic| nic.network.as_str()).collect::<Vec<_>>(), ["lan", "nat"]);
    assert!(domain.nics.iter().all(|nic| nic.model.as_deref() == Some("e1000")));
    assert!(domain.disks.iter().all(|disk| disk.owned && disk.bus.as_deref() == Some("scsi")));
    let disks: Vec<_> =
        domain.disks.iter().map(|disk| stage.volumes[&(disk.volume.pool.clone(), disk.volume.name.clone())].clone()).collect();
    assert_eq!(disks.iter().map(|disk| disk.capacity_bytes).collect::<Vec<_>>(), [10 * GIB, 3 * GIB]);
    assert_eq!(disks[0].backing, Some(VolumeRef { pool: "images".to_owned(), name: "tiny.qcow2".to_owned() }));
    assert_eq!(stage.seeds[&uuid].user_data, b"#!/bin/sh\n");
    drop(stage);
    driver(&cloud).destroy_node(&node.id).unwrap();
    assert!(fake.disks().is_empty());
}

#[test]
fn what_cannot_be_done_is_refused_and_leaves_nothing() {
    let (cloud, fake) = lab_with(&[(
        "sizes",
        r#"[{"id": "small", "vcpus": 1, "ram_mb": 64, "disk_gb": 0}, {"id": "cramped", "vcpus": 1, "ram_mb": 64, "disk_gb": 1}]"#,
    )]);
    let device =
        |volume_id: Option<&str>, size_gb| BlockDevice { volume_id: volume_id.map(str::to_owned), size_gb, device: None };
    let cases = [
        (NodeSpec { image_id: "none".to_owned(), ..order() }, "invalid"),
        (NodeSpec { size_id: "none".to_owned(), ..order() }, "invalid"),
        (NodeSpec { size_id: "cramped".to_owned(), ..order() }, "invalid"),
        (NodeSpec { networks: vec!["none".to_owned()], ..order() }, "invalid"),
        (NodeSpec { key_name: Some("k".to_owned()), ..order() }, "unsupported"),
        (NodeSpec { security_groups: vec!["g".to_owned()], ..order() }, "unsupported"),
        (NodeSpec { zone: Some("z".to_owned()), ..order() }, "unsupported"),
        (NodeSpec { public_address: true, ..order() }, "unsupported"),
        (NodeSpec { block_devices: vec![device(Some("v"), 1)], ..order() }, "unsupported"),
        (NodeSpec { block_devices: vec![device(None, 0)], ..order() }, "invalid"),
        (NodeSpec { block_devices: vec![device(None, u64::MAX)], ..order() }, "invalid"),
        (NodeSpec { ssh_keys: vec!["a\nb".to_owned()], ..order() }, "invalid"),
        (NodeSpec { extra: "{\"colour\": 1}".to_owned(), ..order() }, "invalid"),
        (NodeSpec { extra: "[".to_owned(), ..order() }, "invalid"),
    ];
    for (at, (spec, expected)) in cases.into_iter().enumerate() {
        assert_eq!(class(driver(&cloud).create_node(&format!("t-{at}"), spec)), expected, "case {at}");
    }
    assert_eq!(class(driver(&cloud).create_node("T", order())), "invalid");
    for error in [Error::Capacity("full".to_owned()), Error::Failed("no".to_owned())] {
        fake.fail("create_domain", error.clone());
        assert_eq!(class(driver(&cloud).create_node("t", order())), error.class());
    }
    assert!(fake.disks().is_empty() && fake.stage().domains.is_empty(), "{:?}", fake.disks());
    // With no disk of its own, a size takes the image's.
    driver(&cloud).create_node("t", order()).unwrap();
    let disks = fake.disks();
    assert_eq!(fake.stage().volumes[&("nodes".to_owned(), disks[0].clone())].capacity_bytes, 3 * GIB / 2);
}

#[test]
fn an_order_that_broke_off_goes_on_or_is_swept_away() {
    let (cloud, fake) = lab();
    let lost = || Error::Transient("the connection is lost".to_owned());
    // Before the domain: the disk is found by the next order …
    fake.fail("create_domain", lost());
    assert_eq!(class(driver(&cloud).create_node("t", order())), "transient");
    assert_eq!(fake.disks().len(), 1);
    let node = driver(&cloud).create_node("t", order()).unwrap();
    assert_eq!((fake.disks().len(), &node.state), (1, &NodeState::Running));
    driver(&cloud).destroy_node(&node.id).unwrap();
    // … or swept away when the host asks.
    fake.fail("create_domain", lost());
    driver(&cloud).create_node("t", order()).unwrap_err();
    let other = driver(&cloud).create_node("t-2", order()).unwrap();
    assert!(driver(&cloud).find_node("t").unwrap().is_none());
    assert_eq!(fake.disks(), [identity::disk(&other.id, "root")], "the other's disk stays");
    // What cannot be swept yet must not be answered with `none`.
    fake.fail("create_domain", lost());
    driver(&cloud).create_node("t", order()).unwrap_err();
    fake.fail("delete_volume", Error::Conflict("being allocated".to_owned()));
    assert_eq!(driver(&cloud).find_node("t").unwrap_err().class(), "transient");

    // After the domain was defined and before it was started: whoever looks starts it.
    for look in [
        (|driver: &Libvirt, _: &str| driver.find_node("t-2").map(Option::unwrap)) as fn(&Libvirt, &str) -> Result<Node>,
        |driver, id| driver.get_node(id),
        |driver, _| driver.create_node("t-2", order()),
    ] {
        fake.stage().domains.get_mut(&other.id).unwrap().state = DomainState::Other("to-start".to_owned());
        let listed = driver(&cloud).list_nodes(None).unwrap().items;
        assert_eq!(listed.iter().map(|node| &node.state).collect::<Vec<_>>(), [&NodeState::Pending], "a list changes nothing");
        assert_eq!(look(&driver(&cloud), &other.id).unwrap().state, NodeState::Running);
    }
    fake.stage().domains.get_mut(&other.id).unwrap().state = DomainState::Other("to-start".to_owned());
    fake.fail("set_power", Error::Failed("no such emulator".to_owned()));
    let broken = driver(&cloud).get_node(&other.id).unwrap();
    assert_eq!(
        (broken.state, broken.state_detail.as_deref()),
        (NodeState::Failed, Some("it cannot be started: no such emulator"))
    );
}

#[test]
fn a_copy_that_takes_its_time_is_waited_for() {
    let (cloud, fake) = lab_with(&[("disks", "copied")]);
    fake.stage().slow = true;
    for _ in 0..2 {
        assert_eq!(class(driver(&cloud).create_node("t", order())), "transient");
    }
    let name = fake.disks()[0].clone();
    fake.stage().volumes.get_mut(&("nodes".to_owned(), name)).unwrap().status = VolumeStatus::Ready;
    assert_eq!(driver(&cloud).create_node("t", order()).unwrap().state, NodeState::Running);
    assert_eq!(fake.disks().len(), 1);
}

#[test]
fn addresses_are_the_newest_of_each_card_and_family() {
    let (cloud, fake) = lab_with(&[("public_networks", "[\"lan\"]")]);
    let node = driver(&cloud).create_node("t", NodeSpec { public_address: true, ..order() }).unwrap();
    assert_eq!(fake.stage().domains[&node.id].nics[0].network, "lan");
    let lease = |mac: &str, ip: &str, network: &str| Lease {
        mac: mac.to_owned(),
        ip: ip.to_owned(),
        network: network.to_owned(),
        hostname: None,
        expires_at: None,
    };
    let leases = vec![
        lease("52:54:00:00:00:01", "10.0.0.2", "lan"),
        lease("52:54:00:00:00:01", "fd00::2", "lan"),
        lease("52:54:00:00:00:02", "192.168.122.9", "nat"),
        lease("52:54:00:00:00:01", "10.0.0.9", "lan"),
    ];
    fake.stage().leases.insert(node.id.clone(), leases);
    let seen = driver(&cloud).get_node(&node.id).unwrap().addresses;
    let shown: Vec<_> = seen.iter().map(|address| (address.ip.as_str(), address.reach == Reach::Public)).collect();
    assert_eq!(shown, [("10.0.0.2", true), ("fd00::2", true), ("192.168.122.9", false)]);
    // A node that is off has none, whatever leases remain.
    driver(&cloud).act(&node.id, Action::Stop(Force::Hard)).unwrap();
    assert!(driver(&cloud).get_node(&node.id).unwrap().addresses.is_empty());
}

#[test]
fn a_guest_that_does_not_stop_stays_on_its_way() {
    let (cloud, fake) = lab();
    let node = driver(&cloud).create_node("t", order()).unwrap();
    fake.stage().deaf = true;
    driver(&cloud).act(&node.id, Action::Stop(Force::Soft)).unwrap();
    assert_eq!(driver(&cloud).get_node(&node.id).unwrap().state, NodeState::Stopping);
    fake.stage().domains.get_mut(&node.id).unwrap().state = DomainState::Running;
    driver(&cloud).act(&node.id, Action::Stop(Force::Hard)).unwrap();
    assert_eq!(driver(&cloud).get_node(&node.id).unwrap().state, NodeState::Stopped);
}

#[test]
fn images_are_what_was_put_there_or_made_as_one() {
    let (cloud, fake) = lab();
    let mut made = fake.stage().volumes[&("images".to_owned(), "tiny.qcow2".to_owned())].clone();
    made.token = Some("import-1".to_owned());
    made.at.name = "made".to_owned();
    made.status = VolumeStatus::Importing(Some(40));
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    made.labels = vec![pair("image", "yes"), pair("name", "Debian 12"), pair("os", "linux")];
    fake.stage().put(made.clone());
    made.at.name = "disk".to_owned();
    made.labels.clear();
    fake.stage().put(made);
    let images = driver(&cloud).list_images(None).unwrap().items;
    assert_eq!(
        images.iter().map(|image| (image.id.as_str(), image.name.as_str())).collect::<Vec<_>>(),
        [("made", "Debian 12"), ("tiny.qcow2", "tiny.qcow2")]
    );
    assert_eq!((images[0].properties.clone(), images[1].min_disk_gb), (vec![pair("os", "linux")], Some(2)));
    assert_eq!(driver(&cloud).get_image("disk").unwrap_err().class(), "not-found");
    assert_eq!(class(driver(&cloud).create_node("t", NodeSpec { image_id: "made".to_owned(), ..order() })), "conflict");
}

#[test]
fn an_import_becomes_an_image_that_nodes_are_made_from() {
    let (cloud, fake) = lab();
    let staged = |name: &str| ImageSpec {
        source: ImageSource::Staged(name.to_owned()),
        checksum: Some("sha256:AB".to_owned()),
        properties: vec![("os".to_owned(), "linux".to_owned()), ("image".to_owned(), "no".to_owned())],
        ..ImageSpec::from_url("Debian <12>", "")
    };
    let import = |token: &str, spec: ImageSpec| driver(&cloud).import_image(token, spec);
    for (spec, expected) in [
        (ImageSpec::from_url("x", "https://a.example/b"), "unsupported"),
        (staged("gone"), "invalid"),
        (ImageSpec { extra: "{\"a\": 1}".to_owned(), ..staged("ready") }, "invalid"),
    ] {
        assert_eq!(import("i", spec).unwrap_err().class(), expected);
    }
    assert_eq!(import("I", staged("ready")).unwrap_err().class(), "invalid");
    assert_eq!(driver(&cloud).find_image("i").unwrap(), None);
    fake.stage().slow = true;
    let made = import("i", staged("ready")).unwrap();
    assert_eq!(
        (made.name.as_str(), made.token.as_deref(), &made.status),
        ("Debian <12>", Some("i"), &ImageStatus::Importing(None))
    );
    assert_eq!(import("i", staged("ready")).unwrap().id, made.id);
    assert_eq!(driver(&cloud).list_images(None).unwrap().items.len(), 2);
    assert_eq!(class(driver(&cloud).create_node("t", NodeSpec { image_id: made.id.clone(), ..order() })), "conflict");
    fake.stage().slow = false;
    let key = ("images".to_owned(), made.id.clone());
    fake.stage().volumes.get_mut(&key).unwrap().status = VolumeStatus::Failed("no room".to_owned());
    assert_eq!(driver(&cloud).get_image(&made.id).unwrap().status, ImageStatus::Failed("no room".to_owned()));
    fake.stage().volumes.get_mut(&key).unwrap().status = VolumeStatus::Ready;
    let image = driver(&cloud).find_image("i").unwrap().unwrap();
    assert_eq!((image.status, image.checksum.as_deref(), image.min_disk_gb), (ImageStatus::Active, Some("sha256:ab"), Some(1)));
    assert_eq!(image.properties, [("checksum".to_owned(), "sha256:ab".to_owned()), ("os".to_owned(), "linux".to_owned())]);
    let node = driver(&cloud).create_node("t", NodeSpec { image_id: made.id.clone(), ..order() }).unwrap();
    assert_eq!(driver(&cloud).delete_image(&made.id).unwrap_err().class(), "conflict");
    driver(&cloud).destroy_node(&node.id).unwrap();
    driver(&cloud).delete_image(&made.id).unwrap();
    for gone in [made.id.as_str(), "no-such-image"] {
        assert_eq!(driver(&cloud).delete_image(gone).unwrap_err().class(), "not-found");
    }
    assert_eq!(driver(&cloud).find_image("i").unwrap(), None);
    assert_eq!(driver(&cloud).delete_image("tiny.qcow2").unwrap_err().class(), "forbidden");
}

#[test]
fn a_check_finds_what_is_not_granted_or_not_there() {
    let (cloud, fake) = lab();
    let health = driver(&cloud).check().unwrap();
    assert_eq!((health.endpoint.as_deref(), health.provider_version.as_deref()), (Some("fake.example"), Some("Fake 1.2.3")));
    fake.fail("volumes", Error::NotFound("no pool `nodes`".to_owned()));
    assert_eq!(driver(&cloud).check().unwrap_err().class(), "not-found");
    let (cloud, _) = lab_with(&[("pool", "others")]);
    assert_eq!(driver(&cloud).check().unwrap_err().class(), "invalid");
    let capacity = driver(&lab().0).get_capacity().unwrap();
    assert_eq!((capacity.vcpus.total, capacity.devices.len(), capacity.nodes.used), (Some(8), 1, Some(0)));
    assert!(Libvirt::describe(&Cloud::new("bare").config("colour", "red").context()).features.contains(&"samples".to_owned()));
}

/// Lists ask once for all domains, and then for the addresses of those that can have some.
#[test]
fn a_list_asks_no_more_than_it_shows() {
    let (cloud, fake) = lab_with(&[("page_size", "2")]);
    for at in 0..5 {
        driver(&cloud).create_node(&format!("t-{at}"), NodeSpec { start: at != 1, ..order() }).unwrap();
    }
    fake.stage().asked.clear();
    let page = driver(&cloud).list_nodes(None).unwrap();
    assert_eq!((page.items.len(), page.next.as_deref()), (2, Some("2")));
    assert_eq!(fake.stage().asked, ["domains", "leases"]);
}
