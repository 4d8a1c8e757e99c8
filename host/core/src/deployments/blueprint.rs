//! What a topology asks for, in the words of clouds: machines with processors, memory, disks and an image, and how often.

use super::software;
use ostler_tosca::{Failure, Topology, bytes};
use serde_json::Value;

const GIGABYTE: u64 = 1_000_000_000;
const MEBIBYTE: u64 = 1 << 20;

/// Kinds of nodes that need a provider of another kind than a cloud of machines.
const FOREIGN: [&str; 4] = [
    "tosca.nodes.indigo.Container.Application.Docker.Chronos",
    "tosca.nodes.indigo.Container.Application.Docker.Marathon",
    "tosca.nodes.indigo.Qcg.Job",
    "tosca.nodes.indigo.Kubernetes.HelmChart",
];

/// All that a topology asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Blueprint {
    /// By the index of the template's nodes.
    pub(crate) nodes: Vec<NodePlan>,
    /// The nodes' indices in an order in which each comes after those it requires.
    pub(crate) order: Vec<usize>,
    /// The agreements to which the placement is bound, where it is.
    pub(crate) agreements: Vec<String>,
    /// Nodes that no cloud of machines can be asked for, each with its type.
    pub(crate) foreign: Vec<(String, String)>,
}

/// One node of the topology.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NodePlan {
    pub(crate) name: String,
    pub(crate) type_name: String,
    /// Its type and those it derives from.
    pub(crate) ancestors: Vec<String>,
    pub(crate) count: u32,
    /// Identifiers of resources that are to go.
    pub(crate) removal: Vec<String>,
    /// The indices of the nodes that it requires.
    pub(crate) requires: Vec<usize>,
    /// What to order, if it is a machine.
    pub(crate) machine: Option<Machine>,
    /// Of a machine: the nodes whose operations are carried out on it, in their order.
    pub(crate) software: Vec<usize>,
    /// Of a machine: how many others, one after the other, have to be set up before its operations know all of their inputs.
    pub(crate) level: u32,
}

/// A machine as a template asks for it. What is not said is left to the cloud.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Machine {
    pub(crate) cpus: Option<u32>,
    pub(crate) ram_mib: Option<u64>,
    pub(crate) disk_gb: Option<u64>,
    /// A size by name, in the place of the figures.
    pub(crate) size: Option<String>,
    pub(crate) image: ImageWish,
    pub(crate) public: bool,
    /// Networks by name.
    pub(crate) networks: Vec<String>,
    /// Further disks: gigabytes, and where the machine should see each.
    pub(crate) disks: Vec<(u64, Option<String>)>,
}

/// An image as a template asks for it: by name, or by what it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ImageWish {
    pub(crate) name: Option<String>,
    /// Properties, by name, that it must have.
    pub(crate) facts: Vec<(String, String)>,
}

/// Properties of an operating system that are compared with those of images.
const IMAGE_FACTS: [&str; 4] = ["type", "architecture", "distribution", "version"];

impl Blueprint {
    /// What a topology asks for. An error names a value that cannot be used.
    pub(crate) fn of(topology: &Topology) -> Result<Self, String> {
        let template = topology.template();
        let mut blueprint = Self { order: template.order.clone(), ..Self::default() };
        for (index, node) in template.nodes.iter().enumerate() {
            if let Some(kind) = FOREIGN.into_iter().find(|kind| node.is(kind)) {
                blueprint.foreign.push((node.name.clone(), kind.to_owned()));
            }
            blueprint.nodes.push(NodePlan {
                name: node.name.clone(),
                type_name: node.type_name.clone(),
                ancestors: node.ancestors().map(str::to_owned).collect(),
                count: topology.count(index),
                removal: topology.removal_list(index),
                requires: node.requirements.iter().map(|requirement| requirement.target).collect(),
                machine: node.is("tosca.nodes.Compute").then(|| machine(topology, index)).transpose()?,
                software: Vec::new(),
                level: 0,
            });
        }
        software::plan(topology, &mut blueprint)?;
        for (index, policy) in template.policies.iter().enumerate() {
            if !policy.is("tosca.policies.indigo.SlaPlacement") && !policy.is("tosca.policies.Placement") {
                continue;
            }
            let properties = topology.policy(index).map_err(|failure| failure.to_string())?;
            if let Some(id) = properties.get("sla_id").and_then(text) {
                blueprint.agreements.push(id);
            }
        }
        blueprint.agreements.dedup();
        if blueprint.agreements.len() > 1 {
            return Err("Only a single placement policy is supported".into());
        }
        Ok(blueprint)
    }
}

