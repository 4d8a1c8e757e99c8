//! Types of nodes, capabilities, relationships, data and so on: read from definitions, with what they inherit.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use indexmap::IndexMap;

use crate::error::{Code, Mark, Path, Problems};
use crate::expr::Expr;
use crate::interfaces::{self, Artifact, Interfaces, artifact, interfaces, merge_interfaces};
use crate::schema::{Constraint, Schema, constraints};
use crate::value::{Primitive, short};
use crate::work::of_text;
use crate::yaml::{Data, KEY, Node};

/// What a type is the type of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Data,
    Artifact,
    Interface,
    Capability,
    Relationship,
    Node,
    Group,
    Policy,
}

impl Kind {
    pub(crate) const ALL: [Self; 8] = [
        Self::Data,
        Self::Artifact,
        Self::Interface,
        Self::Capability,
        Self::Relationship,
        Self::Node,
        Self::Group,
        Self::Policy,
    ];

    /// The section of a file that defines types of this kind.
    pub(crate) fn section(self) -> &'static str {
        match self {
            Self::Data => "data_types",
            Self::Artifact => "artifact_types",
            Self::Interface => "interface_types",
            Self::Capability => "capability_types",
            Self::Relationship => "relationship_types",
            Self::Node => "node_types",
            Self::Group => "group_types",
            Self::Policy => "policy_types",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Data => "data type",
            Self::Artifact => "artifact type",
            Self::Interface => "interface type",
            Self::Capability => "capability type",
            Self::Relationship => "relationship type",
            Self::Node => "node type",
            Self::Group => "group type",
            Self::Policy => "policy type",
        }
    }

    /// What a short name, such as `Compute`, may stand for: the normative types only.
    fn prefixes(self) -> &'static [&'static str] {
        match self {
            Self::Data => &["tosca.datatypes.", "tosca.datatypes.network."],
            Self::Artifact => &["tosca.artifacts.", "tosca.artifacts.Deployment.Image.", "tosca.artifacts.Implementation."],
            Self::Interface => &["tosca.interfaces.", "tosca.interfaces.node.lifecycle.", "tosca.interfaces.relationship."],
            Self::Capability => &["tosca.capabilities.", "tosca.capabilities.network."],
            Self::Relationship => &["tosca.relationships.", "tosca.relationships.network."],
            Self::Node => &["tosca.nodes.", "tosca.nodes.network."],
            Self::Group => &["tosca.groups."],
            Self::Policy => &["tosca.policies."],
        }
    }
}

/// A type with all that it inherits.
#[derive(Debug, Default)]
pub(crate) struct Type {
    pub name: String,
    /// From its parent to the root.
    pub ancestors: Vec<String>,
    pub properties: IndexMap<String, Property>,
    pub attributes: IndexMap<String, Property>,
    pub capabilities: IndexMap<String, CapabilityDef>,
    pub requirements: IndexMap<String, RequirementDef>,
    pub interfaces: Interfaces,
    pub artifacts: IndexMap<String, Artifact>,
    /// Of a data type that refines a primitive one.
    pub primitive: Option<Primitive>,
    pub constraints: Vec<Constraint>,
    /// Not known: it stands in for a type that is.
    pub open: bool,
    /// What it weighs for types that derive from it, as work.
    pub weight: usize,
    /// What a node template, or one of its capabilities, copies of it.
    pub copied: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct Property {
    pub schema: Schema,
    pub required: bool,
    pub default: Option<Expr>,
}

#[derive(Debug, Clone)]
pub(crate) struct CapabilityDef {
    pub type_name: String,
    /// Defaults of its properties that the node type sets.
    pub properties: IndexMap<String, Expr>,
}

#[derive(Debug, Clone)]
pub(crate) struct RequirementDef {
    pub capability: Option<String>,
    pub relationship: Option<String>,
}

impl Type {
    /// One that stands in for a type that is not there.
    pub(crate) fn unknown(name: &str) -> Self {
        Self { name: name.into(), open: true, weight: of_text(name), ..Self::default() }
    }

    fn copies(&self) -> usize {
        let default = |property: &Property| 1 + property.default.as_ref().map_or(0, Expr::weight);
        let properties = self.properties.values().map(default);
        let capabilities = self.capabilities.values().map(|it| 1 + it.properties.values().map(Expr::weight).sum::<usize>());
        let artifacts = self.artifacts.values().map(|artifact| 1 + artifact.file.as_ref().map_or(0, Expr::weight));
        properties.chain(capabilities).chain(artifacts).sum::<usize>() + interfaces::weight(&self.interfaces)
    }

