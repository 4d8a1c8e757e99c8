//! The driver against a Cloud Edge, played from the text of its API.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;
mod images;
mod lost;
mod nodes;
mod orders;
mod services;

use fake::{Fault, Manners, Play, driver};
use ostler_driver::testing::{Cloud, conformance};
use ostler_driver::{Driver, Extra, NodeSpec};
use serde_json::json;
use std::time::Duration;

use crate::driver::Edge;

/// The image that every play has.
const IMAGE: &str = "62";

fn order() -> NodeSpec {
    NodeSpec::new("web", IMAGE, "default")
}

/// Far sides of every kind.
fn all_manners() -> [Manners; 4] {
    let slow = Manners { boot_seconds: 40, ..Manners::of_the_text() };
    [Manners::of_the_text(), slow, Manners::of_an_ostler(), Manners::stubborn()]
}

#[test]
fn it_keeps_the_contract() {
    for manners in all_manners() {
        for forwarded in [false, true] {
            Play::open(manners.clone());
            let cloud = if forwarded { Play::cloud().config("forward_ports", "[22]") } else { Play::cloud() };
            if let Err(violations) = conformance::check::<Edge>(&cloud) {
                panic!("{manners:?}: {violations}");
            }
            assert_eq!(cloud.context().state().list("", None, 10).unwrap(), [], "nothing is remembered of what is gone");
        }
    }
}

