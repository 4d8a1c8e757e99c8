//! Short texts that ask for much: they are refused, or read within what one template may cost.
//!
//! Memory is counted by an allocator, time as processor time of this thread, and its measure is an ordinary template read in the
//! same process: neither depends on how fast the machine is or on what else it does. `-- --nocapture` prints the figures.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod everything;
mod measure;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use ostler_tosca::{Catalogue, Error, Limits, Mode, Template, Topology};
use serde_json::{Map, Value};

use everything::{Nothing, everything};
use measure::{memory, time};

const VERSION: &str = "tosca_definitions_version: tosca_simple_yaml_1_0";

/// `count` entries with something between them.
fn many(count: usize, between: &str, entry: impl Fn(usize) -> String) -> String {
    (0..count).map(entry).collect::<Vec<_>>().join(between)
}

/// A template of sections, and nodes in block style.
fn around(sections: &str, nodes: &str) -> String {
    format!("{VERSION}\n{sections}\ntopology_template:\n  node_templates:\n    {nodes}\n")
}

fn aliases(levels: usize, width: usize) -> String {
    let mut text = format!("{VERSION}\na0: &a0 x\n");
    for level in 1..=levels {
        let list = vec![format!("*a{}", level - 1); width].join(", ");
        writeln!(text, "a{level}: &a{level} [ {list} ]").unwrap();
    }
    text
}

