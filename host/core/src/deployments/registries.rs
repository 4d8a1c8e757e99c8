//! What external registries say of clouds. They are asked once, when a deployment is submitted: SLAM is shown the user's token, which
//! is not kept. The answer is part of the record of the work.

use super::blueprint::Blueprint;
use super::{Inner, Submission};
use crate::identity::Principal;
use ostler_registries::{Demand, Fact, Question, Registry, Status, Wish};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What was said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Survey {
    /// Nothing: why.
    Failed(String),
    /// Of each service.
    Said(Vec<Standing>),
}

/// How a service of a provider stands with the user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Standing {
    /// Its identifier in the registries.
    service: String,
    /// The agreements under which it can be used.
    agreements: Vec<String>,
    /// How much it is preferred, more is better.
    priority: f64,
    /// Its place in the ranker's order, the smaller the better.
    rank: Option<i64>,
    /// Why it is out.
    out: Vec<String>,
}

impl Standing {
    fn of(fact: Fact) -> Self {
        let out = fact.out.iter().map(ToString::to_string).collect();
        Self { service: fact.service_id, agreements: fact.agreements, priority: fact.priority, rank: fact.rank, out }
    }
}

/// What a cloud's standing makes of its terms.
pub(super) struct Granted {
    pub(super) agreements: Vec<String>,
    pub(super) priority: f64,
    pub(super) rank: Option<i64>,
}

impl Survey {
    /// What holds for a service; or why it is out.
    pub(super) fn of(&self, service: &str) -> Result<Granted, String> {
        let said = match self {
            Self::Failed(why) => return Err(why.clone()),
            Self::Said(said) => said,
        };
        let standing = said.iter().find(|standing| standing.service == service);
        let standing = standing.ok_or_else(|| "no agreement covers it".to_owned())?;
        if !standing.out.is_empty() {
            return Err(standing.out.join("; "));
        }
        Ok(Granted { agreements: standing.agreements.clone(), priority: standing.priority, rank: standing.rank })
    }
}

impl super::Deployments {
    /// Which external registries are asked.
    pub fn registries(&self) -> Status {
        self.0.settings.registries.as_ref().map(|registries| registries.status()).unwrap_or_default()
    }
}

impl Inner {
    /// Asks the registries about what is to be placed. Nothing where none has agreements to be asked for.
    pub(super) async fn survey(&self, who: &Principal, submission: &Submission, blueprint: &Blueprint) -> Option<Survey> {
        let registries = self.settings.registries.as_ref().filter(|registries| registries.has(Registry::Slam))?;
        let person = self.person(who);
        let customer = submission.user_group.as_deref().or(person.organisation.as_deref());
        let Some(customer) = customer else {
            return Some(Survey::Failed("there are no agreements for a user without group and organisation".to_owned()));
        };
        let wish = Wish {
            at: Some(ostler_store::now()),
            issuer: who.person.as_ref().map(|person| person.issuer.clone()),
            agreements: blueprint.agreements.iter().cloned().collect::<BTreeSet<_>>(),
            demand: demand(blueprint),
        };
        let question = Question { customer, token: submission.token.as_ref(), wish: &wish };
        Some(match registries.survey(&question).await {
            Ok(survey) => {
                survey.notes.iter().for_each(|note| tracing::info!(note, "a registry's answer"));
                Survey::Said(survey.facts.into_iter().map(Standing::of).collect())
            }
            Err(error) => {
                tracing::warn!(%error, "the registries could not be asked");
                Survey::Failed(error.to_string())
            }
        })
    }
}

/// What is needed, in the words of agreements. What the user has already is not counted.
fn demand(blueprint: &Blueprint) -> BTreeMap<String, Demand> {
    let mut demand: BTreeMap<String, Demand> = BTreeMap::new();
    for node in &blueprint.nodes {
        let Some(machine) = &node.machine else { continue };
        let count = i64::from(node.count);
        let mut add = |target: &str, each: i64| {
            let all = demand.entry(target.to_owned()).or_default();
            all.instance = all.instance.max(each);
            all.total = all.total.saturating_add(each.saturating_mul(count));
            all.user = all.total;
        };
        add("num_cpus", machine.cpus.map_or(0, i64::from));
        add("public_ip", i64::from(machine.public));
    }
    demand
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn standing(service: &str, out: &[&str]) -> Standing {
        let out = out.iter().map(|text| (*text).to_owned()).collect();
        Standing { service: service.into(), agreements: vec!["gold".into()], priority: 2.0, rank: Some(1), out }
    }

    #[test]
    fn a_service_is_in_where_everything_says_so() {
        let said = Survey::Said(vec![standing("a", &[]), standing("b", &["it ended", "it does not work"])]);
        for (survey, service, expected) in [
            (&said, "a", Ok(2.0)),
            (&said, "b", Err("it ended; it does not work")),
            (&said, "c", Err("no agreement covers it")),
            (&Survey::Failed("SLAM did not answer".into()), "a", Err("SLAM did not answer")),
        ] {
            let found = survey.of(service).map(|granted| granted.priority);
            assert_eq!(found, expected.map_err(str::to_owned), "{service}");
            let again: Survey = serde_json::from_value(serde_json::to_value(survey).unwrap()).unwrap();
            assert_eq!(&again, survey, "the record says the same");
        }
    }
}
