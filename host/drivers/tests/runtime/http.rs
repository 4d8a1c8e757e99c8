//! `wasi:http`: a driver reaches what its cloud's grant names, through the host's own client, and nothing else.

use crate::components::probe;
use crate::support::{Adjust, TestHost, kind, probing, provider};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::Redirect;
use axum::routing::get;
use ostler_drivers::{Cloud, ErrorKind};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const NODES: &str = r#"[{"id": "1", "name": "one"}]"#;
/// The cloud's time for one call, where the test is about it.
const CALL: Duration = Duration::from_millis(500);

/// A provider that counts how often it is called.
async fn counted(router: Router) -> (String, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let ours = Arc::clone(&count);
    let layer = axum::middleware::map_request(move |request: axum::extract::Request| {
        ours.fetch_add(1, Ordering::SeqCst);
        std::future::ready(request)
    });
    (provider(router.layer(layer)).await, count)
}

async fn cloud(host: &TestHost, url: &str, allowed: &[&str]) -> Arc<Cloud> {
    host.serve(probing(url, allowed), &probe()).await
}

#[tokio::test]
async fn an_allowed_origin_is_reached() {
    let host = TestHost::new();
    let (address, count) = counted(Router::new().route("/nodes", get(|| async { NODES }))).await;
    let cloud = cloud(&host, &format!("http://{address}/nodes"), &["127.0.0.1:1", &address]).await;
    assert_eq!(cloud.list_nodes().await.unwrap()[0].name, "one");
    let health = cloud.check().await.unwrap();
    let extra: serde_json::Value = serde_json::from_str(&health.extra).unwrap();
    assert_eq!(extra, serde_json::json!({"status": 200, "bytes": NODES.len()}));
    assert_eq!(count.load(Ordering::SeqCst), 3, "the check while loading, and these two");
}

/// The runtime keeps a resource of each request in the instance's table, which has room for four thousand.
#[tokio::test]
async fn an_instance_that_was_used_often_is_exchanged_before_its_table_is_full() {
    let host = TestHost::new();
    let (address, _) = counted(Router::new().route("/nodes", get(|| async { NODES }))).await;
    let settings = probing(&format!("http://{address}/nodes"), &[&address]);
    let settings = settings.limit(|limits| (limits.warm, limits.concurrency, limits.calls_per_instance) = (1, 1, u32::MAX));
    let cloud = host.serve(settings, &probe()).await;
    for number in 0..4_500 {
        let listed = cloud.list_nodes().await;
        assert_eq!(listed.as_ref().map(|nodes| nodes.len()).ok(), Some(1), "{number}: {:?}", listed.err());
    }
}

#[tokio::test]
async fn another_origin_is_not() {
    let host = TestHost::new();
    let (address, count) = counted(Router::new().route("/nodes", get(|| async { NODES }))).await;
    let port = address.rsplit_once(':').unwrap().1;
    let https: String = format!("https://{address}");
    for (url, allowed) in [
        (format!("http://{address}/nodes"), "http://127.0.0.1:1".to_owned()),
        (format!("http://{address}/nodes"), https),
        (format!("http://{address}/nodes"), format!("http://provider.example:{port}")),
        // The same machine by another name.
        (format!("http://localhost:{port}/nodes"), format!("http://{address}")),
        (format!("http://{address}/nodes"), format!("http://localhost:{port}")),
        (format!("http://2130706433:{port}/nodes"), format!("http://localhost:{port}")),
        (format!("http://127.1:{port}/nodes"), "http://127.0.0.2".to_owned()),
    ] {
        let mut settings = probing(&url, &[]);
        settings.grants.http = vec![allowed.parse().unwrap()];
        let cloud = host.serve(settings, &probe()).await;
        let error = cloud.list_nodes().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Failed, "{url} with {allowed}: {error}");
        assert_eq!(count.load(Ordering::SeqCst), 0, "{url} with {allowed}");
    }
}

