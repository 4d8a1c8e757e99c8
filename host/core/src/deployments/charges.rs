//! What deployments cost: each machine's first period is set aside before it is ordered and spent once the deployment is there;
//! from then on its machines are paid for by the period, in advance. Where credit does not suffice they are stopped.

use super::build::{subject, text};
use super::{Action, Deployment, DeploymentStatus, Deployments, Inner, Resource};
use crate::Error;
use crate::identity::Principal;
use crate::model::NodeState;
use crate::scheduler::Try;
use ostler_store::{CreditError, NewEvent, ResourceCredit, ResourceState, Step, Work};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Machines looked at in one go.
const BATCH: u32 = 256;

impl Inner {
    /// What the owner of a deployment has, where he pays for it.
    pub(super) async fn balance(&self, deployment: &Deployment) -> Result<Option<i64>, Error> {
        match self.payer(deployment) {
            Some(user) => Ok(self.store.credit_balance(user).await?),
            None => Ok(None),
        }
    }

    /// The account that pays for a deployment, if one does.
    fn payer<'d>(&self, deployment: &'d Deployment) -> Option<&'d str> {
        deployment.owner.as_ref().filter(|_| self.settings.charged)?.user_id.as_deref()
    }

    /// Sets aside what the first period of a machine of this size costs.
    pub(super) async fn reserve(&self, work: &Work, step: &Step, size: &str) -> Result<(), Try> {
        if !self.settings.charged {
            return Ok(());
        }
        let again = |error: Error| Try::again(&error);
        let deployment = self.store.deployment_get(subject(work)).await.map_err(|error| again(error.into()))?;
        let Some((deployment, user)) = deployment.as_ref().and_then(|found| Some((found, self.payer(found)?))) else {
            return Ok(());
        };
        let cloud = step.cloud.clone().unwrap_or_default();
        let new = ResourceCredit {
            resource: text(&step.input, "resource").to_owned(),
            deployment: deployment.id.clone(),
            user_id: user.to_owned(),
            price: self.billing.tariff().price(&cloud, size),
            cloud,
            reservation: None,
            paid_until: None,
        };
        match self.store.resource_reserve(&new, &work.operation.actor).await {
            Ok(()) => Ok(()),
            Err(error @ CreditError::Insufficient { .. }) => Err(Try::failed(&error.into())),
            Err(error) => Err(again(error.into())),
        }
    }

    /// Sets aside what the next period costs of a machine that starts again.
    pub(super) async fn reserve_again(&self, work: &Work, resource: &str) -> Result<(), Error> {
        Ok(self.store.resource_reserve_again(resource, ostler_store::now(), &work.operation.actor).await?)
    }

    /// Spends what is set aside for the machines of a deployment, or for one of them.
    pub(super) async fn settle(&self, work: &Work, resource: Option<&str>) -> Result<(), Error> {
        let until = ostler_store::now().saturating_add(self.billing.tariff().period_micros());
        Ok(self.store.resource_settle(subject(work), resource, until, &work.operation.actor).await?)
    }
}

impl Deployments {
    /// Charges for machines now and then, until the task that runs it is dropped.
    pub async fn meter(self: Arc<Self>) {
        if !self.0.settings.charged {
            return;
        }
        let every = (self.0.billing.tariff().period / 60).clamp(Duration::from_millis(200), Duration::from_mins(1));
        let mut interval = tokio::time::interval(every);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            if let Err(error) = self.meter_once(ostler_store::now()).await {
                tracing::error!(%error, "machines of deployments could not be charged for");
            }
        }
    }

    /// Charges for all periods that began until `now`. How many were paid.
    pub async fn meter_once(&self, now: i64) -> Result<u32, Error> {
        self.0.store.resource_credit_tidy("host").await?;
        let mut paid = 0;
        let mut after: Option<(i64, String)> = None;
        loop {
            let from = after.as_ref().map(|(until, resource)| (*until, resource.as_str()));
            let due = self.0.store.resources_due(now, from, BATCH).await?;
            let Some(last) = due.last() else { return Ok(paid) };
            after = Some((last.paid_until.unwrap_or_default(), last.resource.clone()));
            for machine in due {
                match self.charge(&machine, now).await {
                    Ok(periods) => paid += periods,
                    // The others can be charged all the same; this one with the next round.
                    Err(error) => {
                        let (resource, deployment) = (&machine.resource, &machine.deployment);
                        tracing::warn!(resource, deployment, %error, "a machine could not be charged for");
                    }
                }
            }
        }
    }

    /// Charges for the periods of one machine that began until `now`. How many that were.
    async fn charge(&self, machine: &ResourceCredit, now: i64) -> Result<u32, Error> {
        let inner = &self.0;
        let Some(resource) = inner.store.resource_get(&machine.deployment, &machine.resource).await? else { return Ok(0) };
        // Only what runs is paid for; a provider that does not answer now is asked again before anything is charged.
        let (cloud, token) = (inner.compute.cloud(&machine.cloud)?, resource.token.as_deref().unwrap_or_default());
        match cloud.find_node(token).await? {
            Some(node) if !matches!(node.state, NodeState::Stopped | NodeState::Terminated) => {}
            // That it has vanished, the sweeper notes.
            _ => return Ok(0),
        }
        let (mut until, mut paid) = (machine.paid_until.unwrap_or(i64::MAX), 0);
        while until <= now {
            let next = until.saturating_add(inner.billing.tariff().period_micros());
            match inner.store.resource_charge(&machine.resource, until, next, "host").await {
                Ok(true) => (until, paid) = (next, paid + 1),
                // Another host was faster.
                Ok(false) => break,
                Err(CreditError::Insufficient { balance }) => {
                    self.exhausted(machine, &resource, balance).await?;
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(paid)
    }

    /// Stops a machine for which there is no credit; where the driver cannot stop machines, the whole deployment is removed.
    async fn exhausted(&self, machine: &ResourceCredit, resource: &Resource, balance: i64) -> Result<(), Error> {
        let Some(deployment) = self.0.store.deployment_get(&machine.deployment).await? else { return Ok(()) };
        if deployment.operation.is_some() {
            // It is being stopped or removed already, or something else has to end first.
            return Ok(());
        }
        tracing::warn!(deployment = deployment.id, resource = resource.id, balance, "credit is used up: the machine is stopped");
        let event = NewEvent {
            kind: "credit.exhausted".into(),
            subject: deployment.id.clone(),
            cloud: Some(machine.cloud.clone()),
            actor: "host".into(),
            data: json!({ "resource": resource.id, "balance": balance, "price": machine.price }),
        };
        self.0.store.event_append(&event).await?;
        let stoppable = resource.state == ResourceState::Started
            && self.0.compute.cloud(&machine.cloud)?.description()?.has("start-stop")
            && deployment.status != DeploymentStatus::CreateFailed;
        let host = Principal::host();
        let begun = if stoppable {
            self.0.act_on(&host, &deployment, resource, Action::Stop).await
        } else {
            self.0.remove(&host, deployment, false).await
        };
        match begun {
            // Somebody was faster.
            Err(Error::Busy(_) | Error::Deployment(_)) => Ok(()),
            other => other,
        }
    }
}
