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

pub(super) struct Passwords {
    permits: Arc<Semaphore>,
    /// Verified in the place of a user's that does not exist.
    decoy: Arc<str>,
}

impl Passwords {
    pub(super) fn new() -> Result<Self, Error> {
        // No password fits it: whatever comes is compared to a hash of something random.
        let decoy = hash(super::random_secret().expose_secret())?;
        Ok(Self { permits: Arc::new(Semaphore::new(AT_ONCE)), decoy: decoy.into() })
    }

    pub(super) async fn hash(&self, password: SecretString) -> Result<String, Error> {
        self.work(move || hash(password.expose_secret())).await?
    }

    /// Whether the password belongs to the hash; never where there is none.
    pub(super) async fn verify(&self, password: SecretString, stored: Option<String>) -> Result<bool, Error> {
        let decoy = Arc::clone(&self.decoy);
        self.work(move || {
            let exists = stored.is_some();
            let stored = stored.unwrap_or_else(|| decoy.to_string());
            let Ok(stored) = PasswordHash::new(&stored) else { return false };
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
