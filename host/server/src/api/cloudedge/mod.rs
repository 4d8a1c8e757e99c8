//! The FIWARE Cloud Edge API 1.3: images, instances, forwarding rules, users and metrics of one cloud.
//!
//! `/cloudedge` serves the cloud of the configuration, `/<cloud>/cloudedge` each other one. Every route stands in [`ROWS`], with
//! what it asks of its caller: the router is made from that table. Everybody says who he is, whatever he asks for.

mod errors;
mod fwrules;
mod images;
mod input;
mod instances;
mod metrics;
mod platform;
mod statistics;
#[cfg(test)]
mod tests;
mod users;
mod wire;

use super::App;
use super::auth::{self, Access, Row};
use super::forwarded::{self, Known};
use super::idempotency;
use crate::listen::PeerInfo;
use axum::Router;
use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{ConnectInfo, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::any;
use errors::{Fault, Name};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use input::{Place, Query};
use ostler_core::compute::Key;
use ostler_core::identity::{Permission, Principal};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use wire::Links;

/// The type of every body.
const JSON: &str = "application/json";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Version,
    Resources,
    Images,
    Image,
    Instances,
    Instance,
    Action,
    Rules,
    Rule,
    Users,
    User,
    UserAction,
    Metrics,
    Statistics,
}

/// What everybody on the platform may do. What is whose, the use cases know.
const PLATFORM: Access = Access::Needs(Permission::UseCatalogue);
const MANAGE_IMAGES: Access = Access::Needs(Permission::ManageImages);
const USE_INSTANCES: Access = Access::Needs(Permission::UseInstances);
const MANAGE_USERS: Access = Access::Needs(Permission::ManageGuests);

const READ: &[(Method, Access)] = &[(Method::GET, PLATFORM)];
const IMAGES: &[(Method, Access)] = &[(Method::GET, PLATFORM), (Method::POST, MANAGE_IMAGES)];
const IMAGE: &[(Method, Access)] = &[(Method::GET, PLATFORM), (Method::DELETE, MANAGE_IMAGES)];
// The same for instances and for rules.
const INSTANCES: &[(Method, Access)] = &[(Method::GET, PLATFORM), (Method::POST, USE_INSTANCES)];
const INSTANCE: &[(Method, Access)] = &[(Method::GET, PLATFORM), (Method::DELETE, USE_INSTANCES)];
const ACT: &[(Method, Access)] = &[(Method::POST, USE_INSTANCES)];
const USERS: &[(Method, Access)] = &[(Method::GET, PLATFORM), (Method::POST, MANAGE_USERS)];
const USER: &[(Method, Access)] = &[(Method::GET, PLATFORM), (Method::DELETE, MANAGE_USERS)];
const CHANGE_USER: &[(Method, Access)] = &[(Method::POST, PLATFORM)];
// Whoever cannot send a body with GET may ask by POST.
const ASK: &[(Method, Access)] = &[(Method::GET, PLATFORM), (Method::POST, PLATFORM)];

/// The routes below `/cloudedge`, each with what its methods ask for. All of them are good with a slash at the end, too.
const ROWS: &[(Row, Endpoint)] = &[
    // The specification has both spellings of these, and of the metrics.
    (Row { path: "/version", methods: READ }, Endpoint::Version),
    (Row { path: "/platform/version", methods: READ }, Endpoint::Version),
    (Row { path: "/platform/resources", methods: READ }, Endpoint::Resources),
    (Row { path: "/images", methods: IMAGES }, Endpoint::Images),
    (Row { path: "/images/{id}", methods: IMAGE }, Endpoint::Image),
    (Row { path: "/instances", methods: INSTANCES }, Endpoint::Instances),
    (Row { path: "/instances/{id}", methods: INSTANCE }, Endpoint::Instance),
    (Row { path: "/instances/{id}/action", methods: ACT }, Endpoint::Action),
    (Row { path: "/fwrules", methods: INSTANCES }, Endpoint::Rules),
    (Row { path: "/fwrules/{id}", methods: INSTANCE }, Endpoint::Rule),
    (Row { path: "/users", methods: USERS }, Endpoint::Users),
    (Row { path: "/users/{id}", methods: USER }, Endpoint::User),
    (Row { path: "/users/{id}/action", methods: CHANGE_USER }, Endpoint::UserAction),
    (Row { path: "/instance/{id}/metrics", methods: READ }, Endpoint::Metrics),
    (Row { path: "/instances/{id}/metrics", methods: READ }, Endpoint::Metrics),
    (Row { path: "/instance/{id}/metrics/statistics", methods: ASK }, Endpoint::Statistics),
    (Row { path: "/instances/{id}/metrics/statistics", methods: ASK }, Endpoint::Statistics),
];

