//! A client of a running server's own API.

use super::Data;
use clap::Args;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use ostler_egress::{AddressPolicy, Allow, Client, ClientConfig, Error, Origin, Timeouts, empty, full};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Write;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// Where a server is that says nothing about it.
const DEFAULT: &str = "http://127.0.0.1:5050";
/// Bytes of the largest answer.
const LARGEST: u64 = 16 << 20;

#[derive(Args)]
pub(super) struct Remote {
    /// The server. Without it, the one that runs on the data directory.
    #[arg(long, value_name = "URL", env = "OSTLER_SERVER", global = true)]
    server: Option<Url>,
    /// A token. Without one, the token in the data directory of a server on this machine is used.
    #[arg(long, env = "OSTLER_TOKEN", hide_env_values = true, global = true)]
    token: Option<String>,
    /// A certificate authority to trust besides the system's, in PEM. Without it, that of the data directory is trusted.
    #[arg(long, value_name = "FILE", global = true)]
    cacert: Option<PathBuf>,
    #[command(flatten)]
    data: Data,
}

/// A body and its type.
pub(super) struct Upload {
    pub(super) media_type: &'static str,
    pub(super) bytes: Vec<u8>,
    pub(super) headers: Vec<(&'static str, String)>,
}

impl Upload {
    pub(super) fn json(value: &impl Serialize) -> Result<Self, String> {
        let bytes = serde_json::to_vec(value).map_err(|error| error.to_string())?;
        Ok(Self { media_type: "application/json", bytes, headers: Vec::new() })
    }
}

/// A text as one segment of a path. Dots too, which clients otherwise take for directories.
pub(super) fn segment(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut path, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') {
            path.push(char::from(byte));
        } else {
            let _ = write!(path, "%{byte:02X}");
        }
        path
    })
}

