//! `kill -9` before and after each step of each operation: no node without a service, no service without a node, and the credit is
//! right.

use super::{config, manager, start};
use ostler_tests::database::Database;
use ostler_tests::director::{Director, Identity, form};
use ostler_tests::{PATIENCE, Server, Setup, eventually, kill};
use serde_json::Value;
use std::collections::BTreeSet;

const CREDIT: i64 = 50;
/// How a process dies at a step.
const DEATHS: [&str; 2] = ["crash-before", "crash-after"];

/// Places at which it dies.
fn places(workflow: &str, steps: &[&str], direction: &str) -> Vec<String> {
    let each = |step: &&str| DEATHS.map(|death| format!("{workflow}.{step}.{direction}:{death}"));
    steps.iter().flat_map(each).collect()
}

async fn server() -> Server {
    Setup::configured(config()).arg("--listen-tls").arg("127.0.0.1:0").start().await
}

/// All nodes at the providers.
async fn provided(server: &Server) -> BTreeSet<(String, String)> {
    let mut all = BTreeSet::new();
    for cloud in ["default", "slow", "full", "dead"] {
        for node in server.get(&format!("/api/v1/nodes/{cloud}")).await.json()["nodes"].as_array().unwrap() {
            assert!(all.insert((cloud.to_owned(), node["id"].as_str().unwrap().to_owned())));
        }
    }
    all
}