    /// Whether it is `name` or derives from it.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name == name || self.ancestors.iter().any(|ancestor| ancestor == name)
    }
}

type ByName = HashMap<String, Arc<Type>>;

/// The types of a template: its own, and below them those of a catalogue.
#[derive(Debug, Default)]
pub(crate) struct Types {
    own: HashMap<Kind, ByName>,
    base: Option<Arc<Types>>,
}

impl Types {
    pub(crate) fn over(base: Arc<Types>) -> Self {
        Self { own: HashMap::new(), base: Some(base) }
    }

    /// By the full name.
    pub(crate) fn get(&self, kind: Kind, name: &str) -> Option<&Arc<Type>> {
        match self.own.get(&kind).and_then(|types| types.get(name)) {
            Some(ty) => Some(ty),
            None => self.base.as_ref().and_then(|base| base.get(kind, name)),
        }
    }

    /// The full name for one that is written in full, qualified as `tosca:Compute`, or short as `Compute`.
    pub(crate) fn find(&self, kind: Kind, name: &str) -> Option<String> {
        // No key is as long, and what follows makes copies.
        if name.len() > KEY {
            return None;
        }
        if self.get(kind, name).is_some() {
            return Some(name.into());
        }
        let short = name.strip_prefix("tosca:").unwrap_or(name);
        kind.prefixes().iter().map(|prefix| format!("{prefix}{short}")).find(|name| self.get(kind, name).is_some())
    }

    /// The type that `node` names. One that is not there is a problem, and an open one if that is only a warning.
    pub(crate) fn of(&self, kind: Kind, node: &Node, path: &Path<'_>, problems: &mut Problems) -> Option<Arc<Type>> {
        let Some(name) = node.text() else {
            problems.push(Code::SyntaxError, node.at, path, format_args!("a type is a name, not {}", node.kind()));
            return None;
        };
        if let Some(ty) = self.find(kind, name).and_then(|name| self.get(kind, &name)) {
            return Some(ty.clone());
        }
        problems.push(Code::TypeNotFound, node.at, path, format_args!("no {} is called '{}'", kind.word(), short(name)));
        // Nothing else is as long as this may be.
        (name.len() <= KEY).then(|| Arc::new(Type::unknown(name)))
    }

    /// Adds the definitions of a file.
    pub(crate) fn define(&mut self, file: &Node, problems: &mut Problems) {
        for kind in Kind::ALL {
            let Some(section) = file.get(kind.section()) else { continue };
            let Some(map) = section.map() else {
                if !section.is_null() {
                    let message = format_args!("{} is a map of definitions, not {}", kind.section(), section.kind());
                    problems.push(Code::SyntaxError, section.at, kind.section(), message);
                }
                continue;
            };
            let definitions: HashMap<&str, &Node> = map.iter().map(|entry| (entry.key.as_str(), &entry.value)).collect();
            let mut open = HashSet::new();
            for entry in map {
                self.one(kind, &entry.key, entry.at, &definitions, &mut open, problems);
            }
        }
    }

