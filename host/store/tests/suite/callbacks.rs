//! What is told of deployments: written with the change, delivered by one at a time, in order.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use ostler_store::{
    Callback, CallbackKind, CallbackOutcome, DeploymentChange, DeploymentStatus, DeploymentTask, Error, NewDeployment,
    NewOperation, OperationKind, Owner, Progress, Store, now,
};
use serde_json::json;

use crate::deployments::{SECRET, begun, idle, made, new, try_begin, work};
use crate::fixture::{Fixture, race};
use crate::world::{HOUR, event, order};

async fn kinds(store: &Store, deployment: &str) -> Vec<CallbackKind> {
    store.callbacks(deployment).await.unwrap().iter().map(|callback| callback.kind).collect()
}

async fn to(store: &Store, id: &str, status: DeploymentStatus) {
    let change = DeploymentChange { status: Some(status), operation: Some(None), ..Default::default() };
    store.deployment_change(id, &change, Some(&event(id))).await.unwrap().unwrap();
}

/// Whether something was written down since this was last asked.
async fn signalled(store: &Store) -> bool {
    tokio::select! {
        biased;
        () = store.callbacks_written() => true,
        () = std::future::ready(()) => false,
    }
}

/// Deployments with this many callbacks each.
async fn told(store: &Store, deployments: usize, callbacks: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..deployments {
        let (id, _) = idle(store, 0).await;
        for number in 1..callbacks {
            let status = if number % 2 == 1 { DeploymentStatus::CreateComplete } else { DeploymentStatus::UpdateComplete };
            to(store, &id, status).await;
        }
        ids.push(id);
    }
    ids
}

fn ids(callbacks: &[Callback]) -> Vec<(&str, i64)> {
    callbacks.iter().map(|callback| (callback.deployment.as_str(), callback.number)).collect()
}

async fn claim(store: &Store, owner: &str, at: i64) -> Vec<Callback> {
    store.callback_claim(owner, at, at + HOUR, 100).await.unwrap()
}

