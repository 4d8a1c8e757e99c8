//! What those who wait for deployments are to be told, written down in the transaction of the change that it tells of; and the
//! leases of those who deliver it. Each is delivered at least once, those of one deployment in order.

use serde_json::{Map, Value, json};

use crate::db::{Db, Row, Tx, args, transaction};
use crate::events::append;
use crate::operations::text_enum;
use crate::{Deployment, DeploymentStatus, DeploymentTask, Error, NewEvent, Owner, Store};

/// Parts of the names of members whose values are nobody's business.
const SECRET: [&str; 6] = ["private_key", "privatekey", "password", "passwd", "secret", "token"];

text_enum! {
    /// What is told of a deployment.
    CallbackKind, "kind of callback" {
        /// It is to be made.
        CreateSubmitted = "create.submitted",
        /// It is there.
        CreateDone = "create.done",
        /// It could not be made.
        CreateFailed = "create.failed",
        /// It is to be changed.
        UpdateSubmitted = "update.submitted",
        /// It is there, as changed.
        UpdateDone = "update.done",
        /// It could not be changed.
        UpdateFailed = "update.failed",
        /// It could not be removed yet.
        DeleteFailed = "delete.failed",
        /// It is gone.
        DeleteDone = "delete.done",
    }
}

impl CallbackKind {
    /// What a change to this status is told as, if it is.
    pub(crate) fn of(status: DeploymentStatus) -> Option<Self> {
        Some(match status {
            DeploymentStatus::CreateInProgress => Self::CreateSubmitted,
            DeploymentStatus::CreateComplete => Self::CreateDone,
            DeploymentStatus::CreateFailed => Self::CreateFailed,
            DeploymentStatus::UpdateInProgress => Self::UpdateSubmitted,
            DeploymentStatus::UpdateComplete => Self::UpdateDone,
            DeploymentStatus::UpdateFailed => Self::UpdateFailed,
            DeploymentStatus::DeleteFailed => Self::DeleteFailed,
            DeploymentStatus::DeleteComplete => Self::DeleteDone,
            DeploymentStatus::DeleteInProgress | DeploymentStatus::Unknown => return None,
        })
    }
}

text_enum! {
    /// How a callback ended.
    CallbackOutcome, "outcome of a callback" {
        /// The receiver has taken it.
        Delivered = "delivered",
        /// It will not be tried again.
        GivenUp = "given-up",
    }
}

/// One thing to tell.
#[derive(Clone, PartialEq)]
pub struct Callback {
    /// A uuid v7; the same at each try, so that receivers can tell doubles apart.
    pub id: String,
    /// The deployment, which may be gone.
    pub deployment: String,
    /// Its place among those of the deployment.
    pub number: i64,
    /// What is told.
    pub kind: CallbackKind,
    /// Who is told.
    pub url: String,
    /// How often it was tried, a try under way included.
    pub tries: u32,
    /// Not to be tried before, in microseconds UTC.
    pub due_at: i64,
    /// Who tries to deliver it.
    pub lease_owner: Option<String>,
    /// Until when nobody else does, in microseconds UTC.
    pub lease_until: Option<i64>,
    /// How it ended.
    pub outcome: Option<CallbackOutcome>,
    /// Why the last try failed.
    pub error: Option<String>,
    /// When it was written down, in microseconds UTC.
    pub created_at: i64,
    /// When it ended, in microseconds UTC.
    pub ended_at: Option<i64>,
    snapshot: String,
}

/// Without the address and the snapshot, which may be confidential.
impl std::fmt::Debug for Callback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Callback")
            .field("id", &self.id)
            .field("deployment", &self.deployment)
            .field("number", &self.number)
            .field("kind", &self.kind)
            .field("tries", &self.tries)
            .field("due_at", &self.due_at)
            .field("lease_owner", &self.lease_owner)
            .field("lease_until", &self.lease_until)
            .field("outcome", &self.outcome)
            .field("error", &self.error)
            .field("created_at", &self.created_at)
            .field("ended_at", &self.ended_at)
            .finish_non_exhaustive()
    }
}