type Route = &'static (Row, Endpoint);

/// What each handler of this room is told by the router.
#[derive(Clone)]
struct Here {
    app: App,
    /// None where nothing is.
    route: Option<Route>,
    /// In front of the paths: empty, or the configured prefix.
    prefix: Arc<str>,
}

/// One request, admitted.
struct Call<'c> {
    app: &'c App,
    who: Principal,
    headers: HeaderMap,
    query: Query,
    /// The number in the path, 0 where it has none.
    id: i64,
    /// The cloud that is meant, if there is one.
    cloud: Option<&'c str>,
    prefixes: Vec<&'c str>,
    /// Where the objects are.
    base: String,
}

impl Call<'_> {
    fn links(&self) -> Links<'_> {
        Links(&self.base)
    }

    /// The cloud that is meant.
    fn cloud(&self) -> Result<&str, Fault> {
        self.cloud.ok_or_else(|| Fault::new(Name::ItemNotFound, "no cloud is configured for this API: name one in the path"))
    }

    /// Where links to the objects of a collection lead.
    fn place<'p>(&'p self, collection: &'p str) -> Result<Place<'p>, Fault> {
        let default = self.app.config.api.cloudedge.cloud.as_deref();
        Ok(Place { prefixes: &self.prefixes, cloud: self.cloud()?, default, collection })
    }

    /// The client's idempotency key, for this route.
    fn key(&self, scope: &'static str) -> Result<Option<Key>, Fault> {
        idempotency::key(&self.headers, scope)
            .map_err(|_| Fault::bad(format!("an Idempotency-Key has 1 to {} visible characters", idempotency::LONGEST)))
    }
}

/// The routes.
pub fn router(app: &App) -> Router {
    let mut router = mounted(app, "");
    if let Some(prefix) = &app.config.api.cloudedge.prefix {
        router = router.merge(mounted(app, prefix));
    }
    router
}

fn mounted(app: &App, prefix: &str) -> Router {
    let shared: Arc<str> = prefix.into();
    let mut router = Router::new();
    for (path, route) in paths(prefix) {
        let here = Here { app: app.clone(), route, prefix: Arc::clone(&shared) };
        router = router.route(&path, any(handle).with_state(here));
    }
    router
}

/// All paths with this prefix, and what is there.
fn paths(prefix: &str) -> Vec<(String, Option<Route>)> {
    let mut paths = Vec::new();
    for base in [format!("{prefix}/cloudedge"), format!("{prefix}/{{cloud}}/cloudedge")] {
        for route in ROWS {
            let path = format!("{base}{}", route.0.path);
            paths.extend([(format!("{path}/"), Some(route)), (path, Some(route))]);
        }
        paths.extend([(format!("{base}/{{*rest}}"), None), (format!("{base}/"), None), (base, None)]);
    }
    paths
}

/// Around every request: failures as this API shows them, whoever they come from.
pub async fn around(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let ours = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == JSON);
    let status = response.status();
    if ours || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let mut fault = Fault::of_status(status).response();
    if let Some(id) = response.headers().get(REQUEST_ID) {
        fault.headers_mut().insert(REQUEST_ID, id.clone());
    }
    fault
}

async fn handle(
    State(here): State<Here>,
    path: Result<RawPathParams, RawPathParamsRejection>,
    ConnectInfo(peer): ConnectInfo<PeerInfo>,
    request: Request,
) -> Response {
    match answer(&here, path.ok().as_ref(), &peer, request).await {
        Ok(response) => response,
        Err(fault) => {
            let endpoint = here.route.map(|(_, endpoint)| endpoint);
            tracing::debug!(fault = ?fault.name, message = fault.message, ?endpoint, "request failed");
            fault.response()
        }
    }
}

/// The part of the path that the route calls `name`.
fn part<'p>(path: &'p RawPathParams, name: &str) -> Option<&'p str> {
    path.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
}

