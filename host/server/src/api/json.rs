//! JSON as Python wrote it, for the dialects whose originals were written in Python: ASCII only, no newline at the end.
//!
//! Keys stand as the value gives them: a `Value` sorts its own, structs that are to look sorted list their fields in the order of
//! their names.

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;
use std::io::{self, Write};

/// Bytes of an answer of common size.
const COMMON: usize = 1024;

/// On one line, a space after each comma and colon: what `dumps` makes without further wishes.
pub(super) fn raw<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    write(value, false)
}

/// One value a line, indented by two spaces.
pub(super) fn pretty<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    write(value, true)
}

fn write<T: Serialize + ?Sized>(value: &T, lines: bool) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(COMMON);
    let mut serializer = Serializer::with_formatter(&mut bytes, Python { lines, depth: 0, filled: false });
    // Neither the dialects' shapes nor a `Value` can fail to serialise, and a `Vec` takes every write.
    if value.serialize(&mut serializer).is_err() {
        bytes.clear();
    }
    bytes
}

/// Either form; they differ in what separates the members of a container.
struct Python {
    /// Whether each member stands on a line of its own.
    lines: bool,
    /// How many containers are open.
    depth: usize,
    /// Whether the container that is open has members.
    filled: bool,
}

impl Python {
    fn open<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.filled = false;
        writer.write_all(bracket)
    }

    fn close<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if self.filled {
            self.line(writer)?;
        }
        // A container is itself a member, or everything.
        self.filled = true;
        writer.write_all(bracket)
    }

    fn member<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if !first {
            writer.write_all(if self.lines { b"," } else { b", " })?;
        }
        self.line(writer)
    }

    fn line<W: ?Sized + Write>(&self, writer: &mut W) -> io::Result<()> {
        if self.lines {
            writer.write_all(b"\n")?;
            for _ in 0..self.depth {
                writer.write_all(b"  ")?;
            }
        }
        Ok(())
    }
}

impl Formatter for Python {
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.member(writer, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.filled = true;
        Ok(())
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.member(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.filled = true;
        Ok(())
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        // Most texts are plain: one write.
        if fragment.bytes().all(plain) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut units = [0; 2];
        for c in fragment.chars() {
            match u8::try_from(c) {
                Ok(byte) if plain(byte) => writer.write_all(&[byte])?,
                _ => {
                    for unit in c.encode_utf16(&mut units) {
                        write!(writer, "\\u{unit:04x}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether Python writes this byte as it is. What JSON escapes never comes here; Python escapes DEL besides.
fn plain(byte: u8) -> bool {
    byte.is_ascii() && byte != 0x7f
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    fn table() -> [(Value, &'static str, &'static str); 10] {
        [
            (json!({}), "{}", "{}"),
            (json!([]), "[]", "[]"),
            (json!(false), "false", "false"),
            (json!([[]]), "[[]]", "[\n  []\n]"),
            (json!([[], 1, [2]]), "[[], 1, [2]]", "[\n  [],\n  1,\n  [\n    2\n  ]\n]"),
            (json!({"b": [], "a": {}}), r#"{"a": {}, "b": []}"#, "{\n  \"a\": {},\n  \"b\": []\n}"),
            (
                json!({"z": {"y": 1, "x": [true, null]}}),
                r#"{"z": {"x": [true, null], "y": 1}}"#,
                "{\n  \"z\": {\n    \"x\": [\n      true,\n      null\n    ],\n    \"y\": 1\n  }\n}",
            ),
            (json!("é\u{1f600}\u{7f}\n\"\\/"), r#""\u00e9\ud83d\ude00\u007f\n\"\\/""#, r#""\u00e9\ud83d\ude00\u007f\n\"\\/""#),
            (json!("\u{8}\u{c}\u{1}"), r#""\b\f\u0001""#, r#""\b\f\u0001""#),
            (json!({"ü": -1.5}), r#"{"\u00fc": -1.5}"#, "{\n  \"\\u00fc\": -1.5\n}"),
        ]
    }

    #[test]
    fn json_is_written_as_python_wrote_it() {
        for (value, line, lines) in table() {
            assert_eq!(String::from_utf8(raw(&value)).unwrap(), line);
            assert_eq!(String::from_utf8(pretty(&value)).unwrap(), lines);
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for (value, ..) in table() {
            assert_eq!(serde_json::from_slice::<Value>(&raw(&value)).unwrap(), value);
            assert_eq!(serde_json::from_slice::<Value>(&pretty(&value)).unwrap(), value);
        }
    }
}
