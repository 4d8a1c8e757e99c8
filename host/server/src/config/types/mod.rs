//! The shape of the configuration. Field names are the keys of `ostler.toml`; the comments are their reference.

mod api;
mod clouds;
mod mail;
mod oidc;
mod services;

pub use self::api::{Api, Callbacks, Conpaas, Crs4, Dialect, Indigo, ListenerChoice, Registries};
pub use self::clouds::{Cloud, Grants, Instances, Limits, OutgoingTls, Placing, Secret, SecretSource};
pub use self::mail::Mail;
pub use self::oidc::Oidc;
pub use self::services::{Billing, ServiceType, Services};

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use base64::Engine;
use ipnet::IpNet;
use url::Url;

/// Where the configuration came from, which decides what may be open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// No file: loopback only, dummy clouds, `/api/v1` open as the original was.
    Development,
    /// A file was given: nothing is open unless it says so.
    #[default]
    Configured,
}

/// The whole configuration, checked: what refers to something refers to something that exists.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Whether a file was given.
    pub mode: Mode,
    /// `[server]`: listeners and their limits.
    pub server: Server,
    /// `[store]`: the database.
    pub store: Store,
    /// `[drivers]`: the directory of components and whom it trusts.
    pub drivers: Drivers,
    /// `[clouds.NAME]`: the clouds by name. Names are 1 to 64 of `A-Z a-z 0-9 _ . -`, and do not start with a dot.
    pub clouds: BTreeMap<String, Cloud>,
    /// `[api.…]`: the four dialects.
    pub api: Api,
    /// `[services]`: what the Director API starts.
    pub services: Services,
    /// `[work]`: what looks after changes at providers.
    pub work: Work,
    /// `[billing]`: what it costs.
    pub billing: Billing,
    /// `[images]`: what may be fetched where an image is registered.
    pub images: super::Images,
    /// `[forwarding]`: `listen`, the address of forwarded ports (default `0.0.0.0`); `ports`, which ones (default `7000-7999`);
    /// `connections` of one rule at a time (default 256).
    pub forwarding: ostler_core::forwarding::Settings,
    /// `[metrics]`: `interval_seconds` between samples of instances (default 60; 0: none are taken); how many days minutes
    /// (`keep_minutes_days`, 2), hours (`keep_hours_days`, 60) and days (`keep_days_days`, 1825) are kept.
    pub metrics: ostler_core::measuring::Settings,
    /// `[mail]`: by whom mail is sent. None by default: no mail is sent.
    pub mail: Option<Mail>,
    /// `[[oidc]]`: issuers whose bearer tokens are accepted. None by default.
    pub oidc: Vec<Oidc>,
    /// `[log]`: what is logged, and how.
    pub log: Log,
    /// What deserves a look but does not prevent the start. Of severity warning, in the order of the file.
    pub warnings: Vec<super::Problem>,
}

