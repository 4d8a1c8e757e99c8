//! The nodes of services: the one of the manager and those that it orders. Each is paid for by the period, in advance.

use crate::credit;
use crate::db::{Row, Tx, args, transaction};
use crate::events::append;
use crate::operations::{known, text_enum};
use crate::services::{lock, service, service_columns};
use crate::work::{self, Save, Step};
use crate::{
    Begin, CreditError, Error, NewEvent, NewOperation, Operation, Outcome, Progress, Service, ServiceBegin, ServiceError,
    ServiceKind, ServiceState, Store,
};

text_enum! {
    /// What a node is for.
    NodeRole, "role of a node" {
        /// The service's manager runs on it.
        Manager = "manager",
        /// The service's work is done on it.
        Agent = "agent",
    }
}

text_enum! {
    /// How far a node of a service is.
    ServiceNodeState, "state of a node" {
        /// It is to exist, and may already.
        Intended = "intended",
        /// It exists and is paid for.
        Present = "present",
        /// It is not to exist, and may still.
        Doomed = "doomed",
    }
}

/// A node of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceNode {
    /// A number that is never used again.
    pub id: i64,
    /// Whose it is.
    pub service_id: i64,
    /// For which of an application's members.
    pub member_id: Option<i64>,
    /// What it is for.
    pub role: NodeRole,
    /// Its cloud.
    pub cloud: String,
    /// Its size.
    pub size: String,
    /// The token with which it is ordered at the provider.
    pub token: String,
    /// Its identifier at the provider, once it is known.
    pub node_id: Option<String>,
    /// Its name, once it is known.
    pub name: Option<String>,
    /// Where it is reached, once that is known.
    pub address: Option<String>,
    /// What a period of it costs.
    pub price: i64,
    /// How far it is.
    pub state: ServiceNodeState,
    /// The operation that adds or removes it.
    pub operation: Option<String>,
    /// The price that is set aside for it, as long as it is.
    pub reservation: Option<i64>,
    /// When it was written down, in microseconds UTC.
    pub created_at: i64,
    /// Until when it is paid for, in microseconds UTC.
    pub paid_until: Option<i64>,
}

/// A node to order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewServiceNode {
    /// See [`ServiceNode::token`].
    pub token: String,
    /// See [`ServiceNode::role`].
    pub role: NodeRole,
    /// See [`ServiceNode::cloud`].
    pub cloud: String,
    /// See [`ServiceNode::size`].
    pub size: String,
    /// See [`ServiceNode::price`].
    pub price: i64,
    /// See [`ServiceNode::member_id`].
    pub member_id: Option<i64>,
}

/// What is known of a node at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// See [`ServiceNode::node_id`].
    pub node_id: String,
    /// See [`ServiceNode::name`].
    pub name: String,
    /// See [`ServiceNode::address`].
    pub address: Option<String>,
}

/// The columns of a node.
macro_rules! columns {
    () => {
        "service_nodes.id, service_nodes.service_id, service_nodes.member_id, service_nodes.role, service_nodes.cloud, \
         service_nodes.size, service_nodes.token, service_nodes.node_id, service_nodes.name, service_nodes.address, \
         service_nodes.price, service_nodes.state, service_nodes.operation, service_nodes.reservation, \
         service_nodes.created_at, service_nodes.paid_until"
    };
}

/// How many they are.
const COLUMNS: usize = 16;

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT ", columns!(), " FROM service_nodes ", $rest)
    };
}

const OF_SERVICE: &str = select!("WHERE service_id = $1 ORDER BY id");
const OF_OPERATION: &str = select!("WHERE operation = $1 ORDER BY id");

impl Store {
    /// Notes what is known of a node that is intended or present. Whether there is one.
    pub async fn service_node_found(&self, node_row: i64, facts: &NodeFacts) -> Result<bool, Error> {
        let sql = "UPDATE service_nodes SET node_id = $2, name = $3, address = $4 \
                   WHERE id = $1 AND state IN ('intended', 'present') RETURNING 1";
        let args = args![node_row, &facts.node_id, &facts.name, &facts.address];
        Ok(self.db().write_count(sql, args).await? > 0)
    }

    /// The node of a service that is ordered with this token.
    pub async fn service_node_by_token(&self, token: &str) -> Result<Option<ServiceNode>, Error> {
        self.db().optional(select!("WHERE token = $1"), args![token]).await?.as_ref().map(node).transpose()
    }

