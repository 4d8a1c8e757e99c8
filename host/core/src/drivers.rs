//! Which component serves which driver name: installing, removing, going back; the watched directory; what to load at start.

use crate::Error;
use crate::identity::{Permission, Principal, Role, Scheme};
use ostler_drivers::{
    Changed, Cloud, CloudSettings, Host, LoadError, Prepared, Seal, Strictness, Watch, digest, private_directory,
    write_atomically,
};
use ostler_store::{DriverSource, DriverVersion, NewDriverVersion, NewEvent, Store};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Entries of a driver's history that are shown.
const HISTORY: u32 = 50;

/// The drivers of this host.
pub struct Drivers {
    host: Arc<Host>,
    store: Store,
    /// Components by digest, so that every version that served can serve again.
    components: PathBuf,
    builtin: BTreeMap<&'static str, &'static [u8]>,
    keep: usize,
    max_bytes: u64,
    /// One installation at a time: what is recorded last is what serves.
    installing: tokio::sync::Mutex<()>,
}

/// A driver name, what serves it, and for whom.
#[derive(Clone, Debug)]
pub struct DriverInfo {
    /// The name.
    pub name: String,
    /// What serves.
    pub active: Option<DriverVersion>,
    /// The clouds that use it.
    pub clouds: Vec<String>,
    /// Whether the program brings one of this name along.
    pub builtin: bool,
}

/// What an installation came to.
#[derive(Clone, Debug)]
pub struct Installed {
    /// What serves now.
    pub version: DriverVersion,
    /// Whether that is another component than before.
    pub changed: bool,
}

impl Drivers {
    /// The drivers of this host, with components kept in `components`.
    pub fn new(
        host: Arc<Host>,
        store: Store,
        components: PathBuf,
        builtin: &[(&'static str, &'static [u8])],
        keep: usize,
        max_bytes: u64,
    ) -> Result<Self, Error> {
        private_directory(&components).map_err(|e| LoadError::Io(format!("{}: {e}", components.display())))?;
        let builtin = builtin.iter().copied().collect();
        Ok(Self { host, store, components, builtin, keep, max_bytes, installing: tokio::sync::Mutex::new(()) })
    }

    /// Loads what served when the host stopped, and what the program brings along. A driver that cannot be loaded leaves its
    /// clouds without one, and says so; the others serve.
    pub async fn start(&self) -> Result<(), Error> {
        let mut names: BTreeSet<String> = self.host.clouds().iter().map(|cloud| cloud.settings().driver.clone()).collect();
        names.extend(self.builtin.keys().map(|name| (*name).to_owned()));
        names.extend(self.store.drivers_active().await?.into_iter().map(|version| version.driver));
        for name in names {
            if let Err(error) = self.start_one(&name).await {
                tracing::error!(driver = name, %error, "driver cannot be loaded");
                self.host.refuse(&name, &error.to_string());
            }
        }
        Ok(())
    }

    async fn start_one(&self, name: &str) -> Result<(), Error> {
        let active = self.store.driver_active(name).await?;
        if let Some(active) = active.as_ref().filter(|active| active.source != DriverSource::Builtin) {
            match self.component(name, &active.digest).await {
                Ok((wasm, seal)) => {
                    let prepared = self.host.prepare(name, wasm, seal, Strictness::EachForItself).await?;
                    self.host.activate(prepared).await;
                    return Ok(());
                }
                // Going back to the driver of an older program leads to that of this one.
                Err(error) if active.source == DriverSource::Rollback && self.builtin.contains_key(name) => {
                    tracing::warn!(driver = name, digest = %active.digest, %error, "not kept; the driver of this program serves");
                }
                Err(error) => return Err(error),
            }
        }
        let Some(wasm) = self.builtin.get(name) else {
            return Err(LoadError::Unknown(format!("no driver `{name}` is installed")).into());
        };
        let prepared = self.host.prepare(name, wasm.to_vec(), Seal::Builtin, Strictness::EachForItself).await?;
        if active.is_none_or(|active| active.digest != prepared.package.digest) {
            self.record(name, &prepared, DriverSource::Builtin, "ostler").await?;
        }
        self.host.activate(prepared).await;
        Ok(())
    }

