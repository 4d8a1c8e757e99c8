//! Who uses which node, for which application: kept here, or by a remote Cistern.

use super::Compute;
use crate::Error;
use crate::identity::{Permission, Principal};
use crate::model::{Node, NodeState};
use ostler_drivers::Cloud;
use ostler_store::{AssignError, FREE};
use serde_json::Value;
use std::sync::Arc;

/// Which node is meant: by identifier, by name, or by either.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// The provider's identifier.
    pub node: Option<String>,
    /// The node's name.
    pub hostname: Option<String>,
}

/// A node and who uses it.
#[derive(Clone, Debug)]
pub enum NodeAssignment {
    /// Kept here.
    Own(ostler_store::Assignment),
    /// A Cistern's own words.
    Remote(Value),
}

/// What an assignment or a release came to.
#[derive(Clone, Debug)]
pub struct Assigned {
    /// The number of the assignment.
    pub id: Value,
    /// The node.
    pub id_vm: Value,
    /// In words.
    pub result: String,
}

impl Target {
    fn is_empty(&self) -> bool {
        self.node.is_none() && self.hostname.is_none()
    }

    /// A name decides where both are given.
    fn matches(&self, node: &Node) -> bool {
        match (&self.hostname, &self.node) {
            (Some(name), _) => node.name == *name,
            (None, Some(id)) => node.id == *id,
            (None, None) => false,
        }
    }

    fn name(&self) -> String {
        self.hostname.clone().or_else(|| self.node.clone()).unwrap_or_default()
    }
}

impl Compute {
    /// The usable nodes of a cloud and who uses them.
    pub async fn assignments(&self, who: &Principal, cloud: &str) -> Result<Vec<NodeAssignment>, Error> {
        who.require(Permission::ReadCompute)?;
        if let Some(cistern) = &self.cistern {
            return Ok(cistern.nodes(cloud, false).await?.into_iter().map(NodeAssignment::Remote).collect());
        }
        let cloud = self.cloud(cloud)?;
        let nodes = cloud.list_nodes().await?;
        let mut known = Vec::with_capacity(nodes.len());
        for node in nodes.iter().filter(|node| !matches!(node.state, NodeState::Failed | NodeState::Terminated)) {
            known.push(NodeAssignment::Own(self.store.assignment_upsert_node(cloud.name(), &node.id, &node.name).await?));
        }
        Ok(known)
    }

    /// Gives a free node to a user.
    pub async fn assign(
        &self,
        who: &Principal,
        cloud: &str,
        target: &Target,
        user: &str,
        recipe: &str,
    ) -> Result<Assigned, Error> {
        who.require(Permission::ChangeCompute)?;
        if let Some(cistern) = &self.cistern {
            return cistern.assign(cloud, target, user, recipe).await;
        }
        let cloud = self.cloud(cloud)?;
        let node = self.target(&cloud, target).await?;
        self.store.assignment_upsert_node(cloud.name(), &node.id, &node.name).await?;
        match self.store.assignment_assign(cloud.name(), &node.id, user, Some(recipe), None).await {
            Ok(row) => {
                Ok(Assigned { id: row.id.into(), result: format!("Node {} assigned", row.id_vm), id_vm: row.id_vm.into() })
            }
            Err(AssignError::Taken(row)) => Err(Error::Assigned { node: row.id_vm }),
            Err(AssignError::NotFound) => Err(Error::NoNode(node.id)),
            Err(AssignError::Store(error)) => Err(error.into()),
        }
    }

    /// Takes a node back from its user and destroys it.
    pub async fn release(self: &Arc<Self>, who: &Principal, cloud: &str, target: &Target) -> Result<Assigned, Error> {
        who.require(Permission::ChangeCompute)?;
        if let Some(cistern) = &self.cistern {
            let cloud = self.cloud(cloud)?;
            let (assigned, id) = cistern.release(cloud.name(), target).await?;
            let nodes = cloud.list_nodes().await?;
            let Some(node) = nodes.iter().find(|node| node.id == id) else { return Err(Error::NotInCloud(id)) };
            self.destroy(who, cloud, node).await?;
            return Ok(assigned);
        }
        let cloud = self.cloud(cloud)?;
        let node = self.target(&cloud, target).await?;
        let row = self.store.assignment_upsert_node(cloud.name(), &node.id, &node.name).await?;
        // The node goes first, and its assignment with it in one durable operation: no state in between can be left behind.
        self.destroy(who, cloud, &node).await?;
        Ok(Assigned { id: row.id.into(), result: format!("Node {} released and deleted", row.id_vm), id_vm: row.id_vm.into() })
    }

    async fn target(&self, cloud: &Arc<Cloud>, target: &Target) -> Result<Node, Error> {
        if target.is_empty() {
            return Err(Error::NoNode(String::new()));
        }
        let nodes = cloud.list_nodes().await?;
        nodes.iter().find(|node| target.matches(node)).cloned().ok_or_else(|| Error::NoNode(target.name()))
    }
}

/// In a Cistern's words.
pub(super) fn status_words(status: i64) -> &'static str {
    if status == FREE { "FREE" } else { "ASSIGNED" }
}

impl NodeAssignment {
    /// As a Cistern writes it: id, id_vm, hostname, user, recipe, recipe_id, status, status_desc, cloud.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Remote(value) => value.clone(),
            Self::Own(row) => serde_json::json!({
                "id": row.id,
                "id_vm": row.id_vm,
                "hostname": row.hostname,
                "user": row.user,
                "recipe": row.recipe,
                "recipe_id": row.recipe_id,
                "status": row.status,
                "status_desc": status_words(row.status),
                "cloud": row.cloud,
            }),
        }
    }
}
