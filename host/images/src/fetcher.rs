//! Fetches images: the transfer, and then what makes an image of it.

use crate::content::{self, Kind};
use crate::hops::{self, Clients};
use crate::shelf::{Item, Shelf, check_name};
use crate::transfer::{Arrived, Transfer, Turn};
use crate::{Error, Settings, Staged, qcow2, qemu, shown, unpack};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use url::Url;

/// Fetches images into a directory.
#[derive(Debug)]
pub struct Fetcher {
    settings: Settings,
    shelf: Shelf,
    /// Made at the first fetch, in the runtime that carries the connections.
    clients: OnceLock<Clients>,
    /// One fetch at a time of a name.
    places: Mutex<HashMap<String, Arc<Place>>>,
}

/// A name.
#[derive(Debug, Default)]
struct Place {
    free: Arc<tokio::sync::Mutex<()>>,
    /// Ends the fetch that is under way.
    present: Mutex<CancellationToken>,
}

impl Fetcher {
    /// With these settings. Makes the directory, for us alone.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let shelf = Shelf::make(&settings.directory)?;
        Ok(Self { settings, shelf, clients: OnceLock::new(), places: Mutex::default() })
    }

    /// Whether an address may be fetched from, as far as the address itself says.
    pub fn check(&self, source: &Url) -> Result<(), Error> {
        hops::judge(source, &self.settings.inside).map(drop)
    }

    /// Has the content of `source` ready under `name` (1 to 64 of `a-z 0-9 -`). What is ready already is not fetched again; what
    /// was begun goes on where it ended, if the server can tell that the content is still the same. `progress` is told how many
    /// bytes have arrived, and of how many, where that is known.
    ///
    /// Trying again after [`Error::Interrupted`] is the caller's. Of what was refused nothing is kept. A second fetch of the same
    /// name waits for the first. When the future is dropped, what has arrived is kept.
    ///
    /// # Errors
    /// [`Error`]. The texts are for people, and have neither credentials nor paths of the address.
    pub async fn fetch(
        &self,
        name: &str,
        source: &Url,
        checksum: Option<&str>,
        progress: &(dyn Fn(u64, Option<u64>) + Send + Sync),
    ) -> Result<Staged, Error> {
        check_name(name)?;
        self.check(source)?;
        let expected = checksum.map(read_checksum).transpose()?;
        let place = self.place(name);
        let held = Arc::new(Arc::clone(&place.free).lock_owned().await);
        let ended = CancellationToken::new();
        *place.present.lock() = ended.clone();
        // What still runs on another thread when this ends is told so, and keeps the name until it has noticed.
        let _end = ended.clone().drop_guard();
        let turn = Turn { _held: held, ended: ended.clone() };
        let work = self.work(name, source, expected.as_deref(), progress, &turn);
        let result = tokio::select! {
            biased;
            () = ended.cancelled() => Err(Error::interrupted("the image was given up")),
            result = tokio::time::timeout(self.settings.timeout, work) => result.unwrap_or_else(|_| {
                let seconds = self.settings.timeout.as_secs();
                Err(Error::interrupted(format!("fetching the image took more than {seconds} seconds")))
            }),
        };
        if matches!(result, Err(Error::Refused(_))) && self.shelf.ready(name)?.is_none() {
            self.shelf.remove(name)?;
        }
        result
    }

    /// Removes what lies under a name, ready or not. A fetch that is under way is ended.
    pub async fn forget(&self, name: &str) -> Result<(), Error> {
        check_name(name)?;
        let place = self.place(name);
        place.present.lock().cancel();
        let _held = place.free.lock().await;
        Ok(self.shelf.remove(name)?)
    }

    /// Removes what has lain there for so long without becoming ready; how many names those were. What is ready stays.
    pub async fn tidy(&self, older_than: Duration) -> Result<usize, Error> {
        let mut removed = 0;
        for name in self.shelf.abandoned(older_than)? {
            let place = self.place(&name);
            let Ok(_held) = place.free.try_lock() else { continue };
            self.shelf.remove(&name)?;
            tracing::info!(name, "an image that was not fetched to its end is removed");
            removed += 1;
        }
        Ok(removed)
    }

    /// The image that is ready under a name.
    pub fn ready(&self, name: &str) -> Result<Option<Staged>, Error> {
        check_name(name)?;
        self.shelf.ready(name)
    }

    /// Where images lie.
    pub fn directory(&self) -> &Path {
        &self.settings.directory
    }

    fn place(&self, name: &str) -> Arc<Place> {
        let mut places = self.places.lock();
        places.retain(|_, place| Arc::strong_count(place) > 1 || place.free.try_lock().is_err());
        Arc::clone(places.entry(name.to_owned()).or_default())
    }

    fn clients(&self) -> Result<&Clients, Error> {
        if let Some(clients) = self.clients.get() {
            return Ok(clients);
        }
        let clients = Clients::new(&self.settings)?;
        Ok(self.clients.get_or_init(|| clients))
    }

    async fn work(
        &self,
        name: &str,
        source: &Url,
        expected: Option<&str>,
        progress: &(dyn Fn(u64, Option<u64>) + Send + Sync),
        turn: &Turn,
    ) -> Result<Staged, Error> {
        let compare = |checksum: &str| match expected {
            Some(expected) if expected != checksum => {
                Err(Error::refused(format!("the image has the checksum {checksum}, and not {expected}")))
            }
            _ => Ok(()),
        };
        if let Some(staged) = self.shelf.ready(name)? {
            compare(&staged.checksum)?;
            progress(staged.bytes, Some(staged.bytes));
            return Ok(staged);
        }
        let transfer = Transfer { settings: &self.settings, clients: self.clients()?, shelf: &self.shelf, name, turn, progress };
        let arrived = transfer.run(source).await?;
        compare(&arrived.checksum)?;
        self.make(name, arrived, turn).await
    }

    /// Makes an image of what has arrived.
    async fn make(&self, name: &str, arrived: Arrived, turn: &Turn) -> Result<Staged, Error> {
        let (shelf, settings, owned) = (self.shelf.clone(), self.settings.clone(), name.to_owned());
        let unpack = move |turn: &Turn| {
            let part = shelf.open(&owned, Item::Part)?;
            let kind = content::recognise(&part)?;
            if matches!(kind, Kind::Qcow2 | Kind::Raw) {
                return Ok((Item::Part, kind));
            }
            let out = shelf.create(&owned, Item::Unpacked)?;
            unpack::unpack(part, kind, &out, &shelf, &settings, turn)?;
            match content::recognise(&out)? {
                Kind::Gzip | Kind::Tar => Err(Error::refused("the image is packed more than once")),
                kind => Ok((Item::Unpacked, kind)),
            }
        };
        let (mut item, kind) = turn.blocking(unpack).await?;
        let (format, disk_bytes) = match kind {
            Kind::Qcow2 => {
                let disk_bytes = self.qcow2(name, item, turn).await?;
                item = Item::Rewritten;
                ("qcow2", disk_bytes)
            }
            _ => ("raw", self.raw(name, item)?),
        };
        let staged = Staged { format: format.to_owned(), checksum: arrived.checksum, bytes: arrived.bytes, disk_bytes };
        let (shelf, name, ready) = (self.shelf.clone(), name.to_owned(), staged.clone());
        turn.blocking(move |_| shelf.finish(&name, item, &ready).map_err(Error::of_file)).await?;
        Ok(staged)
    }

    fn raw(&self, name: &str, item: Item) -> Result<u64, Error> {
        let bytes = self.shelf.length(name, item)?.unwrap_or(0);
        if bytes == 0 || bytes % 512 != 0 {
            return Err(Error::refused(format!(
                "this is no disk image: it has no known format, and its {bytes} bytes are no multiple of 512"
            )));
        }
        if bytes > self.settings.max_disk_bytes {
            return Err(disk_too_large(bytes, self.settings.max_disk_bytes));
        }
        Ok(bytes)
    }

    /// Checks a qcow2 image and writes it anew.
    async fn qcow2(&self, name: &str, item: Item, turn: &Turn) -> Result<u64, Error> {
        let most = self.settings.max_disk_bytes;
        let header = move |shelf: Shelf, name: String, item: Item| {
            move |_: &Turn| {
                let file = shelf.open(&name, item)?;
                let disk_bytes = qcow2::check(&file)?;
                if disk_bytes > most { Err(disk_too_large(disk_bytes, most)) } else { Ok(disk_bytes) }
            }
        };
        let disk_bytes = turn.blocking(header(self.shelf.clone(), name.to_owned(), item)).await?;
        let Some(program) = &self.settings.qemu_img else {
            let text = "images in the format qcow2 cannot be checked and rewritten here: `qemu-img` is needed on the server \
                        (Debian: qemu-utils); raw images work without";
            return Err(Error::refused(text));
        };
        self.shelf.create(name, Item::Rewritten)?;
        let room = self.shelf.room(self.settings.keep_free)?;
        let files = (Shelf::file_name(name, item), Shelf::file_name(name, Item::Rewritten));
        let qemu = qemu::Qemu { program, directory: &self.shelf.directory, room };
        qemu.look(&files.0, disk_bytes).await?;
        qemu.rewrite(&files.0, &files.1, disk_bytes).await?;
        let written = turn.blocking(header(self.shelf.clone(), name.to_owned(), Item::Rewritten)).await?;
        if written == disk_bytes {
            Ok(disk_bytes)
        } else {
            Err(Error::refused("the image changed its size when it was rewritten"))
        }
    }
}

fn disk_too_large(bytes: u64, most: u64) -> Error {
    Error::refused(format!("the disk has {}, more than the {} that are permitted", shown(bytes), shown(most)))
}

/// `sha256:<hex>`, in lower case.
fn read_checksum(text: &str) -> Result<String, Error> {
    let lower = text.trim().to_ascii_lowercase();
    match lower.strip_prefix("sha256:") {
        Some(hex) if hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => Ok(lower),
        _ => Err(Error::refused("the checksum of an image has the form `sha256:` and 64 hexadecimal digits")),
    }
}
