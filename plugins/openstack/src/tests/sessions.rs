//! Tokens, the catalog, microversions, pages.

use std::time::Duration;

use ostler_driver::testing::Cloud;
use ostler_driver::{Driver, Error, Result};
use serde_json::{Value, json};

use super::fake::{Fault, Play, driver};

const UNAUTHORIZED: &str = r#"{"error":{"code":401,"title":"Unauthorized","message":"no"}}"#;

#[test]
fn a_token_is_shared_and_renewed_before_it_expires() {
    for (life, quiet, end) in [(3600, 3400, 3481), (20, 17, 18)] {
        let play = Play::open();
        play.set(|stage| stage.token_seconds = life);
        let cloud = Play::cloud();
        for _ in 0..3 {
            driver(&cloud).list_sizes(None).unwrap();
        }
        cloud.advance(Duration::from_secs(quiet));
        driver(&cloud).list_sizes(None).unwrap();
        assert_eq!(play.count("POST :5000"), 1, "{life}");
        cloud.advance(Duration::from_secs(end - quiet));
        driver(&cloud).list_sizes(None).unwrap();
        assert_eq!(play.count("POST :5000"), 2, "{life}");
        assert_eq!(play.count("POST :5000") + play.count("GET :8774/v2.1/flavors"), 2 + 5, "nothing was tried twice");
    }
}

#[test]
fn a_refused_token_is_replaced_once() {
    type Work = fn(&Cloud) -> Result<()>;
    let works: [(&str, Work); 3] = [
        ("compute", |cloud| driver(cloud).list_sizes(None).map(drop)),
        ("image, in HTML", |cloud| driver(cloud).list_images(None).map(drop)),
        ("the write of a body", |cloud| driver(cloud).create_node("t-1", super::order()).map(drop)),
    ];
    for (what, work) in works {
        let play = Play::open();
        let cloud = Play::cloud();
        driver(&cloud).check().unwrap();
        play.set(|stage| stage.tokens.clear());
        work(&cloud).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(play.count("POST :5000"), 2, "{what}");
    }
    let play = Play::open();
    let cloud = Play::cloud();
    for _ in 0..2 {
        play.fault("GET :8774/v2.1/flavors", Fault::Answer(401, UNAUTHORIZED));
    }
    assert_eq!(driver(&cloud).list_sizes(None).unwrap_err().class(), "unauthorized");
    assert_eq!((play.count("POST :5000"), play.count("GET :8774/v2.1/flavors")), (2, 2));
}

#[test]
fn a_token_that_another_instance_renewed_is_used() {
    let play = Play::open();
    let cloud = Play::cloud();
    driver(&cloud).list_sizes(None).unwrap();
    play.set(|stage| stage.tokens.clear());
    // It is refused, and meanwhile somebody else renews it.
    let other = cloud.clone();
    play.fault("GET :8774/v2.1/flavors", Fault::Before(Box::new(move || driver(&other).list_images(None).map(drop).unwrap())));
    let stale = driver(&cloud);
    stale.list_sizes(None).unwrap();
    assert_eq!(play.count("POST :5000"), 2);
}

#[test]
fn wrong_and_deleted_credentials_are_unauthorized() {
    let deleted = r#"{"error":{"code":404,"message":"Could not find Application Credential: a1.","title":"Not Found"}}"#;
    for (answer, class, part) in [
        ((401, UNAUTHORIZED), "unauthorized", "identity: no (401)"),
        ((404, deleted), "unauthorized", "Could not find Application Credential: a1."),
        ((404, "<html><h1>404 Not Found</h1></html>"), "invalid", "setting `auth_url`: no Keystone v3 there"),
        ((503, ""), "transient", "identity"),
    ] {
        let play = Play::open();
        let cloud = Play::bare()
            .config("auth_url", "http://cloud:5000")
            .config("application_credential_id", "a1")
            .secret("application_credential_secret", "demo-secret");
        play.fault("POST :5000", Fault::Answer(answer.0, answer.1));
        let error = driver(&cloud).list_sizes(None).unwrap_err();
        assert!(error.class() == class && error.message().contains(part), "{error}");
        driver(&cloud).list_sizes(None).unwrap();
    }
}

#[test]
fn other_settings_do_not_use_a_kept_token() {
    let play = Play::open();
    let cloud = Play::cloud();
    driver(&cloud).list_sizes(None).unwrap();
    driver(&cloud.config("interface", "public")).list_sizes(None).unwrap();
    assert_eq!(play.count("POST :5000"), 2);
}

#[test]
fn a_check_finds_credentials_that_do_not_hold_any_more() {
    let play = Play::open();
    let cloud = Play::cloud();
    driver(&cloud).check().unwrap();
    play.fault("POST :5000", Fault::Answer(401, UNAUTHORIZED));
    assert_eq!(driver(&cloud).check().unwrap_err().class(), "unauthorized");
}

