//! The drivers' durable state, kept by the host's store.

use async_trait::async_trait;
use ostler_drivers::{Condition, Entry, StateBackend, StateError, Write};
use ostler_store::{StateError as Failed, Store};

/// The store, as the plugin host sees it.
pub struct StoreState(pub Store);

fn unavailable(error: &ostler_store::Error) -> StateError {
    tracing::error!(%error, "the store failed a driver");
    // A driver need not know how the host keeps its state.
    StateError::Unavailable("the host's store does not answer".into())
}

fn entry(entry: ostler_store::Entry) -> Entry {
    Entry { key: entry.key, value: entry.value, version: entry.version }
}

#[async_trait]
impl StateBackend for StoreState {
    fn is_shared(&self) -> bool {
        self.0.is_shared()
    }

    async fn load(&self, cloud: &str) -> Result<(u64, Vec<Entry>), StateError> {
        let (revision, entries) = self.0.state_load(cloud).await.map_err(|e| unavailable(&e))?;
        Ok((revision, entries.into_iter().map(entry).collect()))
    }

    async fn get(&self, cloud: &str, key: &str) -> Result<Option<Entry>, StateError> {
        Ok(self.0.state_get(cloud, key).await.map_err(|e| unavailable(&e))?.map(entry))
    }

    async fn list(&self, cloud: &str, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<Entry>, StateError> {
        let entries = self.0.state_list(cloud, prefix, after, limit).await.map_err(|e| unavailable(&e))?;
        Ok(entries.into_iter().map(entry).collect())
    }

    async fn revision(&self, cloud: &str) -> Result<u64, StateError> {
        self.0.state_revision(cloud).await.map_err(|e| unavailable(&e))
    }

    async fn commit(&self, cloud: &str, conditions: &[Condition], writes: &[Write], quota: u64) -> Result<u64, StateError> {
        let conditions: Vec<_> =
            conditions.iter().map(|c| ostler_store::Condition { key: c.key.clone(), version: c.version }).collect();
        let writes: Vec<_> = writes.iter().map(|w| ostler_store::Write { key: w.key.clone(), value: w.value.clone() }).collect();
        match self.0.state_commit(cloud, &conditions, &writes, quota).await {
            Ok(commit) => Ok(commit.revision),
            Err(Failed::Conflict) => Err(StateError::Conflict),
            Err(Failed::Quota) => Err(StateError::Quota),
            Err(Failed::Store(error)) => Err(unavailable(&error)),
        }
    }
}
