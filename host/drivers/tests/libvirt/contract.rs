//! The driver as a component, on `test:///default`: what the contract asks of every driver.

use crate::support::{Adjust, TestHost, kind};
use crate::{cloud, libvirt};
use ostler_drivers::model::{Action, Force, ImageSource, ImageSpec, NodeSpec, NodeState};
use ostler_drivers::{Cloud, ErrorKind, HypervisorSettings, LoadError};
use std::sync::Arc;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;

const URI: &str = "test:///default";
const POOL: &str = "default-pool";
const IMAGE: &str = "tiny.qcow2";
const SIZES: &str = r#"[{"id": "s", "vcpus": 1, "ram_mb": 64, "disk_gb": 1, "name": "<small> & \"cheap\""}]"#;

/// The hypervisor of this process, which lives as long as somebody is connected, with an image that somebody put there.
fn hypervisor() -> Connect {
    let connect = Connect::open(Some(URI)).unwrap();
    let pool = StoragePool::lookup_by_name(&connect, POOL).unwrap();
    if StorageVol::lookup_by_name(&pool, IMAGE).is_err() {
        let image = format!(
            "<volume><name>{IMAGE}</name><capacity>1048576</capacity><allocation>0</allocation>\
             <target><format type='qcow2'/></target></volume>"
        );
        // Another test of this process may have been faster.
        let _ = StorageVol::create_xml(&pool, &image, 0);
    }
    connect
}

fn granted() -> HypervisorSettings {
    HypervisorSettings { pools: vec![POOL.to_owned()], image_pools: vec![POOL.to_owned()], ..HypervisorSettings::default() }
}

async fn serve(name: &str) -> (TestHost, Arc<Cloud>) {
    let host = TestHost::new();
    let cloud = host.serve(cloud(name, URI, granted()).set("sizes", SIZES), &libvirt()).await;
    (host, cloud)
}

fn order(name: &str) -> NodeSpec {
    NodeSpec::new(name, IMAGE, "s")
}

#[tokio::test]
async fn a_node_lives_from_its_order_to_its_end() {
    let connect = hypervisor();
    let (_host, cloud) = serve("life").await;
    assert!(cloud.status().health.clone().unwrap().unwrap().provider_version.unwrap().to_lowercase().starts_with("test"));
    assert_eq!(cloud.list_sizes().await.unwrap()[0].name, "<small> & \"cheap\"");
    assert_eq!(cloud.list_images().await.unwrap().iter().map(|image| image.id.as_str()).collect::<Vec<_>>(), [IMAGE]);
    assert!(cloud.find_node("t-1").await.unwrap().is_none());

    let mut spec = order("</name><name>evil & \"co\"'");
    spec.metadata = vec![("<k>".to_owned(), "]]>&".to_owned())];
    let made = cloud.create_node("t-1", spec.clone()).await.unwrap().value;
    assert_eq!((made.name.as_str(), made.token.as_deref(), &made.state), (spec.name.as_str(), Some("t-1"), &NodeState::Running));
    assert_eq!(cloud.create_node("t-1", spec.clone()).await.unwrap().value.id, made.id);
    assert_eq!(cloud.find_node("t-1").await.unwrap().unwrap().id, made.id);
    let second = cloud.create_node("t-2", NodeSpec { start: false, ..spec }).await.unwrap().value;
    assert_eq!((second.state, cloud.list_nodes().await.unwrap().len()), (NodeState::Stopped, 2));
    assert!(cloud.get_node(&made.id).await.unwrap().extra.contains("]]>&"));

    for (action, expected) in [
        (Action::Suspend, NodeState::Suspended),
        (Action::Resume, NodeState::Running),
        (Action::Reboot(Force::Soft), NodeState::Running),
        (Action::Stop(Force::Soft), NodeState::Stopped),
        (Action::Start, NodeState::Running),
        (Action::Stop(Force::Hard), NodeState::Stopped),
    ] {
        cloud.act(&made.id, action.clone()).await.unwrap_or_else(|error| panic!("{action:?}: {error}"));
        assert_eq!(cloud.get_node(&made.id).await.unwrap().state, expected, "{action:?}");
    }
    assert_eq!(kind(cloud.act(&made.id, Action::Resume).await), ErrorKind::Conflict);
    assert_eq!(cloud.capacity().await.unwrap().nodes.used, Some(2));

    for id in [&made.id, &second.id] {
        cloud.destroy_node(id).await.unwrap();
        assert_eq!(kind(cloud.get_node(id).await), ErrorKind::NotFound);
        assert_eq!(kind(cloud.destroy_node(id).await), ErrorKind::NotFound);
    }
    assert!(cloud.list_nodes().await.unwrap().is_empty() && cloud.find_node("t-1").await.unwrap().is_none());
    let volumes = StoragePool::lookup_by_name(&connect, POOL).unwrap().list_volumes().unwrap();
    assert!(volumes.iter().all(|name| !name.starts_with("ostler+life+")), "{volumes:?}");
}

