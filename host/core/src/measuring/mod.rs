//! Measuring: samples of the machines of all clouds, kept with roll-ups for a time, and statistics of them.

mod periods;
mod rollup;
mod rounds;
mod subjects;
#[cfg(test)]
mod tests;

pub use rounds::Measured;

use crate::Error;
use crate::compute::Compute;
use crate::identity::Principal;
use crate::instances::Instances;
use crate::model::Measurement;
use ostler_drivers::ErrorKind;
use ostler_store::{SampleSeries, Store};
use std::sync::Arc;
use std::time::Duration;

/// What is made of the values of a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// The mean over time.
    Average,
    /// For what is counted: how much it was in the period.
    Sum,
}

/// How long the parts are for which a statistic is made. Hours and longer begin as the calendar says, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// A minute.
    Minute,
    /// Five minutes.
    FiveMinutes,
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A month.
    Month,
    /// A year.
    Year,
}

/// A metric that an instance has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    /// As drivers spell it: `cpu-utilization`, `memory-used`, `network-in`, `network-out`, `disk-read`, `disk-write`, or another.
    pub name: String,
    /// As drivers spell it. Of a counter: of what is counted; statistics but the sum are then by second.
    pub unit: String,
    /// Whether it is counted.
    pub counter: bool,
    /// What can be made of it.
    pub statistics: Vec<Statistic>,
}

/// What is wanted of a metric.
#[derive(Clone, Debug)]
pub struct Query {
    /// The metric, as drivers spell it.
    pub metric: String,
    /// What is made of the values.
    pub statistic: Statistic,
    /// From when, in microseconds UTC.
    pub start: i64,
    /// Until when, in microseconds UTC.
    pub end: i64,
    /// For how long each.
    pub period: Period,
}

/// What a metric was.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The unit, with `/second` for rates.
    pub unit: String,
    /// When each period begins, in microseconds UTC, and the value. Periods without a sample are left out.
    pub points: Vec<(i64, f64)>,
}

/// How is measured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often. Zero: never.
    pub every: Duration,
    /// How long minutes are kept.
    pub keep_minutes: Duration,
    /// How long hours are kept.
    pub keep_hours: Duration,
    /// How long days are kept.
    pub keep_days: Duration,
}

impl Default for Settings {
    /// Each minute; minutes and five minutes for two days, hours for 60 days, days for five years.
    fn default() -> Self {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        Self { every: Duration::from_secs(60), keep_minutes: days(2), keep_hours: days(60), keep_days: days(5 * 365) }
    }
}

/// At most so many points in an answer.
pub const MOST_POINTS: usize = 1440;

/// The feature of drivers that measure.
const FEATURE: &str = "samples";

/// The use cases around measurements.
pub struct Measuring {
    subjects: Arc<dyn subjects::Subjects>,
    compute: Arc<Compute>,
    store: Store,
    settings: Settings,
}

impl Measuring {
    /// Of these instances.
    pub fn new(instances: Arc<Instances>, settings: Settings) -> Arc<Self> {
        Self::of(Arc::clone(instances.compute()), instances, settings)
    }

    fn of(compute: Arc<Compute>, subjects: Arc<dyn subjects::Subjects>, settings: Settings) -> Arc<Self> {
        let store = compute.store().clone();
        Arc::new(Self { subjects, compute, store, settings })
    }

    /// What is measured of an instance that the caller may see, by name: what is kept of it or, before anything is, what the driver
    /// says now.
    pub async fn metrics(&self, who: &Principal, cloud: &str, instance: i64) -> Result<Vec<Metric>, Error> {
        let (token, node) = self.subjects.one(who, cloud, instance).await?;
        let known = self.known(cloud, &token).await?;
        if known.is_empty() {
            return Ok(self.ask(cloud, node).await?.into_iter().map(|(metric, _)| metric).collect());
        }
        Ok(known.into_iter().map(|series| Metric::new(series.metric, series.unit, series.counter)).collect())
    }

