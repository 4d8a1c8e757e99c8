//! What the registries said, as facts for a placement.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cmdb::{Flavor, Image, Service, ServiceKind, Tenant};
use crate::cpr::Rank;
use crate::error::Error;
use crate::matching::{FlavorWish, ImageMatch, ImageWish, find_flavor, find_image};
use crate::monitoring::{Availability, Machine};
use crate::offers::{Offer, ServiceOffer, Tenancy};
use crate::read::{Listed, clean};
use crate::slam::{Agreements, Sla, SlaService};

/// So many measurements are enough to say that something does not work.
const METRICS_SHOWN: usize = 5;

/// What the registries said. What was not asked is `None`, and then counts neither for nor against anything.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// SLAM.
    pub agreements: Option<&'a Agreements>,
    /// The CMDB.
    pub offers: Option<&'a [Offer]>,
    /// Monitoring, by provider.
    pub machines: &'a BTreeMap<String, Vec<Machine>>,
    /// The ranker, which is asked last.
    pub ranks: Option<&'a [Rank]>,
}

/// For whom and for what something is placed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wish {
    /// The moment for which agreements must hold, in microseconds UTC. `None`: dates do not count, as in the original.
    pub at: Option<i64>,
    /// The issuer of the user's token, if there is one.
    pub issuer: Option<String>,
    /// The agreements that a placement policy names; if there are any, no other counts.
    pub agreements: BTreeSet<String>,
    /// What is needed, by the type of target of an agreement (`num_cpus`, `mem_size`, `public_ip` …), in the target's unit.
    pub demand: BTreeMap<String, Demand>,
}

/// How much of something is needed. With what is in use already, since SLAM does not tell it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// By the most demanding instance.
    pub instance: i64,
    /// By the user: in use and new.
    pub user: i64,
    /// By the customer: in use and new.
    pub total: i64,
}

/// What is known of one service of one provider.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// The provider's identifier.
    pub provider: String,
    /// The provider's name; the identifier if it is not known.
    pub provider_name: String,
    /// The service's identifier.
    pub service_id: String,
    /// The service, as far as the CMDB knows it.
    pub service: Option<Service>,
    /// What the user's organisation has there.
    pub tenant: Option<Tenant>,
    /// The agreements under which it can be used.
    pub agreements: Vec<String>,
    /// How much it is preferred, more is better ([`Agreements::priority`]); 1 if SLAM was not asked.
    pub priority: f64,
    /// Its place in the ranking, the smaller the better.
    pub rank: Option<i64>,
    /// By monitoring.
    pub availability: Availability,
    /// What machines can be made of there.
    pub images: Arc<Listed<Image>>,
    /// How large they can be.
    pub flavors: Arc<Listed<Flavor>>,
    /// Why it is out. Empty: it is not.
    pub out: Vec<Reason>,
}

impl Fact {
    /// Whether it can be used, by all that was said.
    #[must_use]
    pub fn is_in(&self) -> bool {
        self.out.is_empty()
    }

    /// The image that is meant.
    #[must_use]
    pub fn image<'a>(&'a self, wish: &'a ImageWish) -> Option<ImageMatch<'a>> {
        find_image(&self.images.items, wish)
    }

    /// The flavor that is meant.
    #[must_use]
    pub fn flavor(&self, wish: &FlavorWish) -> Option<&Flavor> {
        find_flavor(&self.flavors.items, wish)
    }
}

/// Why a service is out. Texts are fit for the user; identifiers are cut and cleaned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// No agreement names it.
    #[error("no agreement covers it")]
    NoAgreement,
    /// The agreements that the placement policy names do not name it.
    #[error("the agreements of the placement policy do not cover it")]
    OtherAgreement,
    /// The agreement has ended.
    #[error("the agreement {agreement} ended on {on}")]
    Expired {
        /// Its identifier.
        agreement: String,
        /// When, as SLAM writes it.
        on: String,
    },
    /// The agreement has not begun.
    #[error("the agreement {agreement} begins on {on}")]
    NotYet {
        /// Its identifier.
        agreement: String,
        /// When, as SLAM writes it.
        on: String,
    },
    /// The agreement does not allow so much.
    #[error("the agreement {agreement} allows {limit} of {target}, and {needed} are needed")]
    Quota {
        /// Its identifier.
        agreement: String,
        /// Of what.
        target: String,
        /// What it allows.
        limit: i64,
        /// What is needed, with what is in use.
        needed: i64,
    },
    /// The CMDB does not list it.
    #[error("the CMDB does not list it")]
    Unlisted,
    /// The CMDB did not say what is needed.
    #[error("{0}")]
    Unknown(Error),
    /// The organisation has no tenant there.
    #[error("the organisation has no tenant there")]
    NoTenant,
    /// It does not serve users.
    #[error("it is not in production")]
    NotInProduction,
    /// By monitoring it does not work.
    #[error("it does not work: {}", metrics.join(", "))]
    Down {
        /// The measurements that say so.
        metrics: Vec<String>,
    },
    /// It does not take tokens of the user's issuer.
    #[error("it does not take tokens of the user's issuer")]
    Issuer,
    /// It needs credentials of the user's own, and no placement policy asks for it.
    #[error("it needs credentials of the user's own, and no placement policy asks for it")]
    Credentials,
    /// The ranker did not rank it.
    #[error("it was not ranked{}", reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default())]
    NotRanked {
        /// Why, in the ranker's words.
        reason: Option<String>,
    },
}

