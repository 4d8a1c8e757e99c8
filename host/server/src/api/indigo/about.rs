//! What this server is, and where its parts are.

use super::errors::Fault;
use super::wire::{Configuration, TEXT};
use super::{Call, answers};
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;

/// What the original says of itself, and its clients look for.
const NAME: &str = "INDIGO-Orchestrator";
/// Where the registry of clouds is that stands in for the original's separate services.
const REGISTRY: &str = "/ostler/v1";
/// What is not known of a build.
const UNKNOWN: &str = "unknown";

#[derive(Serialize)]
struct Info {
    build: Build,
    git: Git,
}

#[derive(Serialize)]
struct Build {
    version: &'static str,
    artifact: &'static str,
    name: &'static str,
    group: &'static str,
    time: &'static str,
}

#[derive(Serialize)]
struct Git {
    branch: &'static str,
    commit: Commit,
}

#[derive(Serialize)]
struct Commit {
    id: &'static str,
    time: &'static str,
}

/// The name, for whoever asks at the root of the prefix.
pub(super) fn front() -> Response {
    answers::text(TEXT, NAME)
}

pub(super) fn info() -> Response {
    let name = env!("CARGO_PKG_NAME");
    let build = Build { version: env!("CARGO_PKG_VERSION"), artifact: name, name, group: name, time: UNKNOWN };
    answers::json(StatusCode::OK, &Info { build, git: Git { branch: UNKNOWN, commit: Commit { id: UNKNOWN, time: UNKNOWN } } })
}

pub(super) fn configuration(call: &Call<'_>) -> Result<Response, Fault> {
    let registry = format!("{}{REGISTRY}", call.origin);
    let url = registry.as_str();
    let others = call.app.core.deployments.registries();
    let all = Configuration {
        cpr_url: others.cpr_url.as_deref().unwrap_or(url),
        slam_url: others.slam_url.as_deref().unwrap_or(url),
        cmdb_url: others.cmdb_url.as_deref().unwrap_or(url),
        im_url: url,
        monitoring_url: others.monitoring_url.as_deref().unwrap_or(url),
    };
    Ok(answers::json(StatusCode::OK, &all))
}
