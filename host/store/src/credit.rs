//! Users' credit: a ledger to which entries are only ever added. The balance is their sum and never below zero.

use crate::db::{Refusal, Row, Tx, args, transaction};
use crate::operations::text_enum;
use crate::{Error, Store};

/// The largest amount of one entry.
const LARGEST: i64 = 1_000_000_000;

text_enum! {
    /// What an entry is.
    CreditKind, "kind of credit entry" {
        /// Credit was given.
        Grant = "grant",
        /// Credit was set aside.
        Reserve = "reserve",
        /// All that was set aside came back.
        Release = "release",
        /// What was set aside was spent; the rest came back.
        Settle = "settle",
        /// Credit was spent.
        Charge = "charge",
    }
}

/// An entry of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreditEntry {
    /// Later entries of an account have higher numbers.
    pub id: i64,
    /// Whose account it is.
    pub user_id: String,
    /// When, in microseconds UTC.
    pub at: i64,
    /// What it is.
    pub kind: CreditKind,
    /// What it adds to the balance; negative for what it takes.
    pub amount: i64,
    /// The balance after it.
    pub balance: i64,
    /// The reservation that it closes. A reservation is closed once.
    pub reservation: Option<i64>,
    /// What the caller names it, so that it happens once.
    pub reference: Option<String>,
    /// For what.
    pub note: String,
    /// Who.
    pub actor: String,
}

/// Why an entry was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreditError {
    /// The account does not have so much.
    #[error("not enough credit: {balance} left")]
    Insufficient {
        /// What it has.
        balance: i64,
    },
    /// The reservation was closed before.
    #[error("the reservation was closed before")]
    Closed,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
}

impl Refusal for CreditError {
    fn is_contention(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_contention())
    }
}

macro_rules! columns {
    () => {
        "id, user_id, at, kind, amount, balance, reservation, reference, note, actor"
    };
}

impl Store {
    /// A user's balance; none where there is no such user.
    pub async fn credit_balance(&self, user_id: &str) -> Result<Option<i64>, Error> {
        let sql = "SELECT balance FROM credit_accounts WHERE user_id = $1";
        self.db().optional(sql, args![user_id]).await?.map(|row| row.get(0)).transpose()
    }

    /// Gives credit. A reference that is known of the same user, kind and amount returns the entry of then and changes nothing;
    /// of another it is [`Error::Exists`]. [`Error::NotFound`] where there is no such user.
    pub async fn credit_grant(
        &self,
        user_id: &str,
        amount: i64,
        reference: Option<&str>,
        note: &str,
        actor: &str,
    ) -> Result<CreditEntry, CreditError> {
        check(amount, 1)?;
        let change = Change { amount, reference, note, actor, ..Change::new(CreditKind::Grant) };
        transaction!(self.db(), |tx| async { once(tx, user_id, &change).await.map(|(entry, _)| entry) })
    }

    /// Spends credit. References are as in [`Store::credit_grant`].
    pub async fn credit_charge(
        &self,
        user_id: &str,
        amount: i64,
        reference: Option<&str>,
        note: &str,
        actor: &str,
    ) -> Result<CreditEntry, CreditError> {
        transaction!(self.db(), |tx| async { charge(tx, user_id, amount, reference, note, actor).await.map(|(entry, _)| entry) })
    }

    /// Sets credit aside, until the reservation, which is the entry's number, is closed.
    pub async fn credit_reserve(&self, user_id: &str, amount: i64, note: &str, actor: &str) -> Result<CreditEntry, CreditError> {
        transaction!(self.db(), |tx| reserve(tx, user_id, amount, note, actor))
    }

    /// Closes a reservation: so much of it was spent, the rest comes back. With 0 it is a release. [`Error::NotFound`] where there
    /// is no such reservation, [`Error::Invalid`] where it is of less.
    pub async fn credit_close(&self, reservation: i64, spent: i64, actor: &str) -> Result<CreditEntry, CreditError> {
        transaction!(self.db(), |tx| close(tx, reservation, Some(spent), actor))
    }

