//! Durable storage, with what makes read-modify-write safe and short.

use serde::{Serialize, de::DeserializeOwned};

use crate::bindings::ostler::driver::state as wit;
use crate::context::Backend;
use crate::{Error, Result};

pub use wit::Entry;

/// How often [`State::update`] and [`State::retry`] try before they give up: as many writers as may be ahead of one.
pub const TRIES: usize = 256;

/// Why an operation of the storage failed. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Somebody else changed the key in between; read again.
    #[error("somebody else changed the state in between")]
    Conflict,
    /// A key or value is outside the limits.
    #[error("the state refuses this: {0}")]
    Invalid(String),
    /// The cloud's quota is used up.
    #[error("the cloud's quota of state is used up")]
    Quota,
    /// The host's store does not answer.
    #[error("the state is unavailable: {0}")]
    Unavailable(String),
}

impl From<wit::StateError> for StateError {
    fn from(error: wit::StateError) -> Self {
        match error {
            wit::StateError::Conflict => Self::Conflict,
            wit::StateError::Invalid(text) => Self::Invalid(text),
            wit::StateError::Quota => Self::Quota,
            wit::StateError::Unavailable(text) => Self::Unavailable(text),
        }
    }
}

/// Conflicts and outages are worth another try, a full quota is one, and a key outside the limits is the driver's mistake.
impl From<StateError> for Error {
    fn from(error: StateError) -> Self {
        let text = error.to_string();
        match error {
            StateError::Conflict | StateError::Unavailable(_) => Self::Transient(text),
            StateError::Quota => Self::Quota(text),
            StateError::Invalid(_) => Self::Failed(text),
        }
    }
}

/// A decoded value and the version it had.
#[derive(Debug, Clone, PartialEq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// The version, for conditions.
    pub version: u64,
}

/// The cloud's durable key-value storage: shared by all instances and hosts, kept across restarts and new versions of the
/// driver. Keys are 1 to 256 bytes, values at most 64 KiB.
#[derive(Debug, Clone, Copy)]
pub struct State<'a> {
    backend: &'a Backend,
}

impl<'a> State<'a> {
    pub(crate) fn new(backend: &'a Backend) -> Self {
        Self { backend }
    }

    /// One value.
    ///
    /// # Errors
    /// As the storage says.
    pub fn get(&self, key: &str) -> Result<Option<Entry>, StateError> {
        Ok(self.backend.state_get(key)?)
    }

    /// One value from JSON.
    ///
    /// # Errors
    /// As the storage says; [`Error::Failed`] where the value is something else.
    pub fn get_json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<Versioned<T>>> {
        let Some(entry) = self.get(key)? else { return Ok(None) };
        let value = decode(key, &entry.value)?;
        Ok(Some(Versioned { value, version: entry.version }))
    }

