//! Who may come in, and what must never come out.

use crate::v1::{NODES, START, error};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ostler_tests::database::Database;
use ostler_tests::provider::{Answer, Provider};
use ostler_tests::{Client, PATIENCE, Reply, Setup, eventually};
use serde_json::json;

const CLOUDS: &str = "[clouds.default]\ndriver = \"dummy\"\n[clouds.fake_driver]\ndriver = \"dummy\"\n";
const PASSWORD: &str = "canary-of-the-administrator";
const PASSED: &str = "{\n  \"authenticated\": \"yes\",\n  \"status\": \"ok\",\n  \"test\": \"passed\"\n}";

/// Each route of version 1 that asks for credentials, with a harmless body.
const ROUTES: &[(&str, &str, &str)] = &[
    ("GET", "nodes", ""),
    ("GET", "nodes/fake_driver", ""),
    ("GET", "images/fake_driver", ""),
    ("GET", "sizes", ""),
    ("GET", "flavors", ""),
    ("GET", "tenants", ""),
    ("GET", "cloud", ""),
    ("GET", "nonsense", ""),
    ("GET", "nodes/wrong", ""),
    ("GET", "vm/status", ""),
    ("GET", "vm/status/fake_driver", ""),
    ("POST", "vm/start", "{}"),
    ("POST", "vm/start/wrong", START),
    ("PUT", "vm/stop", r#"{"node": "77"}"#),
    ("PUT", "vm/stop/fake_driver", "{}"),
    ("PUT", "vm/action/assign", r#"{"emulate": true}"#),
    ("PUT", "vm/action/release/fake_driver", r#"{"node": "77"}"#),
    ("PUT", "vm/action/reboot", "{}"),
    ("PUT", "test/start", "{}"),
    ("PUT", "test/7/kill", "{}"),
];

fn configured(toml: &str) -> Setup {
    Setup::configured(toml).env("OSTLER_ADMIN_PASSWORD", PASSWORD)
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

async fn log_in(client: &mut Client, version: u8, user: &str, password: &str) -> Reply {
    let body = json!({ "username": user, "password": password }).to_string();
    client.call("POST", &format!("/api/v{version}/auth"), &[("content-type", "application/json")], body).await
}

async fn token(client: &mut Client) -> String {
    let reply = log_in(client, 1, "admin", PASSWORD).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let answer = reply.json();
    assert_eq!((&answer["status"], &answer["status_code"]), (&json!("ok"), &json!(200)));
    answer["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn without_valid_credentials_every_route_is_forbidden() {
    let server = configured(CLOUDS).start().await;
    let mut client = server.client();
    let forbidden = error(403, "Forbidden");
    for (number, (method, path, body)) in ROUTES.iter().enumerate() {
        // Each name but once: this is no test of the pauses after wrong passwords.
        let wrong = basic(&format!("user{number}"), PASSWORD);
        for (version, code, form) in [(1, 403, "application/json"), (2, 401, "application/problem+json")] {
            let ways: &[&[(&str, &str)]] = match version {
                1 => &[&[], &[("authorization", &wrong)], &[("x-auth-token", "wrong")]],
                _ => &[&[]],
            };
            for way in ways {
                let mut headers = way.to_vec();
                headers.push(("content-type", "application/json"));
                let path = format!("/api/v{version}/{path}");
                let reply = client.call(method, &path, &headers, *body).await;
                assert_eq!(
                    (reply.status, reply.header("content-type")),
                    (code, form),
                    "{method} {path} {way:?}: {}",
                    reply.text()
                );
                assert!(version == 2 || reply.text() == forbidden, "{method} {path} {way:?}: {}", reply.text());
            }
        }
    }
    // What tells nothing is open.
    for path in ["/api/v1/", "/api/v1/vm/start", "/healthz", "/readyz", "/", "/ostler/openapi.json"] {
        assert_eq!(client.get(path).await.status, 200, "{path}");
    }
    assert_eq!(client.call("DELETE", "/api/v1/nodes", &[], "").await.status, 501);
    assert_eq!(client.get("/api/v1/nodes/").await.status, 404);
}

#[tokio::test]
async fn with_valid_credentials_every_route_answers_whatever_way_they_come() {
    let server = configured(CLOUDS).start().await;
    let mut client = server.client();
    let token = token(&mut client).await;
    let (right, bearer) = (basic("admin", PASSWORD), format!("Bearer {token}"));
    for (method, path, body) in ROUTES {
        let in_body = match body.strip_prefix('{') {
            Some("}") => format!(r#"{{"auth_token": "{token}"}}"#),
            Some(rest) => format!(r#"{{"auth_token": "{token}", {rest}"#),
            None => String::new(),
        };
        let ways = [
            ("Basic", vec![("authorization", right.as_str())], String::new(), *body),
            ("Bearer", vec![("authorization", bearer.as_str())], String::new(), *body),
            ("header", vec![("x-auth-token", token.as_str())], String::new(), *body),
            ("query", vec![], format!("?auth_token={token}"), *body),
            ("JSON", vec![], String::new(), in_body.as_str()),
        ];
        let mut answers = Vec::new();
        for (way, mut headers, query, body) in ways {
            if way == "JSON" && body.is_empty() {
                continue;
            }
            headers.push(("content-type", "application/json"));
            let reply = client.call(method, &format!("/api/v1/{path}{query}"), &headers, body.to_owned()).await;
            assert!(!matches!(reply.status, 401 | 403), "{method} {path} by {way}: {}", reply.text());
            answers.push((reply.status, reply.body));
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "{method} {path}: the way makes no difference: {answers:?}");
    }
    let reply = client.call("PUT", "/api/v1/test/start", &[("x-auth-token", &token)], "").await;
    assert_eq!((reply.status, reply.text()), (200, PASSED));
    // The token in the body goes before that of the query, and that before the header's.
    let wrong = r#"{"auth_token": "wrong"}"#;
    let json = ("content-type", "application/json");
    for (query, header, body, status) in [
        ("", token.as_str(), wrong, 403),
        (&format!("?auth_token={token}"), &token, wrong, 403),
        ("?auth_token=wrong", &token, "", 403),
        (&format!("?auth_token={token}"), "wrong", "", 200),
        ("", "wrong", &format!(r#"{{"auth_token": "{token}"}}"#), 200),
    ] {
        let reply =
            client.call("PUT", &format!("/api/v1/test/start{query}"), &[json, ("x-auth-token", header)], body.to_owned()).await;
        assert_eq!(reply.status, status, "{query} {header} {body}");
    }
}

#[tokio::test]
async fn tokens_are_given_for_passwords_only() {
    let server = configured(CLOUDS).start().await;
    let mut client = server.client();
    let (first, second) = (token(&mut client).await, token(&mut client).await);
    assert!(first != second && first.len() >= 32, "{first} {second}");
    for (user, password) in [("admin", "wrong"), ("admin", ""), ("Admin", PASSWORD), ("nobody", PASSWORD), ("", "")] {
        let reply = log_in(&mut client, 1, user, password).await;
        assert_eq!((reply.status, reply.text()), (403, error(403, "Forbidden").as_str()), "{user} {password}");
    }
    let reply = client.call("POST", "/api/v1/auth", &[("content-type", "application/json")], r#"{"username": "admin"}"#).await;
    assert_eq!((reply.status, reply.text()), (403, error(403, "Forbidden").as_str()));
    assert_eq!(log_in(&mut client, 2, "nobody2", PASSWORD).await.status, 401);
}

#[tokio::test]
async fn guessing_is_slowed_down_and_forgiven() {
    let server = configured(CLOUDS).start().await;
    let mut client = server.client();
    let refused = eventually("the guesses are slowed down", PATIENCE, async || {
        let reply = log_in(&mut client, 2, "admin", "guess").await;
        (reply.status != 401).then_some(reply)
    })
    .await;
    assert_eq!(refused.status, 429);
    assert!(
        refused.header("retry-after").parse::<u32>().is_ok_and(|seconds| (1..=60).contains(&seconds)),
        "{:?}",
        refused.headers
    );
    eventually("the owner comes in", PATIENCE, async || {
        (log_in(&mut client, 1, "admin", PASSWORD).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn development_mode_is_open_to_programs_of_this_machine_only() {
    let server = Setup::development().env("OSTLER_ADMIN_PASSWORD", PASSWORD).start().await;
    let mut client = server.client();
    let forbidden = error(403, "Forbidden");
    for (headers, open) in [
        (vec![], true),
        (vec![("host", "localhost:5050")], true),
        (vec![("host", "[::1]")], true),
        (vec![("origin", "http://localhost:3000")], true),
        (vec![("host", "evil.example")], false),
        (vec![("host", "127.0.0.1.evil.example")], false),
        (vec![("host", "localhost.evil.example:5050")], false),
        (vec![("origin", "https://evil.example")], false),
        (vec![("origin", "null")], false),
    ] {
        for path in ["/api/v1/nodes/fake_driver", "/api/v2/nodes/fake_driver"] {
            let reply = client.call("GET", path, &headers, "").await;
            let wanted = match (open, path.contains("v1")) {
                (true, _) => (200, NODES),
                (false, true) => (403, forbidden.as_str()),
                (false, false) => (401, reply.text()),
            };
            assert_eq!((reply.status, reply.text()), wanted, "{path} {headers:?}");
        }
        let mut headers = headers.clone();
        headers.push(("content-type", "application/json"));
        let reply = client.call("PUT", "/api/v1/vm/stop/fake_driver", &headers, r#"{"node": "77"}"#).await;
        assert_eq!(reply.status, if open { 400 } else { 403 }, "{headers:?}");
    }
    // The tests of the tokens want tokens, and our own API wants credentials, also here.
    assert_eq!(client.call("PUT", "/api/v1/test/start", &[], "").await.text(), forbidden);
    let token = token(&mut client).await;
    assert_eq!(client.call("PUT", "/api/v1/test/start", &[("x-auth-token", &token)], "").await.text(), PASSED);
    assert_eq!(client.get("/ostler/v1/drivers").await.status, 401);
    assert_eq!(client.get("/metrics").await.status, 200, "for this machine");
    assert_eq!(client.call("GET", "/metrics", &[("host", "evil.example")], "").await.status, 401);
}

#[tokio::test]
async fn our_own_api_is_for_those_who_may() {
    let server = configured(CLOUDS).start().await;
    let mut client = server.client();
    let token = token(&mut client).await;
    let (right, operator) = (basic("admin", PASSWORD), format!("Bearer {}", server.operator()));
    let routes = [
        ("GET", "/ostler/v1/drivers", 200),
        ("GET", "/ostler/v1/drivers/dummy", 200),
        ("PUT", "/ostler/v1/drivers/dummy", 422),
        ("DELETE", "/ostler/v1/drivers/dummy", 409),
        ("POST", "/ostler/v1/drivers/dummy/rollback", 404),
        ("GET", "/ostler/v1/clouds", 200),
        ("GET", "/ostler/v1/clouds/fake_driver", 200),
        ("GET", "/ostler/v1/clouds/fake_driver?check=true", 200),
        ("GET", "/metrics", 200),
    ];
    for (number, (method, path, status)) in routes.into_iter().enumerate() {
        let wrong = basic(&format!("someone{number}"), PASSWORD);
        for headers in [
            vec![],
            vec![("authorization", wrong.as_str())],
            vec![("authorization", "Bearer wrong")],
            vec![("authorization", "Digest x")],
        ] {
            let reply = client.call(method, path, &headers, "").await;
            assert_eq!(reply.status, 401, "{method} {path} {headers:?}");
            assert_eq!(reply.header("content-type"), "application/problem+json", "{method} {path}");
            assert!(reply.header("www-authenticate").starts_with("Basic realm="), "{method} {path}");
        }
        for value in [&right, &operator] {
            let reply = client.call(method, path, &[("authorization", value)], "").await;
            assert_eq!(reply.status, status, "{method} {path}: {}", reply.text());
        }
        let reply = client.call(method, path, &[("x-auth-token", &token)], "").await;
        assert_eq!(reply.status, status, "{method} {path}");
    }
    // A method that no row lists is nobody's, not even an administrator's.
    for (method, path) in
        [("POST", "/ostler/v1/drivers"), ("PATCH", "/ostler/v1/drivers/dummy"), ("PATCH", "/ostler/v1/clouds/default")]
    {
        let reply = client.call(method, path, &[("authorization", &right)], "").await;
        assert!(matches!(reply.status, 403 | 405), "{method} {path}: {}", reply.status);
    }
}

#[tokio::test]
async fn each_role_may_do_what_it_is_for() {
    let mut server = configured(CLOUDS).start().await;
    server.terminate();
    assert!(server.ended().await.success());
    for role in ["agent", "user", "monitor"] {
        Database::clone_administrator(&server.data(), role, role).await;
    }
    server.start().await;
    let mut client = server.client();
    let table = [
        // Method, path, and what admin, agent, user and monitor get.
        ("GET", "/api/v2/nodes/fake_driver", [200, 200, 200, 403]),
        ("GET", "/api/v2/cloud", [200, 200, 200, 403]),
        ("PUT", "/api/v2/test/start", [200, 200, 200, 403]),
        ("POST", "/api/v2/vm/start", [422, 422, 403, 403]),
        ("PUT", "/api/v2/vm/stop", [422, 422, 403, 403]),
        ("PUT", "/api/v2/vm/action/assign", [422, 422, 403, 403]),
        ("GET", "/ostler/v1/clouds", [200, 200, 200, 403]),
        ("GET", "/ostler/v1/drivers", [200, 403, 403, 403]),
        ("PUT", "/ostler/v1/drivers/dummy", [422, 403, 403, 403]),
        ("DELETE", "/ostler/v1/drivers/dummy", [409, 403, 403, 403]),
        ("POST", "/ostler/v1/drivers/dummy/rollback", [404, 403, 403, 403]),
        ("GET", "/metrics", [200, 403, 403, 200]),
    ];
    for (method, path, statuses) in table {
        for (role, status) in ["admin", "agent", "user", "monitor"].into_iter().zip(statuses) {
            let credentials = basic(role, PASSWORD);
            let reply =
                client.call(method, path, &[("authorization", &credentials), ("content-type", "application/json")], "").await;
            assert_eq!(reply.status, status, "{method} {path} as {role}: {}", reply.text());
            if status == 403 && path.starts_with("/api/v2") {
                let documented = client.call(method, &path.replace("v2", "v1"), &[("authorization", &credentials)], "").await;
                assert_eq!(
                    (documented.status, documented.text()),
                    (403, error(403, "Forbidden").as_str()),
                    "{method} {path} as {role}"
                );
            }
        }
    }
}

/// Every secret that the server knows, everything that it does, and nothing of the one in the other.
#[tokio::test]
async fn secrets_do_not_come_out() {
    const SECRET: &str = "canary-of-the-cloud-Q7";
    let provider = Provider::start(|seen| match seen.path.as_str() {
        "/nodes" => Answer::Json(200, r#"[{"id": "1", "name": "one"}]"#.into()),
        // A provider that tells its caller what it was told.
        _ => Answer::Json(500, format!("wrong password {SECRET}")),
    })
    .await;
    let origin = provider.origin();
    let cloud = |name: &str, path: &str| {
        format!(
            "[clouds.{name}]\ndriver = \"probe\"\ngrants = {{ http = [\"{origin}\"] }}\nconfig = {{ url = \"{origin}{path}\" }}\n\
             secrets = {{ password = {{ env = \"CANARY\" }} }}\n"
        )
    };
    let config =
        format!("{CLOUDS}{}{}[log]\nfilter = \"debug,cranelift=off\"\n", cloud("leaky", "/nodes"), cloud("bad", "/fail"));
    let mut server = configured(&config).env("CANARY", SECRET).driver("probe", ostler_tests::components::probe()).start().await;
    for cloud in ["leaky", "bad"] {
        server.serving(cloud).await;
    }
    let mut client = server.client();
    let (token, operator) = (token(&mut client).await, server.operator());
    let wrong = "canary-of-a-guess";
    assert_eq!(log_in(&mut client, 1, "admin", wrong).await.status, 403);
    assert_eq!(client.call("GET", "/api/v1/nodes", &[("x-auth-token", "canary-of-a-token")], "").await.status, 403);

    let mut answers = String::new();
    for cloud in ["leaky", "bad", "fake_driver", "default"] {
        for version in [1, 2] {
            for (method, path, body) in [
                ("GET", "nodes", ""),
                ("GET", "images", ""),
                ("GET", "sizes", ""),
                ("GET", "vm/status", ""),
                ("POST", "vm/start", START),
                ("POST", "vm/start", r#"{"name": "a", "image": "none", "size": "1"}"#),
                ("PUT", "vm/stop", r#"{"node": "1"}"#),
                ("PUT", "vm/action/assign", r#"{"node": "1", "user": "u", "vm_type": "v"}"#),
                ("PUT", "vm/action/release", r#"{"node": "1"}"#),
            ] {
                let headers = [("x-auth-token", token.as_str()), ("content-type", "application/json")];
                let reply = client.call(method, &format!("/api/v{version}/{path}/{cloud}"), &headers, body).await;
                answers.push_str(&format!("{method} {path}/{cloud}: {} {:?}\n", reply.text(), reply.headers));
            }
        }
        let shown = server.as_operator("GET", &format!("/ostler/v1/clouds/{cloud}?check=true"), "").await;
        answers.push_str(shown.text());
    }
    for path in ["/metrics", "/ostler/v1/drivers", "/ostler/v1/drivers/probe", "/ostler/v1/clouds", "/ostler/openapi.json"] {
        answers.push_str(server.as_operator("GET", path, "").await.text());
    }
    answers.push_str(&String::from_utf8_lossy(&server.cli(&["driver", "show", "probe"]).stdout));
    assert!(answers.contains("one"), "the driver was at work");
    assert!(server.log().contains("the password is"), "the driver has told its secret to the log: {}", server.log());
    server.terminate();
    assert!(server.ended().await.success());
    for (place, text) in [("an answer", &answers), ("the log", &server.log()), ("standard output", &server.output())] {
        let canaries = [
            ("cloud", SECRET),
            ("administrator", PASSWORD),
            ("token", &token),
            ("operator", &operator),
            ("guess", wrong),
            ("guessed token", "canary-of-a-token"),
        ];
        for (whose, canary) in canaries {
            let at = text.find(canary);
            let shown = at.map(|at| text[..at].lines().last().unwrap_or_default().to_owned());
            assert!(at.is_none(), "the secret of the {whose} is in {place}, after: {shown:?}");
        }
    }
}

#[tokio::test]
async fn a_generated_password_is_shown_once() {
    let mut server = Setup::configured(CLOUDS).start().await;
    let output = server.output();
    let password = output.split_once("password `").and_then(|(_, rest)| rest.split_once('`')).unwrap().0.to_owned();
    assert_eq!(log_in(&mut server.client(), 1, "admin", &password).await.status, 200);
    assert!(!server.log().contains(&password));
    server.kill();
    server.start().await;
    assert_eq!(server.output().matches(&password).count(), 1, "{}", server.output());
    assert_eq!(log_in(&mut server.client(), 1, "admin", &password).await.status, 200);
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(server.data().join("operator.token")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}
