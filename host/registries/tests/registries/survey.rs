//! All registries in one call.

use ostler_registries::played::{Answer, Played};
use ostler_registries::{Availability, Error, ImageWish, Problem, Question, Reason, Registry, Survey, Wish};
use serde_json::{Value, json};

use crate::support::*;

/// Two providers, north and south, both good.
fn play(played: &Played) {
    played.agreements("demo", agreements());
    for (name, provider, service, tenant) in
        [("NORTH", "provider-NORTH", "nova-north", "tenant-north"), ("SOUTH", "provider-SOUTH", "nova-south", "tenant-south")]
    {
        let nova =
            json!({ "type": "compute", "service_type": "org.openstack.nova", "endpoint": format!("https://{service}:5000/v3") });
        let other = json!({ "type": "compute", "service_type": "org.openstack.nova" });
        played.provider(provider, name, &[(service, nova), (&format!("{service}-unagreed"), other)]);
        let strangers = json!({ "iam_organisation": "strangers" });
        played.tenants(service, &[("tenant-of-strangers", strangers), (tenant, json!({ "iam_organisation": "demo" }))]);
        let image = json!({ "image_id": format!("{service}-image"), "image_name": "ubuntu:22.04" });
        let flavor = json!({ "flavor_id": "f", "flavor_name": "small", "num_vcpus": 1, "ram": 2048, "disk": 10 });
        played.holdings(tenant, &[("image", image)], &[("flavor", flavor)]);
        played.metrics(provider, &[(service, &[("General API Availability", 1.0)])]);
    }
    played.ranks(&[("provider-SOUTH", "nova-south"), ("provider-NORTH", "nova-north")]);
}

async fn survey_with(played: &Played, wish: &Wish) -> Result<Survey, Error> {
    let token = token();
    let question = Question { customer: "demo", token: Some(&token), wish };
    within(registries(played).survey(&question)).await
}

async fn survey(played: &Played) -> Survey {
    survey_with(played, &Wish::default()).await.unwrap()
}

/// For each service whether it is in, its rank, and why it is out.
fn shown(survey: &Survey) -> Vec<String> {
    let reasons = |out: &[Reason]| out.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    survey.facts.iter().map(|fact| format!("{} {:?} {}", fact.service_id, fact.rank, reasons(&fact.out))).collect()
}

#[tokio::test]
async fn everything_is_put_together() {
    let played = played().await;
    play(&played);
    let survey = survey(&played).await;
    assert_eq!(shown(&survey), ["nova-north Some(2) ", "nova-south Some(1) "]);
    assert_eq!(survey.notes, Vec::<String>::new());
    let north = &survey.facts[0];
    assert_eq!((north.provider_name.as_str(), north.agreements.as_slice()), ("NORTH", &["sla-north".to_owned()][..]));
    assert_eq!(north.availability, Availability::Up);
    assert_eq!(north.tenant.as_ref().unwrap().id, "tenant-north");
    assert_eq!(north.service.as_ref().unwrap().endpoint.as_deref(), Some("https://nova-north:5000/v3"));
    let wish = ImageWish { name: Some("ubuntu".to_owned()), ..ImageWish::default() };
    assert_eq!(north.image(&wish).and_then(|image| image.id()), Some("nova-north-image"));

    // The token goes to SLAM and to nobody else.
    for seen in played.seen() {
        let expected = if seen.path.starts_with("/slam/") { format!("Bearer {TOKEN}") } else { String::new() };
        assert_eq!(seen.authorization, expected, "{}", seen.path);
    }
}

