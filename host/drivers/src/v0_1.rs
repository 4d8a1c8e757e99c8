//! The first generation of the contract, `ostler:driver@0.1`: bindings, and conversion to and from [`crate::model`].

use crate::error::{Error, ErrorKind};
use crate::model;
use std::time::Duration;

#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "cloud-driver",
        imports: {
            "ostler:driver/state": async,
            "ostler:driver/hypervisor": async,
            default: trappable,
        },
        exports: { default: async },
    });
}

pub(crate) use bindings::ostler::driver as imports;
use bindings::ostler::driver::types as wit;

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Self {
        let (kind, message) = match error {
            wit::Error::NotFound(m) => (ErrorKind::NotFound, m),
            wit::Error::Invalid(m) => (ErrorKind::Invalid, m),
            wit::Error::Conflict(m) => (ErrorKind::Conflict, m),
            wit::Error::Unauthorized(m) => (ErrorKind::Unauthorized, m),
            wit::Error::Forbidden(m) => (ErrorKind::Forbidden, m),
            wit::Error::Quota(m) => (ErrorKind::Quota, m),
            wit::Error::Capacity(m) => (ErrorKind::Capacity, m),
            wit::Error::Throttled(t) => {
                let retry_after = t.retry_after_ms.map(Duration::from_millis);
                return Self { retry_after, ..Self::new(ErrorKind::Throttled, t.message) };
            }
            wit::Error::Unsupported(m) => (ErrorKind::Unsupported, m),
            wit::Error::Transient(m) => (ErrorKind::Transient, m),
            wit::Error::Failed(m) => (ErrorKind::Failed, m),
            wit::Error::Other(o) => (ErrorKind::Other(o.kind), o.message),
        };
        Self::new(kind, message)
    }
}

impl From<wit::NodeState> for model::NodeState {
    fn from(state: wit::NodeState) -> Self {
        match state {
            wit::NodeState::Pending => Self::Pending,
            wit::NodeState::Starting => Self::Starting,
            wit::NodeState::Running => Self::Running,
            wit::NodeState::Rebooting => Self::Rebooting,
            wit::NodeState::Stopping => Self::Stopping,
            wit::NodeState::Stopped => Self::Stopped,
            wit::NodeState::Suspended => Self::Suspended,
            wit::NodeState::Terminating => Self::Terminating,
            wit::NodeState::Terminated => Self::Terminated,
            wit::NodeState::Failed => Self::Failed,
            wit::NodeState::Unknown => Self::Unknown,
            wit::NodeState::Other(name) => Self::Other(name),
        }
    }
}

impl From<wit::Address> for model::Address {
    fn from(address: wit::Address) -> Self {
        let reach = match address.reach {
            wit::Reach::Public => model::Reach::Public,
            wit::Reach::Private => model::Reach::Private,
            wit::Reach::Other(name) => model::Reach::Other(name),
        };
        Self { ip: address.ip, reach, network: address.network, mac: address.mac }
    }
}

impl From<wit::Node> for model::Node {
    fn from(node: wit::Node) -> Self {
        Self {
            id: node.id,
            name: node.name,
            token: node.token,
            state: node.state.into(),
            state_detail: node.state_detail,
            image_id: node.image_id,
            size_id: node.size_id,
            addresses: node.addresses.into_iter().map(Into::into).collect(),
            created_at: node.created_at,
            extra: node.extra,
        }
    }
}

impl From<wit::Image> for model::Image {
    fn from(image: wit::Image) -> Self {
        let status = match image.status {
            wit::ImageStatus::Pending => model::ImageStatus::Pending,
            wit::ImageStatus::Importing(percent) => model::ImageStatus::Importing(percent),
            wit::ImageStatus::Active => model::ImageStatus::Active,
            wit::ImageStatus::Failed(why) => model::ImageStatus::Failed(why),
            wit::ImageStatus::Deleting => model::ImageStatus::Deleting,
            wit::ImageStatus::Other(name) => model::ImageStatus::Other(name),
        };
        Self {
            id: image.id,
            name: image.name,
            token: image.token,
            status,
            size_bytes: image.size_bytes,
            min_disk_gb: image.min_disk_gb,
            min_ram_mb: image.min_ram_mb,
            checksum: image.checksum,
            created_at: image.created_at,
            properties: image.properties,
            extra: image.extra,
        }
    }
}

impl From<wit::Size> for model::Size {
    fn from(size: wit::Size) -> Self {
        Self {
            id: size.id,
            name: size.name,
            vcpus: size.vcpus,
            ram_mb: size.ram_mb,
            disk_gb: size.disk_gb,
            properties: size.properties,
            extra: size.extra,
        }
    }
}

