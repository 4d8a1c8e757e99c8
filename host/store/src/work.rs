//! Operations of several steps. Each step is written down before it is done and after it; the operation with its phase, its steps
//! and whatever else changes with them are saved in one transaction, by the one who holds the lease.

use serde_json::Value;

use crate::db::{Db, Row, Tx, args, transaction};
use crate::events::append;
use crate::operations::{self, Begin, Operation, OperationState, Outcome, finish, text_enum};
use crate::{Error, NewEvent, NewOperation, Store};

text_enum! {
    /// Which way an operation goes.
    Phase, "phase of an operation" {
        /// Its steps are done.
        Forward = "forward",
        /// The steps of the present attempt are undone, and another attempt may follow.
        Back = "back",
        /// All of its steps are undone.
        Out = "out",
    }
}

text_enum! {
    /// How far a step is.
    StepState, "state of a step" {
        /// Not begun.
        Planned = "planned",
        /// Begun: it may have had its effect.
        Doing = "doing",
        /// It had its effect.
        Done = "done",
        /// It will not have its effect, or has only a part of it.
        Failed = "failed",
        /// Its effect is being undone.
        Undoing = "undoing",
        /// It has no effect any more.
        Undone = "undone",
    }
}

text_enum! {
    /// What somebody wants of an operation that another one works on.
    Request, "request" {
        /// To be turned round and undone.
        Cancel = "cancel",
        /// To be tried at once.
        Retry = "retry",
        /// To be given up as it is.
        Abandon = "abandon",
    }
}

/// A step of an operation.
#[derive(Clone, PartialEq)]
pub struct Step {
    /// Which attempt it belongs to. Those of attempt 0 stay when another attempt is undone.
    pub attempt: u32,
    /// When it is its turn, among the steps of its attempt. Those of one stage are done side by side.
    pub stage: u32,
    /// Whether there is no way back behind it: it is tried until it succeeds, and is not undone.
    pub onward: bool,
    /// What it does, as its workflow calls it.
    pub kind: String,
    /// The cloud, where it is one's matter.
    pub cloud: Option<String>,
    /// The token that it introduces at the provider. One step a token.
    pub token: Option<String>,
    /// What it needs to know.
    pub input: Value,
    /// How far it is.
    pub state: StepState,
    /// Failed tries in the present direction.
    pub tries: u32,
    /// Nothing is to be done about it before, in microseconds UTC.
    pub wake_at: i64,
    /// What came of it.
    pub output: Option<Value>,
    /// Why the last try failed.
    pub error: Option<Value>,
    /// When it was begun, in microseconds UTC.
    pub begun_at: Option<i64>,
    /// When it was done, failed or was undone, in microseconds UTC.
    pub ended_at: Option<i64>,
}

impl Step {
    /// A step to be done.
    pub fn new(attempt: u32, stage: u32, kind: impl Into<String>) -> Self {
        Self {
            attempt,
            stage,
            onward: false,
            kind: kind.into(),
            cloud: None,
            token: None,
            input: Value::Null,
            state: StepState::Planned,
            tries: 0,
            wake_at: 0,
            output: None,
            error: None,
            begun_at: None,
            ended_at: None,
        }
    }
}

/// Without input and output, which may be confidential.
impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Step")
            .field("attempt", &self.attempt)
            .field("stage", &self.stage)
            .field("onward", &self.onward)
            .field("kind", &self.kind)
            .field("cloud", &self.cloud)
            .field("token", &self.token)
            .field("state", &self.state)
            .field("tries", &self.tries)
            .field("wake_at", &self.wake_at)
            .finish_non_exhaustive()
    }
}

/// Where an operation of several steps stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Which way it goes.
    pub phase: Phase,
    /// Why it does not go forward.
    pub cause: Option<Value>,
    /// The attempt that is being made; 0 before the first.
    pub attempt: u32,
    /// Until when the attempt may take, in microseconds UTC.
    pub attempt_deadline: Option<i64>,
    /// Until when the whole may take, in microseconds UTC.
    pub deadline: Option<i64>,
    /// Nobody needs to work on it before, in microseconds UTC.
    pub wake_at: Option<i64>,
    /// Whether an operator should look: something is tried again and again.
    pub stuck: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            phase: Phase::Forward,
            cause: None,
            attempt: 0,
            attempt_deadline: None,
            deadline: None,
            wake_at: None,
            stuck: false,
        }
    }
}

