//! Images on record: registered by reference, fetched and checked by the host where the driver wants that, and given to the
//! provider. Images that a provider has besides are on record, too, from the first time that they are seen.

mod catalogue;
mod flights;
mod register;
mod remove;
mod source;
#[cfg(test)]
pub(crate) mod tests;

use crate::Error;
use crate::compute::Compute;
use crate::identity::{Permission, Principal};
use crate::scheduler::{Policy, Workflow};
pub(crate) use register::unsupported;
pub(crate) use source::check_name;

use flights::{Fetch, Flight};
use ostler_images::Fetcher;
use ostler_store::{ImageRecord, ImageStatus, OperationKind, RecordError, Store, Work};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How far an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageState {
    /// Content is arriving; percent, where it is known.
    Saving(Option<u8>),
    /// Instances can be made from it.
    Active,
    /// It cannot be used, and why.
    Failed(String),
}

/// An image on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its number: never given again.
    pub id: i64,
    /// The cloud.
    pub cloud: String,
    /// Its name.
    pub name: String,
    /// The number of the account that registered it; none for what the provider had by itself.
    pub owner: Option<i64>,
    /// How far it is.
    pub state: ImageState,
    /// Where its content came from, without credentials; none for what the provider had by itself.
    pub source: Option<String>,
    /// `sha256:<hex>` of what was fetched, once that is known.
    pub checksum: Option<String>,
    /// Bytes of it, once that is known.
    pub size_bytes: Option<u64>,
    /// The provider's identifier, once there is one.
    pub provider_id: Option<String>,
    /// Microseconds UTC.
    pub created_at: i64,
    /// Microseconds UTC.
    pub updated_at: i64,
}

/// An order for an image.
#[derive(Clone, Debug)]
pub struct NewImage {
    /// The cloud.
    pub cloud: String,
    /// Its name, 1 to 255 characters without control characters.
    pub name: String,
    /// Where its content is: an absolute `http` or `https` address.
    pub source: String,
    /// `sha256:<hex>` that the content must have.
    pub checksum: Option<String>,
}

/// How often is looked for images that were fetched in part and left.
const TIDY: Duration = Duration::from_hours(1);

/// How long things take, and how often something is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Of what is asked of a provider.
    pub(crate) policy: Policy,
    /// How often is looked how far something is, at first and later.
    pub(crate) poll: Duration,
    pub(crate) poll_slowly: Duration,
    /// How long somebody waits for the end of what he wants; it goes on without him.
    pub(crate) patience: Duration,
    /// How long an image may take to arrive.
    pub(crate) import: Duration,
    /// How long a machine may take until something can be done to it.
    pub(crate) build: Duration,
    /// Whether the host fetches images also for providers that could.
    pub(crate) fetch_here: bool,
    /// Whether the host stops new machines also where drivers make them stopped.
    pub(crate) stop_here: bool,
}

impl Default for Pace {
    /// Tries for some minutes, half a minute of patience, twelve hours for an image, 20 minutes for a machine.
    fn default() -> Self {
        Self {
            policy: Policy { tries: 16, longest_pause: 30_000_000, ..Policy::default() },
            poll: Duration::from_millis(50),
            poll_slowly: Duration::from_secs(2),
            patience: Duration::from_secs(30),
            import: Duration::from_secs(12 * 3600),
            build: Duration::from_secs(20 * 60),
            fetch_here: false,
            stop_here: false,
        }
    }
}

impl Pace {
    /// How long to wait until the next look at what was begun then, in microseconds UTC: longer as time goes by.
    pub(crate) fn pause(&self, begun: Option<i64>) -> Duration {
        (self.poll + waited(begun) / 10).min(self.poll_slowly)
    }
}

/// How long ago that was, in microseconds UTC.
pub(crate) fn waited(since: Option<i64>) -> Duration {
    let since = since.map_or(0, |since| ostler_store::now().saturating_sub(since));
    Duration::from_micros(u64::try_from(since).unwrap_or_default())
}

/// The use cases around images on record.
pub struct Images {
    compute: Arc<Compute>,
    store: Store,
    fetcher: Option<Arc<dyn Fetch>>,
    /// What is on its way, by token.
    flights: Mutex<HashMap<String, Flight>>,
    pace: Pace,
}

impl Images {
    /// On these clouds. Without a fetcher, only drivers whose providers fetch for themselves can import images.
    pub fn new(compute: Arc<Compute>, fetcher: Option<Arc<Fetcher>>) -> Arc<Self> {
        Self::with(compute, fetcher.map(|fetcher| fetcher as Arc<dyn Fetch>), Pace::default())
    }