async fn answer(here: &Here, path: Option<&RawPathParams>, peer: &PeerInfo, request: Request) -> Result<Response, Fault> {
    let (parts, body) = request.into_parts();
    let who = auth::principal(&here.app, peer, &parts.headers).await?;
    // Escapes that are no text name nothing.
    let (Some((row, endpoint)), Some(path)) = (here.route, path) else { return Err(Fault::nothing()) };
    match auth::access(row, &parts.method) {
        None => return Err(Fault::method(&allowed(row))),
        Some(Access::Public) => {}
        Some(Access::Needs(permission) | Access::Always(permission) | Access::Certificate(permission)) => {
            who.require(permission)?;
        }
    }
    let dialect = &here.app.config.api.cloudedge;
    let named = part(path, "cloud");
    // Also one that was added since the start.
    if let Some(cloud) = named.filter(|cloud| here.app.core.host.cloud(cloud).is_err()) {
        return Err(Fault::new(Name::ItemNotFound, format!("there is no cloud `{}`", input::shown(cloud))));
    }
    let id = match part(path, "id") {
        None => 0,
        Some(text) => input::number(text).ok_or_else(|| Fault::new(Name::ItemNotFound, "identifiers are numbers"))?,
    };
    let takes_body = parts.method == Method::POST || *endpoint == Endpoint::Statistics;
    let body = if takes_body { input::json(&parts, body, here.app.max_body()).await? } else { None };
    let origin = forwarded::origin(&parts, peer, Known::of(&here.app.config.server));
    let segment = named.map(|cloud| format!("/{cloud}")).unwrap_or_default();
    let method = parts.method.clone();
    let call = Call {
        app: &here.app,
        who,
        query: Query::new(parts.uri.query()),
        headers: parts.headers,
        id,
        cloud: named.or(dialect.cloud.as_deref()),
        prefixes: [Some(""), dialect.prefix.as_deref()].into_iter().flatten().collect(),
        base: format!("{origin}{}{segment}/cloudedge", here.prefix),
    };
    let mut response = run(*endpoint, &method, &call, body).await?;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn run(endpoint: Endpoint, method: &Method, call: &Call<'_>, body: Option<Value>) -> Result<Response, Fault> {
    match (endpoint, method.as_str()) {
        (Endpoint::Version, _) => platform::version(call),
        (Endpoint::Resources, _) => platform::resources(call).await,
        (Endpoint::Images, "POST") => images::register(call, body).await,
        (Endpoint::Images, _) => images::list(call).await,
        (Endpoint::Image, "DELETE") => images::delete(call).await,
        (Endpoint::Image, _) => images::show(call).await,
        (Endpoint::Instances, "POST") => instances::create(call, body).await,
        (Endpoint::Instances, _) => instances::list(call).await,
        (Endpoint::Instance, "DELETE") => instances::delete(call).await,
        (Endpoint::Instance, _) => instances::show(call).await,
        (Endpoint::Action, _) => instances::act(call, body).await,
        (Endpoint::Rules, "POST") => fwrules::create(call, body).await,
        (Endpoint::Rules, _) => fwrules::list(call).await,
        (Endpoint::Rule, "DELETE") => fwrules::delete(call).await,
        (Endpoint::Rule, _) => fwrules::show(call).await,
        (Endpoint::Users, "POST") => users::create(call, body).await,
        (Endpoint::Users, _) => users::list(call).await,
        (Endpoint::User, "DELETE") => users::delete(call).await,
        (Endpoint::User, _) => users::show(call).await,
        (Endpoint::UserAction, _) => users::change(call, body).await,
        (Endpoint::Metrics, _) => metrics::list(call).await,
        (Endpoint::Statistics, _) => metrics::statistics(call, body).await,
    }
}

/// The methods of a row, for `Allow`.
fn allowed(row: &Row) -> String {
    let mut methods = Vec::new();
    for (method, _) in row.methods {
        methods.push(method.as_str());
        if method == Method::GET {
            methods.push("HEAD");
        }
    }
    methods.join(", ")
}

/// An answer with a body.
fn json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Response {
    let mut response = Response::new(Body::from(serde_json::to_vec(value).unwrap_or_default()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}

/// An answer without one.
fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
