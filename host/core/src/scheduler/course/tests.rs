//! The machine alone, against a world that breaks in every place.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use ostler_store::StepState;
use std::collections::BTreeMap;

fn step(attempt: u32, stage: u32) -> Step {
    Step::new(attempt, stage, "make")
}

fn onward(attempt: u32, stage: u32) -> Step {
    Step { onward: true, ..step(attempt, stage) }
}

fn course(steps: Vec<Step>, deadline: Option<i64>) -> Course {
    let attempt = steps.iter().map(|step| step.attempt).max().unwrap_or_default();
    Course::new(Progress { attempt, deadline, ..Progress::default() }, steps)
}

const POLICY: Policy = Policy { tries: 3, first_pause: 10, longest_pause: 100, stuck_pause: 1_000 };

/// Where in a step a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The provider refuses, for good.
    Refused,
    /// The provider does not answer; nothing happened.
    ErrorBefore,
    /// The provider does not answer, and yet it happened.
    ErrorAfter,
    /// The process dies when the intent is written down, before the effect.
    CrashBefore,
    /// The process dies after the effect, before the outcome is written down.
    CrashAfter,
}

const FAULTS: [Fault; 5] = [Fault::Refused, Fault::ErrorBefore, Fault::ErrorAfter, Fault::CrashBefore, Fault::CrashAfter];

/// A fault, where it strikes and how often.
#[derive(Clone, Copy, Debug)]
struct Plot {
    fault: Fault,
    position: usize,
    undoing: bool,
    times: u32,
}

/// A workflow for the tests: what the planner says after success and after an undone attempt.
#[derive(Clone, Debug)]
struct Script {
    first: Vec<Step>,
    /// Steps of the attempts to come.
    attempts: Vec<Vec<Step>>,
}

/// Provider, record and process in one.
struct World {
    /// What exists at the provider, by position: how often it was made. The provider knows tokens, so that it is 0 or 1.
    made: BTreeMap<usize, u32>,
    record: Course,
    now: i64,
    plots: Vec<Plot>,
    crashes: u32,
    script: Script,
    attempts_used: usize,
}

struct Crashed;

impl World {
    fn new(script: &Script, plots: &[Plot]) -> Self {
        let mut script = script.clone();
        let record = course(std::mem::take(&mut script.first), None);
        Self { made: BTreeMap::new(), record, now: 1_000, plots: plots.to_vec(), crashes: 0, script, attempts_used: 0 }
    }

    fn strike(&mut self, position: usize, undoing: bool) -> Option<Fault> {
        let plot = self.plots.iter_mut().find(|plot| plot.position == position && plot.undoing == undoing && plot.times > 0)?;
        plot.times -= 1;
        Some(plot.fault)
    }

    /// One call at the provider.
    fn call(&mut self, position: usize, undoing: bool) -> Result<Outcome, Crashed> {
        let fault = self.strike(position, undoing);
        match fault {
            Some(Fault::Refused) => return Ok(Outcome::Failed),
            Some(Fault::ErrorBefore) => return Ok(Outcome::Retry(None)),
            Some(Fault::CrashBefore) => return Err(Crashed),
            _ => {}
        }
        // By token: made twice is made once.
        self.made.insert(position, u32::from(!undoing));
        match fault {
            Some(Fault::ErrorAfter) => Ok(Outcome::Retry(None)),
            Some(Fault::CrashAfter) => Err(Crashed),
            _ => Ok(Outcome::Done),
        }
    }

    /// One life of the process: from the record on until the work is over or the process dies.
    fn live(&mut self) -> Result<End, Crashed> {
        let mut course = self.record.clone();
        for _ in 0..10_000 {
            let next = course.next(self.now, &BTreeSet::new());
            let changed = self.record != course;
            self.record = course.clone();
            if let Some(end) = course.end {
                return Ok(end);
            }
            if next.plan {
                let plan = match (course.progress.phase, self.script.attempts.get(self.attempts_used)) {
                    (Phase::Back, Some(steps)) => Plan::More { steps: steps.clone(), deadline: None },
                    _ => Plan::End,
                };
                self.attempts_used += usize::from(course.progress.phase == Phase::Back);
                course.planned(plan);
                self.record = course.clone();
                continue;
            }
            let calls = next.act.iter().map(|p| (*p, false)).chain(next.undo.iter().map(|p| (*p, true)));
            let mut any = false;
            for (position, undoing) in calls {
                any = true;
                let outcome = self.call(position, undoing)?;
                course.record(position, outcome, self.now, &POLICY, 7);
                self.record = course.clone();
            }
            if !any && !changed {
                self.now = next.wake_at.expect("nothing to do and nothing to wait for").max(self.now + 1);
            }
        }
        panic!("no end: {:?}", self.record);
    }

