//! Operations of several steps that survive what may happen: each step is written down before it is done and after it, and what
//! does not succeed is undone.
//!
//! A [`Workflow`] says what its steps do and what follows them; [`course`] decides what is next; [`Scheduler`] carries it out,
//! keeps the lease, and takes up what a crash or a dead host has left behind.

mod course;
mod drive;
pub mod fault;
#[cfg(test)]
mod tests;

pub(crate) use course::{Outcome, Plan, Policy};
pub(crate) use drive::why;

use crate::identity::{Permission, Principal};
use crate::{Error, SECOND};
use async_trait::async_trait;
use drive::Handle;
use ostler_store::{Lease, Operation, OperationKind, OperationState, Outcome as Ending, Request, Save, Store, Work, WorkFilter};
use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a lease is without being renewed.
pub(crate) const LEASE: i64 = 30 * SECOND;
/// Bytes of the longest identifier that is looked for.
const LONGEST_ID: usize = 64;
/// How often leases are renewed.
const BEAT: Duration = Duration::from_secs(5);

/// What came of a try of a step.
#[derive(Clone, Debug)]
pub(crate) struct Try {
    pub(crate) outcome: Outcome,
    /// What is to be remembered of it; none leaves what is remembered.
    pub(crate) output: Option<Value>,
    /// Why it failed.
    pub(crate) error: Option<Value>,
}

impl Try {
    /// It had its effect.
    pub(crate) fn done(output: Value) -> Self {
        Self { outcome: Outcome::Done, output: Some(output), error: None }
    }

    /// It is under way: look again after this time.
    pub(crate) fn wait(pause: Duration) -> Self {
        let pause = i64::try_from(pause.as_micros()).unwrap_or(i64::MAX);
        Self { outcome: Outcome::Wait(pause), output: None, error: None }
    }

    /// It will not go better.
    pub(crate) fn failed(error: &Error) -> Self {
        Self { outcome: Outcome::Failed, output: None, error: Some(crate::compute::failure(error)) }
    }

    /// It may go better another time.
    pub(crate) fn again(error: &Error) -> Self {
        let after = match error {
            Error::Cloud(error) => error.retry_after.map(|after| i64::try_from(after.as_micros()).unwrap_or(i64::MAX)),
            _ => None,
        };
        Self { outcome: Outcome::Retry(after), output: None, error: Some(crate::compute::failure(error)) }
    }
}

/// What the steps of one kind of operation do.
#[async_trait]
pub(crate) trait Workflow: Send + Sync {
    /// The kinds of its steps, for tests that strike at each.
    #[cfg(test)]
    fn kinds(&self) -> &'static [&'static str];

    /// How often, and how long after each other, its steps are tried.
    fn policy(&self) -> Policy {
        Policy::default()
    }

    /// Whether one that a crash has interrupted goes on. One that does not is undone.
    fn resumes(&self, _work: &Work) -> bool {
        true
    }

    /// Tries a step. May be repeated after a crash, though the effect is there already: it must not be there twice.
    async fn act(&self, work: &Work, position: usize) -> Try;

    /// Undoes a step, whatever it has brought about. May be repeated, too.
    async fn undo(&self, work: &Work, position: usize) -> Try;

    /// What follows, where nothing is left to be done. Depends on the record alone.
    fn plan(&self, work: &Work) -> Plan;

    /// Something is tried again and again from now on.
    async fn stuck(&self, _work: &Work) {}

    /// What the operation came to whose steps are all done, for its record.
    fn ended(&self, _work: &Work) -> Ending {
        succeeded(json!({}))
    }

    /// Writes down the end of an operation, together with whatever else changes with it, in one transaction of whoever holds its
    /// lease. A success may be refused, where what it was for has ended meanwhile: then the operation is turned round.
    async fn close(&self, store: &Store, owner: &str, work: &Work, save: &Save<'_>) -> Result<(), NotClosed> {
        store.work_save(&work.operation.id, owner, save).await?;
        Ok(())
    }
}

/// A success, for the record.
pub(crate) fn succeeded(output: Value) -> Ending {
    Ending::Succeeded { node_id: None, output: Some(output) }
}

/// Why an operation is not at its end.
#[derive(Debug)]
pub(crate) enum NotClosed {
    /// What it has done is not wanted any more.
    Refused(Error),
    /// The store failed.
    Store(ostler_store::Error),
}

impl From<ostler_store::Error> for NotClosed {
    fn from(error: ostler_store::Error) -> Self {
        Self::Store(error)
    }
}

