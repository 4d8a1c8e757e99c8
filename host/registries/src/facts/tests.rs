#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::cmdb::Provider;
use crate::error::{Problem, Registry};
use crate::monitoring::Metric;
use crate::slam::{Preference, Priority, Restrictions, Target};

/// 2016-01-20T00:00:00Z
const NOW: i64 = 1_453_248_000_000_000;

fn sla(id: &str, provider: &str, service: &str) -> Sla {
    Sla {
        customer: Some("c".into()),
        provider: provider.into(),
        start_date: Some("11.01.2016+15:50:00".into()),
        end_date: Some("11.02.2016+15:50:00".into()),
        services: vec![SlaService { kind: Some("compute".into()), service_id: Some(service.into()), targets: Vec::new() }],
        id: id.into(),
    }
}

fn listed<T>(items: Vec<T>) -> Listed<T> {
    Listed { items, left_out: Vec::new() }
}

fn agreements(slas: Vec<Sla>) -> Agreements {
    let priority = |sla: &Sla| Priority {
        sla_id: Some(sla.id.clone()),
        service_id: sla.services.first().and_then(|service| service.service_id.clone()),
        weight: None,
    };
    let preference = Preference { service_type: Some("compute".into()), priority: slas.iter().map(priority).collect() };
    Agreements { preferences: listed(vec![preference]), slas: listed(slas) }
}

fn service(id: &str) -> Service {
    Service {
        id: id.into(),
        kind: ServiceKind::Compute,
        service_type: Some("org.openstack.nova".into()),
        in_production: true,
        ..Service::default()
    }
}

fn offered(service: Service) -> ServiceOffer {
    ServiceOffer { service, tenancy: Tenancy::NotNeeded, images: Arc::default(), flavors: Arc::default() }
}

fn offer(provider: &str, services: Vec<ServiceOffer>) -> Offer {
    let known = Provider { id: provider.into(), name: format!("Name of {provider}"), country: None };
    Offer { provider: provider.into(), known: Ok(Arc::new(known)), services, left_out: Vec::new() }
}

fn unreachable() -> Error {
    Error { registry: Registry::Cmdb, problem: Problem::Refused(500) }
}

/// One provider `p` with one service `s`, which is in unless something is changed.
struct Scene {
    agreements: Option<Agreements>,
    offers: Option<Vec<Offer>>,
    machines: BTreeMap<String, Vec<Machine>>,
    ranks: Option<Vec<Rank>>,
    wish: Wish,
}

impl Scene {
    fn new() -> Self {
        Self {
            agreements: Some(agreements(vec![sla("a", "p", "s")])),
            offers: Some(vec![offer("p", vec![offered(service("s"))])]),
            machines: BTreeMap::new(),
            ranks: None,
            wish: Wish { at: Some(NOW), issuer: Some("https://iam.example/".into()), ..Wish::default() },
        }
    }

    fn sla(&mut self) -> &mut Sla {
        &mut self.agreements.as_mut().unwrap().slas.items[0]
    }

    fn offered(&mut self) -> &mut ServiceOffer {
        &mut self.offers.as_mut().unwrap()[0].services[0]
    }

    fn target(&mut self, kind: &str, restrictions: Restrictions) {
        self.sla().services[0].targets.push(Target { kind: Some(kind.into()), unit: None, restrictions: Some(restrictions) });
    }

    fn demand(&mut self, kind: &str, instance: i64, user: i64, total: i64) {
        self.wish.demand.insert(kind.into(), Demand { instance, user, total });
    }

    fn metric(&mut self, machine: &str, name: &str, value: Option<f64>, unit: &str) {
        let metric = Metric { name: name.into(), value, unit: Some(unit.into()), ..Metric::default() };
        let machine = Machine { name: machine.into(), category: None, metrics: vec![metric] };
        self.machines.entry("p".into()).or_default().push(machine);
    }

