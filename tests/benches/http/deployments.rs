//! Deployments: orders a second with the store on disk, pages of many, and many that are built at once.

use crate::change::{commits, open};
use crate::client::{Connection, block_on, get, with_body};
use crate::process::{Scratch, Server};
use crate::report::{Bar, Report, count, median};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection as _};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
const TURN: Duration = Duration::from_millis(700);
/// Deployments that are listed, and the page that is far from both ends.
const MANY: u32 = 10_000;
const FAR: u32 = 900;
const PAGES: usize = 300;
/// Deployments that are built at once, and how many orders are sent at a time.
const AT_ONCE: usize = 1_000;
const SENDERS: usize = 16;
/// How long machines take to come up where it counts when that is seen, in milliseconds, and how many are watched.
const BOOT: u64 = 400;
const WATCHED: usize = 15;
const PATIENCE: Duration = Duration::from_secs(240);

const CONFIGURATION: &str = "
[server]
listen = \"127.0.0.1:0\"
[clouds.default]
driver = \"dummy\"
config = { form = \"plain\" }
[api.indigo]
open = true
";

/// Two machines.
const TEMPLATE: &str = "
tosca_definitions_version: tosca_simple_yaml_1_0
topology_template:
  node_templates:
    web: { type: tosca.nodes.indigo.Compute }
    db: { type: tosca.nodes.indigo.Compute }
  outputs:
    address: { value: { get_attribute: [ web, private_address ] } }
";

/// Runs the section.
pub(crate) fn run(report: &mut Report, scratch: &Scratch) {
    report.section("POST /deployments, durable store; pages; many at once");
    let nowhere = CONFIGURATION.replace("[api.indigo]", "[clouds.default.deployments]\nenabled = false\n[api.indigo]");
    let file = scratch.file("nowhere.toml", nowhere.as_bytes());
    let data = scratch.path("listed");
    let server = Server::spawn(&data, Some(&file));
    orders(report, scratch, server.address);
    server.stop();
    block_on(multiply(&data));
    let server = Server::spawn(&data, Some(&file));
    pages(report, server.address);
    server.stop();
    let file = scratch.file("built.toml", CONFIGURATION.as_bytes());
    let server = Server::spawn(&scratch.path("built"), Some(&file));
    at_once(report, &server);
    server.stop();
    let slow = CONFIGURATION.replace("form = \"plain\"", &format!("form = \"plain\", boot_ms = {BOOT}"));
    let file = scratch.file("slow.toml", format!("{slow}[api.crs4]\nopen = true\n").as_bytes());
    let server = Server::spawn(&scratch.path("slow"), Some(&file));
    visible(report, server.address);
    server.stop();
}

fn order() -> Vec<u8> {
    with_body("POST", "/deployments", &json!({ "template": TEMPLATE }).to_string())
}

/// Orders for which there is no cloud: what is measured is the order, and what becomes of it beside.
fn orders(report: &mut Report, scratch: &Scratch, address: SocketAddr) {
    let (mut bare, mut ordered) = (Vec::new(), Vec::new());
    block_on(async {
        let mut database = open(&scratch.path("orders.db")).await;
        for _ in 0..ROUNDS {
            bare.push(commits(&mut database).await.quantile(0.5));
            let (began, mut latencies) = (Instant::now(), Vec::new());
            let mut connection = Connection::open(address).await;
            while began.elapsed() < TURN {
                let sent = Instant::now();
                assert_eq!(connection.exchange(&order()).await.status, 201, "an order is taken");
                latencies.push(sent.elapsed());
            }
            ordered.push(crate::client::Measured::new(latencies, 0, began.elapsed()));
        }
        database.close().await.expect("SQLite closes the file");
    });
    let (bare, middle) = (median(bare), median(ordered.iter().map(|turn| turn.quantile(0.5))));
    let figures = [
        ("per s", median(ordered.iter().map(|turn| turn.rate))),
        ("p50 µs", middle),
        ("p99 µs", median(ordered.iter().map(|turn| turn.quantile(0.99)))),
        ("bare commit p50 µs", bare),
    ];
    report.line("orders, one at a time", &figures);
    // The work on the order before goes on beside it: on a fast disk that is what counts, and not the commits.
    report.goal("an order over one bare commit, times", middle / bare, Bar::AtMost(30.0), Bar::AtMost(120.0));
}

/// Makes many deployments of one, in the file.
async fn multiply(data: &Path) {
    let options = SqliteConnectOptions::new().filename(data.join("ostler.db"));
    let mut database = options.connect().await.expect("SQLite opens the file");
    let columns = "user_id, issuer, subject, organisation, user_group, status, status_reason, task, callback, max_attempts, timeout, \
                   attempt_timeout, keep_last_attempt, cloud, physical_id, NULL, created_at + n, updated_at + n, endpoint, outputs, attempts";
    let sql = format!(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {MANY}) INSERT INTO deployments (id, \
         user_id, issuer, subject, organisation, user_group, status, status_reason, task, callback, max_attempts, timeout, attempt_timeout, \
         keep_last_attempt, cloud, physical_id, operation, created_at, updated_at, endpoint, outputs, attempts) SELECT printf('bench-%06d', \
         n), {columns} FROM numbers, (SELECT * FROM deployments LIMIT 1)"
    );
    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut database).await.expect("rows can be made");
    let sql = "INSERT INTO deployment_texts (deployment, template, parameters, log) SELECT d.id, t.template, t.parameters, t.log FROM \
               deployments d, (SELECT * FROM deployment_texts LIMIT 1) t WHERE d.id LIKE 'bench-%'";
    sqlx::query(sql).execute(&mut database).await.expect("texts can be made");
    database.close().await.expect("SQLite closes the file");
}

