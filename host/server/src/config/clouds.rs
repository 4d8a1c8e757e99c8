//! `[clouds.NAME]`.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use ostler_drivers::{HypervisorSettings, Virtualization};
use secrecy::SecretString;
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeValue, ValueDeserializer};
use url::Url;

use super::problem::Place;
use super::reader::{Section, Text, kind, reason};
use super::sections::base_url;
use super::types::{Cloud, Grants, Instances, Limits, OutgoingTls, Placing, Secret, SecretSource};

/// Names that a cloud cannot have, since they are words of the APIs' paths.
pub const RESERVED_NAMES: &[&str] = &[
    "api",
    "auth",
    "cloud",
    "cloudedge",
    "configuration",
    "deployments",
    "flavors",
    "healthz",
    "images",
    "login",
    "metrics",
    "nodes",
    "ostler",
    "readyz",
    "schedules",
    "sizes",
    "start",
    "startapp",
    "tenants",
    "test",
    "vm",
];

/// The largest secret in a file, in bytes.
pub const SECRET_BYTES: u64 = 64 << 10;

pub(super) fn clouds(root: &Section<'_, '_>) -> BTreeMap<String, Cloud> {
    let mut clouds = BTreeMap::new();
    for (name, section) in root.sections_by_name("clouds") {
        if let Err(message) = cloud_name(&name) {
            section.reader.error(&section.place, &section.path, message);
        }
        clouds.insert(name, cloud(&section));
    }
    clouds
}

/// Checks a cloud's name.
///
/// # Errors
/// What a name must be.
pub fn cloud_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(plain) {
        return Err("a cloud's name must be 1 to 64 letters, digits, `_`, `.` or `-`, and not start with a dot".to_owned());
    }
    if RESERVED_NAMES.contains(&name) {
        return Err(format!("`{name}` is a word of the APIs' paths, give the cloud another name"));
    }
    Ok(())
}

/// One cloud, from its table.
pub(super) fn cloud(section: &Section<'_, '_>) -> Cloud {
    let driver = section.required_text("driver", "the name of the cloud's driver, such as \"dummy\"");
    if let Some(text) = &driver {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
        let name = &text.value;
        if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(plain) {
            let message = "must be 1 to 64 lower-case letters, digits, `-`, `_` or `.`: the file's name in the driver directory without .wasm";
            section.reader.error(&text.place, &text.key, message);
        }
    }
    let grants = grants(&section.section("grants"));
    let secrets_section = section.section("secrets");
    let secrets = secrets(&secrets_section);
    if !grants.secrets && !secrets.is_empty() {
        section.reader.warning(
            &secrets_section.place,
            &secrets_section.path,
            "cannot be read by the driver: grants.secrets is false",
        );
    }
    let hypervisor_section = section.section("hypervisor");
    let hypervisor = hypervisor(&hypervisor_section);
    if grants.hypervisor.is_none() && hypervisor != HypervisorSettings::default() {
        section.reader.warning(
            &hypervisor_section.place,
            &hypervisor_section.path,
            "has no effect: grants.hypervisor names no connection, such as \"qemu:///system\"",
        );
    }
    let tls = section.section("tls");
    let (certificate, key) = tls.pair_of_files("certificate", "key");
    Cloud {
        driver: driver.map(|text| text.value).unwrap_or_default(),
        grants,
        config: settings(&section.section("config")),
        secrets,
        limits: limits(&section.section("limits")),
        instances: section.choice("instances", &[("warm", Instances::Warm), ("fresh", Instances::Fresh)]).unwrap_or_default(),
        tls: OutgoingTls { ca: tls.file("ca"), certificate, key },
        deployments: deployments(&section.section("deployments")),
        hypervisor,
    }
}

