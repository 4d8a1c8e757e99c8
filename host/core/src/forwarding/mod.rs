//! Forwarding: a port of the host that leads to a port of an instance, wherever the instance is at present.
//!
//! Rules are on record; every host that shares the store listens to the ports of all of them. A port is bound before its rule is
//! written down and closed after its rule is gone, so that a host that dies in between leaves nothing half done.

mod activity;
mod keep;
mod plane;
#[cfg(feature = "played")]
pub mod played;
mod ports;
mod reach;
mod targets;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

pub use plane::Counters;

use crate::Error;
use crate::compute::Key;
use crate::identity::{Permission, Principal};
use crate::instances::Instances;
use ostler_store::{Forward, ForwardError, ForwardMade, Idempotency, NewEvent, NewForward, Store};
use plane::{Plane, Tuning};
use ports::Ports;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use socket2::SockRef;
use std::collections::{BTreeSet, HashMap};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use targets::{Target, Targets};
use tokio_util::sync::CancellationToken;

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
    /// The address at which is listened. `::` is for both families. On a host with several addresses, answers to datagrams go out
    /// from the right one only where one is named here.
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
    store: Store,
    settings: Settings,
    plane: Arc<Plane>,
    /// Held over a change on record and what follows from it here.
    ports: tokio::sync::Mutex<Ports>,
    /// All ports and connections end with it.
    stop: CancellationToken,
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Forwarding {
    /// To these instances.
    pub fn new(instances: &Arc<Instances>, settings: Settings) -> Arc<Self> {
        let store = instances.store().clone();
        let this = Self::with(Arc::clone(instances) as Arc<dyn Targets>, store, settings, Tuning::default());
        let weak = Arc::downgrade(&this);
        instances.when_deleted(move |instance| {
            let this = weak.upgrade();
            Box::pin(async move {
                let Some(this) = this else { return };
                if let Err(error) = this.instance_gone(instance).await {
                    // They are looked for now and then.
                    tracing::warn!(instance, %error, "the rules of an instance that is gone are there still");
                }
            })
        });
        this
    }

    fn with(targets: Arc<dyn Targets>, store: Store, settings: Settings, tuning: Tuning) -> Arc<Self> {
        let (plane, stop) = (Arc::new(Plane::new(targets, tuning)), CancellationToken::new());
        let ports = tokio::sync::Mutex::new(Ports::new(Arc::clone(&plane), settings.clone(), stop.clone()));
        Arc::new(Self { store, settings, plane, ports, stop })
    }

    /// What was forwarded since the start.
    pub fn counters(&self) -> Counters {
        self.plane.meter.read()
    }

    /// The rules of a cloud that the caller may see, by number; those of one instance, if one is named. There are none of an
    /// instance that he may not see.
    pub async fn list(&self, who: &Principal, cloud: &str, instance: Option<i64>) -> Result<Vec<Rule>, Error> {
        may_see(who)?;
        let targets = match instance {
            None => self.plane.targets.all(who, cloud).await?,
            Some(id) => match self.plane.targets.visible(who, cloud, id).await {
                Ok(target) => vec![target],
                Err(Error::NoInstance(_)) => Vec::new(),
                Err(error) => return Err(error),
            },
        };
        let names: HashMap<i64, String> = targets.into_iter().map(|target| (target.id, target.name)).collect();
        let forwards = self.store.forwards_of(cloud, instance).await?;
        let visible = |forward: Forward| names.get(&forward.instance).map(|name| rule(forward, name.clone()));
        Ok(forwards.into_iter().filter_map(visible).collect())
    }

    /// One rule that the caller may see. [`Error::NoRule`].
    pub async fn get(&self, who: &Principal, cloud: &str, id: i64) -> Result<Rule, Error> {
        may_see(who)?;
        let (forward, target) = self.visible(who, cloud, id).await?;
        Ok(rule(forward, target.name))
    }

    /// Makes a rule. The port is open when this returns. With a key, a second call returns what the first one made.
    ///
    /// [`Error::Invalid`] where a port is none, or not one of those that may be used, or where the instance is at an address to
    /// which nothing is forwarded; [`Error::Taken`] where the port that was asked for is used; [`Error::NotNow`] where all are,
    /// where it cannot be opened, or where the instance has as many rules as it may have.
    pub async fn create(self: &Arc<Self>, who: &Principal, new: NewRule, key: Option<Key>) -> Result<Rule, Error> {
        who.require(Permission::UseInstances)?;
        if new.port_to == 0 {
            return Err(Error::Invalid("the port of the instance must be between 1 and 65535".into()));
        }
        let (first, last) = (self.settings.ports.start(), self.settings.ports.end());
        if new.port_from.is_some_and(|port| port == 0 || !self.settings.ports.contains(&port)) {
            return Err(Error::Invalid(format!("the port of the host must be between {first} and {last}")));
        }
        let target = self.plane.targets.visible(who, &new.cloud, new.instance).await?;
        may_change(who, &target)?;
        let input = json!([new.cloud, new.instance, new.protocol.as_str(), new.port_to, new.port_from]);
        let scope = |key: &Key| format!("{}:{}:{}", key.scope, who.user, new.cloud);
        let order = NewForward {
            idempotency: key.map(|key| Idempotency { scope: scope(&key), key: key.key }),
            input_hash: Sha256::digest(input.to_string()).to_vec(),
            cloud: new.cloud,
            instance: new.instance,
            protocol: new.protocol.into(),
            // Until one is found.
            port_from: 0,
            port_to: new.port_to,
        };
        let (this, actor) = (Arc::clone(self), who.user.clone());
        // Whoever stops waiting does not leave it half done.
        let made = tokio::spawn(async move { this.make(order, new.port_from, target.address, &actor).await });
        Ok(rule(made.await.map_err(|_| Error::Stopping)??, target.name))
    }

    /// Deletes a rule. The port is closed when this returns; what flows still is given a moment to end. Other hosts follow within
    /// seconds.
    pub async fn delete(self: &Arc<Self>, who: &Principal, cloud: &str, id: i64) -> Result<(), Error> {
        who.require(Permission::UseInstances)?;
        let (forward, target) = self.visible(who, cloud, id).await?;
        may_change(who, &target)?;
        let told = data(&forward.cloud, forward.instance, forward.protocol.into(), forward.port_from, forward.port_to);
        let event = NewEvent { subject: id.to_string(), ..event("forward.deleted", &who.user, told) };
        let this = Arc::clone(self);
        let deleted = tokio::spawn(async move {
            let mut ports = this.ports.lock().await;
            let deleted = this.store.forward_remove(id, &event).await?;
            ports.close(id).await;
            if deleted { Ok(()) } else { Err(Error::NoRule(id)) }
        });
        deleted.await.map_err(|_| Error::Stopping)?
    }

    /// Deletes the rules of an instance that is gone, in the name of the host. Their ports are closed when this returns.
    pub async fn instance_gone(self: &Arc<Self>, instance: i64) -> Result<(), Error> {
        let this = Arc::clone(self);
        let removed = tokio::spawn(async move {
            let mut ports = this.ports.lock().await;
            let event = event("forward.deleted", &Principal::host().user, (None, json!({ "instance": instance })));
            let removed = this.store.forwards_remove_of(instance, &event).await?;
            // Other hosts may have been quicker.
            for rule in removed.into_iter().chain(ports.of(instance)) {
                ports.close(rule).await;
            }
            Ok(())
        });
        removed.await.map_err(|_| Error::Stopping)?
    }

    /// A rule on record that the caller may see, and its instance.
    async fn visible(&self, who: &Principal, cloud: &str, id: i64) -> Result<(Forward, Target), Error> {
        let found = self.store.forward_get(id).await?;
        let forward = found.filter(|forward| forward.cloud == cloud).ok_or(Error::NoRule(id))?;
        match self.plane.targets.visible(who, cloud, forward.instance).await {
            Ok(target) => Ok((forward, target)),
            Err(Error::NoInstance(_)) => Err(Error::NoRule(id)),
            Err(error) => Err(error),
        }
    }

    /// Finds a port, binds it, writes the rule down and opens the port: what is bound here and not on record is closed when this
    /// is left, and what is on record and not bound here is opened by [`Forwarding::run`].
    async fn make(
        &self,
        mut order: NewForward,
        asked: Option<u16>,
        address: Option<IpAddr>,
        actor: &str,
    ) -> Result<Forward, Error> {
        let mut ports = self.ports.lock().await;
        if self.stop.is_cancelled() {
            return Err(Error::Stopping);
        }
        if let Some(key) = &order.idempotency
            && let Some(forward) = self.store.forward_by_key(key, &order.input_hash).await.map_err(reused)?
        {
            ports.ensure(&forward);
            return Ok(forward);
        }
        if let Some(address) = address {
            self.plane.reach.check(address).map_err(Error::Invalid)?;
        }
        let mut taken: BTreeSet<u16> = self.store.forward_ports(order.protocol).await?.into_iter().collect();
        loop {
            let free = |port: &u16| *port != 0 && !taken.contains(port);
            order.port_from = match asked {
                Some(port) if free(&port) => port,
                Some(_) => return Err(Error::Taken("the port")),
                None => self.settings.ports.clone().find(free).ok_or_else(|| self.full())?,
            };
            let bound = match ports.bind(order.protocol.into(), order.port_from) {
                Ok(bound) => bound,
                // Other programs have ports, too, and some are for the system only.
                Err(error) if matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied) => {
                    taken.insert(order.port_from);
                    continue;
                }
                Err(error) => {
                    return Err(Error::NotNow(format!("port {} of the host cannot be opened: {error}", order.port_from)));
                }
            };
            let told = data(&order.cloud, order.instance, order.protocol.into(), order.port_from, order.port_to);
            let event = event("forward.created", actor, told);
            match self.store.forward_create(&order, self.plane.tuning.rules, &event).await {
                Ok(ForwardMade::New(forward)) => {
                    ports.open(&forward, bound);
                    return Ok(forward);
                }
                // Another host was asked at the same time.
                Ok(ForwardMade::Existing(forward)) => {
                    drop(bound);
                    ports.ensure(&forward);
                    return Ok(forward);
                }
                Err(ForwardError::Taken) => taken.insert(order.port_from),
                Err(ForwardError::TooMany) => {
                    let most = self.plane.tuning.rules;
                    return Err(Error::NotNow(format!("an instance has at most {most} forwarding rules")));
                }
                Err(ForwardError::Store(error)) => return Err(reused(error)),
            };
        }
    }

    fn full(&self) -> Error {
        let (first, last) = (self.settings.ports.start(), self.settings.ports.end());
        Error::NotNow(format!("all ports from {first} to {last} are in use"))
    }
}

