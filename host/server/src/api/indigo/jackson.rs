//! JSON as the original wrote it: an object's members on lines of their own, an array's in one, ` : ` after names.
//!
//! The lengths that the original's documentation shows with its examples are those of this form.

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;
use std::io::{self, Write};

/// Bytes of an answer of common size.
const COMMON: usize = 2048;

/// A value in this form.
pub(super) fn write<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(COMMON);
    let mut serializer = Serializer::with_formatter(&mut bytes, Jackson { depth: 0, filled: false });
    // Neither this dialect's shapes nor a `Value` can fail to serialise, and a `Vec` takes every write.
    if value.serialize(&mut serializer).is_err() {
        bytes.clear();
    }
    bytes
}

struct Jackson {
    /// How many objects are open.
    depth: usize,
    /// Whether the object that is open has members.
    filled: bool,
}

impl Jackson {
    fn line<W: ?Sized + Write>(&self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b"\n")?;
        for _ in 0..self.depth {
            writer.write_all(b"  ")?;
        }
        Ok(())
    }
}

impl Formatter for Jackson {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b" " } else { b", " })
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b" ]")
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth += 1;
        self.filled = false;
        writer.write_all(b"{")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if !first {
            writer.write_all(b",")?;
        }
        self.line(writer)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b" : ")
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.filled = true;
        Ok(())
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        let filled = std::mem::replace(&mut self.filled, true);
        if !filled {
            return writer.write_all(b" }");
        }
        self.line(writer)?;
        writer.write_all(b"}")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn json_is_written_as_jackson_wrote_it() {
        for (value, expected) in [
            (json!({}), "{ }"),
            (json!([]), "[ ]"),
            (json!([1, "a", null]), r#"[ 1, "a", null ]"#),
            (json!({"a": {}}), "{\n  \"a\" : { }\n}"),
            (json!({"a": {}, "b": []}), "{\n  \"a\" : { },\n  \"b\" : [ ]\n}"),
            (json!({"a": [{"b": 1}, {"c": [{}]}]}), "{\n  \"a\" : [ {\n    \"b\" : 1\n  }, {\n    \"c\" : [ { } ]\n  } ]\n}"),
            (json!([{"é": "\n"}]), "[ {\n  \"é\" : \"\\n\"\n} ]"),
        ] {
            let written = String::from_utf8(write(&value)).unwrap();
            assert_eq!(written, expected);
            assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), value);
        }
    }
}
