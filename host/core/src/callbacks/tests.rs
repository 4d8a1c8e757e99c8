#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! With the real store in memory, a receiver that follows a script, and a clock that is set.

use super::*;
use ostler_store::{Begin, DeploymentChange, DeploymentStatus, NewDeployment, NewOperation, OperationKind, Options, Progress};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::sync::mpsc;

const HOUR: i64 = 3_600 * SECOND;

/// A receiver: what it says to which address, in turn, and what it got.
struct Receiver {
    script: Mutex<HashMap<String, VecDeque<Reply>>>,
    sent: Mutex<Vec<Delivery>>,
    told: mpsc::UnboundedSender<Delivery>,
    /// A try takes one of these.
    gate: Semaphore,
}

#[async_trait]
impl Sender for Receiver {
    async fn send(&self, delivery: Delivery) -> Reply {
        self.sent.lock().push(delivery.clone());
        let _ = self.told.send(delivery.clone());
        self.gate.acquire().await.unwrap().forget();
        self.script.lock().get_mut(&delivery.url).and_then(VecDeque::pop_front).unwrap_or(Reply::Taken)
    }
}

struct World {
    store: Store,
    receiver: Arc<Receiver>,
    told: mpsc::UnboundedReceiver<Delivery>,
    clock: Arc<AtomicI64>,
}

impl World {
    async fn new() -> Self {
        let store = Store::open("sqlite::memory:", &Options::default()).await.unwrap();
        let (sender, told) = mpsc::unbounded_channel();
        let receiver = Receiver {
            script: Mutex::default(),
            sent: Mutex::default(),
            told: sender,
            gate: Semaphore::new(Semaphore::MAX_PERMITS >> 1),
        };
        Self { store, receiver: Arc::new(receiver), told, clock: Arc::new(AtomicI64::new(ostler_store::now() + HOUR)) }
    }

    /// A host.
    fn host(&self) -> Callbacks {
        let clock = Arc::clone(&self.clock);
        let body = |deployment: &Deployment| format!("{} {}", deployment.id, deployment.status.as_str()).into_bytes();
        Callbacks {
            clock: Arc::new(move || clock.load(Ordering::Relaxed)),
            ..Callbacks::new(self.store.clone(), Arc::<Receiver>::clone(&self.receiver), body)
        }
    }

    fn set(&self, time: i64) {
        self.clock.store(time, Ordering::Relaxed);
    }

    fn now(&self) -> i64 {
        self.clock.load(Ordering::Relaxed)
    }

    fn script(&self, deployment: &str, replies: impl IntoIterator<Item = Reply>) {
        self.receiver.script.lock().insert(url(deployment), replies.into_iter().collect());
    }

    /// What the receiver got since this was last asked: deployment and status.
    fn sent(&self) -> Vec<String> {
        self.receiver.sent.lock().drain(..).map(|delivery| String::from_utf8(delivery.body).unwrap()).collect()
    }

    async fn next(&mut self) -> Delivery {
        tokio::time::timeout(Duration::from_secs(60), self.told.recv()).await.expect("nothing is told").unwrap()
    }

    /// Writes a deployment down, and so its first callback.
    async fn deployment(&self) -> String {
        let new = NewDeployment {
            id: uuid::Uuid::now_v7().to_string(),
            owner: None,
            user_group: None,
            template: "secret".into(),
            parameters: json!({}),
            callback: None,
            max_attempts: None,
            timeout: None,
            attempt_timeout: None,
            keep_last_attempt: false,
        };
        let new = NewDeployment { callback: Some(url(&new.id)), ..new };
        let operation = NewOperation {
            cloud: String::new(),
            kind: OperationKind::CreateDeployment,
            token: None,
            node_id: None,
            input: json!({}),
            input_hash: vec![1],
            driver_digest: None,
            actor: "ann".into(),
            lease: None,
            idempotency: None,
        };
        let begun = self.store.deployment_begin(&new, &[], &operation, &Progress::default(), &[], &event(&new.id)).await;
        assert!(matches!(begun, Ok(Begin::New(_))));
        new.id
    }