/// An operation with its steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    /// The operation.
    pub operation: Operation,
    /// What it is about: the identifier of a service, a deployment …
    pub subject: Option<String>,
    /// Where it stands.
    pub progress: Progress,
    /// Its steps, in the order in which they were planned.
    pub steps: Vec<Step>,
    /// What somebody wants of it.
    pub request: Option<Request>,
}

/// What has changed about an operation.
#[derive(Debug, Clone)]
pub struct Save<'a> {
    /// Where it stands now.
    pub progress: &'a Progress,
    /// The steps that have changed or are new, each with its position.
    pub steps: &'a [(u32, &'a Step)],
    /// Whether the request that was there is dealt with.
    pub answered: bool,
    /// What happened, for the outbox.
    pub events: &'a [NewEvent],
    /// How it ended, if it did. The lease ends with it.
    pub outcome: Option<&'a Outcome>,
}

/// Which operations to list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WorkFilter {
    /// Those that are not over.
    #[default]
    Open,
    /// Those an operator should look at.
    Stuck,
    /// All.
    All,
}

macro_rules! progress_columns {
    () => {
        "subject, phase, cause, attempt, attempt_deadline, deadline, wake_at, stuck, request"
    };
}

macro_rules! step_columns {
    () => {
        "attempt, stage, onward, kind, cloud, token, input, state, tries, wake_at, output, error, begun_at, ended_at"
    };
}

impl Store {
    /// Writes down an operation with its steps, as [`Store::operation_begin`] does without.
    pub async fn work_begin(
        &self,
        new: &NewOperation,
        subject: Option<&str>,
        progress: &Progress,
        steps: &[Step],
        event: Option<&NewEvent>,
    ) -> Result<Begin, Error> {
        transaction!(self.db(), |tx| begin(tx, new, subject, progress, steps, event))
    }

    /// An operation with its steps.
    pub async fn work_get(&self, id: &str) -> Result<Option<Work>, Error> {
        transaction!(self.db(), |tx| get(tx, id))
    }

    /// Saves what has changed, if `owner` holds the lease; what somebody wants of the operation meanwhile. [`Error::Lost`] as in
    /// [`Store::operation_finish`].
    pub async fn work_save(&self, id: &str, owner: &str, save: &Save<'_>) -> Result<Option<Request>, Error> {
        transaction!(self.db(), |tx| async {
            let request = store(tx, id, owner, save).await?;
            for event in save.events {
                append(tx, event).await?;
            }
            Ok(request)
        })
    }

    /// Gives the lease back, so that whoever comes first takes the operation up at `wake_at`.
    pub async fn work_release(&self, id: &str, owner: &str, wake_at: Option<i64>) -> Result<(), Error> {
        let sql = "UPDATE operations SET lease_owner = NULL, lease_until = NULL, wake_at = $3, updated_at = $4 \
                   WHERE id = $1 AND state = 'pending' AND lease_owner = $2 RETURNING 1";
        match self.db().write_count(sql, args![id, owner, wake_at, crate::now()]).await? {
            0 => Err(Error::Lost),
            _ => Ok(()),
        }
    }

    /// Prolongs the leases of these operations until then, as far as they are this owner's. Those of which somebody wants
    /// something.
    pub async fn leases_renew(&self, owner: &str, ids: &[String], until: i64) -> Result<Vec<(String, Request)>, Error> {
        macro_rules! renew {
            ($ids:literal) => {
                concat!(
                    "UPDATE operations SET lease_until = $2 WHERE id IN (",
                    $ids,
                    ") AND lease_owner = $1 AND state = 'pending' RETURNING id, request"
                )
            };
        }
        let sql = match self.db() {
            Db::Sqlite { .. } => renew!("SELECT value FROM json_each($3)"),
            Db::Postgres(_) => renew!("SELECT jsonb_array_elements_text($3::jsonb)"),
        };
        let ids = Value::from(ids).to_string();
        let rows = self.db().write_all(sql, args![owner, until, &ids]).await?;
        let wanted = rows.iter().filter_map(|row| {
            let request = row.get::<Option<String>>(1).transpose()?;
            Some(request.and_then(|request| Ok((row.get(0)?, Request::parse(&request)?))))
        });
        wanted.collect()
    }