    /// Forgets a node that is doomed or intended, and is not at the provider any more; what is set aside for it comes back.
    /// Whether there was one.
    pub async fn service_node_gone(&self, node_row: i64) -> Result<bool, Error> {
        transaction!(self.db(), |tx| gone(tx, node_row))
    }

    /// Writes down the intent to add nodes to a service: the operation with its steps, as [`Store::work_begin`] does it, the nodes,
    /// the price of each set aside, and the event. [`ServiceError::Busy`] where the service does not run.
    pub async fn nodes_begin(
        &self,
        service_id: i64,
        nodes: &[NewServiceNode],
        op: &NewOperation,
        steps: &[Step],
        event: &NewEvent,
    ) -> Result<ServiceBegin, ServiceError> {
        transaction!(self.db(), |tx| add(tx, service_id, nodes, op, steps, event))
    }

    /// Saves the end of the operation that adds nodes, as [`Store::work_save`] does it, and that all of them are there and paid for
    /// until then. [`ServiceError::Busy`] where the service does not run any more: the caller undoes what it did.
    #[expect(clippy::too_many_arguments, reason = "all of it is one transaction")]
    pub async fn nodes_added(
        &self,
        op: &str,
        owner: &str,
        end: &Save<'_>,
        service_id: i64,
        facts: &[(i64, NodeFacts)],
        paid_until: i64,
        event: &NewEvent,
    ) -> Result<Vec<ServiceNode>, ServiceError> {
        transaction!(self.db(), |tx| added(tx, op, owner, end, service_id, facts, paid_until, event))
    }

    /// Saves the end of the operation that was to add nodes, as [`Store::work_save`] does it, and that they are not added: what is
    /// left of them is forgotten and the credit is back.
    pub async fn nodes_failed(&self, op: &str, owner: &str, end: &Save<'_>, event: &NewEvent) -> Result<(), Error> {
        transaction!(self.db(), |tx| async {
            work::store(tx, op, owner, end).await?;
            for node in of_operation(tx, op).await? {
                forget(tx, &node, &event.actor).await?;
            }
            append(tx, event).await?;
            Ok::<_, Error>(())
        })
    }

    /// Writes down the intent to remove agents of a service: they are doomed. All must be present and the service's, otherwise it
    /// is [`ServiceError::NotFound`]; [`ServiceError::Busy`] where the service does not run.
    pub async fn nodes_remove_begin(
        &self,
        service_id: i64,
        rows: &[i64],
        op: &NewOperation,
        steps: &[Step],
        event: &NewEvent,
    ) -> Result<ServiceBegin, ServiceError> {
        transaction!(self.db(), |tx| remove(tx, service_id, rows, op, steps, event))
    }

    /// Saves the end of the operation that removes nodes, as [`Store::work_save`] does it. [`ServiceError::Busy`] while one of them
    /// is left, unless the operation is given up: then they are forgotten.
    pub async fn nodes_removed(&self, op: &str, owner: &str, end: &Save<'_>, event: &NewEvent) -> Result<(), ServiceError> {
        transaction!(self.db(), |tx| async {
            work::store(tx, op, owner, end).await?;
            if matches!(end.outcome, Some(Outcome::Abandoned(_))) {
                for node in of_operation(tx, op).await? {
                    forget(tx, &node, &event.actor).await?;
                }
            }
            if !of_operation(tx, op).await?.is_empty() {
                return Err(ServiceError::Busy);
            }
            append(tx, event).await?;
            Ok(())
        })
    }

    /// The nodes of a service, the oldest first.
    pub async fn service_nodes(&self, service_id: i64) -> Result<Vec<ServiceNode>, Error> {
        self.db().all(OF_SERVICE, args![service_id]).await?.iter().map(node).collect()
    }

