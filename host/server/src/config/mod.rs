//! The configuration: `ostler.toml` and the environment, checked as a whole before anything starts.
//!
//! The document is read key by key with places (`reader`), so that all problems are reported at once, each with file, line and
//! column. What is left in [`Config`] needs no further checks.

mod added;
mod api;
mod clouds;
mod env;
mod mail;
mod oidc;
mod platform;
mod problem;
mod reader;
mod report;
mod sections;
mod services;
#[cfg(test)]
mod tests;
mod types;

use std::io::Read;
use std::path::Path;

pub use self::added::{Added, read_cloud, secret_name, write_cloud};
pub use self::clouds::{RESERVED_NAMES, SECRET_BYTES, cloud_name};
pub use self::env::{VARIABLES, Variable, unknown_variables};
pub use self::platform::Images;
pub use self::problem::{Problem, Problems, Severity};
pub use self::types::{
    Api, Billing, Callbacks, Cloud, Config, Conpaas, Crs4, Dialect, Drivers, Grants, Indigo, Instances, Limits, ListenerChoice,
    Log, LogFormat, Mail, Mode, Oidc, OutgoingTls, Placing, Registries, Secret, SecretSource, Server, ServiceType, Services,
    Store, TrustedKey, Work,
};

/// The largest configuration file, in bytes.
const FILE_BYTES: u64 = 1 << 20;

impl Config {
    /// Reads the file, if one is given, and the environment ([`VARIABLES`]; flags of the command line can be put in front of it by
    /// the function). Without a file: [`Config::development`] with what the environment says.
    ///
    /// # Errors
    /// All problems, errors and warnings, if there is at least one error. Warnings of a configuration without errors are in
    /// [`Config::warnings`].
    pub fn load(path: Option<&Path>, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, Problems> {
        let Some(path) = path else { return settle(read("environment", "", Path::new(""), Mode::Development, env)) };
        let name = path.display().to_string();
        let text = read_file(path).map_err(|reason| {
            let message = format!("cannot read the configuration: {reason}");
            Problems(vec![Problem::elsewhere(Severity::Error, &name, "", message)])
        })?;
        settle(read(&name, &text, path.parent().unwrap_or(Path::new("")), Mode::Configured, env))
    }

    /// What is served without a file and without environment variables: `127.0.0.1:5050` and, by TLS, `127.0.0.1:5555`; the clouds
    /// `default` and `fake_driver` by the driver `dummy`, `/api/v1` and registration open.
    pub fn development() -> Self {
        read("environment", "", Path::new(""), Mode::Development, &|_| None).0
    }
}

fn settle((mut config, problems, failed): (Config, Vec<Problem>, bool)) -> Result<Config, Problems> {
    if failed {
        return Err(Problems(problems));
    }
    config.warnings = problems;
    Ok(config)
}

fn read_file(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| reader::reason(&error))?;
    let mut text = String::new();
    file.take(FILE_BYTES + 1).read_to_string(&mut text).map_err(|error| reader::reason(&error))?;
    if text.len() as u64 > FILE_BYTES {
        return Err(format!("it is larger than {} MiB", FILE_BYTES >> 20));
    }
    Ok(text)
}

/// Reads a document: the configuration with defaults where there were errors, what was noted, and whether there were errors.
fn read(
    name: &str,
    text: &str,
    directory: &Path,
    mode: Mode,
    env: &dyn Fn(&str) -> Option<String>,
) -> (Config, Vec<Problem>, bool) {
    let reader = reader::Reader::new(name, text, directory.to_owned(), env);
    let root = reader.root();
    if reader.failed() {
        // What the parser could not read would only lead to more complaints.
        root.take_all();
        drop(root);
        return (Config::default(), reader.into_problems(), true);
    }
    let (server, listeners) = sections::server(&root, mode);
    let mut clouds = clouds::clouds(&root);
    if mode == Mode::Development {
        for name in ["default", "fake_driver"] {
            clouds.insert(name.to_owned(), Cloud::new("dummy"));
        }
    }
    let api = api::api(&root, &api::Context { mode, server: &server, listeners: &listeners, clouds: &clouds });
    let config = Config {
        mode,
        store: sections::store(&root),
        drivers: sections::drivers(&root),
        services: services::services(&root, mode, &clouds),
        work: services::work(&root),
        billing: services::billing(&root, &clouds),
        images: platform::images(&root),
        forwarding: platform::forwarding(&root),
        metrics: platform::metrics(&root),
        mail: mail::mail(&root),
        oidc: oidc::oidc(&root),
        log: sections::log(&root),
        warnings: Vec::new(),
        server,
        clouds,
        api,
    };
    drop(root);
    let failed = reader.failed();
    (config, reader.into_problems(), failed)
}
