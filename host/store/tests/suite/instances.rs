//! Images and instances on record.

use std::sync::Arc;

use ostler_store::{
    Adopted, Begun, Error, ImageEnd, ImageRecord, ImageSeen, ImageStatus, ImageTask, InstanceEnd, InstanceFilter, InstanceRecord,
    InstanceSeen, InstanceStatus, InstanceTask, NewImageRecord, NewInstanceRecord, Operation, OperationKind, Progress,
    RecordError, Step, Store,
};
use serde_json::json;

use crate::credit::user;
use crate::fixture::{Fixture, race};
use crate::world::{event, failed, keyed, order, succeeded, unique};

fn new_image(owner: Option<i64>) -> NewImageRecord {
    NewImageRecord {
        cloud: "c".into(),
        name: "Wiki".into(),
        owner,
        source: "https://example.org/wiki.qcow2".into(),
        token: format!("i-{}", unique()),
    }
}

fn new_instance(image_id: i64, owner: i64) -> NewInstanceRecord {
    NewInstanceRecord { cloud: "c".into(), name: None, image_id, owner, size: "small".into(), token: format!("n-{}", unique()) }
}

fn seen_at_provider(provider_id: &str) -> Adopted {
    Adopted {
        provider_id: provider_id.into(),
        name: format!("Image {provider_id}"),
        status: ImageStatus::Active,
        progress: None,
        detail: None,
        checksum: None,
        size_bytes: Some(5),
        created_at: Some(7),
    }
}

fn new<T>(begun: Begun<T>) -> (Operation, T) {
    match begun {
        Begun::New(operation, record) => (operation, record),
        Begun::Existing(operation) => panic!("{operation:?} existed"),
    }
}

fn existing<T: std::fmt::Debug>(begun: Begun<T>) -> String {
    match begun {
        Begun::Existing(operation) => operation.id,
        Begun::New(_, record) => panic!("{record:?} is new"),
    }
}

async fn begin_image(store: &Store, new: &NewImageRecord) -> (Operation, ImageRecord) {
    let op = order(OperationKind::ImportImage);
    self::new(store.image_begin(new, &op, &Progress::default(), &[Step::new(0, 0, "import")], &event("")).await.unwrap())
}

/// An image that can be used.
async fn active(store: &Store, owner: Option<i64>, provider_id: &str) -> ImageRecord {
    let (operation, image) = begin_image(store, &new_image(owner)).await;
    let end = ImageEnd::Active { provider_id: provider_id.into(), checksum: None, size_bytes: Some(9) };
    store.image_imported(&operation.id, "me", &succeeded(json!({})).save(), image.id, &end, &event("x")).await.unwrap();
    store.image_get(image.id).await.unwrap().unwrap()
}

async fn begin(store: &Store, new: &NewInstanceRecord) -> Result<Begun<InstanceRecord>, RecordError> {
    store.instance_begin(new, &order(OperationKind::CreateInstance), &[], &event("")).await
}

async fn end(store: &Store, operation: &Operation, id: i64, result: InstanceEnd) -> Result<(), Error> {
    let end = if result == InstanceEnd::Removed { failed(json!({})) } else { succeeded(json!({})) };
    store.instance_ended(&operation.id, "me", &end.save(), id, result, &event("x")).await
}

const STAYS: InstanceEnd = InstanceEnd::Stays { state: None, acted: false };

async fn there(store: &Store, image: i64, owner: i64) -> InstanceRecord {
    let (operation, instance) = self::new(begin(store, &new_instance(image, owner)).await.unwrap());
    assert!(store.instance_accepted(instance.id, &operation.id, "m-1", None).await.unwrap());
    end(store, &operation, instance.id, STAYS).await.unwrap();
    store.instance_get(instance.id).await.unwrap().unwrap()
}

async fn work(store: &Store, id: i64, task: InstanceTask) -> Result<Begun<InstanceRecord>, RecordError> {
    let op = order(if task == InstanceTask::Delete { OperationKind::DeleteInstance } else { OperationKind::Act });
    store.instance_work(id, task, &op, &Progress::default(), &[], &event("x")).await
}

