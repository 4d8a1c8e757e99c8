//! Ports of the hosts that lead to ports of instances.

use crate::db::{Refusal, Row, Tx, args, transaction};
use crate::events::append;
use crate::operations::text_enum;
use crate::{Error, Idempotency, NewEvent, Store};

text_enum! {
    /// What is forwarded.
    ForwardProtocol, "protocol of a forward" {
        /// Connections.
        Tcp = "tcp",
        /// Datagrams.
        Udp = "udp",
    }
}

/// A port that leads to an instance's. It never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// A number that is never used again, not even after a removal.
    pub id: i64,
    /// The cloud of the instance.
    pub cloud: String,
    /// The instance's number. It may be gone since.
    pub instance: i64,
    /// What is forwarded.
    pub protocol: ForwardProtocol,
    /// The hosts' port, of which there is one for each protocol.
    pub port_from: u16,
    /// The instance's port.
    pub port_to: u16,
    /// When it was made, in microseconds UTC.
    pub created_at: i64,
    /// When it last changed, in microseconds UTC.
    pub updated_at: i64,
}

/// A forward to write down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewForward {
    /// See [`Forward::cloud`].
    pub cloud: String,
    /// See [`Forward::instance`].
    pub instance: i64,
    /// See [`Forward::protocol`].
    pub protocol: ForwardProtocol,
    /// See [`Forward::port_from`]; not 0.
    pub port_from: u16,
    /// See [`Forward::port_to`]; not 0.
    pub port_to: u16,
    /// The client's key, for which at most one forward exists.
    pub idempotency: Option<Idempotency>,
    /// SHA-256 of what was asked for, as the caller computes it.
    pub input_hash: Vec<u8>,
}

/// A forward that is on record now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForwardMade {
    /// It is new.
    New(Forward),
    /// The key was used before with the same input, for this one.
    Existing(Forward),
}

/// Why a forward was not written down.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// Another one has the port.
    #[error("the port is taken")]
    Taken,
    /// The instance has as many as it may have.
    #[error("the instance has as many forwards as it may have")]
    TooMany,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
}

impl Refusal for ForwardError {
    fn is_contention(&self) -> bool {
        matches!(self, Self::Store(Error::Contention))
    }
}

macro_rules! columns {
    () => {
        "id, cloud, instance, protocol, port_from, port_to, created_at, updated_at"
    };
}

/// How many columns a forward has.
const COLUMNS: usize = 8;

const BY_KEY: &str =
    concat!("SELECT ", columns!(), ", input_hash FROM forwards WHERE idempotency_scope = $1 AND idempotency_key = $2");

impl Store {
    /// Writes down a forward, and the event with it, whose subject becomes the new number. With an idempotency key that was used
    /// before, the forward of that key comes back and nothing is written; [`Error::IdempotencyMismatch`] where its input hash
    /// differs. [`ForwardError::TooMany`] where the instance would have more than `most`.
    pub async fn forward_create(&self, new: &NewForward, most: u32, event: &NewEvent) -> Result<ForwardMade, ForwardError> {
        transaction!(self.db(), |tx| create(tx, new, most, event))
    }

    /// The forward for which a key was used. [`Error::IdempotencyMismatch`] where the input hash differs.
    pub async fn forward_by_key(&self, key: &Idempotency, input_hash: &[u8]) -> Result<Option<Forward>, Error> {
        let row = self.db().optional(BY_KEY, args![&key.scope, &key.key]).await?;
        row.map(|row| same(&row, input_hash)).transpose()
    }

    /// One forward.
    pub async fn forward_get(&self, id: i64) -> Result<Option<Forward>, Error> {
        let sql = concat!("SELECT ", columns!(), " FROM forwards WHERE id = $1");
        self.db().optional(sql, args![id]).await?.as_ref().map(forward).transpose()
    }

    /// All forwards, by number.
    pub async fn forwards(&self) -> Result<Vec<Forward>, Error> {
        let sql = concat!("SELECT ", columns!(), " FROM forwards ORDER BY id");
        self.db().all(sql, &[]).await?.iter().map(forward).collect()
    }

