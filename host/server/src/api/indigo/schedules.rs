//! Schedules: deployments of files, as they become known.

use super::errors::Fault;
use super::paging::{self, Paging, Properties};
use super::wire::{Link, Listing};
use super::wire_schedules::{EventView, ScheduleView};
use super::{Call, accept, answers, deployments, input, query};
use axum::response::Response;
use http::StatusCode;
use ostler_core::Error;
use ostler_core::deployments::Page;
use ostler_core::schedules::{Schedule, ScheduleError, ScheduleEventSort, ScheduleSort};
use serde_json::{Map, Value};

/// By what lists can be sorted, in the names that the original's records have.
const SORTED: Properties<ScheduleSort> = &[
    ("createdAt", ScheduleSort::CreatedAt),
    ("updatedAt", ScheduleSort::UpdatedAt),
    ("status", ScheduleSort::Status),
    ("fileExpression", ScheduleSort::FileExpression),
    ("id", ScheduleSort::Id),
];
const EVENTS_SORTED: Properties<ScheduleEventSort> = &[
    ("createdAt", ScheduleEventSort::CreatedAt),
    ("updatedAt", ScheduleEventSort::UpdatedAt),
    ("scope", ScheduleEventSort::Scope),
    ("name", ScheduleEventSort::Name),
    ("id", ScheduleEventSort::Id),
];

/// The address of a schedule. `base` is the dialect's.
pub(super) fn address(base: &str, id: &str) -> String {
    format!("{base}/schedules/{}", query::segment(id))
}

fn view<'s>(call: &Call<'_>, schedule: &'s Schedule) -> ScheduleView<'s> {
    ScheduleView::new(schedule, vec![Link { rel: "self", href: address(&call.base, &schedule.id) }])
}

fn page<S: Copy>(paging: &Paging<S>) -> Page<S> {
    let sort = paging.sort.iter().map(|order| (order.by, order.descending)).collect();
    Page { offset: paging.offset(), limit: paging.size, sort }
}

pub(super) async fn list(call: &Call<'_>) -> Result<Response, Fault> {
    let created_by = call.query.first("createdBy");
    let by = created_by.map(deployments::read_created_by).transpose()?;
    let paging = Paging::read(&call.query, SORTED, "DeploymentSchedule")?;
    let listed = call.app.core.schedules.list(&call.who, by.as_ref(), &page(&paging)).await;
    let (found, total) = listed.map_err(|error| match error {
        // In the client's words, whatever the core made of them.
        Error::Schedule(ScheduleError::OnlyAdministrators(_)) => {
            Error::Schedule(ScheduleError::OnlyAdministrators(created_by.unwrap_or_default().to_owned()))
        }
        other => other,
    })?;
    let list = format!("{}/schedules", call.base);
    let filters = [("createdBy", created_by)];
    Ok(answers::json(
        StatusCode::OK,
        &Listing {
            links: paging.links(&list, &filters, Some(paging::template(&list, &filters)), total),
            content: found.iter().map(|schedule| view(call, schedule)).collect(),
            page: paging.view(total),
        },
    ))
}

pub(super) async fn create(call: &Call<'_>, body: Map<String, Value>) -> Result<Response, Fault> {
    let mut order = input::order(body)?;
    order.submission.token = super::deployments::token(call);
    let key = call.key("indigo/schedules")?;
    let schedule = call.app.core.schedules.create(&call.who, order, key).await?;
    Ok(answers::json(StatusCode::CREATED, &view(call, &schedule)))
}

pub(super) async fn show(call: &Call<'_>) -> Result<Response, Fault> {
    let schedule = call.app.core.schedules.get(&call.who, call.id()).await?;
    Ok(answers::json(StatusCode::OK, &view(call, &schedule)))
}

/// Suspends or resumes. Ours: in the original only the database could be told.
pub(super) async fn change(call: &Call<'_>, body: Map<String, Value>) -> Result<Response, Fault> {
    let status = input::status(body)?;
    let schedule = call.app.core.schedules.set_status(&call.who, call.id(), status).await?;
    Ok(answers::json(StatusCode::OK, &view(call, &schedule)))
}

/// Ours, too.
pub(super) async fn delete(call: &Call<'_>) -> Result<Response, Fault> {
    call.app.core.schedules.delete(&call.who, call.id()).await?;
    Ok(answers::empty(StatusCode::NO_CONTENT))
}

/// What happened to one. Of one that there is not, as in the original, an empty page.
pub(super) async fn events(call: &Call<'_>) -> Result<Response, Fault> {
    let paging = Paging::read(&call.query, EVENTS_SORTED, "DeploymentScheduleEvent")?;
    let (found, total) = call.app.core.schedules.events(&call.who, call.id(), &page(&paging)).await?;
    let list = format!("{}/events", address(&call.base, call.id()));
    Ok(answers::json(
        StatusCode::OK,
        &Listing {
            links: paging.links(&list, &[], None, total),
            content: found.iter().map(EventView::new).collect(),
            page: paging.view(total),
        },
    ))
}

pub(super) async fn template(call: &Call<'_>) -> Result<Response, Fault> {
    let kind = accept::text(&call.headers)?;
    let schedule = call.app.core.schedules.get(&call.who, call.id()).await?;
    Ok(answers::text(kind, schedule.template))
}
