//! Around every request: an identifier, a time limit, a log line, metrics, and an answer even if a handler panics.

use axum::body::Body;
use axum::extract::MatchedPath;
use axum::response::Response;
use futures::FutureExt;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tower::Service;
use tracing::Instrument;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Bytes of the longest identifier that is taken over from a client.
const LONGEST: usize = 128;

/// Wraps a router.
#[derive(Clone)]
pub(super) struct Layer {
    timeout: Duration,
    meters: Arc<[OnceLock<Meter>; 5]>,
}

/// Of one class of status (1xx to 5xx): few series, made once.
struct Meter {
    requests: metrics::Counter,
    seconds: metrics::Histogram,
}

impl Layer {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, meters: Arc::default() }
    }
}

impl<S> tower::Layer<S> for Layer {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Observed { inner, layer: self.clone() }
    }
}

/// A wrapped router.
#[derive(Clone)]
pub(super) struct Observed<S> {
    inner: S,
    layer: Layer,
}

impl<S> Service<Request<Body>> for Observed<S>
where
    S: Service<Request<Body>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let started = Instant::now();
        let id = request_id(&request);
        let layer = self.layer.clone();
        // What is logged about a request names its route, not its path: paths may hold what should not be in a log.
        let route = request.extensions().get::<MatchedPath>().cloned();
        let method = request.method().clone();
        let name = id.to_str().unwrap_or_default();
        // A span costs as much as a quick driver's call: reads, which hardly log anything, have theirs when somebody debugs.
        let span =
            if method.is_safe() { tracing::debug_span!("request", id = name) } else { tracing::info_span!("request", id = name) };
        let future = self.inner.call(request);
        Box::pin(async move {
            let guarded = AssertUnwindSafe(future.instrument(span)).catch_unwind();
            let mut response = match tokio::time::timeout(layer.timeout, guarded).await {
                Ok(Ok(Ok(response))) => response,
                Ok(Err(_panic)) => plain(StatusCode::INTERNAL_SERVER_ERROR, "The server failed."),
                Err(_) => plain(StatusCode::GATEWAY_TIMEOUT, "The request took too long."),
            };
            let (status, took) = (response.status(), started.elapsed());
            layer.meter(status, took);
            log(&id, &method, route.as_ref().map_or("-", MatchedPath::as_str), status, took);
            response.headers_mut().insert(REQUEST_ID, id);
            Ok(response)
        })
    }
}

impl Layer {
    fn meter(&self, status: StatusCode, took: Duration) {
        const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
        let index = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        if let (Some(meter), Some(class)) = (self.meters.get(index), CLASSES.get(index)) {
            let meter = meter.get_or_init(|| Meter {
                requests: metrics::counter!("ostler_http_requests_total", "status" => *class),
                seconds: metrics::histogram!("ostler_http_request_seconds", "status" => *class),
            });
            meter.requests.increment(1);
            meter.seconds.record(took.as_secs_f64());
        }
    }
}

/// Reads that went well are for those who debug; everything else is for the operator.
fn log(id: &HeaderValue, method: &Method, route: &str, status: StatusCode, took: Duration) {
    let (id, status_code, ms) = (id.to_str().unwrap_or_default(), status.as_u16(), took.as_secs_f64() * 1e3);
    if status.is_server_error() {
        tracing::warn!(target: "access", id, %method, route, status = status_code, ms, "request");
    } else if method.is_safe() && !status.is_client_error() {
        tracing::debug!(target: "access", id, %method, route, status = status_code, ms, "request");
    } else {
        tracing::info!(target: "access", id, %method, route, status = status_code, ms, "request");
    }
}

/// The client's own identifier if it is a plain one, or a new one.
fn request_id(request: &Request<Body>) -> HeaderValue {
    if let Some(theirs) = request.headers().get(REQUEST_ID) {
        let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if (1..=LONGEST).contains(&theirs.len()) && theirs.as_bytes().iter().all(plain) {
            return theirs.clone();
        }
    }
    static RUN: OnceLock<u32> = OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let run = RUN.get_or_init(rand::random);
    let id = format!("{run:08x}-{:x}", NEXT.fetch_add(1, Ordering::Relaxed));
    HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
