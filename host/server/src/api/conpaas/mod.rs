//! The Director API of ConPaaS 1.3.1, with the application routes of 2.x beside it.
//!
//! Every route stands in [`ROWS`], with what it asks of its caller. Who calls is what the client certificate of the connection says;
//! user name and password count for `/login` and the certificates alone, whatever else they come along with.

mod answers;
mod applications;
mod archive;
mod input;
mod literal;
mod managers;
mod services;
#[cfg(test)]
mod tests;
mod users;
mod wire;

use super::App;
use super::auth::{self, Access, Row};
use super::idempotency;
use crate::listen::PeerInfo;
use axum::Router;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{ConnectInfo, RawPathParams, Request, State};
use axum::response::Response;
use axum::routing::any;
use http::{HeaderMap, Method, StatusCode};
use input::{Form, InputError};
use ostler_core::Error;
use ostler_core::compute::Key;
use ostler_core::identity::{Permission, Principal};

/// What a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    NewUser,
    Login,
    Certificates,
    AvailableServices,
    AvailableClouds,
    Start,
    Stop,
    Rename,
    List,
    Download,
    DownloadData,
    Decrement,
    Enrol,
    Terminate,
    CreateApplication,
    ListApplications,
    RenameApplication,
    DeleteApplication,
    UploadManifest,
    DownloadManifest,
    Version,
    UserConfig,
    UserCredit,
    Unsupported,
    DebugLevel,
    StartApplication,
    StopApplication,
    RemoveApplication,
    Add,
    RenameMember,
    Remove,
    Resources,
    Credit,
    CreateNodes,
    RemoveNodes,
}

const USER: Access = Access::Certificate(Permission::UseServices);
const MANAGER: Access = Access::Certificate(Permission::ManageService);

const PUBLIC: &[(Method, Access)] = &[(Method::GET, Access::Public)];
const PUBLIC_POST: &[(Method, Access)] = &[(Method::POST, Access::Public)];
const PUBLIC_BOTH: &[(Method, Access)] = &[(Method::GET, Access::Public), (Method::POST, Access::Public)];
const USER_GET: &[(Method, Access)] = &[(Method::GET, USER)];
const USER_POST: &[(Method, Access)] = &[(Method::POST, USER)];
const USER_BOTH: &[(Method, Access)] = &[(Method::GET, USER), (Method::POST, USER)];
const MANAGER_POST: &[(Method, Access)] = &[(Method::POST, MANAGER)];