    fn facts(&self) -> Vec<Fact> {
        let said = Said {
            agreements: self.agreements.as_ref(),
            offers: self.offers.as_deref(),
            machines: &self.machines,
            ranks: self.ranks.as_deref(),
        };
        facts(&said, &self.wish)
    }

    fn fact(&self) -> Fact {
        let mut facts = self.facts();
        assert_eq!(facts.len(), 1, "{facts:?}");
        facts.remove(0)
    }
}

type Change = fn(&mut Scene);

#[test]
fn reasons() {
    let rank = |ranked, reason: Option<&str>| Rank {
        provider: "p".into(),
        service: "s".into(),
        rank: 3,
        ranked,
        total_score: 0.0,
        error_reason: reason.map(str::to_owned),
    };
    let cases: &[(&str, Change, &[&str])] = &[
        ("as it is", |_| {}, &[]),
        ("a policy names it", |s| s.wish.agreements = ["a".into()].into(), &[]),
        (
            "a policy names another",
            |s| s.wish.agreements = ["b".into()].into(),
            &["the agreements of the placement policy do not cover it"],
        ),
        ("expired", |s| s.sla().end_date = Some("19.01.2016+23:59:59".into()), &["the agreement a ended on 19.01.2016+23:59:59"]),
        ("ends today", |s| s.sla().end_date = Some("2016-01-20".into()), &[]),
        ("ended yesterday", |s| s.sla().end_date = Some("2016-01-19".into()), &["the agreement a ended on 2016-01-19"]),
        ("begins later", |s| s.sla().start_date = Some("2016-01-21".into()), &["the agreement a begins on 2016-01-21"]),
        ("dates do not count", |s| (s.sla().end_date, s.wish.at) = (Some("2015-01-01".into()), None), &[]),
        ("an unknown date", |s| s.sla().end_date = Some("soon".into()), &[]),
        ("no dates", |s| (s.sla().end_date, s.sla().start_date) = (None, None), &[]),
        (
            "more than the customer may have",
            |s| {
                s.target("num_cpus", Restrictions { total_limit: Some(10), user_limit: Some(10), ..Restrictions::default() });
                s.demand("num_cpus", 2, 2, 11);
            },
            &["the agreement a allows 10 of num_cpus, and 11 are needed"],
        ),
        (
            "more than a user may have",
            |s| {
                s.target("num_cpus", Restrictions { total_limit: Some(10), user_limit: Some(4), ..Restrictions::default() });
                s.demand("num_cpus", 2, 5, 10);
            },
            &["the agreement a allows 4 of num_cpus, and 5 are needed"],
        ),
        (
            "more than an instance may have",
            |s| {
                s.target("mem_size", Restrictions { instance_limit: Some(4), ..Restrictions::default() });
                s.demand("mem_size", 5, 99, 99);
            },
            &["the agreement a allows 4 of mem_size, and 5 are needed"],
        ),
        (
            "used up",
            |s| {
                s.target("public_ip", Restrictions { total_limit: Some(0), ..Restrictions::default() });
                s.demand("public_ip", 1, 1, 1);
            },
            &["the agreement a allows 0 of public_ip, and 1 are needed"],
        ),
        (
            "exactly the limit, no limit, a guarantee alone, and what is not needed",
            |s| {
                s.target("num_cpus", Restrictions { total_limit: Some(10), ..Restrictions::default() });
                s.target("mem_size", Restrictions { total_limit: Some(-1), ..Restrictions::default() });
                s.target("disk_size", Restrictions { total_guaranteed: Some(1), ..Restrictions::default() });
                s.target("public_ip", Restrictions { total_limit: Some(0), ..Restrictions::default() });
                for kind in ["num_cpus", "mem_size", "disk_size"] {
                    s.demand(kind, 10, 10, 10);
                }
            },
            &[],
        ),
        ("not in the CMDB", |s| s.offers = Some(vec![offer("p", Vec::new())]), &["the CMDB does not list it"]),
        ("no answer about it", |s| s.offers = Some(Vec::new()), &["the CMDB does not list it"]),
        (
            "the CMDB fails",
            |s| s.offers.as_mut().unwrap()[0] = Offer { known: Err(unreachable()), ..offer("p", Vec::new()) },
            &["CMDB: refused with the status 500"],
        ),
        (
            "the CMDB fails for the service",
            |s| s.offered().tenancy = Tenancy::Unknown(unreachable()),
            &["CMDB: refused with the status 500"],
        ),
        ("no tenant", |s| s.offered().tenancy = Tenancy::None, &["the organisation has no tenant there"]),
        ("not in production", |s| s.offered().service.in_production = false, &["it is not in production"]),
        ("another issuer", |s| s.offered().service.iam_enabled = true, &["it does not take tokens of the user's issuer"]),
        (
            "the issuer, but for a slash",
            |s| {
                s.offered().service.iam_enabled = true;
                s.offered().service.issuers = vec!["https://iam.example".into()];
            },
            &[],
        ),
        ("no tokens", |s| (s.offered().service.iam_enabled, s.wish.issuer) = (true, None), &[]),
        (
            "own credentials",
            |s| s.offered().service.service_type = Some("com.amazonaws.ec2".into()),
            &["it needs credentials of the user's own, and no placement policy asks for it"],
        ),
        (
            "own credentials, asked for",
            |s| {
                s.offered().service.service_type = Some("com.amazonaws.ec2".into());
                s.wish.agreements = ["a".into()].into();
            },
            &[],
        ),
        (
            "down",
            |s| s.metric("s", "OCCI Create VM availability", Some(0.0), "bit"),
            &["it does not work: OCCI Create VM availability"],
        ),
        (
            "the whole provider is down",
            |s| s.metric("p", "General OCCI API Availability", Some(0.0), ""),
            &["it does not work: General OCCI API Availability"],
        ),
        (
            "the provider is down, the service is not",
            |s| {
                s.metric("p", "General OCCI API Availability", Some(0.0), "bit");
                s.metric("s", "General OCCI API Availability", Some(1.0), "bit");
            },
            &[],
        ),
        ("not measured", |s| s.metric("s", "OCCI Create VM availability", None, "bit"), &[]),
        ("deleting is down", |s| s.metric("s", "OCCI Delete VM Availability", Some(0.0), "bit"), &[]),
        ("fast", |s| s.metric("s", "OCCI CreateVM Response Time", Some(0.0), "ms"), &[]),
        ("another service is down", |s| s.metric("t", "OCCI Create VM availability", Some(0.0), "bit"), &[]),
        ("without SLAM", |s| s.agreements = None, &[]),
        (
            "a policy without SLAM",
            |s| (s.agreements, s.wish.agreements) = (None, ["a".into()].into()),
            &["the agreements of the placement policy do not cover it"],
        ),
        ("without the CMDB", |s| s.offers = None, &[]),
        ("not among the ranked", |s| s.ranks = Some(Vec::new()), &["it was not ranked"]),
        (
            "everything at once",
            |s| {
                s.sla().end_date = Some("2016-01-19".into());
                s.offered().tenancy = Tenancy::None;
                s.offered().service.in_production = false;
                s.metric("s", "General API Availability", Some(0.0), "bit");
                s.ranks = Some(Vec::new());
            },
            &[
                "the agreement a ended on 2016-01-19",
                "the organisation has no tenant there",
                "it is not in production",
                "it does not work: General API Availability",
            ],
        ),
    ];
    for (what, change, expected) in cases {
        let mut scene = Scene::new();
        change(&mut scene);
        let fact = scene.fact();
        let reasons: Vec<_> = fact.out.iter().map(ToString::to_string).collect();
        assert_eq!(reasons, *expected, "{what}");
        assert_eq!(fact.is_in(), expected.is_empty());
    }
    for (rank, expected, reason) in [
        (rank(true, None), Some(3), None),
        (rank(false, None), None, Some("it was not ranked".to_owned())),
        (rank(false, Some("no\r\nmetrics")), None, Some("it was not ranked: no  metrics".to_owned())),
        (rank(false, Some(&"x".repeat(1_000))), None, Some(format!("it was not ranked: {}…", "x".repeat(160)))),
    ] {
        let mut scene = Scene::new();
        scene.ranks = Some(vec![rank]);
        let fact = scene.fact();
        assert_eq!((fact.rank, fact.out.first().map(ToString::to_string)), (expected, reason));
    }
}

