//! Changing a deployment: machines that are to be there are made, then those that are to go are removed; and starting and stopping
//! single ones.

use super::build::{Wanted, noted, of_machine, subject, text};
use super::records::{resource, wanted};
use super::{Action, DeploymentError, Deployments, Inner, check_group, refused};
use crate::Error;
use crate::compute::tries;
use crate::identity::Principal;
use crate::model::{self, NodeSpec, NodeState};
use crate::scheduler::{Outcome, Plan, Policy, Try, Workflow, why};
use async_trait::async_trait;
use ostler_store::{
    Deployment, DeploymentChange, DeploymentStatus, DeploymentTask, OperationKind, Resource, ResourceChange, ResourceState, Step,
    StepState, Work,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// What an update makes of the resources.
#[derive(Debug, Default)]
struct Difference {
    added: Vec<Resource>,
    removed: Vec<Resource>,
    /// All that will be there.
    after: Vec<Resource>,
}

impl Difference {
    /// Between what there is and what a blueprint asks for.
    fn of(deployment: &str, there: &[Resource], blueprint: &super::Blueprint) -> Result<Self, Error> {
        let mut difference = Self::default();
        let mut position = there.iter().map(|resource| resource.position + 1).max().unwrap_or_default();
        for resource in there {
            let same = |plan: &&super::blueprint::NodePlan| plan.name == resource.node && plan.type_name == resource.type_name;
            if !blueprint.nodes.iter().any(|plan| same(&plan)) {
                difference.removed.push(resource.clone());
            }
        }
        for node in &blueprint.order {
            let plan = &blueprint.nodes[*node];
            let is = |resource: &&Resource| resource.node == plan.name && resource.type_name == plan.type_name;
            let mut stay: Vec<Resource> = there.iter().filter(is).cloned().collect();
            for id in &plan.removal {
                let Some(at) = stay.iter().position(|resource| resource.id == *id) else {
                    let (name, kind) = (&plan.name, &plan.type_name);
                    return Err(Error::Invalid(format!("Unknown resource with id {id}, name {name} and type {kind}")));
                };
                difference.removed.push(stay.remove(at));
            }
            // What has no machine goes first, then what came last.
            stay.sort_by_key(|resource| (resource.physical_id.is_none(), resource.position));
            difference.removed.extend(stay.drain((plan.count as usize).min(stay.len())..));
            for _ in stay.len()..plan.count as usize {
                let new = resource(deployment, position, plan);
                position += 1;
                difference.added.push(new.clone());
                stay.push(new);
            }
            difference.after.extend(stay);
        }
        for resource in &mut difference.after {
            resource.required_by.clear();
        }
        let names: Vec<(String, String)> = difference.after.iter().map(|r| (r.id.clone(), r.node.clone())).collect();
        for plan in &blueprint.nodes {
            let targets: Vec<&str> = plan.requires.iter().map(|target| blueprint.nodes[*target].name.as_str()).collect();
            let sources = names.iter().filter(|(_, node)| *node == plan.name);
            for (source, _) in sources {
                for target in difference.after.iter_mut().filter(|resource| targets.contains(&resource.node.as_str())) {
                    if !target.required_by.contains(source) {
                        target.required_by.push(source.clone());
                    }
                }
            }
        }
        for added in &mut difference.added {
            if let Some(linked) = difference.after.iter().find(|resource| resource.id == added.id) {
                added.required_by.clone_from(&linked.required_by);
            }
        }
        Ok(difference)
    }
}

impl Deployments {
    /// Changes a deployment to what a new template says, with its parameters merged over the present ones.
    pub async fn update(&self, who: &Principal, id: &str, submission: super::Submission) -> Result<Deployment, Error> {
        let deployment = self.own(who, id).await?;
        let possible = matches!(
            deployment.status,
            DeploymentStatus::CreateComplete | DeploymentStatus::UpdateComplete | DeploymentStatus::UpdateFailed
        );
        if !possible {
            return Err(refused("update", &deployment));
        }
        check_group(who, submission.user_group.as_deref())?;
        let mut parameters = deployment.parameters.as_object().cloned().unwrap_or_default();
        parameters.extend(submission.parameters);
        let reading = self.0.read(&submission.template, &parameters)?;
        let there = self.0.store.resources(id).await?;
        let difference = Difference::of(id, &there, &reading.blueprint)?;
        let machine = |resource: &Resource| json!({ "resource": resource.id, "cloud": resource.cloud, "token": resource.token });
        let input = json!({
            // Resources that are named for removal are gone afterwards: the template must not name them again.
            "template": ostler_tosca::without_removal_lists(&submission.template, &ostler_tosca::Limits::default()),
            "parameters": parameters,
            "cloud": deployment.cloud,
            "machines": wanted(id, &reading.blueprint, &difference.added),
            "added": difference.added.iter().map(|resource| resource.id.clone()).collect::<Vec<_>>(),
            "removed": difference.removed.iter().map(machine).collect::<Vec<_>>(),
        });
        let mut changed: Vec<(String, ResourceChange)> = Vec::new();
        for resource in &difference.after {
            if !difference.added.iter().any(|added| added.id == resource.id) {
                let required_by = Some(resource.required_by.clone());
                changed.push((resource.id.clone(), ResourceChange { required_by, ..ResourceChange::default() }));
            }
        }
        for resource in &difference.removed {
            let state = Some(ResourceState::Deleting);
            changed.push((resource.id.clone(), ResourceChange { state, ..ResourceChange::default() }));
        }
        let change = DeploymentChange {
            status: Some(DeploymentStatus::UpdateInProgress),
            status_reason: Some(None),
            task: Some(DeploymentTask::Deployer),
            callback: submission.callback.map(Some),
            ..DeploymentChange::default()
        };
        let steps = [Step::new(0, 0, "open"), Step::new(0, 1, "fit")];
        let kind = OperationKind::UpdateDeployment;
        self.0.work(who, &deployment, None, &change, (&difference.added, &changed), kind, input, &steps).await?;
        self.0.found(id).await
    }

    /// Starts or stops the machine of a resource.
    pub async fn act(&self, who: &Principal, id: &str, resource: &str, action: Action) -> Result<(), Error> {
        let deployment = self.own(who, id).await?;
        let possible = matches!(
            deployment.status,
            DeploymentStatus::CreateComplete | DeploymentStatus::UpdateComplete | DeploymentStatus::UpdateFailed
        );
        if !possible {
            return Err(refused("act", &deployment));
        }
        let resource = self.resource(who, id, resource).await?;
        self.0.act_on(who, &deployment, &resource, action).await
    }
}

impl Inner {
    /// Begins to start or stop the machine of a resource.
    pub(super) async fn act_on(
        &self,
        who: &Principal,
        deployment: &Deployment,
        resource: &Resource,
        action: Action,
    ) -> Result<(), Error> {
        let machine = resource.cloud.as_ref().zip(resource.token.as_ref());
        let Some((cloud, token)) = machine else {
            return Err(DeploymentError::Action(format!("Actions not supported on node of type {}", resource.type_name)).into());
        };
        let (verb, before, meanwhile) = match action {
            Action::Start => ("start", ResourceState::Stopped, ResourceState::Starting),
            Action::Stop => ("stop", ResourceState::Started, ResourceState::Stopping),
        };
        if resource.state != before {
            return Err(DeploymentError::Action(format!("Cannot {verb} node in state {}", resource.state.as_str())).into());
        }
        let input = json!({ "resource": resource.id, "cloud": cloud, "token": token, "action": verb });
        let changed = [(resource.id.clone(), ResourceChange { state: Some(meanwhile), ..ResourceChange::default() })];
        let change = DeploymentChange { task: Some(DeploymentTask::Deployer), ..DeploymentChange::default() };
        let steps = [
            Step::new(0, 0, "open"),
            Step { cloud: Some(cloud.clone()), input: input.clone(), ..Step::new(0, 1, "act") },
            Step { onward: true, ..Step::new(0, 2, "note") },
        ];
        self.work(who, deployment, None, &change, (&[], &changed), OperationKind::ActOnResource, input, &steps).await
    }
}

/// The stage of the machines that go, after all that come.
const REMOVE: u32 = 1 << 30;

/// The workflow of an update.
pub(super) struct Update(pub(super) Arc<Inner>);

#[async_trait]
impl Workflow for Update {
    #[cfg(test)]
    fn kinds(&self) -> &'static [&'static str] {
        &["open", "fit", "make-node", "start-up", "configure", "remove-node", "publish"]
    }

    fn policy(&self) -> Policy {
        self.0.settings.policy
    }

    async fn act(&self, work: &Work, position: usize) -> Try {
        let step = &work.steps[position];
        match step.kind.as_str() {
            "fit" => self.fit(work).await,
            "make-node" => self.0.make_node(work, step).await,
            "start-up" => self.0.start_up(work, step).await,
            "configure" => self.0.configure(work, step).await,
            "remove-node" => self.remove_node(work, step).await,
            "publish" => noted(self.publish(work).await),
            _ => Try::done(json!({})),
        }
    }

    async fn undo(&self, work: &Work, position: usize) -> Try {
        let step = &work.steps[position];
        match step.kind.as_str() {
            "open" => noted(self.failed(work).await),
            "make-node" => self.0.unmake_node(work, step).await,
            _ => Try::done(json!({})),
        }
    }

    fn plan(&self, work: &Work) -> Plan {
        if work.steps.iter().any(|step| step.kind == "publish") {
            return Plan::End;
        }
        let input = &work.operation.input;
        let fitted = work.steps.iter().find(|step| step.kind == "fit" && step.state == StepState::Done);
        let orders = fitted
            .and_then(|step| serde_json::from_value::<Vec<Wanted>>(step.output.as_ref()?["orders"].clone()).ok())
            .unwrap_or_default();
        let cloud = input["cloud"].as_str().map(str::to_owned);
        let mut steps = Vec::new();
        for wanted in &orders {
            steps.extend(of_machine(0, 1, cloud.as_ref(), wanted, &wanted.spec));
        }
        for removed in input["removed"].as_array().map(Vec::as_slice).unwrap_or_default() {
            steps.push(Step {
                onward: true,
                cloud: removed["cloud"].as_str().map(str::to_owned),
                input: removed.clone(),
                ..Step::new(0, REMOVE, "remove-node")
            });
        }
        steps.push(Step { onward: true, ..Step::new(0, REMOVE + 1, "publish") });
        Plan::More { steps, deadline: None }
    }
}

