//! Places at which a test can have the process die or a call fail, as a crash or a provider would: around each step of each
//! operation.
//!
//! `OSTLER_FAULT=PLACE:KIND` strikes when the process first comes to that place, `PLACE:KIND:N` when it comes there the first N
//! times. A place is `WORKFLOW.STEP.act` or `WORKFLOW.STEP.undo`, as in `start-service.make-node.act`. Whoever can set a process's
//! environment can end it anyway.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

/// The variable that names place and kind. Several are separated by commas.
pub const VARIABLE: &str = "OSTLER_FAULT";

/// How a place goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The step is refused for good, and nothing happened.
    Refused,
    /// The answer is an error, and nothing happened.
    ErrorBefore,
    /// The answer is an error, and yet it happened.
    ErrorAfter,
    /// The process dies once the intent is written down, before anything happens.
    CrashBefore,
    /// The process dies once it happened, before that is written down.
    CrashAfter,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Refused, Self::ErrorBefore, Self::ErrorAfter, Self::CrashBefore, Self::CrashAfter];

    /// Its name in the variable.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::ErrorBefore => "error-before",
            Self::ErrorAfter => "error-after",
            Self::CrashBefore => "crash-before",
            Self::CrashAfter => "crash-after",
        }
    }
}

/// Faults that are to strike, each with how often it still does.
#[derive(Debug, Default)]
pub(crate) struct Plot(HashMap<(String, Fault), Strikes>);

/// How often one struck, and how often it still does.
#[derive(Debug)]
struct Strikes {
    #[cfg(test)]
    done: AtomicU32,
    left: AtomicU32,
}

impl Plot {
    /// From the variable's text. What cannot be read is left out.
    pub(crate) fn read(text: &str) -> Self {
        let entry = |entry: &str| {
            let mut parts = entry.split(':');
            let (place, kind) = (parts.next()?, parts.next()?);
            let kind = Fault::ALL.into_iter().find(|fault| fault.as_str() == kind)?;
            let times = parts.next().map_or(Some(1), |times| times.parse().ok())?;
            let strikes = Strikes {
                #[cfg(test)]
                done: AtomicU32::new(0),
                left: AtomicU32::new(times),
            };
            Some(((place.to_owned(), kind), strikes))
        };
        Self(text.split(',').filter_map(entry).collect())
    }

    /// Whether this one strikes here now.
    fn strikes(&self, place: &str, fault: Fault) -> bool {
        let Some(strikes) = self.0.get(&(place.to_owned(), fault)) else { return false };
        let struck = strikes.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        #[cfg(test)]
        strikes.done.fetch_add(u32::from(struck), Ordering::SeqCst);
        struck
    }
}

/// What a test wants to go wrong, and how its process dies.
#[derive(Debug)]
pub(crate) struct Faults {
    plot: Plot,
    /// Told instead of dying, where the process is to live on.
    told: Option<tokio::sync::mpsc::UnboundedSender<()>>,
}

impl Faults {
    /// As the environment says; none in all but tests.
    pub(crate) fn from_environment() -> Option<Self> {
        let text = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty())?;
        tracing::warn!(faults = text, "a test has this process fail");
        Some(Self { plot: Plot::read(&text), told: None })
    }

    /// For a test in this process: `told` hears of a crash, and what has crashed never comes back.
    #[cfg(test)]
    pub(crate) fn told(text: &str, told: tokio::sync::mpsc::UnboundedSender<()>) -> Self {
        Self { plot: Plot::read(text), told: Some(told) }
    }

    /// Places whose faults never struck.
    #[cfg(test)]
    pub(crate) fn idle(&self) -> Vec<String> {
        let never = self.plot.0.iter().filter(|(_, strikes)| strikes.done.load(Ordering::SeqCst) == 0);
        never.map(|((place, _), _)| place.clone()).collect()
    }

    /// Before the effect of a step: what happens in its place.
    pub(crate) async fn before(&self, place: &str) -> Option<Fault> {
        if self.plot.strikes(place, Fault::CrashBefore) {
            self.die().await;
        }
        [Fault::Refused, Fault::ErrorBefore].into_iter().find(|fault| self.plot.strikes(place, *fault))
    }

    /// After the effect of a step: whether it looks like an error.
    pub(crate) async fn after(&self, place: &str) -> bool {
        if self.plot.strikes(place, Fault::CrashAfter) {
            self.die().await;
        }
        self.plot.strikes(place, Fault::ErrorAfter)
    }

    /// At once, as by `kill -9`.
    async fn die(&self) {
        match &self.told {
            Some(told) => {
                let _ = told.send(());
                std::future::pending::<()>().await;
            }
            None => {
                let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            }
        }
    }
}

/// Plots at random, for tests that go on for a while.
#[cfg(test)]
pub(crate) struct Dice(u64);

#[cfg(test)]
impl Dice {
    #[allow(clippy::print_stdout)]
    /// With the seed of `OSTLER_TEST_SEED`, or another one each time. It is printed, to be thrown again.
    pub(crate) fn new() -> Self {
        let given = std::env::var("OSTLER_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0 >> 32);
        println!("OSTLER_TEST_SEED={seed}");
        Self(seed)
    }

    /// One of so many.
    pub(crate) fn throw(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % sides
    }

    /// One to three faults of a workflow.
    pub(crate) fn plot(&mut self, workflow: &str, steps: &[&str]) -> String {
        let faults: Vec<_> = (0..=self.throw(3))
            .map(|_| {
                let (step, fault) = (steps[self.throw(steps.len())], Fault::ALL[self.throw(Fault::ALL.len())].as_str());
                let direction = ["act", "act", "undo"][self.throw(3)];
                format!("{workflow}.{step}.{direction}:{fault}:{}", 1 + self.throw(2))
            })
            .collect();
        faults.join(",")
    }
}

/// How long such tests go on.
#[cfg(test)]
pub(crate) fn a_while() -> std::time::Duration {
    let given = std::env::var("OSTLER_TEST_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    std::time::Duration::from_secs(given.unwrap_or(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_strikes_as_often_as_it_says() {
        let plot = Plot::read("a.b.act:refused,a.b.act:error-after:2,a.c.undo:crash-after:0,nonsense,x:y,x:refused:z");
        assert_eq!(plot.0.len(), 3);
        let strikes = |place: &str, fault| plot.strikes(place, fault);
        assert!(!strikes("a.b.undo", Fault::Refused) && !strikes("a.b.act", Fault::ErrorBefore));
        assert_eq!([strikes("a.b.act", Fault::Refused), strikes("a.b.act", Fault::Refused)], [true, false]);
        assert_eq!([0; 3].map(|_| strikes("a.b.act", Fault::ErrorAfter)), [true, true, false]);
        assert!(!strikes("a.c.undo", Fault::CrashAfter));
    }
}
