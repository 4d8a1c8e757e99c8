//! What a machine reports.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::Value;

use crate::{Lifecycle, MAX_NAME, MessageError, Options, outputs, text};

/// How much a report may say, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The whole of it: to be held before it is read, too.
    pub body: usize,
    /// The output of the operation.
    pub output: usize,
    /// What the operation wrote to `$OSTLER_OUTPUTS`.
    pub outputs_bytes: usize,
    /// Number of outputs.
    pub outputs: usize,
    /// The value of an output; as JSON where it is not a string.
    pub output_value: usize,
}

impl Limits {
    /// What machines report that were made with these options; with 256 outputs of 16 KiB each.
    #[must_use]
    pub fn of(options: &Options) -> Self {
        let encoded = |bytes: usize| bytes.div_ceil(3).saturating_mul(4);
        // A name grows to six times its length in JSON, where it has control characters only; the rest is the form.
        let body = encoded(options.output).saturating_add(encoded(options.outputs)).saturating_add(6 * MAX_NAME + 256);
        Self { body, output: options.output, outputs_bytes: options.outputs, outputs: 256, output_value: 16 << 10 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::of(&Options::default())
    }
}

/// A report.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Message {
    /// An operation ended.
    Operation(OperationReport),
    /// All operations have succeeded.
    Done,
    /// The run ended before its time. It may go on at the next boot.
    Failed(Reason),
}

/// How an operation ended.
#[derive(Clone, PartialEq)]
pub struct OperationReport {
    /// The name of the component, of any characters.
    pub component: String,
    /// The operation.
    pub operation: Lifecycle,
    /// How it ended.
    pub status: Status,
    /// The end of what it wrote to its standard output and error, without control characters other than tabs and line feeds.
    pub output: String,
    /// What it tells to others. May hold secrets.
    pub outputs: IndexMap<String, Value>,
}

impl fmt::Debug for OperationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperationReport")
            .field("component", &self.component)
            .field("operation", &self.operation)
            .field("status", &self.status)
            .field("output", &format_args!("<{} bytes>", self.output.len()))
            .field("outputs", &self.outputs.keys().collect::<Vec<_>>())
            .finish()
    }
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// By itself, with this exit status; 128 and more stand for a signal.
    Exit(u8),
    /// It was ended at its deadline.
    Timeout,
    /// It wrote more than [`Options::outputs`] to `$OSTLER_OUTPUTS`.
    Outputs,
    /// It did not start: its script could not be fetched.
    Fetch,
    /// It did not start: its script has another SHA-256.
    Digest,
    /// It did not start: there is no `ansible-playbook`.
    Tool,
}

impl Status {
    /// Whether the operation did what it should.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::Exit(0)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(0) => f.write_str("succeeded"),
            Self::Exit(status) => write!(f, "failed with exit status {status}"),
            Self::Timeout => f.write_str("did not end in time"),
            Self::Outputs => f.write_str("has too many outputs"),
            Self::Fetch => f.write_str("has a script that the machine could not fetch"),
            Self::Digest => f.write_str("has a script with another SHA-256 than is asked for"),
            Self::Tool => f.write_str("needs ansible-playbook, which the machine does not have"),
        }
    }
}

/// Why a run ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Reason {
    /// An operation failed, as was reported.
    #[serde(rename = "operation")]
    Operation,
    /// The host refused a report.
    #[serde(rename = "refused")]
    Refused,
    /// The image lacks the program `base64`.
    #[serde(rename = "no base64")]
    NoBase64,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Operation => "an operation failed",
            Self::Refused => "a report was refused",
            Self::NoBase64 => "the image lacks the program base64",
        })
    }
}

/// As the runner writes it.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum Wire {
    Operation { component: String, operation: Lifecycle, outcome: Outcome, status: u8, output: String, outputs: String },
    Done {},
    Failed { reason: Reason },
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Exit,
    Timeout,
    Outputs,
    Fetch,
    Digest,
    Tool,
}

