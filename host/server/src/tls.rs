//! TLS of the listeners: the certificate, which can be replaced without a restart, whom clients may show, and the server's
//! configuration.

#[cfg(test)]
mod tests;

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ostler_core::authority::Authority;
use ostler_drivers::{private_directory, write_atomically};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoClientAuth, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use secrecy::ExposeSecret;
use url::{Host, Url};

/// How long before its end our own certificate is replaced.
const RENEWAL: Duration = Duration::from_hours(24 * 60);

/// Why TLS could not be set up, or a certificate not be replaced.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file does not contain what it should, in PEM.
    #[error("{path} contains no {what} in PEM", path = path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should contain.
        what: &'static str,
    },
    /// Certificate and key do not go together, or their kind is not supported.
    #[error("the certificate cannot be used: {0}")]
    Certificate(#[from] rustls::Error),
    /// Our authority did not issue a certificate.
    #[error("no certificate could be made: {0}")]
    Authority(#[from] ostler_core::Error),
    /// Our authority's certificate cannot be used.
    #[error("the authority's certificate cannot be used: {0}")]
    Verifier(String),
}

/// Where a listener's certificate is.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The chain, leaf first, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

impl CertificateFiles {
    fn load(&self) -> Result<CertifiedKey, TlsError> {
        load_files(&self.certificate, &self.key)
    }
}

/// Our own certificate, of our own authority, in `cert.pem` and `key.pem` of a directory: made anew when it ends soon, does not
/// name all that it should, is another authority's or is damaged.
#[derive(Clone, Debug)]
pub struct OwnCertificate {
    directory: PathBuf,
    names: Vec<String>,
}

impl OwnCertificate {
    /// For this machine, the public host and the configured names; kept in `tls` of the data directory.
    pub fn new(server: &crate::config::Server, data: &Path) -> Self {
        let mut names: Vec<String> = server.public_url.as_ref().and_then(host).into_iter().collect();
        let local = ["localhost".to_owned(), Ipv4Addr::LOCALHOST.to_string(), Ipv6Addr::LOCALHOST.to_string()];
        let listens = server.listen_tls.map(|address| address.ip()).filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string());
        for name in server.tls_names.iter().cloned().chain(local).chain(listens) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Self { directory: data.join("tls"), names }
    }

    /// Where it is.
    pub fn files(&self) -> CertificateFiles {
        CertificateFiles { certificate: self.directory.join("cert.pem"), key: self.directory.join("key.pem") }
    }

    /// Makes it anew if that is due. Whether it was.
    ///
    /// # Errors
    /// [`TlsError`].
    pub async fn ensure(&self, authority: &Authority) -> Result<bool, TlsError> {
        let files = self.files();
        if let Ok(kept) = files.load()
            && self.suits(&kept, authority, RENEWAL)
        {
            return Ok(false);
        }
        let bundle = authority.issue_server(&self.names).await?;
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| TlsError::File { path, source }
        };
        private_directory(&self.directory).map_err(failed(&self.directory))?;
        // After an interruption in between, the two do not match, and are made anew.
        write_atomically(&files.key, bundle.key.expose_secret().as_bytes()).map_err(failed(&files.key))?;
        write_atomically(&files.certificate, bundle.certificate.as_bytes()).map_err(failed(&files.certificate))?;
        tracing::info!(certificate = %files.certificate.display(), names = %self.names.join(", "), "made the server's certificate");
        Ok(true)
    }

    /// Whether it is our authority's and good for all names, still after this time.
    fn suits(&self, key: &CertifiedKey, authority: &Authority, after: Duration) -> bool {
        let Some(leaf) = key.cert.first() else { return false };
        let Ok(roots) = roots(authority) else { return false };
        let Ok(verifier) = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(provider())).build() else {
            return false;
        };
        let then = UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs()) + after);
        self.names.iter().all(|name| {
            let name = ServerName::try_from(name.as_str());
            name.is_ok_and(|name| verifier.verify_server_cert(leaf, &[], &name, &[], then).is_ok())
        })
    }
}

fn roots(authority: &Authority) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_slice(authority.certificate_der()))?;
    Ok(roots)
}

/// Lets clients show a certificate of our authority, and come without one. What it permits, and whether it was revoked, is asked
/// with each request.
///
/// # Errors
/// [`TlsError::Verifier`].
pub fn client_verifier(authority: &Authority) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let roots = Arc::new(roots(authority)?);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::new(provider()));
    builder.allow_unauthenticated().build().map_err(|error| TlsError::Verifier(error.to_string()))
}

/// The certificate that listeners present, replaceable while they run.
#[derive(Debug)]
pub struct ServerCertificate {
    source: CertificateFiles,
    current: ArcSwap<CertifiedKey>,
}

impl ServerCertificate {
    /// Reads the certificate.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(source: CertificateFiles) -> Result<Arc<Self>, TlsError> {
        let current = ArcSwap::from_pointee(source.load()?);
        Ok(Arc::new(Self { source, current }))
    }

    /// Reads it again. New handshakes get the new one, connections stay.
    ///
    /// # Errors
    /// [`TlsError`]; the old certificate stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.current.store(Arc::new(self.source.load()?));
        Ok(())
    }

    /// The leaf certificate, DER.
    pub fn leaf(&self) -> Option<CertificateDer<'static>> {
        self.current.load().cert.first().cloned()
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

/// The cryptography of all TLS here. Make it the process's default (`install_default`) first thing.
pub fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

/// TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1. Client certificates are requested if there is a verifier for them; whether they are
/// optional is the verifier's choice (`allow_unauthenticated`).
///
/// # Errors
/// [`TlsError::Certificate`] if the provider lacks what the protocols need.
pub fn server_config(
    certificate: Arc<ServerCertificate>,
    client_verifier: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(client_verifier.unwrap_or_else(|| Arc::new(NoClientAuth)))
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn host(url: &Url) -> Option<String> {
    Some(match url.host()? {
        Host::Domain(name) => name.to_owned(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    })
}

fn load_files(certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let chain = read(certificate)?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&chain)
        .collect::<Result<_, _>>()
        .map_err(|_| TlsError::Pem { path: certificate.to_owned(), what: "certificates" })?;
    if chain.is_empty() {
        return Err(TlsError::Pem { path: certificate.to_owned(), what: "certificate" });
    }
    let secret =
        PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|_| TlsError::Pem { path: key.to_owned(), what: "private key" })?;
    // Refuses a key that is not the certificate's.
    Ok(CertifiedKey::from_der(chain, secret, &provider())?)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::File { path: path.to_owned(), source })
}
