//! What can go wrong on the way out.

use std::error::Error as StdError;
use std::io;
use std::net::IpAddr;

use crate::address::AddressClass;

/// Why a request, or the rest of its response, failed.
///
/// No variant carries header fields, bodies, paths, queries or user information: the texts may go to logs and to the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The allow-list does not cover the request. Nothing was sent or resolved.
    #[error("requests to {origin} are not allowed: add \"{origin}\" to the allowed origins to permit them")]
    Denied {
        /// The origin to add, as an operator would write it.
        origin: String,
    },
    /// Every address of the host is of a class that the policy refuses; this is the first of them. Nothing was sent.
    #[error("{host} has the address {address}, and {class} addresses are not acceptable here")]
    Address {
        /// The host as requested.
        host: String,
        /// The refused address.
        address: IpAddr,
        /// Its class.
        class: AddressClass,
    },
    /// The name of the host could not be resolved.
    #[error("cannot resolve {host}: {reason}")]
    Resolve {
        /// The host as requested.
        host: String,
        /// The resolver's words.
        reason: String,
    },
    /// No address of the host took the connection.
    #[error("cannot connect to {origin}: {reason}")]
    Connect {
        /// Where to.
        origin: String,
        /// The kind of the last error, such as [`io::ErrorKind::ConnectionRefused`].
        kind: io::ErrorKind,
        /// The system's words.
        reason: String,
    },
    /// TLS could not be established, or the peer ended it with an alert.
    #[error("TLS with {origin} failed: {reason}")]
    Tls {
        /// Where to.
        origin: String,
        /// Whether the server's certificate was the reason.
        certificate: bool,
        /// The TLS library's words.
        reason: String,
    },
    /// A time limit passed.
    #[error("timed out {what}")]
    Timeout {
        /// What was waited for.
        what: Wait,
    },
    /// A size limit was exceeded.
    #[error("{what} larger than the limit of {limit} bytes")]
    TooLarge {
        /// What was too large.
        what: Part,
        /// The limit in bytes.
        limit: u64,
    },
    /// The peer broke the protocol or the connection.
    #[error("HTTP exchange failed: {reason}")]
    Protocol {
        /// The HTTP library's words.
        reason: String,
    },
    /// The request cannot be sent as it is; or its body failed while it was sent.
    #[error("unacceptable request: {reason}")]
    BadRequest {
        /// What is wrong with it.
        reason: String,
    },
}

/// What an exchange waited for when its time was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wait {
    /// For one of the client's exchanges to end ([`ClientConfig::max_connections`](crate::ClientConfig::max_connections)).
    Slot,
    /// For name resolution, the TCP connection and the TLS handshake.
    Connect,
    /// For the response head.
    FirstByte,
    /// For the next part of the response body.
    BetweenBytes,
}

impl std::fmt::Display for Wait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Slot => "waiting for a free connection",
            Self::Connect => "connecting",
            Self::FirstByte => "waiting for the response",
            Self::BetweenBytes => "waiting for more of the response body",
        })
    }
}

/// The part of an exchange that was too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// The header fields of the request.
    RequestHeaders,
    /// The body of the request.
    RequestBody,
    /// The head of the response.
    ResponseHeaders,
    /// The body of the response.
    ResponseBody,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::RequestHeaders => "request headers",
            Self::RequestBody => "request body",
            Self::ResponseHeaders => "response headers",
            Self::ResponseBody => "response body",
        })
    }
}

impl Error {
    pub(crate) fn bad_request(reason: impl Into<String>) -> Self {
        Self::BadRequest { reason: reason.into() }
    }

    pub(crate) fn tls(origin: String, error: &rustls::Error) -> Self {
        Self::Tls { origin, certificate: matches!(error, rustls::Error::InvalidCertificate(_)), reason: brief(error) }
    }

    /// The reading of an error that came out of the HTTP library: our own error if the library carried one, else what it says.
    /// `header_limit` is there while the response head is awaited.
    pub(crate) fn from_exchange(error: &(dyn StdError + 'static), origin: &str, header_limit: Option<u64>) -> Self {
        if let Some(own) = find::<Self>(error) {
            return own.clone();
        }
        if let Some(tls) = find::<rustls::Error>(error) {
            return Self::tls(origin.to_owned(), tls);
        }
        if let Some(limit) = header_limit
            && find::<hyper::Error>(error).is_some_and(hyper::Error::is_parse_too_large)
        {
            return Self::TooLarge { what: Part::ResponseHeaders, limit };
        }
        Self::Protocol { reason: brief(error) }
    }
}

/// The first `E` among an error and its sources. An [`io::Error`] hides the error it was made of from `source`, hence the detour.
pub(crate) fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        current = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    None
}

/// An error with its sources on one line, cut to a length that a log line bears: some texts are the peer's.
pub(crate) fn brief(error: &(dyn StdError + 'static)) -> String {
    const LONGEST: usize = 300;
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect()
}