pub(crate) async fn a_life_is_told(f: Arc<Fixture>) {
    use CallbackKind::{CreateDone, CreateSubmitted, DeleteDone, DeleteFailed, UpdateFailed, UpdateSubmitted};
    let store = &f.store;
    let new = new();
    let id = new.id.as_str();
    assert!(!signalled(store).await);
    made(store, &new, &[]).await;
    assert!(signalled(store).await && !signalled(store).await);
    assert_eq!(kinds(store, id).await, [CreateSubmitted]);

    // Changes that are nobody's business.
    let quiet = [
        DeploymentChange { task: Some(DeploymentTask::Brokering), log_line: Some("x".into()), ..Default::default() },
        DeploymentChange { status: Some(DeploymentStatus::CreateInProgress), ..Default::default() },
        DeploymentChange { status: Some(DeploymentStatus::Unknown), ..Default::default() },
    ];
    for change in quiet {
        store.deployment_change(id, &change, Some(&event(id))).await.unwrap().unwrap();
        assert!(!signalled(store).await);
    }

    let complete = DeploymentChange {
        status: Some(DeploymentStatus::CreateComplete),
        status_reason: Some(Some("fine".into())),
        task: Some(DeploymentTask::None),
        cloud: Some(Some("lab".into())),
        physical_id: Some(Some("p-1".into())),
        endpoint: Some(Some(json!({"region": "r", "vaultToken": SECRET}))),
        outputs: Some(json!({
            "address": "192.0.2.1", "node_creds": [{"user": "u", "Password": SECRET, "nested": {"access_token": [SECRET]}}],
            "key": format!("-----BEGIN EC PRIVATE KEY-----\n{SECRET}\n"), "nul": "\0",
        })),
        log_line: Some(SECRET.into()),
        operation: Some(None),
        ..Default::default()
    };
    let after = store.deployment_change(id, &complete, None).await.unwrap().unwrap();
    assert!(signalled(store).await);

    // The new address gets to know of the submission already.
    let update = DeploymentChange {
        status: Some(DeploymentStatus::UpdateInProgress),
        callback: Some(Some("http://d.example/".into())),
        ..Default::default()
    };
    let op = order(OperationKind::UpdateDeployment);
    let (progress, happened) = (Progress::default(), event(id));
    begun(store.deployment_work(id, None, &update, &[], &[], &op, &progress, &[], &happened).await);
    assert!(signalled(store).await);
    to(store, id, DeploymentStatus::UpdateFailed).await;
    let delete = DeploymentChange { status: Some(DeploymentStatus::DeleteInProgress), ..Default::default() };
    let op = order(OperationKind::DeleteDeployment);
    begun(store.deployment_work(id, None, &delete, &[], &[], &op, &progress, &[], &happened).await);
    // What is stuck and stays so is told once, and again only once it has moved.
    for status in ["f", "f", "p", "f"] {
        let failed = status == "f";
        to(store, id, if failed { DeploymentStatus::DeleteFailed } else { DeploymentStatus::DeleteInProgress }).await;
    }
    assert!(store.deployment_remove(id, &event(id)).await.unwrap());
    assert!(!store.deployment_remove(id, &event(id)).await.unwrap());

    let callbacks = store.callbacks(id).await.unwrap();
    assert_eq!(
        kinds(store, id).await,
        [CreateSubmitted, CreateDone, UpdateSubmitted, UpdateFailed, DeleteFailed, DeleteFailed, DeleteDone]
    );
    let old = format!("https://c.example/?{SECRET}");
    for (callback, number) in callbacks.iter().zip(1..) {
        let url = if number <= 2 { old.as_str() } else { "http://d.example/" };
        assert_eq!((callback.number, callback.url.as_str(), callback.deployment.as_str()), (number, url, id));
        assert_eq!((callback.tries, callback.due_at, callback.ended_at), (0, callback.created_at, None));
        assert_eq!((callback.lease_until, callback.outcome, callback.error.as_deref()), (None, None, None));
    }
    let unique: HashSet<_> = callbacks.iter().map(|callback| &callback.id).collect();
    assert_eq!(unique.len(), callbacks.len());

    // As it was then, and without what is secret.
    let submitted = callbacks[0].snapshot().unwrap();
    assert_eq!((submitted.status, submitted.cloud, submitted.outputs), (DeploymentStatus::CreateInProgress, None, json!({})));
    let done = callbacks[1].snapshot().unwrap();
    let expected = ostler_store::Deployment {
        owner: Some(Owner { user_id: None, issuer: "local".into(), subject: "alice".into(), organisation: None }),
        template: String::new(),
        parameters: json!({}),
        max_attempts: None,
        timeout: None,
        attempt_timeout: None,
        keep_last_attempt: false,
        endpoint: Some(json!({"region": "r", "vaultToken": ""})),
        outputs: json!({
            "address": "192.0.2.1", "node_creds": [{"user": "u", "Password": "", "nested": {"access_token": ""}}],
            "key": "", "nul": "\0",
        }),
        attempts: json!([]),
        log: String::new(),
        ..after
    };
    assert_eq!(done, expected);
    let gone = callbacks[6].snapshot().unwrap();
    assert_eq!((gone.status, gone.task, gone.status_reason), (DeploymentStatus::DeleteComplete, DeploymentTask::None, None));
    assert_eq!((gone.physical_id.as_deref(), gone.updated_at), (Some("p-1"), callbacks[6].created_at));
    let debug = format!("{callbacks:?}");
    assert!(debug.contains("CreateDone") && !debug.contains(SECRET) && !debug.contains("d.example"), "{debug}");
}