fn hypervisor(section: &Section<'_, '_>) -> HypervisorSettings {
    let defaults = HypervisorSettings::default();
    let names = |key, default: Vec<String>| {
        let names: Vec<String> = section.texts(key).into_iter().map(|text| text.value).collect();
        if names.is_empty() { default } else { names }
    };
    let ways = [("auto", Virtualization::Auto), ("kvm", Virtualization::Kvm), ("qemu", Virtualization::Qemu)];
    HypervisorSettings {
        pools: names("pools", defaults.pools),
        image_pools: names("image_pools", defaults.image_pools),
        networks: names("networks", defaults.networks),
        devices: names("devices", defaults.devices),
        virtualization: section.choice("virtualization", &ways).unwrap_or_default(),
    }
}

fn deployments(section: &Section<'_, '_>) -> Placing {
    let defaults = Placing::default();
    Placing {
        enabled: section.boolean("enabled").map_or(defaults.enabled, |(enabled, _)| enabled),
        priority: section.positive("priority", 1_000.0).unwrap_or(defaults.priority),
        agreements: section.texts("agreements").into_iter().map(|text| text.value).collect(),
        service: section.text("service").map(|text| text.value),
    }
}

fn grants(section: &Section<'_, '_>) -> Grants {
    let mut http = Vec::new();
    for text in section.texts("http") {
        if text.value.contains('@') {
            section.reader.hide(&text.place);
        }
        match base_url(&text.value, "an origin, such as \"https://cloud.example:5000\"") {
            Ok(url) => http.push(url.origin().ascii_serialization()),
            Err(message) => section.reader.error(&text.place, &text.key, message),
        }
    }
    let hypervisor = section.parsed("hypervisor", |text| match Url::parse(text) {
        Ok(url) if url.password().is_some() => Err("must not contain a password".to_owned()),
        Ok(url) if !url.cannot_be_a_base() => Ok(text.to_owned()),
        _ => Err("must be a libvirt connection, such as \"qemu:///system\"".to_owned()),
    });
    let granted = |key| section.boolean(key).is_none_or(|(granted, _)| granted);
    Grants {
        http,
        hypervisor: hypervisor.map(|(uri, _)| uri),
        state: granted("state"),
        cache: granted("cache"),
        config: granted("config"),
        secrets: granted("secrets"),
        log: granted("log"),
    }
}

fn limits(section: &Section<'_, '_>) -> Limits {
    let defaults = Limits::default();
    Limits {
        call_seconds: section.integer("call_seconds", defaults.call_seconds, 1..=3600, "seconds"),
        cpu_ms: section.integer("cpu_ms", defaults.cpu_ms, 1..=600_000, "ms"),
        memory_mb: section.integer("memory_mb", defaults.memory_mb, 1..=4096, "MiB"),
        concurrency: section.integer("concurrency", defaults.concurrency, 1..=100_000, "calls"),
        list_ttl_ms: section.integer("list_ttl_ms", defaults.list_ttl_ms, 0..=3_600_000, "ms"),
        answer_mb: section.integer("answer_mb", defaults.answer_mb, 1..=1024, "MiB"),
        state_mb: section.integer("state_mb", defaults.state_mb, 1..=65_536, "MiB"),
        rate_per_second: section.positive("rate_per_second", 1e6),
        warm: section.integer("warm", defaults.warm, 0..=1024, "instances"),
    }
}

/// The driver's own settings: any values. What looks like a secret is not shown, and warned about.
fn settings(section: &Section<'_, '_>) -> BTreeMap<String, toml::Value> {
    let mut settings = BTreeMap::new();
    for (key, place, value) in section.take_all() {
        let path = section.key(&key);
        if looks_secret(&key) && value.get_ref().is_str() {
            section.reader.hide(&Place::File(value.span()));
            section.reader.warning(&place, &path, "looks like a secret: better in `secrets`, where it is never shown");
        }
        let span = Place::File(value.span());
        match toml::Value::deserialize(ValueDeserializer::from(value)) {
            Ok(value) => drop(settings.insert(key, value)),
            Err(error) => section.reader.error(&span, &path, error.message()),
        }
    }
    settings
}

