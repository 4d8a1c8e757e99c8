//! A driver for tests of the host: it fetches what it is told to, and gives a secret away.

use ostler_driver::{
    Context, Description, Driver, Error, Extra, Health, Image, Node, NodeSpec, NodeState, Page, Result, Setting, Size,
    bad_cursor, export_driver,
};
use serde::Deserialize;
use serde_json::json;

/// The driver.
pub struct Probe {
    ctx: Context,
    url: String,
}

export_driver!(Probe);

/// A node as the test's server tells it.
#[derive(Deserialize)]
struct Told {
    id: String,
    name: String,
}

/// There is only one page.
fn only<T>(items: Vec<T>, cursor: Option<&str>) -> Result<Page<T>> {
    cursor.map_or(Ok(Page::last(items)), |cursor| Err(bad_cursor(cursor)))
}

impl Driver for Probe {
    fn new(ctx: Context) -> Result<Self> {
        let url = ctx.config().require("url")?;
        Ok(Self { ctx, url })
    }

    fn describe(_: &Context) -> Description {
        // Another version of the same driver, for tests of the exchange: set while building.
        let version = option_env!("OSTLER_PROBE_VERSION").unwrap_or(env!("CARGO_PKG_VERSION"));
        Description::new("probe", version, "probe", "Probe")
            .with_setting(Setting::required("url", "Where `check` and `list-nodes` read."))
            .with_setting(Setting::secret("password", "What `list-images` gives away."))
    }

    fn check(&self) -> Result<Health> {
        let response = self.ctx.http().get(&self.url).send()?;
        let status = response.status();
        let bytes = response.success()?.bytes()?.len();
        Ok(Health::default().with_extra(json!({"status": status, "bytes": bytes})))
    }

    fn list_images(&self, cursor: Option<&str>) -> Result<Page<Image>> {
        let password = self.ctx.secrets().require("password")?;
        self.ctx.log().info(&format!("the password is {password}"), &[("password", &password)]);
        only(vec![Image::new("1", "Leak").with_extra(json!({"password": password}))], cursor)
    }

    fn list_sizes(&self, cursor: Option<&str>) -> Result<Page<Size>> {
        only(vec![Size::new("1", "One", 1024, 10).with_vcpus(1)], cursor)
    }

    fn list_nodes(&self, cursor: Option<&str>) -> Result<Page<Node>> {
        let told: Vec<Told> = self.ctx.http().get(&self.url).json()?;
        only(told.into_iter().map(|node| Node::new(node.id, node.name).with_state(NodeState::Running)).collect(), cursor)
    }

    fn get_node(&self, id: &str) -> Result<Node> {
        let found = self.list_nodes(None)?.items.into_iter().find(|node| node.id == id);
        found.ok_or_else(|| Error::not_found("node", id))
    }

    fn find_node(&self, _: &str) -> Result<Option<Node>> {
        Ok(None)
    }

    fn create_node(&self, _: &str, _: NodeSpec) -> Result<Node> {
        Err(Error::unsupported("creating nodes"))
    }

    fn destroy_node(&self, id: &str) -> Result<()> {
        self.get_node(id)?;
        Err(Error::unsupported("destroying nodes"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use ostler_driver::testing::Cloud;

    #[test]
    fn it_fetches_and_tells() {
        let cloud = Cloud::new("probe").config("url", "http://test/nodes").secret("password", "canary");
        cloud.expect_http("GET", "http://test/nodes").answer(200, r#"[{"id": "1", "name": "one"}]"#);
        cloud.expect_http("GET", "http://test/nodes").answer(200, "12345");
        let driver: Probe = cloud.driver().unwrap();
        assert_eq!(driver.list_nodes(None).unwrap().items[0].name, "one");
        assert_eq!(driver.check().unwrap().extra, r#"{"bytes":5,"status":200}"#);
        assert_eq!(driver.list_images(None).unwrap().items[0].extra, r#"{"password":"canary"}"#);
        assert_eq!(cloud.logs().len(), 1);
        cloud.assert_http_done();
    }
}
