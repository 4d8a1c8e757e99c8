//! Deployments: their life and what is refused. Races are in `deployment_races`, pages in `deployment_pages`.

use std::sync::Arc;

use ostler_store::{
    Begin, Deployment, DeploymentChange, DeploymentFilter, DeploymentStatus, DeploymentTask, Error, NewDeployment, NewOperation,
    Operation, OperationKind, Owner, Page, Progress, Resource, ResourceChange, ResourceState, Step, Store,
};
use serde_json::json;

use crate::fixture::Fixture;
use crate::world::{event, keyed, order};

pub(crate) const SECRET: &str = "hunter2";

pub(crate) fn id() -> String {
    uuid::Uuid::now_v7().to_string()
}

pub(crate) fn owner(subject: &str, organisation: Option<&str>) -> Owner {
    Owner { user_id: None, issuer: "local".into(), subject: subject.into(), organisation: organisation.map(Into::into) }
}

pub(crate) fn new() -> NewDeployment {
    NewDeployment {
        id: id(),
        owner: Some(owner("alice", Some("o"))),
        user_group: Some("g".into()),
        template: format!("tosca: {SECRET}\n"),
        parameters: json!({"password": SECRET, "nul": "\0"}),
        callback: Some(format!("https://c.example/?{SECRET}")),
        max_attempts: Some(3),
        timeout: Some(60),
        attempt_timeout: Some(30),
        keep_last_attempt: true,
    }
}

pub(crate) fn resource(deployment: &str, position: u32, token: Option<&str>) -> Resource {
    Resource {
        id: id(),
        deployment: deployment.into(),
        position,
        node: format!("node_{position}"),
        type_name: "tosca.nodes.Compute".into(),
        ancestors: vec!["tosca.nodes.Compute".into(), "tosca.nodes.Root".into()],
        state: ResourceState::Initial,
        cloud: token.map(|_| "c".into()),
        token: token.map(Into::into),
        physical_id: None,
        attributes: json!({"key": SECRET}),
        required_by: vec!["r".into()],
        created_at: 0,
        updated_at: 0,
    }
}

fn step(token: &str) -> Step {
    Step { cloud: Some("c".into()), token: Some(token.into()), ..Step::new(0, 0, "make-node") }
}

pub(crate) async fn try_begin(
    store: &Store,
    new: &NewDeployment,
    resources: &[Resource],
    op: &NewOperation,
    steps: &[Step],
) -> Result<Begin, Error> {
    store.deployment_begin(new, resources, op, &Progress::default(), steps, &event(&new.id)).await
}

pub(crate) fn begun(begin: Result<Begin, Error>) -> Operation {
    match begin.unwrap() {
        Begin::New(operation) => operation,
        Begin::Existing(operation) => panic!("{operation:?} existed"),
    }
}

/// A deployment with the work that makes it.
pub(crate) async fn made(store: &Store, new: &NewDeployment, resources: &[Resource]) -> Operation {
    begun(try_begin(store, new, resources, &order(OperationKind::CreateDeployment), &[]).await)
}

/// A deployment on which nobody works.
pub(crate) async fn idle(store: &Store, resources: u32) -> (String, Vec<Resource>) {
    let new = new();
    let resources: Vec<_> =
        (0..resources).map(|position| resource(&new.id, position, Some(&format!("{}-{position}", new.id)))).collect();
    made(store, &new, &resources).await;
    let free = DeploymentChange { operation: Some(None), ..Default::default() };
    store.deployment_change(&new.id, &free, None).await.unwrap().unwrap();
    (new.id, resources)
}

pub(crate) async fn work(store: &Store, id: &str, instead_of: Option<&str>, op: &NewOperation) -> Result<Begin, Error> {
    let change = DeploymentChange { status: Some(DeploymentStatus::UpdateInProgress), ..Default::default() };
    store.deployment_work(id, instead_of, &change, &[], &[], op, &Progress::default(), &[], &event(id)).await
}

/// All that a refused call must not change.
async fn everything(store: &Store) -> (Vec<Deployment>, Vec<Resource>, Vec<Operation>, i64) {
    let page = Page { limit: 1000, ..Page::default() };
    let (mut deployments, _) = store.deployments(&DeploymentFilter::default(), &page).await.unwrap();
    let mut resources = Vec::new();
    for deployment in &mut deployments {
        *deployment = store.deployment_get(&deployment.id).await.unwrap().unwrap();
        resources.extend(store.resources(&deployment.id).await.unwrap());
    }
    let operations = store.operations_list(&Default::default(), None, 1000).await.unwrap();
    (deployments, resources, operations, store.event_last().await.unwrap())
}

