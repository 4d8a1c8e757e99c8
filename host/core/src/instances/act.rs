//! Doing something to an instance: starting, stopping, rebooting, freezing, going on.

use super::{InstanceState, Instances, refused, view};
use crate::Error;
use crate::compute::{event, tries};
use crate::identity::Principal;
use crate::images::{subject, unsupported};
use crate::model::{Action, Force, NodeState};
use crate::scheduler::{NotClosed, Plan, Policy, Try, Workflow};
use async_trait::async_trait;
use ostler_drivers::ErrorKind;
use ostler_store::{
    Begun, InstanceEnd, InstanceStatus, InstanceTask, OperationKind, Outcome as Ending, Progress, Save, Step, Store, Work,
};
use serde_json::json;
use std::sync::Arc;

/// The one step.
const ACT: &str = "act";

impl Instances {
    /// Does something to an instance: accepted when this returns, by the provider, or by the host where the machine is still being
    /// built. [`Error::NotNow`] where its state forbids it, or something else is being done to it. [`Error::Cloud`] of the kind
    /// `unsupported` where the driver cannot.
    pub async fn act(self: &Arc<Self>, who: &Principal, cloud: &str, id: i64, action: Action) -> Result<(), Error> {
        let cloud = self.compute.cloud(cloud)?;
        let record = self.changeable(who, cloud.name(), id).await?;
        let Some((task, feature, name)) = kind(&action) else {
            return Err(Error::Invalid("this cannot be done to an instance".into()));
        };
        if !cloud.description()?.has(feature) {
            return Err(unsupported(format!("cloud `{}`: its driver has no feature `{feature}`", cloud.name())));
        }
        if record.task.is_some() {
            return Err(refused(ostler_store::RecordError::UnderWay, id));
        }
        // What can never succeed is not begun. A machine that is being built is waited for.
        match Self::machine(&cloud, &record).await? {
            Some(node) if node.state == NodeState::Pending && action == Action::Start => {}
            node => {
                let now = view::instance(&view::seen(&record, node.as_ref()));
                if !is_possible(&action, now.state) {
                    return Err(impossible(id, now.state, name, now.detail.as_deref()));
                }
            }
        }
        let operation = self.compute.operation(who, OperationKind::Act, &cloud, json!({ "instance": id, "action": action }));
        let step = Step { cloud: Some(cloud.name().to_owned()), input: json!({ "action": action }), ..Step::new(0, 0, ACT) };
        let until = i64::try_from(self.pace.build.as_micros()).unwrap_or(i64::MAX);
        let progress = Progress { deadline: Some(ostler_store::now().saturating_add(until)), ..Progress::default() };
        let mut intent = event("instance.act.intent", &id.to_string(), cloud.name(), &who.user);
        intent.data = json!({ "action": name });
        match self.store.instance_work(id, task, &operation, &progress, &[step], &intent).await {
            Ok(Begun::New(operation, _)) => self.carry_out(&operation).await,
            Ok(Begun::Existing(_)) => Err(refused(ostler_store::RecordError::UnderWay, id)),
            Err(error) => Err(refused(error, id)),
        }
    }

    /// Has the provider do it, unless it is done: one try.
    async fn try_to_act(&self, work: &Work, step: &Step) -> Try {
        let id = subject(work);
        let Ok(action) = serde_json::from_value::<Action>(step.input["action"].clone()) else {
            return Try::failed(&Error::Invalid("an order for an instance cannot be read".into()));
        };
        let found = async {
            let cloud = self.compute.cloud(&work.operation.cloud)?;
            let record = self.store.instance_get(id).await?.ok_or(Error::NoInstance(id))?;
            Ok::<_, Error>((Self::machine(&cloud, &record).await?, record, cloud))
        };
        let (node, record, cloud) = match found.await {
            Ok(found) => found,
            Err(Error::Cloud(error)) => return tries::broke(error),
            Err(error @ Error::NoInstance(_)) => return Try::failed(&error),
            Err(error) => return Try::again(&error),
        };
        let now = view::seen(&record, node.as_ref());
        let (state, name) = (view::instance(&ostler_store::InstanceRecord { task: None, ..now }).state, name(&action));
        let Some(node) = node else { return Try::failed(&impossible(id, InstanceState::Error, name, now_gone())) };
        // An earlier try may have done it, and its answer was lost.
        if (step.tries > 0 || work.operation.attempts > 1) && has_effect(&action, &node.state) {
            return Try::done(json!({}));
        }
        if node.state == NodeState::Pending && action == Action::Start {
            return Try::wait(self.pace.pause(step.begun_at));
        }
        if !is_possible(&action, state) {
            return Try::failed(&impossible(id, state, name, None));
        }
        match cloud.act(&node.id, action).await {
            Ok(()) => Try::done(json!({})),
            Err(error) if error.kind == ErrorKind::Conflict => {
                Try::failed(&Error::NotNow(format!("instance {id} is {}: {error}", view::word(state))))
            }
            Err(error) => tries::broke(error),
        }
    }
}

