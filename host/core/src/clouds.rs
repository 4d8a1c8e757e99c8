//! Adding, testing and removing clouds while the host runs.

mod files;
#[cfg(test)]
mod tests;

pub use files::{CloudFiles, secret_path, tls_path};

use crate::Error;
use crate::compute::{CloudInfo, Compute};
use crate::deployments::{AddedTerms, Terms};
use crate::drivers::Drivers;
use crate::identity::{Permission, Principal};
use ostler_drivers::model::Health;
use ostler_drivers::{CloudSettings, ErrorKind, Host, LoadError};
use ostler_store::{CloudUse, NewEvent, Store};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Why a cloud was not added or removed.
#[derive(Debug, thiserror::Error)]
pub enum CloudsError {
    /// No driver of this name.
    #[error("no driver is called `{0}`")]
    NoDriver(String),
    /// Its driver cannot work for it, and no force helps: an import that is not granted, settings that it cannot use.
    #[error("{0}")]
    Refused(LoadError),
    /// Its provider does not answer as it should.
    #[error("its test failed ({class}): {error}", class = error.kind.as_str())]
    Unhealthy {
        /// What its driver says.
        error: ostler_drivers::Error,
    },
    /// It stands in the configuration file.
    #[error("cloud `{0}` stands in the configuration file: remove it there")]
    Configured(String),
    /// It is being added or removed at this moment.
    #[error("cloud `{0}` is being added or removed")]
    UnderWay(String),
    /// Something still needs it.
    #[error("cloud `{cloud}` is still in use: {}", list(.uses))]
    InUse {
        /// Its name.
        cloud: String,
        /// What needs it.
        uses: Vec<CloudUse>,
    },
    /// Its files.
    #[error("the files of cloud `{cloud}`: {source}")]
    Files {
        /// Its name.
        cloud: String,
        /// Why.
        source: std::io::Error,
    },
}

fn list(uses: &[CloudUse]) -> String {
    let one = |one: &CloudUse| {
        let shown = u64::try_from(one.examples.len()).unwrap_or(u64::MAX);
        let more = if one.count > shown { ", …" } else { "" };
        format!("{} {} ({}{more})", one.count, one.kind, one.examples.join(", "))
    };
    uses.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Where a cloud comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The configuration.
    Configuration,
    /// It was added while the host ran.
    Added,
}

impl Origin {
    /// As listings spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Added => "added",
        }
    }
}

/// A cloud that is to be added.
#[derive(Clone, Debug)]
pub struct NewCloud {
    /// How it is configured, secrets included.
    pub settings: CloudSettings,
    /// Its terms for deployments; none: they are not placed there.
    pub terms: Option<Terms>,
    /// Its file, without secrets: it names them by [`secret_path`] and [`tls_path`].
    pub document: String,
}

/// What a removal does besides.
#[derive(Clone, Copy, Debug, Default)]
pub struct Removal {
    /// Whatever still needs the cloud is left without it.
    pub force: bool,
    /// Its driver's durable state is deleted, too. Otherwise another cloud of this name finds it.
    pub purge: bool,
}

/// What a test came to.
#[derive(Clone, Debug)]
pub struct Tested {
    /// What the driver says.
    pub health: Result<Health, ostler_drivers::Error>,
    /// How long it took.
    pub took: Duration,
}

/// The clouds of this host. Each host has its own, also where several share a store.
pub struct Clouds {
    compute: Arc<Compute>,
    host: Arc<Host>,
    drivers: Arc<Drivers>,
    store: Store,
    terms: Arc<AddedTerms>,
    files: CloudFiles,
    added: Mutex<BTreeSet<String>>,
    changing: Arc<Mutex<BTreeSet<String>>>,
}

/// A name that nobody else adds or removes meanwhile.
struct Claim {
    name: String,
    changing: Arc<Mutex<BTreeSet<String>>>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.changing.lock().remove(&self.name);
    }
}

impl Clouds {
    /// The use cases on the clouds of this host, of which `added` were added before and are in `files`.
    pub fn new(
        host: Arc<Host>,
        compute: Arc<Compute>,
        drivers: Arc<Drivers>,
        terms: Arc<AddedTerms>,
        files: CloudFiles,
        added: BTreeSet<String>,
    ) -> Arc<Self> {
        let store = compute.store().clone();
        Arc::new(Self { compute, host, drivers, store, terms, files, added: Mutex::new(added), changing: Arc::default() })
    }

    /// Where a cloud of this host comes from.
    pub fn origin(&self, name: &str) -> Origin {
        if self.added.lock().contains(name) { Origin::Added } else { Origin::Configuration }
    }

    fn claim(&self, name: &str) -> Result<Claim, CloudsError> {
        if !self.changing.lock().insert(name.to_owned()) {
            return Err(CloudsError::UnderWay(name.to_owned()));
        }
        Ok(Claim { name: name.to_owned(), changing: Arc::clone(&self.changing) })
    }

    /// Adds a cloud: it serves when this returns, and after a restart. Unless `test` is false its provider is asked first, and a
    /// cloud whose provider does not answer well is only added by `force`. Goes on when nobody waits for it any more.
    ///
    /// # Errors
    /// [`Error::Taken`] where there is one of this name, [`CloudsError`].
    pub async fn add(self: &Arc<Self>, who: &Principal, new: NewCloud, test: bool, force: bool) -> Result<CloudInfo, Error> {
        who.require(Permission::ChangeClouds)?;
        let claim = self.claim(&new.settings.name)?;
        if self.host.cloud(&claim.name).is_ok() {
            return Err(Error::Taken("the cloud"));
        }
        let (this, actor) = (Arc::clone(self), who.user.clone());
        self.run(async move { this.add_claimed(&claim, new, test, force, &actor).await }).await
    }

