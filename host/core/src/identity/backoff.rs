//! Slows guessing down, without letting anybody lock others out.
//!
//! Wrong credentials count per address, and per pair of account and address: who guesses at an account from one place does not
//! keep its owner out, who comes from another. A guess whose verdict is not known yet counts as a wrong one.

use crate::Error;
use parking_lot::Mutex;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Free tries of a pair, and of an address with whatever accounts.
pub(super) const TRIES_PAIR: u32 = 5;
const TRIES_ADDRESS: u32 = 50;
/// Guesses of one address whose verdict is not known yet: a share of those who can wait for a hash, so that others find room.
pub(super) const SHARE: u32 = 16;
/// When to come again where others are under way.
const SOON: Duration = Duration::from_secs(1);
/// What is not heard of for so long is forgotten.
const MEMORY: Duration = Duration::from_secs(15 * 60);
const LONGEST: Duration = Duration::from_secs(60);

pub(super) struct Backoff {
    known: moka::sync::Cache<(Option<String>, IpAddr), Arc<Place>>,
}

/// A pair, or an address.
struct Place {
    /// Tries that cost nothing, and tries at once.
    free: u32,
    at_once: u32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Wrong ones.
    failures: u32,
    /// Those whose verdict is not known yet.
    under_way: u32,
    blocked_until: Option<Instant>,
}

impl Place {
    /// How long whoever is blocked has to wait.
    fn check(state: &State, now: Instant) -> Result<(), Error> {
        match state.blocked_until {
            Some(until) if until > now => Err(Error::Throttled(until - now)),
            _ => Ok(()),
        }
    }

    fn enter(&self, now: Instant) -> Result<(), Error> {
        let mut state = self.state.lock();
        Self::check(&state, now)?;
        // Once the free ones are used up, one at a time.
        let used_up = state.under_way > 0 && state.failures.saturating_add(state.under_way) >= self.free;
        if used_up || state.under_way >= self.at_once {
            return Err(Error::Throttled(SOON));
        }
        state.under_way += 1;
        Ok(())
    }

    fn failed(&self, now: Instant) {
        let mut state = self.state.lock();
        state.failures = state.failures.saturating_add(1);
        if let Some(over) = state.failures.checked_sub(self.free) {
            let pause = Duration::from_millis(250).saturating_mul(2_u32.saturating_pow(over.min(16))).min(LONGEST);
            state.blocked_until = Some(now + pause);
        }
    }
}

/// A guess whose verdict is not known yet. One that is dropped without a verdict was none.
pub(super) struct Attempt {
    /// The pair, and the address.
    entered: Vec<Arc<Place>>,
}

impl Attempt {
    /// It was wrong.
    pub(super) fn failed(self, now: Instant) {
        for place in &self.entered {
            place.failed(now);
        }
    }

    /// The owner has shown up at this address: his pair starts anew. What others try elsewhere goes on counting.
    pub(super) fn succeeded(self) {
        if let Some(pair) = self.entered.first() {
            let mut state = pair.state.lock();
            (state.failures, state.blocked_until) = (0, None);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        for place in &self.entered {
            let mut state = place.state.lock();
            state.under_way = state.under_way.saturating_sub(1);
        }
    }
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { known: moka::sync::Cache::builder().max_capacity(100_000).time_to_idle(MEMORY).build() }
    }

    fn place(&self, account: Option<&str>, from: IpAddr) -> Arc<Place> {
        let (free, at_once) = if account.is_some() { (TRIES_PAIR, u32::MAX) } else { (TRIES_ADDRESS, SHARE) };
        let key = (account.map(str::to_owned), network(from));
        self.known.get_with(key, || Arc::new(Place { free, at_once, state: Mutex::default() }))
    }

    /// A guess at this account from this address. An error while the pair or the address has to wait, and where so many are under
    /// way that all that is free would be used up.
    pub(super) fn admit(&self, account: &str, from: IpAddr, now: Instant) -> Result<Attempt, Error> {
        let mut attempt = Attempt { entered: Vec::with_capacity(2) };
        for place in [self.place(Some(account), from), self.place(None, from)] {
            place.enter(now)?;
            attempt.entered.push(place);
        }
        Ok(attempt)
    }

