//! The contract's functions.

use ostler_driver::{
    Action, Capacity, Context, Description, Driver, Health, Image, ImageSpec, Node, NodeSpec, Page, Result, Sample, Size,
};

use crate::config::{self, Settings};
use crate::details::PAGE;
use crate::http::Api;

/// What it can do beyond listing, creating and destroying nodes, whatever the settings.
const FEATURES: [&str; 8] =
    ["start-stop", "reboot", "suspend", "create-stopped", "image-import", "image-delete", "capacity", "samples"];

/// The driver.
pub(crate) struct Edge {
    pub(crate) api: Api,
}

impl Driver for Edge {
    fn new(ctx: Context) -> Result<Self> {
        let settings = Settings::read(&ctx)?;
        Ok(Self { api: Api { ctx, settings } })
    }

    fn describe(ctx: &Context) -> Description {
        let mut description = Description::new("edge", env!("CARGO_PKG_VERSION"), "edge", "Cloud Edge");
        description.features = FEATURES.map(str::to_owned).to_vec();
        // Wrong settings are for `check` to tell.
        if let Ok(settings) = Settings::read(ctx) {
            if settings.far_user_data {
                description.features.push("user-data".to_owned());
            }
            if !settings.forward_ports.is_empty() {
                description.features.push("public-addresses".to_owned());
            }
        }
        description.settings = config::describe();
        description
    }

    fn check(&self) -> Result<Health> {
        self.api.check()
    }

    fn list_images(&self, cursor: Option<&str>) -> Result<Page<Image>> {
        self.api.images(cursor)
    }

    fn get_image(&self, id: &str) -> Result<Image> {
        self.api.image(id)
    }

    fn find_image(&self, token: &str) -> Result<Option<Image>> {
        self.api.find_image(token)
    }

    fn import_image(&self, token: &str, spec: ImageSpec) -> Result<Image> {
        self.api.import(token, &spec)
    }

    fn delete_image(&self, id: &str) -> Result<()> {
        self.api.delete_image(id)
    }

    fn list_sizes(&self, cursor: Option<&str>) -> Result<Page<Size>> {
        Page::slice(self.api.settings.sizes.clone(), cursor, PAGE)
    }

    fn list_nodes(&self, cursor: Option<&str>) -> Result<Page<Node>> {
        self.api.nodes(cursor)
    }

    fn get_node(&self, id: &str) -> Result<Node> {
        self.api.node(id)
    }

    fn find_node(&self, token: &str) -> Result<Option<Node>> {
        self.api.find_node(token)
    }

    fn create_node(&self, token: &str, spec: NodeSpec) -> Result<Node> {
        self.api.create(token, &spec)
    }

    fn destroy_node(&self, id: &str) -> Result<()> {
        self.api.destroy(id)
    }

    fn act(&self, id: &str, action: Action) -> Result<()> {
        self.api.act(id, &action)
    }

    fn get_capacity(&self) -> Result<Capacity> {
        self.api.capacity()
    }

    fn get_samples(&self, node_ids: &[String]) -> Result<Vec<Sample>> {
        self.api.samples(node_ids)
    }
}
