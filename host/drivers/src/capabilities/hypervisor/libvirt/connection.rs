//! One connection a hypervisor, whichever clouds use it: opened when it is needed, opened again when it is lost.

use super::capacity::Nature;
use super::error::{Failure, Outcome};
use super::events::{self, Callbacks};
use super::shared::Shared;
use crate::v0_1::imports::hypervisor::Error;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, OnceLock, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use virt::connect::Connect;

/// Calls on one connection at once: libvirtd's own limit (`max_client_requests`), and more would only wait there.
const CALLS: usize = 5;
/// Transfers of much content at once, each on a connection of its own.
const TRANSFERS: usize = 2;
/// How long after a failed attempt the next is made: at first, and at most.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Seconds of silence after which the other side is asked whether it is there, and how often before it counts as gone.
const KEEPALIVE: (i32, u32) = (5, 5);

/// The connection to one hypervisor.
pub(super) struct Link {
    uri: String,
    calls: Arc<Semaphore>,
    transfers: Arc<Semaphore>,
    state: Mutex<State>,
    pub(super) shared: Arc<Shared>,
}

enum State {
    Closed,
    Open(Arc<Open>),
    /// The last attempt failed.
    Failed {
        pause: Duration,
        until: Instant,
        reason: String,
    },
}

/// An open connection.
pub(super) struct Open {
    pub(super) connect: Connect,
    /// Whether changes of domains are told, so that what was read of them can be remembered.
    pub(super) told: bool,
    /// What it is, which does not change.
    pub(super) nature: OnceLock<Nature>,
    callbacks: Callbacks,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.callbacks.release(&self.connect);
        // The crate does not close a connection that is dropped.
        if let Err(error) = self.connect.close() {
            tracing::warn!(error = error.message(), "a connection to a hypervisor cannot be closed");
        }
    }
}

static LINKS: LazyLock<Mutex<HashMap<String, Weak<Link>>>> = LazyLock::new(Mutex::default);

impl Link {
    /// The connection of this URI; the same for all who ask. Nothing is opened yet.
    pub(super) fn to(uri: &str) -> Arc<Self> {
        let mut links = LINKS.lock();
        if let Some(link) = links.get(uri).and_then(Weak::upgrade) {
            return link;
        }
        links.retain(|_, link| link.strong_count() > 0);
        let link = Arc::new(Self {
            uri: uri.to_owned(),
            calls: Arc::new(Semaphore::new(CALLS)),
            transfers: Arc::new(Semaphore::new(TRANSFERS)),
            state: Mutex::new(State::Closed),
            shared: Arc::default(),
        });
        links.insert(uri.to_owned(), Arc::downgrade(&link));
        link
    }