impl Update {
    /// Image and size for each further machine, on the deployment's cloud.
    async fn fit(&self, work: &Work) -> Try {
        let input = &work.operation.input;
        let machines: Vec<Wanted> = serde_json::from_value(input["machines"].clone()).unwrap_or_default();
        if machines.is_empty() {
            return Try::done(json!({ "orders": [] }));
        }
        let parameters = input["parameters"].as_object().cloned().unwrap_or_default();
        let mut blueprint = match self.0.read(text(input, "template"), &parameters) {
            Ok(reading) => reading.blueprint.clone(),
            Err(error) => return Try::failed(&error),
        };
        // Only what is new has to fit in.
        for plan in &mut blueprint.nodes {
            plan.count = u32::try_from(machines.iter().filter(|machine| machine.node == plan.name).count()).unwrap_or(u32::MAX);
        }
        let mut candidate = self.0.candidate(text(input, "cloud").to_owned()).await;
        candidate.balance = match self.0.store.deployment_get(subject(work)).await {
            Ok(Some(deployment)) => match self.0.balance(&deployment).await {
                Ok(balance) => balance,
                Err(error) => return Try::again(&error),
            },
            Ok(None) => return Try::failed(&Error::Invalid("the deployment is gone".into())),
            Err(error) => return Try::again(&error.into()),
        };
        let placement = super::placement::place(&blueprint, &[candidate]);
        let Some(choice) = placement.ranking.first() else {
            let reasons: Vec<_> = placement.refused.into_iter().flat_map(|refusal| refusal.reasons).collect();
            return Try::failed(&Error::Invalid(format!("the cloud cannot serve: {}", reasons.join(", "))));
        };
        let order = |wanted: &Wanted| {
            let fit = choice.fits.get(&wanted.node)?;
            let spec = NodeSpec { image_id: fit.image.clone(), size_id: fit.size.clone(), ..wanted.spec.clone() };
            Some(Wanted { spec, ..wanted.clone() })
        };
        Try::done(json!({ "orders": machines.iter().filter_map(order).collect::<Vec<_>>() }))
    }