    pub(crate) fn with(compute: Arc<Compute>, fetcher: Option<Arc<dyn Fetch>>, pace: Pace) -> Arc<Self> {
        let store = compute.store().clone();
        let this = Arc::new(Self { compute, store, fetcher, flights: Mutex::default(), pace });
        let workflows: [(OperationKind, Arc<dyn Workflow>); 2] = [
            (OperationKind::ImportImage, Arc::new(register::Import(Arc::clone(&this)))),
            (OperationKind::DeleteImage, Arc::new(remove::Remove(Arc::clone(&this)))),
        ];
        this.compute.scheduler().install(HashMap::from(workflows));
        this
    }

    pub(crate) fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Removes now and then what was fetched in part and is not wanted any more, until the task that runs it is dropped.
    pub async fn tidy(self: Arc<Self>) {
        let Some(fetcher) = &self.fetcher else { return };
        let mut interval = tokio::time::interval(TIDY);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            // No import lasts twice as long as one may.
            if let Err(error) = fetcher.tidy(self.pace.import * 2).await {
                tracing::warn!(%error, "the staging directory of images could not be tidied");
            }
        }
    }

    /// The images of a cloud, by number. What the provider has besides is put on record first; where it does not answer, what is
    /// on record has to do. Whoever does not manage images sees those that can be used.
    pub async fn list(&self, who: &Principal, cloud: &str) -> Result<Vec<Image>, Error> {
        who.require(Permission::UseCatalogue)?;
        let cloud = self.compute.cloud(cloud)?;
        let mut records = self.store.images(cloud.name()).await?;
        match cloud.list_images().await {
            Ok(listed) => {
                if self.catch_up(&cloud, &records, &listed).await? {
                    records = self.store.images(cloud.name()).await?;
                }
            }
            Err(error) => tracing::debug!(cloud = cloud.name(), %error, "a provider's images cannot be listed"),
        }
        Ok(records.into_iter().filter(|record| is_visible(who, record)).map(image).collect())
    }

    /// One image. [`Error::NoImageRecord`], also for an image that cannot be used, of those who do not manage images.
    pub async fn get(&self, who: &Principal, cloud: &str, id: i64) -> Result<Image, Error> {
        who.require(Permission::UseCatalogue)?;
        let cloud = self.compute.cloud(cloud)?;
        let record = self.present(&cloud, id).await?;
        if is_visible(who, &record) { Ok(image(record)) } else { Err(Error::NoImageRecord(id)) }
    }

    /// An image's record of this cloud.
    pub(crate) async fn record(&self, cloud: &str, id: i64) -> Result<ImageRecord, Error> {
        let record = self.store.image_get(id).await?;
        let there = |record: &ImageRecord| record.cloud == cloud && record.status != ImageStatus::Gone;
        record.filter(there).ok_or(Error::NoImageRecord(id))
    }
}

/// Whether somebody sees an image: whoever manages images sees all, others what can be used.
pub(crate) fn is_visible(who: &Principal, record: &ImageRecord) -> bool {
    match record.status {
        ImageStatus::Gone => false,
        ImageStatus::Active => true,
        ImageStatus::Saving | ImageStatus::Failed => who.require(Permission::ManageImages).is_ok(),
    }
}

fn image(record: ImageRecord) -> Image {
    let state = match record.status {
        ImageStatus::Saving => ImageState::Saving(record.progress),
        ImageStatus::Active => ImageState::Active,
        ImageStatus::Failed | ImageStatus::Gone => ImageState::Failed(record.detail.unwrap_or_default()),
    };
    Image {
        id: record.id,
        cloud: record.cloud,
        name: record.name,
        owner: record.owner,
        state,
        source: record.source,
        checksum: record.checksum,
        size_bytes: record.size_bytes,
        provider_id: record.provider_id,
        created_at: record.created_at,
        updated_at: record.updated_at,
    }
}

/// Why nothing can be done about an image or with it.
pub(crate) fn refused(error: RecordError, id: i64) -> Error {
    match error {
        RecordError::NotFound => Error::NoImageRecord(id),
        RecordError::UnderWay => Error::NotNow(format!("image {id} is being saved")),
        RecordError::NotActive => Error::NotNow(format!("image {id} is not active")),
        RecordError::InUse => Error::NotNow(format!("instances are made from image {id}")),
        RecordError::Store(ostler_store::Error::IdempotencyMismatch) => Error::KeyReused,
        RecordError::Store(error) => error.into(),
    }
}

/// The number of what an operation is about: the record of an image or an instance.
pub(crate) fn subject(work: &Work) -> i64 {
    let number = work.subject.as_deref().and_then(|subject| subject.rsplit('/').next()?.parse().ok());
    number.unwrap_or_default()
}
