//! TLS: trust, identity, HTTP/2.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex};

use http::{Request, Response, Version};
use hyper::body::Incoming;
use ostler_egress::{AddressPolicy, Client, ClientConfig, Error, Identity, RequestBody, full};
use rustls::ServerConfig;

use crate::support::{Answers, Authority, Presented, Server, allowing, get, hello, within};

const NAME: &str = "cloud.example";
const LOOPBACK: AddressPolicy = AddressPolicy { loopback: true, private: false, link_local: false };

/// Answers with the protocol version and the number of client certificates it has seen.
async fn report(request: Request<Incoming>) -> Response<RequestBody> {
    let version = if request.version() == Version::HTTP_2 { "h2" } else { "h1" };
    let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
    let Presented(presented) = *request.extensions().get().unwrap();
    Response::new(full(format!("{version} {presented} {}", host.unwrap_or_default())))
}

async fn ask(server: &Server, config: ClientConfig) -> Result<String, Error> {
    let url = server.as_host("https", NAME);
    let config = ClientConfig { addresses: LOOPBACK, allow: allowing(&[&url]).allow, ..config };
    let client = Client::with_resolver("test", &config, Answers::new(&["127.0.0.1"])).unwrap();
    let response = within(client.send(get(&url))).await?;
    let body = within(response.into_body().bytes(1000)).await?;
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

async fn serve(tls: ServerConfig) -> Server {
    Server::start_with(Some(tls), report).await
}

fn trusting(ca: &Authority, ca_only: bool) -> ClientConfig {
    ClientConfig { ca_pem: Some(ca.pem.clone().into_bytes()), ca_only, ..ClientConfig::default() }
}

#[tokio::test]
async fn trust() {
    let (ca, other) = (Authority::new(), Authority::new());
    let server = serve(ca.server(NAME, None, &["http/1.1"])).await;
    assert!(ask(&server, trusting(&ca, false)).await.unwrap().starts_with("h1 0 cloud.example:"));
    assert!(ask(&server, trusting(&ca, true)).await.is_ok());
    for (name, config) in [("no CA", ClientConfig::default()), ("another CA", trusting(&other, true))] {
        let result = ask(&server, config).await;
        assert!(matches!(result, Err(Error::Tls { certificate: true, .. })), "{name}: {result:?}");
    }
    let misnamed = serve(ca.server("elsewhere.example", None, &[])).await;
    let result = ask(&misnamed, trusting(&ca, true)).await;
    assert!(matches!(result, Err(Error::Tls { certificate: true, .. })), "{result:?}");
}

/// Where a server is known by its certificate and not by its name, the authority still decides, and nothing else is let through.
#[tokio::test]
async fn a_look_at_the_certificate_in_place_of_the_name() {
    let (ca, other) = (Authority::new(), Authority::new());
    for (authority, name, means_it, accepted, looks) in
        [(&ca, "elsewhere.example", true, true, 1), (&ca, NAME, false, false, 1), (&other, NAME, true, false, 0)]
    {
        let server = serve(authority.server(name, None, &["http/1.1"])).await;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        let look = move |leaf: &[u8]| {
            kept.lock().unwrap().push(leaf.to_vec());
            means_it
        };
        let result = ask(&server, ClientConfig { peer: Some(Arc::new(look)), ..trusting(&ca, true) }).await;
        if accepted {
            assert!(result.unwrap().starts_with("h1 0 "));
        } else {
            assert!(matches!(result, Err(Error::Tls { certificate: true, .. })), "{name}: {result:?}");
        }
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), looks, "{name}: only what the authority vouches for is looked at");
        assert!(seen.iter().all(|leaf| leaf.windows(name.len()).any(|part| part == name.as_bytes())));
    }
}

#[tokio::test]
async fn client_certificates() {
    let (ca, clients) = (Authority::new(), Authority::new());
    let server = serve(ca.server(NAME, Some(&clients), &["http/1.1"])).await;
    let identity = |from: &Authority| {
        let (certificate, key) = from.issue("client.example");
        Some(Identity { cert_pem: certificate.pem().into_bytes(), key_pem: key.serialize_pem().into_bytes() })
    };
    let answer = ask(&server, ClientConfig { identity: identity(&clients), ..trusting(&ca, true) }).await.unwrap();
    assert!(answer.starts_with("h1 1 "), "{answer}");
    // A server that refuses says so after the handshake, with an alert or just by hanging up.
    for config in [trusting(&ca, true), ClientConfig { identity: identity(&ca), ..trusting(&ca, true) }] {
        let result = ask(&server, config).await;
        assert!(matches!(result, Err(Error::Tls { certificate: false, .. } | Error::Protocol { .. })), "{result:?}");
    }
}

#[tokio::test]
async fn http2() {
    let ca = Authority::new();
    let server = serve(ca.server(NAME, None, &["h2", "http/1.1"])).await;
    let url = server.as_host("https", NAME);
    let config = ClientConfig { addresses: LOOPBACK, allow: allowing(&[&url]).allow, ..trusting(&ca, true) };
    let client = Client::with_resolver("test", &config, Answers::new(&["127.0.0.1"])).unwrap();
    let mut request = get(&url);
    request.headers_mut().insert("host", "evil.example".parse().unwrap());
    let first = within(client.send(request)).await.unwrap();
    // While that body is not yet read, over the same connection.
    let second = within(client.send(get(&url))).await.unwrap();
    for response in [first, second] {
        assert_eq!(response.version(), Version::HTTP_2);
        assert_eq!(within(response.into_body().bytes(1000)).await.unwrap(), "h2 0 ");
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn plain_text_where_tls_is_expected() {
    let server = Server::start(hello).await;
    let result = ask(&server, ClientConfig::default()).await;
    assert!(matches!(result, Err(Error::Tls { certificate: false, .. })), "{result:?}");
    // And a connection that ends at once.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let hang_up = tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let result = within(Client::new("test", &allowing(&[&url])).unwrap().send(get(&url))).await;
    let refused = |kind| matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
    assert!(
        matches!(&result, Err(Error::Tls { certificate: false, .. }))
            || matches!(&result, Err(Error::Connect { kind, .. }) if refused(*kind)),
        "{result:?}"
    );
    hang_up.abort();
}
