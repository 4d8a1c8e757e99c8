//! Nodes that a manager orders for its service, and gives back.

use super::start::Down;
use super::{Services, event, facts, locator, user_data};
use crate::Error;
use crate::compute::{Ended, Key, ensure, failure, recorded_failure, valid};
use crate::identity::Principal;
use crate::kill;
use crate::model::NodeSpec;
use futures::future::join_all;
use ostler_store::{
    NewServiceNode, NodeFacts, NodeRole, Operation, OperationKind, OperationState, Service, ServiceBegin, ServiceError,
    ServiceKind, ServiceNode,
};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Nodes of one order at most.
const MOST: usize = 64;
/// Bytes of the longest context and script together.
const LONGEST: usize = 1 << 20;

/// Nodes that a manager wants.
#[derive(Clone, Debug)]
pub struct NodeOrder {
    /// The cloud of each; none: the service's own.
    pub clouds: Vec<Option<String>>,
    /// For which of an application's services, by the number that the manager gave it.
    pub member: Option<i64>,
    /// Variables for the script of the nodes' first boot. Names are those of shells.
    pub context: Vec<(String, String)>,
    /// What runs at the end of the first boot.
    pub startup_script: String,
}

impl NodeOrder {
    /// Whether it is within bounds.
    fn check(&self) -> Result<(), Error> {
        if self.clouds.is_empty() || self.clouds.len() > MOST {
            return Err(Error::Invalid(format!("an order is for 1 to {MOST} nodes")));
        }
        let bytes: usize = self.context.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes + self.startup_script.len() > LONGEST {
            return Err(Error::Invalid(format!("context and startup script have at most {LONGEST} bytes")));
        }
        let name = |name: &str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            !name.is_empty() && name.bytes().all(plain) && !name.as_bytes()[0].is_ascii_digit()
        };
        match self.context.iter().find(|(known, _)| !name(known)) {
            Some((wrong, _)) => Err(Error::Invalid(format!("the context's name {wrong:?} is no name of a variable"))),
            None => Ok(()),
        }
    }
}

impl Services {
    /// Orders nodes for the manager's service: all of them or none.
    ///
    /// With a key, a second call returns what the first one made.
    pub async fn add_nodes(
        self: &Arc<Self>,
        who: &Principal,
        order: NodeOrder,
        key: Option<Key>,
    ) -> Result<Vec<ServiceNode>, Error> {
        let service = self.managed(who).await?;
        order.check()?;
        let member_id = match order.member {
            None | Some(0) => None,
            Some(number) if service.kind == ServiceKind::Manager => {
                let members = self.store.services(&service.user_id, Some(service.application_id)).await?;
                let member = members.into_iter().find(|s| s.kind == ServiceKind::Member && s.number == Some(number));
                Some(member.ok_or(Error::NoService)?.id)
            }
            Some(_) => None,
        };
        let mut nodes = Vec::new();
        for cloud in &order.clouds {
            let cloud = self.cloud(cloud.as_deref().unwrap_or(&service.cloud))?;
            let machine = self.agent_machine(&service, cloud.name())?;
            if key.is_none() {
                // What can never succeed is not begun. With a key, the record of what it did comes first.
                valid(&cloud, &NodeSpec::new("", &machine.image, &machine.size)).await?;
            }
            nodes.push(NewServiceNode {
                token: uuid::Uuid::now_v7().to_string(),
                role: NodeRole::Agent,
                cloud: cloud.name().to_owned(),
                price: self.billing.tariff().price(cloud.name(), &machine.size),
                size: machine.size,
                member_id,
            });
        }
        let cloud = self.cloud(&service.cloud)?;
        // What the nodes are to do is part of what a key stands for, and not of the record.
        let digest: String =
            Sha256::digest(format!("{:?}", (&order.clouds, order.member, &order.context, &order.startup_script)))
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
        let input = json!({ "service": service.id, "order": digest });
        let mut operation = self.operation(who, OperationKind::AddNodes, &cloud, input, key);
        if let Some(idempotency) = &mut operation.idempotency {
            // The managers of one user choose their keys without knowing of each other.
            idempotency.scope = format!("{}:{}", idempotency.scope, service.id);
        }
        let begun = event("service.nodes.intent", &service.id.to_string(), &service.cloud, &who.user);
        let operation = match self.store.nodes_begin(service.id, &nodes, &operation, &begun).await? {
            ServiceBegin::New { operation, .. } => operation,
            ServiceBegin::Existing(operation) => return self.added_before(&service, &operation).await,
        };
        let (this, mine) = (Arc::clone(self), operation.clone());
        self.detached(&operation, async move { this.hold(&mine, &cloud, this.add_now(&mine, &service, &order)).await }).await
    }

