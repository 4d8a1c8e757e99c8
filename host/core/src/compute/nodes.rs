//! Nodes: list, create, destroy.
//!
//! Every change is an operation in the store: the intent with its token, then the driver call, then the outcome, each a
//! transaction of its own. What a crash leaves behind, [`super::recovery`] finishes or undoes.

use super::{Compute, lease_end};
use crate::Error;
use crate::identity::{Permission, Principal};
use crate::model::{Node, NodeSpec};
use ostler_drivers::model::Description;
use ostler_drivers::{Cloud, ErrorKind, Listing, Made};
use ostler_store::{Begin, Idempotency, Lease, NewEvent, NewOperation, Operation, OperationKind, OperationState, Outcome};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;

/// Pauses between tries of a call whose effect is uncertain.
const PAUSES: [Duration; 3] = [Duration::from_millis(50), Duration::from_millis(200), Duration::from_millis(800)];

/// A client's idempotency key.
#[derive(Clone, Debug)]
pub struct Key {
    /// The dialect and route for which it holds.
    pub scope: &'static str,
    /// What the client chose.
    pub key: String,
}

/// A node together with who made it.
#[derive(Debug)]
pub struct Listed {
    /// The node.
    pub node: Node,
    /// What the driver says of itself.
    pub driver: Arc<Description>,
}

impl Compute {
    /// All nodes of a cloud.
    pub async fn nodes(&self, who: &Principal, cloud: &str) -> Result<Arc<Listing<Node>>, Error> {
        who.require(Permission::ReadCompute)?;
        Ok(self.cloud(cloud)?.list_nodes().await?)
    }

    /// One node, by identifier.
    pub async fn node(&self, who: &Principal, cloud: &str, id: &str) -> Result<Listed, Error> {
        who.require(Permission::ReadCompute)?;
        let cloud = self.cloud(cloud)?;
        let found = cloud.look_up_node(id).await.map_err(|error| no_node(error, id))?;
        Ok(Listed { node: found.value, driver: found.driver })
    }

    /// Creates a node. It is ordered when this returns, and may still be on its way up.
    ///
    /// With a key, a second call returns what the first one did; [`Error::KeyReused`] if it asks for something else.
    pub async fn start_node(
        self: &Arc<Self>,
        who: &Principal,
        cloud: &str,
        spec: NodeSpec,
        key: Option<Key>,
    ) -> Result<Listed, Error> {
        who.require(Permission::ChangeCompute)?;
        let cloud = self.cloud(cloud)?;
        let input = json!({ "spec": spec, "resume": key.is_some() });
        if let Some(key) = key {
            // The key is looked up before anything else: what it did once holds, whatever has changed since.
            match self.begin_create(who, &cloud, input, Some(key)).await? {
                Begin::Existing(operation) => Ok(Listed { node: replay(&operation)?, driver: cloud.description()? }),
                Begin::New(operation) => match valid(&cloud, &spec).await {
                    Ok(()) => self.create(cloud, operation, spec).await,
                    Err(error) => {
                        self.finish(&operation, Outcome::Failed(failure(&error)), "node.create.failed").await?;
                        Err(error)
                    }
                },
            }
        } else {
            valid(&cloud, &spec).await?;
            let operation = match self.begin_create(who, &cloud, input, None).await? {
                Begin::New(operation) | Begin::Existing(operation) => operation,
            };
            self.create(cloud, operation, spec).await
        }
    }

    async fn begin_create(&self, who: &Principal, cloud: &Cloud, input: Value, key: Option<Key>) -> Result<Begin, Error> {
        let token = uuid::Uuid::now_v7().to_string();
        let event = event("node.create.intent", &token, cloud.name(), &who.user);
        let new = NewOperation {
            cloud: cloud.name().to_owned(),
            kind: OperationKind::CreateNode,
            token: Some(token),
            node_id: None,
            input_hash: hash(cloud.name(), &input),
            input,
            driver_digest: cloud.package().map(|package| package.digest.clone()),
            actor: who.user.clone(),
            lease: Some(Lease { owner: self.owner.clone(), until: lease_end(cloud) }),
            idempotency: key
                .map(|key| Idempotency { scope: format!("{}:{}:{}", key.scope, who.user, cloud.name()), key: key.key }),
        };
        match self.store.operation_begin(&new, Some(&event)).await {
            Err(ostler_store::Error::IdempotencyMismatch) => Err(Error::KeyReused),
            other => Ok(other?),
        }
    }

    /// The driver call and the outcome, in a task of its own: a client that hangs up changes nothing.
    async fn create(self: &Arc<Self>, cloud: Arc<Cloud>, operation: Operation, spec: NodeSpec) -> Result<Listed, Error> {
        let (this, id) = (Arc::clone(self), operation.id.clone());
        let task = self.tasks.spawn(async move { this.create_now(&cloud, &operation, spec).await });
        task.await.unwrap_or_else(|error| Err(Error::Uncertain { operation: id, reason: error.to_string() }))
    }

