//! Deployments: what a TOSCA template describes, placed on a cloud, built, changed and removed.
//!
//! A submission is read and checked, and its resources are written down together with the work on them; `build`, `change` and
//! `remove` are the steps of that work. `blueprint` and `placement` decide, without input or output.

mod blueprint;
mod build;
mod change;
mod charges;
mod placement;
mod placing;
mod records;
mod registries;
mod remove;
mod software;
#[cfg(test)]
mod tests;
mod views;

pub use ostler_store::{Deployment, DeploymentStatus, DeploymentTask, Owner, Resource, ResourceState};
pub use ostler_store::{DeploymentSort, Page, redacted};
pub use software::LONGEST_REPORT;

use crate::Error;
use crate::billing::Billing;
use crate::compute::{Compute, Key};
use crate::identity::{Permission, Person, Principal, Scheme};
use crate::scheduler::{Policy, Scheduler, Workflow};
use blueprint::Blueprint;
use build::subject;
use ostler_registries::Registries;
use ostler_store::{
    Begin, DeploymentChange, Idempotency, NewDeployment, NewEvent, NewOperation, OperationKind, Progress, Request, Step, Store,
    Work,
};
use ostler_tosca::{Catalogue, Limits, Mode, Template, Topology};
use parking_lot::{Mutex, RwLock};
use records::resources;
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Resources of a deployment at most.
const MOST_RESOURCES: u64 = 2_000;

/// Templates that are kept as they were read, at most.
const MOST_READINGS: u64 = 64;

/// What is asked for. For an update `template` is the whole new one, `parameters` are merged over the stored ones.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The TOSCA template.
    pub template: String,
    /// Values for its inputs.
    pub parameters: Map<String, Value>,
    /// Where its state is told.
    pub callback: Option<String>,
    /// The group for which it is.
    pub user_group: Option<String>,
    /// Providers to try at most.
    pub max_attempts: Option<u32>,
    /// For the whole.
    pub timeout: Option<Duration>,
    /// For each provider.
    pub attempt_timeout: Option<Duration>,
    /// Whether what a last failed attempt has made is to stay.
    pub keep_last_attempt: bool,
    /// The user's access token, for the registry of agreements. It is not kept.
    pub token: Option<SecretString>,
}

/// What is done to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Stopped to running.
    Start,
    /// Running to stopped.
    Stop,
}

/// Whose deployments to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreatedBy {
    /// The caller's.
    Me,
    /// Somebody's.
    Somebody {
        /// The issuer's name for the person.
        subject: String,
        /// The issuer.
        issuer: String,
    },
}

/// Why a use case of deployments failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeploymentError {
    /// There is none that the caller may see.
    #[error("no deployment has the id `{0}`")]
    NotFound(String),
    /// The deployment has no such resource.
    #[error("no resource of deployment `{deployment}` has the id `{resource}`")]
    NoResource {
        /// The deployment.
        deployment: String,
        /// What was asked for.
        resource: String,
    },
    /// Only its owner may do this.
    #[error("only the owner may do this")]
    NotOwner,
    /// The status does not allow it; `verb` is `update`, `delete`, `reset` or `act`.
    #[error("a deployment in {} does not allow: {verb}", status.as_str())]
    Status {
        /// What was to be done.
        verb: &'static str,
        /// The status.
        status: DeploymentStatus,
    },
    /// The resource's state or type does not allow the action.
    #[error("{0}")]
    Action(String),
    /// Somebody else's deployments are for administrators.
    #[error("only an administrator sees the deployments of {0}")]
    OnlyAdministrators(String),
    /// The group is not one of the caller's.
    #[error("{0}")]
    Group(String),
    /// The template or the inputs.
    #[error(transparent)]
    Template(#[from] ostler_tosca::Error),
}

/// What the configuration says of a cloud, for the placement.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// More is better.
    pub priority: f64,
    /// The agreements that cover it.
    pub agreements: Vec<String>,
    /// Its identifier in the external registries. Where they are configured, what they say of it counts.
    pub service: Option<String>,
}

