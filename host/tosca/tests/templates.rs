//! Whole templates, in the style of published ones: they are accepted, and what follows from them is right.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::sync::Arc;

use ostler_tosca::{Attributes, Catalogue, Code, Error, Limits, Mode, Template, Topology};
use serde_json::{Map, Value, json};

fn read(name: &str) -> String {
    std::fs::read_to_string(format!("{}/tests/templates/{name}.yaml", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn parse(name: &str) -> Template {
    Template::parse(&read(name), &Catalogue::standard(), Mode::Normal, &Limits::default())
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn bind(name: &str, given: &Value) -> Topology {
    Topology::bind(Arc::new(parse(name)), given.as_object().unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Machines have addresses, numbered by node.
struct Machines(Topology);

impl Attributes for Machines {
    fn get(&self, node: &str, capability: Option<&str>, name: &str) -> Option<Value> {
        let template = self.0.template();
        let index = template.find(node)?;
        if let (Some("host"), "publish_ports") = (capability, name) {
            return Some(json!([{ "target": 31_000 }, { "target": 31_001 }]));
        }
        match name {
            "private_address" | "public_address" if template.nodes[index].is("tosca.nodes.Compute") => {
                let net = if name == "private_address" { 10 } else { 203 };
                Some((0..self.0.count(index)).map(|i| json!(format!("{net}.0.{index}.{i}"))).collect())
            }
            "load_balancer_ips" => Some(json!(["198.51.100.7"])),
            "service_ports" => Some(json!({ "store": { "9000": { "target": 30_900 } } })),
            _ => None,
        }
    }
}

fn outputs(topology: &Topology) -> Map<String, Value> {
    topology.outputs(&Machines(topology.clone()))
}

#[test]
fn all_are_accepted() {
    // With the codes of their warnings.
    let table: [(&str, Value, &[Code]); 11] = [
        ("portal", json!({}), &[]),
        ("batch-cluster", json!({}), &[]),
        ("networks", json!({}), &[]),
        ("scheduler-cluster", json!({ "password": "long enough" }), &[]),
        ("containers", json!({ "path": "/p" }), &[]),
        ("jobs", json!({ "token": "t" }), &[Code::UnknownKey]),
        ("hpc-job", json!({}), &[]),
        ("container-cluster", json!({ "token": "t" }), &[]),
        ("chart", json!({}), &[]),
        ("web-and-database", json!({ "db_password": "p", "db_root_password": "r" }), &[]),
        ("own-types", json!({}), &[]),
    ];
    let files = std::fs::read_dir(format!("{}/tests/templates", env!("CARGO_MANIFEST_DIR"))).unwrap().count();
    assert_eq!(files, table.len(), "each file is in the table");
    for (name, given, warnings) in table {
        let topology = bind(name, &given);
        let template = topology.template();
        let codes: Vec<Code> = template.warnings.iter().map(|problem| problem.code).collect();
        assert_eq!(codes, warnings, "{name}: {:?}", template.warnings);
        // Each node comes after what it requires.
        let place = |node: usize| template.order.iter().position(|other| *other == node).unwrap();
        for (index, node) in template.nodes.iter().enumerate() {
            for requirement in &node.requirements {
                assert!(place(requirement.target) < place(index), "{name}: {} before {}", node.name, requirement.name);
                assert!(requirement.capability.is_some(), "{name}: {}.{}", node.name, requirement.name);
            }
        }
        // And again from what it becomes when it is written anew.
        let text = ostler_tosca::without_removal_lists(&read(name), &Limits::default());
        let again = Template::parse(&text, &Catalogue::standard(), Mode::Normal, &Limits::default());
        assert_eq!(again.unwrap().nodes.len(), template.nodes.len(), "{name}:\n{text}");
    }
}

#[test]
fn a_portal() {
    let topology = bind("portal", &json!({ "memory": "8 GB" }));
    let template = topology.template().clone();
    assert_eq!(template.description, "A portal on one server, in the older form of imports.");
    let names: Vec<&str> = template.order.iter().map(|index| template.nodes[*index].name.as_str()).collect();
    assert_eq!(names, ["server", "local_lrms", "portal", "tool"]);
    let server = template.find("server").unwrap();
    assert_eq!(topology.capability(server, "host", "mem_size", None), Ok(Some(json!("8 GB"))));
    assert_eq!(topology.capability(server, "os", "version", None), Ok(Some(json!("14.04"))), "a version keeps its zeros");
    assert_eq!(topology.capability(server, "endpoint", "ports", None).unwrap().unwrap()["http"]["protocol"], "tcp");
    assert_eq!(topology.count(server), 1);
    assert_eq!(template.required_by(server).map(|node| template.nodes[node].name.clone()).collect::<Vec<_>>(), ["local_lrms"]);
    assert_eq!(Value::Object(outputs(&topology)), json!({ "url": "http://203.0.3.0:8080" }));

    // What the types bring along: inputs from the template, from the host, from further below.
    let tool = template.find("tool").unwrap();
    let machines = Machines(topology.clone());
    let operations = topology.operations(tool, "Standard", Some(&machines)).unwrap();
    assert_eq!(operations.len(), 1);
    assert_eq!(
        (operations[0].name.as_str(), operations[0].implementation.as_str()),
        ("configure", "artifacts/galaxy/galaxy_tools_configure.yml")
    );
    let expected = json!({
        "galaxy_flavor": "tools", "galaxy_admin_api_key": "key", "instance_public_ip": "203.0.3.0",
        "galaxy_version": "master", "get_refdata": true,
    });
    assert_eq!(Value::Object(operations[0].inputs.clone()), expected);
    let portal = template.find("portal").unwrap();
    let operations = topology.operations(portal, "Standard", None).unwrap();
    assert_eq!(operations[0].inputs["galaxy_lrms"], "local", "the property of a requirement's capability");
    assert!(topology.operations(tool, "Standard", None).is_err(), "an address is not known before there is a machine");
}

#[test]
fn a_batch_cluster() {
    let topology = bind("batch-cluster", &json!({ "wn_num": "3" }));
    let template = topology.template();
    let worker = template.find("worker").unwrap();
    assert_eq!(topology.count(worker), 3);
    assert_eq!(topology.removal_list(worker), ["r-1", "r-2"]);
    let expected = json!({ "address": "203.0.2.0", "workers": ["10.0.5.0", "10.0.5.1", "10.0.5.2"], "queue": "slurm" });
    assert_eq!(Value::Object(outputs(&topology)), expected);
    assert_eq!(bind("batch-cluster", &json!({ "wn_num": 0 })).count(worker), 0);
    let head = template.find("head").unwrap();
    let disk = Value::Object(topology.relationship(head, 0, None).unwrap());
    assert_eq!(disk, json!({ "location": "/data", "device": "hdb" }));

    // Inputs that come from properties without a value are not there.
    let operations = topology.operations(template.find("elastic").unwrap(), "Standard", None).unwrap();
    let expected = json!({
        "clues_queue_system": "slurm", "ec3_max_instances": 5, "ec3_deployment_id": "orchestrator_deployment_id",
        "clues_powermanager_plugin": "indigo_orchestrator",
    });
    assert_eq!(Value::Object(operations[0].inputs.clone()), expected);

    let text = ostler_tosca::without_removal_lists(&read("batch-cluster"), &Limits::default());
    assert!(!text.contains("removal_list") && text.contains("get_input: wn_num"), "{text}");
    let again = Template::parse(&text, &Catalogue::standard(), Mode::Normal, &Limits::default()).unwrap();
    let again = Topology::bind(Arc::new(again), &Map::new()).unwrap();
    assert_eq!((again.count(worker), again.removal_list(worker)), (2, Vec::new()));
}

#[test]
fn containers_and_jobs() {
    let topology = bind("containers", &json!({ "path": "/data" }));
    let app = topology.template().find("app").unwrap();
    assert_eq!(topology.artifact(app, "image"), Ok(Some("app/server".into())), "a call in a text");
    let variables = topology.property(app, "environment_variables", None).unwrap().unwrap();
    assert_eq!(variables, json!({ "RUN_AT_START": "false", "REMOTE": "remote:/data" }));
    let expected = json!({ "endpoint": "http://198.51.100.7:31000", "source": 6006, "path": "/data" });
    assert_eq!(Value::Object(outputs(&topology)), expected);

    let topology = bind("jobs", &json!({ "token": "t" }));
    let space = topology.template().find("space").unwrap();
    assert_eq!(topology.property(space, "oneproviders", None), Ok(Some(json!(["one.example", "two.example"]))));
    assert_eq!(topology.property(space, "smartScheduling", None), Ok(Some(json!(true))));
    let first = topology.template().find("first").unwrap();
    assert_eq!(topology.property(first, "command", None), Ok(Some(json!("run --out ${HOME}/out"))));

    let topology = bind("hpc-job", &json!({ "arguments": "[\"-n\", \"4\"]", "gpus": "2" }));
    assert_eq!(topology.property(0, "arguments", None), Ok(Some(json!(["-n", "4"]))), "a list as text");
    assert_eq!(topology.property(0, "num_gpus", None), Ok(Some(json!(2))));
    assert_eq!(topology.property(0, "environment", None), Ok(Some(json!({ "HOME_DIR": "${HOME}", "LEVEL": "3" }))));

    let topology = bind("chart", &json!({}));
    assert_eq!(topology.property(0, "version", None), Ok(Some(json!("8.1.0"))));
    assert_eq!(Value::Object(outputs(&topology)), json!({ "port": 30_900 }));
}

#[test]
fn a_container_cluster() {
    let topology = bind("container-cluster", &json!({ "token": "t", "sla": "sla-7" }));
    let template = topology.template();
    assert_eq!(template.groups[0].members.len(), 2);
    assert!(template.policies[0].is("tosca.policies.Placement"));
    assert_eq!(template.policies[0].targets, ["front_server", "machines"]);
    assert_eq!(Value::Object(topology.policy(0).unwrap()), json!({ "sla_id": "sla-7" }));
    let app = template.find("app").unwrap();
    let operations = topology.operations(app, "Standard", Some(&Machines(topology.clone()))).unwrap();
    let front = template.find("front_server").unwrap();
    let expected = json!({ "token": "t", "address": format!("10.0.{front}.0"), "kind": "kubernetes" });
    assert_eq!(Value::Object(operations[0].inputs.clone()), expected);
}

#[test]
fn a_web_server_and_a_database() {
    let topology = bind("web-and-database", &json!({ "db_password": "p", "db_root_password": "r" }));
    let template = topology.template();
    assert_eq!(template.nodes[template.find("dump").unwrap()].type_name, "tosca.nodes.BlockStorage");
    let database = template.find("database").unwrap();
    let operations = topology.operations(database, "Standard", None).unwrap();
    let expected =
        json!({ "db_name": "shop", "db_user": "shop", "db_password": "p", "db_root_password": "r", "db_access_host": "%" });
    assert_eq!(Value::Object(operations[0].inputs.clone()), expected, "the derived type's inputs on top of its parent's");
    let web = template.find("web").unwrap();
    let operations = topology.operations(web, "Standard", None).unwrap();
    let names: Vec<_> = operations.iter().map(|operation| (operation.name.as_str(), operation.implementation.as_str())).collect();
    assert_eq!(names, [("create", "artifacts/apache/apache_install.yml"), ("start", "artifacts/apache/apache_start.yml")]);
    assert_eq!(Value::Object(operations[1].inputs.clone()), json!({ "dump": "files/shop.sql", "database": "shop" }));
    assert_eq!(Value::Object(outputs(&topology)), json!({ "host": "203" }));
}

#[test]
fn types_of_its_own() {
    let topology = bind("own-types", &json!({}));
    let template = topology.template();
    let [broker, worker] = ["broker", "worker"].map(|name| template.find(name).unwrap());
    assert!(template.nodes[worker].is("tosca.nodes.SoftwareComponent"));
    assert_eq!(topology.property(worker, "level", None), Ok(Some(json!(3))));
    assert_eq!(topology.property(broker, "endpoint", None), Ok(Some(json!({ "host": "broker.example", "port": 443 }))));
    assert_eq!(
        topology.capability(template.find("server").unwrap(), "host", "num_cpus", None),
        Ok(Some(json!(2))),
        "merged, then set"
    );
    assert_eq!(topology.capability(template.find("server").unwrap(), "host", "mem_size", None), Ok(Some(json!("1 GB"))));
    let operations = topology.operations(worker, "Standard", None).unwrap();
    let start = operations.iter().find(|operation| operation.name == "start").unwrap();
    assert_eq!(
        (start.implementation.as_str(), Value::Object(start.inputs.clone())),
        ("scripts/start.sh", json!({ "level": 3, "mode": "fast" }))
    );
    assert_eq!(Value::Object(outputs(&topology)), json!({ "depth": 20, "port": 443 }));
}

#[test]
fn inputs_are_checked_all_at_once() {
    let template = Arc::new(parse("scheduler-cluster"));
    let given = json!({ "masters": "three", "password": "short", "other": 1 });
    let Err(error) = Topology::bind(template, given.as_object().unwrap()) else { panic!("accepted") };
    assert_eq!(error.to_string(), "Input masters: 'three' is not an integer\nInput password: it must have a length of 8 or more");
    let Err(error @ Error::Inputs(_)) = Topology::bind(Arc::new(parse("jobs")), &Map::new()) else { panic!("accepted") };
    assert_eq!(error.to_string(), "Input token is required and is not present in the user's input list, nor has a default value");
}
