//! `[server]`, `[store]`, `[drivers]` and `[log]`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use base64::Engine;
use ipnet::IpNet;
use url::{Host, Url};

use super::reader::{Section, Text};
use super::types::{Drivers, Log, LogFormat, Mode, Server, Store, TrustedKey};

/// Where is served if nothing else is said: in development mode for this machine alone, otherwise by TLS alone.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5050);
const LISTEN_TLS_LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5555);
const LISTEN_TLS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 5555);

/// The listeners as given, with the places where they were.
pub(super) struct Listeners {
    pub(super) plain: Option<(SocketAddr, Text)>,
    pub(super) tls: Option<(SocketAddr, Text)>,
}

pub(super) fn server(root: &Section<'_, '_>, mode: Mode) -> (Server, Listeners) {
    let section = root.section("server");
    let defaults = Server::default();
    let listeners = Listeners { plain: section.parsed("listen", address), tls: section.parsed("listen_tls", address) };
    let (tls_certificate, tls_key) = section.pair_of_files("tls_certificate", "tls_key");
    let server = Server {
        listen: listeners.plain.as_ref().map(|(address, _)| *address),
        listen_tls: listeners.tls.as_ref().map(|(address, _)| *address),
        public_url: section.parsed("public_url", public_url).map(|(url, _)| url),
        trusted_proxies: section.all_parsed("trusted_proxies", network),
        plain_passwords: section.boolean("plain_passwords").is_some_and(|(taken, _)| taken),
        tls_certificate,
        tls_key,
        tls_names: section.all_parsed("tls_names", host_name),
        max_body_bytes: section.integer("max_body_bytes", defaults.max_body_bytes, 1024..=1 << 30, "bytes"),
        max_connections: section.integer("max_connections", defaults.max_connections, 1..=1_000_000, ""),
        request_timeout_seconds: section.integer(
            "request_timeout_seconds",
            defaults.request_timeout_seconds,
            1..=3600,
            "seconds",
        ),
        shutdown_seconds: section.integer("shutdown_seconds", defaults.shutdown_seconds, 0..=3600, "seconds"),
    };
    if let (Some((plain, _)), Some((tls, text))) = (&listeners.plain, &listeners.tls)
        && plain == tls
        && tls.port() != 0
    {
        section.reader.error(&text.place, &text.key, "is the address of server.listen as well: each listener needs its own");
    }
    let (listen, listen_tls) = match (mode, server.listen, server.listen_tls) {
        (Mode::Development, None, None) => (Some(LISTEN), Some(LISTEN_TLS_LOCAL)),
        (Mode::Development, None, tls) => (Some(LISTEN), tls),
        (Mode::Configured, None, None) => (None, Some(LISTEN_TLS)),
        (_, plain, tls) => (plain, tls),
    };
    if server.tls_certificate.is_some() && listen_tls.is_none() {
        section.reader.warning(&section.place, &section.key("tls_certificate"), "has no effect without server.listen_tls");
    }
    (Server { listen, listen_tls, ..server }, listeners)
}

/// A name or an address that a certificate can be for.
fn host_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '*');
    let named = (1..=253).contains(&text.len()) && text.chars().all(plain) && !text.starts_with(['.', '-']);
    if named || text.parse::<IpAddr>().is_ok() {
        return Ok(text.to_ascii_lowercase());
    }
    Err(format!("must be a host name or an IP address, found {text:?}"))
}

pub(super) fn store(root: &Section<'_, '_>) -> Store {
    let section = root.section("store");
    // It may contain a password.
    section.hide("url");
    let url = section.text("url").and_then(|text| match store_url(&text.value) {
        Ok(()) => Some(text.value),
        Err(message) => {
            section.reader.error(&text.place, &text.key, message);
            None
        }
    });
    Store { url, keep_days: section.integer("keep_days", Store::default().keep_days, 0..=36_500, "days") }
}

