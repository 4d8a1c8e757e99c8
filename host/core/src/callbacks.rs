//! Telling those who wait for deployments what became of them: each callback that the store has written down is delivered at least
//! once, those of one deployment one after the other, by whichever host comes first.
//!
//! A try has a lease. What is left behind by a host that has died is due again when that is over, with the same identifier, by which
//! receivers tell doubles apart.

#[cfg(test)]
mod tests;

use async_trait::async_trait;
use ostler_store::{Callback, CallbackOutcome, Deployment, NewEvent, Store};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

const SECOND: i64 = 1_000_000;
/// How long a try has, whatever its sender does.
const LIMIT: Duration = Duration::from_secs(30);
/// For how long a try is nobody else's, in microseconds: longer than a try can take, the hosts' clocks being a little apart.
const LEASE: i64 = 60 * SECOND;
/// Tries at once.
const AT_ONCE: usize = 16;
/// How often is looked for what is due, and for what other hosts have written down.
const POLL: Duration = Duration::from_secs(3);
/// The first pause after a try that failed, and the longest, in microseconds.
const FIRST_PAUSE: i64 = 5 * SECOND;
const LONGEST_PAUSE: i64 = 3_600 * SECOND;
/// How long it is tried, in microseconds from when it was written down.
const PATIENCE: i64 = 24 * 3_600 * SECOND;
/// How long is kept what has ended, in microseconds, how often is looked for it, and how many are forgotten at once.
const KEPT: i64 = 7 * 24 * 3_600 * SECOND;
const TIDY: Duration = Duration::from_hours(1);
const PORTION: u32 = 500;
/// Characters of a failure that are kept.
const LONGEST_ERROR: usize = 300;

/// One try.
#[derive(Clone, PartialEq, Eq)]
pub struct Delivery {
    /// What it is called, at every try.
    pub id: String,
    /// Where to.
    pub url: String,
    /// When it is tried, in seconds since 1970 UTC.
    pub timestamp: i64,
    /// What is told.
    pub body: Vec<u8>,
}

/// Without address and body, which may be confidential.
impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery").field("id", &self.id).field("timestamp", &self.timestamp).finish_non_exhaustive()
    }
}

/// What came of a try. The texts are kept and logged, and must hold no secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The receiver has taken it.
    Taken,
    /// It may go better another time.
    Failed(String),
    /// The same, but not before this time has passed: the receiver says so.
    Later(String, Duration),
    /// It will not go better.
    Refused(String),
}

/// What brings a callback to its receiver.
#[async_trait]
pub trait Sender: Send + Sync {
    /// One try.
    async fn send(&self, delivery: Delivery) -> Reply;
}

/// Delivers callbacks.
pub struct Callbacks {
    store: Store,
    owner: String,
    sender: Arc<dyn Sender>,
    body: fn(&Deployment) -> Vec<u8>,
    /// Microseconds since 1970 UTC.
    clock: Arc<dyn Fn() -> i64 + Send + Sync>,
    slots: Arc<Semaphore>,
    tasks: TaskTracker,
    /// A try has ended: the next one of its deployment may be due, and there is a slot.
    freed: Notify,
    limit: Duration,
    poll: Duration,
}

impl Callbacks {
    /// For the callbacks of a store: `body` makes what receivers read of a deployment as it was then, without what its owner wrote.
    pub fn new(store: Store, sender: Arc<dyn Sender>, body: fn(&Deployment) -> Vec<u8>) -> Self {
        Self {
            store,
            owner: uuid::Uuid::now_v7().to_string(),
            sender,
            body,
            clock: Arc::new(ostler_store::now),
            slots: Arc::new(Semaphore::new(AT_ONCE)),
            tasks: TaskTracker::new(),
            freed: Notify::new(),
            limit: LIMIT,
            poll: POLL,
        }
    }

