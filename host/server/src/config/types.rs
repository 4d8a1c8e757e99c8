//! The shape of the configuration. Field names are the keys of `ostler.toml`; the comments are their reference.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use ipnet::IpNet;
use ostler_core::identity::{Algorithm, Exchange, Introspection, Role};
use ostler_egress::Origin;
use secrecy::SecretString;
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

/// `[clouds.NAME]`: one cloud.
#[derive(Clone, Debug)]
pub struct Cloud {
    /// The driver's name: 1 to 64 of `a-z 0-9 - _ .`. Required.
    pub driver: String,
    /// What the driver may use.
    pub grants: Grants,
    /// What the driver reads through its `config` capability.
    pub config: BTreeMap<String, toml::Value>,
    /// What the driver reads through its `secrets` capability.
    pub secrets: BTreeMap<String, Secret>,
    /// Bounds on the driver's calls.
    pub limits: Limits,
    /// Whether instances are used again. Default `warm`.
    pub instances: Instances,
    /// How the driver's HTTPS connections authenticate both sides.
    pub tls: OutgoingTls,
    /// Whether deployments are placed here, and how willingly.
    pub deployments: Placing,
    /// What the driver may use of the hypervisor that it is granted.
    pub hypervisor: Hypervisor,
}

impl Cloud {
    /// A cloud of this driver with all defaults.
    pub fn new(driver: impl Into<String>) -> Self {
        Self {
            driver: driver.into(),
            grants: Grants::default(),
            config: BTreeMap::new(),
            secrets: BTreeMap::new(),
            limits: Limits::default(),
            instances: Instances::default(),
            tls: OutgoingTls::default(),
            deployments: Placing::default(),
            hypervisor: Hypervisor::default(),
        }
    }
}

/// `[clouds.NAME.hypervisor]`: what is not named here does not exist for the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hypervisor {
    /// Storage pools in which volumes are made; the first is the default one. Default `["default"]`.
    pub pools: Vec<String>,
    /// Storage pools whose volumes are images, whoever put them there. Default: none.
    pub image_pools: Vec<String>,
    /// Networks that domains may join; the first is the default one. Default `["default"]`.
    pub networks: Vec<String>,
    /// Devices that may be passed through, by libvirt's names, such as `pci_0000_01_00_0`. Default: none.
    pub devices: Vec<String>,
    /// How domains run. Default `auto`: by the processor's virtualization where it has one.
    pub virtualization: Virtualization,
}

impl Default for Hypervisor {
    fn default() -> Self {
        Self {
            pools: vec!["default".to_owned()],
            image_pools: Vec::new(),
            networks: vec!["default".to_owned()],
            devices: Vec::new(),
            virtualization: Virtualization::Auto,
        }
    }
}

/// How domains run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Virtualization {
    /// By KVM where the processor has virtualization, else by emulation.
    #[default]
    Auto,
    /// By KVM.
    Kvm,
    /// By emulation.
    Qemu,
}

/// `[clouds.NAME.deployments]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Placing {
    /// Whether deployments are placed on this cloud. Default true.
    pub enabled: bool,
    /// How much it is preferred to the other clouds, up to 1000. Default 1.
    pub priority: f64,
    /// The service-level agreements that cover it, as templates name them in placement policies. Default: none.
    pub agreements: Vec<String>,
    /// Its identifier in the registries of `[api.indigo.registries]`; what they say of it counts then. Default: none.
    pub service: Option<String>,
}

impl Default for Placing {
    fn default() -> Self {
        Self { enabled: true, priority: 1.0, agreements: Vec::new(), service: None }
    }
}

/// `[clouds.NAME.grants]`: the capabilities. What reaches outside must be granted; the rest can be withdrawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Grants {
    /// Origins (`https://host[:port]`) that the driver may talk to, normalised: lower case, no default port. Default: none.
    pub http: Vec<String>,
    /// The libvirt connection, such as `qemu:///system`. Default: none.
    pub hypervisor: Option<String>,
    /// Durable key-value storage. Default true.
    pub state: bool,
    /// In-memory values. Default true.
    pub cache: bool,
    /// The cloud's configuration. Default true.
    pub config: bool,
    /// The cloud's secrets. Default true.
    pub secrets: bool,
    /// The host's log. Default true.
    pub log: bool,
}

