//! Clouds that come and go while the server runs, through our own API and the command line.

use ostler_tests::provider::{Answer, Provider};
use ostler_tests::server::program;
use ostler_tests::{Reply, Server, Setup, components};
use serde_json::{Value, json};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

const CANARY: &str = "canary-of-the-provider";
const START: &str = r#"{"name": "web", "image": "1", "size": "1"}"#;
/// Everything that is logged is to be seen.
const CONFIG: &str =
    "[clouds.fake_driver]\ndriver = \"dummy\"\n[api.crs4]\nopen = true\n[log]\nfilter = \"debug,cranelift=off\"\n";

/// A command of the command line: whether it went well, and what it said.
fn run(server: &Server, arguments: &[&str], environment: &[(&str, &str)], input: &str) -> (bool, String) {
    let mut command = program();
    command.args(arguments).arg("--server").arg(format!("http://{}", server.address())).arg("--data").arg(server.data());
    command.envs(environment.iter().copied());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Not every command reads what it is given.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    println!("$ ostler {}\n{text}", arguments.join(" "));
    assert!(!text.contains(CANARY), "{arguments:?}: {text}");
    (output.status.success(), text)
}

fn said(server: &Server, arguments: &[&str]) -> String {
    let (well, text) = run(server, arguments, &[], "");
    assert!(well, "{arguments:?}: {text}");
    text
}

fn complained(server: &Server, arguments: &[&str]) -> String {
    let (well, text) = run(server, arguments, &[], "");
    assert!(!well, "{arguments:?}: {text}");
    text
}

async fn post(server: &Server, body: &Value) -> Reply {
    server.as_operator("POST", "/ostler/v1/clouds", body.to_string()).await
}

async fn nodes(server: &Server, cloud: &str) -> usize {
    let nodes = server.get(&format!("/api/v2/nodes/{cloud}")).await;
    assert_eq!(nodes.status, 200, "{}", nodes.text());
    nodes.json()["nodes"].as_array().unwrap().len()
}

/// The files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_cloud_comes_serves_survives_and_goes() {
    let mut server = Setup::configured(CONFIG).start().await;
    assert_eq!(server.get("/api/v2/nodes/lab").await.status, 404);
    let add =
        ["cloud", "add", "lab", "--driver", "dummy", "--config", "nodes=1", "--secret", "password=env:LAB", "--secret", "pin=-"];
    let (well, text) = run(&server, &add, &[("LAB", CANARY)], &format!("{CANARY}-2\n"));
    assert!(well && text.contains("lab added (driver dummy, at 127.0.0.1), serving"), "{text}");
    let started = server.json("POST", "/api/v1/vm/start/lab", START).await;
    assert_eq!((started.status, nodes(&server, "lab").await), (200, 2), "{}", started.text());
    assert!(complained(&server, &["cloud", "add", "lab", "--driver", "dummy"]).contains("the cloud exists already"));

    let clouds = server.data().join("clouds");
    let secret = clouds.join("lab.secrets/password");
    for (path, expected) in [
        (clouds.clone(), 0o700),
        (clouds.join("lab.toml"), 0o600),
        (clouds.join("lab.secrets"), 0o700),
        (secret.clone(), 0o600),
        (clouds.join("lab.secrets/pin"), 0o600),
    ] {
        assert_eq!(mode(&path), expected, "{}", path.display());
    }
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), CANARY);

    server.kill();
    server.start().await;
    server.serving("lab").await;
    assert_eq!(nodes(&server, "lab").await, 2, "it is there still, with what it had");
    let list = said(&server, &["cloud", "list"]);
    for (name, origin) in [("fake_driver", "configuration"), ("lab", "added")] {
        assert!(list.lines().any(|line| line.contains(name) && line.contains(origin) && line.contains("serving")), "{list}");
    }
    let shown: Value = serde_json::from_str(&said(&server, &["cloud", "show", "lab", "--json"])).unwrap();
    let expected = json!({ "http": [], "hypervisor": null, "config": ["nodes"], "secrets": ["password", "pin"] });
    assert_eq!((&shown["settings"], &shown["origin"]), (&expected, &json!("added")));
    let tested = said(&server, &["cloud", "test", "--all"]);
    assert!(tested.contains("lab") && tested.contains("fake_driver") && !tested.contains(" no "), "{tested}");

    // What needs it is named, and nothing happens to it.
    let assign = json!({ "node": "1", "user": "ann", "vm_type": "app" }).to_string();
    assert_eq!(server.json("PUT", "/api/v1/vm/action/assign/lab", &assign).await.status, 200);
    let refused = complained(&server, &["cloud", "remove", "lab"]);
    assert!(refused.contains("cloud `lab` is still in use: 1 assigned machines (1)"), "{refused}");
    assert_eq!(nodes(&server, "lab").await, 2);
    assert_eq!(server.json("PUT", "/api/v1/vm/action/release/lab", r#"{"node": "1"}"#).await.status, 200);
    assert!(complained(&server, &["cloud", "remove", "fake_driver"]).contains("stands in the configuration file"));

    // Whatever the server wrote down, the secret is in its file alone.
    let leaks = files(&server.data()).into_iter().filter(|path| {
        let bytes = std::fs::read(path).unwrap();
        bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes())
    });
    let mut leaks: Vec<_> = leaks.collect();
    leaks.sort_unstable();
    assert_eq!(leaks, [secret.clone(), clouds.join("lab.secrets/pin")]);
    for answer in ["/ostler/v1/clouds", "/ostler/v1/clouds/lab?check=true", "/ostler/openapi.json", "/metrics"] {
        assert!(!server.as_operator("GET", answer, "").await.text().contains(CANARY), "{answer}");
    }

    // The driver's state stays for another cloud of this name, unless it is not wanted any more.
    for (remove, left) in [(&["cloud", "remove", "lab"][..], 1), (&["cloud", "remove", "lab", "--purge"], 2)] {
        said(&server, remove);
        assert_eq!(server.get("/api/v2/nodes/lab").await.status, 404);
        assert!(files(&clouds).is_empty(), "{:?}", files(&clouds));
        assert!(complained(&server, &["cloud", "remove", "lab"]).contains("no cloud is called `lab`"));
        said(&server, &["cloud", "add", "lab", "--driver", "dummy", "--config", "nodes=2"]);
        assert_eq!(nodes(&server, "lab").await, left, "{remove:?}");
        let edge = server.as_operator("GET", "/lab/cloudedge/images", "").await;
        assert_eq!(edge.status, 200, "every API serves it: {}", edge.text());
    }
    said(&server, &["cloud", "remove", "lab"]);
    server.kill();
    server.start().await;
    assert_eq!(server.get("/api/v2/nodes/lab").await.status, 404, "it does not come back");
    let (log, output) = (server.log(), server.output());
    assert!(!log.contains(CANARY) && !output.contains(CANARY), "{log}{output}");
    assert!(log.contains("cloud added") && log.contains("cloud removed"), "{log}");
}

