//! What happened to schedules: files that matched, one event a file, and the deployment that was made of each.
//!
//! An event is written down before its deployment is made, and is pending until it is known what came of it: after a crash in
//! between, the pending ones are what is left to be done.

use crate::db::{Row, Tx, args, transaction};
use crate::deployment_rows::{COLUMNS as DEPLOYMENT, deployment, deployment_columns};
use crate::events::append;
use crate::operations::text_enum;
use crate::pages::{Page, Sort, Statements, any_order};
use crate::schedules::{COLUMNS as SCHEDULE, schedule, schedule_columns};
use crate::{Deployment, Error, NewEvent, Schedule, Store};

text_enum! {
    /// What has come of an event.
    ScheduleEventState, "state of an event" {
        /// Its deployment is still to be made, or it is not known whether it was.
        Pending = "pending",
        /// A deployment.
        Deployed = "deployed",
        /// No deployment: it could not be made, and will not be.
        Failed = "failed",
    }
}

/// A file that matched.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduleEvent {
    /// A uuid v7.
    pub id: String,
    /// The schedule.
    pub schedule: String,
    /// The scope of the file.
    pub scope: String,
    /// Its name within the scope.
    pub name: String,
    /// What has come of it.
    pub state: ScheduleEventState,
    /// The identifier of the deployment that was made.
    pub deployment_id: Option<String>,
    /// That deployment, in pages, if it is still there; without its log.
    pub deployment: Option<Deployment>,
    /// Why none could be made.
    pub reason: Option<String>,
    /// When the file was heard of, in microseconds UTC.
    pub created_at: i64,
    /// When the event last changed, in microseconds UTC.
    pub updated_at: i64,
}

/// A file that matched just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewScheduleEvent {
    /// See [`ScheduleEvent::id`].
    pub id: String,
    /// See [`ScheduleEvent::schedule`].
    pub schedule: String,
    /// See [`ScheduleEvent::scope`].
    pub scope: String,
    /// See [`ScheduleEvent::name`]. With the scope at most 2,000 bytes.
    pub name: String,
}

/// An event whose deployment is to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingEvent {
    /// The event.
    pub event: ScheduleEvent,
    /// Its schedule, whatever its status is by now.
    pub schedule: Schedule,
}

/// By what events are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScheduleEventSort {
    /// When they happened.
    CreatedAt,
    /// When they last changed.
    UpdatedAt,
    /// The scopes of their files.
    Scope,
    /// The names of their files.
    Name,
    /// Their identifiers.
    Id,
}

impl Sort for ScheduleEventSort {
    const CREATED: Self = Self::CreatedAt;

    fn column(self) -> Option<i64> {
        match self {
            Self::CreatedAt => Some(1),
            Self::UpdatedAt => Some(2),
            Self::Scope => Some(3),
            Self::Name => Some(4),
            Self::Id => None,
        }
    }
}

macro_rules! event_columns {
    () => {
        "e.id, e.schedule, e.scope, e.name, e.state, e.deployment, e.reason, e.created_at, e.updated_at"
    };
}

/// The rows of a page: first which, then what is in them, deployments first.
macro_rules! page {
    ($order:expr) => {
        concat!(
            "SELECT ",
            deployment_columns!(),
            ", ",
            event_columns!(),
            " FROM (SELECT e.id AS page_id FROM schedule_events e WHERE e.schedule = $1 ORDER BY ",
            $order,
            " LIMIT $5 OFFSET $6) AS page JOIN schedule_events e ON e.id = page_id LEFT JOIN deployments d \
             ON d.id = e.deployment LEFT JOIN deployment_texts t ON t.deployment = d.id ORDER BY ",
            $order
        )
    };
}

const PAGES: Statements = Statements {
    count: "SELECT COUNT(*) FROM schedule_events WHERE schedule = $1",
    earliest: page!("e.created_at, e.id"),
    latest: page!("e.created_at DESC, e.id DESC"),
    any: page!(any_order!("e.created_at", "e.updated_at", "e.scope", "e.name", "e.id")),
};

/// Looks whether a schedule runs; `$lock` keeps it so to the end of the transaction, where others write meanwhile.
macro_rules! running {
    ($lock:literal) => {
        concat!("SELECT 1 FROM schedules WHERE id = $1 AND status = 'RUNNING'", $lock)
    };
}

