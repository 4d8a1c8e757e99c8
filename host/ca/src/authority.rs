//! The authority: its key, and what it signs.

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::{digest, rand};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, RevokedCertParams, SerialNumber,
};
use secrecy::{ExposeSecret, SecretString};
use x509_parser::pem::parse_x509_pem;

use crate::error::Error;
use crate::files::{Content, Files};
use crate::hex;
use crate::key::{KeyKind, PublicKey};
use crate::name::Name;
use crate::profile::Profile;
use crate::verify;

/// How long the authority lasts: ten years.
const LIFETIME: Duration = Duration::from_hours(24 * 3652);

/// How long before its issue a certificate begins, for clocks that are slow.
const SLOW_CLOCK: Duration = Duration::from_mins(5);

/// The last second that certificates can express: the end of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;

/// The certificate authority: a P-256 key and its self-signed certificate.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    key_identifier: KeyIdMethod,
    facts: verify::Facts,
    pem: String,
    der: Vec<u8>,
}

/// A certificate as issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The serial number, random: 32 lower-case hexadecimal digits, exactly 16 bytes in DER.
    pub serial: String,
    /// The certificate in PEM.
    pub pem: String,
    /// The certificate in DER.
    pub der: Vec<u8>,
    /// The subject in one line, for people.
    pub subject: String,
    /// When it begins, in microseconds since 1970.
    pub not_before: i64,
    /// When it ends, in microseconds since 1970.
    pub not_after: i64,
}

/// A certificate that is no longer to be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// The serial number as in [`Issued::serial`].
    pub serial: String,
    /// Since when.
    pub at: SystemTime,
    /// Why.
    pub reason: RevocationReason,
}

/// Why a certificate was revoked (RFC 5280, section 5.3.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RevocationReason {
    /// No reason is given.
    Unspecified,
    /// Somebody else may have the key.
    KeyCompromise,
    /// The subject's name or other information has changed.
    AffiliationChanged,
    /// Another certificate takes its place.
    Superseded,
    /// It is not needed any more: the service was stopped, say.
    CessationOfOperation,
    /// The holder may no longer do what it allowed.
    PrivilegeWithdrawn,
}

/// All reasons, with their names.
const REASONS: [(RevocationReason, &str); 6] = [
    (RevocationReason::Unspecified, "unspecified"),
    (RevocationReason::KeyCompromise, "key-compromise"),
    (RevocationReason::AffiliationChanged, "affiliation-changed"),
    (RevocationReason::Superseded, "superseded"),
    (RevocationReason::CessationOfOperation, "cessation-of-operation"),
    (RevocationReason::PrivilegeWithdrawn, "privilege-withdrawn"),
];

impl RevocationReason {
    /// Its name, in lower-case words.
    pub fn as_str(self) -> &'static str {
        REASONS.iter().find(|(reason, _)| *reason == self).map_or("unspecified", |(_, name)| name)
    }

    /// The reason of this name.
    pub fn parse(name: &str) -> Option<Self> {
        REASONS.iter().find(|(_, known)| *known == name).map(|(reason, _)| *reason)
    }
}

impl From<RevocationReason> for rcgen::RevocationReason {
    fn from(reason: RevocationReason) -> Self {
        match reason {
            RevocationReason::Unspecified => Self::Unspecified,
            RevocationReason::KeyCompromise => Self::KeyCompromise,
            RevocationReason::AffiliationChanged => Self::AffiliationChanged,
            RevocationReason::Superseded => Self::Superseded,
            RevocationReason::CessationOfOperation => Self::CessationOfOperation,
            RevocationReason::PrivilegeWithdrawn => Self::PrivilegeWithdrawn,
        }
    }
}

impl Authority {
    /// Opens the authority in a directory, or makes a new one if its files `ca_cert.pem` and `ca_key.pem` are both missing; says
    /// whether it did. The directory is made if need be, for the owner only; so is the key.
    ///
    /// An authority made elsewhere serves as well if it is like ours: a key on P-256, the subject `CN=CA`, `O=ConPaaS`,
    /// `emailAddress=info@conpaas.eu` in this order (the CN is what clients of ConPaaS insist on).
    ///
    /// # Errors
    /// Any of [`Error`]'s variants about files: only one of the two is there, others than the owner may access the key, the key
    /// is not the certificate's, the certificate is not an authority's.
    pub fn open_or_create(directory: &Path) -> Result<(Self, bool), Error> {
        let files = Files::of(directory);
        if let Some(content) = files.read(|content| Self::load(content, &files).is_ok())? {
            return Ok((Self::load(&content, &files)?, false));
        }
        let content = generate(SystemTime::now())?;
        files.write(&content)?;
        Ok((Self::load(&content, &files)?, true))
    }

