//! `ostler serve`.

use super::{Data, complain, say};
use crate::api::{self, App, Application};
use crate::app;
use crate::callbacks;
use crate::config::{Added, Config, ListenerChoice, Mode, Server, unknown_variables};
use crate::listen::{self, Endpoint};
use crate::telemetry::{self, Metrics};
use crate::tls::{self, CertificateFiles, OwnCertificate, ServerCertificate};
use clap::Args;
use ostler_core::Core;
use ostler_core::authority::Authority;
use ostler_core::clouds::CloudFiles;
use ostler_core::retention::Retention;
use ostler_drivers::{Watch, write_atomically};
use secrecy::{ExposeSecret, SecretString};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// In the data directory: a token that proves to be on this machine, new at every start.
pub(super) const OPERATOR_TOKEN: &str = "operator.token";
/// In the data directory: where this server listens, for the commands on this machine.
pub(super) const OPERATOR_URL: &str = "operator.url";
/// How often the server's certificate is looked at.
const RENEWAL: Duration = Duration::from_hours(12);

#[derive(Args)]
pub(super) struct Serve {
    /// The configuration file. Without one this is development mode.
    #[arg(long, value_name = "FILE", env = "OSTLER_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    data: Data,
    /// The address for plain HTTP; port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// The address for HTTPS; port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    listen_tls: Option<String>,
}

impl Serve {
    pub(super) fn run(self) -> Result<(), String> {
        // Flags go before the environment, and the environment before the file.
        let environment = |name: &str| match name {
            "OSTLER_LISTEN" if self.listen.is_some() => self.listen.clone(),
            "OSTLER_LISTEN_TLS" if self.listen_tls.is_some() => self.listen_tls.clone(),
            _ => std::env::var(name).ok(),
        };
        let config = Config::load(self.config.as_deref(), &environment).map_err(|problems| format!("\n{problems}"))?;
        telemetry::init_log(&config.log).map_err(|error| error.to_string())?;
        let unknown = unknown_variables(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()));
        let added = Added::read(&CloudFiles::of(&self.data.directory), &config.clouds, &environment);
        for warning in config.warnings.iter().chain(&unknown).chain(&added.problems) {
            complain(&warning.to_string());
        }
        // The allocator asks for pages of 2 MiB: with what the server holds, small and spread, they take three times as much memory.
        if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
            tracing::debug!(%error, "pages of 2 MiB stay");
        }
        let metrics = Metrics::install(env!("CARGO_PKG_VERSION")).map_err(|error| error.to_string())?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| error.to_string())?;
        let result = runtime.block_on(serve(config, &added, &self.data.directory, metrics));
        // Blocking work that is left (a compilation, say) is not worth waiting for.
        runtime.shutdown_timeout(Duration::from_secs(1));
        result
    }
}

async fn serve(config: Config, added: &Added, data: &Path, metrics: Metrics) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    // Asked for first, so that a signal during the start is not lost.
    let stop = Stop::new().map_err(|e| text(&e))?;
    let core = app::start(&config, added, data).await.map_err(|e| text(&e))?;
    let password = std::env::var("OSTLER_ADMIN_PASSWORD").ok().filter(|password| !password.is_empty()).map(SecretString::from);
    if let Some(password) = core.identity.first_administrator(password).await.map_err(|e| text(&e))? {
        say(&format!("administrator: user `admin`, password `{}` (shown once)", password.expose_secret()));
    }
    let token = data.join(OPERATOR_TOKEN);
    write_atomically(&token, core.identity.operator_token().expose_secret().as_bytes())
        .map_err(|error| format!("{}: {error}", token.display()))?;

    let callbacks = Arc::new(callbacks::worker(&config, data, core.store.clone()).map_err(|e| text(&e))?);
    let config = Arc::new(config);
    let ready = Arc::new(AtomicBool::new(false));
    let app = App::new(Application {
        core: core.clone(),
        config: Arc::clone(&config),
        metrics: metrics.clone(),
        ready: Arc::clone(&ready),
    });
    let certificate = Certificate::load(&config.server, data, &core.authority).await.map_err(|e| text(&e))?;
    let mut endpoints = Vec::new();
    if let Some(address) = config.server.listen {
        endpoints.push((Endpoint::bind(address).map_err(|e| text(&e))?, api::router(&app, false)));
    }
    if let (Some(address), Some(shown)) = (config.server.listen_tls, &certificate.shown) {
        let verifier = tls::client_verifier(&core.authority).map_err(|e| text(&e))?;
        let tls = tls::server_config(Arc::clone(shown), Some(verifier)).map_err(|e| text(&e))?;
        endpoints.push((Endpoint::bind(address).map_err(|e| text(&e))?.with_tls(tls), api::router(&app, true)));
    }

    let url = data.join(OPERATOR_URL);
    if let Some((endpoint, _)) = endpoints.first() {
        write_atomically(&url, own_address(endpoint).as_bytes()).map_err(|error| format!("{}: {error}", url.display()))?;
    }

    recover(&core).await;
    let mut background = tokio::task::JoinSet::new();
    let watch = Watch::new(&app::drivers_directory(&config, data)).map_err(|e| text(&e))?;
    background.spawn(Arc::clone(&core.drivers).watch(watch));
    background.spawn(Arc::clone(&core.recovery).run());
    background.spawn(Arc::clone(&core.scheduler).beat());
    background.spawn(Arc::clone(&core.schedules).run());
    background.spawn(Arc::clone(&core.services).meter());
    background.spawn(Arc::clone(&core.deployments).meter());
    background.spawn(Arc::clone(&core.forwarding).run());
    background.spawn(Arc::clone(&core.images).tidy());
    background.spawn(Arc::clone(&core.measuring).run());
    if config.store.keep_days > 0 {
        let keep = Duration::from_secs(config.store.keep_days.saturating_mul(86_400));
        background.spawn(Retention::new(core.store.clone(), keep).run());
    }
    if let Some(sweeper) = &core.sweeper {
        background.spawn(Arc::clone(sweeper).run());
    }
    background.spawn(Arc::clone(&core.host).tidy());
    background.spawn(Arc::clone(&callbacks).run());
    background.spawn(metrics.upkeep());
    background.spawn(reload(certificate));

    ready.store(true, Ordering::Release);
    for (endpoint, _) in &endpoints {
        let scheme = if endpoint.is_tls() { "https" } else { "http" };
        say(&format!("listening on {scheme}://{}", endpoint.address()));
    }
    announce(&config);
    let drained = listen::serve(endpoints, listen::Options::from(&config.server), async {
        stop.wait().await;
        ready.store(false, Ordering::Release);
        tracing::info!("stopping: no new requests, those under way are finished");
    })
    .await;
    if drained.cut > 0 {
        tracing::warn!(cut = drained.cut, "requests were cut off");
    }
    background.shutdown().await;
    // Changes at providers go on even when their client is gone: they get their time, and what is left is recovered at the next start.
    let ends = async { tokio::join!(core.compute.settle(), core.scheduler.stop(), callbacks.settle()) };
    let _ = tokio::time::timeout(Duration::from_secs(config.server.shutdown_seconds), ends).await;
    core.store.close().await;
    for file in [&token, &url] {
        let _ = std::fs::remove_file(file);
    }
    tracing::info!("stopped");
    Ok(())
}

