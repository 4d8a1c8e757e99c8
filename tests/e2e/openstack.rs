//! Three APIs on a real OpenStack, with its own SDK as the witness of what is there: `tests/setup/openstack.sh start DIR`, then
//! `OSTLER_TEST_OPENSTACK=DIR/env`.

use ostler_tests::components;
use ostler_tests::director::Director;
use ostler_tests::stack::{Sdk, Stack};
use ostler_tests::{Reply, Server, Setup, eventually};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// After so long something will not happen any more.
const PATIENCE: Duration = Duration::from_secs(300);
/// What must be the same before and after.
const HELD: [&str; 6] = ["servers", "ports", "floating_ips", "networks", "keypairs", "volumes"];

/// Wherever there is room.
const ANYWHERE: &str = "
tosca_definitions_version: tosca_simple_yaml_1_0
topology_template:
  node_templates:
    web:
      type: tosca.nodes.indigo.Compute
      capabilities:
        scalable: { properties: { count: 2 } }
";

const TEMPLATE: &str = "
tosca_definitions_version: tosca_simple_yaml_1_0
topology_template:
  node_templates:
    web:
      type: tosca.nodes.indigo.Compute
      capabilities:
        scalable: { properties: { count: 2 } }
        os: { properties: { image: cirros-fake } }
        host: { properties: { instance_type: '42' } }
  outputs:
    addresses: { value: { get_attribute: [ web, private_address ] } }
";

/// Identifiers of what the witness sees, by kind.
fn held(stack: &Stack) -> BTreeMap<String, BTreeSet<String>> {
    let report = stack.report();
    let ids = |kind: &str| report[kind].as_object().unwrap().keys().cloned().collect();
    HELD.iter().map(|kind| ((*kind).to_owned(), ids(kind))).collect()
}

async fn server(stack: &Stack) -> Server {
    let config = format!(
        "{}[api.crs4]\nopen = true\n[api.indigo]\nopen = true\n[api.conpaas]\nregistration = \"open\"\n\
         [services]\nstart_timeout_seconds = 200\n[services.types.php]\nimage = \"{}\"\nsize = \"42\"\n",
        stack.cloud("default").await,
        stack.image(),
    );
    let setup = Setup::configured(config).env("STACK_PASSWORD", stack.of("OS_PASSWORD")).arg("--listen-tls").arg("127.0.0.1:0");
    let server = setup.driver("openstack", components::openstack()).start().await;
    server.serving("default").await;
    server
}

async fn json(server: &Server, method: &str, path: &str, body: &Value) -> Reply {
    server.json(method, path, &if body.is_null() { String::new() } else { body.to_string() }).await
}

