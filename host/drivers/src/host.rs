//! All clouds and their drivers: loading a component for every cloud that uses it, and letting it take over.

use crate::capabilities::state::{StateBackend, States};
use crate::cloud::{Cloud, Generation, Status};
use crate::component::{self, LoadPolicy, Package, Seal};
use crate::engine::Runtime;
use crate::error::{Error, ErrorKind, LoadError};
use crate::guest::{CloudContext, Guest};
use crate::model::Description;
use crate::settings::CloudSettings;
use arc_swap::ArcSwap;
use ostler_egress::{AddressPolicy, Allow, Client, ClientConfig, Identity};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use wasmtime::component::Linker;

/// The setting that says which host this is, to drivers that ask for it. It is not among all that are listed.
pub const INSTANCE: &str = "instance";

/// The plugin host.
pub struct Host {
    runtime: Arc<Runtime>,
    linker: Linker<Guest>,
    policy: LoadPolicy,
    states: States,
    clouds: ArcSwap<BTreeMap<String, Arc<Cloud>>>,
    /// One change of versions at a time.
    swapping: tokio::sync::Mutex<()>,
    /// Who this host is, and where its images are.
    own: OnceLock<(String, PathBuf)>,
}

/// How to treat clouds for which a component does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// One refusing cloud refuses the component: what runs goes on running.
    AllOrNothing,
    /// At start nothing runs yet: the clouds for which it works get it, the others say why not.
    EachForItself,
}

/// A version that works for a cloud, and what was found out about it there.
type Probed = (Arc<Generation>, Status);

/// A component that has been verified, compiled and probed for every cloud that uses it.
#[derive(Debug)]
pub struct Prepared {
    /// The component.
    pub package: Arc<Package>,
    /// What it says of itself.
    pub description: Arc<Description>,
    clouds: Vec<(Arc<Cloud>, Result<Probed, LoadError>)>,
}

impl std::fmt::Debug for Cloud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cloud").field("name", &self.name()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generation").field("digest", &self.package.digest).finish_non_exhaustive()
    }
}

impl Host {
    /// A host without clouds.
    pub fn new(runtime: Runtime, policy: LoadPolicy, state: Arc<dyn StateBackend>) -> Result<Self, LoadError> {
        let linker = component::linker(&runtime)?;
        Ok(Self {
            runtime: Arc::new(runtime),
            linker,
            policy,
            states: States::new(state),
            clouds: ArcSwap::default(),
            swapping: tokio::sync::Mutex::new(()),
            own: OnceLock::new(),
        })
    }

    /// Says who this host is, once: drivers of clouds that are made from then on get it when they ask for the setting [`INSTANCE`], so
    /// that one whose provider is another host can tell that it is not this one. And where images lie that the host has fetched.
    pub fn be(&self, instance: &str, images: &Path) {
        let _ = self.own.set((instance.to_owned(), images.to_owned()));
    }

    /// Adds a cloud, or replaces the one of that name. It serves once its driver has been activated.
    pub fn add_cloud(&self, settings: CloudSettings) -> Result<Arc<Cloud>, LoadError> {
        let cloud = Arc::new(self.make_cloud(settings)?);
        self.clouds.rcu(|clouds| {
            let mut clouds = BTreeMap::clone(clouds);
            clouds.insert(cloud.name().to_owned(), Arc::clone(&cloud));
            clouds
        });
        Ok(cloud)
    }

    /// Makes a cloud and has its driver work for it, but does not add it yet: [`Self::publish`] does. With `check`, its provider is
    /// asked; what it says is in the cloud's [`Cloud::status`]. That the provider is down is no reason to refuse the cloud here.
    ///
    /// # Errors
    /// The component is refused, in itself or for what this cloud is granted and configured with.
    pub async fn prepare_cloud(
        self: &Arc<Self>,
        settings: CloudSettings,
        wasm: Vec<u8>,
        seal: Seal,
        check: bool,
    ) -> Result<Arc<Cloud>, LoadError> {
        let package = self.load(&settings.driver, wasm, seal).await?;
        let cloud = Arc::new(self.make_cloud(settings)?);
        let (generation, status) = probe(&cloud, package, check).await?;
        cloud.serve(Some(generation), status);
        Ok(cloud)
    }

