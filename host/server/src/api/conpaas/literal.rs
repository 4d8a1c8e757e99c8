//! Python's notation for data, which managers send where one would expect JSON: `[{u'cloud': 'default', 'volumes': None}]`.
//!
//! JSON is nearly a part of that notation, so one parser reads both. It evaluates nothing: what is no literal is an error.

use serde_json::{Map, Number, Value};
use thiserror::Error;

/// Bytes of the longest text that is read.
pub(super) const LONGEST: usize = 512 << 10;
/// Containers in containers.
const DEEPEST: usize = 32;

/// Why a text is no literal that is taken. The numbers are bytes from its beginning.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum LiteralError {
    /// More bytes than are read.
    #[error("the text is longer than {LONGEST} bytes")]
    TooLong,
    /// Containers nest deeper than is read.
    #[error("nested too deeply at byte {0}")]
    TooDeep(usize),
    /// Something that does not belong there, or the end.
    #[error("malformed at byte {0}")]
    Malformed(usize),
    /// A string with an escape that neither notation has, a lone surrogate or U+0000.
    #[error("malformed string at byte {0}")]
    String(usize),
    /// A number that has no 64 bits, or is not finite.
    #[error("number out of range at byte {0}")]
    Number(usize),
    /// A key that JSON cannot have.
    #[error("unusable key at byte {0}")]
    Key(usize),
}

/// The value that a text denotes. Tuples become arrays; keys that are numbers or constants become text, as in Python's own JSON.
pub(super) fn parse(text: &str) -> Result<Value, LiteralError> {
    if text.len() > LONGEST {
        return Err(LiteralError::TooLong);
    }
    let mut parser = Parser { text, at: 0, depth: 0 };
    let value = parser.value()?;
    parser.skip_space();
    if parser.at == text.len() { Ok(value) } else { Err(LiteralError::Malformed(parser.at)) }
}