    fn run(&mut self) -> End {
        loop {
            match self.live() {
                Ok(end) => return end,
                Err(Crashed) => self.crashes += 1,
            }
        }
    }

    fn existing(&self) -> Vec<usize> {
        self.made.iter().filter(|(_, times)| **times > 0).map(|(position, _)| *position).collect()
    }

    fn done(&self) -> Vec<usize> {
        let steps = self.record.steps.iter().enumerate();
        steps.filter(|(_, step)| step.state == StepState::Done).map(|(position, _)| position).collect()
    }
}

fn scripts() -> Vec<(&'static str, Script)> {
    let attempt = |n| vec![step(n, 0), step(n, 1), step(n, 1), step(n, 2)];
    vec![
        ("one step", Script { first: vec![step(0, 0)], attempts: vec![] }),
        ("side by side", Script { first: vec![step(0, 0), step(0, 1), step(0, 1)], attempts: vec![] }),
        ("two providers", Script { first: [vec![step(0, 0)], attempt(1)].concat(), attempts: vec![attempt(1)] }),
        ("a way without return", Script { first: vec![step(0, 0), onward(0, 1), step(0, 2)], attempts: vec![] }),
    ]
}

fn plots() -> impl Iterator<Item = Plot> {
    (0..9).flat_map(|position| {
        FAULTS.into_iter().flat_map(move |fault| {
            [(false, 1), (false, 2), (true, 1), (true, 2)].into_iter().map(move |(undoing, times)| Plot {
                fault,
                position,
                undoing,
                times,
            })
        })
    })
}

/// Every single fault, and every pair of them: what is there in the end is what the record says, all of it or nothing.
#[test]
fn nothing_is_lost_and_nothing_is_left() {
    let mut runs = 0;
    for (name, script) in scripts() {
        for first in plots() {
            for second in plots() {
                let plots = [first, second];
                let mut world = World::new(&script, &plots);
                let end = world.run();
                runs += 1;
                assert_eq!(world.existing(), world.done(), "{name}: {plots:?}");
                match end {
                    End::Failed => assert!(world.existing().is_empty(), "{name}: {plots:?}: {:?}", world.record),
                    End::Succeeded => {
                        let last = world.record.progress.attempt;
                        for (position, step) in world.record.steps.iter().enumerate() {
                            let wanted = step.attempt == 0 || step.attempt == last;
                            let is = world.existing().contains(&position);
                            assert_eq!(is, wanted, "{name}: {plots:?}: {:?}", world.record);
                        }
                    }
                    End::Abandoned => panic!("nobody gave it up"),
                }
            }
        }
    }
    assert!(runs > 100_000, "{runs}");
}

/// A single fault that is not a refusal never keeps the work from its end.
#[test]
fn what_passes_is_survived() {
    for (name, script) in scripts() {
        for plot in plots().filter(|plot| plot.fault != Fault::Refused && !plot.undoing) {
            assert_eq!(World::new(&script, &[plot]).run(), End::Succeeded, "{name}: {plot:?}");
        }
    }
}

#[test]
fn a_refused_attempt_is_followed_by_the_next_one() {
    let (_, script) = scripts().remove(2);
    for position in 1..5 {
        let refused = Plot { fault: Fault::Refused, position, undoing: false, times: 1 };
        let mut world = World::new(&script, &[refused]);
        assert_eq!(world.run(), End::Succeeded);
        assert_eq!((world.record.progress.attempt, world.existing()), (2, vec![0, 5, 6, 7, 8]), "{position}");
    }
}

