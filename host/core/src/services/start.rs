//! Starting a service: credit, certificate, node, address — or none of them.

use super::{Services, event, locator, nodes, user_data};
use crate::Error;
use crate::compute::{Key, recorded_failure, valid};
use crate::identity::{Permission, Principal};
use crate::model::NodeSpec;
use crate::scheduler::{NotClosed, Plan, Policy, Try, Workflow};
use async_trait::async_trait;
use ostler_drivers::Cloud;
use ostler_store::{
    NewEvent, NewService, NewServiceNode, NodeRole, Operation, OperationKind, OperationState, Outcome, Save, Service,
    ServiceBegin, ServiceKind, Store, Work,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// What is to be started.
#[derive(Clone, Debug)]
pub struct Order {
    /// A service, or the manager of an application as a whole.
    pub kind: ServiceKind,
    /// The type of service.
    pub type_name: String,
    /// The application; without one, the user's first.
    pub application: Option<i64>,
    /// The cloud; without one, the configured one.
    pub cloud: Option<String>,
}

impl Services {
    /// Starts a service, and waits until its manager has an address. One that fails costs nothing and leaves nothing.
    ///
    /// With a key, a second call returns what the first one made; [`Error::KeyReused`] if it asks for something else.
    pub async fn start(self: &Arc<Self>, who: &Principal, order: Order, key: Option<Key>) -> Result<Service, Error> {
        match self.begin(who, order, key).await? {
            Begun::Before(operation) => self.replay(who, &operation).await,
            Begun::Now { operation, service } => {
                self.carry_out(&operation, self.settings.start_timeout + super::UNDOING).await?;
                self.store.service_get(service).await?.ok_or(Error::NoService)
            }
        }
    }

    /// Writes the intent down; what is left is to carry it out.
    pub(super) async fn begin(&self, who: &Principal, order: Order, key: Option<Key>) -> Result<Begun, Error> {
        who.require(Permission::UseServices)?;
        let account = who.account()?;
        if order.kind == ServiceKind::Service && !self.settings.catalogue.contains_key(&order.type_name) {
            return Err(Error::NoServiceType(order.type_name));
        }
        let application = self.application(who, order.application).await?;
        let cloud = self.cloud(order.cloud.as_deref().unwrap_or(&self.settings.cloud))?;
        let name = match order.kind {
            ServiceKind::Manager => application.name.clone(),
            ServiceKind::Service | ServiceKind::Member => format!("New {} service", order.type_name),
        };
        let new = NewService {
            application_id: application.id,
            user_id: account.id.clone(),
            kind: order.kind,
            type_name: order.type_name.clone(),
            name,
            cloud: cloud.name().to_owned(),
            number: None,
        };
        let machine = self.machine(&order.type_name, cloud.name())?;
        if key.is_none() {
            // What can never succeed is not begun. With a key, the record of what it did comes first.
            valid(&cloud, &NodeSpec::new("", &machine.image, &machine.size)).await?;
        }
        let price = self.billing.tariff().price(cloud.name(), &machine.size);
        let node = NewServiceNode {
            token: uuid::Uuid::now_v7().to_string(),
            role: NodeRole::Manager,
            cloud: cloud.name().to_owned(),
            size: machine.size.clone(),
            price,
            member_id: None,
        };
        // A client with a key will ask again, and one that starts an application was told that it starts.
        let resume = key.is_some() || order.kind == ServiceKind::Manager;
        let input = json!({
            "application": application.id, "type": order.type_name, "cloud": cloud.name(), "user": account.id, "resume": resume,
        });
        let operation = self.operation(who, OperationKind::StartService, &cloud, input, key);
        let begun = event("service.start.intent", "", cloud.name(), &who.user);
        let steps = nodes::steps(std::slice::from_ref(&node));
        match self.store.service_begin(&new, &node, &operation, &steps, &begun).await? {
            ServiceBegin::Existing(operation) => Ok(Begun::Before(Box::new(operation))),
            ServiceBegin::New { operation, service, .. } => Ok(Begun::Now { operation: operation.id, service: service.id }),
        }
    }

    /// What a manager of this type runs on.
    fn machine(&self, type_name: &str, cloud: &str) -> Result<super::Machine, Error> {
        // The manager of a whole application runs on what the first type does: managers differ by their software.
        let known = self.settings.catalogue.get(type_name).or_else(|| self.settings.catalogue.values().next());
        known.map(|known| known.machine(cloud).clone()).ok_or_else(|| Error::NoServiceType(type_name.to_owned()))
    }

    /// What an earlier request with the same key came to.
    pub(super) async fn replay(&self, who: &Principal, operation: &Operation) -> Result<Service, Error> {
        match operation.state {
            OperationState::Pending => Err(Error::UnderWay),
            OperationState::Succeeded => {
                let id = operation.output.as_ref().and_then(|output| output["service"].as_i64()).unwrap_or_default();
                self.store.service_of_user(&who.account()?.id, id).await?.ok_or(Error::NoService)
            }
            OperationState::Failed | OperationState::Abandoned => Err(recorded_failure(operation)),
        }
    }

    /// The order for a manager's node. Each has a certificate of its own; those of earlier tries are revoked.
    pub(super) async fn manager_spec(&self, cloud: &Arc<Cloud>, service: &Service) -> Result<NodeSpec, Error> {
        let user = self.store.user_get(&service.user_id).await?.ok_or(Error::Unauthenticated)?;
        let machine = self.machine(&service.type_name, &service.cloud)?;
        let name = match service.kind {
            ServiceKind::Manager => format!("{}-u{}-a{}-mgr", self.settings.prefix, user.number, service.application_id),
            _ => format!("{}-u{}-s{}-{}-mgr", self.settings.prefix, user.number, service.id, service.type_name),
        };
        let mut spec = NodeSpec::new(name, machine.image, machine.size);
        spec.public_address = true;
        valid(cloud, &spec).await?;
        self.store.certificates_revoke_service(service.id, "superseded").await?;
        let bundle = self.authority.issue_manager(&user, service.id, locator(service)).await?;
        spec.user_data = Some(user_data::manager(&self.settings, service, user.number, &bundle).into_bytes());
        Ok(spec)
    }
}

/// A start whose intent is written down.
pub(super) enum Begun {
    /// Just now: the operation, and the service.
    Now { operation: String, service: i64 },
    /// By an earlier request with the same key.
    Before(Box<Operation>),
}

/// The workflow of a start.
pub(super) struct Start(pub(super) Arc<Services>);

#[async_trait]
impl Workflow for Start {
    #[cfg(test)]
    fn kinds(&self) -> &'static [&'static str] {
        nodes::STEPS
    }

    fn policy(&self) -> Policy {
        self.0.policy
    }

    /// Whoever ordered a service without a key was told nothing, and will order anew.
    fn resumes(&self, work: &Work) -> bool {
        work.operation.input["resume"].as_bool().unwrap_or_default()
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
        let node_id = nodes::found(work).into_iter().next().map(|(_, facts)| facts.node_id);
        let output = json!({ "service": super::subject(work), "node": node_id });
        Outcome::Succeeded { node_id, output: Some(output) }
    }

    async fn close(&self, store: &Store, owner: &str, work: &Work, save: &Save<'_>) -> Result<(), NotClosed> {
        let (operation, service) = (&work.operation, super::subject(work));
        let event =
            |kind: &str, data: Value| NewEvent { data, ..event(kind, &service.to_string(), &operation.cloud, &operation.actor) };
        match save.outcome {
            Some(Outcome::Failed(why) | Outcome::Abandoned(why)) => {
                let failed = event("service.start.failed", json!({ "error": why["message"] }));
                store.service_start_failed(&operation.id, owner, save, service, &failed).await?;
            }
            _ => {
                let Some((_, facts)) = nodes::found(work).into_iter().next() else {
                    return Err(NotClosed::Store(ostler_store::Error::Corrupt("node of a service")));
                };
                let paid_until = ostler_store::now().saturating_add(self.0.billing.tariff().period_micros());
                let done = event("service.start.done", json!({}));
                store.service_started(&operation.id, owner, save, service, &facts, paid_until, &done).await?;
            }
        }
        Ok(())
    }
}
