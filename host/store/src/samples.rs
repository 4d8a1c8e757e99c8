//! What was measured of machines, kept as roll-ups: for each series and each minute, five minutes, hour and day, what the values
//! came to. How values become roll-ups is the callers' matter; here they are added to what there is.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::db::{Row, Tx, args, transaction};
use crate::{Error, Store};

/// Rows of one statement.
const BATCH: usize = 2000;

/// How long the parts are that roll-ups are made of. They begin at whole multiples since 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resolution {
    /// A minute.
    Minute,
    /// Five minutes.
    FiveMinutes,
    /// An hour.
    Hour,
    /// A day.
    Day,
}

impl Resolution {
    /// All, the finest first.
    pub const ALL: [Self; 4] = [Self::Minute, Self::FiveMinutes, Self::Hour, Self::Day];

    /// The length in seconds.
    pub const fn seconds(self) -> i64 {
        match self {
            Self::Minute => 60,
            Self::FiveMinutes => 300,
            Self::Hour => 3600,
            Self::Day => 86_400,
        }
    }

    /// The length in microseconds.
    pub const fn micros(self) -> i64 {
        self.seconds() * 1_000_000
    }

    /// When the part begins that this time is in.
    pub const fn start_of(self, at: i64) -> i64 {
        at - at.rem_euclid(self.micros())
    }
}

/// What is measured of one machine, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleSeries {
    /// Its number; 0 before it is written down.
    pub id: i64,
    /// The machine's token.
    pub subject: String,
    /// As the driver spells it.
    pub metric: String,
    /// As the driver spells it.
    pub unit: String,
    /// Whether it is counted.
    pub counter: bool,
    /// When the oldest value was measured, in microseconds UTC.
    pub since: i64,
    /// When the newest value was measured, in microseconds UTC.
    pub last_at: i64,
    /// The newest value.
    pub last_value: f64,
    /// When a value was last reported, were it the same one, in microseconds UTC by the clock of the host.
    pub seen_at: i64,
}

/// What the values of a part came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rollup {
    /// When the part begins, in microseconds UTC.
    pub start: i64,
    /// How many values; of what is counted: how long it was watched, in microseconds.
    pub weight: i64,
    /// The least value; of what is counted: the lowest rate, by the second.
    pub low: f64,
    /// The greatest value; of what is counted: the highest rate, by the second.
    pub high: f64,
    /// The sum of the values; of what is counted: how much it grew.
    pub total: f64,
}

impl Rollup {
    /// Takes another one in. The beginning stays.
    pub fn add(&mut self, other: &Self) {
        self.weight = self.weight.saturating_add(other.weight);
        self.low = self.low.min(other.low);
        self.high = self.high.max(other.high);
        self.total += other.total;
    }
}

/// A statement that reads the rows of a JSON array of arrays, `$1`, as `r.value`: the engines differ in how that is said.
struct Batch {
    sqlite: &'static str,
    postgres: &'static str,
}

macro_rules! batch {
    ($before:literal, $after:literal) => {
        Batch {
            sqlite: concat!($before, " json_each($1) AS r ", $after),
            postgres: concat!($before, " jsonb_array_elements(CAST($1 AS jsonb)) AS r(value) ", $after),
        }
    };
}

impl Batch {
    fn on(&self, store: &Store) -> &'static str {
        if store.is_shared() { self.postgres } else { self.sqlite }
    }
}

const NEW: Batch = batch!(
    "INSERT INTO sample_series (cloud, subject, metric, unit, counter, since, last_at, last_value, seen_at) \
     SELECT $2, r.value ->> 0, r.value ->> 1, r.value ->> 2, CAST(r.value ->> 3 AS BIGINT), CAST(r.value ->> 4 AS BIGINT), \
     CAST(r.value ->> 5 AS BIGINT), CAST(r.value ->> 6 AS DOUBLE PRECISION), CAST(r.value ->> 7 AS BIGINT) FROM",
    "RETURNING id, subject, metric, unit, counter"
);

const KNOWN: Batch = batch!(
    "UPDATE sample_series SET since = CAST(r.value ->> 1 AS BIGINT), last_at = CAST(r.value ->> 2 AS BIGINT), \
     last_value = CAST(r.value ->> 3 AS DOUBLE PRECISION), seen_at = CAST(r.value ->> 4 AS BIGINT) FROM",
    "WHERE sample_series.id = CAST(r.value ->> 0 AS BIGINT)"
);

