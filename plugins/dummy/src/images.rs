//! The images of a plain cloud: those that are always there, and imported ones.
//!
//! | key | value |
//! |---|---|
//! | `g/<number>` | an [`Imported`] |
//! | `u/<token>` | the number of the image that was imported with the token |

use ostler_driver::{Context, Error, Image, ImageSource, ImageSpec, ImageStatus, Page, Result, check_token, is_token};
use serde::{Deserialize, Serialize};

use crate::catalog;
use crate::settings::{Form, Settings};
use crate::store::{Meta, Store, number};

/// An image that somebody imported.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Imported {
    id: String,
    name: String,
    token: String,
    checksum: Option<String>,
    created_at: u64,
    properties: Vec<(String, String)>,
}

impl Imported {
    /// The image as it is now: a quarter of the time pending, then arriving.
    fn image(self, now: u64, image_us: u64) -> Image {
        let elapsed = now.saturating_sub(self.created_at);
        let status = if elapsed >= image_us {
            ImageStatus::Active
        } else if elapsed < image_us / 4 {
            ImageStatus::Pending
        } else {
            let percent = u128::from(elapsed) * 100 / u128::from(image_us.max(1));
            ImageStatus::Importing(u8::try_from(percent).ok())
        };
        Image {
            token: Some(self.token),
            size_bytes: matches!(status, ImageStatus::Active).then_some(1_000_000_000),
            status,
            checksum: self.checksum,
            created_at: Some(self.created_at),
            properties: self.properties,
            ..Image::new(self.id, self.name)
        }
    }
}

/// One page.
pub(crate) fn page(ctx: &Context, settings: &Settings, cursor: Option<&str>) -> Result<Page<Image>> {
    let mut images = catalog::images(settings.form);
    if settings.form == Form::Plain {
        for entry in ctx.state().entries("g/") {
            let imported: Imported = serde_json::from_slice(&entry?.value)?;
            images.push(imported.image(ctx.now(), settings.image_us));
        }
    }
    Page::slice(images, cursor, settings.page_size as usize)
}

/// One image.
pub(crate) fn get(ctx: &Context, settings: &Settings, id: &str) -> Result<Image> {
    if let Some(image) = catalog::images(settings.form).into_iter().find(|image| image.id == id) {
        return Ok(image);
    }
    let missing = || Error::not_found("image", id);
    let key = key_of(settings, id).ok_or_else(missing)?;
    let imported = ctx.state().get_json::<Imported>(&key)?.ok_or_else(missing)?.value;
    Ok(imported.image(ctx.now(), settings.image_us))
}

/// The image that was imported with this token.
pub(crate) fn find(ctx: &Context, settings: &Settings, token: &str) -> Result<Option<Image>> {
    if !is_token(token) {
        return Ok(None);
    }
    let Some(entry) = ctx.state().get_json::<u64>(&token_key(token))? else { return Ok(None) };
    let imported = ctx.state().get_json::<Imported>(&image_key(entry.value))?;
    Ok(imported.map(|entry| entry.value.image(ctx.now(), settings.image_us)))
}

/// Starts to import an image.
pub(crate) fn import(ctx: &Context, settings: &Settings, store: &Store, token: &str, spec: &ImageSpec) -> Result<Image> {
    check_token(token)?;
    let (ImageSource::Url(source) | ImageSource::Staged(source)) = &spec.source;
    if source.is_empty() {
        return Err(Error::Invalid("an image needs a source".to_owned()));
    }
    let state = ctx.state();
    state.retry(|| {
        let (meta, version) = store.meta(settings)?;
        if let Some(image) = find(ctx, settings, token)? {
            return Ok(Some(image));
        }
        let now = ctx.now();
        let imported = Imported {
            id: format!("image-{:06}", meta.images + 1),
            name: spec.name.clone(),
            token: token.to_owned(),
            checksum: spec.checksum.clone(),
            created_at: now,
            properties: spec.properties.clone(),
        };
        let commit = state
            .commit()
            .require(Store::META, version)
            .put_json(Store::META, &Meta { images: meta.images + 1, ..meta })?
            .put_json(image_key(meta.images), &imported)?
            .put_json(token_key(token), &meta.images)?;
        Ok(commit.try_run()?.map(|_| imported.image(now, settings.image_us)))
    })
}

/// Deletes an image that no node uses.
pub(crate) fn delete(ctx: &Context, settings: &Settings, store: &Store, id: &str) -> Result<()> {
    if catalog::images(settings.form).iter().any(|image| image.id == id) {
        return Err(Error::Forbidden(format!("image `{id}` belongs to the provider")));
    }
    let missing = || Error::not_found("image", id);
    let key = key_of(settings, id).ok_or_else(missing)?;
    let state = ctx.state();
    state.retry(|| {
        let (meta, version) = store.meta(settings)?;
        let entry = state.get_json::<Imported>(&key)?.ok_or_else(missing)?;
        let mut user = None;
        store.all(settings, |node| {
            if node.image_id.as_deref() == Some(id) {
                user = Some(node.id);
            }
        })?;
        if let Some(node) = user {
            return Err(Error::Conflict(format!("node `{node}` was made from image `{id}`")));
        }
        // `meta` is written as it was, so that nobody makes a node from the image meanwhile.
        let commit =
            state.commit().require(Store::META, version).require(&key, Some(entry.version)).put_json(Store::META, &meta)?;
        Ok(commit.delete(&key).delete(token_key(&entry.value.token)).try_run()?.map(|_| ()))
    })
}

/// Refuses an order for a node from an image that is not there or not ready.
pub(crate) fn check_use(ctx: &Context, settings: &Settings, id: &str) -> Result<()> {
    match get(ctx, settings, id) {
        Ok(Image { status: ImageStatus::Active, .. }) => Ok(()),
        Ok(_) => Err(Error::Conflict(format!("image `{id}` is not active yet"))),
        Err(Error::NotFound(_)) => Err(Error::Invalid("no useful image id here".to_owned())),
        Err(error) => Err(error),
    }
}

/// Where an imported image of this identifier is kept.
fn key_of(settings: &Settings, id: &str) -> Option<String> {
    let number = number(id.strip_prefix("image-")?)?.checked_sub(1)?;
    (settings.form == Form::Plain && id == format!("image-{:06}", number + 1)).then(|| image_key(number))
}

fn image_key(number: u64) -> String {
    format!("g/{number:012}")
}

fn token_key(token: &str) -> String {
    format!("u/{token}")
}
