//! A template: what its text says, checked against the types.

mod names;
mod references;
mod requirements;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use indexmap::IndexMap;

use self::names::Names;
use crate::catalogue::Catalogue;
use crate::error::{Code, Error, Mark, Mode, Path, Problem, Problems};
use crate::expr::Expr;
use crate::interfaces::{Artifact, Interfaces, artifact, interfaces, merge_interfaces};
use crate::schema::Schema;
use crate::types::{Kind, Property, Type, Types, entries, listed};
use crate::value::short;
use crate::yaml::{Data, Limits, Node, read};

/// A template that was found good.
#[derive(Debug)]
pub struct Template {
    /// What it says of itself; empty if nothing.
    pub description: String,
    /// In the order of the text.
    pub nodes: Vec<NodeTemplate>,
    /// Indices of `nodes`: what others require comes before them.
    pub order: Vec<usize>,
    /// In the order of the text.
    pub policies: Vec<Policy>,
    /// In the order of the text.
    pub groups: Vec<Group>,
    /// What is odd about it, and was accepted.
    pub warnings: Vec<Problem>,
    pub(crate) inputs: IndexMap<String, Property>,
    pub(crate) outputs: IndexMap<String, Expr>,
    pub(crate) types: Types,
    /// Nodes by their names as written.
    by_written: HashMap<String, usize>,
    /// Nodes by their plain names.
    by_name: HashMap<String, usize>,
    /// Those that it was read with; for what is computed, too.
    pub(crate) limits: Limits,
}

/// A node of a template.
#[derive(Debug)]
pub struct NodeTemplate {
    /// Letters, digits and underscores of ASCII only, and unique.
    pub name: String,
    /// As the template has it.
    pub written: String,
    /// The full name of its type.
    pub type_name: String,
    /// One for each relation to another node.
    pub requirements: Vec<Requirement>,
    pub(crate) ty: Arc<Type>,
    at: Mark,
    /// What looking through its capabilities costs, as work.
    search: usize,
    /// Those that are given, and defaults.
    pub(crate) properties: IndexMap<String, Expr>,
    pub(crate) capabilities: IndexMap<String, Capability>,
    pub(crate) artifacts: IndexMap<String, Artifact>,
    pub(crate) interfaces: Interfaces,
}

#[derive(Debug)]
pub(crate) struct Capability {
    pub ty: Arc<Type>,
    pub properties: IndexMap<String, Expr>,
}

/// That a node needs another.
#[derive(Debug)]
pub struct Requirement {
    /// As the type has it, such as `host`.
    pub name: String,
    /// An index of [`Template::nodes`].
    pub target: usize,
    /// The name of the target's capability, where one fits.
    pub capability: Option<String>,
    /// The full name of the relationship's type.
    pub relationship: Option<String>,
    pub(crate) hosted: bool,
    pub(crate) ty: Option<Arc<Type>>,
    pub(crate) properties: IndexMap<String, Expr>,
}

/// A policy with what it applies to.
#[derive(Debug)]
pub struct Policy {
    /// As written.
    pub name: String,
    /// The full name of its type.
    pub type_name: String,
    /// Names of nodes, as written, or of groups.
    pub targets: Vec<String>,
    at: Mark,
    pub(crate) ty: Arc<Type>,
    pub(crate) properties: IndexMap<String, Expr>,
}

/// Nodes under one name.
#[derive(Debug)]
pub struct Group {
    /// As written.
    pub name: String,
    /// The full name of its type; empty if it has none.
    pub type_name: String,
    /// Indices of [`Template::nodes`].
    pub members: Vec<usize>,
}

impl NodeTemplate {
    /// Whether its type is `name`, a full name, or derives from it.
    pub fn is(&self, name: &str) -> bool {
        self.ty.is(name)
    }

