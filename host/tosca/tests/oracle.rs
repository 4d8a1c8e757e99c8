//! The same templates, read here and by tosca-parser: both see the same, and both refuse what is wrong.
//!
//! `OSTLER_TEST_TOSCA_PARSER` is a Python interpreter that has tosca-parser: `tests/setup/tosca-parser.sh` installs one and prints its
//! path. Without it there is nothing to compare with.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, missing_docs)]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use ostler_tosca::{Attributes, Catalogue, Limits, Mode, Template, Topology};
use serde_json::{Map, Value, json};

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");

/// What it says of each of the files; `None`, and a notice, where it is not installed.
fn ask(requests: &[(PathBuf, Value)]) -> Option<Vec<Value>> {
    let Ok(python) = std::env::var("OSTLER_TEST_TOSCA_PARSER") else {
        println!("SKIPPED: OSTLER_TEST_TOSCA_PARSER is not set");
        return None;
    };
    let script = format!("{HERE}/oracle/view.py");
    let mut child = Command::new(python).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for (path, inputs) in requests {
        writeln!(stdin, "{}", json!({ "path": path, "inputs": inputs })).unwrap();
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let answers: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), requests.len(), "{}", output.status);
    Some(answers)
}

/// Attributes are known when nodes run.
struct Unknown;
impl Attributes for Unknown {
    fn get(&self, _: &str, _: Option<&str>, _: &str) -> Option<Value> {
        Some(json!({ "unknown": "get_attribute" }))
    }
}

fn bind(text: &str, inputs: &Value) -> Result<Topology, String> {
    let template = Template::parse(text, &Catalogue::standard(), Mode::Strict, &Limits::default());
    let template = template.map_err(|error| error.to_string())?;
    Topology::bind(Arc::new(template), inputs.as_object().unwrap()).map_err(|error| error.to_string())
}

/// What we make of a template, in the form in which the script says what tosca-parser does. `types` are all that either may name.
fn view(topology: &Topology, types: &BTreeSet<String>) -> Value {
    let template = topology.template();
    let is = |is: &dyn Fn(&str) -> bool| -> Vec<&String> { types.iter().filter(|name| is(name)).collect() };
    let mut nodes = Map::new();
    for (index, node) in template.nodes.iter().enumerate() {
        let property = |name: &str| Some((name.to_owned(), topology.property(index, name, None).unwrap()?));
        let capability = |capability: &str| -> Map<String, Value> {
            let property = |name: &str| Some((name.to_owned(), topology.capability(index, capability, name, None).unwrap()?));
            node.capability_properties(capability).filter_map(property).collect()
        };
        let target = |target: usize| template.nodes[target].name.clone();
        let mut requirements: Vec<_> = node.requirements.iter().map(|it| [it.name.clone(), target(it.target)]).collect();
        requirements.sort();
        let relationship = |it: &ostler_tosca::Requirement| [it.relationship.clone().unwrap_or_default(), target(it.target)];
        let mut relationships: Vec<_> = node.requirements.iter().map(relationship).collect();
        relationships.sort();
        let view = json!({
            "types": is(&|name| node.is(name)),
            "requirements": requirements,
            "relationships": relationships,
            "properties": node.properties().filter_map(property).collect::<Map<_, _>>(),
            "capabilities": node.capabilities().map(|name| (name.to_owned(), capability(name).into())).collect::<Map<_, _>>(),
        });
        nodes.insert(node.name.clone(), view);
    }
    let groups = template.groups.iter().map(|group| {
        let mut members: Vec<_> = group.members.iter().map(|index| &template.nodes[*index].name).collect();
        members.sort();
        (group.name.clone(), json!({ "type": group.type_name, "members": members }))
    });
    let policies = template.policies.iter().enumerate().map(|(index, policy)| {
        let mut targets = policy.targets.clone();
        targets.sort();
        let properties = topology.policy(index).unwrap();
        let view = json!({ "types": is(&|name| policy.is(name)), "targets": targets, "properties": properties });
        (policy.name.clone(), view)
    });
    json!({
        "nodes": nodes,
        "groups": groups.collect::<Map<_, _>>(),
        "policies": policies.collect::<Map<_, _>>(),
        "outputs": topology.outputs(&Unknown),
    })
}

/// Where two views differ: the way there, ours, theirs.
fn differences<'a>(at: &str, ours: &'a Value, theirs: &'a Value, found: &mut Vec<(String, &'a Value, &'a Value)>) {
    match (ours, theirs) {
        (Value::Object(left), Value::Object(right)) => {
            let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            for key in keys {
                let side = |map: &'a Map<String, Value>| map.get(key).unwrap_or(&Value::Null);
                differences(&format!("{at}/{key}"), side(left), side(right), found);
            }
        }
        (Value::Number(left), Value::Number(right)) if left.as_f64() == right.as_f64() => {}
        _ if ours == theirs => {}
        _ => found.push((at.into(), ours, theirs)),
    }
}