    /// Up to `limit` entries of a user with numbers below `before`, the latest first.
    pub async fn credit_history(&self, user_id: &str, before: Option<i64>, limit: u32) -> Result<Vec<CreditEntry>, Error> {
        let sql = concat!("SELECT ", columns!(), " FROM credit_entries WHERE user_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
        self.db().all(sql, args![user_id, before.unwrap_or(i64::MAX), limit]).await?.iter().map(entry).collect()
    }

    /// What is wrong with the ledger, a line each, as of one moment: balances that are not the sums of the entries or that the
    /// entries do not lead to, users without an account, and open reservations that no node has.
    pub async fn credit_audit(&self) -> Result<Vec<String>, Error> {
        // One statement, hence one snapshot on either engine.
        let sql = "SELECT 'the balance is not the sum of the entries, which is ' AS what, a.user_id, \
                   CAST(COALESCE(SUM(e.amount), 0) AS BIGINT) AS number \
                   FROM credit_accounts a LEFT JOIN credit_entries e ON e.user_id = a.user_id \
                   GROUP BY a.user_id, a.balance HAVING a.balance <> COALESCE(SUM(e.amount), 0) \
                   UNION ALL SELECT 'the balance does not add up at entry ', c.user_id, c.id FROM (SELECT id, user_id, amount, \
                   balance, COALESCE(LAG(balance) OVER (PARTITION BY user_id ORDER BY id), 0) AS previous \
                   FROM credit_entries) AS c WHERE c.balance <> c.previous + c.amount \
                   UNION ALL SELECT 'no node has the open reservation ', e.user_id, e.id FROM credit_entries e \
                   WHERE e.kind = 'reserve' AND NOT EXISTS (SELECT 1 FROM credit_entries c WHERE c.reservation = e.id) \
                   AND NOT EXISTS (SELECT 1 FROM service_nodes n WHERE n.reservation = e.id) \
                   AND NOT EXISTS (SELECT 1 FROM resource_credit r WHERE r.reservation = e.id) \
                   UNION ALL SELECT 'there is no account for the number ', u.id, u.number FROM users u \
                   WHERE NOT EXISTS (SELECT 1 FROM credit_accounts a WHERE a.user_id = u.id) ORDER BY 2, 1, 3";
        let line = |row: &Row| {
            let (what, user, number): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok::<_, Error>(format!("user {user}: {what}{number}"))
        };
        self.db().all(sql, &[]).await?.iter().map(line).collect()
    }
}

/// An entry to make.
pub(crate) struct Change<'a> {
    pub(crate) kind: CreditKind,
    /// As in [`CreditEntry::amount`].
    pub(crate) amount: i64,
    pub(crate) reservation: Option<i64>,
    pub(crate) reference: Option<&'a str>,
    pub(crate) note: &'a str,
    pub(crate) actor: &'a str,
}

impl Change<'_> {
    pub(crate) fn new(kind: CreditKind) -> Self {
        Self { kind, amount: 0, reservation: None, reference: None, note: "", actor: "" }
    }
}

/// Whether an amount is between the least and the largest.
pub(crate) fn check(amount: i64, least: i64) -> Result<(), Error> {
    if (least..=LARGEST).contains(&amount) { Ok(()) } else { Err(Error::Invalid("an amount that is too small or too large")) }
}

/// Makes an entry, in the caller's transaction. The account's row stays locked until its end.
pub(crate) async fn enter(tx: &mut Tx, user_id: &str, change: &Change<'_>) -> Result<CreditEntry, CreditError> {
    // The balances that the change leads neither below 0 nor above what the column holds.
    let least = change.amount.saturating_neg().max(0);
    let most = i64::MAX - change.amount.max(0);
    let sql = "UPDATE credit_accounts SET balance = balance + $2 \
               WHERE user_id = $1 AND balance >= $3 AND balance <= $4 RETURNING balance";
    let Some(row) = tx.optional(sql, args![user_id, change.amount, least, most]).await? else {
        let row = tx.optional("SELECT balance FROM credit_accounts WHERE user_id = $1", args![user_id]).await?;
        let balance = row.ok_or(Error::NotFound("the user"))?.get(0)?;
        return Err(if change.amount < 0 {
            CreditError::Insufficient { balance }
        } else {
            Error::Invalid("a balance above 2^63").into()
        });
    };
    let balance: i64 = row.get(0)?;
    let sql = concat!(
        "INSERT INTO credit_entries (user_id, at, kind, amount, balance, reservation, reference, note, actor) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING ",
        columns!()
    );
    let args = args![
        user_id,
        crate::now(),
        change.kind.as_str(),
        change.amount,
        balance,
        change.reservation,
        change.reference,
        change.note,
        change.actor,
    ];
    Ok(entry(&tx.one(sql, args).await.map_err(|error| error.about("an entry with this reference"))?)?)
}

