#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! With the real store in memory. Where deployments are made they are on the real dummy cloud.

use super::*;
use crate::billing::{Billing, Tariff};
use crate::compute::Compute;
use crate::compute::tests::compute_on;
use crate::deployments::{DeploymentStatus, Settings};
use crate::identity::{Person, Role, Scheme};
use crate::scheduler::Scheduler;
use ostler_store::{DeploymentFilter, NewUser, Options, WorkFilter};
use serde_json::Map;
use std::collections::BTreeMap;

const TEMPLATE: &str = "
tosca_definitions_version: tosca_simple_yaml_1_0
topology_template:
  inputs: { cpus: { type: integer } }
  node_templates:
    web:
      type: tosca.nodes.indigo.Compute
      capabilities:
        host: { properties: { num_cpus: { get_input: cpus } } }
        os: { properties: { distribution: debian } }
";

/// A host that starts on a store.
struct Life {
    store: Store,
    deployments: Arc<Deployments>,
    scheduler: Arc<Scheduler>,
    schedules: Schedules,
}

impl Life {
    fn new(compute: &Arc<Compute>, store: &Store, issuer: &str) -> Self {
        let tariff = Tariff { price: 1, prices: BTreeMap::new(), period: Duration::from_secs(3600) };
        let billing = Arc::new(Billing::new(store.clone(), tariff));
        let scheduler = Arc::new(Scheduler::new(store.clone()));
        let compute = &Compute::new(Arc::clone(compute.host()), Arc::clone(&scheduler), None);
        let settings = Settings { poll: Duration::from_millis(2), ..Settings::new(issuer) };
        let deployments = Arc::new(Deployments::new(Arc::clone(compute), billing, Arc::clone(&scheduler), settings));
        let schedules = Schedules::new(Arc::clone(&deployments), store.clone());
        Self { store: store.clone(), deployments, scheduler, schedules }
    }

    async fn first() -> (Arc<Compute>, Self) {
        let store = Store::open("sqlite::memory:", &Options::default()).await.unwrap();
        let compute = compute_on(store.clone(), &[("form", "plain")]).await;
        let life = Self::new(&compute, &store, "https://here");
        (compute, life)
    }

    async fn make(&self, who: &Principal, expression: &str) -> Schedule {
        self.schedules.create(who, order(expression), None).await.unwrap()
    }

    async fn tell(&self, names: &[&str]) -> Intake {
        let messages: Vec<_> = names.iter().map(|name| registered("s", name)).collect();
        self.schedules.data_events(&admin(), &messages).await.unwrap()
    }

    async fn events(&self, who: &Principal, schedule: &Schedule) -> Vec<ScheduleEvent> {
        let page = Page { limit: 100, ..Page::default() };
        let (events, total) = self.schedules.events(who, &schedule.id, &page).await.unwrap();
        assert_eq!(total, events.len() as u64);
        events
    }

    /// How many deployments there are, whosever they are.
    async fn deployed(&self) -> u64 {
        self.store.deployments(&DeploymentFilter::default(), &Page::default()).await.unwrap().1
    }

    async fn quiet(&self) {
        while !self.store.work_list(WorkFilter::Open, None, 1).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    }
}

fn admin() -> Principal {
    Principal::new("root", vec![Role::Admin], Scheme::Token)
}

fn local(name: &str) -> Principal {
    Principal::new(name, vec![Role::Customer], Scheme::Token)
}

fn person(subject: &str, organisation: Option<&str>, role: Role) -> Principal {
    let organisation = organisation.map(str::to_owned);
    let person = Person { issuer: "https://iss".into(), subject: subject.into(), organisation, groups: None, scopes: None };
    Principal { person: Some(person), ..Principal::new(subject, vec![role], Scheme::Token) }
}

fn order(expression: &str) -> Order {
    Order {
        submission: Submission {
            template: TEMPLATE.into(),
            parameters: Map::from_iter([("cpus".to_owned(), json!("1"))]),
            callback: Some("https://c.example/".into()),
            user_group: None,
            max_attempts: Some(2),
            timeout: Some(Duration::from_secs(600)),
            attempt_timeout: Some(Duration::from_secs(300)),
            keep_last_attempt: true,
            token: None,
        },
        file_expression: expression.into(),
        syntax: ExpressionSyntax::Regex,
        replication_expression: "RSE".into(),
        replicas: 1,
    }
}

