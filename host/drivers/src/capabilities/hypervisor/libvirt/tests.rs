//! The capability against libvirt's own hypervisor for tests, which lives in this process: `test:///default` has a domain `test`,
//! a pool `default-pool` and a network `default`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod imports;

use super::*;
use crate::settings::Virtualization;
use crate::v0_1::imports::hypervisor::{Disk, DomainState, Nic, Seed, VolumeStatus};
use crate::v0_1::imports::types::Force;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use virt::connect::Connect;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;

const URI: &str = "test:///default";
const POOL: &str = "default-pool";

/// The hypervisor lives as long as somebody is connected, whatever tests of the connection do.
pub(super) fn hold() {
    static HELD: LazyLock<Connect> = LazyLock::new(|| Connect::open(Some(URI)).unwrap());
    LazyLock::force(&HELD);
}

fn lab(cloud: &str) -> Libvirt {
    lab_with(cloud, |_| {})
}

fn lab_with(cloud: &str, change: impl FnOnce(&mut HypervisorSettings)) -> Libvirt {
    hold();
    let mut settings = HypervisorSettings {
        pools: vec![POOL.to_owned()],
        image_pools: Vec::new(),
        networks: vec!["default".to_owned()],
        devices: Vec::new(),
        virtualization: Virtualization::Auto,
    };
    change(&mut settings);
    Libvirt::new(URI, cloud, settings, None)
}

/// Tests share the hypervisor: each has names of its own.
fn unique(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}", COUNT.fetch_add(1, Ordering::SeqCst))
}

fn at(name: &str) -> VolumeRef {
    VolumeRef { pool: POOL.to_owned(), name: name.to_owned() }
}

fn volume(name: &str, token: &str, source: VolumeSource) -> VolumeSpec {
    let capacity_bytes = matches!(source, VolumeSource::Empty).then_some(1 << 20);
    VolumeSpec { at: at(name), token: token.to_owned(), source, capacity_bytes, checksum: None, labels: Vec::new() }
}

fn domain(token: &str) -> DomainSpec {
    DomainSpec {
        uuid: uuid::Uuid::new_v4().to_string(),
        name: token.to_owned(),
        token: token.to_owned(),
        vcpus: 2,
        ram_mb: 64,
        disks: Vec::new(),
        nics: vec![Nic { network: "default".to_owned(), mac: None, model: None }],
        seed: None,
        devices: Vec::new(),
        start: true,
        labels: Vec::new(),
        extra: String::new(),
    }
}

fn disk(name: &str, owned: bool) -> Disk {
    Disk { volume: at(name), bus: None, read_only: false, owned }
}

/// The class of an error, as it is written in Rust.
fn class<T: std::fmt::Debug>(answer: Answer<T>) -> String {
    let text = format!("{:?}", answer.unwrap_err());
    text.trim_start_matches("Error::").split(['(', ' ']).next().unwrap().to_owned()
}

fn is(state: &DomainState, expected: &str) -> bool {
    format!("{state:?}") == format!("DomainState::{expected}")
}