pub(crate) async fn life(f: Arc<Fixture>) {
    let store = &f.store;
    let new = new();
    let resources = [resource(&new.id, 1, Some("t-1")), resource(&new.id, 0, None)];
    let steps = [step("t-1"), Step::new(0, 1, "configure")];
    let progress = Progress { deadline: Some(9), ..Progress::default() };
    let op = order(OperationKind::CreateDeployment);
    let begin = store.deployment_begin(&new, &resources, &op, &progress, &steps, &event(&new.id)).await;
    let operation = begun(begin);
    let work = store.work_get(&operation.id).await.unwrap().unwrap();
    assert_eq!((work.subject.as_deref(), &work.progress, work.steps.as_slice()), (Some(new.id.as_str()), &progress, &steps[..]));
    assert_eq!(store.event_last().await.unwrap(), 1);

    let read = store.deployment_get(&new.id).await.unwrap().unwrap();
    let NewDeployment { owner, user_group, template, parameters, callback, .. } = new.clone();
    let expected = Deployment {
        id: new.id.clone(),
        owner,
        user_group,
        status: DeploymentStatus::CreateInProgress,
        status_reason: None,
        task: DeploymentTask::None,
        template,
        parameters,
        callback,
        max_attempts: Some(3),
        timeout: Some(60),
        attempt_timeout: Some(30),
        keep_last_attempt: true,
        cloud: None,
        physical_id: None,
        endpoint: None,
        outputs: json!({}),
        attempts: json!([]),
        log: String::new(),
        operation: Some(operation.id.clone()),
        created_at: read.created_at,
        updated_at: read.created_at,
    };
    assert_eq!(read, expected);
    let read = store.resources(&new.id).await.unwrap();
    assert!(read.iter().all(|resource| resource.created_at > 0 && resource.updated_at == resource.created_at));
    let unstamped: Vec<_> = read.iter().map(|r| Resource { created_at: 0, updated_at: 0, ..r.clone() }).collect();
    assert_eq!(unstamped, [resources[1].clone(), resources[0].clone()], "by position");
    assert_eq!(store.resource_get(&new.id, &resources[0].id).await.unwrap().as_ref(), Some(&read[1]));
    assert_eq!(store.resource_get("other", &resources[0].id).await.unwrap(), None);
    assert_eq!(store.resource_by_token("c", "t-1").await.unwrap().as_ref(), Some(&read[1]));
    assert_eq!(store.resource_by_token("d", "t-1").await.unwrap(), None);

    // Without an owner, and with an account.
    let nobody = NewDeployment { owner: None, user_group: None, max_attempts: None, ..super::deployments::new() };
    made(store, &nobody, &[]).await;
    assert_eq!(store.deployment_get(&nobody.id).await.unwrap().unwrap().owner, None);
    let user = crate::credit::user(store, "bob", 0).await;
    let bobs = Owner { user_id: Some(user.id), ..super::deployments::owner("bob", None) };
    let his = NewDeployment { owner: Some(bobs.clone()), ..super::deployments::new() };
    made(store, &his, &[]).await;
    assert_eq!(store.deployment_get(&his.id).await.unwrap().unwrap().owner, Some(bobs));

    let last = store.event_last().await.unwrap();
    assert!(store.deployment_remove(&new.id, &event("gone")).await.unwrap());
    assert_eq!(store.event_last().await.unwrap(), last + 1);
    assert_eq!(store.deployment_get(&new.id).await.unwrap(), None);
    assert_eq!(store.resources(&new.id).await.unwrap(), []);
    assert_eq!(store.resource_by_token("c", "t-1").await.unwrap(), None);
    let nothing = DeploymentChange::default();
    assert_eq!(store.deployment_change(&new.id, &nothing, Some(&event("x"))).await.unwrap(), None);
    assert!(!store.deployment_remove(&new.id, &event("x")).await.unwrap());
    assert_eq!(store.event_last().await.unwrap(), last + 1, "nothing happened");
    assert!(store.work_get(&operation.id).await.unwrap().is_some(), "the work outlives it");
}

