//! Our own API: drivers and clouds; users, and what they have. Documented by the OpenAPI document that is made from it.

mod certificates;
mod clouds;
mod credit;
mod data_events;
mod drivers;
mod extract;
mod links;
mod reports;
#[cfg(test)]
mod tests;
mod tokens;
mod users;
pub mod wire;
mod work;

use super::App;
use super::auth::{self, Access, Guarded, Row};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use http::Method;
use ostler_core::deployments::LONGEST_REPORT;
use ostler_core::identity::Permission;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

/// Where the OpenAPI document is.
const DOCUMENT: &str = "/ostler/openapi.json";
const DOCS: &str = "/ostler/docs";
/// What whoever is to believe a certificate needs before anything else.
const AUTHORITY: &str = "/ostler/ca.pem";
const REVOCATIONS: &str = "/ostler/crl";
/// What machines report shows a token that nobody else has.
const REPORTS: &str = "/ostler/v1/reports";

const READ_DRIVERS: Access = Access::Needs(Permission::ReadDrivers);
const CHANGE_DRIVERS: Access = Access::Needs(Permission::ChangeDrivers);
const CHANGE_CLOUDS: Access = Access::Needs(Permission::ChangeClouds);
const READ: Access = Access::Needs(Permission::ReadCompute);
const READ_WORK: Access = Access::Needs(Permission::ReadWork);
const CHANGE_WORK: Access = Access::Needs(Permission::ChangeWork);
const READ_USERS: Access = Access::Needs(Permission::ReadUsers);
const CHANGE_USERS: Access = Access::Needs(Permission::ChangeUsers);
const SUBMIT: Access = Access::Needs(Permission::SubmitDataEvents);

/// The routes of this room.
const ROWS: &[Row] = &[
    Row { path: "/ostler/v1/drivers", methods: &[(Method::GET, READ_DRIVERS)] },
    Row {
        path: "/ostler/v1/drivers/{name}",
        methods: &[(Method::GET, READ_DRIVERS), (Method::PUT, CHANGE_DRIVERS), (Method::DELETE, CHANGE_DRIVERS)],
    },
    Row { path: "/ostler/v1/drivers/{name}/rollback", methods: &[(Method::POST, CHANGE_DRIVERS)] },
    Row { path: "/ostler/v1/clouds", methods: &[(Method::GET, READ), (Method::POST, CHANGE_CLOUDS)] },
    Row { path: "/ostler/v1/clouds/{name}", methods: &[(Method::GET, READ), (Method::DELETE, CHANGE_CLOUDS)] },
    Row { path: "/ostler/v1/clouds/{name}/test", methods: &[(Method::POST, CHANGE_CLOUDS)] },
    Row { path: "/ostler/v1/work", methods: &[(Method::GET, READ_WORK)] },
    Row { path: "/ostler/v1/work/{id}", methods: &[(Method::GET, READ_WORK)] },
    Row { path: "/ostler/v1/work/{id}/retry", methods: &[(Method::POST, CHANGE_WORK)] },
    Row { path: "/ostler/v1/work/{id}/cancel", methods: &[(Method::POST, CHANGE_WORK)] },
    Row { path: "/ostler/v1/work/{id}/abandon", methods: &[(Method::POST, CHANGE_WORK)] },
    Row { path: "/ostler/v1/users", methods: &[(Method::GET, READ_USERS), (Method::POST, CHANGE_USERS)] },
    Row { path: "/ostler/v1/users/{name}", methods: &[(Method::GET, READ_USERS), (Method::PATCH, CHANGE_USERS)] },
    Row { path: "/ostler/v1/users/{name}/tokens", methods: &[(Method::GET, READ_USERS), (Method::POST, CHANGE_USERS)] },
    Row {
        path: "/ostler/v1/users/{name}/links",
        methods: &[(Method::GET, READ_USERS), (Method::PUT, CHANGE_USERS), (Method::DELETE, CHANGE_USERS)],
    },
    Row { path: "/ostler/v1/tokens/{id}", methods: &[(Method::DELETE, CHANGE_USERS)] },
    Row { path: "/ostler/v1/users/{name}/credit", methods: &[(Method::GET, READ_USERS), (Method::POST, CHANGE_USERS)] },
    Row { path: "/ostler/v1/users/{name}/credit/history", methods: &[(Method::GET, READ_USERS)] },
    Row { path: "/ostler/v1/certificates", methods: &[(Method::GET, READ_USERS)] },
    Row { path: "/ostler/v1/certificates/{serial}", methods: &[(Method::GET, READ_USERS)] },
    Row { path: "/ostler/v1/certificates/{serial}/revoke", methods: &[(Method::POST, CHANGE_USERS)] },
    Row { path: "/ostler/v1/certificates/{serial}/renew", methods: &[(Method::POST, CHANGE_USERS)] },
    Row { path: REPORTS, methods: &[(Method::POST, Access::Public)] },
    Row { path: "/ostler/v1/data-events", methods: &[(Method::POST, SUBMIT)] },
    Row { path: AUTHORITY, methods: &[(Method::GET, Access::Public)] },
    Row { path: REVOCATIONS, methods: &[(Method::GET, Access::Public)] },
];

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Ostler",
        description = "Drivers, clouds and users of an Ostler host. Authenticate with HTTP Basic, or with a token as \
                       `Authorization: Bearer` or `X-Auth-Token`. Errors are RFC 9457 problems.",
        license(name = "Apache-2.0")
    ),
    tags(
        (name = "drivers", description = "Components and the driver names they serve"),
        (name = "clouds", description = "The clouds of this host, of the configuration and added"),
        (name = "machines", description = "What machines of deployments say of their software"),
        (name = "work", description = "Operations of several steps: what is under way, and what is stuck"),
        (name = "users", description = "Who may log in, and what for"),
        (name = "tokens", description = "What users show instead of their password"),
        (name = "credit", description = "What users can spend, and what became of it"),
        (name = "certificates", description = "What the host's own authority issued"),
        (name = "data-events", description = "News of files, for which schedules make deployments")
    )
)]
struct Document;

