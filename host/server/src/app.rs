//! From a configuration to a running core.

use crate::config::{self, Added, Config};
use crate::grant_key;
use crate::tls::{CertificateFiles, OwnCertificate};
use ostler_core::authority::Authority;
use ostler_core::billing::{Billing, Tariff};
use ostler_core::clouds::{CloudFiles, Clouds};
use ostler_core::compute::{Cistern, Compute};
use ostler_core::deployments::{AddedTerms, Deployments, Terms};
use ostler_core::drivers::Drivers;
use ostler_core::forwarding::Forwarding;
use ostler_core::identity::{ClientCredentials, Identity, IssuerConfig, Trusted};
use ostler_core::images::Images;
use ostler_core::instances::Instances;
use ostler_core::measuring::Measuring;
use ostler_core::recovery::Recovery;
use ostler_core::scheduler::Scheduler;
use ostler_core::schedules::Schedules;
use ostler_core::services::{Machine, Registration, ServiceType, Services, Settings};
use ostler_core::sweeper::{Orphans, Sweeper};
use ostler_core::{Core, StoreState};
use ostler_drivers::{CloudSettings, Grants, Host, Limits, LoadPolicy, Runtime, Tls, VerifyingKey, private_directory};
use ostler_egress::{AddressPolicy, Allow, Client, ClientConfig, Identity as ClientIdentity, Origin, Timeouts};
use ostler_images::Fetcher;
use ostler_registries::{Holder, Registries};
use ostler_store::{Options, Store};
use std::collections::{BTreeMap, BTreeSet};
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
    /// The directory of images.
    #[error(transparent)]
    Images(#[from] ostler_images::Error),
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
    /// Our own certificate.
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
    /// What the configuration says cannot be used.
    #[error("{0}")]
    Config(String),
}

/// Opens the store, starts the plugin host and loads the drivers.
pub async fn start(config: &Config, added: &Added, data: &Path) -> Result<Core, StartError> {
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
    let authority = Arc::new(Authority::open(&authority_directory(data), store.clone()).await?);
    host.be(&authority.instance(), &data.join("images"));
    for (name, cloud) in &config.clouds {
        host.add_cloud(settings(name, cloud)?)?;
    }
    let (mut names, added_terms) = (BTreeSet::new(), Arc::new(AddedTerms::default()));
    for (name, cloud) in &added.clouds {
        // One of them that cannot be used is no reason to serve nobody.
        match settings(name, cloud).and_then(|settings| Ok(host.add_cloud(settings)?)) {
            Ok(_) => {
                added_terms.set(name, terms_of(cloud));
                names.insert(name.clone());
            }
            Err(error) => tracing::error!(cloud = name, %error, "an added cloud cannot be used"),
        }
    }
    let keep = usize::try_from(config.drivers.keep_versions).unwrap_or(usize::MAX);
    let drivers = Drivers::new(Arc::clone(&host), store.clone(), data.join("components"), BUILTIN, keep, max_bytes)?;
    drivers.start().await?;
    let mut identity = Identity::new(store.clone()).trusting(issuers(&config.oidc)?)?;
    if config.oidc.iter().any(|issuer| issuer.exchange.is_some()) {
        identity = identity.keeping_grants(&grant_key::open_or_create(data)?)?;
    }
    let identity = Arc::new(match &config.mail {
        Some(mail) => identity.mailing(Arc::new(crate::mail::Post::new(mail)?)),
        None => identity,
    });
    let scheduler = Arc::new(Scheduler::new(store.clone()));
    let compute = Compute::new(Arc::clone(&host), Arc::clone(&scheduler), cistern(config)?);
    let billing = Arc::new(Billing::new(store.clone(), tariff(&config.billing)));
    // Managers are called with our own certificate, whatever the listener shows.
    let own = OwnCertificate::new(&config.server, data);
    own.ensure(&authority).await?;
    let services = Services::new(
        Arc::clone(&compute),
        Arc::clone(&identity),
        Arc::clone(&authority),
        Arc::clone(&billing),
        Arc::clone(&scheduler),
        service_settings(config)?,
    );
    let services = services.with_managers(managers(own.files(), authority.certificate_pem().to_owned())).share();
    let issuer = services.settings().director.to_string();
    let mut placing = ostler_core::deployments::Settings::new(issuer.trim_end_matches('/'));
    placing.clouds = Some(terms(&config.clouds));
    placing.charged = config.billing.deployments;
    placing.added = Arc::clone(&added_terms);
    placing.strict = config.api.indigo.strict;
    placing.registries = registries(&config.api.indigo.registries)?;
    // Machines know the authorities of the world, and not ours.
    placing.authority = config.server.tls_certificate.is_none().then(|| authority.certificate_pem().to_owned());
    let deployments = Deployments::new(Arc::clone(&compute), Arc::clone(&billing), Arc::clone(&scheduler), placing);
    let deployments = Arc::new(deployments);
    let schedules = Arc::new(Schedules::new(Arc::clone(&deployments), store.clone()).on_behalf_by(Arc::clone(&identity)));
    let fetcher = Fetcher::new(ostler_images::Settings {
        max_bytes: config.images.max_gb << 30,
        max_disk_bytes: config.images.max_disk_gb << 30,
        timeout: Duration::from_secs(config.images.timeout_minutes * 60),
        inside: config.images.inside.clone(),
        ..ostler_images::Settings::new(data.join("images"))
    })?;
    let images = Images::new(Arc::clone(&compute), Some(Arc::new(fetcher)));
    let instances = Instances::new(Arc::clone(&compute), Arc::clone(&images));
    let forwarding = Forwarding::new(&instances, config.forwarding.clone());
    let measuring = Measuring::new(Arc::clone(&instances), config.metrics.clone());
    let recovery = Arc::new(Recovery::new(Arc::clone(&scheduler)));
    let drivers = Arc::new(drivers);
    let clouds =
        Clouds::new(Arc::clone(&host), Arc::clone(&compute), Arc::clone(&drivers), added_terms, CloudFiles::of(data), names);
    let work = &config.work;
    let sweeper = (work.sweep_seconds > 0).then(|| {
        let every = Duration::from_secs(work.sweep_seconds);
        Arc::new(Sweeper::new(Arc::clone(&compute), if work.remove_orphans { Orphans::Remove } else { Orphans::Report }, every))
    });
    Ok(Core {
        identity,
        compute,
        authority,
        billing,
        services,
        deployments,
        schedules,
        images,
        instances,
        forwarding,
        measuring,
        scheduler,
        recovery,
        sweeper,
        clouds,
        drivers,
        host,
        store,
    })
}

