//! A platform on real guests: images that are fetched, instances that boot, ports that lead to them, measurements of what they did.
//!
//! `tests/setup/libvirt.sh start DIR` brings the hypervisor up; the tests run where its guests are (`libvirt.sh exec DIR …`), with its
//! variables. The server must be built with the feature `libvirt`.

mod artefacts;
mod faults;

use artefacts::{Artefacts, BAD};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ostler_tests::components;
use ostler_tests::{Client, Reply, Server, Setup, eventually};
use serde_json::{Value, json};
use std::process::Command;
use std::time::{Duration, Instant};

/// What a guest under emulation on a busy machine stays below.
const PATIENCE: Duration = Duration::from_secs(240);
const PASSWORD: &str = "canary-of-the-platform";
const AWKWARD: &str = r#"<tiny> & "co" '{${x}'"#;

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: see tests/setup/libvirt.sh"))
}

/// What a command of libvirt's shell prints.
fn virsh(arguments: &[&str]) -> String {
    let output = Command::new("virsh").args(["-q", "-c", &variable("OSTLER_TEST_LIBVIRT")]).args(arguments).output().unwrap();
    assert!(output.status.success(), "virsh {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Names of all domains and volumes that there are.
fn there() -> Vec<String> {
    virsh(&["pool-refresh", "default"]);
    let mut names: Vec<String> = virsh(&["list", "--all", "--name"]).split_whitespace().map(str::to_owned).collect();
    names.extend(virsh(&["vol-list", "default"]).lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned));
    names.sort();
    names
}

/// A domain and a volume that are nobody's, in the pool of the disks; they go with it.
struct Foreign {
    name: String,
    domain: String,
}

impl Foreign {
    fn place() -> Self {
        let name = format!("foreign-{}", std::process::id());
        virsh(&["vol-create-as", "default", &name, "1048576", "--format", "qcow2"]);
        let xml = format!(
            "<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory><os><type>hvm</type></os><devices>\
             <disk type='volume'><driver name='qemu' type='qcow2'/><source pool='default' volume='{name}'/>\
             <target dev='vda' bus='virtio'/></disk></devices></domain>"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), xml).unwrap();
        virsh(&["define", file.path().to_str().unwrap()]);
        let domain = virsh(&["dumpxml", &name]);
        Self { name, domain }
    }

    fn untouched(&self) {
        assert_eq!(virsh(&["dumpxml", &self.name]), self.domain, "somebody touched it");
        assert!(there().iter().filter(|name| **name == self.name).count() == 2, "{:?}", there());
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        for arguments in [["undefine", &self.name, "--nvram"].as_slice(), &["vol-delete", &self.name, "--pool", "default"]] {
            let _ = Command::new("virsh").args(["-q", "-c", &variable("OSTLER_TEST_LIBVIRT")]).args(arguments).output();
        }
    }
}

/// A server with a cloud on the hypervisor.
struct Platform {
    server: Server,
}

impl Platform {
    async fn start(artefacts: &Artefacts, first_port: u16, more: &str) -> Self {
        let (uri, origin) = (variable("OSTLER_TEST_LIBVIRT"), artefacts.url(""));
        let config = format!(
            "[clouds.default]\ndriver = \"libvirt\"\ngrants = {{ hypervisor = \"{uri}\" }}\n\
             config = {{ sizes = [{{ id = \"tiny\", vcpus = 1, ram_mb = 128, disk_gb = 0 }}] }}\n\
             limits = {{ call_seconds = 60 }}\n\
             [clouds.default.hypervisor]\npools = [\"default\"]\nvirtualization = \"qemu\"\n\
             [images]\ninside = [\"{}\"]\n\
             [forwarding]\nlisten = \"127.0.0.1\"\nports = \"{first_port}-{}\"\n\
             [metrics]\ninterval_seconds = 2\n[work]\nsweep_seconds = 2\n[api.cloudedge]\n{more}",
            origin.trim_end_matches('/'),
            first_port + 9,
        );
        let setup = Setup::configured(config).env("OSTLER_ADMIN_PASSWORD", PASSWORD);
        let server = setup.driver("libvirt", components::libvirt()).start().await;
        server.serving("default").await;
        Self { server }
    }

