//! Images: the volumes of the image pool that are nobody's disk.

use ostler_driver::hypervisor_types::{Volume, VolumeRef, VolumeSource, VolumeSpec, VolumeStatus};
use ostler_driver::{Error, Extra, Image, ImageSource, ImageSpec, ImageStatus, Result, check_token, is_token};
use serde_json::json;

use crate::driver::Libvirt;
use crate::identity;

/// The label by which an image that the host made is known from a disk.
pub(crate) const IMAGE: &str = "image";
/// The labels that have an image's name to show, and the checksum of what was fetched.
const NAME: &str = "name";
const CHECKSUM: &str = "checksum";

impl Libvirt {
    /// All images, by name.
    pub(crate) fn images(&self) -> Result<Vec<Image>> {
        let pool = self.image_pool()?;
        Ok(self.hypervisor().volumes(&pool)?.iter().filter(|volume| is_image(volume)).map(image).collect())
    }

    /// One image.
    pub(crate) fn image(&self, id: &str) -> Result<Image> {
        self.image_volume(id).map(|volume| image(&volume))
    }

    /// The image that was imported with this token.
    pub(crate) fn image_by_token(&self, token: &str) -> Result<Option<Image>> {
        if !is_token(token) {
            return Ok(None);
        }
        match self.image(&identity::image(&self.cloud(), token)) {
            Ok(image) => Ok(Some(image)),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Imports what the host has fetched. A second order by the token finds the volume of the first, and has an import go on that
    /// broke off or failed.
    pub(crate) fn import(&self, token: &str, spec: &ImageSpec) -> Result<Image> {
        check_token(token)?;
        let ImageSource::Staged(staged) = &spec.source else {
            return Err(Error::unsupported("fetching images by the hypervisor: the host fetches them (`image-import:staged`)"));
        };
        if !spec.extra()?.is_empty() {
            return Err(Error::Invalid("`extra`: images have no settings of their own here".to_owned()));
        }
        let own = |key: &str| [IMAGE, NAME, CHECKSUM].contains(&key);
        let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let mut labels = vec![label(IMAGE, "yes"), label(NAME, &spec.name)];
        labels.extend(spec.checksum.iter().map(|checksum| label(CHECKSUM, &checksum.to_ascii_lowercase())));
        labels.extend(spec.properties.iter().filter(|(key, _)| !own(key)).cloned());
        let order = VolumeSpec {
            at: VolumeRef { pool: self.image_pool()?, name: identity::image(&self.cloud(), token) },
            token: token.to_owned(),
            source: VolumeSource::Staged(staged.clone()),
            capacity_bytes: None,
            checksum: spec.checksum.clone(),
            labels,
        };
        match self.hypervisor().create_volume(&order) {
            Ok(volume) if is_image(&volume) => Ok(image(&volume)),
            Ok(_) => Err(Error::Conflict("the token was used for something else".to_owned())),
            // Nothing that the order did not name can be missing.
            Err(Error::NotFound(text)) => Err(Error::Invalid(text)),
            Err(error) => Err(error),
        }
    }

    /// Deletes an image that was imported.
    pub(crate) fn remove_image(&self, id: &str) -> Result<()> {
        let volume = self.image_volume(id)?;
        if volume.token.is_none() {
            let text = "somebody put this image there by hand: only images that were imported can be deleted";
            return Err(Error::Forbidden(text.to_owned()));
        }
        self.hypervisor().delete_volume(&volume.at).map_err(|error| match error {
            Error::NotFound(_) => not_found(id),
            error => error,
        })
    }

    /// The volume of an image.
    pub(crate) fn image_volume(&self, id: &str) -> Result<Volume> {
        let at = VolumeRef { pool: self.image_pool()?, name: id.to_owned() };
        match self.hypervisor().get_volume(&at) {
            Ok(volume) if is_image(&volume) => Ok(volume),
            Ok(_) | Err(Error::NotFound(_)) => Err(not_found(id)),
            Err(error) => Err(error),
        }
    }
}

fn not_found(id: &str) -> Error {
    Error::not_found("image", &id.chars().take(100).collect::<String>())
}

/// Whether a volume is an image: put there by hand, or made as one.
fn is_image(volume: &Volume) -> bool {
    volume.token.is_none() || volume.labels.iter().any(|(key, _)| key == IMAGE)
}

fn image(volume: &Volume) -> Image {
    let label = |wanted: &str| volume.labels.iter().find(|(key, _)| key == wanted).map(|(_, value)| value.clone());
    let mut image = Image::new(&volume.at.name, label(NAME).unwrap_or_else(|| volume.at.name.clone()));
    image.token.clone_from(&volume.token);
    image.status = match &volume.status {
        VolumeStatus::Ready => ImageStatus::Active,
        VolumeStatus::Importing(percent) => ImageStatus::Importing(*percent),
        VolumeStatus::Failed(why) => ImageStatus::Failed(why.clone()),
        VolumeStatus::Other(name) => ImageStatus::Other(name.clone()),
    };
    image.size_bytes = Some(volume.allocation_bytes);
    image.min_disk_gb = Some(volume.capacity_bytes.div_ceil(1 << 30));
    image.checksum = label(CHECKSUM);
    image.created_at = volume.created_at;
    let own = |key: &str| key == IMAGE || key == NAME;
    image.properties = volume.labels.iter().filter(|(key, _)| !own(key)).cloned().collect();
    image.with_extra(json!({"format": volume.format, "capacity_bytes": volume.capacity_bytes, "pool": volume.at.pool}))
}
