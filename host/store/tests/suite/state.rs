use std::sync::Arc;

use ostler_store::{Condition, StateError, Store, Write};

use crate::fixture::{Fixture, race};

const QUOTA: u64 = 1 << 20;

fn write(key: &str, value: &[u8]) -> Write {
    Write { key: key.into(), value: Some(value.into()) }
}

fn delete(key: &str) -> Write {
    Write { key: key.into(), value: None }
}

fn condition(key: &str, version: Option<u64>) -> Condition {
    Condition { key: key.into(), version }
}

async fn put(store: &Store, cloud: &str, writes: &[Write]) -> u64 {
    store.state_commit(cloud, &[], writes, QUOTA).await.unwrap().revision
}

async fn keys(store: &Store, prefix: &str, after: Option<&str>, limit: u32) -> Vec<String> {
    let entries = store.state_list("c", prefix, after, limit).await.unwrap();
    entries.into_iter().map(|entry| entry.key).collect()
}

pub(crate) async fn writes_and_reads(f: Arc<Fixture>) {
    let store = &f.store;
    assert_eq!(store.state_revision("c").await.unwrap(), 0);
    assert_eq!(store.state_get("c", "a").await.unwrap(), None);

    let value: Vec<u8> = (0..=255).collect();
    let commit = store.state_commit("c", &[], &[write("a", &value), write("nul\0", b"")], QUOTA).await.unwrap();
    assert_eq!((commit.revision, commit.deleted, commit.bytes), (1, 0, 1 + 256 + 4));
    let entry = store.state_get("c", "a").await.unwrap().unwrap();
    assert_eq!((entry.key.as_str(), entry.value, entry.version), ("a", value, 1));
    assert_eq!(store.state_get("c", "nul\0").await.unwrap().unwrap().value, b"");
    assert_eq!(store.state_get("c", "A").await.unwrap(), None);

    let commit = store.state_commit("c", &[], &[delete("a"), delete("never there")], QUOTA).await.unwrap();
    assert_eq!((commit.revision, commit.deleted, commit.bytes), (2, 1, 4));
    assert_eq!(store.state_get("c", "a").await.unwrap(), None);
    assert_eq!(store.state_revision("c").await.unwrap(), 2);
}

pub(crate) async fn cas_counters_lose_nothing(f: Arc<Fixture>) {
    const TASKS: usize = 16;
    const ROUNDS: u64 = 10;
    let hosts = [f.store.clone(), f.other_host().await];
    let conflicts: u64 = race(TASKS, |task| {
        let store = hosts[task % 2].clone();
        async move {
            let mut conflicts = 0;
            for _ in 0..ROUNDS {
                loop {
                    let entry = store.state_get("c", "counter").await.unwrap();
                    let count = entry.as_ref().map_or(0, |e| u64::from_le_bytes(e.value[..].try_into().unwrap()));
                    let expected = condition("counter", entry.map(|entry| entry.version));
                    let next = write("counter", &(count + 1).to_le_bytes());
                    match store.state_commit("c", &[expected], &[next], QUOTA).await {
                        Ok(_) => break,
                        Err(StateError::Conflict) => conflicts += 1,
                        Err(other) => panic!("{other}"),
                    }
                }
            }
            conflicts
        }
    })
    .await
    .into_iter()
    .sum();
    let entry = f.store.state_get("c", "counter").await.unwrap().unwrap();
    let total = TASKS as u64 * ROUNDS;
    assert_eq!(entry.value, total.to_le_bytes(), "after {conflicts} conflicts");
    // A refused commit takes no revision.
    assert_eq!(entry.version, total);
    assert_eq!(f.store.state_revision("c").await.unwrap(), total);
}

pub(crate) async fn all_or_nothing(f: Arc<Fixture>) {
    let store = &f.store;
    let version = put(store, "c", &[write("a", b"1")]).await;
    for (name, conditions) in [
        ("wrong version", vec![condition("a", Some(version + 1))]),
        ("should not exist", vec![condition("a", None)]),
        ("should exist", vec![condition("b", Some(version))]),
        ("one of two", vec![condition("a", Some(version)), condition("b", Some(version))]),
    ] {
        let outcome = store.state_commit("c", &conditions, &[write("b", b"2"), delete("a")], QUOTA).await;
        assert!(matches!(outcome, Err(StateError::Conflict)), "{name}: {outcome:?}");
        assert_eq!(store.state_load("c").await.unwrap().1.len(), 1, "{name}");
        assert_eq!(store.state_revision("c").await.unwrap(), version, "{name}");
    }
    let conditions = [condition("a", Some(version)), condition("b", None)];
    let commit = store.state_commit("c", &conditions, &[write("b", b"2"), delete("a")], QUOTA).await.unwrap();
    let (revision, entries) = store.state_load("c").await.unwrap();
    assert_eq!((revision, entries.len(), entries[0].version), (commit.revision, 1, commit.revision));
}

