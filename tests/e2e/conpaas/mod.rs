//! The Director API of ConPaaS, over TLS, with real certificates and real archives.

mod applications;
mod attacks;
mod credit;
mod kill;
mod members;
mod routes;
mod session;
mod tls;
mod tricks;

use ostler_tests::director::{Director, Identity};
use ostler_tests::{Reply, Server, Setup};
use serde_json::Value;

/// A cloud whose nodes show what they were given for their first boot, and one in which each step takes its time.
const CONFIG: &str = "
[clouds.default]
driver = \"dummy\"
config = { form = \"plain\", keep_user_data = true }
[clouds.full]
driver = \"dummy\"
config = { form = \"plain\", capacity_nodes = 0 }
[clouds.dead]
driver = \"dummy\"
config = { form = \"plain\", boot_ms = 3600000 }
[clouds.slow]
driver = \"dummy\"
config = { form = \"plain\", boot_ms = 300, keep_user_data = true }
[api.crs4]
open = true
[api.conpaas]
registration = \"open\"
[services]
start_timeout_seconds = 2
[services.types.php]
image = \"cirros-0.6\"
size = \"tiny\"
[services.types.java]
image = \"cirros-0.6\"
size = \"tiny\"
script = \"java.sh\"
";

/// Without the script, which needs a file.
fn config() -> String {
    CONFIG.replace("script = \"java.sh\"\n", "")
}

fn setup() -> Setup {
    Setup::configured(config()).arg("--listen-tls").arg("127.0.0.1:0")
}

/// Starts a service. What the server says of it.
async fn start(director: &Director, user: &Identity, path: &str) -> Value {
    let reply = director.post(Some(user), path, &[]).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, "application/json"), "{}", reply.text());
    let service = reply.json();
    assert!(service["sid"].is_i64(), "{service}");
    service
}

/// The certificate of the manager of a service on a cloud that shows user-data.
async fn manager(server: &Server, cloud: &str, service: &Value) -> Identity {
    let nodes = server.get(&format!("/api/v1/nodes/{cloud}")).await.json();
    let node = nodes["nodes"].as_array().unwrap().iter().find(|node| node["id"] == service["vmid"]);
    Identity::from_user_data(node.unwrap_or_else(|| panic!("{service} in {nodes}"))["extra"]["user_data"].as_str().unwrap())
}

/// How many nodes a cloud has.
async fn nodes(server: &Server, cloud: &str) -> usize {
    server.get(&format!("/api/v1/nodes/{cloud}")).await.json()["nodes"].as_array().unwrap().len()
}

/// The user's credit.
async fn credit(director: &Director, user: &Identity) -> i64 {
    director.get(Some(user), "/user_credit").await.json().as_i64().unwrap()
}

/// `false` with status 200, and a reason.
fn refused(reply: &Reply) {
    assert_eq!((reply.status, reply.text()), (200, "false"), "{}", reply.header("x-error"));
    assert!(!reply.header("x-error").is_empty());
}

/// A certificate signing request, PEM.
fn csr(common_name: &str) -> String {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
    params.serialize_request(&rcgen::KeyPair::generate().unwrap()).unwrap().pem().unwrap()
}
