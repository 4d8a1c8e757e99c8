//! The primitive types of values: what is read from a scalar, what is compared, and in which units.

use std::cmp::Ordering;

use serde_json::Value;

/// A type that has no parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Primitive {
    /// A text.
    String,
    /// A whole number of 64 bits.
    Integer,
    /// A number.
    Float,
    /// True or false.
    Boolean,
    /// A point in time, as text.
    Timestamp,
    /// `major.minor.fix.qualifier-build`, as text; all but the first may be missing.
    Version,
    /// Two bounds, the upper one possibly `UNBOUNDED`.
    Range,
    /// Bytes.
    Size,
    /// Seconds.
    Time,
    /// Hertz.
    Frequency,
    /// Bits a second.
    Bitrate,
}

impl Primitive {
    /// By the names of TOSCA Simple Profile in YAML 1.0 (and 1.3 for bit rates).
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "string" | "json" | "xml" => Self::String,
            "integer" => Self::Integer,
            "float" => Self::Float,
            "boolean" => Self::Boolean,
            "timestamp" => Self::Timestamp,
            "version" => Self::Version,
            "range" => Self::Range,
            "scalar-unit.size" => Self::Size,
            "scalar-unit.time" => Self::Time,
            "scalar-unit.frequency" => Self::Frequency,
            "scalar-unit.bitrate" => Self::Bitrate,
            _ => return None,
        })
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Float => "float",
            Self::Boolean => "boolean",
            Self::Timestamp => "timestamp",
            Self::Version => "version",
            Self::Range => "range",
            Self::Size => "scalar-unit.size",
            Self::Time => "scalar-unit.time",
            Self::Frequency => "scalar-unit.frequency",
            Self::Bitrate => "scalar-unit.bitrate",
        }
    }

    /// What `text` is as this type. Not for ranges, which are lists.
    pub(crate) fn read(self, text: &str) -> Result<Value, String> {
        let trimmed = text.trim();
        let wrong = |what: &str| Err(format!("'{}' is not {what}", short(text)));
        match self {
            Self::String | Self::Timestamp => Ok(Value::String(text.into())),
            Self::Integer => match trimmed.strip_prefix('+').unwrap_or(trimmed).parse::<i64>() {
                Ok(number) => Ok(number.into()),
                Err(_) => wrong("an integer"),
            },
            Self::Float => match trimmed.parse::<f64>().ok().and_then(serde_json::Number::from_f64) {
                Some(number) => Ok(Value::Number(number)),
                None => wrong("a number"),
            },
            Self::Boolean => match trimmed.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "y" => Ok(true.into()),
                "false" | "no" | "off" | "n" => Ok(false.into()),
                _ => wrong("true or false"),
            },
            Self::Version => match version(trimmed) {
                Some(_) => Ok(Value::String(trimmed.into())),
                None => wrong("a version such as 2.0.1"),
            },
            Self::Range => wrong("a range such as [1, 4]"),
            Self::Size | Self::Time | Self::Frequency | Self::Bitrate => match self.measure(trimmed) {
                Some(_) => Ok(Value::String(trimmed.into())),
                None => wrong(match self {
                    Self::Size => "a size such as 4 GB",
                    Self::Time => "a time such as 5 min: d h m s ms us ns",
                    Self::Frequency => "a frequency such as 2.4 GHz",
                    _ => "a bit rate such as 10 Mbps",
                }),
            },
        }
    }

    /// A number with a unit, in this type's base unit.
    pub(crate) fn measure(self, text: &str) -> Option<f64> {
        let text = text.trim();
        let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-' || c == '+')).unwrap_or(text.len());
        let number: f64 = text[..split].parse().ok()?;
        let unit = text[split..].trim();
        let units: &[(&str, f64)] = match self {
            Self::Size => &[
                ("B", 1.0),
                ("kB", 1e3),
                ("KiB", 1024.0),
                ("MB", 1e6),
                ("MiB", 1_048_576.0),
                ("GB", 1e9),
                ("GiB", 1_073_741_824.0),
                ("TB", 1e12),
                ("TiB", 1_099_511_627_776.0),
            ],
            Self::Time => &[("d", 86400.0), ("h", 3600.0), ("m", 60.0), ("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)],
            Self::Frequency => &[("Hz", 1.0), ("kHz", 1e3), ("MHz", 1e6), ("GHz", 1e9)],
            Self::Bitrate => &[("bps", 1.0), ("Kbps", 1e3), ("Mbps", 1e6), ("Gbps", 1e9), ("Tbps", 1e12)],
            _ => return None,
        };
        let (_, factor) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
        let value = number * factor;
        (value.is_finite() && value >= 0.0).then_some(value)
    }

    /// Which of two values of this type is greater. `None`: they cannot be compared.
    pub(crate) fn compare(self, left: &Value, right: &Value) -> Option<Ordering> {
        match self {
            Self::Integer | Self::Float => match (left.as_i64(), right.as_i64()) {
                (Some(left), Some(right)) => Some(left.cmp(&right)),
                _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
            },
            Self::Version => Some(version(left.as_str()?)?.cmp(&version(right.as_str()?)?)),
            Self::Size | Self::Time | Self::Frequency | Self::Bitrate => {
                self.measure(left.as_str()?)?.partial_cmp(&self.measure(right.as_str()?)?)
            }
            Self::String | Self::Timestamp => Some(left.as_str()?.cmp(right.as_str()?)),
            Self::Boolean => Some(left.as_bool()?.cmp(&right.as_bool()?)),
            Self::Range => (left == right).then_some(Ordering::Equal),
        }
    }
}

/// The bytes of a `scalar-unit.size`, such as `4 GB`.
pub fn bytes(value: &Value) -> Option<u64> {
    Primitive::Size.measure(value.as_str()?).filter(|bytes| *bytes < 9e18).map(|bytes| bytes.round() as u64)
}

/// `major[.minor[.fix[.qualifier[-build]]]]`.
fn version(text: &str) -> Option<(Vec<u64>, Option<String>, u64)> {
    let mut numbers = Vec::new();
    let mut parts = text.splitn(4, '.');
    for part in parts.by_ref().take(3) {
        if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        numbers.push(part.parse().ok()?);
    }
    numbers.resize(3, 0);
    let Some(rest) = parts.next() else { return Some((numbers, None, 0)) };
    let (qualifier, build) = match rest.split_once('-') {
        Some((qualifier, build)) => (qualifier, build.parse().ok()?),
        None => (rest, 0),
    };
    let word = !qualifier.is_empty() && qualifier.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    word.then(|| (numbers, Some(qualifier.to_owned()), build))
}

/// Whether a scalar is nothing, by YAML's core schema.
pub(crate) fn is_null(text: &str, plain: bool) -> bool {
    plain && matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// What an untyped scalar is, by YAML's core schema.
pub(crate) fn untyped(text: &str, plain: bool) -> Value {
    if !plain {
        return Value::String(text.into());
    }
    match text {
        _ if is_null(text, plain) => return Value::Null,
        "true" | "True" | "TRUE" => return true.into(),
        "false" | "False" | "FALSE" => return false.into(),
        _ => {}
    }
    // Numbers begin with a digit after their sign: neither `inf` nor `.5.1` is one.
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let number = digits.starts_with(|c: char| c.is_ascii_digit())
        && !(digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0."));
    if number {
        if let Ok(integer) = text.parse::<i64>() {
            return integer.into();
        }
        if let Some(float) = text.parse::<f64>().ok().and_then(serde_json::Number::from_f64) {
            return Value::Number(float);
        }
    }
    Value::String(text.into())
}

/// The text of a value without parts.
pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null => Some(String::new()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// What of a text goes into a message.
pub(crate) fn short(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn scalars() {
        let table = [
            (Primitive::Integer, "5", Some(json!(5))),
            (Primitive::Integer, " +7 ", Some(json!(7))),
            (Primitive::Integer, "5.0", None),
            (Primitive::Integer, "9223372036854775808", None),
            (Primitive::Float, "2.5", Some(json!(2.5))),
            (Primitive::Float, "inf", None),
            (Primitive::Boolean, "Yes", Some(json!(true))),
            (Primitive::Boolean, "off", Some(json!(false))),
            (Primitive::Boolean, "1", None),
            (Primitive::Version, "8.04", Some(json!("8.04"))),
            (Primitive::Version, "2.0.1.alpha-12", Some(json!("2.0.1.alpha-12"))),
            (Primitive::Version, "2.0.1.alpha-", None),
            (Primitive::Version, "two", None),
            (Primitive::Size, "4 GB", Some(json!("4 GB"))),
            (Primitive::Size, "4gib", Some(json!("4gib"))),
            (Primitive::Size, "4", None),
            (Primitive::Size, "-4 GB", None),
            (Primitive::Size, "4 bytes", None),
            (Primitive::Time, "90 s", Some(json!("90 s"))),
            (Primitive::Frequency, "2.4 GHz", Some(json!("2.4 GHz"))),
            (Primitive::Bitrate, "10 Mbps", Some(json!("10 Mbps"))),
            (Primitive::String, " as it is ", Some(json!(" as it is "))),
        ];
        for (primitive, text, expected) in table {
            assert_eq!(primitive.read(text).ok(), expected, "{primitive:?} {text}");
        }
    }

    #[test]
    fn comparisons() {
        let table = [
            (Primitive::Size, json!("1 GiB"), json!("1 GB"), Ordering::Greater),
            (Primitive::Size, json!("1000 MB"), json!("1 GB"), Ordering::Equal),
            (Primitive::Time, json!("59 s"), json!("1 m"), Ordering::Less),
            (Primitive::Version, json!("2.10"), json!("2.9.9"), Ordering::Greater),
            (Primitive::Version, json!("2.0"), json!("2.0.0"), Ordering::Equal),
            (Primitive::Integer, json!(3), json!(20), Ordering::Less),
            (Primitive::Float, json!(3), json!(2.5), Ordering::Greater),
            (Primitive::String, json!("3"), json!("20"), Ordering::Greater),
        ];
        for (primitive, left, right, expected) in table {
            assert_eq!(primitive.compare(&left, &right), Some(expected), "{primitive:?} {left} {right}");
        }
        assert_eq!(bytes(&json!("1.5 GiB")), Some(1_610_612_736));
        assert_eq!(bytes(&json!("much")), None);
    }

    #[test]
    fn untyped_scalars() {
        let table = [
            ("1", json!(1)),
            ("-1.50", json!(-1.5)),
            ("0123", json!("0123")),
            ("1.2.3", json!("1.2.3")),
            ("inf", json!("inf")),
            ("1e3", json!(1000.0)),
            ("TRUE", json!(true)),
            ("yes", json!("yes")),
            ("~", json!(null)),
        ];
        for (text, expected) in table {
            assert_eq!(untyped(text, true), expected, "{text}");
            assert_eq!(untyped(text, false), json!(text), "{text}, quoted");
        }
    }
}
