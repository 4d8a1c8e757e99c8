//! `/ostler/v1/data-events`: news of files, for schedules.

use super::extract::{Body, Refused};
use super::wire::data_events::{DataEvents, Intake, Messages};
use crate::api::App;
use crate::api::problem::Problem;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::StatusCode;
use ostler_core::identity::Principal;
use ostler_core::schedules::DataMessage;

/// Bytes of the largest body.
pub(super) const LARGEST: usize = 256 << 10;

/// Tells of new files: one message as message brokers carry it, or up to 500 of them as `messages`. Each running schedule that is
/// for a file makes one deployment of it, however often it is told. Messages of other types are ignored. Of messages that cannot
/// be understood nothing is taken, of those before them neither. What is answered is written down; deployments follow.
#[utoipa::path(post, path = "/ostler/v1/data-events", operation_id = "submit_data_events", tag = "data-events",
    request_body = DataEvents,
    responses((status = 202, body = Intake), (status = 403, description = "This needs the permission `data-events.submit`", body = Problem),
              (status = 413, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn submit(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Body(Messages(messages)): Body<Messages>,
) -> Result<Response, Refused> {
    let messages: Vec<_> = messages.into_iter().map(DataMessage::from).collect();
    let intake = app.core.schedules.data_events(&who, &messages).await?;
    Ok((StatusCode::ACCEPTED, Json(Intake::from(intake))).into_response())
}
