//! The registries and what can be asked of them.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use secrecy::SecretString;
use serde_json::Value;

use crate::cmdb::{Flavor, Image, Provider, Service, Tenant};
use crate::config::{Config, Holder, Status};
use crate::cpr::{Rank, RankRequest};
use crate::error::{ConfigError, Error, Problem, Registry};
use crate::monitoring::Machine;
use crate::read::{Listed, document};
use crate::remote::{Remote, segment, segments};
use crate::shelf::Shelf;
use crate::slam::Agreements;
use crate::{cmdb, cpr, monitoring, slam};

/// Clients of the configured registries. Share it by an [`Arc`].
pub struct Registries {
    slam: Option<Remote>,
    cmdb: Option<Remote>,
    cpr: Option<Remote>,
    monitoring: Option<Remote>,
    holder: Holder,
    max_items: usize,
    providers: Shelf<Provider>,
    services: Shelf<Listed<Service>>,
    tenants: Shelf<Listed<Tenant>>,
    images: Shelf<Listed<Image>>,
    flavors: Shelf<Listed<Flavor>>,
}

impl fmt::Debug for Registries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registries").field(&self.status()).finish()
    }
}

impl Registries {
    /// Clients of the registries that `config` names. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ConfigError`]; among them, that there is no Tokio runtime.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        config.check()?;
        let (ttl, bytes) = (config.cache_ttl, config.cache_bytes);
        Ok(Self {
            slam: Remote::new(Registry::Slam, config)?,
            cmdb: Remote::new(Registry::Cmdb, config)?,
            cpr: Remote::new(Registry::Cpr, config)?,
            monitoring: Remote::new(Registry::Monitoring, config)?,
            holder: config.holder,
            max_items: config.max_items,
            providers: Shelf::new(ttl, bytes),
            services: Shelf::new(ttl, bytes),
            tenants: Shelf::new(ttl, bytes),
            images: Shelf::new(ttl, bytes),
            flavors: Shelf::new(ttl, bytes),
        })
    }

    /// Which registries are configured, for `GET /configuration`.
    #[must_use]
    pub fn status(&self) -> Status {
        let url = |remote: &Option<Remote>| remote.as_ref().map(|remote| remote.url().to_owned());
        Status {
            cpr_url: url(&self.cpr),
            slam_url: url(&self.slam),
            cmdb_url: url(&self.cmdb),
            monitoring_url: url(&self.monitoring),
        }
    }

    /// Whether a registry is configured.
    #[must_use]
    pub fn has(&self, registry: Registry) -> bool {
        self.remote(registry).is_ok()
    }

    /// To what the CMDB attaches images and flavors.
    #[must_use]
    pub fn holder(&self) -> Holder {
        self.holder
    }

    /// The agreements of a customer: the user's group, or else the organisation. `token` is the user's access token; without
    /// one the request carries none, as the original does when it knows no users. Never kept.
    ///
    /// # Errors
    /// [`Error`]; with [`Error::wants_new_token`] if the token is not accepted.
    pub async fn agreements(&self, customer: &str, token: Option<&SecretString>) -> Result<Agreements, Error> {
        let slam = self.remote(Registry::Slam)?;
        let customer = segments(customer).map_err(|problem| slam.error(problem))?;
        let body = slam.get(&format!("/preferences/{customer}"), token).await?;
        self.read(slam, &body, slam::read)
    }

    /// A provider by its identifier.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn provider(&self, id: &str) -> Result<Arc<Provider>, Error> {
        self.kept(&self.providers, "/provider/id/", id, "", cmdb::provider).await
    }

    /// The services of a provider.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn services(&self, provider: &str) -> Result<Arc<Listed<Service>>, Error> {
        self.kept(&self.services, "/provider/id/", provider, "/has_many/services", cmdb::services).await
    }

    /// The tenants of a service.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn tenants(&self, service: &str) -> Result<Arc<Listed<Tenant>>, Error> {
        self.kept(&self.tenants, "/service/id/", service, "/has_many/tenants", cmdb::tenants).await
    }

    /// The images of a tenant, or of a service if the CMDB keeps them there ([`Config::holder`]).
    ///
    /// # Errors
    /// [`Error`].
    pub async fn images(&self, holder: &str) -> Result<Arc<Listed<Image>>, Error> {
        self.kept(&self.images, self.holder_path(), holder, "/has_many/images", cmdb::images).await
    }

    /// The flavors of a tenant, or of a service if the CMDB keeps them there ([`Config::holder`]).
    ///
    /// # Errors
    /// [`Error`].
    pub async fn flavors(&self, holder: &str) -> Result<Arc<Listed<Flavor>>, Error> {
        self.kept(&self.flavors, self.holder_path(), holder, "/has_many/flavors", cmdb::flavors).await
    }

    /// What is watched of a provider; nothing, if monitoring knows the provider but no group of it.
    ///
    /// # Errors
    /// [`Error`]. The original goes on without.
    pub async fn machines(&self, provider: &str) -> Result<Listed<Machine>, Error> {
        const GROUPS: &str = "/monitoring/adapters/zabbix/zones/indigo/types/infrastructure/groups/";
        let monitoring = self.remote(Registry::Monitoring)?;
        let provider = segment(provider).map_err(|problem| monitoring.error(problem))?;
        let body = monitoring.get(&format!("{GROUPS}{provider}"), None).await?;
        self.read(monitoring, &body, monitoring::read)
    }

    /// The ranks of services, in the order of the answer; [`ranking`](crate::ranking) orders them.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn ranks(&self, request: &RankRequest) -> Result<Listed<Rank>, Error> {
        let cpr = self.remote(Registry::Cpr)?;
        let body = serde_json::to_string(request).map_err(|_| cpr.error(Problem::Unaskable("a number is not finite")))?;
        let body = cpr.post("/rank", body).await?;
        self.read(cpr, &body, cpr::read)
    }

    fn remote(&self, registry: Registry) -> Result<&Remote, Error> {
        let remote = match registry {
            Registry::Slam => &self.slam,
            Registry::Cmdb => &self.cmdb,
            Registry::Cpr => &self.cpr,
            Registry::Monitoring => &self.monitoring,
        };
        remote.as_ref().ok_or(Error { registry, problem: Problem::NotConfigured })
    }

    fn holder_path(&self) -> &'static str {
        match self.holder {
            Holder::Tenant => "/tenant/id/",
            Holder::Service => "/service/id/",
        }
    }

    async fn kept<T: Send + Sync + 'static>(
        &self,
        shelf: &Shelf<T>,
        before: &str,
        id: &str,
        after: &str,
        parse: fn(&Value, usize) -> Result<T, Problem>,
    ) -> Result<Arc<T>, Error> {
        let cmdb = self.remote(Registry::Cmdb)?;
        let id = segment(id).map_err(|problem| cmdb.error(problem))?;
        let path = format!("{before}{id}{after}?include_docs=true");
        let fetch = async || {
            let body = cmdb.get(&path, None).await?;
            let value = self.read(cmdb, &body, parse)?;
            Ok((value, body.len()))
        };
        shelf.get(&path, fetch).await
    }

    fn read<T>(&self, remote: &Remote, body: &Bytes, parse: fn(&Value, usize) -> Result<T, Problem>) -> Result<T, Error> {
        let whole = document(body, self.max_items).map_err(|problem| remote.error(problem))?;
        parse(&whole, self.max_items).map_err(|problem| remote.error(problem))
    }
}
