//! Which requests are accepted, and what is taken from them.

use std::time::SystemTime;

use ostler_ca::{RequestError, check_request};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256, PublicKeyData, SanType, SignatureAlgorithm,
};
use x509_parser::parse_x509_certificate;

use crate::support::{agent, as_client, authority, der, patch, pem};

const LABEL: &str = "CERTIFICATE REQUEST";

/// Requests made with OpenSSL; `requests/make` says how.
macro_rules! made {
    ($name:literal) => {
        include_bytes!(concat!("../requests/", $name, ".pem"))
    };
}

fn request(params: &CertificateParams, key: &KeyPair) -> Vec<u8> {
    params.serialize_request(key).unwrap().pem().unwrap().into_bytes()
}

fn simple(algorithm: &'static SignatureAlgorithm) -> (KeyPair, Vec<u8>) {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let text = request(&CertificateParams::default(), &key);
    (key, text)
}

/// Tag, length in its shortest form, value.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    let head = match content.len() {
        0..128 => vec![tag, low],
        128..256 => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [&head[..], content].concat()
}

/// A request for an RSA key with an invented modulus, hence with a signature that cannot be right.
fn invented(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let algorithm = |last| tlv(0x30, &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, last, 5, 0]);
    let key = tlv(0x30, &[tlv(2, modulus), tlv(2, exponent)].concat());
    let spki = tlv(0x30, &[algorithm(1), tlv(3, &[&[0][..], &key].concat())].concat());
    let info = tlv(0x30, &[tlv(2, &[0]), tlv(0x30, &[]), spki, tlv(0xa0, &[])].concat());
    pem(LABEL, &tlv(0x30, &[info, algorithm(11), tlv(3, &[0; 257])].concat()))
}

fn modulus(bits: usize, last: u8) -> Vec<u8> {
    let mut bytes = vec![0xa5; bits / 8 + 1];
    bytes[0] = 0;
    bytes[bits / 8] = last;
    bytes
}

#[test]
fn accepts() {
    let (_directory, authority) = authority();
    let cases: [(&[u8], &str); 9] = [
        (made!("manager-sha1"), "RSA-2048"),
        (made!("rsa2048-sha256"), "RSA-2048"),
        (made!("rsa2048-sha384"), "RSA-2048"),
        (made!("rsa2048-sha512"), "RSA-2048"),
        (made!("rsa2304-sha256"), "RSA"),
        (made!("rsa3072-pss"), "RSA-3072"),
        (made!("p256-sha384"), "P-256"),
        (made!("text-and-new"), "RSA-2048"),
        (&simple(&PKCS_RSA_SHA256).1, "RSA-2048"),
    ];
    for (request, algorithm) in cases {
        let key = check_request(request).unwrap_or_else(|error| panic!("{algorithm}: {error}"));
        assert_eq!(key.algorithm(), algorithm);
        let issued = authority.issue(&agent(), &key, SystemTime::now()).unwrap();
        as_client(&authority, &issued.der, &[], SystemTime::now()).unwrap();
        let (_, parsed) = parse_x509_certificate(&issued.der).unwrap();
        // keyEncipherment besides, for RSA.
        let flags = if algorithm.starts_with("RSA") { 0b101 } else { 0b1 };
        assert_eq!(parsed.key_usage().unwrap().unwrap().value.flags, flags, "{algorithm}");
    }
    for (algorithm, name) in [(&PKCS_ECDSA_P256_SHA256, "P-256"), (&PKCS_ECDSA_P384_SHA384, "P-384"), (&PKCS_ED25519, "Ed25519")]
    {
        let (pair, request) = simple(algorithm);
        let key = check_request(&request).unwrap();
        assert_eq!((key.algorithm(), key.spki_der()), (name, pair.subject_public_key_info()));
        let issued = authority.issue(&agent(), &key, SystemTime::now()).unwrap();
        assert_eq!(parse_x509_certificate(&issued.der).unwrap().1.public_key().raw, pair.subject_public_key_info());
        as_client(&authority, &issued.der, &[], SystemTime::now()).unwrap();
    }
}

#[test]
fn refuses_keys() {
    let p521 = simple(&PKCS_ECDSA_P521_SHA512).1;
    let good: &[u8] = &[1, 0, 1];
    let cases: [(&[u8], &str); 13] = [
        (made!("rsa1024-sha256"), "RSA-1024"),
        (made!("rsa2048-e3"), "exponent"),
        (made!("dsa"), "id-dsa"),
        (made!("pss-key"), "PSS"),
        (made!("p256-compressed"), "compressed"),
        (made!("secp256k1"), "1.3.132.0.10"),
        (&p521, "521"),
        (&invented(&modulus(8192, 1), good), "RSA-8192"),
        (&invented(&modulus(4104, 1), good), "RSA-4104"),
        (&invented(&modulus(2040, 1), good), "RSA-2040"),
        (&invented(&modulus(2048, 2), good), "even"),
        (&invented(&modulus(2048, 1), &[1, 0, 2]), "exponent"),
        (&invented(&modulus(2048, 1), &[2, 0, 0, 0, 1]), "exponent"),
    ];
    for (request, expected) in cases {
        match check_request(request) {
            Err(RequestError::Key(text)) => assert!(text.to_lowercase().contains(&expected.to_lowercase()), "{expected}: {text}"),
            other => panic!("{expected}: {other:?}"),
        }
    }
    // The same shape with an acceptable key gets as far as the signature.
    assert_eq!(check_request(&invented(&modulus(4096, 1), good)), Err(RequestError::Signature));
    // No number, a negative one, one with zeros before it.
    for wrong in [&[][..], &[0], &[0x80; 256], &[0, 0, 0xff]] {
        assert_eq!(check_request(&invented(wrong, good)), Err(RequestError::Malformed), "{wrong:?}");
    }
}