pub(crate) async fn images_come_and_go(f: Arc<Fixture>) {
    let store = &f.store;
    let ann = user(store, "ann", 0).await;
    let (operation, image) = begin_image(store, &new_image(Some(ann.number))).await;
    assert_eq!((image.status, image.task, image.owner), (ImageStatus::Saving, Some(ImageTask::Import), Some(ann.number)));
    assert_eq!(image.operation.as_deref(), Some(operation.id.as_str()));
    let subject = store.work_get(&operation.id).await.unwrap().unwrap().subject;
    assert_eq!(subject, Some(format!("image/{}", image.id)));
    let told = store.events_after(0, 10).await.unwrap();
    assert_eq!(told.last().unwrap().subject, image.id.to_string());

    assert!(store.image_progress(image.id, &operation.id, 40).await.unwrap());
    assert!(!store.image_progress(image.id, "another", 50).await.unwrap());
    assert_eq!(store.image_get(image.id).await.unwrap().unwrap().progress, Some(40));
    let refused = store.image_delete_begin(image.id, &order(OperationKind::DeleteImage), &[], &event("x")).await;
    assert!(matches!(refused, Err(RecordError::UnderWay)), "{refused:?}");

    let checksum = Some("sha256:00".to_owned());
    let done = ImageEnd::Active { provider_id: "p-1".into(), checksum: checksum.clone(), size_bytes: Some(1 << 40) };
    let save = succeeded(json!({}));
    let lost = store.image_imported(&operation.id, "somebody else", &save.save(), image.id, &done, &event("x")).await;
    assert!(matches!(lost, Err(Error::Lost)));
    store.image_imported(&operation.id, "me", &save.save(), image.id, &done, &event("x")).await.unwrap();
    let image = store.image_get(image.id).await.unwrap().unwrap();
    assert_eq!((image.status, image.progress, image.task, &image.operation), (ImageStatus::Active, None, None, &None));
    assert_eq!((image.provider_id.as_deref(), &image.checksum, image.size_bytes), (Some("p-1"), &checksum, Some(1 << 40)));

    // One that failed has no machine to be made from, and its reason.
    let (operation, broken) = begin_image(store, &new_image(None)).await;
    let why = ImageEnd::Failed("no such host".into());
    store.image_imported(&operation.id, "me", &failed(json!({})).save(), broken.id, &why, &event("x")).await.unwrap();
    let broken = store.image_get(broken.id).await.unwrap().unwrap();
    assert_eq!((broken.status, broken.detail.as_deref()), (ImageStatus::Failed, Some("no such host")));
    assert!(broken.id > image.id);
    assert_eq!(store.images("c").await.unwrap(), [image.clone(), broken.clone()]);
    assert!(store.images("d").await.unwrap().is_empty());

    // A removal that fails leaves it; one that succeeds does not. Two removals are one.
    let removal = || async { store.image_delete_begin(broken.id, &order(OperationKind::DeleteImage), &[], &event("x")).await };
    let (operation, under_way) = new(removal().await.unwrap());
    assert_eq!((under_way.status, under_way.task), (ImageStatus::Failed, Some(ImageTask::Delete)));
    assert_eq!(existing(removal().await.unwrap()), operation.id);
    store.image_deleted(&operation.id, "me", &failed(json!({})).save(), broken.id, &event("x")).await.unwrap();
    assert_eq!(store.image_get(broken.id).await.unwrap().unwrap().task, None);
    let (operation, _) = new(removal().await.unwrap());
    store.image_deleted(&operation.id, "me", &succeeded(json!({})).save(), broken.id, &event("x")).await.unwrap();
    assert_eq!(store.image_get(broken.id).await.unwrap(), None);
    assert!(matches!(removal().await, Err(RecordError::NotFound)));
    assert!(begin_image(store, &new_image(None)).await.1.id > broken.id, "numbers are not used again");
}

