//! The dummy cloud: a cloud without machines, and a test instrument.
//!
//! In the form `fake_driver` it behaves as the dummy driver of Apache Libcloud 0.12.4 does; in the form `plain` as a normal
//! cloud with all features. Both can be slow, full or broken on purpose. The settings are listed by `describe`.

mod catalog;
mod faults;
mod images;
mod record;
mod samples;
mod settings;
mod store;
#[cfg(test)]
mod tests;

use std::time::Duration;

use ostler_driver::{
    Action, Capacity, Context, Description, Device, Driver, Error, Extra, Gauge, Health, Image, ImageSpec, Node, NodeSpec, Page,
    Quota, Result, Sample, Size, export_driver,
};
use serde_json::json;

use crate::faults::{Answer, Fault};
use crate::settings::{Form, Settings};
use crate::store::Store;

/// The driver.
pub struct Dummy {
    ctx: Context,
    settings: Settings,
    store: Store,
}

export_driver!(Dummy);

impl Dummy {
    /// Does the work of a call, as slowly and as badly as the operator wants it.
    fn run<T: Answer>(&self, operation: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let fault = self.meddle(operation)?;
        faults::suffer(&self.ctx, operation, fault, work)
    }

    /// As [`Dummy::run`], for lists.
    fn run_list<T>(
        &self,
        operation: &str,
        cursor: Option<&str>,
        work: impl FnOnce(Option<&str>) -> Result<Page<T>>,
    ) -> Result<Page<T>>
    where
        Page<T>: Answer,
    {
        const ENDLESS: &str = "endless-";
        let fault = self.meddle(operation)?;
        if fault != Some(Fault::EndlessPages) {
            return faults::suffer(&self.ctx, operation, fault, || work(cursor));
        }
        let page = cursor.and_then(|cursor| cursor.strip_prefix(ENDLESS)).and_then(store::number).unwrap_or(0);
        Ok(Page { next: Some(format!("{ENDLESS}{}", page + 1)), ..work(None)? })
    }

    /// Waits as long as the operation takes, and decides what goes wrong.
    fn meddle(&self, operation: &str) -> Result<Option<Fault>> {
        let latency = self.settings.latency_ms(operation);
        if latency > 0 {
            self.ctx.sleep(Duration::from_millis(latency));
        }
        self.settings.faults.draw(&self.ctx, operation)
    }

    /// Refuses the call in the fake form, which lacks the feature.
    fn only_plain(&self, feature: &str) -> Result<()> {
        match self.settings.form {
            Form::Plain => Ok(()),
            Form::Fake => Err(Error::unsupported(feature)),
        }
    }

    /// What an order must name, the image first as in the original.
    fn check_order(&self, spec: &NodeSpec) -> Result<()> {
        images::check_use(&self.ctx, &self.settings, &spec.image_id)?;
        if !catalog::sizes(self.settings.form).iter().any(|size| size.id == spec.size_id) {
            return Err(Error::Invalid("no useful size id here".to_owned()));
        }
        Ok(())
    }

    fn measure_capacity(&self) -> Result<Capacity> {
        let sizes = catalog::sizes(self.settings.form);
        let (mut nodes, mut vcpus, mut ram_mb, mut disk_gb) = (0, 0, 0, 0);
        self.store.all(&self.settings, |node| {
            nodes += 1;
            if let Some(size) = sizes.iter().find(|size| Some(&size.id) == node.size_id.as_ref()) {
                vcpus += u64::from(size.vcpus.unwrap_or(0));
                ram_mb += size.ram_mb;
                disk_gb += size.disk_gb;
            }
        })?;
        // Room for so many nodes of the largest size.
        let room = |each: u64| self.settings.capacity_nodes.map(|nodes| nodes.saturating_mul(each));
        Ok(Capacity {
            cpu_model: Some("Dummy 1".to_owned()),
            vcpus: Gauge { total: room(8), used: Some(vcpus) },
            ram_mb: Gauge { total: room(32768), used: Some(ram_mb) },
            disk_gb: Gauge { total: room(200), used: Some(disk_gb) },
            nodes: Gauge { total: self.settings.capacity_nodes, used: Some(nodes) },
            quotas: vec![Quota::new("instances", Gauge { total: self.settings.quota_nodes, used: Some(nodes) })],
            devices: vec![
                Device {
                    kind: "usb".to_owned(),
                    class: "mass storage".to_owned(),
                    vendor: "Nobody".to_owned(),
                    product: "Dummy stick".to_owned(),
                    extra: String::new(),
                }
                .with_extra(json!({"id": "usb-1-1", "bus": 1, "device": 1})),
            ],
            extra: String::new(),
        })
    }
}

