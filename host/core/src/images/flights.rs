//! What is on its way: content that this host fetches, each in a task of its own, so that neither a step of an operation nor the end
//! of the host waits for it.

use super::Images;
use super::source::Order;
use async_trait::async_trait;
use ostler_images::{Error, Fetcher, Staged};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_util::task::AbortOnDropHandle;
use url::Url;

/// How often progress is written down, at most, where it is not by a large step.
const SELDOM: Duration = Duration::from_secs(1);
/// A large step, in percent.
const LARGE: u8 = 5;

/// What fetches. A seam for tests.
#[async_trait]
pub(crate) trait Fetch: Send + Sync {
    /// See [`Fetcher::check`].
    fn check(&self, source: &Url) -> Result<(), Error>;

    /// See [`Fetcher::fetch`].
    async fn fetch(
        &self,
        name: &str,
        source: &Url,
        checksum: Option<&str>,
        progress: &(dyn Fn(u64, Option<u64>) + Send + Sync),
    ) -> Result<Staged, Error>;

    /// See [`Fetcher::forget`].
    async fn forget(&self, name: &str) -> Result<(), Error>;

    /// See [`Fetcher::tidy`].
    async fn tidy(&self, older_than: Duration) -> Result<usize, Error>;
}

#[async_trait]
impl Fetch for Fetcher {
    fn check(&self, source: &Url) -> Result<(), Error> {
        Fetcher::check(self, source)
    }

    async fn fetch(
        &self,
        name: &str,
        source: &Url,
        checksum: Option<&str>,
        progress: &(dyn Fn(u64, Option<u64>) + Send + Sync),
    ) -> Result<Staged, Error> {
        Fetcher::fetch(self, name, source, checksum, progress).await
    }

    async fn forget(&self, name: &str) -> Result<(), Error> {
        Fetcher::forget(self, name).await
    }

    async fn tidy(&self, older_than: Duration) -> Result<usize, Error> {
        Fetcher::tidy(self, older_than).await
    }
}

/// How much has arrived, and of how much; 0 where that is not known.
#[derive(Default)]
struct Arrived {
    bytes: AtomicU64,
    of: AtomicU64,
}

impl Arrived {
    fn percent(&self) -> Option<u8> {
        let (bytes, of) = (self.bytes.load(Ordering::Relaxed), self.of.load(Ordering::Relaxed));
        let percent = u128::from(bytes) * 100 / u128::from(of).max(1);
        (of > 0).then(|| u8::try_from(percent.min(100)).unwrap_or(100))
    }
}

/// An image on its way, as far as this run of the host knows.
#[derive(Default)]
pub(super) struct Flight {
    /// Ends with the flight.
    task: Option<AbortOnDropHandle<Result<Staged, Error>>>,
    arrived: Arc<Arrived>,
    staged: Option<Staged>,
    /// Whether this run of the host has given it to the provider.
    ordered: bool,
    /// What was written down of its progress last, and when.
    told: Option<(u8, Instant)>,
}

/// How far this host is with fetching.
pub(super) enum Fetched {
    /// So many percent are here, where it is known of how much.
    Arriving(Option<u8>),
    /// It is ready.
    Ready(Staged),
    /// It came to nothing; another try begins anew, or where this one ended.
    Broken(Error),
}

impl Images {
    /// Sees to it that the content of an image is fetched; how far that is.
    pub(super) async fn fetched(&self, token: &str, order: &Order) -> Fetched {
        let Some(fetcher) = &self.fetcher else {
            return Fetched::Broken(Error::Refused("this host does not fetch images".into()));
        };
        let finished = {
            let mut flights = self.flights.lock();
            let flight = flights.entry(token.to_owned()).or_default();
            if let Some(staged) = &flight.staged {
                return Fetched::Ready(staged.clone());
            }
            match flight.task.take_if(|task| task.is_finished()) {
                Some(task) => task,
                None => {
                    if flight.task.is_none() {
                        let (fetcher, arrived) = (Arc::clone(fetcher), Arc::clone(&flight.arrived));
                        let (name, order) = (token.to_owned(), order.clone());
                        let fetching = async move {
                            let progress = |bytes: u64, of: Option<u64>| {
                                arrived.bytes.store(bytes, Ordering::Relaxed);
                                arrived.of.store(of.unwrap_or_default(), Ordering::Relaxed);
                            };
                            fetcher.fetch(&name, &order.source, order.checksum.as_deref(), &progress).await
                        };
                        flight.task = Some(AbortOnDropHandle::new(tokio::spawn(fetching)));
                    }
                    return Fetched::Arriving(flight.arrived.percent());
                }
            }
        };
        match finished.await {
            Ok(Ok(staged)) => {
                self.flights.lock().entry(token.to_owned()).or_default().staged = Some(staged.clone());
                Fetched::Ready(staged)
            }
            Ok(Err(error)) => Fetched::Broken(error),
            Err(error) => Fetched::Broken(Error::Interrupted(error.to_string())),
        }
    }

    /// Whether this run of the host has given an image to the provider.
    pub(super) fn has_ordered(&self, token: &str) -> bool {
        self.flights.lock().get(token).is_some_and(|flight| flight.ordered)
    }

    /// This run of the host has given an image to the provider.
    pub(super) fn set_ordered(&self, token: &str) {
        self.flights.lock().entry(token.to_owned()).or_default().ordered = true;
    }

    /// Whether progress is to be written down now.
    pub(super) fn is_news(&self, token: &str, percent: u8) -> bool {
        let mut flights = self.flights.lock();
        let flight = flights.entry(token.to_owned()).or_default();
        let news = match flight.told {
            None => true,
            Some((told, at)) => percent >= told.saturating_add(LARGE) || (percent > told && at.elapsed() >= SELDOM),
        };
        if news {
            flight.told = Some((percent, Instant::now()));
        }
        news
    }

    /// An image is on its way no more: what is fetched of it ends.
    pub(super) fn land(&self, token: &str) {
        self.flights.lock().remove(token);
    }
}