/// How long somebody waits for the end of an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// So long.
    For(Duration),
    /// Until a try has failed that is to be repeated.
    OneTry,
}

/// Carries out operations of several steps.
pub struct Scheduler {
    store: Store,
    owner: String,
    workflows: RwLock<HashMap<OperationKind, Arc<dyn Workflow>>>,
    running: Mutex<HashMap<String, Arc<Handle>>>,
    tasks: TaskTracker,
    /// Nothing is begun any more.
    stopping: CancellationToken,
    faults: Option<Arc<fault::Faults>>,
    #[cfg(test)]
    handles: Mutex<Vec<tokio::task::AbortHandle>>,
}

impl Scheduler {
    /// What carries out the operations of this run of this host.
    pub fn new(store: Store) -> Self {
        Self::owned(store, uuid::Uuid::now_v7().to_string())
    }

    /// `owner` tells this run of this host from all others, in leases.
    pub(crate) fn owned(store: Store, owner: String) -> Self {
        let (stopping, faults) = (CancellationToken::new(), fault::Faults::from_environment().map(Arc::new));
        Self {
            store,
            owner,
            workflows: RwLock::default(),
            running: Mutex::default(),
            tasks: TaskTracker::new(),
            stopping,
            faults,
            #[cfg(test)]
            handles: Mutex::default(),
        }
    }

    /// With faults of a test.
    #[cfg(test)]
    pub(crate) fn with_faults(self, faults: fault::Faults) -> Self {
        Self { faults: Some(Arc::new(faults)), ..self }
    }

    /// Places whose faults never struck.
    #[cfg(test)]
    pub(crate) fn idle_faults(&self) -> Vec<String> {
        self.faults.as_ref().map(|faults| faults.idle()).unwrap_or_default()
    }

    /// Which workflows operations have, by their kinds. Before anything runs.
    pub(crate) fn install(&self, workflows: HashMap<OperationKind, Arc<dyn Workflow>>) {
        self.workflows.write().extend(workflows);
    }

    /// The workflow of a kind of operation.
    pub(crate) fn workflow(&self, kind: OperationKind) -> Option<Arc<dyn Workflow>> {
        self.workflows.read().get(&kind).cloned()
    }

    /// Who holds the leases of what runs here.
    pub(crate) fn owner(&self) -> &str {
        &self.owner
    }

    /// Where operations are written down.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// The end of a lease, from now.
    pub(crate) fn lease_end() -> i64 {
        ostler_store::now().saturating_add(LEASE)
    }

    /// The lease with which an operation begins.
    pub(crate) fn lease(&self) -> Lease {
        Lease { owner: self.owner.clone(), until: Self::lease_end() }
    }

    /// Carries an operation out that has just been written down, and waits for its end, or as long as `patience` says: it goes on
    /// without whoever waits. Its failure is the error.
    pub(crate) async fn carry_out(self: &Arc<Self>, work: Work, patience: Patience) -> Result<Work, Error> {
        let id = work.operation.id.clone();
        let uncertain = |reason: String| Error::Uncertain { operation: id.clone(), reason };
        let handle = Arc::new(Handle::default());
        let task = self.start_with(work, Arc::clone(&handle))?;
        let over = async {
            match patience {
                Patience::For(limit) => {
                    tokio::time::sleep(limit).await;
                    format!("it is still under way after {} s", limit.as_secs())
                }
                Patience::OneTry => handle.stalled().await,
            }
        };
        let ended = tokio::select! {
            biased;
            ended = task => ended,
            why = over => return Err(uncertain(why)),
        };
        match ended {
            Ok(Ok(work)) if work.operation.state == OperationState::Succeeded => Ok(work),
            Ok(Ok(work)) => Err(crate::compute::recorded_failure(&work.operation)),
            Ok(Err(error)) => Err(uncertain(error.to_string())),
            Err(error) => Err(uncertain(error.to_string())),
        }
    }

    /// Begins to carry out an operation whose lease is ours.
    pub(crate) fn start(self: &Arc<Self>, work: Work) -> Result<tokio::task::JoinHandle<Result<Work, Error>>, Error> {
        self.start_with(work, Arc::new(Handle::default()))
    }

