#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! Against a receiver on this machine.

use super::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ostler_egress::Origin;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// The example of the specification's own libraries.
const EXAMPLE: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

struct Received {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

/// A receiver that answers `/STATUS` with this status, `/302` with a place to go to, `/large` with a lot.
async fn receiver() -> (SocketAddr, mpsc::UnboundedReceiver<Received>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, received) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let sender = sender.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let sender = sender.clone();
                async move {
                    let (head, body) = request.into_parts();
                    let path = head.uri.to_string();
                    let name = path.trim_start_matches('/').split('?').next().unwrap().to_owned();
                    let large = Bytes::from(vec![b'x'; 1 << 20]);
                    let mut response = Response::new(Full::new(if name == "large" { large } else { Bytes::from("thanks") }));
                    *response.status_mut() =
                        name.parse().ok().and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or_default();
                    if response.status().is_redirection() {
                        response.headers_mut().insert("location", HeaderValue::from_static("/200"));
                    }
                    let body = body.collect().await.unwrap().to_bytes();
                    sender.send(Received { path, headers: head.headers, body }).unwrap();
                    Ok::<_, std::convert::Infallible>(response)
                }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, received)
}

fn signed(callbacks: &config::Callbacks, loopback: bool, secrets: &str) -> (Signed, tempfile::TempDir) {
    let data = tempfile::tempdir().unwrap();
    write(data.path(), secrets, 0o600);
    let config = client_config(callbacks, loopback);
    (Signed { client: OnceCell::new(), config, secrets: Secrets::open(data.path()).unwrap() }, data)
}

