//! Limits on time, size and number.

use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use ostler_egress::{
    BoxError, Client, ClientConfig, ConfigError, Error, Identity, Part, RequestBody, Timeouts, Wait, empty, full,
};
use tokio::net::TcpListener;

use crate::support::{Server, allowing, get, hello, within};

const SHORT: Duration = Duration::from_millis(100);

/// These frames and then, if `ends` is false, silence.
fn streamed(frames: Vec<Bytes>, ends: bool) -> RequestBody {
    let frames = stream::iter(frames.into_iter().map(|data| Ok::<_, BoxError>(Frame::data(data))));
    if ends {
        StreamBody::new(frames).boxed_unsync()
    } else {
        StreamBody::new(futures::StreamExt::chain(frames, stream::pending())).boxed_unsync()
    }
}

async fn swallow(request: Request<Incoming>) -> Response<RequestBody> {
    let _ = request.into_body().collect().await;
    Response::new(empty())
}

async fn never(_: Request<Incoming>) -> Response<RequestBody> {
    std::future::pending().await
}

async fn stalls(_: Request<Incoming>) -> Response<RequestBody> {
    Response::new(streamed(vec![Bytes::from_static(b"first")], false))
}

#[tokio::test]
async fn a_server_that_never_answers() {
    let server = Server::start(never).await;
    let client = Client::new("test", &server.config()).unwrap();
    let timeouts = Timeouts { first_byte: SHORT, ..Timeouts::default() };
    let error = within(client.send_with(get(&server.url("/")), timeouts)).await.unwrap_err();
    assert_eq!(error, Error::Timeout { what: Wait::FirstByte });
}

#[tokio::test]
async fn an_upload_that_stops() {
    let server = Server::start(swallow).await;
    let config = ClientConfig { timeouts: Timeouts { first_byte: SHORT, ..Timeouts::default() }, ..server.config() };
    let body = streamed(vec![Bytes::from_static(b"first")], false);
    let request = Request::post(server.url("/")).body(body).unwrap();
    let error = within(Client::new("test", &config).unwrap().send(request)).await.unwrap_err();
    assert_eq!(error, Error::Timeout { what: Wait::FirstByte });
}

#[tokio::test]
async fn a_body_that_stalls() {
    let server = Server::start(stalls).await;
    let client = Client::new("test", &server.config()).unwrap();
    let timeouts = Timeouts { between_bytes: SHORT, ..Timeouts::default() };
    let mut body = within(client.send_with(get(&server.url("/")), timeouts)).await.unwrap().into_body();
    let first = within(body.frame()).await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "first");
    let error = within(body.frame()).await.unwrap().unwrap_err();
    assert_eq!(error, Error::Timeout { what: Wait::BetweenBytes });
    assert!(within(body.frame()).await.is_none());
}

#[tokio::test]
async fn connecting_includes_names_and_tls() {
    // Accepts (the kernel does) and never says a word of TLS.
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tls = format!("https://{}", mute.local_addr().unwrap());
    let timeouts = Timeouts { connect: SHORT, ..Timeouts::default() };
    let client = Client::new("test", &allowing(&[&tls])).unwrap();
    let error = within(client.send_with(get(&tls), timeouts)).await.unwrap_err();
    assert_eq!(error, Error::Timeout { what: Wait::Connect });

    struct Mute;
    impl ostler_egress::Resolve for Mute {
        fn resolve(&self, _: &str) -> futures::future::BoxFuture<'static, std::io::Result<Vec<std::net::IpAddr>>> {
            Box::pin(std::future::pending())
        }
    }
    let url = "http://cloud.example";
    let client = Client::with_resolver("test", &allowing(&[url]), std::sync::Arc::new(Mute)).unwrap();
    let error = within(client.send_with(get(url), timeouts)).await.unwrap_err();
    assert_eq!(error, Error::Timeout { what: Wait::Connect });
}

#[tokio::test]
async fn a_request_cannot_extend_the_timeouts() {
    let server = Server::start(never).await;
    let config = ClientConfig { timeouts: Timeouts { first_byte: SHORT, ..Timeouts::default() }, ..server.config() };
    let day = Duration::from_secs(86_400);
    let longer = Timeouts { connect: day, first_byte: day, between_bytes: day };
    let error = within(Client::new("test", &config).unwrap().send_with(get(&server.url("/")), longer)).await.unwrap_err();
    assert_eq!(error, Error::Timeout { what: Wait::FirstByte });
}

#[tokio::test]
async fn response_sizes() {
    // (announced at the start, body, limit, arrives)
    let ten = || vec![Bytes::from_static(b"12345"), Bytes::from_static(b"67890")];
    for (announced, limit, arrives) in [(true, 10, true), (true, 9, false), (false, 10, true), (false, 9, false)] {
        let server =
            Server::start(
                move |_| async move { Response::new(if announced { full("1234567890") } else { streamed(ten(), true) }) },
            )
            .await;
        let config = ClientConfig { max_response_bytes: Some(limit), ..server.config() };
        let client = Client::new("test", &config).unwrap();
        let too_large = Error::TooLarge { what: Part::ResponseBody, limit };
        match within(client.send(get(&server.url("/")))).await {
            Ok(response) => {
                assert!(arrives || !announced, "an announced length is refused with the head");
                let body = within(response.into_body().bytes(u64::MAX)).await;
                assert_eq!(body, if arrives { Ok(Bytes::from_static(b"1234567890")) } else { Err(too_large) });
            }
            Err(error) => {
                assert!(announced && !arrives, "{error}");
                assert_eq!(error, too_large);
            }
        }
    }
}

