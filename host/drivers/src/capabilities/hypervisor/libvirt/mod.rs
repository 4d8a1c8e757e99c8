//! Hypervisors through libvirt.
//!
//! Of the connection a cloud sees its own domains and volumes, and the pools, networks and devices that the operator named:
//! `domains` and `volumes` check each request, look up what it names, and only then build a document. A domain is the cloud's by
//! its [`mark`], a volume by its [`names`].

mod capacity;
mod connection;
mod content;
mod definition;
mod domains;
mod error;
mod events;
mod mark;
mod names;
mod power;
mod samples;
mod seed;
mod shared;
mod sys;
#[cfg(test)]
mod tests;
mod volumes;
mod xml;

use super::{Answer, Hypervisor};
use crate::settings::HypervisorSettings;
use crate::v0_1::imports::hypervisor::{
    Device, Domain, DomainSpec, Error, Info, Lease, Power, Sample, Volume, VolumeRef, VolumeSource, VolumeSpec,
};
use async_trait::async_trait;
use connection::{Link, Open};
use error::Outcome;
use shared::Shared;
use std::sync::Arc;
use std::time::Duration;

/// For so long a call waits for a copy; after that the driver is told that it goes on.
const COPYING: Duration = Duration::from_secs(2);

/// One cloud's part of a hypervisor.
#[derive(Clone)]
pub(super) struct Libvirt {
    link: Arc<Link>,
    cloud: Arc<Tenant>,
}

/// Who asks, and what they may use.
struct Tenant {
    name: String,
    settings: HypervisorSettings,
}

/// A tenant's requests on an open connection. All of it blocks.
struct Session<'a> {
    cloud: &'a Tenant,
    open: &'a Open,
    shared: &'a Shared,
}

impl Libvirt {
    pub(super) fn new(uri: &str, cloud: &str, settings: HypervisorSettings) -> Self {
        Self { link: Link::to(uri), cloud: Arc::new(Tenant { name: cloud.to_owned(), settings }) }
    }

    async fn run<T: Send + 'static>(
        &self,
        repeated: bool,
        work: impl Fn(&Session<'_>) -> Outcome<T> + Send + 'static,
    ) -> Answer<T> {
        let (cloud, link) = (Arc::clone(&self.cloud), Arc::clone(&self.link));
        let shared = Arc::clone(&link.shared);
        self.link.run(repeated, move |open| work(&Session { cloud: &cloud, open, shared: &shared })).await
    }
}

#[async_trait]
impl Hypervisor for Libvirt {
    async fn describe(&self) -> Answer<Info> {
        self.run(true, |session| session.describe()).await
    }

    async fn domains(&self) -> Answer<Vec<Domain>> {
        self.run(true, |session| session.domains()).await
    }

    async fn get_domain(&self, uuid: &str) -> Answer<Domain> {
        let uuid = uuid.to_owned();
        self.run(true, move |session| session.domain(&uuid)).await
    }

    async fn create_domain(&self, spec: DomainSpec) -> Answer<Domain> {
        self.run(true, move |session| session.create_domain(&spec)).await
    }

    async fn delete_domain(&self, uuid: &str) -> Answer<()> {
        let uuid = uuid.to_owned();
        self.run(false, move |session| session.delete_domain(&uuid)).await
    }

    async fn set_power(&self, uuid: &str, power: Power) -> Answer<()> {
        let uuid = uuid.to_owned();
        self.run(false, move |session| session.set_power(&uuid, &power)).await
    }

    async fn leases(&self, uuid: &str) -> Answer<Vec<Lease>> {
        let uuid = uuid.to_owned();
        self.run(true, move |session| session.leases(&uuid)).await
    }

    async fn get_samples(&self, uuids: &[String]) -> Answer<Vec<Sample>> {
        let uuids = uuids.to_vec();
        self.run(true, move |session| session.samples(&uuids)).await
    }

    async fn volumes(&self, pool: &str) -> Answer<Vec<Volume>> {
        let pool = pool.to_owned();
        self.run(true, move |session| session.volumes(&pool)).await
    }

    async fn get_volume(&self, at: &VolumeRef) -> Answer<Volume> {
        let at = at.clone();
        self.run(true, move |session| session.volume(&at)).await
    }

    async fn create_volume(&self, spec: VolumeSpec) -> Answer<Volume> {
        if !matches!(spec.source, VolumeSource::Copied(_)) {
            return self.run(true, move |session| session.create_volume(&spec)).await;
        }
        let (libvirt, unfinished) = (self.clone(), volumes::unfinished(&spec));
        // A task of its own: the copy goes on when this call ends.
        let copy = tokio::spawn(async move { libvirt.run(true, move |session| session.create_volume(&spec)).await });
        match tokio::time::timeout(COPYING, copy).await {
            Ok(done) => done.unwrap_or_else(|error| Err(Error::Failed(format!("a copy broke off: {error}")))),
            Err(_) => Ok(unfinished),
        }
    }

    async fn resize_volume(&self, at: &VolumeRef, capacity_bytes: u64) -> Answer<Volume> {
        let at = at.clone();
        self.run(true, move |session| session.resize_volume(&at, capacity_bytes)).await
    }

    async fn delete_volume(&self, at: &VolumeRef) -> Answer<()> {
        let at = at.clone();
        self.run(false, move |session| session.delete_volume(&at)).await
    }

    async fn devices(&self) -> Answer<Vec<Device>> {
        self.run(true, |session| session.devices()).await
    }
}
