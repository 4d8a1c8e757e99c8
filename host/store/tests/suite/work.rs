//! Operations of several steps.

use std::sync::Arc;

use ostler_store::{
    Begin, Error, NewOperation, OperationKind, OperationState, Outcome, Phase, Progress, Request, Save, Step, StepState, Store,
    Work, WorkFilter, now,
};
use serde_json::json;

use crate::fixture::{Fixture, race};
use crate::operations::{done, event, leased};

fn steps() -> Vec<Step> {
    let node = |token: &str| Step { cloud: Some("c".into()), token: Some(token.into()), ..Step::new(1, 1, "make-node") };
    vec![
        Step { input: json!({"nul": "\0"}), ..Step::new(0, 0, "place") },
        node("t-1"),
        Step { onward: true, wake_at: 9, ..node("t-2") },
    ]
}

async fn begin(store: &Store, subject: &str, steps: &[Step]) -> Work {
    let new = NewOperation { kind: OperationKind::StartService, ..leased("me", 7) };
    let progress = Progress { deadline: Some(50), ..Progress::default() };
    match store.work_begin(&new, Some(subject), &progress, steps, Some(&event("begun"))).await.unwrap() {
        Begin::New(operation) => store.work_get(&operation.id).await.unwrap().unwrap(),
        Begin::Existing(operation) => panic!("{operation:?} existed"),
    }
}

fn save<'a>(progress: &'a Progress, steps: &'a [(u32, &'a Step)]) -> Save<'a> {
    Save { progress, steps, answered: false, events: &[], outcome: None }
}

pub(crate) async fn life(f: Arc<Fixture>) {
    let store = &f.store;
    let work = begin(store, "s-1", &steps()).await;
    let id = work.operation.id.clone();
    assert_eq!((work.subject.as_deref(), &work.steps, work.request), (Some("s-1"), &steps(), None));
    assert_eq!(work.progress, Progress { deadline: Some(50), ..Progress::default() });
    assert_eq!(store.work_get("none").await.unwrap(), None);

    let cause = json!({"step": 1});
    let progress = Progress {
        phase: Phase::Back,
        cause: Some(cause),
        attempt: 2,
        attempt_deadline: Some(8),
        deadline: Some(9),
        wake_at: Some(10),
        stuck: true,
    };
    let changed = Step {
        state: StepState::Undoing,
        tries: 3,
        wake_at: 11,
        output: Some(json!({"node": "n"})),
        error: Some(json!("why")),
        begun_at: Some(1),
        ended_at: Some(2),
        ..steps()[1].clone()
    };
    let added = Step::new(2, 0, "make-node");
    let events = [event("one"), event("two")];
    let before = store.event_last().await.unwrap();
    let both = [(1, &changed), (3, &added)];
    let all = Save { events: &events, ..save(&progress, &both) };
    assert_eq!(store.work_save(&id, "me", &all).await.unwrap(), None);
    assert_eq!(store.event_last().await.unwrap(), before + 2);
    let read = store.work_get(&id).await.unwrap().unwrap();
    let [place, _, second] = steps().try_into().unwrap();
    assert_eq!((&read.progress, &read.steps), (&progress, &vec![place, changed.clone(), second, added]));
    let (operation, state, step) = store.step_by_token("c", "t-1").await.unwrap().unwrap();
    assert_eq!((operation, state, step), (id.clone(), OperationState::Pending, changed));
    assert_eq!(store.step_by_token("d", "t-1").await.unwrap(), None);

    // What a step is does not change.
    let other = Step { kind: "other".into(), token: None, ..read.steps[1].clone() };
    store.work_save(&id, "me", &save(&progress, &[(1, &other)])).await.unwrap();
    assert_eq!(store.work_get(&id).await.unwrap().unwrap().steps[1], read.steps[1]);

    let ended = Progress { phase: Phase::Out, stuck: false, ..progress };
    store.work_save(&id, "me", &Save { outcome: Some(&Outcome::Failed(json!("why"))), ..save(&ended, &[]) }).await.unwrap();
    let read = store.work_get(&id).await.unwrap().unwrap();
    assert_eq!((read.operation.state, &read.operation.lease_owner, &read.progress), (OperationState::Failed, &None, &ended));
    let after = store.work_save(&id, "me", &save(&ended, &[])).await;
    assert!(matches!(after, Err(Error::Lost)), "{after:?}");
    assert!(!store.work_request(&id, Request::Cancel).await.unwrap(), "it is over");
    assert_eq!(store.work_about("s-1").await.unwrap().unwrap(), read);
    assert_eq!(store.work_about("s-2").await.unwrap(), None);
}