    /// What a metric of an instance was. [`Error::NoMetric`]; [`Error::Invalid`] for more than [`MOST_POINTS`] periods, for an end
    /// that is not after the start, and for the sum of what is not counted.
    ///
    /// The range is widened to whole periods. Each is made of the finest roll-ups that fit into it: minutes, five minutes, hours,
    /// or days for months and years, too. What is no longer kept is left out, as is what was never measured.
    pub async fn statistics(&self, who: &Principal, cloud: &str, instance: i64, query: &Query) -> Result<Series, Error> {
        let (token, node) = self.subjects.one(who, cloud, instance).await?;
        let (start, end) = query.period.widen(query.start, query.end)?;
        let known = self.known(cloud, &token).await?.into_iter().find(|series| series.metric == query.metric);
        let Some(series) = known else {
            // Perhaps it is to be seen with the next round.
            let found = self.ask(cloud, node).await?.into_iter().map(|(metric, _)| metric);
            let metric = found.into_iter().find(|metric| metric.name == query.metric);
            let metric = metric.ok_or_else(|| Error::NoMetric(query.metric.clone()))?;
            return Ok(Series { unit: metric.unit_of(query.statistic)?, points: Vec::new() });
        };
        // Nothing is looked for where nothing can be.
        let resolution = query.period.resolution();
        let (start, end) = (start.max(resolution.start_of(series.since)), end.min(series.last_at.saturating_add(1)));
        let metric = Metric::new(series.metric, series.unit, series.counter);
        let unit = metric.unit_of(query.statistic)?;
        let periods = query.period.group(&self.store.sample_rollups(series.id, resolution, start, end).await?)?;
        let value = |period| periods::value(query.statistic, metric.counter, period);
        Ok(Series { unit, points: periods.iter().filter_map(|period| Some((period.start, value(period)?))).collect() })
    }

    /// The newest values of an instance that the caller may see, by name: metric and value, asked of the driver now. Nothing where
    /// the machine is off, or not there yet, or the driver measures nothing.
    pub async fn now(&self, who: &Principal, cloud: &str, instance: i64) -> Result<Vec<(Metric, f64)>, Error> {
        let (_, node) = self.subjects.one(who, cloud, instance).await?;
        self.ask(cloud, node).await
    }

    /// The series of a machine, by metric. Where a metric has changed its unit, the latest one counts.
    async fn known(&self, cloud: &str, token: &str) -> Result<Vec<SampleSeries>, Error> {
        let mut known = self.store.sample_series(cloud, &[token]).await?;
        known.sort_by(|a, b| a.metric.cmp(&b.metric).then(b.last_at.cmp(&a.last_at)).then(b.id.cmp(&a.id)));
        known.dedup_by(|later, first| later.metric == first.metric);
        Ok(known)
    }

    async fn ask(&self, cloud: &str, node: Option<String>) -> Result<Vec<(Metric, f64)>, Error> {
        let cloud = self.compute.cloud(cloud)?;
        let Some(node) = node.filter(|_| rounds::can_sample(&cloud)) else { return Ok(Vec::new()) };
        let samples = match cloud.sample(vec![node.clone()]).await {
            Ok(samples) => samples,
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Unsupported) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let newest = samples.into_iter().filter(|sample| sample.node_id == node).max_by_key(|sample| sample.at);
        let mut values: Vec<Measurement> = newest.map_or_else(Vec::new, |sample| sample.values);
        values.retain(rollup::is_sound);
        values.sort_by(|a, b| a.name.cmp(&b.name));
        values.dedup_by(|later, first| later.name == first.name);
        values.truncate(rollup::MOST_SERIES);
        let metric = |value: Measurement| {
            let counter = rollup::is_counter(&value);
            (Metric::new(value.name, value.unit, counter), value.value)
        };
        Ok(values.into_iter().map(metric).collect())
    }
}

impl Metric {
    fn new(name: String, unit: String, counter: bool) -> Self {
        let mut statistics = vec![Statistic::Min, Statistic::Max, Statistic::Average];
        statistics.extend(counter.then_some(Statistic::Sum));
        Self { name, unit, counter, statistics }
    }

    /// The unit of a statistic of it.
    fn unit_of(&self, statistic: Statistic) -> Result<String, Error> {
        match (self.counter, statistic) {
            (true, Statistic::Sum) => Ok(self.unit.clone()),
            (true, _) => Ok(format!("{}/second", self.unit)),
            (false, Statistic::Sum) => Err(Error::Invalid(format!("`{}` is not counted: it has no sum", self.name))),
            (false, _) => Ok(self.unit.clone()),
        }
    }
}
