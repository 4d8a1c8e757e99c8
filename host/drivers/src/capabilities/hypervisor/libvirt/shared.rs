//! What is remembered of a hypervisor between calls. All of it may be forgotten: it saves questions, and answers none for good.

use super::definition::Definition;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// For so long a guest that was asked to stop counts as stopping.
const PATIENCE: Duration = Duration::from_secs(90);
/// Domains of which something is remembered.
const DOMAINS: usize = 10_000;

#[derive(Default)]
pub(super) struct Shared {
    /// Definitions as they were read, dropped when an event says that they changed. Only for lists: what changes or deletes
    /// something reads anew.
    known: Mutex<Known>,
    /// Guests that were asked to stop.
    stopping: Mutex<HashMap<Uuid, Instant>>,
    /// The latest measurements of processor time.
    processors: Mutex<HashMap<Uuid, Processor>>,
    /// Labels of volumes, which do not change while a volume lives.
    labels: Mutex<HashMap<String, Vec<(String, String)>>>,
    /// Volumes into which content is being copied, and how far that is, in percent, where it is known.
    copies: Mutex<HashMap<String, Option<u8>>>,
    /// Volumes whose content did not arrive, and why.
    failures: Mutex<HashMap<String, String>>,
    /// One change at a time of a domain or a volume.
    busy: Mutex<HashMap<String, Arc<Mutex<()>>>>,
    closed: AtomicBool,
}

#[derive(Default)]
struct Known {
    definitions: HashMap<Uuid, Arc<Definition>>,
    /// How often a domain has changed.
    changes: HashMap<Uuid, u64>,
    /// How often all was forgotten.
    age: u64,
}

impl Known {
    fn forget(&mut self) {
        self.definitions.clear();
        self.changes.clear();
        self.age += 1;
    }

    fn version(&self, uuid: Uuid) -> Version {
        Version { age: self.age, changes: self.changes.get(&uuid).copied().unwrap_or(0) }
    }
}

/// When a definition was read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    age: u64,
    changes: u64,
}

/// Processor time of a domain, and what share of its processors that came to.
#[derive(Clone, Copy)]
struct Processor {
    nanoseconds: u64,
    at: Instant,
    percent: Option<f64>,
}

impl Shared {
    /// The definition of a domain, if it is known.
    pub(super) fn definition(&self, uuid: Uuid) -> Option<Arc<Definition>> {
        self.known.lock().definitions.get(&uuid).cloned()
    }

    /// Ask before a definition is read.
    pub(super) fn version(&self, uuid: Uuid) -> Version {
        self.known.lock().version(uuid)
    }

    /// Remembers a definition, unless the domain has changed since before it was read.
    pub(super) fn remember(&self, uuid: Uuid, definition: Arc<Definition>, read: Version) {
        let mut known = self.known.lock();
        if known.definitions.len() < DOMAINS && known.version(uuid) == read {
            known.definitions.insert(uuid, definition);
        }
    }

    /// A domain changed; `stopped` where it went off.
    pub(super) fn changed(&self, uuid: Uuid, stopped: bool) {
        let mut known = self.known.lock();
        if known.changes.len() >= DOMAINS {
            known.forget();
        }
        *known.changes.entry(uuid).or_default() += 1;
        known.definitions.remove(&uuid);
        drop(known);
        if stopped {
            self.stopping.lock().remove(&uuid);
            self.processors.lock().remove(&uuid);
        }
    }

    /// A guest was asked to stop.
    pub(super) fn asked_to_stop(&self, uuid: Uuid) {
        let mut stopping = self.stopping.lock();
        stopping.retain(|_, since| since.elapsed() < PATIENCE * 10);
        stopping.insert(uuid, Instant::now());
    }

    /// Whether a guest that runs was asked to stop: `Some(true)` while it may still do so, `Some(false)` when it did not.
    pub(super) fn is_stopping(&self, uuid: Uuid) -> Option<bool> {
        self.stopping.lock().get(&uuid).map(|since| since.elapsed() < PATIENCE)
    }

    /// Forgets that a guest was asked to stop.
    pub(super) fn goes_on(&self, uuid: Uuid) {
        self.stopping.lock().remove(&uuid);
    }