#[tokio::test]
async fn what_cannot_serve_is_refused_by_name_and_leaves_nothing() {
    let server = Setup::configured(CONFIG).start().await;
    let with = |more: Value| {
        let mut body = json!({ "name": "lab", "driver": "dummy", "secrets": { "password": CANARY } });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let fault = |class: &str| json!({ "faults": json!({ "check": { class: 1 } }).to_string() });
    for (more, status, part) in [
        (json!({ "name": "a/b" }), 422, "name: a cloud's name must be"),
        (json!({ "name": "nodes" }), 422, "`nodes` is a word of the APIs' paths"),
        (json!({ "driver": "../x" }), 422, "clouds.lab.driver: must be 1 to 64"),
        (json!({ "driver": "nothing" }), 422, "no driver is called `nothing`"),
        (json!({ "limits": { "memory": 1 } }), 422, "clouds.lab.limits.memory: unknown key"),
        (json!({ "limits": { "memory_mb": 0 }, "instances": "cold" }), 422, "clouds.lab.limits.memory_mb: must be between"),
        (json!({ "grants": { "http": ["https://x/v3"] } }), 422, "clouds.lab.grants.http[0]: must be an origin"),
        (json!({ "grants": { "secrets": false } }), 422, "grants.secrets is false"),
        (json!({ "config": { "a": null } }), 422, "clouds.lab.config.a: must not be null"),
        (json!({ "config": CANARY }), 422, "clouds.lab.config: must be a table"),
        (json!({ "config": { "colour": "red" } }), 422, "setting `colour` is unknown"),
        (json!({ "secrets": CANARY }), 422, "secrets is an object of texts"),
        (json!({ "secrets": { "password": [CANARY] } }), 422, "secrets is an object of texts"),
        (json!({ "secrets": { "../x": CANARY } }), 422, "clouds.lab.secrets: a secret's name must be"),
        (json!({ "secrets": { "empty": "\n" } }), 422, "clouds.lab.secrets.empty: is empty"),
        (json!({ "tls": CANARY }), 422, "tls is an object of the texts"),
        (json!({ "tls": { "key": CANARY } }), 422, "certificate and key need each other"),
        (json!({ "tls": { "ca": "no PEM" }, "grants": { "http": ["https://x"] } }), 422, "certificate authorit"),
        (json!({ "passwrod": CANARY }), 422, "unknown field `passwrod`"),
        (json!({ "config": fault("unauthorized") }), 422, "its test failed (unauthorized)"),
        (json!({ "config": fault("trap") }), 422, "check failed when probed"),
        // Force is for providers that are down, not for what can never work.
        (json!({ "config": fault("trap"), "force": true }), 422, "check failed when probed"),
        (json!({ "name": "fake_driver" }), 409, "the cloud exists already"),
    ] {
        let reply = post(&server, &with(more.clone())).await;
        assert!(reply.status == status && reply.text().contains(part), "{more}: {} {}", reply.status, reply.text());
        assert!(!reply.text().contains(CANARY), "{}", reply.text());
    }
    assert_eq!(server.get("/api/v2/nodes/lab").await.status, 404);
    assert!(!server.data().join("clouds").exists(), "nothing was kept");
    assert!(!server.log().contains(CANARY));

    // Whoever insists gets it, and sees how it is.
    for (name, more) in [("down", json!({ "force": true })), ("untested", json!({ "test": false }))] {
        let mut body = with(json!({ "name": name, "config": fault("transient") }));
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(post(&server, &body).await.status, 201, "{name}");
        assert_eq!(nodes(&server, name).await, 2, "only its check is broken");
        let (well, text) = run(&server, &["cloud", "test", name], &[], "");
        assert!(!well && text.contains("transient"), "{text}");
    }
}

/// Drivers only hear that they may not; the operator hears where they wanted to go.
#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_is_not_granted_is_named() {
    let server = Setup::configured(CONFIG).start().await;
    assert_eq!(server.install("probe", components::probe()).await.status, 200);
    let provider = Provider::start(|_| Answer::Json(200, "[]".into())).await;
    let url = format!("url={}/nodes", provider.origin());
    let add = ["cloud", "add", "far", "--driver", "probe", "--config", url.as_str(), "--grant-http"];
    let refused = complained(&server, &[&add[..], &["http://127.0.0.1:9"]].concat());
    assert!(refused.contains(&format!("asked for {}, which is not granted", provider.origin())), "{refused}");
    assert!(refused.contains("--grant-http") && provider.take().is_empty(), "{refused}");
    said(&server, &[&add[..], &[provider.origin().as_str()]].concat());
    assert_eq!(provider.take().len(), 1);
    assert!(complained(&server, &["driver", "remove", "probe"]).contains("used by: far"));
    // A new version of the driver reaches clouds that were added.
    assert_eq!(server.install("probe", components::marked(&components::probe(), "new")).await.status, 200);
    let digest = server.active("probe").await;
    let shown = server.as_operator("GET", "/ostler/v1/clouds/far", "").await.json();
    assert_eq!(shown["digest"], json!(digest));
    drop(provider);
    let down = complained(&server, &["cloud", "test", "far"]);
    assert!(down.contains(" no ") && down.contains("not well: far"), "{down}");
}

