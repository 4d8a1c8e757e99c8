//! Building a deployment: a cloud is chosen, its machines are made and waited for, and what they show is published; or nothing of
//! it stays, and the next cloud is tried.

use super::Inner;
use super::placement::{Choice, Placement};
use super::records::{RunningAttributes, machine_facts};
use crate::Error;
use crate::compute::{Ended, ensure, tries};
use crate::model::{Node, NodeSpec, NodeState};
use crate::scheduler::{Outcome, Plan, Policy, Try, Workflow, succeeded, why};
use async_trait::async_trait;
use ostler_drivers::{Cloud, ErrorKind};
use ostler_store::{
    DeploymentChange, DeploymentStatus, DeploymentTask, Phase, ResourceChange, ResourceState, Step, StepState, Work,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

/// The stages of an attempt: `choose`, then those of the machines by their levels, then `publish`.
const CHOOSE: u32 = 0;
const PUBLISH: u32 = 1 << 30;

/// A machine of a deployment: its resource, and the order for it but for image and size.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Wanted {
    pub(super) resource: String,
    /// The name of the template's node.
    pub(super) node: String,
    pub(super) spec: NodeSpec,
    /// How many others have to be set up before it.
    #[serde(default)]
    pub(super) level: u32,
    /// With what it reports what its software came to, if it has any.
    #[serde(default)]
    pub(super) report: Option<String>,
}

/// What the step `place` found.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Placed {
    pub(super) placement: Placement,
    pub(super) machines: Vec<Wanted>,
}

impl Placed {
    fn of(work: &Work) -> Option<Self> {
        let step = work.steps.iter().find(|step| step.kind == "place" && step.state == StepState::Done)?;
        serde_json::from_value(step.output.clone()?).ok()
    }

    /// Those that may be tried.
    fn choices(&self, work: &Work) -> &[Choice] {
        let ranking = &self.placement.ranking;
        let most = work.operation.input["max_attempts"].as_u64().and_then(|most| usize::try_from(most).ok());
        &ranking[..most.unwrap_or(usize::MAX).max(1).min(ranking.len())]
    }
}

/// The workflow of a new deployment.
pub(super) struct Create(pub(super) Arc<Inner>);

/// The deployment that a work is about.
pub(super) fn subject(work: &Work) -> &str {
    work.subject.as_deref().unwrap_or_default()
}

pub(super) fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

/// The end of a try that talks to the store alone.
pub(super) fn noted(result: Result<(), Error>) -> Try {
    match result {
        Ok(()) => Try::done(json!({})),
        // Another work has taken this one's place: the deployment is its matter now.
        Err(Error::Store(ostler_store::Error::Lost | ostler_store::Error::NotFound(_))) => Try::done(json!({})),
        Err(error) => Try::again(&error),
    }
}

#[async_trait]
impl Workflow for Create {
    #[cfg(test)]
    fn kinds(&self) -> &'static [&'static str] {
        &["open", "place", "choose", "make-node", "start-up", "configure", "publish"]
    }

    fn policy(&self) -> Policy {
        self.0.settings.policy
    }

    async fn act(&self, work: &Work, position: usize) -> Try {
        let step = &work.steps[position];
        match step.kind.as_str() {
            "place" => self.0.place(work).await,
            "choose" => noted(self.choose(work, step).await),
            "make-node" => self.0.make_node(work, step).await,
            "start-up" => self.0.start_up(work, step).await,
            "configure" => self.0.configure(work, step).await,
            "publish" => noted(self.publish(work).await),
            _ => Try::done(json!({})),
        }
    }

    async fn undo(&self, work: &Work, position: usize) -> Try {
        let step = &work.steps[position];
        match step.kind.as_str() {
            "open" => noted(self.failed(work).await),
            "choose" => noted(self.given_up(work, step).await),
            "make-node" if !self.keeps(work) => self.0.unmake_node(work, step).await,
            _ => Try::done(json!({})),
        }
    }

    fn plan(&self, work: &Work) -> Plan {
        let Some(placed) = Placed::of(work) else { return Plan::End };
        let tried = work.progress.attempt as usize;
        let begins = work.progress.phase == Phase::Back || tried == 0;
        let Some(choice) = placed.choices(work).get(tried).filter(|_| begins) else { return Plan::End };
        let limit = work.operation.input["attempt_timeout"].as_i64();
        let deadline = limit.map(|limit| ostler_store::now().saturating_add(limit));
        Plan::More {
            steps: attempt(u32::try_from(tried).unwrap_or(u32::MAX).saturating_add(1), choice, &placed.machines),
            deadline,
        }
    }

    fn ended(&self, work: &Work) -> ostler_store::Outcome {
        succeeded(json!({ "deployment": subject(work) }))
    }
}

