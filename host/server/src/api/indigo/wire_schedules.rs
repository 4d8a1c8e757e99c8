//! The shapes of answers about schedules. Members stand in the original's order; those that have no value are left out.

use super::wire::{CreatedBy, DeploymentView, Link, time};
use ostler_core::schedules::{ExpressionSyntax, Schedule, ScheduleEvent};
use serde::Serialize;

/// A schedule.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ScheduleView<'s> {
    uuid: &'s str,
    creation_time: String,
    update_time: String,
    status: &'static str,
    replication_expression: &'s str,
    file_expression: &'s str,
    /// Ours, where it is not what the original has.
    #[serde(skip_serializing_if = "Option::is_none")]
    file_expression_syntax: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    callback: Option<&'s str>,
    number_of_replicas: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by: Option<CreatedBy<'s>>,
    links: Vec<Link>,
}

/// What happened to a schedule. `replicationStatus` comes with whoever sees to replicas.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventView<'e> {
    uuid: &'e str,
    creation_time: String,
    update_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    deployment: Option<DeploymentView<'e>>,
    scope: &'e str,
    name: &'e str,
    /// Ours: why there is no deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    status_reason: Option<&'e str>,
    links: Vec<Link>,
}

impl<'s> ScheduleView<'s> {
    pub(super) fn new(schedule: &'s Schedule, links: Vec<Link>) -> Self {
        let syntax = Some(schedule.syntax).filter(|syntax| *syntax != ExpressionSyntax::Regex);
        Self {
            uuid: &schedule.id,
            creation_time: time(schedule.created_at),
            update_time: time(schedule.updated_at),
            status: schedule.status.as_str(),
            replication_expression: &schedule.replication_expression,
            file_expression: &schedule.file_expression,
            file_expression_syntax: syntax.map(ExpressionSyntax::as_str),
            callback: schedule.callback.as_deref(),
            number_of_replicas: schedule.replicas,
            created_by: schedule.owner.as_ref().map(CreatedBy::new),
            links,
        }
    }
}

impl<'e> EventView<'e> {
    pub(super) fn new(event: &'e ScheduleEvent) -> Self {
        Self {
            uuid: &event.id,
            creation_time: time(event.created_at),
            update_time: time(event.updated_at),
            // Neither has links, as in the original.
            deployment: event.deployment.as_ref().map(|deployment| DeploymentView::new(deployment, Vec::new())),
            scope: &event.scope,
            name: &event.name,
            status_reason: event.reason.as_deref(),
            links: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::indigo::jackson;
    use crate::api::indigo::paging::{Paging, template};
    use crate::api::indigo::query::Query;
    use crate::api::indigo::schedules::address;
    use crate::api::indigo::wire::Listing;
    use crate::api::indigo::wire::tests::deployment;
    use ostler_core::deployments::Owner;
    use ostler_core::schedules::{ScheduleEventState, ScheduleStatus};
    use serde_json::json;

    /// 2021-08-24, 18:15 and 59 seconds.
    const TIME: i64 = 1_629_828_959_999_999;
    const ISSUER: &str = "https://iam-test.indigo-datacloud.eu/";
    const SUBJECT: &str = "e56142e2-2c9d-4055-a315-4f6993109b90";
    const BASE: &str = "http://localhost:8080";

    fn schedule(id: &str, callback: &str) -> Schedule {
        Schedule {
            id: id.to_owned(),
            owner: None,
            user_group: None,
            status: ScheduleStatus::Running,
            file_expression: "scope:name*".to_owned(),
            syntax: ExpressionSyntax::Regex,
            replication_expression: "RSE_RECAS".to_owned(),
            replicas: 1,
            callback: Some(callback.to_owned()),
            max_attempts: None,
            timeout: None,
            attempt_timeout: None,
            keep_last_attempt: false,
            template: String::new(),
            parameters: json!({}),
            created_at: TIME,
            updated_at: TIME,
        }
    }

    fn event(id: &str, deployed: &str) -> ScheduleEvent {
        ScheduleEvent {
            id: id.to_owned(),
            schedule: "mmd34483-d937-4578-bfdb-ebe196bf82dd".to_owned(),
            scope: "file-scope".to_owned(),
            name: "file-name".to_owned(),
            state: ScheduleEventState::Deployed,
            deployment_id: Some(deployed.to_owned()),
            deployment: Some(deployment(deployed)),
            reason: None,
            created_at: TIME,
            updated_at: TIME,
        }
    }

    fn shown(schedule: &Schedule) -> ScheduleView<'_> {
        ScheduleView::new(schedule, vec![Link { rel: "self", href: address(BASE, &schedule.id) }])
    }

    fn text<T: Serialize>(value: &T) -> String {
        String::from_utf8(jackson::write(value)).unwrap()
    }

    /// The lengths are those of the original's documentation.
    #[test]
    fn schedules_have_the_bytes_of_the_original() {
        let created = text(&shown(&schedule("c1d125da-9dc5-47c9-a436-5b276c35f543", "http://localhost:8080/callback")));
        let expected = r#"{
  "uuid" : "c1d125da-9dc5-47c9-a436-5b276c35f543",
  "creationTime" : "2021-08-24T18:15+0000",
  "updateTime" : "2021-08-24T18:15+0000",
  "status" : "RUNNING",
  "replicationExpression" : "RSE_RECAS",
  "fileExpression" : "scope:name*",
  "callback" : "http://localhost:8080/callback",
  "numberOfReplicas" : 1,
  "links" : [ {
    "rel" : "self",
    "href" : "http://localhost:8080/schedules/c1d125da-9dc5-47c9-a436-5b276c35f543"
  } ]
}"#;
        assert_eq!((created.as_str(), created.len()), (expected, 442));
        assert_eq!(text(&shown(&schedule("mmd34483-d937-4578-bfdb-ebe196bf82dd", "http://localhost"))).len(), 428);
    }

