//! Persons with tokens of a real OpenID provider: `OSTLER_TEST_OIDC` is its address, `tests/setup/oidc.sh` starts it.

use super::life::{By, SLOW, TEMPLATE, machines};
use super::{configured, failure};
use ostler_tests::{Client, Setup};
use serde_json::{Value, json};

/// The provider.
pub(super) struct Provider {
    issuer: String,
}

impl Provider {
    /// Nothing where none is to be had; then tests that need it pass without it, and say so.
    pub(super) fn running() -> Option<Self> {
        let issuer = std::env::var("OSTLER_TEST_OIDC").ok();
        if issuer.is_none() {
            println!("SKIPPED: OSTLER_TEST_OIDC is not set");
        }
        Some(Self { issuer: issuer? })
    }

    /// A server that trusts it.
    pub(super) fn trusted(&self, toml: &str) -> Setup {
        self.trusted_with(toml, "")
    }

    /// The same, with more lines about it.
    pub(super) fn trusted_with(&self, toml: &str, more: &str) -> Setup {
        let issuer = &self.issuer;
        let oidc = format!(
            "[[oidc]]\nissuer = \"{issuer}\"\naudience = [\"ostler\"]\nclient_id = \"ostler\"\nclient_secret = {{ env = \"CLIENT_SECRET\" \
             }}\nuserinfo = true\nsupervisors = \"operators\"\n{more}"
        );
        // As the provider has it.
        configured(&format!("{toml}{oidc}")).env("CLIENT_SECRET", "s3cr3t:+ %canary")
    }

    fn client(&self) -> Client {
        Client::new(self.issuer.strip_prefix("http://").unwrap().parse().unwrap())
    }

