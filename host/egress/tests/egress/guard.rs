//! Where requests may go.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use ostler_egress::{AddressClass, AddressPolicy, Allow, Client, ClientConfig, Error, Resolve};

use crate::support::{Answers, Server, allowing, get, hello, within};

const LOOPBACK: AddressPolicy = AddressPolicy { loopback: true, private: false, link_local: false };

#[tokio::test]
async fn only_listed_origins() {
    let server = Server::start(hello).await;
    let here = server.url("");
    let (https, other_port) = (server.as_host("https", "127.0.0.1"), "http://127.0.0.1:1".to_owned());
    let table = [
        (Allow::Origins(Vec::new()), &here, Some(here.clone())),
        (Allow::Origins(vec![other_port.parse().unwrap()]), &here, Some(here.clone())),
        (Allow::Origins(vec![https.parse().unwrap()]), &here, Some(here.clone())),
        (Allow::Origins(vec![here.parse().unwrap()]), &here, None),
        (Allow::AnyHttps, &here, Some(here.clone())),
        (Allow::Any, &here, None),
    ];
    for (allow, url, denied) in table {
        let before = server.accepted();
        let config = ClientConfig { allow: allow.clone(), addresses: LOOPBACK, ..ClientConfig::default() };
        let result = within(Client::new("test", &config).unwrap().send(get(url))).await;
        match denied {
            Some(origin) => {
                assert_eq!(result.unwrap_err(), Error::Denied { origin }, "{allow:?}");
                assert_eq!(server.accepted(), before, "{allow:?}");
            }
            None => assert_eq!(result.unwrap().status(), 200, "{allow:?}"),
        }
    }
}

#[tokio::test]
async fn a_denial_says_what_to_add() {
    let client = Client::new("test", &ClientConfig::default()).unwrap();
    let error = within(client.send(get("https://Cloud.Example:5000/v3?token=canary"))).await.unwrap_err();
    assert!(error.to_string().contains("add \"https://cloud.example:5000\""), "{error}");
}

#[tokio::test]
async fn resolved_addresses_are_judged() {
    let server = Server::start(hello).await;
    let url = server.as_host("http", "evil.example");
    let refused = |address: &str, class| Some((address.parse::<IpAddr>().unwrap(), class));
    let table = [
        (AddressPolicy::PUBLIC_ONLY, vec!["127.0.0.1"], refused("127.0.0.1", AddressClass::Loopback)),
        (AddressPolicy::PROVIDER, vec!["127.0.0.1"], refused("127.0.0.1", AddressClass::Loopback)),
        (AddressPolicy::PROVIDER, vec!["::ffff:127.0.0.1"], refused("::ffff:127.0.0.1", AddressClass::Loopback)),
        (AddressPolicy::PROVIDER, vec!["169.254.169.254"], refused("169.254.169.254", AddressClass::Metadata)),
        (LOOPBACK, vec!["0.0.0.0", "10.0.0.1"], refused("0.0.0.0", AddressClass::Unspecified)),
        (LOOPBACK, vec!["127.0.0.1"], None),
        // What is bad among the answers is left out: the server does not listen at 10.0.0.1.
        (LOOPBACK, vec!["10.0.0.1", "127.0.0.1", "169.254.169.254"], None),
    ];
    for (addresses, answers, refusal) in table {
        let config = ClientConfig { addresses, ..allowing(&[&url]) };
        let client = Client::with_resolver("test", &config, Answers::new(&answers)).unwrap();
        let before = server.accepted();
        let result = within(client.send(get(&url))).await;
        match refusal {
            Some((address, class)) => {
                let expected = Error::Address { host: "evil.example".to_owned(), address, class };
                assert_eq!(result.unwrap_err(), expected, "{answers:?}");
                assert_eq!(server.accepted(), before, "{answers:?}");
            }
            None => assert_eq!(result.unwrap().status(), 200, "{answers:?}"),
        }
    }
}

#[tokio::test]
async fn literal_addresses_are_judged() {
    let server = Server::start(hello).await;
    let port = server.address.port();
    for host in ["127.0.0.1", "127.0.0.1.", "[::1]", "[::ffff:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]"] {
        let config = ClientConfig { allow: Allow::Any, ..ClientConfig::default() };
        let result = within(Client::new("test", &config).unwrap().send(get(&format!("http://{host}:{port}/")))).await;
        assert!(matches!(result, Err(Error::Address { class: AddressClass::Loopback, .. })), "{host}: {result:?}");
    }
    // Spellings that a system resolver would read as 127.0.0.1.
    for host in ["127.1", "2130706433", "0x7f000001", "0x7f.1", "127.0.0.01"] {
        let config = ClientConfig { allow: Allow::Any, addresses: LOOPBACK, ..ClientConfig::default() };
        let result = within(Client::new("test", &config).unwrap().send(get(&format!("http://{host}:{port}/")))).await;
        assert!(matches!(result, Err(Error::BadRequest { .. })), "{host}: {result:?}");
    }
    assert_eq!(server.accepted(), 0);
}

