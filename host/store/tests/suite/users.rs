use std::sync::Arc;

use ostler_store::{AccountError, Error, NewPassword, NewToken, NewUser, Token, UserChange};

use crate::fixture::{Fixture, race};

fn new(username: &str, roles: &[&str]) -> NewUser {
    NewUser {
        username: username.into(),
        password_hash: Some("$argon2id$canary".into()),
        active: true,
        roles: roles.iter().map(|&role| role.into()).collect(),
        ..NewUser::default()
    }
}

fn active(active: bool) -> UserChange {
    UserChange { active: Some(active), ..UserChange::default() }
}

pub(crate) fn password(hash: Option<&str>, until: Option<i64>) -> UserChange {
    UserChange { password: Some(NewPassword { hash: hash.map(str::to_owned), until }), ..UserChange::default() }
}

pub(crate) async fn life(f: Arc<Fixture>) {
    let store = &f.store;
    let alice = store.user_create(&new("alice", &["user", "admin", "user"])).await.unwrap();
    assert_eq!(alice.roles, ["admin", "user"]);
    store.user_create(&new("Alice", &[])).await.unwrap();
    assert_eq!(store.user_by_name("alice").await.unwrap().as_ref(), Some(&alice));
    assert_eq!(store.user_get(&alice.id).await.unwrap().as_ref(), Some(&alice));
    assert_eq!(store.user_by_name("ALICE").await.unwrap(), None);
    assert_eq!(store.user_get("none").await.unwrap(), None);
    assert_eq!(store.user_by_name("Alice").await.unwrap().unwrap().roles, [""; 0]);

    // One of many; and no roles stay behind of the others.
    let outcomes = race(16, |_| {
        let store = store.clone();
        async move { store.user_create(&new("bob", &["user"])).await }
    })
    .await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(Error::Exists(_)))));

    let same = store.user_change(&alice.id, &UserChange::default()).await.unwrap();
    assert_eq!(same, ostler_store::User { updated_at: same.updated_at, ..alice.clone() }, "what is none stays");
    store.user_create(&new("root", &["admin"])).await.unwrap();
    let both = UserChange { active: Some(false), ..password(None, None) };
    store.user_change(&alice.id, &both).await.unwrap();
    for _ in 0..2 {
        store.user_add_role(&alice.id, "operator").await.unwrap();
        store.user_remove_role(&alice.id, "admin").await.unwrap();
    }
    let changed = store.user_get(&alice.id).await.unwrap().unwrap();
    assert_eq!((changed.password_hash, changed.active), (None, false));
    assert_eq!(changed.roles, ["operator", "user"]);
    assert!(changed.updated_at > alice.updated_at);

    for change in [UserChange::default(), active(true), password(None, None)] {
        let unknown = store.user_change("none", &change).await;
        assert!(matches!(unknown, Err(AccountError::Store(Error::NotFound("the user")))), "{unknown:?}");
    }
    assert!(matches!(store.user_add_role("none", "r").await, Err(Error::NotFound(_))));
    assert!(matches!(store.user_remove_role("none", "r").await, Err(Error::NotFound(_))));
}

pub(crate) async fn paging(f: Arc<Fixture>) {
    let store = &f.store;
    let mut names = vec!["b", "a", "B", "ä", "z", "aa", "Z_"];
    for name in &names {
        store.user_create(&new(name, &["x", "y", "z"])).await.unwrap();
    }
    names.sort_by_key(|name| name.as_bytes());
    let mut found: Vec<String> = Vec::new();
    loop {
        let page = store.users(found.last().map(String::as_str), 3).await.unwrap();
        assert!(page.iter().all(|user| user.roles == ["x", "y", "z"]));
        if page.is_empty() {
            break;
        }
        found.extend(page.into_iter().map(|user| user.username));
    }
    assert_eq!(found, names);
}

