//! HTTP exchanges: a script of those that are expected, and a play that answers all others.

use std::collections::VecDeque;
use std::io::Cursor;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::Cloud;
use crate::http::{Answer, Outgoing, RawResponse};
use crate::{Error, Result};

/// What answers requests that are not expected.
pub(super) type Play = Arc<dyn Fn(&Cloud, &Outgoing) -> Result<Answer> + Send + Sync>;

#[derive(Debug)]
struct Exchange {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    json: Option<Value>,
    answer: Result<Answer>,
}

/// The exchanges to come.
#[derive(Default)]
pub(super) struct Script {
    exchanges: Mutex<VecDeque<Exchange>>,
    play: Mutex<Option<Play>>,
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.missing()).finish()
    }
}

impl Script {
    fn queue(&self) -> MutexGuard<'_, VecDeque<Exchange>> {
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn play(&self, play: Play) {
        *self.play.lock().unwrap_or_else(PoisonError::into_inner) = Some(play);
    }

    pub(super) fn expect(&self, method: &str, url: &str) -> Expectation<'_> {
        let exchange = Exchange {
            method: method.to_owned(),
            url: url.to_owned(),
            headers: Vec::new(),
            json: None,
            answer: Ok(Answer::new(200, "")),
        };
        Expectation { script: self, exchange: Some(exchange) }
    }

    pub(super) fn missing(&self) -> Vec<String> {
        self.queue().iter().map(|exchange| format!("{} {}", exchange.method, exchange.url)).collect()
    }

    /// Answers a request. What was not expected fails the test rather than the driver, which might swallow an error.
    #[allow(clippy::panic, reason = "a test double")]
    pub(super) fn answer(&self, cloud: &Cloud, parts: &Outgoing) -> Result<RawResponse> {
        // Neither is locked while there is an answer: whoever plays may call the driver.
        let exchange = self.queue().pop_front();
        let play = self.play.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Answer { status, headers, body } = match (exchange, play) {
            (Some(exchange), _) => exchange.answer(parts)?,
            (None, Some(play)) => play(cloud, parts)?,
            (None, None) => panic!("{} {} was not expected", parts.method, parts.url),
        };
        Ok(RawResponse { status, headers, body: Box::new(Cursor::new(body)) })
    }
}

impl Exchange {
    fn answer(self, parts: &Outgoing) -> Result<Answer> {
        let request = format!("{} {}", parts.method, parts.url);
        assert_eq!(request, format!("{} {}", self.method, self.url), "another request was expected");
        for (name, value) in &self.headers {
            assert_eq!(parts.header(name), Some(value.as_str()), "header `{name}` of {request}");
        }
        if let Some(json) = &self.json {
            let sent: Option<Value> = serde_json::from_slice(&parts.body).ok();
            assert_eq!(sent.as_ref(), Some(json), "body of {request}");
        }
        self.answer
    }
}

/// One request to come; it counts when it goes out of scope.
#[derive(Debug)]
pub struct Expectation<'a> {
    script: &'a Script,
    exchange: Option<Exchange>,
}

impl Expectation<'_> {
    fn change(mut self, change: impl FnOnce(&mut Exchange)) -> Self {
        if let Some(exchange) = &mut self.exchange {
            change(exchange);
        }
        self
    }

    /// Demands a header.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        self.change(|exchange| exchange.headers.push((name.to_owned(), value.to_owned())))
    }

    /// Demands a JSON body.
    #[must_use]
    pub fn json(self, body: Value) -> Self {
        self.change(|exchange| exchange.json = Some(body))
    }

    /// Answers with a status and a body.
    pub fn answer(self, status: u16, body: impl Into<Vec<u8>>) {
        self.answer_with(status, &[], body);
    }

    /// Answers with a status, headers and a body.
    pub fn answer_with(self, status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) {
        let answer = headers.iter().fold(Answer::new(status, body), |answer, (name, value)| answer.with_header(name, *value));
        drop(self.change(|exchange| exchange.answer = Ok(answer)));
    }

    /// Fails the connection.
    pub fn fail(self, error: Error) {
        drop(self.change(|exchange| exchange.answer = Err(error)));
    }
}

impl Drop for Expectation<'_> {
    fn drop(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            self.script.queue().push_back(exchange);
        }
    }
}
