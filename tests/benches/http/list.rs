//! Listings, through the server and from the reference, in turns.

use crate::client::{Measured, fetch, load};
use crate::native::Reference;
use crate::process::{Listening, Server};
use crate::report::{Bar, Report, median};
use std::time::Duration;

const CONNECTIONS: usize = 16;
const ROUNDS: usize = 7;
const TURN: Duration = Duration::from_secs(1);

/// One thing that is asked for, in every round.
struct Case<'a> {
    name: &'static str,
    process: &'a Listening,
    path: &'static str,
    /// The case that it is compared with, by its place.
    against: Option<usize>,
    expected: Vec<u8>,
    rounds: Vec<Turn>,
}

struct Turn {
    measured: Measured,
    /// Processor time of the process, in microseconds a request.
    cpu: f64,
}

impl<'a> Case<'a> {
    fn new(name: &'static str, process: &'a Listening, path: &'static str, against: Option<usize>) -> Self {
        Self { name, process, path, against, expected: fetch(process.address, path), rounds: Vec::new() }
    }

    fn measure(&mut self, connections: usize, time: Duration) {
        let before = self.process.cpu();
        let measured = load(self.process.address, self.path, &self.expected, connections, time);
        let used = self.process.cpu().saturating_sub(before);
        let requests = f64::from(u32::try_from(measured.requests).unwrap_or(u32::MAX)).max(1.0);
        self.rounds.push(Turn { cpu: used.as_secs_f64() * 1e6 / requests, measured });
    }

    fn median(&self, figure: impl Fn(&Turn) -> f64) -> f64 {
        median(self.rounds.iter().map(figure))
    }

    /// The median of this case's figure over that of another, round by round.
    fn ratio(&self, to: &Case<'_>, figure: impl Fn(&Turn) -> f64) -> f64 {
        median(self.rounds.iter().zip(&to.rounds).map(|(a, b)| figure(a) / figure(b)))
    }
}

fn rate(turn: &Turn) -> f64 {
    turn.measured.rate
}

fn p99(turn: &Turn) -> f64 {
    turn.measured.quantile(0.99)
}

fn measure(report: &mut Report, cases: &mut [Case<'_>], rounds: usize, connections: usize, time: Duration) {
    for round in 0..rounds {
        // Forth and back, so that no case always follows the same one.
        let turn = |place| if round % 2 == 0 { place } else { cases.len() - 1 - place };
        let order: Vec<usize> = (0..cases.len()).map(turn).collect();
        for place in order {
            cases[place].measure(connections, time);
        }
    }
    for case in &*cases {
        let mut figures = vec![
            ("req/s", case.median(rate)),
            ("p50 µs", case.median(|turn| turn.measured.quantile(0.5))),
            ("p99 µs", case.median(p99)),
            ("cpu µs", case.median(|turn| turn.cpu)),
        ];
        if let Some(against) = case.against {
            let against = &cases[against];
            figures.push(("ratio", case.ratio(against, rate)));
            figures.push(("p99 ratio", case.ratio(against, p99)));
            figures.push(("cpu ratio", case.ratio(against, |turn| turn.cpu)));
        }
        report.line(case.name, &figures);
    }
}

/// Two nodes and a hundred, warm and fresh instances, and what the server adds to a handler that does nothing.
pub(crate) fn small(report: &mut Report, server: &Server, reference: &Reference) {
    report.section("GET, 16 connections");
    let mut cases = [
        Case::new("2 nodes: axum handler", reference, "/nodes/2", None),
        Case::new("2 nodes: driver, warm", server, "/api/v1/nodes/fake_driver", Some(0)),
        Case::new("2 nodes: driver, fresh", server, "/api/v1/nodes/fresh", Some(0)),
        Case::new("100 nodes: axum handler", reference, "/nodes/100", None),
        Case::new("100 nodes: driver, warm", server, "/api/v1/nodes/hundred", Some(3)),
        Case::new("healthz: axum handler", reference, "/healthz", None),
        Case::new("healthz: server", server, "/healthz", Some(5)),
    ];
    measure(report, &mut cases, ROUNDS, CONNECTIONS, TURN);
    let [native, warm, ..] = &cases;
    report.goal("2 nodes, warm: throughput ratio", warm.ratio(native, rate), Bar::AtLeast(0.5), Bar::AtLeast(0.45));
    report.goal("2 nodes, warm: p99 ratio", warm.ratio(native, p99), Bar::AtMost(3.0), Bar::AtMost(4.0));

    report.section("GET, 1 connection");
    let mut cases = [
        Case::new("alone: driver, 2 nodes", server, "/api/v1/nodes/fake_driver", None),
        Case::new("alone: healthz", server, "/healthz", None),
    ];
    measure(report, &mut cases, ROUNDS, 1, TURN / 4);
    let [nodes, healthz] = &cases;
    let p50 = |turn: &Turn| turn.measured.quantile(0.5);
    let over = median(nodes.rounds.iter().zip(&healthz.rounds).map(|(nodes, healthz)| p50(nodes) - p50(healthz)));
    report.line("alone: driver over healthz", &[("p50 µs", over)]);
    let (all, anonymous) = server.memory();
    report.line("memory after the load", &[("MB", megabytes(all)), ("anonymous MB", megabytes(anonymous))]);
}

/// Ten thousand nodes, which the driver hands over in ten pages.
pub(crate) fn large(report: &mut Report, server: &Server, reference: &Reference) {
    const NODES: f64 = 10_000.0;
    report.section("GET 10,000 nodes, 1 connection");
    let mut cases = [
        Case::new("10,000 nodes: axum handler", reference, "/nodes/10000", None),
        Case::new("10,000 nodes: driver, warm", server, "/api/v1/nodes/large", Some(0)),
    ];
    measure(report, &mut cases, 5, 1, TURN);
    for (case, name) in cases.iter().zip(["10,000 nodes: axum handler, items", "10,000 nodes: driver, items"]) {
        let p50 = case.median(|turn| turn.measured.quantile(0.5));
        let bytes = crate::report::count(case.expected.len());
        report.line(name, &[("ms", p50 / 1e3), ("MB", bytes / 1e6), ("items/s", NODES * 1e6 / p50), ("µs/item", p50 / NODES)]);
    }
}

/// Bytes as megabytes of 2²⁰.
pub(crate) fn megabytes(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes >> 10).unwrap_or(u32::MAX)) / 1024.0
}
