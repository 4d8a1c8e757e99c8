//! Who pays, for what, and what happens when nothing is left.

use super::{config, credit, manager, nodes, start};
use ostler_tests::director::Director;
use ostler_tests::{PATIENCE, Setup, eventually};
use serde_json::json;

/// What is paid for lasts a second.
fn setup(billing: &str) -> Setup {
    Setup::configured(format!("{}\n[billing]\n{billing}\n", config())).arg("--listen-tls").arg("127.0.0.1:0")
}

#[tokio::test]
async fn whose_credit_is_used_up_is_stopped_and_not_silently() {
    let server = setup("period_seconds = 1").start().await;
    let director = Director::of(&server);
    let ann = director.user("ann", "3").await;
    start(&director, &ann, "/start/php").await;
    eventually("the service is stopped", PATIENCE, async || {
        (director.get(Some(&ann), "/list").await.text() == "[]").then_some(())
    })
    .await;
    assert_eq!((credit(&director, &ann).await, nodes(&server, "default").await), (0, 0));
    assert!(server.log().contains("credit is used up"), "{}", server.log());
    let history = server.as_operator("GET", "/ostler/v1/users/ann/credit/history", "").await.json();
    let kinds: Vec<_> = history["entries"].as_array().unwrap().iter().map(|entry| entry["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["charge", "charge", "settle", "reserve", "grant"], "{history}");
}

#[tokio::test]
async fn what_was_paid_in_advance_is_used_first() {
    let server = setup("period_seconds = 1").start().await;
    let director = Director::of(&server);
    let ann = director.user("ann", "20").await;
    let service = start(&director, &ann, "/start/php").await;
    let manager = manager(&server, "default", &service).await;
    let fields = [("sid", service["sid"].to_string()), ("decrement", "10".to_owned())];
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(director.post(Some(&manager), "/callback/decrementUserCredit.php", &fields).await.json(), json!({"error": false}));
    let after = credit(&director, &ann).await;
    // Hours pass, and the credit stays where it is: they are paid for.
    eventually("two periods have passed", PATIENCE, async || {
        let shown = director.get(Some(&ann), "/list_resources").await.json();
        (shown[0]["charged"].as_i64() >= Some(3)).then_some(())
    })
    .await;
    assert_eq!(credit(&director, &ann).await, after);
}

#[tokio::test]
async fn prices_are_by_cloud_and_size() {
    let server = setup("price = 2\n[billing.prices.slow]\ntiny = 3").start().await;
    let director = Director::of(&server);
    let ann = director.user("ann", "10").await;
    start(&director, &ann, "/start/php").await;
    assert_eq!(credit(&director, &ann).await, 8);
    start(&director, &ann, "/start/php/slow").await;
    assert_eq!(credit(&director, &ann).await, 5);
}

#[tokio::test]
async fn a_node_that_disappears_takes_its_service_along() {
    let server = setup("period_seconds = 1").start().await;
    let director = Director::of(&server);
    let ann = director.user("ann", "50").await;
    let service = start(&director, &ann, "/start/php").await;
    let body = json!({ "node": service["vmid"] }).to_string();
    assert_eq!(server.json("PUT", "/api/v1/vm/stop/default", &body).await.status, 200);
    eventually("the service is gone", PATIENCE, async || (director.get(Some(&ann), "/list").await.text() == "[]").then_some(()))
        .await;
}

#[tokio::test]
async fn registration_has_its_rules() {
    let server = setup("price = 1").start().await;
    let director = Director::of(&server);
    let all = [
        ("username", "ann"),
        ("fname", "Ann"),
        ("lname", "Other"),
        ("email", "ann@example.org"),
        ("affiliation", "VU"),
        ("password", "right horse"),
        ("credit", "50"),
    ];
    for (missing, _) in all {
        let fields: Vec<_> = all.into_iter().filter(|(name, _)| *name != missing).collect();
        let answer = director.post(None, "/new_user", &fields).await.json();
        assert_eq!(answer, json!({"error": true, "msg": format!("{missing} is a required field")}));
    }
    let with = |changes: &[(&'static str, &'static str)]| {
        all.map(|(name, value)| (name, changes.iter().find(|(changed, _)| *changed == name).map_or(value, |(_, value)| *value)))
    };
    for (changes, message) in [
        (&[("credit", "x")][..], "Required credit \"x\" is not a valid integer."),
        (&[("credit", "1.5")], "Required credit \"1.5\" is not a valid integer."),
        (&[("credit", "99999999999999999999")], "Required credit \"99999999999999999999\" is not a valid integer."),
        (&[("credit", "-1")], "Required credit \"-1\" cannot be a negative integer."),
        (&[("credit", "51")], "Cannot allocate 51 credit for a new user (max credit 50)."),
        (&[("username", "a:b")], "Error upon user creation: "),
        (&[("email", "nobody")], "Error upon user creation: "),
    ] {
        let answer = director.post(None, "/new_user", &with(changes)).await.json();
        assert!(answer["msg"].as_str().unwrap_or_default().starts_with(message), "{changes:?}: {answer}");
    }
    assert_eq!(director.post(None, "/new_user", &all).await.json()["credit"], 50);
    for (changes, message) in [
        (&[("credit", "x")][..], "Username \"ann\" already taken"),
        (&[("username", "bob"), ("credit", "x")], "E-mail \"ann@example.org\" already registered"),
        (&[("username", "bob"), ("email", "ANN@example.org")], "E-mail \"ANN@example.org\" already registered"),
    ] {
        let answer = director.post(None, "/new_user", &with(changes)).await.json();
        assert_eq!(answer["msg"], message, "{changes:?}");
    }
}

#[tokio::test]
async fn where_registration_is_closed_nobody_registers() {
    let closed = config().replace("registration = \"open\"\n", "");
    let server = Setup::configured(closed).arg("--listen-tls").arg("127.0.0.1:0").start().await;
    let answer = Director::of(&server).new_user("ann", "5").await;
    assert_eq!(answer["error"], true, "{answer}");
    assert!(answer["msg"].as_str().unwrap().contains("registration is closed"), "{answer}");
}