pub(crate) async fn quota(f: Arc<Fixture>) {
    let store = &f.store;
    let bytes = |writes: Vec<Write>, quota: u64| async move {
        match store.state_commit("c", &[], &writes, quota).await {
            Ok(commit) => Some(commit.bytes),
            Err(StateError::Quota) => None,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(bytes(vec![write("ü", b"12345678")], 9).await, None, "bytes, not characters");
    assert_eq!(store.state_revision("c").await.unwrap(), 0);
    assert_eq!(bytes(vec![write("ü", b"12345678")], 10).await, Some(10));
    assert_eq!(bytes(vec![write("b", b"")], 10).await, None);
    assert_eq!(bytes(vec![write("ü", b"1")], 10).await, Some(3));
    assert_eq!(bytes(vec![write("b", b"123456")], 10).await, Some(10));
    assert_eq!(bytes(vec![delete("b"), write("cc", b"12345")], 10).await, Some(10));
    // A quota that was lowered since forbids growth only.
    assert_eq!(bytes(vec![write("cc", b"1234")], 5).await, Some(9));
    assert_eq!(bytes(vec![write("cc", b"12345")], 5).await, None);
    assert_eq!(bytes(vec![delete("ü"), delete("cc"), delete("none")], 0).await, Some(0));
}

pub(crate) async fn listing(f: Arc<Fixture>) {
    let store = &f.store;
    let names = ["", "a", "a%", "a%b", "a_", "a_b", "aXb", "a\\", "B", "b", "ä", "äb", "é", "日本", "\u{10FFFF}", "\u{10FFFF}z"];
    let writes: Vec<Write> = names.iter().map(|name| write(name, b"v")).collect();
    put(store, "c", &writes).await;
    put(store, "d", &[write("a%z", b"v")]).await;
    let mut sorted = names.to_vec();
    sorted.sort_by_key(|name| name.as_bytes());

    // Against the definition, for all prefixes and positions.
    for prefix in ["", "a", "a%", "a_", "a\\", "ä", "\u{10FFFF}", "日", "x"] {
        for after in [None, Some(""), Some("a"), Some("a%"), Some("a_b"), Some("zz"), Some("ä"), Some("\u{10FFFF}")] {
            let expected: Vec<&str> = sorted
                .iter()
                .copied()
                .filter(|name| name.starts_with(prefix) && after.is_none_or(|after| name.as_bytes() > after.as_bytes()))
                .collect();
            assert_eq!(keys(store, prefix, after, 100).await, expected, "prefix {prefix:?} after {after:?}");
        }
    }

    // In pages of two.
    let mut all = Vec::new();
    loop {
        let page = keys(store, "", all.last().map(String::as_str), 2).await;
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 2);
        all.extend(page);
    }
    assert_eq!(all, sorted);
}

pub(crate) async fn versions_never_repeat(f: Arc<Fixture>) {
    let store = &f.store;
    let mut last = 0;
    for _ in 0..3 {
        let version = put(store, "c", &[write("a", b"same")]).await;
        assert!(version > last);
        last = put(store, "c", &[delete("a")]).await;
        assert!(last > version);
        let outcome = store.state_commit("c", &[condition("a", Some(version))], &[write("a", b"x")], QUOTA).await;
        assert!(matches!(outcome, Err(StateError::Conflict)));
    }
    let again = store.state_commit("c", &[condition("a", None)], &[write("a", b"same")], QUOTA).await.unwrap();
    assert!(again.revision > last);
}

pub(crate) async fn loading_is_one_moment(f: Arc<Fixture>) {
    let (store, other) = (f.store.clone(), f.other_host().await);
    assert_eq!(store.state_load("c").await.unwrap(), (0, vec![]));
    put(&store, "c", &[]).await;
    assert_eq!(store.state_load("c").await.unwrap(), (1, vec![]));

    // Every commit writes both keys, so that at every moment both have the revision as their version.
    let writer = tokio::spawn(async move {
        for _ in 0..50 {
            put(&other, "c", &[write("a", b"1"), write("b", b"2")]).await;
        }
    });
    let mut loads = 0;
    while !writer.is_finished() || loads == 0 {
        let (revision, entries) = store.state_load("c").await.unwrap();
        for entry in &entries {
            assert_eq!(entry.version, revision);
        }
        loads += 1;
    }
    writer.await.unwrap();
    assert_eq!(store.state_load("c").await.unwrap().0, 51);
}

pub(crate) async fn clouds_are_apart(f: Arc<Fixture>) {
    let store = &f.store;
    put(store, "c", &[write("a", b"c")]).await;
    put(store, "C", &[write("a", b"C")]).await;
    put(store, "c", &[write("b", b"c")]).await;
    assert_eq!(store.state_revision("c").await.unwrap(), 2);
    assert_eq!(store.state_revision("C").await.unwrap(), 1);
    assert_eq!(store.state_get("c", "a").await.unwrap().unwrap().value, b"c");
    assert_eq!(store.state_load("C").await.unwrap().1.len(), 1);
    let commit = store.state_commit("C", &[], &[delete("a"), delete("b")], QUOTA).await.unwrap();
    assert_eq!(commit.deleted, 1);
    assert_eq!(store.state_load("c").await.unwrap().1.len(), 2);
}

pub(crate) async fn a_later_write_of_a_key_counts(f: Arc<Fixture>) {
    let store = &f.store;
    let writes = [write("a", b"first"), delete("a"), write("a", b"2"), write("b", b"x"), delete("b")];
    let commit = store.state_commit("c", &[], &writes, QUOTA).await.unwrap();
    assert_eq!(commit.bytes, 2);
    let (_, entries) = store.state_load("c").await.unwrap();
    assert_eq!((entries.len(), entries[0].value.as_slice()), (1, &b"2"[..]));
}
