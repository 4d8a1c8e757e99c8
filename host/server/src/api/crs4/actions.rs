//! What each route does: one call of a use case, and its answer in this dialect's words.

use super::errors::{Context, Fault, json_response};
use super::input::Input;
use super::schema;
use super::wire::{self, Assignment, CloudView, Clouds, FlavorView, Flavors, ImageView, Images, NodeView, Nodes};
use super::{Endpoint, Here, Version, ok_status};
use crate::api::{auth, idempotency};
use crate::listen::PeerInfo;
use axum::extract::RawPathParams;
use axum::response::Response;
use http::StatusCode;
use ostler_core::Error;
use ostler_core::compute::{Assigned, Target};
use ostler_core::identity::Principal;
use ostler_core::model::NodeSpec;
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::{Map, Value, json};

const OK: &str = "ok";
/// Bytes of the longest name, identifier and key.
const LONGEST: usize = 1024;

pub(super) async fn run(
    here: &Here,
    who: &Principal,
    cloud: &str,
    path: &RawPathParams,
    peer: &PeerInfo,
    input: Input,
) -> Result<Response, Fault> {
    let part = |name: &str| super::part(path, name).unwrap_or_default();
    match here.endpoint {
        Endpoint::Index => input.json().map(|_| ok_status()),
        Endpoint::Auth => log_in(here, peer, &input).await,
        Endpoint::Start => start(here, who, cloud, &input).await,
        Endpoint::Stop => stop(here, who, cloud, &input).await,
        Endpoint::Action => action(here, who, cloud, part("action"), &input).await,
        Endpoint::VmStatus => vm_status(here, who, cloud).await,
        Endpoint::Test => Ok(ok(&json!({ "authenticated": "yes", "status": OK, "test": "passed" }))),
        Endpoint::Firewall => Err(Fault::NotImplemented("")),
        Endpoint::Node => node(here, who, cloud, part("node")).await,
        Endpoint::Status => match part("action") {
            "nodes" => nodes(here, who, cloud).await,
            "images" => images(here, who, cloud).await,
            "sizes" | "flavors" => sizes(here, who, cloud).await,
            "tenants" => Ok(tenants(cloud)),
            "cloud" => clouds(here, who),
            _ => Err(Fault::UnknownAction),
        },
    }
}

fn ok<T: Serialize>(value: &T) -> Response {
    json_response(StatusCode::OK, "application/json", wire::pretty(value))
}

fn in_context(context: Context) -> impl Fn(Error) -> Fault {
    move |error| Fault::Core(error, context)
}

async fn nodes(here: &Here, who: &Principal, cloud: &str) -> Result<Response, Fault> {
    let listing = here.app.core.compute.nodes(who, cloud).await.map_err(in_context(Context::Status))?;
    let nodes: Vec<_> = listing.items.iter().map(|node| NodeView::new(node, &listing.driver)).collect();
    Ok(ok(&Nodes { nodes, status: OK }))
}

async fn node(here: &Here, who: &Principal, cloud: &str, id: &str) -> Result<Response, Fault> {
    let listed = here.app.core.compute.node(who, cloud, id).await.map_err(in_context(Context::Status))?;
    Ok(ok(&Nodes { nodes: NodeView::new(&listed.node, &listed.driver), status: OK }))
}

async fn images(here: &Here, who: &Principal, cloud: &str) -> Result<Response, Fault> {
    let listing = here.app.core.compute.images(who, cloud).await.map_err(in_context(Context::Status))?;
    let images = listing.items.iter().map(|image| ImageView::new(image, &listing.driver)).collect();
    Ok(ok(&Images { images, status: OK }))
}

async fn sizes(here: &Here, who: &Principal, cloud: &str) -> Result<Response, Fault> {
    let listing = here.app.core.compute.sizes(who, cloud).await.map_err(in_context(Context::Status))?;
    let flavors = listing.items.iter().map(|size| FlavorView::new(size, &listing.driver)).collect();
    Ok(ok(&Flavors { flavors, status: OK }))
}

/// The original knew one tenant, by heart.
fn tenants(cloud: &str) -> Response {
    let tenant = if cloud == "default" {
        json!({ "cloud_type": "OpenStack", "id": "f122fd1685b142d6830ee970900b2151", "name": "demo", "provider": "openstack" })
    } else {
        json!({})
    };
    ok(&json!({ "status": OK, "tenants": [tenant] }))
}

fn clouds(here: &Here, who: &Principal) -> Result<Response, Fault> {
    let mut clouds = here.app.core.compute.clouds(who).map_err(in_context(Context::Status))?;
    clouds.sort_by_key(|cloud| (cloud.name != "default", cloud.name.clone()));
    let view = |cloud: ostler_core::compute::CloudInfo| CloudView {
        host: cloud.health.and_then(Result::ok).and_then(|health| health.endpoint).unwrap_or_else(|| "127.0.0.1".into()),
        kind: cloud.description.map_or(cloud.driver, |description| description.provider.clone()),
        name: cloud.name,
    };
    Ok(ok(&Clouds { served_cloud: clouds.into_iter().map(view).collect(), status: OK }))
}

