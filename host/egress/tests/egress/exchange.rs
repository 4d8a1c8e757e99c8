//! What is sent and what comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{HeaderMap, Method, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use ostler_egress::{Client, ClientConfig, Error, RequestBody, empty, full};
use serde_json::json;

use crate::support::{Server, get, hello, within};

/// Answers with what it has received: method, target and header fields in the head, the body as the body.
async fn echo(request: Request<Incoming>) -> Response<RequestBody> {
    let (head, body) = request.into_parts();
    let mut response = Response::new(full(body.collect().await.unwrap().to_bytes()));
    for (name, value) in &head.headers {
        response.headers_mut().append(http::HeaderName::try_from(format!("echo-{name}")).unwrap(), value.clone());
    }
    response.headers_mut().insert("method", head.method.as_str().parse().unwrap());
    response.headers_mut().insert("target", head.uri.to_string().parse().unwrap());
    response
}

#[tokio::test]
async fn connections_are_reused() {
    let server = Server::start(hello).await;
    let client = Client::new("test", &server.config()).unwrap();
    for _ in 0..10 {
        let body = within(client.send(get(&server.url("/")))).await.unwrap().into_body();
        assert_eq!(within(body.bytes(100)).await.unwrap(), "hello");
    }
    assert_eq!(server.accepted(), 1);
}

/// Drivers run on threads of their own: their runtimes come and go, and need no timers for us.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn connections_outlive_the_runtime_of_a_caller() {
    let server = Server::start(hello).await;
    let client = Client::new("test", &server.config()).unwrap();
    for _ in 0..20 {
        let (client, url) = (client.clone(), server.url("/"));
        let caller = std::thread::spawn(move || {
            let bare = tokio::runtime::Builder::new_current_thread().build().unwrap();
            bare.block_on(async { client.send(get(&url)).await.unwrap().into_body().bytes(100).await.unwrap() })
        });
        let body = within(tokio::task::spawn_blocking(move || caller.join())).await.unwrap().unwrap();
        assert_eq!(body, "hello");
    }
    // A connection may be a moment late in the pool, so that a caller opens another; but they do live on.
    assert!(server.accepted() <= 5, "{} connections", server.accepted());
}

