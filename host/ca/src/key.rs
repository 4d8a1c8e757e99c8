//! Public keys that certificates are issued for: which ones are good enough, and how they are written.

use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, PublicKeyData};
use x509_parser::asn1_rs::{Any, FromDer, Oid, Tag, oid};
use x509_parser::objects::{oid_registry, oid2sn};
use x509_parser::pem::parse_x509_pem;
use x509_parser::public_key::RSAPublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::error::{Error, RequestError};

const RSA: Oid<'static> = oid!(1.2.840.113549.1.1.1);
const EC: Oid<'static> = oid!(1.2.840.10045.2.1);
const P256: Oid<'static> = oid!(1.2.840.10045.3.1.7);
const P384: Oid<'static> = oid!(1.3.132.0.34);
const ED25519: Oid<'static> = oid!(1.3.101.112);

/// Acceptable sizes of an RSA modulus. Larger ones only make every handshake slower.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// Acceptable RSA exponents; they must be odd besides. Small ones have a history, and libraries refuse larger ones.
const RSA_EXPONENTS: std::ops::RangeInclusive<u64> = 65537..=(1 << 32);

/// A public key that meets the policy: RSA of 2048 to 4096 bits, P-256, P-384 or Ed25519.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    kind: KeyKind,
    /// The content of the BIT STRING in the SubjectPublicKeyInfo.
    bits: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    Rsa { bits: usize },
    P256,
    P384,
    Ed25519,
}

impl PublicKey {
    /// The key of a pair just made here.
    pub(crate) fn of(pair: &rcgen::KeyPair) -> Self {
        Self { kind: KeyKind::P256, bits: pair.der_bytes().to_vec() }
    }

    /// A key that somebody else made.
    pub(crate) fn accept(key: &SubjectPublicKeyInfo<'_>) -> Result<Self, RequestError> {
        let (algorithm, parameters) = (&key.algorithm.algorithm, key.algorithm.parameters.as_ref());
        let bits = key.subject_public_key.data.as_ref();
        if key.subject_public_key.unused_bits != 0 {
            return Err(RequestError::Malformed);
        }
        let kind = if *algorithm == RSA {
            null_or_absent(parameters)?;
            rsa(bits)?
        } else if *algorithm == EC {
            let curve = parameters.filter(|any| any.tag() == Tag::Oid).and_then(|any| any.as_oid().ok());
            let curve = curve.ok_or_else(|| RequestError::Key("an elliptic curve without a name".to_owned()))?;
            if curve == P256 {
                uncompressed(KeyKind::P256, bits, 32)?
            } else if curve == P384 {
                uncompressed(KeyKind::P384, bits, 48)?
            } else {
                return Err(RequestError::Key(format!("{}, only the curves P-256 and P-384 are accepted", oid_name(&curve))));
            }
        } else if *algorithm == ED25519 {
            if parameters.is_some() || bits.len() != 32 {
                return Err(RequestError::Malformed);
            }
            KeyKind::Ed25519
        } else {
            return Err(RequestError::Key(format!("{}, only RSA, ECDSA and Ed25519 are accepted", oid_name(algorithm))));
        };
        Ok(Self { kind, bits: bits.to_vec() })
    }

    /// The key of a certificate in PEM, for another certificate of the same holder.
    ///
    /// # Errors
    /// [`Error::Claims`] where there is no certificate, or its key does not meet the policy.
    pub fn from_certificate(pem: &[u8]) -> Result<Self, Error> {
        let unreadable = || Error::Claims("cannot be read".to_owned());
        let (_, block) = parse_x509_pem(pem).map_err(|_| unreadable())?;
        let certificate = block.parse_x509().map_err(|_| unreadable())?;
        Self::accept(certificate.public_key()).map_err(|error| Error::Claims(error.to_string()))
    }

