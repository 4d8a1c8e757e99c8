//! The routes of 2.x: one manager for a whole application.

use super::{credit, manager, nodes, setup};
use ostler_tests::director::{Director, Identity};
use ostler_tests::{PATIENCE, Server, eventually};
use serde_json::{Value, json};

/// Starts the manager of the user's first application, and waits until it runs.
pub(super) async fn application(director: &Director, user: &Identity) -> Value {
    let first = director.get(Some(user), "/listapp").await.json()[0].clone();
    assert_eq!((&first["status"], &first["manager"]), (&json!("INIT"), &json!(null)));
    let path = format!("/startapp/{}", first["aid"]);
    assert_eq!(director.post(Some(user), &path, &[]).await.text(), "{}");
    eventually("the application runs", PATIENCE, async || {
        let now = director.get(Some(user), "/listapp").await.json()[0].clone();
        (now["status"] == "RUNNING").then_some(now)
    })
    .await
}

async fn own_manager(server: &Server, application: &Value) -> Identity {
    manager(server, "default", &json!({ "vmid": application["vmid"] })).await
}

#[tokio::test]
async fn the_life_of_an_application() {
    let server = setup().start().await;
    let director = Director::of(&server);
    let ann = director.user("ann", "10").await;
    let app = application(&director, &ann).await;
    let aid = app["aid"].to_string();
    assert!(app["manager"].is_string() && app["cloud"] == "iaas", "{app}");
    let again = director.post(Some(&ann), &format!("/startapp/{aid}"), &[]).await.json();
    assert_eq!(again, json!({"error": "Application already started"}));

    // Its manager orders nodes and gives one back.
    let manager = own_manager(&server, &app).await;
    let fields = [
        ("app_id", aid.as_str()),
        ("service_id", "0"),
        ("service_type", "php"),
        ("nodes_info", "[{u'cloud': u'default', 'role': 'web'}, {'cloud': 'iaas'}]"),
        ("context", "{'NAME': 'it\\'s me'}"),
        ("startup_script", "None"),
    ];
    let made = director.upload(Some(&manager), "/create_nodes", &fields, &[]).await.json();
    assert_eq!(made.as_array().map(Vec::len), Some(2), "{made}");
    assert_eq!(
        (&made[0]["role"], &made[0]["cloud_name"], &made[0]["weight_backend"]),
        (&json!("web"), &json!("iaas"), &json!(100))
    );
    assert_eq!((nodes(&server, "default").await, credit(&director, &ann).await), (3, 7));
    let rows = director.get(Some(&ann), "/list_resources").await.json();
    let roles: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["manager", "agent", "agent"], "{rows}");
    // What an agent gets for its first boot.
    let shown = server.get("/api/v1/nodes/default").await.json();
    let agent = shown["nodes"].as_array().unwrap().iter().find(|node| node["id"] == made[0]["vmid"]).unwrap();
    let user_data = agent["extra"]["user_data"].as_str().unwrap();
    assert!(user_data.contains("export NAME='it'\\''s me'\n"), "{user_data}");
    assert!(user_data.contains("BEGIN PRIVATE KEY"));

    let one = json!([made[1]]).to_string();
    assert_eq!(director.post(Some(&manager), "/remove_nodes", &[("nodes", &one)]).await.text(), "{}");
    assert_eq!(nodes(&server, "default").await, 2);
    for (fields, why) in [(vec![("nodes", one.as_str())], "gone already"), (vec![("nodes", "[")], "no list"), (vec![], "nothing")]
    {
        let answer = director.post(Some(&manager), "/remove_nodes", &fields).await.json();
        assert!(answer["error"].is_string(), "{why}: {answer}");
    }
    for (fields, message) in [
        (vec![("nodes_info", "[{}]"), ("app_id", "999")], "the certificate is not that of the manager of this application"),
        (vec![("nodes_info", "x")], "nodes_info"),
        (vec![("nodes_info", "[]")], "an order is for"),
        (vec![("nodes_info", "[{}]"), ("context", "{'a b': 1}")], "the context's name"),
        (vec![("nodes_info", "[{'cloud': 'full'}]")], "the cloud has room for 0 nodes"),
        (vec![("nodes_info", "[{},{},{},{},{},{},{},{}]")], "Insufficient credits"),
    ] {
        let answer = director.post(Some(&manager), "/create_nodes", &fields).await.json();
        assert!(answer["error"].as_str().unwrap_or_default().starts_with(message), "{message}: {answer}");
    }
    assert_eq!((nodes(&server, "default").await, nodes(&server, "full").await, credit(&director, &ann).await), (2, 0, 7));

    // The end takes everything along.
    assert_eq!(director.post(Some(&ann), &format!("/stopapp/{aid}"), &[]).await.text(), "{}");
    assert_eq!(nodes(&server, "default").await, 0);
    assert_eq!(director.get(Some(&ann), "/listapp").await.json()[0]["status"], "INIT");
    let over = director.post(Some(&ann), &format!("/stopapp/{aid}"), &[]).await.json();
    assert_eq!(over, json!({"error": "Application not found"}));
    assert_eq!(director.post(Some(&ann), &format!("/deleteapp/{aid}"), &[]).await.text(), "{}");
    assert_eq!(director.post(Some(&ann), "/listapp", &[]).await.text(), "[]");
    let none = director.post(Some(&ann), "/start/php", &[]).await.json();
    assert_eq!(none["msg"], "No existing applications");
}