    async fn to(&self, id: &str, status: DeploymentStatus) {
        let change = DeploymentChange { status: Some(status), ..DeploymentChange::default() };
        self.store.deployment_change(id, &change, None).await.unwrap().unwrap();
    }

    async fn rows(&self, id: &str) -> Vec<Callback> {
        self.store.callbacks(id).await.unwrap()
    }
}

fn url(deployment: &str) -> String {
    format!("https://there/{deployment}")
}

fn event(subject: &str) -> NewEvent {
    NewEvent { kind: "x".into(), subject: subject.into(), cloud: None, actor: "ann".into(), data: json!({}) }
}

fn failed() -> Reply {
    Reply::Failed("status 500".into())
}

/// Tries what is due now, to the end.
async fn once(host: &Arc<Callbacks>) -> usize {
    let count = host.begin().await.unwrap();
    host.settle().await;
    count
}

#[test]
fn pauses_grow_up_to_an_hour() {
    let seconds = |tries, random| pause(tries, random) / SECOND;
    for (tries, longest) in [
        (0, 5),
        (1, 5),
        (2, 10),
        (3, 20),
        (4, 40),
        (9, 1_280),
        (10, 2_560),
        (11, 3_600),
        (12, 3_600),
        (1_000, 3_600),
        (u32::MAX, 3_600),
    ] {
        assert_eq!((seconds(tries, 0), seconds(tries, u32::MAX)), (longest, longest * 4 / 5), "{tries}");
        let middle = seconds(tries, u32::MAX / 2);
        assert!((longest * 9 / 10 - 1..=longest * 9 / 10).contains(&middle), "{tries}: {middle}");
    }
}

#[test]
fn tries_end_after_a_day() {
    let day = 24 * HOUR;
    for (now, tries, expected) in [
        (0, 1, Some(5 * SECOND)),
        (HOUR, 20, Some(2 * HOUR)),
        (day - HOUR / 2, 20, Some(day)),
        (day - 1, 1, Some(day)),
        (day, 1, None),
        (day + HOUR, 1, None),
    ] {
        assert_eq!(next_try(1_000 + now, 1_000, tries, 0), expected.map(|at| 1_000 + at), "{now}");
    }
    assert_eq!(next_try(i64::MAX - 1, i64::MAX - 2, 1, 0), Some(i64::MAX));
}

#[tokio::test]
async fn each_is_delivered_once_and_in_order() {
    let world = World::new().await;
    let host = Arc::new(world.host());
    assert_eq!(once(&host).await, 0);
    let id = world.deployment().await;
    world.to(&id, DeploymentStatus::CreateComplete).await;
    world.store.deployment_remove(&id, &event(&id)).await.unwrap();
    for status in ["CREATE_IN_PROGRESS", "CREATE_COMPLETE", "DELETE_COMPLETE"] {
        assert_eq!(once(&host).await, 1);
        let delivery = world.receiver.sent.lock()[0].clone();
        assert_eq!(world.sent(), [format!("{id} {status}")]);
        assert_eq!((delivery.url, delivery.timestamp), (url(&id), world.now() / SECOND));
    }
    assert_eq!(once(&host).await, 0);
    for row in world.rows(&id).await {
        assert_eq!((row.outcome, row.tries, row.error), (Some(CallbackOutcome::Delivered), 1, None));
    }
}

