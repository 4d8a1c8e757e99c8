#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
//! On the real dummy driver, with the real store in memory and an authority of its own.

mod certificates;
mod members;

use super::*;
use crate::billing::Tariff;
use crate::compute::tests::{CLOUD, compute};
use crate::identity::{Account, CertificateRole};
use crate::recovery::Recovery;
use crate::scheduler::fault::{Dice, Fault, Faults, a_while};
use ostler_store::{CreditKind, NewUser, OperationFilter, OperationState, ServiceNodeState};
use std::collections::BTreeSet;
use std::time::Instant;
use tokio::sync::mpsc;

/// One life of a host, with a customer.
struct House {
    services: Arc<Services>,
    compute: Arc<Compute>,
    recovery: Recovery,
    store: Store,
    ann: Principal,
    directory: Arc<tempfile::TempDir>,
    crashed: mpsc::UnboundedReceiver<()>,
}

const PLAIN: [(&str, &str); 1] = [("form", "plain")];

/// A house with one customer, who has so much credit.
async fn house(config: &[(&str, &str)], credit: i64) -> House {
    let compute = compute(&[&PLAIN[..], config].concat()).await;
    customer(&compute, "ann", credit).await;
    furnish(compute, Arc::new(tempfile::tempdir().unwrap()), "ann", "").await
}

async fn customer(compute: &Compute, name: &str, credit: i64) {
    let user = NewUser { username: name.into(), active: true, roles: vec!["customer".into()], credit, ..NewUser::default() };
    compute.store().user_create_with(&user, Some(applications::FIRST)).await.unwrap();
}

/// A host that starts on what there is.
async fn furnish(compute: Arc<Compute>, directory: Arc<tempfile::TempDir>, customer: &str, faults: &str) -> House {
    let store = compute.store().clone();
    let authority = Arc::new(Authority::open(&directory.path().join("ca"), store.clone()).await.unwrap());
    let identity = Arc::new(Identity::new(store.clone()));
    let tariff = Tariff { prices: [(CLOUD.to_owned(), [("small".to_owned(), 3)].into())].into(), ..Tariff::default() };
    let billing = Arc::new(Billing::new(store.clone(), tariff));
    let mut catalogue = sample_catalogue("debian-13", "tiny");
    catalogue.get_mut("hadoop").unwrap().machine.size = "small".into();
    let settings = Settings {
        catalogue,
        cloud: CLOUD.into(),
        director: "https://director.example:5555".parse().unwrap(),
        start_timeout: Duration::from_secs(60),
        registration: Registration::Open,
        max_initial_credit: 100,
        metering: true,
        archive: None,
        manager_port: 443,
        prefix: "test".into(),
    };
    let (told, crashed) = mpsc::unbounded_channel();
    let scheduler = Arc::new(Scheduler::new(store.clone()).with_faults(Faults::told(faults, told)));
    let compute = Compute::new(Arc::clone(compute.host()), Arc::clone(&scheduler), None);
    let policy = Policy { tries: 3, first_pause: 1_000, longest_pause: 2_000, stuck_pause: 5_000 };
    let services = Services::new(Arc::clone(&compute), identity, authority, billing, Arc::clone(&scheduler), settings);
    let services = Services { policy, ..services }.share();
    let user = store.user_by_name(customer).await.unwrap().unwrap();
    let account = Some(Account { id: user.id, number: user.number });
    let ann = Principal { account, ..Principal::new(customer, vec![Role::Customer], Scheme::Basic) };
    let recovery = Recovery::new(scheduler);
    House { services, compute, recovery, store, ann, directory, crashed }
}

fn order(type_name: &str) -> Order {
    Order { kind: ServiceKind::Service, type_name: type_name.into(), application: None, cloud: None }
}

fn nodes(count: usize) -> NodeOrder {
    NodeOrder { clouds: vec![None; count], member: None, context: vec![], startup_script: String::new() }
}

fn key(key: &str) -> Option<Key> {
    Some(Key { scope: "test", key: key.into() })
}

impl House {
    /// The process dies, and begins again.
    async fn again(&mut self) {
        self.services.scheduler.abort();
        *self = furnish(Arc::clone(&self.compute), Arc::clone(&self.directory), &self.ann.user, "").await;
        self.recovery.at_start().await.unwrap();
    }

