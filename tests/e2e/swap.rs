//! Exchanging drivers while they are in use.

use crate::v1::{NODES, START};
use ostler_tests::components::{CORE_MODULE, dummy, importing, marked, other_dummy, probe, replaced};
use ostler_tests::{Client, PATIENCE, Server, Setup, eventually, median, turn};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const PATH: &str = "/api/v1/nodes/fake_driver";

/// What [`other_dummy`] answers.
fn other_nodes() -> String {
    NODES.replace("Dummy Node Provider", "Dummy Node Provides").replace(r#""foo": "bar""#, r#""foo": "baz""#)
}

/// 32 connections that ask without a pause and keep what is no whole answer of one version.
struct Load {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    tasks: tokio::task::JoinSet<Vec<String>>,
}

impl Load {
    fn start(server: &Server) -> Self {
        let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (old, new) = (NODES.as_bytes(), Arc::new(other_nodes()));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..32 {
            let mut client = Client::new(server.address());
            let (stop, answers, new) = (Arc::clone(&stop), Arc::clone(&answers), Arc::clone(&new));
            tasks.spawn(async move {
                let mut bad = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let request = client.request("GET", PATH, &[], "");
                    match client.send(request).await {
                        Ok(reply) if reply.status == 200 && (reply.body == old || reply.body == new.as_bytes()) => {}
                        Ok(reply) => bad.push(format!("{} {}", reply.status, reply.text())),
                        Err(error) => bad.push(error),
                    }
                    answers.fetch_add(1, Ordering::Relaxed);
                }
                bad
            });
        }
        Self { stop, answers, tasks }
    }

    /// Lets at least so many more answers come.
    async fn go_on(&self, answers: usize) {
        let from = self.answers.load(Ordering::Relaxed);
        eventually("answers come", PATIENCE, async || (self.answers.load(Ordering::Relaxed) >= from + answers).then_some(()))
            .await;
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        let bad = self.tasks.join_all().await.concat();
        let answers = self.answers.load(Ordering::Relaxed);
        println!("{answers} answers");
        assert!(answers > 1000, "only {answers} answers");
        assert!(bad.is_empty(), "{} of {answers} answers failed or are mixed: {}", bad.len(), bad[0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_swaps_by_the_api_under_load() {
    let server = Setup::development().start().await;
    let versions = [(other_dummy(), other_nodes()), (dummy(), NODES.to_owned())];
    let load = Load::start(&server);
    let mut client = server.client();
    for swap in 0..20 {
        let (component, nodes) = &versions[swap % 2];
        let reply = server.install("dummy", component.clone()).await;
        assert_eq!((reply.status, reply.json()["changed"].as_bool()), (200, Some(true)), "{}", reply.text());
        assert_eq!(client.get(PATH).await.text(), nodes, "it serves when the installation is answered");
        load.go_on(100).await;
    }
    load.end().await;
    let shown = server.as_operator("GET", "/ostler/v1/drivers/dummy", "").await.json();
    assert!(shown["history"].as_array().unwrap().len() >= 20, "{shown}");
}

fn rename_into(path: &Path, component: &[u8]) {
    let beside = path.with_extension("part");
    std::fs::write(&beside, component).unwrap();
    std::fs::rename(beside, path).unwrap();
}

async fn answers(client: &mut Client, nodes: &str) {
    // A first version has to be compiled, behind everything else that a busy machine does.
    eventually("the new version answers", PATIENCE * 4, async || (client.get(PATH).await.text() == nodes).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_swaps_by_the_directory_under_load() {
    let server = Setup::development().start().await;
    let versions = [(other_dummy(), other_nodes()), (dummy(), NODES.to_owned())];
    let path = server.driver_file("dummy.wasm");
    let load = Load::start(&server);
    let mut client = server.client();
    for swap in 0..20 {
        let (component, nodes) = &versions[swap % 2];
        if swap % 4 < 2 {
            rename_into(&path, component);
        } else {
            std::fs::write(&path, component).unwrap();
        }
        answers(&mut client, nodes).await;
    }
    load.end().await;
}

#[tokio::test]
async fn a_changed_file_serves_soon() {
    const BOUND: Duration = Duration::from_millis(500);
    let turn = turn::alone().await;
    let server = Setup::development().alone().start().await;
    let versions = [(other_dummy(), other_nodes()), (dummy(), NODES.to_owned())];
    let path = server.driver_file("dummy.wasm");
    let mut client = server.client();
    let (mut renamed, mut copied) = (Vec::new(), Vec::new());
    for swap in 0..16 {
        let (component, nodes) = &versions[swap % 2];
        let started = Instant::now();
        let times = if swap % 4 < 2 {
            rename_into(&path, component);
            &mut renamed
        } else {
            std::fs::write(&path, component).unwrap();
            &mut copied
        };
        answers(&mut client, nodes).await;
        // The first of each has to be compiled.
        if swap >= 2 {
            times.push(started.elapsed());
        }
    }
    println!("renamed {renamed:?}, copied {copied:?}");
    for (how, mut times) in [("renamed", renamed), ("copied", copied)] {
        let middle = median(&mut times);
        assert!(middle < BOUND, "{how}: {middle:?}");
    }
    drop((server, turn));
}

/// Two clouds of the driver `dummy`; one of the driver `moody`, whose `describe` traps the second time it is asked (so the seed); one of the
/// driver `poor` that may not use the state.
const REFUSING: &str = "
[clouds.fake_driver]
driver = \"dummy\"
[clouds.default]
driver = \"dummy\"
[clouds.moody]
driver = \"moody\"
config = { faults = { describe = { trap = 0.5 } }, seed = 11 }
[clouds.poor]
driver = \"poor\"
grants = { state = false }
[api.crs4]
open = true
";

#[tokio::test]
async fn a_refused_component_changes_nothing() {
    let good = dummy();
    let server = Setup::configured(REFUSING).driver("moody", good.clone()).start().await;
    server.serving("moody").await;
    let other_contract = replaced(&good, "@0.1.0", "@0.2.0");
    let table: Vec<(&str, &str, Vec<u8>, &[&str])> = vec![
        ("nothing", "dummy", Vec::new(), &["not a WebAssembly component"]),
        ("a text", "dummy", b"#!/bin/sh\necho driver".to_vec(), &["not a WebAssembly component"]),
        ("a core module", "dummy", CORE_MODULE.to_vec(), &["core module", "wasm32-wasip2"]),
        ("half of it", "dummy", good[..good.len() / 2].to_vec(), &["not a WebAssembly component"]),
        ("a changed byte", "dummy", replaced(&good, "\0asm\x01\0\0\0", "\0asm\x01\0\0\x7f"), &["not a WebAssembly component"]),
        ("another contract", "dummy", other_contract, &["ostler:driver/driver@0.2.0", "0.1"]),
        (
            "an unknown import",
            "dummy",
            importing(&good, "acme:tools/hammer@1.2.3"),
            &["acme:tools/hammer@1.2.3", "does not provide"],
        ),
        (
            "an import of another version",
            "dummy",
            replaced(&good, "ostler:driver/state@0.1.0", "ostler:driver/state@0.9.0"),
            &["ostler:driver/state@0.9.0"],
        ),
        ("no grant for HTTP", "dummy", probe(), &["wasi:http/", "@0.2.", "not granted", "grants.http"]),
        (
            "no grant for a hypervisor",
            "dummy",
            importing(&good, "ostler:driver/hypervisor@0.1.0"),
            &["ostler:driver/hypervisor@0.1.0", "not granted", "grants.hypervisor"],
        ),
        ("a withdrawn grant", "poor", good.clone(), &["clouds.poor.grants.state", "ostler:driver/state@0.1.0"]),
        ("a describe that traps", "moody", marked(&good, "2"), &["describe", "moody", "trap"]),
        ("an impossible name", "UPPER", good.clone(), &["name"]),
    ];
    let digest = server.active("dummy").await;
    let moody = server.active("moody").await;
    let mut wrong = Vec::new();
    for (what, name, component, reasons) in table {
        let reply = server.install(name, component).await;
        assert_eq!((reply.status, reply.header("content-type")), (422, "application/problem+json"), "{what}: {}", reply.text());
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        for reason in reasons {
            if !detail.contains(reason) {
                wrong.push(format!("{what}: `{reason}` is not in: {detail}"));
            }
        }
        println!("{what}: {detail}");
        assert_eq!(server.get(PATH).await.text(), NODES, "{what}");
        assert_eq!(server.active("dummy").await, digest, "{what}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(server.active("moody").await, moody);
    assert_eq!(server.get("/api/v1/nodes/moody").await.text(), NODES, "the running version stays");

    // The same in the directory: refused with the reason in the log, and what comes after is taken.
    let file = server.driver_file("dummy.wasm");
    rename_into(&file, b"no component");
    eventually("the refusal is logged", PATIENCE, async || {
        let log = server.log();
        log.lines().any(|line| line.contains("refused") && line.contains("not a WebAssembly component")).then_some(())
    })
    .await;
    assert_eq!((server.get(PATH).await.text(), server.active("dummy").await), (NODES, digest));
    rename_into(&file, &other_dummy());
    answers(&mut server.client(), &other_nodes()).await;
}

#[tokio::test]
async fn a_component_larger_than_permitted() {
    let server = Setup::configured(format!("{REFUSING}[drivers]\nmax_component_mb = 1\n")).start().await;
    let large = marked(&dummy(), &"x".repeat(1 << 20));
    let reply = server.install("dummy", large.clone()).await;
    assert!(matches!(reply.status, 413 | 422), "{}", reply.text());
    rename_into(&server.driver_file("dummy.wasm"), &large);
    eventually("the refusal is logged", PATIENCE, async || server.log().contains("more than the limit").then_some(())).await;
    assert_eq!(server.get(PATH).await.text(), NODES);
}

fn said(server: &Server, arguments: &[&str]) -> String {
    let output = server.cli(arguments);
    let (out, err) = (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(output.status.success(), "{arguments:?}: {out}{err}");
    out
}

fn complained(server: &Server, arguments: &[&str]) -> String {
    let output = server.cli(arguments);
    assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn the_command_line_installs_shows_rolls_back_and_removes() {
    let mut server = Setup::development().start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dummy.wasm");
    std::fs::write(&file, other_dummy()).unwrap();
    let file = file.to_str().unwrap();
    let builtin = server.active("dummy").await;

    let list = said(&server, &["driver", "list"]);
    assert!(list.contains("dummy") && list.contains("builtin") && list.contains("default, fake_driver"), "{list}");
    let installed = said(&server, &["driver", "install", file]);
    assert!(installed.contains("dummy") && installed.contains("serves now") && installed.contains("sha256:"), "{installed}");
    assert_eq!(server.get(PATH).await.text(), other_nodes());
    let other = server.active("dummy").await;
    assert!(said(&server, &["driver", "install", file]).contains("serves already"));
    let list: serde_json::Value = serde_json::from_str(&said(&server, &["driver", "list", "--json"])).unwrap();
    assert_eq!(list["drivers"][0]["active"]["digest"], other.as_str());
    let show = said(&server, &["driver", "show", "dummy"]);
    for part in ["ostler:driver@0.1.0", &other, "upload", "builtin", "latency_ms", "wasi:", "start-stop", "operator"] {
        assert!(show.contains(part), "{part} in {show}");
    }

    let back = said(&server, &["driver", "rollback", "dummy"]);
    assert!(back.contains("serves now") && back.contains(&builtin), "{back}");
    assert_eq!(server.get(PATH).await.text(), NODES);
    assert!(said(&server, &["driver", "rollback", "dummy", "--to", &other]).contains(&other));
    assert_eq!(server.get(PATH).await.text(), other_nodes());
    said(&server, &["driver", "rollback", "dummy"]);
    assert!(complained(&server, &["driver", "rollback", "dummy", "--to", "sha256:00"]).contains("sha256:00"));

    // The driver that the program brings along is left when what was installed over it is removed.
    said(&server, &["driver", "install", file]);
    said(&server, &["driver", "remove", "dummy"]);
    assert_eq!((server.get(PATH).await.text(), server.active("dummy").await), (NODES, builtin.clone()));
    assert!(complained(&server, &["driver", "remove", "dummy"]).contains("part of the program"));
    said(&server, &["driver", "install", "--name", "spare", file]);
    assert!(said(&server, &["driver", "list"]).contains("spare"));
    said(&server, &["driver", "remove", "spare"]);
    assert!(!said(&server, &["driver", "list"]).contains("spare"));
    assert!(!said(&server, &["driver", "show", "spare"]).contains("contract"), "only history is left");
    assert!(complained(&server, &["driver", "show", "unheard-of"]).contains("unheard-of"));
    std::fs::write(directory.path().join("bad.wasm"), "bad").unwrap();
    let bad = directory.path().join("bad.wasm");
    assert!(
        complained(&server, &["driver", "install", "--name", "dummy", bad.to_str().unwrap()])
            .contains("not a WebAssembly component")
    );

    // Nothing of it is lost with the process.
    said(&server, &["driver", "install", file]);
    server.kill();
    server.start().await;
    assert_eq!((server.get(PATH).await.text(), server.active("dummy").await), (other_nodes().as_str(), other));
}

#[tokio::test]
async fn a_driver_in_use_is_not_removed() {
    let server = Setup::configured("[clouds.lab]\ndriver = \"spare\"\n[api.crs4]\nopen = true\n").start().await;
    let nobody = server.get("/api/v2/nodes/lab").await;
    assert_eq!(nobody.status, 503, "no driver yet: {}", nobody.text());
    assert_eq!(server.install("spare", dummy()).await.status, 200);
    assert_eq!(server.get("/api/v1/nodes/lab").await.text(), NODES);
    let reply = server.as_operator("DELETE", "/ostler/v1/drivers/spare", "").await;
    assert_eq!(reply.status, 409, "{}", reply.text());
    assert!(reply.text().contains("lab"), "{}", reply.text());
    assert_eq!(server.get("/api/v1/nodes/lab").await.text(), NODES);
}

#[tokio::test]
async fn a_rollback_survives_a_restart_though_the_directory_holds_the_newer_file() {
    let mut server = Setup::development().start().await;
    let file = server.driver_file("dummy.wasm");
    rename_into(&file, &other_dummy());
    answers(&mut server.client(), &other_nodes()).await;
    said(&server, &["driver", "rollback", "dummy"]);
    assert_eq!(server.get(PATH).await.text(), NODES);
    for graceful in [true, false] {
        if graceful {
            server.terminate();
            assert!(server.ended().await.success());
        } else {
            server.kill();
        }
        server.start().await;
        // Whatever the directory is going to do, it has done when a newcomer is taken from it.
        let mark = format!("witness{graceful}");
        rename_into(&server.driver_file(&format!("{mark}.wasm")), &marked(&dummy(), &mark));
        eventually("the directory is looked at", PATIENCE, async || (!server.active(&mark).await.is_empty()).then_some(())).await;
        assert_eq!(server.get(PATH).await.text(), NODES, "graceful: {graceful}");
    }
    // A file that is newer still is taken.
    rename_into(&file, &marked(&other_dummy(), "newer"));
    answers(&mut server.client(), &other_nodes()).await;
}

#[tokio::test]
async fn calls_under_way_finish_on_the_version_on_which_they_began() {
    let config = "[clouds.slow]\ndriver = \"dummy\"\nconfig = { latency_ms = { list-images = 700 } }\n[api.crs4]\nopen = true\n";
    let server = Setup::configured(config).start().await;
    let patched = replaced(&dummy(), "Slackware 4", "Slackware 5");
    let mut client = server.client();
    let (slow, ()) = futures::join!(client.get("/api/v1/images/slow"), async {
        eventually("the call is under way", PATIENCE, async || {
            tokio::time::sleep(Duration::from_millis(150)).await;
            Some(())
        })
        .await;
        assert_eq!(server.install("dummy", patched).await.status, 200);
    });
    assert!(slow.status == 200 && slow.text().contains("Slackware 4"), "{}", slow.text());
    let new = client.get("/api/v1/images/slow").await;
    assert!(new.text().contains("Slackware 5"), "{}", new.text());
}

#[tokio::test]
async fn signatures_are_asked_for_and_checked() {
    use base64::Engine;
    use ed25519_dalek::{Signer, SigningKey};
    let base64 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let (key, stranger) = (SigningKey::from_bytes(&[7; 32]), SigningKey::from_bytes(&[8; 32]));
    let config = format!(
        "[drivers]\ntrusted_keys = [\"ed25519:{}\"]\n[clouds.fake_driver]\ndriver = \"dummy\"\n[api.crs4]\nopen = true\n",
        base64(key.verifying_key().as_bytes())
    );
    let server = Setup::configured(config).start().await;
    let component = other_dummy();
    let good = base64(&key.sign(&component).to_bytes());
    let token = format!("Bearer {}", server.operator());
    let put = async |signature: Option<&str>, component: &[u8]| {
        let mut headers = vec![("authorization", token.as_str())];
        headers.extend(signature.map(|signature| ("ostler-signature", signature)));
        server.call("PUT", "/ostler/v1/drivers/dummy", &headers, component.to_vec()).await
    };
    let forged = base64(&stranger.sign(&component).to_bytes());
    for (what, signature, component, status, reason) in [
        ("none", None, &component, 422, "drivers.require_signature"),
        ("a stranger's", Some(forged.as_str()), &component, 422, "trusted key"),
        ("for other bytes", Some(&good), &marked(&component, "x"), 422, "changed after signing"),
        ("no signature", Some("bm9uc2Vuc2U="), &component, 400, "64 bytes"),
        ("nonsense", Some("%%%"), &component, 400, "64 bytes"),
    ] {
        let reply = put(signature, component).await;
        assert_eq!(reply.status, status, "{what}: {}", reply.text());
        assert!(reply.text().contains(reason), "{what}: {}", reply.text());
        assert_eq!(server.get(PATH).await.text(), NODES, "{what}");
    }
    let reply = put(Some(&good), &component).await;
    assert_eq!((reply.status, reply.json()["active"]["about"]["signed"].as_bool()), (200, Some(true)), "{}", reply.text());
    assert_eq!(server.get(PATH).await.text(), other_nodes());

    // By the command line, with the signature beside the file.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dummy.wasm");
    let second = marked(&dummy(), "signed");
    std::fs::write(&file, &second).unwrap();
    assert!(complained(&server, &["driver", "install", file.to_str().unwrap()]).contains("drivers.require_signature"));
    std::fs::write(directory.path().join("dummy.wasm.sig"), key.sign(&second).to_bytes()).unwrap();
    said(&server, &["driver", "install", file.to_str().unwrap()]);
    assert_eq!(server.get(PATH).await.text(), NODES);

    // In the directory.
    let third = marked(&other_dummy(), "directory");
    rename_into(&server.driver_file("dummy.wasm"), &third);
    eventually("the unsigned file is refused", PATIENCE, async || {
        server.log().contains("drivers.require_signature").then_some(())
    })
    .await;
    assert_eq!(server.get(PATH).await.text(), NODES);
    let signature = server.driver_file("dummy.wasm.sig");
    let beside = signature.with_extension("part");
    std::fs::write(&beside, base64(&key.sign(&third).to_bytes())).unwrap();
    std::fs::rename(beside, signature).unwrap();
    answers(&mut server.client(), &other_nodes()).await;
}

#[tokio::test]
async fn nodes_outlive_a_swap() {
    let server = Setup::development().start().await;
    assert_eq!(server.json("POST", "/api/v1/vm/start/fake_driver", START).await.status, 200);
    let before = server.get(PATH).await;
    assert_eq!(server.install("dummy", marked(&dummy(), "another")).await.status, 200);
    assert_eq!(server.get(PATH).await.body, before.body);
}
