//! Schedules and their events: their life, pages, and what happens at once.

use std::cmp::Ordering;
use std::sync::Arc;

use ostler_store::{
    DeploymentFilter, Error, ExpressionSyntax, Idempotency, NewEvent, NewSchedule, NewScheduleEvent, Owner, Page, Schedule,
    ScheduleEvent, ScheduleEventSort, ScheduleEventState, ScheduleSort, ScheduleStatus, Store,
};
use serde_json::json;

use crate::deployments::{SECRET, id, made, owner};
use crate::fixture::{Fixture, race};
use crate::world::event;

fn new() -> NewSchedule {
    NewSchedule {
        id: id(),
        owner: Some(owner("alice", Some("o"))),
        user_group: Some("g".into()),
        file_expression: "scope:.*".into(),
        syntax: ExpressionSyntax::Regex,
        replication_expression: "RSE".into(),
        replicas: 2,
        callback: Some(format!("https://c.example/?{SECRET}")),
        max_attempts: Some(3),
        timeout: Some(60),
        attempt_timeout: Some(30),
        keep_last_attempt: true,
        template: format!("tosca: {SECRET}\n"),
        parameters: json!({"password": SECRET, "nul": "\0"}),
        idempotency: None,
        input_hash: vec![1],
    }
}

async fn create(store: &Store, new: &NewSchedule) -> Schedule {
    store.schedule_create(new, 100, &event(&new.id)).await.unwrap()
}

fn file(schedule: &str, scope: &str, name: &str) -> (NewScheduleEvent, NewEvent) {
    let new = NewScheduleEvent { id: id(), schedule: schedule.into(), scope: scope.into(), name: name.into() };
    (new, event(schedule))
}

async fn all_events(store: &Store, schedule: &str, sort: &[(ScheduleEventSort, bool)], limit: u32) -> Vec<ScheduleEvent> {
    let mut all = Vec::new();
    loop {
        let page = Page { offset: all.len() as u64, limit, sort: sort.to_vec() };
        let (found, total) = store.schedule_events(schedule, &page).await.unwrap();
        if found.is_empty() {
            assert_eq!(total, all.len() as u64);
            return all;
        }
        all.extend(found);
    }
}

pub(crate) async fn life(f: Arc<Fixture>) {
    let store = &f.store;
    let new = new();
    let schedule = create(store, &new).await;
    let NewSchedule { owner, user_group, file_expression, replication_expression, callback, template, parameters, .. } =
        new.clone();
    let expected = Schedule {
        id: new.id.clone(),
        owner,
        user_group,
        status: ScheduleStatus::Running,
        file_expression: file_expression.clone(),
        syntax: ExpressionSyntax::Regex,
        replication_expression,
        replicas: 2,
        callback,
        max_attempts: Some(3),
        timeout: Some(60),
        attempt_timeout: Some(30),
        keep_last_attempt: true,
        template,
        parameters,
        created_at: schedule.created_at,
        updated_at: schedule.created_at,
    };
    assert_eq!(schedule, expected);
    assert_eq!(store.schedule_get(&new.id).await.unwrap(), Some(expected.clone()));
    let (page, total) = store.schedules(&DeploymentFilter::default(), &Page { limit: 9, ..Page::default() }).await.unwrap();
    let without = Schedule { template: String::new(), parameters: json!({}), ..expected.clone() };
    assert_eq!((page, total), (vec![without], 1), "pages have no texts");
    assert!(!format!("{schedule:?} {new:?}").contains(SECRET));

    let running = async || store.schedules_running().await.unwrap();
    let [one] = running().await.try_into().unwrap();
    assert_eq!((one.id, one.file_expression, one.syntax), (new.id.clone(), file_expression, ExpressionSyntax::Regex));
    let set = async |status| store.schedule_set_status(&new.id, status, &event("s")).await.unwrap().unwrap();
    let before = store.event_last().await.unwrap();
    for (status, told, runs) in [
        (ScheduleStatus::Running, 0, 1),
        (ScheduleStatus::Suspended, 1, 0),
        (ScheduleStatus::Suspended, 1, 0),
        (ScheduleStatus::Running, 2, 1),
    ] {
        let changed = set(status).await;
        assert_eq!(changed, Schedule { status, updated_at: changed.updated_at, ..expected.clone() });
        assert_eq!((store.event_last().await.unwrap() - before, running().await.len()), (told, runs), "{status:?}");
    }
    assert!(set(ScheduleStatus::Suspended).await.updated_at > expected.updated_at);

    // It takes its events along, and they are all that it takes.
    set(ScheduleStatus::Running).await;
    assert_eq!(store.schedule_events_begin(&[file(&new.id, "s", "n")]).await.unwrap().len(), 1);
    let before = store.event_last().await.unwrap();
    assert!(store.schedule_remove(&new.id, &event("s")).await.unwrap());
    assert!(!store.schedule_remove(&new.id, &event("s")).await.unwrap());
    assert_eq!(store.event_last().await.unwrap() - before, 1);
    assert_eq!(store.schedule_get(&new.id).await.unwrap(), None);
    assert_eq!(store.schedule_set_status(&new.id, ScheduleStatus::Running, &event("s")).await.unwrap(), None);
    assert_eq!(store.schedule_events_pending(None, 9).await.unwrap(), []);
    assert_eq!(all_events(store, &new.id, &[], 9).await, []);
}

