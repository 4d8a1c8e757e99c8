//! A real OpenStack through the server, against its own SDK asked for the same, in turns. Only by name, and only where
//! `OSTLER_TEST_OPENSTACK` says how to reach one (`tests/setup/openstack.sh`): it makes a hundred servers.

use crate::client::block_on;
use crate::report::{Bar, Report, count, median};
use ostler_tests::stack::{Sdk, Stack};
use ostler_tests::{Server, Setup, components, eventually};
use serde_json::json;
use std::time::{Duration, Instant};

const SERVERS: usize = 100;
const ROUNDS: usize = 7;
const CREATIONS: usize = 3;
const READS: usize = 1000;
const AT_ONCE: usize = 16;
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs the section.
pub(crate) fn run(report: &mut Report) {
    report.section("OpenStack, through the server and by openstacksdk");
    let stack = Stack::open();
    let mut sdk = Sdk::new(&stack);
    sdk.ask(&format!("fill {SERVERS}"));
    block_on(async {
        let fresh = stack.cloud("fresh").await;
        let kept = stack.cloud("kept").await.replace("call_seconds = 60", "call_seconds = 60, list_ttl_ms = 1000");
        let config = format!("{fresh}{kept}[api.crs4]\nopen = true\n");
        let setup = Setup::configured(config).env("STACK_PASSWORD", stack.of("OS_PASSWORD"));
        let server = setup.driver("openstack", components::openstack()).start().await;
        for cloud in ["fresh", "kept"] {
            server.serving(cloud).await;
        }
        lists(report, &server, &mut sdk).await;
        reads(report, &server).await;
        sdk.ask("empty");
        creations(report, &server, &mut sdk, &stack.image()).await;
    });
}

/// Lists of a hundred servers.
async fn lists(report: &mut Report, server: &Server, sdk: &mut Sdk) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        theirs.push(sdk.ask("list"));
        let began = Instant::now();
        let listed = server.get("/api/v1/nodes/fresh").await.json();
        ours.push(began.elapsed().as_secs_f64() * 1e3);
        assert_eq!(listed["nodes"].as_array().map(Vec::len), Some(SERVERS), "{listed}");
    }
    let (ours, theirs) = (median(ours), median(theirs));
    report.line("openstack: list 100, openstacksdk", &[("ms", theirs)]);
    report.line("openstack: list 100, server", &[("ms", ours)]);
    report.bar("openstack: a list through the server over openstacksdk's, times", ours / theirs, Bar::AtMost(1.5));
}

/// What a thousand reads cost Nova, with lists that are kept for a second and with lists that are not.
async fn reads(report: &mut Report, server: &Server) {
    for cloud in ["fresh", "kept"] {
        let before = server.metric(&["ostler_egress_requests_total", cloud]).await;
        let began = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..AT_ONCE {
            let (mut client, path) = (server.client(), format!("/api/v1/nodes/{cloud}"));
            tasks.spawn(async move {
                for _ in 0..READS / AT_ONCE {
                    assert_eq!(client.get(&path).await.status, 200);
                }
            });
        }
        tasks.join_all().await;
        let requests = server.metric(&["ostler_egress_requests_total", cloud]).await - before;
        let reads = count(READS / AT_ONCE * AT_ONCE);
        let figures = [("requests per 1,000 reads", requests / reads * 1e3), ("reads/s", reads / began.elapsed().as_secs_f64())];
        report.line(&format!("openstack: reads, lists {cloud}"), &figures);
        if cloud == "kept" {
            report.bar("openstack: requests per 1,000 reads of kept lists", requests / reads * 1e3, Bar::AtMost(50.0));
        }
    }
}

/// From the order for a server until it is active.
async fn creations(report: &mut Report, server: &Server, sdk: &mut Sdk, image: &str) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for number in 0..CREATIONS {
        theirs.push(sdk.ask(&format!("create sdk-{number}")));
        let began = Instant::now();
        let order = json!({ "name": format!("ours-{number}"), "image": image, "size": "42" });
        let made = server.json("POST", "/api/v1/vm/start/fresh", &order.to_string()).await;
        assert_eq!(made.status, 200, "{}", made.text());
        let id = made.json()["nodes"]["id"].as_str().expect("it has an identifier").to_owned();
        let path = format!("/api/v2/nodes/fresh/{id}");
        eventually("the server is active", PATIENCE, async || {
            tokio::time::sleep(Duration::from_millis(100)).await;
            (server.get(&path).await.json()["nodes"]["state"] == 0).then_some(())
        })
        .await;
        ours.push(began.elapsed().as_secs_f64() * 1e3);
        let gone = server.json("PUT", "/api/v1/vm/stop/fresh", &json!({ "node": id }).to_string()).await;
        assert_eq!(gone.status, 200, "{}", gone.text());
        eventually("it is gone", PATIENCE, async || (server.get(&path).await.status == 404).then_some(())).await;
    }
    let (ours, theirs) = (median(ours), median(theirs));
    report.line("openstack: create to active, openstacksdk", &[("ms", theirs)]);
    report.line("openstack: create to active, server", &[("ms", ours), ("ms more", ours - theirs)]);
    report.goal("openstack: create to active over openstacksdk's, times", ours / theirs, Bar::AtMost(1.2), Bar::AtMost(3.0));
}
