//! Connections for other protocols.

use std::net::IpAddr;

use ostler_egress::{AddressClass, AddressPolicy, ClientConfig, ConfigError, Dialer, Error};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{Answers, Authority, within};

#[tokio::test]
async fn addresses_are_judged_as_for_http() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let loopback = AddressPolicy { loopback: true, private: false, link_local: false };
    for (host, addresses, answers, refused) in [
        ("127.0.0.1", AddressPolicy::PUBLIC_ONLY, &[][..], None),
        ("localhost", AddressPolicy::PUBLIC_ONLY, &["127.0.0.1"], None),
        ("mail.example", loopback, &["10.0.0.1", "127.0.0.1"], None),
        ("mail.example", AddressPolicy::PUBLIC_ONLY, &["127.0.0.1"], Some(("127.0.0.1", AddressClass::Loopback))),
        ("mail.example", AddressPolicy::PROVIDER, &["169.254.169.254"], Some(("169.254.169.254", AddressClass::Metadata))),
        ("0.0.0.0", loopback, &[], Some(("0.0.0.0", AddressClass::Unspecified))),
    ] {
        let config = ClientConfig { addresses, ..ClientConfig::default() };
        let dialer = Dialer::with_resolver(host, port, &config, Answers::new(answers)).unwrap();
        let outcome = within(dialer.connect()).await;
        match refused {
            None => assert_eq!(outcome.unwrap().peer_addr().unwrap().port(), port, "{host}"),
            Some((address, class)) => {
                let address: IpAddr = address.parse().unwrap();
                assert_eq!(outcome.unwrap_err(), Error::Address { host: host.into(), address, class });
            }
        }
    }
    drop(listener);
    let dialer = Dialer::new("127.0.0.1", port, &ClientConfig::default()).unwrap();
    assert!(matches!(within(dialer.connect()).await, Err(Error::Connect { .. })));
    for host in ["", "a b", "user@host", "::1", "127.1", "*.example.org"] {
        assert!(matches!(Dialer::new(host, 25, &ClientConfig::default()), Err(ConfigError::Host(_))), "{host}");
    }
}

#[tokio::test]
async fn tls_is_with_the_host_and_nobody_else() {
    let ca = Authority::new();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(ca.server("localhost", None, &[])));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let _ = stream.write_all(b"hello").await;
                let _ = stream.shutdown().await;
            }
        }
    });
    let trusting = ClientConfig { ca_pem: Some(ca.pem.clone().into_bytes()), ca_only: true, ..ClientConfig::default() };
    for (host, config, fine) in
        [("localhost", &trusting, true), ("127.0.0.1", &trusting, false), ("localhost", &ClientConfig::default(), false)]
    {
        let dialer = Dialer::with_resolver(host, port, config, Answers::new(&["127.0.0.1"])).unwrap();
        let stream = within(dialer.connect()).await.unwrap();
        match within(dialer.secure(stream)).await {
            Ok(mut stream) => {
                let mut text = String::new();
                within(stream.read_to_string(&mut text)).await.unwrap();
                assert!(fine && text == "hello", "{host}");
            }
            Err(error) => assert!(!fine && matches!(error, Error::Tls { certificate: true, .. }), "{host}: {error}"),
        }
    }
}