pub(crate) async fn nobody_is_told_where_nobody_asked(f: Arc<Fixture>) {
    let store = &f.store;
    let new = NewDeployment { callback: None, owner: None, ..new() };
    made(store, &new, &[]).await;
    to(store, &new.id, DeploymentStatus::CreateComplete).await;
    assert_eq!(kinds(store, &new.id).await, []);
    assert!(!signalled(store).await);
    // From now on somebody does.
    let asked = DeploymentChange { callback: Some(Some("http://c".into())), ..Default::default() };
    store.deployment_change(&new.id, &asked, None).await.unwrap().unwrap();
    store.deployment_remove(&new.id, &event("x")).await.unwrap();
    let callbacks = store.callbacks(&new.id).await.unwrap();
    assert_eq!((callbacks.len(), callbacks[0].snapshot().unwrap().owner), (1, None));
}

/// What is refused, wherever it is refused, tells nothing.
pub(crate) async fn all_or_nothing(f: Arc<Fixture>) {
    let store = &f.store;
    let first = new();
    made(store, &first, &[]).await;
    let (idle, _) = idle(store, 0).await;
    assert!(signalled(store).await);
    let plain = order(OperationKind::CreateDeployment);
    let nul = ostler_store::NewEvent { kind: "\0".into(), ..event("x") };
    let change = |during: Option<&str>| DeploymentChange {
        during: during.map(str::to_owned),
        status: Some(DeploymentStatus::CreateComplete),
        ..Default::default()
    };
    let other = new();
    assert!(matches!(try_begin(store, &first, &[], &plain, &[]).await, Err(Error::Exists(_))));
    // The event comes last.
    let refused = store.deployment_begin(&other, &[], &plain, &Progress::default(), &[], &nul).await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    let refused = store.deployment_change(&first.id, &change(None), Some(&nul)).await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    let refused = store.deployment_change(&first.id, &change(Some("another")), None).await;
    assert!(matches!(refused, Err(Error::Lost)), "{refused:?}");
    let refused = store.deployment_remove(&idle, &nul).await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    let busy = work(store, &first.id, None, &order(OperationKind::UpdateDeployment)).await;
    assert!(matches!(busy, Err(Error::Referenced(_))), "{busy:?}");
    let op = order(OperationKind::UpdateDeployment);
    let refused = store.deployment_work(&idle, None, &change(None), &[], &[], &op, &Progress::default(), &[], &nul).await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    assert_eq!(store.deployment_change("none", &change(None), None).await.unwrap(), None);
    assert!(!signalled(store).await);
    assert_eq!(kinds(store, &other.id).await, []);
    for id in [&first.id, &idle] {
        assert_eq!(kinds(store, id).await, [CallbackKind::CreateSubmitted]);
        assert_eq!(store.deployment_get(id).await.unwrap().unwrap().status, DeploymentStatus::CreateInProgress);
    }
}

/// A second submission with the same key tells nothing.
pub(crate) async fn a_key_tells_once(f: Arc<Fixture>) {
    let store = &f.store;
    let op: NewOperation = crate::world::keyed(OperationKind::CreateDeployment, "k", 1);
    let (first, second) = (new(), new());
    begun(try_begin(store, &first, &[], &op, &[]).await);
    assert!(signalled(store).await);
    try_begin(store, &second, &[], &op, &[]).await.unwrap();
    assert_eq!((kinds(store, &first.id).await.len(), kinds(store, &second.id).await.len()), (1, 0));
    assert!(!signalled(store).await);
}

