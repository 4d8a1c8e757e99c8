//! Requests and answers as the originals write them.

use std::collections::BTreeMap;

use ostler_registries::{
    Availability, Config, ConfigError, Demand, Error, Holder, Problem, RankRequest, Registries, Registry, Said, ServiceKind,
    Status, Wish, facts, ranking,
};
use serde_json::{Value, json};

use crate::support::*;

#[tokio::test]
async fn agreements_are_asked_with_the_users_token() {
    let played = played().await;
    play_all(&played);
    let registries = registries(&played);
    let said = within(registries.agreements("demo", Some(&token()))).await.unwrap();
    let seen = played.seen();
    assert_eq!((seen[0].method.as_str(), seen[0].path.as_str()), ("GET", PREFERENCES));
    assert_eq!(seen[0].authorization, format!("Bearer {TOKEN}"));

    assert_eq!(said.preferences.items.len(), 1);
    assert!((said.priority("sla-north", "nova-north") - 0.75).abs() < f64::EPSILON);
    assert_eq!(said.providers().into_iter().collect::<Vec<_>>(), ["provider-NORTH", "provider-SOUTH"]);
    assert_eq!(said.services_of("provider-NORTH").into_iter().collect::<Vec<_>>(), ["nova-north"]);
    let sla = said.sla("sla-north").unwrap();
    let target = &sla.service("nova-north").unwrap().targets[0];
    assert_eq!(target.kind.as_deref(), Some("public_ip"));
    assert_eq!(target.restrictions.as_ref().unwrap().total_limit, Some(100));
    // 2026-01-11T15:50:00Z
    assert_eq!(sla.begins(), Some(1_768_146_600_000_000));

    within(registries.agreements("demo", None)).await.unwrap();
    assert_eq!(played.seen()[1].authorization, "", "no token, no header");
}

#[tokio::test]
async fn groups_with_slashes_stay_below_the_base() {
    let played = played().await;
    let registries = registries(&played);
    for (customer, path) in [
        ("kube/users", Some("/slam/preferences/kube/users")),
        ("/kube/users", Some("/slam/preferences/kube/users")),
        ("a b?c=d#e", Some("/slam/preferences/a%20b%3Fc%3Dd%23e")),
        ("../../cmdb", None),
        ("a/./b", None),
        ("", None),
    ] {
        played.forget();
        played.json(path.unwrap_or(PREFERENCES), agreements());
        let before = played.seen().len();
        let result = within(registries.agreements(customer, None)).await;
        match path {
            Some(_) => assert!(result.is_ok(), "{customer}: {result:?}"),
            None => {
                assert!(matches!(result, Err(Error { problem: Problem::Unaskable(_), .. })), "{customer}: {result:?}");
                assert_eq!(played.seen().len(), before, "nothing is sent");
            }
        }
    }
    // A token with a line break would be another header.
    let result = within(registries.agreements("demo", Some(&"a\r\nX: b".into()))).await;
    assert!(matches!(result, Err(Error { problem: Problem::Unaskable(_), .. })));
}

#[tokio::test]
async fn the_cmdb_is_read_without_a_token() {
    let played = played().await;
    play_all(&played);
    let registries = registries(&played);
    let provider = within(registries.provider("provider-NORTH")).await.unwrap();
    assert_eq!((provider.id.as_str(), provider.name.as_str()), ("provider-NORTH", "NORTH"), "not `data.id`");
    assert_eq!(provider.country.as_deref(), Some("IT"));

    let services = within(registries.services("provider-NORTH")).await.unwrap();
    let kinds: Vec<_> = services.items.iter().map(|service| (service.id.as_str(), service.kind)).collect();
    let expected =
        [("occi-north", ServiceKind::Compute), ("nova-north", ServiceKind::Compute), ("disk-north", ServiceKind::Storage)];
    assert_eq!(kinds, expected);
    let (occi, nova) = (&services.items[0], &services.items[1]);
    assert!(occi.in_production && !occi.iam_enabled && occi.issuers.is_empty() && !occi.public);
    assert!(nova.iam_enabled && nova.public_ip_assignable);
    assert_eq!(nova.issuers, ["https://iam.example/"]);
    assert_eq!(nova.volume_types, ["ssd"]);
    assert_eq!(nova.parent.as_deref(), Some("keystone-north"));
    assert_eq!((nova.region.as_deref(), nova.endpoint.as_deref()), (Some("north-1"), Some("https://cloud.example:5000/v3")));

    let tenants = within(registries.tenants("nova-north")).await.unwrap();
    assert_eq!(tenants.items[0].organisation.as_deref(), Some("demo"));
    let images = within(registries.images("tenant-north")).await.unwrap();
    assert_eq!(images.items[0].version.as_deref(), Some("22.04"), "a number is a text");
    assert_eq!(images.items[0].cuda_support, Some(false));
    let flavors = within(registries.flavors("tenant-north")).await.unwrap();
    assert_eq!((flavors.items[0].vcpus, flavors.items[0].ram_mb, flavors.items[0].disk_gb), (Some(2), Some(4096.0), Some(20.0)));
    assert!(played.seen().iter().all(|seen| seen.authorization.is_empty() && seen.method == "GET"));
}

