//! What requests bring along, and the refusal where it is not what it should be.

use crate::api::problem;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use ostler_core::Error;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

/// Bytes of the largest JSON body.
pub(super) const LARGEST: usize = 64 << 10;
/// Items of a page, where nothing else is asked for, and at most.
const PAGE: u32 = 100;
const LONGEST_PAGE: u32 = 1000;

/// Why there is no good answer.
pub(super) enum Refused {
    /// The use case failed.
    Core(Error),
    /// The request is not one that leads to a use case.
    Request(StatusCode, &'static str, String),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Core(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::Core(error) => problem::of(&error),
            Self::Request(status, title, detail) => problem::response(status, title, &detail),
        }
    }
}

/// A JSON body; none counts as `{}`. One of another type is refused: a page of another origin must not send it without asking.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        let json = is_json(request.headers());
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| Refused::Request(rejection.status(), "The body could not be read", rejection.body_text()))?;
        if bytes.is_empty() {
            return parse(b"{}");
        }
        if !json {
            let detail = "the body's type is application/json".to_owned();
            return Err(Refused::Request(StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body must be application/json", detail));
        }
        parse(&bytes)
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<Body<T>, Refused> {
    match serde_json::from_slice(bytes) {
        // The library takes arrays for objects whose members are not named.
        Ok(_) if !bytes.trim_ascii_start().starts_with(b"{") => Err(Error::Invalid("the body is a JSON object".into()).into()),
        Ok(value) => Ok(Body(value)),
        Err(error) if error.classify() == Category::Data => Err(Error::Invalid(error.to_string()).into()),
        Err(error) => Err(Refused::Request(StatusCode::BAD_REQUEST, "Malformed JSON", error.to_string())),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

/// The parameters of the query.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(rejection) => Err(Refused::Request(rejection.status(), "Malformed query", rejection.body_text())),
        }
    }
}

/// The one variable part of the path.
pub(super) struct Segment(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(segment)) => Ok(Self(segment)),
            Err(rejection) => Err(Refused::Request(rejection.status(), "Malformed path", rejection.body_text())),
        }
    }
}

/// How many items a page has.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "u32")]
pub(super) struct Limit(u32);

impl Default for Limit {
    fn default() -> Self {
        Self(PAGE)
    }
}

impl TryFrom<u32> for Limit {
    type Error = String;

    fn try_from(limit: u32) -> Result<Self, String> {
        if (1..=LONGEST_PAGE).contains(&limit) { Ok(Self(limit)) } else { Err(format!("a limit is from 1 to {LONGEST_PAGE}")) }
    }
}

impl Limit {
    /// What to ask for: one more shows whether there is another page.
    pub(super) fn and_one(self) -> u32 {
        self.0 + 1
    }

    /// Cuts a page to its length; where the next one begins, if there is one.
    pub(super) fn cut<T, N>(self, items: &mut Vec<T>, next: impl FnOnce(&T) -> N) -> Option<N> {
        let length = usize::try_from(self.0).unwrap_or(usize::MAX);
        let more = items.len() > length;
        items.truncate(length);
        items.last().filter(|_| more).map(next)
    }
}
