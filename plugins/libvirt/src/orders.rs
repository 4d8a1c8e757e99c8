//! Orders for nodes: the disks first, then the domain.

use ostler_driver::hypervisor_types::{Disk, Domain, DomainSpec, Nic, VolumeRef, VolumeSource, VolumeSpec, VolumeStatus};
use ostler_driver::{Error, Extra, Node, NodeSpec, Result, Size, check_token};
use serde::Deserialize;
use serde_json::Value;

use crate::config::Disks;
use crate::driver::Libvirt;
use crate::identity;
use crate::seed::seed;

/// Labels of a domain: the driver's own, and what the order's metadata keys begin with.
pub(crate) const IMAGE: &str = "image";
pub(crate) const SIZE: &str = "size";
pub(crate) const METADATA: &str = "metadata:";

/// Settings of libvirt's own in an order's `extra`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderExtra {
    /// Devices to pass through, by the `id` that the capacity shows.
    #[serde(default)]
    devices: Vec<String>,
    /// `virtio`, `scsi` or `sata`.
    disk_bus: Option<String>,
    /// `virtio`, `e1000`, …
    nic_model: Option<String>,
}

impl Libvirt {
    /// Orders a node. A second order by the token finds the domain of the first, or goes on where it broke off.
    pub(crate) fn order(&self, token: &str, spec: &NodeSpec) -> Result<Node> {
        check_token(token)?;
        let uuid = identity::node(&self.cloud(), token);
        match self.hypervisor().get_domain(&uuid) {
            Ok(domain) => return self.node_of(&domain),
            Err(Error::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        let extra = check(spec)?;
        let unknown = || Error::Invalid(format!("no size `{}`", spec.size_id));
        let size = self.settings().sizes.iter().find(|size| size.id == spec.size_id).ok_or_else(unknown)?;
        let seed = seed(&uuid, spec)?;
        let networks = match spec.networks.as_slice() {
            [] => self.settings().networks(spec.public_address, || self.info())?,
            networks => networks.to_vec(),
        };
        let volumes = self.disks(&uuid, token, spec, size)?;
        let result = self.make(&volumes, |driver| {
            let disk = |volume: &VolumeSpec| Disk {
                volume: volume.at.clone(),
                bus: extra.disk_bus.clone(),
                read_only: false,
                owned: true,
            };
            let nic = |network: &String| Nic { network: network.clone(), mac: None, model: extra.nic_model.clone() };
            let own = [(IMAGE, &spec.image_id), (SIZE, &spec.size_id)].map(|(key, value)| (key.to_owned(), value.clone()));
            let metadata = spec.metadata.iter().map(|(key, value)| (format!("{METADATA}{key}"), value.clone()));
            driver.hypervisor().create_domain(&DomainSpec {
                uuid: uuid.clone(),
                name: spec.name.clone(),
                token: token.to_owned(),
                vcpus: size.vcpus.unwrap_or(1),
                ram_mb: size.ram_mb,
                disks: volumes.iter().map(disk).collect(),
                nics: networks.iter().map(nic).collect(),
                seed: seed.clone(),
                devices: extra.devices.clone(),
                start: spec.start,
                labels: own.into_iter().chain(metadata).collect(),
                extra: String::new(),
            })
        });
        match result {
            Ok(domain) => self.node_of(&domain),
            // Worth another try: what was made is found then, or swept away when the host asks for the node.
            Err(error @ (Error::Transient(_) | Error::Throttled { .. })) => Err(error),
            Err(error) => {
                self.undo(&uuid, &volumes);
                // Nothing that the order did not name can be missing.
                Err(match error {
                    Error::NotFound(text) => Error::Invalid(text),
                    error => error,
                })
            }
        }
    }

    /// The orders for a node's disks, the root disk first.
    fn disks(&self, uuid: &str, token: &str, spec: &NodeSpec, size: &Size) -> Result<Vec<VolumeSpec>> {
        let image = self.image_volume(&spec.image_id).map_err(|error| match error {
            Error::NotFound(text) => Error::Invalid(text),
            error => error,
        })?;
        if image.status != VolumeStatus::Ready {
            return Err(Error::Conflict(format!("image `{}` is not ready", spec.image_id)));
        }
        let room = size.disk_gb << 30;
        if room != 0 && room < image.capacity_bytes {
            let least = image.capacity_bytes.div_ceil(1 << 30);
            return Err(Error::Invalid(format!("image `{}` needs a disk of {least} GiB", spec.image_id)));
        }
        let pool = self.pool()?;
        let volume = |part: &str, source, capacity_bytes| VolumeSpec {
            at: VolumeRef { pool: pool.clone(), name: identity::disk(uuid, part) },
            token: identity::uuid(&self.cloud(), token, part),
            source,
            capacity_bytes,
            checksum: None,
            labels: Vec::new(),
        };
        let source = match self.settings().disks {
            Disks::Linked => VolumeSource::Linked(image.at.clone()),
            Disks::Copied => VolumeSource::Copied(image.at.clone()),
        };
        let mut volumes = vec![volume("root", source, (room != 0).then_some(room))];
        for (at, device) in spec.block_devices.iter().enumerate() {
            volumes.push(volume(&(at + 1).to_string(), VolumeSource::Empty, Some(device.size_gb << 30)));
        }
        Ok(volumes)
    }

    /// Makes the disks and, when all are ready, the domain.
    fn make(&self, volumes: &[VolumeSpec], domain: impl FnOnce(&Self) -> Result<Domain>) -> Result<Domain> {
        for spec in volumes {
            let volume = self.hypervisor().create_volume(spec)?;
            match volume.status {
                VolumeStatus::Ready => {}
                // The host tries again, and finds how far it is.
                VolumeStatus::Importing(_) => return Err(Error::Transient("the root disk is still being copied".to_owned())),
                VolumeStatus::Failed(why) | VolumeStatus::Other(why) => return Err(Error::Failed(format!("a disk: {why}"))),
            }
        }
        domain(self)
    }

    /// Removes the disks of an order that failed, unless another order made a domain of them.
    fn undo(&self, uuid: &str, volumes: &[VolumeSpec]) {
        if self.hypervisor().get_domain(uuid).is_ok() {
            return;
        }
        for volume in volumes {
            match self.hypervisor().delete_volume(&volume.at) {
                Ok(()) | Err(Error::NotFound(_)) => {}
                Err(error) => {
                    let fields = [("volume", volume.at.name.as_str()), ("error", &error.to_string())];
                    self.ctx.log().warn("a disk of a failed order is left behind until the host asks for its node", &fields);
                }
            }
        }
    }

    /// Deletes what is left of an order that never came to a domain.
    pub(crate) fn sweep(&self, uuid: &str) -> Result<()> {
        let prefix = identity::disks_of(uuid);
        for volume in self.hypervisor().volumes(&self.pool()?)? {
            if !volume.at.name.starts_with(&prefix) {
                continue;
            }
            match self.hypervisor().delete_volume(&volume.at) {
                Ok(()) | Err(Error::NotFound(_)) => {}
                Err(Error::Conflict(text)) => return Err(Error::Transient(format!("an order is still under way: {text}"))),
                Err(error) => return Err(error),
            }
            self.ctx.log().info("a disk without its node was deleted", &[("volume", &volume.at.name)]);
        }
        Ok(())
    }
}

/// What can be said of an order without asking.
fn check(spec: &NodeSpec) -> Result<OrderExtra> {
    if spec.key_name.is_some() {
        return Err(Error::unsupported("key pairs that the provider holds: give the keys themselves"));
    }
    if !spec.security_groups.is_empty() {
        return Err(Error::unsupported("security groups"));
    }
    if spec.zone.is_some() {
        return Err(Error::unsupported("zones"));
    }
    if spec.block_devices.iter().any(|device| device.volume_id.is_some()) {
        return Err(Error::unsupported("disks that exist already"));
    }
    if spec.block_devices.len() > 16 || spec.block_devices.iter().any(|device| !(1..=65_536).contains(&device.size_gb)) {
        return Err(Error::Invalid("at most 16 further disks of 1 to 65536 GiB".to_owned()));
    }
    serde_json::from_value(Value::Object(spec.extra()?)).map_err(|error| Error::Invalid(format!("`extra`: {error}")))
}
