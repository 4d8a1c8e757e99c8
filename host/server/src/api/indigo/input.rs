//! What bodies say: their form, then what the original's validation asked of them, all complaints at once.

use super::errors::Fault;
use crate::api::body::{self, BodyError};
use axum::body::Body;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use ostler_core::deployments::{Action, Submission};
use serde_json::{Map, Value};
use std::fmt::Write;
use std::time::Duration;
use url::Url;

/// The states that the original knows, the one that nobody ever sees among them.
const STATUSES: [&str; 10] = [
    "CREATE_IN_PROGRESS",
    "CREATE_COMPLETE",
    "CREATE_FAILED",
    "UPDATE_IN_PROGRESS",
    "UPDATE_COMPLETE",
    "UPDATE_FAILED",
    "DELETE_IN_PROGRESS",
    "DELETE_COMPLETE",
    "DELETE_FAILED",
    "UNKNOWN",
];
/// The one that a reset asks for.
const RESET: &str = "DELETE_FAILED";
/// Characters of a rejected value that are repeated.
const SHOWN: usize = 256;

/// The body, which must be a JSON object and say that it is JSON.
pub(super) async fn object(parts: &Parts, body: Body, limit: usize, method: &str) -> Result<Map<String, Value>, Fault> {
    let bytes = body::read(&parts.headers, body, limit).await.map_err(|error| match error {
        BodyError::TooLarge => Fault::new(StatusCode::PAYLOAD_TOO_LARGE, format!("The request body has more than {limit} bytes")),
        BodyError::Cut => Fault::bad("JSON parse error: the body was cut short"),
    })?;
    let missing = || Fault::bad(format!("Required request body is missing: {method}"));
    match parts.headers.get(CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or_default()) {
        None if bytes.is_empty() => return Err(missing()),
        kind => {
            let kind = kind.unwrap_or("application/octet-stream");
            if !is_json(kind) {
                let message = format!("Content type '{}' not supported", shown(kind));
                return Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
            }
        }
    }
    if bytes.is_empty() {
        return Err(missing());
    }
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(Value::Null) => Err(missing()),
        Ok(other) => Err(malformed(&format!("an object is needed, not {}", kind_of(&other)))),
        Err(error) => Err(malformed(&error.to_string())),
    }
}

