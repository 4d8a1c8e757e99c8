//! A cloud of Ostlers: one whose provider is another, which is killed in the middle of orders; and two that lead to each other.

use ostler_tests::{PATIENCE, Server, Setup, components, eventually};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};

const PASSWORD: &str = "canary-of-the-far-side";
const ORDERS: usize = 8;

/// The far one: machines that take a moment.
async fn far() -> Server {
    let config =
        "[clouds.default]\ndriver = \"dummy\"\nconfig = { form = \"plain\", boot_ms = 50, latency_ms = 5 }\n[api.cloudedge]\n";
    let setup = Setup::configured(config).arg("--listen-tls").arg("127.0.0.1:0").env("OSTLER_ADMIN_PASSWORD", PASSWORD);
    let server = setup.start().await;
    let user = json!({ "username": "near", "roles": ["guest"], "password": PASSWORD });
    let added = server.as_operator("POST", "/ostler/v1/users", user.to_string()).await;
    assert_eq!(added.status, 201, "{}", added.text());
    server
}

/// The near one, whose cloud `home1` is there. Plain HTTP: a server that is started again has the same address only by chance.
fn near(url: &str) -> Setup {
    let origin = url.split("/cloudedge").next().unwrap();
    let config = format!(
        "[clouds.home1]\ndriver = \"edge\"\ngrants = {{ http = [\"{origin}\"] }}\nconfig = {{ url = \"{url}\", username = \"near\" }}\n\
         secrets = {{ password = {{ env = \"FAR_PASSWORD\" }} }}\n[api.crs4]\nopen = true\n"
    );
    Setup::configured(config).env("FAR_PASSWORD", PASSWORD).driver("edge", components::edge())
}

