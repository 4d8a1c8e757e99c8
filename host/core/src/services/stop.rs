//! Stopping a service: all of its nodes, its certificates, and then its record. And giving back single nodes.

use super::{POLL, Services, event, subject};
use crate::Error;
use crate::compute::tries;
use crate::identity::{Permission, Principal};
use crate::scheduler::{NotClosed, Outcome, Plan, Policy, Try, Workflow};
use async_trait::async_trait;
use futures::future::join_all;
use ostler_store::{OperationKind, Save, Service, ServiceBegin, ServiceError, ServiceNode, ServiceNodeState, Step, Store, Work};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long somebody waits for a stop; it goes on without him.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// The one step: all of the nodes go.
const CLEAR: &str = "clear";

/// Steps of an operation that removes nodes. There is no way back from it.
pub(super) fn steps() -> [Step; 1] {
    [Step { onward: true, ..Step::new(0, 0, CLEAR) }]
}

impl Services {
    /// Stops a service of whoever asks. When it returns, nothing of it is left.
    pub async fn stop(self: &Arc<Self>, who: &Principal, service: i64) -> Result<(), Error> {
        who.require(Permission::UseServices)?;
        let known = self.store.service_of_user(&who.account()?.id, service).await?.ok_or(Error::NoService)?;
        self.stop_because(who, &known, "asked for").await
    }

    /// Stops the service whose manager asks for it.
    pub async fn terminate(self: &Arc<Self>, who: &Principal) -> Result<(), Error> {
        let service = self.managed(who).await?;
        self.stop_because(who, &service, "asked for by its manager").await
    }

    pub(super) async fn stop_because(self: &Arc<Self>, who: &Principal, service: &Service, why: &str) -> Result<(), Error> {
        let cloud = self.cloud(&service.cloud)?;
        let input = json!({ "service": service.id, "why": why });
        let operation = self.operation(who, OperationKind::StopService, &cloud, input, None);
        let mut begun = event("service.stop.intent", &service.id.to_string(), &service.cloud, &who.user);
        begun.data = json!({ "why": why });
        match self.store.service_stop_begin(Some(&service.user_id), service.id, &operation, &steps(), &begun).await? {
            // Somebody else stops it: his end is ours.
            ServiceBegin::Existing(operation) => self.until_gone(service.id, &operation.id).await,
            ServiceBegin::New { operation, .. } => self.carry_out(&operation.id, PATIENCE).await.map(drop),
        }
    }

    async fn until_gone(&self, service: i64, operation: &str) -> Result<(), Error> {
        let began = Instant::now();
        while self.store.service_get(service).await?.is_some() {
            if began.elapsed() > PATIENCE {
                let reason = "the service is still being stopped".to_owned();
                return Err(Error::Uncertain { operation: operation.to_owned(), reason });
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Destroys these nodes, and forgets each that is gone.
    async fn clear(&self, nodes: &[&ServiceNode]) -> Try {
        let tries = join_all(nodes.iter().map(|node| self.clear_one(node))).await;
        // The first that is not done says how it goes on: what is gone by then is not looked at again.
        tries.into_iter().find(|tried| tried.outcome != Outcome::Done).unwrap_or_else(|| Try::done(json!({})))
    }

    async fn clear_one(&self, node: &ServiceNode) -> Try {
        let tried = match self.cloud(&node.cloud) {
            Ok(cloud) => tries::remove(&cloud, &node.token).await,
            Err(error) => Try::again(&error),
        };
        if tried.outcome != Outcome::Done {
            return tried;
        }
        let forgotten = async {
            if let Some(id) = &node.node_id {
                self.store.assignment_remove(&node.cloud, id).await?;
            }
            self.store.service_node_gone(node.id).await
        };
        match forgotten.await {
            Ok(_) => tried,
            Err(error) => Try::again(&error.into()),
        }
    }
}

/// The workflow of a stop, and of the removal of single nodes.
pub(super) struct Stop(pub(super) Arc<Services>);

#[async_trait]
impl Workflow for Stop {
    #[cfg(test)]
    fn kinds(&self) -> &'static [&'static str] {
        &[CLEAR]
    }

    fn policy(&self) -> Policy {
        self.0.policy
    }

    async fn act(&self, work: &Work, _position: usize) -> Try {
        let services = &self.0;
        let whole = work.operation.kind == OperationKind::StopService;
        let nodes = match whole {
            true => services.store.service_nodes(subject(work)).await,
            false => services.store.service_nodes_of_operation(&work.operation.id).await,
        };
        let nodes = match nodes {
            Ok(nodes) => nodes,
            Err(error) => return Try::again(&error.into()),
        };
        let doomed: Vec<_> = nodes.iter().filter(|node| node.state == ServiceNodeState::Doomed).collect();
        let tried = services.clear(&doomed).await;
        if tried.outcome == Outcome::Done && doomed.len() < nodes.len() {
            // Nodes are being ordered by another operation, which will notice and end.
            return Try::wait(POLL);
        }
        tried
    }

    async fn undo(&self, _work: &Work, _position: usize) -> Try {
        Try::done(json!({}))
    }

    fn plan(&self, _work: &Work) -> Plan {
        Plan::End
    }

    async fn close(&self, store: &Store, owner: &str, work: &Work, save: &Save<'_>) -> Result<(), NotClosed> {
        let (operation, service) = (&work.operation, subject(work));
        let event = |kind| event(kind, &service.to_string(), &operation.cloud, &operation.actor);
        let closed = match operation.kind {
            OperationKind::StopService => {
                store.service_stopped(&operation.id, owner, save, service, &event("service.stop.done")).await
            }
            _ => store.nodes_removed(&operation.id, owner, save, &event("service.nodes.removed")).await,
        };
        closed.map_err(|error| match error {
            ServiceError::Store(error) => NotClosed::Store(error),
            // Between the last look and now nobody can have ordered nodes for what is being stopped.
            _ => NotClosed::Store(ostler_store::Error::Corrupt("nodes of a service")),
        })
    }
}
