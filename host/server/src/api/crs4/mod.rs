//! The Orchestrator API V.1 of CRS4, and the same with honest status codes as version 2.
//!
//! Every route stands in [`ROWS`], with what it asks of its caller: the router is made from that table.

mod actions;
mod errors;
mod input;
mod schema;
#[cfg(test)]
mod tests;
mod wire;

use super::App;
use super::auth::{self, Access, Row};
use crate::listen::PeerInfo;
use axum::Router;
use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{ConnectInfo, RawPathParams, Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::any;
use errors::{Context, Fault, json_response};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use input::Input;
use ostler_core::Error;
use ostler_core::identity::{Permission, Principal};

/// Which of the two forms answers take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// Byte for byte the original's.
    V1,
    /// The same data, honest status codes, RFC 9457 problems.
    V2,
}

/// What a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Index,
    Auth,
    Start,
    Stop,
    Action,
    VmStatus,
    Test,
    Firewall,
    Status,
    Node,
}

const READ: Access = Access::Needs(Permission::ReadCompute);
const CHANGE: Access = Access::Needs(Permission::ChangeCompute);
const PROVE: Access = Access::Always(Permission::ReadCompute);

const INDEX: &[(Method, Access)] = &[(Method::GET, Access::Public), (Method::POST, Access::Public)];
const AUTH: &[(Method, Access)] = &[(Method::GET, Access::Public), (Method::POST, Access::Public)];
const START: &[(Method, Access)] = &[(Method::GET, Access::Public), (Method::POST, CHANGE)];
const CHANGED: &[(Method, Access)] = &[(Method::GET, Access::Public), (Method::PUT, CHANGE)];
const TEST: &[(Method, Access)] = &[(Method::GET, Access::Public), (Method::PUT, PROVE)];
const STATUS: &[(Method, Access)] = &[(Method::GET, READ)];
const NOTHING: &[(Method, Access)] = &[];

/// The routes below `/api/v1`, each with what its methods ask for.
const ROWS: &[(Row, Endpoint)] = &[
    (Row { path: "/", methods: INDEX }, Endpoint::Index),
    (Row { path: "/auth", methods: AUTH }, Endpoint::Auth),
    (Row { path: "/vm/start", methods: START }, Endpoint::Start),
    (Row { path: "/vm/start/{cloud}", methods: START }, Endpoint::Start),
    (Row { path: "/vm/stop", methods: CHANGED }, Endpoint::Stop),
    (Row { path: "/vm/stop/{cloud}", methods: CHANGED }, Endpoint::Stop),
    (Row { path: "/vm/action/{action}", methods: CHANGED }, Endpoint::Action),
    (Row { path: "/vm/action/{action}/{cloud}", methods: CHANGED }, Endpoint::Action),
    (Row { path: "/vm/status", methods: STATUS }, Endpoint::VmStatus),
    (Row { path: "/vm/status/{cloud}", methods: STATUS }, Endpoint::VmStatus),
    (Row { path: "/test/start", methods: TEST }, Endpoint::Test),
    (Row { path: "/test/{id}/kill", methods: TEST }, Endpoint::Test),
    (Row { path: "/fw/open", methods: NOTHING }, Endpoint::Firewall),
    (Row { path: "/fw/close", methods: NOTHING }, Endpoint::Firewall),
    (Row { path: "/{action}", methods: STATUS }, Endpoint::Status),
    (Row { path: "/{action}/{cloud}", methods: STATUS }, Endpoint::Status),
];

/// What version 2 has besides.
const MORE: &[(Row, Endpoint)] = &[(Row { path: "/nodes/{cloud}/{node}", methods: STATUS }, Endpoint::Node)];

/// What each handler of this room is told by the router.
#[derive(Clone)]
struct Here {
    app: App,
    version: Version,
    row: &'static Row,
    endpoint: Endpoint,
}

/// The routes of both versions.
pub fn router(app: &App) -> Router {
    let mut router = Router::new();
    for (version, base) in [(Version::V1, "/api/v1"), (Version::V2, "/api/v2")] {
        let more = if version == Version::V2 { MORE } else { &[] };
        for (row, endpoint) in ROWS.iter().chain(more) {
            let here = Here { app: app.clone(), version, row, endpoint: *endpoint };
            router = router.route(&format!("{base}{}", row.path), any(handle).with_state(here));
        }
        let slash = format!("{base}/");
        router = router.route(base, any(move || async move { moved(&slash) }));
    }
    router
}