/// The first page, and one far away.
fn pages(report: &mut Report, address: SocketAddr) {
    let mut times: [Vec<crate::client::Measured>; 2] = [Vec::new(), Vec::new()];
    block_on(async {
        let mut connection = Connection::open(address).await;
        for _ in 0..ROUNDS {
            for (page, times) in [0, FAR].into_iter().zip(&mut times) {
                let request = get(&format!("/deployments?page={page}&size=10"));
                let (began, mut latencies) = (Instant::now(), Vec::with_capacity(PAGES));
                for _ in 0..PAGES {
                    let sent = Instant::now();
                    let answer = connection.exchange(&request).await;
                    latencies.push(sent.elapsed());
                    assert_eq!(answer.status, 200, "a page is answered");
                }
                times.push(crate::client::Measured::new(latencies, 0, began.elapsed()));
            }
        }
    });
    let at = |index: usize, share| median(times[index].iter().map(|turn| turn.quantile(share)));
    for (name, index) in [("page 0 of 10,000 deployments", 0), ("page 900", 1)] {
        report.line(name, &[("p50 µs", at(index, 0.5)), ("p99 µs", at(index, 0.99))]);
    }
    let ratios = times[1].iter().zip(&times[0]).map(|(far, near)| far.quantile(0.99) / near.quantile(0.99));
    report.goal("p99 of page 900 against page 0", median(ratios), Bar::AtMost(2.0), Bar::AtMost(4.0));
}

