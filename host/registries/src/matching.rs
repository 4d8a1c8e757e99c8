//! Which image and which flavor of a provider is meant.

use crate::cmdb::{Flavor, Image};

/// The image that is wanted. Without anything any image will do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageWish {
    /// A name with or without a tag (`ubuntu`, `ubuntu:22.04`), an identifier at the provider, or `ost://host/id` and the like.
    pub name: Option<String>,
    /// `type`, `architecture`, `distribution`, `version`, `gpu_driver`, `gpu_driver_version`, `cuda_support`, `cuda_version`,
    /// `cuDNN_version`, each with what it must be; case makes no difference. Nothing has a fact of another name.
    pub facts: Vec<(String, String)>,
}

/// The image that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageMatch<'i> {
    /// One of the CMDB's.
    Known(&'i Image),
    /// The wish names an image at the provider itself: `ost://host/id`, `one://…`, `aws://…`, `azr://…`. The whole text.
    Named(&'i str),
}

impl<'i> ImageMatch<'i> {
    /// The identifier at the provider: what the CMDB says, or what follows the last slash.
    #[must_use]
    pub fn id(&self) -> Option<&'i str> {
        match self {
            Self::Known(image) => image.image_id.as_deref(),
            Self::Named(text) => text.rsplit('/').next().filter(|id| !id.is_empty()),
        }
    }
}

/// The flavor that is wanted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlavorWish {
    /// A name, or an identifier at the provider: then the rest does not count.
    pub name: Option<String>,
    /// Processors, at least.
    pub vcpus: Option<i64>,
    /// Memory in MB, at least.
    pub ram_mb: Option<f64>,
    /// Disk in GB, at least.
    pub disk_gb: Option<f64>,
    /// Graphics processors, at least.
    pub gpus: Option<i64>,
    /// Who makes the graphics processors; case makes no difference.
    pub gpu_vendor: Option<String>,
    /// Which they are; case makes no difference.
    pub gpu_model: Option<String>,
}

/// The image that is meant (`facts/indigo.md`, section 3): the name wins; if there is none by that name, or no name, all facts
/// count. A name that is not found, without facts, means no image.
#[must_use]
pub fn find_image<'i>(images: &'i [Image], wish: &'i ImageWish) -> Option<ImageMatch<'i>> {
    if let Some(name) = wish.name.as_deref() {
        let named = |scheme: &&str| name.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
        if ["ost://", "one://", "aws://", "azr://"].iter().any(named) {
            return Some(ImageMatch::Named(name));
        }
        let exact = |image: &&Image| image.name.as_deref() == Some(name) || image.image_id.as_deref() == Some(name);
        let found = images.iter().find(exact).or_else(|| images.iter().find(|image| has_name(image, name)));
        if found.is_some() || wish.facts.is_empty() {
            return found.map(ImageMatch::Known);
        }
    }
    images.iter().find(|image| wish.facts.iter().all(|(fact, wanted)| has_fact(image, fact, wanted))).map(ImageMatch::Known)
}

/// `base[:tag]`: the tag must be the same if one is asked for.
fn has_name(image: &Image, wanted: &str) -> bool {
    let Some(name) = image.name.as_deref() else { return false };
    let split = |text| match str::rsplit_once(text, ':') {
        Some((base, tag)) => (base, Some(tag)),
        None => (text, None),
    };
    let ((base, tag), (wanted_base, wanted_tag)) = (split(name), split(wanted));
    base.eq_ignore_ascii_case(wanted_base)
        && wanted_tag.is_none_or(|wanted| tag.is_some_and(|tag| tag.eq_ignore_ascii_case(wanted)))
}

fn has_fact(image: &Image, fact: &str, wanted: &str) -> bool {
    let word = |flag: Option<bool>| flag.map(|flag| if flag { "true" } else { "false" });
    let known = match fact.to_ascii_lowercase().as_str() {
        "type" => image.kind.as_deref(),
        "architecture" => image.architecture.as_deref(),
        "distribution" => image.distribution.as_deref(),
        "version" => image.version.as_deref(),
        "gpu_driver" => word(image.gpu_driver),
        "gpu_driver_version" => image.gpu_driver_version.as_deref(),
        "cuda_support" => word(image.cuda_support),
        "cuda_version" => image.cuda_version.as_deref(),
        "cudnn_version" => image.cudnn_version.as_deref(),
        _ => None,
    };
    known.is_some_and(|known| known.eq_ignore_ascii_case(wanted.trim()))
}

/// The flavor that is meant: the one of that name, or the smallest that is large enough in all that is asked for.
#[must_use]
pub fn find_flavor<'f>(flavors: &'f [Flavor], wish: &FlavorWish) -> Option<&'f Flavor> {
    if let Some(name) = wish.name.as_deref() {
        return flavors.iter().find(|flavor| flavor.name.as_deref() == Some(name) || flavor.flavor_id.as_deref() == Some(name));
    }
    let same = |known: &Option<String>, wanted: &Option<String>| {
        wanted.as_deref().is_none_or(|wanted| known.as_deref().is_some_and(|known| known.eq_ignore_ascii_case(wanted)))
    };
    let enough = |flavor: &&Flavor| {
        at_least(flavor.vcpus, wish.vcpus)
            && at_least(flavor.ram_mb, wish.ram_mb)
            && at_least(flavor.disk_gb, wish.disk_gb)
            && at_least(flavor.gpus, wish.gpus)
            && same(&flavor.gpu_vendor, &wish.gpu_vendor)
            && same(&flavor.gpu_model, &wish.gpu_model)
    };
    flavors.iter().filter(enough).min_by(|a, b| a.by_size(b))
}