    /// Destroys a machine that is to go, and forgets its resource.
    async fn remove_node(&self, work: &Work, step: &Step) -> Try {
        let resource = text(&step.input, "resource");
        if step.input["token"].is_string() {
            let (cloud, token) = match self.0.cloud_of(step) {
                Ok(both) => both,
                Err(error) => return Try::again(&error),
            };
            let tried = tries::remove(&cloud, token).await;
            if tried.outcome != Outcome::Done {
                return tried;
            }
        }
        if let Err(error) = self.0.store.report_forget(subject(work), resource).await {
            return Try::again(&error.into());
        }
        match self.0.store.resource_remove(resource).await {
            Ok(_) => Try::done(json!({})),
            Err(error) => Try::again(&error.into()),
        }
    }

    async fn failed(&self, work: &Work) -> Result<(), Error> {
        let input = &work.operation.input;
        for added in input["added"].as_array().map(Vec::as_slice).unwrap_or_default().iter().filter_map(Value::as_str) {
            self.0.store.resource_remove(added).await?;
        }
        for removed in input["removed"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let change = ResourceChange { state: Some(ResourceState::Started), ..ResourceChange::default() };
            self.0.store.resource_change(text(removed, "resource"), &change).await?;
        }
        let change = DeploymentChange {
            during: Some(work.operation.id.clone()),
            status: Some(DeploymentStatus::UpdateFailed),
            status_reason: Some(Some(text(&why(work), "message").to_owned())),
            task: Some(DeploymentTask::None),
            operation: Some(None),
            ..DeploymentChange::default()
        };
        let event = self.0.event("deployment.update.failed", work);
        self.0.store.deployment_change(subject(work), &change, Some(&event)).await?;
        Ok(())
    }

