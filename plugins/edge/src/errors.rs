//! From the far side's faults to the contract's errors. What stands before a far side (a proxy) writes HTML, or nothing.
//!
//! A text begins with `at HOST: `, so that an error that came through several Ostlers tells its way: `at a: at b: no room`.

use ostler_driver::Error;
use ostler_driver::http::{Answer, without_tags};
use serde_json::Value;

use crate::config::Settings;

/// Characters of a message that are passed on.
const EXCERPT: usize = 500;

/// The faults of the API, after OpenStack Compute 1.1.
const FAULTS: [&str; 9] = [
    "badMediaType",
    "badMethod",
    "badRequest",
    "buildInProgress",
    "computeFault",
    "forbidden",
    "itemNotFound",
    "overLimit",
    "serviceUnavailable",
];

/// What a refusal says.
struct Fault {
    /// The fault's name; empty where it is none.
    name: String,
    message: String,
}

/// Whether a refusal has the form of a fault, and so comes from the far side itself.
pub(crate) fn is_fault(answer: &Answer) -> bool {
    !read(&answer.body).name.is_empty()
}

/// The error that an answer means.
pub(crate) fn of(settings: &Settings, answer: &Answer) -> Error {
    let Fault { name, message } = read(&answer.body);
    let mut message = without_tags(&message);
    for secret in &settings.secrets {
        message = message.replace(secret.as_str(), "…");
    }
    if message.chars().count() > EXCERPT {
        message = message.chars().take(EXCERPT).chain(['…']).collect();
    }
    let told = match (name.as_str(), message.as_str()) {
        ("", "") => format!("it answered {} without a reason", answer.status),
        ("", message) => format!("it answered {}: {message}", answer.status),
        (name, "") => format!("{name}, without a reason"),
        (_, message) => message.to_owned(),
    };
    class(answer, &name)(format!("at {}: {told}", settings.host))
}

type Class = Box<dyn FnOnce(String) -> Error>;

/// The class, by the fault's name where it says more than the status.
fn class(answer: &Answer, name: &str) -> Class {
    let retry_after = answer.retry_after();
    let throttled = move || -> Class { Box::new(move |message| Error::Throttled { message, retry_after }) };
    match (name, answer.status) {
        ("itemNotFound", _) => Box::new(Error::NotFound),
        ("badRequest" | "badMediaType", _) => Box::new(Error::Invalid),
        ("badMethod", _) => Box::new(Error::Unsupported),
        ("unauthorized", _) => Box::new(Error::Unauthorized),
        ("forbidden", _) => Box::new(Error::Forbidden),
        ("buildInProgress", _) => Box::new(Error::Conflict),
        // A rate has an end that can be waited for, a quota has none.
        ("overLimit", _) | (_, 413) if retry_after.is_some() => throttled(),
        ("overLimit", _) | (_, 413) => Box::new(Error::Quota),
        ("serviceUnavailable", _) | (_, 503) if retry_after.is_some() => throttled(),
        ("serviceUnavailable", _) => Box::new(Error::Transient),
        (_, 401) => Box::new(Error::Unauthorized),
        (_, 403) => Box::new(Error::Forbidden),
        // Not from the far side itself, which has a fault for what does not exist.
        ("", 404) => Box::new(Error::Failed),
        (_, 404) => Box::new(Error::NotFound),
        (_, 405 | 501) => Box::new(Error::Unsupported),
        (_, 409) => Box::new(Error::Conflict),
        (_, 429) => throttled(),
        (_, 400 | 406 | 410..=422) => Box::new(Error::Invalid),
        (_, 408 | 500..=599) => Box::new(Error::Transient),
        (_, 300..=399) => Box::new(|message| Error::Failed(format!("{message} (redirections are not followed)"))),
        _ => Box::new(Error::Failed),
    }
}

