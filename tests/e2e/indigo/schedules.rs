//! Schedules: files that become known make deployments, each once, whatever happens to the server meanwhile.

use super::{JSON, PASSWORD, configured, failure, send};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ostler_tests::{PATIENCE, Reply, Server, Setup, eventually};
use serde_json::{Value, json};

const CLOUD: &str = "[clouds.default]\ndriver = \"dummy\"\nconfig = { form = \"plain\" }\n";
const TEMPLATE: &str = "
tosca_definitions_version: tosca_simple_yaml_1_0
topology_template:
  inputs: { cpus: { type: integer } }
  node_templates:
    web:
      type: tosca.nodes.indigo.Compute
      capabilities:
        host: { properties: { num_cpus: { get_input: cpus } } }
        os: { properties: { distribution: debian } }
";

fn order(expression: &str) -> Value {
    json!({
        "template": TEMPLATE, "parameters": {"cpus": "1"}, "callback": "http://localhost:8080/callback", "timeoutMins": 10,
        "providerTimeoutMins": 5, "maxProvidersRetry": 1, "fileExpression": expression, "replicationExpression": "RSE_RECAS",
        "numberOfReplicas": 2,
    })
}

fn registered(name: &str) -> Value {
    json!({"event_type": "did_registered", "scope": "scope", "name": name})
}

async fn ask(server: &Server, method: &str, path: &str, body: &Value) -> Reply {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    server.as_operator(method, path, body).await
}

/// Makes a schedule; its identifier.
async fn make(server: &Server, order: &Value) -> String {
    let made = ask(server, "POST", "/schedules", order).await;
    assert_eq!((made.status, made.header("content-type")), (201, JSON), "{}", made.text());
    made.json()["uuid"].as_str().unwrap().to_owned()
}

/// Tells of files; how many deployments will be made.
async fn tell(server: &Server, message: &Value) -> u64 {
    let reply = ask(server, "POST", "/ostler/v1/data-events", message).await;
    assert_eq!(reply.status, 202, "{}", reply.text());
    reply.json()["events"].as_u64().unwrap()
}

/// The events of a schedule, when none of them waits any more.
async fn events(server: &Server, schedule: &str, count: usize) -> Vec<Value> {
    eventually("the files are deployed", PATIENCE, async || {
        let page = ask(server, "GET", &format!("/schedules/{schedule}/events?size=100"), &Value::Null).await.json();
        let events = page["content"].as_array().unwrap().clone();
        let done = |event: &Value| event["deployment"]["status"] == "CREATE_COMPLETE";
        (events.len() == count && events.iter().all(done)).then_some(events)
    })
    .await
}

async fn deployments(server: &Server) -> u64 {
    ask(server, "GET", "/deployments", &Value::Null).await.json()["page"]["totalElements"].as_u64().unwrap()
}

