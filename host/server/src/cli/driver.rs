//! `ostler driver`.

use super::remote::{Remote, Upload, segment};
use super::{say, say_json, table};
use crate::api::native::wire::{Change, Driver, DriverHistory, Drivers, Rollback, Version};
use base64::Engine;
use clap::{Args, Subcommand};
use http::Method;
use std::path::PathBuf;

#[derive(Subcommand)]
pub(super) enum Command {
    /// List drivers and what serves them.
    List {
        #[command(flatten)]
        remote: Remote,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show a driver: what it can do, its settings, its history.
    Show(Named),
    /// Install a component under a driver name. It serves when this returns; calls under way finish on the version before.
    Install {
        /// The driver's name; without it, the file's name without `.wasm`.
        #[arg(long)]
        name: Option<String>,
        /// The component.
        file: PathBuf,
        /// A detached Ed25519 signature (64 bytes, or base64). Without it, FILE.sig is used if it exists.
        #[arg(long, value_name = "FILE")]
        signature: Option<PathBuf>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Remove a driver that no cloud uses; or what was installed over one that the program brings along.
    Remove(Named),
    /// Go back to the version that served before, or to one named by its digest.
    Rollback {
        #[command(flatten)]
        named: Named,
        /// `sha256:…` of an earlier version.
        #[arg(long)]
        to: Option<String>,
    },
}

#[derive(Args)]
pub(super) struct Named {
    /// The driver's name.
    name: String,
    #[command(flatten)]
    remote: Remote,
}

impl Command {
    pub(super) fn run(self) -> Result<(), String> {
        match self {
            Self::List { remote, json } => list(&remote, json),
            Self::Show(named) => show(&named),
            Self::Install { name, file, signature, remote } => install(name, &file, signature, &remote),
            Self::Remove(named) => {
                named.remote.bytes(Method::DELETE, &path(&named.name), None)?;
                say(&format!("{} removed", named.name));
                Ok(())
            }
            Self::Rollback { named, to } => {
                let path = format!("{}/rollback", path(&named.name));
                report(&named.remote.json(Method::POST, &path, &Rollback { digest: to })?);
                Ok(())
            }
        }
    }
}

fn path(name: &str) -> String {
    format!("/ostler/v1/drivers/{}", segment(name))
}

fn list(remote: &Remote, json: bool) -> Result<(), String> {
    let drivers: Drivers = remote.call(Method::GET, "/ostler/v1/drivers", None)?;
    if json {
        return say_json(&drivers);
    }
    let mut table = table(&["DRIVER", "VERSION", "DIGEST", "SOURCE", "SINCE", "CLOUDS"]);
    for driver in drivers.drivers {
        let Driver { name, active, clouds, .. } = driver;
        let clouds = clouds.join(", ");
        match active {
            Some(v) => table.add_row([name, version(&v), short(&v.digest), v.source, v.installed_at, clouds]),
            None => table.add_row([name, "-".into(), "-".into(), "not installed".into(), "-".into(), clouds]),
        };
    }
    say(&table.to_string());
    Ok(())
}

fn show(named: &Named) -> Result<(), String> {
    let shown: DriverHistory = named.remote.call(Method::GET, &path(&named.name), None)?;
    say(&format!("driver   {}{}", shown.driver.name, if shown.driver.builtin { " (part of the program)" } else { "" }));
    say(&format!("clouds   {}", shown.driver.clouds.join(", ")));
    if let Some(active) = &shown.driver.active {
        let about = &active.about;
        let texts = |key: &str| {
            let list = if key == "imports" { &about[key] } else { &about["description"][key] };
            list.as_array().map(|l| l.iter().filter_map(|v| v.as_str()).collect::<Vec<_>>().join(", ")).unwrap_or_default()
        };
        say(&format!("version  {} ({})", version(active), active.digest));
        say(&format!("contract ostler:driver@{}", about["contract"].as_str().unwrap_or("?")));
        say(&format!("signed   {}", about["signed"].as_bool().unwrap_or_default()));
        say(&format!("features {}", texts("features")));
        say(&format!("imports  {}", texts("imports")));
        let mut settings = table(&["SETTING", "", "MEANING"]);
        settings.set_width(120).set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
        for setting in about["description"]["settings"].as_array().into_iter().flatten() {
            let flags = match (setting["required"].as_bool(), setting["secret"].as_bool()) {
                (Some(true), Some(true)) => "required secret",
                (Some(true), _) => "required",
                (_, Some(true)) => "secret",
                _ => "",
            };
            settings.add_row([setting["key"].as_str().unwrap_or_default(), flags, setting["doc"].as_str().unwrap_or_default()]);
        }
        say(&settings.to_string());
    }
    let mut history = table(&["#", "VERSION", "DIGEST", "SOURCE", "INSTALLED", "BY"]);
    for v in &shown.history {
        history.add_row([
            v.id.to_string(),
            version(v),
            short(&v.digest),
            v.source.clone(),
            v.installed_at.clone(),
            v.installed_by.clone(),
        ]);
    }
    say(&history.to_string());
    Ok(())
}

fn install(name: Option<String>, file: &PathBuf, signature: Option<PathBuf>, remote: &Remote) -> Result<(), String> {
    let read = |path: &PathBuf| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let bytes = read(file)?;
    let name = match name.or_else(|| file.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned)) {
        Some(name) => name,
        None => return Err("name the driver with --name".into()),
    };
    let mut beside = file.clone().into_os_string();
    beside.push(".sig");
    let signature = signature.or_else(|| Some(PathBuf::from(beside)).filter(|path| path.exists()));
    let mut headers = Vec::new();
    if let Some(path) = signature {
        let signature = ostler_core::drivers::parse_signature(&read(&path)?)
            .ok_or_else(|| format!("{}: a signature is 64 bytes, or their base64", path.display()))?;
        headers.push(("ostler-signature", base64::engine::general_purpose::STANDARD.encode(signature)));
    }
    let upload = Upload { media_type: "application/wasm", bytes, headers };
    report(&remote.call(Method::PUT, &path(&name), Some(upload))?);
    Ok(())
}

fn report(change: &Change) {
    let what = if change.changed { "serves now" } else { "serves already" };
    say(&format!("{} {} {what} ({})", change.driver, version(&change.active), change.active.digest));
}

fn version(version: &Version) -> String {
    version.about["description"]["version"].as_str().unwrap_or("?").to_owned()
}

fn short(digest: &str) -> String {
    digest.chars().take("sha256:".len() + 12).collect()
}
