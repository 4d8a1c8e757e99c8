//! `ostler cloud`.

mod clouds_yaml;
mod import;
mod secrets;

use super::remote::{Remote, segment};
use super::{complain, or_dash, say, say_json, table};
use crate::api::native::wire::accounts::Secret;
use crate::api::native::wire::clouds::{AddedCloud, Cloud, CloudTest, Clouds, NewCloud, NewTls};
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Bytes that are read of a certificate, a key or a table.
const LARGEST: u64 = 1 << 20;

#[derive(Subcommand)]
pub(super) enum Command {
    /// List clouds: how they are, and where they come from.
    List {
        #[command(flatten)]
        remote: Remote,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show a cloud.
    Show {
        #[command(flatten)]
        named: Named,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Add a cloud to the running server. It serves when this returns, and after a restart. Its provider is asked first.
    Add(Box<Add>),
    /// Ask clouds' providers whether all is well.
    Test {
        /// The clouds' names.
        #[arg(required_unless_present = "all")]
        names: Vec<String>,
        /// Ask those of all clouds.
        #[arg(long, conflicts_with = "names")]
        all: bool,
        #[command(flatten)]
        remote: Remote,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove a cloud that was added. What is under way there goes on to its end.
    Remove {
        #[command(flatten)]
        named: Named,
        /// Remove it although operations, deployments, services or assignments still need it.
        #[arg(long)]
        force: bool,
        /// Delete its driver's durable state, too. Otherwise another cloud of this name finds it.
        #[arg(long)]
        purge: bool,
    },
    /// Add the clouds of an OpenStack clouds.yaml, and of the secure.yaml beside it.
    Import(Box<import::Import>),
}

#[derive(Args)]
pub(super) struct Named {
    /// The cloud's name.
    name: String,
    #[command(flatten)]
    remote: Remote,
}

/// What is said alike of clouds that are added and imported.
#[derive(Args)]
pub(super) struct Common {
    /// A setting of the driver; `ostler driver show NAME` lists them. Can be given again.
    #[arg(long = "config", value_name = "KEY=VALUE")]
    config: Vec<String>,
    /// An origin that the driver may call, such as https://cloud.example:5000. Can be given again.
    #[arg(long = "grant-http", value_name = "ORIGIN")]
    grant_http: Vec<String>,
    /// A secret of the driver: KEY=env:NAME, KEY=file:PATH, or KEY=- for standard input. Can be given again.
    #[arg(long = "secret", value_name = "KEY=SOURCE")]
    secrets: Vec<String>,
    /// Certificate authorities that the provider is trusted by instead of the system's, PEM.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A TOML file with further keys of a [clouds.NAME] table: instances, grants, config, limits, deployments, hypervisor.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Do not ask the provider first.
    #[arg(long)]
    no_test: bool,
    /// Add it although its provider does not answer as it should.
    #[arg(long)]
    force: bool,
}

#[derive(Args)]
pub(super) struct Add {
    #[command(flatten)]
    named: Named,
    /// The driver, which must be installed.
    #[arg(long, value_name = "NAME")]
    driver: String,
    /// The hypervisor that the driver may use, such as qemu:///system.
    #[arg(long, value_name = "URI")]
    grant_hypervisor: Option<String>,
    /// The certificate that is shown to the provider, PEM. Needs --key.
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// Its private key, PEM.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

impl Command {
    pub(super) fn run(self) -> Result<(), String> {
        match self {
            Self::List { remote, json } => list(&remote, json),
            Self::Show { named, json } => show(&named, json),
            Self::Add(new) => new.run(),
            Self::Test { names, all, remote, json } => test(names, all, &remote, json),
            Self::Remove { named, force, purge } => {
                named.remote.bytes(Method::DELETE, &format!("{}?force={force}&purge={purge}", path(&named.name)), None)?;
                say(&format!("{} removed", named.name));
                Ok(())
            }
            Self::Import(import) => import.run(),
        }
    }
}

fn path(name: &str) -> String {
    format!("/ostler/v1/clouds/{}", segment(name))
}

impl Add {
    fn run(self) -> Result<(), String> {
        let mut new = NewCloud { name: self.named.name, driver: self.driver, test: true, ..NewCloud::default() };
        if let Some(uri) = self.grant_hypervisor {
            entries(&mut new.grants, "grants")?.insert("hypervisor".to_owned(), Value::String(uri));
        }
        new.tls = NewTls {
            ca: None,
            certificate: self.certificate.as_deref().map(|path| read_pem("--certificate", path)).transpose()?,
            key: self.key.as_deref().map(|path| read_pem("--key", path)).transpose()?.map(|pem| Secret(pem.into())),
        };
        let secrets = secrets::read(&self.common.secrets)?;
        self.common.apply(&mut new, secrets)?;
        add(&self.named.remote, &new)
    }
}

impl Common {
    /// Adds what was said to a cloud: flags go before the file, and the file before what is there.
    fn apply(&self, new: &mut NewCloud, secrets: BTreeMap<String, Secret>) -> Result<(), String> {
        if let Some(path) = &self.settings {
            lay_over(new, table_of(path)?).map_err(|error| format!("--settings: {}: {error}", path.display()))?;
        }
        for one in &self.config {
            // What stands after the sign may be a secret in the wrong place.
            let (key, value) = one.split_once('=').ok_or("--config: must be KEY=VALUE")?;
            entries(&mut new.config, "config")?.insert(key.to_owned(), Value::String(value.to_owned()));
        }
        if !self.grant_http.is_empty() {
            let grants = entries(&mut new.grants, "grants")?;
            let origins = grants.entry("http").or_insert_with(|| Value::Array(Vec::new()));
            let origins = origins.as_array_mut().ok_or("grants.http: must be an array of strings")?;
            origins.extend(self.grant_http.iter().map(|origin| Value::String(origin.trim_end_matches('/').to_owned())));
        }
        if let Some(ca) = &self.ca {
            new.tls.ca = Some(read_pem("--ca", ca)?);
        }
        new.secrets.extend(secrets);
        (new.test, new.force) = (!self.no_test, self.force);
        Ok(())
    }
}

/// The entries of a table, which may not be there yet.
fn entries<'v>(value: &'v mut Option<Value>, what: &str) -> Result<&'v mut Map<String, Value>, String> {
    let value = value.get_or_insert_with(|| Value::Object(Map::new()));
    value.as_object_mut().ok_or_else(|| format!("{what}: must be a table"))
}

/// Lays the tables of a file over those of a cloud.
fn lay_over(new: &mut NewCloud, table: Map<String, Value>) -> Result<(), String> {
    for (key, value) in table {
        let place = match key.as_str() {
            "instances" => {
                new.instances = Some(value.as_str().ok_or("instances: must be a string")?.to_owned());
                continue;
            }
            "grants" => &mut new.grants,
            "config" => &mut new.config,
            "limits" => &mut new.limits,
            "deployments" => &mut new.deployments,
            "hypervisor" => &mut new.hypervisor,
            "driver" => return Err("driver: is named by --driver".to_owned()),
            "secrets" => return Err("secrets: are named by --secret".to_owned()),
            "tls" => return Err("tls: is named by --ca, --certificate and --key".to_owned()),
            _ => return Err(format!("{key}: unknown key")),
        };
        clouds_yaml::merge(place.get_or_insert(Value::Null), value);
    }
    Ok(())
}

fn table_of(path: &Path) -> Result<Map<String, Value>, String> {
    let text = read_text("--settings", path)?;
    // What the library says shows lines of the file.
    let table: toml::Table = toml::from_str(&text).map_err(|error| {
        let line = error.span().and_then(|span| text.get(..span.start)).map_or(0, |before| before.matches('\n').count() + 1);
        format!("--settings: {}:{line}: {}", path.display(), error.message())
    })?;
    Ok(table.into_iter().map(|(key, value)| (key, json(value))).collect())
}

fn json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(integer) => integer.into(),
        toml::Value::Float(float) => float.into(),
        toml::Value::Boolean(boolean) => boolean.into(),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        toml::Value::Array(items) => items.into_iter().map(json).collect(),
        toml::Value::Table(table) => Value::Object(table.into_iter().map(|(key, value)| (key, json(value))).collect()),
    }
}

