//! From the start of the process to the first answer, and what it occupies then.

use crate::client::fetch;
use crate::list::megabytes;
use crate::process::{Scratch, Server};
use crate::report::{Bar, Report, median};

/// Runs the section.
pub(crate) fn run(report: &mut Report, scratch: &Scratch) {
    report.section("Start, development mode");
    let spawn = |data: &str| {
        let server = Server::spawn(&scratch.path(data), None);
        let (ready, memory) = (server.ready.as_secs_f64() * 1e3, server.memory());
        assert_eq!(fetch(server.address, "/readyz"), b"ready\n");
        assert_eq!(fetch(server.address, "/api/v1/nodes/fake_driver").len(), 683);
        server.stop();
        (ready, memory)
    };
    let cold: Vec<_> = ["first-1", "first-2", "first-3"].into_iter().map(spawn).collect();
    let warm: Vec<_> = (0..7).map(|_| spawn("first-1")).collect();
    for (name, runs) in [("ready, first start", &cold), ("ready, compiled code kept", &warm)] {
        let of = |figure: &dyn Fn(&(f64, (u64, u64))) -> f64| median(runs.iter().map(figure));
        let figures = [
            ("ms", of(&|(ready, _)| *ready)),
            ("idle MB", of(&|(_, (all, _))| megabytes(*all))),
            ("anonymous MB", of(&|(_, (_, anonymous))| megabytes(*anonymous))),
        ];
        report.line(name, &figures);
    }
    report.bar("start with compiled code kept, ms", median(warm.iter().map(|(ready, _)| *ready)), Bar::AtMost(200.0));
    let idle = warm.iter().map(|(_, (all, _))| megabytes(*all));
    report.bar("resident memory idle, MB", median(idle), Bar::AtMost(60.0));
}