/// Bombs with their names. Which of them is refused, and when, is not asked: what they cost is.
fn bombs() -> Vec<(&'static str, String)> {
    let node = "n: { type: Compute }";
    let nodes = |count| around("", &many(count, "\n    ", |i| format!("n{i}: {{ type: Compute }}")));
    let long = |length| "x".repeat(length);
    let mut bombs = vec![
        ("aliases of aliases", aliases(40, 10)),
        ("150 kB of aliases", aliases(9, 150 * 1024 / 9 / 5)),
        ("100,000 node templates", nodes(100_000)),
        ("20,000 node templates", nodes(20_000)),
        ("1000 node templates", nodes(1000)),
        ("deep", format!("{VERSION}\na: {}{}", "[".repeat(5000), "]".repeat(5000))),
    ];
    let mut add = |name, text| bombs.push((name, text));
    {
        let mut nested = format!("{VERSION}\na0: &a0 [[[[[[[[x]]]]]]]]\n");
        (1..20).for_each(|i| writeln!(nested, "a{i}: &a{i} [[[[[[[[*a{}]]]]]]]]", i - 1).unwrap());
        add("aliases that nest", nested);
    }
    add("many keys", format!("{VERSION}\nmetadata: {{ {} }}", many(90_000, ", ", |i| format!("k{i}: 1"))));
    add(
        "a long chain of types",
        format!("{VERSION}\nnode_types:\n  {}", many(5000, "\n  ", |i| format!("t{i}: {{ derived_from: t{} }}", i + 1))),
    );
    add("a type with many heirs", {
        let properties = many(6000, ", ", |i| format!("p{i}: {{ type: string }}"));
        let heirs = many(6000, "\n  ", |i| format!("h{i}: {{ derived_from: base }}"));
        around(&format!("node_types:\n  base: {{ properties: {{ {properties} }} }}\n  {heirs}"), node)
    });
    add("a type with many defaults", {
        let properties = many(5000, ", ", |i| format!("p{i}: {{ type: string, default: x }}"));
        around(
            &format!("node_types:\n  base: {{ properties: {{ {properties} }} }}"),
            &many(900, "\n    ", |i| format!("n{i}: {{ type: base }}")),
        )
    });
    add(
        "aliases of a long text",
        around(&format!("metadata: {{ a: &a {}, b: [ {} ] }}", long(500_000), ["*a"; 10_000].join(", ")), node),
    );
    add("patterns", {
        let pattern = |i| format!(r"d{i}: {{ derived_from: string, constraints: [ pattern: '\w{{1,{}}}' ] }}", 10 + i % 5);
        around(&format!("data_types:\n  {}", many(500, "\n  ", pattern)), node)
    });
    add("a pattern with many states", {
        let text = many(70_000, "", |i| if i * i % 7 < 3 { "a".into() } else { "b".into() });
        around(
            "data_types:\n  d: { derived_from: string, constraints: [ pattern: '[ab]*a[ab]{2000}c' ] }\nnode_types:\n  t: { properties: { p: { type: d } } }",
            &format!("n: {{ type: t, properties: {{ p: {text} }} }}"),
        )
    });
    add("defaults of defaults", {
        let two = |i| {
            format!("d{}: {{ properties: {{ a: {{ type: d{i}, default: {{}} }}, b: {{ type: d{i}, default: {{}} }} }} }}", i + 1)
        };
        around(&format!("data_types:\n  d0: {{ properties: {{ a: {{ type: string }} }} }}\n  {}", many(40, "\n  ", two)), node)
    });
    add("inputs shared by operations", {
        let (inputs, names) = (many(9000, ", ", |i| format!("i{i}: x")), many(9000, ", ", |i| format!("o{i}: s")));
        around(
            &format!("node_types:\n  t: {{ interfaces: {{ I: {{ inputs: {{ {inputs} }}, operations: {{ {names} }} }} }} }}"),
            node,
        )
    });
    add("operations that many nodes inherit", {
        let (inputs, names) = (many(300, ", ", |i| format!("i{i}: x")), many(300, ", ", |i| format!("o{i}: s")));
        let ty = format!(
            "node_types:\n  t: {{ interfaces: {{ Standard: {{ inputs: {{ {inputs} }}, operations: {{ {names} }} }} }} }}"
        );
        around(&ty, &many(1000, "\n    ", |i| format!("n{i}: {{ type: t }}")))
    });
    add(
        "a list under a long key",
        around(
            "",
            &format!("n: {{ type: Compute, properties: {{ ? {} : [ {} ] }} }}", long(400_000), vec!["x"; 30_000].join(", ")),
        ),
    );
    add("a list under many keys", {
        let keys = many(50, " ", |i| format!("{{ {}{i}:", long(1000)));
        around(
            "",
            &format!(
                "n: {{ type: Compute, properties: {{ p: {keys} [ {} ] {} }} }}",
                vec!["x"; 30_000].join(", "),
                "}".repeat(50)
            ),
        )
    });
    add("heirs of a long name", {
        let heirs = many(8000, "\n  ", |i| format!("h{i}: {{ derived_from: mid }}"));
        let name = long(300_000);
        around(&format!("node_types:\n  ? {name}\n  : {{}}\n  mid: {{ derived_from: {name} }}\n  {heirs}"), node)
    });
    add("requirements of a long name", {
        let name = long(300_000);
        let types = format!(
            "relationship_types:\n  ? {name}\n  : {{}}\nnode_types:\n  t: {{ requirements: [ r: {{ relationship: {name}, capability: tosca.capabilities.Node }} ], derived_from: tosca.nodes.Root }}"
        );
        around(&types, &format!("a: {{ type: t }}\n    b: {{ type: t, requirements: [ {} ] }}", vec!["r: a"; 12_000].join(", ")))
    });
    add("unknown properties of a long name", {
        let name = long(300_000);
        let types = format!("node_types:\n  ? {name}\n  : {{}}");
        around(&types, &format!("n: {{ type: {name}, properties: {{ {} }} }}", many(12_000, ", ", |i| format!("p{i}: x"))))
    });
    add(
        "names that become one",
        around(
            "",
            &many(999, "\n    ", |i| {
                let bits: String = (0..10).map(|bit| if i >> bit & 1 == 1 { '-' } else { '.' }).collect();
                format!("{}{bits}: {{ type: Root }}", long(1000))
            }),
        ),
    );
    add(
        "many outputs",
        format!("{VERSION}\ntopology_template:\n  outputs: {{ {} }}", many(24_000, ", ", |i| format!("output{i}: 1"))),
    );
    add("nodes that are not there", {
        let calls = vec!["{ get_property: [ absent, x ] }"; 9000].join(", ");
        let nodes = many(999, "\n    ", |i| format!("n{i}: {{ type: Root }}"));
        format!("{}  outputs: {{ o: [ {calls} ] }}\n", around("", &nodes))
    });
    add("nodes by their other names", {
        let calls = vec!["{ get_property: [ n_998, x ] }"; 9000].join(", ");
        let nodes = many(999, "\n    ", |i| format!("n-{i}: {{ type: Root }}"));
        format!("{}  outputs: {{ o: [ {calls} ] }}\n", around("", &nodes))
    });
    add(
        "a chain that hangs on a loop",
        around(
            "",
            &many(1000, "\n    ", |i| {
                let requirements =
                    many(12, ", ", |j| format!("dependency: n{}", if i == 0 { 1 } else { i.saturating_sub(1 + j) }));
                format!("n{i}: {{ type: Root, requirements: [ {requirements} ] }}")
            }),
        ),
    );
    add("a long constraint", {
        let types = format!(
            "data_types:\n  d: {{ derived_from: string, constraints: [ less_or_equal: {} ] }}\nnode_types:\n  t: {{ properties: {{ p: {{ type: list, entry_schema: d }} }} }}",
            long(500_000)
        );
        around(&types, &format!("n: {{ type: t, properties: {{ p: [ {} ] }} }}", vec!["x"; 30_000].join(", ")))
    });
    add("a constraint that is a list", {
        let bound = vec!["x"; 15_000].join(", ");
        let types = format!(
            "node_types:\n  t: {{ properties: {{ p: {{ type: list, entry_schema: {{ type: list, constraints: [ valid_values: [ [ {bound} ], [] ] ] }} }} }} }}"
        );
        around(&types, &format!("n: {{ type: t, properties: {{ p: [ {} ] }} }}", vec!["[]"; 20_000].join(", ")))
    });
    add("many constraints", {
        let types = format!(
            "data_types:\n  d: {{ derived_from: string, constraints: [ {} ] }}\nnode_types:\n  t: {{ properties: {{ p: {{ type: list, entry_schema: d }} }} }}",
            vec!["min_length: 0"; 9_000].join(", ")
        );
        around(&types, &format!("n: {{ type: t, properties: {{ p: [ {} ] }} }}", vec!["x"; 15_000].join(", ")))
    });
    add("many valid values", {
        let types = format!(
            "data_types:\n  d: {{ derived_from: string, constraints: [ valid_values: [ {} ] ] }}\nnode_types:\n  t: {{ properties: {{ p: {{ type: list, entry_schema: d }} }} }}",
            many(20_000, ", ", |i| format!("v{i}"))
        );
        around(&types, &format!("n: {{ type: t, properties: {{ p: [ {} ] }} }}", vec!["v19999"; 20_000].join(", ")))
    });
    add("values of many optional parts", {
        let parts = many(5000, ", ", |i| format!("p{i}: {{ type: string, required: false }}"));
        let types = format!(
            "data_types:\n  d: {{ properties: {{ {parts} }} }}\nnode_types:\n  t: {{ properties: {{ p: {{ type: list, entry_schema: d }} }} }}"
        );
        around(&types, &format!("n: {{ type: t, properties: {{ p: [ {} ] }} }}", vec!["{}"; 12_000].join(", ")))
    });
    add("lists of nothing, asked for often", {
        let lists = vec!["[]"; 20_000].join(", ");
        let calls = many(4000, ", ", |i| format!("c{i}: {{ get_property: [ SELF, p ] }}"));
        around("", &format!("n: {{ type: Compute, properties: {{ p: [ {lists} ], {calls} }} }}"))
    });
    add("separators", {
        let text = format!(
            "  inputs: {{ t: {{ type: string, default: {} }}, s: {{ type: string, default: {} }} }}",
            long(400_000),
            "y".repeat(400_000)
        );
        format!(
            "{VERSION}\ntopology_template:\n{text}\n  outputs: {{ o: {{ token: [ {{ get_input: t }}, {{ get_input: s }}, 0 ] }} }}"
        )
    });
    add("get_property, doubled each time", {
        let mut nodes = String::from("n0: { type: Database, properties: { name: xxxxxxxx } }");
        for i in 1..=40 {
            let p = i - 1;
            write!(nodes, "\n    n{i}: {{ type: Database, properties: {{ name: {{ concat: [ {{ get_property: [ n{p}, name ] }}, {{ get_property: [ n{p}, name ] }} ] }} }} }}").unwrap();
        }
        around("", &nodes)
    });
    add("outputs of the same long input", {
        let inputs = format!("  inputs: {{ t: {{ type: string, default: {} }} }}", long(400_000));
        format!(
            "{VERSION}\ntopology_template:\n{inputs}\n  outputs: {{ {} }}",
            many(8000, ", ", |i| format!("o{i}: {{ get_input: t }}"))
        )
    });
    add("calls in calls", {
        let call = many(20, "", |_| "{ get_property: [ n, x, ".into());
        around("", &format!("n: {{ type: Compute, properties: {{ x: {{ a: 1 }}, p: {call} a {} }} }}", "] } ".repeat(20)))
    });
    add("operations of many nodes", {
        let inputs = many(300, ", ", |i| format!("i{i}: {{ get_property: [ SELF, p ] }}"));
        let ty = format!(
            "node_types:\n  t: {{ properties: {{ p: {{ type: list, default: [ {} ] }} }}, interfaces: {{ Standard: {{ create: {{ implementation: s, inputs: {{ {inputs} }} }} }} }} }}",
            vec!["x"; 900].join(", ")
        );
        around(&ty, &many(200, "\n    ", |i| format!("n{i}: {{ type: t }}")))
    });
    add("hosts of hosts", {
        let nodes = many(999, "\n    ", |i| {
            format!(
                "n{i}: {{ type: SoftwareComponent, properties: {{ a: {{ get_property: [ HOST, x ] }}, b: {{ get_property: [ HOST, y ] }} }}, requirements: [ host: {{ node: n{}, capability: feature }} ] }}",
                i + 1
            )
        });
        around("", &format!("{nodes}\n    n999: {{ type: Compute, properties: {{ x: 1, y: 2 }} }}"))
    });
    add("requirements and capabilities", {
        let chain = many(60, "\n  ", |i| {
            format!("c{i}: {{ derived_from: {} }}", if i == 0 { "tosca.capabilities.Root".into() } else { format!("c{}", i - 1) })
        });
        let capabilities = many(400, ", ", |i| format!("k{i}: c59"));
        let types = format!(
            "capability_types:\n  {chain}\nnode_types:\n  t: {{ capabilities: {{ {capabilities} }}, requirements: [ r: {{ capability: c0 }} ] }}"
        );
        around(&types, &format!("a: {{ type: t }}\n    b: {{ type: t, requirements: [ {} ] }}", vec!["r: a"; 10_000].join(", ")))
    });
    add("values in values of others", {
        let nodes = many(60, "\n    ", |i| {
            format!(
                "n{i}: {{ type: Compute, properties: {{ p: {}{{ get_property: [ n{}, p ] }}{} }} }}",
                "[ ".repeat(50),
                i + 1,
                " ]".repeat(50)
            )
        });
        around("", &format!("{nodes}\n    n60: {{ type: Compute, properties: {{ p: x }} }}"))
    });
    add("calls in calls of others", {
        let nodes = many(60, "\n    ", |i| {
            format!(
                "n{i}: {{ type: Compute, properties: {{ p: {}{{ get_property: [ n{}, p ] }}{} }} }}",
                "{ concat: [ ".repeat(25),
                i + 1,
                " ] }".repeat(25)
            )
        });
        around("", &format!("{nodes}\n    n60: {{ type: Compute, properties: {{ p: x }} }}"))
    });
    add("a long name of a capability", {
        let types = format!("node_types:\n  t: {{ requirements: [ r: {{ capability: {} }} ] }}", long(500_000));
        around(&types, &format!("a: {{ type: t }}\n    b: {{ type: t, requirements: [ {} ] }}", vec!["r: a"; 12_000].join(", ")))
    });
    add("lists as texts", {
        let list = format!("'[{}0]'", "0,".repeat(250_000));
        let properties =
            many(100, ", ", |i| format!("p{i}: {{ type: list, entry_schema: integer, default: {{ get_input: l }} }}"));
        let text = around(&format!("node_types:\n  t: {{ properties: {{ {properties} }} }}"), "n: { type: t }");
        format!("{text}  inputs: {{ l: {{ type: string, default: {list} }} }}\n")
    });
    add("many patterns, and a text for each", {
        let properties = many(12, ", ", |i| {
            format!(
                "p{i}: {{ type: string, default: {}, constraints: [ pattern: '[ab]*a[ab]{{1{i:02}}}[ab]*' ] }}",
                "ab".repeat(200)
            )
        });
        around(
            &format!("node_types:\n  t: {{ properties: {{ {properties} }} }}"),
            &many(20, "\n    ", |i| format!("n{i}: {{ type: t }}")),
        )
    });
    add("policies and groups", {
        let targets = many(999, ", ", |i| format!("n{i}"));
        let entry = |kind: &str, i| {
            format!("- p{i}: {{ type: tosca.{kind}.Root, {}: *t }}", if kind == "groups" { "members" } else { "targets" })
        };
        let nodes = many(999, "\n    ", |i| format!("n{i}: {{ type: Root }}"));
        format!(
            "{}  groups:\n    {}\n  policies:\n    {}\n",
            around(&format!("metadata: {{ t: &t [ {targets} ] }}"), &nodes),
            many(20, "\n    ", |i| entry("groups", i)),
            many(20, "\n    ", |i| entry("policies", i))
        )
    });
    add("merges", {
        let maps = vec!["*m"; 400].join(", ");
        around(&format!("metadata: {{ m: &m {{ {} }}, n: {{ <<: [ {maps} ] }} }}", many(100, ", ", |i| format!("k{i}: v"))), node)
    });
    add("many anchors", around(&format!("metadata: [ {} ]", many(15_000, ", ", |i| format!("&a{i} x"))), node));
    add(
        "anchors around anchors",
        around(&format!("metadata: {}x{}", many(60, "", |i| format!("&b{i} [ x, ")), " ]".repeat(60)), node),
    );
    add(
        "tags",
        format!("%TAG !t! tag:{}:\n---\n{VERSION}\nmetadata: [ {} ]\n", long(500_000), vec!["!t!a x"; 30_000].join(", ")),
    );
    add(
        "anchors of long names",
        around(&format!("metadata: [ &{} x, {} ]", long(300_000), vec![format!("*{}", long(300_000)); 2].join(", ")), node),
    );
    add("entry schemas in each other", {
        let schemas = format!("{}string{}", "{ type: list, entry_schema: ".repeat(50), " }".repeat(50));
        around(&format!("node_types:\n  t: {{ properties: {{ {} }} }}", many(300, ", ", |i| format!("p{i}: {schemas}"))), node)
    });
    add(
        "a removal list",
        around(
            "",
            &format!(
                "n: {{ type: tosca.nodes.indigo.Compute, capabilities: {{ scalable: {{ properties: {{ count: 1000000000, removal_list: [ {} ] }} }} }} }}",
                vec!["r"; 40_000].join(", ")
            ),
        ),
    );
    add(
        "missing inputs",
        format!("{VERSION}\ntopology_template:\n  inputs: {{ {} }}", many(12_000, ", ", |i| format!("i{i}: {{ type: string }}"))),
    );
    add("values that are wrong", {
        let properties = many(6000, ", ", |i| format!("p{i}: {{ token: [ a, b, 7 ] }}"));
        around("", &format!("n: {{ type: Compute, properties: {{ {properties} }} }}"))
    });
    add("flow maps without an end", format!("{VERSION}\na: {}", "{".repeat(900_000)));
    add("keys of keys", format!("{VERSION}\n{}", "? ".repeat(400_000)));
    add("items of items", format!("{VERSION}\na:\n{}", "- ".repeat(400_000)));
    add("commas", format!("{VERSION}\na: [{}]", ",".repeat(900_000)));
    add("lines", format!("{VERSION}\na: |\n{}", "\n".repeat(900_000)));
    add("a long plain text", format!("{VERSION}\na: {}", "x\n ".repeat(300_000)));
    add("questions and colons", format!("{VERSION}\na: [{}]", "a: b, ".repeat(150_000)));
    add("quotes", format!("{VERSION}\na: [{}]", "'',".repeat(300_000)));
    add("comments", format!("{VERSION}\n{}", "#\n".repeat(400_000)));
    add("documents", format!("{VERSION}\n{}", "---\n".repeat(200_000)));
    add("escapes", format!("{VERSION}\na: \"{}\"", "\\u0041".repeat(150_000)));
    bombs
}

