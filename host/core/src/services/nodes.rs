//! Nodes that a manager orders for its service, and gives back; and the steps that make any node of a service.

use super::{POLL, POLL_SLOWLY, Services, UNDOING, address, event, facts, locator, stop, subject, user_data};
use crate::Error;
use crate::compute::{Ended, Key, ensure, recorded_failure, tries, valid};
use crate::identity::Principal;
use crate::model::{NodeSpec, NodeState};
use crate::scheduler::{NotClosed, Plan, Policy, Try, Workflow, succeeded};
use async_trait::async_trait;
use ostler_drivers::{Cloud, ErrorKind};
use ostler_store::{
    NewServiceNode, NodeFacts, NodeRole, Operation, OperationKind, OperationState, Outcome, Save, Service, ServiceBegin,
    ServiceError, ServiceKind, ServiceNode, Step, Store, Work,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;

/// A node is ordered.
const MAKE: &str = "make-node";
/// It has an address.
const ADDRESS: &str = "address";
#[cfg(test)]
pub(super) const STEPS: &[&str] = &[MAKE, ADDRESS];
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
        let operation = match self.store.nodes_begin(service.id, &nodes, &operation, &steps(&nodes), &begun).await? {
            ServiceBegin::New { operation, .. } => operation.id,
            ServiceBegin::Existing(operation) => return self.added_before(&service, &operation).await,
        };
        self.orders.lock().insert(operation.clone(), Arc::new(order));
        let (this, id) = (Arc::clone(self), operation.clone());
        // A task of its own: a manager that hangs up changes nothing.
        let task = self.compute.tasks().spawn(async move {
            let ended = this.carry_out(&id, this.settings.start_timeout + UNDOING).await;
            this.orders.lock().remove(&id);
            ended
        });
        match task.await {
            Ok(ended) => self.added_before(&service, &ended?.operation).await,
            Err(error) => Err(Error::Uncertain { operation, reason: error.to_string() }),
        }
    }

    /// What an order came to.
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

    /// The order for an agent's node, with a certificate of its own.
    async fn agent_spec(&self, cloud: &Arc<Cloud>, service: &Service, row: &ServiceNode, work: &Work) -> Result<NodeSpec, Error> {
        // Only this run of the host knows what the nodes are to do: it may be confidential, and is not written down.
        let order = self.orders.lock().get(&work.operation.id).cloned();
        let order = order.ok_or_else(|| Error::Invalid("interrupted before the nodes were up".into()))?;
        let machine = self.agent_machine(service, &row.cloud)?;
        let name = format!("{}-s{}-n{}-agt", self.settings.prefix, service.id, row.id);
        let mut spec = NodeSpec::new(name, machine.image, machine.size);
        spec.public_address = true;
        valid(cloud, &spec).await?;
        let user = self.store.user_get(&service.user_id).await?.ok_or(Error::Unauthenticated)?;
        let bundle = self.authority.issue_agent(&user, service.id, locator(service)).await?;
        spec.user_data = Some(user_data::agent(&order.context, &order.startup_script, &bundle).into_bytes());
        Ok(spec)
    }

    /// One try of a step that makes nodes.
    pub(super) async fn make(&self, work: &Work, step: &Step) -> Try {
        if step.kind == MAKE { self.make_node(work, step).await } else { self.await_address(step).await }
    }

    /// Makes the node of a step exist, and notes it.
    async fn make_node(&self, work: &Work, step: &Step) -> Try {
        let (cloud, token) = match self.cloud_of(step) {
            Ok(both) => both,
            Err(error) => return Try::again(&error),
        };
        let found = async {
            let row = self.store.service_node_by_token(token).await?.ok_or(Error::NoService)?;
            let service = self.store.service_get(row.service_id).await?.ok_or(Error::NoService)?;
            Ok((row, service))
        };
        let (row, service) = match found.await {
            Ok(both) => both,
            Err(error @ Error::Store(_)) => return Try::again(&error),
            Err(error) => return Try::failed(&error),
        };
        // An earlier try may have made it, and with its certificate.
        let before = if step.tries > 0 || work.operation.attempts > 1 { cloud.find_node(token).await } else { Ok(None) };
        let made = match before {
            Ok(Some(node)) => node,
            Ok(None) => {
                let spec = match row.role {
                    NodeRole::Manager => self.manager_spec(&cloud, &service).await,
                    NodeRole::Agent => self.agent_spec(&cloud, &service, &row, work).await,
                };
                let spec = match spec {
                    Ok(spec) => spec,
                    Err(error @ Error::Store(_)) => return Try::again(&error),
                    Err(error) => return Try::failed(&error),
                };
                match ensure(&cloud, token, spec).await {
                    Ok(made) => made.value,
                    Err(Ended::Failed(error)) => return Try::failed(&Error::Cloud(error)),
                    Err(Ended::Unknown(error)) => return Try::again(&Error::Cloud(error)),
                }
            }
            Err(error) => return Try::again(&Error::Cloud(error)),
        };
        match self.store.service_node_found(row.id, &facts(&made)).await {
            Ok(_) => Try::done(json!({ "node": made.id })),
            Err(error) => Try::again(&error.into()),
        }
    }

    /// Makes sure that no node has the token of a step.
    pub(super) async fn unmake_node(&self, step: &Step) -> Try {
        if step.kind != MAKE {
            return Try::done(json!({}));
        }
        match self.cloud_of(step) {
            Ok((cloud, token)) => tries::remove(&cloud, token).await,
            Err(error) => Try::again(&error),
        }
    }

    /// Waits until a node has an address.
    async fn await_address(&self, step: &Step) -> Try {
        let (cloud, token) = match self.cloud_of(step) {
            Ok(both) => both,
            Err(error) => return Try::again(&error),
        };
        let row = match self.store.service_node_by_token(token).await {
            Ok(row) => row,
            Err(error) => return Try::again(&error.into()),
        };
        let Some((row, id)) = row.and_then(|row| Some((row.id, row.node_id?))) else {
            return Try::failed(&Error::NoService);
        };
        match cloud.get_node(&id).await {
            Ok(node) => match node.state {
                NodeState::Failed | NodeState::Terminated | NodeState::Terminating => {
                    let why = node.state_detail.unwrap_or_else(|| "it gave no reason".into());
                    return tries::lost(format!("the node failed while it was built: {why}"));
                }
                NodeState::Pending => {}
                _ if address(&node).is_some() => {
                    let facts = facts(&node);
                    let facts = Found { row, id: facts.node_id, name: facts.name, address: facts.address };
                    return Try::done(json!(facts));
                }
                _ => {}
            },
            Err(error) if error.kind == ErrorKind::NotFound => return tries::lost("the node has disappeared"),
            // A provider that does not answer for a while has not lost the node.
            Err(error) => tracing::debug!(cloud = cloud.name(), %error, "a node that is being built could not be looked at"),
        }
        let limit = self.settings.start_timeout;
        let begun = step.begun_at.unwrap_or_else(ostler_store::now);
        let waited = Duration::from_micros(u64::try_from(ostler_store::now().saturating_sub(begun)).unwrap_or_default());
        if waited >= limit {
            return tries::lost(format!("the node had no address after {} s", limit.as_secs()));
        }
        Try::wait((POLL + waited / 10).min(POLL_SLOWLY).min(limit.saturating_sub(waited)))
    }

    /// The cloud and the token of a step.
    fn cloud_of<'s>(&self, step: &'s Step) -> Result<(Arc<Cloud>, &'s str), Error> {
        let cloud = self.cloud(step.cloud.as_deref().unwrap_or_default())?;
        let token = step.token.as_deref().or_else(|| step.input["token"].as_str());
        Ok((cloud, token.ok_or_else(|| Error::Invalid("a step without a token".into()))?))
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
        let input = json!({ "service": service.id, "rows": rows });
        let operation = self.operation(who, OperationKind::RemoveNodes, &cloud, input, None);
        let begun = event("service.nodes.removal", &service.id.to_string(), &service.cloud, &who.user);
        match self.store.nodes_remove_begin(service.id, &rows, &operation, &stop::steps(), &begun).await? {
            ServiceBegin::New { operation, .. } => self.carry_out(&operation.id, stop::PATIENCE).await.map(drop),
            ServiceBegin::Existing(_) => Err(Error::UnderWay),
        }
    }
}

