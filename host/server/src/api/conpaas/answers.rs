//! What this dialect answers: failures come with status 200, as its clients expect, and say why in a header besides.

use super::wire::{self, Failure, Refusal};
use axum::body::Body;
use axum::response::Response;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};
use ostler_core::{Error, ErrorKind};
use ostler_store::Error as StoreError;
use serde::Serialize;

/// Why an answer of status 200 is a failure, for people who look for the reason of a `false`.
const X_ERROR: HeaderName = HeaderName::from_static("x-error");

/// Compact JSON, under the original's name for it.
pub(super) fn raw<T: Serialize + ?Sized>(value: &T) -> Response {
    with_origin(bytes(StatusCode::OK, wire::RAW, wire::raw(value)))
}

/// Pretty JSON.
pub(super) fn pretty<T: Serialize + ?Sized>(value: &T) -> Response {
    with_origin(bytes(StatusCode::OK, wire::PRETTY, wire::pretty(value)))
}

/// A text.
pub(super) fn text(text: impl Into<Vec<u8>>) -> Response {
    bytes(StatusCode::OK, wire::RAW, text.into())
}

/// `false`, and why.
pub(super) fn no(why: &dyn std::fmt::Display) -> Response {
    with_reason(raw(&false), &why.to_string())
}

/// The error object of 1.x.
pub(super) fn failure(message: &str) -> Response {
    with_reason(pretty(&Failure::new(message)), message)
}

/// The error object of 2.x.
pub(super) fn refusal(message: &str) -> Response {
    with_reason(pretty(&Refusal { error: message }), message)
}

/// A response with a reason in its header.
pub(super) fn with_reason(mut response: Response, why: &str) -> Response {
    let plain: String = why.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).take(512).collect();
    if let Ok(value) = HeaderValue::try_from(plain) {
        response.headers_mut().insert(X_ERROR, value);
    }
    response
}

/// A response that must not be kept by anybody on its way.
pub(super) fn secret(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Some bytes.
pub(super) fn bytes(status: StatusCode, media_type: &'static str, bytes: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

fn with_origin(mut response: Response) -> Response {
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// Without the header that lets pages of other origins read the answer, where the original had none.
pub(super) fn same_origin(mut response: Response) -> Response {
    response.headers_mut().remove(ACCESS_CONTROL_ALLOW_ORIGIN);
    response
}

/// A page of the original's framework: an error that is not the application's.
pub(super) fn page(status: StatusCode, why: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("Error");
    let why: String = why.chars().filter(|c| !matches!(c, '<' | '>' | '&')).collect();
    let html = format!("<!doctype html>\n<title>{0} {title}</title>\n<h1>{title}</h1>\n<p>{why}</p>\n", status.as_u16());
    bytes(status, "text/html; charset=utf-8", html.into_bytes())
}

/// The path has other methods.
pub(super) fn other_methods(allowed: &'static str) -> Response {
    let mut response = page(StatusCode::METHOD_NOT_ALLOWED, "The method is not allowed for the requested URL.");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// Why a use case failed, where the failure is no part of the route's own answers.
pub(super) fn error(error: &Error) -> Response {
    // The answer does not say it.
    let failed = is_failure(error);
    if failed {
        tracing::error!(%error, "the server failed a request");
    }
    let status = match error {
        Error::Unauthenticated => StatusCode::UNAUTHORIZED,
        Error::Forbidden | Error::Exposed => StatusCode::FORBIDDEN,
        Error::Throttled(_) => StatusCode::TOO_MANY_REQUESTS,
        Error::Authority(_) => StatusCode::INTERNAL_SERVER_ERROR,
        Error::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        _ if failed => StatusCode::SERVICE_UNAVAILABLE,
        // A failure of the application's, which its clients look for in the answer.
        _ => StatusCode::OK,
    };
    let message = match error {
        Error::Unauthenticated => "cert_required: this needs a valid client certificate".to_owned(),
        Error::Forbidden => "the client certificate is not of the type that this needs".to_owned(),
        _ if failed => "the server failed".to_owned(),
        other => other.to_string(),
    };
    let mut response = failure(&message);
    *response.status_mut() = status;
    if let Some(wait) = crate::api::problem::retry_after(error) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait));
    }
    response
}

/// Whether a failure is the server's and not the route's to tell.
pub(super) fn is_ours(error: &Error) -> bool {
    is_failure(error)
        || matches!(error, Error::Unauthenticated | Error::Forbidden | Error::Exposed | Error::Throttled(_) | Error::Stopping)
}

/// Whether the server broke down over it, and not over what it was asked.
fn is_failure(error: &Error) -> bool {
    match error {
        Error::Store(StoreError::Invalid(_) | StoreError::Exists(_)) => false,
        Error::Store(_) | Error::Authority(_) => true,
        _ => false,
    }
}

/// Whether the cloud that was named does not exist.
pub(super) fn is_unknown_cloud(error: &Error) -> bool {
    error.cloud_kind() == Some(&ErrorKind::UnknownCloud)
}