#[tokio::test]
async fn naming_an_address_permits_it() {
    let server = Server::start(hello).await;
    let localhost = server.as_host("http", "localhost");
    let answers = Answers::new(&["127.0.0.1"]);

    let named = Client::with_resolver("test", &allowing(&[&localhost]), answers.clone()).unwrap();
    assert_eq!(within(named.send(get(&localhost))).await.unwrap().status(), 200);
    let literal = Client::new("test", &server.config()).unwrap();
    assert_eq!(within(literal.send(get(&server.url("")))).await.unwrap().status(), 200);

    // Not named: the policy decides.
    let any = ClientConfig { allow: Allow::Any, ..ClientConfig::default() };
    let result = within(Client::with_resolver("test", &any, answers).unwrap().send(get(&localhost))).await;
    assert!(matches!(result, Err(Error::Address { class: AddressClass::Loopback, .. })), "{result:?}");
    // `localhost` stands for this machine and nothing else.
    let elsewhere = Client::with_resolver("test", &allowing(&[&localhost]), Answers::new(&["10.0.0.1"])).unwrap();
    let result = within(elsewhere.send(get(&localhost))).await;
    assert!(matches!(result, Err(Error::Address { class: AddressClass::Private, .. })), "{result:?}");
    // What is no destination at all stays refused.
    let zero = server.as_host("http", "0.0.0.0");
    let result = within(Client::new("test", &allowing(&[&zero])).unwrap().send(get(&zero))).await;
    assert!(matches!(result, Err(Error::Address { class: AddressClass::Unspecified, .. })), "{result:?}");
}

#[tokio::test]
async fn a_connection_is_resolved_once() {
    let server = Server::start(hello).await;
    let url = server.as_host("http", "cloud.example");
    let answers = Answers::new(&["127.0.0.1"]);
    let config = ClientConfig { addresses: LOOPBACK, ..allowing(&[&url]) };
    let client = Client::with_resolver("test", &config, answers.clone()).unwrap();
    for _ in 0..3 {
        within(within(client.send(get(&url))).await.unwrap().into_body().bytes(100)).await.unwrap();
    }
    assert_eq!((answers.asked(), server.accepted()), (1, 1));
}

#[tokio::test]
async fn failures_before_the_connection() {
    struct Broken;
    impl Resolve for Broken {
        fn resolve(&self, _: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
            Box::pin(async { Err(io::Error::other("no such name")) })
        }
    }
    let url = "http://cloud.example";
    let host = "cloud.example".to_owned();
    let client = Client::with_resolver("test", &allowing(&[url]), Arc::new(Broken)).unwrap();
    let expected = Error::Resolve { host: host.clone(), reason: "no such name".to_owned() };
    assert_eq!(within(client.send(get(url))).await.unwrap_err(), expected);

    let client = Client::with_resolver("test", &allowing(&[url]), Answers::new(&[])).unwrap();
    let expected = Error::Resolve { host, reason: "the name has no address".to_owned() };
    assert_eq!(within(client.send(get(url))).await.unwrap_err(), expected);

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{closed}");
    let result = within(Client::new("test", &allowing(&[&url])).unwrap().send(get(&url))).await;
    assert!(matches!(result, Err(Error::Connect { kind: io::ErrorKind::ConnectionRefused, .. })), "{result:?}");
}

#[tokio::test]
async fn errors_carry_no_secret() {
    let config = ClientConfig { allow: Allow::Any, addresses: LOOPBACK, ..ClientConfig::default() };
    let client = Client::with_resolver("test", &config, Answers::new(&[])).unwrap();
    let denying = Client::new("test", &ClientConfig::default()).unwrap();
    for url in ["http://cloud.example/canary?key=canary", "http://user:canary@cloud.example/", "http://127.0.0.1:1/?canary"] {
        for client in [&client, &denying] {
            let mut request = get(url);
            request.headers_mut().insert("x-auth-token", "canary".parse().unwrap());
            let error = within(client.send(request)).await.unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("canary"), "{shown}");
        }
    }
}
