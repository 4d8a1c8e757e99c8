//! What can go wrong. No text contains key material, or anything of a request but the names of its algorithms.

use std::io;
use std::path::PathBuf;

/// Why the authority cannot be opened or cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than the owner may read or write the key.
    #[error("{path} has the mode {mode:03o}, but only its owner may read the key of the certificate authority: set it to 600", path = path.display())]
    Exposed {
        /// The key's file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// One of the two files is there and the other is not.
    #[error("{present} exists but {missing} does not: restore it, or remove both to start anew", present = present.display(), missing = missing.display())]
    Incomplete {
        /// The file that exists.
        present: PathBuf,
        /// The one that is missing.
        missing: PathBuf,
    },
    /// A file does not hold what it should.
    #[error("{path} is not usable: {why}", path = path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The key is not the certificate's.
    #[error("{key} is not the key of {certificate}", key = key.display(), certificate = certificate.display())]
    KeyMismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The authority's certificate has ended, or has not begun, at the time of an issue.
    #[error("the certificate of the certificate authority is not valid at this time")]
    NotValidNow,
    /// A time that certificates cannot express, or an empty interval.
    #[error("{0}")]
    Time(&'static str),
    /// Something a certificate shall contain is not acceptable.
    #[error("the {what} {why}")]
    Value {
        /// What it is.
        what: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Not a serial number in lower-case hexadecimal digits.
    #[error("`{0}` is not the serial number of a certificate")]
    Serial(String),
    /// A certificate could not be made.
    #[error("no certificate could be made: {0}")]
    Generate(#[from] rcgen::Error),
    /// The system gives no random numbers.
    #[error("no random numbers are available")]
    Random,
    /// A new certificate, read back, does not say what was meant. It was not handed out.
    #[error("the new certificate was withheld, since it does not say what was meant: {0}")]
    Inconsistent(&'static str),
    /// What was presented as a certificate of ours does not read like one.
    #[error("the certificate {0}")]
    Claims(String),
}

/// Why a certificate request was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// More than 16 KiB.
    #[error("the certificate request is longer than 16 KiB")]
    TooLong,
    /// Not exactly one PEM block of the right kind.
    #[error("not a certificate request in PEM: exactly one block of the type CERTIFICATE REQUEST is expected")]
    NotPem,
    /// The block does not contain PKCS#10 in DER, or contains more than that.
    #[error("the certificate request is not well-formed PKCS#10 (RFC 2986)")]
    Malformed,
    /// The key does not meet the policy: which key, and why.
    #[error("the key of the certificate request is not acceptable: {0}")]
    Key(String),
    /// The request is signed with an algorithm that is not accepted for its key.
    #[error("the signature algorithm of the certificate request is not acceptable: {0}")]
    SignatureAlgorithm(String),
    /// The request was not signed with the key it contains.
    #[error("the certificate request is not signed with the key that it contains")]
    Signature,
}