// `WHERE true`: without it SQLite takes ON for a part of a join.
const POINTS: Batch = batch!(
    "INSERT INTO sample_points (resolution, start, series, weight, low, high, total) \
     SELECT CAST(r.value ->> 0 AS BIGINT), CAST(r.value ->> 1 AS BIGINT), CAST(r.value ->> 2 AS BIGINT), \
     CAST(r.value ->> 3 AS BIGINT), CAST(r.value ->> 4 AS DOUBLE PRECISION), CAST(r.value ->> 5 AS DOUBLE PRECISION), \
     CAST(r.value ->> 6 AS DOUBLE PRECISION) FROM",
    "WHERE true ON CONFLICT (resolution, start, series) DO UPDATE SET weight = sample_points.weight + excluded.weight, \
     low = CASE WHEN excluded.low < sample_points.low THEN excluded.low ELSE sample_points.low END, \
     high = CASE WHEN excluded.high > sample_points.high THEN excluded.high ELSE sample_points.high END, \
     total = sample_points.total + excluded.total"
);

// CROSS JOIN: SQLite takes it as the order in which to go.
const OF_SUBJECTS: Batch = batch!(
    "SELECT s.id, s.subject, s.metric, s.unit, s.counter, s.since, s.last_at, s.last_value, s.seen_at FROM",
    "CROSS JOIN sample_series s WHERE s.cloud = $2 AND s.subject = r.value ->> 0 ORDER BY s.id"
);

impl Store {
    /// The revision of a cloud's samples, and when the latest round was that wrote some, in microseconds UTC; none before the
    /// first, whose revision is 0.
    pub async fn samples_round(&self, cloud: &str) -> Result<(i64, Option<i64>), Error> {
        let row = self.db().optional("SELECT revision, round FROM sample_rounds WHERE cloud = $1", args![cloud]).await?;
        row.map_or(Ok((0, None)), |row| Ok((row.get(0)?, Some(row.get(1)?))))
    }

    /// The series of these machines of a cloud, by number.
    pub async fn sample_series(&self, cloud: &str, subjects: &[&str]) -> Result<Vec<SampleSeries>, Error> {
        let mut found = Vec::new();
        for some in subjects.chunks(BATCH) {
            let rows = Value::Array(some.iter().map(|subject| json!([subject])).collect()).to_string();
            let rows = self.db().all(OF_SUBJECTS.on(self), args![&rows, cloud]).await?;
            found.extend(rows.iter().map(series).collect::<Result<Vec<_>, _>>()?);
        }
        Ok(found)
    }

    /// Writes what a round has found: the series that were measured, all of the cloud and none of them twice, and what is added
    /// to their roll-ups, by the place of the series among them. Whether it was written: not so when somebody else has written
    /// since the caller read this revision, before the series. Numbers must be finite.
    pub async fn samples_write(
        &self,
        cloud: &str,
        revision: i64,
        round: i64,
        series: &[SampleSeries],
        points: &[(usize, Resolution, Rollup)],
    ) -> Result<bool, Error> {
        transaction!(self.db(), |tx| async {
            // Holds the row: whoever comes with the same revision waits, and then has lost.
            let sql = "INSERT INTO sample_rounds (cloud, revision, round) VALUES ($1, $2 + 1, $3) ON CONFLICT (cloud) DO UPDATE \
                       SET revision = sample_rounds.revision + 1, round = excluded.round WHERE sample_rounds.revision = $2";
            if tx.execute(sql, args![cloud, revision, round]).await? == 0 {
                return Ok(false);
            }
            let ids = self.write_series(tx, cloud, series).await?;
            self.write_points(tx, &ids, points).await?;
            Ok(true)
        })
    }

