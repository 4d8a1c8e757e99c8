//! What is refused, with which word and at which place; and what is only remarked upon.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::fmt::Write as _;
use std::sync::Arc;

use ostler_tosca::{Attributes, Catalogue, Code, Error, Limits, Mode, Template, Topology};
use serde_json::{Map, Value, json};

fn parse(text: &str, mode: Mode) -> Result<Template, Error> {
    Template::parse(text, &Catalogue::standard(), mode, &Limits::default())
}

/// A template around what `nodes` and other sections say. The first line of `body` is line 3.
fn around(body: &str) -> String {
    format!("tosca_definitions_version: tosca_simple_yaml_1_0\ntopology_template:\n{body}\n")
}

fn found(error: &Error) -> Vec<(Code, u32)> {
    match error {
        Error::Template { problems, .. } => problems.iter().map(|problem| (problem.code, problem.at.line)).collect(),
        other => panic!("{other}"),
    }
}

#[test]
fn each_error_has_its_word_and_its_line() {
    let table: [(&str, Code, u32); 38] = [
        ("  node_templates: { a: { type: tosca.nodes.Nothing } }", Code::TypeNotFound, 3),
        ("  node_templates: { a: { } }", Code::SyntaxError, 3),
        ("  node_templates: text", Code::SyntaxError, 3),
        ("  node_templates:\n    a: { type: Compute, requirements: [ { nothing: a } ] }", Code::RequirementNotFound, 4),
        (
            "  node_templates:\n    a:\n      type: Compute\n      requirements: [ { dependency: b } ]",
            Code::RequirementTargetNotFound,
            6,
        ),
        (
            "  node_templates:\n    a:\n      type: Compute\n      requirements:\n        - dependency: { capability: x }",
            Code::RequirementTargetNodeTemplateNameRequired,
            7,
        ),
        (
            "  node_templates:\n    a:\n      type: SoftwareComponent\n      requirements:\n        - host: b\n    b: { type: BlockStorage }",
            Code::RequirementCapabilityNotFound,
            7,
        ),
        ("  node_templates: { a: { type: Compute, requirements: [ host ] } }", Code::SyntaxError, 3),
        (
            "  node_templates:\n    a:\n      type: Compute\n      capabilities:\n        host:\n          properties:\n            num_cpus: many",
            Code::ValidationError,
            9,
        ),
        (
            "  node_templates: { a: { type: Compute, capabilities: { host: { properties: { num_cpus: 0 } } } } }",
            Code::ValidationError,
            3,
        ),
        (
            "  node_templates: { a: { type: Compute, capabilities: { host: { properties: { mem_size: 4 } } } } }",
            Code::ValidationError,
            3,
        ),
        (
            "  node_templates: { a: { type: BlockStorage, properties: { size: { get_input: none } } } }",
            Code::MissingTopologyInput,
            3,
        ),
        ("  outputs: { a: { value: { get_input: none } } }", Code::MissingTopologyInput, 3),
        ("  outputs: { a: { value: { get_attribute: [ a ] } } }", Code::InvalidFunction, 3),
        ("  outputs: { a: { value: { get_property: a } } }", Code::InvalidFunction, 3),
        ("  outputs: { a: { value: { get_input: } } }", Code::InvalidFunction, 3),
        ("  inputs: { a: { type: nothing } }", Code::TypeNotFound, 3),
        ("  inputs: { a: { type: list, entry_schema: { type: nothing } } }", Code::TypeNotFound, 3),
        ("  inputs: { a: { type: integer, default: x } }", Code::ValidationError, 3),
        ("  inputs: { a: { type: integer, default: 7, constraints: [ { less_than: 7 } ] } }", Code::ValidationError, 3),
        ("  inputs: { a: { type: integer, constraints: [ { nearly: 7 } ] } }", Code::InvalidConstraint, 3),
        ("  inputs: { a: { type: string, constraints: [ { pattern: '(' } ] } }", Code::InvalidConstraint, 3),
        ("  inputs: { a: { type: string, required: perhaps } }", Code::SyntaxError, 3),
        ("  policies: [ { a: { type: tosca.policies.Placement, targets: [ b ] } } ]", Code::PolicyTargetNotFound, 3),
        ("  policies: [ { a: { type: tosca.policies.Nothing } } ]", Code::TypeNotFound, 3),
        ("  groups: { a: { type: tosca.groups.Root, members: [ b ] } }", Code::GroupMemberNotFound, 3),
        ("  node_templates: { a: { type: Compute, artifacts: { x: { file: f, repository: r } } } }", Code::UnknownRepository, 3),
        ("node_types: { a: { derived_from: b }, b: { derived_from: a } }", Code::CyclicDerivedFrom, 3),
        ("imports: [ { file: custom_types.yaml, repository: r } ]", Code::UnknownRepository, 3),
        ("  node_templates: { a: { type: Compute, ]", Code::InvalidYaml, 3),
        ("node_types: { a: { derived_from: none } }", Code::TypeNotFound, 3),
        ("node_types: { a: { capabilities: { c: { type: none } } } }", Code::TypeNotFound, 3),
        ("node_types:\n  a:\n    requirements:\n      - r: { capability: none }", Code::TypeNotFound, 6),
        ("node_types: { a: { requirements: [ r: { capability: Node, relationship: none } ] } }", Code::TypeNotFound, 3),
        ("node_types: { a: { properties: { p: { type: none } } } }", Code::TypeNotFound, 3),
        ("  node_templates: { a: { type: Compute, artifacts: { x: { file: f, type: none } } } }", Code::TypeNotFound, 3),
        (
            "  node_templates: { a: { type: Compute, requirements: [ { dependency: { node: a, relationship: none } } ] } }",
            Code::TypeNotFound,
            3,
        ),
        ("data_types: { a: { derived_from: string, constraints: [ { in_range: 1 } ] } }", Code::InvalidConstraint, 3),
    ];
    for (body, code, line) in table {
        let Err(error) = parse(&around(body), Mode::Normal) else { panic!("accepted: {body}") };
        assert_eq!(found(&error), [(code, line)], "{body}\n{error}");
    }
    let table = [
        ("", Code::SyntaxError),
        ("template", Code::SyntaxError),
        ("- a", Code::SyntaxError),
        ("a: *b", Code::InvalidYaml),
        ("description: none", Code::MissingToscaVersion),
        ("tosca_definitions_version: tosca_simple_yaml_9_9", Code::UnknownToscaVersion),
        ("tosca_definitions_version: tosca_simple_yaml_1_0\n---\na: b", Code::InvalidYaml),
        ("tosca_definitions_version: tosca_simple_yaml_1_0\n[a]: b", Code::SyntaxError),
        ("tosca_definitions_version: tosca_simple_yaml_1_0\n<<: a", Code::SyntaxError),
        ("tosca_definitions_version: tosca_simple_yaml_1_0\ntopology_template: text", Code::SyntaxError),
    ];
    for (text, code) in table {
        let Err(error) = parse(text, Mode::Normal) else { panic!("accepted: {text}") };
        assert_eq!(found(&error).iter().map(|(code, _)| *code).collect::<Vec<_>>(), [code], "{text}\n{error}");
    }
}

