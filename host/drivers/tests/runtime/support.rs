//! What the tests share: a host with its store, clouds, waiting, captured log lines, a provider over HTTP.

use async_trait::async_trait;
use axum::Router;
use ostler_drivers::model::{NodeSpec, NodeState};
use ostler_drivers::{
    Cloud, CloudSettings, Condition, Entry, Error, ErrorKind, Grants, Host, Instances, Limits, LoadError, LoadPolicy, Prepared,
    Runtime, Seal, StateBackend, StateError, Strictness, Write,
};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// What nothing here should come near to.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A host whose clouds are served by components from memory.
pub struct TestHost {
    pub host: Arc<Host>,
}

impl TestHost {
    /// With the default policy, and a store that no other host shares.
    pub fn new() -> Self {
        Self::with(LoadPolicy::default(), Arc::new(MemoryState::default()))
    }

    pub fn with(policy: LoadPolicy, state: Arc<MemoryState>) -> Self {
        Self::on(Runtime::new(Some(shared_cache())).unwrap(), policy, state)
    }

    pub fn on(runtime: Runtime, policy: LoadPolicy, state: Arc<MemoryState>) -> Self {
        Self { host: Arc::new(Host::new(runtime, policy, state).unwrap()) }
    }

    /// Verifies, compiles and probes for all clouds that use this driver.
    pub async fn prepare(&self, driver: &str, wasm: &[u8]) -> Result<Prepared, LoadError> {
        self.host.prepare(driver, wasm.to_vec(), Seal::Signature(None), Strictness::AllOrNothing).await
    }

    /// Lets this component serve all clouds that use this driver.
    pub async fn swap(&self, driver: &str, wasm: &[u8]) {
        let prepared = self.prepare(driver, wasm).await.unwrap();
        self.host.activate(prepared).await;
    }

    /// Adds a cloud and lets it be served.
    pub async fn serve(&self, settings: CloudSettings, wasm: &[u8]) -> Arc<Cloud> {
        let (name, driver) = (settings.name.clone(), settings.driver.clone());
        self.host.add_cloud(settings).unwrap();
        self.swap(&driver, wasm).await;
        self.host.cloud(&name).unwrap()
    }
}

/// A directory for compiled code that all tests share: its names bind what they are made from.
fn shared_cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled-drivers")
}

/// A cloud of the dummy driver with all features.
pub fn plain() -> CloudSettings {
    CloudSettings::new("c", "dummy").set("form", "plain")
}

/// Settings in the manner of a builder.
pub trait Adjust: Sized {
    fn named(self, name: &str) -> Self;
    fn set(self, key: &str, value: &str) -> Self;
    fn secret(self, name: &str, value: &str) -> Self;
    fn limit(self, change: impl FnOnce(&mut Limits)) -> Self;
    fn grant(self, change: impl FnOnce(&mut Grants)) -> Self;
    fn fresh(self) -> Self;
}