/// What the step that waits for an address has found.
#[derive(Serialize, Deserialize)]
struct Found {
    /// The number of the node's record.
    row: i64,
    id: String,
    name: String,
    address: Option<String>,
}

/// What is known of the nodes of an operation, by the numbers of their records.
pub(super) fn found(work: &Work) -> Vec<(i64, NodeFacts)> {
    let outputs = work.steps.iter().filter(|step| step.kind == ADDRESS).filter_map(|step| step.output.clone());
    let found = outputs.filter_map(|output| serde_json::from_value::<Found>(output).ok());
    found.map(|found| (found.row, NodeFacts { node_id: found.id, name: found.name, address: found.address })).collect()
}

/// The steps that make nodes: each is ordered, and then waited for.
pub(super) fn steps(nodes: &[NewServiceNode]) -> Vec<Step> {
    let make = |node: &NewServiceNode| Step {
        cloud: Some(node.cloud.clone()),
        token: Some(node.token.clone()),
        ..Step::new(0, 0, MAKE)
    };
    let wait = |node: &NewServiceNode| Step {
        cloud: Some(node.cloud.clone()),
        input: json!({ "token": node.token }),
        ..Step::new(0, 1, ADDRESS)
    };
    nodes.iter().map(make).chain(nodes.iter().map(wait)).collect()
}

