//! `cache`: values of one cloud in the host's memory, which may vanish at any time.

use crate::guest::Guest;
use crate::v0_1::imports::cache::Host;
use std::time::{Duration, Instant};

/// Bytes that one cloud's cache may hold.
const CAPACITY: u64 = 8 << 20;
/// The longest that a value is kept.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Bytes of the largest value and key.
const LARGEST: usize = 1 << 20;

pub(crate) struct Cache(moka::sync::Cache<String, Value>);

#[derive(Clone)]
struct Value {
    bytes: Vec<u8>,
    until: Instant,
}

impl Cache {
    pub(crate) fn new() -> Self {
        let weigh = |key: &String, value: &Value| u32::try_from(key.len() + value.bytes.len() + 64).unwrap_or(u32::MAX);
        Self(moka::sync::Cache::builder().max_capacity(CAPACITY).weigher(weigh).time_to_live(LONGEST).build())
    }
}

impl Host for Guest {
    fn get(&mut self, key: String) -> wasmtime::Result<Option<Vec<u8>>> {
        let cache = &self.cloud.cache.0;
        Ok(match cache.get(&key) {
            Some(value) if value.until > Instant::now() => Some(value.bytes),
            Some(_) => {
                cache.invalidate(&key);
                None
            }
            None => None,
        })
    }

    fn set(&mut self, key: String, value: Vec<u8>, ttl_ms: u64) -> wasmtime::Result<()> {
        if key.len() + value.len() <= LARGEST {
            let until = Instant::now() + Duration::from_millis(ttl_ms).min(LONGEST);
            self.cloud.cache.0.insert(key, Value { bytes: value, until });
        }
        Ok(())
    }

    fn delete(&mut self, key: String) -> wasmtime::Result<()> {
        self.cloud.cache.0.invalidate(&key);
        Ok(())
    }
}
