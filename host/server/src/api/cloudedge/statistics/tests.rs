#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use crate::api::cloudedge::errors::Name;
use serde_json::json;

const SEVEN: i64 = 1_348_038_000_000_000;
const MINUTE: i64 = 60_000_000;

fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap()
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[test]
fn names_lead_there_and_back() {
    for (driver, expected) in [
        ("cpu-utilization", "CPUUtilization"),
        ("memory-used", "MemoryUsage"),
        ("network-in", "NetworkIn"),
        ("network-out", "NetworkOut"),
        ("disk-read", "DiskRead"),
        ("disk-write", "DiskWrite"),
        ("disk-read-operations", "DiskReadOperations"),
        ("steal", "Steal"),
        ("load.1", "Load1"),
        ("", ""),
    ] {
        assert_eq!(name(driver), expected);
        assert!(known(expected).is_none_or(|known| known == driver), "{driver}");
    }
    assert_eq!(NAMES.map(|(name, driver)| known(name) == Some(driver)), [true; 6]);
    assert_eq!((known("Network0ut"), known("Steal")), (Some("network-out"), None));
}

#[test]
fn metrics_are_listed_with_their_statistics() {
    let metric = Metric {
        name: "cpu-utilization".into(),
        unit: "percent".into(),
        counter: false,
        statistics: vec![Statistic::Min, Statistic::Max, Statistic::Average],
    };
    assert_eq!(text(&MetricView(&metric)), r#"{"CPUUtilization":{"statistics":["min","max","average"]}}"#);
    let counter = Metric { name: "network-in".into(), statistics: vec![Statistic::Sum], ..metric };
    assert_eq!(text(&MetricView(&counter)), r#"{"NetworkIn":{"statistics":["sum"]}}"#);
}

#[test]
fn questions_come_by_body_and_by_parameters() {
    let expected = Asked {
        metric: "CPUUtilization".into(),
        statistic: Statistic::Average,
        start: SEVEN,
        end: SEVEN + 7 * MINUTE,
        period: Period::Minute,
    };
    let wishes = json!({"statistics": "average", "endTime": "2012-09-19 07:07:00Z", "startTime": "2012-09-19 07:00:00Z", "period": "minute"});
    assert_eq!(Asked::body(object(&json!({ "CPUUtilization": wishes }))).unwrap(), expected);
    for query in [
        "metric=CPUUtilization&statistics=average&startTime=2012-09-19T07:00:00Z&endTime=2012-09-19T07:07:00Z&period=minute",
        "metric=CPUUtilization&statistics=Average&startTime=2012-09-19+07:00:00Z&endTime=2012-09-19T09:07:00+02:00&period=MINUTE",
    ] {
        assert_eq!(Asked::query(&Query::new(Some(query))).unwrap(), expected, "{query}");
    }
    let with = |name: &str, value: Value| {
        let mut wishes = object(&wishes);
        wishes.insert(name.into(), value);
        Asked::body(object(&json!({ "NetworkIn": wishes })))
    };
    for (word, period) in PERIODS {
        assert_eq!(with("period", json!(word)).unwrap().period, period);
    }
    for (word, statistic) in STATISTICS {
        assert_eq!(with("statistics", json!(word)).unwrap().statistic, statistic);
    }
    for (name, value, part) in [
        ("period", json!("fortnight"), "minute, 5minutes, hour, day, month, year"),
        ("period", json!(5), "must be a string"),
        ("period", Value::Null, "`NetworkIn.period` is missing"),
        ("statistics", json!("median"), "min, max, average, sum"),
        ("statistics", json!(["average"]), "must be a string"),
        ("startTime", json!("soon"), "`startTime` must be a time"),
        ("startTime", json!("2012-09-19T07:08:00Z"), "before"),
        ("endTime", json!("2012-09-19"), "`endTime` must be a time"),
    ] {
        let fault = with(name, value.clone()).unwrap_err();
        assert!(fault.name == Name::BadRequest && fault.message.contains(part), "{name} {value}: {}", fault.message);
    }
    for body in [json!({}), json!({"a": wishes, "b": wishes}), json!({"a": 1})] {
        assert!(Asked::body(object(&body)).is_err(), "{body}");
    }
    let fault = Asked::query(&Query::new(Some("metric=x"))).unwrap_err();
    assert!(fault.message.contains("`statistics`"), "{}", fault.message);
}

#[test]
fn the_answer_has_a_value_a_period_in_their_order() {
    let asked = |statistic| Asked { metric: "NetworkIn".into(), statistic, start: 0, end: 0, period: Period::Minute };
    for (statistic, unit, values, expected) in [
        (
            Statistic::Average,
            "bytes/second",
            vec![28_750.0, 1.0, 0.125],
            r#"{"NetworkIn":{"statistics":"average","unit":"Kilobits/Second","datapoints":{"2012-09-19 07:00:00Z":230,"2012-09-19 07:01:00Z":0.008,"2012-09-19 07:02:00Z":0.001}}}"#,
        ),
        (
            Statistic::Max,
            "percent",
            vec![12.345_67, 100.0, f64::NAN],
            r#"{"NetworkIn":{"statistics":"max","unit":"Percent","datapoints":{"2012-09-19 07:00:00Z":12.346,"2012-09-19 07:01:00Z":100}}}"#,
        ),
        (
            Statistic::Sum,
            "bytes",
            vec![5e14],
            r#"{"NetworkIn":{"statistics":"sum","unit":"Bytes","datapoints":{"2012-09-19 07:00:00Z":500000000000000}}}"#,
        ),
        (Statistic::Min, "count/second", vec![], r#"{"NetworkIn":{"statistics":"min","unit":"Count/Second","datapoints":{}}}"#),
    ] {
        let points =
            values.into_iter().enumerate().map(|(minute, value)| (SEVEN + i64::try_from(minute).unwrap() * MINUTE, value));
        let series = Series { unit: unit.into(), points: points.collect() };
        assert_eq!(text(&Answer { asked: &asked(statistic), series: &series }), expected);
    }
}
