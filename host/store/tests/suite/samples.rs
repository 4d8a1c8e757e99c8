//! Series, their roll-ups, and who of several hosts writes them.

use std::sync::Arc;
use std::time::Instant;

use ostler_store::{Error, Resolution, Rollup, SampleSeries, Store};
use sqlx::{Connection as _, Row as _, SqliteConnection};

use crate::fixture::{Engine, Fixture, race, run};

const MINUTE: i64 = Resolution::Minute.micros();
/// 2026-03-01T00:00:00Z
const START: i64 = 1_772_323_200_000_000;

fn series(subject: &str, metric: &str, at: i64, value: f64) -> SampleSeries {
    SampleSeries {
        id: 0,
        subject: subject.into(),
        metric: metric.into(),
        unit: "bytes".into(),
        counter: metric.starts_with("network"),
        since: at,
        last_at: at,
        last_value: value,
        seen_at: at + 1,
    }
}

fn rollup(start: i64, weight: i64, low: f64, high: f64, total: f64) -> Rollup {
    Rollup { start, weight, low, high, total }
}

/// One value at a time, in all roll-ups.
fn point(place: usize, at: i64, value: f64) -> [(usize, Resolution, Rollup); 4] {
    Resolution::ALL.map(|resolution| (place, resolution, rollup(resolution.start_of(at), 1, value, value, value)))
}

async fn all(store: &Store, id: i64, resolution: Resolution) -> Vec<Rollup> {
    store.sample_rollups(id, resolution, resolution.start_of(START), START + 86_400_000_000).await.unwrap()
}

pub(crate) async fn life(f: Arc<Fixture>) {
    let store = &f.store;
    assert_eq!(store.samples_round("c").await.unwrap(), (0, None));
    assert!(store.sample_series("c", &["a"]).await.unwrap().is_empty());
    let first = [series("a", "memory-used", START, 5.0), series("a", "network-in", START, 0.1), series("b", "x", START, -1.5)];
    let points = [point(0, START, 5.0), point(2, START, -1.5)].concat();
    assert!(store.samples_write("c", 0, START, &first, &points).await.unwrap());
    assert_eq!(store.samples_round("c").await.unwrap(), (1, Some(START)));

    // What was written is what is read, of those who are asked for; the order is that of the numbers.
    let known = store.sample_series("c", &["b", "a", "nobody"]).await.unwrap();
    assert_eq!(known.len(), 3);
    for new in &first {
        let found = known.iter().find(|known| known.metric == new.metric).unwrap();
        assert_eq!(*found, SampleSeries { id: found.id, ..new.clone() });
    }
    assert!(known.is_sorted_by_key(|series| series.id));
    assert_eq!(store.sample_series("c", &["b"]).await.unwrap().len(), 1);
    assert!(store.sample_series("d", &["a", "b"]).await.unwrap().is_empty(), "clouds are apart");

    // The second round: one series goes on, another one is new and has a unit of its own, one was not measured.
    let at = START + MINUTE;
    let mut memory = known.iter().find(|known| known.metric == "memory-used").unwrap().clone();
    (memory.last_at, memory.last_value, memory.seen_at) = (at, 2.0, at + 7);
    let other = SampleSeries { unit: "MB".into(), ..series("a", "memory-used", at, 9.0) };
    let points = [point(1, at, 2.0), point(0, at, 9.0)].concat();
    assert!(store.samples_write("c", 1, at, &[other, memory.clone()], &points).await.unwrap());
    let now = store.sample_series("c", &["a"]).await.unwrap();
    assert_eq!(now.len(), 3);
    assert!(now.contains(&memory));
    assert_eq!(all(store, memory.id, Resolution::Minute).await, [rollup(START, 1, 5., 5., 5.), rollup(at, 1, 2., 2., 2.)]);
    for resolution in [Resolution::FiveMinutes, Resolution::Hour, Resolution::Day] {
        assert_eq!(all(store, memory.id, resolution).await, [rollup(START, 2, 2.0, 5.0, 7.0)], "{resolution:?}");
    }
    let other = now.iter().find(|series| series.unit == "MB").unwrap();
    assert_eq!(all(store, other.id, Resolution::Hour).await, [rollup(START, 1, 9.0, 9.0, 9.0)]);

    // Ranges: the end is not part of it.
    for (from, to, expected) in [(0, 0, 0), (0, 1, 1), (0, 2, 2), (1, 2, 1), (1, 9, 1), (2, 9, 0), (-5, 9, 2), (9, 0, 0)] {
        let (from, to) = (START + from * MINUTE, START + to * MINUTE);
        assert_eq!(store.sample_rollups(memory.id, Resolution::Minute, from, to).await.unwrap().len(), expected, "{from} {to}");
    }
    let found = store.sample_rollups(memory.id, Resolution::Minute, START, START + MINUTE + 1).await.unwrap();
    assert_eq!(found.len(), 2, "a part that begins before the end");
}

