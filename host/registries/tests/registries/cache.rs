//! What is kept, and what is not.

use std::time::{Duration, Instant};

use ostler_registries::Registries;
use ostler_registries::played::Answer;

use crate::support::*;

async fn ask_cmdb(registries: &Registries) {
    within(async {
        registries.provider("provider-NORTH").await.unwrap();
        registries.services("provider-NORTH").await.unwrap();
        registries.tenants("nova-north").await.unwrap();
        registries.images("tenant-north").await.unwrap();
        registries.flavors("tenant-north").await.unwrap();
    })
    .await;
}

const CMDB: [&str; 5] = [PROVIDER, SERVICES, TENANTS, IMAGES, FLAVORS];

#[tokio::test]
async fn answers_of_the_cmdb_are_kept() {
    let played = played().await;
    play_all(&played);
    let registries = with(&played, |config| config.cache_ttl = Duration::from_secs(3600));
    for _ in 0..3 {
        ask_cmdb(&registries).await;
    }
    for path in CMDB {
        assert_eq!(played.count(path), 1, "{path}");
    }
    let twice = with(&played, |config| config.cache_ttl = Duration::ZERO);
    ask_cmdb(&twice).await;
    ask_cmdb(&twice).await;
    for path in CMDB {
        assert_eq!(played.count(path), 3, "{path}: nothing is kept without a time to live");
    }
}

#[tokio::test]
async fn they_grow_old() {
    let played = played().await;
    play_all(&played);
    let registries = with(&played, |config| config.cache_ttl = Duration::from_millis(20));
    let began = Instant::now();
    while played.count(PROVIDER) < 2 {
        assert!(began.elapsed() < Duration::from_secs(30), "still kept");
        within(registries.provider("provider-NORTH")).await.unwrap();
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_about_a_user_is_not_kept() {
    let played = played().await;
    play_all(&played);
    let registries = with(&played, |config| config.cache_ttl = Duration::from_secs(3600));
    for _ in 0..2 {
        within(registries.agreements("demo", Some(&token()))).await.unwrap();
        within(registries.machines("provider-NORTH")).await.unwrap();
    }
    assert_eq!((played.count(PREFERENCES), played.count(METRICS)), (2, 2));
    // Another user's token must not be answered from what the first one saw.
    played.answer(PREFERENCES, Answer::Text(403, String::new()));
    assert!(within(registries.agreements("demo", Some(&"other".into()))).await.is_err());
}

#[tokio::test]
async fn failures_are_not_kept() {
    let played = played().await;
    let registries = with(&played, |config| config.cache_ttl = Duration::from_secs(3600));
    assert!(within(registries.provider("provider-NORTH")).await.is_err());
    play_all(&played);
    assert!(within(registries.provider("provider-NORTH")).await.is_ok());
}

#[tokio::test]
async fn many_who_ask_at_once_cost_one_request() {
    let played = played().await;
    play_all(&played);
    let registries = with(&played, |config| config.cache_ttl = Duration::from_secs(3600));
    let asked = (0..50).map(|_| registries.images("tenant-north"));
    let answers = within(futures::future::join_all(asked)).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(played.count(IMAGES), 1);
}

#[tokio::test]
async fn what_is_too_large_to_keep_is_given_all_the_same() {
    let played = played().await;
    play_all(&played);
    let registries = with(&played, |config| {
        config.cache_ttl = Duration::from_secs(3600);
        config.cache_bytes = 10;
    });
    for _ in 0..2 {
        assert_eq!(within(registries.images("tenant-north")).await.unwrap().items.len(), 1);
    }
}

#[tokio::test]
async fn whoever_waits_for_a_failure_fails_with_it() {
    let played = played().await;
    played.answer(IMAGES, Answer::Silence);
    let registries = with(&played, |config| {
        config.cache_ttl = Duration::from_secs(3600);
        config.deadline = Duration::from_millis(300);
    });
    let asked = (0..50).map(|_| registries.images("tenant-north"));
    let answers = within(futures::future::join_all(asked)).await;
    assert!(answers.iter().all(|answer| answer.as_ref().is_err_and(ostler_registries::Error::is_transient)));
    assert_eq!(played.count(IMAGES), 1, "not one after the other");
    play_all(&played);
    assert!(within(registries.images("tenant-north")).await.is_ok(), "and the next one asks again");
}