#[tokio::test]
async fn the_life_of_a_schedule() {
    let server = configured(CLOUD).start().await;
    let made = ask(&server, "POST", "/schedules/", &order("scope:run.*")).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let schedule = made.json();
    let id = schedule["uuid"].as_str().unwrap();
    let address = format!("http://{}/schedules/{id}", server.address());
    let names: Vec<_> = made.text().lines().filter_map(|line| line.strip_prefix("  \"")?.split('"').next()).collect();
    assert_eq!(
        names,
        [
            "uuid",
            "creationTime",
            "updateTime",
            "status",
            "replicationExpression",
            "fileExpression",
            "callback",
            "numberOfReplicas",
            "createdBy",
            "links"
        ]
    );
    assert_eq!((&schedule["status"], &schedule["numberOfReplicas"]), (&json!("RUNNING"), &json!(2)));
    assert_eq!(
        (&schedule["createdBy"]["subject"], &schedule["links"]),
        (&json!("operator"), &json!([{"rel": "self", "href": address}]))
    );
    let shown = ask(&server, "GET", &format!("/schedules/{id}/"), &Value::Null).await;
    assert_eq!((shown.status, shown.text()), (200, made.text()));
    let template = ask(&server, "GET", &format!("/schedules/{id}/template"), &Value::Null).await;
    assert_eq!((template.text(), template.header("content-type")), (TEMPLATE, "text/plain;charset=UTF-8"));

    // Files, alone and together; told twice, and not for this schedule.
    assert_eq!(tell(&server, &registered("run-1")).await, 1);
    let batch = json!({"messages": [registered("run-1"), registered("run-2"), registered("other"), {"event_type": "rule_ok"}]});
    let reply = ask(&server, "POST", "/ostler/v1/data-events", &batch).await;
    assert_eq!(reply.json(), json!({"files": 3, "ignored": 1, "events": 1}));
    let all = events(&server, id, 2).await;
    let names: Vec<_> = all.iter().map(|event| (event["scope"].as_str().unwrap(), event["name"].as_str().unwrap())).collect();
    assert_eq!(names, [("scope", "run-2"), ("scope", "run-1")]);
    for event in &all {
        assert_eq!((&event["links"], &event["deployment"]["links"]), (&json!([]), &json!([])));
        let deployment = event["deployment"]["uuid"].as_str().unwrap();
        let shown = ask(&server, "GET", &format!("/deployments/{deployment}"), &Value::Null).await.json();
        assert_eq!((&shown["callback"], &shown["createdBy"]), (&schedule["callback"], &schedule["createdBy"]));
    }
    assert_eq!(deployments(&server).await, 2);

    // Suspended, it looks at nothing.
    for (status, name, made) in [("SUSPENDED", "run-3", 0), ("SUSPENDED", "run-3", 0), ("RUNNING", "run-3", 1)] {
        let changed = ask(&server, "PATCH", &format!("/schedules/{id}"), &json!({"status": status})).await;
        assert_eq!((changed.status, &changed.json()["status"]), (200, &json!(status)), "{}", changed.text());
        assert_eq!(tell(&server, &registered(name)).await, made, "{status}");
    }
    events(&server, id, 3).await;

    // What it has made stays.
    assert_eq!(ask(&server, "DELETE", &format!("/schedules/{id}"), &Value::Null).await.status, 204);
    for (method, below) in [("GET", ""), ("GET", "/template"), ("DELETE", "")] {
        let gone = ask(&server, method, &format!("/schedules/{id}{below}"), &Value::Null).await;
        assert_eq!(failure(&gone, 404, "Not Found"), format!("The deployment {id} doesn't exist"));
    }
    let empty = ask(&server, "GET", &format!("/schedules/{id}/events"), &Value::Null).await;
    assert_eq!(empty.json()["content"], json!([]));
    assert_eq!(
        empty.json()["links"],
        json!([{"rel": "self", "href": format!("{address}/events?page=0&size=10&sort=createdAt,desc")}])
    );
    assert_eq!((tell(&server, &registered("run-4")).await, deployments(&server).await), (0, 3));
}

#[tokio::test]
async fn lists_have_pages() {
    let server = configured(CLOUD).start().await;
    let mut made = Vec::new();
    for number in 0..12 {
        made.push(make(&server, &order(&format!("s:{number}"))).await);
    }
    made.reverse();
    let base = format!("http://{}/schedules", server.address());
    let mut shown = Vec::new();
    for (query, own, links) in [
        ("", "{?createdBy}", &["first", "self", "next", "last"][..]),
        ("?createdBy=me&page=1", "?createdBy=me", &["first", "prev", "self", "last"]),
    ] {
        let page = ask(&server, "GET", &format!("/schedules{query}"), &Value::Null).await.json();
        let rels: Vec<_> = page["links"].as_array().unwrap().iter().map(|link| link["rel"].as_str().unwrap()).collect();
        assert_eq!(rels, links);
        let this = page["links"].as_array().unwrap().iter().find(|link| link["rel"] == "self").unwrap();
        assert_eq!(this["href"], format!("{base}{own}"));
        assert_eq!(page["page"]["totalElements"], 12);
        shown.extend(page["content"].as_array().unwrap().iter().map(|schedule| schedule["uuid"].as_str().unwrap().to_owned()));
    }
    assert_eq!(shown, made);
    let sorted = ask(&server, "GET", "/schedules?sort=fileExpression,asc&size=3", &Value::Null).await.json();
    let first: Vec<_> = sorted["content"].as_array().unwrap().iter().map(|schedule| schedule["fileExpression"].clone()).collect();
    assert_eq!(json!(first), json!(["s:0", "s:1", "s:10"]));
}

