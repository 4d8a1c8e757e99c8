//! The resources of deployments: what the node templates stand for, one row an instance.

use serde_json::Value;

use crate::db::{Row, Tx, args, transaction};
use crate::deployment_rows::json;
use crate::events::append;
use crate::operations::text_enum;
use crate::resource_credit;
use crate::{Error, NewEvent, Store};

text_enum! {
    /// How far a resource is.
    ResourceState, "state of a resource" {
        /// Nothing is done yet.
        Initial = "INITIAL",
        /// It is being made.
        Creating = "CREATING",
        /// It is made.
        Created = "CREATED",
        /// It is being set up.
        Configuring = "CONFIGURING",
        /// It is set up.
        Configured = "CONFIGURED",
        /// It is being started.
        Starting = "STARTING",
        /// It runs.
        Started = "STARTED",
        /// It is being stopped.
        Stopping = "STOPPING",
        /// It does not run.
        Stopped = "STOPPED",
        /// It is being removed.
        Deleting = "DELETING",
        /// Something went wrong.
        Error = "ERROR",
    }
}

/// A resource of a deployment.
#[derive(Clone, PartialEq)]
pub struct Resource {
    /// A uuid v7.
    pub id: String,
    /// Of which deployment.
    pub deployment: String,
    /// Its place within the deployment.
    pub position: u32,
    /// The name of the node template.
    pub node: String,
    /// The type of the node template.
    pub type_name: String,
    /// The type and all that it derives from.
    pub ancestors: Vec<String>,
    /// How far it is.
    pub state: ResourceState,
    /// Its provider.
    pub cloud: Option<String>,
    /// The token with which it is ordered at the provider. One resource a token and cloud.
    pub token: Option<String>,
    /// What the provider calls it.
    pub physical_id: Option<String>,
    /// What is known of it, addresses and so on: a JSON object.
    pub attributes: Value,
    /// The identifiers of the resources that need it.
    pub required_by: Vec<String>,
    /// When it was written down, in microseconds UTC. Set by the store.
    pub created_at: i64,
    /// When it last changed, in microseconds UTC. Set by the store.
    pub updated_at: i64,
}

/// Without its attributes, which may be confidential.
impl std::fmt::Debug for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resource")
            .field("id", &self.id)
            .field("deployment", &self.deployment)
            .field("position", &self.position)
            .field("node", &self.node)
            .field("type_name", &self.type_name)
            .field("state", &self.state)
            .field("cloud", &self.cloud)
            .field("token", &self.token)
            .field("physical_id", &self.physical_id)
            .field("required_by", &self.required_by)
            .finish_non_exhaustive()
    }
}

/// What changes about a resource; what is `None` stays.
#[derive(Clone, Default, PartialEq)]
pub struct ResourceChange {
    /// See [`Resource::state`].
    pub state: Option<ResourceState>,
    /// See [`Resource::cloud`].
    pub cloud: Option<Option<String>>,
    /// See [`Resource::token`].
    pub token: Option<Option<String>>,
    /// See [`Resource::physical_id`].
    pub physical_id: Option<Option<String>>,
    /// See [`Resource::attributes`].
    pub attributes: Option<Value>,
    /// See [`Resource::required_by`].
    pub required_by: Option<Vec<String>>,
}

/// Without the attributes, which may be confidential.
impl std::fmt::Debug for ResourceChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResourceChange")
            .field("state", &self.state)
            .field("cloud", &self.cloud)
            .field("token", &self.token)
            .field("physical_id", &self.physical_id)
            .field("required_by", &self.required_by)
            .finish_non_exhaustive()
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, deployment, position, node, type, ancestors, state, cloud, token, physical_id, attributes, required_by, \
             created_at, updated_at FROM resources ",
            $rest
        )
    };
}

impl Store {
    /// The resources of a deployment, by their places.
    pub async fn resources(&self, deployment: &str) -> Result<Vec<Resource>, Error> {
        let sql = select!("WHERE deployment = $1 ORDER BY position, id");
        self.db().all(sql, args![deployment]).await?.iter().map(resource).collect()
    }

    /// One resource of a deployment.
    pub async fn resource_get(&self, deployment: &str, id: &str) -> Result<Option<Resource>, Error> {
        let sql = select!("WHERE id = $2 AND deployment = $1");
        self.db().optional(sql, args![deployment, id]).await?.as_ref().map(resource).transpose()
    }

    /// The resource that carries a token at a provider.
    pub async fn resource_by_token(&self, cloud: &str, token: &str) -> Result<Option<Resource>, Error> {
        let sql = select!("WHERE cloud = $1 AND token = $2");
        self.db().optional(sql, args![cloud, token]).await?.as_ref().map(resource).transpose()
    }

    /// Up to `limit` resources that have a machine on a cloud and whose deployment nobody works on, in the order of their
    /// identifiers after `after`; not those that are known to have lost it.
    pub async fn resources_at_rest(&self, cloud: &str, after: Option<&str>, limit: u32) -> Result<Vec<Resource>, Error> {
        let sql = select!(
            "WHERE cloud = $1 AND token IS NOT NULL AND id > $2 AND state <> 'ERROR' \
             AND (SELECT operation FROM deployments WHERE deployments.id = deployment) IS NULL ORDER BY id LIMIT $3"
        );
        self.db().all(sql, args![cloud, after.unwrap_or(""), limit]).await?.iter().map(resource).collect()
    }