fn machine(topology: &Topology, node: usize) -> Result<Machine, String> {
    let template = topology.template();
    let name = &template.nodes[node].name;
    let capability = |capability: &str, property: &str| match topology.capability(node, capability, property, None) {
        Ok(value) => Ok(value.filter(|value| !value.is_null())),
        // What is known only when machines run cannot decide about the machine.
        Err(Failure::Unknown) => Ok(None),
        Err(Failure::Failed(message)) => Err(message),
    };
    let size = |property: &str| -> Result<Option<u64>, String> {
        let Some(value) = capability("host", property)? else { return Ok(None) };
        bytes(&value).map(Some).ok_or_else(|| format!("`{property}` of node `{name}` is no size"))
    };
    let mut machine = Machine {
        cpus: capability("host", "num_cpus")?.and_then(|value| number(&value)).map(|n| u32::try_from(n).unwrap_or(u32::MAX)),
        ram_mib: size("mem_size")?.map(|bytes| bytes.div_ceil(MEBIBYTE)),
        disk_gb: size("disk_size")?.map(|bytes| bytes.div_ceil(GIGABYTE)),
        size: capability("host", "instance_type")?.as_ref().and_then(text),
        ..Machine::default()
    };
    machine.image.name = capability("os", "image")?.as_ref().and_then(text);
    for fact in IMAGE_FACTS {
        if let Some(value) = capability("os", fact)?.as_ref().and_then(text) {
            machine.image.facts.push((fact.to_owned(), value));
        }
    }
    let network = capability("endpoint", "network_name")?.as_ref().and_then(text);
    match network.as_deref() {
        Some(name) if name.eq_ignore_ascii_case("public") || name.to_ascii_uppercase().ends_with(".PUBLIC") => {
            machine.public = true;
        }
        Some(name) if name.eq_ignore_ascii_case("private") => {}
        Some(name) => machine.networks.push(name.to_owned()),
        None => {}
    }
    for (position, requirement) in template.nodes[node].requirements.iter().enumerate() {
        let target = &template.nodes[requirement.target];
        if target.is("tosca.nodes.BlockStorage") {
            let size = topology.property(requirement.target, "size", None).ok().flatten();
            let size = size.as_ref().and_then(bytes).map(|bytes| bytes.div_ceil(GIGABYTE).max(1));
            let place = topology.relationship(node, position, None).ok();
            let device = place.as_ref().and_then(|place| place.get("device")).and_then(text);
            machine.disks.push((size.ok_or_else(|| format!("node `{}` has no size", target.name))?, device));
        }
    }
    for port in template.nodes.iter().filter(|port| port.is("tosca.nodes.network.Port")) {
        let ends = |name: &'static str| port.requirements.iter().filter(move |r| r.name == name).map(|r| r.target);
        if !ends("binding").any(|target| target == node) {
            continue;
        }
        for network in ends("link") {
            let property = |name: &str| topology.property(network, name, None).ok().flatten().as_ref().and_then(text);
            if property("network_type")
                .or_else(|| property("network_name"))
                .is_some_and(|kind| kind.eq_ignore_ascii_case("public"))
            {
                machine.public = true;
            } else if let Some(name) = property("network_name").filter(|name| !name.eq_ignore_ascii_case("private")) {
                machine.networks.push(name);
            }
        }
    }
    machine.networks.dedup();
    Ok(machine)
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
}
