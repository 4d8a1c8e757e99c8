//! What a value has to be: types, constraints, and reading a value as its type.

use std::cmp::Ordering::{Equal, Greater, Less};
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Value};

use crate::error::{Code, Mark, Path, Problems};
use crate::expr::Expr;
use crate::types::{Kind, Types};
use crate::value::{self, Primitive, short};
use crate::work::{Work, of_text, of_value};
use crate::yaml::{Data, Node};

/// Nested values of data types' defaults: more is a type whose default holds itself.
const DEPTH: usize = 64;
/// What a pattern costs, as work.
const PATTERN: usize = 15_000;
/// Compiled sizes of patterns, in bytes; more than the last is refused. The worst patterns go through all their states at each byte of
/// a text, so that a byte costs a unit of work for each KiB.
const PATTERN_SIZES: [usize; 4] = [1 << 12, 1 << 14, 1 << 16, 1 << 18];
/// What a pattern may keep of what it found out about texts, in bytes.
const PATTERN_CACHE: usize = 1 << 18;

/// The type of a property, an attribute or an input.
#[derive(Debug, Clone)]
pub(crate) struct Schema {
    pub shape: Shape,
    pub constraints: Vec<Constraint>,
}

#[derive(Debug, Clone)]
pub(crate) enum Shape {
    /// Whatever there is.
    Any,
    Primitive(Primitive),
    List(Box<Schema>),
    Map(Box<Schema>),
    /// A data type, by its full name.
    Data(String),
}

#[derive(Debug, Clone)]
pub(crate) enum Constraint {
    Equal(Expr),
    GreaterThan(Expr),
    GreaterOrEqual(Expr),
    LessThan(Expr),
    LessOrEqual(Expr),
    /// A missing bound is open.
    InRange(Option<Expr>, Option<Expr>),
    ValidValues(Vec<Expr>),
    Length(u64),
    MinLength(u64),
    MaxLength(u64),
    Pattern(Arc<Pattern>),
}

#[derive(Debug)]
pub(crate) struct Pattern {
    regex: regex::Regex,
    /// As it was written.
    text: String,
    /// What each byte of a text costs.
    per_byte: usize,
}

impl Pattern {
    fn new(text: &str, work: &Work) -> Result<Self, String> {
        work.take(PATTERN)?;
        let whole = format!("^(?:{text})$");
        let build = |size: &usize| {
            let regex = regex::RegexBuilder::new(&whole).size_limit(*size).dfa_size_limit(PATTERN_CACHE).build().ok()?;
            Some(Self { regex, text: text.into(), per_byte: size >> 10 })
        };
        let wrong = || format!("'{}' is not a regular expression without look-around, or too large a one", short(text));
        // By itself first: what is put around it must not be what makes it whole.
        regex_syntax::Parser::new().parse(text).map_err(|_| wrong())?;
        PATTERN_SIZES.iter().find_map(build).ok_or_else(wrong)
    }
}

impl Schema {
    pub(crate) const ANY: Self = Self { shape: Shape::Any, constraints: Vec::new() };

    /// Reads `type`, `entry_schema` and `constraints` of a definition. `inherited` is what a definition without a type refines.
    pub(crate) fn read(node: &Node, inherited: Option<&Self>, path: &Path<'_>, types: &Types, problems: &mut Problems) -> Self {
        let mut schema = match node.get("type") {
            Some(name) => {
                let entry = node.get("entry_schema");
                Self { shape: shape(name, entry, path, types, problems), constraints: Vec::new() }
            }
            None => inherited.cloned().unwrap_or(Self::ANY),
        };
        if let Some(list) = node.get("constraints") {
            schema.constraints.extend(constraints(list, path, problems));
        }
        schema
    }

    /// What was read or computed, as its type. An error is a sentence; of a part, it begins with the way to it.
    pub(crate) fn raw(&self, raw: Raw, types: &Types, work: &Work) -> Result<Value, String> {
        self.convert(raw, types, work, DEPTH)
    }