pub(crate) async fn one_at_a_time_and_in_order(f: Arc<Fixture>) {
    let store = &f.store;
    let ids_of = told(store, 2, 3).await;
    let (one, two) = (ids_of[0].as_str(), ids_of[1].as_str());
    let at = now();
    assert_eq!(claim(store, "me", 0).await, [], "not due");
    let claimed = claim(store, "me", at).await;
    assert_eq!(ids(&claimed), [(one, 1), (two, 1)]);
    assert_eq!((claimed[0].tries, claimed[0].lease_owner.as_deref(), claimed[0].lease_until), (1, Some("me"), Some(at + HOUR)));
    assert_eq!(claim(store, "other", at + HOUR - 1).await, [], "taken");

    // Delivered: the next one's turn. Failed: nothing until it is due again.
    store.callback_end(&claimed[0].id, "me", CallbackOutcome::Delivered, None, None).await.unwrap();
    store.callback_retry(&claimed[1].id, "me", at + 10, "no answer").await.unwrap();
    let next = claim(store, "other", at + 9).await;
    assert_eq!(ids(&next), [(one, 2)]);
    let again = claim(store, "other", at + 10).await;
    assert_eq!(ids(&again), [(two, 1)]);
    assert_eq!((again[0].id.as_str(), again[0].tries, again[0].error.as_deref()), (claimed[1].id.as_str(), 2, Some("no answer")));

    // Who has lost it, or never had it, writes nothing.
    for (id, owner) in [(&again[0].id, "me"), (&claimed[0].id, "me"), (&"none".to_owned(), "other")] {
        let retry = store.callback_retry(id, owner, 0, "x").await;
        assert!(matches!(retry, Err(Error::Lost)), "{retry:?}");
        let end = store.callback_end(id, owner, CallbackOutcome::GivenUp, Some("x"), Some(&event("x"))).await;
        assert!(matches!(end, Err(Error::Lost)), "{end:?}");
    }
    // Whoever does not come back is replaced.
    let taken = claim(store, "third", at + 10 + HOUR).await;
    assert_eq!(ids(&taken), [(one, 2), (two, 1)]);
    let late = store.callback_end(&next[0].id, "other", CallbackOutcome::Delivered, None, None).await;
    assert!(matches!(late, Err(Error::Lost)), "{late:?}");

    // Given up: the event comes with it, and the next one's turn.
    let events = store.event_last().await.unwrap();
    let end = store.callback_end(&again[0].id, "third", CallbackOutcome::GivenUp, None, Some(&event("given-up"))).await;
    end.unwrap();
    assert_eq!(store.event_last().await.unwrap(), events + 1);
    assert_eq!(ids(&claim(store, "me", at + 10).await), [(two, 2)]);
    let record = &store.callbacks(two).await.unwrap()[0];
    assert_eq!((record.outcome, record.error.as_deref()), (Some(CallbackOutcome::GivenUp), Some("no answer")));
    assert!(record.ended_at.is_some() && record.lease_owner.is_none() && record.lease_until.is_none());
    let record = &store.callbacks(one).await.unwrap()[0];
    assert_eq!((record.outcome, record.error.as_deref()), (Some(CallbackOutcome::Delivered), None));

    // A host that has the store to itself need not wait for the leases of its life before.
    assert_eq!(store.callbacks_release().await.unwrap(), 2);
    assert_eq!(ids(&claim(store, "next", at + 10).await), [(one, 2), (two, 2)]);
}

pub(crate) async fn claims_are_bounded(f: Arc<Fixture>) {
    let store = &f.store;
    let deployments = told(store, 5, 2).await;
    let at = now();
    let first = store.callback_claim("me", at, at + HOUR, 2).await.unwrap();
    assert_eq!(ids(&first), [(deployments[0].as_str(), 1), (deployments[1].as_str(), 1)]);
    assert_eq!(store.callback_claim("me", at, at + HOUR, 0).await.unwrap(), []);
    assert_eq!(store.callback_claim("me", at, at + HOUR, 99).await.unwrap().len(), 3);
}

