//! Certificates: issued to users, to managers and agents of services and to the server itself; recorded, renewed, revoked.

use crate::Error;
use crate::identity::{CertificateRole, Permission, Principal, Scheme};
pub use ostler_ca::RevocationReason;
use ostler_ca::{Issued, Profile, Revoked};
use ostler_store::{Certificate, CertificateFilter, NewCertificate, ServiceError, ServiceState, Store, User};
use secrecy::SecretString;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a published list of revocations is good, and how old it may be when it is handed out.
const CRL_LIFE: Duration = Duration::from_hours(24);
const CRL_AGE: Duration = Duration::from_secs(10);

/// Our certificate authority, with the record of what it issued.
pub struct Authority {
    ca: ostler_ca::Authority,
    store: Store,
    /// The list that was made last: who asks for it need not say who he is, and must not have us sign at will.
    crl: tokio::sync::Mutex<Option<(Instant, Vec<u8>)>>,
}

/// A certificate with its key, and the authority to trust. PEM.
pub struct Bundle {
    /// The certificate.
    pub certificate: String,
    /// The private key, PKCS#8. Kept nowhere else.
    pub key: SecretString,
    /// The authority's certificate.
    pub authority: String,
    /// The serial number, lower-case hexadecimal.
    pub serial: String,
}

impl Authority {
    /// Opens the authority in this directory, or makes one there. All hosts on one store must have the same.
    pub async fn open(directory: &Path, store: Store) -> Result<Self, Error> {
        let (ca, made) = ostler_ca::Authority::open_or_create(directory)?;
        let recorded = store.authority_claim(&ca.fingerprint()).await?;
        if recorded != ca.fingerprint() {
            return Err(Error::Invalid(format!(
                "{}: this is not the certificate authority that the store knows (SHA-256 {recorded}); copy its directory from the host \
                 that has it",
                directory.display()
            )));
        }
        if made {
            tracing::info!(directory = %directory.display(), sha256 = recorded, "made a certificate authority");
        }
        Ok(Self { ca, store, crl: tokio::sync::Mutex::new(None) })
    }

    /// By what this installation is known to others: the same for all hosts on one store, which have one authority.
    pub fn instance(&self) -> String {
        self.ca.fingerprint().chars().take(32).collect()
    }

    /// The authority's own certificate, PEM.
    pub fn certificate_pem(&self) -> &str {
        self.ca.certificate_pem()
    }

    /// The authority's own certificate, DER.
    pub fn certificate_der(&self) -> &[u8] {
        self.ca.certificate_der()
    }

    /// A new certificate and key for a user. Earlier ones stay good.
    pub async fn issue_user(&self, user: &User, by: &str) -> Result<Bundle, Error> {
        let profile = Profile::User { uid: user.number, username: user.username.clone(), email: user.email.clone() };
        self.issue(&profile, Some(&user.id), None, by).await
    }

    /// A new certificate and key for the manager of a service; `locator` is the number by which the manager knows what it serves.
    pub(crate) async fn issue_manager(&self, user: &User, service: i64, locator: i64) -> Result<Bundle, Error> {
        let profile = Profile::Manager { uid: user.number, service: locator };
        self.issue(&profile, Some(&user.id), Some((service, locator)), "host").await
    }

    /// A new certificate and key for an agent of a service that this server orders for its manager.
    pub(crate) async fn issue_agent(&self, user: &User, service: i64, locator: i64) -> Result<Bundle, Error> {
        let profile = Profile::Agent { uid: user.number, service: locator };
        self.issue(&profile, Some(&user.id), Some((service, locator)), "host").await
    }

    /// A certificate for the server itself, for these names and addresses.
    pub async fn issue_server(&self, names: &[String]) -> Result<Bundle, Error> {
        self.issue(&Profile::Director { names: names.to_vec() }, None, None, "host").await
    }

    async fn issue(&self, profile: &Profile, user: Option<&str>, service: Option<(i64, i64)>, by: &str) -> Result<Bundle, Error> {
        let (issued, key) = self.ca.issue_with_key(profile, SystemTime::now())?;
        // Of agents: the manager's order goes on to its end, whatever becomes of the service meanwhile.
        let runs = profile.role() == CertificateRole::Agent;
        self.record(&issued, profile.role(), user, service, runs, by).await?;
        Ok(Bundle { certificate: issued.pem, key, authority: self.certificate_pem().to_owned(), serial: issued.serial })
    }

    /// Recorded before it is handed out: one that nobody could revoke must not exist. With `runs`, for a service that runs at this
    /// moment only: one that was recorded after its end would stay good.
    async fn record(
        &self,
        issued: &Issued,
        role: CertificateRole,
        user: Option<&str>,
        service: Option<(i64, i64)>,
        runs: bool,
        by: &str,
    ) -> Result<(), Error> {
        let new = NewCertificate {
            serial: issued.serial.clone(),
            role: role.as_str().to_owned(),
            user_id: user.map(str::to_owned),
            service_id: service.map(|(id, _)| id),
            locator: service.map(|(_, locator)| locator),
            subject: issued.subject.clone(),
            pem: issued.pem.clone(),
            not_before: issued.not_before,
            not_after: issued.not_after,
            issued_by: by.to_owned(),
        };
        if runs {
            self.store.certificate_add_running(&new).await.map_err(|error| match error {
                ServiceError::Busy => Error::NoService,
                other => other.into(),
            })?;
        } else {
            self.store.certificate_add(&new).await?;
        }
        tracing::info!(serial = issued.serial, subject = issued.subject, "certificate issued");
        Ok(())
    }

