//! A client of Cistern, the service that kept assignments beside the original Orchestrator.

use super::assignments::{Assigned, Target};
use crate::Error;
use http::Method;
use ostler_egress::Client;
use serde_json::{Value, json};
use url::Url;

/// A remote Cistern.
#[derive(Clone)]
pub struct Cistern {
    client: Client,
    base: Url,
}

impl Cistern {
    /// The Cistern at this base address (`http://HOST:PORT/api/v1`), reached through this client.
    pub fn new(client: Client, base: Url) -> Self {
        Self { client, base }
    }

    /// Its nodes of a cloud.
    pub(super) async fn nodes(&self, cloud: &str, with_faulty: bool) -> Result<Vec<Value>, Error> {
        let answer = self.call(Method::GET, &["nodes", cloud], &json!({ "with_faulty_nodes": with_faulty })).await?;
        match answer.get("nodes") {
            Some(Value::Array(nodes)) => Ok(nodes.clone()),
            _ => Ok(Vec::new()),
        }
    }

    pub(super) async fn assign(&self, cloud: &str, target: &Target, user: &str, recipe: &str) -> Result<Assigned, Error> {
        let hostname = match &target.hostname {
            Some(hostname) => hostname.clone(),
            None => self.pair(cloud, target).await?.0,
        };
        let body = json!({ "hostname": hostname, "user": user, "vm_type": recipe });
        let answer = self.call(Method::POST, &["vm", "assign", cloud], &body).await?;
        Ok(assigned(&answer, ""))
    }

    /// Releases, and says which node of the cloud is to be destroyed now.
    pub(super) async fn release(&self, cloud: &str, target: &Target) -> Result<(Assigned, String), Error> {
        let (hostname, id) = match (&target.hostname, &target.node) {
            (Some(hostname), Some(id)) => (hostname.clone(), id.clone()),
            _ => self.pair(cloud, target).await?,
        };
        let answer = self.call(Method::PUT, &["vm", "release", cloud], &json!({ "hostname": hostname })).await?;
        Ok((assigned(&answer, " and deleted"), id))
    }

    /// Host name and cloud identifier of a node of which one is known.
    async fn pair(&self, cloud: &str, target: &Target) -> Result<(String, String), Error> {
        let text = |node: &Value, key: &str| match &node[key] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        for node in self.nodes(cloud, true).await? {
            let (hostname, id) = (text(&node, "hostname"), text(&node, "id_vm"));
            if target.hostname.as_ref().is_some_and(|h| *h == hostname) || target.node.as_ref().is_some_and(|n| *n == id) {
                return Ok((hostname, id));
            }
        }
        Err(Error::NoNode(target.hostname.clone().or_else(|| target.node.clone()).unwrap_or_default()))
    }

    async fn call(&self, method: Method, path: &[&str], body: &Value) -> Result<Value, Error> {
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => {
                segments.pop_if_empty().extend(path);
            }
            Err(()) => return Err(Error::NoAssignments("its address has no path".into())),
        }
        let (_, bytes) = self
            .client
            .json(method, url.as_str(), http::HeaderMap::new(), Some(body))
            .await
            .map_err(|error| Error::NoAssignments(error.to_string()))?;
        let answer: Value =
            serde_json::from_slice(&bytes).map_err(|_| Error::NoAssignments("it did not answer in JSON".into()))?;
        if answer["status"] == "ok" {
            return Ok(answer);
        }
        Err(Error::Refused(answer["message"].as_str().unwrap_or("unknown").to_owned()))
    }
}

fn assigned(answer: &Value, suffix: &str) -> Assigned {
    Assigned {
        id: answer["id"].clone(),
        id_vm: answer["id_vm"].clone(),
        result: format!("{}{suffix}", answer["result"].as_str().unwrap_or_default()),
    }
}
