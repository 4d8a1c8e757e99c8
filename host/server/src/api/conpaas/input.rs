//! The parameters of a request: the query's and the body's together, the query's first, as the original's framework had them.

use crate::api::body::{self, BodyError};
use axum::body::Body;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use multer::Multipart;
use percent_encoding::percent_decode;
use std::convert::Infallible;
use std::fmt;
use thiserror::Error;

/// Parameters and files of one request.
const MOST: usize = 64;
/// Bytes of a name.
const LONGEST_NAME: usize = 128;
/// Bytes of a value.
const LONGEST_VALUE: usize = 64 << 10;
/// Bytes of a value that is a document or a script.
const LONGEST_DOCUMENT: usize = 512 << 10;
/// The names of documents and scripts.
const DOCUMENTS: &[&str] = &["manifest", "context", "startup_script", "nodes_info", "nodes"];
/// Bytes of a file: the only one that is asked for is a certificate signing request.
const LARGEST_FILE: usize = 64 << 10;
/// Bytes of the mark between two parts. RFC 2046 has 70; the original took 200.
const LONGEST_BOUNDARY: usize = 200;

/// Why the parameters cannot be read. No text of a value is in it.
#[derive(Debug, Error)]
pub(super) enum InputError {
    /// The body has more bytes than are taken.
    #[error("the body is too large")]
    TooLarge,
    /// The connection ended before the body.
    #[error("the body was cut short")]
    Cut,
    /// More parameters than are taken.
    #[error("there are more than {MOST} parameters")]
    TooMany,
    /// A name has more bytes than are taken.
    #[error("the name of a parameter is too long")]
    LongName,
    /// A value has more bytes than are taken.
    #[error("the value of {0:?} is too long")]
    LongValue(String),
    /// A file has more bytes than are taken.
    #[error("the file {0:?} is too large")]
    LargeFile(String),
    /// A name or a value is no text.
    #[error("a parameter is not UTF-8")]
    NotText,
    /// A name or a value holds U+0000.
    #[error("a parameter holds U+0000")]
    Nul,
    /// A multipart body whose `Content-Type` has no usable boundary.
    #[error("the multipart body has no boundary")]
    NoBoundary,
    /// A multipart body that is malformed or incomplete.
    #[error("the multipart body is malformed: {0}")]
    Multipart(#[from] multer::Error),
}

/// What a request says. Of a name that is said twice the first counts; what stands in the query comes before the body.
#[derive(Default)]
pub(super) struct Form {
    values: Vec<(String, String)>,
    files: Vec<(String, Bytes)>,
}

impl Form {
    /// The parameters in the query and in a body of at most `max` bytes. A body that is no form has none.
    pub(super) async fn read(parts: &Parts, body: Body, max: usize) -> Result<Self, InputError> {
        let bytes = body::read(&parts.headers, body, max).await.map_err(|error| match error {
            BodyError::TooLarge => InputError::TooLarge,
            BodyError::Cut => InputError::Cut,
        })?;
        let mut form = Self::default();
        form.add_encoded(parts.uri.query().unwrap_or_default().as_bytes())?;
        let kind = parts.headers.get(CONTENT_TYPE).map_or("", |kind| kind.to_str().unwrap_or_default());
        let essence = kind.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            form.add_encoded(&bytes)?;
        } else if essence.eq_ignore_ascii_case("multipart/form-data") {
            form.add_parts(bytes, boundary(kind).ok_or(InputError::NoBoundary)?).await?;
        }
        Ok(form)
    }

    /// The value of a parameter, which may be empty.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that is there and not empty, which is how the original tests most of them.
    pub(super) fn filled(&self, name: &str) -> Option<&str> {
        self.value(name).filter(|value| !value.is_empty())
    }

