//! What breaks on a real hypervisor: the host, the daemon, a guest that does not listen, a pool without room.

use super::artefacts::Artefacts;
use super::{Foreign, PATIENCE, Platform, boots, free_port, there, variable, virsh};
use ostler_tests::eventually;
use serde_json::{Value, json};
use std::process::Command;

/// A second cloud, whose pool has room for one image.
const SMALL: &str = "[clouds.small]\ndriver = \"libvirt\"\ngrants = { hypervisor = \"URI\" }\n\
    config = { sizes = [{ id = \"tiny\", vcpus = 1, ram_mb = 128, disk_gb = 0 }] }\nlimits = { call_seconds = 60 }\n\
    [clouds.small.hypervisor]\npools = [\"small\"]\nvirtualization = \"qemu\"\n";

impl Platform {
    /// The same request for an instance, however often.
    async fn keyed(&self, image: i64, key: &str) -> Result<i64, String> {
        let order = json!({ "instance": { "imageRef": image, "name": key } }).to_string();
        let authorization = Self::authorization();
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json"), ("idempotency-key", key)];
        let mut client = self.server.client();
        let request = client.request("POST", "/cloudedge/instances", &headers, order);
        let reply = client.send(request).await?;
        match (reply.status, reply.json()["instance"]["id"].as_i64()) {
            (202, Some(id)) => Ok(id),
            _ => Err(reply.text().to_owned()),
        }
    }

    /// The same, until there is an answer.
    async fn made(&self, image: i64, key: &str) -> i64 {
        eventually(key, PATIENCE, async || self.keyed(image, key).await.ok()).await
    }

    async fn instances(&self) -> Vec<i64> {
        let listed = self.get("/cloudedge/instances").await;
        let mut ids: Vec<i64> = listed["instances"].as_array().unwrap().iter().map(|one| one["id"].as_i64().unwrap()).collect();
        ids.sort_unstable();
        ids
    }

    /// The process dies at a step of an operation, while somebody waits for its end, and begins again.
    async fn die(&mut self, plot: &str, action: impl AsyncFnOnce(&Self)) {
        self.server.kill();
        self.server.set_env("OSTLER_FAULT", Some(plot));
        self.server.start().await;
        self.server.serving("default").await;
        action(self).await;
        assert!(!self.server.ended().await.success(), "{plot}: it ended by itself");
        self.server.set_env("OSTLER_FAULT", None);
        self.server.start().await;
        self.server.serving("default").await;
    }
}

/// Domains that are not in a list of names of domains and volumes.
fn domains_besides(before: &[String]) -> usize {
    virsh(&["list", "--all", "--name"]).split_whitespace().filter(|name| !before.iter().any(|known| known == name)).count()
}

#[tokio::test]
#[ignore = "needs real guests: tests/setup/libvirt.sh"]
async fn whatever_dies_each_order_makes_one_machine_and_leaves_none() {
    let foreign = Foreign::place();
    let before = there();
    let artefacts = Artefacts::serve(variable("OSTLER_TEST_LIBVIRT_IMAGE").as_ref()).await;
    let mut platform = Platform::start(&artefacts, free_port(), "").await;
    let image = platform.register("tiny", &artefacts.url("tiny.qcow2"), None).await;
    assert_eq!(platform.saved(image).await, "ACTIVE", "{}", platform.server.log());

    let mut instances = Vec::new();
    for (number, fault) in ["crash-before", "crash-after", "error-after"].into_iter().enumerate() {
        let (plot, key) = (format!("create-instance.make-node.act:{fault}"), format!("order-{number}"));
        if fault.starts_with("crash") {
            platform.die(&plot, async |platform| drop(platform.keyed(image, &key).await)).await;
        } else {
            platform.server.kill();
            platform.server.set_env("OSTLER_FAULT", Some(&plot));
            platform.server.start().await;
            platform.server.serving("default").await;
        }
        instances.push(platform.made(image, &key).await);
        platform.server.set_env("OSTLER_FAULT", None);
        assert_eq!((platform.instances().await, domains_besides(&before)), (instances.clone(), instances.len()), "{plot}");
    }

    // The daemon dies while many are made.
    let orders = futures::future::join_all((3..9).map(|number| {
        let platform = &platform;
        async move { platform.made(image, &format!("order-{number}")).await }
    }));
    let restart = async {
        eventually("some are made", PATIENCE, async || (domains_besides(&before) > 4).then_some(())).await;
        let line = variable("OSTLER_TEST_LIBVIRT_RESTART");
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let restarted = tokio::task::spawn_blocking(move || Command::new(&words[0]).args(&words[1..]).status().unwrap());
        assert!(restarted.await.unwrap().success());
    };
    let (more, ()) = futures::future::join(orders, restart).await;
    instances.extend(more);
    instances.sort_unstable();
    eventually("all are there", PATIENCE, async || {
        let count = Command::new("virsh").args(["-q", "-c", &variable("OSTLER_TEST_LIBVIRT"), "version"]).output().unwrap();
        (count.status.success() && domains_besides(&before) == instances.len()).then_some(())
    })
    .await;
    assert_eq!(platform.instances().await, instances);
    for id in &instances {
        platform.until(*id, "stopped").await;
    }

    // The host dies while one starts, and while one is deleted.
    let one = instances[0];
    let (_, port) = platform.forward(one).await;
    let path = format!("/cloudedge/instances/{one}/action");
    for fault in ["crash-before", "crash-after"] {
        platform
            .die(&format!("act.act.act:{fault}"), async |platform| {
                drop(platform.tried("POST", &path, &json!({ "start": null })).await);
            })
            .await;
        platform.until(one, "running").await;
        platform.act(one, json!({ "stop": { "type": "HARD" } })).await;
        platform.until(one, "stopped").await;
    }
    platform.act(one, json!({ "start": null })).await;
    boots(port, 1).await;
    for (id, fault) in instances.iter().zip(["crash-before", "crash-after"]) {
        let path = format!("/cloudedge/instances/{id}");
        let plot = format!("delete-instance.destroy-node.act:{fault}");
        platform.die(&plot, async |platform| drop(platform.tried("DELETE", &path, &Value::Null).await)).await;
        eventually("it is gone", PATIENCE, async || {
            (platform.call("GET", &path, &Value::Null).await.status == 404).then_some(())
        })
        .await;
    }
    for id in &instances[2..] {
        platform.delete(&format!("/cloudedge/instances/{id}")).await;
    }
    platform.delete(&format!("/cloudedge/images/{image}")).await;
    eventually("nothing is left", PATIENCE, async || (there() == before).then_some(())).await;
    foreign.untouched();
}