    /// An error while this address has to wait, for those who show something that nobody can guess.
    pub(super) fn check(&self, from: IpAddr, now: Instant) -> Result<(), Error> {
        match self.known.get(&(None, network(from))) {
            Some(place) => Place::check(&place.state.lock(), now),
            None => Ok(()),
        }
    }

    /// What was shown from there was wrong.
    pub(super) fn failed(&self, from: IpAddr, now: Instant) {
        self.place(None, from).failed(now);
    }
}

/// Whom an address stands for.
fn network(from: IpAddr) -> IpAddr {
    match from {
        // One customer has a whole /64.
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        },
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn wait<T>(refused: Result<T, Error>) -> Duration {
        match refused.err() {
            Some(Error::Throttled(wait)) => wait,
            _ => Duration::ZERO,
        }
    }

    #[test]
    fn guessing_is_slowed_down_where_it_happens_and_nowhere_else() {
        let (backoff, now) = (Backoff::new(), Instant::now());
        let [thief, owner] = ["192.0.2.1", "192.0.2.2"].map(|address| address.parse::<IpAddr>().unwrap());
        for _ in 0..TRIES_PAIR {
            backoff.admit("ann", thief, now).unwrap().failed(now);
        }
        let pause = wait(backoff.admit("ann", thief, now));
        assert_eq!(pause, Duration::from_millis(250));
        assert!(backoff.admit("ann", owner, now).is_ok(), "the owner elsewhere");
        assert!(backoff.admit("bob", thief, now).is_ok(), "another account");
        backoff.admit("ann", owner, now).unwrap().succeeded();
        let later = now + pause;
        backoff.admit("ann", thief, later).unwrap().failed(later);
        assert_eq!(wait(backoff.admit("ann", thief, later)), 2 * pause, "the owner's success elsewhere is not the thief's");
        backoff.admit("ann", thief, later + 2 * pause).unwrap().succeeded();
        assert!(backoff.admit("ann", thief, later).is_ok(), "it was the owner after all");
        assert!(backoff.check(thief, now).is_ok());
        for i in 0..TRIES_ADDRESS {
            if let Ok(guess) = backoff.admit(&format!("user{i}"), thief, now) {
                guess.failed(now);
            }
        }
        assert!(backoff.admit("new", thief, now).is_err(), "spraying over accounts");
        assert!(backoff.check(thief, now).is_err() && backoff.check(owner, now).is_ok());
        assert!(backoff.admit("new", owner, now).is_ok());
    }

    /// Or else as many could be guessed at once as there are connections.
    #[test]
    fn what_is_under_way_counts() {
        let (backoff, now) = (Backoff::new(), Instant::now());
        let [thief, owner] = ["2001:db8::1", "2001:db8:1::1"].map(|address| address.parse::<IpAddr>().unwrap());
        let guesses: Vec<_> = (0..TRIES_PAIR).map(|_| backoff.admit("ann", thief, now).unwrap()).collect();
        assert_eq!(wait(backoff.admit("ann", thief, now)), SOON);
        assert!(backoff.admit("ann", owner, now).is_ok());
        drop(guesses);
        let again: Vec<_> = (0..TRIES_PAIR).map(|_| backoff.admit("ann", thief, now).unwrap()).collect();
        for guess in again {
            guess.failed(now);
        }
        // Free tries are over: one at a time.
        let later = now + Duration::from_millis(250);
        let one = backoff.admit("ann", thief, later).unwrap();
        assert_eq!(wait(backoff.admit("ann", thief, later)), SOON);
        drop(one);
        assert!(backoff.admit("ann", thief, later).is_ok());

        // Many accounts, one place: it has its share, and others have theirs.
        let guesses: Vec<_> = (0..SHARE).map(|i| backoff.admit(&format!("user{i}"), thief, now).unwrap()).collect();
        assert_eq!(wait(backoff.admit("new", thief, now)), SOON);
        assert!(backoff.admit("new", "2001:db8::2".parse().unwrap(), now).is_err(), "the same customer's");
        assert!(backoff.admit("new", owner, now).is_ok());
        // What was refused there was not counted for the account.
        drop(guesses);
        for _ in 0..TRIES_PAIR {
            backoff.admit("new", thief, now).unwrap().failed(now);
        }
    }
}
