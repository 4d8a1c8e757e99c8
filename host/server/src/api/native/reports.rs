//! `/ostler/v1/reports`.

use super::extract::Refused;
use crate::api::App;
use crate::api::auth;
use crate::api::problem::Problem;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use ostler_core::Error;
use ostler_core::identity::Credentials;

/// What the software of a machine came to, as its first boot reports it. The machine was given a token for it, which is good for
/// nothing else.
#[utoipa::path(post, path = "/ostler/v1/reports", operation_id = "report", tag = "machines",
    request_body(content = Vec<u8>, content_type = "application/json", description = "As the runner on the machine writes it"),
    responses((status = 204), (status = 401, description = "No report with this token is expected", body = Problem),
              (status = 413, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn take(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refused> {
    let Ok(Some(Credentials::Token(token))) = auth::from_headers(&headers) else { return Err(Error::Unauthenticated.into()) };
    let body =
        body.map_err(|rejection| Refused::Request(rejection.status(), "The body could not be read", rejection.body_text()))?;
    app.core.deployments.report(&token, &body).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
