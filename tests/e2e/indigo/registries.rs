//! Where to deploy, by the word of external registries: of agreements (SLAM), of providers (CMDB), and the ranker.

use super::configured;
use super::issuers::Provider;
use super::life::{By, TEMPLATE, machines};
use ostler_registries::played::{Answer, Played};
use ostler_tests::{PATIENCE, eventually};
use serde_json::{Value, json};

const CLOUDS: &str = r#"
[clouds.near]
driver = "dummy"
config = { form = "plain" }
deployments = { priority = 9, service = "nova-near" }
[clouds.far]
driver = "dummy"
config = { form = "plain" }
deployments = { service = "nova-far" }
"#;

fn configuration(played: &Played) -> String {
    let url = &played.url;
    let urls = ["slam", "cmdb", "cpr", "monitoring"].map(|name| format!("{name} = \"{url}/{name}\""));
    format!("{CLOUDS}[api.indigo.registries]\n{}\n", urls.join("\n"))
}

/// Both clouds have an agreement with a group, which ends then; the ranker prefers the second one.
fn play(played: &Played, customer: &str, end_of_far: &str) {
    let agreement = |id: &str, provider: &str, service: &str, end: &str| {
        json!({
            "id": id, "customer": customer, "provider": provider, "start_date": "11.01.2016+15:50:00", "end_date": end,
            "services": [{ "type": "compute", "service_id": service, "targets": [] }],
        })
    };
    let preference = |id: &str, service: &str| json!({ "sla_id": id, "service_id": service, "weight": 0.5 });
    played.agreements(
        customer,
        json!({
            "preferences": [{ "id": "p", "customer": customer, "preferences": [{
                "service_type": "compute", "priority": [preference("sla-near", "nova-near"), preference("sla-far", "nova-far")],
            }] }],
            "sla": [
                agreement("sla-near", "provider-near", "nova-near", "11.02.2096+15:50:00"),
                agreement("sla-far", "provider-far", "nova-far", end_of_far),
            ],
        }),
    );
    for name in ["near", "far"] {
        let (provider, service, tenant) = (format!("provider-{name}"), format!("nova-{name}"), format!("tenant-{name}"));
        played.provider(&provider, name, &[(&service, json!({ "type": "compute", "service_type": "org.openstack.nova" }))]);
        played.tenants(&service, &[(&tenant, json!({ "iam_organisation": customer }))]);
        played.holdings(&tenant, &[], &[]);
        played.metrics(&provider, &[(&service, &[("General API Availability", 1.0)])]);
    }
    played.ranks(&[("provider-far", "nova-far"), ("provider-near", "nova-near")]);
}

#[tokio::test]
async fn the_registries_say_where() {
    let Some(provider) = Provider::running() else { return };
    let played = Played::start().await.unwrap();
    let server = provider.trusted(&configuration(&played)).start().await;
    let ada = By { server: &server, token: provider.log_in("ada", "openid profile offline_access").await };
    let shown = ada.get("/configuration").await.json();
    for (name, path) in [("slam_url", "/slam"), ("cmdb_url", "/cmdb"), ("cpr_url", "/cpr"), ("monitoring_url", "/monitoring")] {
        assert_eq!(shown[name], format!("{}{path}", played.url));
    }
    assert!(shown["im_url"].as_str().is_some_and(|url| !url.starts_with(&played.url)), "{shown}");

    let failed = Answer::Text(500, String::new());
    let ended = "11.02.2017+15:50:00";
    // (when the far one's agreement ends, what SLAM answers instead, where it goes; or why nowhere)
    for (end, slam, expected) in [
        ("11.02.2096+15:50:00", None, Ok("far")),
        (ended, None, Ok("near")),
        (ended, Some(failed), Err("SLAM: refused with the status 500")),
        (ended, Some(Answer::Json(json!({ "preferences": [], "sla": [] }))), Err("no agreement covers it")),
    ] {
        played.forget();
        play(&played, "physics", end);
        if let Some(answer) = slam {
            played.answer("/slam/preferences/physics", answer);
        }
        let order = json!({ "template": TEMPLATE, "userGroup": "physics" });
        let made = ada.call("POST", "/deployments", &order).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let path = format!("/deployments/{}", made.json()["uuid"].as_str().unwrap());
        let there = ada.settled(path.rsplit('/').next().unwrap()).await;
        match expected {
            Ok(cloud) => {
                assert_eq!(
                    (&there["status"], &there["cloudProviderName"]),
                    (&json!("CREATE_COMPLETE"), &json!(cloud)),
                    "{there}"
                );
                assert_eq!(machines(&server, cloud).await.len(), 2);
            }
            Err(why) => {
                assert_eq!(there["status"], "CREATE_FAILED");
                let reason = there["statusReason"].as_str().unwrap();
                assert!(reason.contains(&format!("near: {why}")) && reason.contains(&format!("far: {why}")), "{reason}");
            }
        }
        if (end, expected) == (ended, Ok("near")) {
            let log = ada.get(&format!("{path}/log")).await;
            assert!(log.text().contains("near (") && !log.text().contains("far ("), "{}", log.text());
        }
        assert_eq!(ada.call("DELETE", &path, &Value::Null).await.status, 204);
        ada.gone(path.rsplit('/').next().unwrap()).await;
    }
    // Her token is shown to the registry of agreements and to nobody else, and is nowhere to be found.
    for seen in played.seen() {
        let expected = if seen.path.starts_with("/slam/") { format!("Bearer {}", ada.token) } else { String::new() };
        assert_eq!(seen.authorization, expected, "{}", seen.path);
    }
    assert!(!server.log().contains(&ada.token));
}

