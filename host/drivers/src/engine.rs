//! The WebAssembly engine: its configuration, its clock, the threads that guests run on, and the compile cache.

use crate::error::LoadError;
use sha2::{Digest, Sha256};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use wasmtime::component::Component;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// The period of the epoch clock. It is the longest that a guest can hold a thread before others get their turn.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// Instances that can live at once, over all clouds. Address space only, until they are used.
const MAX_INSTANCES: u32 = 1_000;
/// The largest linear memory that a cloud's limit can admit.
pub(crate) const MAX_MEMORY: usize = 512 << 20;

/// The engine and what belongs to it. One per process is enough.
pub struct Runtime {
    engine: Engine,
    clock: Arc<Clock>,
    workers: Option<tokio::runtime::Runtime>,
    compiler: rayon::ThreadPool,
    cache: Option<PathBuf>,
}

impl Runtime {
    /// Starts the engine, its clock and its worker threads. Compiled code is kept in `cache`, a directory that only this host
    /// writes; without one every start compiles anew.
    pub fn new(cache: Option<PathBuf>) -> Result<Self, LoadError> {
        let engine = Engine::new(&config()).map_err(|e| LoadError::Compile(format!("{e:#}")))?;
        let io = |e: std::io::Error| LoadError::Io(format!("driver runtime: {e}"));
        if let Some(directory) = &cache {
            private_directory(directory).map_err(|e| LoadError::Io(format!("{}: {e}", directory.display())))?;
        }
        // A lower priority than the server's threads: guests get what is left, and all of it when nobody else wants it.
        let workers = tokio::runtime::Builder::new_multi_thread()
            .thread_name("driver")
            .on_thread_start(|| lower_priority(5))
            .enable_all()
            .build()
            .map_err(io)?;
        let compiler = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .thread_name(|_| "compile".into())
            // As the guests: far behind the server, yet a busy host still takes up a new driver in seconds.
            .start_handler(|_| lower_priority(5))
            .build()
            .map_err(|e| LoadError::Compile(e.to_string()))?;
        let clock = Clock::start(engine.clone()).map_err(io)?;
        Ok(Self { engine, clock, workers: Some(workers), compiler, cache })
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    /// The runtime for calls that did not finish at once.
    pub(crate) fn workers(&self) -> tokio::runtime::Handle {
        match &self.workers {
            Some(runtime) => runtime.handle().clone(),
            None => tokio::runtime::Handle::current(),
        }
    }

    /// Native code for these bytes: from the cache, or compiled on one thread of low priority. Blocks.
    pub(crate) fn compile(&self, wasm: &[u8], digest: &str) -> Result<Component, LoadError> {
        let path = self.cache.as_ref().map(|directory| directory.join(self.cache_name(digest)));
        if let Some(path) = &path
            && path.exists()
        {
            // SAFETY: the directory is ours alone (0700, checked at start), the name binds digest, engine and settings, and files
            // appear in it only by the rename below.
            #[allow(unsafe_code)]
            let loaded = unsafe { Component::deserialize_file(&self.engine, path) };
            match loaded {
                Ok(component) => return Ok(component),
                Err(error) => tracing::warn!(%error, path = %path.display(), "compiled code is unusable, compiling again"),
            }
        }
        tracing::info!(digest, bytes = wasm.len(), "compiling a driver");
        let started = std::time::Instant::now();
        let component = self
            .compiler
            .install(|| Component::new(&self.engine, wasm))
            .map_err(|error| LoadError::Compile(format!("{error:#}")))?;
        tracing::info!(digest, milliseconds = started.elapsed().as_millis(), "driver compiled");
        if let Some(path) = path
            && let Err(error) = self.keep(&component, &path)
        {
            tracing::warn!(error, path = %path.display(), "compiled code could not be kept");
        }
        Ok(component)
    }

    fn keep(&self, component: &Component, path: &Path) -> Result<(), String> {
        let code = component.serialize().map_err(|e| format!("{e:#}"))?;
        write_atomically(path, &code).map_err(|e| e.to_string())
    }

    fn cache_name(&self, digest: &str) -> String {
        let mut hasher = DefaultHasher::new();
        self.engine.precompile_compatibility_hash().hash(&mut hasher);
        format!("{}-{:016x}.cwasm", digest.trim_start_matches("sha256:"), hasher.finish())
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.clock.stop.store(true, Ordering::Relaxed);
        // A runtime must not be dropped inside another one; its guests may be spinning, so nobody waits for them.
        if let Some(workers) = self.workers.take() {
            workers.shutdown_background();
        }
    }
}

fn config() -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(MAX_INSTANCES)
        .total_core_instances(MAX_INSTANCES * 4)
        .total_memories(MAX_INSTANCES)
        .total_tables(MAX_INSTANCES * 4)
        .total_stacks(MAX_INSTANCES)
        // Sized so that interpreters fit: Python and JavaScript components bring several core modules and large tables.
        .max_core_instances_per_component(32)
        .max_memories_per_component(4)
        .max_tables_per_component(16)
        .max_core_instance_size(4 << 20)
        .max_component_instance_size(4 << 20)
        .table_elements(20_000)
        .max_memory_size(MAX_MEMORY)
        .max_unused_warm_slots(16)
        .pagemap_scan(Enabled::Auto)
        .linear_memory_keep_resident(64 << 10)
        .table_keep_resident(16 << 10);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .memory_reservation(MAX_MEMORY as u64)
        .memory_init_cow(true)
        .epoch_interruption(true)
        .concurrency_support(false)
        .wasm_component_model(true);
    config
}

