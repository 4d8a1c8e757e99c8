//! Services: a manager on a node of its own, the nodes that it orders, and the applications that users keep them in.
//!
//! Starting, stopping, adding and removing are operations of the scheduler: the intent with its tokens and the reserved credit is one
//! transaction, then come the steps at the providers, then outcome and payment in one transaction.

pub(crate) mod applications;
mod manager;
mod meter;
mod nodes;
mod settings;
mod start;
mod stop;
#[cfg(test)]
mod tests;
mod user_data;

pub use nodes::NodeOrder;
pub use settings::{Catalogue, Machine, Registration, ServiceType, Settings, sample_catalogue};
pub use start::Order;

use crate::Error;
use crate::authority::Authority;
use crate::billing::Billing;
use crate::compute::{Compute, Key};
use crate::identity::{Identity, Permission, Principal, Role, Scheme};
use crate::model::{Node, Reach};
use crate::scheduler::{Patience, Policy, Scheduler, Workflow};
use ostler_drivers::Cloud;
use ostler_store::{
    Idempotency, NewEvent, NewOperation, NodeFacts, OperationKind, Service, ServiceKind, ServiceNode, ServiceState, Store, User,
    Work,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How often a node is asked whether it has an address, at first and later.
const POLL: Duration = Duration::from_millis(100);
const POLL_SLOWLY: Duration = Duration::from_secs(5);
/// How long somebody waits for what has failed to be undone; it goes on without him.
const UNDOING: Duration = Duration::from_secs(30);

/// The use cases around services.
pub struct Services {
    compute: Arc<Compute>,
    identity: Arc<Identity>,
    authority: Arc<Authority>,
    billing: Arc<Billing>,
    store: Store,
    scheduler: Arc<Scheduler>,
    settings: Settings,
    policy: Policy,
    managers: Option<manager::Managers>,
    /// What the nodes are to do that are being made, by operation.
    orders: Mutex<HashMap<String, Arc<NodeOrder>>>,
}

impl Services {
    /// The use cases. [`Self::share`] lets them begin.
    pub fn new(
        compute: Arc<Compute>,
        identity: Arc<Identity>,
        authority: Arc<Authority>,
        billing: Arc<Billing>,
        scheduler: Arc<Scheduler>,
        settings: Settings,
    ) -> Self {
        let (store, policy, orders) = (compute.store().clone(), Policy::default(), Mutex::default());
        Self { compute, identity, authority, billing, store, scheduler, settings, policy, managers: None, orders }
    }

    /// Lets the scheduler carry out what is done about services.
    pub fn share(self) -> Arc<Self> {
        let this = Arc::new(self);
        let workflows: [(OperationKind, Arc<dyn Workflow>); 4] = [
            (OperationKind::StartService, Arc::new(start::Start(Arc::clone(&this)))),
            (OperationKind::StopService, Arc::new(stop::Stop(Arc::clone(&this)))),
            (OperationKind::AddNodes, Arc::new(nodes::Add(Arc::clone(&this)))),
            (OperationKind::RemoveNodes, Arc::new(stop::Stop(Arc::clone(&this)))),
        ];
        this.scheduler.install(HashMap::from(workflows));
        this
    }

    /// How they are configured.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The types of services that can be started, in the order of their names.
    pub fn types(&self) -> Vec<&str> {
        self.settings.catalogue.keys().map(String::as_str).collect()
    }

    /// The clouds on which they can be started, the default one first.
    pub fn clouds(&self) -> Vec<String> {
        let default = self.settings.cloud.as_str();
        let mut clouds: Vec<String> = self.compute.cloud_names();
        clouds.sort_by_key(|name| (name != default, name.clone()));
        clouds
    }

    /// Registers whoever comes from this address, where that is allowed, with as much credit as he asks for, within bounds.
    ///
    /// With a key, a second call returns the user of the first one; [`Error::KeyReused`] if it asks for something else.
    pub async fn register(
        &self,
        new: &crate::identity::Registration,
        credit: i64,
        key: Option<Key>,
        from: std::net::IpAddr,
    ) -> Result<User, Error> {
        if self.settings.registration == Registration::Closed {
            return Err(Error::RegistrationClosed);
        }
        if !(0..=self.settings.max_initial_credit).contains(&credit) {
            return Err(Error::Invalid(format!("the credit is between 0 and {}", self.settings.max_initial_credit)));
        }
        self.identity.register(new, &[Role::Customer], credit, key, from).await
    }

    /// Whether name and address for mail of a registration are nobody's yet. Only where registration is open.
    pub async fn check_free(&self, new: &crate::identity::Registration) -> Result<(), Error> {
        if self.settings.registration == Registration::Closed {
            return Err(Error::RegistrationClosed);
        }
        if self.store.user_by_name(&new.username).await?.is_some() {
            return Err(Error::Taken("the user"));
        }
        match &new.email {
            Some(email) if self.store.user_by_email(email).await?.is_some() => Err(Error::Taken("the e-mail address")),
            _ => Ok(()),
        }
    }

    /// The user who asks.
    pub async fn myself(&self, who: &Principal) -> Result<User, Error> {
        who.require(Permission::UseServices)?;
        self.store.user_get(&who.account()?.id).await?.ok_or(Error::Unauthenticated)
    }

    /// The services of whoever asks: of one of his applications, or all.
    pub async fn list(&self, who: &Principal, application: Option<i64>) -> Result<Vec<Service>, Error> {
        who.require(Permission::UseServices)?;
        let services = self.store.services(&who.account()?.id, application).await?;
        Ok(services.into_iter().filter(|service| service.state != ServiceState::Starting).collect())
    }

    /// All nodes of whoever asks, each with its service and the number that the node's service is known by: within its
    /// application, where that has a manager (0: none of its services).
    pub async fn resources(&self, who: &Principal) -> Result<Vec<(ServiceNode, Service, i64)>, Error> {
        who.require(Permission::UseServices)?;
        let account = who.account()?;
        let services = self.store.services(&account.id, None).await?;
        let nodes = self.store.service_nodes_of_user(&account.id).await?;
        let with_service = |node: ServiceNode| {
            let service = services.iter().find(|service| service.id == node.service_id)?.clone();
            let member = services.iter().find(|member| Some(member.id) == node.member_id);
            let number = match service.kind {
                ServiceKind::Manager => member.and_then(|member| member.number).unwrap_or_default(),
                ServiceKind::Service | ServiceKind::Member => service.id,
            };
            Some((node, service, number))
        };
        Ok(nodes.into_iter().filter_map(with_service).collect())
    }

    /// What was paid for a node so far, in credits: the periods until the end of the last one that was paid.
    pub fn charged(&self, node: &ServiceNode) -> i64 {
        let paid = node.paid_until.map_or(0, |until| until.saturating_sub(node.created_at));
        paid.saturating_add(self.billing.tariff().period_micros() / 2) / self.billing.tariff().period_micros().max(1) * node.price
    }

    /// Gives a service another name.
    pub async fn rename(&self, who: &Principal, service: i64, name: &str) -> Result<(), Error> {
        who.require(Permission::UseServices)?;
        applications::check_name(name)?;
        if self.store.service_rename(&who.account()?.id, service, name).await? { Ok(()) } else { Err(Error::NoService) }
    }

    /// Takes credit for node-hours of the manager's service in advance. The same reference takes it once.
    pub async fn prepay(&self, who: &Principal, amount: i64, reference: Option<&str>) -> Result<i64, Error> {
        if amount < 1 {
            return Err(Error::Invalid("a decrement is a number above zero".into()));
        }
        let service = self.managed(who).await?;
        let reference = reference.map(|reference| format!("prepay:{}:{reference}", service.id));
        match self.store.service_prepay(service.id, amount, reference.as_deref(), &who.user).await {
            // It was stopped in this moment.
            Err(ostler_store::CreditError::Store(ostler_store::Error::NotFound(_))) => Err(Error::NoService),
            other => Ok(other?.balance),
        }
    }

    /// The service whose manager asks: its certificate decides, whatever the request says.
    pub async fn managed(&self, who: &Principal) -> Result<Service, Error> {
        who.require(Permission::ManageService)?;
        let Scheme::Certificate { service: Some(service), .. } = who.scheme else { return Err(Error::Forbidden) };
        let service = self.store.service_of_user(&who.account()?.id, service).await?.ok_or(Error::NoService)?;
        // While it starts there is nobody yet who could pay or order nodes for it.
        if service.state == ServiceState::Running { Ok(service) } else { Err(Error::NoService) }
    }

    fn cloud(&self, name: &str) -> Result<Arc<Cloud>, Error> {
        self.compute.cloud(name)
    }

    fn operation(&self, who: &Principal, kind: OperationKind, cloud: &Cloud, input: Value, key: Option<Key>) -> NewOperation {
        NewOperation {
            cloud: cloud.name().to_owned(),
            kind,
            token: None,
            node_id: None,
            input_hash: Sha256::digest(format!("{}\n{input}", kind.as_str())).to_vec(),
            input,
            driver_digest: cloud.package().map(|package| package.digest.clone()),
            actor: who.user.clone(),
            lease: Some(self.scheduler.lease()),
            idempotency: key.map(|key| Idempotency { scope: format!("{}:{}", key.scope, who.user), key: key.key }),
        }
    }

    /// Carries an operation out that is written down, and waits for its end, but not longer than this.
    async fn carry_out(&self, operation: &str, limit: Duration) -> Result<Work, Error> {
        let work = self.store.work_get(operation).await?.ok_or_else(|| Error::NoOperation(operation.to_owned()))?;
        self.scheduler.carry_out(work, Patience::For(limit)).await
    }
}

/// The service that an operation is about.
fn subject(work: &Work) -> i64 {
    work.subject.as_deref().and_then(|subject| subject.parse().ok()).unwrap_or_default()
}

/// The number by which the manager of a service knows what it serves: its application's, if it manages a whole one.
pub fn locator(service: &Service) -> i64 {
    match service.kind {
        ServiceKind::Manager => service.application_id,
        ServiceKind::Service | ServiceKind::Member => service.id,
    }
}

/// The address by which a node is to be reached: a public one if it has one.
fn address(node: &Node) -> Option<String> {
    let public = node.addresses.iter().find(|address| address.reach == Reach::Public);
    public.or(node.addresses.first()).map(|address| address.ip.clone())
}

fn facts(node: &Node) -> NodeFacts {
    NodeFacts { node_id: node.id.clone(), name: node.name.clone(), address: address(node) }
}

fn event(kind: &str, subject: &str, cloud: &str, actor: &str) -> NewEvent {
    NewEvent {
        kind: kind.to_owned(),
        subject: subject.to_owned(),
        cloud: Some(cloud.to_owned()),
        actor: actor.to_owned(),
        data: json!({}),
    }
}
