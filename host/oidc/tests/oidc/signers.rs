//! Keys that sign tokens. They sign whatever they are told to, under any header.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair,
    KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding,
    RsaKeyPair,
};
use aws_lc_rs::{hmac, rsa};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[derive(Clone)]
pub(crate) enum Signer {
    Rsa(Arc<RsaKeyPair>),
    Ec(Arc<EcdsaKeyPair>, &'static str),
    Ed(Arc<Ed25519KeyPair>),
    /// A shared secret, which no issuer may use.
    Secret(Vec<u8>),
    /// These bytes in place of a signature.
    Nothing(Vec<u8>),
}

impl Signer {
    pub(crate) fn p256() -> Self {
        Self::ec(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256")
    }

    pub(crate) fn p384() -> Self {
        Self::ec(&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384")
    }

    fn ec(algorithm: &'static EcdsaSigningAlgorithm, curve: &'static str) -> Self {
        Self::Ec(Arc::new(EcdsaKeyPair::generate(algorithm).unwrap()), curve)
    }

    pub(crate) fn ed25519() -> Self {
        Self::Ed(Arc::new(Ed25519KeyPair::generate().unwrap()))
    }

    /// The same key for every test of a process: making one takes a while.
    pub(crate) fn rsa() -> Self {
        static KEY: OnceLock<Arc<RsaKeyPair>> = OnceLock::new();
        Self::Rsa(Arc::clone(KEY.get_or_init(|| Arc::new(rsa::KeyPair::generate(KeySize::Rsa2048).unwrap()))))
    }

    /// The public key as a set contains it.
    pub(crate) fn jwk(&self, id: &str) -> Value {
        let mut jwk = match self {
            Self::Rsa(pair) => {
                let public = pair.public_key();
                let (n, e) = (public.modulus(), public.exponent());
                let [n, e] = [n, e].map(|number| encode(number.big_endian_without_leading_zero()));
                json!({ "kty": "RSA", "n": n, "e": e })
            }
            Self::Ec(pair, curve) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({ "kty": "EC", "crv": curve, "x": encode(x), "y": encode(y) })
            }
            Self::Ed(pair) => json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key()) }),
            Self::Secret(secret) => json!({ "kty": "oct", "k": encode(secret) }),
            Self::Nothing(_) => panic!("there is no key"),
        };
        if !id.is_empty() {
            jwk["kid"] = id.into();
        }
        jwk
    }

    /// What a program that takes a key for a secret might take for it.
    pub(crate) fn public_der(&self) -> Vec<u8> {
        let Self::Rsa(pair) = self else { panic!("an RSA key") };
        let der: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        der.as_ref().to_vec()
    }

    /// A token with this header, signed as the algorithm of the header says, or as is usual for the key if it says nonsense.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_texts(&header.to_string(), &claims.to_string(), header["alg"].as_str().unwrap_or_default())
    }

    pub(crate) fn sign_texts(&self, header: &str, claims: &str, algorithm: &str) -> String {
        let message = format!("{}.{}", encode(header), encode(claims));
        let random = SystemRandom::new();
        let signature = match self {
            Self::Rsa(pair) => {
                let padding: &'static dyn RsaEncoding = match algorithm {
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    "PS384" => &RSA_PSS_SHA384,
                    "PS512" => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message.as_bytes(), &mut signature).unwrap();
                signature
            }
            Self::Ec(pair, _) => pair.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec(),
            Self::Ed(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
            Self::Secret(secret) => hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes()).as_ref().to_vec(),
            Self::Nothing(bytes) => bytes.clone(),
        };
        format!("{message}.{}", encode(signature))
    }
}