/// Many at once, to their completion.
fn at_once(report: &mut Report, server: &Server) {
    let address = server.address;
    let (_, before) = server.memory();
    let began = Instant::now();
    let mut most = before;
    let (alone, taken, complete) = block_on(async {
        let mut connection = Connection::open(address).await;
        let began_alone = Instant::now();
        assert_eq!(connection.exchange(&order()).await.status, 201, "an order is taken");
        let alone = until(&mut connection, 1, began_alone, &mut || {}).await;
        let began = Instant::now();
        let senders = (0..SENDERS).map(|sender| async move {
            let mut connection = Connection::open(address).await;
            for _ in (sender..AT_ONCE).step_by(SENDERS) {
                assert_eq!(connection.exchange(&order()).await.status, 201, "an order is taken");
            }
        });
        futures::future::join_all(senders).await;
        let taken = began.elapsed();
        // The first one has been idle for too long.
        let mut connection = Connection::open(address).await;
        let complete = until(&mut connection, AT_ONCE + 1, began, &mut || most = most.max(server.memory().1)).await;
        (alone, taken, complete)
    });
    let megabytes = |bytes: u64| count(usize::try_from(bytes >> 20).unwrap_or(usize::MAX));
    let figures = [
        ("ms alone", alone.as_secs_f64() * 1e3),
        ("s to be taken", taken.as_secs_f64()),
        ("s to be complete", complete.as_secs_f64()),
        ("a second", count(AT_ONCE) / complete.as_secs_f64()),
        ("MB more at most", megabytes(most - before)),
    ];
    report.line("1000 of two machines at once", &figures);
    report.bar("memory of a thousand deployments at once, MB", megabytes(most - before), Bar::AtMost(256.0));
    assert!(began.elapsed() < PATIENCE * 2, "it takes too long");
}

/// Waits until so many are complete.
async fn until(connection: &mut Connection, number: usize, began: Instant, look: &mut dyn FnMut()) -> Duration {
    loop {
        let answer = connection.exchange(&get("/deployments?size=1&sort=status,desc")).await;
        let page: Value = serde_json::from_slice(answer.body).expect("the server answers JSON");
        // By the names of their statuses: CREATE_IN_PROGRESS comes before CREATE_COMPLETE.
        let total = page["page"]["totalElements"].as_u64().unwrap_or_default();
        let first = page["content"][0]["status"].as_str().unwrap_or_default();
        if usize::try_from(total) == Ok(number) && first == "CREATE_COMPLETE" {
            return began.elapsed();
        }
        assert!(first != "CREATE_FAILED", "a deployment failed");
        assert!(began.elapsed() < PATIENCE, "not complete in time: {page}");
        look();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// From the moment in which the provider shows that a machine is up, to that in which its deployment is complete.
fn visible(report: &mut Report, address: SocketAddr) {
    let template = TEMPLATE.replace("    db: { type: tosca.nodes.indigo.Compute }\n", "");
    let mut delays: Vec<f64> = Vec::new();
    block_on(async {
        let mut connection = Connection::open(address).await;
        for _ in 0..WATCHED {
            let ordered = with_body("POST", "/deployments", &json!({ "template": template }).to_string());
            let answer = connection.exchange(&ordered).await;
            let made: Value = serde_json::from_slice(answer.body).expect("the server answers JSON");
            let path = format!("/deployments/{}", made["uuid"].as_str().expect("a deployment has a uuid"));
            wait_for(&mut connection, "/api/v1/nodes/default", "\"state\": 0").await;
            let up = Instant::now();
            wait_for(&mut connection, &path, "CREATE_COMPLETE").await;
            delays.push(up.elapsed().as_secs_f64() * 1e3);
            let remove = with_body("DELETE", &path, "");
            assert_eq!(connection.exchange(&remove).await.status, 204, "a deployment can be removed");
            while connection.exchange(&get(&path)).await.status != 404 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    delays.sort_by(f64::total_cmp);
    let (middle, last) = (delays[delays.len() / 2], delays[delays.len() - 1]);
    report.line("a machine is up, until it is seen", &[("p50 ms", middle), ("max ms", last)]);
    // Machines are looked at twice a second.
    report.goal("from up to complete, p50 in ms", middle, Bar::AtMost(500.0), Bar::AtMost(2_000.0));
}

/// Asks until the answer contains this text.
async fn wait_for(connection: &mut Connection, path: &str, text: &str) {
    let began = Instant::now();
    loop {
        let answer = connection.exchange(&get(path)).await;
        if String::from_utf8_lossy(answer.body).contains(text) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{path} does not come to `{text}`");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