impl Adjust for CloudSettings {
    fn named(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    fn set(mut self, key: &str, value: &str) -> Self {
        self.config.insert(key.into(), value.into());
        self
    }

    fn secret(mut self, name: &str, value: &str) -> Self {
        self.secrets.insert(name.into(), value.into());
        self
    }

    fn limit(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    fn grant(mut self, change: impl FnOnce(&mut Grants)) -> Self {
        change(&mut self.grants);
        self
    }

    fn fresh(mut self) -> Self {
        self.instances = Instances::Fresh;
        self
    }
}

/// An order that the plain dummy accepts.
pub fn order(name: &str) -> NodeSpec {
    NodeSpec::new(name, "debian-13", "tiny")
}

/// Identifiers of all nodes, sorted.
pub async fn node_ids(cloud: &Arc<Cloud>) -> Vec<String> {
    let mut ids: Vec<_> = cloud.list_nodes().await.unwrap().iter().map(|node| node.id.clone()).collect();
    ids.sort();
    ids
}

/// Waits until a node is in a state.
pub async fn until_state(cloud: &Arc<Cloud>, id: &str, state: NodeState) {
    eventually(&format!("{id} {state:?}"), async || (cloud.get_node(id).await.unwrap().state == state).then_some(())).await;
}

/// Asks until there is an answer.
pub async fn eventually<T>(what: &str, mut question: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = question().await {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The class of a failure.
pub fn kind<T>(result: Result<T, Error>) -> ErrorKind {
    result.map(drop).expect_err("this must fail").kind
}

/// State in memory.
#[derive(Default)]
pub struct MemoryState {
    shared: bool,
    clouds: Mutex<BTreeMap<String, Stored>>,
}

#[derive(Default)]
struct Stored {
    revision: u64,
    entries: BTreeMap<String, (u64, Vec<u8>)>,
}

impl Stored {
    fn entry((key, (version, value)): (&String, &(u64, Vec<u8>))) -> Entry {
        Entry { key: key.clone(), value: value.clone(), version: *version }
    }
}

impl MemoryState {
    /// One that several hosts use.
    pub fn shared() -> Self {
        Self { shared: true, ..Self::default() }
    }

    fn with<T>(&self, cloud: &str, f: impl FnOnce(&mut Stored) -> T) -> T {
        f(self.clouds.lock().entry(cloud.into()).or_default())
    }
}

#[async_trait]
impl StateBackend for MemoryState {
    fn is_shared(&self) -> bool {
        self.shared
    }

    async fn load(&self, cloud: &str) -> Result<(u64, Vec<Entry>), StateError> {
        Ok(self.with(cloud, |stored| (stored.revision, stored.entries.iter().map(Stored::entry).collect())))
    }

    async fn get(&self, cloud: &str, key: &str) -> Result<Option<Entry>, StateError> {
        Ok(self.with(cloud, |stored| stored.entries.get_key_value(key).map(Stored::entry)))
    }

    async fn list(&self, cloud: &str, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<Entry>, StateError> {
        Ok(self.with(cloud, |stored| {
            let wanted = stored
                .entries
                .iter()
                .filter(|(key, _)| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after));
            wanted.take(limit as usize).map(Stored::entry).collect()
        }))
    }

    async fn revision(&self, cloud: &str) -> Result<u64, StateError> {
        Ok(self.with(cloud, |stored| stored.revision))
    }

    async fn commit(&self, cloud: &str, conditions: &[Condition], writes: &[Write], _: u64) -> Result<u64, StateError> {
        // Others get their turn, as they would while a store works.
        tokio::task::yield_now().await;
        self.with(cloud, |stored| {
            if conditions.iter().any(|c| stored.entries.get(&c.key).map(|(version, _)| *version) != c.version) {
                return Err(StateError::Conflict);
            }
            stored.revision += 1;
            for write in writes {
                match &write.value {
                    Some(value) => stored.entries.insert(write.key.clone(), (stored.revision, value.clone())),
                    None => stored.entries.remove(&write.key),
                };
            }
            Ok(stored.revision)
        })
    }
}

/// Everything that this process has logged.
pub fn logged() -> String {
    String::from_utf8_lossy(&LOG.lock()).into_owned()
}

static LOG: LazyLock<Mutex<Vec<u8>>> = LazyLock::new(Mutex::default);

/// Lets [`logged`] know everything from now on.
pub fn capture_log() {
    struct Sink;
    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            LOG.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    // At `trace` the engine writes down the arguments of the standard interfaces' functions.
    let filter = "trace,wasmtime_wasi=info,wasmtime_wasi_io=info,wasmtime_wasi_http=info";
    let subscriber = tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::new(filter));
    // Another test of this process may have done so already.
    let _ = subscriber.with_ansi(false).with_writer(|| Sink).try_init();
}

/// Serves a provider on a port of its own until the test's runtime ends; its address.
pub async fn provider(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// A cloud of the probe that may call these addresses and reads this URL.
pub fn probing(url: &str, allowed: &[&str]) -> CloudSettings {
    let origins = allowed.iter().map(|address| format!("http://{address}").parse().unwrap()).collect();
    CloudSettings::new("p", "probe").set("url", url).grant(|grants| grants.http = origins)
}
