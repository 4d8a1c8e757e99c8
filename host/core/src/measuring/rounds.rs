//! The rounds: each so often all clouds are asked, and now and then what is too old is forgotten.

use super::rollup::{AHEAD, Book};
use super::{FEATURE, Measuring};
use crate::Error;
use crate::model::Sample;
use ostler_drivers::Cloud;
use ostler_store::Resolution;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Clouds that are asked at a time.
const AT_ONCE: usize = 8;
/// How often is looked for what is too old.
const FORGET_EVERY: Duration = Duration::from_secs(3600);
/// Rows that are forgotten at a time.
const PORTION: u32 = 5000;

/// What a round came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Clouds that were measured, by this host.
    pub clouds: usize,
    /// Values that were taken.
    pub values: usize,
}

impl Measuring {
    /// Measures now and then, until the task that runs it is dropped.
    ///
    /// Rounds begin at whole multiples of [`every`](super::Settings::every) since 1970, each cloud a little later than that, and by
    /// chance: of hosts that share a store the first one does the work. A cloud that is slow is left out until it has answered.
    pub async fn run(self: Arc<Self>) {
        let every = self.every();
        let permits = Arc::new(Semaphore::new(AT_ONCE));
        let mut tasks = JoinSet::new();
        let mut busy = HashMap::new();
        // Hosts that start together need not forget together.
        let first = FORGET_EVERY.mul_f64(rand::random_range(0.1..1.0));
        let mut forget = tokio::time::interval_at(tokio::time::Instant::now() + first, FORGET_EVERY);
        forget.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The clock is looked at each time: it may have been put right meanwhile.
        let next = || {
            let wait = every - ostler_store::now().rem_euclid(every.max(1));
            tokio::time::Instant::now() + Duration::from_micros(wait.unsigned_abs())
        };
        let mut due = next();
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(due), if every > 0 => {
                    due = next();
                    busy.retain(|_, task: &mut tokio::task::AbortHandle| !task.is_finished());
                    for cloud in self.compute.cloud_names() {
                        if let Entry::Vacant(free) = busy.entry(cloud) {
                            let (this, permits) = (Arc::clone(&self), Arc::clone(&permits));
                            let task = tasks.spawn(this.measure_later(free.key().clone(), permits));
                            free.insert(task);
                        }
                    }
                }
                _ = forget.tick() => {
                    let this = Arc::clone(&self);
                    tasks.spawn(async move {
                        if let Err(error) = this.forget(ostler_store::now()).await {
                            tracing::warn!(%error, "old samples could not be forgotten");
                        }
                    });
                }
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            }
        }
    }

    async fn measure_later(self: Arc<Self>, cloud: String, permits: Arc<Semaphore>) {
        let most = (self.settings.every / 4).min(Duration::from_secs(10));
        tokio::time::sleep(most.mul_f64(rand::random_range(0.0..1.0))).await;
        let Ok(_permit) = permits.acquire().await else { return };
        self.measure_or_tell(&cloud, ostler_store::now()).await;
    }

    /// One round at this time, in microseconds UTC, over all clouds. A cloud that does not answer is passed over.
    pub async fn measure(&self, now: i64) -> Measured {
        let mut measured = Measured::default();
        for cloud in self.compute.cloud_names() {
            if let Some(values) = self.measure_or_tell(&cloud, now).await {
                measured.clouds += 1;
                measured.values += values;
            }
        }
        measured
    }

    async fn measure_or_tell(&self, cloud: &str, now: i64) -> Option<usize> {
        match self.measure_cloud(cloud, now).await {
            Ok(values) => values,
            Err(error @ Error::Store(_)) => {
                tracing::warn!(cloud, %error, "samples could not be kept");
                None
            }
            Err(error) => {
                tracing::debug!(cloud, %error, "a cloud cannot be measured");
                None
            }
        }
    }

    /// How many values were taken; none where nothing was to do, or somebody else did it.
    async fn measure_cloud(&self, name: &str, now: i64) -> Result<Option<usize>, Error> {
        let cloud = self.compute.cloud(name)?;
        if !can_sample(&cloud) {
            return Ok(None);
        }
        let subjects = self.subjects.all(name).await?;
        let tokens: HashMap<&str, &str> =
            subjects.iter().filter_map(|(token, node)| Some((node.as_deref()?, token.as_str()))).collect();
        if tokens.is_empty() {
            return Ok(None);
        }
        let every = self.every().max(1);
        let round = now - now.rem_euclid(every);
        // Before everything else that is read: whoever writes meanwhile makes it out of date.
        let (revision, latest) = self.store.samples_round(name).await?;
        if is_done(latest, round, every) {
            return Ok(None);
        }
        let samples = cloud.sample(Vec::new()).await?;
        self.record(name, (revision, round), now, &tokens, samples).await
    }

    /// Keeps what a driver has measured of the machines with these tokens, by the provider's identifiers. How many values; none
    /// where somebody else has kept some since this revision.
    pub(super) async fn record(
        &self,
        cloud: &str,
        (revision, round): (i64, i64),
        now: i64,
        tokens: &HashMap<&str, &str>,
        mut samples: Vec<Sample>,
    ) -> Result<Option<usize>, Error> {
        samples.retain(|sample| tokens.contains_key(sample.node_id.as_str()));
        samples.sort_by_key(|sample| sample.at);
        let subjects: Vec<&str> = tokens.values().copied().collect();
        let known = self.store.sample_series(cloud, &subjects).await?;
        let mut book = Book::new(now, self.every().max(1), known);
        for sample in &samples {
            if let Some(token) = tokens.get(sample.node_id.as_str()) {
                book.take(token, sample.at, &sample.values);
            }
        }
        let (series, points) = book.close();
        let written = self.store.samples_write(cloud, revision, round, &series, &points).await?;
        Ok(written.then_some(series.len()))
    }

    /// Forgets what is too old at this time, in microseconds UTC, in portions. How many roll-ups and series.
    pub async fn forget(&self, now: i64) -> Result<u64, Error> {
        let settings = &self.settings;
        let before = |keep: Duration| now.saturating_sub(micros(keep));
        let mut forgotten = 0;
        for resolution in Resolution::ALL {
            let keep = match resolution {
                Resolution::Minute | Resolution::FiveMinutes => settings.keep_minutes,
                Resolution::Hour => settings.keep_hours,
                Resolution::Day => settings.keep_days,
            };
            let before = resolution.start_of(before(keep));
            loop {
                let some = self.store.sample_rollups_prune(resolution, before, PORTION).await?;
                forgotten += some;
                if some < u64::from(PORTION) {
                    break;
                }
            }
        }
        // When their last day is gone for certain.
        let longest = settings.keep_minutes.max(settings.keep_hours).max(settings.keep_days);
        let before = before(longest).saturating_sub(Resolution::Day.micros());
        loop {
            let some = self.store.sample_series_prune(before, PORTION).await?;
            forgotten += some;
            if some < u64::from(PORTION) {
                return Ok(forgotten);
            }
        }
    }

    /// How far rounds are apart, in microseconds: a second at least. 0: there are none.
    fn every(&self) -> i64 {
        match micros(self.settings.every) {
            0 => 0,
            every => every.max(crate::SECOND),
        }
    }
}

/// Whether somebody has done this round, or a later one by a clock that is ahead of ours. What is much later was written by a
/// wrong clock, and is not waited for.
fn is_done(latest: Option<i64>, round: i64, every: i64) -> bool {
    latest.is_some_and(|latest| latest >= round && latest - round <= every.max(AHEAD))
}

/// Whether a cloud's driver measures.
pub(super) fn can_sample(cloud: &Cloud) -> bool {
    cloud.status().description.as_ref().is_some_and(|description| description.has(FEATURE))
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_done_once() {
        const MINUTE: i64 = 60_000_000;
        // (what was written last, in minutes; whether round 100 is done)
        for (latest, done) in
            [(None, false), (Some(99), false), (Some(100), true), (Some(101), true), (Some(102), false), (Some(9999), false)]
        {
            assert_eq!(is_done(latest.map(|latest| latest * MINUTE), 100 * MINUTE, MINUTE), done, "{latest:?}");
        }
    }
}
