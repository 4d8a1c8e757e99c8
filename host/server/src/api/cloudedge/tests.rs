#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! The routes by themselves.

mod served;

use super::*;
use http_body_util::BodyExt;
use std::collections::BTreeSet;
use tower::ServiceExt;

#[test]
fn every_route_says_what_it_asks_for() {
    let mut seen = BTreeSet::new();
    for (row, endpoint) in ROWS {
        assert!(seen.insert(row.path), "{} stands twice", row.path);
        assert!(!row.methods.is_empty(), "{}", row.path);
        for (method, access) in row.methods {
            let Access::Needs(permission) = access else { panic!("{method} {} asks for {access:?}", row.path) };
            // What only reads, or only asks, is for everybody on the platform; and of themselves, users change some things.
            let reads = method.is_safe() || matches!(endpoint, Endpoint::Statistics | Endpoint::UserAction);
            assert_eq!(*permission == Permission::UseCatalogue, reads, "{method} {}", row.path);
        }
        for method in [Method::PUT, Method::PATCH, Method::OPTIONS] {
            assert_eq!(auth::access(row, &method), None, "{}: what is not listed is denied", row.path);
        }
    }
}

/// The router's own conflicts show only when it is made.
#[tokio::test]
async fn every_path_leads_where_it_should() {
    let mut router = Router::new();
    for (path, route) in paths("").into_iter().chain(paths("/edge/v1")) {
        let name = route.map_or("nothing".to_owned(), |(_, endpoint)| format!("{endpoint:?}"));
        router = router.route(&path, any(move || async move { name }));
    }
    for base in ["/cloudedge", "/lab/cloudedge", "/edge/v1/cloudedge", "/edge/v1/lab/cloudedge"] {
        for (path, expected) in [
            ("/version", "Version"),
            ("/platform/version", "Version"),
            ("/platform/resources", "Resources"),
            ("/platform", "nothing"),
            ("/images", "Images"),
            ("/images/7", "Image"),
            ("/images/7/x", "nothing"),
            ("/instances", "Instances"),
            ("/instances/7", "Instance"),
            ("/instances/7/action", "Action"),
            ("/instance/7", "nothing"),
            ("/instance/7/metrics", "Metrics"),
            ("/instances/7/metrics", "Metrics"),
            ("/instance/7/metrics/statistics", "Statistics"),
            ("/instances/7/metrics/statistics", "Statistics"),
            ("/fwrules", "Rules"),
            ("/fwrules/7", "Rule"),
            ("/users", "Users"),
            ("/users/7", "User"),
            ("/users/7/action", "UserAction"),
            ("", "nothing"),
            ("/x", "nothing"),
        ] {
            for slash in ["", "/"] {
                let request = http::Request::get(format!("{base}{path}{slash}")).body(Body::empty()).unwrap();
                let response = router.clone().oneshot(request).await.unwrap();
                let body = response.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(std::str::from_utf8(&body).unwrap(), expected, "{base}{path}{slash}");
            }
        }
    }
}

#[tokio::test]
async fn failures_of_others_look_like_ours() {
    let echo = |request: Request| async move {
        match request.uri().path() {
            "/late" => Response::builder().status(504).header("x-request-id", "7").body(Body::from("too long")).unwrap(),
            "/broken" => Response::builder().status(500).body(Body::from("broken")).unwrap(),
            "/ours" => Fault::bad("so").response(),
            _ => empty(StatusCode::NO_CONTENT),
        }
    };
    let router = Router::new().fallback(echo).layer(axum::middleware::from_fn(around));
    for (path, status, name) in
        [("/", 204, ""), ("/late", 503, "serviceUnavailable"), ("/broken", 500, "computeFault"), ("/ours", 400, "badRequest")]
    {
        let response = router.clone().oneshot(http::Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{path}");
        assert_eq!(response.headers().contains_key("x-request-id"), path == "/late");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(std::str::from_utf8(&body).unwrap().contains(name), "{path}");
    }
}