#[tokio::test]
async fn a_failure_costs_no_more_than_it_must() {
    let services = "/cmdb/provider/id/provider-SOUTH/has_many/services?include_docs=true";
    let tenants = "/cmdb/service/id/nova-south/has_many/tenants?include_docs=true";
    let flavors = "/cmdb/tenant/id/tenant-south/has_many/flavors?include_docs=true";
    let metrics = "/monitoring/monitoring/adapters/zabbix/zones/indigo/types/infrastructure/groups/provider-SOUTH";
    let failed = Answer::Text(500, String::new());
    let cases: &[(&str, Answer, [&str; 2], usize)] = &[
        (services, failed.clone(), ["nova-north Some(2) ", "nova-south Some(1) CMDB: refused with the status 500"], 0),
        (
            services,
            Answer::Json(json!({ "rows": [] })),
            ["nova-north Some(2) ", "nova-south Some(1) the CMDB does not list it"],
            0,
        ),
        (tenants, failed.clone(), ["nova-north Some(2) ", "nova-south Some(1) CMDB: refused with the status 500"], 0),
        (
            tenants,
            Answer::Json(json!({ "rows": [] })),
            ["nova-north Some(2) ", "nova-south Some(1) the organisation has no tenant there"],
            0,
        ),
        (flavors, failed.clone(), ["nova-north Some(2) ", "nova-south Some(1) CMDB: refused with the status 500"], 0),
        (metrics, failed.clone(), ["nova-north Some(2) ", "nova-south Some(1) "], 1),
        (RANK, failed.clone(), ["nova-north None ", "nova-south None "], 1),
        (RANK, Answer::Json(json!([])), ["nova-north None it was not ranked", "nova-south None it was not ranked"], 0),
        (RANK, Answer::Json(json!([5])), ["nova-north None it was not ranked", "nova-south None it was not ranked"], 1),
    ];
    let played = played().await;
    for (path, answer, expected, notes) in cases {
        play(&played);
        played.answer(path, answer.clone());
        let survey = survey(&played).await;
        assert_eq!(shown(&survey), *expected, "{path} {answer:?}");
        assert_eq!(survey.notes.len(), *notes, "{path} {answer:?}: {:?}", survey.notes);
    }
    play(&played);
    played.answer(PREFERENCES, failed);
    let error = survey_with(&played, &Wish::default()).await.unwrap_err();
    assert_eq!(error, Error { registry: Registry::Slam, problem: Problem::Refused(500) });
}

#[tokio::test]
async fn the_ranker_is_asked_only_about_what_is_left() {
    let played = played().await;
    play(&played);
    let wish = Wish { agreements: ["sla-south".to_owned()].into(), ..Wish::default() };
    let found = survey_with(&played, &wish).await.unwrap();
    assert_eq!(found.facts.iter().filter(|fact| fact.is_in()).count(), 1);
    let asked: Value = serde_json::from_str(&played.seen().pop().unwrap().body).unwrap();
    assert_eq!(asked["sla"].as_array().unwrap().len(), 1);
    assert_eq!(asked["sla"][0]["id"], "sla-south");
    assert_eq!(asked["monitoring"].as_array().unwrap().len(), 1);

    // Nothing is left: nobody is asked.
    let before = played.count(RANK);
    let wish = Wish { agreements: ["unknown".to_owned()].into(), ..Wish::default() };
    let found = survey_with(&played, &wish).await.unwrap();
    assert!(found.facts.iter().all(|fact| fact.out == [Reason::OtherAgreement]));
    assert_eq!(played.count(RANK), before);
}

#[tokio::test]
async fn public_clouds_are_not_monitored() {
    let played = played().await;
    play(&played);
    let nova = json!({ "type": "compute", "service_type": "org.openstack.nova", "is_public_service": true });
    played.provider("provider-NORTH", "NORTH", &[("nova-north", nova)]);
    survey(&played).await;
    assert_eq!(played.count(METRICS), 0);
}

#[tokio::test]
async fn registries_that_are_not_configured_are_passed_over() {
    let played = played().await;
    play(&played);
    let registries = with(&played, |config| (config.cmdb, config.cpr, config.monitoring) = (None, None, None));
    let wish = Wish::default();
    let found = within(registries.survey(&Question { customer: "demo", token: None, wish: &wish })).await.unwrap();
    assert_eq!(shown(&found), ["nova-north None ", "nova-south None "]);
    assert_eq!(played.seen().len(), 1);
    let none = with(&played, |config| config.slam = None);
    let error = within(none.survey(&Question { customer: "demo", token: None, wish: &wish })).await.unwrap_err();
    assert_eq!(error.problem, Problem::NotConfigured);
}

/// Surveys are made in tasks.
#[tokio::test]
async fn a_survey_may_move_between_threads() {
    let played = played().await;
    play(&played);
    let registries = std::sync::Arc::new(registries(&played));
    let task = tokio::spawn(async move {
        let (token, wish) = (token(), Wish::default());
        registries.survey(&Question { customer: "demo", token: Some(&token), wish: &wish }).await
    });
    assert_eq!(within(task).await.unwrap().unwrap().facts.len(), 2);
}
