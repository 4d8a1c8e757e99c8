//! The driver against OpenStack, played with its own bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod addresses;
mod fake;
mod images;
mod live;
mod nodes;
mod services;
mod sessions;

use fake::{Fault, Play, driver};
use ostler_driver::testing::{Cloud, conformance};
use ostler_driver::{Driver, Extra, NodeSpec, Quota};
use serde_json::json;

use crate::driver::OpenStack;

fn order() -> NodeSpec {
    NodeSpec::new("vm1", "image-1", "42")
}

#[test]
fn it_keeps_the_contract() {
    for (microversions, page) in [(("2.1", "2.104"), 1000), (("2.1", "2.38"), 2), (("2.1", "2.25"), 1), (("", ""), 3)] {
        let play = Play::open();
        play.set(|stage| (stage.microversions, stage.page) = (microversions, page));
        let result = conformance::check::<OpenStack>(&Play::cloud());
        match (result, microversions.1) {
            (Ok(()), _) => {}
            // All that an older Nova lacks are diagnostics of one shape.
            (Err(violations), "2.104") => panic!("{violations}"),
            (Err(violations), most) => {
                assert_eq!(violations.0.len(), 1, "{most}: {violations}");
                assert!(violations.0[0].contains("diagnostics of one shape"), "{most}: {violations}");
            }
        }
    }
}

