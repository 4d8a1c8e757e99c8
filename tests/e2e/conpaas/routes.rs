//! Routes and ways that few clients use, each with success; and keys, which stand for what was made with them.

use super::{credit, manager, nodes, refused, setup, start};
use ostler_tests::director::{Director, Identity, form};
use ostler_tests::{PATIENCE, Reply, eventually};
use serde_json::json;

#[tokio::test]
async fn routes_that_few_clients_use() {
    let server = setup().start().await;
    let director = Director::of(&server);
    let ann = director.user("ann", "20").await;
    // What a name is missing for.
    let service = start(&director, &ann, "/start/php/default").await;
    assert_eq!(start(&director, &ann, "/start/php/iaas").await["cloud"], "iaas");
    assert_eq!((&service["cloud"], nodes(&server, "default").await), (&json!("iaas"), 2));
    let (sid, aid) = (service["sid"].to_string(), service["application_id"].to_string());
    for path in ["/createapp".to_owned(), format!("/rename/{sid}"), format!("/renameapp/{aid}")] {
        for fields in [&[][..], &[("name", "")]] {
            refused(&director.post(Some(&ann), &path, fields).await);
        }
    }
    let other = director.post(Some(&ann), "/createapp", &[("name", "Other")]).await.json()["aid"].to_string();
    assert_eq!(director.post(Some(&ann), &format!("/renameapp/{aid}"), &[("name", "Shop")]).await.text(), "true");
    refused(&director.post(Some(&ann), &format!("/renameapp/{other}"), &[("name", "Shop")]).await);
    let names = director.post(Some(&ann), "/listapp", &[]).await.json();
    assert_eq!((&names[0]["name"], &names[1]["name"]), (&json!("Shop"), &json!("Other")));

    // A payment that does not say how much is one of one.
    let manager = manager(&server, "default", &service).await;
    let before = credit(&director, &ann).await;
    let paid = director.post(Some(&manager), "/callback/decrementUserCredit.php", &[("sid", &sid)]).await;
    assert_eq!((paid.text(), credit(&director, &ann).await), ("{\n  \"error\": false\n}", before - 1));

    // The manager of an application on another cloud.
    assert_eq!(director.post(Some(&ann), &format!("/startapp/{other}/slow"), &[]).await.text(), "{}");
    let app = eventually("the application runs", PATIENCE, async || {
        let app = director.get(Some(&ann), "/listapp").await.json()[1].clone();
        (app["status"] == "RUNNING").then_some(app)
    })
    .await;
    assert_eq!((&app["cloud"], nodes(&server, "slow").await), (&json!("slow"), 1));
    let by_get = director.get(Some(&ann), "/list_resources").await.json();
    assert_eq!(director.post(Some(&ann), "/list_resources", &[]).await.json(), by_get);
    assert_eq!(by_get.as_array().map(Vec::len), Some(3));

    // Applications end with the services in them.
    assert_eq!(director.post(Some(&ann), &format!("/delete/{aid}"), &[]).await.text(), "true");
    assert_eq!((nodes(&server, "default").await, director.get(Some(&ann), "/list").await.text()), (0, "[]"));
    assert_eq!(director.post(Some(&ann), &format!("/delete/{other}"), &[]).await.text(), "true");
    assert_eq!((nodes(&server, "slow").await, director.post(Some(&ann), "/listapp", &[]).await.text()), (0, "[]"));
}

async fn keyed(director: &Director, who: Option<&Identity>, path: &str, key: &str, fields: &[(&str, &str)]) -> Reply {
    let headers = [("content-type", "application/x-www-form-urlencoded"), ("idempotency-key", key)];
    director.client(who).call("POST", path, &headers, form(fields)).await
}

const REUSED: &str = "this idempotency key was used before, for another request";

