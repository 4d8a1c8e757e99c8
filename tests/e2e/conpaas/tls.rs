//! The certificate of HTTPS: one of files in the place of our own, for the versions of TLS that clients have.

use super::config;
use ostler_tests::director::{Director, form};
use ostler_tests::{Client, PATIENCE, Setup, eventually};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use std::path::Path;
use std::sync::Arc;

/// Writes a chain and a key for `localhost` of an authority that is new; its certificate, PEM.
fn write(directory: &Path) -> String {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let leaf_key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&leaf_key, &issuer).unwrap();
    std::fs::write(directory.join("chain.pem"), format!("{}{authority}", leaf.pem())).unwrap();
    std::fs::write(directory.join("key.pem"), leaf_key.serialize_pem()).unwrap();
    authority
}

/// How a client trusts this authority, by this version; with a certificate of its own.
fn trusting(
    authority: &str,
    version: &'static SupportedProtocolVersion,
    identity: Option<&ostler_tests::director::Identity>,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    let builder = builder.with_root_certificates(roots);
    match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = vec![CertificateDer::from_pem_slice(identity.cert.as_bytes()).unwrap()];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap()).unwrap()
        }
    }
}

#[tokio::test]
async fn a_certificate_of_files_is_served_and_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let first = write(directory.path());
    let path = |name: &str| directory.path().join(name).display().to_string();
    let files = format!("[server]\ntls_certificate = \"{}\"\ntls_key = \"{}\"\n", path("chain.pem"), path("key.pem"));
    let server = Setup::configured(format!("{}\n{files}", config())).arg("--listen-tls").arg("127.0.0.1:0").start().await;
    let address = server.tls_address();
    let client = |authority: &str, version, identity| Client::tls(address, trusting(authority, version, identity));
    let version = async |mut client: Client| {
        let request = client.request("GET", "/version", &[], "");
        client.send(request).await.map(|reply| reply.status)
    };

    // Registration by the certificate of the files; clients' certificates are our own authority's all the same.
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let fields = [("username", "ann"), ("fname", "A"), ("lname", "B"), ("email", "a@example.org"), ("affiliation", "VU")];
    let fields = [&fields[..], &[("password", "right horse"), ("credit", "5")]].concat();
    let made = client(&first, &TLS13, None).call("POST", "/new_user", &headers, form(&fields)).await;
    assert!(made.json()["uid"].is_i64(), "{}", made.text());
    let archive = client(&first, &TLS13, None).call("POST", "/getcerts", &headers, form(&fields)).await;
    let (ann, _) = ostler_tests::director::Identity::unzip(&archive.body);
    for tls in [&TLS12, &TLS13] {
        assert_eq!(version(client(&first, tls, None)).await, Ok(200), "{tls:?}");
        let listed = client(&first, tls, Some(&ann)).call("POST", "/list", &[], "").await;
        assert_eq!((listed.status, listed.text()), (200, "[]"), "{tls:?}");
        assert_eq!(client(&first, tls, None).call("POST", "/list", &[], "").await.status, 401, "{tls:?}");
    }
    let refused = Director::of(&server).client(None);
    let request = refused.request("GET", "/version", &[], "");
    let mut refused = refused;
    assert!(refused.send(request).await.is_err(), "it is not our own");

    // Another one in its place: connections stay, new ones see it.
    let mut open = client(&first, &TLS13, Some(&ann));
    assert_eq!(open.call("POST", "/list", &[], "").await.status, 200);
    let second = write(directory.path());
    server.hang_up();
    eventually("the new certificate is shown", PATIENCE, async || {
        (version(client(&second, &TLS12, None)).await == Ok(200)).then_some(())
    })
    .await;
    assert!(version(client(&first, &TLS13, None)).await.is_err());
    assert_eq!(open.call("POST", "/list", &[], "").await.status, 200);
    // What cannot be read changes nothing.
    std::fs::write(directory.path().join("key.pem"), "no key").unwrap();
    server.hang_up();
    let told = "the certificate could not be read again";
    eventually("the failure is told", PATIENCE, async || server.log().contains(told).then_some(())).await;
    assert_eq!(version(client(&second, &TLS13, None)).await, Ok(200));
}