pub(crate) async fn all_or_nothing(f: Arc<Fixture>) {
    let store = &f.store;
    let work = begin(store, "a", &steps()).await;
    let new = NewOperation { kind: OperationKind::StartService, ..leased("me", 7) };
    let before = (store.event_last().await.unwrap(), store.work_list(WorkFilter::All, None, 10).await.unwrap().len());
    // The token is another step's.
    let refused = store.work_begin(&new, None, &Progress::default(), &steps(), Some(&event("x"))).await;
    assert!(matches!(refused, Err(Error::Exists(_))), "{refused:?}");
    let progress = Progress { attempt: 7, ..Progress::default() };
    let double = Step { ..steps()[1].clone() };
    let saved =
        store.work_save(&work.operation.id, "me", &Save { events: &[event("x")], ..save(&progress, &[(9, &double)]) }).await;
    assert!(matches!(saved, Err(Error::Exists(_))), "{saved:?}");
    let saved = store.work_save(&work.operation.id, "other", &Save { events: &[event("x")], ..save(&progress, &[]) }).await;
    assert!(matches!(saved, Err(Error::Lost)), "{saved:?}");
    assert_eq!(store.work_get(&work.operation.id).await.unwrap().unwrap(), work);
    let after = (store.event_last().await.unwrap(), store.work_list(WorkFilter::All, None, 10).await.unwrap().len());
    assert_eq!(before, after);
}

pub(crate) async fn requests(f: Arc<Fixture>) {
    let store = &f.store;
    let work = begin(store, "a", &[]).await;
    let id = work.operation.id.as_str();
    let waiting = Progress { wake_at: Some(i64::MAX), ..Progress::default() };
    store.work_save(id, "me", &save(&waiting, &[])).await.unwrap();
    assert!(store.work_request(id, Request::Cancel).await.unwrap());
    let read = store.work_get(id).await.unwrap().unwrap();
    assert_eq!((read.request, read.progress.wake_at), (Some(Request::Cancel), None), "nothing waits any more");
    // The one who works on it hears of it either way.
    let ids = [id.to_owned()];
    assert_eq!(store.leases_renew("other", &ids, 10).await.unwrap(), []);
    assert_eq!(store.leases_renew("me", &ids, 10).await.unwrap(), [(id.to_owned(), Request::Cancel)]);
    assert_eq!(store.work_save(id, "me", &save(&waiting, &[])).await.unwrap(), Some(Request::Cancel));
    // Until it is dealt with.
    store.work_save(id, "me", &Save { answered: true, ..save(&waiting, &[]) }).await.unwrap();
    assert_eq!(store.leases_renew("me", &ids, 10).await.unwrap(), []);
    assert!(store.work_request(id, Request::Abandon).await.unwrap());
    assert!(store.work_request(id, Request::Retry).await.unwrap());
    assert_eq!(store.work_get(id).await.unwrap().unwrap().request, Some(Request::Abandon), "giving up stands");
    assert!(!store.work_request("none", Request::Retry).await.unwrap());
}

