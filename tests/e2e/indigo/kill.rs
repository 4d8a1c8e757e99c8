//! The process dies before and after the effect of each step: the deployment that was ordered is there once, and goes without a trace.

use super::configured;
use super::life::{By, TEMPLATE, machines};
use ostler_tests::{PATIENCE, Server, eventually};
use serde_json::{Value, json};

const CREATE: &[&str] = &["open", "place", "choose", "make-node", "start-up", "configure", "publish"];
const DELETE: &[&str] = &["settle", "remove-node", "forget"];
const FAULTS: [&str; 2] = ["crash-before", "crash-after"];
const CLOUD: &str = "[clouds.default]\ndriver = \"dummy\"\nconfig = { form = \"plain\" }\n";

async fn restart(server: &mut Server, plot: Option<&str>) {
    server.kill();
    server.set_env("OSTLER_FAULT", plot);
    server.start().await;
}

/// Orders with a key; nothing where the process dies over it.
async fn order(server: &Server, key: &str) -> Option<(u16, Value)> {
    let mut client = server.client();
    let bearer = format!("Bearer {}", server.operator());
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json"), ("idempotency-key", key)];
    let request = client.request("POST", "/deployments", &headers, json!({ "template": TEMPLATE }).to_string());
    let reply = client.send(request).await.ok()?;
    Some((reply.status, reply.json()))
}

#[tokio::test]
async fn a_process_that_dies_at_any_step_leaves_one_deployment_or_none() {
    let mut server = configured(CLOUD).start().await;
    let plots = |workflow: &'static str, steps: &'static [&'static str]| {
        steps.iter().flat_map(move |step| FAULTS.map(|fault| format!("{workflow}.{step}.act:{fault}")))
    };
    for plot in plots("create-deployment", CREATE).chain(plots("delete-deployment", DELETE)) {
        restart(&mut server, Some(&plot)).await;
        let first = order(&server, &plot).await;
        if plot.starts_with("create") {
            assert!(!server.ended().await.success(), "{plot}");
            restart(&mut server, None).await;
        }
        let (status, made) = order(&server, &plot).await.expect("a live server answers");
        assert_eq!(status, 201, "{plot}: {made}");
        let id = made["uuid"].as_str().unwrap().to_owned();
        // What was acknowledged is what there is.
        assert!(first.is_none_or(|(_, first)| first["uuid"] == made["uuid"]), "{plot}");
        let admin = By { server: &server, token: server.operator() };
        assert_eq!(admin.settled(&id).await["status"], "CREATE_COMPLETE", "{plot}");
        assert_eq!(machines(&server, "default").await.len(), 2, "{plot}");
        assert_eq!(admin.get("/deployments").await.json()["page"]["totalElements"], 1, "{plot}");
        let path = format!("/deployments/{id}");
        if plot.starts_with("delete") {
            let mut client = server.client();
            let bearer = format!("Bearer {}", server.operator());
            let request = client.request("DELETE", &path, &[("authorization", &bearer)], "");
            let _ = client.send(request).await;
            assert!(!server.ended().await.success(), "{plot}");
            restart(&mut server, None).await;
        } else {
            assert_eq!(admin.call("DELETE", &path, &Value::Null).await.status, 204, "{plot}");
        }
        let admin = By { server: &server, token: server.operator() };
        admin.gone(&id).await;
        assert_eq!(machines(&server, "default").await, Vec::<Value>::new(), "{plot}");
        // Its record is closed after it is gone: another life is not to take it up.
        eventually("nothing is to be done any more", PATIENCE, async || {
            let open = admin.get("/ostler/v1/work").await.json();
            open["operations"].as_array().is_some_and(Vec::is_empty).then_some(())
        })
        .await;
    }
}
