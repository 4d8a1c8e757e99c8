#![allow(clippy::unwrap_used)]
use super::*;
use crate::api::indigo::jackson;
use crate::api::indigo::paging::{Paging, template};
use crate::api::indigo::query::Query;
use ostler_core::deployments::{Deployment, DeploymentStatus, DeploymentTask, Owner, Resource, ResourceState};

/// 2021-08-24, 18:15 and 59 seconds.
const TIME: i64 = 1_629_828_959_999_999;
const ISSUER: &str = "https://iam-test.indigo-datacloud.eu/";
const SUBJECT: &str = "70389d9e-6638-49cd-86df-de7b4ddd4c39";

pub(in super::super) fn deployment(id: &str) -> Deployment {
    Deployment {
        id: id.to_owned(),
        owner: None,
        user_group: None,
        status: DeploymentStatus::CreateInProgress,
        status_reason: None,
        task: DeploymentTask::None,
        template: String::new(),
        parameters: json!({}),
        callback: Some("http://localhost".to_owned()),
        max_attempts: None,
        timeout: None,
        attempt_timeout: None,
        keep_last_attempt: false,
        cloud: None,
        physical_id: None,
        endpoint: None,
        outputs: json!({}),
        attempts: json!([]),
        log: String::new(),
        operation: None,
        created_at: TIME,
        updated_at: TIME,
    }
}

fn resource(id: &str, number: u32) -> Resource {
    Resource {
        id: id.to_owned(),
        deployment: "9df1e4c0-3114-47cc-ba5f-92b2b7dfdc8b".to_owned(),
        position: number,
        node: format!("node_{number}"),
        type_name: "tosca.nodes.Compute".to_owned(),
        ancestors: Vec::new(),
        state: ResourceState::Creating,
        cloud: None,
        token: None,
        physical_id: Some(number.to_string()),
        attributes: json!({}),
        required_by: Vec::new(),
        created_at: TIME,
        updated_at: TIME,
    }
}

fn links(id: &str) -> Vec<Link> {
    super::super::deployments::links("http://localhost:8080", id)
}

fn text<T: Serialize>(value: &T) -> String {
    String::from_utf8(jackson::write(value)).unwrap()
}

#[test]
fn times_have_no_seconds() {
    for (micros, expected) in [
        (TIME, "2021-08-24T18:15+0000"),
        (0, "1970-01-01T00:00+0000"),
        (-1, "1969-12-31T23:59+0000"),
        (951_782_400_000_000, "2000-02-29T00:00+0000"),
        (i64::MAX, "1970-01-01T00:00+0000"),
    ] {
        assert_eq!(time(micros), expected);
    }
}

/// The lengths are those of the original's documentation.
#[test]
fn deployments_have_the_bytes_of_the_original() {
    let created = Deployment {
        callback: Some("http://localhost:8080/callback".to_owned()),
        ..deployment("66712bbd-b542-4156-92db-c7b1625daefc")
    };
    let created = text(&DeploymentView::new(&created, links(&created.id)));
    let expected = r#"{
  "uuid" : "66712bbd-b542-4156-92db-c7b1625daefc",
  "creationTime" : "2021-08-24T18:15+0000",
  "updateTime" : "2021-08-24T18:15+0000",
  "status" : "CREATE_IN_PROGRESS",
  "outputs" : { },
  "task" : "NONE",
  "callback" : "http://localhost:8080/callback",
  "links" : [ {
    "rel" : "self",
    "href" : "http://localhost:8080/deployments/66712bbd-b542-4156-92db-c7b1625daefc"
  }, {
    "rel" : "resources",
    "href" : "http://localhost:8080/deployments/66712bbd-b542-4156-92db-c7b1625daefc/resources"
  }, {
    "rel" : "template",
    "href" : "http://localhost:8080/deployments/66712bbd-b542-4156-92db-c7b1625daefc/template"
  } ]
}"#;
    assert_eq!((created.as_str(), created.len()), (expected, 644));
    let failed = Deployment {
        status: DeploymentStatus::CreateFailed,
        status_reason: Some("Some reason".to_owned()),
        outputs: json!({"server_ip": "10.0.0.1"}),
        ..deployment("mmd34483-d937-4578-bfdb-ebe196bf82dd")
    };
    assert_eq!(text(&DeploymentView::new(&failed, links(&failed.id))).len(), 690);
}

#[test]
fn lists_have_the_bytes_of_the_original() {
    let owner = Owner { user_id: None, issuer: ISSUER.to_owned(), subject: SUBJECT.to_owned(), organisation: None };
    let mut first = deployment("edb9dd7d-9f7a-4fe5-9ec8-184e1cdd7379");
    first.status = DeploymentStatus::CreateFailed;
    first.status_reason = Some("Some reason".to_owned());
    first.owner = Some(owner.clone());
    let mut second = deployment("dba8cd46-ea2d-4dfa-9559-70cc5bb75840");
    second.status = DeploymentStatus::CreateComplete;
    second.owner = Some(owner);
    let by = format!("{SUBJECT}@{ISSUER}");
    let filters = [("createdBy", Some(by.as_str())), ("userGroup", None)];
    let list = "http://localhost:8080/deployments";
    let paging = Paging::read(&Query::default(), &[("createdAt", ())], "Deployment").unwrap();
    let listing = Listing {
        links: paging.links(list, &filters, Some(template(list, &filters)), 2),
        content: [&first, &second].map(|deployment| DeploymentView::new(deployment, links(&deployment.id))).into(),
        page: paging.view(2),
    };
    let shown = text(&listing);
    assert!(shown.starts_with(&format!(
        "{{\n  \"links\" : [ {{\n    \"rel\" : \"self\",\n    \"href\" : \"{list}?createdBy={by}{{&userGroup}}\"\n  }} ],\n  \
         \"content\" : [ {{\n    \"uuid\" : \"edb9dd7d"
    )));
    assert!(shown.ends_with(
        "\"page\" : {\n    \"size\" : 10,\n    \"totalElements\" : 2,\n    \"totalPages\" : 1,\n    \"number\" : 0\n  }\n}"
    ));
    assert_eq!(shown.len(), 1956);
}

