//! Nodes, images, sizes and assignments: what every dialect offers in its own words.

mod assignments;
mod cistern;
mod nodes;
mod steps;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod tries;

pub use assignments::{Assigned, NodeAssignment, Target};
pub use cistern::Cistern;
pub(crate) use nodes::{Ended, ensure, event, failed as recorded_failure, failure, valid};
pub use nodes::{Key, Listed};

use crate::Error;
use crate::identity::{Permission, Principal};
use crate::model::{Capacity, Image, Size};
use crate::scheduler::Scheduler;
use ostler_drivers::model::{Description, Health};
use ostler_drivers::{Cloud, Host, Listing};
use ostler_store::{Operation, OperationState, Store};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::task::TaskTracker;

/// How often is looked how far somebody else's operation is.
const POLL: Duration = Duration::from_millis(50);

/// Installations behind a cloud that are told of at most.
const MOST_HOPS: usize = 32;

/// The use cases around nodes.
pub struct Compute {
    host: Arc<Host>,
    store: Store,
    cistern: Option<Cistern>,
    scheduler: Arc<Scheduler>,
    /// Changes under way. They end even when nobody waits for them any more.
    tasks: TaskTracker,
}

/// A cloud, for a listing of clouds.
#[derive(Clone, Debug)]
pub struct CloudInfo {
    /// Its name.
    pub name: String,
    /// The driver's name.
    pub driver: String,
    /// What the driver says of itself, where one serves.
    pub description: Option<Arc<Description>>,
    /// What the latest check said.
    pub health: Option<Result<Health, ostler_drivers::Error>>,
    /// Why no driver serves.
    pub refused: Option<String>,
    /// The component that serves.
    pub digest: Option<String>,
    /// Whether calls are refused at present because of earlier failures.
    pub resting: bool,
    /// How it is configured, without values.
    pub settings: Settings,
}

/// What of a cloud's configuration may be shown to those who configure.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Origins that its driver may call.
    pub http: Vec<String>,
    /// The hypervisor that its driver may use.
    pub hypervisor: Option<String>,
    /// The keys of its settings.
    pub config: Vec<String>,
    /// The names of its secrets.
    pub secrets: Vec<String>,
}

impl Compute {
    /// The use cases on these clouds. With a Cistern, assignments are its matter.
    pub fn new(host: Arc<Host>, scheduler: Arc<Scheduler>, cistern: Option<Cistern>) -> Arc<Self> {
        let store = scheduler.store().clone();
        let this = Arc::new(Self { host, store, cistern, scheduler, tasks: TaskTracker::new() });
        this.scheduler.install(steps::workflows(&this));
        this
    }

    pub(crate) fn cloud(&self, name: &str) -> Result<Arc<Cloud>, Error> {
        Ok(self.host.cloud(name)?)
    }

    pub(crate) fn cloud_names(&self) -> Vec<String> {
        self.host.clouds().iter().map(|cloud| cloud.name().to_owned()).collect()
    }

    #[cfg(test)]
    pub(crate) fn host(&self) -> &Arc<Host> {
        &self.host
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// What carries out operations.
    pub(crate) fn scheduler(&self) -> &Arc<Scheduler> {
        &self.scheduler
    }

    /// Where changes run to their end.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// All clouds, by name.
    pub fn clouds(&self, who: &Principal) -> Result<Vec<CloudInfo>, Error> {
        who.require(Permission::ReadCompute)?;
        Ok(self.host.clouds().iter().map(CloudInfo::of).collect())
    }

    /// One cloud, checked anew if `fresh`.
    pub async fn cloud_info(&self, who: &Principal, cloud: &str, fresh: bool) -> Result<CloudInfo, Error> {
        who.require(Permission::ReadCompute)?;
        let cloud = self.cloud(cloud)?;
        if fresh && cloud.package().is_some() {
            // What it says is part of the answer, whatever it is.
            let _ = cloud.check().await;
        }
        Ok(CloudInfo::of(&cloud))
    }

    /// All images of a cloud.
    pub async fn images(&self, who: &Principal, cloud: &str) -> Result<Arc<Listing<Image>>, Error> {
        who.require(Permission::ReadCompute)?;
        Ok(self.cloud(cloud)?.list_images().await?)
    }

    /// All sizes of a cloud.
    pub async fn sizes(&self, who: &Principal, cloud: &str) -> Result<Arc<Listing<Size>>, Error> {
        who.require(Permission::ReadCompute)?;
        Ok(self.cloud(cloud)?.list_sizes().await?)
    }

    /// Waits for the end of an operation that somebody else began, but not longer than this. Its failure is the error.
    pub(crate) async fn ended(&self, operation: &str, limit: Duration) -> Result<(), Error> {
        let began = Instant::now();
        loop {
            match self.store.operation_get(operation).await? {
                Some(Operation { state: OperationState::Pending, .. }) => {}
                Some(operation) if operation.state != OperationState::Succeeded => return Err(recorded_failure(&operation)),
                _ => return Ok(()),
            }
            if began.elapsed() >= limit {
                let reason = format!("it is still under way after {} s", limit.as_secs());
                return Err(Error::Uncertain { operation: operation.to_owned(), reason });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Which installations are behind a cloud, as far as its driver knows: where the provider is one itself, that, and what is behind
    /// it.
    pub fn upstream(&self, cloud: &str) -> Result<Vec<String>, Error> {
        let status = self.cloud(cloud)?.status();
        let Some(Ok(health)) = &status.health else { return Ok(Vec::new()) };
        let extra: serde_json::Value = serde_json::from_str(&health.extra).unwrap_or_default();
        let behind = extra["ostler"]["upstream"].as_array().cloned().unwrap_or_default();
        let all = std::iter::once(extra["ostler"]["instance"].clone()).chain(behind);
        Ok(all.filter_map(|id| id.as_str().map(str::to_owned)).take(MOST_HOPS).collect())
    }

    /// What the platform of a cloud has.
    pub async fn capacity(&self, who: &Principal, cloud: &str) -> Result<Capacity, Error> {
        who.require(Permission::UseCatalogue)?;
        Ok(self.cloud(cloud)?.capacity().await?)
    }

    /// Waits until no change is under way any more. New ones are still taken.
    pub async fn settle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl CloudInfo {
    pub(crate) fn of(cloud: &Arc<Cloud>) -> Self {
        let (status, settings) = (cloud.status(), cloud.settings());
        Self {
            name: cloud.name().to_owned(),
            driver: settings.driver.clone(),
            description: status.description.clone(),
            health: status.health.clone(),
            refused: status.refused.clone(),
            digest: cloud.package().map(|package| package.digest.clone()),
            resting: cloud.is_resting(),
            settings: Settings {
                http: settings.grants.http.iter().map(ToString::to_string).collect(),
                hypervisor: settings.grants.hypervisor.clone(),
                config: settings.config.keys().cloned().collect(),
                secrets: settings.secrets.keys().cloned().collect(),
            },
        }
    }
}
