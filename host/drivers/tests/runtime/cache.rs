//! The cache of compiled code.

use crate::components::dummy;
use crate::support::{TestHost, plain};
use ostler_drivers::{LoadPolicy, Runtime};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

async fn load(directory: &Path, wasm: &[u8]) {
    let runtime = Runtime::new(Some(directory.to_owned())).unwrap();
    let host = TestHost::on(runtime, LoadPolicy::default(), Default::default());
    let cloud = host.serve(plain(), wasm).await;
    assert_eq!(cloud.list_sizes().await.unwrap().len(), 6);
}

fn only_file(directory: &Path) -> PathBuf {
    let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

#[tokio::test]
async fn what_was_compiled_once_is_loaded_from_then_on() {
    let (directory, dummy) = (tempfile::tempdir().unwrap(), dummy());
    let cache = directory.path().join("cache");
    load(&cache, &dummy).await;
    assert_eq!(std::fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700);
    let file = only_file(&cache);
    // A rename would bring a new inode with it.
    let identity = |path: &Path| std::fs::metadata(path).map(|m| (m.ino(), m.mtime_nsec())).unwrap();
    let (first, code) = (identity(&file), std::fs::read(&file).unwrap());
    load(&cache, &dummy).await;
    assert_eq!((only_file(&cache), identity(&file)), (file.clone(), first), "not compiled again");

    let half = code[..code.len() / 2].to_vec();
    for (what, damaged) in [("nothing", Vec::new()), ("a text", b"no code".to_vec()), ("half", half)] {
        // Not in place: the file is mapped into memory by whoever uses it.
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, &damaged).unwrap();
        load(&cache, &dummy).await;
        assert_eq!(only_file(&cache), file);
        assert!(std::fs::read(&file).unwrap().len() == code.len(), "{what}: compiled again and kept");
    }
}

/// Several loads of the same component at once, as at the start of a host with several names for one driver.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_loads_do_not_spoil_the_cache() {
    let (directory, dummy) = (tempfile::tempdir().unwrap(), dummy());
    let cache = directory.path().join("cache");
    let host = TestHost::on(Runtime::new(Some(cache.clone())).unwrap(), LoadPolicy::default(), Default::default());
    let loads = (0..4).map(|n| {
        let (host, dummy) = (host.host.clone(), dummy.clone());
        let seal = ostler_drivers::Seal::Signature(None);
        tokio::spawn(async move {
            host.prepare(&format!("d{n}"), dummy, seal, ostler_drivers::Strictness::AllOrNothing).await.map(drop)
        })
    });
    for result in futures::future::join_all(loads).await {
        result.unwrap().unwrap();
    }
    let file = only_file(&cache);
    let before = std::fs::metadata(&file).unwrap().ino();
    load(&cache, &dummy).await;
    assert_eq!(std::fs::metadata(&file).unwrap().ino(), before, "what they left is usable");
}

#[tokio::test]
async fn a_host_without_a_cache_compiles() {
    let host = TestHost::on(Runtime::new(None).unwrap(), LoadPolicy::default(), Default::default());
    assert_eq!(host.serve(plain(), &dummy()).await.list_sizes().await.unwrap().len(), 6);
}