/// How `\xHH` is meant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// As a byte of UTF-8: Python 2 shows its byte strings so.
    Bytes,
    /// As a character: every other string.
    Characters,
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn malformed<T>(&self) -> Result<T, LiteralError> {
        Err(LiteralError::Malformed(self.at))
    }

    fn value(&mut self) -> Result<Value, LiteralError> {
        self.skip_space();
        match self.peek() {
            Some(b'[') => self.nested(Self::list),
            Some(b'(') => self.nested(Self::tuple),
            Some(b'{') => self.nested(Self::dictionary),
            Some(b'\'' | b'"') => self.string(Reading::Bytes).map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            Some(b'A'..=b'Z' | b'a'..=b'z' | b'_') => self.word(),
            _ => self.malformed(),
        }
    }

    fn nested(&mut self, inside: fn(&mut Self) -> Result<Value, LiteralError>) -> Result<Value, LiteralError> {
        if self.depth == DEEPEST {
            return Err(LiteralError::TooDeep(self.at));
        }
        self.at += 1;
        self.depth += 1;
        let value = inside(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn list(&mut self) -> Result<Value, LiteralError> {
        self.members(b']').map(|(members, _)| Value::Array(members))
    }

    fn tuple(&mut self) -> Result<Value, LiteralError> {
        let (mut members, comma) = self.members(b')')?;
        // Parentheses around one value mean nothing; the comma makes the tuple.
        Ok(match members.pop() {
            Some(only) if members.is_empty() && !comma => only,
            last => {
                members.extend(last);
                Value::Array(members)
            }
        })
    }

    /// What stands before the closing bracket, and whether it ends with a comma.
    fn members(&mut self, close: u8) -> Result<(Vec<Value>, bool), LiteralError> {
        let mut members = Vec::new();
        let mut comma = false;
        loop {
            self.skip_space();
            if self.take(close) {
                return Ok((members, comma));
            }
            if !members.is_empty() && !comma {
                return self.malformed();
            }
            members.push(self.value()?);
            self.skip_space();
            comma = self.take(b',');
        }
    }

    fn dictionary(&mut self) -> Result<Value, LiteralError> {
        let mut map = Map::new();
        let mut more = true;
        loop {
            self.skip_space();
            if self.take(b'}') {
                return Ok(Value::Object(map));
            }
            if !more {
                return self.malformed();
            }
            let at = self.at;
            let key = match self.value()? {
                Value::String(key) => key,
                Value::Array(_) | Value::Object(_) => return Err(LiteralError::Key(at)),
                constant => constant.to_string(),
            };
            self.skip_space();
            if !self.take(b':') {
                return self.malformed();
            }
            let value = self.value()?;
            map.insert(key, value);
            self.skip_space();
            more = self.take(b',');
        }
    }

    /// A constant of either notation, or the prefix of a string.
    fn word(&mut self) -> Result<Value, LiteralError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_')) {
            self.at += 1;
        }
        match (&self.text[start..self.at], self.peek()) {
            ("u" | "U", Some(b'\'' | b'"')) => self.string(Reading::Characters).map(Value::String),
            ("True" | "true", _) => Ok(Value::Bool(true)),
            ("False" | "false", _) => Ok(Value::Bool(false)),
            ("None" | "null", _) => Ok(Value::Null),
            _ => Err(LiteralError::Malformed(start)),
        }
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Result<Number, LiteralError> {
        let start = self.at;
        self.take(b'-');
        let zero = self.peek() == Some(b'0');
        let digits = self.digits();
        // A zero in front meant octal once.
        if digits == 0 || (zero && digits > 1) {
            return self.malformed();
        }
        let mut whole = true;
        if self.take(b'.') {
            whole = false;
            if self.digits() == 0 {
                return self.malformed();
            }
        }
        if self.take(b'e') || self.take(b'E') {
            whole = false;
            if !self.take(b'+') {
                self.take(b'-');
            }
            if self.digits() == 0 {
                return self.malformed();
            }
        }
        let text = &self.text[start..self.at];
        let number = if whole {
            // Python 2 marks its long integers.
            self.take(b'L');
            text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from)).ok()
        } else {
            text.parse::<f64>().ok().and_then(Number::from_f64)
        };
        if matches!(self.peek(), Some(b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.')) {
            return self.malformed();
        }
        number.ok_or(LiteralError::Number(start))
    }

    fn string(&mut self, reading: Reading) -> Result<String, LiteralError> {
        let start = self.at;
        let bytes = self.content(reading, start)?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(text),
            // No UTF-8, hence no byte string: Python 3, which shows a few characters by their numbers.
            Err(_) if reading == Reading::Bytes => {
                self.at = start;
                self.string(Reading::Characters)
            }
            Err(_) => Err(LiteralError::String(start)),
        }
    }

    fn content(&mut self, reading: Reading, start: usize) -> Result<Vec<u8>, LiteralError> {
        let wrong = LiteralError::String(start);
        let Some(quote) = self.peek() else { return Err(wrong) };
        self.at += 1;
        let mut content = Vec::new();
        loop {
            match self.peek() {
                // Both notations escape these.
                None | Some(0..=0x1f) => return Err(wrong),
                Some(byte) if byte == quote => {
                    self.at += 1;
                    return Ok(content);
                }
                Some(b'\\') => {
                    self.at += 1;
                    let c = match self.escape(reading).ok_or(wrong.clone())? {
                        Escape::Byte(byte) => {
                            content.push(byte);
                            continue;
                        }
                        Escape::Character(c) => c,
                    };
                    content.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                Some(byte) => {
                    content.push(byte);
                    self.at += 1;
                }
            }
        }
    }

    /// What stands after a backslash. `None` if that is nothing, or NUL.
    fn escape(&mut self, reading: Reading) -> Option<Escape> {
        let letter = self.peek()?;
        self.at += 1;
        let c = match letter {
            b'\\' | b'\'' | b'"' | b'/' => char::from(letter),
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'a' => '\u{7}',
            b'v' => '\u{b}',
            b'x' => {
                let byte = u8::try_from(self.hexadecimal(2)?).ok()?;
                if reading == Reading::Bytes && !byte.is_ascii() {
                    return Some(Escape::Byte(byte));
                }
                char::from(byte)
            }
            b'u' => self.utf16()?,
            b'U' => char::from_u32(self.hexadecimal(8)?)?,
            _ => return None,
        };
        (c != '\0').then_some(Escape::Character(c))
    }

    /// The character that one or two `\uHHHH` make.
    fn utf16(&mut self) -> Option<char> {
        let first = self.hexadecimal(4)?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first);
        }
        if !(self.take(b'\\') && self.take(b'u')) {
            return None;
        }
        let second = self.hexadecimal(4)?.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
        char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + second)
    }

    fn hexadecimal(&mut self, digits: usize) -> Option<u32> {
        let text = self.text.as_bytes().get(self.at..self.at + digits)?;
        self.at += digits;
        text.iter().try_fold(0, |number, digit| Some((number << 4) | char::from(*digit).to_digit(16)?))
    }
}

