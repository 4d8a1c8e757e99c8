//! The driver against a real OpenStack: `tests/setup/openstack.sh start DIR`, then `OSTLER_TEST_OPENSTACK=DIR/env`.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ostler_driver::testing::{Cloud, conformance};
use ostler_driver::{Action, Context, Driver, Error, Force, Node, NodeSpec, NodeState, Reach, Result};

use crate::driver::OpenStack;
use crate::http::{Answer, Request, Transport};

/// Plain HTTP/1.0 over a new connection: an answer ends with it.
struct Live;

impl Transport for Live {
    fn send(_: &Context, request: &Request) -> Result<Answer> {
        let (authority, path) = request.url.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let mut stream = TcpStream::connect(authority)?;
        stream.set_read_timeout(Some(request.timeout))?;
        let body = request.body.as_ref().map(|(_, body)| body.as_slice()).unwrap_or_default();
        let mut head = format!("{} /{path} HTTP/1.0\r\nhost: {authority}\r\ncontent-length: {}\r\n", request.method, body.len());
        for (name, value) in &request.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some((content_type, _)) = &request.body {
            head.push_str(&format!("content-type: {content_type}\r\n"));
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        Ok(Answer { status, headers: head.lines().skip(1).filter_map(header).collect(), body: answer[end + 4..].to_vec() })
    }
}

type LiveDriver = OpenStack<Live>;

/// What the script says of its cloud; none where there is none.
fn environment() -> Option<BTreeMap<String, String>> {
    let path = std::env::var("OSTLER_TEST_OPENSTACK").ok().filter(|path| !path.is_empty())?;
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    Some(text.lines().filter_map(|line| line.split_once('=')).map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

fn cloud(environment: &BTreeMap<String, String>) -> Cloud {
    let of = |key: &str| environment[key].as_str();
    Cloud::new("live")
        .config("auth_url", of("OS_AUTH_URL"))
        .config("region", of("OS_REGION_NAME"))
        .config("username", of("OS_USERNAME"))
        .config("project_name", of("OS_PROJECT_NAME"))
        .secret("password", of("OS_PASSWORD"))
}

fn driver(cloud: &Cloud) -> LiveDriver {
    cloud.driver().unwrap()
}

/// Polls as the host does.
fn wait(cloud: &Cloud, id: &str, wanted: &NodeState) -> Node {
    let end = Instant::now() + Duration::from_secs(300);
    loop {
        let node = driver(cloud).get_node(id).unwrap();
        if node.state == *wanted {
            return node;
        }
        assert!(Instant::now() < end && node.state != NodeState::Failed, "{:?} {:?}", node.state, node.state_detail);
        std::thread::sleep(Duration::from_millis(300));
        cloud.advance(Duration::from_millis(300));
    }
}

fn gone(cloud: &Cloud, id: &str) {
    let end = Instant::now() + Duration::from_secs(120);
    while driver(cloud).get_node(id).is_ok() {
        assert!(Instant::now() < end, "{id} stays");
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// Image, size and order.
fn order(cloud: &Cloud, name: &str) -> NodeSpec {
    let image = driver(cloud).list_images(None).unwrap().items.into_iter().find(|image| image.name == "cirros-fake").unwrap();
    NodeSpec::new(name, image.id, "42")
}

#[test]
fn it_keeps_the_contract() {
    let Some(environment) = environment() else { return };
    // Who administrates sees diagnostics, too.
    let cloud = cloud(&environment)
        .config("username", "admin")
        .secret("password", &environment["OSTLER_OPENSTACK_ADMIN_PASSWORD"])
        .config("networks", r#"["private"]"#);
    conformance::check::<LiveDriver>(&cloud).unwrap();
}

#[test]
fn a_node_lives_with_a_public_address() {
    let Some(environment) = environment() else { return };
    let cloud = cloud(&environment);
    let health = driver(&cloud).check().unwrap();
    assert_eq!(health.account.as_deref(), Some("demo in project demo"));
    let spec = NodeSpec {
        public_address: true,
        networks: vec!["private".into()],
        security_groups: vec!["default".into()],
        ssh_keys: vec!["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ me".into()],
        user_data: Some(b"#!/bin/sh\ntrue\n".to_vec()),
        metadata: vec![("role".into(), "web".into()), ("fake_spawn_seconds".into(), "2".into())],
        ..order(&cloud, "live-1")
    };
    let node = driver(&cloud).create_node("live-1", spec.clone()).unwrap();
    assert_eq!(driver(&cloud).find_node("live-1").unwrap().unwrap().id, node.id, "at once");
    assert_eq!(driver(&cloud).create_node("live-1", spec).unwrap().id, node.id);
    let up = wait(&cloud, &node.id, &NodeState::Running);
    let public: Vec<_> = up.addresses.iter().filter(|address| address.reach == Reach::Public).collect();
    assert!(public.len() == 1 && public[0].ip.starts_with("203.0.113."), "{up:?}");
    let listed = driver(&cloud).list_nodes(None).unwrap().items;
    assert!(listed.iter().any(|listed| listed.id == node.id && listed.size_id.as_deref() == Some("42")), "{listed:?}");
    for (action, state) in [
        (Action::Stop(Force::Soft), NodeState::Stopped),
        (Action::Start, NodeState::Running),
        (Action::Reboot(Force::Hard), NodeState::Running),
        (Action::Suspend, NodeState::Suspended),
        (Action::Resume, NodeState::Running),
    ] {
        driver(&cloud).act(&node.id, action.clone()).unwrap_or_else(|error| panic!("{action:?}: {error}"));
        wait(&cloud, &node.id, &state);
        // The kept list hears of it by `changes-since`.
        let listed = driver(&cloud).list_nodes(None).unwrap().items;
        assert_eq!(listed.iter().find(|listed| listed.id == node.id).unwrap().state, state);
    }
    let used = |name: &str| {
        let capacity = driver(&cloud).get_capacity().unwrap();
        capacity.quotas.into_iter().find(|quota| quota.name == name).unwrap().amount.used
    };
    assert_eq!(used("floating-ips"), Some(1));
    driver(&cloud).destroy_node(&node.id).unwrap();
    gone(&cloud, &node.id);
    assert_eq!(used("floating-ips"), Some(0));
    assert_eq!(driver(&cloud).destroy_node(&node.id).unwrap_err().class(), "not-found");
    assert_eq!(driver(&cloud).find_node("live-1").unwrap(), None);
}

#[test]
fn refusals_have_their_classes() {
    let Some(environment) = environment() else { return };
    let with_password = cloud(&environment);
    let spec = order(&with_password, "live-2");
    let create = |spec: NodeSpec| driver(&with_password).create_node("live-2", spec).unwrap_err();
    for (what, spec, class) in [
        ("image", NodeSpec { image_id: "none".into(), ..spec.clone() }, "invalid"),
        ("size", NodeSpec { size_id: "none".into(), ..spec.clone() }, "invalid"),
        ("network", NodeSpec { networks: vec!["11111111-0000-4000-8000-000000000001".into()], ..spec.clone() }, "invalid"),
        ("key", NodeSpec { key_name: Some("none".into()), ..spec.clone() }, "invalid"),
        ("zone", NodeSpec { zone: Some("none".into()), ..spec.clone() }, "invalid"),
    ] {
        let error = create(spec);
        assert_eq!(error.class(), class, "{what}: {error}");
    }
    let samples = driver(&with_password).get_samples(&["11111111-0000-4000-8000-000000000001".to_owned()]);
    assert!(samples.is_err_and(|error| matches!(error, Error::Forbidden(_))), "diagnostics are for administrators");
    let wrong = cloud(&environment).secret("password", "wrong");
    assert_eq!(driver(&wrong).check().unwrap_err().class(), "unauthorized");
    let credential = |id: &str| {
        Cloud::new("live")
            .config("auth_url", &environment["OS_AUTH_URL"])
            .config("application_credential_id", id)
            .secret("application_credential_secret", &environment["OS_APPLICATION_CREDENTIAL_SECRET"])
    };
    driver(&credential(&environment["OS_APPLICATION_CREDENTIAL_ID"])).check().unwrap();
    assert_eq!(driver(&credential("none")).check().unwrap_err().class(), "unauthorized");
    // A failed build says why.
    let broken = NodeSpec { metadata: vec![("fake_spawn_error".into(), "disk on fire".into())], ..spec };
    let node = driver(&with_password).create_node("live-3", broken).unwrap();
    let end = Instant::now() + Duration::from_secs(120);
    let failed = loop {
        let node = driver(&with_password).get_node(&node.id).unwrap();
        if node.state == NodeState::Failed {
            break node;
        }
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(300));
    };
    assert!(failed.state_detail.unwrap().contains("disk on fire"));
    driver(&with_password).destroy_node(&node.id).unwrap();
    gone(&with_password, &node.id);
}
