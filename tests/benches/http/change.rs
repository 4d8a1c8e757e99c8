//! Nodes made and destroyed with the store on disk, against bare commits of the same number.

use crate::client::{Connection, Measured, block_on, with_body};
use crate::process::{Scratch, Server};
use crate::report::{Report, median};
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection as _, SqliteConnection};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
const TURN: Duration = Duration::from_secs(1);

/// Commits of one start (intent, the driver's state, outcome), and of one stop: what `strace -c -e fsync` counts.
const COMMITS: f64 = 3.0;

/// Runs the section.
pub(crate) fn run(report: &mut Report, server: &Server, scratch: &Scratch) {
    report.section("POST vm/start and PUT vm/stop, durable store");
    let mut bare = Vec::new();
    let mut turns: [Vec<(Measured, Measured)>; 2] = [Vec::new(), Vec::new()];
    block_on(async {
        let mut database = open(&scratch.path("bare.db")).await;
        // Not counted: the server's log grows too.
        commits(&mut database).await;
        pairs(server.address, 1).await;
        for _ in 0..ROUNDS {
            bare.push(commits(&mut database).await);
            for (connections, turns) in [1, 8].into_iter().zip(&mut turns) {
                turns.push(pairs(server.address, connections).await);
            }
        }
        database.close().await.expect("SQLite closes the file");
    });
    let bare_at = |share| median(bare.iter().map(|turn| turn.quantile(share)));
    report.line(
        "bare commits",
        &[("per s", median(bare.iter().map(|turn| turn.rate))), ("p50 µs", bare_at(0.5)), ("p99 µs", bare_at(0.99))],
    );
    for (connections, turns) in [1, 8].into_iter().zip(&turns) {
        let start = |share| median(turns.iter().map(|(start, _)| start.quantile(share)));
        let stop = |share| median(turns.iter().map(|(_, stop)| stop.quantile(share)));
        let figures = [
            ("pairs/s", median(turns.iter().map(|(start, _)| start.rate))),
            ("start p50 µs", start(0.5)),
            ("start p99 µs", start(0.99)),
            ("stop p50 µs", stop(0.5)),
            ("stop p99 µs", stop(0.99)),
        ];
        report.line(&format!("start + stop, {connections} at once"), &figures);
    }
    // By the middle ones, since rare stalls of the disk outweigh everything else in a sum.
    let times = turns[0].iter().zip(&bare).map(|((start, _), bare)| start.quantile(0.5) / (COMMITS * bare.quantile(0.5)));
    report.line("one start over bare commits", &[("times", median(times))]);
}

/// A database that syncs each commit, as the server's does.
pub(crate) async fn open(file: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let mut connection: SqliteConnection = options.connect().await.expect("SQLite opens a file");
    let table = "CREATE TABLE record (id INTEGER PRIMARY KEY, content BLOB NOT NULL) STRICT";
    sqlx::query(table).execute(&mut connection).await.expect("the table can be made");
    // While the log grows, a commit costs several times as much: more than a thousand pages are where it begins anew.
    let grow = "INSERT INTO record (content) VALUES (zeroblob(6000000))";
    sqlx::query(grow).execute(&mut connection).await.expect("a large row can be written");
    connection
}

/// One connection that does nothing but commit.
pub(crate) async fn commits(connection: &mut SqliteConnection) -> Measured {
    let content = [0_u8; 300];
    let (started, mut latencies) = (Instant::now(), Vec::new());
    while started.elapsed() < TURN {
        let sent = Instant::now();
        let insert = sqlx::query("INSERT INTO record (content) VALUES ($1)").bind(content.as_slice());
        insert.execute(&mut *connection).await.expect("a row can be written");
        latencies.push(sent.elapsed());
    }
    Measured::new(latencies, 0, started.elapsed())
}

/// Makes a node and destroys it, again and again, over so many connections.
async fn pairs(address: SocketAddr, connections: usize) -> (Measured, Measured) {
    const BODY: &str = r#"{"name": "bench", "image": "debian-13", "size": "small"}"#;
    let start = with_body("POST", "/api/v1/vm/start/changing", BODY);
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
}