fn registered(scope: &str, name: &str) -> DataMessage {
    DataMessage { event_type: "did_registered".into(), scope: Some(scope.into()), name: Some(name.into()) }
}

#[tokio::test]
async fn a_file_makes_one_deployment_of_each_schedule_that_is_for_it() {
    let (_compute, life) = Life::first().await;
    let (ann, bob) = (local("ann"), local("bob"));
    let (all, some) = (life.make(&ann, "s:.*").await, life.make(&bob, "s:a.*").await);
    let glob = Order { syntax: ExpressionSyntax::Glob, ..order("t:*") };
    let glob = life.schedules.create(&ann, glob, None).await.unwrap();
    assert_eq!(life.tell(&["a1", "b1", "a1"]).await, Intake { files: 3, ignored: 0, events: 3 });
    assert_eq!(life.deployed().await, 0, "nothing is made before it is written down");
    let pending = life.events(&ann, &all).await;
    assert!(pending.iter().all(|event| event.state == ScheduleEventState::Pending && event.deployment.is_none()));
    assert_eq!(life.schedules.deploy_pending().await.unwrap(), 3);
    assert_eq!((life.deployed().await, life.schedules.deploy_pending().await.unwrap()), (3, 0));

    for (who, schedule, names) in [(&ann, &all, &["b1", "a1"][..]), (&bob, &some, &["a1"]), (&ann, &glob, &[])] {
        let events = life.events(who, schedule).await;
        assert_eq!(events.iter().map(|event| event.name.as_str()).collect::<Vec<_>>(), names, "the latest first");
        for event in events {
            let deployment = event.deployment.unwrap();
            assert_eq!((event.state, event.deployment_id.as_ref()), (ScheduleEventState::Deployed, Some(&deployment.id)));
            // The owner's own, with all that the schedule says.
            assert_eq!(life.deployments.own(who, &deployment.id).await.unwrap().owner, schedule.owner);
            assert_eq!((deployment.max_attempts, deployment.keep_last_attempt), (Some(2), true));
            assert_eq!((deployment.timeout, deployment.attempt_timeout), (Some(600_000_000), Some(300_000_000)));
            assert_eq!((deployment.template.as_str(), &deployment.parameters), (TEMPLATE, &json!({"cpus": "1"})));
            assert_eq!(deployment.callback.as_deref(), Some("https://c.example/"));
        }
    }

    // Told again, it is the same file; in another scope it is another.
    assert_eq!(life.tell(&["a1", "b1"]).await.events, 0);
    let elsewhere = life.schedules.data_events(&admin(), &[registered("t", "a1")]).await.unwrap();
    assert_eq!((elsewhere.events, life.schedules.deploy_pending().await.unwrap(), life.deployed().await), (1, 1, 4));
    life.quiet().await;
    let event = life.events(&bob, &some).await.remove(0);
    assert_eq!(event.deployment.unwrap().status, DeploymentStatus::CreateComplete);

    // A deployment that its owner removes is not made again, and a schedule that is removed leaves its deployments.
    life.deployments.delete(&bob, &event.deployment_id.unwrap(), false).await.unwrap();
    life.quiet().await;
    assert_eq!((life.tell(&["a1"]).await.events, life.schedules.deploy_pending().await.unwrap()), (0, 0));
    assert_eq!(life.events(&bob, &some).await[0].deployment, None);
    life.schedules.delete(&ann, &all.id).await.unwrap();
    assert_eq!((life.deployed().await, life.events(&ann, &all).await.len()), (3, 0));
    life.scheduler.stop().await;
}