    /// Adds a cloud that is ready, or that was removed. Whether its name was free.
    pub fn publish(&self, cloud: &Arc<Cloud>) -> bool {
        let mut free = true;
        self.clouds.rcu(|clouds| {
            let mut clouds = BTreeMap::clone(clouds);
            free = !clouds.contains_key(cloud.name());
            if free {
                clouds.insert(cloud.name().to_owned(), Arc::clone(cloud));
            }
            clouds
        });
        free
    }

    /// Removes a cloud: nobody finds it any more. Whoever has it goes on with it to the end of what is under way. Its driver's
    /// durable state stays, for another cloud of this name; [`Cloud::forget_state`] deletes it.
    pub fn remove_cloud(&self, name: &str) -> Option<Arc<Cloud>> {
        let mut removed = None;
        self.clouds.rcu(|clouds| {
            let mut clouds = BTreeMap::clone(clouds);
            removed = clouds.remove(name);
            clouds
        });
        if let Some(cloud) = &removed {
            cloud.retire();
        }
        removed
    }

    fn make_cloud(&self, mut settings: CloudSettings) -> Result<Cloud, LoadError> {
        if let Some((instance, images)) = self.own.get() {
            settings.instance.get_or_insert_with(|| instance.clone());
            settings.images.get_or_insert_with(|| images.clone());
        }
        let http = if settings.grants.http.is_empty() { None } else { Some(http_client(&settings)?) };
        let state = self.states.of(&settings.name, settings.limits.state);
        let context = Arc::new(CloudContext::new(settings, state, http));
        Ok(Cloud::new(Arc::clone(&self.runtime), context))
    }

    /// The cloud of this name.
    pub fn cloud(&self, name: &str) -> Result<Arc<Cloud>, Error> {
        let clouds = self.clouds.load();
        clouds.get(name).cloned().ok_or_else(|| Error::new(ErrorKind::UnknownCloud, format!("no cloud is called `{name}`")))
    }

    /// All clouds, by name.
    pub fn clouds(&self) -> Vec<Arc<Cloud>> {
        self.clouds.load().values().cloned().collect()
    }

    fn users_of(&self, driver: &str) -> Vec<Arc<Cloud>> {
        self.clouds.load().values().filter(|cloud| cloud.settings().driver == driver).cloned().collect()
    }

    /// Verifies, compiles and probes a component for all clouds that use the driver of this name. Nothing changes yet.
    pub async fn prepare(
        self: &Arc<Self>,
        driver: &str,
        wasm: Vec<u8>,
        seal: Seal,
        strictness: Strictness,
    ) -> Result<Prepared, LoadError> {
        let package = self.load(driver, wasm, seal).await?;
        let clouds = self.users_of(driver);
        let mut description = None;
        let mut prepared = Vec::with_capacity(clouds.len());
        let probes = clouds.into_iter().map(|cloud| {
            let package = Arc::clone(&package);
            async move {
                let result = probe(&cloud, package, true).await;
                (cloud, result)
            }
        });
        for (cloud, result) in futures::future::join_all(probes).await {
            match &result {
                Ok((_, status)) => description = description.or_else(|| status.description.clone()),
                Err(error) if strictness == Strictness::AllOrNothing => return Err(error.clone()),
                Err(_) => {}
            }
            prepared.push((cloud, result));
        }
        // Nobody uses it yet, or it works for nobody: what it says of itself is asked in a cloud made for the purpose.
        let description = match description {
            Some(description) => description,
            None => self.describe_alone(&package).await?,
        };
        Ok(Prepared { package, description, clouds: prepared })
    }

    async fn load(self: &Arc<Self>, driver: &str, wasm: Vec<u8>, seal: Seal) -> Result<Arc<Package>, LoadError> {
        let (host, name) = (Arc::clone(self), driver.to_owned());
        let load = move || component::load(&host.runtime, &host.linker, &host.policy, &name, &wasm, &seal);
        let package = tokio::task::spawn_blocking(load).await.map_err(|e| LoadError::Compile(e.to_string()))??;
        Ok(Arc::new(package))
    }