#[test]
fn all_at_once_in_the_order_of_the_text() {
    let text = around(
        "  inputs: { n: { type: integer, default: x } }\n  node_templates:\n    a: { type: tosca.nodes.indigo.Comput }\n    b:\n      type: \
         Compute\n      requirements:\n        - dependency: c",
    );
    let error = parse(&text, Mode::Normal).unwrap_err();
    let expected = "Error parsing TOSCA template template:\n\
        VALIDATION_ERROR at line 3, column 42, inputs[n]: the default: 'x' is not an integer\n\
        TYPE_NOT_FOUND at line 5, column 16, node_templates[a]: no node type is called 'tosca.nodes.indigo.Comput'\n\
        REQUIREMENT_TARGET_NOT_FOUND at line 9, column 23, node_templates[b][requirements][dependency]: no node template is called 'c'";
    assert_eq!(error.to_string(), expected);

    let mut body = String::from("  node_templates:");
    (0..150).for_each(|i| write!(body, "\n    n{i}: {{ type: none }}").unwrap());
    let error = parse(&around(&body), Mode::Normal).unwrap_err();
    assert!(matches!(&error, Error::Template { problems, more: 50 } if problems.len() == 100));
    assert!(error.to_string().ends_with("\nand 50 more"));
}

#[test]
fn nodes_that_require_each_other() {
    let text = around(
        "  node_templates:\n    a: { type: Compute, requirements: [ { dependency: b } ] }\n    b: { type: Compute, requirements: [ { \
         dependency: c } ] }\n    c: { type: Compute, requirements: [ { dependency: b }, { dependency: d } ] }\n    d: { type: Compute }",
    );
    let error = parse(&text, Mode::Normal).unwrap_err();
    assert_eq!(error, Error::Cycle(vec!["b".into(), "c".into()]));
    assert_eq!(error.to_string(), "Found node depencency loop in TOSCA topology; involved nodes: [b, c]");
}

