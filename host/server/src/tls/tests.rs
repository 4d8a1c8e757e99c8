#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

fn self_signed(directory: &Path, public_host: Option<&str>) -> CertificateSource {
    CertificateSource::SelfSigned { directory: directory.join("data/tls"), public_host: public_host.map(str::to_owned) }
}

fn leaf(source: CertificateSource) -> CertificateDer<'static> {
    ServerCertificate::load(source).unwrap().leaf().unwrap()
}

#[test]
fn a_generated_certificate_is_kept_while_it_suits() {
    let directory = tempfile::tempdir().unwrap();
    let source = self_signed(directory.path(), None);
    let first = leaf(source.clone());
    assert_eq!(leaf(source.clone()), first, "kept");

    let named = leaf(self_signed(directory.path(), Some("ostler.example")));
    assert_ne!(named, first, "the new host is missing from the old one");
    assert_eq!(leaf(source.clone()), named, "more names do not hurt");

    let key = directory.path().join("data/tls/key.pem");
    fs::write(&key, "damaged").unwrap();
    let repaired = leaf(source.clone());
    assert_ne!(repaired, named);

    fs::write(&key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    assert_ne!(leaf(source), repaired, "a key that is not the certificate's");
}

#[test]
fn an_ending_certificate_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let source = self_signed(directory.path(), None);
    let certificate = ServerCertificate::load(source.clone()).unwrap();
    let lasts = certificate.expires().unwrap().duration_since(SystemTime::now()).unwrap();
    assert!(lasts > VALIDITY - Duration::from_hours(1) && lasts <= VALIDITY, "{lasts:?}");

    let mut params = rcgen::CertificateParams::new(["localhost", "127.0.0.1", "::1"].map(str::to_owned)).unwrap();
    params.not_after = (SystemTime::now() + RENEWAL - Duration::from_hours(1)).into();
    let pair = rcgen::KeyPair::generate().unwrap();
    let ending = params.self_signed(&pair).unwrap();
    fs::write(directory.path().join("data/tls/key.pem"), pair.serialize_pem()).unwrap();
    fs::write(directory.path().join("data/tls/cert.pem"), ending.pem()).unwrap();
    assert_ne!(leaf(source), *ending.der());
}

#[cfg(unix)]
#[test]
fn only_the_owner_reads_what_was_generated() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    leaf(self_signed(directory.path(), None));
    for (path, mode) in [("data/tls", 0o700), ("data/tls/key.pem", 0o600), ("data/tls/cert.pem", 0o600)] {
        let permissions = fs::metadata(directory.path().join(path)).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o777, mode, "{path}");
    }
}

#[test]
fn unusable_files_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    let pair = rcgen::KeyPair::generate().unwrap();
    let pem = rcgen::CertificateParams::new(vec!["a".to_owned()]).unwrap().self_signed(&pair).unwrap().pem();
    let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let damaged = "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n";
    for (chain, secret, expected) in [
        (None, Some(&*other), "cert.pem: No such file"),
        (Some(&*pem), None, "key.pem: No such file"),
        (Some(""), Some(&*other), "cert.pem contains no certificate in PEM"),
        (Some(damaged), Some(&*other), "cert.pem contains no certificates in PEM"),
        (Some(&*pem), Some(&*pem), "key.pem contains no private key in PEM"),
        (Some(&*pem), Some(&*other), "the certificate cannot be used: keys may not be consistent"),
    ] {
        for (path, content) in [(&certificate, chain), (&key, secret)] {
            let _ = fs::remove_file(path);
            if let Some(content) = content {
                fs::write(path, content).unwrap();
            }
        }
        let source = CertificateSource::Files { certificate: certificate.clone(), key: key.clone() };
        let error = ServerCertificate::load(source).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn the_configuration_chooses_the_source() {
    let data = Path::new("data");
    let public_url = |url: &str| crate::config::Server { public_url: Some(url.parse().unwrap()), ..Default::default() };
    for (server, host) in [
        (crate::config::Server::default(), None),
        (public_url("https://ostler.example:5555"), Some("ostler.example")),
        (public_url("https://[fd00::1]"), Some("fd00::1")),
    ] {
        let CertificateSource::SelfSigned { directory, public_host } = CertificateSource::from_config(&server, data) else {
            panic!("files")
        };
        assert_eq!((directory, public_host.as_deref()), (data.join("tls"), host));
    }
    let files = crate::config::Server { tls_certificate: Some("c".into()), tls_key: Some("k".into()), ..Default::default() };
    assert!(matches!(CertificateSource::from_config(&files, data), CertificateSource::Files { .. }));
}
