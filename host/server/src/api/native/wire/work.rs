//! JSON of operations of several steps. What they were given and what came of it is not shown: it may be confidential.

use super::time;
use ostler_store as store;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// An operation.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Operation {
    /// The identifier.
    pub id: String,
    /// What is done: `create-deployment`, `start-service` …
    pub kind: String,
    /// What it is about: the identifier of a deployment, a service …
    pub subject: Option<String>,
    /// `pending`, `succeeded`, `failed` or `abandoned`.
    pub state: String,
    /// Which way it goes: `forward`; `back`, where an attempt is undone; `out`, where all of it is.
    pub phase: String,
    /// Whether an operator should look: a step is tried again and again.
    pub stuck: bool,
    /// The attempt that is being made; 0 before the first.
    pub attempt: u32,
    /// Nothing happens before.
    pub waits_until: Option<String>,
    /// Until when the whole may take.
    pub deadline: Option<String>,
    /// What somebody wants of it: `retry`, `cancel` or `abandon`.
    pub request: Option<String>,
    /// Why it does not go forward, or did not succeed.
    pub error: Option<Value>,
    /// Who asked for it.
    pub actor: String,
    /// The run of a host that works on it.
    pub owner: Option<String>,
    /// When it was asked for.
    pub created_at: String,
    /// When it last changed.
    pub updated_at: String,
    /// Its steps, in their order. Lists are without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
}

/// A step of an operation.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// Which attempt it belongs to.
    pub attempt: u32,
    /// When it is its turn. Those of one stage are done side by side.
    pub stage: u32,
    /// What it does.
    pub kind: String,
    /// The cloud, where it is one's matter.
    pub cloud: Option<String>,
    /// The token that what it makes at the provider carries.
    pub token: Option<String>,
    /// `planned`, `doing`, `done`, `failed`, `undoing` or `undone`.
    pub state: String,
    /// Whether there is no way back behind it.
    pub onward: bool,
    /// Failed tries.
    pub tries: u32,
    /// Why the last try failed.
    pub error: Option<Value>,
    /// When it was begun.
    pub begun_at: Option<String>,
    /// When it was done, failed or was undone.
    pub ended_at: Option<String>,
}

/// A page of operations.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Operations {
    /// The latest first.
    pub operations: Vec<Operation>,
    /// Where the next page begins; none where there is no other.
    pub next: Option<String>,
}

impl From<store::Work> for Operation {
    fn from(work: store::Work) -> Self {
        let store::Work { operation, subject, progress, steps, request } = work;
        let waits_until = progress.wake_at.filter(|at| operation.state == store::OperationState::Pending && *at > store::now());
        Self {
            id: operation.id,
            kind: operation.kind.as_str().to_owned(),
            subject,
            state: operation.state.as_str().to_owned(),
            phase: progress.phase.as_str().to_owned(),
            stuck: progress.stuck,
            attempt: progress.attempt,
            waits_until: waits_until.map(time),
            deadline: progress.deadline.map(time),
            request: request.map(|request| request.as_str().to_owned()),
            error: operation.error.or_else(|| progress.cause.map(|mut cause| cause["error"].take()).filter(Value::is_object)),
            actor: operation.actor,
            owner: operation.lease_owner,
            created_at: time(operation.created_at),
            updated_at: time(operation.updated_at),
            steps: steps.into_iter().map(Step::from).collect(),
        }
    }
}

impl From<store::Step> for Step {
    fn from(step: store::Step) -> Self {
        Self {
            attempt: step.attempt,
            stage: step.stage,
            kind: step.kind,
            cloud: step.cloud,
            token: step.token,
            state: step.state.as_str().to_owned(),
            onward: step.onward,
            tries: step.tries,
            error: step.error,
            begun_at: step.begun_at.map(time),
            ended_at: step.ended_at.map(time),
        }
    }
}
