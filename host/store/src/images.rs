//! Images on record: those that were registered here, from the intent on, and those that providers have by themselves. Beginning and
//! end of an operation on one are each one transaction, with the event that tells of it.
//!
//! Whoever begins something about an image, or makes an instance of it, locks the image's row first.

use crate::db::{Refusal, Row, Tx, args, transaction};
use crate::events::append;
use crate::operations::{forget_input, known, text_enum};
use crate::work::{self, Save, Step};
use crate::{Begin, Error, NewEvent, NewOperation, Operation, Outcome, Progress, Store};

text_enum! {
    /// How far an image is.
    ImageStatus, "status of an image" {
        /// Its content is arriving.
        Saving = "saving",
        /// Instances can be made from it.
        Active = "active",
        /// It cannot be used.
        Failed = "failed",
        /// The provider, which had it by itself, has it no more. It may come back.
        Gone = "gone",
    }
}

text_enum! {
    /// What is being done about an image.
    ImageTask, "task of an image" {
        /// Its content is fetched and given to the provider.
        Import = "import",
        /// It is being removed.
        Delete = "delete",
    }
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRecord {
    /// A number that is never used again.
    pub id: i64,
    /// Its cloud.
    pub cloud: String,
    /// Its name.
    pub name: String,
    /// The number of the user who registered it, while he exists.
    pub owner: Option<i64>,
    /// How far it is.
    pub status: ImageStatus,
    /// Percent that have arrived.
    pub progress: Option<u8>,
    /// Why it cannot be used.
    pub detail: Option<String>,
    /// Where its content came from. No secrets.
    pub source: Option<String>,
    /// `sha256:<hex>`.
    pub checksum: Option<String>,
    /// Bytes.
    pub size_bytes: Option<u64>,
    /// The token with which it is imported; none of what the provider had by itself.
    pub token: Option<String>,
    /// The provider's identifier, once it is known.
    pub provider_id: Option<String>,
    /// What is being done about it.
    pub task: Option<ImageTask>,
    /// The operation that does it.
    pub operation: Option<String>,
    /// When it was made, in microseconds UTC.
    pub created_at: i64,
    /// When the record last changed, in microseconds UTC.
    pub updated_at: i64,
}

/// An image to register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewImageRecord {
    /// See [`ImageRecord::cloud`].
    pub cloud: String,
    /// See [`ImageRecord::name`].
    pub name: String,
    /// See [`ImageRecord::owner`].
    pub owner: Option<i64>,
    /// See [`ImageRecord::source`].
    pub source: String,
    /// See [`ImageRecord::token`].
    pub token: String,
}

/// What is seen of an image that the provider has by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// See [`ImageRecord::provider_id`].
    pub provider_id: String,
    /// See [`ImageRecord::name`].
    pub name: String,
    /// See [`ImageRecord::status`].
    pub status: ImageStatus,
    /// See [`ImageRecord::progress`].
    pub progress: Option<u8>,
    /// See [`ImageRecord::detail`].
    pub detail: Option<String>,
    /// See [`ImageRecord::checksum`].
    pub checksum: Option<String>,
    /// See [`ImageRecord::size_bytes`].
    pub size_bytes: Option<u64>,
    /// When the provider says that it was made, in microseconds UTC.
    pub created_at: Option<i64>,
}

/// What is seen of an image on record: it is as `now` says, if it was as `before`, and nothing is being done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSeen {
    /// The record, as it was.
    pub before: ImageRecord,
    /// As it is: name, status, progress, detail, checksum and size count.
    pub now: ImageRecord,
}

/// What an import came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageEnd {
    /// It can be used.
    Active {
        /// See [`ImageRecord::provider_id`].
        provider_id: String,
        /// See [`ImageRecord::checksum`].
        checksum: Option<String>,
        /// See [`ImageRecord::size_bytes`].
        size_bytes: Option<u64>,
    },
    /// It cannot, and why.
    Failed(String),
}

/// How a change of an image or an instance began.
#[derive(Debug, Clone, PartialEq)]
pub enum Begun<T> {
    /// It is new: the operation, and what it is about, as that is now.
    New(Operation, T),
    /// It had begun before, with this operation, in whatever state that is. Nothing was written.
    Existing(Operation),
}

/// Why an image or an instance was not changed.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// There is none of this number.
    #[error("it does not exist")]
    NotFound,
    /// Something else is being done about it.
    #[error("something is being done about it")]
    UnderWay,
    /// The image is not active.
    #[error("the image is not active")]
    NotActive,
    /// Instances are made from the image.
    #[error("instances are made from the image")]
    InUse,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
}