impl Callback {
    /// The deployment as it was when this happened: what its owner wrote, its log and its work left out, and the values of what is
    /// secret by its name emptied.
    pub fn snapshot(&self) -> Result<Deployment, Error> {
        let corrupt = || Error::Corrupt("snapshot");
        let value: Value = serde_json::from_str(&self.snapshot).map_err(|_| corrupt())?;
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        let time = |name: &str| value[name].as_i64().ok_or_else(corrupt);
        let owner = match (text("issuer"), text("subject")) {
            (Some(issuer), Some(subject)) => Some(Owner { user_id: None, issuer, subject, organisation: None }),
            _ => None,
        };
        Ok(Deployment {
            id: self.deployment.clone(),
            owner,
            user_group: text("user_group"),
            status: DeploymentStatus::parse(value["status"].as_str().ok_or_else(corrupt)?)?,
            status_reason: text("status_reason"),
            task: DeploymentTask::parse(value["task"].as_str().ok_or_else(corrupt)?)?,
            template: String::new(),
            parameters: json!({}),
            callback: Some(self.url.clone()),
            max_attempts: None,
            timeout: None,
            attempt_timeout: None,
            keep_last_attempt: false,
            cloud: text("cloud"),
            physical_id: text("physical_id"),
            endpoint: value.get("endpoint").filter(|endpoint| !endpoint.is_null()).cloned(),
            outputs: value.get("outputs").cloned().unwrap_or_else(|| json!({})),
            attempts: json!([]),
            log: String::new(),
            operation: None,
            created_at: time("created_at")?,
            updated_at: time("updated_at")?,
        })
    }
}

/// Without the values of what is secret by its name, or by its looks.
pub fn redacted(mut value: Value) -> Value {
    redact(&mut value);
    value
}

fn redact(value: &mut Value) {
    match value {
        Value::String(text) if text.contains("PRIVATE KEY-----") => text.clear(),
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::Object(members) => {
            for (name, value) in members {
                let name = name.to_ascii_lowercase();
                if SECRET.iter().any(|secret| name.contains(secret)) {
                    *value = json!("");
                } else {
                    redact(value);
                }
            }
        }
        _ => {}
    }
}

/// The columns of a deployment that are told of.
macro_rules! told_columns {
    () => {
        "id, callback, status, status_reason, task, issuer, subject, user_group, cloud, physical_id, endpoint, outputs, \
         created_at, updated_at"
    };
}
pub(crate) use told_columns;

/// Writes down what is told of a deployment, in the transaction that has changed it; its row is locked. Whether anybody is to be
/// told. The row has the [`told_columns`].
pub(crate) async fn write(tx: &mut Tx, kind: CallbackKind, row: &Row) -> Result<bool, Error> {
    let Some(url) = row.get::<Option<String>>(1)? else { return Ok(false) };
    let deployment: String = row.get(0)?;
    let now = crate::now();
    let (mut status, mut reason, mut task, mut updated_at) =
        (row.get::<String>(2)?, row.get::<Option<String>>(3)?, row.get::<String>(4)?, row.get::<i64>(13)?);
    if kind == CallbackKind::DeleteDone {
        // The row is as it was before.
        status = DeploymentStatus::DeleteComplete.as_str().to_owned();
        task = DeploymentTask::None.as_str().to_owned();
        (reason, updated_at) = (None, now);
    }
    let mut snapshot = Map::new();
    let texts = [
        ("status", Some(status)),
        ("status_reason", reason),
        ("task", Some(task)),
        ("issuer", row.get(5)?),
        ("subject", row.get(6)?),
        ("user_group", row.get(7)?),
        ("cloud", row.get(8)?),
        ("physical_id", row.get(9)?),
    ];
    snapshot.extend(texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), Value::String(text?)))));
    if let Some(endpoint) = row.json_option(10)? {
        snapshot.insert("endpoint".to_owned(), redacted(endpoint));
    }
    snapshot.insert("outputs".to_owned(), redacted(row.json(11)?));
    snapshot.insert("created_at".to_owned(), row.get::<i64>(12)?.into());
    snapshot.insert("updated_at".to_owned(), updated_at.into());
    // Numbers among those that are left: what is still to be told is never behind what comes later.
    let sql = "INSERT INTO callbacks (id, deployment, number, kind, url, snapshot, tries, due_at, created_at) \
               SELECT $1, $2, COALESCE(MAX(number), 0) + 1, $3, $4, $5, 0, $6, $6 FROM callbacks WHERE deployment = $2";
    let snapshot = Value::Object(snapshot).to_string();
    tx.execute(sql, args![&crate::new_id(), &deployment, kind.as_str(), &url, &snapshot, now]).await?;
    Ok(true)
}

macro_rules! columns {
    () => {
        "id, deployment, number, kind, url, snapshot, tries, due_at, lease_owner, lease_until, outcome, error, created_at, ended_at"
    };
}

/// Takes what is due and free and the first of its deployment. That does not change meanwhile: what was before it has ended, and
/// what comes has a higher number. See the claim of operations.
macro_rules! claim {
    ($lock:literal) => {
        concat!(
            "WITH free AS MATERIALIZED (SELECT c.id FROM callbacks c \
             WHERE c.ended_at IS NULL AND c.due_at <= $2 AND (c.lease_until IS NULL OR c.lease_until <= $2) \
             AND NOT EXISTS (SELECT 1 FROM callbacks e \
                 WHERE e.deployment = c.deployment AND e.number < c.number AND e.ended_at IS NULL) \
             ORDER BY c.due_at, c.id LIMIT $4",
            $lock,
            ") UPDATE callbacks SET lease_owner = $1, lease_until = $3, tries = tries + 1 \
             WHERE id IN (SELECT id FROM free) AND ended_at IS NULL AND (lease_until IS NULL OR lease_until <= $2) \
             RETURNING ",
            columns!()
        )
    };
}

