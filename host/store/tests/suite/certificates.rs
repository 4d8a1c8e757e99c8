use std::sync::Arc;

use ostler_store::{Certificate, CertificateFilter, Error, NewCertificate, NewUser, ServiceError, ServiceKind, UserChange, now};

use crate::fixture::{Fixture, race};
use crate::world::{World, begun, event, succeeded};

const DAY: i64 = 86_400_000_000;

pub(crate) fn new(serial: &str, user: Option<&str>, service: Option<i64>) -> NewCertificate {
    NewCertificate {
        serial: serial.into(),
        role: if service.is_some() { "manager" } else { "user" }.into(),
        user_id: user.map(Into::into),
        service_id: service,
        locator: service.map(|service| service + 100),
        subject: "CN=alice".into(),
        pem: "-----BEGIN CERTIFICATE-----".into(),
        not_before: now() - DAY,
        not_after: now() + DAY,
        issued_by: "alice".into(),
    }
}

async fn user(f: &Fixture, name: &str) -> ostler_store::User {
    let new = NewUser { username: name.into(), active: true, roles: vec!["b".into(), "a".into()], ..NewUser::default() };
    f.store.user_create(&new).await.unwrap()
}

pub(crate) async fn life(f: Arc<Fixture>) {
    let store = &f.store;
    let alice = user(&f, "alice").await;
    let own = store.certificate_add(&new("01", Some(&alice.id), None)).await.unwrap();
    let service = store.certificate_add(&new("02", Some(&alice.id), Some(7))).await.unwrap();
    let server = store.certificate_add(&new("03", None, None)).await.unwrap();
    assert_eq!((service.service_id, service.locator, service.revoked_at), (Some(7), Some(107), None));
    assert_eq!(store.certificate_get("02").await.unwrap(), Some(service.clone()));
    assert_eq!(store.certificate_find("01").await.unwrap(), Some((own, Some(alice.clone()))));
    assert_eq!(store.certificate_find("03").await.unwrap(), Some((server, None)));
    assert_eq!(store.certificate_find("04").await.unwrap(), None);
    assert_eq!(store.certificate_get("04").await.unwrap(), None);
    // It is found whatever happened to it and to its user.
    store.certificate_revoke("02", "superseded").await.unwrap();
    let change = UserChange { active: Some(false), roles: Some(vec![]), ..UserChange::default() };
    store.user_change(&alice.id, &change).await.unwrap();
    let (found, user) = store.certificate_find("02").await.unwrap().unwrap();
    assert_eq!(found.reason.as_deref(), Some("superseded"));
    assert_eq!(user.map(|user| (user.active, user.roles)), Some((false, vec![])));

    assert!(matches!(store.certificate_add(&new("01", None, None)).await, Err(Error::Exists("the certificate"))));
    assert!(matches!(store.certificate_add(&new("05", Some("none"), None)).await, Err(Error::NotFound("the user"))));
}

pub(crate) async fn for_a_service_that_runs(f: Arc<Fixture>) {
    let store = &f.store;
    let (alice, bob) = (World::new(store, "alice", 9).await, World::new(store, "bob", 9).await);
    let add = async |serial: &str, world: &World, service: Option<i64>| {
        store.certificate_add_running(&new(serial, Some(&world.user.id), service)).await
    };
    let (_, starting, _) = begun(alice.begin(ServiceKind::Service, 1).await);
    assert!(matches!(add("01", &alice, Some(starting.id)).await, Err(ServiceError::Busy)), "it starts");
    let running = alice.running(ServiceKind::Service, 1).await;
    let made = add("02", &alice, Some(running.id)).await.unwrap();
    assert_eq!(store.certificate_get("02").await.unwrap(), Some(made));
    assert!(matches!(add("02", &alice, Some(running.id)).await, Err(ServiceError::Store(Error::Exists("the certificate")))));
    for (what, world, service) in [("another's", &bob, Some(running.id)), ("unknown", &alice, Some(999)), ("none", &alice, None)]
    {
        let refused = add("03", world, service).await;
        assert!(matches!(refused, Err(ServiceError::NotFound)), "{what}: {refused:?}");
    }
    begun(alice.stop_begin(&running).await);
    assert!(matches!(add("04", &alice, Some(running.id)).await, Err(ServiceError::Busy)), "it stops");
    for serial in ["01", "03", "04"] {
        assert_eq!(store.certificate_get(serial).await.unwrap(), None, "{serial}");
    }

    // While it is stopped, many are asked for: none of them outlives it.
    let running = alice.running(ServiceKind::Service, 1).await;
    let (stop, _, nodes) = begun(alice.stop_begin(&running).await);
    store.service_node_gone(nodes[0].id).await.unwrap();
    let hosts = [store.clone(), f.other_host().await];
    let outcomes = race(8, |task| {
        let (store, user) = (hosts[task % 2].clone(), alice.user.id.clone());
        let (id, stop) = (running.id, stop.id.clone());
        async move {
            match task {
                3 => store.service_stopped(&stop, "me", &succeeded(serde_json::json!({})).save(), id, &event("x")).await.is_ok(),
                _ => store.certificate_add_running(&new(&format!("r{task}"), Some(&user), Some(id))).await.is_err(),
            }
        }
    })
    .await;
    assert!(outcomes.into_iter().all(|expected| expected));
    let good = CertificateFilter { service_id: Some(running.id), ..CertificateFilter::default() };
    assert_eq!(store.certificates(&good, None, 10).await.unwrap(), []);
}