#[test]
fn one_good_agreement_of_several_is_enough() {
    let mut scene = Scene::new();
    let mut old = sla("old", "p", "s");
    old.end_date = Some("2016-01-01".into());
    let other = sla("other", "p", "t");
    let elsewhere = sla("elsewhere", "q", "s");
    scene.agreements = Some(agreements(vec![old, sla("new", "p", "s"), sla("newer", "p", "s"), other, elsewhere]));
    scene.offers = None;
    let facts = scene.facts();
    let shown: Vec<_> = facts
        .iter()
        .map(|fact| (fact.provider.as_str(), fact.service_id.as_str(), fact.agreements.join(" "), fact.priority, fact.is_in()))
        .collect();
    let expected = [
        // By position in the preferences, since there are no weights.
        ("p", "s", "new newer".to_owned(), 1.0 / 2.0, true),
        ("p", "t", "other".to_owned(), 1.0 / 4.0, true),
        ("q", "s", "elsewhere".to_owned(), 1.0 / 5.0, true),
    ];
    assert_eq!(shown, expected);
}

#[test]
fn weights_win_over_the_order() {
    let mut scene = Scene::new();
    let priorities = &mut scene.agreements.as_mut().unwrap().preferences.items[0].priority;
    for (weight, expected) in [(Some(0.25), 0.25), (Some(7.5), 7.5), (Some(-3.0), 0.0), (None, 1.0)] {
        priorities[0].weight = weight;
        let agreements = Agreements {
            preferences: listed(vec![Preference { service_type: None, priority: priorities.clone() }]),
            ..Agreements::default()
        };
        assert!((agreements.priority("a", "s") - expected).abs() < f64::EPSILON);
    }
    assert!(scene.agreements.unwrap().priority("a", "t").abs() < f64::EPSILON, "what is not preferred comes last");
}

