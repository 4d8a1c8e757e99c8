//! What is still owed to nodes: an instance is made stopped, and started, and forwarded to, by further requests. Between them the
//! driver may end. What was ordered is therefore in the cloud's state before the instance is made, by the token, until it is done.

use std::time::Duration;

use ostler_driver::{Error, Result, State, StateError, Versioned};
use serde::{Deserialize, Serialize};

use crate::http::Api;

/// Begins the keys of records.
const PREFIX: &str = "node/";
/// The pause after the first try; it doubles with each.
const PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A record without an instance is kept for so long: its order may take effect late.
const FORGOTTEN: Duration = Duration::from_secs(3600);

/// A forwarding rule that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Forward {
    pub(crate) id: String,
    pub(crate) port_to: u16,
    pub(crate) port_from: u16,
}

/// What was ordered besides the instance itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The instance, once it is known.
    pub(crate) id: Option<String>,
    /// When it was ordered, in microseconds.
    pub(crate) since: u64,
    /// Whether it is to be started still.
    pub(crate) start: bool,
    /// Ports that are to be forwarded still.
    pub(crate) ports: Vec<u16>,
    /// Rules that were made.
    pub(crate) forwards: Vec<Forward>,
    /// How often it was tried.
    pub(crate) tries: u32,
    /// Not before this time it is tried again.
    pub(crate) next: u64,
    /// Why the last try did not do.
    pub(crate) last: Option<String>,
    /// Why there will be no other try.
    pub(crate) failed: Option<String>,
}

impl Record {
    /// Whether something is outstanding.
    pub(crate) fn is_open(&self) -> bool {
        self.start || !self.ports.is_empty()
    }

    /// Notes a try at a time.
    pub(crate) fn tried(&mut self, now: u64) {
        let pause = PAUSE.saturating_mul(1_u32.checked_shl(self.tries.min(16)).unwrap_or(u32::MAX)).min(LONGEST_PAUSE);
        self.tries = self.tries.saturating_add(1);
        self.next = now.saturating_add(micros(pause));
    }
}

pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn key(token: &str) -> String {
    format!("{PREFIX}{token}")
}

impl Api {
    fn state(&self) -> State<'_> {
        self.ctx.state()
    }

    pub(crate) fn record(&self, token: &str) -> Result<Option<Versioned<Record>>> {
        self.state().get_json(&key(token))
    }

    /// All records, by token.
    pub(crate) fn records(&self) -> Result<Vec<(String, Versioned<Record>)>> {
        let mut records = Vec::new();
        for entry in self.state().entries(PREFIX) {
            let entry = entry?;
            let Some(token) = entry.key.strip_prefix(PREFIX) else { continue };
            // What an older version wrote in another form is nobody's any more.
            let Ok(value) = serde_json::from_slice(&entry.value) else { continue };
            records.push((token.to_owned(), Versioned { value, version: entry.version }));
        }
        Ok(records)
    }

    /// Writes down what an order wants. A record that is there already, of an earlier order by the token, is replaced.
    pub(crate) fn remember(&self, token: &str, record: &Record) -> Result<()> {
        self.state().set_json(&key(token), record)?;
        Ok(())
    }

    /// Writes a record if it is still as it was read; one that has nothing left to say is deleted. None where somebody else was
    /// faster.
    pub(crate) fn rewrite(&self, token: &str, version: u64, record: &Record) -> Result<Option<u64>> {
        let empty = !record.is_open() && record.forwards.is_empty() && record.failed.is_none();
        let bytes = if empty { None } else { Some(serde_json::to_vec(record)?) };
        match self.state().compare_and_swap(&key(token), Some(version), bytes.as_deref()) {
            Ok(version) => Ok(Some(version)),
            Err(StateError::Conflict) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn forget(&self, token: &str) -> Result<()> {
        self.state().delete(&key(token))?;
        Ok(())
    }

    /// Forgets what is owed to an instance that is gone.
    pub(crate) fn forget_instance(&self, id: &str) -> Result<()> {
        for (token, record) in self.records()? {
            if record.value.id.as_deref() == Some(id) {
                self.forget(&token)?;
            }
        }
        Ok(())
    }

    /// Nothing more is started by itself. Whether that was still to be done.
    pub(crate) fn stop_starting(&self, token: &str) -> Result<bool> {
        self.state().retry(|| {
            let Some(Versioned { mut value, version }) = self.record(token)? else { return Ok(Some(false)) };
            if !value.start {
                return Ok(Some(false));
            }
            value.start = false;
            value.failed = None;
            Ok(self.rewrite(token, version, &value)?.map(|_| true))
        })
    }

    /// Deletes old records whose instances are not among those that there are.
    pub(crate) fn sweep_records(&self, records: &[(String, Versioned<Record>)], exists: impl Fn(&str) -> bool) {
        for (token, record) in records {
            if exists(token) || self.ctx.now().saturating_sub(record.value.since) < micros(FORGOTTEN) {
                continue;
            }
            match self.state().compare_and_swap(&key(token), Some(record.version), None) {
                Ok(_) | Err(StateError::Conflict) => {}
                Err(error) => self.ctx.log().debug("a record was not deleted", &[("error", &Error::from(error).to_string())]),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound() {
        let mut record = Record::default();
        let pauses: Vec<u64> = (0..8)
            .map(|_| {
                record.tried(0);
                record.next / 1_000_000
            })
            .collect();
        assert_eq!(pauses, [2, 4, 8, 16, 30, 30, 30, 30]);
        record.tries = u32::MAX;
        record.tried(0);
        assert_eq!(record.next, 30_000_000);
    }
}