    /// Up to `limit` (at most 10 000) entries whose key starts with `prefix` and sorts after `after`, by the keys' bytes.
    ///
    /// # Errors
    /// As the storage says.
    pub fn list(&self, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<Entry>, StateError> {
        Ok(self.backend.state_list(prefix, after, limit)?)
    }

    /// All entries whose key starts with `prefix`, read in portions as they are needed. Not a snapshot.
    pub fn entries(&self, prefix: &'a str) -> Entries<'a> {
        Entries { state: *self, prefix, after: None, at_once: 1000, portion: Vec::new().into_iter(), done: false }
    }

    /// Writes a value, whatever was there. The new version.
    ///
    /// # Errors
    /// As the storage says.
    pub fn set(&self, key: &str, value: &[u8]) -> Result<u64, StateError> {
        Ok(self.backend.state_set(key, value)?)
    }

    /// Writes a value as JSON, whatever was there. The new version.
    ///
    /// # Errors
    /// As the storage says; [`Error::Failed`] where the value has no JSON.
    pub fn set_json<T: Serialize>(&self, key: &str, value: &T) -> Result<u64> {
        Ok(self.set(key, &serde_json::to_vec(value)?)?)
    }

    /// Deletes a value. False where there was none.
    ///
    /// # Errors
    /// As the storage says.
    pub fn delete(&self, key: &str) -> Result<bool, StateError> {
        Ok(self.backend.state_delete(key)?)
    }

    /// Writes (or, for none, deletes) a value if the key still has this version (for none: does not exist). The new version.
    ///
    /// # Errors
    /// [`StateError::Conflict`] where it has another.
    pub fn compare_and_swap(&self, key: &str, version: Option<u64>, value: Option<&[u8]>) -> Result<u64, StateError> {
        Ok(self.backend.state_swap(key, version, value)?)
    }

    /// A number that grows with every change to any key of this cloud: what was derived from the state at one revision holds
    /// while it lasts.
    ///
    /// # Errors
    /// As the storage says.
    pub fn revision(&self) -> Result<u64, StateError> {
        Ok(self.backend.state_revision()?)
    }

    /// Begins a change of several keys, all or nothing.
    pub fn commit(&self) -> Commit<'a> {
        Commit { backend: self.backend, conditions: Vec::new(), writes: Vec::new() }
    }

    /// Changes one JSON value by what it is now: `change` gets the old value and answers the new one (none deletes), and is called
    /// again where somebody else was faster. The value that was written.
    ///
    /// # Errors
    /// What `change` says, as the storage says, [`Error::Transient`] after [`TRIES`] conflicts.
    pub fn update<T, F>(&self, key: &str, mut change: F) -> Result<Option<T>>
    where
        T: Serialize + DeserializeOwned,
        F: FnMut(Option<T>) -> Result<Option<T>>,
    {
        self.retry(|| {
            let (old, version) = match self.get_json::<T>(key)? {
                Some(entry) => (Some(entry.value), Some(entry.version)),
                None => (None, None),
            };
            let new = change(old)?;
            if new.is_none() && version.is_none() {
                return Ok(Some(None));
            }
            let bytes = new.as_ref().map(serde_json::to_vec).transpose()?;
            match self.compare_and_swap(key, version, bytes.as_deref()) {
                Ok(_) => Ok(Some(new)),
                Err(StateError::Conflict) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
    }

    /// Calls `attempt` until it answers something; none means that somebody else was faster (see [`Commit::try_run`]) and that
    /// it must read again.
    ///
    /// # Errors
    /// What `attempt` says, [`Error::Transient`] after [`TRIES`] conflicts.
    pub fn retry<T>(&self, mut attempt: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        for _ in 0..TRIES {
            if let Some(done) = attempt()? {
                return Ok(done);
            }
        }
        Err(StateError::Conflict.into())
    }
}

/// Reads a stored JSON value.
fn decode<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::Failed(format!("the stored value `{key}` is not what it should be: {error}")))
}

/// A change of several keys, all or nothing.
#[derive(Debug)]
#[must_use = "nothing happens before `run` or `try_run`"]
pub struct Commit<'a> {
    backend: &'a Backend,
    conditions: Vec<wit::Condition>,
    writes: Vec<wit::Write>,
}

impl Commit<'_> {
    /// Demands that a key has this version; none: that it does not exist.
    pub fn require(mut self, key: impl Into<String>, version: Option<u64>) -> Self {
        self.conditions.push(wit::Condition { key: key.into(), version });
        self
    }

    /// Demands that a key does not exist.
    pub fn require_absent(self, key: impl Into<String>) -> Self {
        self.require(key, None)
    }

