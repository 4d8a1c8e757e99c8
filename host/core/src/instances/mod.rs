//! Instances: machines with an owner and a number, made from an image on record, stopped until somebody starts them.

mod act;
mod create;
mod delete;
#[cfg(test)]
mod tests;
mod view;

use crate::Error;
use crate::compute::{Compute, event};
use crate::identity::{Permission, Principal};
use crate::images::{Images, Pace};
use crate::scheduler::{Patience, Workflow};
use futures::future::BoxFuture;
use ostler_drivers::Cloud;
use ostler_store::{InstanceFilter, InstanceRecord, InstanceSeen, Operation, OperationKind, RecordError, Store};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use tokio::sync::Notify;

/// What an instance is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// Up.
    Running,
    /// Off; its disk is kept.
    Stopped,
    /// Its memory is kept, nothing runs.
    Frozen,
    /// On its way up.
    Starting,
    /// On its way down.
    Stopping,
    /// On its way through a reboot.
    Rebooting,
    /// Broken, or gone at the provider.
    Error,
}

/// An instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its number: never given again.
    pub id: i64,
    /// The cloud.
    pub cloud: String,
    /// Its name.
    pub name: String,
    /// The number of its image.
    pub image: i64,
    /// The name of its image.
    pub image_name: String,
    /// The number of the account that has it.
    pub owner: i64,
    /// What it is doing.
    pub state: InstanceState,
    /// Why, where that is known.
    pub detail: Option<String>,
    /// Its address: the first public one, else the first private one.
    pub address: Option<IpAddr>,
    /// The provider's identifier, once there is one.
    pub node_id: Option<String>,
    /// The token of its machine at the provider.
    pub token: String,
    /// Microseconds UTC.
    pub created_at: i64,
    /// Microseconds UTC.
    pub updated_at: i64,
}

/// An order for an instance.
#[derive(Clone, Debug, Default)]
pub struct NewInstance {
    /// The cloud.
    pub cloud: String,
    /// The number of the image.
    pub image: i64,
    /// Its name; none makes `<image name>-instance-<number>`.
    pub name: Option<String>,
    /// The size, by identifier or name; none takes the cloud's smallest that fits the image.
    pub size: Option<String>,
    /// Data for the first boot.
    pub user_data: Option<Vec<u8>>,
    /// Public keys for the guest.
    pub ssh_keys: Vec<String>,
}

/// The use cases around instances.
pub struct Instances {
    compute: Arc<Compute>,
    images: Arc<Images>,
    store: Store,
    pace: Pace,
    /// Who waits until the provider has accepted an order, by operation.
    accepted: Mutex<HashMap<String, Arc<Notify>>>,
    deleted: OnceLock<Deleted>,
}

/// What is done when an instance is deleted.
type Deleted = Box<dyn Fn(i64) -> BoxFuture<'static, ()> + Send + Sync>;

impl Instances {
    /// On these clouds and images.
    pub fn new(compute: Arc<Compute>, images: Arc<Images>) -> Arc<Self> {
        let (store, pace) = (compute.store().clone(), *images.pace());
        let this = Arc::new(Self { compute, images, store, pace, accepted: Mutex::default(), deleted: OnceLock::new() });
        let workflows: [(OperationKind, Arc<dyn Workflow>); 3] = [
            (OperationKind::CreateInstance, Arc::new(create::Create(Arc::clone(&this)))),
            (OperationKind::Act, Arc::new(act::Act(Arc::clone(&this)))),
            (OperationKind::DeleteInstance, Arc::new(delete::Delete(Arc::clone(&this)))),
        ];
        this.compute.scheduler().install(HashMap::from(workflows));
        this
    }

    /// Where they are on record.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// What is to be done when one is deleted, before its owner is told. It is not done for those that end otherwise, as after a
    /// crash: whoever depends on instances looks for them now and then.
    pub(crate) fn when_deleted(&self, then: impl Fn(i64) -> BoxFuture<'static, ()> + Send + Sync + 'static) {
        if self.deleted.set(Box::new(then)).is_err() {
            tracing::error!("somebody else looks after what instances leave behind");
        }
    }