/// How this machine reaches an endpoint.
fn own_address(endpoint: &Endpoint) -> String {
    let scheme = if endpoint.is_tls() { "https" } else { "http" };
    let mut address = endpoint.address();
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    format!("{scheme}://{address}")
}

fn announce(config: &Config) {
    if config.mode == Mode::Development {
        say("development mode: loopback only, /api/v1 is open; try: curl http://127.0.0.1:5050/api/v1/nodes/fake_driver");
    }
    for (name, path, dialect) in config.api.served() {
        if dialect.enabled && dialect.listener != ListenerChoice::All {
            tracing::info!(api = name, path, listener = ?dialect.listener, "served on one listener only");
        }
    }
}

/// Takes up what the run before left undone. It goes on beside what is asked now.
async fn recover(core: &Core) {
    match core.recovery.at_start().await {
        Ok(0) => {}
        Ok(operations) => tracing::info!(operations, "interrupted operations are taken up"),
        Err(error) => tracing::error!(%error, "interrupted operations could not be looked for"),
    }
}

/// The server's certificates: its own, with which it calls managers, and the one that its listener shows.
struct Certificate {
    own: OwnCertificate,
    shown: Option<Arc<ServerCertificate>>,
    authority: Arc<Authority>,
}

impl Certificate {
    async fn load(server: &Server, data: &Path, authority: &Arc<Authority>) -> Result<Self, tls::TlsError> {
        let own = OwnCertificate::new(server, data);
        own.ensure(authority).await?;
        let files = match (&server.tls_certificate, &server.tls_key) {
            (Some(certificate), Some(key)) => CertificateFiles { certificate: certificate.clone(), key: key.clone() },
            _ => own.files(),
        };
        let shown = server.listen_tls.map(|_| ServerCertificate::load(files)).transpose()?;
        Ok(Self { own, shown, authority: Arc::clone(authority) })
    }

    /// Makes our own anew if that is due, and takes the other from its files.
    async fn reload(&self) -> Result<(), tls::TlsError> {
        self.own.ensure(&self.authority).await?;
        match &self.shown {
            Some(shown) => shown.reload(),
            None => Ok(()),
        }
    }
}

/// Takes the certificates anew: at each SIGHUP, and now and then.
async fn reload(certificate: Certificate) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    let mut interval = tokio::time::interval(RENEWAL);
    interval.tick().await;
    loop {
        tokio::select! {
            received = hangup.recv() => if received.is_none() { return },
            _ = interval.tick() => {}
        }
        match certificate.reload().await {
            Ok(()) => tracing::info!("the certificate was read again"),
            Err(error) => tracing::error!(%error, "the certificate could not be read again; the old one stays"),
        }
    }
}

/// SIGINT or SIGTERM; a second one ends the process at once.
struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    async fn wait(mut self) {
        self.next().await;
        tokio::spawn(async move {
            self.next().await;
            complain("stopped at once");
            std::process::exit(130);
        });
    }
}