impl Remote {
    /// `GET`; the answer's JSON.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        self.call(Method::GET, path, None)
    }

    /// A request with a JSON body; the answer's JSON.
    pub(super) fn json<T: DeserializeOwned>(&self, method: Method, path: &str, value: &impl Serialize) -> Result<T, String> {
        self.call(method, path, Some(Upload::json(value)?))
    }

    /// One request; the answer's JSON, or what the server says went wrong.
    pub(super) fn call<T: DeserializeOwned>(&self, method: Method, path: &str, upload: Option<Upload>) -> Result<T, String> {
        let bytes = self.bytes(method, path, upload)?;
        serde_json::from_slice(&bytes).map_err(|error| format!("the server did not answer in the expected form: {error}"))
    }

    pub(super) fn bytes(&self, method: Method, path: &str, upload: Option<Upload>) -> Result<Vec<u8>, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        runtime.block_on(self.send(method, path, upload))
    }

    async fn send(&self, method: Method, path: &str, upload: Option<Upload>) -> Result<Vec<u8>, String> {
        let (server, ours) = self.server()?;
        let server = server.origin().ascii_serialization();
        let origin: Origin = server.parse().map_err(|error| format!("--server: {error}"))?;
        let config = ClientConfig {
            allow: Allow::Origins(vec![origin]),
            addresses: AddressPolicy { loopback: true, private: true, link_local: true },
            ca_pem: self.authority()?,
            timeouts: Timeouts { first_byte: Duration::from_secs(120), ..Timeouts::default() },
            max_request_bytes: None,
            max_response_bytes: Some(LARGEST),
            ..ClientConfig::default()
        };
        let client = Client::new("cli", &config).map_err(|error| error.to_string())?;
        let mut headers = HeaderMap::new();
        let token = HeaderValue::try_from(format!("Bearer {}", self.token(&server, ours)?));
        headers.insert(AUTHORIZATION, token.map_err(|_| "the token is malformed".to_owned())?);
        let body = match upload {
            None => empty(),
            Some(upload) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(upload.media_type));
                for (name, value) in upload.headers {
                    let value = HeaderValue::try_from(value).map_err(|error| error.to_string())?;
                    headers.insert(HeaderName::from_static(name), value);
                }
                full(upload.bytes)
            }
        };
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = format!("{server}{path}").parse::<Uri>().map_err(|_| format!("{server} is not a usable address"))?;
        *request.headers_mut() = headers;
        let response = client.send(request).await.map_err(|error| explain(&server, &error))?;
        let status = response.status();
        let bytes = response.into_body().bytes(LARGEST).await.map_err(|error| format!("{server}: {error}"))?;
        if status.is_success() {
            return Ok(bytes.to_vec());
        }
        let problem: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        Err(match (problem["title"].as_str(), problem["detail"].as_str()) {
            (Some(title), Some(detail)) if title != detail => format!("{title}: {detail}"),
            (_, Some(detail)) => detail.to_owned(),
            _ => format!("{server} answered {status}"),
        })
    }

    /// Refuses to send what others on the network must not read.
    pub(super) fn confidential(&self, what: &str) -> Result<(), String> {
        let (server, ours) = self.server()?;
        if ours || server.scheme() == "https" {
            return Ok(());
        }
        Err(format!(
            "{what} are not sent to {server}, since everybody on the way could read them: use https, or the server's machine"
        ))
    }

    /// The server, and whether it is the one that runs on the data directory, or at least on this machine.
    fn server(&self) -> Result<(Url, bool), String> {
        if let Some(server) = &self.server {
            let local = match server.host() {
                Some(url::Host::Domain(name)) => name == "localhost",
                Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
                Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
                None => false,
            };
            return Ok((server.clone(), local));
        }
        let path = self.data.directory.join(super::serve::OPERATOR_URL);
        let written = match std::fs::read_to_string(&path) {
            Ok(written) => written,
            Err(error) if error.kind() == ErrorKind::NotFound => DEFAULT.to_owned(),
            Err(error) => return Err(format!("{}: {error}; name the server with --server", path.display())),
        };
        let server = written.trim().parse::<Url>();
        server.map(|server| (server, true)).map_err(|error| format!("{}: {error}; name the server with --server", path.display()))
    }

    /// What to trust besides the system's authorities.
    fn authority(&self) -> Result<Option<Vec<u8>>, String> {
        match &self.cacert {
            Some(path) => std::fs::read(path).map(Some).map_err(|error| format!("--cacert: {}: {error}", path.display())),
            // That of another host's directory would not be there, and need not be readable.
            None => Ok(std::fs::read(crate::app::authority_directory(&self.data.directory).join("ca_cert.pem")).ok()),
        }
    }

    /// The token to show.
    fn token(&self, server: &str, ours: bool) -> Result<String, String> {
        if let Some(token) = &self.token {
            return Ok(token.clone());
        }
        if !ours {
            return Err(format!("name a token with --token or OSTLER_TOKEN: {server} is not on this machine"));
        }
        let path = self.data.directory.join(super::serve::OPERATOR_TOKEN);
        match std::fs::read_to_string(&path) {
            Ok(token) => Ok(token.trim().to_owned()),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(format!(
                "{} is missing: no server runs on this data directory. Start one with `ostler serve`, name the data directory of \
                 another with --data, or name a token with --token",
                path.display()
            )),
            Err(error) => Err(format!("{}: {error}; name a token with --token, or be who runs the server", path.display())),
        }
    }
}

/// What can be done about it.
fn explain(server: &str, error: &Error) -> String {
    let hint = match error {
        Error::Connect { .. } | Error::Resolve { .. } => {
            "; does the server run? Name its address with --server, or its data directory with --data"
        }
        Error::Tls { certificate: true, .. } => {
            "; name the authority that it can be trusted by with --cacert, or its data directory with --data"
        }
        _ => return format!("{server}: {error}"),
    };
    format!("{error}{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_segments_of_paths() {
        for (name, expected) in
            [("ann", "ann"), ("a b", "a%20b"), ("..", "%2E%2E"), ("a/b?c#d", "a%2Fb%3Fc%23d"), ("é+", "%C3%A9%2B"), ("", "")]
        {
            assert_eq!(segment(name), expected);
        }
    }
}
