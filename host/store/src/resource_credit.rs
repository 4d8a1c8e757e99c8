//! What the machines of deployments cost: set aside before a machine is ordered, spent once it is there, and paid in advance from
//! then on.

use crate::credit::{self, CreditError};
use crate::db::{Row, Tx, args, transaction};
use crate::{Error, Store};

/// A machine that is paid for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceCredit {
    /// The resource.
    pub resource: String,
    /// Its deployment.
    pub deployment: String,
    /// Who pays.
    pub user_id: String,
    /// Where the machine is.
    pub cloud: String,
    /// Credits a period.
    pub price: i64,
    /// What is set aside, until the machine is there.
    pub reservation: Option<i64>,
    /// Until when it is paid for, in microseconds UTC; none before it was there for the first time.
    pub paid_until: Option<i64>,
}

macro_rules! columns {
    () => {
        "resource, deployment, user_id, cloud, price, reservation, paid_until"
    };
}

impl Store {
    /// Sets aside what the first period of a machine costs. Nothing happens where that was done before, the machine is paid for, or
    /// there is no such resource (any more).
    pub async fn resource_reserve(&self, new: &ResourceCredit, actor: &str) -> Result<(), CreditError> {
        transaction!(self.db(), |tx| async {
            let sql = "INSERT INTO resource_credit (resource, deployment, user_id, cloud, price) \
                       SELECT r.id, r.deployment, $3, $4, $5 FROM resources r WHERE r.id = $1 AND r.deployment = $2 \
                       ON CONFLICT (resource) DO NOTHING RETURNING 1";
            let args = args![&new.resource, &new.deployment, &new.user_id, &new.cloud, new.price];
            if tx.optional(sql, args).await?.is_some() { set_aside(tx, &new.resource, actor).await } else { Ok(()) }
        })
    }

    /// Sets aside what the next period of a machine that starts again costs, where it is charged for at all, and not paid for still.
    pub async fn resource_reserve_again(&self, resource: &str, now: i64, actor: &str) -> Result<(), CreditError> {
        transaction!(self.db(), |tx| async {
            // Locked before the look.
            let sql = "UPDATE resource_credit SET price = price WHERE resource = $1 AND reservation IS NULL AND paid_until <= $2 \
                       RETURNING 1";
            let due = tx.optional(sql, args![resource, now]).await?.is_some();
            if due { set_aside(tx, resource, actor).await } else { Ok(()) }
        })
    }

    /// Spends what was set aside for the machines of a deployment, or for one of them: they are there, and paid for until then.
    pub async fn resource_settle(
        &self,
        deployment: &str,
        resource: Option<&str>,
        until: i64,
        actor: &str,
    ) -> Result<(), CreditError> {
        transaction!(self.db(), |tx| async {
            for machine in reserved(tx, deployment, resource).await? {
                let sql = "UPDATE resource_credit SET reservation = NULL, paid_until = $2 WHERE resource = $1 RETURNING 1";
                tx.execute(sql, args![&machine.resource, until]).await?;
                if let Some(reservation) = machine.reservation {
                    credit::close(tx, reservation, None, actor).await?;
                }
            }
            Ok(())
        })
    }

    /// Gives back what was set aside for a machine that is not there. One that never was is not charged for any more.
    pub async fn resource_release(&self, deployment: &str, resource: &str, actor: &str) -> Result<(), CreditError> {
        transaction!(self.db(), |tx| async {
            for machine in reserved(tx, deployment, Some(resource)).await? {
                tx.execute("UPDATE resource_credit SET reservation = NULL WHERE resource = $1", args![resource]).await?;
                if let Some(reservation) = machine.reservation {
                    credit::close(tx, reservation, Some(0), actor).await?;
                }
            }
            let sql = "DELETE FROM resource_credit WHERE resource = $1 AND paid_until IS NULL";
            tx.execute(sql, args![resource]).await?;
            Ok(())
        })
    }

    /// Ends the charges for machines whose resources are gone: how many that were.
    pub async fn resource_credit_tidy(&self, actor: &str) -> Result<usize, Error> {
        let sql = "SELECT resource FROM resource_credit c WHERE NOT EXISTS (SELECT 1 FROM resources r WHERE r.id = c.resource)";
        let gone = self.db().all(sql, &[]).await?;
        for row in &gone {
            let resource: String = row.get(0)?;
            transaction!(self.db(), |tx| end(tx, "", &resource, actor))?;
        }
        Ok(gone.len())
    }

