//! What machines of deployments cost.

use std::sync::Arc;

use ostler_store::{CreditError, ResourceCredit, ResourceState};

use crate::credit::{balance, sound, user};
use crate::deployments::{idle, resource};
use crate::fixture::{Fixture, race};
use crate::world::event;

fn machine(deployment: &str, resource: &str, user: &str, price: i64) -> ResourceCredit {
    ResourceCredit {
        resource: resource.to_owned(),
        deployment: deployment.to_owned(),
        user_id: user.to_owned(),
        cloud: "lab".into(),
        price,
        reservation: None,
        paid_until: None,
    }
}

pub(crate) async fn life(f: Arc<Fixture>) {
    let store = &f.store;
    let ann = user(store, "ann", 10).await;
    let deployment = idle(store, 1).await.0;
    let machines: Vec<_> = (0..3)
        .map(|at| ostler_store::Resource { token: Some(format!("t{at}")), ..resource(&deployment, at + 10, None) })
        .collect();
    store.resource_add(&machines).await.unwrap();
    let row = |at: usize, price| machine(&deployment, &machines[at].id, &ann.id, price);

    // Twice is once; what is not there is not charged for.
    for _ in 0..2 {
        store.resource_reserve(&row(0, 4), "ann").await.unwrap();
        store.resource_reserve(&row(1, 3), "ann").await.unwrap();
        store.resource_reserve(&machine(&deployment, "none", &ann.id, 1), "ann").await.unwrap();
    }
    assert_eq!(balance(store, &ann).await, 3);
    let refused = store.resource_reserve(&row(2, 4), "ann").await;
    assert!(matches!(refused, Err(CreditError::Insufficient { balance: 3 })), "{refused:?}");
    assert!(store.resources_due(i64::MAX, None, 9).await.unwrap().is_empty());
    store.resource_release(&deployment, &machines[1].id, "ann").await.unwrap();
    store.resource_release(&deployment, &machines[1].id, "ann").await.unwrap();
    assert_eq!(balance(store, &ann).await, 6);
    sound(store).await;

    // There, and paid for until 100.
    store.resource_settle(&deployment, None, 100, "ann").await.unwrap();
    store.resource_settle(&deployment, None, 200, "ann").await.unwrap();
    assert_eq!(balance(store, &ann).await, 6);
    assert!(store.resources_due(99, None, 9).await.unwrap().is_empty());
    let due = store.resources_due(100, None, 9).await.unwrap();
    assert_eq!(due, [ResourceCredit { paid_until: Some(100), ..row(0, 4) }]);
    assert!(store.resources_due(100, Some((100, &machines[0].id)), 9).await.unwrap().is_empty());
    assert!(!store.resource_charge(&machines[0].id, 99, 200, "host").await.unwrap());
    assert!(store.resource_charge(&machines[0].id, 100, 200, "host").await.unwrap());
    assert!(!store.resource_charge(&machines[0].id, 100, 200, "host").await.unwrap());
    assert!(store.resource_charge(&machines[0].id, 200, 200, "host").await.is_err());
    let refused = store.resource_charge(&machines[0].id, 200, 300, "host").await;
    assert!(matches!(refused, Err(CreditError::Insufficient { balance: 2 })), "{refused:?}");
    assert_eq!(store.resources_due(200, None, 9).await.unwrap()[0].paid_until, Some(200), "nothing happened");

    // What is stopped is not due; it starts again with credit only.
    let stopped = ostler_store::ResourceChange { state: Some(ResourceState::Stopped), ..Default::default() };
    store.resource_change(&machines[0].id, &stopped).await.unwrap();
    assert!(store.resources_due(200, None, 9).await.unwrap().is_empty());
    store.resource_reserve_again(&machines[0].id, 199, "ann").await.unwrap();
    assert_eq!(balance(store, &ann).await, 2, "paid for still");
    let refused = store.resource_reserve_again(&machines[0].id, 200, "ann").await;
    assert!(matches!(refused, Err(CreditError::Insufficient { balance: 2 })), "{refused:?}");
    store.credit_grant(&ann.id, 10, None, "", "root").await.unwrap();
    for _ in 0..2 {
        store.resource_reserve_again(&machines[0].id, 200, "ann").await.unwrap();
    }
    assert_eq!(balance(store, &ann).await, 8);
    store.resource_release(&deployment, &machines[0].id, "ann").await.unwrap();
    assert_eq!(balance(store, &ann).await, 12, "it did not start");
    store.resource_reserve_again(&machines[0].id, 200, "ann").await.unwrap();
    sound(store).await;

    // With the resource goes what is set aside for it, and with the deployment.
    store.resource_remove(&machines[0].id).await.unwrap();
    assert_eq!(balance(store, &ann).await, 12);
    store.resource_reserve(&row(1, 5), "ann").await.unwrap();
    store.deployment_remove(&deployment, &event("gone")).await.unwrap();
    assert_eq!((balance(store, &ann).await, store.resource_credit_tidy("host").await.unwrap()), (12, 0));
    sound(store).await;
}

/// Many do the same at a time: it happens once.
pub(crate) async fn races(f: Arc<Fixture>) {
    let store = &f.store;
    let ann = user(store, "ann", 100).await;
    let deployment = idle(store, 1).await.0;
    let new = ostler_store::Resource { token: Some("t".into()), ..resource(&deployment, 9, None) };
    store.resource_add(std::slice::from_ref(&new)).await.unwrap();
    let row = Arc::new(machine(&deployment, &new.id, &ann.id, 7));
    race(8, |_| {
        let (f, row) = (Arc::clone(&f), Arc::clone(&row));
        async move { f.store.resource_reserve(&row, "ann").await.unwrap() }
    })
    .await;
    assert_eq!(balance(store, &ann).await, 93);
    race(8, |at| {
        let (f, row) = (Arc::clone(&f), Arc::clone(&row));
        async move {
            if at % 2 == 0 {
                f.store.resource_settle(&row.deployment, None, 100, "ann").await.unwrap();
            } else {
                f.store.resource_release(&row.deployment, &row.resource, "ann").await.unwrap();
            }
        }
    })
    .await;
    sound(store).await;
    let left = balance(store, &ann).await;
    assert!(left == 93 || left == 100, "{left}");
    store.resource_reserve(&row, "ann").await.unwrap();
    store.resource_settle(&deployment, None, 100, "ann").await.unwrap();
    let paid = race(8, |_| {
        let (f, row) = (Arc::clone(&f), Arc::clone(&row));
        async move { f.store.resource_charge(&row.resource, 100, 200, "host").await.unwrap() }
    })
    .await;
    assert_eq!((paid.into_iter().filter(|paid| *paid).count(), balance(store, &ann).await), (1, 86));
    sound(store).await;
}