#[tokio::test]
async fn a_domain_lives_from_its_order_to_its_end() {
    let lab = lab("life");
    let token = unique("life");
    let name = format!("{token}.qcow2");
    let root = lab.create_volume(volume(&name, &token, VolumeSource::Empty)).await.unwrap();
    assert_eq!(
        (root.token.as_deref(), root.capacity_bytes, root.at.name.as_str()),
        (Some(token.as_str()), 1 << 20, name.as_str())
    );
    let nasty = "</name>&'\"<b>]]> ü";
    let labels = vec![("k<".to_owned(), "v&\n\"".to_owned())];
    let extra = "{\"x\":\"<y>\"}".to_owned();
    let spec = DomainSpec {
        name: nasty.to_owned(),
        disks: vec![disk(&name, true)],
        labels: labels.clone(),
        extra: extra.clone(),
        ..domain(&token)
    };
    let made = lab.create_domain(spec.clone()).await.unwrap();
    assert_eq!((made.name.as_str(), made.token.as_deref(), made.vcpus, made.ram_mb), (nasty, Some(token.as_str()), 2, 64));
    assert_eq!((&made.labels, &made.extra), (&labels, &extra));
    assert!(is(&made.state, "Running") && made.created_at.is_some(), "{made:?}");
    assert!(made.disks[0].owned && made.disks[0].volume.name == name && !made.disks[0].read_only, "{made:?}");
    assert!(made.nics[0].mac.is_some(), "libvirt chose one");
    assert_eq!(lab.create_domain(spec.clone()).await.unwrap().uuid, made.uuid, "the first one");
    assert_eq!(lab.domains().await.unwrap().iter().filter(|domain| domain.uuid == made.uuid).count(), 1);
    assert_eq!(class(lab.create_domain(DomainSpec { token: unique("other"), ..spec.clone() }).await), "Conflict");

    let uuid = made.uuid.as_str();
    for (power, after) in [
        (Power::Suspend, "Paused"),
        (Power::Resume, "Running"),
        (Power::Reboot(Force::Soft), "Running"),
        (Power::Reboot(Force::Hard), "Running"),
        (Power::Stop(Force::Soft), "ShutOff"),
        (Power::Start, "Running"),
        (Power::Stop(Force::Hard), "ShutOff"),
        (Power::Start, "Running"),
    ] {
        lab.set_power(uuid, power.clone()).await.unwrap_or_else(|error| panic!("{power:?}: {error:?}"));
        let state = lab.get_domain(uuid).await.unwrap().state;
        assert!(is(&state, after), "{power:?} led to {state:?}");
    }
    assert_eq!(class(lab.set_power(uuid, Power::Start).await), "Conflict");
    assert_eq!(class(lab.set_power(uuid, Power::Resume).await), "Conflict");
    assert_eq!(class(lab.set_power(uuid, Power::Stop(Force::Other("odd".to_owned()))).await), "Unsupported");

    let samples = lab.get_samples(&[uuid.to_owned(), uuid::Uuid::new_v4().to_string()]).await.unwrap();
    assert_eq!(samples.iter().map(|sample| sample.node_id.as_str()).collect::<Vec<_>>(), [uuid]);
    assert!(samples[0].values.iter().any(|value| value.name == "memory-total" && value.value > 0.0), "{samples:?}");
    assert!(lab.leases(uuid).await.unwrap().is_empty());
    assert_eq!(class(lab.delete_volume(&at(&name)).await), "Conflict", "a domain uses it");

    lab.delete_domain(uuid).await.unwrap();
    assert_eq!(class(lab.get_domain(uuid).await), "NotFound");
    assert_eq!(class(lab.delete_domain(uuid).await), "NotFound");
    assert_eq!(class(lab.get_volume(&at(&name)).await), "NotFound", "it went with its domain");
}

#[tokio::test]
async fn what_has_another_mark_or_none_does_not_exist() {
    let (mine, other) = (lab("mine"), lab("mine.too"));
    let token = unique("theirs");
    let connect = Connect::open(Some(URI)).unwrap();
    let by_hand = virt::domain::Domain::lookup_by_name(&connect, "test").unwrap();
    let theirs = other.create_domain(domain(&token)).await.unwrap();
    for foreign in [
        by_hand.get_uuid_string().unwrap(),
        theirs.uuid.clone(),
        uuid::Uuid::new_v4().to_string(),
        "test".to_owned(),
        String::new(),
    ] {
        assert_eq!(class(mine.get_domain(&foreign).await), "NotFound", "{foreign}");
        assert_eq!(class(mine.delete_domain(&foreign).await), "NotFound", "{foreign}");
        assert_eq!(class(mine.set_power(&foreign, Power::Stop(Force::Hard)).await), "NotFound", "{foreign}");
        assert_eq!(class(mine.leases(&foreign).await), "NotFound", "{foreign}");
        assert!(mine.get_samples(std::slice::from_ref(&foreign)).await.unwrap().is_empty(), "{foreign}");
        assert!(mine.domains().await.unwrap().iter().all(|domain| domain.uuid != foreign));
    }
    for taken in [by_hand.get_uuid_string().unwrap(), theirs.uuid.clone()] {
        assert_eq!(class(mine.create_domain(DomainSpec { uuid: taken, ..domain(&unique("t")) }).await), "Conflict");
    }
    assert!(by_hand.is_active().unwrap());
    assert!(is(&other.get_domain(&theirs.uuid).await.unwrap().state, "Running"));
    other.delete_domain(&theirs.uuid).await.unwrap();
}

/// A volume that somebody made by hand.
fn by_hand(connect: &Connect, name: &str) -> StorageVol {
    let pool = StoragePool::lookup_by_name(connect, POOL).unwrap();
    let document = format!(
        "<volume><name>{name}</name><capacity>2097152</capacity><allocation>0</allocation><target><format type='qcow2'/></target></volume>"
    );
    StorageVol::create_xml(&pool, &document, 0).unwrap()
}

