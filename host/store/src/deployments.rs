//! Deployments: what somebody wants to have, and how far it is. The work on one is an operation of several steps; one at a time.
//!
//! Whoever changes a deployment locks its row first.

use serde_json::Value;

use crate::callbacks::{self, CallbackKind};
use crate::db::{Tx, args, transaction};
use crate::deployment_rows::{GET, apply, insert, whole};
use crate::events::append;
use crate::operations::{known, text_enum};
use crate::resource_credit;
use crate::resources::{self, Resource, ResourceChange};
use crate::{Begin, Error, NewEvent, NewOperation, Progress, Step, Store, work};

text_enum! {
    /// How far a deployment is.
    DeploymentStatus, "status of a deployment" {
        /// It is being made.
        CreateInProgress = "CREATE_IN_PROGRESS",
        /// It is there.
        CreateComplete = "CREATE_COMPLETE",
        /// It could not be made.
        CreateFailed = "CREATE_FAILED",
        /// It is being changed.
        UpdateInProgress = "UPDATE_IN_PROGRESS",
        /// It is there, as changed.
        UpdateComplete = "UPDATE_COMPLETE",
        /// It could not be changed.
        UpdateFailed = "UPDATE_FAILED",
        /// It is being removed.
        DeleteInProgress = "DELETE_IN_PROGRESS",
        /// It could not be removed.
        DeleteFailed = "DELETE_FAILED",
        /// It is removed. None of those that there are has it: it is for those who are told of the removal.
        DeleteComplete = "DELETE_COMPLETE",
        /// Nobody knows.
        Unknown = "UNKNOWN",
    }
}

text_enum! {
    /// What is being done about a deployment.
    DeploymentTask, "task of a deployment" {
        /// Nothing.
        None = "NONE",
        /// Clouds are asked how they are.
        Monitoring = "MONITORING",
        /// Clouds are asked what they agree to.
        Qos = "QOS",
        /// A cloud is chosen.
        Brokering = "BROKERING",
        /// A cloud is at work.
        Deployer = "DEPLOYER",
    }
}

/// Who a deployment belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The user, where he has an account here.
    pub user_id: Option<String>,
    /// Who vouches for him; `local` of accounts here.
    pub issuer: String,
    /// What the issuer calls him; the user's name of accounts here. With the issuer it identifies a person, whatever way he came
    /// in.
    pub subject: String,
    /// The organisation for which he acts.
    pub organisation: Option<String>,
}

/// A deployment.
#[derive(Clone, PartialEq)]
pub struct Deployment {
    /// A uuid v7.
    pub id: String,
    /// Who it belongs to; nobody, where nobody had to say who he is.
    pub owner: Option<Owner>,
    /// The group of users for which it is.
    pub user_group: Option<String>,
    /// How far it is.
    pub status: DeploymentStatus,
    /// Why it is not further.
    pub status_reason: Option<String>,
    /// What is being done about it.
    pub task: DeploymentTask,
    /// The template, as submitted.
    pub template: String,
    /// The template's inputs: a JSON object.
    pub parameters: Value,
    /// The URL that wants to hear of changes.
    pub callback: Option<String>,
    /// How many providers to try at most.
    pub max_attempts: Option<u32>,
    /// How long the whole may take, in microseconds.
    pub timeout: Option<i64>,
    /// How long one provider may take, in microseconds.
    pub attempt_timeout: Option<i64>,
    /// Whether what the last provider made stays when it failed.
    pub keep_last_attempt: bool,
    /// The provider, once it is chosen.
    pub cloud: Option<String>,
    /// What the provider calls it.
    pub physical_id: Option<String>,
    /// Where and what the provider is, as a JSON object.
    pub endpoint: Option<Value>,
    /// What came of it: a JSON object.
    pub outputs: Value,
    /// What was tried, with scores and reasons: a JSON array.
    pub attempts: Value,
    /// What happened: lines, of which the last 256 KiB are kept. Empty in pages.
    pub log: String,
    /// The work that is under way.
    pub operation: Option<String>,
    /// When it was asked for, in microseconds UTC.
    pub created_at: i64,
    /// When it last changed, in microseconds UTC.
    pub updated_at: i64,
}

/// Without what its owner wrote and what came of it, which may be confidential.
impl std::fmt::Debug for Deployment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deployment")
            .field("id", &self.id)
            .field("owner", &self.owner)
            .field("user_group", &self.user_group)
            .field("status", &self.status)
            .field("task", &self.task)
            .field("cloud", &self.cloud)
            .field("physical_id", &self.physical_id)
            .field("operation", &self.operation)
            .field("created_at", &self.created_at)
            .field("updated_at", &self.updated_at)
            .finish_non_exhaustive()
    }
}

