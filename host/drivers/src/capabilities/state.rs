//! `state`: durable key-value storage of one cloud, kept by the host's store.
//!
//! Where no other host shares the store, reads are served from a mirror in memory: a commit reaches the store first and the
//! mirror after, so that a driver never sees what is not durable.

use crate::guest::Guest;
use crate::v0_1::imports::state as wit;
use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Bytes of the longest key.
const KEY: usize = 256;
/// Bytes of the largest value.
const VALUE: usize = 64 << 10;
/// Entries of the longest list.
const LIST: u32 = 10_000;
/// Writes and conditions of the largest commit.
const COMMIT: usize = 1_000;

/// A stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
    /// Changes with every write; never repeats.
    pub version: u64,
}

/// What must hold for a commit: the key has this version, or (none) does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The key.
    pub key: String,
    /// The version it must have.
    pub version: Option<u64>,
}

/// One write of a commit; no value deletes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The key.
    pub key: String,
    /// The new value.
    pub value: Option<Vec<u8>>,
}

/// Why an operation failed. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// A condition does not hold.
    #[error("a condition of the commit does not hold")]
    Conflict,
    /// A key or a value is outside the limits.
    #[error("{0}")]
    Invalid(String),
    /// The cloud's quota is used up.
    #[error("the cloud's quota of durable state is used up")]
    Quota,
    /// The store does not answer.
    #[error("{0}")]
    Unavailable(String),
}

/// Where the state is kept. Implemented over the host's store.
#[async_trait]
pub trait StateBackend: Send + Sync + 'static {
    /// Whether other hosts may change the state.
    fn is_shared(&self) -> bool;
    /// Everything of one cloud, with its revision: a consistent snapshot.
    async fn load(&self, cloud: &str) -> Result<(u64, Vec<Entry>), StateError>;
    /// One value.
    async fn get(&self, cloud: &str, key: &str) -> Result<Option<Entry>, StateError>;
    /// Entries by prefix, after a key, in the order of the keys' bytes.
    async fn list(&self, cloud: &str, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<Entry>, StateError>;
    /// The revision.
    async fn revision(&self, cloud: &str) -> Result<u64, StateError>;
    /// Writes all or nothing if all conditions hold; the new revision, which is also the version of every key written.
    async fn commit(&self, cloud: &str, conditions: &[Condition], writes: &[Write], quota: u64) -> Result<u64, StateError>;
}

/// The state of all clouds. Whatever is made under one name shares one mirror: calls that began before a cloud was removed may
/// still write when another of that name is there.
pub(crate) struct States {
    backend: Arc<dyn StateBackend>,
    known: Mutex<HashMap<String, Weak<Inner>>>,
}

impl States {
    pub(crate) fn new(backend: Arc<dyn StateBackend>) -> Self {
        Self { backend, known: Mutex::default() }
    }

    /// That of one cloud, which may take so many bytes.
    pub(crate) fn of(&self, cloud: &str, quota: u64) -> CloudState {
        let mut known = self.known.lock();
        if let Some(inner) = known.get(cloud).and_then(Weak::upgrade) {
            return CloudState { inner, quota };
        }
        let mirror = (!self.backend.is_shared()).then(Mirror::default);
        let inner = Arc::new(Inner { cloud: cloud.to_owned(), backend: Arc::clone(&self.backend), mirror });
        known.retain(|_, inner| inner.strong_count() > 0);
        known.insert(cloud.to_owned(), Arc::downgrade(&inner));
        CloudState { inner, quota }
    }
}

/// The state of one cloud. Clones share it.
#[derive(Clone)]
pub(crate) struct CloudState {
    inner: Arc<Inner>,
    quota: u64,
}

struct Inner {
    cloud: String,
    backend: Arc<dyn StateBackend>,
    /// None where other hosts share the store.
    mirror: Option<Mirror>,
}

#[derive(Default)]
struct Mirror {
    loaded: tokio::sync::OnceCell<()>,
    entries: RwLock<BTreeMap<String, (u64, Vec<u8>)>>,
    revision: AtomicU64,
    /// One commit at a time, so that the mirror changes in the order of the store.
    commit: tokio::sync::Mutex<()>,
}

impl CloudState {
    /// Deletes all of it.
    pub(crate) async fn clear(&self) -> Result<(), StateError> {
        loop {
            let entries = self.list("", None, u32::try_from(COMMIT).unwrap_or(u32::MAX)).await?;
            if entries.is_empty() {
                return Ok(());
            }
            self.commit(Vec::new(), entries.into_iter().map(|entry| Write { key: entry.key, value: None }).collect()).await?;
        }
    }

