//! What the tests of services begin with: a user with an application and credit, and orders.

use ostler_store::{
    Application, Idempotency, Lease, NewEvent, NewOperation, NewService, NewServiceNode, NodeFacts, NodeRole, Operation,
    OperationKind, Outcome, Progress, Save, Service, ServiceBegin, ServiceError, ServiceKind, ServiceNode, Store, User, now,
};
use serde_json::{Value, json};

use crate::credit::{balance, user};

pub(crate) const HOUR: i64 = 3_600_000_000;

/// How an operation ended.
pub(crate) struct End(Progress, Outcome);

impl End {
    pub(crate) fn save(&self) -> Save<'_> {
        Save { progress: &self.0, steps: &[], answered: false, events: &[], outcome: Some(&self.1) }
    }

    pub(crate) fn with_node(self, id: &str) -> Self {
        match self.1 {
            Outcome::Succeeded { output, .. } => Self(self.0, Outcome::Succeeded { node_id: Some(id.into()), output }),
            other => Self(self.0, other),
        }
    }
}

pub(crate) fn succeeded(output: Value) -> End {
    End(Progress::default(), Outcome::Succeeded { node_id: None, output: Some(output) })
}

pub(crate) fn failed(error: Value) -> End {
    End(Progress::default(), Outcome::Failed(error))
}

/// A user with an application and credit, and what they order.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) user: User,
    pub(crate) application: Application,
}

impl World {
    pub(crate) async fn new(store: &Store, name: &str, credit: i64) -> Self {
        let user = user(store, name, credit).await;
        let application = store.application_create(&user.id, "first").await.unwrap();
        Self { store: store.clone(), user, application }
    }

    pub(crate) fn service(&self, kind: ServiceKind) -> NewService {
        NewService {
            application_id: self.application.id,
            user_id: self.user.id.clone(),
            kind,
            type_name: "php".into(),
            name: "New php service".into(),
            cloud: "c".into(),
            number: None,
        }
    }

    pub(crate) async fn begin(&self, kind: ServiceKind, price: i64) -> Result<ServiceBegin, ServiceError> {
        self.store.service_begin(&self.service(kind), &node(price), &order(OperationKind::StartService), &[], &event("")).await
    }

    /// A service that runs.
    pub(crate) async fn running(&self, kind: ServiceKind, price: i64) -> Service {
        let (operation, service, nodes) = begun(self.begin(kind, price).await);
        let facts = facts(&nodes[0]);
        self.store
            .service_started(&operation.id, "me", &succeeded(json!({})).save(), service.id, &facts, HOUR, &event("x"))
            .await
            .unwrap()
    }

    pub(crate) async fn nodes_begin(&self, service: &Service, prices: &[i64]) -> Result<ServiceBegin, ServiceError> {
        let nodes: Vec<_> = prices.iter().map(|&price| NewServiceNode { role: NodeRole::Agent, ..node(price) }).collect();
        self.store.nodes_begin(service.id, &nodes, &order(OperationKind::AddNodes), &[], &event("x")).await
    }

    /// Nodes that are there.
    pub(crate) async fn nodes(&self, service: &Service, prices: &[i64]) -> Vec<ServiceNode> {
        let (operation, _, nodes) = begun(self.nodes_begin(service, prices).await);
        let facts: Vec<_> = nodes.iter().map(|node| (node.id, facts(node))).collect();
        self.store
            .nodes_added(&operation.id, "me", &succeeded(json!({})).save(), service.id, &facts, HOUR, &event("x"))
            .await
            .unwrap()
    }

    pub(crate) async fn stop_begin(&self, service: &Service) -> Result<ServiceBegin, ServiceError> {
        self.store.service_stop_begin(Some(&self.user.id), service.id, &order(OperationKind::StopService), &[], &event("x")).await
    }

    pub(crate) async fn remove_begin(&self, service: &Service, rows: &[i64]) -> Result<ServiceBegin, ServiceError> {
        self.store.nodes_remove_begin(service.id, rows, &order(OperationKind::RemoveNodes), &[], &event("x")).await
    }

    pub(crate) async fn balance(&self) -> i64 {
        balance(&self.store, &self.user).await
    }

    /// All that a refused call must not change.
    pub(crate) async fn everything(&self) -> String {
        let store = &self.store;
        let services = store.services(&self.user.id, None).await.unwrap();
        let nodes = store.service_nodes_of_user(&self.user.id).await.unwrap();
        let history = store.credit_history(&self.user.id, None, 1000).await.unwrap();
        let operations = store.operations_list(&Default::default(), None, 1000).await.unwrap();
        let filter = ostler_store::CertificateFilter { include_ended: true, ..Default::default() };
        let certificates = store.certificates(&filter, None, 1000).await.unwrap();
        let outputs: Vec<_> = operations.iter().map(|o| (&o.output, &o.error, o.updated_at)).collect();
        let event = store.event_last().await.unwrap();
        format!("{services:?} {nodes:?} {history:?} {operations:?} {outputs:?} {certificates:?} {event} {}", self.balance().await)
    }
}

pub(crate) fn node(price: i64) -> NewServiceNode {
    NewServiceNode {
        token: format!("t-{:032x}", unique()),
        role: NodeRole::Manager,
        cloud: "c".into(),
        size: "small".into(),
        price,
        member_id: None,
    }
}

pub(crate) fn unique() -> u64 {
    static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

pub(crate) fn order(kind: OperationKind) -> NewOperation {
    NewOperation {
        cloud: "c".into(),
        kind,
        token: None,
        node_id: None,
        input: json!({}),
        input_hash: vec![1],
        driver_digest: None,
        actor: "alice".into(),
        lease: Some(Lease { owner: "me".into(), until: now() + HOUR }),
        idempotency: None,
    }
}

pub(crate) fn keyed(kind: OperationKind, key: &str, hash: u8) -> NewOperation {
    let idempotency = Idempotency { scope: "s".into(), key: key.into() };
    NewOperation { idempotency: Some(idempotency), input_hash: vec![hash], ..order(kind) }
}

pub(crate) fn event(subject: &str) -> NewEvent {
    NewEvent { kind: "k".into(), subject: subject.into(), cloud: None, actor: "alice".into(), data: json!({}) }
}

pub(crate) fn facts(node: &ServiceNode) -> NodeFacts {
    NodeFacts { node_id: format!("n-{}", node.id), name: format!("name-{}", node.id), address: Some("192.0.2.1".into()) }
}

pub(crate) fn begun(outcome: Result<ServiceBegin, ServiceError>) -> (Operation, Service, Vec<ServiceNode>) {
    match outcome.unwrap() {
        ServiceBegin::New { operation, service, nodes } => (operation, service, nodes),
        ServiceBegin::Existing(operation) => panic!("{operation:?} existed"),
    }
}

pub(crate) fn existing(outcome: Result<ServiceBegin, ServiceError>) -> Operation {
    match outcome.unwrap() {
        ServiceBegin::Existing(operation) => operation,
        ServiceBegin::New { operation, .. } => panic!("{operation:?} is new"),
    }
}
