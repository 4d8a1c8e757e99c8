//! Instances: machines with an owner and a number, from the intent to make them until nothing of them is left. Beginning and end of
//! an operation on one are each one transaction, with the event that tells of it.
//!
//! Whoever begins something about an instance locks its row first; whoever makes one locks its image.

use crate::db::{Row, Tx, args, transaction};
use crate::events::append;
use crate::images::{self, Begun, ImageStatus, RecordError};
use crate::operations::{forget_input, known, text_enum};
use crate::work::{self, Save, Step};
use crate::{Begin, Error, NewEvent, NewOperation, Progress, Store};

text_enum! {
    /// What an instance is doing.
    InstanceStatus, "state of an instance" {
        /// It is up.
        Running = "running",
        /// It is off.
        Stopped = "stopped",
        /// Its memory is kept, nothing runs.
        Frozen = "frozen",
        /// It is on its way up.
        Starting = "starting",
        /// It is on its way down.
        Stopping = "stopping",
        /// It is on its way through a reboot.
        Rebooting = "rebooting",
        /// It is broken, or gone at the provider.
        Error = "error",
    }
}

text_enum! {
    /// What is being done about an instance.
    InstanceTask, "task of an instance" {
        /// It is being made.
        Create = "create",
        /// It is being started.
        Start = "start",
        /// It is being stopped.
        Stop = "stop",
        /// It is being rebooted.
        Reboot = "reboot",
        /// It is being frozen.
        Suspend = "suspend",
        /// It goes on after it was frozen.
        Resume = "resume",
        /// It is being removed.
        Delete = "delete",
    }
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceRecord {
    /// A number that is never used again.
    pub id: i64,
    /// Its cloud.
    pub cloud: String,
    /// Its name.
    pub name: String,
    /// The number of its image.
    pub image_id: i64,
    /// The name of its image.
    pub image_name: String,
    /// The number of the user who has it.
    pub owner: i64,
    /// The identifier of its size.
    pub size: String,
    /// The token of its machine.
    pub token: String,
    /// What it was doing when it was last looked at.
    pub state: InstanceStatus,
    /// Why, where that was known.
    pub detail: Option<String>,
    /// Its address, as it was then.
    pub address: Option<String>,
    /// The provider's identifier of its machine, once that is ordered.
    pub node_id: Option<String>,
    /// Whether anything was done to it since it was made.
    pub acted: bool,
    /// What is being done about it.
    pub task: Option<InstanceTask>,
    /// The operation that does it.
    pub operation: Option<String>,
    /// When it was ordered, in microseconds UTC.
    pub created_at: i64,
    /// When the record last changed, in microseconds UTC.
    pub updated_at: i64,
}

impl InstanceRecord {
    /// Whether it is ordered only, and may still come to nothing.
    pub fn is_intent(&self) -> bool {
        self.task == Some(InstanceTask::Create) && self.node_id.is_none()
    }
}

/// An instance to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInstanceRecord {
    /// See [`InstanceRecord::cloud`].
    pub cloud: String,
    /// See [`InstanceRecord::name`]; none makes `<image's name>-instance-<number>`.
    pub name: Option<String>,
    /// See [`InstanceRecord::image_id`].
    pub image_id: i64,
    /// See [`InstanceRecord::owner`].
    pub owner: i64,
    /// See [`InstanceRecord::size`].
    pub size: String,
    /// See [`InstanceRecord::token`].
    pub token: String,
}

/// Which instances to list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InstanceFilter {
    /// Made from this image only.
    pub image: Option<i64>,
    /// Of this user only.
    pub owner: Option<i64>,
}

/// What is seen of an instance: it is as `now` says, if it was as `before`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceSeen {
    /// The record, as it was.
    pub before: InstanceRecord,
    /// As it is: state, detail, address and the provider's identifier count.
    pub now: InstanceRecord,
}

/// What an operation on an instance came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceEnd {
    /// It is there.
    Stays {
        /// What it is doing now; none leaves what is known.
        state: Option<InstanceStatus>,
        /// Whether something was done to it.
        acted: bool,
    },
    /// Nothing is left of it.
    Removed,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT i.id, i.cloud, i.name, i.image_id, m.name, i.owner, i.size, i.token, i.state, i.detail, i.address, i.node_id, \
             i.acted, i.task, i.operation, i.created_at, i.updated_at FROM instances i JOIN images m ON m.id = i.image_id ",
            $rest
        )
    };
}

impl Store {
    /// The instances of a cloud, by number.
    pub async fn instances(&self, cloud: &str, filter: InstanceFilter) -> Result<Vec<InstanceRecord>, Error> {
        let sql = select!(
            "WHERE i.cloud = $1 AND (CAST($2 AS BIGINT) IS NULL OR i.image_id = $2) \
             AND (CAST($3 AS BIGINT) IS NULL OR i.owner = $3) ORDER BY i.id"
        );
        self.db().all(sql, args![cloud, filter.image, filter.owner]).await?.iter().map(instance).collect()
    }