#[tokio::test]
async fn services_need_a_manager_that_answers() {
    let server = setup().start().await;
    let director = Director::of(&server);
    let ann = director.user("ann", "10").await;
    for (path, fields, message) in [
        ("/add/nonsense", vec![], "Unknown service type 'nonsense'"),
        ("/add/php", vec![("appid", "999")], "Application 999 not found."),
        ("/rename", vec![("app_id", "1")], "Bad specification of application or service IDs"),
        ("/remove", vec![("app_id", "x"), ("service_id", "1")], "Bad specification of application or service IDs"),
        ("/rename", vec![("app_id", "1"), ("service_id", "1")], "\"name\" is a required argument"),
        ("/rename", vec![("app_id", "1"), ("service_id", "1"), ("name", "x")], "Invalid service_id"),
        ("/remove", vec![("app_id", "1"), ("service_id", "1")], "Invalid service_id"),
        ("/startapp/999", vec![], "Application not found"),
    ] {
        let answer = director.post(Some(&ann), path, &fields).await.json();
        assert_eq!(answer["error"], message, "{path} {fields:?}: {answer}");
    }
    let early = director.post(Some(&ann), "/add/php", &[]).await.json();
    assert!(early["error"].as_str().unwrap().ends_with("has not started. Try to start it first."), "{early}");
    application(&director, &ann).await;
    let answer = director.post(Some(&ann), "/add/php", &[]).await.json();
    assert!(answer["error"].as_str().unwrap().starts_with("the manager of the service does not answer"), "{answer}");
}

#[tokio::test]
async fn a_manifest_is_all_or_nothing() {
    let server = setup().start().await;
    let director = Director::of(&server);
    let ann = director.user("ann", "3").await;
    let upload =
        async |manifest: Value| director.post(Some(&ann), "/upload_manifest", &[("manifest", &manifest.to_string())]).await;
    let two = json!({"Application": "Shop", "Services": [
        {"Type": "php", "ServiceName": "front", "Cloud": "default", "StartupInstances": {}},
        {"Type": "java", "Start": 0, "Archive": null, "StartupInstances": null}]});
    assert_eq!(upload(two.clone()).await.text(), "true");
    let listed = director.get(Some(&ann), "/list").await.json();
    assert_eq!((&listed[0]["name"], &listed[1]["name"]), (&json!("front"), &json!("New java service")));
    let aid = listed[0]["application_id"].to_string();
    let down = director.post(Some(&ann), &format!("/download_manifest/{aid}"), &[]).await.json();
    assert_eq!(down["Application"], "Shop");
    assert_eq!(down["Services"].as_array().map(Vec::len), Some(2));
    // One credit is left: the second service cannot be paid for, and the first goes with it.
    let broke = upload(two).await.json();
    assert_eq!(broke["error"], true, "{broke}");
    assert_eq!((nodes(&server, "default").await, credit(&director, &ann).await), (2, 0), "an hour of the first was used");
    assert_eq!(director.post(Some(&ann), "/listapp", &[]).await.json().as_array().map(Vec::len), Some(2));
    for (manifest, message) in [
        (json!({"Services": [{"Type": "php"}]}), Some("Application is not defined")),
        (json!({"Application": "A", "Services": [{"Type": "nonsense"}]}), Some("Service nonsense does not exists")),
        (
            json!({"Application": "A", "Services": [{"Type": "php", "Archive": "http://127.0.0.1/"}]}),
            Some("Archive of a service cannot be used: upload it to the service's manager"),
        ),
        // What is asked for and not done is no success.
        (
            json!({"Application": "A", "Services": [{"Type": "php", "Start": 1}]}),
            Some("Start of a service cannot be used: ask the service's manager for it"),
        ),
        (
            json!({"Application": "A", "Services": [{"Type": "java", "Start": 0, "StartupInstances": {"backend": 2}}]}),
            Some("StartupInstances of a service cannot be used: ask the service's manager for it"),
        ),
        (json!({"Application": "A", "Services": [{}]}), None),
        (json!({"Application": "A"}), None),
        (json!([]), None),
    ] {
        let reply = upload(manifest.clone()).await;
        match message {
            Some(message) => assert_eq!(reply.json(), json!({"error": true, "msg": message}), "{manifest}"),
            None => super::refused(&reply),
        }
    }
}