    /// What an earlier order with the same key came to.
    async fn added_before(&self, service: &Service, operation: &Operation) -> Result<Vec<ServiceNode>, Error> {
        match operation.state {
            OperationState::Pending => Err(Error::UnderWay),
            OperationState::Succeeded => {
                let rows = operation.output.as_ref().map(|output| output["rows"].clone()).unwrap_or_default();
                let nodes = self.store.service_nodes(service.id).await?;
                let among = |id: i64| rows.as_array().is_some_and(|rows| rows.iter().any(|row| row.as_i64() == Some(id)));
                Ok(nodes.into_iter().filter(|node| among(node.id)).collect())
            }
            OperationState::Failed | OperationState::Abandoned => Err(recorded_failure(operation)),
        }
    }

    fn agent_machine(&self, service: &Service, cloud: &str) -> Result<super::Machine, Error> {
        let catalogue = &self.settings.catalogue;
        let known = catalogue.get(&service.type_name).or_else(|| catalogue.values().next());
        known.map(|known| known.machine(cloud).clone()).ok_or_else(|| Error::NoServiceType(service.type_name.clone()))
    }

    async fn add_now(&self, operation: &Operation, service: &Service, order: &NodeOrder) -> Result<Vec<ServiceNode>, Error> {
        kill::point("nodes.add.begun");
        let rows = self.store.service_nodes_of_operation(&operation.id).await?;
        let results = join_all(rows.iter().map(|row| self.bring_up_agent(operation, service, row, order))).await;
        kill::point("nodes.add.ordered");
        let mut up = Vec::new();
        let mut why = None;
        for (row, result) in rows.iter().zip(results) {
            match result {
                Ok(facts) => up.push((row.id, facts)),
                Err(Down::Failed(error)) => why = Some(error),
                Err(Down::Unknown(error)) => {
                    return Err(Error::Uncertain { operation: operation.id.clone(), reason: error.message });
                }
            }
        }
        let why = match why {
            Some(error) => error,
            None => {
                kill::point("nodes.add.addressed");
                let paid_until = ostler_store::now().saturating_add(self.billing.tariff().period_micros());
                let done = event("service.nodes.added", &service.id.to_string(), &service.cloud, &operation.actor);
                let output = json!({ "rows": up.iter().map(|(row, _)| row).collect::<Vec<_>>() });
                let owner = self.compute.owner();
                match self.store.nodes_added(&operation.id, owner, service.id, &up, paid_until, output, &done).await {
                    Ok(nodes) => {
                        kill::point("nodes.add.done");
                        return Ok(nodes);
                    }
                    // The service was stopped meanwhile.
                    Err(ServiceError::Busy) => Error::NoService,
                    Err(error) => return Err(error.into()),
                }
            }
        };
        self.undo_add(operation, service, &rows, &why).await?;
        Err(why)
    }

