//! The outbox: what happened, in order. Server-sent events and webhooks read it.

use serde_json::Value;

use crate::db::{Row, Tx, args, transaction};
use crate::{Error, Store};

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its place in the order, from 1, without gaps. An event that becomes visible has a higher number than all visible before.
    pub id: i64,
    /// When, in microseconds UTC.
    pub at: i64,
    /// What: `node.create.intent` …
    pub kind: String,
    /// To whom: the identifier of a node, an operation, a driver …
    pub subject: String,
    /// The cloud, where it is one's matter.
    pub cloud: Option<String>,
    /// Who did it.
    pub actor: String,
    /// More, as a JSON object. No secrets.
    pub data: Value,
}

/// An event to append.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// See [`Event::kind`].
    pub kind: String,
    /// See [`Event::subject`].
    pub subject: String,
    /// See [`Event::cloud`].
    pub cloud: Option<String>,
    /// See [`Event::actor`].
    pub actor: String,
    /// See [`Event::data`].
    pub data: Value,
}

impl Store {
    /// Appends an event that belongs to no other change. Its number.
    pub async fn event_append(&self, event: &NewEvent) -> Result<i64, Error> {
        transaction!(self.db(), |tx| append(tx, event))
    }

    /// Up to `limit` events after the one of this number, in order. 0 begins at the start.
    pub async fn events_after(&self, id: i64, limit: u32) -> Result<Vec<Event>, Error> {
        let sql = "SELECT id, at, kind, subject, cloud, actor, data FROM events WHERE id > $1 ORDER BY id LIMIT $2";
        self.db().all(sql, args![id, limit]).await?.iter().map(event).collect()
    }

    /// The number of the last event; 0 where there is none yet.
    pub async fn event_last(&self) -> Result<i64, Error> {
        let row = self.db().optional("SELECT last FROM event_counter WHERE id = 1", &[]).await?;
        row.ok_or(Error::Corrupt("event counter"))?.get(0)
    }
}

/// Appends in the caller's transaction. Should be its last statement: the counter's row stays locked until the commit, and all
/// who append wait for it.
pub(crate) async fn append(tx: &mut Tx, event: &NewEvent) -> Result<i64, Error> {
    let id: i64 = tx.one("UPDATE event_counter SET last = last + 1 WHERE id = 1 RETURNING last", &[]).await?.get(0)?;
    let sql = "INSERT INTO events (id, at, kind, subject, cloud, actor, data) VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let data = event.data.to_string();
    let args = args![id, crate::now(), &event.kind, &event.subject, &event.cloud, &event.actor, &data];
    tx.execute(sql, args).await?;
    Ok(id)
}

fn event(row: &Row) -> Result<Event, Error> {
    Ok(Event {
        id: row.get(0)?,
        at: row.get(1)?,
        kind: row.get(2)?,
        subject: row.get(3)?,
        cloud: row.get(4)?,
        actor: row.get(5)?,
        data: row.json(6)?,
    })
}
