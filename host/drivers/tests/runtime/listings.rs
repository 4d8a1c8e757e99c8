//! Listings: one call for many readers, kept for as long as the operator allows, never older than a change.

use crate::components::{dummy, probe};
use crate::support::{Adjust, TestHost, eventually, order, plain, probing, provider};
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use futures::future::join_all;
use ostler_drivers::{Cloud, CloudSettings};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

/// A provider that counts its answers, and gives each only when it is told to.
#[derive(Clone)]
struct Counting {
    asked: Arc<AtomicUsize>,
    answers: Arc<Semaphore>,
}

impl Counting {
    /// The cloud of such a provider, which gives this many answers without being told to, after the one that loading takes.
    async fn cloud(host: &TestHost, free: usize, change: impl FnOnce(CloudSettings) -> CloudSettings) -> (Self, Arc<Cloud>) {
        let counting = Self { asked: Arc::default(), answers: Arc::new(Semaphore::new(1)) };
        let list = |State(counting): State<Self>| async move {
            let nth = counting.asked.fetch_add(1, Ordering::SeqCst);
            counting.answers.acquire().await.unwrap().forget();
            format!(r#"[{{"id": "{nth}", "name": "n"}}]"#)
        };
        let address = provider(Router::new().route("/", get(list)).with_state(counting.clone())).await;
        let settings = probing(&format!("http://{address}/"), &[&address]);
        let cloud = host.serve(change(settings), &probe()).await;
        assert_eq!(counting.asked(), 1, "the check");
        counting.answers.add_permits(free);
        (counting, cloud)
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn listed(cloud: &Arc<Cloud>) -> String {
    cloud.list_nodes().await.unwrap()[0].id.clone()
}

#[tokio::test]
async fn a_hundred_readers_cost_one_call() {
    let host = TestHost::new();
    let (provider, cloud) = Counting::cloud(&host, 0, |settings| settings).await;
    for round in 1..=3 {
        let readers = join_all((0..100).map(|_| listed(&cloud)));
        let release = async {
            eventually("the question", async || (provider.asked() > round).then_some(())).await;
            // All that would come in their own name have done so before the first is answered.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            provider.answers.add_permits(100);
        };
        let (seen, ()) = futures::join!(readers, release);
        assert!(seen.iter().all(|id| *id == round.to_string()), "{seen:?}");
        assert_eq!(provider.asked(), round + 1);
        let left = provider.answers.available_permits();
        provider.answers.forget_permits(left);
    }
}

/// Whoever asks after others have gone away is not shown what they would have seen.
#[tokio::test]
async fn an_abandoned_listing_is_shown_to_nobody() {
    let host = TestHost::new();
    let (provider, cloud) = Counting::cloud(&host, 0, |settings| settings).await;
    for _ in 0..6 {
        let before = provider.asked();
        let mut reader = Box::pin(cloud.list_nodes());
        eventually("the question", async || {
            assert!(futures::poll!(reader.as_mut()).is_pending());
            (provider.asked() > before).then_some(())
        })
        .await;
        drop(reader);
        provider.answers.add_permits(2);
        assert_eq!(listed(&cloud).await, (before + 1).to_string());
    }
}

#[tokio::test]
async fn a_listing_is_kept_for_its_time() {
    let host = TestHost::new();
    let ttl = Duration::from_millis(300);
    let (provider, cloud) = Counting::cloud(&host, 1000, |settings| settings.limit(|limits| limits.list_ttl = ttl)).await;
    let start = std::time::Instant::now();
    assert_eq!(listed(&cloud).await, "1");
    let mut last = std::time::Instant::now();
    eventually("a new listing", async || {
        let asked = std::time::Instant::now();
        if listed(&cloud).await != "1" {
            return Some(());
        }
        last = asked;
        None
    })
    .await;
    assert!(start.elapsed() >= ttl, "not before its time");
    assert!(last < start + ttl + Duration::from_millis(100), "and not for longer");
    assert_eq!(provider.asked(), 3);
}

#[tokio::test]
async fn without_a_time_every_reader_asks() {
    let host = TestHost::new();
    let (provider, cloud) = Counting::cloud(&host, 1000, |settings| settings).await;
    for n in 1..=5 {
        assert_eq!(listed(&cloud).await, n.to_string());
    }
    assert_eq!(provider.asked(), 6);
}

#[tokio::test]
async fn nobody_is_shown_what_was_before_his_own_change() {
    let hour = plain().limit(|limits| limits.list_ttl = Duration::from_secs(3600));
    let host = TestHost::new();
    let cloud = host.serve(hour, &dummy()).await;
    assert!(cloud.list_nodes().await.unwrap().is_empty());
    let node = cloud.create_node("t-1", order("n")).await.unwrap().value;
    assert_eq!(cloud.list_nodes().await.unwrap().as_slice(), std::slice::from_ref(&node));
    cloud.destroy_node(&node.id).await.unwrap();
    assert!(cloud.list_nodes().await.unwrap().is_empty());
    // A new version may see more.
    let (provider, cloud) =
        Counting::cloud(&host, 1000, |settings| settings.limit(|limits| limits.list_ttl = Duration::from_secs(3600))).await;
    assert_eq!([listed(&cloud).await, listed(&cloud).await], ["1", "1"]);
    host.swap("probe", &crate::components::variant(&probe(), "next")).await;
    assert_eq!(provider.asked(), 3, "the check of the new version");
    assert_eq!(listed(&cloud).await, "3");
}
