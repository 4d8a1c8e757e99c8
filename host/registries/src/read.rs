//! Reading JSON of strangers: typed, with the place of each mistake, and as lenient about scalars as the original's library is
//! (a number for a text, `"5"` for a number, `"true"` for a flag; `null` is absence).

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::error::Problem;

/// What is wrong, and where. Becomes [`Problem::Malformed`].
pub(crate) type Mistake = String;

/// A list of which some items could not be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed<T> {
    /// Those that could, in the order of the answer.
    pub items: Vec<T>,
    /// Why others were left out: where, and what is wrong. One bad entry of a registry does not spoil the rest.
    pub left_out: Vec<String>,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { items: Vec::new(), left_out: Vec::new() }
    }
}

/// How much of a list is accepted. Beyond so many mistakes they are only counted.
const MISTAKES_KEPT: usize = 20;

/// The values of a document are counted while it is read, since a few bytes can become many: an object of one member takes
/// some hundred bytes. `items` is how many items a list may have; each has some dozen members.
pub(crate) fn document(bytes: &[u8], items: usize) -> Result<Value, Problem> {
    let most = items.saturating_mul(64).saturating_add(4096);
    let left = Cell::new(most);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let result = Counted(&left).deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    result.map_err(|error| {
        if left.get() == 0 {
            return Problem::TooMany { list: "values".to_owned(), limit: most };
        }
        let what = if error.is_eof() { "it ends too early" } else { "not JSON" };
        Problem::Malformed(format!("{what}, at line {} column {}", error.line(), error.column()))
    })
}

/// Reads a value as long as something is left: one for a value, and more for an object.
#[derive(Clone, Copy)]
struct Counted<'c>(&'c Cell<usize>);

impl Counted<'_> {
    const OBJECT: usize = 8;

    fn take<E: de::Error>(self, count: usize) -> Result<(), E> {
        self.0.set(self.0.get().saturating_sub(count));
        if self.0.get() == 0 { Err(E::custom("too many values")) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for Counted<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        self.take(1)?;
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Counted<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        self.take(Self::OBJECT)?;
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            map.insert(name, members.next_value_seed(self)?);
        }
        Ok(Value::Object(map))
    }
}

pub(crate) fn object<'v>(value: &'v Value, at: &str) -> Result<Fields<'v>, Mistake> {
    match value {
        Value::Object(map) => Ok(Fields { map, at: at.to_owned() }),
        other => Err(expected(at, "an object", other)),
    }
}

/// The members of an object.
pub(crate) struct Fields<'v> {
    pub(crate) map: &'v Map<String, Value>,
    at: String,
}

impl<'v> Fields<'v> {
    /// Where a member is.
    pub(crate) fn place(&self, name: &str) -> String {
        if self.at.is_empty() { name.to_owned() } else { format!("{}.{name}", self.at) }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'v Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn required<T>(&self, name: &str, value: Option<T>) -> Result<T, Mistake> {
        value.ok_or_else(|| format!("{}: missing", self.place(name)))
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, Mistake> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(Value::Bool(flag)) => Ok(Some(flag.to_string())),
            Some(other) => Err(expected(&self.place(name), "a text", other)),
        }
    }

    /// A text that is there and is not empty.
    pub(crate) fn required_text(&self, name: &str) -> Result<String, Mistake> {
        self.required(name, self.text(name)?.filter(|text| !text.is_empty()))
    }

    /// A finite number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<f64>, Mistake> {
        let number = match self.get(name) {
            None => return Ok(None),
            Some(Value::Number(number)) => number.as_f64(),
            Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(other) => return Err(expected(&self.place(name), "a number", other)),
        };
        match number.filter(|number| number.is_finite()) {
            Some(number) => Ok(Some(number)),
            None => Err(format!("{}: expected a number", self.place(name))),
        }
    }

    /// A whole number; fractions are cut off.
    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, Mistake> {
        // Exact in a double, and far beyond any quota.
        const LARGEST: f64 = 9_007_199_254_740_992.0;
        match self.number(name)? {
            None => Ok(None),
            #[allow(clippy::cast_possible_truncation)]
            Some(number) if number.abs() <= LARGEST => Ok(Some(number as i64)),
            Some(_) => Err(format!("{}: out of range", self.place(name))),
        }
    }

    /// `true`, `"true"`, `"Y"`, `1` and their opposites.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Mistake> {
        let word = match self.get(name) {
            None => return Ok(None),
            Some(Value::Bool(flag)) => return Ok(Some(*flag)),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::String(text)) => text.trim().to_ascii_lowercase(),
            Some(other) => return Err(expected(&self.place(name), "true or false", other)),
        };
        match word.as_str() {
            "" => Ok(None),
            "true" | "y" | "yes" | "1" => Ok(Some(true)),
            "false" | "n" | "no" | "0" => Ok(Some(false)),
            _ => Err(format!("{}: expected true or false", self.place(name))),
        }
    }

    pub(crate) fn child(&self, name: &str) -> Result<Option<Fields<'v>>, Mistake> {
        self.get(name).map(|value| object(value, &self.place(name))).transpose()
    }

    /// The items of a list, of which there is none if the member is missing.
    pub(crate) fn array(&self, name: &str) -> Result<&'v [Value], Mistake> {
        match self.get(name) {
            None => Ok(&[]),
            Some(Value::Array(items)) => Ok(items),
            Some(other) => Err(expected(&self.place(name), "a list", other)),
        }
    }

    /// The items of a list of objects: all of them, or the first mistake.
    pub(crate) fn all<T>(&self, name: &str, read: impl Fn(&Fields<'v>) -> Result<T, Mistake>) -> Result<Vec<T>, Mistake> {
        let place = self.place(name);
        let read = |(index, item)| read(&object(item, &format!("{place}[{index}]"))?);
        self.array(name)?.iter().enumerate().map(read).collect()
    }
}

