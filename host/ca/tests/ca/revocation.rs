//! Revocation lists.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ostler_ca::{Error, RevocationReason, Revoked};
use rustls::CertificateError;
use x509_parser::parse_x509_crl;
use x509_parser::x509::X509Version;

use crate::support::{agent, as_client, authority, days, manager, openssl, pem, seconds, user};

#[test]
fn revoked_certificates_are_refused_and_others_are_not() {
    let (_directory, authority) = authority();
    let now = SystemTime::now();
    let issue = |profile| authority.issue_with_key(&profile, now).unwrap().0;
    let (stopped, stolen, good) = (issue(agent()), issue(user()), issue(manager()));
    let revoked = |serial: &str, reason| Revoked { serial: serial.to_owned(), at: now - Duration::from_secs(5), reason };
    let list = [
        revoked(&stopped.serial, RevocationReason::CessationOfOperation),
        revoked(&stolen.serial, RevocationReason::KeyCompromise),
    ];
    let crl = [authority.crl(7, &list, now, now + days(1)).unwrap()];
    for leaf in [&stopped, &stolen] {
        let refused = as_client(&authority, &leaf.der, &crl, now).unwrap_err();
        assert_eq!(refused, rustls::Error::InvalidCertificate(CertificateError::Revoked));
    }
    as_client(&authority, &good.der, &crl, now).unwrap();
    // Once the list has ended, a server that enforces this trusts nobody.
    as_client(&authority, &good.der, &crl, now + days(2)).unwrap_err();
    // A list of another authority says nothing about ours.
    let (_other, other) = crate::support::authority();
    let foreign = [other.crl(1, &[], now, now + days(1)).unwrap()];
    as_client(&authority, &good.der, &foreign, now).unwrap_err();
}

#[test]
fn what_a_list_says() {
    let (directory, authority) = authority();
    let reasons = [
        (RevocationReason::Unspecified, None),
        (RevocationReason::KeyCompromise, Some(1)),
        (RevocationReason::AffiliationChanged, Some(3)),
        (RevocationReason::Superseded, Some(4)),
        (RevocationReason::CessationOfOperation, Some(5)),
        (RevocationReason::PrivilegeWithdrawn, Some(9)),
    ];
    let now = SystemTime::now();
    let serial = |number: usize| format!("{number:032x}");
    let list: Vec<_> = reasons
        .iter()
        .enumerate()
        .map(|(number, (reason, _))| Revoked { serial: serial(number + 1), at: now - days(1), reason: *reason })
        .collect();
    for (number, list) in [(0, &list[..]), (1, &[]), (128, &list), (u64::MAX, &list)] {
        let der = authority.crl(number, list, now, now + days(7)).unwrap();
        let (rest, parsed) = parse_x509_crl(&der).unwrap();
        assert!(rest.is_empty());
        assert_eq!(parsed.version(), Some(X509Version::V2));
        assert_eq!(parsed.issuer().iter_common_name().next().unwrap().as_str(), Ok("CA"));
        assert_eq!(parsed.crl_number().unwrap().to_string(), number.to_string());
        assert_eq!(parsed.last_update().timestamp(), seconds(now));
        assert_eq!(parsed.next_update().unwrap().timestamp(), seconds(now + days(7)));
        let entries: Vec<_> = parsed.iter_revoked_certificates().collect();
        assert_eq!(entries.len(), list.len());
        for (entry, (number, (_, code))) in entries.iter().zip(reasons.iter().enumerate()) {
            assert_eq!(format!("{:0>32}", entry.user_certificate.to_str_radix(16)), serial(number + 1));
            assert_eq!(entry.revocation_date.timestamp(), seconds(now - days(1)));
            assert_eq!(entry.reason_code().map(|(_, found)| found.0), *code);
        }

        let path = directory.path().join("crl.pem");
        fs::write(&path, pem("X509 CRL", &der)).unwrap();
        let ca = directory.path().join("ca/ca_cert.pem");
        let arguments = ["crl", "-noout", "-in", path.to_str().unwrap(), "-CAfile", ca.to_str().unwrap()];
        if let Some(output) = openssl(&arguments) {
            assert!(String::from_utf8_lossy(&output.stderr).contains("verify OK"), "{output:?}");
        }
    }
}

#[test]
fn refuses() {
    let (_directory, authority) = authority();
    let now = SystemTime::now();
    for serial in ["", "0", "00", "0g", "AB", "-1", &"1".repeat(42), &"1".repeat(31)] {
        let list = [Revoked { serial: serial.to_owned(), at: now, reason: RevocationReason::Unspecified }];
        assert!(matches!(authority.crl(1, &list, now, now + days(1)), Err(Error::Serial(found)) if found == serial));
    }
    let before = UNIX_EPOCH - Duration::from_secs(1);
    let list = [Revoked { serial: "01".to_owned(), at: before, reason: RevocationReason::Unspecified }];
    assert!(matches!(authority.crl(1, &list, now, now + days(1)), Err(Error::Time(_))));
    for (this, next) in [(now, now), (now, now - days(1)), (before, now), (now, UNIX_EPOCH + days(365 * 9000))] {
        assert!(matches!(authority.crl(1, &[], this, next), Err(Error::Time(_))));
    }
}
