//! Distinguished names: the attributes that ConPaaS's readers look up, with exactly their object identifiers.

use std::fmt;

use rcgen::string::Ia5String;
use rcgen::{DistinguishedName, DnType, DnValue};
use x509_parser::asn1_rs::{Oid, Tag};
use x509_parser::x509::X509Name;

use crate::error::Error;

/// A type of attribute. `facts/conpaas.md`, section 2.1: readers go by OpenSSL's short names, hence by these identifiers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// OpenSSL's short name.
    pub(crate) name: &'static str,
    /// The object identifier.
    oid: &'static [u64],
    /// IA5String instead of UTF8String.
    ia5: bool,
}

impl Kind {
    /// Whether an attribute read from a certificate is of this type.
    pub(crate) fn is(&self, oid: &Oid<'_>) -> bool {
        oid.iter().is_some_and(|arcs| arcs.eq(self.oid.iter().copied()))
    }

    fn tag(&self) -> Tag {
        if self.ia5 { Tag::Ia5String } else { Tag::Utf8String }
    }
}

pub(crate) static COMMON_NAME: Kind = Kind { name: "CN", oid: &[2, 5, 4, 3], ia5: false };
pub(crate) static ORGANIZATION: Kind = Kind { name: "O", oid: &[2, 5, 4, 10], ia5: false };
pub(crate) static USER_ID: Kind = Kind { name: "UID", oid: &[0, 9, 2342, 19200300, 100, 1, 1], ia5: false };
pub(crate) static ROLE: Kind = Kind { name: "role", oid: &[2, 5, 4, 72], ia5: false };
/// An access method of RFC 2560 by rights, and an attribute of names in ConPaaS.
pub(crate) static SERVICE_LOCATOR: Kind = Kind { name: "serviceLocator", oid: &[1, 3, 6, 1, 5, 5, 7, 48, 1, 7], ia5: false };
pub(crate) static EMAIL: Kind = Kind { name: "emailAddress", oid: &[1, 2, 840, 113549, 1, 9, 1], ia5: true };

/// A name: attributes in the order of the certificate, each type once.
#[derive(Debug)]
pub(crate) struct Name(pub(crate) Vec<(&'static Kind, String)>);

impl Name {
    /// The authority's own, as clients of ConPaaS insist: the issuer's CN is exactly `CA`.
    pub(crate) fn authority() -> Self {
        Self(vec![(&COMMON_NAME, "CA".to_owned()), (&ORGANIZATION, "ConPaaS".to_owned()), (&EMAIL, "info@conpaas.eu".to_owned())])
    }

    /// For rcgen.
    pub(crate) fn to_rcgen(&self) -> Result<DistinguishedName, Error> {
        let mut name = DistinguishedName::new();
        for (kind, value) in &self.0 {
            let value = if kind.ia5 {
                DnValue::Ia5String(Ia5String::try_from(value.as_str())?)
            } else {
                DnValue::Utf8String(value.clone())
            };
            name.push(DnType::CustomDnType(kind.oid.to_vec()), value);
        }
        Ok(name)
    }

    /// Whether a name read from a certificate is this one: the same attributes in this order, in the same string types.
    pub(crate) fn is(&self, parsed: &X509Name<'_>) -> bool {
        let mut meant = self.0.iter();
        let same = parsed.iter_rdn().all(|rdn| {
            let mut attributes = rdn.iter();
            match (meant.next(), attributes.next(), attributes.next()) {
                (Some((kind, value)), Some(attribute), None) => {
                    kind.is(attribute.attr_type())
                        && attribute.attr_value().tag() == kind.tag()
                        && attribute.as_slice() == value.as_bytes()
                }
                _ => false,
            }
        });
        same && meant.next().is_none()
    }
}

/// One line for people. Characters that separate attributes are escaped, so that a user name cannot pretend to be more.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (kind, value)) in self.0.iter().enumerate() {
            write!(f, "{}{}=", if number == 0 { "" } else { ", " }, kind.name)?;
            for character in value.chars() {
                if matches!(character, ',' | '=' | '+' | '\\' | '"' | '<' | '>' | ';') {
                    f.write_str("\\")?;
                }
                write!(f, "{character}")?;
            }
        }
        Ok(())
    }
}
