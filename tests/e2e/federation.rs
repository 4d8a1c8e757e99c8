//! A cloud of Ostlers: one whose provider is another, which is killed in the middle of orders; and two that lead to each other.

use ostler_tests::{PATIENCE, Server, Setup, components, eventually};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const PASSWORD: &str = "canary-of-the-far-side";

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

#[tokio::test(flavor = "multi_thread")]
async fn orders_outlive_the_near_one() {
    let far = far().await;
    let mut near = near(&format!("http://{}/cloudedge", far.address())).start().await;
    near.serving("home1").await;
    let images = near.get("/api/v1/images/home1").await.json();
    let image = images["images"][0]["id"].as_str().unwrap_or_else(|| panic!("{images}")).to_owned();
    let order = |name: &str| json!({ "name": name, "image": image, "size": "default" }).to_string();
    let made = near.json("POST", "/api/v1/vm/start/home1", &order("first")).await;
    assert_eq!(made.status, 200, "{}", made.text());
    eventually("it runs", PATIENCE, async || {
        let all = nodes(&near).await;
        (all.len() == 1 && all[0]["state"] == 0 && all[0]["name"] == "first").then_some(())
    })
    .await;
    let named = instances(&far).await;
    assert!(named.len() == 1 && named[0].starts_with("first--ostler-"), "{named:?}");

    // Killed in the middle of orders with keys: each is there once, when all is taken up again.
    let orders = (0..8).map(|at| {
        let (mut client, body) = (near.client(), order(&format!("n{at}")));
        tokio::spawn(async move {
            let key = format!("key-{at}");
            let request = http::Request::post("/api/v1/vm/start/home1")
                .header("host", "127.0.0.1")
                .header("content-type", "application/json")
                .header("idempotency-key", key)
                .body(body.into())
                .unwrap();
            client.send(request).await.is_ok_and(|reply| reply.status == 200)
        })
    });
    let orders: Vec<_> = orders.collect();
    eventually("some orders have arrived", PATIENCE, async || (instances(&far).await.len() > 2).then_some(())).await;
    near.kill();
    let taken: usize = futures::future::join_all(orders).await.into_iter().map(|done| usize::from(done.unwrap())).sum();
    near.start().await;
    near.serving("home1").await;
    for at in 0..8 {
        let (key, body) = (format!("key-{at}"), order(&format!("n{at}")));
        eventually(&format!("order {at} of which {taken} were answered"), PATIENCE, async || {
            let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
            let again = near.call("POST", "/api/v1/vm/start/home1", &headers, body.clone()).await;
            (again.status == 200).then_some(())
        })
        .await;
    }
    let there = instances(&far).await;
    let plain: BTreeSet<&str> = there.iter().map(|name| name.split("--ostler-").next().unwrap()).collect();
    assert_eq!((there.len(), plain.len()), (9, 9), "{there:?}");

    for node in nodes(&near).await {
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