impl Store {
    /// Waits until a callback was written down by way of this handle, or a clone of it. One that was written down while nobody
    /// waited counts.
    pub async fn callbacks_written(&self) {
        self.callbacks_signal().notified().await;
    }

    /// The callbacks of a deployment, in order, those that ended included.
    pub async fn callbacks(&self, deployment: &str) -> Result<Vec<Callback>, Error> {
        let sql = concat!("SELECT ", columns!(), " FROM callbacks WHERE deployment = $1 ORDER BY number");
        self.db().all(sql, args![deployment]).await?.iter().map(callback).collect()
    }

    /// Takes up to `limit` callbacks that are due at `now` and that nobody tries to deliver, until `lease_until`; of a deployment
    /// only the first that has not ended. None is given to two claimants. The try counts. As to clocks see
    /// [`Store::operation_claim`].
    pub async fn callback_claim(&self, owner: &str, now: i64, lease_until: i64, limit: u32) -> Result<Vec<Callback>, Error> {
        let sql = match self.db() {
            Db::Sqlite { .. } => claim!(""),
            Db::Postgres(_) => claim!(" FOR UPDATE OF c SKIP LOCKED"),
        };
        let rows = self.db().write_all(sql, args![owner, now, lease_until, limit]).await?;
        let mut callbacks = rows.iter().map(callback).collect::<Result<Vec<_>, _>>()?;
        callbacks.sort_by(|a, b| (a.due_at, &a.id).cmp(&(b.due_at, &b.id)));
        Ok(callbacks)
    }

    /// Writes down that a try failed, and when the next one is due; the lease ends. [`Error::Lost`] where it has ended or somebody
    /// else has taken it since.
    pub async fn callback_retry(&self, id: &str, owner: &str, due_at: i64, error: &str) -> Result<(), Error> {
        let sql = "UPDATE callbacks SET due_at = $3, error = $4, lease_owner = NULL, lease_until = NULL \
                   WHERE id = $1 AND ended_at IS NULL AND lease_owner = $2 RETURNING 1";
        match self.db().write_count(sql, args![id, owner, due_at, error]).await? {
            0 => Err(Error::Lost),
            _ => Ok(()),
        }
    }

    /// Writes down how it ended, with the last failure if there is one to tell, and the event with it. [`Error::Lost`] as in
    /// [`Store::callback_retry`].
    pub async fn callback_end(
        &self,
        id: &str,
        owner: &str,
        outcome: CallbackOutcome,
        error: Option<&str>,
        event: Option<&NewEvent>,
    ) -> Result<(), Error> {
        transaction!(self.db(), |tx| async {
            let sql = "UPDATE callbacks SET outcome = $3, error = COALESCE($4, error), ended_at = $5, lease_owner = NULL, \
                       lease_until = NULL WHERE id = $1 AND ended_at IS NULL AND lease_owner = $2";
            if tx.execute(sql, args![id, owner, outcome.as_str(), error, crate::now()]).await? == 0 {
                return Err(Error::Lost);
            }
            if let Some(event) = event {
                append(tx, event).await?;
            }
            Ok(())
        })
    }

    /// Ends all leases: for a host that has the store to itself, when it starts. How many there were.
    pub async fn callbacks_release(&self) -> Result<u64, Error> {
        let sql = "UPDATE callbacks SET lease_owner = NULL, lease_until = NULL \
                   WHERE ended_at IS NULL AND lease_owner IS NOT NULL RETURNING 1";
        self.db().write_count(sql, &[]).await
    }
}

fn callback(row: &Row) -> Result<Callback, Error> {
    Ok(Callback {
        id: row.get(0)?,
        deployment: row.get(1)?,
        number: row.get(2)?,
        kind: CallbackKind::parse(&row.get::<String>(3)?)?,
        url: row.get(4)?,
        snapshot: row.get(5)?,
        tries: u32::try_from(row.get::<i64>(6)?).map_err(|_| Error::Corrupt("number"))?,
        due_at: row.get(7)?,
        lease_owner: row.get(8)?,
        lease_until: row.get(9)?,
        outcome: row.get::<Option<String>>(10)?.map(|text| CallbackOutcome::parse(&text)).transpose()?,
        error: row.get(11)?,
        created_at: row.get(12)?,
        ended_at: row.get(13)?,
    })
}
