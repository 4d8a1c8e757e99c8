//! What is wrong with a template or with the inputs for it: everything at once, each with its place.

use std::fmt;

use crate::value::short;
use crate::work::{Exhausted, Work};
use crate::yaml::Limits;

/// A place in a text. Lines and columns count from one; zero means that the place is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// From one.
    pub line: u32,
    /// In characters, from one.
    pub column: u32,
}

/// What kind of problem it is. The words are those that clients of the original know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The text is not YAML.
    InvalidYaml,
    /// It is YAML, and something is of another form than TOSCA has for it.
    SyntaxError,
    /// A key is there twice in a map; the later one counts.
    DuplicateKey,
    /// It is larger than [`crate::Limits`] allow.
    LimitExceeded,
    /// There is no `tosca_definitions_version`.
    MissingToscaVersion,
    /// A version that is not read here.
    UnknownToscaVersion,
    /// `tosca_definitions_version` is not the first key.
    ToscaVersionNotFirst,
    /// No type has this name.
    TypeNotFound,
    /// Types derive from each other.
    CyclicDerivedFrom,
    /// The type has no such property.
    UnrecognizedProperty,
    /// A literal is not of its type, or breaks a constraint.
    ValidationError,
    /// A constraint that does not exist, or that is not written as it should be.
    InvalidConstraint,
    /// A function with arguments that it does not take.
    InvalidFunction,
    /// `get_input` of an input that is not defined.
    MissingTopologyInput,
    /// The type has no such capability.
    UnknownCapability,
    /// The type has no such requirement.
    RequirementNotFound,
    /// A requirement names a node that is not there.
    RequirementTargetNotFound,
    /// A requirement names no node.
    RequirementTargetNodeTemplateNameRequired,
    /// The target of a requirement has no fitting capability.
    RequirementCapabilityNotFound,
    /// It has several, and one is taken.
    RequirementCapabilityMultipleMatch,
    /// A key that means nothing at its place.
    UnknownKey,
    /// A function names a node that is not there.
    InvalidReference,
    /// A policy is for a node or group that is not there.
    PolicyTargetNotFound,
    /// A member of a group is not there.
    GroupMemberNotFound,
    /// A repository that is not defined.
    UnknownRepository,
    /// An import that the catalogue does not stand for.
    UnknownImport,
    /// An artifact without a file.
    UnresolvedArtifact,
    /// There are no nodes.
    EmptyTopology,
    /// A name with other characters than letters, digits and underscores; answers have it changed.
    InvalidName,
    /// A property that its type requires has no value.
    MissingProperty,
}

/// Whether something is refused for a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// It is.
    Error,
    /// It is not.
    Warning,
}

/// What is done where the rules leave a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Types, properties and capabilities that are not known are refused, and so is a key that is there twice.
    Strict,
    /// Types that are not known are refused. Properties and capabilities of a type that is known may be others than the catalogue
    /// lists, with a warning: published templates were written for several versions of the same types.
    #[default]
    Normal,
    /// Types that are not known count as derived from the root of their kind, with a warning.
    Lenient,
}

impl Code {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidYaml => "INVALID_YAML",
            Self::SyntaxError => "SYNTAX_ERROR",
            Self::DuplicateKey => "DUPLICATE_KEY",
            Self::LimitExceeded => "LIMIT_EXCEEDED",
            Self::MissingToscaVersion => "MISSING_TOSCA_VERSION",
            Self::UnknownToscaVersion => "UNKNOWN_TOSCA_VERSION",
            Self::ToscaVersionNotFirst => "TOSCA_VERSION_NOT_FIRST",
            Self::TypeNotFound => "TYPE_NOT_FOUND",
            Self::CyclicDerivedFrom => "CYCLIC_DERIVED_FROM",
            Self::UnrecognizedProperty => "UNRECOGNIZED_PROPERTY",
            Self::ValidationError => "VALIDATION_ERROR",
            Self::InvalidConstraint => "INVALID_CONSTRAINT",
            Self::InvalidFunction => "INVALID_FUNCTION",
            Self::MissingTopologyInput => "MISSING_TOPOLOGY_INPUT",
            Self::UnknownCapability => "UNKNOWN_CAPABILITY",
            Self::RequirementNotFound => "REQUIREMENT_NOT_FOUND",
            Self::RequirementTargetNotFound => "REQUIREMENT_TARGET_NOT_FOUND",
            Self::RequirementTargetNodeTemplateNameRequired => "REQUIREMENT_TARGET_NODE_TEMPLATE_NAME_REQUIRED",
            Self::RequirementCapabilityNotFound => "REQUIREMENT_CAPABILITY_NOT_FOUND",
            Self::RequirementCapabilityMultipleMatch => "REQUIREMENT_CAPABILITY_MULTIPLE_MATCH",
            Self::UnknownKey => "UNKNOWN_KEY",
            Self::InvalidReference => "INVALID_REFERENCE",
            Self::PolicyTargetNotFound => "POLICY_TARGET_NOT_FOUND",
            Self::GroupMemberNotFound => "GROUP_MEMBER_NOT_FOUND",
            Self::UnknownRepository => "UNKNOWN_REPOSITORY",
            Self::UnknownImport => "UNKNOWN_IMPORT",
            Self::UnresolvedArtifact => "UNRESOLVED_ARTIFACT",
            Self::EmptyTopology => "EMPTY_TOPOLOGY",
            Self::InvalidName => "INVALID_NAME",
            Self::MissingProperty => "MISSING_PROPERTY",
        }
    }

    /// How serious it is.
    pub fn level(self, mode: Mode) -> Level {
        let error = match self {
            Self::UnresolvedArtifact
            | Self::EmptyTopology
            | Self::ToscaVersionNotFirst
            | Self::InvalidName
            | Self::RequirementCapabilityMultipleMatch
            | Self::MissingProperty => false,
            Self::UnrecognizedProperty
            | Self::UnknownCapability
            | Self::UnknownKey
            | Self::UnknownImport
            | Self::DuplicateKey
            | Self::InvalidReference => mode == Mode::Strict,
            Self::TypeNotFound => mode != Mode::Lenient,
            _ => true,
        };
        if error { Level::Error } else { Level::Warning }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What kind of problem.
    pub code: Code,
    /// A sentence without its full stop.
    pub message: String,
    /// Where in the template, such as `node_templates[web][properties][port]`; may be empty.
    pub path: String,
    /// Where in the text.
    pub at: Mark,
}

