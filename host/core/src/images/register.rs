//! Registering an image: on record at once, then fetched by the provider or by this host, and given to the provider; or none of it.

use super::flights::Fetched;
use super::source::Order;
use super::{Image, Images, NewImage, image, refused, subject};
use crate::Error;
use crate::compute::{Key, event, tries};
use crate::identity::{Permission, Principal};
use crate::model::{ImageSource, ImageSpec, ImageStatus};
use crate::scheduler::{NotClosed, Outcome, Plan, Policy, Try, Workflow, succeeded};
use async_trait::async_trait;
use ostler_drivers::{Cloud, ErrorKind};
use ostler_images::Staged;
use ostler_store::{
    Begun, ImageEnd, NewImageRecord, NewOperation, Operation, OperationKind, Outcome as Ending, Progress, RecordError, Save,
    Step, Store, Work,
};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// The one step: its content is fetched, given to the provider, and has arrived there.
const IMPORT: &str = "import";
/// Of the progress that is shown, what is the host's part where it fetches.
const FETCHING: u8 = 90;
/// Characters of the longest reason on record.
const LONGEST_REASON: usize = 1000;

impl Images {
    /// Registers an image: on record, and on its way, when this returns. With a key, a second call returns the image of the first;
    /// [`Error::KeyReused`] if it asks for something else. [`Error::Cloud`] of the kind `unsupported` where the driver cannot
    /// import images.
    pub async fn register(self: &Arc<Self>, who: &Principal, new: NewImage, key: Option<Key>) -> Result<Image, Error> {
        who.require(Permission::ManageImages)?;
        let cloud = self.compute.cloud(&new.cloud)?;
        let order = Order::check(&new)?;
        let operation = NewOperation {
            idempotency: key.map(|key| key.of(who, &cloud)),
            ..self.compute.operation(who, OperationKind::ImportImage, &cloud, order.input())
        };
        let known = self.store.operation_known(&operation).await.map_err(|error| refused(RecordError::Store(error), 0))?;
        if let Some(known) = known {
            return self.registered(&known).await;
        }
        let staged = self.fetches_for(&cloud)?;
        if let Some(fetcher) = self.fetcher.as_ref().filter(|_| staged) {
            fetcher.check(&order.source).map_err(|error| Error::Invalid(order.clean(&error.to_string())))?;
        }
        let token = uuid::Uuid::now_v7().to_string();
        let record = NewImageRecord {
            cloud: cloud.name().to_owned(),
            name: order.name.clone(),
            owner: who.account.as_ref().map(|account| account.number),
            source: order.shown(),
            token: token.clone(),
        };
        let step = Step {
            cloud: Some(cloud.name().to_owned()),
            token: Some(token),
            input: json!({ "staged": staged }),
            ..Step::new(0, 0, IMPORT)
        };
        let until = i64::try_from(self.pace.import.as_micros()).unwrap_or(i64::MAX);
        let progress = Progress { deadline: Some(ostler_store::now().saturating_add(until)), ..Progress::default() };
        let mut intent = event("image.register.intent", "", cloud.name(), &who.user);
        intent.data = json!({ "name": record.name, "source": record.source });
        match self.store.image_begin(&record, &operation, &progress, &[step], &intent).await {
            Ok(Begun::New(operation, record)) => {
                let work = self.store.work_get(&operation.id).await?.ok_or(Error::NoOperation(operation.id))?;
                self.compute.scheduler().start(work)?;
                Ok(image(record))
            }
            Ok(Begun::Existing(operation)) => self.registered(&operation).await,
            Err(error) => Err(refused(RecordError::Store(error), 0)),
        }
    }

    /// The image of an earlier request with the same key, as it is now.
    async fn registered(&self, operation: &Operation) -> Result<Image, Error> {
        let work = self.store.work_get(&operation.id).await?.ok_or_else(|| Error::NoOperation(operation.id.clone()))?;
        let id = subject(&work);
        Ok(image(self.store.image_get(id).await?.ok_or(Error::NoImageRecord(id))?))
    }

    /// Whether this host fetches for a cloud; otherwise its provider does.
    fn fetches_for(&self, cloud: &Cloud) -> Result<bool, Error> {
        let driver = cloud.description()?;
        let (plain, by_url) = (driver.has("image-import"), driver.has("image-import:url"));
        let staged = driver.has("image-import:staged");
        if self.fetcher.is_some() && ((staged && !by_url) || (self.pace.fetch_here && plain)) {
            return Ok(true);
        }
        if plain || by_url {
            return Ok(false);
        }
        let why = if staged { "this host does not fetch images" } else { "its driver cannot import images" };
        Err(unsupported(format!("cloud `{}`: {why}", cloud.name())))
    }
}