#[tokio::test]
async fn a_token_of_ours_is_shown_to_nobody() {
    let played = Played::start().await.unwrap();
    play(&played, "physics", "11.02.2096+15:50:00");
    let server = configured(&configuration(&played)).start().await;
    let admin = By { server: &server, token: server.operator() };
    for (group, status) in [(json!("physics"), "CREATE_COMPLETE"), (Value::Null, "CREATE_FAILED")] {
        let made = admin.call("POST", "/deployments", &json!({ "template": TEMPLATE, "userGroup": group })).await.json();
        let id = made["uuid"].as_str().unwrap();
        let there = admin.settled(id).await;
        assert_eq!(there["status"], status, "{there}");
        assert_eq!(admin.call("DELETE", &format!("/deployments/{id}"), &Value::Null).await.status, 204);
        admin.gone(id).await;
    }
    assert!(played.count("/slam/preferences/physics") == 1 && played.seen().iter().all(|seen| seen.authorization.is_empty()));
}

/// Long after she made it, a schedule asks with a token that the server has for her, and not with the one she showed.
#[tokio::test]
async fn a_schedule_acts_for_its_owner() {
    let Some(provider) = Provider::running() else { return };
    let played = Played::start().await.unwrap();
    play(&played, "physics", "11.02.2096+15:50:00");
    let mut server = provider.trusted_with(&configuration(&played), "exchange = true\n").start().await;
    let token = provider.log_in("ada", "openid profile offline_access").await;
    let schedule = {
        let ada = By { server: &server, token: token.clone() };
        let order = json!({
            "template": TEMPLATE, "userGroup": "physics", "fileExpression": "scope:run.*", "replicationExpression": "X",
            "numberOfReplicas": 1,
        });
        let made = ada.call("POST", "/schedules", &order).await;
        assert_eq!(made.status, 201, "{}", made.text());
        made.json()["uuid"].as_str().unwrap().to_owned()
    };
    // Nothing of it is in memory any more.
    server.kill();
    server.start().await;
    for name in ["run-1", "run-2"] {
        let message = json!({ "event_type": "did_registered", "scope": "scope", "name": name }).to_string();
        assert_eq!(server.as_operator("POST", "/ostler/v1/data-events", message).await.status, 202);
    }
    eventually("both files are deployed", PATIENCE, async || {
        let page = server.as_operator("GET", &format!("/schedules/{schedule}/events?size=9"), "").await.json();
        let done = |event: &Value| event["deployment"]["status"] == "CREATE_COMPLETE";
        let events = page["content"].as_array().cloned().unwrap_or_default();
        (events.len() == 2 && events.iter().all(done)).then_some(())
    })
    .await;
    let shown: Vec<_> =
        played.seen().into_iter().filter(|seen| seen.path.starts_with("/slam/")).map(|seen| seen.authorization).collect();
    assert!(shown.len() >= 2 && shown.iter().all(|one| one == &shown[0]), "{} times, one token for all", shown.len());
    let other = shown[0].strip_prefix("Bearer ").unwrap();
    assert!(!other.is_empty() && other != token);
    // Neither is anywhere to be found.
    for entry in std::fs::read_dir(server.data()).unwrap().filter_map(|entry| std::fs::read(entry.unwrap().path()).ok()) {
        for secret in [other, &token] {
            assert!(!entry.windows(secret.len()).any(|part| part == secret.as_bytes()));
        }
    }
    assert!(!server.log().contains(&token) && !server.log().contains(other));
}
