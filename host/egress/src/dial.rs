//! Connections for other protocols than HTTP, to the one host that the operator has named.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::{Allow, ClientConfig, ConfigError};
use crate::connect::{Gate, Resolve, SystemResolver};
use crate::error::{Error, Wait, brief, find};
use crate::origin::{Host, Origin};
use crate::tls::tls_config;

/// Connects to one host and port. As for a [`Client`](crate::Client), the name is resolved once for each connection, every address
/// is checked, and what is connected to is an address that was checked.
#[derive(Clone)]
pub struct Dialer {
    host: Host,
    port: u16,
    gate: Arc<Gate>,
    resolver: Arc<dyn Resolve>,
    timeout: Duration,
    tls: TlsConnector,
    name: ServerName<'static>,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").field("to", &self.origin()).finish_non_exhaustive()
    }
}

impl Dialer {
    /// To this host, a name or a literal address (IPv6 in brackets). Of the configuration count the address policy, the
    /// authorities, the identity, the look at the peer, and the timeout for connecting. An address that is written literally, and
    /// `localhost`, are acceptable whatever the policy says of their class.
    ///
    /// # Errors
    /// [`ConfigError`], with [`ConfigError::Host`] for what is no host.
    pub fn new(host: &str, port: u16, config: &ClientConfig) -> Result<Self, ConfigError> {
        Self::with_resolver(host, port, config, Arc::new(SystemResolver))
    }

    /// With a resolver of its own.
    ///
    /// # Errors
    /// As [`Dialer::new`].
    pub fn with_resolver(host: &str, port: u16, config: &ClientConfig, resolver: Arc<dyn Resolve>) -> Result<Self, ConfigError> {
        let wrong = |reason: &dyn fmt::Display| ConfigError::Host(reason.to_string());
        let parsed = Host::parse(host).map_err(|reason| wrong(&reason))?;
        let named: Origin = format!("https://{host}:{port}").parse().map_err(|error| wrong(&error))?;
        let name = match &parsed {
            Host::Name(name) => ServerName::try_from(name.clone()).map_err(|error| wrong(&error))?,
            Host::Address(address) => ServerName::from(*address),
        };
        let mut tls = tls_config(config)?;
        tls.alpn_protocols.clear();
        Ok(Self {
            host: parsed,
            port,
            gate: Arc::new(Gate { allow: Allow::Origins(vec![named]), addresses: config.addresses }),
            resolver,
            timeout: config.timeouts.connect,
            tls: TlsConnector::from(Arc::new(tls)),
            name,
        })
    }

    /// `host:port`, for people.
    fn origin(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// A connection.
    ///
    /// # Errors
    /// [`Error::Address`], [`Error::Resolve`], [`Error::Connect`], [`Error::Timeout`].
    pub async fn connect(&self) -> Result<TcpStream, Error> {
        let attempt = async {
            let found = match &self.host {
                Host::Address(address) => vec![*address],
                Host::Name(name) => self.resolver.resolve(name).await.map_err(|error| self.unresolved(&error))?,
            };
            let mut failure = None;
            for address in self.gate.sift(&self.host, found)? {
                match TcpStream::connect(SocketAddr::new(address.ip(), self.port)).await {
                    Ok(stream) => return Ok(stream),
                    Err(error) => failure = Some(error),
                }
            }
            let error = failure.unwrap_or_else(|| io::ErrorKind::NotFound.into());
            Err(Error::Connect { origin: self.origin(), kind: error.kind(), reason: brief(&error) })
        };
        tokio::time::timeout(self.timeout, attempt).await.map_err(|_| Error::Timeout { what: Wait::Connect })?
    }

    fn unresolved(&self, error: &io::Error) -> Error {
        Error::Resolve { host: self.host.to_string(), reason: brief(error) }
    }

    /// TLS on a connection, as its client; the certificate must be the host's.
    ///
    /// # Errors
    /// [`Error::Tls`], [`Error::Timeout`].
    pub async fn secure(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Error> {
        let handshake = self.tls.connect(self.name.clone(), stream);
        let outcome = tokio::time::timeout(self.timeout, handshake).await.map_err(|_| Error::Timeout { what: Wait::Connect })?;
        outcome.map_err(|error| match find::<rustls::Error>(&error) {
            Some(tls) => Error::tls(self.origin(), tls),
            None => Error::Tls { origin: self.origin(), certificate: false, reason: brief(&error) },
        })
    }
}