#[tokio::test]
async fn what_a_crash_interrupts_is_neither_lost_nor_doubled() {
    let (compute, life) = Life::first().await;
    let ann = local("ann");
    let schedule = life.make(&ann, "s:.*").await;
    // Died before the deployment was made.
    assert_eq!(life.tell(&["a"]).await.events, 1);
    // Died when it was made, and not yet noted: the next host is at another address, too.
    assert_eq!(life.tell(&["b", "c"]).await.events, 2);
    for (number, pending) in life.store.schedule_events_pending(None, 9).await.unwrap().into_iter().enumerate().skip(1) {
        let who = life.schedules.on_behalf(&pending.schedule).await.unwrap();
        let key = Key { scope: "schedules", key: events::key(&schedule.id, &pending.event.scope, &pending.event.name) };
        let made = life.deployments.create(&who, events::submission(pending.schedule), Some(key)).await.unwrap();
        if number == 2 {
            // And its owner has removed it since.
            life.quiet().await;
            life.deployments.delete(&ann, &made.id, false).await.unwrap();
            life.quiet().await;
        }
    }
    assert_eq!(life.deployed().await, 1);
    life.scheduler.stop().await;

    let next = Life::new(&compute, &life.store, "https://there");
    assert_eq!(next.schedules.deploy_pending().await.unwrap(), 3);
    assert_eq!((next.deployed().await, next.schedules.deploy_pending().await.unwrap()), (2, 0));
    let events = life.events(&ann, &schedule).await;
    let shown: Vec<_> = events.iter().map(|e| (e.name.as_str(), e.deployment_id.is_some(), e.deployment.is_some())).collect();
    assert_eq!(shown, [("c", true, false), ("b", true, true), ("a", true, true)]);

    // Two hosts that take up the same.
    assert_eq!(next.tell(&["d", "e", "f"]).await.events, 3);
    let other = Life::new(&compute, &life.store, "https://there");
    let (one, two) = tokio::join!(next.schedules.deploy_pending(), other.schedules.deploy_pending());
    assert_eq!((one.unwrap() + two.unwrap(), next.deployed().await), (3, 5));
    next.scheduler.stop().await;
    other.scheduler.stop().await;
}

#[tokio::test]
async fn suspended_schedules_and_disabled_owners_make_nothing() {
    let (_compute, life) = Life::first().await;
    let ann = local("ann");
    let schedule = life.make(&ann, "s:.*").await;
    assert_eq!(life.tell(&["a"]).await.events, 1);
    let suspended = life.schedules.set_status(&ann, &schedule.id, ScheduleStatus::Suspended).await.unwrap();
    assert_eq!(suspended.status, ScheduleStatus::Suspended);
    assert_eq!(life.tell(&["b"]).await.events, 0);
    assert_eq!(life.schedules.deploy_pending().await.unwrap(), 1, "what matched before");
    life.schedules.set_status(&ann, &schedule.id, ScheduleStatus::Running).await.unwrap();
    assert_eq!(life.tell(&["b"]).await.events, 1);
    assert_eq!(life.schedules.deploy_pending().await.unwrap(), 1);

    let new = NewUser {
        username: "eve".into(),
        password_hash: None,
        email: None,
        first_name: None,
        last_name: None,
        affiliation: None,
        active: true,
        roles: vec!["customer".into()],
        credit: 0,
    };
    let user = life.store.user_create(&new).await.unwrap();
    let account = Some(crate::identity::Account { id: user.id.clone(), number: user.number });
    let eve = Principal { account, ..local("eve") };
    let hers = life.make(&eve, "s:eve.*").await;
    life.schedules.delete(&ann, &schedule.id).await.unwrap();
    for (file, active, roles, reason) in [
        ("eve1", true, &["customer"][..], None),
        ("eve2", false, &["customer"], Some("the account of the schedule's owner is disabled")),
        ("eve3", true, &["monitor"], Some("this needs another role")),
    ] {
        let roles = Some(roles.iter().map(|role| (*role).to_owned()).collect());
        let change = ostler_store::UserChange { roles, active: Some(active), ..Default::default() };
        life.store.user_change(&user.id, &change).await.unwrap();
        assert_eq!(life.tell(&[file]).await.events, 1);
        assert_eq!(life.schedules.deploy_pending().await.unwrap(), 1, "it comes to its end, this way or that");
        let event = life.events(&eve, &hers).await.remove(0);
        assert_eq!((event.name.as_str(), event.reason.as_deref()), (file, reason));
        assert_eq!(event.deployment.is_some(), reason.is_none());
    }
    life.quiet().await;
    life.scheduler.stop().await;
}