impl Refusal for RecordError {
    fn is_contention(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_contention())
    }
}

macro_rules! columns {
    () => {
        "id, cloud, name, owner, status, progress, detail, source, checksum, size_bytes, token, provider_id, task, operation, \
         created_at, updated_at"
    };
}

impl Store {
    /// The images of a cloud, by number, also those that are gone.
    pub async fn images(&self, cloud: &str) -> Result<Vec<ImageRecord>, Error> {
        let sql = concat!("SELECT ", columns!(), " FROM images WHERE cloud = $1 ORDER BY id");
        self.db().all(sql, args![cloud]).await?.iter().map(image).collect()
    }

    /// One image, also one that is gone.
    pub async fn image_get(&self, id: i64) -> Result<Option<ImageRecord>, Error> {
        let sql = concat!("SELECT ", columns!(), " FROM images WHERE id = $1");
        self.db().optional(sql, args![id]).await?.as_ref().map(image).transpose()
    }

    /// Puts images on record that a provider has by itself. What is on record already stays as it is. How many were new; if there
    /// are any, an event tells of it.
    pub async fn images_adopt(&self, cloud: &str, found: &[Adopted], event: &NewEvent) -> Result<u64, Error> {
        transaction!(self.db(), |tx| adopt(tx, cloud, found, event))
    }

    /// Notes what is seen of images. One that has changed since, or about which something is being done, is left as it is; one that
    /// is gone, and of which there are instances, has failed. How many were changed.
    pub async fn images_seen(&self, seen: &[ImageSeen]) -> Result<u64, Error> {
        transaction!(self.db(), |tx| see(tx, seen))
    }

    /// Writes down the intent to import an image: the operation with its steps, as [`Store::work_begin`] does it, the image, and
    /// the event, whose subject becomes the image's number.
    pub async fn image_begin(
        &self,
        new: &NewImageRecord,
        op: &NewOperation,
        progress: &Progress,
        steps: &[Step],
        event: &NewEvent,
    ) -> Result<Begun<ImageRecord>, Error> {
        transaction!(self.db(), |tx| begin(tx, new, op, progress, steps, event))
    }

    /// Notes the provider's identifier of the image that an operation imports. What was adopted under that identifier meanwhile is
    /// the same image. Whether the operation is still the one that imports it.
    pub async fn image_found(&self, id: i64, op: &str, provider_id: &str) -> Result<bool, Error> {
        transaction!(self.db(), |tx| found(tx, id, op, provider_id))
    }

    /// Notes how far the import of an image is, in percent, if it is this operation that imports it.
    pub async fn image_progress(&self, id: i64, op: &str, percent: u8) -> Result<bool, Error> {
        let sql = "UPDATE images SET progress = $3, updated_at = $4 WHERE id = $1 AND operation = $2 RETURNING 1";
        Ok(self.db().write_count(sql, args![id, op, u32::from(percent), crate::now()]).await? > 0)
    }

    /// Saves the end of the operation that imports an image, as [`Store::work_save`] does it, and what came of it. What was asked
    /// for is forgotten: the address may hold credentials.
    pub async fn image_imported(
        &self,
        op: &str,
        owner: &str,
        end: &Save<'_>,
        id: i64,
        result: &ImageEnd,
        event: &NewEvent,
    ) -> Result<(), Error> {
        transaction!(self.db(), |tx| imported(tx, op, owner, end, id, result, event))
    }

    /// Writes down the intent to remove an image. One that is being removed already gives the operation that does it.
    /// [`RecordError::UnderWay`] while it is imported, [`RecordError::InUse`] while instances are made from it.
    pub async fn image_delete_begin(
        &self,
        id: i64,
        op: &NewOperation,
        steps: &[Step],
        event: &NewEvent,
    ) -> Result<Begun<ImageRecord>, RecordError> {
        transaction!(self.db(), |tx| delete(tx, id, op, steps, event))
    }

    /// Saves the end of the operation that removes an image, as [`Store::work_save`] does it: the record goes, or stays as it was
    /// where the operation failed.
    pub async fn image_deleted(&self, op: &str, owner: &str, end: &Save<'_>, id: i64, event: &NewEvent) -> Result<(), Error> {
        transaction!(self.db(), |tx| deleted(tx, op, owner, end, id, event))
    }
}