pub(crate) async fn tokens(f: Arc<Fixture>) {
    let store = &f.store;
    let alice = store.user_create(&new("alice", &["admin", "user"])).await.unwrap();
    let bob = store.user_create(&new("bob", &[])).await.unwrap();
    let token = |user: &str, hash: u8, expires_at| NewToken {
        user_id: user.into(),
        hash: vec![hash; 32],
        label: "laptop".into(),
        scopes: vec!["nodes:read".into(), "ü\"".into()],
        expires_at,
    };
    let forever = store.token_create(&token(&alice.id, 1, None)).await.unwrap();
    let short = store.token_create(&token(&alice.id, 2, Some(1000))).await.unwrap();
    assert!(matches!(store.token_create(&token(&bob.id, 1, None)).await, Err(Error::Exists(_))));
    assert!(matches!(store.token_create(&token("none", 3, None)).await, Err(Error::NotFound(_))));

    let find = |hash: u8, now| async move { store.token_find(&[hash; 32], now).await.unwrap() };
    assert_eq!(find(1, i64::MAX).await, Some((forever.clone(), alice.clone())));
    assert_eq!(find(2, 999).await, Some((short.clone(), alice.clone())));
    assert_eq!(find(2, 1000).await, None, "expired");
    assert_eq!(find(9, 0).await, None, "unknown");
    assert_eq!(store.tokens(&alice.id).await.unwrap(), [forever.clone(), short.clone()]);
    assert_eq!(store.tokens(&bob.id).await.unwrap(), []);

    let used = || async { store.tokens(&alice.id).await.unwrap()[0].last_used_at };
    for (now, expected) in [(100, 100), (149, 100), (150, 150), (120, 150)] {
        store.token_touch(&forever.id, now, 50).await.unwrap();
        assert_eq!(used().await, Some(expected), "at {now}");
    }

    let root = store.user_create(&new("root", &["admin"])).await.unwrap();
    store.user_change(&alice.id, &active(false)).await.unwrap();
    assert_eq!(find(1, 0).await, None, "the user is not active");
    store.user_change(&alice.id, &active(true)).await.unwrap();
    assert!(!store.token_revoke(&bob.id, &forever.id).await.unwrap(), "somebody else's");
    assert!(find(1, 0).await.is_some());
    assert!(store.token_revoke(&alice.id, &forever.id).await.unwrap());
    assert!(!store.token_revoke(&alice.id, &forever.id).await.unwrap());
    assert_eq!(find(1, 0).await, None, "revoked");

    assert_eq!(store.tokens_delete_expired(999).await.unwrap(), 0);
    assert_eq!(store.tokens_delete_expired(1000).await.unwrap(), 1);
    let left: Vec<Token> = store.tokens(&alice.id).await.unwrap();
    assert_eq!((left.len(), &left[0].id), (1, &forever.id));
    assert!(left[0].revoked_at.is_some());

    let own = store.token_create(&token(&bob.id, 4, None)).await.unwrap();
    assert!(store.token_revoke_any(&own.id).await.unwrap());
    assert!(!store.token_revoke_any(&own.id).await.unwrap());
    assert!(!store.token_revoke_any("none").await.unwrap());
    assert_eq!(find(4, 0).await, None, "revoked");

    // With a password end the tokens that were got with it, and nobody else's; another hash of the same one ends nothing.
    for (user, hash) in [(&bob, 5), (&bob, 6), (&root, 7)] {
        store.token_create(&token(&user.id, hash, None)).await.unwrap();
    }
    assert!(store.user_rehash(&bob.id, "$argon2id$canary", "anew").await.unwrap());
    let others = UserChange { roles: Some(vec!["user".into()]), email: Some(Some("bob@example.org".into())), ..active(true) };
    store.user_change(&bob.id, &others).await.unwrap();
    assert!(find(5, 0).await.is_some() && find(6, 0).await.is_some());
    store.user_change(&bob.id, &password(Some("other"), None)).await.unwrap();
    assert!(find(5, 0).await.is_none() && find(6, 0).await.is_none() && find(7, 0).await.is_some());
}

