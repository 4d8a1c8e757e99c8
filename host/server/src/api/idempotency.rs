//! `Idempotency-Key`, by which a client says that a request is the same as an earlier one.

use http::HeaderMap;
use ostler_core::compute::Key;

/// Bytes of the longest key.
pub(super) const LONGEST: usize = 255;
const NAME: &str = "idempotency-key";

/// The header is there, and is no key: there are several, or it does not have 1 to [`LONGEST`] printable characters of ASCII.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The key of a request, for what `scope` names: a dialect and a route of it.
pub(super) fn key(headers: &HeaderMap, scope: &'static str) -> Result<Option<Key>, Malformed> {
    let mut values = headers.get_all(NAME).iter();
    let Some(value) = values.next() else { return Ok(None) };
    // A header's value that is text has nothing else than printable characters and tabs.
    match (value.to_str(), values.next()) {
        (Ok(key), None) if (1..=LONGEST).contains(&key.len()) && !key.contains('\t') => {
            Ok(Some(Key { scope, key: key.to_owned() }))
        }
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_key_is_one_short_line() {
        let longest = "k".repeat(LONGEST);
        let too_long = "k".repeat(LONGEST + 1);
        for (values, expected) in [
            (&[][..], Ok(None)),
            (&["a b~1"], Ok(Some("a b~1"))),
            (&[longest.as_str()], Ok(Some(longest.as_str()))),
            (&[too_long.as_str()], Err(Malformed)),
            (&[""], Err(Malformed)),
            (&["a\tb"], Err(Malformed)),
            (&["ä"], Err(Malformed)),
            (&["a", "a"], Err(Malformed)),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(NAME, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            let found = key(&headers, "s");
            assert_eq!(found.map(|key| key.map(|key| key.key)), expected.map(|key| key.map(str::to_owned)), "{values:?}");
        }
    }
}
