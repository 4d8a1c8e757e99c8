//! Variables for `ansible-playbook --extra-vars @FILE`.

use std::fmt::Write;

use indexmap::IndexMap;
use serde_json::{Map, Number, Value};

/// YAML in which every text is tagged `!unsafe`: Ansible evaluates `{{ }}` in all other texts, and these come from users and other
/// machines. Only ASCII, on one line.
pub(crate) fn vars(inputs: &IndexMap<String, Value>) -> String {
    let mut yaml = String::new();
    map(&mut yaml, inputs.iter());
    yaml.push('\n');
    yaml
}

fn map<'a>(yaml: &mut String, entries: impl Iterator<Item = (&'a String, &'a Value)>) {
    yaml.push('{');
    for (index, (key, value)) in entries.enumerate() {
        // A key that is not marked as one may have 1024 characters only.
        yaml.push_str(if index == 0 { "? " } else { ", ? " });
        text(yaml, key);
        yaml.push_str(" : ");
        any(yaml, value);
    }
    yaml.push('}');
}

fn any(yaml: &mut String, value: &Value) {
    match value {
        Value::Null => yaml.push_str("null"),
        Value::Bool(true) => yaml.push_str("true"),
        Value::Bool(false) => yaml.push_str("false"),
        Value::Number(value) => number(yaml, value),
        Value::String(value) => {
            yaml.push_str("!unsafe ");
            text(yaml, value);
        }
        Value::Array(items) => {
            yaml.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    yaml.push_str(", ");
                }
                any(yaml, item);
            }
            yaml.push(']');
        }
        Value::Object(object) => map(yaml, Map::iter(object)),
    }
}

fn number(yaml: &mut String, number: &Number) {
    // Without the tag some, such as `1e16`, are texts in YAML 1.1.
    let tag = if number.is_f64() { "!!float " } else { "" };
    let _ = write!(yaml, "{tag}{number}");
}

fn text(yaml: &mut String, text: &str) {
    yaml.push('"');
    for c in text.chars() {
        let _ = match c {
            '"' | '\\' => write!(yaml, "\\{c}"),
            ' '..='~' => write!(yaml, "{c}"),
            '\0'..='\u{ff}' => write!(yaml, "\\x{:02x}", u32::from(c)),
            '\u{100}'..='\u{ffff}' => write!(yaml, "\\u{:04x}", u32::from(c)),
            _ => write!(yaml, "\\U{:08x}", u32::from(c)),
        };
    }
    yaml.push('"');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_keep_their_types_and_texts() {
        let cases = [
            (json!({}), "{}"),
            (json!({ "a": 1 }), "{? \"a\" : 1}"),
            (json!({ "a": 1e16 }), "{? \"a\" : !!float 1e+16}"),
            (json!({ "a": [true, null, 0.5] }), "{? \"a\" : [true, null, !!float 0.5]}"),
            (json!({ "a": "{{ b }}" }), "{? \"a\" : !unsafe \"{{ b }}\"}"),
            (json!({ "a": { "b\n": "\"\\\0\u{7f}\u{e9}\u{2028}\u{1f600}" } }), {
                r#"{? "a" : {? "b\x0a" : !unsafe "\"\\\x00\x7f\xe9\u2028\U0001f600"}}"#
            }),
        ];
        for (inputs, expected) in cases {
            let inputs = inputs.as_object().cloned().unwrap_or_default().into_iter().collect();
            assert_eq!(vars(&inputs), format!("{expected}\n"));
        }
    }
}
