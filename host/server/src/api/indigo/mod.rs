//! The API of the INDIGO PaaS Orchestrator 2.9: deployments of TOSCA templates, and schedules of them.
//!
//! Every route stands in [`ROWS`], with what it asks of its caller: the router is made from that table. A request is looked at in
//! the order of the original's filters: whose it is, what that is good for, in which form the answer is to come, what it says.

mod about;
mod accept;
mod answers;
mod credentials;
mod deployments;
mod errors;
mod input;
mod jackson;
mod paging;
mod query;
mod resources;
mod schedules;
#[cfg(test)]
mod tests;
mod wire;
mod wire_schedules;

use super::App;
use super::auth::{self, Access, Row};
use super::forwarded;
use super::idempotency;
use crate::listen::PeerInfo;
use axum::Router;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{ConnectInfo, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::any;
use errors::Fault;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use ostler_core::Error;
use ostler_core::compute::Key;
use ostler_core::deployments::Deployment;
use ostler_core::identity::{Credentials, Permission, Principal};
use query::Query;
use std::sync::Arc;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Front,
    Info,
    Configuration,
    Deployments,
    Deployment,
    Template,
    Log,
    ExtraInfo,
    Resources,
    Filter,
    Resource,
    Actions,
    Schedules,
    Schedule,
    ScheduleEvents,
    ScheduleTemplate,
}

const USER: Access = Access::Needs(Permission::UseDeployments);

const PUBLIC: &[(Method, Access)] = &[(Method::GET, Access::Public)];
const READ: &[(Method, Access)] = &[(Method::GET, USER)];
const CREATE: &[(Method, Access)] = &[(Method::GET, USER), (Method::POST, USER)];
const CHANGE: &[(Method, Access)] = &[(Method::GET, USER), (Method::PUT, USER), (Method::PATCH, USER), (Method::DELETE, USER)];
const ACT: &[(Method, Access)] = &[(Method::POST, USER)];
// The original could only be asked for schedules and to make them.
const ARREST: &[(Method, Access)] = &[(Method::GET, USER), (Method::PATCH, USER), (Method::DELETE, USER)];

/// The routes, each with what its methods ask for. All of them are good with a slash at the end, too.
const ROWS: &[(Row, Endpoint)] = &[
    // Below a prefix only: without one it is the server's own.
    (Row { path: "/", methods: PUBLIC }, Endpoint::Front),
    (Row { path: "/info", methods: PUBLIC }, Endpoint::Info),
    (Row { path: "/configuration", methods: READ }, Endpoint::Configuration),
    (Row { path: "/deployments", methods: CREATE }, Endpoint::Deployments),
    (Row { path: "/deployments/{id}", methods: CHANGE }, Endpoint::Deployment),
    (Row { path: "/deployments/{id}/template", methods: READ }, Endpoint::Template),
    (Row { path: "/deployments/{id}/log", methods: READ }, Endpoint::Log),
    (Row { path: "/deployments/{id}/extrainfo", methods: READ }, Endpoint::ExtraInfo),
    (Row { path: "/deployments/{id}/resources", methods: READ }, Endpoint::Resources),
    (Row { path: "/deployments/{id}/resources/filter", methods: READ }, Endpoint::Filter),
    (Row { path: "/deployments/{id}/resources/{resource}", methods: READ }, Endpoint::Resource),
    (Row { path: "/deployments/{id}/resources/{resource}/actions", methods: ACT }, Endpoint::Actions),
    (Row { path: "/schedules", methods: CREATE }, Endpoint::Schedules),
    (Row { path: "/schedules/{id}", methods: ARREST }, Endpoint::Schedule),
    (Row { path: "/schedules/{id}/events", methods: READ }, Endpoint::ScheduleEvents),
    (Row { path: "/schedules/{id}/template", methods: READ }, Endpoint::ScheduleTemplate),
];

/// What belongs to this dialect besides, where nothing is.
const NOTHING: &[&str] = &["/info/{*rest}", "/configuration/{*rest}", "/deployments/{id}/{*rest}", "/schedules/{id}/{*rest}"];

/// The scopes of an issuer's token that are good for changes, and for what is done to resources.
const CHANGES: &[&str] = &["offline_access", "fts:submit-transfer"];
const ACTIONS: &[&str] = &["offline_access"];

/// What each handler of this room is told by the router.
#[derive(Clone)]
struct Here {
    app: App,
    row: &'static Row,
    endpoint: Endpoint,
    /// In front of the paths: empty, or the configured prefix.
    prefix: Arc<str>,
}

/// One request, admitted.
struct Call<'c> {
    app: &'c App,
    who: Principal,
    headers: HeaderMap,
    path: &'c RawPathParams,
    query: Query,
    /// This server's address, for links.
    origin: String,
    /// The same with the prefix.
    base: String,
}

