//! Answers that are good for a while.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

/// Answers of one kind by path. Of those who need the same one, one fetches it; failures are not kept.
pub(crate) struct Shelf<T> {
    kept: Option<Cache<String, Kept<T>>>,
    /// One lock for each path that is being fetched.
    flights: Cache<String, Arc<tokio::sync::Mutex<()>>>,
}

struct Kept<T> {
    value: Arc<T>,
    bytes: u32,
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
    pub(crate) async fn get<E>(&self, path: &str, fetch: impl AsyncFnOnce() -> Result<(T, usize), E>) -> Result<Arc<T>, E> {
        let Some(kept) = &self.kept else {
            return fetch().await.map(|(value, _)| Arc::new(value));
        };
        if let Some(found) = kept.get(path) {
            return Ok(found.value);
        }
        let flight = self.flights.get_with_by_ref(path, Arc::default);
        let _flight = flight.lock().await;
        if let Some(found) = kept.get(path) {
            return Ok(found.value);
        }
        let (value, bytes) = fetch().await?;
        let value = Arc::new(value);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        kept.insert(path.to_owned(), Kept { value: Arc::clone(&value), bytes });
        Ok(value)
    }
}
