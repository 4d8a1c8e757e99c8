//! Nodes: list, create, destroy.
//!
//! Every change is an operation of one step: the intent with its token is one transaction, then comes the driver call, and the
//! outcome is another transaction. `steps` says what the call is.

use super::Compute;
use super::steps::{DESTROY, MAKE};
use crate::Error;
use crate::identity::{Permission, Principal};
use crate::model::{Node, NodeSpec};
use crate::scheduler::Patience;
use ostler_drivers::model::Description;
use ostler_drivers::{Cloud, ErrorKind, Listing, Made};
use ostler_store::{
    Begin, Idempotency, NewEvent, NewOperation, Operation, OperationKind, OperationState, Progress, Step, StepState, Work,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;

/// Pauses between tries of a call whose effect is uncertain.
pub(super) const PAUSES: [Duration; 3] = [Duration::from_millis(50), Duration::from_millis(200), Duration::from_millis(800)];

/// A client's idempotency key.
#[derive(Clone, Debug)]
pub struct Key {
    /// The dialect and route for which it holds.
    pub scope: &'static str,
    /// What the client chose.
    pub key: String,
}

impl Key {
    /// As the store keeps it: each user has his own keys, for each cloud.
    pub(crate) fn of(&self, who: &Principal, cloud: &Cloud) -> Idempotency {
        Idempotency { scope: format!("{}:{}:{}", self.scope, who.user, cloud.name()), key: self.key.clone() }
    }
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
    /// With a key, a second call returns what the first one did; [`Error::KeyReused`] if it asks for something else. A first one that
    /// failed for what passes ([`Operation::has_passed`]) left nothing: the second begins anew.
    pub async fn start_node(
        self: &Arc<Self>,
        who: &Principal,
        cloud: &str,
        spec: NodeSpec,
        key: Option<Key>,
    ) -> Result<Listed, Error> {
        who.require(Permission::ChangeCompute)?;
        let cloud = self.cloud(cloud)?;
        if key.is_none() {
            // What can never succeed is not begun. With a key, the record of what it did comes first.
            valid(&cloud, &spec).await?;
        }
        let token = uuid::Uuid::now_v7().to_string();
        let new = NewOperation {
            token: Some(token.clone()),
            idempotency: key.as_ref().map(|key| key.of(who, &cloud)),
            ..self.operation(who, OperationKind::CreateNode, &cloud, json!({ "spec": spec, "resume": key.is_some() }))
        };
        // The token is the operation's and not the step's: what it has made belongs to nothing else.
        let step = begun(Step { cloud: Some(cloud.name().to_owned()), ..Step::new(0, 0, MAKE) });
        let event = event("node.create.intent", &token, cloud.name(), &who.user);
        let ended = match self
            .store
            .work_begin(&new, Some(&token), &Progress::default(), std::slice::from_ref(&step), Some(&event))
            .await
        {
            Ok(Begin::New(operation)) => {
                let work = work(operation, token, step);
                self.scheduler.carry_out(work, Patience::OneTry).await?.operation
            }
            Ok(Begin::Existing(operation)) => {
                self.scheduler.nudge(&operation.id);
                operation
            }
            Err(ostler_store::Error::IdempotencyMismatch) => return Err(Error::KeyReused),
            Err(error) => return Err(error.into()),
        };
        Ok(Listed { node: replay(&ended)?, driver: cloud.description()? })
    }

    pub(crate) fn operation(&self, who: &Principal, kind: OperationKind, cloud: &Cloud, input: Value) -> NewOperation {
        NewOperation {
            cloud: cloud.name().to_owned(),
            kind,
            token: None,
            node_id: None,
            input_hash: hash(cloud.name(), &input),
            input,
            driver_digest: cloud.package().map(|package| package.digest.clone()),
            actor: who.user.clone(),
            lease: Some(self.scheduler.lease()),
            idempotency: None,
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
        let new =
            NewOperation { node_id: Some(node.id.clone()), ..self.operation(who, OperationKind::DestroyNode, &cloud, input) };
        let step = begun(Step { cloud: Some(cloud.name().to_owned()), onward: true, ..Step::new(0, 0, DESTROY) });
        let event = event("node.destroy.intent", &node.id, cloud.name(), &who.user);
        let begin =
            self.store.work_begin(&new, Some(&node.id), &Progress::default(), std::slice::from_ref(&step), Some(&event)).await?;
        let (Begin::New(operation) | Begin::Existing(operation)) = begin;
        self.scheduler.carry_out(work(operation, node.id.clone(), step), Patience::OneTry).await?;
        Ok(node.id.clone())
    }
}

/// A step that is written down as begun with the operation itself: its intent is the operation's.
fn begun(step: Step) -> Step {
    Step { state: StepState::Doing, begun_at: Some(ostler_store::now()), ..step }
}

fn work(operation: Operation, subject: String, step: Step) -> Work {
    Work { operation, subject: Some(subject), progress: Progress::default(), steps: vec![step], request: None }
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
        Error::NoService => ("no-service", None),
        Error::NotNow(_) => ("not-now", None),
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
        "no-service" => return Error::NoService,
        "not-now" => return Error::NotNow(message),
        "invalid" => ErrorKind::Invalid,
        "conflict" => ErrorKind::Conflict,
        "unauthorized" => ErrorKind::Unauthorized,
        "forbidden" => ErrorKind::Forbidden,
        "quota" => ErrorKind::Quota,
        "capacity" => ErrorKind::Capacity,
        "throttled" => ErrorKind::Throttled,
        "unsupported" => ErrorKind::Unsupported,
        "transient" => ErrorKind::Transient,
        "unknown-cloud" => ErrorKind::UnknownCloud,
        "not-loaded" => ErrorKind::NotLoaded,
        "crashed" => ErrorKind::Crashed,
        "deadline" => ErrorKind::Deadline,
        "limit" => ErrorKind::Limit,
        "contract" => ErrorKind::Contract,
        "unavailable" => ErrorKind::Unavailable,
        _ => ErrorKind::Failed,
    };
    Error::Cloud(ostler_drivers::Error::new(kind, message))
}

fn no_node(error: ostler_drivers::Error, id: &str) -> Error {
    if error.kind == ErrorKind::NotFound { Error::NoNode(id.to_owned()) } else { error.into() }
}

pub(crate) fn event(kind: &str, subject: &str, cloud: &str, actor: &str) -> NewEvent {
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
