//! Volumes of the permitted pools: found by their names, made, resized, deleted.

use super::error::Outcome;
use super::names::{self, Named, invalid};
use super::xml::Element;
use super::{Session, content};
use crate::v0_1::imports::hypervisor::{Error, Volume, VolumeRef, VolumeSource, VolumeSpec, VolumeStatus};
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;
use virt::sys;

/// Bytes of the largest volume: a slip of units must not fill a pool.
pub(super) const LARGEST: u64 = 64 << 40;
/// Bytes of a volume's labels.
const LABELS: usize = 1 << 20;

/// A volume that the cloud may see.
pub(super) struct Found {
    pub(super) volume: StorageVol,
    /// Its name at the hypervisor.
    pub(super) real: String,
    /// Its name for the driver.
    pub(super) name: String,
    /// None for an image that somebody put there by hand.
    pub(super) token: Option<String>,
    labelled: bool,
    /// Whether its content has not arrived completely.
    pub(super) arriving: bool,
}

/// What a volume's document says.
pub(super) struct About {
    pub(super) format: String,
    pub(super) capacity: u64,
    allocation: u64,
    pub(super) path: String,
    backing: Option<String>,
    created_at: Option<u64>,
}

impl About {
    pub(super) fn read(volume: &StorageVol) -> Outcome<Self> {
        let document = Element::read(&volume.get_xml_desc(0)?)?;
        let bytes = |path: &str| document.at(path).and_then(Element::number).unwrap_or(0);
        let time = |path: &str| {
            let (seconds, rest) = document.text_at(path)?.split_once('.')?;
            let nanoseconds = format!("{rest:0<9}");
            Some(seconds.parse::<u64>().ok()? * 1_000_000 + nanoseconds.get(..6)?.parse::<u64>().ok()?)
        };
        let format = document.at("target/format").and_then(|format| format.get("type")).unwrap_or("raw");
        Ok(Self {
            // What libvirt calls a raw image that has a file system of this kind.
            format: if format == "iso" { "raw" } else { format }.to_owned(),
            capacity: bytes("capacity"),
            allocation: bytes("allocation"),
            path: document.text_at("target/path").unwrap_or_default().to_owned(),
            backing: document.text_at("backingStore/path").map(str::to_owned),
            created_at: time("target/timestamps/btime").or_else(|| time("target/timestamps/mtime")),
        })
    }
}