/// Something that a cloud cannot do.
pub(crate) fn unsupported(message: String) -> Error {
    Error::Cloud(ostler_drivers::Error::new(ErrorKind::Unsupported, message))
}

/// The workflow of an import. Whoever ordered it has been told that it is on its way: it goes on after a crash.
pub(super) struct Import(pub(super) Arc<Images>);

/// A try of the step of an import.
struct Trying<'a> {
    images: &'a Images,
    work: &'a Work,
    step: &'a Step,
    cloud: Arc<Cloud>,
    token: &'a str,
    order: Order,
    staged: bool,
}

impl<'a> Trying<'a> {
    fn new(images: &'a Images, work: &'a Work, step: &'a Step) -> Result<Self, Try> {
        let cloud = images.compute.cloud(&work.operation.cloud).map_err(|error| Try::again(&error))?;
        let order = Order::of(work).map_err(|error| Try::failed(&error))?;
        let staged = step.input["staged"].as_bool().unwrap_or_default();
        Ok(Self { images, work, step, cloud, token: step.token.as_deref().unwrap_or_default(), order, staged })
    }

    async fn import(&self) -> Try {
        match self.cloud.find_image(self.token).await {
            // What this host sends ends with the run of the host that sends it: it is given to the provider again, which knows
            // what it has by the token.
            Ok(Some(image)) if !self.staged || self.images.has_ordered(self.token) || has_ended(&image.status) => {
                self.follow(image).await
            }
            Ok(_) => self.give().await,
            Err(error) => tries::broke(self.order.clean_error(error)),
        }
    }

    /// Gives the image to the provider, as soon as it can be.
    async fn give(&self) -> Try {
        let mut spec = ImageSpec {
            name: self.order.name.clone(),
            source: ImageSource::Url(self.order.source.to_string()),
            format: None,
            checksum: self.order.checksum.clone(),
            properties: Vec::new(),
            extra: String::new(),
        };
        if self.staged {
            let staged = match self.images.fetched(self.token, &self.order).await {
                Fetched::Arriving(percent) => return self.wait(percent.map(|percent| scaled(percent, 0, FETCHING))).await,
                Fetched::Broken(error) => return self.broken(&error),
                Fetched::Ready(staged) => staged,
            };
            if self.facts().is_none() {
                // What is known of it outlives this run of the host.
                let facts = json!({ "checksum": staged.checksum, "bytes": staged.bytes });
                return Try { output: Some(json!({ "fetched": facts })), ..Try::wait(Duration::ZERO) };
            }
            let Staged { format, .. } = staged;
            spec.source = ImageSource::Staged(self.token.to_owned());
            // The checksum was that of what was fetched; what is ready may have been rewritten.
            (spec.format, spec.checksum) = (Some(format), None);
        }
        match self.cloud.import_image(self.token, spec).await {
            Ok(made) => {
                self.images.set_ordered(self.token);
                self.follow(made.value).await
            }
            Err(error) => tries::broke(self.order.clean_error(error)),
        }
    }

    /// Follows what the provider does with it.
    async fn follow(&self, image: crate::model::Image) -> Try {
        let id = subject(self.work);
        if let Err(error) = self.images.store.image_found(id, &self.work.operation.id, &image.id).await {
            return Try::again(&error.into());
        }
        let percent = match image.status {
            ImageStatus::Active => {
                let fetched = self.facts().unwrap_or(&Value::Null);
                let theirs = image.checksum.filter(|checksum| checksum.starts_with("sha256:"));
                return Try::done(json!({
                    "provider_id": image.id,
                    "checksum": fetched["checksum"].as_str().map(str::to_owned).or(theirs),
                    "size_bytes": fetched["bytes"].as_u64().or(image.size_bytes),
                }));
            }
            ImageStatus::Failed(why) => {
                return tries::lost(self.order.clean(&format!("the provider could not import it: {why}")));
            }
            ImageStatus::Deleting => return tries::lost("it is being deleted at the provider"),
            ImageStatus::Importing(percent) => percent,
            ImageStatus::Pending | ImageStatus::Other(_) => None,
        };
        let first = if self.staged { FETCHING } else { 0 };
        self.wait(percent.map(|percent| scaled(percent, first, 100))).await
    }

    /// What is known of what was fetched.
    fn facts(&self) -> Option<&'a Value> {
        self.step.output.as_ref().map(|output| &output["fetched"]).filter(|facts| facts.is_object())
    }

    async fn wait(&self, percent: Option<u8>) -> Try {
        if let Some(percent) = percent.filter(|percent| self.images.is_news(self.token, *percent)) {
            let noted = self.images.store.image_progress(subject(self.work), &self.work.operation.id, percent).await;
            if let Err(error) = noted {
                tracing::debug!(%error, "the progress of an image could not be written down");
            }
        }
        Try::wait(self.images.pace.pause(self.step.begun_at))
    }

    /// What a failure to fetch means.
    fn broken(&self, error: &ostler_images::Error) -> Try {
        let message = self.order.clean(&error.to_string());
        match error {
            ostler_images::Error::Refused(_) => tries::lost(message),
            _ => Try::again(&Error::Cloud(ostler_drivers::Error::new(ErrorKind::Transient, message))),
        }
    }
}