    /// The nodes of all services of a user, the oldest first.
    pub async fn service_nodes_of_user(&self, user_id: &str) -> Result<Vec<ServiceNode>, Error> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM service_nodes JOIN services ON services.id = service_id WHERE user_id = $1 ORDER BY service_nodes.id"
        );
        self.db().all(sql, args![user_id]).await?.iter().map(node).collect()
    }

    /// The nodes that an operation adds or removes, the oldest first.
    pub async fn service_nodes_of_operation(&self, op: &str) -> Result<Vec<ServiceNode>, Error> {
        self.db().all(OF_OPERATION, args![op]).await?.iter().map(node).collect()
    }

    /// The node with this identifier at the provider; the latest, where the provider has given it again.
    pub async fn service_node_by_provider(&self, cloud: &str, node_id: &str) -> Result<Option<ServiceNode>, Error> {
        let sql = select!("WHERE cloud = $1 AND node_id = $2 ORDER BY id DESC LIMIT 1");
        self.db().optional(sql, args![cloud, node_id]).await?.as_ref().map(node).transpose()
    }

    /// Up to `limit` nodes of running services that are paid for until `now` or less, by services' and then by nodes' age; those
    /// that come after the node with these numbers of its service and of its own.
    pub async fn nodes_due(&self, now: i64, after: Option<(i64, i64)>, limit: u32) -> Result<Vec<(ServiceNode, Service)>, Error> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            ", ",
            service_columns!(),
            " FROM service_nodes JOIN services ON services.id = service_id \
             WHERE service_nodes.state = 'present' AND paid_until <= $1 AND services.state = 'running' \
             AND (service_id, service_nodes.id) > ($2, $3) ORDER BY service_id, service_nodes.id LIMIT $4"
        );
        let (service_id, id) = after.unwrap_or_default();
        let rows = self.db().all(sql, args![now, service_id, id, limit]).await?;
        rows.iter().map(|row| Ok((node(row)?, service(row, COLUMNS)?))).collect()
    }

    /// Pays for the next period of a present node of a running service: from what the service has in advance as far as that
    /// reaches, the rest from its user's account, with the reference `node:<row>:<paid_until_expected>`. False where the node is
    /// not paid for until `paid_until_expected`, or is no such node any more; nothing is charged then.
    pub async fn node_charge(
        &self,
        node_row: i64,
        paid_until_expected: i64,
        next_paid_until: i64,
        actor: &str,
    ) -> Result<bool, CreditError> {
        if next_paid_until <= paid_until_expected {
            return Err(Error::Invalid("a period that does not end after its beginning").into());
        }
        transaction!(self.db(), |tx| pay(tx, node_row, paid_until_expected, next_paid_until, actor))
    }
}

/// Writes down nodes to be ordered, and sets their prices aside.
pub(crate) async fn intend(
    tx: &mut Tx,
    service: &Service,
    nodes: &[NewServiceNode],
    operation: &Operation,
) -> Result<Vec<ServiceNode>, ServiceError> {
    let sql = concat!(
        "INSERT INTO service_nodes (service_id, member_id, role, cloud, size, token, price, state, operation, reservation, \
         created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, 'intended', $8, $9, $10) RETURNING ",
        columns!()
    );
    let note = format!("nodes of service {}", service.id);
    let mut intended = Vec::new();
    let mut reserved = 0;
    for new in nodes {
        let reservation = match credit::reserve(tx, &service.user_id, new.price, &note, &operation.actor).await {
            Ok(entry) => entry.id,
            // What this order has set aside so far is not gone.
            Err(CreditError::Insufficient { balance }) => {
                return Err(ServiceError::Insufficient { balance: balance + reserved });
            }
            Err(error) => return Err(error.into()),
        };
        reserved += new.price;
        let args = args![
            service.id,
            new.member_id,
            new.role.as_str(),
            &new.cloud,
            &new.size,
            &new.token,
            new.price,
            &operation.id,
            reservation,
            crate::now(),
        ];
        let row = tx.one(sql, args).await.map_err(|error| error.about("a node with this token"))?;
        intended.push(node(&row)?);
    }
    Ok(intended)
}

/// Writes down that an intended node is there, and spends what is set aside for it.
pub(crate) async fn arrive(
    tx: &mut Tx,
    intended: &ServiceNode,
    facts: &NodeFacts,
    paid_until: i64,
    actor: &str,
) -> Result<ServiceNode, ServiceError> {
    let sql = concat!(
        "UPDATE service_nodes SET state = 'present', node_id = $2, name = $3, address = $4, paid_until = $5, \
         operation = NULL, reservation = NULL WHERE id = $1 AND state = 'intended' RETURNING ",
        columns!()
    );
    let args = args![intended.id, &facts.node_id, &facts.name, &facts.address, paid_until];
    let row = tx.optional(sql, args).await?.ok_or(ServiceError::NotFound)?;
    if let Some(reservation) = intended.reservation {
        credit::close(tx, reservation, None, actor).await?;
    }
    Ok(node(&row)?)
}

