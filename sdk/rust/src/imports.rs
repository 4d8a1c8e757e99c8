//! The capabilities of a running component: the imported functions, one by one. No table of them and no trait object may exist,
//! since either would make every component import every interface.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::bindings::ostler::driver::{cache, config, log, secrets, state};

/// All imports.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Imports;

impl Imports {
    pub(crate) fn now(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    pub(crate) fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }

    pub(crate) fn config_cloud(&self) -> String {
        config::cloud()
    }

    pub(crate) fn config_get(&self, key: &str) -> Option<String> {
        config::get(key)
    }

    pub(crate) fn config_entries(&self) -> Vec<(String, String)> {
        config::entries()
    }

    pub(crate) fn secret_get(&self, name: &str) -> Option<String> {
        secrets::get(name)
    }

    pub(crate) fn log(&self, level: log::Level, message: &str, fields: &[(String, String)]) {
        log::log(level, message, fields);
    }

    pub(crate) fn cache_get(&self, key: &str) -> Option<Vec<u8>> {
        cache::get(key)
    }

    pub(crate) fn cache_set(&self, key: &str, value: &[u8], ttl_ms: u64) {
        cache::set(key, value, ttl_ms);
    }

    pub(crate) fn cache_delete(&self, key: &str) {
        cache::delete(key);
    }

    pub(crate) fn state_get(&self, key: &str) -> Result<Option<state::Entry>, state::StateError> {
        state::get(key)
    }

    pub(crate) fn state_list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<state::Entry>, state::StateError> {
        state::list_entries(prefix, after, limit)
    }

    pub(crate) fn state_set(&self, key: &str, value: &[u8]) -> Result<u64, state::StateError> {
        state::set(key, value)
    }

    pub(crate) fn state_delete(&self, key: &str) -> Result<bool, state::StateError> {
        state::delete(key)
    }

    pub(crate) fn state_swap(&self, key: &str, version: Option<u64>, value: Option<&[u8]>) -> Result<u64, state::StateError> {
        state::compare_and_swap(key, version, value)
    }

    pub(crate) fn state_commit(
        &self,
        conditions: &[state::Condition],
        writes: &[state::Write],
    ) -> Result<u64, state::StateError> {
        state::commit(conditions, writes)
    }

    pub(crate) fn state_revision(&self) -> Result<u64, state::StateError> {
        state::revision()
    }
}
