//! JSON of users, tokens, credit and certificates. Times are RFC 3339, in UTC.

use super::time;
use ostler_store as store;
use secrecy::{ExposeSecret, SecretString};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

/// A password or a token, on its one way to whom it is for. In no log and in no error.
#[derive(Clone, Debug)]
pub struct Secret(pub SecretString);

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose_secret())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The library's own message would repeat what is not a text.
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text.into())),
            _ => Err(D::Error::custom("a secret is a text")),
        }
    }
}

/// Somebody who may log in.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// The identifier, which never changes.
    pub id: String,
    /// The number, which is the UID in certificates.
    pub number: i64,
    /// The name to log in with.
    pub username: String,
    /// The address for mail.
    pub email: Option<String>,
    /// The first name.
    pub first_name: Option<String>,
    /// The last name.
    pub last_name: Option<String>,
    /// Where he works.
    pub affiliation: Option<String>,
    /// Whether he may do anything at all.
    pub active: bool,
    /// What he is: `admin`, `agent`, `user`, `monitor`, `customer`.
    pub roles: Vec<String>,
    /// When he was added.
    pub created_at: String,
    /// When he or his roles last changed.
    pub updated_at: String,
}

impl From<store::User> for User {
    fn from(user: store::User) -> Self {
        Self {
            id: user.id,
            number: user.number,
            username: user.username,
            email: user.email,
            first_name: user.first_name,
            last_name: user.last_name,
            affiliation: user.affiliation,
            active: user.active,
            roles: user.roles,
            created_at: time(user.created_at),
            updated_at: time(user.updated_at),
        }
    }
}

/// A page of users.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Users {
    /// By name.
    pub users: Vec<User>,
    /// The next page's `after`; none on the last page.
    pub next: Option<String>,
}

/// A user to add.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// The name to log in with: at most 128 bytes, no colon.
    pub username: String,
    /// The password. Without it one is made, and returned this once.
    #[schema(value_type = Option<String>)]
    pub password: Option<Secret>,
    /// The address for mail; one user has it.
    pub email: Option<String>,
    /// The first name.
    pub first_name: Option<String>,
    /// The last name.
    pub last_name: Option<String>,
    /// Where he works.
    pub affiliation: Option<String>,
    /// What he is. Who has no role may do nothing.
    pub roles: Vec<String>,
    /// The credit to begin with.
    #[serde(default)]
    pub credit: i64,
}

/// A user who was added.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AddedUser {
    /// The user.
    #[serde(flatten)]
    pub user: User,
    /// The password, if it was made here. It is shown nowhere else.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub password: Option<Secret>,
}

/// What is to become different of a user. What is left out stays.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserChanges {
    /// What he is from now on; these and no other roles.
    pub roles: Option<Vec<String>>,
    /// Whether he may do anything at all. Who is disabled loses his certificates for good.
    pub active: Option<bool>,
    /// The new password. The old one and the user's certificates are good for nothing any more.
    #[schema(value_type = Option<String>)]
    pub password: Option<Secret>,
}

/// A token of a user. Its secret is kept nowhere.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// By which it is revoked.
    pub id: String,
    /// What it is called.
    pub label: String,
    /// The permissions that it is good for; empty: whatever its user may do.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: String,
    /// When it ends; none: when it is revoked.
    pub expires_at: Option<String>,
    /// When it was revoked.
    pub revoked_at: Option<String>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<String>,
}

impl From<store::Token> for Token {
    fn from(token: store::Token) -> Self {
        Self {
            id: token.id,
            label: token.label,
            scopes: token.scopes,
            created_at: time(token.created_at),
            expires_at: token.expires_at.map(time),
            revoked_at: token.revoked_at.map(time),
            last_used_at: token.last_used_at.map(time),
        }
    }
}

/// All tokens of a user.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Tokens {
    /// The oldest first, those that ended included.
    pub tokens: Vec<Token>,
}

/// A token to make.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What to call it.
    pub label: String,
    /// The permissions that it is to be good for, such as `compute.read`; left out: whatever its user may do.
    pub scopes: Option<Vec<String>>,
    /// How long it is to be good, in seconds, at most ten years; left out: until it is revoked.
    pub expires_in_seconds: Option<u64>,
}

/// A token that was made.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct MadeToken {
    /// By which it is revoked.
    pub id: String,
    /// The secret. It is shown nowhere else.
    #[schema(value_type = String)]
    pub token: Secret,
    /// When it ends; none: when it is revoked.
    pub expires_at: Option<String>,
}