/// A deployment to make.
#[derive(Clone, PartialEq)]
pub struct NewDeployment {
    /// See [`Deployment::id`].
    pub id: String,
    /// See [`Deployment::owner`].
    pub owner: Option<Owner>,
    /// See [`Deployment::user_group`].
    pub user_group: Option<String>,
    /// See [`Deployment::template`].
    pub template: String,
    /// See [`Deployment::parameters`].
    pub parameters: Value,
    /// See [`Deployment::callback`].
    pub callback: Option<String>,
    /// See [`Deployment::max_attempts`].
    pub max_attempts: Option<u32>,
    /// See [`Deployment::timeout`].
    pub timeout: Option<i64>,
    /// See [`Deployment::attempt_timeout`].
    pub attempt_timeout: Option<i64>,
    /// See [`Deployment::keep_last_attempt`].
    pub keep_last_attempt: bool,
}

/// Without what its owner wrote, which may be confidential.
impl std::fmt::Debug for NewDeployment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewDeployment")
            .field("id", &self.id)
            .field("owner", &self.owner)
            .field("user_group", &self.user_group)
            .finish_non_exhaustive()
    }
}

/// What changes about a deployment; what is `None` stays.
#[derive(Clone, Default, PartialEq)]
pub struct DeploymentChange {
    /// Only while this is the work under way; otherwise [`Error::Lost`], and nothing changes. For who may have been replaced.
    pub during: Option<String>,
    /// See [`Deployment::status`].
    pub status: Option<DeploymentStatus>,
    /// See [`Deployment::status_reason`].
    pub status_reason: Option<Option<String>>,
    /// See [`Deployment::task`].
    pub task: Option<DeploymentTask>,
    /// See [`Deployment::template`].
    pub template: Option<String>,
    /// See [`Deployment::parameters`].
    pub parameters: Option<Value>,
    /// See [`Deployment::callback`].
    pub callback: Option<Option<String>>,
    /// See [`Deployment::max_attempts`].
    pub max_attempts: Option<Option<u32>>,
    /// See [`Deployment::timeout`].
    pub timeout: Option<Option<i64>>,
    /// See [`Deployment::attempt_timeout`].
    pub attempt_timeout: Option<Option<i64>>,
    /// See [`Deployment::keep_last_attempt`].
    pub keep_last_attempt: Option<bool>,
    /// See [`Deployment::cloud`].
    pub cloud: Option<Option<String>>,
    /// See [`Deployment::physical_id`].
    pub physical_id: Option<Option<String>>,
    /// See [`Deployment::endpoint`].
    pub endpoint: Option<Option<Value>>,
    /// See [`Deployment::outputs`].
    pub outputs: Option<Value>,
    /// See [`Deployment::attempts`].
    pub attempts: Option<Value>,
    /// Added to the end of [`Deployment::log`], as a line.
    pub log_line: Option<String>,
    /// See [`Deployment::operation`].
    pub operation: Option<Option<String>>,
}

/// Without what may be confidential.
impl std::fmt::Debug for DeploymentChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeploymentChange")
            .field("during", &self.during)
            .field("status", &self.status)
            .field("task", &self.task)
            .field("cloud", &self.cloud)
            .field("physical_id", &self.physical_id)
            .field("operation", &self.operation)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Writes down the intent to make a deployment: the operation with its steps, as [`Store::work_begin`] does it, the
    /// deployment, which has the operation as the work under way, its resources, the callback, and the event. [`Error::Exists`]
    /// where there is a deployment or a resource with such an identifier, or a resource with such a token.
    pub async fn deployment_begin(
        &self,
        new: &NewDeployment,
        resources: &[Resource],
        op: &NewOperation,
        progress: &Progress,
        steps: &[Step],
        event: &NewEvent,
    ) -> Result<Begin, Error> {
        let begun = transaction!(self.db(), |tx| begin(tx, new, resources, op, progress, steps, event));
        self.signal(begun)
    }

    /// Writes down the intent to do something about a deployment, as [`Store::deployment_begin`] does, together with what changes
    /// about it and its resources. [`Error::Referenced`] where other work than `instead_of` is under way; [`Error::NotFound`]
    /// where the deployment, or a resource of it that is to change, is gone.
    #[expect(clippy::too_many_arguments, reason = "all of it is one transaction")]
    pub async fn deployment_work(
        &self,
        id: &str,
        instead_of: Option<&str>,
        change: &DeploymentChange,
        new_resources: &[Resource],
        changed: &[(String, ResourceChange)],
        op: &NewOperation,
        progress: &Progress,
        steps: &[Step],
        event: &NewEvent,
    ) -> Result<Begin, Error> {
        let begun = transaction!(self.db(), |tx| async {
            let operation = match take(tx, id, instead_of, op, progress, steps).await? {
                Begin::Existing(operation) => return Ok((Begin::Existing(operation), false)),
                Begin::New(operation) => operation,
            };
            let its = DeploymentChange { operation: Some(Some(operation.id.clone())), during: None, ..change.clone() };
            let told = apply_and_tell(tx, id, &its).await?.unwrap_or_default();
            resources::insert_all(tx, id, new_resources).await?;
            for (resource, change) in changed {
                if !resources::apply(tx, Some(id), resource, change).await? {
                    return Err(Error::NotFound("the resource"));
                }
            }
            append(tx, event).await?;
            Ok((Begin::New(operation), told))
        });
        self.signal(begun)
    }

    /// One deployment.
    pub async fn deployment_get(&self, id: &str) -> Result<Option<Deployment>, Error> {
        self.db().optional(GET, args![id]).await?.as_ref().map(whole).transpose()
    }

    /// Changes a deployment, and writes down the callback where the change is one of status that is to be told. How it is now;
    /// none where it is gone. [`Error::Lost`] see [`DeploymentChange::during`].
    pub async fn deployment_change(
        &self,
        id: &str,
        change: &DeploymentChange,
        event: Option<&NewEvent>,
    ) -> Result<Option<Deployment>, Error> {
        let changed = transaction!(self.db(), |tx| async {
            let Some(told) = apply_and_tell(tx, id, change).await? else { return Ok((None, false)) };
            let deployment = tx.one(GET, args![id]).await.and_then(|row| whole(&row))?;
            if let Some(event) = event {
                append(tx, event).await?;
            }
            Ok((Some(deployment), told))
        });
        self.signal(changed)
    }

    /// Forgets a deployment with its resources, and writes down the callback. Whether there was one; the event tells of it if so.
    pub async fn deployment_remove(&self, id: &str, event: &NewEvent) -> Result<bool, Error> {
        let removed = transaction!(self.db(), |tx| async {
            let sql = concat!("DELETE FROM deployments WHERE id = $1 RETURNING ", callbacks::told_columns!());
            let Some(row) = tx.optional(sql, args![id]).await? else { return Ok((false, false)) };
            resource_credit::end(tx, id, "", &event.actor).await?;
            let told = callbacks::write(tx, CallbackKind::DeleteDone, &row).await?;
            append(tx, event).await?;
            Ok::<_, Error>((true, told))
        });
        self.signal(removed)
    }

    /// Wakes whoever delivers callbacks where one was written down.
    fn signal<T>(&self, written: Result<(T, bool), Error>) -> Result<T, Error> {
        let (outcome, told) = written?;
        if told {
            self.callbacks_signal().notify_one();
        }
        Ok(outcome)
    }
}

