//! One operation, carried out to its end.

use super::course::{Cause, Course, End, Outcome};
use super::fault::{Fault, Faults};
use super::{NotClosed, Try, Workflow};
use crate::Error;
use futures::FutureExt;
use ostler_store::{Request, Save, StepState, Store, Work};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long the store may be away before the operation is left to whoever takes it up.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often those who ask again have something tried at once, at most.
const NUDGES: Duration = Duration::from_secs(1);

/// What others want of an operation that runs here.
#[derive(Default)]
pub(super) struct Handle {
    wanted: Mutex<Option<Request>>,
    woken: Notify,
    /// Why a try did not succeed that is to be repeated.
    stalled: Mutex<Option<String>>,
    stalls: Notify,
    /// When somebody last asked again.
    nudged: Mutex<Option<Instant>>,
}

impl Handle {
    pub(super) fn want(&self, request: Request) {
        let mut wanted = self.wanted.lock();
        if *wanted != Some(Request::Abandon) {
            *wanted = Some(request);
        }
        self.woken.notify_one();
    }

    /// Somebody asks again: what waits is tried at once, where it was not just now.
    pub(super) fn nudge(&self) {
        let mut nudged = self.nudged.lock();
        if nudged.is_none_or(|at| at.elapsed() >= NUDGES) {
            *nudged = Some(Instant::now());
            drop(nudged);
            self.want(Request::Retry);
        }
    }

    fn stall(&self, why: &serde_json::Value) {
        *self.stalled.lock() = Some(why["message"].as_str().unwrap_or("it failed").to_owned());
        self.stalls.notify_one();
    }

    /// Waits until a try has failed that is to be repeated; why.
    pub(super) async fn stalled(&self) -> String {
        loop {
            if let Some(why) = self.stalled.lock().take() {
                return why;
            }
            self.stalls.notified().await;
        }
    }

    async fn wanted(&self) -> Request {
        loop {
            if let Some(request) = self.wanted.lock().take() {
                return request;
            }
            self.woken.notified().await;
        }
    }
}

/// A step that came back: where it is, and what came of it.
type Back = (usize, Try);

