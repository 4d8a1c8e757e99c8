#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! On the real dummy driver, with the real store in memory. What the host fetches comes from a fetcher of the test's own.

use super::*;
use crate::compute::Key;
use crate::compute::tests::{CLOUD, compute};
use crate::identity::{Account, Role, Scheme};
use crate::instances::{Instances, NewInstance};
use crate::model::{ImageSource, ImageSpec};
use crate::recovery::Recovery;
use crate::scheduler::Scheduler;
use crate::scheduler::fault::{Fault, Faults};
use async_trait::async_trait;
use ostler_drivers::ErrorKind;
use ostler_images::Staged;
use ostler_store::{InstanceFilter, NewUser, OperationFilter};
use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;
use tokio::sync::mpsc;
use url::Url;

/// What the fetcher of the tests says of all that it fetched.
const SUM: &str = "sha256:abababababababababababababababababababababababababababababababab";
const SECRET: &str = "hunter2hunter2";

/// A fetcher that is done at once.
#[derive(Default)]
pub(crate) struct Fake {
    /// What the next fetches come to instead.
    failures: Mutex<VecDeque<ostler_images::Error>>,
    /// What lies in the directory.
    ready: Mutex<BTreeSet<String>>,
    /// How long what is tidied away has lain there.
    tidied: Mutex<Option<Duration>>,
}

#[async_trait]
impl Fetch for Fake {
    fn check(&self, source: &Url) -> Result<(), ostler_images::Error> {
        match source.host_str() {
            Some("forbidden.example") => Err(ostler_images::Error::Refused(format!("{source} is not allowed"))),
            _ => Ok(()),
        }
    }

    async fn fetch(
        &self,
        name: &str,
        _source: &Url,
        _checksum: Option<&str>,
        progress: &(dyn Fn(u64, Option<u64>) + Send + Sync),
    ) -> Result<Staged, ostler_images::Error> {
        progress(50, Some(100));
        tokio::task::yield_now().await;
        if let Some(failure) = self.failures.lock().pop_front() {
            return Err(failure);
        }
        self.ready.lock().insert(name.to_owned());
        Ok(Staged { format: "qcow2".into(), checksum: SUM.into(), bytes: 100, disk_bytes: 1000 })
    }

    async fn forget(&self, name: &str) -> Result<(), ostler_images::Error> {
        self.ready.lock().remove(name);
        Ok(())
    }

    async fn tidy(&self, older_than: Duration) -> Result<usize, ostler_images::Error> {
        *self.tidied.lock() = Some(older_than);
        Ok(1)
    }
}

/// One life of a host.
pub(crate) struct House {
    pub(crate) images: Arc<Images>,
    pub(crate) instances: Arc<Instances>,
    pub(crate) compute: Arc<Compute>,
    pub(crate) store: Store,
    fetcher: Arc<Fake>,
    recovery: Recovery,
    crashed: mpsc::UnboundedReceiver<()>,
    pace: Pace,
}

pub(crate) fn pace() -> Pace {
    Pace {
        policy: Policy { tries: 3, first_pause: 1_000, longest_pause: 2_000, stuck_pause: 5_000 },
        poll: Duration::from_millis(1),
        poll_slowly: Duration::from_millis(5),
        patience: Duration::from_secs(60),
        import: Duration::from_secs(60),
        build: Duration::from_secs(60),
        fetch_here: false,
        stop_here: false,
    }
}

pub(crate) async fn house(config: &[(&str, &str)], pace: Pace) -> House {
    let compute = compute(&[&[("form", "plain")][..], config].concat()).await;
    furnish(&compute, Arc::default(), pace, "")
}

/// A host that starts on what there is.
pub(crate) fn furnish(compute: &Arc<Compute>, fetcher: Arc<Fake>, pace: Pace, faults: &str) -> House {
    let store = compute.store().clone();
    let (told, crashed) = mpsc::unbounded_channel();
    let scheduler = Arc::new(Scheduler::new(store.clone()).with_faults(Faults::told(faults, told)));
    let compute = Compute::new(Arc::clone(compute.host()), Arc::clone(&scheduler), None);
    let images = Images::with(Arc::clone(&compute), Some(Arc::clone(&fetcher) as Arc<dyn Fetch>), pace);
    let instances = Instances::new(Arc::clone(&compute), Arc::clone(&images));
    House { images, instances, compute, store, fetcher, recovery: Recovery::new(scheduler), crashed, pace }
}