    /// A person's token.
    pub(super) async fn log_in(&self, subject: &str, scope: &str) -> String {
        let path = format!("/test/login?sub={subject}&scope={}", scope.replace(' ', "+"));
        let reply = self.client().call("POST", &path, &[], "").await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// A token of a program: a JSON Web Token, or one that only the provider can read.
    async fn robot(&self, resource: &str) -> String {
        let basic = "Basic cm9ib3Q6cm9ib3RzLXNlY3JldA==";
        let form = format!("grant_type=client_credentials&resource={resource}&scope=deploy");
        let headers = [("authorization", basic), ("content-type", "application/x-www-form-urlencoded")];
        let reply = self.client().call("POST", "/token", &headers, form).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()["access_token"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn persons_have_deployments_and_supervisors_see_those_of_their_organisation() {
    let Some(provider) = Provider::running() else { return };
    let server = provider.trusted(SLOW).start().await;
    let by = async |subject: &str, scope: &str| By { server: &server, token: provider.log_in(subject, scope).await };
    let (ada, bob, eve) = (
        by("ada", "openid profile offline_access").await,
        by("bob", "openid profile offline_access").await,
        by("eve", "openid profile offline_access").await,
    );
    let order = |group: &str| json!({ "template": TEMPLATE, "userGroup": group });

    // Only with a scope that is good for it, and for a group of hers.
    let looks = by("ada", "openid profile").await;
    assert_eq!(looks.get("/deployments").await.status, 200);
    let refused = looks.call("POST", "/deployments", &order("physics")).await;
    assert!(failure(&refused, 403, "Forbidden").starts_with("Insufficient scope for this resource"));
    assert!(refused.header("www-authenticate").contains("insufficient_scope"), "{}", refused.header("www-authenticate"));
    let refused = ada.call("POST", "/deployments", &order("chemistry")).await;
    assert_eq!(failure(&refused, 403, "Forbidden"), "The group chemistry is not in the user's authorized groups");

    let made = ada.call("POST", "/deployments", &order("physics")).await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.json()["createdBy"], json!({ "issuer": provider.issuer, "subject": "ada" }));
    let id = made.json()["uuid"].as_str().unwrap().to_owned();
    assert_eq!(ada.settled(&id).await["status"], "CREATE_COMPLETE");
    let log = format!("/deployments/{id}/log");
    for (who, seen, log_status) in [(&ada, 1, 200), (&bob, 0, 404), (&eve, 1, 200)] {
        assert_eq!(who.get("/deployments").await.json()["page"]["totalElements"], seen);
        assert_eq!(who.get(&log).await.status, log_status);
    }
    // Her name is good for nothing else.
    assert_eq!(eve.get("/ostler/v1/drivers").await.status, 403);

    assert_eq!(bob.call("DELETE", &format!("/deployments/{id}"), &Value::Null).await.status, 404);
    assert_eq!(eve.call("DELETE", &format!("/deployments/{id}"), &Value::Null).await.status, 204);
    ada.gone(&id).await;
    assert_eq!(machines(&server, "default").await, Vec::<Value>::new());
    for token in [&ada.token, &bob.token, &eve.token] {
        assert!(!server.log().contains(token.as_str()), "a token is in the log");
    }
    assert!(!server.log().contains("canary"));
}

#[tokio::test]
async fn tokens_are_taken_by_every_dialect_if_they_are_good() {
    let Some(provider) = Provider::running() else { return };
    let server = provider.trusted(SLOW).start().await;
    let robots = [
        provider.robot("urn:ostler:rs256").await,
        provider.robot("urn:ostler:es256").await,
        provider.robot("urn:ostler:opaque").await,
    ];
    for token in robots {
        let robot = By { server: &server, token };
        assert_eq!(robot.get("/deployments").await.status, 200);
        // Customers have no business with nodes.
        assert_eq!(robot.get("/api/v2/nodes/default").await.status, 403);
    }
    let other = provider.robot("urn:other").await;
    let mut forged = provider.robot("urn:ostler:rs256").await;
    let last = if forged.ends_with('A') { "B" } else { "A" };
    forged.replace_range(forged.len() - 1.., last);
    for token in [other, forged, "canary.of.nobody".to_owned(), "canaryofnobody".to_owned()] {
        let who = By { server: &server, token };
        let refused = who.get("/deployments").await;
        assert_eq!(failure(&refused, 401, "Unauthorized"), "Invalid token");
        assert_eq!(who.get("/ostler/v1/clouds").await.status, 401);
    }
}

#[tokio::test]
async fn a_person_who_is_a_user_has_his_account_and_roles() {
    let Some(provider) = Provider::running() else { return };
    let server = provider.trusted(SLOW).start().await;
    let ada = By { server: &server, token: provider.log_in("ada", "openid profile offline_access").await };
    assert_eq!(ada.get("/ostler/v1/clouds").await.status, 403);
    let user = json!({ "username": "lovelace", "roles": ["agent"], "password": "a-password" });
    assert_eq!(server.as_operator("POST", "/ostler/v1/users", user.to_string()).await.status, 201);
    let link = |subject: &str, issuer: &str| json!({ "issuer": issuer, "subject": subject }).to_string();
    let path = "/ostler/v1/users/lovelace/links";
    let unknown = server.as_operator("PUT", path, link("ada", "https://nobody.example/")).await;
    assert_eq!(unknown.status, 422, "{}", unknown.text());
    let linked = server.as_operator("PUT", path, link("ada", &provider.issuer)).await;
    assert_eq!(linked.status, 200, "{}", linked.text());
    assert_eq!(ada.get("/ostler/v1/clouds").await.status, 200);
    let listed = server.as_operator("GET", path, "").await.json();
    assert_eq!(listed["links"][0]["subject"], "ada");
    // Who is kept out is kept out with every credential.
    let out = server.as_operator("PATCH", "/ostler/v1/users/lovelace", json!({ "active": false }).to_string()).await;
    assert_eq!(out.status, 200);
    assert_eq!(failure(&ada.get("/deployments").await, 401, "Unauthorized"), "Invalid token");
    let issuer: String = url::form_urlencoded::byte_serialize(provider.issuer.as_bytes()).collect();
    let gone = server.as_operator("DELETE", &format!("{path}?issuer={issuer}&subject=ada"), "").await;
    assert_eq!((gone.status, gone.json()["changed"].as_bool()), (200, Some(true)), "{}", gone.text());
    assert_eq!(ada.get("/deployments").await.status, 200);
    assert_eq!(ada.get("/ostler/v1/clouds").await.status, 403);
}

#[tokio::test]
async fn an_issuer_that_does_not_answer_is_no_reason_to_let_anybody_in() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let oidc = format!("[[oidc]]\nissuer = \"http://127.0.0.1:{port}\"\naudience = [\"ostler\"]\n");
    let server = configured(&format!("{SLOW}{oidc}")).start().await;
    let header = "eyJhbGciOiJSUzI1NiJ9";
    let encode = |text: &str| {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
    };
    let payload = encode(&format!("{{\"iss\":\"http://127.0.0.1:{port}\",\"sub\":\"x\",\"aud\":\"ostler\",\"exp\":4102444800}}"));
    let who = By { server: &server, token: format!("{header}.{payload}.{}", encode(&"x".repeat(256))) };
    let reply = who.get("/deployments").await;
    assert_eq!((reply.status, reply.json()["title"].as_str()), (503, Some("Service Unavailable")), "{}", reply.text());
    assert_eq!(who.get("/ostler/v1/clouds").await.status, 503);
}
