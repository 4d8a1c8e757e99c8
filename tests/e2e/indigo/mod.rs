//! The PaaS Orchestrator's API: who comes in, what is said to requests that lead nowhere; `life`: what is deployed; `issuers`: persons
//! with tokens of a real OpenID provider.

mod issuers;
mod kill;
mod life;
mod registries;
mod schedules;
mod software;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ostler_tests::{Reply, Server, Setup};
use serde_json::json;

const PASSWORD: &str = "canary-of-the-administrator";
const CLOUD: &str = "[clouds.default]\ndriver = \"dummy\"\n";
const JSON: &str = "application/json;charset=UTF-8";
const ANONYMOUS: &str = "Full authentication is required to access this resource";

/// Each route that asks for credentials.
const ROUTES: &[(&str, &str)] = &[
    ("GET", "/configuration"),
    ("GET", "/deployments"),
    ("POST", "/deployments"),
    ("GET", "/deployments/x"),
    ("PUT", "/deployments/x"),
    ("PATCH", "/deployments/x"),
    ("DELETE", "/deployments/x"),
    ("GET", "/deployments/x/template"),
    ("GET", "/deployments/x/log"),
    ("GET", "/deployments/x/extrainfo"),
    ("GET", "/deployments/x/resources"),
    ("GET", "/deployments/x/resources/filter"),
    ("GET", "/deployments/x/resources/r"),
    ("POST", "/deployments/x/resources/r/actions"),
    ("GET", "/schedules"),
    ("POST", "/schedules"),
    ("GET", "/schedules/x"),
    ("PATCH", "/schedules/x"),
    ("DELETE", "/schedules/x"),
    ("GET", "/schedules/x/events"),
    ("GET", "/schedules/x/template"),
];

fn configured(toml: &str) -> Setup {
    Setup::configured(toml).env("OSTLER_ADMIN_PASSWORD", PASSWORD)
}

/// Checks a failure to the byte, and gives back its message.
fn failure(reply: &Reply, code: u16, title: &str) -> String {
    assert_eq!((reply.status, reply.header("content-type")), (code, JSON), "{}", reply.text());
    let id = reply.header("x-request-id");
    assert!(id.len() == 40 && id.starts_with("req-"), "{id}");
    let body = reply.json();
    let message = body["message"].as_str().unwrap().to_owned();
    let written = serde_json::to_string(&message).unwrap();
    assert_eq!(reply.text(), format!("{{\n  \"code\" : {code},\n  \"title\" : \"{title}\",\n  \"message\" : {written}\n}}"));
    message
}

async fn send(server: &Server, method: &str, path: &str, body: &str) -> Reply {
    server.call(method, path, &[("content-type", "application/json")], body.to_owned()).await
}

#[tokio::test]
async fn without_credentials_there_is_what_is_public_and_nothing_else() {
    let server = configured(CLOUD).start().await;
    for slash in ["", "/"] {
        let info = server.get(&format!("/info{slash}")).await;
        assert_eq!((info.status, info.header("content-type")), (200, JSON));
        assert!(info.json()["build"]["version"].is_string() && info.json()["git"]["commit"]["id"].is_string());
        for (method, path) in ROUTES {
            let reply = send(&server, method, &format!("{path}{slash}"), "{}").await;
            assert_eq!(failure(&reply, 401, "Unauthorized"), ANONYMOUS, "{method} {path}");
            assert_eq!(
                reply.header("www-authenticate"),
                format!("Bearer realm=\"oauth\", error=\"unauthorized\", error_description=\"{ANONYMOUS}\"")
            );
            assert_eq!((reply.header("cache-control"), reply.header("pragma")), ("no-store", "no-cache"));
        }
    }
}

#[tokio::test]
async fn tokens_are_taken_in_every_way_that_clients_show_them_and_never_repeated() {
    let server = configured(CLOUD).start().await;
    let token = server.operator();
    let basic = format!("Basic {}", STANDARD.encode(format!("admin:{PASSWORD}")));
    let ask = async |path: &str, headers: &[(&str, &str)]| server.call("GET", path, headers, "").await;
    for (path, name, value) in [
        ("/configuration".to_owned(), "authorization", format!("Bearer {token}")),
        // As orpy 1.0.4 sends it.
        ("/configuration".to_owned(), "authorization", format!("Bearer{token}")),
        ("/configuration".to_owned(), "x-auth-token", token.clone()),
        ("/configuration".to_owned(), "authorization", basic),
        (format!("/configuration?access_token={token}"), "accept", "application/json".to_owned()),
    ] {
        let reply = ask(&path, &[(name, &value)]).await;
        assert_eq!((reply.status, reply.header("cache-control")), (200, "no-store"), "{name}: {}", reply.text());
    }
    let wrong = "canary-of-a-token";
    for (path, headers) in [
        ("/configuration".to_owned(), &[("authorization", format!("Bearer {wrong}"))][..]),
        (format!("/configuration?access_token={wrong}"), &[]),
    ] {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let reply = ask(&path, &headers).await;
        assert_eq!(failure(&reply, 401, "Unauthorized"), "Invalid token");
        let challenge = "Bearer realm=\"oauth\", error=\"invalid_token\", error_description=\"Invalid token\"";
        assert_eq!(reply.header("www-authenticate"), challenge);
        assert!(!format!("{:?}{}", reply.headers, reply.text()).contains(wrong));
    }
    let wrong_password = format!("Basic {}", STANDARD.encode("admin:wrong"));
    let reply = ask("/configuration", &[("authorization", &wrong_password)]).await;
    assert_eq!(failure(&reply, 401, "Unauthorized"), "Bad credentials");
    let log = server.log();
    assert!(!log.contains(wrong) && !log.contains(&token) && !log.contains(PASSWORD));
}

