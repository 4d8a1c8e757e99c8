//! `/ostler/v1/users/{name}/credit`.

use super::extract::{Asked, Body, Limit, Refused, Segment};
use super::wire::accounts::{Balance, Entry, Grant, History};
use crate::api::App;
use crate::api::problem::Problem;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::{HeaderMap, StatusCode};
use ostler_core::identity::Principal;
use serde::Deserialize;
use utoipa::IntoParams;

/// The header that stands for `reference` where the body has none.
const KEY: &str = "idempotency-key";

/// A user's credit.
#[utoipa::path(get, path = "/ostler/v1/users/{name}/credit", operation_id = "show_credit", tag = "credit", params(("name" = String, Path, description = "The user's name")),
    responses((status = 200, body = Balance), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Segment(name): Segment,
) -> Result<Response, Refused> {
    Ok(Json(Balance { balance: app.core.billing.balance(&who, &name).await? }).into_response())
}

/// Gives a user credit. The same reference gives it once, and answers with the entry of then.
#[utoipa::path(post, path = "/ostler/v1/users/{name}/credit", operation_id = "grant_credit", tag = "credit",
    params(("name" = String, Path, description = "The user's name"),
           ("idempotency-key" = Option<String>, Header, description = "Counts as `reference`, where the body has none")),
    request_body = Grant,
    responses((status = 201, body = Entry), (status = 404, body = Problem),
              (status = 409, description = "The reference stands for another grant", body = Problem), (status = 422, body = Problem)))]
pub(super) async fn grant(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Segment(name): Segment,
    headers: HeaderMap,
    Body(grant): Body<Grant>,
) -> Result<Response, Refused> {
    let reference = reference(grant.reference.as_deref(), &headers);
    let entry = app.core.billing.grant(&who, &name, grant.amount, reference, &grant.note).await?;
    tracing::info!(user = name, amount = entry.amount, entry = entry.id, by = who.user, "credit given");
    Ok((StatusCode::CREATED, Json(Entry::from(entry))).into_response())
}

fn reference<'a>(body: Option<&'a str>, headers: &'a HeaderMap) -> Option<&'a str> {
    // What is no text is an empty one, which is refused.
    body.or_else(|| headers.get(KEY).map(|value| value.to_str().unwrap_or_default()))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// Only entries whose `id` is below this.
    before: Option<i64>,
    /// How many at most; 100 unless said otherwise.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Limit,
}

/// The entries of a user's account, the latest first.
#[utoipa::path(get, path = "/ostler/v1/users/{name}/credit/history", operation_id = "credit_history", tag = "credit",
    params(("name" = String, Path, description = "The user's name"), Page),
    responses((status = 200, body = History), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn history(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Segment(name): Segment,
    Asked(page): Asked<Page>,
) -> Result<Response, Refused> {
    let mut entries = app.core.billing.history(&who, &name, page.before, page.limit.and_one()).await?;
    let next = page.limit.cut(&mut entries, |last| last.id);
    Ok(Json(History { entries: entries.into_iter().map(Entry::from).collect(), next }).into_response())
}
