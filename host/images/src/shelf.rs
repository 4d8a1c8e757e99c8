//! The staging directory: which files there are for a name, and what is ready.
//!
//! | file | what |
//! |---|---|
//! | `NAME.part`, `NAME.from` | what has arrived, and from where |
//! | `NAME.unpacked`, `NAME.rewritten` | on its way |
//! | `NAME.image`, `NAME.json` | an image that is ready; the second is written last |

use crate::{Error, Staged};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Bytes of a file that describes an image.
const DESCRIPTION: u64 = 64 << 10;

/// A file of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Part,
    From,
    Unpacked,
    Rewritten,
    Image,
    Ready,
    /// What becomes a description when it is complete.
    Draft,
}

impl Item {
    const ALL: [Self; 7] = [Self::Ready, Self::Image, Self::Part, Self::From, Self::Unpacked, Self::Rewritten, Self::Draft];

    fn suffix(self) -> &'static str {
        match self {
            Self::Part => "part",
            Self::From => "from",
            Self::Unpacked => "unpacked",
            Self::Rewritten => "rewritten",
            Self::Image => "image",
            Self::Ready => "json",
            Self::Draft => "draft",
        }
    }
}

/// What is written of an image that is ready.
#[derive(Serialize, Deserialize)]
struct Description {
    #[serde(flatten)]
    staged: Staged,
    /// Bytes of the file.
    file_bytes: u64,
}

/// An image that is ready, open to be read.
#[derive(Debug)]
pub struct Opened {
    /// Its content, in the format that `staged` says.
    pub file: File,
    /// Bytes of the content.
    pub file_bytes: u64,
    /// What is known of it.
    pub staged: Staged,
}

/// Opens the image that is ready under a name in a staging directory. Blocks.
///
/// # Errors
/// [`Error::Refused`] where none is ready under this name, or the name is none; [`Error::Io`].
pub fn open_staged(directory: &Path, name: &str) -> Result<Opened, Error> {
    check_name(name)?;
    let shelf = Shelf { directory: directory.to_owned() };
    let absent = || Error::refused(format!("no image is ready under the name `{name}`"));
    let description = shelf.description(name)?.ok_or_else(absent)?;
    let file = match shelf.open(name, Item::Image) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(absent()),
        Err(error) => return Err(error.into()),
    };
    let about = file.metadata()?;
    if !about.is_file() || about.len() != description.file_bytes {
        return Err(absent());
    }
    Ok(Opened { file, file_bytes: description.file_bytes, staged: description.staged })
}

/// 1 to 64 of `a-z 0-9 -`.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=64).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(());
    }
    Err(Error::refused("the name of an image that is fetched has 1 to 64 characters of a-z 0-9 -"))
}

/// The directory. All of it blocks, shortly unless it says otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Shelf {
    pub(crate) directory: PathBuf,
}

impl Shelf {
    /// Makes the directory, for us alone.
    pub(crate) fn make(directory: &Path) -> std::io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        std::fs::set_permissions(directory, Permissions::from_mode(0o700))?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// The name of a file in the directory.
    pub(crate) fn file_name(name: &str, item: Item) -> String {
        format!("{name}.{}", item.suffix())
    }

    pub(crate) fn path(&self, name: &str, item: Item) -> PathBuf {
        self.directory.join(Self::file_name(name, item))
    }

    /// Opens a file that is there.
    pub(crate) fn open(&self, name: &str, item: Item) -> std::io::Result<File> {
        self.options().read(true).open(self.path(name, item))
    }

    /// Opens a file to be continued, which need not be there.
    pub(crate) fn append(&self, name: &str, item: Item) -> std::io::Result<File> {
        self.options().read(true).append(true).create(true).open(self.path(name, item))
    }

    /// Makes a file anew; who still writes to the old one writes into nothing.
    pub(crate) fn create(&self, name: &str, item: Item) -> std::io::Result<File> {
        self.remove_one(name, item)?;
        self.options().read(true).write(true).create_new(true).open(self.path(name, item))
    }

