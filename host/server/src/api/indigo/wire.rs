//! The shapes of answers. Members stand in the original's order; those that have no value are left out.

use ostler_core::deployments as core;
use ostler_core::deployments::redacted;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// The media types of answers.
pub(super) const JSON: &str = "application/json;charset=UTF-8";
pub(super) const TEXT: &str = "text/plain;charset=UTF-8";

/// The members of `cloudProviderEndpoint`, in order.
const ENDPOINT: [&str; 6] =
    ["cpEndpoint", "cpComputeServiceId", "vaultUri", "region", "deploymentType", "hybridCloudProviderEndpoints"];

/// A link to something else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Link {
    pub(super) rel: &'static str,
    pub(super) href: String,
}

/// One page of a list.
#[derive(Serialize)]
pub(super) struct Listing<T> {
    pub(super) links: Vec<Link>,
    pub(super) content: Vec<T>,
    pub(super) page: PageView,
}

/// Which page it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PageView {
    pub(super) size: u64,
    pub(super) total_elements: u64,
    pub(super) total_pages: u64,
    pub(super) number: u32,
}

/// A deployment.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeploymentView<'d> {
    uuid: &'d str,
    creation_time: String,
    update_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    physical_id: Option<&'d str>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_reason: Option<&'d str>,
    outputs: Cow<'d, Value>,
    task: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    callback: Option<&'d str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_group: Option<&'d str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cloud_provider_name: Option<&'d str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cloud_provider_endpoint: Option<Endpoint<'d>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by: Option<CreatedBy<'d>>,
    links: Vec<Link>,
}

/// Whose something is.
#[derive(Serialize)]
pub(super) struct CreatedBy<'d> {
    issuer: &'d str,
    subject: &'d str,
}

impl<'d> CreatedBy<'d> {
    pub(super) fn new(owner: &'d core::Owner) -> Self {
        Self { issuer: &owner.issuer, subject: &owner.subject }
    }
}

/// Where it is, in the order of the original, whatever else is known after it; empty members are left out.
struct Endpoint<'d>(&'d Map<String, Value>);

impl Serialize for Endpoint<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let empty = |value: &Value| match value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(members) => members.is_empty(),
            _ => false,
        };
        let first = ENDPOINT.iter().filter_map(|name| self.0.get_key_value(*name));
        let rest = self.0.iter().filter(|(name, _)| !ENDPOINT.contains(&name.as_str()));
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in first.chain(rest).filter(|(_, value)| !empty(value)) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// A resource.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResourceView<'r> {
    uuid: &'r str,
    creation_time: String,
    update_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    physical_id: Option<&'r str>,
    state: &'static str,
    tosca_node_type: &'r str,
    tosca_node_name: &'r str,
    required_by: &'r [String],
    metadata: Value,
    links: Vec<Link>,
}

/// `/configuration`. What has no counterpart here is part of this server.
#[derive(Serialize)]
pub(super) struct Configuration<'c> {
    pub(super) cpr_url: &'c str,
    pub(super) slam_url: &'c str,
    pub(super) cmdb_url: &'c str,
    pub(super) im_url: &'c str,
    pub(super) monitoring_url: &'c str,
}

impl<'d> DeploymentView<'d> {
    pub(super) fn new(deployment: &'d core::Deployment, links: Vec<Link>) -> Self {
        let outputs = match &deployment.outputs {
            Value::Object(_) => Cow::Borrowed(&deployment.outputs),
            _ => Cow::Owned(Value::Object(Map::new())),
        };
        Self {
            uuid: &deployment.id,
            creation_time: time(deployment.created_at),
            update_time: time(deployment.updated_at),
            physical_id: deployment.physical_id.as_deref(),
            status: deployment.status.as_str(),
            status_reason: deployment.status_reason.as_deref(),
            outputs,
            task: deployment.task.as_str(),
            callback: deployment.callback.as_deref(),
            user_group: deployment.user_group.as_deref(),
            cloud_provider_name: deployment.cloud.as_deref(),
            cloud_provider_endpoint: deployment.endpoint.as_ref().and_then(Value::as_object).map(Endpoint),
            created_by: deployment.owner.as_ref().map(CreatedBy::new),
            links,
        }
    }
}

impl<'r> ResourceView<'r> {
    pub(super) fn new(resource: &'r core::Resource, links: Vec<Link>) -> Self {
        let metadata = match &resource.attributes {
            Value::Object(attributes) if !attributes.is_empty() => {
                json!({ "VirtualMachineInfo": redacted(resource.attributes.clone()).to_string() })
            }
            _ => json!({}),
        };
        Self {
            uuid: &resource.id,
            creation_time: time(resource.created_at),
            update_time: time(resource.updated_at),
            physical_id: resource.physical_id.as_deref(),
            state: resource.state.as_str(),
            tosca_node_type: &resource.type_name,
            tosca_node_name: &resource.node,
            required_by: &resource.required_by,
            metadata,
            links,
        }
    }
}

/// What is known of machines, as one text of JSON: each in a list of its own.
pub(super) fn extra_info(machines: Vec<Value>) -> String {
    let one = |mut machine: Value| {
        if let Value::Object(members) = &mut machine {
            members.entry("class").or_insert_with(|| json!("system"));
        }
        json!({ "vmProperties": [redacted(machine)] })
    };
    Value::Array(machines.into_iter().map(one).collect()).to_string()
}

/// Microseconds since 1970 as the original showed times: to the minute, in UTC, without a colon in the offset.
pub(super) fn time(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros).unwrap_or_default().strftime("%Y-%m-%dT%H:%M+0000").to_string()
}

#[cfg(test)]
pub(super) mod tests;
