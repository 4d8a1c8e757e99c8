//! Instances.

use super::errors::Fault;
use super::input::{action, wrapped};
use super::platform::is_driver;
use super::wire::{InstanceView, Named, Reference};
use super::{Call, empty, json};
use axum::response::Response;
use http::StatusCode;
use ostler_core::instances::NewInstance;
use serde_json::Value;

/// Characters of the longest name.
const LONGEST_NAME: usize = 255;
/// Bytes of user data, public keys, and bytes of one of them, at most.
const MOST_DATA: usize = 64 << 10;
const MOST_KEYS: usize = 32;
const LONGEST_KEY: usize = 16 << 10;

pub(super) async fn list(call: &Call<'_>) -> Result<Response, Fault> {
    let image = call.query.number("image")?;
    let instances = call.app.core.instances.list(&call.who, call.cloud()?, image).await?;
    if is_driver(call) {
        let items: Vec<_> = instances.iter().map(|instance| InstanceView::new(instance, call.links())).collect();
        return Ok(json(StatusCode::OK, &Named("instances", items)));
    }
    let items: Vec<_> = instances.iter().map(|instance| Reference::instance(instance, call.links())).collect();
    Ok(json(StatusCode::OK, &Named("instances", items)))
}

/// Under the name that the specification's example has, which is the list's.
pub(super) async fn show(call: &Call<'_>) -> Result<Response, Fault> {
    let instance = call.app.core.instances.get(&call.who, call.cloud()?, call.id).await?;
    Ok(json(StatusCode::OK, &Named("instances", InstanceView::new(&instance, call.links()))))
}

pub(super) async fn create(call: &Call<'_>, body: Option<Value>) -> Result<Response, Fault> {
    let members = wrapped(body, "instance")?;
    let image = members.reference("imageRef", &call.place("images")?)?;
    let name = members.text("name")?.map(str::to_owned);
    let unfit = |name: &String| name.is_empty() || name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control);
    if name.as_ref().is_some_and(unfit) {
        return Err(Fault::bad(format!("`instance.name` must have 1 to {LONGEST_NAME} characters and no control characters")));
    }
    let size = match members.word("flavor")? {
        Some(flavor) => Some(flavor),
        None => members.word("size")?,
    };
    // Not in the text: what other platforms need that order machines here.
    let (user_data, ssh_keys) = (members.bytes("user_data")?, members.texts("ssh_keys")?);
    let fits = |key: &String| !key.is_empty() && key.len() <= LONGEST_KEY && !key.chars().any(char::is_control);
    if user_data.as_ref().is_some_and(|data| data.len() > MOST_DATA) || ssh_keys.len() > MOST_KEYS || !ssh_keys.iter().all(fits) {
        let limits = format!("{MOST_DATA} bytes of user data and {MOST_KEYS} keys of {LONGEST_KEY} bytes");
        return Err(Fault::bad(format!("an instance has at most {limits}")));
    }
    let new = NewInstance { cloud: call.cloud()?.to_owned(), image, name, size, user_data, ssh_keys };
    let instance = call.app.core.instances.create(&call.who, new, call.key("cloudedge:instances")?).await?;
    Ok(json(StatusCode::ACCEPTED, &Named("instance", InstanceView::created(&instance, call.links()))))
}

pub(super) async fn act(call: &Call<'_>, body: Option<Value>) -> Result<Response, Fault> {
    let action = action(body)?;
    call.app.core.instances.act(&call.who, call.cloud()?, call.id, action).await?;
    Ok(empty(StatusCode::ACCEPTED))
}

pub(super) async fn delete(call: &Call<'_>) -> Result<Response, Fault> {
    call.app.core.instances.delete(&call.who, call.cloud()?, call.id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
