//! JSON as the specification's examples show it: their members in their order, and what is welcome besides at the end.

use ostler_core::forwarding::{Protocol, Rule};
use ostler_core::identity::platform_role;
use ostler_core::images::{Image, ImageState};
use ostler_core::instances::{Instance, InstanceState};
use ostler_core::model::{Capacity, Gauge};
use ostler_store::User;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::net::IpAddr;

/// A time with seconds and a numeric offset, which is the server's: UTC.
pub(super) fn stamp(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}

/// A value under one name.
pub(super) struct Named<T>(pub(super) &'static str, pub(super) T);

impl<T: Serialize> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.0, &self.1)?;
        map.end()
    }
}

/// Under which address the API's objects are, without a slash at its end.
#[derive(Clone, Copy)]
pub(super) struct Links<'l>(pub(super) &'l str);

impl Links<'_> {
    fn to(self, collection: &str, id: i64) -> String {
        format!("{}/{collection}/{id}", self.0)
    }
}

/// The version of the API that is spoken.
#[derive(Serialize)]
pub(super) struct Version {
    pub(super) major: u32,
    pub(super) minor: u32,
}

/// An object in a list, and one that another refers to.
#[derive(Serialize)]
pub(super) struct Reference<'a> {
    id: i64,
    name: &'a str,
    link: String,
}

impl<'a> Reference<'a> {
    pub(super) fn image(image: &'a Image, links: Links<'_>) -> Self {
        Self { id: image.id, name: &image.name, link: links.to("images", image.id) }
    }

    pub(super) fn instance(instance: &'a Instance, links: Links<'_>) -> Self {
        Self { id: instance.id, name: &instance.name, link: links.to("instances", instance.id) }
    }
}

fn status_of_image(state: &ImageState) -> &'static str {
    match state {
        ImageState::Saving(_) => "SAVING",
        ImageState::Active => "ACTIVE",
        ImageState::Failed(_) => "ERROR",
    }
}

/// An image in detail.
#[derive(Serialize)]
pub(super) struct ImageView<'a> {
    id: i64,
    name: &'a str,
    owner_id: Option<i64>,
    status: &'static str,
    created_by: Option<i64>,
    created_at: String,
    updated_at: String,
    link: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checksum: Option<&'a str>,
}

impl<'a> ImageView<'a> {
    pub(super) fn new(image: &'a Image, links: Links<'_>) -> Self {
        Self {
            id: image.id,
            name: &image.name,
            owner_id: image.owner,
            status: status_of_image(&image.state),
            created_by: image.owner,
            created_at: stamp(image.created_at),
            updated_at: stamp(image.updated_at),
            link: links.to("images", image.id),
            progress: match image.state {
                ImageState::Saving(percent) => percent.map(|percent| percent.min(100)),
                _ => None,
            },
            message: match &image.state {
                ImageState::Failed(why) => Some(why),
                _ => None,
            },
            checksum: image.checksum.as_deref(),
        }
    }
}

/// An image that was registered.
#[derive(Serialize)]
pub(super) struct RegisteredImage<'a> {
    id: i64,
    name: &'a str,
    status: &'static str,
    created_at: String,
    link: String,
}

impl<'a> RegisteredImage<'a> {
    pub(super) fn new(image: &'a Image, links: Links<'_>) -> Self {
        Self {
            id: image.id,
            name: &image.name,
            status: status_of_image(&image.state),
            created_at: stamp(image.created_at),
            link: links.to("images", image.id),
        }
    }
}

fn status_of_instance(state: InstanceState) -> &'static str {
    match state {
        InstanceState::Running => "running",
        InstanceState::Stopped => "stopped",
        InstanceState::Frozen => "frozen",
        InstanceState::Starting => "starting",
        InstanceState::Stopping => "stopping",
        InstanceState::Rebooting => "rebooting",
        InstanceState::Error => "error",
    }
}

/// An instance in detail; of one that was made just now less is told.
#[derive(Serialize)]
pub(super) struct InstanceView<'a> {
    id: i64,
    name: &'a str,
    status: &'static str,
    image: Reference<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by: Option<i64>,
    ip: Option<IpAddr>,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<String>,
    link: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

impl<'a> InstanceView<'a> {
    pub(super) fn new(instance: &'a Instance, links: Links<'_>) -> Self {
        let image = Reference { id: instance.image, name: &instance.image_name, link: links.to("images", instance.image) };
        Self {
            id: instance.id,
            name: &instance.name,
            status: status_of_instance(instance.state),
            image,
            created_by: Some(instance.owner),
            ip: instance.address,
            created_at: stamp(instance.created_at),
            updated_at: Some(stamp(instance.updated_at)),
            link: links.to("instances", instance.id),
            message: instance.detail.as_deref(),
        }
    }

    pub(super) fn created(instance: &'a Instance, links: Links<'_>) -> Self {
        Self { created_by: None, updated_at: None, ..Self::new(instance, links) }
    }
}

/// A forwarding rule in a list.
#[derive(Serialize)]
pub(super) struct RuleItem {
    id: i64,
    instance_id: i64,
    link: String,
}