/// Templates that ask for little, and inputs that are large.
fn bombs_of_inputs() -> Vec<(&'static str, String, Map<String, Value>)> {
    let with = |ty: &str, uses: usize| {
        let nodes = many(uses, "\n    ", |i| format!("n{i}: {{ type: Compute, properties: {{ p: {{ get_input: i }} }} }}"));
        format!("{}  inputs: {{ i: {{ type: {ty} }} }}\n", around("", &nodes))
    };
    let given = |value: Value| Map::from_iter([("i".to_owned(), value)]);
    let zeros = format!("[{}0]", "0,".repeat(400_000));
    let deep = format!("{}{}", "[".repeat(120), "]".repeat(120));
    vec![
        ("a list as text, given", with("list", 1), given(zeros.into())),
        ("a long list, given", with("list", 900), given(vec![0; 100_000].into())),
        ("a long text, given", with("string", 900), given("x".repeat(800_000).into())),
        ("a deep list, given", with("list", 900), given(serde_json::from_str(&deep).unwrap())),
        ("a long number, given", with("float", 900), given("1".repeat(800_000).into())),
        ("a long version, given", with("version", 900), given("1.".repeat(400_000).into())),
        ("a long size, given", with("scalar-unit.size", 900), given(format!("{} GB", "1".repeat(800_000)).into())),
    ]
}

