//! A template with its inputs: every value can be computed.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::error::{Error, InputProblem, Path};
use crate::evaluation::{Evaluation, Here};
use crate::expr::Expr;
use crate::schema::Raw;
use crate::template::Template;
use crate::value::text;
use crate::work::{Exhausted, Work};

/// What is known of nodes that run.
pub trait Attributes {
    /// The attribute `name` of the node called `node` (its plain name), or of one of its capabilities. `None`: not known yet.
    ///
    /// For a node of which there are several, a list.
    fn get(&self, node: &str, capability: Option<&str>, name: &str) -> Option<Value>;
}

/// Why there is no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It depends on what is known once the nodes run.
    #[error("the value is known when the nodes run")]
    Unknown,
    /// In the words of the original.
    #[error("{0}")]
    Failed(String),
}

impl From<Exhausted> for Failure {
    fn from(_: Exhausted) -> Self {
        Self::Failed(format!(": {}", Exhausted::MESSAGE))
    }
}

/// A template and values for its inputs.
#[derive(Debug, Clone)]
pub struct Topology {
    template: Arc<Template>,
    inputs: Map<String, Value>,
}

/// An operation of a node, as it is to be carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// Such as `configure`.
    pub name: String,
    /// The script or play: a path or an address.
    pub implementation: String,
    /// By name.
    pub inputs: Map<String, Value>,
}

impl Topology {
    /// Checks what is given for the inputs, and all values that follow from it. What the template does not ask for is ignored.
    ///
    /// # Errors
    /// [`Error::Inputs`] with all that is wrong.
    pub fn bind(template: Arc<Template>, given: &Map<String, Value>) -> Result<Self, Error> {
        let mut problems = Vec::new();
        let mut inputs = Map::new();
        let work = Work::new(template.limits.work);
        for (name, input) in &template.inputs {
            if problems.len() == template.limits.problems {
                break;
            }
            let value = match (given.get(name).filter(|value| !value.is_null()), &input.default) {
                (Some(value), _) => input.schema.value(value.clone(), &template.types, &work),
                (None, Some(default)) if default.is_literal() => input.schema.literal(default, &template.types, &work),
                (None, Some(_)) => Err("its default is not a literal".into()),
                (None, None) if input.required => {
                    problems.push(InputProblem::Missing(name.clone()));
                    continue;
                }
                (None, None) => continue,
            };
            match value {
                Ok(value) => {
                    inputs.insert(name.clone(), value);
                }
                Err(message) => problems.push(InputProblem::Invalid { name: name.clone(), message }),
            }
        }
        if !problems.is_empty() {
            return Err(Error::Inputs(problems));
        }
        let topology = Self { template, inputs };
        let problems = topology.check();
        if problems.is_empty() { Ok(topology) } else { Err(Error::Inputs(problems)) }
    }

    /// The template.
    pub fn template(&self) -> &Arc<Template> {
        &self.template
    }

    pub(crate) fn input(&self, name: &str) -> Option<&Value> {
        self.inputs.get(name)
    }

    /// Computes everything once, as far as that can be done before anything runs: what is wrong is known at once, and what it costs
    /// in all is no more than one template may cost.
    fn check(&self) -> Vec<InputProblem> {
        let template = &*self.template;
        let evaluation = Evaluation::new(self, None);
        let mut check = Check { evaluation: &evaluation, problems: Vec::new(), limit: template.limits.problems };
        let section = Path::Section("node_templates");
        for (index, node) in template.nodes.iter().enumerate() {
            let path = section.key(&node.written);
            let properties = path.key("properties");
            for name in node.properties.keys() {
                check.note(properties.key(name), || evaluation.property(index, name));
            }
            let capabilities = path.key("capabilities");
            for (capability, given) in &node.capabilities {
                let path = capabilities.key(capability);
                let path = path.key("properties");
                for name in given.properties.keys() {
                    check.note(path.key(name), || evaluation.capability(index, capability, name));
                }
            }
            let requirements = path.key("requirements");
            for requirement in &node.requirements {
                let path = requirements.key(&requirement.name);
                let path = path.key("relationship");
                let here = Here::relationship(index, requirement.target);
                for (name, expr) in &requirement.properties {
                    check.note(path.key(name), || evaluation.typed(expr, requirement.schema(name), here));
                }
            }
            let here = Here::node(index);
            let artifacts = path.key("artifacts");
            for (name, artifact) in &node.artifacts {
                artifact.file.iter().for_each(|expr| check.later(artifacts.key(name), expr, here));
            }
            let interfaces = path.key("interfaces");
            for (interface, operations) in &node.interfaces {
                let path = interfaces.key(interface);
                for (operation, it) in operations {
                    let path = path.key(operation);
                    let path = path.key("inputs");
                    it.inputs.iter().for_each(|(name, expr)| check.later(path.key(name), expr, here));
                }
            }
        }
        let section = Path::Section("policies");
        for policy in &template.policies {
            let path = section.key(&policy.name);
            let path = path.key("properties");
            for (name, expr) in &policy.properties {
                check.note(path.key(name), || evaluation.typed(expr, policy.schema(name), Here::NOWHERE));
            }
        }
        let section = Path::Section("outputs");
        for (name, expr) in &template.outputs {
            // One that cannot be computed says so as its value.
            check.cost(section.key(name).key("value"), expr, Here::NOWHERE);
        }
        check.problems
    }

