use std::sync::Arc;

use ostler_store::{AccountError, Error, KeyedRequest, NewToken, NewUser, UserChange};

use crate::fixture::{Fixture, race};

fn new(username: &str, roles: &[&str]) -> NewUser {
    NewUser {
        username: username.into(),
        password_hash: Some("hash".into()),
        active: true,
        roles: roles.iter().map(|&role| role.into()).collect(),
        ..NewUser::default()
    }
}

fn roles(names: &[&str]) -> UserChange {
    UserChange { roles: Some(names.iter().map(|&name| name.to_owned()).collect()), ..UserChange::default() }
}

fn email(email: Option<&str>) -> UserChange {
    UserChange { email: Some(email.map(str::to_owned)), ..UserChange::default() }
}

pub(crate) async fn deletion(f: Arc<Fixture>) {
    let store = &f.store;
    let root = store.user_create(&new("root", &["admin"])).await.unwrap();
    let order = NewUser { email: Some("ann@example.org".into()), credit: 5, ..new("ann", &["guest"]) };
    let ann = store.user_create_with(&order, Some("first")).await.unwrap();
    let token = NewToken { user_id: ann.id.clone(), hash: vec![1; 32], label: "t".into(), scopes: vec![], expires_at: None };
    store.token_create(&token).await.unwrap();
    store.certificate_add(&crate::certificates::new("a1", Some(&ann.id), None)).await.unwrap();

    store.user_delete(&ann.id).await.unwrap();
    assert!(matches!(store.user_delete(&ann.id).await, Err(AccountError::Store(Error::NotFound(_)))));
    assert_eq!(store.user_by_name("ann").await.unwrap(), None);
    assert_eq!(store.user_by_number(ann.number).await.unwrap(), None);
    assert_eq!(store.user_by_email("ann@example.org").await.unwrap(), None);
    assert_eq!(store.users(None, 10).await.unwrap(), std::slice::from_ref(&root));
    assert_eq!(store.users_by_number().await.unwrap(), std::slice::from_ref(&root));
    assert!(store.token_find(&[1; 32], 0).await.unwrap().is_none());
    assert!(store.certificate_get("a1").await.unwrap().unwrap().revoked_at.is_some());
    assert_eq!(store.credit_balance(&ann.id).await.unwrap(), Some(5), "the ledger stays");

    // Name and address are free, the number is not.
    let again = store.user_create(&order).await.unwrap();
    assert!(again.number > ann.number);
    assert_eq!(store.users_by_number().await.unwrap().iter().map(|user| user.number).collect::<Vec<_>>(), [1, again.number]);
    assert!(matches!(store.user_delete(&root.id).await, Err(AccountError::LastAdministrator)));
}

pub(crate) async fn one_administrator_stays(f: Arc<Fixture>) {
    let store = &f.store;
    assert!(!store.has_administrator().await.unwrap());
    let root = store.user_create(&new("root", &["admin"])).await.unwrap();
    let off = NewUser { active: false, ..new("off", &["admin"]) };
    let off = store.user_create(&off).await.unwrap();
    assert!(store.has_administrator().await.unwrap());
    let disabled = |change: UserChange| UserChange { active: Some(false), ..change };
    let out = [roles(&[]), roles(&["guest"]), disabled(UserChange::default()), disabled(roles(&["admin"]))];
    for change in out.map(|change| UserChange { email: Some(Some("root@example.org".into())), ..change }) {
        let refused = store.user_change(&root.id, &change).await;
        assert!(matches!(refused, Err(AccountError::LastAdministrator)), "one who may not log in does not count: {change:?}");
    }
    assert_eq!(store.user_get(&root.id).await.unwrap().as_ref(), Some(&root), "all of a change or nothing");
    store.user_change(&root.id, &roles(&["admin", "guest"])).await.unwrap();
    store.user_change(&off.id, &disabled(roles(&["guest"]))).await.unwrap();
    store.user_delete(&off.id).await.unwrap();

    // Many, who all want to be the last but one: one is left, whichever way they go.
    let mut all = vec![root];
    for task in 0..7 {
        all.push(store.user_create(&new(&format!("admin-{task}"), &["admin"])).await.unwrap());
    }
    let hosts = [store.clone(), f.other_host().await];
    let ids: Vec<String> = all.iter().map(|user| user.id.clone()).collect();
    let outcomes = race(8, |task| {
        let (store, id) = (hosts[task % 2].clone(), ids[task].clone());
        async move {
            match task % 3 {
                0 => store.user_delete(&id).await,
                1 => store.user_change(&id, &roles(&[])).await.map(drop),
                _ => store.user_change(&id, &UserChange { active: Some(false), ..UserChange::default() }).await.map(drop),
            }
        }
    })
    .await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 7, "{outcomes:?}");
    assert!(store.has_administrator().await.unwrap());
}

