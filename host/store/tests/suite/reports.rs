use crate::deployments::idle;
use crate::fixture::Fixture;
use crate::world::event;
use ostler_store::{Error, ReportState};
use std::sync::Arc;

pub(crate) async fn life(f: Arc<Fixture>) {
    let store = &f.store;
    let (deployment, _) = idle(store, 1).await;
    let hash = |n: u8| vec![n; 32];
    assert_eq!(store.report_get(&hash(1)).await.unwrap(), None);
    assert!(matches!(store.report_await(&hash(1), "none", "r").await, Err(Error::NotFound(_))));
    for _ in 0..2 {
        store.report_await(&hash(1), &deployment, "r1").await.unwrap();
    }
    store.report_await(&hash(2), &deployment, "r2").await.unwrap();
    let state = async |n: u8| store.report_get(&hash(n)).await.unwrap().map(|report| (report.state, report.message));
    assert_eq!(state(1).await, Some((ReportState::Awaited, None)));
    // The first failure stands, until all is done.
    store.report_end(&hash(1), Some("a")).await.unwrap();
    store.report_end(&hash(1), Some("b")).await.unwrap();
    assert_eq!(state(1).await, Some((ReportState::Failed, Some("a".into()))));
    store.report_await(&hash(1), &deployment, "r1").await.unwrap();
    assert_eq!(state(1).await, Some((ReportState::Failed, Some("a".into()))), "awaiting it again changes nothing");
    store.report_end(&hash(1), None).await.unwrap();
    store.report_end(&hash(1), Some("c")).await.unwrap();
    assert_eq!(state(1).await, Some((ReportState::Done, None)));
    assert_eq!(state(2).await, Some((ReportState::Awaited, None)));
    store.report_forget(&deployment, "r2").await.unwrap();
    assert_eq!((state(2).await, state(1).await.is_some()), (None, true));
    assert!(store.deployment_remove(&deployment, &event("gone")).await.unwrap());
    assert_eq!(state(1).await, None);
}