    #[test]
    fn lists_have_the_bytes_of_the_original() {
        let owner = Owner { user_id: None, issuer: ISSUER.to_owned(), subject: SUBJECT.to_owned(), organisation: None };
        let owned = |id| Schedule { owner: Some(owner.clone()), ..schedule(id, "http://localhost") };
        let running = owned("7793701f-fc8b-4ebc-9e7a-ed242dd7ecb8");
        let suspended = Schedule { status: ScheduleStatus::Suspended, ..owned("31d09261-e369-44ed-b29e-8372bd78a9d7") };
        let by = format!("{SUBJECT}@{ISSUER}");
        let list = format!("{BASE}/schedules");
        let filters = [("createdBy", Some(by.as_str()))];
        let paging = Paging::read(&Query::default(), &[("createdAt", ())], "DeploymentSchedule").unwrap();
        let listing = Listing {
            links: paging.links(&list, &filters, Some(template(&list, &filters)), 2),
            content: vec![shown(&running), shown(&suspended)],
            page: paging.view(2),
        };
        let shown = text(&listing);
        assert!(shown.contains(&format!("\"href\" : \"{list}?createdBy={by}\"\n")), "{shown}");
        assert_eq!(shown.len(), 1492);
        assert_eq!(template(&list, &[("createdBy", None)]), format!("{list}{{?createdBy}}"));
    }

    /// But for the state of replicas, of which nobody here knows.
    #[test]
    fn events_have_the_bytes_of_the_original() {
        const REPLICATION: &str = "    \"replicationStatus\" : \"REPLICATING\",\n";
        let first = event("5d6e3b3c-2104-45bc-ae4c-2df8e26b7ff1", "42c921b3-8fe3-4d57-bcf2-5de05fde9df0");
        let second = event("caaa3946-e872-4471-8326-2b23a20b559f", "6c9ecee9-d458-4c93-b0c0-8a3ebd6be98b");
        let list = format!("{}/events", address(BASE, &first.schedule));
        let paging = Paging::read(&Query::default(), &[("createdAt", ())], "DeploymentScheduleEvent").unwrap();
        let listing = Listing {
            links: paging.links(&list, &[], None, 2),
            content: vec![EventView::new(&first), EventView::new(&second)],
            page: paging.view(2),
        };
        let shown = text(&listing);
        assert!(shown.contains(&format!("\"href\" : \"{list}?page=0&size=10&sort=createdAt,desc\"")), "{shown}");
        assert!(shown.contains(
            "\"links\" : [ ]\n    },\n    \"scope\" : \"file-scope\",\n    \"name\" : \"file-name\",\n    \"links\" : [ ]"
        ));
        assert_eq!(shown.len() + 2 * REPLICATION.len(), 1456);
    }

    #[test]
    fn what_is_ours_shows_where_it_differs() {
        let glob = Schedule { syntax: ExpressionSyntax::Glob, callback: None, ..schedule("s", "") };
        assert_eq!(
            serde_json::to_string(&ScheduleView::new(&glob, Vec::new())).unwrap(),
            r#"{"uuid":"s","creationTime":"2021-08-24T18:15+0000","updateTime":"2021-08-24T18:15+0000","status":"RUNNING","#
                .to_owned()
                + r#""replicationExpression":"RSE_RECAS","fileExpression":"scope:name*","fileExpressionSyntax":"glob","#
                + r#""numberOfReplicas":1,"links":[]}"#
        );
        let failed = ScheduleEvent { deployment: None, reason: Some("why".to_owned()), ..event("e", "d") };
        assert_eq!(
            serde_json::to_string(&EventView::new(&failed)).unwrap(),
            r#"{"uuid":"e","creationTime":"2021-08-24T18:15+0000","updateTime":"2021-08-24T18:15+0000","scope":"file-scope","#
                .to_owned()
                + r#""name":"file-name","statusReason":"why","links":[]}"#
        );
    }
}
