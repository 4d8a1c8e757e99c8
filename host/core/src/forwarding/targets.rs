//! What forwarding needs to know of instances.

use crate::Error;
use crate::identity::Principal;
use crate::instances::{Instance, Instances};
use async_trait::async_trait;
use std::net::IpAddr;

/// An instance, as far as it matters here.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Its number.
    pub(super) id: i64,
    /// Its name.
    pub(super) name: String,
    /// The number of the account that has it.
    pub(super) owner: i64,
    /// Where it is.
    pub(super) address: Option<IpAddr>,
}

/// Instances.
#[async_trait]
pub(super) trait Targets: Send + Sync {
    /// One that the caller may see. [`Error::NoInstance`].
    async fn visible(&self, who: &Principal, cloud: &str, id: i64) -> Result<Target, Error>;

    /// All of a cloud that the caller may see.
    async fn all(&self, who: &Principal, cloud: &str) -> Result<Vec<Target>, Error>;

    /// Where one is at present, if it is anywhere. [`Error::NoInstance`].
    async fn address(&self, id: i64) -> Result<Option<IpAddr>, Error>;
}

#[async_trait]
impl Targets for Instances {
    async fn visible(&self, who: &Principal, cloud: &str, id: i64) -> Result<Target, Error> {
        self.get(who, cloud, id).await.map(Into::into)
    }

    async fn all(&self, who: &Principal, cloud: &str) -> Result<Vec<Target>, Error> {
        Ok(self.list(who, cloud, None).await?.into_iter().map(Into::into).collect())
    }

    async fn address(&self, id: i64) -> Result<Option<IpAddr>, Error> {
        Instances::address(self, id).await
    }
}

impl From<Instance> for Target {
    fn from(instance: Instance) -> Self {
        Self { id: instance.id, name: instance.name, owner: instance.owner, address: instance.address }
    }
}