/// Terms of clouds that come and go.
#[derive(Debug, Default)]
pub struct AddedTerms(RwLock<BTreeMap<String, Terms>>);

impl AddedTerms {
    /// Offers a cloud for deployments, or does not any more.
    pub fn set(&self, cloud: &str, terms: Option<Terms>) {
        let mut added = self.0.write();
        match terms {
            Some(terms) => added.insert(cloud.to_owned(), terms),
            None => added.remove(cloud),
        };
    }

    /// Those of one cloud.
    pub fn get(&self, cloud: &str) -> Option<Terms> {
        self.0.read().get(cloud).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.0.read().keys().cloned().collect()
    }
}

/// How deployments are placed and built.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who vouches for accounts of this server, in deployments of theirs: its own address.
    pub issuer: String,
    /// Terms by cloud; none: all clouds, alike.
    pub clouds: Option<BTreeMap<String, Terms>>,
    /// Terms of clouds that are added while the host runs.
    pub added: Arc<AddedTerms>,
    /// How strictly templates are read.
    pub strict: bool,
    /// How often a machine that is being built is looked at.
    pub poll: Duration,
    /// Where machines report what their software came to.
    pub reports: String,
    /// The certificate that vouches for that address, PEM, where machines do not know it by themselves.
    pub authority: Option<String>,
    /// How long they may take.
    pub reports_within: Duration,
    /// Whether machines are paid for by owners with an account here.
    pub charged: bool,
    /// External registries of agreements and providers.
    pub registries: Option<Arc<Registries>>,
    pub(crate) policy: Policy,
}

impl Settings {
    /// With everything else as usual.
    pub fn new(issuer: impl Into<String>) -> Self {
        let issuer = issuer.into();
        Self {
            reports: format!("{issuer}/ostler/v1/reports"),
            issuer,
            clouds: None,
            added: Arc::default(),
            strict: false,
            poll: Duration::from_millis(500),
            authority: None,
            reports_within: Duration::from_secs(3600),
            charged: false,
            registries: None,
            policy: Policy::default(),
        }
    }
}

/// What the use cases and the workflows share.
struct Inner {
    compute: Arc<Compute>,
    billing: Arc<Billing>,
    store: Store,
    scheduler: Arc<Scheduler>,
    settings: Settings,
    /// Templates with their inputs, as they were read last: each step of an operation needs its own.
    readings: moka::sync::Cache<[u8; 32], Arc<Reading>>,
    /// Failures by cloud: how many, faded until then.
    failures: Mutex<HashMap<String, (f64, Instant)>>,
}

/// A template with its inputs, and what is to be built of it.
struct Reading {
    topology: Topology,
    blueprint: Blueprint,
}

/// The use cases around deployments.
pub struct Deployments(Arc<Inner>);

impl Deployments {
    /// The use cases on these clouds.
    pub fn new(compute: Arc<Compute>, billing: Arc<Billing>, scheduler: Arc<Scheduler>, settings: Settings) -> Self {
        let (store, readings) = (compute.store().clone(), moka::sync::Cache::new(MOST_READINGS));
        let deployments =
            Self(Arc::new(Inner { compute, billing, store, scheduler, settings, readings, failures: Mutex::default() }));
        deployments.0.scheduler.install(deployments.workflows());
        deployments
    }

    /// What the scheduler is to know.
    fn workflows(&self) -> HashMap<OperationKind, Arc<dyn Workflow>> {
        let inner = || Arc::clone(&self.0);
        HashMap::from([
            (OperationKind::CreateDeployment, Arc::new(build::Create(inner())) as Arc<dyn Workflow>),
            (OperationKind::UpdateDeployment, Arc::new(change::Update(inner()))),
            (OperationKind::ActOnResource, Arc::new(change::Act(inner()))),
            (OperationKind::DeleteDeployment, Arc::new(remove::Delete(inner()))),
        ])
    }

