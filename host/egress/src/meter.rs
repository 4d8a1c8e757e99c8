//! Metrics of a client.

use std::sync::Arc;
use std::time::Instant;

use metrics::{Counter, Gauge, Histogram};

use crate::error::Error;

/// What became of a request. A response counts by its status once its body has ended or was dropped.
#[derive(Clone, Copy)]
enum Outcome {
    Informational,
    Success,
    Redirection,
    ClientError,
    ServerError,
    Denied,
    Address,
    Resolve,
    Connect,
    Tls,
    Timeout,
    TooLarge,
    Protocol,
    BadRequest,
    Cancelled,
}

/// The label of each outcome, in the order of the variants.
const LABELS: [&str; 15] = [
    "1xx",
    "2xx",
    "3xx",
    "4xx",
    "5xx",
    "denied",
    "address",
    "resolve",
    "connect",
    "tls",
    "timeout",
    "too_large",
    "protocol",
    "bad_request",
    "cancelled",
];

impl From<&Error> for Outcome {
    fn from(error: &Error) -> Self {
        match error {
            Error::Denied { .. } => Self::Denied,
            Error::Address { .. } => Self::Address,
            Error::Resolve { .. } => Self::Resolve,
            Error::Connect { .. } => Self::Connect,
            Error::Tls { .. } => Self::Tls,
            Error::Timeout { .. } => Self::Timeout,
            Error::TooLarge { .. } => Self::TooLarge,
            Error::Protocol { .. } => Self::Protocol,
            Error::BadRequest { .. } => Self::BadRequest,
        }
    }
}

impl From<http::StatusCode> for Outcome {
    fn from(status: http::StatusCode) -> Self {
        match status.as_u16() / 100 {
            1 => Self::Informational,
            2 => Self::Success,
            3 => Self::Redirection,
            4 => Self::ClientError,
            _ => Self::ServerError,
        }
    }
}

/// The handles of one client, looked up once.
pub(crate) struct Meter {
    requests: [Counter; LABELS.len()],
    seconds: Histogram,
    open: Gauge,
}

impl Meter {
    pub(crate) fn new(client: &str) -> Self {
        metrics::describe_counter!(
            "ostler_egress_requests_total",
            metrics::Unit::Count,
            "Outgoing requests by client and outcome (class of the status, or kind of the failure)."
        );
        metrics::describe_histogram!(
            "ostler_egress_request_seconds",
            metrics::Unit::Seconds,
            "Time from an outgoing request to its response head, connecting and waiting for a free slot included."
        );
        metrics::describe_gauge!(
            "ostler_egress_open_connections",
            metrics::Unit::Count,
            "Outgoing connections, idle ones included."
        );
        let client = client.to_owned();
        Self {
            requests: LABELS.map(
                |outcome| metrics::counter!("ostler_egress_requests_total", "client" => client.clone(), "outcome" => outcome),
            ),
            seconds: metrics::histogram!("ostler_egress_request_seconds", "client" => client.clone()),
            open: metrics::gauge!("ostler_egress_open_connections", "client" => client),
        }
    }

    /// Counts a connection as open until the result is dropped.
    pub(crate) fn connected(&self) -> OpenConnection {
        self.open.increment(1);
        OpenConnection(self.open.clone())
    }

    /// Starts one request.
    pub(crate) fn start(self: &Arc<Self>) -> Ticket {
        Ticket { meter: Arc::clone(self), started: Instant::now(), outcome: Outcome::Cancelled }
    }
}

/// An open connection in the metrics.
pub(crate) struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

/// One request in the metrics: counted once, when dropped, with the last outcome that was noted.
pub(crate) struct Ticket {
    meter: Arc<Meter>,
    started: Instant,
    outcome: Outcome,
}

impl Ticket {
    pub(crate) fn responded(&mut self, status: http::StatusCode) {
        self.meter.seconds.record(self.started.elapsed());
        self.outcome = status.into();
    }

    pub(crate) fn failed(&mut self, error: &Error) {
        self.outcome = error.into();
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(counter) = self.meter.requests.get(self.outcome as usize) {
            counter.increment(1);
        }
    }
}