    /// A literal as its type.
    pub(crate) fn literal(&self, expr: &Expr, types: &Types, work: &Work) -> Result<Value, String> {
        work.take(expr.weight())?;
        self.raw(raw(expr), types, work)
    }

    /// A value as its type: clients may send numbers and truth values as text.
    pub(crate) fn value(&self, value: Value, types: &Types, work: &Work) -> Result<Value, String> {
        self.convert(Raw::Value(value), types, work, DEPTH)
    }

    fn convert(&self, raw: Raw, types: &Types, work: &Work, depth: usize) -> Result<Value, String> {
        work.take(1)?;
        let Some(depth) = depth.checked_sub(1) else { return Err("it is nested too deeply".into()) };
        let value = self.shape.convert(raw, types, work, depth)?;
        keep(&self.constraints, &value, self.shape.primitive(types), work)?;
        Ok(value)
    }
}

impl Shape {
    fn name(&self) -> String {
        match self {
            Self::Any => "any value".into(),
            Self::Primitive(primitive) => primitive.as_str().into(),
            Self::List(entry) => format!("list of {}", entry.shape.name()),
            Self::Map(entry) => format!("map of {}", entry.shape.name()),
            Self::Data(name) => name.clone(),
        }
    }

    fn convert(&self, raw: Raw, types: &Types, work: &Work, depth: usize) -> Result<Value, String> {
        let wrong = |kind| format!("{kind} is not a {}", self.name());
        match self {
            Self::Any => Ok(raw.untyped()),
            Self::Primitive(Primitive::Range) => range(raw.untyped()),
            Self::Primitive(primitive) => primitive.read(&raw.scalar().map_err(wrong)?),
            Self::List(entry) => {
                let items = raw.opened(work)?.list().map_err(wrong)?.into_iter().enumerate();
                let items =
                    items.map(|(i, item)| entry.convert(item, types, work, depth).map_err(|error| format!("[{i}]: {error}")));
                Ok(Value::Array(items.collect::<Result<_, _>>()?))
            }
            Self::Map(entry) => {
                let items = raw.opened(work)?.map().map_err(wrong)?.into_iter();
                let items = items.map(|(key, item)| match entry.convert(item, types, work, depth) {
                    Ok(value) => Ok((key, value)),
                    Err(error) => Err(format!("[{}]: {error}", short(&key))),
                });
                Ok(Value::Object(items.collect::<Result<_, _>>()?))
            }
            Self::Data(name) => data(name, raw, types, work, depth),
        }
    }

    /// The primitive that decides how values compare.
    fn primitive(&self, types: &Types) -> Option<Primitive> {
        match self {
            Self::Primitive(primitive) => Some(*primitive),
            Self::Data(name) => types.get(Kind::Data, name)?.primitive,
            _ => None,
        }
    }
}

/// A value that is not typed yet: from a template, where scalars are text, or from a client.
pub(crate) enum Raw {
    Scalar { text: String, plain: bool },
    List(Vec<Raw>),
    Map(Vec<(String, Raw)>),
    Value(Value),
}

fn raw(expr: &Expr) -> Raw {
    match expr {
        Expr::Scalar { text, plain } => Raw::Scalar { text: text.clone(), plain: *plain },
        Expr::List(list) => Raw::List(list.iter().map(raw).collect()),
        Expr::Map(map) => Raw::Map(map.iter().map(|(key, value)| (key.clone(), raw(value))).collect()),
        // Only what holds no call is read here.
        Expr::Call(_) => Raw::Value(Value::Null),
    }
}

impl Raw {
    pub(crate) fn untyped(self) -> Value {
        match self {
            Self::Scalar { text, plain } => value::untyped(&text, plain),
            Self::List(list) => Value::Array(list.into_iter().map(Self::untyped).collect()),
            Self::Map(map) => Value::Object(map.into_iter().map(|(key, value)| (key, value.untyped())).collect()),
            Self::Value(value) => value,
        }
    }

