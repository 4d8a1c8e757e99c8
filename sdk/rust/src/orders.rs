//! One order per token at a time, for providers that would make two things of two orders.
//!
//! `create_node` and `import_image` are idempotent by the host's token. Few providers help with that: most take a second order
//! with the same metadata or name and make a second machine. [`Orders`] keeps them from being asked twice, by a *claim* in the
//! cloud's state, which all instances and hosts share. Whoever is about to order claims the token first, looks for what an earlier
//! order made, and only then orders:
//!
//! - A second order meanwhile finds the token claimed. It answers what the first one made, if that is there already, or else
//!   [`Error::Transient`]: the host tries again later, and finds it.
//! - An order that was refused, or answered, gives the claim back.
//! - After an order without an answer, or a crash, nobody knows whether it takes effect yet. The claim stays for a [lease](LEASE),
//!   which should be longer than the provider can take over one request; then the next order looks again, and orders anew only if
//!   there is nothing.
//!
//! What this cannot see: a provider that acts on a request after the lease is over. Where that happens, `find` sees two, and has
//! to choose one.
//!
//! A provider that knows idempotency keys makes one thing by itself: [`Orders::repeatable`].
//!
//! Claims are keys of the state that begin with `order/`; a driver must use no others like them. A claim that has ended and that
//! nobody takes over is swept out when another one is left behind.
//!
//! ```
//! use ostler_driver::orders::{Orders, Stop};
//! use ostler_driver::testing::Cloud;
//! use ostler_driver::{Context, Error, Result};
//! use std::cell::RefCell;
//!
//! /// A provider that makes whatever it is asked for, and whose answers are lost now and then.
//! #[derive(Default)]
//! struct Provider(RefCell<Vec<String>>);
//!
//! impl Provider {
//!     fn find(&self, name: &str) -> Result<Option<String>> {
//!         Ok(self.0.borrow().iter().find(|made| *made == name).cloned())
//!     }
//!
//!     fn make(&self, name: &str, answers: bool) -> Result<String> {
//!         self.0.borrow_mut().push(name.to_owned());
//!         if answers { Ok(name.to_owned()) } else { Err(Error::Transient("the connection was closed".into())) }
//!     }
//! }
//!
//! fn create(ctx: &Context, provider: &Provider, token: &str, answers: bool) -> Result<String> {
//!     let find = |_| provider.find(token);
//!     Orders::new(ctx).once("node", token, find, || provider.make(token, answers).map_err(Stop::of_order))
//! }
//!
//! let (cloud, provider) = (Cloud::new("test"), Provider::default());
//! let ctx = cloud.context();
//! assert_eq!(create(&ctx, &provider, "t-1", false).unwrap_err().class(), "transient");
//! // It was made, in spite of the error: the next order finds it rather than making another.
//! assert_eq!(create(&ctx, &provider, "t-1", true), Ok("t-1".to_owned()));
//! assert_eq!(provider.0.borrow().len(), 1);
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Context, Error, Result, StateError};

/// How long a claim holds that is not given back, unless [`Orders::lease`] says otherwise.
pub const LEASE: Duration = Duration::from_secs(30);
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// Nothing was ordered, or the order can be repeated at once.
    Refused(Error),
    /// It was ordered, and the answer does not tell what came of it.
    Uncertain(Error),
}

impl Stop {
    /// For an error of the order itself, by its class; see [`is_uncertain`].
    pub fn of_order(error: Error) -> Self {
        if is_uncertain(&error) { Self::Uncertain(error) } else { Self::Refused(error) }
    }
}

/// What fails before the order is sent is no reason to wait.
impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// Whether the provider may have done what it was asked for, in spite of this error: `transient` (a lost connection, a 5xx),
/// `failed` (an answer that cannot be understood) and classes that the contract does not know. All others are refusals.
pub fn is_uncertain(error: &Error) -> bool {
    matches!(error, Error::Transient(_) | Error::Failed(_) | Error::Other { .. })
}

/// Orders by token; the [module](self) says what is guaranteed.
#[derive(Debug, Clone)]
pub struct Orders<'a> {
    ctx: &'a Context,
    lease: Duration,
    repeatable: bool,
}

impl<'a> Orders<'a> {
    /// Orders that are not repeatable, with the usual [`LEASE`].
    pub fn new(ctx: &'a Context) -> Self {
        Self { ctx, lease: LEASE, repeatable: false }
    }

    /// Whether the provider makes one thing of several orders with one token, at once or later, by itself. Then nothing is
    /// claimed, and an order whose answer was lost can be repeated at once.
    #[must_use]
    pub fn repeatable(self, repeatable: bool) -> Self {
        Self { repeatable, ..self }
    }

    /// How long a claim holds that is not given back. All orders of one kind should have the same.
    #[must_use]
    pub fn lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    /// What `find` finds, or else what `order` makes. `kind` is `node` or `image`: tokens of one kind are not those of another.
    ///
    /// `find` looks for what was made by the token. It is told whether nobody else is ordering by this token, and then may put
    /// in order what it finds; it is called at most once. `order` is called only when `find` has found nothing under a claim of
    /// its own.
    ///
    /// # Errors
    /// What `find` and `order` say; [`Error::Transient`] while another order by this token is under way or may still take effect;
    /// as the storage says. Where the storage fails before the order, nothing is ordered.
    pub fn once<T>(
        &self,
        kind: &str,
        token: &str,
        find: impl FnOnce(bool) -> Result<Option<T>>,
        order: impl FnOnce() -> Result<T, Stop>,
    ) -> Result<T> {
        if self.repeatable {
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
                Some(self.until(Some(error.message().to_owned()))?)
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
        let claim = self.until(None)?;
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

    /// A claim from now on, as it is stored.
    fn until(&self, lost: Option<String>) -> Result<Vec<u8>> {
        let until = self.ctx.now().saturating_add(u64::try_from(self.lease.as_micros()).unwrap_or(u64::MAX));
        Ok(serde_json::to_vec(&Claim { until, lost })?)
    }
}

#[cfg(test)]
mod tests;