    /// The content of a file. A parameter of that name is none.
    pub(super) fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.iter().find(|(known, _)| known == name).map(|(_, content)| content.as_ref())
    }

    /// Adds what is urlencoded. An escape that is none stays as it stands.
    fn add_encoded(&mut self, text: &[u8]) -> Result<(), InputError> {
        for pair in text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let at = pair.iter().position(|byte| *byte == b'=');
            let (name, value) = at.map_or((pair, &b""[..]), |at| (&pair[..at], &pair[at + 1..]));
            // Escapes make a text longer, never shorter: what is far too long need not be decoded.
            if name.len() > 3 * LONGEST_NAME {
                return Err(InputError::LongName);
            }
            self.add(decoded(name)?, decoded(value)?)?;
        }
        Ok(())
    }

    /// Adds the parts of a multipart body: those with a file name are files.
    async fn add_parts(&mut self, bytes: Bytes, boundary: &str) -> Result<(), InputError> {
        let stream = futures::stream::once(async move { Ok::<_, Infallible>(bytes) });
        let mut parts = Multipart::new(stream, boundary);
        let mut nameless = 0;
        while let Some(part) = parts.next_field().await? {
            let name = part.name().map(str::to_owned);
            let is_file = part.file_name().is_some();
            let content = part.bytes().await?;
            match name {
                // It cannot be asked for; but a body full of them is no form either.
                None => {
                    nameless += 1;
                    if nameless > MOST {
                        return Err(InputError::TooMany);
                    }
                }
                Some(name) if is_file => self.add_file(name, content)?,
                Some(name) => self.add(name, text(content.into())?)?,
            }
        }
        Ok(())
    }

    fn add(&mut self, name: String, value: String) -> Result<(), InputError> {
        self.check(&name)?;
        if value.len() > if DOCUMENTS.contains(&name.as_str()) { LONGEST_DOCUMENT } else { LONGEST_VALUE } {
            return Err(InputError::LongValue(name));
        }
        if value.contains('\0') {
            return Err(InputError::Nul);
        }
        self.values.push((name, value));
        Ok(())
    }

    fn add_file(&mut self, name: String, content: Bytes) -> Result<(), InputError> {
        self.check(&name)?;
        if content.len() > LARGEST_FILE {
            return Err(InputError::LargeFile(name));
        }
        self.files.push((name, content));
        Ok(())
    }

    /// Whether one more of this name can be taken.
    fn check(&self, name: &str) -> Result<(), InputError> {
        if self.values.len() + self.files.len() >= MOST {
            return Err(InputError::TooMany);
        }
        if name.len() > LONGEST_NAME {
            return Err(InputError::LongName);
        }
        if name.contains('\0') {
            return Err(InputError::Nul);
        }
        Ok(())
    }
}

/// Names only: passwords are among the values.
impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<&str> = self.values.iter().map(|(name, _)| name.as_str()).collect();
        let files: Vec<&str> = self.files.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Form").field("values", &values).field("files", &files).finish()
    }
}

fn decoded(encoded: &[u8]) -> Result<String, InputError> {
    let spaced: Vec<u8> = encoded.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    text(percent_decode(&spaced).collect())
}

fn text(bytes: Vec<u8>) -> Result<String, InputError> {
    String::from_utf8(bytes).map_err(|_| InputError::NotText)
}

