//! Volumes from images that the host has fetched and checked.
//!
//! A volume exists, under its name and with its labels, before its content does. While that has not arrived completely there is a
//! small volume beside it (`names::importing`) that says from what it is being made: whoever finds it after a crash knows that
//! the content cannot be used, and goes on from the start. What is written again is the same.

use super::Session;
use super::content;
use super::error::{Outcome, message};
use super::names::{self, invalid};
use super::shared::Copying;
use super::volumes::{LARGEST, document, format_of};
use crate::v0_1::imports::hypervisor::{Error, VolumeRef, VolumeSpec};
use ostler_images::{Opened, open_staged};
use serde::{Deserialize, Serialize};
use std::path::Path;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;

/// Bytes of the volume that says from what another is being made.
const SOURCE: usize = 4 << 10;

/// From what a volume is being made.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Source {
    /// The image's name in the directory of images.
    staged: String,
    /// Bytes that a guest is to see.
    capacity: u64,
}

/// An order that was taken.
pub(super) struct Begun {
    /// The volume.
    pub(super) at: VolumeRef,
    /// What is to be sent, unless somebody does that or has done it.
    pub(super) upload: Option<Upload>,
}

/// Content that is to be sent.
pub(super) struct Upload {
    at: VolumeRef,
    real: String,
    image: Opened,
    capacity: u64,
    copying: Copying,
}

impl Upload {
    /// It ends here.
    pub(super) fn failed(&self, cloud: &str, error: Error) {
        let why = message(error);
        tracing::warn!(cloud, pool = self.at.pool, volume = self.at.name, why, "the content of a volume did not arrive");
        self.copying.failed(why);
    }
}

