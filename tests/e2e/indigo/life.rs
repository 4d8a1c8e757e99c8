//! Deployments from the order to the end, by HTTP and by orpy.

use super::issuers::Provider;
use super::{CLOUD, JSON, configured, failure};
use ostler_tests::{PATIENCE, Reply, Server, eventually};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Two kinds of machines and software on one of them.
pub(super) const TEMPLATE: &str = "
tosca_definitions_version: tosca_simple_yaml_1_0
imports:
  - indigo_types: https://raw.githubusercontent.com/indigo-dc/tosca-types/master/custom_types.yaml
description: A service of two tiers.
topology_template:
  inputs:
    webs: { type: integer, default: 1, constraints: [ in_range: [ 0, 5 ] ] }
    go: { type: list, entry_schema: { type: string }, default: [] }
  node_templates:
    app:
      type: tosca.nodes.SoftwareComponent
      requirements: [ { host: web } ]
      interfaces: { Standard: { start: { implementation: 'https://scripts.example/app.sh' } } }
    web:
      type: tosca.nodes.indigo.Compute
      capabilities:
        endpoint: { properties: { network_name: PUBLIC } }
        scalable: { properties: { count: { get_input: webs }, removal_list: { get_input: go } } }
        host: { properties: { num_cpus: 1, mem_size: 512 MB } }
    db:
      type: tosca.nodes.indigo.Compute
      capabilities: { host: { properties: { num_cpus: 1 } } }
  outputs:
    addresses: { value: { get_attribute: [ web, public_address ] } }
    database: { value: { get_attribute: [ db, private_address, 0 ] } }
";

/// A cloud whose machines take their time.
pub(super) const SLOW: &str =
    "[clouds.default]\ndriver = \"dummy\"\nconfig = { form = \"plain\", boot_ms = 200, latency_ms = 10 }\n";

/// Somebody with deployments of his own: his token.
pub(super) async fn customer(server: &Server, name: &str) -> String {
    let user = json!({ "username": name, "roles": ["customer"], "password": format!("password-of-{name}") });
    let added = server.as_operator("POST", "/ostler/v1/users", user.to_string()).await;
    assert_eq!(added.status, 201, "{}", added.text());
    let token = server.as_operator("POST", &format!("/ostler/v1/users/{name}/tokens"), json!({ "label": "t" }).to_string()).await;
    token.json()["token"].as_str().unwrap_or_else(|| panic!("{}", token.text())).to_owned()
}

/// Requests in somebody's name.
pub(super) struct By<'s> {
    pub(super) server: &'s Server,
    pub(super) token: String,
}

impl By<'_> {
    pub(super) async fn call(&self, method: &str, path: &str, body: &Value) -> Reply {
        let bearer = format!("Bearer {}", self.token);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.server.call(method, path, &[("authorization", &bearer), ("content-type", "application/json")], body).await
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, &Value::Null).await
    }

    async fn resources(&self, deployment: &str, kind: &str) -> Vec<Value> {
        let listed = self.get(&format!("/deployments/{deployment}/resources?type={kind}")).await;
        assert_eq!(listed.status, 200, "{}", listed.text());
        listed.json()["content"].as_array().unwrap().clone()
    }

    /// Waits for a status that is not under way.
    pub(super) async fn settled(&self, deployment: &str) -> Value {
        eventually("the deployment settles", PATIENCE * 3, async || {
            let shown = self.get(&format!("/deployments/{deployment}")).await;
            assert_eq!(shown.status, 200, "{}", shown.text());
            let shown = shown.json();
            (!shown["status"].as_str().unwrap().ends_with("_IN_PROGRESS")).then_some(shown)
        })
        .await
    }

    pub(super) async fn gone(&self, deployment: &str) {
        let path = format!("/deployments/{deployment}");
        eventually("the deployment is gone", PATIENCE * 3, async || (self.get(&path).await.status == 404).then_some(())).await;
    }
}

/// What the cloud has.
pub(super) async fn machines(server: &Server, cloud: &str) -> Vec<Value> {
    let listed = server.as_operator("GET", &format!("/api/v2/nodes/{cloud}"), "").await;
    assert_eq!(listed.status, 200, "{}", listed.text());
    listed.json()["nodes"].as_array().unwrap_or_else(|| panic!("{}", listed.text())).clone()
}

