//! What the clouds offer, and the nodes they make.

use ostler_driver::{Extra, Image, Node, NodeSpec, Result, Size};
use serde_json::{Map, Value, json};

use crate::record::{Net, Phase, Record, Via};
use crate::settings::{Form, Report, Settings};

/// The images that are always there.
pub(crate) fn images(form: Form) -> Vec<Image> {
    match form {
        Form::Fake => {
            [("1", "Ubuntu 9.10"), ("2", "Ubuntu 9.04"), ("3", "Slackware 4")].map(|(id, name)| Image::new(id, name)).into()
        }
        Form::Plain => [
            ("ubuntu-24.04", "Ubuntu 24.04", "ubuntu", "24.04", 4),
            ("debian-13", "Debian 13", "debian", "13", 3),
            ("cirros-0.6", "CirrOS 0.6", "cirros", "0.6", 1),
        ]
        .map(|(id, name, distribution, version, disk)| Image {
            size_bytes: Some(disk * 200_000_000),
            min_disk_gb: Some(disk),
            min_ram_mb: Some(256),
            ..Image::new(id, name)
                .with_property("os", "linux")
                .with_property("type", "linux")
                .with_property("distribution", distribution)
                .with_property("version", version)
                .with_property("architecture", "x86_64")
        })
        .into(),
    }
}

/// The sizes.
pub(crate) fn sizes(form: Form) -> Vec<Size> {
    match form {
        // Libcloud's dummy does not say how many processors they have.
        Form::Fake => [("1", "Small", 128, 4), ("2", "Medium", 512, 16), ("3", "Big", 4096, 32), ("4", "XXL Big", 8192, 128)]
            .map(|(id, name, ram, disk)| Size::new(id, name, ram, disk))
            .into(),
        Form::Plain => {
            let mut sizes: Vec<_> = [
                ("tiny", 1, 512, 5),
                ("small", 1, 2048, 20),
                ("medium", 2, 4096, 40),
                ("large", 4, 8192, 80),
                ("xlarge", 8, 16384, 160),
                ("gpu", 8, 32768, 200),
            ]
            .map(|(id, vcpus, ram, disk)| Size::new(id, id, ram, disk).with_vcpus(vcpus))
            .into();
            if let Some(gpu) = sizes.last_mut() {
                gpu.properties.push(("gpu".to_owned(), "1".to_owned()));
            }
            sizes
        }
    }
}

/// The features beyond listing, creating and destroying.
pub(crate) fn features(form: Form) -> &'static [&'static str] {
    match form {
        Form::Fake => &["start-stop", "reboot", "suspend", "create-stopped", "user-data"],
        Form::Plain => &[
            "start-stop",
            "reboot",
            "suspend",
            "create-stopped",
            "user-data",
            "metadata",
            "key-pairs",
            "networks",
            "public-addresses",
            "block-devices",
            "image-import",
            "image-delete",
            "capacity",
            "samples",
        ],
    }
}

/// The identifier of a node: its number in a plain cloud, one more than there were nodes in the fake one.
pub(crate) fn node_id(form: Form, sequence: u64, count: u64) -> String {
    match form {
        Form::Fake => (count + 1).to_string(),
        Form::Plain => format!("node-{:06}", sequence + 1),
    }
}

/// A node that is there at first, by its place in the list.
pub(crate) fn initial(form: Form, sequence: u64) -> Record {
    let id = node_id(form, sequence, sequence);
    let mut record = Record {
        name: id.clone(),
        id,
        token: None,
        image: None,
        size: None,
        nets: Vec::new(),
        created_at: None,
        phase: Phase::Running,
        via: None,
        since: 0,
        extra: String::new(),
    };
    match form {
        Form::Fake => {
            record.name = format!("dummy-{}", sequence + 1);
            // All of the first nodes have this address in the original, too.
            record.nets.push(Net::public("127.0.0.1".to_owned()));
            record.extra = fake_extra();
        }
        Form::Plain => {
            record.image = Some("cirros-0.6".to_owned());
            record.size = Some("tiny".to_owned());
            record.nets.push(private(sequence, 0, "private"));
        }
    }
    record
}

/// A node that was ordered.
pub(crate) fn ordered(settings: &Settings, sequence: u64, count: u64, token: &str, spec: &NodeSpec, now: u64) -> Result<Record> {
    let form = settings.form;
    let id = node_id(form, sequence, count);
    let (name, nets, extra) = match form {
        Form::Fake => (format!("dummy-{id}"), vec![Net::public(loopback(count + 1))], ordered_fake_extra(settings, spec)),
        Form::Plain => (spec.name.clone(), networks(sequence, spec), plain_extra(settings, spec)?),
    };
    Ok(Record {
        id,
        name,
        token: Some(token.to_owned()),
        image: Some(spec.image_id.clone()),
        size: Some(spec.size_id.clone()),
        nets,
        created_at: Some(now),
        phase: if spec.start { Phase::Running } else { Phase::Stopped },
        via: Some(Via::Pending),
        since: now,
        extra,
    })
}

