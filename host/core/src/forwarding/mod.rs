//! Forwarding: a port of the host that leads to a port of an instance, wherever the instance is at present.

use crate::Error;
use crate::compute::Key;
use crate::identity::{Permission, Principal};
use crate::instances::Instances;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// What is forwarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Connections.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
}

/// A forwarding rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its number: never given again.
    pub id: i64,
    /// The cloud of the instance.
    pub cloud: String,
    /// The instance.
    pub instance: i64,
    /// The instance's name.
    pub instance_name: String,
    /// What is forwarded.
    pub protocol: Protocol,
    /// The port of the host.
    pub port_from: u16,
    /// The port of the instance.
    pub port_to: u16,
    /// Microseconds UTC.
    pub created_at: i64,
    /// Microseconds UTC.
    pub updated_at: i64,
}

/// An order for a rule.
#[derive(Clone, Debug)]
pub struct NewRule {
    /// The cloud.
    pub cloud: String,
    /// The instance.
    pub instance: i64,
    /// What is forwarded.
    pub protocol: Protocol,
    /// The port of the instance.
    pub port_to: u16,
    /// The port of the host; none takes the lowest free one.
    pub port_from: Option<u16>,
}

/// How is forwarded.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address at which is listened.
    pub listen: IpAddr,
    /// The ports that may be used.
    pub ports: RangeInclusive<u16>,
    /// Connections (or UDP peers) of one rule at a time.
    pub connections: usize,
}

impl Default for Settings {
    /// All addresses, ports 7000 to 7999, 256 connections a rule.
    fn default() -> Self {
        Self { listen: IpAddr::from([0, 0, 0, 0]), ports: 7000..=7999, connections: 256 }
    }
}

/// The use cases around forwarding rules.
pub struct Forwarding {
    instances: Arc<Instances>,
    settings: Settings,
}

impl Forwarding {
    /// To these instances.
    pub fn new(instances: Arc<Instances>, settings: Settings) -> Arc<Self> {
        Arc::new(Self { instances, settings })
    }

    /// The rules of a cloud that the caller may see, by number; those of one instance, if one is named.
    pub async fn list(&self, who: &Principal, cloud: &str, instance: Option<i64>) -> Result<Vec<Rule>, Error> {
        let _ = (instance, cloud, &self.settings);
        who.require(Permission::UseInstances).or_else(|_| who.require(Permission::SeeInstances))?;
        Err(Error::Stopping)
    }

    /// One rule that the caller may see. [`Error::NoRule`].
    pub async fn get(&self, who: &Principal, cloud: &str, id: i64) -> Result<Rule, Error> {
        let _ = cloud;
        who.require(Permission::UseInstances).or_else(|_| who.require(Permission::SeeInstances))?;
        Err(Error::NoRule(id))
    }

    /// Makes a rule. The port is open when this returns.
    pub async fn create(self: &Arc<Self>, who: &Principal, new: NewRule, key: Option<Key>) -> Result<Rule, Error> {
        who.require(Permission::UseInstances)?;
        let _ = key;
        self.instances.get(who, &new.cloud, new.instance).await?;
        Err(Error::Stopping)
    }

    /// Deletes a rule. The port is closed when this returns; what flows still is given a moment to end.
    pub async fn delete(self: &Arc<Self>, who: &Principal, cloud: &str, id: i64) -> Result<(), Error> {
        let _ = cloud;
        who.require(Permission::UseInstances)?;
        Err(Error::NoRule(id))
    }

    /// Opens the ports of all rules on record, and keeps them so, until the task that runs it is dropped.
    pub async fn run(self: Arc<Self>) {}
}
