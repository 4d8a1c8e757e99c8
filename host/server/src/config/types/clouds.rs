//! `[clouds.NAME]`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ostler_drivers::HypervisorSettings;
use secrecy::SecretString;

/// `[clouds.NAME]`: one cloud.
#[derive(Clone, Debug)]
pub struct Cloud {
    /// The driver's name: 1 to 64 of `a-z 0-9 - _ .`. Required.
    pub driver: String,
    /// What the driver may use.
    pub grants: Grants,
    /// What the driver reads through its `config` capability.
    pub config: BTreeMap<String, toml::Value>,
    /// What the driver reads through its `secrets` capability.
    pub secrets: BTreeMap<String, Secret>,
    /// Bounds on the driver's calls.
    pub limits: Limits,
    /// Whether instances are used again. Default `warm`.
    pub instances: Instances,
    /// How the driver's HTTPS connections authenticate both sides.
    pub tls: OutgoingTls,
    /// Whether deployments are placed here, and how willingly.
    pub deployments: Placing,
    /// What the driver may use of the hypervisor that it is granted.
    pub hypervisor: HypervisorSettings,
}

impl Cloud {
    /// A cloud of this driver with all defaults.
    pub fn new(driver: impl Into<String>) -> Self {
        Self {
            driver: driver.into(),
            grants: Grants::default(),
            config: BTreeMap::new(),
            secrets: BTreeMap::new(),
            limits: Limits::default(),
            instances: Instances::default(),
            tls: OutgoingTls::default(),
            deployments: Placing::default(),
            hypervisor: HypervisorSettings::default(),
        }
    }
}

/// `[clouds.NAME.deployments]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Placing {
    /// Whether deployments are placed on this cloud. Default true.
    pub enabled: bool,
    /// How much it is preferred to the other clouds, up to 1000. Default 1.
    pub priority: f64,
    /// The service-level agreements that cover it, as templates name them in placement policies. Default: none.
    pub agreements: Vec<String>,
    /// Its identifier in the registries of `[api.indigo.registries]`; what they say of it counts then. Default: none.
    pub service: Option<String>,
}

impl Default for Placing {
    fn default() -> Self {
        Self { enabled: true, priority: 1.0, agreements: Vec::new(), service: None }
    }
}

/// `[clouds.NAME.grants]`: the capabilities. What reaches outside must be granted; the rest can be withdrawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Grants {
    /// Origins (`https://host[:port]`) that the driver may talk to, normalised: lower case, no default port. Default: none.
    pub http: Vec<String>,
    /// The libvirt connection, such as `qemu:///system`. Default: none.
    pub hypervisor: Option<String>,
    /// Durable key-value storage. Default true.
    pub state: bool,
    /// In-memory values. Default true.
    pub cache: bool,
    /// The cloud's configuration. Default true.
    pub config: bool,
    /// The cloud's secrets. Default true.
    pub secrets: bool,
    /// The host's log. Default true.
    pub log: bool,
}

impl Default for Grants {
    fn default() -> Self {
        Self { http: Vec::new(), hypervisor: None, state: true, cache: true, config: true, secrets: true, log: true }
    }
}

/// A secret and where it came from. `Debug` shows the source only.
#[derive(Clone, Debug)]
pub struct Secret {
    /// Where to read it again.
    pub source: SecretSource,
    /// The value; `Debug` of the type is redacted.
    pub value: SecretString,
}

/// Where a secret is kept. Never in the configuration file itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// `{ env = "NAME" }`: an environment variable.
    Env(String),
    /// `{ file = "PATH" }`: a file (relative to the configuration file) of at most 64 KiB of UTF-8; line ends at its end are cut.
    File(PathBuf),
}

/// `[clouds.NAME.limits]`: bounds on a driver, so that a broken one harms its own cloud's calls only.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// How long a call may take, waits included, in seconds. Default 10.
    pub call_seconds: u64,
    /// How much processor time a call may take, in milliseconds. Default 1000.
    pub cpu_ms: u64,
    /// The memory of an instance, in MiB. Default 64.
    pub memory_mb: u64,
    /// Calls at once. Default 32.
    pub concurrency: u64,
    /// How long a list may be answered from memory, in milliseconds. Default 0: always asked anew.
    pub list_ttl_ms: u64,
    /// The largest answer of a call and the largest HTTP response body, in MiB. Default 16.
    pub answer_mb: u64,
    /// The quota of durable storage, in MiB. Default 64.
    pub state_mb: u64,
    /// Calls to the provider per second. Default: not limited.
    pub rate_per_second: Option<f64>,
    /// Instances kept ready. Default 4.
    pub warm: u64,
}

impl Limits {
    /// `call_seconds` as a duration.
    pub fn call_timeout(&self) -> Duration {
        Duration::from_secs(self.call_seconds)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            call_seconds: 10,
            cpu_ms: 1000,
            memory_mb: 64,
            concurrency: 32,
            list_ttl_ms: 0,
            answer_mb: 16,
            state_mb: 64,
            rate_per_second: None,
            warm: 4,
        }
    }
}

/// Whether a driver's instances are used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Instances {
    /// A pool of instances, each used for many calls, one at a time.
    #[default]
    Warm,
    /// A new instance for each call.
    Fresh,
}

/// `[clouds.NAME.tls]`: for the driver's own HTTPS connections. Paths are relative to the configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutgoingTls {
    /// Certificate authorities, PEM, instead of the system's. Default: none.
    pub ca: Option<PathBuf>,
    /// A client certificate, PEM. Default: none.
    pub certificate: Option<PathBuf>,
    /// The private key of `certificate`, PEM.
    pub key: Option<PathBuf>,
}
