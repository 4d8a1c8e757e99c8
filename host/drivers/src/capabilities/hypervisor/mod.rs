//! `hypervisor`: domains, volumes and devices of the hypervisor that the operator granted to a cloud.
//!
//! What a guest asks for goes to a [`Hypervisor`], of which each cloud with a grant has one. The only implementation is `libvirt`
//! (feature `libvirt`); the linking here does not know it. The types are those of the contract's first generation: an adapter of
//! a later one converts into them.

#[cfg(feature = "libvirt")]
mod libvirt;

use crate::guest::Guest;
use crate::settings::CloudSettings;
use crate::v0_1::imports::hypervisor as wit;
use async_trait::async_trait;
use std::sync::Arc;
use wit::{Device, Domain, DomainSpec, Error, Host, Info, Lease, Power, Sample, Volume, VolumeRef, VolumeSpec};

/// Whether this build can reach any hypervisor.
pub(crate) const AVAILABLE: bool = cfg!(feature = "libvirt");

/// The answer to every question.
pub(crate) type Answer<T> = Result<T, Error>;

/// One cloud's part of a hypervisor. The functions are those of `wit/hypervisor.wit`, which has the fine print.
///
/// Whatever does not belong to the cloud is `not-found`. A call that is dropped may still take effect.
#[async_trait]
pub(crate) trait Hypervisor: Send + Sync {
    /// What it is and has.
    async fn describe(&self) -> Answer<Info>;
    /// The cloud's domains.
    async fn domains(&self) -> Answer<Vec<Domain>>;
    /// One domain.
    async fn get_domain(&self, uuid: &str) -> Answer<Domain>;
    /// Defines a domain and, if wanted, starts it; idempotent by uuid.
    async fn create_domain(&self, spec: DomainSpec) -> Answer<Domain>;
    /// Stops and removes a domain with what it owns.
    async fn delete_domain(&self, uuid: &str) -> Answer<()>;
    /// Changes the power of a domain.
    async fn set_power(&self, uuid: &str, power: Power) -> Answer<()>;
    /// The addresses of a domain's cards, newest first.
    async fn leases(&self, uuid: &str) -> Answer<Vec<Lease>>;
    /// Measurements of these domains, or of all of the cloud's.
    async fn get_samples(&self, uuids: &[String]) -> Answer<Vec<Sample>>;
    /// The cloud's volumes in a pool.
    async fn volumes(&self, pool: &str) -> Answer<Vec<Volume>>;
    /// One volume.
    async fn get_volume(&self, at: &VolumeRef) -> Answer<Volume>;
    /// Makes a volume; idempotent by token.
    async fn create_volume(&self, spec: VolumeSpec) -> Answer<Volume>;
    /// Makes a volume larger.
    async fn resize_volume(&self, at: &VolumeRef, capacity_bytes: u64) -> Answer<Volume>;
    /// Deletes a volume that nothing uses.
    async fn delete_volume(&self, at: &VolumeRef) -> Answer<()>;
    /// The devices that domains could be given.
    async fn devices(&self) -> Answer<Vec<Device>>;
}

/// The hypervisor that a cloud is granted, if any. Connects at the first call.
#[cfg_attr(not(feature = "libvirt"), allow(clippy::missing_const_for_fn, unused_variables))]
pub(crate) fn open(cloud: &CloudSettings) -> Option<Arc<dyn Hypervisor>> {
    #[cfg(feature = "libvirt")]
    if let Some(uri) = &cloud.grants.hypervisor {
        return Some(Arc::new(libvirt::Libvirt::new(uri, &cloud.name, cloud.hypervisor.clone(), cloud.images.clone())));
    }
    None
}

impl Guest {
    /// A component that gets here was admitted, so only a grant that was withdrawn since can be missing.
    fn hypervisor(&self) -> Answer<Arc<dyn Hypervisor>> {
        self.cloud.hypervisor.clone().ok_or_else(|| Error::Forbidden("this cloud is granted no hypervisor".to_owned()))
    }
}

impl Host for Guest {
    async fn describe(&mut self) -> Answer<Info> {
        self.hypervisor()?.describe().await
    }

    async fn domains(&mut self) -> Answer<Vec<Domain>> {
        self.hypervisor()?.domains().await
    }

    async fn get_domain(&mut self, uuid: String) -> Answer<Domain> {
        self.hypervisor()?.get_domain(&uuid).await
    }

    async fn create_domain(&mut self, spec: DomainSpec) -> Answer<Domain> {
        self.hypervisor()?.create_domain(spec).await
    }

    async fn delete_domain(&mut self, uuid: String) -> Answer<()> {
        self.hypervisor()?.delete_domain(&uuid).await
    }

    async fn set_power(&mut self, uuid: String, power: Power) -> Answer<()> {
        self.hypervisor()?.set_power(&uuid, power).await
    }

    async fn leases(&mut self, uuid: String) -> Answer<Vec<Lease>> {
        self.hypervisor()?.leases(&uuid).await
    }

    async fn get_samples(&mut self, uuids: Vec<String>) -> Answer<Vec<Sample>> {
        self.hypervisor()?.get_samples(&uuids).await
    }

    async fn volumes(&mut self, pool: String) -> Answer<Vec<Volume>> {
        self.hypervisor()?.volumes(&pool).await
    }

    async fn get_volume(&mut self, at: VolumeRef) -> Answer<Volume> {
        self.hypervisor()?.get_volume(&at).await
    }

    async fn create_volume(&mut self, spec: VolumeSpec) -> Answer<Volume> {
        self.hypervisor()?.create_volume(spec).await
    }

    async fn resize_volume(&mut self, at: VolumeRef, capacity_bytes: u64) -> Answer<Volume> {
        self.hypervisor()?.resize_volume(&at, capacity_bytes).await
    }

    async fn delete_volume(&mut self, at: VolumeRef) -> Answer<()> {
        self.hypervisor()?.delete_volume(&at).await
    }

    async fn devices(&mut self) -> Answer<Vec<Device>> {
        self.hypervisor()?.devices().await
    }
}