pub(crate) async fn images_are_adopted_once(f: Arc<Fixture>) {
    let store = &f.store;
    let found: Vec<Adopted> = ["a", "b", "c"].map(seen_at_provider).into();
    let other = f.other_host().await;
    let counts = race(8, |number| {
        let (store, found) = (if number % 2 == 0 { store.clone() } else { other.clone() }, found.clone());
        async move { store.images_adopt("c", &found, &event("c")).await.unwrap() }
    })
    .await;
    assert_eq!(counts.iter().sum::<u64>(), 3, "{counts:?}");
    assert_eq!(store.images_adopt("d", &found, &event("d")).await.unwrap(), 3, "another cloud has its own");
    let images = store.images("c").await.unwrap();
    let ids: Vec<_> = images.iter().map(|image| image.provider_id.clone().unwrap()).collect();
    assert_eq!(ids, ["a", "b", "c"]);
    assert_eq!((images[0].owner, images[0].token.as_deref(), images[0].created_at), (None, None, 7));

    // What is seen is noted, but not over what somebody else has noted or is about to do.
    let first = &images[0];
    let changed = |name: &str| ImageSeen { before: first.clone(), now: ImageRecord { name: name.into(), ..first.clone() } };
    assert_eq!(store.images_seen(&[changed("one"), changed("two")]).await.unwrap(), 1);
    let now = store.image_get(first.id).await.unwrap().unwrap();
    assert_eq!(now.name, "one");
    assert!(now.updated_at > first.updated_at);
    new(store.image_delete_begin(first.id, &order(OperationKind::DeleteImage), &[], &event("x")).await.unwrap());
    let busy = store.image_get(first.id).await.unwrap().unwrap();
    let late = ImageSeen { now: ImageRecord { status: ImageStatus::Gone, ..busy.clone() }, before: busy };
    assert_eq!(store.images_seen(&[late]).await.unwrap(), 0);
}

pub(crate) async fn an_image_that_was_adopted_too_early(f: Arc<Fixture>) {
    let store = &f.store;
    let ann = user(store, "ann", 0).await;
    let (operation, image) = begin_image(store, &new_image(None)).await;
    store.images_adopt("c", &[seen_at_provider("p")], &event("c")).await.unwrap();
    let adopted = store.images("c").await.unwrap().pop().unwrap();
    let made = there(store, adopted.id, ann.number).await;
    assert!(!store.image_found(image.id, "another operation", "p").await.unwrap());
    for _ in 0..2 {
        assert!(store.image_found(image.id, &operation.id, "p").await.unwrap());
    }
    let images = store.images("c").await.unwrap();
    assert_eq!((images.len(), images[0].id, images[0].provider_id.as_deref()), (1, image.id, Some("p")));
    assert_eq!(store.instance_get(made.id).await.unwrap().unwrap().image_id, image.id);
}

