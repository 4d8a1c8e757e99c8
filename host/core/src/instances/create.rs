//! Making an instance: on record with its number, then its machine, stopped; or neither.

use super::{Instance, Instances, NewInstance, view};
use crate::Error;
use crate::compute::{Ended, Key, ensure, event, recorded_failure, tries};
use crate::identity::{Permission, Principal};
use crate::images::{check_name, is_visible, refused, subject, waited};
use crate::model::{Action, Force, Image, ImageStatus as Theirs, NodeSpec, NodeState, Size};
use crate::scheduler::{NotClosed, Outcome, Patience, Plan, Policy, Try, Workflow, succeeded};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ostler_drivers::{Cloud, ErrorKind};
use ostler_store::{
    Begun, ImageRecord, ImageStatus, InstanceEnd, InstanceRecord, NewInstanceRecord, NewOperation, Operation, OperationKind,
    OperationState, Outcome as Ending, RecordError, Save, Step, StepState, Store, Work,
};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Its machine is ordered.
const MAKE: &str = "make-node";
/// Its machine, which the driver cannot make otherwise than running, is stopped.
const STOP: &str = "stop-node";
/// Bytes of the longest data for a first boot.
const LONGEST_USER_DATA: usize = 64 << 10;
/// Keys for a guest, at most, and bytes of the longest.
const MOST_KEYS: usize = 64;
const LONGEST_KEY: usize = 16 << 10;
/// How long a guest has to stop when it is asked to, before it is not asked any more.
const STOPS_BY_ITSELF: Duration = Duration::from_secs(90);

impl NewInstance {
    /// Whether it is within bounds.
    fn check(&self) -> Result<(), Error> {
        if let Some(name) = &self.name {
            check_name("an instance", name)?;
        }
        if self.user_data.as_ref().is_some_and(|data| data.len() > LONGEST_USER_DATA) {
            return Err(Error::Invalid(format!("data for the first boot have at most {LONGEST_USER_DATA} bytes")));
        }
        let key = |key: &String| !key.is_empty() && key.len() <= LONGEST_KEY && !key.chars().any(char::is_control);
        if self.ssh_keys.len() > MOST_KEYS || !self.ssh_keys.iter().all(key) {
            return Err(Error::Invalid(format!(
                "there are at most {MOST_KEYS} public keys, each a line of at most {LONGEST_KEY} bytes"
            )));
        }
        Ok(())
    }
}

impl Instances {
    /// Makes an instance: on record, with a machine ordered, when this returns. It is stopped. One that fails leaves nothing.
    ///
    /// With a key, a second call returns what the first one made; [`Error::KeyReused`] if it asks for something else. Where the first
    /// failed for what passes, the second begins anew. [`Error::NotNow`] where the image cannot be used now, [`Error::NoImageRecord`], [`Error::NoSize`].
    pub async fn create(self: &Arc<Self>, who: &Principal, new: NewInstance, key: Option<Key>) -> Result<Instance, Error> {
        who.require(Permission::UseInstances)?;
        let owner = who.account()?.number;
        let cloud = self.compute.cloud(&new.cloud)?;
        new.check()?;
        let input = json!({
            "image": new.image, "name": new.name, "size": new.size, "ssh_keys": new.ssh_keys,
            "user_data": new.user_data.as_ref().map(|data| STANDARD.encode(data)), "resume": key.is_some(),
        });
        let operation = NewOperation {
            idempotency: key.map(|key| key.of(who, &cloud)),
            ..self.compute.operation(who, OperationKind::CreateInstance, &cloud, input)
        };
        let known = self.store.operation_known(&operation).await.map_err(|error| refused(RecordError::Store(error), 0))?;
        if let Some(known) = known {
            return self.created(&cloud, &known).await;
        }
        let image = self.images.record(cloud.name(), new.image).await?;
        if !is_visible(who, &image) {
            return Err(Error::NoImageRecord(new.image));
        }
        let theirs = usable(&cloud, &image).await?;
        let size = size(&cloud.list_sizes().await?.items, &theirs, new.size.as_deref())?;
        let token = uuid::Uuid::now_v7().to_string();
        let on = |step: Step| Step { cloud: Some(cloud.name().to_owned()), ..step };
        let mut steps = vec![on(Step { token: Some(token.clone()), ..Step::new(0, 0, MAKE) })];
        if !self.makes_stopped(&cloud)? {
            steps.push(on(Step::new(0, 1, STOP)));
        }
        let (name, cloud_name) = (new.name.clone(), cloud.name().to_owned());
        let record = NewInstanceRecord { cloud: cloud_name, name, image_id: image.id, owner, size, token };
        let mut intent = event("instance.create.intent", "", cloud.name(), &who.user);
        intent.data = json!({ "image": image.id, "size": record.size });
        let begun = self.store.instance_begin(&record, &operation, &steps, &intent).await;
        match begun.map_err(|error| refused(error, new.image))? {
            Begun::New(operation, record) => {
                self.until_accepted(&operation).await?;
                let record = self.store.instance_get(record.id).await?.ok_or(Error::NoInstance(record.id))?;
                Ok(view::instance(&record))
            }
            Begun::Existing(operation) => self.created(&cloud, &operation).await,
        }
    }