    async fn add_claimed(&self, claim: &Claim, new: NewCloud, test: bool, force: bool, actor: &str) -> Result<CloudInfo, Error> {
        let (name, driver) = (claim.name.as_str(), new.settings.driver.clone());
        let prepared = self.drivers.prepare_cloud(new.settings.clone(), test).await;
        let (cloud, alone) = prepared.map_err(|error| match error {
            Error::Load(LoadError::Unknown(_)) => CloudsError::NoDriver(driver.clone()).into(),
            Error::Load(error) if !matches!(error, LoadError::Io(_)) => CloudsError::Refused(error).into(),
            error => error,
        })?;
        if let Some(Err(error)) = &cloud.status().health
            && !force
        {
            return Err(CloudsError::Unhealthy { error: error.clone() }.into());
        }
        let (files, settings, document) = (self.files.clone(), new.settings, new.document);
        self.on_disk(name, move || files.write(&settings, &document)).await?;
        self.added.lock().insert(name.to_owned());
        self.terms.set(name, new.terms);
        // The name is ours alone: whoever else would publish it claims it first.
        self.host.publish(&cloud);
        drop(alone);
        tracing::info!(cloud = name, driver, by = actor, "cloud added");
        self.tell("cloud.add", name, actor, json!({ "driver": driver })).await;
        Ok(CloudInfo::of(&cloud))
    }

    /// Removes a cloud that was added. Calls under way go on to their end.
    ///
    /// # Errors
    /// No such cloud, [`CloudsError`].
    pub async fn remove(self: &Arc<Self>, who: &Principal, name: &str, how: Removal) -> Result<(), Error> {
        who.require(Permission::ChangeClouds)?;
        let claim = self.claim(name)?;
        self.host.cloud(name)?;
        if self.origin(name) == Origin::Configuration {
            return Err(CloudsError::Configured(name.to_owned()).into());
        }
        let (this, actor) = (Arc::clone(self), who.user.clone());
        self.run(async move { this.remove_claimed(&claim, how, &actor).await }).await
    }

    async fn remove_claimed(&self, claim: &Claim, how: Removal, actor: &str) -> Result<(), Error> {
        let name = claim.name.as_str();
        self.check_unused(name, how.force).await?;
        let Some(cloud) = self.host.remove_cloud(name) else {
            return Err(ostler_drivers::Error::new(ErrorKind::UnknownCloud, format!("no cloud is called `{name}`")).into());
        };
        let terms = self.terms.get(name);
        self.terms.set(name, None);
        // Once more, since something may have begun between the two.
        let mut removed = self.check_unused(name, how.force).await;
        if removed.is_ok() {
            let (files, of) = (self.files.clone(), name.to_owned());
            removed = self.on_disk(name, move || files.remove(&of)).await;
        }
        if let Err(error) = removed {
            self.terms.set(name, terms);
            self.host.publish(&cloud);
            return Err(error);
        }
        self.added.lock().remove(name);
        tracing::info!(cloud = name, by = actor, force = how.force, purge = how.purge, "cloud removed");
        self.tell("cloud.remove", name, actor, json!({ "force": how.force, "purge": how.purge })).await;
        if how.purge {
            cloud.forget_state().await?;
        }
        Ok(())
    }

    async fn check_unused(&self, name: &str, force: bool) -> Result<(), Error> {
        let uses = if force { Vec::new() } else { self.store.cloud_uses(name).await? };
        if uses.is_empty() { Ok(()) } else { Err(CloudsError::InUse { cloud: name.to_owned(), uses }.into()) }
    }

    /// Asks a cloud's driver whether all is well, even while the cloud rests.
    pub async fn test(&self, who: &Principal, name: &str) -> Result<Tested, Error> {
        who.require(Permission::ChangeClouds)?;
        let cloud = self.host.cloud(name)?;
        let began = Instant::now();
        let health = cloud.test().await;
        Ok(Tested { health, took: began.elapsed() })
    }

    /// Runs to its end, whether somebody waits or not.
    async fn run<T: Send + 'static>(&self, work: impl Future<Output = Result<T, Error>> + Send + 'static) -> Result<T, Error> {
        self.compute.tasks().spawn(work).await.unwrap_or(Err(Error::Stopping))
    }

    async fn on_disk(&self, name: &str, work: impl FnOnce() -> std::io::Result<()> + Send + 'static) -> Result<(), Error> {
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result.map_err(|source| CloudsError::Files { cloud: name.to_owned(), source }.into()),
            Err(_) => Err(Error::Stopping),
        }
    }

    /// What has happened has happened, also where it cannot be told.
    async fn tell(&self, kind: &str, cloud: &str, actor: &str, data: Value) {
        let event = NewEvent {
            kind: kind.to_owned(),
            subject: cloud.to_owned(),
            cloud: Some(cloud.to_owned()),
            actor: actor.to_owned(),
            data,
        };
        if let Err(error) = self.store.event_append(&event).await {
            tracing::error!(cloud, kind, %error, "an event could not be written down");
        }
    }
}
