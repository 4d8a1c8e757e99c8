//! From a new component in the watched directory to the first answer of it.

use crate::client::{Connection, block_on, get};
use crate::process::{Scratch, Server};
use crate::report::{Bar, Report, median};
use ostler_tests::components::{dummy, replaced};
use std::path::Path;
use std::time::{Duration, Instant};

/// What the driver calls its kind of provider, and what its other version calls it: the answers show which one gave them.
const NAMES: [&str; 2] = ["Dummy Node Provider", "Other Node Provider"];
const SWAPS: usize = 10;

/// Runs the section.
pub(crate) fn run(report: &mut Report, scratch: &Scratch) {
    report.section("Swap, file in the watched directory");
    let data = scratch.path("swapped");
    let server = Server::spawn(&data, None);
    let versions = NAMES.map(|name| replaced(&dummy(), NAMES[0], name));
    let once = |number: usize| swap(&server, &data.join("drivers"), &versions[number % 2], NAMES[number % 2]);
    // The component that is part of the program and the first one in the directory are the same: begin with the other.
    let cold = once(1);
    once(2);
    let warm: Vec<f64> = (3..3 + SWAPS).map(once).collect();
    report.line("swap to the first answer, compiling", &[("ms", cold)]);
    let worst = warm.iter().copied().fold(0.0, f64::max);
    report.line("swap to the first answer", &[("ms", median(warm.iter().copied())), ("worst ms", worst)]);
    report.bar("swap to the first answer, ms", median(warm), Bar::AtMost(500.0));
    server.stop();
}

/// Puts a component in and asks until it answers. Milliseconds.
fn swap(server: &Server, directory: &Path, component: &[u8], name: &str) -> f64 {
    const DEADLINE: Duration = Duration::from_secs(30);
    let beside = directory.join("dummy.part");
    std::fs::write(&beside, component).expect("the directory can be written");
    block_on(async {
        let mut connection = Connection::open(server.address).await;
        let request = get("/api/v1/nodes/fake_driver");
        let started = Instant::now();
        std::fs::rename(&beside, directory.join("dummy.wasm")).expect("the file is there");
        loop {
            let answer = connection.exchange(&request).await;
            assert_eq!(answer.status, 200, "an answer failed during the swap");
            if answer.body.windows(name.len()).any(|part| part == name.as_bytes()) {
                return started.elapsed().as_secs_f64() * 1e3;
            }
            assert!(started.elapsed() < DEADLINE, "the new version does not answer");
            // Asking without a pause would take the processor from what is waited for.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
}
