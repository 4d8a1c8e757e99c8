//! What goes wrong, and under which name.

use super::{Edge, PASSWORD, SOURCE, basic, fault, number};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ostler_tests::{Client, Setup};
use serde_json::{Value, json};

#[tokio::test]
async fn every_route_asks_who_it_is() {
    let edge = Edge::start("").await;
    let long = format!("Basic {}", "A".repeat(9000));
    let no_colon = format!("Basic {}", STANDARD.encode("admin"));
    for tls in [false, true] {
        let edge = &edge;
        let client = || if tls { ostler_tests::director::Director::of(&edge.server).client(None) } else { edge.server.client() };
        for path in
            ["version", "platform/resources", "images", "instances/1", "fwrules", "users", "instance/1/metrics", "nothing"]
        {
            fault(&client().get(&format!("/cloudedge/{path}")).await, 401, "unauthorized");
        }
        for authorization in ["Basic", "Basic !", no_colon.as_str(), long.as_str(), "Negotiate x"] {
            let reply = client().call("GET", "/cloudedge/version", &[("authorization", authorization)], "").await;
            fault(&reply, 401, "unauthorized");
        }
        let right = client().call("GET", "/cloudedge/version", &[("authorization", &basic("admin"))], "").await;
        assert_eq!(right.status, 200);
    }
    let token = format!("Bearer {}", edge.server.operator());
    assert_eq!(edge.server.call("GET", "/cloudedge/users", &[("authorization", &token)], "").await.status, 200);
}

#[tokio::test]
async fn guessing_has_an_end() {
    let edge = Edge::start("").await;
    let mut client: Client = edge.server.client();
    let wrong = format!("Basic {}", STANDARD.encode("admin:guess"));
    for _ in 0..30 {
        let reply = client.call("GET", "/cloudedge/version", &[("authorization", &wrong)], "").await;
        if reply.status == 413 {
            fault(&reply, 413, "overLimit");
            assert!(reply.header("retry-after").parse::<u64>().is_ok());
            return;
        }
        fault(&reply, 401, "unauthorized");
    }
    panic!("thirty guesses in a row");
}

#[tokio::test]
async fn requests_that_are_none() {
    let edge = Edge::start("").await;
    let large = json!({"image": {"name": "x".repeat(2 << 20), "imageRef": SOURCE}});
    for (method, path, body, code, name) in [
        ("GET", "/cloudedge", &Value::Null, 404, "itemNotFound"),
        ("GET", "/cloudedge/image/1", &Value::Null, 404, "itemNotFound"),
        ("GET", "/nowhere/cloudedge/version", &Value::Null, 404, "itemNotFound"),
        ("GET", "/cloudedge/images/999999", &Value::Null, 404, "itemNotFound"),
        ("GET", "/cloudedge/images/one", &Value::Null, 404, "itemNotFound"),
        ("GET", "/cloudedge/instances/999999", &Value::Null, 404, "itemNotFound"),
        ("DELETE", "/cloudedge/instances/999999", &Value::Null, 404, "itemNotFound"),
        ("POST", "/cloudedge/instances/999999/action", &json!({"start": null}), 404, "itemNotFound"),
        ("GET", "/cloudedge/instances/999999/metrics", &Value::Null, 404, "itemNotFound"),
        ("GET", "/cloudedge/fwrules/999999", &Value::Null, 404, "itemNotFound"),
        ("DELETE", "/cloudedge/fwrules/999999", &Value::Null, 404, "itemNotFound"),
        ("POST", "/cloudedge/fwrules", &json!({"fwrule": {"instanceRef": 999_999, "port_to": 22}}), 404, "itemNotFound"),
        ("POST", "/cloudedge/instances", &json!({"instance": {"imageRef": 999_999}}), 404, "itemNotFound"),
        ("POST", "/cloudedge/instances", &json!({"instance": {"imageRef": "https://x/y"}}), 400, "badRequest"),
        ("POST", "/cloudedge/instances", &json!({}), 400, "badRequest"),
        ("POST", "/cloudedge/images", &json!({"image": {"name": "a", "imageRef": "file:///etc/passwd"}}), 400, "badRequest"),
        ("GET", "/cloudedge/instances?image=all", &Value::Null, 400, "badRequest"),
        ("PUT", "/cloudedge/images/1", &json!({}), 405, "badMethod"),
        ("POST", "/cloudedge/version", &json!({}), 405, "badMethod"),
        ("POST", "/cloudedge/images", &large, 413, "overLimit"),
    ] {
        fault(&edge.call("admin", method, path, body).await, code, name);
    }
    let authorization = basic("admin");
    let send = async |kind: &str, body: &'static str| {
        let headers = [("authorization", authorization.as_str()), ("content-type", kind)];
        edge.server.call("POST", "/cloudedge/images", &headers, body).await
    };
    fault(&send("text/plain", "{}").await, 415, "badMediaType");
    // As the specification's own example has it.
    let typographic =
        "{\n \"image\":\n  {\n    \"name\": \"flickr++\",\n    \"imageRef\": \u{201c}http://www.example.com\u{201d},\n  }\n}";
    let broken = send("application/json", typographic).await;
    fault(&broken, 400, "badRequest");
    assert!(broken.text().contains("line 5 column"), "{}", broken.text());
}

