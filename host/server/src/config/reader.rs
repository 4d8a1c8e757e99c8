//! Reading a TOML document key by key. Each reader method notes what is wrong and goes on with the default, so that all
//! problems come to light at once.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::env;
use super::problem::{Place, Problem, Severity, Source};

/// What is known while a document is read.
pub(super) struct Reader<'a> {
    source: Source<'a>,
    /// Looks up an environment variable.
    env: &'a dyn Fn(&str) -> Option<String>,
    /// The directory of the file, which relative paths start from.
    directory: PathBuf,
    notes: RefCell<Vec<Note>>,
    sensitive: RefCell<Vec<Range<usize>>>,
}

struct Note {
    severity: Severity,
    place: Place,
    key: String,
    message: String,
    help: Option<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(name: &'a str, text: &'a str, directory: PathBuf, env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        let (notes, sensitive) = Default::default();
        Self { source: Source { name, text }, env, directory, notes, sensitive }
    }

    /// The document's root; what the parser made out despite syntax errors, which are noted.
    pub(super) fn root(&self) -> Section<'_, 'a> {
        self.root_as(String::new())
    }

    /// The same, of a document that is a table of another one.
    pub(super) fn root_as(&self, path: String) -> Section<'_, 'a> {
        let (table, errors) = DeTable::parse_recoverable(self.source.text);
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            let hidden = self.source.value_of_line(span.start);
            self.sensitive.borrow_mut().push(hidden);
            self.note(Severity::Error, &Place::File(span), "", error.message().trim_end(), None);
        }
        Section::new(self, path, Place::Default, table.into_inner())
    }

    /// An environment variable; an empty one counts as not set.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|value| !value.is_empty())
    }

    /// A path as the file means it.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.directory.join(path)
    }

    pub(super) fn error(&self, place: &Place, key: &str, message: impl AsRef<str>) {
        self.note(Severity::Error, place, key, message.as_ref(), None);
    }

    pub(super) fn warning(&self, place: &Place, key: &str, message: impl AsRef<str>) {
        self.note(Severity::Warning, place, key, message.as_ref(), None);
    }

    pub(super) fn error_with_help(&self, place: &Place, key: &str, message: impl AsRef<str>, help: Option<String>) {
        self.note(Severity::Error, place, key, message.as_ref(), help);
    }

    fn note(&self, severity: Severity, place: &Place, key: &str, message: &str, help: Option<String>) {
        let (place, key, message) = (place.clone(), key.to_owned(), message.to_owned());
        self.notes.borrow_mut().push(Note { severity, place, key, message, help });
    }

    /// Marks bytes of the file that must not be shown, in no problem's source line.
    pub(super) fn hide(&self, place: &Place) {
        if let Place::File(span) = place {
            self.sensitive.borrow_mut().push(span.clone());
        }
    }

    /// Whether an error was noted so far.
    pub(super) fn failed(&self) -> bool {
        self.notes.borrow().iter().any(|note| note.severity == Severity::Error)
    }

    /// All that was noted, in the order of the file; what is not in the file comes last.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let sensitive = self.sensitive.into_inner();
        let mut problems: Vec<Problem> = (self.notes.into_inner().into_iter())
            .map(|note| {
                let mut problem = self.source.problem(note.severity, &note.place, &note.key, note.message, &sensitive);
                problem.help = note.help;
                problem
            })
            .collect();
        problems.sort_by_key(|problem| (problem.line == 0, problem.line, problem.column));
        problems.dedup();
        problems
    }
}

/// A text and where it was said.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) value: String,
    pub(super) place: Place,
    pub(super) key: String,
}

type Entry<'i> = (Range<usize>, Spanned<DeValue<'i>>);

/// A table that is being read. What nobody asked for is an unknown key, reported when the section is dropped.
pub(super) struct Section<'r, 'i> {
    pub(super) reader: &'r Reader<'i>,
    /// The table's own path.
    pub(super) path: String,
    /// Where the table is named.
    pub(super) place: Place,
    entries: RefCell<BTreeMap<String, Entry<'i>>>,
    known: RefCell<Vec<&'static str>>,
    open: Cell<bool>,
}

impl<'r, 'i> Section<'r, 'i> {
    fn new(reader: &'r Reader<'i>, path: String, place: Place, table: DeTable<'i>) -> Self {
        let entries = table.into_iter().map(|(key, value)| (key.get_ref().to_string(), (key.span(), value))).collect();
        Self { reader, path, place, entries: RefCell::new(entries), known: RefCell::default(), open: Cell::new(false) }
    }