/// A part of the whole.
fn scaled(percent: u8, first: u8, last: u8) -> u8 {
    let part = u16::from(percent.min(100)) * u16::from(last.saturating_sub(first)) / 100;
    first.saturating_add(u8::try_from(part).unwrap_or_default())
}

fn has_ended(status: &ImageStatus) -> bool {
    matches!(status, ImageStatus::Active | ImageStatus::Failed(_) | ImageStatus::Deleting)
}

#[async_trait]
impl Workflow for Import {
    #[cfg(test)]
    fn kinds(&self) -> &'static [&'static str] {
        &[IMPORT]
    }

    fn policy(&self) -> Policy {
        self.0.pace.policy
    }

    async fn act(&self, work: &Work, position: usize) -> Try {
        match Trying::new(&self.0, work, &work.steps[position]) {
            Ok(trying) => trying.import().await,
            Err(tried) => tried,
        }
    }

    /// Sees to it that the provider has no image with the token.
    async fn undo(&self, work: &Work, position: usize) -> Try {
        let trying = match Trying::new(&self.0, work, &work.steps[position]) {
            Ok(trying) => trying,
            Err(tried) => return tried,
        };
        self.0.land(trying.token);
        let tried = remove(&trying.cloud, trying.token).await;
        match &tried.error {
            Some(error) if tried.outcome != Outcome::Done => {
                let cleaned = error["message"].as_str().map(|message| trying.order.clean(message));
                let mut error = error.clone();
                error["message"] = json!(cleaned);
                Try { error: Some(error), ..tried }
            }
            _ => tried,
        }
    }

    fn plan(&self, _work: &Work) -> Plan {
        Plan::End
    }

    fn ended(&self, work: &Work) -> Ending {
        succeeded(json!({ "image": subject(work) }))
    }

    async fn close(&self, store: &Store, owner: &str, work: &Work, save: &Save<'_>) -> Result<(), NotClosed> {
        let (operation, id) = (&work.operation, subject(work));
        let token = work.steps.first().and_then(|step| step.token.as_deref()).unwrap_or_default();
        self.0.land(token);
        if let Some(fetcher) = &self.0.fetcher
            && let Err(error) = fetcher.forget(token).await
        {
            tracing::warn!(image = id, %error, "a fetched image could not be removed from the staging directory");
        }
        let output = work.steps.first().and_then(|step| step.output.as_ref()).unwrap_or(&Value::Null);
        let mut told = event("image.register.done", &id.to_string(), &operation.cloud, &operation.actor);
        let end = match save.outcome {
            Some(Ending::Failed(why) | Ending::Abandoned(why)) => {
                let why = why["message"].as_str().unwrap_or("it failed").chars().take(LONGEST_REASON).collect::<String>();
                told.kind = "image.register.failed".into();
                told.data = json!({ "error": why });
                ImageEnd::Failed(why)
            }
            _ => ImageEnd::Active {
                provider_id: output["provider_id"].as_str().unwrap_or_default().to_owned(),
                checksum: output["checksum"].as_str().map(str::to_owned),
                size_bytes: output["size_bytes"].as_u64(),
            },
        };
        store.image_imported(&operation.id, owner, save, id, &end, &told).await?;
        Ok(())
    }
}

/// Sees to it that the provider has no image with this token: one try.
async fn remove(cloud: &Arc<Cloud>, token: &str) -> Try {
    let again = |error: ostler_drivers::Error| Try::again(&Error::Cloud(error));
    let found = match cloud.find_image(token).await {
        Ok(None) => return Try::done(json!({})),
        Ok(Some(image)) => image,
        // Without the feature nothing was imported.
        Err(error) if error.kind == ErrorKind::Unsupported => return Try::done(json!({})),
        Err(error) => return again(error),
    };
    match cloud.delete_image(&found.id).await {
        Ok(()) => {}
        Err(error) if error.kind == ErrorKind::NotFound => {}
        Err(error) if error.kind == ErrorKind::Unsupported => {
            tracing::warn!(cloud = cloud.name(), image = found.id, "the rest of an image stays: its driver cannot delete images");
            return Try::done(json!({}));
        }
        Err(error) => return again(error),
    }
    match cloud.find_image(token).await {
        Ok(None) => Try::done(json!({})),
        Ok(Some(_)) => Try::wait(Duration::from_millis(200)),
        Err(error) => again(error),
    }
}
