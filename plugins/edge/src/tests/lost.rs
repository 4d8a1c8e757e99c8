//! Exchanges that break off at random points of orders, again and again: one instance each.

use ostler_driver::testing::Cloud;
use ostler_driver::{Driver, NodeSpec, NodeState};
use std::time::Duration;

use super::fake::{Fault, Manners, Play, driver};
use super::{all_manners, order};

/// Orders for each kind of far side.
const ORDERS: usize = 100;
/// Instances that are there at a time.
const AT_A_TIME: usize = 10;

/// Numbers that look random and repeat with their seed: xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 16) % end as u64).unwrap()
    }
}

/// What happened to the orders of one far side.
#[derive(Debug, Default)]
struct Tally {
    answered: usize,
    lost: usize,
    struck: usize,
}

/// There are these instances and no others; afterwards there are none.
fn end(play: &Play, cloud: &Cloud, ids: &mut Vec<String>) {
    assert_eq!(play.look(|stage| stage.instances.len()), ids.len());
    for id in ids.drain(..) {
        driver(cloud).destroy_node(&id).unwrap();
    }
    assert_eq!(play.look(|stage| (stage.instances.len(), stage.rules.len())), (0, 0));
}

fn orders(manners: &Manners, seed: u64) -> Tally {
    let play = Play::open(manners.clone());
    let cloud = Play::cloud().config("forward_ports", "[22]");
    let (mut random, mut tally) = (Random(seed), Tally::default());
    let mut ids = Vec::new();
    for at in 0..ORDERS {
        if ids.len() == AT_A_TIME {
            end(&play, &cloud, &mut ids);
        }
        let token = format!("lost-{at}");
        let spec = NodeSpec { public_address: at % 2 == 0, ..order() };
        let mut faults = vec![("POST /instances", 1 + random.below(2))];
        // Up to three further exchanges break off, anywhere.
        for _ in 0..random.below(4) {
            let places =
                ["GET /instances", "POST /instances", "POST /instances/", "GET /fwrules", "POST /fwrules", "GET /instances/"];
            faults.push((places[random.below(places.len())], random.below(3)));
        }
        let told = format!("seed {seed}, order {at}, {faults:?}, {manners:?}");
        let planned = faults.len();
        for (request, kind) in faults {
            play.fault(request, [Fault::Lost, Fault::LostAnswer, Fault::Later].into_iter().nth(kind).unwrap());
        }
        // As a host goes on: it looks for the node, and orders anew where there is none.
        let mut node = None;
        for _ in 0..50 {
            match driver(&cloud).create_node(&token, spec.clone()) {
                Ok(made) => {
                    tally.answered += 1;
                    node = Some(made);
                }
                Err(error) => {
                    tally.lost += 1;
                    assert_eq!(error.class(), "transient", "{told}: {error}");
                }
            }
            if random.below(2) == 0 {
                play.catch_up();
            }
            cloud.advance(Duration::from_secs(7));
            if node.is_some() {
                break;
            }
            if let Ok(found) = driver(&cloud).find_node(&token) {
                node = found;
            }
        }
        play.catch_up();
        tally.struck += planned - play.unused();
        play.clear_faults();
        // A late effect is settled by the order, should it be repeated.
        let node = node.unwrap_or_else(|| panic!("{told}"));
        let again = driver(&cloud).create_node(&token, spec).unwrap_or_else(|error| panic!("{told}: {error}"));
        assert_eq!(again.id, node.id, "{told}");
        let mut state = again.state;
        for _ in 0..50 {
            cloud.advance(Duration::from_secs(10));
            state = driver(&cloud).get_node(&node.id).unwrap().state;
            if state == NodeState::Running {
                break;
            }
        }
        assert_eq!(state, NodeState::Running, "{told}");
        let (instances, rules) = play.look(|stage| {
            let name = format!("web--ostler-{token}");
            let of_this = |list: &[serde_json::Value], key: &str, value: &str| {
                list.iter().filter(|one| one[key].to_string().trim_matches('"') == value).count()
            };
            (of_this(&stage.instances, "name", &name), of_this(&stage.rules, "instance_id", &node.id))
        });
        assert_eq!(instances, 1, "{told}");
        // A rule that comes late is a second one to its port, which goes with the instance.
        let wanted = usize::from(at % 2 == 0);
        assert!((wanted..=2 * wanted).contains(&rules), "{told}: {rules} rules");
        ids.push(node.id);
    }
    end(&play, &cloud, &mut ids);
    assert_eq!(cloud.context().state().list("node/", None, 10).unwrap(), []);
    tally
}

#[test]
fn lost_answers_make_one_instance_each() {
    let seed = std::env::var("OSTLER_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5eed_ed6e);
    for manners in all_manners() {
        let tally = orders(&manners, seed);
        // Otherwise the losses were not what they were meant to be.
        assert!(tally.struck >= ORDERS && tally.lost > 10 && tally.answered > 10, "{tally:?}");
    }
}