/// One fact for each service that an agreement or the CMDB names, by provider and service. Pure.
#[must_use]
pub fn facts(said: &Said<'_>, wish: &Wish) -> Vec<Fact> {
    let mut pairs: BTreeMap<(&str, &str), Option<&ServiceOffer>> = BTreeMap::new();
    for sla in said.agreements.map(|agreements| agreements.slas.items.as_slice()).unwrap_or_default() {
        for service in sla.services.iter().filter_map(|service| service.service_id.as_deref()) {
            pairs.entry((sla.provider.as_str(), service)).or_default();
        }
    }
    for offer in said.offers.unwrap_or_default() {
        for service in &offer.services {
            pairs.insert((offer.provider.as_str(), service.service.id.as_str()), Some(service));
        }
    }
    pairs.into_iter().map(|((provider, service), offered)| fact(said, wish, provider, service, offered)).collect()
}

fn fact(said: &Said<'_>, wish: &Wish, provider: &str, service_id: &str, offered: Option<&ServiceOffer>) -> Fact {
    let mut out = Vec::new();
    let offer = said.offers.and_then(|offers| offers.iter().find(|offer| offer.provider == provider));
    let service = offered.map(|offered| &offered.service);
    let (agreements, priority) = agreed(said, wish, provider, service_id, service, &mut out);
    if said.offers.is_some() {
        match (offered, offer.map(|offer| &offer.known)) {
            (_, Some(Err(error))) => out.push(Reason::Unknown(error.clone())),
            (None, _) => out.push(Reason::Unlisted),
            (Some(offered), _) => hindrances(offered, wish, &mut out),
        }
    }
    let availability = availability(said, provider, service_id);
    if let Availability::Down { metrics } = &availability {
        out.push(Reason::Down { metrics: metrics.iter().take(METRICS_SHOWN).map(|metric| clean(metric)).collect() });
    }
    let mut rank = None;
    if let Some(ranks) = said.ranks {
        match ranks.iter().find(|rank| rank.provider == provider && rank.service == service_id) {
            Some(found) if found.ranked => rank = Some(found.rank),
            // What was out before was not shown to the ranker.
            _ if !out.is_empty() => {}
            found => out.push(Reason::NotRanked { reason: found.and_then(|rank| rank.error_reason.as_deref()).map(clean) }),
        }
    }
    let tenant = offered.and_then(|offered| match &offered.tenancy {
        Tenancy::Tenant(tenant) => Some(tenant.clone()),
        Tenancy::None | Tenancy::NotNeeded | Tenancy::Unknown(_) => None,
    });
    let known = offer.and_then(|offer| offer.known.as_ref().ok());
    Fact {
        provider: provider.to_owned(),
        provider_name: known.map_or_else(|| provider.to_owned(), |provider| provider.name.clone()),
        service_id: service_id.to_owned(),
        service: service.cloned(),
        tenant,
        agreements,
        priority,
        rank,
        availability,
        images: offered.map(|offered| Arc::clone(&offered.images)).unwrap_or_default(),
        flavors: offered.map(|offered| Arc::clone(&offered.flavors)).unwrap_or_default(),
        out,
    }
}