/// Waits until all is quiet, and checks that nodes, services and credit go together. How many nodes there are.
async fn consistent(server: &Server, user: &Identity, spent: i64, what: &str) -> usize {
    let loose = async || Database::Sqlite.loose_ends(&server.data()).await;
    let quiet = eventually("all is quiet", PATIENCE, async || loose().await.is_empty().then_some(()));
    quiet.await;
    let director = Director::of(server);
    let known: Vec<Value> = director.get(Some(user), "/list_resources").await.json().as_array().unwrap().clone();
    let known: BTreeSet<_> = known
        .iter()
        .map(|node| (node["cloud"].as_str().unwrap().to_owned(), node["vmid"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(provided(server).await, known, "{what}");
    assert_eq!(super::credit(&director, user).await, CREDIT - spent, "{what}");
    known.len()
}

async fn try_start(director: &Director, user: &Identity, path: &str, key: Option<&str>) -> Option<Value> {
    let mut client = director.client(Some(user));
    let headers: Vec<_> = key.map(|key| ("idempotency-key", key)).into_iter().collect();
    let request = client.request("POST", path, &headers, "");
    client.send(request).await.ok().map(|reply| reply.json())
}

#[tokio::test]
async fn in_a_start() {
    let mut server = server().await;
    let ann = Director::of(&server).user("ann", "50").await;
    let starts = places("start-service", &["make-node", "address"], "act");
    // Without a key, what was not answered is undone.
    for point in &starts {
        kill_start(&mut server, &ann, point, None, "/start/php", None).await;
        assert_eq!(consistent(&server, &ann, 0, point).await, 0, "{point}");
    }
    for then in places("start-service", &["make-node"], "undo") {
        kill_start(&mut server, &ann, "start-service.make-node.act:crash-after", Some(&then), "/start/php", None).await;
        assert_eq!(consistent(&server, &ann, 0, &then).await, 0, "{then}");
    }
    // With a key, it is finished, and the same key finds it.
    let mut spent = 0;
    for point in &starts {
        kill_start(&mut server, &ann, point, None, "/start/php/slow", Some(point)).await;
        let again = eventually("the key is answered", PATIENCE, async || {
            let answer = try_start(&Director::of(&server), &ann, "/start/php/slow", Some(point)).await.unwrap();
            answer["sid"].is_i64().then_some(answer)
        })
        .await;
        spent += 1;
        assert_eq!(consistent(&server, &ann, spent, point).await, usize::try_from(spent).unwrap(), "{point}: {again}");
        // The manager's certificate is good: it is the one that its node got.
        let manager = manager(&server, "slow", &again).await;
        assert_eq!(Director::of(&server).post(Some(&manager), "/credit", &[]).await.status, 200, "{point}");
    }
    for point in places("start-service", &["make-node"], "undo") {
        for path in ["/start/php/full", "/start/php/dead"] {
            kill_start(&mut server, &ann, &point, None, path, None).await;
            assert_eq!(consistent(&server, &ann, spent, &point).await, usize::try_from(spent).unwrap(), "{point} {path}");
        }
    }
}

async fn kill_start(server: &mut Server, user: &Identity, point: &str, then: Option<&str>, path: &str, key: Option<&str>) {
    // The address is another one after each start.
    kill::at_fault(server, point, then, async |director: Director| try_start(&director, user, path, key).await).await;
}

/// Who starts an application is told at once that it starts: it does, whatever happens to the server, and without a key, too.
#[tokio::test]
async fn in_the_start_of_an_application() {
    let mut server = server().await;
    let ann = Director::of(&server).user("ann", "50").await;
    let aid = Director::of(&server).get(Some(&ann), "/listapp").await.json()[0]["aid"].to_string();
    for (spent, point) in (1..).zip(places("start-service", &["make-node", "address"], "act")) {
        let path = format!("/startapp/{aid}/slow");
        kill::at_fault(&mut server, &point, None, async |director: Director| try_start(&director, &ann, &path, None).await).await;
        let app = eventually("the application runs", PATIENCE, async || {
            let app = Director::of(&server).get(Some(&ann), "/listapp").await.json()[0].clone();
            assert_ne!(app["status"], "INIT", "{point}: it was undone");
            (app["status"] == "RUNNING").then_some(app)
        })
        .await;
        assert_eq!(consistent(&server, &ann, spent, &point).await, 1, "{point}: {app}");
        // The manager's certificate is good: it is the one that its node got.
        let manager = manager(&server, "slow", &app).await;
        assert_eq!(Director::of(&server).post(Some(&manager), "/credit", &[]).await.status, 200, "{point}");
        assert_eq!(Director::of(&server).post(Some(&ann), &format!("/stopapp/{aid}"), &[]).await.text(), "{}", "{point}");
        assert_eq!(consistent(&server, &ann, spent, &point).await, 0, "{point}");
    }
}

/// With a key, a manifest goes on where it was interrupted: each service is made once.
#[tokio::test]
async fn in_a_manifest() {
    const MANIFEST: &str = r#"{"Application": "Shop", "Services": [
        {"Type": "php", "ServiceName": "front", "Cloud": "slow"}, {"Type": "java", "Cloud": "slow"}]}"#;
    async fn upload(director: &Director, user: &Identity, key: &str) -> Option<String> {
        let mut client = director.client(Some(user));
        let headers = [("content-type", "application/x-www-form-urlencoded"), ("idempotency-key", key)];
        let request = client.request("POST", "/upload_manifest", &headers, form(&[("manifest", MANIFEST)]));
        client.send(request).await.ok().map(|reply| reply.text().to_owned())
    }
    let mut server = server().await;
    let ann = Director::of(&server).user("ann", "50").await;
    let mut spent = 0;
    for point in places("start-service", &["make-node", "address"], "act") {
        kill::at_fault(&mut server, &point, None, async |director: Director| upload(&director, &ann, &point).await).await;
        eventually("the manifest is carried out", PATIENCE, async || {
            let answer = upload(&Director::of(&server), &ann, &point).await.unwrap();
            assert!(answer == "true" || answer.contains("still under way"), "{point}: {answer}");
            (answer == "true").then_some(())
        })
        .await;
        spent += 2;
        assert_eq!(consistent(&server, &ann, spent, &point).await, 2, "{point}");
        let list = Director::of(&server).get(Some(&ann), "/list").await.json();
        assert_eq!((list[0]["name"].as_str(), list[1]["type"].as_str()), (Some("front"), Some("java")), "{point}: {list}");
        let path = format!("/delete/{}", list[0]["application_id"]);
        assert_eq!(Director::of(&server).post(Some(&ann), &path, &[]).await.text(), "true", "{point}");
    }
}

#[tokio::test]
async fn in_a_stop() {
    let mut server = server().await;
    let ann = Director::of(&server).user("ann", "50").await;
    for (spent, point) in (1..).zip(places("stop-service", &["clear"], "act")) {
        let service = start(&Director::of(&server), &ann, "/start/php").await;
        let (user, path) = (ann.clone(), format!("/stop/{}", service["sid"]));
        kill::at_fault(&mut server, &point, None, async move |director: Director| {
            let mut client = director.client(Some(&user));
            let request = client.request("POST", &path, &[], "");
            let _ = client.send(request).await;
        })
        .await;
        assert_eq!(consistent(&server, &ann, spent, &point).await, 0, "{point}");
        assert_eq!(Director::of(&server).get(Some(&ann), "/list").await.text(), "[]", "{point}");
    }
}

#[tokio::test]
async fn in_an_order_of_nodes_and_in_their_removal() {
    let mut server = server().await;
    let ann = Director::of(&server).user("ann", "50").await;
    let service = start(&Director::of(&server), &ann, "/start/php").await;
    let manager = manager(&server, "default", &service).await;
    let mut spent = 1;
    let post = |path: &'static str, body: String| {
        let manager = manager.clone();
        async move |director: Director| {
            let mut client = director.client(Some(&manager));
            let headers = [("content-type", "application/x-www-form-urlencoded")];
            let request = client.request("POST", path, &headers, body);
            client.send(request).await.ok().map(|reply| reply.json())
        }
    };
    let order = |cloud: &str| form(&[("nodes_info", &format!("[{{u'cloud': u'default'}}, {{'cloud': '{cloud}'}}]"))]);
    for point in places("add-nodes", &["make-node", "address"], "act") {
        kill::at_fault(&mut server, &point, None, post("/create_nodes", order("slow"))).await;
        // Of an order that was not answered nothing is left.
        assert_eq!(consistent(&server, &ann, spent, &point).await, usize::try_from(spent).unwrap(), "{point}");
    }
    for point in places("add-nodes", &["make-node"], "undo") {
        kill::at_fault(&mut server, &point, None, post("/create_nodes", order("full"))).await;
        assert_eq!(consistent(&server, &ann, spent, &point).await, usize::try_from(spent).unwrap(), "{point}");
    }
    for point in places("remove-nodes", &["clear"], "act") {
        let made = post("/create_nodes", order("slow"))(Director::of(&server)).await.unwrap();
        spent += 2;
        assert_eq!(consistent(&server, &ann, spent, &point).await, 3, "{point}: {made}");
        kill::at_fault(&mut server, &point, None, post("/remove_nodes", form(&[("nodes", &made.to_string())]))).await;
        assert_eq!(consistent(&server, &ann, spent, &point).await, 1, "{point}");
    }
}
