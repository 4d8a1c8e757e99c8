//! What those who wait for deployments are told: signed, in order, again until it is taken, also by the next life of the server.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ostler_tests::{PATIENCE, Server, Setup, eventually};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

const CANARY: &str = "canary-of-a-callback";
const TEMPLATE: &str = "
tosca_definitions_version: tosca_simple_yaml_1_0
topology_template:
  node_templates:
    web:
      type: tosca.nodes.indigo.Compute
      capabilities:
        host: { properties: { num_cpus: 1, mem_size: 1 GB } }
        os: { properties: { distribution: debian } }
  outputs:
    db_password: { value: canary-of-a-callback }
    colour: { value: green }
";

/// What came.
#[derive(Clone)]
struct Told {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Told {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn status(&self) -> String {
        self.json()["status"].as_str().unwrap().to_owned()
    }
}

/// A receiver: keeps what comes, and answers as it is told; without an answer it never does; after the last one always 200.
#[derive(Clone)]
struct Receiver {
    address: SocketAddr,
    told: Arc<Mutex<Vec<Told>>>,
    answers: Arc<Mutex<VecDeque<Option<u16>>>>,
}

impl Receiver {
    async fn start(answers: &[Option<u16>]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let receiver = Self { address, told: Arc::default(), answers: Arc::new(Mutex::new(answers.iter().copied().collect())) };
        let router = axum::Router::new().fallback(take).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        receiver
    }

    fn url(&self) -> String {
        format!("http://{}/hook/{CANARY}?a=b", self.address)
    }

    /// Waits until so many have come, and gives all back.
    async fn all(&self, count: usize) -> Vec<Told> {
        eventually(&format!("{count} callbacks"), PATIENCE, async || {
            let told = self.told.lock().unwrap().clone();
            (told.len() >= count).then_some(told)
        })
        .await
    }
}

async fn take(State(receiver): State<Receiver>, uri: Uri, headers: HeaderMap, body: Bytes) -> StatusCode {
    receiver.told.lock().unwrap().push(Told { path: uri.to_string(), headers, body });
    let answer = receiver.answers.lock().unwrap().pop_front();
    match answer {
        Some(Some(status)) => StatusCode::from_u16(status).unwrap(),
        Some(None) => std::future::pending().await,
        None => StatusCode::OK,
    }
}

fn setup(callbacks: &str) -> Setup {
    Setup::configured(format!(
        "[clouds.default]\ndriver = \"dummy\"\nconfig = {{ form = \"plain\" }}\n[api.indigo]\nopen = true\n{callbacks}"
    ))
}

async fn create(server: &Server, callback: &str) -> String {
    let body = json!({ "template": TEMPLATE, "callback": callback }).to_string();
    let reply = server.json("POST", "/deployments", &body).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    reply.json()["uuid"].as_str().unwrap().to_owned()
}

/// HMAC-SHA256 as RFC 2104 defines it.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let padded = |pad: u8| {
        let mut block = [pad; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().to_vec()
}

#[tokio::test]
async fn a_life_is_told_signed_and_in_order() {
    // The first is refused once, and the second waits for it.
    let receiver = Receiver::start(&[Some(503)]).await;
    let server = setup(&format!("callbacks = {{ hosts = [\"{}\"] }}\n", receiver.address)).start().await;
    let id = create(&server, &receiver.url()).await;
    let told = receiver.all(3).await;
    let statuses: Vec<_> = told.iter().map(Told::status).collect();
    assert_eq!(statuses, ["CREATE_IN_PROGRESS", "CREATE_IN_PROGRESS", "CREATE_COMPLETE"]);
    assert_eq!(server.call("DELETE", &format!("/deployments/{id}"), &[], "").await.status, 204);
    let told = receiver.all(4).await;
    assert_eq!((told.len(), told[3].status()), (4, "DELETE_COMPLETE".to_owned()));

    let shown = ostler_tests::server::program().args(["callback", "secret", "--data"]).arg(server.data()).output().unwrap();
    let secret = String::from_utf8(shown.stdout).unwrap();
    let key = STANDARD.decode(secret.trim().strip_prefix("whsec_").unwrap()).unwrap();
    for one in &told {
        assert_eq!((one.path.as_str(), one.header("content-type")), (&*format!("/hook/{CANARY}?a=b"), "application/json"));
        let message = format!("{}.{}.", one.header("webhook-id"), one.header("webhook-timestamp"));
        let signature = hmac(&key, &[message.as_bytes(), &one.body].concat());
        assert_eq!(one.header("webhook-signature"), format!("v1,{}", STANDARD.encode(signature)));
        assert_eq!((&one.json()["uuid"], &one.json()["links"]), (&json!(id), &json!([])));
    }
    let names: Vec<_> = told.iter().map(|one| one.header("webhook-id")).collect();
    assert!(names[0] == names[1] && names[1] != names[2] && names[2] != names[3], "{names:?}");
    assert_eq!(told[0].body, told[1].body);
    assert_eq!(told[2].json()["outputs"], json!({ "colour": "green", "db_password": "" }));
    let log = server.log();
    assert!(!log.contains(CANARY) && !log.contains(secret.trim()), "{log}");
    assert!(log.contains("a callback failed and is tried again"), "{log}");
}

#[tokio::test]
async fn what_was_under_way_at_a_crash_comes_again() {
    let receiver = Receiver::start(&[None]).await;
    let mut server = setup(&format!("callbacks = {{ hosts = [\"{}\"] }}\n", receiver.address)).start().await;
    let id = create(&server, &receiver.url()).await;
    let before = receiver.all(1).await.remove(0);
    server.kill();
    server.start().await;
    let after = receiver.all(3).await;
    assert_eq!((after[1].header("webhook-id"), &after[1].body), (before.header("webhook-id"), &before.body));
    assert_eq!((&after[2].json()["uuid"], after[2].status()), (&json!(id), "CREATE_COMPLETE".to_owned()));
}

#[tokio::test]
async fn this_machine_is_not_called_unless_the_operator_wants_it() {
    let receiver = Receiver::start(&[]).await;
    let server = setup("callbacks = { allow_private = true }\n").start().await;
    create(&server, &receiver.url()).await;
    eventually("the callback fails", PATIENCE, async || {
        server.log().contains("loopback addresses are not acceptable").then_some(())
    })
    .await;
    assert!(receiver.told.lock().unwrap().is_empty() && !server.log().contains(CANARY));
}
