//! `/ostler/v1/drivers`.

use super::wire::{Change, Driver, DriverHistory, Drivers, Rollback};
use crate::api::App;
use crate::api::problem::{self, Problem};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::{HeaderMap, StatusCode};
use ostler_core::drivers::parse_signature;
use ostler_core::identity::Principal;
use ostler_store::DriverSource;

/// The header of a detached signature: base64 of the 64 bytes of an Ed25519 signature over the component.
const SIGNATURE: &str = "ostler-signature";

/// All driver names, with what serves them.
#[utoipa::path(get, path = "/ostler/v1/drivers", operation_id = "list_drivers", tag = "drivers", responses((status = 200, body = Drivers), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn list(State(app): State<App>, Extension(who): Extension<Principal>) -> Response {
    match app.core.drivers.list(&who).await {
        Ok(drivers) => Json(Drivers { drivers: drivers.into_iter().map(Driver::from).collect() }).into_response(),
        Err(error) => problem::of(&error),
    }
}

/// One driver name with its history, the latest first.
#[utoipa::path(get, path = "/ostler/v1/drivers/{name}", operation_id = "show_driver", tag = "drivers", params(("name" = String, Path, description = "The driver's name")),
    responses((status = 200, body = DriverHistory), (status = 404, body = Problem)))]
pub(super) async fn show(State(app): State<App>, Extension(who): Extension<Principal>, Path(name): Path<String>) -> Response {
    match app.core.drivers.show(&who, &name).await {
        Ok((driver, history)) => {
            let history = history.into_iter().map(Into::into).collect();
            Json(DriverHistory { driver: driver.into(), history }).into_response()
        }
        Err(error) => problem::of(&error),
    }
}

/// Installs a component: it is verified, compiled and probed for every cloud that uses the driver, and serves when this answers.
/// Where it is refused, what served goes on serving. Installing what serves already changes nothing.
#[utoipa::path(put, path = "/ostler/v1/drivers/{name}", operation_id = "install_driver", tag = "drivers",
    params(("name" = String, Path, description = "The driver's name"),
           ("ostler-signature" = Option<String>, Header, description = "Base64 of an Ed25519 signature over the component")),
    request_body(content_type = "application/wasm", content = Vec<u8>, description = "A WebAssembly component of the world `ostler:driver/cloud-driver`"),
    responses((status = 200, body = Change), (status = 413, body = Problem), (status = 422, description = "The component is refused; `detail` says why", body = Problem)))]
pub(super) async fn install(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let wasm = match body {
        Ok(wasm) => wasm,
        Err(rejection) => {
            return problem::response(rejection.status(), "The component could not be read", &rejection.body_text());
        }
    };
    let signature = match headers.get(SIGNATURE) {
        None => None,
        Some(value) => match parse_signature(value.as_bytes()) {
            Some(signature) => Some(signature),
            None => {
                return problem::response(
                    StatusCode::BAD_REQUEST,
                    "Malformed signature",
                    "ostler-signature is base64 of 64 bytes",
                );
            }
        },
    };
    match app.core.drivers.install(&who, &name, wasm.to_vec(), signature, DriverSource::Upload).await {
        Ok(installed) => Json(Change::from(installed)).into_response(),
        Err(error) => problem::of(&error),
    }
}

/// Removes a driver that no cloud uses; of one that the program brings along, what was installed over it.
#[utoipa::path(delete, path = "/ostler/v1/drivers/{name}", operation_id = "remove_driver", tag = "drivers", params(("name" = String, Path, description = "The driver's name")),
    responses((status = 204), (status = 404, body = Problem), (status = 409, description = "Clouds use it", body = Problem)))]
pub(super) async fn remove(State(app): State<App>, Extension(who): Extension<Principal>, Path(name): Path<String>) -> Response {
    match app.core.drivers.remove(&who, &name).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => problem::of(&error),
    }
}

/// Goes back to the component that served before, or to the one of a digest.
#[utoipa::path(post, path = "/ostler/v1/drivers/{name}/rollback", operation_id = "roll_back_driver", tag = "drivers", params(("name" = String, Path, description = "The driver's name")),
    request_body(content = Option<Rollback>, content_type = "application/json"),
    responses((status = 200, body = Change), (status = 404, description = "No such driver or version", body = Problem)))]
pub(super) async fn roll_back(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path(name): Path<String>,
    body: Bytes,
) -> Response {
    let wanted = if body.is_empty() { Ok(Rollback::default()) } else { serde_json::from_slice::<Rollback>(&body) };
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(error) => return problem::response(StatusCode::BAD_REQUEST, "Malformed JSON", &error.to_string()),
    };
    match app.core.drivers.roll_back(&who, &name, wanted.digest.as_deref()).await {
        Ok(installed) => Json(Change::from(installed)).into_response(),
        Err(error) => problem::of(&error),
    }
}
