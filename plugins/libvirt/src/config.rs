//! What the operator can set for the driver. What it may use at all is granted to the cloud, not set here.

use ostler_driver::hypervisor_types::Info;
use ostler_driver::{Context, Error, Extra, Result, Setting, Size};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Every key, with its meaning.
const KEYS: [(&str, &str); 7] = [
    (
        "sizes",
        "The sizes that nodes can have: a list of tables with `id`, `vcpus`, `ram_mb` (mebibytes), `disk_gb` (gibibytes of the root \
         disk; 0 takes the image's) and, if wanted, `name` and `properties` (a table of texts). By default `small`, `medium` and \
         `large` with 1, 2 and 4 processors, 1, 2 and 4 GiB of memory and 10, 20 and 40 GiB of disk.",
    ),
    ("pool", "The storage pool for nodes' disks; by default the first that is granted."),
    (
        "image_pool",
        "The storage pool that holds the images; by default the last that is granted, where image pools come after the others.",
    ),
    ("networks", "A list of networks for nodes whose order names none; by default the first that is granted."),
    ("public_networks", "A list of networks whose addresses can be reached from outside; by default none."),
    (
        "disks",
        "`linked` (default): a node's root disk begins as a linked clone of its image, which is made at once and takes no room, and \
         keeps the image from being deleted. `copied`: it is a full copy.",
    ),
    ("page_size", "Nodes and images on a page, 1 to 1000; 100 by default."),
];

/// One size, as it is configured.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SizeSetting {
    id: String,
    name: Option<String>,
    vcpus: u32,
    ram_mb: u64,
    disk_gb: u64,
    #[serde(default)]
    properties: BTreeMap<String, String>,
    #[serde(default)]
    extra: Map<String, Value>,
}

/// How root disks begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disks {
    Linked,
    Copied,
}

/// What the operator set.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) sizes: Vec<Size>,
    pub(crate) public_networks: Vec<String>,
    pub(crate) disks: Disks,
    pub(crate) page_size: usize,
    pool: Option<String>,
    image_pool: Option<String>,
    networks: Vec<String>,
}

impl Settings {
    /// Reads and checks everything.
    pub(crate) fn read(ctx: &Context) -> Result<Self> {
        let config = ctx.config();
        config.reject_unknown(&KEYS.map(|(key, _)| key))?;
        let page_size = config.parse("page_size")?.unwrap_or(100);
        if !(1..=1000).contains(&page_size) {
            return Err(Error::Invalid("setting `page_size`: expected 1 to 1000".to_owned()));
        }
        let disks = match config.get("disks").as_deref() {
            None | Some("linked") => Disks::Linked,
            Some("copied") => Disks::Copied,
            Some(_) => return Err(Error::Invalid("setting `disks`: expected `linked` or `copied`".to_owned())),
        };
        Ok(Self {
            sizes: sizes(config.json("sizes")?)?,
            public_networks: config.json("public_networks")?.unwrap_or_default(),
            disks,
            page_size,
            pool: config.get("pool"),
            image_pool: config.get("image_pool"),
            networks: config.json("networks")?.unwrap_or_default(),
        })
    }

    /// The pool for nodes' disks.
    pub(crate) fn pool(&self, info: impl FnOnce() -> Result<Info>) -> Result<String> {
        match &self.pool {
            Some(pool) => Ok(pool.clone()),
            None => first(info()?.pools, "storage pool"),
        }
    }

    /// The pool that holds the images. The capability lists image pools after the others.
    pub(crate) fn image_pool(&self, info: impl FnOnce() -> Result<Info>) -> Result<String> {
        match &self.image_pool {
            Some(pool) => Ok(pool.clone()),
            None => first(info()?.pools.into_iter().rev().collect(), "storage pool"),
        }
    }

    /// The networks of a node whose order names none.
    pub(crate) fn networks(&self, public: bool, info: impl FnOnce() -> Result<Info>) -> Result<Vec<String>> {
        let usual = match self.networks.as_slice() {
            [] => vec![first(info()?.networks, "network")?],
            networks => networks.to_vec(),
        };
        if !public || usual.iter().any(|network| self.public_networks.contains(network)) {
            return Ok(usual);
        }
        match self.public_networks.first() {
            Some(network) => Ok(vec![network.clone()]),
            None => Err(Error::unsupported("public addresses: no network is set as public (`public_networks`)")),
        }
    }

    /// What is set and not granted.
    pub(crate) fn check(&self, info: &Info) -> Result<()> {
        let of_pools = |pool: &&String| !info.pools.contains(*pool);
        if let Some(pool) = self.pool.iter().chain(&self.image_pool).find(of_pools) {
            return Err(Error::Invalid(format!(
                "the storage pool `{pool}` is not granted; granted are {}",
                info.pools.join(", ")
            )));
        }
        if let Some(network) = self.networks.iter().chain(&self.public_networks).find(|network| !info.networks.contains(network))
        {
            return Err(Error::Invalid(format!(
                "the network `{network}` is not granted; granted are {}",
                info.networks.join(", ")
            )));
        }
        Ok(())
    }
}

fn first(all: Vec<String>, what: &str) -> Result<String> {
    all.into_iter().next().ok_or_else(|| Error::Forbidden(format!("no {what} is granted")))
}

