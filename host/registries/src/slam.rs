//! Agreements, as SLAM tells them.
//!
//! `GET {slam}/preferences/{customer}` with the user's bearer token answers
//! `{preferences: [{customer, id, preferences: [{service_type, priority: [{sla_id, service_id, weight}]}]}],
//! sla: [{id, customer, provider, start_date, end_date, services: [{type, service_id, targets: [{type, unit, restrictions}]}]}]}`
//! (`facts/indigo.md`, section 3). What is read here is sent on to the ranker in the same shape.

use serde::Serialize;
use serde_json::Value;

use crate::dates;
use crate::error::Problem;
use crate::read::{Fields, Listed, Mistake, list, object};

/// What SLAM says about a customer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Agreements {
    /// By kind of service, which service under which agreement is preferred. Of all customers of the answer.
    pub preferences: Listed<Preference>,
    /// The agreements. One that cannot be read in full is left out: it allows nothing.
    pub slas: Listed<Sla>,
}

/// What is preferred for one kind of service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Preference {
    /// `compute`, `storage`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_type: Option<String>,
    /// The best first.
    pub priority: Vec<Priority>,
}

/// One service under one agreement.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Priority {
    /// [`Sla::id`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sla_id: Option<String>,
    /// [`SlaService::service_id`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_id: Option<String>,
    /// More is better. Older answers have none: there the order counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
}

/// A service level agreement between a customer and a provider.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sla {
    /// For whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
    /// The provider's identifier in the CMDB.
    pub provider: String,
    /// As SLAM writes it, such as `11.01.2016+15:50:00`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_date: Option<String>,
    /// As SLAM writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_date: Option<String>,
    /// For which services.
    pub services: Vec<SlaService>,
    /// Its identifier, which placement policies name.
    pub id: String,
}

/// A service under an agreement.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SlaService {
    /// `compute`, `storage`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The service's identifier in the CMDB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_id: Option<String>,
    /// What is agreed upon.
    pub targets: Vec<Target>,
}

/// Something that is agreed upon.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Target {
    /// `public_ip`, `computing_time`, `num_cpus`, `mem_size`, `disk_size` and others.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// `none`, `h` and others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// How much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restrictions: Option<Restrictions>,
}

/// How much of something is guaranteed and possible, in the unit of the target. A negative limit is none, as providers write it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Restrictions {
    /// For the customer, at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_guaranteed: Option<i64>,
    /// For the customer, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_limit: Option<i64>,
    /// For one instance, at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_guaranteed: Option<i64>,
    /// For one instance, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_limit: Option<i64>,
    /// For one user, at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_guaranteed: Option<i64>,
    /// For one user, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_limit: Option<i64>,
}

impl Sla {
    /// Since when it holds, in microseconds UTC; `None` if it does not say, or not in a known form.
    #[must_use]
    pub fn begins(&self) -> Option<i64> {
        self.start_date.as_deref().and_then(dates::begin)
    }

    /// The last moment for which it holds, in microseconds UTC; a date alone includes the day.
    #[must_use]
    pub fn ends(&self) -> Option<i64> {
        self.end_date.as_deref().and_then(dates::end)
    }

    /// What it says about a service.
    #[must_use]
    pub fn service(&self, id: &str) -> Option<&SlaService> {
        self.services.iter().find(|service| service.service_id.as_deref() == Some(id))
    }
}

impl Agreements {
    /// The agreement with this identifier.
    #[must_use]
    pub fn sla(&self, id: &str) -> Option<&Sla> {
        self.slas.items.iter().find(|sla| sla.id == id)
    }

    /// The identifiers of the services of a provider that some agreement names, each once.
    #[must_use]
    pub fn services_of(&self, provider: &str) -> std::collections::BTreeSet<String> {
        let slas = self.slas.items.iter().filter(|sla| sla.provider == provider);
        slas.flat_map(|sla| &sla.services).filter_map(|service| service.service_id.clone()).collect()
    }

    /// The identifiers of the providers, each once.
    #[must_use]
    pub fn providers(&self) -> std::collections::BTreeSet<String> {
        self.slas.items.iter().map(|sla| sla.provider.clone()).collect()
    }

    /// How much a service under an agreement is preferred, more is better: its weight, or without one 1 for the first of its
    /// list, ½ for the second, ⅓ for the third. 0 if it is not among the preferences.
    #[must_use]
    pub fn priority(&self, sla: &str, service: &str) -> f64 {
        let is_meant =
            |priority: &Priority| priority.sla_id.as_deref() == Some(sla) && priority.service_id.as_deref() == Some(service);
        let weights = self.preferences.items.iter().filter_map(|preference| {
            let position = preference.priority.iter().position(is_meant)?;
            let weight = preference.priority.get(position).and_then(|priority| priority.weight);
            Some(weight.unwrap_or(1.0 / (position as f64 + 1.0)).max(0.0))
        });
        weights.fold(0.0, f64::max)
    }
}

pub(crate) fn read(whole: &Value, limit: usize) -> Result<Agreements, Problem> {
    let fields = object(whole, "").map_err(Problem::Malformed)?;
    if fields.get("preferences").is_none() && fields.get("sla").is_none() {
        // An error page in JSON is no customer without agreements.
        return Err(Problem::Malformed("neither `preferences` nor `sla`".to_owned()));
    }
    let customers = fields.array("preferences").map_err(Problem::Malformed)?;
    let customers = list(customers, "preferences", limit, |customer| {
        let items = customer.array("preferences")?;
        Ok(Some(list(items, &customer.place("preferences"), limit, |fields| preference(fields).map(Some))))
    })?;
    let mut preferences = Listed { items: Vec::new(), left_out: customers.left_out };
    for customer in customers.items {
        let customer = customer?;
        preferences.items.extend(customer.items);
        preferences.left_out.extend(customer.left_out);
    }
    let slas = fields.array("sla").map_err(Problem::Malformed)?;
    let slas = list(slas, "sla", limit, |fields| sla(fields).map(Some))?;
    Ok(Agreements { preferences, slas })
}

fn preference(fields: &Fields<'_>) -> Result<Preference, Mistake> {
    Ok(Preference {
        service_type: fields.text("service_type")?,
        priority: fields.all("priority", |fields| {
            Ok(Priority {
                sla_id: fields.text("sla_id")?,
                service_id: fields.text("service_id")?,
                weight: fields.number("weight")?,
            })
        })?,
    })
}

fn sla(fields: &Fields<'_>) -> Result<Sla, Mistake> {
    Ok(Sla {
        customer: fields.text("customer")?,
        provider: fields.required_text("provider")?,
        start_date: fields.text("start_date")?,
        end_date: fields.text("end_date")?,
        services: fields.all("services", |fields| {
            Ok(SlaService {
                kind: fields.text("type")?,
                service_id: fields.text("service_id")?,
                targets: fields.all("targets", target)?,
            })
        })?,
        id: fields.required_text("id")?,
    })
}

fn target(fields: &Fields<'_>) -> Result<Target, Mistake> {
    let restrictions = fields.child("restrictions")?.map(|fields| {
        Ok::<_, Mistake>(Restrictions {
            total_guaranteed: fields.integer("total_guaranteed")?,
            total_limit: fields.integer("total_limit")?,
            instance_guaranteed: fields.integer("instance_guaranteed")?,
            instance_limit: fields.integer("instance_limit")?,
            user_guaranteed: fields.integer("user_guaranteed")?,
            user_limit: fields.integer("user_limit")?,
        })
    });
    Ok(Target { kind: fields.text("type")?, unit: fields.text("unit")?, restrictions: restrictions.transpose()? })
}
