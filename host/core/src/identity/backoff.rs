//! Slows guessing down, without letting anybody lock others out.
//!
//! Wrong credentials count per address, and per pair of account and address: who guesses at an account from one place does not
//! keep its owner out, who comes from another.

use crate::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Free tries of a pair, and of an address with whatever accounts.
const TRIES_PAIR: u32 = 5;
const TRIES_ADDRESS: u32 = 50;
/// What is not heard of for so long is forgotten.
const MEMORY: Duration = Duration::from_secs(15 * 60);
const LONGEST: Duration = Duration::from_secs(60);

pub(super) struct Backoff {
    failures: moka::sync::Cache<(Option<String>, IpAddr), Arc<Failures>>,
}

struct Failures {
    count: AtomicU32,
    blocked_until: parking_lot::Mutex<Option<Instant>>,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { failures: moka::sync::Cache::builder().max_capacity(100_000).time_to_idle(MEMORY).build() }
    }

    /// An error while this account at this address, or this address at all, has to wait.
    pub(super) fn admit(&self, account: Option<&str>, from: IpAddr, now: Instant) -> Result<(), Error> {
        for key in keys(account, from) {
            if let Some(failures) = self.failures.get(&key)
                && let Some(until) = *failures.blocked_until.lock()
                && until > now
            {
                return Err(Error::Throttled(until - now));
            }
        }
        Ok(())
    }

    pub(super) fn failed(&self, account: Option<&str>, from: IpAddr, now: Instant) {
        for key in keys(account, from) {
            let free = if key.0.is_some() { TRIES_PAIR } else { TRIES_ADDRESS };
            let failures = self
                .failures
                .get_with(key, || Arc::new(Failures { count: AtomicU32::new(0), blocked_until: parking_lot::Mutex::new(None) }));
            let count = failures.count.fetch_add(1, Ordering::Relaxed).saturating_add(1);
            if let Some(over) = count.checked_sub(free) {
                let pause = Duration::from_millis(250).saturating_mul(2_u32.saturating_pow(over.min(16))).min(LONGEST);
                *failures.blocked_until.lock() = Some(now + pause);
            }
        }
    }

    /// The owner has shown up at this address: his pair starts anew. What others try elsewhere goes on counting.
    pub(super) fn succeeded(&self, account: &str, from: IpAddr) {
        for key in keys(Some(account), from).filter(|key| key.0.is_some()) {
            self.failures.invalidate(&key);
        }
    }
}

fn keys(account: Option<&str>, from: IpAddr) -> impl Iterator<Item = (Option<String>, IpAddr)> {
    let from = match from {
        // One customer has a whole /64.
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        },
        v4 @ IpAddr::V4(_) => v4,
    };
    account.map(|name| (Some(name.to_owned()), from)).into_iter().chain([(None, from)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_is_slowed_down_where_it_happens_and_nowhere_else() {
        let (backoff, now) = (Backoff::new(), Instant::now());
        let [thief, owner] = ["192.0.2.1", "192.0.2.2"].map(|a| a.parse::<IpAddr>().unwrap_or(IpAddr::from([0, 0, 0, 0])));
        for _ in 0..TRIES_PAIR {
            assert!(backoff.admit(Some("ann"), thief, now).is_ok());
            backoff.failed(Some("ann"), thief, now);
        }
        let wait = match backoff.admit(Some("ann"), thief, now) {
            Err(Error::Throttled(wait)) => wait,
            _ => Duration::ZERO,
        };
        assert_eq!(wait, Duration::from_millis(250));
        assert!(backoff.admit(Some("ann"), owner, now).is_ok(), "the owner elsewhere");
        assert!(backoff.admit(Some("bob"), thief, now).is_ok(), "another account");
        assert!(backoff.admit(Some("ann"), thief, now + wait).is_ok(), "after the pause");
        backoff.succeeded("ann", owner);
        backoff.failed(Some("ann"), thief, now);
        assert!(backoff.admit(Some("ann"), thief, now).is_err(), "the owner's success elsewhere is not the thief's");
        backoff.succeeded("ann", thief);
        assert!(backoff.admit(Some("ann"), thief, now).is_ok(), "it was the owner after all");
        for i in 0..TRIES_ADDRESS {
            backoff.failed(Some(&format!("user{i}")), thief, now);
        }
        assert!(backoff.admit(Some("new"), thief, now).is_err(), "spraying over accounts");
        assert!(backoff.admit(Some("new"), owner, now).is_ok());
    }
}
