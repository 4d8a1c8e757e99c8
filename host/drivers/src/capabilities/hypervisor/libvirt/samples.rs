//! Measurements of domains.

use super::Session;
use super::domains::{Own, now};
use super::error::Outcome;
use super::sys::{Statistics, statistics};
use crate::v0_1::imports::hypervisor::{Error, Sample};
use crate::v0_1::imports::types::{Measurement, MetricKind};
use std::collections::HashMap;
use virt::sys;

/// What is asked for.
const KINDS: u32 = sys::VIR_DOMAIN_STATS_CPU_TOTAL
    | sys::VIR_DOMAIN_STATS_BALLOON
    | sys::VIR_DOMAIN_STATS_INTERFACE
    | sys::VIR_DOMAIN_STATS_BLOCK;

impl Session<'_> {
    /// Measurements of these domains, or of all of the cloud's. Those that are off, and those that do not exist, are left out.
    pub(super) fn samples(&self, uuids: &[String]) -> Outcome<Vec<Sample>> {
        let wanted = |own: &Own| uuids.is_empty() || uuids.contains(&own.uuid.to_string());
        let (mut domains, mut owns) = (Vec::new(), HashMap::new());
        for own in self.owned()?.into_iter().filter(wanted) {
            if own.domain.is_active().unwrap_or(false) {
                domains.push(own.domain.clone());
                owns.insert(own.uuid, own);
            }
        }
        let measured = match statistics(&domains, KINDS) {
            Ok(measured) => measured,
            Err(failure) if matches!(failure.error, Error::Unsupported(_)) => owns.values().map(basic).collect::<Outcome<_>>()?,
            Err(failure) => return Err(failure),
        };
        let at = now();
        let mut samples = Vec::new();
        for mut one in measured {
            let Some(own) = owns.get(&one.uuid) else { continue };
            if !one.values.contains_key("cpu.time") {
                one.values.extend(basic(own)?.values);
            }
            let vcpus = own.definition.vcpus;
            let percent = one.values.get("cpu.time").and_then(|time| self.shared.utilization(one.uuid, *time, vcpus));
            samples.push(Sample { node_id: one.uuid.to_string(), at, values: measurements(&one.values, percent) });
        }
        samples.sort_by(|a, b| a.node_id.cmp(&b.node_id));
        Ok(samples)
    }
}

/// What every hypervisor tells.
fn basic(own: &Own) -> Outcome<Statistics> {
    let info = own.domain.get_info()?;
    let values = [("cpu.time", info.cpu_time), ("balloon.current", info.memory)];
    Ok(Statistics { uuid: own.uuid, values: values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() })
}

/// The measurements of a domain, by libvirt's names: processor time in nanoseconds, memory in KiB, traffic in bytes.
fn measurements(values: &HashMap<String, u64>, percent: Option<f64>) -> Vec<Measurement> {
    let value = |name: &str| values.get(name).copied();
    let kibibytes = |amount: u64| amount.saturating_mul(1024);
    let mut found = Vec::new();
    let mut add = |name: &str, unit: &str, kind: MetricKind, value: Option<f64>| {
        found.extend(value.map(|value| Measurement { name: name.to_owned(), unit: unit.to_owned(), kind, value }));
    };
    add("cpu-utilization", "percent", MetricKind::Gauge, percent);
    add("cpu-time", "seconds", MetricKind::Counter, value("cpu.time").map(|time| float(time) / 1e9));
    let total = value("balloon.current");
    // What the guest itself says, where it has a balloon driver: caches are not used.
    let used = match (value("balloon.available"), value("balloon.usable"), value("balloon.unused")) {
        (Some(available), Some(usable), _) => Some(available.saturating_sub(usable)),
        (available, None, Some(unused)) => available.or(total).map(|total| total.saturating_sub(unused)),
        _ => None,
    };
    add("memory-used", "bytes", MetricKind::Gauge, used.map(kibibytes).map(float));
    add("memory-total", "bytes", MetricKind::Gauge, total.map(kibibytes).map(float));
    add("memory-resident", "bytes", MetricKind::Gauge, value("balloon.rss").map(kibibytes).map(float));
    for (name, group, end) in [
        ("network-in", "net.", ".rx.bytes"),
        ("network-out", "net.", ".tx.bytes"),
        ("disk-read", "block.", ".rd.bytes"),
        ("disk-write", "block.", ".wr.bytes"),
    ] {
        let parts = values.iter().filter(|(key, _)| key.starts_with(group) && key.ends_with(end)).map(|(_, value)| *value);
        add(name, "bytes", MetricKind::Counter, parts.reduce(u64::saturating_add).map(float));
    }
    found
}

#[allow(clippy::cast_precision_loss, reason = "measurements are floating-point numbers in the contract")]
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn measured(values: &[(&str, u64)], percent: Option<f64>) -> Vec<(String, f64)> {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        measurements(&values, percent).into_iter().map(|found| (found.name, found.value)).collect()
    }

    #[test]
    fn cards_and_disks_are_summed_and_memory_is_the_guests() {
        let all = [
            ("cpu.time", 2_500_000_000),
            ("balloon.current", 131_072),
            ("balloon.available", 120_000),
            ("balloon.usable", 100_000),
            ("balloon.unused", 90_000),
            ("balloon.rss", 200_000),
            ("net.count", 2),
            ("net.0.rx.bytes", 5),
            ("net.1.rx.bytes", 7),
            ("net.0.tx.bytes", 1),
            ("net.0.rx.pkts", 99),
            ("block.0.rd.bytes", 10),
            ("block.1.rd.bytes", 20),
            ("block.0.wr.bytes", 3),
        ];
        let expected = [
            ("cpu-utilization", 12.5),
            ("cpu-time", 2.5),
            ("memory-used", 20_480_000.0),
            ("memory-total", 134_217_728.0),
            ("memory-resident", 204_800_000.0),
            ("network-in", 12.0),
            ("network-out", 1.0),
            ("disk-read", 30.0),
            ("disk-write", 3.0),
        ];
        assert_eq!(measured(&all, Some(12.5)), expected.map(|(name, value)| (name.to_owned(), value)));
        // An old guest, and one without a balloon.
        assert_eq!(measured(&[("balloon.current", 10), ("balloon.unused", 4)], None)[0], ("memory-used".to_owned(), 6144.0));
        assert_eq!(measured(&[("balloon.current", 10)], None), [("memory-total".to_owned(), 10_240.0)]);
        assert!(measured(&[], None).is_empty());
    }
}
