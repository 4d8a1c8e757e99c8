//! `[services]`, `[work]` and `[billing]`.

use std::collections::BTreeMap;

use super::reader::Section;
use super::types::{Billing, Cloud, Mode, ServiceType, Services, Work};

/// The image and the size that the dummy clouds of development mode have.
const SAMPLE: &str = "1";
/// The largest price, in credits.
const LARGEST_PRICE: u64 = 1_000_000;

pub(super) fn services(root: &Section<'_, '_>, mode: Mode, clouds: &BTreeMap<String, Cloud>) -> Services {
    let section = root.section("services");
    let defaults = Services::default();
    let mut types = BTreeMap::new();
    for (name, kind) in section.sections_by_name("types") {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            let message = format!("a type of service is 1 to 64 of a-z, 0-9, _ and -, found {name:?}");
            kind.reader.error(&kind.place, &kind.path, message);
        }
        types.insert(name, service_type(&kind, clouds));
    }
    if mode == Mode::Development {
        for name in ostler_core::services::sample_catalogue(SAMPLE, SAMPLE).into_keys() {
            let sample = ServiceType { image: SAMPLE.to_owned(), size: SAMPLE.to_owned(), ..ServiceType::default() };
            types.entry(name).or_insert(sample);
        }
    }
    Services {
        start_timeout_seconds: section.integer("start_timeout_seconds", defaults.start_timeout_seconds, 1..=3600, "seconds"),
        archive: section.file("archive"),
        metering: section.boolean("metering").is_none_or(|(metering, _)| metering),
        manager_port: u16::try_from(section.integer("manager_port", defaults.manager_port.into(), 1..=65_535, "")).unwrap_or(443),
        name_prefix: section.parsed("name_prefix", name_prefix).map_or(defaults.name_prefix, |(prefix, _)| prefix),
        types,
    }
}

fn service_type(section: &Section<'_, '_>, clouds: &BTreeMap<String, Cloud>) -> ServiceType {
    let (image, size) = machine(section);
    let mut others = BTreeMap::new();
    for (cloud, other) in section.sections_by_name("clouds") {
        known_cloud(&other, &cloud, clouds);
        others.insert(cloud, machine(&other));
    }
    let script = section.file("script").and_then(|path| match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) => {
            let message = format!("cannot read {}: {}", path.display(), super::reader::reason(&error));
            section.reader.error(&section.place, &section.key("script"), message);
            None
        }
    });
    ServiceType { image, size, script, clouds: others }
}

fn machine(section: &Section<'_, '_>) -> (String, String) {
    let text = |key, why| section.required_text(key, why).map(|text| text.value).unwrap_or_default();
    (text("image", "the provider's identifier of the image"), text("size", "the provider's identifier of the size"))
}

fn known_cloud(section: &Section<'_, '_>, cloud: &str, clouds: &BTreeMap<String, Cloud>) {
    if !clouds.contains_key(cloud) {
        let help = super::reader::suggestion(cloud, clouds.keys().map(String::as_str));
        section.reader.error_with_help(&section.place, &section.path, format!("there is no cloud {cloud:?}"), help);
    }
}

pub(super) fn work(root: &Section<'_, '_>) -> Work {
    let section = root.section("work");
    let defaults = Work::default();
    Work {
        sweep_seconds: section.integer("sweep_seconds", defaults.sweep_seconds, 0..=86_400, "seconds"),
        remove_orphans: section.boolean("remove_orphans").map_or(defaults.remove_orphans, |(remove, _)| remove),
    }
}

pub(super) fn billing(root: &Section<'_, '_>, clouds: &BTreeMap<String, Cloud>) -> Billing {
    let section = root.section("billing");
    let mut prices = BTreeMap::new();
    for (cloud, sizes) in section.sections_by_name("prices") {
        known_cloud(&sizes, &cloud, clouds);
        prices.insert(cloud, sizes.all_integers(0..=LARGEST_PRICE, "credits"));
    }
    Billing {
        price: section.integer("price", 1, 0..=LARGEST_PRICE, "credits"),
        period_seconds: section.integer("period_seconds", 3600, 1..=31_536_000, "seconds"),
        deployments: section.boolean("deployments").is_some_and(|(charged, _)| charged),
        prices,
    }
}

fn name_prefix(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if (1..=32).contains(&text.len()) && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    Err(format!("must be 1 to 32 letters, digits and hyphens, found {text:?}"))
}