/// Who is asked where to deploy.
fn registries(config: &config::Registries) -> Result<Option<Arc<Registries>>, StartError> {
    if config.slam.is_none() {
        return Ok(None);
    }
    let config = ostler_registries::Config {
        slam: config.slam.clone(),
        cmdb: config.cmdb.clone(),
        cpr: config.cpr.clone(),
        monitoring: config.monitoring.clone(),
        holder: if config.by_service { Holder::Service } else { Holder::Tenant },
        ..ostler_registries::Config::default()
    };
    let registries = Registries::new(&config).map_err(|error| StartError::Config(format!("api.indigo.registries: {error}")))?;
    Ok(Some(Arc::new(registries)))
}

/// On which clouds deployments are placed, and how willingly.
fn terms(clouds: &BTreeMap<String, config::Cloud>) -> BTreeMap<String, Terms> {
    clouds.iter().filter_map(|(name, cloud)| Some((name.clone(), terms_of(cloud)?))).collect()
}

/// How willingly deployments are placed on a cloud; none: not at all.
pub fn terms_of(cloud: &config::Cloud) -> Option<Terms> {
    let placing = &cloud.deployments;
    let terms = Terms { priority: placing.priority, agreements: placing.agreements.clone(), service: placing.service.clone() };
    placing.enabled.then_some(terms)
}

/// The issuers of tokens, and what their word is worth.
fn issuers(issuers: &[config::Oidc]) -> Result<Vec<Trusted>, StartError> {
    let trusted = |one: &config::Oidc| {
        let mut config = IssuerConfig::new(one.issuer.clone(), one.audience.clone());
        config.algorithms.clone_from(&one.algorithms);
        config.endpoints.clone_from(&one.endpoints);
        config.credentials = one
            .client_id
            .clone()
            .zip(one.client_secret.as_ref())
            .map(|(id, secret)| ClientCredentials { id, secret: secret.value.clone() });
        config.introspection = one.introspection;
        config.exchange.clone_from(&one.exchange);
        config.userinfo = one.userinfo;
        config.groups_claims.clone_from(&one.groups_claims);
        config.organisation_claim.clone_from(&one.organisation_claim);
        config.organisation.clone_from(&one.organisation);
        config.leeway = u32::try_from(one.leeway_seconds).unwrap_or(u32::MAX);
        if let Some(path) = &one.ca {
            let read = std::fs::read(path).map_err(|source| StartError::File { path: path.clone(), source })?;
            (config.client.ca_pem, config.client.ca_only) = (Some(read), true);
        }
        Ok(Trusted { config, roles: one.roles.clone(), supervisors: one.supervisors.clone() })
    };
    issuers.iter().map(trusted).collect()
}