    /// One instance.
    pub async fn instance_get(&self, id: i64) -> Result<Option<InstanceRecord>, Error> {
        self.db().optional(select!("WHERE i.id = $1"), args![id]).await?.as_ref().map(instance).transpose()
    }

    /// The instance whose machine has this token.
    pub async fn instance_by_token(&self, cloud: &str, token: &str) -> Result<Option<InstanceRecord>, Error> {
        let sql = select!("WHERE i.cloud = $1 AND i.token = $2");
        self.db().optional(sql, args![cloud, token]).await?.as_ref().map(instance).transpose()
    }

    /// How many instances a user has, over all clouds, also such as are only ordered.
    pub async fn instances_owned(&self, owner: i64) -> Result<u64, Error> {
        let row = self.db().optional("SELECT COUNT(*) FROM instances WHERE owner = $1", args![owner]).await?;
        row.ok_or(Error::Corrupt("row"))?.unsigned(0)
    }

    /// Gives all instances and images of one user to another. How many instances. [`Error::NotFound`] where there is no such other.
    pub async fn instances_hand_over(&self, from: i64, to: i64, event: &NewEvent) -> Result<u64, Error> {
        transaction!(self.db(), |tx| async {
            if tx.optional("SELECT 1 FROM users WHERE number = $1", args![to]).await?.is_none() {
                return Err(Error::NotFound("the user"));
            }
            let sql = "UPDATE instances SET owner = $2, updated_at = $3 WHERE owner = $1";
            let moved = tx.execute(sql, args![from, to, crate::now()]).await?;
            tx.execute("UPDATE images SET owner = $2 WHERE owner = $1", args![from, to]).await?;
            append(tx, event).await?;
            Ok(moved)
        })
    }

    /// Notes what is seen of instances. One whose record has changed since is left as it is. How many were changed.
    pub async fn instances_seen(&self, seen: &[InstanceSeen]) -> Result<u64, Error> {
        transaction!(self.db(), |tx| see(tx, seen))
    }

    /// Writes down the intent to make an instance: the operation with its steps, as [`Store::work_begin`] does it, the instance, and
    /// the event, whose subject becomes the instance's number. [`RecordError::NotFound`] where the image is on record no more,
    /// [`RecordError::NotActive`] where it cannot be used, or is being removed.
    pub async fn instance_begin(
        &self,
        new: &NewInstanceRecord,
        op: &NewOperation,
        steps: &[Step],
        event: &NewEvent,
    ) -> Result<Begun<InstanceRecord>, RecordError> {
        transaction!(self.db(), |tx| begin(tx, new, op, steps, event))
    }

    /// Notes that the provider has accepted the order for the machine of an instance, if it is this operation that makes it.
    pub async fn instance_accepted(&self, id: i64, op: &str, node_id: &str, address: Option<&str>) -> Result<bool, Error> {
        let sql = "UPDATE instances SET node_id = $3, address = $4, updated_at = $5 WHERE id = $1 AND operation = $2 RETURNING 1";
        Ok(self.db().write_count(sql, args![id, op, node_id, address, crate::now()]).await? > 0)
    }

    /// Writes down the intent to do something to an instance. A removal that is under way gives the operation that does it to
    /// whoever wants a removal; otherwise [`RecordError::UnderWay`] while something is being done.
    pub async fn instance_work(
        &self,
        id: i64,
        task: InstanceTask,
        op: &NewOperation,
        progress: &Progress,
        steps: &[Step],
        event: &NewEvent,
    ) -> Result<Begun<InstanceRecord>, RecordError> {
        transaction!(self.db(), |tx| work_begin(tx, id, task, op, progress, steps, event))
    }

    /// Saves the end of an operation on an instance, as [`Store::work_save`] does it, and what came of it. What was asked for is
    /// forgotten: data for the first boot may be confidential.
    pub async fn instance_ended(
        &self,
        op: &str,
        owner: &str,
        end: &Save<'_>,
        id: i64,
        result: InstanceEnd,
        event: &NewEvent,
    ) -> Result<(), Error> {
        transaction!(self.db(), |tx| ended(tx, op, owner, end, id, result, event))
    }
}

/// What an operation on an instance is about.
fn subject(id: i64) -> String {
    format!("instance/{id}")
}

async fn see(tx: &mut Tx, seen: &[InstanceSeen]) -> Result<u64, Error> {
    let sql = "UPDATE instances SET state = $3, detail = $4, address = $5, node_id = $6, updated_at = $7 \
               WHERE id = $1 AND updated_at = $2";
    let mut changed = 0;
    for InstanceSeen { before, now } in seen {
        let args = args![
            before.id,
            before.updated_at,
            now.state.as_str(),
            &now.detail,
            &now.address,
            &now.node_id,
            crate::now().max(before.updated_at + 1),
        ];
        changed += tx.execute(sql, args).await?;
    }
    Ok(changed)
}

async fn get(tx: &mut Tx, id: i64) -> Result<InstanceRecord, Error> {
    instance(&tx.one(select!("WHERE i.id = $1"), args![id]).await?)
}