impl Call<'_> {
    fn part(&self, name: &str) -> &str {
        self.path.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }

    /// The deployment or the schedule in the path.
    fn id(&self) -> &str {
        self.part("id")
    }

    /// The resource in the path.
    fn resource(&self) -> &str {
        self.part("resource")
    }

    /// The client's idempotency key, for this route.
    fn key(&self, scope: &'static str) -> Result<Option<Key>, Fault> {
        idempotency::key(&self.headers, scope)
            .map_err(|_| Fault::bad(format!("Idempotency-Key should have 1 to {} visible characters", idempotency::LONGEST)))
    }
}

/// The routes.
pub fn router(app: &App) -> Router {
    let mut router = mounted(app, "");
    if let Some(prefix) = &app.config.api.indigo.dialect.prefix {
        router = router.merge(mounted(app, prefix));
    }
    router
}

fn mounted(app: &App, prefix: &str) -> Router {
    let shared: Arc<str> = prefix.into();
    let mut router = Router::new();
    for (path, route) in paths(prefix) {
        router = match route {
            Some((row, endpoint)) => {
                let here = Here { app: app.clone(), row, endpoint: *endpoint, prefix: Arc::clone(&shared) };
                router.route(&path, any(handle).with_state(here))
            }
            None => router.route(&path, any(nothing)),
        };
    }
    router
}

/// All paths with this prefix, and what is there.
fn paths(prefix: &str) -> Vec<(String, Option<&'static (Row, Endpoint)>)> {
    let mut paths = Vec::new();
    for route in ROWS {
        match (route.0.path, prefix) {
            ("/", "") => {}
            ("/", prefix) => paths.extend([(prefix.to_owned(), Some(route)), (format!("{prefix}/"), Some(route))]),
            (path, prefix) => {
                paths.extend([(format!("{prefix}{path}"), Some(route)), (format!("{prefix}{path}/"), Some(route))]);
            }
        }
    }
    if prefix.is_empty() {
        paths.extend(NOTHING.iter().map(|path| ((*path).to_owned(), None)));
    } else {
        paths.push((format!("{prefix}/{{*rest}}"), None));
    }
    paths
}

/// The JSON of a deployment as callbacks get it: without links, which nobody asked for.
pub fn notification(deployment: &Deployment) -> Vec<u8> {
    jackson::write(&wire::DeploymentView::new(deployment, Vec::new()))
}

/// Around every request: its identifier in the original's form, unless the client has given it one, and failures as the original
/// shows them, whoever they come from.
pub async fn around(mut request: Request, next: Next) -> Response {
    if !request.headers().contains_key(REQUEST_ID)
        && let Ok(id) = HeaderValue::try_from(format!("req-{}", uuid::Uuid::new_v4()))
    {
        request.headers_mut().insert(REQUEST_ID, id);
    }
    let response = next.run(request).await;
    let ours = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == wire::JSON);
    let status = response.status();
    if ours || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let mut failure = Fault::of_status(status).response();
    if let Some(id) = response.headers().get(REQUEST_ID) {
        failure.headers_mut().insert(REQUEST_ID, id.clone());
    }
    failure
}

async fn nothing(request: Request) -> Response {
    Fault::no_handler(request.method(), request.uri().path()).response()
}

async fn handle(
    State(here): State<Here>,
    path: Result<RawPathParams, RawPathParamsRejection>,
    ConnectInfo(peer): ConnectInfo<PeerInfo>,
    request: Request,
) -> Response {
    // Escapes that are no text name nothing.
    let Ok(path) = path else { return nothing(request).await };
    match answer(&here, &path, &peer, request).await {
        Ok(response) => response,
        Err(fault) => {
            tracing::debug!(status = fault.status.as_u16(), message = fault.message, ?here.endpoint, "request failed");
            fault.response()
        }
    }
}

async fn answer(here: &Here, path: &RawPathParams, peer: &PeerInfo, request: Request) -> Result<Response, Fault> {
    let (parts, body) = request.into_parts();
    let Some(access) = auth::access(here.row, &parts.method) else {
        return Err(Fault::method(&parts.method, &allowed(here.row)));
    };
    let query = Query::new(parts.uri.query());
    let who = who(here, access, peer, &parts, &query).await?;
    let changes = !parts.method.is_safe();
    if changes {
        scope(here.endpoint, &who)?;
    }
    // What is created must not be lost on a client that does not take the answer. Texts look for themselves.
    let texts = matches!(
        here.endpoint,
        Endpoint::Front | Endpoint::Template | Endpoint::Log | Endpoint::ExtraInfo | Endpoint::ScheduleTemplate
    );
    if !texts && (!changes || matches!(here.endpoint, Endpoint::Deployments | Endpoint::Schedules)) {
        accept::json(&parts.headers)?;
    }
    let body = match (changes && parts.method != Method::DELETE, method_name(here.endpoint, &parts.method)) {
        (true, name) => Some(input::object(&parts, body, here.app.max_body(), name).await?),
        (false, _) => None,
    };
    let origin = forwarded::origin(&parts, peer, forwarded::Known::of(&here.app.config.server));
    let base = format!("{origin}{}", here.prefix);
    let call = Call { app: &here.app, who, headers: parts.headers, path, query, origin, base };
    let mut response = run(here.endpoint, &parts.method, &call, body).await?;
    if access != Access::Public {
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    Ok(response)
}

/// What the original calls it, for those who read its messages.
fn method_name(endpoint: Endpoint, method: &Method) -> &'static str {
    match (endpoint, method.as_str()) {
        (Endpoint::Actions, _) => "performAction",
        (Endpoint::Schedules, _) => "createDeploymentSchedule",
        (Endpoint::Schedule, _) => "changeDeploymentSchedule",
        (_, "PUT") => "updateDeployment",
        (_, "PATCH") => "resetDeployment",
        _ => "createDeployment",
    }
}