#[tokio::test]
async fn of_many_that_add_one_name_one_wins() {
    let server = Setup::configured(CONFIG).start().await;
    for round in 0..3 {
        let body = json!({ "name": "lab", "driver": "dummy", "config": { "latency_ms": 20 }, "secrets": { "password": CANARY } });
        let replies = futures::future::join_all((0..8).map(|_| post(&server, &body))).await;
        let mut statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409], "round {round}");
        assert_eq!(std::fs::read_to_string(server.data().join("clouds/lab.secrets/password")).unwrap(), CANARY);
        let removals = (0..4).map(|_| server.as_operator("DELETE", "/ostler/v1/clouds/lab", ""));
        let mut statuses: Vec<u16> = futures::future::join_all(removals).await.iter().map(|reply| reply.status).collect();
        statuses.sort_unstable();
        assert!(statuses[0] == 204 && statuses[1..].iter().all(|status| [404, 409].contains(status)), "{statuses:?}");
    }
}

#[tokio::test]
async fn only_administrators_change_clouds() {
    let server = Setup::configured(CONFIG).start().await;
    said(&server, &["user", "add", "ann", "--role", "agent"]);
    let token = said(&server, &["token", "create", "ann", "--label", "t"]).lines().last().unwrap().to_owned();
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let body = json!({ "name": "lab", "driver": "dummy" }).to_string();
    for (method, path, status) in [
        ("GET", "/ostler/v1/clouds", 200),
        ("POST", "/ostler/v1/clouds", 403),
        ("DELETE", "/ostler/v1/clouds/fake_driver", 403),
        ("POST", "/ostler/v1/clouds/fake_driver/test", 403),
    ] {
        let reply = server.call(method, path, &headers, body.clone()).await;
        assert_eq!(reply.status, status, "{method} {path}");
        assert!(!reply.text().contains("settings"), "how it is configured is not for everybody: {}", reply.text());
        assert_eq!(server.call(method, path, &[], body.clone()).await.status, 401, "{method} {path}");
    }
}

