//! What drivers and the host talk about, independent of the generation of the contract.
//!
//! Shapes and units are those of `wit/types.wit`; the adapter of each generation converts into these.

use serde::{Deserialize, Serialize};

/// What a node is doing. See `types.node-state`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeState {
    /// Accepted, being built.
    Pending,
    /// On its way to `Running`.
    Starting,
    /// Up.
    Running,
    /// On its way through a reboot.
    Rebooting,
    /// On its way to `Stopped`.
    Stopping,
    /// Off.
    Stopped,
    /// Frozen.
    Suspended,
    /// Being destroyed.
    Terminating,
    /// Destroyed, still listed.
    Terminated,
    /// Broken.
    Failed,
    /// The provider does not say.
    Unknown,
    /// A state of the provider's own.
    Other(String),
}

/// From where an address can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// From outside the provider's network.
    Public,
    /// From inside only.
    Private,
    /// Something else, named.
    Other(String),
}

/// One network address of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// IPv4 or IPv6, as the driver wrote it.
    pub ip: String,
    /// From where it can be reached.
    pub reach: Reach,
    /// The network's name.
    pub network: Option<String>,
    /// The hardware address.
    pub mac: Option<String>,
}

/// A machine at a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The provider's identifier.
    pub id: String,
    /// The name shown.
    pub name: String,
    /// The host's token, if it was made through a host.
    pub token: Option<String>,
    /// What it is doing.
    pub state: NodeState,
    /// Why.
    pub state_detail: Option<String>,
    /// The image it was made from.
    pub image_id: Option<String>,
    /// Its size.
    pub size_id: Option<String>,
    /// Its addresses, in the provider's order.
    pub addresses: Vec<Address>,
    /// Microseconds since 1970, UTC.
    pub created_at: Option<u64>,
    /// The text of a JSON object; empty for `{}`.
    pub extra: String,
}

/// What an image is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageStatus {
    /// Known, without content.
    Pending,
    /// Content is arriving; percent where known.
    Importing(Option<u8>),
    /// Ready.
    Active,
    /// Unusable, and why.
    Failed(String),
    /// Being deleted.
    Deleting,
    /// A status of the provider's own.
    Other(String),
}

/// A disk image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The provider's identifier.
    pub id: String,
    /// The name shown.
    pub name: String,
    /// The token it was imported with.
    pub token: Option<String>,
    /// What it is doing.
    pub status: ImageStatus,
    /// Bytes.
    pub size_bytes: Option<u64>,
    /// Gigabytes.
    pub min_disk_gb: Option<u64>,
    /// Mebibytes.
    pub min_ram_mb: Option<u64>,
    /// `sha256:<hex>`.
    pub checksum: Option<String>,
    /// Microseconds since 1970, UTC.
    pub created_at: Option<u64>,
    /// Searchable facts.
    pub properties: Vec<(String, String)>,
    /// The text of a JSON object; empty for `{}`.
    pub extra: String,
}

/// A shape of node that can be ordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// The provider's identifier.
    pub id: String,
    /// The name shown.
    pub name: String,
    /// Virtual processors.
    pub vcpus: Option<u32>,
    /// Mebibytes.
    pub ram_mb: u64,
    /// Gigabytes.
    pub disk_gb: u64,
    /// Searchable facts.
    pub properties: Vec<(String, String)>,
    /// The text of a JSON object; empty for `{}`.
    pub extra: String,
}

/// One page of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items, in the provider's order.
    pub items: Vec<T>,
    /// The next page's cursor.
    pub next: Option<String>,
}

/// A further disk of a new node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockDevice {
    /// An existing volume, or none for a new one.
    pub volume_id: Option<String>,
    /// Gigabytes of a new one.
    pub size_gb: u64,
    /// Where the guest should see it.
    pub device: Option<String>,
}

/// An order for one node. See `types.node-spec`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// The name to give it.
    pub name: String,
    /// The image, by identifier.
    pub image_id: String,
    /// The size, by identifier.
    pub size_id: String,
    /// A key pair that the provider holds.
    pub key_name: Option<String>,
    /// Public keys in `authorized_keys` form.
    pub ssh_keys: Vec<String>,
    /// For the guest's first boot.
    pub user_data: Option<Vec<u8>>,
    /// Labels.
    pub metadata: Vec<(String, String)>,
    /// Networks to join.
    pub networks: Vec<String>,
    /// Security groups.
    pub security_groups: Vec<String>,
    /// Whether it needs an address reachable from outside.
    pub public_address: bool,
    /// Further disks.
    pub block_devices: Vec<BlockDevice>,
    /// The zone.
    pub zone: Option<String>,
    /// Whether it ends running.
    pub start: bool,
    /// The text of a JSON object; empty for `{}`.
    pub extra: String,
}

