//! Instances as nodes: what is shown, what is done to them, lists, the end.

use std::time::Duration;

use ostler_driver::{Action, Driver, Extra, Force, NodeState, Reach};
use serde_json::json;

use super::fake::{Fault, Manners, Play, driver, is};
use super::{all_manners, order};

#[test]
fn an_instance_is_shown_as_a_node() {
    let play = Play::open(Manners::of_the_text());
    let id = play.set(|stage| stage.add_instance("test-instance-237", "running")).to_string();
    let node = driver(&Play::cloud()).get_node(&id).unwrap();
    assert_eq!((node.name.as_str(), &node.token, node.state.clone()), ("test-instance-237", &None, NodeState::Running));
    assert_eq!((node.image_id.as_deref(), node.size_id.as_deref()), (Some("62"), Some("default")));
    assert_eq!(node.created_at, Some(1_000_000_000_000_000));
    assert_eq!(node.addresses[0].ip, "10.0.3.2");
    let extra = node.extra().unwrap();
    assert_eq!((&extra["created_by"], &extra["image_name"], &extra["status"]), (&json!(789), &json!("test"), &json!("running")));
    for (reach, ip, expected) in [
        ("auto", "10.0.3.2", Reach::Private),
        ("auto", "93.184.216.34", Reach::Public),
        ("public", "10.0.3.2", Reach::Public),
        ("private", "93.184.216.34", Reach::Private),
    ] {
        play.set(|stage| stage.instances[0]["ip"] = ip.into());
        let node = driver(&Play::cloud().config("address_reach", reach)).get_node(&id).unwrap();
        assert_eq!(node.addresses[0].reach, expected, "{reach} {ip}");
    }
    for (ip, count) in [(json!(null), 0), (json!(""), 0), (json!("unknown"), 0), (json!(["10.0.0.1", "fd00::1"]), 2)] {
        play.set(|stage| stage.instances[0]["ip"] = ip);
        assert_eq!(driver(&Play::cloud()).get_node(&id).unwrap().addresses.len(), count);
    }
}

#[test]
fn each_status_is_a_state() {
    let play = Play::open(Manners::of_the_text());
    let id = play.set(|stage| stage.add_instance("x", "running")).to_string();
    for (status, state) in [
        ("running", NodeState::Running),
        ("RUNNING", NodeState::Running),
        ("stopped", NodeState::Stopped),
        ("frozen", NodeState::Suspended),
        ("starting", NodeState::Starting),
        ("stopping", NodeState::Stopping),
        ("rebooting", NodeState::Rebooting),
        ("error", NodeState::Failed),
        ("levitating", NodeState::Other("levitating".into())),
        ("", NodeState::Unknown),
    ] {
        play.set(|stage| {
            stage.instances[0]["status"] = status.into();
            stage.instances[0]["detail"] = "why".into();
        });
        let node = driver(&Play::cloud()).get_node(&id).unwrap();
        assert_eq!((node.state, node.state_detail.as_deref()), (state, Some("why")), "{status}");
    }
}

