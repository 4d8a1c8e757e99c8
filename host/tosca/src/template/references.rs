//! What functions name: inputs and nodes.

use super::Template;
use crate::error::{Code, Mark, Path, Problems};
use crate::expr::{Expr, Function};
use crate::value::short;

impl Template {
    /// Inputs that functions ask for are there, and nodes that they name. `outputs` are the places of the outputs.
    pub(super) fn check_references(&self, outputs: &[Mark], problems: &mut Problems) {
        let mut check = |expr: &Expr, path: Path<'_>, at| {
            expr.calls(&mut |call| match (call.function, call.word(0)) {
                (Function::GetInput, Some(name)) if !self.inputs.contains_key(name) => {
                    let message = format_args!("No input with name {} defined in the template", short(name));
                    problems.push(Code::MissingTopologyInput, at, path, message);
                }
                (Function::GetProperty | Function::GetAttribute | Function::GetArtifact, Some(name))
                    if !["SELF", "HOST", "SOURCE", "TARGET"].contains(&name) && self.find(name).is_none() =>
                {
                    problems.push(Code::InvalidReference, at, path, format_args!("no node template is called '{}'", short(name)));
                }
                _ => {}
            });
        };
        let section = Path::Section("node_templates");
        for node in &self.nodes {
            let path = section.key(&node.written);
            let properties = path.key("properties");
            node.properties.iter().for_each(|(name, expr)| check(expr, properties.key(name), node.at));
            let capabilities = path.key("capabilities");
            for (capability, given) in &node.capabilities {
                let path = capabilities.key(capability);
                let path = path.key("properties");
                given.properties.iter().for_each(|(name, expr)| check(expr, path.key(name), node.at));
            }
            let requirements = path.key("requirements");
            for requirement in &node.requirements {
                let path = requirements.key(&requirement.name);
                let path = path.key("relationship");
                requirement.properties.iter().for_each(|(name, expr)| check(expr, path.key(name), node.at));
            }
            let artifacts = path.key("artifacts");
            for (name, artifact) in &node.artifacts {
                artifact.file.iter().for_each(|expr| check(expr, artifacts.key(name), node.at));
            }
            let interfaces = path.key("interfaces");
            for (interface, operations) in &node.interfaces {
                let path = interfaces.key(interface);
                for (operation, it) in operations {
                    let path = path.key(operation);
                    let path = path.key("inputs");
                    it.inputs.iter().for_each(|(name, expr)| check(expr, path.key(name), node.at));
                }
            }
        }
        let section = Path::Section("outputs");
        for ((name, expr), at) in self.outputs.iter().zip(outputs) {
            check(expr, section.key(name).key("value"), *at);
        }
        let section = Path::Section("policies");
        for policy in &self.policies {
            let path = section.key(&policy.name);
            let path = path.key("properties");
            policy.properties.iter().for_each(|(name, expr)| check(expr, path.key(name), policy.at));
        }
    }
}