    /// Delivers what is due, until the task that runs it is dropped; see [`Callbacks::settle`].
    pub async fn run(self: Arc<Self>) {
        // Nobody else can be at work on a store that is ours alone: leases of the run before mean nothing.
        if !self.store.is_shared()
            && let Err(error) = self.store.callbacks_release().await
        {
            tracing::warn!(%error, "the callbacks of the run before wait for the end of their leases");
        }
        let mut poll = tokio::time::interval(self.poll);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut tidy = tokio::time::interval(TIDY);
        tidy.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = poll.tick() => {}
                () = self.store.callbacks_written() => {}
                () = self.freed.notified() => {}
                _ = tidy.tick() => self.tidy().await,
            }
            if let Err(error) = self.begin().await {
                tracing::warn!(%error, "callbacks could not be looked for");
            }
        }
    }

    /// Waits for the tries under way, when nothing more is begun.
    pub async fn settle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Begins to try what is due, as far as there are slots. How many.
    async fn begin(self: &Arc<Self>) -> Result<usize, ostler_store::Error> {
        let mut permits = Vec::new();
        while let Ok(permit) = Arc::clone(&self.slots).try_acquire_owned() {
            permits.push(permit);
        }
        if permits.is_empty() {
            return Ok(0);
        }
        let now = (self.clock)();
        let most = u32::try_from(permits.len()).unwrap_or(u32::MAX);
        let claimed = self.store.callback_claim(&self.owner, now, now.saturating_add(LEASE), most).await?;
        let count = claimed.len();
        for (callback, permit) in claimed.into_iter().zip(permits) {
            let this = Arc::clone(self);
            self.tasks.spawn(async move { this.deliver(callback, permit).await });
        }
        Ok(count)
    }

    /// One try, and the record of it.
    async fn deliver(&self, callback: Callback, permit: OwnedSemaphorePermit) {
        let reply = match callback.snapshot() {
            Ok(deployment) => self.send(&callback, &deployment).await,
            Err(error) => Reply::Refused(error.to_string()),
        };
        match self.record(&callback, reply).await {
            Ok(()) => {}
            // It took too long, and is somebody else's now.
            Err(ostler_store::Error::Lost) => tracing::info!(callback = callback.id, "a callback was taken over meanwhile"),
            // It is tried again when the lease is over: twice rather than not at all.
            Err(error) => tracing::warn!(callback = callback.id, %error, "what became of a callback could not be noted"),
        }
        drop(permit);
        self.freed.notify_one();
    }

    async fn send(&self, callback: &Callback, deployment: &Deployment) -> Reply {
        let delivery = Delivery {
            id: callback.id.clone(),
            url: callback.url.clone(),
            timestamp: (self.clock)().div_euclid(SECOND),
            body: (self.body)(deployment),
        };
        let sent = tokio::time::timeout(self.limit, self.sender.send(delivery)).await;
        sent.unwrap_or_else(|_| Reply::Failed("it takes too long".to_owned()))
    }

    async fn record(&self, callback: &Callback, reply: Reply) -> Result<(), ostler_store::Error> {
        let (id, deployment, kind, tries) = (&callback.id, &callback.deployment, callback.kind.as_str(), callback.tries);
        let again = |wait: Duration| {
            let next = next_try((self.clock)(), callback.created_at, tries, rand::random())?;
            // No receiver is waited for longer than we would wait by ourselves.
            let asked = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX).min(LONGEST_PAUSE);
            let end = callback.created_at.saturating_add(PATIENCE);
            Some(next.max((self.clock)().saturating_add(asked)).min(end))
        };
        let (why, next) = match reply {
            Reply::Taken => {
                tracing::debug!(callback = id, deployment, kind, tries, "callback delivered");
                return self.store.callback_end(id, &self.owner, CallbackOutcome::Delivered, None, None).await;
            }
            Reply::Failed(why) => (why, again(Duration::ZERO)),
            Reply::Later(why, wait) => (why, again(wait)),
            Reply::Refused(why) => (why, None),
        };
        let why: String = why.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_ERROR).collect();
        if let Some(due_at) = next {
            tracing::info!(callback = id, deployment, kind, tries, error = why, "a callback failed and is tried again");
            return self.store.callback_retry(id, &self.owner, due_at, &why).await;
        }
        tracing::warn!(callback = id, deployment, kind, tries, error = why, "a callback is given up");
        let event = NewEvent {
            kind: "callback.given-up".into(),
            subject: deployment.clone(),
            cloud: None,
            actor: "host".into(),
            data: json!({ "callback": id, "kind": kind, "tries": tries, "error": why }),
        };
        self.store.callback_end(id, &self.owner, CallbackOutcome::GivenUp, Some(&why), Some(&event)).await
    }

    /// Forgets what has ended long ago.
    async fn tidy(&self) {
        let before = (self.clock)().saturating_sub(KEPT);
        loop {
            match self.store.callbacks_prune(before, PORTION).await {
                Ok(count) if count < u64::from(PORTION) => return,
                Ok(_) => {}
                Err(error) => return tracing::warn!(%error, "old callbacks could not be forgotten"),
            }
        }
    }
}

/// The pause after so many tries, in microseconds: doubled from 5 s up to an hour, and then as much as a fifth shorter, as `random`
/// has it, so that those who failed together do not come back together.
fn pause(tries: u32, random: u32) -> i64 {
    let doubled = FIRST_PAUSE.saturating_mul(1 << tries.saturating_sub(1).min(30)).min(LONGEST_PAUSE);
    let most = doubled / 5;
    doubled - most * i64::from(random) / i64::from(u32::MAX)
}

/// When to try again what failed, in microseconds UTC; none after a day. The last try is at the end of the day.
fn next_try(now: i64, created_at: i64, tries: u32, random: u32) -> Option<i64> {
    let end = created_at.saturating_add(PATIENCE);
    (now < end).then(|| now.saturating_add(pause(tries, random)).min(end))
}