    /// The forwards of a cloud, or of one instance in it, by number.
    pub async fn forwards_of(&self, cloud: &str, instance: Option<i64>) -> Result<Vec<Forward>, Error> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM forwards WHERE cloud = $1 AND (CAST($2 AS BIGINT) IS NULL OR instance = $2) ORDER BY id"
        );
        self.db().all(sql, args![cloud, instance]).await?.iter().map(forward).collect()
    }

    /// The hosts' ports that are taken, ascending.
    pub async fn forward_ports(&self, protocol: ForwardProtocol) -> Result<Vec<u16>, Error> {
        let sql = "SELECT port_from FROM forwards WHERE protocol = $1 ORDER BY port_from";
        self.db().all(sql, args![protocol.as_str()]).await?.iter().map(|row| port(row, 0)).collect()
    }

    /// Forgets a forward. Whether there was one; the event tells of it if so.
    pub async fn forward_remove(&self, id: i64, event: &NewEvent) -> Result<bool, Error> {
        transaction!(self.db(), |tx| async {
            let removed = tx.execute("DELETE FROM forwards WHERE id = $1", args![id]).await? > 0;
            if removed {
                append(tx, event).await?;
            }
            Ok::<_, Error>(removed)
        })
    }

    /// Forgets the forwards of an instance. Their numbers; the event tells of each, which becomes its subject.
    pub async fn forwards_remove_of(&self, instance: i64, event: &NewEvent) -> Result<Vec<i64>, Error> {
        transaction!(self.db(), |tx| async {
            let rows = tx.all("DELETE FROM forwards WHERE instance = $1 RETURNING id", args![instance]).await?;
            let mut removed = rows.iter().map(|row| row.get::<i64>(0)).collect::<Result<Vec<_>, _>>()?;
            removed.sort_unstable();
            for id in &removed {
                append(tx, &NewEvent { subject: id.to_string(), ..event.clone() }).await?;
            }
            Ok::<_, Error>(removed)
        })
    }
}

async fn create(tx: &mut Tx, new: &NewForward, most: u32, event: &NewEvent) -> Result<ForwardMade, ForwardError> {
    let (scope, key) = new.idempotency.as_ref().map(|i| (i.scope.as_str(), i.key.as_str())).unzip();
    // PostgreSQL waits here for a transaction that has just used the same port or key.
    let sql = concat!(
        "INSERT INTO forwards (cloud, instance, protocol, port_from, port_to, created_at, updated_at, idempotency_scope, \
         idempotency_key, input_hash) VALUES ($1, $2, $3, $4, $5, $6, $6, $7, $8, $9) ON CONFLICT DO NOTHING RETURNING ",
        columns!()
    );
    let args = args![
        &new.cloud,
        new.instance,
        new.protocol.as_str(),
        u32::from(new.port_from),
        u32::from(new.port_to),
        crate::now(),
        scope,
        key,
        &new.input_hash,
    ];
    if let Some(row) = tx.optional(sql, args).await? {
        let forward = forward(&row)?;
        append(tx, &NewEvent { subject: forward.id.to_string(), ..event.clone() }).await?;
        // After the event: those who append come one after the other, so that this counts what others have just written.
        let count: i64 = tx.one("SELECT COUNT(*) FROM forwards WHERE instance = $1", args![new.instance]).await?.get(0)?;
        return if count > most.into() { Err(ForwardError::TooMany) } else { Ok(ForwardMade::New(forward)) };
    }
    // The key comes first: whoever asks again has the port already.
    if let Some(row) = tx.optional(BY_KEY, args![scope, key]).await? {
        return Ok(ForwardMade::Existing(same(&row, &new.input_hash)?));
    }
    let sql = "SELECT id FROM forwards WHERE protocol = $1 AND port_from = $2";
    match tx.optional(sql, args![new.protocol.as_str(), u32::from(new.port_from)]).await? {
        Some(_) => Err(ForwardError::Taken),
        // Gone in between. Another attempt finds it free.
        None => Err(Error::Contention.into()),
    }
}

/// The forward of a row with an input hash, if that is the same.
fn same(row: &Row, input_hash: &[u8]) -> Result<Forward, Error> {
    if row.get::<Vec<u8>>(COLUMNS)? == input_hash { forward(row) } else { Err(Error::IdempotencyMismatch) }
}

fn port(row: &Row, index: usize) -> Result<u16, Error> {
    u16::try_from(row.get::<i64>(index)?).map_err(|_| Error::Corrupt("port"))
}

fn forward(row: &Row) -> Result<Forward, Error> {
    Ok(Forward {
        id: row.get(0)?,
        cloud: row.get(1)?,
        instance: row.get(2)?,
        protocol: ForwardProtocol::parse(&row.get::<String>(3)?)?,
        port_from: port(row, 4)?,
        port_to: port(row, 5)?,
        created_at: row.get(6)?,
        updated_at: row.get(7)?,
    })
}
