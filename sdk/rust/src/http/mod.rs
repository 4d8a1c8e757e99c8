//! An HTTP client over `wasi:http`, to the origins that the operator allowed.
//!
//! Redirects are answers like any other. Bodies are read as they arrive, up to a limit: as a [`Response`], or whole as an
//! [`Answer`]. In native builds the answers come from [`crate::testing::Cloud::expect_http`], a script, or from
//! [`crate::testing::Cloud::answer_http`], which plays a provider.

use std::{
    io::{self, Read},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};

use crate::context::Backend;
use crate::{Error, Result};

mod answer;
#[cfg(target_family = "wasm")]
mod outgoing;
mod text;
mod url;

pub use answer::Answer;
pub use text::{check_identifier, is_identifier, without_tags};
pub use url::{encode, query};

/// How long an exchange may last, from the connection to the end of the body, unless [`Request::timeout`] says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);
/// How many bytes of a body are read unless [`Request::limit`] says otherwise.
pub const DEFAULT_LIMIT: u64 = 8 * 1024 * 1024;
/// How much of a refusing answer's body goes into the error's text, in characters.
const EXCERPT: usize = 300;

/// The client.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    backend: &'a Backend,
}

impl<'a> Client<'a> {
    pub(crate) fn new(backend: &'a Backend) -> Self {
        Self { backend }
    }

    /// A request with any method.
    pub fn request(&self, method: &str, url: impl Into<String>) -> Request<'a> {
        Request {
            backend: self.backend,
            parts: Outgoing {
                method: method.to_owned(),
                url: url.into(),
                headers: Vec::new(),
                body: Vec::new(),
                timeout: DEFAULT_TIMEOUT,
                limit: DEFAULT_LIMIT,
            },
        }
    }

    /// A GET request.
    pub fn get(&self, url: impl Into<String>) -> Request<'a> {
        self.request("GET", url)
    }

    /// A POST request.
    pub fn post(&self, url: impl Into<String>) -> Request<'a> {
        self.request("POST", url)
    }

    /// A PUT request.
    pub fn put(&self, url: impl Into<String>) -> Request<'a> {
        self.request("PUT", url)
    }

    /// A PATCH request.
    pub fn patch(&self, url: impl Into<String>) -> Request<'a> {
        self.request("PATCH", url)
    }

    /// A DELETE request.
    pub fn delete(&self, url: impl Into<String>) -> Request<'a> {
        self.request("DELETE", url)
    }
}

/// A request as it goes out, and as a test that plays a provider sees it. `Debug` shows no header's value and no body, since they
/// carry credentials.
#[derive(Clone)]
#[non_exhaustive]
pub struct Outgoing {
    /// As it was given: `GET`.
    pub method: String,
    /// With the query.
    pub url: String,
    /// In their order; with `content-type` where there is a body.
    pub headers: Vec<(String, String)>,
    /// Empty where there is none.
    pub body: Vec<u8>,
    /// Of the whole exchange.
    pub timeout: Duration,
    /// Bytes of the answer's body.
    pub limit: u64,
}

impl Outgoing {
    /// The first header of a name.
    pub fn header(&self, name: &str) -> Option<&str> {
        answer::header(&self.headers, name)
    }
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        write!(f, "{} {} {names:?} ({} bytes)", self.method, url::without_query(&self.url), self.body.len())
    }
}

/// A request that is being put together.
#[derive(Debug, Clone)]
#[must_use = "nothing happens before `send`"]
pub struct Request<'a> {
    backend: &'a Backend,
    parts: Outgoing,
}

