use std::sync::Arc;

use ostler_store::{Error, NewToken, NewUser, Token};

use crate::fixture::{Fixture, race};

fn new(username: &str, roles: &[&str]) -> NewUser {
    NewUser {
        username: username.into(),
        password_hash: Some("$argon2id$canary".into()),
        email: Some("a@b.c".into()),
        active: true,
        roles: roles.iter().map(|&role| role.into()).collect(),
    }
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

    store.user_set_password(&alice.id, None).await.unwrap();
    store.user_set_active(&alice.id, false).await.unwrap();
    for _ in 0..2 {
        store.user_add_role(&alice.id, "operator").await.unwrap();
        store.user_remove_role(&alice.id, "admin").await.unwrap();
    }
    let changed = store.user_get(&alice.id).await.unwrap().unwrap();
    assert_eq!((changed.password_hash, changed.active), (None, false));
    assert_eq!(changed.roles, ["operator", "user"]);
    assert!(changed.updated_at > alice.updated_at);

    assert!(matches!(store.user_set_password("none", None).await, Err(Error::NotFound(_))));
    assert!(matches!(store.user_set_active("none", true).await, Err(Error::NotFound(_))));
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

    store.user_set_active(&alice.id, false).await.unwrap();
    assert_eq!(find(1, 0).await, None, "the user is not active");
    store.user_set_active(&alice.id, true).await.unwrap();
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
}

pub(crate) async fn nothing_secret_in_debug(f: Arc<Fixture>) {
    let order = new("alice", &[]);
    let user = f.store.user_create(&order).await.unwrap();
    let again = f.store.user_create(&order).await.unwrap_err();
    let text = format!("{order:?} {user:?} {again:?} {again}");
    assert!(text.contains("alice"), "{text}");
    assert!(!text.contains("canary"), "{text}");
}