/// The agreements under which a service can be used, and how much it is preferred. If there is none, `out` says why.
fn agreed(
    said: &Said<'_>,
    wish: &Wish,
    provider: &str,
    service_id: &str,
    service: Option<&Service>,
    out: &mut Vec<Reason>,
) -> (Vec<String>, f64) {
    let Some(agreements) = said.agreements else {
        // Nobody can tell whether the policy's agreements cover it.
        out.extend((!wish.agreements.is_empty()).then_some(Reason::OtherAgreement));
        return (Vec::new(), 1.0);
    };
    let (mut usable, mut reasons, mut priority) = (Vec::new(), Vec::new(), 0.0_f64);
    let mut named = false;
    for sla in agreements.slas.items.iter().filter(|sla| sla.provider == provider) {
        let mut terms = sla.services.iter().filter(|service| service.service_id.as_deref() == Some(service_id)).peekable();
        if terms.peek().is_none() {
            continue;
        }
        named = true;
        if !wish.agreements.is_empty() && !wish.agreements.contains(&sla.id) {
            continue;
        }
        let found: Vec<_> = term(sla, wish).into_iter().chain(terms.flat_map(|terms| excess(sla, terms, wish))).collect();
        if found.is_empty() {
            usable.push(sla.id.clone());
            priority = priority.max(agreements.priority(&sla.id, service_id));
        }
        reasons.extend(found);
    }
    let keeps_data = service.is_some_and(|service| service.kind == ServiceKind::Storage);
    if usable.is_empty() {
        match (reasons.is_empty(), named) {
            (false, _) => out.extend(reasons),
            (true, true) => out.push(Reason::OtherAgreement),
            // Storage is listed without an agreement.
            (true, false) if keeps_data => {}
            (true, false) => out.push(Reason::NoAgreement),
        }
    }
    (usable, priority)
}

/// Whether an agreement holds at the moment. A date that cannot be read does not count.
fn term(sla: &Sla, wish: &Wish) -> Option<Reason> {
    let at = wish.at?;
    let (agreement, on) = (clean(&sla.id), |date: &Option<String>| clean(date.as_deref().unwrap_or_default()));
    if sla.ends().is_some_and(|end| end < at) {
        return Some(Reason::Expired { agreement, on: on(&sla.end_date) });
    }
    sla.begins().is_some_and(|begin| begin > at).then(|| Reason::NotYet { agreement, on: on(&sla.start_date) })
}

/// What an agreement does not allow so much of.
fn excess(sla: &Sla, service: &SlaService, wish: &Wish) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for target in &service.targets {
        let (Some(kind), Some(restrictions)) = (&target.kind, &target.restrictions) else { continue };
        let Some(demand) = wish.demand.get(kind) else { continue };
        let limits = [
            (restrictions.instance_limit, demand.instance),
            (restrictions.user_limit, demand.user),
            (restrictions.total_limit, demand.total),
        ];
        // The scarcest one is enough to say.
        let exceeded = limits.iter().find_map(|(limit, needed)| {
            let limit = limit.filter(|limit| *limit >= 0)?;
            (*needed > limit).then_some((limit, *needed))
        });
        if let Some((limit, needed)) = exceeded {
            reasons.push(Reason::Quota { agreement: clean(&sla.id), target: clean(kind), limit, needed });
        }
    }
    reasons
}

/// What the CMDB says against a service.
fn hindrances(offered: &ServiceOffer, wish: &Wish, out: &mut Vec<Reason>) {
    let service = &offered.service;
    match &offered.tenancy {
        Tenancy::Tenant(_) | Tenancy::NotNeeded => {}
        Tenancy::None => out.push(Reason::NoTenant),
        Tenancy::Unknown(error) => out.push(Reason::Unknown(error.clone())),
    }
    if !service.in_production {
        out.push(Reason::NotInProduction);
    }
    let same = |issuer: &str, other: &str| issuer.trim_end_matches('/') == other.trim_end_matches('/');
    let refused = |issuer: &String| !service.issuers.iter().any(|known| same(known, issuer));
    if service.iam_enabled && wish.issuer.as_ref().is_some_and(refused) {
        out.push(Reason::Issuer);
    }
    if service.needs_credentials() && wish.agreements.is_empty() {
        out.push(Reason::Credentials);
    }
}

/// By the machine that stands for the service, or else for the whole provider.
fn availability(said: &Said<'_>, provider: &str, service: &str) -> Availability {
    let machines = said.machines.get(provider).map(Vec::as_slice).unwrap_or_default();
    let named = |name: &str| machines.iter().filter(|machine| machine.name == name).collect::<Vec<_>>();
    let own = named(service);
    Availability::of(if own.is_empty() { named(provider) } else { own })
}

#[cfg(test)]
mod tests;
