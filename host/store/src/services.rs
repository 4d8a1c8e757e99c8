//! Services of users: their life from the intent to start them until nothing of them is left. Beginning and end of an operation on
//! one are each one transaction, with the credit that moves, the certificates that end and the event that tells of it.
//!
//! Whoever changes a service or its nodes locks the service's row first.

use crate::db::{Refusal, Row, Tx, args, transaction};
use crate::events::append;
use crate::operations::{get, known, text_enum};
use crate::service_nodes::{self, NewServiceNode, NodeFacts, ServiceNode};
use crate::work::{self, Save, Step};
use crate::{
    Begin, CreditEntry, CreditError, Error, NewEvent, NewOperation, Operation, Outcome, Progress, Store, certificates, credit,
};

text_enum! {
    /// What a service is.
    ServiceKind, "kind of service" {
        /// One that stands alone, with a manager of its own.
        Service = "service",
        /// The manager of an application as a whole. One an application.
        Manager = "manager",
        /// One that an application's manager keeps.
        Member = "member",
    }
}

text_enum! {
    /// How far a service is.
    ServiceState, "state of a service" {
        /// Its manager is not known to be up.
        Starting = "starting",
        /// It is up.
        Running = "running",
        /// It is being removed.
        Stopping = "stopping",
    }
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// A number that is never used again.
    pub id: i64,
    /// The application it is part of.
    pub application_id: i64,
    /// Whose it is.
    pub user_id: String,
    /// What it is.
    pub kind: ServiceKind,
    /// Its type, in the catalogue's words.
    pub type_name: String,
    /// What its user calls it.
    pub name: String,
    /// Its cloud.
    pub cloud: String,
    /// How far it is.
    pub state: ServiceState,
    /// Of a member: the number that the application's manager gave it.
    pub number: Option<i64>,
    /// Where its manager is reached.
    pub address: Option<String>,
    /// The manager's node.
    pub node_id: Option<String>,
    /// Credit that was taken for its nodes in advance and not used yet.
    pub prepaid: i64,
    /// The operation that starts or stops it.
    pub operation: Option<String>,
    /// When it was written down, in microseconds UTC.
    pub created_at: i64,
    /// When its name or its state last changed, in microseconds UTC.
    pub updated_at: i64,
}

/// A service to start, or a member to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewService {
    /// See [`Service::application_id`].
    pub application_id: i64,
    /// See [`Service::user_id`].
    pub user_id: String,
    /// See [`Service::kind`].
    pub kind: ServiceKind,
    /// See [`Service::type_name`].
    pub type_name: String,
    /// See [`Service::name`].
    pub name: String,
    /// See [`Service::cloud`].
    pub cloud: String,
    /// See [`Service::number`].
    pub number: Option<i64>,
}

/// How a change of a service began.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "it is returned once and taken apart at once")]
pub enum ServiceBegin {
    /// It is new.
    New {
        /// The operation.
        operation: Operation,
        /// The service, as it is now.
        service: Service,
        /// The nodes that it is about.
        nodes: Vec<ServiceNode>,
    },
    /// It had begun before, with this operation, in whatever state that is. Nothing was written.
    Existing(Operation),
}

/// Why a service was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The user's account does not have so much credit.
    #[error("not enough credit: {balance} left")]
    Insufficient {
        /// What it has.
        balance: i64,
    },
    /// The application, the service or the node does not exist, or is somebody else's.
    #[error("the service does not exist")]
    NotFound,
    /// It is in a state that does not allow it.
    #[error("the service is in a state that does not allow it")]
    Busy,
    /// The application has a manager, or a member with this number.
    #[error("the service exists already")]
    Exists,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
}

impl Refusal for ServiceError {
    fn is_contention(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_contention())
    }
}

impl From<CreditError> for ServiceError {
    fn from(error: CreditError) -> Self {
        match error {
            CreditError::Insufficient { balance } => Self::Insufficient { balance },
            // Only nodes' reservations get here, and nobody else is to close them.
            CreditError::Closed => Self::Store(Error::Corrupt("reservation")),
            CreditError::Store(error) => Self::Store(error),
        }
    }
}

/// The columns of a service.
macro_rules! service_columns {
    () => {
        "services.id, services.application_id, services.user_id, services.kind, services.type, services.name, \
         services.cloud, services.state, services.number, services.address, services.node_id, services.prepaid, \
         services.operation, services.created_at, services.updated_at"
    };
}
pub(crate) use service_columns;

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT ", service_columns!(), " FROM services ", $rest)
    };
}