/// A certificate or key.
fn read_pem(what: &str, path: &Path) -> Result<String, String> {
    let text = read_text(what, path)?;
    if text.contains("-----BEGIN ") { Ok(text) } else { Err(format!("{what}: {}: this is no PEM", path.display())) }
}

fn read_text(what: &str, path: &Path) -> Result<String, String> {
    use std::io::Read;
    let explain = |error: &dyn std::fmt::Display| format!("{what}: {}: {error}", path.display());
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| explain(&error))?;
    file.take(LARGEST).read_to_string(&mut text).map_err(|error| explain(&error))?;
    Ok(text)
}

/// Has the server add a cloud.
fn add(remote: &Remote, new: &NewCloud) -> Result<(), String> {
    if !new.secrets.is_empty() || new.tls.key.is_some() {
        remote.confidential("secrets")?;
    }
    let added: Result<AddedCloud, String> = remote.json(Method::POST, "/ostler/v1/clouds", new);
    let added = added.map_err(|error| {
        let hint = if error.contains("(grants.http)") { "; grant it with --grant-http" } else { "" };
        format!("{}: {error}{hint}", new.name)
    })?;
    for warning in &added.warnings {
        complain(warning);
    }
    let Cloud { name, driver, state, reason, endpoint, .. } = added.cloud;
    let endpoint = endpoint.map(|endpoint| format!(", at {endpoint}")).unwrap_or_default();
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    say(&format!("{name} added (driver {driver}{endpoint}), {state}{reason}"));
    Ok(())
}