impl Session<'_> {
    /// A permitted pool.
    pub(super) fn pool(&self, name: &str) -> Outcome<StoragePool> {
        let settings = &self.cloud.settings;
        if !settings.pools.iter().chain(&settings.image_pools).any(|pool| pool == name) {
            return Err(Error::NotFound(format!("this cloud has no pool `{}`", shown(name))).into());
        }
        Ok(StoragePool::lookup_by_name(&self.open.connect, name)?)
    }

    fn holds_images(&self, pool: &str) -> bool {
        self.cloud.settings.image_pools.iter().any(|images| images == pool)
    }

    /// All volumes of a pool that the cloud may see.
    pub(super) fn seen(&self, pool: &StoragePool, pool_name: &str) -> Outcome<Vec<Found>> {
        let all = pool.list_all_volumes(0)?;
        let mut beside = std::collections::HashSet::new();
        let mut found = Vec::new();
        for volume in all {
            let real = volume.get_name()?;
            let (name, token) = match names::read(&self.cloud.name, &real) {
                Named::Ours { token, name } => (name, Some(token)),
                Named::Unmarked if self.holds_images(pool_name) => (real.clone(), None),
                Named::Labels | Named::Importing => {
                    beside.insert(real);
                    continue;
                }
                Named::Theirs | Named::Unmarked => continue,
            };
            found.push(Found { volume, real, name, token, labelled: false, arriving: false });
        }
        for volume in &mut found {
            volume.labelled = beside.contains(&names::labels(&volume.real));
            volume.arriving = beside.contains(&names::importing(&volume.real));
        }
        // What the cloud made hides what somebody put there under the same name.
        found.sort_by(|a, b| a.name.cmp(&b.name).then(b.token.is_some().cmp(&a.token.is_some())));
        found.dedup_by(|later, first| later.name == first.name && later.token.is_none());
        Ok(found)
    }

    /// One volume.
    pub(super) fn find(&self, at: &VolumeRef) -> Outcome<Option<Found>> {
        let pool = self.pool(&at.pool)?;
        Ok(self.seen(&pool, &at.pool)?.into_iter().find(|found| found.name == at.name))
    }

    /// One volume, which must be there.
    pub(super) fn existing(&self, at: &VolumeRef) -> Outcome<Found> {
        let absent = || Error::NotFound(format!("no volume `{}` in pool `{}`", shown(&at.name), shown(&at.pool)));
        self.find(at)?.ok_or_else(|| absent().into())
    }

    /// The cloud's volumes in a pool, and the images.
    pub(super) fn volumes(&self, pool_name: &str) -> Outcome<Vec<Volume>> {
        let pool = self.pool(pool_name)?;
        let mut volumes = Vec::new();
        for found in self.seen(&pool, pool_name)? {
            match self.show_volume(&pool, pool_name, &found) {
                Ok(volume) => volumes.push(volume),
                // Somebody deleted it meanwhile.
                Err(failure) if matches!(failure.error, Error::NotFound(_)) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(volumes)
    }

    /// One volume.
    pub(super) fn volume(&self, at: &VolumeRef) -> Outcome<Volume> {
        let found = self.existing(at)?;
        self.show_volume(&self.pool(&at.pool)?, &at.pool, &found)
    }

    fn show_volume(&self, pool: &StoragePool, pool_name: &str, found: &Found) -> Outcome<Volume> {
        let about = About::read(&found.volume)?;
        let progress = self.shared.progress(pool_name, &found.real);
        let status = match (progress, self.shared.failure(pool_name, &found.real)) {
            (Some(percent), _) => VolumeStatus::Importing(percent),
            (None, Some(why)) => VolumeStatus::Failed(why),
            (None, None) if found.arriving => VolumeStatus::Importing(None),
            (None, None) => VolumeStatus::Ready,
        };
        let labels = if found.labelled { self.labels(pool, pool_name, &found.real)? } else { Vec::new() };
        Ok(Volume {
            at: VolumeRef { pool: pool_name.to_owned(), name: found.name.clone() },
            token: found.token.clone(),
            status,
            format: about.format,
            capacity_bytes: about.capacity,
            allocation_bytes: about.allocation,
            backing: about.backing.and_then(|path| self.by_path(&path)),
            labels,
            created_at: about.created_at,
        })
    }

    /// The volume at a path, where the cloud may see it.
    fn by_path(&self, path: &str) -> Option<VolumeRef> {
        let volume = StorageVol::lookup_by_path(&self.open.connect, path).ok()?;
        let pool = StoragePool::lookup_by_volume(&volume).and_then(|pool| pool.get_name()).ok()?;
        self.driver_name(&pool, &volume.get_name().ok()?).map(|name| VolumeRef { pool, name })
    }

    /// What a volume is called for the driver, where the cloud may see it.
    pub(super) fn driver_name(&self, pool: &str, real: &str) -> Option<String> {
        match names::read(&self.cloud.name, real) {
            Named::Ours { name, .. } => Some(name),
            Named::Unmarked if self.holds_images(pool) => Some(real.to_owned()),
            _ => None,
        }
    }

    fn labels(&self, pool: &StoragePool, pool_name: &str, real: &str) -> Outcome<Vec<(String, String)>> {
        if let Some(known) = self.shared.labels(pool_name, real) {
            return Ok(known);
        }
        let volume = StorageVol::lookup_by_name(pool, &names::labels(real))?;
        let bytes = content::read(&self.open.connect, &volume, LABELS)?;
        let labels: Vec<(String, String)> =
            serde_json::from_slice(&bytes).map_err(|error| Error::Failed(format!("labels of a volume: {error}")))?;
        self.shared.remember_labels(pool_name, real, &labels);
        Ok(labels)
    }

    /// Makes a volume.
    pub(super) fn create_volume(&self, spec: &VolumeSpec) -> Outcome<Volume> {
        names::check_token(&spec.token)?;
        names::check_volume(&spec.at.name)?;
        names::check_labels(&spec.labels)?;
        if spec.capacity_bytes.is_some_and(|bytes| bytes > LARGEST) {
            return Err(invalid("a volume has at most 64 TiB"));
        }
        let pool = self.pool(&spec.at.pool)?;
        let real = names::volume(&self.cloud.name, &spec.token, &spec.at.name);
        if self.shared.copying(&spec.at.pool, &real) {
            return Ok(unfinished(spec));
        }
        let lock = self.shared.exclusively(&format!("volume {} {}", spec.at.pool, spec.token));
        let _held = lock.lock();
        let seen = self.seen(&pool, &spec.at.pool)?;
        if let Some(first) = seen.iter().find(|found| found.token.as_ref() == Some(&spec.token)) {
            return self.show_volume(&pool, &spec.at.pool, first);
        }
        if seen.iter().any(|found| found.name == spec.at.name) {
            return Err(Error::Conflict(format!("there is a volume `{}` already", spec.at.name)).into());
        }
        let source = match &spec.source {
            VolumeSource::Empty => None,
            VolumeSource::Linked(source) | VolumeSource::Copied(source) => Some((self.existing(source)?, source)),
            VolumeSource::Staged(_) | VolumeSource::Url(_) => {
                let text = "volumes are not made from addresses: the host fetches an image, and a volume is made of that";
                return Err(Error::Unsupported(text.to_owned()).into());
            }
        };
        if spec.checksum.is_some() {
            return Err(invalid("a checksum is for content that is fetched"));
        }
        let about = source.as_ref().map(|(found, _)| About::read(&found.volume)).transpose()?;
        if let Some((found, at)) = &source
            && (found.arriving || self.shared.copying(&at.pool, &found.real))
        {
            return Err(Error::Conflict(format!("volume `{}` is still being made", at.name)).into());
        }
        let capacity = match (spec.capacity_bytes, about.as_ref().map(|about| about.capacity)) {
            (None, None) => return Err(invalid("an empty volume needs a capacity")),
            (Some(wanted), Some(least)) if wanted < least => {
                return Err(invalid(&format!("the source has {least} bytes, more than the {wanted} that are wanted")));
            }
            (wanted, least) => wanted.or(least).unwrap_or_default(),
        };
        let format = format_of(&pool)?;
        let linked = matches!(spec.source, VolumeSource::Linked(_));
        if linked && format != "qcow2" {
            return Err(Error::Unsupported(format!("pool `{}` has no linked clones", spec.at.pool)).into());
        }
        let document = document(&real, capacity, format, about.as_ref().filter(|_| linked));
        self.label(&pool, &real, &spec.labels)?;
        let made = match &source {
            Some((found, _)) if !linked => {
                let _copying = self.shared.begin_copy(&spec.at.pool, &real);
                StorageVol::create_xml_from(&pool, &document, &found.volume, 0)
            }
            _ => StorageVol::create_xml(&pool, &document, 0),
        };
        let volume = match made {
            Ok(volume) => volume,
            Err(error) => {
                if !spec.labels.is_empty() {
                    let _ = self.remove(&pool, &names::labels(&real));
                }
                return Err(error.into());
            }
        };
        let (name, token) = (spec.at.name.clone(), Some(spec.token.clone()));
        let found = Found { volume, real, name, token, labelled: !spec.labels.is_empty(), arriving: false };
        self.show_volume(&pool, &spec.at.pool, &found)
    }

    /// Writes the labels of a volume, which come before it: it is never seen without.
    pub(super) fn label(&self, pool: &StoragePool, real: &str, labels: &[(String, String)]) -> Outcome<()> {
        if labels.is_empty() {
            return Ok(());
        }
        let text = serde_json::to_vec(labels).map_err(|error| Error::Failed(error.to_string()))?;
        self.remove(pool, &names::labels(real))?;
        content::make(&self.open.connect, pool, &names::labels(real), &text)
    }

    /// Makes a volume larger.
    pub(super) fn resize_volume(&self, at: &VolumeRef, capacity: u64) -> Outcome<Volume> {
        let found = self.own_volume(at)?;
        let about = About::read(&found.volume)?;
        if capacity < about.capacity || capacity > LARGEST {
            return Err(invalid(&format!("a volume of {} bytes can become larger, up to 64 TiB", about.capacity)));
        }
        let users = self.users(&at.pool, &found.real, false)?;
        match users.iter().find(|domain| domain.is_active().unwrap_or(false)) {
            // The emulator has the file open, and tells its guest.
            Some(domain) => {
                domain.block_resize(&about.path, capacity, sys::VIR_DOMAIN_BLOCK_RESIZE_BYTES)?;
                self.pool(&at.pool)?.refresh(0)?;
            }
            None => drop(found.volume.resize(capacity, 0)?),
        }
        self.volume(at)
    }

    /// Deletes a volume.
    pub(super) fn delete_volume(&self, at: &VolumeRef) -> Outcome<()> {
        let found = self.own_volume(at)?;
        let token = found.token.as_deref().unwrap_or_default();
        let lock = self.shared.exclusively(&format!("volume {} {token}", at.pool));
        let _held = lock.lock();
        if self.shared.copying(&at.pool, &found.real) {
            return Err(Error::Conflict(format!("the content of volume `{}` is still arriving", at.name)).into());
        }
        let used = |by: String| Err(Error::Conflict(format!("volume `{}` is used by {by}", at.name)).into());
        if let Some(domain) = self.users(&at.pool, &found.real, false)?.first() {
            return used(format!("domain `{}`", domain.get_name()?));
        }
        let path = About::read(&found.volume)?.path;
        let settings = &self.cloud.settings;
        for pool in settings.pools.iter().chain(&settings.image_pools) {
            // A pool that is not there, or not active, has no clones.
            let Ok(volumes) = self.pool(pool).and_then(|pool| Ok(pool.list_all_volumes(0)?)) else { continue };
            for volume in volumes {
                if About::read(&volume).is_ok_and(|about| about.backing.as_deref() == Some(path.as_str())) {
                    return used(format!("volume `{}`, a linked clone", volume.get_name()?));
                }
            }
        }
        let pool = self.pool(&at.pool)?;
        self.remove(&pool, &found.real)?;
        self.remove(&pool, &names::labels(&found.real))?;
        self.remove(&pool, &names::importing(&found.real))?;
        self.shared.forget_labels(&at.pool, &found.real);
        self.shared.forget_failure(&at.pool, &found.real);
        Ok(())
    }

    /// A volume that the cloud made.
    fn own_volume(&self, at: &VolumeRef) -> Outcome<Found> {
        let found = self.existing(at)?;
        if found.token.is_none() {
            return Err(Error::Forbidden(format!("volume `{}` was not made by this cloud", shown(&at.name))).into());
        }
        Ok(found)
    }

    /// Deletes a volume by its name at the hypervisor, which must be one of this cloud's; one that is not there is deleted.
    pub(super) fn remove(&self, pool: &StoragePool, real: &str) -> Outcome<()> {
        if matches!(names::read(&self.cloud.name, real), Named::Theirs | Named::Unmarked) {
            return Err(Error::Forbidden("a volume that is not this cloud's".to_owned()).into());
        }
        match StorageVol::lookup_by_name(pool, real) {
            Ok(volume) => Ok(volume.delete(0)?),
            Err(error) if error.code().to_raw() == sys::VIR_ERR_NO_STORAGE_VOL => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// A volume whose content is on its way.
pub(super) fn unfinished(spec: &VolumeSpec) -> Volume {
    Volume {
        at: spec.at.clone(),
        token: Some(spec.token.clone()),
        status: VolumeStatus::Importing(None),
        format: String::new(),
        capacity_bytes: spec.capacity_bytes.unwrap_or(0),
        allocation_bytes: 0,
        backing: None,
        labels: spec.labels.clone(),
        created_at: None,
    }
}

/// The format of new volumes: what files can be, and block devices not.
pub(super) fn format_of(pool: &StoragePool) -> Outcome<&'static str> {
    let document = Element::read(&pool.get_xml_desc(0)?)?;
    Ok(match document.get("type") {
        Some("dir" | "fs" | "netfs" | "gluster") => "qcow2",
        _ => "raw",
    })
}

pub(super) fn document(real: &str, capacity: u64, format: &str, backing: Option<&About>) -> String {
    let mut document = Element::new("volume")
        .child(Element::new("name").content(real))
        .child(Element::new("capacity").attr("unit", "bytes").content(capacity.to_string()))
        // Taken when it is written to.
        .child(Element::new("allocation").attr("unit", "bytes").content("0"))
        .child(Element::new("target").child(Element::new("format").attr("type", format)));
    if let Some(backing) = backing {
        document = document.child(
            Element::new("backingStore")
                .child(Element::new("path").content(backing.path.clone()))
                .child(Element::new("format").attr("type", backing.format.clone())),
        );
    }
    document.write()
}

/// A name in a message.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(100).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
