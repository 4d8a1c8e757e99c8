//! Images: the volumes of the image pool that are nobody's disk.

use ostler_driver::hypervisor_types::{Volume, VolumeRef, VolumeStatus};
use ostler_driver::{Error, Extra, Image, ImageStatus, Result};
use serde_json::json;

use crate::driver::Libvirt;

/// The label by which an image that the host made is known from a disk.
pub(crate) const IMAGE: &str = "image";
/// The label that has an image's name to show.
const NAME: &str = "name";

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

    /// The volume of an image.
    pub(crate) fn image_volume(&self, id: &str) -> Result<Volume> {
        let at = VolumeRef { pool: self.image_pool()?, name: id.to_owned() };
        match self.hypervisor().get_volume(&at) {
            Ok(volume) if is_image(&volume) => Ok(volume),
            Ok(_) | Err(Error::NotFound(_)) => Err(Error::not_found("image", &id.chars().take(100).collect::<String>())),
            Err(error) => Err(error),
        }
    }
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
    image.created_at = volume.created_at;
    let own = |key: &str| key == IMAGE || key == NAME;
    image.properties = volume.labels.iter().filter(|(key, _)| !own(key)).cloned().collect();
    image.with_extra(json!({"format": volume.format, "capacity_bytes": volume.capacity_bytes, "pool": volume.at.pool}))
}
