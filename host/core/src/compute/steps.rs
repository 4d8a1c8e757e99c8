//! The operations on single nodes, as the scheduler carries them out: one step each.

use super::nodes::{PAUSES, event};
use super::{Compute, Ended, ensure, tries, valid};
use crate::Error;
use crate::model::NodeSpec;
use crate::scheduler::{NotClosed, Plan, Try, Workflow, succeeded};
use async_trait::async_trait;
use ostler_drivers::{Cloud, ErrorKind};
use ostler_store::{OperationKind, Outcome, Save, Step, Store, Work};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

/// A node is ordered.
pub(super) const MAKE: &str = "make-node";
/// A node is destroyed.
pub(super) const DESTROY: &str = "destroy-node";

pub(super) fn workflows(compute: &Arc<Compute>) -> HashMap<OperationKind, Arc<dyn Workflow>> {
    HashMap::from([
        (OperationKind::CreateNode, Arc::new(Create(Arc::clone(compute))) as Arc<dyn Workflow>),
        (OperationKind::DestroyNode, Arc::new(Destroy(Arc::clone(compute)))),
    ])
}

/// The step of an operation that was written down without steps, as earlier versions did.
fn without_steps(work: &Work, step: Step) -> Plan {
    if work.steps.is_empty() { Plan::More { steps: vec![step], deadline: None } } else { Plan::End }
}

/// Saves the end of an operation on a node, and tells of it.
async fn close(store: &Store, owner: &str, work: &Work, save: &Save<'_>, done: &str, failed: &str) -> Result<(), NotClosed> {
    let operation = &work.operation;
    let node_id = match save.outcome {
        Some(Outcome::Succeeded { node_id, .. }) => node_id.as_deref(),
        _ => None,
    };
    let subject = node_id.or(operation.node_id.as_deref()).or(work.subject.as_deref()).unwrap_or(&operation.id);
    let (kind, data) = match save.outcome {
        Some(Outcome::Failed(why) | Outcome::Abandoned(why)) => (failed, json!({ "error": why })),
        _ => (done, json!({})),
    };
    let mut event = event(kind, subject, &operation.cloud, &operation.actor);
    event.data = data;
    store.work_save(&operation.id, owner, &Save { events: &[event], ..save.clone() }).await?;
    Ok(())
}

/// The workflow of a creation.
struct Create(Arc<Compute>);

impl Create {
    /// The token of the node.
    fn token(work: &Work) -> &str {
        work.operation.token.as_deref().unwrap_or(&work.operation.id)
    }

    async fn make(&self, work: &Work, step: &Step) -> Result<Try, Error> {
        let operation = &work.operation;
        let (cloud, token) = (self.0.cloud(&operation.cloud)?, Self::token(work));
        let (interrupted, keyed) = (operation.attempts > 1, operation.input["resume"].as_bool().unwrap_or_default());
        if interrupted || step.tries > 0 {
            match cloud.find_node(token).await {
                Ok(Some(node)) => return Ok(Try::done(json!({ "node": node, "digest": operation.driver_digest }))),
                Ok(None) => {}
                Err(error) => return Ok(Try::again(&Error::Cloud(error))),
            }
        }
        if interrupted && !keyed {
            // Its client has been told nothing, and nothing was made.
            return Err(Error::Invalid("interrupted before the provider had accepted it".into()));
        }
        let spec: NodeSpec = serde_json::from_value(operation.input["spec"].clone())
            .map_err(|_| Error::Invalid("the order for a node cannot be read".into()))?;
        if keyed {
            valid(&cloud, &spec).await?;
        }
        Ok(match ensure(&cloud, token, spec).await {
            Ok(made) => Try::done(json!({ "node": made.value, "digest": made.digest })),
            Err(Ended::Failed(error)) => Try::failed(&Error::Cloud(error)),
            Err(Ended::Unknown(error)) => Try::again(&Error::Cloud(error)),
        })
    }
}

