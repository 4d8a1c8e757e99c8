//! The conformance test finds what it is there to find.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use ostler_driver::testing::{Cloud, conformance};
use ostler_driver::{
    Action, Capacity, Context, Description, Driver, Error, Force, Health, Image, ImageSource, ImageSpec, Node, NodeSpec,
    NodeState, Page, Result, Size,
};

/// A small driver that breaks one rule, named by the setting `breaks`.
struct Wayward {
    ctx: Context,
    breaks: String,
}

impl Wayward {
    fn breaks(&self, rule: &str) -> bool {
        self.breaks == rule
    }

    fn node(&self, token: &str) -> Result<Node> {
        let stored = self.ctx.state().get(&format!("n/{token}"))?.ok_or_else(|| Error::not_found("node", token))?;
        let state = if stored.value == b"stopped" { NodeState::Stopped } else { NodeState::Running };
        let mut node = Node::new(token, token).with_token(token).with_state(state);
        if self.breaks("extra") {
            node.extra = "[]".into();
        }
        Ok(node)
    }
}

impl Driver for Wayward {
    fn new(ctx: Context) -> Result<Self> {
        let breaks = ctx.config().get("breaks").unwrap_or_default();
        Ok(Self { ctx, breaks })
    }

    fn describe(ctx: &Context) -> Description {
        let breaks = ctx.config().get("breaks");
        let description = Description::new("wayward", "1", "wayward", "Wayward").with_feature("start-stop");
        if ctx.config().get("origin").is_some() {
            return description.with_feature("image-import");
        }
        match breaks.as_deref() {
            Some("claims capacity") => description.with_feature("capacity"),
            Some("unknown feature") => description.with_feature("teleport"),
            _ => description,
        }
    }

    fn check(&self) -> Result<Health> {
        Ok(Health::default())
    }

    fn list_images(&self, cursor: Option<&str>) -> Result<Page<Image>> {
        Page::slice(vec![Image::new("1", "one")], cursor.filter(|_| !self.breaks("cursor")), 10)
    }

    fn find_image(&self, token: &str) -> Result<Option<Image>> {
        match self.ctx.config().get("origin") {
            Some(_) => Ok(self.ctx.state().get(&format!("i/{token}"))?.map(|_| Image::new(token, token))),
            None => Err(Error::unsupported("image-import")),
        }
    }

    /// Only from the origin that the setting names.
    fn import_image(&self, token: &str, spec: ImageSpec) -> Result<Image> {
        let origin = self.ctx.config().get("origin").ok_or_else(|| Error::unsupported("image-import"))?;
        if spec.source != ImageSource::Url(origin) {
            return Err(Error::Failed("that origin does not answer".into()));
        }
        self.ctx.state().set(&format!("i/{token}"), b"")?;
        Ok(Image::new(token, token))
    }

    fn list_sizes(&self, cursor: Option<&str>) -> Result<Page<Size>> {
        Page::slice(vec![Size::new("1", "one", 1, 1)], cursor, 10)
    }

    fn list_nodes(&self, cursor: Option<&str>) -> Result<Page<Node>> {
        let mut nodes = Vec::new();
        for entry in self.ctx.state().entries("n/") {
            nodes.push(self.node(entry?.key.trim_start_matches("n/"))?);
        }
        if self.breaks("lists twice") {
            nodes.extend(nodes.clone());
        }
        let page = Page::slice(nodes, cursor, 10)?;
        Ok(if self.breaks("endless") { Page { next: Some("0".into()), ..page } } else { page })
    }

    fn get_node(&self, id: &str) -> Result<Node> {
        self.node(id).map_err(|error| if self.breaks("class") { Error::Failed(error.to_string()) } else { error })
    }

    fn find_node(&self, token: &str) -> Result<Option<Node>> {
        match self.node(token) {
            _ if self.breaks("forgets tokens") => Ok(None),
            Err(Error::NotFound(_)) => Ok(None),
            node => node.map(Some),
        }
    }

    fn create_node(&self, token: &str, spec: NodeSpec) -> Result<Node> {
        if self.breaks("unknown image") || spec.image_id == "1" && spec.size_id == "1" {
            let again = self.ctx.state().get(&format!("n/{token}"))?.is_some();
            let name = if again && self.breaks("two by one token") { format!("{token}-2") } else { token.to_owned() };
            self.ctx.state().set(&format!("n/{name}"), b"running")?;
            return self.node(&name);
        }
        Err(Error::Invalid("no such image or size".into()))
    }

    fn destroy_node(&self, id: &str) -> Result<()> {
        let existed = self.ctx.state().delete(&format!("n/{id}"))?;
        if existed || self.breaks("destroys nothing") { Ok(()) } else { Err(Error::not_found("node", id)) }
    }

    fn act(&self, id: &str, action: Action) -> Result<()> {
        let (from, to) = match action {
            Action::Start => (NodeState::Stopped, "running"),
            Action::Stop(Force::Soft | Force::Hard) => (NodeState::Running, "stopped"),
            _ => return Err(Error::unsupported("this")),
        };
        let node = self.node(id)?;
        if node.state != from && !self.breaks("acts in any state") {
            return Err(Error::Conflict("not now".into()));
        }
        self.ctx.state().set(&format!("n/{id}"), to.as_bytes())?;
        Ok(())
    }

    fn get_capacity(&self) -> Result<Capacity> {
        if self.breaks("hides capacity") { Ok(Capacity::default()) } else { Err(Error::unsupported("capacity")) }
    }
}

#[test]
fn a_driver_that_keeps_the_rules_passes() {
    conformance::check::<Wayward>(&Cloud::new("c")).unwrap();
}

#[test]
fn every_broken_rule_is_found() {
    for (rule, found) in [
        ("extra", "`extra` must be a JSON object"),
        ("claims capacity", "must succeed failed: unsupported"),
        ("hides capacity", "get-capacity without its feature must answer unsupported"),
        ("unknown feature", "`teleport`"),
        ("cursor", "list-images with a bad cursor must answer invalid"),
        ("lists twice", "list each new node once"),
        ("endless", "a list does not end"),
        ("class", "get-node of an unknown node must answer not-found"),
        ("forgets tokens", "find-node must see a node at once"),
        ("two by one token", "a second create-node with the same token"),
        ("unknown image", "create-node with an unknown image must answer invalid"),
        ("destroys nothing", "destroy-node of an unknown node must answer not-found"),
        ("acts in any state", "starting a running node must answer conflict"),
    ] {
        let violations = conformance::check::<Wayward>(&Cloud::new("c").config("breaks", rule)).unwrap_err();
        assert!(violations.0.iter().any(|violation| violation.contains(found)), "{rule}: {violations}");
    }
}

#[test]
fn images_come_from_where_the_test_says() {
    let origin = "http://127.0.0.1:9/image";
    let cloud = || Cloud::new("c").config("origin", origin);
    let violations = conformance::check::<Wayward>(&cloud()).unwrap_err();
    assert!(violations.0[0].contains("that origin does not answer"), "{violations}");
    let options = conformance::Options::default().image_url(origin);
    conformance::check_with::<Wayward>(&cloud(), &options).unwrap();
}