    /// Whether machines of a cloud can be made stopped.
    fn makes_stopped(&self, cloud: &Cloud) -> Result<bool, Error> {
        Ok(cloud.description()?.has("create-stopped") && !self.pace.stop_here)
    }

    /// Carries a creation out, and waits until the provider has accepted the order, or has refused it.
    async fn until_accepted(&self, operation: &Operation) -> Result<(), Error> {
        let id = &operation.id;
        let work = self.store.work_get(id).await?.ok_or_else(|| Error::NoOperation(id.clone()))?;
        let accepted = Arc::new(Notify::default());
        self.accepted.lock().insert(id.clone(), Arc::clone(&accepted));
        let _waiting = Waiting { instances: self, operation: id };
        tokio::select! {
            ended = self.compute.scheduler().carry_out(work, Patience::For(self.pace.patience)) => ended.map(drop),
            () = accepted.notified() => Ok(()),
        }
    }

    /// What an earlier request with the same key has made.
    async fn created(&self, cloud: &Arc<Cloud>, operation: &Operation) -> Result<Instance, Error> {
        let work = self.store.work_get(&operation.id).await?.ok_or_else(|| Error::NoOperation(operation.id.clone()))?;
        let record = self.store.instance_get(subject(&work)).await?;
        match operation.state {
            OperationState::Failed | OperationState::Abandoned => return Err(recorded_failure(operation)),
            OperationState::Pending if record.as_ref().is_none_or(InstanceRecord::is_intent) => {
                self.compute.scheduler().nudge(&operation.id);
                return Err(Error::UnderWay);
            }
            OperationState::Pending | OperationState::Succeeded => {}
        }
        self.look_at(cloud, record.ok_or(Error::NoInstance(subject(&work)))?).await
    }

    /// Makes the machine of an instance exist, and notes it: one try.
    async fn make(&self, work: &Work, step: &Step) -> Try {
        let (id, operation) = (subject(work), &work.operation);
        let cloud = match self.compute.cloud(&operation.cloud) {
            Ok(cloud) => cloud,
            Err(error) => return Try::again(&error),
        };
        let record = match self.store.instance_get(id).await {
            Ok(Some(record)) => record,
            Ok(None) => return Try::failed(&Error::NoInstance(id)),
            Err(error) => return Try::again(&error.into()),
        };
        // An earlier try may have made it.
        let before = match step.tries > 0 || operation.attempts > 1 {
            true => cloud.find_node(&record.token).await,
            false => Ok(None),
        };
        let node = match before {
            Ok(Some(node)) => node,
            Ok(None) => {
                let spec = match self.spec(work, &record, &cloud).await {
                    Ok(spec) => spec,
                    Err(error @ Error::Store(_)) => return Try::again(&error),
                    Err(error) => return Try::failed(&error),
                };
                match ensure(&cloud, &record.token, spec).await {
                    Ok(made) => made.value,
                    Err(Ended::Failed(error)) => return Try::failed(&Error::Cloud(error)),
                    Err(Ended::Unknown(error)) => return Try::again(&Error::Cloud(error)),
                }
            }
            Err(error) => return Try::again(&Error::Cloud(error)),
        };
        let address = view::address(&node).map(|address| address.to_string());
        match self.store.instance_accepted(id, &operation.id, &node.id, address.as_deref()).await {
            Ok(true) => Try::done(json!({ "node": node.id })),
            Ok(false) => Try::failed(&Error::NoInstance(id)),
            Err(error) => Try::again(&error.into()),
        }
    }

    /// The order for the machine of an instance.
    async fn spec(&self, work: &Work, record: &InstanceRecord, cloud: &Arc<Cloud>) -> Result<NodeSpec, Error> {
        let (input, unreadable) = (&work.operation.input, || Error::Invalid("the order for an instance cannot be read".into()));
        let image = self.images.record(cloud.name(), record.image_id).await?;
        let image = image.provider_id.ok_or(Error::NoImageRecord(record.image_id))?;
        let mut spec = NodeSpec::new(&record.name, image, &record.size);
        spec.start = !self.makes_stopped(cloud)?;
        spec.ssh_keys = serde_json::from_value(input["ssh_keys"].clone()).map_err(|_| unreadable())?;
        if let Some(data) = input["user_data"].as_str() {
            spec.user_data = Some(STANDARD.decode(data).map_err(|_| unreadable())?);
        }
        Ok(spec)
    }

