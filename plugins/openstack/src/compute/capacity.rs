//! What the account may have and has.

use ostler_driver::{Capacity, Error, Gauge, Quota, Result};
use serde_json::Value;

use crate::auth::Service;
use crate::http::Api;

/// A limit of Nova or Cinder: its name in the contract, and the fields of its bound and of its use.
type Limit = (&'static str, &'static str, &'static str);

const COMPUTE: [Limit; 5] = [
    ("instances", "maxTotalInstances", "totalInstancesUsed"),
    ("vcpus", "maxTotalCores", "totalCoresUsed"),
    ("ram-mb", "maxTotalRAMSize", "totalRAMUsed"),
    ("server-groups", "maxServerGroups", "totalServerGroupsUsed"),
    ("key-pairs", "maxTotalKeypairs", ""),
];

const VOLUMES: [Limit; 3] = [
    ("volumes", "maxTotalVolumes", "totalVolumesUsed"),
    ("volume-gb", "maxTotalVolumeGigabytes", "totalGigabytesUsed"),
    ("snapshots", "maxTotalSnapshots", "totalSnapshotsUsed"),
];

/// Neutron's resources and their names in the contract.
const NETWORK: [(&str, &str); 5] = [
    ("floating-ips", "floatingip"),
    ("networks", "network"),
    ("ports", "port"),
    ("routers", "router"),
    ("security-groups", "security_group"),
];

impl Api {
    /// The account's limits. The platform itself is not shown to accounts: its quota is what an account can have of it, so the
    /// gauges are those of the quota; disk is that of Cinder.
    pub(crate) fn capacity(&self) -> Result<Capacity> {
        let mut quotas = self.limits(Service::Compute, &COMPUTE)?;
        let session = self.session()?;
        if session.has(Service::Network) {
            quotas.extend(self.optional("network", self.network_quotas(&session.project_id))?);
        }
        if session.has(Service::Volume) {
            quotas.extend(self.optional("block-storage", self.limits(Service::Volume, &VOLUMES))?);
        }
        let gauge = |name: &str| quotas.iter().find(|quota| quota.name == name).map_or_else(Gauge::default, |quota| quota.amount);
        Ok(Capacity {
            vcpus: gauge("vcpus"),
            ram_mb: gauge("ram-mb"),
            disk_gb: gauge("volume-gb"),
            nodes: gauge("instances"),
            quotas,
            ..Capacity::default()
        })
    }

    fn limits(&self, service: Service, limits: &[Limit]) -> Result<Vec<Quota>> {
        let answer: Value = self.get(service, "/limits").json()?;
        let absolute = &answer["limits"]["absolute"];
        let quota = |(name, total, used): &Limit| {
            let total = absolute.get(*total)?;
            Some(Quota::new(*name, gauge(total, absolute.get(*used))))
        };
        Ok(limits.iter().filter_map(quota).collect())
    }

    fn network_quotas(&self, project: &str) -> Result<Vec<Quota>> {
        let quotas = self.network_quota(project)?;
        let quota = |(name, field): &(&str, &str)| {
            let found = quotas.get(*field)?;
            Some(Quota::new(*name, gauge(&found["limit"], found.get("used"))))
        };
        Ok(NETWORK.iter().filter_map(quota).collect())
    }

    /// Limits that not every cloud shows.
    fn optional(&self, service: &str, result: Result<Vec<Quota>>) -> Result<Vec<Quota>> {
        match result {
            Err(error @ (Error::Forbidden(_) | Error::NotFound(_) | Error::Unsupported(_) | Error::Invalid(_))) => {
                self.ctx.log().debug("limits are not shown", &[("service", service), ("error", error.message())]);
                Ok(Vec::new())
            }
            result => result,
        }
    }
}

/// No bound where it is −1.
pub(crate) fn gauge(total: &Value, used: Option<&Value>) -> Gauge {
    Gauge { total: total.as_u64(), used: used.and_then(Value::as_u64) }
}