    /// Makes the node of this operation exist, or not exist, and records which. Also how an interrupted one is taken up again.
    pub(super) async fn create_now(&self, cloud: &Arc<Cloud>, operation: &Operation, spec: NodeSpec) -> Result<Listed, Error> {
        let token = operation.token.as_deref().unwrap_or(&operation.id);
        match ensure(cloud, token, spec).await {
            Ok(made) => {
                // The node exists: that its record cannot be written now is for the recovery to mend, not for the client to hear.
                let output = json!({ "node": made.value, "digest": made.digest });
                let outcome = Outcome::Succeeded { node_id: Some(made.value.id.clone()), output: Some(output) };
                if let Err(error) = self.finish(operation, outcome, "node.create.done").await {
                    tracing::error!(operation = %operation.id, %error, "a created node could not be recorded yet");
                }
                Ok(Listed { node: made.value, driver: made.driver })
            }
            Err(Ended::Failed(error)) => {
                let error = Error::Cloud(error);
                self.finish(operation, Outcome::Failed(failure(&error)), "node.create.failed").await?;
                Err(error)
            }
            // The intent stays, and with it the duty to find out.
            Err(Ended::Unknown(error)) => Err(Error::Uncertain { operation: operation.id.clone(), reason: error.message }),
        }
    }

    /// Destroys the first node whose identifier is `id`, or whose name is `name`. Its identifier.
    pub async fn stop_node(
        self: &Arc<Self>,
        who: &Principal,
        cloud: &str,
        id: Option<&str>,
        name: Option<&str>,
    ) -> Result<String, Error> {
        who.require(Permission::ChangeCompute)?;
        let cloud = self.cloud(cloud)?;
        let nodes = cloud.list_nodes().await?;
        let found = nodes.iter().find(|node| Some(node.id.as_str()) == id || Some(node.name.as_str()) == name);
        let Some(node) = found else { return Err(Error::NoNode(id.or(name).unwrap_or_default().to_owned())) };
        self.destroy(who, cloud, node).await
    }

    pub(crate) async fn destroy(self: &Arc<Self>, who: &Principal, cloud: Arc<Cloud>, node: &Node) -> Result<String, Error> {
        let input = json!({ "id": node.id, "token": node.token });
        let new = NewOperation {
            cloud: cloud.name().to_owned(),
            kind: OperationKind::DestroyNode,
            token: None,
            node_id: Some(node.id.clone()),
            input_hash: hash(cloud.name(), &input),
            input,
            driver_digest: cloud.package().map(|package| package.digest.clone()),
            actor: who.user.clone(),
            lease: Some(Lease { owner: self.owner.clone(), until: lease_end(&cloud) }),
            idempotency: None,
        };
        let event = event("node.destroy.intent", &node.id, cloud.name(), &who.user);
        let operation = match self.store.operation_begin(&new, Some(&event)).await? {
            Begin::New(operation) | Begin::Existing(operation) => operation,
        };
        let (this, id, operation_id) = (Arc::clone(self), node.id.clone(), operation.id.clone());
        let task = self.tasks.spawn(async move { this.destroy_now(&cloud, &operation, &id).await });
        task.await.unwrap_or_else(|error| Err(Error::Uncertain { operation: operation_id, reason: error.to_string() }))
    }

    /// Makes the node of this operation not exist, and records that.
    pub(super) async fn destroy_now(&self, cloud: &Arc<Cloud>, operation: &Operation, id: &str) -> Result<String, Error> {
        let mut last = None;
        for pause in PAUSES {
            match cloud.destroy_node(id).await {
                Ok(_) => last = None,
                // Somebody else was faster, or the answer to an earlier try was lost: it is gone either way.
                Err(error) if error.kind == ErrorKind::NotFound => last = None,
                Err(error) if error.kind.is_ambiguous() => {
                    last = Some(error);
                    tokio::time::sleep(pause).await;
                    continue;
                }
                Err(error) => {
                    let error = Error::Cloud(error);
                    self.finish(operation, Outcome::Failed(failure(&error)), "node.destroy.failed").await?;
                    return Err(error);
                }
            }
            break;
        }
        if let Some(error) = last {
            return Err(Error::Uncertain { operation: operation.id.clone(), reason: error.message });
        }
        self.store.assignment_remove(cloud.name(), id).await?;
        self.finish(operation, Outcome::Succeeded { node_id: None, output: None }, "node.destroy.done").await?;
        Ok(id.to_owned())
    }

    pub(super) async fn finish(&self, operation: &Operation, outcome: Outcome, kind: &str) -> Result<(), Error> {
        let subject = operation.node_id.as_deref().or(operation.token.as_deref()).unwrap_or(&operation.id);
        let mut event = event(kind, subject, &operation.cloud, &operation.actor);
        if let Outcome::Failed(why) | Outcome::Abandoned(why) = &outcome {
            event.data["error"] = why.clone();
        }
        self.store.operation_finish(&operation.id, &self.owner, &outcome, Some(&event)).await?;
        Ok(())
    }
}

/// How an attempt to create ended, if not well.
pub(crate) enum Ended {
    /// The node does not exist.
    Failed(ostler_drivers::Error),
    /// It may exist.
    Unknown(ostler_drivers::Error),
}