    /// The numbers of the series, in their order.
    async fn write_series(&self, tx: &mut Tx, cloud: &str, series: &[SampleSeries]) -> Result<Vec<i64>, Error> {
        let (new, known): (Vec<_>, Vec<_>) = series.iter().partition(|one| one.id == 0);
        for some in known.chunks(BATCH) {
            let rows = some.iter().map(|s| json!([s.id, s.since, s.last_at, s.last_value, s.seen_at]));
            let rows = Value::Array(rows.collect()).to_string();
            if tx.execute(KNOWN.on(self), args![&rows]).await? != some.len() as u64 {
                return Err(Error::NotFound("a series of samples"));
            }
        }
        let mut ids = HashMap::new();
        for some in new.chunks(BATCH) {
            let rows = some.iter().map(|s| {
                let counter = i64::from(s.counter);
                json!([s.subject, s.metric, s.unit, counter, s.since, s.last_at, s.last_value, s.seen_at])
            });
            let rows = Value::Array(rows.collect()).to_string();
            for row in tx.all(NEW.on(self), args![&rows, cloud]).await? {
                let key: (String, String, String, bool) = (row.get(1)?, row.get(2)?, row.get(3)?, row.flag(4)?);
                ids.insert(key, row.get::<i64>(0)?);
            }
        }
        let id = |s: &SampleSeries| match s.id {
            0 => ids.get(&(s.subject.clone(), s.metric.clone(), s.unit.clone(), s.counter)).copied(),
            known => Some(known),
        };
        series.iter().map(|one| id(one).ok_or(Error::Corrupt("series of samples"))).collect()
    }

    async fn write_points(&self, tx: &mut Tx, ids: &[i64], points: &[(usize, Resolution, Rollup)]) -> Result<(), Error> {
        for some in points.chunks(BATCH) {
            let mut rows = Vec::new();
            for (place, resolution, p) in some {
                let id = ids.get(*place).ok_or(Error::Invalid("samples of no series"))?;
                rows.push(json!([resolution.seconds(), p.start, id, p.weight, p.low, p.high, p.total]));
            }
            tx.execute(POINTS.on(self), args![&Value::Array(rows).to_string()]).await?;
        }
        Ok(())
    }

    /// The roll-ups of a series whose parts begin from `start` on and before `end`, in order. Both in microseconds UTC; `start` is
    /// the beginning of a part. Costs a look for each part that there could be.
    pub async fn sample_rollups(&self, series: i64, resolution: Resolution, start: i64, end: i64) -> Result<Vec<Rollup>, Error> {
        if start >= end {
            return Ok(Vec::new());
        }
        // CROSS JOIN as above.
        let sql = "WITH RECURSIVE parts (start) AS (SELECT CAST($3 AS BIGINT) UNION ALL \
                   SELECT start + $4 FROM parts WHERE start < $5 - $4) \
                   SELECT p.start, p.weight, p.low, p.high, p.total FROM parts CROSS JOIN sample_points p \
                   WHERE p.resolution = $2 AND p.start = parts.start AND p.series = $1 ORDER BY p.start";
        let rows = self.db().all(sql, args![series, resolution.seconds(), start, resolution.micros(), end]).await?;
        let rollup = |row: &Row| {
            Ok(Rollup { start: row.get(0)?, weight: row.get(1)?, low: row.get(2)?, high: row.get(3)?, total: row.get(4)? })
        };
        rows.iter().map(rollup).collect()
    }

    /// Forgets up to `limit` roll-ups, the oldest first, whose parts begin before that time, in microseconds UTC. How many: fewer
    /// than `limit` means that none is left.
    pub async fn sample_rollups_prune(&self, resolution: Resolution, before: i64, limit: u32) -> Result<u64, Error> {
        let sql = "DELETE FROM sample_points WHERE (resolution, start, series) IN (SELECT resolution, start, series \
                   FROM sample_points WHERE resolution = $1 AND start < $2 ORDER BY resolution, start, series LIMIT $3) RETURNING 1";
        self.db().write_count(sql, args![resolution.seconds(), before, limit]).await
    }

    /// Forgets up to `limit` series that were measured last before that time, in microseconds UTC. Their roll-ups must have been
    /// forgotten before. How many: fewer than `limit` means that none is left.
    pub async fn sample_series_prune(&self, before: i64, limit: u32) -> Result<u64, Error> {
        let sql = "DELETE FROM sample_series WHERE id IN (SELECT id FROM sample_series WHERE last_at < $1 AND seen_at < $1 \
                   ORDER BY id LIMIT $2) RETURNING 1";
        self.db().write_count(sql, args![before, limit]).await
    }
}

fn series(row: &Row) -> Result<SampleSeries, Error> {
    Ok(SampleSeries {
        id: row.get(0)?,
        subject: row.get(1)?,
        metric: row.get(2)?,
        unit: row.get(3)?,
        counter: row.flag(4)?,
        since: row.get(5)?,
        last_at: row.get(6)?,
        last_value: row.get(7)?,
        seen_at: row.get(8)?,
    })
}
