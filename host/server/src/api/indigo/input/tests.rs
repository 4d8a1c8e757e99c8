#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use http::Request;
use serde_json::json;

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other}"),
    }
}

fn read(value: Value) -> Result<Submission, String> {
    submission(map(value), "createDeployment").map_err(|fault| {
        assert_eq!(fault.status, StatusCode::BAD_REQUEST);
        fault.message.unwrap()
    })
}

#[test]
fn everything_that_can_be_asked_for() {
    let submission = read(json!({
        "template": "t", "parameters": {"cpus": 1}, "callback": "http://localhost:8080/callback", "timeoutMins": 10,
        "providerTimeoutMins": 5, "maxProvidersRetry": 1, "keepLastAttempt": true, "userGroup": "g", "unknown": [1],
    }))
    .unwrap();
    assert_eq!((submission.template.as_str(), &submission.parameters), ("t", &map(json!({"cpus": 1}))));
    assert_eq!(submission.callback.as_deref(), Some("http://localhost:8080/callback"));
    assert_eq!(
        (submission.timeout, submission.attempt_timeout),
        (Some(Duration::from_secs(600)), Some(Duration::from_secs(300)))
    );
    assert_eq!((submission.max_attempts, submission.keep_last_attempt), (Some(1), true));
    assert_eq!(submission.user_group.as_deref(), Some("g"));
    let least = read(json!({"template": ""})).unwrap();
    assert!(least.template.is_empty() && least.parameters.is_empty() && least.callback.is_none() && !least.keep_last_attempt);
    assert_eq!((least.timeout, least.attempt_timeout, least.max_attempts), (None, None, None));
    assert!(!read(json!({"template": "", "keepLastAttemp": true})).unwrap().keep_last_attempt);
}

#[test]
fn scalars_are_taken_for_each_other() {
    for (value, kept) in [
        (json!("true"), true),
        (json!("True"), true),
        (json!("false"), false),
        (json!(""), false),
        (json!(1), true),
        (json!(0), false),
        (json!(null), false),
    ] {
        assert_eq!(read(json!({"template": "", "keepLastAttempt": value})).unwrap().keep_last_attempt, kept, "{value}");
    }
    for (value, number) in [
        (json!("5"), Some(5)),
        (json!(" 5 "), Some(5)),
        (json!(5.9), Some(5)),
        (json!(""), None),
        (json!(null), None),
        (json!(2_147_483_647), Some(2_147_483_647)),
    ] {
        assert_eq!(read(json!({"template": "", "maxProvidersRetry": value})).unwrap().max_attempts, number, "{value}");
    }
    assert_eq!(read(json!({"template": 5, "userGroup": true})).unwrap().user_group.as_deref(), Some("true"));
    for body in [
        json!({"template": ["x"]}),
        json!({"template": {}}),
        json!({"template": "", "keepLastAttempt": "yes"}),
        json!({"template": "", "keepLastAttempt": 1.5}),
        json!({"template": "", "keepLastAttempt": []}),
        json!({"template": "", "maxProvidersRetry": "five"}),
        json!({"template": "", "maxProvidersRetry": true}),
        json!({"template": "", "timeoutMins": 2_147_483_648_u64}),
        json!({"template": "", "timeoutMins": 1e300}),
        json!({"template": "", "parameters": []}),
        json!({"template": "", "parameters": "x"}),
        json!({"template": "", "callback": []}),
    ] {
        let message = read(body.clone()).unwrap_err();
        assert!(message.starts_with("JSON parse error: `"), "{body}: {message}");
    }
}

