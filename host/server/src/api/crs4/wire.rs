//! JSON as the original wrote it: two spaces, sorted keys, ASCII, no newline at the end.

use ostler_core::model::{Address, Description, Image, Node, NodeState, Reach, Size};
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{CharEscape, Formatter, PrettyFormatter};
use sha1::{Digest, Sha1};
use std::io::{self, Write};

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

/// Writes JSON in the original's form.
pub(super) fn pretty<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1024);
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, Ascii(PrettyFormatter::new()));
    // Neither our shapes nor a `Value` can fail to serialise, and a `Vec` takes every write.
    if value.serialize(&mut serializer).is_err() {
        bytes.clear();
    }
    bytes
}

/// Pretty, with everything outside ASCII escaped.
struct Ascii(PrettyFormatter<'static>);

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        // Most texts are plain: one write.
        if fragment.bytes().all(|byte| byte.is_ascii() && byte != 0x7f) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut units = [0; 2];
        for c in fragment.chars() {
            if c.is_ascii() && c != '\x7f' {
                writer.write_all(&[c as u8])?;
            } else {
                for unit in c.encode_utf16(&mut units) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        self.0.write_char_escape(writer, escape)
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn json_is_written_as_the_original_wrote_it() {
        for (value, expected) in [
            (json!({}), "{}"),
            (json!({"b": [], "a": {}}), "{\n  \"a\": {},\n  \"b\": []\n}"),
            (
                json!({"z": {"y": 1, "x": [true, null]}}),
                "{\n  \"z\": {\n    \"x\": [\n      true,\n      null\n    ],\n    \"y\": 1\n  }\n}",
            ),
            (json!("é\u{1f600}\u{7f}\n\"\\/"), "\"\\u00e9\\ud83d\\ude00\\u007f\\n\\\"\\\\/\""),
            (json!("\u{8}\u{c}\u{1}"), "\"\\b\\f\\u0001\""),
        ] {
            assert_eq!(String::from_utf8(pretty(&value)).unwrap(), expected);
        }
    }

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
