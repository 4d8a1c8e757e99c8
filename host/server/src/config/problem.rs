//! What is wrong with a configuration, said as a compiler says it: where, what, and what would be right.

use std::fmt;
use std::ops::Range;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The server does not start.
    Error,
    /// The server starts.
    Warning,
}

/// One problem. `Display` gives `FILE:LINE:COLUMN: KEY: MESSAGE`, the source line with a caret, and the help. Secrets are cut
/// out of the source line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether it prevents the start.
    pub severity: Severity,
    /// The configuration file, or `environment`.
    pub file: String,
    /// The line, from 1; 0 where a problem is not about a line (a missing file, the environment).
    pub line: usize,
    /// The column in characters, from 1; 0 where there is no line.
    pub column: usize,
    /// The key's path, such as `clouds.lab.limits.memory_mb`, or the name of an environment variable; may be empty.
    pub key: String,
    /// What is wrong, with what would be right.
    pub message: String,
    /// More about what would be right.
    pub help: Option<String>,
    snippet: Option<Snippet>,
}

/// The source line as shown, with the marked part in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Snippet {
    text: String,
    start: usize,
    width: usize,
}

impl Problem {
    /// A problem that is not about a line of a file.
    pub(super) fn elsewhere(severity: Severity, place: &str, key: &str, message: impl Into<String>) -> Self {
        Self {
            severity,
            file: place.to_owned(),
            line: 0,
            column: 0,
            key: key.to_owned(),
            message: message.into(),
            help: None,
            snippet: None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        f.write_str(": ")?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        if let Some(snippet) = &self.snippet {
            let number = self.line.to_string();
            let gutter = " ".repeat(number.len());
            write!(f, "\n{gutter} |\n{number} | {}", snippet.text)?;
            write!(f, "\n{gutter} | {}{}", " ".repeat(snippet.start), "^".repeat(snippet.width.max(1)))?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  = help: {help}")?;
        }
        Ok(())
    }
}

/// All problems of a configuration that prevent the start, and its warnings besides, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Where something in the configuration was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Bytes of the file.
    File(Range<usize>),
    /// An environment variable.
    Environment(&'static str),
    /// Nowhere: a default.
    Default,
}

/// The text of the file, to turn byte offsets into lines and columns.
pub(super) struct Source<'a> {
    /// The file's name as shown.
    pub(super) name: &'a str,
    /// Its text.
    pub(super) text: &'a str,
}

impl Source<'_> {
    /// A problem at a place. `sensitive` are the bytes of the file that are never shown.
    pub(super) fn problem(
        &self,
        severity: Severity,
        place: &Place,
        key: &str,
        message: String,
        sensitive: &[Range<usize>],
    ) -> Problem {
        let span = match place {
            Place::File(span) => span,
            Place::Environment(variable) => return Problem::elsewhere(severity, "environment", variable, message),
            Place::Default => return Problem::elsewhere(severity, self.name, key, message),
        };
        let at = self.boundary(span.start);
        let line_start = self.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = self.text[at..].find(['\n', '\r']).map_or(self.text.len(), |newline| at + newline);
        let column = self.text[line_start..at].chars().count();
        let mut problem = Problem::elsewhere(severity, self.name, key, message);
        problem.line = self.text[..at].matches('\n').count() + 1;
        problem.column = column + 1;
        problem.snippet = Some(snippet(&self.text[line_start..line_end], line_start, span, sensitive));
        problem
    }

    /// The value part of the line at an offset: where a syntax error is, nobody can say which of it is a secret.
    pub(super) fn value_of_line(&self, offset: usize) -> Range<usize> {
        let at = self.boundary(offset);
        let start = self.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let end = self.text[at..].find('\n').map_or(self.text.len(), |newline| at + newline);
        let line = &self.text[start..end];
        if line.trim_start().starts_with('[') && !line.contains(['=', '"', '\'']) {
            return end..end;
        }
        let value = line.find('=').map_or(start, |equals| start + equals + 1);
        value + self.text[value..end].len() - self.text[value..end].trim_start().len()..end
    }

    fn boundary(&self, offset: usize) -> usize {
        let mut at = offset.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }
}

/// The line with `…` in place of what is sensitive, and the marked part shifted accordingly.
fn snippet(line: &str, line_start: usize, span: &Range<usize>, sensitive: &[Range<usize>]) -> Snippet {
    let mut text = String::new();
    let (mut shown, mut hidden) = (0, false);
    let (mut start, mut end) = (None, 0);
    for (index, character) in line.char_indices() {
        let at = line_start + index;
        let secret = sensitive.iter().any(|range| range.contains(&at));
        if !(secret && hidden) {
            text.push(match character {
                _ if secret => '…',
                c if c.is_control() => ' ',
                c => c,
            });
            shown += 1;
        }
        hidden = secret;
        if at >= span.start && start.is_none() {
            start = Some(shown - 1);
        }
        if at < span.end {
            end = shown;
        }
    }
    let start = start.unwrap_or(shown);
    Snippet { text, start, width: end.saturating_sub(start) }
}
