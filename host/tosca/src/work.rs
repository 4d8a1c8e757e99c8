//! How much one text may make us do: copies of what types pass on, values read as their types, calls of functions. Each is cheap, and a
//! short text can ask for millions.

use std::cell::Cell;

use serde_json::Value;

/// What is left of it, in units: one is a YAML node, a value, a call, or [`TEXT`] bytes of text.
#[derive(Debug)]
pub(crate) struct Work(Cell<Option<usize>>);

/// Bytes of text that weigh as much as a node.
const TEXT: usize = 64;

/// There was not enough left. Nothing is done from then on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exhausted;

impl Exhausted {
    pub(crate) const MESSAGE: &str = "it asks for more copies, values and calls than one template may";
}

impl From<Exhausted> for String {
    fn from(_: Exhausted) -> Self {
        Exhausted::MESSAGE.into()
    }
}

impl Work {
    pub(crate) fn new(units: usize) -> Self {
        Self(Cell::new(Some(units)))
    }

    pub(crate) fn take(&self, units: usize) -> Result<(), Exhausted> {
        self.0.set(self.0.get().and_then(|left| left.checked_sub(units)));
        if self.is_exhausted() { Err(Exhausted) } else { Ok(()) }
    }

    pub(crate) fn is_exhausted(&self) -> bool {
        self.0.get().is_none()
    }
}

/// What a scalar weighs.
pub(crate) fn of_text(text: &str) -> usize {
    1 + text.len() / TEXT
}

/// What a value weighs.
pub(crate) fn of_value(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
        Value::String(text) => of_text(text),
        Value::Array(list) => 1 + list.iter().map(of_value).sum::<usize>(),
        Value::Object(map) => 1 + map.iter().map(|(key, value)| of_text(key) + of_value(value)).sum::<usize>(),
    }
}
