//! Logs and metrics.
//!
//! Logs go to standard error, as text or as one JSON object a line. Metrics are recorded through the `metrics` facade and
//! rendered in the Prometheus text format on demand; nothing listens here.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use metrics::{describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Log, LogFormat};

/// Bounds of histograms whose names end in `_seconds`: from a warm call's microseconds to a slow provider's minute.
const SECONDS: &[f64] = &[
    0.000_025, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];

/// Bounds of histograms whose names end in `_bytes`: 256 bytes to 64 MiB.
const BYTES: &[f64] =
    &[256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0, 67_108_864.0];

/// Bounds of all other histograms: counts.
const COUNTS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0];

/// How often histograms are drained when nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log's filter is not in the syntax of directives.
    #[error("log.filter is not understood: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// A log was set up before in this process.
    #[error("the log is set up already: {0}")]
    Log(#[from] tracing_subscriber::util::TryInitError),
    /// A recorder of metrics was set up before in this process.
    #[error("metrics cannot be recorded: {0}")]
    Metrics(#[from] BuildError),
}

/// Sends the log to standard error, once in a process. Colours on a terminal only.
///
/// # Errors
/// [`TelemetryError::Filter`] or [`TelemetryError::Log`].
pub fn init_log(log: &Log) -> Result<(), TelemetryError> {
    let mut filter = EnvFilter::builder().parse(&log.filter)?;
    // Below this they log the arguments of guests' calls, and with them what may be secret.
    for target in ["wasmtime_wasi", "wasmtime_wasi_io", "wasmtime_wasi_http"] {
        filter = filter.add_directive(format!("{target}=warn").parse()?);
    }
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).finish().try_init()?,
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).finish().try_init()?,
    }
    Ok(())
}

/// Renders the metrics. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
    started: Arc<Started>,
}

struct Started {
    monotonic: Instant,
    unix_seconds: f64,
}

impl Metrics {
    /// Installs the process's recorder. Histograms named `…_seconds` and `…_bytes` have bounds for these units, others for counts.
    ///
    /// # Errors
    /// [`TelemetryError::Metrics`] if there is a recorder already.
    pub fn install(version: &'static str) -> Result<Self, TelemetryError> {
        let handle = builder()?.install_recorder()?;
        let unix_seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        describe_process();
        describe_forwarding();
        gauge!("ostler_build_info", "version" => version, "architecture" => std::env::consts::ARCH).set(1.0);
        Ok(Self { handle, started: Arc::new(Started { monotonic: Instant::now(), unix_seconds }) })
    }

    /// Of a recorder that records nothing: a process has but one that does.
    #[cfg(test)]
    pub(crate) fn detached() -> Self {
        let handle = PrometheusBuilder::new().build_recorder().handle();
        Self { handle, started: Arc::new(Started { monotonic: Instant::now(), unix_seconds: 0.0 }) }
    }

    /// Keeps memory bounded while nobody scrapes: drains the histograms every few seconds. Never returns; spawn it.
    pub async fn upkeep(self) {
        let mut ticks = tokio::time::interval(UPKEEP);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.handle.run_upkeep();
        }
    }

    /// All metrics in the Prometheus text format (`text/plain; version=0.0.4`), those of the process as of now.
    pub fn render(&self) -> String {
        gauge!("ostler_uptime_seconds").set(self.started.monotonic.elapsed().as_secs_f64());
        gauge!("process_start_time_seconds").set(self.started.unix_seconds);
        record_process();
        self.handle.run_upkeep();
        self.handle.render()
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets(COUNTS)?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), BYTES)
}

fn describe_forwarding() {
    describe_counter!("ostler_forwarding_connections_total", "Connections and UDP peers that came to forwarded ports.");
    describe_counter!(
        "ostler_forwarding_refused_total",
        "Those of them that were turned away: there were too many, or the instance could not be reached."
    );
    describe_gauge!("ostler_forwarding_connections", "Connections and UDP peers that are forwarded at present.");
    describe_counter!("ostler_forwarding_bytes_total", "Bytes that instances were sent, and have sent.");
}

