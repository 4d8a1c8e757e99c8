//! What can go wrong, and what version 1 (as the original) and version 2 (honestly) make of it.

use super::Version;
use super::wire::pretty;
use axum::body::Body;
use axum::response::Response;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use ostler_core::{Error, ErrorKind};
use serde_json::{Value, json};

/// A failed request.
#[derive(Debug)]
pub(super) enum Fault {
    /// No such page.
    NoPage,
    /// The method is not defined for the page; those that are.
    NotImplemented(&'static str),
    /// The first part of a status path is none that is known.
    UnknownAction,
    /// The body is not JSON.
    MalformedJson(String),
    /// The body is not said to be JSON.
    NotJson,
    /// More bytes than are taken.
    TooLarge,
    /// The body does not fit the schema.
    Schema(String),
    /// Neither a node nor a hostname is named.
    NoTarget,
    /// The header `Idempotency-Key` cannot be used.
    BadKey,
    /// A use case failed.
    Core(Error, Context),
}

/// What the use case was for, since the original answers one failure differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Context {
    /// Listings.
    Status,
    /// `vm/start`.
    Start,
    /// `vm/stop`.
    Stop,
    /// `vm/action/…`.
    Assignment,
    /// Who asks.
    Authentication,
}

impl Fault {
    pub(super) fn answer(&self, version: Version) -> Response {
        match version {
            Version::V1 => self.as_the_original(),
            Version::V2 => self.as_problem(),
        }
    }

    fn as_the_original(&self) -> Response {
        let (code, message): (u16, String) = match self {
            Self::NoPage => {
                let body = pretty(&json!({ "message": "Page not found", "status": "error" }));
                return json_response(StatusCode::NOT_FOUND, "application/json", body);
            }
            Self::NotImplemented(_) => (501, "Not implemented".into()),
            Self::UnknownAction => (400, "Unrecognized action found".into()),
            Self::MalformedJson(_) => (400, "Malformed JSON stream".into()),
            Self::NotJson => (400, "Content-Type should be application/json".into()),
            Self::TooLarge => (400, "Request body too large".into()),
            Self::Schema(detail) => (400, format!("Some key doesn't validate the schema - {detail}")),
            Self::NoTarget => (400, "no valid node id nor hostname here".into()),
            Self::BadKey => (400, "Idempotency-Key should have 1 to 255 visible characters".into()),
            Self::Core(error, context) => original_message(error, *context),
        };
        let mut response = envelope(code, &message);
        self.decorate(response.headers_mut());
        response
    }

    fn as_problem(&self) -> Response {
        let (status, title): (StatusCode, &str) = match self {
            Self::NoPage | Self::UnknownAction => (StatusCode::NOT_FOUND, "No such page"),
            Self::NotImplemented(_) => (StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"),
            Self::MalformedJson(_) => (StatusCode::BAD_REQUEST, "Malformed JSON"),
            Self::NotJson => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body must be application/json"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"),
            Self::Schema(_) | Self::NoTarget => (StatusCode::UNPROCESSABLE_ENTITY, "The body does not fit the schema"),
            Self::BadKey => (StatusCode::BAD_REQUEST, "The Idempotency-Key is malformed"),
            Self::Core(error, _) => crate::api::problem::classify(error),
        };
        let detail = match self {
            Self::MalformedJson(detail) | Self::Schema(detail) => detail.clone(),
            Self::NoTarget => "neither `node` nor `hostname` is given".into(),
            Self::Core(error, _) => error.to_string(),
            _ => title.to_owned(),
        };
        let mut response = crate::api::problem::response(status, title, &detail);
        self.decorate(response.headers_mut());
        response
    }

    /// Headers that both versions carry.
    fn decorate(&self, headers: &mut http::HeaderMap) {
        match self {
            Self::NotImplemented(allowed) => {
                headers.insert(ALLOW, HeaderValue::from_static(allowed));
            }
            Self::Core(Error::Unauthenticated, _) => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"ostler\", charset=\"UTF-8\""));
            }
            Self::Core(error, _) => {
                if let Some(wait) = crate::api::problem::retry_after(error) {
                    headers.insert(RETRY_AFTER, HeaderValue::from(wait));
                }
            }
            _ => {}
        }
    }
}

/// Status and message of the original, which knew few of both.
fn original_message(error: &Error, context: Context) -> (u16, String) {
    const INVALID: &str = "Cloud not valid or wrong path";
    if matches!(error, Error::Unauthenticated | Error::Forbidden | Error::Throttled(_)) {
        return (403, "Forbidden".into());
    }
    if matches!(error, Error::Exposed) {
        return (403, error.to_string());
    }
    if matches!(error, Error::KeyReused | Error::UnderWay) {
        return (400, error.to_string());
    }
    if error.cloud_kind() == Some(&ErrorKind::Unavailable) {
        return (503, "Service unavailable".into());
    }
    match (context, error) {
        (Context::Start, Error::NoImage(_)) => (500, "Something went wrong no useful image id here".into()),
        (Context::Start, Error::NoSize(_)) => (500, "Something went wrong no useful size id here".into()),
        (Context::Start, _) => (500, format!("Something went wrong {INVALID}")),
        (Context::Stop, Error::NoNode(_)) | (Context::Assignment, Error::NotInCloud(_)) => (400, "no useful node id here".into()),
        (Context::Assignment, Error::NoNode(_)) => (400, "Node not found".into()),
        (Context::Assignment, Error::Assigned { node }) => (400, format!("Node {node} already assigned")),
        (Context::Assignment, Error::Refused(message)) => (400, message.clone()),
        (Context::Assignment, Error::NoAssignments(_)) => (400, "unknown".into()),
        (_, Error::Cloud(error)) if error.kind == ErrorKind::Unsupported => (400, "Cloud not valid".into()),
        _ => (500, INVALID.into()),
    }
}

/// The original's error envelope.
fn envelope(code: u16, message: &str) -> Response {
    let (short, long) = match code {
        400 => ("Bad Request", "Bad request syntax or unsupported method"),
        403 => ("Forbidden", "Request forbidden -- authorization will not help"),
        501 => ("Not Implemented", "Server does not support this operation"),
        503 => ("Service Unavailable", "The server cannot process the request due to a high load"),
        _ => ("Internal Server Error", "Server got itself in trouble"),
    };
    let body: Value = json!({
        "message": message,
        "status": "error",
        "status_code": code,
        "status_long_message": long,
        "status_short_message": short,
    });
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json_response(status, "application/json", pretty(&body))
}

/// A response with exactly these bytes.
pub(super) fn json_response(status: StatusCode, media_type: &'static str, body: Vec<u8>) -> Response {
    let length = HeaderValue::from(body.len());
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(CONTENT_LENGTH, length);
    response
}
