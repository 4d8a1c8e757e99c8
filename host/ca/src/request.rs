//! PKCS#10 requests (RFC 2986): proof that the sender holds the key, and nothing more.
//!
//! ConPaaS signed whatever a request said. Here the subject, attributes and extensions of a request are not even parsed: who the
//! sender is, the server knows from the connection. Requests of ConPaaS managers are RSA-2048 signed with SHA-1
//! (`facts/conpaas.md`, section 2.1), so that this weak algorithm is accepted for the proof; a collision would gain its finder
//! nothing, since only the key is taken from a request.

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use x509_parser::asn1_rs::{Any, BitString, FromDer, Oid, Sequence, oid};
use x509_parser::pem::parse_x509_pem;
use x509_parser::signature_algorithm::RsaSsaPssParams;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

use crate::error::RequestError;
use crate::key::{KeyKind, PublicKey, null_or_absent, oid_name};

/// The longest request that is looked at.
const LIMIT: usize = 16 * 1024;

const SHA1_RSA: Oid<'static> = oid!(1.2.840.113549.1.1.5);
/// An older number for the same (OIW); some libraries still write it.
const SHA1_RSA_OIW: Oid<'static> = oid!(1.3.14.3.2.29);
const SHA256_RSA: Oid<'static> = oid!(1.2.840.113549.1.1.11);
const SHA384_RSA: Oid<'static> = oid!(1.2.840.113549.1.1.12);
const SHA512_RSA: Oid<'static> = oid!(1.2.840.113549.1.1.13);
const RSA_PSS: Oid<'static> = oid!(1.2.840.113549.1.1.10);
const MGF1: Oid<'static> = oid!(1.2.840.113549.1.1.8);
const ECDSA_SHA256: Oid<'static> = oid!(1.2.840.10045.4.3.2);
const ECDSA_SHA384: Oid<'static> = oid!(1.2.840.10045.4.3.3);
const ECDSA_SHA512: Oid<'static> = oid!(1.2.840.10045.4.3.4);
const ED25519: Oid<'static> = oid!(1.3.101.112);
const SHA256: Oid<'static> = oid!(2.16.840.1.101.3.4.2.1);
const SHA384: Oid<'static> = oid!(2.16.840.1.101.3.4.2.2);
const SHA512: Oid<'static> = oid!(2.16.840.1.101.3.4.2.3);

/// Checks a certificate request: PEM of the type `CERTIFICATE REQUEST` or `NEW CERTIFICATE REQUEST`, at most 16 KiB.
///
/// Text before the block is skipped, as OpenSSL writes it; after the block there may be only white space, so that a second
/// block is an error. The signature must verify with the key in the request, and the key must meet the policy (see
/// [`PublicKey`]). Everything else in the request is ignored.
///
/// # Errors
/// [`RequestError`]; the key is judged first, the signature last.
pub fn check_request(pem: &[u8]) -> Result<PublicKey, RequestError> {
    if pem.len() > LIMIT {
        return Err(RequestError::TooLong);
    }
    let (rest, block) = parse_x509_pem(pem).map_err(|_| RequestError::NotPem)?;
    if !matches!(block.label.as_str(), "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST") || !rest.trim_ascii().is_empty() {
        return Err(RequestError::NotPem);
    }
    let request = Request::parse(&block.contents).ok_or(RequestError::Malformed)?;
    let key = PublicKey::accept(&request.key)?;
    let algorithm = verification(&request.algorithm, key.kind())?;
    UnparsedPublicKey::new(algorithm, &request.key.subject_public_key.data)
        .verify(request.signed, &request.signature.data)
        .map_err(|_| RequestError::Signature)?;
    Ok(key)
}

/// The parts of a request that matter.
struct Request<'a> {
    /// What the signature covers.
    signed: &'a [u8],
    key: SubjectPublicKeyInfo<'a>,
    algorithm: AlgorithmIdentifier<'a>,
    signature: BitString<'a>,
}