#[tokio::test]
async fn a_deployment_lives() {
    let server = configured(SLOW).start().await;
    let ann = By { server: &server, token: customer(&server, "ann").await };
    let bob = By { server: &server, token: customer(&server, "bob").await };
    let order = json!({ "template": TEMPLATE, "parameters": { "webs": 2 }, "userGroup": "tests", "unknown": 1 });

    let made = ann.call("POST", "/deployments", &order).await;
    assert_eq!((made.status, made.header("content-type")), (201, JSON), "{}", made.text());
    let made = made.json();
    let id = made["uuid"].as_str().unwrap();
    assert_eq!(
        (&made["status"], &made["userGroup"], &made["outputs"]),
        (&json!("CREATE_IN_PROGRESS"), &json!("tests"), &json!({}))
    );
    assert_eq!(made["createdBy"]["subject"], "ann");
    let done = ann.settled(id).await;
    assert_eq!(
        (&done["status"], &done["task"], &done["cloudProviderName"]),
        (&json!("CREATE_COMPLETE"), &json!("NONE"), &json!("default"))
    );
    assert_eq!(done["outputs"]["addresses"].as_array().map(Vec::len), Some(2), "{}", done["outputs"]);
    assert!(done["outputs"]["database"].is_string(), "{}", done["outputs"]);
    let names = |resources: &[Value]| -> Vec<String> {
        resources.iter().map(|r| format!("{} {}", r["toscaNodeName"].as_str().unwrap(), r["state"].as_str().unwrap())).collect()
    };
    let all = ann.get(&format!("/deployments/{id}/resources?sort=toscaNodeName,asc")).await.json();
    assert_eq!(names(all["content"].as_array().unwrap()), ["app STARTED", "db STARTED", "web STARTED", "web STARTED"]);
    assert_eq!(machines(&server, "default").await.len(), 3);
    assert_eq!(ann.get(&format!("/deployments/{id}/template")).await.text(), TEMPLATE);
    let log = ann.get(&format!("/deployments/{id}/log")).await;
    assert!(log.text().contains("default is chosen") && log.text().contains("complete"), "{}", log.text());
    assert_eq!(ann.get(&format!("/deployments/{id}/extrainfo")).await.json().as_array().map(Vec::len), Some(3));

    // It is hers.
    let refused = bob.get(&format!("/deployments/{id}")).await;
    assert_eq!(failure(&refused, 404, "Not Found"), format!("The deployment {id} doesn't exist"));
    assert_eq!(bob.get("/deployments").await.json()["page"]["totalElements"], 0);
    assert_eq!(ann.get("/deployments?createdBy=me&userGroup=tests").await.json()["page"]["totalElements"], 1);

    // Up, and down by name.
    let more =
        ann.call("PUT", &format!("/deployments/{id}"), &json!({ "template": TEMPLATE, "parameters": { "webs": 4 } })).await;
    assert_eq!((more.status, &more.json()["status"]), (202, &json!("UPDATE_IN_PROGRESS")), "{}", more.text());
    let busy = ann.call("PUT", &format!("/deployments/{id}"), &json!({ "template": TEMPLATE })).await;
    assert_eq!(failure(&busy, 409, "Conflict"), "Cannot update a deployment in UPDATE_IN_PROGRESS state");
    assert_eq!(ann.settled(id).await["status"], "UPDATE_COMPLETE");
    let webs: Vec<String> = ann
        .resources(id, "tosca.nodes.indigo.Compute")
        .await
        .iter()
        .filter(|r| r["toscaNodeName"] == "web")
        .map(|r| r["uuid"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!((webs.len(), machines(&server, "default").await.len()), (4, 5));
    let less = json!({ "template": TEMPLATE, "parameters": { "webs": 2, "go": [webs[0], webs[2]] } });
    assert_eq!(ann.call("PUT", &format!("/deployments/{id}"), &less).await.status, 202);
    let done = ann.settled(id).await;
    assert_eq!((&done["status"], done["outputs"]["addresses"].as_array().map(Vec::len)), (&json!("UPDATE_COMPLETE"), Some(2)));
    let left = ann.resources(id, "tosca.nodes.indigo.Compute").await;
    let left: Vec<&str> = left.iter().filter(|r| r["toscaNodeName"] == "web").map(|r| r["uuid"].as_str().unwrap()).collect();
    assert_eq!((left, machines(&server, "default").await.len()), (vec![webs[1].as_str(), webs[3].as_str()], 3));

    // Off and on.
    let path = format!("/deployments/{id}/resources/{}", webs[1]);
    for (action, meanwhile, state) in [("stop", "STOPPING", "STOPPED"), ("start", "STARTING", "STARTED")] {
        let asked = ann.call("POST", &format!("{path}/actions"), &json!({ "type": action })).await;
        assert_eq!((asked.status, asked.text()), (202, ""));
        eventually("the resource is in its state", PATIENCE, async || {
            let shown = ann.get(&path).await.json()["state"].clone();
            assert!(shown == meanwhile || shown == state, "{shown}");
            (shown == state).then_some(())
        })
        .await;
        ann.settled(id).await;
    }
    let again = ann.call("POST", &format!("{path}/actions"), &json!({ "type": "start" })).await;
    assert_eq!(failure(&again, 409, "Conflict"), "Error validating action request; Cannot start node in state STARTED");

    assert_eq!(ann.call("DELETE", &format!("/deployments/{id}"), &Value::Null).await.status, 204);
    ann.gone(id).await;
    assert_eq!(machines(&server, "default").await, Vec::<Value>::new());
    assert_eq!(ann.get("/deployments").await.json()["page"]["totalElements"], 0);
}

#[tokio::test]
async fn templates_that_are_wrong_are_told_why_and_leave_nothing() {
    let server = configured(CLOUD).start().await;
    let ann = By { server: &server, token: customer(&server, "ann").await };
    for (template, parameters, expected) in [
        ("nodes: []", json!({}), "tosca_definitions_version"),
        (TEMPLATE, json!({ "webs": 9 }), "webs"),
        (&TEMPLATE.replace("host: web", "host: nobody"), json!({}), "nobody"),
        (&TEMPLATE.replace("tosca.nodes.SoftwareComponent", "tosca.nodes.Nothing"), json!({}), "tosca.nodes.Nothing"),
    ] {
        let refused = ann.call("POST", "/deployments", &json!({ "template": template, "parameters": parameters })).await;
        let message = failure(&refused, 400, "Bad Request");
        assert!(message.contains(expected), "{message}");
    }
    assert_eq!(ann.get("/deployments").await.json()["page"]["totalElements"], 0);
    // One that nobody can serve is an accepted one that fails.
    let order = json!({ "template": TEMPLATE.replace("mem_size: 512 MB", "mem_size: 900 TB") });
    let id = ann.call("POST", "/deployments", &order).await.json()["uuid"].as_str().unwrap().to_owned();
    let failed = ann.settled(&id).await;
    let reason = failed["statusReason"].as_str().unwrap();
    assert!(failed["status"] == "CREATE_FAILED" && reason.contains("no size is large enough"), "{failed}");
    assert_eq!(ann.call("DELETE", &format!("/deployments/{id}?force=false"), &Value::Null).await.status, 204);
    ann.gone(&id).await;
}

/// An oidc-agent that has one token for everybody.
fn agent(directory: &Path, token: &str) -> PathBuf {
    let path = directory.join("agent.sock");
    let (listener, token) = (UnixListener::bind(&path).unwrap(), token.to_owned());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = BufReader::new(&stream).take(64 << 10).fill_buf();
            let answer = json!({ "status": "success", "access_token": token, "issuer": "https://issuer.example", "expires_at": 4_102_444_800_u64 });
            let _ = stream.write_all(answer.to_string().as_bytes());
        }
    });
    path
}

