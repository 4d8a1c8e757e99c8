//! Resources: what a deployment consists of.

use super::errors::Fault;
use super::paging::{Paging, Properties};
use super::wire::{Link, Listing, PageView, ResourceView};
use super::{Call, answers, deployments, input, query};
use axum::response::Response;
use http::StatusCode;
use ostler_core::Error;
use ostler_core::deployments::{DeploymentError, Resource};
use serde_json::{Map, Value};
use std::cmp::Ordering;

/// By what lists can be sorted.
type Comparison = fn(&Resource, &Resource) -> Ordering;
const SORTED: Properties<Comparison> = &[
    ("createdAt", |a, b| a.created_at.cmp(&b.created_at)),
    ("updatedAt", |a, b| a.updated_at.cmp(&b.updated_at)),
    ("state", |a, b| a.state.as_str().cmp(b.state.as_str())),
    ("toscaNodeName", |a, b| a.node.cmp(&b.node)),
    ("toscaNodeType", |a, b| a.type_name.cmp(&b.type_name)),
    ("physicalId", |a, b| a.physical_id.cmp(&b.physical_id)),
    ("id", |a, b| a.id.cmp(&b.id)),
];

/// What leads on from a resource. `base` is the dialect's address.
pub(super) fn links(base: &str, resource: &Resource) -> Vec<Link> {
    let deployment = deployments::address(base, &resource.deployment);
    let own = format!("{deployment}/resources/{}", query::segment(&resource.id));
    vec![Link { rel: "deployment", href: deployment }, Link { rel: "self", href: own }]
}

fn views<'r>(call: &Call<'_>, resources: &'r [Resource]) -> Vec<ResourceView<'r>> {
    resources.iter().map(|resource| ResourceView::new(resource, links(&call.base, resource))).collect()
}

pub(super) async fn list(call: &Call<'_>) -> Result<Response, Fault> {
    let kind = call.query.filled("type");
    let mut paging = Paging::read(&call.query, SORTED, "Resource")?;
    let mut found = call.app.core.deployments.resources(&call.who, call.id(), kind).await?;
    sort(&mut found, &paging);
    let list = format!("{}/resources", deployments::address(&call.base, call.id()));
    let page = page(&mut found, &mut paging, kind.is_some());
    Ok(answers::json(
        StatusCode::OK,
        &Listing { links: paging.links(&list, &[("type", kind)], None, page.total_elements), content: views(call, &found), page },
    ))
}

/// In the order that is asked for; what is alike stays in the order of the template.
fn sort(resources: &mut [Resource], paging: &Paging<Comparison>) {
    resources.sort_by(|a, b| {
        let mut orders = paging.sort.iter().map(|order| {
            let ordering = (order.by)(a, b);
            if order.descending { ordering.reverse() } else { ordering }
        });
        orders.find(|ordering| ordering.is_ne()).unwrap_or(Ordering::Equal)
    });
}

/// Cuts the page out. With a type, the original's clients get all in one, and so it is one.
fn page(resources: &mut Vec<Resource>, paging: &mut Paging<Comparison>, whole: bool) -> PageView {
    if whole {
        paging.number = 0;
        paging.size = paging.size.max(u32::try_from(resources.len()).unwrap_or(u32::MAX));
    }
    let view = paging.view(resources.len() as u64);
    let offset = usize::try_from(paging.offset()).unwrap_or(usize::MAX).min(resources.len());
    resources.drain(..offset);
    resources.truncate(usize::try_from(paging.size).unwrap_or(usize::MAX));
    view
}

/// Those of a type, without pages.
pub(super) async fn filter(call: &Call<'_>) -> Result<Response, Fault> {
    let problem = |what: &str| Fault::bad(format!("Required String parameter 'type' {what}"));
    let kind = match call.query.first("type") {
        None => return Err(problem("is not present")),
        Some("") => return Err(problem("cannot be empty")),
        Some(kind) => kind,
    };
    let found = call.app.core.deployments.resources(&call.who, call.id(), Some(kind)).await?;
    Ok(answers::json(StatusCode::OK, &views(call, &found)))
}

pub(super) async fn show(call: &Call<'_>) -> Result<Response, Fault> {
    let resource = call.app.core.deployments.resource(&call.who, call.id(), call.resource()).await?;
    Ok(answers::json(StatusCode::OK, &ResourceView::new(&resource, links(&call.base, &resource))))
}

/// Starts or stops a machine.
pub(super) async fn act(call: &Call<'_>, body: Map<String, Value>) -> Result<Response, Fault> {
    let action = input::action(body)?;
    let done = call.app.core.deployments.act(&call.who, call.id(), call.resource(), action).await;
    done.map_err(|error| match error {
        // Nothing to look at, elsewhere; here, nothing to do.
        Error::Deployment(DeploymentError::NoResource { deployment, resource }) => {
            Fault::bad(format!("Resource {resource} not found in deployment {deployment}"))
        }
        error => error.into(),
    })?;
    Ok(answers::empty(StatusCode::ACCEPTED))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::query::Query;
    use super::*;
    use ostler_core::deployments::ResourceState;
    use serde_json::json;

    fn resource(number: u32) -> Resource {
        Resource {
            id: format!("r{number:02}"),
            deployment: "d".to_owned(),
            position: number,
            node: format!("node_{}", number % 3),
            type_name: "tosca.nodes.Compute".to_owned(),
            ancestors: Vec::new(),
            state: if number == 1 { ResourceState::Started } else { ResourceState::Creating },
            cloud: None,
            token: None,
            physical_id: None,
            attributes: json!({}),
            required_by: Vec::new(),
            created_at: 7,
            updated_at: i64::from(number),
        }
    }

    fn shown(query: &str, count: u32, whole: bool) -> (String, PageView) {
        let mut paging = Paging::read(&Query::new(Some(query)), SORTED, "Resource").unwrap();
        let mut all: Vec<_> = (0..count).map(resource).collect();
        sort(&mut all, &paging);
        let view = page(&mut all, &mut paging, whole);
        (all.iter().map(|resource| resource.position.to_string()).collect::<Vec<_>>().join(" "), view)
    }

    #[test]
    fn pages_are_cut_from_what_is_sorted() {
        for (query, count, whole, expected, view) in [
            ("", 3, false, "0 1 2", (10, 3, 1, 0)),
            ("size=2&page=1", 5, false, "2 3", (2, 5, 3, 1)),
            ("size=2&page=2", 5, false, "4", (2, 5, 3, 2)),
            ("size=2&page=9", 5, false, "", (2, 5, 3, 9)),
            ("sort=updatedAt,desc", 3, false, "2 1 0", (10, 3, 1, 0)),
            ("sort=toscaNodeName&sort=id,desc", 6, false, "3 0 4 1 5 2", (10, 6, 1, 0)),
            ("sort=state,desc", 3, false, "1 0 2", (10, 3, 1, 0)),
            ("size=2&page=1", 5, true, "0 1 2 3 4", (5, 5, 1, 0)),
            ("", 0, true, "", (10, 0, 0, 0)),
        ] {
            let (shown, page) = shown(query, count, whole);
            let page = (page.size, page.total_elements, page.total_pages, page.number);
            assert_eq!((shown.as_str(), page), (expected, view), "{query} of {count}");
        }
    }
}