/// The names of what the far one has.
async fn instances(far: &Server) -> Vec<String> {
    let listed = far.as_operator("GET", "/cloudedge/instances", "").await.json();
    listed["instances"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

async fn nodes(near: &Server) -> Vec<Value> {
    near.get("/api/v1/nodes/home1").await.json()["nodes"].as_array().cloned().unwrap_or_default()
}

fn order(name: &str, image: &str) -> String {
    json!({ "name": name, "image": image, "size": "default" }).to_string()
}

/// Orders at once, each with a key; whether each was answered.
fn ordered(near: &Server, image: &str) -> Vec<tokio::task::JoinHandle<bool>> {
    let order = |at: usize| {
        let (mut client, body) = (near.client(), order(&format!("n{at}"), image));
        tokio::spawn(async move {
            let key = format!("key-{at}");
            let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
            let request = client.request("POST", "/api/v1/vm/start/home1", &headers, body);
            client.send(request).await.is_ok_and(|reply| reply.status == 200)
        })
    };
    (0..ORDERS).map(order).collect()
}

/// The same orders, until each has its answer.
async fn ordered_again(near: &Server, image: &str, taken: usize) {
    for at in 0..ORDERS {
        let (key, body) = (format!("key-{at}"), order(&format!("n{at}"), image));
        let end = Instant::now() + PATIENCE;
        loop {
            let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
            let again = near.call("POST", "/api/v1/vm/start/home1", &headers, body.clone()).await;
            if again.status == 200 {
                break;
            }
            assert!(Instant::now() < end, "order {at}, of which {taken} were answered: {}", again.text());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Removes every node that the near one shows, also where the first request for it fails.
async fn removed(near: &Server) {
    eventually("all are removed", PATIENCE, async || {
        for node in nodes(near).await {
            near.json("PUT", "/api/v1/vm/stop/home1", &json!({ "node": node["id"] }).to_string()).await;
        }
        let listed = near.get("/api/v1/nodes/home1").await;
        (listed.status == 200 && listed.json()["nodes"].as_array().is_some_and(Vec::is_empty)).then_some(())
    })
    .await;
}

/// An address that stays, in front of a server whose address changes.
struct Relay {
    address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
}

impl Relay {
    async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, target) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(target)));
        let present = Arc::clone(&target);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let target = *present.lock().unwrap();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(target).await?;
                    tokio::io::copy_bidirectional(&mut near, &mut far).await
                });
            }
        });
        Self { address, target }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_outlive_the_far_one() {
    let mut far = far().await;
    let relay = Relay::to(far.address()).await;
    let near = near(&format!("http://{}/cloudedge", relay.address)).start().await;
    near.serving("home1").await;
    let images = near.get("/api/v1/images/home1").await.json();
    let image = images["images"][0]["id"].as_str().unwrap_or_else(|| panic!("{images}")).to_owned();
    let orders = ordered(&near, &image);
    eventually("some orders have arrived", PATIENCE, async || (instances(&far).await.len() > 2).then_some(())).await;
    far.kill();
    far.start().await;
    *relay.target.lock().unwrap() = far.address();
    let taken: usize = futures::future::join_all(orders).await.into_iter().map(|done| usize::from(done.unwrap())).sum();
    ordered_again(&near, &image, taken).await;
    let there = instances(&far).await;
    let plain: BTreeSet<&str> = there.iter().map(|name| name.split("--ostler-").next().unwrap()).collect();
    assert_eq!((there.len(), plain.len()), (ORDERS, ORDERS), "{there:?}");

    // And in the middle of removals.
    let all = nodes(&near).await;
    let removals: Vec<_> = all
        .iter()
        .map(|node| {
            let (mut client, body) = (near.client(), json!({ "node": node["id"] }).to_string());
            tokio::spawn(async move {
                let request = client.request("PUT", "/api/v1/vm/stop/home1", &[("content-type", "application/json")], body);
                drop(client.send(request).await);
            })
        })
        .collect();
    eventually("some are removed", PATIENCE, async || (instances(&far).await.len() < ORDERS).then_some(())).await;
    far.kill();
    far.start().await;
    *relay.target.lock().unwrap() = far.address();
    futures::future::join_all(removals).await;
    removed(&near).await;
    eventually("nothing is left", PATIENCE, async || instances(&far).await.is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_outlive_the_near_one() {
    let far = far().await;
    let mut near = near(&format!("http://{}/cloudedge", far.address())).start().await;
    near.serving("home1").await;
    let images = near.get("/api/v1/images/home1").await.json();
    let image = images["images"][0]["id"].as_str().unwrap_or_else(|| panic!("{images}")).to_owned();
    let made = near.json("POST", "/api/v1/vm/start/home1", &order("first", &image)).await;
    assert_eq!(made.status, 200, "{}", made.text());
    eventually("it runs", PATIENCE, async || {
        let all = nodes(&near).await;
        (all.len() == 1 && all[0]["state"] == 0 && all[0]["name"] == "first").then_some(())
    })
    .await;
    let named = instances(&far).await;
    assert!(named.len() == 1 && named[0].starts_with("first--ostler-"), "{named:?}");

    // Killed in the middle of orders with keys: each is there once, when all is taken up again.
    let orders = ordered(&near, &image);
    eventually("some orders have arrived", PATIENCE, async || (instances(&far).await.len() > 2).then_some(())).await;
    near.kill();
    let taken: usize = futures::future::join_all(orders).await.into_iter().map(|done| usize::from(done.unwrap())).sum();
    near.start().await;
    near.serving("home1").await;
    ordered_again(&near, &image, taken).await;
    let there = instances(&far).await;
    let plain: BTreeSet<&str> = there.iter().map(|name| name.split("--ostler-").next().unwrap()).collect();
    assert_eq!((there.len(), plain.len()), (9, 9), "{there:?}");

    // A list costs one request, however long it is.
    let before = near.metric(&["ostler_egress_requests_total", "home1"]).await;
    let all = nodes(&near).await;
    let requests = near.metric(&["ostler_egress_requests_total", "home1"]).await - before;
    assert!(all.len() == 9 && requests < 1.5, "{requests} for {all:?}");

    for node in all {
        let body = json!({ "node": node["id"] }).to_string();
        assert_eq!(near.json("PUT", "/api/v1/vm/stop/home1", &body).await.status, 200);
    }
    eventually("nothing is left", PATIENCE, async || instances(&far).await.is_empty().then_some(())).await;
    assert!(!near.log().contains(PASSWORD) && !near.output().contains(PASSWORD));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_is_found() {
    let far = far().await;
    // It is told to use itself.
    let url = format!("http://{}/cloudedge", far.address());
    assert_eq!(far.install("edge", components::edge()).await.status, 200);
    let origin = url.split("/cloudedge").next().unwrap();
    let cloud = json!({
        "name": "mirror", "driver": "edge", "grants": { "http": [origin] },
        "config": { "url": url, "username": "near" }, "secrets": { "password": PASSWORD },
    });
    let refused = far.as_operator("POST", "/ostler/v1/clouds", cloud.to_string()).await;
    assert!(refused.status >= 400 && refused.text().contains("a loop of clouds has no machines"), "{}", refused.text());
    assert_eq!(far.as_operator("GET", "/ostler/v1/clouds/mirror", "").await.status, 404);
}