/// The routes, each with what its methods ask for.
const ROWS: &[(Row, Endpoint)] = &[
    (Row { path: "/new_user", methods: PUBLIC_POST }, Endpoint::NewUser),
    (Row { path: "/login", methods: PUBLIC_POST }, Endpoint::Login),
    (Row { path: "/getcerts", methods: PUBLIC_BOTH }, Endpoint::Certificates),
    (Row { path: "/get_user_certs", methods: PUBLIC_BOTH }, Endpoint::Certificates),
    (Row { path: "/available_services", methods: PUBLIC }, Endpoint::AvailableServices),
    (Row { path: "/available_clouds", methods: PUBLIC }, Endpoint::AvailableClouds),
    (Row { path: "/start/{type}", methods: USER_POST }, Endpoint::Start),
    (Row { path: "/start/{type}/{cloud}", methods: USER_POST }, Endpoint::Start),
    (Row { path: "/stop/{id}", methods: USER_POST }, Endpoint::Stop),
    (Row { path: "/rename/{id}", methods: USER_POST }, Endpoint::Rename),
    (Row { path: "/list", methods: USER_BOTH }, Endpoint::List),
    (Row { path: "/list/{id}", methods: USER_BOTH }, Endpoint::List),
    (Row { path: "/download/ConPaaS.tar.gz", methods: PUBLIC }, Endpoint::Download),
    (Row { path: "/download_data/{file}", methods: PUBLIC }, Endpoint::DownloadData),
    (Row { path: "/callback/decrementUserCredit.php", methods: MANAGER_POST }, Endpoint::Decrement),
    (Row { path: "/callback/terminateService.php", methods: MANAGER_POST }, Endpoint::Terminate),
    (Row { path: "/ca/get_cert.php", methods: MANAGER_POST }, Endpoint::Enrol),
    (Row { path: "/createapp", methods: USER_POST }, Endpoint::CreateApplication),
    (Row { path: "/listapp", methods: USER_BOTH }, Endpoint::ListApplications),
    (Row { path: "/renameapp/{id}", methods: USER_POST }, Endpoint::RenameApplication),
    (Row { path: "/delete/{id}", methods: USER_POST }, Endpoint::DeleteApplication),
    (Row { path: "/upload_manifest", methods: USER_POST }, Endpoint::UploadManifest),
    (Row { path: "/download_manifest/{id}", methods: USER_POST }, Endpoint::DownloadManifest),
    (Row { path: "/version", methods: PUBLIC }, Endpoint::Version),
    (Row { path: "/user_config", methods: USER_GET }, Endpoint::UserConfig),
    (Row { path: "/user_credit", methods: USER_GET }, Endpoint::UserCredit),
    (Row { path: "/support_external_idp", methods: PUBLIC }, Endpoint::Unsupported),
    (Row { path: "/support_openid", methods: PUBLIC }, Endpoint::Unsupported),
    (Row { path: "/debug_level/{level}", methods: PUBLIC }, Endpoint::DebugLevel),
    (Row { path: "/startapp/{id}", methods: USER_POST }, Endpoint::StartApplication),
    (Row { path: "/startapp/{id}/{cloud}", methods: USER_POST }, Endpoint::StartApplication),
    (Row { path: "/stopapp/{id}", methods: USER_POST }, Endpoint::StopApplication),
    (Row { path: "/deleteapp/{id}", methods: USER_POST }, Endpoint::RemoveApplication),
    (Row { path: "/add/{type}", methods: USER_POST }, Endpoint::Add),
    (Row { path: "/rename", methods: USER_POST }, Endpoint::RenameMember),
    (Row { path: "/remove", methods: USER_POST }, Endpoint::Remove),
    (Row { path: "/list_resources", methods: USER_BOTH }, Endpoint::Resources),
    (Row { path: "/credit", methods: MANAGER_POST }, Endpoint::Credit),
    (Row { path: "/create_nodes", methods: MANAGER_POST }, Endpoint::CreateNodes),
    (Row { path: "/remove_nodes", methods: MANAGER_POST }, Endpoint::RemoveNodes),
];

/// What each handler of this room is told by the router.
#[derive(Clone)]
struct Here {
    app: App,
    row: &'static Row,
    endpoint: Endpoint,
}

/// One request, read and admitted.
struct Call<'c> {
    app: &'c App,
    who: Principal,
    peer: &'c PeerInfo,
    headers: HeaderMap,
    path: &'c RawPathParams,
    form: Form,
    /// Whether it is a `GET`.
    get: bool,
}

impl Call<'_> {
    /// The part of the path that the route calls `name`.
    fn part(&self, name: &str) -> Option<&str> {
        self.path.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The number in the path.
    fn id(&self) -> i64 {
        self.part("id").and_then(|id| id.parse().ok()).unwrap_or_default()
    }

    /// The client's idempotency key, for this route.
    fn key(&self, scope: &'static str) -> Result<Option<Key>, Error> {
        idempotency::key(&self.headers, scope).map_err(|_| {
            Error::Invalid(format!("an idempotency key has 1 to {} printable ASCII characters", idempotency::LONGEST))
        })
    }

    /// The name of a cloud of ours; the original's name for the default one is a name of it here, too.
    fn cloud(&self, name: Option<&str>) -> Option<String> {
        let default = self.app.core.services.settings().cloud.as_str();
        match name {
            None | Some("" | "None") => None,
            Some(name @ ("iaas" | "default")) if !self.app.config.clouds.contains_key(name) => Some(default.to_owned()),
            Some(name) => Some(name.to_owned()),
        }
    }
}

/// The routes.
pub fn router(app: &App) -> Router {
    let mut router = Router::new();
    for (row, endpoint) in ROWS {
        router = router.route(row.path, any(handle).with_state(Here { app: app.clone(), row, endpoint: *endpoint }));
    }
    router
}

