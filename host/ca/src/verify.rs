//! Reading certificates back: the authority's own when it is opened, every other before it is handed out.

use std::net::IpAddr;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rcgen::{ExtendedKeyUsagePurpose, SanType};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::parse_x509_certificate;
use x509_parser::x509::X509Version;

use crate::claims;
use crate::key::{KeyKind, PublicKey};
use crate::name::Name;

/// What is needed of the authority's certificate to issue others.
#[derive(Debug)]
pub(crate) struct Facts {
    /// The SubjectPublicKeyInfo, for the caller to compare with the key.
    pub(crate) key: Vec<u8>,
    /// Seconds since 1970.
    pub(crate) not_before: i64,
    /// Seconds since 1970, still valid.
    pub(crate) not_after: i64,
    /// The subject key identifier, if there is one.
    pub(crate) key_identifier: Option<Vec<u8>>,
}

/// Checks the certificate of an authority.
pub(crate) fn authority(der: &[u8]) -> Result<Facts, &'static str> {
    let certificate = parse(der)?;
    if certificate.version() != X509Version::V3 {
        return Err("it is not an X.509 v3 certificate");
    }
    match certificate.basic_constraints() {
        Ok(Some(constraints)) if constraints.value.ca => {}
        _ => return Err("it is not the certificate of a certificate authority"),
    }
    match certificate.key_usage() {
        Ok(Some(usage)) if usage.value.key_cert_sign() && usage.value.crl_sign() => {}
        _ => return Err("its key usage does not include signing certificates and revocation lists"),
    }
    let name = Name::authority();
    if !name.is(certificate.subject()) || !name.is(certificate.issuer()) {
        return Err("its subject or issuer is not CN=CA, O=ConPaaS, emailAddress=info@conpaas.eu");
    }
    if !signed_by(&certificate, &certificate.public_key().subject_public_key.data) {
        return Err("it is not signed with its own key, with ECDSA on P-256 and SHA-256");
    }
    let key_identifier = certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0.to_vec()),
        _ => None,
    });
    let validity = certificate.validity();
    Ok(Facts {
        key: certificate.public_key().raw.to_vec(),
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
        key_identifier,
    })
}

/// What a new certificate should say.
pub(crate) struct Meant<'a> {
    pub(crate) subject: &'a Name,
    pub(crate) serial: &'a str,
    pub(crate) key: &'a PublicKey,
    pub(crate) usages: &'a [ExtendedKeyUsagePurpose],
    pub(crate) names: &'a [SanType],
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
    /// The point of the authority's public key.
    pub(crate) authority: &'a [u8],
}