/// Templates that use what both know, and inputs.
fn templates() -> Vec<(&'static str, Value)> {
    vec![
        ("oracle/templates/machine", json!({ "system": "linux", "cpus": 4 })),
        ("oracle/templates/inheritance", json!({})),
        ("oracle/templates/requirements", json!({ "place": "/srv" })),
        ("oracle/templates/functions", json!({ "domain": "example.net" })),
        ("oracle/templates/constraints", json!({ "colour": "green" })),
        ("oracle/templates/values", json!({})),
        ("oracle/templates/policies", json!({ "region": "south" })),
        ("oracle/templates/containers", json!({ "port": 81 })),
        ("oracle/templates/database", json!({ "password": "s3cret" })),
        ("templates/networks", json!({})),
    ]
}

/// Where we differ, and why we do: the end of the way there, what we have, what they have.
const KNOWN: [(&str, &str, &str, &str); 5] = [
    ("/scalable/count", "1", "null", "TOSCA 1.0 has no such property, and every template of the INDIGO catalogue uses it"),
    ("/initiator", "\"source\"", "null", DERIVED),
    ("/network_name", "\"PRIVATE\"", "null", DERIVED),
    ("/protocol", "\"tcp\"", "null", DERIVED),
    ("/secure", "false", "null", DERIVED),
];
const DERIVED: &str = "there, a capability type does not inherit the defaults of the type that it derives from; it should";

#[test]
fn both_see_the_same() {
    let files = std::fs::read_dir(format!("{HERE}/oracle/templates")).unwrap().count();
    let ours = templates().iter().filter(|(name, _)| name.starts_with("oracle/")).count();
    assert_eq!(files, ours, "each file is in the table");
    let requests: Vec<_> =
        templates().into_iter().map(|(name, inputs)| (Path::new(HERE).join(format!("{name}.yaml")), inputs)).collect();
    let views: Vec<Topology> = requests
        .iter()
        .map(|(path, inputs)| {
            bind(&std::fs::read_to_string(path).unwrap(), inputs).unwrap_or_else(|error| panic!("{path:?}: {error}"))
        })
        .collect();
    let Some(answers) = ask(&requests) else { return };
    let mut types = BTreeSet::new();
    for section in answers.iter().flat_map(|answer| ["nodes", "policies"].map(|section| &answer[section])) {
        let of = |it: &Value| it["types"].as_array().unwrap().clone();
        types.extend(section.as_object().unwrap().values().flat_map(of).map(|name| name.as_str().unwrap().to_owned()));
    }
    let mut unused: BTreeSet<usize> = (0..KNOWN.len()).collect();
    let mut failed = String::new();
    for (((path, _), topology), mut theirs) in requests.iter().zip(views).zip(answers) {
        // Types are in order of their derivation there.
        for section in ["nodes", "policies"] {
            for it in theirs[section].as_object_mut().unwrap_or_else(|| panic!("{path:?}")).values_mut() {
                it["types"].as_array_mut().unwrap().sort_by_key(ToString::to_string);
            }
        }
        let ours = view(&topology, &types);
        let mut found = Vec::new();
        differences("", &ours, &theirs, &mut found);
        for (at, ours, theirs) in found {
            let known = |(end, left, right, _): &(&str, &str, &str, &str)| {
                at.ends_with(end) && (*left, *right) == (&*ours.to_string(), &*theirs.to_string())
            };
            match KNOWN.iter().position(known) {
                Some(index) => drop(unused.remove(&index)),
                None => failed += &format!("{}{at}: {ours}, there {theirs}\n", path.file_stem().unwrap().to_string_lossy()),
            }
        }
    }
    assert!(failed.is_empty(), "\n{failed}");
    let unused: Vec<_> = unused.into_iter().map(|index| KNOWN[index]).collect();
    assert!(unused.is_empty(), "no difference any more: {unused:?}");
}

