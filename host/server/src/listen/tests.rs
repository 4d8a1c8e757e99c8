#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;

use axum::routing::get;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2 as client_http2;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncReadExt;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::tls::{CertificateFiles, ServerCertificate, provider, server_config};

/// Far longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(30);

/// Deadlines short enough to wait for.
fn impatient() -> Options {
    let soon = Duration::from_millis(200);
    Options { header_timeout: soon, handshake_timeout: soon, shutdown_timeout: soon, ..Options::default() }
}

struct Running {
    addresses: Vec<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Drained>,
}

impl Running {
    fn start(endpoints: Vec<Endpoint>, router: &Router, options: Options) -> Self {
        let addresses = endpoints.iter().map(Endpoint::address).collect();
        let (stop, stopped) = oneshot::channel::<()>();
        let endpoints = endpoints.into_iter().map(|endpoint| (endpoint, router.clone())).collect();
        let task = tokio::spawn(serve(endpoints, options, async {
            let _ = stopped.await;
        }));
        Self { addresses, stop: Some(stop), task }
    }

    fn plain(router: &Router, options: Options) -> Self {
        Self::start(vec![loopback()], router, options)
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addresses[0]).await.unwrap()
    }

    fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    async fn drained(self) -> Drained {
        timeout(DEADLINE, self.task).await.expect("ends").unwrap()
    }
}

fn loopback() -> Endpoint {
    Endpoint::bind("127.0.0.1:0".parse().unwrap()).unwrap()
}

fn whoami() -> Router {
    Router::new().route(
        "/who",
        get(|ConnectInfo(peer): ConnectInfo<PeerInfo>| async move {
            let tls = peer.tls.map(|tls| (tls.client_certificates.len(), tls.server_name.clone()));
            format!("{} {} {tls:?}", peer.addr, peer.local)
        }),
    )
}

/// Sends a request and reads one response with a Content-Length: its status line and its body.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, request: &str) -> (String, String) {
    stream.write_all(request.as_bytes()).await.unwrap();
    timeout(DEADLINE, response(stream)).await.expect("answers")
}

async fn response<S: AsyncRead + Unpin>(stream: &mut S) -> (String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(|n| n.parse().unwrap()));
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.unwrap();
    (head.lines().next().unwrap().to_owned(), String::from_utf8(body).unwrap())
}

const WHO: &str = "GET /who HTTP/1.1\r\nHost: x\r\n\r\n";

/// Waits for the other end to close; what it sent before.
async fn closed<S: AsyncRead + Unpin>(stream: &mut S) -> Vec<u8> {
    let mut rest = Vec::new();
    let result = timeout(DEADLINE, stream.read_to_end(&mut rest)).await.expect("the server closes");
    assert!(result.is_ok() || rest.is_empty(), "{result:?}");
    rest
}

#[tokio::test]
async fn handlers_know_the_peer_and_absolute_targets_pass() {
    let server = Running::plain(&whoami(), Options::default());
    let mut stream = server.connect().await;
    let expected = format!("{} {} None", stream.local_addr().unwrap(), server.addresses[0]);
    assert_ne!(server.addresses[0].port(), 0);
    for request in [WHO, "GET http://other.example/who HTTP/1.1\r\nHost: other.example\r\n\r\n"] {
        assert_eq!(exchange(&mut stream, request).await, ("HTTP/1.1 200 OK".to_owned(), expected.clone()));
    }
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let first = loopback();
    let error = Endpoint::bind(first.address()).err().unwrap().to_string();
    assert!(error.starts_with(&format!("cannot listen on {}: ", first.address())), "{error}");
}

#[tokio::test]
async fn who_does_not_get_on_is_cut_off() {
    let server = Running::plain(&whoami(), impatient());
    for beginning in ["", "G", "GET /who HTTP/1.1\r\nHost:", "PRI * HTTP/2.0", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = server.connect().await;
        stream.write_all(beginning.as_bytes()).await.unwrap();
        closed(&mut stream).await;
    }
    let mut stream = server.connect().await;
    exchange(&mut stream, WHO).await;
    closed(&mut stream).await;
}