impl Store {
    /// Writes down the intent to start a service: the operation with its steps, as [`Store::work_begin`] does it, the service, its
    /// manager's node, the node's price set aside, and the event, whose subject becomes the service's number.
    pub async fn service_begin(
        &self,
        new: &NewService,
        node: &NewServiceNode,
        op: &NewOperation,
        steps: &[Step],
        event: &NewEvent,
    ) -> Result<ServiceBegin, ServiceError> {
        transaction!(self.db(), |tx| start(tx, new, node, op, steps, event))
    }

    /// Saves the end of the operation that starts a service, as [`Store::work_save`] does it, and that the service runs: its node is
    /// there and paid for, until then.
    #[expect(clippy::too_many_arguments, reason = "all of it is one transaction")]
    pub async fn service_started(
        &self,
        op: &str,
        owner: &str,
        end: &Save<'_>,
        service_id: i64,
        facts: &NodeFacts,
        paid_until: i64,
        event: &NewEvent,
    ) -> Result<Service, Error> {
        transaction!(self.db(), |tx| started(tx, op, owner, end, service_id, facts, paid_until, event)).map_err(plain)
    }

    /// Saves the end of the operation that was to start a service, as [`Store::work_save`] does it, and that it does not start: the
    /// credit is back, the certificates are revoked, and service and node are forgotten.
    pub async fn service_start_failed(
        &self,
        op: &str,
        owner: &str,
        end: &Save<'_>,
        service_id: i64,
        event: &NewEvent,
    ) -> Result<(), Error> {
        transaction!(self.db(), |tx| start_failed(tx, op, owner, end, service_id, event)).map_err(plain)
    }

    /// Writes down a service that the application's manager keeps. The event's subject becomes its number. The manager must run:
    /// [`ServiceError::NotFound`] where there is none, [`ServiceError::Busy`] where it starts or stops.
    pub async fn service_member_add(&self, new: &NewService, event: &NewEvent) -> Result<Service, ServiceError> {
        transaction!(self.db(), |tx| member_add(tx, new, event))
    }

    /// Forgets a member of this user. Whether there was one. [`ServiceError::Busy`] while it has nodes.
    pub async fn service_member_remove(&self, user_id: &str, id: i64, event: &NewEvent) -> Result<bool, ServiceError> {
        transaction!(self.db(), |tx| member_remove(tx, user_id, id, event))
    }

    /// Writes down the intent to stop a service, of this user if one is given: its nodes are doomed. One that is being stopped
    /// already gives the operation that does it. [`ServiceError::Busy`] where it starts; a member is [`ServiceError::NotFound`].
    pub async fn service_stop_begin(
        &self,
        user_id: Option<&str>,
        service_id: i64,
        op: &NewOperation,
        steps: &[Step],
        event: &NewEvent,
    ) -> Result<ServiceBegin, ServiceError> {
        transaction!(self.db(), |tx| stop(tx, user_id, service_id, op, steps, event))
    }

    /// Saves the end of the operation that stops a service, as [`Store::work_save`] does it, and that nothing is left of it: the
    /// certificates are revoked, and the service and its members are forgotten. [`ServiceError::Busy`] while it has nodes, unless
    /// the operation is given up: then they are forgotten, too.
    pub async fn service_stopped(
        &self,
        op: &str,
        owner: &str,
        end: &Save<'_>,
        service_id: i64,
        event: &NewEvent,
    ) -> Result<(), ServiceError> {
        transaction!(self.db(), |tx| stopped(tx, op, owner, end, service_id, event))
    }

    /// Gives a service of this user another name. Whether there is one.
    pub async fn service_rename(&self, user_id: &str, id: i64, name: &str) -> Result<bool, Error> {
        let sql = "UPDATE services SET name = $3, updated_at = $4 WHERE id = $2 AND user_id = $1 RETURNING 1";
        Ok(self.db().write_count(sql, args![user_id, id, name, crate::now()]).await? > 0)
    }

    /// One service, whose it ever is.
    pub async fn service_get(&self, id: i64) -> Result<Option<Service>, Error> {
        let sql = select!("WHERE id = $1");
        self.db().optional(sql, args![id]).await?.map(|row| service(&row, 0)).transpose()
    }

