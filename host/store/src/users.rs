//! Users and their roles.

use crate::db::{Row, args, transaction};
use crate::{Error, Store};

/// Somebody who may log in.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// A uuid v7, made by the store.
    pub id: String,
    /// The name to log in with; compared byte by byte.
    pub username: String,
    /// The password's hash in PHC format; none: no password fits.
    pub password_hash: Option<String>,
    /// The address for mail.
    pub email: Option<String>,
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
            .field("username", &self.username)
            .field("active", &self.active)
            .field("roles", &self.roles)
            .finish_non_exhaustive()
    }
}

/// A user to create.
#[derive(Clone)]
pub struct NewUser {
    /// See [`User::username`].
    pub username: String,
    /// See [`User::password_hash`].
    pub password_hash: Option<String>,
    /// See [`User::email`].
    pub email: Option<String>,
    /// See [`User::active`].
    pub active: bool,
    /// See [`User::roles`]; in any order.
    pub roles: Vec<String>,
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

/// One row a role, at least one a user; the role is the last column. See [`fold`].
macro_rules! select {
    ($from:literal) => {
        concat!(
            "SELECT u.id, u.username, u.password_hash, u.email, u.active, u.created_at, u.updated_at, r.role FROM ",
            $from,
            " LEFT JOIN user_roles r ON r.user_id = u.id "
        )
    };
}

const GRANT: &str = "INSERT INTO user_roles (user_id, role) VALUES ($1, $2) ON CONFLICT (user_id, role) DO NOTHING";

impl Store {
    /// Creates a user with its roles. [`Error::Exists`] where the name is taken.
    pub async fn user_create(&self, new: &NewUser) -> Result<User, Error> {
        let id = crate::new_id();
        let now = crate::now();
        let mut roles = new.roles.clone();
        roles.sort();
        roles.dedup();
        let sql = "INSERT INTO users (id, username, password_hash, email, active, created_at, updated_at) \
                   VALUES ($1, $2, $3, $4, $5, $6, $6)";
        transaction!(self.db(), |tx| async {
            let args = args![&id, &new.username, &new.password_hash, &new.email, new.active, now];
            tx.execute(sql, args).await.map_err(|error| error.about("the user"))?;
            for role in &roles {
                tx.execute(GRANT, args![&id, role]).await?;
            }
            Ok::<_, Error>(())
        })?;
        Ok(User {
            id,
            username: new.username.clone(),
            password_hash: new.password_hash.clone(),
            email: new.email.clone(),
            active: new.active,
            roles,
            created_at: now,
            updated_at: now,
        })
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

    /// Up to `limit` users whose name sorts after `after`, by the names' bytes.
    pub async fn users(&self, after: Option<&str>, limit: u32) -> Result<Vec<User>, Error> {
        let sql = concat!(
            select!("(SELECT * FROM users WHERE username > $1 ORDER BY username LIMIT $2) u"),
            "ORDER BY u.username, r.role"
        );
        fold(&self.db().all(sql, args![after.unwrap_or(""), limit]).await?, 0)
    }

    /// Sets or takes away the password. [`Error::NotFound`] where there is no such user.
    pub async fn user_set_password(&self, id: &str, password_hash: Option<&str>) -> Result<(), Error> {
        let sql = "UPDATE users SET password_hash = $2, updated_at = $3 WHERE id = $1 RETURNING 1";
        found(self.db().write_count(sql, args![id, password_hash, crate::now()]).await?)
    }

    /// Lets a user in or keeps it out. [`Error::NotFound`] where there is no such user.
    pub async fn user_set_active(&self, id: &str, active: bool) -> Result<(), Error> {
        let sql = "UPDATE users SET active = $2, updated_at = $3 WHERE id = $1 RETURNING 1";
        found(self.db().write_count(sql, args![id, active, crate::now()]).await?)
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
            let touch = "UPDATE users SET updated_at = $2 WHERE id = $1";
            found(tx.execute(touch, args![id, crate::now()]).await?)?;
            tx.execute(change, args![id, role]).await?;
            Ok(())
        })
    }
}

fn found(rows: u64) -> Result<(), Error> {
    if rows == 0 { Err(Error::NotFound("the user")) } else { Ok(()) }
}

/// Makes users of rows with one role each, in the rows' order. `column` is the first of the eight of a user.
pub(crate) fn fold(rows: &[Row], column: usize) -> Result<Vec<User>, Error> {
    let mut users: Vec<User> = Vec::new();
    for row in rows {
        let id: String = row.get(column)?;
        let role: Option<String> = row.get(column + 7)?;
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
            }),
        }
    }
    Ok(users)
}
