//! `/ostler/v1/work`: operations of several steps.

use super::extract::{Asked, Limit, Refused, Segment};
use super::wire::work::{Operation, Operations};
use crate::api::App;
use crate::api::problem::Problem;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::StatusCode;
use ostler_core::identity::Principal;
use ostler_store::{Request, Work, WorkFilter};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

/// Which operations.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Which {
    /// Those that are not over.
    #[default]
    Open,
    /// Those an operator should look at.
    Stuck,
    /// All.
    All,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// Which; those that are not over, unless said otherwise.
    #[serde(default)]
    #[param(value_type = Option<Which>, inline)]
    which: Which,
    /// The `next` of the page before.
    before: Option<String>,
    /// How many at most; 100 unless said otherwise.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Limit,
}

/// Operations without their steps, the latest first.
#[utoipa::path(get, path = "/ostler/v1/work", operation_id = "list_work", tag = "work", params(Page),
    responses((status = 200, body = Operations), (status = 400, body = Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Asked(page): Asked<Page>,
) -> Result<Response, Refused> {
    let which = match page.which {
        Which::Open => WorkFilter::Open,
        Which::Stuck => WorkFilter::Stuck,
        Which::All => WorkFilter::All,
    };
    let mut found = app.core.scheduler.list(&who, which, page.before.as_deref(), page.limit.and_one()).await?;
    let next = page.limit.cut(&mut found, |last: &Work| last.operation.id.clone());
    Ok(Json(Operations { operations: found.into_iter().map(Operation::from).collect(), next }).into_response())
}

/// One operation with its steps.
#[utoipa::path(get, path = "/ostler/v1/work/{id}", operation_id = "show_work", tag = "work",
    params(("id" = String, Path, description = "The operation's identifier")),
    responses((status = 200, body = Operation), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Segment(id): Segment,
) -> Result<Response, Refused> {
    Ok(Json(Operation::from(app.core.scheduler.show(&who, &id).await?)).into_response())
}

/// Has an operation tried at once that waits for its time.
#[utoipa::path(post, path = "/ostler/v1/work/{id}/retry", operation_id = "retry_work", tag = "work",
    params(("id" = String, Path, description = "The operation's identifier")),
    responses((status = 202, body = Operation), (status = 404, body = Problem),
              (status = 409, description = "It is over", body = Problem),
              (status = 422, description = "It is a single call, and settled by itself", body = Problem)))]
pub(super) async fn retry(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Segment(id): Segment,
) -> Result<Response, Refused> {
    order(&app, &who, &id, Request::Retry).await
}

/// Has an operation turned round: what it has done is undone, as far as there is a way back.
#[utoipa::path(post, path = "/ostler/v1/work/{id}/cancel", operation_id = "cancel_work", tag = "work",
    params(("id" = String, Path, description = "The operation's identifier")),
    responses((status = 202, body = Operation), (status = 404, body = Problem),
              (status = 409, description = "It is over", body = Problem),
              (status = 422, description = "It is a single call, and settled by itself", body = Problem)))]
pub(super) async fn cancel(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Segment(id): Segment,
) -> Result<Response, Refused> {
    order(&app, &who, &id, Request::Cancel).await
}

/// Gives an operation up as it is. What it has made at a provider and not undone stays there: its steps name it.
#[utoipa::path(post, path = "/ostler/v1/work/{id}/abandon", operation_id = "abandon_work", tag = "work",
    params(("id" = String, Path, description = "The operation's identifier")),
    responses((status = 202, body = Operation), (status = 404, body = Problem),
              (status = 409, description = "It is over", body = Problem),
              (status = 422, description = "It is a single call, and settled by itself", body = Problem)))]
pub(super) async fn abandon(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Segment(id): Segment,
) -> Result<Response, Refused> {
    order(&app, &who, &id, Request::Abandon).await
}

async fn order(app: &App, who: &Principal, id: &str, request: Request) -> Result<Response, Refused> {
    let work = app.core.scheduler.order(who, id, request).await?;
    Ok((StatusCode::ACCEPTED, Json(Operation::from(work))).into_response())
}