fn sizes(configured: Option<Vec<SizeSetting>>) -> Result<Vec<Size>> {
    let Some(configured) = configured else {
        let usual = [("small", 1), ("medium", 2), ("large", 4)];
        return Ok(usual.map(|(id, n)| Size::new(id, id, u64::from(n) * 1024, u64::from(n) * 10).with_vcpus(n)).to_vec());
    };
    let mut sizes: Vec<Size> = Vec::new();
    for setting in configured {
        let wrong = |why: &str| Err(Error::Invalid(format!("setting `sizes`: size `{}`: {why}", setting.id)));
        if setting.id.is_empty() || sizes.iter().any(|size| size.id == setting.id) {
            return wrong("every size has an `id` of its own");
        }
        if setting.vcpus == 0 || setting.ram_mb == 0 || setting.disk_gb > 65_536 {
            return wrong("at least one processor and one MiB of memory, at most 65536 GiB of disk");
        }
        let name = setting.name.as_deref().unwrap_or(&setting.id);
        let mut size = Size::new(&setting.id, name, setting.ram_mb, setting.disk_gb).with_vcpus(setting.vcpus);
        size.properties = setting.properties.into_iter().collect();
        sizes.push(size.with_extra(Value::Object(setting.extra)));
    }
    if sizes.is_empty() {
        return Err(Error::Invalid("setting `sizes`: at least one size".to_owned()));
    }
    Ok(sizes)
}

/// The settings, for operators.
pub(crate) fn describe() -> Vec<Setting> {
    KEYS.iter().map(|(key, doc)| Setting::optional(*key, *doc)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use ostler_driver::testing::Cloud;

    fn settings(entries: &[(&str, &str)]) -> Result<Settings> {
        let cloud = entries.iter().fold(Cloud::new("lab"), |cloud, (key, value)| cloud.config(key, value));
        Settings::read(&cloud.context())
    }

    #[test]
    fn sizes_are_as_configured() {
        let usual = settings(&[]).unwrap().sizes;
        assert_eq!(
            usual.iter().map(|size| (size.ram_mb, size.disk_gb)).collect::<Vec<_>>(),
            [(1024, 10), (2048, 20), (4096, 40)]
        );
        let own = r#"[{"id": "a", "vcpus": 3, "ram_mb": 5, "disk_gb": 0, "name": "A", "properties": {"gpu": "no"}}]"#;
        let own = settings(&[("sizes", own)]).unwrap().sizes;
        assert_eq!((own[0].name.as_str(), own[0].vcpus, own[0].properties.len()), ("A", Some(3), 1));
        for wrong in [
            "[]",
            "{",
            r#"[{"id": "a"}]"#,
            r#"[{"id": "", "vcpus": 1, "ram_mb": 1, "disk_gb": 1}]"#,
            r#"[{"id": "a", "vcpus": 0, "ram_mb": 1, "disk_gb": 1}]"#,
            r#"[{"id": "a", "vcpus": 1, "ram_mb": 1, "disk_gb": 1, "colour": 1}]"#,
            r#"[{"id": "a", "vcpus": 1, "ram_mb": 1, "disk_gb": 1}, {"id": "a", "vcpus": 1, "ram_mb": 1, "disk_gb": 1}]"#,
        ] {
            let error = settings(&[("sizes", wrong)]).unwrap_err();
            assert!(error.class() == "invalid" && error.message().contains("`sizes`"), "{error}");
        }
        for (key, value) in [("page_size", "0"), ("disks", "thick"), ("networks", "x"), ("colour", "red")] {
            let error = settings(&[(key, value)]).unwrap_err();
            assert!(error.class() == "invalid" && error.message().contains(key), "{error}");
        }
    }

    #[test]
    fn the_defaults_are_the_first_that_is_granted() {
        let info = || Ok(crate::tests::fake::info(&["nodes", "images"], &["nat", "lan"]));
        let none = settings(&[]).unwrap();
        assert_eq!((none.pool(info).unwrap(), none.image_pool(info).unwrap()), ("nodes".to_owned(), "images".to_owned()));
        let one = || Ok(crate::tests::fake::info(&["nodes"], &[]));
        assert_eq!(none.image_pool(one).unwrap(), "nodes");
        assert_eq!(none.networks(false, one).unwrap_err().class(), "forbidden");
        assert_eq!(none.networks(false, info).unwrap(), ["nat"]);
        assert_eq!(none.networks(true, info).unwrap_err().class(), "unsupported");
        let set = settings(&[("pool", "images"), ("networks", "[\"nat\", \"lan\"]"), ("public_networks", "[\"lan\"]")]).unwrap();
        assert_eq!((set.pool(info).unwrap(), set.image_pool(info).unwrap()), ("images".to_owned(), "images".to_owned()));
        assert_eq!(set.networks(true, info).unwrap(), ["nat", "lan"]);
        assert!(set.check(&info().unwrap()).is_ok());
        let public = settings(&[("public_networks", "[\"lan\"]")]).unwrap();
        assert_eq!(
            (public.networks(true, info).unwrap(), public.networks(false, info).unwrap()),
            (vec!["lan".to_owned()], vec!["nat".to_owned()])
        );
        for entries in [("pool", "x"), ("image_pool", "x"), ("networks", "[\"x\"]"), ("public_networks", "[\"x\"]")] {
            let error = settings(&[entries]).unwrap().check(&info().unwrap()).unwrap_err();
            assert!(error.class() == "invalid" && error.message().contains("`x` is not granted"), "{error}");
        }
    }
}