    /// Stops the machine of a new instance that its driver has started: one try. It never fails: then the machine runs.
    async fn stop(&self, work: &Work, step: &Step) -> Try {
        let left = |why: String| {
            tracing::warn!(instance = subject(work), why, "a new instance could not be stopped: it is left as it is");
            Try::done(json!({ "left": why }))
        };
        let tried = self.try_to_stop(work, step).await;
        match tried.outcome {
            _ if waited(step.begun_at) > self.pace.build => left("it took too long".into()),
            Outcome::Failed => left(tried.error.unwrap_or_default()["message"].as_str().unwrap_or("it failed").to_owned()),
            Outcome::Retry(_) if step.tries + 1 >= self.pace.policy.tries => left("the provider does not answer".into()),
            _ => tried,
        }
    }

    async fn try_to_stop(&self, work: &Work, step: &Step) -> Try {
        let found = async {
            let (id, cloud) = (subject(work), self.compute.cloud(&work.operation.cloud)?);
            let record = self.store.instance_get(id).await?.ok_or(Error::NoInstance(id))?;
            Ok::<_, Error>((Self::machine(&cloud, &record).await?, cloud))
        };
        let (node, cloud) = match found.await {
            Ok((Some(node), cloud)) => (node, cloud),
            Ok((None, _)) => return Try::done(json!({})),
            Err(Error::Cloud(error)) => return tries::broke(error),
            Err(error) => return Try::again(&error),
        };
        let wait = || Try::wait(self.pace.pause(step.begun_at));
        let asked = step.output.as_ref().and_then(|output| output["asked_at"].as_i64());
        match node.state {
            NodeState::Stopped | NodeState::Suspended | NodeState::Failed => return Try::done(json!({})),
            NodeState::Terminated | NodeState::Terminating => return Try::done(json!({})),
            NodeState::Running if asked.is_none() || waited(asked) > STOPS_BY_ITSELF => {}
            _ => return wait(),
        }
        let force = if asked.is_none() { Force::Soft } else { Force::Hard };
        match cloud.act(&node.id, Action::Stop(force)).await {
            Ok(()) => {
                let at = asked.unwrap_or_else(ostler_store::now);
                Try { output: Some(json!({ "asked_at": at })), ..Try::wait(self.pace.poll) }
            }
            Err(error) if error.kind == ErrorKind::Conflict => wait(),
            Err(error) if error.kind == ErrorKind::NotFound => Try::done(json!({})),
            Err(error) => tries::broke(error),
        }
    }
}

/// Somebody who waits until an order is accepted, and may go away before.
struct Waiting<'a> {
    instances: &'a Instances,
    operation: &'a str,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.instances.accepted.lock().remove(self.operation);
    }
}

/// The provider's image of a record from which an instance can be made now.
async fn usable(cloud: &Arc<Cloud>, record: &ImageRecord) -> Result<Image, Error> {
    let not_now = |why: &str| Error::NotNow(format!("image {} cannot be used: {why}", record.id));
    match (record.status, &record.task) {
        (ImageStatus::Active, None) => {}
        (ImageStatus::Saving, _) => return Err(not_now("it is being saved")),
        (_, Some(_)) => return Err(not_now("it is being deleted")),
        _ => return Err(not_now(record.detail.as_deref().unwrap_or("it is not active"))),
    }
    let Some(id) = &record.provider_id else { return Err(not_now("the provider does not have it")) };
    let image = match cloud.get_image(id).await {
        Ok(image) => image,
        Err(error) if error.kind == ErrorKind::NotFound => return Err(not_now("it is gone at the provider")),
        Err(error) if error.kind == ErrorKind::Unsupported => {
            let listed = cloud.list_images().await?.iter().find(|image| image.id == *id).cloned();
            listed.ok_or_else(|| not_now("it is gone at the provider"))?
        }
        Err(error) => return Err(error.into()),
    };
    if image.status == Theirs::Active { Ok(image) } else { Err(not_now("it is not active at the provider")) }
}