    fn authorization() -> String {
        format!("Basic {}", STANDARD.encode(format!("admin:{PASSWORD}")))
    }

    async fn call(&self, method: &str, path: &str, body: &Value) -> Reply {
        self.tried(method, path, body).await.unwrap()
    }

    /// The same, where the server may die.
    async fn tried(&self, method: &str, path: &str, body: &Value) -> Result<Reply, String> {
        let authorization = Self::authorization();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut headers = vec![("authorization", authorization.as_str())];
        if !body.is_empty() {
            headers.push(("content-type", "application/json"));
        }
        let mut client = self.server.client();
        let request = client.request(method, path, &headers, body);
        client.send(request).await
    }

    async fn get(&self, path: &str) -> Value {
        let reply = self.call("GET", path, &Value::Null).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        reply.json()
    }

    /// Registers an image; its number.
    async fn register(&self, name: &str, reference: &str, checksum: Option<&str>) -> i64 {
        let mut image = json!({ "name": name, "imageRef": reference });
        if let Some(checksum) = checksum {
            image["checksum"] = json!(checksum);
        }
        let made = self.call("POST", "/cloudedge/images", &json!({ "image": image })).await;
        assert_eq!(made.status, 202, "{}", made.text());
        made.json()["image"]["id"].as_i64().unwrap()
    }

    /// What an image becomes.
    async fn saved(&self, image: i64) -> String {
        eventually("the image is ready, or not", PATIENCE, async || {
            let status = self.get(&format!("/cloudedge/images/{image}")).await["image"]["status"].as_str().unwrap().to_owned();
            (status != "SAVING").then_some(status)
        })
        .await
    }

    /// Makes an instance; its number.
    async fn instance(&self, image: i64, name: Option<&str>) -> i64 {
        let mut order = json!({ "imageRef": image });
        if let Some(name) = name {
            order["name"] = json!(name);
        }
        let made = self.call("POST", "/cloudedge/instances", &json!({ "instance": order })).await;
        assert_eq!(made.status, 202, "{}", made.text());
        let made = made.json();
        assert_eq!(made["instance"]["status"], "stopped", "{made}");
        made["instance"]["id"].as_i64().unwrap()
    }

    async fn act(&self, instance: i64, action: Value) {
        let path = format!("/cloudedge/instances/{instance}/action");
        let done = self.call("POST", &path, &action).await;
        assert_eq!((done.status, done.text()), (202, ""), "{action}");
    }

    async fn until(&self, instance: i64, status: &str) -> Value {
        eventually(&format!("the instance is {status}"), PATIENCE, async || {
            let shown = self.get(&format!("/cloudedge/instances/{instance}")).await;
            (shown["instances"]["status"] == status).then(|| shown["instances"].clone())
        })
        .await
    }

    /// Leads a port to the guest's web server; the port.
    async fn forward(&self, instance: i64) -> (i64, u16) {
        let order = json!({ "fwrule": { "instanceRef": instance, "port_to": 80 } });
        let made = self.call("POST", "/cloudedge/fwrules", &order).await;
        assert_eq!(made.status, 202, "{}", made.text());
        let rule = made.json()["fwrule"].clone();
        (rule["id"].as_i64().unwrap(), u16::try_from(rule["port_from"].as_u64().unwrap()).unwrap())
    }

    async fn delete(&self, path: &str) {
        let gone = self.call("DELETE", path, &Value::Null).await;
        assert_eq!(gone.status, 204, "{path}: {}", gone.text());
    }
}

/// How often the guest behind a port has booted, once that is what it says.
async fn boots(port: u16, expected: u32) {
    eventually(&format!("boot {expected} of the guest"), PATIENCE, async || {
        let request = http::Request::get("/index.html").header("host", "guest").body(Default::default()).unwrap();
        let mut client = Client::new(([127, 0, 0, 1], port).into());
        let reply = tokio::time::timeout(Duration::from_secs(5), client.send(request)).await.ok()?.ok()?;
        reply.text().contains(&format!("boots={expected} ")).then_some(())
    })
    .await;
}