pub(crate) async fn refusals(f: Arc<Fixture>) {
    let store = &f.store;
    let first = new();
    create(store, &first).await;
    let ownerless = create(store, &NewSchedule { owner: None, ..new() }).await;
    assert_eq!(ownerless.owner, None);
    let nobody = Owner { user_id: Some("nobody".into()), ..owner("x", None) };
    for (wrong, is) in [
        (first.clone(), (|error| matches!(error, Error::Exists("the schedule"))) as fn(&Error) -> bool),
        (NewSchedule { owner: Some(nobody), ..new() }, |error| matches!(error, Error::NotFound("the user"))),
        (NewSchedule { replicas: 0, ..new() }, |error| matches!(error, Error::Database { .. })),
        (new(), |error| matches!(error, Error::Invalid("more schedules than one owner may have"))),
        (NewSchedule { template: "\0".into(), ..new() }, |error| matches!(error, Error::Invalid(_))),
    ] {
        let before = store.event_last().await.unwrap();
        let error = store.schedule_create(&wrong, 1, &event("x")).await.unwrap_err();
        assert!(is(&error), "{error:?}");
        assert_eq!(store.event_last().await.unwrap(), before);
        assert_eq!(store.schedules_running().await.unwrap().len(), 2);
    }
    let other = NewSchedule { owner: Some(owner("bob", None)), ..new() };
    store.schedule_create(&other, 1, &event("x")).await.unwrap();
    let ownerless = NewSchedule { owner: None, ..new() };
    store.schedule_create(&ownerless, 1, &event("x")).await.unwrap();
}

pub(crate) async fn idempotency(f: Arc<Fixture>) {
    let store = &f.store;
    let keyed = |key: &str, hash| {
        let idempotency = Some(Idempotency { scope: "s".into(), key: key.into() });
        NewSchedule { idempotency, input_hash: vec![hash], ..new() }
    };
    let first = create(store, &keyed("k", 1)).await;
    let told = store.event_last().await.unwrap();
    assert_eq!(create(store, &keyed("k", 1)).await, first);
    let other = store.schedule_create(&keyed("k", 2), 100, &event("x")).await;
    assert!(matches!(other, Err(Error::IdempotencyMismatch)), "{other:?}");
    assert_eq!(store.event_last().await.unwrap(), told, "nothing was written");
    assert_ne!(create(store, &keyed("l", 1)).await.id, first.id);
    assert_ne!(create(store, &new()).await.id, create(store, &new()).await.id, "without keys");

    let stores = [f.store.clone(), f.other_host().await];
    let made = race(8, |number| {
        let (store, new) = (stores[number % 2].clone(), keyed("race", 1));
        async move { create(&store, &new).await.id }
    })
    .await;
    assert!(made.iter().all(|id| *id == made[0]), "{made:?}");
}

