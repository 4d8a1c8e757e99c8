//! What is done with nodes: the operations of interfaces and the artifacts that they use, of types and of templates.

use indexmap::IndexMap;

use crate::error::{Path, Problems};
use crate::expr::{Call, Expr, Function};
use crate::types::entries;
use crate::work::of_text;
use crate::yaml::{Data, Node};

/// Interfaces by name, operations in the order in which they are written.
pub(crate) type Interfaces = IndexMap<String, IndexMap<String, Operation>>;

#[derive(Debug, Clone, Default)]
pub(crate) struct Operation {
    pub implementation: Option<String>,
    pub inputs: IndexMap<String, Expr>,
}

#[derive(Debug, Clone)]
pub(crate) struct Artifact {
    pub file: Option<Expr>,
}

/// The interfaces of a type or a template, as far as they are written there.
pub(crate) fn interfaces(node: &Node, path: &Path<'_>, problems: &mut Problems) -> Interfaces {
    let mut found = Interfaces::new();
    for (name, node) in entries(node, "interfaces", path, problems) {
        let path = path.key("interfaces");
        let path = path.key(name);
        // `tosca.interfaces.node.lifecycle.Standard` is the same as `Standard`.
        let name = if name.ends_with(".Standard") { "Standard" } else { name };
        let shared = inputs(node, &path, problems);
        // A name and a value each, in a table that is made anew.
        let weight: usize = shared.iter().map(|(name, input)| 1 + of_text(name) + 2 * input.weight()).sum();
        let operations: &mut IndexMap<String, Operation> = found.entry(name.into()).or_default();
        let nested = node.get("operations");
        for entry in nested.unwrap_or(node).map().unwrap_or_default() {
            if nested.is_none()
                && ["type", "inputs", "derived_from", "description", "version", "metadata"].contains(&entry.key.as_str())
            {
                continue;
            }
            let path = path.key(&entry.key);
            let node = &entry.value;
            let implementation = match node.get("implementation") {
                Some(Node { data: Data::Map(_), .. }) => node.get("implementation").and_then(|node| node.get("primary")?.text()),
                Some(text) => text.text(),
                None => node.text(),
            };
            if problems.work.take(weight).is_err() {
                return found;
            }
            let mut operation = Operation { implementation: implementation.map(str::to_owned), inputs: shared.clone() };
            operation.inputs.extend(inputs(node, &path, problems));
            operations.insert(entry.key.clone(), operation);
        }
    }
    found
}

/// Inputs of an operation: values, or definitions of which the default counts.
fn inputs(node: &Node, path: &Path<'_>, problems: &mut Problems) -> IndexMap<String, Expr> {
    let mut found = IndexMap::new();
    let section = path.key("inputs");
    for (name, node) in entries(node, "inputs", path, problems) {
        let path = section.key(name);
        let definition = node.get("type").is_some() && node.map().is_some_and(|map| map.len() <= 5);
        match (definition, node.get("default")) {
            (true, None) => {}
            (true, Some(default)) => {
                found.insert(name.into(), Expr::read(default, &path, problems));
            }
            (false, _) => {
                found.insert(name.into(), Expr::read(node, &path, problems));
            }
        }
    }
    found
}

/// What a copy weighs, as work: more than what is written, where operations share inputs.
pub(crate) fn weight(interfaces: &Interfaces) -> usize {
    let operation = |(name, operation): (&String, &Operation)| {
        let inputs = operation.inputs.iter().map(|(name, value)| of_text(name) + value.weight());
        of_text(name) + operation.implementation.as_deref().map_or(0, of_text) + inputs.sum::<usize>()
    };
    interfaces.values().map(|operations| 1 + operations.iter().map(operation).sum::<usize>()).sum()
}

/// What is written nearer to the template counts: an operation's implementation, and each of its inputs.
pub(crate) fn merge_interfaces(into: &mut Interfaces, from: &Interfaces) {
    for (name, operations) in from {
        let target = into.entry(name.clone()).or_default();
        for (name, operation) in operations {
            let merged = target.entry(name.clone()).or_default();
            if operation.implementation.is_some() {
                merged.implementation.clone_from(&operation.implementation);
            }
            merged.inputs.extend(operation.inputs.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
    }
}

pub(crate) fn artifact(node: &Node, path: &Path<'_>, problems: &mut Problems) -> Artifact {
    let file = match node.map() {
        Some(_) => node.get("file").filter(|file| !file.is_null()),
        None => Some(node),
    };
    let file = file.map(|file| match file.text().and_then(function_in_text) {
        // `"{ get_input: name }"`, a call in a text.
        Some(name) => Expr::Call(Box::new(Call {
            function: Function::GetInput,
            args: vec![Expr::Scalar { text: name.into(), plain: true }],
        })),
        None => Expr::read(file, path, problems),
    });
    Artifact { file }
}

fn function_in_text(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    let name = inner.strip_prefix("get_input")?.trim_start().strip_prefix(':')?.trim();
    (!name.is_empty() && !name.contains(['{', '}', '[', ','])).then_some(name)
}