pub(crate) async fn requests(f: Arc<Fixture>) {
    let store = &f.store;
    let request = |key: &str, hash: u8| KeyedRequest { scope: "s".into(), key: key.into(), input_hash: vec![hash] };
    let (ann, made) = store.user_request(&new("ann", &["guest"]), None, &request("k", 1)).await.unwrap();
    assert!(made);
    assert_eq!(store.user_by_number(ann.number).await.unwrap().as_ref(), Some(&ann));
    let again = store.user_request(&new("ann", &["guest"]), None, &request("k", 1)).await.unwrap();
    assert_eq!(again, (ann.clone(), false));
    let other = store.user_request(&new("ann", &["admin"]), None, &request("k", 2)).await;
    assert!(matches!(other, Err(Error::IdempotencyMismatch)));
    let taken = store.user_request(&new("ann", &["guest"]), None, &request("l", 1)).await;
    assert!(matches!(taken, Err(Error::Exists("the user"))), "another key asks for another user");

    let hosts = [store.clone(), f.other_host().await];
    let outcomes = race(8, |task| {
        let (store, request) = (hosts[task % 2].clone(), request("m", 3));
        async move { store.user_request(&new("bob", &[]), None, &request).await.unwrap() }
    })
    .await;
    assert_eq!(outcomes.iter().filter(|(_, made)| *made).count(), 1);
    assert!(outcomes.iter().all(|(user, _)| user == &outcomes[0].0));

    store.user_delete(&ann.id).await.unwrap();
    let (new, made) = store.user_request(&new("ann", &["guest"]), None, &request("k", 1)).await.unwrap();
    assert!(made && new.number > ann.number, "with the user, the request is forgotten");
}

pub(crate) async fn requests_for_applications(f: Arc<Fixture>) {
    let store = &f.store;
    let (ann, bob) = (store.user_create(&new("ann", &[])).await.unwrap(), store.user_create(&new("bob", &[])).await.unwrap());
    let request = |key: &str, hash: u8| KeyedRequest { scope: "s".into(), key: key.into(), input_hash: vec![hash] };
    let (shop, made) = store.application_request(&ann.id, "shop", &request("k", 1)).await.unwrap();
    assert!(made);
    assert_eq!(store.applications(&ann.id).await.unwrap(), std::slice::from_ref(&shop));
    let again = store.application_request(&ann.id, "another name", &request("k", 1)).await.unwrap();
    assert_eq!(again, (shop.clone(), false));
    let other = store.application_request(&ann.id, "shop", &request("k", 2)).await;
    assert!(matches!(other, Err(Error::IdempotencyMismatch)), "{other:?}");
    let taken = store.application_request(&ann.id, "shop", &request("l", 1)).await;
    assert!(matches!(taken, Err(Error::Exists("the application"))), "{taken:?}");
    assert!(store.application_request(&ann.id, "mall", &request("l", 1)).await.unwrap().1, "what was refused is no request");
    assert!(store.application_request(&bob.id, "shop", &request("k", 2)).await.unwrap().1, "keys are each user's own");
    let unknown = store.application_request("none", "shop", &request("k", 1)).await;
    assert!(matches!(unknown, Err(Error::NotFound("the user"))), "{unknown:?}");

    let hosts = [store.clone(), f.other_host().await];
    let outcomes = race(8, |task| {
        let (store, user, request) = (hosts[task % 2].clone(), ann.id.clone(), request("m", 3));
        async move { store.application_request(&user, "one", &request).await.unwrap() }
    })
    .await;
    assert_eq!(outcomes.iter().filter(|(_, made)| *made).count(), 1);
    assert!(outcomes.iter().all(|(application, _)| application == &outcomes[0].0));

    // What was deleted is not made a second time.
    store.application_delete(&ann.id, shop.id).await.unwrap();
    let gone = store.application_request(&ann.id, "shop", &request("k", 1)).await;
    assert!(matches!(gone, Err(Error::NotFound("the application"))), "{gone:?}");
    assert_eq!(store.application_requests_prune(shop.created_at, 10).await.unwrap(), 0);
    assert_eq!(store.application_requests_prune(i64::MAX, 1).await.unwrap(), 1, "the oldest");
    assert!(store.application_request(&ann.id, "shop", &request("k", 1)).await.unwrap().1, "the key is free again");
    assert_eq!(store.application_requests_prune(i64::MAX, 10).await.unwrap(), 4);
}

pub(crate) async fn addresses_and_passwords(f: Arc<Fixture>) {
    let store = &f.store;
    let ann = store.user_create(&NewUser { email: Some("ann@example.org".into()), ..new("ann", &[]) }).await.unwrap();
    let bob = store.user_create(&new("bob", &[])).await.unwrap();
    let taken = store.user_change(&bob.id, &UserChange { active: Some(false), ..email(Some("ANN@example.org")) }).await;
    assert!(matches!(taken, Err(AccountError::Store(Error::Exists("the e-mail address")))), "{taken:?}");
    assert_eq!(store.user_get(&bob.id).await.unwrap().as_ref(), Some(&bob), "all of a change or nothing");
    store.user_change(&ann.id, &email(Some("Ann@Example.org"))).await.unwrap();
    store.user_change(&ann.id, &email(None)).await.unwrap();
    store.user_change(&bob.id, &email(Some("ann@example.org"))).await.unwrap();
    assert_eq!(store.user_get(&bob.id).await.unwrap().unwrap().email.as_deref(), Some("ann@example.org"));

    use crate::users::password;
    store.user_change(&ann.id, &password(Some("temporary"), Some(77))).await.unwrap();
    let until = async || store.user_get(&ann.id).await.unwrap().unwrap().password_expires_at;
    assert_eq!(until().await, Some(77));
    store.user_change(&ann.id, &password(Some("chosen"), None)).await.unwrap();
    assert_eq!(until().await, None);
}
