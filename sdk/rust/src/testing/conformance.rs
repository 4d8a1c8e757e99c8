//! The rules of the contract, as a test of any driver.

use std::collections::HashSet;
use std::time::Duration;

use super::Cloud;
use crate::types::Extra;
use crate::{Action, Driver, Error, Force, ImageSpec, Node, NodeSpec, NodeState, Page, Result};

/// What a driver does against the contract, one line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("against the contract:\n- {}", .0.join("\n- "))]
pub struct Violations(pub Vec<String>);

/// How long an order may take in the cloud's time.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Pages and polls after which a list or an order counts as endless.
const ENDLESS: usize = 10_000;
/// What the contract says of features without parameter.
const FEATURES: [&str; 15] = [
    "start-stop",
    "reboot",
    "suspend",
    "create-stopped",
    "user-data",
    "metadata",
    "key-pairs",
    "networks",
    "public-addresses",
    "block-devices",
    "image-import",
    "image-import:staged",
    "image-delete",
    "capacity",
    "samples",
];

/// What the test orders.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// The address that `import-image` is given, of a qcow2 image. A provider that is played needs none that exists; a real one
    /// fetches it.
    pub image_url: String,
    /// How long to wait by the real clock between two looks at something that takes its time. A provider that is played goes by the
    /// cloud's clock and needs none.
    pub pause: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { image_url: "https://images.invalid/a.qcow2".to_owned(), pause: Duration::ZERO }
    }
}

impl Options {
    /// Another image to import.
    #[must_use]
    pub fn image_url(mut self, url: impl Into<String>) -> Self {
        self.image_url = url.into();
        self
    }

    /// Another pause.
    #[must_use]
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }
}

/// Tries a driver against a cloud that holds no orders yet: creates nodes, looks for them, destroys them, and asks for what does not
/// exist. Calls go to new instances, since an instance may be new at any call. The cloud must have at least one active image
/// and one size.
///
/// # Errors
/// Everything that was not as the contract says.
pub fn check<D: Driver>(cloud: &Cloud) -> Result<(), Violations> {
    check_with::<D>(cloud, &Options::default())
}

/// As [`check`], with other orders.
///
/// # Errors
/// As [`check`].
pub fn check_with<D: Driver>(cloud: &Cloud, options: &Options) -> Result<(), Violations> {
    let mut kit = Kit { cloud, options, violations: Vec::new() };
    if let Err(error) = kit.run::<D>() {
        kit.violations.push(format!("a call that must succeed failed: {error}"));
    }
    if kit.violations.is_empty() { Ok(()) } else { Err(Violations(kit.violations)) }
}

struct Kit<'a> {
    cloud: &'a Cloud,
    options: &'a Options,
    violations: Vec<String>,
}