impl RuleItem {
    pub(super) fn new(rule: &Rule, links: Links<'_>) -> Self {
        Self { id: rule.id, instance_id: rule.instance, link: links.to("fwrules", rule.id) }
    }
}

/// A forwarding rule in detail.
#[derive(Serialize)]
pub(super) struct RuleView<'a> {
    id: i64,
    port_to: u16,
    port_from: u16,
    instance: Reference<'a>,
    created_at: String,
    updated_at: String,
    link: String,
    protocol: &'static str,
}

impl<'a> RuleView<'a> {
    pub(super) fn new(rule: &'a Rule, links: Links<'_>) -> Self {
        Self {
            id: rule.id,
            port_to: rule.port_to,
            port_from: rule.port_from,
            instance: Reference { id: rule.instance, name: &rule.instance_name, link: links.to("instances", rule.instance) },
            created_at: stamp(rule.created_at),
            updated_at: stamp(rule.updated_at),
            link: links.to("fwrules", rule.id),
            protocol: match rule.protocol {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
            },
        }
    }
}

/// A forwarding rule that was made.
#[derive(Serialize)]
pub(super) struct CreatedRule {
    pub(super) id: i64,
    pub(super) port_to: u16,
    pub(super) port_from: u16,
}

/// The role that a user has on the platform; of whoever has none, the first other one.
fn role(user: &User) -> &str {
    platform_role(user).map_or_else(|| user.roles.first().map_or("none", String::as_str), |role| role.as_str())
}

/// A user in a list.
#[derive(Serialize)]
pub(super) struct UserItem<'a> {
    id: i64,
    name: &'a str,
    role: &'a str,
    link: String,
}

impl<'a> UserItem<'a> {
    pub(super) fn new(user: &'a User, links: Links<'_>) -> Self {
        Self { id: user.number, name: &user.username, role: role(user), link: links.to("users", user.number) }
    }
}

/// A user in detail.
#[derive(Serialize)]
pub(super) struct UserView<'a> {
    id: i64,
    name: &'a str,
    role: &'a str,
    email: Option<&'a str>,
    created_at: String,
    updated_at: String,
    link: String,
}

impl<'a> UserView<'a> {
    pub(super) fn new(user: &'a User, links: Links<'_>) -> Self {
        Self {
            id: user.number,
            name: &user.username,
            role: role(user),
            email: user.email.as_deref(),
            created_at: stamp(user.created_at),
            updated_at: stamp(user.updated_at),
            link: links.to("users", user.number),
        }
    }
}

/// A user who was made, with the password that was made for him.
#[derive(Serialize)]
pub(super) struct CreatedUser<'a> {
    id: i64,
    link: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
}

impl<'a> CreatedUser<'a> {
    pub(super) fn new(user: &User, password: Option<&'a str>, links: Links<'_>) -> Self {
        Self { id: user.number, link: links.to("users", user.number), password }
    }
}

/// What a platform has. What its driver does not know is null.
pub(super) struct Resources<'a>(pub(super) &'a Capacity);

#[derive(Serialize)]
struct Cpu<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    vcpu: Option<u64>,
}

#[derive(Serialize)]
struct DeviceView<'a> {
    class: &'a str,
    vendor: &'a str,
    product: &'a str,
}

/// One device is an object, several are an array of such.
#[derive(Serialize)]
#[serde(untagged)]
enum Devices<'a> {
    One(DeviceView<'a>),
    Several(Vec<DeviceView<'a>>),
}

impl Serialize for Resources<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Gigabytes of drivers are decimal ones, and so are the megabytes here.
        const MEGABYTES: u64 = 1000;
        let capacity = self.0;
        let free = |gauge: &Gauge| gauge.total.map(|total| total.saturating_sub(gauge.used.unwrap_or_default()));
        let mut map = serializer.serialize_map(None)?;
        let kind = capacity.cpu_model.as_deref().unwrap_or("unknown");
        map.serialize_entry("cpu", &Cpu { kind, vcpu: capacity.vcpus.total })?;
        map.serialize_entry("ram", &free(&capacity.ram_mb))?;
        map.serialize_entry("disk", &free(&capacity.disk_gb).map(|gigabytes| gigabytes.saturating_mul(MEGABYTES)))?;
        let mut kinds: Vec<&str> = Vec::new();
        for device in &capacity.devices {
            if !kinds.contains(&device.kind.as_str()) {
                kinds.push(&device.kind);
            }
        }
        for kind in kinds {
            let devices = capacity.devices.iter().filter(|device| device.kind == kind);
            let mut views: Vec<_> = devices
                .map(|device| DeviceView { class: &device.class, vendor: &device.vendor, product: &device.product })
                .collect();
            let devices = match (views.len(), views.pop()) {
                (1, Some(one)) => Devices::One(one),
                (_, last) => {
                    views.extend(last);
                    Devices::Several(views)
                }
            };
            match kind {
                // Words of the answer itself.
                "cpu" | "ram" | "disk" => map.serialize_entry(&format!("{kind}_device"), &devices)?,
                kind => map.serialize_entry(kind, &devices)?,
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests;
