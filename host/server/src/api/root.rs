//! What belongs to no dialect: the front page, health, readiness, metrics.

use super::App;
use super::auth::{self, Access, Guarded, Row};
use super::problem;
use axum::Router;
use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode, Uri};
use metrics::{counter, gauge};
use ostler_core::forwarding::Counters;
use ostler_core::identity::Permission;
use std::sync::atomic::Ordering;

const PUBLIC: &[(Method, Access)] = &[(Method::GET, Access::Public)];

/// The routes of this file.
pub(super) const ROWS: &[Row] = &[
    Row { path: "/", methods: PUBLIC },
    Row { path: "/healthz", methods: PUBLIC },
    Row { path: "/readyz", methods: PUBLIC },
    Row { path: "/metrics", methods: &[(Method::GET, Access::Needs(Permission::ReadMetrics))] },
];

const TEXT: &str = "Ostler, a host for cloud drivers.\n\
    ConPaaS Director API: / (by a client certificate)\n\
    Orchestrator API V.1: /api/v1/   with honest status codes: /api/v2/\n\
    PaaS Orchestrator API: /deployments\n\
    Cloud Edge API: /cloudedge   of another cloud: /<cloud>/cloudedge\n\
    Ostler's own API: /ostler/v1/    documentation: /ostler/docs\n";

const PAGE: &str = "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
    <title>Ostler</title><style>body{font:1rem/1.5 system-ui;max-width:40rem;margin:4rem auto;padding:0 1rem}</style>\
    <h1>Ostler</h1><p>A host for cloud drivers.<ul>\
    <li><a href=/available_services>ConPaaS Director API</a> (most of it by a client certificate)\
    <li><a href=/api/v1/nodes>Orchestrator API V.1</a>, and the same <a href=/api/v2/nodes>with honest status codes</a>\
    <li><a href=/deployments>PaaS Orchestrator API</a>\
    <li><a href=/cloudedge/platform/version>Cloud Edge API</a> (user name and password)\
    <li><a href=/ostler/docs/>Ostler's own API</a></ul></html>";

pub(super) fn router(app: &App) -> Router {
    let guarded = Guarded { app: app.clone(), rows: ROWS };
    Router::new()
        .route("/", get(front))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(app.clone())
        .layer(axum::middleware::from_fn_with_state(guarded, auth::guard))
        .fallback(no_page)
}

/// In the words of the dialect that the path belongs to.
async fn no_page(uri: Uri) -> Response {
    super::crs4::no_page(uri.path())
        .unwrap_or_else(|| problem::response(StatusCode::NOT_FOUND, "No such page", "nothing is served under this path"))
}

/// A page for people, a text for programs.
async fn front(headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accept.contains("text/html") { Html(PAGE).into_response() } else { TEXT.into_response() }
}

/// Whether requests should be sent here: everything is loaded and the store answers.
async fn ready(State(app): State<App>) -> Response {
    if !app.ready.load(Ordering::Acquire) {
        return (StatusCode::SERVICE_UNAVAILABLE, "starting or stopping\n").into_response();
    }
    match app.core.store.ping().await {
        Ok(()) => "ready\n".into_response(),
        Err(error) => {
            tracing::error!(%error, "the store does not answer");
            (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n").into_response()
        }
    }
}

async fn metrics(State(app): State<App>) -> Response {
    forwarded(app.core.forwarding.counters());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.metrics.render()).into_response()
}

/// What is counted where it is forwarded is told when somebody asks.
fn forwarded(counters: Counters) {
    let Counters { accepted, refused, active, bytes_to_instances, bytes_from_instances } = counters;
    counter!("ostler_forwarding_connections_total").absolute(accepted);
    counter!("ostler_forwarding_refused_total").absolute(refused);
    // Far below 2^53: each needs descriptors.
    #[allow(clippy::cast_precision_loss)]
    gauge!("ostler_forwarding_connections").set(active as f64);
    counter!("ostler_forwarding_bytes_total", "direction" => "to_instances").absolute(bytes_to_instances);
    counter!("ostler_forwarding_bytes_total", "direction" => "from_instances").absolute(bytes_from_instances);
}
