//! Requests to the far side, and refusals turned into the contract's errors.

use std::time::Duration;

use ostler_driver::{Context, Error, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::config::Settings;
use crate::errors;

/// How long one exchange may last. A call of the driver makes several.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of the largest answer: a list of 20 000 instances has about 3 MB.
const LIMIT: u64 = 8 << 20;
/// The headers of an answer that the driver reads.
const HEADERS: [&str; 2] = ["retry-after", "location"];
/// Everything but what RFC 3986 leaves unreserved.
const ENCODE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A request as it goes out. No `Debug`: it carries credentials.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) url: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// JSON.
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) timeout: Duration,
    pub(crate) limit: u64,
}

/// An answer, whatever its status.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// How requests leave.
pub(crate) trait Transport: 'static {
    /// Sends one request.
    fn send(ctx: &Context, request: &Request) -> Result<Answer>;
}

/// By `wasi:http`.
pub(crate) struct Outgoing;

impl Transport for Outgoing {
    fn send(ctx: &Context, request: &Request) -> Result<Answer> {
        let mut out = ctx.http().request(request.method, &request.url).timeout(request.timeout).limit(request.limit);
        for (name, value) in &request.headers {
            out = out.header(name, value);
        }
        if let Some(body) = &request.body {
            out = out.body("application/json", body.clone());
        }
        let response = out.send()?;
        let headers = HEADERS.iter().filter_map(|name| Some(((*name).to_owned(), response.header(name)?.to_owned()))).collect();
        Ok(Answer { status: response.status(), headers, body: response.bytes()? })
    }
}

/// The way to the far side.
pub(crate) struct Api {
    pub(crate) ctx: Context,
    pub(crate) settings: Settings,
    pub(crate) send: fn(&Context, &Request) -> Result<Answer>,
}

impl Api {
    /// A request; `path` begins with a slash and follows the base address.
    pub(crate) fn call(&self, method: &'static str, path: impl Into<String>) -> Call<'_> {
        Call { api: self, method, path: path.into(), query: String::new(), key: None, body: None }
    }

    pub(crate) fn get(&self, path: impl Into<String>) -> Call<'_> {
        self.call("GET", path)
    }

    pub(crate) fn post(&self, path: impl Into<String>, body: &Value) -> Call<'_> {
        self.call("POST", path).json_body(body)
    }

    pub(crate) fn delete(&self, path: impl Into<String>) -> Call<'_> {
        self.call("DELETE", path)
    }

    /// A key of the cache, of which values do not outlive the settings.
    pub(crate) fn cache_key(&self, what: &str) -> String {
        format!("{what}/{}", self.settings.fingerprint)
    }

    /// An error of the far side that no answer told.
    pub(crate) fn failed(&self, text: &str) -> Error {
        Error::Failed(format!("at {}: {text}", self.settings.host))
    }
}

/// A request, being put together.
#[must_use = "nothing happens before it is sent"]
#[derive(Clone)]
pub(crate) struct Call<'a> {
    api: &'a Api,
    method: &'static str,
    path: String,
    query: String,
    key: Option<String>,
    body: Option<Vec<u8>>,
}

impl Call<'_> {
    pub(crate) fn query(mut self, key: &str, value: &str) -> Self {
        self.query.push(if self.query.is_empty() { '?' } else { '&' });
        self.query.push_str(&encode(key));
        self.query.push('=');
        self.query.push_str(&encode(value));
        self
    }

    pub(crate) fn json_body(mut self, body: &Value) -> Self {
        self.body = Some(body.to_string().into_bytes());
        self
    }

    /// A second request with this key has no second effect, where the far side knows of such keys.
    pub(crate) fn key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// Sends it and demands success. A 404 that is no fault of the API says nothing about an object: it may come from whatever
    /// stands before the far side.
    pub(crate) fn send(self) -> Result<Answer> {
        let answer = self.exchange()?;
        self.conclude(answer)
    }

    /// As [`Call::send`], for a request about one object: whether a 404 that is no fault means the object is told by `exists`,
    /// which looks for it in the list.
    pub(crate) fn send_about(self, kind: &str, id: &str, exists: impl FnOnce() -> Result<bool>) -> Result<Answer> {
        let answer = self.exchange()?;
        if answer.status == 404 && !errors::is_fault(&answer) && !exists()? {
            return Err(Error::not_found(kind, id).context(&format!("at {}", self.api.settings.host)));
        }
        match self.conclude(answer) {
            // What is no number is no identifier for a strict server.
            Err(Error::Invalid(text)) if self.method == "GET" && !is_number(id) => Err(Error::NotFound(text)),
            result => result,
        }
    }

    /// Sends it and reads the JSON of its answer.
    pub(crate) fn json(self) -> Result<Value> {
        let answer = self.exchange()?;
        let answer = self.conclude(answer)?;
        self.api.read(&answer)
    }

    fn exchange(&self) -> Result<Answer> {
        let settings = &self.api.settings;
        let mut headers = vec![
            ("accept", "application/json".to_owned()),
            ("authorization", settings.authorization.clone()),
            ("user-agent", concat!("ostler-edge/", env!("CARGO_PKG_VERSION")).to_owned()),
        ];
        headers.extend(self.key.clone().map(|key| ("idempotency-key", key)));
        let request = Request {
            method: self.method,
            url: format!("{}{}{}", settings.url, self.path, self.query),
            headers,
            body: self.body.clone(),
            timeout: TIMEOUT,
            limit: LIMIT,
        };
        (self.api.send)(&self.api.ctx, &request).map_err(|error| error.context(&format!("at {}", settings.host)))
    }

    fn conclude(&self, answer: Answer) -> Result<Answer> {
        if answer.is_success() {
            return Ok(answer);
        }
        let error = errors::of(&self.api.settings, &answer);
        let request = format!("{} {}", self.method, self.path);
        self.api.ctx.log().debug(error.message(), &[("request", &request), ("status", &answer.status.to_string())]);
        Err(error)
    }
}

impl Api {
    /// The JSON of an answer.
    pub(crate) fn read(&self, answer: &Answer) -> Result<Value> {
        serde_json::from_slice(&answer.body)
            .map_err(|_| self.failed("the answer is no JSON: is the address that of a Cloud Edge API?"))
    }
}

/// Percent-encoded, for a path or a query.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODE).to_string()
}

/// Whether a text can be an identifier in a path. What cannot be one exists nowhere, and is not sent.
pub(crate) fn is_identifier(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && text.bytes().any(|byte| byte != b'.')
}

/// Whether an identifier is one by the text of the API.
pub(crate) fn is_number(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit())
}

/// [`Error::NotFound`] for what cannot be an identifier.
pub(crate) fn check_id(kind: &str, id: &str) -> Result<()> {
    if is_identifier(id) { Ok(()) } else { Err(Error::not_found(kind, &id.chars().take(64).collect::<String>())) }
}