#[tokio::test]
async fn requests_that_lead_nowhere_are_told_why() {
    let server = Setup::development().start().await;
    for path in ["/deployments/x/y", "/configuration/x", "/info/x/y", "/schedules/x/y", "/deployments/x/resources/r/actions/x"] {
        let reply = server.get(path).await;
        assert_eq!(failure(&reply, 404, "Not Found"), format!("No handler found for GET {path}"));
    }
    for (method, path, allowed) in [
        ("DELETE", "/deployments", "GET, HEAD, POST"),
        ("POST", "/deployments/x", "GET, HEAD, PUT, PATCH, DELETE"),
        ("GET", "/deployments/x/resources/r/actions", "POST"),
        ("PUT", "/info", "GET, HEAD"),
        ("DELETE", "/schedules", "GET, HEAD, POST"),
        ("PUT", "/schedules/x", "GET, HEAD, PATCH, DELETE"),
    ] {
        let reply = send(&server, method, path, "{}").await;
        assert_eq!(failure(&reply, 405, "Method Not Allowed"), format!("Request method '{method}' not supported"));
        assert_eq!(reply.header("allow"), allowed);
    }
    for path in ["/info", "/configuration", "/deployments", "/schedules"] {
        let reply = server.call("GET", path, &[("accept", "text/html")], "").await;
        assert_eq!(failure(&reply, 406, "Not Acceptable"), "Could not find acceptable representation");
    }
    let reply = server.call("POST", "/deployments", &[("content-type", "text/plain")], "{}").await;
    assert_eq!(failure(&reply, 415, "Unsupported Media Type"), "Content type 'text/plain' not supported");
    let large = json!({ "template": "x".repeat(2 << 20) }).to_string();
    failure(&send(&server, "POST", "/deployments", &large).await, 413, "Payload Too Large");
    for (method, path, body, expected) in [
        ("POST", "/deployments", "", "Required request body is missing"),
        ("POST", "/deployments", "{", "JSON parse error: "),
        ("POST", "/deployments", "{}", "A TOSCA template must be provided"),
        (
            "POST",
            "/deployments/",
            r#"{"template":"t","timeoutMins":5,"providerTimeoutMins":10}"#,
            "ProviderTimeout must be <= Timeout",
        ),
        ("PUT", "/deployments/x", r#"{"template":"t","callback":"x"}"#, "must be a valid HTTP or HTTPS URL"),
        ("PATCH", "/deployments/x", r#"{"status":"UNKNOWN"}"#, "Cannot reset deployment: illegal status UNKNOWN."),
        ("POST", "/deployments/x/resources/r/actions", "{}", "An action type must be provided"),
        ("GET", "/deployments?createdBy=x", "", "Value x for param createdBy is illegal"),
        ("GET", "/deployments?sort=x", "", "No property x found for type Deployment!"),
        ("GET", "/deployments/x/resources?sort=x", "", "No property x found for type Resource!"),
        ("GET", "/deployments/x/resources/filter", "", "Required String parameter 'type' is not present"),
        ("GET", "/deployments/x/resources/filter?type=", "", "Required String parameter 'type' cannot be empty"),
        ("DELETE", "/deployments/x?force=x", "", "Value x for param force is illegal"),
    ] {
        let message = failure(&send(&server, method, path, body).await, 400, "Bad Request");
        assert!(message.contains(expected), "{method} {path} {body}: {message}");
    }
    // What belongs to nobody is not ours.
    assert_ne!(server.get("/deployment").await.header("content-type"), JSON);
}

#[tokio::test]
async fn links_begin_with_the_address_that_clients_know() {
    let server =
        configured(&format!("[server]\ntrusted_proxies = [\"127.0.0.1\"]\n{CLOUD}[api.indigo]\nprefix = \"/orchestrator\"\n"))
            .start()
            .await;
    for path in ["/orchestrator", "/orchestrator/"] {
        let front = server.get(path).await;
        assert_eq!((front.status, front.text()), (200, "INDIGO-Orchestrator"));
        assert_eq!(front.header("content-type"), "text/plain;charset=UTF-8");
    }
    let bearer = format!("Bearer {}", server.operator());
    let host = server.address().to_string();
    for (headers, expected) in [
        (&[][..], format!("http://{host}")),
        (&[("x-forwarded-host", "paas.example"), ("x-forwarded-proto", "https")], "https://paas.example".to_owned()),
        (&[("forwarded", "host=\"paas.example:8443\";proto=https")], "https://paas.example:8443".to_owned()),
    ] {
        for path in ["/configuration", "/orchestrator/configuration/"] {
            let mut all = vec![("authorization", bearer.as_str())];
            all.extend_from_slice(headers);
            let configuration = server.call("GET", path, &all, "").await.json();
            let names = ["cpr_url", "slam_url", "cmdb_url", "im_url", "monitoring_url"];
            for name in names {
                assert_eq!(configuration[name], format!("{expected}/ostler/v1"), "{name}");
            }
            assert_eq!(configuration.as_object().unwrap().len(), names.len());
        }
    }
    let reply = server.get("/orchestrator/x/y").await;
    assert_eq!(failure(&reply, 404, "Not Found"), "No handler found for GET /orchestrator/x/y");
    assert_eq!(failure(&server.get("/orchestrator/deployments").await, 401, "Unauthorized"), ANONYMOUS);
}

#[tokio::test]
async fn what_is_switched_off_is_not_served() {
    let server = configured(&format!("{CLOUD}[api.indigo]\nenabled = false\n")).start().await;
    for path in ["/info", "/deployments", "/schedules"] {
        assert_eq!(server.get(path).await.status, 404, "{path}");
    }
}
