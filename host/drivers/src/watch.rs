//! Watches the directory that operators drop components into.

use crate::error::LoadError;
use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{RecursiveMode, Watcher};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;

/// Writers that do not rename get this long to finish.
const SETTLE: Duration = Duration::from_millis(50);
/// Looks anyway, since not every file system tells.
const RESCAN: Duration = Duration::from_secs(60);

/// A component file that is new or has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The driver's name: the file's, without `.wasm`.
    pub driver: String,
    /// The component.
    pub path: PathBuf,
    /// Its detached signature, if there is one beside it (`NAME.wasm.sig`).
    pub signature: Option<PathBuf>,
}

/// A watched directory.
pub struct Watch {
    directory: PathBuf,
    seen: BTreeMap<PathBuf, Stamp>,
    signals: mpsc::Receiver<()>,
    /// Stops watching when dropped.
    _watcher: notify::RecommendedWatcher,
}

#[derive(PartialEq, Eq)]
struct Stamp {
    file: Option<(SystemTime, u64)>,
    signature: Option<(SystemTime, u64)>,
}

impl Watch {
    /// Begins to watch; the directory is made if need be.
    pub fn new(directory: &Path) -> Result<Self, LoadError> {
        let io = |error: &dyn std::fmt::Display| LoadError::Io(format!("{}: {error}", directory.display()));
        std::fs::create_dir_all(directory).map_err(|e| io(&e))?;
        // One signal is enough: what has changed is found by looking.
        let (sender, signals) = mpsc::channel(1);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Acting on all accesses would make our own reading wake us again.
            let relevant = event.map_or(true, |event| {
                matches!(
                    event.kind,
                    EventKind::Modify(ModifyKind::Name(_))
                        | EventKind::Access(AccessKind::Close(AccessMode::Write))
                        | EventKind::Any
                )
            });
            if relevant {
                let _ = sender.try_send(());
            }
        })
        .map_err(|e| io(&e))?;
        watcher.watch(directory, RecursiveMode::NonRecursive).map_err(|e| io(&e))?;
        Ok(Self { directory: directory.to_owned(), seen: BTreeMap::new(), signals, _watcher: watcher })
    }

    /// What is new or has changed since the last look. The first look finds everything.
    pub fn scan(&mut self) -> Vec<Changed> {
        let mut changed = Vec::new();
        let mut now = BTreeMap::new();
        for entry in std::fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let Some(driver) = entry.file_name().to_str().and_then(|name| name.strip_suffix(".wasm")).map(str::to_owned) else {
                continue;
            };
            let mut signature = path.clone().into_os_string();
            signature.push(".sig");
            let signature = PathBuf::from(signature);
            let stamp = Stamp { file: stamp(&path), signature: stamp(&signature) };
            if stamp.file.is_none() {
                continue;
            }
            if self.seen.get(&path) != Some(&stamp) {
                let signature = stamp.signature.is_some().then_some(signature);
                changed.push(Changed { driver, path: path.clone(), signature });
            }
            now.insert(path, stamp);
        }
        self.seen = now;
        changed.sort_by(|a, b| a.driver.cmp(&b.driver));
        changed
    }

    /// Waits until something may have changed, and until it has settled.
    pub async fn wait(&mut self) {
        if tokio::time::timeout(RESCAN, self.signals.recv()).await.is_ok() {
            while tokio::time::timeout(SETTLE, self.signals.recv()).await == Ok(Some(())) {}
        }
    }
}

/// Time and size of a regular file.
fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    Some((metadata.modified().ok()?, metadata.len()))
}