    /// The full names of its type and of those that it derives from, the nearest first.
    pub fn ancestors(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.type_name.as_str())
            .chain(self.ty.ancestors.iter().map(String::as_str).filter(|name| *name != self.type_name))
    }

    /// Its properties that are set, here or by default; [`crate::Topology::property`] has their values.
    pub fn properties(&self) -> impl Iterator<Item = &str> {
        self.properties.keys().map(String::as_str)
    }

    /// Its capabilities.
    pub fn capabilities(&self) -> impl Iterator<Item = &str> {
        self.capabilities.keys().map(String::as_str)
    }

    /// The properties of a capability that are set, here or by default; [`crate::Topology::capability`] has their values.
    pub fn capability_properties(&self, capability: &str) -> impl Iterator<Item = &str> {
        self.capabilities.get(capability).into_iter().flat_map(|it| it.properties.keys()).map(String::as_str)
    }
}

impl Requirement {
    /// What a property of the relationship has to be.
    pub(crate) fn schema(&self, property: &str) -> Option<&Schema> {
        self.ty.as_ref()?.properties.get(property).map(|property| &property.schema)
    }
}

impl Policy {
    /// Whether its type is `name`, a full name, or derives from it.
    pub fn is(&self, name: &str) -> bool {
        self.ty.is(name)
    }

    /// What a property has to be.
    pub(crate) fn schema(&self, property: &str) -> Option<&Schema> {
        self.ty.properties.get(property).map(|property| &property.schema)
    }
}

