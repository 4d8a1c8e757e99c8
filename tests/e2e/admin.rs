//! Users, tokens, credit and certificates, through our own API and the command line.

mod certificates;
mod refused;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ostler_tests::server::program;
use ostler_tests::{Client, Reply, Server, Setup};
use serde_json::{Value, json};
use std::io::Write;
use std::process::Stdio;

const CLOUDS: &str = "[clouds.fake_driver]\ndriver = \"dummy\"\n";
const ADMIN: &str = "canary-of-the-administrator";
const ANN: &str = "canary-of-ann";
const READ: (&str, &str) = ("GET", "/api/v2/nodes/fake_driver");
const CHANGE: (&str, &str) = ("PUT", "/api/v2/vm/stop/fake_driver");

async fn start() -> Server {
    // Everything that is logged is to be seen.
    let config = format!("{CLOUDS}[log]\nfilter = \"debug,cranelift=off\"\n");
    Setup::configured(config).env("OSTLER_ADMIN_PASSWORD", ADMIN).start().await
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// The status for whoever shows this.
async fn status(client: &mut Client, (method, path): (&str, &str), authorization: &str) -> u16 {
    let headers = [("authorization", authorization), ("content-type", "application/json")];
    client.call(method, path, &headers, if method == "GET" { "" } else { "{}" }).await.status
}

async fn api(server: &Server, method: &str, path: &str, body: &Value) -> Reply {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    server.as_operator(method, &format!("/ostler/v1{path}"), body).await
}

async fn names(server: &Server) -> Vec<String> {
    let users = api(server, "GET", "/users", &Value::Null).await.json();
    users["users"].as_array().unwrap().iter().map(|user| user["username"].as_str().unwrap().to_owned()).collect()
}

/// A command of the command line: whether it went well, and what it said.
fn run(server: &Server, arguments: &[&str], input: &str) -> (bool, String) {
    let mut command = program();
    command.args(arguments).arg("--server").arg(format!("http://{}", server.address())).arg("--data").arg(server.data());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Not every command reads what it is given.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

fn said(server: &Server, arguments: &[&str], input: &str) -> String {
    let (well, text) = run(server, arguments, input);
    assert!(well, "{arguments:?}: {text}");
    text
}

fn complained(server: &Server, arguments: &[&str]) -> String {
    let (well, text) = run(server, arguments, "");
    assert!(!well, "{arguments:?}: {text}");
    text
}

/// What stands between backquotes.
fn quoted(text: &str) -> String {
    text.split('`').nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn the_life_of_a_user() {
    let mut server = start().await;
    let mut client = server.client();
    let add = ["user", "add", "ann", "--email", "ann@example.org", "--first-name", "Ann", "--role", "user", "--credit", "5"];
    let added = said(&server, &[&add[..], &["--password-stdin"]].concat(), &format!("{ANN}\n"));
    assert!(added.contains("ann added") && !added.contains(ANN), "{added}");
    let made = quoted(&said(&server, &["user", "add", "bob"], ""));
    assert!(complained(&server, &["user", "add", "ann"]).contains("exists already"));
    let list = said(&server, &["user", "list"], "");
    assert!(list.contains("ann@example.org") && list.contains("bob") && !list.contains(&made), "{list}");
    let shown: Value = serde_json::from_str(&said(&server, &["user", "show", "ann", "--json"], "")).unwrap();
    let expected = json!([2, "ann", "ann@example.org", "Ann", null, ["user"], true]);
    let parts = ["number", "username", "email", "first_name", "affiliation", "roles", "active"].map(|part| shown[part].clone());
    assert_eq!(json!(parts), expected);
    for (query, expected, next) in [
        ("", &["admin", "ann", "bob"][..], None),
        ("?limit=2", &["admin", "ann"], Some("ann")),
        ("?limit=2&after=ann", &["bob"], None),
    ] {
        let page = api(&server, "GET", &format!("/users{query}"), &Value::Null).await.json();
        let names: Vec<_> = page["users"].as_array().unwrap().iter().map(|user| user["username"].as_str().unwrap()).collect();
        assert_eq!((names, page["next"].as_str()), (expected.to_vec(), next), "{query}");
    }

    // Roles count from the next request on, also for credentials that were just verified.
    let ann = basic("ann", ANN);
    assert_eq!(status(&mut client, READ, &basic("bob", &made)).await, 403, "without a role");
    for (roles, read, change) in
        [(vec![], 200, 403), (vec!["agent", "customer"], 200, 422), (vec!["monitor"], 403, 403), (vec!["agent"], 200, 422)]
    {
        if !roles.is_empty() {
            said(&server, &[&["user", "role", "ann"][..], &roles].concat(), "");
        }
        assert_eq!((status(&mut client, READ, &ann).await, status(&mut client, CHANGE, &ann).await), (read, change), "{roles:?}");
    }

    // A token is good for what it was made for.
    let create = ["token", "create", "ann", "--label", "ci", "--scope", "compute.read", "--expires", "30d"];
    let reader = said(&server, &create, "").lines().last().unwrap().to_owned();
    let full = api(&server, "POST", "/users/ann/tokens", &json!({"label": "all"})).await;
    assert_eq!((full.status, full.header("cache-control"), &full.json()["expires_at"]), (201, "no-store", &Value::Null));
    let (full, full_id) = (full.json()["token"].as_str().unwrap().to_owned(), full.json()["id"].as_str().unwrap().to_owned());
    let admin = api(&server, "POST", "/users/admin/tokens", &json!({"label": "a", "scopes": ["compute.read"]})).await.json();
    for (token, read, change, users) in
        [(reader.as_str(), 200, 403, 403), (full.as_str(), 200, 422, 403), (admin["token"].as_str().unwrap(), 200, 403, 403)]
    {
        let bearer = format!("Bearer {token}");
        assert_eq!(status(&mut client, READ, &bearer).await, read);
        assert_eq!(status(&mut client, CHANGE, &bearer).await, change);
        for (method, path) in [("GET", "/ostler/v1/users"), ("POST", "/ostler/v1/users"), ("GET", "/ostler/v1/drivers")] {
            assert_eq!(status(&mut client, (method, path), &bearer).await, users, "{method} {path}");
        }
    }
    let list = said(&server, &["token", "list", "ann"], "");
    assert!(list.contains("ci") && list.contains("compute.read") && list.contains(&full_id), "{list}");
    assert!(!list.contains(&reader) && !list.contains(&full), "{list}");

    // The old password ends with the new one, though it was right a moment ago, and with it all tokens that were got before.
    let second = "canary-of-ann-2";
    said(&server, &["user", "password", "ann", "--stdin"], &format!("{second}\n"));
    for old in [&ann, &format!("Bearer {reader}"), &format!("Bearer {full}")] {
        assert_eq!(status(&mut client, READ, old).await, 401);
    }
    assert!(complained(&server, &["token", "revoke", &full_id]).contains("No such token"));
    assert_eq!(status(&mut client, READ, &basic("ann", second)).await, 200);
    let third = quoted(&said(&server, &["user", "password", "ann"], ""));
    let ann = basic("ann", &third);
    assert_eq!((status(&mut client, READ, &basic("ann", second)).await, status(&mut client, READ, &ann).await), (401, 200));

    // Who is disabled is out at once, by whatever way, and in again when enabled.
    let full = api(&server, "POST", "/users/ann/tokens", &json!({"label": "all"})).await.json();
    let (full, full_id) = (full["token"].as_str().unwrap().to_owned(), full["id"].as_str().unwrap().to_owned());
    let bearer = format!("Bearer {full}");
    for (command, expected) in [("disable", 401), ("enable", 200)] {
        assert!(said(&server, &["user", command, "ann"], "").contains(command));
        assert_eq!((status(&mut client, READ, &ann).await, status(&mut client, READ, &bearer).await), (expected, expected));
    }
    said(&server, &["token", "revoke", &full_id], "");
    assert_eq!(status(&mut client, READ, &bearer).await, 401);
    assert!(complained(&server, &["token", "revoke", &full_id]).contains("No such token"));

    // Somebody stays who can let the others in.
    for change in [&["user", "disable", "admin"][..], &["user", "role", "admin", "agent"]] {
        assert!(complained(&server, change).contains("the last administrator stays one"), "{change:?}");
    }

    // Administrators do not lock themselves out.
    for change in [json!({"active": false}), json!({"roles": ["user"]})] {
        let headers = [("authorization", basic("admin", ADMIN)), ("content-type", "application/json".to_owned())];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        let reply = client.call("PATCH", "/ostler/v1/users/admin", &headers, change.to_string()).await;
        assert_eq!(reply.status, 422, "{}", reply.text());
    }
    said(&server, &["credit", "add", "ann", "7", "--note", "spring"], "");
    server.terminate();
    assert!(server.ended().await.success());
    let (log, output) = (server.log(), server.output());
    for secret in [ADMIN, ANN, second, &third, &made, &reader, &full] {
        assert!(!log.contains(secret) && !output.contains(secret), "{secret} in {log}{output}");
    }
    for line in ["user added", "user changed", "token made", "token revoked", "credit given"] {
        assert!(log.contains(line), "{line} in {log}");
    }
}

#[tokio::test]
async fn credit_is_given_once() {
    let server = start().await;
    said(&server, &["user", "add", "ann", "--role", "customer", "--credit", "5", "--password-stdin"], ANN);
    assert!(said(&server, &["credit", "show", "ann"], "").contains("5 credits"));
    let add = ["credit", "add", "ann", "10", "--note", "an invoice", "--reference", "invoice-7"];
    for _ in 0..2 {
        assert!(said(&server, &add, "").contains("15 then"));
    }
    let other = api(&server, "POST", "/users/ann/credit", &json!({"amount": 11, "reference": "invoice-7"})).await;
    assert_eq!(other.status, 409, "{}", other.text());
    // The header stands for the member, at whatever time it comes.
    let operator = format!("Bearer {}", server.operator());
    let headers = [("authorization", operator.as_str()), ("content-type", "application/json"), ("idempotency-key", "key-1")];
    let grants = (0..8).map(|_| server.call("POST", "/ostler/v1/users/ann/credit", &headers, r#"{"amount": 3}"#));
    let grants = futures::future::join_all(grants).await;
    for grant in &grants {
        assert_eq!((grant.status, grant.text()), (201, grants[0].text()));
    }
    let entry = grants[0].json();
    assert_eq!(
        json!([entry["kind"], entry["amount"], entry["balance"], entry["reference"], entry["actor"]]),
        json!(["grant", 3, 18, "key-1", "operator"])
    );
    let in_body = server.call("POST", "/ostler/v1/users/ann/credit", &headers, r#"{"amount": 1, "reference": "key-2"}"#).await;
    assert_eq!(in_body.json()["reference"], "key-2", "the body goes before the header");
    let empty = [headers[0], headers[1], ("idempotency-key", "")];
    assert_eq!(server.call("POST", "/ostler/v1/users/ann/credit", &empty, r#"{"amount": 1}"#).await.status, 422);

    let mut amounts = Vec::new();
    let mut before = String::new();
    loop {
        let page = api(&server, "GET", &format!("/users/ann/credit/history?limit=3{before}"), &Value::Null).await.json();
        amounts.extend(page["entries"].as_array().unwrap().iter().map(|entry| entry["amount"].as_i64().unwrap()));
        let Some(next) = page["next"].as_i64() else { break };
        before = format!("&before={next}");
    }
    assert_eq!(amounts, [1, 3, 10, 5]);
    let history = said(&server, &["credit", "history", "ann"], "");
    assert!(["an invoice", "invoice-7", "+10", "19"].iter().all(|part| history.contains(part)), "{history}");
    assert!(said(&server, &["credit", "history", "ann", "--limit", "3"], "").contains("--before"));
    assert!(complained(&server, &["credit", "show", "nobody"]).contains("no user is called `nobody`"));
}