enum Escape {
    Byte(u8),
    Character(char),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    #[test]
    fn what_managers_send_is_read() {
        for (text, expected) in [
            ("[{'role': 'node', 'cloud': u'default'}]", json!([{"role": "node", "cloud": "default"}])),
            (
                "[{'cloud': u'default', 'volumes': [{'vol_name': 'osd-%(vm_id)s', 'vol_size': 1024, 'dev_name': u'sdb'}]}]",
                json!([{"cloud": "default", "volumes": [{"vol_name": "osd-%(vm_id)s", "vol_size": 1024, "dev_name": "sdb"}]}]),
            ),
            ("{}", json!({})),
            (" [ ] ", json!([])),
            ("{'a': None, 'b': True, 'c': False}", json!({"a": null, "b": true, "c": false})),
            (r#"{"a": null, "b": true, "c": [false, 1.5e3]}"#, json!({"a": null, "b": true, "c": [false, 1500.0]})),
            ("(1, 2L, (3,), (), (4))", json!([1, 2, [3], [], 4])),
            ("((1, 2))", json!([1, 2])),
            ("[1, 2,]", json!([1, 2])),
            ("{1: 'a', None: 'b', True: 'c', 1.5: 'd'}", json!({"1": "a", "null": "b", "true": "c", "1.5": "d"})),
            ("{'a': 1, 'a': 2}", json!({"a": 2})),
            ("-0.5", json!(-0.5)),
            ("9223372036854775807", json!(i64::MAX)),
            ("18446744073709551615L", json!(u64::MAX)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("1e-400", json!(0.0)),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn strings_of_both_notations_are_read() {
        for (text, expected) in [
            (r"'it\'s'", "it's"),
            (r#""it's""#, "it's"),
            (r#"'a "quoted" word'"#, "a \"quoted\" word"),
            (r"u'caf\xe9'", "café"),
            (r"'caf\xc3\xa9'", "café"),
            (r"'\xa0'", "\u{a0}"),
            (r"'é\x7f'", "é\u{7f}"),
            (r"u'\u20ac\U0001f600'", "€😀"),
            (r#""\ud83d\ude00\/""#, "😀/"),
            (r"'\\n\n\r\t\b\f\a\v'", "\\n\n\r\t\u{8}\u{c}\u{7}\u{b}"),
            ("''", ""),
        ] {
            assert_eq!(parse(text), Ok(json!(expected)), "{text}");
        }
    }

    #[test]
    fn what_is_no_literal_is_refused() {
        use LiteralError::{Key, Malformed, Number, String};
        for (text, expected) in [
            ("", Malformed(0)),
            ("  ", Malformed(2)),
            ("[", Malformed(1)),
            ("[1", Malformed(2)),
            ("[1 2]", Malformed(3)),
            ("[,]", Malformed(1)),
            ("[1,,2]", Malformed(3)),
            ("[1}", Malformed(2)),
            ("{'a'}", Malformed(4)),
            ("{'a': 1 'b': 2}", Malformed(8)),
            ("{'a': }", Malformed(6)),
            ("{[1]: 2}", Key(1)),
            ("{(1, 2): 2}", Key(1)),
            ("1 2", Malformed(2)),
            ("[] []", Malformed(3)),
            ("nan", Malformed(0)),
            ("Nonesuch", Malformed(0)),
            ("__import__('os')", Malformed(0)),
            ("open", Malformed(0)),
            ("b'a'", Malformed(0)),
            ("r'a'", Malformed(0)),
            ("1 + 1", Malformed(2)),
            ("0x10", Malformed(1)),
            ("007", Malformed(3)),
            ("1.", Malformed(2)),
            (".5", Malformed(0)),
            ("1e", Malformed(2)),
            ("-", Malformed(1)),
            ("1.5L", Malformed(3)),
            ("1.2.3", Malformed(3)),
            ("é", Malformed(0)),
            ("'a", String(0)),
            ("'a\\", String(0)),
            ("'a\nb'", String(0)),
            (r"'\x4'", String(0)),
            (r"'\q'", String(0)),
            (r"'\x00'", String(0)),
            (r"'\u0000'", String(0)),
            (r"'\ud83d'", String(0)),
            (r"'\ud83d\u0041'", String(0)),
            (r"'\udc00'", String(0)),
            (r"'\U00110000'", String(0)),
            (r"'\u00é'", String(0)),
            ("['a', 'b", String(6)),
            ("1e400", Number(0)),
            ("[-1e999]", Number(1)),
            ("18446744073709551616", Number(0)),
            ("-9223372036854775809", Number(0)),
            ("'a' 'b'", Malformed(4)),
        ] {
            assert_eq!(parse(text), Err(expected), "{text}");
        }
        assert_eq!(parse(&"9".repeat(100_000)), Err(Number(0)));
        assert_eq!(parse(&format!("'{}'", "x".repeat(LONGEST))), Err(LiteralError::TooLong));
    }

    #[test]
    fn nesting_has_an_end() {
        for (open, close) in [("[", "]"), ("(", ",)"), ("{'a':", "}")] {
            let nested = |depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth));
            assert!(parse(&nested(DEEPEST)).is_ok(), "{open}");
            assert_eq!(parse(&nested(DEEPEST + 1)), Err(LiteralError::TooDeep(open.len() * DEEPEST)), "{open}");
        }
        assert!(matches!(parse(&"[".repeat(LONGEST)), Err(LiteralError::TooDeep(_))));
        // Depth is not length.
        assert!(parse(&format!("[{}]", "[],".repeat(1000))).is_ok());
    }

    #[test]
    fn json_means_the_same_as_elsewhere() {
        for text in [r#"{"a": [1, -2.5, "x\u00e9\n", null, true, {"b": {}}]}"#, "[]", r#""\"\\\/\b\f""#, "12", "-0.0", "1E+2"] {
            assert_eq!(parse(text).unwrap(), serde_json::from_str::<Value>(text).unwrap(), "{text}");
        }
    }

    #[test]
    fn nothing_makes_it_panic() {
        // Every cut and every changed byte of a text that has everything.
        let text = "[{u'a\\xe9': ('b\\u20ac', -1.5e3, 2L), \"c\": [None, True, {'d': 'é\\U0001f600'}]}]";
        for at in 0..=text.len() {
            if let Some(cut) = text.get(..at) {
                assert_eq!(parse(cut).is_ok(), at == text.len(), "{cut}");
            }
            for byte in *b"[](){}'\",:\\xuU0-.eL " {
                let mut changed = text.as_bytes().to_vec();
                if let Some(place) = changed.get_mut(at) {
                    *place = byte;
                    if let Ok(changed) = String::from_utf8(changed) {
                        let _ = parse(&changed);
                    }
                }
            }
        }
    }
}
