//! The dates of agreements.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// The moment at which an agreement that says this begins, in microseconds UTC; `None` if it cannot be told.
///
/// Forms: `dd.mm.yyyy+HH:MM:SS` (SLAM), `yyyy-mm-dd` (the Federation-Registry), RFC 3339, and the latter without an offset.
/// What says no offset is UTC.
pub(crate) fn begin(text: &str) -> Option<i64> {
    moment(text).map(|(first, _)| first)
}

/// The last moment of an agreement that ends so. A day is included.
pub(crate) fn end(text: &str) -> Option<i64> {
    moment(text).map(|(_, last)| last)
}

fn moment(text: &str) -> Option<(i64, i64)> {
    let text = text.trim();
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some((at.as_microsecond(), at.as_microsecond()));
    }
    if let Ok(at) = DateTime::strptime("%d.%m.%Y+%H:%M:%S", text) {
        return micros(at).map(|at| (at, at));
    }
    // A date alone would be read as a date with a time, at midnight.
    if text.len() > 10 {
        return text.parse::<DateTime>().ok().and_then(micros).map(|at| (at, at));
    }
    let day = text.parse::<Date>().or_else(|_| Date::strptime("%d.%m.%Y", text)).ok()?;
    let next = day.checked_add(Span::new().days(1)).ok()?;
    Some((micros(day.into())?, micros(next.into())? - 1))
}

fn micros(at: DateTime) -> Option<i64> {
    at.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp().as_microsecond())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn forms() {
        // 2016-01-11T15:50:00Z
        const SLAM: i64 = 1_452_527_400_000_000;
        const DAY: i64 = 86_400_000_000;
        let midnight = SLAM - (15 * 60 + 50) * 60_000_000;
        let cases = [
            ("11.01.2016+15:50:00", Some((SLAM, SLAM))),
            (" 11.01.2016+15:50:00 ", Some((SLAM, SLAM))),
            ("2016-01-11T15:50:00Z", Some((SLAM, SLAM))),
            ("2016-01-11T16:50:00+01:00", Some((SLAM, SLAM))),
            ("2016-01-11T15:50:00", Some((SLAM, SLAM))),
            ("2016-01-11 15:50:00", Some((SLAM, SLAM))),
            ("2016-01-11", Some((midnight, midnight + DAY - 1))),
            ("11.01.2016", Some((midnight, midnight + DAY - 1))),
            ("31.02.2016+00:00:00", None),
            ("2016-13-01", None),
            ("9999-12-31", None),
            ("tomorrow", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(begin(text).zip(end(text)), expected, "{text}");
        }
    }
}