#[tokio::test]
async fn what_cannot_be_scheduled_is_told_why() {
    let server = Setup::development().start().await;
    let with = |name: &str, value: Value| {
        let mut order = order("s:.*");
        order[name] = value;
        order.to_string()
    };
    for (body, expected) in [
        ("{}".to_owned(), "The expression to be used to monitor new files available"),
        (with("replicationExpression", json!(null)), "The expression to be used to replicate the files"),
        (with("numberOfReplicas", json!(null)), "The number of file replicas required"),
        (with("timeoutMins", json!(1)), "ProviderTimeout must be <= Timeout"),
        (with("fileExpression", json!("(")), "fileExpression is no regular expression that can be used: unclosed group"),
        (with("fileExpression", json!("(?=a)")), "look-around"),
        (with("fileExpression", json!("(a{500}){500}")), "it is too large"),
        (with("fileExpressionSyntax", json!("sql")), "must be regex or glob"),
        (with("template", json!("template")), "Error parsing TOSCA template template:"),
        (with("parameters", json!({})), "Input cpus is required"),
    ] {
        let message = failure(&send(&server, "POST", "/schedules", &body).await, 400, "Bad Request");
        assert!(message.contains(expected), "{body}: {message}");
    }
    for (method, path, body, expected) in [
        ("GET", "/schedules?createdBy=x", "", "Value x for param createdBy is illegal"),
        ("GET", "/schedules?sort=x", "", "No property x found for type DeploymentSchedule!"),
        ("GET", "/schedules/x/events?sort=x", "", "No property x found for type DeploymentScheduleEvent!"),
        ("PATCH", "/schedules/x", r#"{"status":"DELETED"}"#, "The status of a schedule is RUNNING or SUSPENDED, not DELETED"),
    ] {
        assert_eq!(failure(&send(&server, method, path, body).await, 400, "Bad Request"), expected, "{method} {path}");
    }
    let headers = [("content-type", "application/json"), ("idempotency-key", "k")];
    let glob = with("fileExpressionSyntax", json!("glob"));
    let first = server.call("POST", "/schedules", &headers, glob.clone()).await;
    assert_eq!((first.status, &first.json()["fileExpressionSyntax"]), (201, &json!("glob")), "{}", first.text());
    assert_eq!(server.call("POST", "/schedules", &headers, glob).await.text(), first.text());
    let other = server.call("POST", "/schedules", &headers, order("s:b").to_string()).await;
    assert_eq!(other.status, 409, "{}", other.text());
}

#[tokio::test]
async fn who_may_tell_of_files() {
    let server = configured(CLOUD).start().await;
    let user = json!({"username": "ann", "password": "canary-of-ann", "roles": ["customer"]});
    assert_eq!(ask(&server, "POST", "/ostler/v1/users", &user).await.status, 201);
    let order_token = json!({"label": "broker", "scopes": ["data-events.submit"]});
    let token =
        ask(&server, "POST", "/ostler/v1/users/admin/tokens", &order_token).await.json()["token"].as_str().unwrap().to_owned();
    let ann = format!("Basic {}", STANDARD.encode("ann:canary-of-ann"));
    let admin = format!("Basic {}", STANDARD.encode(format!("admin:{PASSWORD}")));
    let broker = format!("Bearer {token}");
    for (authorization, tells, lists) in [(ann.as_str(), 403, 200), (&admin, 202, 200), (&broker, 202, 403), ("", 401, 401)] {
        let mut headers = vec![("content-type", "application/json")];
        if !authorization.is_empty() {
            headers.push(("authorization", authorization));
        }
        let told = server.call("POST", "/ostler/v1/data-events", &headers, registered("a").to_string()).await;
        let listed = server.call("GET", "/schedules", &headers, "").await;
        assert_eq!((told.status, listed.status), (tells, lists), "{}{}", told.text(), listed.text());
    }
    // Nobody but administrators asks for somebody else's.
    let headers = [("authorization", ann.as_str())];
    let others = server.call("GET", "/schedules?createdBy=admin@https://x/", &headers, "").await;
    assert_eq!(failure(&others, 400, "Bad Request"), "Value admin@https://x/ for param createdBy is illegal");

    for (body, status) in [
        (json!({"event_type": "did_registered", "scope": "s"}), 422),
        (json!({"event_type": "did_registered", "scope": "s", "name": "a\nb"}), 422),
        (json!({"messages": [registered("a"), {"event_type": "did_registered"}]}), 422),
        (json!({"messages": vec![registered("a"); 501]}), 422),
        (json!({"messages": [registered(&"x".repeat(300 << 10))]}), 413),
        (json!({}), 422),
    ] {
        let reply = ask(&server, "POST", "/ostler/v1/data-events", &body).await;
        assert_eq!((reply.status, reply.header("content-type")), (status, "application/problem+json"), "{}", reply.text());
    }
}

/// `kill -9` between each step and the next: each file has one deployment.
#[tokio::test]
async fn files_survive_a_kill() {
    let mut server = configured(CLOUD).start().await;
    let schedule = make(&server, &order("scope:.*")).await;
    for (number, point) in (1..).zip(["schedule.event.begun", "schedule.event.made", "schedule.event.done"]) {
        server.kill();
        server.set_env("OSTLER_KILL_AT", Some(point));
        server.start().await;
        let mut client = server.client();
        let authorization = format!("Bearer {}", server.operator());
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let request = client.request("POST", "/ostler/v1/data-events", &headers, registered(point).to_string());
        // Whether it answers before it dies does not matter.
        let _ = client.send(request).await;
        assert!(!server.ended().await.success(), "{point}: it ended by itself");
        server.set_env("OSTLER_KILL_AT", None);
        server.start().await;
        let all = events(&server, &schedule, number).await;
        assert_eq!(all[0]["name"], point);
        assert_eq!(deployments(&server).await, number as u64, "{point}");
        assert_eq!(tell(&server, &registered(point)).await, 0, "{point}: it was told");
    }
}