#[tokio::test]
async fn volumes_of_others_are_neither_seen_nor_used_nor_deleted() {
    let (mine, other) = (lab("v"), lab("v.w"));
    let connect = Connect::open(Some(URI)).unwrap();
    let hand = unique("hand");
    let made_by_hand = by_hand(&connect, &hand);
    let token = unique("w");
    other.create_volume(volume(&format!("{token}.a"), &token, VolumeSource::Empty)).await.unwrap();
    let real = names::volume("v.w", &token, &format!("{token}.a"));
    for foreign in [hand.as_str(), &format!("{token}.a"), &real, "w+", "../x"] {
        assert_eq!(class(mine.get_volume(&at(foreign)).await), "NotFound", "{foreign}");
        assert_eq!(class(mine.delete_volume(&at(foreign)).await), "NotFound", "{foreign}");
        assert_eq!(class(mine.resize_volume(&at(foreign), 1 << 30).await), "NotFound", "{foreign}");
        for source in [VolumeSource::Linked(at(foreign)), VolumeSource::Copied(at(foreign))] {
            assert_eq!(class(mine.create_volume(volume(&unique("c"), &unique("c"), source)).await), "NotFound", "{foreign}");
        }
        let spec = DomainSpec { disks: vec![disk(foreign, true)], ..domain(&unique("d")) };
        assert_eq!(class(mine.create_domain(spec).await), "NotFound", "{foreign}");
    }
    assert!(mine.volumes(POOL).await.unwrap().iter().all(|volume| volume.at.name != hand));
    assert_eq!(class(mine.volumes("no-such-pool").await), "NotFound");
    other.delete_volume(&at(&format!("{token}.a"))).await.unwrap();
    made_by_hand.delete(0).unwrap();
}

#[tokio::test]
async fn images_that_somebody_put_there_can_be_cloned_and_nothing_else() {
    let lab = lab_with("i", |settings| settings.image_pools = vec![POOL.to_owned()]);
    let connect = Connect::open(Some(URI)).unwrap();
    let image = unique("image");
    let made_by_hand = by_hand(&connect, &image);
    let seen = lab.get_volume(&at(&image)).await.unwrap();
    assert_eq!((seen.token, seen.capacity_bytes, seen.format.as_str()), (None, 2 << 20, "qcow2"));
    assert!(matches!(seen.status, VolumeStatus::Ready));
    assert_eq!(class(lab.delete_volume(&at(&image)).await), "Forbidden");
    assert_eq!(class(lab.resize_volume(&at(&image), 1 << 30).await), "Forbidden");
    for (owned, read_only) in [(true, true), (false, false)] {
        let disks = vec![Disk { read_only, ..disk(&image, owned) }];
        assert_eq!(class(lab.create_domain(DomainSpec { disks, ..domain(&unique("i")) }).await), "Forbidden");
    }
    let token = unique("i");
    let order = volume(&format!("{token}.a"), &token, VolumeSource::Linked(at(&image)));
    for (capacity, expected) in [(Some(1 << 20), Err("Invalid")), (None, Ok(2 << 20))] {
        let made = lab.create_volume(VolumeSpec { capacity_bytes: capacity, ..order.clone() }).await;
        match expected {
            Ok(bytes) => assert_eq!(made.unwrap().capacity_bytes, bytes),
            Err(expected) => assert_eq!(class(made), expected),
        }
    }
    // By token the first, whatever else the order says; another by the same name is refused.
    let again = lab.create_volume(VolumeSpec { at: at("other"), ..order.clone() }).await.unwrap();
    assert_eq!(again.at.name, order.at.name);
    assert_eq!(again.backing.map(|backing| backing.name), Some(image.clone()));
    assert_eq!(class(lab.create_volume(VolumeSpec { token: unique("i"), ..order.clone() }).await), "Conflict");
    // This hypervisor has no resizing; what is smaller is refused before it is asked.
    assert_eq!(class(lab.resize_volume(&order.at, 4 << 20).await), "Unsupported");
    assert_eq!(class(lab.resize_volume(&order.at, 1 << 20).await), "Invalid");

    // A clone of the cloud's own volume keeps that one from being deleted.
    let clone = volume(&unique("clone"), &unique("clone"), VolumeSource::Linked(order.at.clone()));
    lab.create_volume(clone.clone()).await.unwrap();
    assert_eq!(class(lab.delete_volume(&order.at).await), "Conflict");
    lab.delete_volume(&clone.at).await.unwrap();
    let copy = volume(&unique("copy"), &unique("copy"), VolumeSource::Copied(order.at.clone()));
    let copied = lab.create_volume(copy.clone()).await.unwrap();
    assert!(copied.backing.is_none() && copied.capacity_bytes == 2 << 20, "{copied:?}");
    lab.delete_volume(&copy.at).await.unwrap();
    lab.delete_volume(&order.at).await.unwrap();
    assert_eq!(class(lab.delete_volume(&order.at).await), "NotFound");
    made_by_hand.delete(0).unwrap();
}

