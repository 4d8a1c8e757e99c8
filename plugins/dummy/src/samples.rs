//! Measurements that nobody made, the same for the same seed, node and time.

use ostler_driver::{Context, Error, Measurement, Node, NodeState, Result, Sample};

use crate::faults::{hash, text, unit};
use crate::settings::Settings;
use crate::store::Store;

/// Measures these nodes, or all.
pub(crate) fn take(ctx: &Context, settings: &Settings, store: &Store, ids: &[String]) -> Result<Vec<Sample>> {
    let now = ctx.now();
    let mut samples = Vec::new();
    if ids.is_empty() {
        store.all(settings, |node| samples.push(sample(settings, &node, now)))?;
    }
    for id in ids {
        match store.get(settings, id) {
            Ok(node) => samples.push(sample(settings, &node, now)),
            Err(Error::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(samples)
}

/// Gauges wander from minute to minute; counters grow evenly with the node's age.
#[expect(clippy::cast_precision_loss, reason = "ages in seconds are far below 2^53")]
fn sample(settings: &Settings, node: &Node, now: u64) -> Sample {
    let running = if node.state == NodeState::Running { 1.0 } else { 0.0 };
    let point = |name: &str, time: u64| unit(hash(&[settings.seed, text(&node.id), text(name), time]));
    let minute = now / 60_000_000;
    let age = (now.saturating_sub(node.created_at.unwrap_or(0)) / 1_000_000) as f64;
    let counter = |name: &str, scale: f64| Measurement::counter(name, "bytes", (point(name, 0) * scale * age).floor());
    Sample {
        node_id: node.id.clone(),
        at: now,
        values: vec![
            Measurement::gauge("cpu-utilization", "percent", running * 100.0 * point("cpu-utilization", minute)),
            Measurement::gauge("memory-used", "bytes", running * (point("memory-used", minute) * 512e6).floor()),
            counter("network-in", 1e5),
            counter("network-out", 1e5),
            counter("disk-read", 1e4),
            counter("disk-write", 1e4),
        ],
    }
}