async fn handle(
    State(here): State<Here>,
    path: Result<RawPathParams, RawPathParamsRejection>,
    ConnectInfo(peer): ConnectInfo<PeerInfo>,
    request: Request,
) -> Response {
    // Escapes that are no text name nothing, and numbers that are none have no route.
    let Ok(path) = path else { return answers::page(StatusCode::NOT_FOUND, "No such page.") };
    let number =
        |(name, value): (&str, &str)| name != "id" || (value.bytes().all(|b| b.is_ascii_digit()) && value.parse::<i64>().is_ok());
    if !path.iter().all(number) {
        return answers::page(StatusCode::NOT_FOUND, "No such page.");
    }
    let Some(access) = auth::access(here.row, request.method()) else {
        return answers::other_methods(allowed(here.row));
    };
    let get = request.method() != Method::POST;
    let (parts, body) = request.into_parts();
    // Whose call it is comes before what it says: nobody else's body is read.
    let who = match who(&here.app, access, &peer, &parts.headers).await {
        Ok(who) => who,
        Err(error) => return answers::error(&error),
    };
    let form = match Form::read(&parts, body, here.app.max_body()).await {
        Ok(form) => form,
        Err(error @ InputError::TooLarge) => return answers::page(StatusCode::PAYLOAD_TOO_LARGE, &error.to_string()),
        Err(error) => return answers::page(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let call = Call { app: &here.app, who, peer: &peer, headers: parts.headers, path: &path, form, get };
    match run(here.endpoint, &call).await {
        Ok(response) => response,
        Err(error) => {
            tracing::debug!(%error, ?here.endpoint, "request failed");
            answers::error(&error)
        }
    }
}

async fn who(app: &App, access: Access, peer: &PeerInfo, headers: &HeaderMap) -> Result<Principal, Error> {
    let (Access::Certificate(needed) | Access::Needs(needed) | Access::Always(needed)) = access else {
        return Ok(Principal::open());
    };
    let shown = auth::certificate(peer, headers)?;
    let principal = app.core.identity.authenticate(&shown, peer.addr.ip()).await?;
    principal.require(needed)?;
    Ok(principal)
}

async fn run(endpoint: Endpoint, call: &Call<'_>) -> Result<Response, Error> {
    match endpoint {
        Endpoint::NewUser => users::new_user(call).await,
        Endpoint::Login => users::log_in(call).await,
        Endpoint::Certificates => users::certificates(call).await,
        Endpoint::UserConfig => users::user_config(call).await,
        Endpoint::UserCredit => users::user_credit(call).await,
        Endpoint::AvailableServices => Ok(answers::same_origin(answers::raw(&call.app.core.services.types()))),
        Endpoint::AvailableClouds => Ok(answers::same_origin(answers::raw(&services::clouds(call)))),
        Endpoint::Version => Ok(answers::text(env!("CARGO_PKG_VERSION"))),
        Endpoint::Unsupported => Ok(answers::text("False")),
        Endpoint::DebugLevel => Ok(answers::text("0")),
        Endpoint::Start => services::start(call).await,
        Endpoint::Stop => services::stop(call).await,
        Endpoint::Rename => services::rename(call).await,
        Endpoint::List => services::list(call).await,
        Endpoint::Download => services::download(call).await,
        // Nothing is kept here for others to fetch without saying who they are.
        Endpoint::DownloadData => Ok(answers::text("")),
        Endpoint::Decrement => managers::decrement(call).await,
        Endpoint::Terminate => managers::terminate(call).await,
        Endpoint::Enrol => managers::enrol(call).await,
        Endpoint::Credit => managers::credit(call).await,
        Endpoint::CreateNodes => managers::create_nodes(call).await,
        Endpoint::RemoveNodes => managers::remove_nodes(call).await,
        Endpoint::CreateApplication => applications::create(call).await,
        Endpoint::ListApplications => applications::list(call).await,
        Endpoint::RenameApplication => applications::rename(call).await,
        Endpoint::DeleteApplication => applications::delete(call).await,
        Endpoint::UploadManifest => applications::upload_manifest(call).await,
        Endpoint::DownloadManifest => applications::download_manifest(call).await,
        Endpoint::StartApplication => applications::start(call).await,
        Endpoint::StopApplication => applications::stop(call).await,
        Endpoint::RemoveApplication => applications::remove(call).await,
        Endpoint::Add => applications::add_member(call).await,
        Endpoint::RenameMember => applications::rename_member(call).await,
        Endpoint::Remove => applications::remove_member(call).await,
        Endpoint::Resources => applications::resources(call).await,
    }
}

/// The methods of a row, for `Allow`.
fn allowed(row: &Row) -> &'static str {
    let has = |method| row.methods.iter().any(|(known, _)| *known == method);
    match (has(Method::GET), has(Method::POST)) {
        (true, true) => "GET, HEAD, POST",
        (true, false) => "GET, HEAD",
        _ => "POST",
    }
}