/// Locks an image until the transaction's end; how it is.
pub(crate) async fn lock(tx: &mut Tx, id: i64) -> Result<Option<ImageRecord>, Error> {
    let sql = concat!("UPDATE images SET updated_at = updated_at WHERE id = $1 RETURNING ", columns!());
    tx.optional(sql, args![id]).await?.as_ref().map(image).transpose()
}

/// What an operation on an image is about.
pub(crate) fn subject(id: i64) -> String {
    format!("image/{id}")
}

async fn adopt(tx: &mut Tx, cloud: &str, found: &[Adopted], event: &NewEvent) -> Result<u64, Error> {
    let sql = "INSERT INTO images (cloud, name, status, progress, detail, checksum, size_bytes, provider_id, created_at, updated_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (cloud, provider_id) DO NOTHING";
    let now = crate::now();
    let mut new = 0;
    for one in found {
        let args = args![
            cloud,
            &one.name,
            one.status.as_str(),
            one.progress.map(i64::from),
            &one.detail,
            &one.checksum,
            bytes(one.size_bytes),
            &one.provider_id,
            one.created_at.unwrap_or(now),
            now,
        ];
        new += tx.execute(sql, args).await?;
    }
    if new > 0 {
        append(tx, event).await?;
    }
    Ok(new)
}

async fn see(tx: &mut Tx, seen: &[ImageSeen]) -> Result<u64, Error> {
    // One of which there are instances does not vanish.
    let sql = "UPDATE images SET name = $3, status = CASE WHEN $4 = 'gone' AND EXISTS (SELECT 1 FROM instances WHERE image_id = $1) \
               THEN 'failed' ELSE $4 END, progress = $5, detail = $6, checksum = $7, size_bytes = $8, updated_at = $9 \
               WHERE id = $1 AND updated_at = $2 AND operation IS NULL";
    let mut changed = 0;
    for ImageSeen { before, now } in seen {
        let args = args![
            before.id,
            before.updated_at,
            &now.name,
            now.status.as_str(),
            now.progress.map(i64::from),
            &now.detail,
            &now.checksum,
            bytes(now.size_bytes),
            crate::now().max(before.updated_at + 1),
        ];
        changed += tx.execute(sql, args).await?;
    }
    Ok(changed)
}

async fn begin(
    tx: &mut Tx,
    new: &NewImageRecord,
    op: &NewOperation,
    progress: &Progress,
    steps: &[Step],
    event: &NewEvent,
) -> Result<Begun<ImageRecord>, Error> {
    let operation = match work::begin(tx, op, None, progress, steps, None).await? {
        Begin::Existing(operation) => return Ok(Begun::Existing(operation)),
        Begin::New(operation) => operation,
    };
    let sql = concat!(
        "INSERT INTO images (cloud, name, owner, status, source, token, task, operation, created_at, updated_at) \
         VALUES ($1, $2, $3, 'saving', $4, $5, 'import', $6, $7, $7) RETURNING ",
        columns!()
    );
    let args = args![&new.cloud, &new.name, new.owner, &new.source, &new.token, &operation.id, crate::now()];
    let image = image(&tx.one(sql, args).await?)?;
    work::set_subject(tx, &operation.id, &subject(image.id)).await?;
    append(tx, &NewEvent { subject: image.id.to_string(), ..event.clone() }).await?;
    Ok(Begun::New(operation, image))
}

async fn found(tx: &mut Tx, id: i64, op: &str, provider_id: &str) -> Result<bool, Error> {
    let Some(image) = lock(tx, id).await?.filter(|image| image.operation.as_deref() == Some(op)) else { return Ok(false) };
    if image.provider_id.as_deref() == Some(provider_id) {
        return Ok(true);
    }
    // Whoever listed the provider's images between the order and now took it for the provider's own.
    let sql = "SELECT id FROM images WHERE cloud = $1 AND provider_id = $2 AND token IS NULL";
    if let Some(row) = tx.optional(sql, args![&image.cloud, provider_id]).await? {
        let adopted: i64 = row.get(0)?;
        tx.execute("UPDATE instances SET image_id = $2 WHERE image_id = $1", args![adopted, id]).await?;
        tx.execute("DELETE FROM images WHERE id = $1", args![adopted]).await?;
    }
    let sql = "UPDATE images SET provider_id = $2, updated_at = $3 WHERE id = $1";
    tx.execute(sql, args![id, provider_id, crate::now()]).await?;
    Ok(true)
}

