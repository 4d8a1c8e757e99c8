#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use ostler_store::{Options, Store};

async fn authority(directory: &Path) -> Authority {
    let store = Store::open("sqlite::memory:", &Options::default()).await.unwrap();
    Authority::open(&directory.join("ca"), store).await.unwrap()
}

fn own(directory: &Path, names: &[&str]) -> OwnCertificate {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    OwnCertificate::new(&crate::config::Server { tls_names: names, ..Default::default() }, directory)
}

fn leaf(own: &OwnCertificate) -> CertificateDer<'static> {
    ServerCertificate::load(own.files()).unwrap().leaf().unwrap()
}

#[tokio::test]
async fn our_certificate_is_kept_while_it_suits() {
    let directory = tempfile::tempdir().unwrap();
    let authority = authority(directory.path()).await;
    let plain = own(directory.path(), &[]);
    assert!(plain.ensure(&authority).await.unwrap());
    let first = leaf(&plain);
    assert!(!plain.ensure(&authority).await.unwrap(), "kept");

    let named = own(directory.path(), &["ostler.example", "192.0.2.7"]);
    assert!(named.ensure(&authority).await.unwrap(), "the new names are missing from the old one");
    assert!(!plain.ensure(&authority).await.unwrap(), "more names do not hurt");
    assert_ne!(leaf(&named), first);

    for damage in ["damaged".to_owned(), rcgen::KeyPair::generate().unwrap().serialize_pem()] {
        fs::write(plain.files().key, &damage).unwrap();
        assert!(plain.ensure(&authority).await.unwrap(), "{damage}");
    }
}

#[tokio::test]
async fn a_certificate_that_ends_or_is_anothers_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let authority = authority(directory.path()).await;
    let plain = own(directory.path(), &[]);
    plain.ensure(&authority).await.unwrap();
    // Of another authority, and good for long.
    let pair = rcgen::KeyPair::generate().unwrap();
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let foreign = rcgen::CertificateParams::new(names).unwrap().self_signed(&pair).unwrap();
    fs::write(plain.files().key, pair.serialize_pem()).unwrap();
    fs::write(plain.files().certificate, foreign.pem()).unwrap();
    assert!(plain.ensure(&authority).await.unwrap());
    assert!(!plain.ensure(&authority).await.unwrap());
    // Of our own, and not for ever.
    let kept = plain.files().load().unwrap();
    assert!(plain.suits(&kept, &authority, RENEWAL));
    assert!(!plain.suits(&kept, &authority, Duration::from_hours(24 * 731)));
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_reads_what_was_made() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    own(directory.path(), &[]).ensure(&authority(directory.path()).await).await.unwrap();
    let modes = [("ca", 0o700), ("ca/ca_key.pem", 0o600), ("tls", 0o700), ("tls/key.pem", 0o600), ("tls/cert.pem", 0o600)];
    for (path, mode) in modes {
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
        let source = CertificateFiles { certificate: certificate.clone(), key: key.clone() };
        let error = ServerCertificate::load(source).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn the_certificate_names_the_public_host_and_this_machine() {
    let public_url = |url: &str| crate::config::Server { public_url: Some(url.parse().unwrap()), ..Default::default() };
    for (server, first) in [
        (crate::config::Server::default(), "localhost"),
        (public_url("https://ostler.example:5555"), "ostler.example"),
        (public_url("https://[fd00::1]"), "fd00::1"),
        (public_url("https://localhost:5555"), "localhost"),
    ] {
        let names = OwnCertificate::new(&server, Path::new("data")).names;
        assert_eq!(names[0], first);
        for local in ["localhost", "127.0.0.1", "::1"] {
            assert_eq!(names.iter().filter(|name| *name == local).count(), 1, "{names:?}");
        }
    }
}
