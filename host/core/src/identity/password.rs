//! Passwords: Argon2id, at most a few hashes at a time, and as much work for users that do not exist as for those that do.

use crate::Error;
use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Each takes 19 MiB and some 20 ms of a core.
const AT_ONCE: usize = 2;

/// Verified in the place of a user's hash that does not exist, so that it takes as long. What it was made of does not matter:
/// the result is not looked at.
const DECOY: &str = "$argon2id$v=19$m=19456,t=2,p=1$b3N0bGVyLWRlY295LXNhbHQ$1Zh7vbyvSuWzxzYKTAN/U1khfpdpWymPVRWEnCr8L4c";

/// More than so many that wait are sent away: memory and patience are bounded.
const WAITING: usize = 64;
/// Of them, those for whom a new hash is made: whoever registers must not keep those out who log in.
const MAKING: usize = 16;
/// When to come again.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Passwords {
    permits: Arc<Semaphore>,
    queue: Arc<Semaphore>,
    making: Semaphore,
    /// How often a password was compared.
    #[cfg(test)]
    pub(super) verified: std::sync::atomic::AtomicUsize,
}

/// What came of comparing a password.
pub(super) struct Verdict {
    /// Whether it is the right one.
    pub(super) right: bool,
    /// Whether the hash was made with other parameters than those of today.
    pub(super) outdated: bool,
}

impl Passwords {
    pub(super) fn new() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            queue: Arc::new(Semaphore::new(WAITING)),
            making: Semaphore::new(MAKING),
            #[cfg(test)]
            verified: std::sync::atomic::AtomicUsize::new(0),
        }
    }

    pub(super) async fn hash(&self, password: SecretString) -> Result<String, Error> {
        let _place = self.making.try_acquire().map_err(|_| Error::Throttled(PAUSE))?;
        self.work(move || hash(password.expose_secret())).await?
    }

    /// Whether the password belongs to the hash; never where there is none.
    pub(super) async fn verify(&self, password: SecretString, stored: Option<String>) -> Result<Verdict, Error> {
        #[cfg(test)]
        self.verified.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.work(move || {
            let exists = stored.is_some();
            let Ok(stored) = PasswordHash::new(stored.as_deref().unwrap_or(DECOY)) else {
                return Verdict { right: false, outdated: false };
            };
            let right = Argon2::default().verify_password(password.expose_secret().as_bytes(), &stored).is_ok() && exists;
            let today = PasswordHash::new(DECOY);
            let outdated = today.is_ok_and(|today| {
                (today.algorithm, today.version, &today.params) != (stored.algorithm, stored.version, &stored.params)
            });
            Verdict { right, outdated }
        })
        .await
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let place = Arc::clone(&self.queue).try_acquire_owned().map_err(|_| Error::Throttled(PAUSE))?;
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| Error::Stopping)?;
        let task = tokio::task::spawn_blocking(move || {
            let result = work();
            drop((permit, place));
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn old_parameters_are_noticed() {
        let passwords = Passwords::new();
        let weak = argon2::Params::new(8 * 1024, 1, 1, None).unwrap();
        let weak =
            Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, weak).hash_password(b"x").unwrap().to_string();
        for (stored, password, right, outdated) in
            [(weak, "x", true, true), (hash("x").unwrap(), "x", true, false), (hash("x").unwrap(), "y", false, false)]
        {
            let verdict = passwords.verify(password.into(), Some(stored)).await.unwrap();
            assert_eq!((verdict.right, verdict.outdated), (right, outdated));
        }
    }

    /// Memory and patience are bounded.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_few_are_hashed_at_a_time_and_too_many_are_sent_away() {
        let passwords = Arc::new(Passwords::new());
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let gate = Arc::new(parking_lot::Mutex::new(gate));
        let (at_work, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..WAITING {
            let (passwords, gate) = (Arc::clone(&passwords), Arc::clone(&gate));
            let (at_work, most) = (Arc::clone(&at_work), Arc::clone(&most));
            tasks.spawn(async move {
                let work = move || {
                    most.fetch_max(at_work.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    // Until the other end is gone.
                    let _ = gate.lock().recv();
                    at_work.fetch_sub(1, Ordering::SeqCst);
                };
                passwords.work(work).await.is_ok()
            });
        }
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while passwords.queue.available_permits() > 0 || at_work.load(Ordering::SeqCst) < AT_ONCE {
            assert!(std::time::Instant::now() < deadline, "nobody comes to work");
            tokio::task::yield_now().await;
        }
        assert!(matches!(passwords.verify("x".into(), None).await, Err(Error::Throttled(_))));
        assert!(matches!(passwords.hash("x".into()).await, Err(Error::Throttled(_))));
        drop(open);
        assert!(tasks.join_all().await.into_iter().all(|done| done));
        assert_eq!(most.load(Ordering::SeqCst), AT_ONCE);
        assert!(passwords.verify("x".into(), None).await.is_ok(), "and then there is room again");
    }

    #[tokio::test]
    async fn whoever_registers_keeps_nobody_out() {
        let passwords = Passwords::new();
        let many = futures::future::join_all((0..WAITING).map(|_| passwords.hash("x".into())));
        let (made, seen) = futures::future::join(many, passwords.verify("x".into(), None)).await;
        assert_eq!(made.iter().filter(|made| made.is_ok()).count(), MAKING);
        assert!(made.iter().all(|made| matches!(made, Ok(_) | Err(Error::Throttled(_)))));
        assert!(seen.is_ok());
    }

    /// Else users that do not exist could be told by the time that it takes to say so.
    #[test]
    fn the_decoy_is_as_expensive_as_a_real_hash() {
        let real = hash("x").unwrap();
        let (real, decoy) = (PasswordHash::new(&real).unwrap(), PasswordHash::new(DECOY).unwrap());
        assert_eq!((real.algorithm, real.version, &real.params), (decoy.algorithm, decoy.version, &decoy.params));
        assert_eq!(real.hash.map(|h| h.len()), decoy.hash.map(|h| h.len()));
    }
}
