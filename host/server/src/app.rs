//! From a configuration to a running core.

use crate::config::{self, Config};
use ostler_core::compute::{Cistern, Compute};
use ostler_core::drivers::Drivers;
use ostler_core::identity::Identity;
use ostler_core::{Core, StoreState};
use ostler_drivers::{CloudSettings, Grants, Host, Instances, Limits, LoadPolicy, Runtime, Tls, VerifyingKey, private_directory};
use ostler_egress::{AddressPolicy, Allow, Client, ClientConfig, Origin};
use ostler_store::{Options, Store};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Drivers that are part of the program.
const BUILTIN: &[(&str, &[u8])] = &[("dummy", include_bytes!(concat!(env!("OUT_DIR"), "/dummy.wasm")))];

/// Why the host cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory.
    #[error("the data directory {path}: {source}", path = path.display())]
    Data {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] ostler_store::Error),
    /// The plugin host.
    #[error(transparent)]
    Drivers(#[from] ostler_drivers::LoadError),
    /// A use case.
    #[error(transparent)]
    Core(#[from] ostler_core::Error),
    /// A certificate or key of a cloud.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What the configuration says cannot be used.
    #[error("{0}")]
    Config(String),
}

/// Opens the store, starts the plugin host and loads the drivers.
pub async fn start(config: &Config, data: &Path) -> Result<Core, StartError> {
    private_directory(data).map_err(|source| StartError::Data { path: data.to_owned(), source })?;
    let store = Store::open(&store_url(config, data), &Options::default()).await?;
    let runtime = Runtime::new(Some(data.join("cache")))?;
    let max_bytes = config.drivers.max_component_mb << 20;
    let mut trusted_keys = Vec::new();
    for key in &config.drivers.trusted_keys {
        let parsed = VerifyingKey::from_bytes(&key.0);
        trusted_keys
            .push(parsed.map_err(|_| StartError::Config(format!("drivers.trusted_keys: {key} is not a point on the curve")))?);
    }
    let policy = LoadPolicy {
        max_bytes: usize::try_from(max_bytes).unwrap_or(usize::MAX),
        trusted_keys,
        require_signature: config.drivers.require_signature,
    };
    let host = Arc::new(Host::new(runtime, policy, Arc::new(StoreState(store.clone())))?);
    for (name, cloud) in &config.clouds {
        host.add_cloud(settings(name, cloud)?)?;
    }
    let keep = usize::try_from(config.drivers.keep_versions).unwrap_or(usize::MAX);
    let drivers = Drivers::new(Arc::clone(&host), store.clone(), data.join("components"), BUILTIN, keep, max_bytes)?;
    drivers.start().await?;
    let identity = Identity::new(store.clone());
    let compute = Compute::new(Arc::clone(&host), store.clone(), cistern(config)?);
    Ok(Core { identity: Arc::new(identity), compute: Arc::new(compute), drivers: Arc::new(drivers), host, store })
}

/// The watched directory.
pub fn drivers_directory(config: &Config, data: &Path) -> PathBuf {
    data.join(&config.drivers.directory)
}

/// Relative files stand in the data directory.
fn store_url(config: &Config, data: &Path) -> String {
    let url = config.store.url.as_deref().unwrap_or("sqlite:ostler.db");
    match url.strip_prefix("sqlite:") {
        Some(path) if !path.starts_with('/') && path != ":memory:" => format!("sqlite:{}", data.join(path).display()),
        _ => url.to_owned(),
    }
}

fn settings(name: &str, cloud: &config::Cloud) -> Result<CloudSettings, StartError> {
    let read = |path: &PathBuf| std::fs::read(path).map_err(|source| StartError::File { path: path.clone(), source });
    let size = |megabytes: u64| usize::try_from(megabytes << 20).unwrap_or(usize::MAX);
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let mut http = Vec::new();
    for origin in &cloud.grants.http {
        let origin = origin.parse::<Origin>();
        http.push(origin.map_err(|error| StartError::Config(format!("clouds.{name}.grants.http: {error}")))?);
    }
    let identity = match (&cloud.tls.certificate, &cloud.tls.key) {
        (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
        _ => None,
    };
    let limits = &cloud.limits;
    Ok(CloudSettings {
        grants: Grants {
            http,
            hypervisor: cloud.grants.hypervisor.clone(),
            state: cloud.grants.state,
            cache: cloud.grants.cache,
            config: cloud.grants.config,
            secrets: cloud.grants.secrets,
            log: cloud.grants.log,
        },
        config: cloud.config.iter().map(|(key, value)| (key.clone(), text(value))).collect(),
        secrets: cloud.secrets.iter().map(|(name, secret)| (name.clone(), secret.value.clone())).collect(),
        limits: Limits {
            call: limits.call_timeout(),
            cpu: Duration::from_millis(limits.cpu_ms),
            memory: size(limits.memory_mb),
            concurrency: count(limits.concurrency),
            list_ttl: Duration::from_millis(limits.list_ttl_ms),
            answer: size(limits.answer_mb),
            state: limits.state_mb << 20,
            rate: limits.rate_per_second,
            warm: count(limits.warm),
            ..Limits::default()
        },
        instances: match cloud.instances {
            config::Instances::Warm => Instances::Warm,
            config::Instances::Fresh => Instances::Fresh,
        },
        tls: Tls { ca_pem: cloud.tls.ca.as_ref().map(read).transpose()?, identity },
        ..CloudSettings::new(name, &cloud.driver)
    })
}

/// A value as drivers get it: a text as it is, everything else as JSON.
fn text(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Datetime(time) => time.to_string(),
        other => serde_json::to_string(other).unwrap_or_default(),
    }
}

fn cistern(config: &Config) -> Result<Option<Cistern>, StartError> {
    let Some(base) = &config.api.crs4.cistern else { return Ok(None) };
    let wrong = |error: &dyn std::fmt::Display| StartError::Config(format!("api.crs4.cistern: {error}"));
    let origin = base.origin().ascii_serialization().parse::<Origin>().map_err(|e| wrong(&e))?;
    let config =
        ClientConfig { allow: Allow::Origins(vec![origin]), addresses: AddressPolicy::PROVIDER, ..ClientConfig::default() };
    let client = Client::new("cistern", &config).map_err(|e| wrong(&e))?;
    Ok(Some(Cistern::new(client, base.clone())))
}
