//! The vocabulary of the contract, with constructors. The types themselves are generated from `wit/types.wit`.

use serde_json::{Map, Value};

pub use crate::bindings::ostler::driver::types::{
    Action, Address, BlockDevice, Capacity, Description, Device, Force, Gauge, Health, Image, ImageSource, ImageSpec,
    ImageStatus, Measurement, MetricKind, Node, NodeSpec, NodeState, Quota, Reach, Sample, Setting, Size,
};
use crate::bindings::ostler::driver::types::{ImagePage, NodePage, SizePage};
use crate::{Error, Result};

/// One page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The items, in the provider's order.
    pub items: Vec<T>,
    /// The cursor of the next page; none on the last.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// The last, or only, page.
    pub fn last(items: Vec<T>) -> Self {
        Self { items, next: None }
    }

    /// Cuts a page of at most `size` items out of the whole list; the cursor is the number of items before the page. For
    /// providers that do not page themselves.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a cursor that is no such number.
    pub fn slice(all: Vec<T>, cursor: Option<&str>, size: usize) -> Result<Self> {
        let start = match cursor {
            None => 0,
            Some(text) => text.parse::<usize>().map_err(|_| bad_cursor(text))?,
        };
        let end = start.saturating_add(size.max(1));
        let next = (end < all.len()).then(|| end.to_string());
        Ok(Self { items: all.into_iter().skip(start).take(size.max(1)).collect(), next })
    }
}

/// The error for a cursor that is not understood.
pub fn bad_cursor(cursor: &str) -> Error {
    let shown: String = cursor.chars().take(64).collect();
    Error::Invalid(format!("`{shown}` is not a cursor of this list"))
}

macro_rules! page {
    ($($page:ident of $item:ident),*) => {$(
        impl From<Page<$item>> for $page {
            fn from(page: Page<$item>) -> Self {
                Self { items: page.items, next: page.next }
            }
        }
    )*};
}
page!(NodePage of Node, ImagePage of Image, SizePage of Size);

/// What carries an `extra` object: whatever the provider knows, or wants to be told, besides.
pub trait Extra: Sized {
    /// The text as it crosses the contract: a JSON object, or empty for `{}`.
    fn extra_text(&self) -> &str;

    /// Sets the text.
    fn set_extra_text(&mut self, text: String);

    /// The object.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the text is not one JSON object.
    fn extra(&self) -> Result<Map<String, Value>> {
        match self.extra_text().trim() {
            "" => Ok(Map::new()),
            text => serde_json::from_str(text).map_err(|error| Error::Invalid(format!("`extra` is not a JSON object: {error}"))),
        }
    }

    /// Replaces the object. What is no object is kept under the key `value`; null is the empty object.
    #[must_use]
    fn with_extra(mut self, extra: impl Into<Value>) -> Self {
        self.set_extra_text(match extra.into() {
            Value::Null => String::new(),
            Value::Object(map) if map.is_empty() => String::new(),
            object @ Value::Object(_) => object.to_string(),
            value => Value::Object(Map::from_iter([("value".to_owned(), value)])).to_string(),
        });
        self
    }
}

macro_rules! extra {
    ($($type:ident),*) => {$(
        impl Extra for $type {
            fn extra_text(&self) -> &str {
                &self.extra
            }

            fn set_extra_text(&mut self, text: String) {
                self.extra = text;
            }
        }
    )*};
}
extra!(Node, NodeSpec, Image, ImageSpec, Size, Device, Capacity, Description, Health);

impl Node {
    /// A node in state [`NodeState::Unknown`] of which nothing else is known.
    pub fn new(id: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            name: name.into(),
            token: None,
            state: NodeState::Unknown,
            state_detail: None,
            image_id: None,
            size_id: None,
            addresses: Vec::new(),
            created_at: None,
            extra: String::new(),
        }
    }

    /// Sets the state.
    #[must_use]
    pub fn with_state(mut self, state: NodeState) -> Self {
        self.state = state;
        self
    }

    /// Sets the token.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Adds an address.
    #[must_use]
    pub fn with_address(mut self, address: Address) -> Self {
        self.addresses.push(address);
        self
    }
}

impl Address {
    /// An address that can be reached from outside the provider's network.
    pub fn public(ip: impl Into<String>) -> Self {
        Self { ip: ip.into(), reach: Reach::Public, network: None, mac: None }
    }

    /// An address that can be reached from inside the provider's network only.
    pub fn private(ip: impl Into<String>) -> Self {
        Self { reach: Reach::Private, ..Self::public(ip) }
    }
}

impl NodeSpec {
    /// An order for a running node with nothing special.
    pub fn new(name: impl Into<String>, image_id: impl Into<String>, size_id: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            image_id: image_id.into(),
            size_id: size_id.into(),
            key_name: None,
            ssh_keys: Vec::new(),
            user_data: None,
            metadata: Vec::new(),
            networks: Vec::new(),
            security_groups: Vec::new(),
            public_address: false,
            block_devices: Vec::new(),
            zone: None,
            start: true,
            extra: String::new(),
        }
    }
}

