//! `/ostler/v1/clouds`.

use super::wire::{Cloud, Clouds};
use crate::api::App;
use crate::api::problem::{self, Problem};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use ostler_core::identity::Principal;
use serde::Deserialize;

/// All configured clouds.
#[utoipa::path(get, path = "/ostler/v1/clouds", operation_id = "list_clouds", tag = "clouds", responses((status = 200, body = Clouds), (status = 401, body = Problem)))]
pub(super) async fn list(State(app): State<App>, Extension(who): Extension<Principal>) -> Response {
    match app.core.compute.clouds(&who) {
        Ok(clouds) => Json(Clouds { clouds: clouds.into_iter().map(Cloud::from).collect() }).into_response(),
        Err(error) => problem::of(&error),
    }
}

#[derive(Deserialize)]
pub(super) struct Show {
    #[serde(default)]
    check: bool,
}

/// One cloud; with `check=true` its provider is asked first.
#[utoipa::path(get, path = "/ostler/v1/clouds/{name}", operation_id = "show_cloud", tag = "clouds",
    params(("name" = String, Path, description = "The cloud's name"), ("check" = Option<bool>, Query, description = "Whether to ask the provider")),
    responses((status = 200, body = Cloud), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path(name): Path<String>,
    Query(show): Query<Show>,
) -> Response {
    match app.core.compute.cloud_info(&who, &name, show.check).await {
        Ok(info) => Json(Cloud::from(info)).into_response(),
        Err(error) => problem::of(&error),
    }
}
