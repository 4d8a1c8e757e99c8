//! A hypervisor through the driver, against libvirt's library asked for the same by this process, in turns.
//!
//! On `test:///default` always. On a real hypervisor besides, where `OSTLER_TEST_LIBVIRT` says how to reach it
//! (`tests/setup/libvirt.sh`).

use crate::call::Empty;
use crate::report::{Bar, Report, median};
use ostler_drivers::model::{Action, Force, NodeSpec};
use ostler_drivers::{Cloud, CloudSettings, Host, HypervisorSettings, LoadPolicy, Runtime, Seal, Strictness, Virtualization};
use ostler_tests::components;
use std::sync::Arc;
use std::time::Instant;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;

const DOMAINS: usize = 200;
const ROUNDS: usize = 15;
const GUESTS: usize = 5;
const CLOUD: &str = "bench";
const IMAGE: &str = "tiny.qcow2";
const SIZES: &str = r#"[{"id": "tiny", "vcpus": 1, "ram_mb": 64, "disk_gb": 0}]"#;

/// Where it is, and where its disks and images are.
struct Place {
    uri: String,
    kind: &'static str,
    disks: &'static str,
    images: &'static str,
}

/// Runs the section.
pub(crate) fn run(report: &mut Report) {
    report.section("Hypervisors, in this process");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime can be made");
    runtime.block_on(async {
        let place = Place { uri: "test:///default".into(), kind: "test", disks: "default-pool", images: "default-pool" };
        let side = Side::new(place).await;
        let pool = side.pool(side.place.images);
        let image =
            format!("<volume><name>{IMAGE}</name><capacity>1048576</capacity><target><format type='qcow2'/></target></volume>");
        StorageVol::create_xml(&pool, &image, 0).expect("the image can be made");
        let [direct, driven] = side.listed().await;
        report.line(&format!("test: list {DOMAINS}, libvirt"), &[("ms", direct)]);
        report.line(&format!("test: list {DOMAINS}, driver"), &[("ms", driven), ("ms more", driven - direct)]);
        report.bar("a list of 200 through the driver, ms more", driven - direct, Bar::AtMost(50.0));

        let Ok(uri) = std::env::var("OSTLER_TEST_LIBVIRT") else { return };
        let side = Side::new(Place { uri, kind: "qemu", disks: "default", images: "images" }).await;
        let [direct, driven] = side.lived().await;
        let names = ["create", "list", "start", "stop", "destroy"];
        for (which, figures) in [("libvirt", direct), ("driver", driven)] {
            let figures: Vec<(String, f64)> = names.iter().zip(figures).map(|(name, ms)| (format!("{name} ms"), ms)).collect();
            let figures: Vec<(&str, f64)> = figures.iter().map(|(name, ms)| (name.as_str(), *ms)).collect();
            report.line(&format!("guests, {which}"), &figures);
        }
        for (name, (direct, driven)) in names.iter().zip(direct.iter().zip(driven)) {
            report.goal(&format!("{name}, ms more by the driver"), driven - direct, Bar::AtMost(20.0), Bar::AtMost(250.0));
        }
    });
}

/// The same hypervisor in both ways.
struct Side {
    place: Place,
    connect: Connect,
    cloud: Arc<Cloud>,
    _host: Arc<Host>,
}

impl Side {
    async fn new(place: Place) -> Self {
        // This one is first: the hypervisor for tests lives as long as somebody is connected.
        let connect = Connect::open(Some(&place.uri)).expect("libvirt can be reached");
        let host = Host::new(Runtime::new(None).expect("the runtime starts"), LoadPolicy::default(), Arc::new(Empty));
        let host = Arc::new(host.expect("a host can be made"));
        let mut settings = CloudSettings::new(CLOUD, "libvirt");
        settings.config.insert("sizes".to_owned(), SIZES.to_owned());
        settings.grants.hypervisor = Some(place.uri.clone());
        settings.hypervisor = HypervisorSettings {
            pools: vec![place.disks.to_owned()],
            image_pools: vec![place.images.to_owned()],
            virtualization: Virtualization::Qemu,
            ..HypervisorSettings::default()
        };
        host.add_cloud(settings).expect("a cloud can be added");
        let prepared = host.prepare("libvirt", components::libvirt(), Seal::Builtin, Strictness::AllOrNothing).await;
        host.activate(prepared.expect("the driver loads")).await;
        let cloud = host.cloud(CLOUD).expect("it was added");
        Self { place, connect, cloud, _host: host }
    }

    fn pool(&self, name: &str) -> StoragePool {
        StoragePool::lookup_by_name(&self.connect, name).expect("the pool is there")
    }

