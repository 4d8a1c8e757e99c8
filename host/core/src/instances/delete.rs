//! Deleting an instance: its machine, then its record.

use super::{Instances, refused};
use crate::Error;
use crate::compute::{event, tries};
use crate::identity::Principal;
use crate::images::subject;
use crate::scheduler::{NotClosed, Outcome, Plan, Policy, Try, Workflow};
use async_trait::async_trait;
use ostler_store::{Begun, InstanceEnd, InstanceTask, OperationKind, Outcome as Ending, Progress, Save, Step, Store, Work};
use serde_json::json;
use std::sync::Arc;

/// The one step.
const DESTROY: &str = "destroy-node";

impl Instances {
    /// Deletes an instance with its machine: gone, or ordered to go, when this returns. [`Error::NotNow`] while something else is
    /// being done to it.
    pub async fn delete(self: &Arc<Self>, who: &Principal, cloud: &str, id: i64) -> Result<(), Error> {
        let cloud = self.compute.cloud(cloud)?;
        self.changeable(who, cloud.name(), id).await?;
        let operation = self.compute.operation(who, OperationKind::DeleteInstance, &cloud, json!({ "instance": id }));
        // There is no way back from it.
        let step = Step { cloud: Some(cloud.name().to_owned()), onward: true, ..Step::new(0, 0, DESTROY) };
        let intent = event("instance.delete.intent", &id.to_string(), cloud.name(), &who.user);
        let begun = self.store.instance_work(id, InstanceTask::Delete, &operation, &Progress::default(), &[step], &intent).await;
        match begun.map_err(|error| refused(error, id))? {
            Begun::New(operation, _) => self.carry_out(&operation).await?,
            // Somebody else deletes it: his end is ours.
            Begun::Existing(operation) => self.compute.ended(&operation.id, self.pace.patience).await?,
        }
        if let Some(then) = self.deleted.get() {
            then(id).await;
        }
        Ok(())
    }

    async fn destroy(&self, work: &Work) -> Try {
        let id = subject(work);
        let record = match self.store.instance_get(id).await {
            Ok(Some(record)) => record,
            Ok(None) => return Try::done(json!({})),
            Err(error) => return Try::again(&error.into()),
        };
        let tried = match self.compute.cloud(&record.cloud) {
            Ok(cloud) => tries::remove(&cloud, &record.token).await,
            Err(error) => return Try::again(&error),
        };
        let Some(node) = record.node_id.filter(|_| tried.outcome == Outcome::Done) else { return tried };
        match self.store.assignment_remove(&record.cloud, &node).await {
            Ok(_) => tried,
            Err(error) => Try::again(&error.into()),
        }
    }
}

/// The workflow of a removal.
pub(super) struct Delete(pub(super) Arc<Instances>);

#[async_trait]
impl Workflow for Delete {
    #[cfg(test)]
    fn kinds(&self) -> &'static [&'static str] {
        &[DESTROY]
    }

    fn policy(&self) -> Policy {
        self.0.pace.policy
    }

    async fn act(&self, work: &Work, _position: usize) -> Try {
        self.0.destroy(work).await
    }

    async fn undo(&self, _work: &Work, _position: usize) -> Try {
        Try::done(json!({}))
    }

    fn plan(&self, _work: &Work) -> Plan {
        Plan::End
    }

    async fn close(&self, store: &Store, owner: &str, work: &Work, save: &Save<'_>) -> Result<(), NotClosed> {
        let (operation, id) = (&work.operation, subject(work));
        let mut told = event("instance.delete.done", &id.to_string(), &operation.cloud, &operation.actor);
        let end = match save.outcome {
            // Given up by an operator: it stays, with whatever its machine is.
            Some(Ending::Failed(why) | Ending::Abandoned(why)) => {
                told.kind = "instance.delete.failed".into();
                told.data = json!({ "error": why["message"] });
                InstanceEnd::Stays { state: None, acted: false }
            }
            _ => InstanceEnd::Removed,
        };
        store.instance_ended(&operation.id, owner, save, id, end, &told).await?;
        Ok(())
    }
}
