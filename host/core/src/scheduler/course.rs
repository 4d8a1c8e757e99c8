//! What is to be done next in a piece of work, and what an outcome changes: decided without any input or output.
//!
//! A piece of work is a list of steps. Steps of one stage run side by side, stages one after the other. Each step is written down
//! before it is done (`Doing`), done at a provider, and written down again (`Done`). One that fails turns the work round: what was
//! begun is undone, the last stage first. Steps belong to an attempt; when one attempt is undone, the planner may go on with another
//! one. Whoever reads a [`Course`] back after a crash goes on where the record ends: acting and undoing may be repeated.

use ostler_store::{Phase, Progress, Step, StepState};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// How long to wait between tries, in microseconds, and how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    /// Tries of a step until it counts as failed; of an undoing, until it counts as stuck.
    pub(crate) tries: u32,
    /// The pause after the first try. Doubled after each further one.
    pub(crate) first_pause: i64,
    /// The longest pause.
    pub(crate) longest_pause: i64,
    /// The pause between the tries of what is stuck.
    pub(crate) stuck_pause: i64,
}

impl Default for Policy {
    fn default() -> Self {
        Self { tries: 6, first_pause: 100_000, longest_pause: 10_000_000, stuck_pause: 60_000_000 }
    }
}

impl Policy {
    /// The pause after this many tries: between a half and the whole of the doubled one, so that those who failed together do not
    /// come back together. `seed` decides where between.
    pub(crate) fn pause(&self, tries: u32, seed: u64) -> i64 {
        let doubled = self.first_pause.saturating_mul(1 << tries.saturating_sub(1).min(30));
        let most = doubled.min(self.longest_pause).max(1);
        // Multiplicative hashing: neighbouring seeds end far apart.
        let spread = (seed.wrapping_add(u64::from(tries))).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
        let half = most / 2;
        half + i64::try_from(spread).unwrap_or_default() % (most - half).max(1)
    }
}

/// How a piece of work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum End {
    /// All steps are done.
    Succeeded,
    /// Nothing is left of it.
    Failed,
    /// An operator gave it up. What it made may still be there.
    Abandoned,
}

/// Why it does not go forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Cause {
    /// The step with this position failed.
    Step(usize),
    /// The attempt took too long.
    AttemptTimeout,
    /// The whole took too long.
    Timeout,
    /// Somebody does not want it any more.
    Cancelled,
    /// Nobody is waiting for it any more: a crash came between, and it can be ordered anew.
    Interrupted,
    /// All was done, and is not wanted any more: what it was for has ended meanwhile.
    Refused,
}

impl Cause {
    /// For the record.
    fn record(self) -> Value {
        match self {
            Self::Step(position) => json!({ "kind": "step", "step": position }),
            Self::AttemptTimeout => json!({ "kind": "attempt-timeout" }),
            Self::Timeout => json!({ "kind": "timeout" }),
            Self::Cancelled => json!({ "kind": "cancelled" }),
            Self::Interrupted => json!({ "kind": "interrupted" }),
            Self::Refused => json!({ "kind": "refused" }),
        }
    }

    /// From the record.
    pub(crate) fn of(progress: &Progress) -> Option<Self> {
        let cause = progress.cause.as_ref()?;
        Some(match cause["kind"].as_str()? {
            "step" => Self::Step(usize::try_from(cause["step"].as_u64()?).ok()?),
            "attempt-timeout" => Self::AttemptTimeout,
            "timeout" => Self::Timeout,
            "interrupted" => Self::Interrupted,
            "refused" => Self::Refused,
            _ => Self::Cancelled,
        })
    }
}

/// What came of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It had its effect (or, undoing, has none any more).
    Done,
    /// It is under way; look again after this many microseconds.
    Wait(i64),
    /// It may go better another time; not before this many microseconds, where the provider said so.
    Retry(Option<i64>),
    /// It will not go better.
    Failed,
}

/// What to do now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Next {
    /// Steps to act on, by position. Their intent is in the course by now and must be written down first.
    pub(crate) act: Vec<usize>,
    /// Steps to undo, by position; the same.
    pub(crate) undo: Vec<usize>,
    /// Ask the planner for what follows.
    pub(crate) plan: bool,
    /// Nothing before this time, in microseconds UTC, unless a step under way comes back.
    pub(crate) wake_at: Option<i64>,
}

/// What the planner answers when nothing is left to be done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Plan {
    /// These follow. Where an attempt was undone, they are the next attempt.
    More {
        /// The steps.
        steps: Vec<Step>,
        /// Until when the attempt may take, in microseconds UTC.
        deadline: Option<i64>,
    },
    /// Nothing follows: success after steps that are done, failure after an attempt that is undone.
    End,
}