pub(crate) async fn one_of_two_writes(f: Arc<Fixture>) {
    let hosts = [f.store.clone(), f.other_host().await];
    // Six hosts with what they read before: one of them writes, whether it is the first round or a later one.
    for round in 0..5 {
        let at = START + round * MINUTE;
        let outcomes = race(6, |task| {
            let store = hosts[task % 2].clone();
            async move {
                let mut series = [series("a", "memory-used", at, 1.0)];
                if let Some(known) = store.sample_series("c", &["a"]).await.unwrap().first() {
                    series[0].id = known.id;
                }
                store.samples_write("c", round, at, &series, &point(0, at, 1.0)).await.unwrap()
            }
        })
        .await;
        assert_eq!(outcomes.iter().filter(|written| **written).count(), 1, "{round}: {outcomes:?}");
    }
    assert_eq!(f.store.samples_round("c").await.unwrap(), (5, Some(START + 4 * MINUTE)));
    let known = f.store.sample_series("c", &["a"]).await.unwrap();
    assert_eq!(known.len(), 1);
    assert_eq!(all(&f.store, known[0].id, Resolution::Minute).await.len(), 5);
    assert_eq!(all(&f.store, known[0].id, Resolution::Day).await, [rollup(START, 5, 1.0, 1.0, 5.0)]);
}

pub(crate) async fn all_or_nothing(f: Arc<Fixture>) {
    let store = &f.store;
    let new = series("a", "memory-used", START, 1.0);
    let unknown = SampleSeries { id: 99, ..series("b", "memory-used", START, 1.0) };
    let gone = store.samples_write("c", 0, START, &[new.clone(), unknown], &point(0, START, 1.0)).await;
    assert!(matches!(gone, Err(Error::NotFound(_))), "{gone:?}");
    let nowhere = store.samples_write("c", 0, START, std::slice::from_ref(&new), &point(1, START, 1.0)).await;
    assert!(matches!(nowhere, Err(Error::Invalid(_))), "{nowhere:?}");
    let infinite = store.samples_write("c", 0, START, std::slice::from_ref(&new), &point(0, START, f64::INFINITY)).await;
    assert!(infinite.is_err());
    // Nothing of it is there, and the next one counts from there.
    assert_eq!(store.samples_round("c").await.unwrap(), (0, None));
    assert!(store.sample_series("c", &["a", "b"]).await.unwrap().is_empty());
    assert!(store.samples_write("c", 0, START, &[new], &point(0, START, 1.0)).await.unwrap());
}

