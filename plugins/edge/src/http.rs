//! Requests to the far side, and refusals turned into the contract's errors.

use std::time::Duration;

use ostler_driver::http::{Answer, Request};
use ostler_driver::{Context, Error, Result};
use serde_json::Value;

use crate::config::Settings;
use crate::errors;

/// How long one exchange may last. A call of the driver makes several.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of the largest answer: a list of 20 000 instances has about 3 MB.
const LIMIT: u64 = 8 << 20;

/// The way to the far side.
pub(crate) struct Api {
    pub(crate) ctx: Context,
    pub(crate) settings: Settings,
}

impl Api {
    /// A request; `path` begins with a slash and follows the base address.
    pub(crate) fn call(&self, method: &'static str, path: impl Into<String>) -> Call<'_> {
        let path = path.into();
        let request = self
            .ctx
            .http()
            .request(method, format!("{}{path}", self.settings.url))
            .timeout(TIMEOUT)
            .limit(LIMIT)
            .header("accept", "application/json")
            .header("authorization", self.settings.authorization.as_str())
            .header("user-agent", concat!("ostler-edge/", env!("CARGO_PKG_VERSION")));
        Call { api: self, method, path, request }
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
    request: Request<'a>,
}

impl Call<'_> {
    pub(crate) fn query(self, key: &str, value: &str) -> Self {
        Self { request: self.request.query(key, value), ..self }
    }

    pub(crate) fn json_body(self, body: &Value) -> Self {
        Self { request: self.request.body("application/json", body.to_string()), ..self }
    }

    /// A second request with this key has no second effect, where the far side knows of such keys.
    pub(crate) fn key(self, key: &str) -> Self {
        Self { request: self.request.header("idempotency-key", key), ..self }
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
        self.request.clone().answer().map_err(|error| error.context(&format!("at {}", self.api.settings.host)))
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

/// Whether an identifier is one by the text of the API.
pub(crate) fn is_number(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit())
}
