#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
//! On two real dummy clouds, with the real store in memory, which outlives the crashes.

use super::*;
use crate::StoreState;
use crate::billing::Tariff;
use crate::compute::tests::component;
use crate::identity::{Account, Role};
use crate::recovery::Recovery;
use crate::scheduler::fault::{Dice, Fault, Faults, a_while};
use crate::sweeper::{Orphans, Sweeper, Swept};
use ostler_drivers::{CloudSettings, Host, LoadPolicy, Runtime, Seal, Strictness};
use ostler_store::{CreditKind, DeploymentFilter, NewUser, OperationState, Options, WorkFilter};
use std::collections::BTreeSet;
use tokio::sync::mpsc;

const CLOUDS: [&str; 2] = ["lab", "far"];

/// Clouds and a store, which stay; the host on them comes and goes.
struct World {
    host: Arc<Host>,
    store: Store,
    /// Has an account with much credit.
    ann: Principal,
}

/// What accounts begin with.
const CREDIT: i64 = 1_000_000;

/// One life of a host.
struct Life {
    compute: Arc<Compute>,
    scheduler: Arc<Scheduler>,
    deployments: Deployments,
    recovery: Recovery,
    crashed: mpsc::UnboundedReceiver<()>,
}

impl World {
    async fn new(settings: &[(&str, &[(&str, &str)])]) -> Self {
        let store = Store::open("sqlite::memory:", &Options::default()).await.unwrap();
        let state = Arc::new(StoreState(store.clone()));
        let host = Arc::new(Host::new(Runtime::new(None).unwrap(), LoadPolicy::default(), state).unwrap());
        for name in CLOUDS {
            let mut cloud = CloudSettings::new(name, "dummy");
            // A call must not outlive the crash of its host.
            cloud.limits.concurrency = 1;
            let own = settings.iter().find(|(known, _)| *known == name).map(|(_, own)| *own).unwrap_or_default();
            let all = [("form", "plain")].into_iter().chain(own.iter().copied());
            cloud.config = all.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            host.add_cloud(cloud).unwrap();
        }
        let prepared = host.prepare("dummy", component(), Seal::Builtin, Strictness::AllOrNothing).await.unwrap();
        host.activate(prepared).await;
        let ann = account(&store, "ann", CREDIT).await;
        Self { host, store, ann }
    }

    /// What an account has spent; checks the ledger besides.
    async fn spent(&self, who: &Principal) -> i64 {
        assert_eq!(self.store.credit_audit().await.unwrap(), [""; 0]);
        let mut spent = 0;
        let mut before = None;
        loop {
            let page = self.store.credit_history(&who.account().unwrap().id, before, 1_000).await.unwrap();
            let Some(last) = page.last() else { return spent };
            before = Some(last.id);
            spent -= page.iter().filter(|entry| entry.kind != CreditKind::Grant).map(|entry| entry.amount).sum::<i64>();
        }
    }

    /// A host that starts on what there is.
    fn life(&self, faults: &str) -> Life {
        let tariff = Tariff { price: 1, prices: BTreeMap::new(), period: Duration::from_secs(3600) };
        let billing = Arc::new(Billing::new(self.store.clone(), tariff));
        let (told, crashed) = mpsc::unbounded_channel();
        let scheduler = Arc::new(Scheduler::new(self.store.clone()).with_faults(Faults::told(faults, told)));
        let compute = Compute::new(Arc::clone(&self.host), Arc::clone(&scheduler), None);
        let terms = |priority| Terms { priority, agreements: Vec::new(), service: None };
        let settings = Settings {
            charged: true,
            clouds: Some(BTreeMap::from([("lab".into(), terms(2.0)), ("far".into(), terms(1.0))])),
            poll: Duration::from_millis(2),
            policy: Policy { tries: 3, first_pause: 1_000, longest_pause: 2_000, stuck_pause: 5_000 },
            ..Settings::new("https://here")
        };
        let deployments = Deployments::new(Arc::clone(&compute), billing, Arc::clone(&scheduler), settings);
        let recovery = Recovery::new(Arc::clone(&scheduler));
        Life { compute, scheduler, deployments, recovery, crashed }
    }