/// The boundary in a `Content-Type`. Old clients do not quote what RFC 2045 wants quoted, so an unquoted one ends at a semicolon only.
fn boundary(kind: &str) -> Option<&str> {
    let mut rest = kind;
    loop {
        rest = rest.split_once(';')?.1.trim_start();
        let (name, value) = rest.split_once('=')?;
        if name.trim_end().eq_ignore_ascii_case("boundary") {
            let value = value.trim_start();
            let boundary = match value.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?.0,
                None => value.split(';').next().unwrap_or_default().trim_end(),
            };
            let visible = boundary.bytes().all(|byte| matches!(byte, b' '..=b'~'));
            return Some(boundary).filter(|boundary| visible && (1..=LONGEST_BOUNDARY).contains(&boundary.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use http::Request;
    use http::header::CONTENT_LENGTH;

    const URLENCODED: &str = "application/x-www-form-urlencoded";
    const MAX: usize = 4 << 20;

    async fn read(uri: &str, kind: &str, body: impl Into<Body>) -> Result<Form, InputError> {
        let mut request = Request::post(uri);
        if !kind.is_empty() {
            request = request.header(CONTENT_TYPE, kind);
        }
        let (parts, body) = request.body(body.into()).unwrap().into_parts();
        Form::read(&parts, body, MAX).await
    }

    fn part(name: &str, file: bool, content: &str) -> String {
        let file = if file { "; filename=\"csr.pem\"\r\nContent-Type: application/octet-stream" } else { "" };
        format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{content}\r\n")
    }

    #[tokio::test]
    async fn the_query_comes_first_and_both_kinds_of_body_count() {
        let multipart = [part("b", false, "2"), part("a", false, "3"), part("csr", true, "P\0M"), "--B--\r\n".into()].concat();
        for (uri, kind, body, expected) in [
            ("/x", URLENCODED, "a=1&b=2".to_owned(), [Some("1"), Some("2")]),
            ("/x?a=0", URLENCODED, "a=1&b=2".into(), [Some("0"), Some("2")]),
            ("/x?a=", URLENCODED, "a=1".into(), [Some(""), None]),
            ("https://h:5555/x?a=0", URLENCODED, "b=2".into(), [Some("0"), Some("2")]),
            ("/x?a=1&a=2&&b", "", String::new(), [Some("1"), Some("")]),
            (
                "/x",
                "Application/X-WWW-Form-URLEncoded; charset=utf-8",
                "a=%C3%A9+%2B&b=%zz%4".into(),
                [Some("é +"), Some("%zz%4")],
            ),
            ("/x", "multipart/form-data; boundary=B", multipart.clone(), [Some("3"), Some("2")]),
            ("/x?a=0", "Multipart/Form-Data; charset=x; Boundary=\"B\"", multipart.clone(), [Some("0"), Some("2")]),
            ("/x", "application/json", "{\"a\": \"1\"}".into(), [None, None]),
            ("/x?b=2", "text/plain", "a=1".into(), [None, Some("2")]),
            ("/x", "", "a=1".into(), [None, None]),
        ] {
            let form = read(uri, kind, body).await.unwrap_or_else(|error| panic!("{uri} {kind}: {error}"));
            assert_eq!([form.value("a"), form.value("b")], expected, "{uri} {kind}");
            assert_eq!(form.file("a"), None);
            assert_eq!(form.file("csr"), kind.to_ascii_lowercase().starts_with("multipart").then_some(&b"P\0M"[..]));
            assert_eq!(form.value("csr"), None);
            assert_eq!(form.filled("a"), expected[0].filter(|value| !value.is_empty()));
        }
    }

    #[tokio::test]
    async fn multipart_as_clients_write_it() {
        for (boundary, shown, name, before, after) in [
            // A preamble that nobody reads, and nothing after the last boundary.
            ("127.0.0.1.0.42.1.9", "127.0.0.1.0.42.1.9", "\"a\"", "x\r\n", ""),
            ("----------ThIs_Is_tHe_bouNdaRY_$", "----------ThIs_Is_tHe_bouNdaRY_$; charset=x", "\"a\"", "", "\r\n\r\n"),
            // Java's, which ought to be quoted.
            ("----=_Part_1", "----=_Part_1", "a", "", "\r\n"),
            ("a;b", "\"a;b\"", "a", "", "\r\nx"),
        ] {
            let kind = format!("multipart/form-data; boundary={shown}");
            let part = format!("--{boundary}\r\nContent-Disposition: form-data; name={name}\r\n\r\n1\r\n");
            let body = format!("{before}{part}--{boundary}--{after}");
            assert_eq!(read("/x", &kind, body).await.unwrap().value("a"), Some("1"), "{kind}");
        }
        let empty =
            read("/x", "multipart/form-data; boundary=B", [part("a", false, ""), part("f", true, ""), "--B--".into()].concat());
        let empty = empty.await.unwrap();
        assert_eq!((empty.value("a"), empty.filled("a"), empty.file("f")), (Some(""), None, Some(&b""[..])));
        let none = read("/x", "multipart/form-data; boundary=B", "--B--\r\n").await.unwrap();
        assert!(none.values.is_empty() && none.files.is_empty());
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_refused() {
        let multipart = "multipart/form-data; boundary=B";
        let whole = [part("a", false, "1"), "--B--\r\n".into()].concat();
        let names = |count: usize| (0..count).map(|n| format!("n{n}=")).collect::<Vec<_>>().join("&");
        let long = |name: &str, length: usize| format!("{name}={}", "x".repeat(length));
        let no_name = "--B\r\nContent-Disposition: form-data\r\n\r\n1\r\n";
        for (kind, body, expected) in [
            (URLENCODED, "a=%ff".to_owned(), "a parameter is not UTF-8"),
            (URLENCODED, "%C3=1".into(), "a parameter is not UTF-8"),
            (URLENCODED, "a=%00".into(), "a parameter holds U+0000"),
            (URLENCODED, "a%00=1".into(), "a parameter holds U+0000"),
            (URLENCODED, names(MOST + 1), "there are more than 64 parameters"),
            (URLENCODED, long(&"n".repeat(LONGEST_NAME + 1), 0), "the name of a parameter is too long"),
            (URLENCODED, long(&"n".repeat(9000), 0), "the name of a parameter is too long"),
            (URLENCODED, long("a", LONGEST_VALUE + 1), "the value of \"a\" is too long"),
            (URLENCODED, long("manifest", LONGEST_DOCUMENT + 1), "the value of \"manifest\" is too long"),
            (URLENCODED, "x".repeat(MAX + 1), "the body is too large"),
            ("text/plain", "x".repeat(MAX + 1), "the body is too large"),
            ("multipart/form-data", whole.clone(), "the multipart body has no boundary"),
            ("multipart/form-data; boundary=", whole.clone(), "the multipart body has no boundary"),
            ("multipart/form-data; boundary=\"B", whole.clone(), "the multipart body has no boundary"),
            ("multipart/form-data; bound=B", whole.clone(), "the multipart body has no boundary"),
            ("multipart/form-data; boundary=C", whole.clone(), "the multipart body is malformed: "),
            (multipart, String::new(), "the multipart body is malformed: "),
            (multipart, "--B".into(), "the multipart body is malformed: "),
            (multipart, "--B\r\nContent-Disposition: form-data; name=\"a\"".into(), "the multipart body is malformed: "),
            (multipart, part("a", false, "1"), "the multipart body is malformed: "),
            (multipart, whole[..whole.len() - 9].into(), "the multipart body is malformed: "),
            (multipart, part("a", false, "\0") + "--B--", "a parameter holds U+0000"),
            (multipart, part("a", false, "1").repeat(MOST + 1) + "--B--", "there are more than 64 parameters"),
            (multipart, no_name.repeat(MOST + 1) + "--B--", "there are more than 64 parameters"),
            (multipart, part("a", false, &"x".repeat(LONGEST_VALUE + 1)) + "--B--", "the value of \"a\" is too long"),
            (multipart, part("csr", true, &"x".repeat(LARGEST_FILE + 1)) + "--B--", "the file \"csr\" is too large"),
        ] {
            let error = read("/x", kind, body.clone()).await.unwrap_err().to_string();
            assert!(error.starts_with(expected), "{kind} {:.60}: {error}", body);
        }
        for uri in ["/x?a=%ff", "/x?a=%00"] {
            assert!(read(uri, "", "").await.is_err(), "{uri}");
        }
        let binary = [b"--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\xff\r\n--B--".as_slice()].concat();
        assert!(matches!(read("/x", multipart, binary).await, Err(InputError::NotText)));
    }

    #[tokio::test]
    async fn what_fits_just_so_is_taken() {
        let documents =
            read("/x", URLENCODED, format!("context={}&a={}", "x".repeat(LONGEST_DOCUMENT), "y".repeat(LONGEST_VALUE)));
        let documents = documents.await.unwrap();
        assert_eq!(documents.value("context").map(str::len), Some(LONGEST_DOCUMENT));
        assert_eq!(documents.value("a").map(str::len), Some(LONGEST_VALUE));
        let escaped = format!("{}=1", "%41".repeat(LONGEST_NAME));
        assert_eq!(read("/x", URLENCODED, escaped).await.unwrap().value(&"A".repeat(LONGEST_NAME)), Some("1"));
        assert_eq!(read("/x", URLENCODED, ["a="; MOST].join("&")).await.unwrap().values.len(), MOST);
    }

    #[tokio::test]
    async fn a_body_that_is_announced_too_large_or_breaks_off_is_refused() {
        let (parts, body) = Request::post("/x").header(CONTENT_LENGTH, MAX + 1).body(Body::empty()).unwrap().into_parts();
        assert!(matches!(Form::read(&parts, body, MAX).await, Err(InputError::TooLarge)));
        let broken = futures::stream::iter([Ok(Bytes::from_static(b"a=1")), Err(std::io::Error::other("gone"))]);
        assert!(matches!(read("/x", URLENCODED, Body::from_stream(broken)).await, Err(InputError::Cut)));
    }

    #[tokio::test]
    async fn values_are_not_shown() {
        let form = read("/x?username=ann&password=hunter2", URLENCODED, "credit=hunter2").await.unwrap();
        assert_eq!(format!("{form:?}"), "Form { values: [\"username\", \"password\", \"credit\"], files: [] }");
        let error = read("/x", URLENCODED, format!("password={}", "hunter2".repeat(LONGEST_VALUE))).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
