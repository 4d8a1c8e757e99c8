//! What can go wrong, in the original's words.

use super::jackson;
use super::wire::JSON;
use axum::body::Body;
use axum::response::Response;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use ostler_core::Error;
use ostler_core::deployments::DeploymentError;
use ostler_core::schedules::ScheduleError;
use ostler_store::Error as StoreError;
use serde::Serialize;

/// What the original says to whoever has shown nothing.
const ANONYMOUS: &str = "Full authentication is required to access this resource";
/// What it says when two want the same.
const CONCURRENT: &str = "The request couldn't be fulfilled because of a concurrent update. Please retry later";

/// A failed request.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) status: StatusCode,
    pub(super) message: Option<String>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

/// The body.
#[derive(Serialize)]
struct Failure<'f> {
    code: u16,
    title: &'f str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'f str>,
}

impl Fault {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: Some(message.into()), headers: Vec::new() }
    }

    /// The client's mistake.
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// A status that says it all.
    pub(super) fn of_status(status: StatusCode) -> Self {
        Self { status, message: None, headers: Vec::new() }
    }

    fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::try_from(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// Somebody may not, for a reason that has to do with who he is.
    fn challenge(status: StatusCode, message: &str, challenge: &str) -> Self {
        Self::new(status, message).with(WWW_AUTHENTICATE, challenge).with(PRAGMA, "no-cache")
    }

    /// Nothing was shown.
    pub(super) fn anonymous() -> Self {
        let challenge = format!("Bearer realm=\"oauth\", error=\"unauthorized\", error_description=\"{ANONYMOUS}\"");
        Self::challenge(StatusCode::UNAUTHORIZED, ANONYMOUS, &challenge)
    }

    /// A token that is none, any more or at all. It is not repeated: answers end in logs.
    pub(super) fn bad_token() -> Self {
        let challenge = "Bearer realm=\"oauth\", error=\"invalid_token\", error_description=\"Invalid token\"";
        Self::challenge(StatusCode::UNAUTHORIZED, "Invalid token", challenge)
    }

    /// A wrong password or certificate.
    pub(super) fn bad_credentials() -> Self {
        let challenge = "Bearer realm=\"oauth\", error=\"unauthorized\", error_description=\"Bad credentials\"";
        Self::challenge(StatusCode::UNAUTHORIZED, "Bad credentials", challenge)
            .with(WWW_AUTHENTICATE, "Basic realm=\"ostler\", charset=\"UTF-8\"")
    }

    /// A token that is good for less; one of these scopes would do.
    pub(super) fn scope(scopes: &str) -> Self {
        const TEXT: &str = "Insufficient scope for this resource";
        let challenge = format!("Bearer error=\"insufficient_scope\", error_description=\"{TEXT}\", scope=\"{scopes}\"");
        Self::challenge(StatusCode::FORBIDDEN, &format!("{TEXT}, scope=\"{scopes}\""), &challenge)
    }

    /// Nothing is there.
    pub(super) fn no_handler(method: &Method, path: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("No handler found for {method} {path}"))
    }

    /// Something else is there.
    pub(super) fn method(method: &Method, allowed: &str) -> Self {
        let message = format!("Request method '{method}' not supported");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, message).with(ALLOW, allowed)
    }

    /// The answer.
    pub(super) fn response(&self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let failure = Failure { code: self.status.as_u16(), title, message: self.message.as_deref() };
        let mut response = Response::new(Body::from(jackson::write(&failure)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in &self.headers {
            headers.append(name.clone(), value.clone());
        }
        response
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        let fault = match &error {
            Error::Deployment(error) => return deployment(error),
            Error::Schedule(error) => return schedule(error),
            Error::Unauthenticated => return Self::anonymous(),
            Error::Forbidden => Self::new(StatusCode::FORBIDDEN, "Access is denied"),
            Error::Store(StoreError::Contention) => Self::new(StatusCode::CONFLICT, CONCURRENT).with(RETRY_AFTER, "0"),
            Error::UnderWay => Self::new(StatusCode::CONFLICT, text).with(RETRY_AFTER, "1"),
            Error::Store(StoreError::Invalid(_) | StoreError::Exists(_)) => Self::new(status(&error), text),
            Error::Store(_) | Error::Authority(_) => {
                tracing::error!(%error, "the server failed a request");
                Self::new(status(&error), "The server failed; its log says why")
            }
            error => Self::new(status(error), text),
        };
        match crate::api::problem::retry_after(&error) {
            Some(wait) => fault.with(RETRY_AFTER, &wait.to_string()),
            None => fault,
        }
    }
}

/// As elsewhere, but that this dialect has one status for whatever is wrong with what the client sent.
fn status(error: &Error) -> StatusCode {
    match crate::api::problem::classify(error).0 {
        StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
        status => status,
    }
}

fn deployment(error: &DeploymentError) -> Fault {
    let (status, message) = match error {
        DeploymentError::NotFound(id) => (StatusCode::NOT_FOUND, format!("The deployment {id} doesn't exist")),
        DeploymentError::NoResource { deployment, resource } => {
            (StatusCode::NOT_FOUND, format!("The resource {resource} in deployment {deployment} doesn't exist"))
        }
        DeploymentError::NotOwner => {
            (StatusCode::FORBIDDEN, "Only the owner of the deployment can perform this operation".to_owned())
        }
        DeploymentError::Status { verb, status } => (StatusCode::CONFLICT, in_status(verb, status.as_str())),
        DeploymentError::Action(why) => {
            // A node that is in another state may come to the right one; one of another type will not.
            let status = if why.starts_with("Cannot ") { StatusCode::CONFLICT } else { StatusCode::BAD_REQUEST };
            (status, format!("Error validating action request; {why}"))
        }
        DeploymentError::OnlyAdministrators(whose) => {
            (StatusCode::FORBIDDEN, format!("Only admin can retrieve deployments for {whose}"))
        }
        DeploymentError::Group(why) => (StatusCode::FORBIDDEN, why.clone()),
        DeploymentError::Template(error) => (StatusCode::BAD_REQUEST, error.to_string()),
        error => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    Fault::new(status, message)
}

fn schedule(error: &ScheduleError) -> Fault {
    let (status, message) = match error {
        // As the original has it, which says the same of both.
        ScheduleError::NotFound(id) => (StatusCode::NOT_FOUND, format!("The deployment {id} doesn't exist")),
        ScheduleError::NotOwner => {
            (StatusCode::FORBIDDEN, "Only the owner of the schedule can perform this operation".to_owned())
        }
        // And which has another answer here than for deployments.
        ScheduleError::OnlyAdministrators(whose) => (StatusCode::BAD_REQUEST, illegal_creator(whose)),
        ScheduleError::Expression { .. } => (StatusCode::BAD_REQUEST, error.to_string()),
        error => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    Fault::new(status, message)
}

/// What the original says of a `createdBy` that is none.
pub(super) fn illegal_creator(text: &str) -> String {
    format!("Value {text} for param createdBy is illegal")
}

fn in_status(verb: &str, status: &str) -> String {
    match verb {
        "delete" => format!("Deployment already in {status} state."),
        "reset" => format!("Cannot reset a deployment in {status} state"),
        "act" => format!("Cannot perform actions on deployment in {status} state"),
        verb => format!("Cannot {verb} a deployment in {status} state"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http_body_util::BodyExt;
    use ostler_core::ErrorKind;
    use ostler_core::deployments::DeploymentStatus;
    use ostler_core::schedules::ExpressionSyntax;
    use std::time::Duration;

    async fn body(response: Response) -> String {
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn the_object_has_the_bytes_of_the_original() {
        let response = Fault::new(StatusCode::NOT_FOUND, "Message").response();
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json;charset=UTF-8");
        let body = body(response).await;
        assert_eq!(body, "{\n  \"code\" : 404,\n  \"title\" : \"Not Found\",\n  \"message\" : \"Message\"\n}");
        assert_eq!(body.len(), 68);
    }

    #[tokio::test]
    async fn failures_without_a_message_have_none() {
        let body = body(Fault::of_status(StatusCode::GATEWAY_TIMEOUT).response()).await;
        assert_eq!(body, "{\n  \"code\" : 504,\n  \"title\" : \"Gateway Timeout\"\n}");
    }

    #[test]
    fn challenges() {
        for (fault, status, message, header) in [
            (
                Fault::anonymous(),
                401,
                ANONYMOUS,
                "Bearer realm=\"oauth\", error=\"unauthorized\", \
                 error_description=\"Full authentication is required to access this resource\"",
            ),
            (
                Fault::bad_token(),
                401,
                "Invalid token",
                "Bearer realm=\"oauth\", error=\"invalid_token\", error_description=\"Invalid token\"",
            ),
            (
                Fault::scope("offline_access fts:submit-transfer"),
                403,
                "Insufficient scope for this resource, scope=\"offline_access fts:submit-transfer\"",
                "Bearer error=\"insufficient_scope\", error_description=\"Insufficient scope for this resource\", \
                 scope=\"offline_access fts:submit-transfer\"",
            ),
        ] {
            let response = fault.response();
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.headers()[WWW_AUTHENTICATE], header);
            assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
            assert_eq!(response.headers()[PRAGMA], "no-cache");
            assert_eq!(fault.message.as_deref(), Some(message));
        }
        let response = Fault::bad_credentials().response();
        assert_eq!(response.headers().get_all(WWW_AUTHENTICATE).iter().count(), 2);
        let response = Fault::method(&Method::DELETE, "GET, HEAD, POST").response();
        assert_eq!((response.status().as_u16(), &response.headers()[ALLOW]), (405, &HeaderValue::from_static("GET, HEAD, POST")));
    }

    #[test]
    fn failed_use_cases_are_told_as_the_original_told_them() {
        let status = |verb| DeploymentError::Status { verb, status: DeploymentStatus::DeleteInProgress };
        for (error, code, message) in [
            (DeploymentError::NotFound("x".into()), 404, "The deployment x doesn't exist"),
            (
                DeploymentError::NoResource { deployment: "d".into(), resource: "r".into() },
                404,
                "The resource r in deployment d doesn't exist",
            ),
            (DeploymentError::NotOwner, 403, "Only the owner of the deployment can perform this operation"),
            (status("update"), 409, "Cannot update a deployment in DELETE_IN_PROGRESS state"),
            (status("delete"), 409, "Deployment already in DELETE_IN_PROGRESS state."),
            (status("reset"), 409, "Cannot reset a deployment in DELETE_IN_PROGRESS state"),
            (status("act"), 409, "Cannot perform actions on deployment in DELETE_IN_PROGRESS state"),
            (
                DeploymentError::Action("Cannot start node in state STARTED".into()),
                409,
                "Error validating action request; Cannot start node in state STARTED",
            ),
            (
                DeploymentError::Action("Actions not supported on node of type T".into()),
                400,
                "Error validating action request; Actions not supported on node of type T",
            ),
            (DeploymentError::OnlyAdministrators("s@i".into()), 403, "Only admin can retrieve deployments for s@i"),
            (
                DeploymentError::Group("The group g is not in the user's authorized groups".into()),
                403,
                "The group g is not in the user's authorized groups",
            ),
        ] {
            let fault = Fault::from(Error::Deployment(error));
            assert_eq!((fault.status.as_u16(), fault.message.as_deref()), (code, Some(message)));
        }
    }

    #[test]
    fn failed_use_cases_of_schedules_too() {
        for (error, code, message) in [
            (ScheduleError::NotFound("x".into()), 404, "The deployment x doesn't exist"),
            (ScheduleError::NotOwner, 403, "Only the owner of the schedule can perform this operation"),
            (ScheduleError::OnlyAdministrators("s@i".into()), 400, "Value s@i for param createdBy is illegal"),
            (
                ScheduleError::Expression { syntax: ExpressionSyntax::Glob, why: "a [ has no ]".into() },
                400,
                "fileExpression is no glob that can be used: a [ has no ]",
            ),
        ] {
            let fault = Fault::from(Error::Schedule(error));
            assert_eq!((fault.status.as_u16(), fault.message.as_deref()), (code, Some(message)));
        }
    }

    #[test]
    fn everything_else_has_an_honest_status_and_tells_nothing_internal() {
        let cloud = ostler_drivers::Error::new(ErrorKind::Unavailable, "the cloud is away");
        for (error, code, message, retry) in [
            (Error::Unauthenticated, 401, ANONYMOUS, None),
            (Error::Forbidden, 403, "Access is denied", None),
            (Error::Throttled(Duration::from_millis(1500)), 429, "too many wrong credentials; try again later", Some("2")),
            (Error::KeyReused, 409, "this idempotency key was used before, for another request", None),
            (Error::UnderWay, 409, "a request with this idempotency key is still under way", Some("1")),
            (Error::Store(StoreError::Contention), 409, CONCURRENT, Some("0")),
            (Error::Store(StoreError::Unavailable("canary".into())), 500, "The server failed; its log says why", None),
            (Error::Invalid("a wrong thing".into()), 400, "a wrong thing", None),
            (Error::Stopping, 503, "the host is shutting down", None),
            (Error::Cloud(cloud), 503, "", None),
        ] {
            let fault = Fault::from(error);
            let shown = fault.message.unwrap();
            assert_eq!(fault.status.as_u16(), code, "{shown}");
            assert!(message.is_empty() || shown == message, "{shown}");
            let wait = fault.headers.iter().find(|(name, _)| name == RETRY_AFTER).map(|(_, value)| value.to_str().unwrap());
            assert_eq!(wait, retry, "{shown}");
        }
    }
}
