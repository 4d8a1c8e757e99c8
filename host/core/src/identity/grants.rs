//! Acting on behalf of a person who is not there any more: a token that he showed is exchanged for one of our own, and what renews
//! that is kept, sealed, until the issuer takes it back.

use super::Identity;
use crate::Error;
use crate::identity::Principal;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ostler_oidc::{GrantError, Tokens};
use rand::Rng;
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::time::Duration;

/// Bytes of the key.
pub const SEAL_KEY: usize = 32;
/// For how long a grant is one host's alone while it is renewed, in microseconds: longer than the issuer may take.
const LEASE: i64 = 60 * crate::SECOND;
/// A token that ends sooner is renewed, in microseconds.
const MARGIN: i64 = 300 * crate::SECOND;
/// How long a token is used whose issuer does not say how long it is good.
const UNTOLD: i64 = 300 * crate::SECOND;

/// Seals what is kept of grants.
pub(super) struct Seal(LessSafeKey);

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

impl Seal {
    fn new(key: &[u8; SEAL_KEY]) -> Result<Self, Error> {
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| Error::Invalid("the key of grants cannot be used".into()))?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// A nonce, then what is sealed: for this person, so that it cannot be put in another's place.
    fn close(&self, person: &str, secret: &SecretString) -> Result<Vec<u8>, Error> {
        let mut nonce = [0; NONCE_LEN];
        rand::rng().fill_bytes(&mut nonce);
        let mut text = secret.expose_secret().as_bytes().to_vec();
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(person.as_bytes()), &mut text)
            .map_err(|_| Error::Invalid("a grant cannot be sealed".into()))?;
        Ok([&nonce[..], &text].concat())
    }

    /// What was sealed for this person, if it was, with this key.
    fn open(&self, person: &str, sealed: &[u8]) -> Option<SecretString> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
        let (nonce, mut text) = (Nonce::try_assume_unique_for_key(nonce).ok()?, text.to_vec());
        let opened = self.0.open_in_place(nonce, Aad::from(person.as_bytes()), &mut text).ok()?;
        std::str::from_utf8(opened).ok().map(SecretString::from)
    }
}

/// A token that is good until then, in microseconds UTC.
#[derive(Clone)]
pub(super) struct Held {
    token: SecretString,
    until: i64,
}

fn person(issuer: &str, subject: &str) -> String {
    format!("{}:{issuer}{subject}", issuer.len())
}

impl Identity {
    /// Keeps what is needed to act on behalf of persons later, sealed with this key. All hosts on one database need the same.
    pub fn keeping_grants(self, key: &[u8; SEAL_KEY]) -> Result<Self, Error> {
        Ok(Self { seal: Some(Seal::new(key)?), ..self })
    }

    /// Makes sure that we can act on behalf of whoever shows this token later, where his issuer is configured so. Whether we can.
    ///
    /// # Errors
    /// [`Error::NoIssuer`] where it does not answer, [`Error::Invalid`] where it refuses.
    pub async fn keep_grant(&self, who: &Principal, token: &SecretString) -> Result<bool, Error> {
        let (Some(trust), Some(seal), Some(person)) = (&self.trust, &self.seal, &who.person) else { return Ok(false) };
        let tokens = match trust.issuers.exchange(&person.issuer, token).await {
            Ok(tokens) => tokens,
            Err(GrantError::NotConfigured(_) | GrantError::UnknownIssuer(_)) => return Ok(false),
            Err(GrantError::Unavailable(_)) => return Err(Error::NoIssuer),
            Err(error) => return Err(Error::Invalid(error.to_string())),
        };
        let key = self::person(&person.issuer, &person.subject);
        let Some(refresh) = &tokens.refresh_token else {
            return Err(Error::Invalid("the issuer gives no token that can be renewed".into()));
        };
        let sealed = seal.close(&key, refresh)?;
        self.store.grant_put(&person.issuer, &person.subject, &sealed).await?;
        self.hold(key, &tokens);
        Ok(true)
    }

