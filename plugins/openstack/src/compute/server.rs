//! A server as Nova shows it, and as the contract does.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ostler_driver::{Address, Extra, Node, NodeState, Reach, time};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

/// The key of a server's metadata that holds the host's token.
pub(crate) const TOKEN: &str = "ostler-token";
/// … that says that the node needs a public address: `wanted`, and the address once it is there.
pub(crate) const ADDRESS: &str = "ostler-public-address";
/// … that names the image of a server that boots from a volume, where Nova does not.
pub(crate) const IMAGE: &str = "ostler-image";
/// The value of [`ADDRESS`] until there is one.
pub(crate) const WANTED: &str = "wanted";
/// Keys that an order cannot set.
pub(crate) const RESERVED: [&str; 3] = [TOKEN, ADDRESS, IMAGE];

/// What the driver reads of a server. Fields that are not always there have defaults.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Server {
    pub(crate) id: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) created: Option<String>,
    #[serde(default, rename = "OS-EXT-STS:task_state")]
    task_state: Option<String>,
    #[serde(default, rename = "OS-EXT-STS:vm_state")]
    vm_state: Option<String>,
    #[serde(default, rename = "OS-EXT-STS:power_state")]
    power_state: Option<i64>,
    #[serde(default, rename = "OS-EXT-AZ:availability_zone")]
    zone: Option<String>,
    #[serde(default)]
    pub(crate) metadata: BTreeMap<String, String>,
    #[serde(default)]
    addresses: Networks,
    #[serde(default)]
    flavor: Flavor,
    /// An object, or an empty text where the server boots from a volume.
    #[serde(default)]
    image: Value,
    #[serde(default)]
    key_name: Option<String>,
    #[serde(default)]
    fault: Option<Fault>,
    #[serde(default)]
    pub(crate) locked: bool,
    #[serde(default, rename = "os-extended-volumes:volumes_attached")]
    volumes: Vec<Volume>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Flavor {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    original_name: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Fault {
    #[serde(default)]
    message: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Volume {
    id: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Located {
    addr: String,
    #[serde(default, rename = "OS-EXT-IPS:type")]
    kind: Option<String>,
    #[serde(default, rename = "OS-EXT-IPS-MAC:mac_addr")]
    mac: Option<String>,
}

/// Addresses by the names of their networks, in Nova's order.
#[derive(Debug, Clone, Default)]
struct Networks(Vec<(String, Vec<Located>)>);

impl<'de> Deserialize<'de> for Networks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Networks;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("addresses by network")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Networks, M::Error> {
                let mut networks = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    networks.push(entry);
                }
                Ok(Networks(networks))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

impl Serialize for Networks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(network, addresses)| (network, addresses)))
    }
}

impl Server {
    /// The host's token.
    pub(crate) fn token(&self) -> Option<&str> {
        self.metadata.get(TOKEN).map(String::as_str)
    }

    /// Deleted, though Nova still shows it.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.status.as_str(), "DELETED" | "SOFT_DELETED")
    }

    /// Whether a public address was ordered, whatever has become of it.
    pub(crate) fn wants_address(&self) -> bool {
        self.metadata.contains_key(ADDRESS)
    }

    /// Whether it is up and lacks a public address that was ordered.
    pub(crate) fn lacks_address(&self) -> bool {
        self.metadata.get(ADDRESS).is_some_and(|value| value == WANTED)
            && self.state() == NodeState::Running
            && !self.has_floating()
    }

    fn has_floating(&self) -> bool {
        self.located().any(|(_, located)| located.kind.as_deref() == Some("floating"))
    }

    fn located(&self) -> impl Iterator<Item = (&str, &Located)> {
        self.addresses.0.iter().flat_map(|(network, all)| all.iter().map(move |located| (network.as_str(), located)))
    }

    /// What it is doing. An old status stays for the time of most tasks, so the task decides where there is one.
    pub(crate) fn state(&self) -> NodeState {
        let task = self.task_state.as_deref().unwrap_or_default();
        match (self.status.as_str(), task) {
            ("DELETED" | "SOFT_DELETED", _) => NodeState::Terminated,
            (_, "deleting" | "soft-deleting") => NodeState::Terminating,
            ("ERROR", _) => NodeState::Failed,
            // A build without a task is between two of them.
            ("BUILD", _) => NodeState::Pending,
            ("REBOOT" | "HARD_REBOOT", _) => NodeState::Rebooting,
            (_, task) if task.starts_with("reboot") => NodeState::Rebooting,
            (_, "powering-off") => NodeState::Stopping,
            // The contract has no word for the way to `suspended`.
            (_, "suspending" | "pausing") => NodeState::Stopping,
            (_, "powering-on" | "resuming" | "unpausing") => NodeState::Starting,
            ("ACTIVE", _) => NodeState::Running,
            ("SHUTOFF", _) => NodeState::Stopped,
            ("PAUSED" | "SUSPENDED", _) => NodeState::Suspended,
            ("UNKNOWN" | "", _) => NodeState::Unknown,
            (other, _) => NodeState::Other(other.to_ascii_lowercase().replace('_', "-")),
        }
    }

    /// As the contract shows it.
    pub(crate) fn node(&self) -> Node {
        let state = self.state();
        let detail = match (&state, &self.fault) {
            (NodeState::Failed, Some(fault)) => Some(fault.message.trim().chars().take(500).collect()),
            _ => self.task_state.clone(),
        };
        let mut node = Node::new(&self.id, self.name.clone().unwrap_or_default()).with_state(state);
        node.state_detail = detail;
        if self.lacks_address() {
            node.state = NodeState::Pending;
            node.state_detail = Some("its public address is not attached yet".to_owned());
        }
        node.token = self.token().map(str::to_owned);
        node.image_id = self.image["id"].as_str().or(self.metadata.get(IMAGE).map(String::as_str)).map(str::to_owned);
        node.size_id.clone_from(&self.flavor.id);
        node.created_at = self.created.as_deref().and_then(time::parse);
        node.addresses = self.located().map(|(network, located)| address(network, located)).collect();
        // Nova hears of it later than we, or never.
        if let Some(ip) = self.metadata.get(ADDRESS).filter(|value| *value != WANTED && !self.has_floating()) {
            node.addresses.push(Address::public(ip));
        }
        node.with_extra(self.extra())
    }

    fn extra(&self) -> Value {
        let metadata: BTreeMap<_, _> = self.metadata.iter().filter(|(key, _)| !RESERVED.contains(&key.as_str())).collect();
        let volumes: Vec<_> = self.volumes.iter().map(|volume| &volume.id).collect();
        let mut extra = json!({
            "status": self.status, "task_state": self.task_state, "vm_state": self.vm_state, "power_state": self.power_state,
            "zone": self.zone, "key_name": self.key_name, "metadata": metadata, "volumes": volumes, "locked": self.locked,
        });
        if let Some(name) = &self.flavor.original_name {
            extra["flavor"] = name.as_str().into();
        }
        extra
    }
}

