//! One call of a driver, without a server around it.

use crate::report::{Report, median, quantile};
use async_trait::async_trait;
use ostler_drivers::{
    Cloud, CloudSettings, Condition, Entry, Host, Instances, LoadPolicy, Runtime, Seal, StateBackend, StateError, Strictness,
    Write,
};
use ostler_tests::components::dummy;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
const TURN: Duration = Duration::from_millis(200);

/// State that is empty and stays so: what the dummy driver shows before the first change.
pub(crate) struct Empty;

#[async_trait]
impl StateBackend for Empty {
    fn is_shared(&self) -> bool {
        false
    }

    async fn load(&self, _: &str) -> Result<(u64, Vec<Entry>), StateError> {
        Ok((0, Vec::new()))
    }

    async fn get(&self, _: &str, _: &str) -> Result<Option<Entry>, StateError> {
        Ok(None)
    }

    async fn list(&self, _: &str, _: &str, _: Option<&str>, _: u32) -> Result<Vec<Entry>, StateError> {
        Ok(Vec::new())
    }

    async fn revision(&self, _: &str) -> Result<u64, StateError> {
        Ok(0)
    }

    async fn commit(&self, _: &str, _: &[Condition], _: &[Write], _: u64) -> Result<u64, StateError> {
        Err(StateError::Unavailable("nothing is written here".into()))
    }
}

/// Name of the line, how instances are used, number of nodes.
const CASES: [(&str, Instances, usize); 7] = [
    ("call: warm, no node", Instances::Warm, 0),
    ("call: warm, 2 nodes", Instances::Warm, 2),
    ("call: warm, 100 nodes", Instances::Warm, 100),
    ("call: warm, 10,000 nodes", Instances::Warm, 10_000),
    ("call: fresh, no node", Instances::Fresh, 0),
    ("call: fresh, 2 nodes", Instances::Fresh, 2),
    ("call: fresh, 100 nodes", Instances::Fresh, 100),
];

/// Runs the section.
pub(crate) fn run(report: &mut Report) {
    report.section("list-nodes of a driver, in this process");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime can be made");
    let figures = runtime.block_on(async {
        let host = Host::new(Runtime::new(None).expect("the runtime starts"), LoadPolicy::default(), Arc::new(Empty));
        let host = Arc::new(host.expect("a host can be made"));
        for (name, instances, nodes) in CASES {
            let config = [("nodes".to_owned(), nodes.to_string())].into();
            host.add_cloud(CloudSettings { config, instances, ..CloudSettings::new(name, "dummy") })
                .expect("a cloud can be added");
        }
        let prepared = host.prepare("dummy", dummy(), Seal::Builtin, Strictness::AllOrNothing).await;
        host.activate(prepared.expect("the dummy driver loads")).await;
        let mut figures = CASES.map(|_| Vec::new());
        for _ in 0..ROUNDS {
            for ((name, _, nodes), figures) in CASES.iter().zip(&mut figures) {
                figures.push(calls(&host.cloud(name).expect("it was added"), *nodes).await);
            }
        }
        figures
    });
    for ((name, _, _), turns) in CASES.iter().zip(&figures) {
        let of = |share| median(turns.iter().map(|turn| quantile(turn, share)));
        report.line(name, &[("p50 µs", of(0.5)), ("p99 µs", of(0.99))]);
    }
}

/// How long calls took, in microseconds, sorted.
async fn calls(cloud: &Arc<Cloud>, nodes: usize) -> Vec<f64> {
    let started = Instant::now();
    let mut figures = Vec::new();
    while started.elapsed() < TURN {
        let called = Instant::now();
        let listing = cloud.list_nodes().await.expect("the dummy driver answers");
        figures.push(called.elapsed().as_secs_f64() * 1e6);
        assert_eq!(listing.len(), nodes);
    }
    figures.sort_by(f64::total_cmp);
    figures
}