    /// The instances of a cloud that the caller may see, by number; those made from one image, if one is named. Where the provider
    /// does not answer, each is as it was known last, and says so.
    pub async fn list(&self, who: &Principal, cloud: &str, image: Option<i64>) -> Result<Vec<Instance>, Error> {
        let cloud = self.compute.cloud(cloud)?;
        let owner = match may_see(who)? {
            Sees::All => None,
            Sees::Own(owner) => Some(owner),
        };
        let mut records = self.store.instances(cloud.name(), InstanceFilter { image, owner }).await?;
        records.retain(|record| !record.is_intent());
        self.look(&cloud, records).await
    }

    /// One instance that the caller may see, as it is at present. [`Error::NoInstance`].
    pub async fn get(&self, who: &Principal, cloud: &str, id: i64) -> Result<Instance, Error> {
        let cloud = self.compute.cloud(cloud)?;
        let record = self.visible(who, cloud.name(), id).await?;
        self.look_at(&cloud, record).await
    }

    /// Where an instance can be reached at present, for the host itself; none while it has no address. [`Error::NoInstance`].
    pub async fn address(&self, id: i64) -> Result<Option<IpAddr>, Error> {
        let record = self.store.instance_get(id).await?.filter(|record| !record.is_intent()).ok_or(Error::NoInstance(id))?;
        let cloud = self.compute.cloud(&record.cloud)?;
        Ok(self.look_at(&cloud, record).await?.address)
    }

    /// How many instances an account has, over all clouds.
    pub async fn owned(&self, account: i64) -> Result<u64, Error> {
        Ok(self.store.instances_owned(account).await?)
    }

