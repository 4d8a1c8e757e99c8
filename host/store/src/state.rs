//! Drivers' durable key-value state, one space a cloud. The contract is `wit/capabilities.wit`, interface `state`.

use std::collections::HashMap;

use crate::db::{Refusal, Row, Tx, args, transaction};
use crate::{Error, Store};

/// A stored value.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
    /// The revision of the commit that wrote it. No key ever has the same version with two values, not even after a delete.
    pub version: u64,
}

/// Without the value, which may be confidential.
impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("key", &self.key).field("version", &self.version).finish_non_exhaustive()
    }
}

/// What must hold for a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The key.
    pub key: String,
    /// The version it must have; none: it must not exist.
    pub version: Option<u64>,
}

/// One write of a commit.
#[derive(Clone, PartialEq, Eq)]
pub struct Write {
    /// The key.
    pub key: String,
    /// The new value; none deletes.
    pub value: Option<Vec<u8>>,
}

/// Without the value, which may be confidential.
impl std::fmt::Debug for Write {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Write").field("key", &self.key).finish_non_exhaustive()
    }
}

/// What a commit did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// The cloud's revision, and the version of every key written.
    pub revision: u64,
    /// How many keys that existed were deleted.
    pub deleted: u64,
    /// Bytes of all keys and values of the cloud, after the commit.
    pub bytes: u64,
}

/// Why a commit did not happen.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A condition does not hold.
    #[error("a condition does not hold")]
    Conflict,
    /// The cloud would hold more than its quota.
    #[error("the cloud's quota is used up")]
    Quota,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
}

impl Refusal for StateError {
    fn is_contention(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_contention())
    }
}

impl Store {
    /// One value.
    pub async fn state_get(&self, cloud: &str, key: &str) -> Result<Option<Entry>, Error> {
        let sql = "SELECT key, value, version FROM state_entries WHERE cloud = $1 AND key = $2";
        let row = self.db().optional(sql, args![cloud, key.as_bytes()]).await?;
        row.as_ref().map(|row| entry(row, 0)).transpose()
    }

