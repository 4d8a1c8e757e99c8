//! Where requests carry their tokens.

/// The token of an `Authorization` header, if it is one for a bearer token.
///
/// Taken as the original of the PaaS Orchestrator takes it: whatever follows `bearer`, in any
/// case, without the space around it. RFC 6750 wants one space before the token; the client orpy sends none.
#[must_use]
pub fn bearer(header: &str) -> Option<&str> {
    const SCHEME: &str = "bearer";
    let (scheme, token) = header.trim_start().split_at_checked(SCHEME.len())?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case(SCHEME) && !token.is_empty()).then_some(token)
}

/// The token in a query (without the `?`), if there is exactly one `access_token` (RFC 6750, section 2.3). Queries end up in logs
/// and histories: accept this where clients depend on it only.
#[must_use]
pub fn access_token(query: &str) -> Option<String> {
    let mut tokens = url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "access_token");
    let (_, token) = tokens.next()?;
    (tokens.next().is_none() && !token.is_empty()).then(|| token.into_owned())
}

#[cfg(test)]
mod tests {
    use super::{access_token, bearer};

    #[test]
    fn header_forms() {
        let table = [
            ("Bearer abc", Some("abc")),
            ("Bearerabc", Some("abc")),
            ("bEaReR \t abc  ", Some("abc")),
            ("  Bearer abc", Some("abc")),
            ("Bearer bearer", Some("bearer")),
            ("Bearer a b", Some("a b")),
            ("Bearer", None),
            ("Bearer  ", None),
            ("Beare", None),
            ("Beareé", None),
            ("Basic abc", None),
            ("", None),
        ];
        for (header, token) in table {
            assert_eq!(bearer(header), token, "{header:?}");
        }
    }

    #[test]
    fn query_forms() {
        let table = [
            ("access_token=abc", Some("abc")),
            ("size=2&access_token=a%2Bb&page=1", Some("a+b")),
            ("access_token=", None),
            ("access_token=a&access_token=b", None),
            ("access_token=a&access_token=a", None),
            ("Access_Token=a", None),
            ("token=a", None),
            ("", None),
        ];
        for (query, token) in table {
            assert_eq!(access_token(query).as_deref(), token, "{query:?}");
        }
    }
}
