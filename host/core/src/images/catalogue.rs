//! What a provider has, compared with what is on record: what is new is adopted, what has changed is noted, what has vanished is
//! marked.

use super::Images;
use super::source::LONGEST_NAME;
use crate::Error;
use crate::compute::event;
use crate::identity::Principal;
use crate::model::{Image, ImageStatus as Theirs};
use ostler_drivers::{Cloud, ErrorKind};
use ostler_store::{Adopted, ImageRecord, ImageSeen, ImageStatus};
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;

/// Why an image cannot be used that its provider has no more.
const GONE: &str = "gone at the provider";

/// What is different.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Changes {
    /// Not on record, each with its token, if it has one.
    adopt: Vec<(Adopted, Option<String>)>,
    /// On record, and different.
    seen: Vec<ImageSeen>,
    /// On record, and not listed.
    missing: Vec<ImageRecord>,
}

impl Images {
    /// Brings the records of a cloud up to what its provider lists. Whether they have to be read again.
    pub(super) async fn catch_up(&self, cloud: &Arc<Cloud>, records: &[ImageRecord], listed: &[Image]) -> Result<bool, Error> {
        let changes = compare(records, listed);
        let mut seen = changes.seen;
        for record in changes.missing {
            // Lists lag behind. Only who is asked for it by name has it no more.
            let id = record.provider_id.as_deref().unwrap_or_default();
            let now = match cloud.get_image(id).await {
                Ok(image) => as_listed(&record, &image),
                Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Unsupported) => gone(&record),
                Err(_) => continue,
            };
            if now != record {
                seen.push(ImageSeen { before: record, now });
            }
        }
        let mut adopt = Vec::new();
        for (one, token) in changes.adopt {
            // What was imported here, and whose record is gone, is on its way out.
            let ours = match &token {
                Some(token) => self.store.step_by_token(cloud.name(), token).await?.is_some(),
                None => false,
            };
            if !ours {
                adopt.push(one);
            }
        }
        // Also where somebody else was faster: what he noted is to be read.
        let changed = !seen.is_empty() || !adopt.is_empty();
        if !seen.is_empty() {
            self.store.images_seen(&seen).await?;
        }
        if !adopt.is_empty() {
            let mut told = event("image.adopted", cloud.name(), cloud.name(), &Principal::host().user);
            told.data = json!({ "images": adopt.iter().map(|one| one.provider_id.as_str()).collect::<Vec<_>>() });
            self.store.images_adopt(cloud.name(), &adopt, &told).await?;
        }
        Ok(changed)
    }

    /// One image of a cloud, as it is at present. [`Error::NoImageRecord`].
    pub(super) async fn present(&self, cloud: &Arc<Cloud>, id: i64) -> Result<ImageRecord, Error> {
        let record = self.record(cloud.name(), id).await?;
        let Some(provider_id) = record.provider_id.as_deref().filter(|_| record.task.is_none()) else { return Ok(record) };
        let now = match cloud.get_image(provider_id).await {
            Ok(image) if image.status == Theirs::Deleting => gone(&record),
            Ok(image) => as_listed(&record, &image),
            Err(error) if error.kind == ErrorKind::NotFound => gone(&record),
            // What is on record has to do.
            Err(_) => return Ok(record),
        };
        if now == record {
            return Ok(record);
        }
        self.store.images_seen(&[ImageSeen { before: record, now }]).await?;
        self.record(cloud.name(), id).await
    }
}

/// What is different between what is on record and what a provider lists.
fn compare(records: &[ImageRecord], listed: &[Image]) -> Changes {
    let by_id: HashMap<&str, &ImageRecord> =
        records.iter().filter_map(|record| Some((record.provider_id.as_deref()?, record))).collect();
    let by_token: HashMap<&str, &ImageRecord> =
        records.iter().filter_map(|record| Some((record.token.as_deref()?, record))).collect();
    let mut changes = Changes::default();
    let mut there: HashMap<i64, ()> = HashMap::new();
    for image in listed.iter().filter(|image| image.status != Theirs::Deleting && !image.id.contains('\0')) {
        let known = by_id.get(image.id.as_str()).or_else(|| by_token.get(image.token.as_deref()?));
        let Some(record) = known else {
            changes.adopt.push((adopted(image), image.token.clone()));
            continue;
        };
        there.insert(record.id, ());
        // What is being imported or removed is the operation's matter; so is what an import has left behind.
        let at_rest = record.task.is_none() && record.provider_id.as_deref() == Some(image.id.as_str());
        let now = as_listed(record, image);
        if at_rest && now != **record {
            changes.seen.push(ImageSeen { before: (*record).clone(), now });
        }
    }
    let missing = |record: &&ImageRecord| {
        let absent = record.provider_id.is_some() && record.task.is_none() && !there.contains_key(&record.id);
        absent && record.status != ImageStatus::Gone && record.detail.as_deref() != Some(GONE)
    };
    changes.missing = records.iter().filter(missing).cloned().collect();
    changes
}

/// A record of what the provider has, as that is now.
fn as_listed(record: &ImageRecord, image: &Image) -> ImageRecord {
    let now = adopted(image);
    let registered = record.token.is_some();
    ImageRecord {
        // What was registered keeps its name, and what is known of what was fetched.
        name: if registered { record.name.clone() } else { now.name },
        status: now.status,
        progress: now.progress,
        detail: now.detail,
        checksum: if registered { record.checksum.clone().or(now.checksum) } else { now.checksum },
        size_bytes: if registered { record.size_bytes.or(now.size_bytes) } else { now.size_bytes },
        ..record.clone()
    }
}

