//! How providers fare, as the Zabbix wrapper tells it.
//!
//! `GET {monitoring}/monitoring/adapters/zabbix/zones/indigo/types/infrastructure/groups/{provider}`, without a token, answers
//! `{meta, result: {groups: [{groupName, paasMachines: [{machineName, ip, serviceCategory, serviceId, services: [{serviceName,
//! paasMetrics: [{metricName, metricKey, metricValue, metricTime, metricUnit, paasThresholds, historyClocks, historyValues}]}]}]}]}}`.
//! A machine stands for a service, and `machineName` is the service's identifier; older set-ups have one machine, named as the
//! provider. Of the groups the first counts, as in the original.

use serde_json::{Map, Value};

use crate::error::Problem;
use crate::read::{Fields, Listed, Mistake, expected, list, object};

/// What is watched of a provider.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Machine {
    /// The identifier of the service in the CMDB, or of the provider.
    pub name: String,
    /// The kind of service, such as `eu.egi.cloud.vm-management.occi`.
    pub category: Option<String>,
    /// What was measured.
    pub metrics: Vec<Metric>,
}

/// One measurement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metric {
    /// Such as `OCCI Create VM availability`.
    pub name: String,
    /// In the unit. `None` if nothing was measured lately: then the wrapper shows a 0 that is none.
    pub value: Option<f64>,
    /// `bit`, `ms` and others.
    pub unit: Option<String>,
    /// The whole as it came, for the ranker.
    pub(crate) raw: Map<String, Value>,
}

/// Whether a service can be used, by what was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Availability {
    /// At least one measurement says so, and none denies it.
    Up,
    /// Machines cannot be made there, or its interface does not answer.
    Down {
        /// The measurements that say so.
        metrics: Vec<String>,
    },
    /// Nothing was measured.
    #[default]
    Unknown,
}

impl Metric {
    /// Whether something works: 1 that it does, 0 that it does not.
    fn works(&self) -> Option<bool> {
        let is_bit = self.unit.as_deref().is_none_or(|unit| unit.trim().is_empty() || unit.eq_ignore_ascii_case("bit"));
        let tells = is_bit && self.name.trim_end().to_ascii_lowercase().ends_with("availability");
        self.value.filter(|_| tells).map(|value| value > 0.0)
    }

    /// Whether nothing can be placed if it does not work: deleting and inspecting is another matter.
    fn is_vital(&self) -> bool {
        let name = self.name.to_ascii_lowercase();
        !name.contains("delete") && !name.contains("inspect")
    }
}

impl Availability {
    /// By all measurements of these machines.
    pub(crate) fn of<'m>(machines: impl IntoIterator<Item = &'m Machine>) -> Self {
        let mut works = false;
        let mut failing = Vec::new();
        for metric in machines.into_iter().flat_map(|machine| &machine.metrics) {
            match metric.works() {
                Some(true) => works = true,
                Some(false) if metric.is_vital() => failing.push(metric.name.clone()),
                Some(false) | None => {}
            }
        }
        match (failing.is_empty(), works) {
            (false, _) => Self::Down { metrics: failing },
            (true, true) => Self::Up,
            (true, false) => Self::Unknown,
        }
    }
}

pub(crate) fn read(whole: &Value, limit: usize) -> Result<Listed<Machine>, Problem> {
    let machines = || {
        let fields = object(whole, "")?;
        let result = fields.required("result", fields.child("result")?)?;
        match result.array("groups")?.first() {
            None => Ok(None),
            Some(group) => object(group, "result.groups[0]").map(Some),
        }
    };
    let Some(group) = machines().map_err(Problem::Malformed)? else {
        return Ok(Listed::default());
    };
    let items = group.array("paasMachines").map_err(Problem::Malformed)?;
    let listed = list(items, &group.place("paasMachines"), limit, |fields| machine(fields).map(Some))?;
    // A list of lists multiplies.
    let metrics: usize = listed.items.iter().map(|machine| machine.metrics.len()).sum();
    if metrics > limit {
        return Err(Problem::TooMany { list: "paasMetrics".to_owned(), limit });
    }
    Ok(listed)
}

fn machine(fields: &Fields<'_>) -> Result<Machine, Mistake> {
    let metrics = fields.all("services", |service| service.all("paasMetrics", metric))?;
    Ok(Machine {
        name: fields.required_text("machineName")?,
        category: fields.text("serviceCategory")?,
        metrics: metrics.into_iter().flatten().collect(),
    })
}

fn metric(fields: &Fields<'_>) -> Result<Metric, Mistake> {
    for name in ["paasThresholds", "historyClocks", "historyValues"] {
        fields.array(name)?;
    }
    let time = match fields.get("metricTime") {
        None => None,
        Some(Value::String(text)) => Some(text.as_str()),
        Some(other) => return Err(expected(&fields.place("metricTime"), "a text", other)),
    };
    // "Instant null because no metrics were returned in the last 24hs"
    let measured = !time.is_some_and(|time| time.contains("null"));
    Ok(Metric {
        name: fields.required_text("metricName")?,
        value: fields.number("metricValue")?.filter(|_| measured),
        unit: fields.text("metricUnit")?,
        raw: fields.map.clone(),
    })
}
