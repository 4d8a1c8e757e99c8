//! Something of an issuer that is fetched when it is needed, kept for a while, and not asked for again and again.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::{Document, Problem, Unavailable};
use crate::issuers::Clock;

const SECOND: i64 = 1_000_000;

/// After this time a value is fetched anew when it is needed.
const FRESH: i64 = 3600 * SECOND;

/// For this time a value is good if it cannot be fetched anew.
const USABLE: i64 = 24 * 3600 * SECOND;

/// The time between two fetches for the sake of something that a fresh value lacks.
const BETWEEN_REFRESHES: i64 = 30 * SECOND;

/// The pause after the first failure; it doubles with each further one, up to the longest.
const FIRST_PAUSE: i64 = 5 * SECOND;
const LONGEST_PAUSE: i64 = 60 * SECOND;

/// Keeps failures in mind, so that what does not answer is left alone for a while.
#[derive(Default)]
pub(crate) struct Pause {
    until: i64,
    length: i64,
    error: Option<Unavailable>,
}

impl Pause {
    /// Why nothing should be sent now.
    pub(crate) fn reason(&self, now: i64) -> Option<&Unavailable> {
        self.error.as_ref().filter(|_| now < self.until)
    }

    /// Of several failures at once the first one counts.
    pub(crate) fn failed(&mut self, now: i64, error: Unavailable) {
        if self.reason(now).is_some() {
            return;
        }
        self.length = (self.length * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.until = now.saturating_add(self.length);
        self.error = Some(error);
    }

    pub(crate) fn succeeded(&mut self) {
        *self = Self::default();
    }
}

/// A value and the state of fetching it.
pub(crate) struct Cached<T> {
    clock: Clock,
    /// What to say if a fetch ends without a result.
    abandoned: Unavailable,
    state: Mutex<State<T>>,
    /// Held while a fetch is under way.
    flight: Arc<tokio::sync::Mutex<()>>,
}

struct State<T> {
    value: Option<Value<T>>,
    pause: Pause,
    /// When [`Cached::refresh`] last fetched.
    refreshed: Option<i64>,
}

struct Value<T> {
    value: Arc<T>,
    fetched: i64,
}

/// What there is without a fetch.
enum Look<T> {
    Settled(Result<Arc<T>, Unavailable>),
    /// Good enough while somebody else fetches.
    Stale(Arc<T>),
    Missing,
}

impl<T: Send + Sync + 'static> Cached<T> {
    pub(crate) fn new(clock: Clock, issuer: &str, document: Document) -> Arc<Self> {
        let state = State { value: None, pause: Pause::default(), refreshed: None };
        let abandoned = Unavailable { issuer: issuer.to_owned(), document, problem: Problem::Abandoned };
        Arc::new(Self { clock, abandoned, state: Mutex::new(state), flight: Arc::default() })
    }

    /// The value, fetched if there is none or it is no longer fresh. Of those who need the same fetch one does it: the others
    /// wait for it, or go on with a value that is still usable.
    pub(crate) async fn get<F, R>(self: &Arc<Self>, fetch: F) -> Result<Arc<T>, Unavailable>
    where
        F: FnOnce() -> R,
        R: Future<Output = Result<T, Unavailable>> + Send + 'static,
    {
        let flight = match self.look() {
            Look::Settled(result) => return result,
            Look::Stale(value) => match Arc::clone(&self.flight).try_lock_owned() {
                Ok(flight) => flight,
                Err(_) => return Ok(value),
            },
            Look::Missing => Arc::clone(&self.flight).lock_owned().await,
        };
        if let Look::Settled(result) = self.look() {
            return result;
        }
        self.fly(flight, fetch()).await.or_else(|error| match self.look() {
            Look::Settled(result) => result,
            Look::Stale(value) => Ok(value),
            Look::Missing => Err(error),
        })
    }

    /// A newer value than `known`, for the sake of something it lacks, which was missed since `started`: one that was fetched
    /// meanwhile, or is fetched now if the last such fetch was long enough ago. `None` if there is nothing newer to be had now.
    ///
    /// # Errors
    /// The newer value cannot be fetched: whether it has what is missing is not known.
    pub(crate) async fn refresh<F, R>(
        self: &Arc<Self>,
        known: &Arc<T>,
        started: i64,
        fetch: F,
    ) -> Result<Option<Arc<T>>, Unavailable>
    where
        F: FnOnce() -> R,
        R: Future<Output = Result<T, Unavailable>> + Send + 'static,
    {
        let flight = Arc::clone(&self.flight).lock_owned().await;
        {
            let now = (self.clock)();
            let mut state = self.state.lock();
            if let Some(current) = &state.value {
                if !Arc::ptr_eq(&current.value, known) {
                    return Ok(Some(Arc::clone(&current.value)));
                }
                if current.fetched >= started {
                    return Ok(None);
                }
            }
            if let Some(error) = state.pause.reason(now) {
                return Err(error.clone());
            }
            if state.refreshed.is_some_and(|last| now < last.saturating_add(BETWEEN_REFRESHES)) {
                return Ok(None);
            }
            state.refreshed = Some(now);
        }
        self.fly(flight, fetch()).await.map(Some)
    }

    fn look(&self) -> Look<T> {
        let now = (self.clock)();
        let state = self.state.lock();
        let usable = state.value.as_ref().filter(|value| now < value.fetched.saturating_add(USABLE));
        match (usable, state.pause.reason(now)) {
            (Some(value), _) if now < value.fetched.saturating_add(FRESH) => Look::Settled(Ok(Arc::clone(&value.value))),
            (Some(value), Some(_)) => Look::Settled(Ok(Arc::clone(&value.value))),
            (Some(value), None) => Look::Stale(Arc::clone(&value.value)),
            (None, Some(error)) => Look::Settled(Err(error.clone())),
            (None, None) => Look::Missing,
        }
    }

    /// Fetches, in a task of its own: whoever asked may be gone before the answer comes, and it counts all the same.
    async fn fly<R>(self: &Arc<Self>, flight: tokio::sync::OwnedMutexGuard<()>, fetch: R) -> Result<Arc<T>, Unavailable>
    where
        R: Future<Output = Result<T, Unavailable>> + Send + 'static,
    {
        let this = Arc::clone(self);
        let task = tokio::spawn(async move {
            let result = fetch.await;
            let result = this.land(result);
            drop(flight);
            result
        });
        task.await.unwrap_or_else(|_| Err(self.abandoned.clone()))
    }

    fn land(&self, result: Result<T, Unavailable>) -> Result<Arc<T>, Unavailable> {
        let now = (self.clock)();
        let mut state = self.state.lock();
        match result {
            Ok(value) => {
                let value = Arc::new(value);
                state.value = Some(Value { value: Arc::clone(&value), fetched: now });
                state.pause.succeeded();
                Ok(value)
            }
            Err(error) => {
                tracing::warn!(%error, "an issuer of tokens cannot be asked");
                state.pause.failed(now, error.clone());
                Err(error)
            }
        }
    }
}
