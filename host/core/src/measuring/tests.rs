#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::cast_precision_loss)]
//! On the real dummy driver, with the real store in memory. Time is what the tests say it is.

use super::subjects::{Subject, Subjects};
use super::*;
use crate::compute::tests::{CLOUD, compute};
use crate::model::{MetricKind, NodeSpec, Sample};
use crate::scheduler::Scheduler;
use crate::{SECOND, StoreState};
use async_trait::async_trait;
use ostler_drivers::{CloudSettings, Host, LoadPolicy, Runtime};
use ostler_store::{Options, Resolution};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::{BTreeMap, HashMap};

/// Instances that are made up: number, token, machine.
#[derive(Default)]
struct Known(Mutex<Vec<(i64, Subject)>>);

#[async_trait]
impl Subjects for Known {
    async fn all(&self, cloud: &str) -> Result<Vec<Subject>, Error> {
        assert_eq!(cloud, CLOUD);
        Ok(self.0.lock().iter().map(|(_, subject)| subject.clone()).collect())
    }

    async fn one(&self, _: &Principal, _: &str, instance: i64) -> Result<Subject, Error> {
        let found = self.0.lock().iter().find(|(number, _)| *number == instance).map(|(_, subject)| subject.clone());
        found.ok_or(Error::NoInstance(instance))
    }
}

struct House {
    measuring: Arc<Measuring>,
    compute: Arc<Compute>,
    known: Arc<Known>,
}

async fn house(config: &[(&str, &str)], settings: Settings) -> House {
    furnish(compute(config).await, settings)
}

/// Without a driver: what it would say is told.
async fn quiet_house() -> House {
    let store = Store::open("sqlite::memory:", &Options::default()).await.unwrap();
    let state = Arc::new(StoreState(store.clone()));
    let host = Arc::new(Host::new(Runtime::new(None).unwrap(), LoadPolicy::default(), state).unwrap());
    host.add_cloud(CloudSettings::new(CLOUD, "dummy")).unwrap();
    let house = furnish(Compute::new(host, Arc::new(Scheduler::new(store)), None), Settings::default());
    house.known.0.lock().push((1, ("t-1".into(), None)));
    house
}

fn furnish(compute: Arc<Compute>, settings: Settings) -> House {
    let known = Arc::new(Known::default());
    House { measuring: Measuring::of(Arc::clone(&compute), Arc::clone(&known) as _, settings), compute, known }
}

impl House {
    /// A machine with an instance of this number. Its identifier at the provider.
    async fn machine(&self, number: i64) -> String {
        let spec = NodeSpec::new("a", "debian-13", "tiny");
        let node = self.compute.cloud(CLOUD).unwrap().create_node(&format!("t-{number}"), spec).await.unwrap().value;
        self.known.0.lock().push((number, (format!("t-{number}"), Some(node.id.clone()))));
        node.id
    }

    async fn statistics(&self, instance: i64, query: Query) -> Result<Series, Error> {
        self.measuring.statistics(&Principal::open(), CLOUD, instance, &query).await
    }

    /// As if the driver had said that at this time; whether it was kept.
    async fn told(&self, now: i64, samples: Vec<Sample>) -> bool {
        let revision = self.measuring.store.samples_round(CLOUD).await.unwrap().0;
        let tokens = HashMap::from([("n", "t-1")]);
        self.measuring.record(CLOUD, (revision, now), now, &tokens, samples).await.unwrap().is_some()
    }
}

fn value(name: &str, unit: &str, kind: MetricKind, value: f64) -> Measurement {
    Measurement { name: name.into(), unit: unit.into(), kind, value }
}

fn sample(at: i64, values: Vec<Measurement>) -> Sample {
    Sample { node_id: "n".into(), at: at.unsigned_abs(), values }
}

fn query(metric: &str, statistic: Statistic, period: Period, start: i64, end: i64) -> Query {
    Query { metric: metric.into(), statistic, start, end, period }
}

fn at(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().unwrap().as_microsecond()
}

const PLAIN: (&str, &str) = ("form", "plain");
const MINUTE: i64 = 60 * SECOND;
const DAY: i64 = 86_400 * SECOND;

