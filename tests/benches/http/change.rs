//! Nodes made and destroyed with the store on disk, against bare commits of the same number.

use crate::client::{Connection, Measured, block_on, with_body};
use crate::process::{Scratch, Server};
use crate::report::{Report, median};
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection as _, SqliteConnection};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
const TURN: Duration = Duration::from_secs(1);

/// Commits of one start (intent, the driver's state, outcome) and one stop (the same, and the node's assignment).
const COMMITS: f64 = 7.0;

/// Runs the section.
pub(crate) fn run(report: &mut Report, server: &Server, scratch: &Scratch) {
    report.section("POST vm/start and PUT vm/stop, durable store");
    let file = scratch.path("bare.db");
    let mut bare = Vec::new();
    let mut turns: [Vec<(Measured, Measured)>; 2] = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        bare.push(block_on(commits(&file)));
        for (connections, turns) in [1, 8].into_iter().zip(&mut turns) {
            turns.push(pairs(server.address, connections));
        }
    }
    report.line("bare commits, synced", &[("per s", median(bare.iter().copied()))]);
    for (connections, turns) in [1, 8].into_iter().zip(&turns) {
        let start = |share| median(turns.iter().map(|(start, _)| start.quantile(share)));
        let stop = |share| median(turns.iter().map(|(_, stop)| stop.quantile(share)));
        report.line(
            &format!("start + stop, {connections} connections"),
            &[
                ("pairs/s", median(turns.iter().map(|(start, _)| start.rate))),
                ("start p50 µs", start(0.5)),
                ("p99 µs", start(0.99)),
                ("stop p50 µs", stop(0.5)),
                ("stop p99 µs", stop(0.99)),
                ("of bare commits", median(turns.iter().zip(&bare).map(|((start, _), bare)| start.rate * COMMITS / bare))),
            ],
        );
    }
}

/// Synced commits a second of one connection that does nothing else.
async fn commits(file: &std::path::Path) -> f64 {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let mut connection: SqliteConnection = options.connect().await.expect("SQLite opens a file");
    let table = "CREATE TABLE IF NOT EXISTS record (id INTEGER PRIMARY KEY, content TEXT NOT NULL) STRICT";
    sqlx::query(table).execute(&mut connection).await.expect("the table can be made");
    let content = "x".repeat(300);
    let (started, mut done) = (Instant::now(), 0_u32);
    while started.elapsed() < TURN {
        let insert = sqlx::query("INSERT INTO record (content) VALUES ($1)").bind(&content);
        insert.execute(&mut connection).await.expect("a row can be written");
        done += 1;
    }
    let rate = f64::from(done) / started.elapsed().as_secs_f64();
    connection.close().await.expect("SQLite closes the file");
    rate
}

/// Makes a node and destroys it, again and again, over so many connections.
fn pairs(address: SocketAddr, connections: usize) -> (Measured, Measured) {
    const BODY: &str = r#"{"name": "bench", "image": "debian-13", "size": "small"}"#;
    let start = with_body("POST", "/api/v1/vm/start/changing", BODY);
    block_on(async {
        let began = Instant::now();
        let work = (0..connections).map(|_| async {
            let mut connection = Connection::open(address).await;
            let (mut starts, mut stops) = (Vec::new(), Vec::new());
            while began.elapsed() < TURN {
                let sent = Instant::now();
                let answer = connection.exchange(&start).await;
                starts.push(sent.elapsed());
                assert_eq!(answer.status, 200, "vm/start: {}", String::from_utf8_lossy(answer.body));
                let answer: Value = serde_json::from_slice(answer.body).expect("the server answers JSON");
                let stop = with_body("PUT", "/api/v1/vm/stop/changing", &format!(r#"{{"node": {}}}"#, answer["nodes"]["id"]));
                let sent = Instant::now();
                let answer = connection.exchange(&stop).await;
                stops.push(sent.elapsed());
                assert_eq!(answer.status, 200, "vm/stop: {}", String::from_utf8_lossy(answer.body));
            }
            (starts, stops)
        });
        let outcomes = futures::future::join_all(work).await;
        let elapsed = began.elapsed();
        let (starts, stops): (Vec<_>, Vec<_>) = outcomes.into_iter().unzip();
        (Measured::new(starts.concat(), 0, elapsed), Measured::new(stops.concat(), 0, elapsed))
    })
}
