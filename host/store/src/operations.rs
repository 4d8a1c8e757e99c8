//! Durable intents: what is to be done at a provider, written down before it is done, and how it ended.

use serde_json::Value;

use crate::db::{Db, Row, Tx, args, transaction};
use crate::events::append;
use crate::{Error, NewEvent, Store};

/// Defines an enum that is kept as text.
macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// The text that stands for it in the database.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            pub(crate) fn parse(text: &str) -> Result<Self, $crate::Error> {
                match text { $($text => Ok(Self::$variant),)* _ => Err($crate::Error::Corrupt($what)) }
            }
        }
    };
}
pub(crate) use text_enum;

text_enum! {
    /// What is to be done. Where it is one call of a driver, named as that.
    OperationKind, "kind of operation" {
        /// Make a node.
        CreateNode = "create-node",
        /// Destroy a node.
        DestroyNode = "destroy-node",
        /// Start, stop, reboot, suspend or resume a node.
        Act = "act",
        /// Import an image.
        ImportImage = "import-image",
        /// Delete an image.
        DeleteImage = "delete-image",
        /// Start a service.
        StartService = "start-service",
        /// Stop a service, with all of its nodes.
        StopService = "stop-service",
        /// Add nodes to a service.
        AddNodes = "add-nodes",
        /// Remove nodes from a service.
        RemoveNodes = "remove-nodes",
        /// Make a deployment.
        CreateDeployment = "create-deployment",
        /// Change a deployment.
        UpdateDeployment = "update-deployment",
        /// Remove a deployment.
        DeleteDeployment = "delete-deployment",
        /// Start or stop a resource of a deployment.
        ActOnResource = "act-on-resource",
        /// Make an instance.
        CreateInstance = "create-instance",
        /// Remove an instance.
        DeleteInstance = "delete-instance",
    }
}

text_enum! {
    /// How far an operation is.
    OperationState, "state of an operation" {
        /// Not known to be done.
        Pending = "pending",
        /// Done.
        Succeeded = "succeeded",
        /// Will not be done; what was begun is undone.
        Failed = "failed",
        /// Given up; an operator should look.
        Abandoned = "abandoned",
    }
}

/// An operation.
#[derive(Clone, PartialEq)]
pub struct Operation {
    /// A uuid v7, made by the store: identifiers sort by age, as far as the hosts' clocks agree.
    pub id: String,
    /// The cloud.
    pub cloud: String,
    /// What is to be done.
    pub kind: OperationKind,
    /// The token that this operation introduces at the provider. One operation a token.
    pub token: Option<String>,
    /// The node it is about, once it is known.
    pub node_id: Option<String>,
    /// What was asked for.
    pub input: Value,
    /// SHA-256 of what was asked for, as the caller computes it.
    pub input_hash: Vec<u8>,
    /// How far it is.
    pub state: OperationState,
    /// What came of it.
    pub output: Option<Value>,
    /// Why it did not succeed.
    pub error: Option<Value>,
    /// The driver component that it began with, `sha256:<hex>`.
    pub driver_digest: Option<String>,
    /// Who asked.
    pub actor: String,
    /// How often somebody has taken it on.
    pub attempts: i64,
    /// Who works on it.
    pub lease_owner: Option<String>,
    /// Until when nobody else may, in microseconds UTC.
    pub lease_until: Option<i64>,
    /// When it was asked for, in microseconds UTC.
    pub created_at: i64,
    /// When the row last changed, in microseconds UTC.
    pub updated_at: i64,
}

impl Operation {
    /// Whether it was to make a single machine, made none, and failed for what passes: the provider could not be reached, asked to
    /// slow down, or did not answer. Such a one does not keep its idempotency key: whoever tries again with it means to.
    pub fn has_passed(&self) -> bool {
        let kind = self.error.as_ref().and_then(|error| error["kind"].as_str()).unwrap_or_default();
        self.state == OperationState::Failed
            && matches!(self.kind, OperationKind::CreateNode | OperationKind::CreateInstance)
            && matches!(kind, "unavailable" | "throttled" | "transient" | "not-loaded")
    }
}

/// Without what was asked for and what came of it, which may be confidential.
impl std::fmt::Debug for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operation")
            .field("id", &self.id)
            .field("cloud", &self.cloud)
            .field("kind", &self.kind)
            .field("token", &self.token)
            .field("node_id", &self.node_id)
            .field("state", &self.state)
            .field("attempts", &self.attempts)
            .field("lease_owner", &self.lease_owner)
            .field("lease_until", &self.lease_until)
            .finish_non_exhaustive()
    }
}

