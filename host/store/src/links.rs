//! Which user of ours a person is whom an issuer of tokens knows.

use crate::db::{args, transaction};
use crate::events::append;
use crate::users::{fold, user_columns};
use crate::{Error, NewEvent, Store, User};

/// A person whom an issuer knows, as a user of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The issuer, as its tokens say it.
    pub issuer: String,
    /// The issuer's name for the person.
    pub subject: String,
    /// When the two were linked, in microseconds UTC.
    pub created_at: i64,
}

impl Store {
    /// Links a person to a user. Doing it again changes nothing; [`Error::Exists`] where the person is linked to somebody else.
    pub async fn user_link(&self, user_id: &str, issuer: &str, subject: &str, event: &NewEvent) -> Result<Link, Error> {
        transaction!(self.db(), |tx| async {
            let sql = "INSERT INTO user_links (issuer, subject, user_id, created_at) VALUES ($1, $2, $3, $4) \
                       ON CONFLICT (issuer, subject) DO NOTHING";
            let new = tx.execute(sql, args![issuer, subject, user_id, crate::now()]).await?;
            let sql = "SELECT user_id, created_at FROM user_links WHERE issuer = $1 AND subject = $2";
            let row = tx.one(sql, args![issuer, subject]).await?;
            if row.get::<String>(0)? != user_id {
                return Err(Error::Exists("a link of this person"));
            }
            if new > 0 {
                append(tx, event).await?;
            }
            Ok(Link { issuer: issuer.to_owned(), subject: subject.to_owned(), created_at: row.get(1)? })
        })
    }

    /// Takes a person's link to a user away. Whether there was one.
    pub async fn user_unlink(&self, user_id: &str, issuer: &str, subject: &str, event: &NewEvent) -> Result<bool, Error> {
        transaction!(self.db(), |tx| async {
            let sql = "DELETE FROM user_links WHERE issuer = $1 AND subject = $2 AND user_id = $3";
            let gone = tx.execute(sql, args![issuer, subject, user_id]).await? > 0;
            if gone {
                append(tx, event).await?;
            }
            Ok(gone)
        })
    }

    /// The persons that a user is.
    pub async fn user_links(&self, user_id: &str) -> Result<Vec<Link>, Error> {
        let sql = "SELECT issuer, subject, created_at FROM user_links WHERE user_id = $1 ORDER BY issuer, subject";
        let rows = self.db().all(sql, args![user_id]).await?;
        rows.iter().map(|row| Ok(Link { issuer: row.get(0)?, subject: row.get(1)?, created_at: row.get(2)? })).collect()
    }

    /// The user that a person is.
    pub async fn user_linked(&self, issuer: &str, subject: &str) -> Result<Option<User>, Error> {
        let sql = concat!(
            "SELECT ",
            user_columns!(),
            " FROM user_links l JOIN users u ON u.id = l.user_id LEFT JOIN user_roles r ON r.user_id = u.id \
             WHERE l.issuer = $1 AND l.subject = $2 ORDER BY r.role"
        );
        Ok(fold(&self.db().all(sql, args![issuer, subject]).await?, 0)?.pop())
    }
}
