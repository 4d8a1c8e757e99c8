//! What all open ports share, and what one of them leads to.

use super::reach::Reach;
use super::targets::Targets;
use crate::Error;
use parking_lot::Mutex;
use rustix::process::{Resource, getrlimit};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// How forwarding goes about it. What an operator sets is in [`super::Settings`].
#[derive(Clone, Debug)]
pub(super) struct Tuning {
    /// Whether instances may be on this host: only where a test plays them.
    pub(super) here: bool,
    /// Rules of one instance at most.
    pub(super) rules: u32,
    /// How often is looked for what other hosts have written down, and for ports that could not be opened.
    pub(super) poll: Duration,
    /// How often is looked for rules whose instance is gone.
    pub(super) sweep: Duration,
    /// How long an instance's address is taken to be the same.
    pub(super) address: Duration,
    /// How long the question for an address may take, and a connection to it.
    pub(super) connect: Duration,
    /// How long a connection may be silent.
    pub(super) silence: Duration,
    /// How long a UDP peer may be silent.
    pub(super) peer_silence: Duration,
    /// How long the connections of a deleted rule may go on.
    pub(super) drain: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            here: false,
            rules: 32,
            poll: Duration::from_secs(2),
            sweep: Duration::from_secs(30),
            address: Duration::from_secs(1),
            connect: Duration::from_secs(5),
            silence: Duration::from_hours(1),
            peer_silence: Duration::from_mins(1),
            drain: Duration::from_secs(10),
        }
    }
}

/// What was forwarded since the start, over all rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections and UDP peers that came.
    pub accepted: u64,
    /// Those of them that were turned away: there were too many, or the instance could not be reached.
    pub refused: u64,
    /// Those of them that are there at present.
    pub active: u64,
    /// Bytes that instances were sent.
    pub bytes_to_instances: u64,
    /// Bytes that instances have sent.
    pub bytes_from_instances: u64,
}

#[derive(Default)]
pub(super) struct Meter {
    accepted: AtomicU64,
    refused: AtomicU64,
    active: AtomicU64,
    pub(super) to: AtomicU64,
    pub(super) from: AtomicU64,
}

impl Meter {
    pub(super) fn read(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            accepted: read(&self.accepted),
            refused: read(&self.refused),
            active: read(&self.active),
            bytes_to_instances: read(&self.to),
            bytes_from_instances: read(&self.from),
        }
    }
}

/// What all open ports share.
pub(super) struct Plane {
    pub(super) targets: Arc<dyn Targets>,
    pub(super) reach: Reach,
    pub(super) tuning: Tuning,
    pub(super) meter: Meter,
    /// Connections over all rules: the rest of the server needs descriptors, too.
    budget: Arc<Semaphore>,
    /// Instances that are not on record any more.
    vanished: Mutex<BTreeSet<i64>>,
    pub(super) vanishing: Notify,
}

impl Plane {
    pub(super) fn new(targets: Arc<dyn Targets>, tuning: Tuning) -> Self {
        // Half of the descriptors, two for each connection.
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let budget = usize::try_from(descriptors / 4).unwrap_or(usize::MAX).clamp(64, 1 << 16);
        Self {
            targets,
            reach: Reach::new(tuning.here),
            tuning,
            meter: Meter::default(),
            budget: Arc::new(Semaphore::new(budget)),
            vanished: Mutex::default(),
            vanishing: Notify::new(),
        }
    }

    /// Whoever removes rules should look at this instance.
    fn vanish(&self, instance: i64) {
        self.vanished.lock().insert(instance);
        self.vanishing.notify_one();
    }

    /// The instances of which was told since this was last asked.
    pub(super) fn vanished(&self) -> BTreeSet<i64> {
        std::mem::take(&mut *self.vanished.lock())
    }
}

/// Why a connection leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Nowhere {
    #[error("the instance has no address")]
    NoAddress,
    #[error("there is no such instance any more")]
    Gone,
    #[error("{0}")]
    Refused(String),
    #[error("the instance's address cannot be found out at present: {0}")]
    Unknown(String),
}

/// What one open port leads to.
pub(super) struct Way {
    pub(super) rule: i64,
    instance: i64,
    port: u16,
    pub(super) plane: Arc<Plane>,
    slots: Arc<Semaphore>,
    /// Held while it is asked for, so that it is asked for once.
    known: tokio::sync::Mutex<Option<(Instant, Result<SocketAddr, Nowhere>)>>,
}

/// The right to one connection. Counts as one until it is dropped.
pub(super) struct Slot {
    plane: Arc<Plane>,
    _permits: [OwnedSemaphorePermit; 2],
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.plane.meter.active.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Way {
    /// To this port of an instance, for so many at a time.
    pub(super) fn new(plane: &Arc<Plane>, rule: i64, instance: i64, port: u16, most: usize) -> Self {
        let slots = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Self { rule, instance, port, plane: Arc::clone(plane), slots, known: tokio::sync::Mutex::new(None) }
    }

    /// Room for one more, if there is any.
    pub(super) fn slot(&self) -> Option<Slot> {
        let meter = &self.plane.meter;
        meter.accepted.fetch_add(1, Ordering::Relaxed);
        let own = Arc::clone(&self.slots).try_acquire_owned();
        let (Ok(own), Ok(all)) = (own, Arc::clone(&self.plane.budget).try_acquire_owned()) else {
            tracing::debug!(rule = self.rule, "a connection is refused: there are too many");
            self.refused();
            return None;
        };
        meter.active.fetch_add(1, Ordering::Relaxed);
        Some(Slot { plane: Arc::clone(&self.plane), _permits: [own, all] })
    }

    pub(super) fn refused(&self) {
        self.plane.meter.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Where the instance is at present.
    pub(super) async fn place(&self) -> Result<SocketAddr, Nowhere> {
        let mut known = self.known.lock().await;
        if let Some((at, place)) = &*known
            && at.elapsed() < self.plane.tuning.address
        {
            return place.clone();
        }
        let place = self.ask().await;
        *known = Some((Instant::now(), place.clone()));
        place
    }

    async fn ask(&self) -> Result<SocketAddr, Nowhere> {
        let asked = tokio::time::timeout(self.plane.tuning.connect, self.plane.targets.address(self.instance)).await;
        match asked {
            Ok(Ok(Some(address))) => {
                self.plane.reach.check(address).map_err(Nowhere::Refused)?;
                Ok(SocketAddr::new(address, self.port))
            }
            Ok(Ok(None)) => Err(Nowhere::NoAddress),
            Ok(Err(Error::NoInstance(_))) => {
                self.plane.vanish(self.instance);
                Err(Nowhere::Gone)
            }
            Ok(Err(error)) => Err(Nowhere::Unknown(error.to_string())),
            Err(_) => Err(Nowhere::Unknown("it takes too long".into())),
        }
    }
}
