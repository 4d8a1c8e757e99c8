//! Whose machines are measured.

use crate::Error;
use crate::identity::Principal;
use crate::instances::Instances;
use async_trait::async_trait;

/// The token of a machine, and the provider's identifier, once there is one.
pub(super) type Subject = (String, Option<String>);

/// Who knows the machines.
#[async_trait]
pub(super) trait Subjects: Send + Sync {
    /// Those of a cloud that are measured.
    async fn all(&self, cloud: &str) -> Result<Vec<Subject>, Error>;

    /// That of an instance that the caller may see. [`Error::NoInstance`].
    async fn one(&self, who: &Principal, cloud: &str, instance: i64) -> Result<Subject, Error>;
}

#[async_trait]
impl Subjects for Instances {
    async fn all(&self, cloud: &str) -> Result<Vec<Subject>, Error> {
        self.subjects(cloud).await
    }

    async fn one(&self, who: &Principal, cloud: &str, instance: i64) -> Result<Subject, Error> {
        let found = self.get(who, cloud, instance).await?;
        Ok((found.token, found.node_id))
    }
}
