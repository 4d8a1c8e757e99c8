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
mod imports;
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
    Device, Domain, DomainSpec, Error, Info, Lease, Power, Sample, Volume, VolumeRef, VolumeSource, VolumeSpec, VolumeStatus,
};
use async_trait::async_trait;
use connection::{Link, Open};
use error::Outcome;
use imports::Upload;
use shared::Shared;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// For so long a call waits for a copy; after that the driver is told that it goes on.
const COPYING: Duration = Duration::from_secs(2);
/// How often a transfer is begun when the connection is lost meanwhile, and how long after that.
const TRANSFERS: u32 = 4;
const PAUSE: Duration = Duration::from_secs(2);

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
    /// Where the host has images ready.
    images: Option<PathBuf>,
}

/// A tenant's requests on an open connection. All of it blocks.
struct Session<'a> {
    cloud: &'a Tenant,
    open: &'a Open,
    shared: &'a Arc<Shared>,
}

impl Libvirt {
    pub(super) fn new(uri: &str, cloud: &str, settings: HypervisorSettings, images: Option<PathBuf>) -> Self {
        Self { link: Link::to(uri), cloud: Arc::new(Tenant { name: cloud.to_owned(), settings, images }) }
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

    /// Makes a volume of an image that the host has ready.
    async fn import(&self, spec: VolumeSpec, name: String) -> Answer<Volume> {
        let Some(images) = self.cloud.images.clone() else {
            return Err(Error::Unsupported("this host fetches no images for hypervisors".to_owned()));
        };
        let begun = self.run(true, move |session| session.begin_import(&spec, &name, &images)).await?;
        if let Some(upload) = begun.upload {
            // A task of its own: it goes on when this call ends.
            let transfer = tokio::spawn(self.clone().transfer(upload));
            let _ = tokio::time::timeout(COPYING, transfer).await;
        }
        self.run(true, move |session| session.volume(&begun.at)).await
    }

    /// Goes on with a volume whose content has not arrived, where the host that made it ended in between.
    async fn resume(&self, at: &VolumeRef) {
        let Some(images) = self.cloud.images.clone() else { return };
        let at = at.clone();
        match self.run(false, move |session| session.resume_import(&at, &images)).await {
            Ok(Some(upload)) => drop(tokio::spawn(self.clone().transfer(upload))),
            Ok(None) => {}
            Err(error) => tracing::debug!(cloud = self.cloud.name, ?error, "an import cannot go on"),
        }
    }

    /// Has the content of a volume sent, and tells how that ended.
    async fn transfer(self, upload: Upload) {
        let upload = Arc::new(upload);
        for attempt in 1.. {
            let (sent, cloud, shared) = (Arc::clone(&upload), Arc::clone(&self.cloud), Arc::clone(&self.link.shared));
            let work = move |open: &Open| Session { cloud: &cloud, open, shared: &shared }.send(&sent);
            match self.link.apart(work).await {
                Ok(()) => return,
                Err(failure) if failure.lost && attempt < TRANSFERS => tokio::time::sleep(PAUSE * attempt).await,
                Err(failure) => return upload.failed(&self.cloud.name, failure.error),
            }
        }
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
        let wanted = at.clone();
        let volume = self.run(true, move |session| session.volume(&wanted)).await?;
        if matches!(volume.status, VolumeStatus::Importing(None)) {
            self.resume(at).await;
        }
        Ok(volume)
    }

    async fn create_volume(&self, spec: VolumeSpec) -> Answer<Volume> {
        if let VolumeSource::Staged(name) = &spec.source {
            let name = name.clone();
            return self.import(spec, name).await;
        }
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
