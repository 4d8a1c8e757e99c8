#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! On the real dummy driver, with the real store in memory.

use super::*;
use crate::StoreState;
use crate::compute::tests::{CLOUD, component};
use crate::identity::{Role, Scheme};
use crate::scheduler::Scheduler;
use ostler_drivers::{LoadPolicy, Runtime};
use ostler_store::{NewOperation, OperationKind, Options};
use std::path::Path;

struct World {
    compute: Arc<Compute>,
    clouds: Arc<Clouds>,
    terms: Arc<AddedTerms>,
    directory: tempfile::TempDir,
}

async fn world() -> World {
    let store = Store::open("sqlite::memory:", &Options::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    // Compiled once, and then for each cloud taken from there.
    let runtime = Runtime::new(Some(directory.path().join("cache"))).unwrap();
    let host = Arc::new(Host::new(runtime, LoadPolicy::default(), Arc::new(StoreState(store.clone()))).unwrap());
    host.add_cloud(CloudSettings::new(CLOUD, "dummy")).unwrap();
    let compute = Compute::new(Arc::clone(&host), Arc::new(Scheduler::new(store.clone())), None);
    let builtin: &'static [u8] = component().leak();
    let components = directory.path().join("components");
    let drivers = Drivers::new(Arc::clone(&host), store, components, &[("dummy", builtin)], 5, 64 << 20).unwrap();
    drivers.start().await.unwrap();
    let (terms, files) = (Arc::<AddedTerms>::default(), CloudFiles::of(directory.path()));
    let clouds = Clouds::new(host, Arc::clone(&compute), Arc::new(drivers), Arc::clone(&terms), files, BTreeSet::new());
    World { compute, clouds, terms, directory }
}

fn admin() -> Principal {
    Principal::new("root", vec![Role::Admin], Scheme::Operator)
}

fn new(name: &str, config: &[(&str, &str)]) -> NewCloud {
    let mut settings = CloudSettings::new(name, "dummy");
    settings.config = config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    settings.secrets.insert("password".into(), "canary".to_owned().into());
    let terms = Some(Terms { priority: 2.0, agreements: Vec::new(), service: None });
    NewCloud { settings, terms, document: "driver = \"dummy\"\n".into() }
}

fn exists(world: &World, path: &str) -> bool {
    world.directory.path().join("clouds").join(path).exists()
}

async fn eventually(what: &str, mut ask: impl FnMut() -> bool) {
    let began = Instant::now();
    while !ask() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn what_is_in_use_stays_as_it_is() {
    let world = world().await;
    let (clouds, store) = (&world.clouds, world.compute.store());
    clouds.add(&admin(), new("far", &[]), true, false).await.unwrap();
    assert_eq!((clouds.origin("far"), clouds.origin(CLOUD)), (Origin::Added, Origin::Configuration));
    let pending = NewOperation {
        cloud: "far".into(),
        kind: OperationKind::CreateNode,
        token: Some("t".into()),
        node_id: None,
        input: json!({}),
        input_hash: vec![1],
        driver_digest: None,
        actor: "ann".into(),
        lease: None,
        idempotency: None,
    };
    store.operation_begin(&pending, None).await.unwrap();
    let error = clouds.remove(&admin(), "far", Removal::default()).await.unwrap_err();
    assert!(error.to_string().contains("cloud `far` is still in use: 1 pending operations ("), "{error}");
    assert!(world.compute.cloud("far").is_ok() && world.terms.get("far").is_some() && exists(&world, "far.toml"));
    for (name, part) in [(CLOUD, "stands in the configuration file"), ("none", "no cloud is called `none`")] {
        let error = clouds.remove(&admin(), name, Removal { force: true, purge: true }).await.unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
    clouds.remove(&admin(), "far", Removal { force: true, purge: false }).await.unwrap();
    assert!(world.compute.cloud("far").is_err() && world.terms.get("far").is_none());
    assert!(!exists(&world, "far.toml") && !exists(&world, "far.secrets"));
    let told: Vec<_> = store.events_after(0, 100).await.unwrap().into_iter().map(|event| event.kind).collect();
    assert!(told.contains(&"cloud.add".into()) && told.contains(&"cloud.remove".into()), "{told:?}");
}

#[tokio::test]
async fn an_addition_goes_on_when_nobody_waits_for_it() {
    let world = world().await;
    let (who, slow) = (admin(), new("slow", &[("latency_ms", "20")]));
    let mut adding = Box::pin(world.clouds.add(&who, slow, true, false));
    assert!(futures::poll!(adding.as_mut()).is_pending());
    // Whoever comes meanwhile is told so at once.
    let second = world.clouds.add(&who, new("slow", &[]), true, false).await.unwrap_err();
    assert!(matches!(second, Error::Clouds(CloudsError::UnderWay(_))), "{second}");
    drop(adding);
    eventually("it is added", || world.compute.cloud("slow").is_ok() && exists(&world, "slow.toml")).await;
}

#[tokio::test]
async fn what_cannot_be_kept_is_not_served() {
    let world = world().await;
    let in_the_way: &Path = &world.directory.path().join("clouds");
    std::fs::write(in_the_way, "").unwrap();
    let error = world.clouds.add(&admin(), new("far", &[]), true, false).await.unwrap_err();
    assert!(matches!(error, Error::Clouds(CloudsError::Files { .. })), "{error}");
    assert!(world.compute.cloud("far").is_err() && world.terms.get("far").is_none());
    std::fs::remove_file(in_the_way).unwrap();
    world.clouds.add(&admin(), new("far", &[]), true, false).await.unwrap();
    // A removal that cannot be carried out leaves it as it is.
    let (file, directory) = (in_the_way.join("far.toml"), in_the_way.join("far.toml/x"));
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir_all(directory).unwrap();
    let error = world.clouds.remove(&admin(), "far", Removal::default()).await.unwrap_err();
    assert!(matches!(error, Error::Clouds(CloudsError::Files { .. })), "{error}");
    assert!(world.compute.cloud("far").is_ok() && world.terms.get("far").is_some());
}

#[tokio::test]
async fn a_test_that_goes_well_ends_a_rest() {
    let world = world().await;
    let broken = [("faults", r#"{"list-nodes": {"transient": 1}}"#)];
    world.clouds.add(&admin(), new("far", &broken), true, false).await.unwrap();
    let cloud = world.compute.cloud("far").unwrap();
    for _ in 0..5 {
        assert_eq!(cloud.list_nodes().await.unwrap_err().kind, ErrorKind::Transient);
    }
    assert!(cloud.is_resting());
    assert_eq!(cloud.check().await.unwrap_err().kind, ErrorKind::Unavailable, "as all calls");
    let tested = world.clouds.test(&admin(), "far").await.unwrap();
    assert!(tested.health.is_ok() && !cloud.is_resting(), "{:?}", tested.health);
}

/// A cloud that was removed and one of the same name that came after it have one state.
#[tokio::test]
async fn calls_that_outlive_their_cloud_do_no_harm_to_the_next_one() {
    let world = world().await;
    let clouds = &world.clouds;
    clouds.add(&admin(), new("far", &[("nodes", "1")]), true, false).await.unwrap();
    let before = world.compute.cloud("far").unwrap();
    clouds.remove(&admin(), "far", Removal::default()).await.unwrap();
    clouds.add(&admin(), new("far", &[("nodes", "1")]), true, false).await.unwrap();
    let after = world.compute.cloud("far").unwrap();
    let spec = |name: &str| crate::model::NodeSpec::new(name, "1", "1");
    for (cloud, token) in [(&before, "one"), (&after, "two"), (&before, "three"), (&after, "four")] {
        cloud.create_node(token, spec(token)).await.unwrap();
    }
    for cloud in [before, after] {
        assert_eq!(cloud.list_nodes().await.unwrap().items.len(), 5);
    }
    clouds.remove(&admin(), "far", Removal { force: false, purge: true }).await.unwrap();
    clouds.add(&admin(), new("far", &[("nodes", "1")]), true, false).await.unwrap();
    assert_eq!(world.compute.cloud("far").unwrap().list_nodes().await.unwrap().items.len(), 1);
}
