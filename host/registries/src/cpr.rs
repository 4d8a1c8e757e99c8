//! Ranks, as the cloud provider ranker gives them.
//!
//! `POST {cpr}/rank`, without a token, with `{preferences, sla, monitoring: [{provider, services: [{service_id,
//! service_parent_id, type, metrics}]}]}` answers `[{provider, service_id, rank, ranked, total_score, error_reason}]`
//! (`facts/indigo.md`, section 3).

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::Problem;
use crate::monitoring::Machine;
use crate::read::{Fields, Listed, Mistake, expected, list};
use crate::slam::{Agreements, Preference, Sla};

/// What is to be ranked.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RankRequest {
    /// As SLAM told them.
    pub preferences: Vec<Preference>,
    /// As SLAM told them.
    pub sla: Vec<Sla>,
    /// As monitoring told it, by provider.
    pub monitoring: Vec<Monitored>,
}

/// What monitoring says about a provider.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Monitored {
    /// The provider's identifier.
    pub provider: String,
    /// Its services.
    pub services: Vec<MonitoredService>,
}

/// What monitoring says about a service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MonitoredService {
    /// The service's identifier.
    pub service_id: String,
    /// The service that it is a part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_parent_id: Option<String>,
    /// The category that monitoring gives; empty if it gives none.
    #[serde(rename = "type")]
    pub kind: String,
    /// The metrics as monitoring told them.
    pub metrics: Vec<Map<String, Value>>,
}

impl RankRequest {
    /// Of what SLAM and monitoring (by provider) said. `parent` tells of which service a service is a part, by provider and
    /// service ([`Service::parent`](crate::Service::parent)).
    #[must_use]
    pub fn new(
        agreements: &Agreements,
        machines: &BTreeMap<String, Vec<Machine>>,
        parent: impl Fn(&str, &str) -> Option<String>,
    ) -> Self {
        let service = |provider: &str, machine: &Machine| MonitoredService {
            service_id: machine.name.clone(),
            service_parent_id: parent(provider, &machine.name),
            kind: machine.category.clone().unwrap_or_default(),
            metrics: machine.metrics.iter().map(|metric| metric.raw.clone()).collect(),
        };
        let monitored = |(provider, machines): (&String, &Vec<Machine>)| Monitored {
            provider: provider.clone(),
            services: machines.iter().map(|machine| service(provider, machine)).collect(),
        };
        Self {
            preferences: agreements.preferences.items.clone(),
            sla: agreements.slas.items.clone(),
            monitoring: machines.iter().map(monitored).collect(),
        }
    }

    /// Keeps only what is about services, by provider and service, for which `keep` is true: those that are not left out
    /// already. Agreements, preferences and providers of which nothing remains go with them.
    pub fn retain(&mut self, keep: impl Fn(&str, &str) -> bool) {
        for sla in &mut self.sla {
            let provider = sla.provider.as_str();
            sla.services.retain(|service| service.service_id.as_deref().is_some_and(|id| keep(provider, id)));
        }
        self.sla.retain(|sla| !sla.services.is_empty());
        let sla = &self.sla;
        let remains = |agreement: Option<&str>, service: Option<&str>| {
            let (Some(agreement), Some(service)) = (agreement, service) else { return false };
            sla.iter().any(|sla| sla.id == agreement && sla.service(service).is_some())
        };
        for preference in &mut self.preferences {
            preference.priority.retain(|priority| remains(priority.sla_id.as_deref(), priority.service_id.as_deref()));
        }
        self.preferences.retain(|preference| !preference.priority.is_empty());
        for monitored in &mut self.monitoring {
            let provider = monitored.provider.as_str();
            // A machine that stands for the whole provider stays with any of its services.
            let whole = sla.iter().any(|sla| sla.provider == provider);
            monitored.services.retain(|service| match service.service_id == provider {
                true => whole,
                false => keep(provider, &service.service_id),
            });
        }
        self.monitoring.retain(|monitored| !monitored.services.is_empty());
    }
}

/// The place of a service in the ranking.
#[derive(Clone, Debug, PartialEq)]
pub struct Rank {
    /// The provider's identifier.
    pub provider: String,
    /// The service's identifier.
    pub service: String,
    /// The place: the smaller the better. Default 0.
    pub rank: i64,
    /// Whether it could be ranked. Default false.
    pub ranked: bool,
    /// What the rank is made of. Default 0.
    pub total_score: f64,
    /// Why it could not be ranked.
    pub error_reason: Option<String>,
}

/// Those that could be ranked, the best first; equal ranks as the ranker listed them.
#[must_use]
pub fn ranking(ranks: &[Rank]) -> Vec<&Rank> {
    let mut ranking: Vec<_> = ranks.iter().filter(|rank| rank.ranked).collect();
    ranking.sort_by_key(|rank| rank.rank);
    ranking
}

pub(crate) fn read(whole: &Value, limit: usize) -> Result<Listed<Rank>, Problem> {
    match whole {
        Value::Array(items) => list(items, "ranks", limit, |fields| rank(fields).map(Some)),
        other => Err(Problem::Malformed(expected("", "a list", other))),
    }
}

fn rank(fields: &Fields<'_>) -> Result<Rank, Mistake> {
    Ok(Rank {
        provider: fields.required_text("provider")?,
        service: fields.required_text("service_id")?,
        rank: fields.integer("rank")?.unwrap_or_default(),
        ranked: fields.flag("ranked")?.unwrap_or_default(),
        total_score: fields.number("total_score")?.unwrap_or_default(),
        error_reason: fields.text("error_reason")?.filter(|reason| !reason.is_empty()),
    })
}