#[tokio::test]
async fn a_key_stands_for_one_user() {
    let server = setup().start().await;
    let director = Director::of(&server);
    let all = [
        ("username", "ann"),
        ("fname", "Ann"),
        ("lname", "Other"),
        ("email", "ann@example.org"),
        ("affiliation", "VU"),
        ("password", "right horse"),
        ("credit", "5"),
    ];
    let with = |changed: &str, value: &'static str| all.map(|(name, old)| (name, if name == changed { value } else { old }));
    let first = keyed(&director, None, "/new_user", "k", &all).await.json();
    assert!(first["uid"].is_i64(), "{first}");
    assert_eq!(keyed(&director, None, "/new_user", "k", &all).await.json(), first);
    for (changed, value) in [("username", "bob"), ("affiliation", "CRS4"), ("credit", "6"), ("password", "wrong horse")] {
        let answer = keyed(&director, None, "/new_user", "k", &with(changed, value)).await.json();
        assert_eq!(answer["msg"], format!("Error upon user creation: {REUSED}"), "{changed}");
    }
    for key in ["l", "m"] {
        let answer = keyed(&director, None, "/new_user", key, &all).await.json();
        assert_eq!(answer["msg"], "Username \"ann\" already taken", "another key is another request");
    }
    let racing = futures::future::join_all((0..6).map(|_| {
        let bob = [("username", "bob"), ("email", "bob@example.org")];
        let bob = all.map(|(name, old)| bob.into_iter().find(|(known, _)| *known == name).unwrap_or((name, old)));
        let director = director.clone();
        async move { keyed(&director, None, "/new_user", "race", &bob).await.json()["uid"].as_i64() }
    }))
    .await;
    assert!(racing[0].is_some() && racing.iter().all(|uid| *uid == racing[0]), "{racing:?}");
}

#[tokio::test]
async fn a_key_stands_for_one_application_and_one_manifest() {
    let server = setup().start().await;
    let director = Director::of(&server);
    let (ann, bob) = (director.user("ann", "9").await, director.user("bob", "9").await);
    let create = async |who: &Identity, key: &str, name: &str| {
        keyed(&director, Some(who), "/createapp", key, &[("name", name)]).await.json()
    };
    let shop = create(&ann, "k", "Shop").await;
    assert!(shop["aid"].is_i64(), "{shop}");
    assert_eq!(create(&ann, "k", "Shop").await, shop);
    assert_eq!(create(&ann, "k", "Mall").await["msg"], REUSED);
    assert_eq!(create(&ann, "l", "Shop").await["msg"], "Application name \"Shop\" already taken");
    assert_ne!(create(&bob, "k", "Shop").await["aid"], shop["aid"], "keys are each user's own");
    assert_eq!(director.post(Some(&ann), &format!("/delete/{}", shop["aid"]), &[]).await.text(), "true");
    assert_eq!(create(&ann, "k", "Shop").await["msg"], "there is no such application", "it was made, and deleted");

    let two = json!({"Application": "Two", "Services": [{"Type": "php", "ServiceName": "front"}, {"Type": "java"}]}).to_string();
    let upload =
        async |key: &str, manifest: &str| keyed(&director, Some(&ann), "/upload_manifest", key, &[("manifest", manifest)]).await;
    for _ in 0..2 {
        assert_eq!(upload("k", &two).await.text(), "true");
        assert_eq!((nodes(&server, "default").await, credit(&director, &ann).await), (2, 7));
    }
    assert_eq!(upload("k", &two.replace("front", "back")).await.json()["msg"], REUSED);
    let list = director.get(Some(&ann), "/list").await.json();
    assert_eq!((&list[0]["name"], list.as_array().map(Vec::len)), (&json!("front"), Some(2)));
    // What was done with it since stays as it is.
    let (front, java) = (list[0]["sid"].to_string(), list[1]["sid"].to_string());
    assert_eq!(director.post(Some(&ann), &format!("/rename/{front}"), &[("name", "mine")]).await.text(), "true");
    assert_eq!(director.post(Some(&ann), &format!("/stop/{java}"), &[]).await.text(), "true");
    assert_eq!(upload("k", &two).await.text(), "true");
    let list = director.get(Some(&ann), "/list").await.json();
    assert_eq!((&list[0]["name"], list.as_array().map(Vec::len)), (&json!("mine"), Some(1)));
    assert_eq!((nodes(&server, "default").await, credit(&director, &ann).await), (1, 7));
    assert_eq!(upload("another", &two).await.text(), "true");
    assert_eq!((nodes(&server, "default").await, credit(&director, &ann).await), (3, 5));
}
