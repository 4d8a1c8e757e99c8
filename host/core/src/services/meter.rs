//! Running nodes are paid for by the period, in advance, without anybody's doing. Whose credit does not suffice is stopped.

use super::{Services, event};
use crate::Error;
use crate::identity::Principal;
use crate::model::NodeState;
use ostler_store::{CreditError, NodeRole, Service, ServiceNode, ServiceNodeState};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Nodes looked at in one go.
const BATCH: u32 = 256;

impl Services {
    /// Charges for running nodes now and then, until the task that runs it is dropped.
    pub async fn meter(self: Arc<Self>) {
        if !self.settings.metering {
            return;
        }
        let every = (self.billing.tariff().period / 60).clamp(Duration::from_millis(200), Duration::from_mins(1));
        let mut interval = tokio::time::interval(every);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            if let Err(error) = self.meter_once(ostler_store::now()).await {
                tracing::error!(%error, "running nodes could not be charged for");
            }
        }
    }

    /// Charges for all periods that began until `now`. How many were paid.
    ///
    /// The oldest services are served first: where credit does not suffice for all, the youngest are stopped.
    pub async fn meter_once(self: &Arc<Self>, now: i64) -> Result<u32, Error> {
        let mut paid = 0;
        let mut after = None;
        loop {
            let due = self.store.nodes_due(now, after, BATCH).await?;
            let Some((last, _)) = due.last() else { return Ok(paid) };
            after = Some((last.service_id, last.id));
            for (mut node, service) in due {
                while node.paid_until.is_some_and(|until| until <= now) {
                    match self.charge(&node, &service).await {
                        Ok(Some(until)) => {
                            node.paid_until = Some(until);
                            paid += 1;
                        }
                        Ok(None) => break,
                        // The others can be charged all the same; this one with the next round.
                        Err(error) => {
                            tracing::warn!(service = service.id, node = node.node_id, %error, "a node could not be charged for");
                            break;
                        }
                    }
                }
            }
        }
    }

    /// Charges one period of one node. Until when it is paid for now; none where it was not charged.
    async fn charge(self: &Arc<Self>, node: &ServiceNode, service: &Service) -> Result<Option<i64>, Error> {
        let cloud = self.cloud(&node.cloud)?;
        // Only what runs is paid for; a provider that does not answer now is asked again before anything is charged.
        if cloud.find_node(&node.token).await?.is_none_or(|found| found.state == NodeState::Terminated) {
            self.lost(node, service).await?;
            return Ok(None);
        }
        let Some(until) = node.paid_until else { return Ok(None) };
        let next = until.saturating_add(self.billing.tariff().period_micros());
        match self.store.node_charge(node.id, until, next, "host").await {
            // Not charged: another host was faster.
            Ok(charged) => Ok(charged.then_some(next)),
            Err(CreditError::Insufficient { balance }) => {
                tracing::warn!(
                    service = service.id,
                    user = service.user_id,
                    balance,
                    "credit is used up: the service is stopped"
                );
                self.announce("credit.exhausted", node, service, json!({ "balance": balance, "price": node.price })).await?;
                self.stop_because(&Principal::host(), service, "credit is used up").await?;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A node that somebody has destroyed behind our back. A service without its manager is none.
    async fn lost(self: &Arc<Self>, node: &ServiceNode, service: &Service) -> Result<(), Error> {
        let rows = self.store.service_nodes(service.id).await?;
        if !rows.iter().any(|row| row.id == node.id && row.state == ServiceNodeState::Present) {
            // It was removed since it was listed, and not behind our back.
            return Ok(());
        }
        tracing::warn!(service = service.id, node = node.node_id, cloud = node.cloud, "a node of a service has disappeared");
        self.announce("service.node.lost", node, service, json!({ "node": node.node_id })).await?;
        if node.role == NodeRole::Manager {
            return self.stop_because(&Principal::host(), service, "its manager has disappeared").await;
        }
        self.remove_rows(&Principal::host(), service, vec![node.id]).await
    }

    async fn announce(&self, kind: &str, node: &ServiceNode, service: &Service, data: serde_json::Value) -> Result<(), Error> {
        let mut event = event(kind, &service.id.to_string(), &node.cloud, "host");
        event.data = data;
        self.store.event_append(&event).await?;
        Ok(())
    }
}