impl Default for Grants {
    fn default() -> Self {
        Self { http: Vec::new(), hypervisor: None, state: true, cache: true, config: true, secrets: true, log: true }
    }
}

/// A secret and where it came from. `Debug` shows the source only.
#[derive(Clone, Debug)]
pub struct Secret {
    /// Where to read it again.
    pub source: SecretSource,
    /// The value; `Debug` of the type is redacted.
    pub value: SecretString,
}

/// Where a secret is kept. Never in the configuration file itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// `{ env = "NAME" }`: an environment variable.
    Env(String),
    /// `{ file = "PATH" }`: a file (relative to the configuration file) of at most 64 KiB of UTF-8; line ends at its end are cut.
    File(PathBuf),
}

/// `[clouds.NAME.limits]`: bounds on a driver, so that a broken one harms its own cloud's calls only.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// How long a call may take, waits included, in seconds. Default 10.
    pub call_seconds: u64,
    /// How much processor time a call may take, in milliseconds. Default 1000.
    pub cpu_ms: u64,
    /// The memory of an instance, in MiB. Default 64.
    pub memory_mb: u64,
    /// Calls at once. Default 32.
    pub concurrency: u64,
    /// How long a list may be answered from memory, in milliseconds. Default 0: always asked anew.
    pub list_ttl_ms: u64,
    /// The largest answer of a call and the largest HTTP response body, in MiB. Default 16.
    pub answer_mb: u64,
    /// The quota of durable storage, in MiB. Default 64.
    pub state_mb: u64,
    /// Calls to the provider per second. Default: not limited.
    pub rate_per_second: Option<f64>,
    /// Instances kept ready. Default 4.
    pub warm: u64,
}

impl Limits {
    /// `call_seconds` as a duration.
    pub fn call_timeout(&self) -> Duration {
        Duration::from_secs(self.call_seconds)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            call_seconds: 10,
            cpu_ms: 1000,
            memory_mb: 64,
            concurrency: 32,
            list_ttl_ms: 0,
            answer_mb: 16,
            state_mb: 64,
            rate_per_second: None,
            warm: 4,
        }
    }
}

/// Whether a driver's instances are used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Instances {
    /// A pool of instances, each used for many calls, one at a time.
    #[default]
    Warm,
    /// A new instance for each call.
    Fresh,
}

/// `[clouds.NAME.tls]`: for the driver's own HTTPS connections. Paths are relative to the configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutgoingTls {
    /// Certificate authorities, PEM, instead of the system's. Default: none.
    pub ca: Option<PathBuf>,
    /// A client certificate, PEM. Default: none.
    pub certificate: Option<PathBuf>,
    /// The private key of `certificate`, PEM.
    pub key: Option<PathBuf>,
}

/// `[api]`: the dialects.
#[derive(Clone, Debug, Default)]
pub struct Api {
    /// `[api.crs4]`: Orchestrator API V.1, `/api/v1`.
    pub crs4: Crs4,
    /// `[api.conpaas]`: the Director, `/`.
    pub conpaas: Conpaas,
    /// `[api.cloudedge]`: Cloud Edge, `/cloudedge` for the cloud that is named here, `/<cloud>/cloudedge` for each one.
    pub cloudedge: Dialect,
    /// `[api.indigo]`: PaaS Orchestrator, `/deployments`, `/configuration`, `/info`.
    pub indigo: Indigo,
}

/// What can be set for every dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// Whether it is served. Default true.
    pub enabled: bool,
    /// A path in front of which it is served besides its own, such as `/orchestrator`. Default: none.
    pub prefix: Option<String>,
    /// The listeners on which it is served. Default all.
    pub listener: ListenerChoice,
    /// The cloud where requests name none. Default `default` if there is a cloud of this name, else none.
    pub cloud: Option<String>,
}

impl Default for Dialect {
    fn default() -> Self {
        Self { enabled: true, prefix: None, listener: ListenerChoice::All, cloud: None }
    }
}

/// `[api.crs4]`: besides what every dialect has.
#[derive(Clone, Debug, Default)]
pub struct Crs4 {
    /// What every dialect has.
    pub dialect: Dialect,
    /// Whether it is served without credentials, as the original was; on loopback addresses only. Default: in development
    /// mode only.
    pub open: bool,
    /// The base address of a remote Cistern. Default: none, the built-in assignments are used.
    pub cistern: Option<Url>,
}