/// Carries out an operation until it is over. [`Error::Store`] with `Lost` where somebody else has taken it over.
pub(super) async fn drive(
    store: &Store,
    owner: &str,
    workflow: &Arc<dyn Workflow>,
    mut work: Work,
    handle: &Handle,
    stopping: &CancellationToken,
    faults: Option<&Arc<Faults>>,
) -> Result<Work, Error> {
    let policy = workflow.policy();
    let mut course = Course::new(work.progress.clone(), work.steps.clone());
    let mut request = work.request.take();
    // Tasks of their own: one may hold what saving waits for. They end with this one.
    let mut flights: JoinSet<Back> = JoinSet::new();
    let mut busy = BTreeSet::new();
    // After a crash: whoever ordered it was told nothing.
    let interrupted = work.operation.attempts > 1 && !workflow.resumes(&work);
    if interrupted && course.cancel(Cause::Interrupted) {
        tracing::info!(operation = %work.operation.id, "interrupted: it is undone");
    }
    loop {
        // Giving up waits for what is at work, so that the record says what is there.
        let answers = request.is_some_and(|request| request != Request::Abandon || busy.is_empty());
        let answered = answers.then(|| request.take()).flatten().map(|request| answer(&mut course, request)).is_some();
        let mut next = course.next(ostler_store::now(), &busy);
        while next.plan && course.end.is_none() {
            let (progress, steps) = (course.progress.clone(), course.steps.clone());
            course.planned(workflow.plan(&Work { progress, steps, ..work.clone() }));
            next = course.next(ostler_store::now(), &busy);
        }
        let idle = busy.is_empty() && next.act.is_empty() && next.undo.is_empty();
        course.progress.wake_at = next.wake_at.filter(|_| idle);
        match save(store, owner, workflow.as_ref(), &mut work, &course, answered).await {
            Ok(wanted) => request = request.or(wanted),
            Err(NotClosed::Refused(error)) => {
                course.refuse(&crate::compute::failure(&error));
                continue;
            }
            Err(NotClosed::Store(error)) => return Err(error.into()),
        }
        if course.end.is_some() {
            return Ok(work);
        }
        if stopping.is_cancelled() && busy.is_empty() {
            // What is written down as begun is taken up as after a crash.
            store.work_release(&work.operation.id, owner, course.progress.wake_at).await?;
            return Err(Error::Stopping);
        }
        let snapshot = Arc::new(work.clone());
        let wanted = if stopping.is_cancelled() { Default::default() } else { next };
        for (position, undoing) in wanted.act.iter().map(|p| (*p, false)).chain(wanted.undo.iter().map(|p| (*p, true))) {
            busy.insert(position);
            flights.spawn(one(Arc::clone(workflow), Arc::clone(&snapshot), position, undoing, faults.cloned()));
        }
        let pause = wanted.wake_at.map(|at| u64::try_from(at.saturating_sub(ostler_store::now())).unwrap_or_default());
        let timer = async {
            match pause {
                Some(micros) => tokio::time::sleep(Duration::from_micros(micros)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(back) = flights.join_next(), if !flights.is_empty() => {
                let mut back = Some(back);
                // What else has come back meanwhile is written down with it.
                while let Some(Ok(one)) = back {
                    if matches!(one.1.outcome, Outcome::Retry(_)) {
                        handle.stall(one.1.error.as_ref().unwrap_or(&serde_json::Value::Null));
                    }
                    take_in(&mut course, &mut busy, one, &policy);
                    back = flights.try_join_next();
                }
            }
            wanted = handle.wanted() => request = Some(wanted),
            () = timer => {}
            () = stopping.cancelled(), if !stopping.is_cancelled() => {}
        }
    }
}

fn answer(course: &mut Course, request: Request) {
    match request {
        Request::Cancel => course.cancel(Cause::Cancelled),
        Request::Retry => course.retry(),
        Request::Abandon => course.abandon(),
    };
}

fn take_in(course: &mut Course, busy: &mut BTreeSet<usize>, (position, tried): Back, policy: &super::Policy) {
    busy.remove(&position);
    let Some(step) = course.steps.get_mut(position) else { return };
    if tried.output.is_some() {
        step.output = tried.output;
    }
    step.error = tried.error;
    let (_, seed) = uuid::Uuid::new_v4().as_u64_pair();
    let before = course.progress.phase;
    course.record(position, tried.outcome, ostler_store::now(), policy, seed);
    if let Some(cause) = course.progress.cause.as_mut().filter(|_| before != course.progress.phase) {
        // Undoing the step will have a result of its own.
        cause["error"] = course.steps[position].error.clone().unwrap_or_default();
    }
}

/// One try of one step.
async fn one(workflow: Arc<dyn Workflow>, work: Arc<Work>, position: usize, undoing: bool, faults: Option<Arc<Faults>>) -> Back {
    let injected = |outcome| Try { outcome, output: None, error: Some(json!({ "message": "a test wants it to fail" })) };
    let place = faults.as_deref().map(|faults| {
        let kind = work.steps.get(position).map(|step| step.kind.as_str()).unwrap_or_default();
        (faults, format!("{}.{kind}.{}", work.operation.kind.as_str(), if undoing { "undo" } else { "act" }))
    });
    if let Some((faults, place)) = &place {
        match faults.before(place).await {
            Some(Fault::Refused) => return (position, injected(Outcome::Failed)),
            Some(_) => return (position, injected(Outcome::Retry(None))),
            None => {}
        }
    }
    let trying = async { if undoing { workflow.undo(&work, position).await } else { workflow.act(&work, position).await } };
    let tried = AssertUnwindSafe(trying).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!(operation = %work.operation.id, position, undoing, "a step panicked");
        Try { outcome: Outcome::Retry(None), output: None, error: Some(json!({ "message": "an internal error" })) }
    });
    match &place {
        Some((faults, place)) if tried.outcome == Outcome::Done && faults.after(place).await => {
            (position, injected(Outcome::Retry(None)))
        }
        _ => (position, tried),
    }
}