/// The same requests leave by `wasi:http`.
#[test]
fn requests_leave_as_they_were_written() {
    let cloud = Play::cloud();
    let endpoint = |url: &str| json!([{"interface": "public", "region_id": "RegionOne", "url": url}]);
    let token = json!({"token": {
        "expires_at": "2026-11-22T16:21:03.000000Z", "issued_at": "2026-11-22T15:21:03.000000Z",
        "user": {"id": "u", "name": "demo"}, "project": {"id": "p", "name": "demo"},
        "catalog": [{"type": "compute", "endpoints": endpoint("http://c:8774/v2.1")}],
    }});
    let expected = json!({"auth": {
        "identity": {"methods": ["password"],
            "password": {"user": {"name": "demo", "domain": {"id": "default"}, "password": "demopw"}}},
        "scope": {"project": {"name": "demo", "domain": {"id": "default"}}},
    }});
    let sent = cloud.expect_http("POST", "http://cloud:5000/v3/auth/tokens").header("accept", "application/json").json(expected);
    sent.answer_with(201, &[("X-Subject-Token", "gAAAA")], token.to_string());
    let document = r#"{"version":{"id":"v2.1","version":"2.104","min_version":"2.1"}}"#;
    cloud.expect_http("GET", "http://c:8774/v2.1/").header("x-auth-token", "gAAAA").answer(200, document);
    let list =
        cloud.expect_http("GET", "http://c:8774/v2.1/servers/detail?limit=100").header("openstack-api-version", "compute 2.46");
    list.answer(200, r#"{"servers":[]}"#);
    let stop = cloud.expect_http("POST", "http://c:8774/v2.1/servers/s1/action").json(json!({"os-stop": null}));
    stop.answer_with(
        409,
        &[("x-openstack-request-id", "req-7")],
        r#"{"conflictingRequest":{"code":409,"message":"Cannot 'stop' instance s1 while it is in vm_state stopped"}}"#,
    );
    let driver: OpenStack = cloud.driver().unwrap();
    assert!(driver.list_nodes(None).unwrap().items.is_empty());
    let error = driver.act("s1", ostler_driver::Action::Stop(ostler_driver::Force::Soft)).unwrap_err();
    assert_eq!(error.to_string(), "conflict: compute: Cannot 'stop' instance s1 while it is in vm_state stopped (409, req-7)");
    cloud.assert_http_done();
}

#[test]
fn it_describes_itself_without_settings() {
    let description = OpenStack::describe(&Cloud::new("bare").context());
    assert_eq!((description.provider.as_str(), description.cloud_type.as_str()), ("openstack", "OpenStack"));
    let secrets: Vec<_> =
        description.settings.iter().filter(|setting| setting.secret).map(|setting| setting.key.as_str()).collect();
    assert_eq!(secrets, ["password", "application_credential_secret"]);
}

#[test]
fn a_check_tells_who_is_where() {
    Play::open();
    let health = driver(&Play::cloud()).check().unwrap();
    assert_eq!(health.endpoint.as_deref(), Some("cloud:5000"));
    assert_eq!(health.account.as_deref(), Some("demo in project demo"));
    assert_eq!(health.provider_version.as_deref(), Some("compute 2.104"));
    assert_eq!(health.extra().unwrap()["block_storage"], true);
}

#[test]
fn limits_of_all_services_are_told() {
    let play = Play::open();
    let cloud = Play::cloud();
    let shown = |quotas: &[Quota]| {
        quotas.iter().map(|quota| (quota.name.clone(), quota.amount.total, quota.amount.used)).collect::<Vec<_>>()
    };
    let capacity = driver(&cloud).get_capacity().unwrap();
    let expected = [
        ("instances", Some(10), Some(0)),
        ("vcpus", Some(20), Some(1)),
        ("ram-mb", None, Some(64)),
        ("server-groups", Some(10), Some(0)),
        ("key-pairs", Some(100), None),
        ("floating-ips", Some(50), Some(0)),
        ("networks", None, Some(2)),
        ("volumes", Some(10), Some(1)),
        ("volume-gb", Some(1000), Some(5)),
        ("snapshots", Some(10), None),
    ];
    assert_eq!(shown(&capacity.quotas), expected.map(|(name, total, used)| (name.to_owned(), total, used)));
    assert_eq!((capacity.disk_gb.total, capacity.nodes.used), (Some(1000), Some(0)));
    // What a cloud does not show is left out; what does not answer is an error.
    play.fault("GET :9696/v2.0/quotas", Fault::Answer(403, r#"{"NeutronError":{"type":"PolicyNotAuthorized","message":"no"}}"#));
    assert_eq!(driver(&cloud).get_capacity().unwrap().quotas.len(), 8);
    play.fault("GET :8776/v3/p1/limits", Fault::Answer(503, ""));
    assert_eq!(driver(&cloud).get_capacity().unwrap_err().class(), "transient");
}

#[test]
fn samples_are_of_what_runs() {
    let play = Play::open();
    let cloud = Play::cloud();
    let node = driver(&cloud).create_node("t-1", order()).unwrap();
    let ids = [node.id.clone(), "none".to_owned(), "../x".to_owned()];
    assert!(driver(&cloud).get_samples(&ids).unwrap().is_empty(), "still being built");
    cloud.advance(std::time::Duration::from_secs(6));
    for ids in [&ids[..], &[]] {
        let samples = driver(&cloud).get_samples(ids).unwrap();
        assert_eq!(samples.len(), 1);
        assert_eq!((samples[0].node_id.as_str(), samples[0].values[0].value), (node.id.as_str(), 15.0));
    }
    play.fault(
        "GET :8774/v2.1/servers/3",
        Fault::Answer(403, r#"{"forbidden":{"code":403,"message":"Policy doesn't allow it"}}"#),
    );
    assert_eq!(driver(&cloud).get_samples(&ids).unwrap_err().class(), "forbidden");
}

#[test]
fn nothing_that_is_logged_or_told_is_secret() {
    let play = Play::open();
    let cloud = Play::cloud();
    for (request, answer) in [
        ("POST :5000", Fault::Answer(401, r#"{"error":{"code":401,"message":"demo","title":"Unauthorized"}}"#)),
        ("GET :8774/v2.1/servers/detail", Fault::Answer(500, "<html>gAAAAtoken1 is bad</html>")),
        ("POST :8774/v2.1/servers", Fault::LostAnswer),
    ] {
        play.fault(request, answer);
        let error = driver(&cloud).create_node("t-1", order()).unwrap_err();
        let told = format!("{error} {:?}", cloud.logs());
        assert!(!told.contains("gAAAA") && !told.contains("demopw") && !told.contains("canary"), "{told}");
    }
}
