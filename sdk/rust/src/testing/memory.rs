//! The storage of a test cloud, with the limits and the versions that the contract promises.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::bindings::ostler::driver::state::{Condition, Entry, StateError, Write};

const MAX_KEY: usize = 256;
const MAX_VALUE: usize = 64 * 1024;
const MAX_ENTRIES: u32 = 10_000;

/// Keys, values and versions.
#[derive(Debug, Default)]
pub(super) struct Memory {
    entries: BTreeMap<String, (Vec<u8>, u64)>,
    revision: u64,
    /// Bytes of keys and values that may be kept; none for no quota.
    pub(super) quota: Option<usize>,
    /// Operations so far.
    pub(super) operations: u64,
}

impl Memory {
    pub(super) fn get(&self, key: &str) -> Result<Option<Entry>, StateError> {
        check_key(key)?;
        Ok(self.entries.get(key).map(|(value, version)| entry(key, value, *version)))
    }

    pub(super) fn list(&self, prefix: &str, after: Option<&str>, limit: u32) -> Vec<Entry> {
        let from = after.filter(|after| *after >= prefix).unwrap_or(prefix);
        self.entries
            .range::<str, _>((Bound::Included(from), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(key, _)| after.is_none_or(|after| key.as_str() > after))
            .take(limit.min(MAX_ENTRIES) as usize)
            .map(|(key, (value, version))| entry(key, value, *version))
            .collect()
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// Every write of the contract is a commit.
    pub(super) fn commit(&mut self, conditions: &[Condition], writes: &[Write]) -> Result<u64, StateError> {
        for condition in conditions {
            check_key(&condition.key)?;
            if self.entries.get(&condition.key).map(|(_, version)| *version) != condition.version {
                return Err(StateError::Conflict);
            }
        }
        for write in writes {
            check_key(&write.key)?;
            if write.value.as_ref().is_some_and(|value| value.len() > MAX_VALUE) {
                return Err(StateError::Invalid(format!("the value of `{}` is larger than {MAX_VALUE} bytes", write.key)));
            }
        }
        if let Some(quota) = self.quota {
            let mut after = self.entries.clone();
            apply(&mut after, writes, 0);
            if after.iter().map(|(key, (value, _))| key.len() + value.len()).sum::<usize>() > quota {
                return Err(StateError::Quota);
            }
        }
        if !writes.is_empty() {
            self.revision += 1;
            apply(&mut self.entries, writes, self.revision);
        }
        Ok(self.revision)
    }
}

fn apply(entries: &mut BTreeMap<String, (Vec<u8>, u64)>, writes: &[Write], version: u64) {
    for write in writes {
        match &write.value {
            Some(value) => entries.insert(write.key.clone(), (value.clone(), version)),
            None => entries.remove(&write.key),
        };
    }
}

fn entry(key: &str, value: &[u8], version: u64) -> Entry {
    Entry { key: key.to_owned(), value: value.to_vec(), version }
}

fn check_key(key: &str) -> Result<(), StateError> {
    match key.len() {
        1..=MAX_KEY => Ok(()),
        length => Err(StateError::Invalid(format!("a key has 1 to {MAX_KEY} bytes, not {length}"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn put(key: &str, value: &[u8]) -> Write {
        Write { key: key.into(), value: Some(value.into()) }
    }

    #[test]
    fn lists_are_bounded_by_prefix_and_cursor() {
        let mut memory = Memory::default();
        memory.commit(&[], &["a", "b/1", "b/2", "b/3", "c"].map(|key| put(key, b""))).unwrap();
        for (prefix, after, limit, keys) in [
            ("b/", None, 10, vec!["b/1", "b/2", "b/3"]),
            ("b/", None, 2, vec!["b/1", "b/2"]),
            ("b/", Some("b/1"), 10, vec!["b/2", "b/3"]),
            ("b/", Some("a"), 1, vec!["b/1"]),
            ("b/", Some("b/9"), 9, vec![]),
            ("", None, 9, vec!["a", "b/1", "b/2", "b/3", "c"]),
        ] {
            let found: Vec<_> = memory.list(prefix, after, limit).into_iter().map(|entry| entry.key).collect();
            assert_eq!(found, keys, "{prefix} {after:?} {limit}");
        }
    }

    #[test]
    fn limits_hold() {
        let mut memory = Memory::default();
        for (key, length, allowed) in [("", 0, false), ("k", MAX_VALUE, true), ("k", MAX_VALUE + 1, false)] {
            assert_eq!(memory.commit(&[], &[put(key, &vec![0; length])]).is_ok(), allowed, "{key:?} {length}");
        }
        memory.quota = Some(10);
        assert_eq!(memory.commit(&[], &[put("l", &[0; 11])]), Err(StateError::Quota));
    }
}
