//! What is issued, read back by x509-parser, rustls and OpenSSL.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ostler_ca::{Error, Profile, Role, claims};
use secrecy::ExposeSecret;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::parse_x509_certificate;
use x509_parser::x509::X509Version;

use crate::support::{agent, as_client, as_server, authority, days, der, director, manager, openssl, seconds, user};

const UID: &str = "0.9.2342.19200300.100.1.1";
const LOCATOR: &str = "1.3.6.1.5.5.7.48.1.7";
const ROLE: &str = "2.5.4.72";
const EMAIL: &str = "1.2.840.113549.1.9.1";
const CN: &str = "2.5.4.3";
const O: &str = "2.5.4.10";

fn subject(certificate: &X509Certificate<'_>) -> Vec<(String, u32, String)> {
    let attributes = certificate.subject().iter_attributes();
    attributes
        .map(|found| (found.attr_type().to_id_string(), found.attr_value().tag().0, found.as_str().unwrap().to_owned()))
        .collect()
}

/// A profile, the attributes of its subject, whether it serves, its days, and the subject as text.
type Case = (Profile, &'static [(&'static str, &'static str)], bool, u64, &'static str);

#[test]
fn profiles() {
    let (_directory, authority) = authority();
    let now = SystemTime::now();
    let cases: [Case; 4] = [
        (
            user(),
            &[(CN, "ann"), (O, "Contrail"), (UID, "3"), (ROLE, "user"), (LOCATOR, "0"), (EMAIL, "ann@example.org")],
            false,
            365,
            "CN=ann, O=Contrail, UID=3, role=user, serviceLocator=0, emailAddress=ann@example.org",
        ),
        (
            manager(),
            &[(CN, "ConPaaS"), (O, "Contrail"), (UID, "3"), (ROLE, "manager"), (LOCATOR, "5"), (EMAIL, "info@conpaas.eu")],
            true,
            365,
            "CN=ConPaaS, O=Contrail, UID=3, role=manager, serviceLocator=5, emailAddress=info@conpaas.eu",
        ),
        (
            agent(),
            &[(CN, "ConPaaS"), (O, "ConPaaS"), (UID, "3"), (ROLE, "agent"), (LOCATOR, "5"), (EMAIL, "info@conpaas.eu")],
            true,
            365,
            "CN=ConPaaS, O=ConPaaS, UID=3, role=agent, serviceLocator=5, emailAddress=info@conpaas.eu",
        ),
        (
            director(),
            &[(CN, "director.example"), (O, "ConPaaS"), (ROLE, "frontend"), (EMAIL, "info@conpaas.eu")],
            true,
            730,
            "CN=director.example, O=ConPaaS, role=frontend, emailAddress=info@conpaas.eu",
        ),
    ];
    for (profile, attributes, server, lifetime, line) in cases {
        let (issued, key) = authority.issue_with_key(&profile, now).unwrap();
        assert_eq!(issued.subject, line);
        assert_eq!(der(issued.pem.as_bytes()), issued.der);
        assert!(key.expose_secret().starts_with("-----BEGIN PRIVATE KEY-----\n"));
        let (rest, parsed) = parse_x509_certificate(&issued.der).unwrap();
        assert!(rest.is_empty());
        assert_eq!(parsed.version(), X509Version::V3);
        let expected: Vec<_> = attributes
            .iter()
            .map(|(oid, value)| ((*oid).to_owned(), if *oid == EMAIL { 22 } else { 12 }, (*value).to_owned()))
            .collect();
        assert_eq!(subject(&parsed), expected);
        assert_eq!(parsed.issuer().iter_common_name().next().unwrap().as_str(), Ok("CA"));
        assert_eq!(parsed.signature_algorithm.algorithm.to_id_string(), "1.2.840.10045.4.3.2");
        let constraints = parsed.basic_constraints().unwrap().unwrap();
        assert!(constraints.critical && !constraints.value.ca);
        assert_eq!(parsed.key_usage().unwrap().unwrap().value.flags, 1, "digitalSignature only");
        let usage = parsed.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && usage.server_auth == server && !usage.any && usage.other.is_empty());
        assert_eq!(parsed.validity().not_before.timestamp(), seconds(now) - 300);
        assert_eq!(parsed.validity().not_after.timestamp(), seconds(now + days(lifetime)));
        assert_eq!(issued.not_before, (seconds(now) - 300) * 1_000_000);
        assert_eq!(issued.not_after, seconds(now + days(lifetime)) * 1_000_000);
        assert_eq!(authority_key(&parsed), subject_key(&parse_x509_certificate(authority.certificate_der()).unwrap().1));

        let read = claims(&issued.der).unwrap();
        assert_eq!((read.serial, read.role), (issued.serial, Some(profile.role())));
        assert_eq!(read.common_name.as_deref(), Some(attributes[0].1));
        let number = |oid: &str| attributes.iter().find(|(found, _)| *found == oid).map(|(_, value)| value.parse().unwrap());
        assert_eq!((read.uid, read.service), (number(UID), number(LOCATOR)));
    }
}

fn authority_key(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(found) => found.key_identifier.as_ref().map(|key| key.0.to_vec()),
        _ => None,
    })
}

fn subject_key(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(found) => Some(found.0.to_vec()),
        _ => None,
    })
}