async fn begin(
    tx: &mut Tx,
    new: &NewInstanceRecord,
    op: &NewOperation,
    steps: &[Step],
    event: &NewEvent,
) -> Result<Begun<InstanceRecord>, RecordError> {
    if let Some(operation) = known(tx, op).await? {
        return Ok(Begun::Existing(operation));
    }
    let image = images::lock(tx, new.image_id).await?.filter(|image| image.cloud == new.cloud).ok_or(RecordError::NotFound)?;
    if image.status != ImageStatus::Active || image.task.is_some() {
        return Err(RecordError::NotActive);
    }
    let operation = match work::begin(tx, op, None, &Progress::default(), steps, None).await? {
        Begin::Existing(operation) => return Ok(Begun::Existing(operation)),
        Begin::New(operation) => operation,
    };
    let sql = "INSERT INTO instances (cloud, name, image_id, owner, size, token, state, acted, task, operation, created_at, \
               updated_at) VALUES ($1, $2, $3, $4, $5, $6, 'stopped', 0, 'create', $7, $8, $8) RETURNING id";
    let args = args![
        &new.cloud,
        new.name.as_deref().unwrap_or_default(),
        new.image_id,
        new.owner,
        &new.size,
        &new.token,
        &operation.id,
        crate::now(),
    ];
    let id: i64 = tx.one(sql, args).await.map_err(|error| error.about("the user"))?.get(0)?;
    if new.name.is_none() {
        let name = format!("{}-instance-{id}", image.name);
        tx.execute("UPDATE instances SET name = $2 WHERE id = $1", args![id, &name]).await?;
    }
    work::set_subject(tx, &operation.id, &subject(id)).await?;
    let made = get(tx, id).await?;
    append(tx, &NewEvent { subject: id.to_string(), ..event.clone() }).await?;
    Ok(Begun::New(operation, made))
}

async fn work_begin(
    tx: &mut Tx,
    id: i64,
    task: InstanceTask,
    op: &NewOperation,
    progress: &Progress,
    steps: &[Step],
    event: &NewEvent,
) -> Result<Begun<InstanceRecord>, RecordError> {
    if let Some(operation) = known(tx, op).await? {
        return Ok(Begun::Existing(operation));
    }
    let sql = "UPDATE instances SET updated_at = updated_at WHERE id = $1 RETURNING task, operation";
    let row = tx.optional(sql, args![id]).await?.ok_or(RecordError::NotFound)?;
    match (row.get::<Option<String>>(0)?, row.get::<Option<String>>(1)?) {
        (None, _) => {}
        (Some(under_way), Some(operation)) if under_way == "delete" && task == InstanceTask::Delete => {
            let operation = crate::operations::get(tx, &operation).await?;
            return Ok(Begun::Existing(operation.ok_or(Error::Corrupt("operation of an instance"))?));
        }
        (Some(_), _) => return Err(RecordError::UnderWay),
    }
    let operation = match work::begin(tx, op, Some(&subject(id)), progress, steps, None).await? {
        Begin::Existing(operation) => return Ok(Begun::Existing(operation)),
        Begin::New(operation) => operation,
    };
    let sql = "UPDATE instances SET task = $2, operation = $3, updated_at = $4 WHERE id = $1";
    tx.execute(sql, args![id, task.as_str(), &operation.id, crate::now()]).await?;
    let changed = get(tx, id).await?;
    append(tx, event).await?;
    Ok(Begun::New(operation, changed))
}

async fn ended(
    tx: &mut Tx,
    op: &str,
    owner: &str,
    end: &Save<'_>,
    id: i64,
    result: InstanceEnd,
    event: &NewEvent,
) -> Result<(), Error> {
    work::store(tx, op, owner, end).await?;
    forget_input(tx, op).await?;
    match result {
        InstanceEnd::Stays { state, acted } => {
            let sql = "UPDATE instances SET state = COALESCE($3, state), acted = CASE WHEN $4 = 1 THEN 1 ELSE acted END, \
                       task = NULL, operation = NULL, updated_at = $5 WHERE id = $1 AND operation = $2";
            tx.execute(sql, args![id, op, state.map(InstanceStatus::as_str), acted, crate::now()]).await?;
        }
        InstanceEnd::Removed => {
            tx.execute("DELETE FROM instances WHERE id = $1 AND operation = $2", args![id, op]).await?;
        }
    }
    append(tx, event).await?;
    Ok(())
}

fn instance(row: &Row) -> Result<InstanceRecord, Error> {
    Ok(InstanceRecord {
        id: row.get(0)?,
        cloud: row.get(1)?,
        name: row.get(2)?,
        image_id: row.get(3)?,
        image_name: row.get(4)?,
        owner: row.get(5)?,
        size: row.get(6)?,
        token: row.get(7)?,
        state: InstanceStatus::parse(&row.get::<String>(8)?)?,
        detail: row.get(9)?,
        address: row.get(10)?,
        node_id: row.get(11)?,
        acted: row.flag(12)?,
        task: row.get::<Option<String>>(13)?.map(|task| InstanceTask::parse(&task)).transpose()?,
        operation: row.get(14)?,
        created_at: row.get(15)?,
        updated_at: row.get(16)?,
    })
}
