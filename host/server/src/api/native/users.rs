//! `/ostler/v1/users`.

use super::extract::{Asked, Body, Limit, Refused, Segment};
use super::wire::accounts::{AddedUser, NewUser, Secret, User, UserChanges, Users};
use crate::api::App;
use crate::api::problem::Problem;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::StatusCode;
use http::header::CACHE_CONTROL;
use ostler_core::identity::{Changes, Principal, Registration, parse_roles};
use serde::Deserialize;
use utoipa::IntoParams;

/// For answers with a secret.
pub(super) const NO_STORE: [(http::HeaderName, &str); 1] = [(CACHE_CONTROL, "no-store")];

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// Only users whose name comes after this one, by its bytes.
    after: Option<String>,
    /// How many at most; 100 unless said otherwise.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Limit,
}

/// Users, by name.
#[utoipa::path(get, path = "/ostler/v1/users", operation_id = "list_users", tag = "users", params(Page),
    responses((status = 200, body = Users), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Asked(page): Asked<Page>,
) -> Result<Response, Refused> {
    let mut users = app.core.identity.users(&who, page.after.as_deref(), page.limit.and_one()).await?;
    let next = page.limit.cut(&mut users, |last| last.username.clone());
    Ok(Json(Users { users: users.into_iter().map(User::from).collect(), next }).into_response())
}

/// Adds a user.
#[utoipa::path(post, path = "/ostler/v1/users", operation_id = "add_user", tag = "users", request_body = NewUser,
    responses((status = 201, body = AddedUser), (status = 409, description = "The name or the address for mail is another's", body = Problem),
              (status = 422, body = Problem)))]
pub(super) async fn add(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Body(new): Body<NewUser>,
) -> Result<Response, Refused> {
    let roles = parse_roles(new.roles.iter().map(String::as_str))?;
    let named = Registration::named(new.username);
    let (password, made) = match new.password {
        Some(Secret(password)) => (password, None),
        None => (named.password.clone(), Some(Secret(named.password))),
    };
    let registration = Registration {
        username: named.username,
        password,
        email: new.email,
        first_name: new.first_name,
        last_name: new.last_name,
        affiliation: new.affiliation,
    };
    let user = app.core.identity.add_user(&who, &registration, &roles, new.credit).await?;
    tracing::info!(user = user.username, roles = ?user.roles, credit = new.credit, by = who.user, "user added");
    let added = AddedUser { user: user.into(), password: made };
    Ok((StatusCode::CREATED, NO_STORE, Json(added)).into_response())
}

/// One user.
#[utoipa::path(get, path = "/ostler/v1/users/{name}", operation_id = "show_user", tag = "users", params(("name" = String, Path, description = "The user's name")),
    responses((status = 200, body = User), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Segment(name): Segment,
) -> Result<Response, Refused> {
    Ok(Json(User::from(app.core.identity.user(&who, &name).await?)).into_response())
}

/// Changes a user, with effect on his next request.
#[utoipa::path(patch, path = "/ostler/v1/users/{name}", operation_id = "change_user", tag = "users", params(("name" = String, Path, description = "The user's name")),
    request_body = UserChanges,
    responses((status = 200, body = User), (status = 404, body = Problem),
              (status = 422, description = "Also where administrators would take their own rights away", body = Problem)))]
pub(super) async fn change(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Segment(name): Segment,
    Body(changes): Body<UserChanges>,
) -> Result<Response, Refused> {
    let roles = changes.roles.as_ref().map(|roles| parse_roles(roles.iter().map(String::as_str))).transpose()?;
    let changes = Changes { roles, active: changes.active, password: changes.password.map(|Secret(password)| password) };
    Ok(Json(User::from(app.core.identity.change_user(&who, &name, &changes).await?)).into_response())
}