/// Makes a node with this token exist. An answer that says nothing about the effect is followed by a look, and the order by
/// token may be repeated without harm.
pub(crate) async fn ensure(cloud: &Arc<Cloud>, token: &str, spec: NodeSpec) -> Result<Made<Node>, Ended> {
    let mut pauses = PAUSES.into_iter();
    loop {
        let error = match cloud.create_node(token, spec.clone()).await {
            Ok(made) => return Ok(made),
            Err(error) if !error.kind.is_ambiguous() => return Err(Ended::Failed(error)),
            Err(error) => error,
        };
        match cloud.find_node(token).await {
            Ok(Some(node)) => {
                let digest = cloud.package().map(|package| package.digest.clone()).unwrap_or_default();
                let driver = cloud.description().map_err(Ended::Unknown)?;
                return Ok(Made { value: node, digest, driver });
            }
            Ok(None) if error.kind == ErrorKind::Failed => return Err(Ended::Failed(error)),
            Ok(None) => match pauses.next() {
                // A driver that breaks while it creates will hardly do better in a moment, and a slow one not sooner.
                Some(pause) if !error.kind.is_fault() => {
                    tokio::time::sleep(error.retry_after.unwrap_or(pause).min(PAUSES[2])).await;
                }
                _ => return Err(Ended::Failed(error)),
            },
            Err(unknown) => match pauses.next() {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(Ended::Unknown(unknown)),
            },
        }
    }
}

/// Whether image and size exist, in this order.
pub(crate) async fn valid(cloud: &Arc<Cloud>, spec: &NodeSpec) -> Result<(), Error> {
    match cloud.get_image(&spec.image_id).await {
        Ok(_) => {}
        Err(error) if error.kind == ErrorKind::NotFound => return Err(Error::NoImage(spec.image_id.clone())),
        Err(error) if error.kind == ErrorKind::Unsupported => {
            if !cloud.list_images().await?.iter().any(|image| image.id == spec.image_id) {
                return Err(Error::NoImage(spec.image_id.clone()));
            }
        }
        Err(error) => return Err(error.into()),
    }
    if !cloud.list_sizes().await?.iter().any(|size| size.id == spec.size_id) {
        return Err(Error::NoSize(spec.size_id.clone()));
    }
    Ok(())
}

/// What an operation of an earlier request with the same key came to.
fn replay(operation: &Operation) -> Result<Node, Error> {
    match operation.state {
        OperationState::Pending => Err(Error::UnderWay),
        OperationState::Succeeded => {
            let node = operation.output.as_ref().map(|output| output["node"].clone()).unwrap_or_default();
            serde_json::from_value(node).map_err(|_| Error::Store(ostler_store::Error::Corrupt("operation")))
        }
        OperationState::Failed | OperationState::Abandoned => Err(failed(operation)),
    }
}

/// An error, for the record of an operation.
pub(crate) fn failure(error: &Error) -> Value {
    let (kind, subject) = match error {
        Error::Cloud(error) => (error.kind.as_str(), None),
        Error::NoImage(id) => ("no-image", Some(id)),
        Error::NoSize(id) => ("no-size", Some(id)),
        _ => ("failed", None),
    };
    json!({ "kind": kind, "subject": subject, "message": error.to_string() })
}

/// The error of a recorded failure.
pub(crate) fn failed(operation: &Operation) -> Error {
    let error = operation.error.clone().unwrap_or_default();
    let message = error["message"].as_str().unwrap_or("it failed").to_owned();
    let subject = error["subject"].as_str().unwrap_or_default().to_owned();
    let kind = match error["kind"].as_str().unwrap_or_default() {
        "no-image" => return Error::NoImage(subject),
        "no-size" => return Error::NoSize(subject),
        "invalid" => ErrorKind::Invalid,
        "conflict" => ErrorKind::Conflict,
        "unauthorized" => ErrorKind::Unauthorized,
        "forbidden" => ErrorKind::Forbidden,
        "quota" => ErrorKind::Quota,
        "capacity" => ErrorKind::Capacity,
        "throttled" => ErrorKind::Throttled,
        "unsupported" => ErrorKind::Unsupported,
        _ => ErrorKind::Failed,
    };
    Error::Cloud(ostler_drivers::Error::new(kind, message))
}

fn no_node(error: ostler_drivers::Error, id: &str) -> Error {
    if error.kind == ErrorKind::NotFound { Error::NoNode(id.to_owned()) } else { error.into() }
}

fn event(kind: &str, subject: &str, cloud: &str, actor: &str) -> NewEvent {
    NewEvent {
        kind: kind.to_owned(),
        subject: subject.to_owned(),
        cloud: Some(cloud.to_owned()),
        actor: actor.to_owned(),
        data: json!({}),
    }
}

fn hash(cloud: &str, input: &Value) -> Vec<u8> {
    // Maps are sorted by key: equal inputs have equal texts.
    Sha256::digest(format!("{cloud}\n{input}")).to_vec()
}
