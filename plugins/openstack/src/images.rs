//! Glance: images, and how they get there.

use std::collections::BTreeMap;

use ostler_driver::http::{check_identifier, encode, is_identifier};
use ostler_driver::orders::{Orders, Stop};
use ostler_driver::{Error, Extra, Image, ImageSource, ImageSpec, ImageStatus, Page, Result, bad_cursor, time};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::auth::Service;
use crate::http::{Api, marker};

/// Begins the tag that carries the host's token.
const TAG: &str = "ostler:";
/// The property with the checksum that the content must have.
const EXPECTED: &str = "ostler_checksum";
/// Searchable facts and Glance's names for them.
const FACTS: [(&str, &str); 4] =
    [("os", "os_type"), ("distribution", "os_distro"), ("version", "os_version"), ("architecture", "architecture")];
/// Formats of disks that Glance knows by default.
const FORMATS: [&str; 7] = ["qcow2", "raw", "vmdk", "vdi", "vhd", "vhdx", "iso"];

#[derive(Deserialize)]
struct Images {
    images: Vec<GlanceImage>,
    #[serde(default)]
    next: Option<String>,
}

#[derive(Debug, Deserialize)]
struct GlanceImage {
    id: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    status: String,
    #[serde(default)]
    visibility: Option<String>,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    disk_format: Option<String>,
    #[serde(default)]
    min_disk: u64,
    #[serde(default)]
    min_ram: u64,
    #[serde(default)]
    os_hash_algo: Option<String>,
    #[serde(default)]
    os_hash_value: Option<String>,
    #[serde(default)]
    owner: Option<String>,
    #[serde(default)]
    protected: bool,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    created_at: Option<String>,
    /// Properties lie flat among the rest.
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// Fields of Glance's own that are no properties.
const OWN: [&str; 14] = [
    "checksum",
    "container_format",
    "direct_url",
    "file",
    "locations",
    "os_glance_failed_import",
    "os_glance_importing_to_stores",
    "os_hidden",
    "schema",
    "self",
    "stores",
    "updated_at",
    "virtual_size",
    EXPECTED,
];

impl GlanceImage {
    fn token(&self) -> Option<&str> {
        self.tags.iter().find_map(|tag| tag.strip_prefix(TAG))
    }

    fn text(&self, key: &str) -> &str {
        self.rest.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// `sha256:<hex>`, if that is how Glance hashes.
    fn checksum(&self) -> Option<String> {
        match (self.os_hash_algo.as_deref(), &self.os_hash_value) {
            (Some("sha256"), Some(value)) => Some(format!("sha256:{value}")),
            _ => None,
        }
    }

    /// Whether nothing is on its way to it.
    fn is_idle(&self) -> bool {
        self.status == "queued" && self.text("os_glance_importing_to_stores").is_empty()
    }

    fn status(&self) -> ImageStatus {
        match self.status.as_str() {
            "queued" if !self.text("os_glance_failed_import").is_empty() => ImageStatus::Failed("the import failed".to_owned()),
            "queued" if self.is_idle() => ImageStatus::Pending,
            "queued" | "saving" | "uploading" | "importing" => ImageStatus::Importing(None),
            "active" => match (self.text(EXPECTED), self.checksum()) {
                ("", _) => ImageStatus::Active,
                (expected, Some(found)) if found == expected => ImageStatus::Active,
                (_, Some(_)) => ImageStatus::Failed("the content has not the checksum that was demanded".to_owned()),
                (_, None) => ImageStatus::Failed("the checksum that was demanded cannot be compared".to_owned()),
            },
            "killed" => ImageStatus::Failed("the upload failed".to_owned()),
            "deleted" | "pending_delete" => ImageStatus::Deleting,
            other => ImageStatus::Other(other.to_owned()),
        }
    }

    fn image(self) -> Image {
        let mut image = Image::new(&self.id, self.name.clone().unwrap_or_default());
        image.token = self.token().map(str::to_owned);
        image.status = self.status();
        image.size_bytes = self.size;
        image.min_disk_gb = Some(self.min_disk).filter(|size| *size > 0);
        image.min_ram_mb = Some(self.min_ram).filter(|size| *size > 0);
        image.checksum = self.checksum();
        image.created_at = self.created_at.as_deref().and_then(time::parse);
        for (key, value) in &self.rest {
            if let Some(value) = value.as_str().filter(|value| !value.is_empty() && !OWN.contains(&key.as_str())) {
                let name = FACTS.iter().find(|(_, theirs)| theirs == key).map_or(key.as_str(), |(ours, _)| ours);
                image.properties.push((name.to_owned(), value.to_owned()));
            }
        }
        let kind = self.rest.get("os_type").and_then(Value::as_str);
        image.properties.extend(kind.map(|kind| ("type".to_owned(), kind.to_owned())));
        image.with_extra(json!({
            "visibility": self.visibility, "disk_format": self.disk_format, "owner": self.owner, "protected": self.protected,
            "tags": self.tags,
        }))
    }
}

/// Settings of OpenStack's own in an order's `extra`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderExtra {
    /// `private` by default.
    visibility: Option<String>,
    min_disk_gb: Option<u64>,
    min_ram_mb: Option<u64>,
}

impl Api {
    pub(crate) fn images(&self, cursor: Option<&str>) -> Result<Page<Image>> {
        let mut call = self.get(Service::Image, "/images").query("limit", &self.settings.page_size.to_string());
        if let Some(cursor) = cursor {
            if !is_identifier(cursor) {
                return Err(bad_cursor(cursor));
            }
            call = call.query("marker", cursor);
        }
        let page: Images = match (call.json(), cursor) {
            (Err(Error::Invalid(_) | Error::NotFound(_)), Some(cursor)) => return Err(bad_cursor(cursor)),
            (page, _) => page?,
        };
        let next = page.next.as_deref().and_then(marker);
        Ok(Page { items: page.images.into_iter().map(GlanceImage::image).collect(), next })
    }

