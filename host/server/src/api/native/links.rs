//! `/ostler/v1/users/{name}/links`: the persons that a user is, as issuers of tokens know them.

use super::extract::{Asked, Body, Refused, Segment};
use super::wire::accounts::{Link, Links, Person, Unlinked};
use crate::api::App;
use crate::api::problem::Problem;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use ostler_core::identity::Principal;

/// The persons that a user is.
#[utoipa::path(get, path = "/ostler/v1/users/{name}/links", operation_id = "list_links", tag = "users",
    params(("name" = String, Path, description = "The user's name")),
    responses((status = 200, body = Links), (status = 404, body = Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Segment(name): Segment,
) -> Result<Response, Refused> {
    let links = app.core.identity.links(&who, &name).await?;
    Ok(Json(Links { links: links.into_iter().map(Link::from).collect() }).into_response())
}

/// Has whoever comes with a token of this issuer for this subject be the user, with his account and roles.
#[utoipa::path(put, path = "/ostler/v1/users/{name}/links", operation_id = "add_link", tag = "users",
    params(("name" = String, Path, description = "The user's name")), request_body = Person,
    responses((status = 200, body = Link), (status = 404, body = Problem),
              (status = 409, description = "The person is another user", body = Problem),
              (status = 422, description = "Also where the issuer is not configured", body = Problem)))]
pub(super) async fn add(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Segment(name): Segment,
    Body(person): Body<Person>,
) -> Result<Response, Refused> {
    let link = app.core.identity.link(&who, &name, &person.issuer, &person.subject).await?;
    tracing::info!(user = name, issuer = person.issuer, subject = person.subject, by = who.user, "user linked");
    Ok(Json(Link::from(link)).into_response())
}

/// Takes a link away.
#[utoipa::path(delete, path = "/ostler/v1/users/{name}/links", operation_id = "remove_link", tag = "users",
    params(("name" = String, Path, description = "The user's name"), Person),
    responses((status = 200, body = Unlinked), (status = 404, body = Problem)))]
pub(super) async fn remove(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Segment(name): Segment,
    Asked(person): Asked<Person>,
) -> Result<Response, Refused> {
    let changed = app.core.identity.unlink(&who, &name, &person.issuer, &person.subject).await?;
    Ok(Json(Unlinked { changed }).into_response())
}