fn list(remote: &Remote, json: bool) -> Result<(), String> {
    let clouds: Clouds = remote.get("/ostler/v1/clouds")?;
    if json {
        return say_json(&clouds);
    }
    let mut table = table(&["CLOUD", "DRIVER", "STATE", "ORIGIN", "ENDPOINT", "REASON"]);
    for cloud in clouds.clouds {
        table.add_row([cloud.name, cloud.driver, cloud.state, cloud.origin, or_dash(cloud.endpoint), or_dash(cloud.reason)]);
    }
    say(&table.to_string());
    Ok(())
}

fn show(named: &Named, json: bool) -> Result<(), String> {
    let cloud: Cloud = named.remote.get(&path(&named.name))?;
    if json {
        return say_json(&cloud);
    }
    let kind = [cloud.cloud_type, cloud.provider].into_iter().flatten().collect::<Vec<_>>().join(", ");
    let settings = cloud.settings;
    let listed = |pick: fn(&crate::api::native::wire::clouds::CloudSettings) -> String| or_dash(settings.as_ref().map(pick));
    for (name, value) in [
        ("cloud", cloud.name),
        ("origin", cloud.origin),
        ("driver", format!("{} ({})", cloud.driver, or_dash(cloud.digest))),
        ("provider", or_dash(Some(kind))),
        ("state", cloud.state),
        ("reason", or_dash(cloud.reason)),
        ("endpoint", or_dash(cloud.endpoint)),
        ("features", or_dash(Some(cloud.features.join(", ")))),
        ("may call", listed(|s| s.http.iter().chain(&s.hypervisor).cloned().collect::<Vec<_>>().join(", "))),
        ("config", listed(|s| s.config.join(", "))),
        ("secrets", listed(|s| s.secrets.join(", "))),
    ] {
        say(&format!("{name:<9}{value}"));
    }
    Ok(())
}

fn test(names: Vec<String>, all: bool, remote: &Remote, json: bool) -> Result<(), String> {
    let names = if all {
        let clouds: Clouds = remote.get("/ostler/v1/clouds")?;
        clouds.clouds.into_iter().map(|cloud| cloud.name).collect()
    } else {
        names
    };
    let mut tests = Vec::new();
    for name in &names {
        tests.push(remote.call::<CloudTest>(Method::POST, &format!("{}/test", path(name)), None)?);
    }
    let unwell: Vec<String> = tests.iter().filter(|test| !test.healthy).map(|test| test.cloud.clone()).collect();
    if json {
        say_json(&tests)?;
    } else {
        let mut table = table(&["CLOUD", "WELL", "MS", "ENDPOINT", "ACCOUNT", "VERSION", "ERROR"]);
        for test in tests {
            let error = test.error.map(|error| format!("{}: {}", error.class, error.message));
            table.add_row([
                test.cloud,
                if test.healthy { "yes" } else { "no" }.to_owned(),
                format!("{:.1}", test.milliseconds),
                or_dash(test.endpoint),
                or_dash(test.account),
                or_dash(test.version),
                or_dash(error),
            ]);
        }
        say(&table.to_string());
    }
    if unwell.is_empty() { Ok(()) } else { Err(format!("not well: {}", unwell.join(", "))) }
}
