//! `open_or_create`: making, finding again, refusing.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ostler_ca::{Authority, Error};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose, PKCS_ED25519};
use secrecy::ExposeSecret;
use x509_parser::extensions::ParsedExtension;
use x509_parser::parse_x509_certificate;
use x509_parser::x509::X509Version;

use crate::support::{agent, authority, days, der, openssl, seconds};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn write_key(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

fn refused(directory: &Path) -> Error {
    Authority::open_or_create(directory).expect_err("opened")
}

#[test]
fn makes_one_and_finds_it_again() {
    let (directory, made) = authority();
    let directory = directory.path().join("ca");
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join("ca_key.pem")), 0o600);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 2, "temporary files are left");
    assert!(fs::read_to_string(directory.join("ca_key.pem")).unwrap().starts_with("-----BEGIN PRIVATE KEY-----\n"));

    let (again, new) = Authority::open_or_create(&directory).unwrap();
    assert!(!new);
    assert_eq!(again.fingerprint(), made.fingerprint());
    assert_eq!(again.certificate_pem(), made.certificate_pem());
    assert_eq!(der(again.certificate_pem().as_bytes()), again.certificate_der());
    let (_other, other) = authority();
    assert_ne!(other.fingerprint(), made.fingerprint());
    assert!(made.fingerprint().len() == 64 && made.fingerprint().bytes().all(|byte| b"0123456789abcdef".contains(&byte)));
}

#[test]
fn the_certificate() {
    let (directory, authority) = authority();
    let (rest, parsed) = parse_x509_certificate(authority.certificate_der()).unwrap();
    assert!(rest.is_empty());
    assert_eq!(parsed.version(), X509Version::V3);
    assert_eq!(parsed.subject(), parsed.issuer());
    assert_eq!(parsed.signature_algorithm.algorithm.to_id_string(), "1.2.840.10045.4.3.2");
    let constraints = parsed.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    let usage = parsed.key_usage().unwrap().unwrap();
    assert!(usage.critical);
    // keyCertSign and cRLSign, and nothing else.
    assert_eq!(usage.value.flags, 0b110_0000);
    assert!(parsed.iter_extensions().any(|found| matches!(found.parsed_extension(), ParsedExtension::SubjectKeyIdentifier(_))));
    let now = seconds(std::time::SystemTime::now());
    let left = parsed.validity().not_after.timestamp() - now;
    assert!((left - seconds(std::time::UNIX_EPOCH + days(3652))).abs() < 3600, "{left}");
    assert!(parsed.validity().not_before.timestamp() < now - 3600);

    let path = directory.path().join("ca/ca_cert.pem");
    if let Some(output) = openssl(&["x509", "-in", path.to_str().unwrap(), "-noout", "-subject", "-nameopt", "multiline"]) {
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<_> = text.lines().skip(1).map(|line| line.split('=').nth(1).unwrap().trim()).collect();
        assert_eq!(lines, ["CA", "ConPaaS", "info@conpaas.eu"]);
    }
}

#[test]
fn the_key_is_not_shown() {
    fn shared<T: Send + Sync>(_: &T) {}
    let (directory, authority) = authority();
    shared(&authority);
    let key = fs::read_to_string(directory.path().join("ca/ca_key.pem")).unwrap();
    let shown = format!("{authority:?} {authority:#?}");
    assert!(shown.contains(&authority.fingerprint()));
    assert!(key.lines().all(|line| !shown.contains(line)));
}