    pub(crate) fn image(&self, id: &str) -> Result<Image> {
        Ok(self.glance_image(id)?.image())
    }

    fn glance_image(&self, id: &str) -> Result<GlanceImage> {
        check_identifier("image", id)?;
        self.get(Service::Image, format!("/images/{id}")).json()
    }

    pub(crate) fn find_image(&self, token: &str) -> Result<Option<Image>> {
        Ok(self.image_by_token(token)?.map(GlanceImage::image))
    }

    fn image_by_token(&self, token: &str) -> Result<Option<GlanceImage>> {
        let list = self.get(Service::Image, "/images").query("tag", &format!("{TAG}{token}")).query("limit", "100");
        let found = list.pages(|page: Images| (page.images, page.next))?;
        // The first, if there should be several.
        Ok(found.into_iter().min_by(|a, b| (&a.created_at, &a.id).cmp(&(&b.created_at, &b.id))))
    }

    /// Makes an image and has its content brought there: by Glance (`web-download`), or by the driver if it is small and the
    /// operator wants it so. An order that broke off between the two goes on when it is repeated.
    pub(crate) fn import(&self, token: &str, spec: &ImageSpec) -> Result<Image> {
        let ImageSource::Url(url) = &spec.source else {
            return Err(Error::unsupported("images that the host has fetched"));
        };
        let body = self.new_image(token, spec)?;
        let find = |_| self.image_by_token(token);
        let image = Orders::new(&self.ctx).once("image", token, find, || {
            let way = self.way()?;
            self.check_verifiable(spec)?;
            let call = self.post(Service::Image, "/images").json_body(&body);
            let image: GlanceImage = call.json().map_err(Stop::of_order)?;
            self.log_way(&image.id, &way);
            Ok(image)
        })?;
        if image.is_idle() && image.text("os_glance_failed_import").is_empty() {
            let asked = match self.way()? {
                Way::Glance => self.ask_glance(&image.id, url),
                Way::Upload => self.upload(&image.id, url),
            };
            match asked {
                Ok(()) => {}
                Err(error @ (Error::Transient(_) | Error::Throttled { .. } | Error::Unauthorized(_))) => return Err(error),
                Err(error) => {
                    // It will never have content.
                    self.delete_image(&image.id)?;
                    return Err(error);
                }
            }
        }
        self.image(&image.id)
    }

    fn log_way(&self, id: &str, way: &Way) {
        let way = if matches!(way, Way::Glance) { "web-download" } else { "upload" };
        self.ctx.log().info("an image is imported", &[("image", id), ("by", way)]);
    }