impl Kit<'_> {
    fn must(&mut self, holds: bool, rule: impl Into<String>) {
        if !holds {
            self.violations.push(rule.into());
        }
    }

    fn must_fail<T>(&mut self, result: Result<T>, class: &str, what: &str) {
        match result {
            Err(error) if error.class() == class => {}
            Err(error) => self.violations.push(format!("{what} must answer {class}, not {error}")),
            Ok(_) => self.violations.push(format!("{what} must answer {class}, not success")),
        }
    }

    fn run<D: Driver>(&mut self) -> Result<()> {
        let new = || self.cloud.driver::<D>();
        let description = D::describe(&self.cloud.context());
        let named = [&description.name, &description.version, &description.provider, &description.cloud_type];
        self.must(named.iter().all(|text| !text.is_empty()), "describe must name the driver, its version and its provider");
        self.must(description.extra().is_ok(), "describe: `extra` must be a JSON object");
        for feature in &description.features {
            let known = FEATURES.contains(&feature.as_str()) || feature.starts_with("action:");
            self.must(known, format!("describe lists the feature `{feature}`, which does not exist"));
        }
        let has = |feature: &str| description.features.iter().any(|listed| listed == feature);

        let driver = new()?;
        let health = driver.check()?;
        self.must(health.extra().is_ok(), "check: `extra` must be a JSON object");

        let images = all(|cursor| driver.list_images(cursor))?;
        let sizes = all(|cursor| driver.list_sizes(cursor))?;
        self.must(images.iter().all(|image| image.extra().is_ok()), "list-images: `extra` must be a JSON object");
        self.must(sizes.iter().all(|size| size.extra().is_ok()), "list-sizes: `extra` must be a JSON object");
        const BAD: Option<&str> = Some("\u{0}no cursor of anybody\u{0}");
        self.must_fail(driver.list_images(BAD), "invalid", "list-images with a bad cursor");
        self.must_fail(driver.list_sizes(BAD), "invalid", "list-sizes with a bad cursor");
        self.must_fail(driver.list_nodes(BAD), "invalid", "list-nodes with a bad cursor");
        self.must_fail(driver.get_image("no-such-image"), "not-found", "get-image of an unknown image");
        self.must_fail(driver.get_node("no-such-node"), "not-found", "get-node of an unknown node");
        self.must_fail(driver.destroy_node("no-such-node"), "not-found", "destroy-node of an unknown node");
        let unknown = driver.find_node("conformance-none")?;
        self.must(unknown.is_none(), "find-node must answer none for a token that was not used");
        let (Some(image), Some(size)) = (images.first(), sizes.first()) else {
            self.violations.push("the cloud must offer an image and a size to be tested".to_owned());
            return Ok(());
        };
        let same = driver.get_image(&image.id)?;
        self.must(same.id == image.id, "get-image must find what list-images lists");

        let spec = NodeSpec::new("conformance", &image.id, &size.id);
        for (what, spec) in [
            ("image", NodeSpec { image_id: "no-such-image".into(), ..spec.clone() }),
            ("size", NodeSpec { size_id: "no-such-size".into(), ..spec.clone() }),
        ] {
            let token = format!("conformance-no-{what}");
            self.must_fail(driver.create_node(&token, spec), "invalid", &format!("create-node with an unknown {what}"));
            let found = new()?.find_node(&token)?;
            self.must(found.is_none(), format!("create-node with an unknown {what} must leave nothing behind"));
        }

        self.nodes::<D>(&spec)?;
        self.features::<D>(&has, &spec)
    }

    /// From the order to the end of two nodes.
    fn nodes<D: Driver>(&mut self, spec: &NodeSpec) -> Result<()> {
        let new = || self.cloud.driver::<D>();
        let before = all(|cursor| new()?.list_nodes(cursor))?.len();
        let first = new()?.create_node("conformance-1", spec.clone())?;
        let found = new()?.find_node("conformance-1")?;
        self.must(found.as_ref().is_some_and(|node| node.id == first.id), "find-node must see a node at once");
        let again = new()?.create_node("conformance-1", spec.clone())?;
        self.must(again.id == first.id, "a second create-node with the same token must return the first node");
        let second = new()?.create_node("conformance-2", spec.clone())?;
        self.must(second.id != first.id, "another token must make another node");
        for (node, token) in [(&first, "conformance-1"), (&second, "conformance-2")] {
            self.must(node.token.as_deref() == Some(token), "create-node must answer a node that carries its token");
            self.must(node.extra().is_ok(), "create-node: `extra` must be a JSON object");
            let seen = new()?.get_node(&node.id)?;
            self.must(seen.id == node.id && seen.token == node.token, "get-node must find what create-node made");
        }
        let listed = all(|cursor| new()?.list_nodes(cursor))?;
        self.must(listed.len() == before + 2, "list-nodes must list each new node once");
        self.must(listed.iter().all(|node| node.extra().is_ok()), "list-nodes: `extra` must be a JSON object");
        let tokens: Vec<_> = listed.iter().filter_map(|node| node.token.as_deref()).collect();
        let distinct: HashSet<_> = tokens.iter().collect();
        self.must(distinct.len() == tokens.len(), "no two nodes may carry one token");
        let settled = self.settle::<D>(&first.id)?;
        self.must(settled.state == NodeState::Running, format!("a node must come up, not stay {:?}", settled.state));

        for (node, token) in [(&first, "conformance-1"), (&second, "conformance-2")] {
            self.settle::<D>(&node.id)?;
            new()?.destroy_node(&node.id)?;
            self.gone::<D>(&node.id, token)?;
        }
        let after = all(|cursor| new()?.list_nodes(cursor))?.len();
        self.must(after == before, format!("destroy-node must leave the other nodes alone: {before} before, {after} after"));
        Ok(())
    }

    /// What must hold of a node that was destroyed.
    fn gone<D: Driver>(&mut self, id: &str, token: &str) -> Result<()> {
        let driver = self.cloud.driver::<D>()?;
        // A provider may take its time, and may go on listing what it destroyed.
        for _ in 0..ENDLESS {
            match driver.get_node(id) {
                Ok(Node { state: NodeState::Terminating, .. }) => self.wait(),
                Ok(Node { state: NodeState::Terminated, .. }) => return Ok(()),
                other => {
                    self.must_fail(other, "not-found", "get-node of a destroyed node");
                    break;
                }
            }
        }
        self.must_fail(driver.destroy_node(id), "not-found", "a second destroy-node");
        let found = driver.find_node(token)?;
        self.must(found.is_none(), "find-node must not see a destroyed node");
        Ok(())
    }

    /// Lets time pass: by the cloud's clock alone, or by both.
    fn wait(&self) {
        let pause = self.options.pause;
        self.cloud.advance(if pause.is_zero() { PATIENCE / 1000 } else { pause });
        std::thread::sleep(pause);
    }

    /// Waits, by the cloud's clock, until a node is no longer on its way.
    fn settle<D: Driver>(&mut self, id: &str) -> Result<Node> {
        for _ in 0..1000 {
            let node = self.cloud.driver::<D>()?.get_node(id)?;
            match node.state {
                NodeState::Pending | NodeState::Starting | NodeState::Rebooting | NodeState::Stopping => {
                    self.wait();
                }
                _ => return Ok(node),
            }
        }
        Err(Error::Failed(format!("node `{id}` does not settle")))
    }

    fn act<D: Driver>(&mut self, id: &str, action: &Action, result: &NodeState) -> Result<()> {
        self.cloud.driver::<D>()?.act(id, action.clone())?;
        let node = self.settle::<D>(id)?;
        self.must(node.state == *result, format!("{action:?} must lead to {result:?}, not {:?}", node.state));
        Ok(())
    }

    /// What `describe` lists works, and what it does not list answers `unsupported`.
    fn features<D: Driver>(&mut self, has: &dyn Fn(&str) -> bool, spec: &NodeSpec) -> Result<()> {
        let new = || self.cloud.driver::<D>();
        let node = new()?.create_node("conformance-3", spec.clone())?;
        let id = node.id.as_str();
        self.settle::<D>(id)?;
        let soft = || Force::Soft;
        if has("start-stop") {
            self.must_fail(new()?.act(id, Action::Start), "conflict", "starting a running node");
            self.act::<D>(id, &Action::Stop(soft()), &NodeState::Stopped)?;
            self.must_fail(new()?.act(id, Action::Stop(Force::Hard)), "conflict", "stopping a stopped node");
            self.act::<D>(id, &Action::Start, &NodeState::Running)?;
            self.must_fail(new()?.act("no-such-node", Action::Start), "not-found", "acting on an unknown node");
        } else {
            self.must_fail(new()?.act(id, Action::Stop(soft())), "unsupported", "stopping without `start-stop`");
        }
        if has("reboot") {
            self.act::<D>(id, &Action::Reboot(soft()), &NodeState::Running)?;
        } else {
            self.must_fail(new()?.act(id, Action::Reboot(soft())), "unsupported", "rebooting without `reboot`");
        }
        if has("suspend") {
            self.act::<D>(id, &Action::Suspend, &NodeState::Suspended)?;
            self.act::<D>(id, &Action::Resume, &NodeState::Running)?;
        } else {
            self.must_fail(new()?.act(id, Action::Suspend), "unsupported", "suspending without `suspend`");
        }
        self.must_fail(new()?.act(id, Action::Other("no-such-action".into())), "unsupported", "an unknown action");
        if has("create-stopped") {
            let stopped = new()?.create_node("conformance-4", NodeSpec { start: false, ..spec.clone() })?;
            let settled = self.settle::<D>(&stopped.id)?;
            self.must(settled.state == NodeState::Stopped, "a node created without start must end stopped");
            new()?.destroy_node(&stopped.id)?;
        }

        let capacity = new()?.get_capacity();
        let samples = new()?.get_samples(&[id.to_owned(), "no-such-node".to_owned()]);
        if has("capacity") {
            let capacity = capacity?;
            self.must(capacity.extra().is_ok(), "get-capacity: `extra` must be a JSON object");
        } else {
            self.must_fail(capacity, "unsupported", "get-capacity without its feature");
        }
        if has("samples") {
            let samples = samples?;
            self.must(samples.iter().all(|sample| sample.node_id == id), "get-samples must leave out nodes that do not exist");
        } else {
            self.must_fail(samples, "unsupported", "get-samples without `samples`");
        }
        self.images::<D>(has)?;
        new()?.destroy_node(id)
    }

    fn images<D: Driver>(&mut self, has: &dyn Fn(&str) -> bool) -> Result<()> {
        let new = || self.cloud.driver::<D>();
        let order = ImageSpec::from_url("conformance", &self.options.image_url);
        if !has("image-import") {
            self.must_fail(new()?.import_image("conformance-5", order), "unsupported", "import-image without its feature");
            // A driver to which only the host gives images knows those.
            if has("image-import:staged") {
                let unknown = new()?.find_image("conformance-5")?;
                self.must(unknown.is_none(), "find-image must answer none for a token that was not used");
            } else {
                self.must_fail(new()?.find_image("conformance-5"), "unsupported", "find-image without `image-import`");
            }
        } else {
            let unknown = new()?.find_image("conformance-5")?;
            self.must(unknown.is_none(), "find-image must answer none for a token that was not used");
            let image = new()?.import_image("conformance-5", order.clone())?;
            let again = new()?.import_image("conformance-5", order)?;
            self.must(again.id == image.id, "a second import-image with the same token must return the first image");
            let found = new()?.find_image("conformance-5")?;
            self.must(found.is_some_and(|found| found.id == image.id), "find-image must see an image at once");
            if has("image-delete") {
                new()?.delete_image(&image.id)?;
                self.must_fail(new()?.delete_image(&image.id), "not-found", "a second delete-image");
            }
        }
        let class = if has("image-delete") { "not-found" } else { "unsupported" };
        self.must_fail(new()?.delete_image("no-such-image"), class, "delete-image of an unknown image");
        Ok(())
    }
}

/// All pages of a list.
fn all<T>(list: impl Fn(Option<&str>) -> Result<Page<T>>) -> Result<Vec<T>> {
    let (mut items, mut cursor) = (Vec::new(), None::<String>);
    for _ in 0..ENDLESS {
        let page = list(cursor.as_deref())?;
        items.extend(page.items);
        match page.next {
            None => return Ok(items),
            next => cursor = next,
        }
    }
    Err(Error::Failed("a list does not end".into()))
}