pub(super) fn drivers(root: &Section<'_, '_>) -> Drivers {
    let section = root.section("drivers");
    let defaults = Drivers::default();
    let trusted_keys = section.all_parsed("trusted_keys", trusted_key);
    let require_signature = section.boolean("require_signature");
    if let Some((true, place)) = &require_signature
        && trusted_keys.is_empty()
    {
        let message = "is true, but drivers.trusted_keys is empty: no driver could ever be loaded";
        section.reader.error(place, &section.key("require_signature"), message);
    }
    Drivers {
        directory: section.text("directory").map_or(defaults.directory, |text| text.value.into()),
        require_signature: require_signature.map_or(!trusted_keys.is_empty(), |(required, _)| required),
        trusted_keys,
        max_component_mb: section.integer("max_component_mb", defaults.max_component_mb, 1..=1024, "MiB"),
        keep_versions: section.integer("keep_versions", defaults.keep_versions, 1..=100, "versions"),
    }
}

pub(super) fn log(root: &Section<'_, '_>) -> Log {
    let section = root.section("log");
    let defaults = Log::default();
    let filter = section.parsed("filter", |text| {
        let parsed = tracing_subscriber::EnvFilter::builder().parse(text);
        parsed
            .map(|_| text.to_owned())
            .map_err(|_| "must be a level or directives, such as \"info,ostler_drivers=debug\"".to_owned())
    });
    let format = section.choice("format", &[("text", LogFormat::Text), ("json", LogFormat::Json)]);
    Log { filter: filter.map_or(defaults.filter, |(filter, _)| filter), format: format.unwrap_or_default() }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let wanted = "must be an IP address with a port, such as \"127.0.0.1:5050\", \"0.0.0.0:5050\" or \"[::]:5050\"";
        format!("{wanted}, found {text:?}")
    })
}

fn network(text: &str) -> Result<IpNet, String> {
    let one = text.parse::<IpAddr>().map(IpNet::from);
    one.or_else(|_| text.parse::<IpNet>())
        .map_err(|_| format!("must be an IP address or network, such as \"10.0.0.1\" or \"10.0.0.0/8\", found {text:?}"))
}

fn public_url(text: &str) -> Result<Url, String> {
    base_url(text, "the server's address as clients see it, such as \"https://ostler.example:5555\"")
}

/// An http or https address without anything after the port.
pub(super) fn base_url(text: &str, wanted: &str) -> Result<Url, String> {
    let refuse = |what: &str| Err(format!("must be {wanted}: {what}"));
    let Ok(url) = Url::parse(text) else { return refuse("it is not a URL") };
    if !matches!(url.scheme(), "http" | "https") {
        return refuse("the scheme must be http or https");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("it must not contain credentials");
    }
    if url.host().is_none() || url.host() == Some(Host::Domain("")) {
        return refuse("it names no host");
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return refuse("it must end after the host and port");
    }
    Ok(url)
}

fn store_url(text: &str) -> Result<(), String> {
    const WANTED: &str = "must be sqlite:FILE, sqlite::memory: or postgres://USER:PASSWORD@HOST/DATABASE";
    if let Some(file) = text.strip_prefix("sqlite:") {
        return if file.is_empty() { Err(format!("{WANTED}: it names no file")) } else { Ok(()) };
    }
    match Url::parse(text) {
        Ok(url) if !matches!(url.scheme(), "postgres" | "postgresql") => Err(format!("{WANTED}: the scheme is another")),
        // Without an authority, a host may still come as a parameter (a Unix socket's directory).
        Ok(url) if url.cannot_be_a_base() => Err(format!("{WANTED}: it lacks the slashes")),
        Ok(_) => Ok(()),
        Err(_) => Err(format!("{WANTED}: it is not a URL")),
    }
}

fn trusted_key(text: &str) -> Result<TrustedKey, String> {
    const WANTED: &str = "must be an Ed25519 public key, \"ed25519:<base64 of its 32 bytes>\"";
    let encoded = text.strip_prefix("ed25519:").ok_or_else(|| format!("{WANTED}: it does not begin with ed25519:"))?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).map_err(|_| format!("{WANTED}: this is not base64"))?;
    let length = bytes.len();
    bytes.try_into().map(TrustedKey).map_err(|_| format!("{WANTED}: these are {length} bytes"))
}
