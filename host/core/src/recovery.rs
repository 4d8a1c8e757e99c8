//! What a crash, a lost answer or a dead host left undone: taken up again, and finished or undone.

use crate::compute::Compute;
use crate::scheduler::Scheduler;
use crate::services::Services;
use crate::{Error, SECOND};
use ostler_store::{Operation, OperationKind, Store};
use std::sync::Arc;
use std::time::Duration;

/// Operations taken up at a time.
const BATCH: u32 = 32;
/// How often is looked for operations whose owner is gone.
const EVERY: Duration = Duration::from_secs(5);
/// The longest lease that is taken before the operation's cloud is known.
const FIRST_LEASE: i64 = 60 * SECOND;

/// Finds interrupted operations, and gives each to the room whose it is.
pub struct Recovery {
    compute: Arc<Compute>,
    services: Option<Arc<Services>>,
    scheduler: Option<Arc<Scheduler>>,
    store: Store,
}

impl Recovery {
    /// For the operations of these rooms.
    pub fn new(compute: Arc<Compute>, services: Option<Arc<Services>>, scheduler: Option<Arc<Scheduler>>) -> Self {
        let store = compute.store().clone();
        Self { compute, services, scheduler, store }
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

    /// Takes up what nobody works on. How many came to an end.
    pub async fn once(&self) -> Result<usize, Error> {
        let now = ostler_store::now();
        let claimed = self.store.operation_claim(self.compute.owner(), now, now.saturating_add(FIRST_LEASE), BATCH).await?;
        Ok(self.take_up_all(claimed).await)
    }

    /// At the start nobody else can be at work on a store that is ours alone: leases of the run before mean nothing.
    pub async fn at_start(&self) -> Result<usize, Error> {
        if self.store.is_shared() {
            return self.once().await;
        }
        let pending = self.store.operations_pending(10_000).await?;
        let latest = pending.iter().filter_map(|operation| operation.lease_until).max().unwrap_or_default();
        let mut ended = 0;
        // What does not come to its end is left for later, with a lease from now.
        for _ in pending.chunks(BATCH as usize) {
            let now = ostler_store::now();
            let lease_end = now.saturating_add(FIRST_LEASE);
            let claimed = self.store.operation_claim(self.compute.owner(), latest.max(now), lease_end, BATCH).await?;
            ended += self.take_up_all(claimed).await;
        }
        Ok(ended)
    }

    async fn take_up_all(&self, claimed: Vec<Operation>) -> usize {
        // Side by side: one that waits for its provider does not hold up the others.
        let ends = futures::future::join_all(claimed.iter().map(|operation| self.try_take_up(operation))).await;
        ends.into_iter().filter(|ended| *ended).count()
    }

    /// Whether it came to its end.
    async fn try_take_up(&self, operation: &Operation) -> bool {
        let (cloud, kind) = (&operation.cloud, operation.kind.as_str());
        match self.take_up(operation).await {
            Ok(ended) => ended,
            // It stays pending; the lease's end is the pause before the next try.
            Err(error) => {
                tracing::warn!(operation = %operation.id, %cloud, kind, %error, "an interrupted operation is not at its end yet");
                false
            }
        }
    }

    /// Whether it has come to its end, or goes on by itself.
    async fn take_up(&self, operation: &Operation) -> Result<bool, Error> {
        let (cloud, kind) = (&operation.cloud, operation.kind.as_str());
        tracing::info!(operation = %operation.id, %cloud, kind, attempt = operation.attempts, "taking up an interrupted operation");
        if let Some(scheduler) = self.scheduler.as_ref().filter(|scheduler| scheduler.has(operation.kind)) {
            scheduler.take_up(operation).await?;
            return Ok(false);
        }
        match (operation.kind, &self.services) {
            (OperationKind::CreateNode | OperationKind::DestroyNode, _) => self.compute.take_up(operation).await?,
            (_, Some(services)) => services.take_up(operation).await?,
            _ => return Err(Error::Invalid(format!("nobody takes up `{kind}`"))),
        }
        Ok(true)
    }
}