/// An operation to begin.
#[derive(Clone, PartialEq)]
pub struct NewOperation {
    /// See [`Operation::cloud`].
    pub cloud: String,
    /// See [`Operation::kind`].
    pub kind: OperationKind,
    /// See [`Operation::token`].
    pub token: Option<String>,
    /// See [`Operation::node_id`].
    pub node_id: Option<String>,
    /// See [`Operation::input`].
    pub input: Value,
    /// See [`Operation::input_hash`].
    pub input_hash: Vec<u8>,
    /// See [`Operation::driver_digest`].
    pub driver_digest: Option<String>,
    /// See [`Operation::actor`].
    pub actor: String,
    /// Who works on it from the start; none leaves it to be claimed.
    pub lease: Option<Lease>,
    /// The client's key, for which at most one operation exists.
    pub idempotency: Option<Idempotency>,
}

/// Without what was asked for, which may be confidential.
impl std::fmt::Debug for NewOperation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewOperation")
            .field("cloud", &self.cloud)
            .field("kind", &self.kind)
            .field("token", &self.token)
            .field("node_id", &self.node_id)
            .finish_non_exhaustive()
    }
}

/// The right to work on an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Who. Must differ between processes, also between two runs of one host.
    pub owner: String,
    /// Until when, in microseconds UTC.
    pub until: i64,
}

/// A client's idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// Within what the key is unique: dialect, route, user.
    pub scope: String,
    /// The key.
    pub key: String,
}

/// How an operation began.
#[derive(Debug, Clone, PartialEq)]
pub enum Begin {
    /// It is new.
    New(Operation),
    /// The key was used before with the same input, for this one, in whatever state it is.
    Existing(Operation),
}

/// How an operation ended.
#[derive(Clone, PartialEq)]
pub enum Outcome {
    /// It is done.
    Succeeded {
        /// The node, where it was not known before.
        node_id: Option<String>,
        /// What came of it.
        output: Option<Value>,
    },
    /// It will not be done, and why.
    Failed(Value),
    /// It is given up, and why.
    Abandoned(Value),
}

/// Without the output and the error, which may be confidential.
impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Succeeded { .. } => "Succeeded",
            Self::Failed(_) => "Failed",
            Self::Abandoned(_) => "Abandoned",
        })
    }
}

/// Which operations to list.
#[derive(Debug, Clone, Default)]
pub struct OperationFilter {
    /// Of this cloud only.
    pub cloud: Option<String>,
    /// In this state only.
    pub state: Option<OperationState>,
}

macro_rules! columns {
    () => {
        "id, cloud, kind, token, node_id, input, input_hash, state, output, error, driver_digest, actor, attempts, \
         lease_owner, lease_until, created_at, updated_at"
    };
}
pub(crate) use columns;

/// How many they are.
pub(crate) const COLUMNS: usize = 17;

macro_rules! list {
    ($condition:literal) => {
        concat!("SELECT ", columns!(), " FROM operations WHERE ", $condition, " id < $1 ORDER BY id DESC LIMIT $2")
    };
}

/// Takes what is free; `$lock` keeps hosts from queueing for each other's rows. The second condition decides where it is empty.
/// What somebody wants something of does not wait for its time: its owner may have set that before it heard of the request.
macro_rules! claim {
    ($lock:literal) => {
        concat!(
            "WITH free AS MATERIALIZED (SELECT id FROM operations \
             WHERE state = 'pending' AND (lease_until IS NULL OR lease_until <= $2) \
             AND (wake_at IS NULL OR wake_at <= $2 OR request IS NOT NULL) \
             ORDER BY created_at, id LIMIT $4",
            $lock,
            ") UPDATE operations SET lease_owner = $1, lease_until = $3, attempts = attempts + 1, updated_at = $2 \
             WHERE id IN (SELECT id FROM free) AND state = 'pending' AND (lease_until IS NULL OR lease_until <= $2) \
             RETURNING ",
            columns!()
        )
    };
}

impl Store {
    /// Writes down an intent, and the event with it. With an idempotency key that was used before, the operation of that key
    /// comes back and nothing is written; [`Error::IdempotencyMismatch`] where its input hash differs. A failed operation keeps
    /// its key, unless [`Operation::has_passed`]. [`Error::Exists`] where another operation has introduced the token.
    pub async fn operation_begin(&self, new: &NewOperation, event: Option<&NewEvent>) -> Result<Begin, Error> {
        transaction!(self.db(), |tx| begin(tx, new, event))
    }

    /// Writes down the outcome of a pending operation, and the event with it; the lease ends. [`Error::Lost`] where the
    /// operation is not pending or somebody else has taken it since. A lease that has run out but was not taken still counts.
    pub async fn operation_finish(
        &self,
        id: &str,
        lease_owner: &str,
        outcome: &Outcome,
        event: Option<&NewEvent>,
    ) -> Result<Operation, Error> {
        transaction!(self.db(), |tx| async {
            let finished = finish(tx, id, lease_owner, outcome).await?;
            if let Some(event) = event {
                append(tx, event).await?;
            }
            Ok(finished)
        })
    }