impl Image {
    /// An active image of which nothing else is known.
    pub fn new(id: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            name: name.into(),
            token: None,
            status: ImageStatus::Active,
            size_bytes: None,
            min_disk_gb: None,
            min_ram_mb: None,
            checksum: None,
            created_at: None,
            properties: Vec::new(),
            extra: String::new(),
        }
    }

    /// Adds a searchable fact.
    #[must_use]
    pub fn with_property(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.push((key.into(), value.into()));
        self
    }
}

impl ImageSpec {
    /// An order for an image that the provider fetches.
    pub fn from_url(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            source: ImageSource::Url(url.into()),
            format: None,
            checksum: None,
            properties: Vec::new(),
            extra: String::new(),
        }
    }
}

impl Size {
    /// A size of so much memory (mebibytes) and root disk (gigabytes).
    pub fn new(id: impl Into<String>, name: impl Into<String>, ram_mb: u64, disk_gb: u64) -> Self {
        Self { id: id.into(), name: name.into(), vcpus: None, ram_mb, disk_gb, properties: Vec::new(), extra: String::new() }
    }

    /// Sets the number of virtual processors.
    #[must_use]
    pub fn with_vcpus(mut self, vcpus: u32) -> Self {
        self.vcpus = Some(vcpus);
        self
    }
}

impl Gauge {
    /// An amount with a known bound.
    pub fn of(total: u64, used: u64) -> Self {
        Self { total: Some(total), used: Some(used) }
    }
}

/// Nothing known.
impl Default for Gauge {
    fn default() -> Self {
        Self { total: None, used: None }
    }
}

/// A platform of which nothing is known.
impl Default for Capacity {
    fn default() -> Self {
        Self {
            cpu_model: None,
            vcpus: Gauge::default(),
            ram_mb: Gauge::default(),
            disk_gb: Gauge::default(),
            nodes: Gauge::default(),
            quotas: Vec::new(),
            devices: Vec::new(),
            extra: String::new(),
        }
    }
}

impl Quota {
    /// A named limit.
    pub fn new(name: impl Into<String>, amount: Gauge) -> Self {
        Self { name: name.into(), amount }
    }
}

impl Measurement {
    /// A value that goes up and down.
    pub fn gauge(name: impl Into<String>, unit: impl Into<String>, value: f64) -> Self {
        Self { name: name.into(), unit: unit.into(), kind: MetricKind::Gauge, value }
    }

    /// A value that only grows.
    pub fn counter(name: impl Into<String>, unit: impl Into<String>, value: f64) -> Self {
        Self { kind: MetricKind::Counter, ..Self::gauge(name, unit, value) }
    }
}

/// A provider that answers and says nothing more.
impl Default for Health {
    fn default() -> Self {
        Self { endpoint: None, account: None, provider_version: None, extra: String::new() }
    }
}

impl Description {
    /// A driver with no optional features and no settings.
    ///
    /// `name` names the driver, `version` is usually `env!("CARGO_PKG_VERSION")`, `provider` is the machine-readable name of the
    /// provider kind and `cloud_type` the one for people.
    pub fn new(
        name: impl Into<String>,
        version: impl Into<String>,
        provider: impl Into<String>,
        cloud_type: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            provider: provider.into(),
            cloud_type: cloud_type.into(),
            features: Vec::new(),
            settings: Vec::new(),
            extra: String::new(),
        }
    }

    /// Adds a feature.
    #[must_use]
    pub fn with_feature(mut self, feature: impl Into<String>) -> Self {
        self.features.push(feature.into());
        self
    }

    /// Adds a setting.
    #[must_use]
    pub fn with_setting(mut self, setting: Setting) -> Self {
        self.settings.push(setting);
        self
    }
}

impl Setting {
    /// A key of the configuration that may be left out.
    pub fn optional(key: impl Into<String>, doc: impl Into<String>) -> Self {
        Self { key: key.into(), doc: doc.into(), required: false, secret: false }
    }

    /// A key of the configuration that must be there.
    pub fn required(key: impl Into<String>, doc: impl Into<String>) -> Self {
        Self { required: true, ..Self::optional(key, doc) }
    }

    /// A secret that must be there.
    pub fn secret(name: impl Into<String>, doc: impl Into<String>) -> Self {
        Self { secret: true, ..Self::required(name, doc) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    #[test]
    fn pages_cover_a_list_once() {
        for size in [0, 1, 2, 3, 5, 6, 100] {
            let (mut cursor, mut seen) = (None, Vec::new());
            loop {
                let page = Page::slice((0..5).collect(), cursor.as_deref(), size).unwrap();
                seen.extend(page.items);
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(seen, [0, 1, 2, 3, 4], "pages of {size}");
        }
        assert_eq!(Page::slice(vec![1], Some("x"), 1).unwrap_err().class(), "invalid");
        assert!(Page::slice(vec![1], Some("9"), 1).unwrap().items.is_empty());
    }

    #[test]
    fn extra_is_always_an_object() {
        let node = Node::new("1", "one");
        for (given, text) in
            [(json!({"a": 1}), r#"{"a":1}"#), (json!({}), ""), (Value::Null, ""), (json!([1]), r#"{"value":[1]}"#)]
        {
            let node = node.clone().with_extra(given);
            assert_eq!(node.extra, text);
            assert!(node.extra().is_ok());
        }
        let broken = Node { extra: "[]".into(), ..node };
        assert_eq!(broken.extra().unwrap_err().class(), "invalid");
    }
}
