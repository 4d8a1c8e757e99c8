//! Schedules: what makes a deployment of each file that matches an expression. What they have made is in `schedule_events`.

use serde_json::Value;

use crate::db::{Row, Tx, args, transaction};
use crate::deployment_pages::Conditions;
use crate::deployment_rows::owner;
use crate::events::append;
use crate::operations::text_enum;
use crate::pages::{Page, Sort, Statements, any_order};
use crate::{DeploymentFilter, Error, Idempotency, NewEvent, Owner, Store};

text_enum! {
    /// Whether a schedule looks at files.
    ScheduleStatus, "status of a schedule" {
        /// It does.
        Running = "RUNNING",
        /// It does not, until it runs again.
        Suspended = "SUSPENDED",
    }
}

text_enum! {
    /// How an expression is written.
    ExpressionSyntax, "syntax of an expression" {
        /// As a regular expression.
        Regex = "regex",
        /// As a pattern with `*`, `?` and `[…]`.
        Glob = "glob",
    }
}

/// A schedule.
#[derive(Clone, PartialEq)]
pub struct Schedule {
    /// A uuid v7.
    pub id: String,
    /// Who it and its deployments belong to; nobody, where nobody had to say who he is.
    pub owner: Option<Owner>,
    /// The group of users for which its deployments are.
    pub user_group: Option<String>,
    /// Whether it looks at files.
    pub status: ScheduleStatus,
    /// Which files it is for.
    pub file_expression: String,
    /// How that is written.
    pub syntax: ExpressionSyntax,
    /// Where files are to be replicated.
    pub replication_expression: String,
    /// How many replicas there are to be.
    pub replicas: u32,
    /// The URL that wants to hear of its deployments.
    pub callback: Option<String>,
    /// See `Deployment::max_attempts`.
    pub max_attempts: Option<u32>,
    /// See `Deployment::timeout`.
    pub timeout: Option<i64>,
    /// See `Deployment::attempt_timeout`.
    pub attempt_timeout: Option<i64>,
    /// See `Deployment::keep_last_attempt`.
    pub keep_last_attempt: bool,
    /// The template of its deployments. Empty in pages.
    pub template: String,
    /// The template's inputs: a JSON object. Empty in pages.
    pub parameters: Value,
    /// When it was made, in microseconds UTC.
    pub created_at: i64,
    /// When it last changed, in microseconds UTC.
    pub updated_at: i64,
}

/// Without what its owner wrote, which may be confidential.
impl std::fmt::Debug for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Schedule")
            .field("id", &self.id)
            .field("owner", &self.owner)
            .field("status", &self.status)
            .field("syntax", &self.syntax)
            .field("created_at", &self.created_at)
            .field("updated_at", &self.updated_at)
            .finish_non_exhaustive()
    }
}

/// A schedule to make; it runs.
#[derive(Clone, PartialEq)]
pub struct NewSchedule {
    /// See [`Schedule::id`].
    pub id: String,
    /// See [`Schedule::owner`].
    pub owner: Option<Owner>,
    /// See [`Schedule::user_group`].
    pub user_group: Option<String>,
    /// See [`Schedule::file_expression`]; at most 2,000 bytes.
    pub file_expression: String,
    /// See [`Schedule::syntax`].
    pub syntax: ExpressionSyntax,
    /// See [`Schedule::replication_expression`].
    pub replication_expression: String,
    /// See [`Schedule::replicas`]; not 0.
    pub replicas: u32,
    /// See [`Schedule::callback`].
    pub callback: Option<String>,
    /// See [`Schedule::max_attempts`].
    pub max_attempts: Option<u32>,
    /// See [`Schedule::timeout`].
    pub timeout: Option<i64>,
    /// See [`Schedule::attempt_timeout`].
    pub attempt_timeout: Option<i64>,
    /// See [`Schedule::keep_last_attempt`].
    pub keep_last_attempt: bool,
    /// See [`Schedule::template`].
    pub template: String,
    /// See [`Schedule::parameters`].
    pub parameters: Value,
    /// The client's key, for which at most one schedule exists.
    pub idempotency: Option<Idempotency>,
    /// SHA-256 of what was asked for, as the caller computes it.
    pub input_hash: Vec<u8>,
}

/// Without what its owner wrote, which may be confidential.
impl std::fmt::Debug for NewSchedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewSchedule").field("id", &self.id).field("owner", &self.owner).finish_non_exhaustive()
    }
}

/// Of a schedule that runs, what decides about files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningSchedule {
    /// See [`Schedule::id`].
    pub id: String,
    /// See [`Schedule::file_expression`]. It never changes.
    pub file_expression: String,
    /// See [`Schedule::syntax`]. It never changes.
    pub syntax: ExpressionSyntax,
}

