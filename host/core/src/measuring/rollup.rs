//! Values become roll-ups.
//!
//! A gauge's value counts in the minute, five minutes, hour and day in which it was measured. Of a counter, what it grew by between
//! two values is spread evenly over the time between them, and so are parts of it where a minute or a day begins in between.
//!
//! - A counter that is lower than before has begun again at zero: it grew by what it shows.
//! - After a gap a counter starts anew: what it grew by meanwhile belongs to no period. There is a gap where more than two rounds
//!   in a row have not seen it, or where its values are more than an hour apart. A provider that measures less often than it is
//!   asked, and repeats itself, makes no gap.
//! - A value that is not newer than the one before is not taken, nor one from the future or from long ago.
//! - Where the newest value turns out to be from the future, a clock was put back: the series starts anew.

use crate::model::{Measurement, MetricKind};
use ostler_store::{Resolution, Rollup, SampleSeries};
use std::collections::{BTreeMap, HashMap};

/// Series of a machine at most, those included that it had and has no more.
pub(super) const MOST_SERIES: usize = 64;
/// Bytes of a metric's name.
const LONGEST_NAME: usize = 64;
/// Bytes of a unit.
const LONGEST_UNIT: usize = 32;
/// Numbers beyond it are nonsense, and sums of them might not be finite.
const GREATEST: f64 = 1e100;
/// How far the clocks of provider, driver and hosts may be apart, in microseconds.
pub(super) const AHEAD: i64 = 60 * crate::SECOND;
/// How old a value may be when it is told, in microseconds.
const OLDEST: i64 = 3600 * crate::SECOND;

/// Whether a value is one that is kept and shown.
pub(super) fn is_sound(value: &Measurement) -> bool {
    let fits = |text: &str, most| text.len() <= most && !text.chars().any(char::is_control);
    !value.name.is_empty()
        && fits(&value.name, LONGEST_NAME)
        && fits(&value.unit, LONGEST_UNIT)
        && value.value.abs() <= GREATEST
        && !(is_counter(value) && value.value < 0.0)
}

/// What behaves in a way that we do not know is shown as it is.
pub(super) fn is_counter(value: &Measurement) -> bool {
    value.kind == MetricKind::Counter
}

/// The values of a round, as they are taken in.
pub(super) struct Book {
    now: i64,
    /// How long a counter may go unseen, in microseconds.
    patience: i64,
    series: Vec<Entry>,
    /// Where the series of a machine are.
    machines: HashMap<String, Vec<usize>>,
    points: BTreeMap<(Resolution, i64, usize), Rollup>,
}

struct Entry {
    series: SampleSeries,
    seen: bool,
}

/// What a round writes: series that were seen, and what is added to their roll-ups, by the place of the series.
pub(super) type Written = (Vec<SampleSeries>, Vec<(usize, Resolution, Rollup)>);

impl Book {
    /// A round at this time, of rounds that are so far apart, both in microseconds, with the series that are known before.
    pub(super) fn new(now: i64, every: i64, known: Vec<SampleSeries>) -> Self {
        // Three rounds, and what they may be late.
        let patience = every.saturating_mul(7) / 2;
        let mut book = Self { now, patience, series: Vec::new(), machines: HashMap::new(), points: BTreeMap::new() };
        for series in known {
            book.open(series, false);
        }
        book
    }

    fn open(&mut self, series: SampleSeries, seen: bool) -> usize {
        let place = self.series.len();
        self.machines.entry(series.subject.clone()).or_default().push(place);
        self.series.push(Entry { series, seen });
        place
    }

    /// Takes what was measured of a machine at one time. The samples of a machine come in the order of their times.
    pub(super) fn take(&mut self, subject: &str, at: u64, values: &[Measurement]) {
        let Ok(at) = i64::try_from(at) else { return };
        let oldest = self.now.saturating_sub(OLDEST.max(self.patience));
        if at > self.now.saturating_add(AHEAD) || at < oldest {
            return;
        }
        for value in values.iter().filter(|value| is_sound(value)) {
            self.value(subject, at, value);
        }
    }