/// Advances the engine's epoch while guests run, and sleeps while none do.
pub(crate) struct Clock {
    running: AtomicUsize,
    parked: AtomicBool,
    stop: AtomicBool,
    thread: std::sync::OnceLock<std::thread::Thread>,
}

impl Clock {
    fn start(engine: Engine) -> std::io::Result<Arc<Self>> {
        let clock = Arc::new(Self {
            running: AtomicUsize::new(0),
            parked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            thread: std::sync::OnceLock::new(),
        });
        let ours = Arc::downgrade(&clock);
        let handle = std::thread::Builder::new().name("epoch".into()).spawn(move || {
            let mut idle = 0_u32;
            while let Some(clock) = ours.upgrade() {
                if clock.stop.load(Ordering::Relaxed) {
                    return;
                }
                idle = if clock.running.load(Ordering::SeqCst) == 0 { idle + 1 } else { 0 };
                if idle > 100 {
                    clock.parked.store(true, Ordering::SeqCst);
                    // A guest may have started in between; it saw `parked` false then and woke nobody.
                    if clock.running.load(Ordering::SeqCst) == 0 {
                        std::thread::park_timeout(Duration::from_millis(500));
                    }
                    clock.parked.store(false, Ordering::SeqCst);
                    idle = 0;
                }
                std::thread::sleep(TICK);
                engine.increment_epoch();
            }
        })?;
        // Nobody else sets it.
        let _ = clock.thread.set(handle.thread().clone());
        Ok(clock)
    }

    /// Keeps the clock going until the guard is dropped.
    pub(crate) fn run(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::SeqCst);
        if self.parked.load(Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
        Running(Arc::clone(self))
    }
}

/// A guest is running.
pub(crate) struct Running(Arc<Clock>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// `sha256:<hex>` of these bytes.
pub fn digest(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(71);
    text.push_str("sha256:");
    for byte in Sha256::digest(bytes) {
        text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
    }
    text
}

/// Writes a file, for its owner alone, so that all of it is seen or nothing: beside it, synced, renamed.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    // Two writers of the same file, in this process or another, must not share what is beside it.
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}-{}.part", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)));
    let beside = PathBuf::from(beside);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

/// Makes a directory that only this user can read and write. One that exists is taken as it is, unless others can write to it.
pub fn private_directory(path: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
        builder.mode(0o700).create(path)?;
        if std::fs::metadata(path)?.permissions().mode() & 0o022 != 0 {
            return Err(std::io::Error::other("others can write to it (chmod go-w)"));
        }
    }
    #[cfg(not(unix))]
    builder.create(path)?;
    Ok(())
}

/// Takes this thread back behind the others. Failing to do so harms nothing.
fn lower_priority(by: i32) {
    let _ = rustix::process::nice(by);
}