/// Whatever happens at random, also with cancelling, retrying and a deadline: the end is all or nothing.
#[test]
fn at_random() {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut ends = BTreeMap::new();
    for run in 0..20_000 {
        let script = scripts().remove(random(4) as usize).1;
        let plots: Vec<Plot> = (0..random(5))
            .map(|_| Plot {
                fault: FAULTS[random(5) as usize],
                position: random(9) as usize,
                undoing: random(2) == 1,
                times: random(5) as u32 + 1,
            })
            .collect();
        let mut world = World::new(&script, &plots);
        world.record.progress.deadline = (random(3) == 0).then(|| 1_000 + random(60) as i64);
        world.record.progress.attempt_deadline = (random(3) == 0).then(|| 1_000 + random(40) as i64);
        if random(4) == 0 {
            // Some of it is done when somebody changes his mind.
            let before = random(6);
            let mut course = world.record.clone();
            for _ in 0..before {
                let next = course.next(world.now, &BTreeSet::new());
                world.record = course.clone();
                let calls: Vec<_> = next.act.iter().map(|p| (*p, false)).chain(next.undo.iter().map(|p| (*p, true))).collect();
                for (position, undoing) in calls {
                    let Ok(outcome) = world.call(position, undoing) else { continue };
                    course.record(position, outcome, world.now, &POLICY, 3);
                    world.record = course.clone();
                }
            }
            world.record.cancel(Cause::Cancelled);
        }
        let end = world.run();
        *ends.entry(format!("{end:?}")).or_insert(0) += 1;
        assert_eq!(world.existing(), world.done(), "run {run}: {plots:?}: {:?}", world.record);
        if end == End::Failed {
            assert!(world.existing().is_empty(), "run {run}: {plots:?}: {:?}", world.record);
        }
    }
    assert!(ends["Failed"] > 1_000 && ends["Succeeded"] > 1_000, "{ends:?}");
}

#[test]
fn pauses_grow_within_bounds_and_differ() {
    let policy = Policy { tries: 9, first_pause: 100, longest_pause: 1_000, stuck_pause: 5_000 };
    for tries in 1..40 {
        let whole = (100_i64 << (tries - 1).min(20)).min(1_000);
        let pauses: BTreeSet<i64> = (0..50).map(|seed| policy.pause(tries, seed)).collect();
        assert!(pauses.iter().all(|pause| (whole / 2..=whole).contains(pause)), "{tries}: {pauses:?}");
        assert!(pauses.len() > 20, "{tries}: {pauses:?}");
    }
}

#[test]
fn what_cannot_be_undone_is_shown_and_goes_on() {
    let plots = [
        Plot { fault: Fault::Refused, position: 1, undoing: false, times: 1 },
        Plot { fault: Fault::Refused, position: 0, undoing: true, times: 1 },
    ];
    let script = Script { first: vec![step(0, 0), step(0, 1)], attempts: vec![] };
    let mut world = World::new(&script, &plots);
    let mut course = world.record.clone();
    let mut seen = Vec::new();
    while course.end.is_none() {
        let next = course.next(world.now, &BTreeSet::new());
        let calls = next.act.iter().map(|p| (*p, false)).chain(next.undo.iter().map(|p| (*p, true)));
        let mut any = false;
        for (position, undoing) in calls.collect::<Vec<_>>() {
            let Ok(outcome) = world.call(position, undoing) else { unreachable!() };
            course.record(position, outcome, world.now, &POLICY, 0);
            any = true;
        }
        if course.progress.stuck && seen.is_empty() {
            seen.push(world.now);
            let mut by_hand = course.clone();
            assert!(by_hand.retry() && !by_hand.progress.stuck);
            assert_eq!(by_hand.next(world.now, &BTreeSet::new()).undo, [0]);
            let mut given_up = course.clone();
            assert!(given_up.abandon() && !given_up.abandon());
            assert_eq!(given_up.end, Some(End::Abandoned));
            assert!(!given_up.retry());
        }
        if !any && let Some(wake_at) = next.wake_at {
            world.now = wake_at;
        }
    }
    assert_eq!(seen.len(), 1);
    assert!(world.now >= seen[0] + POLICY.stuck_pause, "the next try came at once");
    assert_eq!((course.end, course.progress.stuck), (Some(End::Failed), false));
}

