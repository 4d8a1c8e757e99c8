//! Measurements: the newest data point of each metric's last minutes.
//!
//! The text asks for statistics by a GET with a body, which many servers do not read; others take a POST, or the query. What a far
//! side understands is remembered, as is how it spells the path.

use std::time::Duration;

use ostler_driver::http::is_identifier;
use ostler_driver::{Error, Measurement, NodeState, Result, Sample, time};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::http::Api;
use crate::wire;

/// After so long no further node is asked for: the call must end.
const BUDGET: Duration = Duration::from_secs(4);
/// How long is remembered how to ask, and what can be asked of an instance.
const REMEMBERED: Duration = Duration::from_secs(600);
/// How far back statistics are asked for, and how far the far side's clock may be ahead.
const BACK: u64 = 600_000_000;
const AHEAD: u64 = 60_000_000;

/// The metrics of the API and their names in the contract. One name is misspelt in the text.
const NAMES: [(&str, &str); 7] = [
    ("CPUUtilization", "cpu-utilization"),
    ("MemoryUsage", "memory-used"),
    ("NetworkIn", "network-in"),
    ("NetworkOut", "network-out"),
    ("Network0ut", "network-out"),
    ("DiskRead", "disk-read"),
    ("DiskWrite", "disk-write"),
];

/// How to ask for statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Way {
    Query,
    Post,
    Body,
}

/// How this far side is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Manner {
    /// `instances/…/metrics`; the text has the singular.
    plural: bool,
    way: Way,
}

/// What can be asked of an instance: the metric and a statistic of it.
type Offer = (String, String);