/// The workflow of an order of nodes.
pub(super) struct Add(pub(super) Arc<Services>);

#[async_trait]
impl Workflow for Add {
    #[cfg(test)]
    fn kinds(&self) -> &'static [&'static str] {
        STEPS
    }

    fn policy(&self) -> Policy {
        self.0.policy
    }

    /// Its manager was told nothing, and will order anew.
    fn resumes(&self, _work: &Work) -> bool {
        false
    }

    async fn act(&self, work: &Work, position: usize) -> Try {
        self.0.make(work, &work.steps[position]).await
    }

    async fn undo(&self, work: &Work, position: usize) -> Try {
        self.0.unmake_node(&work.steps[position]).await
    }

    fn plan(&self, _work: &Work) -> Plan {
        Plan::End
    }

    fn ended(&self, work: &Work) -> Outcome {
        succeeded(json!({ "rows": found(work).iter().map(|(row, _)| *row).collect::<Vec<_>>() }))
    }

    async fn close(&self, store: &Store, owner: &str, work: &Work, save: &Save<'_>) -> Result<(), NotClosed> {
        let (operation, service) = (&work.operation, subject(work));
        let event = |kind: &str| event(kind, &service.to_string(), &operation.cloud, &operation.actor);
        if let Some(Outcome::Failed(why) | Outcome::Abandoned(why)) = save.outcome {
            let mut failed = event("service.nodes.failed");
            failed.data = json!({ "error": why["message"] });
            return Ok(store.nodes_failed(&operation.id, owner, save, &failed).await?);
        }
        let paid_until = ostler_store::now().saturating_add(self.0.billing.tariff().period_micros());
        let added = event("service.nodes.added");
        match store.nodes_added(&operation.id, owner, save, service, &found(work), paid_until, &added).await {
            Ok(_) => Ok(()),
            // The service was stopped meanwhile.
            Err(ServiceError::Busy) => Err(NotClosed::Refused(Error::NoService)),
            Err(ServiceError::Store(error)) => Err(NotClosed::Store(error)),
            Err(_) => Err(NotClosed::Store(ostler_store::Error::Corrupt("nodes of a service"))),
        }
    }
}
