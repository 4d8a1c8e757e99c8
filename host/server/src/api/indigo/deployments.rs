//! Deployments.

use super::errors::{Fault, illegal_creator};
use super::paging::{self, Paging, Properties};
use super::wire::{self, DeploymentView, Link, Listing};
use super::{Call, accept, answers, credentials, input, query};
use axum::response::Response;
use http::StatusCode;
use ostler_core::Error;
use ostler_core::deployments::{CreatedBy, Deployment, DeploymentError, DeploymentSort, Page};
use ostler_core::identity::Credentials;
use secrecy::SecretString;
use serde_json::{Map, Value};

/// By what lists can be sorted, in the names that the original's records have.
const SORTED: Properties<DeploymentSort> = &[
    ("createdAt", DeploymentSort::CreatedAt),
    ("updatedAt", DeploymentSort::UpdatedAt),
    ("status", DeploymentSort::Status),
    ("task", DeploymentSort::Task),
    ("id", DeploymentSort::Id),
];

/// What leads on from a deployment. `base` is the dialect's address.
pub(super) fn links(base: &str, id: &str) -> Vec<Link> {
    let own = address(base, id);
    let link = |rel, below: &str| Link { rel, href: format!("{own}{below}") };
    vec![link("self", ""), link("resources", "/resources"), link("template", "/template")]
}

/// The address of a deployment.
pub(super) fn address(base: &str, id: &str) -> String {
    format!("{base}/deployments/{}", query::segment(id))
}

fn view<'d>(call: &Call<'_>, deployment: &'d Deployment) -> DeploymentView<'d> {
    DeploymentView::new(deployment, links(&call.base, &deployment.id))
}

pub(super) async fn list(call: &Call<'_>) -> Result<Response, Fault> {
    let created_by = call.query.first("createdBy");
    let by = created_by.map(read_created_by).transpose()?;
    let group = call.query.filled("userGroup");
    let paging = Paging::read(&call.query, SORTED, "Deployment")?;
    let sort = paging.sort.iter().map(|order| (order.by, order.descending)).collect();
    let page = Page { offset: paging.offset(), limit: paging.size, sort };
    let listed = call.app.core.deployments.list(&call.who, by.as_ref(), group, &page).await;
    let (found, total) = listed.map_err(|error| match error {
        // In the client's words, whatever the core made of them.
        Error::Deployment(DeploymentError::OnlyAdministrators(_)) => {
            Error::Deployment(DeploymentError::OnlyAdministrators(created_by.unwrap_or_default().to_owned()))
        }
        other => other,
    })?;
    let list = format!("{}/deployments", call.base);
    let filters = [("createdBy", created_by), ("userGroup", group)];
    Ok(answers::json(
        StatusCode::OK,
        &Listing {
            links: paging.links(&list, &filters, Some(paging::template(&list, &filters)), total),
            content: found.iter().map(|deployment| view(call, deployment)).collect(),
            page: paging.view(total),
        },
    ))
}

/// `me`, or a subject and an issuer.
pub(super) fn read_created_by(text: &str) -> Result<CreatedBy, Fault> {
    if text == "me" {
        return Ok(CreatedBy::Me);
    }
    match text.split_once('@') {
        Some((subject, issuer)) if !subject.is_empty() && !issuer.is_empty() && !issuer.contains('@') => {
            Ok(CreatedBy::Somebody { subject: subject.to_owned(), issuer: issuer.to_owned() })
        }
        _ => Err(Fault::bad(illegal_creator(text))),
    }
}

/// The token of an issuer that was shown. Those of our own mean nothing to others.
pub(super) fn token(call: &Call<'_>) -> Option<SecretString> {
    match credentials::shown(&call.headers, &call.query) {
        Ok(Some(Credentials::Token(token))) if call.who.person.is_some() => Some(token),
        _ => None,
    }
}

pub(super) async fn create(call: &Call<'_>, body: Map<String, Value>) -> Result<Response, Fault> {
    let mut submission = input::submission(body, "createDeployment")?;
    submission.token = token(call);
    let key = call.key("indigo/deployments")?;
    let deployment = call.app.core.deployments.create(&call.who, submission, key).await?;
    Ok(answers::json(StatusCode::CREATED, &view(call, &deployment)))
}

pub(super) async fn show(call: &Call<'_>) -> Result<Response, Fault> {
    let deployment = call.app.core.deployments.get(&call.who, call.id()).await?;
    Ok(answers::json(StatusCode::OK, &view(call, &deployment)))
}

/// Answers with the deployment, where the original had nothing to say: its own clients break down over nothing.
pub(super) async fn update(call: &Call<'_>, body: Map<String, Value>) -> Result<Response, Fault> {
    let submission = input::submission(body, "updateDeployment")?;
    let deployment = call.app.core.deployments.update(&call.who, call.id(), submission).await?;
    Ok(answers::json(StatusCode::ACCEPTED, &view(call, &deployment)))
}

pub(super) async fn reset(call: &Call<'_>, body: Map<String, Value>) -> Result<Response, Fault> {
    input::reset(body)?;
    call.app.core.deployments.reset(&call.who, call.id()).await?;
    Ok(answers::empty(StatusCode::NO_CONTENT))
}

pub(super) async fn delete(call: &Call<'_>) -> Result<Response, Fault> {
    let force = match call.query.filled("force") {
        None => false,
        Some(text) => read_flag(text).ok_or_else(|| Fault::bad(format!("Value {text} for param force is illegal")))?,
    };
    call.app.core.deployments.delete(&call.who, call.id(), force).await?;
    Ok(answers::empty(StatusCode::NO_CONTENT))
}

/// The words that the original's framework takes for true and false.
fn read_flag(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Some(true),
        "false" | "off" | "no" | "0" => Some(false),
        _ => None,
    }
}

pub(super) async fn template(call: &Call<'_>) -> Result<Response, Fault> {
    let kind = accept::text(&call.headers)?;
    let deployment = call.app.core.deployments.get(&call.who, call.id()).await?;
    Ok(answers::text(kind, deployment.template))
}

pub(super) async fn log(call: &Call<'_>) -> Result<Response, Fault> {
    let kind = accept::text(&call.headers)?;
    let deployment = call.app.core.deployments.own(&call.who, call.id()).await?;
    Ok(answers::text(kind, deployment.log))
}

pub(super) async fn extra_info(call: &Call<'_>) -> Result<Response, Fault> {
    let kind = accept::text(&call.headers)?;
    let machines = call.app.core.deployments.machines(&call.who, call.id()).await?;
    Ok(answers::text(kind, wire::extra_info(machines)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn whose_deployments() {
        let somebody =
            |subject: &str, issuer: &str| CreatedBy::Somebody { subject: subject.to_owned(), issuer: issuer.to_owned() };
        assert_eq!(read_created_by("me").unwrap(), CreatedBy::Me);
        assert_eq!(read_created_by("s@https://iss/").unwrap(), somebody("s", "https://iss/"));
        for illegal in ["", "x", "@", "s@", "@i", "a@b@c", "ME"] {
            let fault = read_created_by(illegal).unwrap_err();
            assert_eq!(fault.status, StatusCode::BAD_REQUEST);
            assert_eq!(fault.message.unwrap(), format!("Value {illegal} for param createdBy is illegal"));
        }
    }

    #[test]
    fn flags() {
        for (text, expected) in [("true", Some(true)), ("False", Some(false)), ("1", Some(true)), ("2", None), ("force", None)] {
            assert_eq!(read_flag(text), expected, "{text}");
        }
    }
}
