//! Passwords: Argon2id, at most a few hashes at a time, and as much work for users that do not exist as for those that do.

use crate::Error;
use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Each takes 19 MiB and some 20 ms of a core.
const AT_ONCE: usize = 2;

/// Verified in the place of a user's hash that does not exist, so that it takes as long. What it was made of does not matter:
/// the result is not looked at.
const DECOY: &str = "$argon2id$v=19$m=19456,t=2,p=1$b3N0bGVyLWRlY295LXNhbHQ$1Zh7vbyvSuWzxzYKTAN/U1khfpdpWymPVRWEnCr8L4c";

pub(super) struct Passwords {
    permits: Arc<Semaphore>,
}

impl Passwords {
    pub(super) fn new() -> Self {
        Self { permits: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    pub(super) async fn hash(&self, password: SecretString) -> Result<String, Error> {
        self.work(move || hash(password.expose_secret())).await?
    }

    /// Whether the password belongs to the hash; never where there is none.
    pub(super) async fn verify(&self, password: SecretString, stored: Option<String>) -> Result<bool, Error> {
        self.work(move || {
            let exists = stored.is_some();
            let Ok(stored) = PasswordHash::new(stored.as_deref().unwrap_or(DECOY)) else { return false };
            Argon2::default().verify_password(password.expose_secret().as_bytes(), &stored).is_ok() && exists
        })
        .await
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| Error::Stopping)?;
        let task = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        });
        task.await.map_err(|_| Error::Stopping)
    }
}

fn hash(password: &str) -> Result<String, Error> {
    Argon2::default()
        .hash_password(password.as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|error| Error::Invalid(format!("the password cannot be hashed: {error}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Else users that do not exist could be told by the time that it takes to say so.
    #[test]
    fn the_decoy_is_as_expensive_as_a_real_hash() {
        let real = hash("x").unwrap();
        let (real, decoy) = (PasswordHash::new(&real).unwrap(), PasswordHash::new(DECOY).unwrap());
        assert_eq!((real.algorithm, real.version, &real.params), (decoy.algorithm, decoy.version, &decoy.params));
        assert_eq!(real.hash.map(|h| h.len()), decoy.hash.map(|h| h.len()));
    }
}