impl Message {
    /// Reads the body of a report.
    ///
    /// # Errors
    /// When it is over the limits, or not as the runner writes it. Of [`MessageError::Outputs`] the operation is to blame, whose
    /// component it names; it has failed as much as one that [`Status`] says so of.
    pub fn parse(body: &[u8], limits: &Limits) -> Result<Self, MessageError> {
        if body.len() > limits.body {
            return Err(MessageError::TooLarge { size: body.len(), limit: limits.body });
        }
        // The parser's own words may quote the body.
        let wire = serde_json::from_slice(body)
            .map_err(|error| MessageError::Malformed { line: error.line(), column: error.column() })?;
        let (component, operation, outcome, status, output, written) = match wire {
            Wire::Done {} => return Ok(Self::Done),
            Wire::Failed { reason } => return Ok(Self::Failed(reason)),
            Wire::Operation { component, operation, outcome, status, output, outputs } => {
                (component, operation, outcome, status, output, outputs)
            }
        };
        if component.is_empty() || component.len() > MAX_NAME {
            return Err(MessageError::Field("component"));
        }
        let output = STANDARD.decode(output).ok().filter(|output| output.len() <= limits.output);
        let output = text::clean(&output.ok_or(MessageError::Field("output"))?);
        let written = STANDARD.decode(written).map_err(|_| MessageError::Field("outputs"))?;
        let status = match outcome {
            Outcome::Exit => Status::Exit(status),
            Outcome::Timeout => Status::Timeout,
            Outcome::Outputs => Status::Outputs,
            Outcome::Fetch => Status::Fetch,
            Outcome::Digest => Status::Digest,
            Outcome::Tool => Status::Tool,
        };
        let outputs = match outputs::parse(&written, limits) {
            Ok(outputs) => outputs,
            // One that failed may have stopped in the midst of them.
            Err(_) if !status.is_success() => IndexMap::new(),
            Err(problem) => return Err(MessageError::Outputs { component, operation, problem }),
        };
        Ok(Self::Operation(OperationReport { component, operation, status, output, outputs }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use serde_json::json;

    use super::*;
    use crate::OutputProblem;

    fn operation(outcome: &str, status: u8, output: &[u8], outputs: &[u8]) -> Value {
        json!({ "operation": {
            "component": "we\"b", "operation": "create", "outcome": outcome, "status": status,
            "output": STANDARD.encode(output), "outputs": STANDARD.encode(outputs),
        }})
    }

    fn parse(value: &Value) -> Result<Message, MessageError> {
        Message::parse(value.to_string().as_bytes(), &Limits::default())
    }

    #[test]
    fn reports_are_read() {
        assert_eq!(parse(&json!({ "done": {} })), Ok(Message::Done));
        for (reason, expected) in
            [("operation", Reason::Operation), ("refused", Reason::Refused), ("no base64", Reason::NoBase64)]
        {
            assert_eq!(parse(&json!({ "failed": { "reason": reason } })), Ok(Message::Failed(expected)));
        }
        let cases = [
            ("exit", 0, Status::Exit(0)),
            ("exit", 3, Status::Exit(3)),
            ("timeout", 143, Status::Timeout),
            ("outputs", 0, Status::Outputs),
            ("fetch", 0, Status::Fetch),
            ("digest", 0, Status::Digest),
            ("tool", 0, Status::Tool),
        ];
        for (outcome, code, status) in cases {
            let Ok(Message::Operation(report)) = parse(&operation(outcome, code, b"\x1b[1mok\r\n", b"a=1\n")) else {
                panic!("{outcome}");
            };
            assert_eq!(report.status, status);
            assert_eq!(report.status.is_success(), (outcome, code) == ("exit", 0));
            assert_eq!((report.component.as_str(), report.operation), ("we\"b", Lifecycle::Create));
            assert_eq!(report.output, "ok\n");
            assert_eq!(report.outputs.get("a"), Some(&json!("1")));
        }
        // Half a line of outputs is no matter once the operation has failed.
        let Ok(Message::Operation(report)) = parse(&operation("exit", 1, b"", b"a=1\nb")) else { panic!("it is a report") };
        assert!(report.outputs.is_empty());
    }

    #[test]
    fn all_else_is_refused() {
        let with = |key: &str, value: Value| {
            let mut report = operation("exit", 0, b"", b"");
            report["operation"][key] = value;
            report
        };
        let outputs = |problem| MessageError::Outputs { component: "we\"b".into(), operation: Lifecycle::Create, problem };
        let limits = Limits::default();
        let field = |name| MessageError::Field(name);
        let cases = [
            (with("component", "".into()), field("component")),
            (with("component", "x".repeat(MAX_NAME + 1).into()), field("component")),
            (with("output", "a".into()), field("output")),
            (with("output", "/\n".into()), field("output")),
            (with("output", STANDARD.encode(vec![b'x'; limits.output + 1]).into()), field("output")),
            (with("outputs", "a".into()), field("outputs")),
            (with("outputs", STANDARD.encode("a=1\nb").into()), outputs(OutputProblem::Line(2))),
        ];
        for (report, expected) in cases {
            assert_eq!(parse(&report), Err(expected), "{report}");
        }
        let malformed = [
            json!({}),
            json!([]),
            json!("done"),
            json!({ "done": null }),
            json!({ "done": { "x": 1 } }),
            json!({ "stop": {} }),
            json!({ "done": {}, "failed": { "reason": "operation" } }),
            json!({ "failed": {} }),
            json!({ "failed": { "reason": "x" } }),
            with("status", 256.into()),
            with("status", (-1).into()),
            with("status", "0".into()),
            with("outcome", "x".into()),
            with("operation", "stop".into()),
            with("extra", 1.into()),
            with("output", Value::Null),
        ];
        for report in malformed {
            assert!(matches!(parse(&report), Err(MessageError::Malformed { .. })), "{report}");
        }
        for text in [
            "",
            "{\"done\":{}} x",
            "{\"done\":{},\"done\":{}}",
            "{\"failed\":{\"reason\":\"operation\",\"reason\":\"operation\"}}",
        ] {
            assert!(matches!(Message::parse(text.as_bytes(), &limits), Err(MessageError::Malformed { .. })), "{text}");
        }
        let size = limits.body + 1;
        assert_eq!(Message::parse(&vec![b' '; size], &limits), Err(MessageError::TooLarge { size, limit: limits.body }));
    }

    #[test]
    fn the_longest_report_is_within_the_limits() {
        let options = Options::default();
        let report = json!({ "operation": {
            "component": "\u{1}".repeat(MAX_NAME), "operation": "configure", "outcome": "exit", "status": 255,
            "output": STANDARD.encode(vec![b'x'; options.output]),
            "outputs": STANDARD.encode(vec![b'\n'; options.outputs]),
        }});
        assert!(matches!(parse(&report), Ok(Message::Operation(_))));
    }

    #[test]
    fn debug_hides_what_programs_say() {
        let report = parse(&operation("exit", 0, b"secret", b"password=secret")).unwrap();
        let text = format!("{report:?}");
        assert!(!text.contains("secret") && text.contains("password"), "{text}");
    }
}
