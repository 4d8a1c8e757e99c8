//! Flavors, the sizes of nodes.

use std::collections::BTreeMap;

use ostler_driver::http::is_identifier;
use ostler_driver::{Error, Extra, Page, Result, Size, bad_cursor};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::Service;
use crate::http::{Api, Link, marker, next};
use crate::microversion::FLAVORS;

#[derive(Deserialize)]
struct Flavors {
    flavors: Vec<Flavor>,
    #[serde(default)]
    flavors_links: Vec<Link>,
}

#[derive(Deserialize)]
struct Flavor {
    id: String,
    name: String,
    ram: u64,
    vcpus: u32,
    disk: u64,
    /// A number, or an empty text before 2.75.
    #[serde(default)]
    swap: Value,
    #[serde(default, rename = "OS-FLV-EXT-DATA:ephemeral")]
    ephemeral: u64,
    #[serde(default, rename = "OS-FLV-DISABLED:disabled")]
    disabled: bool,
    #[serde(default, rename = "os-flavor-access:is_public")]
    is_public: bool,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    extra_specs: BTreeMap<String, String>,
}

impl Flavor {
    fn size(self) -> Size {
        let mut size = Size::new(self.id, self.name, self.ram, self.disk).with_vcpus(self.vcpus);
        size.properties = self.extra_specs.into_iter().collect();
        size.with_extra(json!({
            "swap_mb": self.swap.as_u64().unwrap_or(0),
            "ephemeral_gb": self.ephemeral,
            "public": self.is_public,
            "description": self.description,
        }))
    }
}

impl Api {
    /// A page of flavors; those that are disabled are left out.
    pub(crate) fn flavors(&self, cursor: Option<&str>) -> Result<Page<Size>> {
        let version = self.microversion(FLAVORS)?;
        let limit = self.settings.page_size.to_string();
        let mut call = self.get(Service::Compute, "/flavors/detail").microversion(version).query("limit", &limit);
        if let Some(cursor) = cursor {
            // An identifier of a flavor may be any text, but it is one line.
            if cursor.is_empty() || cursor.len() > 255 || cursor.chars().any(char::is_control) {
                return Err(bad_cursor(cursor));
            }
            call = call.query("marker", cursor);
        }
        let page: Flavors = match (call.json(), cursor) {
            (Err(Error::Invalid(_) | Error::NotFound(_)), Some(cursor)) => return Err(bad_cursor(cursor)),
            (page, _) => page?,
        };
        let next = next(page.flavors_links).as_deref().and_then(marker);
        Ok(Page { items: page.flavors.into_iter().filter(|flavor| !flavor.disabled).map(Flavor::size).collect(), next })
    }
}

/// Refuses a cursor that is no identifier, before it is sent.
pub(super) fn check_cursor(cursor: Option<&str>) -> Result<()> {
    match cursor {
        Some(cursor) if !is_identifier(cursor) => Err(bad_cursor(cursor)),
        _ => Ok(()),
    }
}
