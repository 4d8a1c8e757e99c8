//! The catalogue.

use super::errors::Fault;
use super::input::wrapped;
use super::platform::is_driver;
use super::wire::{ImageView, Named, Reference, RegisteredImage};
use super::{Call, empty, json};
use axum::response::Response;
use http::StatusCode;
use ostler_core::images::NewImage;
use serde_json::Value;
use url::Url;

/// Characters of the longest name.
const LONGEST_NAME: usize = 255;
/// Bytes of the longest address.
const LONGEST_ADDRESS: usize = 2048;

pub(super) async fn list(call: &Call<'_>) -> Result<Response, Fault> {
    let images = call.app.core.images.list(&call.who, call.cloud()?).await?;
    if is_driver(call) {
        let items: Vec<_> = images.iter().map(|image| ImageView::new(image, call.links())).collect();
        return Ok(json(StatusCode::OK, &Named("images", items)));
    }
    let items: Vec<_> = images.iter().map(|image| Reference::image(image, call.links())).collect();
    Ok(json(StatusCode::OK, &Named("images", items)))
}

pub(super) async fn show(call: &Call<'_>) -> Result<Response, Fault> {
    let image = call.app.core.images.get(&call.who, call.cloud()?, call.id).await?;
    Ok(json(StatusCode::OK, &Named("image", ImageView::new(&image, call.links()))))
}

pub(super) async fn register(call: &Call<'_>, body: Option<Value>) -> Result<Response, Fault> {
    let members = wrapped(body, "image")?;
    let name = members.required_text("name")?;
    if name.is_empty() || name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
        return Err(Fault::bad(format!("`image.name` must have 1 to {LONGEST_NAME} characters and no control characters")));
    }
    let source = members.required_text("imageRef")?;
    let fits = source.len() <= LONGEST_ADDRESS
        && Url::parse(source).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
    if !fits {
        let wanted = format!("an absolute http or https address of at most {LONGEST_ADDRESS} bytes");
        return Err(Fault::bad(format!("`image.imageRef` must be {wanted}")));
    }
    let checksum = members.text("checksum")?.map(checksum).transpose()?;
    let cloud = call.cloud()?.to_owned();
    let new = NewImage { cloud, name: name.to_owned(), source: source.to_owned(), checksum };
    let image = call.app.core.images.register(&call.who, new, call.key("cloudedge:images")?).await?;
    Ok(json(StatusCode::ACCEPTED, &Named("image", RegisteredImage::new(&image, call.links()))))
}

/// `sha256:<hex>`, or the digits alone.
pub(super) fn checksum(text: &str) -> Result<String, Fault> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    if digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(format!("sha256:{}", digits.to_ascii_lowercase()));
    }
    Err(Fault::bad("`image.checksum` must be sha256: and 64 hexadecimal digits"))
}

pub(super) async fn delete(call: &Call<'_>) -> Result<Response, Fault> {
    call.app.core.images.delete(&call.who, call.cloud()?, call.id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