    fn options(&self) -> OpenOptions {
        let mut options = OpenOptions::new();
        let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::CLOEXEC).bits()).unwrap_or_default();
        options.mode(0o600).custom_flags(flags);
        options
    }

    /// Bytes of a file; none where there is none.
    pub(crate) fn length(&self, name: &str, item: Item) -> std::io::Result<Option<u64>> {
        match std::fs::symlink_metadata(self.path(name, item)) {
            Ok(about) if about.is_file() => Ok(Some(about.len())),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a small description as a whole, or not at all.
    pub(crate) fn write(&self, name: &str, item: Item, value: &impl Serialize) -> std::io::Result<()> {
        let mut draft = self.create(name, Item::Draft)?;
        draft.write_all(&serde_json::to_vec(value)?)?;
        draft.sync_all()?;
        std::fs::rename(self.path(name, Item::Draft), self.path(name, item))
    }

    /// Reads a small description; none where there is none, or what is there is none.
    pub(crate) fn read<T: for<'a> Deserialize<'a>>(&self, name: &str, item: Item) -> std::io::Result<Option<T>> {
        let file = match self.open(name, item) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(DESCRIPTION).read_to_end(&mut bytes)?;
        Ok(serde_json::from_slice(&bytes).ok())
    }

    fn description(&self, name: &str) -> std::io::Result<Option<Description>> {
        self.read(name, Item::Ready)
    }

    /// The image that is ready under a name.
    pub(crate) fn ready(&self, name: &str) -> Result<Option<Staged>, Error> {
        let Some(description) = self.description(name)? else { return Ok(None) };
        let whole = self.length(name, Item::Image)? == Some(description.file_bytes);
        Ok(whole.then_some(description.staged))
    }

    /// Makes a file the image of a name, which is ready then. Takes as long as writing what the system has not written yet.
    pub(crate) fn finish(&self, name: &str, from: Item, staged: &Staged) -> std::io::Result<()> {
        let file = self.open(name, from)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.sync_all()?;
        let file_bytes = file.metadata()?.len();
        self.remove_one(name, Item::Ready)?;
        std::fs::rename(self.path(name, from), self.path(name, Item::Image))?;
        self.write(name, Item::Ready, &Description { staged: staged.clone(), file_bytes })?;
        File::open(&self.directory)?.sync_all()?;
        for item in [Item::Part, Item::From, Item::Unpacked, Item::Rewritten] {
            self.remove_one(name, item)?;
        }
        Ok(())
    }

    pub(crate) fn remove_one(&self, name: &str, item: Item) -> std::io::Result<()> {
        match std::fs::remove_file(self.path(name, item)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes everything of a name.
    pub(crate) fn remove(&self, name: &str) -> std::io::Result<()> {
        Item::ALL.into_iter().try_for_each(|item| self.remove_one(name, item))
    }

    /// The names of which there are files, none of them younger than this, and that are not ready.
    pub(crate) fn abandoned(&self, older_than: Duration) -> std::io::Result<Vec<String>> {
        let mut names = std::collections::BTreeMap::new();
        let before = SystemTime::now().checked_sub(older_than);
        for entry in std::fs::read_dir(&self.directory)? {
            let entry = entry?;
            let file = entry.file_name();
            let Some((name, suffix)) = file.to_str().and_then(|file| file.split_once('.')) else { continue };
            if check_name(name).is_err() || !Item::ALL.iter().any(|item| item.suffix() == suffix) {
                continue;
            }
            let old = match (entry.metadata().and_then(|about| about.modified()), before) {
                (Ok(modified), Some(before)) => modified <= before,
                _ => false,
            };
            *names.entry(name.to_owned()).or_insert(true) &= old;
        }
        let mut abandoned = Vec::new();
        for (name, old) in names {
            if old && self.ready(&name).is_ok_and(|ready| ready.is_none()) {
                abandoned.push(name);
            }
        }
        Ok(abandoned)
    }

    /// Bytes that may still be written.
    pub(crate) fn room(&self, keep_free: u64) -> std::io::Result<u64> {
        let about = rustix::fs::statvfs(&self.directory)?;
        Ok(about.f_bavail.saturating_mul(about.f_frsize).saturating_sub(keep_free))
    }
}