/// Forgets a node; what is set aside for it comes back.
pub(crate) async fn forget(tx: &mut Tx, node: &ServiceNode, actor: &str) -> Result<(), Error> {
    if tx.execute("DELETE FROM service_nodes WHERE id = $1", args![node.id]).await? == 0 {
        return Ok(());
    }
    let Some(reservation) = node.reservation else {
        return Ok(());
    };
    match credit::close(tx, reservation, Some(0), actor).await {
        // Nothing is kept back, whoever closed it.
        Ok(_) | Err(CreditError::Closed) => Ok(()),
        Err(CreditError::Insufficient { .. }) => Err(Error::Corrupt("account")),
        Err(CreditError::Store(error)) => Err(error),
    }
}

/// The nodes of a service, in the caller's transaction.
pub(crate) async fn of_service(tx: &mut Tx, service_id: i64) -> Result<Vec<ServiceNode>, Error> {
    tx.all(OF_SERVICE, args![service_id]).await?.iter().map(node).collect()
}

/// The nodes of an operation, in the caller's transaction.
pub(crate) async fn of_operation(tx: &mut Tx, op: &str) -> Result<Vec<ServiceNode>, Error> {
    tx.all(OF_OPERATION, args![op]).await?.iter().map(node).collect()
}

/// Dooms all present nodes of a service.
pub(crate) async fn doom_all(tx: &mut Tx, service_id: i64, op: &str) -> Result<Vec<ServiceNode>, Error> {
    let sql = concat!(
        "UPDATE service_nodes SET state = 'doomed', operation = $2 WHERE service_id = $1 AND state = 'present' RETURNING ",
        columns!()
    );
    let rows = tx.all(sql, args![service_id, op]).await?;
    let mut doomed = rows.iter().map(node).collect::<Result<Vec<_>, _>>()?;
    doomed.sort_by_key(|node| node.id);
    Ok(doomed)
}

async fn gone(tx: &mut Tx, node_row: i64) -> Result<bool, Error> {
    let sql = "SELECT service_id FROM service_nodes WHERE id = $1";
    let Some(row) = tx.optional(sql, args![node_row]).await? else {
        return Ok(false);
    };
    lock(tx, row.get(0)?).await?;
    let sql = select!("WHERE id = $1 AND state IN ('intended', 'doomed')");
    match tx.optional(sql, args![node_row]).await? {
        Some(row) => forget(tx, &node(&row)?, "host").await.map(|()| true),
        None => Ok(false),
    }
}

/// Locks a service that must run.
async fn lock_running(tx: &mut Tx, service_id: i64) -> Result<Service, ServiceError> {
    let service = lock(tx, service_id).await?.filter(|service| service.kind != ServiceKind::Member);
    let service = service.ok_or(ServiceError::NotFound)?;
    if service.state == ServiceState::Running { Ok(service) } else { Err(ServiceError::Busy) }
}

async fn add(
    tx: &mut Tx,
    service_id: i64,
    nodes: &[NewServiceNode],
    op: &NewOperation,
    steps: &[Step],
    event: &NewEvent,
) -> Result<ServiceBegin, ServiceError> {
    if let Some(operation) = known(tx, op).await? {
        return Ok(ServiceBegin::Existing(operation));
    }
    let service = lock_running(tx, service_id).await?;
    for member in nodes.iter().filter_map(|node| node.member_id) {
        let sql = "SELECT 1 FROM services WHERE id = $1 AND application_id = $2 AND kind = 'member'";
        if tx.optional(sql, args![member, service.application_id]).await?.is_none() {
            return Err(ServiceError::NotFound);
        }
    }
    let operation = match start(tx, service_id, op, steps).await? {
        Begin::Existing(operation) => return Ok(ServiceBegin::Existing(operation)),
        Begin::New(operation) => operation,
    };
    let nodes = intend(tx, &service, nodes, &operation).await?;
    append(tx, event).await?;
    Ok(ServiceBegin::New { operation, service, nodes })
}

/// Begins an operation on the nodes of a service.
async fn start(tx: &mut Tx, service_id: i64, op: &NewOperation, steps: &[Step]) -> Result<Begin, Error> {
    work::begin(tx, op, Some(&service_id.to_string()), &Progress::default(), steps, None).await
}