    async fn bring_up_agent(
        &self,
        operation: &Operation,
        service: &Service,
        row: &ServiceNode,
        order: &NodeOrder,
    ) -> Result<NodeFacts, Down> {
        let cloud = self.cloud(&row.cloud)?;
        let machine = self.agent_machine(service, &row.cloud)?;
        let name = format!("{}-s{}-n{}-agt", self.settings.prefix, service.id, row.id);
        let mut spec = NodeSpec::new(name, machine.image, machine.size);
        spec.public_address = true;
        valid(&cloud, &spec).await?;
        let user = self.store.user_get(&service.user_id).await?.ok_or(Error::Unauthenticated)?;
        let bundle = self.authority.issue_agent(&user, service.id, locator(service)).await?;
        spec.user_data = Some(user_data::agent(&order.context, &order.startup_script, &bundle).into_bytes());
        let made = match ensure(&cloud, &row.token, spec).await {
            Ok(made) => made.value,
            Err(Ended::Failed(error)) => return Err(Down::Failed(error.into())),
            Err(Ended::Unknown(error)) => return Err(Down::Unknown(error)),
        };
        self.store.service_node_found(row.id, &facts(&made)).await?;
        Ok(facts(&self.reachable(&cloud, made, &operation.id).await?))
    }

    async fn undo_add(&self, operation: &Operation, service: &Service, rows: &[ServiceNode], why: &Error) -> Result<(), Error> {
        for row in rows {
            self.vanish(&self.cloud(&row.cloud)?, operation, &row.token).await?;
        }
        kill::point("nodes.add.undone");
        let mut failed = event("service.nodes.failed", &service.id.to_string(), &service.cloud, &operation.actor);
        failed.data = json!({ "error": why.to_string() });
        self.store.nodes_failed(&operation.id, self.compute.owner(), failure(why), &failed).await?;
        kill::point("nodes.add.failed");
        Ok(())
    }

    /// Undoes an interrupted order: its manager was told nothing, and will order anew.
    pub(super) async fn take_up_add(&self, operation: &Operation) -> Result<(), Error> {
        let rows = self.store.service_nodes_of_operation(&operation.id).await?;
        let id = operation.input["service"].as_i64().unwrap_or_default();
        let service = self.store.service_get(id).await?.ok_or(Error::NoService)?;
        let why = Error::Invalid("interrupted before the nodes were up".into());
        self.undo_add(operation, &service, &rows, &why).await
    }

    /// Destroys nodes of the manager's service, by their identifiers at the provider. All of them must be the service's.
    pub async fn remove_nodes(self: &Arc<Self>, who: &Principal, nodes: &[(Option<String>, String)]) -> Result<(), Error> {
        let service = self.managed(who).await?;
        let known = self.store.service_nodes(service.id).await?;
        let mut rows = Vec::new();
        for (cloud, id) in nodes {
            let cloud = cloud.as_deref().unwrap_or(&service.cloud);
            let row = known
                .iter()
                .find(|node| node.role == NodeRole::Agent && node.cloud == cloud && node.node_id.as_deref() == Some(id.as_str()));
            rows.push(row.ok_or_else(|| Error::NoNode(id.clone()))?.id);
        }
        rows.sort_unstable();
        rows.dedup();
        self.remove_rows(who, &service, rows).await
    }

    pub(super) async fn remove_rows(self: &Arc<Self>, who: &Principal, service: &Service, rows: Vec<i64>) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let cloud = self.cloud(&service.cloud)?;
        let operation =
            self.operation(who, OperationKind::RemoveNodes, &cloud, json!({ "service": service.id, "rows": rows }), None);
        let begun = event("service.nodes.removal", &service.id.to_string(), &service.cloud, &who.user);
        let ServiceBegin::New { operation, .. } = self.store.nodes_remove_begin(service.id, &rows, &operation, &begun).await?
        else {
            return Err(Error::UnderWay);
        };
        let (this, mine) = (Arc::clone(self), operation.clone());
        self.detached(&operation, async move { this.hold(&mine, &cloud, this.remove_now(&mine)).await }).await
    }

    /// Destroys what is left of the nodes of this operation. Also how an interrupted one is taken up again.
    pub(super) async fn remove_now(&self, operation: &Operation) -> Result<(), Error> {
        kill::point("nodes.remove.begun");
        for node in self.store.service_nodes_of_operation(&operation.id).await? {
            self.destroy_node(operation, &node).await?;
        }
        let subject = operation.input["service"].to_string();
        let done = event("service.nodes.removed", &subject, &operation.cloud, &operation.actor);
        self.store.nodes_removed(&operation.id, self.compute.owner(), &done).await?;
        kill::point("nodes.remove.done");
        Ok(())
    }
}