pub(crate) async fn instances_come_and_go(f: Arc<Fixture>) {
    let store = &f.store;
    let (ann, bob) = (user(store, "ann", 0).await, user(store, "bob", 0).await);
    let image = active(store, None, "p-1").await;
    let wanted = new_instance(image.id, ann.number);
    let (operation, instance) = new(begin(store, &wanted).await.unwrap());
    assert!(instance.is_intent());
    assert_eq!(instance.name, format!("Wiki-instance-{}", instance.id));
    assert_eq!((instance.state, instance.task, instance.acted), (InstanceStatus::Stopped, Some(InstanceTask::Create), false));
    assert_eq!((instance.owner, instance.image_name.as_str(), instance.size.as_str()), (ann.number, "Wiki", "small"));
    let subject = store.work_get(&operation.id).await.unwrap().unwrap().subject;
    assert_eq!(subject, Some(format!("instance/{}", instance.id)));
    assert_eq!(store.instance_by_token("c", &wanted.token).await.unwrap(), Some(instance.clone()));
    assert_eq!(store.instance_by_token("d", &wanted.token).await.unwrap(), None);
    for task in [InstanceTask::Start, InstanceTask::Delete] {
        assert!(matches!(work(store, instance.id, task).await, Err(RecordError::UnderWay)), "it is being made");
    }
    assert!(!store.instance_accepted(instance.id, "another", "m-1", None).await.unwrap());
    assert!(store.instance_accepted(instance.id, &operation.id, "m-1", Some("192.0.2.1")).await.unwrap());
    let accepted = store.instance_get(instance.id).await.unwrap().unwrap();
    assert!(!accepted.is_intent() && accepted.address.as_deref() == Some("192.0.2.1"));
    end(store, &operation, instance.id, STAYS).await.unwrap();
    assert!(matches!(end(store, &operation, instance.id, STAYS).await, Err(Error::Lost)));

    // One thing at a time.
    let (start, starting) = new(work(store, instance.id, InstanceTask::Start).await.unwrap());
    assert_eq!((starting.task, starting.operation.as_deref()), (Some(InstanceTask::Start), Some(start.id.as_str())));
    assert!(matches!(work(store, instance.id, InstanceTask::Stop).await, Err(RecordError::UnderWay)));
    assert!(matches!(work(store, instance.id, InstanceTask::Delete).await, Err(RecordError::UnderWay)));
    let up = InstanceEnd::Stays { state: Some(InstanceStatus::Starting), acted: true };
    end(store, &start, instance.id, up).await.unwrap();
    let started = store.instance_get(instance.id).await.unwrap().unwrap();
    assert_eq!((started.state, started.acted, started.task), (InstanceStatus::Starting, true, None));

    // What is seen is noted, but not over what has changed meanwhile.
    let now = InstanceRecord { state: InstanceStatus::Running, detail: Some("up".into()), ..started.clone() };
    let seen = InstanceSeen { before: started.clone(), now };
    assert_eq!(store.instances_seen(&[seen.clone(), seen]).await.unwrap(), 1);
    let running = store.instance_get(instance.id).await.unwrap().unwrap();
    assert_eq!((running.state, running.detail.as_deref()), (InstanceStatus::Running, Some("up")));

    // Whose there are.
    let hers = there(store, image.id, bob.number).await;
    let list = async |filter| {
        let all = store.instances("c", filter).await.unwrap();
        all.into_iter().map(|instance| instance.id).collect::<Vec<_>>()
    };
    let (image_only, owner) = (Some(image.id), Some(bob.number));
    assert_eq!(list(InstanceFilter::default()).await, [instance.id, hers.id]);
    assert_eq!(list(InstanceFilter { image: image_only, owner }).await, [hers.id]);
    assert_eq!(list(InstanceFilter { image: Some(image.id + 1), owner: None }).await, [0_i64; 0]);
    assert_eq!((store.instances_owned(ann.number).await.unwrap(), store.instances_owned(bob.number).await.unwrap()), (1, 1));
    let to_nobody = store.instances_hand_over(bob.number, 999, &event("x")).await;
    assert!(matches!(to_nobody, Err(Error::NotFound("the user"))), "{to_nobody:?}");
    assert_eq!(store.instances_hand_over(bob.number, ann.number, &event("x")).await.unwrap(), 1);
    assert_eq!((store.instances_owned(ann.number).await.unwrap(), store.instances_owned(bob.number).await.unwrap()), (2, 0));

    // Two removals are one.
    let (removal, _) = new(work(store, instance.id, InstanceTask::Delete).await.unwrap());
    assert_eq!(existing(work(store, instance.id, InstanceTask::Delete).await.unwrap()), removal.id);
    assert!(matches!(work(store, instance.id, InstanceTask::Start).await, Err(RecordError::UnderWay)));
    end(store, &removal, instance.id, InstanceEnd::Removed).await.unwrap();
    assert_eq!(store.instance_get(instance.id).await.unwrap(), None);
    assert!(matches!(work(store, instance.id, InstanceTask::Delete).await, Err(RecordError::NotFound)));
    assert!(there(store, image.id, ann.number).await.id > hers.id, "numbers are not used again");
}