impl<'a> Request<'a> {
    fn parse(der: &'a [u8]) -> Option<Self> {
        let content = sequence(der).filter(|(_, rest)| rest.is_empty())?.0;
        let (info, rest) = sequence(content)?;
        let signed = &content[..content.len() - rest.len()];
        let (rest, algorithm) = AlgorithmIdentifier::from_der(rest).ok()?;
        let (rest, signature) = BitString::from_der(rest).ok()?;
        if !rest.is_empty() || signature.unused_bits != 0 {
            return None;
        }
        // The version is not compared: some old libraries write another one than 0, and nothing depends on it.
        let (info, _version) = u32::from_der(info).ok()?;
        let (_subject, info) = sequence(info)?;
        let (_attributes, key) = SubjectPublicKeyInfo::from_der(info).ok()?;
        Some(Self { signed, key, algorithm, signature })
    }
}

/// The content of a SEQUENCE, and what follows it.
fn sequence(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (rest, any) = Any::from_der(der).ok()?;
    Sequence::try_from(any.clone()).ok()?;
    Some((any.data, rest))
}

/// How to verify: the algorithm must be one of the key's kind.
fn verification(algorithm: &AlgorithmIdentifier<'_>, key: KeyKind) -> Result<&'static dyn VerificationAlgorithm, RequestError> {
    let (oid, parameters) = (&algorithm.algorithm, algorithm.parameters.as_ref());
    let is = |expected: &Oid<'_>| oid == expected;
    let refused = || RequestError::SignatureAlgorithm(oid_name(oid));
    let found: Option<&'static dyn VerificationAlgorithm> = match key {
        KeyKind::Rsa { .. } if is(&RSA_PSS) => return pss(parameters).ok_or_else(refused),
        KeyKind::Rsa { .. } if is(&SHA1_RSA) || is(&SHA1_RSA_OIW) => {
            Some(&signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY)
        }
        KeyKind::Rsa { .. } if is(&SHA256_RSA) => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        KeyKind::Rsa { .. } if is(&SHA384_RSA) => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        KeyKind::Rsa { .. } if is(&SHA512_RSA) => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        KeyKind::P256 if is(&ECDSA_SHA256) => Some(&signature::ECDSA_P256_SHA256_ASN1),
        KeyKind::P256 if is(&ECDSA_SHA384) => Some(&signature::ECDSA_P256_SHA384_ASN1),
        KeyKind::P256 if is(&ECDSA_SHA512) => Some(&signature::ECDSA_P256_SHA512_ASN1),
        KeyKind::P384 if is(&ECDSA_SHA256) => Some(&signature::ECDSA_P384_SHA256_ASN1),
        KeyKind::P384 if is(&ECDSA_SHA384) => Some(&signature::ECDSA_P384_SHA384_ASN1),
        KeyKind::P384 if is(&ECDSA_SHA512) => Some(&signature::ECDSA_P384_SHA512_ASN1),
        KeyKind::Ed25519 if is(&ED25519) => Some(&signature::ED25519),
        _ => None,
    };
    let found = found.ok_or_else(refused)?;
    null_or_absent(parameters)?;
    Ok(found)
}

/// RSA-PSS in the one form that is in use: the mask is made with the same hash, and the salt is as long as the hash.
fn pss(parameters: Option<&Any<'_>>) -> Option<&'static dyn VerificationAlgorithm> {
    let parameters = RsaSsaPssParams::try_from(parameters?).ok()?;
    let hash = parameters.hash_algorithm_oid();
    let (length, algorithm): (u32, &'static dyn VerificationAlgorithm) = if *hash == SHA256 {
        (32, &signature::RSA_PSS_2048_8192_SHA256)
    } else if *hash == SHA384 {
        (48, &signature::RSA_PSS_2048_8192_SHA384)
    } else if *hash == SHA512 {
        (64, &signature::RSA_PSS_2048_8192_SHA512)
    } else {
        return None;
    };
    let mask = parameters.mask_gen_algorithm().ok()?;
    let usual = mask.mgf == MGF1 && mask.hash == *hash && parameters.salt_length() == length && parameters.trailer_field() == 1;
    usual.then_some(algorithm)
}