/// Keys of a template.
const SECTIONS: [&str; 20] = [
    "tosca_definitions_version",
    "tosca_default_namespace",
    "namespace",
    "metadata",
    "template_name",
    "template_author",
    "template_version",
    "description",
    "dsl_definitions",
    "repositories",
    "imports",
    "topology_template",
    "data_types",
    "artifact_types",
    "interface_types",
    "capability_types",
    "relationship_types",
    "node_types",
    "group_types",
    "policy_types",
];
/// Keys of its topology.
const TOPOLOGY: [&str; 9] = [
    "description",
    "inputs",
    "node_templates",
    "relationship_templates",
    "groups",
    "policies",
    "outputs",
    "substitution_mappings",
    "workflows",
];

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// [`Error::Template`] with all that is wrong, or [`Error::Cycle`] for nodes that require each other.
    pub fn parse(text: &str, catalogue: &Catalogue, mode: Mode, limits: &Limits) -> Result<Self, Error> {
        let mut problems = Problems::new(mode, limits);
        let file = match read(text, limits, &mut problems) {
            Ok(file) => file,
            Err(problem) => return Err(problems.fatal(problem)),
        };
        if file.map().is_none() {
            let message = format!("a template is a map of sections, not {}", file.kind());
            return Err(problems.fatal(Problem::new(Code::SyntaxError, message, "", file.at)));
        }
        version(&file, &mut problems);
        check_keys(&file, &SECTIONS, "a template", &Path::Section(""), &mut problems);
        let repositories: HashSet<&str> =
            entries(&file, "repositories", &Path::Section(""), &mut problems).iter().map(|(name, _)| *name).collect();
        catalogue.check_imports(&file, &repositories, &mut problems);
        let mut types = Types::over(catalogue.types());
        types.define(&file, &mut problems);

        let nothing = Node { at: file.at, data: Data::Map(Vec::new()) };
        let topology = file.get("topology_template").filter(|node| !node.is_null()).unwrap_or(&nothing);
        if topology.map().is_none() {
            let message = format!("topology_template is a map of sections, not {}", topology.kind());
            return Err(problems.fatal(Problem::new(Code::SyntaxError, message, "topology_template", topology.at)));
        }
        check_keys(topology, &TOPOLOGY, "a topology", &Path::Section("topology_template"), &mut problems);
        let nodes = entries(topology, "node_templates", &Path::Section("node_templates"), &mut problems);
        if nodes.is_empty() {
            problems.push(Code::EmptyTopology, topology.at, "", "there are no node templates");
        }
        if nodes.len() > limits.node_templates {
            let message = format!("too many node templates: at most {}", limits.node_templates);
            return Err(problems.fatal(Problem::new(Code::LimitExceeded, message, "node_templates", topology.at)));
        }
        let by_written = nodes.iter().enumerate().map(|(index, (name, _))| ((*name).to_owned(), index)).collect();
        let mut template = Self {
            description: file.get("description").and_then(Node::text).unwrap_or_default().trim().to_owned(),
            nodes: Vec::new(),
            order: Vec::new(),
            policies: Vec::new(),
            groups: Vec::new(),
            warnings: Vec::new(),
            inputs: IndexMap::new(),
            outputs: IndexMap::new(),
            types,
            by_written,
            by_name: HashMap::new(),
            limits: *limits,
        };
        let section = Path::Section("inputs");
        for (name, node) in entries(topology, "inputs", &section, &mut problems) {
            let input = template.types.property(node, None, &section.key(name), &mut problems);
            template.inputs.insert(name.into(), input);
        }
        let mut names = Names::new(nodes.iter().map(|(name, _)| *name));
        for (name, node) in &nodes {
            template.node(name, node, &repositories, &mut names, &mut problems);
            problems.check_work()?;
        }
        for (index, (name, node)) in nodes.iter().enumerate() {
            template.requirements(index, name, node, topology, &mut problems);
        }
        let section = Path::Section("outputs");
        let mut outputs = Vec::new();
        for (name, node) in entries(topology, "outputs", &section, &mut problems) {
            // `value` is the rule; a bare value is common in older templates.
            let value = node.get("value").unwrap_or(node);
            template.outputs.insert(name.into(), Expr::read(value, &section.key(name).key("value"), &mut problems));
            outputs.push(node.at);
        }
        template.groups(topology, &mut problems);
        template.policies(topology, &mut problems);
        template.check_references(&outputs, &mut problems);
        template.warnings = problems.finish()?;
        template.order = template.sorted()?;
        Ok(template)
    }

    fn node(&mut self, written: &str, node: &Node, repositories: &HashSet<&str>, names: &mut Names, problems: &mut Problems) {
        let section = Path::Section("node_templates");
        let path = section.key(written);
        let name = names.plain(written);
        if name != written {
            problems.push(Code::InvalidName, node.at, path, format_args!("the node is called '{}' in answers", short(&name)));
        }
        let ty = match node.get("type") {
            Some(ty) => self.types.of(Kind::Node, ty, &path, problems),
            None => {
                problems.push(Code::SyntaxError, node.at, path, "a node template has a type");
                None
            }
        };
        let ty = ty.unwrap_or_else(|| Arc::new(Type::unknown("")));
        const KEYS: [&str; 14] = [
            "type",
            "description",
            "metadata",
            "directives",
            "properties",
            "attributes",
            "requirements",
            "capabilities",
            "interfaces",
            "artifacts",
            "node_filter",
            "copy",
            "name",
            "dependencies",
        ];
        check_keys(node, &KEYS, "a node template", &path, problems);
        let properties = self.properties(node, &ty, &ty.properties, &IndexMap::new(), &path, problems);
        let mut capabilities = IndexMap::new();
        let section = path.key("capabilities");
        let given: IndexMap<&str, &Node> = entries(node, "capabilities", &path, problems).into_iter().collect();
        for (name, node) in &given {
            if !ty.capabilities.contains_key(*name) {
                if !ty.open {
                    let message = format_args!("capability {} does not exist in type {}", short(name), ty.name);
                    problems.push(Code::UnknownCapability, node.at, path, message);
                }
                // What is given stays: `scalable` counts wherever it is.
                let open = Arc::new(Type::unknown(""));
                let path = section.key(name);
                let properties = self.properties(node, &open, &open.properties, &IndexMap::new(), &path, problems);
                capabilities.insert((*name).to_owned(), Capability { ty: open, properties });
            }
        }
        let nothing = Node { at: node.at, data: Data::Map(Vec::new()) };
        for (name, definition) in &ty.capabilities {
            let Some(ty) = self.types.get(Kind::Capability, &definition.type_name).cloned() else { continue };
            let node = given.get(name.as_str()).copied().unwrap_or(&nothing);
            let path = section.key(name);
            let properties = self.properties(node, &ty, &ty.properties, &definition.properties, &path, problems);
            capabilities.insert(name.clone(), Capability { ty, properties });
        }
        let search = capabilities.values().map(|capability: &Capability| 1 + capability.ty.ancestors.len()).sum();
        let mut artifacts = ty.artifacts.clone();
        let section = path.key("artifacts");
        for (name, node) in entries(node, "artifacts", &path, problems) {
            let path = section.key(name);
            if let Some(ty) = node.get("type") {
                self.types.of(Kind::Artifact, ty, &path, problems);
            }
            let mut artifact = artifact(node, &path, problems);
            let repository = node.get("repository").and_then(Node::text);
            // Of the container registry everybody has nobody writes a definition.
            if let Some(repository) = repository.filter(|name| !repositories.contains(name) && *name != "docker_hub") {
                let message = format_args!("no repository is called '{}'", short(repository));
                problems.push(Code::UnknownRepository, node.at, path, message);
            }
            if let Some(inherited) = ty.artifacts.get(name) {
                artifact.file = artifact.file.or_else(|| inherited.file.clone());
            }
            if artifact.file.is_none() {
                problems.push(Code::UnresolvedArtifact, node.at, path, "the artifact has no file");
            }
            artifacts.insert(name.into(), artifact);
        }
        let mut all = ty.interfaces.clone();
        merge_interfaces(&mut all, &interfaces(node, &path, problems));
        self.by_name.insert(name.clone(), self.nodes.len());
        self.nodes.push(NodeTemplate {
            name,
            written: written.into(),
            type_name: ty.name.clone(),
            requirements: Vec::new(),
            ty,
            at: node.at,
            search,
            properties,
            capabilities,
            artifacts,
            interfaces: all,
        });
    }

    /// Given properties, checked, with the defaults of `definitions` and what the type of the node `sets` on top of those.
    fn properties(
        &self,
        node: &Node,
        ty: &Type,
        definitions: &IndexMap<String, Property>,
        sets: &IndexMap<String, Expr>,
        path: &Path<'_>,
        problems: &mut Problems,
    ) -> IndexMap<String, Expr> {
        let mut properties = IndexMap::new();
        if problems.work.take(ty.copied).is_err() {
            return properties;
        }
        for (name, definition) in definitions {
            if let Some(default) = sets.get(name).or(definition.default.as_ref()) {
                properties.insert(name.clone(), default.clone());
            }
        }
        let section = path.key("properties");
        for (name, node) in entries(node, "properties", path, problems) {
            let path = section.key(name);
            let expr = Expr::read(node, &path, problems);
            match definitions.get(name) {
                Some(definition) if expr.is_literal() && !expr.is_null() => {
                    if let Err(message) = definition.schema.literal(&expr, &self.types, &problems.work) {
                        problems.push(Code::ValidationError, node.at, path, message);
                    }
                }
                Some(_) => {}
                None if ty.open => {}
                None => {
                    let message = format_args!("Property {name} does not exist in type {}", ty.name);
                    problems.push(Code::UnrecognizedProperty, node.at, path, message);
                }
            }
            if expr.is_null() {
                properties.shift_remove(name);
            } else {
                properties.insert(name.into(), expr);
            }
        }
        for (name, definition) in definitions {
            if definition.required && !properties.contains_key(name) && !sets.contains_key(name) {
                problems.push(Code::MissingProperty, node.at, path, format_args!("property {name} is required"));
            }
        }
        properties
    }

    fn groups(&mut self, topology: &Node, problems: &mut Problems) {
        let section = Path::Section("groups");
        for (name, node) in listed(topology, "groups", &section, problems) {
            let path = section.key(name);
            let ty = node.get("type").and_then(|ty| self.types.of(Kind::Group, ty, &path, problems));
            let members = node.get("members").or_else(|| node.get("targets"));
            let mut found = Vec::new();
            for member in members.and_then(Node::list).unwrap_or_default() {
                match member.text().and_then(|name| self.by_written.get(name)) {
                    Some(index) => found.push(*index),
                    None => {
                        let message = format_args!("no node template is called '{}'", short(member.text().unwrap_or_default()));
                        problems.push(Code::GroupMemberNotFound, member.at, path, message);
                    }
                }
            }
            let type_name = ty.map(|ty| ty.name.clone()).unwrap_or_default();
            self.groups.push(Group { name: name.into(), type_name, members: found });
        }
    }

    fn policies(&mut self, topology: &Node, problems: &mut Problems) {
        let section = Path::Section("policies");
        let groups: HashSet<&str> = self.groups.iter().map(|group| group.name.as_str()).collect();
        for (name, node) in listed(topology, "policies", &section, problems) {
            let path = section.key(name);
            let Some(ty) = node.get("type").and_then(|ty| self.types.of(Kind::Policy, ty, &path, problems)) else {
                if node.get("type").is_none() {
                    problems.push(Code::SyntaxError, node.at, path, "a policy has a type");
                }
                continue;
            };
            let properties = self.properties(node, &ty, &ty.properties, &IndexMap::new(), &path, problems);
            let mut targets = Vec::new();
            for target in node.get("targets").and_then(Node::list).unwrap_or_default() {
                let target_name = target.text().unwrap_or_default();
                if self.by_written.contains_key(target_name) || groups.contains(target_name) {
                    targets.push(target_name.to_owned());
                } else {
                    let message = format_args!("no node template or group is called '{}'", short(target_name));
                    problems.push(Code::PolicyTargetNotFound, target.at, path, message);
                }
            }
            self.policies.push(Policy { name: name.into(), type_name: ty.name.clone(), targets, at: node.at, ty, properties });
        }
    }

    /// The index of the node with this name, as written or plain.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.by_written.get(name).or_else(|| self.by_name.get(name)).copied()
    }

    /// The indices of the nodes that require `node`.
    pub fn required_by(&self, node: usize) -> impl Iterator<Item = usize> {
        let requires = move |other: &NodeTemplate| other.requirements.iter().any(|requirement| requirement.target == node);
        self.nodes.iter().enumerate().filter(move |(_, other)| requires(other)).map(|(index, _)| index)
    }
}

