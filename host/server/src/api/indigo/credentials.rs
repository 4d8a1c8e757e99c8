//! What clients show, in all the ways that the original took, and those of the rest of this server.

use super::errors::Fault;
use super::query::Query;
use crate::api::auth;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use ostler_core::identity::Credentials;

/// The scheme of tokens.
const BEARER: &[u8] = b"bearer";

/// What was shown in the headers, or in the query. A token that follows its scheme without a space is one: a client of the
/// original's sends it like that.
pub(super) fn shown(headers: &HeaderMap, query: &Query) -> Result<Option<Credentials>, Fault> {
    if let Some(token) = headers.get_all(AUTHORIZATION).iter().find_map(bearer) {
        return token_of(token);
    }
    if headers.contains_key("x-auth-token") || begins(headers, b"basic") {
        let refused = if headers.contains_key("x-auth-token") { Fault::bad_token } else { Fault::bad_credentials };
        return auth::from_headers(headers).map_err(|_| refused());
    }
    match query.first("access_token") {
        Some(token) => token_of(token),
        None if headers.contains_key(AUTHORIZATION) => Err(Fault::anonymous()),
        None => Ok(None),
    }
}

fn token_of(token: &str) -> Result<Option<Credentials>, Fault> {
    auth::token_of(token).map(Some).map_err(|_| Fault::bad_token())
}

/// What follows the scheme, if it is the one of tokens.
fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.as_bytes().split_at_checked(BEARER.len())?;
    scheme.eq_ignore_ascii_case(BEARER).then(|| std::str::from_utf8(token).unwrap_or_default().trim())
}

fn begins(headers: &HeaderMap, scheme: &[u8]) -> bool {
    let start = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().get(..scheme.len()));
    start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn tokens_are_found_wherever_clients_put_them() {
        let long = format!("Bearer {}", "x".repeat(9000));
        for (pairs, query, expected) in [
            (&[][..], None, "nothing"),
            (&[("authorization", "Bearer abc")], None, "token abc"),
            (&[("authorization", "Bearerabc")], None, "token abc"),
            (&[("authorization", "bEARER   abc ")], None, "token abc"),
            (&[("authorization", "Basic YTpi"), ("authorization", "Bearer abc")], None, "token abc"),
            (&[("authorization", "Bearer abc"), ("x-auth-token", "def")], None, "token abc"),
            (&[("x-auth-token", "def")], Some("access_token=ghi"), "token def"),
            (&[("authorization", "Basic YTpi")], None, "a/b"),
            (&[], Some("createdBy=me&access_token=a%2Bb"), "token a+b"),
            (&[("authorization", "Digest x")], Some("access_token=abc"), "token abc"),
            (&[("authorization", "Bearer")], None, "401 Invalid token"),
            (&[("authorization", "Bearer ")], None, "401 Invalid token"),
            (&[("authorization", long.as_str())], None, "401 Invalid token"),
            (&[("x-auth-token", "")], None, "401 Invalid token"),
            (&[], Some("access_token="), "401 Invalid token"),
            (&[("authorization", "Basic !")], None, "401 Bad credentials"),
            (&[("authorization", "Digest x")], None, "401 Full authentication is required to access this resource"),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, value.parse().unwrap());
            }
            let found = match shown(&headers, &Query::new(query)) {
                Ok(None) => "nothing".to_owned(),
                Ok(Some(Credentials::Token(token))) => format!("token {}", token.expose_secret()),
                Ok(Some(Credentials::Password(user, password))) => format!("{user}/{}", password.expose_secret()),
                Ok(Some(Credentials::Certificate(_))) => "certificate".to_owned(),
                Err(fault) => format!("{} {}", fault.status.as_u16(), fault.message.unwrap()),
            };
            assert_eq!(found, expected, "{pairs:?} {query:?}");
        }
    }
}
