//! What an operation wrote to `$OSTLER_OUTPUTS`.

use std::fmt;

use indexmap::IndexMap;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::{Limits, OutputProblem};

/// Bytes of a name.
const NAME: usize = 128;

/// One JSON object, or lines `key=value`, of which the last with a key counts.
pub(crate) fn parse(bytes: &[u8], limits: &Limits) -> Result<IndexMap<String, Value>, OutputProblem> {
    if bytes.len() > limits.outputs_bytes {
        return Err(OutputProblem::TooLarge(limits.outputs_bytes));
    }
    let text = str::from_utf8(bytes).map_err(|_| OutputProblem::Encoding)?;
    let outputs = if text.trim_start().starts_with('{') { object(text)? } else { lines(text)? };
    if outputs.len() > limits.outputs {
        return Err(OutputProblem::TooMany(limits.outputs));
    }
    for (name, value) in &outputs {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if name.is_empty() || name.len() > NAME || !name.bytes().all(allowed) {
            return Err(OutputProblem::Name);
        }
        let size = if let Value::String(text) = value { text.len() } else { value.to_string().len() };
        if size > limits.output_value {
            return Err(OutputProblem::Value(limits.output_value));
        }
        if has_control(value) {
            return Err(OutputProblem::Control);
        }
    }
    Ok(outputs)
}

fn lines(text: &str) -> Result<IndexMap<String, Value>, OutputProblem> {
    let mut outputs = IndexMap::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let (name, value) = line.split_once('=').ok_or(OutputProblem::Line(index + 1))?;
        outputs.insert(name.trim().to_owned(), Value::from(value));
    }
    Ok(outputs)
}

fn object(text: &str) -> Result<IndexMap<String, Value>, OutputProblem> {
    match serde_json::from_str(text) {
        Ok(Object(Some(outputs))) => Ok(outputs),
        Ok(Object(None)) => Err(OutputProblem::Twice),
        Err(error) => Err(OutputProblem::Line(error.line())),
    }
}

/// An object of which no key is there twice; otherwise nothing.
struct Object(Option<IndexMap<String, Value>>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Object, A::Error> {
                let mut outputs = Some(IndexMap::new());
                while let Some((name, value)) = entries.next_entry::<String, Value>()? {
                    outputs = outputs.and_then(|mut outputs| outputs.insert(name, value).is_none().then_some(outputs));
                }
                Ok(Object(outputs))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

fn has_control(value: &Value) -> bool {
    let control = |text: &str| text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'));
    match value {
        Value::String(text) => control(text),
        Value::Array(items) => items.iter().any(has_control),
        Value::Object(entries) => entries.iter().any(|(key, value)| control(key) || has_control(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_and_objects() {
        let limits = Limits { outputs: 2, outputs_bytes: 60, output_value: 12, ..Limits::default() };
        let cases: &[(&[u8], Result<Value, OutputProblem>)] = &[
            (b"", Ok(json!({}))),
            (b"\n a=1\r\nb-c = x=y\n", Ok(json!({ "a": "1", "b-c": " x=y" }))),
            (b"a=1\na=2\n", Ok(json!({ "a": "2" }))),
            (b"a=", Ok(json!({ "a": "" }))),
            (b" {\"a\": [1, \"x\"], \"b\": null}", Ok(json!({ "a": [1, "x"], "b": null }))),
            (b"{\"a\": \"x\\ny\"}", Ok(json!({ "a": "x\ny" }))),
            (b"a=1\nb\n", Err(OutputProblem::Line(2))),
            (b"{\"a\": 1}\n x", Err(OutputProblem::Line(2))),
            (b"{\"a\": 1", Err(OutputProblem::Line(1))),
            (b"{\"a\": 1, \"a\": 2}", Err(OutputProblem::Twice)),
            (b"{\"\": 1}", Err(OutputProblem::Name)),
            (b"a b=1", Err(OutputProblem::Name)),
            (b"=1", Err(OutputProblem::Name)),
            (b"\xc3\xa9=1", Err(OutputProblem::Name)),
            (b"a=\xff", Err(OutputProblem::Encoding)),
            (b"a=1\nb=2\nc=3", Err(OutputProblem::TooMany(2))),
            (b"a=1234567890123", Err(OutputProblem::Value(12))),
            (b"{\"a\": [12, 34, 56, 78, 90]}", Err(OutputProblem::Value(12))),
            (&[b' '; 61], Err(OutputProblem::TooLarge(60))),
            (b"a=\x1b[0m", Err(OutputProblem::Control)),
            (b"{\"a\": {\"\\u0000\":1}}", Err(OutputProblem::Control)),
        ];
        for (bytes, expected) in cases {
            let outputs = parse(bytes, &limits).map(|outputs| outputs.into_iter().collect::<serde_json::Map<_, _>>().into());
            assert_eq!(outputs, *expected, "{}", String::from_utf8_lossy(bytes));
        }
        let deep = format!("{{\"a\": {}", "[".repeat(10_000));
        assert_eq!(parse(deep.as_bytes(), &Limits { outputs_bytes: 1 << 20, ..limits }), Err(OutputProblem::Line(1)));
    }
}
