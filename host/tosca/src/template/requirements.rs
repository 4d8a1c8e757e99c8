//! What nodes need of each other: targets, their capabilities, relationships, and the order that follows.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use indexmap::IndexMap;

use super::{Requirement, Template};
use crate::error::{Code, Error, Path, Problems};
use crate::expr::Expr;
use crate::types::{Kind, Type, listed};
use crate::value::short;
use crate::yaml::Node;

impl Template {
    /// What the node with this index needs of others. All nodes are there.
    pub(super) fn requirements(&mut self, index: usize, written: &str, node: &Node, topology: &Node, problems: &mut Problems) {
        let section = Path::Section("node_templates");
        let path = section.key(written);
        let section = path.key("requirements");
        let ty = self.nodes[index].ty.clone();
        let mut requirements = Vec::new();
        for (name, node) in listed(node, "requirements", &path, problems) {
            let path = section.key(name);
            let definition = ty.requirements.get(name);
            if definition.is_none() && !ty.open {
                let message = format_args!("requirement {name} does not exist in type {}", ty.name);
                problems.push(Code::RequirementNotFound, node.at, path, message);
                continue;
            }
            let Some(target) = node.text().or_else(|| node.get("node").and_then(Node::text)) else {
                let message = "the requirement names no node template";
                problems.push(Code::RequirementTargetNodeTemplateNameRequired, node.at, path, message);
                continue;
            };
            let Some(&target) = self.by_written.get(target) else {
                let message = format_args!("no node template is called '{}'", short(target));
                problems.push(Code::RequirementTargetNotFound, node.at, path, message);
                continue;
            };
            let given = node.get("capability").and_then(Node::text);
            let wanted = definition.and_then(|definition| definition.capability.as_deref());
            let capability = self.target_capability(target, name, given, wanted, &path, node, problems);
            let (relationship, properties) = self.relationship(node, topology, &path, problems);
            let relationship =
                relationship.or_else(|| self.types.get(Kind::Relationship, definition?.relationship.as_deref()?).cloned());
            let hosted = match &relationship {
                Some(ty) => ty.is("tosca.relationships.HostedOn"),
                None => name == "host",
            };
            let type_name = relationship.as_ref().map(|ty| ty.name.clone());
            let ty = relationship;
            requirements.push(Requirement {
                name: name.into(),
                target,
                capability,
                relationship: type_name,
                hosted,
                ty,
                properties,
            });
        }
        self.nodes[index].requirements = requirements;
    }

    /// The capability of the target: the one that is named, else one of the wanted type, else the one called like the requirement.
    #[allow(clippy::too_many_arguments)]
    fn target_capability(
        &self,
        target: usize,
        name: &str,
        given: Option<&str>,
        wanted: Option<&str>,
        path: &Path<'_>,
        node: &Node,
        problems: &mut Problems,
    ) -> Option<String> {
        let target = &self.nodes[target];
        let capabilities = &target.capabilities;
        if problems.work.take(target.search).is_err() {
            return None;
        }
        if let Some(given) = given.filter(|given| capabilities.contains_key(*given)) {
            return Some(given.into());
        }
        let of_type = |name: &str| -> Vec<&String> {
            let name = self.types.find(Kind::Capability, name).unwrap_or_else(|| name.into());
            capabilities.iter().filter(|(_, capability)| capability.ty.is(&name)).map(|(name, _)| name).collect()
        };
        for ty in [given, wanted].into_iter().flatten() {
            let fitting = of_type(ty);
            if fitting.len() > 1 && !fitting.iter().any(|other| *other == name) {
                let ty = short(ty);
                let message = format_args!("more than one capability of {} is a {ty}: {} is taken", target.written, fitting[0]);
                problems.push(Code::RequirementCapabilityMultipleMatch, node.at, path, message);
            }
            let best = fitting.iter().find(|other| **other == name).or(fitting.first());
            if let Some(best) = best {
                return Some((*best).clone());
            }
        }
        if given.is_none() && capabilities.contains_key(name) {
            return Some(name.into());
        }
        if !target.ty.open {
            let what = given.or(wanted).unwrap_or(name);
            let message = format_args!("'{}' has no capability {}", target.written, short(what));
            problems.push(Code::RequirementCapabilityNotFound, node.at, path, message);
        }
        None
    }

    /// `relationship: TYPE or the name of a relationship template`, or a map with `type` and `properties`.
    fn relationship(
        &self,
        node: &Node,
        topology: &Node,
        path: &Path<'_>,
        problems: &mut Problems,
    ) -> (Option<Arc<Type>>, IndexMap<String, Expr>) {
        let Some(mut relationship) = node.get("relationship").filter(|node| !node.is_null()) else {
            return (None, IndexMap::new());
        };
        if let Some(name) = relationship.text()
            && let Some(templates) = topology.get("relationship_templates")
            && problems.work.take(templates.map().map_or(0, <[_]>::len)).is_ok()
            && let Some(template) = templates.get(name)
        {
            relationship = template;
        }
        let name = relationship.get("type").unwrap_or(relationship);
        let ty = if name.text().is_some() { self.types.of(Kind::Relationship, name, path, problems) } else { None };
        let open = Type { open: true, ..Type::default() };
        let definitions = ty.as_deref().unwrap_or(&open);
        let path = path.key("relationship");
        let properties = self.properties(relationship, definitions, &definitions.properties, &IndexMap::new(), &path, problems);
        (ty, properties)
    }

    /// Targets of requirements first, in the order of the text where that leaves a choice.
    pub(super) fn sorted(&self) -> Result<Vec<usize>, Error> {
        let mut order = Vec::with_capacity(self.nodes.len());
        let mut waits: Vec<usize> = Vec::with_capacity(self.nodes.len());
        let mut sources: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            let targets: HashSet<usize> = node.requirements.iter().map(|requirement| requirement.target).collect();
            waits.push(targets.len());
            targets.into_iter().for_each(|target| sources[target].push(index));
        }
        let mut ready: BTreeSet<usize> = (0..self.nodes.len()).filter(|index| waits[*index] == 0).collect();
        while let Some(index) = ready.pop_first() {
            order.push(index);
            for &source in &sources[index] {
                waits[source] -= 1;
                if waits[source] == 0 {
                    ready.insert(source);
                }
            }
        }
        if order.len() == self.nodes.len() {
            return Ok(order);
        }
        // What is left waits for a loop. Nodes that nobody left requires only hang on it.
        let mut left: Vec<bool> = waits.iter().map(|waits| *waits > 0).collect();
        let mut needed: Vec<usize> = sources.iter().map(|of| of.iter().filter(|source| left[**source]).count()).collect();
        let mut hanging: Vec<usize> = (0..left.len()).filter(|index| left[*index] && needed[*index] == 0).collect();
        while let Some(index) = hanging.pop() {
            left[index] = false;
            let targets: HashSet<usize> = self.nodes[index].requirements.iter().map(|requirement| requirement.target).collect();
            for target in targets {
                needed[target] -= 1;
                if left[target] && needed[target] == 0 {
                    hanging.push(target);
                }
            }
        }
        let looped = self.nodes.iter().zip(left).filter(|(_, left)| *left);
        Err(Error::Cycle(looped.map(|(node, _)| node.written.clone()).collect()))
    }
}