/// A piece of work, as far as the order of things is concerned.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Course {
    /// Where it stands.
    pub(crate) progress: Progress,
    /// The steps, in the order in which they were planned.
    pub(crate) steps: Vec<Step>,
    /// How it ended, if it did.
    pub(crate) end: Option<End>,
}

impl Course {
    /// As the record has it.
    pub(crate) fn new(progress: Progress, steps: Vec<Step>) -> Self {
        Self { progress, steps, end: None }
    }

    /// What is to be done at `now`, while the steps of `busy` are being worked on.
    pub(crate) fn next(&mut self, now: i64, busy: &BTreeSet<usize>) -> Next {
        let mut next = Next::default();
        if self.end.is_some() {
            return next;
        }
        self.check_deadlines(now);
        match self.progress.phase {
            Phase::Forward => self.forward(now, busy, &mut next),
            Phase::Back | Phase::Out => self.backward(now, busy, &mut next),
        }
        next
    }

    fn check_deadlines(&mut self, now: i64) {
        let passed = |deadline: Option<i64>| deadline.is_some_and(|deadline| deadline <= now);
        // Nothing turns round what has passed the point of no return.
        if self.no_return() {
            return;
        }
        if matches!(self.progress.phase, Phase::Forward | Phase::Back) && passed(self.progress.deadline) {
            self.turn(Phase::Out, Cause::Timeout);
        } else if self.progress.phase == Phase::Forward && passed(self.progress.attempt_deadline) {
            self.turn(Phase::Back, Cause::AttemptTimeout);
        }
    }

    /// Whether an onward step has been begun.
    fn no_return(&self) -> bool {
        self.steps.iter().any(|step| step.onward && !matches!(step.state, StepState::Planned | StepState::Undone))
    }

    fn turn(&mut self, phase: Phase, cause: Cause) {
        self.progress.phase = phase;
        self.progress.cause = Some(cause.record());
        self.progress.attempt_deadline = None;
        self.progress.stuck = false;
        for step in &mut self.steps {
            step.tries = 0;
            step.wake_at = 0;
        }
    }

    fn forward(&mut self, now: i64, busy: &BTreeSet<usize>, next: &mut Next) {
        // What an earlier attempt had planned and not begun is no longer wanted.
        let attempt = self.progress.attempt;
        let wanted = |step: &Step| step.attempt == 0 || step.attempt == attempt;
        let open = |step: &&Step| matches!(step.state, StepState::Planned | StepState::Doing) && wanted(step);
        let Some(turn) = self.steps.iter().filter(open).map(|step| (step.attempt, step.stage)).min() else {
            next.plan = busy.is_empty();
            return;
        };
        for (position, step) in self.steps.iter_mut().enumerate() {
            if (step.attempt, step.stage) != turn || busy.contains(&position) {
                continue;
            }
            match step.state {
                StepState::Planned | StepState::Doing if step.wake_at > now => next.wait(step.wake_at),
                StepState::Planned => {
                    (step.state, step.begun_at) = (StepState::Doing, Some(now));
                    next.act.push(position);
                }
                StepState::Doing => next.act.push(position),
                _ => {}
            }
        }
        for deadline in [self.progress.deadline, self.progress.attempt_deadline].into_iter().flatten() {
            if !self.no_return() {
                next.wait(deadline);
            }
        }
    }

    fn backward(&mut self, now: i64, busy: &BTreeSet<usize>, next: &mut Next) {
        // The present attempt, or all of them.
        let (all, attempt) = (self.progress.phase == Phase::Out, self.progress.attempt);
        let concerned = |step: &Step| {
            let begun = !matches!(step.state, StepState::Planned | StepState::Undone);
            begun && (all || (step.attempt == attempt && attempt > 0))
        };
        let turn = self.steps.iter().filter(|step| concerned(step)).map(|step| (step.attempt, step.stage)).max();
        let Some(turn) = turn else {
            match (busy.is_empty(), all) {
                (true, true) => self.end = Some(End::Failed),
                (true, false) => next.plan = true,
                // One that is still at work has come too late to be wanted, and is looked at when it is back.
                (false, _) => {}
            }
            return;
        };
        for (position, step) in self.steps.iter_mut().enumerate() {
            // One that is still at work is not undone before it has come back.
            if (step.attempt, step.stage) != turn || busy.contains(&position) {
                continue;
            }
            match step.state {
                StepState::Planned | StepState::Undone => {}
                StepState::Undoing if step.wake_at > now => next.wait(step.wake_at),
                StepState::Undoing => next.undo.push(position),
                StepState::Doing | StepState::Done | StepState::Failed => {
                    step.state = StepState::Undoing;
                    (step.tries, step.wake_at) = (0, 0);
                    next.undo.push(position);
                }
            }
        }
        if let (Phase::Back, Some(deadline)) = (self.progress.phase, self.progress.deadline) {
            next.wait(deadline);
        }
    }