/// `[api.conpaas]`: besides what every dialect has.
#[derive(Clone, Debug)]
pub struct Conpaas {
    /// What every dialect has.
    pub dialect: Dialect,
    /// Whether `/new_user` is open to everybody. Default: in development mode only.
    pub open_registration: bool,
    /// The most credit with which somebody can register. Default 50.
    pub max_initial_credit: u64,
}

impl Default for Conpaas {
    fn default() -> Self {
        Self { dialect: Dialect::default(), open_registration: false, max_initial_credit: 50 }
    }
}

/// `[api.indigo]`: besides what every dialect has.
#[derive(Clone, Debug, Default)]
pub struct Indigo {
    /// What every dialect has. With a prefix, everything below it belongs to this dialect.
    pub dialect: Dialect,
    /// Whether it is served without credentials, as the original is when its `oidc.enabled` is off; on loopback addresses only.
    /// Default: in development mode only.
    pub open: bool,
    /// Whether templates are refused for what published ones often get wrong: unknown properties, types of other versions.
    /// Default false.
    pub strict: bool,
    /// `callbacks`: whom deployments may tell what becomes of them.
    pub callbacks: Callbacks,
    /// `registries`: who is asked where to deploy. Default: nobody; the configuration of the clouds says it.
    pub registries: Registries,
}

/// `registries` of `[api.indigo]`: base URLs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registries {
    /// SLAM: agreements. It is shown the users' tokens: https, or http on loopback. Without it the others are not asked.
    pub slam: Option<Url>,
    /// The CMDB: providers, services, images, flavors.
    pub cmdb: Option<Url>,
    /// The cloud provider ranker.
    pub cpr: Option<Url>,
    /// The Zabbix wrapper: how providers fare.
    pub monitoring: Option<Url>,
    /// Whether the CMDB attaches images and flavors to services, as older ones do, and not to tenants. Default false.
    pub by_service: bool,
}

/// `callbacks` of `[api.indigo]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Callbacks {
    /// Whether also addresses in private networks are told. Default false: public ones only, and loopback in development mode.
    pub allow_private: bool,
    /// Origins that are told, and no others: a literal address or `localhost` among them is acceptable wherever it is. Default:
    /// none, which means all.
    pub hosts: Vec<Origin>,
}

/// `[services]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Services {
    /// How long a node of a service may take until it has an address, in seconds. Default 300.
    pub start_timeout_seconds: u64,
    /// The archive that managers fetch (`/download/ConPaaS.tar.gz`). Relative to the configuration file. Default: none.
    pub archive: Option<PathBuf>,
    /// Whether the host charges for running nodes by itself. Default true.
    pub metering: bool,
    /// The port on which managers answer. Default 443.
    pub manager_port: u16,
    /// How the names of nodes begin. Default `conpaas`.
    pub name_prefix: String,
    /// `[services.types.NAME]`: what can be started. Without a configuration file: the types of the original, on the dummy
    /// clouds.
    pub types: BTreeMap<String, ServiceType>,
}

impl Default for Services {
    fn default() -> Self {
        Self {
            start_timeout_seconds: 300,
            archive: None,
            metering: true,
            manager_port: 443,
            name_prefix: "conpaas".to_owned(),
            types: BTreeMap::new(),
        }
    }
}

/// `[services.types.NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceType {
    /// The image of the manager's node, by the provider's identifier. Required.
    pub image: String,
    /// Its size, by the provider's identifier. Required.
    pub size: String,
    /// A file with the shell script that starts the manager, in the place of the usual one. Relative to the configuration file.
    pub script: Option<String>,
    /// `[services.types.NAME.clouds.CLOUD]`: image and size in this cloud, where they differ.
    pub clouds: BTreeMap<String, (String, String)>,
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

/// `[billing]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Billing {
    /// Credits per node and started period. Default 1.
    pub price: u64,
    /// What is paid for at a time, in seconds. Default 3600.
    pub period_seconds: u64,
    /// Whether the machines of deployments are paid for, too, by owners who have an account here. Whose credit does not suffice
    /// gets none, and whose credit is used up has them stopped. Default false.
    pub deployments: bool,
    /// `[billing.prices.CLOUD]`: prices by size, where they differ.
    pub prices: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Default for Billing {
    fn default() -> Self {
        Self { price: 1, period_seconds: 3600, deployments: false, prices: BTreeMap::new() }
    }
}

