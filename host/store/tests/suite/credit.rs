use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use ostler_store::{CreditEntry, CreditError, CreditKind, Error, NewUser, Store, User};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

use crate::fixture::{Engine, Fixture, race};

/// Numbers that are the same with each run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64, task: usize) -> Self {
        Self(seed.wrapping_mul(1_000_003).wrapping_add(task as u64))
    }

    /// Below this.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}

pub(crate) async fn user(store: &Store, name: &str, credit: i64) -> User {
    let new = NewUser { username: name.into(), active: true, credit, ..NewUser::default() };
    store.user_create(&new).await.unwrap()
}

pub(crate) async fn balance(store: &Store, user: &User) -> i64 {
    store.credit_balance(&user.id).await.unwrap().unwrap()
}

pub(crate) async fn sound(store: &Store) {
    assert_eq!(store.credit_audit().await.unwrap(), [""; 0]);
}

/// A statement on the database beside the store; its error.
async fn beside_the_store(f: &Fixture, sql: &str) -> Option<String> {
    let sql = AssertSqlSafe(sql.to_owned());
    let outcome = match f.engine {
        Engine::Memory => return None,
        Engine::Sqlite => {
            let mut connection = SqliteConnection::connect(&f.url).await.unwrap();
            let outcome = sqlx::raw_sql(sql).execute(&mut connection).await.map(|_| ());
            connection.close().await.unwrap();
            outcome
        }
        Engine::Postgres => {
            let mut connection = PgConnection::connect(&f.url).await.unwrap();
            let outcome = sqlx::raw_sql(sql).execute(&mut connection).await.map(|_| ());
            connection.close().await.unwrap();
            outcome
        }
    };
    outcome.err().map(|error| error.to_string())
}

fn facts(entry: &CreditEntry) -> (CreditKind, i64, i64, Option<i64>) {
    (entry.kind, entry.amount, entry.balance, entry.reservation)
}

pub(crate) async fn life(f: Arc<Fixture>) {
    let store = &f.store;
    let alice = user(store, "alice", 0).await;
    let granted = store.credit_grant(&alice.id, 50, Some("invoice 1"), "welcome", "admin").await.unwrap();
    assert_eq!(facts(&granted), (CreditKind::Grant, 50, 50, None));
    assert_eq!(
        (granted.reference.as_deref(), granted.note.as_str(), granted.actor.as_str()),
        (Some("invoice 1"), "welcome", "admin")
    );
    let charged = store.credit_charge(&alice.id, 8, None, "an hour", "host").await.unwrap();
    assert_eq!(facts(&charged), (CreditKind::Charge, -8, 42, None));
    let reserved = store.credit_reserve(&alice.id, 10, "a start", "alice").await.unwrap();
    assert_eq!(facts(&reserved), (CreditKind::Reserve, -10, 32, None));
    assert_eq!(store.credit_audit().await.unwrap().len(), 1, "an open reservation without a node");
    assert!(matches!(store.credit_close(reserved.id, 11, "host").await, Err(CreditError::Store(Error::Invalid(_)))));
    assert!(matches!(store.credit_close(reserved.id, -1, "host").await, Err(CreditError::Store(Error::Invalid(_)))));
    let settled = store.credit_close(reserved.id, 3, "host").await.unwrap();
    assert_eq!(facts(&settled), (CreditKind::Settle, 7, 39, Some(reserved.id)));
    assert_eq!((settled.note.as_str(), settled.actor.as_str()), ("a start", "host"));
    assert!(matches!(store.credit_close(reserved.id, 3, "host").await, Err(CreditError::Closed)));
    assert!(matches!(store.credit_close(reserved.id, 0, "host").await, Err(CreditError::Closed)));
    let other = store.credit_reserve(&alice.id, 39, "", "alice").await.unwrap();
    assert!(matches!(store.credit_reserve(&alice.id, 1, "", "alice").await, Err(CreditError::Insufficient { balance: 0 })));
    let released = store.credit_close(other.id, 0, "host").await.unwrap();
    assert_eq!(facts(&released), (CreditKind::Release, 39, 39, Some(other.id)));
    let nothing = store.credit_reserve(&alice.id, 0, "", "alice").await.unwrap();
    assert_eq!(facts(&store.credit_close(nothing.id, 0, "host").await.unwrap()), (CreditKind::Release, 0, 39, Some(nothing.id)));
    let all = store.credit_reserve(&alice.id, 39, "", "alice").await.unwrap();
    assert_eq!(facts(&store.credit_close(all.id, 39, "host").await.unwrap()), (CreditKind::Settle, 0, 0, Some(all.id)));
    for not_a_reservation in [granted.id, settled.id, 99_999] {
        let outcome = store.credit_close(not_a_reservation, 0, "host").await;
        assert!(matches!(outcome, Err(CreditError::Store(Error::NotFound(_)))), "{outcome:?}");
    }

    let mut paged = Vec::new();
    loop {
        let page = store.credit_history(&alice.id, paged.last().map(|entry: &CreditEntry| entry.id), 3).await.unwrap();
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged.len(), 10);
    assert!(paged.is_sorted_by(|a, b| a.id > b.id));
    assert_eq!(paged.last(), Some(&granted));
    assert_eq!(store.credit_history(&alice.id, None, 100).await.unwrap(), paged);

    assert_eq!(store.credit_balance("none").await.unwrap(), None);
    assert_eq!(store.credit_history("none", None, 1).await.unwrap(), []);
    assert!(matches!(store.credit_grant("none", 1, None, "", "a").await, Err(CreditError::Store(Error::NotFound("the user")))));
    assert!(matches!(store.credit_charge("none", 1, None, "", "a").await, Err(CreditError::Store(Error::NotFound("the user")))));
    sound(store).await;
}