#[test]
fn what_the_mode_decides() {
    use Mode::{Lenient, Normal, Strict};
    let table = [
        ("  node_templates: { a: { type: Compute, properties: { other: 1 } } }", Code::UnrecognizedProperty, [Strict].as_slice()),
        (
            "  node_templates: { a: { type: Compute, capabilities: { other: { properties: { a: 1 } } } } }",
            Code::UnknownCapability,
            &[Strict],
        ),
        ("  node_templates: { a: { type: none } }", Code::TypeNotFound, &[Strict, Normal]),
        ("imports: [ 'https://types.example/mine.yaml' ]", Code::UnknownImport, &[Strict]),
        ("  node_templates: { a: { type: Compute }, a: { type: Compute } }", Code::DuplicateKey, &[Strict]),
        ("  node_templates: [ { a: { type: Compute } }, { a: { type: Compute } } ]", Code::DuplicateKey, &[Strict]),
        ("  node_templates: { a: { type: Compute, stray: 1 } }", Code::UnknownKey, &[Strict]),
        ("  node_template: { a: { type: Compute } }", Code::UnknownKey, &[Strict]),
        ("inputs: { a: { type: string } }", Code::UnknownKey, &[Strict]),
        ("  node_templates: { 'a-b': { type: Compute } }", Code::InvalidName, &[]),
        ("  node_templates: { a: { type: Compute, artifacts: { x: { type: File } } } }", Code::UnresolvedArtifact, &[]),
        ("  node_templates: { a: { type: Database } }", Code::MissingProperty, &[]),
        ("  outputs: { a: { value: { get_attribute: [ none, x ] } } }", Code::InvalidReference, &[Strict]),
        ("  outputs: { a: { value: x } }", Code::EmptyTopology, &[]),
        (
            "  node_templates:\n    a: { type: WebServer }\n    b: { type: LoadBalancer, requirements: [ { application: a } ] }",
            Code::RequirementCapabilityMultipleMatch,
            &[],
        ),
    ];
    for (body, code, refused) in table {
        for mode in [Strict, Normal, Lenient] {
            match parse(&around(body), mode) {
                Ok(template) => {
                    assert!(!refused.contains(&mode), "{mode:?} {body}");
                    assert!(
                        template.warnings.iter().any(|problem| problem.code == code),
                        "{mode:?} {body}: {:?}",
                        template.warnings
                    );
                }
                Err(error) => {
                    assert!(refused.contains(&mode), "{mode:?} {body}: {error}");
                    assert_eq!(found(&error).iter().map(|(code, _)| *code).collect::<Vec<_>>(), [code]);
                }
            }
        }
    }
    let template = parse("description: none\ntosca_definitions_version: alien_dsl_2_0_0", Strict).unwrap();
    let codes: Vec<_> = template.warnings.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, [Code::ToscaVersionNotFirst, Code::EmptyTopology]);

    let template =
        parse(&around("  node_templates: { a: { type: Compute, properties: { other: { a: [ 1 ] } } } }"), Normal).unwrap();
    let topology = Topology::bind(Arc::new(template), &Map::new()).unwrap();
    assert_eq!(topology.property(0, "other", None), Ok(Some(json!({ "a": [1] }))), "what is not known stays");
}

#[test]
fn names() {
    let body = "  node_templates: { my-node: { type: Compute }, my_node: { type: Compute }, 'é à': { type: Compute }, 'my.node': { type: Compute } }";
    let template = parse(&around(body), Mode::Strict).unwrap();
    let names: Vec<_> = template.nodes.iter().map(|node| (node.written.as_str(), node.name.as_str())).collect();
    assert_eq!(names, [("my-node", "my_node_1"), ("my_node", "my_node"), ("é à", "e_a"), ("my.node", "my_node_2")]);
    assert_eq!((template.find("my-node"), template.find("my_node_2"), template.find("none")), (Some(0), Some(3), None));
}

