//! Metrics in the names, units and numbers of this API.

use super::errors::Fault;
use super::input::{Members, Query, shown, time};
use ostler_core::measuring::{Metric, Period, Series, Statistic};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Number, Value};
use std::borrow::Cow;

/// Names of the specification, and how drivers spell them.
const NAMES: [(&str, &str); 6] = [
    ("CPUUtilization", "cpu-utilization"),
    ("MemoryUsage", "memory-used"),
    ("NetworkIn", "network-in"),
    ("NetworkOut", "network-out"),
    ("DiskRead", "disk-read"),
    ("DiskWrite", "disk-write"),
];
/// As the specification's example spells one of them, with a zero.
const SLIP: (&str, &str) = ("Network0ut", "network-out");

const STATISTICS: [(&str, Statistic); 4] =
    [("min", Statistic::Min), ("max", Statistic::Max), ("average", Statistic::Average), ("sum", Statistic::Sum)];
const PERIODS: [(&str, Period); 6] = [
    ("minute", Period::Minute),
    ("5minutes", Period::FiveMinutes),
    ("hour", Period::Hour),
    ("day", Period::Day),
    ("month", Period::Month),
    ("year", Period::Year),
];

/// A driver's name of a metric in the style of this API: known ones as the specification has them, others in CamelCase.
pub(super) fn name(driver: &str) -> Cow<'static, str> {
    if let Some((name, _)) = NAMES.iter().find(|(_, known)| *known == driver) {
        return Cow::Borrowed(*name);
    }
    let mut name = String::with_capacity(driver.len());
    for word in driver.split(['-', '_', '.']) {
        let mut letters = word.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.push_str(letters.as_str());
    }
    Cow::Owned(name)
}

/// The driver's name of a metric that is called so here, if the specification has it.
pub(super) fn known(name: &str) -> Option<&'static str> {
    NAMES.iter().chain([&SLIP]).find(|(known, _)| *known == name).map(|(_, driver)| *driver)
}

fn statistic_name(statistic: Statistic) -> &'static str {
    STATISTICS.iter().find(|(_, known)| *known == statistic).map_or("", |(name, _)| *name)
}

/// A metric in the list: its name, and what can be made of it.
pub(super) struct MetricView<'a>(pub(super) &'a Metric);

impl Serialize for MetricView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Statistics {
            statistics: Vec<&'static str>,
        }
        let statistics = self.0.statistics.iter().map(|statistic| statistic_name(*statistic)).collect();
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(&name(&self.0.name), &Statistics { statistics })?;
        map.end()
    }
}

/// What is asked of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// The metric, as it is called here.
    pub(super) metric: String,
    pub(super) statistic: Statistic,
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) period: Period,
}

impl Asked {
    /// Out of a body: one member, the metric.
    pub(super) fn body(body: Map<String, Value>) -> Result<Self, Fault> {
        let mut members = body.into_iter();
        match (members.next(), members.next()) {
            (Some((metric, Value::Object(wishes))), None) => {
                let wishes = Members::new(wishes, &shown(&metric));
                let text = |name| wishes.required_text(name);
                Self::read(&metric, text("statistics")?, text("startTime")?, text("endTime")?, text("period")?)
            }
            _ => Err(Fault::bad("the request body must have exactly one member, the metric, with an object as its value")),
        }
    }

    /// Out of the parameters `metric`, `statistics`, `startTime`, `endTime` and `period`.
    pub(super) fn query(query: &Query) -> Result<Self, Fault> {
        let text = |name: &str| {
            query.first(name).ok_or_else(|| Fault::bad(format!("the parameter `{name}` is missing, and so is a request body")))
        };
        Self::read(text("metric")?, text("statistics")?, text("startTime")?, text("endTime")?, text("period")?)
    }

    fn read(metric: &str, statistic: &str, start: &str, end: &str, period: &str) -> Result<Self, Fault> {
        let asked = Self {
            metric: metric.to_owned(),
            statistic: one_of("statistics", statistic, &STATISTICS)?,
            start: moment("startTime", start)?,
            end: moment("endTime", end)?,
            period: one_of("period", period, &PERIODS)?,
        };
        if asked.end < asked.start {
            return Err(Fault::bad("`endTime` is before `startTime`"));
        }
        Ok(asked)
    }
}

fn one_of<T: Copy>(what: &str, word: &str, known: &[(&str, T)]) -> Result<T, Fault> {
    let found = known.iter().find(|(name, _)| name.eq_ignore_ascii_case(word.trim()));
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        Fault::bad(format!("`{what}` must be one of {}, found `{}`", names.join(", "), shown(word)))
    })
}

fn moment(what: &str, text: &str) -> Result<i64, Fault> {
    time(text).ok_or_else(|| {
        Fault::bad(format!(
            "`{what}` must be a time such as 2012-09-19T07:00:00Z or 2012-09-19T09:00:00+02:00, found `{}`",
            shown(text)
        ))
    })
}

/// What a metric was: its name, and a value for each period.
pub(super) struct Answer<'a> {
    pub(super) asked: &'a Asked,
    pub(super) series: &'a Series,
}

impl Serialize for Answer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Values<'v> {
            statistics: &'static str,
            unit: Cow<'v, str>,
            datapoints: Datapoints<'v>,
        }
        let (unit, factor) = unit(&self.series.unit);
        let values = Values {
            statistics: statistic_name(self.asked.statistic),
            unit,
            datapoints: Datapoints { points: &self.series.points, factor },
        };
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(&self.asked.metric, &values)?;
        map.end()
    }
}

/// The values by the times at which their periods begin, in the order of these.
struct Datapoints<'v> {
    points: &'v [(i64, f64)],
    factor: f64,
}

impl Serialize for Datapoints<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (at, value) in self.points {
            if let Some(number) = number(value * self.factor) {
                let at = jiff::Timestamp::from_microsecond(*at).unwrap_or_default();
                map.serialize_entry(&at.strftime("%Y-%m-%d %H:%M:%SZ").to_string(), &number)?;
            }
        }
        map.end()
    }
}

/// A value with three decimals at most; whole ones without any.
#[allow(clippy::cast_possible_truncation)]
fn number(value: f64) -> Option<Number> {
    /// Up to here every whole number is one of these.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let rounded = (value * 1000.0).round() / 1000.0;
    if rounded.fract() == 0.0 && rounded.abs() <= EXACT {
        return Some(Number::from(rounded as i64));
    }
    Number::from_f64(rounded)
}

/// A driver's unit in the style of this API, and by what values are multiplied for it.
fn unit(driver: &str) -> (Cow<'_, str>, f64) {
    match driver {
        "percent" => (Cow::Borrowed("Percent"), 1.0),
        "bytes" => (Cow::Borrowed("Bytes"), 1.0),
        "bytes/second" => (Cow::Borrowed("Kilobits/Second"), 8.0 / 1000.0),
        other => {
            let words: Vec<String> = other.split('/').map(|word| name(word).into_owned()).collect();
            (Cow::Owned(words.join("/")), 1.0)
        }
    }
}

#[cfg(test)]
mod tests;
