//! `ostler cloud import`.

use super::clouds_yaml::{self, Found, LARGEST};
use super::{Common, read_pem, secrets};
use crate::api::native::wire::accounts::Secret;
use crate::api::native::wire::clouds::{NewCloud, NewTls};
use crate::cli::remote::Remote;
use crate::cli::{complain, say};
use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Where such files are looked for, as openstacksdk does.
const SITE: &str = "/etc/openstack";
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

#[derive(Args)]
pub(in crate::cli) struct Import {
    /// The file. Without it: the one that OS_CLIENT_CONFIG_FILE names, or clouds.yaml in this directory, in ~/.config/openstack, or
    /// in /etc/openstack.
    file: Option<PathBuf>,
    /// Take over this cloud only. Can be given again.
    #[arg(long = "cloud", value_name = "NAME")]
    clouds: Vec<String>,
    /// The name that the cloud gets here.
    #[arg(long = "as", value_name = "NAME")]
    rename: Option<String>,
    /// The driver, which must be installed.
    #[arg(long, value_name = "NAME", default_value = "openstack")]
    driver: String,
    /// Print what would be kept of the clouds, and add none.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    remote: Remote,
}

impl Import {
    pub(super) fn run(self) -> Result<(), String> {
        let (path, document) = self.document()?;
        let place = path.display();
        let known = clouds_yaml::clouds(&document).map_err(|error| format!("{place}: {error}"))?;
        if let Some(unknown) = self.clouds.iter().find(|name| !known.contains_key(*name)) {
            let names: Vec<_> = known.keys().map(String::as_str).collect();
            return Err(format!("{place}: there is no cloud `{unknown}`; there are: {}", names.join(", ")));
        }
        let wanted = |name: &str| self.clouds.is_empty() || self.clouds.iter().any(|wanted| wanted == name);
        let chosen: Vec<_> = known.iter().filter(|(name, _)| wanted(name)).collect();
        if self.rename.is_some() && chosen.len() != 1 {
            return Err("--as names one cloud: choose it with --cloud".to_owned());
        }
        let given = secrets::read(&self.common.secrets)?;
        let mut failed = Vec::new();
        for (name, cloud) in &chosen {
            let made = clouds_yaml::regions(cloud).and_then(|regions| {
                let several = regions.len() > 1;
                let base = self.rename.as_deref().unwrap_or(name);
                let new = |found: Found| self.new_cloud(base, several, found, &given);
                regions.into_iter().map(new).collect::<Result<Vec<_>, _>>()
            });
            match made {
                Ok(clouds) => failed.extend(clouds.into_iter().filter_map(|new| self.take(&new).err())),
                Err(error) => failed.push(format!("{place}: clouds.{name}.{error}")),
            }
        }
        if failed.is_empty() { Ok(()) } else { Err(failed.join("\nostler: ")) }
    }

    fn take(&self, new: &NewCloud) -> Result<(), String> {
        if !self.dry_run {
            return super::add(&self.remote, new);
        }
        let document = new.document().map_err(|error| format!("{}: {error}", new.name))?;
        say(&format!("# clouds/{}.toml\n{document}", new.name));
        Ok(())
    }

    fn new_cloud(
        &self,
        base: &str,
        several: bool,
        found: Found,
        given: &std::collections::BTreeMap<String, Secret>,
    ) -> Result<NewCloud, String> {
        let name = match &found.region {
            Some(region) if several => format!("{base}-{}", plain(region)),
            _ => base.to_owned(),
        };
        crate::config::cloud_name(&name).map_err(|error| format!("{error}; --as names it otherwise"))?;
        if !found.unused.is_empty() {
            complain(&format!("{name}: not used: {}", found.unused.join(", ")));
        }
        let mut new = NewCloud { name, driver: self.driver.clone(), test: true, ..NewCloud::default() };
        new.config = Some(Value::Object(found.config));
        new.grants = Some(json!({ "http": [found.origin] }));
        new.secrets = found.secrets.into_iter().map(|(key, value)| (key, Secret(value))).collect();
        new.tls = NewTls {
            ca: found.ca.as_deref().map(|path| read_pem("cacert", path)).transpose()?,
            certificate: found.certificate.as_deref().map(|path| read_pem("cert", path)).transpose()?,
            key: found.key.as_deref().map(|path| read_pem("key", path)).transpose()?.map(|pem| Secret(pem.into())),
        };
        self.common.apply(&mut new, given.clone())?;
        if !new.secrets.contains_key(found.needs) {
            return Err(format!("auth.{}: is missing; give it with --secret {}=env:NAME", found.needs, found.needs));
        }
        Ok(new)
    }

    /// The file and what it says, with the secrets of the file beside it.
    fn document(&self) -> Result<(PathBuf, Value), String> {
        let path = match &self.file {
            Some(path) => path.clone(),
            None => search().ok_or_else(|| {
                format!("there is no clouds.yaml in this directory, in ~/.config/openstack or in {SITE}; name the file")
            })?,
        };
        let mut document = read(&path)?;
        if let Some(beside) = secure(&path) {
            clouds_yaml::merge(&mut document, read(&beside)?);
        }
        Ok((path, document))
    }
}

/// A region as part of a cloud's name.
fn plain(region: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') { c } else { '-' };
    region.chars().map(keep).collect()
}

fn search() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("OS_CLIENT_CONFIG_FILE").filter(|named| !named.is_empty()) {
        return Some(PathBuf::from(named));
    }
    let own = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let own = own.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")));
    let directories = [Some(PathBuf::from(".")), own.map(|own| own.join("openstack")), Some(PathBuf::from(SITE))];
    directories.into_iter().flatten().find_map(|directory| named(&directory, "clouds"))
}

fn secure(clouds: &Path) -> Option<PathBuf> {
    match std::env::var_os("OS_CLIENT_SECURE_FILE").filter(|named| !named.is_empty()) {
        Some(path) => Some(PathBuf::from(path)),
        None => named(clouds.parent().unwrap_or(Path::new("")), "secure"),
    }
}

fn named(directory: &Path, stem: &str) -> Option<PathBuf> {
    ENDINGS.iter().map(|ending| directory.join(format!("{stem}.{ending}"))).find(|path| path.is_file())
}

fn read(path: &Path) -> Result<Value, String> {
    let explain = |error: String| format!("{}: {error}", path.display());
    let file = std::fs::File::open(path).map_err(|error| explain(error.to_string()))?;
    let mut text = String::new();
    file.take(LARGEST + 1).read_to_string(&mut text).map_err(|error| explain(error.to_string()))?;
    let text = SecretString::from(text);
    if text.expose_secret().len() as u64 > LARGEST {
        return Err(explain(format!("it is larger than {} MiB", LARGEST >> 20)));
    }
    clouds_yaml::parse(text.expose_secret()).map_err(explain)
}