/// Who refuses it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Refused {
    Both,
    /// And why they do not.
    Here(&'static str),
    /// And why we do not.
    There(&'static str),
}

#[test]
fn both_refuse_what_is_wrong() {
    use Refused::{Both, Here, There};
    const TYPES: &str = "node_types:\n  t.Base:\n    derived_from: tosca.nodes.Root\n    properties:\n      \
        n: { type: integer, required: false, constraints: [ { in_range: [ 1, 4 ] } ] }\n      \
        s: { type: string, required: false, constraints: [ { valid_values: [ red, green ] } ] }\n      \
        p: { type: string, required: false, constraints: [ { pattern: '[a-z]+' } ] }\n      \
        l: { type: string, required: false, constraints: [ { length: 4 } ] }\n      \
        m: { type: string, required: false, constraints: [ { max_length: 4 } ] }\n      \
        g: { type: scalar-unit.size, required: false, constraints: [ { greater_or_equal: 1 GB } ] }\n      \
        b: { type: boolean, required: false }\n      f: { type: float, required: false }\n      \
        v: { type: version, required: false }\n      r: { type: range, required: false }\n      \
        i: { type: list, required: false, entry_schema: { type: integer } }\n      \
        k: { type: map, required: false, entry_schema: { type: integer } }\n";
    let node = |what: &str| {
        format!("{TYPES}topology_template:\n  node_templates:\n    n: {{ type: t.Base, properties: {{ {what} }} }}\n")
    };
    let nodes = |what: &str| format!("topology_template:\n  node_templates:\n    m: {{ type: tosca.nodes.Compute }}\n{what}\n");
    let given = json!({});
    let table: Vec<(&str, String, Value, Refused)> = vec![
        ("an integer as text", node("n: many"), given.clone(), Both),
        ("too small", node("n: 0"), given.clone(), Both),
        ("too large", node("n: 5"), given.clone(), Both),
        ("not one of the valid values", node("s: blue"), given.clone(), Both),
        ("not of the pattern", node("p: '123'"), given.clone(), Both),
        ("not of the length", node("l: abc"), given.clone(), Both),
        ("too long", node("m: abcde"), given.clone(), Both),
        ("less than a size", node("g: 1 MB"), given.clone(), Both),
        ("a size without a unit", node("g: 5"), given.clone(), Both),
        ("a size of another unit", node("g: 5 GHz"), given.clone(), Both),
        ("not a boolean", node("b: perhaps"), given.clone(), Both),
        ("not a float", node("f: much"), given.clone(), Both),
        ("not a version", node("v: latest.one"), given.clone(), Both),
        ("a range that ends before it begins", node("r: [ 4, 1 ]"), given.clone(), Both),
        ("a range of one", node("r: [ 4 ]"), given.clone(), Both),
        ("not a list", node("i: 5"), given.clone(), Both),
        ("an entry of another type", node("i: [ 1, two ]"), given.clone(), Both),
        ("not a map", node("k: [ 1 ]"), given.clone(), Both),
        ("a value of another type", node("k: { a: b }"), given.clone(), Both),
        ("a property that the type has not", node("z: 1"), given.clone(), Both),
        ("an input that is not there", node("n: { get_input: z }"), given.clone(), Both),
        ("a node type that is not there", nodes("    n: { type: tosca.nodes.Nothing }"), given.clone(), Both),
        ("a node without a type", nodes("    n: { properties: {} }"), given.clone(), Both),
        ("a node with a key that means nothing", nodes("    n: { type: tosca.nodes.Compute, stray: 1 }"), given.clone(), Both),
        (
            "a target that is not there",
            nodes("    n: { type: tosca.nodes.WebServer, requirements: [ { host: z } ] }"),
            given.clone(),
            Both,
        ),
        (
            "a requirement that the type has not",
            nodes("    n: { type: tosca.nodes.Compute, requirements: [ { z: m } ] }"),
            given.clone(),
            Both,
        ),
        ("requirements that are a text", nodes("    n: { type: tosca.nodes.Compute, requirements: m }"), given.clone(), Both),
        (
            "a relationship's type that is not there",
            nodes(
                "    n: { type: tosca.nodes.WebServer, requirements: [ { host: { node: m, relationship: { type: t.None } } } ] }",
            ),
            given.clone(),
            Here("there, a relationship of an unknown type is none"),
        ),
        (
            "a capability that the type has not",
            nodes("    n: { type: tosca.nodes.Compute, capabilities: { z: { properties: { a: 1 } } } }"),
            given.clone(),
            Both,
        ),
        (
            "a property that the capability has not",
            nodes("    n: { type: tosca.nodes.Compute, capabilities: { host: { properties: { z: 1 } } } }"),
            given.clone(),
            Both,
        ),
        (
            "a property of a capability that breaks a constraint",
            nodes("    n: { type: tosca.nodes.Compute, capabilities: { host: { properties: { num_cpus: 0 } } } }"),
            given.clone(),
            Both,
        ),
        (
            "a required property that is not given",
            nodes("    n: { type: tosca.nodes.ObjectStorage }"),
            given.clone(),
            There("it is no error in the original; here it is a remark"),
        ),
        (
            "a requirement that is not there",
            nodes("    n: { type: tosca.nodes.WebServer }"),
            given.clone(),
            There("it is no error in the original, and many templates leave some out"),
        ),
        (
            "nodes that require each other",
            nodes(
                "    a: { type: tosca.nodes.Compute, requirements: [ { dependency: b } ] }\n    b: { type: tosca.nodes.Compute, requirements: [ { dependency: a } ] }",
            ),
            given.clone(),
            Here("there is no order in which they could be deployed, and it does not look for one"),
        ),
        (
            "a get_property of a node that is not there",
            nodes("  outputs: { o: { value: { get_property: [ z, a ] } } }"),
            given.clone(),
            Both,
        ),
        (
            "a get_property of a property that is not there",
            nodes("  outputs: { o: { value: { get_property: [ m, z ] } } }"),
            given.clone(),
            Both,
        ),
        ("a get_property of too little", nodes("  outputs: { o: { value: { get_property: [ m ] } } }"), given.clone(), Both),
        ("a get_attribute of too little", nodes("  outputs: { o: { value: { get_attribute: [ m ] } } }"), given.clone(), Both),
        (
            "a get_attribute of a node that is not there",
            nodes("  outputs: { o: { value: { get_attribute: [ z, a ] } } }"),
            given.clone(),
            Both,
        ),
        ("an output of an input that is not there", nodes("  outputs: { o: { value: { get_input: z } } }"), given.clone(), Both),
        ("a part that is not there", nodes("  outputs: { o: { value: { token: [ a.b, '.', 7 ] } } }"), given.clone(), Both),
        ("an input of a type that is not there", nodes("  inputs: { i: { type: t.None } }"), given.clone(), Both),
        ("a default of another type", nodes("  inputs: { i: { type: integer, default: many } }"), given.clone(), Both),
        (
            "a constraint that is not there",
            nodes("  inputs: { i: { type: integer, default: 1, constraints: [ { nearly: 1 } ] } }"),
            given.clone(),
            Here("there, constraints of inputs are not looked at"),
        ),
        ("an input of another type", nodes("  inputs: { i: { type: integer } }"), json!({ "i": "many" }), Both),
        (
            "an input that is not given",
            nodes("  inputs: { i: { type: integer } }"),
            given.clone(),
            Here("there, it is only logged"),
        ),
        (
            "an input that breaks a constraint",
            nodes("  inputs: { i: { type: integer, constraints: [ { less_than: 5 } ] } }"),
            json!({ "i": 7 }),
            Here("there, constraints of inputs are not looked at"),
        ),
        (
            "a policy for a node that is not there",
            nodes("  policies: [ { p: { type: tosca.policies.Placement, targets: [ z ] } } ]"),
            given.clone(),
            Both,
        ),
        (
            "a policy of a type that is not there",
            nodes("  policies: [ { p: { type: t.None, targets: [ m ] } } ]"),
            given.clone(),
            Both,
        ),
        (
            "a member that is not there",
            nodes("  groups: { g: { type: tosca.groups.Root, members: [ z ] } }"),
            given.clone(),
            Both,
        ),
        ("a section that is not there", format!("sections: {{}}\n{}", nodes("")), given.clone(), Both),
        ("a section of the topology that is not there", nodes("  machines: {}"), given.clone(), Both),
        (
            "a type that derives from none",
            format!("node_types: {{ t.A: {{ derived_from: t.None }} }}\n{}", nodes("    n: { type: t.A }")),
            given.clone(),
            Both,
        ),
        ("an import that is not there", format!("imports: [ none.yaml ]\n{}", nodes("")), given.clone(), Both),
        ("not YAML", nodes("    n: { type: ["), given.clone(), Both),
        (
            "a key that is there twice",
            nodes("    m: { type: tosca.nodes.Compute }"),
            given.clone(),
            Here("there, the later one counts without a word"),
        ),
    ];
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("oracle");
    std::fs::create_dir_all(&directory).unwrap();
    let mut requests = Vec::new();
    let mut ours = Vec::new();
    for (index, (_, body, inputs, _)) in table.iter().enumerate() {
        let text = format!("tosca_definitions_version: tosca_simple_yaml_1_0\n{body}");
        let path = directory.join(format!("{index}.yaml"));
        std::fs::write(&path, &text).unwrap();
        requests.push((path, inputs.clone()));
        ours.push(match bind(&text, inputs) {
            Err(error) => Some(error),
            // An output that cannot be computed says so.
            Ok(topology) => topology
                .outputs(&Unknown)
                .values()
                .find_map(|value| value.as_str().filter(|text| text.starts_with("Failed to evaluate")).map(str::to_owned)),
        });
    }
    let answers = ask(&requests);
    let mut failed = String::new();
    for (index, (name, _, _, expected)) in table.iter().enumerate() {
        let here = ours[index].is_some();
        let there = answers.as_ref().map(|answers| !answers[index]["refused"].is_null());
        let (want_here, want_there) = (!matches!(expected, There(_)), !matches!(expected, Here(_)));
        if here != want_here || there.is_some_and(|there| there != want_there) {
            failed += &format!("{name}: here {:?}, there {there:?}\n", ours[index]);
        }
    }
    assert!(failed.is_empty(), "\n{failed}");
}