#[tokio::test]
async fn what_is_malformed_or_not_granted_is_refused_and_leaves_nothing() {
    let lab = lab("refuse");
    let good = || domain(&unique("refuse"));
    let nic = |network: &str, mac: Option<&str>, model: Option<&str>| {
        vec![Nic { network: network.to_owned(), mac: mac.map(str::to_owned), model: model.map(str::to_owned) }]
    };
    let long = "x".repeat(300);
    let cases: Vec<(DomainSpec, &str)> = vec![
        (DomainSpec { uuid: "x'/>".to_owned(), ..good() }, "Invalid"),
        (DomainSpec { token: "a<b".to_owned(), ..good() }, "Invalid"),
        (DomainSpec { name: "a\u{1}b".to_owned(), ..good() }, "Invalid"),
        (DomainSpec { name: long, ..good() }, "Invalid"),
        (DomainSpec { vcpus: 0, ..good() }, "Invalid"),
        (DomainSpec { ram_mb: 0, ..good() }, "Invalid"),
        (DomainSpec { ram_mb: u64::MAX, ..good() }, "Invalid"),
        (DomainSpec { labels: vec![("k".to_owned(), "\0".to_owned())], ..good() }, "Invalid"),
        (DomainSpec { nics: nic("other", None, None), ..good() }, "NotFound"),
        (DomainSpec { nics: nic("default'/><x a='", None, None), ..good() }, "NotFound"),
        (DomainSpec { nics: nic("user", None, None), ..good() }, "NotFound"),
        (DomainSpec { nics: nic("default", Some("01:00:00:00:00:01"), None), ..good() }, "Invalid"),
        (DomainSpec { nics: nic("default", Some("52:54:00:00:00:0g"), None), ..good() }, "Invalid"),
        (DomainSpec { nics: nic("default", None, Some("x'/>")), ..good() }, "Invalid"),
        (DomainSpec { devices: vec!["pci_0000_00_00_0".to_owned()], ..good() }, "Forbidden"),
        (
            DomainSpec {
                disks: vec![Disk { volume: VolumeRef { pool: "p".to_owned(), name: "n".to_owned() }, ..disk("n", true) }],
                ..good()
            },
            "NotFound",
        ),
        // This hypervisor takes no content: the seed cannot be made.
        (
            DomainSpec { seed: Some(Seed { user_data: vec![1], meta_data: vec![2], network_config: None }), ..good() },
            "Unsupported",
        ),
    ];
    for (spec, expected) in cases {
        let shown = format!("{spec:?}");
        assert_eq!(class(lab.create_domain(spec).await), expected, "{shown:.300}");
    }
    let good = || volume(&unique("refuse"), &unique("refuse"), VolumeSource::Empty);
    let cases: Vec<(VolumeSpec, &str)> = vec![
        (VolumeSpec { at: at("a/b"), ..good() }, "Invalid"),
        (VolumeSpec { at: at("a+b"), ..good() }, "Invalid"),
        (VolumeSpec { at: at("</name>"), ..good() }, "Invalid"),
        (VolumeSpec { at: VolumeRef { pool: "x".to_owned(), name: "y".to_owned() }, ..good() }, "NotFound"),
        (VolumeSpec { token: "T".to_owned(), ..good() }, "Invalid"),
        (VolumeSpec { capacity_bytes: None, ..good() }, "Invalid"),
        (VolumeSpec { capacity_bytes: Some(u64::MAX), ..good() }, "Invalid"),
        (VolumeSpec { checksum: Some("sha256:00".to_owned()), ..good() }, "Invalid"),
        (VolumeSpec { source: VolumeSource::Url("http://x".to_owned()), ..good() }, "Unsupported"),
        (VolumeSpec { source: VolumeSource::Staged("x".to_owned()), ..good() }, "Unsupported"),
        (VolumeSpec { labels: vec![("k".to_owned(), "v".to_owned())], ..good() }, "Unsupported"),
    ];
    for (spec, expected) in cases {
        let shown = format!("{spec:?}");
        assert_eq!(class(lab.create_volume(spec).await), expected, "{shown}");
    }
    assert!(lab.domains().await.unwrap().is_empty());
    assert!(lab.volumes(POOL).await.unwrap().is_empty());
    let connect = Connect::open(Some(URI)).unwrap();
    let names = StoragePool::lookup_by_name(&connect, POOL).unwrap().list_volumes().unwrap();
    assert!(names.iter().all(|name| !name.starts_with("ostler+refuse+")), "{names:?}");
}

