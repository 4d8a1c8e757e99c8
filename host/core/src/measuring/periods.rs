//! The periods of the calendar, in UTC: where they begin, and which roll-ups they are made of.

use super::{MOST_POINTS, Period, Statistic};
use crate::Error;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use ostler_store::{Resolution, Rollup};

/// 9000-01-01: no calendar that we ask says anything about much later times.
const LATEST: i64 = 221_845_392_000 * crate::SECOND;

impl Period {
    /// The roll-ups that it is made of.
    pub(super) fn resolution(self) -> Resolution {
        match self {
            Self::Minute => Resolution::Minute,
            Self::FiveMinutes => Resolution::FiveMinutes,
            Self::Hour => Resolution::Hour,
            Self::Day | Self::Month | Self::Year => Resolution::Day,
        }
    }

    /// When the period begins that this time is in.
    pub(super) fn start_of(self, at: i64) -> Result<i64, Error> {
        match self {
            Self::Month => midnight(date(at)?.first_of_month()),
            Self::Year => midnight(date(at)?.first_of_year()),
            _ => Ok(self.resolution().start_of(at)),
        }
    }

    /// When the period ends that begins then.
    fn end_of(self, start: i64) -> Result<i64, Error> {
        let later = match self {
            Self::Month => 1.month(),
            Self::Year => 1.year(),
            _ => return Ok(start.saturating_add(self.resolution().micros())),
        };
        midnight(date(start)?.checked_add(later).map_err(|_| out_of_range())?)
    }

    /// How many periods there are from one beginning to another.
    fn count(self, from: i64, to: i64) -> Result<i64, Error> {
        let years = |from: Date, to: Date| i64::from(to.year()) - i64::from(from.year());
        Ok(match self {
            Self::Month => {
                let (from, to) = (date(from)?, date(to)?);
                years(from, to) * 12 + i64::from(to.month()) - i64::from(from.month())
            }
            Self::Year => years(date(from)?, date(to)?),
            _ => (to - from) / self.resolution().micros(),
        })
    }

    /// The whole periods that this time is spread over, from where to where.
    pub(super) fn widen(self, start: i64, end: i64) -> Result<(i64, i64), Error> {
        if end <= start {
            return Err(Error::Invalid("the end must be after the start".into()));
        }
        if start < 0 || end > LATEST {
            return Err(out_of_range());
        }
        let from = self.start_of(start)?;
        let to = match self.start_of(end)? {
            whole if whole == end => whole,
            begun => self.end_of(begun)?,
        };
        let count = self.count(from, to)?;
        if usize::try_from(count).is_ok_and(|count| count <= MOST_POINTS) {
            return Ok((from, to));
        }
        Err(Error::Invalid(format!(
            "{count} datapoints are asked for, and at most {MOST_POINTS} are given: ask for a shorter time or a longer period"
        )))
    }

    /// The periods that roll-ups, in order, are parts of, and what those come to.
    pub(super) fn group(self, rollups: &[Rollup]) -> Result<Vec<Rollup>, Error> {
        let mut periods: Vec<Rollup> = Vec::new();
        for rollup in rollups {
            let start = self.start_of(rollup.start)?;
            match periods.last_mut() {
                Some(last) if last.start == start => last.add(rollup),
                _ => periods.push(Rollup { start, ..*rollup }),
            }
        }
        Ok(periods)
    }
}

/// What a statistic makes of a period; none where nothing is known.
#[expect(clippy::cast_precision_loss, reason = "numbers of values, and microseconds of 285 years, are below 2^53")]
pub(super) fn value(statistic: Statistic, counter: bool, period: &Rollup) -> Option<f64> {
    if period.weight <= 0 {
        return None;
    }
    let weight = period.weight as f64 / if counter { 1e6 } else { 1.0 };
    Some(match statistic {
        Statistic::Min => period.low,
        Statistic::Max => period.high,
        Statistic::Average => period.total / weight,
        Statistic::Sum => period.total,
    })
}

fn date(at: i64) -> Result<Date, Error> {
    Ok(Timestamp::from_microsecond(at).map_err(|_| out_of_range())?.to_zoned(TimeZone::UTC).date())
}

fn midnight(date: Date) -> Result<i64, Error> {
    Ok(date.to_zoned(TimeZone::UTC).map_err(|_| out_of_range())?.timestamp().as_microsecond())
}

