//! The keys that an issuer publishes (JSON Web Key Set, RFC 7517).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::Value;

use crate::algorithm::Algorithm;
use crate::claims::Claims;
use crate::error::Problem;
use crate::token::Jwt;

/// The most keys in a set.
const MOST_KEYS: usize = 100;

/// The most keys that are tried for a token that names none.
const MOST_TRIES: usize = 4;

/// Bits of an RSA modulus: less is too weak (RFC 7518, section 3.3), more takes too long to check.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// What kind of key it is, which decides what it may be used with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

struct Key {
    id: Option<String>,
    kind: Kind,
    /// The only algorithm it is for, if it says so.
    algorithm: Option<Algorithm>,
    key: DecodingKey,
}

/// The usable keys of an issuer.
pub(crate) struct KeySet(Vec<Key>);

/// What a set says about a token.
pub(crate) enum Verdict {
    Genuine,
    Forged,
    /// There is no key of this name, or none for this algorithm if the token names no key.
    Unknown,
    /// The key of this name is for other algorithms.
    Mismatch,
}

impl KeySet {
    /// Reads a set. Keys that are not for us (encryption, other types, weak ones) are left out, as RFC 7517 (section 5) asks.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Problem> {
        let set: Claims = serde_json::from_slice(body).map_err(|_| Problem::Answer("not a JSON object"))?;
        let Some(Value::Array(keys)) = set.get("keys") else {
            return Err(Problem::Answer("not a set of keys"));
        };
        if keys.len() > MOST_KEYS {
            return Err(Problem::Answer("more than 100 keys"));
        }
        Ok(Self(keys.iter().filter_map(|key| Key::parse(key.as_object()?)).collect()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Looks for the key of the token's signature.
    pub(crate) fn check(&self, jwt: &Jwt<'_>) -> Verdict {
        let named = |key: &&Key| jwt.key.is_none() || key.id == jwt.key;
        let mut fitting = self.0.iter().filter(named).filter(|key| key.fits(jwt.algorithm)).take(MOST_TRIES).peekable();
        if fitting.peek().is_some() {
            return if fitting.any(|key| key.verifies(jwt)) { Verdict::Genuine } else { Verdict::Forged };
        }
        let known = jwt.key.is_some() && self.0.iter().any(|key| named(&key));
        if known { Verdict::Mismatch } else { Verdict::Unknown }
    }
}

impl Key {
    fn parse(members: &Claims) -> Option<Self> {
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        if members.get("use").is_some_and(|value| value != "sig") {
            return None;
        }
        if let Some(operations) = members.get("key_ops")
            && !operations.as_array()?.iter().any(|operation| operation == "verify")
        {
            return None;
        }
        // Whoever can read this set could sign with it.
        if members.contains_key("d") {
            return None;
        }
        let algorithm = match members.get("alg") {
            None => None,
            Some(name) => Some(name.as_str()?.parse().ok()?),
        };
        let (kind, key) = match (text("kty")?, text("crv")) {
            ("RSA", _) => (Kind::Rsa, rsa(&bytes("n")?, &bytes("e")?)?),
            ("EC", Some("P-256")) => (Kind::P256, point(&bytes("x")?, &bytes("y")?, 32)?),
            ("EC", Some("P-384")) => (Kind::P384, point(&bytes("x")?, &bytes("y")?, 48)?),
            ("OKP", Some("Ed25519")) => (Kind::Ed25519, DecodingKey::from_ed_der(&bytes("x").filter(|x| x.len() == 32)?)),
            _ => return None,
        };
        Some(Self { id: text("kid").map(str::to_owned), kind, algorithm, key })
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        let kind = match algorithm {
            RS256 | RS384 | RS512 | PS256 | PS384 | PS512 => Kind::Rsa,
            ES256 => Kind::P256,
            ES384 => Kind::P384,
            EdDSA => Kind::Ed25519,
        };
        self.kind == kind && self.algorithm.is_none_or(|only| only == algorithm)
    }

    fn verifies(&self, jwt: &Jwt<'_>) -> bool {
        jsonwebtoken::crypto::verify(jwt.signature, jwt.message.as_bytes(), &self.key, jwt.algorithm.library()).unwrap_or(false)
    }
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<DecodingKey> {
    let significant = |bytes: &[u8]| bytes.iter().position(|byte| *byte != 0).map(|first| bytes.split_at(first).1.to_vec());
    let (modulus, exponent) = (significant(modulus)?, significant(exponent)?);
    let bits = modulus.len() * 8 - usize::try_from(modulus.first()?.leading_zeros()).ok()?;
    // With the exponent 1 every text is its own signature.
    let odd = exponent.last()? % 2 == 1;
    if !RSA_BITS.contains(&bits) || !odd || exponent == [1] {
        return None;
    }
    Some(DecodingKey::from_rsa_raw_components(&modulus, &exponent))
}

/// A point on a curve, uncompressed (SEC 1, section 2.3.3).
fn point(x: &[u8], y: &[u8], length: usize) -> Option<DecodingKey> {
    (x.len() == length && y.len() == length).then(|| DecodingKey::from_ec_der(&[&[4], x, y].concat()))
}