/// `[mail]`: an SMTP server, for new passwords that users ask for.
#[derive(Clone, Debug)]
pub struct Mail {
    /// The server: a name, or an IP address, IPv6 in brackets. Required.
    pub server: String,
    /// How the connection is secured: `starttls`, `tls` (from the first byte), or `none`, for a server on this machine only.
    /// Default `starttls`.
    pub tls: ostler_mail::Tls,
    /// The port. Default 587 for `starttls`, 465 for `tls`, 25 for `none`.
    pub port: u16,
    /// The user name. Default: none, nobody logs in.
    pub user: Option<String>,
    /// The password of that.
    pub password: Option<Secret>,
    /// The sender, such as `Ostler <ostler@example.org>`. Required.
    pub from: ostler_mail::Mailbox,
    /// Certificate authorities for the server, PEM, besides the system's. Relative to the configuration file. Default: none.
    pub ca: Option<PathBuf>,
}

impl Mail {
    /// In a line, for people.
    pub(super) fn described(&self) -> String {
        let tls = match self.tls {
            ostler_mail::Tls::StartTls => "STARTTLS",
            ostler_mail::Tls::Implicit => "TLS",
            ostler_mail::Tls::None => "no TLS",
        };
        format!("{} by {}:{} ({tls})", self.from.email, self.server, self.port)
    }
}

/// The listeners on which a dialect is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListenerChoice {
    /// `all`.
    #[default]
    All,
    /// `plain`: HTTP only.
    Plain,
    /// `tls`: HTTPS only.
    Tls,
}

impl ListenerChoice {
    /// Whether a listener of this kind is meant.
    pub fn includes(self, tls: bool) -> bool {
        match self {
            Self::All => true,
            Self::Plain => !tls,
            Self::Tls => tls,
        }
    }
}

/// `[[oidc]]`: an issuer of bearer tokens.
#[derive(Clone, Debug)]
pub struct Oidc {
    /// The issuer, exactly as its tokens say in `iss`. https, or http on a loopback address. Required.
    pub issuer: String,
    /// Accepted values of `aud`, at least one. Required.
    pub audience: Vec<String>,
    /// Accepted signature algorithms, asymmetric ones only. Default `["RS256", "ES256"]`.
    pub algorithms: Vec<Algorithm>,
    /// Certificate authorities for the issuer's address, PEM, instead of the system's. Relative to the configuration file.
    /// Default: none.
    pub ca: Option<PathBuf>,
    /// Origins besides the issuer's own at which its keys and endpoints may be. Default: none.
    pub endpoints: Vec<Origin>,
    /// Who this server is to the issuer, to ask about tokens. Default: none.
    pub client_id: Option<String>,
    /// The secret of that. Default: none.
    pub client_secret: Option<Secret>,
    /// About which tokens the issuer is asked: those that only it can read, all (so that one it has revoked is refused within a
    /// minute), or none. Default `opaque`; without `client_id` it is asked about none.
    pub introspection: Introspection,
    /// `exchange = true`: what is done for a person later, by his schedules, is done with a token of his own, for which the one that
    /// he showed is exchanged (RFC 8693). `exchange_scopes`: what is asked for (default `openid profile offline_access`);
    /// `exchange_audience`: for whom (default: the issuer decides). Default: none. Needs `client_id`.
    pub exchange: Option<Exchange>,
    /// Whether groups and organisation are also asked of the userinfo endpoint, for tokens with the scope `openid`. Default false.
    pub userinfo: bool,
    /// Claims that list groups; what they say is joined. Default `["groups", "wlcg.groups"]`.
    pub groups_claims: Vec<String>,
    /// The claim that names the organisation. Default `organisation_name`.
    pub organisation_claim: String,
    /// The organisation of those for whom the issuer names none. Default: none.
    pub organisation: Option<String>,
    /// How far the issuer's clock may be from ours, in seconds, at most 300. Default 30.
    pub leeway_seconds: u64,
    /// What whoever comes with one of its tokens is. Default `["customer"]`. A linked user's roles are added.
    pub roles: Vec<Role>,
    /// The group whose members handle the deployments of everybody of their organisation. Default: none.
    pub supervisors: Option<String>,
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
