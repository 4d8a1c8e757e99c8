//! The whole router on a core of its own, without a network.

use super::super::*;
use crate::api::Application;
use crate::config::{Cloud, Config};
use crate::telemetry::Metrics;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use ostler_core::identity::{NewAccount, Role, Scheme};
use serde_json::json;
use tower::ServiceExt;

const PASSWORD: &str = "canary of everybody";
/// Each with a user of this name, the last one of no role of the platform.
const ROLES: [&str; 5] = ["admin", "provider", "local_admin", "guest", "customer"];

/// A server without a network. The directory ends with it.
struct Edge {
    router: Router,
    app: App,
    _data: tempfile::TempDir,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    /// The name of the fault, and its code in the body.
    fn fault(&self) -> (&str, u64) {
        let (name, told) = self.body.as_object().unwrap().iter().next().unwrap();
        (name, told["code"].as_u64().unwrap())
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Edge {
    async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let data = tempfile::tempdir().unwrap();
        let mut config = Config::development();
        let mut lab = Cloud::new("dummy");
        lab.config.insert("form".into(), toml::Value::String("plain".into()));
        config.clouds.insert("lab".into(), lab);
        config.api.cloudedge.cloud = Some("lab".into());
        config.api.cloudedge.prefix = Some("/edge".into());
        config.server.trusted_proxies = vec!["10.0.0.1/32".parse().unwrap()];
        config.server.max_body_bytes = 1024;
        let core = crate::app::start(&config, &crate::config::Added::default(), data.path()).await.unwrap();
        let root = Principal::new("test", vec![Role::Admin], Scheme::Operator);
        for name in ROLES {
            let role = if name == "customer" { Role::Guest } else { Role::parse(name).unwrap() };
            let new = NewAccount { username: name.into(), role, email: None, password: Some(PASSWORD.into()) };
            let made = core.identity.add_account(&root, &new, None).await.unwrap();
            if name == "customer" {
                let change = ostler_store::UserChange { roles: Some(vec!["customer".to_owned()]), ..Default::default() };
                core.store.user_change(&made.user.id, &change).await.unwrap();
            }
        }
        let app = App::new(Application { core, config: Arc::new(config), metrics: Metrics::detached(), ready: Arc::default() });
        Self { router: crate::api::router(&app, false), app, _data: data }
    }

    async fn send(&self, peer: &str, request: http::request::Builder, body: impl Into<Body>) -> Answer {
        let peer = PeerInfo { addr: peer.parse().unwrap(), local: "127.0.0.1:5050".parse().unwrap(), tls: None };
        let mut request = request.body(body.into()).unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    async fn call(&self, user: &str, method: &str, path: &str, body: &str) -> Answer {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "edge.example:8080")
            .header("authorization", basic(user))
            .header("content-type", "application/json");
        self.send("127.0.0.1:1", request, body.to_owned()).await
    }

    async fn number(&self, name: &str) -> i64 {
        self.app.core.store.user_by_name(name).await.unwrap().unwrap().number
    }
}

fn basic(user: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{PASSWORD}")))
}

/// To start a core takes far longer than all that is asked of it here.
#[tokio::test]
async fn the_router_on_a_core_of_its_own() {
    let edge = Edge::start().await;
    nobody_comes_in_unknown(&edge).await;
    roles(&edge).await;
    faults(&edge).await;
    the_platform_and_where_links_lead(&edge).await;
    users_from_the_first_to_the_last(&edge).await;
    a_key_makes_a_user_once(&edge).await;
}

/// What each role may do. Whoever is let in sends nothing that can be carried out.
async fn roles(edge: &Edge) {
    let (yes, no) = (true, false);
    for (method, path, allowed) in [
        ("GET", "/version", [yes, yes, yes, yes, no]),
        ("GET", "/platform/version", [yes, yes, yes, yes, no]),
        ("GET", "/platform/resources", [yes, yes, yes, yes, no]),
        ("GET", "/images", [yes, yes, yes, yes, no]),
        ("GET", "/images/999", [yes, yes, yes, yes, no]),
        ("POST", "/images", [yes, yes, yes, no, no]),
        ("DELETE", "/images/999", [yes, yes, yes, no, no]),
        ("GET", "/instances", [yes, yes, yes, yes, no]),
        ("GET", "/instances/999", [yes, yes, yes, yes, no]),
        ("POST", "/instances", [yes, no, yes, yes, no]),
        ("POST", "/instances/999/action", [yes, no, yes, yes, no]),
        ("DELETE", "/instances/999", [yes, no, yes, yes, no]),
        ("GET", "/fwrules", [yes, yes, yes, yes, no]),
        ("GET", "/fwrules/999", [yes, yes, yes, yes, no]),
        ("POST", "/fwrules", [yes, no, yes, yes, no]),
        ("DELETE", "/fwrules/999", [yes, no, yes, yes, no]),
        ("GET", "/instances/999/metrics", [yes, yes, yes, yes, no]),
        ("GET", "/instance/999/metrics", [yes, yes, yes, yes, no]),
        ("GET", "/instances/999/metrics/statistics", [yes, yes, yes, yes, no]),
        ("POST", "/instance/999/metrics/statistics", [yes, yes, yes, yes, no]),
        ("GET", "/users", [yes, yes, yes, yes, no]),
        ("GET", "/users/999", [yes, yes, yes, yes, no]),
        ("POST", "/users", [yes, no, yes, no, no]),
        ("POST", "/users/999/action", [yes, yes, yes, yes, no]),
        ("DELETE", "/users/999", [yes, no, yes, no, no]),
    ] {
        for (user, allowed) in ROLES.into_iter().zip(allowed) {
            for base in ["/cloudedge", "/lab/cloudedge", "/edge/cloudedge"] {
                let answer = edge.call(user, method, &format!("{base}{path}"), "").await;
                assert_ne!(answer.status, 401, "{user} {method} {base}{path}");
                assert_eq!(answer.status != 403, allowed, "{user} {method} {base}{path}: {}", answer.body);
            }
        }
    }
}

async fn nobody_comes_in_unknown(edge: &Edge) {
    let long = format!("Basic {}", "A".repeat(8192));
    let no_colon = format!("Basic {}", STANDARD.encode("admin"));
    let wrong = format!("Basic {}", STANDARD.encode("nobody:x"));
    let headers = [
        None,
        Some("Basic"),
        Some("Basic !!!!"),
        Some(no_colon.as_str()),
        Some(wrong.as_str()),
        Some("Digest x"),
        Some("Bearer x"),
    ];
    for authorization in headers.into_iter().chain([Some(long.as_str())]) {
        let mut request = http::Request::get("/cloudedge/version");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let answer = edge.send("127.0.0.1:1", request, "").await;
        assert_eq!((answer.status, answer.fault()), (401, ("unauthorized", 401)), "{authorization:?}");
        assert_eq!(answer.header("www-authenticate"), "Basic realm=\"cloudedge\"");
    }
    let routes = ROWS.iter().map(|(row, _)| row.path.replace("{id}", "1"));
    for path in routes.chain(["/nothing".into(), String::new()]) {
        for method in ["GET", "POST", "DELETE", "PUT"] {
            let request = http::Request::builder().method(method).uri(format!("/cloudedge{path}"));
            assert_eq!(edge.send("127.0.0.1:1", request, "").await.status, 401, "{method} {path}");
        }
    }
    // A password on an open road is refused even where it is right; a token is not a password.
    let request = || http::Request::get("/cloudedge/version").header("authorization", basic("admin"));
    for (peer, proto, expected) in
        [("192.0.2.7:1", "https", 403), ("10.0.0.1:1", "http", 403), ("10.0.0.1:1", "https", 200), ("127.0.0.1:1", "http", 200)]
    {
        let answer = edge.send(peer, request().header("x-forwarded-proto", proto), "").await;
        assert_eq!(answer.status, expected, "{peer} {proto}");
    }
    let token = edge.app.core.identity.operator_token().clone();
    let token = format!("Bearer {}", secrecy::ExposeSecret::expose_secret(&token));
    let request = http::Request::get("/cloudedge/version").header("authorization", token);
    assert_eq!(edge.send("192.0.2.7:1", request, "").await.status, 200);
}

async fn faults(edge: &Edge) {
    let large = format!("{{\"image\": \"{}\"}}", "x".repeat(2000));
    for (method, path, body, code, name, part) in [
        ("GET", "/cloudedge/nothing", "", 404, "itemNotFound", ""),
        ("GET", "/cloudedge", "", 404, "itemNotFound", ""),
        ("GET", "/lap/cloudedge/version", "", 404, "itemNotFound", "no cloud `lap`"),
        ("GET", "/cloudedge/images/flickr", "", 404, "itemNotFound", "numbers"),
        ("GET", "/cloudedge/images/%ff", "", 404, "itemNotFound", ""),
        ("PUT", "/cloudedge/images", "", 405, "badMethod", ""),
        ("DELETE", "/cloudedge/version", "", 405, "badMethod", ""),
        ("POST", "/cloudedge/images", "{", 400, "badRequest", "line 1 column 1"),
        ("POST", "/cloudedge/images", "", 400, "badRequest", "missing"),
        ("POST", "/cloudedge/images", "{}", 400, "badRequest", "image"),
        ("POST", "/cloudedge/images", r#"{"image":{}}"#, 400, "badRequest", "image.name"),
        ("POST", "/cloudedge/images", r#"{"image":{"name":"","imageRef":"http://x/"}}"#, 400, "badRequest", "image.name"),
        ("POST", "/cloudedge/images", r#"{"image":{"name":"a","imageRef":"ftp://x/"}}"#, 400, "badRequest", "image.imageRef"),
        ("POST", "/cloudedge/images", r#"{"image":{"name":"a","imageRef":"x.tar"}}"#, 400, "badRequest", "image.imageRef"),
        (
            "POST",
            "/cloudedge/images",
            r#"{"image":{"name":"a","imageRef":"http://x/","checksum":"md5:0"}}"#,
            400,
            "badRequest",
            "checksum",
        ),
        ("POST", "/cloudedge/images", large.as_str(), 413, "overLimit", "1024"),
        ("GET", "/cloudedge/instances?image=x", "", 400, "badRequest", "image"),
        ("POST", "/cloudedge/instances", r#"{"instance":{}}"#, 400, "badRequest", "imageRef"),
        ("POST", "/cloudedge/instances", r#"{"instance":{"imageRef":"http://x/y"}}"#, 400, "badRequest", "imageRef"),
        ("POST", "/cloudedge/instances", r#"{"instance":{"imageRef":1,"name":"a\n"}}"#, 400, "badRequest", "instance.name"),
        ("POST", "/cloudedge/instances/1/action", r#"{"explode":null}"#, 400, "badRequest", "explode"),
        ("GET", "/cloudedge/fwrules?instance=", "", 400, "badRequest", "instance"),
        ("POST", "/cloudedge/fwrules", r#"{"fwrule":{"instanceRef":1}}"#, 400, "badRequest", "port_to"),
        ("POST", "/cloudedge/fwrules", r#"{"fwrule":{"instanceRef":1,"port_to":0}}"#, 400, "badRequest", "port_to"),
        (
            "POST",
            "/cloudedge/fwrules",
            r#"{"fwrule":{"instanceRef":1,"port_to":22,"protocol":"sctp"}}"#,
            400,
            "badRequest",
            "protocol",
        ),
        ("GET", "/cloudedge/users?role=king", "", 400, "badRequest", "king"),
        ("GET", "/cloudedge/users/999", "", 404, "itemNotFound", "no user 999"),
        ("POST", "/cloudedge/users", r#"{"User":{"username":"x"}}"#, 400, "badRequest", "role"),
        ("POST", "/cloudedge/users", r#"{"User":{"username":"a:b","role":"guest"}}"#, 400, "badRequest", "colon"),
        ("POST", "/cloudedge/users", r#"{"User":{"username":"x","role":"guest","email":"x"}}"#, 400, "badRequest", "e-mail"),
        ("POST", "/cloudedge/users", r#"{"User":{"username":"guest","role":"guest"}}"#, 409, "buildInProgress", "exists"),
        ("POST", "/cloudedge/users/1/action", r#"{"email":"a@b.c","password":"x"}"#, 400, "badRequest", "exactly one"),
        ("POST", "/cloudedge/users/1/action", r#"{"password":7}"#, 400, "badRequest", "password"),
        ("POST", "/cloudedge/users/1/action", r#"{"password":null}"#, 400, "badRequest", "password"),
        ("POST", "/cloudedge/users/1/action", r#"{"password":"reset"}"#, 503, "serviceUnavailable", "no mail server"),
        ("DELETE", "/cloudedge/users/1?force=perhaps", "", 400, "badRequest", "force"),
        ("GET", "/cloudedge/instances/1/metrics/statistics", "", 400, "badRequest", "metric"),
        ("POST", "/cloudedge/instance/1/metrics/statistics", r#"{"CPUUtilization":{}}"#, 400, "badRequest", "statistics"),
    ] {
        let answer = edge.call("admin", method, path, body).await;
        assert_eq!((answer.status, answer.fault()), (code, (name, u64::from(code))), "{method} {path} {body}: {}", answer.body);
        let told = answer.body[name]["message"].as_str().unwrap();
        assert!(told.contains(part), "{method} {path} {body}: {told}");
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("retry-after").is_empty(), code != 503);
        assert!(!answer.header("x-request-id").is_empty());
    }
    for (path, expected) in [
        ("/cloudedge/images", "GET, HEAD, POST"),
        ("/cloudedge/images/1", "GET, HEAD, DELETE"),
        ("/cloudedge/instances/1/action", "POST"),
        ("/cloudedge/version/", "GET, HEAD"),
    ] {
        assert_eq!(edge.call("guest", "PATCH", path, "").await.header("allow"), expected);
    }
    let request = http::Request::post("/cloudedge/images")
        .header("authorization", basic("admin"))
        .header("content-type", "application/x-www-form-urlencoded");
    let answer = edge.send("127.0.0.1:1", request, "{}").await;
    assert_eq!((answer.status, answer.fault()), (415, ("badMediaType", 415)));
    let long = "k".repeat(256);
    let request = http::Request::post("/cloudedge/users")
        .header("authorization", basic("admin"))
        .header("content-type", "application/json")
        .header("idempotency-key", long);
    let answer = edge.send("127.0.0.1:1", request, r#"{"User":{"username":"x","role":"guest"}}"#).await;
    assert_eq!((answer.status, answer.fault()), (400, ("badRequest", 400)));
}

async fn the_platform_and_where_links_lead(edge: &Edge) {
    for path in ["/cloudedge/version", "/cloudedge/platform/version/", "/lab/cloudedge/version", "/edge/lab/cloudedge/version"] {
        let answer = edge.call("guest", "GET", path, "").await;
        assert_eq!((answer.status, &answer.body), (200, &json!({"version": {"major": 1, "minor": 3}})), "{path}");
        assert_eq!(answer.header("cache-control"), "no-store");
        let head = edge.call("guest", "HEAD", path, "").await;
        assert_eq!((head.status, head.body), (200, Value::Null), "{path}");
    }
    let resources = edge.call("guest", "GET", "/cloudedge/platform/resources", "").await;
    assert_eq!((resources.status, &resources.body["cpu"]["type"]), (200, &json!("Dummy 1")));
    assert_eq!(resources.body["usb"]["product"], "Dummy stick");
    // The dummy in its other form knows nothing of its capacity.
    let unknown = edge.call("guest", "GET", "/fake_driver/cloudedge/platform/resources", "").await;
    assert_eq!((unknown.status, unknown.fault()), (400, ("badRequest", 400)));

    let number = edge.number("guest").await;
    for (path, base) in [
        ("/cloudedge", "http://edge.example:8080/cloudedge"),
        ("/lab/cloudedge", "http://edge.example:8080/lab/cloudedge"),
        ("/edge/cloudedge", "http://edge.example:8080/edge/cloudedge"),
        ("/edge/lab/cloudedge", "http://edge.example:8080/edge/lab/cloudedge"),
    ] {
        let answer = edge.call("guest", "GET", &format!("{path}/users/{number}"), "").await;
        assert_eq!(answer.body["User"]["link"], format!("{base}/users/{number}"));
    }
    let request = http::Request::get(format!("http://absolute.example/cloudedge/users/{number}"))
        .header("authorization", basic("guest"))
        .header("host", "other.example");
    let answer = edge.send("127.0.0.1:1", request, "").await;
    assert_eq!(answer.body["User"]["link"], format!("http://absolute.example/cloudedge/users/{number}"));
    let request = http::Request::get(format!("/cloudedge/users/{number}"))
        .header("authorization", basic("guest"))
        .header("host", "inner")
        .header("forwarded", "proto=https;host=outer.example");
    let answer = edge.send("10.0.0.1:1", request, "").await;
    assert_eq!(answer.body["User"]["link"], format!("https://outer.example/cloudedge/users/{number}"));
}

async fn users_from_the_first_to_the_last(edge: &Edge) {
    let names = |answer: &Answer| -> Vec<String> {
        answer.body["Users"].as_array().unwrap().iter().map(|user| user["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&edge.call("admin", "GET", "/cloudedge/users", "").await), ROLES);
    assert_eq!(names(&edge.call("local_admin", "GET", "/cloudedge/users", "").await), ["local_admin", "guest"]);
    assert_eq!(names(&edge.call("admin", "GET", "/cloudedge/users?role=user", "").await), ["guest"]);
    for name in ["provider", "guest"] {
        assert_eq!(names(&edge.call(name, "GET", "/cloudedge/users", "").await), [name]);
    }

    // As the specification's example has it, with its blanks.
    let body = r#"{"User": {"username": " jsmith ", "role": "user", "email": "jsmith@www.example.com", "password": "canary of everybody", "age": 7}}"#;
    let made = edge.call("local_admin", "POST", "/cloudedge/users", body).await;
    assert_eq!(made.status, 202, "{}", made.body);
    let id = made.body["User"]["id"].as_i64().unwrap();
    assert_eq!(made.body, json!({"User": {"id": id, "link": format!("http://edge.example:8080/cloudedge/users/{id}")}}));
    let path = format!("/cloudedge/users/{id}");
    let shown = edge.call("jsmith", "GET", &path, "").await;
    assert_eq!((&shown.body["User"]["role"], &shown.body["User"]["email"]), (&json!("guest"), &json!("jsmith@www.example.com")));
    for (user, body, expected) in [
        ("jsmith", r#"{"email": "jmith@gmail.com"}"#, 202),
        ("local_admin", r#"{"email": null}"#, 202),
        ("jsmith", r#"{"role": "admin"}"#, 403),
        ("local_admin", r#"{"role": "provider"}"#, 403),
        ("guest", r#"{"email": "a@b.c"}"#, 404),
        ("provider", r#"{"email": "a@b.c"}"#, 404),
        ("admin", r#"{"role": "provider"}"#, 202),
        ("local_admin", r#"{"email": "a@b.c"}"#, 404),
        ("admin", r#"{"password": "another canary"}"#, 202),
    ] {
        let answer = edge.call(user, "POST", &format!("{path}/action"), body).await;
        assert_eq!(answer.status, expected, "{user} {body}: {}", answer.body);
        assert_eq!(answer.body.is_null(), expected == 202);
    }
    assert_eq!(edge.call("jsmith", "GET", &path, "").await.status, 401, "it was the old password");
    for (user, role, expected) in [
        ("admin", "admin", 202),
        ("admin", "provider", 202),
        ("admin", "local_admin", 202),
        ("local_admin", "guest", 202),
        ("local_admin", "local_admin", 403),
        ("local_admin", "admin", 403),
        ("provider", "guest", 403),
        ("guest", "guest", 403),
        ("admin", "customer", 400),
    ] {
        let body = json!({"User": {"username": format!("{user}-{role}"), "role": role}}).to_string();
        let answer = edge.call(user, "POST", "/cloudedge/users", &body).await;
        assert_eq!(answer.status, expected, "{user} makes {role}: {}", answer.body);
        assert_eq!(answer.body["User"]["password"].is_string(), expected == 202, "told once");
    }

    // One of many who want the same name gets it.
    let body = r#"{"User": {"username": "wanted", "role": "guest"}}"#;
    let wishes = (0..6).map(|_| edge.call("admin", "POST", "/cloudedge/users", body));
    let mut statuses: Vec<u16> = futures::future::join_all(wishes).await.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 409, 409, 409, 409, 409]);

    for (user, name, expected) in [
        ("guest", "guest", 403),
        ("provider", "guest", 403),
        ("local_admin", "admin", 404),
        ("local_admin", "local_admin", 403),
        ("local_admin", "local_admin-guest", 204),
        ("admin", "jsmith", 204),
        ("admin", "admin-admin", 204),
        ("admin", "admin", 409),
    ] {
        let path = format!("/cloudedge/users/{}", edge.number(name).await);
        let answer = edge.call(user, "DELETE", &path, "").await;
        assert_eq!((answer.status, answer.body.is_null()), (expected, expected == 204), "{user} deletes {name}");
        if expected == 204 {
            assert_eq!(edge.call("admin", "GET", &path, "").await.status, 404);
        }
    }
    let admin = edge.number("admin").await;
    let demoted = edge.call("admin", "POST", &format!("/cloudedge/users/{admin}/action"), r#"{"role": "guest"}"#).await;
    assert_eq!((demoted.status, demoted.fault()), (409, ("buildInProgress", 409)), "the last administrator stays one");
}

async fn a_key_makes_a_user_once(edge: &Edge) {
    let order = async |user: &str, name: &str, key: &str| {
        let request = http::Request::post("/cloudedge/users")
            .header("authorization", basic(user))
            .header("content-type", "application/json")
            .header("idempotency-key", key);
        let body = json!({"User": {"username": name, "role": "guest"}}).to_string();
        edge.send("127.0.0.1:1", request, body).await
    };
    let first = order("admin", "ann", "k").await;
    let again = order("admin", "ann", "k").await;
    assert_eq!((first.status, again.status), (202, 202), "{}", again.body);
    assert_eq!(again.body["User"]["id"], first.body["User"]["id"]);
    assert!(first.body["User"]["password"].is_string() && again.body["User"]["password"].is_null());
    assert_eq!(order("admin", "bob", "k").await.status, 409, "the key was for another one");
    assert_eq!(order("local_admin", "bob", "k").await.status, 202, "another's key");
}
