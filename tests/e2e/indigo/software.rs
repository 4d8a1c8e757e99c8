//! Software of deployments: what machines are told, and what they report.

use super::life::{By, customer, machines};
use super::{configured, failure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ostler_tests::{PATIENCE, Reply, Server, eventually};
use serde_json::{Value, json};
use std::io::Read;

const TEMPLATE: &str = "
tosca_definitions_version: tosca_simple_yaml_1_0
topology_template:
  node_templates:
    db:
      type: tosca.nodes.indigo.Compute
    web:
      type: tosca.nodes.indigo.Compute
    store:
      type: tosca.nodes.SoftwareComponent
      requirements: [ { host: db } ]
      interfaces:
        Standard:
          create: { implementation: \"#!/bin/sh\\necho made\" }
          start: { implementation: 'https://scripts.example/start.sh', inputs: { PASSWORD: canary-of-an-input } }
    app:
      type: tosca.nodes.SoftwareComponent
      requirements: [ { host: web } ]
      interfaces:
        Standard:
          configure:
            implementation: 'https://scripts.example/app.yml'
            inputs: { database: { get_attribute: [ db, private_address, 0 ] }, port: { get_attribute: [ store, port ] } }
  outputs:
    port: { value: { get_attribute: [ store, port ] } }
";

/// Machines that do not run, and do not say so; what they are told can be read.
const SILENT: &str =
    "[clouds.default]\ndriver = \"dummy\"\nconfig = { form = \"plain\", report = \"none\", keep_user_data = true }\n";

/// The files that cloud-init would write on a machine, by the ends of their names.
fn file(user_data: &str, end: &str) -> Option<String> {
    let entries = user_data.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("- ")?).ok());
    let entry = entries.into_iter().find(|entry| entry["path"].as_str().is_some_and(|path| path.ends_with(end)))?;
    let content = STANDARD.decode(entry["content"].as_str()?).ok()?;
    if entry["encoding"] == "b64" {
        return String::from_utf8(content).ok();
    }
    let mut text = String::new();
    flate2::read::GzDecoder::new(content.as_slice()).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Waits for so many machines. What the one of this node was told.
async fn told(server: &Server, count: usize, node: &str) -> String {
    eventually("the machine is ordered", PATIENCE, async || {
        let there = machines(server, "default").await;
        let found =
            there.iter().find(|machine| machine["name"].as_str().is_some_and(|name| name.contains(&format!("-{node}-"))))?;
        (there.len() == count).then(|| found["extra"]["user_data"].as_str().unwrap().to_owned())
    })
    .await
}

async fn report(server: &Server, token: &str, body: &Value) -> Reply {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    server.call("POST", "/ostler/v1/reports", &headers, body.to_string()).await
}

fn operation(component: &str, operation: &str, status: u8, output: &str, outputs: &str) -> Value {
    json!({ "operation": {
        "component": component, "operation": operation, "outcome": "exit", "status": status,
        "output": STANDARD.encode(output), "outputs": STANDARD.encode(outputs),
    }})
}

#[tokio::test]
async fn machines_are_told_in_their_order_and_what_they_report_is_shown() {
    let server = configured(SILENT).start().await;
    let ann = By { server: &server, token: customer(&server, "ann").await };
    let made = ann.call("POST", "/deployments", &json!({ "template": TEMPLATE })).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let id = made.json()["uuid"].as_str().unwrap().to_owned();
    let state = async |node: &str| {
        let all = ann.get(&format!("/deployments/{id}/resources")).await.json();
        let found = all["content"].as_array().unwrap().iter().find(|resource| resource["toscaNodeName"] == node).unwrap().clone();
        found["state"].as_str().unwrap().to_owned()
    };

    // The other machine waits for this one's software.
    let user_data = told(&server, 1, "db").await;
    let token = file(&user_data, "/token").unwrap().trim().to_owned();
    assert!(file(&user_data, "/plan").unwrap().contains("report http"), "{user_data}");
    assert!(file(&user_data, "ops/001.script").unwrap().contains("echo made"));
    assert_eq!(file(&user_data, "ops/002.url").unwrap().trim(), "https://scripts.example/start.sh");
    let done = json!({ "done": {} });
    for wrong in ["", "x", "canary.of.a.token"] {
        assert_eq!(report(&server, wrong, &done).await.status, 401);
    }
    for (wrong, status) in [
        (json!({ "what": 1 }), 422),
        (operation("nobody", "create", 0, "", ""), 422),
        (operation("store", "create", 0, &"x".repeat(200 << 10), ""), 413),
    ] {
        assert_eq!(report(&server, &token, &wrong).await.status, status);
    }
    assert_eq!(report(&server, &token, &operation("store", "create", 0, "made it\u{1b}[0m\n", "")).await.status, 204);
    assert_eq!(state("store").await, "CREATED");
    assert_eq!(report(&server, &token, &operation("store", "start", 0, "", "port=5432\n")).await.status, 204);
    assert_eq!(report(&server, &token, &done).await.status, 204);
    assert_eq!(report(&server, &token, &done).await.status, 204, "an answer may be lost");

    // What it reported is what the other one is told.
    let user_data = told(&server, 2, "web").await;
    let vars = file(&user_data, "ops/001.vars").unwrap();
    assert!(vars.contains("5432") && vars.contains("10."), "{vars}");
    let token = file(&user_data, "/token").unwrap().trim().to_owned();
    assert_eq!(report(&server, &token, &operation("app", "configure", 0, "ok", "")).await.status, 204);
    assert_eq!(report(&server, &token, &done).await.status, 204);
    let complete = ann.settled(&id).await;
    assert_eq!((&complete["status"], &complete["outputs"]["port"]), (&json!("CREATE_COMPLETE"), &json!("5432")), "{complete}");
    assert_eq!(state("app").await, "STARTED");
    let log = ann.get(&format!("/deployments/{id}/log")).await;
    for line in ["store: create succeeded\nmade it", "app: configure succeeded\nok", "all operations have succeeded"] {
        assert!(log.text().contains(line), "{line:?} is not in {}", log.text());
    }
    assert_eq!(ann.call("DELETE", &format!("/deployments/{id}"), &Value::Null).await.status, 204);
    ann.gone(&id).await;
    assert_eq!(report(&server, &token, &done).await.status, 401);
    assert!(!server.log().contains("canary") && !server.log().contains(&token));
}

#[tokio::test]
async fn software_that_fails_fails_the_deployment_and_leaves_nothing() {
    let server = configured(SILENT).start().await;
    let ann = By { server: &server, token: customer(&server, "ann").await };
    let id = ann.call("POST", "/deployments", &json!({ "template": TEMPLATE })).await.json()["uuid"].as_str().unwrap().to_owned();
    let token = file(&told(&server, 1, "db").await, "/token").unwrap().trim().to_owned();
    assert_eq!(report(&server, &token, &operation("store", "create", 3, "no space left", "")).await.status, 204);
    assert_eq!(report(&server, &token, &json!({ "failed": { "reason": "operation" } })).await.status, 204);
    let failed = ann.settled(&id).await;
    let reason = failed["statusReason"].as_str().unwrap();
    assert!(failed["status"] == "CREATE_FAILED" && reason.contains("store: create failed with exit status 3"), "{failed}");
    assert!(ann.get(&format!("/deployments/{id}/log")).await.text().contains("no space left"));
    assert_eq!(machines(&server, "default").await, Vec::<Value>::new());
}

#[tokio::test]
async fn what_a_machine_could_never_do_is_refused() {
    let server = configured(SILENT).start().await;
    let ann = By { server: &server, token: customer(&server, "ann").await };
    for (from, to, expected) in [
        ("https://scripts.example/app.yml", "playbooks/app.yml", "a machine can fetch an address"),
        ("get_attribute: [ db, private_address, 0 ]", "get_attribute: [ web, private_address, 0 ]", "its own machine"),
    ] {
        let refused = ann.call("POST", "/deployments", &json!({ "template": TEMPLATE.replace(from, to) })).await;
        let message = failure(&refused, 400, "Bad Request");
        assert!(message.contains(expected), "{message}");
    }
    assert_eq!(ann.get("/deployments").await.json()["page"]["totalElements"], 0);
}
