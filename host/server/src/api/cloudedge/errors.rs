//! Faults, as OpenStack Compute 1.1 has them: one member that names the fault, with code and message.

use axum::body::Body;
use axum::response::Response;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use ostler_core::{Error, ErrorKind};
use ostler_store::Error as StoreError;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// What credentials are asked for.
const CHALLENGE: &str = "Basic realm=\"cloudedge\"";
/// When to come again where nobody knows better, in seconds.
const PAUSE: u64 = 5;

/// The names of the faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    ComputeFault,
    ServiceUnavailable,
    Unauthorized,
    Forbidden,
    BadRequest,
    BadMethod,
    ItemNotFound,
    BadMediaType,
    BuildInProgress,
    OverLimit,
}

impl Name {
    fn as_str(self) -> &'static str {
        match self {
            Self::ComputeFault => "computeFault",
            Self::ServiceUnavailable => "serviceUnavailable",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::BadRequest => "badRequest",
            Self::BadMethod => "badMethod",
            Self::ItemNotFound => "itemNotFound",
            Self::BadMediaType => "badMediaType",
            Self::BuildInProgress => "buildInProgress",
            Self::OverLimit => "overLimit",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::ComputeFault => StatusCode::INTERNAL_SERVER_ERROR,
            Self::ServiceUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::BadMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::ItemNotFound => StatusCode::NOT_FOUND,
            Self::BadMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BuildInProgress => StatusCode::CONFLICT,
            Self::OverLimit => StatusCode::PAYLOAD_TOO_LARGE,
        }
    }
}

/// A failed request.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) name: Name,
    pub(super) message: String,
    details: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Serialize)]
struct Told<'f> {
    code: u16,
    message: &'f str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'f str>,
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let told = Told { code: self.name.status().as_u16(), message: &self.message, details: self.details.as_deref() };
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.name.as_str(), &told)?;
        map.end()
    }
}

impl Fault {
    pub(super) fn new(name: Name, message: impl Into<String>) -> Self {
        let fault = Self { name, message: message.into(), details: None, headers: Vec::new() };
        match name {
            Name::Unauthorized => fault.with(WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE)),
            _ => fault,
        }
    }

    /// The client's mistake.
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(Name::BadRequest, message)
    }

    /// Nothing is there, or nothing for this user.
    pub(super) fn nothing() -> Self {
        Self::new(Name::ItemNotFound, "nothing is served under this path")
    }

    /// The path has other methods.
    pub(super) fn method(allowed: &str) -> Self {
        let fault = Self::new(Name::BadMethod, "the path has other methods").detailed(allowed);
        match HeaderValue::try_from(allowed) {
            Ok(allowed) => fault.with(ALLOW, allowed),
            Err(_) => fault,
        }
    }

    /// Of an answer that is none of ours: what is around the routes has failed.
    pub(super) fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::GATEWAY_TIMEOUT => {
                Self::new(Name::ServiceUnavailable, "the request took too long").with(RETRY_AFTER, HeaderValue::from(PAUSE))
            }
            StatusCode::PAYLOAD_TOO_LARGE => Self::new(Name::OverLimit, "the request body is too large"),
            status if status.is_client_error() => Self::bad("the request cannot be understood"),
            _ => Self::new(Name::ComputeFault, "the server failed; its log says why"),
        }
    }

    /// With more to read.
    pub(super) fn detailed(mut self, details: impl Into<String>) -> Self {
        self.details = Some(details.into());
        self
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The answer.
    pub(super) fn response(&self) -> Response {
        let mut response = Response::new(Body::from(serde_json::to_vec(self).unwrap_or_default()));
        *response.status_mut() = self.name.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(super::JSON));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
        response
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let name = name(&error);
        let message = match &error {
            Error::Store(StoreError::Invalid(_) | StoreError::Exists(_)) => error.to_string(),
            Error::Store(_) | Error::Authority(_) => {
                tracing::error!(%error, "the server failed a request");
                "the server failed; its log says why".to_owned()
            }
            error => error.to_string(),
        };
        let fault = Self::new(name, message);
        let wait = crate::api::problem::retry_after(&error);
        // Whoever is told that a service is not available is told when to come again.
        match wait.or_else(|| (name == Name::ServiceUnavailable).then_some(PAUSE)) {
            Some(wait) => fault.with(RETRY_AFTER, HeaderValue::from(wait)),
            None => fault,
        }
    }
}

fn name(error: &Error) -> Name {
    match error {
        Error::Unauthenticated => Name::Unauthorized,
        Error::Forbidden | Error::Exposed | Error::RegistrationClosed => Name::Forbidden,
        Error::NoImageRecord(_)
        | Error::NoInstance(_)
        | Error::NoRule(_)
        | Error::NoMetric(_)
        | Error::NoAccount(_)
        | Error::NoUser(_)
        | Error::NoImage(_)
        | Error::NoNode(_)
        | Error::NotInCloud(_) => Name::ItemNotFound,
        Error::NoSize(_) | Error::Invalid(_) | Error::Store(StoreError::Invalid(_)) => Name::BadRequest,
        // There is no name for other conflicts.
        Error::NotNow(_)
        | Error::Busy(_)
        | Error::Taken(_)
        | Error::KeyReused
        | Error::UnderWay
        | Error::Assigned { .. }
        | Error::Store(StoreError::Exists(_)) => Name::BuildInProgress,
        // Also of requests in a time.
        Error::Throttled(_) | Error::NoCredit { .. } => Name::OverLimit,
        Error::NoIssuer | Error::NoMail(_) | Error::Stopping => Name::ServiceUnavailable,
        Error::Store(error) if error.is_transient() => Name::ServiceUnavailable,
        Error::Cloud(error) => of_cloud(&error.kind),
        _ => Name::ComputeFault,
    }
}