    /// Takes in what came of a try of the step at `position`. `seed` spreads the pauses.
    pub(crate) fn record(&mut self, position: usize, outcome: Outcome, now: i64, policy: &Policy, seed: u64) {
        let no_return = self.no_return();
        let Some(step) = self.steps.get_mut(position) else { return };
        let undoing = step.state == StepState::Undoing;
        match (step.state, outcome) {
            (StepState::Doing, Outcome::Done) => settle(step, StepState::Done, now),
            (StepState::Undoing, Outcome::Done) => settle(step, StepState::Undone, now),
            (StepState::Doing | StepState::Undoing, Outcome::Wait(pause)) => step.wake_at = now.saturating_add(pause.max(1)),
            (StepState::Doing | StepState::Undoing, Outcome::Retry(_) | Outcome::Failed) => {
                let tries = step.tries.saturating_add(1);
                let exhausted = tries >= policy.tries || outcome == Outcome::Failed;
                if exhausted && !undoing && !no_return {
                    settle(step, StepState::Failed, now);
                    let attempt = step.attempt;
                    // Somebody else may have turned the work round meanwhile, for another reason.
                    if self.progress.phase == Phase::Forward {
                        self.turn(if attempt == 0 { Phase::Out } else { Phase::Back }, Cause::Step(position));
                    }
                    return;
                }
                let pause = if exhausted { policy.stuck_pause } else { policy.pause(tries, seed) };
                let provider = if let Outcome::Retry(after) = outcome { after.unwrap_or_default() } else { 0 };
                step.tries = if exhausted { tries.max(policy.tries) } else { tries };
                step.wake_at = now.saturating_add(pause.max(provider));
            }
            // Not under way: an answer that comes twice changes nothing.
            _ => {}
        }
        self.progress.stuck = self.steps.iter().any(|step| step.tries >= policy.tries);
    }

    /// Takes in the planner's answer.
    pub(crate) fn planned(&mut self, plan: Plan) {
        match (self.progress.phase, plan) {
            (Phase::Forward, Plan::More { steps, deadline }) => {
                self.progress.attempt =
                    steps.iter().map(|step| step.attempt).max().unwrap_or_default().max(self.progress.attempt);
                self.progress.attempt_deadline = deadline.or(self.progress.attempt_deadline);
                self.steps.extend(steps);
            }
            (Phase::Back, Plan::More { steps, deadline }) => {
                self.progress.attempt += 1;
                self.progress.attempt_deadline = deadline;
                (self.progress.phase, self.progress.cause) = (Phase::Forward, None);
                self.steps.extend(steps.into_iter().map(|step| Step { attempt: self.progress.attempt, ..step }));
            }
            (Phase::Forward, Plan::End) => self.end = Some(End::Succeeded),
            (Phase::Back, Plan::End) => self.progress.phase = Phase::Out,
            (Phase::Out, _) => {}
        }
    }

    /// Turns the work round for good. Whether it could be: not where it is over or there is no way back.
    pub(crate) fn cancel(&mut self, why: Cause) -> bool {
        let possible = self.end.is_none() && self.progress.phase != Phase::Out && !self.no_return();
        if possible {
            self.turn(Phase::Out, why);
        }
        possible
    }

    /// Turns round what was about to succeed. Not where there is no way back.
    pub(crate) fn refuse(&mut self, why: &Value) {
        if self.end == Some(End::Succeeded) && !self.no_return() {
            self.end = None;
            self.turn(Phase::Out, Cause::Refused);
            if let Some(cause) = &mut self.progress.cause {
                cause["error"] = why.clone();
            }
        }
    }

    /// Has what waits tried at once, as if for the first time. Whether there was something.
    pub(crate) fn retry(&mut self) -> bool {
        let waiting = |step: &&mut Step| matches!(step.state, StepState::Doing | StepState::Undoing);
        let mut any = false;
        for step in self.steps.iter_mut().filter(waiting) {
            (step.tries, step.wake_at, any) = (0, 0, true);
        }
        self.progress.stuck = false;
        any && self.end.is_none()
    }

    /// Gives the work up as it is. Whether it was not over.
    pub(crate) fn abandon(&mut self) -> bool {
        let possible = self.end.is_none();
        if possible {
            (self.end, self.progress.stuck) = (Some(End::Abandoned), false);
        }
        possible
    }
}

fn settle(step: &mut Step, state: StepState, now: i64) {
    (step.state, step.tries, step.wake_at) = (state, 0, 0);
    step.ended_at = Some(now);
}

impl Next {
    fn wait(&mut self, until: i64) {
        self.wake_at = Some(self.wake_at.map_or(until, |earlier| earlier.min(until)));
    }
}

#[cfg(test)]
mod tests;