    /// Percent of its processors that a domain used since it was last measured; none at first. Measurements within a second show
    /// the same.
    pub(super) fn utilization(&self, uuid: Uuid, nanoseconds: u64, vcpus: u32) -> Option<f64> {
        let now = Instant::now();
        let mut processors = self.processors.lock();
        if processors.len() >= DOMAINS {
            processors.clear();
        }
        let Some(last) = processors.get_mut(&uuid) else {
            processors.insert(uuid, Processor { nanoseconds, at: now, percent: None });
            return None;
        };
        let passed = now.duration_since(last.at);
        if passed >= Duration::from_secs(1) {
            last.percent = share(last.nanoseconds, nanoseconds, passed, vcpus);
            (last.nanoseconds, last.at) = (nanoseconds, now);
        }
        last.percent
    }

    /// The labels of a volume, if they are known.
    pub(super) fn labels(&self, pool: &str, volume: &str) -> Option<Vec<(String, String)>> {
        self.labels.lock().get(&place(pool, volume)).cloned()
    }

    /// Remembers the labels of a volume.
    pub(super) fn remember_labels(&self, pool: &str, volume: &str, labels: &[(String, String)]) {
        let mut known = self.labels.lock();
        if known.len() < DOMAINS {
            known.insert(place(pool, volume), labels.to_vec());
        }
    }

    /// A volume is gone.
    pub(super) fn forget_labels(&self, pool: &str, volume: &str) {
        self.labels.lock().remove(&place(pool, volume));
    }

    /// Content is copied into a volume until the guard is dropped; none while somebody else does that.
    pub(super) fn begin_copy(self: &Arc<Self>, pool: &str, volume: &str) -> Option<Copying> {
        let place = place(pool, volume);
        let mut copies = self.copies.lock();
        if copies.contains_key(&place) {
            return None;
        }
        copies.insert(place.clone(), None);
        self.failures.lock().remove(&place);
        Some(Copying { shared: Arc::clone(self), place })
    }

    /// Whether content is being copied into a volume.
    pub(super) fn copying(&self, pool: &str, volume: &str) -> bool {
        self.copies.lock().contains_key(&place(pool, volume))
    }

    /// How far the content of a volume is, in percent, where content is being copied and that is known.
    pub(super) fn progress(&self, pool: &str, volume: &str) -> Option<Option<u8>> {
        self.copies.lock().get(&place(pool, volume)).copied()
    }

    /// Why the content of a volume did not arrive.
    pub(super) fn failure(&self, pool: &str, volume: &str) -> Option<String> {
        self.failures.lock().get(&place(pool, volume)).cloned()
    }

    /// A volume is gone, and with it what its content was about.
    pub(super) fn forget_failure(&self, pool: &str, volume: &str) {
        self.failures.lock().remove(&place(pool, volume));
    }

    /// What keeps others from changing this thing meanwhile: hold its lock.
    pub(super) fn exclusively(&self, what: &str) -> Arc<Mutex<()>> {
        let mut busy = self.busy.lock();
        busy.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(busy.entry(what.to_owned()).or_default())
    }

    /// The connection has ended.
    pub(super) fn closed(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Whether the connection has ended since this was last asked.
    pub(super) fn take_closed(&self) -> bool {
        self.closed.swap(false, Ordering::AcqRel)
    }

    /// Forgets what a new connection may see otherwise: meanwhile no event was told.
    pub(super) fn forget(&self) {
        self.known.lock().forget();
        self.stopping.lock().clear();
        self.labels.lock().clear();
    }
}

fn place(pool: &str, volume: &str) -> String {
    format!("{pool}/{volume}")
}

/// A copy in progress.
pub(super) struct Copying {
    shared: Arc<Shared>,
    place: String,
}

impl Copying {
    /// So many of so many bytes have been copied.
    pub(super) fn reached(&self, done: u64, all: u64) {
        let percent = u128::from(done) * 100 / u128::from(all.max(1));
        self.shared.copies.lock().insert(self.place.clone(), u8::try_from(percent.min(100)).ok());
    }