#[tokio::test]
async fn clouds_that_cannot() {
    let edge = Edge::start("").await;
    // It says nothing of its capacity, and takes no images.
    fault(&edge.get("admin", "/bare/cloudedge/platform/resources").await, 400, "badRequest");
    let order = json!({"image": {"name": "a", "imageRef": SOURCE}});
    fault(&edge.post("admin", "/bare/cloudedge/images", order.clone()).await, 400, "badRequest");
    for (cloud, code, name) in [("full", 503, "serviceUnavailable"), ("poor", 413, "overLimit")] {
        let base = format!("/{cloud}/cloudedge");
        let image = edge.image(&base, "CirrOS 0.6").await;
        let body = json!({"instance": {"imageRef": image}});
        fault(&edge.post("admin", &format!("{base}/instances"), body).await, code, name);
        assert_eq!(
            edge.get("admin", &format!("{base}/instances")).await.json(),
            json!({"instances": []}),
            "nothing is left of it"
        );
    }
    // An image that never comes.
    let made = edge.post("admin", "/slow/cloudedge/images", order).await;
    assert_eq!((made.status, &made.json()["image"]["status"]), (202, &json!("SAVING")), "{}", made.text());
    let image = number(&made.json()["image"]["id"]);
    fault(&edge.get("admin", &format!("/cloudedge/images/{image}")).await, 404, "itemNotFound");
    fault(&edge.delete("admin", &format!("/slow/cloudedge/images/{image}")).await, 409, "buildInProgress");
    let early = edge.post("admin", "/slow/cloudedge/instances", json!({"instance": {"imageRef": image}})).await;
    fault(&early, 409, "buildInProgress");
    let elsewhere = json!({"instance": {"imageRef": format!("http://edge.example/slow/cloudedge/images/{image}")}});
    fault(&edge.post("admin", "/cloudedge/instances", elsewhere).await, 400, "badRequest");
}

#[tokio::test]
async fn without_a_cloud_and_switched_off() {
    let config = "[clouds.lab]\ndriver = \"dummy\"\nconfig = { form = \"plain\" }\n";
    let server = Setup::configured(config).env("OSTLER_ADMIN_PASSWORD", PASSWORD).start().await;
    let authorization = basic("admin");
    let headers = [("authorization", authorization.as_str())];
    for (path, status) in
        [("/cloudedge/version", 200), ("/cloudedge/users", 200), ("/cloudedge/images", 404), ("/lab/cloudedge/images", 200)]
    {
        assert_eq!(server.call("GET", path, &headers, "").await.status, status, "{path}");
    }
    assert!(server.get("/").await.text().contains("Cloud Edge API: /cloudedge"));
    let off = format!("{config}[api.cloudedge]\nenabled = false\n");
    let server = Setup::configured(off).env("OSTLER_ADMIN_PASSWORD", PASSWORD).start().await;
    let reply = server.call("GET", "/cloudedge/version", &headers, "").await;
    assert_eq!((reply.status, reply.header("content-type")), (404, "application/problem+json"));
}