pub(crate) async fn revocation(f: Arc<Fixture>) {
    let store = &f.store;
    let (alice, bob) = (user(&f, "alice").await, user(&f, "bob").await);
    for (serial, user, service) in [
        ("a1", &alice, None),
        ("a2", &alice, None),
        ("a3", &alice, Some(7)),
        ("a4", &alice, Some(8)),
        ("b1", &bob, None),
        ("b2", &bob, Some(7)),
    ] {
        store.certificate_add(&new(serial, Some(&user.id), service)).await.unwrap();
    }
    let ended = NewCertificate { not_after: now() - 1, ..new("b3", Some(&bob.id), None) };
    store.certificate_add(&ended).await.unwrap();
    let revoked = || async {
        let revoked = store.certificates_revoked(now()).await.unwrap();
        assert!(revoked.is_sorted_by_key(|(serial, at, _)| (*at, serial.clone())));
        let mut revoked: Vec<_> = revoked.into_iter().map(|(serial, _, reason)| (serial, reason)).collect();
        revoked.sort();
        revoked
    };
    let is = |expected: &[(&str, &str)]| expected.iter().map(|&(a, b)| (a.to_owned(), b.to_owned())).collect::<Vec<_>>();

    assert!(store.certificate_revoke("a1", "key-compromise").await.unwrap());
    assert!(!store.certificate_revoke("a1", "superseded").await.unwrap(), "the first reason stays");
    assert!(!store.certificate_revoke("zz", "superseded").await.unwrap());
    assert!(store.certificate_revoke("b3", "superseded").await.unwrap());
    assert_eq!(revoked().await, is(&[("a1", "key-compromise")]), "without what has ended by itself");
    assert_eq!(store.certificates_revoke_service(7, "cessation-of-operation").await.unwrap(), 2);
    assert_eq!(store.certificates_revoke_service(7, "superseded").await.unwrap(), 0);
    assert_eq!(store.certificates_revoke_user(&alice.id, "superseded", Some("user")).await.unwrap(), 1);
    let expected =
        [("a1", "key-compromise"), ("a2", "superseded"), ("a3", "cessation-of-operation"), ("b2", "cessation-of-operation")];
    assert_eq!(revoked().await, is(&expected));
    assert_eq!(store.certificates_revoke_user(&alice.id, "unspecified", None).await.unwrap(), 1);
    assert_eq!(store.certificates_revoke_user("none", "unspecified", None).await.unwrap(), 0);
    assert!(store.certificate_get("b1").await.unwrap().unwrap().revoked_at.is_none());
    assert_eq!(store.certificates_revoked(now() + 2 * DAY).await.unwrap(), []);

    let hosts = [store.clone(), f.other_host().await];
    let mut numbers = race(10, |task| {
        let store = hosts[task % 2].clone();
        async move { store.crl_number().await.unwrap() }
    })
    .await;
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=10).collect::<Vec<u64>>());
}

pub(crate) async fn paging(f: Arc<Fixture>) {
    let store = &f.store;
    let (alice, bob) = (user(&f, "alice").await, user(&f, "bob").await);
    let mut all = Vec::new();
    for number in 0..12 {
        let user = [&alice, &bob][number % 2];
        let serial = format!("{:02x}", (number * 7) % 12);
        let mut new = new(&serial, Some(&user.id), (number % 3 == 0).then_some(number as i64 % 2));
        if number % 4 == 1 {
            new.not_after = now() - 1;
        }
        store.certificate_add(&new).await.unwrap();
        if number % 4 == 2 {
            store.certificate_revoke(&serial, "superseded").await.unwrap();
        }
        all.push(store.certificate_get(&serial).await.unwrap().unwrap());
    }
    all.sort_by_key(|c| std::cmp::Reverse((c.issued_at, c.serial.clone())));
    for user_id in [None, Some(alice.id.clone()), Some("none".to_owned())] {
        for service_id in [None, Some(0), Some(9)] {
            for include_ended in [false, true] {
                let filter = CertificateFilter { user_id: user_id.clone(), service_id, include_ended };
                let wanted = |c: &&Certificate| {
                    (user_id.is_none() || c.user_id == user_id)
                        && (service_id.is_none() || c.service_id == service_id)
                        && (include_ended || (c.revoked_at.is_none() && c.not_after > now()))
                };
                let expected: Vec<&Certificate> = all.iter().filter(wanted).collect();
                let mut found: Vec<Certificate> = Vec::new();
                loop {
                    let before = found.last().map(|c| (c.issued_at, c.serial.as_str()));
                    let page = store.certificates(&filter, before, 2).await.unwrap();
                    if page.is_empty() {
                        break;
                    }
                    found.extend(page);
                }
                assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{filter:?}");
            }
        }
    }
}

pub(crate) async fn the_authority_is_claimed_once(f: Arc<Fixture>) {
    let hosts = [f.store.clone(), f.other_host().await];
    let claims = race(8, |task| {
        let store = hosts[task % 2].clone();
        async move { store.authority_claim(&format!("sha256:{task}")).await.unwrap() }
    })
    .await;
    assert!(claims.iter().all(|claim| claim == &claims[0] && claim.starts_with("sha256:")), "{claims:?}");
    assert_eq!(f.store.authority_claim("sha256:later").await.unwrap(), claims[0]);
}
