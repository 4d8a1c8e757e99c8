//! As much about URLs as a client needs. Built addresses are checked again by the host.

/// Adds `key=value` to the query; everything but unreserved characters is percent-encoded.
pub(crate) fn add_query(url: &mut String, key: &str, value: &str) {
    url.push(if url.contains('?') { '&' } else { '?' });
    encode(url, key);
    url.push('=');
    encode(url, value);
}

fn encode(out: &mut String, text: &str) {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        }
    }
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
    }
}
