//! What things cost, and who has how much credit. One credit is one hour of one node of the least size.
//!
//! The ledger is the store's: append-only, and every entry stands in the transaction of what it pays for.

use crate::Error;
use crate::identity::{Permission, Principal};
use ostler_store::{CreditEntry, Store, User};
use std::collections::BTreeMap;
use std::time::Duration;

/// Most credits that are given at once.
const MOST: i64 = 1_000_000_000;
/// Characters of the longest note.
const LONGEST_NOTE: usize = 256;
/// Bytes of the longest reference.
const LONGEST_REFERENCE: usize = 255;
/// What references of grants begin with in the ledger.
const GRANT: &str = "grant:";

/// What an hour costs, and how long it is.
#[derive(Clone, Debug)]
pub struct Tariff {
    /// Credits per started period of a node, where nothing else is said.
    pub price: i64,
    /// By cloud and size.
    pub prices: BTreeMap<String, BTreeMap<String, i64>>,
    /// What "an hour" is: the period that is paid in advance. One hour.
    pub period: Duration,
}

impl Default for Tariff {
    fn default() -> Self {
        Self { price: 1, prices: BTreeMap::new(), period: Duration::from_hours(1) }
    }
}

impl Tariff {
    /// What a started period of a node costs.
    pub fn price(&self, cloud: &str, size: &str) -> i64 {
        self.prices.get(cloud).and_then(|sizes| sizes.get(size)).copied().unwrap_or(self.price)
    }

    /// The period, in microseconds.
    pub(crate) fn period_micros(&self) -> i64 {
        i64::try_from(self.period.as_micros()).unwrap_or(i64::MAX)
    }
}

/// Accounts.
pub struct Billing {
    store: Store,
    tariff: Tariff,
}

impl Billing {
    /// The accounts of this store.
    pub fn new(store: Store, tariff: Tariff) -> Self {
        Self { store, tariff }
    }

    /// What things cost.
    pub fn tariff(&self) -> &Tariff {
        &self.tariff
    }

    /// The credit of whoever asks.
    pub async fn own_balance(&self, who: &Principal) -> Result<i64, Error> {
        if who.require(Permission::ManageService).is_err() {
            who.require(Permission::UseServices)?;
        }
        Ok(self.store.credit_balance(&who.account()?.id).await?.unwrap_or_default())
    }

    /// The credit of a user who has just said who he is.
    pub async fn balance_of(&self, user: &User) -> Result<i64, Error> {
        Ok(self.store.credit_balance(&user.id).await?.unwrap_or_default())
    }

    /// A user's credit.
    pub async fn balance(&self, who: &Principal, user: &str) -> Result<i64, Error> {
        who.require(Permission::ReadUsers)?;
        Ok(self.store.credit_balance(&self.account(user).await?).await?.unwrap_or_default())
    }

    async fn account(&self, user: &str) -> Result<String, Error> {
        let known = if user.contains('\0') { None } else { self.store.user_by_name(user).await? };
        known.map(|user| user.id).ok_or_else(|| Error::NoUser(user.to_owned()))
    }

    /// Gives a user credit. The same reference gives it once.
    pub async fn grant(
        &self,
        who: &Principal,
        user: &str,
        amount: i64,
        reference: Option<&str>,
        note: &str,
    ) -> Result<CreditEntry, Error> {
        who.require(Permission::ChangeUsers)?;
        if !(1..=MOST).contains(&amount) {
            return Err(Error::Invalid(format!("an amount is between 1 and {MOST} credits")));
        }
        if note.chars().count() > LONGEST_NOTE || note.chars().any(char::is_control) {
            return Err(Error::Invalid(format!("a note has at most {LONGEST_NOTE} characters and no control characters")));
        }
        let fits = |text: &str| (1..=LONGEST_REFERENCE).contains(&text.len()) && !text.chars().any(char::is_control);
        if !reference.is_none_or(fits) {
            return Err(Error::Invalid(format!("a reference has 1 to {LONGEST_REFERENCE} bytes and no control characters")));
        }
        let account = self.account(user).await?;
        // What the host charges has references too.
        let reference = reference.map(|reference| format!("{GRANT}{reference}"));
        Ok(shown(self.store.credit_grant(&account, amount, reference.as_deref(), note, &who.user).await?))
    }

    /// Up to `limit` entries of a user's account before this one, the latest first.
    pub async fn history(&self, who: &Principal, user: &str, before: Option<i64>, limit: u32) -> Result<Vec<CreditEntry>, Error> {
        who.require(Permission::ReadUsers)?;
        let entries = self.store.credit_history(&self.account(user).await?, before, limit).await?;
        Ok(entries.into_iter().map(shown).collect())
    }
}

/// An entry as whoever made it knows it.
fn shown(mut entry: CreditEntry) -> CreditEntry {
    if let Some(reference) = entry.reference.as_mut().filter(|reference| reference.starts_with(GRANT)) {
        reference.drain(..GRANT.len());
    }
    entry
}
