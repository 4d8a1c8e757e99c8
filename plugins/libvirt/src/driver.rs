//! The contract's functions.

use std::cell::OnceCell;

use ostler_driver::hypervisor_types::Info;
use ostler_driver::{
    Action, Capacity, Context, Description, Driver, Extra, Gauge, Health, Hypervisor, Image, ImageSpec, Node, NodeSpec, Page,
    Result, Sample, Size,
};
use serde_json::json;

use crate::config::{self, Settings};

/// What it can do beyond listing, creating and destroying nodes.
const FEATURES: [&str; 12] = [
    "start-stop",
    "reboot",
    "suspend",
    "create-stopped",
    "user-data",
    "metadata",
    "networks",
    "block-devices",
    "image-import:staged",
    "image-delete",
    "capacity",
    "samples",
];

/// The driver.
pub(crate) struct Libvirt {
    pub(crate) ctx: Context,
    settings: Settings,
    /// What the operator granted, which does not change while an instance lives.
    granted: OnceCell<Info>,
}

impl Libvirt {
    pub(crate) fn hypervisor(&self) -> Hypervisor<'_> {
        self.ctx.hypervisor()
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn cloud(&self) -> String {
        self.ctx.config().cloud()
    }

    /// What the hypervisor was and had when it was first asked: good for what is granted, not for how much is used.
    pub(crate) fn info(&self) -> Result<Info> {
        if let Some(info) = self.granted.get() {
            return Ok(info.clone());
        }
        let info = self.hypervisor().describe()?;
        Ok(self.granted.get_or_init(|| info).clone())
    }

    pub(crate) fn pool(&self) -> Result<String> {
        self.settings.pool(|| self.info())
    }

    pub(crate) fn image_pool(&self) -> Result<String> {
        self.settings.image_pool(|| self.info())
    }
}

impl Driver for Libvirt {
    fn new(ctx: Context) -> Result<Self> {
        Ok(Self { settings: Settings::read(&ctx)?, ctx, granted: OnceCell::new() })
    }

    fn describe(ctx: &Context) -> Description {
        let mut description = Description::new("libvirt", env!("CARGO_PKG_VERSION"), "libvirt", "libvirt");
        description.features = FEATURES.map(str::to_owned).to_vec();
        // Wrong settings are for `check` to tell.
        if Settings::read(ctx).is_ok_and(|settings| !settings.public_networks.is_empty()) {
            description.features.push("public-addresses".to_owned());
        }
        description.settings = config::describe();
        description
    }

    fn check(&self) -> Result<Health> {
        let info = self.hypervisor().describe()?;
        self.settings.check(&info)?;
        // They are granted; whether they are there is another question.
        self.hypervisor().volumes(&self.pool()?)?;
        self.images()?;
        let health = Health {
            endpoint: Some(info.hostname),
            account: None,
            provider_version: Some(format!("{} {}", info.kind, info.version)),
            extra: String::new(),
        };
        Ok(health.with_extra(json!({"pools": info.pools, "networks": info.networks})))
    }

    fn list_images(&self, cursor: Option<&str>) -> Result<Page<Image>> {
        Page::slice(self.images()?, cursor, self.settings.page_size)
    }

    fn get_image(&self, id: &str) -> Result<Image> {
        self.image(id)
    }

    fn find_image(&self, token: &str) -> Result<Option<Image>> {
        self.image_by_token(token)
    }

    fn import_image(&self, token: &str, spec: ImageSpec) -> Result<Image> {
        self.import(token, &spec)
    }

    fn delete_image(&self, id: &str) -> Result<()> {
        self.remove_image(id)
    }

    fn list_sizes(&self, cursor: Option<&str>) -> Result<Page<Size>> {
        Page::slice(self.settings.sizes.clone(), cursor, self.settings.page_size)
    }

    /// By time of creation, so that a node that is made while pages are read does not shift them.
    fn list_nodes(&self, cursor: Option<&str>) -> Result<Page<Node>> {
        let mut domains = self.hypervisor().domains()?;
        domains.sort_by(|a, b| (a.created_at, &a.uuid).cmp(&(b.created_at, &b.uuid)));
        let Page { items, next } = Page::slice(domains, cursor, self.settings.page_size)?;
        let items = items.iter().map(|domain| self.show(domain)).collect::<Result<_>>()?;
        Ok(Page { items, next })
    }

    fn get_node(&self, id: &str) -> Result<Node> {
        self.node(id)
    }

    fn find_node(&self, token: &str) -> Result<Option<Node>> {
        self.by_token(token)
    }

    fn create_node(&self, token: &str, spec: NodeSpec) -> Result<Node> {
        self.order(token, &spec)
    }

    fn destroy_node(&self, id: &str) -> Result<()> {
        self.hypervisor().delete_domain(id)
    }

    fn act(&self, id: &str, action: Action) -> Result<()> {
        self.power(id, action)
    }

    fn get_capacity(&self) -> Result<Capacity> {
        let info = self.hypervisor().describe()?;
        let nodes = self.hypervisor().domains()?.len();
        let capacity = Capacity {
            cpu_model: Some(info.cpu_model),
            vcpus: info.vcpus,
            ram_mb: info.ram_mb,
            disk_gb: info.disk_gb,
            nodes: Gauge { total: None, used: u64::try_from(nodes).ok() },
            quotas: Vec::new(),
            devices: self.hypervisor().devices()?,
            extra: String::new(),
        };
        Ok(capacity.with_extra(json!({"hostname": info.hostname, "hypervisor": format!("{} {}", info.kind, info.version)})))
    }

    fn get_samples(&self, node_ids: &[String]) -> Result<Vec<Sample>> {
        self.hypervisor().get_samples(node_ids)
    }
}
