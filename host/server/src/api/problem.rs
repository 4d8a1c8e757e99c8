//! RFC 9457 problem bodies: how our own APIs, and the honest version of the Orchestrator's, tell what went wrong.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use ostler_core::clouds::CloudsError;
use ostler_core::deployments::DeploymentError;
use ostler_core::{Error, ErrorKind};
use ostler_drivers::LoadError;
use ostler_store::Error as StoreError;
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
    let mut response = match error {
        // What it says is about files and keys.
        Error::Authority(error) => {
            tracing::error!(%error, "the certificate authority failed");
            response(status, title, "the server's log says why")
        }
        Error::Clouds(error @ CloudsError::Files { .. }) => {
            tracing::error!(%error, "a cloud could not be kept or removed");
            response(status, title, "the server's log says why")
        }
        error => response(status, title, &error.to_string()),
    };
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
        Error::NoIssuer => (StatusCode::SERVICE_UNAVAILABLE, "The issuer of the token does not answer"),
        Error::Forbidden => (StatusCode::FORBIDDEN, "Not permitted"),
        Error::Exposed => (StatusCode::FORBIDDEN, "A password needs HTTPS"),
        Error::Throttled(_) => (StatusCode::TOO_MANY_REQUESTS, "Too many wrong credentials"),
        Error::NoImage(_) | Error::NoSize(_) => (StatusCode::UNPROCESSABLE_ENTITY, "No such image or size"),
        Error::NoNode(_) | Error::NotInCloud(_) => (StatusCode::NOT_FOUND, "No such node"),
        Error::NoImageRecord(_) => (StatusCode::NOT_FOUND, "No such image"),
        Error::NoInstance(_) => (StatusCode::NOT_FOUND, "No such instance"),
        Error::NoRule(_) => (StatusCode::NOT_FOUND, "No such forwarding rule"),
        Error::NoMetric(_) => (StatusCode::NOT_FOUND, "No such metric"),
        Error::NotNow(_) => (StatusCode::CONFLICT, "The present state does not allow it"),
        Error::Assigned { .. } => (StatusCode::CONFLICT, "The node is assigned already"),
        Error::Refused(_) => (StatusCode::CONFLICT, "Refused by the assignment service"),
        Error::NoAssignments(_) => (StatusCode::SERVICE_UNAVAILABLE, "The assignment service does not answer"),
        Error::KeyReused => (StatusCode::CONFLICT, "The idempotency key was used for another request"),
        Error::UnderWay => (StatusCode::CONFLICT, "A request with this idempotency key is under way"),
        Error::Uncertain { .. } => (StatusCode::BAD_GATEWAY, "The outcome is not known yet"),
        Error::Invalid(_) | Error::Store(StoreError::Invalid(_)) => (StatusCode::UNPROCESSABLE_ENTITY, "Invalid input"),
        Error::NoOperation(_) => (StatusCode::NOT_FOUND, "No such operation"),
        Error::Ended(_) => (StatusCode::CONFLICT, "The operation is over"),
        Error::Clouds(error) => clouds(error),
        Error::Deployment(error) => deployment(error),
        Error::NoUser(_) => (StatusCode::NOT_FOUND, "No such user"),
        Error::NoAccount(_) => (StatusCode::NOT_FOUND, "No such user"),
        Error::NoMail(_) => (StatusCode::SERVICE_UNAVAILABLE, "Mail cannot be sent"),
        Error::NoApplication => (StatusCode::NOT_FOUND, "No such application"),
        Error::NoService => (StatusCode::NOT_FOUND, "No such service"),
        Error::NoCertificate(_) => (StatusCode::NOT_FOUND, "No such certificate"),
        Error::NoServiceType(_) => (StatusCode::UNPROCESSABLE_ENTITY, "No such type of service"),
        Error::Taken(_) | Error::Store(StoreError::Exists(_)) => (StatusCode::CONFLICT, "It exists already"),
        Error::Busy(_) => (StatusCode::CONFLICT, "The present state does not allow it"),
        Error::NoCredit { .. } => (StatusCode::PAYMENT_REQUIRED, "Not enough credit"),
        Error::RegistrationClosed => (StatusCode::FORBIDDEN, "Registration is closed"),
        Error::Request(_) => (StatusCode::UNPROCESSABLE_ENTITY, "The certificate signing request is refused"),
        Error::NoManager(_) => (StatusCode::BAD_GATEWAY, "The service's manager does not answer"),
        Error::Authority(_) => (StatusCode::INTERNAL_SERVER_ERROR, "The certificate authority failed"),
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

fn clouds(error: &CloudsError) -> (StatusCode, &'static str) {
    match error {
        CloudsError::NoDriver(_) => (StatusCode::UNPROCESSABLE_ENTITY, "No such driver"),
        CloudsError::Refused(_) => (StatusCode::UNPROCESSABLE_ENTITY, "The driver cannot serve this cloud"),
        CloudsError::Unhealthy { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "The cloud is not well"),
        CloudsError::Configured(_) => (StatusCode::CONFLICT, "The cloud was not added here"),
        CloudsError::UnderWay(_) => (StatusCode::CONFLICT, "The cloud is being changed"),
        CloudsError::InUse { .. } => (StatusCode::CONFLICT, "The cloud is in use"),
        CloudsError::Files { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "The cloud could not be kept"),
    }
}

fn deployment(error: &DeploymentError) -> (StatusCode, &'static str) {
    match error {
        DeploymentError::NotFound(_) => (StatusCode::NOT_FOUND, "No such deployment"),
        DeploymentError::NoResource { .. } => (StatusCode::NOT_FOUND, "No such resource"),
        DeploymentError::NotOwner | DeploymentError::OnlyAdministrators(_) | DeploymentError::Group(_) => {
            (StatusCode::FORBIDDEN, "Not permitted")
        }
        DeploymentError::Status { .. } => (StatusCode::CONFLICT, "The present state does not allow it"),
        DeploymentError::Action(_) => (StatusCode::UNPROCESSABLE_ENTITY, "The resource does not allow it"),
        DeploymentError::Template(_) => (StatusCode::UNPROCESSABLE_ENTITY, "The template is refused"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "The server failed"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn failures_have_a_status_and_tell_nothing_internal() {
        let file = ostler_ca::Error::File { path: "/secret/ca_key.pem".into(), source: std::io::ErrorKind::NotFound.into() };
        for (error, status, shown) in [
            (Error::NoUser("ann".into()), 404, "no user is called `ann`"),
            (Error::NoApplication, 404, "application"),
            (Error::NoService, 404, "service"),
            (Error::NoCertificate("0a".into()), 404, "`0a`"),
            (Error::NoServiceType("php".into()), 422, "`php`"),
            (Error::Taken("the user"), 409, "the user exists already"),
            (Error::Store(StoreError::Exists("the record")), 409, "the record exists already"),
            (Error::Store(StoreError::Invalid("a text with U+0000")), 422, "U+0000"),
            (Error::Busy("it starts"), 409, "it starts"),
            (Error::NoCredit { balance: 3 }, 402, "3 left"),
            (Error::RegistrationClosed, 403, "administrator"),
            (Error::NoManager("timed out".into()), 502, "timed out"),
            (Error::Authority(file), 500, "log"),
        ] {
            let response = of(&error);
            assert_eq!(response.status().as_u16(), status, "{error}");
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains(shown) && !detail.contains("secret"), "{detail}");
            assert_eq!(problem["status"], status);
        }
    }
}
