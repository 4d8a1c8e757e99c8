//! What the managers of services ask for. Their certificate says whose manager they are; what they say besides has to agree.

use super::answers::{self, no, pretty, raw, refusal};
use super::{Call, literal, wire};
use axum::response::Response;
use http::StatusCode;
use ostler_core::Error;
use ostler_core::services::{NodeOrder, locator};
use ostler_store::{Service, ServiceNode};
use serde_json::Value;

/// The largest decrement.
const LARGEST: i64 = 1_000_000;

/// The manager's service, if the request does not say that it means another.
async fn own(call: &Call<'_>, name: &str) -> Result<Option<Service>, Error> {
    let service = match call.app.core.services.managed(&call.who).await {
        Ok(service) => service,
        Err(Error::NoService) => return Ok(None),
        Err(error) => return Err(error),
    };
    let said = call.form.filled(name).map(|said| said.trim().parse::<i64>().ok());
    Ok(Some(service).filter(|service| said.is_none_or(|said| said == Some(locator(service)))))
}

pub(super) async fn decrement(call: &Call<'_>) -> Result<Response, Error> {
    let refused =
        |why: &dyn std::fmt::Display| Ok(answers::with_reason(pretty(&wire::Outcome { error: true }), &why.to_string()));
    if own(call, "sid").await?.is_none() {
        return Ok(no(&"the certificate is not that of the manager of this service"));
    }
    let amount = match call.form.value("decrement") {
        None => 1,
        Some(text) => match text.trim().parse::<i64>() {
            Ok(amount @ 1..=LARGEST) => amount,
            _ => return refused(&format!("decrement is a whole number between 1 and {LARGEST}")),
        },
    };
    let key = call.key("conpaas/decrement")?.map(|key| key.key);
    match call.app.core.services.prepay(&call.who, amount, key.as_deref()).await {
        Ok(_) => Ok(answers::same_origin(pretty(&wire::Outcome { error: false }))),
        Err(error) if answers::is_ours(&error) => Err(error),
        Err(error) => refused(&error),
    }
}

pub(super) async fn terminate(call: &Call<'_>) -> Result<Response, Error> {
    if own(call, "sid").await?.is_none() {
        return Ok(no(&"the certificate is not that of the manager of this service"));
    }
    match call.app.core.services.terminate(&call.who).await {
        Ok(()) => Ok(answers::same_origin(pretty(&wire::Outcome { error: false }))),
        Err(error) if answers::is_ours(&error) => Err(error),
        Err(error) => Ok(answers::with_reason(pretty(&wire::Outcome { error: true }), &error.to_string())),
    }
}

pub(super) async fn enrol(call: &Call<'_>) -> Result<Response, Error> {
    let Some(request) = call.form.file("csr") else {
        return Ok(answers::page(StatusCode::BAD_REQUEST, "The file csr is missing."));
    };
    match call.app.core.authority.enrol_agent(&call.who, request).await {
        Ok(certificate) => Ok(answers::text(certificate)),
        Err(error @ Error::Request(_)) => {
            Ok(answers::with_reason(answers::page(StatusCode::BAD_REQUEST, &error.to_string()), &error.to_string()))
        }
        Err(Error::NoService) => Ok(no(&"the service of this certificate does not exist")),
        Err(error) => Err(error),
    }
}

pub(super) async fn credit(call: &Call<'_>) -> Result<Response, Error> {
    Ok(answers::same_origin(raw(&wire::Credit { credit: call.app.core.billing.own_balance(&call.who).await? })))
}

pub(super) async fn create_nodes(call: &Call<'_>) -> Result<Response, Error> {
    if own(call, "app_id").await?.is_none() {
        return Ok(refusal("the certificate is not that of the manager of this application"));
    }
    let read = |name: &str| match call.form.filled(name) {
        None => Ok(Value::Null),
        Some(text) => literal::parse(text).map_err(|error| Error::Invalid(format!("{name}: {error}"))),
    };
    let (infos, context) = match (read("nodes_info"), read("context")) {
        (Ok(Value::Array(infos)), Ok(context)) => (infos, context),
        (Err(error), _) | (_, Err(error)) => return Ok(refusal(&error.to_string())),
        _ => return Ok(refusal("nodes_info is a list of nodes")),
    };
    let context = match context {
        Value::Null => Vec::new(),
        Value::Object(context) => context.into_iter().map(|(name, value)| (name, shown(&value))).collect(),
        _ => return Ok(refusal("context is a dictionary")),
    };
    // Clients of the time sent it with everything.
    let member = match call.form.filled("service_id").filter(|id| *id != "None").map(|id| id.trim().parse::<i64>()) {
        None => None,
        Some(Ok(id)) => Some(id),
        Some(Err(_)) => return Ok(refusal("service_id is a number")),
    };
    let wanted = |info: &Value| call.cloud(info["cloud"].as_str().or(call.form.filled("cloud_name")));
    let order = NodeOrder {
        clouds: infos.iter().map(wanted).collect(),
        member,
        context,
        startup_script: call.form.filled("startup_script").filter(|script| *script != "None").unwrap_or_default().to_owned(),
    };
    match call.app.core.services.add_nodes(&call.who, order, call.key("conpaas/create_nodes")?).await {
        Ok(nodes) => Ok(answers::same_origin(raw(&shown_nodes(call, &nodes, &infos)))),
        Err(Error::NoCredit { .. }) => Ok(refusal("Insufficient credits")),
        Err(error) if answers::is_ours(&error) => Err(error),
        Err(error) => Ok(refusal(&error.to_string())),
    }
}

/// A value as a shell's variable has it.
fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn shown_nodes(call: &Call<'_>, nodes: &[ServiceNode], infos: &[Value]) -> Vec<Value> {
    let view = |(index, node): (usize, &ServiceNode)| {
        let cloud = super::services::cloud_name(call, &node.cloud);
        let vmid = node.node_id.as_deref().unwrap_or_default();
        let ip = node.address.as_deref().unwrap_or_default();
        let role = infos.get(index).and_then(|info| info["role"].as_str()).unwrap_or("node");
        let id = format!("{cloud}{vmid}");
        let node = wire::Node { cloud_name: cloud, id: &id, ip, private_ip: ip, role, vmid, volumes: &[], weight_backend: 100 };
        serde_json::to_value(node).unwrap_or_default()
    };
    nodes.iter().enumerate().map(view).collect()
}

pub(super) async fn remove_nodes(call: &Call<'_>) -> Result<Response, Error> {
    let parsed = call.form.filled("nodes").map(literal::parse);
    let nodes = match parsed {
        Some(Ok(Value::Array(nodes))) => nodes,
        Some(Err(error)) => return Ok(refusal(&format!("nodes: {error}"))),
        _ => return Ok(refusal("nodes is a list of nodes")),
    };
    let meant = |node: &Value| {
        let vmid = node["vmid"].as_str().map(str::to_owned).or_else(|| node["vmid"].as_i64().map(|id| id.to_string()));
        (call.cloud(node["cloud_name"].as_str()), vmid.unwrap_or_default())
    };
    let nodes: Vec<_> = nodes.iter().map(meant).collect();
    match call.app.core.services.remove_nodes(&call.who, &nodes).await {
        Ok(()) => Ok(answers::same_origin(raw(&wire::Done {}))),
        Err(error) if answers::is_ours(&error) => Err(error),
        Err(error) => Ok(refusal(&error.to_string())),
    }
}