pub(crate) async fn in_portions(f: Arc<Fixture>) {
    let store = &f.store;
    let both = [series("a", "memory-used", START, 1.0), series("b", "memory-used", START + 9 * MINUTE, 1.0)];
    let points: Vec<_> = (0..10).flat_map(|n| [0, 1].map(|place| point(place, START + n * MINUTE, 1.0)[0])).collect();
    let more = [0, 1].map(|place| point(place, START, 1.0)[2]);
    assert!(store.samples_write("c", 0, START, &both, &[points, more.to_vec()].concat()).await.unwrap());
    let ids: Vec<_> = store.sample_series("c", &["a", "b"]).await.unwrap().iter().map(|series| series.id).collect();
    let prune = async |before: i64, limit| store.sample_rollups_prune(Resolution::Minute, before, limit).await.unwrap();
    assert_eq!(prune(START, 100).await, 0, "what begins then is kept");
    assert_eq!(prune(START + 5 * MINUTE, 0).await, 0);
    assert_eq!(prune(START + 5 * MINUTE, 3).await, 3);
    // The oldest first.
    let left = all(store, ids[0], Resolution::Minute).await.len() + all(store, ids[1], Resolution::Minute).await.len();
    assert_eq!(left, 17);
    assert_eq!(all(store, ids[0], Resolution::Minute).await[0].start, START + 2 * MINUTE);
    // Hosts that do so at once forget nothing twice.
    let hosts = [f.store.clone(), f.other_host().await];
    let counts = race(4, |task| {
        let store = hosts[task % 2].clone();
        async move { store.sample_rollups_prune(Resolution::Minute, START + 5 * MINUTE, 100).await.unwrap() }
    })
    .await;
    assert_eq!(counts.iter().sum::<u64>(), 7, "{counts:?}");
    for id in ids {
        assert_eq!(all(store, id, Resolution::Minute).await.len(), 5);
        assert_eq!(all(store, id, Resolution::Hour).await.len(), 1, "of another length");
    }
    // Series go by their newest value, and by when it was last reported.
    assert_eq!(store.sample_series_prune(START, 9).await.unwrap(), 0);
    assert_eq!(store.sample_series_prune(START + 1, 9).await.unwrap(), 0);
    assert_eq!(store.sample_series_prune(START + 2, 9).await.unwrap(), 1);
    assert_eq!(store.sample_series("c", &["a", "b"]).await.unwrap()[0].subject, "b");
}

pub(crate) async fn many_at_once(f: Arc<Fixture>) {
    let store = &f.store;
    // More than a statement has, and numbers that are hard to write down.
    let values = [0.1 + 0.2, 1e100, -1e100, 5e-324, 1.0 / 3.0, 123_456_789_012_345.67, 0.0, 9_007_199_254_740_993.0];
    let many: Vec<_> =
        (0..5000).map(|n| series(&format!("s-{n}"), "memory-used", START, values[n as usize % values.len()])).collect();
    let points: Vec<_> = (0..many.len()).flat_map(|place| point(place, START, many[place].last_value)).collect();
    assert!(store.samples_write("c", 0, START, &many, &points).await.unwrap());
    let subjects: Vec<&str> = many.iter().map(|series| series.subject.as_str()).collect();
    let known = store.sample_series("c", &subjects).await.unwrap();
    assert_eq!(known.len(), many.len());
    for known in known.iter().step_by(7) {
        let number: usize = known.subject[2..].parse().unwrap();
        let expected = many[number].last_value;
        let close = |found: f64| (found - expected).abs() <= expected.abs() * 1e-15;
        assert!(close(known.last_value), "{} {expected}", known.last_value);
        let day = all(store, known.id, Resolution::Day).await[0];
        assert!(close(day.low) && close(day.high) && close(day.total), "{day:?} {expected}");
    }
    // Again, with the numbers.
    assert!(store.samples_write("c", 1, START, &known, &points).await.unwrap());
    assert_eq!(all(store, known[0].id, Resolution::Hour).await[0].weight, 2);
}

const NODES: usize = 200;
const METRICS: [&str; 6] = ["cpu-utilization", "memory-used", "network-in", "network-out", "disk-read", "disk-write"];

