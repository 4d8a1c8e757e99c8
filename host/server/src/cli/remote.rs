//! A client of a running server's own API.

use super::Data;
use clap::Args;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use ostler_egress::{AddressPolicy, Allow, Client, ClientConfig, Origin, Timeouts, empty, full};
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// Bytes of the largest answer.
const LARGEST: u64 = 16 << 20;

#[derive(Args)]
pub(super) struct Remote {
    /// The server.
    #[arg(long, value_name = "URL", env = "OSTLER_SERVER", default_value = "http://127.0.0.1:5050", global = true)]
    server: Url,
    /// A token. Without one, the token in the data directory of a server on this machine is used.
    #[arg(long, env = "OSTLER_TOKEN", hide_env_values = true, global = true)]
    token: Option<String>,
    /// A certificate authority to trust besides the system's, in PEM.
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

impl Remote {
    /// One request; the answer's JSON, or what the server says went wrong.
    pub(super) fn call<T: DeserializeOwned>(&self, method: Method, path: &str, upload: Option<Upload>) -> Result<T, String> {
        let bytes = self.bytes(method, path, upload)?;
        serde_json::from_slice(&bytes).map_err(|error| format!("{} did not answer in the expected form: {error}", self.server))
    }

    pub(super) fn bytes(&self, method: Method, path: &str, upload: Option<Upload>) -> Result<Vec<u8>, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        runtime.block_on(self.send(method, path, upload))
    }

    async fn send(&self, method: Method, path: &str, upload: Option<Upload>) -> Result<Vec<u8>, String> {
        let origin: Origin = self.server.origin().ascii_serialization().parse().map_err(|error| format!("--server: {error}"))?;
        let ca_pem = self.cacert.as_ref().map(std::fs::read).transpose().map_err(|error| format!("--cacert: {error}"))?;
        let config = ClientConfig {
            allow: Allow::Origins(vec![origin]),
            addresses: AddressPolicy { loopback: true, private: true, link_local: true },
            ca_pem,
            timeouts: Timeouts { first_byte: Duration::from_secs(120), ..Timeouts::default() },
            max_request_bytes: None,
            max_response_bytes: Some(LARGEST),
            ..ClientConfig::default()
        };
        let client = Client::new("cli", &config).map_err(|error| error.to_string())?;
        let url = self.server.join(path).map_err(|error| error.to_string())?;
        let mut headers = HeaderMap::new();
        let token =
            HeaderValue::try_from(format!("Bearer {}", self.token()?)).map_err(|_| "the token is malformed".to_owned())?;
        headers.insert(AUTHORIZATION, token);
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
        *request.uri_mut() = url.as_str().parse().map_err(|_| format!("{url} is not a usable address"))?;
        *request.headers_mut() = headers;
        let response = client.send(request).await.map_err(|error| format!("{}: {error}", self.server))?;
        let status = response.status();
        let bytes = response.into_body().bytes(LARGEST).await.map_err(|error| error.to_string())?;
        if status.is_success() {
            return Ok(bytes.to_vec());
        }
        let problem: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        Err(match (problem["title"].as_str(), problem["detail"].as_str()) {
            (Some(title), Some(detail)) if title != detail => format!("{title}: {detail}"),
            (_, Some(detail)) => detail.to_owned(),
            _ => format!("{} answered {status}", self.server),
        })
    }

    /// The token to show.
    fn token(&self) -> Result<String, String> {
        if let Some(token) = &self.token {
            return Ok(token.clone());
        }
        let path = self.data.directory.join(super::serve::OPERATOR_TOKEN);
        let local = match self.server.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            None => false,
        };
        if !local {
            return Err("name a token with --token or OSTLER_TOKEN: the server is not on this machine".into());
        }
        let read = std::fs::read_to_string(&path);
        let hint = "name the server's data directory with --data, or a token with --token";
        read.map(|token| token.trim().to_owned()).map_err(|error| format!("{}: {error}; {hint}", path.display()))
    }
}
