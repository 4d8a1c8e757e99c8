//! The Cloud Edge API, over HTTPS and on loopback HTTP, with users of every role.

mod faults;
mod life;
mod mail;
mod roles;
mod users;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ostler_tests::director::Director;
use ostler_tests::{Client, PATIENCE, Reply, Server, Setup, eventually};
use serde_json::{Value, json};

/// A platform that works, and some that are slow, full, bare or broken.
const CONFIG: &str = "
[clouds.default]
driver = \"dummy\"
config = { form = \"plain\", capacity_nodes = 40 }
[clouds.slow]
driver = \"dummy\"
config = { form = \"plain\", image_ms = 3600000 }
[clouds.full]
driver = \"dummy\"
config = { form = \"plain\", capacity_nodes = 0 }
[clouds.poor]
driver = \"dummy\"
config = { form = \"plain\", quota_nodes = 0 }
[clouds.bare]
driver = \"dummy\"
[api.cloudedge]
prefix = \"/edge\"
";
const PASSWORD: &str = "canary-of-everybody";
/// What the images of these tests are made of; nobody fetches it.
const SOURCE: &str = "https://images.example/edge/flick.tar.gz";

fn basic(user: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{PASSWORD}")))
}

/// A server with an administrator, and how it is spoken to.
struct Edge {
    server: Server,
    tls: bool,
}

impl Edge {
    /// With the configuration of this room, and more.
    async fn start(more: &str) -> Self {
        let setup = Setup::configured(format!("{CONFIG}{more}")).arg("--listen-tls").arg("127.0.0.1:0");
        Self { server: setup.env("OSTLER_ADMIN_PASSWORD", PASSWORD).start().await, tls: false }
    }

    /// From now on by HTTPS, or not.
    fn by_tls(self, tls: bool) -> Self {
        Self { tls, ..self }
    }

    fn client(&self) -> Client {
        if self.tls { Director::of(&self.server).client(None) } else { self.server.client() }
    }

    /// What links begin with.
    fn origin(&self) -> String {
        if self.tls { "https://edge.example".into() } else { "http://edge.example".into() }
    }

    async fn call(&self, user: &str, method: &str, path: &str, body: &Value) -> Reply {
        self.keyed(user, method, path, body, None).await
    }

    /// With an idempotency key.
    async fn keyed(&self, user: &str, method: &str, path: &str, body: &Value, key: Option<&str>) -> Reply {
        let (authorization, body) = (basic(user), if body.is_null() { String::new() } else { body.to_string() });
        let mut headers = vec![("host", "edge.example"), ("authorization", authorization.as_str())];
        if !body.is_empty() {
            headers.push(("content-type", "application/json"));
        }
        headers.extend(key.map(|key| ("idempotency-key", key)));
        self.client().call(method, path, &headers, body).await
    }

    async fn get(&self, user: &str, path: &str) -> Reply {
        self.call(user, "GET", path, &Value::Null).await
    }

    async fn post(&self, user: &str, path: &str, body: Value) -> Reply {
        self.call(user, "POST", path, &body).await
    }

    async fn delete(&self, user: &str, path: &str) -> Reply {
        self.call(user, "DELETE", path, &Value::Null).await
    }

    /// Makes a user with the password of all; its number.
    async fn user(&self, name: &str, role: &str) -> i64 {
        let body = json!({"User": {"username": name, "role": role, "password": PASSWORD}});
        let made = self.post("admin", "/cloudedge/users", body).await;
        assert_eq!(made.status, 202, "{}", made.text());
        number(&made.json()["User"]["id"])
    }

    /// The number of the provider's own image of this name.
    async fn image(&self, base: &str, name: &str) -> i64 {
        let listed = self.get("admin", &format!("{base}/images")).await;
        assert_eq!(listed.status, 200, "{}", listed.text());
        let images = listed.json();
        let found = images["images"].as_array().unwrap().iter().find(|image| image["name"] == name);
        number(&found.unwrap_or_else(|| panic!("no {name} in {images}"))["id"])
    }

    /// Makes an instance; its number.
    async fn instance(&self, user: &str, image: i64) -> i64 {
        let made = self.post(user, "/cloudedge/instances", json!({"instance": {"imageRef": image}})).await;
        assert_eq!(made.status, 202, "{}", made.text());
        number(&made.json()["instance"]["id"])
    }

    async fn act(&self, user: &str, instance: i64, action: Value) -> Reply {
        self.post(user, &format!("/cloudedge/instances/{instance}/action"), action).await
    }

    /// Does something to an instance, which must be taken, and waits for what comes of it.
    async fn bring(&self, instance: i64, action: Value, status: &str) {
        let taken = self.act("admin", instance, action.clone()).await;
        assert_eq!((taken.status, taken.text()), (202, ""), "{action}");
        self.is(instance, status).await;
    }

    /// Waits for the state of an instance.
    async fn is(&self, instance: i64, status: &str) {
        eventually(&format!("instance {instance} is {status}"), PATIENCE, async || {
            let shown = self.get("admin", &format!("/cloudedge/instances/{instance}")).await;
            assert_eq!(shown.status, 200, "{}", shown.text());
            (shown.json()["instances"]["status"] == status).then_some(())
        })
        .await;
    }
}

/// A number that is one in JSON, too.
fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is no whole number"))
}

/// The fault of this name, with its code, in the body and as the status.
fn fault(reply: &Reply, code: u16, name: &str) {
    let body = reply.json();
    assert_eq!((reply.status, &body[name]["code"]), (code, &json!(code)), "{body}");
    assert!(
        body.as_object().unwrap().len() == 1 && body[name]["message"].as_str().is_some_and(|text| !text.is_empty()),
        "{body}"
    );
    assert_eq!(reply.header("content-type"), "application/json");
    match code {
        401 => assert_eq!(reply.header("www-authenticate"), "Basic realm=\"cloudedge\""),
        503 => assert!(reply.header("retry-after").parse::<u64>().is_ok(), "{:?}", reply.headers),
        405 => assert!(!reply.header("allow").is_empty()),
        _ => {}
    }
}
