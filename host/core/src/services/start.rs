//! Starting a service: credit, certificate, node, address — or none of them.

use super::{POLL, POLL_SLOWLY, Services, address, event, facts, locator, user_data};
use crate::Error;
use crate::compute::{Ended, Key, ensure, failure, recorded_failure, valid};
use crate::identity::{Permission, Principal};
use crate::kill;
use crate::model::{Node, NodeSpec, NodeState};
use ostler_drivers::{Cloud, ErrorKind};
use ostler_store::{
    NewService, NewServiceNode, NodeRole, Operation, OperationKind, OperationState, Service, ServiceBegin, ServiceKind,
    ServiceNode, ServiceState,
};
use serde_json::json;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
            Begun::Now(work) => work.await,
        }
    }

    /// Writes the intent down; what is left is to carry it out.
    pub(super) async fn begin(self: &Arc<Self>, who: &Principal, order: Order, key: Option<Key>) -> Result<Begun, Error> {
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
        let token = uuid::Uuid::now_v7().to_string();
        let price = self.billing.tariff().price(cloud.name(), &machine.size);
        let node = NewServiceNode {
            token: token.clone(),
            role: NodeRole::Manager,
            cloud: cloud.name().to_owned(),
            size: machine.size.clone(),
            price,
            member_id: None,
        };
        let input = json!({
            "application": application.id, "type": order.type_name, "cloud": cloud.name(), "user": account.id, "resume": key.is_some(),
        });
        let mut operation = self.operation(who, OperationKind::StartService, &cloud, input, key);
        operation.token = Some(token);
        let begun = event("service.start.intent", "", cloud.name(), &who.user);
        match self.store.service_begin(&new, &node, &operation, &begun).await? {
            ServiceBegin::Existing(operation) => Ok(Begun::Before(Box::new(operation))),
            ServiceBegin::New { operation, .. } => {
                let (this, mine) = (Arc::clone(self), operation.clone());
                let work = async move {
                    let cloud = this.cloud(&mine.cloud)?;
                    this.hold(&mine, &cloud, this.start_now(&cloud, &mine)).await
                };
                let this = Arc::clone(self);
                Ok(Begun::Now(Box::pin(async move { this.detached(&operation, work).await })))
            }
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

    /// Service and manager's node of an operation.
    async fn of_operation(&self, operation: &Operation) -> Result<(Service, ServiceNode), Error> {
        let service = self.store.services_by_operation(&operation.id).await?.into_iter().next();
        let node = self.store.service_nodes_of_operation(&operation.id).await?.into_iter().next();
        service.zip(node).ok_or(Error::Store(ostler_store::Error::Corrupt("service of an operation")))
    }

    /// Makes the service of this operation run, or not exist.
    async fn start_now(&self, cloud: &Arc<Cloud>, operation: &Operation) -> Result<Service, Error> {
        kill::point("service.start.begun");
        let (service, node) = self.of_operation(operation).await?;
        match self.bring_up(cloud, operation, &service, &node).await {
            Ok(machine) => self.started(operation, &service, &machine).await,
            // Whether the node exists is not known: the operation stays, and with it the duty to find out.
            Err(Down::Unknown(error)) => Err(Error::Uncertain { operation: operation.id.clone(), reason: error.message }),
            Err(Down::Failed(error)) => {
                self.undo(cloud, operation, &service, &node, &error).await?;
                Err(error)
            }
        }
    }

    async fn started(&self, operation: &Operation, service: &Service, machine: &Node) -> Result<Service, Error> {
        let paid_until = ostler_store::now().saturating_add(self.billing.tariff().period_micros());
        let output = json!({ "service": service.id, "node": machine.id });
        let done = event("service.start.done", &service.id.to_string(), &service.cloud, &operation.actor);
        let owner = self.compute.owner();
        let service =
            self.store.service_started(&operation.id, owner, service.id, &facts(machine), paid_until, output, &done).await?;
        kill::point("service.start.done");
        Ok(service)
    }

    /// Certificate, node, address.
    async fn bring_up(
        &self,
        cloud: &Arc<Cloud>,
        operation: &Operation,
        service: &Service,
        node: &ServiceNode,
    ) -> Result<Node, Down> {
        let spec = self.manager_spec(cloud, service).await?;
        kill::point("service.start.certified");
        let made = match ensure(cloud, &node.token, spec).await {
            Ok(made) => made.value,
            Err(Ended::Failed(error)) => return Err(Down::Failed(error.into())),
            Err(Ended::Unknown(error)) => return Err(Down::Unknown(error)),
        };
        kill::point("service.start.ordered");
        self.store.service_node_found(node.id, &facts(&made)).await?;
        kill::point("service.start.noted");
        let ready = self.reachable(cloud, made, &operation.id).await?;
        kill::point("service.start.addressed");
        Ok(ready)
    }

    /// The order for a manager's node. Each try has a certificate of its own; those of earlier tries are revoked.
    async fn manager_spec(&self, cloud: &Arc<Cloud>, service: &Service) -> Result<NodeSpec, Down> {
        let user = self.store.user_get(&service.user_id).await?.ok_or(Error::Unauthenticated)?;
        let machine = self.machine(&service.type_name, &service.cloud)?;
        self.store.certificates_revoke_service(service.id, "superseded").await?;
        let bundle = self.authority.issue_manager(&user, service.id, locator(service)).await?;
        let name = match service.kind {
            ServiceKind::Manager => format!("{}-u{}-a{}-mgr", self.settings.prefix, user.number, service.application_id),
            _ => format!("{}-u{}-s{}-{}-mgr", self.settings.prefix, user.number, service.id, service.type_name),
        };
        let mut spec = NodeSpec::new(name, machine.image, machine.size);
        spec.public_address = true;
        spec.user_data = Some(user_data::manager(&self.settings, service, user.number, &bundle).into_bytes());
        valid(cloud, &spec).await?;
        Ok(spec)
    }

    /// Waits until the node has an address.
    pub(super) async fn reachable(&self, cloud: &Arc<Cloud>, node: Node, operation: &str) -> Result<Node, Down> {
        let (began, mut node) = (Instant::now(), node);
        let limit = self.settings.start_timeout;
        loop {
            match node.state {
                NodeState::Failed | NodeState::Terminated | NodeState::Terminating => {
                    let why = node.state_detail.unwrap_or_else(|| "it gave no reason".into());
                    return Err(failed(format!("the node failed while it was built: {why}")));
                }
                NodeState::Pending => {}
                _ if address(&node).is_some() => return Ok(node),
                _ => {}
            }
            let waited = began.elapsed();
            if waited >= limit {
                return Err(failed(format!("the node had no address after {} s", limit.as_secs())));
            }
            tokio::time::sleep((POLL + waited / 10).min(POLL_SLOWLY).min(limit - waited)).await;
            node = match cloud.get_node(&node.id).await {
                Ok(now) => now,
                Err(error) if error.kind == ErrorKind::NotFound => return Err(failed("the node has disappeared".into())),
                // A provider that does not answer for a while has not lost the node.
                Err(error) => {
                    tracing::debug!(operation, %error, "a node that is being built could not be looked at");
                    node
                }
            };
        }
    }

    /// Makes the node not exist, and then gives the credit back and forgets the service.
    async fn undo(
        &self,
        cloud: &Arc<Cloud>,
        operation: &Operation,
        service: &Service,
        node: &ServiceNode,
        why: &Error,
    ) -> Result<(), Error> {
        self.vanish(cloud, operation, &node.token).await?;
        kill::point("service.start.undone");
        let failed = event("service.start.failed", &service.id.to_string(), &service.cloud, &operation.actor);
        let failed = ostler_store::NewEvent { data: json!({ "error": why.to_string() }), ..failed };
        self.store.service_start_failed(&operation.id, self.compute.owner(), service.id, failure(why), &failed).await?;
        kill::point("service.start.failed");
        Ok(())
    }

    /// Makes sure that no node has this token. An error where that cannot be known now.
    pub(super) async fn vanish(&self, cloud: &Arc<Cloud>, operation: &Operation, token: &str) -> Result<(), Error> {
        let uncertain =
            |error: ostler_drivers::Error| Error::Uncertain { operation: operation.id.clone(), reason: error.to_string() };
        for pause in [50, 200, 800] {
            // By the token and not by the identifier, which some providers give again.
            let error = match cloud.find_node(token).await {
                Ok(None) => return Ok(()),
                Ok(Some(node)) if node.state == NodeState::Terminated => return Ok(()),
                Ok(Some(node)) => match destroy_only(cloud, &node.id, token).await {
                    // It is looked for once more: an order to destroy may take its time.
                    Ok(()) => None,
                    Err(error) if error.kind == ErrorKind::NotFound => None,
                    Err(error) => Some(error),
                },
                Err(error) => Some(error),
            };
            match error {
                Some(error) if !error.kind.is_ambiguous() && !error.kind.is_fault() => return Err(uncertain(error)),
                Some(error) => tracing::debug!(operation = %operation.id, %error, "a node is not gone yet"),
                None => match cloud.find_node(token).await {
                    Ok(None) => return Ok(()),
                    Ok(Some(node)) if matches!(node.state, NodeState::Terminating | NodeState::Terminated) => return Ok(()),
                    _ => {}
                },
            }
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        Err(uncertain(ostler_drivers::Error::new(ErrorKind::Transient, "a node could not be destroyed yet")))
    }

    /// Finishes what has a client who will ask again, and undoes what has none: he was told nothing, and will order anew.
    pub(super) async fn take_up_start(&self, operation: &Operation) -> Result<(), Error> {
        let cloud = self.cloud(&operation.cloud)?;
        let (service, node) = self.of_operation(operation).await?;
        let resume = operation.input["resume"].as_bool().unwrap_or_default() && service.state == ServiceState::Starting;
        if !resume {
            let why = Error::Invalid("interrupted before the service had started".into());
            return self.undo(&cloud, operation, &service, &node, &why).await;
        }
        let result = match cloud.find_node(&node.token).await? {
            Some(found) => match self.reachable(&cloud, found, &operation.id).await {
                Ok(machine) => self.started(operation, &service, &machine).await,
                Err(Down::Unknown(error)) => Err(Error::Uncertain { operation: operation.id.clone(), reason: error.message }),
                Err(Down::Failed(error)) => return self.undo(&cloud, operation, &service, &node, &error).await,
            },
            None => self.start_now(&cloud, operation).await,
        };
        match result {
            Ok(_) => Ok(()),
            Err(error @ (Error::Uncertain { .. } | Error::Store(_))) => Err(error),
            // It ended, if not well.
            Err(_) => Ok(()),
        }
    }
}

/// Destroys the node with this identifier, if it is the one with this token: some providers give identifiers again.
pub(crate) async fn destroy_only(cloud: &Arc<Cloud>, id: &str, token: &str) -> Result<(), ostler_drivers::Error> {
    let node = cloud.get_node(id).await?;
    if node.token.as_deref().is_some_and(|other| other != token) {
        let message = format!("another node has the identifier `{id}` besides: it has to go first");
        return Err(ostler_drivers::Error::new(ErrorKind::Conflict, message));
    }
    cloud.destroy_node(id).await.map(drop)
}

/// A start whose intent is written down.
pub(super) enum Begun {
    /// Just now: this carries it out.
    Now(Pin<Box<dyn Future<Output = Result<Service, Error>> + Send>>),
    /// By an earlier request with the same key.
    Before(Box<Operation>),
}

/// Why a node is not up.
pub(super) enum Down {
    /// It is to be removed.
    Failed(Error),
    /// Nobody knows whether it exists.
    Unknown(ostler_drivers::Error),
}

impl From<Error> for Down {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<ostler_store::Error> for Down {
    fn from(error: ostler_store::Error) -> Self {
        Self::Failed(error.into())
    }
}

fn failed(message: String) -> Down {
    Down::Failed(Error::Cloud(ostler_drivers::Error::new(ErrorKind::Failed, message)))
}