async fn start(here: &Here, who: &Principal, cloud: &str, input: &Input) -> Result<Response, Fault> {
    let body = input.object()?;
    schema::check(schema::START, &body).map_err(Fault::Schema)?;
    let key = idempotency::key(&input.parts.headers, "crs4:vm/start").map_err(|_| Fault::BadKey)?;
    let mut spec = NodeSpec::new(text(&body, "name")?, text(&body, "image")?, text(&body, "size")?);
    spec.key_name = body.get("keyname").and_then(Value::as_str).filter(|name| !name.is_empty()).map(str::to_owned);
    if let Some(Value::Object(metadata)) = body.get("metadata") {
        // Providers keep texts; what is none is kept as its JSON.
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        spec.metadata = metadata.iter().map(|(key, value)| (key.clone(), text(value))).collect();
    }
    let listed = here.app.core.compute.start_node(who, cloud, spec, key).await.map_err(in_context(Context::Start))?;
    Ok(ok(&Nodes { nodes: NodeView::new(&listed.node, &listed.driver), status: OK }))
}

async fn stop(here: &Here, who: &Principal, cloud: &str, input: &Input) -> Result<Response, Fault> {
    let body = input.object()?;
    schema::check(schema::STOP, &body).map_err(Fault::Schema)?;
    let (node, hostname) = (body.get("node").and_then(Value::as_str), body.get("hostname").and_then(Value::as_str));
    if node.is_none() && hostname.is_none() {
        return Err(Fault::NoTarget);
    }
    let id = here.app.core.compute.stop_node(who, cloud, node, hostname).await.map_err(in_context(Context::Stop))?;
    Ok(ok(&json!({ "result": format!("Node {id} deleted"), "status": OK })))
}

async fn action(here: &Here, who: &Principal, cloud: &str, action: &str, input: &Input) -> Result<Response, Fault> {
    let body = input.object()?;
    if !matches!(action, "assign" | "release") {
        return Err(Fault::NotImplemented("GET, HEAD"));
    }
    // The documentation's answer, for whoever asks for it: any true value, also the text "False".
    if body.get("emulate").is_some_and(is_true) {
        let (id, id_vm) = (Value::from(42), Value::from("-fake_id-"));
        return Ok(ok(&Assignment { id: &id, id_vm: &id_vm, result: "Node -fake_id- assigned", status: OK }));
    }
    let wanted = if action == "assign" { schema::ASSIGN } else { schema::RELEASE };
    schema::check(wanted, &body).map_err(Fault::Schema)?;
    let of = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    let target = Target { node: of("node"), hostname: of("hostname") };
    let compute = &here.app.core.compute;
    let assigned = if action == "assign" {
        compute.assign(who, cloud, &target, text(&body, "user")?, text(&body, "vm_type")?).await
    } else {
        compute.release(who, cloud, &target).await
    };
    let Assigned { id, id_vm, result } = assigned.map_err(in_context(Context::Assignment))?;
    Ok(ok(&Assignment { id: &id, id_vm: &id_vm, result: &result, status: OK }))
}

async fn vm_status(here: &Here, who: &Principal, cloud: &str) -> Result<Response, Fault> {
    let nodes = match here.app.core.compute.assignments(who, cloud).await {
        Ok(nodes) => nodes,
        // The original told nobody that it could not know.
        Err(error) if here.version == Version::V1 && !matches!(error, Error::Forbidden) => {
            tracing::warn!(cloud, %error, "assignments are not known");
            Vec::new()
        }
        Err(error) => return Err(Fault::Core(error, Context::Status)),
    };
    // None is an object in the original, and a list where lists are meant.
    let nodes = match (nodes.is_empty(), here.version) {
        (true, Version::V1) => json!({}),
        _ => nodes.iter().map(ostler_core::compute::NodeAssignment::to_value).collect(),
    };
    Ok(ok(&json!({ "nodes": nodes, "status": OK })))
}

async fn log_in(here: &Here, peer: &PeerInfo, input: &Input) -> Result<Response, Fault> {
    auth::takes_passwords(&here.app, peer, &input.parts.headers).map_err(in_context(Context::Authentication))?;
    let refused = || Fault::Core(Error::Unauthenticated, Context::Authentication);
    let Value::Object(body) = input.json()? else { return Err(refused()) };
    let (Some(user), Some(password)) =
        (body.get("username").and_then(Value::as_str), body.get("password").and_then(Value::as_str))
    else {
        return Err(refused());
    };
    let issued = here.app.core.identity.log_in(user, &password.into(), peer.addr.ip()).await;
    let issued = issued.map_err(in_context(Context::Authentication))?;
    Ok(ok(&json!({ "status": OK, "status_code": 200, "token": issued.secret.expose_secret() })))
}

/// A text that the schema has found to be there.
fn text<'a>(body: &'a Map<String, Value>, name: &str) -> Result<&'a str, Fault> {
    let text = body.get(name).and_then(Value::as_str).unwrap_or_default();
    if text.len() > LONGEST {
        return Err(Fault::Schema(format!("{name} should have at most {LONGEST} bytes")));
    }
    if text.contains('\0') {
        return Err(Fault::Schema(format!("{name} should not contain U+0000")));
    }
    Ok(text)
}

/// As Python sees it.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(b) => *b,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(s) => !s.is_empty(),
        Value::Array(a) => !a.is_empty(),
        Value::Object(o) => !o.is_empty(),
    }
}
