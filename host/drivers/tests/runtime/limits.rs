//! Breaker, concurrency, rate: what keeps a cloud's trouble from growing.

use crate::components::{dummy, trapping_component, variant};
use crate::support::{Adjust, TestHost, eventually, kind, plain};
use futures::future::join_all;
use ostler_drivers::{CloudSettings, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Failures in a row that open the breaker, and its first pause.
const THRESHOLD: usize = 5;
const PAUSE: Duration = Duration::from_secs(1);

fn trapping() -> CloudSettings {
    plain().set("faults", r#"{"get-node": {"trap": 1}}"#)
}

#[tokio::test]
async fn a_cloud_that_fails_again_and_again_gets_a_rest() {
    let (host, dummy) = (TestHost::new(), dummy());
    let cloud = host.serve(trapping(), &dummy).await;
    let neighbour = host.serve(plain().named("neighbour"), &dummy).await;
    for _ in 0..THRESHOLD - 1 {
        assert_eq!(kind(cloud.get_node("x").await), ErrorKind::Crashed);
    }
    cloud.list_sizes().await.unwrap();
    for _ in 0..THRESHOLD {
        assert!(!cloud.is_resting());
        assert_eq!(kind(cloud.get_node("x").await), ErrorKind::Crashed);
    }
    let opened = Instant::now();
    assert!(cloud.is_resting());
    let refused = cloud.list_sizes().await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Unavailable);
    assert!(refused.message.contains("trapped"), "{refused}");
    let pause = refused.retry_after.unwrap();
    assert!(pause <= PAUSE, "{pause:?}");
    neighbour.list_sizes().await.unwrap();
    eventually("recovery", async || cloud.list_sizes().await.ok()).await;
    assert!(opened.elapsed() + Duration::from_millis(20) >= pause, "too early: {:?}", opened.elapsed());
    assert!(!cloud.is_resting());
    assert_eq!(kind(cloud.get_node("x").await), ErrorKind::Crashed, "one more failure is just that");
    cloud.list_sizes().await.unwrap();
}

/// Each version of a driver is judged by its own deeds.
#[tokio::test]
async fn a_swap_and_the_breaker_leave_each_other_alone() {
    let (host, dummy) = (TestHost::new(), dummy());
    let cloud = host.serve(trapping(), &dummy).await;
    for _ in 0..THRESHOLD {
        assert_eq!(kind(cloud.get_node("x").await), ErrorKind::Crashed);
    }
    assert_eq!(kind(cloud.list_sizes().await), ErrorKind::Unavailable);
    host.swap("dummy", &variant(&dummy, "repaired")).await;
    assert!(!cloud.is_resting());
    cloud.list_sizes().await.unwrap();

    // Candidates that fail when they are probed are no failures of the version that serves.
    for _ in 0..THRESHOLD * 2 {
        host.prepare("dummy", &trapping_component()).await.unwrap_err();
    }
    assert!(!cloud.is_resting());
    cloud.list_sizes().await.unwrap();
}

#[tokio::test]
async fn more_calls_than_may_run_wait_for_their_turn() {
    let each = Duration::from_millis(100);
    let settings = plain().set("latency_ms", r#"{"get-image": 100}"#).limit(|limits| limits.concurrency = 2);
    let cloud = TestHost::new().serve(settings, &dummy()).await;
    let start = Instant::now();
    let results = join_all((0..8).map(|_| cloud.get_image("debian-13"))).await;
    assert!(results.iter().all(Result::is_ok));
    assert!(start.elapsed() >= each * 4, "two at a time: {:?}", start.elapsed());
}

#[tokio::test]
async fn more_calls_than_can_have_their_turn_in_time_are_told_so() {
    let settings = plain().set("latency_ms", r#"{"get-image": 100}"#).limit(|limits| {
        limits.concurrency = 1;
        limits.call = Duration::from_millis(450);
    });
    let cloud = TestHost::new().serve(settings, &dummy()).await;
    let results = join_all((0..32).map(|_| cloud.get_image("debian-13"))).await;
    let count = |wanted: ErrorKind| results.iter().filter(|r| r.as_ref().is_err_and(|e| e.kind == wanted)).count();
    let good = results.iter().filter(|r| r.is_ok()).count();
    assert!((1..=4).contains(&good), "{good} of 32 calls of 100 ms within 450 ms, one at a time");
    let (refused, late) = (count(ErrorKind::Unavailable), count(ErrorKind::Deadline));
    assert_eq!(good + refused + late, 32);
    assert!(refused >= 24, "{refused} refused, {late} late");
    let refusal = results.iter().find_map(|r| r.as_ref().err().filter(|e| e.kind == ErrorKind::Unavailable)).unwrap();
    assert!(refusal.message.contains("limits.concurrency = 1"), "{refusal}");
    cloud.get_image("debian-13").await.unwrap();
}

#[tokio::test]
async fn calls_keep_to_their_rate() {
    let (host, dummy) = (TestHost::new(), dummy());
    let cloud = host.serve(plain().limit(|limits| limits.rate = Some(20.0)), &dummy).await;
    let start = Instant::now();
    for result in join_all((0..36).map(|_| cloud.get_image("debian-13"))).await {
        result.unwrap();
    }
    // Twenty may go at once, the others come at 50 ms each.
    assert!(start.elapsed() >= Duration::from_millis(700), "{:?}", start.elapsed());

    let scarce = plain().limit(|limits| {
        limits.rate = Some(2.0);
        limits.call = Duration::from_millis(100);
    });
    let cloud = host.serve(scarce, &dummy).await;
    let error = cloud.get_image("debian-13").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.message.contains("limits.rate = 2"), "{error}");
}

/// A dropped waiter gives its place back.
#[tokio::test]
async fn a_waiter_who_leaves_takes_no_place() {
    let settings = plain().set("latency_ms", r#"{"get-image": 100}"#).limit(|limits| limits.concurrency = 1);
    let cloud = TestHost::new().serve(settings, &dummy()).await;
    let first = tokio::spawn({
        let cloud = Arc::clone(&cloud);
        async move { cloud.get_image("debian-13").await }
    });
    tokio::task::yield_now().await;
    for _ in 0..50 {
        let mut waiter = Box::pin(cloud.get_image("debian-13"));
        assert!(futures::poll!(waiter.as_mut()).is_pending());
    }
    first.await.unwrap().unwrap();
    cloud.get_image("debian-13").await.unwrap();
}