    /// The path of a key of this table.
    pub(super) fn key(&self, key: &str) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let key = if !key.is_empty() && key.chars().all(plain) { key.to_owned() } else { format!("{key:?}") };
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }

    pub(super) fn take(&self, key: &'static str) -> Option<Spanned<DeValue<'i>>> {
        self.known.borrow_mut().push(key);
        self.entries.borrow_mut().remove(key).map(|(_, value)| value)
    }

    /// Takes all keys as they are: this table has no fixed ones.
    pub(super) fn take_all(&self) -> Vec<(String, Place, Spanned<DeValue<'i>>)> {
        self.open.set(true);
        let entries = std::mem::take(&mut *self.entries.borrow_mut());
        entries.into_iter().map(|(key, (span, value))| (key, Place::File(span), value)).collect()
    }

    fn mismatch(&self, key: &str, wanted: &str, value: &Spanned<DeValue<'i>>) {
        let message = format!("must be {wanted}, found {}", kind(value.get_ref()));
        self.reader.error(&Place::File(value.span()), &self.key(key), message);
    }

    /// Marks the value of a key, whatever it is, as one that must not be shown.
    pub(super) fn hide(&self, key: &str) {
        if let Some((_, value)) = self.entries.borrow().get(key) {
            self.reader.hide(&Place::File(value.span()));
        }
    }

    /// A table of this table; an empty one if it is absent or something else.
    pub(super) fn section(&self, key: &'static str) -> Section<'r, 'i> {
        let place = self.entries.borrow().get(key).map_or(Place::Default, |(span, _)| Place::File(span.clone()));
        let table = match self.take(key).map(|value| (value.span(), value)) {
            None => DeTable::new(),
            Some((span, value)) => match value.into_inner() {
                DeValue::Table(table) => table,
                other => {
                    // Whatever stands here may be the secret itself.
                    self.reader.hide(&Place::File(span.clone()));
                    self.mismatch(key, "a table", &Spanned::new(span, other));
                    DeTable::new()
                }
            },
        };
        Section::new(self.reader, self.key(key), place, table)
    }

    /// A table whose entries are tables, by name.
    pub(super) fn sections_by_name(&self, key: &'static str) -> Vec<(String, Section<'r, 'i>)> {
        let outer = self.section(key);
        let mut sections = Vec::new();
        for (name, place, value) in outer.take_all() {
            let span = value.span();
            match value.into_inner() {
                DeValue::Table(table) => sections.push((name.clone(), Section::new(self.reader, outer.key(&name), place, table))),
                other => outer.mismatch(&name, &format!("a table: [{}]", outer.key(&name)), &Spanned::new(span, other)),
            }
        }
        sections
    }

    /// An array of tables.
    pub(super) fn sections_in_order(&self, key: &'static str) -> Vec<Section<'r, 'i>> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let span = value.span();
        let wanted = format!("an array of tables: [[{}]]", self.key(key));
        let items = match value.into_inner() {
            DeValue::Array(items) => items,
            other => {
                self.mismatch(key, &wanted, &Spanned::new(span, other));
                return Vec::new();
            }
        };
        let mut sections = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let span = item.span();
            match item.into_inner() {
                DeValue::Table(table) => {
                    let path = format!("{}[{index}]", self.key(key));
                    sections.push(Section::new(self.reader, path, Place::File(span), table));
                }
                other => self.mismatch(key, &wanted, &Spanned::new(span, other)),
            }
        }
        sections
    }

    /// A text, or what the environment says in its stead.
    pub(super) fn text(&self, key: &'static str) -> Option<Text> {
        let path = self.key(key);
        let value = self.take(key);
        if let Some(variable) = env::overriding(&path)
            && let Some(value) = self.reader.variable(variable)
        {
            return Some(Text { value, place: Place::Environment(variable), key: path });
        }
        let value = value?;
        match value.get_ref() {
            DeValue::String(text) => Some(Text { value: text.to_string(), place: Place::File(value.span()), key: path }),
            _ => {
                self.mismatch(key, "a string", &value);
                None
            }
        }
    }

    /// A text that must be there.
    pub(super) fn required_text(&self, key: &'static str, why: &str) -> Option<Text> {
        if !self.entries.borrow().contains_key(key) {
            self.known.borrow_mut().push(key);
            self.reader.error(&self.place, &self.key(key), format!("is missing: {why}"));
            return None;
        }
        self.text(key)
    }

    /// A text in some syntax. The syntax's own explanation is reported.
    pub(super) fn parsed<T>(&self, key: &'static str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<(T, Text)> {
        let text = self.text(key)?;
        match parse(&text.value) {
            Ok(value) => Some((value, text)),
            Err(message) => {
                self.reader.error(&text.place, &text.key, message);
                None
            }
        }
    }

    /// One of some words.
    pub(super) fn choice<T: Copy>(&self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text.value) {
            return Some(*value);
        }
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("{word:?}")).collect();
        let help = suggestion(&text.value, choices.iter().map(|(word, _)| *word));
        let message = format!("must be one of {}, found {:?}", words.join(", "), text.value);
        self.reader.error_with_help(&text.place, &text.key, message, help);
        None
    }

    /// Several texts.
    pub(super) fn texts(&self, key: &'static str) -> Vec<Text> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.mismatch(key, "an array of strings", &value);
            return Vec::new();
        };
        let mut texts = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = format!("{}[{index}]", self.key(key));
            match item.get_ref() {
                DeValue::String(text) => texts.push(Text { value: text.to_string(), place: Place::File(item.span()), key: path }),
                other => self.reader.error(&Place::File(item.span()), &path, format!("must be a string, found {}", kind(other))),
            }
        }
        texts
    }

    /// Several texts in some syntax.
    pub(super) fn all_parsed<T>(&self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let mut values = Vec::new();
        for text in self.texts(key) {
            match parse(&text.value) {
                Ok(value) => values.push(value),
                Err(message) => self.reader.error(&text.place, &text.key, message),
            }
        }
        values
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, key: &'static str) -> Option<(bool, Place)> {
        let value = self.take(key)?;
        match value.get_ref() {
            DeValue::Boolean(boolean) => Some((*boolean, Place::File(value.span()))),
            _ => {
                self.mismatch(key, "true or false", &value);
                None
            }
        }
    }

    /// A whole number within bounds, in a unit that messages name.
    pub(super) fn integer(&self, key: &'static str, default: u64, bounds: RangeInclusive<u64>, unit: &str) -> u64 {
        let Some(value) = self.take(key) else { return default };
        let DeValue::Integer(integer) = value.get_ref() else {
            self.mismatch(key, "a whole number", &value);
            return default;
        };
        match u64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if bounds.contains(&number) => number,
            _ => {
                let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
                let message = format!("must be between {} and {}{unit}, found {integer}", bounds.start(), bounds.end());
                self.reader.error(&Place::File(value.span()), &self.key(key), message);
                default
            }
        }
    }

    /// All keys, with a whole number each.
    pub(super) fn all_integers(&self, bounds: RangeInclusive<u64>, unit: &str) -> BTreeMap<String, u64> {
        let mut numbers = BTreeMap::new();
        for (key, _, value) in self.take_all() {
            let number = match value.get_ref() {
                DeValue::Integer(integer) => u64::from_str_radix(integer.as_str(), integer.radix()).ok(),
                _ => None,
            };
            match number.filter(|number| bounds.contains(number)) {
                Some(number) => drop(numbers.insert(key, number)),
                None => {
                    let message = format!("must be a whole number between {} and {} {unit}", bounds.start(), bounds.end());
                    self.reader.error(&Place::File(value.span()), &self.key(&key), message);
                }
            }
        }
        numbers
    }

    /// A number above zero, at most `most`.
    pub(super) fn positive(&self, key: &'static str, most: f64) -> Option<f64> {
        let value = self.take(key)?;
        let number: Option<f64> = match value.get_ref() {
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str().parse().ok(),
            DeValue::Float(float) => float.as_str().parse().ok(),
            _ => {
                self.mismatch(key, "a number", &value);
                return None;
            }
        };
        let number = number.filter(|number| *number > 0.0 && *number <= most);
        if number.is_none() {
            let message = format!("must be above 0 and at most {most}");
            self.reader.error(&Place::File(value.span()), &self.key(key), message);
        }
        number
    }

    /// A file that must be there.
    pub(super) fn file(&self, key: &'static str) -> Option<PathBuf> {
        let text = self.text(key)?;
        let path = self.reader.resolve(&text.value);
        if let Err(reason) = readable(&path) {
            self.reader.error(&text.place, &text.key, format!("cannot read {}: {reason}", path.display()));
            return None;
        }
        Some(path)
    }

    /// Two files that make sense together only.
    pub(super) fn pair_of_files(&self, certificate: &'static str, key: &'static str) -> (Option<PathBuf>, Option<PathBuf>) {
        let present = |name: &str| self.entries.borrow().get(name).map(|(span, _)| Place::File(span.clone()));
        let (has_certificate, has_key) = (present(certificate), present(key));
        for (one, place, other, counterpart) in
            [(certificate, &has_certificate, key, &has_key), (key, &has_key, certificate, &has_certificate)]
        {
            if let (Some(place), None) = (place, counterpart) {
                self.reader.error(place, &self.key(one), format!("needs {} as well", self.key(other)));
            }
        }
        (self.file(certificate), self.file(key))
    }
}