    /// The error says what it is instead.
    fn scalar(self) -> Result<String, &'static str> {
        match self {
            Self::Scalar { text, .. } => Ok(text),
            Self::Value(Value::Null) => Err("null"),
            Self::Value(ref value) => value::text(value).ok_or(self.kind()),
            _ => Err(self.kind()),
        }
    }

    /// Clients that send text only send lists and maps as JSON.
    fn opened(self, work: &Work) -> Result<Self, String> {
        match self {
            Self::Value(Value::String(text)) if text.trim_start().starts_with(['[', '{']) => {
                // There may be as many values in it as bytes.
                work.take(text.len())?;
                Ok(Self::Value(serde_json::from_str(&text).unwrap_or(Value::String(text))))
            }
            other => Ok(other),
        }
    }

    fn list(self) -> Result<Vec<Self>, &'static str> {
        match self {
            Self::List(list) => Ok(list),
            Self::Value(Value::Array(list)) => Ok(list.into_iter().map(Self::Value).collect()),
            other => Err(other.kind()),
        }
    }

    fn map(self) -> Result<Vec<(String, Self)>, &'static str> {
        match self {
            Self::Map(map) => Ok(map),
            Self::Value(Value::Object(map)) => Ok(map.into_iter().map(|(key, value)| (key, Self::Value(value))).collect()),
            other => Err(other.kind()),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Value(Value::Null) => "null",
            Self::Scalar { .. } | Self::Value(Value::String(_) | Value::Number(_) | Value::Bool(_)) => "a scalar",
            Self::List(_) | Self::Value(Value::Array(_)) => "a list",
            Self::Map(_) | Self::Value(Value::Object(_)) => "a map",
        }
    }
}

/// `[lower, upper]`, each a number of zero or more, the upper one possibly `UNBOUNDED`.
fn range(value: Value) -> Result<Value, String> {
    let wrong = || format!("'{}' is not a range such as [1, 4] or [1, UNBOUNDED]", short(&value.to_string()));
    let bounds = value.as_array().filter(|list| list.len() == 2).ok_or_else(wrong)?;
    let lower = bounds[0].as_u64().ok_or_else(wrong)?;
    match (&bounds[1], bounds[1].as_u64()) {
        (Value::String(word), _) if word == "UNBOUNDED" => {}
        (_, Some(upper)) if upper >= lower => {}
        _ => return Err(wrong()),
    }
    Ok(value)
}

fn data(name: &str, raw: Raw, types: &Types, work: &Work, depth: usize) -> Result<Value, String> {
    let Some(ty) = types.get(Kind::Data, name) else { return Ok(raw.untyped()) };
    if let Some(primitive) = ty.primitive {
        let value = Shape::Primitive(primitive).convert(raw, types, work, depth)?;
        keep(&ty.constraints, &value, Some(primitive), work)?;
        return Ok(value);
    }
    work.take(ty.properties.len())?;
    let given = raw.opened(work)?.map().map_err(|kind| format!("{kind} is not a {name}"))?;
    let mut given: IndexMap<String, Raw> = given.into_iter().collect();
    let mut object = Map::new();
    for (key, property) in &ty.properties {
        let value = match given.swap_remove(key) {
            Some(value) => value,
            None => match &property.default {
                Some(default) if default.is_literal() => {
                    work.take(default.weight())?;
                    self::raw(default)
                }
                _ => continue,
            },
        };
        let value = property.schema.convert(value, types, work, depth).map_err(|error| format!("[{key}]: {error}"))?;
        object.insert(key.clone(), value);
    }
    // What the catalogue does not list stays: newer versions of a type have more.
    object.extend(given.into_iter().map(|(key, value)| (key, value.untyped())));
    Ok(Value::Object(object))
}

fn shape(name: &Node, entry: Option<&Node>, path: &Path<'_>, types: &Types, problems: &mut Problems) -> Shape {
    let Some(text) = name.text() else {
        problems.push(Code::SyntaxError, name.at, path, format_args!("a type is a name, not {}", name.kind()));
        return Shape::Any;
    };
    if let Some(primitive) = Primitive::named(text) {
        return Shape::Primitive(primitive);
    }
    if text == "list" || text == "map" {
        let entry = Box::new(match entry {
            None => Schema::ANY,
            // `entry_schema: string` is short for a map with a type.
            Some(node) if node.text().is_some() => {
                Schema { shape: shape(node, None, path, types, problems), constraints: Vec::new() }
            }
            Some(node) => Schema::read(node, None, path, types, problems),
        });
        return if text == "list" { Shape::List(entry) } else { Shape::Map(entry) };
    }
    match types.find(Kind::Data, text) {
        Some(name) => Shape::Data(name),
        None => {
            problems.push(Code::TypeNotFound, name.at, path, format_args!("no data type is called '{}'", short(text)));
            Shape::Any
        }
    }
}

