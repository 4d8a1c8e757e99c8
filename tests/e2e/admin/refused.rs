//! What our own API does not take, and from whom.

use super::{ADMIN, ANN, READ, api, basic, names, start, status};
use serde_json::{Value, json};

#[tokio::test]
async fn what_may_not_be_is_refused() {
    const ROUTES: &[(&str, &str)] = &[
        ("GET", "/users"),
        ("POST", "/users"),
        ("GET", "/users/admin"),
        ("PATCH", "/users/admin"),
        ("GET", "/users/admin/tokens"),
        ("POST", "/users/admin/tokens"),
        ("DELETE", "/tokens/x"),
        ("GET", "/users/admin/credit"),
        ("POST", "/users/admin/credit"),
        ("GET", "/users/admin/credit/history"),
        ("GET", "/certificates"),
        ("GET", "/certificates/0a"),
        ("POST", "/certificates/0a/revoke"),
        ("POST", "/certificates/0a/renew"),
    ];
    let server = start().await;
    let mut client = server.client();
    for role in ["user", "customer", "agent", "monitor"] {
        let new = json!({"username": role, "password": ANN, "roles": [role]});
        let added = api(&server, "POST", "/users", &new).await;
        assert_eq!((added.status, added.json().get("password")), (201, None), "{}", added.text());
    }
    for (method, path) in ROUTES {
        let path = format!("/ostler/v1{path}");
        let reply = client.call(method, &path, &[], "").await;
        assert_eq!((reply.status, reply.header("content-type")), (401, "application/problem+json"), "{method} {path}");
        for role in ["user", "customer", "agent", "monitor"] {
            assert_eq!(status(&mut client, (method, &path), &basic(role, ANN)).await, 403, "{method} {path} as {role}");
        }
        assert_ne!(status(&mut client, (method, &path), &basic("admin", ADMIN)).await, 403, "{method} {path}");
    }
    for (method, path, allow) in [
        ("DELETE", "/users/admin", "GET, PATCH"),
        ("PUT", "/users", "GET, POST"),
        ("GET", "/tokens/x", "DELETE"),
        ("DELETE", "/certificates/0a", "GET"),
        ("GET", "/certificates/0a/revoke", "POST"),
    ] {
        let reply = api(&server, method, path, &Value::Null).await;
        assert_eq!((reply.status, reply.header("allow")), (405, allow), "{method} {path}");
    }

    let before = names(&server).await;
    let long = "x".repeat(10_000);
    let new = |part: &str, value: Value| {
        let mut new = json!({"username": "new", "roles": ["user"]});
        new[part] = value;
        ("POST", "/users".to_owned(), new, 422)
    };
    let patch = |part: &str, value: Value| ("PATCH", "/users/user".to_owned(), json!({ part: value }), 422);
    let token = |part: &str, value: Value| {
        let mut token = json!({"label": "x"});
        token[part] = value;
        ("POST", "/users/user/tokens".to_owned(), token, 422)
    };
    let grant = |part: &str, value: Value| {
        let mut grant = json!({"amount": 1});
        grant[part] = value;
        ("POST", "/users/user/credit".to_owned(), grant, 422)
    };
    let get = |path: &str, status: u16| ("GET", path.to_owned(), Value::Null, status);
    let post = |path: &str, body: Value, status: u16| ("POST", path.to_owned(), body, status);
    let mut table = vec![
        new("passwort", json!("x")),
        new("username", json!(7)),
        new("username", json!("")),
        new("username", json!("a:b")),
        new("username", json!("a\0b")),
        new("username", json!(long)),
        new("roles", json!("user")),
        new("roles", json!(["root"])),
        new("roles", json!(["service-manager"])),
        new("roles", Value::Null),
        new("password", json!("")),
        new("password", json!(4711)),
        new("password", json!(long)),
        new("email", json!("nobody")),
        new("email", json!("a\0@b")),
        new("first_name", json!(long)),
        new("affiliation", json!("a\0b")),
        post("/users", json!([]), 422),
        post("/users", json!({}), 422),
        post("/users", Value::Null, 422),
        post("/users", json!({"username": "admin", "roles": []}), 409),
        post("/users", json!({"username": "x".repeat(70_000), "roles": []}), 413),
        patch("roles", json!(["root"])),
        patch("active", json!("no")),
        patch("password", json!("")),
        patch("username", json!("other")),
        ("PATCH", "/users/nobody".into(), json!({"active": false}), 404),
        ("PATCH", "/users/a%00b".into(), json!({"active": false}), 404),
        ("PATCH", "/users/%FF".into(), json!({"active": false}), 400),
        token("label", json!("")),
        token("label", json!(long)),
        token("label", json!("a\0b")),
        token("scopes", json!([])),
        token("scopes", json!(["root"])),
        token("scopes", json!("compute.read")),
        token("scope", json!("compute.read")),
        post("/users/nobody/tokens", json!({"label": "x"}), 404),
        ("DELETE", "/tokens/none".into(), Value::Null, 404),
        ("DELETE", "/tokens/%00".into(), Value::Null, 404),
        grant("reference", json!("")),
        grant("reference", json!(long)),
        grant("reference", json!("a\0b")),
        grant("note", json!(long)),
        grant("note", json!("a\0b")),
        grant("currency", json!("EUR")),
        post("/users/user/credit", json!({}), 422),
        post("/users/nobody/credit", json!({"amount": 1}), 404),
        post("/users/user/credit", json!([1, "", null]), 422),
        get("/users?after=%00", 422),
        get("/users?before=x", 400),
        get("/users/nobody", 404),
        get("/users/nobody/tokens", 404),
        get("/users/nobody/credit", 404),
        get("/users/nobody/credit/history", 404),
        get("/users/user/credit/history?before=x", 400),
        get("/certificates?before=x", 400),
        get("/certificates?service=x", 400),
        get("/certificates?all=maybe", 400),
        get("/certificates?user=nobody", 404),
        get("/certificates/zz", 404),
        get("/certificates/%00", 404),
        get(&format!("/certificates/{long}"), 404),
        post("/certificates/0a/revoke", Value::Null, 404),
        post("/certificates/0a/revoke", json!({"reason": "because"}), 422),
        post("/certificates/0a/revoke", json!({"force": true}), 422),
        post("/certificates/0a/renew", Value::Null, 404),
    ];
    for number in [json!(-1), json!(1.5), json!(1e30), json!("1"), json!(1_000_000_000_001_u64), json!(u64::MAX)] {
        table.extend([new("credit", number.clone()), grant("amount", number.clone()), token("expires_in_seconds", number)]);
    }
    table.extend([grant("amount", json!(0)), token("expires_in_seconds", json!(0))]);
    for limit in ["0", "1001", "-1", "x", "99999999999"] {
        table.extend(
            ["/users", "/users/user/credit/history", "/certificates"].map(|path| get(&format!("{path}?limit={limit}"), 400)),
        );
    }
    for (method, path, body, status) in table {
        let reply = api(&server, method, &path, &body).await;
        let shown: String = format!("{method} {path} {body}").chars().take(200).collect();
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (status, "application/problem+json"),
            "{shown}: {}",
            reply.text()
        );
        assert!(!reply.text().contains("4711"), "{shown}");
    }
    let operator = format!("Bearer {}", server.operator());
    for (kind, body, status) in [
        ("application/json", "{", 400),
        ("application/json; charset=utf-8", r#"{"username": "a", "username": "b", "roles": []}"#, 422),
        ("text/plain", r#"{"username": "a", "roles": []}"#, 415),
        ("application/x-www-form-urlencoded", "username=a", 415),
    ] {
        let headers = [("authorization", operator.as_str()), ("content-type", kind)];
        let reply = client.call("POST", "/ostler/v1/users", &headers, body).await;
        assert_eq!(reply.status, status, "{kind} {body}: {}", reply.text());
    }
    // Nothing of all this has changed anything.
    assert_eq!(names(&server).await, before);
    assert_eq!(api(&server, "GET", "/users/user/credit", &Value::Null).await.json()["balance"], 0);
    assert_eq!(api(&server, "GET", "/users/user/tokens", &Value::Null).await.json()["tokens"], json!([]));
    assert_eq!(status(&mut client, READ, &basic("user", ANN)).await, 200);
}