impl Drop for Section<'_, '_> {
    fn drop(&mut self) {
        if self.open.get() {
            return;
        }
        let known = self.known.borrow();
        for (key, (span, _)) in self.entries.borrow().iter() {
            let listed = || format!("the keys here are {}", known.join(", "));
            let help = suggestion(key, known.iter().copied()).unwrap_or_else(listed);
            self.reader.error_with_help(&Place::File(span.clone()), &self.key(key), "unknown key", Some(help));
        }
    }
}

fn readable(path: &Path) -> Result<(), String> {
    let file = std::fs::File::open(path).map_err(|error| reason(&error))?;
    match file.metadata() {
        Ok(metadata) if metadata.is_dir() => Err("it is a directory".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(reason(&error)),
    }
}

/// Why a file could not be read, the same on all systems.
pub(super) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        std::io::ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
        _ => error.to_string(),
    }
}

/// `did you mean …?` for the nearest of the known words, if it is near.
pub(super) fn suggestion<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<String> {
    nearest(word, known).map(|candidate| format!("did you mean `{candidate}`?"))
}

/// The nearest of the known words, whatever their case, if it is near.
pub(super) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let far = word.chars().count() / 3 + 1;
    let word = word.to_lowercase();
    known
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= far)
        .min()
        .map(|(_, candidate)| candidate)
}

/// What a value is, for people.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