pub(crate) async fn events(f: Arc<Fixture>) {
    let store = &f.store;
    let (one, two, off) = (create(store, &new()).await.id, create(store, &new()).await.id, create(store, &new()).await.id);
    store.schedule_set_status(&off, ScheduleStatus::Suspended, &event("s")).await.unwrap();
    let files = |name: &str| [one.as_str(), off.as_str(), "gone", two.as_str()].map(|schedule| file(schedule, "s", name));

    let before = store.event_last().await.unwrap();
    let first = files("a");
    let begun = store.schedule_events_begin(&first).await.unwrap();
    assert_eq!(begun, [first[0].0.id.clone(), first[3].0.id.clone()], "of those that run");
    assert_eq!(store.event_last().await.unwrap() - before, 2);
    assert!(store.schedule_events_begin(&files("a")).await.unwrap().is_empty(), "once for each file");
    assert_eq!(store.event_last().await.unwrap() - before, 2);
    assert_eq!(store.schedule_events_begin(&[file(&one, "s", "b"), file(&one, "t", "a")]).await.unwrap().len(), 2);

    // One that cannot be written takes the others back.
    let twice = file(&two, "s", "c");
    let again = NewScheduleEvent { name: "d".into(), ..twice.0.clone() };
    let refused = store.schedule_events_begin(&[twice, (again, event("x"))]).await;
    assert!(matches!(refused, Err(Error::Exists("the event"))), "{refused:?}");

    let pending = store.schedule_events_pending(None, 9).await.unwrap();
    let shown: Vec<_> = pending.iter().map(|p| (p.schedule.id.as_str(), p.event.scope.as_str(), p.event.name.as_str())).collect();
    assert_eq!(shown, [(one.as_str(), "s", "a"), (&two, "s", "a"), (&one, "s", "b"), (&one, "t", "a")]);
    assert!(pending.iter().all(|pending| pending.schedule.template.contains(SECRET)), "with the texts");
    let some = store.schedule_events_pending(Some(&pending[0].event.id), 2).await.unwrap();
    assert_eq!(some, pending[1..3]);

    // A deployment that is there, one that is gone, and none.
    let deployment = crate::deployments::new();
    made(store, &deployment, &[]).await;
    let end =
        async |number: usize, outcome| store.schedule_event_end(&pending[number].event.id, outcome, &event("x")).await.unwrap();
    let before = store.event_last().await.unwrap();
    assert!(end(0, Ok(deployment.id.as_str())).await && end(2, Ok("gone")).await && end(3, Err("why")).await);
    assert!(!end(0, Ok("other")).await && !end(3, Ok("other")).await, "once");
    assert_eq!(store.event_last().await.unwrap() - before, 3);
    assert_eq!(store.schedule_events_pending(None, 9).await.unwrap(), pending[1..2]);
    assert!(store.schedule_events_begin(&files("a")).await.unwrap().is_empty(), "also when it is over");

    let shown = all_events(store, &one, &[(ScheduleEventSort::Id, false)], 9).await;
    let states: Vec<_> = shown.iter().map(|e| (e.state, e.deployment_id.as_deref(), e.reason.as_deref())).collect();
    let (deployed, failed) = (ScheduleEventState::Deployed, ScheduleEventState::Failed);
    assert_eq!(
        states,
        [(deployed, Some(deployment.id.as_str()), None), (deployed, Some("gone"), None), (failed, None, Some("why"))]
    );
    let whole = store.deployment_get(&deployment.id).await.unwrap();
    assert_eq!(shown.iter().map(|event| event.deployment.clone()).collect::<Vec<_>>(), [whole, None, None]);
    assert!(shown.iter().all(|event| event.schedule == one && event.updated_at > event.created_at));
}