fn write(data: &Path, text: &str, mode: u32) {
    let path = data.join(FILE);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn delivery(url: String) -> Delivery {
    let body = br#"{"uuid" : "d", "status" : "CREATE_COMPLETE"}"#.to_vec();
    Delivery { id: "0199e2c0-0000-7000-8000-000000000001".into(), url, timestamp: 1_700_000_000, body }
}

/// HMAC-SHA256 as RFC 2104 defines it.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let padded = |pad: u8| {
        let mut block = [pad; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().to_vec()
}

#[tokio::test]
async fn receivers_can_verify_what_they_get() {
    let (address, mut received) = receiver().await;
    let keys = [[7; 32], [9; 32]];
    let text = keys.map(|key| format!("whsec_{}\n", STANDARD.encode(key))).concat();
    let (sender, _data) = signed(&config::Callbacks::default(), true, &text);
    let sent = delivery(format!("http://{address}/200?a=b#c"));
    assert_eq!(sender.send(sent.clone()).await, Reply::Taken);
    let got = received.recv().await.unwrap();
    assert_eq!((got.path.as_str(), &got.body[..]), ("/200?a=b", &sent.body[..]));
    let header = |name: &str| got.headers[name].to_str().unwrap().to_owned();
    assert_eq!((header("content-type"), header("webhook-id")), ("application/json".to_owned(), sent.id.clone()));
    assert_eq!(header("webhook-timestamp"), "1700000000");
    let message = [format!("{}.1700000000.", sent.id).as_bytes(), &sent.body].concat();
    let expected = keys.map(|key| format!("v1,{}", STANDARD.encode(hmac(&key, &message))));
    assert_eq!(header("webhook-signature"), expected.join(" "));
}

#[test]
fn the_example_of_the_specification() {
    let data = tempfile::tempdir().unwrap();
    write(data.path(), EXAMPLE, 0o600);
    let secrets = Secrets::open(data.path()).unwrap();
    let signature = secrets.signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
    assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    assert_eq!(secrets.first().expose_secret(), EXAMPLE);
}

#[tokio::test]
async fn the_status_decides() {
    let (address, mut received) = receiver().await;
    let (sender, _data) = signed(&config::Callbacks::default(), true, EXAMPLE);
    let taken = || Reply::Taken;
    let failed = |code: u16| Reply::Failed(format!("the receiver answered {code}"));
    for (path, expected) in [
        ("200", taken()),
        ("202", taken()),
        ("204", taken()),
        ("large", taken()),
        ("302", Reply::Failed("the receiver answered 302; redirects are not followed".into())),
        ("308", Reply::Failed("the receiver answered 308; redirects are not followed".into())),
        ("400", failed(400)),
        ("404", failed(404)),
        ("429", failed(429)),
        ("503", failed(503)),
        ("410", Reply::Refused("the receiver says that it is gone (410)".into())),
    ] {
        assert_eq!(sender.send(delivery(format!("http://{address}/{path}"))).await, expected, "{path}");
        assert_eq!(received.recv().await.unwrap().path, format!("/{path}"));
        assert!(received.try_recv().is_err(), "{path}: a second request");
    }
    drop(received);
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let reply = sender.send(delivery(format!("http://{nobody}/"))).await;
    assert!(matches!(&reply, Reply::Failed(why) if why.contains("cannot connect")), "{reply:?}");
}

#[test]
fn how_long_a_receiver_wants_to_be_left_alone() {
    let now = 1_700_000_000_000_000;
    for (text, expected) in [
        (None, None),
        (Some("120"), Some(120)),
        (Some(" 0 "), Some(0)),
        (Some("-1"), None),
        (Some("soon"), None),
        (Some("99999999999999999999999"), None),
        // 1,700,000,000 is Tue, 14 Nov 2023 22:13:20 GMT.
        (Some("Tue, 14 Nov 2023 22:14:20 GMT"), Some(60)),
        (Some("Tue, 14 Nov 2023 22:12:20 GMT"), Some(0)),
    ] {
        let headers: HeaderMap = text.map(|text| (RETRY_AFTER, HeaderValue::from_static(text))).into_iter().collect();
        assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{text:?}");
    }
}

#[tokio::test]
async fn addresses_are_public_unless_the_operator_says_otherwise() {
    let (address, mut received) = receiver().await;
    let port = address.port();
    let hosts = |texts: &[&str]| texts.iter().map(|text| text.parse::<Origin>().unwrap()).collect::<Vec<_>>();
    let plain = config::Callbacks::default;
    let private = || config::Callbacks { allow_private: true, ..plain() };
    let only = |texts: &[&str]| config::Callbacks { hosts: hosts(texts), ..plain() };
    let own = format!("http://127.0.0.1:{port}");
    let here = format!("{own}/200");
    let local = format!("http://localhost:{port}/200");
    for (callbacks, loopback, url, refused) in [
        (plain(), false, here.as_str(), Some("loopback")),
        (plain(), false, local.as_str(), Some("loopback")),
        (plain(), false, "http://10.0.0.1/", Some("private")),
        (plain(), true, "http://10.0.0.1/", Some("private")),
        (plain(), true, "http://169.254.169.254/latest", Some("metadata")),
        (private(), true, "http://169.254.169.254/latest", Some("metadata")),
        (private(), false, here.as_str(), Some("loopback")),
        (plain(), true, here.as_str(), None),
        (only(&[&own]), false, here.as_str(), None),
        (only(&[&own]), false, local.as_str(), Some("not allowed")),
        (only(&["https://hooks.example"]), true, here.as_str(), Some("not allowed")),
    ] {
        let (sender, _data) = signed(&callbacks, loopback, EXAMPLE);
        let reply = sender.send(delivery(url.to_owned())).await;
        match refused {
            None => assert_eq!((reply, received.recv().await.unwrap().path.as_str()), (Reply::Taken, "/200"), "{url}"),
            Some(word) => {
                assert!(matches!(&reply, Reply::Failed(why) if why.contains(word)), "{url}: {reply:?}");
                assert!(received.try_recv().is_err(), "{url}");
            }
        }
    }
}

#[tokio::test]
async fn addresses_that_cannot_be_used_are_not_tried_again_nor_repeated() {
    let (sender, _data) = signed(&config::Callbacks::default(), true, EXAMPLE);
    for url in
        ["", "no address", "http://", "ftp://canary.example/", "http://user:canary@127.0.0.1/", "mailto:canary@example.org"]
    {
        let reply = sender.send(delivery(url.to_owned())).await;
        assert!(matches!(&reply, Reply::Refused(why) if !why.contains("canary")), "{url}: {reply:?}");
    }
}

#[test]
fn the_secret_is_made_once_and_kept_to_its_owner() {
    let data = tempfile::tempdir().unwrap();
    let error = |data: &Path| Secrets::open(data).err().unwrap();
    assert!(matches!(error(data.path()), SecretError::File { .. }));
    let first = Secrets::open_or_create(data.path()).unwrap();
    let again = Secrets::open_or_create(data.path()).unwrap();
    assert_eq!(first.first().expose_secret(), again.first().expose_secret());
    let text = first.first().expose_secret();
    assert_eq!(STANDARD.decode(text.strip_prefix("whsec_").unwrap()).unwrap().len(), 32);
    let mode = std::fs::metadata(data.path().join(FILE)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let elsewhere = tempfile::tempdir().unwrap();
    assert_ne!(Secrets::open_or_create(elsewhere.path()).unwrap().first().expose_secret(), text);

    write(data.path(), EXAMPLE, 0o640);
    assert!(matches!(error(data.path()), SecretError::Exposed(_, 0o640)));
    let short = format!("whsec_{}", STANDARD.encode([1; 23]));
    let long = format!("whsec_{}", STANDARD.encode([1; 65]));
    let many = format!("{EXAMPLE}\n").repeat(5);
    let blank = "\n".repeat(5_000) + EXAMPLE;
    for text in ["", "\n", "whsec_", "canary", "whsec_canary!", &EXAMPLE[6..], &short, &long, &many, &blank] {
        write(data.path(), text, 0o600);
        let error = error(data.path());
        assert!(matches!(error, SecretError::Malformed(_)), "{text}");
        assert!(!error.to_string().contains("canary"));
    }
    for text in [format!("\n {EXAMPLE} \r\n\n"), format!("{EXAMPLE}\n").repeat(4)] {
        write(data.path(), &text, 0o600);
        assert_eq!(Secrets::open_or_create(data.path()).unwrap().first().expose_secret(), EXAMPLE);
    }
}