pub(crate) fn constraints(list: &Node, path: &Path<'_>, problems: &mut Problems) -> Vec<Constraint> {
    let items: Vec<(&str, Mark, &Node)> = match &list.data {
        Data::List(list) => {
            let mut items = Vec::new();
            for node in list {
                match node.map() {
                    Some(map) => items.extend(map.iter().map(|entry| (entry.key.as_str(), entry.at, &entry.value))),
                    None => {
                        problems.push(Code::InvalidConstraint, node.at, path, "a constraint is a map with one key");
                    }
                }
            }
            items
        }
        Data::Map(map) => map.iter().map(|entry| (entry.key.as_str(), entry.at, &entry.value)).collect(),
        Data::Scalar { .. } => {
            if !list.is_null() {
                problems.push(Code::InvalidConstraint, list.at, path, "constraints are a list");
            }
            Vec::new()
        }
    };
    let mut constraints = Vec::new();
    for (name, at, node) in items {
        match constraint(name, node, path, problems) {
            Ok(Some(constraint)) => constraints.push(constraint),
            Ok(None) => {}
            Err(message) => problems.push(Code::InvalidConstraint, at, path, message),
        }
    }
    constraints
}

fn constraint(name: &str, node: &Node, path: &Path<'_>, problems: &mut Problems) -> Result<Option<Constraint>, String> {
    let length = || node.text().and_then(|text| text.parse().ok()).ok_or_else(|| format!("{name} takes a number"));
    let mut expr = || {
        let expr = Expr::read(node, path, problems);
        if expr.is_literal() { Ok(expr) } else { Err(format!("{name} takes no functions")) }
    };
    Ok(Some(match name {
        "equal" => Constraint::Equal(expr()?),
        "greater_than" => Constraint::GreaterThan(expr()?),
        "greater_or_equal" => Constraint::GreaterOrEqual(expr()?),
        "less_than" => Constraint::LessThan(expr()?),
        "less_or_equal" => Constraint::LessOrEqual(expr()?),
        "in_range" => {
            let Expr::List(mut bounds) = expr()? else { return Err("in_range takes two bounds".into()) };
            let (Some(upper), Some(lower), true) = (bounds.pop(), bounds.pop(), bounds.is_empty()) else {
                return Err("in_range takes two bounds".into());
            };
            let bound =
                |expr: Expr| if matches!(&expr, Expr::Scalar { text, .. } if text == "UNBOUNDED") { None } else { Some(expr) };
            Constraint::InRange(bound(lower), bound(upper))
        }
        "valid_values" => {
            let Expr::List(values) = expr()? else { return Err("valid_values takes a list".into()) };
            Constraint::ValidValues(values)
        }
        "length" => Constraint::Length(length()?),
        "min_length" => Constraint::MinLength(length()?),
        "max_length" => Constraint::MaxLength(length()?),
        "pattern" => {
            let text = node.text().ok_or("pattern takes a regular expression")?;
            Constraint::Pattern(Arc::new(Pattern::new(text, &problems.work)?))
        }
        // The grammar of a JSON or XML text; not checked.
        "schema" => return Ok(None),
        other => return Err(format!("no constraint is called '{}'", short(other))),
    }))
}