    /// Makes a cloud that nobody knows yet and has its driver serve it; see [`Host::prepare_cloud`]. No other version of a driver is
    /// taken up as long as what comes with it is held: until the cloud is known to those who would give it the other version.
    pub(crate) async fn prepare_cloud(
        &self,
        settings: CloudSettings,
        check: bool,
    ) -> Result<(Arc<Cloud>, tokio::sync::MutexGuard<'_, ()>), Error> {
        let alone = self.installing.lock().await;
        let driver = settings.driver.clone();
        let Some(active) = self.store.driver_active(&driver).await? else { return Err(unknown(&driver)) };
        let (wasm, seal) = match (self.component(&driver, &active.digest).await, self.builtin.get(driver.as_str())) {
            // As at start: the driver of an older program was gone back to.
            (Err(_), Some(wasm)) if active.source == DriverSource::Rollback => (wasm.to_vec(), Seal::Builtin),
            (found, _) => found?,
        };
        Ok((self.host.prepare_cloud(settings, wasm, seal, check).await?, alone))
    }

    /// All driver names, with what serves them.
    pub async fn list(&self, who: &Principal) -> Result<Vec<DriverInfo>, Error> {
        who.require(Permission::ReadDrivers)?;
        let mut names: BTreeMap<String, Option<DriverVersion>> =
            self.store.drivers_active().await?.into_iter().map(|version| (version.driver.clone(), Some(version))).collect();
        for cloud in self.host.clouds() {
            names.entry(cloud.settings().driver.clone()).or_default();
        }
        Ok(names.into_iter().map(|(name, active)| self.info(name, active)).collect())
    }

    fn info(&self, name: String, active: Option<DriverVersion>) -> DriverInfo {
        DriverInfo { clouds: self.host.clouds_using(&name), builtin: self.builtin.contains_key(name.as_str()), name, active }
    }

    /// One driver name with its history, the latest first.
    pub async fn show(&self, who: &Principal, name: &str) -> Result<(DriverInfo, Vec<DriverVersion>), Error> {
        who.require(Permission::ReadDrivers)?;
        let active = self.store.driver_active(name).await?;
        let history = self.store.driver_history(name, HISTORY).await?;
        if active.is_none() && history.is_empty() && self.host.clouds_using(name).is_empty() {
            return Err(unknown(name));
        }
        Ok((self.info(name.to_owned(), active), history))
    }

    /// Installs a component under a driver name. Where it is refused, what served goes on serving.
    pub async fn install(
        &self,
        who: &Principal,
        name: &str,
        wasm: Vec<u8>,
        signature: Option<Vec<u8>>,
        source: DriverSource,
    ) -> Result<Installed, Error> {
        who.require(Permission::ChangeDrivers)?;
        check_name(name)?;
        let _one_at_a_time = self.installing.lock().await;
        let found = digest(&wasm);
        if let Some(active) = self.store.driver_active(name).await?
            && active.digest == found
            && self.host.clouds().iter().filter(|c| c.settings().driver == name).all(|c| c.package().is_some())
        {
            return Ok(Installed { version: active, changed: false });
        }
        let seal = Seal::Signature(signature.clone());
        let prepared = self.host.prepare(name, wasm.clone(), seal, Strictness::AllOrNothing).await?;
        self.keep(&found, wasm, signature).await?;
        let version = self.record(name, &prepared, source, &who.user).await?;
        self.host.activate(prepared).await;
        self.prune(name).await;
        Ok(Installed { version, changed: true })
    }

    /// Goes back to the component that served before the present one, or to the one of this digest.
    pub async fn roll_back(&self, who: &Principal, name: &str, to: Option<&str>) -> Result<Installed, Error> {
        who.require(Permission::ChangeDrivers)?;
        let _one_at_a_time = self.installing.lock().await;
        let Some(active) = self.store.driver_active(name).await? else { return Err(unknown(name)) };
        let history = self.store.driver_history(name, HISTORY).await?;
        let target = match to {
            Some(to) => history.iter().find(|version| version.digest == to),
            None => before(&history, &active),
        };
        let Some(target) = target else {
            let what = to.map_or_else(|| "an earlier version".to_owned(), |to| format!("a version {to}"));
            return Err(LoadError::Unknown(format!(
                "driver `{name}` has no {}",
                what.trim_start_matches("an ").trim_start_matches("a ")
            ))
            .into());
        };
        let (wasm, seal) = self.component(name, &target.digest).await?;
        let prepared = self.host.prepare(name, wasm, seal, Strictness::AllOrNothing).await?;
        let version = self.record(name, &prepared, DriverSource::Rollback, &who.user).await?;
        self.host.activate(prepared).await;
        Ok(Installed { changed: version.digest != active.digest, version })
    }