/// Makes an entry unless one with its reference exists. Whether it is new.
async fn once(tx: &mut Tx, user_id: &str, change: &Change<'_>) -> Result<(CreditEntry, bool), CreditError> {
    if let Some(reference) = change.reference {
        // Locked before the look: whoever brings the same reference at the same time has made the entry by now.
        let lock = "UPDATE credit_accounts SET balance = balance WHERE user_id = $1";
        tx.execute(lock, args![user_id]).await?;
        let sql = concat!("SELECT ", columns!(), " FROM credit_entries WHERE reference = $1");
        if let Some(row) = tx.optional(sql, args![reference]).await? {
            let known = entry(&row)?;
            let same = known.user_id == user_id && known.kind == change.kind && known.amount == change.amount;
            return if same { Ok((known, false)) } else { Err(Error::Exists("an entry with this reference").into()) };
        }
    }
    Ok((enter(tx, user_id, change).await?, true))
}

/// See [`Store::credit_charge`]; in the caller's transaction. Whether the entry is new.
pub(crate) async fn charge(
    tx: &mut Tx,
    user_id: &str,
    amount: i64,
    reference: Option<&str>,
    note: &str,
    actor: &str,
) -> Result<(CreditEntry, bool), CreditError> {
    check(amount, 1)?;
    let change = Change { amount: -amount, reference, note, actor, ..Change::new(CreditKind::Charge) };
    once(tx, user_id, &change).await
}

/// See [`Store::credit_reserve`]; in the caller's transaction.
pub(crate) async fn reserve(
    tx: &mut Tx,
    user_id: &str,
    amount: i64,
    note: &str,
    actor: &str,
) -> Result<CreditEntry, CreditError> {
    check(amount, 0)?;
    enter(tx, user_id, &Change { amount: -amount, note, actor, ..Change::new(CreditKind::Reserve) }).await
}

/// See [`Store::credit_close`]; in the caller's transaction. All of it was spent where `spent` is none.
pub(crate) async fn close(tx: &mut Tx, reservation: i64, spent: Option<i64>, actor: &str) -> Result<CreditEntry, CreditError> {
    let sql = concat!("SELECT ", columns!(), " FROM credit_entries WHERE id = $1 AND kind = 'reserve'");
    let row = tx.optional(sql, args![reservation]).await?;
    let reserved = entry(&row.ok_or(Error::NotFound("the reservation"))?)?;
    let spent = spent.unwrap_or(-reserved.amount);
    if spent < 0 || spent > -reserved.amount {
        return Err(Error::Invalid("an amount that is not within the reservation").into());
    }
    // Locked before the look: whoever closes the same at the same time has done so by now.
    tx.execute("UPDATE credit_accounts SET balance = balance WHERE user_id = $1", args![&reserved.user_id]).await?;
    if tx.optional("SELECT 1 FROM credit_entries WHERE reservation = $1", args![reservation]).await?.is_some() {
        return Err(CreditError::Closed);
    }
    let change = Change {
        amount: -reserved.amount - spent,
        reservation: Some(reservation),
        note: &reserved.note,
        actor,
        ..Change::new(if spent == 0 { CreditKind::Release } else { CreditKind::Settle })
    };
    enter(tx, &reserved.user_id, &change).await
}

fn entry(row: &Row) -> Result<CreditEntry, Error> {
    Ok(CreditEntry {
        id: row.get(0)?,
        user_id: row.get(1)?,
        at: row.get(2)?,
        kind: CreditKind::parse(&row.get::<String>(3)?)?,
        amount: row.get(4)?,
        balance: row.get(5)?,
        reservation: row.get(6)?,
        reference: row.get(7)?,
        note: row.get(8)?,
        actor: row.get(9)?,
    })
}