/// The steps of an attempt with a cloud.
fn attempt(number: u32, choice: &Choice, machines: &[Wanted]) -> Vec<Step> {
    let cloud = Some(choice.cloud.clone());
    let mut steps = vec![Step {
        cloud: cloud.clone(),
        input: json!({ "score": choice.score, "reasons": choice.reasons }),
        ..Step::new(number, CHOOSE, "choose")
    }];
    for wanted in machines {
        let Some(fit) = choice.fits.get(&wanted.node) else { continue };
        let spec = NodeSpec { image_id: fit.image.clone(), size_id: fit.size.clone(), ..wanted.spec.clone() };
        steps.extend(of_machine(number, CHOOSE, cloud.as_ref(), wanted, &spec));
    }
    steps.push(Step { onward: true, ..Step::new(number, PUBLISH, "publish") });
    steps
}

/// The steps of one machine, after the stage `after`: it is made, it starts, and its software is set up. Others at its level go beside
/// it.
pub(super) fn of_machine(attempt: u32, after: u32, cloud: Option<&String>, wanted: &Wanted, spec: &NodeSpec) -> Vec<Step> {
    let stage = after.saturating_add(1).saturating_add(wanted.level.saturating_mul(3));
    let step = |offset: u32, kind: &str, input: Value| Step {
        cloud: cloud.cloned(),
        input,
        ..Step::new(attempt, stage.saturating_add(offset), kind)
    };
    let resource = &wanted.resource;
    let make = step(0, "make-node", json!({ "resource": resource, "spec": spec, "report": wanted.report }));
    let mut steps = vec![
        Step { token: Some(uuid::Uuid::now_v7().to_string()), ..make },
        step(1, "start-up", json!({ "resource": resource, "public": spec.public_address })),
    ];
    if let Some(report) = &wanted.report {
        steps.push(step(2, "configure", json!({ "resource": resource, "report": report })));
    }
    steps
}

impl Create {
    /// Whether what the last attempt has made is to stay, for somebody to look at.
    fn keeps(&self, work: &Work) -> bool {
        let last = Placed::of(work).is_none_or(|placed| work.progress.attempt as usize >= placed.choices(work).len());
        let asked = work.operation.input["keep_last_attempt"].as_bool().unwrap_or_default();
        asked && last && !crate::scheduler::is_cancelled(work)
    }

    async fn choose(&self, work: &Work, step: &Step) -> Result<(), Error> {
        let cloud = step.cloud.clone().unwrap_or_default();
        let change = DeploymentChange {
            during: Some(work.operation.id.clone()),
            cloud: Some(Some(cloud.clone())),
            endpoint: Some(Some(self.0.endpoint(&cloud))),
            physical_id: Some(Some(work.operation.id.clone())),
            task: Some(DeploymentTask::Deployer),
            log_line: Some(format!("{cloud} is chosen: {}", list(&step.input["reasons"]))),
            ..DeploymentChange::default()
        };
        self.0.store.deployment_change(subject(work), &change, None).await?;
        for resource in self.0.store.resources(subject(work)).await? {
            let change = ResourceChange { state: Some(ResourceState::Creating), ..ResourceChange::default() };
            self.0.store.resource_change(&resource.id, &change).await?;
        }
        Ok(())
    }

    /// An attempt that failed, for the record of the deployment.
    async fn given_up(&self, work: &Work, step: &Step) -> Result<(), Error> {
        let cloud = step.cloud.clone().unwrap_or_default();
        let why = why(work);
        self.0.note_failure(&cloud);
        let Some(deployment) = self.0.store.deployment_get(subject(work)).await? else { return Ok(()) };
        let mut attempts = deployment.attempts.as_array().cloned().unwrap_or_default();
        // Undoing may be repeated.
        if attempts.len() < step.attempt as usize {
            attempts.push(json!({
                "cloud": cloud, "score": step.input["score"], "reasons": step.input["reasons"], "error": why, "at": ostler_store::now(),
            }));
        }
        let change = DeploymentChange {
            during: Some(work.operation.id.clone()),
            attempts: Some(Value::Array(attempts)),
            log_line: Some(format!("{cloud} is given up: {}", text(&why, "message"))),
            ..DeploymentChange::default()
        };
        self.0.store.deployment_change(subject(work), &change, None).await?;
        Ok(())
    }