impl Problem {
    pub(crate) fn new(code: Code, message: impl Into<String>, path: impl Into<String>, at: Mark) -> Self {
        Self { code, message: message.into(), path: path.into(), at }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.as_str())?;
        if self.at.line > 0 {
            write!(f, " at line {}, column {}", self.at.line, self.at.column)?;
        }
        if !self.path.is_empty() {
            write!(f, ", {}", self.path)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// A place in a template, as a way through its maps and lists. It is written out only for a problem: most values have none, and the
/// way to one may be longer than the value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Path<'a> {
    /// A section; empty for the template itself.
    Section(&'a str),
    Key(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl<'a> Path<'a> {
    pub(crate) fn key(&'a self, key: &'a str) -> Self {
        Self::Key(self, key)
    }

    pub(crate) fn item(&'a self, index: usize) -> Self {
        Self::Item(self, index)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Section(name) => f.write_str(name),
            Self::Key(before, key) => write!(f, "{before}[{}]", short(key)),
            Self::Item(before, index) => write!(f, "{before}[{index}]"),
        }
    }
}

/// Why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The template is wrong. Warnings are not among these.
    Template {
        /// In the order of the text.
        problems: Vec<Problem>,
        /// How many more there are.
        more: usize,
    },
    /// What was given for its inputs is.
    Inputs(Vec<InputProblem>),
    /// Nodes require each other.
    Cycle(Vec<String>),
}

/// What is wrong with one input, or with the value of a property once the inputs are in place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputProblem {
    /// No value, and no default.
    #[error("Input {0} is required and is not present in the user's input list, nor has a default value")]
    Missing(String),
    /// A value of another type than the input has, or one that breaks a constraint.
    #[error("Input {name}: {message}")]
    Invalid {
        /// Of the input.
        name: String,
        /// A sentence without its full stop.
        message: String,
    },
    /// A value that follows from inputs.
    #[error("Failed to evaluate {path}{message}")]
    Value {
        /// Where in the template.
        path: String,
        /// What failed there, in the form of the original.
        message: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Template { problems, more } => {
                f.write_str("Error parsing TOSCA template template:")?;
                for problem in problems {
                    write!(f, "\n{problem}")?;
                }
                if *more > 0 { write!(f, "\nand {more} more") } else { Ok(()) }
            }
            // The original's own spelling: clients look for it.
            Self::Cycle(nodes) => {
                write!(f, "Found node depencency loop in TOSCA topology; involved nodes: [{}]", nodes.join(", "))
            }
            Self::Inputs(problems) => {
                for (index, problem) in problems.iter().enumerate() {
                    if index > 0 {
                        f.write_str("\n")?;
                    }
                    write!(f, "{problem}")?;
                }
                Ok(())
            }
        }
    }
}

/// Problems as they are found.
#[derive(Debug)]
pub(crate) struct Problems {
    pub mode: Mode,
    limit: usize,
    errors: Vec<Problem>,
    pub warnings: Vec<Problem>,
    more: usize,
    /// What reading the text may still cost.
    pub work: Work,
}

impl Problems {
    pub(crate) fn new(mode: Mode, limits: &Limits) -> Self {
        let work = Work::new(limits.work);
        Self { mode, limit: limits.problems, errors: Vec::new(), warnings: Vec::new(), more: 0, work }
    }

    /// Path and message are written out only if the problem is kept: a text may have more of them than anybody reads.
    pub(crate) fn push(&mut self, code: Code, at: Mark, path: impl fmt::Display, message: impl fmt::Display) {
        let error = code.level(self.mode) == Level::Error;
        let list = if error { &mut self.errors } else { &mut self.warnings };
        if list.len() < self.limit {
            list.push(Problem { code, message: message.to_string(), path: path.to_string(), at });
        } else if error {
            self.more += 1;
        }
    }

    /// Once it is exhausted, nothing else counts: what was left out makes problems that are none.
    pub(crate) fn check_work(&self) -> Result<(), Error> {
        if !self.work.is_exhausted() {
            return Ok(());
        }
        let problem = Problem::new(Code::LimitExceeded, Exhausted::MESSAGE, "", Mark::default());
        Err(Error::Template { problems: vec![problem], more: 0 })
    }

    /// The warnings, if there is nothing else.
    pub(crate) fn finish(mut self) -> Result<Vec<Problem>, Error> {
        self.check_work()?;
        if self.errors.is_empty() {
            return Ok(self.warnings);
        }
        self.errors.sort_by_key(|problem| problem.at);
        Err(Error::Template { problems: self.errors, more: self.more })
    }

    pub(crate) fn fatal(mut self, problem: Problem) -> Error {
        self.errors.push(problem);
        self.errors.sort_by_key(|problem| problem.at);
        Error::Template { problems: self.errors, more: self.more }
    }
}