pub(crate) async fn races(f: Arc<Fixture>) {
    let stores = [f.store.clone(), f.other_host().await];
    let mut schedules = Vec::new();
    for _ in 0..3 {
        schedules.push(create(&f.store, &new()).await.id);
    }
    // The same file, told by many at once, while the schedules come and go.
    let begun = race(12, |number| {
        let (store, schedules) = (stores[number % 2].clone(), schedules.clone());
        async move {
            match number {
                4 => {
                    store.schedule_remove(&schedules[1], &event("x")).await.unwrap();
                    0
                }
                5 => {
                    store.schedule_set_status(&schedules[2], ScheduleStatus::Suspended, &event("x")).await.unwrap();
                    0
                }
                _ => {
                    let files: Vec<_> = schedules.iter().map(|schedule| file(schedule, "s", "n")).collect();
                    store.schedule_events_begin(&files).await.unwrap().len()
                }
            }
        }
    })
    .await;
    let total: usize = begun.iter().sum();
    assert!((1..=3).contains(&total), "{begun:?}");
    assert_eq!(all_events(&f.store, &schedules[0], &[], 9).await.len(), 1);
    assert!(all_events(&f.store, &schedules[1], &[], 9).await.is_empty());
    assert!(all_events(&f.store, &schedules[2], &[], 9).await.len() <= 1);

    let pending = f.store.schedule_events_pending(None, 1).await.unwrap();
    let ended = race(6, |number| {
        let (store, id) = (stores[number % 2].clone(), pending[0].event.id.clone());
        async move { store.schedule_event_end(&id, Ok("d"), &event("x")).await.unwrap() }
    })
    .await;
    assert_eq!(ended.iter().filter(|ended| **ended).count(), 1);
}

fn compared<S: Copy>(sort: &[(S, bool)], by: impl Fn(S) -> Ordering, ids: Ordering) -> Ordering {
    let directed = |ordering: Ordering, descending| if descending { ordering.reverse() } else { ordering };
    let first = sort.iter().map(|&(s, descending)| directed(by(s), descending)).find(|ordering| ordering.is_ne());
    first.unwrap_or_else(|| directed(ids, sort.last().is_none_or(|(_, descending)| *descending)))
}

pub(crate) async fn pages(f: Arc<Fixture>) {
    use ScheduleSort::{CreatedAt, FileExpression, Id, Status, UpdatedAt};
    let store = &f.store;
    let mut all = Vec::new();
    for number in 0..15 {
        let organisation = [None, Some("o-1")][number % 2];
        let owner = (number % 5 != 0).then(|| owner(["alice", "bob", "carol"][number % 3], organisation));
        let file_expression = ["c", "a", "b"][number % 3].to_owned();
        all.push(create(store, &NewSchedule { owner, file_expression, user_group: None, ..new() }).await);
    }
    for number in [3, 9, 4, 11] {
        let id = &all[number].id;
        all[number] = store.schedule_set_status(id, ScheduleStatus::Suspended, &event("x")).await.unwrap().unwrap();
    }
    let without = |schedule: &Schedule| Schedule { template: String::new(), parameters: json!({}), ..schedule.clone() };
    let person = |subject: &str| Some(("local".to_owned(), subject.to_owned()));
    type Expected = fn(&Schedule) -> bool;
    let filters: [(DeploymentFilter, Expected); 5] = [
        (DeploymentFilter::default(), |_| true),
        (DeploymentFilter { issuer_subject: person("alice"), ..Default::default() }, |schedule| {
            schedule.owner.as_ref().is_some_and(|owner| owner.subject == "alice")
        }),
        (DeploymentFilter { issuer: Some("local".into()), ..Default::default() }, |schedule| schedule.owner.is_some()),
        (DeploymentFilter { organisation: Some("o-1".into()), ..Default::default() }, |schedule| {
            schedule.owner.as_ref().is_some_and(|owner| owner.organisation.is_some())
        }),
        (DeploymentFilter { issuer_subject: person("alice"), issuer: Some("x".into()), ..Default::default() }, |_| false),
    ];
    let sorts: &[&[(ScheduleSort, bool)]] = &[
        &[],
        &[(CreatedAt, false)],
        &[(UpdatedAt, true)],
        &[(Status, true), (FileExpression, false), (CreatedAt, true)],
        &[(FileExpression, true)],
        &[(Id, false), (Status, true)],
    ];
    for sort in sorts {
        let usual: &[_] = if sort.is_empty() { &[(CreatedAt, true)] } else { sort };
        all.sort_by(|a, b| {
            let by = |sort| match sort {
                CreatedAt => a.created_at.cmp(&b.created_at),
                UpdatedAt => a.updated_at.cmp(&b.updated_at),
                Status => a.status.as_str().cmp(b.status.as_str()),
                FileExpression => a.file_expression.cmp(&b.file_expression),
                Id => a.id.cmp(&b.id),
            };
            compared(usual, by, a.id.cmp(&b.id))
        });
        for (filter, matches) in &filters {
            let expected: Vec<_> = all.iter().filter(|schedule| matches(schedule)).map(without).collect();
            for limit in [1, 4, 100] {
                let mut shown = Vec::new();
                for _ in 0..20 {
                    let page = Page { offset: shown.len() as u64, limit, sort: sort.to_vec() };
                    let (found, total) = store.schedules(filter, &page).await.unwrap();
                    assert_eq!(total, expected.len() as u64);
                    shown.extend(found);
                }
                assert_eq!(shown, expected, "{sort:?} {filter:?} {limit}");
            }
        }
    }
}