fn fake_extra() -> String {
    r#"{"foo":"bar"}"#.to_owned()
}

/// 127.0.0.n, and for numbers over 254, where the original has no valid address, on through 127.0.1.1.
pub(crate) fn loopback(number: u64) -> String {
    let host = number.saturating_sub(1);
    format!("127.{}.{}.{}", host / 254 / 256 % 256, host / 254 % 256, host % 254 + 1)
}

fn networks(sequence: u64, spec: &NodeSpec) -> Vec<Net> {
    let mut nets: Vec<_> = match spec.networks.as_slice() {
        [] => vec![private(sequence, 0, "private")],
        names => names.iter().zip(0..).map(|(name, card)| private(sequence, card, name)).collect(),
    };
    if spec.public_address {
        let host = sequence / 254;
        // The documentation's network has 254 addresses; those after come from the one for benchmarks.
        let ip = match host {
            0 => format!("198.51.100.{}", sequence % 254 + 1),
            _ => format!("198.{}.{}.{}", 18 + host / 256 % 2, host % 256, sequence % 254 + 1),
        };
        nets.push(Net { network: Some("public".to_owned()), ..Net::public(ip) });
    }
    nets
}

/// An address of 10.0.0.0/8, one eighth for each of the first eight cards.
fn private(sequence: u64, card: u64, network: &str) -> Net {
    let (a, b, c) = (card % 8 * 32 + sequence / 254 / 256 % 32, sequence / 254 % 256, sequence % 254 + 1);
    Net {
        ip: format!("10.{a}.{b}.{c}"),
        public: false,
        network: Some(network.to_owned()),
        mac: Some(format!("02:00:{:02x}:{a:02x}:{b:02x}:{c:02x}", card % 256)),
    }
}

/// As the first nodes have it, but for what cloud-init came to, where there was something for it.
fn ordered_fake_extra(settings: &Settings, spec: &NodeSpec) -> String {
    match report(settings, spec) {
        Some(report) => json!({ "foo": "bar", "report": report }).to_string(),
        None => fake_extra(),
    }
}

/// What cloud-init came to on a machine that does not run: the host reads it in the place of the machine's own report.
fn report(settings: &Settings, spec: &NodeSpec) -> Option<Value> {
    let cloud_init = spec.user_data.as_ref().is_some_and(|data| data.starts_with(b"#cloud-config"));
    match settings.report.filter(|_| cloud_init)? {
        Report::Done => Some(json!({ "state": "done" })),
        Report::Failed => Some(json!({ "state": "failed", "message": "the setting `report` wants it to fail" })),
    }
}

/// What an order said, as far as the contract's node has no field for it.
fn plain_extra(settings: &Settings, spec: &NodeSpec) -> Result<String> {
    let keep_user_data = settings.keep_user_data;
    let mut extra = Map::new();
    let mut keep = |key: &str, value: Value, given: bool| {
        if given {
            extra.insert(key.to_owned(), value);
        }
    };
    let metadata: Map<_, _> = spec.metadata.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect();
    keep("metadata", metadata.into(), !spec.metadata.is_empty());
    keep("key_name", json!(spec.key_name), spec.key_name.is_some());
    keep("ssh_keys", json!(spec.ssh_keys.len()), !spec.ssh_keys.is_empty());
    keep("user_data_bytes", json!(spec.user_data.as_ref().map(Vec::len)), spec.user_data.is_some());
    let user_data = spec.user_data.as_deref().map(String::from_utf8_lossy);
    keep("user_data", json!(user_data), keep_user_data && user_data.is_some());
    keep("security_groups", json!(spec.security_groups), !spec.security_groups.is_empty());
    keep("zone", json!(spec.zone), spec.zone.is_some());
    let device = |device: &ostler_driver::BlockDevice| json!({"volume_id": device.volume_id, "size_gb": device.size_gb, "device": device.device});
    keep("block_devices", spec.block_devices.iter().map(device).collect(), !spec.block_devices.is_empty());
    let own = spec.extra()?;
    let given = !own.is_empty();
    keep("settings", own.into(), given);
    let report = report(settings, spec);
    keep("report", json!(report), report.is_some());
    Ok(Node::new("", "").with_extra(extra).extra)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::net::Ipv4Addr;

    #[test]
    fn addresses_are_valid_and_distinct() {
        for (number, ip) in [(1, "127.0.0.1"), (3, "127.0.0.3"), (254, "127.0.0.254"), (255, "127.0.1.1"), (65025, "127.1.0.1")] {
            assert_eq!(loopback(number), ip);
        }
        let spec = NodeSpec { public_address: true, networks: vec!["a".into(), "b".into()], ..NodeSpec::new("", "", "") };
        let mut seen = HashSet::new();
        for sequence in 0..70_000 {
            assert!(loopback(sequence + 1).parse::<Ipv4Addr>().is_ok());
            for net in networks(sequence, &spec) {
                assert!(net.ip.parse::<Ipv4Addr>().is_ok_and(|ip| seen.insert(ip)), "{} twice", net.ip);
            }
        }
    }
}
