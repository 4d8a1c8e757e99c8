//! Tokens as they come: what kind they are, and the parts of a signed JSON Web Token (RFC 7515, section 3.1).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::algorithm::Algorithm;
use crate::claims::{Claims, text};
use crate::error::{Invalid, brief};

/// The longest token, in bytes. Headers of more than this do not pass most servers.
const LONGEST_TOKEN: usize = 16 << 10;

/// Values of `typ` that access tokens have, in lower case: none in particular, or that of RFC 9068.
const TYPES: [&str; 4] = ["jwt", "at+jwt", "application/jwt", "application/at+jwt"];

/// A signed JSON Web Token that was read and not verified: nothing of it may be believed but whom to ask.
pub(crate) struct Jwt<'a> {
    /// Header and payload as they were signed.
    pub(crate) message: &'a str,
    /// The signature, base64url.
    pub(crate) signature: &'a str,
    pub(crate) algorithm: Algorithm,
    pub(crate) key: Option<String>,
    pub(crate) issuer: String,
    pub(crate) claims: Claims,
}

impl<'a> Jwt<'a> {
    /// Reads a token, `None` if it is of another kind.
    pub(crate) fn parse(token: &'a str) -> Result<Option<Self>, Invalid> {
        check_syntax(token)?;
        let Some((message, signature)) = token.rsplit_once('.') else {
            return Ok(None);
        };
        let Some((header, payload)) = message.split_once('.') else {
            return Ok(None);
        };
        // An unsigned token has an empty third part: it is to be refused for what it is.
        if header.is_empty() || payload.is_empty() || ![header, payload, signature].into_iter().all(is_base64url) {
            return Ok(None);
        }
        let header = object(header, "the header is not a JSON object in base64url")?;
        let claims = object(payload, "the payload is not a JSON object in base64url")?;
        if header.contains_key("crit") {
            return Err(Invalid::Critical);
        }
        let algorithm = text(&header, "alg")?.ok_or(Invalid::Malformed("the header has no algorithm"))?;
        let algorithm = algorithm.parse().map_err(|_| Invalid::Algorithm(brief(algorithm)))?;
        if let Some(kind) = text(&header, "typ")?
            && !TYPES.contains(&kind.to_ascii_lowercase().as_str())
        {
            return Err(Invalid::Type(brief(kind)));
        }
        let key = text(&header, "kid")?.map(str::to_owned);
        let issuer = text(&claims, "iss")?.ok_or(Invalid::Missing("iss"))?.to_owned();
        Ok(Some(Self { message, signature, algorithm, key, issuer, claims }))
    }
}

/// The characters of RFC 6750 (section 2.1): what passes can be put into a header without further thought.
fn check_syntax(token: &str) -> Result<(), Invalid> {
    if token.len() > LONGEST_TOKEN {
        return Err(Invalid::TooLong);
    }
    let body = token.trim_end_matches('=');
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    if body.is_empty() || !body.bytes().all(allowed) {
        return Err(Invalid::Malformed("not the characters of a token"));
    }
    Ok(())
}

fn is_base64url(part: &str) -> bool {
    part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn object(part: &str, otherwise: &'static str) -> Result<Claims, Invalid> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Invalid::Malformed(otherwise))?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(Invalid::Malformed(otherwise)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Jwt, URL_SAFE_NO_PAD};
    use crate::error::Invalid;
    use base64::Engine;

    fn joined(header: &str, payload: &str) -> String {
        format!("{}.{}.AA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
    }

    fn refused(token: &str) -> Invalid {
        Jwt::parse(token).err().unwrap()
    }

    #[test]
    fn kinds() {
        for opaque in ["abc", "a.b", "a.b.c.d", "a.b.c.d.e", "a.b.c=", "a.~.c", ".b.c", "a..c", "a+b/c==", "ya29.x"] {
            assert!(Jwt::parse(opaque).unwrap().is_none(), "{opaque}");
        }
        for malformed in ["", "==", "a b", "a\nb", "a,b", "ä", "a=b", "a.b.c", "a\0"] {
            assert!(matches!(refused(malformed), Invalid::Malformed(_)), "{malformed:?}");
        }
        assert_eq!(refused(&"a".repeat(16 * 1024 + 1)), Invalid::TooLong);
        assert!(Jwt::parse(&"a".repeat(16 * 1024)).unwrap().is_none());
    }

    #[test]
    fn parts() {
        let token = joined(r#"{"alg":"ES256","kid":"k","typ":"at+JWT"}"#, r#"{"iss":"https://i"}"#);
        let jwt = Jwt::parse(&token).unwrap().unwrap();
        assert_eq!((jwt.key.as_deref(), jwt.issuer.as_str(), jwt.signature), (Some("k"), "https://i", "AA"));
        assert_eq!(format!("{}.AA", jwt.message), token);

        let deep = format!(r#"{{"iss":"https://i","x":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
        let rows = [
            (r#"{"alg":"none"}"#, r#"{"iss":"https://i"}"#),
            (r#"{"alg":"HS256"}"#, r#"{"iss":"https://i"}"#),
            (r#"{"alg":"rs256"}"#, r#"{"iss":"https://i"}"#),
            (r#"{"alg":"ES256","crit":["b64"],"b64":false}"#, r#"{"iss":"https://i"}"#),
            (r#"{"alg":"ES256","crit":[]}"#, r#"{"iss":"https://i"}"#),
            (r#"{"alg":"ES256","typ":"logout+jwt"}"#, r#"{"iss":"https://i"}"#),
            (r#"{"alg":["ES256"]}"#, r#"{"iss":"https://i"}"#),
            (r#"{"alg":"ES256","kid":7}"#, r#"{"iss":"https://i"}"#),
            (r#"{"typ":"JWT"}"#, r#"{"iss":"https://i"}"#),
            (r#"["ES256"]"#, r#"{"iss":"https://i"}"#),
            (r#"{"alg":"ES256"}"#, r"{}"),
            (r#"{"alg":"ES256"}"#, r#"{"iss":["https://i"]}"#),
            (r#"{"alg":"ES256"}"#, "text"),
            (r#"{"alg":"ES256"}"#, r#"{"iss":"https://i"} {}"#),
            (r#"{"alg":"ES256"}"#, &deep),
        ];
        let reasons: Vec<String> = rows.iter().map(|(header, payload)| refused(&joined(header, payload)).to_string()).collect();
        let header = "malformed: the header is not a JSON object in base64url";
        let payload = "malformed: the payload is not a JSON object in base64url";
        let other = "malformed: a claim that is a text is something else";
        let expected = [
            "the algorithm \"none\" is not accepted",
            "the algorithm \"HS256\" is not accepted",
            "the algorithm \"rs256\" is not accepted",
            "the header has critical extensions",
            "the header has critical extensions",
            "the type \"logout+jwt\" is not that of an access token",
            other,
            other,
            "malformed: the header has no algorithm",
            header,
            "`iss` is missing",
            other,
            payload,
            payload,
            payload,
        ];
        assert_eq!(reasons, expected);
    }

    #[test]
    fn texts_of_a_token_are_cut_and_escaped() {
        let name = format!("{}\\n", "x".repeat(5000));
        let Invalid::Algorithm(text) = refused(&joined(&format!(r#"{{"alg":"\n{name}"}}"#), r"{}")) else { unreachable!() };
        assert!(text.starts_with("\"\\nxxx") && text.ends_with("x…\""), "{text}");
        assert_eq!(text.chars().count(), 83);
    }
}