impl Request<'_> {
    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.parts.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Adds a parameter to the query, encoded as it must be.
    pub fn query(mut self, key: &str, value: &str) -> Self {
        url::add_query(&mut self.parts.url, key, value);
        self
    }

    /// Sets the body.
    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.parts.body = body.into();
        self.header("content-type", content_type)
    }

    /// Bounds the whole exchange.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.parts.timeout = timeout;
        self
    }

    /// Bounds the answer's body, in bytes.
    pub fn limit(mut self, bytes: u64) -> Self {
        self.parts.limit = bytes;
        self
    }

    /// Sends it. Any status is an answer; see [`Response::success`].
    ///
    /// # Errors
    /// [`Error::Transient`] where the connection fails or the time is up, [`Error::Failed`] where the request cannot be sent:
    /// a malformed URL or header, an origin that the operator did not allow, a certificate that does not hold.
    pub fn send(self) -> Result<Response> {
        let what = format!("{} {}", self.parts.method, url::without_query(&self.parts.url));
        let raw = self.backend.http_send(&self.parts).map_err(|error| error.context(&what))?;
        Ok(Response { what, status: raw.status, headers: raw.headers, body: raw.body, left: self.parts.limit })
    }

    /// Sends it and reads the whole answer, whatever its status.
    ///
    /// # Errors
    /// As [`Request::send`] and [`Response::bytes`].
    pub fn answer(self) -> Result<Answer> {
        let mut response = self.send()?;
        let headers = std::mem::take(&mut response.headers);
        Ok(Answer { status: response.status, headers, body: response.bytes()? })
    }

    /// Sends it with a JSON body.
    ///
    /// # Errors
    /// As [`Request::send`].
    pub fn send_json<T: Serialize>(self, body: &T) -> Result<Response> {
        let bytes = serde_json::to_vec(body)?;
        self.body("application/json", bytes).send()
    }

    /// Sends it, demands success and reads the body as JSON.
    ///
    /// # Errors
    /// As [`Request::send`], [`Response::success`] and [`Response::json`].
    pub fn json<T: DeserializeOwned>(self) -> Result<T> {
        let request = if self.parts.header("accept").is_some() { self } else { self.header("accept", "application/json") };
        request.send()?.success()?.json()
    }
}

/// An answer as it comes in.
pub(crate) struct RawResponse {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Box<dyn Read>,
}

/// An answer. Its body arrives as it is read, by [`Read`] or one of the methods.
pub struct Response {
    what: String,
    status: u16,
    headers: Vec<(String, String)>,
    body: Box<dyn Read>,
    left: u64,
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.status, self.what)
    }
}

impl Response {
    /// The status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The first header of a name, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        answer::header(&self.headers, name)
    }

    /// The answer itself where its status is 2xx, else the error that the status means, with an excerpt of the body.
    ///
    /// # Errors
    /// 400, 405, 406, 410–422 `invalid`; 401 `unauthorized`; 403 `forbidden`; 404 `not-found`; 409 `conflict`; 429 `throttled`, with the
    /// seconds of `Retry-After`; 408 and 5xx `transient`, but 501 `unsupported`; all others `failed`.
    pub fn success(mut self) -> Result<Self> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let mut excerpt = Vec::new();
        // The status tells enough where the body cannot be read.
        let _ = (&mut self.body).take(4 * EXCERPT as u64).read_to_end(&mut excerpt);
        let excerpt: String = String::from_utf8_lossy(&excerpt).split_whitespace().collect::<Vec<_>>().join(" ");
        let excerpt: String = excerpt.chars().take(EXCERPT).collect();
        let separator = if excerpt.is_empty() { "" } else { ": " };
        let text = format!("{} answered {}{separator}{excerpt}", self.what, self.status);
        Err(match self.status {
            400 | 405 | 406 | 410..=422 => Error::Invalid(text),
            401 => Error::Unauthorized(text),
            403 => Error::Forbidden(text),
            404 => Error::NotFound(text),
            409 => Error::Conflict(text),
            429 => Error::Throttled { message: text, retry_after: answer::retry_after(&self.headers) },
            501 => Error::Unsupported(text),
            408 | 500..=599 => Error::Transient(text),
            _ => Error::Failed(text),
        })
    }

    /// The whole body.
    ///
    /// # Errors
    /// [`Error::Failed`] for more than the limit, [`Error::Transient`] where it breaks off.
    pub fn bytes(mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).map_err(|error| from_io(&error).context(&self.what))?;
        Ok(bytes)
    }

    /// The whole body as text.
    ///
    /// # Errors
    /// As [`Response::bytes`]; [`Error::Failed`] where it is not UTF-8.
    pub fn text(self) -> Result<String> {
        Ok(String::from_utf8(self.bytes()?)?)
    }

    /// The whole body as JSON.
    ///
    /// # Errors
    /// As [`Response::bytes`]; [`Error::Failed`] where it is something else.
    pub fn json<T: DeserializeOwned>(self) -> Result<T> {
        let what = self.what.clone();
        serde_json::from_slice(&self.bytes()?).map_err(|error| Error::from(error).context(&what))
    }
}

/// Reads the body as it arrives. Beyond the limit reading fails rather than ends, so that nobody takes a part for the whole.
impl Read for Response {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left.saturating_add(1)).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.body.read(buffer.get_mut(..room).unwrap_or_default())?;
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the body is larger than allowed")),
        }
        Ok(read)
    }
}

/// The class of an error while reading a body.
fn from_io(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::FileTooLarge | io::ErrorKind::OutOfMemory => Error::Failed(error.to_string()),
        _ => Error::Transient(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
