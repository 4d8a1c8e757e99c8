//! What the operator says about a cloud, as far as running its driver goes.

use ostler_egress::Origin;
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// What a cloud's driver may use. The default grants what cannot reach beyond the cloud itself: no network, no hypervisor.
#[derive(Clone, Debug)]
pub struct Grants {
    /// Origins that `wasi:http` may call; empty refuses a driver that imports it.
    pub http: Vec<Origin>,
    /// The hypervisor connection: a libvirt URI such as `qemu:///system`. What may be used of it is in
    /// [`CloudSettings::hypervisor`].
    pub hypervisor: Option<String>,
    /// Durable key-value storage.
    pub state: bool,
    /// In-memory values.
    pub cache: bool,
    /// The cloud's configuration.
    pub config: bool,
    /// The cloud's secrets.
    pub secrets: bool,
    /// The host's log.
    pub log: bool,
}

impl Default for Grants {
    fn default() -> Self {
        Self { http: Vec::new(), hypervisor: None, state: true, cache: true, config: true, secrets: true, log: true }
    }
}

/// What a cloud may use of the hypervisor that it is granted. What is not named here does not exist for its driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HypervisorSettings {
    /// Storage pools in which it makes volumes; the first is the default.
    pub pools: Vec<String>,
    /// Storage pools whose volumes are images: each of their volumes can be read and cloned, none changed unless this cloud made
    /// it. Images that somebody puts there by hand need no mark; those that the host fetches go there too, with this cloud's mark.
    /// May overlap with `pools`.
    pub image_pools: Vec<String>,
    /// Networks that its domains may join; the first is the default.
    pub networks: Vec<String>,
    /// Devices of the hypervisor (by libvirt's names, such as `pci_0000_01_00_0`) that may be passed through to its domains.
    pub devices: Vec<String>,
    /// How domains run.
    pub virtualization: Virtualization,
}

/// A pool and a network as libvirt's packages set them up, and no devices.
impl Default for HypervisorSettings {
    fn default() -> Self {
        Self {
            pools: vec!["default".into()],
            image_pools: Vec::new(),
            networks: vec!["default".into()],
            devices: Vec::new(),
            virtualization: Virtualization::Auto,
        }
    }
}

/// How domains run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Virtualization {
    /// By the processor's virtualization where it has one, else by emulation. That libvirt offers KVM says little: a kernel may
    /// offer `/dev/kvm` on a processor without virtualization, and guests then take minutes to boot.
    #[default]
    Auto,
    /// By KVM.
    Kvm,
    /// By QEMU's emulation: slow, and works everywhere.
    Qemu,
}

/// Bounds of what a cloud's driver may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Wall-clock time of one call, and of one whole listing.
    pub call: Duration,
    /// Processor time of one call.
    pub cpu: Duration,
    /// Linear memory of one instance, in bytes.
    pub memory: usize,
    /// Calls of this cloud that run at once; more wait.
    pub concurrency: usize,
    /// How long a listing may be shown again; zero asks the provider each time.
    pub list_ttl: Duration,
    /// Bytes of one answer, and of the body of one HTTP response.
    pub answer: usize,
    /// Bytes of this cloud's durable state.
    pub state: u64,
    /// Calls a second; none for no bound.
    pub rate: Option<f64>,
    /// Instances kept for reuse.
    pub warm: usize,
    /// Calls after which an instance is retired.
    pub calls_per_instance: u32,
    /// Idle time after which an instance is retired.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            call: Duration::from_secs(10),
            cpu: Duration::from_secs(1),
            memory: 64 << 20,
            concurrency: 32,
            list_ttl: Duration::ZERO,
            answer: 16 << 20,
            state: 64 << 20,
            rate: None,
            warm: 4,
            calls_per_instance: 10_000,
            idle: Duration::from_secs(60),
        }
    }
}

/// Whether an instance serves one call or many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Instances {
    /// Many, one at a time.
    #[default]
    Warm,
    /// One.
    Fresh,
}

/// Certificates for calling the provider.
#[derive(Clone, Default)]
pub struct Tls {
    /// Authorities to trust instead of the system's, in PEM.
    pub ca_pem: Option<Vec<u8>>,
    /// The client's certificate chain and key, in PEM.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("ca", &self.ca_pem.is_some()).field("identity", &self.identity.is_some()).finish()
    }
}

/// One configured cloud.
#[derive(Clone, Debug)]
pub struct CloudSettings {
    /// Its name, as it stands in paths.
    pub name: String,
    /// The name of its driver.
    pub driver: String,
    /// What the driver may use.
    pub grants: Grants,
    /// Values for the `config` capability.
    pub config: BTreeMap<String, String>,
    /// Who the host is, for drivers that ask for the setting `instance`.
    pub instance: Option<String>,
    /// Values for the `secrets` capability.
    pub secrets: BTreeMap<String, SecretString>,
    /// What the driver may take.
    pub limits: Limits,
    /// Whether instances are reused.
    pub instances: Instances,
    /// Certificates for `wasi:http`.
    pub tls: Tls,
    /// What the driver may use of the granted hypervisor.
    pub hypervisor: HypervisorSettings,
    /// The directory in which the host has fetched images ready (`ostler_images`), from which volumes of the hypervisor can be
    /// made; none where the host fetches no images.
    pub images: Option<PathBuf>,
}

impl CloudSettings {
    /// A cloud with default grants and limits.
    pub fn new(name: impl Into<String>, driver: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            driver: driver.into(),
            grants: Grants::default(),
            config: BTreeMap::new(),
            secrets: BTreeMap::new(),
            limits: Limits::default(),
            instances: Instances::default(),
            tls: Tls::default(),
            hypervisor: HypervisorSettings::default(),
            images: None,
            instance: None,
        }
    }
}