pub(crate) async fn changes(f: Arc<Fixture>) {
    let store = &f.store;
    let new = new();
    let operation = made(store, &new, &[]).await;
    let before = store.deployment_get(&new.id).await.unwrap().unwrap();
    let change = async |change: DeploymentChange| store.deployment_change(&new.id, &change, None).await.unwrap().unwrap();
    // Nothing.
    let same = change(DeploymentChange::default()).await;
    assert_eq!(same, Deployment { updated_at: same.updated_at, ..before.clone() });
    // Everything.
    let all = DeploymentChange {
        during: Some(operation.id.clone()),
        status: Some(DeploymentStatus::UpdateFailed),
        status_reason: Some(Some("why".into())),
        task: Some(DeploymentTask::Brokering),
        template: Some("other".into()),
        parameters: Some(json!({"a": 1})),
        callback: Some(Some("http://d".into())),
        max_attempts: Some(Some(9)),
        timeout: Some(Some(10)),
        attempt_timeout: Some(Some(11)),
        keep_last_attempt: Some(false),
        cloud: Some(Some("c".into())),
        physical_id: Some(Some("p".into())),
        endpoint: Some(Some(json!({"url": "u"}))),
        outputs: Some(json!({"o": [1]})),
        attempts: Some(json!([{"cloud": "c"}])),
        log_line: Some("begun".into()),
        operation: Some(Some("another".into())),
    };
    let changed = store.deployment_change(&new.id, &all, Some(&event("x"))).await.unwrap().unwrap();
    let expected = Deployment {
        id: new.id.clone(),
        owner: before.owner.clone(),
        user_group: before.user_group.clone(),
        status: DeploymentStatus::UpdateFailed,
        status_reason: Some("why".into()),
        task: DeploymentTask::Brokering,
        template: "other".into(),
        parameters: json!({"a": 1}),
        callback: Some("http://d".into()),
        max_attempts: Some(9),
        timeout: Some(10),
        attempt_timeout: Some(11),
        keep_last_attempt: false,
        cloud: Some("c".into()),
        physical_id: Some("p".into()),
        endpoint: Some(json!({"url": "u"})),
        outputs: json!({"o": [1]}),
        attempts: json!([{"cloud": "c"}]),
        log: "begun\n".into(),
        operation: Some("another".into()),
        created_at: before.created_at,
        updated_at: changed.updated_at,
    };
    assert!(changed.updated_at > before.updated_at);
    assert_eq!(changed, expected);
    assert_eq!(store.deployment_get(&new.id).await.unwrap().unwrap(), expected);
    assert_eq!(store.event_last().await.unwrap(), 2);
    // Who was replaced changes nothing.
    let stale = store.deployment_change(&new.id, &all, Some(&event("x"))).await;
    assert!(matches!(stale, Err(Error::Lost)), "{stale:?}");
    assert_eq!(store.deployment_get(&new.id).await.unwrap().unwrap(), expected);
    // Away with what can be away.
    let nulls = DeploymentChange {
        status_reason: Some(None),
        callback: Some(None),
        max_attempts: Some(None),
        timeout: Some(None),
        attempt_timeout: Some(None),
        cloud: Some(None),
        physical_id: Some(None),
        endpoint: Some(None),
        operation: Some(None),
        ..Default::default()
    };
    let changed = change(nulls).await;
    let bare = Deployment {
        status_reason: None,
        callback: None,
        max_attempts: None,
        timeout: None,
        attempt_timeout: None,
        cloud: None,
        physical_id: None,
        endpoint: None,
        operation: None,
        updated_at: changed.updated_at,
        ..expected
    };
    assert_eq!(changed, bare);
    let stale = DeploymentChange { during: Some(operation.id), ..Default::default() };
    assert!(matches!(store.deployment_change(&new.id, &stale, None).await, Err(Error::Lost)), "no work is under way");
    assert_eq!(store.deployment_change("none", &stale, None).await.unwrap(), None);
}

