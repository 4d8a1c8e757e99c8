//! Nothing is lost and nothing is made twice, whatever happens to the process, the client or the answer.

use crate::v1::START;
use ostler_tests::database::Database;
use ostler_tests::{Client, PATIENCE, Reply, Server, Setup, components, eventually};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Clouds in the form `plain`, whose nodes are called as their orders say.
const CLOUDS: &str = "
[clouds.default]
driver = \"dummy\"
[clouds.fake_driver]
driver = \"dummy\"
[clouds.plain]
driver = \"dummy\"
config = { form = \"plain\" }
[clouds.slow]
driver = \"dummy\"
config = { form = \"plain\", latency_ms = { create-node = 250 } }
limits = { call_seconds = 1 }
[clouds.lossy]
driver = \"dummy\"
config = { form = \"plain\", faults = { create-node = { lost = 1 } } }
[clouds.flaky]
driver = \"dummy\"
config = { form = \"plain\", seed = 2, faults = { create-node = { lost = 0.3, transient = 0.3 } } }
[api.crs4]
open = true
";

/// The longest wait for an operation whose host is gone, where another host might be at work on it: four calls of a second, and
/// what comes on top.
const LEASE: Duration = Duration::from_secs(90);

fn setup(database: &Database) -> Setup {
    Setup::configured(format!("{}{CLOUDS}", database.toml()))
}

fn order(name: &str) -> String {
    json!({ "name": name, "image": "cirros-0.6", "size": "tiny" }).to_string()
}

async fn start(client: &mut Client, cloud: &str, key: Option<&str>, body: &str) -> Result<Reply, String> {
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(key.map(|key| ("idempotency-key", key)));
    let request = client.request("POST", &format!("/api/v2/vm/start/{cloud}"), &headers, body.to_owned());
    client.send(request).await
}

/// How many nodes of each name there are.
async fn census(server: &Server, cloud: &str) -> BTreeMap<String, usize> {
    let reply = server.get(&format!("/api/v1/nodes/{cloud}")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let mut names = BTreeMap::new();
    for node in reply.json()["nodes"].as_array().unwrap() {
        *names.entry(node["name"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    names
}

fn one_each<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeMap<String, usize> {
    names.into_iter().map(|name| (name.to_owned(), 1)).collect()
}

/// Runs a test on both engines, or on SQLite alone where there is no PostgreSQL.
async fn on_both(test: impl AsyncFn(&Database)) {
    test(&Database::Sqlite).await;
    if let Some(database) = Database::postgres().await {
        test(&database).await;
        database.remove().await;
    }
}

#[tokio::test]
async fn nodes_survive_a_swap_and_a_kill() {
    on_both(async |database| {
        let mut server = setup(database).start().await;
        for _ in 0..3 {
            assert_eq!(server.json("POST", "/api/v1/vm/start/fake_driver", START).await.status, 200);
        }
        assert_eq!(server.json("PUT", "/api/v1/vm/stop/fake_driver", r#"{"node": "4"}"#).await.status, 200);
        let before = server.get("/api/v1/nodes/fake_driver").await;
        assert_eq!(before.json()["nodes"].as_array().unwrap().len(), 4);
        assert_eq!(server.install("dummy", components::marked(&components::dummy(), "second")).await.status, 200);
        assert_eq!(server.get("/api/v1/nodes/fake_driver").await.body, before.body, "after the swap");
        let digest = server.active("dummy").await;
        server.kill();
        server.start().await;
        assert_eq!(server.get("/api/v1/nodes/fake_driver").await.body, before.body, "after the kill");
        assert_eq!(server.active("dummy").await, digest);
        drop(server);
    })
    .await;
}

#[tokio::test]
async fn a_key_stands_for_one_node() {
    on_both(async |database| {
        let mut server = setup(database).start().await;
        let mut client = server.client();
        let first = start(&mut client, "plain", Some("k1"), &order("a")).await.unwrap();
        assert_eq!(first.status, 200, "{}", first.text());
        for _ in 0..3 {
            let again = start(&mut client, "plain", Some("k1"), &order("a")).await.unwrap();
            assert_eq!((again.status, &again.body), (200, &first.body));
        }
        // The order of the keys in the body is not another body.
        let shuffled = r#"{"size": "tiny", "image": "cirros-0.6",   "name": "a"}"#;
        assert_eq!(start(&mut client, "plain", Some("k1"), shuffled).await.unwrap().body, first.body);
        // Both versions are one API.
        let headers = [("content-type", "application/json"), ("idempotency-key", "k1")];
        let v1 = client.call("POST", "/api/v1/vm/start/plain", &headers, order("a")).await;
        assert_eq!((v1.status, &v1.body), (200, &first.body));

        let other = start(&mut client, "plain", Some("k1"), &order("b")).await.unwrap();
        assert!(matches!(other.status, 409 | 422), "{}", other.text());
        assert_eq!(other.header("content-type"), "application/problem+json");
        let v1 = client.call("POST", "/api/v1/vm/start/plain", &headers, order("b")).await;
        assert_eq!((v1.status, v1.json()["status_code"].as_u64()), (400, Some(400)), "{}", v1.text());
        assert_eq!(
            start(&mut client, "default", Some("k1"), &order("a")).await.unwrap().status,
            422,
            "another cloud, where there is no such image"
        );

        // A refusal is remembered, too.
        let wrong = r#"{"name": "c", "image": "none", "size": "tiny"}"#;
        for _ in 0..2 {
            assert_eq!(start(&mut client, "plain", Some("k2"), wrong).await.unwrap().status, 422);
        }
        let long = "x".repeat(256);
        for key in ["", long.as_str()] {
            assert_eq!(start(&mut client, "plain", Some(key), &order("c")).await.unwrap().status, 400, "{key}");
        }
        assert_eq!(start(&mut client, "plain", None, &order("d")).await.unwrap().status, 200);
        assert_eq!(start(&mut client, "plain", None, &order("d")).await.unwrap().status, 200);
        server.kill();
        server.start().await;
        let again = start(&mut server.client(), "plain", Some("k1"), &order("a")).await.unwrap();
        assert_eq!((again.status, &again.body), (200, &first.body), "after a kill");
        let expected = BTreeMap::from([("a".to_owned(), 1), ("d".to_owned(), 2)]);
        assert_eq!(census(&server, "plain").await, expected, "without a key, twice is two");
        drop(server);
    })
    .await;
}

#[tokio::test]
async fn sixteen_at_once_with_the_same_key() {
    on_both(async |database| {
        let server = setup(database).start().await;
        for cloud in ["plain", "slow"] {
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..16 {
                let mut client = server.client();
                let cloud = cloud.to_owned();
                tasks.spawn(async move { start(&mut client, &cloud, Some("race"), &order("a")).await.unwrap() });
            }
            let replies = tasks.join_all().await;
            let made: Vec<_> = replies.iter().filter(|reply| reply.status == 200).collect();
            assert!(!made.is_empty() && made.iter().all(|reply| reply.body == made[0].body), "one node for all");
            for reply in replies.iter().filter(|reply| reply.status != 200) {
                assert_eq!(reply.status, 409, "under way: {}", reply.text());
            }
            let after = start(&mut server.client(), cloud, Some("race"), &order("a")).await.unwrap();
            assert_eq!((after.status, &after.body), (200, &made[0].body));
            assert_eq!(census(&server, cloud).await, one_each(["a"]), "{cloud}");
        }
        drop(server);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_hangs_up_changes_nothing() {
    let mut server = setup(&Database::Sqlite).start().await;
    let mut client = server.client();
    let began = Instant::now();
    let given_up = tokio::time::timeout(Duration::from_millis(100), start(&mut client, "slow", None, &order("left"))).await;
    assert!(given_up.is_err(), "slow enough to hang up");
    drop(client);
    eventually("the node is there", PATIENCE, async || (!census(&server, "slow").await.is_empty()).then_some(())).await;
    assert_eq!(census(&server, "slow").await, one_each(["left"]));
    assert!(began.elapsed() >= Duration::from_millis(250), "it was not there before");
    server.terminate();
    assert!(server.ended().await.success());
    let operations = Database::Sqlite.creations(&server.data()).await;
    assert_eq!(operations.len(), 1, "{operations:?}");
    assert_eq!((operations[0].0.as_str(), operations[0].1.as_str()), ("slow", "succeeded"), "{operations:?}");
    assert!(operations[0].2.is_some(), "{operations:?}");
}

/// Kills the server so long after a request was sent, ten times, from before the order reached the driver to after its answer.
async fn kill_in_the_middle(server: &mut Server, cloud: &str, with_key: bool) -> Vec<(String, bool)> {
    let mut orders = Vec::new();
    for round in 0..10_u32 {
        let name = format!("node{round}");
        let key = with_key.then(|| format!("key-{name}"));
        let mut client = server.client();
        let (body, sent) = (order(&name), key.clone());
        let at = cloud.to_owned();
        let request = tokio::spawn(async move { start(&mut client, &at, sent.as_deref(), &body).await });
        tokio::time::sleep(Duration::from_millis(5) + Duration::from_millis(35) * round).await;
        server.kill();
        let answered = request.await.unwrap().is_ok_and(|reply| reply.status == 200);
        server.start().await;
        if let Some(key) = key {
            let reply = start(&mut server.client(), cloud, Some(&key), &order(&name)).await.unwrap();
            assert!(matches!(reply.status, 200 | 409), "round {round}: {}", reply.text());
            assert!(!answered || reply.status == 200, "round {round}: {}", reply.text());
        }
        orders.push((name, answered));
    }
    orders
}

#[tokio::test]
async fn a_kill_in_the_middle_of_a_start_with_a_key() {
    on_both(async |database| {
        let mut server = setup(database).start().await;
        let orders = kill_in_the_middle(&mut server, "slow", true).await;
        assert!(orders.iter().any(|(_, answered)| !answered), "some were killed in the middle");
        for (name, _) in &orders {
            eventually("the key is answered", LEASE, async || {
                let reply = start(&mut server.client(), "slow", Some(&format!("key-{name}")), &order(name)).await.unwrap();
                (reply.status == 200).then_some(())
            })
            .await;
        }
        assert_eq!(census(&server, "slow").await, one_each(orders.iter().map(|(name, _)| name.as_str())), "one node a key");
        server.terminate();
        assert!(server.ended().await.success());
        let operations = database.creations(&server.data()).await;
        assert_eq!(operations.len(), 10, "{operations:?}");
        assert!(operations.iter().all(|(_, state, node)| state == "succeeded" && node.is_some()), "{operations:?}");
        drop(server);
    })
    .await;
}

#[tokio::test]
async fn a_kill_in_the_middle_of_a_start_without_a_key() {
    let mut server = setup(&Database::Sqlite).start().await;
    let orders = kill_in_the_middle(&mut server, "slow", false).await;
    eventually("nothing is pending", PATIENCE, async || {
        let operations = Database::Sqlite.creations(&server.data()).await;
        operations.iter().all(|(_, state, _)| state != "pending").then_some(())
    })
    .await;
    let names = census(&server, "slow").await;
    assert!(names.values().all(|count| *count == 1), "{names:?}");
    for (name, answered) in &orders {
        assert!(!answered || names.contains_key(name), "{name} was promised");
    }
    let nodes = server.get("/api/v1/nodes/slow").await.json();
    let operations = Database::Sqlite.creations(&server.data()).await;
    for node in nodes["nodes"].as_array().unwrap() {
        let records: Vec<_> = operations.iter().filter(|(_, _, id)| id.as_deref() == node["id"].as_str()).collect();
        assert!(matches!(records.as_slice(), [(_, state, _)] if state == "succeeded"), "{node}: {records:?}");
    }
}

#[tokio::test]
async fn a_lost_answer_is_looked_for() {
    let server = setup(&Database::Sqlite).start().await;
    let mut client = server.client();
    for (key, name) in [(None, "one"), (Some("k"), "two")] {
        let reply = start(&mut client, "lossy", key, &order(name)).await.unwrap();
        assert_eq!((reply.status, &reply.json()["nodes"]["name"]), (200, &json!(name)), "{}", reply.text());
    }
    assert_eq!(census(&server, "lossy").await, one_each(["one", "two"]));
    // Whatever comes of an order with a key, it comes once.
    let mut made = Vec::new();
    for number in 0..12 {
        let (key, name) = (format!("k{number}"), format!("n{number}"));
        let first = start(&mut client, "flaky", Some(&key), &order(&name)).await.unwrap();
        let again = start(&mut client, "flaky", Some(&key), &order(&name)).await.unwrap();
        if first.status == 200 {
            assert_eq!((again.status, &again.body), (200, &first.body), "{}", again.text());
        }
        // What failed for a while was tried again.
        if again.status == 200 {
            made.push(name);
        }
    }
    assert!(made.len() >= 6, "most succeed: {made:?}");
    assert_eq!(census(&server, "flaky").await, one_each(made.iter().map(String::as_str)));
}

#[tokio::test]
async fn a_graceful_end_finishes_what_is_under_way() {
    let config = "[clouds.slow]\ndriver = \"dummy\"\nconfig = { form = \"plain\", latency_ms = { create-node = 800, list-images = 800 } }\n[api.crs4]\nopen = true\n";
    let mut server = Setup::configured(config).start().await;
    let (mut first, mut second, mut idle) = (server.client(), server.client(), server.client());
    assert_eq!(idle.get("/healthz").await.status, 200);
    let reading = tokio::spawn(async move { first.get("/api/v1/images/slow").await });
    let writing = tokio::spawn(async move { start(&mut second, "slow", None, &order("last")).await });
    tokio::time::sleep(Duration::from_millis(250)).await;
    server.terminate();
    let (reading, writing) = (reading.await.unwrap(), writing.await.unwrap().unwrap());
    assert_eq!((reading.status, writing.status), (200, 200), "{} {}", reading.text(), writing.text());
    assert!(server.ended().await.success());
    let mut late = server.client();
    let request = late.request("GET", "/healthz", &[], "");
    assert!(late.send(request).await.is_err(), "nothing listens any more");
    assert!(!server.data().join("operator.token").exists(), "the operator's token ends with the process");
    server.start().await;
    assert_eq!(census(&server, "slow").await, one_each(["last"]));
}

#[tokio::test]
async fn a_second_server_on_the_same_data_is_refused() {
    let server = Setup::development().start().await;
    let data = server.data();
    let output = tokio::task::spawn_blocking({
        let mut command = server.command(&data);
        move || command.output().unwrap()
    })
    .await
    .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(complaint.contains(data.to_str().unwrap()), "{complaint}");
    assert!(complaint.contains("in use") || complaint.contains("another"), "{complaint}");
    assert_eq!(server.get("/api/v1/nodes/fake_driver").await.body.len(), 683, "the first goes on");
    assert_eq!(server.as_operator("GET", "/ostler/v1/drivers", "").await.status, 200, "and its token is still good");
}

#[tokio::test]
async fn two_servers_share_a_postgresql() {
    let Some(database) = Database::postgres().await else { return };
    let authority = tempfile::tempdir().unwrap();
    ostler_ca::Authority::open_or_create(authority.path()).unwrap();
    let setup = || setup(&database).authority(authority.path());
    let (one, two) = futures::join!(setup().start(), setup().start());
    let mut replies = Vec::new();
    for (number, server) in [&one, &two, &one, &two].into_iter().enumerate() {
        replies.push(start(&mut server.client(), "plain", Some("shared"), &order("a")).await.unwrap());
        let name = format!("n{number}");
        assert_eq!(start(&mut server.client(), "plain", None, &order(&name)).await.unwrap().status, 200);
    }
    assert!(replies.iter().all(|reply| reply.status == 200 && reply.body == replies[0].body), "one node, whoever is asked");
    let lists = [one.get("/api/v1/nodes/plain").await.json(), two.get("/api/v1/nodes/plain").await.json()];
    assert_eq!(lists[0], lists[1]);
    assert_eq!(lists[0]["nodes"].as_array().map(Vec::len), Some(5), "{}", lists[0]);
    let ids: std::collections::BTreeSet<_> =
        lists[0]["nodes"].as_array().unwrap().iter().map(|node: &Value| node["id"].to_string()).collect();
    assert_eq!(ids.len(), 5, "{ids:?}");
    drop((one, two));
    database.remove().await;
}