/// The same requests leave by `wasi:http`.
#[test]
fn requests_leave_as_they_were_written() {
    let cloud = Play::cloud();
    let basic = "Basic YW5uOmNhbmFyeQ==";
    let version = cloud.expect_http("GET", "https://far:5555/cloudedge/platform/version").header("authorization", basic);
    version.answer(200, r#"{"version":{"major":1,"minor":3}}"#);
    let list = cloud.expect_http("GET", "https://far:5555/cloudedge/instances").header("authorization", basic);
    list.header("accept", "application/json").answer(200, r#"{"instances":[]}"#);
    let post = cloud.expect_http("POST", "https://far:5555/cloudedge/instances").header("idempotency-key", "t-1");
    let post =
        post.header("content-type", "application/json").json(json!({"instance": {"imageRef": 62, "name": "web--ostler-t-1"}}));
    post.answer_with(413, &[("Retry-After", "9")], r#"{"overLimit":{"code":413,"message":"slow down"}}"#);
    let driver: Edge = cloud.driver().unwrap();
    let error = driver.create_node("t-1", order()).unwrap_err();
    let expected = ostler_driver::Error::Throttled {
        message: "at far:5555: slow down".to_owned(),
        retry_after: Some(Duration::from_secs(9)),
    };
    assert_eq!(error, expected);
    cloud.assert_http_done();
}

#[test]
fn it_describes_itself_by_its_settings() {
    let features = |cloud: &Cloud| Edge::describe(&cloud.context()).features.join(" ");
    let always = "start-stop reboot suspend create-stopped image-import image-delete capacity samples";
    assert_eq!(features(&Cloud::new("bare")), always);
    assert_eq!(features(&Play::cloud()), always);
    let more = Play::cloud().config("far_user_data", "true").config("forward_ports", "[22]");
    assert_eq!(features(&more), format!("{always} user-data public-addresses"));
    let described = Edge::describe(&Cloud::new("bare").context());
    let needed: Vec<_> =
        described.settings.iter().filter(|setting| setting.required).map(|setting| setting.key.as_str()).collect();
    assert_eq!(needed, ["url", "username", "password"]);
}

#[test]
fn a_check_tells_who_is_where() {
    for manners in all_manners() {
        let play = Play::open(manners.clone());
        play.set(|stage| stage.upstream = vec!["C"]);
        let cloud = Play::cloud().config("instance", "A");
        let health = driver(&cloud).check().unwrap();
        assert_eq!(health.endpoint.as_deref(), Some("far:5555"));
        assert_eq!(health.account.as_deref(), Some("ann"));
        assert_eq!(health.provider_version.as_deref(), Some("1.3"));
        let expected = manners.ostler.then(|| json!({"instance": "B", "upstream": ["C"]}));
        assert_eq!(health.extra().unwrap().get("ostler"), expected.as_ref());
    }
}

#[test]
fn loops_and_other_servers_are_refused() {
    for (own, upstream) in [("B", vec![]), ("a", vec!["C", "A"])] {
        let play = Play::open(Manners::of_an_ostler());
        play.set(|stage| stage.upstream = upstream);
        let error = driver(&Play::cloud().config("instance", own)).check().unwrap_err();
        assert!(error.class() == "invalid" && error.message().contains("loop"), "{error}");
        // A check is a warning; an order would go round and round.
        let error = driver(&Play::cloud().config("instance", own)).create_node("t-1", order()).unwrap_err();
        assert!(error.class() == "invalid" && play.look(|stage| stage.instances.is_empty()), "{error}");
        driver(&Play::cloud()).check().unwrap();
    }
    let play = Play::open(Manners::of_the_text());
    play.set(|stage| stage.version = json!({"version": {"major": 2, "minor": 0}}));
    assert_eq!(
        driver(&Play::cloud()).check().unwrap_err().message(),
        "at far:5555: it speaks version 2.0 of the API, this driver 1.x"
    );
    for (answer, class, told) in [
        (Fault::Answer(200, "<html>hello</html>"), "failed", "is the address that of a Cloud Edge API?"),
        (Fault::Answer(200, r#"{"hello":1}"#), "failed", "has no version"),
        (Fault::Answer(401, r#"{"unauthorized":{"code":401,"message":"no"}}"#), "unauthorized", "at far:5555: no"),
        (Fault::AnswerWith(302, ("location", "https://elsewhere/"), ""), "failed", "redirections are not followed"),
        (Fault::Lost, "transient", "at far:5555: GET https://far:5555/cloudedge/version: the connection was closed"),
    ] {
        let play = Play::open(Manners { other_paths: true, ..Manners::of_the_text() });
        play.fault("GET /platform", Fault::Answer(404, ""));
        play.fault("GET /version", answer);
        let error = driver(&Play::cloud()).check().unwrap_err();
        assert!(error.class() == class && error.message().contains(told), "{error}");
    }
    // Whoever may see the version need not be known.
    let error = {
        let play = Play::open(Manners::of_the_text());
        play.fault("GET /instances", Fault::Answer(403, r#"{"forbidden":{"code":403,"message":"not you"}}"#));
        driver(&Play::cloud()).check().unwrap_err()
    };
    assert_eq!(error.to_string(), "forbidden: at far:5555: not you");
}

#[test]
fn resources_come_in_every_form() {
    let usb = json!({"class": "unknown", "vendor": "0x10c4", "product": "0xea60"});
    for (resources, devices) in [
        (json!({"cpu": {"type": "i386", "vcpu": 2}, "ram": 1024, "disk": 5000, "usb": usb}), 1),
        (json!({"CPU": {"type": "i386", "vcpu": "2"}, "RAM": "1024", "disk": 5999.9, "usb": [usb, usb], "pci": [], "new": 1}), 2),
    ] {
        let play = Play::open(Manners::of_the_text());
        play.set(|stage| stage.resources = resources);
        let capacity = driver(&Play::cloud()).get_capacity().unwrap();
        assert_eq!(capacity.cpu_model.as_deref(), Some("i386"));
        let totals = [capacity.vcpus, capacity.ram_mb, capacity.disk_gb].map(|gauge| (gauge.total, gauge.used));
        assert_eq!(totals, [(Some(2), Some(0)), (Some(1024), Some(0)), (Some(5), Some(0))]);
        assert_eq!(capacity.devices.len(), devices);
        assert!(capacity.devices.iter().all(|one| one.kind == "usb" && one.product == "0xea60"));
    }
    let play = Play::open(Manners::of_the_text());
    play.set(|stage| stage.resources = json!({}));
    assert_eq!(driver(&Play::cloud()).get_capacity().unwrap().vcpus.total, None);
}

#[test]
fn statistics_are_asked_for_in_the_way_that_is_understood() {
    for (statistics, other_paths) in [("query", false), ("post", false), ("body", false), ("post", true)] {
        let play = Play::open(Manners { statistics, other_paths, ..Manners::of_the_text() });
        let cloud = Play::cloud();
        let ids: Vec<_> = (0..2).map(|_| play.set(|stage| stage.add_instance("x", "running")).to_string()).collect();
        let stopped = play.set(|stage| stage.add_instance("y", "stopped")).to_string();
        let asked = [ids[0].clone(), "999".into(), "no-such-node".into(), "../x".into(), ids[1].clone()];
        let samples = driver(&cloud).get_samples(&asked).unwrap();
        let shown: Vec<_> = samples.iter().map(|sample| sample.node_id.as_str()).collect();
        assert_eq!(shown, ids);
        let values: Vec<_> = samples[0].values.iter().map(|one| (one.name.as_str(), one.unit.as_str(), one.value)).collect();
        assert_eq!(values, [("cpu-utilization", "bytes/second", 25_000.0), ("network-in", "bytes/second", 25_000.0)]);
        assert_eq!(samples[0].at, Cloud::EPOCH - Cloud::EPOCH % 1_000_000 - 60_000_000);
        // What was learnt is remembered: one request a metric.
        play.seen();
        assert_eq!(driver(&cloud).get_samples(&ids).unwrap().len(), 2);
        assert_eq!(play.seen().len(), 4, "{statistics}");
        // Of all means of those that run.
        let all = driver(&cloud).get_samples(&[]).unwrap();
        assert!(all.len() == 2 && all.iter().all(|sample| sample.node_id != stopped));
    }
}

#[test]
fn a_slow_far_side_is_measured_as_far_as_there_is_time() {
    let play = Play::open(Manners::of_an_ostler());
    let cloud = Play::cloud();
    let ids: Vec<_> = (0..3).map(|_| play.set(|stage| stage.add_instance("x", "running")).to_string()).collect();
    play.fault("GET /instances/", Fault::Slow(Duration::from_secs(5)));
    play.fault("GET /instance/", Fault::Slow(Duration::from_secs(5)));
    assert_eq!(driver(&cloud).get_samples(&ids).unwrap().len(), 1);
    assert!(cloud.logs().iter().any(|line| line.message.contains("not all nodes were measured")));
    play.clear_faults();
    play.fault("GET /instance/", Fault::Answer(401, r#"{"unauthorized":{"code":401,"message":"no"}}"#));
    assert_eq!(driver(&cloud).get_samples(&ids).unwrap_err().class(), "unauthorized");
}

#[test]
fn nothing_that_is_logged_or_told_is_secret() {
    let play = Play::open(Manners::of_the_text());
    let cloud = Play::cloud();
    for (request, answer) in [
        ("GET /instances", Fault::Answer(401, r#"{"unauthorized":{"code":401,"message":"ann:canary is bad"}}"#)),
        ("GET /instances", Fault::Answer(500, "<html>Authorization: Basic YW5uOmNhbmFyeQ==</html>")),
        ("POST /instances", Fault::LostAnswer),
    ] {
        play.fault(request, answer);
        let told = match driver(&cloud).create_node("t-1", order()) {
            Ok(node) => format!("{node:?} {:?}", cloud.logs()),
            Err(error) => format!("{error} {:?}", cloud.logs()),
        };
        assert!(!told.contains("canary") && !told.contains("YW5u"), "{told}");
    }
    assert_eq!(play.unused(), 0);
}
