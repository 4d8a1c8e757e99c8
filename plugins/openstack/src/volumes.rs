//! Cinder: further disks of a server.
//!
//! Nova makes and attaches them while it builds the server and deletes them with it, all in the one request for the server, so
//! that no crash can come in between. What Nova left behind nevertheless is found by the name that Nova gives.

use ostler_driver::http::is_identifier;
use ostler_driver::{Error, NodeSpec, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::Service;
use crate::http::{Api, Link, next};

#[derive(Deserialize)]
struct Volumes {
    volumes: Vec<Volume>,
    #[serde(default)]
    volumes_links: Vec<Link>,
}

#[derive(Deserialize)]
struct Volume {
    id: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    status: String,
}

/// How Nova calls an empty volume that it makes for a server.
fn name_of_blank(server: &str) -> String {
    format!("{server}-blank-vol")
}

impl Api {
    /// The block device mapping of an order; none where the image's own disk is all.
    pub(crate) fn block_devices(&self, spec: &NodeSpec, boot_volume_gb: Option<u64>) -> Result<Option<Vec<Value>>> {
        if spec.block_devices.is_empty() && boot_volume_gb.is_none() {
            return Ok(None);
        }
        if !self.session()?.has(Service::Volume) {
            return Err(Error::Unsupported("the cloud has no block storage".to_owned()));
        }
        let mut root = json!({
            "boot_index": 0, "source_type": "image", "uuid": spec.image_id, "destination_type": "local",
            "delete_on_termination": true,
        });
        if let Some(size) = boot_volume_gb {
            check_size(size)?;
            root["destination_type"] = "volume".into();
            root["volume_size"] = size.into();
        }
        let mut mapping = vec![root];
        for device in &spec.block_devices {
            let mut entry = match &device.volume_id {
                Some(id) if is_identifier(id) => json!({"source_type": "volume", "uuid": id, "delete_on_termination": false}),
                Some(_) => return Err(Error::Invalid("a volume's identifier is malformed".to_owned())),
                None => {
                    check_size(device.size_gb)?;
                    json!({"source_type": "blank", "volume_size": device.size_gb, "delete_on_termination": true})
                }
            };
            entry["boot_index"] = (-1).into();
            entry["destination_type"] = "volume".into();
            if let Some(name) = &device.device {
                entry["device_name"] = name.as_str().into();
            }
            mapping.push(entry);
        }
        Ok(Some(mapping))
    }

    /// Deletes what Nova made for a server that does not exist any more, and left.
    pub(crate) fn release_volumes_of(&self, server: &str) -> Result<()> {
        if !self.session()?.has(Service::Volume) {
            return Ok(());
        }
        let name = name_of_blank(server);
        let list = self.get(Service::Volume, "/volumes/detail").query("name", &name).query("limit", "500");
        for volume in list.pages(|page: Volumes| (page.volumes, next(page.volumes_links)))? {
            // Those in use are not ours to take, whatever they are called.
            if volume.name.as_deref() != Some(&name) || !["available", "error"].contains(&volume.status.as_str()) {
                continue;
            }
            match self.delete(Service::Volume, format!("/volumes/{}", volume.id)).send() {
                Ok(_) | Err(Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn check_size(gigabytes: u64) -> Result<()> {
    if gigabytes == 0 {
        return Err(Error::Invalid("a new disk has at least one gigabyte".to_owned()));
    }
    Ok(())
}