    /// Milliseconds of a list of many: by the library, by the driver.
    async fn listed(&self) -> [f64; 2] {
        for number in 0..DOMAINS {
            self.cloud.create_node(&format!("t{number}"), order(number)).await.expect("a node can be made");
        }
        let (mut direct, mut driven) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (found, ms) = timed(async || list(&self.connect)).await;
            // One is there from the start.
            assert_eq!(found, DOMAINS + 1);
            direct.push(ms);
            let (found, ms) = timed(async || self.cloud.list_nodes().await.expect("nodes are listed").len()).await;
            assert_eq!(found, DOMAINS);
            driven.push(ms);
        }
        [median(direct), median(driven)]
    }

    /// Milliseconds of creating, listing, starting, stopping (hard) and destroying a guest: by the library, by the driver.
    async fn lived(&self) -> [[f64; 5]; 2] {
        let (mut direct, mut driven) = ([const { Vec::new() }; 5], [const { Vec::new() }; 5]);
        for number in 0..GUESTS {
            for (figures, ms) in direct.iter_mut().zip(self.directly(number).await) {
                figures.push(ms);
            }
            for (figures, ms) in driven.iter_mut().zip(self.by_driver(number).await) {
                figures.push(ms);
            }
        }
        [direct.map(median), driven.map(median)]
    }

    async fn directly(&self, number: usize) -> [f64; 5] {
        let (pool, images) = (self.pool(self.place.disks), self.pool(self.place.images));
        let ((domain, volume), create) = timed(async || {
            let image = StorageVol::lookup_by_name(&images, IMAGE).expect("the image is there");
            let backing = image.get_path().expect("it has a path");
            let capacity = image.get_info().expect("it says how large it is").capacity;
            let name = format!("bench-direct-{number}");
            let volume = format!(
                "<volume><name>{name}</name><capacity>{capacity}</capacity><target><format type='qcow2'/></target>\
                 <backingStore><path>{backing}</path><format type='qcow2'/></backingStore></volume>"
            );
            let volume = StorageVol::create_xml(&pool, &volume, 0).expect("a clone can be made");
            let domain = format!(
                "<domain type='{}'><name>{name}</name><memory unit='MiB'>64</memory><os><type>hvm</type></os><devices>\
                 <disk type='volume'><driver name='qemu' type='qcow2'/><source pool='{}' volume='{name}'/>\
                 <target dev='vda' bus='virtio'/></disk><interface type='network'><source network='default'/>\
                 <model type='virtio'/></interface></devices></domain>",
                self.place.kind, self.place.disks
            );
            (Domain::define_xml(&self.connect, &domain).expect("a domain can be defined"), volume)
        })
        .await;
        let (_, listing) = timed(async || list(&self.connect)).await;
        let (_, start) = timed(async || domain.create().expect("it starts")).await;
        let ((), stop) = timed(async || domain.destroy().expect("it stops")).await;
        let ((), destroy) = timed(async || {
            domain.undefine().expect("it goes");
            volume.delete(0).expect("its disk goes");
        })
        .await;
        [create, listing, start, stop, destroy]
    }

    async fn by_driver(&self, number: usize) -> [f64; 5] {
        let spec = NodeSpec { start: false, ..order(number) };
        let token = format!("guest-{number}");
        let (node, create) =
            timed(async || self.cloud.create_node(&token, spec.clone()).await.expect("a node can be made").value.id).await;
        let (_, listing) = timed(async || self.cloud.list_nodes().await.expect("nodes are listed").len()).await;
        let act = async |action: Action| {
            timed(async || self.cloud.act(&node, action.clone()).await.expect("it does as it is told")).await.1
        };
        let (start, stop) = (act(Action::Start).await, act(Action::Stop(Force::Hard)).await);
        let (_, destroy) = timed(async || self.cloud.destroy_node(&node).await.expect("it goes")).await;
        [create, listing, start, stop, destroy]
    }
}

fn order(number: usize) -> NodeSpec {
    NodeSpec::new(format!("node-{number}"), IMAGE, "tiny")
}

/// What a list of nodes needs to know of each domain; how many there are.
fn list(connect: &Connect) -> usize {
    let domains = connect.list_all_domains(0).expect("domains are listed");
    for domain in &domains {
        domain.get_uuid_string().expect("it has an identifier");
        domain.get_state().expect("it has a state");
        domain.get_xml_desc(0).expect("it has a definition");
    }
    domains.len()
}

async fn timed<T>(work: impl AsyncFnOnce() -> T) -> (T, f64) {
    let began = Instant::now();
    let result = work().await;
    (result, began.elapsed().as_secs_f64() * 1e3)
}