pub(crate) async fn charges_race(f: Arc<Fixture>) {
    let hosts = [f.store.clone(), f.other_host().await];
    let alice = user(&f.store, "alice", 5).await;
    let outcomes = race(16, |task| {
        let (store, id) = (hosts[task % 2].clone(), alice.id.clone());
        async move { store.credit_charge(&id, 1, None, "", "host").await }
    })
    .await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 5);
    let refused = |outcome: &Result<_, _>| matches!(outcome, Ok(_) | Err(CreditError::Insufficient { balance: 0 }));
    assert!(outcomes.iter().all(refused), "{outcomes:?}");
    assert_eq!(balance(&f.store, &alice).await, 0);
    sound(&f.store).await;
}

pub(crate) async fn closers_race(f: Arc<Fixture>) {
    let hosts = [f.store.clone(), f.other_host().await];
    let alice = user(&f.store, "alice", 20).await;
    let mut expected = 20;
    for _ in 0..5 {
        let reservation = f.store.credit_reserve(&alice.id, 3, "", "alice").await.unwrap().id;
        let outcomes = race(6, |task| {
            let store = hosts[task % 2].clone();
            async move { store.credit_close(reservation, task as i64 % 3, "host").await }
        })
        .await;
        let closed: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
        assert_eq!(closed.len(), 1);
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(CreditError::Closed))), "{outcomes:?}");
        expected -= 3 - closed[0].amount;
        assert_eq!(balance(&f.store, &alice).await, expected);
    }
    sound(&f.store).await;
}

