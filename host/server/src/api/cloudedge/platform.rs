//! The platform itself.

use super::errors::Fault;
use super::wire::{Named, Resources, Version};
use super::{Call, json};
use axum::response::Response;
use http::StatusCode;
use http::header::USER_AGENT;
use serde::Serialize;

/// The version; to a driver of ours also which installation this is, and which are behind it.
pub(super) fn version(call: &Call<'_>) -> Result<Response, Fault> {
    let version = Version { major: 1, minor: 3 };
    if !is_driver(call) {
        return Ok(json(StatusCode::OK, &Named("version", version)));
    }
    let core = &call.app.core;
    let ostler = Ostler { instance: core.authority.instance(), upstream: core.compute.upstream(call.cloud()?)? };
    Ok(json(StatusCode::OK, &FullVersion { version, ostler }))
}

/// How the driver of other platforms calls itself.
const DRIVER: &str = "ostler-edge/";

/// Whether another platform's driver asks, which is told more than the text has: its lists would cost a request for each object.
pub(super) fn is_driver(call: &Call<'_>) -> bool {
    let agent = call.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    agent.starts_with(DRIVER)
}

#[derive(Serialize)]
struct FullVersion {
    version: Version,
    ostler: Ostler,
}

#[derive(Serialize)]
struct Ostler {
    instance: String,
    upstream: Vec<String>,
}

pub(super) async fn resources(call: &Call<'_>) -> Result<Response, Fault> {
    let capacity = call.app.core.compute.capacity(&call.who, call.cloud()?).await?;
    Ok(json(StatusCode::OK, &Resources(&capacity)))
}