/// The identifier of the size that is meant, by identifier or name; of the smallest that fits the image, if none is.
fn size(sizes: &[Size], image: &Image, wanted: Option<&str>) -> Result<String, Error> {
    if let Some(wanted) = wanted {
        let named = sizes.iter().find(|size| size.id == wanted).or_else(|| sizes.iter().find(|size| size.name == wanted));
        return named.map(|size| size.id.clone()).ok_or_else(|| Error::NoSize(wanted.to_owned()));
    }
    let (ram, disk) = (image.min_ram_mb.unwrap_or_default(), image.min_disk_gb.unwrap_or_default());
    // A size without a disk of its own takes the image's.
    let fits = |size: &&Size| size.ram_mb >= ram && (size.disk_gb >= disk || size.disk_gb == 0);
    let smallest = sizes.iter().filter(fits).min_by_key(|size| (size.ram_mb, size.disk_gb, size.vcpus, &size.id));
    smallest.map(|size| size.id.clone()).ok_or_else(|| Error::Invalid("no size of the cloud fits the image".into()))
}

/// The workflow of a creation.
pub(super) struct Create(pub(super) Arc<Instances>);

#[async_trait]
impl Workflow for Create {
    #[cfg(test)]
    fn kinds(&self) -> &'static [&'static str] {
        &[MAKE, STOP]
    }

    fn policy(&self) -> Policy {
        self.0.pace.policy
    }

    /// A client with a key will ask again, and one may have been told that it is there. Others were told nothing, and will order
    /// anew.
    fn resumes(&self, work: &Work) -> bool {
        let accepted = work.steps.first().is_some_and(|step| step.state == StepState::Done);
        accepted || work.operation.input["resume"].as_bool().unwrap_or_default()
    }

    async fn act(&self, work: &Work, position: usize) -> Try {
        let step = &work.steps[position];
        if step.kind == MAKE {
            return self.0.make(work, step).await;
        }
        // That the order was accepted is on record by now.
        if let Some(accepted) = self.0.accepted.lock().get(&work.operation.id) {
            accepted.notify_one();
        }
        self.0.stop(work, step).await
    }

    async fn undo(&self, work: &Work, position: usize) -> Try {
        let step = &work.steps[position];
        let Some(token) = step.token.as_deref() else { return Try::done(json!({})) };
        match self.0.compute.cloud(&work.operation.cloud) {
            Ok(cloud) => tries::remove(&cloud, token).await,
            Err(error) => Try::again(&error),
        }
    }

    fn plan(&self, _work: &Work) -> Plan {
        Plan::End
    }

    fn ended(&self, work: &Work) -> Ending {
        succeeded(json!({ "instance": subject(work) }))
    }

    async fn close(&self, store: &Store, owner: &str, work: &Work, save: &Save<'_>) -> Result<(), NotClosed> {
        let (operation, id) = (&work.operation, subject(work));
        let mut told = event("instance.create.done", &id.to_string(), &operation.cloud, &operation.actor);
        let end = match save.outcome {
            Some(Ending::Failed(why) | Ending::Abandoned(why)) => {
                told.kind = "instance.create.failed".into();
                told.data = json!({ "error": why.get("message").unwrap_or(&Value::Null) });
                InstanceEnd::Removed
            }
            _ => InstanceEnd::Stays { state: None, acted: false },
        };
        store.instance_ended(&operation.id, owner, save, id, end, &told).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_smallest_size_that_fits_is_taken() {
        let size_of = |id: &str, ram_mb, disk_gb| Size {
            id: id.into(),
            name: format!("name of {id}"),
            vcpus: Some(1),
            ram_mb,
            disk_gb,
            properties: Vec::new(),
            extra: String::new(),
        };
        let sizes = [size_of("big", 4096, 40), size_of("tiny", 512, 1), size_of("small", 1024, 10), size_of("thin", 2048, 0)];
        let image = |min_ram_mb, min_disk_gb| Image {
            id: "i".into(),
            name: "i".into(),
            token: None,
            status: Theirs::Active,
            size_bytes: None,
            min_disk_gb,
            min_ram_mb,
            checksum: None,
            created_at: None,
            properties: Vec::new(),
            extra: String::new(),
        };
        for (ram, disk, wanted, taken) in [
            (None, None, None, Ok("tiny")),
            (Some(600), None, None, Ok("small")),
            (None, Some(5), None, Ok("small")),
            (None, Some(11), None, Ok("thin")),
            (Some(3000), Some(11), None, Ok("big")),
            (Some(8000), None, None, Err("no size of the cloud fits the image")),
            (Some(8000), None, Some("tiny"), Ok("tiny")),
            (None, None, Some("name of big"), Ok("big")),
            (None, None, Some("huge"), Err("no size has the id `huge`")),
        ] {
            let found = size(&sizes, &image(ram, disk), wanted).map_err(|error| error.to_string());
            assert_eq!(found.as_deref().map_err(String::as_str), taken, "{ram:?} {disk:?} {wanted:?}");
        }
    }
}