/// Keys that mean nothing are remarked upon.
fn check_keys(node: &Node, known: &[&str], what: &str, path: &Path<'_>, problems: &mut Problems) {
    for entry in node.map().unwrap_or_default() {
        if !known.contains(&entry.key.as_str()) {
            problems.push(Code::UnknownKey, entry.at, path, format_args!("{what} has no '{}'; it is ignored", short(&entry.key)));
        }
    }
}

fn version(file: &Node, problems: &mut Problems) {
    const KEY: &str = "tosca_definitions_version";
    let Some(map) = file.map() else { return };
    let Some(position) = map.iter().position(|entry| entry.key == KEY) else {
        let message = format_args!("{KEY} is missing: tosca_simple_yaml_1_0");
        return problems.push(Code::MissingToscaVersion, file.at, "", message);
    };
    let value = &map[position].value;
    let text = value.text().unwrap_or_default();
    let known = ["tosca_simple_yaml_1_0", "tosca_simple_yaml_1_0_0", "http://docs.oasis-open.org/tosca/ns/simple/yaml/1.0"];
    if !known.contains(&text.trim_end_matches('/')) && !text.starts_with("alien_dsl_") {
        let message = format_args!("{KEY} is '{}'; this reads tosca_simple_yaml_1_0", short(text));
        problems.push(Code::UnknownToscaVersion, value.at, KEY, message);
    }
    if position > 0 {
        problems.push(Code::ToscaVersionNotFirst, map[position].at, KEY, format_args!("{KEY} should be the first key"));
    }
}