#[test]
fn alternative_names() {
    let (_directory, authority) = authority();
    let (issued, _) = authority.issue_with_key(&director(), SystemTime::now()).unwrap();
    let (_, parsed) = parse_x509_certificate(&issued.der).unwrap();
    let names = &parsed.subject_alternative_name().unwrap().unwrap().value.general_names;
    let v6 = std::net::Ipv6Addr::LOCALHOST.octets();
    let expected =
        [GeneralName::DNSName("director.example"), GeneralName::IPAddress(&[10, 1, 2, 3]), GeneralName::IPAddress(&v6)];
    assert_eq!(*names, expected);
    for profile in [user(), manager(), agent()] {
        let (issued, _) = authority.issue_with_key(&profile, SystemTime::now()).unwrap();
        let (_, parsed) = parse_x509_certificate(&issued.der).unwrap();
        assert!(parsed.subject_alternative_name().unwrap().is_none());
    }
}

#[test]
fn tls_accepts_them() {
    let (_directory, authority) = authority();
    let (_other, stranger) = crate::support::authority();
    let now = SystemTime::now();
    let crl = authority.crl(1, &[], now, now + days(1)).unwrap();
    for profile in [user(), manager(), agent(), director()] {
        let (issued, _) = authority.issue_with_key(&profile, now).unwrap();
        as_client(&authority, &issued.der, std::slice::from_ref(&crl), now).unwrap();
        as_client(&authority, &issued.der, &[], now).unwrap();
        as_client(&authority, &issued.der, &[], now - Duration::from_mins(4)).unwrap();
        as_client(&authority, &issued.der, &[], now - Duration::from_mins(6)).unwrap_err();
        as_client(&authority, &issued.der, &[], now + days(731)).unwrap_err();
        as_client(&stranger, &issued.der, &[], now).unwrap_err();
        if profile.role() == Role::Frontend {
            for name in ["director.example", "10.1.2.3", "::1"] {
                as_server(&authority, &issued.der, name).unwrap();
            }
            as_server(&stranger, &issued.der, "director.example").unwrap_err();
        }
        as_server(&authority, &issued.der, "elsewhere.example").unwrap_err();
    }
    // The authority's own certificate is nobody's identity.
    as_client(&authority, authority.certificate_der(), &[], now).unwrap_err();
}

#[test]
fn openssl_accepts_them() {
    let (directory, authority) = authority();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (ca, leaf, key) = (path("ca/ca_cert.pem"), path("leaf.pem"), path("key.pem"));
    for (profile, purpose) in [(user(), "sslclient"), (manager(), "sslserver"), (agent(), "sslclient"), (director(), "sslserver")]
    {
        let (issued, secret) = authority.issue_with_key(&profile, SystemTime::now()).unwrap();
        fs::write(&leaf, &issued.pem).unwrap();
        fs::write(&key, secret.expose_secret()).unwrap();
        let Some(verified) = openssl(&["verify", "-x509_strict", "-purpose", purpose, "-CAfile", &ca, &leaf]) else { return };
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));

        let name = openssl(&["x509", "-in", &leaf, "-noout", "-subject", "-nameopt", "oneline"]).unwrap();
        let name = String::from_utf8(name.stdout).unwrap();
        assert!(name.contains(&format!("role = {}", profile.role().as_str())), "{name}");
        if matches!(profile, Profile::Manager { .. } | Profile::Agent { .. }) {
            assert!(name.contains("UID = 3") && name.contains("serviceLocator = 5"), "{name}");
        }
        let of_certificate = openssl(&["x509", "-in", &leaf, "-noout", "-pubkey"]).unwrap().stdout;
        let of_key = openssl(&["pkey", "-in", &key, "-pubout"]).unwrap().stdout;
        assert!(!of_key.is_empty() && of_key == of_certificate, "the key is another");
    }
}

#[test]
fn serial_numbers() {
    let (_directory, authority) = authority();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..200 {
        let (issued, _) = authority.issue_with_key(&user(), SystemTime::now()).unwrap();
        let (_, parsed) = parse_x509_certificate(&issued.der).unwrap();
        assert_eq!(parsed.raw_serial().len(), 16);
        assert_eq!(issued.serial, parsed.raw_serial_as_string().replace(':', ""));
        assert!(seen.insert(issued.serial));
    }
}

#[test]
fn nothing_outlives_the_authority() {
    let (_directory, authority) = authority();
    let (_, parsed) = parse_x509_certificate(authority.certificate_der()).unwrap();
    let (first, last) = (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
    let at = |seconds: i64| UNIX_EPOCH + Duration::from_secs(seconds.cast_unsigned());
    let issue = |time| authority.issue_with_key(&user(), time).map(|(issued, _)| issued);

    let late = issue(at(last - 60)).unwrap();
    assert_eq!(late.not_after, last * 1_000_000);
    let early = issue(at(first)).unwrap();
    assert_eq!(early.not_before, first * 1_000_000);
    for time in [at(last), at(first - 1), at(last + 1_000_000)] {
        assert!(matches!(issue(time), Err(Error::NotValidNow)));
    }
    for time in [UNIX_EPOCH - Duration::from_secs(1), UNIX_EPOCH + days(365 * 9000)] {
        assert!(matches!(issue(time), Err(Error::Time(_))));
    }
}