    fn account(&self) -> &str {
        &self.ann.account.as_ref().unwrap().id
    }

    /// The manager of a service, as its certificate has it.
    fn manager(&self, service: i64) -> Principal {
        let scheme = Scheme::Certificate { role: CertificateRole::Manager, service: Some(service) };
        Principal { roles: vec![Role::ServiceManager], scheme, ..self.ann.clone() }
    }

    async fn balance(&self) -> i64 {
        self.store.credit_balance(self.account()).await.unwrap().unwrap()
    }

    /// The tokens of the nodes that the cloud has.
    async fn machines(&self) -> BTreeSet<String> {
        let listing = self.compute.nodes(&Principal::open(), CLOUD).await.unwrap();
        listing.items.iter().map(|node| node.token.clone().unwrap()).collect()
    }

    async fn rows(&self) -> Vec<ServiceNode> {
        self.store.service_nodes_of_user(self.account()).await.unwrap()
    }

    async fn kinds(&self) -> Vec<CreditKind> {
        let history = self.store.credit_history(self.account(), None, 1000).await.unwrap();
        history.into_iter().rev().map(|entry| entry.kind).collect()
    }

    /// Nothing is under way, nothing is set aside, and the cloud has the nodes that the store says and no others.
    async fn assert_settled(&self) {
        assert!(self.store.operations_pending(10).await.unwrap().is_empty());
        let rows = self.rows().await;
        assert!(rows.iter().all(|row| row.state == ServiceNodeState::Present && row.reservation.is_none()), "{rows:?}");
        assert_eq!(self.machines().await, rows.into_iter().map(|row| row.token).collect());
        assert_eq!(self.store.credit_audit().await.unwrap(), Vec::<String>::new());
        assert!(self.balance().await >= 0);
    }