/// `application/json`, or something that is written in it.
fn is_json(kind: &str) -> bool {
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn malformed(why: &str) -> Fault {
    Fault::bad(format!("JSON parse error: {why}"))
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

/// What is wrong with the members of a body.
struct Complaints {
    method: &'static str,
    object: &'static str,
    count: usize,
    text: String,
}

impl Complaints {
    fn about(method: &'static str, object: &'static str) -> Self {
        Self { method, object, count: 0, text: String::new() }
    }

    fn add(&mut self, field: &str, rejected: &str, message: &str) {
        self.count += 1;
        let (object, rejected) = (self.object, shown(rejected));
        // Writing to a String does not fail.
        let _ = write!(
            self.text,
            " [Field error in object '{object}' on field '{field}': rejected value [{rejected}]; default message [{message}]]"
        );
    }

    fn end(self) -> Result<(), Fault> {
        let (method, count, text) = (self.method, self.count, &self.text);
        if count == 0 {
            return Ok(());
        }
        Err(Fault::bad(format!("Validation failed for argument at index 0 in method: {method}, with {count} error(s):{text} ")))
    }
}

/// The body of `POST` and `PUT`. Members that it does not know are not looked at, a client's `keepLastAttemp` among them: that
/// client sends it whether it was asked to or not, and the original does not look at it, either.
pub(super) fn submission(mut body: Map<String, Value>, method: &'static str) -> Result<Submission, Fault> {
    let mut complaints = Complaints::about(method, "deploymentRequest");
    let submission = read_submission(&mut body, &mut complaints)?;
    complaints.end()?;
    within_timeout(submission)
}

/// What a body says about a deployment; of what is wrong with it something stands in its place.
fn read_submission(body: &mut Map<String, Value>, complaints: &mut Complaints) -> Result<Submission, Fault> {
    let template = text(body, "template")?;
    let callback = text(body, "callback")?;
    let user_group = text(body, "userGroup")?;
    let retries = integer(body, "maxProvidersRetry")?;
    let timeout = integer(body, "timeoutMins")?;
    let provider_timeout = integer(body, "providerTimeoutMins")?;
    let keep_last_attempt = boolean(body, "keepLastAttempt")?;
    if template.is_none() {
        complaints.add("template", "null", "A TOSCA template must be provided");
    }
    let parameters = match body.remove("parameters") {
        None => Map::new(),
        Some(Value::Object(parameters)) => parameters,
        Some(Value::Null) => {
            complaints.add("parameters", "null", "may not be null");
            Map::new()
        }
        Some(other) => return Err(malformed(&format!("`parameters` must be an object, not {}", kind_of(&other)))),
    };
    if let Some(url) = callback.as_deref().filter(|url| !is_callback(url)) {
        complaints.add("callback", url, "Callback value, if provided, must be a valid HTTP or HTTPS URL");
    }
    for (field, value, message) in [
        ("timeoutMins", timeout, "Overall timeout value, if provided, must be at least of 1 minute"),
        (
            "providerTimeoutMins",
            provider_timeout,
            "Provider timeout value, if provided, must be at least of 1 minute and equal or less than timeoutMins",
        ),
        ("maxProvidersRetry", retries, "maxProvidersRetry value, if provided, must be at least of 1"),
    ] {
        if let Some(value) = value.filter(|value| *value < 1) {
            complaints.add(field, &value.to_string(), message);
        }
    }
    let minutes = |minutes: i32| Duration::from_secs(u64::from(minutes.unsigned_abs()) * 60);
    Ok(Submission {
        template: template.unwrap_or_default(),
        parameters,
        callback,
        user_group,
        max_attempts: retries.map(i32::unsigned_abs),
        timeout: timeout.map(minutes),
        attempt_timeout: provider_timeout.map(minutes),
        keep_last_attempt,
        token: None,
    })
}

/// No provider can take longer than all of them together.
fn within_timeout(submission: Submission) -> Result<Submission, Fault> {
    match (submission.timeout, submission.attempt_timeout) {
        (Some(overall), Some(provider)) if provider > overall => Err(Fault::bad("ProviderTimeout must be <= Timeout")),
        _ => Ok(submission),
    }
}

fn is_callback(text: &str) -> bool {
    let scheme = text.starts_with("http:") || text.starts_with("https:");
    scheme && Url::parse(text).is_ok_and(|url| url.host_str().is_some_and(|host| !host.is_empty()))
}

/// The body of `PATCH`: a reset is all that can be asked for.
pub(super) fn reset(mut body: Map<String, Value>) -> Result<(), Fault> {
    let status = text(&mut body, "status")?;
    match status.as_deref() {
        Some(RESET) => Ok(()),
        Some(known) if STATUSES.contains(&known) => Err(Fault::bad(format!("Cannot reset deployment: illegal status {known}."))),
        Some(other) => Err(Fault::bad(format!("No enum constant it.reply.orchestrator.enums.Status.{}", shown(other)))),
        None => Err(Fault::bad("Cannot reset deployment: illegal status null.")),
    }
}

/// The body of what is done to a resource.
pub(super) fn action(mut body: Map<String, Value>) -> Result<Action, Fault> {
    let kind = text(&mut body, "type")?;
    match kind.as_deref() {
        Some("start") => Ok(Action::Start),
        Some("stop") => Ok(Action::Stop),
        Some(other) => Err(Fault::bad(format!("Error validating action request; Invalid action {}", shown(other)))),
        None => {
            let mut complaints = Complaints::about("performAction", "actionRequest");
            complaints.add("type", "null", "An action type must be provided");
            complaints.end().map(|()| Action::Start)
        }
    }
}

/// A text; other scalars are texts as well.
fn text(body: &mut Map<String, Value>, name: &str) -> Result<Option<String>, Fault> {
    match body.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(scalar @ (Value::Bool(_) | Value::Number(_))) => Ok(Some(scalar.to_string())),
        Some(other) => Err(malformed(&format!("`{name}` must be a string, not {}", kind_of(&other)))),
    }
}

/// A whole number; a text of one is one as well, and what is behind a decimal point does not count.
fn integer(body: &mut Map<String, Value>, name: &str) -> Result<Option<i32>, Fault> {
    let number = match body.remove(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => i32::try_from(whole).ok(),
            (None, Some(float)) if float.abs() < f64::from(i32::MAX) => truncated(float),
            _ => None,
        },
        Some(_) => None,
    };
    number.map(Some).ok_or_else(|| malformed(&format!("`{name}` must be a whole number of at most 32 bits")))
}

/// Of a number whose whole part is known to fit.
fn truncated(float: f64) -> Option<i32> {
    format!("{:.0}", float.trunc()).parse().ok()
}

/// True or false; their texts are as good.
fn boolean(body: &mut Map<String, Value>, name: &str) -> Result<bool, Fault> {
    match body.remove(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(value)) => Ok(value),
        Some(Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(number.as_i64() != Some(0)),
        Some(Value::String(text)) if text.trim().eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::String(text)) if matches!(text.trim().to_ascii_lowercase().as_str(), "false" | "") => Ok(false),
        Some(_) => Err(malformed(&format!("`{name}` must be true or false"))),
    }
}

mod schedules;
#[cfg(test)]
mod tests;

pub(super) use schedules::{order, status};