#[tokio::test]
async fn heads_are_limited() {
    let server = Running::plain(&whoami(), Options { max_header_bytes: 8192, ..Options::default() });
    for fields in [format!("X: {}\r\n", "x".repeat(9000)), "X: y\r\n".repeat(MAX_HEADERS + 1)] {
        let mut stream = server.connect().await;
        let request = format!("GET /who HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
        assert_eq!(exchange(&mut stream, &request).await.0, "HTTP/1.1 431 Request Header Fields Too Large");
    }
}

#[tokio::test]
async fn connections_are_limited() {
    let server = Running::plain(&whoami(), Options { max_connections: 1, ..Options::default() });
    let mut first = server.connect().await;
    exchange(&mut first, WHO).await;
    let mut second = server.connect().await;
    second.write_all(WHO.as_bytes()).await.unwrap();
    for _ in 0..50 {
        exchange(&mut first, WHO).await;
    }
    assert_eq!(second.try_read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock, "waits");
    drop(first);
    assert_eq!(timeout(DEADLINE, response(&mut second)).await.expect("its turn").0, "HTTP/1.1 200 OK");
}

/// A route that says when it was entered, and answers when it is told to.
fn slow(entered: &Arc<Notify>, release: &Arc<Notify>) -> Router {
    let (entered, release) = (Arc::clone(entered), Arc::clone(release));
    let handler = move || async move {
        entered.notify_one();
        release.notified().await;
        "done"
    };
    whoami().route("/slow", get(handler))
}

#[tokio::test]
async fn requests_in_flight_are_finished() {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let options = Options { shutdown_timeout: DEADLINE, ..Options::default() };
    let mut server = Running::plain(&slow(&entered, &release), options);
    let (mut idle, mut silent, mut busy) = (server.connect().await, server.connect().await, server.connect().await);
    exchange(&mut idle, WHO).await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    entered.notified().await;

    server.stop();
    closed(&mut idle).await;
    closed(&mut silent).await;
    let address = server.addresses[0];
    timeout(DEADLINE, async { while TcpStream::connect(address).await.is_ok() {} }).await.expect("accepts nothing more");
    assert!(!server.task.is_finished(), "waits for the request");
    release.notify_one();
    let answer = timeout(DEADLINE, response(&mut busy)).await.unwrap();
    assert_eq!(answer, ("HTTP/1.1 200 OK".to_owned(), "done".to_owned()));
    closed(&mut busy).await;
    assert_eq!(server.drained().await, Drained { cut: 0 });
}

#[tokio::test]
async fn requests_that_do_not_end_are_cut() {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let mut server = Running::plain(&slow(&entered, &release), impatient());
    let mut busy = Vec::new();
    for _ in 0..3 {
        let mut stream = server.connect().await;
        stream.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        entered.notified().await;
        busy.push(stream);
    }
    server.stop();
    assert_eq!(server.drained().await, Drained { cut: 3 });
    for mut stream in busy {
        assert!(closed(&mut stream).await.is_empty());
    }
}

async fn http2_get<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, uri: &str) -> String {
    let (mut sender, connection) =
        client_http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("speaks HTTP/2");
    tokio::spawn(connection);
    let request = Request::get(uri).body(Empty::<Bytes>::new()).unwrap();
    let response = timeout(DEADLINE, sender.send_request(request)).await.unwrap().unwrap();
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn http2_without_tls() {
    let server = Running::plain(&whoami(), Options::default());
    let stream = server.connect().await;
    let expected = format!("{} {} None", stream.local_addr().unwrap(), server.addresses[0]);
    assert_eq!(http2_get(stream, "http://x/who").await, expected);
}

fn self_signed(directory: &Path) -> Arc<ServerCertificate> {
    let files = CertificateFiles { certificate: directory.join("cert.pem"), key: directory.join("key.pem") };
    let names = ["localhost", "127.0.0.1", "::1", "ostler.example"].map(str::to_owned);
    let pair = rcgen::KeyPair::generate().unwrap();
    let issued = rcgen::CertificateParams::new(names).unwrap().self_signed(&pair).unwrap();
    fs::write(&files.certificate, issued.pem()).unwrap();
    fs::write(&files.key, pair.serialize_pem()).unwrap();
    ServerCertificate::load(files).unwrap()
}

fn tls_endpoint(certificate: &Arc<ServerCertificate>) -> Endpoint {
    loopback().with_tls(server_config(Arc::clone(certificate), None).unwrap())
}

type ClientIdentity = (CertificateDer<'static>, PrivateKeyDer<'static>);

/// A client that trusts exactly one certificate.
fn client(trusted: CertificateDer<'static>, protocols: &[&str], identity: Option<ClientIdentity>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(trusted).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(provider())).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = match identity {
        Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config
}

async fn tls_connect(address: SocketAddr, name: &str, config: ClientConfig) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    timeout(DEADLINE, TlsConnector::from(Arc::new(config)).connect(name, stream)).await.expect("handshake ends")
}