impl House {
    /// Somebody with an account, made if there is none.
    pub(crate) async fn user(&self, name: &str, role: Role) -> Principal {
        let user = match self.store.user_by_name(name).await.unwrap() {
            Some(user) => user,
            None => {
                let new =
                    NewUser { username: name.into(), active: true, roles: vec![role.as_str().into()], ..NewUser::default() };
                self.store.user_create(&new).await.unwrap()
            }
        };
        let account = Some(Account { id: user.id, number: user.number });
        Principal { account, ..Principal::new(name, vec![role], Scheme::Basic) }
    }

    pub(crate) async fn admin(&self) -> Principal {
        self.user("root", Role::Admin).await
    }

    /// The process dies, and begins again.
    pub(crate) async fn again(&mut self) {
        self.compute.scheduler().abort();
        *self = furnish(&self.compute, Arc::clone(&self.fetcher), self.pace, "");
        self.recovery.at_start().await.unwrap();
    }

    /// Waits until nothing is to be done any more, through as many lives as it takes.
    pub(crate) async fn quiet(&mut self) {
        let began = Instant::now();
        while !self.store.operations_pending(10).await.unwrap().is_empty() {
            if self.crashed.try_recv().is_ok() {
                self.again().await;
            }
            assert!(began.elapsed() < Duration::from_secs(120), "it does not come to its end");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Has something done to its end. Nothing where the process died over it, and whoever waited was told nothing.
    pub(crate) async fn has<T>(&mut self, action: impl Future<Output = Result<T, Error>>) -> Option<Result<T, Error>> {
        let result = tokio::select! {
            result = action => Some(result),
            _ = self.crashed.recv() => None,
        };
        if result.is_none() {
            self.again().await;
        }
        self.quiet().await;
        self.assert_settled().await;
        result
    }

    /// Nothing is under way, and the cloud has the machines and the images that the store says and no others.
    pub(crate) async fn assert_settled(&self) {
        assert!(self.store.operations_pending(10).await.unwrap().is_empty());
        let cloud = self.compute.cloud(CLOUD).unwrap();
        let records = self.store.instances(CLOUD, InstanceFilter::default()).await.unwrap();
        assert!(records.iter().all(|record| record.task.is_none() && record.node_id.is_some()), "{records:?}");
        let nodes: BTreeSet<_> = cloud.list_nodes().await.unwrap().iter().filter_map(|node| node.token.clone()).collect();
        assert_eq!(nodes, records.into_iter().map(|record| record.token).collect());
        let records = self.store.images(CLOUD).await.unwrap();
        assert!(records.iter().all(|record| record.task.is_none()), "{records:?}");
        let usable = records.into_iter().filter(|record| record.status == ImageStatus::Active);
        let there: BTreeSet<_> = cloud.list_images().await.unwrap().iter().filter_map(|image| image.token.clone()).collect();
        assert_eq!(there, usable.filter_map(|record| record.token).collect());
        assert!(self.fetcher.ready.lock().is_empty(), "what was fetched is forgotten");
    }

    /// What happened, in order.
    pub(crate) async fn told(&self) -> Vec<String> {
        self.store.events_after(0, 10_000).await.unwrap().into_iter().map(|event| event.kind).collect()
    }
}

/// What came of something, in a word.
pub(crate) fn class<T>(result: &Result<T, Error>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(Error::Forbidden) => "forbidden",
        Err(Error::NoImageRecord(_) | Error::NoInstance(_)) => "none",
        Err(Error::NotNow(_)) => "not-now",
        Err(Error::Invalid(_)) => "invalid",
        Err(Error::KeyReused) => "key-reused",
        Err(Error::Cloud(error)) if error.kind == ErrorKind::Unsupported => "unsupported",
        Err(_) => "failed",
    }
}

pub(crate) fn key(key: &str) -> Option<Key> {
    Some(Key { scope: "test", key: key.into() })
}

fn order(name: &str) -> NewImage {
    let source = format!("https://ann:{SECRET}@images.example/disk.qcow2?token={SECRET}");
    NewImage { cloud: CLOUD.into(), name: name.into(), source, checksum: None }
}

#[tokio::test]
async fn what_a_provider_has_is_adopted() {
    let house = house(&[], pace()).await;
    let (admin, guest) = (house.admin().await, house.user("gus", Role::Guest).await);
    let lists = futures::future::join_all((0..8).map(|_| house.images.list(&guest, CLOUD))).await;
    let first = lists[0].as_ref().unwrap();
    assert_eq!(first.iter().map(|image| image.name.as_str()).collect::<Vec<_>>(), ["Ubuntu 24.04", "Debian 13", "CirrOS 0.6"]);
    assert!(lists.iter().all(|list| list.as_ref().unwrap() == first), "they are not doubled");
    let one = &first[1];
    assert_eq!((one.owner, &one.state, one.provider_id.as_deref()), (None, &ImageState::Active, Some("debian-13")));
    assert_eq!(house.images.get(&guest, CLOUD, one.id).await.unwrap(), *one);
    assert!(matches!(house.images.get(&guest, CLOUD, 999).await, Err(Error::NoImageRecord(999))));

    // Somebody brings another one, and takes it away.
    let cloud = house.compute.cloud(CLOUD).unwrap();
    let spec = ImageSpec {
        name: "by hand".into(),
        source: ImageSource::Url("https://x.example".into()),
        format: None,
        checksum: None,
        properties: vec![],
        extra: String::new(),
    };
    let theirs = cloud.import_image("by-hand", spec.clone()).await.unwrap().value;
    let adopted = house.images.list(&guest, CLOUD).await.unwrap().pop().unwrap();
    assert_eq!((adopted.name.as_str(), adopted.provider_id.as_deref()), ("by hand", Some(theirs.id.as_str())));
    cloud.delete_image(&theirs.id).await.unwrap();
    assert!(matches!(house.images.get(&admin, CLOUD, adopted.id).await, Err(Error::NoImageRecord(_))));
    assert_eq!(house.images.list(&admin, CLOUD).await.unwrap().len(), 3);

    // One of which there are instances stays, and says why it cannot be used.
    let theirs = cloud.import_image("by-hand", spec).await.unwrap().value;
    let adopted = house.images.list(&admin, CLOUD).await.unwrap().pop().unwrap();
    assert_eq!(adopted.provider_id.as_deref(), Some(theirs.id.as_str()));
    let new = NewInstance { cloud: CLOUD.into(), image: adopted.id, ..NewInstance::default() };
    let made = house.instances.create(&guest, new.clone(), None).await.unwrap();
    cloud.destroy_node(made.node_id.as_deref().unwrap()).await.unwrap();
    cloud.delete_image(&theirs.id).await.unwrap();
    let gone = ImageState::Failed("gone at the provider".into());
    assert_eq!(house.images.list(&admin, CLOUD).await.unwrap().pop().unwrap().state, gone);
    assert_eq!(house.images.get(&admin, CLOUD, adopted.id).await.unwrap().state, gone);
    assert_eq!(house.images.list(&guest, CLOUD).await.unwrap().len(), 3, "the catalogue has what can be used");
    assert_eq!(class(&house.images.delete(&admin, CLOUD, adopted.id).await), "not-now", "there is an instance");
    assert_eq!(class(&house.instances.create(&admin, new, None).await), "not-now");
    house.instances.delete(&guest, CLOUD, made.id).await.unwrap();
    house.images.delete(&admin, CLOUD, adopted.id).await.unwrap();
    assert_eq!(house.images.list(&admin, CLOUD).await.unwrap().len(), 3);
    assert!(house.told().await.contains(&"image.adopted".to_owned()));
}

#[tokio::test]
async fn what_was_fetched_in_part_and_left_is_tidied_away() {
    let house = house(&[], pace()).await;
    let tidying = tokio::spawn(Arc::clone(&house.images).tidy());
    let began = Instant::now();
    let after = loop {
        if let Some(after) = *house.fetcher.tidied.lock() {
            break after;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "nobody tidies");
        tokio::task::yield_now().await;
    };
    assert!(after > house.pace.import, "an import under way is left alone");
    tidying.abort();
}

#[tokio::test]
async fn an_image_from_its_registration_to_its_end() {
    for fetch_here in [false, true] {
        let mut house = house(&[("image_ms", "150")], Pace { fetch_here, ..pace() }).await;
        let (admin, guest) = (house.admin().await, house.user("gus", Role::Guest).await);
        let new = house.images.register(&admin, order("Wiki"), None).await.unwrap();
        assert!(matches!(new.state, ImageState::Saving(_)), "{new:?}");
        assert_eq!((new.owner, new.name.as_str()), (admin.account.as_ref().map(|account| account.number), "Wiki"));
        assert_eq!(new.source.as_deref(), Some("https://images.example/disk.qcow2"));
        assert_eq!(class(&house.images.delete(&admin, CLOUD, new.id).await), "not-now");
        assert_eq!(class(&house.images.get(&guest, CLOUD, new.id).await), "none", "it cannot be used yet");
        let wanted = NewInstance { cloud: CLOUD.into(), image: new.id, ..NewInstance::default() };
        assert_eq!(class(&house.instances.create(&admin, wanted.clone(), None).await), "not-now");
        assert_eq!(class(&house.instances.create(&guest, wanted.clone(), None).await), "none");
        let mut progress = BTreeSet::new();
        while let ImageState::Saving(percent) = house.images.get(&admin, CLOUD, new.id).await.unwrap().state {
            progress.extend(percent);
            // Whoever lists meanwhile does not take it for another one.
            assert_eq!(house.images.list(&admin, CLOUD).await.unwrap().iter().filter(|image| image.name == "Wiki").count(), 1);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        house.quiet().await;
        house.assert_settled().await;
        assert!(progress.iter().all(|percent| *percent < 100), "{progress:?}");
        assert!(!progress.is_empty() && (!fetch_here || progress.iter().any(|percent| *percent >= 45)), "{progress:?}");
        let ready = house.images.get(&guest, CLOUD, new.id).await.unwrap();
        assert_eq!((&ready.state, ready.checksum.as_deref()), (&ImageState::Active, fetch_here.then_some(SUM)));
        assert_eq!(ready.size_bytes, Some(if fetch_here { 100 } else { 1_000_000_000 }));

        let made = house.instances.create(&guest, wanted, None).await.unwrap();
        assert_eq!(class(&house.images.delete(&admin, CLOUD, new.id).await), "not-now");
        house.instances.delete(&guest, CLOUD, made.id).await.unwrap();
        house.images.delete(&admin, CLOUD, new.id).await.unwrap();
        assert_eq!(class(&house.images.delete(&admin, CLOUD, new.id).await), "none");
        house.assert_settled().await;
        assert_eq!(house.compute.cloud(CLOUD).unwrap().list_images().await.unwrap().len(), 3);
        let told = house.told().await;
        let about: Vec<_> = told.iter().filter(|kind| kind.starts_with("image.") && *kind != "image.adopted").collect();
        assert_eq!(about, ["image.register.intent", "image.register.done", "image.delete.intent", "image.delete.done"]);
        assert_no_secret(&house).await;
    }
}

/// No secret of an address is left anywhere.
async fn assert_no_secret(house: &House) {
    let operations = house.store.operations_list(&OperationFilter::default(), None, 1000).await.unwrap();
    let mut all = format!("{:?}", house.store.images(CLOUD).await.unwrap());
    for operation in operations {
        let work = house.store.work_get(&operation.id).await.unwrap().unwrap();
        let steps: Vec<_> = work.steps.iter().map(|step| (&step.input, &step.output, &step.error)).collect();
        all += &format!("{} {:?} {:?} {steps:?} {:?}", operation.input, operation.output, operation.error, work.progress);
    }
    all += &format!("{:?}", house.store.events_after(0, 1000).await.unwrap());
    assert!(!all.contains(SECRET), "{all}");
}

#[tokio::test]
async fn what_fails_leaves_a_reason_and_nothing_else() {
    let interrupted = || ostler_images::Error::Interrupted("the line is down".into());
    let refused = || ostler_images::Error::Refused(format!("https://ann:{SECRET}@images.example/disk.qcow2 is no image"));
    // (the provider's faults, whether the host fetches, what its fetches come to, what the reason holds)
    for (faults, fetch_here, failures, reason) in [
        (r#"{"import-image": {"quota": 1}}"#, false, vec![], Some("")),
        (r#"{"import-image": {"failed": 1}}"#, false, vec![], Some("")),
        (r#"{"import-image": {"lost": 1}}"#, false, vec![], None),
        (r#"{"import-image": {"lost": 1}}"#, true, vec![], None),
        ("{}", true, vec![refused()], Some("images.example/disk.qcow2 is no image")),
        ("{}", true, vec![interrupted(), interrupted()], None),
        ("{}", true, vec![interrupted(), interrupted(), interrupted()], Some("the line is down")),
    ] {
        let mut house = house(&[("faults", faults)], Pace { fetch_here, ..pace() }).await;
        house.fetcher.failures.lock().extend(failures);
        let admin = house.admin().await;
        let new = house.images.register(&admin, order("Wiki"), None).await.unwrap();
        house.quiet().await;
        house.assert_settled().await;
        assert_no_secret(&house).await;
        let now = house.images.get(&admin, CLOUD, new.id).await.unwrap();
        match (&now.state, reason) {
            (ImageState::Active, None) => {}
            (ImageState::Failed(why), Some(reason)) => assert!(why.contains(reason), "{faults}: {why}"),
            other => panic!("{faults}: {other:?}"),
        }
        house.images.delete(&admin, CLOUD, new.id).await.unwrap();
        assert_eq!(class(&house.images.get(&admin, CLOUD, new.id).await), "none");
        house.assert_settled().await;
    }
}

#[tokio::test]
async fn what_is_refused_is_not_on_record() {
    let house = house(&[], Pace { fetch_here: true, ..pace() }).await;
    let admin = house.admin().await;
    let long = "x".repeat(256);
    let sums = ["sha256:ab", "md5:abababababababababababababababab", &SUM.replace("ab", "xy")].map(str::to_owned);
    let named = |name: &str| NewImage { name: name.into(), ..order("") };
    let from = |source: &str| NewImage { source: source.into(), ..order("Wiki") };
    let mut cases = vec![named(""), named(&long), named("a\nb"), named("a\0b")];
    cases.extend(["", "disk.qcow2", "/etc/passwd", "file:///etc/passwd", "ftp://x.example/d", "https://", "data:,x"].map(from));
    cases.extend([from(&format!("https://x.example/{}", "x".repeat(5000))), from("https://forbidden.example/disk")]);
    cases.extend(sums.map(|sum| NewImage { checksum: Some(sum), ..order("Wiki") }));
    for new in cases {
        let result = house.images.register(&admin, new.clone(), None).await;
        assert_eq!(class(&result), "invalid", "{new:?}: {result:?}");
        assert!(!result.unwrap_err().to_string().contains(SECRET));
    }
    let elsewhere = NewImage { cloud: "nowhere".into(), ..order("Wiki") };
    assert_eq!(class(&house.images.register(&admin, elsewhere, None).await), "failed");
    assert!(house.store.images(CLOUD).await.unwrap().is_empty());
    assert!(house.store.operations_list(&OperationFilter::default(), None, 10).await.unwrap().is_empty());

    // A driver that cannot import.
    let other = compute(&[("form", "fake_driver")]).await;
    let other = furnish(&other, Arc::default(), pace(), "");
    let admin = other.admin().await;
    assert_eq!(class(&other.images.register(&admin, order("Wiki"), None).await), "unsupported");
    let listed = other.images.list(&admin, CLOUD).await.unwrap();
    assert_eq!(listed.len(), 3);
    assert_eq!(class(&other.images.delete(&admin, CLOUD, listed[0].id).await), "unsupported");
}

#[tokio::test]
async fn a_key_stands_for_one_image() {
    let mut house = house(&[], pace()).await;
    let admin = house.admin().await;
    let first = house.images.register(&admin, order("Wiki"), key("k1")).await.unwrap();
    house.quiet().await;
    let again = house.images.register(&admin, order("Wiki"), key("k1")).await.unwrap();
    assert_eq!((again.id, again.state), (first.id, ImageState::Active), "as it is now");
    assert_eq!(class(&house.images.register(&admin, order("Other"), key("k1")).await), "key-reused");
    let racing = futures::future::join_all((0..8).map(|_| house.images.register(&admin, order("Wiki"), key("k2")))).await;
    let ids: BTreeSet<_> = racing.into_iter().map(|result| result.unwrap().id).collect();
    assert_eq!(ids.len(), 1);
    house.quiet().await;
    house.assert_settled().await;
    assert_eq!(house.store.images(CLOUD).await.unwrap().len(), 2);
    house.images.delete(&admin, CLOUD, first.id).await.unwrap();
    assert_eq!(class(&house.images.register(&admin, order("Wiki"), key("k1")).await), "none", "it was, and is no more");
}

#[tokio::test]
async fn who_may_do_what_with_images() {
    let house = house(&[], pace()).await;
    // (role, list and see, register and delete)
    for (role, sees, manages) in [
        (Role::Admin, true, true),
        (Role::Provider, true, true),
        (Role::LocalAdmin, true, true),
        (Role::Guest, true, false),
        (Role::Agent, true, false),
        (Role::User, false, false),
        (Role::Customer, false, false),
        (Role::Monitor, false, false),
    ] {
        let who = house.user(role.as_str(), role).await;
        let expected = |permitted: bool, what: &'static str| if permitted { what } else { "forbidden" };
        assert_eq!(class(&house.images.list(&who, CLOUD).await), expected(sees, "ok"), "{role:?}");
        assert_eq!(class(&house.images.get(&who, CLOUD, 1).await), expected(sees, "ok"), "{role:?}");
        assert_eq!(class(&house.images.register(&who, order(""), None).await), expected(manages, "invalid"), "{role:?}");
        assert_eq!(class(&house.images.delete(&who, CLOUD, 999).await), expected(manages, "none"), "{role:?}");
    }
}

/// For every step, each fault, once and twice, doing and undoing: the cloud has the images that are on record, and no others; what was
/// fetched is forgotten.
#[tokio::test]
async fn every_step_of_images_breaks() {
    let compute = compute(&[("form", "plain")]).await;
    let (mut runs, mut idle) = (0, BTreeSet::new());
    for fetch_here in [false, true] {
        for (workflow, step) in [("import-image", "import"), ("delete-image", "delete-image")] {
            for fault in Fault::ALL {
                for (times, direction) in [(1, "act"), (2, "act"), (1, "undo"), (2, "undo")] {
                    let mut plot = format!("{workflow}.{step}.{direction}:{}:{times}", fault.as_str());
                    if direction == "undo" {
                        if workflow == "delete-image" {
                            continue;
                        }
                        // It happened, and looks like a failure until nobody tries any more.
                        plot += ",import-image.import.act:error-after:3";
                    }
                    runs += 1;
                    let pace = Pace { fetch_here, ..pace() };
                    let house = furnish(&compute, Arc::default(), pace, &plot);
                    idle.extend(one_life(house, &plot).await);
                }
            }
        }
    }
    assert_eq!(runs, 2 * 5 * 6);
    assert!(idle.is_empty(), "each fault struck, but those at {idle:?}");
}

/// An image's whole life, in which this goes wrong. Returns what of it did not.
async fn one_life(mut house: House, plot: &str) -> Vec<String> {
    let admin = house.admin().await;
    let scheduler = Arc::clone(house.compute.scheduler());
    let images = Arc::clone(&house.images);
    house.has(images.register(&admin, order("Wiki"), None)).await;
    let records: Vec<_> = house.store.images(CLOUD).await.unwrap().into_iter().filter(|record| record.token.is_some()).collect();
    assert_eq!(records.len(), 1, "{plot}: it is on record once it is ordered");
    let fails = plot.contains("import.act:refused") || plot.contains("act:error-after:3");
    assert_eq!(records[0].status, if fails { ImageStatus::Failed } else { ImageStatus::Active }, "{plot}");
    let images = Arc::clone(&house.images);
    match house.has(images.delete(&admin, CLOUD, records[0].id)).await {
        Some(deleted) => assert_eq!(deleted.is_err(), plot.contains("delete-image.act:refused"), "{plot}: {deleted:?}"),
        None => assert!(plot.contains("crash"), "{plot}"),
    }
    let left = house.store.image_get(records[0].id).await.unwrap();
    assert_eq!(left.is_some(), plot.contains("delete-image.act:refused"), "{plot}");
    if plot.contains("delete-image.act:refused:2") {
        assert!(house.images.delete(&admin, CLOUD, records[0].id).await.is_err(), "{plot}");
    }
    if left.is_some() {
        house.images.delete(&admin, CLOUD, records[0].id).await.unwrap();
    }
    house.assert_settled().await;
    if plot.contains("crash") { Vec::new() } else { scheduler.idle_faults() }
}
