//! What a crash, a lost answer or a dead host left undone: taken up again, and finished or undone.

use super::nodes::failure;
use super::{Compute, lease_end};
use crate::model::NodeSpec;
use crate::{Error, SECOND};
use ostler_drivers::{Cloud, ErrorKind};
use ostler_store::{Operation, OperationKind, Outcome};
use std::sync::Arc;
use std::time::Duration;

/// Operations taken up at a time.
const BATCH: u32 = 32;
/// How often is looked for operations whose owner is gone.
const EVERY: Duration = Duration::from_secs(5);
/// The longest lease that is taken before the operation's cloud is known.
const FIRST_LEASE: i64 = 60 * SECOND;

impl Compute {
    /// Looks for interrupted operations now and then, until the task that runs it is dropped.
    pub async fn recover(self: Arc<Self>) {
        let mut interval = tokio::time::interval(EVERY);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            if let Err(error) = self.recover_once().await {
                tracing::error!(%error, "interrupted operations could not be looked for");
            }
        }
    }

    /// Takes up what nobody works on. How many came to an end.
    pub async fn recover_once(&self) -> Result<usize, Error> {
        let now = ostler_store::now();
        let claimed = self.store.operation_claim(&self.owner, now, now.saturating_add(FIRST_LEASE), BATCH).await?;
        Ok(self.take_up_all(claimed).await)
    }

    /// At the start nobody else can be at work on a store that is ours alone: leases of the run before mean nothing.
    pub async fn recover_at_start(&self) -> Result<usize, Error> {
        if self.store.is_shared() {
            return self.recover_once().await;
        }
        let pending = self.store.operations_pending(10_000).await?;
        let latest = pending.iter().filter_map(|operation| operation.lease_until).max().unwrap_or_default();
        let mut ended = 0;
        // What does not come to its end is left for later, with a lease from now.
        for _ in pending.chunks(BATCH as usize) {
            let now = ostler_store::now();
            let claimed =
                self.store.operation_claim(&self.owner, latest.max(now), now.saturating_add(FIRST_LEASE), BATCH).await?;
            ended += self.take_up_all(claimed).await;
        }
        Ok(ended)
    }

    async fn take_up_all(&self, claimed: Vec<Operation>) -> usize {
        let mut ended = 0;
        for operation in claimed {
            let (cloud, kind) = (&operation.cloud, operation.kind.as_str());
            match self.take_up(&operation).await {
                Ok(()) => ended += 1,
                // It stays pending; the lease's end is the pause before the next try.
                Err(error) => {
                    tracing::warn!(operation = %operation.id, %cloud, kind, %error, "an interrupted operation is not at its end yet");
                }
            }
        }
        ended
    }

    async fn take_up(&self, operation: &Operation) -> Result<(), Error> {
        let cloud = self.cloud(&operation.cloud)?;
        self.store.operation_renew(&operation.id, &self.owner, lease_end(&cloud)).await?;
        tracing::info!(operation = %operation.id, cloud = %operation.cloud, kind = operation.kind.as_str(), attempt = operation.attempts, "taking up an interrupted operation");
        match operation.kind {
            OperationKind::CreateNode => self.take_up_create(&cloud, operation).await,
            OperationKind::DestroyNode => self.take_up_destroy(&cloud, operation).await,
            other => Err(Error::Invalid(format!("nobody takes up `{}`", other.as_str()))),
        }
    }

    async fn take_up_create(&self, cloud: &Arc<Cloud>, operation: &Operation) -> Result<(), Error> {
        let token = operation.token.as_deref().unwrap_or(&operation.id);
        let resume = operation.input["resume"].as_bool().unwrap_or_default();
        let spec = serde_json::from_value::<NodeSpec>(operation.input["spec"].clone());
        if let Some(node) = cloud.find_node(token).await? {
            let output = serde_json::json!({ "node": node, "digest": operation.driver_digest });
            let outcome = Outcome::Succeeded { node_id: Some(node.id), output: Some(output) };
            return self.finish(operation, outcome, "node.create.recovered").await;
        }
        match spec {
            // Its client holds a key, with which he will ask again what came of it.
            Ok(spec) if resume => match self.create_now(cloud, operation, spec).await {
                Ok(_) | Err(Error::Cloud(_)) => Ok(()),
                Err(error) => Err(error),
            },
            // Its client has been told nothing, and nothing was made.
            _ => {
                let error = Error::Invalid("interrupted before the provider had accepted it".into());
                self.finish(operation, Outcome::Failed(failure(&error)), "node.create.failed").await
            }
        }
    }

    async fn take_up_destroy(&self, cloud: &Arc<Cloud>, operation: &Operation) -> Result<(), Error> {
        let id = operation.node_id.as_deref().unwrap_or_default();
        match cloud.get_node(id).await {
            // Another node may have been given the identifier since: only the one that was meant is destroyed.
            Ok(node) if node.token.as_deref() == operation.input["token"].as_str() => {
                self.destroy_now(cloud, operation, id).await.map(drop)
            }
            Ok(_) => self.finish(operation, Outcome::Succeeded { node_id: None, output: None }, "node.destroy.done").await,
            Err(error) if error.kind == ErrorKind::NotFound => {
                self.store.assignment_remove(cloud.name(), id).await?;
                self.finish(operation, Outcome::Succeeded { node_id: None, output: None }, "node.destroy.done").await
            }
            Err(error) => Err(error.into()),
        }
    }
}