fn api() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(drivers::list))
        .routes(routes!(drivers::show, drivers::install, drivers::remove))
        .routes(routes!(drivers::roll_back))
        .routes(routes!(work::list))
        .routes(routes!(work::show))
        .routes(routes!(work::retry))
        .routes(routes!(work::cancel))
        .routes(routes!(work::abandon))
        .merge(OpenApiRouter::new().routes(routes!(reports::take)).layer(DefaultBodyLimit::max(LONGEST_REPORT)))
        .merge(of_clouds())
        .merge(accounts())
        .merge(news())
}

/// Clouds, with their secrets and certificates.
fn of_clouds() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(clouds::list, clouds::add))
        .routes(routes!(clouds::show, clouds::remove))
        .routes(routes!(clouds::test))
        .layer(DefaultBodyLimit::max(clouds::LARGEST))
}

/// What brings news of data.
fn news() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(data_events::submit)).layer(DefaultBodyLimit::max(data_events::LARGEST))
}

/// Users and what they have. What these routes take is small.
fn accounts() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(users::list, users::add))
        .routes(routes!(users::show, users::change))
        .routes(routes!(links::list, links::add, links::remove))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(credit::show, credit::grant))
        .routes(routes!(credit::history))
        .routes(routes!(certificates::list))
        .routes(routes!(certificates::show))
        .routes(routes!(certificates::revoke))
        .routes(routes!(certificates::renew))
        .routes(routes!(certificates::authority))
        .routes(routes!(certificates::revocations))
        .layer(DefaultBodyLimit::max(extract::LARGEST))
}

/// The OpenAPI document.
pub fn document() -> utoipa::openapi::OpenApi {
    api().into_openapi()
}

pub(super) fn router(app: &App) -> Router {
    let (api, document) = api().split_for_parts();
    let guarded = Guarded { app: app.clone(), rows: ROWS };
    let component = usize::try_from(app.config.drivers.max_component_mb << 20).unwrap_or(usize::MAX);
    let api = api
        .layer(axum::middleware::from_fn_with_state(guarded, auth::guard))
        .layer(DefaultBodyLimit::max(component.saturating_add(1)))
        .with_state(app.clone());
    let docs: Router = SwaggerUi::new(DOCS).url(DOCUMENT, document).into();
    // The documentation is the same for everybody, and says nothing about this host.
    Router::new().merge(api).merge(docs).route("/ostler", get(|| async { axum::response::Redirect::temporary("/ostler/docs/") }))
}
