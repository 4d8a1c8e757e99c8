//! `/ostler/v1/users/{name}/tokens` and `/ostler/v1/tokens`.

use super::extract::{Body, Refused, Segment};
use super::users::NO_STORE;
use super::wire::accounts::{MadeToken, NewToken, Token, Tokens};
use crate::api::App;
use crate::api::problem::Problem;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::StatusCode;
use ostler_core::Error;
use ostler_core::identity::{PERMISSIONS, Permission, Principal, TokenOrder};
use std::time::Duration;

/// Seconds of the longest life that can be asked for: ten years. Who wants more leaves it out.
const LONGEST_LIFE: u64 = 10 * 366 * 24 * 3600;

/// All tokens of a user.
#[utoipa::path(get, path = "/ostler/v1/users/{name}/tokens", operation_id = "list_tokens", tag = "tokens", params(("name" = String, Path, description = "The user's name")),
    responses((status = 200, body = Tokens), (status = 404, body = Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Segment(name): Segment,
) -> Result<Response, Refused> {
    let tokens = app.core.identity.tokens(&who, &name).await?;
    Ok(Json(Tokens { tokens: tokens.into_iter().map(Token::from).collect() }).into_response())
}

/// Makes a token for a user. Its secret is in this answer and nowhere else.
#[utoipa::path(post, path = "/ostler/v1/users/{name}/tokens", operation_id = "create_token", tag = "tokens", params(("name" = String, Path, description = "The user's name")),
    request_body = NewToken,
    responses((status = 201, body = MadeToken), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn create(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Segment(name): Segment,
    Body(new): Body<NewToken>,
) -> Result<Response, Refused> {
    let order = TokenOrder { scopes: scopes(new.scopes.as_deref())?, life: life(new.expires_in_seconds)?, label: new.label };
    let issued = app.core.identity.create_token(&who, &name, &order).await?;
    tracing::info!(user = name, token = issued.id, label = order.label, by = who.user, "token made");
    Ok((StatusCode::CREATED, NO_STORE, Json(MadeToken::from(issued))).into_response())
}

/// Revokes a token for good.
#[utoipa::path(delete, path = "/ostler/v1/tokens/{id}", operation_id = "revoke_token", tag = "tokens", params(("id" = String, Path, description = "The token's `id`")),
    responses((status = 204), (status = 404, description = "There is none, or it was revoked before", body = Problem)))]
pub(super) async fn revoke(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Segment(id): Segment,
) -> Result<Response, Refused> {
    if !app.core.identity.revoke_token(&who, &id).await? {
        let detail = "no token that is good has this id".to_owned();
        return Err(Refused::Request(StatusCode::NOT_FOUND, "No such token", detail));
    }
    tracing::info!(token = id, by = who.user, "token revoked");
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// An empty list would read like nothing and mean everything.
fn scopes(names: Option<&[String]>) -> Result<Vec<Permission>, Error> {
    let known = || PERMISSIONS.map(Permission::as_str).join(", ");
    let parse = |name: &String| {
        Permission::parse(name).ok_or_else(|| Error::Invalid(format!("no scope is called `{name}`; there are {}", known())))
    };
    match names {
        Some([]) => Err(Error::Invalid("a token that is good for whatever its user may do has no `scopes`".into())),
        names => names.unwrap_or_default().iter().map(parse).collect(),
    }
}

fn life(seconds: Option<u64>) -> Result<Option<Duration>, Error> {
    match seconds {
        Some(seconds) if !(1..=LONGEST_LIFE).contains(&seconds) => {
            Err(Error::Invalid(format!("`expires_in_seconds` is from 1 to {LONGEST_LIFE}")))
        }
        seconds => Ok(seconds.map(Duration::from_secs)),
    }
}