    /// The operation that a new one's idempotency key was used for, if it was: what [`Store::operation_begin`] would find.
    pub async fn operation_known(&self, new: &NewOperation) -> Result<Option<Operation>, Error> {
        transaction!(self.db(), |tx| known(tx, new))
    }

    /// One operation.
    pub async fn operation_get(&self, id: &str) -> Result<Option<Operation>, Error> {
        let sql = concat!("SELECT ", columns!(), " FROM operations WHERE id = $1");
        self.db().optional(sql, args![id]).await?.as_ref().map(operation).transpose()
    }

    /// The operation that introduced a token.
    pub async fn operation_by_token(&self, cloud: &str, token: &str) -> Result<Option<Operation>, Error> {
        let sql = concat!("SELECT ", columns!(), " FROM operations WHERE cloud = $1 AND token = $2");
        self.db().optional(sql, args![cloud, token]).await?.as_ref().map(operation).transpose()
    }

    /// Up to `limit` pending operations, the oldest first, whoever works on them.
    pub async fn operations_pending(&self, limit: u32) -> Result<Vec<Operation>, Error> {
        let sql = concat!("SELECT ", columns!(), " FROM operations WHERE state = 'pending' ORDER BY created_at, id LIMIT $1");
        self.db().all(sql, args![limit]).await?.iter().map(operation).collect()
    }

    /// Takes up to `limit` pending operations that nobody works on, or whose lease had run out at `now`, the oldest first, until
    /// `lease_until`; not those that wait for a later time, unless somebody wants something of them. No operation is given to two
    /// claimants; hosts that claim at once need not wait for each other. The lease is measured by the hosts' clocks: it should be
    /// much longer than these differ.
    pub async fn operation_claim(&self, owner: &str, now: i64, lease_until: i64, limit: u32) -> Result<Vec<Operation>, Error> {
        let sql = match self.db() {
            Db::Sqlite { .. } => claim!(""),
            Db::Postgres(_) => claim!(" FOR UPDATE SKIP LOCKED"),
        };
        let rows = self.db().write_all(sql, args![owner, now, lease_until, limit]).await?;
        let mut operations = rows.iter().map(operation).collect::<Result<Vec<_>, _>>()?;
        operations.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        Ok(operations)
    }

    /// Prolongs a lease. [`Error::Lost`] as in [`Store::operation_finish`].
    pub async fn operation_renew(&self, id: &str, owner: &str, until: i64) -> Result<(), Error> {
        let sql = "UPDATE operations SET lease_until = $3, updated_at = $4 \
                   WHERE id = $1 AND state = 'pending' AND lease_owner = $2 RETURNING 1";
        match self.db().write_count(sql, args![id, owner, until, crate::now()]).await? {
            0 => Err(Error::Lost),
            _ => Ok(()),
        }
    }

