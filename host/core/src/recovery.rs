//! What a crash or a dead host left undone: taken up again, and finished or undone.

use crate::Error;
use crate::scheduler::{LEASE, Scheduler};
use ostler_store::{Operation, Store};
use std::sync::Arc;
use std::time::Duration;

/// Operations taken up at a time.
const BATCH: u32 = 32;
/// How often is looked for operations whose owner is gone.
const EVERY: Duration = Duration::from_secs(5);

/// Finds interrupted operations.
pub struct Recovery {
    scheduler: Arc<Scheduler>,
    store: Store,
}

impl Recovery {
    /// For what this scheduler carries out.
    pub fn new(scheduler: Arc<Scheduler>) -> Self {
        let store = scheduler.store().clone();
        Self { scheduler, store }
    }

    /// Looks for interrupted operations now and then, until the task that runs it is dropped.
    pub async fn run(self: Arc<Self>) {
        let mut interval = tokio::time::interval(EVERY);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            if let Err(error) = self.once().await {
                tracing::error!(%error, "interrupted operations could not be looked for");
            }
        }
    }

    /// Takes up what nobody works on. How much that was; it goes on by itself.
    pub async fn once(&self) -> Result<usize, Error> {
        let now = ostler_store::now();
        let claimed = self.store.operation_claim(self.scheduler.owner(), now, now.saturating_add(LEASE), BATCH).await?;
        Ok(self.take_up_all(&claimed).await)
    }

    /// At the start nobody else can be at work on a store that is ours alone: leases of the run before mean nothing.
    pub async fn at_start(&self) -> Result<usize, Error> {
        if self.store.is_shared() {
            return self.once().await;
        }
        let pending = self.store.operations_pending(10_000).await?;
        let latest = pending.iter().filter_map(|operation| operation.lease_until).max().unwrap_or_default();
        let mut taken_up = 0;
        for _ in pending.chunks(BATCH as usize) {
            let now = ostler_store::now();
            let lease_end = now.saturating_add(LEASE);
            let claimed = self.store.operation_claim(self.scheduler.owner(), latest.max(now), lease_end, BATCH).await?;
            taken_up += self.take_up_all(&claimed).await;
        }
        Ok(taken_up)
    }

    async fn take_up_all(&self, claimed: &[Operation]) -> usize {
        let mut taken_up = 0;
        for operation in claimed {
            let (cloud, kind) = (&operation.cloud, operation.kind.as_str());
            tracing::info!(operation = %operation.id, %cloud, kind, attempt = operation.attempts, "taking up an interrupted operation");
            match self.scheduler.take_up(operation).await {
                Ok(()) => taken_up += 1,
                // The lease's end is the pause before the next try.
                Err(error) => {
                    tracing::warn!(operation = %operation.id, %cloud, kind, %error, "an interrupted operation could not be taken up");
                }
            }
        }
        taken_up
    }
}