    /// Defines one type, and before it those of the same section that it derives from.
    fn one<'a>(
        &mut self,
        kind: Kind,
        name: &'a str,
        at: Mark,
        definitions: &HashMap<&'a str, &'a Node>,
        open: &mut HashSet<&'a str>,
        problems: &mut Problems,
    ) {
        if self.own.get(&kind).is_some_and(|types| types.contains_key(name)) {
            return;
        }
        let Some(&node) = definitions.get(name) else { return };
        let section = Path::Section(kind.section());
        let path = section.key(name);
        if !open.insert(name) {
            problems.push(Code::CyclicDerivedFrom, at, path, format_args!("'{}' derives from itself", short(name)));
            // So that those who derive from it are not reported, too.
            self.own.entry(kind).or_default().insert(name.into(), Arc::new(Type::unknown(name)));
            return;
        }
        let mut ty = Type { name: name.into(), weight: of_text(name), ..Type::default() };
        if let Some(parent) = node.get("derived_from").filter(|parent| !parent.is_null()) {
            // A chain as long as a file has types: the depth of this recursion is that of the chain.
            if let Some(parent) = parent.text().filter(|parent| *parent != name)
                && let Some((&parent, _)) = definitions.get_key_value(parent)
            {
                if open.len() > 64 {
                    open.remove(name);
                    let message = "types derive from one another over more than 64 levels";
                    return problems.push(Code::LimitExceeded, at, path, message);
                }
                self.one(kind, parent, at, definitions, open, problems);
            }
            inherit(self, kind, &mut ty, parent, &path, problems);
        }
        open.remove(name);
        self.refine(&mut ty, node, &path, problems);
        self.own.entry(kind).or_default().insert(name.into(), Arc::new(ty));
    }

    fn refine(&self, ty: &mut Type, node: &Node, path: &Path<'_>, problems: &mut Problems) {
        ty.weight += node.weight();
        if node.map().is_none() && !node.is_null() {
            let message = format_args!("a type is a map, not {}", node.kind());
            return problems.push(Code::SyntaxError, node.at, path, message);
        }
        if let Some(list) = node.get("constraints") {
            ty.constraints.extend(constraints(list, path, problems));
        }
        for (section, properties) in [("properties", &mut ty.properties), ("attributes", &mut ty.attributes)] {
            let section_path = path.key(section);
            for (name, node) in entries(node, section, path, problems) {
                let property = self.property(node, properties.get(name), &section_path.key(name), problems);
                properties.insert(name.into(), property);
            }
        }
        let section = path.key("capabilities");
        for (name, node) in entries(node, "capabilities", path, problems) {
            if let Some(capability) = self.capability(node, ty.capabilities.get(name), &section.key(name), problems) {
                ty.capabilities.insert(name.into(), capability);
            }
        }
        let section = path.key("requirements");
        for (name, node) in listed(node, "requirements", path, problems) {
            let requirement = self.requirement(node, ty.requirements.get(name), &section.key(name), problems);
            ty.requirements.insert(name.into(), requirement);
        }
        let own = interfaces(node, path, problems);
        ty.weight += interfaces::weight(&own);
        merge_interfaces(&mut ty.interfaces, &own);
        let section = path.key("artifacts");
        for (name, node) in entries(node, "artifacts", path, problems) {
            ty.artifacts.insert(name.into(), artifact(node, &section.key(name), problems));
        }
        ty.copied = ty.copies();
    }

    /// What a definition does not say is as its parent has it.
    fn requirement(
        &self,
        node: &Node,
        inherited: Option<&RequirementDef>,
        path: &Path<'_>,
        problems: &mut Problems,
    ) -> RequirementDef {
        let mut named = |kind, key| {
            let node = node.get(key).filter(|node| !node.is_null())?;
            Some(self.of(kind, node.get("type").unwrap_or(node), path, problems)?.name.clone())
        };
        let capability = named(Kind::Capability, "capability");
        let relationship = named(Kind::Relationship, "relationship");
        // `host: tosca.capabilities.Container` is short for a map with a capability. Some write a node type there: what is not a
        // capability's type says nothing.
        let short = node.text().and_then(|name| self.find(Kind::Capability, name));
        RequirementDef {
            capability: capability.or(short).or_else(|| inherited?.capability.clone()),
            relationship: relationship.or_else(|| inherited?.relationship.clone()),
        }
    }

    pub(crate) fn property(
        &self,
        node: &Node,
        inherited: Option<&Property>,
        path: &Path<'_>,
        problems: &mut Problems,
    ) -> Property {
        let schema = Schema::read(node, inherited.map(|property| &property.schema), path, self, problems);
        let required = match node.get("required").and_then(Node::text).map(|text| Primitive::Boolean.read(text)) {
            Some(Ok(flag)) => flag.as_bool().unwrap_or(true),
            Some(Err(message)) => {
                problems.push(Code::SyntaxError, node.at, path, format_args!("required: {message}"));
                true
            }
            None => inherited.is_none_or(|property| property.required),
        };
        let default = match node.get("default") {
            Some(default) if !default.is_null() => {
                let expr = Expr::read(default, path, problems);
                if expr.is_literal()
                    && let Err(message) = schema.literal(&expr, self, &problems.work)
                {
                    problems.push(Code::ValidationError, default.at, path, format_args!("the default: {message}"));
                }
                Some(expr)
            }
            _ => inherited.and_then(|property| property.default.clone()),
        };
        Property { schema, required, default }
    }

    fn capability(
        &self,
        node: &Node,
        inherited: Option<&CapabilityDef>,
        path: &Path<'_>,
        problems: &mut Problems,
    ) -> Option<CapabilityDef> {
        let name = node.text().map(|_| node).or_else(|| node.get("type"));
        let type_name = match (name, inherited) {
            (Some(name), _) => self.of(Kind::Capability, name, path, problems)?.name.clone(),
            (None, Some(inherited)) => inherited.type_name.clone(),
            (None, None) => {
                problems.push(Code::SyntaxError, node.at, path, "a capability has a type");
                return None;
            }
        };
        let mut properties = inherited.map(|inherited| inherited.properties.clone()).unwrap_or_default();
        for (name, node) in entries(node, "properties", path, problems) {
            // A node type refines properties of its capabilities by definitions or, as is common, by plain values.
            let default = node.get("default").or_else(|| node.get("type").is_none().then_some(node));
            if let Some(default) = default.filter(|default| !default.is_null()) {
                properties.insert(name.into(), Expr::read(default, &path.key(name), problems));
            }
        }
        Some(CapabilityDef { type_name, properties })
    }
}