#[tokio::test]
async fn clients_that_trust_the_certificate_get_through() {
    let directory = tempfile::tempdir().unwrap();
    let certificate = self_signed(directory.path());
    let server = Running::start(vec![loopback(), tls_endpoint(&certificate)], &whoami(), Options::default());
    let leaf = || certificate.leaf().unwrap();
    for (name, shown) in
        [("localhost", Some("localhost")), ("127.0.0.1", None), ("::1", None), ("ostler.example", Some("ostler.example"))]
    {
        let stream = tls_connect(server.addresses[1], name, client(leaf(), &["http/1.1"], None)).await;
        let (status, body) = exchange(&mut stream.expect(name), WHO).await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        let expected = format!(" {} Some((0, {:?}))", server.addresses[1], shown.map(str::to_owned));
        assert!(body.ends_with(&expected), "{expected}: {body}");
    }
    assert!(tls_connect(server.addresses[1], "other.example", client(leaf(), &[], None)).await.is_err());

    let stream = tls_connect(server.addresses[1], "localhost", client(leaf(), &["h2", "http/1.1"], None)).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    assert!(http2_get(stream, "https://localhost/who").await.contains("Some((0, Some(\"localhost\")))"));

    // The plain listener serves besides.
    assert_eq!(exchange(&mut server.connect().await, WHO).await.0, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn a_reload_changes_the_certificate_of_new_connections_only() {
    let directory = tempfile::tempdir().unwrap();
    let (chain, key) = (directory.path().join("c.pem"), directory.path().join("k.pem"));
    let issue = || {
        let pair = rcgen::KeyPair::generate().unwrap();
        let issued = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&pair).unwrap();
        fs::write(&chain, issued.pem()).unwrap();
        fs::write(&key, pair.serialize_pem()).unwrap();
        issued.der().clone()
    };
    let old = issue();
    let source = CertificateFiles { certificate: chain.clone(), key: key.clone() };
    let certificate = ServerCertificate::load(source).unwrap();
    let server = Running::start(vec![tls_endpoint(&certificate)], &whoami(), Options::default());
    let connect =
        |trusted: &CertificateDer<'static>| tls_connect(server.addresses[0], "localhost", client(trusted.clone(), &[], None));
    let mut kept = connect(&old).await.unwrap();

    let new = issue();
    fs::write(&key, "damaged").unwrap();
    certificate.reload().unwrap_err();
    connect(&old).await.expect("a failed reload changes nothing");

    let newest = issue();
    certificate.reload().unwrap();
    connect(&newest).await.expect("the new certificate");
    for gone in [old, new] {
        assert!(connect(&gone).await.is_err());
    }
    assert_eq!(exchange(&mut kept, WHO).await.0, "HTTP/1.1 200 OK", "the connection stays");
}

#[tokio::test]
async fn tls_needs_a_handshake_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let server = Running::start(vec![tls_endpoint(&self_signed(directory.path()))], &whoami(), impatient());
    // Nothing; the beginning of a record.
    for beginning in [&b""[..], &[TLS_HANDSHAKE, 3, 1, 0, 200]] {
        let mut stream = server.connect().await;
        stream.write_all(beginning).await.unwrap();
        closed(&mut stream).await;
    }
    let mut stream = server.connect().await;
    let (status, body) = exchange(&mut stream, WHO).await;
    assert_eq!((&*status, &*body), ("HTTP/1.1 400 Bad Request", "This address speaks HTTPS: use https:// here."));
    closed(&mut stream).await;
}

#[tokio::test]
async fn an_http2_connection_over_tls_needs_a_request_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let certificate = self_signed(directory.path());
    let server = Running::start(vec![tls_endpoint(&certificate)], &whoami(), impatient());
    let config = client(certificate.leaf().unwrap(), &["h2"], None);
    let mut stream = tls_connect(server.addresses[0], "localhost", config).await.unwrap();
    let mut rest = Vec::new();
    // The end without a closing alert is an error to TLS, and an end.
    let _ = timeout(DEADLINE, stream.read_to_end(&mut rest)).await.expect("the server closes");
}

#[tokio::test]
async fn client_certificates_are_optional_where_there_is_a_verifier() {
    let directory = tempfile::tempdir().unwrap();
    let certificate = self_signed(directory.path());
    let authority = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = params.self_signed(&authority).unwrap();
    let issuer = rcgen::Issuer::new(params, authority);
    let pair = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["client".to_owned()]).unwrap();
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let issued = params.signed_by(&pair, &issuer).unwrap();

    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(provider()));
    let verifier = verifier.allow_unauthenticated().build().unwrap();
    let endpoint = loopback().with_tls(server_config(Arc::clone(&certificate), Some(verifier)).unwrap());
    let server = Running::start(vec![endpoint], &whoami(), Options::default());
    let key = PrivateKeyDer::try_from(pair.serialize_der()).unwrap();
    for (identity, shown) in [(None, "Some((0, "), (Some((issued.der().clone(), key)), "Some((1, ")] {
        let config = client(certificate.leaf().unwrap(), &[], identity);
        let mut stream = tls_connect(server.addresses[0], "localhost", config).await.unwrap();
        let (_, body) = exchange(&mut stream, WHO).await;
        assert!(body.contains(shown), "{shown}: {body}");
    }
}