    /// Notes what somebody wants of a pending operation; nothing waits for its time any more. Whether there is one.
    pub async fn work_request(&self, id: &str, request: Request) -> Result<bool, Error> {
        // Giving up is not taken back by who comes later.
        let sql = "UPDATE operations SET request = CASE WHEN request = 'abandon' THEN request ELSE $2 END, wake_at = NULL, \
                   updated_at = $3 WHERE id = $1 AND state = 'pending' RETURNING 1";
        Ok(self.db().write_count(sql, args![id, request.as_str(), crate::now()]).await? > 0)
    }

    /// Up to `limit` operations without their steps, the latest first. The next page begins after the last identifier of this
    /// one.
    pub async fn work_list(&self, filter: WorkFilter, before: Option<&str>, limit: u32) -> Result<Vec<Work>, Error> {
        macro_rules! list {
            ($condition:literal) => {
                concat!(
                    "SELECT ",
                    operations::columns!(),
                    ", ",
                    progress_columns!(),
                    " FROM operations WHERE ",
                    $condition,
                    " id < $1 ORDER BY id DESC LIMIT $2"
                )
            };
        }
        // Sorts after every uuid.
        let before = before.unwrap_or("g");
        let sql = match filter {
            WorkFilter::Open => list!("state = 'pending' AND"),
            WorkFilter::Stuck => list!("stuck = 1 AND"),
            WorkFilter::All => list!(""),
        };
        self.db().all(sql, args![before, limit]).await?.iter().map(|row| work(row, Vec::new())).collect()
    }

    /// The last operation about something, with its steps.
    pub async fn work_about(&self, subject: &str) -> Result<Option<Work>, Error> {
        transaction!(self.db(), |tx| async {
            let sql = "SELECT id FROM operations WHERE subject = $1 ORDER BY id DESC LIMIT 1";
            match tx.optional(sql, args![subject]).await? {
                Some(row) => get(tx, &row.get::<String>(0)?).await,
                None => Ok(None),
            }
        })
    }

    /// The step that introduced a token, with its operation's identifier and state.
    pub async fn step_by_token(&self, cloud: &str, token: &str) -> Result<Option<(String, OperationState, Step)>, Error> {
        let sql = concat!(
            "SELECT ",
            step_columns!(),
            ", operation, (SELECT state FROM operations WHERE id = operation) FROM steps WHERE cloud = $1 AND token = $2"
        );
        let Some(row) = self.db().optional(sql, args![cloud, token]).await? else { return Ok(None) };
        Ok(Some((row.get(14)?, OperationState::parse(&row.get::<String>(15)?)?, step(&row)?)))
    }
}

/// Begins in the caller's transaction; see [`Store::work_begin`].
pub(crate) async fn begin(
    tx: &mut Tx,
    new: &NewOperation,
    subject: Option<&str>,
    progress: &Progress,
    steps: &[Step],
    event: Option<&NewEvent>,
) -> Result<Begin, Error> {
    let begun = operations::begin(tx, new, None).await?;
    if let Begin::New(operation) = &begun {
        if let Some(subject) = subject {
            set_subject(tx, &operation.id, subject).await?;
        }
        set_progress(tx, &operation.id, progress, true).await?;
        for (position, step) in (0..).zip(steps) {
            set_step(tx, &operation.id, position, step).await?;
        }
        if let Some(event) = event {
            append(tx, event).await?;
        }
    }
    Ok(begun)
}

/// Says what an operation is about, where that came into being after it.
pub(crate) async fn set_subject(tx: &mut Tx, id: &str, subject: &str) -> Result<(), Error> {
    tx.execute("UPDATE operations SET subject = $2 WHERE id = $1", args![id, subject]).await?;
    Ok(())
}

/// Saves in the caller's transaction, without events; see [`Store::work_save`].
pub(crate) async fn store(tx: &mut Tx, id: &str, owner: &str, save: &Save<'_>) -> Result<Option<Request>, Error> {
    // The lease first: it locks the row, and who has lost it writes nothing.
    let sql = "UPDATE operations SET updated_at = $3 WHERE id = $1 AND state = 'pending' AND lease_owner = $2 RETURNING request";
    let row = tx.optional(sql, args![id, owner, crate::now()]).await?.ok_or(Error::Lost)?;
    let request = row.get::<Option<String>>(0)?.map(|text| Request::parse(&text)).transpose()?;
    set_progress(tx, id, save.progress, save.answered).await?;
    for (position, step) in save.steps {
        set_step(tx, id, *position, step).await?;
    }
    if let Some(outcome) = save.outcome {
        finish(tx, id, owner, outcome).await?;
    }
    Ok(request.filter(|_| !save.answered))
}

