//! What still needs a cloud.

use crate::db::args;
use crate::{Error, Store};

/// How many of a kind are named.
const EXAMPLES: u32 = 10;

/// Things of one kind that are on a cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudUse {
    /// What they are, in words.
    pub kind: &'static str,
    /// How many.
    pub count: u64,
    /// Identifiers of some of them.
    pub examples: Vec<String>,
}

/// How many there are, and some of them.
macro_rules! kind {
    ($kind:literal, $id:literal, $from:literal) => {
        (
            $kind,
            concat!("SELECT COUNT(*) FROM (SELECT DISTINCT ", $id, " FROM ", $from, ") AS found"),
            concat!("SELECT DISTINCT CAST(", $id, " AS TEXT) AS found FROM ", $from, " ORDER BY found LIMIT $2"),
        )
    };
}

const KINDS: [(&str, &str, &str); 7] = [
    kind!(
        "pending operations",
        "o.id",
        "operations o WHERE o.state = 'pending' AND (o.cloud = $1 \
         OR EXISTS (SELECT 1 FROM steps s WHERE s.operation = o.id AND s.cloud = $1))"
    ),
    kind!("deployments", "deployment", "resources WHERE cloud = $1 AND token IS NOT NULL"),
    kind!("services", "id", "services WHERE cloud = $1"),
    kind!("nodes of services", "id", "service_nodes WHERE cloud = $1"),
    kind!("instances", "id", "instances WHERE cloud = $1"),
    kind!("registered images", "id", "images WHERE cloud = $1 AND token IS NOT NULL"),
    kind!("assigned machines", "id_vm", "assignments WHERE cloud = $1 AND status = 2"),
];

impl Store {
    /// What could not go on or be removed without this cloud: operations that are pending, deployments that have machines there,
    /// services and their nodes, machines that somebody uses. Nodes that belong to nobody here are the provider's matter.
    pub async fn cloud_uses(&self, cloud: &str) -> Result<Vec<CloudUse>, Error> {
        let mut uses = Vec::new();
        for (kind, count, examples) in KINDS {
            let row = self.db().optional(count, args![cloud]).await?.ok_or(Error::Corrupt("count"))?;
            let count = row.unsigned(0)?;
            if count > 0 {
                let rows = self.db().all(examples, args![cloud, EXAMPLES]).await?;
                let examples = rows.iter().map(|row| row.get(0)).collect::<Result<_, _>>()?;
                uses.push(CloudUse { kind, count, examples });
            }
        }
        Ok(uses)
    }
}