#[test]
fn storage_needs_no_agreement_and_compute_does() {
    let mut scene = Scene::new();
    let storage = Service { kind: ServiceKind::Storage, ..service("disk") };
    scene.offers = Some(vec![offer("p", vec![offered(service("s")), offered(service("t")), offered(storage)])]);
    let facts = scene.facts();
    let out: Vec<_> = facts.iter().map(|fact| (fact.service_id.as_str(), fact.out.as_slice())).collect();
    assert_eq!(out, [("disk", &[][..]), ("s", &[]), ("t", &[Reason::NoAgreement])]);
    assert_eq!(facts[1].provider_name, "Name of p");
}

#[test]
fn a_fact_finds_images_and_flavors() {
    let mut scene = Scene::new();
    let image = Image { id: "i".into(), image_id: Some("at-i".into()), name: Some("ubuntu:22.04".into()), ..Image::default() };
    let flavor = Flavor { id: "f".into(), vcpus: Some(2), ..Flavor::default() };
    scene.offered().images = Arc::new(listed(vec![image]));
    scene.offered().flavors = Arc::new(listed(vec![flavor]));
    let fact = scene.fact();
    let wish = ImageWish { name: Some("ubuntu".into()), ..ImageWish::default() };
    assert_eq!(fact.image(&wish).and_then(|found| found.id()), Some("at-i"));
    assert_eq!(fact.flavor(&FlavorWish { vcpus: Some(3), ..FlavorWish::default() }), None);
    assert_eq!(fact.flavor(&FlavorWish { vcpus: Some(2), ..FlavorWish::default() }).map(|flavor| flavor.id.as_str()), Some("f"));
}
