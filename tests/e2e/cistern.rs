//! Who uses which node: kept by the server itself, or by a Cistern, which is asked exactly as the original asked.

use crate::v1::{WRONG_CLOUD, error};
use ostler_tests::provider::{Answer, Provider, Seen};
use ostler_tests::{Server, Setup};
use serde_json::{Value, json};

const CLOUDS: &str = "[clouds.default]\ndriver = \"dummy\"\n[clouds.fake_driver]\ndriver = \"dummy\"\n";
const NONE: &str = "{\n  \"nodes\": {},\n  \"status\": \"ok\"\n}";

fn assigned(id: &Value, node: &str, result: &str) -> String {
    format!("{{\n  \"id\": {id},\n  \"id_vm\": \"{node}\",\n  \"result\": \"{result}\",\n  \"status\": \"ok\"\n}}")
}

async fn put(server: &Server, path: &str, body: &Value) -> (u16, String) {
    let reply = server.json("PUT", &format!("/api/v1/vm/action/{path}"), &body.to_string()).await;
    (reply.status, reply.text().to_owned())
}

async fn names(server: &Server) -> Vec<String> {
    let nodes = server.get("/api/v1/nodes/fake_driver").await.json();
    nodes["nodes"].as_array().unwrap().iter().map(|node| node["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn assignments_kept_by_the_server() {
    let mut server = Setup::development().start().await;
    let rows = server.get("/api/v1/vm/status/fake_driver").await.json();
    let first = &rows["nodes"][0];
    assert_eq!(
        json!({ "id_vm": "1", "hostname": "dummy-1", "user": null, "status": 1, "status_desc": "FREE", "cloud": "fake_driver" }),
        json!({ "id_vm": first["id_vm"], "hostname": first["hostname"], "user": first["user"], "status": first["status"],
            "status_desc": first["status_desc"], "cloud": first["cloud"] }),
    );
    for key in ["id", "recipe", "recipe_id"] {
        assert!(first.get(key).is_some(), "{key} in {first}");
    }
    let id = |node: usize| rows["nodes"][node]["id"].clone();
    assert!(id(0).is_i64() && id(1).is_i64() && id(0) != id(1));

    let by_node = json!({ "node": "1", "user": "ann", "vm_type": "app" });
    assert_eq!(put(&server, "assign/fake_driver", &by_node).await, (200, assigned(&id(0), "1", "Node 1 assigned")));
    let again = put(&server, "assign/fake_driver", &by_node).await;
    assert_eq!(again.0, 400, "{}", again.1);
    assert!(again.1.contains("already assigned"), "{}", again.1);
    let by_name = json!({ "hostname": "dummy-2", "user": "bob", "vm_type": "web" });
    assert_eq!(put(&server, "assign/fake_driver", &by_name).await, (200, assigned(&id(1), "2", "Node 2 assigned")));

    // Assignments survive the process.
    server.kill();
    server.start().await;
    let rows = server.get("/api/v1/vm/status/fake_driver").await.json();
    for (node, user, recipe) in [(0, "ann", "app"), (1, "bob", "web")] {
        let row = &rows["nodes"][node];
        assert_eq!((&row["user"], &row["recipe"]), (&json!(user), &json!(recipe)), "{row}");
        assert!(row["status"] != 1 && row["status_desc"] != "FREE", "{row}");
    }

    let released = assigned(&id(0), "1", "Node 1 released and deleted");
    assert_eq!(put(&server, "release/fake_driver", &json!({ "node": "1" })).await, (200, released));
    assert_eq!(names(&server).await, ["dummy-2"], "released is destroyed");
    assert_eq!(put(&server, "release/fake_driver", &json!({ "node": "1" })).await, (400, error(400, "Node not found")));
    let released = assigned(&id(1), "2", "Node 2 released and deleted");
    assert_eq!(put(&server, "release/fake_driver", &json!({ "hostname": "dummy-2" })).await, (200, released));
    assert_eq!(server.get("/api/v1/vm/status/fake_driver").await.text(), NONE);

    // A node that is made anew under a used identifier is nobody's.
    assert_eq!(server.json("POST", "/api/v1/vm/start/fake_driver", crate::v1::START).await.status, 200);
    let rows = server.get("/api/v1/vm/status/fake_driver").await.json();
    assert_eq!((&rows["nodes"][0]["id_vm"], &rows["nodes"][0]["status"]), (&json!("1"), &json!(1)), "{rows}");
    assert_eq!(put(&server, "release/wrong", &json!({ "node": "1" })).await, (500, error(500, WRONG_CLOUD)));
}

/// A Cistern with two nodes; node 2 is faulty and shows only where faulty ones are wanted, node 9 is not in the cloud, and the
/// user `thief` is refused.
fn play(seen: &Seen) -> Answer {
    let body: Value = serde_json::from_str(&seen.body).unwrap_or_default();
    let node = |id: i64, id_vm: &str, hostname: &str, status: i64| {
        json!({ "id": id, "id_vm": id_vm, "hostname": hostname, "user": "", "recipe": "", "recipe_id": null, "status": status,
            "status_desc": "FREE", "cloud": "fake_driver" })
    };
    let answer = match (seen.method.as_str(), seen.path.as_str()) {
        ("GET", "/api/v1/nodes/fake_driver") => {
            let mut nodes = vec![node(1, "1", "dummy-1", 1)];
            if body["with_faulty_nodes"] == true {
                nodes.extend([node(2, "2", "dummy-2", 5), node(9, "9", "lost", 1)]);
            }
            json!({ "status": "ok", "nodes": nodes })
        }
        ("GET", _) => json!({ "status": "ok", "nodes": [] }),
        ("POST", "/api/v1/vm/assign/fake_driver") if body["user"] == "thief" => {
            return Answer::Json(400, r#"{"status": "error", "message": "Node is not free"}"#.into());
        }
        ("POST", "/api/v1/vm/assign/fake_driver") => {
            json!({ "status": "ok", "id": 3, "id_vm": "1", "result": "Node 1 assigned" })
        }
        ("PUT", "/api/v1/vm/release/fake_driver") => {
            json!({ "status": "ok", "id": 3, "id_vm": "2", "result": "Node 2 released" })
        }
        _ => return Answer::Json(404, r#"{"status": "error", "message": "Page not found"}"#.into()),
    };
    Answer::Json(200, answer.to_string())
}

fn calls(cistern: &Provider) -> Vec<(String, String, Value)> {
    let calls = cistern.take().into_iter();
    calls
        .map(|call| {
            assert_eq!(call.content_type, "application/json", "{call:?}");
            (call.method, call.path, serde_json::from_str(&call.body).unwrap())
        })
        .collect()
}

#[tokio::test]
async fn a_cistern_is_asked_as_the_original_asked() {
    let cistern = Provider::start(play).await;
    let config = format!("{CLOUDS}[api.crs4]\nopen = true\ncistern = \"{}/api/v1\"\n", cistern.origin());
    let server = Setup::configured(config).start().await;
    let call = |method: &str, path: &str, body: Value| (method.to_owned(), format!("/api/v1/{path}"), body);
    let faulty = || call("GET", "nodes/fake_driver", json!({ "with_faulty_nodes": true }));
    let assign =
        |hostname: &str| call("POST", "vm/assign/fake_driver", json!({ "hostname": hostname, "user": "ann", "vm_type": "app" }));
    let release = |hostname: &str| call("PUT", "vm/release/fake_driver", json!({ "hostname": hostname }));

    let rows = server.get("/api/v1/vm/status/fake_driver").await.json();
    assert_eq!(rows["nodes"].as_array().unwrap().len(), 1);
    assert_eq!((&rows["nodes"][0]["id_vm"], &rows["nodes"][0]["id"]), (&json!("1"), &json!(1)), "passed on as it is: {rows}");
    assert_eq!(calls(&cistern), [call("GET", "nodes/fake_driver", json!({ "with_faulty_nodes": false }))]);
    assert_eq!(server.get("/api/v1/vm/status/default").await.text(), NONE);
    assert_eq!(calls(&cistern), [call("GET", "nodes/default", json!({ "with_faulty_nodes": false }))]);

    let given = |target: Value| {
        let mut body = json!({ "user": "ann", "vm_type": "app" });
        body.as_object_mut().unwrap().extend(target.as_object().unwrap().clone());
        body
    };
    let done = (200, assigned(&json!(3), "1", "Node 1 assigned"));
    let not_found = || (400, error(400, "Node not found"));
    for (target, answer, expected) in [
        (json!({ "node": "1" }), done.clone(), vec![faulty(), assign("dummy-1")]),
        (json!({ "hostname": "dummy-1" }), done.clone(), vec![assign("dummy-1")]),
        (json!({ "hostname": "dummy-1", "node": "2" }), done.clone(), vec![assign("dummy-1")]),
        (json!({ "node": "77" }), not_found(), vec![faulty()]),
        (json!({ "node": "1", "emulate": true }), (200, crate::v1::EMULATED.to_owned()), vec![]),
    ] {
        assert_eq!(put(&server, "assign/fake_driver", &given(target.clone())).await, answer, "{target}");
        assert_eq!(calls(&cistern), expected, "{target}");
    }
    let thief = json!({ "hostname": "dummy-1", "user": "thief", "vm_type": "app" });
    assert_eq!(put(&server, "assign/fake_driver", &thief).await, (400, error(400, "Node is not free")), "its own words");
    calls(&cistern);

    let released = (200, assigned(&json!(3), "2", "Node 2 released and deleted"));
    assert_eq!(put(&server, "release/fake_driver", &json!({ "node": "2" })).await, released);
    assert_eq!(calls(&cistern), [faulty(), release("dummy-2")]);
    assert_eq!(names(&server).await, ["dummy-1"], "released is destroyed, by the node's identifier");
    assert_eq!(put(&server, "release/fake_driver", &json!({ "hostname": "dummy-1", "node": "1" })).await.0, 200);
    assert_eq!(calls(&cistern), [release("dummy-1")]);
    assert_eq!(names(&server).await, [""; 0]);
    assert_eq!(put(&server, "release/fake_driver", &json!({ "hostname": "unknown" })).await, not_found());
    assert_eq!(calls(&cistern), [faulty()]);
    let lost = put(&server, "release/fake_driver", &json!({ "node": "9" })).await;
    assert_eq!(lost.0, 400, "released by Cistern, and not in the cloud: {}", lost.1);
    assert_eq!(lost.1, error(400, "no useful node id here"));
}

#[tokio::test]
async fn a_cistern_that_is_down() {
    let gone = Provider::start(play).await.origin();
    let config = format!("{CLOUDS}[api.crs4]\nopen = true\ncistern = \"{gone}/api/v1\"\n");
    let server = Setup::configured(config).start().await;
    assert_eq!(server.get("/api/v1/vm/status/fake_driver").await.text(), NONE);
    let by_name = json!({ "hostname": "dummy-1", "user": "ann", "vm_type": "app" });
    assert_eq!(put(&server, "assign/fake_driver", &by_name).await, (400, error(400, "unknown")));
    assert_eq!(put(&server, "release/fake_driver", &json!({ "node": "1" })).await, (400, error(400, "unknown")));
    assert_eq!(names(&server).await, ["dummy-1", "dummy-2"], "nothing is destroyed");
    // Version 2 does not pretend.
    let honest = server.get("/api/v2/vm/status/fake_driver").await;
    assert_eq!((honest.status, honest.header("content-type")), (503, "application/problem+json"));
}
