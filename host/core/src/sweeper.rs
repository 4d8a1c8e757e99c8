//! Compares what providers have with what the store knows, now and then: what a failed operation has left behind is removed, what
//! has vanished is noted, and what is not ours is never touched.

use crate::Error;
use crate::compute::Compute;
use crate::identity::Principal;
use crate::model::{Node, NodeState};
use ostler_drivers::{Cloud, ErrorKind};
use ostler_store::{NewEvent, OperationState, Resource, Store};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Resources that are looked at, at a time.
const PAGE: u32 = 500;

/// What is done about nodes that nobody wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Orphans {
    /// They are destroyed.
    #[default]
    Remove,
    /// They are reported.
    Report,
}

/// What became of one round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Nodes that were looked at.
    pub nodes: usize,
    /// Nodes that failed operations had left behind, and that are gone now.
    pub removed: usize,
    /// Such nodes that are there still: they are reported only, were seen for the first time, or could not be removed.
    pub left: usize,
    /// Resources whose machines have vanished.
    pub lost: usize,
}

/// Whose a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Whose {
    /// Nobody's whom we know.
    Foreign,
    /// Somebody's who works on it, or has it: by this identifier, where that is on record.
    Ours(Option<String>),
    /// A failed operation's, or a forgotten one's.
    Orphan,
    /// An operation's that was given up as it is: an operator knows of it.
    Left,
}

/// Looks after what providers have.
pub struct Sweeper {
    compute: Arc<Compute>,
    store: Store,
    orphans: Orphans,
    every: Duration,
    /// What looked wrong in the round before. Nothing is done about it at first sight: lists lag behind, and records follow.
    suspects: Mutex<HashSet<(String, String)>>,
}

impl Sweeper {
    /// A look each so often.
    pub fn new(compute: Arc<Compute>, orphans: Orphans, every: Duration) -> Self {
        let store = compute.store().clone();
        Self { compute, store, orphans, every, suspects: Mutex::default() }
    }