    async fn publish(&self, work: &Work) -> Result<(), Error> {
        let input = &work.operation.input;
        let Some(mut deployment) = self.0.store.deployment_get(subject(work)).await? else { return Ok(()) };
        if deployment.operation.as_deref() != Some(work.operation.id.as_str()) {
            return Ok(());
        }
        text(input, "template").clone_into(&mut deployment.template);
        deployment.parameters = input["parameters"].clone();
        let outputs = self.0.outputs(&deployment).await?;
        self.0.settle(work, None).await?;
        for resource in self.0.store.resources(subject(work)).await? {
            if resource.state != ResourceState::Stopped {
                let change = ResourceChange { state: Some(ResourceState::Started), ..ResourceChange::default() };
                self.0.store.resource_change(&resource.id, &change).await?;
            }
        }
        let change = DeploymentChange {
            during: Some(work.operation.id.clone()),
            status: Some(DeploymentStatus::UpdateComplete),
            status_reason: Some(None),
            task: Some(DeploymentTask::None),
            template: Some(deployment.template),
            parameters: Some(deployment.parameters),
            outputs: Some(Value::Object(outputs)),
            operation: Some(None),
            log_line: Some("updated".into()),
            ..DeploymentChange::default()
        };
        let event = self.0.event("deployment.update.done", work);
        self.0.store.deployment_change(subject(work), &change, Some(&event)).await?;
        Ok(())
    }
}

