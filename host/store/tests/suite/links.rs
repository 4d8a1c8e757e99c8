use crate::fixture::Fixture;
use ostler_store::{Error, NewEvent, NewUser, Store};
use serde_json::json;
use std::sync::Arc;

const ISSUER: &str = "https://issuer.example/";

fn event(kind: &str) -> NewEvent {
    NewEvent { kind: kind.to_owned(), subject: "x".to_owned(), cloud: None, actor: "root".to_owned(), data: json!({}) }
}

async fn user(store: &Store, name: &str) -> String {
    let new = NewUser {
        username: name.to_owned(),
        password_hash: None,
        email: None,
        first_name: None,
        last_name: None,
        affiliation: None,
        active: true,
        roles: vec!["customer".to_owned(), "agent".to_owned()],
        credit: 0,
    };
    store.user_create(&new).await.unwrap().id
}

pub(crate) async fn life(f: Arc<Fixture>) {
    let store = &f.store;
    let (ann, bob) = (user(store, "ann").await, user(store, "bob").await);
    assert_eq!(store.user_linked(ISSUER, "1").await.unwrap(), None);
    let before = store.event_last().await.unwrap();
    let link = store.user_link(&ann, ISSUER, "1", &event("user.link")).await.unwrap();
    // Again, it is the same one, and nothing happened.
    assert_eq!(store.user_link(&ann, ISSUER, "1", &event("user.link")).await.unwrap(), link);
    assert_eq!(store.event_last().await.unwrap(), before + 1);
    let taken = store.user_link(&bob, ISSUER, "1", &event("user.link")).await;
    assert!(matches!(taken, Err(Error::Exists(_))), "{taken:?}");
    assert_eq!(store.event_last().await.unwrap(), before + 1);

    // Both parts tell persons apart; one user may be several.
    store.user_link(&bob, "https://other.example/", "1", &event("user.link")).await.unwrap();
    store.user_link(&ann, ISSUER, "2", &event("user.link")).await.unwrap();
    let found = store.user_linked(ISSUER, "1").await.unwrap().unwrap();
    assert_eq!((found.id.as_str(), found.roles), (ann.as_str(), vec!["agent".to_owned(), "customer".to_owned()]));
    assert_eq!(store.user_linked("https://other.example/", "1").await.unwrap().unwrap().id, bob);
    let subjects: Vec<String> = store.user_links(&ann).await.unwrap().into_iter().map(|link| link.subject).collect();
    assert_eq!(subjects, ["1", "2"]);

    // Nobody takes away what is another's.
    assert!(!store.user_unlink(&bob, ISSUER, "1", &event("user.unlink")).await.unwrap());
    assert!(store.user_unlink(&ann, ISSUER, "1", &event("user.unlink")).await.unwrap());
    assert!(!store.user_unlink(&ann, ISSUER, "1", &event("user.unlink")).await.unwrap());
    assert_eq!(store.user_linked(ISSUER, "1").await.unwrap(), None);
    assert_eq!(store.user_link(&bob, ISSUER, "1", &event("user.link")).await.unwrap().subject, "1");
}
