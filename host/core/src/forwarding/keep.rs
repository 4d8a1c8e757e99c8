//! What is kept up while the host runs: open ports as they are on record, and no rules of instances that are gone.

use super::Forwarding;
use crate::Error;
use futures::StreamExt;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};

/// Instances that are looked for at once.
const AT_ONCE: usize = 4;

impl Forwarding {
    /// Opens the ports of all rules on record, and keeps them so, until the task that runs it is dropped. Then all ports are closed
    /// and all connections are cut.
    pub async fn run(self: Arc<Self>) {
        let _end = self.stop.clone().drop_guard();
        tokio::join!(self.keep(), self.sweep());
    }

    async fn keep(&self) {
        let mut poll = interval(self.plane.tuning.poll);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            poll.tick().await;
            let kept = self.keep_once().await;
            match &kept {
                Err(error) if !failing => {
                    tracing::warn!(%error, "forwarding rules cannot be read; open ports stay open");
                }
                Ok(()) if failing => tracing::info!("forwarding rules can be read again"),
                _ => {}
            }
            failing = kept.is_err();
        }
    }

    /// Opens and closes ports as the record says.
    async fn keep_once(&self) -> Result<(), ostler_store::Error> {
        let mut ports = self.ports.lock().await;
        let forwards = self.store.forwards().await?;
        ports.keep(&forwards).await;
        Ok(())
    }

    async fn sweep(self: &Arc<Self>) {
        let period = self.plane.tuning.sweep;
        let mut sweep = interval_at(Instant::now() + period, period);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let vanished = tokio::select! {
                _ = sweep.tick() => self.vanished().await,
                () = self.plane.vanishing.notified() => Ok(self.plane.vanished()),
            };
            let removed = async {
                for instance in vanished? {
                    self.instance_gone(instance).await?;
                }
                Ok::<_, Error>(())
            };
            if let Err(error) = removed.await {
                tracing::warn!(%error, "forwarding rules of instances that are gone could not be removed; this is tried again");
            }
        }
    }

    /// Instances that have rules and are not on record any more.
    async fn vanished(&self) -> Result<BTreeSet<i64>, Error> {
        let instances: BTreeSet<i64> = self.store.forwards().await?.iter().map(|forward| forward.instance).collect();
        let asked = futures::stream::iter(instances).map(|instance| async move {
            let asked = tokio::time::timeout(self.plane.tuning.connect, self.plane.targets.address(instance)).await;
            matches!(asked, Ok(Err(Error::NoInstance(_)))).then_some(instance)
        });
        Ok(asked.buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await)
    }
}