    /// A property of the node with index `node`. `None`: it is not set.
    ///
    /// # Errors
    /// [`Failure`], [`Failure::Unknown`] only without `attributes`.
    pub fn property(&self, node: usize, name: &str, attributes: Option<&dyn Attributes>) -> Result<Option<Value>, Failure> {
        Evaluation::new(self, attributes).property(node, name)
    }

    /// A property of a capability of a node.
    ///
    /// # Errors
    /// As [`Topology::property`].
    pub fn capability(
        &self,
        node: usize,
        capability: &str,
        name: &str,
        attributes: Option<&dyn Attributes>,
    ) -> Result<Option<Value>, Failure> {
        Evaluation::new(self, attributes).capability(node, capability, name)
    }

    /// All properties of a policy.
    ///
    /// # Errors
    /// As [`Topology::property`].
    pub fn policy(&self, policy: usize) -> Result<Map<String, Value>, Failure> {
        let policy = &self.template.policies[policy];
        Evaluation::new(self, None).map(&policy.properties, |name| policy.schema(name), Here::NOWHERE)
    }

    /// All properties of the relationship that a requirement of a node makes, such as where a disk is attached.
    ///
    /// # Errors
    /// As [`Topology::property`].
    pub fn relationship(
        &self,
        node: usize,
        requirement: usize,
        attributes: Option<&dyn Attributes>,
    ) -> Result<Map<String, Value>, Failure> {
        let requirement = &self.template.nodes[node].requirements[requirement];
        let here = Here::relationship(node, requirement.target);
        Evaluation::new(self, attributes).map(&requirement.properties, |name| requirement.schema(name), here)
    }

    /// How many there are to be of a node: `count` of its capability `scalable`, or one.
    pub fn count(&self, node: usize) -> u32 {
        let count = self.capability(node, "scalable", "count", None).ok().flatten();
        let count = count.and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()));
        count.map_or(1, |count| u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// The resources that are to go: `removal_list` of the capability `scalable`.
    pub fn removal_list(&self, node: usize) -> Vec<String> {
        let list = self.capability(node, "scalable", "removal_list", None).ok().flatten();
        let list = list.as_ref().and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(text).collect()
    }

    /// The operations of an interface that have an implementation, in their order.
    ///
    /// # Errors
    /// As [`Topology::property`].
    pub fn operations(
        &self,
        node: usize,
        interface: &str,
        attributes: Option<&dyn Attributes>,
    ) -> Result<Vec<Operation>, Failure> {
        let Some(operations) = self.template.nodes[node].interfaces.get(interface) else { return Ok(Vec::new()) };
        let evaluation = Evaluation::new(self, attributes);
        let mut found = Vec::new();
        for (name, operation) in operations {
            if let Some(implementation) = operation.implementation.clone().filter(|text| !text.is_empty()) {
                let inputs = evaluation.map(&operation.inputs, |_| None, Here::node(node))?;
                found.push(Operation { name: name.clone(), implementation, inputs });
            }
        }
        Ok(found)
    }

    /// The file of an artifact of a node.
    ///
    /// # Errors
    /// As [`Topology::property`].
    pub fn artifact(&self, node: usize, name: &str) -> Result<Option<String>, Failure> {
        Evaluation::new(self, None).artifact(node, name)
    }

    /// The outputs. One that cannot be computed has the reason as its value, as clients of the original expect.
    pub fn outputs(&self, attributes: &dyn Attributes) -> Map<String, Value> {
        let mut outputs = Map::new();
        let evaluation = Evaluation::new(self, Some(attributes));
        for (name, expr) in &self.template.outputs {
            let value = match evaluation.eval(expr, Here::NOWHERE).map(|raw| raw.map(Raw::untyped)) {
                Ok(Some(value)) => value,
                Ok(None) => Value::Null,
                Err(failure) => Value::String(format!("Failed to evaluate outputs[{name}][value]{failure}")),
            };
            outputs.insert(name.clone(), value);
        }
        outputs
    }
}

/// What is found when everything is computed.
struct Check<'a> {
    evaluation: &'a Evaluation<'a>,
    problems: Vec<InputProblem>,
    limit: usize,
}

impl Check<'_> {
    /// A value that fails is a problem. Nothing is computed once there is too much of anything.
    fn note<T>(&mut self, path: Path<'_>, compute: impl FnOnce() -> Result<T, Failure>) {
        if self.problems.len() < self.limit
            && !self.evaluation.is_exhausted()
            && let Err(Failure::Failed(message)) = compute()
        {
            self.problems.push(InputProblem::Value { path: path.to_string(), message });
        }
    }

    /// A value that is needed when the node runs: what follows from inputs alone is checked now, and more can be said of the rest
    /// then.
    fn later(&mut self, path: Path<'_>, expr: &Expr, here: Here) {
        if expr.follows_from_inputs() {
            let evaluation = self.evaluation;
            self.note(path, || evaluation.eval(expr, here));
        } else {
            self.cost(path, expr, here);
        }
    }

    /// A value that may fail, but not cost too much.
    fn cost(&mut self, path: Path<'_>, expr: &Expr, here: Here) {
        let evaluation = self.evaluation;
        self.note(path, || match evaluation.eval(expr, here) {
            Err(failure) if evaluation.is_exhausted() => Err(failure),
            _ => Ok(()),
        });
    }
}
