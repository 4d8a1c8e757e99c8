#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use ostler_tosca::{Catalogue, Mode, Template};
use std::sync::Arc;

fn topology(nodes: &str) -> Topology {
    let text = format!("tosca_definitions_version: tosca_simple_yaml_1_0\ntopology_template:\n  node_templates:\n{nodes}");
    let template = Template::parse(&text, &Catalogue::standard(), Mode::Normal, &ostler_tosca::Limits::default());
    Topology::bind(Arc::new(template.unwrap_or_else(|error| panic!("{error}: {text}"))), &Map::new()).unwrap()
}

fn component(name: &str, host: &str, operations: &str) -> String {
    format!(
        "    {name}:\n      type: tosca.nodes.SoftwareComponent\n      requirements: [ {{ host: {host} }} ]\n      interfaces: {{ Standard: {{ \
         {operations} }} }}\n"
    )
}

fn compute(name: &str) -> String {
    format!("    {name}: {{ type: tosca.nodes.indigo.Compute }}\n")
}

const SCRIPT: &str = "configure: { implementation: 'https://scripts.example/x.sh' }";

/// Software by machine, with the machine's level.
fn planned(nodes: &str) -> Result<String, String> {
    let blueprint = Blueprint::of(&topology(nodes))?;
    let machines = blueprint.nodes.iter().filter(|plan| plan.machine.is_some());
    let shown = machines.map(|plan| {
        let software: Vec<_> = plan.software.iter().map(|node| blueprint.nodes[*node].name.as_str()).collect();
        format!("{}@{}[{}]", plan.name, plan.level, software.join(" "))
    });
    Ok(shown.collect::<Vec<_>>().join(" "))
}

#[test]
fn software_is_found_with_its_machine_and_what_it_waits_for() {
    let asks = |of: &str| {
        format!(
            "configure: {{ implementation: 'https://scripts.example/x.sh', inputs: {{ there: {{ get_attribute: [ {of}, private_address, 0 ] }} }} }}"
        )
    };
    let server = component("app", "a", SCRIPT).replace("SoftwareComponent", "WebServer");
    let on_top = "    top:\n      type: tosca.nodes.WebApplication\n      requirements: [ { host: app } ]\n      interfaces: { Standard: { \
                  start: 'https://scripts.example/y.yml' } }\n";
    for (nodes, expected) in [
        (compute("a"), "a@0[]"),
        (compute("a") + &component("app", "a", SCRIPT), "a@0[app]"),
        (compute("a") + &component("app", "a", "stop: { implementation: x }"), "a@0[app]"),
        (compute("a") + &compute("b") + &component("app", "a", SCRIPT), "a@0[app] b@0[]"),
        (compute("a") + on_top + &server, "a@0[app top]"),
        // One of many, and one that has to be one.
        (compute("a") + &compute("b") + &component("app", "b", &asks("a").replace("0 ]", "7 ]")), "a@0[] b@1[app]"),
        (
            compute("a")
                + &compute("b")
                + &component(
                    "app",
                    "b",
                    "start: { implementation: 'https://s.example/x.sh', inputs: { u: { concat: [ 'http://', { get_attribute: [ a, public_address ] } ] } } }",
                ),
            "a@0[] b@1[app]",
        ),
        (compute("a") + &compute("b") + &component("app", "b", &asks("a")), "a@0[] b@1[app]"),
        // Of a component's machine, and along a chain.
        (
            compute("a")
                + &compute("b")
                + &compute("c")
                + &component("x", "a", SCRIPT)
                + &component("y", "b", &asks("x"))
                + &component("z", "c", &asks("y")),
            "a@0[x] b@1[y] c@2[z]",
        ),
    ] {
        assert_eq!(planned(&nodes).as_deref(), Ok(expected), "{nodes}");
    }
    for (nodes, expected) in [
        (compute("a") + &component("app", "a", &asks("a")), "what is known of its own machine"),
        (
            compute("a") + &compute("b") + &component("x", "a", &asks("b")) + &component("y", "b", &asks("a")),
            "needs to be set up before itself",
        ),
        (compute("a") + &component("app", "a", "create: scripts/x.sh"), "a machine can fetch an address"),
    ] {
        let refused = planned(&nodes).unwrap_err();
        assert!(refused.contains(expected), "{refused}");
    }
}

#[test]
fn a_machine_is_told_what_to_do_in_its_order() {
    let operations = "start: { implementation: \"#!/bin/sh\\necho up\" }, create: { implementation: 'https://s.example/install.yml?x=1', \
                      inputs: { port: 80, peers: { get_attribute: [ db, private_address ] } } }, delete: 'https://s.example/away.sh'";
    let topology = topology(&(compute("web_1") + &compute("db") + &component("app", "web_1", operations)));
    let blueprint = Blueprint::of(&topology).unwrap();
    let mut resources: Vec<Resource> = super::super::records::resources("d", &blueprint);
    let db = resources.iter_mut().find(|resource| resource.node == "db").unwrap();
    db.attributes = json!({ "private_address": ["10.0.0.7"] });
    let own = resources.iter().find(|resource| resource.node == "web_1").unwrap();
    let machine = machine(&topology, &blueprint, own, &RunningAttributes(&resources)).unwrap();
    assert_eq!((machine.hostname.as_str(), machine.components.len()), (&*format!("web-1-{}", own.position), 1));
    let told: Vec<_> = machine.components[0].operations.iter().map(|o| (o.name, o.kind, format!("{:?}", o.source))).collect();
    assert_eq!(
        told,
        [
            (Lifecycle::Create, Kind::Ansible, "Url(https://s.example/install.yml)".to_owned()),
            (Lifecycle::Start, Kind::Shell, "Inline(<17 bytes>)".to_owned()),
        ]
    );
    let inputs = &machine.components[0].operations[0].inputs;
    assert_eq!((&inputs["port"], &inputs["peers"]), (&json!(80), &json!(["10.0.0.7"])));
    let report = Report::new("https://here/reports", "canary");
    let machine = Machine { report: Some(report), ..machine };
    assert!(user_data(&machine, &Options::default()).unwrap().as_str().starts_with("#cloud-config\n"));
}