    /// One service of this user.
    pub async fn service_of_user(&self, user_id: &str, id: i64) -> Result<Option<Service>, Error> {
        let sql = select!("WHERE id = $2 AND user_id = $1");
        self.db().optional(sql, args![user_id, id]).await?.map(|row| service(&row, 0)).transpose()
    }

    /// The services of a user, of one application or all, the oldest first.
    pub async fn services(&self, user_id: &str, application: Option<i64>) -> Result<Vec<Service>, Error> {
        let sql = select!("WHERE user_id = $1 AND (CAST($2 AS BIGINT) IS NULL OR application_id = $2) ORDER BY id");
        self.db().all(sql, args![user_id, application]).await?.iter().map(|row| service(row, 0)).collect()
    }

    /// The services that an operation starts or stops.
    pub async fn services_by_operation(&self, op: &str) -> Result<Vec<Service>, Error> {
        let sql = select!("WHERE operation = $1 ORDER BY id");
        self.db().all(sql, args![op]).await?.iter().map(|row| service(row, 0)).collect()
    }

    /// The manager of an application as a whole.
    pub async fn service_manager_of(&self, application_id: i64) -> Result<Option<Service>, Error> {
        let sql = select!("WHERE application_id = $1 AND kind = 'manager'");
        self.db().optional(sql, args![application_id]).await?.map(|row| service(&row, 0)).transpose()
    }

    /// Spends credit of the service's user in advance, for its nodes. A reference that is known changes nothing, as in
    /// [`Store::credit_charge`]. What is not used is not given back. [`Error::NotFound`] where there is no such service, or it
    /// is being stopped.
    pub async fn service_prepay(
        &self,
        service_id: i64,
        amount: i64,
        reference: Option<&str>,
        actor: &str,
    ) -> Result<CreditEntry, CreditError> {
        transaction!(self.db(), |tx| prepay(tx, service_id, amount, reference, actor))
    }
}

/// What the methods end with that can only fail as the store does.
fn plain(error: ServiceError) -> Error {
    match error {
        ServiceError::Store(error) => error,
        ServiceError::NotFound => Error::NotFound("the service of this operation"),
        ServiceError::Insufficient { .. } | ServiceError::Busy | ServiceError::Exists => Error::Corrupt("service"),
    }
}

/// Locks a service until the transaction's end; how it is.
pub(crate) async fn lock(tx: &mut Tx, id: i64) -> Result<Option<Service>, Error> {
    let sql = concat!("UPDATE services SET updated_at = updated_at WHERE id = $1 RETURNING ", service_columns!());
    tx.optional(sql, args![id]).await?.map(|row| service(&row, 0)).transpose()
}

/// Locks the service that an operation starts or stops.
async fn lock_of(tx: &mut Tx, id: i64, op: &str, state: ServiceState) -> Result<Service, ServiceError> {
    let service = lock(tx, id).await?.ok_or(ServiceError::NotFound)?;
    let its = service.operation.as_deref() == Some(op) && service.state == state;
    if its { Ok(service) } else { Err(ServiceError::NotFound) }
}

async fn insert(tx: &mut Tx, new: &NewService, state: ServiceState, op: Option<&str>) -> Result<Service, ServiceError> {
    let sql = "SELECT 1 FROM applications WHERE id = $1 AND user_id = $2";
    if tx.optional(sql, args![new.application_id, &new.user_id]).await?.is_none() {
        return Err(ServiceError::NotFound);
    }
    let sql = concat!(
        "INSERT INTO services (application_id, user_id, kind, type, name, cloud, state, number, operation, created_at, \
         updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10) RETURNING ",
        service_columns!()
    );
    let args = args![
        new.application_id,
        &new.user_id,
        new.kind.as_str(),
        &new.type_name,
        &new.name,
        &new.cloud,
        state.as_str(),
        new.number,
        op,
        crate::now(),
    ];
    match tx.one(sql, args).await {
        Ok(row) => Ok(service(&row, 0)?),
        Err(Error::Exists(_)) => Err(ServiceError::Exists),
        // The application was deleted at the same moment.
        Err(Error::NotFound(_)) => Err(ServiceError::NotFound),
        Err(error) => Err(error.into()),
    }
}

