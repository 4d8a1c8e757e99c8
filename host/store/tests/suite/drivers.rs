use std::sync::Arc;

use ostler_store::{DriverSource, NewDriverVersion, NewEvent};
use serde_json::json;

use crate::fixture::{Fixture, race};

fn new(driver: &str, digest: &str, source: DriverSource) -> NewDriverVersion {
    NewDriverVersion {
        driver: driver.into(),
        digest: digest.into(),
        source,
        description: json!({"name": driver}),
        installed_by: "alice".into(),
    }
}

pub(crate) async fn history(f: Arc<Fixture>) {
    let store = &f.store;
    assert_eq!(store.driver_active("dummy").await.unwrap(), None);
    let installed = NewEvent {
        kind: "driver.installed".into(),
        subject: "dummy".into(),
        cloud: None,
        actor: "alice".into(),
        data: json!({}),
    };
    let mut versions = Vec::new();
    for (digest, source) in [
        ("sha256:1", DriverSource::Builtin),
        ("sha256:2", DriverSource::Directory),
        ("sha256:3", DriverSource::Upload),
        ("sha256:2", DriverSource::Rollback),
    ] {
        let version = store.driver_record(&new("dummy", digest, source), Some(&installed)).await.unwrap();
        assert_eq!(store.driver_active("dummy").await.unwrap().as_ref(), Some(&version));
        versions.push(version);
    }
    assert_eq!(store.event_last().await.unwrap(), 4);
    let other = store.driver_record(&new("a", "sha256:9", DriverSource::Builtin), None).await.unwrap();
    versions.reverse();
    assert_eq!(store.driver_history("dummy", 10).await.unwrap(), versions);
    assert_eq!(store.driver_history("dummy", 2).await.unwrap(), versions[..2]);
    assert_eq!(store.drivers_active().await.unwrap(), [other.clone(), versions[0].clone()]);

    assert!(store.driver_forget("dummy").await.unwrap());
    assert!(!store.driver_forget("dummy").await.unwrap());
    assert_eq!(store.driver_active("dummy").await.unwrap(), None);
    assert_eq!(store.drivers_active().await.unwrap(), [other]);
    assert_eq!(store.driver_history("dummy", 10).await.unwrap().len(), 4);

    assert_eq!(store.directory_seen("dummy").await.unwrap(), None);
    for digest in ["sha256:1", "sha256:2"] {
        store.set_directory_seen("dummy", digest).await.unwrap();
        assert_eq!(store.directory_seen("dummy").await.unwrap().as_deref(), Some(digest));
    }
}

pub(crate) async fn race_ends_at_the_highest(f: Arc<Fixture>) {
    let hosts = [f.store.clone(), f.other_host().await];
    race(16, |task| {
        let store = hosts[task % 2].clone();
        async move { store.driver_record(&new("dummy", &format!("sha256:{task}"), DriverSource::Upload), None).await.unwrap() }
    })
    .await;
    let history = f.store.driver_history("dummy", 100).await.unwrap();
    assert_eq!(history.len(), 16);
    assert_eq!(f.store.driver_active("dummy").await.unwrap().as_ref(), history.first());
}