/// What a client that sends a template makes us do at once.
fn submit(text: &str, mode: Mode, given: &Map<String, Value>) -> Result<(), Error> {
    let template = Template::parse(text, &Catalogue::standard(), mode, &Limits::default())?;
    let topology = Topology::bind(Arc::new(template), given)?;
    topology.outputs(&Nothing);
    Ok(())
}

/// Processor time, as how often an ordinary template could be read instead. One takes a fifth of a millisecond where this was written,
/// so that this is a tenth of a second there.
const TIME: u32 = 500;
/// Bytes, at once.
const MEMORY: usize = 50 << 20;

#[test]
fn bombs_cost_little() {
    let ordinary = std::fs::read_to_string(format!("{}/tests/templates/batch-cluster.yaml", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let nothing = Map::new();
    everything(&ordinary, Mode::Normal, &nothing).unwrap();
    let unit = time(300, || submit(&ordinary, Mode::Normal, &nothing).unwrap());
    println!("{:>40} {unit:>12.1?}", "an ordinary template");
    let only = std::env::var("OSTLER_BOMB").ok();
    let mut failed = Vec::new();
    let texts = bombs().into_iter().map(|(name, text)| (name, text, Map::new()));
    for (name, text, given) in texts.chain(bombs_of_inputs()) {
        if only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        for mode in [Mode::Normal, Mode::Lenient] {
            let (mut took, mut most, mut said) = (Duration::MAX, 0, String::new());
            // What else the machine does costs time, too: several tries for those that seem slow.
            for _ in 0..5 {
                took = took.min(time(1, || {
                    let (bytes, outcome) = memory(|| submit(&text, mode, &given));
                    most = bytes;
                    said = match outcome {
                        Ok(()) => "accepted".into(),
                        Err(error) => error.to_string().lines().last().unwrap_or_default().into(),
                    };
                }));
                if took < unit * TIME / 2 {
                    break;
                }
            }
            if mode == Mode::Normal {
                let said: String = said.chars().take(90).collect();
                println!("{name:>40} {took:>12.1?} {:>6.1} MB {:>5} kB  {said}", most as f64 / 1e6, text.len() / 1000);
            }
            if took > unit * TIME || most > MEMORY {
                failed.push((name, mode, took, most));
            }
            // One that is accepted is asked about each of its values, several times over.
            if said == "accepted" {
                let mut most = 0;
                let took = time(1, || most = memory(|| everything(&text, mode, &given)).0);
                if took > unit * TIME * 10 || most > MEMORY {
                    failed.push((name, mode, took, most));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}