    async fn mirror(&self) -> Result<Option<&Mirror>, StateError> {
        let Some(mirror) = &self.inner.mirror else { return Ok(None) };
        if mirror.loaded.initialized() {
            return Ok(Some(mirror));
        }
        let load = async {
            let (revision, entries) = self.inner.backend.load(&self.inner.cloud).await?;
            *mirror.entries.write() = entries.into_iter().map(|e| (e.key, (e.version, e.value))).collect();
            mirror.revision.store(revision, Ordering::Release);
            Ok(())
        };
        mirror.loaded.get_or_try_init(|| load).await?;
        Ok(Some(mirror))
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StateError> {
        check_key(key)?;
        match self.mirror().await? {
            Some(mirror) => {
                let entries = mirror.entries.read();
                Ok(entries.get(key).map(|(version, value)| Entry {
                    key: key.to_owned(),
                    value: value.clone(),
                    version: *version,
                }))
            }
            None => self.inner.backend.get(&self.inner.cloud, key).await,
        }
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<Entry>, StateError> {
        let limit = limit.min(LIST);
        let Some(mirror) = self.mirror().await? else {
            return self.inner.backend.list(&self.inner.cloud, prefix, after, limit).await;
        };
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let entries = mirror.entries.read();
        Ok(entries
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit as usize)
            .map(|(key, (version, value))| Entry { key: key.clone(), value: value.clone(), version: *version })
            .collect())
    }

    async fn revision(&self) -> Result<u64, StateError> {
        match self.mirror().await? {
            Some(mirror) => Ok(mirror.revision.load(Ordering::Acquire)),
            None => self.inner.backend.revision(&self.inner.cloud).await,
        }
    }

    async fn commit(&self, conditions: Vec<Condition>, writes: Vec<Write>) -> Result<u64, StateError> {
        if conditions.len() + writes.len() > COMMIT {
            return Err(StateError::Invalid(format!("a commit takes at most {COMMIT} conditions and writes")));
        }
        for key in conditions.iter().map(|c| &c.key).chain(writes.iter().map(|w| &w.key)) {
            check_key(key)?;
        }
        if let Some(large) = writes.iter().find(|w| w.value.as_ref().is_some_and(|value| value.len() > VALUE)) {
            return Err(StateError::Invalid(format!("the value of `{}` is larger than {VALUE} bytes", large.key)));
        }
        self.mirror().await?;
        // A task of its own: a call that is cut off at its deadline must not leave store and mirror apart.
        let state = self.clone();
        let task = tokio::spawn(async move {
            let inner = &*state.inner;
            let Some(mirror) = &inner.mirror else {
                return inner.backend.commit(&inner.cloud, &conditions, &writes, state.quota).await;
            };
            let _one_at_a_time = mirror.commit.lock().await;
            // Nobody else writes to the store: what the mirror contradicts, the store would refuse as well, a transaction later.
            let holds = |condition: &Condition| {
                mirror.entries.read().get(&condition.key).map(|(version, _)| *version) == condition.version
            };
            if !conditions.iter().all(holds) {
                return Err(StateError::Conflict);
            }
            let revision = inner.backend.commit(&inner.cloud, &conditions, &writes, state.quota).await?;
            let mut entries = mirror.entries.write();
            for write in writes {
                match write.value {
                    Some(value) => entries.insert(write.key, (revision, value)),
                    None => entries.remove(&write.key),
                };
            }
            mirror.revision.store(revision, Ordering::Release);
            Ok(revision)
        });
        task.await.unwrap_or_else(|error| Err(StateError::Unavailable(error.to_string())))
    }
}

fn check_key(key: &str) -> Result<(), StateError> {
    if key.is_empty() || key.len() > KEY || key.contains('\0') {
        return Err(StateError::Invalid(format!("a key has 1 to {KEY} bytes and no zero byte, this one has {}", key.len())));
    }
    Ok(())
}

impl From<StateError> for wit::StateError {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Conflict => Self::Conflict,
            StateError::Invalid(why) => Self::Invalid(why),
            StateError::Quota => Self::Quota,
            StateError::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

fn entry(entry: Entry) -> wit::Entry {
    wit::Entry { key: entry.key, value: entry.value, version: entry.version }
}

impl wit::Host for Guest {
    async fn get(&mut self, key: String) -> Result<Option<wit::Entry>, wit::StateError> {
        Ok(self.cloud.state.get(&key).await?.map(entry))
    }

    async fn list_entries(
        &mut self,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> Result<Vec<wit::Entry>, wit::StateError> {
        Ok(self.cloud.state.list(&prefix, after.as_deref(), limit).await?.into_iter().map(entry).collect())
    }

    async fn set(&mut self, key: String, value: Vec<u8>) -> Result<u64, wit::StateError> {
        Ok(self.cloud.state.commit(Vec::new(), vec![Write { key, value: Some(value) }]).await?)
    }

    async fn delete(&mut self, key: String) -> Result<bool, wit::StateError> {
        // The version read is the condition, so that the answer is true of the deletion that happened.
        loop {
            let Some(found) = self.cloud.state.get(&key).await? else { return Ok(false) };
            let condition = Condition { key: key.clone(), version: Some(found.version) };
            match self.cloud.state.commit(vec![condition], vec![Write { key: key.clone(), value: None }]).await {
                Ok(_) => return Ok(true),
                Err(StateError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn compare_and_swap(
        &mut self,
        key: String,
        version: Option<u64>,
        value: Option<Vec<u8>>,
    ) -> Result<u64, wit::StateError> {
        let condition = Condition { key: key.clone(), version };
        Ok(self.cloud.state.commit(vec![condition], vec![Write { key, value }]).await?)
    }

    async fn commit(&mut self, conditions: Vec<wit::Condition>, writes: Vec<wit::Write>) -> Result<u64, wit::StateError> {
        let conditions = conditions.into_iter().map(|c| Condition { key: c.key, version: c.version }).collect();
        let writes = writes.into_iter().map(|w| Write { key: w.key, value: w.value }).collect();
        Ok(self.cloud.state.commit(conditions, writes).await?)
    }

    async fn revision(&mut self) -> Result<u64, wit::StateError> {
        Ok(self.cloud.state.revision().await?)
    }
}
