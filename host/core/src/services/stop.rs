//! Stopping a service: all of its nodes, its certificates, and then its record.

use super::{POLL, Services, event};
use crate::Error;
use crate::identity::{Permission, Principal};
use crate::kill;
use ostler_store::{Operation, OperationKind, Service, ServiceBegin, ServiceError, ServiceNode, ServiceNodeState};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a stop waits for nodes that are being ordered at the same moment.
const PATIENCE: Duration = Duration::from_secs(20);

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
        let operation =
            self.operation(who, OperationKind::StopService, &cloud, json!({ "service": service.id, "why": why }), None);
        let mut begun = event("service.stop.intent", &service.id.to_string(), &service.cloud, &who.user);
        begun.data = json!({ "why": why });
        match self.store.service_stop_begin(Some(&service.user_id), service.id, &operation, &begun).await? {
            // Somebody else stops it: his end is ours.
            ServiceBegin::Existing(operation) => self.until_gone(service.id, &operation).await,
            ServiceBegin::New { operation, .. } => {
                let (this, mine) = (Arc::clone(self), operation.clone());
                self.detached(&operation, async move { this.hold(&mine, &cloud, this.stop_now(&mine)).await }).await
            }
        }
    }

    async fn until_gone(&self, service: i64, operation: &Operation) -> Result<(), Error> {
        let began = Instant::now();
        while self.store.service_get(service).await?.is_some() {
            if began.elapsed() > PATIENCE {
                let reason = "the service is still being stopped".to_owned();
                return Err(Error::Uncertain { operation: operation.id.clone(), reason });
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Destroys what is left of the service of this operation, and forgets it. Also how an interrupted one is taken up again.
    pub(super) async fn stop_now(&self, operation: &Operation) -> Result<(), Error> {
        kill::point("service.stop.begun");
        let Some(service) = self.store.services_by_operation(&operation.id).await?.into_iter().next() else {
            return Err(Error::Store(ostler_store::Error::Corrupt("service of an operation")));
        };
        let began = Instant::now();
        loop {
            let nodes = self.store.service_nodes(service.id).await?;
            for node in nodes.iter().filter(|node| node.state == ServiceNodeState::Doomed) {
                self.destroy_node(operation, node).await?;
            }
            let done = event("service.stop.done", &service.id.to_string(), &service.cloud, &operation.actor);
            match self.store.service_stopped(&operation.id, self.compute.owner(), service.id, &done).await {
                Ok(()) => break,
                // Nodes are being ordered or removed by another operation, which will notice and end.
                Err(ServiceError::Busy) if began.elapsed() < PATIENCE => tokio::time::sleep(POLL).await,
                Err(ServiceError::Busy) => {
                    let reason = "another operation still works on nodes of the service".to_owned();
                    return Err(Error::Uncertain { operation: operation.id.clone(), reason });
                }
                Err(error) => return Err(error.into()),
            }
        }
        kill::point("service.stop.done");
        Ok(())
    }

    /// Destroys one node and forgets it.
    pub(super) async fn destroy_node(&self, operation: &Operation, node: &ServiceNode) -> Result<(), Error> {
        let cloud = self.cloud(&node.cloud)?;
        self.vanish(&cloud, operation, &node.token).await?;
        kill::point(if operation.kind == OperationKind::RemoveNodes {
            "nodes.remove.destroyed"
        } else {
            "service.stop.destroyed"
        });
        if let Some(id) = &node.node_id {
            self.store.assignment_remove(&node.cloud, id).await?;
        }
        self.store.service_node_gone(node.id).await?;
        if operation.kind == OperationKind::StopService {
            kill::point("service.stop.forgotten");
        }
        Ok(())
    }
}