    /// Writes a value.
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.writes.push(wit::Write { key: key.into(), value: Some(value.into()) });
        self
    }

    /// Writes a value as JSON.
    ///
    /// # Errors
    /// [`Error::Failed`] where the value has no JSON.
    pub fn put_json<T: Serialize>(self, key: impl Into<String>, value: &T) -> Result<Self> {
        let bytes = serde_json::to_vec(value)?;
        Ok(self.put(key, bytes))
    }

    /// Deletes a value.
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.writes.push(wit::Write { key: key.into(), value: None });
        self
    }

    /// Changes everything, if all conditions hold. The new revision.
    ///
    /// # Errors
    /// [`StateError::Conflict`] where a condition does not hold.
    pub fn run(self) -> Result<u64, StateError> {
        Ok(self.backend.state_commit(&self.conditions, &self.writes)?)
    }

    /// As [`Commit::run`], with none for a conflict: what [`State::retry`] wants to hear.
    ///
    /// # Errors
    /// All others.
    pub fn try_run(self) -> Result<Option<u64>> {
        match self.run() {
            Ok(revision) => Ok(Some(revision)),
            Err(StateError::Conflict) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// All entries of a prefix; see [`State::entries`].
#[derive(Debug)]
pub struct Entries<'a> {
    state: State<'a>,
    prefix: &'a str,
    after: Option<String>,
    at_once: u32,
    portion: std::vec::IntoIter<Entry>,
    done: bool,
}

impl Entries<'_> {
    /// Begins after this key rather than with the first.
    #[must_use]
    pub fn after(mut self, key: impl Into<String>) -> Self {
        self.after = Some(key.into());
        self
    }

    /// How many entries are read at a time, 1 to 10 000; 1000 unless set.
    #[must_use]
    pub fn at_once(mut self, entries: u32) -> Self {
        self.at_once = entries.clamp(1, 10_000);
        self
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, StateError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.portion.next() {
                return Some(Ok(entry));
            }
            if self.done {
                return None;
            }
            match self.state.list(self.prefix, self.after.as_deref(), self.at_once) {
                Ok(portion) => {
                    self.done = portion.len() < self.at_once as usize;
                    self.after = portion.last().map(|entry| entry.key.clone());
                    self.portion = portion.into_iter();
                }
                Err(error) => {
                    self.done = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::testing::Cloud;

    #[test]
    fn an_update_survives_another_writer() {
        let cloud = Cloud::new("lab");
        cloud.before_next_write(|cloud| {
            cloud.context().state().set_json("n", &10).unwrap();
        });
        let sum = cloud.context().state().update("n", |old: Option<u64>| Ok(Some(old.unwrap_or(0) + 1))).unwrap();
        assert_eq!(sum, Some(11));
        let gone = cloud.context().state().update("n", |_: Option<u64>| Ok(None)).unwrap();
        assert_eq!(gone, None);
        assert_eq!(cloud.context().state().get("n").unwrap(), None);
    }

    #[test]
    fn an_endless_conflict_ends() {
        let cloud = Cloud::new("lab");
        let ctx = cloud.context();
        let mut tries = 0;
        let error = ctx
            .state()
            .retry(|| {
                tries += 1;
                Ok(None::<()>)
            })
            .unwrap_err();
        assert_eq!((error.class(), tries), ("transient", TRIES));
    }

    #[test]
    fn entries_come_in_order_over_portions() {
        let cloud = Cloud::new("lab");
        let ctx = cloud.context();
        for n in 0..2500 {
            ctx.state().set(&format!("a/{n:05}"), b"").unwrap();
        }
        ctx.state().set("b/1", b"").unwrap();
        let keys: Vec<_> = ctx.state().entries("a/").map(|entry| entry.unwrap().key).collect();
        assert_eq!(keys.len(), 2500);
        assert!(keys.is_sorted());
        let later = ctx.state().entries("a/").after("a/02000").at_once(7);
        assert_eq!(later.map(|entry| entry.unwrap().key).next().unwrap(), "a/02001");
        assert_eq!(ctx.state().entries("a/").after("a/02000").at_once(7).count(), 499);
    }

    #[test]
    fn a_commit_is_all_or_nothing() {
        let cloud = Cloud::new("lab");
        let ctx = cloud.context();
        let state = ctx.state();
        let version = state.set("a", b"1").unwrap();
        assert_eq!(state.commit().require_absent("a").put("b", "2").run(), Err(StateError::Conflict));
        assert_eq!(state.get("b").unwrap(), None);
        let revision = state.revision().unwrap();
        let new = state.commit().require("a", Some(version)).put("b", "2").delete("a").run().unwrap();
        assert!(new > revision);
        assert_eq!(state.get("a").unwrap(), None);
        let again = state.set("a", b"1").unwrap();
        assert_ne!(again, version, "versions do not repeat");
        assert_eq!(state.commit().require("a", Some(version)).put("c", "").try_run().unwrap(), None);
    }
}