    fn value(&mut self, subject: &str, at: i64, value: &Measurement) {
        let counter = is_counter(value);
        let of_machine = self.machines.get(subject).map_or(&[][..], Vec::as_slice);
        let is_it = |s: &SampleSeries| s.metric == value.name && s.unit == value.unit && s.counter == counter;
        let known = of_machine.iter().copied().find(|place| self.series.get(*place).is_some_and(|entry| is_it(&entry.series)));
        let Some(place) = known else {
            if of_machine.len() >= MOST_SERIES {
                return;
            }
            let place = self.open(
                SampleSeries {
                    id: 0,
                    subject: subject.to_owned(),
                    metric: value.name.clone(),
                    unit: value.unit.clone(),
                    counter,
                    since: at,
                    last_at: at,
                    last_value: value.value,
                    seen_at: self.now,
                },
                true,
            );
            if !counter {
                self.level(place, at, value.value);
            }
            return;
        };
        let Some(Entry { series, seen }) = self.series.get_mut(place) else { return };
        *seen = true;
        let unseen = self.now.saturating_sub(std::mem::replace(&mut series.seen_at, self.now));
        let put_back = series.last_at > self.now.saturating_add(AHEAD);
        if at <= series.last_at && !put_back {
            return;
        }
        let before = (std::mem::replace(&mut series.last_at, at), std::mem::replace(&mut series.last_value, value.value));
        series.since = series.since.min(at);
        if !counter {
            self.level(place, at, value.value);
        } else if !put_back && unseen <= self.patience && at - before.0 <= OLDEST.max(self.patience) {
            let begun_again = value.value < before.1;
            let increase = if begun_again { value.value } else { value.value - before.1 };
            self.growth(place, before.0, at, increase);
        }
    }

    fn level(&mut self, place: usize, at: i64, value: f64) {
        for resolution in Resolution::ALL {
            let start = resolution.start_of(at);
            self.add(place, resolution, Rollup { start, weight: 1, low: value, high: value, total: value });
        }
    }

    /// A counter grew by so much from one time to a later one.
    #[expect(clippy::cast_precision_loss, reason = "microseconds of 285 years are below 2^53")]
    fn growth(&mut self, place: usize, from: i64, to: i64, increase: f64) {
        let whole = (to - from) as f64;
        let rate = increase / (whole / 1e6);
        for resolution in Resolution::ALL {
            let mut start = resolution.start_of(from);
            while start < to {
                let end = start + resolution.micros();
                let weight = to.min(end) - from.max(start);
                let total = increase * (weight as f64 / whole);
                self.add(place, resolution, Rollup { start, weight, low: rate, high: rate, total });
                start = end;
            }
        }
    }

    fn add(&mut self, place: usize, resolution: Resolution, rollup: Rollup) {
        self.points.entry((resolution, rollup.start, place)).and_modify(|there| there.add(&rollup)).or_insert(rollup);
    }

