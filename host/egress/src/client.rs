//! The client.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::client::legacy::{Client as Pool, Error as PoolError};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::body::{BoxError, Outgoing, Progress, RequestBody, ResponseBody, empty, full};
use crate::config::{Allow, ClientConfig, ConfigError, Timeouts};
use crate::connect::{CONNECT_TIMEOUT, Connector, OnRuntime, Resolve, SystemResolver};
use crate::error::{Error, Part, Wait};
use crate::meter::Meter;
use crate::origin::Destination;

/// The largest body of a response that [`Client::json`] reads, in bytes.
const JSON_LIMIT: u64 = 16 << 20;

/// Fields that concern one connection only (RFC 9110, section 7.6.1, and RFC 2616, section 13.5.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// An HTTP client with an allow-list, an address policy and limits. Clones share everything.
///
/// HTTP/1.1, and HTTP/2 where TLS negotiates it. Connections are reused and live on the runtime in which the client was made;
/// requests may be sent, and bodies read, from anywhere.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    pool: Pool<Connector, Outgoing>,
    slots: Arc<Semaphore>,
    runtime: OnRuntime,
    meter: Arc<Meter>,
    allow: Allow,
    timeouts: Timeouts,
    max_request_bytes: Option<u64>,
    max_response_bytes: Option<u64>,
    max_header_bytes: u64,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("name", &self.inner.name).finish_non_exhaustive()
    }
}

impl Client {
    /// A client that resolves names as the system does. `name` labels its metrics (`ostler_egress_…{client="name"}`), whose
    /// recorder must be installed before.
    ///
    /// # Errors
    /// [`ConfigError`]; among them [`ConfigError::NoRuntime`] outside a Tokio runtime.
    pub fn new(name: &str, config: &ClientConfig) -> Result<Self, ConfigError> {
        Self::with_resolver(name, config, Arc::new(SystemResolver))
    }