pub(crate) async fn images_and_their_instances(f: Arc<Fixture>) {
    let store = &f.store;
    let ann = user(store, "ann", 0).await;
    let (operation, image) = begin_image(store, &new_image(None)).await;
    let early = begin(store, &new_instance(image.id, ann.number)).await;
    assert!(matches!(early, Err(RecordError::NotActive)), "{early:?}");
    let end_image = ImageEnd::Active { provider_id: "p".into(), checksum: None, size_bytes: None };
    store.image_imported(&operation.id, "me", &succeeded(json!({})).save(), image.id, &end_image, &event("x")).await.unwrap();
    assert!(matches!(begin(store, &new_instance(image.id + 1, ann.number)).await, Err(RecordError::NotFound)));
    let elsewhere = NewInstanceRecord { cloud: "d".into(), ..new_instance(image.id, ann.number) };
    assert!(matches!(begin(store, &elsewhere).await, Err(RecordError::NotFound)));
    let nobodys = begin(store, &new_instance(image.id, 999)).await;
    assert!(matches!(nobodys, Err(RecordError::Store(Error::NotFound("the user")))), "{nobodys:?}");

    // What somebody asked for is forgotten at the end, and the key still stands for it.
    let named = NewInstanceRecord { name: Some("mine".into()), ..new_instance(image.id, ann.number) };
    let op = ostler_store::NewOperation { input: json!({"secret": 1}), ..keyed(OperationKind::CreateInstance, "k", 1) };
    let (operation, instance) = new(store.instance_begin(&named, &op, &[], &event("")).await.unwrap());
    assert_eq!(instance.name, "mine");
    assert_eq!(store.operation_known(&op).await.unwrap().unwrap().id, operation.id);
    end(store, &operation, instance.id, STAYS).await.unwrap();
    assert_eq!(store.operation_get(&operation.id).await.unwrap().unwrap().input, json!({}));
    assert_eq!(existing(store.instance_begin(&named, &op, &[], &event("")).await.unwrap()), operation.id);
    let other = keyed(OperationKind::CreateInstance, "k", 2);
    assert!(matches!(store.operation_known(&other).await, Err(Error::IdempotencyMismatch)));
    assert_eq!(store.operation_known(&keyed(OperationKind::CreateInstance, "l", 1)).await.unwrap(), None);

    let removal = || async { store.image_delete_begin(image.id, &order(OperationKind::DeleteImage), &[], &event("x")).await };
    assert!(matches!(removal().await, Err(RecordError::InUse)));
    let (operation, _) = new(work(store, instance.id, InstanceTask::Delete).await.unwrap());
    assert!(matches!(removal().await, Err(RecordError::InUse)), "it is there still");
    end(store, &operation, instance.id, InstanceEnd::Removed).await.unwrap();
    new(removal().await.unwrap());
    let late = begin(store, &new_instance(image.id, ann.number)).await;
    assert!(matches!(late, Err(RecordError::NotActive)), "it is being removed: {late:?}");
}

/// Instances are made from an image while somebody removes it: it is removed only where none is made, and none is made of one that
/// is being removed. And of those who do something to one instance at once, one does.
pub(crate) async fn races(f: Arc<Fixture>) {
    let store = &f.store;
    let ann = user(store, "ann", 0).await;
    for round in 0..4 {
        let image = active(store, None, &format!("p-{round}")).await;
        let results = race(6, |number| {
            let (store, image, owner) = (store.clone(), image.id, ann.number);
            async move {
                if number == 3 {
                    let removed = store.image_delete_begin(image, &order(OperationKind::DeleteImage), &[], &event("x")).await;
                    removed.map(|_| true).or_else(|error| matches!(error, RecordError::InUse).then_some(false).ok_or(error))
                } else {
                    let made = begin(&store, &new_instance(image, owner)).await;
                    made.map(|_| true).or_else(|error| matches!(error, RecordError::NotActive).then_some(false).ok_or(error))
                }
            }
        })
        .await;
        let results: Vec<bool> = results.into_iter().map(Result::unwrap).collect();
        let made = results.iter().enumerate().filter(|(number, done)| *number != 3 && **done).count();
        assert_eq!(results[3], made == 0, "{results:?}");
        let filter = InstanceFilter { image: Some(image.id), owner: None };
        assert_eq!(store.instances("c", filter).await.unwrap().len(), made);
    }
    let image = active(store, None, "p").await;
    let one = there(store, image.id, ann.number).await;
    let tasks = [InstanceTask::Start, InstanceTask::Stop, InstanceTask::Delete, InstanceTask::Reboot];
    let begun = race(4, |number| {
        let store = store.clone();
        async move { matches!(work(&store, one.id, tasks[number]).await, Ok(Begun::New(..))) }
    })
    .await;
    assert_eq!(begun.iter().filter(|new| **new).count(), 1, "{begun:?}");
}