#[tokio::test]
async fn request_sizes() {
    let server = Server::start(swallow).await;
    let config = ClientConfig { max_request_bytes: Some(10), max_header_bytes: 10_000, ..server.config() };
    let client = Client::new("test", &config).unwrap();
    let post = |body| Request::post(server.url("/")).body(body).unwrap();
    let chunks = |count| streamed(vec![Bytes::from_static(b"12345"); count], true);
    let headers = |size| Request::get(server.url("/")).header("x", "y".repeat(size)).body(empty()).unwrap();
    let body = Err(Error::TooLarge { what: Part::RequestBody, limit: 10 });
    let table = [
        ("known, fits", post(full("1234567890")), Ok(())),
        ("known, too large", post(full("12345678901")), body.clone()),
        ("streamed, fits", post(chunks(2)), Ok(())),
        ("streamed, too large", post(chunks(3)), body),
        ("headers fit", headers(9_000), Ok(())),
        ("headers too large", headers(10_000), Err(Error::TooLarge { what: Part::RequestHeaders, limit: 10_000 })),
    ];
    for (name, request, expected) in table {
        assert_eq!(within(client.send(request)).await.map(|_| ()), expected, "{name}");
    }
}

#[tokio::test]
async fn response_headers() {
    for (size, arrives) in [(9_000, true), (9_999, false), (50_000, false)] {
        let server =
            Server::start(move |_| async move { Response::builder().header("x", "y".repeat(size)).body(empty()).unwrap() }).await;
        let config = ClientConfig { max_header_bytes: 10_000, ..server.config() };
        let result = within(Client::new("test", &config).unwrap().send(get(&server.url("/")))).await;
        let expected = Error::TooLarge { what: Part::ResponseHeaders, limit: 10_000 };
        assert_eq!(result.map(|_| ()), if arrives { Ok(()) } else { Err(expected) }, "{size}");
    }
}

#[tokio::test]
async fn a_failing_request_body() {
    let server = Server::start(swallow).await;
    let client = Client::new("test", &server.config()).unwrap();
    let frames = vec![Ok(Frame::data(Bytes::from_static(b"12345"))), Err(BoxError::from("canary"))];
    let request = Request::post(server.url("/")).body(StreamBody::new(stream::iter(frames))).unwrap();
    let error = within(client.send(request)).await.unwrap_err();
    assert!(matches!(error, Error::BadRequest { .. }) && !format!("{error:?}").contains("canary"), "{error:?}");
}

#[tokio::test]
async fn exchanges_at_once() {
    let server = Server::start(stalls).await;
    let config = ClientConfig { max_connections: 2, ..server.config() };
    let client = Client::new("test", &config).unwrap();
    let url = server.url("/");
    let timeouts = Timeouts { connect: SHORT, ..Timeouts::default() };
    let first = within(client.send(get(&url))).await.unwrap();
    let _second = within(client.send(get(&url))).await.unwrap();
    // Both bodies are alive, so there is no slot.
    let error = within(client.send_with(get(&url), timeouts)).await.unwrap_err();
    assert_eq!(error, Error::Timeout { what: Wait::Slot });
    assert_eq!(server.accepted(), 2);
    // One who waits gets the slot of a body that is dropped.
    let mut waiting = Box::pin(client.send(get(&url)));
    assert!(futures::poll!(&mut waiting).is_pending());
    drop(first);
    assert_eq!(within(waiting).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_finished_body_gives_its_slot_back_while_held() {
    let server = Server::start(hello).await;
    let config = ClientConfig { max_connections: 1, ..server.config() };
    let client = Client::new("test", &config).unwrap();
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut body = within(client.send(get(&server.url("/")))).await.unwrap().into_body();
        while within(body.frame()).await.is_some() {}
        held.push(body);
    }
}

#[tokio::test]
async fn unusable_configurations() {
    let pem = |text: &str| Some(text.as_bytes().to_vec());
    let identity = || Identity { cert_pem: b"canary".to_vec(), key_pem: b"canary".to_vec() };
    let base = ClientConfig::default;
    let table = [
        (ClientConfig { max_connections: 0, ..base() }, "max_connections is at least 1"),
        (ClientConfig { ca_only: true, ..base() }, "ca_only is set"),
        (ClientConfig { ca_pem: pem("nothing"), ..base() }, "no certificate in the PEM"),
        (ClientConfig { identity: Some(identity()), ..base() }, "client certificate: no certificate in the PEM"),
    ];
    for (config, reason) in table {
        assert!(!format!("{config:?}").contains("canary"));
        let error = Client::new("test", &config).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    let outside = std::thread::spawn(|| Client::new("test", &ClientConfig::default()).unwrap_err());
    assert_eq!(outside.join().unwrap(), ConfigError::NoRuntime);
}