/// The answer to a path of this dialect that no route has, if it is one.
pub fn no_page(path: &str) -> Option<Response> {
    let below = |base: &str| path.match_indices(base).any(|(at, _)| path[at + base.len()..].starts_with('/'));
    let version = if below("/api/v1") {
        Version::V1
    } else if below("/api/v2") {
        Version::V2
    } else {
        return None;
    };
    Some(Fault::NoPage.answer(version))
}

/// As the original's framework redirected to the path with a slash.
fn moved(to: &str) -> Response {
    let mut response = Redirect::permanent(to).into_response();
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    response
}

async fn handle(
    State(here): State<Here>,
    path: Result<RawPathParams, RawPathParamsRejection>,
    ConnectInfo(peer): ConnectInfo<PeerInfo>,
    request: Request,
) -> Response {
    // Escapes that are no text name nothing.
    let Ok(path) = path else { return Fault::NoPage.answer(here.version) };
    match answer(&here, &path, &peer, request).await {
        Ok(response) => response,
        Err(fault) => {
            if let Fault::Core(error, _) = &fault {
                tracing::debug!(%error, ?here.endpoint, "request failed");
            }
            fault.answer(here.version)
        }
    }
}

/// The part of the path that the route calls `name`.
fn part<'p>(path: &'p RawPathParams, name: &str) -> Option<&'p str> {
    path.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
}

async fn answer(here: &Here, path: &RawPathParams, peer: &PeerInfo, request: Request) -> Result<Response, Fault> {
    let get = matches!(*request.method(), Method::GET | Method::HEAD);
    let Some(access) = auth::access(here.row, request.method()) else {
        return Err(Fault::NotImplemented(allowed(here.row)));
    };
    if get {
        match here.endpoint {
            Endpoint::Index if here.version == Version::V1 => return Ok(ok_status()),
            // What the original answered where it had defined nothing.
            Endpoint::Index | Endpoint::Auth | Endpoint::Start | Endpoint::Stop | Endpoint::Action | Endpoint::Test => {
                return Ok(dev());
            }
            _ => {}
        }
    }
    let (parts, body) = request.into_parts();
    // Some clients send a body with a listing; nobody wants to see it.
    let input = if get { Input::without_body(parts) } else { Input::read(parts, body, here.app.max_body()).await? };
    let who = who(here, access, peer, &input).await.map_err(|error| Fault::Core(error, Context::Authentication))?;
    let cloud = part(path, "cloud").unwrap_or_else(|| default_cloud(&here.app));
    actions::run(here, &who, cloud, path, peer, input).await
}

/// Who asks. In the open dialect nobody need say, from this machine.
async fn who(here: &Here, access: Access, peer: &PeerInfo, input: &Input) -> Result<Principal, Error> {
    let crs4 = &here.app.config.api.crs4;
    let needed = match access {
        Access::Public => return Ok(Principal::open()),
        Access::Needs(_) if crs4.open && auth::is_local(peer, &input.parts.uri, &input.parts.headers) => {
            return Ok(Principal::open());
        }
        Access::Needs(permission) | Access::Always(permission) | Access::Certificate(permission) => permission,
    };
    let identity = &here.app.core.identity;
    let principal = match input.token() {
        Some(token) => identity.authenticate(&auth::token_of(&token)?, peer.addr.ip()).await?,
        None => auth::principal(&here.app, peer, &input.parts.headers).await?,
    };
    principal.require(needed)?;
    Ok(principal)
}

fn default_cloud(app: &App) -> &str {
    app.config.api.crs4.dialect.cloud.as_deref().unwrap_or("default")
}

/// The methods of a row, for `Allow`.
fn allowed(row: &Row) -> &'static str {
    let has = |method| row.methods.iter().any(|(known, _)| *known == method);
    match (has(Method::GET), has(Method::POST), has(Method::PUT)) {
        (true, true, _) => "GET, HEAD, POST",
        (true, _, true) => "GET, HEAD, PUT",
        (true, _, _) => "GET, HEAD",
        _ => "",
    }
}

/// `{"status": "ok"}`.
fn ok_status() -> Response {
    json_response(StatusCode::OK, "application/json", wire::pretty(&serde_json::json!({ "status": "ok" })))
}

fn dev() -> Response {
    let mut response = Response::new(Body::from("Dev"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(3));
    response
}