    /// Waits until nothing is to be done any more, through as many lives as it takes.
    async fn quiet(&mut self) {
        let began = Instant::now();
        while !self.store.operations_pending(10).await.unwrap().is_empty() {
            if self.crashed.try_recv().is_ok() {
                self.again().await;
            }
            assert!(began.elapsed() < Duration::from_secs(120), "it does not come to its end");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Has something done to its end. Nothing where the process died over it, and whoever waited was told nothing.
    async fn has<T>(&mut self, action: impl Future<Output = Result<T, Error>>) -> Option<Result<T, Error>> {
        let result = tokio::select! {
            result = action => Some(result),
            _ = self.crashed.recv() => None,
        };
        if result.is_none() {
            self.again().await;
        }
        self.quiet().await;
        self.assert_settled().await;
        result
    }
}

#[tokio::test]
async fn a_service_from_its_start_to_its_end() {
    let house = house(&[], 20).await;
    let service = house.services.start(&house.ann, order("hadoop"), None).await.unwrap();
    assert_eq!((service.state, service.name.as_str()), (ServiceState::Running, "New hadoop service"));
    assert!(service.address.is_some());
    assert_eq!(house.balance().await, 17, "the first hour is paid");
    house.assert_settled().await;

    let manager = house.manager(service.id);
    let added = house.services.add_nodes(&manager, nodes(2), None).await.unwrap();
    assert_eq!((added.len(), house.balance().await), (2, 11));
    house.assert_settled().await;

    let one = [(None, added[0].node_id.clone().unwrap())];
    house.services.remove_nodes(&manager, &one).await.unwrap();
    assert!(matches!(house.services.remove_nodes(&manager, &one).await, Err(Error::NoNode(_))));
    assert_eq!(house.machines().await.len(), 2);
    house.assert_settled().await;

    house.services.stop(&house.ann, service.id).await.unwrap();
    assert!(house.machines().await.is_empty() && house.rows().await.is_empty());
    assert!(matches!(house.services.stop(&house.ann, service.id).await, Err(Error::NoService)));
    assert!(matches!(house.services.add_nodes(&manager, nodes(1), None).await, Err(Error::NoService)));
    let all = ostler_store::CertificateFilter { include_ended: true, ..Default::default() };
    let bundles = house.store.certificates(&all, None, 100).await.unwrap();
    assert_eq!(bundles.len(), 3);
    assert!(bundles.iter().all(|certificate| certificate.revoked_at.is_some()), "they outlived their service");
    assert_eq!(house.balance().await, 11);
    house.assert_settled().await;
}

#[tokio::test]
async fn what_fails_costs_nothing_and_leaves_nothing() {
    // (faults, credit, does a start fail)
    for (faults, credit, start_fails) in [
        (r#"{"create-node": {"quota": 1}}"#, 10, true),
        (r#"{"create-node": {"trap": 1}}"#, 10, true),
        ("{}", 0, true),
        ("{}", 1, false),
        (r#"{"create-node": {"lost": 1}}"#, 2, false),
    ] {
        let house = house(&[("faults", faults)], credit).await;
        let started = house.services.start(&house.ann, order("php"), None).await;
        assert_eq!(started.is_err(), start_fails, "{faults} {credit}: {started:?}");
        match started {
            Err(_) => {
                assert_eq!(house.balance().await, credit);
                assert!(house.machines().await.is_empty());
            }
            Ok(service) => {
                // One credit too few for both: neither is made.
                let refused = house.services.add_nodes(&house.manager(service.id), nodes(2), None).await;
                assert!(matches!(refused, Err(Error::NoCredit { .. })), "{refused:?}");
                assert_eq!((house.balance().await, house.machines().await.len()), (credit - 1, 1));
            }
        }
        house.assert_settled().await;
    }
}

#[tokio::test]
async fn an_order_is_for_all_nodes_or_none() {
    let house = house(&[("quota_nodes", "3")], 20).await;
    let service = house.services.start(&house.ann, order("php"), None).await.unwrap();
    let manager = house.manager(service.id);
    assert!(house.services.add_nodes(&manager, nodes(3), None).await.is_err());
    assert_eq!((house.balance().await, house.machines().await.len()), (19, 1));
    house.assert_settled().await;
    assert_eq!(house.services.add_nodes(&manager, nodes(2), None).await.unwrap().len(), 2);
    house.assert_settled().await;
}

#[tokio::test]
async fn a_key_stands_for_one_request() {
    let house = house(&[], 20).await;
    let start = |type_name: &'static str, k: &'static str| {
        let (services, ann) = (Arc::clone(&house.services), house.ann.clone());
        async move { services.start(&ann, order(type_name), key(k)).await.map(|service| service.id) }
    };
    let first = start("php", "k1").await.unwrap();
    assert_eq!(start("php", "k1").await.unwrap(), first);
    assert!(matches!(start("mysql", "k1").await, Err(Error::KeyReused)));
    let racing = futures::future::join_all((0..8).map(|_| start("php", "k2"))).await;
    let ids: BTreeSet<_> = racing.iter().filter_map(|result| result.as_ref().ok()).collect();
    assert_eq!(ids.len(), 1);
    assert!(racing.iter().all(|result| matches!(result, Ok(_) | Err(Error::UnderWay))), "{racing:?}");

    let manager = house.manager(first);
    let added = house.services.add_nodes(&manager, nodes(1), key("k3")).await.unwrap();
    let again = house.services.add_nodes(&manager, nodes(1), key("k3")).await.unwrap();
    assert_eq!(added[0].id, again[0].id);
    assert!(matches!(house.services.add_nodes(&manager, nodes(2), key("k3")).await, Err(Error::KeyReused)));
    assert_eq!((house.machines().await.len(), house.balance().await), (3, 17));
    house.assert_settled().await;
}

#[tokio::test]
async fn one_service_is_nobody_elses() {
    let house = house(&[], 20).await;
    let service = house.services.start(&house.ann, order("php"), None).await.unwrap();
    let other = house.services.start(&house.ann, order("mysql"), None).await.unwrap();
    let bob = NewUser { username: "bob".into(), active: true, credit: 5, ..NewUser::default() };
    let bob = house.store.user_create_with(&bob, Some(applications::FIRST)).await.unwrap();
    let account = Some(Account { id: bob.id, number: bob.number });
    let bob = Principal { user: "bob".into(), account, ..house.ann.clone() };
    assert!(matches!(house.services.stop(&bob, service.id).await, Err(Error::NoService)));
    assert!(matches!(house.services.rename(&bob, service.id, "mine").await, Err(Error::NoService)));
    assert!(house.services.list(&bob, None).await.unwrap().is_empty());
    assert!(house.services.resources(&bob).await.unwrap().is_empty());
    // A certificate of hers for a service that is not hers, a manager of one service with nodes of another.
    let forged = Principal { scheme: house.manager(service.id).scheme, roles: vec![Role::ServiceManager], ..bob.clone() };
    assert!(matches!(house.services.add_nodes(&forged, nodes(1), None).await, Err(Error::NoService)));
    assert!(matches!(house.services.terminate(&forged).await, Err(Error::NoService)));
    let node = house.services.add_nodes(&house.manager(service.id), nodes(1), None).await.unwrap();
    let theft = [(None, node[0].node_id.clone().unwrap())];
    assert!(matches!(house.services.remove_nodes(&house.manager(other.id), &theft).await, Err(Error::NoNode(_))));
    // Not even its own manager: that goes with the service.
    let itself = [(None, service.node_id.clone().unwrap())];
    assert!(matches!(house.services.remove_nodes(&house.manager(service.id), &itself).await, Err(Error::NoNode(_))));
    // What a manager's certificate does not open, and what a user's does not.
    assert!(matches!(house.services.stop(&house.manager(service.id), service.id).await, Err(Error::Forbidden)));
    assert!(matches!(house.services.add_nodes(&house.ann, nodes(1), None).await, Err(Error::Forbidden)));
    assert_eq!(house.machines().await.len(), 3);
    house.assert_settled().await;
}

/// For every step of every workflow, each fault, once and twice, doing and undoing: the cloud has the nodes that services have, what
/// is there is paid for and nothing else, and whoever has a key gets what he ordered.
#[tokio::test]
async fn every_step_of_every_workflow_breaks() {
    const START: &str = "start-service";
    let compute = compute(&PLAIN).await;
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let mut steps: Vec<(&str, &str)> = Vec::new();
    for kind in [OperationKind::StartService, OperationKind::AddNodes, OperationKind::RemoveNodes, OperationKind::StopService] {
        customer(&compute, kind.as_str(), 1_000).await;
        let house = furnish(Arc::clone(&compute), Arc::clone(&directory), kind.as_str(), "").await;
        let workflow = house.services.scheduler.workflow(kind).unwrap();
        steps.extend(workflow.kinds().iter().map(|step| (kind.as_str(), *step)));
    }
    assert_eq!(steps.len(), 6);
    let (mut runs, mut idle) = (0, BTreeSet::new());
    for (workflow, step) in steps {
        for fault in Fault::ALL {
            for (times, direction) in [(1, "act"), (2, "act"), (1, "undo"), (2, "undo")] {
                let mut plot = format!("{workflow}.{step}.{direction}:{}:{times}", fault.as_str());
                if direction == "undo" {
                    // So that there is something to be undone; a removal never is.
                    if !matches!(workflow, START | "add-nodes") {
                        continue;
                    }
                    plot += &format!(",{workflow}.address.act:refused:2");
                }
                for keyed in [false, true] {
                    runs += 1;
                    let house = furnish(Arc::clone(&compute), Arc::clone(&directory), workflow, &plot).await;
                    idle.extend(one_life(house, workflow, &plot, keyed.then(|| runs.to_string())).await);
                }
            }
        }
    }
    assert_eq!(runs, (4 * 4 + 2 * 2) * 5 * 2);
    assert!(idle.is_empty(), "each fault struck, but those at {idle:?}");
}

/// The same with several faults at once, as long as there is time.
#[tokio::test]
#[ignore = "it goes on for OSTLER_TEST_SECONDS, a minute without it"]
async fn steps_break_at_random() {
    let compute = compute(&PLAIN).await;
    let directory = Arc::new(tempfile::tempdir().unwrap());
    customer(&compute, "ann", 1_000_000).await;
    let house = furnish(Arc::clone(&compute), Arc::clone(&directory), "ann", "").await;
    let kinds = [OperationKind::StartService, OperationKind::AddNodes, OperationKind::RemoveNodes, OperationKind::StopService];
    let workflows = kinds.map(|kind| (kind.as_str(), house.services.scheduler.workflow(kind).unwrap().kinds()));
    let (mut dice, began, mut runs) = (Dice::new(), Instant::now(), 0_u32);
    while began.elapsed() < a_while() {
        let (workflow, steps) = workflows[dice.throw(workflows.len())];
        let plot = dice.plot(workflow, steps);
        runs += 1;
        let house = furnish(Arc::clone(&compute), Arc::clone(&directory), "ann", &plot).await;
        // A comma says that more than one thing may go wrong.
        one_life(house, workflow, &format!("{plot},"), (dice.throw(2) == 0).then(|| runs.to_string())).await;
    }
    println!("{runs} lives");
}

/// A service's whole life, in which this goes wrong. Returns what of it did not.
async fn one_life(mut house: House, workflow: &str, plot: &str, key: Option<String>) -> Vec<String> {
    let key = || key.clone().map(|key| Key { scope: "test", key });
    let plot = format!("{plot} {:?}", key());
    let mut balance = house.balance().await;
    let (services, ann) = (Arc::clone(&house.services), house.ann.clone());
    let started = house.has(services.start(&ann, order("php"), key())).await;
    let running = house.services.list(&ann, None).await.unwrap();
    match (&started, key()) {
        (Some(Ok(service)), _) => assert_eq!(running, std::slice::from_ref(service), "{plot}"),
        (Some(Err(_)), _) => assert!(running.is_empty(), "{plot}"),
        // Whoever can ask again gets what he ordered, unless it failed.
        (None, Some(key)) => match house.services.start(&ann, order("php"), Some(key)).await {
            Ok(service) => assert_eq!(running, [service], "{plot}"),
            Err(_) => assert!(running.is_empty() && plot.contains(','), "{plot}"),
        },
        (None, None) => assert!(running.len() <= 1, "{plot}"),
    }
    balance -= i64::try_from(running.len()).unwrap();
    assert_eq!(house.balance().await, balance, "{plot}");
    if let Some(service) = running.first() {
        let manager = house.manager(service.id);
        let count = if workflow == "add-nodes" { 2 } else { 1 };
        let services = Arc::clone(&house.services);
        let added = house.has(services.add_nodes(&manager, nodes(count), None)).await;
        let agents = house.machines().await.len() - 1;
        match added {
            Some(Ok(rows)) => assert_eq!((rows.len(), agents), (count, count), "{plot}"),
            Some(Err(_)) => assert_eq!(agents, 0, "{plot}"),
            // All or none, whether it was told or not.
            None => assert!(agents == 0 || agents == count, "{plot}: {agents}"),
        }
        balance -= i64::try_from(agents).unwrap();
        assert_eq!(house.balance().await, balance, "{plot}");
        let agent = house.rows().await.into_iter().find(|row| row.role == ostler_store::NodeRole::Agent);
        if let Some(agent) = agent.filter(|_| workflow == "remove-nodes") {
            let services = Arc::clone(&house.services);
            if let Some(removed) = house.has(services.remove_nodes(&manager, &[(None, agent.node_id.unwrap())])).await {
                removed.unwrap();
            }
            assert_eq!(house.machines().await.len(), 1, "{plot}");
        }
        let services = Arc::clone(&house.services);
        if let Some(stopped) = house.has(services.stop(&ann, service.id)).await {
            stopped.unwrap();
        }
    }
    assert!(house.machines().await.is_empty() && house.rows().await.is_empty(), "{plot}");
    assert_eq!((house.balance().await, house.services.list(&ann, None).await.unwrap()), (balance, vec![]), "{plot}");
    house.services.scheduler.idle_faults()
}

#[tokio::test]
async fn running_nodes_are_paid_for_and_no_longer_than_credit_lasts() {
    let house = house(&[], 5).await;
    let old = house.services.start(&house.ann, order("php"), None).await.unwrap();
    let young = house.services.start(&house.ann, order("mysql"), None).await.unwrap();
    assert_eq!(house.balance().await, 3);
    let hour = house.services.billing.tariff().period_micros();
    let start = ostler_store::now();
    assert_eq!(house.services.meter_once(start).await.unwrap(), 0, "nothing is due");
    assert_eq!(house.services.meter_once(start + hour).await.unwrap(), 2);
    assert_eq!(house.services.meter_once(start + hour).await.unwrap(), 0, "once");
    assert_eq!(house.balance().await, 1);
    // The last credit is the older one's.
    assert_eq!(house.services.meter_once(start + 2 * hour).await.unwrap(), 1);
    let left: Vec<i64> = house.services.list(&house.ann, None).await.unwrap().iter().map(|service| service.id).collect();
    assert_eq!((left, house.balance().await), (vec![old.id], 0));
    assert_eq!(house.machines().await.len(), 1);
    house.assert_settled().await;
    assert_eq!(house.services.meter_once(start + 3 * hour).await.unwrap(), 0);
    assert!(house.machines().await.is_empty());
    house.assert_settled().await;
    let kinds = house.kinds().await;
    assert_eq!(kinds.iter().filter(|kind| **kind == CreditKind::Charge).count(), 3, "{kinds:?}");
    // Never silently, and in this order.
    let events = house.store.events_after(0, 1000).await.unwrap();
    let told = ["credit.exhausted", "service.stop.intent", "service.stop.done"];
    let events = events.iter().filter(|event| told.contains(&event.kind.as_str()));
    let shown: Vec<_> = events.map(|event| (event.kind.clone(), event.subject.clone(), event.data["balance"].as_i64())).collect();
    let of = |service: &Service| told.map(|kind| (kind.to_owned(), service.id.to_string(), (kind == told[0]).then_some(0)));
    assert_eq!(shown, [of(&young), of(&old)].concat());
}

/// Where others keep account, the host does not.
#[tokio::test]
async fn without_metering_nobody_is_charged_by_the_host() {
    use futures::FutureExt;
    let house = house(&[], 5).await;
    let like = |metering: bool| {
        let now = &house.services;
        let settings = Settings { metering, ..now.settings.clone() };
        let (identity, authority, billing) = (Arc::clone(&now.identity), Arc::clone(&now.authority), Arc::clone(&now.billing));
        Arc::new(Services::new(Arc::clone(&now.compute), identity, authority, billing, Arc::clone(&now.scheduler), settings))
    };
    assert!(like(false).meter().now_or_never().is_some(), "there is nothing to do");
    assert!(like(true).meter().now_or_never().is_none(), "it goes on");
}

#[tokio::test]
async fn what_a_manager_paid_in_advance_is_not_charged_again() {
    let house = house(&[], 10).await;
    let service = house.services.start(&house.ann, order("php"), None).await.unwrap();
    let manager = house.manager(service.id);
    for _ in 0..2 {
        assert_eq!(house.services.prepay(&manager, 2, Some("once")).await.unwrap(), 7, "the same reference takes it once");
    }
    assert!(matches!(house.services.prepay(&manager, 8, None).await, Err(Error::NoCredit { balance: 7 })));
    assert!(matches!(house.services.prepay(&manager, 0, None).await, Err(Error::Invalid(_))));
    let (start, hour) = (ostler_store::now(), house.services.billing.tariff().period_micros());
    for (hours, balance) in [(1, 7), (2, 7), (3, 6)] {
        house.services.meter_once(start + hours * hour).await.unwrap();
        assert_eq!(house.balance().await, balance, "after {hours} h");
    }
    house.assert_settled().await;
}

#[tokio::test]
async fn a_node_that_somebody_else_destroyed_is_not_paid_for() {
    let house = house(&[], 10).await;
    let service = house.services.start(&house.ann, order("php"), None).await.unwrap();
    let node = house.services.add_nodes(&house.manager(service.id), nodes(1), None).await.unwrap().remove(0);
    let cloud = house.compute.cloud(CLOUD).unwrap();
    let (start, hour) = (ostler_store::now(), house.services.billing.tariff().period_micros());
    cloud.destroy_node(&node.node_id.unwrap()).await.unwrap();
    assert_eq!(house.services.meter_once(start + hour).await.unwrap(), 1);
    house.assert_settled().await;
    // Without its manager a service is none.
    cloud.destroy_node(&service.node_id.unwrap()).await.unwrap();
    assert_eq!(house.services.meter_once(start + 2 * hour).await.unwrap(), 0);
    assert!(house.services.list(&house.ann, None).await.unwrap().is_empty());
    assert_eq!(house.balance().await, 7);
    house.assert_settled().await;
}

/// Whatever fails in between and however often: no node without a record, no record without an end, no credit from nowhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_whatever_fails() {
    const FAULTS: &str = r#"{
        "create-node": {"lost": 0.15, "quota": 0.1, "transient": 0.1}, "destroy-node": {"lost": 0.1, "transient": 0.1},
        "find-node": {"transient": 0.05}, "get-node": {"transient": 0.05}
    }"#;
    const GIVEN: i64 = 60;
    for seed in 1..=4_u64 {
        let text = seed.to_string();
        let mut house = house(&[("faults", FAULTS), ("seed", &text)], GIVEN).await;
        let mut state = seed;
        let mut dice = |sides: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % sides
        };
        let (mut now, hour) = (ostler_store::now(), house.services.billing.tariff().period_micros());
        for step in 0..24 {
            let running = house.services.list(&house.ann, None).await.unwrap();
            let one = (!running.is_empty()).then(|| running[dice(running.len())].clone());
            let what = dice(6);
            let result = match (what, one) {
                (0 | 1, _) | (_, None) => house.services.start(&house.ann, order("php"), None).await.map(drop),
                (2, Some(one)) => house.services.add_nodes(&house.manager(one.id), nodes(1 + dice(3)), None).await.map(drop),
                (3, Some(one)) => {
                    let rows = house.store.service_nodes(one.id).await.unwrap();
                    let row = rows.into_iter().find(|row| row.role == ostler_store::NodeRole::Agent && row.node_id.is_some());
                    match row {
                        Some(row) => {
                            let node = [(None, row.node_id.unwrap())];
                            house.services.remove_nodes(&house.manager(one.id), &node).await
                        }
                        None => Ok(()),
                    }
                }
                (4, Some(one)) => house.services.stop(&house.ann, one.id).await,
                (_, Some(_)) => {
                    now += hour;
                    house.services.meter_once(now).await.map(drop)
                }
            };
            let faults = house.store.credit_audit().await.unwrap();
            assert!(faults.is_empty(), "seed {seed}, step {step} ({what}, {result:?}): {faults:?}");
            assert!(house.balance().await >= 0, "seed {seed}, step {step} ({what}, {result:?})");
            let rows: BTreeSet<String> = house.rows().await.into_iter().map(|row| row.token).collect();
            let machines = loop {
                // The look itself can be what fails.
                if let Ok(listing) = house.compute.nodes(&Principal::open(), CLOUD).await {
                    break listing.items.iter().map(|node| node.token.clone().unwrap()).collect::<BTreeSet<_>>();
                }
            };
            assert!(machines.is_subset(&rows), "seed {seed}, step {step} ({what}, {result:?}): {machines:?} {rows:?}");
            if dice(4) == 0 {
                house.again().await;
            }
        }
        house.quiet().await;
        house.assert_settled().await;
        for service in house.services.list(&house.ann, None).await.unwrap() {
            match house.services.stop(&house.ann, service.id).await {
                Ok(()) | Err(Error::Uncertain { .. }) => {}
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
        house.quiet().await;
        house.assert_settled().await;
        assert!(house.machines().await.is_empty() && house.rows().await.is_empty(), "seed {seed}");
        let operations = house.store.operations_list(&OperationFilter::default(), None, 1000).await.unwrap();
        assert!(operations.iter().all(|operation| operation.state != OperationState::Pending));
        let entries = house.store.credit_history(house.account(), None, 1000).await.unwrap();
        let open = |kind| entries.iter().filter(|entry| entry.kind == kind).count();
        let closed = open(CreditKind::Settle) + open(CreditKind::Release);
        assert_eq!(open(CreditKind::Reserve), closed, "seed {seed}: a reservation is closed once");
    }
}