/// Changes a deployment in the caller's transaction, and writes its callback down; none where it is gone, else whether there is a
/// callback.
async fn apply_and_tell(tx: &mut Tx, id: &str, change: &DeploymentChange) -> Result<Option<bool>, Error> {
    let kind = change.status.and_then(CallbackKind::of);
    let mut before = None;
    if kind.is_some() {
        let sql = "UPDATE deployments SET updated_at = updated_at WHERE id = $1 RETURNING status";
        before = tx.optional(sql, args![id]).await?.map(|row| row.get::<String>(0)).transpose()?;
    }
    if !apply(tx, id, change).await? {
        return Ok(None);
    }
    match kind {
        // What is stuck and stays so is told once.
        Some(kind) if before.as_deref() != change.status.map(DeploymentStatus::as_str) => {
            let sql = concat!("SELECT ", callbacks::told_columns!(), " FROM deployments WHERE id = $1");
            let row = tx.one(sql, args![id]).await?;
            callbacks::write(tx, kind, &row).await.map(Some)
        }
        _ => Ok(Some(false)),
    }
}

async fn begin(
    tx: &mut Tx,
    new: &NewDeployment,
    resources: &[Resource],
    op: &NewOperation,
    progress: &Progress,
    steps: &[Step],
    event: &NewEvent,
) -> Result<(Begin, bool), Error> {
    let operation = match work::begin(tx, op, Some(&new.id), progress, steps, None).await? {
        Begin::Existing(operation) => return Ok((Begin::Existing(operation), false)),
        Begin::New(operation) => operation,
    };
    insert(tx, new, &operation).await?;
    resources::insert_all(tx, &new.id, resources).await?;
    let mut told = false;
    if new.callback.is_some() {
        let sql = concat!("SELECT ", callbacks::told_columns!(), " FROM deployments WHERE id = $1");
        let row = tx.one(sql, args![&new.id]).await?;
        told = callbacks::write(tx, CallbackKind::CreateSubmitted, &row).await?;
    }
    append(tx, event).await?;
    Ok((Begin::New(operation), told))
}

/// Locks a deployment and begins the work on it, if no other work than `instead_of` is under way.
async fn take(
    tx: &mut Tx,
    id: &str,
    instead_of: Option<&str>,
    op: &NewOperation,
    progress: &Progress,
    steps: &[Step],
) -> Result<Begin, Error> {
    let sql = "UPDATE deployments SET updated_at = updated_at WHERE id = $1 RETURNING operation";
    let row = tx.optional(sql, args![id]).await?;
    // After the lock: what it waited for may have used the key. And whatever has become of the deployment since.
    if let Some(operation) = known(tx, op).await? {
        return Ok(Begin::Existing(operation));
    }
    let under_way: Option<String> = row.ok_or(Error::NotFound("the deployment"))?.get(0)?;
    if under_way.is_some() && under_way.as_deref() != instead_of {
        return Err(Error::Referenced("the deployment"));
    }
    work::begin(tx, op, Some(id), progress, steps, None).await
}