    /// Notes that a resource's machine is gone, if the resource is in this state still and nobody works on its deployment; and the
    /// event with it. Whether it is so.
    pub async fn resource_lost(&self, id: &str, state: ResourceState, event: &NewEvent) -> Result<bool, Error> {
        transaction!(self.db(), |tx| async {
            let sql = "UPDATE resources SET state = 'ERROR', updated_at = $3 WHERE id = $1 AND state = $2 AND (SELECT operation \
                       FROM deployments WHERE deployments.id = deployment) IS NULL";
            let lost = tx.execute(sql, args![id, state.as_str(), crate::now()]).await? > 0;
            if lost {
                append(tx, event).await?;
            }
            Ok(lost)
        })
    }

    /// Adds resources to their deployments, all or none; those whose identifiers are known are left as they are.
    /// [`Error::NotFound`] where a deployment is gone, [`Error::Exists`] where another resource has the token.
    pub async fn resource_add(&self, resources: &[Resource]) -> Result<(), Error> {
        transaction!(self.db(), |tx| async {
            for resource in resources {
                insert(tx, resource).await?;
            }
            Ok::<_, Error>(())
        })
    }

    /// Changes a resource. Whether there is one. [`Error::Exists`] where another one has the token.
    pub async fn resource_change(&self, id: &str, change: &ResourceChange) -> Result<bool, Error> {
        transaction!(self.db(), |tx| apply(tx, None, id, change))
    }

    /// Forgets a resource, and ends the charges for its machine. Whether there was one.
    pub async fn resource_remove(&self, id: &str) -> Result<bool, Error> {
        transaction!(self.db(), |tx| async {
            resource_credit::end(tx, "", id, "host").await?;
            Ok::<_, Error>(tx.execute("DELETE FROM resources WHERE id = $1", args![id]).await? > 0)
        })
    }
}

/// Writes down new resources of a deployment, in the caller's transaction. [`Error::Exists`] where an identifier is known.
pub(crate) async fn insert_all(tx: &mut Tx, deployment: &str, resources: &[Resource]) -> Result<(), Error> {
    for resource in resources {
        if resource.deployment != deployment {
            return Err(Error::Invalid("a resource of another deployment"));
        }
        if !insert(tx, resource).await? {
            return Err(Error::Exists("the resource"));
        }
    }
    Ok(())
}

/// Writes down a resource whose identifier is not known; whether it was so.
async fn insert(tx: &mut Tx, new: &Resource) -> Result<bool, Error> {
    let sql = "INSERT INTO resources (id, deployment, position, node, type, ancestors, state, cloud, token, physical_id, \
               attributes, required_by, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13) \
               ON CONFLICT (id) DO NOTHING";
    let (ancestors, required_by) = (texts(&new.ancestors), texts(&new.required_by));
    let attributes = new.attributes.to_string();
    let args = args![
        &new.id,
        &new.deployment,
        new.position,
        &new.node,
        &new.type_name,
        &ancestors,
        new.state.as_str(),
        &new.cloud,
        &new.token,
        &new.physical_id,
        &attributes,
        &required_by,
        crate::now(),
    ];
    let inserted = tx.execute(sql, args).await.map_err(|error| match error {
        Error::NotFound(_) => error.about("the deployment"),
        error => error.about("a resource with this token"),
    })?;
    Ok(inserted > 0)
}

/// Changes a resource, of this deployment if one is given, in the caller's transaction; whether there is one.
pub(crate) async fn apply(tx: &mut Tx, deployment: Option<&str>, id: &str, change: &ResourceChange) -> Result<bool, Error> {
    let sql = "UPDATE resources SET updated_at = $3, state = COALESCE($4, state), attributes = COALESCE($5, attributes), \
               required_by = COALESCE($6, required_by), cloud = CASE WHEN $7 = 1 THEN $8 ELSE cloud END, \
               token = CASE WHEN $9 = 1 THEN $10 ELSE token END, \
               physical_id = CASE WHEN $11 = 1 THEN $12 ELSE physical_id END \
               WHERE id = $1 AND (CAST($2 AS TEXT) IS NULL OR deployment = $2)";
    let attributes = json(change.attributes.as_ref());
    let required_by = change.required_by.as_deref().map(texts);
    let args = args![
        id,
        deployment,
        crate::now(),
        change.state.map(ResourceState::as_str),
        &attributes,
        &required_by,
        change.cloud.is_some(),
        change.cloud.as_ref().and_then(Option::as_deref),
        change.token.is_some(),
        change.token.as_ref().and_then(Option::as_deref),
        change.physical_id.is_some(),
        change.physical_id.as_ref().and_then(Option::as_deref),
    ];
    Ok(tx.execute(sql, args).await.map_err(|error| error.about("a resource with this token"))? > 0)
}

fn texts(texts: &[String]) -> String {
    Value::from(texts).to_string()
}

fn read_texts(row: &Row, index: usize) -> Result<Vec<String>, Error> {
    serde_json::from_str(&row.get::<String>(index)?).map_err(|_| Error::Corrupt("list of texts"))
}

fn resource(row: &Row) -> Result<Resource, Error> {
    Ok(Resource {
        id: row.get(0)?,
        deployment: row.get(1)?,
        position: u32::try_from(row.get::<i64>(2)?).map_err(|_| Error::Corrupt("number"))?,
        node: row.get(3)?,
        type_name: row.get(4)?,
        ancestors: read_texts(row, 5)?,
        state: ResourceState::parse(&row.get::<String>(6)?)?,
        cloud: row.get(7)?,
        token: row.get(8)?,
        physical_id: row.get(9)?,
        attributes: row.json(10)?,
        required_by: read_texts(row, 11)?,
        created_at: row.get(12)?,
        updated_at: row.get(13)?,
    })
}