impl Protocol {
    /// As the record spells it.
    fn as_str(self) -> &'static str {
        ostler_store::ForwardProtocol::from(self).as_str()
    }
}

fn may_see(who: &Principal) -> Result<(), Error> {
    who.require(Permission::UseInstances).or_else(|_| who.require(Permission::SeeInstances))
}

/// Whoever sees all instances need not be one who may change them.
fn may_change(who: &Principal, target: &Target) -> Result<(), Error> {
    if who.account.as_ref().is_some_and(|account| account.number == target.owner) {
        return Ok(());
    }
    who.require(Permission::ManageInstances)
}

fn rule(forward: Forward, instance_name: String) -> Rule {
    let Forward { id, cloud, instance, protocol, port_from, port_to, created_at, updated_at } = forward;
    Rule { id, cloud, instance, instance_name, protocol: protocol.into(), port_from, port_to, created_at, updated_at }
}

/// What is told of a rule, and of which cloud.
type Told = (Option<String>, Value);

fn data(cloud: &str, instance: i64, protocol: Protocol, port_from: u16, port_to: u16) -> Told {
    let protocol = protocol.as_str();
    let data = json!({ "instance": instance, "protocol": protocol, "port_from": port_from, "port_to": port_to });
    (Some(cloud.to_owned()), data)
}

/// An event whose subject is the rule's number, which the store may have to fill in.
fn event(kind: &str, actor: &str, (cloud, data): Told) -> NewEvent {
    NewEvent { kind: kind.to_owned(), subject: String::new(), cloud, actor: actor.to_owned(), data }
}

fn reused(error: ostler_store::Error) -> Error {
    match error {
        ostler_store::Error::IdempotencyMismatch => Error::KeyReused,
        error => error.into(),
    }
}

/// Where a socket is for all addresses of IPv6, it is for those of IPv4, too, whatever the system's default is.
fn both_families(socket: &SockRef<'_>, address: SocketAddr) -> std::io::Result<()> {
    if address.is_ipv6() && address.ip().is_unspecified() { socket.set_only_v6(false) } else { Ok(()) }
}