    async fn failed(&self, work: &Work) -> Result<(), Error> {
        let Some(deployment) = self.0.store.deployment_get(subject(work)).await? else { return Ok(()) };
        let change = DeploymentChange {
            during: Some(work.operation.id.clone()),
            status: Some(DeploymentStatus::CreateFailed),
            status_reason: Some(Some(reason(work, &deployment.attempts))),
            task: Some(DeploymentTask::None),
            operation: Some(None),
            ..DeploymentChange::default()
        };
        for resource in self.0.store.resources(subject(work)).await? {
            let change = ResourceChange { state: Some(ResourceState::Error), ..ResourceChange::default() };
            self.0.store.resource_change(&resource.id, &change).await?;
        }
        // What stays runs, and is paid for.
        self.0.settle(work, None).await?;
        let event = self.0.event("deployment.create.failed", work);
        self.0.store.deployment_change(subject(work), &change, Some(&event)).await?;
        Ok(())
    }

    async fn publish(&self, work: &Work) -> Result<(), Error> {
        let Some(deployment) = self.0.store.deployment_get(subject(work)).await? else { return Ok(()) };
        if deployment.operation.as_deref() != Some(work.operation.id.as_str()) {
            return Ok(());
        }
        let outputs = self.0.outputs(&deployment).await?;
        self.0.settle(work, None).await?;
        for resource in self.0.store.resources(subject(work)).await? {
            let change = ResourceChange { state: Some(ResourceState::Started), ..ResourceChange::default() };
            self.0.store.resource_change(&resource.id, &change).await?;
        }
        let change = DeploymentChange {
            during: Some(work.operation.id.clone()),
            status: Some(DeploymentStatus::CreateComplete),
            status_reason: Some(None),
            task: Some(DeploymentTask::None),
            outputs: Some(Value::Object(outputs)),
            operation: Some(None),
            log_line: Some("complete".into()),
            ..DeploymentChange::default()
        };
        let event = self.0.event("deployment.create.done", work);
        self.0.store.deployment_change(subject(work), &change, Some(&event)).await?;
        Ok(())
    }
}

fn list(value: &Value) -> String {
    let texts: Vec<_> = value.as_array().map(Vec::as_slice).unwrap_or_default().iter().filter_map(Value::as_str).collect();
    texts.join("; ")
}

/// Why a deployment failed, in the words of the original where it tried clouds.
fn reason(work: &Work, attempts: &Value) -> String {
    use std::fmt::Write as _;
    let why = why(work);
    let attempts = attempts.as_array().map(Vec::as_slice).unwrap_or_default();
    if attempts.is_empty() || !why["step"].is_string() {
        return text(&why, "message").to_owned();
    }
    let mut reason = "Retries on cloud providers exhausted. Error list is:".to_owned();
    for attempt in attempts {
        let (cloud, error) = (text(attempt, "cloud"), text(&attempt["error"], "message"));
        let _ = write!(reason, "\n{}\nCloud Provider {cloud}\nCloud Provider Service {cloud}\n\n{error}", "-".repeat(64));
    }
    reason
}

impl Inner {
    /// Makes a machine exist, and notes it.
    pub(super) async fn make_node(&self, work: &Work, step: &Step) -> Try {
        let (cloud, token) = match self.cloud_of(step) {
            Ok(both) => both,
            Err(error) => return Try::failed(&error),
        };
        let resource = text(&step.input, "resource");
        let Ok(mut spec) = serde_json::from_value::<NodeSpec>(step.input["spec"].clone()) else {
            return Try::failed(&Error::Invalid("the order for a machine cannot be read".into()));
        };
        // Before the order goes out: whoever removes the deployment looks here.
        let intent = ResourceChange {
            cloud: Some(Some(cloud.name().to_owned())),
            token: Some(Some(token.to_owned())),
            ..ResourceChange::default()
        };
        if let Err(error) = self.store.resource_change(resource, &intent).await {
            return Try::again(&error.into());
        }
        if let Err(tried) = self.reserve(work, step, &spec.size_id).await {
            return tried;
        }
        if let Some(secret) = step.input["report"].as_str() {
            match self.user_data(work, resource, secret).await {
                Ok(data) => spec.user_data = Some(data),
                Err(error @ Error::Store(_)) => return Try::again(&error),
                Err(error) => return Try::failed(&error),
            }
        }
        let made = match ensure(&cloud, token, spec).await {
            Ok(made) => made.value,
            Err(Ended::Failed(error)) => return tries::broke(error),
            Err(Ended::Unknown(error)) => return Try::again(&Error::Cloud(error)),
        };
        let found = ResourceChange {
            physical_id: Some(Some(made.id.clone())),
            attributes: Some(machine_facts(&made)),
            state: Some(ResourceState::Created),
            ..ResourceChange::default()
        };
        match self.store.resource_change(resource, &found).await {
            Ok(_) => Try::done(json!({ "node": made.id })),
            Err(error) => Try::again(&error.into()),
        }
    }