    /// Up to `limit` entries whose key starts with `prefix` and sorts after `after`, by the keys' bytes.
    pub async fn state_list(&self, cloud: &str, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<Entry>, Error> {
        let Some((first, end)) = bounds(prefix, after) else {
            return Ok(Vec::new());
        };
        let sql = "SELECT key, value, version FROM state_entries \
                   WHERE cloud = $1 AND key >= $2 AND key < $3 ORDER BY key LIMIT $4";
        let rows = self.db().all(sql, args![cloud, &first, &end, limit]).await?;
        rows.iter().map(|row| entry(row, 0)).collect()
    }

    /// The cloud's revision and all its entries, sorted by key, as of one moment. 0 and nothing before the first commit.
    pub async fn state_load(&self, cloud: &str) -> Result<(u64, Vec<Entry>), Error> {
        // One statement, hence one snapshot on either engine.
        let sql = "SELECT c.revision, e.key, e.value, e.version \
                   FROM state_clouds c LEFT JOIN state_entries e ON e.cloud = c.cloud \
                   WHERE c.cloud = $1 ORDER BY e.key";
        let rows = self.db().all(sql, args![cloud]).await?;
        let Some(first) = rows.first() else {
            return Ok((0, Vec::new()));
        };
        let revision = first.unsigned(0)?;
        if first.get::<Option<Vec<u8>>>(1)?.is_none() {
            return Ok((revision, Vec::new()));
        }
        Ok((revision, rows.iter().map(|row| entry(row, 1)).collect::<Result<_, _>>()?))
    }

    /// The cloud's revision: the number of its commits; 0 before the first.
    pub async fn state_revision(&self, cloud: &str) -> Result<u64, Error> {
        let row = self.db().optional("SELECT revision FROM state_clouds WHERE cloud = $1", args![cloud]).await?;
        row.map_or(Ok(0), |row| row.unsigned(0))
    }

    /// Writes all or nothing, if all conditions hold. Commits of one cloud happen one after the other, each with the next
    /// revision. Of several writes of one key the last one counts. `quota_bytes` limits the sum of the lengths of the cloud's
    /// keys and values; a commit that does not add to it is never refused for it.
    pub async fn state_commit(
        &self,
        cloud: &str,
        conditions: &[Condition],
        writes: &[Write],
        quota_bytes: u64,
    ) -> Result<Commit, StateError> {
        transaction!(self.db(), |tx| commit(tx, cloud, conditions, writes, quota_bytes))
    }
}

/// What is known of a key within a commit.
#[derive(Clone, Copy)]
struct Present {
    version: u64,
    /// Of the value, in bytes.
    length: u64,
}

async fn commit(
    tx: &mut Tx,
    cloud: &str,
    conditions: &[Condition],
    writes: &[Write],
    quota_bytes: u64,
) -> Result<Commit, StateError> {
    // Locks the cloud: everything below sees what the commit before left, and nobody else changes it.
    let sql = "INSERT INTO state_clouds (cloud, revision, bytes) VALUES ($1, 1, 0) \
               ON CONFLICT (cloud) DO UPDATE SET revision = state_clouds.revision + 1 RETURNING revision, bytes";
    let row = tx.one(sql, args![cloud]).await?;
    let revision = row.unsigned(0)?;
    let before = row.unsigned(1)?;

    let mut seen: HashMap<&str, Option<Present>> = HashMap::new();
    for condition in conditions {
        let present = look(tx, cloud, &condition.key, &mut seen).await?;
        if present.map(|present| present.version) != condition.version {
            return Err(StateError::Conflict);
        }
    }

    let mut bytes = before;
    let mut deleted = 0;
    for write in writes {
        let present = look(tx, cloud, &write.key, &mut seen).await?;
        if let Some(present) = present {
            bytes = bytes.saturating_sub(write.key.len() as u64 + present.length);
        }
        match &write.value {
            Some(value) => {
                bytes = bytes.saturating_add((write.key.len() + value.len()) as u64);
                let sql = "INSERT INTO state_entries (cloud, key, value, version) VALUES ($1, $2, $3, $4) \
                           ON CONFLICT (cloud, key) DO UPDATE SET value = excluded.value, version = excluded.version";
                tx.execute(sql, args![cloud, write.key.as_bytes(), value, signed(revision)?]).await?;
                seen.insert(&write.key, Some(Present { version: revision, length: value.len() as u64 }));
            }
            None if present.is_some() => {
                let sql = "DELETE FROM state_entries WHERE cloud = $1 AND key = $2";
                deleted += tx.execute(sql, args![cloud, write.key.as_bytes()]).await?;
                seen.insert(&write.key, None);
            }
            None => {}
        }
    }
    if bytes > quota_bytes && bytes > before {
        return Err(StateError::Quota);
    }
    if bytes != before {
        let sql = "UPDATE state_clouds SET bytes = $2 WHERE cloud = $1";
        tx.execute(sql, args![cloud, signed(bytes)?]).await?;
    }
    Ok(Commit { revision, deleted, bytes })
}

/// Looks a key up, once a commit.
async fn look<'k>(
    tx: &mut Tx,
    cloud: &str,
    key: &'k str,
    seen: &mut HashMap<&'k str, Option<Present>>,
) -> Result<Option<Present>, Error> {
    if let Some(present) = seen.get(key) {
        return Ok(*present);
    }
    let sql = "SELECT version, CAST(length(value) AS BIGINT) FROM state_entries WHERE cloud = $1 AND key = $2";
    let row = tx.optional(sql, args![cloud, key.as_bytes()]).await?;
    let present = row.map(|row| Ok::<_, Error>(Present { version: row.unsigned(0)?, length: row.unsigned(1)? })).transpose()?;
    seen.insert(key, present);
    Ok(present)
}

fn signed(number: u64) -> Result<i64, Error> {
    i64::try_from(number).map_err(|_| Error::Invalid("a number above 2^63"))
}

/// The first key that may be listed and the first that may not; none where nothing can match.
fn bounds(prefix: &str, after: Option<&str>) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut first = prefix.as_bytes().to_vec();
    // No byte of UTF-8 is 0xFF, so that this sorts after all keys with the prefix, also where there is none.
    let mut end = first.clone();
    end.push(0xFF);
    if let Some(after) = after.map(str::as_bytes)
        && after >= first.as_slice()
    {
        // The next of all byte strings.
        first = after.to_vec();
        first.push(0);
    }
    (first < end).then_some((first, end))
}

fn entry(row: &Row, column: usize) -> Result<Entry, Error> {
    Ok(Entry {
        key: String::from_utf8(row.get(column)?).map_err(|_| Error::Corrupt("key"))?,
        value: row.get(column + 1)?,
        version: row.unsigned(column + 2)?,
    })
}
