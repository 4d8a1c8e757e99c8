//! What a client may do, as the operator configures it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::address::AddressPolicy;
use crate::origin::{Destination, Origin, Scheme};

/// Which origins a client may send requests to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allow {
    /// These alone. An empty list allows nothing, which is the default.
    Origins(Vec<Origin>),
    /// Every `https` origin, on any port.
    AnyHttps,
    /// Every origin.
    Any,
}

impl Allow {
    pub(crate) fn covers(&self, to: &Destination) -> bool {
        match self {
            Self::Origins(origins) => origins.iter().any(|origin| origin.covers(to)),
            Self::AnyHttps => to.scheme == Scheme::Https,
            Self::Any => true,
        }
    }
}

/// Limits on the time of one exchange. As an override for one request they can only shorten what the client has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a free slot, and again for name resolution, TCP connection and TLS handshake together.
    pub connect: Duration,
    /// For the response head, from the moment the request has a connection, and anew with each part of the request body that
    /// was taken: a long upload that moves does not time out.
    pub first_byte: Duration,
    /// For the next part of the response body, while somebody waits for it: a slow reader does not time out.
    pub between_bytes: Duration,
}

impl Default for Timeouts {
    /// 10 s, 60 s, 30 s.
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), first_byte: Duration::from_secs(60), between_bytes: Duration::from_secs(30) }
    }
}

impl Timeouts {
    pub(crate) fn at_most(self, limit: Self) -> Self {
        Self {
            connect: self.connect.min(limit.connect),
            first_byte: self.first_byte.min(limit.first_byte),
            between_bytes: self.between_bytes.min(limit.between_bytes),
        }
    }
}

/// A client certificate with its private key.
#[derive(Clone)]
pub struct Identity {
    /// The certificate and whatever chain the servers need, PEM, the client's own first.
    pub cert_pem: Vec<u8>,
    /// The private key, PEM (PKCS#8, PKCS#1 or SEC1), unencrypted.
    pub key_pem: Vec<u8>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// Whether the server with this leaf certificate (DER) is the one that is meant.
pub type PeerCheck = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// The configuration of a [`Client`](crate::Client).
#[derive(Clone)]
pub struct ClientConfig {
    /// Where requests may go.
    pub allow: Allow,
    /// Which resolved addresses may be connected to.
    pub addresses: AddressPolicy,
    /// Certificate authorities, PEM, besides the system's and Mozilla's.
    pub ca_pem: Option<Vec<u8>>,
    /// Trust `ca_pem` alone.
    pub ca_only: bool,
    /// For servers whose certificates name no host: what decides, besides the chain to a trusted authority and the term, is this
    /// look at the certificate.
    pub peer: Option<PeerCheck>,
    /// The certificate to present to servers that ask for one.
    pub identity: Option<Identity>,
    /// The most that a request may ask for in time.
    pub timeouts: Timeouts,
    /// How many exchanges may be under way at once, each from its request to the end of its response body; more wait. At least 1.
    pub max_connections: usize,
    /// For how long a connection without exchanges is kept.
    pub idle_timeout: Duration,
    /// The largest request body in bytes.
    pub max_request_bytes: Option<u64>,
    /// The largest response body in bytes, as transferred.
    pub max_response_bytes: Option<u64>,
    /// The most that the header fields of a request, and of a response, may sum up to: bytes of names and values, with 4 for
    /// each field.
    pub max_header_bytes: u32,
}

impl Default for ClientConfig {
    /// Allows no origin; public addresses; 32 exchanges; connections idle for 60 s; bodies of 64 MiB; headers of 64 KiB.
    fn default() -> Self {
        Self {
            allow: Allow::Origins(Vec::new()),
            addresses: AddressPolicy::PUBLIC_ONLY,
            ca_pem: None,
            ca_only: false,
            peer: None,
            identity: None,
            timeouts: Timeouts::default(),
            max_connections: 32,
            idle_timeout: Duration::from_secs(60),
            max_request_bytes: Some(64 << 20),
            max_response_bytes: Some(64 << 20),
            max_header_bytes: 64 << 10,
        }
    }
}

impl fmt::Debug for ClientConfig {
    /// Certificates by their size, keys not at all.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("allow", &self.allow)
            .field("addresses", &self.addresses)
            .field("ca_pem_bytes", &self.ca_pem.as_ref().map(Vec::len))
            .field("ca_only", &self.ca_only)
            .field("peer", &self.peer.is_some())
            .field("identity", &self.identity)
            .field("timeouts", &self.timeouts)
            .field("max_connections", &self.max_connections)
            .field("idle_timeout", &self.idle_timeout)
            .field("max_request_bytes", &self.max_request_bytes)
            .field("max_response_bytes", &self.max_response_bytes)
            .field("max_header_bytes", &self.max_header_bytes)
            .finish()
    }
}

/// Why no [`Client`](crate::Client) can be made of a [`ClientConfig`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// `ca_pem` cannot be used.
    #[error("certificate authorities: {0}")]
    Ca(String),
    /// `ca_only` without any authority.
    #[error("no certificate authority to trust: ca_only is set and there is no ca_pem")]
    NoCa,
    /// `identity` cannot be used.
    #[error("client certificate: {0}")]
    Identity(String),
    /// What should be a host is none.
    #[error("the host: {0}")]
    Host(String),
    /// A number is out of range.
    #[error("{0}")]
    Range(&'static str),
    /// The TLS library refused its set-up.
    #[error("TLS: {0}")]
    Tls(String),
    /// Called outside a Tokio runtime.
    #[error("a client is made inside the runtime that will carry its connections")]
    NoRuntime,
}
