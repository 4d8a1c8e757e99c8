//! What a provider offers to an organisation, gathered from several answers of the CMDB.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream;

use crate::cmdb::{Flavor, Image, Provider, Service, ServiceKind, Tenant};
use crate::config::Holder;
use crate::error::Error;
use crate::read::{Listed, clean};
use crate::registries::Registries;

/// How many questions about one provider are under way at once.
const AT_ONCE: usize = 4;

/// What a provider offers.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// Its identifier, as agreements name it.
    pub provider: String,
    /// What the CMDB says about it; why it says nothing.
    pub known: Result<Arc<Provider>, Error>,
    /// Its services: those that were asked about, and all that keep data.
    pub services: Vec<ServiceOffer>,
    /// Entries of the CMDB that were left out, and why.
    pub left_out: Vec<String>,
}

/// What a service offers.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceOffer {
    /// The service.
    pub service: Service,
    /// What the organisation has there; of several tenants the first counts.
    pub tenancy: Tenancy,
    /// Images for the organisation.
    pub images: Arc<Listed<Image>>,
    /// Flavors for the organisation.
    pub flavors: Arc<Listed<Flavor>>,
}

/// What an organisation has at a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenancy {
    /// This tenant.
    Tenant(Tenant),
    /// None of the service's tenants is for the organisation: it has no images and no flavors there.
    None,
    /// No tenant is needed: the service runs no machines, or holds images and flavors itself ([`Holder::Service`]).
    NotNeeded,
    /// The CMDB did not say.
    Unknown(Error),
}

impl Registries {
    /// What a provider offers to an organisation, or group of users: services whose identifiers are among `services`, and all
    /// that keep data; for those that run machines images and flavors. As the original gathers it, but each failure stays with the
    /// service it is about.
    ///
    /// # Errors
    /// Nothing is known about the provider or its services: see [`Offer::known`].
    pub async fn offer(&self, provider: &str, services: &BTreeSet<String>, organisation: &str) -> Offer {
        let (known, listed) = futures::join!(self.provider(provider), self.services(provider));
        let listed = match listed {
            Ok(listed) => listed,
            Err(error) => {
                let known = known.and(Err(error));
                return Offer { provider: provider.to_owned(), known, services: Vec::new(), left_out: Vec::new() };
            }
        };
        let wanted: Vec<_> = listed.items.iter().filter(|service| is_wanted(service, services)).cloned().collect();
        // Boxed as one type, or the compiler cannot tell that the whole may move between threads.
        let mut offers: Vec<BoxFuture<'_, ServiceOffer>> = Vec::new();
        for service in wanted {
            offers.push(Box::pin(self.service_offer(service, organisation)));
        }
        let services: Vec<ServiceOffer> = stream::iter(offers).buffered(AT_ONCE).collect().await;
        let mut left_out = listed.left_out.clone();
        for offer in &services {
            let about = |text: &String| format!("{}: {text}", clean(&offer.service.id));
            left_out.extend(offer.images.left_out.iter().chain(&offer.flavors.left_out).map(about));
        }
        Offer { provider: provider.to_owned(), known, services, left_out }
    }

    async fn service_offer(&self, service: Service, organisation: &str) -> ServiceOffer {
        let bare = |service, tenancy| ServiceOffer { service, tenancy, images: Arc::default(), flavors: Arc::default() };
        if !service.runs_machines() {
            return bare(service, Tenancy::NotNeeded);
        }
        let (holder, tenancy) = match self.holder() {
            Holder::Service => (service.id.clone(), Tenancy::NotNeeded),
            Holder::Tenant => match self.tenant(&service.id, organisation).await {
                Ok(Some(tenant)) => (tenant.id.clone(), Tenancy::Tenant(tenant)),
                Ok(None) => return bare(service, Tenancy::None),
                Err(error) => return bare(service, Tenancy::Unknown(error)),
            },
        };
        match futures::join!(self.images(&holder), self.flavors(&holder)) {
            (Ok(images), Ok(flavors)) => ServiceOffer { service, tenancy, images, flavors },
            (Err(error), _) | (_, Err(error)) => bare(service, Tenancy::Unknown(error)),
        }
    }

    /// The tenant of an organisation at a service. The original joins the service's tenants with a list of all tenants of the
    /// CMDB; since both say for whom they are, the service's own are enough.
    async fn tenant(&self, service: &str, organisation: &str) -> Result<Option<Tenant>, Error> {
        let tenants = self.tenants(service).await?;
        Ok(tenants.items.iter().find(|tenant| tenant.organisation.as_deref() == Some(organisation)).cloned())
    }
}

fn is_wanted(service: &Service, services: &BTreeSet<String>) -> bool {
    services.contains(&service.id) || service.kind == ServiceKind::Storage
}
