//! Our own API: drivers and clouds. Documented by the OpenAPI document that is made from it.

mod clouds;
mod drivers;
#[cfg(test)]
mod tests;
pub mod wire;

use super::App;
use super::auth::{self, Access, Guarded, Row};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use http::Method;
use ostler_core::identity::Permission;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

/// Where the OpenAPI document is.
const DOCUMENT: &str = "/ostler/openapi.json";
const DOCS: &str = "/ostler/docs";

const READ_DRIVERS: Access = Access::Needs(Permission::ReadDrivers);
const CHANGE_DRIVERS: Access = Access::Needs(Permission::ChangeDrivers);
const READ: Access = Access::Needs(Permission::ReadCompute);

/// The routes of this room.
const ROWS: &[Row] = &[
    Row { path: "/ostler/v1/drivers", methods: &[(Method::GET, READ_DRIVERS)] },
    Row {
        path: "/ostler/v1/drivers/{name}",
        methods: &[(Method::GET, READ_DRIVERS), (Method::PUT, CHANGE_DRIVERS), (Method::DELETE, CHANGE_DRIVERS)],
    },
    Row { path: "/ostler/v1/drivers/{name}/rollback", methods: &[(Method::POST, CHANGE_DRIVERS)] },
    Row { path: "/ostler/v1/clouds", methods: &[(Method::GET, READ)] },
    Row { path: "/ostler/v1/clouds/{name}", methods: &[(Method::GET, READ)] },
];

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Ostler",
        description = "Drivers and clouds of an Ostler host. Authenticate with HTTP Basic, or with a token as `Authorization: Bearer` \
                       or `X-Auth-Token`. Errors are RFC 9457 problems.",
        license(name = "Apache-2.0")
    ),
    tags((name = "drivers", description = "Components and the driver names they serve"), (name = "clouds", description = "Configured clouds"))
)]
struct Document;

fn api() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(drivers::list))
        .routes(routes!(drivers::show, drivers::install, drivers::remove))
        .routes(routes!(drivers::roll_back))
        .routes(routes!(clouds::list))
        .routes(routes!(clouds::show))
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