#[tokio::test]
async fn what_is_asked_for_is_checked() {
    let (_compute, life) = Life::first().await;
    let ann = local("ann");
    let with = |change: fn(&mut Order)| {
        let mut order = order("s:.*");
        change(&mut order);
        order
    };
    for (order, said) in [
        (
            with(|order| order.file_expression = "(".into()),
            "fileExpression is no regular expression that can be used: unclosed group",
        ),
        (
            with(|order| (order.file_expression, order.syntax) = ("[".into(), ExpressionSyntax::Glob)),
            "fileExpression is no glob that can be used: a [ has no ]",
        ),
        (with(|order| order.file_expression = "x".repeat(1025)), "fileExpression has at most 1024 bytes, none of them zero"),
        (
            with(|order| order.replication_expression = "\0".into()),
            "replicationExpression has at most 1024 bytes, none of them zero",
        ),
        (with(|order| order.replicas = 0), "numberOfReplicas must be at least 1"),
        (with(|order| order.submission.template = "nodes: []".into()), "Error parsing TOSCA template template:"),
        (with(|order| order.submission.parameters.clear()), "Input cpus is required"),
    ] {
        let error = life.schedules.create(&ann, order, None).await.unwrap_err().to_string();
        assert!(error.starts_with(said), "{error}");
    }
    let nobody = Principal::new("x", vec![Role::User], Scheme::Token);
    assert!(matches!(life.schedules.create(&nobody, order("a"), None).await, Err(Error::Forbidden)));
    let page = Page { limit: 9, ..Page::default() };
    assert_eq!(life.schedules.list(&admin(), None, &page).await.unwrap().1, 0, "nothing is left behind");

    let key = || Some(Key { scope: "test", key: "k".into() });
    let first = life.schedules.create(&ann, order("a"), key()).await.unwrap();
    assert_eq!(life.schedules.create(&ann, order("a"), key()).await.unwrap(), first);
    assert!(matches!(life.schedules.create(&ann, order("b"), key()).await, Err(Error::KeyReused)));
    assert_ne!(life.schedules.create(&local("bob"), order("b"), key()).await.unwrap().id, first.id);

    // Messages: all or none.
    let message = |event_type: &str, scope: Option<&str>, name: Option<&str>| DataMessage {
        event_type: event_type.into(),
        scope: scope.map(str::to_owned),
        name: name.map(str::to_owned),
    };
    life.make(&ann, ".*").await;
    let long = "x".repeat(1025);
    for (wrong, said) in [
        (message("did_registered", None, Some("n")), "scope of did_registered"),
        (message("did_registered", Some(""), Some("n")), "scope of did_registered"),
        (message("did_registered", Some(&long[..256]), Some("n")), "scope of did_registered has 1 to 255 bytes"),
        (message("did_registered", Some("s"), None), "name of did_registered"),
        (message("did_registered", Some("s"), Some("a\nb")), "name of did_registered"),
        (message("did_registered", Some("s"), Some(&long)), "name of did_registered has 1 to 1024 bytes"),
    ] {
        let refused = life.schedules.data_events(&admin(), &[registered("s", "good"), wrong]).await.unwrap_err();
        assert!(matches!(&refused, Error::Invalid(text) if text.starts_with(said)), "{refused}");
    }
    let many = vec![registered("s", "good"); 501];
    assert!(matches!(life.schedules.data_events(&admin(), &many).await, Err(Error::Invalid(_))));
    assert!(matches!(life.schedules.data_events(&ann, &[registered("s", "good")]).await, Err(Error::Forbidden)));
    let others = [message("rule_ok", None, None), message("", Some("s"), None)];
    assert_eq!(life.schedules.data_events(&admin(), &others).await.unwrap(), Intake { files: 0, ignored: 2, events: 0 });
    assert_eq!(life.tell(&["good"]).await.events, 1, "none of the refused left anything behind");
    life.scheduler.stop().await;
}

