//! Listings: many readers, one call to the provider, and nobody is shown what was true before his own change.

use crate::error::Error;
use futures::FutureExt;
use futures::future::{BoxFuture, WeakShared};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

type Shown<L> = Result<Arc<L>, Error>;

/// The listings `L` of one kind of one cloud.
pub(crate) struct Flight<L> {
    /// Counts the changes. A listing that began before a change ended is not shown to readers who came after it.
    changes: AtomicU64,
    inner: Mutex<Inner<L>>,
}

struct Inner<L> {
    /// Held weakly: a listing that nobody waits for any more stands still, and would be old news to whoever came later.
    running: Option<(u64, WeakShared<BoxFuture<'static, Shown<L>>>)>,
    kept: Option<(u64, Instant, Arc<L>)>,
}

impl<L: Send + Sync + 'static> Flight<L> {
    pub(crate) fn new() -> Self {
        Self { changes: AtomicU64::new(0), inner: Mutex::new(Inner { running: None, kept: None }) }
    }

    /// Something changed.
    pub(crate) fn invalidate(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// The listing: one kept for less than `ttl`, one under way, or the outcome of `work`. A cloud that answers within
    /// microseconds is `quick`: waiting for somebody else's call would take longer than the call.
    pub(crate) async fn list(
        &self,
        quick: bool,
        ttl: Duration,
        work: impl Future<Output = Result<L, Error>> + Send + 'static,
    ) -> Shown<L> {
        if quick && ttl.is_zero() {
            return work.await.map(Arc::new);
        }
        let now = self.changes.load(Ordering::SeqCst);
        let shared = {
            let mut inner = self.inner.lock();
            if let Some((change, at, listing)) = &inner.kept
                && *change == now
                && at.elapsed() < ttl
            {
                return Ok(Arc::clone(listing));
            }
            let running = inner.running.as_ref().filter(|(change, _)| *change == now).and_then(|(_, running)| running.upgrade());
            match running.filter(|shared| shared.peek().is_none()) {
                Some(shared) => shared,
                None => {
                    let shared = work.map(|result| result.map(Arc::new)).boxed().shared();
                    inner.running = shared.downgrade().map(|running| (now, running));
                    shared
                }
            }
        };
        let result = shared.await;
        let mut inner = self.inner.lock();
        if let Ok(listing) = &result
            && !ttl.is_zero()
            && inner.kept.as_ref().is_none_or(|(change, _, old)| *change <= now && !Arc::ptr_eq(old, listing))
        {
            inner.kept = Some((now, Instant::now(), Arc::clone(listing)));
        }
        result
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use tokio::sync::Barrier;

    #[tokio::test]
    async fn readers_share_a_call_until_something_changes() {
        let flight = Arc::new(Flight::<Vec<usize>>::new());
        let (calls, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(2)));
        let work = || {
            let (calls, gate) = (Arc::clone(&calls), Arc::clone(&gate));
            async move {
                let nth = calls.fetch_add(1, Ordering::SeqCst);
                gate.wait().await;
                Ok(vec![nth])
            }
        };
        let first = futures::future::join_all((0..10).map(|_| flight.list(false, Duration::ZERO, work())));
        let (listings, _) = futures::join!(first, gate.wait());
        assert!(listings.iter().all(|l| **l.as_ref().unwrap() == vec![0]), "ten readers, one call");

        // A reader who comes after a change does not join the call that began before it.
        let (early, late) = (Box::pin(flight.list(false, Duration::ZERO, work())), flight.list(false, Duration::ZERO, work()));
        let mut early = early;
        assert!(futures::poll!(early.as_mut()).is_pending());
        flight.invalidate();
        let (early, late) = futures::join!(early, late);
        assert_eq!((early.unwrap().as_slice(), late.unwrap().as_slice()), (&[1][..], &[2][..]));
    }

    #[tokio::test]
    async fn a_kept_listing_is_shown_until_its_time_or_a_change() {
        let flight = Flight::<Vec<u8>>::new();
        let hour = Duration::from_secs(3600);
        assert_eq!(*flight.list(false, hour, async { Ok(vec![1]) }).await.unwrap(), vec![1]);
        assert_eq!(*flight.list(true, hour, async { Ok(vec![2]) }).await.unwrap(), vec![1]);
        assert_eq!(*flight.list(true, Duration::ZERO, async { Ok(vec![3]) }).await.unwrap(), vec![3]);
        flight.invalidate();
        assert_eq!(*flight.list(false, hour, async { Ok(vec![4]) }).await.unwrap(), vec![4]);
    }
}
