//! The driver on real guests, which `tests/setup/libvirt.sh start DIR` brings up: OSTLER_TEST_LIBVIRT is the connection,
//! OSTLER_TEST_LIBVIRT_EXEC what runs a command where the guests are, OSTLER_TEST_LIBVIRT_RESTART what restarts the daemon.

use crate::support::{Adjust, TestHost, kind};
use crate::{cloud, libvirt};
use ostler_drivers::model::{Action, Force, Node, NodeSpec, NodeState};
use ostler_drivers::{Cloud, ErrorKind, HypervisorSettings, Virtualization};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use virt::connect::Connect;
use virt::domain::Domain;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;

/// What a guest under emulation on a busy machine stays below.
const PATIENCE: Duration = Duration::from_secs(300);
pub const IMAGE: &str = "tiny.qcow2";
pub const SIZES: &str = r#"[{"id": "tiny", "vcpus": 1, "ram_mb": 128, "disk_gb": 0}]"#;

pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: see tests/setup/libvirt.sh"))
}

/// Runs a command line of the setup with more arguments; what it prints.
fn run(line: &str, arguments: &[&str]) -> String {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Asks until there is an answer.
async fn eventually<T>(what: &str, mut question: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = question().await {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn until(cloud: &Arc<Cloud>, id: &str, state: NodeState) -> Node {
    eventually(&format!("{state:?}"), async || cloud.get_node(id).await.ok().filter(|node| node.state == state)).await
}

/// A page of the guest's web server, once it contains a text.
pub async fn page(cloud: &Arc<Cloud>, id: &str, page: &str, part: &str) -> String {
    let exec = variable("OSTLER_TEST_LIBVIRT_EXEC");
    let ask = async || {
        let node = cloud.get_node(id).await.ok()?;
        let ip = &node.addresses.first()?.ip;
        let answer = run(&exec, &["curl", "-s", "-m", "5", &format!("http://{ip}/{page}")]);
        answer.contains(part).then_some(answer)
    };
    eventually(&format!("{part} of {page}"), ask).await
}

/// A domain and a volume that are nobody's, in the pool of the disks, as they were and are to be.
struct Foreign {
    domain: Domain,
    volume: StorageVol,
    state: (String, Vec<u8>),
}

impl Foreign {
    fn place(connect: &Connect) -> Self {
        let pool = StoragePool::lookup_by_name(connect, "default").unwrap();
        let name = format!("foreign-{}", std::process::id());
        let volume =
            format!("<volume><name>{name}</name><capacity>1048576</capacity><target><format type='qcow2'/></target></volume>");
        let volume = StorageVol::create_xml(&pool, &volume, 0).unwrap();
        let domain = format!(
            "<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory><os><type>hvm</type></os><devices>\
             <disk type='volume'><driver name='qemu' type='qcow2'/><source pool='default' volume='{name}'/><target dev='vda' bus='virtio'/></disk>\
             </devices></domain>"
        );
        let domain = Domain::define_xml(connect, &domain).unwrap();
        let state = Self::state(&domain, &volume);
        Self { domain, volume, state }
    }

    /// The domain's document, and what is in the volume: its document says more after the pool was refreshed.
    fn state(domain: &Domain, volume: &StorageVol) -> (String, Vec<u8>) {
        (domain.get_xml_desc(0).unwrap(), std::fs::read(volume.get_path().unwrap()).unwrap())
    }

    fn remove_untouched(self) {
        assert!(Self::state(&self.domain, &self.volume) == self.state, "somebody touched it");
        self.domain.undefine().unwrap();
        self.volume.delete(0).unwrap();
    }
}

/// Everything at the hypervisor that carries the cloud's mark.
pub fn marked(connect: &Connect, cloud: &str) -> Vec<String> {
    let mut found = Vec::new();
    for pool in ["default", "images"] {
        let pool = StoragePool::lookup_by_name(connect, pool).unwrap();
        pool.refresh(0).unwrap();
        found.extend(pool.list_volumes().unwrap().into_iter().filter(|name| name.starts_with(&format!("ostler+{cloud}+"))));
    }
    for domain in connect.list_all_domains(0).unwrap() {
        if domain.get_xml_desc(0).unwrap().contains(&format!("cloud=\"{cloud}\"")) {
            found.push(domain.get_name().unwrap());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real guests: tests/setup/libvirt.sh"]
async fn a_guest_boots_is_reached_stops_and_leaves_nothing() {
    let uri = variable("OSTLER_TEST_LIBVIRT");
    let name = format!("guests-{}", std::process::id());
    let mut connect = Connect::open(Some(&uri)).unwrap();
    let foreign = Foreign::place(&connect);
    let granted = HypervisorSettings {
        image_pools: vec!["images".to_owned()],
        virtualization: Virtualization::Qemu,
        ..HypervisorSettings::default()
    };
    let host = TestHost::new();
    let cloud = host.serve(cloud(&name, &uri, granted).set("sizes", SIZES), &libvirt()).await;
    assert_eq!(cloud.list_images().await.unwrap().iter().map(|image| image.id.as_str()).collect::<Vec<_>>(), [IMAGE]);

    let mut spec = NodeSpec::new("web & <co>", IMAGE, "tiny");
    spec.user_data = Some(b"#!/bin/sh\necho \"<&>\"\n".to_vec());
    spec.ssh_keys = vec!["ssh-ed25519 AAAA me@home".to_owned()];
    spec.block_devices = vec![ostler_drivers::model::BlockDevice { volume_id: None, size_gb: 1, device: None }];
    let asked = Instant::now();
    let node = cloud.create_node("t-1", spec).await.unwrap().value;
    println!("created in {:?}", asked.elapsed());
    let id = node.id.as_str();
    assert_eq!(cloud.find_node("t-1").await.unwrap().unwrap().id, id);
    // It boots from its own disk, and sees its seed.
    assert!(page(&cloud, id, "index.html", "boots=1 ").await.contains("mac=52:54:00:"));
    println!("answers after {:?}", asked.elapsed());
    assert_eq!(page(&cloud, id, "user-data", "sh").await, "#!/bin/sh\necho \"<&>\"\n");
    let meta = page(&cloud, id, "meta-data", "instance-id").await;
    assert!(
        meta.contains("ssh-ed25519 AAAA me@home") && meta.contains("\"local-hostname\":\"web----co\"") && meta.contains(id),
        "{meta}"
    );

    let measured = async || {
        let samples = cloud.sample(vec![id.to_owned()]).await.ok()?;
        let value = |name: &str| samples.first()?.values.iter().find(|value| value.name == name).map(|value| value.value);
        let all = [
            "cpu-time",
            "cpu-utilization",
            "memory-used",
            "memory-total",
            "network-in",
            "network-out",
            "disk-read",
            "disk-write",
        ]
        .map(value);
        all.iter().all(|value| value.is_some_and(|value| value > 0.0)).then_some(all)
    };
    let samples = eventually("all measurements", measured).await;
    assert!(samples[2] < samples[3], "memory that is used, of all: {samples:?}");

    cloud.act(id, Action::Suspend).await.unwrap();
    until(&cloud, id, NodeState::Suspended).await;
    cloud.act(id, Action::Resume).await.unwrap();
    until(&cloud, id, NodeState::Running).await;
    page(&cloud, id, "index.html", "boots=1 ").await;

    // The guest is asked, and stops by itself; its disk keeps what it wrote.
    cloud.act(id, Action::Stop(Force::Soft)).await.unwrap();
    assert!(matches!(cloud.get_node(id).await.unwrap().state, NodeState::Stopping | NodeState::Stopped));
    assert!(until(&cloud, id, NodeState::Stopped).await.addresses.is_empty());
    cloud.act(id, Action::Start).await.unwrap();
    page(&cloud, id, "index.html", "boots=2 ").await;

    // The daemon goes and comes back: the guest runs on, and the host finds its way back by itself.
    run(&variable("OSTLER_TEST_LIBVIRT_RESTART"), &[]);
    let back = eventually("the daemon", async || cloud.get_node(id).await.ok()).await;
    assert_eq!(back.state, NodeState::Running);
    page(&cloud, id, "index.html", "boots=2 ").await;
    cloud.act(id, Action::Reboot(Force::Hard)).await.unwrap();
    page(&cloud, id, "index.html", "boots=3 ").await;

    // Lost with the daemon, as the host's was.
    connect.close().unwrap();
    let connect = Connect::open(Some(&uri)).unwrap();
    assert_eq!(marked(&connect, &name).len(), 4, "root, further disk, seed, domain");
    cloud.destroy_node(id).await.unwrap();
    assert_eq!(kind(cloud.get_node(id).await), ErrorKind::NotFound);
    assert_eq!(marked(&connect, &name), Vec::<String>::new());
    let image = StorageVol::lookup_by_name(&StoragePool::lookup_by_name(&connect, "images").unwrap(), IMAGE);
    assert!(image.is_ok(), "the image stays");
    let (domain, volume) = (foreign.domain.get_name().unwrap(), foreign.volume.get_name().unwrap());
    let pool = StoragePool::lookup_by_name(&connect, "default").unwrap();
    let foreign = Foreign {
        domain: Domain::lookup_by_name(&connect, &domain).unwrap(),
        volume: StorageVol::lookup_by_name(&pool, &volume).unwrap(),
        state: foreign.state,
    };
    foreign.remove_untouched();
}
