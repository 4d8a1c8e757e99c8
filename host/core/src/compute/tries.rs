//! Single tries of what the steps of an operation want of a cloud.

use crate::Error;
use crate::model::NodeState;
use crate::scheduler::Try;
use ostler_drivers::{Cloud, ErrorKind};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// What a failure at a cloud means for a step.
pub(crate) fn broke(error: ostler_drivers::Error) -> Try {
    let passes = error.kind.is_ambiguous() || error.kind.is_fault() || matches!(error.kind, ErrorKind::Throttled);
    let error = Error::Cloud(error);
    if passes { Try::again(&error) } else { Try::failed(&error) }
}

/// Sees to it that no node has this token: one try.
pub(crate) async fn remove(cloud: &Arc<Cloud>, token: &str) -> Try {
    let again = |error: ostler_drivers::Error| Try::again(&Error::Cloud(error));
    // By the token and not by the identifier, which some providers give again.
    let node = match cloud.find_node(token).await {
        Ok(None) => return Try::done(json!({})),
        Ok(Some(node)) if node.state == NodeState::Terminated => return Try::done(json!({})),
        Ok(Some(node)) => node,
        Err(error) => return again(error),
    };
    match destroy_only(cloud, &node.id, token).await {
        Ok(()) => {}
        Err(error) if error.kind == ErrorKind::NotFound => {}
        Err(error) => return again(error),
    }
    match cloud.find_node(token).await {
        Ok(None) => Try::done(json!({})),
        // An order to destroy may take its time.
        Ok(Some(_)) => Try::wait(Duration::from_millis(200)),
        Err(error) => again(error),
    }
}

/// Destroys the node with this identifier, if it is the one with this token: some providers give identifiers again.
async fn destroy_only(cloud: &Arc<Cloud>, id: &str, token: &str) -> Result<(), ostler_drivers::Error> {
    let node = cloud.get_node(id).await?;
    if node.token.as_deref().is_some_and(|other| other != token) {
        let message = format!("another node has the identifier `{id}` besides: it has to go first");
        return Err(ostler_drivers::Error::new(ErrorKind::Conflict, message));
    }
    cloud.destroy_node(id).await.map(drop)
}

/// A failure of a node, not of a call.
pub(crate) fn lost(message: impl Into<String>) -> Try {
    Try::failed(&Error::Cloud(ostler_drivers::Error::new(ErrorKind::Failed, message)))
}