#[tokio::test]
async fn files_by_hand_are_read_at_start_and_broken_ones_harm_nobody() {
    let mut server = Setup::configured(CONFIG).start().await;
    server.kill();
    let clouds = server.data().join("clouds");
    std::fs::create_dir(&clouds).unwrap();
    std::fs::write(clouds.join("hand.toml"), "driver = \"dummy\"\nsecrets = { password = { file = \"../hand\" } }\n").unwrap();
    std::fs::write(server.data().join("hand"), format!("{CANARY}\n")).unwrap();
    std::fs::write(clouds.join("fake_driver.toml"), "driver = \"other\"\n").unwrap();
    std::fs::write(clouds.join("bad.toml"), "driver = \"dummy\"\nlimits = { memory = 1 }\n").unwrap();
    server.start().await;
    for (cloud, status) in [("hand", 200), ("fake_driver", 200), ("bad", 404)] {
        assert_eq!(server.get(&format!("/api/v2/nodes/{cloud}")).await.status, status, "{cloud}");
    }
    let log = server.log();
    for part in [
        "fake_driver.toml: clouds.fake_driver: is in the configuration as well",
        "bad.toml:2:12: clouds.bad.limits.memory: unknown key",
    ] {
        assert!(log.contains(part), "{part} in {log}");
    }
    let check = |data: &Path| {
        let config = data.with_file_name("ostler.toml");
        let output = program().args(["config", "check"]).arg(config).arg("--data").arg(data).output().unwrap();
        (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let (well, text) = check(&server.data());
    assert!(!well && text.contains("is in the configuration as well") && text.contains("bad.toml:2:12"), "{text}");
    for name in ["fake_driver.toml", "bad.toml"] {
        std::fs::remove_file(clouds.join(name)).unwrap();
    }
    let (well, text) = check(&server.data());
    assert!(well && text.contains("clouds.hand") && !text.contains(CANARY), "{text}");
}

#[tokio::test]
async fn clouds_yaml_is_taken_over() {
    let server = Setup::configured(CONFIG).start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("clouds.yaml");
    let yaml = "clouds:\n  mine:\n    auth:\n      auth_url: http://127.0.0.1:9/v3\n      username: demo\n      project_name: demo\n    regions: [One, Two]\n  \
                vendor:\n    profile: somebody\n    auth: {username: u}\n";
    std::fs::write(&file, yaml).unwrap();
    std::fs::write(directory.path().join("secure.yaml"), format!("clouds:\n  mine:\n    auth:\n      password: {CANARY}\n"))
        .unwrap();
    let file = file.to_str().unwrap();
    let dry = said(&server, &["cloud", "import", file, "--cloud", "mine", "--dry-run", "--grant-http", "http://127.0.0.1:10"]);
    for part in [
        "# clouds/mine-One.toml",
        "driver = \"openstack\"",
        "region = \"Two\"",
        "\"http://127.0.0.1:10\"",
        "password = { file = \"mine-Two.secrets/password\" }",
    ] {
        assert!(dry.contains(part), "{part} in {dry}");
    }
    let all = complained(&server, &["cloud", "import", file]);
    assert!(all.contains("no driver is called `openstack`") && all.contains("clouds.vendor.profile: vendors' profiles"), "{all}");
    // On a driver that takes anything for a setting there is no such thing here; what matters is that it reaches the server.
    let named = complained(&server, &["cloud", "import", file, "--cloud", "mine", "--driver", "dummy"]);
    assert!(named.contains("mine-One: ") && named.contains("mine-Two: ") && named.contains("setting `"), "{named}");
    let searched = {
        let mut command = program();
        command.current_dir(directory.path()).args(["cloud", "import", "--cloud", "mine", "--dry-run"]);
        command.env_remove("OS_CLIENT_CONFIG_FILE").output().unwrap()
    };
    assert!(searched.status.success(), "{searched:?}");
}