impl NodeSpec {
    /// The least order: a name, an image and a size, started, everything else left to the provider.
    pub fn new(name: impl Into<String>, image_id: impl Into<String>, size_id: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            image_id: image_id.into(),
            size_id: size_id.into(),
            key_name: None,
            ssh_keys: Vec::new(),
            user_data: None,
            metadata: Vec::new(),
            networks: Vec::new(),
            security_groups: Vec::new(),
            public_address: false,
            block_devices: Vec::new(),
            zone: None,
            start: true,
            extra: String::new(),
        }
    }
}

/// How hard a stop or a reboot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Force {
    /// Ask the guest.
    Soft,
    /// Cut the power.
    Hard,
}

/// What can be done to a node that exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Stopped to running.
    Start,
    /// Running to stopped.
    Stop(Force),
    /// Through a reboot.
    Reboot(Force),
    /// Running to suspended.
    Suspend,
    /// Suspended to running.
    Resume,
    /// An action of the provider's own.
    Other(String),
}

/// Where an image comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageSource {
    /// The provider fetches it.
    Url(String),
    /// The host has fetched it.
    Staged(String),
}

/// An order for one image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSpec {
    /// The name to give it.
    pub name: String,
    /// Where it comes from.
    pub source: ImageSource,
    /// `qcow2`, `raw`, …
    pub format: Option<String>,
    /// `sha256:<hex>` that it must have.
    pub checksum: Option<String>,
    /// Searchable facts.
    pub properties: Vec<(String, String)>,
    /// The text of a JSON object; empty for `{}`.
    pub extra: String,
}

/// An amount of something of which there is so much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gauge {
    /// None: no bound is known.
    pub total: Option<u64>,
    /// How much is taken.
    pub used: Option<u64>,
}

/// A named limit of the account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Its name.
    pub name: String,
    /// Allowed and used.
    pub amount: Gauge,
}

/// A device that nodes could be given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// `usb`, `pci`, …
    pub kind: String,
    /// The class.
    pub class: String,
    /// The vendor.
    pub vendor: String,
    /// The product.
    pub product: String,
    /// The text of a JSON object; empty for `{}`.
    pub extra: String,
}

/// What the platform has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// The processor model.
    pub cpu_model: Option<String>,
    /// Virtual processors.
    pub vcpus: Gauge,
    /// Mebibytes.
    pub ram_mb: Gauge,
    /// Gigabytes.
    pub disk_gb: Gauge,
    /// Nodes.
    pub nodes: Gauge,
    /// Limits of the account.
    pub quotas: Vec<Quota>,
    /// Devices.
    pub devices: Vec<Device>,
    /// The text of a JSON object; empty for `{}`.
    pub extra: String,
}

/// How a measured value behaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MetricKind {
    /// Up and down.
    Gauge,
    /// Only grows.
    Counter,
    /// Something else, named.
    Other(String),
}

/// One measured value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// How it behaves.
    pub kind: MetricKind,
    /// The value.
    pub value: f64,
}

/// What was measured of one node at one time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The node.
    pub node_id: String,
    /// Microseconds since 1970, UTC.
    pub at: u64,
    /// The values.
    pub values: Vec<Measurement>,
}

/// A configuration key that a driver reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The key.
    pub key: String,
    /// What it does.
    pub doc: String,
    /// Whether the driver cannot work without it.
    pub required: bool,
    /// Whether it is a secret.
    pub secret: bool,
}

/// Who a driver is and what it can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The driver's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The provider kind, for machines.
    pub provider: String,
    /// The provider kind, for people.
    pub cloud_type: String,
    /// What it can do; see `types.description`.
    pub features: Vec<String>,
    /// What it reads.
    pub settings: Vec<Setting>,
    /// The text of a JSON object; empty for `{}`.
    pub extra: String,
}

impl Description {
    /// Whether the driver says that it has this feature.
    pub fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|known| known == feature)
    }
}

/// What a successful check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The provider's host.
    pub endpoint: Option<String>,
    /// The account.
    pub account: Option<String>,
    /// The provider's version.
    pub provider_version: Option<String>,
    /// The text of a JSON object; empty for `{}`.
    pub extra: String,
}