    fn new_image(&self, token: &str, spec: &ImageSpec) -> Result<Value> {
        let extra = serde_json::from_value(Value::Object(spec.extra()?));
        let extra: OrderExtra = extra.map_err(|error| Error::Invalid(format!("`extra`: {error}")))?;
        let format = spec.format.as_deref().unwrap_or("qcow2");
        if !FORMATS.contains(&format) {
            return Err(Error::Invalid(format!("the format is one of {}", FORMATS.join(", "))));
        }
        let mut image = Map::new();
        for (key, value) in &spec.properties {
            let key = FACTS.iter().find(|(ours, _)| ours == key).map_or(key.as_str(), |(_, theirs)| theirs);
            // What has a meaning of its own is not set by the way, and `type` is what we make of `os_type`.
            let own = ["id", "name", "status", "owner", "tags", "size", "visibility", "protected", "min_disk", "min_ram"];
            if OWN.contains(&key) || own.contains(&key) || key.starts_with("os_hash") || key.starts_with("os_glance") {
                return Err(Error::Invalid(format!("the property `{key}` is Glance's own")));
            }
            if key != "type" {
                image.insert(key.to_owned(), value.as_str().into());
            }
        }
        let checksum = spec.checksum.as_deref().map(|checksum| (EXPECTED.to_owned(), checksum.into()));
        image.extend(checksum);
        let fields = json!({
            "name": spec.name, "disk_format": format, "container_format": "bare", "tags": [format!("{TAG}{token}")],
            "visibility": extra.visibility.as_deref().unwrap_or("private"),
            "min_disk": extra.min_disk_gb.unwrap_or(0), "min_ram": extra.min_ram_mb.unwrap_or(0),
        });
        if let Value::Object(fields) = fields {
            image.extend(fields);
        }
        Ok(Value::Object(image))
    }

    /// How content gets into Glance here.
    fn way(&self) -> Result<Way> {
        let info: Value = match self.get(Service::Image, "/info/import").json() {
            Err(Error::NotFound(_)) => Value::Null,
            info => info?,
        };
        let methods = info["import-methods"]["value"].as_array();
        if methods.is_some_and(|methods| methods.iter().any(|method| method == "web-download")) {
            return Ok(Way::Glance);
        }
        if self.settings.upload_bytes > 0 {
            return Ok(Way::Upload);
        }
        Err(Error::Unsupported(
            "image: this Glance does not fetch images (`web-download`), and `image_upload_mb` is 0".to_owned(),
        ))
    }

    /// A checksum that cannot be compared is no checksum. Glance hashes all images in one way, which any of them tells.
    fn check_verifiable(&self, spec: &ImageSpec) -> Result<()> {
        let Some(checksum) = &spec.checksum else { return Ok(()) };
        let hex = checksum.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
            return Err(Error::Invalid("a checksum is `sha256:` and 64 hexadecimal digits in lower case".to_owned()));
        }
        let list = self.get(Service::Image, "/images").query("status", "active").query("limit", "1");
        let page: Images = list.json()?;
        match page.images.first().and_then(|image| image.os_hash_algo.as_deref()) {
            Some("sha256") | None => Ok(()),
            Some(other) => {
                let other: String = other.chars().take(32).collect();
                Err(Error::Unsupported(format!("image: this Glance hashes with {other}, so that a sha256 cannot be compared")))
            }
        }
    }

    fn ask_glance(&self, id: &str, url: &str) -> Result<()> {
        let body = json!({"method": {"name": "web-download", "uri": url}});
        match self.post(Service::Image, format!("/images/{id}/import")).json_body(&body).send() {
            // Another call has asked in between.
            Ok(_) | Err(Error::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn upload(&self, id: &str, url: &str) -> Result<()> {
        let answer = self.request("GET", url).limit(self.settings.upload_bytes).answer()?;
        if !answer.is_success() {
            return Err(Error::Failed(format!("the image's origin answered {}", answer.status)));
        }
        let call = self.call("PUT", Service::Image, format!("/images/{}/file", encode(id)));
        match call.bytes("application/octet-stream", answer.body).send() {
            Ok(_) | Err(Error::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn delete_image(&self, id: &str) -> Result<()> {
        check_identifier("image", id)?;
        self.delete(Service::Image, format!("/images/{id}")).send()?;
        Ok(())
    }
}

/// Who fetches an image.
enum Way {
    Glance,
    Upload,
}