#[tokio::test]
async fn older_cmdbs_keep_images_with_the_service() {
    let played = played().await;
    played.json("/cmdb/service/id/nova-north/has_many/images?include_docs=true", images());
    played.json("/cmdb/service/id/nova-north/has_many/flavors?include_docs=true", flavors());
    play_all(&played);
    let registries = with(&played, |config| config.holder = Holder::Service);
    let offer = within(registries.offer("provider-NORTH", &["nova-north".to_owned()].into(), "whoever")).await;
    let nova = &offer.services[0];
    assert_eq!((nova.images.items.len(), nova.flavors.items.len()), (1, 1));
    assert_eq!(played.count(TENANTS), 0);
}

#[tokio::test]
async fn rows_without_documents() {
    let played = played().await;
    let rows = json!({ "total_rows": 9, "offset": 0, "rows": [
        { "id": "short", "key": [], "value": { "tenant_id": "t", "tenant_name": "n", "iam_organisation": "demo" } },
        { "id": "gone", "key": [], "value": { "deleted": true }, "doc": null },
        { "key": "lost", "error": "not_found" },
        { "id": "deleted", "value": {}, "doc": { "_id": "deleted", "_deleted": true } },
        { "id": "bad", "value": 5 },
    ] });
    played.json(TENANTS, rows);
    let tenants = within(registries(&played).tenants("nova-north")).await.unwrap();
    assert_eq!(tenants.items.len(), 1);
    assert_eq!((tenants.items[0].id.as_str(), tenants.items[0].organisation.as_deref()), ("short", Some("demo")));
    assert_eq!(tenants.left_out, ["rows[4].value: expected an object, found a number"]);
}