async fn imported(
    tx: &mut Tx,
    op: &str,
    owner: &str,
    end: &Save<'_>,
    id: i64,
    result: &ImageEnd,
    event: &NewEvent,
) -> Result<(), Error> {
    work::store(tx, op, owner, end).await?;
    forget_input(tx, op).await?;
    let now = crate::now();
    match result {
        ImageEnd::Active { provider_id, checksum, size_bytes } => {
            found(tx, id, op, provider_id).await?;
            let sql = "UPDATE images SET status = 'active', progress = NULL, detail = NULL, checksum = $3, size_bytes = $4, \
                       task = NULL, operation = NULL, updated_at = $5 WHERE id = $1 AND operation = $2";
            tx.execute(sql, args![id, op, checksum, bytes(*size_bytes), now]).await?;
        }
        ImageEnd::Failed(why) => {
            let sql = "UPDATE images SET status = 'failed', progress = NULL, detail = $3, provider_id = NULL, task = NULL, \
                       operation = NULL, updated_at = $4 WHERE id = $1 AND operation = $2";
            tx.execute(sql, args![id, op, why, now]).await?;
        }
    }
    append(tx, event).await?;
    Ok(())
}

async fn delete(
    tx: &mut Tx,
    id: i64,
    op: &NewOperation,
    steps: &[Step],
    event: &NewEvent,
) -> Result<Begun<ImageRecord>, RecordError> {
    if let Some(operation) = known(tx, op).await? {
        return Ok(Begun::Existing(operation));
    }
    let image = lock(tx, id).await?.ok_or(RecordError::NotFound)?;
    match (image.task, &image.operation) {
        (Some(ImageTask::Delete), Some(under_way)) => {
            let operation = crate::operations::get(tx, under_way).await?;
            return Ok(Begun::Existing(operation.ok_or(Error::Corrupt("operation of an image"))?));
        }
        (Some(_), _) => return Err(RecordError::UnderWay),
        (None, _) => {}
    }
    if tx.optional("SELECT 1 FROM instances WHERE image_id = $1 LIMIT 1", args![id]).await?.is_some() {
        return Err(RecordError::InUse);
    }
    let operation = match work::begin(tx, op, Some(&subject(id)), &Progress::default(), steps, None).await? {
        Begin::Existing(operation) => return Ok(Begun::Existing(operation)),
        Begin::New(operation) => operation,
    };
    let sql = concat!("UPDATE images SET task = 'delete', operation = $2, updated_at = $3 WHERE id = $1 RETURNING ", columns!());
    let image = self::image(&tx.one(sql, args![id, &operation.id, crate::now()]).await?)?;
    append(tx, event).await?;
    Ok(Begun::New(operation, image))
}

async fn deleted(tx: &mut Tx, op: &str, owner: &str, end: &Save<'_>, id: i64, event: &NewEvent) -> Result<(), Error> {
    work::store(tx, op, owner, end).await?;
    let sql = match end.outcome {
        Some(Outcome::Succeeded { .. }) => "DELETE FROM images WHERE id = $1 AND operation = $2",
        _ => "UPDATE images SET task = NULL, operation = NULL WHERE id = $1 AND operation = $2",
    };
    tx.execute(sql, args![id, op]).await?;
    append(tx, event).await?;
    Ok(())
}

/// As a column holds it.
fn bytes(size: Option<u64>) -> Option<i64> {
    size.and_then(|size| i64::try_from(size).ok())
}

fn image(row: &Row) -> Result<ImageRecord, Error> {
    Ok(ImageRecord {
        id: row.get(0)?,
        cloud: row.get(1)?,
        name: row.get(2)?,
        owner: row.get(3)?,
        status: ImageStatus::parse(&row.get::<String>(4)?)?,
        progress: row.get::<Option<i64>>(5)?.and_then(|percent| u8::try_from(percent).ok()),
        detail: row.get(6)?,
        source: row.get(7)?,
        checksum: row.get(8)?,
        size_bytes: row.get::<Option<i64>>(9)?.and_then(|size| u64::try_from(size).ok()),
        token: row.get(10)?,
        provider_id: row.get(11)?,
        task: row.get::<Option<String>>(12)?.map(|task| ImageTask::parse(&task)).transpose()?,
        operation: row.get(13)?,
        created_at: row.get(14)?,
        updated_at: row.get(15)?,
    })
}
