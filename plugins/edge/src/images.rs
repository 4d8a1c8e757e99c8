//! Images: the far side fetches them.

use ostler_driver::http::is_identifier;
use ostler_driver::orders::Orders;
use ostler_driver::{Error, Extra, Image, ImageSource, ImageSpec, ImageStatus, Page, Result, bad_cursor, check_token, is_token};
use serde_json::{Map, Value, json};

use crate::details::Kind;
use crate::http::Api;
use crate::name;
use crate::wire::{self, Entry};

impl Api {
    pub(crate) fn images(&self, cursor: Option<&str>) -> Result<Page<Image>> {
        if let Some(cursor) = cursor.filter(|cursor| !is_identifier(cursor)) {
            return Err(bad_cursor(cursor));
        }
        let page = self.page(Kind::Image, self.entries(Kind::Image)?, cursor)?;
        Ok(Page { items: page.items.iter().map(image).collect(), next: page.next })
    }

    pub(crate) fn image(&self, id: &str) -> Result<Image> {
        self.entry(Kind::Image, id).map(|entry| image(&entry))
    }

    pub(crate) fn find_image(&self, token: &str) -> Result<Option<Image>> {
        if !is_token(token) {
            return Ok(None);
        }
        let Some(found) = self.by_token(Kind::Image, token, false)? else { return Ok(None) };
        match self.image(&found.id) {
            Err(Error::NotFound(_)) => Ok(None),
            image => image.map(Some),
        }
    }

    /// Registers an image by its address. The API has a name and an address; what else the order says of the image is not kept.
    pub(crate) fn import(&self, token: &str, spec: &ImageSpec) -> Result<Image> {
        let ImageSource::Url(url) = &spec.source else {
            return Err(Error::unsupported("images that the host has fetched"));
        };
        let lower = url.to_ascii_lowercase();
        let absolute = lower.strip_prefix("https://").or_else(|| lower.strip_prefix("http://"));
        if absolute.is_none_or(|rest| rest.is_empty() || rest.starts_with('/') || rest.contains(char::is_whitespace)) {
            return Err(Error::Invalid("an image's address is an absolute http or https address".to_owned()));
        }
        check_token(token)?;
        if let Some(key) = spec.extra()?.keys().next() {
            return Err(Error::Invalid(format!("`extra`: unknown key `{}`", key.chars().take(64).collect::<String>())));
        }
        let mut body = json!({"image": {"name": name::image(&spec.name, token), "imageRef": url}});
        if let Some(checksum) = &spec.checksum {
            body["image"]["checksum"] = checksum.as_str().into();
        }
        let repeatable = self.is_repeatable()?;
        let find = |settle| self.by_token(Kind::Image, token, settle);
        let entry = Orders::new(&self.ctx).repeatable(repeatable).once("image", token, find, || {
            self.ordered(Kind::Image, token, repeatable, || {
                self.post("/images", &body).key(token).json().and_then(|answer| self.object(Kind::Image, &answer))
            })
        })?;
        self.image(&entry.id)
    }

    pub(crate) fn delete_image(&self, id: &str) -> Result<()> {
        // Asked first, so that a strict far side's word for what is no number is not taken for another.
        self.entry(Kind::Image, id)?;
        self.delete(wire::path("images", id)).send_about("image", id, || self.is_listed(Kind::Image, id)).map(drop)
    }
}

fn image(entry: &Entry) -> Image {
    let mut image = Image::new(&entry.id, entry.plain_name());
    image.token = entry.token().map(str::to_owned);
    let progress = entry.whole.get("progress").and_then(wire::number).and_then(|percent| u8::try_from(percent.min(100)).ok());
    image.status = match entry.status().as_deref() {
        Some("active") => ImageStatus::Active,
        Some("saving") => ImageStatus::Importing(progress),
        Some("queued" | "pending") => ImageStatus::Pending,
        Some("error" | "failed" | "killed") => {
            ImageStatus::Failed(entry.detail().unwrap_or_else(|| "the far side gives no reason".to_owned()))
        }
        Some("deleting") => ImageStatus::Deleting,
        Some(other) => ImageStatus::Other(other.chars().take(64).collect()),
        None => ImageStatus::Other("unknown".to_owned()),
    };
    image.created_at = entry.created_at();
    image.size_bytes = ["size_bytes", "size"].iter().find_map(|key| entry.whole.get(key).and_then(wire::number));
    image.checksum = wire::text(&entry.whole, "checksum").filter(|checksum| checksum.starts_with("sha256:"));
    let mut extra = Map::new();
    for key in ["owner_id", "created_by", "updated_at", "link"] {
        extra.extend(entry.whole.get(key).filter(|value| !value.is_null()).map(|value| (key.to_owned(), value.clone())));
    }
    image.with_extra(Value::Object(extra))
}
