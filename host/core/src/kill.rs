//! Places at which a test can have the process die, as a crash would: between each step of a durable operation and the next.
//!
//! `OSTLER_KILL_AT=NAME` kills the process when it first comes to that place, `NAME:N` when it comes there the Nth time. Whoever
//! can set a process's environment can end it anyway.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The variable that names the place.
pub const VARIABLE: &str = "OSTLER_KILL_AT";

/// All places, in the order in which an operation comes to them.
pub const POINTS: &[&str] = &["schedule.event.begun", "schedule.event.made", "schedule.event.done"];

struct Plan {
    point: String,
    left: AtomicU32,
}

fn plan() -> Option<&'static Plan> {
    static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
    let read = || {
        let text = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty())?;
        let (point, times) = match text.split_once(':') {
            Some((point, times)) => (point.to_owned(), times.parse().ok()?),
            None => (text, 1),
        };
        Some(Plan { point, left: AtomicU32::new(times) })
    };
    PLAN.get_or_init(read).as_ref()
}

/// Dies here if it was asked for: at once, as by `kill -9`.
pub(crate) fn point(name: &str) {
    debug_assert!(POINTS.contains(&name), "{name} is not in the list");
    let Some(plan) = plan().filter(|plan| plan.point == name) else { return };
    if plan.left.fetch_sub(1, Ordering::SeqCst) == 1 {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}