#[expect(clippy::too_many_arguments, reason = "all of it is one transaction")]
async fn added(
    tx: &mut Tx,
    op: &str,
    owner: &str,
    end: &Save<'_>,
    service_id: i64,
    facts: &[(i64, NodeFacts)],
    paid_until: i64,
    event: &NewEvent,
) -> Result<Vec<ServiceNode>, ServiceError> {
    work::store(tx, op, owner, end).await?;
    lock_running(tx, service_id).await?;
    let intended = of_operation(tx, op).await?;
    if intended.len() != facts.len() {
        return Err(Error::Invalid("other nodes than those of the operation").into());
    }
    let mut present = Vec::new();
    for intended in &intended {
        let facts = facts.iter().find(|(row, _)| *row == intended.id && intended.service_id == service_id);
        let (_, facts) = facts.ok_or(ServiceError::NotFound)?;
        present.push(arrive(tx, intended, facts, paid_until, &event.actor).await?);
    }
    append(tx, event).await?;
    Ok(present)
}

async fn remove(
    tx: &mut Tx,
    service_id: i64,
    rows: &[i64],
    op: &NewOperation,
    steps: &[Step],
    event: &NewEvent,
) -> Result<ServiceBegin, ServiceError> {
    if let Some(operation) = known(tx, op).await? {
        return Ok(ServiceBegin::Existing(operation));
    }
    let service = lock_running(tx, service_id).await?;
    let operation = match start(tx, service_id, op, steps).await? {
        Begin::Existing(operation) => return Ok(ServiceBegin::Existing(operation)),
        Begin::New(operation) => operation,
    };
    let mut rows = rows.to_vec();
    rows.sort_unstable();
    rows.dedup();
    let sql = concat!(
        "UPDATE service_nodes SET state = 'doomed', operation = $3 \
         WHERE id = $1 AND service_id = $2 AND role = 'agent' AND state = 'present' RETURNING ",
        columns!()
    );
    let mut nodes = Vec::new();
    for row in rows {
        let doomed = tx.optional(sql, args![row, service_id, &operation.id]).await?;
        nodes.push(node(&doomed.ok_or(ServiceError::NotFound)?)?);
    }
    append(tx, event).await?;
    Ok(ServiceBegin::New { operation, service, nodes })
}

async fn pay(tx: &mut Tx, node_row: i64, expected: i64, next: i64, actor: &str) -> Result<bool, CreditError> {
    let sql = "SELECT service_id FROM service_nodes WHERE id = $1";
    let Some(row) = tx.optional(sql, args![node_row]).await? else {
        return Ok(false);
    };
    let service = lock(tx, row.get(0)?).await?;
    let Some(service) = service.filter(|service| service.state == ServiceState::Running) else {
        return Ok(false);
    };
    let sql = "UPDATE service_nodes SET paid_until = $3 WHERE id = $1 AND state = 'present' AND paid_until = $2 RETURNING price";
    let Some(row) = tx.optional(sql, args![node_row, expected, next]).await? else {
        return Ok(false);
    };
    let price: i64 = row.get(0)?;
    let in_advance = service.prepaid.min(price);
    if in_advance > 0 {
        tx.execute("UPDATE services SET prepaid = prepaid - $2 WHERE id = $1", args![service.id, in_advance]).await?;
    }
    if price > in_advance {
        let reference = format!("node:{node_row}:{expected}");
        let note = format!("node {node_row} of service {}", service.id);
        credit::charge(tx, &service.user_id, price - in_advance, Some(&reference), &note, actor).await?;
    }
    Ok(true)
}

fn node(row: &Row) -> Result<ServiceNode, Error> {
    Ok(ServiceNode {
        id: row.get(0)?,
        service_id: row.get(1)?,
        member_id: row.get(2)?,
        role: NodeRole::parse(&row.get::<String>(3)?)?,
        cloud: row.get(4)?,
        size: row.get(5)?,
        token: row.get(6)?,
        node_id: row.get(7)?,
        name: row.get(8)?,
        address: row.get(9)?,
        price: row.get(10)?,
        state: ServiceNodeState::parse(&row.get::<String>(11)?)?,
        operation: row.get(12)?,
        reservation: row.get(13)?,
        created_at: row.get(14)?,
        paid_until: row.get(15)?,
    })
}
