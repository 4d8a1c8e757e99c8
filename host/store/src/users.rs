//! Users and their roles.

use crate::db::{Row, Tx, args, transaction};
use crate::{CreditError, CreditKind, Error, Store, applications, credit};

/// Somebody who may log in.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// A uuid v7, made by the store.
    pub id: String,
    /// The user's number, from 1, which is the UID in certificates. Never used again.
    pub number: i64,
    /// The name to log in with; compared byte by byte.
    pub username: String,
    /// The password's hash in PHC format; none: no password fits.
    pub password_hash: Option<String>,
    /// Until when the password is good, in microseconds UTC; none: until it is changed.
    pub password_expires_at: Option<i64>,
    /// The address for mail. No two users have the same, whatever the case of its ASCII letters.
    pub email: Option<String>,
    /// The first name.
    pub first_name: Option<String>,
    /// The last name.
    pub last_name: Option<String>,
    /// To whom the user belongs.
    pub affiliation: Option<String>,
    /// Whether the user may do anything at all.
    pub active: bool,
    /// The roles, sorted.
    pub roles: Vec<String>,
    /// When the user was created, in microseconds UTC.
    pub created_at: i64,
    /// When the user or its roles last changed, in microseconds UTC.
    pub updated_at: i64,
}

/// Without the password's hash.
impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("id", &self.id)
            .field("number", &self.number)
            .field("username", &self.username)
            .field("active", &self.active)
            .field("roles", &self.roles)
            .finish_non_exhaustive()
    }
}

/// A user to create.
#[derive(Clone, Default)]
pub struct NewUser {
    /// See [`User::username`].
    pub username: String,
    /// See [`User::password_hash`].
    pub password_hash: Option<String>,
    /// See [`User::email`].
    pub email: Option<String>,
    /// See [`User::first_name`].
    pub first_name: Option<String>,
    /// See [`User::last_name`].
    pub last_name: Option<String>,
    /// See [`User::affiliation`].
    pub affiliation: Option<String>,
    /// See [`User::active`].
    pub active: bool,
    /// See [`User::roles`]; in any order.
    pub roles: Vec<String>,
    /// The credit to begin with. If it is above 0, the account's first entry grants it, with the user as the actor.
    pub credit: i64,
}

/// Without the password's hash.
impl std::fmt::Debug for NewUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewUser")
            .field("username", &self.username)
            .field("active", &self.active)
            .field("roles", &self.roles)
            .finish_non_exhaustive()
    }
}

/// The columns of a user `u`, and one role `r` as the last. See [`fold`].
macro_rules! user_columns {
    () => {
        "u.id, u.username, u.password_hash, u.email, u.active, u.created_at, u.updated_at, u.number, u.first_name, \
         u.last_name, u.affiliation, u.password_expires_at, r.role"
    };
}
pub(crate) use user_columns;

/// One row a role, at least one a user; see [`fold`].
macro_rules! select {
    ($from:literal) => {
        concat!("SELECT ", user_columns!(), " FROM ", $from, " LEFT JOIN user_roles r ON r.user_id = u.id ")
    };
}

pub(crate) const GRANT: &str = "INSERT INTO user_roles (user_id, role) VALUES ($1, $2) ON CONFLICT (user_id, role) DO NOTHING";

pub(crate) const TOUCH: &str = "UPDATE users SET updated_at = $2 WHERE id = $1";

impl Store {
    /// Creates a user with its roles and its account. [`Error::Exists`] where the name (`the user`) or the address for mail
    /// (`the e-mail address`) is taken.
    pub async fn user_create(&self, new: &NewUser) -> Result<User, Error> {
        self.user_create_with(new, None).await
    }

    /// As [`Store::user_create`], and makes the user's first application, if it is named.
    pub async fn user_create_with(&self, new: &NewUser, application: Option<&str>) -> Result<User, Error> {
        if new.credit != 0 {
            credit::check(new.credit, 0)?;
        }
        let id = crate::new_id();
        let now = crate::now();
        let number = transaction!(self.db(), |tx| create(tx, &id, now, new, application))?;
        Ok(created(id, number, now, new))
    }

    /// The user of this identifier.
    pub async fn user_get(&self, id: &str) -> Result<Option<User>, Error> {
        let sql = concat!(select!("users u"), "WHERE u.id = $1 ORDER BY r.role");
        Ok(fold(&self.db().all(sql, args![id]).await?, 0)?.pop())
    }

    /// The user of this name.
    pub async fn user_by_name(&self, username: &str) -> Result<Option<User>, Error> {
        let sql = concat!(select!("users u"), "WHERE u.username = $1 ORDER BY r.role");
        Ok(fold(&self.db().all(sql, args![username]).await?, 0)?.pop())
    }

    /// The user of this number.
    pub async fn user_by_number(&self, number: i64) -> Result<Option<User>, Error> {
        let sql = concat!(select!("users u"), "WHERE u.number = $1 AND u.deleted_at IS NULL ORDER BY r.role");
        Ok(fold(&self.db().all(sql, args![number]).await?, 0)?.pop())
    }

    /// The user with this address for mail, whatever the case of its letters.
    pub async fn user_by_email(&self, email: &str) -> Result<Option<User>, Error> {
        let sql = concat!(select!("users u"), "WHERE lower(u.email) = lower($1) ORDER BY r.role");
        Ok(fold(&self.db().all(sql, args![email]).await?, 0)?.pop())
    }