/// A name that the operator allowed must not lead into the host itself.
#[tokio::test]
async fn a_name_that_leads_to_a_forbidden_address_is_not_reached() {
    let host = TestHost::new();
    let (address, count) = counted(Router::new().route("/", get(|| async { NODES }))).await;
    let port = address.rsplit_once(':').unwrap().1;
    // Resolved by the system without asking anybody, to a loopback address; it is not the name `localhost`.
    let name = format!("ostler.localhost:{port}");
    let cloud = cloud(&host, &format!("http://{name}/"), &[&name]).await;
    assert!(cloud.list_nodes().await.is_err());
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let host = TestHost::new();
    let (target, reached) = counted(Router::new().route("/nodes", get(|| async { NODES }))).await;
    let elsewhere = format!("http://{target}/nodes");
    let (address, asked) = counted(
        Router::new()
            .route("/away", get(move || std::future::ready(Redirect::temporary(&elsewhere))))
            .route("/near", get(|| async { Redirect::permanent("/nodes") }))
            .route("/nodes", get(|| async { NODES })),
    )
    .await;
    for path in ["away", "near"] {
        // Even where the target would be allowed, it is for the driver to decide.
        let cloud = cloud(&host, &format!("http://{address}/{path}"), &[&address, &target]).await;
        let before = asked.load(Ordering::SeqCst);
        let error = cloud.list_nodes().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Failed, "{error}");
        assert!(error.message.contains("30"), "{error}");
        assert_eq!(asked.load(Ordering::SeqCst), before + 1);
    }
    assert_eq!(reached.load(Ordering::SeqCst), 0);
}

/// A body that never ends: as slow as it likes, or as fast as it can.
#[tokio::test]
async fn an_endless_body_ends_at_the_deadline() {
    fn endless(pause: Duration, part: &'static [u8]) -> Body {
        Body::from_stream(futures::stream::unfold((), move |()| async move {
            tokio::time::sleep(pause).await;
            Some((Ok::<_, Infallible>(Bytes::from_static(part)), ()))
        }))
    }
    let host = TestHost::new();
    let broken = Arc::new(AtomicUsize::new(0));
    let (which, mode) = (Arc::clone(&broken), Arc::clone(&broken));
    let router = Router::new().route(
        "/",
        get(move || {
            let body = match which.load(Ordering::SeqCst) {
                0 => Body::from(NODES),
                1 => endless(Duration::from_millis(10), b" "),
                2 => endless(Duration::ZERO, &[b' '; 64 << 10]),
                // Not a byte.
                _ => endless(Duration::from_secs(3600), b""),
            };
            std::future::ready(body)
        }),
    );
    let address = provider(router).await;
    let settings = probing(&format!("http://{address}/"), &[&address]).limit(|limits| limits.call = CALL);
    let cloud = host.serve(settings, &probe()).await;
    // The SDK stops reading what is too long, unless the deadline is earlier.
    for (endless, expected) in
        [(1, &[ErrorKind::Deadline][..]), (2, &[ErrorKind::Failed, ErrorKind::Deadline]), (3, &[ErrorKind::Deadline])]
    {
        let mut quickest = Duration::MAX;
        // The machine may be busy with something else: one of three must be in time, all must be right.
        for _ in 0..3 {
            mode.store(endless, Ordering::SeqCst);
            let start = Instant::now();
            let error = cloud.list_nodes().await.unwrap_err();
            quickest = quickest.min(start.elapsed());
            // The driver's own time-out is no longer than the host's, and may come first.
            assert!(expected.contains(&error.kind), "{endless}: {error:?}");
            mode.store(0, Ordering::SeqCst);
            assert_eq!(cloud.list_nodes().await.unwrap().len(), 1, "the next call");
            if quickest < CALL + Duration::from_millis(250) {
                break;
            }
        }
        assert!(quickest < CALL + Duration::from_millis(250), "{quickest:?}");
    }
}

#[tokio::test]
async fn a_provider_s_refusals_have_their_class() {
    let host = TestHost::new();
    for (status, expected) in [
        (401, ErrorKind::Unauthorized),
        (403, ErrorKind::Forbidden),
        (404, ErrorKind::NotFound),
        (429, ErrorKind::Throttled),
        (500, ErrorKind::Transient),
        (503, ErrorKind::Transient),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let address = provider(Router::new().route("/", get(move || std::future::ready((status, "no"))))).await;
        let cloud = cloud(&host, &format!("http://{address}/"), &[&address]).await;
        assert_eq!(kind(cloud.list_nodes().await), expected);
    }
    // Nobody there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let cloud = cloud(&host, &format!("http://{free}/"), &[&free]).await;
    assert_eq!(kind(cloud.list_nodes().await), ErrorKind::Transient);
}