/// A record of what the provider has no more.
fn gone(record: &ImageRecord) -> ImageRecord {
    if record.detail.as_deref() == Some(GONE) {
        return record.clone();
    }
    let status = if record.token.is_some() { ImageStatus::Failed } else { ImageStatus::Gone };
    ImageRecord { status, progress: None, detail: Some(GONE.to_owned()), ..record.clone() }
}

fn adopted(image: &Image) -> Adopted {
    let (status, progress, detail) = match &image.status {
        Theirs::Active => (ImageStatus::Active, None, None),
        Theirs::Pending => (ImageStatus::Saving, None, None),
        Theirs::Importing(percent) => (ImageStatus::Saving, percent.map(|percent| percent.min(100)), None),
        Theirs::Failed(why) => (ImageStatus::Failed, None, Some(plain(why))),
        Theirs::Deleting => (ImageStatus::Failed, None, Some("it is being deleted".to_owned())),
        Theirs::Other(name) => (ImageStatus::Failed, None, Some(plain(&format!("the provider says `{name}` of it")))),
    };
    let name = plain(&image.name).chars().take(LONGEST_NAME).collect::<String>();
    Adopted {
        provider_id: image.id.clone(),
        name: if name.is_empty() { plain(&image.id) } else { name },
        status,
        progress,
        detail,
        checksum: image.checksum.clone().filter(|checksum| checksum.starts_with("sha256:") && !checksum.contains('\0')),
        size_bytes: image.size_bytes,
        created_at: image.created_at.and_then(|at| i64::try_from(at).ok()),
    }
}

/// A provider's text without control characters, which nobody could show.
fn plain(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).take(1000).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(id: &str, status: Theirs, token: Option<&str>) -> Image {
        Image {
            id: id.into(),
            name: format!("name of {id}"),
            token: token.map(str::to_owned),
            status,
            size_bytes: Some(1),
            min_disk_gb: None,
            min_ram_mb: None,
            checksum: None,
            created_at: None,
            properties: Vec::new(),
            extra: String::new(),
        }
    }

    fn record(id: i64, provider_id: Option<&str>, token: Option<&str>) -> ImageRecord {
        ImageRecord {
            id,
            cloud: "c".into(),
            name: provider_id.map(|id| format!("name of {id}")).unwrap_or_default(),
            owner: None,
            status: ImageStatus::Active,
            progress: None,
            detail: None,
            source: None,
            checksum: None,
            size_bytes: Some(1),
            token: token.map(str::to_owned),
            provider_id: provider_id.map(str::to_owned),
            task: None,
            operation: None,
            created_at: 0,
            updated_at: 0,
        }
    }

    #[test]
    fn what_differs_is_found() {
        let active = |id| image(id, Theirs::Active, None);
        let busy = ImageRecord { task: Some(ostler_store::ImageTask::Import), ..record(3, None, Some("t")) };
        let vanished = ImageRecord { status: ImageStatus::Gone, detail: Some(GONE.into()), ..record(4, Some("d"), None) };
        let mine = ImageRecord { name: "mine".into(), ..record(5, Some("e"), Some("u")) };
        // (records, listed, adopted, changed with their new status, missing)
        type Case<'a> = (Vec<ImageRecord>, Vec<Image>, Vec<&'a str>, Vec<(i64, ImageStatus)>, Vec<i64>);
        let cases: Vec<Case<'_>> = vec![
            (vec![], vec![active("a"), image("b", Theirs::Deleting, None)], vec!["a"], vec![], vec![]),
            (vec![record(1, Some("a"), None)], vec![active("a")], vec![], vec![], vec![]),
            (vec![record(1, Some("a"), None)], vec![], vec![], vec![], vec![1]),
            (
                vec![record(1, Some("a"), None)],
                vec![image("a", Theirs::Failed("why".into()), None)],
                vec![],
                vec![(1, ImageStatus::Failed)],
                vec![],
            ),
            // What is on its way is known by its token, and left to whoever works on it.
            (vec![busy.clone()], vec![image("x", Theirs::Pending, Some("t"))], vec![], vec![], vec![]),
            (vec![busy], vec![], vec![], vec![], vec![]),
            // What had vanished may come back; it is not missed twice.
            (vec![vanished.clone()], vec![active("d")], vec![], vec![(4, ImageStatus::Active)], vec![]),
            (vec![vanished], vec![], vec![], vec![], vec![]),
            // What was registered keeps its name.
            (vec![mine.clone()], vec![image("e", Theirs::Active, Some("u"))], vec![], vec![], vec![]),
            (vec![gone(&mine)], vec![], vec![], vec![], vec![]),
        ];
        for (records, listed, adopt, seen, missing) in cases {
            let changes = compare(&records, &listed);
            assert_eq!(changes.adopt.iter().map(|(one, _)| one.provider_id.as_str()).collect::<Vec<_>>(), adopt, "{records:?}");
            assert_eq!(changes.seen.iter().map(|one| (one.now.id, one.now.status)).collect::<Vec<_>>(), seen, "{records:?}");
            assert_eq!(changes.missing.iter().map(|one| one.id).collect::<Vec<_>>(), missing, "{records:?}");
        }
    }
}