    /// Up to `limit` users whose name sorts after `after`, by the names' bytes.
    pub async fn users(&self, after: Option<&str>, limit: u32) -> Result<Vec<User>, Error> {
        let sql = concat!(
            select!("(SELECT * FROM users WHERE username > $1 AND deleted_at IS NULL ORDER BY username LIMIT $2) u"),
            "ORDER BY u.username, r.role"
        );
        fold(&self.db().all(sql, args![after.unwrap_or(""), limit]).await?, 0)
    }

    /// Puts another hash of the same password in the place of this one. Whether it was still the user's.
    pub async fn user_rehash(&self, id: &str, old: &str, new: &str) -> Result<bool, Error> {
        let sql = "UPDATE users SET password_hash = $3, updated_at = $4 WHERE id = $1 AND password_hash = $2 RETURNING 1";
        Ok(self.db().write_count(sql, args![id, old, new, crate::now()]).await? > 0)
    }

    /// Grants a role; granting it again changes nothing. [`Error::NotFound`] where there is no such user.
    pub async fn user_add_role(&self, id: &str, role: &str) -> Result<(), Error> {
        self.user_change_role(id, role, GRANT).await
    }

    /// Takes a role away; taking what was not granted changes nothing. [`Error::NotFound`] where there is no such user.
    pub async fn user_remove_role(&self, id: &str, role: &str) -> Result<(), Error> {
        self.user_change_role(id, role, "DELETE FROM user_roles WHERE user_id = $1 AND role = $2").await
    }

    async fn user_change_role(&self, id: &str, role: &str, change: &'static str) -> Result<(), Error> {
        transaction!(self.db(), |tx| async {
            found(tx.execute(TOUCH, args![id, crate::now()]).await?)?;
            tx.execute(change, args![id, role]).await?;
            Ok(())
        })
    }
}

/// The user that was made by this order.
pub(crate) fn created(id: String, number: i64, now: i64, new: &NewUser) -> User {
    let mut roles = new.roles.clone();
    roles.sort();
    roles.dedup();
    User {
        id,
        number,
        username: new.username.clone(),
        password_hash: new.password_hash.clone(),
        password_expires_at: None,
        email: new.email.clone(),
        first_name: new.first_name.clone(),
        last_name: new.last_name.clone(),
        affiliation: new.affiliation.clone(),
        active: new.active,
        roles,
        created_at: now,
        updated_at: now,
    }
}

/// Creates a user; its number.
pub(crate) async fn create(tx: &mut Tx, id: &str, now: i64, new: &NewUser, application: Option<&str>) -> Result<i64, Error> {
    // Whoever creates a user waits here for whoever does, so that nobody takes the name after the look.
    let number: i64 = tx.one("UPDATE counters SET last = last + 1 WHERE name = 'user' RETURNING last", &[]).await?.get(0)?;
    if tx.optional("SELECT 1 FROM users WHERE username = $1", args![&new.username]).await?.is_some() {
        return Err(Error::Exists("the user"));
    }
    let email = new.email.as_ref().map(|email| email.to_ascii_lowercase());
    let sql = "SELECT 1 FROM users WHERE lower(email) = $1 AND email IS NOT NULL";
    if email.is_some() && tx.optional(sql, args![&email]).await?.is_some() {
        return Err(Error::Exists("the e-mail address"));
    }
    let sql = "INSERT INTO users (id, username, password_hash, email, active, created_at, updated_at, number, first_name, \
               last_name, affiliation) VALUES ($1, $2, $3, $4, $5, $6, $6, $7, $8, $9, $10)";
    let args = args![
        id,
        &new.username,
        &new.password_hash,
        &new.email,
        new.active,
        now,
        number,
        &new.first_name,
        &new.last_name,
        &new.affiliation,
    ];
    tx.execute(sql, args).await.map_err(|error| error.about("the user"))?;
    for role in &new.roles {
        tx.execute(GRANT, args![id, role]).await?;
    }
    tx.execute("INSERT INTO credit_accounts (user_id, balance) VALUES ($1, 0)", args![id]).await?;
    if new.credit > 0 {
        let change = credit::Change {
            amount: new.credit,
            note: "initial credit",
            actor: &new.username,
            ..credit::Change::new(CreditKind::Grant)
        };
        match credit::enter(tx, id, &change).await {
            Ok(_) => {}
            Err(CreditError::Store(error)) => return Err(error),
            Err(_) => return Err(Error::Corrupt("account")),
        }
    }
    if let Some(name) = application {
        applications::create(tx, id, name).await?;
    }
    Ok(number)
}

pub(crate) fn found(rows: u64) -> Result<(), Error> {
    if rows == 0 { Err(Error::NotFound("the user")) } else { Ok(()) }
}

/// Makes users of rows with one role each, in the rows' order. `column` is the first of [`user_columns`].
pub(crate) fn fold(rows: &[Row], column: usize) -> Result<Vec<User>, Error> {
    let mut users: Vec<User> = Vec::new();
    for row in rows {
        let id: String = row.get(column)?;
        let role: Option<String> = row.get(column + 12)?;
        match users.last_mut() {
            Some(last) if last.id == id => last.roles.extend(role),
            _ => users.push(User {
                id,
                username: row.get(column + 1)?,
                password_hash: row.get(column + 2)?,
                email: row.get(column + 3)?,
                active: row.flag(column + 4)?,
                roles: role.into_iter().collect(),
                created_at: row.get(column + 5)?,
                updated_at: row.get(column + 6)?,
                number: row.get(column + 7)?,
                first_name: row.get(column + 8)?,
                last_name: row.get(column + 9)?,
                affiliation: row.get(column + 10)?,
                password_expires_at: row.get(column + 11)?,
            }),
        }
    }
    Ok(users)
}