    fn load(content: &Content, files: &Files) -> Result<Self, Error> {
        let unusable = |path: &Path| {
            let path = path.to_owned();
            move |why| Error::Unusable { path, why }
        };
        let wrong_key = || unusable(&files.key)("it does not hold a private key on P-256 in PEM");
        let pair = KeyPair::from_pem(content.key.expose_secret()).map_err(|_| wrong_key())?;
        if !pair.is_compatible(&PKCS_ECDSA_P256_SHA256) {
            return Err(wrong_key());
        }
        let (pem, der) = certificate_block(&content.certificate).map_err(unusable(&files.certificate))?;
        let facts = verify::authority(&der).map_err(unusable(&files.certificate))?;
        if facts.key != pair.subject_public_key_info() {
            return Err(Error::KeyMismatch { certificate: files.certificate.clone(), key: files.key.clone() });
        }
        let mut params = parameters()?;
        let key_identifier = facts.key_identifier.clone().map_or(KeyIdMethod::Sha256, KeyIdMethod::PreSpecified);
        params.key_identifier_method = key_identifier.clone();
        Ok(Self { issuer: Issuer::new(params, pair), key_identifier, facts, pem, der })
    }

    /// The authority's certificate in PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// The authority's certificate in DER, for rustls' `RootCertStore`.
    pub fn certificate_der(&self) -> &[u8] {
        &self.der
    }

    /// The SHA-256 of [`Self::certificate_der`] in lower-case hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        hex::encode(digest::digest(&digest::SHA256, &self.der).as_ref())
    }

    /// Issues a certificate for a key that somebody else holds, from a [request](crate::check_request).
    ///
    /// It begins five minutes before `now` and does not outlive the authority. It is read back and compared with what was meant
    /// before it is returned.
    ///
    /// # Errors
    /// [`Error::Value`] if the profile contains what a certificate cannot, [`Error::NotValidNow`] and [`Error::Time`] about `now`,
    /// [`Error::Generate`], [`Error::Random`], [`Error::Inconsistent`].
    pub fn issue(&self, profile: &Profile, key: &PublicKey, now: SystemTime) -> Result<Issued, Error> {
        let (subject, names, usages) = (profile.subject()?, profile.alternative_names()?, profile.extended_key_usages());
        let (not_before, not_after) = self.validity(profile.lifetime(), now)?;
        let serial = random_serial()?;

        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.distinguished_name = subject.to_rcgen()?;
        params.subject_alt_names.clone_from(&names);
        params.extended_key_usages.clone_from(&usages);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if matches!(key.kind(), KeyKind::Rsa { .. }) {
            params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.not_before = from_seconds(not_before).into();
        params.not_after = from_seconds(not_after).into();
        let certificate = params.signed_by(key, &self.issuer)?;

        let serial = hex::encode(&serial);
        let (not_before, not_after) = (not_before.cast_signed(), not_after.cast_signed());
        let meant = verify::Meant {
            subject: &subject,
            serial: &serial,
            key,
            usages: &usages,
            names: &names,
            not_before,
            not_after,
            authority: self.issuer.key().der_bytes(),
        };
        verify::leaf(certificate.der(), &meant).map_err(Error::Inconsistent)?;
        Ok(Issued {
            pem: certificate.pem(),
            der: certificate.der().to_vec(),
            subject: subject.to_string(),
            // Within i64 until the year 294246.
            not_before: not_before * 1_000_000,
            not_after: not_after * 1_000_000,
            serial,
        })
    }

    /// Issues a certificate with a new P-256 key, returned in PKCS#8 PEM (`BEGIN PRIVATE KEY`) and kept nowhere.
    ///
    /// # Errors
    /// As [`Self::issue`].
    pub fn issue_with_key(&self, profile: &Profile, now: SystemTime) -> Result<(Issued, SecretString), Error> {
        let pair = KeyPair::generate()?;
        let issued = self.issue(profile, &PublicKey::of(&pair), now)?;
        Ok((issued, pair.serialize_pem().into()))
    }

    /// Signs a v2 revocation list, DER, of all certificates that are revoked. `number` must grow from list to list.
    ///
    /// # Errors
    /// [`Error::Serial`] if a serial number is none, [`Error::Time`] if a time cannot be expressed or `next_update` is not after
    /// `this_update`, [`Error::Generate`].
    pub fn crl(
        &self,
        number: u64,
        revoked: &[Revoked],
        this_update: SystemTime,
        next_update: SystemTime,
    ) -> Result<Vec<u8>, Error> {
        let (this_update, next_update) = (to_seconds(this_update)?, to_seconds(next_update)?);
        if next_update <= this_update {
            return Err(Error::Time("a revocation list must end after it begins"));
        }
        let entry = |revoked: &Revoked| -> Result<RevokedCertParams, Error> {
            let serial = hex::serial(&revoked.serial).ok_or_else(|| Error::Serial(revoked.serial.clone()))?;
            Ok(RevokedCertParams {
                serial_number: SerialNumber::from(serial),
                revocation_time: from_seconds(to_seconds(revoked.at)?).into(),
                reason_code: Some(revoked.reason.into()),
                invalidity_date: None,
            })
        };
        let params = CertificateRevocationListParams {
            this_update: from_seconds(this_update).into(),
            next_update: from_seconds(next_update).into(),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect::<Result<_, _>>()?,
            key_identifier_method: self.key_identifier.clone(),
        };
        Ok(params.signed_by(&self.issuer)?.der().to_vec())
    }

    /// From when until when a certificate issued now is valid, in seconds since 1970.
    fn validity(&self, lifetime: Duration, now: SystemTime) -> Result<(u64, u64), Error> {
        let now = to_seconds(now)?;
        let (Ok(first), Ok(last)) = (u64::try_from(self.facts.not_before), u64::try_from(self.facts.not_after)) else {
            return Err(Error::NotValidNow);
        };
        if now < first || now >= last {
            return Err(Error::NotValidNow);
        }
        Ok((now.saturating_sub(SLOW_CLOCK.as_secs()).max(first), (now + lifetime.as_secs()).min(last)))
    }
}

