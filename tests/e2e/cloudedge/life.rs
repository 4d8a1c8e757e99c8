//! The whole life of an instance, as the specification's examples have it.

use super::{Edge, SOURCE, fault, number};
use ostler_tests::{PATIENCE, eventually};
use serde_json::{Value, json};

/// A time as the specification writes it.
fn is_stamp(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.len() == 25 && text.ends_with("+00:00") && text.as_bytes()[10] == b'T')
}

#[tokio::test]
async fn by_loopback_http() {
    whole(Edge::start("").await).await;
}

#[tokio::test]
async fn by_https() {
    whole(Edge::start("").await.by_tls(true)).await;
}

async fn whole(edge: Edge) {
    for path in ["/cloudedge/version", "/cloudedge/platform/version", "/cloudedge/platform/version/", "/edge/cloudedge/version"] {
        let version = edge.get("admin", path).await;
        assert_eq!((version.status, version.text()), (200, r#"{"version":{"major":1,"minor":3}}"#), "{path}");
    }
    let resources = edge.get("admin", "/cloudedge/platform/resources").await.json();
    assert_eq!(resources["cpu"], json!({"type": "Dummy 1", "vcpu": 320}));
    assert!(resources["ram"].is_u64() && resources["disk"].is_u64(), "{resources}");
    assert_eq!(resources["usb"], json!({"class": "mass storage", "vendor": "Nobody", "product": "Dummy stick"}));

    // An image.
    let order = json!({"image": {"name": "flickr++", "imageRef": SOURCE, "colour": "red"}});
    let made = edge.keyed("admin", "POST", "/cloudedge/images", &order, Some("an-image")).await;
    assert_eq!(made.status, 202, "{}", made.text());
    let made = made.json()["image"].clone();
    let image = number(&made["id"]);
    let link = format!("{}/cloudedge/images/{image}", edge.origin());
    assert_eq!((&made["name"], &made["link"], is_stamp(&made["created_at"])), (&json!("flickr++"), &json!(link), true));
    let again = edge.keyed("admin", "POST", "/cloudedge/images", &order, Some("an-image")).await;
    assert_eq!((again.status, &again.json()["image"]["id"]), (202, &json!(image)), "{}", again.text());
    let other = json!({"image": {"name": "osgi", "imageRef": SOURCE}});
    fault(&edge.keyed("admin", "POST", "/cloudedge/images", &other, Some("an-image")).await, 409, "buildInProgress");
    let shown = eventually("the image is there", PATIENCE, async || {
        let shown = edge.get("admin", &format!("/cloudedge/images/{image}")).await.json()["image"].clone();
        (shown["status"] != "SAVING").then_some(shown)
    })
    .await;
    assert_eq!((&shown["status"], &shown["owner_id"], &shown["created_by"]), (&json!("ACTIVE"), &json!(1), &json!(1)), "{shown}");
    assert!(is_stamp(&shown["updated_at"]));
    let listed = edge.get("admin", "/cloudedge/images").await.json();
    let item = json!({"id": image, "name": "flickr++", "link": link});
    assert!(listed["images"].as_array().unwrap().contains(&item), "{listed}");

    // An instance of it: by number, by text, by link.
    let mut instances = Vec::new();
    for reference in [json!(image), json!(image.to_string()), json!(link)] {
        let made = edge.post("admin", "/cloudedge/instances", json!({"instance": {"imageRef": reference}})).await;
        assert_eq!(made.status, 202, "{}", made.text());
        let made = made.json()["instance"].clone();
        assert_eq!((&made["status"], &made["image"]), (&json!("stopped"), &item), "{made}");
        let id = number(&made["id"]);
        assert_eq!(made["name"], format!("flickr++-instance-{id}"));
        assert_eq!(made["link"], format!("{}/cloudedge/instances/{id}", edge.origin()));
        assert!(is_stamp(&made["created_at"]) && made.get("updated_at").is_none(), "{made}");
        instances.push(id);
    }
    let (instance, second) = (instances[0], instances[1]);
    let order = json!({"instance": {"imageRef": image, "name": "mine", "flavor": "small"}});
    let named = edge.keyed("admin", "POST", "/cloudedge/instances", &order, Some("an-instance")).await;
    assert_eq!((named.status, &named.json()["instance"]["name"]), (202, &json!("mine")), "{}", named.text());
    let again = edge.keyed("admin", "POST", "/cloudedge/instances", &order, Some("an-instance")).await;
    assert_eq!(again.json()["instance"]["id"], named.json()["instance"]["id"]);
    let filtered = edge.get("admin", &format!("/cloudedge/instances?image={image}")).await.json();
    assert_eq!(filtered["instances"].as_array().unwrap().len(), 4, "{filtered}");
    assert_eq!(edge.get("admin", "/cloudedge/instances?image=999999").await.json(), json!({"instances": []}));

    states(&edge, instance).await;
    let shown = edge.get("admin", &format!("/cloudedge/instances/{instance}")).await.json()["instances"].clone();
    assert_eq!((&shown["created_by"], &shown["image"]), (&json!(1), &item));
    assert!(shown["ip"].as_str().is_some_and(|ip| ip.parse::<std::net::IpAddr>().is_ok()), "{shown}");
    rules(&edge, instance, second).await;
    metrics(&edge, instance).await;

    fault(&edge.delete("admin", &format!("/cloudedge/images/{image}")).await, 409, "buildInProgress");
    for id in instances.into_iter().chain([number(&named.json()["instance"]["id"])]) {
        let path = format!("/cloudedge/instances/{id}");
        let gone = edge.delete("admin", &path).await;
        assert_eq!((gone.status, gone.text()), (204, ""));
        fault(&edge.get("admin", &path).await, 404, "itemNotFound");
    }
    assert_eq!(edge.get("admin", "/cloudedge/fwrules").await.json(), json!({"fwrules": []}), "rules go with their instance");
    let gone = edge.delete("admin", &format!("/cloudedge/images/{image}")).await;
    assert_eq!((gone.status, gone.text()), (204, ""));
    fault(&edge.get("admin", &format!("/cloudedge/images/{image}")).await, 404, "itemNotFound");
}

/// From stopped through every action back to stopped.
async fn states(edge: &Edge, instance: i64) {
    edge.is(instance, "stopped").await;
    for action in ["freeze", "resume", "reboot"] {
        fault(&edge.act("admin", instance, json!({action: null})).await, 409, "buildInProgress");
    }
    edge.bring(instance, json!({"start": null}), "running").await;
    fault(&edge.act("admin", instance, json!({"resume": null})).await, 409, "buildInProgress");
    edge.bring(instance, json!({"freeze": null}), "frozen").await;
    edge.bring(instance, json!({"resume": {}}), "running").await;
    edge.bring(instance, json!({"reboot": {"type": "HARD"}}), "running").await;
    edge.bring(instance, json!({"stop": {"type": "SOFT"}}), "stopped").await;
    edge.bring(instance, json!({"start": {}}), "running").await;
    edge.bring(instance, json!({"stop": {"type": "hard"}}), "stopped").await;
    edge.bring(instance, json!({"start": null}), "running").await;
}

async fn rules(edge: &Edge, instance: i64, second: i64) {
    let order = json!({"fwrule": {"instanceRef": instance, "port_to": 22}});
    let made = edge.keyed("admin", "POST", "/cloudedge/fwrules", &order, Some("a-rule")).await;
    assert_eq!(made.status, 202, "{}", made.text());
    let made = made.json()["fwrule"].clone();
    let (rule, port) = (number(&made["id"]), number(&made["port_from"]));
    assert_eq!(made, json!({"id": rule, "port_to": 22, "port_from": port}));
    let again = edge.keyed("admin", "POST", "/cloudedge/fwrules", &order, Some("a-rule")).await;
    assert_eq!(again.json()["fwrule"], made);
    let link = format!("{}/cloudedge/instances/{second}", edge.origin());
    let other = edge.post("admin", "/cloudedge/fwrules", json!({"fwrule": {"instanceRef": link, "port_to": 80}})).await;
    assert_eq!(other.status, 202, "{}", other.text());
    assert_ne!(other.json()["fwrule"]["port_from"], port);
    let taken = json!({"fwrule": {"instanceRef": second, "port_to": 23, "port_from": port}});
    fault(&edge.post("admin", "/cloudedge/fwrules", taken).await, 409, "buildInProgress");

    let link = format!("{}/cloudedge/fwrules/{rule}", edge.origin());
    let listed = edge.get("admin", &format!("/cloudedge/fwrules?instance={instance}")).await.json();
    assert_eq!(listed, json!({"fwrules": [{"id": rule, "instance_id": instance, "link": link}]}));
    let path = format!("/cloudedge/fwrules/{rule}");
    let shown = edge.get("admin", &path).await.json()["fwrule"].clone();
    assert_eq!((&shown["port_to"], &shown["port_from"], &shown["instance"]["id"]), (&json!(22), &json!(port), &json!(instance)));
    assert!(is_stamp(&shown["created_at"]) && is_stamp(&shown["updated_at"]) && shown["link"] == link, "{shown}");
    let gone = edge.delete("admin", &path).await;
    assert_eq!((gone.status, gone.text()), (204, ""));
    fault(&edge.get("admin", &path).await, 404, "itemNotFound");
}

async fn metrics(edge: &Edge, instance: i64) {
    let listed = eventually("something is measured", PATIENCE, async || {
        let listed = edge.get("admin", &format!("/cloudedge/instance/{instance}/metrics")).await;
        assert_eq!(listed.status, 200, "{}", listed.text());
        Some(listed.json()).filter(|listed| !listed["metrics"].as_array().unwrap().is_empty())
    })
    .await;
    for name in ["CPUUtilization", "MemoryUsage", "NetworkIn", "NetworkOut", "DiskRead", "DiskWrite"] {
        let metric = listed["metrics"].as_array().unwrap().iter().find(|metric| metric.get(name).is_some());
        let statistics = &metric.unwrap_or_else(|| panic!("no {name} in {listed}"))[name]["statistics"];
        assert!(statistics.as_array().unwrap().contains(&json!("average")), "{listed}");
    }
    let plural = format!("/cloudedge/instances/{instance}/metrics");
    assert_eq!(edge.get("admin", &plural).await.json(), listed, "under both names");

    let path = format!("{plural}/statistics");
    let wishes =
        |start: &str, end: &str| json!({"statistics": "average", "startTime": start, "endTime": end, "period": "minute"});
    let wish = json!({"CPUUtilization": wishes("2012-09-19 07:00:00Z", "2012-09-19 07:07:02Z")});
    let query =
        "?metric=CPUUtilization&statistics=average&startTime=2012-09-19T07:00:00Z&endTime=2012-09-19T07:07:02Z&period=minute";
    for answer in [
        edge.call("admin", "GET", &path, &wish).await,
        edge.call("admin", "POST", &path, &wish).await,
        edge.get("admin", &format!("{path}{query}")).await,
    ] {
        // Long before anything was measured here.
        let expected = json!({"CPUUtilization": {"statistics": "average", "unit": "Percent", "datapoints": {}}});
        assert_eq!((answer.status, answer.json()), (200, expected));
    }
    let many = json!({"CPUUtilization": wishes("2012-09-19T00:00:00Z", "2012-09-20T00:01:00Z")});
    let refused = edge.call("admin", "GET", &path, &many).await;
    fault(&refused, 400, "badRequest");
    assert!(refused.text().contains("1440"), "{}", refused.text());
    let unknown = json!({"Happiness": wishes("2012-09-19 07:00:00Z", "2012-09-19 07:07:02Z")});
    fault(&edge.call("admin", "GET", &path, &unknown).await, 404, "itemNotFound");
}