pub(crate) async fn numbers_and_addresses(f: Arc<Fixture>) {
    let store = &f.store;
    let mut order = new("alice", &["customer"]);
    order.email = Some("Alice@Example.org".into());
    order.first_name = Some("Alice".into());
    order.last_name = Some("Ä".into());
    order.affiliation = Some("CRS4".into());
    order.credit = 7;
    let alice = store.user_create_with(&order, Some("New Application")).await.unwrap();
    assert_eq!((alice.number, alice.first_name.as_deref(), alice.last_name.as_deref()), (1, Some("Alice"), Some("Ä")));
    assert_eq!((alice.email.as_deref(), alice.affiliation.as_deref()), (Some("Alice@Example.org"), Some("CRS4")));
    assert_eq!(store.user_by_number(1).await.unwrap(), Some(alice.clone()));
    assert_eq!(store.user_by_name("alice").await.unwrap(), Some(alice.clone()));
    assert_eq!(store.user_by_number(2).await.unwrap(), None);
    let applications = store.applications(&alice.id).await.unwrap();
    assert_eq!((applications.len(), applications[0].name.as_str()), (1, "New Application"));
    let history = store.credit_history(&alice.id, None, 10).await.unwrap();
    assert_eq!((history.len(), history[0].kind, history[0].amount), (1, ostler_store::CreditKind::Grant, 7));
    assert_eq!(history[0].actor, "alice");
    assert_eq!(store.credit_balance(&alice.id).await.unwrap(), Some(7));

    // What is taken is told apart; and the refused take no number, and leave nothing.
    let mut other = new("alice", &[]);
    assert!(matches!(store.user_create(&other).await, Err(Error::Exists("the user"))));
    other = NewUser { email: Some("aLICE@example.ORG".into()), ..new("bob", &["customer"]) };
    assert!(matches!(store.user_create_with(&other, Some("a")).await, Err(Error::Exists("the e-mail address"))));
    other.username = "alice".into();
    assert!(matches!(store.user_create(&other).await, Err(Error::Exists("the user"))));
    for credit in [-1, 1_000_000_001] {
        assert!(matches!(store.user_create(&NewUser { credit, ..new("bob", &[]) }).await, Err(Error::Invalid(_))));
    }
    assert!(matches!(store.user_create_with(&new("bob", &[]), Some("\0")).await, Err(Error::Invalid(_))));
    let bob = store.user_create(&new("bob", &[])).await.unwrap();
    assert_eq!((bob.number, store.credit_balance(&bob.id).await.unwrap()), (2, Some(0)));
    assert_eq!(store.credit_history(&bob.id, None, 10).await.unwrap(), []);
    assert_eq!(store.applications(&bob.id).await.unwrap(), []);

    // One address, many names: one gets it.
    let hosts = [store.clone(), f.other_host().await];
    let outcomes = race(12, |task| {
        let store = hosts[task % 2].clone();
        let order = NewUser { email: Some("carol@example.org".into()), ..new(&format!("carol-{task}"), &[]) };
        async move { store.user_create(&order).await }
    })
    .await;
    let (made, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(made.len(), 1);
    assert!(refused.iter().all(|refused| matches!(refused, Err(Error::Exists("the e-mail address")))), "{refused:?}");
    // Numbers without gaps, each once.
    let outcomes = race(12, |task| {
        let store = hosts[task % 2].clone();
        async move { store.user_create(&new(&format!("dave-{task}"), &[])).await.unwrap().number }
    })
    .await;
    let mut numbers = outcomes;
    numbers.sort_unstable();
    assert_eq!(numbers, (4..16).collect::<Vec<i64>>());
}

pub(crate) async fn roles_and_activity(f: Arc<Fixture>) {
    let store = &f.store;
    let alice = store.user_create(&new("alice", &["customer"])).await.unwrap();
    let bob = store.user_create(&new("bob", &["customer"])).await.unwrap();
    store.user_create(&new("root", &["admin"])).await.unwrap();
    let roles = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<String>>();
    for wanted in [&["operator", "admin", "admin"][..], &["admin"], &[]] {
        let change = UserChange { roles: Some(roles(wanted)), ..UserChange::default() };
        let now = store.user_change(&alice.id, &change).await.unwrap();
        assert_eq!(store.user_get(&alice.id).await.unwrap().as_ref(), Some(&now));
        let mut expected = roles(wanted);
        expected.sort();
        expected.dedup();
        assert_eq!(now.roles, expected);
        assert!(now.updated_at > alice.updated_at);
    }
    assert_eq!(store.user_get(&bob.id).await.unwrap().unwrap().roles, ["customer"]);

    for (user, serial) in [(&alice, "a1"), (&alice, "a2"), (&bob, "b1")] {
        store.certificate_add(&crate::certificates::new(serial, Some(&user.id), None)).await.unwrap();
    }
    store.user_change(&alice.id, &active(true)).await.unwrap();
    assert!(store.certificate_get("a1").await.unwrap().unwrap().revoked_at.is_none());
    store.user_change(&alice.id, &active(false)).await.unwrap();
    for serial in ["a1", "a2"] {
        let revoked = store.certificate_get(serial).await.unwrap().unwrap();
        assert_eq!(revoked.reason.as_deref(), Some("privilege-withdrawn"));
    }
    assert!(store.certificate_get("b1").await.unwrap().unwrap().revoked_at.is_none());
}

pub(crate) async fn nothing_secret_in_debug(f: Arc<Fixture>) {
    let order = new("alice", &[]);
    let user = f.store.user_create(&order).await.unwrap();
    let again = f.store.user_create(&order).await.unwrap_err();
    let text = format!("{order:?} {user:?} {again:?} {again}");
    assert!(text.contains("alice"), "{text}");
    assert!(!text.contains("canary"), "{text}");
}
