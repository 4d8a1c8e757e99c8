//! Removing a deployment: what is under way is turned round, the machines are destroyed, and then it is forgotten.

use super::Inner;
use super::build::{noted, subject, text};
use crate::Error;
use crate::compute::tries;
use crate::scheduler::{Outcome, Plan, Policy, Try, Workflow};
use async_trait::async_trait;
use ostler_store::{
    DeploymentChange, DeploymentStatus, OperationState, Request, ResourceChange, ResourceState, Step, StepState, Work,
};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// The workflow of a removal.
pub(super) struct Delete(pub(super) Arc<Inner>);

#[async_trait]
impl Workflow for Delete {
    #[cfg(test)]
    fn kinds(&self) -> &'static [&'static str] {
        &["settle", "remove-node", "forget"]
    }

    fn policy(&self) -> Policy {
        self.0.settings.policy
    }

    async fn act(&self, work: &Work, position: usize) -> Try {
        let step = &work.steps[position];
        match step.kind.as_str() {
            "settle" => self.settle(work).await,
            "remove-node" => self.remove_node(work, step).await,
            _ => noted(self.forget(work).await),
        }
    }

    /// There is no way back.
    async fn undo(&self, _work: &Work, _position: usize) -> Try {
        Try::done(json!({}))
    }

    fn plan(&self, work: &Work) -> Plan {
        if work.steps.iter().any(|step| step.kind == "forget") {
            return Plan::End;
        }
        let settled = work.steps.iter().find(|step| step.kind == "settle" && step.state == StepState::Done);
        let machines = settled.and_then(|step| step.output.as_ref()?["machines"].as_array().cloned()).unwrap_or_default();
        let removal = |machine: &Value| Step {
            onward: true,
            cloud: machine["cloud"].as_str().map(str::to_owned),
            input: machine.clone(),
            ..Step::new(0, 1, "remove-node")
        };
        let mut steps: Vec<_> = machines.iter().map(removal).collect();
        steps.push(Step { onward: true, ..Step::new(0, 2, "forget") });
        Plan::More { steps, deadline: None }
    }

    async fn stuck(&self, work: &Work) {
        let error = work.steps.iter().filter_map(|step| step.error.as_ref()).map(|error| text(error, "message")).next_back();
        let change = DeploymentChange {
            during: Some(work.operation.id.clone()),
            status: Some(DeploymentStatus::DeleteFailed),
            status_reason: Some(Some(error.unwrap_or("it is tried again and again").to_owned())),
            ..DeploymentChange::default()
        };
        if let Err(error) = self.0.store.deployment_change(subject(work), &change, None).await {
            tracing::warn!(deployment = subject(work), %error, "that a removal is stuck could not be noted");
        }
    }
}

impl Delete {
    /// Turns round what was under way, and finds out what there is to be removed.
    async fn settle(&self, work: &Work) -> Try {
        if let Some(other) = work.operation.input["instead_of"].as_str() {
            match self.0.store.operation_get(other).await {
                Ok(Some(operation)) if operation.state == OperationState::Pending => {
                    match self.0.scheduler.request(other, Request::Cancel).await {
                        Ok(()) | Err(Error::Ended(_)) => return Try::wait(Duration::from_millis(50)),
                        Err(error) => return Try::again(&error),
                    }
                }
                Ok(_) => {}
                Err(error) => return Try::again(&error.into()),
            }
        }
        let resources = match self.0.store.resources(subject(work)).await {
            Ok(resources) => resources,
            Err(error) => return Try::again(&error.into()),
        };
        for resource in &resources {
            let change = ResourceChange { state: Some(ResourceState::Deleting), ..ResourceChange::default() };
            if let Err(error) = self.0.store.resource_change(&resource.id, &change).await {
                return Try::again(&error.into());
            }
        }
        let machine = |resource: &ostler_store::Resource| {
            let (cloud, token) = resource.cloud.as_ref().zip(resource.token.as_ref())?;
            Some(json!({ "resource": resource.id, "cloud": cloud, "token": token }))
        };
        Try::done(json!({ "machines": resources.iter().filter_map(machine).collect::<Vec<_>>() }))
    }

    async fn remove_node(&self, work: &Work, step: &Step) -> Try {
        let (cloud, token) = match self.0.cloud_of(step) {
            Ok(both) => both,
            Err(error) => return Try::again(&error),
        };
        let tried = tries::remove(&cloud, token).await;
        if tried.outcome != Outcome::Done {
            return tried;
        }
        // Set aside for what was never finished.
        let resource = text(&step.input, "resource");
        if let Err(error) = self.0.store.resource_release(subject(work), resource, &work.operation.actor).await {
            return Try::again(&error.into());
        }
        let gone = ResourceChange { token: Some(None), physical_id: Some(None), ..ResourceChange::default() };
        match self.0.store.resource_change(resource, &gone).await {
            Ok(_) => tried,
            Err(error) => Try::again(&error.into()),
        }
    }

    async fn forget(&self, work: &Work) -> Result<(), Error> {
        let event = self.0.event("deployment.deleted", work);
        self.0.store.deployment_remove(subject(work), &event).await?;
        Ok(())
    }
}