pub(crate) async fn beginnings_are_all_or_nothing(f: Arc<Fixture>) {
    let store = &f.store;
    let first = new();
    let resources = [resource(&first.id, 0, Some("t-1"))];
    let op = keyed(OperationKind::CreateDeployment, "k", 1);
    let operation = begun(try_begin(store, &first, &resources, &op, &[step("s-1")]).await);
    let before = everything(store).await;

    let plain = order(OperationKind::CreateDeployment);
    let again = try_begin(store, &first, &[], &plain, &[]).await;
    assert!(matches!(again, Err(Error::Exists("the deployment"))), "{again:?}");
    let other = new();
    let token = try_begin(store, &other, &[resource(&other.id, 0, Some("t-1"))], &plain, &[]).await;
    assert!(matches!(token, Err(Error::Exists("a resource with this token"))), "{token:?}");
    let its = Resource { deployment: other.id.clone(), token: None, ..resources[0].clone() };
    let known = try_begin(store, &other, &[its], &plain, &[]).await;
    assert!(matches!(known, Err(Error::Exists("the resource"))), "{known:?}");
    let step_token = try_begin(store, &other, &[], &plain, &[step("s-1")]).await;
    assert!(matches!(step_token, Err(Error::Exists("a step with this token"))), "{step_token:?}");
    let foreign = try_begin(store, &other, &[resource(&first.id, 1, None)], &plain, &[]).await;
    assert!(matches!(foreign, Err(Error::Invalid(_))), "{foreign:?}");
    let unknown = Owner { user_id: Some("nobody".into()), ..owner("x", None) };
    let unknown = try_begin(store, &NewDeployment { owner: Some(unknown), ..other.clone() }, &[], &plain, &[]).await;
    assert!(matches!(unknown, Err(Error::NotFound("the user"))), "{unknown:?}");
    let nul = try_begin(store, &NewDeployment { template: "\0".into(), ..other.clone() }, &[], &plain, &[]).await;
    assert!(matches!(nul, Err(Error::Invalid(_))), "{nul:?}");
    let mismatch = try_begin(store, &other, &[], &keyed(OperationKind::CreateDeployment, "k", 2), &[]).await;
    assert!(matches!(mismatch, Err(Error::IdempotencyMismatch)), "{mismatch:?}");
    assert_eq!(try_begin(store, &other, &[], &op, &[]).await.unwrap(), Begin::Existing(operation));
    assert_eq!(everything(store).await, before);
}

pub(crate) async fn one_work_at_a_time(f: Arc<Fixture>) {
    let store = &f.store;
    let new = new();
    let node = resource(&new.id, 0, Some("t-1"));
    let create = made(store, &new, std::slice::from_ref(&node)).await;
    let update = order(OperationKind::UpdateDeployment);
    let before = everything(store).await;
    for instead_of in [None, Some("another")] {
        let busy = work(store, &new.id, instead_of, &update).await;
        assert!(matches!(busy, Err(Error::Referenced("the deployment"))), "{busy:?}");
    }
    let gone = work(store, "none", None, &update).await;
    assert!(matches!(gone, Err(Error::NotFound("the deployment"))), "{gone:?}");
    assert_eq!(everything(store).await, before);

    // A removal takes over, with all that changes.
    let change = DeploymentChange {
        status: Some(DeploymentStatus::DeleteInProgress),
        log_line: Some("removal".into()),
        operation: Some(None),
        ..Default::default()
    };
    let added = resource(&new.id, 1, Some("t-2"));
    let deleting =
        ResourceChange { state: Some(ResourceState::Deleting), physical_id: Some(Some("n".into())), ..Default::default() };
    let op = keyed(OperationKind::DeleteDeployment, "k", 1);
    let call = async |instead_of: &str, added: &Resource, changed: &str, token: &str, op: &NewOperation| {
        let changed = [(changed.to_owned(), deleting.clone())];
        let (added, steps, event) = ([added.clone()], [step(token)], event("x"));
        let (instead_of, progress) = (Some(instead_of), Progress::default());
        store.deployment_work(&new.id, instead_of, &change, &added, &changed, op, &progress, &steps, &event).await
    };
    let none = call(&create.id, &added, "none", "s-1", &op).await;
    assert!(matches!(none, Err(Error::NotFound("the resource"))), "{none:?}");
    let token = call(&create.id, &Resource { token: Some("t-1".into()), ..added.clone() }, &node.id, "s-1", &op).await;
    assert!(matches!(token, Err(Error::Exists("a resource with this token"))), "{token:?}");
    let foreign = call(&create.id, &resource("other", 0, None), &node.id, "s-1", &op).await;
    assert!(matches!(foreign, Err(Error::Invalid(_))), "{foreign:?}");
    assert_eq!(everything(store).await, before);
    let delete = begun(call(&create.id, &added, &node.id, "s-1", &op).await);
    let read = store.deployment_get(&new.id).await.unwrap().unwrap();
    assert_eq!((read.status, read.log.as_str()), (DeploymentStatus::DeleteInProgress, "removal\n"));
    assert_eq!(read.operation.as_deref(), Some(delete.id.as_str()), "whatever the change says of it");
    let resources = store.resources(&new.id).await.unwrap();
    assert_eq!((resources[0].state, resources[0].physical_id.as_deref()), (ResourceState::Deleting, Some("n")));
    assert_eq!((resources.len(), &resources[1].id), (2, &added.id));
    assert_eq!(store.event_last().await.unwrap(), 2);
    assert_eq!(store.work_about(&new.id).await.unwrap().unwrap().steps, [step("s-1")]);

    // The key gives the same work, however things stand; another input does not.
    let before = everything(store).await;
    assert_eq!(call("another", &added, "none", "s-2", &op).await.unwrap(), Begin::Existing(delete.clone()));
    let mismatch = call(&delete.id, &added, &node.id, "s-2", &keyed(OperationKind::DeleteDeployment, "k", 2)).await;
    assert!(matches!(mismatch, Err(Error::IdempotencyMismatch)), "{mismatch:?}");
    assert_eq!(everything(store).await, before);
    store.deployment_remove(&new.id, &event("x")).await.unwrap();
    assert_eq!(call(&create.id, &added, &node.id, "s-2", &op).await.unwrap(), Begin::Existing(delete));
}

