//! How values are computed: functions, and what they refer to.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use indexmap::IndexMap;
use serde_json::{Map, Value};

use crate::expr::{Call, Expr, Function};
use crate::schema::{Raw, Schema};
use crate::template::NodeTemplate;
use crate::topology::{Attributes, Failure, Topology};
use crate::value::{short, text};
use crate::work::{Work, of_text, of_value};

/// Bytes of a text that `concat` makes.
const TEXT: usize = 1 << 20;
/// Values that need each other, in a row.
const CHAIN: usize = 64;
/// Levels of values, through all that need each other: the stack is not for more.
const DEPTH: usize = 200;

/// Where a value is: what `SELF`, `HOST`, `SOURCE` and `TARGET` mean.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Here {
    node: Option<usize>,
    /// Of the relationship.
    target: Option<usize>,
}

impl Here {
    /// In an output or a policy.
    pub(crate) const NOWHERE: Self = Self { node: None, target: None };

    pub(crate) fn node(node: usize) -> Self {
        Self { node: Some(node), target: None }
    }

    pub(crate) fn relationship(source: usize, target: usize) -> Self {
        Self { node: Some(source), target: Some(target) }
    }
}

/// What a `get_property` or `get_attribute` means at one node.
enum Found {
    Value(Value),
    /// There is such a property, and it has no value.
    Nothing,
    Absent,
}

/// One computation.
pub(crate) struct Evaluation<'a> {
    topology: &'a Topology,
    attributes: Option<&'a dyn Attributes>,
    /// What is being computed: a value that needs itself has none.
    open: RefCell<Vec<(usize, String)>>,
    depth: Cell<usize>,
    work: Work,
}

/// The text of a value, or of the only one of a list: an attribute that lists addresses may hold one.
fn single(value: &Value) -> Option<String> {
    match value {
        Value::Array(list) if list.len() == 1 => text(&list[0]),
        value => text(value),
    }
}

type Outcome<T> = Result<Option<T>, Failure>;

fn failed<T>(message: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Failed(message.into()))
}

impl<'a> Evaluation<'a> {
    pub(crate) fn new(topology: &'a Topology, attributes: Option<&'a dyn Attributes>) -> Self {
        let work = Work::new(topology.template().limits.work);
        Self { topology, attributes, open: RefCell::default(), depth: Cell::new(0), work }
    }

    pub(crate) fn is_exhausted(&self) -> bool {
        self.work.is_exhausted()
    }

