//! What a deployment consists of: its resources, the orders for their machines, and what is known of them.

use super::blueprint::{Blueprint, NodePlan};
use super::build::{self, Wanted};
use super::{Resource, ResourceState, software};
use crate::model::{BlockDevice, Node, NodeSpec};
use serde_json::{Value, json};
use std::collections::HashMap;

/// The resources of a new deployment, each after those that it requires.
pub(super) fn resources(deployment: &str, blueprint: &Blueprint) -> Vec<Resource> {
    let mut resources: Vec<Resource> = Vec::new();
    let mut of_node: HashMap<usize, Vec<usize>> = HashMap::new();
    for node in &blueprint.order {
        let plan = &blueprint.nodes[*node];
        for _ in 0..plan.count {
            of_node.entry(*node).or_default().push(resources.len());
            resources.push(resource(deployment, u32::try_from(resources.len()).unwrap_or(u32::MAX), plan));
        }
    }
    for (node, plan) in blueprint.nodes.iter().enumerate() {
        for target in &plan.requires {
            for source in of_node.get(&node).cloned().unwrap_or_default() {
                for at in of_node.get(target).cloned().unwrap_or_default() {
                    let id = resources[source].id.clone();
                    if !resources[at].required_by.contains(&id) {
                        resources[at].required_by.push(id);
                    }
                }
            }
        }
    }
    resources
}

pub(super) fn resource(deployment: &str, position: u32, plan: &NodePlan) -> Resource {
    Resource {
        id: uuid::Uuid::now_v7().to_string(),
        deployment: deployment.to_owned(),
        position,
        node: plan.name.clone(),
        type_name: plan.type_name.clone(),
        ancestors: plan.ancestors.clone(),
        state: ResourceState::Initial,
        cloud: None,
        token: None,
        physical_id: None,
        attributes: json!({}),
        required_by: Vec::new(),
        created_at: 0,
        updated_at: 0,
    }
}

/// The orders for the machines of these resources, but for image and size.
pub(super) fn wanted(deployment: &str, blueprint: &Blueprint, resources: &[Resource]) -> Vec<Wanted> {
    let of = |resource: &Resource| {
        let plan = blueprint.nodes.iter().find(|plan| plan.name == resource.node)?;
        let machine = plan.machine.as_ref()?;
        let short: String = deployment.chars().rev().take(8).collect::<Vec<_>>().into_iter().rev().collect();
        let mut spec = NodeSpec::new(format!("{short}-{}-{}", plan.name, resource.position), "", "");
        spec.public_address = machine.public;
        spec.networks = machine.networks.clone();
        let disk = |(size_gb, device): &(u64, Option<String>)| BlockDevice {
            volume_id: None,
            size_gb: *size_gb,
            device: device.clone(),
        };
        spec.block_devices = machine.disks.iter().map(disk).collect();
        spec.metadata =
            vec![("ostler_deployment".into(), deployment.to_owned()), ("ostler_resource".into(), resource.id.clone())];
        // Made now, so that a machine that is ordered twice is told the same.
        let report = (!plan.software.is_empty()).then(software::secret);
        Some(Wanted { resource: resource.id.clone(), node: plan.name.clone(), spec, level: plan.level, report })
    };
    resources.iter().filter_map(of).collect()
}

/// What is known of a machine, for its resource.
pub(super) fn machine_facts(node: &Node) -> Value {
    let (public, private) = build::addresses(node);
    json!({ "id": node.id, "name": node.name, "public_address": public, "private_address": private })
}

/// The attributes of nodes, by their resources.
pub(super) struct RunningAttributes<'r>(pub(super) &'r [Resource]);

impl ostler_tosca::Attributes for RunningAttributes<'_> {
    fn get(&self, node: &str, _capability: Option<&str>, name: &str) -> Option<Value> {
        let values: Vec<Value> = self
            .0
            .iter()
            .filter(|resource| resource.node == node)
            .filter_map(|resource| match name {
                "tosca_id" => Some(Value::String(resource.id.clone())),
                "tosca_name" => Some(Value::String(resource.node.clone())),
                "state" => Some(Value::String(resource.state.as_str().to_ascii_lowercase())),
                _ => resource.attributes.get(name).cloned(),
            })
            .collect();
        match values.len() {
            0 => None,
            1 => values.into_iter().next(),
            // The addresses of all of them, in one list.
            _ => Some(Value::Array(
                values
                    .into_iter()
                    .flat_map(|value| match value {
                        Value::Array(list) => list,
                        other => vec![other],
                    })
                    .collect(),
            )),
        }
    }
}