#[test]
fn complaints_are_those_of_the_original() {
    const CALLBACK: &str = "Callback value, if provided, must be a valid HTTP or HTTPS URL";
    const OVERALL: &str = "Overall timeout value, if provided, must be at least of 1 minute";
    const PROVIDER: &str = "Provider timeout value, if provided, must be at least of 1 minute and equal or less than timeoutMins";
    for (body, messages) in [
        (json!({}), &["A TOSCA template must be provided"][..]),
        (json!({"template": null}), &["A TOSCA template must be provided"]),
        (json!({"template": "", "parameters": null}), &["may not be null"]),
        (json!({"template": "", "callback": "ftp://x"}), &[CALLBACK]),
        (json!({"template": "", "callback": ""}), &[CALLBACK]),
        (json!({"template": "", "callback": "http://"}), &[CALLBACK]),
        (json!({"template": "", "callback": "httpx://x"}), &[CALLBACK]),
        (json!({"template": "", "callback": "x http://x"}), &[CALLBACK]),
        (json!({"template": "", "timeoutMins": 0}), &[OVERALL]),
        (json!({"template": "", "providerTimeoutMins": -1}), &[PROVIDER]),
        (json!({"template": "", "maxProvidersRetry": "0"}), &["maxProvidersRetry value, if provided, must be at least of 1"]),
        (
            json!({"parameters": null, "timeoutMins": 0, "callback": "x"}),
            &["A TOSCA template must be provided", "may not be null", CALLBACK, OVERALL],
        ),
    ] {
        let message = read(body.clone()).unwrap_err();
        for expected in messages {
            assert!(message.contains(&format!("; default message [{expected}]]")), "{body}: {message}");
        }
        let start = format!(
            "Validation failed for argument at index 0 in method: createDeployment, with {} error(s): [Field error in object \
             'deploymentRequest' on field '",
            messages.len()
        );
        assert!(message.starts_with(&start), "{body}: {message}");
    }
    let message = read(json!({"template": "", "timeoutMins": 5, "providerTimeoutMins": 10})).unwrap_err();
    assert_eq!(message, "ProviderTimeout must be <= Timeout");
    assert!(read(json!({"template": "", "timeoutMins": 5, "providerTimeoutMins": 5})).is_ok());
    assert!(read(json!({"template": "", "providerTimeoutMins": 100_000})).is_ok());
    let long = read(json!({"template": "", "callback": "x".repeat(10_000)})).unwrap_err();
    assert!(long.len() < 1000, "{}", long.len());
}

#[test]
fn resets_and_actions() {
    for (body, expected) in [
        (json!({"status": "DELETE_FAILED"}), None),
        (json!({"status": "CREATE_COMPLETE"}), Some("Cannot reset deployment: illegal status CREATE_COMPLETE.")),
        (json!({"status": "DELETE_COMPLETE"}), Some("Cannot reset deployment: illegal status DELETE_COMPLETE.")),
        (json!({"status": "delete_failed"}), Some("No enum constant it.reply.orchestrator.enums.Status.delete_failed")),
        (json!({}), Some("Cannot reset deployment: illegal status null.")),
    ] {
        let fault = reset(map(body.clone())).err();
        assert_eq!(fault.and_then(|fault| fault.message).as_deref(), expected, "{body}");
    }
    assert_eq!(action(map(json!({"type": "start"}))).unwrap(), Action::Start);
    assert_eq!(action(map(json!({"type": "stop"}))).unwrap(), Action::Stop);
    for (body, expected) in [(json!({"type": "reboot"}), "Invalid action reboot"), (json!({}), "An action type must be provided")]
    {
        let fault = action(map(body)).unwrap_err();
        assert!(fault.status == StatusCode::BAD_REQUEST && fault.message.unwrap().contains(expected));
    }
}

#[tokio::test]
async fn bodies_must_be_objects_and_say_so() {
    for (kind, body, status, expected) in [
        (Some("application/json"), r#"{"a": 1}"#, 200, ""),
        (Some("application/json;charset=UTF-8"), r#"{"a": 1}"#, 200, ""),
        (Some("Application/Vnd.x+JSON"), r#"{"a": 1}"#, 200, ""),
        (Some("text/plain"), r#"{"a": 1}"#, 415, "Content type 'text/plain' not supported"),
        (Some("text/plain"), "", 415, "Content type 'text/plain' not supported"),
        (None, "{}", 415, "Content type 'application/octet-stream' not supported"),
        (None, "", 400, "Required request body is missing: createDeployment"),
        (Some("application/json"), "", 400, "Required request body is missing: createDeployment"),
        (Some("application/json"), "null", 400, "Required request body is missing: createDeployment"),
        (Some("application/json"), "{", 400, "JSON parse error: EOF while parsing an object at line 1 column 1"),
        (Some("application/json"), "[]", 400, "JSON parse error: an object is needed, not an array"),
        (Some("application/json"), r#"{"a": "0123456789"}"#, 413, "The request body has more than 16 bytes"),
    ] {
        let mut request = Request::builder();
        if let Some(kind) = kind {
            request = request.header(CONTENT_TYPE, kind);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let read = object(&parts, Body::from(body), 16, "createDeployment").await;
        let (code, message) = match read {
            Ok(_) => (200, String::new()),
            Err(fault) => (fault.status.as_u16(), fault.message.unwrap()),
        };
        assert_eq!((code, message.as_str()), (status, expected), "{kind:?} {body}");
    }
}
