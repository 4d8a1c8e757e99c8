//! What requests say: bodies, references to objects, parameters, times.

use super::errors::{Fault, Name};
use crate::api::body::{self, BodyError};
use axum::body::Body;
use base64::Engine;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use ostler_core::model::{Action, Force};
use serde_json::{Map, Value};
use url::Url;

/// The body of a request, which must say that it is JSON; none where there is none.
pub(super) async fn json(parts: &Parts, body: Body, limit: usize) -> Result<Option<Value>, Fault> {
    let bytes = body::read(&parts.headers, body, limit).await.map_err(|error| match error {
        BodyError::TooLarge => Fault::new(Name::OverLimit, format!("the request body has more than {limit} bytes")),
        BodyError::Cut => Fault::bad("the request body was cut short"),
    })?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let kind = parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(super::JSON) {
        return Err(Fault::new(Name::BadMediaType, "a request body is of the type application/json"));
    }
    // The library's text ends with line and column.
    serde_json::from_slice(&bytes).map(Some).map_err(|error| Fault::bad(format!("the request body is no JSON: {error}")))
}

/// What a body must be.
pub(super) fn object(body: Option<Value>) -> Result<Map<String, Value>, Fault> {
    match body {
        Some(Value::Object(object)) => Ok(object),
        Some(other) => Err(Fault::bad(format!("the request body must be an object, found {}", kind(&other)))),
        None => Err(Fault::bad("the request body is missing")),
    }
}

/// The object that is wrapped under this name.
pub(super) fn wrapped(body: Option<Value>, name: &str) -> Result<Members, Fault> {
    match object(body)?.remove(name) {
        Some(Value::Object(members)) => Ok(Members { members, of: name.to_owned() }),
        Some(other) => Err(Fault::bad(format!("`{name}` must be an object, found {}", kind(&other)))),
        None => Err(Fault::bad(format!("the request body must be {{\"{name}\": {{…}}}}"))),
    }
}

/// The members of an object. Null counts as absent.
pub(super) struct Members {
    members: Map<String, Value>,
    of: String,
}

impl Members {
    pub(super) fn new(members: Map<String, Value>, of: &str) -> Self {
        Self { members, of: of.to_owned() }
    }

    fn wrong(&self, name: &str, wanted: &str, found: &Value) -> Fault {
        Fault::bad(format!("`{}.{name}` must be {wanted}, found {}", self.of, kind(found)))
    }

    fn missing(&self, name: &str) -> Fault {
        Fault::bad(format!("`{}.{name}` is missing", self.of))
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    /// A text.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, Fault> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, "a string", other)),
        }
    }

    /// A text that must be there.
    pub(super) fn required_text(&self, name: &str) -> Result<&str, Fault> {
        self.text(name)?.ok_or_else(|| self.missing(name))
    }

    /// A text, or a number for those whose identifiers look like that.
    pub(super) fn word(&self, name: &str) -> Result<Option<String>, Fault> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(Some(number.to_string())),
            Some(other) => Err(self.wrong(name, "a string", other)),
        }
    }

    /// A list of texts; none where it is not there.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>, Fault> {
        let Some(value) = self.get(name) else { return Ok(Vec::new()) };
        let texts = value.as_array().and_then(|items| items.iter().map(|item| item.as_str().map(str::to_owned)).collect());
        texts.ok_or_else(|| self.wrong(name, "a list of strings", value))
    }

    /// Bytes, in base64.
    pub(super) fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, Fault> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let bytes = base64::engine::general_purpose::STANDARD.decode(text);
        bytes.map(Some).map_err(|_| Fault::bad(format!("`{}.{name}` must be base64", self.of)))
    }

    /// A port, 1 to 65535.
    pub(super) fn port(&self, name: &str) -> Result<Option<u16>, Fault> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => match value.as_u64().and_then(|port| u16::try_from(port).ok()) {
                Some(port) if port > 0 => Ok(Some(port)),
                _ => Err(Fault::bad(format!("`{}.{name}` must be a whole number from 1 to 65535", self.of))),
            },
        }
    }

    /// A port that must be there.
    pub(super) fn required_port(&self, name: &str) -> Result<u16, Fault> {
        self.port(name)?.ok_or_else(|| self.missing(name))
    }

    /// A reference to an object of this collection.
    pub(super) fn reference(&self, name: &str, place: &Place<'_>) -> Result<i64, Fault> {
        let value = self.get(name).ok_or_else(|| self.missing(name))?;
        let found = match value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => number(text).or_else(|| place.number(text)),
            _ => None,
        };
        found.ok_or_else(|| {
            let what = place.collection.trim_end_matches('s');
            let wanted = format!("the number of an {what} of this cloud, or its link");
            Fault::bad(format!("`{}.{name}` must be {wanted}", self.of))
        })
    }
}

