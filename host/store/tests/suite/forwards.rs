//! Forwards: their life, and what happens at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use ostler_store::{Error, Forward, ForwardError, ForwardMade, ForwardProtocol, Idempotency, NewForward, Store};

use crate::fixture::{Fixture, race};
use crate::world::event;

fn new(instance: i64, protocol: ForwardProtocol, port_from: u16) -> NewForward {
    NewForward { cloud: "c".into(), instance, protocol, port_from, port_to: 80, idempotency: None, input_hash: vec![1] }
}

fn keyed(new: NewForward, key: &str) -> NewForward {
    NewForward { idempotency: Some(Idempotency { scope: "s".into(), key: key.into() }), ..new }
}

async fn create(store: &Store, new: &NewForward) -> Result<ForwardMade, ForwardError> {
    store.forward_create(new, 100, &event("x")).await
}

async fn made(store: &Store, new: &NewForward) -> Forward {
    match create(store, new).await.unwrap() {
        ForwardMade::New(forward) => forward,
        ForwardMade::Existing(forward) => panic!("{forward:?} was there"),
    }
}

pub(crate) async fn life(f: Arc<Fixture>) {
    use ForwardProtocol::{Tcp, Udp};
    let store = &f.store;
    let before = store.event_last().await.unwrap();
    let first = made(store, &new(7, Tcp, 7001)).await;
    let (id, at) = (first.id, first.created_at);
    let expected = Forward {
        id,
        cloud: "c".into(),
        instance: 7,
        protocol: Tcp,
        port_from: 7001,
        port_to: 80,
        created_at: at,
        updated_at: at,
    };
    assert_eq!(first, expected);
    assert_eq!(store.forward_get(id).await.unwrap(), Some(expected));
    let [told] = store.events_after(before, 9).await.unwrap().try_into().unwrap();
    assert_eq!(told.subject, id.to_string());

    // The protocols' ports are apart.
    let datagrams = made(store, &NewForward { port_to: u16::MAX, ..new(7, Udp, 7001) }).await;
    let other = made(store, &new(8, Tcp, u16::MAX)).await;
    let elsewhere = made(store, &NewForward { cloud: "d".into(), ..new(9, Tcp, 1) }).await;
    assert!(matches!(create(store, &new(8, Tcp, 7001)).await, Err(ForwardError::Taken)));
    assert_eq!(store.event_last().await.unwrap(), before + 4, "a refusal tells nothing");
    assert_eq!(store.forward_ports(Tcp).await.unwrap(), [1, 7001, u16::MAX]);
    assert_eq!(store.forward_ports(Udp).await.unwrap(), [7001]);
    let all = [first.clone(), datagrams.clone(), other.clone(), elsewhere.clone()];
    assert_eq!(store.forwards().await.unwrap(), all);
    for (cloud, instance, expected) in [
        ("c", None, vec![&first, &datagrams, &other]),
        ("c", Some(7), vec![&first, &datagrams]),
        ("c", Some(9), vec![]),
        ("d", None, vec![&elsewhere]),
        ("e", None, vec![]),
    ] {
        let found = store.forwards_of(cloud, instance).await.unwrap();
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{cloud} {instance:?}");
    }

    // Gone is gone, and its number with it; its port is free.
    assert!(store.forward_remove(elsewhere.id, &event("x")).await.unwrap());
    assert!(!store.forward_remove(elsewhere.id, &event("x")).await.unwrap());
    assert_eq!(store.event_last().await.unwrap(), before + 5);
    assert_eq!(store.forward_get(elsewhere.id).await.unwrap(), None);
    let again = made(store, &new(9, Tcp, 1)).await;
    assert!(again.id > elsewhere.id, "{again:?}");

    // All of an instance's, and no others.
    assert_eq!(store.forwards_remove_of(7, &event("x")).await.unwrap(), [first.id, datagrams.id]);
    assert_eq!(store.forwards_remove_of(7, &event("x")).await.unwrap(), [0; 0]);
    let told: Vec<_> = store.events_after(before + 6, 9).await.unwrap().into_iter().map(|event| event.subject).collect();
    assert_eq!(told, [first.id.to_string(), datagrams.id.to_string()]);
    assert_eq!(store.forwards().await.unwrap(), [other, again]);
}