fn free_port() -> u16 {
    // Ten ports in a range where nobody else is given any.
    20_000 + u16::try_from(std::process::id() % 1_000).unwrap() * 10
}

#[tokio::test]
#[ignore = "needs real guests: tests/setup/libvirt.sh"]
async fn from_a_url_to_a_guest_that_answers_and_back_to_nothing() {
    let foreign = Foreign::place();
    let before = there();
    let artefacts = Artefacts::serve(variable("OSTLER_TEST_LIBVIRT_IMAGE").as_ref()).await;
    let mut platform = Platform::start(&artefacts, free_port(), "").await;
    let resources = platform.get("/cloudedge/platform/resources").await;
    assert!(resources["cpu"]["vcpu"].as_u64() >= Some(1) && resources["ram"].as_u64() >= Some(100), "{resources}");

    let image = platform.register(AWKWARD, &artefacts.url("tiny.qcow2"), Some(&artefacts.sha256("tiny.qcow2"))).await;
    assert_eq!(platform.saved(image).await, "ACTIVE", "{}", platform.server.log());
    let one = platform.instance(image, Some(AWKWARD)).await;
    let shown = platform.get(&format!("/cloudedge/instances/{one}")).await["instances"].clone();
    assert_eq!(
        (&shown["name"], &shown["status"], &shown["image"]["name"]),
        (&json!(AWKWARD), &json!("stopped"), &json!(AWKWARD))
    );
    let (rule, port) = platform.forward(one).await;
    platform.act(one, json!({ "start": null })).await;
    platform.until(one, "running").await;
    boots(port, 1).await;
    let ip = platform.get(&format!("/cloudedge/instances/{one}")).await["instances"]["ip"].clone();
    assert!(ip.as_str().is_some_and(|ip| ip.starts_with("192.168.122.")), "{ip}");

    platform.act(one, json!({ "freeze": null })).await;
    platform.until(one, "frozen").await;
    platform.act(one, json!({ "resume": {} })).await;
    platform.until(one, "running").await;
    boots(port, 1).await;
    platform.act(one, json!({ "reboot": { "type": "HARD" } })).await;
    boots(port, 2).await;
    platform.act(one, json!({ "reboot": { "type": "SOFT" } })).await;
    boots(port, 3).await;
    platform.act(one, json!({ "stop": { "type": "SOFT" } })).await;
    platform.until(one, "stopped").await;
    platform.act(one, json!({ "start": null })).await;
    boots(port, 4).await;

    // What it does is measured.
    let traffic = async |path: &str| {
        let now = jiff_text();
        let query = format!("metric=NetworkOut&statistics=sum&startTime=2026-01-01T00:00:00Z&endTime={now}&period=year");
        let shown = platform.get(&format!("/cloudedge/instances/{one}/{path}?{query}")).await;
        let points = shown["NetworkOut"]["datapoints"].as_object().cloned().unwrap_or_default();
        points.values().filter_map(Value::as_f64).sum::<f64>()
    };
    eventually("there is something to measure", PATIENCE, async || {
        let metrics = platform.get(&format!("/cloudedge/instance/{one}/metrics")).await;
        let all = metrics["metrics"].as_array().unwrap().clone();
        ["CPUUtilization", "NetworkIn", "NetworkOut", "DiskRead"]
            .iter()
            .all(|name| all.iter().any(|metric| metric.get(name).is_some()))
            .then_some(())
    })
    .await;
    let quiet = traffic("metrics/statistics").await;
    let began = Instant::now();
    while traffic("metrics/statistics").await < quiet + 10.0 {
        boots(port, 4).await;
        assert!(began.elapsed() < PATIENCE, "the traffic of the guest is not seen");
    }

    // The host dies; the daemon dies: rules and instances are what they were.
    platform.server.kill();
    platform.server.start().await;
    platform.server.serving("default").await;
    boots(port, 4).await;
    let restart = variable("OSTLER_TEST_LIBVIRT_RESTART");
    let words: Vec<&str> = restart.split(' ').collect();
    assert!(Command::new(words[0]).args(&words[1..]).status().unwrap().success());
    platform.until(one, "running").await;
    boots(port, 4).await;

    // Another one is destroyed behind our back.
    let two = platform.instance(image, None).await;
    let name = platform.get(&format!("/cloudedge/instances/{two}")).await["instances"]["name"].as_str().unwrap().to_owned();
    assert!(name.ends_with(&format!("-instance-{two}")), "{name}");
    let mine = virsh(&["list", "--all", "--name"]);
    let domain =
        mine.split_whitespace().find(|domain| !before.contains(&(*domain).to_owned()) && domain.contains("instance")).unwrap();
    virsh(&["undefine", domain]);
    platform.until(two, "error").await;
    platform.delete(&format!("/cloudedge/instances/{two}")).await;

    // An image that is used stays.
    let kept = platform.call("DELETE", &format!("/cloudedge/images/{image}"), &Value::Null).await;
    assert_eq!(kept.status, 409, "{}", kept.text());
    platform.delete(&format!("/cloudedge/instances/{one}")).await;
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err(), "the port is closed");
    let gone = platform.call("GET", &format!("/cloudedge/fwrules/{rule}"), &Value::Null).await;
    assert_eq!(gone.status, 404, "{}", gone.text());
    platform.delete(&format!("/cloudedge/images/{image}")).await;
    eventually("nothing is left", PATIENCE, async || (there() == before).then_some(())).await;
    foreign.untouched();
}

