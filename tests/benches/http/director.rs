//! The Director API: what TLS, client certificates and the look into the record cost, and how many log-ins a second there are.

use crate::report::{Bar, Report, count, median};
use ostler_tests::director::{Director, Identity, form};
use ostler_tests::{Client, Server, Setup};
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 16;
const TURN: Duration = Duration::from_millis(700);
const TURNS: usize = 5;
/// Users whose first log-in is measured: a second one would be answered from memory.
const USERS: usize = 48;
const CONFIGURATION: &str = "
[clouds.default]
driver = \"dummy\"
[api.conpaas]
registration = \"open\"
[services.types.php]
image = \"1\"
size = \"1\"
";

pub(crate) fn run(report: &mut Report) {
    report.section("Director API: TLS, certificates, log-ins");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime can be made").block_on(async {
        let server = Setup::configured(CONFIGURATION).arg("--listen-tls").arg("127.0.0.1:0").start().await;
        let director = Director::of(&server);
        let ann = director.user("ann", "5").await;
        requests(report, &server, &director, &ann).await;
        logins(report, &server, &director).await;
    });
}

async fn requests(report: &mut Report, server: &Server, director: &Director, ann: &Identity) {
    // `/list` asks for a client certificate, and those are of TLS only: over plain HTTP it has no twin. What TLS costs shows at a
    // route that both listeners have, what the certificate and the record of it cost at that route against `/list`.
    let cases: [(&str, &str, &dyn Fn() -> Client); 4] = [
        ("plain /available_services", "/available_services", &|| server.client()),
        ("TLS /available_services", "/available_services", &|| director.client(None)),
        ("mTLS /available_services", "/available_services", &|| director.client(Some(ann))),
        ("mTLS /list", "/list", &|| director.client(Some(ann))),
    ];
    let mut rates = [const { Vec::new() }; 4];
    for _ in 0..TURNS {
        for ((_, path, client), rates) in cases.iter().zip(&mut rates) {
            rates.push(rate(path, *client).await);
        }
    }
    let [plain, tls, mutual, list] = rates.map(median);
    for ((name, ..), rate) in cases.iter().zip([plain, tls, mutual, list]) {
        report.line(name, &[("requests/s", rate)]);
    }
    // An encrypted kilobyte costs little; what is bought with the rest is a look into the record at each request.
    report.bar("TLS against plain, the same route", tls / plain, Bar::AtLeast(0.3));
    report.bar("mTLS against plain, the same route", mutual / plain, Bar::AtLeast(0.3));
    report.bar("mTLS /list against the plain route without a look into the store", list / plain, Bar::AtLeast(0.05));
}

/// Requests a second over connections that stay open.
async fn rate(path: &str, client: &dyn Fn() -> Client) -> f64 {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (mut client, path) = (client(), path.to_owned());
        tasks.spawn(async move {
            assert_eq!(client.get(&path).await.status, 200);
            let (mut done, began) = (0_usize, Instant::now());
            while began.elapsed() < TURN {
                assert_eq!(client.get(&path).await.status, 200);
                done += 1;
            }
            count(done) / began.elapsed().as_secs_f64()
        });
    }
    tasks.join_all().await.into_iter().sum()
}

async fn logins(report: &mut Report, server: &Server, director: &Director) {
    let name = |number: usize| format!("user{number}");
    let began = Instant::now();
    for number in 0..USERS {
        director.new_user(&name(number), "0").await;
    }
    let registrations = count(USERS) / began.elapsed().as_secs_f64();
    let before = server.memory();
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..USERS {
        let mut client = director.client(None);
        let body = form(&[("username", &name(number)), ("password", "right horse")]);
        tasks.spawn(async move {
            let headers = [("content-type", "application/x-www-form-urlencoded")];
            loop {
                let reply = client.call("POST", "/login", &headers, body.clone()).await;
                if reply.status != 429 {
                    assert!(reply.status == 200 && reply.text() != "false", "{}", reply.text());
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
    // No address has more than 16 of them hashed or waiting at a time: whoever is sent away comes again at once.
    let mut most = before;
    while !tasks.is_empty() {
        while let Some(login) = tasks.try_join_next() {
            login.expect("a log-in is answered");
        }
        most = most.max(server.memory());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let megabytes = |bytes: u64| count(usize::try_from(bytes >> 20).unwrap_or(usize::MAX));
    let rate = count(USERS) / began.elapsed().as_secs_f64();
    report.line(
        "log-ins by Argon2id (19 MiB, 2 passes)",
        &[("a second", rate), ("registrations a second", registrations), ("MB more at most", megabytes(most - before))],
    );
    // A hash takes some 20 ms of a core: fewer than this is no hashing any more, but waiting. Many more would be too cheap a guess.
    report.bar("log-ins a second", rate, Bar::AtLeast(10.0));
    report.bar("log-ins a second, at most", rate, Bar::AtMost(1000.0));
    // Two hashes at a time, whatever the number of those who wait.
    report.bar("memory of all log-ins at once, MB", megabytes(most - before), Bar::AtMost(96.0));
}
