//! All registries in one call.

use std::collections::BTreeMap;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream;
use secrecy::SecretString;

use crate::cpr::RankRequest;
use crate::error::{Error, Problem, Registry};
use crate::facts::{Fact, Said, Wish, facts};
use crate::monitoring::Machine;
use crate::offers::Offer;
use crate::read::Listed;
use crate::registries::Registries;

/// How many providers are asked about at once.
const AT_ONCE: usize = 4;

/// What a survey is about.
#[derive(Clone, Debug)]
pub struct Question<'q> {
    /// The user's group, or else the organisation: SLAM's customer, and for whom tenants of the CMDB are.
    pub customer: &'q str,
    /// The user's access token, for SLAM alone.
    pub token: Option<&'q SecretString>,
    /// What must hold.
    pub wish: &'q Wish,
}

/// What a survey found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Survey {
    /// One for each service of each provider that an agreement names.
    pub facts: Vec<Fact>,
    /// What went wrong on the way without spoiling the whole, for a log: entries that were left out, monitoring or the ranker
    /// that did not answer. Fit for one line each.
    pub notes: Vec<String>,
}

impl Registries {
    /// Asks SLAM, then the CMDB and monitoring about each provider of the agreements, then the ranker about the services that
    /// are not out. Registries that are not configured are passed over, except SLAM.
    ///
    /// # Errors
    /// SLAM is not configured or gives no agreements: then nothing is known to be allowed. Other failures are about one provider
    /// (see [`Reason::Unknown`](crate::Reason::Unknown)) or cost no more than the rank; the original gives up on any of them.
    pub async fn survey(&self, question: &Question<'_>) -> Result<Survey, Error> {
        let agreements = self.agreements(question.customer, question.token).await?;
        let mut notes = Vec::new();
        let left_out = [&agreements.preferences.left_out, &agreements.slas.left_out].into_iter().flatten();
        notes.extend(left_out.map(|text| format!("SLAM: left out: {text}")));

        let providers: Vec<String> = agreements.providers().into_iter().collect();
        let mut offers = None;
        if self.has(Registry::Cmdb) {
            // Boxed as one type, or the compiler cannot tell that the whole may move between threads.
            let mut asked: Vec<BoxFuture<'_, Offer>> = Vec::new();
            for provider in &providers {
                let services = agreements.services_of(provider);
                asked.push(Box::pin(async move { self.offer(provider, &services, question.customer).await }));
            }
            let found: Vec<Offer> = stream::iter(asked).buffered(AT_ONCE).collect().await;
            for offer in &found {
                notes.extend(offer.left_out.iter().map(|text| format!("CMDB: left out: {text}")));
            }
            offers = Some(found);
        }
        let machines = self.monitored(&providers, offers.as_deref(), &mut notes).await;

        let said = Said { agreements: Some(&agreements), offers: offers.as_deref(), machines: &machines, ranks: None };
        let found = facts(&said, question.wish);
        if !self.has(Registry::Cpr) || !found.iter().any(Fact::is_in) {
            return Ok(Survey { facts: found, notes });
        }
        let within = |provider: &str, service: &str| {
            found.iter().any(|fact| fact.is_in() && fact.provider == provider && fact.service_id == service)
        };
        let parent = |provider: &str, service: &str| {
            let fact = found.iter().find(|fact| fact.provider == provider && fact.service_id == service);
            fact.and_then(|fact| fact.service.as_ref()).and_then(|service| service.parent.clone())
        };
        let mut request = RankRequest::new(&agreements, &machines, parent);
        request.retain(within);
        match self.ranks(&request).await {
            Ok(ranks) => {
                notes.extend(ranks.left_out.iter().map(|text| format!("the ranker: left out: {text}")));
                let said = Said { ranks: Some(&ranks.items), ..said };
                Ok(Survey { facts: facts(&said, question.wish), notes })
            }
            Err(error) => {
                notes.push(error.to_string());
                Ok(Survey { facts: found, notes })
            }
        }
    }

    /// What monitoring says of the providers that are no public clouds.
    async fn monitored(
        &self,
        providers: &[String],
        offers: Option<&[Offer]>,
        notes: &mut Vec<String>,
    ) -> BTreeMap<String, Vec<Machine>> {
        let mut machines = BTreeMap::new();
        if !self.has(Registry::Monitoring) {
            return machines;
        }
        let is_public = |provider: &str| {
            let offer = offers.and_then(|offers| offers.iter().find(|offer| offer.provider == provider));
            offer.is_some_and(|offer| offer.services.iter().any(|offered| offered.service.public))
        };
        let watched: Vec<_> = providers.iter().filter(|provider| !is_public(provider)).collect();
        let mut asked: Vec<BoxFuture<'_, Result<Listed<Machine>, Error>>> = Vec::new();
        for provider in &watched {
            asked.push(Box::pin(self.machines(provider)));
        }
        let answers: Vec<_> = stream::iter(asked).buffered(AT_ONCE).collect().await;
        for (provider, answer) in watched.into_iter().zip(answers) {
            match answer {
                Ok(listed) => {
                    notes.extend(listed.left_out.iter().map(|text| format!("monitoring: left out: {text}")));
                    machines.insert(provider.clone(), listed.items);
                }
                Err(Error { problem: Problem::NotConfigured, .. }) => {}
                Err(error) => notes.push(error.to_string()),
            }
        }
        machines
    }
}