impl Session<'_> {
    /// Takes an order for a volume from an image.
    pub(super) fn begin_import(&self, spec: &VolumeSpec, staged: &str, images: &Path) -> Outcome<Begun> {
        names::check_token(&spec.token)?;
        names::check_volume(&spec.at.name)?;
        names::check_labels(&spec.labels)?;
        let pool = self.pool(&spec.at.pool)?;
        let real = names::volume(&self.cloud.name, &spec.token, &spec.at.name);
        let lock = self.shared.exclusively(&format!("volume {} {}", spec.at.pool, spec.token));
        let _held = lock.lock();
        let seen = self.seen(&pool, &spec.at.pool)?;
        if let Some(first) = seen.iter().find(|found| found.token.as_ref() == Some(&spec.token)) {
            let at = VolumeRef { pool: spec.at.pool.clone(), name: first.name.clone() };
            if !first.arriving || self.shared.copying(&at.pool, &first.real) {
                return Ok(Begun { at, upload: None });
            }
            let (image, capacity) = self.fitting(spec, staged, images, &pool)?;
            let upload = self.claim(&at, &first.real, image, capacity);
            return Ok(Begun { at, upload });
        }
        if seen.iter().any(|found| found.name == spec.at.name) {
            return Err(Error::Conflict(format!("there is a volume `{}` already", spec.at.name)).into());
        }
        let (image, capacity) = self.fitting(spec, staged, images, &pool)?;
        let undo = |failure| {
            // The first error is the one to tell.
            let _ = self.remove(&pool, &names::labels(&real)).and_then(|()| self.remove(&pool, &names::importing(&real)));
            Err(failure)
        };
        let source = Source { staged: staged.to_owned(), capacity };
        let made = self.label(&pool, &real, &spec.labels).and_then(|()| self.announce(&pool, &real, &source)).and_then(|()| {
            let document = document(&real, image.staged.disk_bytes, &image.staged.format, None);
            Ok(StorageVol::create_xml(&pool, &document, 0)?)
        });
        if let Err(failure) = made {
            return undo(failure);
        }
        let upload = self.claim(&spec.at, &real, image, capacity);
        Ok(Begun { at: spec.at.clone(), upload })
    }

    /// What is to be sent of a volume that nobody goes on with; none where somebody does, or the image is not here.
    pub(super) fn resume_import(&self, at: &VolumeRef, images: &Path) -> Outcome<Option<Upload>> {
        let found = self.existing(at)?;
        if !found.arriving || self.shared.copying(&at.pool, &found.real) {
            return Ok(None);
        }
        let volume = StorageVol::lookup_by_name(&self.pool(&at.pool)?, &names::importing(&found.real))?;
        let source = content::read(&self.open.connect, &volume, SOURCE)?;
        let Ok(source) = serde_json::from_slice::<Source>(&source) else { return Ok(None) };
        let Ok(image) = open_staged(images, &source.staged) else { return Ok(None) };
        tracing::info!(cloud = self.cloud.name, pool = at.pool, volume = at.name, "an import goes on that broke off");
        Ok(self.claim(at, &found.real, image, source.capacity))
    }

    /// The image of an order, if it can become that volume, and the bytes that a guest is to see.
    fn fitting(&self, spec: &VolumeSpec, staged: &str, images: &Path, pool: &StoragePool) -> Outcome<(Opened, u64)> {
        let image = open_staged(images, staged).map_err(|error| match error {
            ostler_images::Error::Refused(text) => Error::NotFound(text),
            error => Error::Failed(error.to_string()),
        })?;
        if spec.checksum.as_ref().is_some_and(|checksum| !checksum.eq_ignore_ascii_case(&image.staged.checksum)) {
            return Err(invalid(&format!("the image has the checksum {}, not the one that is wanted", image.staged.checksum)));
        }
        let least = image.staged.disk_bytes;
        let capacity = spec.capacity_bytes.unwrap_or(least);
        if capacity < least || capacity > LARGEST {
            return Err(invalid(&format!("the image has {least} bytes; a volume of it has as many or more, up to 64 TiB")));
        }
        if image.staged.format != "raw" && format_of(pool)? == "raw" {
            let text = format!("pool `{}` holds raw volumes only, and the image is {}", spec.at.pool, image.staged.format);
            return Err(Error::Unsupported(text).into());
        }
        Ok((image, capacity))
    }

    /// Says that the content of a volume has not arrived.
    fn announce(&self, pool: &StoragePool, real: &str, source: &Source) -> Outcome<()> {
        let text = serde_json::to_vec(source).map_err(|error| Error::Failed(error.to_string()))?;
        self.remove(pool, &names::importing(real))?;
        content::make(&self.open.connect, pool, &names::importing(real), &text)
    }

    fn claim(&self, at: &VolumeRef, real: &str, image: Opened, capacity: u64) -> Option<Upload> {
        let copying = self.shared.begin_copy(&at.pool, real)?;
        Some(Upload { at: at.clone(), real: real.to_owned(), image, capacity, copying })
    }

    /// Sends the content of a volume, and says then that it is there. Takes as long as it takes.
    pub(super) fn send(&self, upload: &Upload) -> Outcome<()> {
        let pool = self.pool(&upload.at.pool)?;
        let volume = StorageVol::lookup_by_name(&pool, &upload.real)?;
        let Opened { file, file_bytes, staged } = &upload.image;
        // A new file is empty; a block device has what was there before, and libvirt has written tables into a qcow2 volume.
        let sparse = staged.format == "raw" && format_of(&pool)? != "raw";
        content::upload_file(&self.open.connect, &volume, file, *file_bytes, sparse, |done| {
            upload.copying.reached(done, *file_bytes);
        })?;
        if upload.capacity > staged.disk_bytes {
            volume.resize(upload.capacity, 0)?;
        }
        // Shown are the sizes of the last look; another transfer into the pool may stand in the way of a new one.
        if let Err(error) = pool.refresh(0) {
            tracing::debug!(pool = upload.at.pool, error = error.message(), "a pool is not refreshed");
        }
        self.remove(&pool, &names::importing(&upload.real))?;
        tracing::info!(cloud = self.cloud.name, pool = upload.at.pool, volume = upload.at.name, "an image was imported");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    /// Written down once: an import that an older version began is continued by a later one.
    #[test]
    fn the_sign_of_an_import_does_not_change() {
        let source = Source { staged: "image-7".to_owned(), capacity: 1 << 20 };
        let text = r#"{"staged":"image-7","capacity":1048576}"#;
        assert_eq!(serde_json::to_string(&source).unwrap(), text);
        assert_eq!(serde_json::from_str::<Source>(text).unwrap(), source);
        assert!(text.len() + 64 + 20 < SOURCE);
    }
}
