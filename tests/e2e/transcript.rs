//! The transcript of the Orchestrator's documentation, byte for byte and in its order, on a fresh store.

use crate::v1::{EMULATED, IMAGES, NODES, SIZES, STARTED_3, STARTED_4, WRONG_CLOUD, error};
use ostler_tests::{Reply, Server, Setup};
use std::process::Command;

struct Exchange {
    method: &'static str,
    path: &'static str,
    body: &'static str,
    status: u16,
    length: usize,
    answer: String,
}

fn exchanges() -> Vec<Exchange> {
    const START: &str = r#"{ "name": "cloud_test", "image": "1" , "size" : "1" }"#;
    const ASSIGN: &str = r#"{"emulate": "True", "node": "fake_id", "user": "fake_user", "vm_type": "app_name"}"#;
    let wrong = error(500, WRONG_CLOUD);
    [
        ("GET", "nodes/fake_driver", "", 200, 683, NODES),
        ("GET", "nodes/fake_driver", "", 200, 683, NODES),
        ("GET", "nodes/wrong_driver", "", 500, 199, &wrong),
        ("GET", "images/fake_driver", "", 200, 422, IMAGES),
        ("GET", "images/wrong_driver", "", 500, 199, &wrong),
        ("GET", "sizes/fake_driver", "", 200, 738, SIZES),
        ("GET", "sizes/wrong_driver", "", 500, 199, &wrong),
        ("POST", "vm/start/fake_driver", r#"{"image": "1", "name": "cloud_test", "size": "1"}"#, 200, 322, STARTED_3),
        ("POST", "vm/start/fake_driver", START, 200, 322, STARTED_4),
        (
            "PUT",
            "vm/stop/fake_driver",
            r#"{"node": "3"}"#,
            200,
            50,
            "{\n  \"result\": \"Node 3 deleted\",\n  \"status\": \"ok\"\n}",
        ),
        (
            "PUT",
            "vm/stop/fake_driver",
            r#"{ "node": "4" }"#,
            200,
            50,
            "{\n  \"result\": \"Node 4 deleted\",\n  \"status\": \"ok\"\n}",
        ),
        ("PUT", "vm/action/assign/fake_driver", ASSIGN, 200, 95, EMULATED),
        ("PUT", "vm/action/release/fake_driver", r#"{"emulate": "True", "node": "fake_id"}"#, 200, 95, EMULATED),
        ("GET", "nodes/fake_driver", "", 200, 683, NODES),
    ]
    .map(|(method, path, body, status, length, answer)| Exchange {
        method,
        path,
        body,
        status,
        length,
        answer: answer.to_owned(),
    })
    .into()
}

fn check(exchange: &Exchange, reply: &Reply) {
    let what = format!("{} {}", exchange.method, exchange.path);
    assert_eq!(reply.text(), exchange.answer, "{what}");
    assert_eq!(reply.body.len(), exchange.length, "{what}");
    assert_eq!(reply.status, exchange.status, "{what}");
    assert_eq!(reply.header("content-type"), "application/json", "{what}");
    assert_eq!(reply.header("content-length"), exchange.length.to_string(), "{what}");
    assert!(!reply.headers.contains_key("transfer-encoding"), "{what}");
}

/// With the header fields of the two clients that the documentation uses.
#[tokio::test]
async fn the_documented_exchanges_byte_for_byte() {
    const HTTPIE: &[(&str, &str)] = &[
        ("accept", "application/json"),
        ("accept-encoding", "gzip, deflate, compress"),
        ("content-type", "application/json; charset=utf-8"),
        ("user-agent", "HTTPie/0.6.0"),
    ];
    const CURL: &[(&str, &str)] = &[("accept", "*/*"), ("content-type", "application/json"), ("user-agent", "curl/7.88.1")];
    for headers in [HTTPIE, CURL] {
        let server = Setup::development().start().await;
        let mut client = server.client();
        for exchange in exchanges() {
            let path = format!("/api/v1/{}", exchange.path);
            check(&exchange, &client.call(exchange.method, &path, headers, exchange.body).await);
        }
    }
}

/// The documentation's own command lines.
#[tokio::test]
async fn the_documented_curl_commands() {
    if Command::new("curl").arg("--version").output().is_err() {
        println!("SKIPPED: curl is not installed");
        return;
    }
    let server = Setup::development().start().await;
    for exchange in exchanges() {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-X", exchange.method, "-H", "Content-Type: application/json", "-w", "\n%{http_code}"]);
        if !exchange.body.is_empty() {
            curl.args(["-d", exchange.body]);
        }
        let output = curl.arg(format!("http://{}/api/v1/{}", server.address(), exchange.path)).output().unwrap();
        let answer = String::from_utf8(output.stdout).unwrap();
        assert_eq!(answer, format!("{}\n{}", exchange.answer, exchange.status), "{} {}", exchange.method, exchange.path);
    }
}

#[tokio::test]
async fn identifiers_repeat_as_in_the_original() {
    let server = Setup::development().start().await;
    let start = async |server: &Server| {
        let reply = server.json("POST", "/api/v1/vm/start/fake_driver", crate::v1::START).await.json();
        (reply["nodes"]["id"].as_str().unwrap().to_owned(), reply["nodes"]["public_ips"][0].as_str().unwrap().to_owned())
    };
    let stop = async |server: &Server, body: &str| server.json("PUT", "/api/v1/vm/stop/fake_driver", body).await.status;
    for id in ["3", "4", "5"] {
        assert_eq!(start(&server).await, (id.to_owned(), format!("127.0.0.{id}")));
    }
    for body in
        [r#"{"node": "1"}"#, r#"{"hostname": "dummy-3"}"#, r#"{"node": "2"}"#, r#"{"hostname": "dummy-4", "node": "none"}"#]
    {
        assert_eq!(stop(&server, body).await, 200, "{body}");
    }
    assert_eq!(start(&server).await, ("2".to_owned(), "127.0.0.2".to_owned()));
    let nodes = server.get("/api/v1/nodes/fake_driver").await.json();
    let ids: Vec<_> = nodes["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, ["5", "2"], "in the order of their creation");
    // Another cloud of the same driver knows nothing of it; without a name, `default` is meant.
    assert_eq!(server.get("/api/v1/nodes/default").await.text(), NODES);
    assert_eq!(server.get("/api/v1/nodes").await.text(), NODES);
}