    /// Up to `limit` machines whose time is over, the oldest first, but for those that are stopped: from `after`, which a page
    /// before ended with.
    pub async fn resources_due(&self, now: i64, after: Option<(i64, &str)>, limit: u32) -> Result<Vec<ResourceCredit>, Error> {
        let sql = "SELECT c.resource, c.deployment, c.user_id, c.cloud, c.price, c.reservation, c.paid_until \
                   FROM resource_credit c JOIN resources r ON r.id = c.resource \
                   WHERE c.paid_until <= $1 AND c.reservation IS NULL AND r.token IS NOT NULL AND r.state <> 'STOPPED' \
                   AND (c.paid_until, c.resource) > ($2, $3) ORDER BY c.paid_until, c.resource LIMIT $4";
        let (until, resource) = after.unwrap_or((i64::MIN, ""));
        self.db().all(sql, args![now, until, resource, limit]).await?.iter().map(read).collect()
    }

    /// Pays for the next period of a machine, with the reference `resource:<id>:<expected>`. False where it is not paid for until
    /// `expected`; nothing is charged then.
    pub async fn resource_charge(&self, resource: &str, expected: i64, next: i64, actor: &str) -> Result<bool, CreditError> {
        if next <= expected {
            return Err(Error::Invalid("a period that does not end after its beginning").into());
        }
        transaction!(self.db(), |tx| async {
            let sql = concat!(
                "UPDATE resource_credit SET paid_until = $3 WHERE resource = $1 AND paid_until = $2 AND reservation IS NULL \
                 RETURNING ",
                columns!()
            );
            let Some(row) = tx.optional(sql, args![resource, expected, next]).await? else { return Ok(false) };
            let machine = read(&row)?;
            if machine.price > 0 {
                let reference = format!("resource:{resource}:{expected}");
                let note = format!("a machine of deployment {}", machine.deployment);
                credit::charge(tx, &machine.user_id, machine.price, Some(&reference), &note, actor).await?;
            }
            Ok(true)
        })
    }
}

/// Ends the charges for the machines of a deployment, and for this one, in the caller's transaction: what is set aside comes back.
pub(crate) async fn end(tx: &mut Tx, deployment: &str, resource: &str, actor: &str) -> Result<(), Error> {
    let sql = concat!("DELETE FROM resource_credit WHERE deployment = $1 OR resource = $2 RETURNING ", columns!());
    for row in tx.all(sql, args![deployment, resource]).await? {
        if let Some(reservation) = read(&row)?.reservation {
            match credit::close(tx, reservation, Some(0), actor).await {
                Ok(_) | Err(CreditError::Closed) => {}
                Err(CreditError::Store(error)) => return Err(error),
                Err(CreditError::Insufficient { .. }) => return Err(Error::Corrupt("reservation")),
            }
        }
    }
    Ok(())
}

async fn set_aside(tx: &mut Tx, resource: &str, actor: &str) -> Result<(), CreditError> {
    let sql = concat!("SELECT ", columns!(), " FROM resource_credit WHERE resource = $1");
    let machine = read(&tx.one(sql, args![resource]).await?)?;
    let note = format!("a machine of deployment {}", machine.deployment);
    let entry = credit::reserve(tx, &machine.user_id, machine.price, &note, actor).await?;
    tx.execute("UPDATE resource_credit SET reservation = $2 WHERE resource = $1", args![resource, entry.id]).await?;
    Ok(())
}

/// The machines for which something is set aside; they stay locked.
async fn reserved(tx: &mut Tx, deployment: &str, resource: Option<&str>) -> Result<Vec<ResourceCredit>, Error> {
    let sql = concat!(
        "UPDATE resource_credit SET price = price WHERE deployment = $1 AND (CAST($2 AS TEXT) IS NULL OR resource = $2) \
         AND reservation IS NOT NULL RETURNING ",
        columns!()
    );
    tx.all(sql, args![deployment, resource]).await?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<ResourceCredit, Error> {
    Ok(ResourceCredit {
        resource: row.get(0)?,
        deployment: row.get(1)?,
        user_id: row.get(2)?,
        cloud: row.get(3)?,
        price: row.get(4)?,
        reservation: row.get(5)?,
        paid_until: row.get(6)?,
    })
}