fn of_cloud(kind: &ErrorKind) -> Name {
    match kind {
        ErrorKind::NotFound | ErrorKind::UnknownCloud => Name::ItemNotFound,
        ErrorKind::Invalid | ErrorKind::Unsupported => Name::BadRequest,
        ErrorKind::Conflict => Name::BuildInProgress,
        ErrorKind::Quota => Name::OverLimit,
        ErrorKind::Capacity | ErrorKind::Throttled | ErrorKind::Transient | ErrorKind::Unavailable | ErrorKind::NotLoaded => {
            Name::ServiceUnavailable
        }
        // What the provider does not permit is this server's to put right, not the user's.
        _ => Name::ComputeFault,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    fn cloud(kind: ErrorKind) -> Error {
        Error::Cloud(ostler_drivers::Error::new(kind, "the provider's words"))
    }

    #[test]
    fn every_failure_has_its_fault() {
        let throttled = ostler_drivers::Error {
            retry_after: Some(Duration::from_millis(2500)),
            ..ostler_drivers::Error::new(ErrorKind::Throttled, "slower")
        };
        for (error, code, name, retry) in [
            (Error::Unauthenticated, 401, "unauthorized", None),
            (Error::Forbidden, 403, "forbidden", None),
            (Error::Throttled(Duration::from_millis(1500)), 413, "overLimit", Some("2")),
            (Error::NoIssuer, 503, "serviceUnavailable", Some("5")),
            (Error::NoMail("no mail server is configured".into()), 503, "serviceUnavailable", Some("5")),
            (Error::Stopping, 503, "serviceUnavailable", Some("5")),
            (Error::NoImageRecord(3), 404, "itemNotFound", None),
            (Error::NoInstance(3), 404, "itemNotFound", None),
            (Error::NoRule(3), 404, "itemNotFound", None),
            (Error::NoMetric("x".into()), 404, "itemNotFound", None),
            (Error::NoAccount(3), 404, "itemNotFound", None),
            (Error::NoSize("huge".into()), 400, "badRequest", None),
            (Error::Invalid("so".into()), 400, "badRequest", None),
            (Error::NotNow("it is stopped".into()), 409, "buildInProgress", None),
            (Error::Busy("so"), 409, "buildInProgress", None),
            (Error::Taken("the user"), 409, "buildInProgress", None),
            (Error::KeyReused, 409, "buildInProgress", None),
            (Error::UnderWay, 409, "buildInProgress", None),
            (Error::NoCredit { balance: 0 }, 413, "overLimit", None),
            (Error::Uncertain { operation: "o".into(), reason: "r".into() }, 500, "computeFault", None),
            (Error::Store(StoreError::Contention), 503, "serviceUnavailable", Some("5")),
            (Error::Store(StoreError::Closed), 500, "computeFault", None),
            (Error::Cloud(throttled), 503, "serviceUnavailable", Some("3")),
            (cloud(ErrorKind::UnknownCloud), 404, "itemNotFound", None),
            (cloud(ErrorKind::NotFound), 404, "itemNotFound", None),
            (cloud(ErrorKind::Invalid), 400, "badRequest", None),
            (cloud(ErrorKind::Unsupported), 400, "badRequest", None),
            (cloud(ErrorKind::Conflict), 409, "buildInProgress", None),
            (cloud(ErrorKind::Quota), 413, "overLimit", None),
            (cloud(ErrorKind::Capacity), 503, "serviceUnavailable", Some("5")),
            (cloud(ErrorKind::Transient), 503, "serviceUnavailable", Some("5")),
            (cloud(ErrorKind::Unavailable), 503, "serviceUnavailable", Some("5")),
            (cloud(ErrorKind::NotLoaded), 503, "serviceUnavailable", Some("5")),
            (cloud(ErrorKind::Unauthorized), 500, "computeFault", None),
            (cloud(ErrorKind::Forbidden), 500, "computeFault", None),
            (cloud(ErrorKind::Failed), 500, "computeFault", None),
            (cloud(ErrorKind::Crashed), 500, "computeFault", None),
            (cloud(ErrorKind::Deadline), 500, "computeFault", None),
            (cloud(ErrorKind::Limit), 500, "computeFault", None),
            (cloud(ErrorKind::Contract), 500, "computeFault", None),
            (cloud(ErrorKind::Other("x".into())), 500, "computeFault", None),
        ] {
            let text = error.to_string();
            let fault = Fault::from(error);
            let response = fault.response();
            let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap());
            assert_eq!((response.status().as_u16(), fault.name.as_str()), (code, name), "{text}");
            assert_eq!(header(RETRY_AFTER), retry, "{text}");
            assert_eq!(header(WWW_AUTHENTICATE), (code == 401).then_some(CHALLENGE), "{text}");
            assert_eq!(header(CONTENT_TYPE), Some("application/json"));
        }
    }

    #[test]
    fn a_fault_is_one_member() {
        let text = |fault: &Fault| serde_json::to_string(fault).unwrap();
        assert_eq!(text(&Error::NoImageRecord(7).into()), r#"{"itemNotFound":{"code":404,"message":"there is no image 7"}}"#);
        let method = Fault::method("GET, HEAD, POST");
        let expected = r#"{"badMethod":{"code":405,"message":"the path has other methods","details":"GET, HEAD, POST"}}"#;
        assert_eq!(
            (text(&method).as_str(), &method.response().headers()[ALLOW]),
            (expected, &"GET, HEAD, POST".parse().unwrap())
        );
        let lost = Fault::from(Error::Store(StoreError::Unavailable("canary".into())));
        assert!(!text(&lost).contains("canary"), "what the database says is for the log");
    }
}
