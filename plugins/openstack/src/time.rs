//! The three forms in which OpenStack writes a time, all UTC, as microseconds since 1970-01-01T00:00:00Z.

const DAY: i64 = 86_400;
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Nova writes `2026-11-22T15:21:06Z` or a fraction and no zone, Keystone both. Another zone than UTC is not read.
pub(crate) fn parse_iso(text: &str) -> Option<u64> {
    let text = text.strip_suffix('Z').or_else(|| text.strip_suffix("+00:00")).unwrap_or(text);
    let (date, time) = text.split_once(['T', ' '])?;
    let mut date = date.splitn(3, '-');
    let (year, month, day) = (number(date.next()?)?, number(date.next()?)?, number(date.next()?)?);
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let seconds = clock(time)? + days(year, month, day)? * DAY;
    let micros: String = fraction.chars().chain("000000".chars()).take(6).collect();
    u64::try_from(seconds).ok()?.checked_mul(1_000_000)?.checked_add(u64::try_from(number(&micros)?).ok()?)
}

/// The `Date` header of HTTP: `Sun, 22 Nov 2026 15:21:06 GMT`.
pub(crate) fn parse_http(text: &str) -> Option<u64> {
    let mut words = text.strip_suffix(" GMT")?.split_once(", ")?.1.split(' ');
    let day = number(words.next()?)?;
    let name = words.next()?;
    let month = MONTHS.iter().position(|month| *month == name)?;
    let year = number(words.next()?)?;
    let seconds = clock(words.next()?)? + days(year, i64::try_from(month).ok()? + 1, day)? * DAY;
    u64::try_from(seconds).ok()?.checked_mul(1_000_000)
}

/// As Nova reads it: `2026-11-22T15:21:06Z`; what is less than a second is cut off.
pub(crate) fn format_iso(micros: u64) -> String {
    let seconds = i64::try_from(micros / 1_000_000).unwrap_or(i64::MAX);
    let (day, rest) = (seconds / DAY, seconds % DAY);
    // Years are counted from March here, so that the leap day is their last.
    let shifted = day + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let date = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

fn clock(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, ':');
    let (hour, minute, second) = (number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?);
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3600 + minute * 60 + second)
}

/// Days since 1970-01-01 in the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let from_march = (month + 9) % 12;
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

/// A number of digits only.
fn number(text: &str) -> Option<i64> {
    (!text.is_empty() && text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn each_form_is_read() {
        for (text, micros) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2001-09-09T01:46:40Z", Some(1_000_000_000_000_000)),
            ("2026-11-22T15:21:06Z", Some(1_795_360_866_000_000)),
            ("2026-11-22T15:21:09.934424", Some(1_795_360_869_934_424)),
            ("2026-11-22T16:21:03.000000Z", Some(1_795_364_463_000_000)),
            ("2024-02-29T00:00:00.5+00:00", Some(1_709_164_800_500_000)),
            ("2026-11-22T15:21:06+01:00", None),
            ("2026-13-22T15:21:06Z", None),
            ("2026-11-22", None),
            ("", None),
        ] {
            assert_eq!(parse_iso(text), micros, "{text}");
        }
        assert_eq!(parse_http("Sun, 22 Nov 2026 15:21:06 GMT"), Some(1_795_360_866_000_000));
        assert_eq!(parse_http("Sun, 22 Foo 2026 15:21:06 GMT"), None);
        assert_eq!(parse_http("2026-11-22T15:21:06Z"), None);
    }

    #[test]
    fn what_is_written_is_what_was_read() {
        for text in [
            "1970-01-01T00:00:00Z",
            "2000-02-29T23:59:59Z",
            "2026-11-22T15:21:06Z",
            "2100-03-01T00:00:00Z",
            "2024-12-31T12:00:01Z",
        ] {
            assert_eq!(format_iso(parse_iso(text).unwrap()), text);
        }
    }
}