    fn start_with(
        self: &Arc<Self>,
        work: Work,
        handle: Arc<Handle>,
    ) -> Result<tokio::task::JoinHandle<Result<Work, Error>>, Error> {
        let kind = work.operation.kind;
        let workflow = self.workflow(kind).ok_or_else(|| Error::Invalid(format!("nobody takes up `{}`", kind.as_str())))?;
        let this = Arc::clone(self);
        let id = work.operation.id.clone();
        if self.running.lock().insert(id.clone(), Arc::clone(&handle)).is_some() {
            tracing::error!(operation = %id, "an operation is carried out twice");
        }
        let task = self.tasks.spawn(async move {
            let result =
                drive::drive(&this.store, &this.owner, &workflow, work, &handle, &this.stopping, this.faults.as_ref()).await;
            this.running.lock().remove(&id);
            result
        });
        #[cfg(test)]
        self.handles.lock().push(task.abort_handle());
        Ok(task)
    }

    /// Takes up an operation that a crash or a dead host left behind, and whose lease is ours by now. It goes on by itself.
    pub(crate) async fn take_up(self: &Arc<Self>, operation: &Operation) -> Result<(), Error> {
        if self.running.lock().contains_key(&operation.id) {
            return Ok(());
        }
        self.store.operation_renew(&operation.id, &self.owner, Self::lease_end()).await?;
        let work = self.store.work_get(&operation.id).await?;
        self.start(work.ok_or_else(|| Error::NoOperation(operation.id.clone()))?)?;
        Ok(())
    }

    /// Renews the leases of what runs here, and passes on what somebody wants of it, until the task that runs it is dropped.
    pub async fn beat(self: Arc<Self>) {
        let mut interval = tokio::time::interval(BEAT);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            // Not what else this host has begun: a call without an answer is settled once its lease is over.
            let ids: Vec<String> = self.running.lock().keys().cloned().collect();
            if ids.is_empty() {
                continue;
            }
            match self.store.leases_renew(&self.owner, &ids, Self::lease_end()).await {
                Ok(wanted) => wanted.into_iter().for_each(|(id, request)| self.pass_on(&id, request)),
                Err(error) => tracing::warn!(%error, "leases could not be renewed"),
            }
        }
    }

    /// Somebody asks again for what an operation is to bring: what waits in it is tried at once, at most once a second. Only where
    /// this host works on it.
    pub(crate) fn nudge(&self, id: &str) {
        if let Some(handle) = self.running.lock().get(id) {
            handle.nudge();
        }
    }

    fn pass_on(&self, id: &str, request: Request) {
        if let Some(handle) = self.running.lock().get(id) {
            handle.want(request);
        }
    }

    /// What an operator wants of an operation.
    pub async fn order(&self, who: &Principal, id: &str, request: Request) -> Result<Work, Error> {
        who.require(Permission::ChangeWork)?;
        self.show(who, id).await?;
        self.request(id, request).await?;
        tracing::info!(operation = id, request = request.as_str(), by = who.user, "an operator wants something of an operation");
        self.show(who, id).await
    }

    /// Asks for an operation to be turned round, tried at once, or given up, whoever works on it.
    pub(crate) async fn request(&self, id: &str, request: Request) -> Result<(), Error> {
        if id.len() > LONGEST_ID || !self.store.work_request(id, request).await? {
            return Err(match self.store.work_get(id).await? {
                Some(_) => Error::Ended(id.to_owned()),
                None => Error::NoOperation(id.to_owned()),
            });
        }
        self.pass_on(id, request);
        Ok(())
    }

    /// Operations, the latest first. The next page begins after the last identifier of this one.
    pub async fn list(&self, who: &Principal, filter: WorkFilter, before: Option<&str>, limit: u32) -> Result<Vec<Work>, Error> {
        who.require(Permission::ReadWork)?;
        Ok(self.store.work_list(filter, before, limit).await?)
    }

    /// One operation with its steps.
    pub async fn show(&self, who: &Principal, id: &str) -> Result<Work, Error> {
        who.require(Permission::ReadWork)?;
        let found = if id.len() > LONGEST_ID { None } else { self.store.work_get(id).await? };
        found.ok_or_else(|| Error::NoOperation(id.to_owned()))
    }

    /// Drops all that runs here, as a crash does.
    #[cfg(test)]
    pub(crate) fn abort(&self) {
        self.handles.lock().drain(..).for_each(|task| task.abort());
    }

    /// Begins nothing any more, and waits for the calls under way. What is not at its end is given back, for whoever comes next.
    pub async fn stop(&self) {
        self.stopping.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Whether an operation goes back because somebody wanted it to.
pub(crate) fn is_cancelled(work: &Work) -> bool {
    course::Cause::of(&work.progress) == Some(course::Cause::Cancelled)
}