#[test]
fn a_step_at_work_is_not_undone_before_it_comes_back() {
    let mut course = course(vec![step(0, 0), step(0, 0)], None);
    assert_eq!(course.next(1, &BTreeSet::new()).act, [0, 1]);
    course.record(0, Outcome::Failed, 1, &POLICY, 0);
    let busy = BTreeSet::from([1]);
    let next = course.next(2, &busy);
    assert_eq!((next.undo, next.plan), (vec![0], false));
    course.record(0, Outcome::Done, 2, &POLICY, 0);
    assert_eq!(course.next(3, &busy), Next::default(), "it waits for the one at work");
    course.record(1, Outcome::Done, 3, &POLICY, 0);
    assert_eq!(course.next(4, &BTreeSet::new()).undo, [1]);
    course.record(1, Outcome::Done, 4, &POLICY, 0);
    course.next(5, &BTreeSet::new());
    assert_eq!(course.end, Some(End::Failed));
}

#[test]
fn behind_the_point_of_no_return_nothing_turns_it_round() {
    let mut course = course(vec![onward(0, 0), step(0, 1)], Some(50));
    assert!(course.clone().cancel(Cause::Cancelled), "before it, it can be cancelled");
    assert_eq!(course.next(1, &BTreeSet::new()).act, [0]);
    assert!(!course.cancel(Cause::Cancelled));
    course.record(0, Outcome::Failed, 1, &POLICY, 0);
    assert_eq!((course.progress.phase, course.progress.stuck), (Phase::Forward, true));
    assert_eq!(course.next(2_000, &BTreeSet::new()).act, [0], "not even the deadline");
    course.record(0, Outcome::Done, 2_000, &POLICY, 0);
    assert_eq!((course.progress.phase, course.progress.stuck), (Phase::Forward, false));
    assert_eq!(course.next(2_000, &BTreeSet::new()).act, [1]);
    course.record(1, Outcome::Failed, 2_000, &POLICY, 0);
    assert_eq!((course.progress.phase, course.progress.stuck), (Phase::Forward, true));
}

#[test]
fn deadlines() {
    let steps = || vec![step(0, 0), step(1, 0)];
    let idle = BTreeSet::new();
    // Of the attempt: the planner may begin another one.
    let mut course = course(steps(), Some(1_000));
    course.progress.attempt_deadline = Some(100);
    course.next(1, &idle);
    course.record(0, Outcome::Done, 1, &POLICY, 0);
    course.next(2, &idle);
    course.record(1, Outcome::Wait(500), 2, &POLICY, 0);
    assert_eq!(course.next(3, &idle).wake_at, Some(100), "it wakes up for the deadline");
    assert_eq!((course.next(100, &idle).undo, Cause::of(&course.progress)), (vec![1], Some(Cause::AttemptTimeout)));
    course.record(1, Outcome::Done, 101, &POLICY, 0);
    assert!(course.next(102, &idle).plan);
    course.planned(Plan::More { steps: vec![step(1, 0)], deadline: Some(300) });
    assert_eq!((course.progress.attempt, course.next(103, &idle).act), (2, vec![2]));
    // Of the whole: it is over with.
    assert_eq!((course.next(1_000, &idle).undo, Cause::of(&course.progress)), (vec![2], Some(Cause::Timeout)));
    course.record(2, Outcome::Done, 1_001, &POLICY, 0);
    assert_eq!(course.next(1_002, &idle).undo, [0]);
}

#[test]
fn a_provider_that_asks_for_patience_gets_it() {
    let mut course = course(vec![step(0, 0)], None);
    course.next(0, &BTreeSet::new());
    course.record(0, Outcome::Retry(Some(70_000)), 0, &POLICY, 0);
    let next = course.next(1, &BTreeSet::new());
    assert_eq!((next.act, next.wake_at), (vec![], Some(70_000)));
    // Waiting is no failure, however often.
    course.next(70_000, &BTreeSet::new());
    for now in 0..50 {
        course.record(0, Outcome::Wait(1), 70_000 + now, &POLICY, 0);
    }
    assert_eq!((course.progress.phase, course.steps[0].tries), (Phase::Forward, 1));
}