#[tokio::test]
async fn monitoring_tells_what_was_measured() {
    let played = played().await;
    play_all(&played);
    let registries = registries(&played);
    let machines = within(registries.machines("provider-NORTH")).await.unwrap().items;
    assert_eq!((machines.len(), machines[0].metrics.len()), (1, 2));
    assert_eq!(machines[0].metrics[0].value, None, "a zero that was not measured is none");
    assert_eq!(machines[0].metrics[1].value, Some(1.0));

    let said = within(registries.agreements("demo", None)).await.unwrap();
    let machines = BTreeMap::from([("provider-NORTH".to_owned(), machines)]);
    let said = Said { agreements: Some(&said), offers: None, machines: &machines, ranks: None };
    let up: Vec<_> = facts(&said, &Wish::default()).into_iter().map(|fact| fact.availability).collect();
    assert_eq!(up, [Availability::Up, Availability::Unknown]);

    played.json(METRICS, json!({ "result": { "groups": [] } }));
    assert!(within(registries.machines("provider-NORTH")).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn the_ranker_gets_what_the_original_sends() {
    let played = played().await;
    play_all(&played);
    let registries = registries(&played);
    let said = within(registries.agreements("demo", None)).await.unwrap();
    let machines = within(registries.machines("provider-NORTH")).await.unwrap().items;
    let machines = BTreeMap::from([("provider-NORTH".to_owned(), machines)]);
    let request = RankRequest::new(&said, &machines, |_, service| (service == "nova-north").then(|| "keystone-north".to_owned()));
    let ranks = within(registries.ranks(&request)).await.unwrap();

    let seen = played.seen().pop().unwrap();
    assert_eq!((seen.method.as_str(), seen.path.as_str(), seen.authorization.as_str()), ("POST", RANK, ""));
    let sent: Value = serde_json::from_str(&seen.body).unwrap();
    let machine = &metrics()["result"]["groups"][0]["paasMachines"][0];
    let expected = json!({
        "preferences": agreements()["preferences"][0]["preferences"],
        "sla": agreements()["sla"],
        "monitoring": [{ "provider": "provider-NORTH", "services": [{
            "service_id": "nova-north", "service_parent_id": "keystone-north", "type": "org.openstack.nova",
            "metrics": machine["services"][0]["paasMetrics"],
        }] }],
    });
    assert_eq!(sent, expected);

    let order: Vec<_> = ranking(&ranks.items).into_iter().map(|rank| (rank.service.as_str(), rank.rank)).collect();
    assert_eq!(order, [("nova-north", 1), ("nova-south", 2)]);
    assert_eq!(ranks.items[1].error_reason, None);
}

#[tokio::test]
async fn what_is_out_is_not_shown_to_the_ranker() {
    let played = played().await;
    play_all(&played);
    let registries = registries(&played);
    let said = within(registries.agreements("demo", None)).await.unwrap();
    let machines = within(registries.machines("provider-NORTH")).await.unwrap().items;
    let machines = BTreeMap::from([("provider-NORTH".to_owned(), machines)]);
    let whole = RankRequest::new(&said, &machines, |_, _| None);
    let mut north = whole.clone();
    north.retain(|provider, _| provider == "provider-NORTH");
    assert_eq!((north.sla.len(), north.preferences[0].priority.len(), north.monitoring.len()), (1, 1, 1));
    let mut south = whole.clone();
    south.retain(|_, service| service == "nova-south");
    assert_eq!((south.sla[0].id.as_str(), south.preferences[0].priority.len(), south.monitoring.len()), ("sla-south", 1, 0));
    let mut none = whole.clone();
    none.retain(|_, _| false);
    assert_eq!(none, RankRequest::default());
    let mut all = whole.clone();
    all.retain(|_, _| true);
    assert_eq!(all, whole);
}

#[tokio::test]
async fn quotas_come_from_the_wire() {
    let played = played().await;
    play_all(&played);
    let said = within(registries(&played).agreements("demo", None)).await.unwrap();
    let machines = BTreeMap::new();
    let said = Said { agreements: Some(&said), offers: None, machines: &machines, ranks: None };
    let demand = |total| BTreeMap::from([("public_ip".to_owned(), Demand { instance: 1, user: 1, total })]);
    for (total, expected) in [(100, [true, true]), (101, [false, true])] {
        let wish = Wish { demand: demand(total), ..Wish::default() };
        let found: Vec<_> = facts(&said, &wish).iter().map(ostler_registries::Fact::is_in).collect();
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn status_says_what_is_configured() {
    let none = Registries::new(&Config::default()).unwrap();
    assert_eq!(none.status(), Status::default());
    assert_eq!(serde_json::to_value(none.status()).unwrap(), json!({}));
    for registry in Registry::ALL {
        assert!(!none.has(registry));
    }
    let config = Config {
        cpr: Some("http://deep-cpr.test.infn.it:8080".parse().unwrap()),
        slam: Some("https://deep-slam.test.infn.it:8443/rest/slam".parse().unwrap()),
        cmdb: Some("https://deep-paas-dev.test.infn.it/cmdb/".parse().unwrap()),
        monitoring: Some("https://deep-paas.test.infn.it/monitoring".parse().unwrap()),
        ..Config::default()
    };
    let all = Registries::new(&config).unwrap();
    let shown = json!({
        "cpr_url": "http://deep-cpr.test.infn.it:8080",
        "slam_url": "https://deep-slam.test.infn.it:8443/rest/slam",
        "cmdb_url": "https://deep-paas-dev.test.infn.it/cmdb",
        "monitoring_url": "https://deep-paas.test.infn.it/monitoring",
    });
    assert_eq!(serde_json::to_value(all.status()).unwrap(), shown);
    assert!(Registry::ALL.into_iter().all(|registry| all.has(registry)));

    let insecure = Config { slam: Some("http://slam.example/".parse().unwrap()), ..Config::default() };
    assert!(matches!(Registries::new(&insecure), Err(ConfigError::Url { registry: Registry::Slam, .. })));
}

#[tokio::test]
async fn what_is_not_configured_cannot_be_asked() {
    let none = Registries::new(&Config::default()).unwrap();
    let problems = [
        none.agreements("demo", None).await.err(),
        none.provider("p").await.err(),
        none.services("p").await.err(),
        none.tenants("s").await.err(),
        none.images("t").await.err(),
        none.flavors("t").await.err(),
        none.machines("p").await.err(),
        none.ranks(&RankRequest::default()).await.err(),
    ];
    for problem in problems {
        let error = problem.unwrap();
        assert_eq!(error.problem, Problem::NotConfigured);
        assert!(!error.is_transient() && error.to_string().ends_with(": not configured"));
    }
}