async fn start(
    tx: &mut Tx,
    new: &NewService,
    node: &NewServiceNode,
    op: &NewOperation,
    steps: &[Step],
    event: &NewEvent,
) -> Result<ServiceBegin, ServiceError> {
    if new.kind == ServiceKind::Member {
        return Err(Error::Invalid("a member that starts by itself").into());
    }
    let operation = match work::begin(tx, op, None, &Progress::default(), steps, None).await? {
        Begin::Existing(operation) => return Ok(ServiceBegin::Existing(operation)),
        Begin::New(operation) => operation,
    };
    let service = insert(tx, new, ServiceState::Starting, Some(&operation.id)).await?;
    let nodes = service_nodes::intend(tx, &service, std::slice::from_ref(node), &operation).await?;
    work::set_subject(tx, &operation.id, &service.id.to_string()).await?;
    append(tx, &NewEvent { subject: service.id.to_string(), ..event.clone() }).await?;
    Ok(ServiceBegin::New { operation, service, nodes })
}

#[expect(clippy::too_many_arguments, reason = "all of it is one transaction")]
async fn started(
    tx: &mut Tx,
    op: &str,
    owner: &str,
    end: &Save<'_>,
    service_id: i64,
    facts: &NodeFacts,
    paid_until: i64,
    event: &NewEvent,
) -> Result<Service, ServiceError> {
    work::store(tx, op, owner, end).await?;
    lock_of(tx, service_id, op, ServiceState::Starting).await?;
    let nodes = service_nodes::of_operation(tx, op).await?;
    let [node] = nodes.as_slice() else { return Err(Error::Corrupt("node of a service").into()) };
    service_nodes::arrive(tx, node, facts, paid_until, &event.actor).await?;
    let sql = concat!(
        "UPDATE services SET state = 'running', address = $2, node_id = $3, operation = NULL, updated_at = $4 \
         WHERE id = $1 RETURNING ",
        service_columns!()
    );
    let row = tx.one(sql, args![service_id, &facts.address, &facts.node_id, crate::now()]).await?;
    append(tx, event).await?;
    Ok(service(&row, 0)?)
}

async fn start_failed(
    tx: &mut Tx,
    op: &str,
    owner: &str,
    end: &Save<'_>,
    service_id: i64,
    event: &NewEvent,
) -> Result<(), ServiceError> {
    work::store(tx, op, owner, end).await?;
    lock_of(tx, service_id, op, ServiceState::Starting).await?;
    for node in service_nodes::of_service(tx, service_id).await? {
        service_nodes::forget(tx, &node, &event.actor).await?;
    }
    forget(tx, service_id, event).await
}

/// Forgets a service that has neither nodes nor members.
async fn forget(tx: &mut Tx, service_id: i64, event: &NewEvent) -> Result<(), ServiceError> {
    certificates::revoke_service(tx, service_id, "cessation-of-operation").await?;
    tx.execute("DELETE FROM services WHERE id = $1", args![service_id]).await?;
    append(tx, event).await?;
    Ok(())
}

async fn member_add(tx: &mut Tx, new: &NewService, event: &NewEvent) -> Result<Service, ServiceError> {
    if new.kind != ServiceKind::Member {
        return Err(Error::Invalid("a member of another kind").into());
    }
    let manager = lock_manager(tx, new.application_id).await?.ok_or(ServiceError::NotFound)?;
    if manager.user_id != new.user_id {
        return Err(ServiceError::NotFound);
    }
    if manager.state != ServiceState::Running {
        return Err(ServiceError::Busy);
    }
    let member = insert(tx, new, ServiceState::Running, None).await?;
    append(tx, &NewEvent { subject: member.id.to_string(), ..event.clone() }).await?;
    Ok(member)
}

async fn member_remove(tx: &mut Tx, user_id: &str, id: i64, event: &NewEvent) -> Result<bool, ServiceError> {
    let sql = "SELECT application_id FROM services WHERE id = $1 AND user_id = $2 AND kind = 'member'";
    let Some(row) = tx.optional(sql, args![id, user_id]).await? else {
        return Ok(false);
    };
    // Nodes are added by those who hold the manager.
    lock_manager(tx, row.get(0)?).await?;
    if tx.optional("SELECT 1 FROM service_nodes WHERE member_id = $1 LIMIT 1", args![id]).await?.is_some() {
        return Err(ServiceError::Busy);
    }
    if tx.execute("DELETE FROM services WHERE id = $1", args![id]).await? == 0 {
        return Ok(false);
    }
    append(tx, event).await?;
    Ok(true)
}

async fn lock_manager(tx: &mut Tx, application_id: i64) -> Result<Option<Service>, Error> {
    let sql = concat!(
        "UPDATE services SET updated_at = updated_at WHERE application_id = $1 AND kind = 'manager' RETURNING ",
        service_columns!()
    );
    tx.optional(sql, args![application_id]).await?.map(|row| service(&row, 0)).transpose()
}