#[test]
fn lists_have_pages_by_number() {
    for manners in all_manners() {
        let play = Play::open(manners);
        let cloud = Play::cloud();
        for at in 0..250 {
            play.set(|stage| stage.add_instance(&format!("i{at}"), "running"));
        }
        // Not in their order.
        play.set(|stage| stage.instances.reverse());
        let (mut cursor, mut names, mut pages) = (None, Vec::new(), 0);
        loop {
            let page = driver(&cloud).list_nodes(cursor.as_deref()).unwrap();
            names.extend(page.items.into_iter().map(|node| node.name));
            pages += 1;
            if pages == 1 {
                // What goes and comes meanwhile shifts nothing.
                play.set(|stage| {
                    stage.instances.pop();
                    stage.add_instance("late", "running");
                });
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        let expected: Vec<_> = (0..250).map(|at| format!("i{at}")).chain(["late".to_owned()]).collect();
        assert_eq!((names, pages), (expected, 3));
    }
}

#[test]
fn lists_end_in_time_and_nobody_is_passed_over_for_ever() {
    let play = Play::open(Manners::of_the_text());
    let cloud = Play::cloud();
    for at in 0..10 {
        play.set(|stage| stage.add_instance(&format!("i{at}"), "running"));
    }
    let unknown = |cloud: &ostler_driver::testing::Cloud| {
        for _ in 0..10 {
            play.fault("GET /instances/", Fault::Slow(Duration::from_secs(1)));
        }
        let page = driver(cloud).list_nodes(None).unwrap();
        play.clear_faults();
        assert_eq!(page.items.len(), 10);
        page.items.iter().filter(|node| node.state == NodeState::Unknown).count()
    };
    assert_eq!([unknown(&cloud), unknown(&cloud), unknown(&cloud)], [6, 2, 0]);
    // What is gone between list and look is left out.
    let gone = play.look(|stage| stage.instances[0]["id"].to_string());
    let kept = play.clone();
    play.fault(
        "GET /instances/",
        Fault::Before(Box::new(move || kept.set(|stage| stage.instances.retain(|one| !is(&one["id"], &gone))))),
    );
    assert_eq!(driver(&Play::cloud()).list_nodes(None).unwrap().items.len(), 9);
    play.fault("GET /instances/", Fault::Answer(500, ""));
    assert_eq!(driver(&Play::cloud()).list_nodes(None).unwrap_err().class(), "transient");
}

#[test]
fn what_is_owed_is_done_where_looking_takes_all_the_time() {
    let play = Play::open(Manners::of_the_text());
    let cloud = Play::cloud();
    for at in 0..10 {
        play.set(|stage| stage.add_instance(&format!("i{at}"), "running"));
    }
    play.fault("POST /instances/", Fault::Lost);
    let node = driver(&cloud).create_node("t-1", order()).unwrap();
    cloud.advance(Duration::from_secs(5));
    for _ in 0..10 {
        play.fault("GET /instances/", Fault::Slow(Duration::from_secs(1)));
    }
    driver(&cloud).list_nodes(None).unwrap();
    play.clear_faults();
    assert_eq!(driver(&cloud).get_node(&node.id).unwrap().state, NodeState::Running);
    assert_eq!(play.count("POST /instances/"), 2);
}

#[test]
fn a_list_that_tells_more_costs_one_request() {
    let play = Play::open(Manners::of_the_text());
    let list = r#"{"instances":[{"id":7,"name":"a--ostler-t-1","status":"running","ip":"10.0.0.1"},{"id":8,"name":"b","status":"frozen"}]}"#;
    play.fault("GET /instances", Fault::Answer(200, list));
    let page = driver(&Play::cloud()).list_nodes(None).unwrap();
    let shown: Vec<_> = page.items.iter().map(|node| (node.name.as_str(), node.token.as_deref(), node.state.clone())).collect();
    assert_eq!(shown, [("a", Some("t-1"), NodeState::Running), ("b", None, NodeState::Suspended)]);
    assert_eq!(play.seen(), ["GET /instances"]);
}

#[test]
fn what_stands_before_a_far_side_does_not_make_nodes_disappear() {
    for manners in all_manners() {
        let play = Play::open(manners);
        let cloud = Play::cloud();
        let id = play.set(|stage| stage.add_instance("x", "running")).to_string();
        for body in ["<html><h1>404 Not Found</h1></html>", "", "{}", r#"{"detail":"Not Found"}"#] {
            play.fault("GET /instances/", Fault::Answer(404, body));
            assert_eq!(driver(&cloud).get_node(&id).unwrap_err().class(), "failed", "{body}");
            play.fault("DELETE /instances/", Fault::Answer(404, body));
            assert_eq!(driver(&cloud).destroy_node(&id).unwrap_err().class(), "failed", "{body}");
            play.fault("GET /instances", Fault::Answer(404, body));
            assert_eq!(driver(&cloud).list_nodes(None).unwrap_err().class(), "failed", "{body}");
        }
        play.set(|stage| stage.instances.clear());
        assert_eq!(driver(&cloud).get_node(&id).unwrap_err().class(), "not-found");
        assert_eq!(driver(&cloud).get_node("no-such-node").unwrap_err().class(), "not-found");
        // What cannot be an identifier is not sent.
        play.seen();
        for odd in ["", "..", "a/b", "1?x", "é", &"1".repeat(256)] {
            assert_eq!(driver(&cloud).get_node(odd).unwrap_err().class(), "not-found", "{odd}");
        }
        assert_eq!(play.seen(), [""; 0]);
    }
}

#[test]
fn actions_are_those_of_the_text() {
    let play = Play::open(Manners::of_the_text());
    let cloud = Play::cloud();
    let id = play.set(|stage| stage.add_instance("x", "stopped")).to_string();
    for (action, body, status) in [
        (Action::Start, json!({"start": null}), "running"),
        (Action::Reboot(Force::Soft), json!({"reboot": {"type": "SOFT"}}), "running"),
        (Action::Reboot(Force::Hard), json!({"reboot": {"type": "HARD"}}), "running"),
        (Action::Suspend, json!({"freeze": null}), "frozen"),
        (Action::Resume, json!({"resume": null}), "running"),
        (Action::Stop(Force::Soft), json!({"stop": {"type": "SOFT"}}), "stopped"),
        (Action::Start, json!({"start": null}), "running"),
        (Action::Stop(Force::Hard), json!({"stop": {"type": "HARD"}}), "stopped"),
    ] {
        driver(&cloud).act(&id, action.clone()).unwrap();
        assert_eq!(play.body(&format!("POST /instances/{id}/action")), body);
        assert_eq!(play.look(|stage| stage.instances[0]["status"].clone()), status, "{action:?}");
    }
    for action in [Action::Other("x".into()), Action::Stop(Force::Other("x".into())), Action::Reboot(Force::Other("x".into()))] {
        assert_eq!(driver(&cloud).act(&id, action).unwrap_err().class(), "unsupported");
    }
}

#[test]
fn actions_that_cannot_be_are_conflicts_everywhere() {
    for manners in all_manners() {
        let play = Play::open(manners);
        let cloud = Play::cloud();
        let id = play.set(|stage| stage.add_instance("x", "running")).to_string();
        for (status, actions) in [
            ("running", vec![Action::Start, Action::Resume]),
            ("stopped", vec![Action::Stop(Force::Soft), Action::Reboot(Force::Hard), Action::Suspend, Action::Resume]),
            ("frozen", vec![Action::Suspend, Action::Reboot(Force::Soft)]),
        ] {
            play.set(|stage| stage.instances[0]["status"] = status.into());
            for action in actions {
                let error = driver(&cloud).act(&id, action.clone()).unwrap_err();
                assert_eq!(error.to_string(), format!("conflict: at far:5555: the instance is {status}"), "{action:?}");
            }
        }
        assert_eq!(play.count("POST"), 0);
    }
    let play = Play::open(Manners::of_the_text());
    let id = play.set(|stage| stage.add_instance("x", "stopping")).to_string();
    assert_eq!(driver(&Play::cloud()).act(&id, Action::Start).unwrap_err().to_string(), "conflict: at far:5555: it is stopping");
}

#[test]
fn only_the_rules_of_an_instance_go_with_it() {
    for manners in all_manners() {
        let play = Play::open(manners);
        let cloud = Play::cloud().config("forward_ports", "[22, 443]");
        let spec = ostler_driver::NodeSpec { public_address: true, ..order() };
        let first = driver(&cloud).create_node("t-1", spec.clone()).unwrap();
        let second = driver(&cloud).create_node("t-2", spec).unwrap();
        assert_eq!(play.look(|stage| stage.rules.len()), 4);
        // One made by somebody else goes, too: it leads nowhere.
        play.set(|stage| {
            let id = stage.fresh();
            let number: u64 = first.id.parse().unwrap();
            stage
                .rules
                .push(json!({"id": id, "port_to": 80, "port_from": 7999, "instance_id": number, "instance": {"id": number}}));
        });
        driver(&cloud).destroy_node(&first.id).unwrap();
        let left = play.look(|stage| stage.rules.iter().map(|rule| rule["instance_id"].to_string()).collect::<Vec<_>>());
        assert_eq!(left, [second.id.clone(), second.id.clone()]);
        assert_eq!(driver(&cloud).destroy_node(&first.id).unwrap_err().class(), "not-found");
        // A far side without rules has none to delete.
        play.fault("GET /fwrules", Fault::Answer(404, ""));
        driver(&cloud).destroy_node(&second.id).unwrap();
    }
}

#[test]
fn an_end_that_breaks_off_is_brought_to_an_end() {
    let play = Play::open(Manners::of_the_text());
    let cloud = Play::cloud().config("forward_ports", "[22]");
    let spec = ostler_driver::NodeSpec { public_address: true, ..order() };
    let node = driver(&cloud).create_node("t-1", spec).unwrap();
    for (request, fault) in [
        ("GET /fwrules", Fault::Lost),
        ("DELETE /fwrules", Fault::LostAnswer),
        ("DELETE /instances", Fault::Answer(409, r#"{"buildInProgress":{"code":409,"message":"busy"}}"#)),
        ("DELETE /instances", Fault::LostAnswer),
    ] {
        play.fault(request, fault);
        assert!(matches!(driver(&cloud).destroy_node(&node.id).unwrap_err().class(), "transient" | "conflict"), "{request}");
    }
    assert_eq!(driver(&cloud).destroy_node(&node.id).unwrap_err().class(), "not-found");
    assert!(play.look(|stage| stage.instances.is_empty() && stage.rules.is_empty()));
    assert_eq!(cloud.context().state().list("", None, 10).unwrap(), []);
}
