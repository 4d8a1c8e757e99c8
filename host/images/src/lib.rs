//! Disk images from elsewhere: fetched through [`ostler_egress`] within limits, checked for what they are, and rewritten so that
//! they refer to nothing. What is ready lies in a staging directory under a name, until it is forgotten.
//!
//! Somebody who may name an image may name anything, so:
//!
//! 1. an address is fetched only if its host has a public address, or the operator listed its origin; each redirect is judged like
//!    the first address, and none leads from `https` to `http`;
//! 2. what arrives is recognised by its content, never by its name: `qcow2`, a raw disk, either of them in gzip, or as the one
//!    image of a tar archive. Everything else is refused, by its name where it has one;
//! 3. a qcow2 image that refers to another file (backing file, data file), is encrypted, or asks for what is not known, is refused
//!    before any other program reads it; `qemu-img` then looks again and writes it anew, with limits and without an environment.
//!    Without `qemu-img` there are no qcow2 images: the header's check is not all that can be said of one;
//! 4. a raw image is never asked what it is again: its format is on record as `raw`;
//! 5. nothing is written under a name that an archive says, and nothing beyond the limits on bytes, time and room.

mod archive;
mod content;
mod fetcher;
mod hops;
mod qcow2;
mod qemu;
mod shelf;
#[cfg(test)]
mod tests;
mod transfer;
mod unpack;

pub use fetcher::Fetcher;
pub use shelf::{Opened, open_staged};

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// How is fetched.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where images lie until they are forgotten.
    pub directory: PathBuf,
    /// Bytes of what is fetched, at most.
    pub max_bytes: u64,
    /// Bytes of a disk as a guest sees it, at most.
    pub max_disk_bytes: u64,
    /// How long a fetch may take, with all that follows the transfer.
    pub timeout: Duration,
    /// Origins whose addresses may be private or loopback ones. All others must have public addresses. Link-local addresses and
    /// those of clouds' metadata services are refused even here, unless the origin is written with the address itself.
    pub inside: Vec<ostler_egress::Origin>,
    /// A transfer in which less than a kilobyte a second arrives for so long is broken off.
    pub stall: Duration,
    /// Bytes that stay free on the directory's file system.
    pub keep_free: u64,
    /// The program `qemu-img`. Without it qcow2 images are refused.
    pub qemu_img: Option<PathBuf>,
}

impl Settings {
    /// Into this directory: up to 16 GiB transferred, disks up to 256 GiB, within six hours, from public addresses only, a minute of
    /// silence, a gigabyte left free, with the `qemu-img` that `PATH` has.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            max_bytes: 16 << 30,
            max_disk_bytes: 256 << 30,
            timeout: Duration::from_secs(6 * 3600),
            inside: Vec::new(),
            stall: Duration::from_secs(60),
            keep_free: 1 << 30,
            qemu_img: qemu::installed(),
        }
    }
}

/// An image that is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// `qcow2` or `raw`.
    pub format: String,
    /// `sha256:<hex>` of what was fetched, as it was transferred.
    pub checksum: String,
    /// Bytes of what was fetched.
    pub bytes: u64,
    /// Bytes of the disk as a guest sees it.
    pub disk_bytes: u64,
}

/// Why an image is not ready.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It can never succeed as it is: the address, the content, the checksum, a limit.
    #[error("{0}")]
    Refused(String),
    /// Worth trying again: what has arrived is kept.
    #[error("{0}")]
    Interrupted(String),
    /// The staging directory.
    #[error("the directory of images: {0}")]
    Io(#[from] std::io::Error),
}

impl Error {
    pub(crate) fn refused(text: impl Into<String>) -> Self {
        Self::Refused(text.into())
    }

    pub(crate) fn interrupted(text: impl Into<String>) -> Self {
        Self::Interrupted(text.into())
    }

    /// An error of reading or writing the directory's files. That there is no room may change.
    pub(crate) fn of_file(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::interrupted(NO_ROOM),
            _ => Self::Io(error),
        }
    }
}

pub(crate) const NO_ROOM: &str = "there is not enough room for the image in the directory of images";

/// Bytes, for people.
pub(crate) fn shown(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} bytes"),
        1_024..1_048_576 => format!("{} KiB", bytes >> 10),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}