/// Neither what somebody made by hand nor another cloud's node can be seen or touched, by whatever identifier.
#[tokio::test]
async fn what_is_not_the_clouds_cannot_be_reached() {
    let connect = hypervisor();
    let (_mine_host, mine) = serve("mine").await;
    let (_their_host, theirs) = serve("theirs").await;
    let node = theirs.create_node("t", order("x")).await.unwrap().value;
    let by_hand = Domain::lookup_by_name(&connect, "test").unwrap();
    for id in [node.id.as_str(), &by_hand.get_uuid_string().unwrap(), "test", "../x", "'/><x>", ""] {
        assert_eq!(kind(mine.get_node(id).await), ErrorKind::NotFound, "{id}");
        assert_eq!(kind(mine.destroy_node(id).await), ErrorKind::NotFound, "{id}");
        assert_eq!(kind(mine.act(id, Action::Stop(Force::Hard)).await), ErrorKind::NotFound, "{id}");
        assert!(mine.sample(vec![id.to_owned()]).await.unwrap().is_empty(), "{id}");
    }
    assert!(mine.list_nodes().await.unwrap().is_empty());
    for (image, network) in
        [("ostler+theirs+t+x", "default"), ("../../etc/shadow", "default"), (IMAGE, "other"), (IMAGE, "a'/><b c='")]
    {
        let spec = NodeSpec { image_id: image.to_owned(), networks: vec![network.to_owned()], ..order("y") };
        assert_eq!(kind(mine.create_node("t", spec).await), ErrorKind::Invalid, "{image} {network}");
    }
    assert!(mine.find_node("t").await.unwrap().is_none());
    assert!(by_hand.is_active().unwrap());
    assert_eq!(theirs.get_node(&node.id).await.unwrap().state, NodeState::Running);
    theirs.destroy_node(&node.id).await.unwrap();
}

#[tokio::test]
async fn a_cloud_without_the_grant_or_with_other_settings_is_refused() {
    let _hypervisor = hypervisor();
    let host = TestHost::new();
    let refusal = async |settings: ostler_drivers::CloudSettings| {
        host.host.add_cloud(settings).unwrap();
        host.prepare("libvirt", &libvirt()).await.unwrap_err()
    };
    let ungranted = cloud("c", URI, granted()).grant(|grants| grants.hypervisor = None);
    let error = refusal(ungranted).await;
    assert!(matches!(error, LoadError::Import { .. }) && error.to_string().contains("clouds.c.grants.hypervisor"), "{error}");
    for (key, value, part) in [("pool", "others", "`others` is not granted"), ("networks", "[\"lan\"]", "`lan` is not granted")] {
        let error = refusal(cloud("c", URI, granted()).set(key, value)).await;
        assert!(matches!(error, LoadError::Probe { .. }) && error.to_string().contains(part), "{error}");
    }
}

/// Images come from the host; a host that has none ready says so. What somebody put there by hand is not deleted.
#[tokio::test]
async fn images_are_imported_only_from_the_host() {
    let _hypervisor = hypervisor();
    let (_host, cloud) = serve("images").await;
    let features = cloud.description().unwrap().features.clone();
    assert!(features.iter().any(|feature| feature == "image-import:staged"), "{features:?}");
    let spec = |source: ImageSource| ImageSpec {
        name: "x".to_owned(),
        source,
        format: None,
        checksum: None,
        properties: Vec::new(),
        extra: String::new(),
    };
    for source in [ImageSource::Url("http://127.0.0.1/x".to_owned()), ImageSource::Staged("x".to_owned())] {
        assert_eq!(kind(cloud.import_image("i-1", spec(source.clone())).await), ErrorKind::Unsupported, "{source:?}");
    }
    assert!(cloud.find_image("i-1").await.unwrap().is_none());
    assert_eq!(kind(cloud.delete_image(IMAGE).await), ErrorKind::Forbidden);
    for foreign in ["none", "../x", "ostler+theirs+t+x"] {
        assert_eq!(kind(cloud.delete_image(foreign).await), ErrorKind::NotFound, "{foreign}");
    }
}

/// Two hundred nodes are listed within one call.
#[tokio::test]
async fn many_nodes_are_listed() {
    let _hypervisor = hypervisor();
    let (_host, cloud) = serve("many").await;
    let mut ids = Vec::new();
    for at in 0..200 {
        ids.push(cloud.create_node(&format!("t-{at}"), order("n")).await.unwrap().value.id);
    }
    let listed = cloud.list_nodes().await.unwrap();
    assert_eq!(
        listed.iter().map(|node| &node.id).collect::<Vec<_>>(),
        ids.iter().collect::<Vec<_>>(),
        "in the order of creation"
    );
    for id in ids {
        cloud.destroy_node(&id).await.unwrap();
    }
    assert!(cloud.list_nodes().await.unwrap().is_empty());
}
