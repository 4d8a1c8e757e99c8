//! What a request says, before anybody looks at what it means.

use super::errors::Fault;
use crate::api::body::{self, BodyError};
use axum::body::Body;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde_json::{Map, Value};

/// A request: its head, and what its body holds.
pub(super) struct Input {
    pub(super) parts: Parts,
    body: Read,
}

enum Read {
    /// Nothing was sent, or nothing is wanted.
    Empty,
    /// Something, and whether it is said to be JSON.
    Bytes(Vec<u8>, bool),
}

impl Input {
    /// A request whose body nobody wants to see.
    pub(super) fn without_body(parts: Parts) -> Self {
        Self { parts, body: Read::Empty }
    }

    /// A request with its body, if there is one, up to a limit.
    pub(super) async fn read(parts: Parts, body: Body, limit: usize) -> Result<Self, Fault> {
        let bytes = body::read(&parts.headers, body, limit).await.map_err(|error| match error {
            BodyError::TooLarge => Fault::TooLarge,
            BodyError::Cut => Fault::MalformedJson("the body was cut short".into()),
        })?;
        let json = parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).is_some_and(|kind| {
            let essence = kind.split(';').next().unwrap_or_default().trim();
            essence.eq_ignore_ascii_case("application/json")
        });
        let body = if bytes.is_empty() { Read::Empty } else { Read::Bytes(bytes.to_vec(), json) };
        Ok(Self { parts, body })
    }

    /// The body, which must be JSON and say so.
    pub(super) fn json(&self) -> Result<Value, Fault> {
        match &self.body {
            Read::Empty => Ok(Value::Object(Map::new())),
            Read::Bytes(_, false) => Err(Fault::NotJson),
            Read::Bytes(bytes, true) => serde_json::from_slice(bytes).map_err(|error| Fault::MalformedJson(error.to_string())),
        }
    }

    /// The body, which must be a JSON object; without the token that may stand in it.
    pub(super) fn object(&self) -> Result<Map<String, Value>, Fault> {
        match self.json()? {
            Value::Object(mut map) => {
                map.remove("auth_token");
                Ok(map)
            }
            other => Err(Fault::Schema(format!("{} should be instance of <type 'dict'>", super::schema::python(&other)))),
        }
    }

    /// The token in the body, or in the query: the one in the body wins. One in a header is not looked at here.
    pub(super) fn token(&self) -> Option<String> {
        if let Read::Bytes(bytes, true) = &self.body
            && let Ok(Value::Object(map)) = serde_json::from_slice(bytes)
            && let Some(Value::String(token)) = map.get("auth_token")
        {
            return Some(token.clone());
        }
        let query = self.parts.uri.query()?;
        url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "auth_token").map(|(_, token)| token.into_owned())
    }
}