    /// Writes a deployment down, and begins to build it. With a key, a second call returns what the first one made.
    pub async fn create(&self, who: &Principal, submission: Submission, key: Option<Key>) -> Result<Deployment, Error> {
        who.require(Permission::UseDeployments)?;
        let inner = &self.0;
        let owner = inner.owner(who);
        check_group(who, submission.user_group.as_deref())?;
        let reading = inner.read(&submission.template, &submission.parameters)?;
        let id = uuid::Uuid::now_v7().to_string();
        let resources = resources(&id, &reading.blueprint);
        let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        let (timeout, attempt_timeout) = (submission.timeout.map(micros), submission.attempt_timeout.map(micros));
        let scope = key.map(|key| Idempotency { scope: format!("{}:{}", key.scope, inner.person(who).key()), key: key.key });
        let input = json!({
            "max_attempts": submission.max_attempts, "attempt_timeout": attempt_timeout, "keep_last_attempt": submission.keep_last_attempt,
        });
        let asked =
            json!([submission.template, submission.parameters, submission.callback, submission.user_group, input, timeout]);
        let mut operation = inner.operation(who, OperationKind::CreateDeployment, input, scope);
        if let Some(survey) = inner.survey(who, &submission, &reading.blueprint).await {
            operation.input["registries"] = json!(survey);
        }
        operation.input_hash = Sha256::digest(asked.to_string()).to_vec();
        let new = NewDeployment {
            id: id.clone(),
            owner,
            user_group: submission.user_group,
            template: submission.template,
            parameters: Value::Object(submission.parameters),
            callback: submission.callback,
            max_attempts: submission.max_attempts,
            timeout,
            attempt_timeout,
            keep_last_attempt: submission.keep_last_attempt,
        };
        let deadline = timeout.map(|timeout| ostler_store::now().saturating_add(timeout));
        let progress = Progress { deadline, ..Progress::default() };
        let steps = [Step::new(0, 0, "open"), Step::new(0, 1, "place")];
        let event = NewEvent {
            kind: "deployment.create.intent".into(),
            subject: id.clone(),
            cloud: None,
            actor: who.user.clone(),
            data: json!({}),
        };
        match inner.store.deployment_begin(&new, &resources, &operation, &progress, &steps, &event).await {
            Ok(Begin::New(operation)) => {
                inner.begin(&operation.id).await?;
                inner.found(&id).await
            }
            Ok(Begin::Existing(operation)) => {
                let before = inner.store.work_get(&operation.id).await?.and_then(|work| work.subject).unwrap_or_default();
                inner.found(&before).await
            }
            Err(ostler_store::Error::IdempotencyMismatch) => Err(Error::KeyReused),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether [`Self::create`] would take it, and to whom the deployment would belong.
    pub(crate) fn check(&self, who: &Principal, submission: &Submission) -> Result<Option<Owner>, Error> {
        who.require(Permission::UseDeployments)?;
        check_group(who, submission.user_group.as_deref())?;
        self.0.read(&submission.template, &submission.parameters)?;
        Ok(self.0.owner(who))
    }

    /// Tells the persons who ask apart.
    pub(crate) fn person_key(&self, who: &Principal) -> String {
        self.0.person(who).key()
    }

    /// Removes it. `force`: forgets what cannot be removed.
    pub async fn delete(&self, who: &Principal, id: &str, force: bool) -> Result<(), Error> {
        let deployment = self.own(who, id).await?;
        self.0.remove(who, deployment, force).await
    }

    /// Gives up a deletion that does not come to its end.
    pub async fn reset(&self, who: &Principal, id: &str) -> Result<(), Error> {
        let deployment = self.own(who, id).await?;
        if deployment.status != DeploymentStatus::DeleteInProgress {
            return Err(refused("reset", &deployment));
        }
        // The work itself goes on: nothing of what it still has to remove is forgotten.
        let change = DeploymentChange {
            status: Some(DeploymentStatus::DeleteFailed),
            status_reason: Some(Some("reset".into())),
            task: Some(DeploymentTask::None),
            ..DeploymentChange::default()
        };
        self.0.store.deployment_change(id, &change, None).await?;
        Ok(())
    }
}

impl Inner {
    /// Begins to remove a deployment. `force`: forgets what cannot be removed.
    async fn remove(&self, who: &Principal, deployment: Deployment, force: bool) -> Result<(), Error> {
        let (id, under_way) = (deployment.id.as_str(), deployment.operation.clone());
        let removal = match deployment.status {
            DeploymentStatus::DeleteInProgress => return Err(refused("delete", &deployment)),
            // A removal that is stuck goes on; all it needs is to be told.
            DeploymentStatus::DeleteFailed => under_way.clone(),
            _ => None,
        };
        if let Some(removal) = removal {
            if force {
                self.scheduler.request(&removal, Request::Abandon).await?;
                let event = NewEvent {
                    kind: "deployment.forgotten".into(),
                    subject: id.to_owned(),
                    cloud: deployment.cloud.clone(),
                    actor: who.user.clone(),
                    data: json!({}),
                };
                self.store.deployment_remove(id, &event).await?;
                return Ok(());
            }
            let change = DeploymentChange {
                during: Some(removal.clone()),
                status: Some(DeploymentStatus::DeleteInProgress),
                status_reason: Some(None),
                ..DeploymentChange::default()
            };
            self.store.deployment_change(id, &change, None).await?;
            return self.scheduler.request(&removal, Request::Retry).await;
        }
        let change = DeploymentChange {
            status: Some(DeploymentStatus::DeleteInProgress),
            status_reason: Some(None),
            task: Some(DeploymentTask::Deployer),
            ..DeploymentChange::default()
        };
        let input = json!({ "instead_of": under_way });
        let steps = [Step { onward: true, ..Step::new(0, 0, "settle") }];
        self.work(who, &deployment, under_way.as_deref(), &change, (&[], &[]), OperationKind::DeleteDeployment, input, &steps)
            .await
    }
}

/// The error where the status does not allow it.
fn refused(verb: &'static str, deployment: &Deployment) -> Error {
    DeploymentError::Status { verb, status: deployment.status }.into()
}

/// A group that is named must be one of the caller's, where his token says which he has.
fn check_group(who: &Principal, group: Option<&str>) -> Result<(), Error> {
    let Some(groups) = who.person.as_ref().and_then(|person| person.groups.as_ref()) else { return Ok(()) };
    match group {
        Some(_) if groups.is_empty() => {
            Err(DeploymentError::Group("User's token does not contain a group claim or it is empty".to_owned()).into())
        }
        Some(group) if !groups.iter().any(|known| known.trim_start_matches('/') == group.trim_start_matches('/')) => {
            Err(DeploymentError::Group(format!("The group {group} is not in the user's authorized groups")).into())
        }
        _ => Ok(()),
    }
}

impl Person {
    /// Tells persons apart.
    fn key(&self) -> String {
        format!("{}:{}:{}", self.issuer.len(), self.issuer, self.subject)
    }
}

impl Inner {
    /// The person who asks, also one with an account here.
    fn person(&self, who: &Principal) -> Person {
        who.person.clone().unwrap_or_else(|| Person {
            issuer: self.settings.issuer.clone(),
            subject: who.user.clone(),
            organisation: None,
            groups: None,
            scopes: None,
        })
    }

    /// To whom a new deployment belongs: to nobody where nobody need say who he is.
    fn owner(&self, who: &Principal) -> Option<Owner> {
        if who.scheme == Scheme::Open {
            return None;
        }
        let person = self.person(who);
        Some(Owner {
            user_id: who.account.as_ref().map(|account| account.id.clone()),
            issuer: person.issuer,
            subject: person.subject,
            organisation: person.organisation,
        })
    }

    async fn found(&self, id: &str) -> Result<Deployment, Error> {
        let known = id.len() <= 64;
        let found = if known { self.store.deployment_get(id).await? } else { None };
        found.ok_or_else(|| DeploymentError::NotFound(id.to_owned()).into())
    }

    /// A template with its inputs.
    fn read(&self, template: &str, parameters: &Map<String, Value>) -> Result<Arc<Reading>, Error> {
        let key: [u8; 32] = Sha256::digest(json!([template, parameters]).to_string()).into();
        if let Some(reading) = self.readings.get(&key) {
            return Ok(reading);
        }
        let mode = if self.settings.strict { Mode::Strict } else { Mode::Normal };
        let template =
            Template::parse(template, &Catalogue::standard(), mode, &Limits::default()).map_err(DeploymentError::from)?;
        let topology = Topology::bind(Arc::new(template), parameters).map_err(DeploymentError::from)?;
        let blueprint = Blueprint::of(&topology).map_err(Error::Invalid)?;
        let count: u64 = blueprint.nodes.iter().map(|node| u64::from(node.count)).sum();
        if count > MOST_RESOURCES {
            return Err(Error::Invalid(format!("a deployment has at most {MOST_RESOURCES} resources, this one has {count}")));
        }
        let reading = Arc::new(Reading { topology, blueprint });
        self.readings.insert(key, Arc::clone(&reading));
        Ok(reading)
    }

    fn operation(&self, who: &Principal, kind: OperationKind, input: Value, idempotency: Option<Idempotency>) -> NewOperation {
        NewOperation {
            // Which one it is the work itself finds out.
            cloud: String::new(),
            kind,
            token: None,
            node_id: None,
            input_hash: Sha256::digest(input.to_string()).to_vec(),
            input,
            driver_digest: None,
            actor: who.user.clone(),
            lease: Some(self.scheduler.lease()),
            idempotency,
        }
    }

    /// Begins work that is written down.
    async fn begin(&self, operation: &str) -> Result<(), Error> {
        let work = self.store.work_get(operation).await?.ok_or_else(|| Error::NoOperation(operation.to_owned()))?;
        self.scheduler.start(work)?;
        Ok(())
    }

    /// Writes work on a deployment down, and begins it.
    #[expect(clippy::too_many_arguments, reason = "all of it is one transaction")]
    async fn work(
        &self,
        who: &Principal,
        deployment: &Deployment,
        instead_of: Option<&str>,
        change: &DeploymentChange,
        (new, changed): (&[Resource], &[(String, ostler_store::ResourceChange)]),
        kind: OperationKind,
        input: Value,
        steps: &[Step],
    ) -> Result<(), Error> {
        let operation = self.operation(who, kind, input, None);
        let event = NewEvent {
            kind: format!("{}.intent", kind.as_str()),
            subject: deployment.id.clone(),
            cloud: deployment.cloud.clone(),
            actor: who.user.clone(),
            data: json!({}),
        };
        let progress = Progress::default();
        let begun = self
            .store
            .deployment_work(&deployment.id, instead_of, change, new, changed, &operation, &progress, steps, &event)
            .await;
        match begun {
            Ok(Begin::New(operation) | Begin::Existing(operation)) => self.begin(&operation.id).await,
            Err(ostler_store::Error::Referenced(_)) => Err(Error::Busy("something else is being done about the deployment")),
            Err(ostler_store::Error::NotFound(_)) => Err(DeploymentError::NotFound(deployment.id.clone()).into()),
            Err(error) => Err(error.into()),
        }
    }

    /// An event about the deployment of a work.
    fn event(&self, kind: &str, work: &Work) -> NewEvent {
        NewEvent {
            kind: kind.to_owned(),
            subject: subject(work).to_owned(),
            cloud: None,
            actor: work.operation.actor.clone(),
            data: json!({ "operation": work.operation.id }),
        }
    }
}