/// By what schedules are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScheduleSort {
    /// When they were made.
    CreatedAt,
    /// When they last changed.
    UpdatedAt,
    /// The text of their status.
    Status,
    /// The text of their expression for files.
    FileExpression,
    /// Their identifiers.
    Id,
}

impl Sort for ScheduleSort {
    const CREATED: Self = Self::CreatedAt;

    fn column(self) -> Option<i64> {
        match self {
            Self::CreatedAt => Some(1),
            Self::UpdatedAt => Some(2),
            Self::Status => Some(3),
            Self::FileExpression => Some(4),
            Self::Id => None,
        }
    }
}

/// The columns of a schedule `s`; the texts come after them.
macro_rules! schedule_columns {
    () => {
        "s.id, s.user_id, s.issuer, s.subject, s.organisation, s.user_group, s.status, s.file_expression, s.syntax, \
         s.replication_expression, s.replicas, s.callback, s.max_attempts, s.timeout, s.attempt_timeout, s.keep_last_attempt, \
         s.created_at, s.updated_at"
    };
}
pub(crate) use schedule_columns;

/// How many columns a schedule has, with its texts.
pub(crate) const COLUMNS: usize = 20;

const GET: &str = concat!("SELECT ", schedule_columns!(), ", s.template, s.parameters FROM schedules s WHERE s.id = $1");

macro_rules! condition {
    () => {
        "WHERE (CAST($1 AS TEXT) IS NULL OR s.issuer = $1) AND (CAST($2 AS TEXT) IS NULL OR s.subject = $2) \
         AND (CAST($3 AS TEXT) IS NULL OR s.organisation = $3) AND (CAST($4 AS TEXT) IS NULL OR s.user_group = $4)"
    };
}

/// The rows of a page. There are not many schedules.
macro_rules! page {
    ($order:expr) => {
        concat!(
            "SELECT ",
            schedule_columns!(),
            ", '', '{}' FROM schedules s ",
            condition!(),
            " ORDER BY ",
            $order,
            " LIMIT $5 OFFSET $6"
        )
    };
}

const PAGES: Statements = Statements {
    count: concat!("SELECT COUNT(*) FROM schedules s ", condition!()),
    earliest: page!("s.created_at, s.id"),
    latest: page!("s.created_at DESC, s.id DESC"),
    any: page!(any_order!("s.created_at", "s.updated_at", "s.status", "s.file_expression", "s.id")),
};

impl Store {
    /// Writes down a new schedule, and the event with it. With an idempotency key that was used before, the schedule of that key
    /// comes back and nothing is written; [`Error::IdempotencyMismatch`] where its input hash differs. [`Error::Exists`] where
    /// there is a schedule with such an identifier; [`Error::Invalid`] where its owner would have more than `most`.
    pub async fn schedule_create(&self, new: &NewSchedule, most: u32, event: &NewEvent) -> Result<Schedule, Error> {
        transaction!(self.db(), |tx| create(tx, new, most, event))
    }

    /// One schedule.
    pub async fn schedule_get(&self, id: &str) -> Result<Option<Schedule>, Error> {
        self.db().optional(GET, args![id]).await?.as_ref().map(schedule).transpose()
    }

    /// A page of schedules, without their texts, and how many there are in all.
    pub async fn schedules(&self, filter: &DeploymentFilter, page: &Page<ScheduleSort>) -> Result<(Vec<Schedule>, u64), Error> {
        let Some(Conditions(conditions)) = Conditions::of(filter) else { return Ok((Vec::new(), 0)) };
        let (rows, total) = self.page(&PAGES, conditions, page).await?;
        Ok((rows.iter().map(schedule).collect::<Result<_, _>>()?, total))
    }

    /// All schedules that run, by identifier.
    pub async fn schedules_running(&self) -> Result<Vec<RunningSchedule>, Error> {
        let sql = "SELECT id, file_expression, syntax FROM schedules WHERE status = 'RUNNING' ORDER BY id";
        let running = |row: &Row| {
            let syntax = ExpressionSyntax::parse(&row.get::<String>(2)?)?;
            Ok(RunningSchedule { id: row.get(0)?, file_expression: row.get(1)?, syntax })
        };
        self.db().all(sql, &[]).await?.iter().map(running).collect()
    }

    /// Lets a schedule run, or suspends it. How it is now; none where it is gone. The event tells of it where it was otherwise.
    pub async fn schedule_set_status(
        &self,
        id: &str,
        status: ScheduleStatus,
        event: &NewEvent,
    ) -> Result<Option<Schedule>, Error> {
        transaction!(self.db(), |tx| async {
            let sql = "UPDATE schedules SET status = $2, updated_at = $3 WHERE id = $1 AND status <> $2";
            let changed = tx.execute(sql, args![id, status.as_str(), crate::now()]).await? > 0;
            let schedule = tx.optional(GET, args![id]).await?.as_ref().map(schedule).transpose()?;
            if changed {
                append(tx, event).await?;
            }
            Ok::<_, Error>(schedule)
        })
    }

