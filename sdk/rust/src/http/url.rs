//! As much about URLs as a client needs. Built addresses are checked again by the host.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Everything but what RFC 3986 leaves unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Adds `key=value` to the query, percent-encoded.
pub(crate) fn add_query(url: &mut String, key: &str, value: &str) {
    let separator = if url.contains('?') { '&' } else { '?' };
    url.push(separator);
    url.push_str(&encode(key));
    url.push('=');
    url.push_str(&encode(value));
}

/// Percent-encoded, for a part of a path or of a query: everything but what RFC 3986 leaves unreserved.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// The parameters of an address's query, in their order and decoded: of the address of a next page, say. What has no `=` has an
/// empty value; what is not UTF-8 is left out.
///
/// ```
/// let next = "https://provider/servers?limit=100&marker=a%20b";
/// assert!(ostler_driver::http::query(next).any(|(key, value)| key == "marker" && value == "a b"));
/// ```
pub fn query(url: &str) -> impl Iterator<Item = (String, String)> {
    let url = url.split('#').next().unwrap_or(url);
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let decode = |text: &str| percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned());
    query.split('&').filter(|pair| !pair.is_empty()).filter_map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decode(key)?, decode(value)?))
    })
}

/// What may be shown of a URL: neither the query nor what stands before an `@`, where credentials are found.
pub(crate) fn without_query(url: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let shown = &url[..end];
    match split(shown) {
        Some((scheme, authority, path)) => {
            let host = authority.rsplit('@').next().unwrap_or(authority);
            format!("{scheme}://{host}{path}")
        }
        None => shown.to_owned(),
    }
}

/// Scheme, authority and the rest (path and query), without the fragment.
pub(crate) fn split(url: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let rest = rest.split('#').next().unwrap_or(rest);
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    (!authority.is_empty()).then_some((scheme, authority, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split() {
        for (url, parts) in [
            ("http://a", Some(("http", "a", ""))),
            ("https://a:1/b/c?d=e#f", Some(("https", "a:1", "/b/c?d=e"))),
            ("https://[::1]:5?x", Some(("https", "[::1]:5", "?x"))),
            ("a/b", None),
            ("http:///b", None),
        ] {
            assert_eq!(split(url), parts, "{url}");
        }
    }

    #[test]
    fn queries_are_encoded_and_not_shown() {
        let mut url = "https://user:word@a/b".to_owned();
        add_query(&mut url, "a b", "ä&=");
        add_query(&mut url, "c", "~");
        assert_eq!(url, "https://user:word@a/b?a%20b=%C3%A4%26%3D&c=~");
        assert_eq!(without_query(&url), "https://a/b");
        assert_eq!(encode("a/b-._~%ä"), "a%2Fb-._~%25%C3%A4");
        let pairs = |url: &str| query(url).map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
        assert_eq!(pairs(&url), ["a b=ä&=", "c=~"]);
        assert_eq!(pairs("/a?x&y=1=2&&z=%ff&+=%2b#?e=f"), ["x=", "y=1=2", "+=+"]);
        assert_eq!(pairs("https://a/b"), [""; 0]);
    }
}
