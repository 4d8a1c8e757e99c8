//! JSON as the original wrote it: two spaces, sorted keys, ASCII, no newline at the end.

use ostler_core::model::{Address, Description, Image, Node, NodeState, Reach, Size};
use serde::Serialize;
use serde_json::Value;
use sha1::{Digest, Sha1};

pub(super) use crate::api::json::pretty;

/// A node. Fields stand in the order of their names, as everywhere in this file.
#[derive(Serialize)]
pub(super) struct NodeView<'a> {
    cloud_type: &'a str,
    extra: Value,
    id: &'a str,
    name: &'a str,
    private_ips: Vec<&'a str>,
    provider: &'a str,
    public_ips: Vec<&'a str>,
    state: u8,
    uuid: String,
}

#[derive(Serialize)]
pub(super) struct ImageView<'a> {
    cloud_type: &'a str,
    id: &'a str,
    name: &'a str,
    provider: &'a str,
}

#[derive(Serialize)]
pub(super) struct FlavorView<'a> {
    cloud_type: &'a str,
    cpu: u32,
    disk: u64,
    id: &'a str,
    name: &'a str,
    provider: &'a str,
    ram: u64,
}

#[derive(Serialize)]
pub(super) struct CloudView {
    pub(super) host: String,
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
}

#[derive(Serialize)]
pub(super) struct Nodes<T> {
    pub(super) nodes: T,
    pub(super) status: &'static str,
}

#[derive(Serialize)]
pub(super) struct Images<'a> {
    pub(super) images: Vec<ImageView<'a>>,
    pub(super) status: &'static str,
}

#[derive(Serialize)]
pub(super) struct Flavors<'a> {
    pub(super) flavors: Vec<FlavorView<'a>>,
    pub(super) status: &'static str,
}

#[derive(Serialize)]
pub(super) struct Clouds {
    pub(super) served_cloud: Vec<CloudView>,
    pub(super) status: &'static str,
}

#[derive(Serialize)]
pub(super) struct Assignment<'a> {
    pub(super) id: &'a Value,
    pub(super) id_vm: &'a Value,
    pub(super) result: &'a str,
    pub(super) status: &'static str,
}

impl<'a> NodeView<'a> {
    pub(super) fn new(node: &'a Node, driver: &'a Description) -> Self {
        let ips = |public: bool| {
            let reachable = move |address: &&Address| (address.reach == Reach::Public) == public;
            node.addresses.iter().filter(reachable).map(|address| address.ip.as_str()).collect()
        };
        Self {
            cloud_type: &driver.cloud_type,
            extra: object(&node.extra),
            id: &node.id,
            name: &node.name,
            private_ips: ips(false),
            provider: &driver.provider,
            public_ips: ips(true),
            state: state(&node.state),
            uuid: uuid(&node.id, &driver.provider),
        }
    }
}

impl<'a> ImageView<'a> {
    pub(super) fn new(image: &'a Image, driver: &'a Description) -> Self {
        Self { cloud_type: &driver.cloud_type, id: &image.id, name: &image.name, provider: &driver.provider }
    }
}

impl<'a> FlavorView<'a> {
    pub(super) fn new(size: &'a Size, driver: &'a Description) -> Self {
        Self {
            cloud_type: &driver.cloud_type,
            cpu: size.vcpus.unwrap_or(0),
            disk: size.disk_gb,
            id: &size.id,
            name: &size.name,
            provider: &driver.provider,
            ram: size.ram_mb,
        }
    }
}

/// The number of a state in libcloud 0.12, which knows no stopped nodes.
fn state(state: &NodeState) -> u8 {
    match state {
        NodeState::Running => 0,
        NodeState::Rebooting => 1,
        NodeState::Terminating | NodeState::Terminated | NodeState::Suspended => 2,
        NodeState::Pending | NodeState::Starting => 3,
        NodeState::Stopping | NodeState::Stopped | NodeState::Failed | NodeState::Unknown | NodeState::Other(_) => 4,
    }
}

/// As libcloud makes it: SHA-1 of `<id>:<provider>`, in hexadecimal.
fn uuid(id: &str, provider: &str) -> String {
    let mut hasher = Sha1::new();
    hasher.update(id);
    hasher.update(":");
    hasher.update(provider);
    let mut text = String::with_capacity(40);
    for byte in hasher.finalize() {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    text
}

/// The object in a driver's `extra`. What is none is left out rather than passed on.
fn object(extra: &str) -> Value {
    match serde_json::from_str(extra) {
        Ok(Value::Object(map)) => Value::Object(map),
        _ => Value::Object(serde_json::Map::new()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn uuids_are_those_of_libcloud() {
        for (id, expected) in [
            ("1", "2c183c20f71eb5732512d6cfe1f75ebc9d9bb4dd"),
            ("2", "46ff62f5eafc7837de6ec1450b8e0e608db06d7a"),
            ("5", "f497d6aa3680dbeceeaad87f7e665f07d31de122"),
        ] {
            assert_eq!(uuid(id, "dummy"), expected);
        }
    }

    #[test]
    fn what_is_no_object_is_no_extra() {
        for (extra, expected) in [("", json!({})), ("[1]", json!({})), ("{\"a\":1}", json!({"a": 1})), ("{", json!({}))] {
            assert_eq!(object(extra), expected);
        }
    }
}