fn now_gone() -> Option<&'static str> {
    Some("its machine is gone at the provider")
}

/// What an action is on record, the feature that a driver needs for it, and its name.
fn kind(action: &Action) -> Option<(InstanceTask, &'static str, &'static str)> {
    Some(match action {
        Action::Start => (InstanceTask::Start, "start-stop", "start"),
        Action::Stop(_) => (InstanceTask::Stop, "start-stop", "stop"),
        Action::Reboot(_) => (InstanceTask::Reboot, "reboot", "reboot"),
        Action::Suspend => (InstanceTask::Suspend, "suspend", "freeze"),
        Action::Resume => (InstanceTask::Resume, "suspend", "resume"),
        Action::Other(_) => return None,
    })
}

fn name(action: &Action) -> &'static str {
    kind(action).map_or("change", |(_, _, name)| name)
}

/// Whether a state allows an action. What is on its way can be switched off, and nothing else.
fn is_possible(action: &Action, state: InstanceState) -> bool {
    use InstanceState::{Frozen, Rebooting, Running, Starting, Stopped, Stopping};
    match action {
        Action::Start => state == Stopped,
        Action::Stop(Force::Soft) | Action::Reboot(_) | Action::Suspend => state == Running,
        Action::Stop(Force::Hard) => matches!(state, Running | Frozen | Starting | Stopping | Rebooting),
        Action::Resume => state == Frozen,
        Action::Other(_) => false,
    }
}

/// Whether a machine is as an action leaves it. A reboot leaves no trace: it may be repeated.
fn has_effect(action: &Action, state: &NodeState) -> bool {
    match action {
        Action::Start => matches!(state, NodeState::Running | NodeState::Starting),
        Action::Stop(_) => matches!(state, NodeState::Stopped | NodeState::Stopping),
        Action::Reboot(_) => *state == NodeState::Rebooting,
        Action::Suspend => *state == NodeState::Suspended,
        Action::Resume => *state == NodeState::Running,
        Action::Other(_) => false,
    }
}

/// Why an action is not begun.
fn impossible(id: i64, state: InstanceState, action: &str, detail: Option<&str>) -> Error {
    let detail = detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
    Error::NotNow(format!("instance {id} is {}{detail}: `{action}` is not possible now", view::word(state)))
}

/// The workflow of an action. It cannot be undone; that it is refused is an end like another.
pub(super) struct Act(pub(super) Arc<Instances>);

#[async_trait]
impl Workflow for Act {
    #[cfg(test)]
    fn kinds(&self) -> &'static [&'static str] {
        &[ACT]
    }

    fn policy(&self) -> Policy {
        self.0.pace.policy
    }

    async fn act(&self, work: &Work, position: usize) -> Try {
        self.0.try_to_act(work, &work.steps[position]).await
    }

    async fn undo(&self, _work: &Work, _position: usize) -> Try {
        Try::done(json!({}))
    }

    fn plan(&self, _work: &Work) -> Plan {
        Plan::End
    }

    async fn close(&self, store: &Store, owner: &str, work: &Work, save: &Save<'_>) -> Result<(), NotClosed> {
        let (operation, id) = (&work.operation, subject(work));
        let input = work.steps.first().map(|step| step.input["action"].clone()).unwrap_or_default();
        let action = serde_json::from_value::<Action>(input).ok();
        let mut told = event("instance.act.done", &id.to_string(), &operation.cloud, &operation.actor);
        told.data = json!({ "action": action.as_ref().map(name) });
        let end = match save.outcome {
            Some(Ending::Failed(why) | Ending::Abandoned(why)) => {
                told.kind = "instance.act.failed".into();
                told.data["error"] = why["message"].clone();
                InstanceEnd::Stays { state: None, acted: false }
            }
            // Until the next look.
            _ => InstanceEnd::Stays { state: action.as_ref().and_then(leads_to), acted: true },
        };
        store.instance_ended(&operation.id, owner, save, id, end, &told).await?;
        Ok(())
    }
}

/// What an instance does after an action was accepted.
fn leads_to(action: &Action) -> Option<InstanceStatus> {
    Some(match action {
        Action::Start => InstanceStatus::Starting,
        Action::Stop(_) => InstanceStatus::Stopping,
        Action::Reboot(_) => InstanceStatus::Rebooting,
        Action::Suspend => InstanceStatus::Frozen,
        Action::Resume => InstanceStatus::Running,
        Action::Other(_) => return None,
    })
}
