#![allow(clippy::unwrap_used)]
use super::*;
use axum::body::Body;
use axum::middleware::from_fn;
use http::StatusCode;
use http_body_util::BodyExt;
use ostler_core::identity::{Person, Role, Scheme};
use std::collections::BTreeSet;
use tower::ServiceExt;

/// What anybody may call.
const PUBLIC_ROUTES: [&str; 2] = ["/", "/info"];

#[test]
fn every_route_says_what_it_asks_for() {
    let mut seen = BTreeSet::new();
    for (row, _) in ROWS {
        assert!(seen.insert(row.path), "{} stands twice", row.path);
        assert!(!row.methods.is_empty(), "{}", row.path);
        for (method, access) in row.methods {
            let public = PUBLIC_ROUTES.contains(&row.path);
            assert_eq!(*access == Access::Public, public, "{method} {}", row.path);
            assert!(public || *access == Access::Needs(Permission::UseDeployments), "{method} {}", row.path);
        }
        assert_eq!(auth::access(row, &Method::OPTIONS), None, "{}: what is not listed is denied", row.path);
    }
    assert!(PUBLIC_ROUTES.iter().all(|path| seen.contains(path)));
}

/// The router's own conflicts show only when it is made.
#[tokio::test]
async fn every_path_leads_where_it_should() {
    let mut router = Router::new();
    for (path, route) in paths("").into_iter().chain(paths("/orchestrator")) {
        let name = route.map_or("nothing".to_owned(), |(_, endpoint)| format!("{endpoint:?}"));
        router = router.route(&path, any(move || async move { name }));
    }
    for (path, expected) in [
        ("/info", "Info"),
        ("/info/", "Info"),
        ("/info/x", "nothing"),
        ("/configuration/", "Configuration"),
        ("/configuration/x/y", "nothing"),
        ("/deployments", "Deployments"),
        ("/deployments/", "Deployments"),
        ("/deployments/7", "Deployment"),
        ("/deployments/7/", "Deployment"),
        ("/deployments/7/template/", "Template"),
        ("/deployments/7/log", "Log"),
        ("/deployments/7/extrainfo", "ExtraInfo"),
        ("/deployments/7/resources/", "Resources"),
        ("/deployments/7/resources/filter", "Filter"),
        ("/deployments/7/resources/r", "Resource"),
        ("/deployments/7/resources/r/actions/", "Actions"),
        ("/deployments/7/x", "nothing"),
        ("/deployments/7/template/x", "nothing"),
        ("/deployments/7/resources/r/x", "nothing"),
        ("/deployments/7/resources/r/actions/x", "nothing"),
        ("/schedules", "Schedules"),
        ("/schedules/", "Schedules"),
        ("/schedules/7", "Schedule"),
        ("/schedules/7/events/", "ScheduleEvents"),
        ("/schedules/7/template", "ScheduleTemplate"),
        ("/schedules/7/x", "nothing"),
        ("/schedules/7/events/x", "nothing"),
        ("/orchestrator", "Front"),
        ("/orchestrator/", "Front"),
        ("/orchestrator/deployments/7/template", "Template"),
        ("/orchestrator/deployments/7/x", "nothing"),
        ("/orchestrator/x/y/z", "nothing"),
        ("/orchestrator/schedules", "Schedules"),
        ("/orchestrator/schedules/7/x", "nothing"),
    ] {
        let request = http::Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(std::str::from_utf8(&body).unwrap(), expected, "{path}");
    }
    for path in ["/", "/x"] {
        let request = http::Request::get(path).body(Body::empty()).unwrap();
        assert_eq!(router.clone().oneshot(request).await.unwrap().status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[test]
fn changes_need_one_of_some_scopes_of_whoever_has_scopes() {
    let with = |scopes: Option<&[&str]>| {
        let scopes = scopes.map(|scopes| scopes.iter().map(|scope| (*scope).to_owned()).collect());
        let person = Person { issuer: "https://iss/".into(), subject: "s".into(), organisation: None, groups: None, scopes };
        Principal { person: Some(person), ..Principal::new("s", vec![Role::Customer], Scheme::Token) }
    };
    for (scopes, change, action) in [
        (None, true, true),
        (Some(&[][..]), false, false),
        (Some(&["openid", "profile"][..]), false, false),
        (Some(&["openid", "offline_access"][..]), true, true),
        (Some(&["fts:submit-transfer"][..]), true, false),
        (Some(&["offline_access "][..]), false, false),
    ] {
        assert_eq!(scope(Endpoint::Deployments, &with(scopes)).is_ok(), change, "{scopes:?}");
        assert_eq!(scope(Endpoint::Actions, &with(scopes)).is_ok(), action, "{scopes:?}");
    }
    let message = |endpoint| scope(endpoint, &with(Some(&[]))).unwrap_err().message.unwrap();
    assert!(scope(Endpoint::Schedules, &with(Some(&["openid"]))).is_err());
    assert!(message(Endpoint::Deployment).ends_with("scope=\"offline_access fts:submit-transfer\""));
    assert!(message(Endpoint::Actions).ends_with("scope=\"offline_access\""));
    assert!(scope(Endpoint::Actions, &Principal::open()).is_ok());
    Principal::open().require(Permission::UseDeployments).unwrap();
}

#[test]
fn methods_are_listed_for_those_who_choose_others() {
    let of = |path: &str| allowed(&ROWS.iter().find(|(row, _)| row.path == path).unwrap().0);
    assert_eq!(of("/deployments"), "GET, HEAD, POST");
    assert_eq!(of("/deployments/{id}"), "GET, HEAD, PUT, PATCH, DELETE");
    assert_eq!(of("/deployments/{id}/resources/{resource}/actions"), "POST");
    assert_eq!(of("/schedules/{id}"), "GET, HEAD, PATCH, DELETE");
}

#[tokio::test]
async fn failures_of_others_look_like_ours_and_requests_have_names() {
    let echo = |request: Request| async move {
        let id = request.headers()[REQUEST_ID].clone();
        let mut response = match request.uri().path() {
            "/fails" => Response::builder().status(504).body(Body::from("The request took too long.")).unwrap(),
            "/ours" => Fault::bad("so").response(),
            _ => answers::empty(StatusCode::NO_CONTENT),
        };
        response.headers_mut().insert(REQUEST_ID, id);
        response
    };
    let router = Router::new().fallback(echo).layer(from_fn(around));
    for (path, given, body) in [
        ("/", None, ""),
        ("/fails", None, "{\n  \"code\" : 504,\n  \"title\" : \"Gateway Timeout\"\n}"),
        ("/ours", Some("mine"), "{\n  \"code\" : 400,\n  \"title\" : \"Bad Request\",\n  \"message\" : \"so\"\n}"),
    ] {
        let mut request = http::Request::get(path);
        if let Some(given) = given {
            request = request.header(REQUEST_ID, given);
        }
        let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let id = response.headers()[REQUEST_ID].to_str().unwrap().to_owned();
        let shown = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(std::str::from_utf8(&shown).unwrap(), body);
        match given {
            Some(given) => assert_eq!(id, given),
            None => {
                let uuid: uuid::Uuid = id.strip_prefix("req-").unwrap().parse().unwrap();
                assert_eq!(uuid.get_version_num(), 4);
            }
        }
    }
}
