//! All that can be asked of a text, whoever wrote it.
// Not every test asks for all of it, and the fuzzer is another crate.
#![allow(dead_code, unreachable_pub)]

use std::sync::Arc;

use ostler_tosca::{Attributes, Catalogue, Error, Limits, Mark, Mode, Template, Topology, without_removal_lists};
use serde_json::{Map, Value, json};

/// A cloud in which nothing has an attribute.
pub struct Nothing;
impl Attributes for Nothing {
    fn get(&self, _: &str, _: Option<&str>, _: &str) -> Option<Value> {
        None
    }
}

/// A cloud in which everything has every attribute.
pub struct Anything;
impl Attributes for Anything {
    fn get(&self, node: &str, _: Option<&str>, name: &str) -> Option<Value> {
        Some(json!([format!("{node}.{name}"), { "0": 80 }]))
    }
}

/// Reads it, binds it, and computes all that there is.
///
/// # Errors
/// Why it is refused.
pub fn everything(text: &str, mode: Mode, given: &Map<String, Value>) -> Result<Arc<Template>, Error> {
    let template = Arc::new(Template::parse(text, &Catalogue::standard(), mode, &Limits::default())?);
    let topology = Topology::bind(template.clone(), given)?;
    for attributes in [&Nothing as &dyn Attributes, &Anything] {
        topology.outputs(attributes);
    }
    for (index, node) in template.nodes.iter().enumerate() {
        for attributes in [None, Some(&Nothing as &dyn Attributes), Some(&Anything)] {
            let _ = topology.operations(index, "Standard", attributes);
            node.properties().for_each(|name| drop(topology.property(index, name, attributes)));
            for capability in node.capabilities() {
                node.capability_properties(capability)
                    .for_each(|name| drop(topology.capability(index, capability, name, attributes)));
            }
            (0..node.requirements.len()).for_each(|requirement| drop(topology.relationship(index, requirement, attributes)));
        }
        template.required_by(index).for_each(drop);
        let _ = (topology.count(index), topology.removal_list(index), topology.artifact(index, "image"));
    }
    (0..template.policies.len()).for_each(|policy| drop(topology.policy(policy)));
    Ok(template)
}

/// Everything, in each mode, and what must be so of every text.
///
/// # Panics
/// If it is not.
pub fn holds(text: &str, given: &Map<String, Value>) {
    // A comment makes every text one that is written anew.
    let written = without_removal_lists(&format!("{text}\n# removal_list"), &Limits::default());
    for mode in [Mode::Strict, Mode::Normal, Mode::Lenient] {
        match everything(text, mode, given) {
            Ok(template) => {
                marked(text, template.warnings.iter().map(|problem| problem.at));
                let again = Template::parse(&written, &Catalogue::standard(), mode, &Limits::default());
                let again = again.unwrap_or_else(|error| panic!("{error}\n{text}\n--- became\n{written}"));
                assert_eq!(again.nodes.len(), template.nodes.len(), "{text}\n--- became\n{written}");
            }
            Err(Error::Template { problems, .. }) => {
                assert!(!problems.is_empty(), "{text}");
                marked(text, problems.iter().map(|problem| problem.at));
            }
            Err(Error::Inputs(problems)) => assert!(!problems.is_empty(), "{text}"),
            Err(Error::Cycle(nodes)) => assert!(!nodes.is_empty(), "{text}"),
        }
    }
}

/// Places are in the text: at most one line and one character behind its end.
fn marked(text: &str, marks: impl Iterator<Item = Mark>) {
    let text = text.replace("\r\n", "\n");
    let lines: Vec<&str> = text.split(['\n', '\r']).collect();
    for at in marks {
        let inside = match (at.line as usize).checked_sub(1).map(|line| lines.get(line)) {
            // Not known.
            None => at == Mark::default(),
            Some(Some(line)) => at.column >= 1 && at.column as usize <= line.chars().count() + 1,
            Some(None) => at.line as usize == lines.len() + 1,
        };
        assert!(inside, "{at:?} is not in\n{text}");
    }
}
