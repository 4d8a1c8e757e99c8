//! Deleting an image: at the provider, then on record.

use super::{Images, refused, subject};
use crate::Error;
use crate::compute::{event, tries};
use crate::identity::{Permission, Principal};
use crate::images::register::unsupported;
use crate::scheduler::{NotClosed, Patience, Plan, Policy, Try, Workflow};
use async_trait::async_trait;
use ostler_drivers::ErrorKind;
use ostler_store::{Begun, ImageRecord, ImageTask, OperationKind, Outcome as Ending, Save, Step, Store, Work};
use serde_json::json;
use std::sync::Arc;

/// The one step.
const DELETE: &str = "delete-image";

impl Images {
    /// Deletes an image, at the provider and on record. [`Error::NotNow`] while it arrives or instances are made from it.
    pub async fn delete(self: &Arc<Self>, who: &Principal, cloud: &str, id: i64) -> Result<(), Error> {
        who.require(Permission::ManageImages)?;
        let cloud = self.compute.cloud(cloud)?;
        let record = self.record(cloud.name(), id).await?;
        if record.task == Some(ImageTask::Import) {
            return Err(Error::NotNow(format!("image {id} is being saved")));
        }
        if record.provider_id.is_some() && !cloud.description()?.has("image-delete") {
            return Err(unsupported(format!("cloud `{}`: its driver cannot delete images", cloud.name())));
        }
        let operation = self.compute.operation(who, OperationKind::DeleteImage, &cloud, json!({ "image": id }));
        let step = Step { cloud: Some(cloud.name().to_owned()), ..Step::new(0, 0, DELETE) };
        let intent = event("image.delete.intent", &id.to_string(), cloud.name(), &who.user);
        let begun = self.store.image_delete_begin(id, &operation, &[step], &intent).await;
        match begun.map_err(|error| refused(error, id))? {
            Begun::New(operation, _) => {
                let work = self.store.work_get(&operation.id).await?.ok_or(Error::NoOperation(operation.id))?;
                self.compute.scheduler().carry_out(work, Patience::For(self.pace.patience)).await?;
                Ok(())
            }
            // Somebody else deletes it: his end is ours.
            Begun::Existing(operation) => self.compute.ended(&operation.id, self.pace.patience).await,
        }
    }

    async fn delete_at_provider(&self, record: &ImageRecord) -> Try {
        let cloud = match self.compute.cloud(&record.cloud) {
            Ok(cloud) => cloud,
            Err(error) => return Try::again(&error),
        };
        let mut provider_id = record.provider_id.clone();
        if let Some(token) = &record.token {
            // By the token and not by the identifier, which some providers give again.
            match cloud.find_image(token).await {
                Ok(found) => provider_id = found.map(|image| image.id),
                Err(error) if error.kind == ErrorKind::Unsupported => {}
                Err(error) => return tries::broke(error),
            }
        }
        let Some(provider_id) = provider_id else { return Try::done(json!({})) };
        match cloud.delete_image(&provider_id).await {
            Ok(()) => Try::done(json!({})),
            // Somebody else was faster, or the answer to an earlier try was lost.
            Err(error) if error.kind == ErrorKind::NotFound => Try::done(json!({})),
            Err(error) if error.kind == ErrorKind::Conflict => {
                Try::failed(&Error::NotNow(format!("image {} cannot be deleted now: {error}", record.id)))
            }
            Err(error) => tries::broke(error),
        }
    }
}

/// The workflow of a removal. What the provider refuses stays; an interrupted one goes on.
pub(super) struct Remove(pub(super) Arc<Images>);

#[async_trait]
impl Workflow for Remove {
    #[cfg(test)]
    fn kinds(&self) -> &'static [&'static str] {
        &[DELETE]
    }

    fn policy(&self) -> Policy {
        self.0.pace.policy
    }

    async fn act(&self, work: &Work, _position: usize) -> Try {
        match self.0.store.image_get(subject(work)).await {
            Ok(Some(record)) => self.0.delete_at_provider(&record).await,
            Ok(None) => Try::done(json!({})),
            Err(error) => Try::again(&error.into()),
        }
    }

    async fn undo(&self, _work: &Work, _position: usize) -> Try {
        Try::done(json!({}))
    }

    fn plan(&self, _work: &Work) -> Plan {
        Plan::End
    }

    async fn close(&self, store: &Store, owner: &str, work: &Work, save: &Save<'_>) -> Result<(), NotClosed> {
        let (operation, id) = (&work.operation, subject(work));
        let mut told = event("image.delete.done", &id.to_string(), &operation.cloud, &operation.actor);
        if let Some(Ending::Failed(why) | Ending::Abandoned(why)) = save.outcome {
            told.kind = "image.delete.failed".into();
            told.data = json!({ "error": why["message"] });
        }
        store.image_deleted(&operation.id, owner, save, id, &told).await?;
        Ok(())
    }
}
