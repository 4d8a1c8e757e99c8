//! A driver that breaks: how its call ends, when, and what happens to the next one.

use crate::components::dummy;
use crate::support::{Adjust, TestHost, order, plain};
use ostler_drivers::ErrorKind::{self, Contract, Crashed, Deadline, Limit};
use ostler_drivers::{Cloud, CloudSettings, Error};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The deadline of calls that end at it.
const CALL: Duration = Duration::from_millis(400);
/// The deadline of calls that must end otherwise, however busy the machine is.
const LONG: Duration = Duration::from_secs(10);
/// How long after its deadline a call may end.
const GRACE: Duration = Duration::from_millis(250);

/// How one call into a broken driver ended, and how long it took.
async fn suffer(cloud: &Arc<Cloud>, operation: &str) -> (Error, Duration) {
    let start = Instant::now();
    let result = match operation {
        "list-nodes" => cloud.list_nodes().await.map(drop),
        "create-node" => cloud.create_node("t", order("n")).await.map(drop),
        "get-node" => cloud.get_node("n").await.map(drop),
        _ => cloud.capacity().await.map(drop),
    };
    (result.expect_err(operation), start.elapsed())
}

fn broken(operation: &str, fault: &str) -> CloudSettings {
    plain().set("faults", &format!(r#"{{"{operation}": {{"{fault}": 1}}}}"#)).limit(|limits| limits.call = CALL)
}

#[tokio::test]
async fn every_way_to_break_ends_in_time_and_harms_nobody_else() {
    let (host, dummy) = (TestHost::new(), dummy());
    let neighbour = host.serve(plain().named("neighbour"), &dummy).await;
    for fresh in [false, true] {
        for (fault, expected, part) in [
            ("trap", &[Crashed][..], "trapped"),
            ("stack", &[Crashed], "stack"),
            ("loop", &[Deadline], "in time"),
            ("hang", &[Deadline], "in time"),
            ("memory", &[Limit], "67108864 bytes"),
            ("huge", &[Limit], ""),
            ("endless-pages", &[Contract, Deadline], "in time"),
        ] {
            let operations: &[&str] =
                if fault == "endless-pages" { &["list-nodes"] } else { &["list-nodes", "create-node", "get-node"] };
            for operation in operations {
                let what = format!("{fault} of {operation}");
                // A listing without end needs something to list.
                let deadline = if matches!(fault, "loop" | "hang" | "endless-pages") { CALL } else { LONG };
                let settings = broken(operation, fault).set("nodes", "1").limit(|limits| {
                    limits.call = deadline;
                    limits.cpu = LONG;
                });
                let cloud = host.serve(if fresh { settings.fresh() } else { settings }, &dummy).await;
                let mut quickest = Duration::MAX;
                // The machine may be busy with something else: one of three must be in time, all must be right.
                for _ in 0..3 {
                    let (error, took) = suffer(&cloud, operation).await;
                    assert!(expected.contains(&error.kind), "{what}: {error:?}");
                    assert!(error.message.contains(part), "{what}: {error}");
                    quickest = quickest.min(took);
                    assert_eq!(cloud.list_sizes().await.unwrap().len(), 6, "the next call after {what}");
                    if quickest < deadline + GRACE {
                        break;
                    }
                }
                assert!(quickest < deadline + GRACE, "{what}: {quickest:?}");
                assert!(neighbour.list_nodes().await.is_ok());
            }
        }
    }
}

#[tokio::test]
async fn processor_time_has_its_own_bound() {
    let settings = broken("get-node", "loop").limit(|limits| {
        limits.call = Duration::from_secs(20);
        limits.cpu = Duration::from_millis(50);
    });
    let cloud = TestHost::new().serve(settings, &dummy()).await;
    let (error, took) = suffer(&cloud, "get-node").await;
    assert_eq!(error.kind, Deadline);
    assert!(error.message.contains("processor time"), "{error}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    // Waiting costs none of it.
    let settings = plain().set("latency_ms", "200").limit(|limits| limits.cpu = Duration::from_millis(50));
    let cloud = TestHost::new().serve(settings, &dummy()).await;
    cloud.list_sizes().await.unwrap();
}

#[tokio::test]
async fn an_answer_has_a_size() {
    let (host, dummy) = (TestHost::new(), dummy());
    for (megabytes, fits) in [("12", true), ("24", false)] {
        let settings =
            broken("list-nodes", "huge").set("huge_mb", megabytes).limit(|limits| limits.call = Duration::from_secs(20));
        let cloud = host.serve(settings, &dummy).await;
        let result = cloud.list_nodes().await;
        assert_eq!(result.is_ok(), fits, "{megabytes} MiB");
        if let Err(error) = result {
            assert_eq!(error.kind, Limit);
            assert!(error.message.contains("larger than 16777216 bytes"), "{error}");
        }
    }
}

/// Four guests that never stop, on as many threads as there are: the others still get their turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spinning_guests_do_not_hold_up_the_others() {
    let (host, dummy) = (TestHost::new(), dummy());
    let spinning = broken("get-node", "loop").named("spinning").limit(|limits| limits.call = Duration::from_secs(3));
    let spinning = host.serve(spinning, &dummy).await;
    let quiet = host.serve(plain().named("quiet"), &dummy).await;
    let spinners: Vec<_> = (0..4)
        .map(|_| {
            let cloud = Arc::clone(&spinning);
            tokio::spawn(async move { cloud.get_node("n").await.unwrap_err().kind })
        })
        .collect();
    let mut calls = 0;
    while !spinners.iter().all(tokio::task::JoinHandle::is_finished) {
        quiet.list_nodes().await.unwrap();
        calls += 1;
        tokio::task::yield_now().await;
    }
    for spinner in spinners {
        let kind: ErrorKind = spinner.await.unwrap();
        assert_eq!(kind, Deadline);
    }
    // Each would have cost seconds if it had waited for a spinner to end.
    assert!(calls >= 50, "{calls} calls of the quiet cloud");
}