/// Two hosts with several hands each: no two have the same one, no two have one deployment at once, and all come in order.
pub(crate) async fn claimants_race(f: Arc<Fixture>) {
    const DEPLOYMENTS: usize = 6;
    const EACH: i64 = 5;
    let hosts = [f.store.clone(), f.other_host().await];
    told(&f.store, DEPLOYMENTS, EACH as usize).await;
    type Seen = (HashSet<String>, BTreeMap<String, Vec<i64>>);
    let busy: Arc<std::sync::Mutex<Seen>> = Arc::default();
    let at = now() + 1;
    race(8, |task| {
        let (store, busy, owner) = (hosts[task % 2].clone(), busy.clone(), format!("owner-{task}"));
        async move {
            let all = |order: &BTreeMap<String, Vec<i64>>| order.values().map(Vec::len).sum::<usize>();
            while all(&busy.lock().unwrap().1) < DEPLOYMENTS * EACH as usize {
                for callback in store.callback_claim(&owner, at, at + HOUR, 2).await.unwrap() {
                    {
                        let mut busy = busy.lock().unwrap();
                        assert!(busy.0.insert(callback.deployment.clone()), "one deployment in two hands");
                        busy.1.entry(callback.deployment.clone()).or_default().push(callback.number);
                    }
                    tokio::task::yield_now().await;
                    // Before it is free again.
                    busy.lock().unwrap().0.remove(&callback.deployment);
                    store.callback_end(&callback.id, &owner, CallbackOutcome::Delivered, None, None).await.unwrap();
                }
            }
        }
    })
    .await;
    let busy = busy.lock().unwrap();
    assert_eq!(busy.1.len(), DEPLOYMENTS);
    for order in busy.1.values() {
        assert_eq!(order, &(1..=EACH).collect::<Vec<_>>());
    }
}

/// Those who change one deployment at once from several hosts: each change has its number.
pub(crate) async fn writers_race(f: Arc<Fixture>) {
    let hosts = [f.store.clone(), f.other_host().await];
    let (id, _) = idle(&f.store, 0).await;
    race(12, |task| {
        let (store, id) = (hosts[task % 2].clone(), id.clone());
        async move {
            to(&store, &id, if task % 2 == 0 { DeploymentStatus::UpdateFailed } else { DeploymentStatus::UpdateComplete }).await;
        }
    })
    .await;
    f.store.deployment_remove(&id, &event(&id)).await.unwrap();
    let callbacks = f.store.callbacks(&id).await.unwrap();
    assert!((3..=14).contains(&callbacks.len()), "{}", callbacks.len());
    for (callback, number) in callbacks.iter().zip(1..) {
        assert_eq!(callback.number, number);
    }
    // No change of status to what it was.
    for pair in callbacks.windows(2) {
        assert_ne!(pair[0].kind, pair[1].kind);
    }
    assert_eq!(callbacks.last().unwrap().kind, CallbackKind::DeleteDone);
}

pub(crate) async fn forgotten_after_a_time(f: Arc<Fixture>) {
    let store = &f.store;
    let deployments = told(store, 3, 2).await;
    let at = now();
    for callback in claim(store, "me", at).await {
        store.callback_end(&callback.id, "me", CallbackOutcome::GivenUp, Some("x"), None).await.unwrap();
    }
    let ended = store.callbacks(&deployments[0]).await.unwrap()[0].ended_at.unwrap();
    assert_eq!(store.callbacks_prune(ended, 10).await.unwrap(), 0);
    assert_eq!(store.callbacks_prune(now() + HOUR, 2).await.unwrap(), 2);
    assert_eq!(store.callbacks_prune(now() + HOUR, 2).await.unwrap(), 1);
    assert_eq!(store.callbacks_prune(now() + HOUR, 2).await.unwrap(), 0);
    for id in &deployments {
        let left = store.callbacks(id).await.unwrap();
        assert_eq!(ids(&left), [(id.as_str(), 2)], "what has not ended stays, and before what comes");
        to(store, id, DeploymentStatus::UpdateFailed).await;
        assert_eq!(ids(&store.callbacks(id).await.unwrap()), [(id.as_str(), 2), (id.as_str(), 3)]);
    }
}