/// Where links lead to the objects of one collection in one cloud.
pub(super) struct Place<'p> {
    /// In front of the paths: empty, or the configured prefix.
    pub(super) prefixes: &'p [&'p str],
    /// The cloud.
    pub(super) cloud: &'p str,
    /// The cloud that paths without a name mean.
    pub(super) default: Option<&'p str>,
    /// `images` or `instances`.
    pub(super) collection: &'p str,
}

impl Place<'_> {
    /// The number in a link of this server's form. Under which name the server is known does not matter: there may be several.
    fn number(&self, link: &str) -> Option<i64> {
        let path = match Url::parse(link) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none() => {
                url.path().to_owned()
            }
            Ok(_) => return None,
            Err(_) => link.to_owned(),
        };
        self.prefixes.iter().find_map(|prefix| {
            let path = path.strip_prefix(prefix)?.strip_prefix('/')?;
            let (cloud, path) = match path.strip_prefix("cloudedge/") {
                Some(path) => (self.default?, path),
                None => path.split_once('/').and_then(|(cloud, path)| Some((cloud, path.strip_prefix("cloudedge/")?)))?,
            };
            let id = path.strip_prefix(self.collection)?.strip_prefix('/')?;
            (cloud == self.cloud).then(|| number(id.strip_suffix('/').unwrap_or(id)))?
        })
    }
}

/// A number of an object in decimal digits.
pub(super) fn number(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

/// The one action of a body.
pub(super) fn action(body: Option<Value>) -> Result<Action, Fault> {
    const KNOWN: &str = "one of start, stop, reboot, freeze and resume";
    let object = object(body)?;
    let mut members = object.iter();
    let (Some((name, value)), None) = (members.next(), members.next()) else {
        return Err(Fault::bad(format!("the request body must have exactly one member: {KNOWN}")));
    };
    let force = match (name.as_str(), value) {
        (_, Value::Null) => None,
        ("stop" | "reboot", Value::Object(members)) => match members.get("type") {
            None | Some(Value::Null) => None,
            Some(Value::String(word)) if word.eq_ignore_ascii_case("soft") => Some(Force::Soft),
            Some(Value::String(word)) if word.eq_ignore_ascii_case("hard") => Some(Force::Hard),
            Some(_) => return Err(Fault::bad(format!("`{name}.type` must be \"SOFT\" or \"HARD\""))),
        },
        (_, Value::Object(members)) if !members.contains_key("type") => None,
        (_, Value::Object(_)) => return Err(Fault::bad(format!("`{name}` has no type: only stop and reboot have"))),
        (_, other) => return Err(Fault::bad(format!("`{name}` must be null or an object, found {}", kind(other)))),
    };
    let force = force.unwrap_or(Force::Soft);
    Ok(match name.as_str() {
        "start" => Action::Start,
        "stop" => Action::Stop(force),
        "reboot" => Action::Reboot(force),
        "freeze" => Action::Suspend,
        "resume" => Action::Resume,
        other => return Err(Fault::bad(format!("there is no action `{}`: it is {KNOWN}", shown(other)))),
    })
}

/// The parameters behind the question mark.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn new(query: Option<&str>) -> Self {
        let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// The first value.
    pub(super) fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A number of an object, by which a list is filtered.
    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, Fault> {
        let Some(text) = self.first(name) else { return Ok(None) };
        number(text).map(Some).ok_or_else(|| Fault::bad(format!("the parameter `{name}` must be a number of an object")))
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Fault> {
        match self.first(name) {
            None => Ok(false),
            Some(word) if word.eq_ignore_ascii_case("true") || word == "1" => Ok(true),
            Some(word) if word.eq_ignore_ascii_case("false") || word == "0" => Ok(false),
            Some(_) => Err(Fault::bad(format!("the parameter `{name}` must be true or false"))),
        }
    }
}

/// A time in microseconds UTC: RFC 3339, also with a space in place of the `T`, and with one in place of a `+` that a query has
/// taken for a space.
pub(super) fn time(text: &str) -> Option<i64> {
    let text = text.trim();
    let parse = |text: &str| text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_microsecond);
    parse(text).or_else(|| {
        let (time, offset) = text.rsplit_once(' ').filter(|(time, _)| time.contains(':'))?;
        parse(&format!("{time}+{offset}"))
    })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// As much of a client's word as an answer repeats.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 64;
    text.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

#[cfg(test)]
mod tests;