/// The workflow of an action on one machine.
pub(super) struct Act(pub(super) Arc<Inner>);

#[async_trait]
impl Workflow for Act {
    #[cfg(test)]
    fn kinds(&self) -> &'static [&'static str] {
        &["open", "act", "note"]
    }

    fn policy(&self) -> Policy {
        self.0.settings.policy
    }

    async fn act(&self, work: &Work, position: usize) -> Try {
        let step = &work.steps[position];
        match step.kind.as_str() {
            "act" => self.act_once(work, step).await,
            "note" => noted(self.note(work, None).await),
            _ => Try::done(json!({})),
        }
    }

    async fn undo(&self, work: &Work, position: usize) -> Try {
        match work.steps[position].kind.as_str() {
            "open" => noted(self.note(work, Some(&why(work))).await),
            _ => Try::done(json!({})),
        }
    }

    fn plan(&self, _work: &Work) -> Plan {
        Plan::End
    }
}

impl Act {
    /// Asks for the action where the machine is not there yet, and waits until it is.
    async fn act_once(&self, work: &Work, step: &Step) -> Try {
        let (cloud, token) = match self.0.cloud_of(step) {
            Ok(both) => both,
            Err(error) => return Try::failed(&error),
        };
        let node = match cloud.find_node(token).await {
            Ok(Some(node)) => node,
            Ok(None) => return tries::lost("the machine has disappeared"),
            Err(error) => return Try::again(&Error::Cloud(error)),
        };
        let stop = text(&step.input, "action") == "stop";
        let (wanted, action) = if stop {
            (NodeState::Stopped, model::Action::Stop(model::Force::Soft))
        } else {
            (NodeState::Running, model::Action::Start)
        };
        if node.state == wanted {
            return Try::done(json!({}));
        }
        if matches!(node.state, NodeState::Pending | NodeState::Starting | NodeState::Rebooting | NodeState::Stopping) {
            // On its way, by an earlier try or somebody else's order.
            return Try::wait(self.0.settings.poll);
        }
        if !stop && let Err(error) = self.0.reserve_again(work, text(&step.input, "resource")).await {
            return if matches!(error, Error::NoCredit { .. }) { Try::failed(&error) } else { Try::again(&error) };
        }
        match cloud.act(&node.id, action).await {
            Ok(()) => Try::wait(self.0.settings.poll),
            Err(error) if error.kind == ostler_drivers::ErrorKind::Conflict => Try::again(&Error::Cloud(error)),
            Err(error) => tries::broke(error),
        }
    }

    async fn note(&self, work: &Work, failure: Option<&Value>) -> Result<(), Error> {
        let input = &work.operation.input;
        let stop = text(input, "action") == "stop";
        let state = if stop == failure.is_none() { ResourceState::Stopped } else { ResourceState::Started };
        let resource = text(input, "resource");
        if failure.is_some() {
            self.0.store.resource_release(subject(work), resource, &work.operation.actor).await?;
        } else {
            self.0.settle(work, Some(resource)).await?;
        }
        let change = ResourceChange { state: Some(state), ..ResourceChange::default() };
        self.0.store.resource_change(resource, &change).await?;
        let outcome = failure.map_or("done", |failure| text(failure, "message"));
        let change = DeploymentChange {
            during: Some(work.operation.id.clone()),
            task: Some(DeploymentTask::None),
            operation: Some(None),
            log_line: Some(format!("{} of {}: {outcome}", text(input, "action"), resource)),
            ..DeploymentChange::default()
        };
        let event = self.0.event("deployment.action.done", work);
        self.0.store.deployment_change(subject(work), &change, Some(&event)).await?;
        Ok(())
    }
}