    /// Forgets a schedule with its events; what it has made stays. Whether there was one; the event tells of it if so.
    pub async fn schedule_remove(&self, id: &str, event: &NewEvent) -> Result<bool, Error> {
        transaction!(self.db(), |tx| async {
            let removed = tx.execute("DELETE FROM schedules WHERE id = $1", args![id]).await? > 0;
            if removed {
                append(tx, event).await?;
            }
            Ok::<_, Error>(removed)
        })
    }
}

async fn create(tx: &mut Tx, new: &NewSchedule, most: u32, event: &NewEvent) -> Result<Schedule, Error> {
    let owner = new.owner.as_ref();
    let (scope, key) = new.idempotency.as_ref().map(|i| (i.scope.as_str(), i.key.as_str())).unzip();
    // PostgreSQL waits here for a transaction that has just used the same key.
    let sql = "INSERT INTO schedules (id, user_id, issuer, subject, organisation, user_group, status, file_expression, syntax, \
               replication_expression, replicas, callback, max_attempts, timeout, attempt_timeout, keep_last_attempt, created_at, \
               updated_at, idempotency_scope, idempotency_key, input_hash, template, parameters) \
               VALUES ($1, $2, $3, $4, $5, $6, 'RUNNING', $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $16, $17, $18, $19, $20, \
               $21) ON CONFLICT (idempotency_scope, idempotency_key) DO NOTHING";
    let parameters = new.parameters.to_string();
    let args = args![
        &new.id,
        owner.and_then(|owner| owner.user_id.as_deref()),
        owner.map(|owner| owner.issuer.as_str()),
        owner.map(|owner| owner.subject.as_str()),
        owner.and_then(|owner| owner.organisation.as_deref()),
        &new.user_group,
        &new.file_expression,
        new.syntax.as_str(),
        &new.replication_expression,
        new.replicas,
        &new.callback,
        new.max_attempts.map(i64::from),
        new.timeout,
        new.attempt_timeout,
        new.keep_last_attempt,
        crate::now(),
        scope,
        key,
        &new.input_hash,
        &new.template,
        &parameters,
    ];
    let inserted = tx.execute(sql, args).await.map_err(|error| match error {
        Error::NotFound(_) => error.about("the user"),
        error => error.about("the schedule"),
    })?;
    if inserted > 0 {
        let sql = "SELECT COUNT(*) FROM schedules WHERE issuer = $1 AND subject = $2";
        let (issuer, subject) = owner.map(|owner| (owner.issuer.as_str(), owner.subject.as_str())).unzip();
        if tx.one(sql, args![issuer, subject]).await?.get::<i64>(0)? > most.into() {
            return Err(Error::Invalid("more schedules than one owner may have"));
        }
        let schedule = tx.one(GET, args![&new.id]).await.and_then(|row| schedule(&row))?;
        append(tx, event).await?;
        return Ok(schedule);
    }
    let sql = concat!(
        "SELECT ",
        schedule_columns!(),
        ", s.template, s.parameters, s.input_hash FROM schedules s WHERE s.idempotency_scope = $1 AND s.idempotency_key = $2"
    );
    // Not there: deleted in between. Another attempt finds the key unused.
    let row = tx.optional(sql, args![scope, key]).await?.ok_or(Error::Contention)?;
    if row.get::<Vec<u8>>(COLUMNS)? == new.input_hash { schedule(&row) } else { Err(Error::IdempotencyMismatch) }
}

/// A schedule, of its columns and texts.
pub(crate) fn schedule(row: &Row) -> Result<Schedule, Error> {
    let number = |value: i64| u32::try_from(value).map_err(|_| Error::Corrupt("number"));
    Ok(Schedule {
        id: row.get(0)?,
        owner: owner(row)?,
        user_group: row.get(5)?,
        status: ScheduleStatus::parse(&row.get::<String>(6)?)?,
        file_expression: row.get(7)?,
        syntax: ExpressionSyntax::parse(&row.get::<String>(8)?)?,
        replication_expression: row.get(9)?,
        replicas: number(row.get(10)?)?,
        callback: row.get(11)?,
        max_attempts: row.get::<Option<i64>>(12)?.map(number).transpose()?,
        timeout: row.get(13)?,
        attempt_timeout: row.get(14)?,
        keep_last_attempt: row.flag(15)?,
        created_at: row.get(16)?,
        updated_at: row.get(17)?,
        template: row.get(18)?,
        parameters: row.json(19)?,
    })
}
