//! Asking the clouds what they offer, for the placement.

use super::build::{Placed, subject};
use super::placement::{self, Candidate};
use super::records::wanted;
use super::registries::Survey;
use super::{DeploymentTask, Inner, Terms};
use crate::Error;
use crate::scheduler::Try;
use ostler_store::{DeploymentChange, Work};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long a failure of a cloud counts against it: half of it after this time.
const FADES: Duration = Duration::from_secs(600);
/// How long a cloud may take to say what it offers.
const PATIENCE: Duration = Duration::from_secs(30);

impl Inner {
    pub(super) fn endpoint(&self, cloud: &str) -> Value {
        json!({ "cpEndpoint": self.settings.issuer, "cpComputeServiceId": cloud, "deploymentType": "OPENSTACK" })
    }

    pub(super) fn note_failure(&self, cloud: &str) {
        let mut failures = self.failures.lock();
        let now = Instant::now();
        let before = failures.get(cloud).map_or(0.0, |(count, at)| faded(*count, now - *at));
        failures.insert(cloud.to_owned(), (before + 1.0, now));
    }

    /// Asks all clouds what they offer, and ranks them.
    pub(super) async fn place(&self, work: &Work) -> Try {
        let deployment = match self.store.deployment_get(subject(work)).await {
            Ok(Some(deployment)) => deployment,
            Ok(None) => return Try::failed(&Error::Invalid("the deployment is gone".into())),
            Err(error) => return Try::again(&error.into()),
        };
        let parameters = deployment.parameters.as_object().cloned().unwrap_or_default();
        let reading = match self.read(&deployment.template, &parameters) {
            Ok(reading) => reading,
            Err(error) => return Try::failed(&error),
        };
        let resources = match self.store.resources(&deployment.id).await {
            Ok(resources) => resources,
            Err(error) => return Try::again(&error.into()),
        };
        let survey: Option<Survey> = serde_json::from_value(work.operation.input["registries"].clone()).unwrap_or_default();
        let asked = self.candidates().into_iter().map(|cloud| self.standing(cloud, survey.as_ref()));
        let mut candidates = futures::future::join_all(asked).await;
        let balance = match self.balance(&deployment).await {
            Ok(balance) => balance,
            Err(error) => return Try::again(&error),
        };
        for candidate in &mut candidates {
            candidate.balance = balance;
        }
        let placement = placement::place(&reading.blueprint, &candidates);
        let chosen: Vec<_> = placement.ranking.iter().map(|choice| format!("{} ({:.2})", choice.cloud, choice.score)).collect();
        let change = DeploymentChange {
            during: Some(work.operation.id.clone()),
            task: Some(DeploymentTask::Brokering),
            log_line: Some(format!(
                "clouds that can serve: {}",
                if chosen.is_empty() { "none".into() } else { chosen.join(", ") }
            )),
            ..DeploymentChange::default()
        };
        if let Err(error) = self.store.deployment_change(subject(work), &change, None).await {
            return Try::again(&error.into());
        }
        if placement.ranking.is_empty() {
            let reasons: Vec<_> =
                placement.refused.iter().map(|refusal| format!("{}: {}", refusal.cloud, refusal.reasons.join(", "))).collect();
            let message = format!("No cloud provider meets the deployment requirements\n{}", reasons.join("\n"));
            return Try::failed(&Error::Invalid(message.trim_end().to_owned()));
        }
        let machines = wanted(&deployment.id, &reading.blueprint, &resources);
        match serde_json::to_value(Placed { placement, machines }) {
            Ok(placed) => Try::done(placed),
            Err(error) => Try::failed(&Error::Invalid(error.to_string())),
        }
    }

    fn candidates(&self) -> Vec<String> {
        match &self.settings.clouds {
            Some(clouds) => clouds.keys().cloned().chain(self.settings.added.names()).collect(),
            None => self.compute.cloud_names(),
        }
    }

    fn terms(&self, cloud: &str) -> Option<Terms> {
        let configured = self.settings.clouds.as_ref().and_then(|clouds| clouds.get(cloud)).cloned();
        configured.or_else(|| self.settings.added.get(cloud))
    }

    /// A cloud by its own word and, where they were asked, by that of the registries.
    async fn standing(&self, name: String, survey: Option<&Survey>) -> Candidate {
        let Some((survey, service)) = survey.zip(self.terms(&name).and_then(|terms| terms.service)) else {
            return self.candidate(name).await;
        };
        match survey.of(&service) {
            Err(why) => Candidate { cloud: name, absent: Some(why), ..Candidate::default() },
            Ok(granted) => {
                let mut candidate = self.candidate(name).await;
                candidate.agreements.extend(granted.agreements);
                (candidate.priority, candidate.rank) = (granted.priority, granted.rank);
                candidate
            }
        }
    }

    pub(super) async fn candidate(&self, name: String) -> Candidate {
        let terms = self.terms(&name).unwrap_or(Terms { priority: 1.0, agreements: Vec::new(), service: None });
        let absent = |why: String| Candidate { cloud: name.clone(), absent: Some(why), ..Candidate::default() };
        let cloud = match self.compute.cloud(&name) {
            Ok(cloud) => cloud,
            Err(error) => return absent(error.to_string()),
        };
        let description = match cloud.description() {
            Ok(description) => description,
            Err(error) => return absent(error.to_string()),
        };
        let began = Instant::now();
        let asked = async { tokio::join!(cloud.list_images(), cloud.list_sizes(), cloud.capacity()) };
        let (images, sizes, capacity) = match tokio::time::timeout(PATIENCE, asked).await {
            Ok(answers) => answers,
            Err(_) => return absent("it does not answer".into()),
        };
        let (images, sizes) = match (images, sizes) {
            (Ok(images), Ok(sizes)) => (images, sizes),
            (Err(error), _) | (_, Err(error)) => return absent(error.to_string()),
        };
        let prices = sizes.iter().map(|size| (size.id.clone(), self.billing.tariff().price(&name, &size.id))).collect();
        let failures = self.failures.lock().get(&name).map_or(0.0, |(count, at)| faded(*count, at.elapsed()));
        Candidate {
            cloud: name,
            absent: None,
            images: images.items.clone(),
            sizes: sizes.items.clone(),
            // A driver that cannot tell has not refused.
            capacity: capacity.ok(),
            priority: terms.priority,
            agreements: terms.agreements,
            rank: None,
            failures,
            balance: None,
            latency_ms: began.elapsed().as_secs_f64() * 1_000.0,
            prices,
            disks: description.has("block-devices"),
            networks: description.has("networks"),
            user_data: description.has("user-data"),
        }
    }
}

fn faded(count: f64, age: Duration) -> f64 {
    count * 0.5_f64.powf(age.as_secs_f64() / FADES.as_secs_f64())
}
