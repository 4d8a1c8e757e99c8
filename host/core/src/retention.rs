//! Forgetting what was over long ago: operations with their steps, and events.

use ostler_store::{Error, Store};
use std::time::Duration;

/// How many are forgotten at once: nobody waits long for it.
const PORTION: u32 = 500;
/// How often is looked.
const EVERY: Duration = Duration::from_hours(1);

/// Forgets what was over long ago. What still stands for something at a provider is kept however old it is.
pub struct Retention {
    store: Store,
    keep: Duration,
}

impl Retention {
    /// Of this store; what is younger is kept.
    pub fn new(store: Store, keep: Duration) -> Self {
        Self { store, keep }
    }

    /// Forgets now and then, until the task that runs it is dropped.
    pub async fn run(self) {
        let mut interval = tokio::time::interval(EVERY);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            match self.once(ostler_store::now()).await {
                Ok(0) => {}
                Ok(count) => tracing::info!(count, "operations and events of long ago are forgotten"),
                Err(error) => tracing::warn!(%error, "operations and events of long ago could not be forgotten"),
            }
        }
    }

    /// Forgets what was over before `now` by more than is kept. How many operations and events that were.
    pub async fn once(&self, now: i64) -> Result<u64, Error> {
        let before = now.saturating_sub(i64::try_from(self.keep.as_micros()).unwrap_or(i64::MAX));
        let mut forgotten = 0;
        loop {
            let operations = self.store.prune(before, PORTION).await?;
            let events = self.store.events_prune(before, PORTION).await?;
            let requests = self.store.application_requests_prune(before, PORTION).await?;
            forgotten += operations + events + requests;
            if [operations, events, requests].iter().all(|count| *count < u64::from(PORTION)) {
                return Ok(forgotten);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use ostler_store::{NewEvent, Options};
    use serde_json::json;

    #[tokio::test]
    async fn what_is_old_goes_in_portions() {
        let store = Store::open("sqlite::memory:", &Options::default()).await.unwrap();
        let event = NewEvent { kind: "x".into(), subject: "s".into(), cloud: None, actor: "a".into(), data: json!({}) };
        for _ in 0..2 * PORTION + 1 {
            store.event_append(&event).await.unwrap();
        }
        let (now, day) = (ostler_store::now(), Duration::from_hours(24));
        let retention = Retention::new(store.clone(), day);
        assert_eq!(retention.once(now).await.unwrap(), 0);
        let later = now + i64::try_from(day.as_micros()).unwrap() + 1;
        assert_eq!(retention.once(later).await.unwrap(), u64::from(2 * PORTION + 1));
        assert_eq!(store.events_after(0, 9).await.unwrap().len(), 0);
    }
}