    fn template(&self, index: usize) -> &'a NodeTemplate {
        &self.topology.template().nodes[index]
    }

    pub(crate) fn property(&self, node: usize, name: &str) -> Outcome<Value> {
        let template = self.template(node);
        let Some(expr) = template.properties.get(name) else { return Ok(None) };
        let schema = template.ty.properties.get(name).map(|property| &property.schema);
        self.once(node, name.to_owned(), || self.typed(expr, schema, Here::node(node)))
    }

    pub(crate) fn capability(&self, node: usize, capability: &str, name: &str) -> Outcome<Value> {
        let Some(given) = self.template(node).capabilities.get(capability) else { return Ok(None) };
        let Some(expr) = given.properties.get(name) else { return Ok(None) };
        let schema = given.ty.properties.get(name).map(|property| &property.schema);
        self.once(node, format!("{capability}/{name}"), || self.typed(expr, schema, Here::node(node)))
    }

    /// Computes a value that may ask for others.
    fn once(&self, node: usize, name: String, compute: impl FnOnce() -> Outcome<Value>) -> Outcome<Value> {
        let key = (node, name);
        if self.open.borrow().contains(&key) || self.open.borrow().len() > CHAIN {
            return failed(": Circular reference between functions");
        }
        self.open.borrow_mut().push(key);
        let value = compute();
        self.open.borrow_mut().pop();
        value
    }

    pub(crate) fn typed(&self, expr: &Expr, schema: Option<&Schema>, here: Here) -> Outcome<Value> {
        let Some(raw) = self.eval(expr, here)? else { return Ok(None) };
        match schema.unwrap_or(&Schema::ANY).raw(raw, &self.topology.template().types, &self.work) {
            Ok(value) => Ok(Some(value)),
            Err(message) => failed(format!(": {message}")),
        }
    }

    /// All of them, each by the schema of its name.
    pub(crate) fn map<'s>(
        &self,
        values: &IndexMap<String, Expr>,
        schema: impl Fn(&str) -> Option<&'s Schema>,
        here: Here,
    ) -> Result<Map<String, Value>, Failure> {
        let mut map = Map::new();
        for (name, expr) in values {
            if let Some(value) = self.typed(expr, schema(name), here)? {
                map.insert(name.clone(), value);
            }
        }
        Ok(map)
    }

    pub(crate) fn artifact(&self, node: usize, name: &str) -> Outcome<String> {
        let Some(file) = self.template(node).artifacts.get(name).and_then(|artifact| artifact.file.as_ref()) else {
            return Ok(None);
        };
        Ok(self.eval(file, Here::node(node))?.and_then(|raw| text(&raw.untyped())))
    }

    /// `None`: nothing, such as an optional input that was not given; a list or map is without it.
    pub(crate) fn eval(&self, expr: &Expr, here: Here) -> Outcome<Raw> {
        if self.depth.get() > DEPTH {
            return failed(": values are nested too deeply");
        }
        self.depth.set(self.depth.get() + 1);
        let value = self.eval_here(expr, here);
        self.depth.set(self.depth.get() - 1);
        value
    }

    fn eval_here(&self, expr: &Expr, here: Here) -> Outcome<Raw> {
        Ok(Some(match expr {
            Expr::Scalar { text, plain } => {
                self.work.take(of_text(text))?;
                Raw::Scalar { text: text.clone(), plain: *plain }
            }
            Expr::List(list) => {
                self.work.take(1)?;
                let mut items = Vec::with_capacity(list.len());
                self.each(list.iter(), |expr| {
                    items.extend(self.eval(expr, here)?);
                    Ok(())
                })?;
                Raw::List(items)
            }
            Expr::Map(map) => {
                self.work.take(1)?;
                let mut items = Vec::with_capacity(map.len());
                self.each(map.iter(), |(key, expr)| {
                    self.work.take(of_text(key))?;
                    items.extend(self.eval(expr, here)?.map(|value| (key.clone(), value)));
                    Ok(())
                })?;
                Raw::Map(items)
            }
            Expr::Call(call) => return Ok(self.call(call, here)?.map(Raw::Value)),
        }))
    }

    /// All parts of a value. One that is not known yet does not keep the others from being computed: what they cost is found out
    /// before anything runs.
    fn each<T>(&self, parts: impl Iterator<Item = T>, mut compute: impl FnMut(T) -> Result<(), Failure>) -> Result<(), Failure> {
        let mut known = Ok(());
        for part in parts {
            match compute(part) {
                Err(Failure::Unknown) => known = Err(Failure::Unknown),
                other => other?,
            }
        }
        known
    }

    fn call(&self, call: &Call, here: Here) -> Outcome<Value> {
        self.work.take(1)?;
        match call.function {
            Function::Concat => self.concat(call, here),
            Function::Token => self.token(call, here),
            Function::GetInput => self.input(&self.words(call, here)?),
            Function::GetArtifact => self.get_artifact(&self.words(call, here)?, here),
            Function::GetProperty | Function::GetAttribute => self.get(call.function, &self.words(call, here)?, here),
        }
    }

    fn concat(&self, call: &Call, here: Here) -> Outcome<Value> {
        let mut joined = String::new();
        self.each(call.args.iter(), |expr| {
            let Some(value) = self.argument(expr, here)? else { return Ok(()) };
            let Some(part) = single(&value) else {
                return failed("[concat]: it joins texts, not lists and maps");
            };
            if joined.len() + part.len() > TEXT {
                return failed(format!("[concat]: the text is longer than {TEXT} bytes"));
            }
            self.work.take(of_text(&part))?;
            joined.push_str(&part);
            Ok(())
        })?;
        Ok(Some(Value::String(joined)))
    }

    fn token(&self, call: &Call, here: Here) -> Outcome<Value> {
        let mut words = Vec::new();
        self.each(call.args.iter().take(3), |expr| {
            let Some(word) = self.argument(expr, here)?.as_ref().and_then(single) else {
                return failed("[token]: it takes a text, separators and an index");
            };
            words.push(word);
            Ok(())
        })?;
        let [string, separators, index] = words.as_slice() else {
            return failed("[token]: it takes three arguments");
        };
        let separators: HashSet<char> = separators.chars().collect();
        let part = index.parse().ok().and_then(|index: usize| string.split(|c| separators.contains(&c)).nth(index));
        match part {
            Some(part) => Ok(Some(Value::String(part.into()))),
            None => failed(format!("[token]: there is no part {}", short(index))),
        }
    }

    fn input(&self, words: &[String]) -> Outcome<Value> {
        let Some((input, rest)) = words.split_first() else { return failed("[get_input]: argument 1 is missing") };
        match self.topology.input(input) {
            Some(value) => {
                self.work.take(of_value(value))?;
                match walk(value.clone(), rest) {
                    Some(value) => Ok(Some(value)),
                    None => failed(format!("[get_input][{}]: Value not found", short(input))),
                }
            }
            None if self.topology.template().inputs.contains_key(input) => Ok(None),
            None => {
                let input = short(input);
                failed(format!("[get_input][{input}]: No input with name {input} defined in the template"))
            }
        }
    }

    fn get_artifact(&self, words: &[String], here: Here) -> Outcome<Value> {
        let [at, artifact, ..] = words else { return failed("[get_artifact]: argument 2 is missing") };
        let mut candidates = self.candidates(at, here)?.into_iter();
        match candidates.find_map(|node| self.artifact(node, artifact).transpose()) {
            Some(file) => Ok(Some(Value::String(file?))),
            None => failed(format!("[get_artifact][{}, {}]: Value not found", short(at), short(artifact))),
        }
    }

    fn get(&self, function: Function, words: &[String], here: Here) -> Outcome<Value> {
        let name = function.as_str();
        let Some((at, rest)) = words.split_first() else { return failed(format!("[{name}]: argument 1 is missing")) };
        let mut defined = false;
        for candidate in self.candidates(at, here)? {
            match self.lookup(function, candidate, rest)? {
                Found::Value(value) => return Ok(Some(value)),
                Found::Nothing => defined = true,
                Found::Absent => {}
            }
        }
        match function {
            // An attribute may come as long as nobody can say that it will not.
            Function::GetAttribute if self.attributes.is_none() => Err(Failure::Unknown),
            Function::GetProperty if defined => Ok(None),
            _ => {
                let path: Vec<String> = words.iter().map(|word| short(word)).collect();
                failed(format!("[{name}][{}]: Value not found", path.join(", ")))
            }
        }
    }

    fn argument(&self, expr: &Expr, here: Here) -> Outcome<Value> {
        // A scalar among the arguments is text, whatever it looks like: `concat: [1.10]`.
        match expr {
            Expr::Scalar { text, .. } => {
                self.work.take(of_text(text))?;
                Ok(Some(Value::String(text.clone())))
            }
            _ => Ok(self.eval(expr, here)?.map(Raw::untyped)),
        }
    }

    /// The arguments, each a name or an index.
    fn words(&self, call: &Call, here: Here) -> Result<Vec<String>, Failure> {
        let mut words = Vec::with_capacity(call.args.len());
        self.each(call.args.iter().enumerate(), |(index, expr)| match self.argument(expr, here)?.as_ref().and_then(text) {
            Some(word) => {
                words.push(word);
                Ok(())
            }
            None => failed(format!("[{}]: argument {} is missing", call.function.as_str(), index + 1)),
        })?;
        Ok(words)
    }

    /// The nodes that a call may mean, the nearest first.
    fn candidates(&self, name: &str, here: Here) -> Result<Vec<usize>, Failure> {
        match (name, here.node, here.target) {
            ("SELF", Some(node), _) | ("SOURCE", Some(node), Some(_)) | ("TARGET", _, Some(node)) => Ok(vec![node]),
            ("HOST", Some(node), _) => {
                let (mut hosts, mut at) = (Vec::new(), node);
                loop {
                    let requirements = &self.template(at).requirements;
                    self.work.take(1 + requirements.len())?;
                    let Some(host) = requirements.iter().find(|requirement| requirement.hosted) else { return Ok(hosts) };
                    at = host.target;
                    hosts.push(at);
                }
            }
            ("SELF" | "HOST" | "SOURCE" | "TARGET", ..) => failed(format!("[{name}]: there is none here")),
            _ => match self.topology.template().find(name) {
                Some(node) => Ok(vec![node]),
                None => failed(format!("[{}]: no node template is called so", short(name))),
            },
        }
    }

    fn lookup(&self, function: Function, at: usize, words: &[String]) -> Result<Found, Failure> {
        let mut defined = false;
        let mut look = |node: usize, capability: Option<&str>, name: &str, rest: &[String]| -> Result<Option<Found>, Failure> {
            if let Some(value) = self.value(function, node, capability, name)? {
                return Ok(Some(walk(value, rest).map_or(Found::Absent, Found::Value)));
            }
            let template = self.template(node);
            defined |= match capability {
                Some(capability) => template.capabilities.get(capability).is_some_and(|it| it.ty.properties.contains_key(name)),
                None => template.ty.properties.contains_key(name),
            };
            Ok(None)
        };
        let Some((first, rest)) = words.split_first() else { return Ok(Found::Absent) };
        if let Some(found) = look(at, None, first, rest)? {
            return Ok(found);
        }
        if let Some((second, rest)) = rest.split_first() {
            if let Some(found) = look(at, Some(first), second, rest)? {
                return Ok(found);
            }
            // Of a requirement: the capability that it found, or the node.
            let requirements = &self.template(at).requirements;
            self.work.take(requirements.len())?;
            for requirement in requirements.iter().filter(|requirement| requirement.name == *first) {
                let capability = requirement.capability.as_deref();
                for capability in capability.map(Some).into_iter().chain([None]) {
                    if let Some(found) = look(requirement.target, capability, second, rest)? {
                        return Ok(found);
                    }
                }
            }
        }
        Ok(if defined { Found::Nothing } else { Found::Absent })
    }

    /// A property or attribute; each property is an attribute, too.
    fn value(&self, function: Function, node: usize, capability: Option<&str>, name: &str) -> Outcome<Value> {
        if function == Function::GetAttribute
            && let Some(attributes) = self.attributes
            && let Some(value) = attributes.get(&self.template(node).name, capability, name)
        {
            self.work.take(of_value(&value))?;
            return Ok(Some(value));
        }
        match capability {
            Some(capability) => self.capability(node, capability, name),
            None => self.property(node, name),
        }
    }
}

/// Into lists and maps. The first of a single value is the value itself: an attribute that lists addresses may be one address.
fn walk(mut value: Value, words: &[String]) -> Option<Value> {
    for word in words {
        value = match &mut value {
            Value::Array(list) => list.get_mut(word.parse::<usize>().ok()?).map(Value::take)?,
            Value::Object(map) => map.remove(word)?,
            Value::Null => return None,
            other if word == "0" => other.take(),
            _ => return None,
        };
    }
    Some(value)
}
