//! A circuit breaker: after a run of failures calls are refused at once, until a trial call succeeds.

use crate::error::{Error, ErrorKind};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Failures in a row that open the circuit.
const THRESHOLD: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

pub(crate) struct Breaker {
    /// Failures in a row. Read without the lock on the way of every call.
    failures: AtomicU32,
    open: Mutex<Option<Open>>,
}

struct Open {
    until: Instant,
    pause: Duration,
    /// A trial call is under way.
    trial: bool,
    reason: String,
}

impl Breaker {
    pub(crate) fn new() -> Self {
        Self { failures: AtomicU32::new(0), open: Mutex::new(None) }
    }

    /// Whether a call may go ahead now.
    pub(crate) fn admit(&self, now: Instant) -> Result<(), Error> {
        if self.failures.load(Ordering::Relaxed) < THRESHOLD {
            return Ok(());
        }
        let mut open = self.open.lock();
        let Some(state) = open.as_mut() else { return Ok(()) };
        if now >= state.until && !state.trial {
            state.trial = true;
            // Should the trial never report back, the next one may go after another pause.
            state.until = now + state.pause;
            return Ok(());
        }
        if now >= state.until {
            state.until = now + state.pause;
            return Ok(());
        }
        let mut error = Error::new(
            ErrorKind::Unavailable,
            format!("the cloud failed {THRESHOLD} times in a row and is given a rest; the last time: {}", state.reason),
        );
        error.retry_after = Some(state.until - now);
        Err(error)
    }

    /// Records how a call went. Only what tells of a broken driver or an unreachable provider counts as a failure.
    pub(crate) fn record(&self, result: Result<(), &Error>, now: Instant) {
        match result {
            Err(error) if counts(&error.kind) => {
                let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
                if failures >= THRESHOLD {
                    let mut open = self.open.lock();
                    let pause =
                        open.as_ref().map_or(FIRST_PAUSE, |o| if o.trial { (o.pause * 2).min(LONGEST_PAUSE) } else { o.pause });
                    *open = Some(Open { until: now + pause, pause, trial: false, reason: error.message.clone() });
                }
            }
            _ => {
                if self.failures.swap(0, Ordering::Relaxed) >= THRESHOLD {
                    *self.open.lock() = None;
                }
            }
        }
    }

    /// Whether calls are refused at present.
    pub(crate) fn is_open(&self, now: Instant) -> bool {
        self.failures.load(Ordering::Relaxed) >= THRESHOLD && self.open.lock().as_ref().is_some_and(|open| now < open.until)
    }
}

fn counts(kind: &ErrorKind) -> bool {
    kind.is_fault() || matches!(kind, ErrorKind::Transient)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn fail(breaker: &Breaker, now: Instant, kind: ErrorKind) {
        breaker.record(Err(&Error::new(kind, "down")), now);
    }

    #[test]
    fn opens_after_a_run_of_failures_and_closes_after_a_good_trial() {
        let (breaker, start) = (Breaker::new(), Instant::now());
        for _ in 0..THRESHOLD - 1 {
            fail(&breaker, start, ErrorKind::Crashed);
        }
        assert!(breaker.admit(start).is_ok());
        fail(&breaker, start, ErrorKind::Transient);
        let refused = breaker.admit(start).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Unavailable);
        assert_eq!(refused.retry_after, Some(FIRST_PAUSE));
        assert!(breaker.is_open(start));
        let later = start + FIRST_PAUSE;
        assert!(breaker.admit(later).is_ok(), "one trial");
        assert!(breaker.admit(later).is_err(), "only one");
        fail(&breaker, later, ErrorKind::Crashed);
        assert_eq!(breaker.admit(later).unwrap_err().retry_after, Some(FIRST_PAUSE * 2), "the pause doubles");
        let much_later = later + FIRST_PAUSE * 2;
        assert!(breaker.admit(much_later).is_ok());
        breaker.record(Ok(()), much_later);
        assert!(breaker.admit(much_later).is_ok());
        assert!(!breaker.is_open(much_later));
    }

    #[test]
    fn what_the_provider_says_about_a_request_is_no_failure() {
        let (breaker, now) = (Breaker::new(), Instant::now());
        for kind in [ErrorKind::NotFound, ErrorKind::Invalid, ErrorKind::Quota, ErrorKind::Unauthorized, ErrorKind::Throttled] {
            for _ in 0..THRESHOLD * 2 {
                fail(&breaker, now, kind.clone());
            }
        }
        assert!(breaker.admit(now).is_ok());
    }

    #[test]
    fn a_success_forgives_what_came_before() {
        let (breaker, now) = (Breaker::new(), Instant::now());
        for _ in 0..20 {
            for _ in 0..THRESHOLD - 1 {
                fail(&breaker, now, ErrorKind::Crashed);
            }
            breaker.record(Ok(()), now);
        }
        assert!(breaker.admit(now).is_ok());
    }
}
