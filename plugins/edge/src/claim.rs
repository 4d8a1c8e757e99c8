//! One order per token at a time.
//!
//! The text of the API has nothing that makes a second order harmless, so two orders at once would make two instances. Whoever is
//! about to order therefore claims the token in the cloud's state first, looks for what an earlier order made, and only then orders:
//!
//! - A second order meanwhile finds the token claimed. It answers what the first one made, if that is there already, or else
//!   `transient`: it is tried again later, and finds it.
//! - An order that was refused, or answered, gives the claim back.
//! - After an order without an answer, or a crash, nobody knows whether it takes effect yet. The claim stays for [`LEASE`], longer
//!   than a far side should take over one request; then the next order looks again, and orders anew only if there is nothing.
//!
//! A far side that knows `Idempotency-Key`, as an Ostler does, makes one of them by itself and can be asked again at once: there
//! nothing is claimed.
//!
//! Claims that have ended and that nobody takes over are swept out when another one is left behind.

use std::time::Duration;

use ostler_driver::{Error, Result, StateError};
use serde::{Deserialize, Serialize};

use crate::http::Api;

/// How long a claim holds that is not given back.
pub(crate) const LEASE: Duration = Duration::from_secs(30);
/// Begins the keys of claims.
const PREFIX: &str = "order/";
/// Claims that are looked through when one is left behind.
const SWEPT: u32 = 100;

#[derive(Serialize, Deserialize)]
struct Claim {
    /// When it ends, in microseconds.
    until: u64,
    /// Why it was not given back.
    lost: Option<String>,
}

/// Why an order made nothing that is known of.
pub(crate) enum Stop {
    /// Nothing was ordered, or the order can be repeated at once.
    Refused(Error),
    /// It was ordered, and the answer does not tell what came of it.
    Uncertain(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// Whether the far side may have done what it was asked for, in spite of this error.
pub(crate) fn is_uncertain(error: &Error) -> bool {
    matches!(error, Error::Transient(_) | Error::Failed(_) | Error::Other { .. })
}

impl Api {
    /// Orders something by a token: what `find` finds, or what `order` makes. Nothing is claimed where orders are `repeatable`. `find` is told whether nobody else is at
    /// work by this token, and then may put in order what it finds.
    pub(crate) fn order<T>(
        &self,
        kind: &str,
        token: &str,
        repeatable: bool,
        find: impl Fn(bool) -> Result<Option<T>>,
        order: impl FnOnce() -> Result<T, Stop>,
    ) -> Result<T> {
        if repeatable {
            return match find(true)? {
                Some(found) => Ok(found),
                None => order().map_err(|(Stop::Refused(error) | Stop::Uncertain(error))| error),
            };
        }
        let key = format!("{PREFIX}{kind}/{token}");
        let version = match self.claim(&key)? {
            Ok(version) => version,
            // Nobody is at work any more where the claim was only left behind.
            Err((holder, ended)) => return find(ended)?.ok_or(holder),
        };
        let result = match find(true) {
            Ok(Some(found)) => Ok(found),
            Ok(None) => order(),
            Err(error) => Err(Stop::Refused(error)),
        };
        let left = match &result {
            Err(Stop::Uncertain(error)) => {
                self.sweep();
                Some(self.lease(Some(error.message().to_owned()))?)
            }
            Ok(_) | Err(Stop::Refused(_)) => None,
        };
        // A claim that cannot be given back ends by itself.
        if let Err(error) = self.ctx.state().compare_and_swap(&key, Some(version), left.as_deref()) {
            self.ctx.log().debug("a claim was not given back", &[("key", &key), ("error", &error.to_string())]);
        }
        result.map_err(|(Stop::Refused(error) | Stop::Uncertain(error))| error)
    }

    /// The version of the claim, or what to answer while another holds it, and whether that other has ended.
    fn claim(&self, key: &str) -> Result<Result<u64, (Error, bool)>> {
        let claim = self.lease(None)?;
        match self.ctx.state().compare_and_swap(key, None, Some(&claim)) {
            Err(StateError::Conflict) => {}
            result => return Ok(Ok(result?)),
        }
        let busy = || (Error::Transient("another order with this token is under way".to_owned()), false);
        let Some(held) = self.ctx.state().get_json::<Claim>(key)? else { return Ok(Err(busy())) };
        if held.value.until > self.ctx.now() {
            return Ok(Err(match held.value.lost {
                Some(why) => (Error::Transient(format!("an earlier order with this token may still take effect ({why})")), true),
                None => busy(),
            }));
        }
        match self.ctx.state().compare_and_swap(key, Some(held.version), Some(&claim)) {
            Err(StateError::Conflict) => Ok(Err(busy())),
            result => Ok(Ok(result?)),
        }
    }

    /// Removes claims that have ended. What cannot be removed now is removed another time.
    fn sweep(&self) {
        let state = self.ctx.state();
        for entry in state.list(PREFIX, None, SWEPT).unwrap_or_default() {
            let ended = serde_json::from_slice::<Claim>(&entry.value).is_ok_and(|claim| claim.until <= self.ctx.now());
            if ended {
                // Not where somebody has taken it over in between.
                let _ = state.compare_and_swap(&entry.key, Some(entry.version), None);
            }
        }
    }

    fn lease(&self, lost: Option<String>) -> Result<Vec<u8>> {
        let until = self.ctx.now().saturating_add(u64::try_from(LEASE.as_micros()).unwrap_or(u64::MAX));
        Ok(serde_json::to_vec(&Claim { until, lost })?)
    }
}