    /// Removes a driver that no cloud uses, or goes back to the one that the program brings along.
    pub async fn remove(&self, who: &Principal, name: &str) -> Result<(), Error> {
        who.require(Permission::ChangeDrivers)?;
        let _one_at_a_time = self.installing.lock().await;
        let Some(active) = self.store.driver_active(name).await? else { return Err(unknown(name)) };
        if let Some(wasm) = self.builtin.get(name) {
            if active.source == DriverSource::Builtin {
                return Err(LoadError::InUse(format!("driver `{name}` is part of the program")).into());
            }
            let prepared = self.host.prepare(name, wasm.to_vec(), Seal::Builtin, Strictness::AllOrNothing).await?;
            self.record(name, &prepared, DriverSource::Builtin, &who.user).await?;
            self.host.activate(prepared).await;
            return Ok(());
        }
        let users = self.host.clouds_using(name);
        if !users.is_empty() {
            return Err(LoadError::InUse(format!("driver `{name}` is used by: {}", users.join(", "))).into());
        }
        self.store.driver_forget(name).await?;
        self.store.event_append(&event("driver.remove", name, &who.user, &active.digest)).await?;
        Ok(())
    }

    async fn record(&self, name: &str, prepared: &Prepared, source: DriverSource, by: &str) -> Result<DriverVersion, Error> {
        let new = NewDriverVersion {
            driver: name.to_owned(),
            digest: prepared.package.digest.clone(),
            source,
            description: json!({
                "description": &*prepared.description,
                "contract": prepared.package.contract,
                "imports": prepared.package.imports,
                "size": prepared.package.size,
                "signed": prepared.package.signed,
            }),
            installed_by: by.to_owned(),
        };
        let event = event("driver.install", name, by, &prepared.package.digest);
        Ok(self.store.driver_record(&new, Some(&event)).await?)
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.components.join(format!("{}.wasm", digest.trim_start_matches("sha256:")))
    }

    async fn keep(&self, digest: &str, wasm: Vec<u8>, signature: Option<Vec<u8>>) -> Result<(), Error> {
        let path = self.path(digest);
        let work = move || {
            write_atomically(&path, &wasm)?;
            match signature {
                Some(signature) => write_atomically(&path.with_extension("sig"), &signature),
                None => Ok(()),
            }
        };
        blocking(work).await
    }

    /// A component that was kept, still what it was.
    async fn kept(&self, wanted: &str) -> Result<(Vec<u8>, Seal), Error> {
        let path = self.path(wanted);
        let (wasm, signature) =
            blocking(move || Ok((std::fs::read(&path)?, std::fs::read(path.with_extension("sig")).ok()))).await?;
        if digest(&wasm) != wanted {
            return Err(LoadError::Io(format!("the kept component {wanted} was changed on disk")).into());
        }
        Ok((wasm, Seal::Signature(signature)))
    }

    async fn component(&self, name: &str, wanted: &str) -> Result<(Vec<u8>, Seal), Error> {
        match self.builtin.get(name) {
            Some(wasm) if digest(wasm) == wanted => Ok((wasm.to_vec(), Seal::Builtin)),
            _ => self.kept(wanted).await,
        }
    }

    /// Deletes components that are too far back in the history of every driver. A file too many does no harm.
    async fn prune(&self, name: &str) {
        let Ok(history) = self.store.driver_history(name, HISTORY).await else { return };
        let Ok(active) = self.store.drivers_active().await else { return };
        let mut seen: Vec<&str> = Vec::new();
        for version in &history {
            if !seen.contains(&version.digest.as_str()) {
                seen.push(&version.digest);
            }
        }
        for old in seen.into_iter().skip(self.keep.saturating_add(1)) {
            if active.iter().all(|version| version.digest != old) {
                let path = self.path(old);
                let _ = blocking(move || {
                    let _ = std::fs::remove_file(path.with_extension("sig"));
                    std::fs::remove_file(path)
                })
                .await;
            }
        }
    }