    /// It ends here.
    pub(super) fn failed(&self, why: String) {
        let mut failures = self.shared.failures.lock();
        if failures.len() < DOMAINS {
            failures.insert(self.place.clone(), why);
        }
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        self.shared.copies.lock().remove(&self.place);
    }
}

/// Percent of so many processors. None where time ran backwards: the domain was started anew.
fn share(before: u64, after: u64, passed: Duration, vcpus: u32) -> Option<f64> {
    #[allow(clippy::cast_precision_loss, reason = "a share needs no 53 bits")]
    let used = after.checked_sub(before)? as f64;
    let available = passed.as_secs_f64() * 1e9 * f64::from(vcpus.max(1));
    Some((used / available * 100.0).clamp(0.0, 100.0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_share_is_of_all_processors() {
        let second = Duration::from_secs(1);
        assert_eq!(share(0, 500_000_000, second, 1), Some(50.0));
        assert_eq!(share(0, 500_000_000, second, 2), Some(25.0));
        assert_eq!(share(5, 5, second, 2), Some(0.0));
        // Emulation takes processor time of its own.
        assert_eq!(share(0, 3_000_000_000, second, 1), Some(100.0));
        assert_eq!(share(5, 4, second, 1), None);
        let shared = Shared::default();
        assert_eq!(shared.utilization(Uuid::nil(), 1, 1), None);
    }

    #[test]
    fn a_copy_tells_how_far_it_is_and_why_it_ended() {
        let shared = Arc::new(Shared::default());
        let copy = shared.begin_copy("p", "v").unwrap();
        assert!(shared.begin_copy("p", "v").is_none() && shared.begin_copy("p", "w").is_some());
        assert_eq!((shared.copying("p", "v"), shared.progress("p", "v")), (true, Some(None)));
        for (done, percent) in [(0, 0), (1, 0), (u64::MAX / 2, 49), (u64::MAX, 100)] {
            copy.reached(done, u64::MAX);
            assert_eq!(shared.progress("p", "v"), Some(Some(percent)));
        }
        copy.failed("no".to_owned());
        drop(copy);
        assert_eq!((shared.progress("p", "v"), shared.failure("p", "v").as_deref()), (None, Some("no")));
        drop(shared.begin_copy("p", "v"));
        assert_eq!((shared.failure("p", "v"), shared.copying("p", "w")), (None, false));
    }

    #[test]
    fn locks_are_shared_while_somebody_holds_them_and_gone_after() {
        let shared = Shared::default();
        let (first, second) = (shared.exclusively("a"), shared.exclusively("a"));
        assert!(Arc::ptr_eq(&first, &second));
        let _held = first.lock();
        assert!(second.try_lock().is_none());
        assert!(shared.exclusively("b").try_lock().is_some());
        shared.exclusively("c");
        assert_eq!(shared.busy.lock().len(), 2, "`b` is gone");
    }

    #[test]
    fn what_was_read_before_a_change_is_not_remembered() {
        let (shared, uuid) = (Shared::default(), Uuid::nil());
        let definition = || Arc::new(Definition::read("<domain/>").unwrap());
        let before = shared.version(uuid);
        shared.changed(uuid, false);
        shared.remember(uuid, definition(), before);
        assert_eq!(shared.definition(uuid), None);
        let before = shared.version(uuid);
        shared.changed(Uuid::max(), false);
        shared.remember(uuid, definition(), before);
        assert_eq!(shared.definition(uuid), Some(definition()), "another domain changed");
        shared.changed(uuid, false);
        assert_eq!(shared.definition(uuid), None);
        let (fresh, before) = (Uuid::from_u128(1), shared.version(Uuid::from_u128(1)));
        shared.forget();
        shared.remember(fresh, definition(), before);
        assert_eq!(shared.definition(fresh), None, "read on an older connection");
    }

    #[test]
    fn a_guest_stops_until_it_has_stopped() {
        let (shared, uuid) = (Shared::default(), Uuid::nil());
        assert_eq!(shared.is_stopping(uuid), None);
        shared.asked_to_stop(uuid);
        shared.changed(uuid, false);
        assert_eq!(shared.is_stopping(uuid), Some(true));
        shared.changed(uuid, true);
        assert_eq!(shared.is_stopping(uuid), None);
    }
}
