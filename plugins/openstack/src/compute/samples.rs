//! Measurements of servers: Nova's diagnostics, in the one shape that it has for all hypervisors since 2.48.

use std::time::Duration;

use ostler_driver::http::is_identifier;
use ostler_driver::{Error, Measurement, NodeState, Result, Sample};
use serde::Deserialize;

use crate::auth::Service;
use crate::http::Api;
use crate::microversion::DIAGNOSTICS;

/// After so long no further server is asked: the call must end.
const BUDGET: Duration = Duration::from_secs(4);

/// What a hypervisor does not tell is null.
#[derive(Deserialize)]
struct Diagnostics {
    #[serde(default)]
    uptime: Option<f64>,
    #[serde(default)]
    cpu_details: Vec<Cpu>,
    #[serde(default)]
    disk_details: Vec<Disk>,
    #[serde(default)]
    nic_details: Vec<Nic>,
    #[serde(default)]
    memory_details: Option<Memory>,
}

#[derive(Deserialize)]
struct Cpu {
    /// Nanoseconds.
    time: Option<f64>,
    /// Percent of one processor.
    utilisation: Option<f64>,
}

#[derive(Deserialize)]
struct Disk {
    read_bytes: Option<f64>,
    write_bytes: Option<f64>,
}

#[derive(Deserialize)]
struct Nic {
    rx_octets: Option<f64>,
    tx_octets: Option<f64>,
}

#[derive(Deserialize)]
struct Memory {
    /// Mebibytes.
    maximum: Option<f64>,
    used: Option<f64>,
}

impl Diagnostics {
    fn values(&self) -> Vec<Measurement> {
        let mut values = Vec::new();
        let mut add = |value: Option<f64>, make: &dyn Fn(f64) -> Measurement| values.extend(value.map(make));
        let used: Vec<f64> = self.cpu_details.iter().filter_map(|cpu| cpu.utilisation).collect();
        let mean = (!used.is_empty()).then(|| used.iter().sum::<f64>() / f64::from(u32::try_from(used.len()).unwrap_or(1)));
        add(mean, &|value| Measurement::gauge("cpu-utilization", "percent", value));
        add(sum(&self.cpu_details, |cpu| cpu.time), &|value| Measurement::counter("cpu-time", "seconds", value / 1e9));
        let memory = self.memory_details.as_ref();
        add(memory.and_then(|memory| memory.used), &|value| Measurement::gauge("memory-used", "bytes", value * 1_048_576.0));
        add(memory.and_then(|memory| memory.maximum), &|value| Measurement::gauge("memory-total", "bytes", value * 1_048_576.0));
        for (name, value) in [
            ("network-in", sum(&self.nic_details, |nic| nic.rx_octets)),
            ("network-out", sum(&self.nic_details, |nic| nic.tx_octets)),
            ("disk-read", sum(&self.disk_details, |disk| disk.read_bytes)),
            ("disk-write", sum(&self.disk_details, |disk| disk.write_bytes)),
        ] {
            add(value, &|value| Measurement::counter(name, "bytes", value));
        }
        add(self.uptime, &|value| Measurement::counter("uptime", "seconds", value));
        values
    }
}

/// The sum of what is known; none where nothing is.
fn sum<T>(all: &[T], field: impl Fn(&T) -> Option<f64>) -> Option<f64> {
    all.iter().filter_map(field).reduce(|a, b| a + b)
}

impl Api {
    /// Measurements of these nodes, or of those that run; nodes that do not run, or do not exist, have none. Nova measures one
    /// server a request, so after [`BUDGET`] the rest is left out.
    ///
    /// Most clouds let administrators only see diagnostics: `forbidden`.
    pub(crate) fn samples(&self, ids: &[String]) -> Result<Vec<Sample>> {
        let began = self.ctx.now();
        let version = self.microversion(DIAGNOSTICS)?;
        if version < Some(DIAGNOSTICS) {
            return Err(Error::Unsupported(format!("compute: diagnostics of one shape need microversion {DIAGNOSTICS}")));
        }
        let all: Vec<String>;
        let ids = if ids.is_empty() {
            let page = self.nodes(None)?;
            let running = page.items.into_iter().filter(|node| node.state == NodeState::Running);
            all = running.map(|node| node.id).collect();
            &all
        } else {
            ids
        };
        let mut samples = Vec::new();
        for id in ids.iter().filter(|id| is_identifier(id)) {
            if Duration::from_micros(self.ctx.now().saturating_sub(began)) >= BUDGET {
                self.ctx.log().warn("not all nodes were measured in time", &[("measured", &samples.len().to_string())]);
                break;
            }
            let call = self.get(Service::Compute, format!("/servers/{id}/diagnostics")).microversion(version);
            match call.json::<Diagnostics>() {
                Ok(found) => samples.push(Sample { node_id: id.clone(), at: self.ctx.now(), values: found.values() }),
                Err(Error::NotFound(_) | Error::Conflict(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(samples)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn what_is_known_is_summed() {
        let text = r#"{"state":"running","driver":"libvirt","hypervisor":"kvm","hypervisor_os":"ubuntu","uptime":46664,"config_drive":true,
            "num_cpus":2,"num_nics":1,"num_disks":1,"disk_details":[{"read_bytes":262144,"read_requests":112,"write_bytes":5778432,
            "write_requests":488,"errors_count":-1}],"cpu_details":[{"id":0,"time":17300000000,"utilisation":15},{"id":1,"time":700000000,
            "utilisation":5}],"nic_details":[{"mac_address":"01:23:45:67:89:ab","rx_octets":2070139,"rx_errors":100,"rx_drop":200,
            "rx_packets":26701,"rx_rate":300,"tx_octets":140208,"tx_errors":400,"tx_drop":500,"tx_packets":662,"tx_rate":600}],
            "memory_details":{"maximum":524288,"used":1}}"#;
        let values = serde_json::from_str::<Diagnostics>(text).unwrap().values();
        let values: Vec<_> = values.iter().map(|value| (value.name.as_str(), value.value)).collect();
        let expected = [
            ("cpu-utilization", 10.0),
            ("cpu-time", 18.0),
            ("memory-used", 1_048_576.0),
            ("memory-total", 549_755_813_888.0),
            ("network-in", 2_070_139.0),
            ("network-out", 140_208.0),
            ("disk-read", 262_144.0),
            ("disk-write", 5_778_432.0),
            ("uptime", 46_664.0),
        ];
        assert_eq!(values, expected);
        let bare = r#"{"uptime":null,"cpu_details":[{"id":0,"time":null,"utilisation":null}],"memory_details":{"maximum":null,"used":null}}"#;
        assert!(serde_json::from_str::<Diagnostics>(bare).unwrap().values().is_empty());
    }
}
