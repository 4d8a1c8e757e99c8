use std::sync::Arc;
use std::time::{Duration, Instant};

use ostler_store::{Event, NewEvent};
use serde_json::json;

use crate::fixture::{Fixture, race};

fn new(subject: &str) -> NewEvent {
    NewEvent {
        kind: "node.create.intent".into(),
        subject: subject.into(),
        cloud: Some("c".into()),
        actor: "alice".into(),
        data: json!({"n": [1, null, "ü\0"]}),
    }
}

pub(crate) async fn order_without_gaps(f: Arc<Fixture>) {
    let store = &f.store;
    assert_eq!(store.event_last().await.unwrap(), 0);
    assert_eq!(store.events_after(0, 10).await.unwrap(), []);
    for number in 1..=5 {
        assert_eq!(store.event_append(&new(&number.to_string())).await.unwrap(), number);
    }
    assert_eq!(store.event_last().await.unwrap(), 5);
    let events = store.events_after(2, 2).await.unwrap();
    let ids: Vec<i64> = events.iter().map(|event| event.id).collect();
    assert_eq!(ids, [3, 4]);
    let Event { at, kind, subject, cloud, actor, data, .. } = events[0].clone();
    assert!(at > 0);
    let read = NewEvent { kind, subject, cloud, actor, data };
    assert_eq!(read, new("3"));
    assert_eq!(store.events_after(5, 10).await.unwrap(), []);
}

/// A reader that goes on from the last number it saw gets every event, however the writers' transactions overlap.
pub(crate) async fn reader_misses_none(f: Arc<Fixture>) {
    const WRITERS: usize = 8;
    const EVENTS: usize = 10;
    let hosts = [f.store.clone(), f.other_host().await];
    let reader = tokio::spawn({
        let store = f.store.clone();
        async move {
            let deadline = Instant::now() + Duration::from_secs(60);
            let mut seen: Vec<i64> = Vec::new();
            while seen.len() < WRITERS * EVENTS {
                assert!(Instant::now() < deadline, "only {} events seen", seen.len());
                let events = store.events_after(seen.last().copied().unwrap_or(0), 7).await.unwrap();
                seen.extend(events.iter().map(|event| event.id));
                tokio::task::yield_now().await;
            }
            seen
        }
    });
    race(WRITERS, |task| {
        let store = hosts[task % 2].clone();
        async move {
            for _ in 0..EVENTS {
                store.event_append(&new("x")).await.unwrap();
            }
        }
    })
    .await;
    let expected: Vec<i64> = (1..=(WRITERS * EVENTS) as i64).collect();
    assert_eq!(reader.await.unwrap(), expected);
}