#[test]
fn refuses_signature_algorithms() {
    let p256 = der(&simple(&PKCS_ECDSA_P256_SHA256).1);
    // The algorithm of the signature is that of another kind of key: Ed25519 is shorter, so that an OCTET STRING fills the place.
    let sha256_ecdsa = [0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let ed25519 = pem(LABEL, &patch(&p256, &sha256_ecdsa, &[0x30, 10, 6, 3, 0x2b, 0x65, 0x70, 4, 3, 1, 1, 1]));
    let cases: [(&[u8], &str); 4] = [
        (made!("rsa2048-md5"), "md5"),
        (made!("rsa3072-pss-short-salt"), "pss"),
        (made!("p256-sha1"), "1.2.840.10045.4.1"),
        (&ed25519, "ed25519"),
    ];
    for (request, expected) in cases {
        match check_request(request) {
            Err(RequestError::SignatureAlgorithm(text)) => assert!(text.to_lowercase().contains(expected), "{expected}: {text}"),
            other => panic!("{expected}: {other:?}"),
        }
    }
}

#[test]
fn wants_proof_of_possession() {
    let rsa = made!("manager-sha1").to_vec();
    for request in [rsa, simple(&PKCS_ECDSA_P256_SHA256).1, simple(&PKCS_ECDSA_P384_SHA384).1, simple(&PKCS_ED25519).1] {
        let bytes = der(&request);
        assert!(check_request(&pem(LABEL, &bytes)).is_ok());
        // One bit of the signature.
        let mut flipped = bytes.clone();
        *flipped.last_mut().unwrap() ^= 1;
        assert_eq!(check_request(&pem(LABEL, &flipped)), Err(RequestError::Signature));
    }
    // Somebody else's key, and another name for one's own.
    let (key, request) = simple(&PKCS_ECDSA_P256_SHA256);
    let other = KeyPair::generate().unwrap();
    let swapped = patch(&der(&request), key.der_bytes(), other.der_bytes());
    assert_eq!(check_request(&pem(LABEL, &swapped)), Err(RequestError::Signature));
    let renamed = patch(&der(&request), b"rcgen self signed cert", b"rcgen selfish, certain");
    assert_eq!(check_request(&pem(LABEL, &renamed)), Err(RequestError::Signature));
    // A point that is not on the curve.
    let mut point = key.der_bytes().to_vec();
    point[64] ^= 1;
    let off = patch(&der(&request), key.der_bytes(), &point);
    assert_eq!(check_request(&pem(LABEL, &off)), Err(RequestError::Signature));
}

#[test]
fn takes_only_the_key() {
    let (_directory, authority) = authority();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["bank.example".to_owned(), "10.0.0.1".to_owned()]).unwrap();
    params.subject_alt_names.push(SanType::Rfc822Name("root@example.org".try_into().unwrap()));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any, ExtendedKeyUsagePurpose::CodeSigning];
    params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 72]), "frontend");
    let accepted = check_request(&request(&params, &key)).unwrap();
    let issued = authority.issue(&agent(), &accepted, SystemTime::now()).unwrap();
    let (_, parsed) = parse_x509_certificate(&issued.der).unwrap();
    assert!(!parsed.is_ca() && parsed.subject_alternative_name().unwrap().is_none());
    assert_eq!(parsed.key_usage().unwrap().unwrap().value.flags, 1);
    let usage = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && usage.server_auth && !usage.any && !usage.code_signing);
    assert_eq!(issued.subject, "CN=ConPaaS, O=ConPaaS, UID=3, role=agent, serviceLocator=5, emailAddress=info@conpaas.eu");

    params.distinguished_name.push(DnType::CommonName, "x".repeat(10_000));
    assert!(check_request(&request(&params, &key)).is_ok());
}

#[test]
fn limits() {
    let (key, text) = simple(&PKCS_ECDSA_P256_SHA256);
    let filled = |length: usize| [&text[..], &vec![b'\n'; length - text.len()]].concat();
    assert!(check_request(&filled(16_384)).is_ok());
    assert_eq!(check_request(&filled(16_385)), Err(RequestError::TooLong));
    assert_eq!(check_request(&vec![b'A'; 1 << 20]), Err(RequestError::TooLong));
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "x".repeat(15_000));
    assert_eq!(check_request(&request(&params, &key)), Err(RequestError::TooLong));
}

#[test]
fn shape() {
    let (_, text) = simple(&PKCS_ECDSA_P256_SHA256);
    let bytes = der(&text);
    let good = String::from_utf8(text.clone()).unwrap();
    assert!(check_request(good.replace('\n', "\r\n").as_bytes()).is_ok());
    assert!(check_request(&pem("NEW CERTIFICATE REQUEST", &bytes)).is_ok());
    let not_pem = [
        Vec::new(),
        b"garbage".to_vec(),
        vec![0xff; 100],
        bytes.clone(),
        [&text[..], &text].concat(),
        [&text[..], b"and more"].concat(),
        pem("CERTIFICATE", &bytes),
        text[..text.len() / 2].to_vec(),
        good.replacen("MI", "M!", 1).into_bytes(),
    ];
    for (number, case) in not_pem.iter().enumerate() {
        assert_eq!(check_request(case), Err(RequestError::NotPem), "{number}");
    }
    let (_directory, authority) = authority();
    for wrong in [
        Vec::new(),
        vec![0x30, 0],
        [&bytes[..], &[0]].concat(),
        bytes[..bytes.len() - 1].to_vec(),
        authority.certificate_der().to_vec(),
    ] {
        assert_eq!(check_request(&pem(LABEL, &wrong)), Err(RequestError::Malformed));
    }
}