fn describe_process() {
    describe_gauge!("ostler_build_info", "The running version; always 1.");
    describe_gauge!("ostler_uptime_seconds", "Time since the start.");
    describe_gauge!("process_start_time_seconds", "Start of the process, in seconds since 1970.");
    describe_gauge!("process_resident_memory_bytes", "Resident memory.");
    describe_gauge!("process_virtual_memory_bytes", "Virtual memory.");
    describe_gauge!("process_open_fds", "Open file descriptors.");
    describe_gauge!("process_max_fds", "The limit of open file descriptors.");
    describe_gauge!("process_threads", "Threads.");
}

#[cfg(target_os = "linux")]
fn record_process() {
    // A process's numbers are far below 2^53.
    #[allow(clippy::cast_precision_loss)]
    let set = |name: &'static str, value: u64| gauge!(name).set(value as f64);
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        for (field, name, unit) in [
            ("VmRSS:", "process_resident_memory_bytes", 1024),
            ("VmSize:", "process_virtual_memory_bytes", 1024),
            ("Threads:", "process_threads", 1),
        ] {
            if let Some(value) = number_after(&status, field) {
                set(name, value.saturating_mul(unit));
            }
        }
    }
    if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
        // One of them is the directory being read.
        set("process_open_fds", entries.count().saturating_sub(1) as u64);
    }
    if let Some(limit) = std::fs::read_to_string("/proc/self/limits").ok().and_then(|text| number_after(&text, "Max open files"))
    {
        set("process_max_fds", limit);
    }
}

#[cfg(not(target_os = "linux"))]
fn record_process() {}

/// The first number in the line that begins so.
#[cfg(target_os = "linux")]
fn number_after(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use metrics::{counter, histogram};

    use super::*;

    #[test]
    fn renders_what_was_recorded_and_the_process() {
        let metrics = Metrics::install("1.2.3").unwrap();
        assert!(matches!(Metrics::install("1.2.3"), Err(TelemetryError::Metrics(_))), "one recorder a process");
        counter!("test_total", "cloud" => "lab").increment(3);
        histogram!("test_duration_seconds").record(0.003);
        histogram!("test_size_bytes").record(300.0);
        let text = metrics.render();
        for line in [
            "test_total{cloud=\"lab\"} 3",
            "test_duration_seconds_bucket{le=\"0.0025\"} 0",
            "test_duration_seconds_bucket{le=\"0.005\"} 1",
            "test_size_bytes_bucket{le=\"256\"} 0",
            "test_size_bytes_bucket{le=\"1024\"} 1",
            "# TYPE process_resident_memory_bytes gauge",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert!(text.contains("ostler_build_info{version=\"1.2.3\""), "{text}");
        if cfg!(target_os = "linux") {
            let value = |name: &str| -> f64 {
                let line = text.lines().find_map(|line| line.strip_prefix(name)).expect(name);
                line.trim().parse().unwrap()
            };
            assert!(value("process_resident_memory_bytes ") > 1e5);
            assert!(value("process_open_fds ") >= 3.0);
            assert!(value("process_threads ") >= 1.0);
            assert!(value("process_max_fds ") >= value("process_open_fds "));
        }
    }

    #[test]
    fn numbers_of_proc_files() {
        let text = "VmSize:\t  10 kB\nVmRSS:\t   7 kB\nMax open files   1024   4096  files\nMax odd  unlimited x\n";
        assert_eq!(number_after(text, "VmRSS:"), Some(7));
        assert_eq!(number_after(text, "Max open files"), Some(1024));
        assert_eq!(number_after(text, "Max odd"), None);
        assert_eq!(number_after(text, "absent"), None);
    }

    #[test]
    fn a_wrong_filter_is_refused() {
        let log = Log { filter: "info,==".to_owned(), ..Log::default() };
        assert!(matches!(init_log(&log), Err(TelemetryError::Filter(_))));
    }
}
