//! Orders whose answers are lost on the wire: at a random point of the exchange, again and again, one server each.

use ostler_driver::Driver;
use ostler_driver::orders::LEASE;
use serde_json::Value;

use super::stack::Stack;
use super::wire::{Cut, Proxy, Random, route};
use super::{destroy, driver, order};
use crate::auth::Service;

/// Orders in all, and how many servers of them are there at a time: the quota allows ten.
const ORDERS: usize = 100;
const AT_A_TIME: usize = 6;

/// What happens to one order, as a host would go on: it looks for the node, and orders anew where there is none.
struct Course {
    token: String,
    cuts: Vec<Cut>,
    id: String,
}

#[test]
fn lost_answers_make_one_server_each() {
    let Some(stack) = Stack::open() else { return };
    let seed = std::env::var("OSTLER_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5eed_0f05_71e4);
    let mut random = Random(seed);
    let cloud = stack.cloud();
    let spec = order(&cloud, "lost");
    let api = Stack::api(&cloud);
    let compute = api.session().unwrap().endpoint(Service::Compute).unwrap();
    let authority = compute.strip_prefix("http://").unwrap().split('/').next().unwrap().to_owned();
    let proxy = Proxy::before(&authority, "POST /v2.1/servers HTTP");
    route(&authority, Some(&proxy.authority));
    let (mut began, mut at_once, mut later) = (0, 0, 0);
    while began < ORDERS {
        let mut courses = Vec::new();
        for at in began..(began + AT_A_TIME).min(ORDERS) {
            // One order in three is lost twice.
            let cuts = (0..1 + usize::from(random.below(3) == 0)).map(|_| match random.below(3) {
                0 => Cut::Request(random.part()),
                1 => Cut::Working,
                _ => Cut::Answer(random.part()),
            });
            let mut course = Course { token: format!("lost-{at}"), cuts: cuts.collect(), id: String::new() };
            let told = format!("seed {seed}, order {at}, {:?}", course.cuts);
            course.cuts.iter().for_each(|cut| proxy.cut(*cut));
            let mut first = true;
            while proxy.pending() > 0 {
                let error = driver(&cloud).create_node(&course.token, spec.clone()).map(|node| node.id).unwrap_err();
                assert_eq!(error.class(), "transient", "{told}: {error}");
                // At once nobody knows: the server may be there or not, but there is no second one.
                match driver(&cloud).create_node(&course.token, spec.clone()) {
                    Ok(node) if first => (course.id, at_once) = (node.id, at_once + 1),
                    Ok(node) => course.id = node.id,
                    Err(error) => assert_eq!(error.class(), "transient", "{told}: {error}"),
                }
                first = false;
                // The claim holds for longer than a service is at it.
                proxy.settle();
                cloud.advance(LEASE);
                if driver(&cloud).find_node(&course.token).unwrap().is_some() {
                    break;
                }
            }
            let node = driver(&cloud).create_node(&course.token, spec.clone()).unwrap_or_else(|error| panic!("{told}: {error}"));
            assert!(course.id.is_empty() || course.id == node.id, "{told}");
            later += usize::from(course.id.is_empty());
            course.id = node.id;
            // What this order did not need is not left for the next.
            proxy.clear();
            courses.push((course, told));
        }
        let list: Value = api.get(Service::Compute, "/servers/detail").json().unwrap();
        for (course, told) in &courses {
            let of_this = list["servers"].as_array().unwrap().iter();
            let of_this: Vec<_> = of_this.filter(|server| server["metadata"]["ostler-token"] == course.token.as_str()).collect();
            assert_eq!(of_this.len(), 1, "{told}");
            assert_eq!(of_this[0]["id"], course.id.as_str(), "{told}");
        }
        assert_eq!(list["servers"].as_array().unwrap().len(), courses.len());
        began += courses.len();
        destroy(&cloud, &courses.into_iter().map(|(course, _)| course.id).collect::<Vec<_>>());
    }
    route(&authority, None);
    // Otherwise the losses were not what they were meant to be.
    assert!(at_once > 0 && later > 0, "{at_once} found at once, {later} made or found later");
    stack.assert_unchanged();
}