#[tokio::test]
#[ignore = "needs real guests: tests/setup/libvirt.sh"]
async fn a_guest_that_does_not_listen_and_a_pool_without_room() {
    let before = there();
    let artefacts = Artefacts::serve(variable("OSTLER_TEST_LIBVIRT_IMAGE").as_ref()).await;
    let small = SMALL.replace("URI", &variable("OSTLER_TEST_LIBVIRT"));
    let platform = Platform::start(&artefacts, free_port(), &small).await;
    platform.server.serving("small").await;

    // Nothing boots from an empty disk, so nobody hears that it should stop.
    let empty = platform.register("empty", &artefacts.url("empty.qcow2"), None).await;
    assert_eq!(platform.saved(empty).await, "ACTIVE", "{}", platform.server.log());
    let deaf = platform.instance(empty, None).await;
    platform.act(deaf, json!({ "start": null })).await;
    platform.until(deaf, "running").await;
    platform.act(deaf, json!({ "stop": { "type": "SOFT" } })).await;
    platform.until(deaf, "stopping").await;

    // Meanwhile, the other cloud runs out of room; what did not fit leaves nothing, and is in nobody's way.
    let images = async || virsh(&["vol-list", "small"]).lines().count();
    let register = async |name: &str| {
        let order = json!({ "image": { "name": name, "imageRef": artefacts.url("tiny.qcow2") } });
        let made = platform.call("POST", "/small/cloudedge/images", &order).await;
        assert_eq!(made.status, 202, "{}", made.text());
        let id = made.json()["image"]["id"].as_i64().unwrap();
        let status = eventually("the image is ready, or not", PATIENCE, async || {
            let status =
                platform.get(&format!("/small/cloudedge/images/{id}")).await["image"]["status"].as_str().unwrap().to_owned();
            (status != "SAVING").then_some(status)
        })
        .await;
        (id, status)
    };
    let (first, status) = register("first").await;
    assert_eq!(status, "ACTIVE", "{}", platform.server.log());
    let volumes = images().await;
    let (second, status) = register("second").await;
    assert_eq!(status, "ERROR", "{}", platform.server.log());
    eventually("nothing of it is left", PATIENCE, async || (images().await == volumes).then_some(())).await;
    for id in [second, first] {
        platform.delete(&format!("/small/cloudedge/images/{id}")).await;
    }
    let (third, status) = register("third").await;
    assert_eq!(status, "ACTIVE", "{}", platform.server.log());
    platform.delete(&format!("/small/cloudedge/images/{third}")).await;
    eventually("nothing is left", PATIENCE, async || (images().await == 0).then_some(())).await;

    // It was asked and goes on; then it is not asked.
    platform.until(deaf, "running").await;
    platform.act(deaf, json!({ "stop": { "type": "HARD" } })).await;
    platform.until(deaf, "stopped").await;
    platform.delete(&format!("/cloudedge/instances/{deaf}")).await;
    platform.delete(&format!("/cloudedge/images/{empty}")).await;
    eventually("nothing is left", PATIENCE, async || (there() == before).then_some(())).await;
}