#[tokio::test]
async fn failures_are_tried_again_with_growing_pauses_for_a_day() {
    let world = World::new().await;
    let host = Arc::new(world.host());
    let id = world.deployment().await;
    world.to(&id, DeploymentStatus::CreateComplete).await;
    world.script(&id, std::iter::repeat_n(failed(), 1_000));
    let created_at = world.rows(&id).await[0].created_at;
    world.set(created_at);
    let mut tries = 0;
    let events = world.store.event_last().await.unwrap();
    let name = world.rows(&id).await[0].id.clone();
    loop {
        assert_eq!(once(&host).await, 1);
        tries += 1;
        let delivery = world.receiver.sent.lock().pop().unwrap();
        assert_eq!((delivery.id.as_str(), delivery.timestamp), (name.as_str(), world.now() / SECOND));
        let row = world.rows(&id).await.remove(0);
        assert_eq!((row.tries, row.error.as_deref()), (tries, Some("status 500")));
        if row.outcome.is_some() {
            break;
        }
        let nominal = (5 << (tries - 1).min(20)).min(3_600) * SECOND;
        let paused = row.due_at - world.now();
        let last = row.due_at == created_at + 24 * HOUR;
        assert!(last || (nominal * 4 / 5..=nominal).contains(&paused), "{tries}: {paused}");
        // Not a moment earlier; nor what comes behind it.
        world.set(row.due_at - 1);
        assert_eq!(once(&host).await, 0);
        world.set(row.due_at);
    }
    assert_eq!(world.now(), created_at + 24 * HOUR);
    assert!((32..=42).contains(&tries), "{tries}");
    assert_eq!(world.rows(&id).await[0].outcome, Some(CallbackOutcome::GivenUp));
    let event = world.store.events_after(events, 9).await.unwrap().remove(0);
    assert_eq!((event.kind.as_str(), &event.subject, &event.data["tries"]), ("callback.given-up", &id, &json!(tries)));
    // What comes behind it is tried even so, once at least.
    world.script(&id, []);
    assert_eq!(once(&host).await, 1);
    assert_eq!(world.sent(), [format!("{id} CREATE_COMPLETE")]);
}

#[tokio::test]
async fn one_that_fails_holds_up_its_own_deployment_only() {
    let world = World::new().await;
    let host = Arc::new(world.host());
    let (one, two) = (world.deployment().await, world.deployment().await);
    world.to(&one, DeploymentStatus::CreateFailed).await;
    world.to(&two, DeploymentStatus::CreateComplete).await;
    world.script(&one, [failed()]);
    assert_eq!(once(&host).await, 2);
    world.sent();
    assert_eq!(once(&host).await, 1);
    assert_eq!(world.sent(), [format!("{two} CREATE_COMPLETE")]);
    assert_eq!(once(&host).await, 0);
    world.set(world.now() + 5 * SECOND);
    for status in ["CREATE_IN_PROGRESS", "CREATE_FAILED"] {
        assert_eq!(once(&host).await, 1);
        assert_eq!(world.sent(), [format!("{one} {status}")]);
    }
}

#[tokio::test]
async fn a_receiver_that_asks_for_time_gets_it() {
    let world = World::new().await;
    let host = Arc::new(world.host());
    let id = world.deployment().await;
    let created_at = world.rows(&id).await[0].created_at;
    world.set(created_at);
    // Never sooner than by itself, never later than an hour.
    for (asked, least, most) in [(1, 4, 5), (600, 600, 600), (100_000, 3_600, 3_600)] {
        world.script(&id, [Reply::Later("status 503".into(), Duration::from_secs(asked))]);
        assert_eq!(once(&host).await, 1);
        let row = world.rows(&id).await.remove(0);
        let paused = (row.due_at - world.now()) / SECOND;
        assert!((least..=most).contains(&paused) && row.error.as_deref() == Some("status 503"), "{asked}: {paused}");
        world.set(row.due_at);
    }
    world.script(&id, [Reply::Later("status 503".into(), Duration::from_secs(3_600))]);
    world.set(created_at + 24 * HOUR - SECOND);
    assert_eq!(once(&host).await, 1);
    assert_eq!(world.rows(&id).await[0].due_at, created_at + 24 * HOUR, "once more, at the end of the day");
}

#[tokio::test]
async fn what_is_gone_is_given_up_at_once() {
    let world = World::new().await;
    let host = Arc::new(world.host());
    let id = world.deployment().await;
    world.to(&id, DeploymentStatus::CreateComplete).await;
    world.script(&id, [Reply::Refused(format!("gone\n\0{}", "x".repeat(1_000)))]);
    assert_eq!((once(&host).await, once(&host).await, once(&host).await), (1, 1, 0));
    let rows = world.rows(&id).await;
    assert_eq!((rows[0].outcome, rows[0].tries), (Some(CallbackOutcome::GivenUp), 1));
    let error = rows[0].error.as_deref().unwrap();
    assert!(error.starts_with("gone  x") && error.len() == LONGEST_ERROR, "{error}");
    assert_eq!(rows[1].outcome, Some(CallbackOutcome::Delivered));
}