/// The original's documentation is from before there were metadata.
#[test]
fn resources_have_the_bytes_of_the_original_and_metadata() {
    const METADATA: &str = "    \"metadata\" : { },\n";
    let (first, second) =
        (resource("5700159c-ac49-424b-b15f-4ad753c4113f", 0), resource("b247bc5a-877a-4528-a058-06a82b7f7ae9", 1));
    let paging = Paging::read(&Query::default(), &[("createdAt", ())], "Resource").unwrap();
    let list = format!("http://localhost:8080/deployments/{}/resources", first.deployment);
    let view = |resource| ResourceView::new(resource, super::super::resources::links("http://localhost:8080", resource));
    let listing = Listing {
        links: paging.links(&list, &[("type", None)], None, 2),
        content: vec![view(&first), view(&second)],
        page: paging.view(2),
    };
    let shown = text(&listing);
    assert_eq!(shown.matches(METADATA).count(), 2, "{shown}");
    let shown = shown.replace(METADATA, "");
    assert!(shown.contains("/resources?page=0&size=10&sort=createdAt,desc\""));
    assert!(shown.contains(
        "\"toscaNodeName\" : \"node_0\",\n    \"requiredBy\" : [ ],\n    \"links\" : [ {\n      \"rel\" : \"deployment\""
    ));
    assert_eq!(shown.len(), 1511);
}

#[test]
fn configurations_have_the_bytes_of_the_original() {
    let shown = text(&Configuration { cpr_url: "a", slam_url: "b", cmdb_url: "c", im_url: "d", monitoring_url: "e" });
    assert_eq!(
        shown,
        "{\n  \"cpr_url\" : \"a\",\n  \"slam_url\" : \"b\",\n  \"cmdb_url\" : \"c\",\n  \"im_url\" : \"d\",\n  \
         \"monitoring_url\" : \"e\"\n}"
    );
}

#[test]
fn what_later_versions_show_besides() {
    let full = Deployment {
        physical_id: Some("inf-1".to_owned()),
        user_group: Some("users".to_owned()),
        cloud: Some("lab".to_owned()),
        endpoint: Some(json!({
            "deploymentType": "OPENSTACK", "cpEndpoint": "https://c", "cpComputeServiceId": "s", "vaultUri": null, "more": 1,
            "hybridCloudProviderEndpoints": {},
        })),
        outputs: Value::Null,
        owner: Some(Owner { user_id: Some("u".into()), issuer: "i".into(), subject: "s".into(), organisation: None }),
        callback: None,
        ..deployment("d")
    };
    let shown = serde_json::to_string(&DeploymentView::new(&full, Vec::new())).unwrap();
    assert_eq!(
        shown,
        r#"{"uuid":"d","creationTime":"2021-08-24T18:15+0000","updateTime":"2021-08-24T18:15+0000","physicalId":"inf-1","#
            .to_owned()
            + r#""status":"CREATE_IN_PROGRESS","outputs":{},"task":"NONE","userGroup":"users","cloudProviderName":"lab","#
            + r#""cloudProviderEndpoint":{"cpEndpoint":"https://c","cpComputeServiceId":"s","#
            + r#""deploymentType":"OPENSTACK","more":1},"#
            + r#""createdBy":{"issuer":"i","subject":"s"},"links":[]}"#
    );
}

#[test]
fn private_keys_stay_private() {
    let key = "-----BEGIN OPENSSH PRIVATE KEY-----\ncanary\n-----END OPENSSH PRIVATE KEY-----";
    let attributes = json!({
        "addresses": ["10.0.0.1"],
        "disk.0.os.credentials.private_key": "canary",
        "nested": [{"adminPassword": "canary", "note": key, "state": "on"}],
        "Token": {"id": "canary"},
    });
    let resource = Resource { attributes: attributes.clone(), required_by: vec!["r2".into()], ..resource("r1", 0) };
    let shown = serde_json::to_value(ResourceView::new(&resource, Vec::new())).unwrap();
    assert!(!shown.to_string().contains("canary"), "{shown}");
    let info: Value = serde_json::from_str(shown["metadata"]["VirtualMachineInfo"].as_str().unwrap()).unwrap();
    assert_eq!((&info["addresses"], &info["nested"][0]["state"]), (&json!(["10.0.0.1"]), &json!("on")));
    assert_eq!((&shown["requiredBy"], &info["Token"]), (&json!(["r2"]), &json!("")));
    let extra = extra_info(vec![attributes, json!({"class": "job", "id": "x"})]);
    assert!(!extra.contains("canary"), "{extra}");
    let extra: Value = serde_json::from_str(&extra).unwrap();
    assert_eq!(extra[0]["vmProperties"][0]["class"], "system");
    assert_eq!(extra[1], json!({"vmProperties": [{"class": "job", "id": "x"}]}));
    assert_eq!(extra_info(Vec::new()), "[]");
}
