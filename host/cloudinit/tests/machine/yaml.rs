//! YAML as JSON.

use granit_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

enum Open {
    List(Vec<Value>),
    Map(Map<String, Value>, Option<String>),
}

/// The one document of `text`, in which only texts in quotes, `true` and numbers occur.
pub(crate) fn read(text: &str) -> Value {
    let mut stack = Vec::new();
    let mut root = None;
    for event in Parser::new_from_str(text) {
        let value = match event.unwrap().0 {
            Event::Scalar(text, ScalarStyle::Plain, ..) if root.is_none() && is_key(&stack) => Value::from(text.into_owned()),
            Event::Scalar(text, ScalarStyle::Plain, ..) => serde_json::from_str(&text).unwrap(),
            Event::Scalar(text, ..) => Value::from(text.into_owned()),
            Event::SequenceStart(..) => {
                stack.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                stack.push(Open::Map(Map::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match stack.pop().unwrap() {
                Open::List(list) => list.into(),
                Open::Map(map, key) => {
                    assert_eq!(key, None);
                    map.into()
                }
            },
            _ => continue,
        };
        match stack.last_mut() {
            None => assert_eq!(root.replace(value), None, "one document"),
            Some(Open::List(list)) => list.push(value),
            Some(Open::Map(map, key)) => match key.take() {
                None => *key = Some(value.as_str().unwrap().to_owned()),
                Some(key) => assert_eq!(map.insert(key, value), None, "a key is there once"),
            },
        }
    }
    root.unwrap()
}

fn is_key(stack: &[Open]) -> bool {
    matches!(stack.last(), Some(Open::Map(_, None)))
}