/// The unmodified client, `OSTLER_TEST_ORPY`: `tests/setup/orpy.sh` installs it and prints its path. With a person's token of a real
/// provider.
#[tokio::test(flavor = "multi_thread")]
async fn orpy_lives_with_it() {
    let (Ok(orpy), Some(provider)) = (std::env::var("OSTLER_TEST_ORPY"), Provider::running()) else {
        println!("SKIPPED: OSTLER_TEST_ORPY or OSTLER_TEST_OIDC is not set");
        return;
    };
    let server = provider.trusted(SLOW).start().await;
    let ann = By { server: &server, token: provider.log_in("ada", "openid profile offline_access").await };
    let directory = tempfile::tempdir().unwrap();
    let socket = agent(directory.path(), &ann.token);
    let file = directory.path().join("template.yaml");
    std::fs::write(&file, TEMPLATE).unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(&orpy)
            .args(["--url", &format!("http://{}", server.address())])
            .args(arguments)
            .env("OIDC_SOCK", &socket)
            .env("OIDC_ACCOUNT", "tests")
            .output()
            .unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        println!("$ orpy {}\n{text}", arguments.join(" "));
        assert!(output.status.success(), "orpy {arguments:?}: {text}");
        String::from_utf8(output.stdout).unwrap()
    };
    let value = |text: &str| -> Value { serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}")) };
    let template = file.to_str().unwrap();

    run(&["info"]);
    run(&["configuration", "show"]);
    let created = value(&run(&["dep", "create", template, "webs=2", "-f", "json"]));
    let id = created["uuid"].as_str().unwrap_or_else(|| panic!("{created}")).to_owned();
    assert_eq!(ann.settled(&id).await["status"], "CREATE_COMPLETE");
    let listed = run(&["dep", "list"]);
    assert!(listed.contains(&id) && listed.contains("CREATE_COMPLETE"), "{listed}");
    assert!(run(&["dep", "show", &id]).contains("CREATE_COMPLETE"));
    assert!(run(&["dep", "template", &id]).contains("A service of two tiers"));
    let resources = run(&["resource", "list", &id]);
    let webs = ann.resources(&id, "tosca.nodes.indigo.Compute").await;
    let one = webs[0]["uuid"].as_str().unwrap();
    assert!(resources.contains(one), "{resources}");
    assert!(run(&["resource", "show", &id, one]).contains("STARTED"));
    run(&["dep", "update", &id, template, "webs=3"]);
    assert_eq!(ann.settled(&id).await["status"], "UPDATE_COMPLETE");
    assert_eq!(machines(&server, "default").await.len(), 4);
    run(&["dep", "delete", &id]);
    ann.gone(&id).await;
    assert_eq!(machines(&server, "default").await, Vec::<Value>::new());
}
