//! From the start of the process to the first answer, and what it occupies then.

use crate::client::fetch;
use crate::list::megabytes;
use crate::process::{Scratch, Server};
use crate::report::{Bar, Report, median};

/// One start.
struct Run {
    /// Milliseconds to the line that says so.
    ready: f64,
    /// Resident megabytes just then.
    memory: f64,
    /// Those that no file backs.
    anonymous: f64,
}

/// Runs the section.
pub(crate) fn run(report: &mut Report, scratch: &Scratch) {
    report.section("Start, development mode");
    let spawn = |data: &str| {
        let server = Server::spawn(&scratch.path(data), None);
        let (memory, anonymous) = server.memory();
        let ready = server.ready.as_secs_f64() * 1e3;
        let run = Run { ready, memory: megabytes(memory), anonymous: megabytes(anonymous) };
        assert_eq!(fetch(server.address, "/readyz"), b"ready\n");
        assert_eq!(fetch(server.address, "/api/v1/nodes/fake_driver").len(), 683);
        server.stop();
        run
    };
    let cold: Vec<_> = ["first-1", "first-2", "first-3"].into_iter().map(spawn).collect();
    let warm: Vec<_> = (0..7).map(|_| spawn("first-1")).collect();
    for (name, runs) in [("ready, first start", &cold), ("ready, compiled code kept", &warm)] {
        let of = |figure: fn(&Run) -> f64| median(runs.iter().map(figure));
        let figures = [("ms", of(|run| run.ready)), ("idle MB", of(|run| run.memory)), ("anonymous MB", of(|run| run.anonymous))];
        report.line(name, &figures);
    }
    report.bar("start with compiled code kept, ms", median(warm.iter().map(|run| run.ready)), Bar::AtMost(200.0));
    report.bar("resident memory idle, MB", median(warm.iter().map(|run| run.memory)), Bar::AtMost(60.0));
}
