//! The contract's functions.

use ostler_driver::{
    Action, Capacity, Context, Description, Driver, Extra, Health, Image, ImageSpec, Node, NodeSpec, Page, Result, Sample, Size,
};
use serde_json::json;

use crate::auth::Service;
use crate::compute::server::Server;
use crate::config::{self, Settings};
use crate::http::Api;

/// What it can do beyond listing, creating and destroying nodes.
const FEATURES: [&str; 13] = [
    "start-stop",
    "reboot",
    "suspend",
    "user-data",
    "metadata",
    "key-pairs",
    "networks",
    "public-addresses",
    "block-devices",
    "image-import",
    "image-delete",
    "capacity",
    "samples",
];

/// The driver.
pub(crate) struct OpenStack {
    api: Api,
}

impl Driver for OpenStack {
    fn new(ctx: Context) -> Result<Self> {
        let settings = Settings::read(&ctx)?;
        Ok(Self { api: Api { ctx, settings } })
    }

    fn describe(_: &Context) -> Description {
        let mut description = Description::new("openstack", env!("CARGO_PKG_VERSION"), "openstack", "OpenStack");
        description.features = FEATURES.map(str::to_owned).to_vec();
        description.settings = config::describe();
        description
    }

    /// Authenticates anew, since a token that is kept may outlive its credentials, and looks into Nova, Glance and Neutron.
    fn check(&self) -> Result<Health> {
        let session = self.api.authenticate()?;
        self.api.forget_microversions();
        let versions = self.api.microversions()?;
        self.api.get(Service::Compute, "/limits").send()?;
        self.api.get(Service::Image, "/images").query("limit", "1").send()?;
        self.api.get(Service::Network, "/networks").query("limit", "1").query("fields", "id").send()?;
        let host = self.api.settings.auth_url.split('/').nth(2).unwrap_or_default();
        Ok(Health {
            endpoint: Some(host.to_owned()),
            account: Some(format!("{} in project {}", session.user, session.project)),
            provider_version: versions.map(|(_, most)| format!("compute {most}")),
            extra: String::new(),
        }
        .with_extra(json!({"project_id": session.project_id, "block_storage": session.has(Service::Volume)})))
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
        self.api.flavors(cursor)
    }

    fn list_nodes(&self, cursor: Option<&str>) -> Result<Page<Node>> {
        self.api.nodes(cursor)
    }

    fn get_node(&self, id: &str) -> Result<Node> {
        self.api.node(id)
    }

    /// Where no server has the token any more, somebody else may have deleted it: what was allocated for it is released here,
    /// since the host, which hears that there is no node, will not ask for its end.
    fn find_node(&self, token: &str) -> Result<Option<Node>> {
        let found = match self.api.find_server(token)? {
            None => self.api.release_floating_by(token)?,
            found => found,
        };
        Ok(found.as_ref().map(Server::node))
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
