//! Requests to one registry.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Uri};
use ostler_egress::{Allow, Client, ClientConfig, RequestBody, empty, full};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};

use crate::config::{Base, Config, base};
use crate::error::{ConfigError, Error, Problem, Registry};

/// The longest identifier, in bytes.
const LONGEST_ID: usize = 512;

/// What a path segment does not show as it is (RFC 3986, section 2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The way to one registry.
pub(crate) struct Remote {
    registry: Registry,
    base: String,
    client: Client,
    deadline: Duration,
    max_bytes: u64,
}

impl Remote {
    /// `None` if the registry has no base URL.
    pub(crate) fn new(registry: Registry, config: &Config) -> Result<Option<Self>, ConfigError> {
        let Some(url) = config.url(registry) else { return Ok(None) };
        let base = base(registry, url)?;
        let client =
            Client::new(registry.as_str(), &settings(&base, config)).map_err(|error| ConfigError::Client { registry, error })?;
        let (deadline, max_bytes) = (config.deadline, config.max_answer_bytes);
        Ok(Some(Self { registry, base: base.text, client, deadline, max_bytes }))
    }

    /// Without a slash at the end.
    pub(crate) fn url(&self) -> &str {
        &self.base
    }

    pub(crate) fn error(&self, problem: Problem) -> Error {
        Error { registry: self.registry, problem }
    }

    /// The body of the answer to a `GET`.
    pub(crate) async fn get(&self, path: &str, token: Option<&SecretString>) -> Result<Bytes, Error> {
        self.send(Method::GET, path, token, None).await
    }

    /// The body of the answer to a `POST` of JSON.
    pub(crate) async fn post(&self, path: &str, body: String) -> Result<Bytes, Error> {
        self.send(Method::POST, path, None, Some(body)).await
    }

    async fn send(&self, method: Method, path: &str, token: Option<&SecretString>, body: Option<String>) -> Result<Bytes, Error> {
        let exchange = self.exchange(method, path, token, body);
        let result = match tokio::time::timeout(self.deadline, exchange).await {
            Ok(result) => result,
            Err(_) => Err(Problem::Late(self.deadline.as_millis())),
        };
        result.map_err(|problem| {
            let error = self.error(problem);
            tracing::debug!(%error, "a registry did not answer");
            error
        })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        token: Option<&SecretString>,
        body: Option<String>,
    ) -> Result<Bytes, Problem> {
        let uri: Uri = format!("{}{path}", self.base).parse().map_err(|_| Problem::Unaskable("its URL would be malformed"))?;
        let mut request: Request<RequestBody> = Request::new(empty());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(ACCEPT, json.clone());
        if let Some(token) = token {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()))
                .map_err(|_| Problem::Unaskable("the token has characters that no token has"))?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        if let Some(body) = body {
            request.headers_mut().insert(CONTENT_TYPE, json);
            *request.body_mut() = full(body);
        }
        let (head, body) = self.client.send(request).await.map_err(failure)?.into_parts();
        if !head.status.is_success() {
            return Err(Problem::Refused(head.status.as_u16()));
        }
        body.bytes(self.max_bytes).await.map_err(failure)
    }
}

/// What the client of one registry may do: reach its origin alone, and loopback only if that is what the base URL names.
fn settings(base: &Base, config: &Config) -> ClientConfig {
    let mut settings = config.client.clone();
    settings.allow = Allow::Origins(vec![base.origin.clone()]);
    settings.addresses.loopback |= base.loopback;
    let own = config.max_answer_bytes;
    settings.max_response_bytes = Some(settings.max_response_bytes.map_or(own, |limit| limit.min(own)));
    settings
}

fn failure(error: ostler_egress::Error) -> Problem {
    match error {
        ostler_egress::Error::TooLarge { what: ostler_egress::Part::ResponseBody, limit } => Problem::TooLarge(limit),
        error => Problem::Unreachable(error),
    }
}

/// An identifier as one segment of a path.
pub(crate) fn segment(id: &str) -> Result<String, Problem> {
    if id.is_empty() || matches!(id, "." | "..") {
        return Err(Problem::Unaskable("an identifier is empty, or a step in a path"));
    }
    if id.len() > LONGEST_ID {
        return Err(Problem::Unaskable("an identifier is longer than 512 bytes"));
    }
    if id.chars().any(char::is_control) {
        return Err(Problem::Unaskable("an identifier has control characters"));
    }
    Ok(utf8_percent_encode(id, SEGMENT).to_string())
}

/// The name of a group or organisation: its slashes separate segments, and one at its start makes no difference.
pub(crate) fn segments(name: &str) -> Result<String, Problem> {
    let segments: Result<Vec<_>, _> = name.strip_prefix('/').unwrap_or(name).split('/').map(segment).collect();
    Ok(segments?.join("/"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn paths_cannot_be_left() {
        let long = "a".repeat(LONGEST_ID + 1);
        let cases = [
            ("provider-RECAS-BARI", Some("provider-RECAS-BARI"), Some("provider-RECAS-BARI")),
            ("a b?c#d%e", Some("a%20b%3Fc%23d%25e"), Some("a%20b%3Fc%23d%25e")),
            ("größe", Some("gr%C3%B6%C3%9Fe"), Some("gr%C3%B6%C3%9Fe")),
            ("kube/users", Some("kube%2Fusers"), Some("kube/users")),
            ("/kube/users", Some("%2Fkube%2Fusers"), Some("kube/users")),
            ("a@b:c", Some("a%40b%3Ac"), Some("a%40b%3Ac")),
            ("a/../b", Some("a%2F..%2Fb"), None),
            ("a//b", Some("a%2F%2Fb"), None),
            ("a/", Some("a%2F"), None),
            ("..", None, None),
            (".", None, None),
            ("", None, None),
            ("/", Some("%2F"), None),
            ("a\r\nHost: b", None, None),
            ("a\0", None, None),
            (&long, None, None),
        ];
        for (id, one, several) in cases {
            assert_eq!(segment(id).ok().as_deref(), one, "{id}");
            assert_eq!(segments(id).ok().as_deref(), several, "{id}");
        }
    }

    #[test]
    fn a_client_reaches_its_own_origin_alone() {
        let cases = [
            ("https://cmdb.example/cmdb", "https://cmdb.example", false),
            ("https://10.0.0.1:8443/", "https://10.0.0.1:8443", false),
            ("http://cmdb.localhost:81/", "http://cmdb.localhost:81", false),
            ("http://localhost:81/", "http://localhost:81", true),
            ("http://127.0.0.1:81/", "http://127.0.0.1:81", true),
        ];
        for (url, origin, loopback) in cases {
            let config = Config { max_answer_bytes: 1234, ..Config::default() };
            let settings = settings(&base(Registry::Cmdb, &url.parse().unwrap()).unwrap(), &config);
            assert_eq!(settings.allow, Allow::Origins(vec![origin.parse().unwrap()]), "{url}");
            assert_eq!(settings.addresses.loopback, loopback, "{url}");
            assert_eq!(settings.max_response_bytes, Some(1234));
        }
    }
}
