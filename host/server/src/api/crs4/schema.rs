//! What a request body may hold. Violations are described as the original's validator did.

use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// What a key's value must be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A text with at least one character.
    Text,
    /// A text.
    AnyText,
    /// An object.
    Object,
}

/// A key of a body.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) required: bool,
}

const fn key(name: &'static str, kind: Kind, required: bool) -> Key {
    Key { name, kind, required }
}

pub(super) const START: &[Key] = &[
    key("name", Kind::Text, true),
    key("image", Kind::Text, true),
    key("size", Kind::Text, true),
    key("keyname", Kind::AnyText, false),
    key("metadata", Kind::Object, false),
];
pub(super) const STOP: &[Key] = &[key("node", Kind::Text, false), key("hostname", Kind::Text, false)];
pub(super) const ASSIGN: &[Key] = &[
    key("node", Kind::Text, false),
    key("hostname", Kind::Text, false),
    key("user", Kind::Text, true),
    key("vm_type", Kind::Text, true),
    key("emulate", Kind::AnyText, false),
];
pub(super) const RELEASE: &[Key] =
    &[key("node", Kind::Text, false), key("hostname", Kind::Text, false), key("emulate", Kind::AnyText, false)];

/// The detail of the first violation: values first, then keys that are missing, then keys that are unknown.
pub(super) fn check(schema: &[Key], body: &Map<String, Value>) -> Result<(), String> {
    for (name, value) in body {
        // A falsy `emulate` means the real thing, whatever its type.
        let Some(key) = schema.iter().find(|key| key.name == name && key.name != "emulate") else { continue };
        match (key.kind, value) {
            (Kind::Text, Value::String(text)) if text.is_empty() => {
                return Err(format!("len({}) should evaluate to True", python(value)));
            }
            (Kind::Text | Kind::AnyText, Value::String(_)) | (Kind::Object, Value::Object(_)) => {}
            (Kind::Text | Kind::AnyText, _) => return Err(format!("{} should be instance of <type 'unicode'>", python(value))),
            (Kind::Object, _) => return Err(format!("{} should be instance of <type 'dict'>", python(value))),
        }
    }
    let missing: BTreeSet<&str> = schema.iter().filter(|k| k.required && !body.contains_key(k.name)).map(|k| k.name).collect();
    if !missing.is_empty() {
        let names: Vec<String> = missing.iter().map(|name| format!("'{name}'")).collect();
        return Err(format!("missed keys set([{}])", names.join(", ")));
    }
    let unknown: Vec<String> =
        body.keys().filter(|name| schema.iter().all(|key| key.name != *name)).map(|name| text(name)).collect();
    if !unknown.is_empty() {
        return Err(format!("wrong keys {} in {}", unknown.join(", "), python(&Value::Object(body.clone()))));
    }
    Ok(())
}

/// A value as Python 2 shows it, cut to what a message bears.
pub(super) fn python(value: &Value) -> String {
    const LONGEST: usize = 300;
    let text = show(value);
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Number(number) => number.to_string(),
        Value::String(s) => text(s),
        Value::Array(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let pairs: Vec<String> = map.iter().map(|(key, value)| format!("{}: {}", text(key), show(value))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}

fn text(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut shown = format!("u{quote}");
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            '\\' => shown.push_str("\\\\"),
            c if c == quote => {
                shown.push('\\');
                shown.push(c);
            }
            ' '..='~' => shown.push(c),
            c if u32::from(c) < 0x100 => shown.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if u32::from(c) < 0x1_0000 => shown.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => shown.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    shown.push(quote);
    shown
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn violations_are_told_as_the_original_told_them() {
        for (schema, body, expected) in [
            (START, "{}", Err("missed keys set(['image', 'name', 'size'])")),
            (START, r#"{"name":"a","image":1,"size":"1"}"#, Err("1 should be instance of <type 'unicode'>")),
            (START, r#"{"name":"","image":"1","size":"1"}"#, Err("len(u'') should evaluate to True")),
            (
                START,
                r#"{"name":"a","image":"1","size":"1","extra":1}"#,
                Err("wrong keys u'extra' in {u'extra': 1, u'image': u'1', u'name': u'a', u'size': u'1'}"),
            ),
            (START, r#"{"name":"a","image":"1","size":"1","metadata":[]}"#, Err("[] should be instance of <type 'dict'>")),
            (START, r#"{"name":"a","image":"1","size":"1","metadata":{"a":1},"keyname":""}"#, Ok(())),
            (START, r#"{"name":null,"image":"1","size":"1"}"#, Err("None should be instance of <type 'unicode'>")),
            (STOP, r#"{"node":3}"#, Err("3 should be instance of <type 'unicode'>")),
            (STOP, "{}", Ok(())),
            (ASSIGN, r#"{"node":"1"}"#, Err("missed keys set(['user', 'vm_type'])")),
            (ASSIGN, r#"{"node":"1","user":"é","vm_type":true}"#, Err("True should be instance of <type 'unicode'>")),
            (RELEASE, r#"{"emulate":false,"x":"it's"}"#, Err("wrong keys u'x' in {u'emulate': False, u'x': u\"it's\"}")),
        ] {
            let body: Map<String, Value> = serde_json::from_str(body).unwrap();
            assert_eq!(check(schema, &body), expected.map_err(str::to_owned));
        }
    }
}
