//! What can be wrong with a machine, and with what it reports. No text of an error holds values of inputs, tokens or outputs.

use crate::Lifecycle;

/// Why no user data can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// [`crate::Options::base`].
    #[error("the base directory must be a full path of letters, digits, dots, hyphens and underscores")]
    Base,
    /// [`crate::Machine::hostname`].
    #[error("the host name {0:?} is not one")]
    Hostname(String),
    /// [`crate::Machine::ssh_keys`], by index.
    #[error("SSH key number {0} is not a public key, or has options")]
    SshKey(usize),
    /// [`crate::Machine::packages`], by index.
    #[error("package number {0} has no name of a package")]
    Package(usize),
    /// [`crate::Report::url`].
    #[error("the report address {0}")]
    ReportUrl(&'static str),
    /// [`crate::Report::token`].
    #[error("the report token is not a bearer token")]
    Token,
    /// [`crate::Report::ca_pem`].
    #[error("the report authority must be certificates in PEM, and nothing else")]
    CaPem,
    /// A deadline or pause that is too short or too long, or not in whole seconds.
    #[error("{0} must be whole seconds, at least {1} and at most {2}")]
    Time(&'static str, u64, u64),
    /// [`crate::Options::tries`].
    #[error("reports must be tried at least once and at most 100 times")]
    Tries,
    /// More operations than [`crate::MAX_OPERATIONS`].
    #[error("{count} operations are too many for one machine: at most {limit}")]
    Operations {
        /// How many there are.
        count: usize,
        /// How many may be.
        limit: usize,
    },
    /// A name longer than [`crate::MAX_NAME`].
    #[error("the name of component number {0} is empty or too long")]
    Name(usize),
    /// An operation that is there twice.
    #[error("component {component:?} has the operation {operation} twice")]
    Twice {
        /// The component.
        component: String,
        /// The operation.
        operation: Lifecycle,
    },
    /// The source of an operation.
    #[error("{operation} of component {component:?}: {problem}")]
    Source {
        /// The component.
        component: String,
        /// The operation.
        operation: Lifecycle,
        /// What is wrong.
        problem: SourceProblem,
    },
    /// An input of an operation.
    #[error("{operation} of component {component:?}, input {input:?}: {problem}")]
    Input {
        /// The component.
        component: String,
        /// The operation.
        operation: Lifecycle,
        /// The input's name.
        input: String,
        /// What is wrong.
        problem: InputProblem,
    },
    /// The document is over [`crate::Options::limit`].
    #[error(
        "the user data takes {size} bytes{}: {} over the limit of {limit}{}",
        if *.base64 { " of base64" } else { "" }, size - limit,
        .compressed.map(|size| format!("; compressed it would take {size}")).unwrap_or_default()
    )]
    TooLarge {
        /// Bytes, as the limit counts them.
        size: usize,
        /// Bytes that are admitted.
        limit: usize,
        /// Whether bytes of base64 count.
        base64: bool,
        /// What [`crate::Options::compress`] would make of it, if it was not compressed.
        compressed: Option<usize>,
    },
}

/// What is wrong with the source of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceProblem {
    /// Nothing to run.
    #[error("its script is empty")]
    Empty,
    /// The address.
    #[error("the address of its script {0}")]
    Url(&'static str),
    /// The text has another digest than the one that is asked for.
    #[error("its script has another SHA-256 than is asked for")]
    Digest,
}

/// What is wrong with an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InputProblem {
    /// No name of an environment variable, or too long.
    #[error("its name is not that of a variable: letters, digits and underscores, no digit first")]
    Name,
    /// A variable that shells or the runner set.
    #[error("a variable of this name cannot be set: shells, or the runner, set it themselves")]
    Reserved,
    /// A null character.
    #[error("its value has a null character, which no environment variable can have")]
    Null,
    /// More than the kernel passes on.
    #[error("its value is longer than an environment variable can be: 128 KiB with the name")]
    Length,
}

/// Why a report is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Over [`crate::Limits::body`].
    #[error("the report takes {size} bytes, of at most {limit}")]
    TooLarge {
        /// Bytes.
        size: usize,
        /// How many may be.
        limit: usize,
    },
    /// Not of the form of a report.
    #[error("the report is malformed at line {line}, column {column}")]
    Malformed {
        /// From 1; 0 where there is none.
        line: usize,
        /// From 1; 0 where there is none.
        column: usize,
    },
    /// A field with a value that it cannot have.
    #[error("the report has no acceptable `{0}`")]
    Field(&'static str),
    /// What the operation wrote to `$OSTLER_OUTPUTS`: the machine's fault or the script's, not the runner's.
    #[error("the outputs of {operation} of component {component:?}: {problem}")]
    Outputs {
        /// The component.
        component: String,
        /// The operation.
        operation: Lifecycle,
        /// What is wrong.
        problem: OutputProblem,
    },
}

/// What is wrong with the outputs of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutputProblem {
    /// Over [`crate::Limits::outputs_bytes`].
    #[error("more than {0} bytes")]
    TooLarge(usize),
    /// Over [`crate::Limits::outputs`].
    #[error("more than {0}")]
    TooMany(usize),
    /// Over [`crate::Limits::output_value`].
    #[error("one has a value of more than {0} bytes")]
    Value(usize),
    /// Not UTF-8.
    #[error("not text in UTF-8")]
    Encoding,
    /// Neither `key=value` nor a JSON object, at this line.
    #[error("line {0} is malformed")]
    Line(usize),
    /// A JSON object has a key twice.
    #[error("one is there twice")]
    Twice,
    /// A name that is empty, too long, or has characters other than letters, digits and `_.-`.
    #[error("one has a name that is not letters, digits, dots, hyphens and underscores, or is too long")]
    Name,
    /// Control characters other than tabs and ends of lines.
    #[error("one has control characters")]
    Control,
}