fn out_of_range() -> Error {
    Error::Invalid("the time must be between the years 1970 and 9000".into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const DAY: i64 = Resolution::Day.micros();

    /// A calendar of its own: day by day from 1970 on.
    #[test]
    fn months_and_years_are_the_calendars() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        let (mut year_start, mut month_start) = (0, 0);
        for number in 0..366 * 440 {
            let start = number * DAY;
            if day == 1 {
                month_start = start;
            }
            if (month, day) == (1, 1) {
                year_start = start;
            }
            for at in [start, start + DAY / 2, start + DAY - 1] {
                assert_eq!(Period::Day.start_of(at).unwrap(), start, "{year}-{month}-{day}");
                assert_eq!(Period::Month.start_of(at).unwrap(), month_start, "{year}-{month}-{day}");
                assert_eq!(Period::Year.start_of(at).unwrap(), year_start, "{year}-{month}-{day}");
            }
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + i64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (month, day) = (month + 1, 1);
                assert_eq!(Period::Month.end_of(month_start).unwrap(), start + DAY);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
                assert_eq!(Period::Year.end_of(year_start).unwrap(), start + DAY);
            }
        }
        assert!(year > 2400, "with a century that has a leap day, and some that have none");
    }

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_microsecond()
    }

    #[test]
    fn ranges_are_widened_to_whole_periods() {
        for (period, start, end, from, to) in [
            (Period::Minute, "2026-03-01T10:00:00Z", "2026-03-01T10:01:00Z", "2026-03-01T10:00:00Z", "2026-03-01T10:01:00Z"),
            (
                Period::Minute,
                "2026-03-01T10:00:59.999999Z",
                "2026-03-01T10:01:00.000001Z",
                "2026-03-01T10:00:00Z",
                "2026-03-01T10:02:00Z",
            ),
            (Period::FiveMinutes, "2026-03-01T10:04:00Z", "2026-03-01T10:06:00Z", "2026-03-01T10:00:00Z", "2026-03-01T10:10:00Z"),
            (Period::Hour, "2026-03-01T23:59:59Z", "2026-03-02T00:00:01Z", "2026-03-01T23:00:00Z", "2026-03-02T01:00:00Z"),
            (Period::Day, "2024-02-29T12:00:00Z", "2024-02-29T12:00:01Z", "2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z"),
            (Period::Month, "2024-02-29T23:59:59Z", "2024-03-01T00:00:00Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"),
            (Period::Month, "2023-12-31T23:59:59Z", "2024-01-01T00:00:01Z", "2023-12-01T00:00:00Z", "2024-02-01T00:00:00Z"),
            (Period::Year, "2023-12-31T23:59:59Z", "2024-01-01T00:00:01Z", "2023-01-01T00:00:00Z", "2025-01-01T00:00:00Z"),
            (Period::Year, "1970-01-01T00:00:00Z", "1970-01-01T00:00:01Z", "1970-01-01T00:00:00Z", "1971-01-01T00:00:00Z"),
        ] {
            assert_eq!(period.widen(at(start), at(end)).unwrap(), (at(from), at(to)), "{period:?} {start} {end}");
        }
    }

    #[test]
    fn a_range_has_an_order_and_an_end() {
        let most = i64::try_from(MOST_POINTS).unwrap();
        for period in [Period::Minute, Period::FiveMinutes, Period::Hour, Period::Day] {
            let length = period.resolution().micros();
            assert!(period.widen(length, length + most * length).is_ok());
            let more = period.widen(length, length + most * length + 1).unwrap_err().to_string();
            assert!(more.starts_with("1441 datapoints") && more.contains("at most 1440"), "{more}");
            // One half at each end.
            assert!(period.widen(length / 2, length / 2 + most * length).is_err());
        }
        assert!(Period::Month.widen(at("1970-01-01T00:00:00Z"), at("2090-01-01T00:00:00Z")).is_ok());
        assert!(Period::Month.widen(at("1970-01-01T00:00:00Z"), at("2090-01-02T00:00:00Z")).is_err());
        assert!(Period::Year.widen(at("1970-01-01T00:00:00Z"), at("3410-01-01T00:00:00Z")).is_ok());
        assert!(Period::Year.widen(at("1970-01-01T00:00:00Z"), at("3410-01-01T00:00:01Z")).is_err());
        for (start, end) in [(5, 5), (6, 5), (-1, 5), (i64::MIN, i64::MAX), (0, i64::MAX), (i64::MAX, i64::MIN), (0, LATEST + 1)]
        {
            for period in [Period::Minute, Period::Day, Period::Month, Period::Year] {
                assert!(matches!(period.widen(start, end), Err(Error::Invalid(_))), "{period:?} {start} {end}");
            }
        }
        assert_eq!(LATEST, at("9000-01-01T00:00:00Z"));
        assert!(Period::Minute.widen(LATEST - 1, LATEST).is_ok());
    }
}
