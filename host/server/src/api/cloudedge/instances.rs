//! Instances.

use super::errors::Fault;
use super::input::{action, wrapped};
use super::wire::{InstanceView, Named, Reference};
use super::{Call, empty, json};
use axum::response::Response;
use http::StatusCode;
use ostler_core::instances::NewInstance;
use serde_json::Value;

/// Characters of the longest name.
const LONGEST_NAME: usize = 255;

pub(super) async fn list(call: &Call<'_>) -> Result<Response, Fault> {
    let image = call.query.number("image")?;
    let instances = call.app.core.instances.list(&call.who, call.cloud()?, image).await?;
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
    let new = NewInstance { cloud: call.cloud()?.to_owned(), image, name, size, ..NewInstance::default() };
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