    /// Tokens of the machines that exist.
    async fn machines(&self) -> BTreeSet<(String, String)> {
        let mut machines = BTreeSet::new();
        for name in CLOUDS {
            let listing = self.host.cloud(name).unwrap().list_nodes().await.unwrap();
            for node in &listing.items {
                let fresh = machines.insert((name.to_owned(), node.token.clone().expect("a node without a token")));
                assert!(fresh, "a node twice");
            }
        }
        machines
    }

    /// Tokens of the machines that deployments have.
    async fn recorded(&self) -> BTreeSet<(String, String)> {
        let page = Page { offset: 0, limit: 1_000, sort: Vec::new() };
        let (deployments, _) = self.store.deployments(&DeploymentFilter::default(), &page).await.unwrap();
        let mut recorded = BTreeSet::new();
        for deployment in deployments {
            for resource in self.store.resources(&deployment.id).await.unwrap() {
                recorded.extend(resource.cloud.zip(resource.token));
            }
        }
        recorded
    }
}

impl Life {
    /// Waits until nothing is to be done any more; false where the host has crashed.
    async fn wait_for_the_end(&mut self, store: &Store) -> bool {
        let began = Instant::now();
        loop {
            if self.crashed.try_recv().is_ok() {
                self.scheduler.abort();
                return false;
            }
            if store.work_list(WorkFilter::Open, None, 1).await.unwrap().is_empty() {
                return true;
            }
            assert!(began.elapsed() < Duration::from_secs(120), "it does not come to its end");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Somebody without an account.
fn ann() -> Principal {
    Principal::new("ann", vec![Role::Customer], Scheme::Token)
}

/// Somebody with an account.
async fn account(store: &Store, name: &str, credit: i64) -> Principal {
    let new = NewUser { username: name.into(), active: true, credit, ..NewUser::default() };
    let user = store.user_create(&new).await.unwrap();
    let account = Some(Account { id: user.id, number: user.number });
    Principal { account, ..Principal::new(name, vec![Role::Customer], Scheme::Token) }
}

fn template(webs: u32, image: &str) -> String {
    format!(
        "
tosca_definitions_version: tosca_simple_yaml_1_0
topology_template:
  node_templates:
    app:
      type: tosca.nodes.SoftwareComponent
      requirements: [ {{ host: web }} ]
      interfaces: {{ Standard: {{ configure: {{ implementation: 'https://scripts.example/app.sh', inputs: {{ port: 80 }} }} }} }}
    web:
      type: tosca.nodes.indigo.Compute
      capabilities:
        scalable: {{ properties: {{ count: {webs} }} }}
        endpoint: {{ properties: {{ network_name: PUBLIC }} }}
        host: {{ properties: {{ num_cpus: 1, mem_size: 1 GB }} }}
        os: {{ properties: {{ {image} }} }}
    db:
      type: tosca.nodes.indigo.Compute
      capabilities: {{ host: {{ properties: {{ num_cpus: 2 }} }} }}
  outputs:
    addresses: {{ value: {{ get_attribute: [ web, public_address ] }} }}
"
    )
}

fn submission(template: String) -> Submission {
    Submission {
        template,
        parameters: Map::new(),
        callback: None,
        user_group: None,
        max_attempts: None,
        timeout: None,
        attempt_timeout: None,
        token: None,
        keep_last_attempt: false,
    }
}

#[tokio::test]
async fn a_whole_life() {
    let world = World::new(&[("lab", &[("boot_ms", "20")])]).await;
    let mut life = world.life("");
    let (ann, bob) = (ann(), Principal::new("bob", vec![Role::Customer], Scheme::Token));
    let key = || Some(Key { scope: "test", key: "k".into() });
    let made = life.deployments.create(&ann, submission(template(2, "distribution: debian")), key()).await.unwrap();
    assert_eq!((made.status, made.owner.clone().unwrap().subject), (DeploymentStatus::CreateInProgress, "ann".to_owned()));
    let again = life.deployments.create(&ann, submission(template(2, "distribution: debian")), key()).await.unwrap();
    assert_eq!(again.id, made.id);
    let other = life.deployments.create(&ann, submission(template(3, "distribution: debian")), key()).await;
    assert!(matches!(other, Err(Error::KeyReused)), "{other:?}");
    assert!(life.wait_for_the_end(&world.store).await);

    let got = life.deployments.get(&ann, &made.id).await.unwrap();
    assert_eq!(
        (got.status, got.status_reason.clone(), got.cloud.as_deref()),
        (DeploymentStatus::CreateComplete, None, Some("lab"))
    );
    assert_eq!(got.outputs["addresses"].as_array().map(Vec::len), Some(2), "{}", got.outputs);
    let resources = life.deployments.resources(&ann, &made.id, None).await.unwrap();
    let names: Vec<_> = resources.iter().map(|resource| resource.node.as_str()).collect();
    assert_eq!(names, ["web", "web", "app", "db"]);
    assert!(resources.iter().all(|resource| resource.state == ResourceState::Started));
    assert_eq!(resources[0].required_by, [resources[2].id.clone()]);
    assert_eq!(life.deployments.resources(&ann, &made.id, Some("tosca.nodes.Compute")).await.unwrap().len(), 3);
    assert_eq!((world.machines().await.len(), world.machines().await), (3, world.recorded().await));

    // Nobody else's.
    assert!(matches!(life.deployments.get(&bob, &made.id).await, Err(Error::Deployment(DeploymentError::NotFound(_)))));
    assert!(life.deployments.delete(&bob, &made.id, false).await.is_err());
    let page = Page { offset: 0, limit: 10, sort: Vec::new() };
    assert_eq!(life.deployments.list(&bob, None, None, &page).await.unwrap().1, 0);
    assert_eq!(life.deployments.list(&ann, Some(&CreatedBy::Me), None, &page).await.unwrap().1, 1);

    // An issuer's supervisor reaches those of his organisation, one of this server everybody's.
    let person = |issuer: &str, organisation: Option<&str>, role| Principal {
        person: Some(Person {
            issuer: issuer.into(),
            subject: "eve".into(),
            organisation: organisation.map(str::to_owned),
            groups: None,
            scopes: None,
        }),
        ..Principal::new("eve", vec![role], Scheme::Token)
    };
    let reaches = [
        (Principal::new("root", vec![Role::Admin], Scheme::Token), true),
        (person("https://there", None, Role::Admin), true),
        (person("https://here", None, Role::Supervisor), true),
        (person("https://here", None, Role::Customer), false),
        (person("https://here", Some("org"), Role::Supervisor), false),
        (person("https://there", None, Role::Supervisor), false),
    ];
    let anns = CreatedBy::Somebody { subject: "ann".into(), issuer: "https://here".into() };
    for (who, reached) in reaches {
        let what = format!("{:?} {:?}", who.roles, who.person);
        assert_eq!(life.deployments.list(&who, None, None, &page).await.unwrap().1, u64::from(reached), "{what}");
        assert_eq!(life.deployments.own(&who, &made.id).await.is_ok(), reached, "{what}");
        let hers = life.deployments.list(&who, Some(&anns), None, &page).await.map_or(0, |(_, count)| count);
        assert_eq!(hers, u64::from(reached), "{what}");
    }

    // One more, and then one of the first two goes by name.
    let up = submission(template(3, "distribution: debian"));
    assert_eq!(life.deployments.update(&ann, &made.id, up.clone()).await.unwrap().status, DeploymentStatus::UpdateInProgress);
    assert!(life.deployments.update(&ann, &made.id, up).await.is_err(), "one change at a time");
    assert!(life.wait_for_the_end(&world.store).await);
    let got = life.deployments.get(&ann, &made.id).await.unwrap();
    assert_eq!((got.status, got.outputs["addresses"].as_array().map(Vec::len)), (DeploymentStatus::UpdateComplete, Some(3)));
    let victim = resources[0].id.clone();
    let down = template(2, "distribution: debian").replace("count: 2", &format!("count: 2, removal_list: [ {victim} ]"));
    life.deployments.update(&ann, &made.id, submission(down)).await.unwrap();
    assert!(life.wait_for_the_end(&world.store).await);
    let resources = life.deployments.resources(&ann, &made.id, None).await.unwrap();
    assert!(resources.len() == 4 && resources.iter().all(|resource| resource.id != victim));
    assert_eq!((world.machines().await.len(), world.machines().await), (3, world.recorded().await));
    assert!(!life.deployments.get(&ann, &made.id).await.unwrap().template.contains("removal_list"));

    // Stop and start.
    let db = resources.iter().find(|resource| resource.node == "db").unwrap();
    for (action, state) in [(Action::Stop, ResourceState::Stopped), (Action::Start, ResourceState::Started)] {
        life.deployments.act(&ann, &made.id, &db.id, action).await.unwrap();
        assert!(life.wait_for_the_end(&world.store).await);
        assert_eq!(life.deployments.resource(&ann, &made.id, &db.id).await.unwrap().state, state);
    }
    assert!(life.deployments.act(&ann, &made.id, &db.id, Action::Start).await.is_err(), "it is started");

    life.deployments.delete(&ann, &made.id, false).await.unwrap();
    assert!(life.wait_for_the_end(&world.store).await);
    assert!(matches!(life.deployments.get(&ann, &made.id).await, Err(Error::Deployment(DeploymentError::NotFound(_)))));
    assert!(world.machines().await.is_empty());
    life.scheduler.stop().await;
}

#[tokio::test]
async fn what_cannot_be_placed_says_why() {
    let world = World::new(&[]).await;
    let mut life = world.life("");
    for (image, said) in
        [("image: nobody", "no image is called `nobody`"), ("distribution: beos", "no image has distribution beos")]
    {
        let made = life.deployments.create(&ann(), submission(template(1, image)), None).await.unwrap();
        assert!(life.wait_for_the_end(&world.store).await);
        let got = life.deployments.get(&ann(), &made.id).await.unwrap();
        let reason = got.status_reason.unwrap();
        assert_eq!(got.status, DeploymentStatus::CreateFailed);
        assert!(reason.starts_with("No cloud provider meets the deployment requirements") && reason.contains(said), "{reason}");
        life.deployments.delete(&ann(), &made.id, false).await.unwrap();
        assert!(life.wait_for_the_end(&world.store).await);
    }
    let wrong = life.deployments.create(&ann(), submission("nodes: []".into()), None).await;
    assert!(matches!(wrong, Err(Error::Deployment(DeploymentError::Template(_)))), "{wrong:?}");
}

/// Each class of error at each step of the first cloud: the second one gets it, and nothing stays on the first.
#[tokio::test]
async fn a_cloud_that_fails_is_followed_by_the_next_one() {
    let world = World::new(&[]).await;
    for step in ["choose", "make-node", "start-up"] {
        for fault in ["refused", "error-before", "error-after"] {
            // As often as the steps of one attempt are tried: one `choose`, two of the others.
            let times = if fault == "refused" {
                1
            } else if step == "choose" {
                3
            } else {
                6
            };
            let mut life = world.life(&format!("create-deployment.{step}.act:{fault}:{times}"));
            let made = life.deployments.create(&ann(), submission(template(1, "distribution: debian")), None).await.unwrap();
            assert!(life.wait_for_the_end(&world.store).await);
            let got = life.deployments.get(&ann(), &made.id).await.unwrap();
            let what = format!("{step} {fault}: {:?}", got.status_reason);
            assert_eq!((got.status, got.cloud.as_deref()), (DeploymentStatus::CreateComplete, Some("far")), "{what}");
            let attempts = got.attempts.as_array().unwrap();
            assert_eq!(
                (attempts.len(), &attempts[0]["cloud"], &attempts[0]["error"]["step"]),
                (1, &json!("lab"), &json!(step)),
                "{what}"
            );
            let machines = world.machines().await;
            assert!(machines.len() == 2 && machines.iter().all(|(cloud, _)| cloud == "far"), "{what}: {machines:?}");
            assert_eq!(machines, world.recorded().await, "{what}");
            life.deployments.delete(&ann(), &made.id, false).await.unwrap();
            assert!(life.wait_for_the_end(&world.store).await);
            assert!(world.machines().await.is_empty());
        }
    }
    // Both fail: nothing stays, and all that was tried is told.
    let mut life = world.life("create-deployment.make-node.act:refused:9");
    let made = life.deployments.create(&ann(), submission(template(1, "distribution: debian")), None).await.unwrap();
    assert!(life.wait_for_the_end(&world.store).await);
    let got = life.deployments.get(&ann(), &made.id).await.unwrap();
    let reason = got.status_reason.unwrap();
    assert_eq!(got.status, DeploymentStatus::CreateFailed);
    assert!(
        reason.contains("Retries on cloud providers exhausted") && reason.contains("lab") && reason.contains("far"),
        "{reason}"
    );
    assert!(world.machines().await.is_empty() && world.recorded().await.is_empty());
    // Unless it is to be looked at.
    let mut life = world.life("create-deployment.start-up.act:refused:9");
    let keep = Submission { keep_last_attempt: true, max_attempts: Some(1), ..submission(template(1, "distribution: debian")) };
    let kept = life.deployments.create(&ann(), keep, None).await.unwrap();
    assert!(life.wait_for_the_end(&world.store).await);
    assert_eq!(life.deployments.get(&ann(), &kept.id).await.unwrap().status, DeploymentStatus::CreateFailed);
    assert_eq!((world.machines().await.len(), world.machines().await), (2, world.recorded().await));
    life.deployments.delete(&ann(), &kept.id, false).await.unwrap();
    assert!(life.wait_for_the_end(&world.store).await);
    assert!(world.machines().await.is_empty());
}

/// For every step of every workflow, each fault, once and twice, doing and undoing: the clouds have what the deployments have, and
/// what was promised is there.
#[tokio::test]
async fn every_step_of_every_workflow_breaks() {
    let world = World::new(&[]).await;
    let workflows = world.life("").deployments.workflows();
    let mut steps: Vec<(&str, &str)> =
        workflows.iter().flat_map(|(kind, workflow)| workflow.kinds().iter().map(|step| (kind.as_str(), *step))).collect();
    steps.sort_unstable();
    assert_eq!(steps.len(), 20);
    let (mut runs, mut idle) = (0, BTreeSet::new());
    for (workflow, step) in steps {
        for fault in Fault::ALL {
            for (times, direction) in [(1, "act"), (2, "act"), (1, "undo"), (2, "undo")] {
                let mut plot = format!("{workflow}.{step}.{direction}:{}:{times}", fault.as_str());
                if direction == "undo" {
                    // So that there is something to be undone. What there is no way back from never is.
                    let (last, times) = match (workflow, step) {
                        (_, "publish" | "note" | "remove-node") | ("delete-deployment", _) => continue,
                        ("act-on-resource", _) => ("act", 2),
                        (_, "configure") => ("configure", 2),
                        // All clouds refuse: each has two machines.
                        ("create-deployment", "open" | "place") => ("start-up", 4),
                        _ => ("start-up", 2),
                    };
                    plot += &format!(",{workflow}.{last}.act:refused:{times}");
                }
                runs += 1;
                idle.extend(one_life(&world, workflow, &plot).await);
            }
        }
    }
    assert_eq!(runs, (13 * 4 + 7 * 2) * 5);
    assert!(idle.is_empty(), "each fault struck, but those at {idle:?}");
}

/// The same with several faults at once, as long as there is time.
#[tokio::test]
#[ignore = "it goes on for OSTLER_TEST_SECONDS, a minute without it"]
async fn steps_break_at_random() {
    let world = World::new(&[]).await;
    let workflows = world.life("").deployments.workflows();
    let mut workflows: Vec<_> = workflows.iter().map(|(kind, workflow)| (kind.as_str(), workflow.kinds())).collect();
    workflows.sort_unstable();
    let (mut dice, began, mut runs) = (Dice::new(), Instant::now(), 0);
    while began.elapsed() < a_while() {
        let (workflow, steps) = workflows[dice.throw(workflows.len())];
        one_life(&world, workflow, &dice.plot(workflow, steps)).await;
        runs += 1;
    }
    println!("{runs} lives");
}

/// A deployment's whole life, in which this goes wrong. Returns what of it did not.
async fn one_life(world: &World, workflow: &str, plot: &str) -> Vec<String> {
    let ann = world.ann.clone();
    let before = world.spent(&ann).await;
    let mut life = world.life(plot);
    let made = life.deployments.create(&ann, submission(template(1, "distribution: debian")), None).await.unwrap();
    settled(world, &mut life, plot).await;
    let there = life.deployments.get(&ann, &made.id).await.unwrap();
    let complete = there.status == DeploymentStatus::CreateComplete;
    assert!(complete || there.status == DeploymentStatus::CreateFailed, "{plot}: {:?}", there.status);
    let mut paid = if complete { 2 } else { 0 };
    assert_eq!(world.machines().await.len(), paid, "{plot}");
    assert_eq!(world.spent(&ann).await - before, paid as i64, "{plot}: a machine that is not there costs nothing");
    if complete && workflow == "update-deployment" {
        let resources = life.deployments.resources(&ann, &made.id, Some("tosca.nodes.Compute")).await.unwrap();
        let web = resources.iter().find(|resource| resource.node == "web").unwrap();
        let swap = template(2, "distribution: debian").replace("count: 2", &format!("count: 2, removal_list: [ {} ]", web.id));
        life.deployments.update(&ann, &made.id, submission(swap)).await.unwrap();
        settled(world, &mut life, plot).await;
        let there = life.deployments.get(&ann, &made.id).await.unwrap();
        let expected = match there.status {
            DeploymentStatus::UpdateComplete => 3,
            DeploymentStatus::UpdateFailed => 2,
            other => panic!("{plot}: {other:?}"),
        };
        assert_eq!(world.machines().await.len(), expected, "{plot}");
        paid += if expected == 3 { 2 } else { 0 };
        assert_eq!(life.deployments.resources(&ann, &made.id, None).await.unwrap().len(), expected + 1, "{plot}");
    }
    if complete && workflow == "act-on-resource" {
        let resources = life.deployments.resources(&ann, &made.id, Some("tosca.nodes.Compute")).await.unwrap();
        life.deployments.act(&ann, &made.id, &resources[0].id, Action::Stop).await.unwrap();
        settled(world, &mut life, plot).await;
        let state = life.deployments.resource(&ann, &made.id, &resources[0].id).await.unwrap().state;
        assert!(matches!(state, ResourceState::Stopped | ResourceState::Started), "{plot}: {state:?}");
        assert_eq!(life.deployments.get(&ann, &made.id).await.unwrap().operation, None, "{plot}");
    }
    life.deployments.delete(&ann, &made.id, false).await.unwrap();
    settled(world, &mut life, plot).await;
    assert!(life.deployments.get(&ann, &made.id).await.is_err(), "{plot}");
    assert!(world.machines().await.is_empty(), "{plot}");
    assert_eq!(world.spent(&ann).await - before, paid as i64, "{plot}");
    life.scheduler.stop().await;
    life.scheduler.idle_faults()
}

/// Through as many lives as it takes.
async fn settled(world: &World, life: &mut Life, plot: &str) {
    while !life.wait_for_the_end(&world.store).await {
        // The next host knows nothing of the plot that struck: it did strike.
        *life = world.life("");
        life.recovery.at_start().await.unwrap();
        assert!(Arc::strong_count(&life.compute) > 0);
    }
    assert_eq!(world.machines().await, world.recorded().await, "{plot}");
    for work in world.store.work_list(WorkFilter::All, None, 1_000).await.unwrap() {
        assert_ne!(work.operation.state, OperationState::Abandoned, "{plot}");
    }
}

/// Machines are paid for in advance, by whoever has an account; who cannot pay gets none, and has none in the end.
#[tokio::test]
async fn machines_cost_credit() {
    const HOUR: i64 = 3_600_000_000;
    let world = World::new(&[]).await;
    let mut life = world.life("");
    let cid = account(&world.store, "cid", 4).await;
    // Three machines an hour; four, and it says so.
    let made = life.deployments.create(&cid, submission(template(4, "distribution: debian")), None).await.unwrap();
    assert!(life.wait_for_the_end(&world.store).await);
    let got = life.deployments.get(&cid, &made.id).await.unwrap();
    let reason = got.status_reason.unwrap();
    assert!(reason.contains("lab: credit: 5 are needed for the first period, 4 are left"), "{reason}");
    assert_eq!((world.spent(&cid).await, world.machines().await.len()), (0, 0));
    life.deployments.delete(&cid, &made.id, false).await.unwrap();
    let made = life.deployments.create(&cid, submission(template(2, "distribution: debian")), None).await.unwrap();
    assert!(life.wait_for_the_end(&world.store).await);
    assert_eq!(life.deployments.get(&cid, &made.id).await.unwrap().status, DeploymentStatus::CreateComplete);
    assert_eq!(world.spent(&cid).await, 3);
    let bigger = submission(template(4, "distribution: debian"));
    life.deployments.update(&cid, &made.id, bigger).await.unwrap();
    assert!(life.wait_for_the_end(&world.store).await);
    let got = life.deployments.get(&cid, &made.id).await.unwrap();
    assert_eq!((got.status, world.spent(&cid).await), (DeploymentStatus::UpdateFailed, 3), "{:?}", got.status_reason);

    // The next hour: one can be paid for, the others are stopped, one at a time.
    let now = ostler_store::now();
    assert_eq!(life.deployments.meter_once(now).await.unwrap(), 0, "this hour is paid for");
    assert_eq!(life.deployments.meter_once(now + HOUR).await.unwrap(), 1);
    assert!(life.wait_for_the_end(&world.store).await);
    assert_eq!(life.deployments.meter_once(now + HOUR).await.unwrap(), 0);
    assert!(life.wait_for_the_end(&world.store).await);
    assert_eq!(life.deployments.meter_once(now + HOUR).await.unwrap(), 0);
    let states = async |life: &Life| -> Vec<ResourceState> {
        let machines = life.deployments.resources(&cid, &made.id, Some("tosca.nodes.Compute")).await.unwrap();
        machines.iter().map(|machine| machine.state).collect()
    };
    let stopped = states(&life).await.iter().filter(|state| **state == ResourceState::Stopped).count();
    assert_eq!((stopped, world.machines().await.len(), world.spent(&cid).await), (2, 3, 4));
    let events = world.store.events_after(0, 1_000).await.unwrap();
    assert_eq!(events.iter().filter(|event| event.kind == "credit.exhausted").count(), 2);

    // What is stopped costs nothing, and starts again with credit only, once its hour is over.
    let machines = life.deployments.resources(&cid, &made.id, Some("tosca.nodes.Compute")).await.unwrap();
    let idle = machines.iter().find(|machine| machine.state == ResourceState::Stopped).unwrap();
    life.deployments.act(&cid, &made.id, &idle.id, Action::Start).await.unwrap();
    assert!(life.wait_for_the_end(&world.store).await);
    assert_eq!(world.spent(&cid).await, 4, "its first hour is not over");
    let running = life.deployments.resource(&cid, &made.id, &idle.id).await.unwrap();
    assert_eq!(running.state, ResourceState::Started);

    // Who has no account is not charged.
    let free = life.deployments.create(&ann(), submission(template(1, "distribution: debian")), None).await.unwrap();
    assert!(life.wait_for_the_end(&world.store).await);
    assert_eq!(life.deployments.get(&ann(), &free.id).await.unwrap().status, DeploymentStatus::CreateComplete);
    assert_eq!(life.deployments.meter_once(now + 9 * HOUR).await.unwrap(), 0, "nobody can pay");
    assert!(life.wait_for_the_end(&world.store).await);
    for (who, id) in [(&cid, &made.id), (&ann(), &free.id)] {
        life.deployments.delete(who, id, false).await.unwrap();
        assert!(life.wait_for_the_end(&world.store).await);
    }
    assert_eq!((world.spent(&cid).await, world.machines().await.len()), (4, 0));
    life.scheduler.stop().await;
}

/// What failed operations have left behind goes, at second sight; nobody else's is touched; what has vanished is noted.
#[tokio::test]
async fn what_providers_have_is_compared_with_what_is_known() {
    let world = World::new(&[]).await;
    // The first cloud fails: its machines are undone, and their tokens stay on record.
    let mut life = world.life("create-deployment.start-up.act:refused:1");
    let made = life.deployments.create(&ann(), submission(template(1, "distribution: debian")), None).await.unwrap();
    assert!(life.wait_for_the_end(&world.store).await);
    let work = world.store.work_about(&made.id).await.unwrap().unwrap();
    let undone = work.steps.iter().find(|step| step.kind == "make-node" && step.cloud.as_deref() == Some("lab")).unwrap();
    let (lab, far) = (world.host.cloud("lab").unwrap(), world.host.cloud("far").unwrap());
    let mut order: crate::model::NodeSpec = serde_json::from_value(undone.input["spec"].clone()).unwrap();
    // It comes up after all, as after a provider's late answer.
    let late = undone.token.clone().unwrap();
    lab.create_node(&late, order.clone()).await.unwrap();
    order.name = "somebody's".into();
    lab.create_node("not-one-of-ours", order.clone()).await.unwrap();
    let pending = NewOperation {
        token: Some("under-way".into()),
        cloud: "lab".into(),
        ..life.deployments.0.operation(&ann(), OperationKind::CreateNode, json!({}), None)
    };
    let Begin::New(pending) = world.store.operation_begin(&pending, None).await.unwrap() else { panic!() };
    lab.create_node("under-way", order.clone()).await.unwrap();

    // A node that somebody has made without anything around it is nobody else's.
    let single = life.compute.start_node(&Principal::open(), "far", order, None).await.unwrap().node;

    let sweeper = |orphans| Sweeper::new(Arc::clone(&life.compute), orphans, Duration::from_secs(3600));
    let there =
        async || -> Vec<String> { lab.list_nodes().await.unwrap().iter().map(|node| node.token.clone().unwrap()).collect() };
    let reports = sweeper(Orphans::Report);
    for _ in 0..3 {
        assert_eq!(reports.once().await, Swept { nodes: 6, left: 1, ..Swept::default() });
    }
    let removes = sweeper(Orphans::Remove);
    assert_eq!(removes.once().await, Swept { nodes: 6, left: 1, ..Swept::default() }, "not at first sight");
    assert_eq!(removes.once().await, Swept { nodes: 6, removed: 1, ..Swept::default() });
    assert_eq!(removes.once().await, Swept { nodes: 5, ..Swept::default() });
    assert_eq!(there().await, ["not-one-of-ours", "under-way"]);
    // Once it has failed, what it made is nobody's.
    let failed = ostler_store::Outcome::Failed(json!({}));
    world.store.operation_finish(&pending.id, life.scheduler.owner(), &failed, None).await.unwrap();
    assert_eq!((removes.once().await.left, removes.once().await.removed), (1, 1));
    assert_eq!(there().await, ["not-one-of-ours"]);

    // A machine that somebody else has destroyed.
    let resources = life.deployments.resources(&ann(), &made.id, Some("tosca.nodes.Compute")).await.unwrap();
    far.destroy_node(resources[0].physical_id.as_deref().unwrap()).await.unwrap();
    assert_eq!(removes.once().await, Swept { nodes: 3, ..Swept::default() });
    assert_eq!(removes.once().await, Swept { nodes: 3, lost: 1, ..Swept::default() });
    assert_eq!(removes.once().await, Swept { nodes: 3, ..Swept::default() });
    let states = life.deployments.resources(&ann(), &made.id, Some("tosca.nodes.Compute")).await.unwrap();
    assert_eq!(states.iter().map(|r| r.state).collect::<Vec<_>>(), [ResourceState::Error, ResourceState::Started]);
    life.deployments.delete(&ann(), &made.id, false).await.unwrap();
    assert!(life.wait_for_the_end(&world.store).await);
    assert_eq!(there().await, ["not-one-of-ours"]);
    assert_eq!(far.get_node(&single.id).await.unwrap().token, single.token);
}