    /// A certificate for an agent of the service whose manager asks. Of the request only the public key counts.
    /// [`Error::NoService`] where the service does not run.
    pub async fn enrol_agent(&self, who: &Principal, request: &[u8]) -> Result<String, Error> {
        who.require(Permission::ManageService)?;
        let account = who.account()?;
        let Scheme::Certificate { service: Some(service), .. } = who.scheme else { return Err(Error::Forbidden) };
        let service = self.store.service_of_user(&account.id, service).await?;
        let service = service.filter(|service| service.state == ServiceState::Running).ok_or(Error::NoService)?;
        let key = ostler_ca::check_request(request)?;
        let locator = crate::services::locator(&service);
        let profile = Profile::Agent { uid: account.number, service: locator };
        let issued = self.ca.issue(&profile, &key, SystemTime::now())?;
        self.record(&issued, CertificateRole::Agent, Some(&account.id), Some((service.id, locator)), true, &who.user).await?;
        Ok(issued.pem)
    }

    /// Up to `limit` certificates, the latest first; the next page begins after the last one of this.
    pub async fn list(
        &self,
        who: &Principal,
        filter: &CertificateFilter,
        before: Option<(i64, &str)>,
        limit: u32,
    ) -> Result<Vec<Certificate>, Error> {
        who.require(Permission::ReadUsers)?;
        Ok(self.store.certificates(filter, before, limit).await?)
    }

    /// One certificate.
    pub async fn show(&self, who: &Principal, serial: &str) -> Result<Certificate, Error> {
        who.require(Permission::ReadUsers)?;
        self.known(serial).await
    }

    async fn known(&self, serial: &str) -> Result<Certificate, Error> {
        let plain = serial.len() <= 64 && serial.bytes().all(|b| b.is_ascii_hexdigit());
        let serial = serial.to_ascii_lowercase();
        let known = if plain { self.store.certificate_get(&serial).await? } else { None };
        known.ok_or(Error::NoCertificate(serial))
    }

    /// Revokes a certificate: it opens nothing any more, from the next request on. Whether it was good until now.
    pub async fn revoke(&self, who: &Principal, serial: &str, reason: RevocationReason) -> Result<bool, Error> {
        who.require(Permission::ChangeUsers)?;
        let known = self.known(serial).await?;
        let revoked = self.store.certificate_revoke(&known.serial, reason.as_str()).await?;
        // Whoever revokes and then looks finds it.
        *self.crl.lock().await = None;
        tracing::info!(serial = known.serial, by = who.user, "certificate revoked");
        Ok(revoked)
    }

    /// A new certificate for the key of one that is good: the same subject, a new term. The old one stays good until its end.
    pub async fn renew(&self, who: &Principal, serial: &str) -> Result<Certificate, Error> {
        who.require(Permission::ChangeUsers)?;
        let old = self.known(serial).await?;
        if old.revoked_at.is_some() {
            return Err(Error::Busy("the certificate was revoked"));
        }
        // Who has kept the key of one that is over is not on record any more as somebody to be trusted.
        if old.not_after <= ostler_store::now() {
            return Err(Error::Busy("the certificate has ended: its holder needs a new one"));
        }
        let user = match &old.user_id {
            Some(id) => self.store.user_get(id).await?,
            None => None,
        };
        let (service, locator) = (old.service_id.unwrap_or_default(), old.locator.unwrap_or_default());
        let profile = match (CertificateRole::parse(&old.role), user) {
            (Some(CertificateRole::User), Some(user)) => {
                Profile::User { uid: user.number, username: user.username, email: user.email }
            }
            (Some(CertificateRole::Manager), Some(user)) => Profile::Manager { uid: user.number, service: locator },
            (Some(CertificateRole::Agent), Some(user)) => Profile::Agent { uid: user.number, service: locator },
            _ => return Err(Error::Busy("the server renews its own certificate by itself")),
        };
        let key = ostler_ca::PublicKey::from_certificate(old.pem.as_bytes())?;
        let issued = self.ca.issue(&profile, &key, SystemTime::now())?;
        let service = old.service_id.map(|_| (service, locator));
        self.record(&issued, profile.role(), old.user_id.as_deref(), service, service.is_some(), &who.user).await?;
        self.known(&issued.serial).await
    }

    /// The list of what was revoked and has not ended, DER.
    pub async fn crl(&self) -> Result<Vec<u8>, Error> {
        let mut kept = self.crl.lock().await;
        if let Some((made, list)) = &*kept
            && made.elapsed() < CRL_AGE
        {
            return Ok(list.clone());
        }
        let now = SystemTime::now();
        let revoked = self.store.certificates_revoked(ostler_store::now()).await?;
        let revoked: Vec<Revoked> = revoked
            .into_iter()
            .map(|(serial, at, reason)| Revoked {
                serial,
                at: UNIX_EPOCH + Duration::from_micros(u64::try_from(at).unwrap_or_default()),
                reason: RevocationReason::parse(&reason).unwrap_or(RevocationReason::Unspecified),
            })
            .collect();
        let number = self.store.crl_number().await?;
        let list = self.ca.crl(number, &revoked, now, now + CRL_LIFE)?;
        *kept = Some((Instant::now(), list.clone()));
        Ok(list)
    }
}