#[tokio::test]
#[ignore = "needs a real OpenStack: tests/setup/openstack.sh"]
async fn three_apis_leave_nothing_behind() {
    let stack = Stack::open();
    let before = held(&stack);
    let server = server(&stack).await;

    // The Orchestrator API V.1: images, sizes, a machine from its order to its end.
    let images = server.get("/api/v1/images/default").await.json();
    let image = images["images"].as_array().unwrap().iter().find(|image| image["name"] == "cirros-fake").unwrap()["id"].clone();
    let sizes = server.get("/api/v1/sizes/default").await.json();
    assert!(sizes["flavors"].as_array().unwrap().iter().any(|size| size["id"] == "42"), "{sizes}");
    let order = json!({ "name": "v1", "image": image, "size": "42" });
    let started = json(&server, "POST", "/api/v1/vm/start/default", &order).await;
    assert_eq!(started.status, 200, "{}", started.text());
    let id = started.json()["nodes"]["id"].as_str().unwrap_or_else(|| panic!("{}", started.text())).to_owned();
    let up = eventually("the machine is up", PATIENCE, async || {
        let listed = server.get("/api/v1/nodes/default").await.json();
        let node = listed["nodes"].as_array()?.iter().find(|node| node["id"] == *id)?.clone();
        (node["state"] == 0 && node["private_ips"].as_array().is_some_and(|ips| !ips.is_empty())).then_some(node)
    })
    .await;
    let seen = stack.report()["servers"][&id].clone();
    assert_eq!(seen["status"], "ACTIVE", "{seen}");
    for ip in up["private_ips"].as_array().unwrap() {
        assert!(seen.to_string().contains(ip.as_str().unwrap()), "{ip} in {seen}");
    }
    let stopped = json(&server, "PUT", "/api/v1/vm/stop/default", &json!({ "node": id })).await;
    assert_eq!(stopped.status, 200, "{}", stopped.text());
    eventually("it is gone", PATIENCE, async || (held(&stack) == before).then_some(())).await;

    // A deployment of two machines.
    let made = json(&server, "POST", "/deployments", &json!({ "template": TEMPLATE })).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let path = format!("/deployments/{}", made.json()["uuid"].as_str().unwrap());
    let done = eventually("the deployment settles", PATIENCE, async || {
        let shown = server.get(&path).await.json();
        (!shown["status"].as_str().unwrap().ends_with("_IN_PROGRESS")).then_some(shown)
    })
    .await;
    assert_eq!(done["status"], "CREATE_COMPLETE", "{done}");
    let addresses: Vec<Value> = done["outputs"]["addresses"].as_array().unwrap().clone();
    let servers = stack.report()["servers"].clone();
    assert_eq!(addresses.len(), 2, "{done}");
    assert!(addresses.iter().all(|ip| servers.to_string().contains(ip.as_str().unwrap())), "{addresses:?} in {servers}");
    assert_eq!(json(&server, "DELETE", &path, &Value::Null).await.status, 204);
    eventually("the deployment is gone", PATIENCE, async || (server.get(&path).await.status == 404).then_some(())).await;
    eventually("its machines are gone", PATIENCE, async || (held(&stack) == before).then_some(())).await;

    // A service.
    let director = Director::of(&server);
    let ann = director.user("ann", "5").await;
    let service = director.post(Some(&ann), "/start/php", &[]).await.json();
    let sid = service["sid"].as_i64().unwrap_or_else(|| panic!("{service}"));
    let vm = service["vmid"].as_str().unwrap();
    assert_eq!(stack.report()["servers"][vm]["status"], "ACTIVE", "{service}");
    assert_eq!(director.get(Some(&ann), "/user_credit").await.json(), 4);
    assert_eq!(director.post(Some(&ann), &format!("/stop/{sid}"), &[]).await.text(), "true");
    eventually("the service is gone", PATIENCE, async || (held(&stack) == before).then_some(())).await;
    assert!(!server.log().contains(stack.of("OS_PASSWORD")));
}

/// Room for one of two machines: the first is removed again, and the deployment is made elsewhere.
#[tokio::test]
#[ignore = "needs a real OpenStack: tests/setup/openstack.sh"]
async fn a_quota_that_is_used_up_leads_elsewhere() {
    let stack = Stack::open();
    let (before, mut sdk) = (held(&stack), Sdk::new(&stack));
    sdk.ask("quota 1");
    let config = format!(
        "{}[clouds.preferred.deployments]\npriority = 2.0\n[clouds.spare]\ndriver = \"dummy\"\nconfig = {{ form = \"plain\" }}\n\
         [api.indigo]\nopen = true\n",
        stack.cloud("preferred").await
    );
    let setup = Setup::configured(config).env("STACK_PASSWORD", stack.of("OS_PASSWORD"));
    let server = setup.driver("openstack", components::openstack()).start().await;
    server.serving("preferred").await;
    let made = json(&server, "POST", "/deployments", &json!({ "template": ANYWHERE })).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let path = format!("/deployments/{}", made.json()["uuid"].as_str().unwrap());
    let done = eventually("the deployment settles", PATIENCE, async || {
        let shown = server.get(&path).await.json();
        (!shown["status"].as_str().unwrap().ends_with("_IN_PROGRESS")).then_some(shown)
    })
    .await;
    let events = server.log();
    assert_eq!((&done["status"], &done["cloudProviderName"]), (&json!("CREATE_COMPLETE"), &json!("spare")), "{done} {events}");
    eventually("nothing is left where there was no room", PATIENCE, async || (held(&stack) == before).then_some(())).await;
    assert_eq!(json(&server, "DELETE", &path, &Value::Null).await.status, 204);
    eventually("the deployment is gone", PATIENCE, async || (server.get(&path).await.status == 404).then_some(())).await;
    sdk.ask("quota 10");
}