/// A floating address is public; a fixed one is where the internet routes it.
fn address(network: &str, located: &Located) -> Address {
    let floating = located.kind.as_deref() == Some("floating");
    let routed = located.addr.parse().is_ok_and(|ip| !is_local(ip));
    Address {
        ip: located.addr.clone(),
        reach: if floating || routed { Reach::Public } else { Reach::Private },
        network: Some(network.to_owned()),
        mac: located.mac.as_ref().map(|mac| mac.to_ascii_lowercase()),
    }
}

/// Whether an address is of a range that is not routed in the internet: private, shared (RFC 6598), link-local, loopback, unique
/// local, and those for documentation.
fn is_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            ip.is_private()
                || ip.is_link_local()
                || ip.is_loopback()
                || ip.is_documentation()
                || (first == 100 && (64..128).contains(&second))
        }
        IpAddr::V6(ip) => {
            let first = ip.segments()[0];
            ip.is_loopback()
                || (first & 0xfe00) == 0xfc00
                || (first & 0xffc0) == 0xfe80
                || (first == 0x2001 && ip.segments()[1] == 0xdb8)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn server(status: &str, task: Option<&str>) -> Server {
        serde_json::from_value(json!({"id": "s1", "name": "vm1", "status": status, "OS-EXT-STS:task_state": task})).unwrap()
    }

    #[test]
    fn status_and_task_together_are_a_state() {
        for (status, task, state) in [
            ("BUILD", Some("scheduling"), NodeState::Pending),
            ("BUILD", None, NodeState::Pending),
            ("BUILD", Some("spawning"), NodeState::Pending),
            ("ACTIVE", None, NodeState::Running),
            ("ACTIVE", Some("image_snapshot"), NodeState::Running),
            ("ACTIVE", Some("powering-off"), NodeState::Stopping),
            ("SHUTOFF", None, NodeState::Stopped),
            ("SHUTOFF", Some("powering-on"), NodeState::Starting),
            ("ACTIVE", Some("reboot_started"), NodeState::Rebooting),
            ("REBOOT", Some("rebooting"), NodeState::Rebooting),
            ("HARD_REBOOT", None, NodeState::Rebooting),
            ("ACTIVE", Some("suspending"), NodeState::Stopping),
            ("SUSPENDED", None, NodeState::Suspended),
            ("SUSPENDED", Some("resuming"), NodeState::Starting),
            ("PAUSED", None, NodeState::Suspended),
            ("PAUSED", Some("unpausing"), NodeState::Starting),
            ("ACTIVE", Some("deleting"), NodeState::Terminating),
            ("ERROR", Some("deleting"), NodeState::Terminating),
            ("DELETED", None, NodeState::Terminated),
            ("SOFT_DELETED", None, NodeState::Terminated),
            ("ERROR", None, NodeState::Failed),
            ("UNKNOWN", None, NodeState::Unknown),
            ("VERIFY_RESIZE", None, NodeState::Other("verify-resize".into())),
            ("SHELVED_OFFLOADED", None, NodeState::Other("shelved-offloaded".into())),
        ] {
            assert_eq!(server(status, task).state(), state, "{status} {task:?}");
        }
    }

    #[test]
    fn a_whole_server_is_read() {
        // As Nova writes it at 2.46, with the fields that the driver does not read.
        let text = r#"{"id":"9b1c","name":"vm1","status":"ACTIVE","tenant_id":"p","user_id":"u","hostId":"h","created":"2026-11-22T15:21:06Z",
            "updated":"2026-11-22T15:21:10Z","progress":0,"addresses":{"private":[{"version":4,"addr":"10.0.0.157",
            "OS-EXT-IPS:type":"fixed","OS-EXT-IPS-MAC:mac_addr":"FA:16:3e:00:00:01"},{"version":4,"addr":"203.0.113.7",
            "OS-EXT-IPS:type":"floating","OS-EXT-IPS-MAC:mac_addr":"fa:16:3e:00:00:01"}],"a":[{"version":4,"addr":"9.9.9.9",
            "OS-EXT-IPS:type":"fixed"}]},"accessIPv4":"","accessIPv6":"","metadata":{"role":"web","ostler-token":"t-1"},"key_name":"k1",
            "config_drive":"","OS-DCF:diskConfig":"MANUAL","flavor":{"id":"42","links":[]},"image":{"id":"i1","links":[]},
            "security_groups":[{"name":"default"}],"OS-EXT-STS:vm_state":"active","OS-EXT-STS:task_state":null,
            "OS-EXT-STS:power_state":1,"OS-EXT-AZ:availability_zone":"nova","OS-SRV-USG:launched_at":"2026-11-22T15:21:09.934424",
            "OS-SRV-USG:terminated_at":null,"os-extended-volumes:volumes_attached":[{"id":"v1"}],"links":[],"locked":false,
            "tags":["t1"],"description":null}"#;
        let server: Server = serde_json::from_str(text).unwrap();
        let node = server.node();
        assert_eq!((node.id.as_str(), node.name.as_str(), node.token.as_deref()), ("9b1c", "vm1", Some("t-1")));
        assert_eq!((node.image_id.as_deref(), node.size_id.as_deref()), (Some("i1"), Some("42")));
        assert_eq!((node.state.clone(), node.created_at), (NodeState::Running, Some(1_795_360_866_000_000)));
        let shown: Vec<_> = node.addresses.iter().map(|a| (a.ip.as_str(), &a.reach, a.network.as_deref().unwrap())).collect();
        let expected = [
            ("10.0.0.157", &Reach::Private, "private"),
            ("203.0.113.7", &Reach::Public, "private"),
            ("9.9.9.9", &Reach::Public, "a"),
        ];
        assert_eq!(shown, expected, "in Nova's order");
        assert_eq!(node.addresses[0].mac.as_deref(), Some("fa:16:3e:00:00:01"));
        let extra = node.extra().unwrap();
        assert_eq!((&extra["metadata"], &extra["volumes"]), (&json!({"role": "web"}), &json!(["v1"])));
        // It survives the cache.
        let kept: Server = serde_json::from_slice(&serde_json::to_vec(&server).unwrap()).unwrap();
        assert_eq!(kept.node(), node);
    }

    #[test]
    fn a_broken_or_bare_server_is_read_too() {
        let text = r#"{"id":"e","name":"x","status":"ERROR","addresses":{},"hostId":"","image":"","metadata":{"ostler-image":"i9"},
            "flavor":{"vcpus":1,"ram":64,"original_name":"m1.nano"},"fault":{"code":500,"message":"No valid host was found. "}}"#;
        let node = serde_json::from_str::<Server>(text).unwrap().node();
        assert_eq!((node.state, node.state_detail.as_deref()), (NodeState::Failed, Some("No valid host was found.")));
        assert_eq!((node.image_id.as_deref(), node.size_id), (Some("i9"), None));
        assert_eq!(serde_json::from_str::<Server>(r#"{"id":"b"}"#).unwrap().node().state, NodeState::Unknown);
    }

    #[test]
    fn a_node_is_pending_until_its_public_address_is_there() {
        let mut server = server("ACTIVE", None);
        server.metadata.insert(ADDRESS.into(), WANTED.into());
        assert_eq!(server.node().state, NodeState::Pending);
        server.metadata.insert(ADDRESS.into(), "203.0.113.7".into());
        let node = server.node();
        assert_eq!((node.state, node.addresses), (NodeState::Running, vec![Address::public("203.0.113.7")]));
        server.status = "SHUTOFF".into();
        server.metadata.insert(ADDRESS.into(), WANTED.into());
        assert_eq!(server.node().state, NodeState::Stopped);
    }

    #[test]
    fn ranges_are_told_apart() {
        for (ip, local) in [
            ("10.1.2.3", true),
            ("100.64.0.1", true),
            ("100.128.0.1", false),
            ("169.254.1.1", true),
            ("203.0.113.1", true),
            ("8.8.8.8", false),
            ("fd00::1", true),
            ("fe80::1", true),
            ("2001:db8::1", true),
            ("2a00::1", false),
        ] {
            assert_eq!(is_local(ip.parse().unwrap()), local, "{ip}");
        }
    }
}