/// Compares a new certificate with what was meant; says what differs.
pub(crate) fn leaf(der: &[u8], meant: &Meant<'_>) -> Result<(), &'static str> {
    let certificate = parse(der)?;
    let validity = certificate.validity();
    let constraints = certificate.basic_constraints().ok().flatten();
    let key_usage = certificate.key_usage().ok().flatten();
    let encipherment = matches!(meant.key.kind(), KeyKind::Rsa { .. });
    // In the order of the bits: digitalSignature is 0, keyEncipherment is 2.
    let flags = if encipherment { 0b101 } else { 0b1 };
    let checks = [
        (certificate.version() == X509Version::V3, "the version"),
        (claims::serial(&certificate) == meant.serial, "the serial number"),
        (Name::authority().is(certificate.issuer()), "the issuer"),
        (meant.subject.is(certificate.subject()), "the subject"),
        (certificate.public_key().raw == meant.key.spki_der(), "the key"),
        (validity.not_before.timestamp() == meant.not_before, "the beginning of the validity"),
        (validity.not_after.timestamp() == meant.not_after, "the end of the validity"),
        (constraints.is_some_and(|found| found.critical && !found.value.ca), "the basic constraints"),
        (key_usage.is_some_and(|found| found.critical && found.value.flags == flags), "the key usage"),
        (extended_usage(&certificate, meant.usages), "the extended key usage"),
        (names(&certificate, meant.names), "the alternative names"),
        (signed_by(&certificate, meant.authority), "the signature"),
    ];
    checks.iter().find(|(right, _)| !right).map_or(Ok(()), |(_, what)| Err(*what))
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, &'static str> {
    match parse_x509_certificate(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err("it is followed by something else"),
        Err(_) => Err("it is not an X.509 certificate"),
    }
}

fn signed_by(certificate: &X509Certificate<'_>, point: &[u8]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
        .verify(certificate.tbs_certificate.as_ref(), &certificate.signature_value.data)
        .is_ok()
}

fn extended_usage(certificate: &X509Certificate<'_>, meant: &[ExtendedKeyUsagePurpose]) -> bool {
    let Ok(Some(found)) = certificate.extended_key_usage() else { return false };
    let usage = found.value;
    let others = usage.any
        || usage.code_signing
        || usage.email_protection
        || usage.time_stamping
        || usage.ocsp_signing
        || !usage.other.is_empty();
    !others
        && usage.server_auth == meant.contains(&ExtendedKeyUsagePurpose::ServerAuth)
        && usage.client_auth == meant.contains(&ExtendedKeyUsagePurpose::ClientAuth)
}

fn names(certificate: &X509Certificate<'_>, meant: &[SanType]) -> bool {
    let found = match certificate.subject_alternative_name() {
        Ok(Some(found)) => &found.value.general_names,
        Ok(None) => return meant.is_empty(),
        Err(_) => return false,
    };
    let same = |(found, meant): (&GeneralName<'_>, &SanType)| match (found, meant) {
        (GeneralName::DNSName(found), SanType::DnsName(meant)) => *found == meant.as_str(),
        (GeneralName::IPAddress(found), SanType::IpAddress(IpAddr::V4(meant))) => *found == meant.octets(),
        (GeneralName::IPAddress(found), SanType::IpAddress(IpAddr::V6(meant))) => *found == meant.octets(),
        _ => false,
    };
    found.len() == meant.len() && found.iter().zip(meant).all(same)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::time::SystemTime;

    use rcgen::KeyPair;

    use super::*;
    use crate::authority::Authority;
    use crate::profile::Profile;

    /// Each part of a certificate is compared: what was meant differs in one part from what was issued, and that part is named.
    #[test]
    fn every_difference_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let (authority, _) = Authority::open_or_create(directory.path()).unwrap();
        let profile = Profile::Director { names: vec!["a.example".to_owned(), "10.0.0.1".to_owned()] };
        let key = PublicKey::of(&KeyPair::generate().unwrap());
        let issued = authority.issue(&profile, &key, SystemTime::now()).unwrap();

        let (subject, names, usages) =
            (profile.subject().unwrap(), profile.alternative_names().unwrap(), profile.extended_key_usages());
        let root = parse(authority.certificate_der()).unwrap();
        let point = root.public_key().subject_public_key.data.to_vec();
        let other_key = PublicKey::of(&KeyPair::generate().unwrap());
        let other_subject = Profile::Agent { uid: 1, service: 2 }.subject().unwrap();
        let other_names = [names[0].clone(), SanType::IpAddress(IpAddr::from([10, 0, 0, 2]))];
        let other_point = rcgen::PublicKeyData::der_bytes(&other_key).to_vec();
        let meant = || Meant {
            subject: &subject,
            serial: &issued.serial,
            key: &key,
            usages: &usages,
            names: &names,
            not_before: issued.not_before / 1_000_000,
            not_after: issued.not_after / 1_000_000,
            authority: &point,
        };
        let right = meant();
        assert_eq!(leaf(&issued.der, &right), Ok(()));
        let cases = [
            (Meant { subject: &other_subject, ..meant() }, "the subject"),
            (Meant { serial: "00", ..meant() }, "the serial number"),
            (Meant { key: &other_key, ..meant() }, "the key"),
            (Meant { usages: &usages[1..], ..meant() }, "the extended key usage"),
            (Meant { names: &names[..1], ..meant() }, "the alternative names"),
            (Meant { names: &other_names, ..meant() }, "the alternative names"),
            (Meant { not_before: right.not_before + 1, ..meant() }, "the beginning of the validity"),
            (Meant { not_after: right.not_after + 1, ..meant() }, "the end of the validity"),
            (Meant { authority: &other_point, ..meant() }, "the signature"),
        ];
        for (wrong, what) in cases {
            assert_eq!(leaf(&issued.der, &wrong), Err(what));
        }
        // The authority's own certificate is no leaf.
        let own = Name::authority();
        let serial = claims::serial(&root);
        let root_key = PublicKey::accept(root.public_key()).unwrap();
        let validity = root.validity();
        let wrong = Meant {
            subject: &own,
            serial: &serial,
            key: &root_key,
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
            ..meant()
        };
        assert_eq!(leaf(authority.certificate_der(), &wrong), Err("the basic constraints"));
    }
}