/// What is not said is nothing, which is enough if nothing is wanted.
fn at_least<T: PartialOrd + Default>(known: Option<T>, wanted: Option<T>) -> bool {
    wanted.is_none_or(|wanted| known.unwrap_or_default() >= wanted)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn image(id: &str, name: &str, distribution: &str, version: &str) -> Image {
        Image {
            id: id.to_owned(),
            image_id: Some(format!("at-{id}")),
            name: Some(name.to_owned()),
            kind: Some("linux".to_owned()),
            architecture: Some("x86_64".to_owned()),
            distribution: Some(distribution.to_owned()),
            version: Some(version.to_owned()),
            ..Image::default()
        }
    }

    #[test]
    fn images() {
        let gpu = Image { gpu_driver: Some(true), cuda_version: Some("11".into()), ..image("4", "ml", "ubuntu", "20.04") };
        let nameless = Image { id: "5".into(), ..Image::default() };
        let images = [
            image("1", "ubuntu:20.04", "Ubuntu", "20.04"),
            image("2", "ubuntu:22.04", "ubuntu", "22.04"),
            image("3", "centos", "centos", "7"),
            gpu,
            nameless,
        ];
        type Case<'c> = (&'c str, &'c [(&'c str, &'c str)], Option<&'c str>);
        let cases: &[Case<'_>] = &[
            ("ubuntu:22.04", &[], Some("at-2")),
            ("UBUNTU:22.04", &[], Some("at-2")),
            ("ubuntu", &[], Some("at-1")),
            ("ubuntu:24.04", &[], None),
            ("centos:7", &[], None),
            ("centos", &[("distribution", "ubuntu")], Some("at-3")),
            ("at-4", &[], Some("at-4")),
            ("nothing", &[], None),
            ("nothing", &[("version", "7")], Some("at-3")),
            ("", &[("DISTRIBUTION", "UBUNTU"), ("version", "22.04")], Some("at-2")),
            ("", &[("distribution", "ubuntu"), ("gpu_driver", "True")], Some("at-4")),
            ("", &[("cuda_version", "12")], None),
            ("", &[("flavour", "sweet")], None),
            ("", &[], Some("at-1")),
            ("ost://cloud.example/0f-1", &[], Some("0f-1")),
            ("AWS://eu/ami-1", &[], Some("ami-1")),
            ("ost://", &[], None),
            ("docker://cloud.example/x", &[], None),
        ];
        for (name, facts, expected) in cases {
            let facts = facts.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let wish = ImageWish { name: Some((*name).to_owned()).filter(|name| !name.is_empty()), facts };
            let found = find_image(&images, &wish).and_then(|found| found.id());
            assert_eq!(found, *expected, "{name} {:?}", wish.facts);
        }
        assert_eq!(find_image(&[], &ImageWish::default()), None);
    }

    #[test]
    fn flavors() {
        let flavor = |name: &str, vcpus, ram, disk, gpus: Option<i64>| Flavor {
            id: name.to_owned(),
            flavor_id: Some(format!("id-{name}")),
            name: Some(name.to_owned()),
            vcpus: Some(vcpus),
            ram_mb: Some(ram),
            disk_gb: disk,
            gpus,
            gpu_vendor: gpus.map(|_| "Nvidia".to_owned()),
            gpu_model: None,
        };
        let flavors = [
            flavor("huge", 16, 65_536.0, Some(200.0), None),
            flavor("gpu", 2, 4_096.0, Some(20.0), Some(1)),
            flavor("small", 1, 2_048.0, Some(20.0), None),
            flavor("medium", 2, 4_096.0, Some(20.0), Some(0)),
            flavor("diskless", 1, 1_024.0, None, None),
        ];
        let none = FlavorWish::default;
        let cases = [
            (none(), Some("diskless")),
            (FlavorWish { name: Some("gpu".into()), vcpus: Some(99), ..none() }, Some("gpu")),
            (FlavorWish { name: Some("id-huge".into()), ..none() }, Some("huge")),
            (FlavorWish { name: Some("tiny".into()), ..none() }, None),
            (FlavorWish { vcpus: Some(1), ..none() }, Some("diskless")),
            (FlavorWish { vcpus: Some(1), disk_gb: Some(1.0), ..none() }, Some("small")),
            (FlavorWish { vcpus: Some(1), disk_gb: Some(0.0), ..none() }, Some("diskless")),
            (FlavorWish { vcpus: Some(2), ..none() }, Some("medium")),
            (FlavorWish { vcpus: Some(2), gpus: Some(0), ram_mb: Some(4_000.0), disk_gb: Some(20.0), ..none() }, Some("medium")),
            (FlavorWish { vcpus: Some(3), ..none() }, Some("huge")),
            (FlavorWish { gpus: Some(1), ..none() }, Some("gpu")),
            (FlavorWish { gpus: Some(1), gpu_vendor: Some("NVIDIA".into()), ..none() }, Some("gpu")),
            (FlavorWish { gpus: Some(1), gpu_vendor: Some("AMD".into()), ..none() }, None),
            (FlavorWish { gpus: Some(2), ..none() }, None),
            (FlavorWish { ram_mb: Some(100_000.0), ..none() }, None),
        ];
        for (wish, expected) in cases {
            assert_eq!(find_flavor(&flavors, &wish).map(|flavor| flavor.id.as_str()), expected, "{wish:?}");
        }
    }
}