impl From<ostler_core::identity::Issued> for MadeToken {
    fn from(issued: ostler_core::identity::Issued) -> Self {
        Self { id: issued.id, token: Secret(issued.secret), expires_at: issued.expires_at.map(time) }
    }
}

/// What a user has.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Balance {
    /// Credits.
    pub balance: i64,
}

/// Credit to give.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Credits, from 1.
    pub amount: i64,
    /// For what.
    #[serde(default)]
    pub note: String,
    /// A name for it: the same reference gives the credit once.
    pub reference: Option<String>,
}

/// An entry of a user's account.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Entry {
    /// A number that grows from entry to entry.
    pub id: i64,
    /// When.
    pub at: String,
    /// What it is: `grant`, `reserve`, `release`, `settle` or `charge`.
    pub kind: String,
    /// What it adds to the balance; negative for what it takes.
    pub amount: i64,
    /// The balance after it.
    pub balance: i64,
    /// The reservation that it closes.
    pub reservation: Option<i64>,
    /// The name that makes sure that it happens once.
    pub reference: Option<String>,
    /// For what.
    pub note: String,
    /// Who did it.
    pub actor: String,
}

impl From<store::CreditEntry> for Entry {
    fn from(entry: store::CreditEntry) -> Self {
        Self {
            id: entry.id,
            at: time(entry.at),
            kind: entry.kind.as_str().to_owned(),
            amount: entry.amount,
            balance: entry.balance,
            reservation: entry.reservation,
            reference: entry.reference,
            note: entry.note,
            actor: entry.actor,
        }
    }
}

/// A page of an account's history.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct History {
    /// The latest first.
    pub entries: Vec<Entry>,
    /// The next page's `before`; none on the last page.
    pub next: Option<i64>,
}

/// A certificate that our authority issued.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Certificate {
    /// The serial number, lower-case hexadecimal.
    pub serial: String,
    /// What its holder is: `user`, `manager`, `agent` or `frontend`.
    pub role: String,
    /// The identifier of the user for whom, or for whose service, it is.
    pub user_id: Option<String>,
    /// The service for which it is.
    pub service: Option<i64>,
    /// The subject.
    pub subject: String,
    /// The certificate itself.
    pub pem: String,
    /// From when on it is good.
    pub not_before: String,
    /// Until when.
    pub not_after: String,
    /// When it was issued.
    pub issued_at: String,
    /// Who asked for it.
    pub issued_by: String,
    /// When it was revoked.
    pub revoked_at: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

impl From<store::Certificate> for Certificate {
    fn from(certificate: store::Certificate) -> Self {
        Self {
            serial: certificate.serial,
            role: certificate.role,
            user_id: certificate.user_id,
            service: certificate.service_id,
            subject: certificate.subject,
            pem: certificate.pem,
            not_before: time(certificate.not_before),
            not_after: time(certificate.not_after),
            issued_at: time(certificate.issued_at),
            issued_by: certificate.issued_by,
            revoked_at: certificate.revoked_at.map(time),
            reason: certificate.reason,
        }
    }
}

/// A page of certificates.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Certificates {
    /// The latest first.
    pub certificates: Vec<Certificate>,
    /// The next page's `before`; none on the last page.
    pub next: Option<String>,
}

/// Why a certificate is to be revoked.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// `unspecified` (as without one), `key-compromise`, `affiliation-changed`, `superseded`, `cessation-of-operation` or
    /// `privilege-withdrawn`.
    pub reason: Option<String>,
}

/// What a revocation came to.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Revoked {
    /// The serial number.
    pub serial: String,
    /// Whether the certificate had not been revoked before.
    pub changed: bool,
}

/// A person, as an issuer of tokens knows him.
#[derive(Debug, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Person {
    /// The issuer, exactly as its tokens say it in `iss`.
    pub issuer: String,
    /// The issuer's name for the person, `sub`.
    pub subject: String,
}

/// A person who is a user.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Link {
    /// The issuer.
    pub issuer: String,
    /// The issuer's name for the person.
    pub subject: String,
    /// When the two were linked.
    pub created_at: String,
}

/// The persons that a user is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Links {
    /// By issuer and subject.
    pub links: Vec<Link>,
}

/// What taking a link away came to.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Unlinked {
    /// Whether there was one.
    pub changed: bool,
}

impl From<store::Link> for Link {
    fn from(link: store::Link) -> Self {
        Self { issuer: link.issuer, subject: link.subject, created_at: time(link.created_at) }
    }
}
