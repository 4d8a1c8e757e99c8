//! The platform itself.

use super::errors::Fault;
use super::wire::{Named, Resources, Version};
use super::{Call, json};
use axum::response::Response;
use http::StatusCode;

pub(super) fn version() -> Response {
    json(StatusCode::OK, &Named("version", Version { major: 1, minor: 3 }))
}

pub(super) async fn resources(call: &Call<'_>) -> Result<Response, Fault> {
    let capacity = call.app.core.compute.capacity(&call.who, call.cloud()?).await?;
    Ok(json(StatusCode::OK, &Resources(&capacity)))
}