    /// Hands all instances and rules of one account to another. Rules belong to whoever has their instances. The images that the
    /// account registered go with them. [`Error::NoUser`] where there is no such other.
    pub async fn hand_over(&self, who: &Principal, from: i64, to: i64) -> Result<(), Error> {
        who.require(Permission::ChangeUsers)?;
        let mut told = event("instance.hand-over", &from.to_string(), "", &who.user);
        (told.cloud, told.data) = (None, json!({ "to": to }));
        match self.store.instances_hand_over(from, to, &told).await {
            Ok(_) => Ok(()),
            Err(ostler_store::Error::NotFound(_)) => Err(Error::NoUser(to.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    /// The record of an instance that somebody may see.
    async fn visible(&self, who: &Principal, cloud: &str, id: i64) -> Result<InstanceRecord, Error> {
        let sees = may_see(who)?;
        let there = |record: &InstanceRecord| {
            let his = match sees {
                Sees::All => true,
                Sees::Own(owner) => record.owner == owner,
            };
            his && record.cloud == cloud && !record.is_intent()
        };
        self.store.instance_get(id).await?.filter(there).ok_or(Error::NoInstance(id))
    }

    /// The record of an instance that somebody may change: his own, or any, of whoever manages instances. Whoever may only see
    /// others' is told that it is another's.
    async fn changeable(&self, who: &Principal, cloud: &str, id: i64) -> Result<InstanceRecord, Error> {
        who.require(Permission::UseInstances)?;
        let record = self.visible(who, cloud, id).await?;
        let own = who.account.as_ref().is_some_and(|account| account.number == record.owner);
        if !own {
            who.require(Permission::ManageInstances)?;
        }
        Ok(record)
    }

    /// Carries out an operation that is written down, and waits for its end as long as patience lasts. What only takes its time, and
    /// has not failed, counts as accepted: it goes on by itself.
    async fn carry_out(&self, operation: &Operation) -> Result<(), Error> {
        let id = &operation.id;
        let work = self.store.work_get(id).await?.ok_or_else(|| Error::NoOperation(id.clone()))?;
        match self.compute.scheduler().carry_out(work, Patience::For(self.pace.patience)).await {
            Ok(_) => Ok(()),
            Err(error @ Error::Uncertain { .. }) => {
                let work = self.store.work_get(id).await?;
                let well =
                    |work: &ostler_store::Work| work.progress.cause.is_none() && work.steps.iter().all(|step| step.tries == 0);
                if work.as_ref().is_some_and(well) { Ok(()) } else { Err(error) }
            }
            Err(error) => Err(error),
        }
    }

    /// The machine of an instance, if the provider has it.
    async fn machine(cloud: &Arc<Cloud>, record: &InstanceRecord) -> Result<Option<crate::model::Node>, ostler_drivers::Error> {
        if let Some(id) = &record.node_id {
            match cloud.get_node(id).await {
                // Some providers give identifiers again.
                Ok(node) if node.token.as_deref() == Some(record.token.as_str()) => return Ok(Some(node)),
                Ok(_) => {}
                Err(error) if error.kind == ostler_drivers::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        cloud.find_node(&record.token).await
    }

    /// How instances are, by one list of the provider; what has changed is noted.
    async fn look(&self, cloud: &Arc<Cloud>, records: Vec<InstanceRecord>) -> Result<Vec<Instance>, Error> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let nodes = match cloud.list_nodes().await {
            Ok(nodes) => nodes,
            Err(error) => return Ok(records.iter().map(|record| view::unknown(record, &error)).collect()),
        };
        let mut by_token = HashMap::new();
        for node in nodes.iter() {
            if let Some(token) = node.token.as_deref() {
                by_token.entry(token).or_insert_with(Vec::new).push(node);
            }
        }
        let (mut all, mut seen) = (Vec::with_capacity(records.len()), Vec::new());
        for record in records {
            let listed = by_token.get(record.token.as_str());
            // One order that took effect twice: the one on record counts.
            let node = listed.and_then(|nodes| {
                nodes.iter().find(|node| Some(&node.id) == record.node_id.as_ref()).or_else(|| nodes.first()).copied()
            });
            let found;
            let node = match node {
                Some(node) => Some(node),
                None if view::is_gone(&record) => None,
                // Lists lag behind.
                None => match Self::machine(cloud, &record).await {
                    Ok(one) => {
                        found = one;
                        found.as_ref()
                    }
                    Err(error) => {
                        all.push(view::unknown(&record, &error));
                        continue;
                    }
                },
            };
            let now = view::seen(&record, node);
            all.push(view::instance(&now));
            if now != record {
                seen.push(InstanceSeen { before: record, now });
            }
        }
        self.note(&seen).await?;
        Ok(all)
    }

    /// How one instance is; what has changed is noted.
    async fn look_at(&self, cloud: &Arc<Cloud>, record: InstanceRecord) -> Result<Instance, Error> {
        let node = match Self::machine(cloud, &record).await {
            Ok(node) => node,
            Err(error) => return Ok(view::unknown(&record, &error)),
        };
        let now = view::seen(&record, node.as_ref());
        let instance = view::instance(&now);
        if now != record {
            self.note(&[InstanceSeen { before: record, now }]).await?;
        }
        Ok(instance)
    }

    async fn note(&self, seen: &[InstanceSeen]) -> Result<(), Error> {
        if !seen.is_empty() {
            self.store.instances_seen(seen).await?;
        }
        Ok(())
    }
}

/// Whose instances somebody sees.
enum Sees {
    All,
    Own(i64),
}

fn may_see(who: &Principal) -> Result<Sees, Error> {
    if who.require(Permission::SeeInstances).is_ok() {
        return Ok(Sees::All);
    }
    who.require(Permission::UseInstances)?;
    Ok(Sees::Own(who.account()?.number))
}

/// Why nothing can be done about an instance.
fn refused(error: RecordError, id: i64) -> Error {
    match error {
        RecordError::NotFound => Error::NoInstance(id),
        RecordError::Store(error) => error.into(),
        _ => Error::NotNow(format!("something else is being done to instance {id}")),
    }
}

/// For those who measure.
impl Instances {
    /// The instances of a cloud that are not deleted, by the tokens of their machines, each with the provider's identifier of the
    /// machine, once there is one. For the host itself.
    pub async fn subjects(&self, cloud: &str) -> Result<Vec<(String, Option<String>)>, Error> {
        self.compute.cloud(cloud)?;
        let records = self.store.instances(cloud, InstanceFilter { image: None, owner: None }).await?;
        Ok(records.into_iter().filter(|record| !record.is_intent()).map(|record| (record.token, record.node_id)).collect())
    }

    /// The clouds that they are on.
    pub(crate) fn compute(&self) -> &Arc<Compute> {
        &self.compute
    }
}