/// Without the key.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("fingerprint", &self.fingerprint()).finish_non_exhaustive()
    }
}

/// What the certificates of all authorities have in common.
fn parameters() -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = Name::authority().to_rcgen()?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn generate(now: SystemTime) -> Result<Content, Error> {
    let now = to_seconds(now)?;
    let mut params = parameters()?;
    params.serial_number = Some(SerialNumber::from_slice(&random_serial()?));
    // A day early, so that no certificate begins before it.
    params.not_before = from_seconds(now.saturating_sub(24 * 60 * 60)).into();
    params.not_after = from_seconds((now + LIFETIME.as_secs()).min(LAST_SECOND)).into();
    let pair = KeyPair::generate()?;
    let certificate = params.self_signed(&pair)?;
    Ok(Content { certificate: certificate.pem(), key: pair.serialize_pem().into() })
}

/// The one certificate of a file, in PEM without the text around it and in DER.
fn certificate_block(text: &str) -> Result<(String, Vec<u8>), &'static str> {
    const WRONG: &str = "it does not hold exactly one certificate in PEM";
    let begin = text.find("-----BEGIN ").ok_or(WRONG)?;
    let (rest, block) = parse_x509_pem(&text.as_bytes()[begin..]).map_err(|_| WRONG)?;
    if block.label != "CERTIFICATE" || !rest.trim_ascii().is_empty() {
        return Err(WRONG);
    }
    Ok((format!("{}\n", text[begin..].trim_end()), block.contents))
}

/// 16 random bytes. The first bit is clear, since the number is positive, and the second is set, so that none is a leading zero.
fn random_serial() -> Result<[u8; 16], Error> {
    let mut serial = [0; 16];
    rand::fill(&mut serial).map_err(|_| Error::Random)?;
    serial[0] = (serial[0] & 0x7f) | 0x40;
    Ok(serial)
}

/// Whole seconds since 1970. The range leaves room for what is added here.
fn to_seconds(time: SystemTime) -> Result<u64, Error> {
    let seconds = time.duration_since(UNIX_EPOCH).map_err(|_| Error::Time("a time lies before 1970"))?.as_secs();
    if seconds > LAST_SECOND { Err(Error::Time("a time lies after the year 9999")) } else { Ok(seconds) }
}

/// The time of a second that [`to_seconds`] accepts.
fn from_seconds(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}