pub(crate) async fn reservations_race(f: Arc<Fixture>) {
    let hosts = [f.store.clone(), f.other_host().await];
    let alice = user(&f.store, "alice", 4).await;
    let spent = race(12, |task| {
        let (store, id) = (hosts[task % 2].clone(), alice.id.clone());
        async move {
            let mut spent = 0;
            for round in 0..10 {
                match store.credit_reserve(&id, 2, "", "alice").await {
                    Ok(entry) => {
                        let cost = i64::from(task == 0 && round == 9);
                        store.credit_close(entry.id, cost, "host").await.unwrap();
                        spent += cost;
                    }
                    Err(CreditError::Insufficient { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            spent
        }
    })
    .await;
    assert_eq!(balance(&f.store, &alice).await, 4 - spent.into_iter().sum::<i64>());
    sound(&f.store).await;
}

pub(crate) async fn references_count_once(f: Arc<Fixture>) {
    let store = &f.store;
    let (alice, bob) = (user(store, "alice", 5).await, user(store, "bob", 5).await);
    let first = store.credit_charge(&alice.id, 5, Some("r"), "note", "a").await.unwrap();
    // Also where the balance would not suffice for another.
    assert_eq!(store.credit_charge(&alice.id, 5, Some("r"), "other note", "b").await.unwrap(), first);
    let exists = |outcome: Result<_, _>| matches!(outcome, Err(CreditError::Store(Error::Exists(_))));
    assert!(exists(store.credit_charge(&alice.id, 4, Some("r"), "", "a").await), "another amount");
    assert!(exists(store.credit_charge(&bob.id, 5, Some("r"), "", "a").await), "another user");
    assert!(exists(store.credit_grant(&alice.id, 5, Some("r"), "", "a").await), "another kind");
    let granted = store.credit_grant(&alice.id, 5, Some("g"), "", "a").await.unwrap();
    assert_eq!(store.credit_grant(&alice.id, 5, Some("g"), "", "a").await.unwrap(), granted);
    assert_eq!((balance(store, &alice).await, balance(store, &bob).await), (5, 5));
    sound(store).await;
}

pub(crate) async fn references_race(f: Arc<Fixture>) {
    let hosts = [f.store.clone(), f.other_host().await];
    let users = [user(&f.store, "alice", 5).await, user(&f.store, "bob", 5).await];
    for round in 0..3 {
        let reference = format!("r{round}");
        let outcomes = race(12, |task| {
            let (store, id, reference) = (hosts[task % 2].clone(), users[task / 6].id.clone(), reference.clone());
            async move { store.credit_charge(&id, 1, Some(&reference), "", "host").await }
        })
        .await;
        let ids: HashSet<i64> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).map(|entry| entry.id).collect();
        assert_eq!(ids.len(), 1);
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 6, "all of one user, none of the other");
        assert!(outcomes.iter().all(|o| matches!(o, Ok(_) | Err(CreditError::Store(Error::Exists(_))))), "{outcomes:?}");
        assert_eq!(balance(&f.store, &users[0]).await + balance(&f.store, &users[1]).await, 9 - round);
    }
    sound(&f.store).await;
}

pub(crate) async fn limits(f: Arc<Fixture>) {
    const MOST: i64 = 1_000_000_000;
    let store = &f.store;
    let alice = user(store, "alice", MOST).await;
    let invalid = |outcome: Result<_, _>| matches!(outcome, Err(CreditError::Store(Error::Invalid(_))));
    for amount in [0, -1, MOST + 1, i64::MAX, i64::MIN] {
        assert!(invalid(store.credit_grant(&alice.id, amount, None, "", "a").await), "{amount}");
        assert!(invalid(store.credit_charge(&alice.id, amount, None, "", "a").await), "{amount}");
        assert!(amount == 0 || invalid(store.credit_reserve(&alice.id, amount, "", "a").await), "{amount}");
    }
    store.credit_grant(&alice.id, MOST, None, "", "a").await.unwrap();
    store.credit_charge(&alice.id, MOST, None, "", "a").await.unwrap();
    let reserved = store.credit_reserve(&alice.id, MOST, "", "a").await.unwrap();
    for spent in [i64::MIN, i64::MAX] {
        assert!(invalid(store.credit_close(reserved.id, spent, "a").await));
    }
    store.credit_close(reserved.id, 0, "a").await.unwrap();
    assert_eq!(balance(store, &alice).await, MOST);
    sound(store).await;
    if f.engine != Engine::Memory {
        let full = "UPDATE credit_accounts SET balance = 9223372036854775806";
        assert_eq!(beside_the_store(&f, full).await, None);
        assert!(invalid(store.credit_grant(&alice.id, 2, None, "", "a").await));
        assert_eq!(store.credit_grant(&alice.id, 1, None, "", "a").await.unwrap().balance, i64::MAX);
        assert!(invalid(store.credit_grant(&alice.id, 1, None, "", "a").await));
    }
}

pub(crate) async fn the_ledger_is_append_only(f: Arc<Fixture>) {
    if f.engine == Engine::Memory {
        return;
    }
    let alice = user(&f.store, "alice", 5).await;
    let before = f.store.credit_history(&alice.id, None, 10).await.unwrap();
    let mut statements =
        vec!["UPDATE credit_entries SET amount = 6", "UPDATE credit_entries SET note = note", "DELETE FROM credit_entries"];
    if f.engine == Engine::Postgres {
        statements.push("TRUNCATE credit_entries CASCADE");
    }
    for sql in statements {
        let refused = beside_the_store(&f, sql).await.unwrap();
        assert!(refused.contains("append-only"), "{sql}: {refused}");
    }
    let negative = beside_the_store(&f, "UPDATE credit_accounts SET balance = -1").await;
    assert!(negative.is_some());
    assert_eq!(f.store.credit_history(&alice.id, None, 10).await.unwrap(), before);
}

pub(crate) async fn the_audit_finds_what_is_wrong(f: Arc<Fixture>) {
    if f.engine == Engine::Memory {
        return;
    }
    let store = &f.store;
    let (alice, bob) = (user(store, "alice", 5).await, user(store, "bob", 5).await);
    sound(store).await;
    let mistakes = [
        format!("UPDATE credit_accounts SET balance = 6 WHERE user_id = '{}'", alice.id),
        format!(
            "INSERT INTO credit_entries (user_id, at, kind, amount, balance, note, actor) VALUES ('{0}', 0, 'charge', -1, 5, '', \
             ''), ('{0}', 0, 'grant', 1, 5, '', '')",
            bob.id
        ),
        "INSERT INTO users (id, username, active, created_at, updated_at, number) VALUES ('x', 'x', 1, 0, 0, 99)".to_owned(),
    ];
    for sql in mistakes {
        assert_eq!(beside_the_store(&f, &sql).await, None, "{sql}");
    }
    let open = store.credit_reserve(&alice.id, 2, "", "a").await.unwrap();
    let found = store.credit_audit().await.unwrap();
    let about = |what: &str| found.iter().filter(|line| line.contains(what)).count();
    assert_eq!(about("is not the sum of the entries, which is 3"), 1, "{found:?}");
    // The charge, which left 5, and the reservation, which began with 6. The grant after the charge adds 1 to 5 and left 5.
    assert_eq!(about("does not add up at entry"), 3, "{found:?}");
    assert_eq!(about(&format!("no node has the open reservation {}", open.id)), 1, "{found:?}");
    assert_eq!(about("user x: there is no account for the number 99"), 1, "{found:?}");
    assert_eq!(found.len(), 6, "{found:?}");
}

/// Whatever many do at once, each balance is what the entries say that they were told of, and never below zero.
pub(crate) async fn random_interleavings_add_up(f: Arc<Fixture>) {
    let hosts = [f.store.clone(), f.other_host().await];
    for seed in 0..4 {
        let mut users = Vec::new();
        for number in 0..3 {
            users.push(user(&f.store, &format!("u{seed}-{number}"), 0).await);
        }
        let told = race(6, |task| {
            let (store, users) = (hosts[task % 2].clone(), users.clone());
            async move {
                let mut random = Random::new(seed, task);
                let mut told: Vec<CreditEntry> = Vec::new();
                let mut open = Vec::new();
                for _ in 0..25 {
                    let user = &users[random.below(users.len())];
                    let amount = 1 + random.below(9) as i64;
                    // Of each user a few references, so that tasks meet.
                    let reference = format!("{seed}:{}:{}:{}", user.username, amount, random.below(4));
                    let outcome = match random.below(6) {
                        0 => store.credit_grant(&user.id, amount, None, "", "t").await,
                        1 => store.credit_grant(&user.id, amount, Some(&format!("g:{reference}")), "", "t").await,
                        2 => store.credit_charge(&user.id, amount, None, "", "t").await,
                        3 => store.credit_charge(&user.id, amount, Some(&format!("c:{reference}")), "", "t").await,
                        4 => store.credit_reserve(&user.id, amount, "", "t").await.inspect(|entry| open.push(entry.clone())),
                        _ if open.is_empty() => continue,
                        _ => {
                            let reserved: CreditEntry = open.swap_remove(random.below(open.len()));
                            let spent = random.below(1 + reserved.amount.unsigned_abs() as usize) as i64;
                            Ok(store.credit_close(reserved.id, spent, "t").await.unwrap())
                        }
                    };
                    match outcome {
                        Ok(entry) => told.push(entry),
                        Err(CreditError::Insufficient { .. }) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
                for reserved in open {
                    told.push(store.credit_close(reserved.id, 0, "t").await.unwrap());
                }
                told
            }
        })
        .await;
        // What a reference brought back is the same entry.
        let entries: BTreeMap<i64, CreditEntry> = told.into_iter().flatten().map(|entry| (entry.id, entry)).collect();
        for user in &users {
            let model: i64 = entries.values().filter(|entry| entry.user_id == user.id).map(|entry| entry.amount).sum();
            let history = f.store.credit_history(&user.id, None, u32::MAX).await.unwrap();
            assert!(history.iter().all(|entry| entry.balance >= 0));
            assert_eq!(balance(&f.store, user).await, model, "seed {seed}");
            assert_eq!(history.len(), entries.values().filter(|entry| entry.user_id == user.id).count());
        }
        sound(&f.store).await;
    }
}