fn looks_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["password", "passwd", "secret", "token", "api_key", "apikey", "private_key"].iter().any(|word| key.contains(word))
}

fn secrets(section: &Section<'_, '_>) -> BTreeMap<String, Secret> {
    let mut secrets = BTreeMap::new();
    for (name, place, value) in section.take_all() {
        if let Some(secret) = secret(section, &name, &place, &value) {
            secrets.insert(name, secret);
        }
    }
    secrets
}

/// A secret that stands alone.
pub(super) fn one_secret(section: &Section<'_, '_>, key: &'static str) -> Option<Secret> {
    let value = section.take(key)?;
    secret(section, key, &section.place, &value)
}

fn secret(section: &Section<'_, '_>, name: &str, name_place: &Place, value: &Spanned<DeValue<'_>>) -> Option<Secret> {
    const WANTED: &str = "must be { env = \"NAME\" } or { file = \"PATH\" }";
    let reader = section.reader;
    let (path, place) = (section.key(name), Place::File(value.span()));
    // Whatever else stands here may be the secret itself, so neither lines nor messages show it.
    let refuse = |what: &str| {
        reader.hide(&place);
        reader.error(name_place, &path, format!("{WANTED}: {what}"));
        None
    };
    let DeValue::Table(table) = value.get_ref() else {
        let found = kind(value.get_ref());
        return refuse(&format!("secrets themselves do not belong in this file, found {found}"));
    };
    let mut entries = table.iter();
    let (Some((key, source)), None) = (entries.next(), entries.next()) else { return refuse("exactly one of them") };
    let Some(text) = source.get_ref().as_str().filter(|text| !text.is_empty()) else { return refuse("with a text") };
    let text = Text { value: text.to_owned(), place: Place::File(source.span()), key: format!("{path}.{}", key.get_ref()) };
    let read = match key.get_ref().as_ref() {
        "env" => {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if !text.value.chars().all(plain) || text.value.starts_with(|c: char| c.is_ascii_digit()) {
                return refuse("NAME is the name of an environment variable, of letters, digits and `_`");
            }
            let value = reader.variable(&text.value).ok_or_else(|| format!("the environment variable {} is not set", text.value));
            value.map(|value| (SecretSource::Env(text.value.clone()), SecretString::from(value)))
        }
        "file" => {
            let file = reader.resolve(&text.value);
            let value = secret_file(&file).map_err(|reason| format!("cannot read {}: {reason}", file.display()));
            value.map(|value| (SecretSource::File(file), value))
        }
        _ => return refuse("other keys are not known"),
    };
    match read {
        Ok((source, value)) => Some(Secret { source, value }),
        Err(message) => {
            reader.error(&text.place, &text.key, message);
            None
        }
    }
}

/// Reads a secret: UTF-8, line ends at its end cut, not empty.
fn secret_file(path: &Path) -> Result<SecretString, String> {
    let file = std::fs::File::open(path).map_err(|error| reason(&error))?;
    let mut text = String::new();
    file.take(SECRET_BYTES + 1).read_to_string(&mut text).map_err(|error| reason(&error))?;
    if text.len() as u64 > SECRET_BYTES {
        return Err(format!("it is larger than {} KiB", SECRET_BYTES >> 10));
    }
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    Ok(SecretString::from(text))
}

impl SecretSource {
    /// Reads the secret again, so that it can be replaced without a restart.
    ///
    /// # Errors
    /// Why it cannot be read; the text contains the source, never the value.
    pub fn read(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<SecretString, String> {
        match self {
            Self::Env(name) => {
                let value = env(name).filter(|value| !value.is_empty());
                value.map(SecretString::from).ok_or_else(|| format!("the environment variable {name} is not set"))
            }
            Self::File(path) => secret_file(path).map_err(|reason| format!("cannot read {}: {reason}", path.display())),
        }
    }
}
