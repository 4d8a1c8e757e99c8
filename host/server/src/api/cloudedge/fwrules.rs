//! Forwarding rules.

use super::errors::Fault;
use super::input::wrapped;
use super::wire::{CreatedRule, Named, RuleItem, RuleView};
use super::{Call, empty, json};
use axum::response::Response;
use http::StatusCode;
use ostler_core::forwarding::{NewRule, Protocol};
use serde_json::Value;

pub(super) async fn list(call: &Call<'_>) -> Result<Response, Fault> {
    let instance = call.query.number("instance")?;
    let rules = call.app.core.forwarding.list(&call.who, call.cloud()?, instance).await?;
    let items: Vec<_> = rules.iter().map(|rule| RuleItem::new(rule, call.links())).collect();
    Ok(json(StatusCode::OK, &Named("fwrules", items)))
}

pub(super) async fn show(call: &Call<'_>) -> Result<Response, Fault> {
    let rule = call.app.core.forwarding.get(&call.who, call.cloud()?, call.id).await?;
    Ok(json(StatusCode::OK, &Named("fwrule", RuleView::new(&rule, call.links()))))
}

pub(super) async fn create(call: &Call<'_>, body: Option<Value>) -> Result<Response, Fault> {
    let members = wrapped(body, "fwrule")?;
    let instance = members.reference("instanceRef", &call.place("instances")?)?;
    let protocol = match members.text("protocol")? {
        None => Protocol::Tcp,
        Some(word) if word.eq_ignore_ascii_case("tcp") => Protocol::Tcp,
        Some(word) if word.eq_ignore_ascii_case("udp") => Protocol::Udp,
        Some(_) => return Err(Fault::bad("`fwrule.protocol` must be \"tcp\" or \"udp\"")),
    };
    let new = NewRule {
        cloud: call.cloud()?.to_owned(),
        instance,
        protocol,
        port_to: members.required_port("port_to")?,
        port_from: members.port("port_from")?,
    };
    let rule = call.app.core.forwarding.create(&call.who, new, call.key("cloudedge:fwrules")?).await?;
    let created = CreatedRule { id: rule.id, port_to: rule.port_to, port_from: rule.port_from };
    Ok(json(StatusCode::ACCEPTED, &Named("fwrule", created)))
}

pub(super) async fn delete(call: &Call<'_>) -> Result<Response, Fault> {
    call.app.core.forwarding.delete(&call.who, call.cloud()?, call.id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