async fn run(
    endpoint: Endpoint,
    method: &Method,
    call: &Call<'_>,
    body: Option<serde_json::Map<String, serde_json::Value>>,
) -> Result<Response, Fault> {
    match (endpoint, method.as_str(), body) {
        (Endpoint::Front, ..) => Ok(about::front()),
        (Endpoint::Info, ..) => Ok(about::info()),
        (Endpoint::Configuration, ..) => about::configuration(call),
        (Endpoint::Deployments, "POST", Some(body)) => deployments::create(call, body).await,
        (Endpoint::Deployments, ..) => deployments::list(call).await,
        (Endpoint::Deployment, "PUT", Some(body)) => deployments::update(call, body).await,
        (Endpoint::Deployment, "PATCH", Some(body)) => deployments::reset(call, body).await,
        (Endpoint::Deployment, "DELETE", _) => deployments::delete(call).await,
        (Endpoint::Deployment, ..) => deployments::show(call).await,
        (Endpoint::Template, ..) => deployments::template(call).await,
        (Endpoint::Log, ..) => deployments::log(call).await,
        (Endpoint::ExtraInfo, ..) => deployments::extra_info(call).await,
        (Endpoint::Resources, ..) => resources::list(call).await,
        (Endpoint::Filter, ..) => resources::filter(call).await,
        (Endpoint::Resource, ..) => resources::show(call).await,
        (Endpoint::Actions, _, body) => resources::act(call, body.unwrap_or_default()).await,
        (Endpoint::Schedules, "POST", Some(body)) => schedules::create(call, body).await,
        (Endpoint::Schedules, ..) => schedules::list(call).await,
        (Endpoint::Schedule, "PATCH", Some(body)) => schedules::change(call, body).await,
        (Endpoint::Schedule, "DELETE", _) => schedules::delete(call).await,
        (Endpoint::Schedule, ..) => schedules::show(call).await,
        (Endpoint::ScheduleEvents, ..) => schedules::events(call).await,
        (Endpoint::ScheduleTemplate, ..) => schedules::template(call).await,
    }
}

/// Who asks. In the open dialect nobody need say, from this machine, and nobody is asked.
async fn who(here: &Here, access: Access, peer: &PeerInfo, parts: &Parts, query: &Query) -> Result<Principal, Fault> {
    let needed = match access {
        Access::Public => return Ok(Principal::open()),
        Access::Needs(_) if here.app.config.api.indigo.open && auth::is_local(peer, &parts.uri, &parts.headers) => {
            return Ok(Principal::open());
        }
        Access::Needs(permission) | Access::Always(permission) | Access::Certificate(permission) => permission,
    };
    let shown = match credentials::shown(&parts.headers, query)? {
        Some(shown) => shown,
        None => auth::certificate(peer, &parts.headers).map_err(|_| Fault::anonymous())?,
    };
    auth::confidential(&here.app, peer, &parts.headers, &shown)?;
    let authenticated = here.app.core.identity.authenticate(&shown, peer.addr.ip()).await;
    let principal = authenticated.map_err(|error| match (error, &shown) {
        (Error::Unauthenticated, Credentials::Token(_)) => Fault::bad_token(),
        (Error::Unauthenticated, _) => Fault::bad_credentials(),
        (error, _) => error.into(),
    })?;
    principal.require(needed)?;
    Ok(principal)
}

/// Whether a token of an issuer is good for changes. Whoever came in by another way is not bound by scopes.
fn scope(endpoint: Endpoint, who: &Principal) -> Result<(), Fault> {
    let good = if endpoint == Endpoint::Actions { ACTIONS } else { CHANGES };
    let Some(scopes) = who.person.as_ref().and_then(|person| person.scopes.as_ref()) else { return Ok(()) };
    if scopes.iter().any(|scope| good.contains(&scope.as_str())) { Ok(()) } else { Err(Fault::scope(&good.join(" "))) }
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