/// As deployments: one's own, colleagues' to look at, administrators' whatever their issuer or this server has.
#[tokio::test]
async fn schedules_are_seen_and_changed_by_whom_they_concern() {
    let (_compute, life) = Life::first().await;
    let ann = person("ann", Some("org"), Role::Customer);
    let schedule = life.make(&ann, "s:.*").await;
    let anns = CreatedBy::Somebody { subject: "ann".into(), issuer: "https://iss".into() };
    let page = Page { limit: 9, ..Page::default() };
    let table = [
        (ann.clone(), true, true, true, true),
        (person("bob", Some("org"), Role::Customer), true, false, false, false),
        (person("bob", Some("other"), Role::Customer), false, false, false, false),
        (person("bob", None, Role::Customer), false, false, false, false),
        (person("root", Some("org"), Role::Supervisor), true, true, true, true),
        (person("root", Some("other"), Role::Supervisor), false, false, false, true),
        (person("root", None, Role::Supervisor), true, true, true, true),
        (local("ann"), false, false, false, false),
        (admin(), true, true, true, true),
    ];
    life.tell(&["a"]).await;
    for (who, sees, changes, lists, may_ask) in table {
        let what = format!("{:?} {:?}", who.roles, who.person);
        let missing = |error: &Error| matches!(error, Error::Schedule(ScheduleError::NotFound(id)) if *id == schedule.id);
        let got = life.schedules.get(&who, &schedule.id).await;
        assert!(if sees { got.is_ok() } else { missing(&got.unwrap_err()) }, "{what}");
        assert_eq!(life.events(&who, &schedule).await.len(), usize::from(sees), "{what}");
        let set = life.schedules.set_status(&who, &schedule.id, ScheduleStatus::Running).await;
        match set {
            Ok(_) => assert!(changes, "{what}"),
            Err(Error::Schedule(ScheduleError::NotOwner)) => assert!(sees && !changes, "{what}"),
            Err(error) => assert!(!sees && missing(&error), "{what}: {error}"),
        }
        assert!(changes || life.schedules.delete(&who, &schedule.id).await.is_err(), "{what}");
        assert_eq!(life.schedules.list(&who, None, &page).await.unwrap().1, u64::from(lists), "{what}");
        match life.schedules.list(&who, Some(&anns), &page).await {
            Ok((_, count)) => assert!(may_ask && count == u64::from(lists), "{what}: {count}"),
            Err(Error::Schedule(ScheduleError::OnlyAdministrators(whose))) => {
                assert!(!may_ask && whose == "ann@https://iss", "{what}");
            }
            Err(error) => panic!("{what}: {error}"),
        }
    }
    for id in ["", "x", "\0", &"x".repeat(100)] {
        let error = life.schedules.get(&admin(), id).await.unwrap_err();
        assert!(matches!(error, Error::Schedule(ScheduleError::NotFound(_))), "{error}");
    }
    life.schedules.delete(&admin(), &schedule.id).await.unwrap();
    assert!(life.schedules.delete(&ann, &schedule.id).await.is_err());

    // Where nobody need say who he is, schedules are nobody's, and anybody's.
    let open = life.make(&Principal::open(), "s:.*").await;
    assert_eq!(open.owner, None);
    assert!(life.schedules.get(&ann, &open.id).await.is_ok());
    assert_eq!((life.tell(&["b"]).await.events, life.schedules.deploy_pending().await.unwrap()), (1, 1));
    let deployment = life.events(&ann, &open).await.remove(0).deployment.unwrap();
    assert_eq!(deployment.owner, None);
    life.quiet().await;
    life.scheduler.stop().await;
}

#[test]
fn keys_tell_files_apart() {
    let keys: std::collections::BTreeSet<_> =
        [("1", "a", "b"), ("1", "a:", "b"), ("1", "a", ":b"), ("1", "ab", ""), ("2", "a", "b")]
            .map(|(schedule, scope, name)| events::key(schedule, scope, name))
            .into();
    assert_eq!(keys.len(), 5);
    assert_eq!(events::key("1", "a", "b"), events::key("1", "a", "b"));
    assert!(events::key(&"x".repeat(36), &"y".repeat(255), &"z".repeat(1024)).len() <= 128);
}
