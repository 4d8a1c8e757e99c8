//! `[images]`, `[forwarding]` and `[metrics]`: what a platform of instances is given.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use ostler_core::{forwarding, measuring};
use ostler_egress::Origin;

use super::reader::Section;

/// `[images]`: what may be fetched where an image is registered.
#[derive(Clone, Debug, PartialEq)]
pub struct Images {
    /// The most that is transferred for one image, in GiB. Default 16.
    pub max_gb: u64,
    /// The largest disk, as a guest sees it, in GiB. Default 256.
    pub max_disk_gb: u64,
    /// How long a fetch may take, in minutes. Default 360.
    pub timeout_minutes: u64,
    /// Origins (`http(s)://host[:port]`) that may have private or loopback addresses. All others must be public. Default: none.
    pub inside: Vec<Origin>,
}

impl Default for Images {
    fn default() -> Self {
        Self { max_gb: 16, max_disk_gb: 256, timeout_minutes: 360, inside: Vec::new() }
    }
}

pub(super) fn images(root: &Section<'_, '_>) -> Images {
    let (section, defaults) = (root.section("images"), Images::default());
    Images {
        max_gb: section.integer("max_gb", defaults.max_gb, 1..=65_536, "GiB"),
        max_disk_gb: section.integer("max_disk_gb", defaults.max_disk_gb, 1..=65_536, "GiB"),
        timeout_minutes: section.integer("timeout_minutes", defaults.timeout_minutes, 1..=10_080, "minutes"),
        inside: section.all_parsed("inside", |text| {
            text.parse::<Origin>().map_err(|error| format!("must be an origin such as \"http://10.0.0.5:8080\": {error}"))
        }),
    }
}

pub(super) fn forwarding(root: &Section<'_, '_>) -> forwarding::Settings {
    let (section, defaults) = (root.section("forwarding"), forwarding::Settings::default());
    let listen = section.parsed("listen", |text| {
        text.parse::<IpAddr>().map_err(|_| format!("must be an IP address, such as \"0.0.0.0\", found {text:?}"))
    });
    let connections = section.integer("connections", u64::try_from(defaults.connections).unwrap_or(256), 1..=65_536, "");
    forwarding::Settings {
        listen: listen.map_or(defaults.listen, |(address, _)| address),
        ports: section.parsed("ports", ports).map_or(defaults.ports, |(ports, _)| ports),
        connections: usize::try_from(connections).unwrap_or(usize::MAX),
    }
}

/// `FIRST-LAST`.
fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let range = text.split_once('-').and_then(|(first, last)| Some(first.trim().parse().ok()?..=last.trim().parse().ok()?));
    range
        .filter(|range| *range.start() >= 1 && !range.is_empty())
        .ok_or_else(|| format!("must be the first and the last port, such as \"7000-7999\", found {text:?}"))
}

pub(super) fn metrics(root: &Section<'_, '_>) -> measuring::Settings {
    let (section, defaults) = (root.section("metrics"), measuring::Settings::default());
    let days = |key, default: Duration| {
        let days = section.integer(key, default.as_secs() / 86_400, 1..=36_500, "days");
        Duration::from_secs(days * 86_400)
    };
    measuring::Settings {
        every: Duration::from_secs(section.integer("interval_seconds", defaults.every.as_secs(), 0..=3_600, "seconds")),
        keep_minutes: days("keep_minutes_days", defaults.keep_minutes),
        keep_hours: days("keep_hours_days", defaults.keep_hours),
        keep_days: days("keep_days_days", defaults.keep_days),
    }
}
