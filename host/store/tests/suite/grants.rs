//! What issuers have given for later.

use std::sync::Arc;

use ostler_store::Error;

use crate::fixture::{Fixture, race};

pub(crate) async fn life(f: Arc<Fixture>) {
    let store = &f.store;
    let (issuer, ann, bob) = ("https://issuer", "ann", "bob");
    assert!(!store.grant_exists(issuer, ann).await.unwrap());
    assert_eq!(store.grant_take(issuer, ann, "me", 0, 10).await.unwrap(), None);
    store.grant_put(issuer, ann, b"first").await.unwrap();
    store.grant_put(issuer, bob, b"other").await.unwrap();
    store.grant_put(issuer, ann, b"second").await.unwrap();

    // Whoever has it has it alone, until the lease is over.
    assert_eq!(store.grant_take(issuer, ann, "me", 0, 10).await.unwrap().as_deref(), Some(&b"second"[..]));
    assert_eq!(store.grant_take(issuer, ann, "you", 9, 20).await.unwrap(), None);
    assert!(store.grant_exists(issuer, ann).await.unwrap());
    store.grant_return(issuer, ann, "me", Some(b"third")).await.unwrap();
    assert!(matches!(store.grant_return(issuer, ann, "me", None).await, Err(Error::Lost)));
    assert_eq!(store.grant_take(issuer, ann, "me", 0, 10).await.unwrap().as_deref(), Some(&b"third"[..]));
    assert_eq!(store.grant_take(issuer, ann, "you", 10, 20).await.unwrap().as_deref(), Some(&b"third"[..]));
    assert!(matches!(store.grant_return(issuer, ann, "me", Some(b"late")).await, Err(Error::Lost)));
    store.grant_return(issuer, ann, "you", None).await.unwrap();
    assert!(!store.grant_forget(issuer, ann, "you").await.unwrap(), "it was given back");

    // Many want one: one gets it.
    let taken = race(8, |at| {
        let f = Arc::clone(&f);
        async move { f.store.grant_take(issuer, ann, &format!("host {at}"), 100, 200).await.unwrap().map(|_| at) }
    })
    .await;
    let winner: Vec<_> = taken.into_iter().flatten().collect();
    assert_eq!(winner.len(), 1);
    assert!(store.grant_forget(issuer, ann, &format!("host {}", winner[0])).await.unwrap());
    assert!(!store.grant_exists(issuer, ann).await.unwrap() && store.grant_exists(issuer, bob).await.unwrap());
}
