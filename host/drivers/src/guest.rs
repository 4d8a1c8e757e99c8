//! What stands behind one instance: its cloud, its empty WASI context, its limits and its budget.

use crate::capabilities::cache::Cache;
use crate::capabilities::http::{Hooks, Refused};
use crate::capabilities::hypervisor::{self, Hypervisor};
use crate::capabilities::log::Output;
use crate::capabilities::state::CloudState;
use crate::engine::TICK;
use crate::redact::Redactor;
use crate::settings::CloudSettings;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, Store, StoreContextMut, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// Resources (streams, requests) that an instance may hold at once.
const HANDLES: usize = 4_000;
/// Resources that stay behind in an instance after which it is exchanged: those that are left must do for a call.
const KEPT: usize = HANDLES / 4;
/// Elements of all tables of an instance.
const TABLE: usize = 100_000;
/// Bytes of random data in one call.
const RANDOM: u64 = 1 << 20;
/// Bytes of header fields.
const FIELDS: usize = 256 << 10;

/// What all instances of one cloud share.
pub(crate) struct CloudContext {
    pub(crate) settings: CloudSettings,
    pub(crate) redactor: Arc<Redactor>,
    pub(crate) cache: Cache,
    pub(crate) state: CloudState,
    pub(crate) http: Option<ostler_egress::Client>,
    pub(crate) refused: Refused,
    pub(crate) hypervisor: Option<Arc<dyn Hypervisor>>,
    name: Arc<str>,
}

impl CloudContext {
    pub(crate) fn new(settings: CloudSettings, state: CloudState, http: Option<ostler_egress::Client>) -> Self {
        let redactor = Arc::new(Redactor::new(settings.secrets.values()));
        let name = Arc::from(settings.name.as_str());
        let hypervisor = hypervisor::open(&settings);
        Self { settings, redactor, cache: Cache::new(), state, http, refused: Refused::default(), hypervisor, name }
    }
}

/// The host's side of one instance.
pub(crate) struct Guest {
    pub(crate) cloud: Arc<CloudContext>,
    /// Log lines of the present call.
    pub(crate) lines: u32,
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Hooks,
    limiter: Limiter,
    budget: Budget,
}

/// Counts linear memory, and remembers that it refused some: what the guest does then looks like any other crash.
struct Limiter {
    memory: usize,
    used: usize,
    refused: bool,
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let used = self.used.saturating_sub(current).saturating_add(desired);
        if used > self.memory {
            self.refused = true;
            return Ok(false);
        }
        self.used = used;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE)
    }
}

/// What the present call may still use.
struct Budget {
    /// Ticks of processor time.
    ticks: u32,
    until: Instant,
}

/// Why the host stopped a guest.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum Stopped {
    #[error("it used more processor time than it may")]
    Cpu,
    #[error("it did not answer in time")]
    Deadline,
}

impl Guest {
    /// A store for one instance of this cloud.
    pub(crate) fn store(engine: &wasmtime::Engine, cloud: &Arc<CloudContext>) -> Store<Self> {
        let output = |name| Output::new(Arc::clone(&cloud.name), Arc::clone(&cloud.redactor), name);
        let wasi = WasiCtxBuilder::new()
            .stdout(output("stdout"))
            .stderr(output("stderr"))
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .max_random_size(RANDOM)
            .build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(FIELDS);
        let limits = &cloud.settings.limits;
        let guest = Self {
            cloud: Arc::clone(cloud),
            lines: 0,
            table,
            wasi,
            http,
            hooks: Hooks::new(cloud.http.clone(), cloud.refused.clone(), limits.call),
            limiter: Limiter { memory: limits.memory, used: 0, refused: false },
            budget: Budget { ticks: 0, until: Instant::now() },
        };
        let mut store = Store::new(engine, guest);
        store.limiter(|guest| &mut guest.limiter);
        store.set_hostcall_fuel(limits.answer);
        store.epoch_deadline_callback(tick);
        store
    }

    /// Gives the next call its budget. Must come just before the guest runs: the clock may stand still in between.
    pub(crate) fn arm(store: &mut Store<Self>, until: Instant) {
        let cpu = store.data().cloud.settings.limits.cpu;
        let guest = store.data_mut();
        guest.budget = Budget { ticks: ticks(cpu), until };
        guest.limiter.refused = false;
        guest.lines = 0;
        store.set_epoch_deadline(1);
    }

    /// Whether the present call asked for more memory than the instance may have.
    pub(crate) fn memory_refused(&self) -> bool {
        self.limiter.refused
    }

    /// Whether so many resources have stayed behind that another call might find no room for its own.
    pub(crate) fn is_cluttered(&self) -> bool {
        self.hooks.kept() >= KEPT
    }

    /// Bytes of linear memory.
    pub(crate) fn memory_used(&self) -> usize {
        self.limiter.used
    }
}

/// Called at each tick that ends while the guest runs: time waiting in the host is not charged.
fn tick(mut store: StoreContextMut<'_, Guest>) -> wasmtime::Result<UpdateDeadline> {
    let budget = &mut store.data_mut().budget;
    if Instant::now() >= budget.until {
        return Err(Stopped::Deadline.into());
    }
    match budget.ticks.checked_sub(1) {
        None => Err(Stopped::Cpu.into()),
        Some(left) => {
            budget.ticks = left;
            Ok(UpdateDeadline::Yield(1))
        }
    }
}

fn ticks(time: Duration) -> u32 {
    u32::try_from(time.as_micros() / TICK.as_micros()).unwrap_or(u32::MAX)
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.hooks, table: &mut self.table, ctx: &mut self.http }
    }
}
