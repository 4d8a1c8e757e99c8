//! The managers' own interface: JSON-RPC over HTTPS, with certificates of our authority on both sides.

use super::Services;
use crate::Error;
use ostler_egress::{Client, Origin};
use ostler_store::Service;
use serde_json::{Value, json};
use std::sync::Arc;

/// How managers are called: a client for one origin, which accepts the certificate of this user's and service's manager alone.
pub(super) type Managers = Arc<dyn Fn(&Origin, i64, i64) -> Result<Client, String> + Send + Sync>;

impl Services {
    /// Lets managers be called with this.
    #[must_use]
    pub fn with_managers(mut self, client: impl Fn(&Origin, i64, i64) -> Result<Client, String> + Send + Sync + 'static) -> Self {
        self.managers = Some(Arc::new(client));
        self
    }

    /// One call of a manager's method.
    pub(super) async fn ask_manager(&self, manager: &Service, method: &str, params: &Value) -> Result<Value, Error> {
        let unreachable = |why: &dyn std::fmt::Display| Error::NoManager(why.to_string());
        let managers = self.managers.as_ref().ok_or_else(|| unreachable(&"this server calls no managers"))?;
        let address = manager.address.as_deref().ok_or_else(|| unreachable(&"it has no address"))?;
        let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        let base = format!("https://{host}:{}", self.settings.manager_port);
        let origin = base.parse::<Origin>().map_err(|error| unreachable(&error))?;
        let user = self.store.user_get(&manager.user_id).await?.ok_or(Error::NoService)?;
        let client = managers(&origin, user.number, super::locator(manager)).map_err(|why| unreachable(&why))?;
        let body = json!({ "method": method, "params": params, "id": 1 });
        let (_, bytes) = client
            .json(http::Method::POST, &format!("{base}/"), http::HeaderMap::new(), Some(&body))
            .await
            .map_err(|error| unreachable(&error))?;
        let answer: Value = serde_json::from_slice(&bytes).map_err(|_| unreachable(&"it did not answer in JSON"))?;
        match &answer["error"] {
            Value::Null => Ok(answer["result"].clone()),
            Value::String(error) => Err(unreachable(error)),
            error => Err(unreachable(error)),
        }
    }
}
