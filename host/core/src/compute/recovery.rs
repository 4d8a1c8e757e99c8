//! Interrupted operations on nodes: finished or undone.

use super::nodes::failure;
use super::{Compute, lease_end};
use crate::Error;
use crate::model::NodeSpec;
use ostler_drivers::{Cloud, ErrorKind};
use ostler_store::{Operation, OperationKind, Outcome};
use std::sync::Arc;

impl Compute {
    /// Finishes or undoes an operation on a node.
    pub(crate) async fn take_up(&self, operation: &Operation) -> Result<(), Error> {
        let cloud = self.cloud(&operation.cloud)?;
        self.store.operation_renew(&operation.id, &self.owner, lease_end(&cloud)).await?;
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
