//! The capabilities of a test cloud.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::memory::Memory;
use crate::bindings::ostler::driver::state::{Condition, Entry, StateError as WitStateError, Write};
use crate::hypervisor::HypervisorDouble;
use crate::{Context, Driver, Error, Level, Result};

/// A line that a driver logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// The text.
    pub message: String,
    /// The fields.
    pub fields: Vec<(String, String)>,
}

/// What happens before a conditional write.
type Interruption = Box<dyn FnOnce(&Cloud) + Send>;

/// One cloud in memory: configuration, secrets, state, cache, log, clock, HTTP and hypervisor. Clones are the same cloud, as
/// several instances of a component would see it, also from several threads.
#[derive(Clone)]
pub struct Cloud(Arc<Inner>);

struct Inner {
    name: String,
    config: Mutex<BTreeMap<String, String>>,
    secrets: Mutex<BTreeMap<String, String>>,
    memory: Mutex<Memory>,
    interruptions: Mutex<VecDeque<Interruption>>,
    outage: Mutex<u32>,
    cache: Mutex<BTreeMap<String, (Vec<u8>, u64)>>,
    logs: Mutex<Vec<LogLine>>,
    clock: Mutex<u64>,
    slept: Mutex<Duration>,
    hypervisor: Mutex<Option<Box<dyn HypervisorDouble>>>,
    #[cfg(feature = "http")]
    http: super::http::Script,
}

/// A panicking test must not hide behind the panic of another.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Cloud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Cloud").field(&self.0.name).finish()
    }
}

/// Setting up and looking at it.
impl Cloud {
    /// When a test cloud's clock starts: 2001-09-09T01:46:40Z, in microseconds.
    pub const EPOCH: u64 = 1_000_000_000_000_000;

    /// An empty cloud.
    pub fn new(name: &str) -> Self {
        Self(Arc::new(Inner {
            name: name.to_owned(),
            config: Mutex::default(),
            secrets: Mutex::default(),
            memory: Mutex::default(),
            interruptions: Mutex::default(),
            outage: Mutex::default(),
            cache: Mutex::default(),
            logs: Mutex::default(),
            clock: Mutex::new(Self::EPOCH),
            slept: Mutex::default(),
            hypervisor: Mutex::default(),
            #[cfg(feature = "http")]
            http: super::http::Script::default(),
        }))
    }

    /// Sets a value of the configuration, for drivers made from now on.
    #[must_use]
    pub fn config(self, key: &str, value: &str) -> Self {
        lock(&self.0.config).insert(key.to_owned(), value.to_owned());
        self
    }

    /// Sets a secret.
    #[must_use]
    pub fn secret(self, name: &str, value: &str) -> Self {
        lock(&self.0.secrets).insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sets what answers for the hypervisor.
    #[must_use]
    pub fn hypervisor(self, double: impl HypervisorDouble + 'static) -> Self {
        *lock(&self.0.hypervisor) = Some(Box::new(double));
        self
    }

    /// Bounds the bytes of the state.
    #[must_use]
    pub fn state_quota(self, bytes: usize) -> Self {
        lock(&self.0.memory).quota = Some(bytes);
        self
    }

    /// The handle for a driver.
    pub fn context(&self) -> Context {
        Context::of(self.clone())
    }

    /// A driver of this cloud, as a new instance would make it.
    ///
    /// # Errors
    /// What [`Driver::new`] says.
    pub fn driver<D: Driver>(&self) -> Result<D> {
        D::new(self.context())
    }

    /// What was logged so far.
    pub fn logs(&self) -> Vec<LogLine> {
        lock(&self.0.logs).clone()
    }

    /// Turns the clock forward.
    pub fn advance(&self, time: Duration) {
        *lock(&self.0.clock) += u64::try_from(time.as_micros()).unwrap_or(0);
    }

    /// How long drivers have slept; sleeping turns the clock and takes no time.
    pub fn slept(&self) -> Duration {
        *lock(&self.0.slept)
    }

    /// Forgets what is cached, as a host may at any time.
    pub fn clear_cache(&self) {
        lock(&self.0.cache).clear();
    }

    /// Runs this before the next compare-and-swap or commit takes effect: another instance that comes in between. Several wait
    /// for one write each.
    pub fn before_next_write(&self, interruption: impl FnOnce(&Self) + Send + 'static) {
        lock(&self.0.interruptions).push_back(Box::new(interruption));
    }

    /// Makes the next `operations` of the state answer `unavailable`.
    pub fn state_outage(&self, operations: u32) {
        *lock(&self.0.outage) = operations;
    }

    /// How many operations of the state there were: what a call costs.
    pub fn state_operations(&self) -> u64 {
        lock(&self.0.memory).operations
    }

    fn memory(&self) -> Result<MutexGuard<'_, Memory>, WitStateError> {
        let mut outage = lock(&self.0.outage);
        if *outage > 0 {
            *outage -= 1;
            return Err(WitStateError::Unavailable("a test wants it so".to_owned()));
        }
        let mut memory = lock(&self.0.memory);
        memory.operations += 1;
        Ok(memory)
    }

    fn interrupt(&self) {
        // Taken out first: the interruption itself writes.
        let interruption = lock(&self.0.interruptions).pop_front();
        if let Some(interruption) = interruption {
            interruption(self);
        }
    }
}