    /// A short name for logs. RSA keys of unusual sizes are just `RSA`.
    pub fn algorithm(&self) -> &'static str {
        match self.kind {
            KeyKind::Rsa { bits: 2048 } => "RSA-2048",
            KeyKind::Rsa { bits: 3072 } => "RSA-3072",
            KeyKind::Rsa { bits: 4096 } => "RSA-4096",
            KeyKind::Rsa { .. } => "RSA",
            KeyKind::P256 => "P-256",
            KeyKind::P384 => "P-384",
            KeyKind::Ed25519 => "Ed25519",
        }
    }

    /// The SubjectPublicKeyInfo (RFC 5280, section 4.1) in DER, as certificates contain it.
    pub fn spki_der(&self) -> Vec<u8> {
        self.subject_public_key_info()
    }

    pub(crate) fn kind(&self) -> KeyKind {
        self.kind
    }
}

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.bits
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        match self.kind {
            KeyKind::Rsa { .. } => &PKCS_RSA_SHA256,
            KeyKind::P256 => &PKCS_ECDSA_P256_SHA256,
            KeyKind::P384 => &PKCS_ECDSA_P384_SHA384,
            KeyKind::Ed25519 => &PKCS_ED25519,
        }
    }
}

/// An algorithm as people call it, or its number. Bounded, since requests can contain long numbers.
pub(crate) fn oid_name(oid: &Oid<'_>) -> String {
    match oid2sn(oid, oid_registry()) {
        Ok(name) => name.to_owned(),
        Err(_) if oid.as_bytes().len() <= 32 => oid.to_id_string(),
        Err(_) => "an unknown algorithm".to_owned(),
    }
}

/// RSA's parameters are NULL (RFC 3279); some leave them out.
pub(crate) fn null_or_absent(parameters: Option<&Any<'_>>) -> Result<(), RequestError> {
    match parameters {
        Some(any) if any.tag() != Tag::Null || !any.data.is_empty() => Err(RequestError::Malformed),
        _ => Ok(()),
    }
}

fn rsa(bits: &[u8]) -> Result<KeyKind, RequestError> {
    let (rest, key) = RSAPublicKey::from_der(bits).map_err(|_| RequestError::Malformed)?;
    if !rest.is_empty() {
        return Err(RequestError::Malformed);
    }
    let (modulus, exponent) = (positive(key.modulus)?, positive(key.exponent)?);
    let size = 8 * modulus.len() - modulus[0].leading_zeros() as usize;
    if !RSA_BITS.contains(&size) {
        let (least, most) = (RSA_BITS.start(), RSA_BITS.end());
        return Err(RequestError::Key(format!("RSA-{size}, between {least} and {most} bits are accepted")));
    }
    if modulus.last().is_none_or(|last| last.is_multiple_of(2)) {
        return Err(RequestError::Key(format!("RSA-{size} with an even modulus")));
    }
    let value = exponent.iter().try_fold(0_u64, |value, byte| Some(value.checked_mul(256)? + u64::from(*byte)));
    if value.is_none_or(|value| value.is_multiple_of(2) || !RSA_EXPONENTS.contains(&value)) {
        return Err(RequestError::Key(format!("RSA-{size} with a bad exponent, odd ones from 65537 to 2^32 are accepted")));
    }
    Ok(KeyKind::Rsa { bits: size })
}

/// The magnitude of a positive INTEGER in DER, without leading zeros and not empty.
fn positive(integer: &[u8]) -> Result<&[u8], RequestError> {
    match integer {
        [0, first, ..] if *first >= 0x80 => Ok(&integer[1..]),
        [1..=0x7f, ..] => Ok(integer),
        _ => Err(RequestError::Malformed),
    }
}

/// Whether the point is on the curve is found out when the signature is verified.
fn uncompressed(kind: KeyKind, bits: &[u8], coordinate: usize) -> Result<KeyKind, RequestError> {
    match bits.split_first() {
        Some((4, coordinates)) if coordinates.len() == 2 * coordinate => Ok(kind),
        Some((2 | 3, x)) if x.len() == coordinate => {
            Err(RequestError::Key("a compressed point, only uncompressed ones are accepted".to_owned()))
        }
        _ => Err(RequestError::Malformed),
    }
}