impl Constraint {
    /// What it costs to check it, as work.
    fn cost(&self, value: &Value) -> usize {
        let bounds = match self {
            Self::Equal(bound)
            | Self::GreaterThan(bound)
            | Self::GreaterOrEqual(bound)
            | Self::LessThan(bound)
            | Self::LessOrEqual(bound) => bound.weight(),
            Self::InRange(lower, upper) => [lower, upper].into_iter().flatten().map(Expr::weight).sum(),
            Self::ValidValues(values) => values.iter().map(Expr::weight).sum(),
            Self::Length(_) | Self::MinLength(_) | Self::MaxLength(_) => value.as_str().map_or(1, of_text),
            Self::Pattern(pattern) => value.as_str().map_or(1, |text| pattern.per_byte * text.len()),
        };
        // Lists and maps are compared whole.
        bounds + if value.is_array() || value.is_object() { of_value(value) } else { 1 }
    }

    fn is_kept(&self, value: &Value, primitive: Option<Primitive>) -> bool {
        let compare = |bound: &Expr| {
            let Some(primitive) = primitive else { return (raw(bound).untyped() == *value).then_some(Equal) };
            let bound = match primitive {
                Primitive::Range => range(raw(bound).untyped()).ok()?,
                _ => primitive.read(&raw(bound).scalar().ok()?).ok()?,
            };
            primitive.compare(value, &bound)
        };
        let length = || match value {
            Value::String(text) => Some(text.chars().count() as u64),
            Value::Array(list) => Some(list.len() as u64),
            Value::Object(map) => Some(map.len() as u64),
            _ => None,
        };
        let at_least = |bound: &Expr| matches!(compare(bound), Some(Greater | Equal));
        let at_most = |bound: &Expr| matches!(compare(bound), Some(Less | Equal));
        match self {
            Self::Equal(bound) => compare(bound) == Some(Equal),
            Self::GreaterThan(bound) => compare(bound) == Some(Greater),
            Self::GreaterOrEqual(bound) => at_least(bound),
            Self::LessThan(bound) => compare(bound) == Some(Less),
            Self::LessOrEqual(bound) => at_most(bound),
            Self::InRange(lower, upper) => lower.as_ref().is_none_or(at_least) && upper.as_ref().is_none_or(at_most),
            Self::ValidValues(values) => values.iter().any(|bound| compare(bound) == Some(Equal)),
            Self::Length(count) => length() == Some(*count),
            Self::MinLength(count) => length().is_some_and(|length| length >= *count),
            Self::MaxLength(count) => length().is_some_and(|length| length <= *count),
            Self::Pattern(pattern) => value::text(value).is_some_and(|text| pattern.regex.is_match(&text)),
        }
    }

    fn demand(&self) -> String {
        let bound = |bound: &Option<Expr>| bound.as_ref().map_or("any".into(), show);
        match self {
            Self::Equal(bound) => format!("be {}", show(bound)),
            Self::GreaterThan(bound) => format!("be greater than {}", show(bound)),
            Self::GreaterOrEqual(bound) => format!("be {} or more", show(bound)),
            Self::LessThan(bound) => format!("be less than {}", show(bound)),
            Self::LessOrEqual(bound) => format!("be {} or less", show(bound)),
            Self::InRange(lower, upper) => format!("be from {} to {}", bound(lower), bound(upper)),
            Self::ValidValues(values) => {
                format!("be one of: {}", short(&values.iter().map(show).collect::<Vec<_>>().join(", ")))
            }
            Self::Length(count) => format!("have a length of {count}"),
            Self::MinLength(count) => format!("have a length of {count} or more"),
            Self::MaxLength(count) => format!("have a length of {count} or less"),
            Self::Pattern(pattern) => format!("match {}", short(&pattern.text)),
        }
    }
}

/// Whether `value` keeps all of them. The error says what is asked for, and not what there is: that may be a password.
fn keep(constraints: &[Constraint], value: &Value, primitive: Option<Primitive>, work: &Work) -> Result<(), String> {
    for constraint in constraints {
        work.take(constraint.cost(value))?;
        if !constraint.is_kept(value, primitive) {
            return Err(format!("it must {}", constraint.demand()));
        }
    }
    Ok(())
}

/// A bound, for messages.
fn show(bound: &Expr) -> String {
    match raw(bound).untyped() {
        Value::String(text) => format!("'{}'", short(&text)),
        value => short(&value.to_string()),
    }
}
