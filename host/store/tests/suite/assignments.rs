use std::sync::Arc;

use ostler_store::{ASSIGNED, AssignError, FREE};

use crate::fixture::{Fixture, race};

pub(crate) async fn life(f: Arc<Fixture>) {
    let store = &f.store;
    let first = store.assignment_upsert_node("c", "vm-1", "one").await.unwrap();
    assert_eq!((first.user.as_deref(), first.status), (None, FREE));
    assert_eq!(store.assignment_upsert_node("c", "vm-1", "one").await.unwrap(), first);
    let second = store.assignment_upsert_node("c", "vm-2", "one").await.unwrap();
    store.assignment_upsert_node("d", "vm-1", "one").await.unwrap();

    let missing = store.assignment_assign("c", "none", "alice", None, None).await;
    assert!(matches!(missing, Err(AssignError::NotFound)));
    let assigned = store.assignment_assign("c", "vm-1", "alice", Some("web"), Some(7)).await.unwrap();
    assert_eq!((assigned.id, assigned.user.as_deref(), assigned.status), (first.id, Some("alice"), ASSIGNED));
    assert_eq!((assigned.recipe.as_deref(), assigned.recipe_id), (Some("web"), Some(7)));
    match store.assignment_assign("c", "vm-1", "bob", None, None).await {
        Err(AssignError::Taken(by)) => assert_eq!(*by, assigned),
        other => panic!("{other:?}"),
    }
    // A new name leaves the user.
    let renamed = store.assignment_upsert_node("c", "vm-1", "uno").await.unwrap();
    assert_eq!((renamed.id, renamed.hostname.as_str(), renamed.user.as_deref()), (first.id, "uno", Some("alice")));

    assert_eq!(store.assignments("c").await.unwrap(), [renamed.clone(), second.clone()]);
    assert_eq!(store.assignment_by_hostname("c", "uno").await.unwrap(), Some(renamed.clone()));
    assert_eq!(store.assignment_by_hostname("c", "one").await.unwrap(), Some(second.clone()));
    assert_eq!(store.assignment_by_hostname("c", "ONE").await.unwrap(), None);
    assert_eq!(store.assignment_by_vm("c", "vm-1").await.unwrap(), Some(renamed));

    let released = store.assignment_release("c", "vm-1").await.unwrap().unwrap();
    assert_eq!((released.user, released.recipe, released.recipe_id, released.status), (None, None, None, FREE));
    assert_eq!(store.assignment_release("c", "vm-2").await.unwrap(), Some(second));
    assert_eq!(store.assignment_release("c", "none").await.unwrap(), None);
    assert!(store.assignment_remove("c", "vm-1").await.unwrap());
    assert!(!store.assignment_remove("c", "vm-1").await.unwrap());
    assert_eq!(store.assignments("d").await.unwrap().len(), 1);
}

pub(crate) async fn one_gets_it(f: Arc<Fixture>) {
    let hosts = [f.store.clone(), f.other_host().await];
    let nodes = race(16, |task| {
        let store = hosts[task % 2].clone();
        async move { store.assignment_upsert_node("c", "vm", "one").await.unwrap() }
    })
    .await;
    assert!(nodes.iter().all(|node| node.id == nodes[0].id));

    let outcomes = race(16, |task| {
        let store = hosts[task % 2].clone();
        async move { store.assignment_assign("c", "vm", &format!("user-{task}"), None, None).await }
    })
    .await;
    let winners: Vec<_> = outcomes.iter().flatten().collect();
    assert_eq!(winners.len(), 1);
    for outcome in &outcomes {
        match outcome {
            Ok(assigned) => assert_eq!(assigned, winners[0]),
            Err(AssignError::Taken(by)) => assert_eq!(**by, *winners[0]),
            Err(other) => panic!("{other}"),
        }
    }
}

pub(crate) async fn ids_are_not_reused(f: Arc<Fixture>) {
    let store = &f.store;
    let mut last = 0;
    for _ in 0..3 {
        let id = store.assignment_upsert_node("c", "vm", "one").await.unwrap().id;
        assert!(id > last);
        last = id;
        store.assignment_remove("c", "vm").await.unwrap();
    }
}