#[tokio::test]
async fn what_takes_too_long_is_tried_again() {
    let world = World::new().await;
    let host = Arc::new(Callbacks { limit: Duration::ZERO, ..world.host() });
    world.receiver.gate.forget_permits(usize::MAX);
    let id = world.deployment().await;
    assert_eq!((once(&host).await, once(&host).await), (1, 0));
    let row = world.rows(&id).await.remove(0);
    assert_eq!((row.outcome, row.error.as_deref()), (None, Some("it takes too long")));
    assert!(row.due_at > world.now() && row.lease_owner.is_none());
}

#[tokio::test]
async fn many_are_tried_side_by_side_but_no_more_than_that() {
    let world = World::new().await;
    let host = Arc::new(world.host());
    world.receiver.gate.forget_permits(usize::MAX);
    for _ in 0..AT_ONCE + 3 {
        world.deployment().await;
    }
    assert_eq!(host.begin().await.unwrap(), AT_ONCE);
    assert_eq!(host.begin().await.unwrap(), 0);
    world.receiver.gate.add_permits(AT_ONCE + 3);
    host.settle().await;
    assert_eq!((once(&host).await, once(&host).await), (3, 0));
    assert_eq!(world.sent().len(), AT_ONCE + 3);
}

/// The receiver has it, and then the host dies before it is written down.
#[tokio::test]
async fn a_crash_makes_it_come_again_under_the_same_name() {
    let mut world = World::new().await;
    let id = world.deployment().await;
    let first = Arc::new(world.host());
    world.receiver.gate.forget_permits(usize::MAX);
    assert_eq!(first.begin().await.unwrap(), 1);
    let delivered = world.next().await;
    let second = Arc::new(world.host());
    assert_eq!(second.begin().await.unwrap(), 0, "the lease is not over");
    world.set(world.now() + LEASE);
    assert_eq!(second.begin().await.unwrap(), 1);
    let again = world.next().await;
    assert_eq!((&again.id, &again.body), (&delivered.id, &delivered.body));
    // Both come back: the one that was replaced notes nothing.
    world.receiver.gate.add_permits(2);
    first.settle().await;
    second.settle().await;
    let row = world.rows(&id).await.remove(0);
    assert_eq!((row.outcome, row.tries), (Some(CallbackOutcome::Delivered), 2));

    // On a store of its own, the next life does not wait for the lease.
    world.to(&id, DeploymentStatus::CreateComplete).await;
    world.receiver.gate.forget_permits(usize::MAX);
    assert_eq!(first.begin().await.unwrap(), 1);
    let delivered = world.next().await;
    let running = tokio::spawn(second.run());
    assert_eq!(world.next().await.id, delivered.id);
    running.abort();
}

/// With a poll that does not come: what is written down is told at once, one after the other.
#[tokio::test]
async fn what_is_written_down_wakes() {
    let mut world = World::new().await;
    let host = Arc::new(Callbacks { poll: Duration::from_hours(1_000), ..world.host() });
    let running = tokio::spawn(Arc::clone(&host).run());
    for _ in 0..3 {
        let id = world.deployment().await;
        world.to(&id, DeploymentStatus::CreateComplete).await;
        world.store.deployment_remove(&id, &event(&id)).await.unwrap();
        for status in ["CREATE_IN_PROGRESS", "CREATE_COMPLETE", "DELETE_COMPLETE"] {
            assert_eq!(world.next().await.body, format!("{id} {status}").into_bytes());
        }
    }
    running.abort();
    host.settle().await;
}

#[tokio::test]
async fn what_has_ended_is_forgotten_after_a_week() {
    let world = World::new().await;
    let host = Arc::new(world.host());
    let id = world.deployment().await;
    world.to(&id, DeploymentStatus::CreateComplete).await;
    once(&host).await;
    let ended = world.rows(&id).await[0].ended_at.unwrap();
    for (time, left) in [(ended + KEPT, 2), (ended + KEPT + 1, 1), (i64::MAX, 1)] {
        world.set(time);
        host.tidy().await;
        assert_eq!(world.rows(&id).await.len(), left);
    }
}