#[tokio::test]
async fn orders_at_the_same_time_make_one_domain() {
    let lab = lab("race");
    let spec = domain(&unique("race"));
    let orders = (0..8).map(|_| lab.create_domain(spec.clone()));
    for made in futures::future::join_all(orders).await {
        assert!(is(&made.unwrap().state, "Running"));
    }
    assert_eq!(lab.domains().await.unwrap().len(), 1);
    lab.delete_domain(&spec.uuid).await.unwrap();
}

#[tokio::test]
async fn the_hypervisor_describes_itself() {
    let lab = lab("describe");
    let info = lab.describe().await.unwrap();
    assert_eq!(
        (info.kind.to_lowercase().as_str(), &info.pools[..], &info.networks[..]),
        ("test", &[POOL.to_owned()][..], &["default".to_owned()][..])
    );
    assert!(info.vcpus.total.unwrap() > 0 && info.ram_mb.total.unwrap() > 0 && info.disk_gb.total.unwrap() > 0, "{info:?}");
    assert!(info.vcpus.used.unwrap() >= 2, "the domain `test` has two: {info:?}");
    lab.devices().await.unwrap();
}

/// What the hypervisor for tests lacks: content of volumes, resizing, copies of clones. See `tests/setup/libvirt.sh`.
#[tokio::test]
#[ignore = "needs a real libvirt: OSTLER_TEST_LIBVIRT"]
async fn volumes_of_a_real_pool() {
    let uri = std::env::var("OSTLER_TEST_LIBVIRT").expect("OSTLER_TEST_LIBVIRT is set");
    let settings = HypervisorSettings {
        pools: vec!["default".to_owned()],
        image_pools: vec!["images".to_owned()],
        networks: Vec::new(),
        devices: Vec::new(),
        virtualization: Virtualization::Qemu,
    };
    let cloud = format!("volumes-{}", std::process::id());
    let lab = Libvirt::new(&uri, &cloud, settings, None);
    let at = |name: &str| VolumeRef { pool: "default".to_owned(), name: name.to_owned() };
    let image = VolumeRef { pool: "images".to_owned(), name: "tiny.qcow2".to_owned() };
    let least = lab.get_volume(&image).await.unwrap().capacity_bytes;
    let labels = vec![("os".to_owned(), "<li&nux>\n".to_owned()), ("name".to_owned(), String::new())];
    let order =
        VolumeSpec { at: at("root"), labels: labels.clone(), ..volume("root", "t-1", VolumeSource::Linked(image.clone())) };
    let made = lab.create_volume(order.clone()).await.unwrap();
    assert_eq!((made.capacity_bytes, &made.labels, made.backing.unwrap().name), (least, &labels, image.name.clone()));
    assert!(made.created_at.is_some());
    assert_eq!(lab.volumes("default").await.unwrap().len(), 1, "the labels are no volume");
    // Another host reads them anew.
    lab.link.shared.forget();
    assert_eq!(lab.create_volume(order).await.unwrap().labels, labels);
    assert_eq!(class(lab.delete_volume(&image).await), "Forbidden");
    let larger = least + (1 << 20);
    assert_eq!(lab.resize_volume(&at("root"), larger).await.unwrap().capacity_bytes, larger);

    let copy = VolumeSpec { at: at("copy"), ..volume("copy", "t-2", VolumeSource::Copied(at("root"))) };
    let mut copied = lab.create_volume(copy.clone()).await.unwrap();
    let start = std::time::Instant::now();
    while matches!(copied.status, VolumeStatus::Importing(_)) {
        assert!(start.elapsed() < Duration::from_secs(120), "the copy does not end");
        tokio::time::sleep(Duration::from_millis(100)).await;
        // An order by the same token finds how far it is.
        copied = lab.create_volume(copy.clone()).await.unwrap();
    }
    assert!(copied.backing.is_none() && copied.capacity_bytes == larger, "{copied:?}");
    for name in ["root", "copy"] {
        lab.delete_volume(&at(name)).await.unwrap();
    }
    let connect = Connect::open(Some(&uri)).unwrap();
    let left = StoragePool::lookup_by_name(&connect, "default").unwrap().list_volumes().unwrap();
    assert!(left.iter().all(|name| !name.contains(&cloud)), "{left:?}");
}
