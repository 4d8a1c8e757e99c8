//! What stands behind the question mark, and how it is written.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// What a value of a query cannot hold as it is. The rest stands in links as in the original, `@`, `:` and `/` among it.
const VALUE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'+')
    .add(b'<')
    .add(b'=')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');
/// What a segment of a path cannot hold.
const SEGMENT: &AsciiSet = &VALUE.add(b'/').add(b'?');

/// The parameters of a request.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn new(query: Option<&str>) -> Self {
        let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// The first value.
    pub(super) fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The first value, unless it is empty.
    pub(super) fn filled(&self, name: &str) -> Option<&str> {
        self.first(name).filter(|value| !value.is_empty())
    }

    /// All values.
    pub(super) fn all<'q>(&'q self, name: &'q str) -> impl Iterator<Item = &'q str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A value as it stands in a link.
pub(super) fn value(text: &str) -> String {
    utf8_percent_encode(text, VALUE).to_string()
}

/// A segment as it stands in a link.
pub(super) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let query = Query::new(Some("a=1&b=%7Bx%7D+y&a=2&c="));
        assert_eq!(query.first("a"), Some("1"));
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(query.first("b"), Some("{x} y"));
        assert_eq!((query.first("c"), query.filled("c"), query.first("d")), (Some(""), None, None));
        assert_eq!(Query::new(None).first("a"), None);
    }

    #[test]
    fn values_stand_in_links_as_the_original_wrote_them_and_read_back() {
        for (text, expected) in [
            ("sub@https://iss.example/", "sub@https://iss.example/"),
            ("a&b=c", "a%26b%3Dc"),
            ("a+b c", "a%2Bb%20c"),
            ("{x}", "%7Bx%7D"),
            ("é", "%C3%A9"),
        ] {
            assert_eq!(value(text), expected);
            assert_eq!(Query::new(Some(&format!("v={}", value(text)))).first("v"), Some(text));
        }
        assert_eq!(segment("../x?y"), "..%2Fx%3Fy");
    }
}