pub(crate) async fn the_log_is_cut(f: Arc<Fixture>) {
    const MOST: usize = 256 * 1024;
    let store = &f.store;
    let (id, _) = idle(store, 0).await;
    let log = async |line: String| {
        let change = DeploymentChange { log_line: Some(line), ..Default::default() };
        store.deployment_change(&id, &change, None).await.unwrap().unwrap().log
    };
    assert_eq!(log("one".into()).await, "one\n");
    assert_eq!(log("two\n".into()).await, "one\ntwo\n", "it has its end already");
    assert_eq!(log("three\nfour".into()).await, "one\ntwo\nthree\nfour\n");
    // Just as much as may be, and one more: only whole lines go.
    let full = "one\ntwo\nthree\nfour\n";
    let long = "x".repeat(MOST - full.len() - 1);
    assert_eq!(log(long.clone()).await, format!("{full}{long}\n"));
    assert_eq!(log("a".into()).await, format!("two\nthree\nfour\n{long}\na\n"));
    assert_eq!(log("bcd".into()).await, format!("three\nfour\n{long}\na\nbcd\n"), "to the byte");
    assert_eq!(log("ü".repeat(10)).await, format!("a\nbcd\n{}\n", "ü".repeat(10)), "the long one as a whole");
    // Of a line that is too long the end, in whole characters.
    let end = log("ü".repeat(MOST)).await;
    assert_eq!(end, format!("{}\n", "ü".repeat(MOST / 2 - 1)));
    assert_eq!(store.deployment_get(&id).await.unwrap().unwrap().log, end);
}

pub(crate) async fn nothing_secret_in_debug(f: Arc<Fixture>) {
    let store = &f.store;
    let new = new();
    let node = resource(&new.id, 0, None);
    made(store, &new, std::slice::from_ref(&node)).await;
    let secret = || Some(json!({"s": SECRET}));
    let change = DeploymentChange {
        status_reason: Some(Some(SECRET.into())),
        template: Some(SECRET.into()),
        parameters: secret(),
        callback: Some(Some(SECRET.into())),
        endpoint: Some(secret()),
        outputs: secret(),
        attempts: secret(),
        log_line: Some(SECRET.into()),
        ..Default::default()
    };
    let deployment = store.deployment_change(&new.id, &change, None).await.unwrap().unwrap();
    let resource_change = ResourceChange { attributes: secret(), ..Default::default() };
    let text = format!("{new:?} {node:?} {change:?} {deployment:?} {resource_change:?}");
    assert!(!text.contains(SECRET), "{text}");
    assert!(text.contains(&new.id) && text.contains("CreateInProgress"), "{text}");
}
