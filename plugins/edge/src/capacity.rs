//! What the far platform has left for instances.

use ostler_driver::{Capacity, Device, Extra, Gauge, Result};
use serde_json::{Map, Value};

use crate::http::Api;
use crate::wire;

/// Devices that are told, at most.
const MOST_DEVICES: usize = 1000;

impl Api {
    /// The API tells what instances can have, and not what there is in all: so much counts as the total, of which nothing is used.
    pub(crate) fn capacity(&self) -> Result<Capacity> {
        let body = self.get("/platform/resources").json()?;
        let Value::Object(body) = body else { return Err(self.failed("the answer has no resources")) };
        let mut capacity = Capacity::default();
        let mut extra = Map::new();
        let free = |value: &Value| Gauge { total: wire::number(value), used: wire::number(value).map(|_| 0) };
        for (kind, value) in body {
            match (kind.to_ascii_lowercase().as_str(), &value) {
                ("cpu", Value::Object(_)) => {
                    capacity.cpu_model = wire::text(&value, "type");
                    capacity.vcpus = value.get("vcpu").map(free).unwrap_or_default();
                }
                ("ram", _) => capacity.ram_mb = free(&value),
                // Megabytes, whatever the text says.
                ("disk", _) => {
                    let free = free(&value);
                    capacity.disk_gb = Gauge { total: free.total.map(|megabytes| megabytes / 1000), used: free.used };
                }
                (_, Value::Object(_)) => capacity.devices.extend(device(&kind, &value)),
                (_, Value::Array(all)) if all.iter().all(Value::is_object) => {
                    capacity.devices.extend(all.iter().filter_map(|one| device(&kind, one)));
                }
                _ => drop(extra.insert(kind, value)),
            }
        }
        capacity.devices.truncate(MOST_DEVICES);
        Ok(capacity.with_extra(Value::Object(extra)))
    }
}

/// A device, if that is what it is.
fn device(kind: &str, value: &Value) -> Option<Device> {
    const OWN: [&str; 3] = ["class", "vendor", "product"];
    if !OWN.iter().any(|key| value.get(key).is_some()) {
        return None;
    }
    let [class, vendor, product] = OWN.map(|key| wire::text(value, key).unwrap_or_else(|| "unknown".to_owned()));
    let device = Device { kind: kind.to_ascii_lowercase(), class, vendor, product, extra: String::new() };
    let rest = value.as_object().into_iter().flatten().filter(|(key, _)| !OWN.contains(&key.as_str()));
    Some(device.with_extra(Value::Object(rest.map(|(key, value)| (key.clone(), value.clone())).collect())))
}
