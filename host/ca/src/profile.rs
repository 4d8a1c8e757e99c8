//! The four kinds of certificates, and what each says.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::string::Ia5String;
use rcgen::{ExtendedKeyUsagePurpose, SanType};
use rustls_pki_types::ServerName;

use crate::error::Error;
use crate::name::{COMMON_NAME, EMAIL, Name, ORGANIZATION, ROLE, SERVICE_LOCATOR, USER_ID};

const DAY: Duration = Duration::from_hours(24);

/// X.520's bound on a common name, in characters.
const COMMON_NAME_BOUND: usize = 64;

/// RFC 5280's bound on an e-mail address in a name, in characters.
const EMAIL_BOUND: usize = 255;

/// ConPaaS's own address, in every certificate but a user's.
const CONPAAS_EMAIL: &str = "info@conpaas.eu";

/// What a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Profile {
    /// The server itself. It is a client too, of managers.
    Director {
        /// DNS names and IP addresses under which it is reached, at least one; the first is the common name.
        names: Vec<String>,
    },
    /// A user of the API.
    User {
        /// The user's number, not negative.
        uid: i64,
        /// The user's name. One longer than 64 characters is cut, since `uid` identifies.
        username: String,
        /// The user's address. Left out if it is empty, not ASCII or longer than 255 characters.
        email: Option<String>,
    },
    /// The manager of a service: a client of the director, a server to agents and to the director.
    Manager {
        /// The owner's number, not negative.
        uid: i64,
        /// The service's number, not negative.
        service: i64,
    },
    /// A node of a service.
    Agent {
        /// The owner's number, not negative.
        uid: i64,
        /// The service's number, not negative.
        service: i64,
    },
}

/// What `role` in a subject says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// The director.
    Frontend,
    /// A user.
    User,
    /// The manager of a service.
    Manager,
    /// A node of a service.
    Agent,
}

impl Role {
    /// As in certificates.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Frontend => "frontend",
            Self::User => "user",
            Self::Manager => "manager",
            Self::Agent => "agent",
        }
    }

    /// The role of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Frontend, Self::User, Self::Manager, Self::Agent].into_iter().find(|role| role.as_str() == text)
    }
}

impl Profile {
    /// The role that its certificates claim.
    pub fn role(&self) -> Role {
        match self {
            Self::Director { .. } => Role::Frontend,
            Self::User { .. } => Role::User,
            Self::Manager { .. } => Role::Manager,
            Self::Agent { .. } => Role::Agent,
        }
    }

    /// How long its certificates last.
    pub(crate) fn lifetime(&self) -> Duration {
        match self {
            Self::Director { .. } => DAY * 730,
            Self::User { .. } | Self::Manager { .. } | Self::Agent { .. } => DAY * 365,
        }
    }

    pub(crate) fn extended_key_usages(&self) -> Vec<ExtendedKeyUsagePurpose> {
        match self {
            Self::User { .. } => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Self::Director { .. } | Self::Manager { .. } | Self::Agent { .. } => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
        }
    }

    /// The subject of its certificates.
    pub(crate) fn subject(&self) -> Result<Name, Error> {
        let role = self.role().as_str().to_owned();
        Ok(Name(match self {
            Self::Director { names } => {
                let first = names.first().ok_or(Error::Value { what: "server", why: "has no name" })?;
                vec![
                    (&COMMON_NAME, common_name("server's name", first)?),
                    (&ORGANIZATION, "ConPaaS".to_owned()),
                    (&ROLE, role),
                    (&EMAIL, CONPAAS_EMAIL.to_owned()),
                ]
            }
            Self::User { uid, username, email } => {
                let mut name = vec![
                    (&COMMON_NAME, common_name("user name", username)?),
                    (&ORGANIZATION, "Contrail".to_owned()),
                    (&USER_ID, number("user's number", *uid)?),
                    (&ROLE, role),
                    (&SERVICE_LOCATOR, "0".to_owned()),
                ];
                if let Some(email) = email.as_deref().filter(|email| expressible(email)) {
                    refuse_controls("e-mail address", email)?;
                    name.push((&EMAIL, email.to_owned()));
                }
                name
            }
            Self::Manager { uid, service } | Self::Agent { uid, service } => {
                let organization = if matches!(self, Self::Manager { .. }) { "Contrail" } else { "ConPaaS" };
                vec![
                    (&COMMON_NAME, "ConPaaS".to_owned()),
                    (&ORGANIZATION, organization.to_owned()),
                    (&USER_ID, number("user's number", *uid)?),
                    (&ROLE, role),
                    (&SERVICE_LOCATOR, number("service's number", *service)?),
                    (&EMAIL, CONPAAS_EMAIL.to_owned()),
                ]
            }
        }))
    }

    /// The names and addresses that a server's certificate is valid for.
    pub(crate) fn alternative_names(&self) -> Result<Vec<SanType>, Error> {
        let Self::Director { names } = self else { return Ok(Vec::new()) };
        let mut all = Vec::with_capacity(names.len());
        for name in names {
            let invalid = Error::Value { what: "server's name", why: "is neither a DNS name nor an IP address" };
            let name = match ServerName::try_from(name.as_str()) {
                Ok(ServerName::DnsName(name)) => SanType::DnsName(Ia5String::try_from(name.as_ref())?),
                Ok(ServerName::IpAddress(address)) => SanType::IpAddress(IpAddr::from(address)),
                _ => return Err(invalid),
            };
            if !all.contains(&name) {
                all.push(name);
            }
        }
        Ok(all)
    }
}

fn common_name(what: &'static str, value: &str) -> Result<String, Error> {
    if value.is_empty() {
        return Err(Error::Value { what, why: "is empty" });
    }
    refuse_controls(what, value)?;
    Ok(value.chars().take(COMMON_NAME_BOUND).collect())
}

fn refuse_controls(what: &'static str, value: &str) -> Result<(), Error> {
    if value.chars().any(char::is_control) {
        return Err(Error::Value { what, why: "contains a control character" });
    }
    Ok(())
}

fn expressible(email: &str) -> bool {
    !email.is_empty() && email.is_ascii() && email.len() <= EMAIL_BOUND
}

fn number(what: &'static str, value: i64) -> Result<String, Error> {
    if value < 0 {
        return Err(Error::Value { what, why: "is negative" });
    }
    Ok(value.to_string())
}