/// Writes down what has changed since the last time.
async fn save(
    store: &Store,
    owner: &str,
    workflow: &dyn Workflow,
    work: &mut Work,
    course: &Course,
    answered: bool,
) -> Result<Option<Request>, NotClosed> {
    let changed: Vec<(u32, &ostler_store::Step)> =
        (0..).zip(&course.steps).filter(|(at, step)| work.steps.get(*at as usize) != Some(step)).collect();
    let same = changed.is_empty() && work.progress == course.progress;
    if same && !answered && course.end.is_none() {
        return Ok(None);
    }
    log(work, course);
    let stuck = course.progress.stuck && !work.progress.stuck;
    let now = Work { progress: course.progress.clone(), steps: course.steps.clone(), ..work.clone() };
    let outcome = course.end.map(|end| match end {
        End::Succeeded => workflow.ended(&now),
        End::Failed => ostler_store::Outcome::Failed(why(&now)),
        End::Abandoned => ostler_store::Outcome::Abandoned(why(&now)),
    });
    let save = Save { progress: &course.progress, steps: &changed, answered, events: &[], outcome: outcome.as_ref() };
    let began = tokio::time::Instant::now();
    let mut pause = Duration::from_millis(20);
    loop {
        let saved = match &outcome {
            Some(_) => workflow.close(store, owner, &now, &save).await.map(|()| None),
            None => store.work_save(&now.operation.id, owner, &save).await.map_err(NotClosed::Store),
        };
        match saved {
            Ok(request) => {
                *work = now;
                if let Some(outcome) = &outcome {
                    settle(work, outcome);
                }
                if stuck {
                    workflow.stuck(work).await;
                }
                return Ok(request);
            }
            // What is at the provider is there: the record has to say so, if it can be had at all.
            Err(NotClosed::Store(error)) if error.is_transient() && began.elapsed() < PATIENCE => {
                tracing::warn!(operation = %work.operation.id, %error, "an operation could not be written down yet");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(2));
            }
            Err(error) => return Err(error),
        }
    }
}

/// The operation as the record has it now that it is over.
fn settle(work: &mut Work, outcome: &ostler_store::Outcome) {
    use ostler_store::OperationState::{Abandoned, Failed, Succeeded};
    let operation = &mut work.operation;
    (operation.state, operation.output, operation.error) = match outcome {
        ostler_store::Outcome::Succeeded { output, .. } => (Succeeded, output.clone(), None),
        ostler_store::Outcome::Failed(error) => (Failed, None, Some(error.clone())),
        ostler_store::Outcome::Abandoned(error) => (Abandoned, None, Some(error.clone())),
    };
    (operation.lease_owner, operation.lease_until) = (None, None);
}

/// Why an operation did not succeed: the error of the step that failed, with its name.
pub(crate) fn why(work: &Work) -> serde_json::Value {
    let recorded = || work.progress.cause.as_ref().map(|cause| cause["error"].clone()).filter(serde_json::Value::is_object);
    let failed = |position: usize| {
        let step = work.steps.get(position)?;
        let mut error = recorded().unwrap_or_else(|| json!({}));
        error["step"] = json!(step.kind);
        Some(error)
    };
    let stated = |message: &str| json!({ "kind": "failed", "message": message });
    match Cause::of(&work.progress) {
        Some(Cause::Refused) => recorded().unwrap_or_else(|| stated("it is not wanted any more")),
        Some(Cause::Step(position)) => failed(position).unwrap_or_else(|| stated("a step failed")),
        Some(Cause::Timeout | Cause::AttemptTimeout) => stated("it took too long"),
        Some(Cause::Cancelled) => stated("it was cancelled"),
        Some(Cause::Interrupted) => stated("interrupted before it had succeeded"),
        None => stated("it was given up"),
    }
}

fn log(before: &Work, course: &Course) {
    let (operation, kind) = (&before.operation.id, before.operation.kind.as_str());
    if course.progress.stuck && !before.progress.stuck {
        let stuck =
            course.steps.iter().find(|step| matches!(step.state, StepState::Doing | StepState::Undoing) && step.tries > 0);
        let (step, error) = stuck.map(|step| (step.kind.as_str(), step.error.clone())).unwrap_or_default();
        tracing::error!(%operation, kind, step, error = ?error, "an operation is stuck: it is tried again and again");
    }
    if course.progress.phase != before.progress.phase {
        tracing::info!(%operation, kind, phase = course.progress.phase.as_str(), "an operation is turned round");
    }
}