    /// Runs blocking work on the connection, on a thread where it may block. Work that can be `repeated` is tried once more where
    /// the connection turns out to be lost: the daemon may have been restarted since the last call.
    ///
    /// When the caller gives up, the work goes on.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        repeated: bool,
        work: impl Fn(&Open) -> Outcome<T> + Send + 'static,
    ) -> Result<T, Error> {
        let stopping = |_| Error::Transient("the host is stopping".to_owned());
        let permit = Arc::clone(&self.calls).acquire_owned().await.map_err(stopping)?;
        let link = Arc::clone(self);
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let mut again = repeated;
            loop {
                match link.attempt(&work) {
                    Err(failure) if failure.lost && again => again = false,
                    result => return result.map_err(|failure| failure.error),
                }
            }
        });
        task.await.unwrap_or_else(|error| Err(Error::Failed(format!("a call to libvirt broke off: {error}"))))
    }

    /// Runs blocking work that moves much content, on a connection of its own: on a shared one, the daemon would read no other
    /// request while what was sent has not been written.
    pub(super) async fn apart<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Open) -> Outcome<T> + Send + 'static,
    ) -> Outcome<T> {
        let stopping = |_| Failure::from(Error::Transient("the host is stopping".to_owned()));
        let permit = Arc::clone(&self.transfers).acquire_owned().await.map_err(stopping)?;
        let uri = self.uri.clone();
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            events::start();
            let connect = Connect::open(Some(&uri))?;
            let _ = connect.set_keep_alive(KEEPALIVE.0, KEEPALIVE.1);
            work(&Open { connect, told: false, nature: OnceLock::new(), callbacks: Callbacks::none() })
        });
        task.await.unwrap_or_else(|error| Err(Error::Failed(format!("a transfer to libvirt broke off: {error}")).into()))
    }

    fn attempt<T>(&self, work: &impl Fn(&Open) -> Outcome<T>) -> Outcome<T> {
        let open = self.open()?;
        let result = work(&open);
        if matches!(&result, Err(failure) if failure.lost) {
            let mut state = self.state.lock();
            // Another call may have opened a new one already.
            if matches!(&*state, State::Open(present) if Arc::ptr_eq(present, &open)) {
                tracing::warn!(uri = self.uri, "the connection to the hypervisor is lost");
                *state = State::Closed;
            }
        }
        result
    }

    fn open(&self) -> Outcome<Arc<Open>> {
        // Held while it opens: others need the connection too.
        let mut state = self.state.lock();
        let closed = self.shared.take_closed();
        let pause = match &*state {
            State::Open(open) if !closed => return Ok(Arc::clone(open)),
            State::Failed { until, reason, .. } if *until > Instant::now() => {
                return Err(Error::Transient(format!("the hypervisor does not answer: {reason}")).into());
            }
            State::Failed { pause, .. } => (*pause * 2).min(LONGEST_PAUSE),
            State::Open(_) | State::Closed => PAUSE,
        };
        // The old one goes first: taking back its callbacks must not end what the new one is told.
        *state = State::Closed;
        events::start();
        self.shared.forget();
        match Connect::open(Some(&self.uri)) {
            Ok(connect) => {
                // Not offered by hypervisors in this process.
                let _ = connect.set_keep_alive(KEEPALIVE.0, KEEPALIVE.1);
                let callbacks = events::listen(&connect, &self.shared);
                let open = Arc::new(Open { connect, told: callbacks.tell_changes(), nature: OnceLock::new(), callbacks });
                tracing::info!(uri = self.uri, "connected to the hypervisor");
                *state = State::Open(Arc::clone(&open));
                Ok(open)
            }
            Err(error) => {
                let failure = Failure::from(error);
                let (denied, reason) = match &failure.error {
                    Error::Unauthorized(text) | Error::Forbidden(text) => (true, text.clone()),
                    Error::Transient(text) | Error::Failed(text) | Error::Unsupported(text) | Error::NotFound(text) => {
                        (false, text.clone())
                    }
                    other => (false, format!("{other:?}")),
                };
                tracing::warn!(uri = self.uri, reason, "no connection to the hypervisor");
                *state = State::Failed { pause, until: Instant::now() + pause, reason: reason.clone() };
                // Whatever else it is called: it may be there next time.
                Err(if denied { failure.error } else { Error::Transient(format!("the hypervisor does not answer: {reason}")) }
                    .into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn calls_share_one_connection_which_is_opened_again_when_it_is_lost() {
        crate::capabilities::hypervisor::libvirt::tests::hold();
        let (link, same) = (Link::to("test:///default"), Link::to("test:///default"));
        assert!(Arc::ptr_eq(&link, &same));
        let pointer = |open: &Open| Ok(std::ptr::from_ref(open).addr());
        let first = link.run(true, pointer).await.unwrap();
        assert_eq!(same.run(true, pointer).await.unwrap(), first);

        // Lost once: repeated where that is allowed, on a new connection.
        let lost = |open: &Open, calls: &AtomicUsize| match calls.fetch_add(1, Ordering::SeqCst) {
            0 => Err(Failure { error: Error::Transient("lost".to_owned()), lost: true }),
            _ => Ok(open.connect.is_alive()?),
        };
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        assert!(link.run(true, move |open| lost(open, &counted)).await.unwrap());
        assert_eq!(calls.swap(0, Ordering::SeqCst), 2);
        let counted = Arc::clone(&calls);
        assert!(matches!(link.run(false, move |open| lost(open, &counted)).await, Err(Error::Transient(_))));
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        assert!(link.run(false, |open| Ok(open.connect.is_alive()?)).await.unwrap());
        // The library says that it has ended: the next call opens a new one.
        link.shared.closed();
        assert!(link.run(false, |open| Ok(open.connect.is_alive()?)).await.unwrap());
    }

    #[tokio::test]
    async fn a_hypervisor_that_is_not_there_is_not_asked_again_at_once() {
        let link = Link::to("test:///no/such/file.xml");
        for _ in 0..3 {
            let Err(Error::Transient(reason)) = link.run(true, |_| Ok(())).await else { panic!("it is there") };
            assert!(reason.starts_with("the hypervisor does not answer: "), "{reason}");
        }
        assert!(matches!(&*link.state.lock(), State::Failed { pause, .. } if *pause <= PAUSE * 2));
    }

    #[tokio::test]
    async fn no_more_calls_than_the_daemon_takes_at_once() {
        crate::capabilities::hypervisor::libvirt::tests::hold();
        let link = Link::to("test:///default");
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let calls = (0..20).map(|_| {
            let (link, now, most) = (Arc::clone(&link), Arc::clone(&now), Arc::clone(&most));
            async move {
                let work = move |open: &Open| {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    open.connect.list_all_domains(0)?;
                    std::thread::yield_now();
                    now.fetch_sub(1, Ordering::SeqCst);
                    Ok(())
                };
                link.run(true, work).await.unwrap();
            }
        });
        futures::future::join_all(calls).await;
        let most = most.load(Ordering::SeqCst);
        assert!((1..=CALLS).contains(&most), "{most}");
    }
}