#[tokio::test]
async fn fields_of_the_connection_stay_behind() {
    let server = Server::start(|request| async {
        let mut response = echo(request).await;
        response.headers_mut().insert("keep-alive", "timeout=5".parse().unwrap());
        response.headers_mut().insert("proxy-authenticate", "Basic".parse().unwrap());
        response
    })
    .await;
    let client = Client::new("test", &server.config()).unwrap();
    let mut request = get(&server.url("/a?b=c"));
    let fields = [
        ("host", "evil.example"),
        ("connection", "x-private, close"),
        ("x-private", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("proxy-authorization", "Basic eA=="),
        ("te", "trailers"),
        ("upgrade", "websocket"),
        ("x-auth-token", "kept"),
    ];
    for (name, value) in fields {
        request.headers_mut().append(name, value.parse().unwrap());
    }
    let response = within(client.send(request)).await.unwrap();
    let mut seen: Vec<_> = response.headers().keys().map(|name| name.as_str().to_owned()).collect();
    seen.sort();
    assert_eq!(seen, ["content-length", "date", "echo-host", "echo-x-auth-token", "method", "target"]);
    assert_eq!(response.headers()["echo-host"], server.address.to_string());
    assert_eq!(response.headers()["target"], "/a?b=c");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let target_hits = Arc::new(AtomicUsize::new(0));
    let hits = Arc::clone(&target_hits);
    let target = Server::start(move |request| {
        hits.fetch_add(1, Ordering::SeqCst);
        hello(request)
    })
    .await;
    let to = target.url("/secret");
    let server = Server::start(move |_| {
        let to = to.clone();
        async move { Response::builder().status(302).header("location", to).body(empty()).unwrap() }
    })
    .await;
    let config = ClientConfig {
        allow: ostler_egress::Allow::Origins(vec![server.url("").parse().unwrap(), target.url("").parse().unwrap()]),
        ..ClientConfig::default()
    };
    let response = within(Client::new("test", &config).unwrap().send(get(&server.url("/")))).await.unwrap();
    assert_eq!(response.status(), 302);
    assert_eq!(response.headers()["location"], target.url("/secret"));
    assert_eq!((target.accepted(), target_hits.load(Ordering::SeqCst)), (0, 0));
}

#[tokio::test]
async fn json_calls() {
    let server = Server::start(echo).await;
    let client = Client::new("test", &server.config()).unwrap();
    let value = json!({"name": "x"});
    let text = value.to_string();
    let table = [
        (Method::GET, None, ""),
        (Method::GET, Some(&value), text.as_str()),
        (Method::DELETE, Some(&value), &text),
        (Method::POST, Some(&value), &text),
        (Method::HEAD, None, ""),
    ];
    for (method, body, echoed) in table {
        let answer = within(client.json(method.clone(), &server.url("/x"), HeaderMap::new(), body)).await.unwrap();
        assert_eq!(answer, (http::StatusCode::OK, echoed.as_bytes().to_vec()), "{method}");
    }
    let result = within(client.json(Method::GET, "http://[", HeaderMap::new(), None)).await;
    assert!(matches!(result, Err(Error::BadRequest { .. })), "{result:?}");
}

#[tokio::test]
async fn unacceptable_requests() {
    let server = Server::start(echo).await;
    let config = ClientConfig { allow: ostler_egress::Allow::Any, ..server.config() };
    let client = Client::new("test", &config).unwrap();
    let url = server.url("/");
    let with_lengths =
        |lengths: &[&str]| lengths.iter().fold(Request::post(&url), |builder, length| builder.header("content-length", *length));
    let table = [
        Request::get("/relative").body(full("")),
        Request::get("ftp://cloud.example/").body(full("")),
        Request::get(format!("http://user@{}/", server.address)).body(full("")),
        Request::builder().method("CONNECT").uri(&url).body(full("")),
        with_lengths(&["4"]).body(full("12345")),
        with_lengths(&["5", "5"]).body(full("12345")),
        with_lengths(&["+5"]).body(full("12345")),
        with_lengths(&["5, 5"]).body(full("12345")),
    ];
    for request in table {
        let request = request.unwrap();
        let shown = format!("{request:?}");
        let result = within(client.send(request)).await;
        assert!(matches!(result, Err(Error::BadRequest { .. })), "{shown}: {result:?}");
    }
    assert_eq!(server.accepted(), 0);
}

#[tokio::test]
async fn metrics_count_each_request_once() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let server = Server::start(hello).await;
    let client = metrics::with_local_recorder(&recorder, || Client::new("cloud-a", &server.config()).unwrap());
    for _ in 0..2 {
        within(within(client.send(get(&server.url("/")))).await.unwrap().into_body().bytes(100)).await.unwrap();
    }
    within(client.send(get("http://elsewhere.example"))).await.unwrap_err();
    let too_small = within(client.send(get(&server.url("/")))).await.unwrap().into_body();
    within(too_small.bytes(1)).await.unwrap_err();
    let mut given_up = Box::pin(client.send(get(&server.url("/"))));
    assert!(futures::poll!(&mut given_up).is_pending());
    drop(given_up);

    let shown = recorder.handle().render();
    for line in [
        r#"ostler_egress_requests_total{client="cloud-a",outcome="2xx"} 2"#,
        r#"ostler_egress_requests_total{client="cloud-a",outcome="denied"} 1"#,
        r#"ostler_egress_requests_total{client="cloud-a",outcome="too_large"} 1"#,
        r#"ostler_egress_requests_total{client="cloud-a",outcome="cancelled"} 1"#,
        r#"ostler_egress_request_seconds_count{client="cloud-a"} 3"#,
    ] {
        assert!(shown.contains(line), "no {line} in\n{shown}");
    }
    assert!(shown.contains(r#"ostler_egress_open_connections{client="cloud-a"} "#), "{shown}");
}
