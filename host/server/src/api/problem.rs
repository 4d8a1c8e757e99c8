//! RFC 9457 problem bodies: how our own APIs, and the honest version of the Orchestrator's, tell what went wrong.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use ostler_core::{Error, ErrorKind};
use ostler_drivers::LoadError;
use serde::Serialize;

/// What went wrong.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// A URI of the kind of problem; `about:blank` where the status says it all.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The kind, in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What exactly.
    pub detail: String,
}

/// A response with a problem body.
pub fn response(status: StatusCode, title: &str, detail: &str) -> Response {
    let problem = Problem { kind: "about:blank", title: title.to_owned(), status: status.as_u16(), detail: detail.to_owned() };
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    (status, [(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"))], body).into_response()
}

/// The response to a failed use case.
pub fn of(error: &Error) -> Response {
    let (status, title) = classify(error);
    let mut response = response(status, title, &error.to_string());
    if matches!(error, Error::Unauthenticated) {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"ostler\", charset=\"UTF-8\""));
    }
    if let Some(wait) = retry_after(error) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait));
    }
    response
}

/// Seconds after which the client may try again, where that makes sense.
pub fn retry_after(error: &Error) -> Option<u64> {
    let wait = match error {
        Error::Throttled(wait) => Some(*wait),
        Error::Cloud(error) => error.retry_after,
        _ => None,
    };
    wait.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
}

/// The status of a failed use case, and its kind in words.
pub fn classify(error: &Error) -> (StatusCode, &'static str) {
    match error {
        Error::Unauthenticated => (StatusCode::UNAUTHORIZED, "Valid credentials are required"),
        Error::Forbidden => (StatusCode::FORBIDDEN, "Not permitted"),
        Error::Throttled(_) => (StatusCode::TOO_MANY_REQUESTS, "Too many wrong credentials"),
        Error::NoImage(_) | Error::NoSize(_) => (StatusCode::UNPROCESSABLE_ENTITY, "No such image or size"),
        Error::NoNode(_) | Error::NotInCloud(_) => (StatusCode::NOT_FOUND, "No such node"),
        Error::Assigned { .. } => (StatusCode::CONFLICT, "The node is assigned already"),
        Error::Refused(_) => (StatusCode::CONFLICT, "Refused by the assignment service"),
        Error::NoAssignments(_) => (StatusCode::SERVICE_UNAVAILABLE, "The assignment service does not answer"),
        Error::KeyReused => (StatusCode::CONFLICT, "The idempotency key was used for another request"),
        Error::UnderWay => (StatusCode::CONFLICT, "A request with this idempotency key is under way"),
        Error::Uncertain { .. } => (StatusCode::BAD_GATEWAY, "The outcome is not known yet"),
        Error::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "Invalid input"),
        Error::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "The server is stopping"),
        Error::Load(LoadError::Unknown(_)) => (StatusCode::NOT_FOUND, "No such driver or version"),
        Error::Load(LoadError::InUse(_)) => (StatusCode::CONFLICT, "The driver is in use"),
        Error::Load(LoadError::Io(_)) => (StatusCode::INTERNAL_SERVER_ERROR, "The component could not be read or kept"),
        Error::Load(_) => (StatusCode::UNPROCESSABLE_ENTITY, "The component is refused"),
        Error::Cloud(error) => match error.kind {
            ErrorKind::UnknownCloud => (StatusCode::NOT_FOUND, "No such cloud"),
            ErrorKind::NotFound => (StatusCode::NOT_FOUND, "The cloud knows no such thing"),
            ErrorKind::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "The cloud refused the request"),
            ErrorKind::Conflict => (StatusCode::CONFLICT, "The present state does not allow it"),
            ErrorKind::Quota | ErrorKind::Forbidden => (StatusCode::FORBIDDEN, "The cloud does not permit it"),
            ErrorKind::Unsupported => (StatusCode::NOT_IMPLEMENTED, "The cloud's driver has no such feature"),
            ErrorKind::Throttled | ErrorKind::Capacity | ErrorKind::Unavailable | ErrorKind::NotLoaded => {
                (StatusCode::SERVICE_UNAVAILABLE, "The cloud is not available at present")
            }
            ErrorKind::Deadline => (StatusCode::GATEWAY_TIMEOUT, "The cloud did not answer in time"),
            _ => (StatusCode::BAD_GATEWAY, "The cloud failed"),
        },
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "The server failed"),
    }
}