#[test]
fn refuses_a_key_that_others_can_read() {
    let (directory, _authority) = authority();
    let directory = directory.path().join("ca");
    let path = directory.join("ca_key.pem");
    for mode in [0o640, 0o604, 0o620, 0o601, 0o666] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let error = refused(&directory);
        assert!(matches!(&error, Error::Exposed { path: named, mode: seen } if *named == path && *seen == mode), "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
    fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
    assert!(Authority::open_or_create(&directory).is_ok());
}

#[test]
fn refuses_half_of_one() {
    for gone in ["ca_key.pem", "ca_cert.pem"] {
        let (directory, _authority) = authority();
        let directory = directory.path().join("ca");
        fs::remove_file(directory.join(gone)).unwrap();
        let error = refused(&directory);
        assert!(matches!(&error, Error::Incomplete { missing, .. } if *missing == directory.join(gone)), "{error}");
        // Nothing was made in its place.
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
    }
}

#[test]
fn finishes_what_was_interrupted_between_the_two_renames() {
    let (directory, made) = authority();
    let directory = directory.path().join("ca");
    let (certificate, staged) = (directory.join("ca_cert.pem"), directory.join("ca_cert.pem.new"));
    fs::rename(&certificate, &staged).unwrap();
    let (again, new) = Authority::open_or_create(&directory).unwrap();
    assert!(!new && certificate.exists() && !staged.exists());
    assert_eq!(again.fingerprint(), made.fingerprint());

    // A certificate that some other attempt left is not taken.
    let (_other, other) = authority();
    fs::remove_file(&certificate).unwrap();
    fs::write(&staged, other.certificate_pem()).unwrap();
    assert!(matches!(refused(&directory), Error::Incomplete { .. }));
}

#[test]
fn starts_anew_after_an_interruption_before_the_first_rename() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["ca_key.pem.new", "ca_cert.pem.new"] {
        fs::write(directory.path().join(name), "half of it").unwrap();
    }
    assert!(Authority::open_or_create(directory.path()).unwrap().1);
    assert_eq!(mode(&directory.path().join("ca_key.pem")), 0o600);
}

#[test]
fn refuses_other_keys() {
    let (directory, made) = authority();
    let directory = directory.path().join("ca");
    let path = directory.join("ca_key.pem");
    write_key(&path, &KeyPair::generate().unwrap().serialize_pem());
    let error = refused(&directory);
    assert!(matches!(&error, Error::KeyMismatch { .. }), "{error}");

    let ed25519 = KeyPair::generate_for(&PKCS_ED25519).unwrap().serialize_pem();
    for key in [ed25519.as_str(), "", "garbage", made.certificate_pem()] {
        write_key(&path, key);
        let error = refused(&directory);
        assert!(matches!(&error, Error::Unusable { path: named, .. } if *named == path), "{error}");
        assert!(!error.to_string().contains("BEGIN"), "{error}");
    }
}

#[test]
fn refuses_other_certificates() {
    let (directory, made) = authority();
    let directory = directory.path().join("ca");
    let (leaf, leaf_key) = made.issue_with_key(&agent(), std::time::SystemTime::now()).unwrap();
    let key = KeyPair::generate().unwrap();
    let with = |is_ca: IsCa, usages: &[KeyUsagePurpose], names: &[(DnType, &str)]| {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in names {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.is_ca = is_ca;
        params.key_usages = usages.to_vec();
        params.self_signed(&key).unwrap().pem()
    };
    let ca = || IsCa::Ca(BasicConstraints::Unconstrained);
    let both = [KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let name = [(DnType::CommonName, "CA"), (DnType::OrganizationName, "ConPaaS")];
    let cases = [
        (leaf.pem.clone(), "not the certificate of a certificate authority"),
        (with(IsCa::ExplicitNoCa, &both, &name), "not the certificate of a certificate authority"),
        (with(ca(), &both[..1], &name), "key usage"),
        (with(ca(), &both, &name), "emailAddress"),
        ("garbage".to_owned(), "exactly one certificate"),
        (format!("{0}{0}", made.certificate_pem()), "exactly one certificate"),
        (leaf_key.expose_secret().to_owned(), "exactly one certificate"),
    ];
    for (certificate, why) in cases {
        fs::write(directory.join("ca_cert.pem"), &certificate).unwrap();
        let error = refused(&directory).to_string();
        assert!(error.contains(why) && error.contains("ca_cert.pem"), "{error}");
    }
    // Text around the block is no harm.
    fs::write(directory.join("ca_cert.pem"), format!("Our authority.\n{}\n", made.certificate_pem())).unwrap();
    let (again, _) = Authority::open_or_create(&directory).unwrap();
    assert_eq!(again.certificate_pem(), made.certificate_pem());
}
