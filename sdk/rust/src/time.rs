//! Times as APIs write them, to and from the contract's: microseconds since 1970-01-01T00:00:00Z.
//!
//! A calendar library (`jiff`, without time zone data) would read more, and make a component larger by 140 kB.

const DAY: i64 = 86_400;
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// ISO 8601 with date and time: `2012-06-25T15:23:33+02:00`, `…Z`, with a blank for the `T`, with a fraction, of which microseconds
/// are kept. Without a zone it is UTC. None for what is something else, has no time of the day, or is before 1970.
///
/// ```
/// use ostler_driver::time;
///
/// assert_eq!(time::parse("2001-09-09T03:46:40.5+02:00"), Some(1_000_000_000_500_000));
/// assert_eq!(time::parse("2001-09-09 01:46:40"), Some(1_000_000_000_000_000));
/// assert_eq!(time::parse("2001-09-09"), None);
/// ```
pub fn parse(text: &str) -> Option<u64> {
    let (date, time) = text.trim().split_once(['T', 't', ' '])?;
    let mut date = date.splitn(3, '-');
    let day = days(number(date.next()?)?, number(date.next()?)?, number(date.next()?)?)?;
    let zone = time.find(['Z', 'z', '+', '-']).unwrap_or(time.len());
    let (time, zone) = time.split_at(zone);
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let micros: String = fraction.chars().chain("000000".chars()).take(6).collect();
    let seconds = clock(time.trim())?.checked_add(day * DAY)?.checked_sub(offset(zone)?)?;
    u64::try_from(seconds).ok()?.checked_mul(1_000_000)?.checked_add(u64::try_from(number(&micros)?).ok()?)
}

/// The `Date` header of HTTP: `Sun, 22 Nov 2026 15:21:06 GMT`. The day of the week does not count.
///
/// ```
/// assert_eq!(ostler_driver::time::parse_http("Sun, 09 Sep 2001 01:46:40 GMT"), Some(1_000_000_000_000_000));
/// ```
pub fn parse_http(text: &str) -> Option<u64> {
    let mut words = text.trim().strip_suffix(" GMT")?.split_once(", ")?.1.split(' ');
    let day = number(words.next()?)?;
    let name = words.next()?;
    let month = MONTHS.iter().position(|month| *month == name)?;
    let year = number(words.next()?)?;
    let seconds = clock(words.next()?)? + days(year, i64::try_from(month).ok()? + 1, day)? * DAY;
    u64::try_from(seconds).ok()?.checked_mul(1_000_000)
}

/// ISO 8601 in UTC: `2012-09-19T07:00:00Z`. What is less than a second is cut off.
///
/// ```
/// assert_eq!(ostler_driver::time::format(1_000_000_000_500_000), "2001-09-09T01:46:40Z");
/// ```
pub fn format(micros: u64) -> String {
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

/// Seconds east of UTC.
fn offset(zone: &str) -> Option<i64> {
    let sign = match zone {
        "" | "Z" | "z" => return Some(0),
        zone if zone.starts_with('-') => -1,
        _ => 1,
    };
    let digits: String = zone.get(1..)?.chars().filter(|c| *c != ':').collect();
    let (hours, minutes) = match digits.len() {
        2 => (number(&digits)?, 0),
        4 => (number(digits.get(..2)?)?, number(digits.get(2..)?)?),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn clock(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, ':');
    let (hour, minute, second) = (number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?);
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3600 + minute * 60 + second)
}

/// Days since 1970-01-01 in the Gregorian calendar; none for a date that it does not have.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=last).contains(&day) {
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
            ("2012-06-25T15:23:33+02:00", Some(1_340_630_613_000_000)),
            ("2012-06-25T13:23:33+00:00", Some(1_340_630_613_000_000)),
            ("2012-06-25T11:53:33-0130", Some(1_340_630_613_000_000)),
            ("2012-06-25t15:23:33+02", Some(1_340_630_613_000_000)),
            ("2012-06-25 13:23:33Z", Some(1_340_630_613_000_000)),
            ("2012-06-25 13:23:33", Some(1_340_630_613_000_000)),
            (" 2012-06-25T13:23:33.5z ", Some(1_340_630_613_500_000)),
            ("2026-11-22T15:21:06Z", Some(1_795_360_866_000_000)),
            ("2026-11-22T15:21:06+01:00", Some(1_795_357_266_000_000)),
            ("2026-11-22T15:21:09.934424", Some(1_795_360_869_934_424)),
            ("2026-11-22T15:21:09.934424999Z", Some(1_795_360_869_934_424)),
            ("2026-11-22T16:21:03.000000Z", Some(1_795_364_463_000_000)),
            ("2024-02-29T00:00:00.5+00:00", Some(1_709_164_800_500_000)),
            ("2012-06-25T13:23:33+02:00:00", None),
            ("2012-06-25T13:23:33+é", None),
            ("2012-06-25T13:23:33+30:00", None),
            ("1970-01-01T00:00:00+02:00", None),
            ("2012-05-00T15:23:00+02:00", None),
            ("2023-02-29T00:00:00Z", None),
            ("2100-02-29T00:00:00Z", None),
            ("2000-02-29T00:00:00Z", Some(951_782_400_000_000)),
            ("2026-04-31T00:00:00Z", None),
            ("2026-11-22T24:00:00Z", None),
            ("2026-11-22T15:60:00Z", None),
            ("2026-13-22T15:21:06Z", None),
            ("2026-11-22", None),
            ("1340630613", None),
            ("", None),
        ] {
            assert_eq!(parse(text), micros, "{text}");
        }
        for (text, micros) in [
            ("Sun, 22 Nov 2026 15:21:06 GMT", Some(1_795_360_866_000_000)),
            ("Mon, 22 Nov 2026 15:21:06 GMT", Some(1_795_360_866_000_000)),
            ("Sun, 22 Foo 2026 15:21:06 GMT", None),
            ("2026-11-22T15:21:06Z", None),
            ("", None),
        ] {
            assert_eq!(parse_http(text), micros, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_what_was_read() {
        for text in [
            "1970-01-01T00:00:00Z",
            "2000-02-29T23:59:59Z",
            "2024-12-31T12:00:01Z",
            "2026-11-22T15:21:06Z",
            "2100-03-01T00:00:00Z",
        ] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
        assert_eq!(format(1_795_360_866_999_999), "2026-11-22T15:21:06Z");
        assert!(format(u64::MAX).ends_with('Z'), "no panic");
    }
}
