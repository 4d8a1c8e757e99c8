//! What the tests share.

use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ostler_ca::{Authority, Error, Profile};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use tempfile::TempDir;

pub(crate) fn authority() -> (TempDir, Authority) {
    let directory = tempfile::tempdir().unwrap();
    let (authority, made) = Authority::open_or_create(&directory.path().join("ca")).unwrap();
    assert!(made);
    (directory, authority)
}

pub(crate) fn user() -> Profile {
    Profile::User { uid: 3, username: "ann".to_owned(), email: Some("ann@example.org".to_owned()) }
}

pub(crate) fn manager() -> Profile {
    Profile::Manager { uid: 3, service: 5 }
}

pub(crate) fn agent() -> Profile {
    Profile::Agent { uid: 3, service: 5 }
}

pub(crate) fn director() -> Profile {
    let names = ["director.example", "10.1.2.3", "::1", "director.example"];
    Profile::Director { names: names.map(str::to_owned).to_vec() }
}

pub(crate) fn value_error(result: Result<impl Sized, Error>) -> &'static str {
    match result.err() {
        Some(Error::Value { what, .. }) => what,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed()
}

pub(crate) fn days(count: u64) -> Duration {
    Duration::from_hours(24 * count)
}

fn roots(authority: &Authority) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate_der().to_vec().into()).unwrap();
    Arc::new(roots)
}

/// Whether a TLS server that trusts the authority accepts a client with this certificate.
pub(crate) fn as_client(authority: &Authority, leaf: &[u8], crls: &[Vec<u8>], now: SystemTime) -> Result<(), rustls::Error> {
    let crls = crls.iter().cloned().map(CertificateRevocationListDer::from);
    WebPkiClientVerifier::builder_with_provider(roots(authority), Arc::new(aws_lc_rs::default_provider()))
        .with_crls(crls)
        .enforce_revocation_expiration()
        .build()
        .unwrap()
        .verify_client_cert(&CertificateDer::from(leaf), &[], unix(now))
        .map(|_| ())
}

/// Whether a TLS client that trusts the authority accepts a server with this certificate.
pub(crate) fn as_server(authority: &Authority, leaf: &[u8], name: &str) -> Result<(), rustls::Error> {
    let name = ServerName::try_from(name).unwrap();
    WebPkiServerVerifier::builder_with_provider(roots(authority), Arc::new(aws_lc_rs::default_provider()))
        .build()
        .unwrap()
        .verify_server_cert(&CertificateDer::from(leaf), &[], &name, &[], unix(SystemTime::now()))
        .map(|_| ())
}

fn unix(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(UNIX_EPOCH).unwrap())
}

pub(crate) fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    let body = STANDARD.encode(der);
    let lines: Vec<_> = body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n")).into_bytes()
}

pub(crate) fn der(pem: &[u8]) -> Vec<u8> {
    x509_parser::pem::parse_x509_pem(pem).unwrap().1.contents
}

/// Runs OpenSSL; nothing where it is not installed.
pub(crate) fn openssl(arguments: &[&str]) -> Option<Output> {
    Command::new("openssl").args(arguments).output().ok()
}

/// Replaces the only occurrence of some bytes by as many others.
pub(crate) fn patch(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let found: Vec<_> = bytes.windows(old.len()).enumerate().filter(|(_, window)| *window == old).collect();
    let [(position, _)] = found[..] else { panic!("{} occurrences", found.len()) };
    [&bytes[..position], new, &bytes[position + old.len()..]].concat()
}