#[async_trait]
impl Workflow for Create {
    #[cfg(test)]
    fn kinds(&self) -> &'static [&'static str] {
        &[MAKE]
    }

    async fn act(&self, work: &Work, position: usize) -> Try {
        self.make(work, &work.steps[position]).await.unwrap_or_else(|error| Try::failed(&error))
    }

    async fn undo(&self, work: &Work, _position: usize) -> Try {
        match self.0.cloud(&work.operation.cloud) {
            Ok(cloud) => tries::remove(&cloud, Self::token(work)).await,
            Err(error) => Try::again(&error),
        }
    }

    fn plan(&self, work: &Work) -> Plan {
        let cloud = Some(work.operation.cloud.clone());
        without_steps(work, Step { cloud, ..Step::new(0, 0, MAKE) })
    }

    fn ended(&self, work: &Work) -> Outcome {
        let output = work.steps.first().and_then(|step| step.output.clone()).unwrap_or_default();
        Outcome::Succeeded { node_id: output["node"]["id"].as_str().map(str::to_owned), output: Some(output) }
    }

    async fn close(&self, store: &Store, owner: &str, work: &Work, save: &Save<'_>) -> Result<(), NotClosed> {
        close(store, owner, work, save, "node.create.done", "node.create.failed").await
    }
}

/// The workflow of a destruction. It cannot be undone; that a provider refuses it is an end like another.
struct Destroy(Arc<Compute>);

impl Destroy {
    async fn destroy(&self, work: &Work, step: &Step) -> Try {
        let operation = &work.operation;
        let cloud = match self.0.cloud(&operation.cloud) {
            Ok(cloud) => cloud,
            Err(error) => return Try::again(&error),
        };
        let id = operation.node_id.as_deref().unwrap_or_default();
        if operation.attempts > 1 || step.tries > 0 {
            match cloud.get_node(id).await {
                // Another node may have been given the identifier since: only the one that was meant is destroyed.
                Ok(node) if node.token.as_deref() == operation.input["token"].as_str() => {}
                Ok(_) => return Try::done(json!({})),
                Err(error) if error.kind == ErrorKind::NotFound => return self.gone(&cloud, id).await,
                Err(error) => return Try::again(&Error::Cloud(error)),
            }
        }
        let mut pauses = PAUSES.into_iter();
        loop {
            let error = match cloud.destroy_node(id).await {
                Ok(_) => return self.gone(&cloud, id).await,
                Err(error) => error,
            };
            match (error.kind.is_ambiguous(), pauses.next()) {
                // Somebody else was faster, or the answer to an earlier try was lost: it is gone either way.
                _ if error.kind == ErrorKind::NotFound => return self.gone(&cloud, id).await,
                (false, _) => return Try::done(json!({ "refused": super::failure(&Error::Cloud(error)) })),
                // Somebody waits for it.
                (true, Some(pause)) => tokio::time::sleep(pause).await,
                (true, None) => return Try::again(&Error::Cloud(error)),
            }
        }
    }

    async fn gone(&self, cloud: &Cloud, id: &str) -> Try {
        match self.0.store.assignment_remove(cloud.name(), id).await {
            Ok(_) => Try::done(json!({})),
            Err(error) => Try::again(&error.into()),
        }
    }
}

#[async_trait]
impl Workflow for Destroy {
    #[cfg(test)]
    fn kinds(&self) -> &'static [&'static str] {
        &[DESTROY]
    }

    async fn act(&self, work: &Work, position: usize) -> Try {
        self.destroy(work, &work.steps[position]).await
    }

    async fn undo(&self, _work: &Work, _position: usize) -> Try {
        Try::done(json!({}))
    }

    fn plan(&self, work: &Work) -> Plan {
        let cloud = Some(work.operation.cloud.clone());
        without_steps(work, Step { cloud, onward: true, ..Step::new(0, 0, DESTROY) })
    }

    fn ended(&self, work: &Work) -> Outcome {
        let output = work.steps.first().and_then(|step| step.output.clone()).unwrap_or_default();
        match &output["refused"] {
            Value::Null => succeeded(json!({})),
            refused => Outcome::Failed(refused.clone()),
        }
    }

    async fn close(&self, store: &Store, owner: &str, work: &Work, save: &Save<'_>) -> Result<(), NotClosed> {
        close(store, owner, work, save, "node.destroy.done", "node.destroy.failed").await
    }
}