/// A round as the dummy driver would give it: gauges and counters by turns.
async fn round(store: &Store, revision: i64, subjects: &[&str], at: i64) -> std::time::Duration {
    let began = Instant::now();
    let (found, _) = store.samples_round("c").await.unwrap();
    assert_eq!(found, revision);
    let mut known = store.sample_series("c", subjects).await.unwrap();
    if known.is_empty() {
        let new = |subject: &&str| METRICS.map(|metric| series(subject, metric, at, 0.0));
        known = subjects.iter().flat_map(new).collect();
    }
    let mut points = Vec::new();
    for (place, series) in known.iter_mut().enumerate() {
        (series.last_at, series.seen_at, series.last_value) = (at, at, (at / 977 + place as i64 * 31) as f64 / 7.0);
        for resolution in Resolution::ALL {
            let value = (at % 1013 + place as i64) as f64 / 3.0;
            let weight = if series.counter { MINUTE } else { 1 };
            points.push((place, resolution, rollup(resolution.start_of(at), weight, value, value, value)));
        }
    }
    points.sort_by_key(|(place, resolution, rollup)| (*resolution, rollup.start, *place));
    assert!(store.samples_write("c", revision, at, &known, &points).await.unwrap());
    began.elapsed()
}

async fn cost(f: Arc<Fixture>) {
    let store = &f.store;
    let subjects: Vec<String> = (0..NODES).map(|n| format!("t-0191f3a2-7c3e-7d8e-9f00-{n:012}")).collect();
    let subjects: Vec<&str> = subjects.iter().map(String::as_str).collect();
    let mut times = Vec::new();
    let rounds: i64 = std::env::var("OSTLER_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2880);
    for minute in 0..rounds {
        times.push(round(store, minute, &subjects, START + minute * MINUTE).await);
    }
    times.sort();
    let at = |percent: usize| times[times.len() * percent / 100].as_micros();
    println!("{:?}: a round of {NODES} nodes x 6: median {} µs, p99 {} µs", f.engine, at(50), at(99));
    let id = store.sample_series("c", &subjects[..1]).await.unwrap()[0].id;
    let mut times = Vec::new();
    for _ in 0..50 {
        let began = Instant::now();
        let found = store.sample_rollups(id, Resolution::Minute, START, START + 1440 * MINUTE).await.unwrap();
        assert_eq!(found.len() as i64, rounds.min(1440));
        times.push(began.elapsed());
    }
    times.sort();
    println!("{:?}: 1440 points: median {} µs, worst {} µs", f.engine, times[25].as_micros(), times[49].as_micros());
    let began = Instant::now();
    let mut forgotten = 0;
    let mut worst = std::time::Duration::ZERO;
    loop {
        let batch = Instant::now();
        let some = store.sample_rollups_prune(Resolution::Minute, START + 60 * MINUTE, 5000).await.unwrap();
        worst = worst.max(batch.elapsed());
        forgotten += some;
        if some < 5000 {
            break;
        }
    }
    println!(
        "{:?}: {forgotten} forgotten in {} ms, a batch {} ms at most",
        f.engine,
        began.elapsed().as_millis(),
        worst.as_millis()
    );
    if f.engine == Engine::Sqlite {
        let path = f.url.trim_start_matches("sqlite:").to_owned();
        store.close().await;
        let mut connection = SqliteConnection::connect(&f.url).await.unwrap();
        let count = sqlx::query("SELECT COUNT(*) FROM sample_points").fetch_one(&mut connection).await.unwrap().get::<i64, _>(0);
        sqlx::query("VACUUM").execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let bytes = std::fs::metadata(path).unwrap().len();
        println!("{count} roll-ups in {bytes} bytes: {} bytes each", bytes / count.unsigned_abs());
    }
}

/// `cargo nextest run --release -p ostler-store --run-ignored only --no-capture samples` prints what measuring costs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures"]
async fn figures() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        run(engine, cost).await;
    }
}
