//! Providers, services, tenants, images and flavors, as the CMDB tells them.
//!
//! It wraps CouchDB: one thing is `{_id, data: {…}}`, several are `{total_rows, offset, rows: [{id, value, doc: {_id, data}}]}`
//! (`facts/indigo.md`, section 3). `total_rows` and `offset` are about the whole index, not about the answer: there are no
//! pages, all rows come at once. The identifier is `_id`, whatever `data.id` says. A row without a document (the server ignores
//! `include_docs`) is read from its `value`, a short form of the same; a row of a deleted document is passed over.

use std::cmp::Ordering;

use serde_json::Value;

use crate::error::Problem;
use crate::read::{Fields, Listed, Mistake, list, object};

/// A provider of clouds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Its identifier, which agreements name.
    pub id: String,
    /// Its name for people; the identifier if it has none.
    pub name: String,
    /// Two letters, such as `IT`.
    pub country: Option<String>,
}

/// What kind a service is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ServiceKind {
    /// Runs machines.
    Compute,
    /// Keeps data.
    Storage,
    /// Anything else, or not said.
    #[default]
    Other,
}

/// A service of a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Its identifier, which agreements name.
    pub id: String,
    /// The provider's identifier, where the service says it.
    pub provider: Option<String>,
    /// Compute, storage or something else.
    pub kind: ServiceKind,
    /// Its interface: `org.openstack.nova`, `eu.egi.cloud.vm-management.occi`, `com.amazonaws.ec2` and others.
    pub service_type: Option<String>,
    /// Where it is reached. Of storage services it may be something else than a URL.
    pub endpoint: Option<String>,
    /// The region at the endpoint.
    pub region: Option<String>,
    /// The host.
    pub hostname: Option<String>,
    /// The service that this one is a part of.
    pub parent: Option<String>,
    /// Whether users present their own tokens there. Default false.
    pub iam_enabled: bool,
    /// The issuers whose tokens it takes.
    pub issuers: Vec<String>,
    /// Whether it is open to the public: monitoring is not asked about it. Default false.
    pub public: bool,
    /// Whether machines can have public addresses. Default false.
    pub public_ip_assignable: bool,
    /// Whether it serves users (`in_production`). Default true.
    pub in_production: bool,
    /// The names of the volume types.
    pub volume_types: Vec<String>,
}

impl Service {
    /// Whether it runs virtual machines, so that images and flavors matter: compute services but those of containers and jobs.
    #[must_use]
    pub fn runs_machines(&self) -> bool {
        const OTHERS: [&str; 4] =
            ["eu.indigo-datacloud.marathon", "eu.indigo-datacloud.chronos", "eu.deep.qcg", "eu.deep.kubernetes"];
        self.kind == ServiceKind::Compute && !self.service_type.as_deref().is_some_and(|kind| OTHERS.contains(&kind))
    }

    /// Whether users need credentials of their own at the provider (Amazon, Azure, Open Telekom Cloud): such a service is used
    /// only if a placement policy asks for it.
    #[must_use]
    pub fn needs_credentials(&self) -> bool {
        matches!(self.service_type.as_deref(), Some("com.amazonaws.ec2" | "com.microsoft.azure" | "eu.otc.compute"))
    }
}

/// A project at a service, for one organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its identifier in the CMDB.
    pub id: String,
    /// Its identifier at the provider.
    pub tenant_id: Option<String>,
    /// Its name at the provider.
    pub name: Option<String>,
    /// The service's identifier.
    pub service: Option<String>,
    /// The organisation or group of users that it is for.
    pub organisation: Option<String>,
    /// The network with public addresses.
    pub public_network: Option<String>,
    /// The network without.
    pub private_network: Option<String>,
    /// Its addresses.
    pub private_network_cidr: Option<String>,
}

/// A disk image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Its identifier in the CMDB.
    pub id: String,
    /// Its identifier at the provider.
    pub image_id: Option<String>,
    /// Its name, possibly with a tag: `base:tag`.
    pub name: Option<String>,
    /// `linux`, `windows`.
    pub kind: Option<String>,
    /// `x86_64` and others.
    pub architecture: Option<String>,
    /// `ubuntu`, `centos` and others.
    pub distribution: Option<String>,
    /// Of the distribution.
    pub version: Option<String>,
    /// Who can log in.
    pub user_name: Option<String>,
    /// Whether drivers for graphics processors are there.
    pub gpu_driver: Option<bool>,
    /// Of the driver.
    pub gpu_driver_version: Option<String>,
    /// Whether CUDA is there.
    pub cuda_support: Option<bool>,
    /// Of CUDA.
    pub cuda_version: Option<String>,
    /// Of cuDNN.
    pub cudnn_version: Option<String>,
}

/// A size of machines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flavor {
    /// Its identifier in the CMDB.
    pub id: String,
    /// Its identifier at the provider.
    pub flavor_id: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// Processors.
    pub vcpus: Option<i64>,
    /// Memory in MB.
    pub ram_mb: Option<f64>,
    /// Disk in GB.
    pub disk_gb: Option<f64>,
    /// Graphics processors.
    pub gpus: Option<i64>,
    /// Who makes them.
    pub gpu_vendor: Option<String>,
    /// Which.
    pub gpu_model: Option<String>,
}

