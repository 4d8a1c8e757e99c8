//! What is kept only for a time, and forgotten in portions: so that nobody waits long for whoever forgets.

use crate::db::args;
use crate::{Error, Store};

/// What may be forgotten of the operations:
///
/// - not what was given up: it may be the only trace of what is still at a provider;
/// - nothing that a service, a node of one or a deployment names, nor what has ordered one of the nodes and resources that exist;
/// - what has made a node only once the node was destroyed: the record says that the token is ours.
const OVER: &str = "DELETE FROM operations WHERE id IN (SELECT o.id FROM operations o \
    WHERE o.state <> 'pending' AND o.updated_at < $1 AND o.state IN ('succeeded', 'failed') \
    AND NOT EXISTS (SELECT 1 FROM services WHERE operation = o.id) \
    AND NOT EXISTS (SELECT 1 FROM service_nodes WHERE operation = o.id) \
    AND NOT EXISTS (SELECT 1 FROM deployments WHERE operation = o.id) \
    AND NOT EXISTS (SELECT 1 FROM steps s WHERE s.operation = o.id AND s.token IS NOT NULL \
        AND (EXISTS (SELECT 1 FROM service_nodes n WHERE n.token = s.token) \
        OR EXISTS (SELECT 1 FROM resources r WHERE r.cloud = s.cloud AND r.token = s.token))) \
    AND (o.token IS NULL OR o.state = 'failed' OR EXISTS (SELECT 1 FROM operations d \
        WHERE d.cloud = o.cloud AND d.node_id = o.node_id AND d.kind = 'destroy-node' AND d.state = 'succeeded' \
        AND d.created_at >= o.created_at)) \
    ORDER BY o.updated_at, o.id LIMIT $2) RETURNING 1";

impl Store {
    /// Forgets up to `limit` operations, the oldest first, with their steps, that succeeded or failed before that time, in
    /// microseconds UTC, and that nothing refers to any more. Their idempotency keys, which are older still, are free again. How
    /// many: fewer than `limit` means that none is left.
    pub async fn prune(&self, before: i64, limit: u32) -> Result<u64, Error> {
        self.db().write_count(OVER, args![before, limit]).await
    }

    /// Forgets the oldest events up to the first that is not older than that time, in microseconds UTC, but no more than `limit`.
    /// How many: fewer than `limit` means that none is left. Who reads on from one that is forgotten goes on with the oldest that
    /// is left.
    pub async fn events_prune(&self, before: i64, limit: u32) -> Result<u64, Error> {
        let sql = "WITH oldest AS (SELECT id, at FROM events ORDER BY id LIMIT $2) DELETE FROM events WHERE id IN \
                   (SELECT id FROM oldest WHERE id < COALESCE((SELECT MIN(id) FROM oldest WHERE at >= $1), id + 1)) RETURNING 1";
        self.db().write_count(sql, args![before, limit]).await
    }

    /// Forgets up to `limit` callbacks, the oldest first, that were delivered or given up before that time, in microseconds UTC. How
    /// many: fewer than `limit` means that none is left.
    pub async fn callbacks_prune(&self, before: i64, limit: u32) -> Result<u64, Error> {
        let sql = "DELETE FROM callbacks WHERE ended_at IS NOT NULL AND id IN \
                   (SELECT id FROM callbacks WHERE ended_at < $1 ORDER BY ended_at, id LIMIT $2) RETURNING 1";
        self.db().write_count(sql, args![before, limit]).await
    }
}