pub(crate) async fn leases_and_timers(f: Arc<Fixture>) {
    let store = &f.store;
    let work = begin(store, "a", &[]).await;
    let id = work.operation.id.as_str();
    let later = now() + 3_600_000_000;
    // Prolonged, it is not to be had; another of the same owner is not prolonged with it.
    let left = begin(store, "b", &[]).await.operation.id;
    store.leases_renew("me", &[id.to_owned(), left.clone()], 10).await.unwrap();
    store.leases_renew("me", &[id.to_owned()], 100).await.unwrap();
    let claimed = store.operation_claim("other", 50, 200, 9).await.unwrap();
    assert_eq!(claimed.iter().map(|operation| &operation.id).collect::<Vec<_>>(), [&left]);
    store.operation_finish(&left, "other", &Outcome::Failed(json!({})), None).await.unwrap();
    // Given back, it waits for its time.
    assert!(matches!(store.work_release(id, "other", None).await, Err(Error::Lost)));
    store.work_release(id, "me", Some(later)).await.unwrap();
    assert_eq!(store.operation_claim("other", later - 1, later + 10, 9).await.unwrap().len(), 0);
    assert_eq!(store.operation_claim("other", later, later + 10, 9).await.unwrap().len(), 1);
    assert!(matches!(store.work_save(id, "me", &save(&Progress::default(), &[])).await, Err(Error::Lost)));
    // Or for whoever wants something of it.
    store.work_release(id, "other", Some(later)).await.unwrap();
    store.work_request(id, Request::Retry).await.unwrap();
    assert_eq!(store.operation_claim("third", 50, 60, 9).await.unwrap().len(), 1);
    // Also where its owner did not know of that yet when it gave it back.
    store.work_release(id, "third", Some(later)).await.unwrap();
    assert_eq!(store.operation_claim("fourth", 50, 60, 9).await.unwrap().len(), 1);
    store.work_save(id, "fourth", &Save { answered: true, ..save(&Progress::default(), &[]) }).await.unwrap();
    store.work_release(id, "fourth", Some(later)).await.unwrap();
    assert_eq!(store.operation_claim("fifth", 50, 60, 9).await.unwrap().len(), 0);
}

pub(crate) async fn savers_race(f: Arc<Fixture>) {
    let hosts = [f.store.clone(), f.other_host().await];
    let id = begin(&f.store, "a", &steps()).await.operation.id;
    // One of the owners took it over; none of the others' saves goes through, in part or as a whole.
    f.store.operation_claim("new", 1_000, 2_000, 9).await.unwrap();
    let results = race(16, |task| {
        let (store, id) = (hosts[task % 2].clone(), id.clone());
        let owner = if task % 4 == 0 { "new" } else { "me" };
        async move {
            let step = Step { tries: task as u32 + 1, state: StepState::Doing, ..steps()[1].clone() };
            let progress = Progress { attempt: task as u32 + 1, ..Progress::default() };
            (owner, store.work_save(&id, owner, &Save { events: &[event("x")], ..save(&progress, &[(1, &step)]) }).await)
        }
    })
    .await;
    for (owner, result) in &results {
        assert_eq!(result.is_ok(), *owner == "new", "{owner}: {result:?}");
    }
    let work = f.store.work_get(&id).await.unwrap().unwrap();
    assert_eq!(work.progress.attempt, work.steps[1].tries, "one save, whole");
    assert_eq!(work.steps[1].tries % 4, 1);
    assert_eq!(f.store.event_last().await.unwrap(), 1 + 4);
}

pub(crate) async fn listing(f: Arc<Fixture>) {
    let store = &f.store;
    let mut ids = Vec::new();
    for number in 0..5 {
        let work = begin(store, &format!("s-{number}"), &[]).await;
        ids.push(work.operation.id);
    }
    let stuck = Progress { stuck: true, ..Progress::default() };
    store.work_save(&ids[1], "me", &save(&stuck, &[])).await.unwrap();
    store.work_save(&ids[2], "me", &Save { outcome: Some(&done()), ..save(&Progress::default(), &[]) }).await.unwrap();
    ids.reverse();
    let list = async |filter, before: Option<&str>, limit| -> Vec<String> {
        let works = store.work_list(filter, before, limit).await.unwrap();
        works.into_iter().map(|work| work.operation.id).collect()
    };
    assert_eq!(list(WorkFilter::All, None, 9).await, ids);
    assert_eq!(list(WorkFilter::All, Some(&ids[1]), 2).await, ids[2..4]);
    assert_eq!(list(WorkFilter::Stuck, None, 9).await, [ids[3].clone()]);
    assert_eq!(list(WorkFilter::Open, None, 9).await, [&ids[0], &ids[1], &ids[3], &ids[4]].map(Clone::clone));
}