#[tokio::test]
async fn the_driver_is_asked_and_its_answers_are_kept() {
    let house = house(&[PLAIN], Settings::default()).await;
    let (who, measuring) = (Principal::open(), &house.measuring);
    let now = ostler_store::now();
    assert_eq!(measuring.measure(now).await, Measured::default(), "there is nothing to measure");
    house.machine(1).await;
    // A machine that nobody has an instance of is not measured, nor one that the provider has not made yet.
    house.machine(2).await;
    house.known.0.lock().pop();
    house.known.0.lock().push((3, ("t-3".into(), None)));

    // Before anything is kept the driver says what there is.
    let expected = ["cpu-utilization", "disk-read", "disk-write", "memory-used", "network-in", "network-out"];
    let names = |metrics: &[Metric]| metrics.iter().map(|metric| metric.name.clone()).collect::<Vec<_>>();
    let before = measuring.metrics(&who, CLOUD, 1).await.unwrap();
    assert_eq!(names(&before), expected);
    let range = |metric: &str, statistic| query(metric, statistic, Period::Minute, now - MINUTE, now + 5 * MINUTE);
    let none = house.statistics(1, range("network-in", Statistic::Average)).await.unwrap();
    assert_eq!(none, Series { unit: "bytes/second".into(), points: Vec::new() });

    assert_eq!(measuring.measure(now).await, Measured { clouds: 1, values: 6 });
    assert_eq!(measuring.measure(now).await, Measured::default(), "once a round");
    assert_eq!(measuring.metrics(&who, CLOUD, 1).await.unwrap(), before, "what is kept is what was said");
    let cpu = house.statistics(1, range("cpu-utilization", Statistic::Max)).await.unwrap();
    assert_eq!((cpu.unit.as_str(), cpu.points.len()), ("percent", 1));
    assert!((0.0..=100.0).contains(&cpu.points[0].1), "{cpu:?}");
    assert!(house.statistics(1, range("network-in", Statistic::Sum)).await.unwrap().points.is_empty(), "one value says nothing");
    // The next round; the driver's clock has gone on, if only by a little.
    assert_eq!(measuring.measure(now + MINUTE).await, Measured { clouds: 1, values: 6 });
    let network = house.statistics(1, range("network-in", Statistic::Sum)).await.unwrap();
    assert_eq!(network.unit, "bytes");
    assert!(!network.points.is_empty() && network.points.iter().all(|(_, value)| *value >= 0.0), "{network:?}");

    let present = measuring.now(&who, CLOUD, 1).await.unwrap();
    assert_eq!(present.iter().map(|(metric, _)| metric.clone()).collect::<Vec<_>>(), before);
    assert!(present.iter().all(|(_, value)| value.is_finite()));
    for metric in &before {
        let all = [Statistic::Min, Statistic::Max, Statistic::Average, Statistic::Sum];
        assert_eq!(metric.statistics, all[..if metric.counter { 4 } else { 3 }]);
    }

    // What does not exist, for whoever asks, and what cannot be.
    assert!(measuring.metrics(&who, CLOUD, 3).await.unwrap().is_empty(), "no machine yet");
    assert!(measuring.now(&who, CLOUD, 3).await.unwrap().is_empty());
    for instance in [1, 3] {
        let nothing = house.statistics(instance, range("no such", Statistic::Max)).await;
        assert!(matches!(nothing, Err(Error::NoMetric(ref name)) if name == "no such"), "{nothing:?}");
    }
    assert!(matches!(house.statistics(2, range("cpu-utilization", Statistic::Max)).await, Err(Error::NoInstance(2))));
    assert!(matches!(measuring.metrics(&who, CLOUD, 2).await, Err(Error::NoInstance(2))));
    assert!(matches!(measuring.now(&who, CLOUD, 2).await, Err(Error::NoInstance(2))));
    let sum = house.statistics(1, range("cpu-utilization", Statistic::Sum)).await;
    assert!(matches!(sum, Err(Error::Invalid(ref why)) if why.contains("no sum")), "{sum:?}");
    let many = Query { end: now + 3 * DAY, ..range("cpu-utilization", Statistic::Max) };
    assert!(matches!(house.statistics(1, many).await, Err(Error::Invalid(ref why)) if why.contains("at most 1440")));
}

