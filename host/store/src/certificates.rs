//! What the certificate authority issued, and what it revoked.

use crate::db::{Row, Tx, args, transaction};
use crate::users::{fold, user_columns};
use crate::{Error, ServiceError, ServiceState, Store, User, services};

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The serial number, as the authority writes it.
    pub serial: String,
    /// What its holder is: `user`, `manager` …
    pub role: String,
    /// The user for whom or for whose service it is.
    pub user_id: Option<String>,
    /// The service for which it is, which may be gone.
    pub service_id: Option<i64>,
    /// The number by which the certificate names the service.
    pub locator: Option<i64>,
    /// The subject, as text.
    pub subject: String,
    /// The certificate, PEM.
    pub pem: String,
    /// From when on it is good, in microseconds UTC.
    pub not_before: i64,
    /// Until when, in microseconds UTC.
    pub not_after: i64,
    /// When it was noted here, in microseconds UTC.
    pub issued_at: i64,
    /// Who asked for it.
    pub issued_by: String,
    /// When it was revoked, in microseconds UTC.
    pub revoked_at: Option<i64>,
    /// Why.
    pub reason: Option<String>,
}

/// A certificate to note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCertificate {
    /// See [`Certificate::serial`].
    pub serial: String,
    /// See [`Certificate::role`].
    pub role: String,
    /// See [`Certificate::user_id`].
    pub user_id: Option<String>,
    /// See [`Certificate::service_id`].
    pub service_id: Option<i64>,
    /// See [`Certificate::locator`].
    pub locator: Option<i64>,
    /// See [`Certificate::subject`].
    pub subject: String,
    /// See [`Certificate::pem`].
    pub pem: String,
    /// See [`Certificate::not_before`].
    pub not_before: i64,
    /// See [`Certificate::not_after`].
    pub not_after: i64,
    /// See [`Certificate::issued_by`].
    pub issued_by: String,
}

/// Which certificates to list.
#[derive(Debug, Clone, Default)]
pub struct CertificateFilter {
    /// Of this user only.
    pub user_id: Option<String>,
    /// Of this service only.
    pub service_id: Option<i64>,
    /// Also those that are revoked or past their time.
    pub include_ended: bool,
}

/// The columns of a certificate `c`.
macro_rules! columns {
    () => {
        "c.serial, c.role, c.user_id, c.service_id, c.locator, c.subject, c.pem, c.not_before, c.not_after, c.issued_at, \
         c.issued_by, c.revoked_at, c.reason"
    };
}

/// How many they are.
const COLUMNS: usize = 13;

impl Store {
    /// Notes a certificate. [`Error::Exists`] where the serial number is known, [`Error::NotFound`] where there is no such user.
    pub async fn certificate_add(&self, new: &NewCertificate) -> Result<Certificate, Error> {
        transaction!(self.db(), |tx| add(tx, new))
    }

    /// As [`Store::certificate_add`], of the certificate's service, in one transaction with the look at it:
    /// [`ServiceError::NotFound`] where the user has no such service, [`ServiceError::Busy`] where it does not run. So that none is
    /// noted after the service's certificates were revoked for good.
    pub async fn certificate_add_running(&self, new: &NewCertificate) -> Result<Certificate, ServiceError> {
        transaction!(self.db(), |tx| add_running(tx, new))
    }