/// `[server]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// The address for plain HTTP. Default: none; without a configuration file `127.0.0.1:5050`.
    pub listen: Option<SocketAddr>,
    /// The address for HTTPS. Default if `listen` is not given either: `0.0.0.0:5555`; without a configuration file
    /// `127.0.0.1:5555`.
    pub listen_tls: Option<SocketAddr>,
    /// How clients reach this server: `http(s)://host[:port]`, no path. Used in links that answers contain and in the
    /// generated certificate. Default: none, the request's own Host is used.
    pub public_url: Option<Url>,
    /// Networks of reverse proxies whose `Forwarded` and `X-Forwarded-…` headers are believed. Default: none.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether a password is taken that others on the way can read: by plain HTTP from another machine. Default false.
    pub plain_passwords: bool,
    /// The certificate chain of `listen_tls`, PEM, leaf first. Relative to the configuration file. Default: one of our own
    /// authority, made and renewed by the server.
    pub tls_certificate: Option<PathBuf>,
    /// Names and addresses that our own certificate is for, besides the host of `public_url`, `localhost`, `127.0.0.1` and `::1`.
    pub tls_names: Vec<String>,
    /// The private key of `tls_certificate`, PEM (PKCS#8, PKCS#1 or SEC1).
    pub tls_key: Option<PathBuf>,
    /// The largest request body, in bytes. Default 1 MiB.
    pub max_body_bytes: u64,
    /// The most connections at once, over all listeners; more wait in the kernel's queue. Default 8192.
    pub max_connections: u64,
    /// How long a request may take, in seconds. Default 60.
    pub request_timeout_seconds: u64,
    /// How long requests in flight may go on after the order to stop, in seconds. Default 30.
    pub shutdown_seconds: u64,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: None,
            listen_tls: None,
            public_url: None,
            trusted_proxies: Vec::new(),
            plain_passwords: false,
            tls_certificate: None,
            tls_names: Vec::new(),
            tls_key: None,
            max_body_bytes: 1 << 20,
            max_connections: 8192,
            request_timeout_seconds: 60,
            shutdown_seconds: 30,
        }
    }
}

/// `[store]`.
#[derive(Clone)]
pub struct Store {
    /// `sqlite:FILE` (relative to the data directory), `sqlite::memory:` or `postgres://…`. Default: none, which means
    /// `sqlite:ostler.db` in the data directory. May contain a password: not shown by `Debug`.
    pub url: Option<String>,
    /// How many days operations that are over, and events, are kept. 0: for ever. Default 90. Idempotency keys hold as long.
    pub keep_days: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self { url: None, keep_days: 90 }
    }
}

impl Store {
    /// The address without credentials and parameters, for people.
    pub fn redacted(&self) -> String {
        let Some(text) = &self.url else { return "sqlite:ostler.db".to_owned() };
        if text.starts_with("sqlite:") {
            return text.clone();
        }
        match Url::parse(text) {
            Ok(mut url) => {
                // Both fail only for addresses that cannot have credentials.
                let _ = url.set_password(None);
                let _ = url.set_username("");
                url.set_query(None);
                url.set_fragment(None);
                url.to_string()
            }
            Err(_) => "(not an address)".to_owned(),
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("url", &self.redacted()).field("keep_days", &self.keep_days).finish()
    }
}

/// `[drivers]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Drivers {
    /// The watched directory of components. Relative to the data directory. Default `drivers`.
    pub directory: PathBuf,
    /// Public keys whose signatures are accepted. Default: none.
    pub trusted_keys: Vec<TrustedKey>,
    /// Whether a component without a valid signature is refused. Default: true if there are trusted keys.
    pub require_signature: bool,
    /// The largest component, in MiB. Default 64.
    pub max_component_mb: u64,
    /// How many earlier versions of a driver are kept for a rollback. Default 5.
    pub keep_versions: u64,
}

impl Default for Drivers {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("drivers"),
            trusted_keys: Vec::new(),
            require_signature: false,
            max_component_mb: 64,
            keep_versions: 5,
        }
    }
}

/// An Ed25519 public key, written `ed25519:<base64 of 32 bytes>`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TrustedKey(pub [u8; 32]);

impl fmt::Display for TrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", base64::engine::general_purpose::STANDARD.encode(self.0))
    }
}

impl fmt::Debug for TrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `[work]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// How often what providers have is compared with what the store knows, in seconds; 0: never. Default 600.
    pub sweep_seconds: u64,
    /// Whether nodes that failed operations have left behind are destroyed, or only reported. Default true.
    pub remove_orphans: bool,
}

impl Default for Work {
    fn default() -> Self {
        Self { sweep_seconds: 600, remove_orphans: true }
    }
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A level (`error`, `warn`, `info`, `debug`, `trace`) or directives such as `info,ostler_drivers=debug`. Default `info`.
    pub filter: String,
    /// Default `text`.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Text }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}