    /// Takes up what lies in the directory and differs from what was last taken from it: a rollback is not undone by a restart.
    /// Runs until its task is dropped.
    pub async fn watch(self: Arc<Self>, mut watch: Watch) {
        let who = Principal::new("directory", vec![Role::Admin], Scheme::Operator);
        loop {
            for changed in watch.scan() {
                match self.take(&who, &changed).await {
                    Ok(true) => {
                        tracing::info!(driver = %changed.driver, path = %changed.path.display(), "driver taken from the directory");
                    }
                    Ok(false) => {}
                    Err(error) => {
                        tracing::error!(driver = %changed.driver, path = %changed.path.display(), %error, "driver refused, the running version stays");
                    }
                }
            }
            watch.wait().await;
        }
    }

    async fn take(&self, who: &Principal, changed: &Changed) -> Result<bool, Error> {
        check_name(&changed.driver)?;
        let (path, signature, limit) = (changed.path.clone(), changed.signature.clone(), self.max_bytes);
        let (wasm, signature) = blocking(move || {
            let size = std::fs::metadata(&path)?.len();
            if size > limit {
                return Err(std::io::Error::other(format!("{size} bytes, more than the limit of {limit}")));
            }
            Ok((std::fs::read(&path)?, signature.map(|path| read_signature(&path)).transpose()?))
        })
        .await?;
        let found = digest(&wasm);
        if self.store.directory_seen(&changed.driver).await?.as_deref() == Some(found.as_str()) {
            return Ok(false);
        }
        let installed = self.install(who, &changed.driver, wasm, signature, DriverSource::Directory).await?;
        self.store.set_directory_seen(&changed.driver, &found).await?;
        Ok(installed.changed)
    }
}

/// A detached signature: 64 bytes, or their base64.
fn read_signature(path: &Path) -> std::io::Result<Vec<u8>> {
    parse_signature(&std::fs::read(path)?).ok_or_else(|| std::io::Error::other("a signature is 64 bytes, or their base64"))
}

/// 64 bytes, or their base64.
pub fn parse_signature(bytes: &[u8]) -> Option<Vec<u8>> {
    use base64::Engine;
    if bytes.len() == 64 {
        return Some(bytes.to_vec());
    }
    let text = std::str::from_utf8(bytes).ok()?.trim();
    base64::engine::general_purpose::STANDARD.decode(text).ok().filter(|bytes| bytes.len() == 64)
}

/// The version that served before the active one.
fn before<'a>(history: &'a [DriverVersion], active: &DriverVersion) -> Option<&'a DriverVersion> {
    // Going back twice leads back twice: versions that were themselves reached by going back are stepped over to where they were.
    let mut position = active;
    while position.source == DriverSource::Rollback {
        let digest = &position.digest;
        position =
            history.iter().filter(|v| v.id < position.id).find(|v| v.digest == *digest && v.source != DriverSource::Rollback)?;
    }
    history.iter().filter(|v| v.id < position.id).find(|v| v.digest != active.digest)
}

fn check_name(name: &str) -> Result<(), Error> {
    let fits = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'))
        && !name.starts_with('.');
    if fits {
        return Ok(());
    }
    Err(Error::Invalid("a driver's name has 1 to 64 of a-z 0-9 - _ . and does not start with a dot".into()))
}

fn unknown(name: &str) -> Error {
    LoadError::Unknown(format!("no driver is called `{name}`")).into()
}

fn event(kind: &str, driver: &str, actor: &str, digest: &str) -> NewEvent {
    NewEvent {
        kind: kind.to_owned(),
        subject: driver.to_owned(),
        cloud: None,
        actor: actor.to_owned(),
        data: json!({ "digest": digest }),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(LoadError::Io(error.to_string()).into()),
        Err(_) => Err(Error::Stopping),
    }
}