    /// Up to `limit` operations, the latest first. The next page begins after the last identifier of this one.
    pub async fn operations_list(
        &self,
        filter: &OperationFilter,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Operation>, Error> {
        // Sorts after every uuid.
        let before = before.unwrap_or("g");
        let state = filter.state.map(OperationState::as_str);
        let db = self.db();
        let rows = match (filter.cloud.as_deref(), state) {
            (None, None) => db.all(list!(""), args![before, limit]).await?,
            (Some(cloud), None) => db.all(list!("cloud = $3 AND"), args![before, limit, cloud]).await?,
            (None, Some(state)) => db.all(list!("state = $3 AND"), args![before, limit, state]).await?,
            (Some(cloud), Some(state)) => {
                db.all(list!("cloud = $3 AND state = $4 AND"), args![before, limit, cloud, state]).await?
            }
        };
        rows.iter().map(operation).collect()
    }
}

/// Begins in the caller's transaction; see [`Store::operation_begin`].
pub(crate) async fn begin(tx: &mut Tx, new: &NewOperation, event: Option<&NewEvent>) -> Result<Begin, Error> {
    let id = crate::new_id();
    let now = crate::now();
    let input = new.input.to_string();
    let (owner, until) = new.lease.as_ref().map(|lease| (lease.owner.as_str(), lease.until)).unzip();
    let (scope, key) = new.idempotency.as_ref().map(|i| (i.scope.as_str(), i.key.as_str())).unzip();
    // PostgreSQL waits here for a transaction that has just used the same key, and finds it once that is committed.
    let sql = concat!(
        "INSERT INTO operations (",
        columns!(),
        ", idempotency_scope, idempotency_key) VALUES ($1, $2, $3, $4, $5, $6, $7, 'pending', NULL, NULL, $8, $9, $10, \
         $11, $12, $13, $13, $14, $15) ON CONFLICT (idempotency_scope, idempotency_key) DO NOTHING RETURNING ",
        columns!()
    );
    // Twice: the key may become free.
    for _ in 0..2 {
        let args = args![
            &id,
            &new.cloud,
            new.kind.as_str(),
            &new.token,
            &new.node_id,
            &input,
            &new.input_hash,
            &new.driver_digest,
            &new.actor,
            i64::from(new.lease.is_some()),
            owner,
            until,
            now,
            scope,
            key,
        ];
        if let Some(row) = tx.optional(sql, args).await.map_err(|e| e.about("an operation with this token"))? {
            if let Some(event) = event {
                append(tx, event).await?;
            }
            return operation(&row).map(Begin::New);
        }
        if let Some(existing) = known(tx, new).await? {
            return Ok(Begin::Existing(existing));
        }
    }
    // Not there: deleted in between. Another attempt finds the key unused.
    Err(Error::Contention)
}

/// The operation that a new one's key was used for; see [`Store::operation_begin`]. The key of one that has passed becomes free.
pub(crate) async fn known(tx: &mut Tx, new: &NewOperation) -> Result<Option<Operation>, Error> {
    let Some(Idempotency { scope, key }) = &new.idempotency else {
        return Ok(None);
    };
    let sql = concat!("SELECT ", columns!(), " FROM operations WHERE idempotency_scope = $1 AND idempotency_key = $2");
    let Some(row) = tx.optional(sql, args![scope, key]).await? else {
        return Ok(None);
    };
    let existing = operation(&row)?;
    if existing.input_hash != new.input_hash {
        return Err(Error::IdempotencyMismatch);
    }
    if !existing.has_passed() {
        return Ok(Some(existing));
    }
    let sql = "UPDATE operations SET idempotency_scope = NULL, idempotency_key = NULL WHERE id = $1";
    tx.execute(sql, args![&existing.id]).await?;
    Ok(None)
}

/// One operation, in the caller's transaction.
pub(crate) async fn get(tx: &mut Tx, id: &str) -> Result<Option<Operation>, Error> {
    let sql = concat!("SELECT ", columns!(), " FROM operations WHERE id = $1");
    tx.optional(sql, args![id]).await?.as_ref().map(operation).transpose()
}

/// Ends an operation in the caller's transaction, without an event; see [`Store::operation_finish`].
pub(crate) async fn finish(tx: &mut Tx, id: &str, lease_owner: &str, outcome: &Outcome) -> Result<Operation, Error> {
    let (state, node_id, output, error) = match outcome {
        Outcome::Succeeded { node_id, output } => (OperationState::Succeeded, node_id.as_deref(), output.as_ref(), None),
        Outcome::Failed(error) => (OperationState::Failed, None, None, Some(error)),
        Outcome::Abandoned(error) => (OperationState::Abandoned, None, None, Some(error)),
    };
    let output = output.map(Value::to_string);
    let error = error.map(Value::to_string);
    let sql = concat!(
        "UPDATE operations SET state = $3, node_id = COALESCE($4, node_id), output = $5, error = $6, \
         lease_owner = NULL, lease_until = NULL, updated_at = $7 \
         WHERE id = $1 AND state = 'pending' AND lease_owner = $2 RETURNING ",
        columns!()
    );
    let args = args![id, lease_owner, state.as_str(), node_id, &output, &error, crate::now()];
    operation(&tx.optional(sql, args).await?.ok_or(Error::Lost)?)
}

/// Forgets what was asked for, but not its hash: it is not needed any more, and may be confidential.
pub(crate) async fn forget_input(tx: &mut Tx, id: &str) -> Result<(), Error> {
    tx.execute("UPDATE operations SET input = '{}' WHERE id = $1", args![id]).await?;
    Ok(())
}

pub(crate) fn operation(row: &Row) -> Result<Operation, Error> {
    Ok(Operation {
        id: row.get(0)?,
        cloud: row.get(1)?,
        kind: OperationKind::parse(&row.get::<String>(2)?)?,
        token: row.get(3)?,
        node_id: row.get(4)?,
        input: row.json(5)?,
        input_hash: row.get(6)?,
        state: OperationState::parse(&row.get::<String>(7)?)?,
        output: row.json_option(8)?,
        error: row.json_option(9)?,
        driver_digest: row.get(10)?,
        actor: row.get(11)?,
        attempts: row.get(12)?,
        lease_owner: row.get(13)?,
        lease_until: row.get(14)?,
        created_at: row.get(15)?,
        updated_at: row.get(16)?,
    })
}