impl From<wit::Gauge> for model::Gauge {
    fn from(gauge: wit::Gauge) -> Self {
        Self { total: gauge.total, used: gauge.used }
    }
}

impl From<wit::Capacity> for model::Capacity {
    fn from(c: wit::Capacity) -> Self {
        Self {
            cpu_model: c.cpu_model,
            vcpus: c.vcpus.into(),
            ram_mb: c.ram_mb.into(),
            disk_gb: c.disk_gb.into(),
            nodes: c.nodes.into(),
            quotas: c.quotas.into_iter().map(|q| model::Quota { name: q.name, amount: q.amount.into() }).collect(),
            devices: c
                .devices
                .into_iter()
                .map(|d| model::Device { kind: d.kind, class: d.class, vendor: d.vendor, product: d.product, extra: d.extra })
                .collect(),
            extra: c.extra,
        }
    }
}

impl From<wit::Sample> for model::Sample {
    fn from(sample: wit::Sample) -> Self {
        let values = sample.values.into_iter().map(|v| model::Measurement {
            name: v.name,
            unit: v.unit,
            kind: match v.kind {
                wit::MetricKind::Gauge => model::MetricKind::Gauge,
                wit::MetricKind::Counter => model::MetricKind::Counter,
                wit::MetricKind::Other(name) => model::MetricKind::Other(name),
            },
            value: v.value,
        });
        Self { node_id: sample.node_id, at: sample.at, values: values.collect() }
    }
}

impl From<wit::Description> for model::Description {
    fn from(d: wit::Description) -> Self {
        let setting = |s: wit::Setting| model::Setting { key: s.key, doc: s.doc, required: s.required, secret: s.secret };
        Self {
            name: d.name,
            version: d.version,
            provider: d.provider,
            cloud_type: d.cloud_type,
            features: d.features,
            settings: d.settings.into_iter().map(setting).collect(),
            extra: d.extra,
        }
    }
}

impl From<wit::Health> for model::Health {
    fn from(h: wit::Health) -> Self {
        Self { endpoint: h.endpoint, account: h.account, provider_version: h.provider_version, extra: h.extra }
    }
}

impl From<wit::NodePage> for model::Page<model::Node> {
    fn from(page: wit::NodePage) -> Self {
        Self { items: page.items.into_iter().map(Into::into).collect(), next: page.next }
    }
}

impl From<wit::ImagePage> for model::Page<model::Image> {
    fn from(page: wit::ImagePage) -> Self {
        Self { items: page.items.into_iter().map(Into::into).collect(), next: page.next }
    }
}

impl From<wit::SizePage> for model::Page<model::Size> {
    fn from(page: wit::SizePage) -> Self {
        Self { items: page.items.into_iter().map(Into::into).collect(), next: page.next }
    }
}

impl From<model::NodeSpec> for wit::NodeSpec {
    fn from(spec: model::NodeSpec) -> Self {
        let device = |d: model::BlockDevice| wit::BlockDevice { volume_id: d.volume_id, size_gb: d.size_gb, device: d.device };
        Self {
            name: spec.name,
            image_id: spec.image_id,
            size_id: spec.size_id,
            key_name: spec.key_name,
            ssh_keys: spec.ssh_keys,
            user_data: spec.user_data,
            metadata: spec.metadata,
            networks: spec.networks,
            security_groups: spec.security_groups,
            public_address: spec.public_address,
            block_devices: spec.block_devices.into_iter().map(device).collect(),
            zone: spec.zone,
            start: spec.start,
            extra: spec.extra,
        }
    }
}

impl From<model::Force> for wit::Force {
    fn from(force: model::Force) -> Self {
        match force {
            model::Force::Soft => Self::Soft,
            model::Force::Hard => Self::Hard,
        }
    }
}

impl From<model::Action> for wit::Action {
    fn from(action: model::Action) -> Self {
        match action {
            model::Action::Start => Self::Start,
            model::Action::Stop(force) => Self::Stop(force.into()),
            model::Action::Reboot(force) => Self::Reboot(force.into()),
            model::Action::Suspend => Self::Suspend,
            model::Action::Resume => Self::Resume,
            model::Action::Other(name) => Self::Other(name),
        }
    }
}

impl From<model::ImageSpec> for wit::ImageSpec {
    fn from(spec: model::ImageSpec) -> Self {
        Self {
            name: spec.name,
            source: match spec.source {
                model::ImageSource::Url(url) => wit::ImageSource::Url(url),
                model::ImageSource::Staged(name) => wit::ImageSource::Staged(name),
            },
            format: spec.format,
            checksum: spec.checksum,
            properties: spec.properties,
            extra: spec.extra,
        }
    }
}