/// The capabilities, as in a component.
impl Cloud {
    pub(crate) fn now(&self) -> u64 {
        *lock(&self.0.clock)
    }

    pub(crate) fn sleep(&self, time: Duration) {
        *lock(&self.0.slept) += time;
        self.advance(time);
    }

    pub(crate) fn config_cloud(&self) -> String {
        self.0.name.clone()
    }

    pub(crate) fn config_get(&self, key: &str) -> Option<String> {
        lock(&self.0.config).get(key).cloned()
    }

    pub(crate) fn config_entries(&self) -> Vec<(String, String)> {
        lock(&self.0.config).iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    pub(crate) fn secret_get(&self, name: &str) -> Option<String> {
        lock(&self.0.secrets).get(name).cloned()
    }

    pub(crate) fn log(&self, level: Level, message: &str, fields: &[(String, String)]) {
        lock(&self.0.logs).push(LogLine { level, message: message.to_owned(), fields: fields.to_vec() });
    }

    pub(crate) fn cache_get(&self, key: &str) -> Option<Vec<u8>> {
        let now = self.now();
        lock(&self.0.cache).get(key).filter(|(_, end)| *end > now).map(|(value, _)| value.clone())
    }

    pub(crate) fn cache_set(&self, key: &str, value: &[u8], ttl_ms: u64) {
        let end = self.now().saturating_add(ttl_ms.saturating_mul(1000));
        lock(&self.0.cache).insert(key.to_owned(), (value.to_vec(), end));
    }

    pub(crate) fn cache_delete(&self, key: &str) {
        lock(&self.0.cache).remove(key);
    }

    pub(crate) fn state_get(&self, key: &str) -> Result<Option<Entry>, WitStateError> {
        self.memory()?.get(key)
    }

    pub(crate) fn state_list(&self, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<Entry>, WitStateError> {
        Ok(self.memory()?.list(prefix, after, limit))
    }

    pub(crate) fn state_set(&self, key: &str, value: &[u8]) -> Result<u64, WitStateError> {
        self.memory()?.commit(&[], &[Write { key: key.to_owned(), value: Some(value.to_vec()) }])
    }

    pub(crate) fn state_delete(&self, key: &str) -> Result<bool, WitStateError> {
        let mut memory = self.memory()?;
        let existed = memory.get(key)?.is_some();
        if existed {
            memory.commit(&[], &[Write { key: key.to_owned(), value: None }])?;
        }
        Ok(existed)
    }

    pub(crate) fn state_swap(&self, key: &str, version: Option<u64>, value: Option<&[u8]>) -> Result<u64, WitStateError> {
        let write = Write { key: key.to_owned(), value: value.map(<[u8]>::to_vec) };
        self.state_commit(&[Condition { key: key.to_owned(), version }], &[write])
    }

    pub(crate) fn state_commit(&self, conditions: &[Condition], writes: &[Write]) -> Result<u64, WitStateError> {
        self.interrupt();
        self.memory()?.commit(conditions, writes)
    }

    pub(crate) fn state_revision(&self) -> Result<u64, WitStateError> {
        Ok(self.memory()?.revision())
    }

    pub(crate) fn with_hypervisor<T>(&self, ask: impl FnOnce(&mut dyn HypervisorDouble) -> Result<T>) -> Result<T> {
        match lock(&self.0.hypervisor).as_mut() {
            Some(double) => ask(double.as_mut()),
            None => Err(Error::Forbidden("this test cloud grants no hypervisor".into())),
        }
    }
}

#[cfg(feature = "http")]
impl Cloud {
    /// Expects one request; the answer is none (status 200, empty) unless the expectation says otherwise. Requests must come in the
    /// order in which they are expected. The URL includes the query.
    pub fn expect_http(&self, method: &str, url: &str) -> super::Expectation<'_> {
        self.0.http.expect(method, url)
    }

    /// Has `play` answer all requests, but those that are expected first. It plays the provider: it gets this cloud, for its clock,
    /// and the request, and answers it or fails the connection. Calls of one thread come in it, so that a play may keep what
    /// it has in a thread-local, and it may itself call drivers.
    ///
    /// ```
    /// use ostler_driver::http::Answer;
    /// use ostler_driver::testing::Cloud;
    ///
    /// let cloud = Cloud::new("test").answer_http(|_, request| {
    ///     Ok(match request.header("authorization") {
    ///         Some("Bearer secret") => Answer::new(200, r#"{"servers":[]}"#),
    ///         _ => Answer::new(401, "who are you?"),
    ///     })
    /// });
    /// let error = cloud.context().http().get("https://provider/servers").send().unwrap().success().unwrap_err();
    /// assert_eq!(error.class(), "unauthorized");
    /// ```
    #[must_use]
    pub fn answer_http(
        self,
        play: impl Fn(&Self, &crate::http::Outgoing) -> Result<crate::http::Answer> + Send + Sync + 'static,
    ) -> Self {
        self.0.http.play(Arc::new(play));
        self
    }

    /// Fails a test whose driver did not send everything that was expected.
    ///
    /// # Panics
    /// When requests are missing.
    pub fn assert_http_done(&self) {
        let missing = self.0.http.missing();
        assert!(missing.is_empty(), "these requests were not sent: {missing:?}");
    }

    pub(crate) fn http_send(&self, parts: &crate::http::Outgoing) -> Result<crate::http::RawResponse> {
        self.0.http.answer(self, parts)
    }
}
