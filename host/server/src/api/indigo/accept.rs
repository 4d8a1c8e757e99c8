//! What a client takes. JSON and texts are all there is.

use super::errors::Fault;
use super::wire::{JSON, TEXT};
use http::header::ACCEPT;
use http::{HeaderMap, StatusCode};

/// Ranges that are looked at. Nobody has more.
const MOST: usize = 64;

/// A media range with its quality.
struct Range<'r> {
    kind: &'r str,
    subtype: &'r str,
    quality: f32,
}

/// What the client takes, in its order. Nothing where it does not say.
fn ranges(headers: &HeaderMap) -> Vec<Range<'_>> {
    let texts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).take(MOST).filter_map(range).collect()
}

fn range(text: &str) -> Option<Range<'_>> {
    let mut parts = text.split(';');
    let (kind, subtype) = parts.next()?.trim().split_once('/')?;
    let quality = |part: &str| {
        let (name, value) = part.split_once('=')?;
        if name.trim().eq_ignore_ascii_case("q") { value.trim().parse().ok() } else { None }
    };
    let quality = parts.find_map(quality).unwrap_or(1.0);
    Some(Range { kind, subtype, quality })
}

/// How well a type is liked: the quality by the most specific range, and where that range stands.
fn liked(ranges: &[Range<'_>], kind: &str, subtype: &str) -> Option<(f32, usize)> {
    let fit = |range: &Range<'_>| match (range.kind, range.subtype) {
        ("*", "*") => Some(0),
        (known, "*") if known.eq_ignore_ascii_case(kind) => Some(1),
        (known, sub) if known.eq_ignore_ascii_case(kind) && sub.eq_ignore_ascii_case(subtype) => Some(2),
        _ => None,
    };
    let fitting = ranges.iter().enumerate().filter_map(|(place, range)| Some((fit(range)?, place, range.quality)));
    // Of two that are alike the first.
    let (_, place, quality) = fitting.max_by_key(|(fit, place, _)| (*fit, usize::MAX - place))?;
    Some((quality, place)).filter(|(quality, _)| *quality > 0.0)
}

fn refused() -> Fault {
    Fault::new(StatusCode::NOT_ACCEPTABLE, "Could not find acceptable representation")
}

/// Whether the client takes JSON.
pub(super) fn json(headers: &HeaderMap) -> Result<&'static str, Fault> {
    let ranges = ranges(headers);
    if ranges.is_empty() || liked(&ranges, "application", "json").is_some() { Ok(JSON) } else { Err(refused()) }
}

/// Under which type the client gets a text: as such, or, as some clients ask for, under the name of JSON.
pub(super) fn text(headers: &HeaderMap) -> Result<&'static str, Fault> {
    let ranges = ranges(headers);
    if ranges.is_empty() {
        return Ok(TEXT);
    }
    match (liked(&ranges, "text", "plain"), liked(&ranges, "application", "json")) {
        (None, None) => Err(refused()),
        (Some(_), None) => Ok(TEXT),
        (None, Some(_)) => Ok(JSON),
        (Some((text, first)), Some((json, second))) => {
            Ok(if json > text || (json.total_cmp(&text).is_eq() && second < first) { JSON } else { TEXT })
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_client_chooses() {
        for (accept, as_json, as_text) in [
            ("", true, Some(TEXT)),
            ("*/*", true, Some(TEXT)),
            ("application/json", true, Some(JSON)),
            ("application/json;charset=UTF-8", true, Some(JSON)),
            ("Application/JSON, text/plain, */*", true, Some(JSON)),
            ("text/plain, application/json", true, Some(TEXT)),
            ("text/plain;q=0.5, application/json", true, Some(JSON)),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true, Some(TEXT)),
            ("application/*", true, Some(JSON)),
            ("text/*", false, Some(TEXT)),
            ("text/plain", false, Some(TEXT)),
            ("text/html", false, None),
            ("application/xml", false, None),
            ("*/*, application/json;q=0", false, Some(TEXT)),
            ("application/json;q=0, text/plain; q=0.0", false, None),
        ] {
            let mut headers = HeaderMap::new();
            if !accept.is_empty() {
                headers.insert(ACCEPT, accept.parse().unwrap());
            }
            assert_eq!(json(&headers).is_ok(), as_json, "{accept}");
            match (text(&headers), as_text) {
                (Ok(kind), Some(expected)) => assert_eq!(kind, expected, "{accept}"),
                (Err(fault), None) => assert_eq!(fault.status, StatusCode::NOT_ACCEPTABLE),
                (got, expected) => assert_eq!(got.ok(), expected, "{accept}"),
            }
        }
    }
}