    /// The certificate with this serial number and its user, in whatever state they are.
    pub async fn certificate_find(&self, serial: &str) -> Result<Option<(Certificate, Option<User>)>, Error> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            ", ",
            user_columns!(),
            " FROM certificates c LEFT JOIN users u ON u.id = c.user_id LEFT JOIN user_roles r ON r.user_id = u.id \
             WHERE c.serial = $1 ORDER BY r.role"
        );
        let rows = self.db().all(sql, args![serial]).await?;
        let Some(first) = rows.first() else {
            return Ok(None);
        };
        let certificate = certificate(first)?;
        let user = if certificate.user_id.is_some() { fold(&rows, COLUMNS)?.pop() } else { None };
        Ok(Some((certificate, user)))
    }

    /// The certificate with this serial number.
    pub async fn certificate_get(&self, serial: &str) -> Result<Option<Certificate>, Error> {
        let sql = concat!("SELECT ", columns!(), " FROM certificates c WHERE c.serial = $1");
        self.db().optional(sql, args![serial]).await?.as_ref().map(certificate).transpose()
    }

    /// Revokes a certificate, for good. Whether there was one that was not revoked.
    pub async fn certificate_revoke(&self, serial: &str, reason: &str) -> Result<bool, Error> {
        let sql = "UPDATE certificates SET revoked_at = $2, reason = $3 WHERE serial = $1 AND revoked_at IS NULL RETURNING 1";
        Ok(self.db().write_count(sql, args![serial, crate::now(), reason]).await? > 0)
    }

    /// Revokes the certificates of a user, all or those of one role. How many were not revoked yet.
    pub async fn certificates_revoke_user(&self, user_id: &str, reason: &str, role: Option<&str>) -> Result<u64, Error> {
        transaction!(self.db(), |tx| revoke_user(tx, user_id, reason, role))
    }

    /// Revokes the certificates of a service. How many were not revoked yet.
    pub async fn certificates_revoke_service(&self, service_id: i64, reason: &str) -> Result<u64, Error> {
        transaction!(self.db(), |tx| revoke_service(tx, service_id, reason))
    }

    /// Up to `limit` certificates, the latest first. The next page begins after time and serial number of the last one of this.
    pub async fn certificates(
        &self,
        filter: &CertificateFilter,
        before: Option<(i64, &str)>,
        limit: u32,
    ) -> Result<Vec<Certificate>, Error> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM certificates c WHERE (c.issued_at, c.serial) < ($1, $2) AND (CAST($3 AS TEXT) IS NULL OR c.user_id = $3) \
             AND (CAST($4 AS BIGINT) IS NULL OR c.service_id = $4) \
             AND ($5 = 1 OR (c.revoked_at IS NULL AND c.not_after > $6)) \
             ORDER BY c.issued_at DESC, c.serial DESC LIMIT $7"
        );
        let (at, serial) = before.unwrap_or((i64::MAX, ""));
        let args = args![at, serial, &filter.user_id, filter.service_id, filter.include_ended, crate::now(), limit];
        self.db().all(sql, args).await?.iter().map(certificate).collect()
    }

    /// Serial number, time and reason of what was revoked and would otherwise still be good at `now`, in the order of revocation.
    pub async fn certificates_revoked(&self, now: i64) -> Result<Vec<(String, i64, String)>, Error> {
        let sql = "SELECT serial, revoked_at, reason FROM certificates \
                   WHERE revoked_at IS NOT NULL AND not_after > $1 ORDER BY revoked_at, serial";
        let rows = self.db().all(sql, args![now]).await?;
        rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).collect()
    }

    /// The next number for a list of revocations, from 1.
    pub async fn crl_number(&self) -> Result<u64, Error> {
        let sql = "UPDATE counters SET last = last + 1 WHERE name = 'crl' RETURNING last";
        self.db().write_optional(sql, &[]).await?.ok_or(Error::Corrupt("counter"))?.unsigned(0)
    }

    /// Notes the certificate authority by its fingerprint, if none is noted. The one that is.
    pub async fn authority_claim(&self, fingerprint: &str) -> Result<String, Error> {
        let sql = "INSERT INTO authority (id, fingerprint) VALUES (1, $1) \
                   ON CONFLICT (id) DO UPDATE SET fingerprint = authority.fingerprint RETURNING fingerprint";
        self.db().write_optional(sql, args![fingerprint]).await?.ok_or(Error::Corrupt("authority"))?.get(0)
    }
}

async fn add_running(tx: &mut Tx, new: &NewCertificate) -> Result<Certificate, ServiceError> {
    let service = match new.service_id {
        Some(id) => services::lock(tx, id).await?,
        None => None,
    };
    let service = service.filter(|service| Some(&service.user_id) == new.user_id.as_ref()).ok_or(ServiceError::NotFound)?;
    if service.state != ServiceState::Running {
        return Err(ServiceError::Busy);
    }
    Ok(add(tx, new).await?)
}

async fn add(tx: &mut Tx, new: &NewCertificate) -> Result<Certificate, Error> {
    let now = crate::now();
    let sql = "INSERT INTO certificates (serial, role, user_id, service_id, locator, subject, pem, not_before, not_after, \
               issued_at, issued_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    let args = args![
        &new.serial,
        &new.role,
        &new.user_id,
        new.service_id,
        new.locator,
        &new.subject,
        &new.pem,
        new.not_before,
        new.not_after,
        now,
        &new.issued_by,
    ];
    tx.execute(sql, args).await.map_err(|error| match error {
        Error::NotFound(_) => error.about("the user"),
        error => error.about("the certificate"),
    })?;
    Ok(Certificate {
        serial: new.serial.clone(),
        role: new.role.clone(),
        user_id: new.user_id.clone(),
        service_id: new.service_id,
        locator: new.locator,
        subject: new.subject.clone(),
        pem: new.pem.clone(),
        not_before: new.not_before,
        not_after: new.not_after,
        issued_at: now,
        issued_by: new.issued_by.clone(),
        revoked_at: None,
        reason: None,
    })
}

/// See [`Store::certificates_revoke_user`]; in the caller's transaction.
pub(crate) async fn revoke_user(tx: &mut Tx, user_id: &str, reason: &str, role: Option<&str>) -> Result<u64, Error> {
    let sql = "UPDATE certificates SET revoked_at = $2, reason = $3 \
               WHERE user_id = $1 AND revoked_at IS NULL AND (CAST($4 AS TEXT) IS NULL OR role = $4)";
    tx.execute(sql, args![user_id, crate::now(), reason, role]).await
}

/// See [`Store::certificates_revoke_service`]; in the caller's transaction.
pub(crate) async fn revoke_service(tx: &mut Tx, service_id: i64, reason: &str) -> Result<u64, Error> {
    let sql = "UPDATE certificates SET revoked_at = $2, reason = $3 WHERE service_id = $1 AND revoked_at IS NULL";
    tx.execute(sql, args![service_id, crate::now(), reason]).await
}

fn certificate(row: &Row) -> Result<Certificate, Error> {
    Ok(Certificate {
        serial: row.get(0)?,
        role: row.get(1)?,
        user_id: row.get(2)?,
        service_id: row.get(3)?,
        locator: row.get(4)?,
        subject: row.get(5)?,
        pem: row.get(6)?,
        not_before: row.get(7)?,
        not_after: row.get(8)?,
        issued_at: row.get(9)?,
        issued_by: row.get(10)?,
        revoked_at: row.get(11)?,
        reason: row.get(12)?,
    })
}
