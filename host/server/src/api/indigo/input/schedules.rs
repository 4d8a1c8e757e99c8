//! What bodies say about schedules: all that they say about deployments, and which files.

use super::{Complaints, Fault, integer, malformed, read_submission, shown, text, within_timeout};
use ostler_core::schedules::{ExpressionSyntax, Order, ScheduleStatus};
use serde_json::{Map, Value};

/// The body of `POST`. `fileExpressionSyntax` is ours: `regex`, as the original reads expressions, or `glob`, as its documentation
/// writes them.
pub(in super::super) fn order(mut body: Map<String, Value>) -> Result<Order, Fault> {
    let file_expression = text(&mut body, "fileExpression")?;
    let replication_expression = text(&mut body, "replicationExpression")?;
    let replicas = integer(&mut body, "numberOfReplicas")?;
    let syntax = match text(&mut body, "fileExpressionSyntax")?.as_deref() {
        None | Some("regex") => ExpressionSyntax::Regex,
        Some("glob") => ExpressionSyntax::Glob,
        Some(other) => return Err(malformed(&format!("`fileExpressionSyntax` must be regex or glob, not {}", shown(other)))),
    };
    let mut complaints = Complaints::about("createDeploymentSchedule", "deploymentScheduleRequest");
    let submission = read_submission(&mut body, &mut complaints)?;
    for (field, missing, message) in [
        ("fileExpression", file_expression.is_none(), "The expression to be used to monitor new files available"),
        ("replicationExpression", replication_expression.is_none(), "The expression to be used to replicate the files"),
        ("numberOfReplicas", replicas.is_none(), "The number of file replicas required"),
    ] {
        if missing {
            complaints.add(field, "null", message);
        }
    }
    if let Some(replicas) = replicas.filter(|replicas| *replicas < 1) {
        complaints.add("numberOfReplicas", &replicas.to_string(), "The number of file replicas must be at least 1");
    }
    complaints.end()?;
    Ok(Order {
        submission: within_timeout(submission)?,
        file_expression: file_expression.unwrap_or_default(),
        syntax,
        replication_expression: replication_expression.unwrap_or_default(),
        replicas: replicas.unwrap_or_default().unsigned_abs(),
    })
}

/// The body of `PATCH`: whether it is to run.
pub(in super::super) fn status(mut body: Map<String, Value>) -> Result<ScheduleStatus, Fault> {
    match text(&mut body, "status")?.as_deref() {
        Some("RUNNING") => Ok(ScheduleStatus::Running),
        Some("SUSPENDED") => Ok(ScheduleStatus::Suspended),
        other => {
            Err(Fault::bad(format!("The status of a schedule is RUNNING or SUSPENDED, not {}", shown(other.unwrap_or("null")))))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use http::StatusCode;
    use serde_json::json;
    use std::time::Duration;

    fn map(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            other => panic!("{other}"),
        }
    }

    /// The body of the original's documentation, with these members in place of its own; null takes one away.
    fn read(changes: Value) -> Result<Order, String> {
        let mut body = map(json!({
            "template": "template", "parameters": {"cpus": 1}, "callback": "http://localhost:8080/callback", "timeoutMins": 10,
            "providerTimeoutMins": 5, "maxProvidersRetry": 1, "keepLastAttempt": false, "fileExpression": "scope:name*",
            "replicationExpression": "RSE_RECAS", "numberOfReplicas": 1,
        }));
        for (name, value) in map(changes) {
            if value == json!("absent") {
                body.remove(&name);
            } else {
                body.insert(name, value);
            }
        }
        order(body).map_err(|fault| {
            assert_eq!(fault.status, StatusCode::BAD_REQUEST);
            fault.message.unwrap()
        })
    }

    #[test]
    fn everything_that_can_be_asked_for() {
        let whole = read(json!({})).unwrap();
        assert_eq!((whole.file_expression.as_str(), whole.replication_expression.as_str()), ("scope:name*", "RSE_RECAS"));
        assert_eq!((whole.replicas, whole.syntax), (1, ExpressionSyntax::Regex));
        assert_eq!((whole.submission.template.as_str(), whole.submission.max_attempts), ("template", Some(1)));
        assert_eq!(whole.submission.attempt_timeout, Some(Duration::from_secs(300)));
        for (value, syntax) in [
            (json!(null), ExpressionSyntax::Regex),
            (json!("regex"), ExpressionSyntax::Regex),
            (json!("glob"), ExpressionSyntax::Glob),
        ] {
            assert_eq!(read(json!({"fileExpressionSyntax": value})).unwrap().syntax, syntax);
        }
        assert_eq!(read(json!({"numberOfReplicas": "3"})).unwrap().replicas, 3);
        for changes in [
            json!({"fileExpressionSyntax": "Glob"}),
            json!({"fileExpressionSyntax": []}),
            json!({"fileExpression": {}}),
            json!({"numberOfReplicas": "many"}),
        ] {
            let message = read(changes.clone()).unwrap_err();
            assert!(message.starts_with("JSON parse error: `"), "{changes}: {message}");
        }
    }

    #[test]
    fn complaints_are_those_of_the_original() {
        const FILES: (&str, &str, &str) = ("fileExpression", "null", "The expression to be used to monitor new files available");
        const REPLICATION: (&str, &str, &str) =
            ("replicationExpression", "null", "The expression to be used to replicate the files");
        const REPLICAS: (&str, &str, &str) = ("numberOfReplicas", "null", "The number of file replicas required");
        const TEMPLATE: (&str, &str, &str) = ("template", "null", "A TOSCA template must be provided");
        for (changes, complaints) in [
            (json!({"fileExpression": "absent"}), &[FILES][..]),
            (json!({"replicationExpression": null}), &[REPLICATION]),
            (json!({"numberOfReplicas": ""}), &[REPLICAS]),
            (json!({"numberOfReplicas": 0}), &[("numberOfReplicas", "0", "The number of file replicas must be at least 1")]),
            (
                json!({"timeoutMins": 0}),
                &[("timeoutMins", "0", "Overall timeout value, if provided, must be at least of 1 minute")],
            ),
            (
                json!({"template": null, "fileExpression": null, "replicationExpression": null, "numberOfReplicas": null}),
                &[TEMPLATE, FILES, REPLICATION, REPLICAS],
            ),
        ] {
            let mut expected = format!(
                "Validation failed for argument at index 0 in method: createDeploymentSchedule, with {} error(s):",
                complaints.len()
            );
            for (field, rejected, message) in complaints {
                expected += &format!(
                    " [Field error in object 'deploymentScheduleRequest' on field '{field}': rejected value [{rejected}]; \
                     default message [{message}]]"
                );
            }
            assert_eq!(read(changes).unwrap_err(), expected + " ");
        }
        assert_eq!(read(json!({"timeoutMins": 5, "providerTimeoutMins": 10})).unwrap_err(), "ProviderTimeout must be <= Timeout");
    }

    #[test]
    fn statuses() {
        for (body, expected) in [
            (json!({"status": "RUNNING"}), Ok(ScheduleStatus::Running)),
            (json!({"status": "SUSPENDED"}), Ok(ScheduleStatus::Suspended)),
            (json!({"status": "running"}), Err("The status of a schedule is RUNNING or SUSPENDED, not running")),
            (json!({}), Err("The status of a schedule is RUNNING or SUSPENDED, not null")),
        ] {
            let read = status(map(body)).map_err(|fault| fault.message.unwrap());
            assert_eq!(read, expected.map_err(str::to_owned));
        }
    }
}