/// The objects of a list that can be read; `None` are those that say nothing.
pub(crate) fn list<'v, T>(
    items: &'v [Value],
    place: &str,
    limit: usize,
    read: impl Fn(&Fields<'v>) -> Result<Option<T>, Mistake>,
) -> Result<Listed<T>, Problem> {
    if items.len() > limit {
        return Err(Problem::TooMany { list: place.to_owned(), limit });
    }
    let mut listed = Listed::default();
    let mut further = 0_usize;
    for (index, item) in items.iter().enumerate() {
        match object(item, &format!("{place}[{index}]")).and_then(|fields| read(&fields)) {
            Ok(Some(item)) => listed.items.push(item),
            Ok(None) => {}
            Err(mistake) if listed.left_out.len() < MISTAKES_KEPT => listed.left_out.push(mistake),
            Err(_) => further += 1,
        }
    }
    if further > 0 {
        listed.left_out.push(format!("{place}: {further} more"));
    }
    Ok(listed)
}

/// A registry's text, fit for one line of ours.
pub(crate) fn clean(text: &str) -> String {
    const LONGEST: usize = 160;
    let mut clean: String = text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        clean.push('…');
    }
    clean
}

pub(crate) fn expected(place: &str, what: &str, found: &Value) -> Mistake {
    let found = match found {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    let place = if place.is_empty() { "the whole" } else { place };
    format!("{place}: expected {what}, found {found}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    #[test]
    fn scalars_are_read_leniently_and_never_guessed() {
        // The value, and what it is as a text, as an integer and as a flag.
        let cases = [
            (json!("a"), Some("a"), None, None),
            (json!(5), Some("5"), Some(5), None),
            (json!("5"), Some("5"), Some(5), None),
            (json!(" 7 "), Some(" 7 "), Some(7), None),
            (json!(1.9), Some("1.9"), Some(1), None),
            (json!(-1), Some("-1"), Some(-1), None),
            (json!(1), Some("1"), Some(1), Some(true)),
            (json!("0"), Some("0"), Some(0), Some(false)),
            (json!(true), Some("true"), None, Some(true)),
            (json!("False"), Some("False"), None, Some(false)),
            (json!("Y"), Some("Y"), None, Some(true)),
            (json!("n"), Some("n"), None, Some(false)),
            (json!("NaN"), Some("NaN"), None, None),
            (json!("inf"), Some("inf"), None, None),
            (json!("1e300"), Some("1e300"), None, None),
            (json!([1]), None, None, None),
            (json!({ "a": 1 }), None, None, None),
        ];
        for (value, text, integer, flag) in cases {
            let whole = json!({ "x": value });
            let fields = object(&whole, "at").unwrap();
            assert_eq!(fields.text("x").ok().flatten().as_deref(), text, "{value}");
            assert_eq!(fields.integer("x").ok().flatten(), integer, "{value}");
            assert_eq!(fields.flag("x").ok().flatten(), flag, "{value}");
            for mistake in [fields.text("x").err(), fields.integer("x").err(), fields.flag("x").err()].into_iter().flatten() {
                assert!(mistake.starts_with("at.x: "), "{mistake}");
            }
        }
    }

    #[test]
    fn null_and_empty_are_absence() {
        let whole = json!({ "x": null, "e": "" });
        let fields = object(&whole, "").unwrap();
        assert_eq!((fields.text("x"), fields.number("x"), fields.flag("x")), (Ok(None), Ok(None), Ok(None)));
        assert_eq!((fields.number("e"), fields.flag("e")), (Ok(None), Ok(None)));
        assert_eq!(fields.required_text("e"), Err("e: missing".to_owned()));
        assert!(fields.array("x").unwrap().is_empty());
        assert!(fields.child("x").unwrap().is_none());
        assert_eq!(fields.array("e"), Err("e: expected a list, found a text".to_owned()));
    }

    #[test]
    fn bad_items_are_left_out_and_too_many_are_refused() {
        let items: Vec<_> = (0..50).map(|number| if number % 2 == 0 { json!({ "n": number }) } else { json!(number) }).collect();
        let read = |fields: &Fields<'_>| fields.integer("n");
        let listed = list(&items, "rows", 50, read).unwrap();
        assert_eq!(listed.items.len(), 25);
        assert_eq!(listed.left_out.len(), MISTAKES_KEPT + 1);
        assert_eq!(listed.left_out[0], "rows[1]: expected an object, found a number");
        assert_eq!(listed.left_out[MISTAKES_KEPT], "rows: 5 more");
        assert_eq!(list(&items, "rows", 49, read), Err(Problem::TooMany { list: "rows".into(), limit: 49 }));
    }

    #[test]
    fn documents() {
        for (bytes, expected) in [
            ("<html>secret</html>", "not JSON, at line 1 column 1"),
            ("{\"a\": [1, ", "it ends too early, at line 1 column 10"),
            ("", "it ends too early, at line 1 column 0"),
            ("{} {}", "not JSON, at line 1 column 4"),
        ] {
            let Err(Problem::Malformed(what)) = document(bytes.as_bytes(), 10) else { panic!("{bytes} is read") };
            assert_eq!(what, expected);
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(document(deep.as_bytes(), 1_000_000).is_err(), "deep nesting is refused, not followed");
        assert!(document(b"\xff", 10).is_err());
    }

    #[test]
    fn a_document_is_what_it_was() {
        let whole = json!({ "a": [null, true, -5, 5, 1.5, u64::MAX, "\u{1f40e}", {}, []], "b": { "c": { "d": [] } } });
        assert_eq!(document(whole.to_string().as_bytes(), 10), Ok(whole));
        assert_eq!(document(b"{\"a\":1,\"a\":2}", 10), Ok(json!({ "a": 2 })), "of two the last");
    }

    #[test]
    fn values_are_counted() {
        let most = 64 * 10 + 4096;
        let list = |item: &str, count: usize| format!("[{}]", vec![item; count].join(","));
        let refused = Err(Problem::TooMany { list: "values".into(), limit: most });
        // The list itself counts too, and the last one is never taken.
        assert!(document(list("0", most - 2).as_bytes(), 10).is_ok());
        assert_eq!(document(list("0", most - 1).as_bytes(), 10), refused);
        assert!(document(list("{}", (most - 2) / 9).as_bytes(), 10).is_ok());
        assert_eq!(document(list("{}", most / 9 + 1).as_bytes(), 10), refused);
        assert_eq!(document(list("{\"a\":0}", 1_000_000).as_bytes(), 10), refused);
    }

    #[test]
    fn texts_are_cleaned() {
        let long = "ä".repeat(161);
        for (text, expected) in [("a\r\nb\u{1b}", "a  b ".to_owned()), (&long, format!("{}…", "ä".repeat(160)))] {
            assert_eq!(clean(text), expected);
        }
    }
}
