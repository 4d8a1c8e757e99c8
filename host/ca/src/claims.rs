//! Reading what a certificate of ours says.

use x509_parser::certificate::X509Certificate;
use x509_parser::parse_x509_certificate;

use crate::error::Error;
use crate::hex;
use crate::name::{COMMON_NAME, Kind, ROLE, SERVICE_LOCATOR, USER_ID};
use crate::profile::Role;

/// What a certificate says about its holder. Whether it is true is for whoever checked the issuer's signature to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The serial number as in [`Issued`](crate::Issued): at least 32 lower-case hexadecimal digits.
    pub serial: String,
    /// The user's number.
    pub uid: Option<i64>,
    /// The service's number; 0 in a user's certificate.
    pub service: Option<i64>,
    /// What the holder is.
    pub role: Option<Role>,
    /// The user's or server's name, for people.
    pub common_name: Option<String>,
}

/// Reads a certificate in DER. Its signature, issuer and validity are not looked at: use this on the leaf that TLS accepted.
///
/// # Errors
/// [`Error::Claims`] if it is no certificate, if one of the attributes that [`Claims`] has is repeated or is no text, a number
/// is not written in decimal digits as [`i64::to_string`] writes it, or the role is unknown.
pub fn claims(der: &[u8]) -> Result<Claims, Error> {
    let (rest, certificate) = parse_x509_certificate(der).map_err(|_| Error::Claims("is not an X.509 certificate".to_owned()))?;
    if !rest.is_empty() {
        return Err(Error::Claims("is followed by something else".to_owned()));
    }
    let role = single(&certificate, &ROLE)?;
    let role = role.map(|role| Role::parse(role).ok_or_else(|| Error::Claims("has an unknown role".to_owned()))).transpose()?;
    Ok(Claims {
        serial: serial(&certificate),
        uid: number(&certificate, &USER_ID)?,
        service: number(&certificate, &SERVICE_LOCATOR)?,
        role,
        common_name: single(&certificate, &COMMON_NAME)?.map(str::to_owned),
    })
}

/// The serial number in hexadecimal digits, filled up with zeros to 32.
pub(crate) fn serial(certificate: &X509Certificate<'_>) -> String {
    let bytes = certificate.raw_serial();
    // DER puts a zero before a first bit that is set.
    let bytes = bytes.strip_prefix(&[0]).unwrap_or(bytes);
    format!("{:0>32}", hex::encode(bytes))
}

fn single<'a>(certificate: &'a X509Certificate<'_>, kind: &Kind) -> Result<Option<&'a str>, Error> {
    let mut attributes = certificate.subject().iter_attributes().filter(|attribute| kind.is(attribute.attr_type()));
    let Some(attribute) = attributes.next() else { return Ok(None) };
    if attributes.next().is_some() {
        return Err(Error::Claims(format!("has the attribute {} more than once", kind.name)));
    }
    attribute.as_str().map(Some).map_err(|_| Error::Claims(format!("has an attribute {} that is no text", kind.name)))
}

fn number(certificate: &X509Certificate<'_>, kind: &Kind) -> Result<Option<i64>, Error> {
    let Some(text) = single(certificate, kind)? else { return Ok(None) };
    // One number has one spelling: no plus sign, no zeros before it.
    let value = text.parse::<i64>().ok().filter(|value| value.to_string() == text);
    value.map(Some).ok_or_else(|| Error::Claims(format!("has an attribute {} that is no number", kind.name)))
}