pub(crate) async fn event_pages(f: Arc<Fixture>) {
    use ScheduleEventSort::{CreatedAt, Id, Name, Scope, UpdatedAt};
    let store = &f.store;
    let (schedule, other) = (create(store, &new()).await.id, create(store, &new()).await.id);
    let deployment = crate::deployments::new();
    made(store, &deployment, &[]).await;
    for number in 0..12 {
        let (scope, name) = (["t", "s"][number % 2], format!("n{}", number * 5 % 7));
        store.schedule_events_begin(&[file(&schedule, scope, &name), file(&other, scope, &name)]).await.unwrap();
    }
    for pending in store.schedule_events_pending(None, 5).await.unwrap() {
        store.schedule_event_end(&pending.event.id, Ok(&deployment.id), &event("x")).await.unwrap();
    }
    let mut all = all_events(store, &schedule, &[], 100).await;
    assert_eq!(all.len(), 12);
    let with = all.iter().filter(|event| event.deployment.is_some()).count();
    assert!(with == 2 || with == 3, "{with}");
    let sorts: &[&[(ScheduleEventSort, bool)]] = &[
        &[(CreatedAt, true)],
        &[(CreatedAt, false)],
        &[(UpdatedAt, false)],
        &[(Scope, true), (Name, false)],
        &[(Name, true), (CreatedAt, false)],
        &[(Id, false)],
    ];
    for sort in sorts {
        all.sort_by(|a, b| {
            let by = |sort| match sort {
                CreatedAt => a.created_at.cmp(&b.created_at),
                UpdatedAt => a.updated_at.cmp(&b.updated_at),
                Scope => a.scope.cmp(&b.scope),
                Name => a.name.cmp(&b.name),
                Id => a.id.cmp(&b.id),
            };
            compared(sort, by, a.id.cmp(&b.id))
        });
        for limit in [1, 5, 100] {
            assert_eq!(all_events(store, &schedule, sort, limit).await, all, "{sort:?} {limit}");
        }
    }
    let beyond: Page<ScheduleEventSort> = Page { offset: u64::MAX, limit: 1, ..Page::default() };
    assert_eq!(store.schedule_events(&schedule, &beyond).await.unwrap(), (Vec::new(), 12));
    assert_eq!(store.schedule_events("nobody's", &Page { limit: 1, ..Page::default() }).await.unwrap(), (Vec::new(), 0));
}
