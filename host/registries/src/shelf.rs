//! Answers that are good for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::sync::Cache;

use crate::error::Error;

/// Answers of one kind by path. Of those who need the same one, one fetches it. Failures are not kept, but whoever waited for a
/// fetch that failed fails with it: a registry that does not answer holds each of them up once.
pub(crate) struct Shelf<T> {
    kept: Option<Cache<String, Kept<T>>>,
    flights: Cache<String, Arc<Flight>>,
}

struct Kept<T> {
    value: Arc<T>,
    bytes: u32,
}

/// The fetches of one path.
#[derive(Default)]
struct Flight {
    /// How many have come to an end.
    ended: AtomicU64,
    /// Held during a fetch; why the last one failed.
    last: tokio::sync::Mutex<Option<Error>>,
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), bytes: self.bytes }
    }
}

impl<T: Send + Sync + 'static> Shelf<T> {
    pub(crate) fn new(ttl: Duration, bytes: u64) -> Self {
        let weigh = |path: &String, kept: &Kept<T>| kept.bytes.saturating_add(u32::try_from(path.len()).unwrap_or(u32::MAX));
        let kept = Cache::builder().time_to_live(ttl).max_capacity(bytes).weigher(weigh);
        Self {
            kept: (!ttl.is_zero()).then(|| kept.build()),
            flights: Cache::builder().time_to_idle(Duration::from_secs(120)).max_capacity(10_000).build(),
        }
    }

    /// What is kept for a path, or what `fetch` gives with its size in bytes.
    pub(crate) async fn get(&self, path: &str, fetch: impl AsyncFnOnce() -> Result<(T, usize), Error>) -> Result<Arc<T>, Error> {
        let Some(kept) = &self.kept else {
            return fetch().await.map(|(value, _)| Arc::new(value));
        };
        if let Some(found) = kept.get(path) {
            return Ok(found.value);
        }
        let flight = self.flights.get_with_by_ref(path, Arc::default);
        let before = flight.ended.load(Ordering::SeqCst);
        let mut last = flight.last.lock().await;
        if let Some(found) = kept.get(path) {
            return Ok(found.value);
        }
        if let Some(error) = last.as_ref().filter(|_| flight.ended.load(Ordering::SeqCst) != before) {
            return Err(error.clone());
        }
        let result = fetch().await;
        *last = result.as_ref().err().cloned();
        flight.ended.fetch_add(1, Ordering::SeqCst);
        let (value, bytes) = result?;
        let value = Arc::new(value);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        kept.insert(path.to_owned(), Kept { value: Arc::clone(&value), bytes });
        Ok(value)
    }
}