    /// A client with a resolver of its own. What the resolver answers passes the address policy all the same.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn with_resolver(name: &str, config: &ClientConfig, resolver: Arc<dyn Resolve>) -> Result<Self, ConfigError> {
        if config.max_connections == 0 {
            return Err(ConfigError::Range("max_connections is at least 1"));
        }
        let handle = Handle::try_current().map_err(|_| ConfigError::NoRuntime)?;
        let meter = Arc::new(Meter::new(name));
        let connector = Connector::new(config, resolver, handle.clone(), Arc::clone(&meter))?;
        let runtime = OnRuntime(handle);
        let pool = Pool::builder(runtime.clone())
            .timer(runtime.clone())
            .pool_timer(runtime.clone())
            .pool_idle_timeout(config.idle_timeout)
            .pool_max_idle_per_host(config.max_connections)
            // The library's lower bound; the exact limit is applied to the parsed head.
            .http1_max_buf_size(usize::try_from(config.max_header_bytes).unwrap_or(usize::MAX).max(8192))
            .http2_max_header_list_size(config.max_header_bytes)
            // Notices a dead connection while exchanges wait on it.
            .http2_keep_alive_interval(Some(std::time::Duration::from_secs(20)))
            .http2_keep_alive_timeout(std::time::Duration::from_secs(10))
            .build(connector);
        Ok(Self {
            inner: Arc::new(Inner {
                name: name.to_owned(),
                pool,
                slots: Arc::new(Semaphore::new(config.max_connections.min(Semaphore::MAX_PERMITS))),
                runtime,
                meter,
                allow: config.allow.clone(),
                timeouts: config.timeouts,
                max_request_bytes: config.max_request_bytes,
                max_response_bytes: config.max_response_bytes,
                max_header_bytes: config.max_header_bytes.into(),
            }),
        })
    }

    /// The name given at the start.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Sends a request with the client's own timeouts. See [`Client::send_with`].
    ///
    /// # Errors
    /// As [`Client::send_with`].
    pub async fn send<B>(&self, request: Request<B>) -> Result<Response<ResponseBody>, Error>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.send_with(request, self.inner.timeouts).await
    }

    /// Sends a request and gives the response as soon as its head has arrived, whatever its status; redirects are not followed.
    ///
    /// The URI is absolute. Fields that concern the connection are removed from request and response, `Host` is set from the
    /// URI, extensions are discarded. `timeouts` can shorten the client's, not extend them.
    ///
    /// Over HTTP/1.1 the body of a `GET` or `HEAD` is sent only if its length is known (from [`Body::size_hint`] or a
    /// `Content-Length` field), since such requests are not sent in chunks.
    ///
    /// # Errors
    /// [`Error`]; nothing was sent if it is `Denied`, `Address`, `Resolve`, `Connect`, a `Timeout` before the connection was
    /// made, or `BadRequest` about anything but the body.
    pub async fn send_with<B>(&self, request: Request<B>, timeouts: Timeouts) -> Result<Response<ResponseBody>, Error>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        self.inner.exchange(request, timeouts.at_most(self.inner.timeouts)).await
    }

    /// A call of a service that speaks JSON: sends `body`, if any, and gives status and body of the response, whatever the
    /// status. `Content-Type` and `Accept` are `application/json` unless `headers` says otherwise. Responses of more than
    /// 16 MiB are refused.
    ///
    /// # Errors
    /// As [`Client::send_with`], and whatever ends the response body early.
    pub async fn json(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Option<&serde_json::Value>,
    ) -> Result<(StatusCode, Vec<u8>), Error> {
        let uri: Uri = url.parse().map_err(|_| Error::bad_request("the URI is malformed"))?;
        let mut request = Request::new(body.map_or_else(empty, |value| full(value.to_string())));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        let json = HeaderValue::from_static("application/json");
        if body.is_some() {
            request.headers_mut().entry(CONTENT_TYPE).or_insert_with(|| json.clone());
        }
        request.headers_mut().entry(ACCEPT).or_insert(json);
        let (head, body) = self.send(request).await?.into_parts();
        Ok((head.status, body.bytes(JSON_LIMIT).await?.into()))
    }
}

impl Inner {
    async fn exchange(&self, request: Request<RequestBody>, timeouts: Timeouts) -> Result<Response<ResponseBody>, Error> {
        let mut ticket = self.meter.start();
        let (result, origin) = match self.prepare(request) {
            Ok((request, to)) => {
                let origin = to.to_string();
                (self.transfer(request, &origin, timeouts).await, origin)
            }
            Err(error) => (Err(error), String::new()),
        };
        match result {
            Ok((response, slot)) => {
                ticket.responded(response.status());
                let limit = self.max_response_bytes;
                Ok(response.map(|incoming| {
                    ResponseBody::new(incoming, origin, limit, timeouts.between_bytes, &self.runtime, ticket, slot)
                }))
            }
            Err(error) => {
                tracing::debug!(client = self.name, %error, "outgoing request failed");
                ticket.failed(&error);
                Err(error)
            }
        }
    }