    async fn describe_alone(&self, package: &Arc<Package>) -> Result<Arc<Description>, LoadError> {
        let mut settings = CloudSettings::new("*", &package.driver);
        settings.limits.concurrency = 1;
        let cloud = Arc::new(self.make_cloud(settings)?);
        let generation = Generation::new(Arc::clone(package));
        let refuse = |e: Error| LoadError::Probe { cloud: "*".into(), call: "describe", reason: e.to_string() };
        cloud.describe_on(&generation).await.map(Arc::new).map_err(refuse)
    }

    /// Lets a prepared component serve from now on. Calls under way finish on the version before.
    pub async fn activate(&self, prepared: Prepared) {
        let _one_at_a_time = self.swapping.lock().await;
        let digest = &prepared.package.digest;
        for (cloud, result) in prepared.clouds {
            match result {
                Ok((generation, status)) => {
                    tracing::info!(cloud = cloud.name(), driver = %prepared.package.driver, %digest, "driver serves");
                    cloud.serve(Some(generation), status);
                }
                Err(error) => {
                    tracing::error!(cloud = cloud.name(), driver = %prepared.package.driver, %digest, %error, "driver refused");
                    cloud.serve(None, Status { refused: Some(error.to_string()), ..Status::default() });
                }
            }
        }
        metrics::counter!("ostler_driver_activations_total", "driver" => prepared.package.driver.clone()).increment(1);
    }

    /// Says why a driver's clouds have nothing that serves them, where nothing does.
    pub fn refuse(&self, driver: &str, reason: &str) {
        for cloud in self.users_of(driver) {
            if cloud.package().is_none() {
                cloud.serve(None, Status { refused: Some(reason.to_owned()), ..Status::default() });
            }
        }
    }

    /// Whether clouds use the driver of this name; their names.
    pub fn clouds_using(&self, driver: &str) -> Vec<String> {
        self.users_of(driver).iter().map(|cloud| cloud.name().to_owned()).collect()
    }

    /// Drops idle instances now and then, until the task that runs it is dropped.
    pub async fn tidy(self: Arc<Self>) {
        let mut interval = tokio::time::interval(Duration::from_secs(10));
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let now = Instant::now();
            for cloud in self.clouds() {
                cloud.tidy(now);
            }
        }
    }
}

/// Whether this component works for this cloud: granted what it imports, and well when asked. Without `check` its provider is
/// not asked.
async fn probe(cloud: &Arc<Cloud>, package: Arc<Package>, check: bool) -> Result<Probed, LoadError> {
    component::check_imports(&package, cloud.settings())?;
    let generation = Generation::new(package);
    let refuse =
        |call: &'static str, error: &Error| LoadError::Probe { cloud: cloud.name().to_owned(), call, reason: error.to_string() };
    // The version that serves now may have worn out the breaker; its successor is not to blame.
    let description = cloud.describe_on(&generation).await.map_err(|e| refuse("describe", &e))?;
    let health = if check { Some(cloud.check_on(&generation).await) } else { None };
    match &health {
        // A provider that is down, or does not answer, is no reason to refuse a driver; a driver that breaks or cannot use its
        // settings is.
        Some(Err(error)) if (error.kind.is_fault() && !error.waited) || error.kind == ErrorKind::Invalid => {
            return Err(refuse("check", error));
        }
        Some(Err(error)) => tracing::warn!(cloud = cloud.name(), %error, "the provider does not answer as it should"),
        Some(Ok(_)) | None => {}
    }
    let description = Arc::new(description);
    generation.describe(Arc::clone(&description));
    Ok((generation, Status { description: Some(description), health, refused: None }))
}

fn http_client(settings: &CloudSettings) -> Result<Client, LoadError> {
    let config = ClientConfig {
        allow: Allow::Origins(settings.grants.http.clone()),
        addresses: AddressPolicy::PROVIDER,
        ca_pem: settings.tls.ca_pem.clone(),
        // Whoever names an authority means that one, not any that the system trusts.
        ca_only: settings.tls.ca_pem.is_some(),
        max_response_bytes: Some(settings.limits.answer as u64),
        identity: settings.tls.identity.clone().map(|(certificates, key)| Identity { cert_pem: certificates, key_pem: key }),
        max_connections: settings.limits.concurrency * 2,
        ..ClientConfig::default()
    };
    Client::new(&settings.name, &config)
        .map_err(|error| LoadError::Settings { cloud: settings.name.clone(), reason: error.to_string() })
}