    /// What there is to write.
    pub(super) fn close(self) -> Written {
        let mut places = HashMap::new();
        let mut series = Vec::new();
        for (place, entry) in self.series.into_iter().enumerate().filter(|(_, entry)| entry.seen) {
            places.insert(place, series.len());
            series.push(entry.series);
        }
        let points = self.points.into_iter();
        let points = points.filter_map(|((resolution, _, place), rollup)| Some((*places.get(&place)?, resolution, rollup)));
        (series, points.collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const SECOND: i64 = crate::SECOND;
    const EVERY: i64 = 60 * SECOND;
    /// 2026-03-01T00:00:00Z
    const START: i64 = 1_772_323_200 * SECOND;

    fn measurement(name: &str, kind: MetricKind, value: f64) -> Measurement {
        Measurement { name: name.into(), unit: "bytes".into(), kind, value }
    }

    /// What a counter's values come to, in parts of this length: when each begins, in seconds, how many of them were watched, and
    /// how much it grew. A value is (time of the host, time of the sample, value), in seconds from the start.
    fn counted(resolution: Resolution, values: &[(i64, i64, f64)]) -> Vec<(i64, i64, f64)> {
        let mut known = Vec::new();
        let mut parts: BTreeMap<i64, (i64, f64)> = BTreeMap::new();
        for (now, at, value) in values {
            let mut book = Book::new(START + now * SECOND, EVERY, known.clone());
            let at = u64::try_from(START + at * SECOND).unwrap();
            book.take("t", at, &[measurement("network-in", MetricKind::Counter, *value)]);
            let (mut series, points) = book.close();
            for (_, _, rollup) in points.iter().filter(|(_, of, _)| *of == resolution) {
                assert!(rollup.weight > 0 && rollup.low >= 0.0 && rollup.high >= rollup.low && rollup.total >= 0.0, "{rollup:?}");
                let part = parts.entry((rollup.start - START) / SECOND).or_default();
                *part = (part.0 + rollup.weight / SECOND, part.1 + rollup.total);
            }
            if let Some(mut series) = series.pop() {
                series.id = 1;
                known = vec![series];
            }
        }
        parts.into_iter().map(|(start, (watched, total))| (start, watched, (total * 1e6).round() / 1e6)).collect()
    }

    #[test]
    fn what_a_counter_grew_by_is_spread_over_the_time_between() {
        let minute = |values: &[(i64, i64, f64)]| counted(Resolution::Minute, values);
        // The first value says nothing, the next one belongs to the minutes between them.
        assert_eq!(minute(&[(0, 0, 500.0)]), []);
        assert_eq!(minute(&[(0, 0, 500.0), (60, 60, 560.0)]), [(0, 60, 60.0)]);
        assert_eq!(minute(&[(10, 10, 0.0), (70, 70, 60.0)]), [(0, 50, 50.0), (60, 10, 10.0)]);
        assert_eq!(minute(&[(10, 10, 0.0), (190, 190, 36.0)]), [(0, 50, 10.0), (60, 60, 12.0), (120, 60, 12.0), (180, 10, 2.0)]);
        assert_eq!(minute(&[(0, 0, 7.0), (60, 60, 7.0)]), [(0, 60, 0.0)], "it stood still, and that is known");
        // A day begins between them.
        assert_eq!(counted(Resolution::Day, &[(-20, -20, 0.0), (40, 40, 60.0)]), [(-86_400, 20, 20.0), (0, 40, 40.0)]);
    }

    #[test]
    fn counters_begin_again_and_have_gaps() {
        let minute = |values: &[(i64, i64, f64)]| counted(Resolution::Minute, values);
        // Lower than before: it began again at zero.
        assert_eq!(minute(&[(0, 0, 900.0), (60, 60, 30.0), (120, 120, 90.0)]), [(0, 60, 30.0), (60, 60, 60.0)]);
        // Two rounds that did not see it are bridged, also where they come late; three are a gap.
        assert_eq!(minute(&[(0, 0, 0.0), (189, 180, 18.0)]).len(), 3);
        assert_eq!(minute(&[(9, 0, 0.0), (240, 240, 24.0)]), []);
        assert_eq!(minute(&[(0, 0, 0.0), (600, 600, 60.0), (660, 660, 90.0)]), [(600, 60, 30.0)], "it starts anew after it");
        // A provider that measures each five minutes and repeats itself meanwhile has no gap.
        let slow = [(0, 0, 0.), (60, 0, 0.), (120, 0, 0.), (180, 0, 0.), (240, 0, 0.), (300, 300, 30.)];
        assert_eq!(minute(&slow), [0, 60, 120, 180, 240].map(|start| (start, 60, 6.0)));
        // But not for more than an hour.
        let mut stuck: Vec<_> = (0..62).map(|round| (round * 60, 0, 0.0)).collect();
        stuck.push((3720, 3720, 1.0));
        assert_eq!(minute(&stuck), []);
    }

    #[test]
    fn clocks_go_wrong() {
        let minute = |values: &[(i64, i64, f64)]| counted(Resolution::Minute, values);
        // Backwards: nothing is taken until the old time has come.
        let back = [(0, 0, 0.), (60, 60, 60.), (120, 30, 90.), (180, 60, 95.), (240, 90, 120.)];
        assert_eq!(minute(&back), [(0, 60, 60.0), (60, 30, 60.0)]);
        // From the future, from long ago, and beyond all numbers.
        assert_eq!(minute(&[(0, 0, 0.0), (60, 121, 99.0), (120, 120, 12.0)]), [(0, 60, 6.0), (60, 60, 6.0)]);
        assert_eq!(minute(&[(0, 0, 0.0), (60, 120, 12.0)]).len(), 2, "a little ahead");
        assert_eq!(minute(&[(0, -3601, 0.0), (60, 60, 60.0)]), []);
        // The host's own clock was a day ahead for a while: the series starts anew at the present, and goes on from there.
        let ahead = [(86_400, 86_400, 5.0), (60, 60, 9.0), (120, 120, 15.0)];
        assert_eq!(minute(&ahead), [(60, 60, 6.0)]);
        let mut book = Book::new(START, EVERY, Vec::new());
        for at in [u64::MAX, i64::MAX.unsigned_abs(), 0] {
            book.take("t", at, &[measurement("x", MetricKind::Gauge, 1.0)]);
        }
        assert_eq!(book.close(), (Vec::new(), Vec::new()));
    }

    #[test]
    fn gauges_count_where_they_are_measured() {
        let at = START + 119 * SECOND;
        let mut book = Book::new(at, EVERY, Vec::new());
        for (seconds, value) in [(0, 4.0), (1, -2.0), (59, 1.0)] {
            let at = u64::try_from(START + (60 + seconds) * SECOND).unwrap();
            book.take(
                "t",
                at,
                &[measurement("x", MetricKind::Gauge, value), measurement("y", MetricKind::Other("?".into()), 7.0)],
            );
        }
        let (series, points) = book.close();
        assert_eq!(
            series.iter().map(|series| (series.metric.as_str(), series.counter)).collect::<Vec<_>>(),
            [("x", false), ("y", false)]
        );
        assert_eq!((series[0].since, series[0].last_at, series[0].last_value), (START + 60 * SECOND, at, 1.0));
        for resolution in Resolution::ALL {
            let found: Vec<_> = points.iter().filter(|(place, of, _)| (*place, *of) == (0, resolution)).collect();
            let expected = Rollup { start: resolution.start_of(at), weight: 3, low: -2.0, high: 4.0, total: 3.0 };
            assert_eq!(found, [&(0, resolution, expected)]);
        }
    }

    #[test]
    fn what_is_no_value_is_not_taken() {
        let long = "n".repeat(LONGEST_NAME + 1);
        let sound =
            |name: &str, unit: &str, kind, value| is_sound(&Measurement { name: name.into(), unit: unit.into(), kind, value });
        for (name, unit, kind, value, expected) in [
            ("x", "", MetricKind::Gauge, 0.0, true),
            ("x", "u", MetricKind::Gauge, -1e100, true),
            (&long[1..], &long[..LONGEST_UNIT], MetricKind::Counter, 1e100, true),
            ("x", "u", MetricKind::Gauge, f64::NAN, false),
            ("x", "u", MetricKind::Gauge, f64::INFINITY, false),
            ("x", "u", MetricKind::Counter, f64::NEG_INFINITY, false),
            ("x", "u", MetricKind::Gauge, 1.1e100, false),
            ("x", "u", MetricKind::Counter, -0.5, false),
            ("", "u", MetricKind::Gauge, 0.0, false),
            ("x\0", "u", MetricKind::Gauge, 0.0, false),
            ("x", "u\n", MetricKind::Gauge, 0.0, false),
            (&long, "u", MetricKind::Gauge, 0.0, false),
            ("x", &long[..=LONGEST_UNIT], MetricKind::Gauge, 0.0, false),
        ] {
            assert_eq!(sound(name, unit, kind, value), expected, "{name:?} {unit:?} {value}");
        }
    }

    #[test]
    fn a_machine_has_only_so_many_series() {
        let at = u64::try_from(START).unwrap();
        let mut known = Vec::new();
        for (round, expected) in [41, 25, 1].into_iter().enumerate() {
            let mut book = Book::new(START, EVERY, known.clone());
            let values: Vec<_> = (0..40).map(|n| measurement(&format!("m-{round}-{n}"), MetricKind::Gauge, 1.0)).collect();
            book.take("t", at, &values);
            book.take("u", at, &values[..1]);
            let (series, points) = book.close();
            // Those that were not seen are not written, and count all the same.
            assert_eq!((series.len(), points.len()), (expected, expected * 4));
            assert!(points.iter().all(|(place, ..)| *place < series.len()));
            known.extend(series);
        }
    }
}