fn read(body: &[u8]) -> Fault {
    let plain = || Fault { name: String::new(), message: String::from_utf8_lossy(body).into_owned() };
    let Ok(Value::Object(object)) = serde_json::from_slice(body) else { return plain() };
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    for (name, value) in &object {
        let known = FAULTS.contains(&name.as_str()) || name == "unauthorized";
        if !value.is_object() || !(known || value.get("message").is_some() || value.get("code").is_some()) {
            continue;
        }
        let message = text(value, "message").unwrap_or_default();
        let message = match text(value, "details").filter(|details| !details.is_empty() && *details != message) {
            Some(details) if message.is_empty() => details,
            Some(details) => format!("{message} ({details})"),
            None => message,
        };
        return Fault { name: name.clone(), message };
    }
    // Other APIs' ways to say why.
    let other = ["message", "detail", "error", "title"].iter().find_map(|key| text(&Value::Object(object.clone()), key));
    other.map_or_else(plain, |message| Fault { name: String::new(), message })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use ostler_driver::testing::Cloud;
    use std::time::Duration;

    fn settings() -> Settings {
        let cloud =
            Cloud::new("home1").config("url", "https://far:5/cloudedge").config("username", "ann").secret("password", "canary");
        Settings::read(&cloud.context()).unwrap()
    }

    #[test]
    fn each_fault_has_its_class() {
        let fault = |name: &str, code: u16| (code, format!(r#"{{"{name}":{{"code":{code},"message":"why"}}}}"#));
        for ((status, body), class, told) in [
            (fault("itemNotFound", 404), "not-found", "why"),
            (fault("badRequest", 400), "invalid", "why"),
            (fault("badMediaType", 415), "invalid", "why"),
            (fault("badMethod", 405), "unsupported", "why"),
            (fault("unauthorized", 401), "unauthorized", "why"),
            (fault("forbidden", 403), "forbidden", "why"),
            (fault("buildInProgress", 409), "conflict", "why"),
            (fault("overLimit", 413), "quota", "why"),
            (fault("serviceUnavailable", 503), "transient", "why"),
            (fault("computeFault", 500), "transient", "why"),
            (fault("computeFault", 502), "transient", "why"),
            (fault("computeFault", 501), "unsupported", "why"),
            (fault("computeFault", 400), "invalid", "why"),
            // A name says more than a status that is always the same.
            (fault("itemNotFound", 500), "not-found", "why"),
            (fault("unforeseen", 409), "conflict", "why"),
            ((404, r#"{"itemNotFound":{"code":404}}"#.into()), "not-found", "itemNotFound, without a reason"),
            ((400, r#"{"badRequest":{"code":400,"message":"bad","details":"line 1"}}"#.into()), "invalid", "bad (line 1)"),
            ((401, "<html><h1>401 Unauthorized</h1></html>".into()), "unauthorized", "it answered 401: 401 Unauthorized"),
            ((404, "<h1>Not Found</h1>".into()), "failed", "it answered 404: Not Found"),
            ((404, String::new()), "failed", "it answered 404 without a reason"),
            ((403, "{}".into()), "forbidden", "it answered 403: {}"),
            ((405, String::new()), "unsupported", "it answered 405 without a reason"),
            ((409, String::new()), "conflict", "it answered 409 without a reason"),
            ((429, String::new()), "throttled", "it answered 429 without a reason"),
            ((422, r#"{"detail":"bad"}"#.into()), "invalid", "it answered 422: bad"),
            ((408, String::new()), "transient", "it answered 408 without a reason"),
            ((502, "<title>502 Bad Gateway</title>".into()), "transient", "it answered 502: 502 Bad Gateway"),
            ((302, String::new()), "failed", "it answered 302 without a reason (redirections are not followed)"),
            ((100, "1 < 2".into()), "failed", "it answered 100: 1 < 2"),
        ] {
            let error = of(&settings(), &Answer::new(status, body.as_str()));
            assert_eq!((error.class(), error.message()), (class, format!("at far:5: {told}").as_str()), "{status} {body}");
        }
    }

    #[test]
    fn waits_are_passed_on() {
        for (status, body) in [
            (429, ""),
            (503, ""),
            (413, r#"{"overLimit":{"code":413,"message":"slow down"}}"#),
            (503, r#"{"serviceUnavailable":{"code":503,"message":"soon"}}"#),
        ] {
            let answer = Answer::new(status, body).with_header("retry-after", "7");
            let Error::Throttled { retry_after, .. } = of(&settings(), &answer) else { panic!("{status} {body}") };
            assert_eq!(retry_after, Some(Duration::from_secs(7)));
        }
    }

    #[test]
    fn a_way_is_told_and_no_secret_and_no_end_of_text() {
        let nested = r#"{"itemNotFound":{"code":404,"message":"at further: no image `7`"}}"#;
        assert_eq!(of(&settings(), &Answer::new(404, nested)).message(), "at far:5: at further: no image `7`");
        let basic = "YW5uOmNhbmFyeQ==";
        let body = format!(r#"{{"badRequest":{{"message":"ann:canary Basic {basic} {}"}}}}"#, "x".repeat(9000));
        let error = of(&settings(), &Answer::new(400, body));
        assert!(!error.message().contains("canary") && !error.message().contains(basic), "{error}");
        assert!(error.message().starts_with("at far:5: ann:… Basic …") && error.message().chars().count() < 550, "{error}");
    }
}