pub(crate) async fn keys(f: Arc<Fixture>) {
    use ForwardProtocol::Tcp;
    let store = &f.store;
    let key = |key: &str| Idempotency { scope: "s".into(), key: key.into() };
    assert_eq!(store.forward_by_key(&key("k"), &[1]).await.unwrap(), None);
    let first = made(store, &keyed(new(7, Tcp, 7000), "k")).await;
    assert_eq!(store.forward_by_key(&key("k"), &[1]).await.unwrap().as_ref(), Some(&first));
    assert_eq!(store.forward_by_key(&key("l"), &[1]).await.unwrap(), None);
    assert!(matches!(store.forward_by_key(&key("k"), &[2]).await, Err(Error::IdempotencyMismatch)));

    let before = store.event_last().await.unwrap();
    // The same port or another one, which a host may have picked for it: the first one's it is.
    for port in [7000, 7001] {
        assert_eq!(create(store, &keyed(new(7, Tcp, port), "k")).await.unwrap(), ForwardMade::Existing(first.clone()), "{port}");
        let other = NewForward { input_hash: vec![2], ..keyed(new(7, Tcp, port), "k") };
        let refused = create(store, &other).await;
        assert!(matches!(refused, Err(ForwardError::Store(Error::IdempotencyMismatch))), "{refused:?}");
    }
    assert!(matches!(create(store, &keyed(new(7, Tcp, 7000), "l")).await, Err(ForwardError::Taken)));
    assert_eq!((store.event_last().await.unwrap(), store.forwards().await.unwrap().len()), (before, 1));

    // A key goes with its forward.
    store.forward_remove(first.id, &event("x")).await.unwrap();
    assert!(made(store, &keyed(new(7, Tcp, 7000), "k")).await.id > first.id);
}

pub(crate) async fn limit(f: Arc<Fixture>) {
    use ForwardProtocol::Tcp;
    let other = f.other_host().await;
    let stores = [f.store.clone(), other.clone()];
    let results = race(12, |number| {
        let store = stores[number % 2].clone();
        async move { store.forward_create(&new(7, Tcp, 7000 + u16::try_from(number).unwrap()), 5, &event("x")).await }
    })
    .await;
    let made = results.iter().filter(|result| matches!(result, Ok(ForwardMade::New(_)))).count();
    let refused = results.iter().filter(|result| matches!(result, Err(ForwardError::TooMany))).count();
    assert_eq!((made, refused, f.store.forwards().await.unwrap().len()), (5, 7, 5), "{results:?}");
    // Another instance has its own.
    f.store.forward_create(&new(8, Tcp, 8000), 5, &event("x")).await.unwrap();
    if f.engine == crate::fixture::Engine::Postgres {
        other.close().await;
    }
}

pub(crate) async fn races(f: Arc<Fixture>) {
    use ForwardProtocol::Tcp;
    let other = f.other_host().await;
    let stores = [f.store.clone(), other.clone()];
    // One port, many who want it.
    let results = race(8, |number| {
        let store = stores[number % 2].clone();
        async move { create(&store, &new(i64::try_from(number).unwrap(), Tcp, 7000)).await }
    })
    .await;
    let won = results.iter().filter(|result| matches!(result, Ok(ForwardMade::New(_)))).count();
    let lost = results.iter().filter(|result| matches!(result, Err(ForwardError::Taken))).count();
    assert_eq!((won, lost), (1, 7), "{results:?}");
    // One key, many ports.
    let results = race(8, |number| {
        let store = stores[number % 2].clone();
        async move { create(&store, &keyed(new(1, Tcp, 7100 + u16::try_from(number).unwrap()), "k")).await }
    })
    .await;
    let mut ids = BTreeSet::new();
    let mut fresh = 0;
    for result in results {
        match result.unwrap() {
            ForwardMade::New(forward) => (fresh, _) = (fresh + 1, ids.insert(forward.id)),
            ForwardMade::Existing(forward) => _ = ids.insert(forward.id),
        }
    }
    assert_eq!((fresh, ids.len(), f.store.forwards().await.unwrap().len()), (1, 1, 2));
    if f.engine == crate::fixture::Engine::Postgres {
        other.close().await;
    }
}