async fn set_progress(tx: &mut Tx, id: &str, progress: &Progress, answered: bool) -> Result<(), Error> {
    let sql = "UPDATE operations SET phase = $2, cause = $3, attempt = $4, attempt_deadline = $5, deadline = $6, wake_at = $7, \
               stuck = $8, request = CASE WHEN $9 = 1 THEN NULL ELSE request END WHERE id = $1";
    let cause = progress.cause.as_ref().map(Value::to_string);
    let args = args![
        id,
        progress.phase.as_str(),
        &cause,
        progress.attempt,
        progress.attempt_deadline,
        progress.deadline,
        progress.wake_at,
        progress.stuck,
        answered,
    ];
    tx.execute(sql, args).await?;
    Ok(())
}

async fn set_step(tx: &mut Tx, operation: &str, position: u32, step: &Step) -> Result<(), Error> {
    // What a step is stays; how far it is changes.
    let sql = concat!(
        "INSERT INTO steps (operation, position, ",
        step_columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) \
         ON CONFLICT (operation, position) DO UPDATE SET state = excluded.state, tries = excluded.tries, \
         wake_at = excluded.wake_at, output = excluded.output, error = excluded.error, begun_at = excluded.begun_at, \
         ended_at = excluded.ended_at"
    );
    let (input, output) = (step.input.to_string(), step.output.as_ref().map(Value::to_string));
    let error = step.error.as_ref().map(Value::to_string);
    let args = args![
        operation,
        position,
        step.attempt,
        step.stage,
        step.onward,
        &step.kind,
        &step.cloud,
        &step.token,
        &input,
        step.state.as_str(),
        step.tries,
        step.wake_at,
        &output,
        &error,
        step.begun_at,
        step.ended_at,
    ];
    tx.execute(sql, args).await.map_err(|error| error.about("a step with this token"))?;
    Ok(())
}

async fn get(tx: &mut Tx, id: &str) -> Result<Option<Work>, Error> {
    let sql = concat!("SELECT ", operations::columns!(), ", ", progress_columns!(), " FROM operations WHERE id = $1");
    let Some(row) = tx.optional(sql, args![id]).await? else { return Ok(None) };
    let sql = concat!("SELECT ", step_columns!(), " FROM steps WHERE operation = $1 ORDER BY position");
    let steps = tx.all(sql, args![id]).await?.iter().map(step).collect::<Result<_, _>>()?;
    work(&row, steps).map(Some)
}

fn work(row: &Row, steps: Vec<Step>) -> Result<Work, Error> {
    let first = operations::COLUMNS;
    Ok(Work {
        operation: operations::operation(row)?,
        subject: row.get(first)?,
        progress: Progress {
            phase: Phase::parse(&row.get::<String>(first + 1)?)?,
            cause: row.json_option(first + 2)?,
            attempt: small(row, first + 3)?,
            attempt_deadline: row.get(first + 4)?,
            deadline: row.get(first + 5)?,
            wake_at: row.get(first + 6)?,
            stuck: row.flag(first + 7)?,
        },
        steps,
        request: row.get::<Option<String>>(first + 8)?.map(|text| Request::parse(&text)).transpose()?,
    })
}

fn step(row: &Row) -> Result<Step, Error> {
    Ok(Step {
        attempt: small(row, 0)?,
        stage: small(row, 1)?,
        onward: row.flag(2)?,
        kind: row.get(3)?,
        cloud: row.get(4)?,
        token: row.get(5)?,
        input: row.json(6)?,
        state: StepState::parse(&row.get::<String>(7)?)?,
        tries: small(row, 8)?,
        wake_at: row.get(9)?,
        output: row.json_option(10)?,
        error: row.json_option(11)?,
        begun_at: row.get(12)?,
        ended_at: row.get(13)?,
    })
}

fn small(row: &Row, index: usize) -> Result<u32, Error> {
    u32::try_from(row.get::<i64>(index)?).map_err(|_| Error::Corrupt("number"))
}
