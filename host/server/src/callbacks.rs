//! Callbacks of deployments on the wire: signed after the Standard Webhooks specification (1.0), sent by way of `egress`.

mod secret;
#[cfg(test)]
mod tests;

pub use secret::{FILE, SecretError, Secrets};

use crate::config::{self, Config, Mode};
use async_trait::async_trait;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use ostler_core::callbacks::{Callbacks, Delivery, Reply, Sender};
use ostler_egress::{AddressPolicy, Allow, Client, ClientConfig, Error, Part, RequestBody, Timeouts, full};
use ostler_store::Store;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;
use url::Url;

/// Until the receiver's status is there.
const LIMIT: Duration = Duration::from_secs(10);
/// What a receiver may say besides: read so that the connection can be used again, and ignored. Bytes, and for how long.
const ANSWER: u64 = 64 << 10;
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const AGENT: &str = concat!("ostler/", env!("CARGO_PKG_VERSION"));

/// Why no callbacks can be sent.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What they are signed with.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// What delivers the callbacks of a store. Makes the secret in the data directory where there is none.
///
/// # Errors
/// [`StartError`].
pub fn worker(config: &Config, data: &Path, store: Store) -> Result<Callbacks, StartError> {
    let secrets = Secrets::open_or_create(data)?;
    let loopback = config.mode == Mode::Development;
    let config = client_config(&config.api.indigo.callbacks, loopback);
    let sender = Signed { client: OnceCell::new(), config, secrets };
    Ok(Callbacks::new(store, Arc::new(sender), crate::api::indigo::notification))
}

/// Whom callbacks may reach.
fn client_config(callbacks: &config::Callbacks, loopback: bool) -> ClientConfig {
    ClientConfig {
        allow: match callbacks.hosts.as_slice() {
            [] => Allow::Any,
            hosts => Allow::Origins(hosts.to_vec()),
        },
        addresses: AddressPolicy { loopback, private: callbacks.allow_private, link_local: false },
        timeouts: Timeouts { connect: LIMIT, first_byte: LIMIT, between_bytes: LIMIT },
        // The status counts, however much follows it.
        max_response_bytes: None,
        ..ClientConfig::default()
    }
}

/// Sends what it has signed.
struct Signed {
    /// Made for the first callback: most hosts send none.
    client: OnceCell<Client>,
    config: ClientConfig,
    secrets: Secrets,
}

#[async_trait]
impl Sender for Signed {
    async fn send(&self, delivery: Delivery) -> Reply {
        let request = match self.request(delivery) {
            Ok(request) => request,
            Err(why) => return Reply::Refused(why.to_owned()),
        };
        let client = match self.client.get_or_try_init(async || Client::new("callbacks", &self.config)).await {
            Ok(client) => client,
            Err(error) => return Reply::Failed(error.to_string()),
        };
        let response = match tokio::time::timeout(LIMIT, client.send(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error @ Error::BadRequest { .. })) => return Reply::Refused(error.to_string()),
            Ok(Err(error @ Error::TooLarge { what: Part::RequestHeaders | Part::RequestBody, .. })) => {
                return Reply::Refused(error.to_string());
            }
            Ok(Err(error)) => return Reply::Failed(error.to_string()),
            Err(_) => return Reply::Failed(format!("no answer within {} s", LIMIT.as_secs())),
        };
        let status = response.status();
        let wait = retry_after(response.headers(), ostler_store::now());
        let _ = tokio::time::timeout(ANSWER_LIMIT, response.into_body().bytes(ANSWER)).await;
        match status {
            status if status.is_success() => Reply::Taken,
            StatusCode::GONE => Reply::Refused("the receiver says that it is gone (410)".to_owned()),
            status if status.is_redirection() => {
                Reply::Failed(format!("the receiver answered {}; redirects are not followed", status.as_u16()))
            }
            status => {
                let why = format!("the receiver answered {}", status.as_u16());
                wait.map_or_else(|| Reply::Failed(why.clone()), |wait| Reply::Later(why.clone(), wait))
            }
        }
    }
}

/// How long the receiver wants to be left alone (RFC 9110, section 10.2.3), at a time in microseconds UTC.
fn retry_after(headers: &HeaderMap, now: i64) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_microsecond();
    Some(Duration::from_micros(u64::try_from(at.saturating_sub(now)).unwrap_or_default()))
}

impl Signed {
    /// The request of a delivery; or what is wrong with its address, without repeating it.
    fn request(&self, delivery: Delivery) -> Result<Request<RequestBody>, &'static str> {
        const WRONG: &str = "the address is malformed";
        let mut url = Url::parse(&delivery.url).map_err(|_| WRONG)?;
        url.set_fragment(None);
        let signature = self.secrets.signature(&delivery.id, delivery.timestamp, &delivery.body);
        let value = |text: &str| HeaderValue::from_str(text).map_err(|_| "the signature cannot be written");
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(ID, value(&delivery.id)?);
        headers.insert(TIMESTAMP, HeaderValue::from(delivery.timestamp));
        headers.insert(SIGNATURE, value(&signature)?);
        let mut request = Request::new(full(delivery.body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = url.as_str().parse().map_err(|_| WRONG)?;
        *request.headers_mut() = headers;
        Ok(request)
    }
}