/// What the parent has.
fn inherit(types: &Types, kind: Kind, ty: &mut Type, parent: &Node, path: &Path<'_>, problems: &mut Problems) {
    if kind == Kind::Data
        && let Some(primitive) = parent.text().and_then(Primitive::named)
    {
        ty.primitive = Some(primitive);
        return;
    }
    let Some(parent) = types.of(kind, parent, path, problems) else { return };
    if problems.work.take(parent.weight).is_err() {
        ty.open = true;
        return;
    }
    ty.weight += parent.weight;
    ty.ancestors = std::iter::once(&parent.name).chain(&parent.ancestors).cloned().collect();
    ty.properties.clone_from(&parent.properties);
    ty.attributes.clone_from(&parent.attributes);
    ty.capabilities.clone_from(&parent.capabilities);
    ty.requirements.clone_from(&parent.requirements);
    ty.interfaces.clone_from(&parent.interfaces);
    ty.artifacts.clone_from(&parent.artifacts);
    ty.primitive = parent.primitive;
    ty.constraints.clone_from(&parent.constraints);
    ty.open = parent.open;
}

/// The entries of a section of names. A name that is there twice is a problem, and the later one counts.
pub(crate) fn entries<'a>(node: &'a Node, section: &str, path: &Path<'_>, problems: &mut Problems) -> Vec<(&'a str, &'a Node)> {
    let Some(Data::List(_)) = node.get(section).map(|node| &node.data) else {
        // The keys of a map are different ones.
        return listed(node, section, path, problems);
    };
    let mut found = IndexMap::new();
    for (name, node) in listed(node, section, path, problems) {
        if found.insert(name, node).is_some() {
            problems.push(Code::DuplicateKey, node.at, path, format_args!("the key '{}' is there twice", short(name)));
        }
    }
    found.into_iter().collect()
}

/// The entries of a section that is a list of maps with one key each, such as requirements, or a map: both forms are common for all of
/// them. In a list, names may be there more than once.
pub(crate) fn listed<'a>(node: &'a Node, section: &str, path: &Path<'_>, problems: &mut Problems) -> Vec<(&'a str, &'a Node)> {
    let Some(node) = node.get(section) else { return Vec::new() };
    match &node.data {
        Data::Map(map) => map.iter().map(|entry| (entry.key.as_str(), &entry.value)).collect(),
        Data::List(list) => {
            let mut found = Vec::with_capacity(list.len());
            for node in list {
                match node.single() {
                    Some(entry) => found.push((entry.key.as_str(), &entry.value)),
                    None => {
                        let message = format_args!("{section} are maps with one key each; here is {}", node.kind());
                        problems.push(Code::SyntaxError, node.at, path, message);
                    }
                }
            }
            found
        }
        Data::Scalar { .. } => {
            if !node.is_null() {
                let message = format_args!("{section} is a map, or a list of maps with one key each, not {}", node.kind());
                problems.push(Code::SyntaxError, node.at, path, message);
            }
            Vec::new()
        }
    }
}
