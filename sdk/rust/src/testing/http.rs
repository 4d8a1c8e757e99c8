//! A script of HTTP exchanges.

use std::collections::VecDeque;
use std::io::Cursor;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::http::{Parts, RawResponse};
use crate::{Error, Result};

/// Status, headers and body.
type Answer = (u16, Vec<(String, String)>, Vec<u8>);

#[derive(Debug)]
struct Exchange {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    json: Option<Value>,
    answer: Result<Answer>,
}

/// The exchanges to come.
#[derive(Debug, Default)]
pub(super) struct Script(Mutex<VecDeque<Exchange>>);

impl Script {
    fn queue(&self) -> MutexGuard<'_, VecDeque<Exchange>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn expect(&self, method: &str, url: &str) -> Expectation<'_> {
        let exchange = Exchange {
            method: method.to_owned(),
            url: url.to_owned(),
            headers: Vec::new(),
            json: None,
            answer: Ok((200, Vec::new(), Vec::new())),
        };
        Expectation { script: self, exchange: Some(exchange) }
    }

    pub(super) fn missing(&self) -> Vec<String> {
        self.queue().iter().map(|exchange| format!("{} {}", exchange.method, exchange.url)).collect()
    }

    /// Answers a request. What was not expected fails the test rather than the driver, which might swallow an error.
    #[allow(clippy::panic, reason = "a test double")]
    pub(super) fn answer(&self, parts: &Parts) -> Result<RawResponse> {
        let request = format!("{} {}", parts.method, parts.url);
        let Some(exchange) = self.queue().pop_front() else { panic!("{request} was not expected") };
        let expected = format!("{} {}", exchange.method, exchange.url);
        assert_eq!(request, expected, "another request was expected");
        for (name, value) in &exchange.headers {
            let sent = parts.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
            assert_eq!(sent, Some(value), "header `{name}` of {request}");
        }
        if let Some(json) = &exchange.json {
            let sent: Option<Value> = serde_json::from_slice(&parts.body).ok();
            assert_eq!(sent.as_ref(), Some(json), "body of {request}");
        }
        let (status, headers, body) = exchange.answer?;
        Ok(RawResponse { status, headers, body: Box::new(Cursor::new(body)) })
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
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        drop(self.change(|exchange| exchange.answer = Ok((status, headers, body.into()))));
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