async fn stop(
    tx: &mut Tx,
    user_id: Option<&str>,
    service_id: i64,
    op: &NewOperation,
    steps: &[Step],
    event: &NewEvent,
) -> Result<ServiceBegin, ServiceError> {
    if let Some(operation) = known(tx, op).await? {
        return Ok(ServiceBegin::Existing(operation));
    }
    let locked = lock(tx, service_id)
        .await?
        .filter(|service| user_id.is_none_or(|user_id| service.user_id == user_id) && service.kind != ServiceKind::Member);
    let locked = locked.ok_or(ServiceError::NotFound)?;
    match locked.state {
        ServiceState::Starting => return Err(ServiceError::Busy),
        ServiceState::Stopping => {
            let id = locked.operation.ok_or(Error::Corrupt("operation of a service"))?;
            let operation = get(tx, &id).await?.ok_or(Error::Corrupt("operation of a service"))?;
            return Ok(ServiceBegin::Existing(operation));
        }
        ServiceState::Running => {}
    }
    let subject = service_id.to_string();
    let operation = match work::begin(tx, op, Some(&subject), &Progress::default(), steps, None).await? {
        Begin::Existing(operation) => return Ok(ServiceBegin::Existing(operation)),
        Begin::New(operation) => operation,
    };
    let sql = concat!(
        "UPDATE services SET state = 'stopping', operation = $2, updated_at = $3 WHERE id = $1 RETURNING ",
        service_columns!()
    );
    let row = tx.one(sql, args![service_id, &operation.id, crate::now()]).await?;
    let nodes = service_nodes::doom_all(tx, service_id, &operation.id).await?;
    append(tx, event).await?;
    Ok(ServiceBegin::New { operation, service: service(&row, 0)?, nodes })
}

async fn stopped(
    tx: &mut Tx,
    op: &str,
    owner: &str,
    end: &Save<'_>,
    service_id: i64,
    event: &NewEvent,
) -> Result<(), ServiceError> {
    work::store(tx, op, owner, end).await?;
    let service = lock_of(tx, service_id, op, ServiceState::Stopping).await?;
    if matches!(end.outcome, Some(Outcome::Abandoned(_))) {
        for node in service_nodes::of_operation(tx, op).await? {
            service_nodes::forget(tx, &node, &event.actor).await?;
        }
    }
    if tx.optional("SELECT 1 FROM service_nodes WHERE service_id = $1 LIMIT 1", args![service_id]).await?.is_some() {
        return Err(ServiceError::Busy);
    }
    if service.kind == ServiceKind::Manager {
        let sql = "DELETE FROM services WHERE application_id = $1 AND kind = 'member'";
        tx.execute(sql, args![service.application_id]).await?;
    }
    forget(tx, service_id, event).await
}

async fn prepay(
    tx: &mut Tx,
    service_id: i64,
    amount: i64,
    reference: Option<&str>,
    actor: &str,
) -> Result<CreditEntry, CreditError> {
    let service = lock(tx, service_id).await?.filter(|service| service.state != ServiceState::Stopping);
    let service = service.ok_or(Error::NotFound("the service"))?;
    let note = format!("service {service_id}, in advance");
    let (entry, new) = credit::charge(tx, &service.user_id, amount, reference, &note, actor).await?;
    if new {
        tx.execute("UPDATE services SET prepaid = prepaid + $2 WHERE id = $1", args![service_id, amount]).await?;
    }
    Ok(entry)
}

/// A service, of the columns from this one on.
pub(crate) fn service(row: &Row, column: usize) -> Result<Service, Error> {
    Ok(Service {
        id: row.get(column)?,
        application_id: row.get(column + 1)?,
        user_id: row.get(column + 2)?,
        kind: ServiceKind::parse(&row.get::<String>(column + 3)?)?,
        type_name: row.get(column + 4)?,
        name: row.get(column + 5)?,
        cloud: row.get(column + 6)?,
        state: ServiceState::parse(&row.get::<String>(column + 7)?)?,
        number: row.get(column + 8)?,
        address: row.get(column + 9)?,
        node_id: row.get(column + 10)?,
        prepaid: row.get(column + 11)?,
        operation: row.get(column + 12)?,
        created_at: row.get(column + 13)?,
        updated_at: row.get(column + 14)?,
    })
}