    /// Checks and normalises a request.
    fn prepare(&self, request: Request<RequestBody>) -> Result<(Request<RequestBody>, Destination), Error> {
        let (mut head, body) = request.into_parts();
        let to = Destination::from_uri(&head.uri).map_err(Error::bad_request)?;
        if !self.allow.covers(&to) {
            return Err(Error::Denied { origin: to.to_string() });
        }
        if head.method == Method::CONNECT {
            return Err(Error::bad_request("CONNECT asks for a tunnel"));
        }
        strip_hop_by_hop(&mut head.headers);
        head.headers.remove(HOST);
        self.check_headers(&head.headers, Part::RequestHeaders)?;
        let announced = announced_length(&head.headers, &body)?;
        if let Some(limit) = self.max_request_bytes
            && announced > limit
        {
            return Err(Error::TooLarge { what: Part::RequestBody, limit });
        }
        head.uri = Uri::builder()
            .scheme(to.scheme.as_str())
            .authority(to.authority())
            .path_and_query(head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")))
            .build()
            .map_err(|_| Error::bad_request("the URI is malformed"))?;
        head.version = Version::HTTP_11;
        head.extensions.clear();
        Ok((Request::from_parts(head, body), to))
    }

    /// From the wait for a slot to the response head.
    async fn transfer(
        &self,
        request: Request<RequestBody>,
        origin: &str,
        timeouts: Timeouts,
    ) -> Result<(Response<Incoming>, OwnedSemaphorePermit), Error> {
        let slot = tokio::select! {
            biased;
            slot = Arc::clone(&self.slots).acquire_owned() => slot.map_err(|_| Error::bad_request("the client is closed"))?,
            () = self.runtime.sleep_for(timeouts.connect) => return Err(Error::Timeout { what: Wait::Slot }),
        };
        let progress = Arc::new(Progress::default());
        let mut request = request.map(|body| Outgoing::new(body, self.max_request_bytes, Arc::clone(&progress)));
        let connection = capture_connection(&mut request);
        let response = CONNECT_TIMEOUT.scope(timeouts.connect, self.pool.request(request));
        let result = tokio::select! {
            biased;
            result = response => result,
            () = self.silence(connection, &progress, timeouts) => {
                return Err(Error::Timeout { what: Wait::FirstByte });
            }
        };
        let mut response = result.map_err(|error| self.read_error(&error, &progress, origin))?;
        response.extensions_mut().clear();
        strip_hop_by_hop(response.headers_mut());
        self.check_headers(response.headers(), Part::ResponseHeaders)?;
        match self.max_response_bytes {
            Some(limit) if response.body().size_hint().lower() > limit => {
                Err(Error::TooLarge { what: Part::ResponseBody, limit })
            }
            _ => Ok((response, slot)),
        }
    }

    /// Resolves when the exchange has had a connection and made no progress for the first-byte timeout.
    async fn silence(&self, mut connection: CaptureConnection, progress: &Progress, timeouts: Timeouts) {
        drop(connection.wait_for_connection_metadata().await);
        loop {
            let timer = pin!(self.runtime.sleep_for(timeouts.first_byte));
            tokio::select! {
                biased;
                () = progress.moved.notified() => {}
                () = timer => return,
            }
        }
    }

    fn read_error(&self, error: &PoolError, progress: &Progress, origin: &str) -> Error {
        match progress.failure.get() {
            Some(own) => own.clone(),
            None => Error::from_exchange(error, origin, Some(self.max_header_bytes)),
        }
    }

    fn check_headers(&self, headers: &HeaderMap, what: Part) -> Result<(), Error> {
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        if bytes as u64 > self.max_header_bytes {
            return Err(Error::TooLarge { what, limit: self.max_header_bytes });
        }
        Ok(())
    }
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // What frames or routes the message is no option of the connection.
        .filter(|name| *name != CONTENT_LENGTH && *name != HOST)
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

/// The length of the body as far as it is known beforehand. A `Content-Length` that is malformed, repeated or at odds with the
/// body would let the peer see another request than was checked.
fn announced_length(headers: &HeaderMap, body: &RequestBody) -> Result<u64, Error> {
    let hint = body.size_hint();
    let mut fields = headers.get_all(CONTENT_LENGTH).iter();
    let Some(field) = fields.next() else {
        return Ok(hint.lower());
    };
    let length = field
        .to_str()
        .ok()
        .filter(|text| fields.next().is_none() && text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse::<u64>().ok())
        .ok_or_else(|| Error::bad_request("Content-Length is malformed"))?;
    match hint.exact() {
        Some(exact) if exact != length => Err(Error::bad_request("Content-Length is not the length of the body")),
        _ => Ok(length),
    }
}