    /// A token for acting on behalf of a person who has been here before; none where there is no grant of his (any more).
    ///
    /// # Errors
    /// [`Error::NoIssuer`] where it cannot be renewed now; another time it may.
    pub(crate) async fn token_for(&self, issuer: &str, subject: &str) -> Result<Option<SecretString>, Error> {
        let (Some(trust), Some(seal)) = (&self.trust, &self.seal) else { return Ok(None) };
        let key = person(issuer, subject);
        let now = ostler_store::now();
        if let Some(held) = self.held.get(&key).filter(|held| held.until > now) {
            return Ok(Some(held.token));
        }
        let owner = uuid::Uuid::now_v7().to_string();
        let Some(sealed) = self.store.grant_take(issuer, subject, &owner, now, now.saturating_add(LEASE)).await? else {
            // Somebody else renews it at this moment: his is as good, but with him.
            return if self.store.grant_exists(issuer, subject).await? { Err(Error::NoIssuer) } else { Ok(None) };
        };
        let Some(refresh) = seal.open(&key, &sealed) else {
            tracing::error!(issuer, "a grant cannot be opened: it was sealed with another key");
            self.store.grant_forget(issuer, subject, &owner).await?;
            return Ok(None);
        };
        match trust.issuers.refresh(issuer, &refresh).await {
            Ok(tokens) => {
                // Before anything else: many issuers take each but once.
                let sealed = tokens.refresh_token.as_ref().map(|next| seal.close(&key, next)).transpose()?;
                self.store.grant_return(issuer, subject, &owner, sealed.as_deref()).await?;
                self.hold(key, &tokens);
                Ok(Some(tokens.access_token))
            }
            Err(error @ GrantError::Unavailable(_)) => {
                tracing::warn!(issuer, %error, "a grant cannot be renewed at present");
                self.store.grant_return(issuer, subject, &owner, None).await?;
                Err(Error::NoIssuer)
            }
            Err(error) => {
                tracing::warn!(issuer, subject, %error, "a grant is good for nothing any more");
                self.store.grant_forget(issuer, subject, &owner).await?;
                Ok(None)
            }
        }
    }

    fn hold(&self, key: String, tokens: &Tokens) {
        let until =
            tokens.expires_at.map_or_else(|| ostler_store::now().saturating_add(UNTOLD), |end| end.saturating_sub(MARGIN));
        self.held.insert(key, Held { token: tokens.access_token.clone(), until });
    }
}

/// What the tokens are held in.
pub(super) fn held() -> moka::sync::Cache<String, Held> {
    moka::sync::Cache::builder().max_capacity(10_000).time_to_live(Duration::from_hours(1)).build()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_sealed_is_for_one_person_and_one_key() {
        let (seal, other) = (Seal::new(&[1; SEAL_KEY]).unwrap(), Seal::new(&[2; SEAL_KEY]).unwrap());
        let sealed = seal.close("ann", &"canary".into()).unwrap();
        assert!(!sealed.windows(6).any(|part| part == b"canary"));
        assert_ne!(sealed, seal.close("ann", &"canary".into()).unwrap(), "never the same twice");
        let open =
            |seal: &Seal, person: &str, sealed: &[u8]| seal.open(person, sealed).map(|secret| secret.expose_secret().to_owned());
        assert_eq!(open(&seal, "ann", &sealed).as_deref(), Some("canary"));
        assert_eq!(open(&seal, "bob", &sealed), None);
        assert_eq!(open(&other, "ann", &sealed), None);
        for at in 0..sealed.len() {
            let mut broken = sealed.clone();
            broken[at] ^= 1;
            assert_eq!(open(&seal, "ann", &broken), None, "{at}");
            assert_eq!(open(&seal, "ann", &sealed[..at]), None, "{at}");
        }
        assert_ne!(person("ab", "c"), person("a", "bc"));
    }
}