/// The time now, as clients write it.
fn jiff_text() -> String {
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 60;
    let output = Command::new("date").args(["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%dT%H:%M:%SZ"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
#[ignore = "needs real guests: tests/setup/libvirt.sh"]
async fn images_that_must_not_be_are_not() {
    let foreign = Foreign::place();
    let before = there();
    let artefacts = Artefacts::serve(variable("OSTLER_TEST_LIBVIRT_IMAGE").as_ref()).await;
    let platform = Platform::start(&artefacts, free_port(), "").await;
    // At once, by their address.
    for reference in [
        "file:///etc/shadow",
        "ftp://127.0.0.1/x",
        "/etc/shadow",
        "http://",
        "",
        "http://127.0.0.2:9/x.qcow2",
        "http://169.254.169.254/latest",
        "http://192.168.122.1/x",
        "http://[::1]:9/x",
        "http://localhost:9/x",
    ] {
        let order = json!({ "image": { "name": "bad", "imageRef": reference } });
        let refused = platform.call("POST", "/cloudedge/images", &order).await;
        assert_eq!(refused.status, 400, "{reference}: {}", refused.text());
    }
    // Or as soon as it is known what they are.
    let mut images = Vec::new();
    for bad in BAD {
        images.push((bad.to_owned(), platform.register("bad", &artefacts.url(bad), None).await));
    }
    let wrong = format!("sha256:{}", "0".repeat(64));
    images.push(("a checksum".into(), platform.register("bad", &artefacts.url("tiny.qcow2"), Some(&wrong)).await));
    for (what, image) in &images {
        assert_eq!(platform.saved(*image).await, "ERROR", "{what}");
        let shown = platform.get(&format!("/cloudedge/images/{image}")).await;
        assert!(!shown.to_string().contains("root:"), "{what}: {shown}");
    }
    eventually("nothing of them is left", PATIENCE, async || (there() == before).then_some(())).await;
    for (what, image) in images {
        let gone = platform.call("DELETE", &format!("/cloudedge/images/{image}"), &Value::Null).await;
        assert_eq!(gone.status, 204, "{what}: {}", gone.text());
    }
    // One in an archive is good.
    let image = platform.register("archived", &artefacts.url("tiny.tar.gz"), None).await;
    assert_eq!(platform.saved(image).await, "ACTIVE", "{}", platform.server.log());
    platform.delete(&format!("/cloudedge/images/{image}")).await;
    eventually("nothing is left", PATIENCE, async || (there() == before).then_some(())).await;
    foreign.untouched();
}