impl Api {
    /// Measurements of these nodes, or of those that run. Nodes that do not exist, or of which nothing is measured, are left out.
    pub(crate) fn samples(&self, ids: &[String]) -> Result<Vec<Sample>> {
        let began = self.ctx.now();
        let all: Vec<String>;
        let ids = if ids.is_empty() {
            let mut running = Vec::new();
            let mut cursor = None;
            loop {
                let page = self.nodes(cursor.as_deref())?;
                running.extend(page.items.into_iter().filter(|node| node.state == NodeState::Running).map(|node| node.id));
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            all = running;
            &all
        } else {
            ids
        };
        let kept = self.ctx.cache().get_json(&self.cache_key("manner"));
        let mut manner = kept.unwrap_or(Manner { plural: false, way: Way::Query });
        let mut samples = Vec::new();
        for id in ids.iter().filter(|id| is_identifier(id)) {
            if Duration::from_micros(self.ctx.now().saturating_sub(began)) >= BUDGET {
                self.ctx.log().warn("not all nodes were measured in time", &[("measured", &samples.len().to_string())]);
                break;
            }
            let offers = self.offers(id, &mut manner)?;
            let mut sample = Sample { node_id: id.clone(), at: 0, values: Vec::new() };
            for (metric, statistic) in offers {
                let Some((at, measured)) = self.statistics(id, &metric, &statistic, &mut manner)? else { continue };
                if sample.values.iter().all(|known| known.name != measured.name) {
                    sample.at = sample.at.max(at);
                    sample.values.push(measured);
                }
            }
            if !sample.values.is_empty() {
                samples.push(sample);
            }
        }
        if kept != Some(manner) && !samples.is_empty() {
            self.ctx.cache().set_json(&self.cache_key("manner"), &manner, REMEMBERED)?;
        }
        Ok(samples)
    }

    fn metrics_path(id: &str, plural: bool) -> String {
        format!("{}/metrics", wire::path(if plural { "instances" } else { "instance" }, id))
    }

    /// What can be asked of an instance; nothing where there is none.
    fn offers(&self, id: &str, manner: &mut Manner) -> Result<Vec<Offer>> {
        let key = self.cache_key(&format!("metrics/{id}"));
        if let Some(offers) = self.ctx.cache().get_json(&key) {
            return Ok(offers);
        }
        for plural in [manner.plural, !manner.plural] {
            match self.get(Self::metrics_path(id, plural)).json() {
                Ok(body) => {
                    manner.plural = plural;
                    let offers = read_offers(&body);
                    self.ctx.cache().set_json(&key, &offers, REMEMBERED)?;
                    return Ok(offers);
                }
                // The path or the instance is unknown, or is no number.
                Err(Error::NotFound(_) | Error::Unsupported(_) | Error::Invalid(_) | Error::Failed(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Vec::new())
    }

    /// The newest value of a metric and its time. The way to ask that was good last is tried first.
    fn statistics(&self, id: &str, metric: &str, statistic: &str, manner: &mut Manner) -> Result<Option<(u64, Measurement)>> {
        let path = format!("{}/statistics", Self::metrics_path(id, manner.plural));
        let now = self.ctx.now();
        let (start, end) = (time::format(now.saturating_sub(BACK)), time::format(now.saturating_add(AHEAD)));
        // As the text writes times.
        let [blank_start, blank_end] = [&start, &end].map(|time| time.replace('T', " "));
        let body = json!({metric: {
            "statistics": statistic, "startTime": blank_start, "endTime": blank_end, "period": "minute",
        }});
        let others = [Way::Query, Way::Post, Way::Body].into_iter().filter(|way| *way != manner.way);
        for way in [manner.way].into_iter().chain(others) {
            let call = match way {
                Way::Query => {
                    let call = self.get(&path).query("metric", metric).query("statistics", statistic);
                    call.query("startTime", &start).query("endTime", &end).query("period", "minute")
                }
                Way::Post => self.post(&path, &body),
                Way::Body => self.get(&path).json_body(&body),
            };
            match call.json() {
                Ok(answer) => {
                    if let Some(found) = newest(&answer, metric) {
                        manner.way = way;
                        return Ok(found.map(|(at, value, unit)| (at.unwrap_or(now).min(now), measurement(metric, &unit, value))));
                    }
                }
                Err(Error::NotFound(_) | Error::Unsupported(_) | Error::Invalid(_) | Error::Failed(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

fn read_offers(body: &Value) -> Vec<Offer> {
    let metrics = body.get("metrics").unwrap_or(body);
    let mut offers = Vec::new();
    let mut add = |name: &str, about: &Value| {
        let known = NAMES.iter().any(|(theirs, _)| theirs.eq_ignore_ascii_case(name));
        let statistics: Vec<&str> =
            about.get("statistics").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let average = statistics.iter().find(|one| one.eq_ignore_ascii_case("average"));
        let statistic = average.or(statistics.first()).copied().unwrap_or("average");
        if known {
            offers.push((name.to_owned(), statistic.to_owned()));
        }
    };
    match metrics {
        Value::Array(all) => {
            for one in all {
                match one {
                    Value::String(name) => add(name, &Value::Null),
                    one => one.as_object().into_iter().flatten().for_each(|(name, about)| add(name, about)),
                }
            }
        }
        Value::Object(all) => all.iter().for_each(|(name, about)| add(name, about)),
        _ => {}
    }
    offers
}

/// Time, value and unit.
type Point = (Option<u64>, f64, String);

/// The newest data point of an answer; an answer without statistics is none, one without points has no newest.
fn newest(answer: &Value, metric: &str) -> Option<Option<Point>> {
    let about = answer.as_object()?.iter().find(|(name, _)| name.eq_ignore_ascii_case(metric)).map(|(_, about)| about)?;
    let unit = wire::text(about, "unit").unwrap_or_default();
    let number =
        |value: &Value| value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|value: &f64| value.is_finite());
    let points: Vec<(Option<u64>, f64)> = match about.get("datapoints")? {
        Value::Object(points) => points.iter().filter_map(|(at, value)| Some((time::parse(at), number(value)?))).collect(),
        Value::Array(points) => {
            let at = |point: &Value| ["timestamp", "time"].iter().find_map(|key| wire::text(point, key));
            points
                .iter()
                .filter_map(|point| Some((at(point).as_deref().and_then(time::parse), number(point.get("value")?)?)))
                .collect()
        }
        _ => return None,
    };
    Some(points.into_iter().max_by_key(|(at, _)| *at).map(|(at, value)| (at, value, unit)))
}

/// In the contract's units, where the far side's are known.
fn measurement(metric: &str, unit: &str, value: f64) -> Measurement {
    let name = NAMES.iter().find(|(theirs, _)| theirs.eq_ignore_ascii_case(metric)).map_or(metric, |(_, ours)| ours);
    let lower = unit.trim().to_ascii_lowercase();
    let (amount, per) = match lower.split_once('/') {
        Some((amount, per)) => (amount.trim().to_owned(), format!("/{}", per.trim().replace("seconds", "second"))),
        None => (lower.clone(), String::new()),
    };
    let factor = match amount.as_str() {
        "bytes" | "byte" => 1.0,
        "kilobytes" => 1e3,
        "megabytes" => 1e6,
        "gigabytes" => 1e9,
        "kibibytes" => 1024.0,
        "mebibytes" => 1_048_576.0,
        "bits" => 0.125,
        "kilobits" => 125.0,
        "megabits" => 125e3,
        "gigabits" => 125e6,
        "percent" | "%" => return Measurement::gauge(name, "percent", value),
        _ => return Measurement::gauge(name, lower, value),
    };
    Measurement::gauge(name, format!("bytes{per}"), value * factor)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn units_are_those_of_the_contract() {
        for (unit, value, expected) in [
            ("Kilobits/Second", 230.0, ("bytes/second", 28_750.0)),
            ("Bytes/Second", 5.0, ("bytes/second", 5.0)),
            ("bytes/seconds", 5.0, ("bytes/second", 5.0)),
            ("Megabytes", 2.0, ("bytes", 2e6)),
            ("Percent", 15.0, ("percent", 15.0)),
            ("%", 15.0, ("percent", 15.0)),
            ("Count", 3.0, ("count", 3.0)),
            ("", 3.0, ("", 3.0)),
        ] {
            let measured = measurement("NetworkIn", unit, value);
            assert_eq!((measured.name.as_str(), measured.unit.as_str(), measured.value), ("network-in", expected.0, expected.1));
        }
    }

    #[test]
    fn the_newest_point_counts() {
        let object = json!({"CPUUtilization": {"unit": "Percent", "datapoints": {
            "2012-09-19 07:01:00Z": 2, "2012-09-19 07:02:00Z": "3.5", "2012-09-19 07:00:00Z": 1}}});
        let array = json!({"cpuutilization": {"unit": "Percent", "datapoints": [
            {"timestamp": "2012-09-19T07:02:00Z", "value": 3.5}, {"timestamp": "2012-09-19T07:01:00Z", "value": 1}]}});
        for answer in [object, array] {
            let (at, value, _) = newest(&answer, "CPUUtilization").unwrap().unwrap();
            assert_eq!((at, value), (time::parse("2012-09-19T07:02:00Z"), 3.5));
        }
        assert!(matches!(newest(&json!({"CPUUtilization": {"datapoints": {}}}), "CPUUtilization"), Some(None)));
        for answer in [json!({}), json!([]), json!({"CPUUtilization": {}}), json!({"NetworkIn": {"datapoints": {}}})] {
            assert!(newest(&answer, "CPUUtilization").is_none(), "{answer}");
        }
    }

    #[test]
    fn offers_come_in_every_form() {
        let text = json!({"metrics": [{"CPUUtilization": {"statistics": ["min", "max", "average"]}}, {"Network0ut": {"statistics": ["max"]}}, {"Odd": {}}]});
        let expected = [("CPUUtilization", "average"), ("Network0ut", "max")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(read_offers(&text), expected);
        let object = json!({"metrics": {"CPUUtilization": {"statistics": ["average"]}}});
        assert_eq!(read_offers(&object), expected[..1]);
        assert_eq!(read_offers(&json!({"metrics": ["CPUUtilization"]})), expected[..1]);
    }
}