impl Driver for Dummy {
    fn new(ctx: Context) -> Result<Self> {
        Ok(Self { settings: Settings::read(&ctx)?, store: Store::new(ctx.clone()), ctx })
    }

    fn describe(ctx: &Context) -> Description {
        let form = Form::read(ctx).unwrap_or(Form::Fake);
        let cloud_type = match form {
            Form::Fake => "Dummy Node Provider",
            Form::Plain => "Dummy",
        };
        let mut description = Description::new("dummy", env!("CARGO_PKG_VERSION"), "dummy", cloud_type);
        description.features = catalog::features(form).iter().map(|feature| (*feature).to_owned()).collect();
        description.settings = settings::describe();
        // Wrong settings are for `check` to tell.
        if let Ok(settings) = Settings::read(ctx) {
            if settings.latency_ms("describe") > 0 {
                ctx.sleep(Duration::from_millis(settings.latency_ms("describe")));
            }
            match settings.faults.draw(ctx, "describe") {
                Ok(Some(Fault::Huge(bytes))) => description = description.with_extra(faults::filler(bytes)),
                Ok(Some(fault)) => faults::perish(ctx, fault),
                Ok(None) | Err(_) => {}
            }
        }
        description
    }

    fn check(&self) -> Result<Health> {
        self.run("check", || {
            // Reads once, so that a cloud without state is no healthy one.
            self.store.meta(&self.settings)?;
            self.ctx.log().debug("checked", &[]);
            Ok(Health { endpoint: Some("127.0.0.1".to_owned()), ..Health::default() })
        })
    }

    fn list_images(&self, cursor: Option<&str>) -> Result<Page<Image>> {
        self.run_list("list-images", cursor, |cursor| images::page(&self.ctx, &self.settings, cursor))
    }

    fn get_image(&self, id: &str) -> Result<Image> {
        self.run("get-image", || images::get(&self.ctx, &self.settings, id))
    }

    fn find_image(&self, token: &str) -> Result<Option<Image>> {
        self.run("find-image", || {
            self.only_plain("image-import")?;
            images::find(&self.ctx, &self.settings, token)
        })
    }

    fn import_image(&self, token: &str, spec: ImageSpec) -> Result<Image> {
        self.run("import-image", || {
            self.only_plain("image-import")?;
            images::import(&self.ctx, &self.settings, &self.store, token, &spec)
        })
    }

    fn delete_image(&self, id: &str) -> Result<()> {
        self.run("delete-image", || {
            self.only_plain("image-delete")?;
            images::delete(&self.ctx, &self.settings, &self.store, id)
        })
    }

    fn list_sizes(&self, cursor: Option<&str>) -> Result<Page<Size>> {
        self.run_list("list-sizes", cursor, |cursor| {
            Page::slice(catalog::sizes(self.settings.form), cursor, self.settings.page_size as usize)
        })
    }

    fn list_nodes(&self, cursor: Option<&str>) -> Result<Page<Node>> {
        self.run_list("list-nodes", cursor, |cursor| self.store.page(&self.settings, cursor))
    }

    fn get_node(&self, id: &str) -> Result<Node> {
        self.run("get-node", || self.store.get(&self.settings, id))
    }

    fn find_node(&self, token: &str) -> Result<Option<Node>> {
        self.run("find-node", || self.store.by_token(&self.settings, token))
    }

    fn create_node(&self, token: &str, spec: NodeSpec) -> Result<Node> {
        self.run("create-node", || self.store.create(&self.settings, token, &spec, || self.check_order(&spec)))
    }

    fn destroy_node(&self, id: &str) -> Result<()> {
        self.run("destroy-node", || self.store.destroy(&self.settings, id))
    }

    fn act(&self, id: &str, action: Action) -> Result<()> {
        self.run("act", || self.store.act(&self.settings, id, &action))
    }

    fn get_capacity(&self) -> Result<Capacity> {
        self.run("get-capacity", || {
            self.only_plain("capacity")?;
            self.measure_capacity()
        })
    }

    fn get_samples(&self, node_ids: &[String]) -> Result<Vec<Sample>> {
        self.run("get-samples", || {
            self.only_plain("samples")?;
            samples::take(&self.ctx, &self.settings, &self.store, node_ids)
        })
    }
}
