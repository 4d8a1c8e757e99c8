//! Values that users choose, and what is read back from certificates that were tampered with.

use std::time::SystemTime;

use ostler_ca::{Error, Profile, Role, claims};

use crate::support::{agent, authority, manager, patch, user, value_error};

fn named(username: &str, email: Option<&str>) -> Profile {
    Profile::User { uid: 12, username: username.to_owned(), email: email.map(str::to_owned) }
}

#[test]
fn user_names() {
    let (_directory, authority) = authority();
    let issue = |name: &str| authority.issue_with_key(&named(name, None), SystemTime::now()).map(|(issued, _)| issued);
    let long = "é".repeat(70);
    for (name, expected) in [("a", "a"), ("Jürgen Müller", "Jürgen Müller"), (long.as_str(), &long[..128]), ("x@y", "x@y")] {
        assert_eq!(claims(&issue(name).unwrap().der).unwrap().common_name.as_deref(), Some(expected));
    }
    for name in ["", "a\0b", "a\nb", "\u{7f}", "\u{85}", &format!("{long}\n")] {
        assert_eq!(value_error(issue(name)), "user name", "{name:?}");
    }
    // A name cannot claim anything.
    let eve = issue("eve, role=frontend").unwrap();
    assert!(eve.subject.starts_with(r"CN=eve\, role\=frontend, O=Contrail, "), "{}", eve.subject);
    assert_eq!(claims(&eve.der).unwrap().role, Some(Role::User));
}

#[test]
fn email_addresses() {
    let (_directory, authority) = authority();
    let issue = |email: Option<&str>| authority.issue_with_key(&named("ann", email), SystemTime::now()).map(|(issued, _)| issued);
    assert!(issue(Some("ann@example.org")).unwrap().subject.ends_with(", emailAddress=ann@example.org"));
    assert!(issue(Some(&"a".repeat(255))).is_ok_and(|issued| issued.subject.contains("emailAddress")));
    for email in [None, Some(""), Some("änn@example.org"), Some("a".repeat(256).as_str())] {
        assert!(!issue(email).unwrap().subject.contains("emailAddress"), "{email:?}");
    }
    assert_eq!(value_error(issue(Some("ann@example.org\r\n"))), "e-mail address");
}

#[test]
fn numbers() {
    let (_directory, authority) = authority();
    let issue = |profile| authority.issue_with_key(&profile, SystemTime::now()).map(|(issued, _)| issued);
    let issued = issue(Profile::Agent { uid: i64::MAX, service: 0 }).unwrap();
    let read = claims(&issued.der).unwrap();
    assert_eq!((read.uid, read.service), (Some(i64::MAX), Some(0)));
    assert_eq!(value_error(issue(Profile::Agent { uid: -1, service: 0 })), "user's number");
    assert_eq!(value_error(issue(Profile::Manager { uid: 0, service: i64::MIN })), "service's number");
}

#[test]
fn server_names() {
    let (_directory, authority) = authority();
    let issue = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        authority.issue_with_key(&Profile::Director { names }, SystemTime::now()).map(|(issued, _)| issued)
    };
    assert_eq!(value_error(issue(&[])), "server");
    for name in ["", "a b", "ümlaut.example", "[::1]", "https://a.example", "a.example:5555", "a\n"] {
        assert_eq!(value_error(issue(&["a.example", name])), "server's name", "{name:?}");
    }
    // Longer than a common name may be.
    let long = format!("{}.{}.example", "a".repeat(60), "b".repeat(60));
    assert!(issue(&[&long]).unwrap().subject.starts_with(&format!("CN={}, ", &long[..64])));
}

#[test]
fn roles() {
    for role in [Role::Frontend, Role::User, Role::Manager, Role::Agent] {
        assert_eq!(Role::parse(role.as_str()), Some(role));
    }
    for text in ["", "root", "User", "agent "] {
        assert_eq!(Role::parse(text), None);
    }
    assert_eq!((manager().role(), user().role()), (Role::Manager, Role::User));
}

#[test]
fn claims_of_tampered_certificates() {
    let (_directory, authority) = authority();
    let issue = |profile| authority.issue_with_key(&profile, SystemTime::now()).unwrap().0.der;
    let agents = issue(agent());
    let many = issue(Profile::Agent { uid: i64::MAX, service: 77 });
    // An attribute: its OID, then the tag and length of a UTF8String, then the value.
    let role: &[u8] = &[0x55, 4, 0x48, 12, 5];
    let organization: &[u8] = &[0x55, 4, 10, 12, 7];
    let locator: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 7, 12, 2];
    // The subject's, not the issuer's: the set with the UID follows, which is 17 bytes long.
    let subject_organization = [organization, b"ConPaaS1\x11"].concat();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("unknown role", patch(&agents, &[role, b"agent"].concat(), &[role, b"agenz"].concat())),
        ("CN more than once", patch(&agents, &[role, b"agent"].concat(), &[0x55, 4, 3, 12, 5, b'a', b'g', b'e', b'n', b't'])),
        ("role more than once", patch(&agents, &subject_organization, &[&[0x55, 4, 0x48, 12, 7][..], b"ConPaaS1\x11"].concat())),
        (
            "role that is no text",
            patch(&agents, &[role, b"agent"].concat(), &[0x55, 4, 0x48, 4, 5, b'a', b'g', b'e', b'n', b't']),
        ),
        ("UID that is no number", patch(&many, b"9223372036854775807", b"9223372036854775808")),
        ("UID that is no number", patch(&many, b"9223372036854775807", b"922337203685477580x")),
        ("serviceLocator that is no number", patch(&many, &[locator, b"77"].concat(), &[locator, b"+7"].concat())),
        ("serviceLocator that is no number", patch(&many, &[locator, b"77"].concat(), &[locator, b"07"].concat())),
        ("serviceLocator that is no number", patch(&many, &[locator, b"77"].concat(), &[locator, b" 7"].concat())),
        ("followed by something else", [&agents[..], &[0]].concat()),
        ("not an X.509 certificate", agents[..agents.len() - 1].to_vec()),
        ("not an X.509 certificate", Vec::new()),
    ];
    for (expected, der) in cases {
        match claims(&der) {
            Err(Error::Claims(text)) => assert!(text.contains(expected), "{expected}: {text}"),
            other => panic!("{expected}: {other:?}"),
        }
    }
}

#[test]
fn claims_of_other_certificates() {
    let (_directory, authority) = authority();
    let read = claims(authority.certificate_der()).unwrap();
    assert_eq!((read.uid, read.service, read.role), (None, None, None));
    assert_eq!(read.common_name.as_deref(), Some("CA"));
    // Short serial numbers are filled up.
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    for (number, expected) in [(0x80, format!("{:0>32}", "80")), (1, format!("{:0>32}", "01"))] {
        params.serial_number = Some(rcgen::SerialNumber::from(number));
        assert_eq!(claims(params.self_signed(&key).unwrap().der()).unwrap().serial, expected);
    }
}