struct Nothing;
impl Attributes for Nothing {
    fn get(&self, _: &str, _: Option<&str>, _: &str) -> Option<Value> {
        None
    }
}

#[test]
fn functions() {
    let nodes = "
  inputs:
    list: { type: list, default: [ a, b ] }
    map: { type: map, default: { k: { n: 5 } } }
    free: { type: string, required: false }
    text: { type: string, default: 'x,y;z' }
  node_templates:
    base:
      type: Compute
      capabilities: { host: { properties: { num_cpus: 3 } }, os: { properties: { type: linux } } }
    app:
      type: SoftwareComponent
      requirements: [ { host: base } ]
      artifacts: { file: { file: f.sh } }
  outputs:
    v: { value: ";
    let table = [
        ("{ get_input: list }", json!(["a", "b"])),
        ("{ get_input: [ list, 1 ] }", json!("b")),
        ("{ get_input: [ map, k, n ] }", json!(5)),
        ("{ get_input: free }", json!(null)),
        ("[ a, { get_input: free }, b ]", json!(["a", "b"])),
        ("{ concat: [ a, 1.10, { get_input: free }, { get_input: [ list, 0 ] } ] }", json!("a1.10a")),
        ("[ 'http://', get_input: [ list, 0 ] ]", json!(["http://", "a"])),
        ("{ concat: [ 'http://', get_input: [ list, 0 ], '/' ] }", json!("http://a/")),
        ("{ token: [ { get_input: text }, ',;', 2 ] }", json!("z")),
        ("{ token: secret }", json!({ "token": "secret" })),
        ("{ concat: { a: b } }", json!({ "concat": { "a": "b" } })),
        ("{ get_property: [ base, host, num_cpus ] }", json!(3)),
        ("{ get_property: [ app, host, num_cpus ] }", json!(3)),
        ("{ get_attribute: [ base, os, type ] }", json!("linux")),
        ("{ get_artifact: [ app, file ] }", json!("f.sh")),
        ("{ get_input: [ list, 2 ] }", json!("Failed to evaluate outputs[v][value][get_input][list]: Value not found")),
        (
            "{ get_attribute: [ base, address ] }",
            json!("Failed to evaluate outputs[v][value][get_attribute][base, address]: Value not found"),
        ),
        (
            "{ concat: [ { get_input: list } ] }",
            json!("Failed to evaluate outputs[v][value][concat]: it joins texts, not lists and maps"),
        ),
        ("{ token: [ a, b, 5 ] }", json!("Failed to evaluate outputs[v][value][token]: there is no part 5")),
        ("{ get_property: [ base, host, mem_size ] }", json!(null)),
        ("{ concat: [ a, { get_property: [ app, host, mem_size ] }, b ] }", json!("ab")),
        (
            "{ get_property: [ base, host, other ] }",
            json!("Failed to evaluate outputs[v][value][get_property][base, host, other]: Value not found"),
        ),
        (
            "{ get_property: [ base, host, num_cpus, 1 ] }",
            json!("Failed to evaluate outputs[v][value][get_property][base, host, num_cpus, 1]: Value not found"),
        ),
        ("{ get_property: [ SELF, x ] }", json!("Failed to evaluate outputs[v][value][SELF]: there is none here")),
    ];
    for (expression, expected) in table {
        let text = around(&format!("{nodes}{expression} }}"));
        let template = parse(&text, Mode::Normal).unwrap_or_else(|error| panic!("{expression}: {error}"));
        let topology = Topology::bind(Arc::new(template), &Map::new()).unwrap();
        assert_eq!(topology.outputs(&Nothing)["v"], expected, "{expression}");
    }
}

#[test]
fn values_that_follow_from_inputs_are_checked() {
    let body = "  inputs: { n: { type: string } }\n  node_templates: { a: { type: Compute, capabilities: { host: { properties: { num_cpus: \
                { get_input: n } } } } } }";
    let template = Arc::new(parse(&around(body), Mode::Normal).unwrap());
    assert!(Topology::bind(template.clone(), json!({ "n": "4" }).as_object().unwrap()).is_ok());
    let error = Topology::bind(template, json!({ "n": "four" }).as_object().unwrap()).unwrap_err();
    let expected = "Failed to evaluate node_templates[a][capabilities][host][properties][num_cpus]: 'four' is not an integer";
    assert_eq!(error.to_string(), expected);

    let body = "  node_templates:\n    a: { type: Database, properties: { name: { get_property: [ b, name ] } } }\n    b: { type: Database, \
                properties: { name: { get_property: [ a, name ] } } }";
    let error = Topology::bind(Arc::new(parse(&around(body), Mode::Normal).unwrap()), &Map::new()).unwrap_err();
    assert!(error.to_string().contains("Circular reference between functions"), "{error}");
}

#[test]
fn what_is_nothing_is_not_there() {
    let body = "  inputs: { size: { type: string, required: false } }\n  node_templates: { a: { type: BlockStorage, properties: { size: { \
                get_input: size }, volume_id: ~, snapshot_id: { concat: [ a, { get_input: size } ] } } } }";
    let topology = Topology::bind(Arc::new(parse(&around(body), Mode::Strict).unwrap()), &Map::new()).unwrap();
    let property = |name| topology.property(0, name, None);
    assert_eq!([property("size"), property("volume_id")], [Ok(None), Ok(None)]);
    assert_eq!(property("snapshot_id"), Ok(Some(json!("a"))));
}

#[test]
fn what_a_requirement_finds() {
    let types = "relationship_types:
  t.Uses: { derived_from: tosca.relationships.ConnectsTo, properties: { to: { type: string }, of: { type: string }, n: { type: integer } } }
capability_types:
  t.Queue: { derived_from: tosca.capabilities.Endpoint }
node_types:
  t.Server:
    derived_from: tosca.nodes.SoftwareComponent
    properties: { name: { type: string } }
    capabilities: { first: { type: t.Queue }, second: { type: t.Queue }, other: { type: tosca.capabilities.Container } }
  t.Client:
    derived_from: tosca.nodes.Root
    properties: { name: { type: string } }
    requirements:
      - queue: { capability: t.Queue, relationship: t.Uses }
      - second: { capability: t.Queue }
      - host: tosca.capabilities.Container
      - feature: tosca.nodes.Root
  t.Heir:
    derived_from: t.Client
    requirements: [ queue: { node: t.Server } ]";
    let client = |requirement: &str| {
        let nodes = format!(
            "    server: {{ type: t.Server, properties: {{ name: it }} }}\n    client:\n      type: t.Heir\n      properties: {{ name: me \
             }}\n      requirements: [ {requirement} ]"
        );
        let text = format!(
            "tosca_definitions_version: tosca_simple_yaml_1_0\n{types}\ntopology_template:\n  node_templates:\n{nodes}\n"
        );
        let template = parse(&text, Mode::Normal).unwrap_or_else(|error| panic!("{requirement}: {error}"));
        Topology::bind(Arc::new(template), &Map::new())
    };
    let uses = Some("t.Uses");
    let table = [
        ("queue: server", "first", uses),
        ("queue: { node: server, capability: second }", "second", uses),
        ("queue: { node: server, capability: t.Queue }", "first", uses),
        ("queue: { node: server, capability: tosca.capabilities.Container }", "other", uses),
        (
            "queue: { node: server, relationship: tosca.relationships.ConnectsTo }",
            "first",
            Some("tosca.relationships.ConnectsTo"),
        ),
        ("queue: { node: server, relationship: { type: DependsOn } }", "first", Some("tosca.relationships.DependsOn")),
        ("second: server", "second", None),
        ("host: server", "other", None),
        ("feature: server", "feature", None),
        ("dependency: server", "feature", Some("tosca.relationships.DependsOn")),
    ];
    for (requirement, capability, relationship) in table {
        let topology = client(requirement).unwrap();
        let found = &topology.template().nodes[1].requirements[0];
        assert_eq!(
            (found.capability.as_deref(), found.relationship.as_deref()),
            (Some(capability), relationship),
            "{requirement}"
        );
    }
    let relation = "queue: { node: server, relationship: { type: t.Uses, properties: { to: { get_property: [ TARGET, name ] }, of: { \
                    get_property: [ SOURCE, name ] }, n: '7' } } }";
    let properties = client(relation).unwrap().relationship(1, 0, None).unwrap();
    assert_eq!(Value::Object(properties), json!({ "to": "it", "of": "me", "n": 7 }));
    let error =
        client("queue: { node: server, relationship: { type: t.Uses, properties: { n: { token: [ a, b, 0 ] } } } }").unwrap_err();
    let expected = "Failed to evaluate node_templates[client][requirements][queue][relationship][n]: 'a' is not an integer";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn values_that_are_needed_later_are_checked_at_once() {
    let table = [
        (
            "  node_templates:\n    a:\n      type: Compute\n      interfaces: { Standard: { create: { implementation: s, inputs: { x: { get_input: [ \
             list, 7 ] } } } } }",
            "node_templates[a][interfaces][Standard][create][inputs][x][get_input][list]: Value not found",
        ),
        (
            "  node_templates: { a: { type: Compute, artifacts: { x: { file: { get_input: [ list, 7 ] } } } } }",
            "node_templates[a][artifacts][x][get_input][list]: Value not found",
        ),
        (
            "  policies: [ { p: { type: tosca.policies.Placement, properties: { x: { get_input: [ list, 7 ] } } } } ]",
            "policies[p][properties][x][get_input][list]: Value not found",
        ),
    ];
    for (body, expected) in table {
        let text = around(&format!("  inputs: {{ list: {{ type: list, default: [ a ] }} }}\n{body}"));
        let template = parse(&text, Mode::Normal).unwrap_or_else(|error| panic!("{body}: {error}"));
        let error = Topology::bind(Arc::new(template), &Map::new()).unwrap_err();
        assert_eq!(error.to_string(), format!("Failed to evaluate {expected}"));
    }
    // What a running node has to say is not asked before there is one.
    let body = "  node_templates:\n    a:\n      type: Compute\n      interfaces: { Standard: { create: { implementation: s, inputs: { x: { \
                get_attribute: [ SELF, private_address ] }, y: { get_property: [ SELF, none ] } } } } }";
    assert!(Topology::bind(Arc::new(parse(&around(body), Mode::Normal).unwrap()), &Map::new()).is_ok());
}

#[test]
fn a_pattern_is_whole_by_itself() {
    for (pattern, good) in [("a|b", true), ("(a)|(b)", true), ("a)|(b", false)] {
        let body = format!(
            "  inputs: {{ x: {{ type: string, default: a, constraints: [ pattern: '{pattern}' ] }} }}\n  node_templates: {{ n: {{ type: Compute }} }}"
        );
        assert_eq!(parse(&around(&body), Mode::Normal).is_ok(), good, "{pattern}");
    }
}

#[test]
fn types_of_an_installation() {
    let types = "tosca_definitions_version: tosca_simple_yaml_1_0\nnode_types:\n  t.Own: { derived_from: tosca.nodes.indigo.Compute, \
                 properties: { rack: { type: integer, default: 3 } } }";
    let catalogue = Catalogue::standard().with("own_types.yaml", types).unwrap();
    let text = |import: &str| {
        format!(
            "tosca_definitions_version: tosca_simple_yaml_1_0\nimports: [ {import} ]\ntopology_template:\n  node_templates: {{ a: {{ type: t.Own }} }}"
        )
    };
    for import in
        ["own_types.yaml", "https://types.example/v7/own_types.yaml", "{ mine: 'https://types.example/own_types.yaml?raw#x' }"]
    {
        let template = Template::parse(&text(import), &catalogue, Mode::Strict, &Limits::default()).unwrap();
        assert!(template.nodes[0].is("tosca.nodes.Compute"), "{import}");
        assert_eq!(Topology::bind(Arc::new(template), &Map::new()).unwrap().property(0, "rack", None), Ok(Some(json!(3))));
    }
    let error = Template::parse(&text("own_types.yaml"), &Catalogue::standard(), Mode::Strict, &Limits::default()).unwrap_err();
    assert_eq!(found(&error), [(Code::UnknownImport, 2), (Code::TypeNotFound, 4)]);
    let error = Catalogue::standard()
        .with("bad.yaml", "tosca_definitions_version: tosca_simple_yaml_1_0\nnode_types: { t: { derived_from: none } }");
    assert_eq!(found(&error.unwrap_err()), [(Code::TypeNotFound, 2)]);
}