impl Store {
    /// Writes down that a file matched, for all schedules at once: each of these that runs, and has no event of the file yet, gets
    /// a pending one, and the event of the outbox beside it is appended. The identifiers of those that are new.
    pub async fn schedule_events_begin(&self, events: &[(NewScheduleEvent, NewEvent)]) -> Result<Vec<String>, Error> {
        transaction!(self.db(), |tx| begin(tx, events))
    }

    /// Up to `limit` pending events with identifiers after that one, in that order, each with its schedule.
    pub async fn schedule_events_pending(&self, after: Option<&str>, limit: u32) -> Result<Vec<PendingEvent>, Error> {
        let sql = concat!(
            "SELECT ",
            schedule_columns!(),
            ", s.template, s.parameters, ",
            event_columns!(),
            " FROM schedule_events e JOIN schedules s ON s.id = e.schedule WHERE e.state = 'pending' AND e.id > $1 \
             ORDER BY e.id LIMIT $2"
        );
        let pending = |row: &Row| Ok(PendingEvent { schedule: schedule(row)?, event: event(row, SCHEDULE)? });
        self.db().all(sql, args![after.unwrap_or_default(), limit]).await?.iter().map(pending).collect()
    }

    /// Writes down what came of a pending event: a deployment, or why there is none. Whether it was still pending; the event of
    /// the outbox tells of it if so.
    pub async fn schedule_event_end(&self, id: &str, outcome: Result<&str, &str>, event: &NewEvent) -> Result<bool, Error> {
        transaction!(self.db(), |tx| async {
            let sql = "UPDATE schedule_events SET state = $2, deployment = $3, reason = $4, updated_at = $5 \
                       WHERE id = $1 AND state = 'pending'";
            let state = if outcome.is_ok() { ScheduleEventState::Deployed } else { ScheduleEventState::Failed };
            let args = args![id, state.as_str(), outcome.ok(), outcome.err(), crate::now()];
            let ended = tx.execute(sql, args).await? > 0;
            if ended {
                append(tx, event).await?;
            }
            Ok::<_, Error>(ended)
        })
    }

    /// A page of a schedule's events with their deployments, and how many there are in all.
    pub async fn schedule_events(
        &self,
        schedule: &str,
        page: &Page<ScheduleEventSort>,
    ) -> Result<(Vec<ScheduleEvent>, u64), Error> {
        let (rows, total) = self.page(&PAGES, [Some(schedule), None, None, None], page).await?;
        let whole = |row: &Row| {
            let made = row.get::<Option<String>>(0)?.is_some();
            let deployment = if made { Some(deployment(row)?) } else { None };
            Ok(ScheduleEvent { deployment, ..event(row, DEPLOYMENT)? })
        };
        Ok((rows.iter().map(whole).collect::<Result<_, Error>>()?, total))
    }
}

async fn begin(tx: &mut Tx, events: &[(NewScheduleEvent, NewEvent)]) -> Result<Vec<String>, Error> {
    let running = match tx {
        Tx::Sqlite(_) => running!(""),
        Tx::Postgres(_) => running!(" FOR SHARE"),
    };
    let mut begun = Vec::new();
    let mut told = Vec::new();
    for (new, event) in events {
        if tx.optional(running, args![&new.schedule]).await?.is_none() {
            continue;
        }
        let sql = "INSERT INTO schedule_events (id, schedule, scope, name, state, created_at, updated_at) \
                   VALUES ($1, $2, $3, $4, 'pending', $5, $5) ON CONFLICT (schedule, scope, name) DO NOTHING";
        let args = args![&new.id, &new.schedule, &new.scope, &new.name, crate::now()];
        if tx.execute(sql, args).await.map_err(|error| error.about("the event"))? > 0 {
            begun.push(new.id.clone());
            told.push(event);
        }
    }
    // After all the rest: whoever appends waits from here on.
    for event in told {
        append(tx, event).await?;
    }
    Ok(begun)
}

/// An event, of its columns from that one on.
fn event(row: &Row, at: usize) -> Result<ScheduleEvent, Error> {
    Ok(ScheduleEvent {
        id: row.get(at)?,
        schedule: row.get(at + 1)?,
        scope: row.get(at + 2)?,
        name: row.get(at + 3)?,
        state: ScheduleEventState::parse(&row.get::<String>(at + 4)?)?,
        deployment_id: row.get(at + 5)?,
        deployment: None,
        reason: row.get(at + 6)?,
        created_at: row.get(at + 7)?,
        updated_at: row.get(at + 8)?,
    })
}