impl Flavor {
    /// By graphics processors, processors, memory, disk, the smaller first; what is not said is nothing.
    #[must_use]
    pub fn by_size(&self, other: &Self) -> Ordering {
        let whole = |flavor: &Self| (flavor.gpus.unwrap_or_default(), flavor.vcpus.unwrap_or_default());
        let real = |a: Option<f64>, b: Option<f64>| a.unwrap_or_default().total_cmp(&b.unwrap_or_default());
        (whole(self).cmp(&whole(other)))
            .then_with(|| real(self.ram_mb, other.ram_mb))
            .then_with(|| real(self.disk_gb, other.disk_gb))
    }
}

/// A row or document: its identifier and what it says.
struct Document<'v> {
    id: String,
    data: Fields<'v>,
}

/// `{_id, data}`.
fn document<'v>(fields: &Fields<'v>) -> Result<Document<'v>, Mistake> {
    let id = fields.text("_id")?.filter(|id| !id.is_empty());
    Ok(Document { id: fields.required("_id", id)?, data: fields.required("data", fields.child("data")?)? })
}

/// `{id, value, doc}`.
fn row<'v>(fields: &Fields<'v>) -> Result<Option<Document<'v>>, Mistake> {
    if let Some(doc) = fields.child("doc")? {
        if doc.flag("_deleted")? == Some(true) {
            return Ok(None);
        }
        return document(&doc).map(Some);
    }
    // `doc: null`, and `error: not_found`: there is no such document any more.
    if fields.map.contains_key("doc") || fields.get("error").is_some() {
        return Ok(None);
    }
    Ok(Some(Document { id: fields.required_text("id")?, data: fields.required("value", fields.child("value")?)? }))
}

fn rows<T>(whole: &Value, limit: usize, read: impl Fn(&Document<'_>) -> Result<T, Mistake>) -> Result<Listed<T>, Problem> {
    let fields = object(whole, "").map_err(Problem::Malformed)?;
    fields.required("rows", fields.get("rows")).map_err(Problem::Malformed)?;
    let items = fields.array("rows").map_err(Problem::Malformed)?;
    list(items, "rows", limit, |fields| row(fields)?.map(|document| read(&document)).transpose())
}

pub(crate) fn provider(whole: &Value, _limit: usize) -> Result<Provider, Problem> {
    let read = || {
        let document = document(&object(whole, "")?)?;
        let name = document.data.text("name")?.filter(|name| !name.is_empty()).unwrap_or_else(|| document.id.clone());
        Ok(Provider { name, country: document.data.text("country_code")?, id: document.id })
    };
    read().map_err(Problem::Malformed)
}

pub(crate) fn services(whole: &Value, limit: usize) -> Result<Listed<Service>, Problem> {
    rows(whole, limit, |Document { id, data }| {
        let kind = match data.text("type")?.as_deref() {
            Some("compute") => ServiceKind::Compute,
            Some("storage") => ServiceKind::Storage,
            _ => ServiceKind::Other,
        };
        Ok(Service {
            id: id.clone(),
            provider: data.text("provider_id")?,
            kind,
            service_type: data.text("service_type")?,
            endpoint: data.text("endpoint")?,
            region: data.text("region")?,
            hostname: data.text("hostname")?,
            parent: data.text("service_parent_id")?,
            iam_enabled: data.flag("iam_enabled")?.unwrap_or(false),
            issuers: data.all("supported_idps", |idp| idp.text("issuer"))?.into_iter().flatten().collect(),
            public: data.flag("is_public_service")?.unwrap_or(false),
            public_ip_assignable: data.flag("public_ip_assignable")?.unwrap_or(false),
            in_production: data.flag("in_production")?.unwrap_or(true),
            volume_types: data.all("volume_types", |volume| volume.text("name"))?.into_iter().flatten().collect(),
        })
    })
}

pub(crate) fn tenants(whole: &Value, limit: usize) -> Result<Listed<Tenant>, Problem> {
    rows(whole, limit, |Document { id, data }| {
        Ok(Tenant {
            id: id.clone(),
            tenant_id: data.text("tenant_id")?,
            name: data.text("tenant_name")?,
            service: data.text("service")?,
            organisation: data.text("iam_organisation")?,
            public_network: data.text("public_network_name")?,
            private_network: data.text("private_network_name")?,
            private_network_cidr: data.text("private_network_cidr")?,
        })
    })
}

pub(crate) fn images(whole: &Value, limit: usize) -> Result<Listed<Image>, Problem> {
    rows(whole, limit, |Document { id, data }| {
        Ok(Image {
            id: id.clone(),
            image_id: data.text("image_id")?,
            name: data.text("image_name")?,
            kind: data.text("type")?,
            architecture: data.text("architecture")?,
            distribution: data.text("distribution")?,
            version: data.text("version")?,
            user_name: data.text("user_name")?,
            gpu_driver: data.flag("gpu_driver")?,
            gpu_driver_version: data.text("gpu_driver_version")?,
            cuda_support: data.flag("cuda_support")?,
            cuda_version: data.text("cuda_version")?,
            cudnn_version: data.text("cuDNN_version")?,
        })
    })
}

pub(crate) fn flavors(whole: &Value, limit: usize) -> Result<Listed<Flavor>, Problem> {
    rows(whole, limit, |Document { id, data }| {
        Ok(Flavor {
            id: id.clone(),
            flavor_id: data.text("flavor_id")?,
            name: data.text("flavor_name")?,
            vcpus: data.integer("num_vcpus")?,
            ram_mb: data.number("ram")?,
            disk_gb: data.number("disk")?,
            gpus: data.integer("num_gpus")?,
            gpu_vendor: data.text("gpu_vendor")?,
            gpu_model: data.text("gpu_model")?,
        })
    })
}