/// How managers are called: each has to show the certificate that it got from us, and we show ours.
fn managers(
    own: CertificateFiles,
    authority: String,
) -> impl Fn(&Origin, i64, i64) -> Result<Client, String> + Send + Sync + 'static {
    move |origin, user, locator| {
        // Read with each call, since it is replaced now and then.
        let read = |path: &Path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
        let is_meant = move |leaf: &[u8]| {
            ostler_core::identity::certificate_claims(leaf)
                == Some((ostler_core::identity::CertificateRole::Manager, user, locator))
        };
        let config = ClientConfig {
            allow: Allow::Origins(vec![origin.clone()]),
            // Managers are where clouds put them, and nowhere else than at the address of their node.
            addresses: AddressPolicy { loopback: true, private: true, link_local: false },
            ca_pem: Some(authority.clone().into_bytes()),
            ca_only: true,
            peer: Some(Arc::new(is_meant)),
            identity: Some(ClientIdentity { cert_pem: read(&own.certificate)?, key_pem: read(&own.key)? }),
            timeouts: Timeouts { connect: Duration::from_secs(5), first_byte: Duration::from_secs(30), ..Timeouts::default() },
            max_response_bytes: Some(1 << 20),
            ..ClientConfig::default()
        };
        Client::new("managers", &config).map_err(|error| error.to_string())
    }
}

/// Where the certificate authority is.
pub fn authority_directory(data: &Path) -> PathBuf {
    data.join("ca")
}

fn tariff(billing: &config::Billing) -> Tariff {
    let credits = |price: u64| i64::try_from(price).unwrap_or(i64::MAX);
    let sizes = |sizes: &BTreeMap<String, u64>| sizes.iter().map(|(size, price)| (size.clone(), credits(*price))).collect();
    Tariff {
        price: credits(billing.price),
        prices: billing.prices.iter().map(|(cloud, prices)| (cloud.clone(), sizes(prices))).collect(),
        period: Duration::from_secs(billing.period_seconds),
    }
}

fn service_settings(config: &Config) -> Result<Settings, StartError> {
    let director = match (&config.server.public_url, config.server.listen_tls) {
        (Some(url), _) => url.clone(),
        // Good for managers on this machine; the configuration's reference says what others need.
        (None, Some(address)) => {
            let host = if address.ip().is_unspecified() { "localhost".to_owned() } else { address.ip().to_string() };
            let host = if address.is_ipv6() && !address.ip().is_unspecified() { format!("[{host}]") } else { host };
            let text = format!("https://{host}:{}", address.port());
            text.parse().map_err(|_| StartError::Config(format!("server.listen_tls: {text} is no address")))?
        }
        (None, None) => "https://localhost:5555".parse().map_err(|_| StartError::Config("server.public_url".into()))?,
    };
    let machine = |(image, size): (&String, &String)| Machine { image: image.clone(), size: size.clone() };
    let kind = |kind: &config::ServiceType| ServiceType {
        machine: machine((&kind.image, &kind.size)),
        clouds: kind.clouds.iter().map(|(cloud, (image, size))| (cloud.clone(), machine((image, size)))).collect(),
        script: kind.script.clone(),
    };
    let (services, conpaas) = (&config.services, &config.api.conpaas);
    Ok(Settings {
        catalogue: services.types.iter().map(|(name, settings)| (name.clone(), kind(settings))).collect(),
        cloud: conpaas.dialect.cloud.clone().unwrap_or_else(|| "default".to_owned()),
        director,
        start_timeout: Duration::from_secs(services.start_timeout_seconds),
        registration: if conpaas.open_registration { Registration::Open } else { Registration::Closed },
        max_initial_credit: i64::try_from(conpaas.max_initial_credit).unwrap_or(i64::MAX),
        metering: services.metering,
        archive: services.archive.clone(),
        manager_port: services.manager_port,
        prefix: services.name_prefix.clone(),
    })
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

/// A cloud as the plugin host takes it. Reads the files of its certificates.
///
/// # Errors
/// A file that cannot be read.
pub fn settings(name: &str, cloud: &config::Cloud) -> Result<CloudSettings, StartError> {
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
            config::Instances::Warm => ostler_drivers::Instances::Warm,
            config::Instances::Fresh => ostler_drivers::Instances::Fresh,
        },
        tls: Tls { ca_pem: cloud.tls.ca.as_ref().map(read).transpose()?, identity },
        hypervisor: cloud.hypervisor.clone(),
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