#[tokio::test]
async fn a_cloud_that_cannot_be_measured_is_passed_over() {
    for config in [
        [("form", "fake_driver"), ("faults", "{}")],
        [PLAIN, ("faults", r#"{"get-samples": {"transient": 1}}"#)],
        [PLAIN, ("faults", r#"{"get-samples": {"trap": 1}}"#)],
    ] {
        let house = house(&config, Settings::default()).await;
        house.known.0.lock().push((1, ("t-1".into(), Some("1".into()))));
        assert_eq!(house.measuring.measure(ostler_store::now()).await, Measured::default(), "{config:?}");
        assert_eq!(house.measuring.store.samples_round(CLOUD).await.unwrap(), (0, None), "the round is not taken");
        let metrics = house.measuring.metrics(&Principal::open(), CLOUD, 1).await;
        assert_eq!(metrics.is_ok(), config[0] != PLAIN, "{metrics:?}");
    }
}

#[tokio::test]
async fn hosts_that_measure_at_once_count_once() {
    let house = house(&[PLAIN], Settings::default()).await;
    house.machine(1).await;
    let hosts: Vec<_> =
        (0..4).map(|_| Measuring::of(Arc::clone(&house.compute), Arc::clone(&house.known) as _, Settings::default())).collect();
    let start = ostler_store::now() / MINUTE * MINUTE;
    for round in 0..3 {
        let all = futures::future::join_all(hosts.iter().map(|host| host.measure(start + round * MINUTE))).await;
        assert_eq!(all.iter().map(|measured| measured.clouds).sum::<usize>(), 1, "{all:?}");
    }
    let series = house.measuring.known(CLOUD, "t-1").await.unwrap();
    for series in series.iter().filter(|series| !series.counter) {
        let days = house.measuring.store.sample_rollups(series.id, Resolution::Day, start / DAY * DAY, start + DAY);
        assert_eq!(days.await.unwrap().iter().map(|day| day.weight).sum::<i64>(), 3, "{}", series.metric);
    }
}

#[tokio::test]
async fn rounds_go_on_by_themselves() {
    let settings = Settings { every: std::time::Duration::from_secs(1), ..Settings::default() };
    let house = house(&[PLAIN], settings).await;
    house.machine(1).await;
    let task = tokio::spawn(Arc::clone(&house.measuring).run());
    let began = std::time::Instant::now();
    while house.measuring.store.samples_round(CLOUD).await.unwrap().0 < 2 {
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "nobody measures");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    task.abort();
}

#[tokio::test]
async fn what_is_too_old_is_forgotten() {
    let house = quiet_house().await;
    let start = at("2026-03-01T12:00:00Z");
    for minute in 0..10 {
        let at = start + minute * MINUTE;
        assert!(house.told(at, vec![sample(at, vec![value("x", "count", MetricKind::Gauge, 1.0)])]).await);
    }
    // (when, in minutes from the start; how many periods of minute, five minutes, hour, day and year are left)
    let (hours, days) = (60 * DAY / MINUTE, 5 * 365 * DAY / MINUTE);
    for (now, left) in [
        (2 * 1440, [10, 2, 1, 1, 1]),
        (2 * 1440 + 4, [6, 2, 1, 1, 1]),
        (2 * 1440 + 7, [3, 1, 1, 1, 1]),
        (2 * 1440 + 30, [0, 0, 1, 1, 1]),
        (hours + 59, [0, 0, 1, 1, 1]),
        (hours + 60, [0, 0, 0, 1, 1]),
        (days + 719, [0, 0, 0, 1, 1]),
        (days + 720, [0, 0, 0, 0, 0]),
    ] {
        house.measuring.forget(start + now * MINUTE).await.unwrap();
        let mut found = Vec::new();
        for period in [Period::Minute, Period::FiveMinutes, Period::Hour, Period::Day, Period::Year] {
            let query = query("x", Statistic::Average, period, start, start + 10 * MINUTE);
            found.push(house.statistics(1, query).await.unwrap().points.len());
        }
        assert_eq!(found, left, "{now}");
    }
    // The series goes last.
    assert_eq!(house.measuring.forget(start + days * MINUTE + DAY).await.unwrap(), 0);
    assert_eq!(house.measuring.forget(start + days * MINUTE + DAY + 10 * MINUTE).await.unwrap(), 1);
    assert!(house.measuring.metrics(&Principal::open(), CLOUD, 1).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_metric_that_changes_its_unit_begins_anew() {
    let house = quiet_house().await;
    let start = at("2026-03-01T12:00:00Z");
    for (minute, unit, kind) in [(0, "MB", MetricKind::Gauge), (1, "bytes", MetricKind::Gauge), (2, "bytes", MetricKind::Counter)]
    {
        let at = start + minute * MINUTE;
        house.told(at, vec![sample(at, vec![value("x", unit, kind.clone(), 1.0)])]).await;
        let metrics = house.measuring.metrics(&Principal::open(), CLOUD, 1).await.unwrap();
        let counter = kind == MetricKind::Counter;
        assert_eq!(metrics, [Metric::new("x".into(), unit.into(), counter)]);
        let query = query("x", Statistic::Average, Period::Minute, start, start + 10 * MINUTE);
        let points = house.statistics(1, query).await.unwrap().points;
        assert_eq!(points, if counter { vec![] } else { vec![(at, 1.0)] }, "not what was in another unit");
    }
}

/// What a gauge and a counter were, second by second. Samples are at whole seconds here.
#[derive(Default)]
struct Model {
    gauge: Vec<(i64, f64)>,
    /// How much the counter grew within each second that was watched.
    growth: BTreeMap<i64, f64>,
    last: Option<(i64, f64)>,
    missed: u32,
}

impl Model {
    fn take(&mut self, now: i64, at: i64, gauge: f64, counter: f64) {
        if at > now + 60 || at < now - 3600 {
            self.missed += 1;
            return;
        }
        let missed = std::mem::take(&mut self.missed);
        let Some((before, was)) = self.last else {
            self.last = Some((at, counter));
            self.gauge.push((at, gauge));
            return;
        };
        if at <= before {
            return;
        }
        self.gauge.push((at, gauge));
        if missed < 3 {
            let increase = if counter < was { counter } else { counter - was };
            for second in before..at {
                self.growth.insert(second, increase / (at - before) as f64);
            }
        }
        self.last = Some((at, counter));
    }

    fn value(&self, counter: bool, statistic: Statistic, from: i64, to: i64) -> Option<f64> {
        let values: Vec<f64> = if counter {
            self.growth.range(from..to).map(|(_, value)| *value).collect()
        } else {
            self.gauge.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, value)| *value).collect()
        };
        let total: f64 = values.iter().sum();
        let found = match statistic {
            Statistic::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
            Statistic::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Statistic::Average => total / values.len() as f64,
            Statistic::Sum => total,
        };
        (!values.is_empty()).then_some(found)
    }
}

/// Rounds with late and early clocks, gaps, restarts, repetitions and nonsense; the model is told the same.
async fn at_random(house: &House, seed: u64, begin: i64) -> Model {
    let mut random = StdRng::seed_from_u64(seed);
    let mut model = Model::default();
    let (mut counter, mut behind, mut gap) = (0.0, 0, 0);
    for round in 0..150 {
        let now = begin + round * 60 + random.random_range(0..10);
        counter = if random.random_bool(0.03) { 0.0 } else { counter } + f64::from(random.random_range(0..100_000));
        // The driver's clock steps back now and then, and comes back.
        behind = match random.random_range(0..30) {
            0 => random.random_range(0..400),
            1..=3 => 0,
            _ => behind,
        };
        gap = if random.random_bool(0.04) { random.random_range(1..7) } else { gap - 1 };
        if gap > 0 {
            model.missed += 1;
            house.told(now * SECOND, Vec::new()).await;
            continue;
        }
        let at = match random.random_range(0..25) {
            0 => now + random.random_range(61..100_000),
            1 => now + random.random_range(1..60),
            2 => now - 4000,
            // It tells what it knew before.
            3 => model.last.map_or(now, |(at, _)| at),
            _ => now - behind,
        };
        let gauge = random.random_range(-50.0..50.0);
        model.take(now, at, gauge, counter);
        let mut values = vec![
            value("level", "percent", MetricKind::Gauge, gauge),
            value("traffic", "bytes", MetricKind::Counter, counter),
            value("level", "percent", MetricKind::Gauge, f64::NAN),
        ];
        if random.random_bool(0.5) {
            values.reverse();
        }
        assert!(house.told(now * SECOND, vec![sample(at * SECOND, values)]).await);
    }
    model
}

#[tokio::test]
async fn random_rounds_come_to_what_a_model_says() {
    let begins = [
        "2023-12-31T22:50:07Z",
        "2024-02-28T23:00:00Z",
        "2024-02-29T22:58:31Z",
        "2025-02-28T22:30:00Z",
        "2026-03-29T00:30:00Z",
        "2026-06-15T10:12:59Z",
    ];
    let mut compared = 0;
    for (seed, begin) in (0..).zip(begins) {
        let house = quiet_house().await;
        let begin = at(begin) / SECOND;
        let model = at_random(&house, seed, begin).await;
        let (from, to) = (begin - 3600, begin + 12_000);
        for period in [Period::Minute, Period::FiveMinutes, Period::Hour, Period::Day, Period::Month, Period::Year] {
            for statistic in [Statistic::Min, Statistic::Max, Statistic::Average, Statistic::Sum] {
                for (metric, counter) in [("level", false), ("traffic", true)] {
                    if statistic == Statistic::Sum && !counter {
                        continue;
                    }
                    let found = house.statistics(1, query(metric, statistic, period, from * SECOND, to * SECOND)).await.unwrap();
                    let mut expected = Vec::new();
                    let (mut start, end) = period.widen(from * SECOND, to * SECOND).unwrap();
                    while start < end {
                        let (_, next) = period.widen(start, start + 1).unwrap();
                        expected.extend(model.value(counter, statistic, start / SECOND, next / SECOND).map(|v| (start, v)));
                        start = next;
                    }
                    let starts = |points: &[(i64, f64)]| points.iter().map(|(start, _)| *start).collect::<Vec<_>>();
                    assert_eq!(starts(&found.points), starts(&expected), "seed {seed} {metric} {statistic:?} {period:?}");
                    for ((start, found), (_, expected)) in found.points.iter().zip(&expected) {
                        let close = (found - expected).abs() <= 1e-6 + expected.abs() * 1e-9;
                        assert!(close, "seed {seed} {metric} {statistic:?} {period:?} {start}: {found}, not {expected}");
                        compared += 1;
                    }
                }
            }
        }
    }
    assert!(compared > 5000, "{compared} values compared");
}