    /// Looks now and then, until the task that runs it is dropped.
    pub async fn run(self: Arc<Self>) {
        // Not at the start: what is taken up then is not settled yet, and hosts that start together need not look together.
        let first = self.every.mul_f64(rand::random_range(0.5..1.0));
        let mut interval = tokio::time::interval_at(tokio::time::Instant::now() + first, self.every);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let swept = self.once().await;
            if swept.removed + swept.left + swept.lost > 0 {
                tracing::info!(
                    nodes = swept.nodes,
                    removed = swept.removed,
                    left = swept.left,
                    lost = swept.lost,
                    "providers swept"
                );
            }
        }
    }

    /// One round, over all clouds. A cloud that does not answer is passed over.
    pub async fn once(&self) -> Swept {
        let before = std::mem::take(&mut *self.suspects.lock());
        let mut swept = Swept::default();
        for name in self.compute.cloud_names() {
            let Ok(cloud) = self.compute.cloud(&name) else { continue };
            match self.sweep(&cloud, &before).await {
                Ok(one) => {
                    swept.nodes += one.nodes;
                    swept.removed += one.removed;
                    swept.left += one.left;
                    swept.lost += one.lost;
                }
                Err(error) => tracing::debug!(cloud = name, %error, "a provider cannot be swept"),
            }
        }
        swept
    }

    async fn sweep(&self, cloud: &Arc<Cloud>, before: &HashSet<(String, String)>) -> Result<Swept, Error> {
        // The records first: what is made after that cannot be missing from the list.
        let resources = self.resources(cloud.name()).await?;
        let nodes = cloud.list_nodes().await?;
        let mut swept = Swept { nodes: nodes.len(), ..Swept::default() };
        let mut tokens = HashSet::new();
        for node in nodes.iter().filter(|node| node.state != NodeState::Terminated) {
            let Some(token) = &node.token else { continue };
            tokens.insert(token.as_str());
            let unwanted = match self.whose(cloud.name(), token).await? {
                Whose::Foreign => false,
                // One order that took effect twice, late: the one on record stays.
                Whose::Ours(recorded) => recorded.is_some_and(|id| is_double(node, &id, &nodes)),
                Whose::Left => {
                    swept.left += 1;
                    false
                }
                Whose::Orphan => true,
            };
            if unwanted {
                let key = (cloud.name().to_owned(), format!("{token} {}", node.id));
                if before.contains(&key) && self.remove(cloud, node, token).await? {
                    swept.removed += 1;
                } else {
                    self.suspects.lock().insert(key);
                    swept.left += 1;
                }
            }
        }
        for resource in resources {
            let Some(token) = resource.token.as_deref().filter(|token| !tokens.contains(token)) else { continue };
            let key = (cloud.name().to_owned(), token.to_owned());
            if !before.contains(&key) {
                self.suspects.lock().insert(key);
            } else if self.lose(cloud, &resource, token).await? {
                swept.lost += 1;
            }
        }
        Ok(swept)
    }

    /// Resources that have a machine on this cloud, as far as nothing is being done about them.
    async fn resources(&self, cloud: &str) -> Result<Vec<Resource>, Error> {
        let mut all: Vec<Resource> = Vec::new();
        loop {
            let page = self.store.resources_at_rest(cloud, all.last().map(|last| last.id.as_str()), PAGE).await?;
            let last = page.len() < PAGE as usize;
            all.extend(page);
            if last {
                return Ok(all);
            }
        }
    }

    async fn whose(&self, cloud: &str, token: &str) -> Result<Whose, Error> {
        // Work first, then who has what it made: work that ends meanwhile has handed it over before.
        let operation = self.store.operation_by_token(cloud, token).await?;
        let (operation, made) = operation.map(|operation| (operation.state, operation.node_id)).unzip();
        let step = self.store.step_by_token(cloud, token).await?;
        if let Some(resource) = self.store.resource_by_token(cloud, token).await? {
            return Ok(Whose::Ours(resource.physical_id));
        }
        if let Some(node) = self.store.service_node_by_token(token).await? {
            return Ok(Whose::Ours(node.node_id));
        }
        if let Some(instance) = self.store.instance_by_token(cloud, token).await? {
            return Ok(Whose::Ours(instance.node_id));
        }
        let step = step.map(|(_, state, _)| state);
        Ok(match (operation, step) {
            (None, None) => Whose::Foreign,
            (Some(OperationState::Pending), _) | (_, Some(OperationState::Pending)) => Whose::Ours(None),
            // A single node: it belongs to whoever sees it.
            (Some(OperationState::Succeeded), _) => Whose::Ours(made.flatten()),
            (Some(OperationState::Abandoned), _) | (_, Some(OperationState::Abandoned)) => Whose::Left,
            // What a step has made belongs to what the operation is about: that has it no more.
            (Some(OperationState::Failed), _) | (_, Some(OperationState::Failed | OperationState::Succeeded)) => Whose::Orphan,
        })
    }

    /// Whether the node of this token is gone now.
    async fn remove(&self, cloud: &Arc<Cloud>, node: &Node, token: &str) -> Result<bool, Error> {
        let (name, id) = (cloud.name(), node.id.as_str());
        if self.orphans == Orphans::Report {
            tracing::warn!(cloud = name, node = id, token, "a failed operation has left a node behind");
            return Ok(false);
        }
        // Looked at once more: some providers give identifiers again. And not by the token, which a double shares.
        let found = match cloud.get_node(id).await {
            Ok(found) if found.token.as_deref() == Some(token) => found,
            Ok(_) => return Ok(true),
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        match self.compute.destroy(&Principal::host(), Arc::clone(cloud), &found).await {
            Ok(_) => {
                tracing::warn!(cloud = name, node = id, token, "a node that a failed operation had left behind is destroyed");
                Ok(true)
            }
            Err(error) => {
                tracing::error!(cloud = name, node = id, token, %error, "a node that a failed operation has left behind is there still");
                Ok(false)
            }
        }
    }

    /// Notes that a resource's machine has vanished, if it has.
    async fn lose(&self, cloud: &Arc<Cloud>, resource: &Resource, token: &str) -> Result<bool, Error> {
        match cloud.find_node(token).await {
            Ok(None) => {}
            Ok(Some(node)) if node.state == NodeState::Terminated => {}
            Ok(Some(_)) => return Ok(false),
            Err(error) if error.kind == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        let event = NewEvent {
            kind: "resource.lost".into(),
            subject: resource.id.clone(),
            cloud: Some(cloud.name().to_owned()),
            actor: "host".into(),
            data: json!({ "deployment": resource.deployment, "token": token }),
        };
        let lost = self.store.resource_lost(&resource.id, resource.state, &event).await?;
        if lost {
            tracing::error!(cloud = cloud.name(), resource = resource.id, token, "the machine of a resource has vanished");
        }
        Ok(lost)
    }
}

/// Whether a node is a second one with the token of the node on record, which is there.
fn is_double(node: &Node, recorded: &str, all: &[Node]) -> bool {
    node.id != recorded && all.iter().any(|other| other.id == recorded && other.token == node.token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_double_is_the_one_that_is_not_on_record() {
        let node = |id: &str, token: &str| Node {
            id: id.into(),
            name: "n".into(),
            token: Some(token.into()),
            state: NodeState::Running,
            state_detail: None,
            image_id: None,
            size_id: None,
            addresses: Vec::new(),
            created_at: None,
            extra: String::new(),
        };
        let all = [node("1", "t"), node("2", "t"), node("3", "u")];
        // (node, on record, whether it is one too many)
        for (index, recorded, double) in [
            (0, "1", false),
            (1, "1", true),
            // The one on record is gone, or is another token's by now: what is there may be the last.
            (1, "9", false),
            (1, "3", false),
        ] {
            assert_eq!(is_double(&all[index], recorded, &all), double, "{} {recorded}", all[index].id);
        }
    }
}
