//! Claims: reading them, and the checks that tokens and introspection answers have in common.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::config::IssuerConfig;
use crate::error::Invalid;

/// The claims of a token, or what introspection or userinfo says.
pub(crate) type Claims = Map<String, Value>;

/// The longest subject, in bytes (OpenID Connect Core 1.0, section 2).
const LONGEST_SUBJECT: usize = 255;

/// Midnight before the year 10000, in seconds since 1970: later times are taken as this one.
const LATEST: f64 = 253_402_300_800.0;

/// The claim, `None` if it is missing or null.
pub(crate) fn value<'a>(claims: &'a Claims, name: &str) -> Option<&'a Value> {
    claims.get(name).filter(|value| !value.is_null())
}

/// A text claim.
pub(crate) fn text<'a>(claims: &'a Claims, name: &str) -> Result<Option<&'a str>, Invalid> {
    match value(claims, name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Invalid::Malformed("a claim that is a text is something else")),
    }
}

/// A text or a list of texts, as `aud` is (RFC 7519, section 4.1.3).
pub(crate) fn texts<'a>(claims: &'a Claims, name: &str) -> Result<Option<Vec<&'a str>>, Invalid> {
    const OTHER: Invalid = Invalid::Malformed("a claim that is a text or a list of texts is something else");
    match value(claims, name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(vec![text])),
        Some(Value::Array(items)) => items.iter().map(|item| item.as_str().ok_or(OTHER)).collect::<Result<_, _>>().map(Some),
        Some(_) => Err(OTHER),
    }
}

/// A `NumericDate` (RFC 7519, section 2), in microseconds since 1970 UTC.
pub(crate) fn time(claims: &Claims, name: &str) -> Result<Option<i64>, Invalid> {
    match value(claims, name) {
        None => Ok(None),
        Some(Value::Number(number)) => match number.as_f64() {
            // In this range the microseconds fit; seconds of this magnitude are exact.
            #[allow(clippy::cast_possible_truncation)]
            Some(seconds) if seconds.is_finite() => Ok(Some((seconds.clamp(0.0, LATEST) * 1e6) as i64)),
            _ => Err(Invalid::Malformed("a time is not finite")),
        },
        Some(_) => Err(Invalid::Malformed("a time is not a number")),
    }
}

/// Scopes: `scope`, separated by spaces (RFC 8693, section 4.2), or `scp`, as some issuers have it; either may be a list.
pub(crate) fn scopes(claims: &Claims) -> Result<BTreeSet<String>, Invalid> {
    let listed = match texts(claims, "scope")? {
        Some(listed) => Some(listed),
        None => texts(claims, "scp")?,
    };
    let words = listed.unwrap_or_default().into_iter().flat_map(|text| text.split_ascii_whitespace());
    Ok(words.map(str::to_owned).collect())
}

/// What must hold of a token whoever says it: its term, its audience, that it is a bearer token. Gives `exp` in microseconds.
pub(crate) fn check(config: &IssuerConfig, claims: &Claims, now: i64) -> Result<Option<i64>, Invalid> {
    let leeway = config.leeway_micros();
    let expires = time(claims, "exp")?;
    if expires.is_some_and(|expires| now >= expires.saturating_add(leeway)) {
        return Err(Invalid::Expired);
    }
    for name in ["nbf", "iat"] {
        if time(claims, name)?.is_some_and(|begin| begin > now.saturating_add(leeway)) {
            return Err(Invalid::NotYetValid(name));
        }
    }
    let audience = texts(claims, "aud")?.ok_or(Invalid::Missing("aud"))?;
    if !audience.iter().any(|one| config.audience.iter().any(|accepted| accepted == one)) {
        return Err(Invalid::Audience);
    }
    if value(claims, "cnf").is_some() {
        return Err(Invalid::Bound);
    }
    Ok(expires)
}

/// The subject.
pub(crate) fn subject(claims: &Claims) -> Result<Option<&str>, Invalid> {
    match text(claims, "sub")? {
        Some("") => Err(Invalid::Missing("sub")),
        Some(subject) if subject.len() > LONGEST_SUBJECT => Err(Invalid::Malformed("the subject is longer than 255 bytes")),
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use serde_json::{Value, json};

    use super::{Claims, scopes, texts, time};
    use crate::error::Invalid;

    fn claims(value: Value) -> Claims {
        match value {
            Value::Object(claims) => claims,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn times() {
        let table = [
            (json!(null), Some(None)),
            (json!(0), Some(Some(0))),
            (json!(1_700_000_000), Some(Some(1_700_000_000_000_000))),
            (json!(1_700_000_000.25), Some(Some(1_700_000_000_250_000))),
            (json!(-5), Some(Some(0))),
            (json!(u64::MAX), Some(Some(253_402_300_800_000_000))),
            (json!(1e300), Some(Some(253_402_300_800_000_000))),
            (json!("1700000000"), None),
            (json!([1]), None),
            (json!(true), None),
        ];
        for (value, expected) in table {
            assert_eq!(time(&claims(json!({ "exp": value })), "exp").ok(), expected, "{value}");
        }
        assert_eq!(time(&claims(json!({})), "exp"), Ok(None));
    }

    #[test]
    fn scope_forms() {
        let table = [
            (json!({ "scope": "openid  profile" }), "openid profile"),
            (json!({ "scope": ["openid", "a b"] }), "a b openid"),
            (json!({ "scp": "openid" }), "openid"),
            (json!({ "scp": ["b", "a"] }), "a b"),
            (json!({ "scope": "a", "scp": ["b"] }), "a"),
            (json!({ "scope": "" }), ""),
            (json!({}), ""),
        ];
        for (value, expected) in table {
            let found: Vec<String> = scopes(&claims(value.clone())).unwrap().into_iter().collect();
            assert_eq!(found.join(" "), expected, "{value}");
        }
        for value in [json!({ "scope": 1 }), json!({ "scope": [1] }), json!({ "scp": { "a": 1 } })] {
            assert!(matches!(scopes(&claims(value.clone())), Err(Invalid::Malformed(_))), "{value}");
        }
    }

    #[test]
    fn lists() {
        assert_eq!(texts(&claims(json!({ "aud": "a b" })), "aud"), Ok(Some(vec!["a b"])));
        assert_eq!(texts(&claims(json!({ "aud": [] })), "aud"), Ok(Some(vec![])));
        assert!(texts(&claims(json!({ "aud": ["a", 1] })), "aud").is_err());
    }
}