    /// Makes sure that the machine of a step does not exist, and that its resource has none.
    pub(super) async fn unmake_node(&self, work: &Work, step: &Step) -> Try {
        let (cloud, token) = match self.cloud_of(step) {
            Ok(both) => both,
            Err(error) => return Try::again(&error),
        };
        let tried = tries::remove(&cloud, token).await;
        if tried.outcome != Outcome::Done {
            return tried;
        }
        let gone = ResourceChange {
            cloud: Some(None),
            token: Some(None),
            physical_id: Some(None),
            attributes: Some(json!({})),
            ..ResourceChange::default()
        };
        let resource = text(&step.input, "resource");
        if let Err(error) = self.store.report_forget(subject(work), resource).await {
            return Try::again(&error.into());
        }
        if let Err(error) = self.store.resource_release(subject(work), resource, &work.operation.actor).await {
            return Try::again(&error.into());
        }
        match self.store.resource_change(resource, &gone).await {
            Ok(_) => tried,
            Err(error) => Try::again(&error.into()),
        }
    }

    /// Waits until a machine runs, and has an address if it is to be reached.
    pub(super) async fn start_up(&self, work: &Work, step: &Step) -> Try {
        let name = step.cloud.as_deref().unwrap_or_default();
        let cloud = match self.compute.cloud(name) {
            Ok(cloud) => cloud,
            Err(error) => return Try::failed(&error),
        };
        let resource = text(&step.input, "resource");
        let row = match self.store.resource_get(subject(work), resource).await {
            Ok(row) => row,
            Err(error) => return Try::again(&error.into()),
        };
        let Some(id) = row.and_then(|row| row.physical_id) else {
            return Try::failed(&Error::Invalid("the resource has no machine".into()));
        };
        let node = match cloud.get_node(&id).await {
            Ok(node) => node,
            Err(error) if error.kind == ErrorKind::NotFound => {
                return tries::lost("the machine has disappeared");
            }
            Err(error) => return tries::broke(error),
        };
        match &node.state {
            NodeState::Failed | NodeState::Terminated | NodeState::Terminating => {
                let why = node.state_detail.clone().unwrap_or_else(|| "it gave no reason".into());
                return tries::lost(format!("the machine failed while it was built: {why}"));
            }
            NodeState::Pending => return Try::wait(self.settings.poll),
            _ if step.input["public"].as_bool().unwrap_or_default() && node.addresses.is_empty() => {
                return Try::wait(self.settings.poll);
            }
            _ => {}
        }
        let change = ResourceChange {
            state: Some(ResourceState::Started),
            attributes: Some(machine_facts(&node)),
            ..ResourceChange::default()
        };
        match self.store.resource_change(resource, &change).await {
            Ok(_) => Try::done(json!({})),
            Err(error) => Try::again(&error.into()),
        }
    }

    /// The cloud and the token of a step.
    pub(super) fn cloud_of<'s>(&self, step: &'s Step) -> Result<(Arc<Cloud>, &'s str), Error> {
        let cloud = self.compute.cloud(step.cloud.as_deref().unwrap_or_default())?;
        let token = step.token.as_deref().or_else(|| step.input["token"].as_str());
        Ok((cloud, token.ok_or_else(|| Error::Invalid("a step without a token".into()))?))
    }

    /// The outputs of a deployment, by what its machines show.
    pub(super) async fn outputs(&self, deployment: &ostler_store::Deployment) -> Result<serde_json::Map<String, Value>, Error> {
        let resources = self.store.resources(&deployment.id).await?;
        let parameters = deployment.parameters.as_object().cloned().unwrap_or_default();
        // It was read before; the rules may have become stricter since.
        let Ok(reading) = self.read(&deployment.template, &parameters) else { return Ok(serde_json::Map::new()) };
        Ok(reading.topology.outputs(&RunningAttributes(&resources)))
    }
}

/// Addresses by reach, as the steps and the outputs know them.
pub(super) fn addresses(node: &Node) -> (Vec<String>, Vec<String>) {
    let of = |public: bool| {
        let reach = move |address: &&crate::model::Address| (address.reach == crate::model::Reach::Public) == public;
        node.addresses.iter().filter(reach).map(|address| address.ip.clone()).collect::<Vec<_>>()
    };
    (of(true), of(false))
}
