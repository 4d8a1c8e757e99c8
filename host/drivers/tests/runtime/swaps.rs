//! One version takes over from another while calls are under way.

use crate::components::{dummy, intruder, trapping_component, variant};
use crate::support::{Adjust, TestHost, eventually, node_ids, order, plain};
use ostler_drivers::{LoadError, digest};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const CALLERS: usize = 32;
const SWAPS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaps_under_load_fail_no_call() {
    let (host, dummy) = (TestHost::new(), dummy());
    let versions = [variant(&dummy, "one"), variant(&dummy, "two")];
    let cloud = host.serve(plain(), &versions[0]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (cloud, stop) = (Arc::clone(&cloud), Arc::clone(&stop));
            tokio::spawn(async move {
                let (mut calls, mut mine, mut digests) = (0, Vec::new(), BTreeSet::new());
                while !stop.load(Ordering::Relaxed) {
                    let listed = cloud.list_nodes().await.unwrap();
                    assert!(mine.iter().all(|id| listed.iter().any(|node| node.id == *id)), "a node of mine is gone");
                    if mine.len() < 5 {
                        let made = cloud.create_node(&format!("t-{caller}-{}", mine.len()), order("n")).await.unwrap();
                        mine.push(made.value.id);
                        digests.insert(made.digest);
                    }
                    calls += 1;
                    tokio::task::yield_now().await;
                }
                (calls, mine, digests)
            })
        })
        .collect();
    for swap in 1..=SWAPS {
        let version = &versions[swap % 2];
        host.swap("dummy", version).await;
        assert_eq!(cloud.package().unwrap().digest, digest(version));
        // The new version has answered before the next one comes.
        cloud.list_nodes().await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let (mut all, mut digests) = (Vec::new(), BTreeSet::new());
    for caller in callers {
        let (calls, mine, seen) = caller.await.unwrap();
        assert!(calls > 0);
        all.extend(mine);
        digests.extend(seen);
    }
    all.sort();
    assert_eq!(node_ids(&cloud).await, all);
    let known: BTreeSet<_> = versions.iter().map(|wasm| digest(wasm)).collect();
    assert!(digests.is_subset(&known));
}

#[tokio::test]
async fn a_call_under_way_finishes_on_the_version_where_it_began() {
    let (host, dummy) = (TestHost::new(), dummy());
    let cloud = host.serve(plain().set("latency_ms", r#"{"create-node": 300}"#), &dummy).await;
    let begun = tokio::spawn({
        let cloud = Arc::clone(&cloud);
        async move { cloud.create_node("t-1", order("n")).await.unwrap() }
    });
    tokio::task::yield_now().await;
    let next = variant(&dummy, "next");
    host.swap("dummy", &next).await;
    assert!(!begun.is_finished(), "the call is still under way");
    assert_eq!(begun.await.unwrap().digest, digest(&dummy));
    assert_eq!(cloud.create_node("t-2", order("n")).await.unwrap().digest, digest(&next));
    assert_eq!(node_ids(&cloud).await.len(), 2, "what the old version made is there");
}

#[tokio::test]
async fn a_refused_version_changes_nothing_and_the_one_before_can_come_back() {
    let (host, dummy) = (TestHost::new(), dummy());
    let cloud = host.serve(plain(), &dummy).await;
    cloud.create_node("t-1", order("n")).await.unwrap();
    let (before, description) = (node_ids(&cloud).await, cloud.description().unwrap());
    let error = host.prepare("dummy", &trapping_component()).await.unwrap_err();
    assert!(matches!(error, LoadError::Probe { call: "describe", .. }), "{error:?}");
    assert_eq!(cloud.package().unwrap().digest, digest(&dummy));
    assert_eq!((node_ids(&cloud).await, cloud.description().unwrap()), (before.clone(), description));
    // What was prepared, and not activated, changes nothing either.
    drop(host.prepare("dummy", &variant(&dummy, "next")).await.unwrap());
    assert_eq!(cloud.package().unwrap().digest, digest(&dummy));
    for wasm in [variant(&dummy, "next"), dummy.clone()] {
        host.swap("dummy", &wasm).await;
        assert_eq!(cloud.package().unwrap().digest, digest(&wasm));
        assert_eq!(node_ids(&cloud).await, before);
    }
}

/// Instances of the old version do not serve the new one.
#[tokio::test]
async fn a_new_version_starts_with_instances_of_its_own() {
    let (host, intruder) = (TestHost::new(), intruder());
    let cloud = host.serve(ostler_drivers::CloudSettings::new("c", "intruder"), &intruder).await;
    let calls = async || cloud.list_sizes().await.unwrap()[0].ram_mb;
    assert_eq!([calls().await, calls().await], [1, 2]);
    host.swap("intruder", &variant(&intruder, "next")).await;
    assert_eq!([calls().await, calls().await], [1, 2]);
}

#[tokio::test]
async fn several_clouds_of_one_driver_are_swapped_together_and_stay_apart() {
    let (host, dummy) = (TestHost::new(), dummy());
    host.host.add_cloud(plain().named("a")).unwrap();
    let b = host.serve(plain().named("b").set("nodes", "3"), &dummy).await;
    let a = host.host.cloud("a").unwrap();
    a.create_node("t-1", order("n")).await.unwrap();
    assert_eq!((node_ids(&a).await.len(), node_ids(&b).await.len()), (1, 3));
    let next = variant(&dummy, "next");
    host.swap("dummy", &next).await;
    for cloud in host.host.clouds() {
        assert_eq!(cloud.package().unwrap().digest, digest(&next), "{}", cloud.name());
    }
    assert_eq!((node_ids(&a).await.len(), node_ids(&b).await.len()), (1, 3));
    assert_eq!(host.host.clouds_using("dummy"), ["a", "b"]);
}

/// A file that is dropped into the watched directory is found when it is complete, and once.
#[tokio::test]
async fn a_dropped_component_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let mut watch = ostler_drivers::Watch::new(&directory.path().join("drivers")).unwrap();
    let path = directory.path().join("drivers/dummy.wasm");
    assert!(watch.scan().is_empty());
    for text in ["one", "another"] {
        ostler_drivers::write_atomically(&path, text.as_bytes()).unwrap();
        let changed = eventually("the change", async || {
            tokio::time::timeout(std::time::Duration::from_secs(5), watch.wait()).await.ok()?;
            Some(watch.scan()).filter(|changed| !changed.is_empty())
        })
        .await;
        assert_eq!(changed.len(), 1);
        assert_eq!((changed[0].driver.as_str(), &changed[0].path, &changed[0].signature), ("dummy", &path, &None));
        assert!(watch.scan().is_empty(), "told once");
    }
    std::fs::write(directory.path().join("drivers/dummy.wasm.sig"), [0; 64]).unwrap();
    let changed = watch.scan();
    assert!(changed[0].signature.as_ref().is_some_and(|path| path.ends_with("dummy.wasm.sig")), "{changed:?}");
    std::fs::write(directory.path().join("drivers/notes.txt"), "x").unwrap();
    assert!(watch.scan().is_empty());
}