#[test]
fn the_catalog_is_read_by_type_interface_and_region() {
    let endpoint = |interface: &str, region: &str, url: &str| json!({"interface": interface, "region_id": region, "url": url});
    let catalog = |endpoints: Value| json!([{"type": "compute", "endpoints": endpoints}]);
    let ours = "http://cloud:8774/v2.1";
    for (endpoints, settings, expected) in [
        (json!([endpoint("admin", "A", "http://x"), endpoint("public", "A", ours)]), vec![], Ok(())),
        (json!([endpoint("internal", "A", ours), endpoint("public", "A", "http://x")]), vec![("interface", "internal")], Ok(())),
        (json!([endpoint("public", "A", "http://x"), endpoint("public", "B", ours)]), vec![("region", "B")], Ok(())),
        (
            json!([endpoint("public", "A", ours), endpoint("public", "B", ours)]),
            vec![],
            Err("invalid: setting `region` is missing: the catalog has A, B"),
        ),
        (
            json!([endpoint("public", "A", ours)]),
            vec![("region", "C")],
            Err("unsupported: the catalog has no public endpoint in region `C` of `compute`"),
        ),
        (json!([]), vec![], Err("unsupported: the catalog has no public endpoint of `compute`")),
    ] {
        let play = Play::open();
        play.set(|stage| stage.catalog = catalog(endpoints));
        let cloud = settings.iter().fold(Play::cloud(), |cloud, (key, value)| cloud.config(key, value));
        let result = driver(&cloud).list_sizes(None).map(drop).map_err(|error| error.to_string());
        assert_eq!(result, expected.map_err(str::to_owned));
    }
}

#[test]
fn a_token_for_no_project_is_a_wrong_setting() {
    let play = Play::open();
    let unscoped = r#"{"token":{"methods":["password"],"user":{"id":"u","name":"demo"},"expires_at":"2026-11-22T16:21:03.000000Z",
        "issued_at":"2026-11-22T15:21:03.000000Z","audit_ids":[]}}"#;
    play.fault("POST :5000", Fault::Answer(201, unscoped));
    // Played answers have no headers, so that the token itself is missing first.
    assert_eq!(driver(&Play::cloud()).list_sizes(None).unwrap_err().class(), "failed");
    let cloud = Play::cloud();
    cloud.expect_http("POST", "http://cloud:5000/v3/auth/tokens").answer_with(201, &[("X-Subject-Token", "t")], unscoped);
    let error = cloud.driver::<crate::driver::OpenStack>().unwrap().list_sizes(None).unwrap_err();
    assert!(error.class() == "invalid" && error.message().contains("`project_name`"), "{error}");
}

#[test]
fn microversions_are_negotiated_once_and_again_when_refused() {
    for (offer, sent) in
        [(("2.1", "2.104"), Some("2.61")), (("2.1", "2.60"), Some("2.60")), (("2.72", "2.104"), Some("2.72")), (("", ""), None)]
    {
        let play = Play::open();
        play.set(|stage| stage.microversions = offer);
        let cloud = Play::cloud();
        let api = crate::http::Api { ctx: cloud.context(), settings: crate::config::Settings::read(&cloud.context()).unwrap() };
        for _ in 0..2 {
            let version = api.microversion(crate::microversion::FLAVORS).unwrap();
            assert_eq!(version.map(|version| version.to_string()).as_deref(), sent);
        }
        assert_eq!(play.count("GET :8774/v2.1/"), 1);
    }
    let play = Play::open();
    let cloud = Play::cloud();
    driver(&cloud).list_sizes(None).unwrap();
    // Nova was exchanged for an older one.
    play.set(|stage| stage.microversions.1 = "2.50");
    let error = driver(&cloud).list_sizes(None).unwrap_err();
    assert!(matches!(&error, Error::Transient(text) if text.contains("maximum is 2.50")), "{error}");
    driver(&cloud).list_sizes(None).unwrap();
}

#[test]
fn pages_are_followed_by_their_marker() {
    let play = Play::open();
    play.set(|stage| stage.page = 1);
    let cloud = Play::cloud();
    let first = driver(&cloud).list_sizes(None).unwrap();
    assert_eq!((first.items[0].id.as_str(), first.next.as_deref()), ("42", Some("42")));
    assert_eq!(first.items[0].properties, [("hw:cpu_policy".to_owned(), "dedicated".to_owned())]);
    let second = driver(&cloud).list_sizes(first.next.as_deref()).unwrap();
    assert!(second.items.is_empty() && second.next.as_deref() == Some("off"), "a disabled one is left out");
    let third = driver(&cloud).list_sizes(second.next.as_deref()).unwrap();
    assert_eq!((third.items[0].name.as_str(), third.next), ("m1.tiny", None));
    for list in ["sizes", "images", "nodes"] {
        for cursor in ["unknown", "a\nb", ""] {
            let class = match list {
                "sizes" => driver(&cloud).list_sizes(Some(cursor)).map(drop),
                "images" => driver(&cloud).list_images(Some(cursor)).map(drop),
                _ => driver(&cloud).list_nodes(Some(cursor)).map(drop),
            };
            assert_eq!(class.unwrap_err().class(), "invalid", "{list} {cursor:?}");
        }
    }
    // A list that leads back is no list.
    let round = r#"{"networks":[],"networks_links":[{"rel":"next","href":"http://cloud:9696/v2.0/networks?marker=1"}]}"#;
    for _ in 0..2 {
        play.fault("GET :9696/v2.0/networks", Fault::Answer(200, round));
    }
    let error = driver(&cloud).create_node("t-1", ostler_driver::NodeSpec { networks: vec!["private".into()], ..super::order() });
    assert_eq!(error.unwrap_err().to_string(), "failed: network GET /networks: the list does not end");
}
