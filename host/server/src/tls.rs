//! TLS of the listeners: the certificate, which can be replaced without a restart, and the server's configuration.

#[cfg(test)]
mod tests;

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoClientAuth, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use url::{Host, Url};

/// How long a self-signed certificate is valid.
const VALIDITY: Duration = Duration::from_hours(24 * 730);

/// How long before its end a self-signed certificate is replaced.
const RENEWAL: Duration = Duration::from_hours(24 * 30);

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
    /// No self-signed certificate could be made.
    #[error("no certificate could be made: {0}")]
    Generate(#[from] rcgen::Error),
}

/// Where a listener's certificate comes from.
#[derive(Clone, Debug)]
pub enum CertificateSource {
    /// PEM files: the chain, leaf first, and its private key.
    Files {
        /// The chain.
        certificate: PathBuf,
        /// The private key.
        key: PathBuf,
    },
    /// A self-signed certificate for this machine, kept in `cert.pem` and `key.pem` of a directory and made anew when it ends
    /// soon, does not name the public host or is damaged.
    SelfSigned {
        /// The directory, `tls` in the data directory; made if it is missing.
        directory: PathBuf,
        /// The host that clients use, besides `localhost`, `127.0.0.1` and `::1`.
        public_host: Option<String>,
    },
}

impl CertificateSource {
    /// As the configuration says: the files if both are given, else a self-signed certificate in `tls` of the data directory.
    pub fn from_config(server: &crate::config::Server, data: &Path) -> Self {
        match (&server.tls_certificate, &server.tls_key) {
            (Some(certificate), Some(key)) => Self::Files { certificate: certificate.clone(), key: key.clone() },
            _ => Self::SelfSigned { directory: data.join("tls"), public_host: server.public_url.as_ref().and_then(host) },
        }
    }

    fn load(&self) -> Result<CertifiedKey, TlsError> {
        match self {
            Self::Files { certificate, key } => load_files(certificate, key),
            Self::SelfSigned { directory, public_host } => {
                let (certificate, key) = (directory.join("cert.pem"), directory.join("key.pem"));
                let mut names = vec!["localhost".to_owned(), Ipv4Addr::LOCALHOST.to_string(), Ipv6Addr::LOCALHOST.to_string()];
                names.extend(public_host.iter().filter(|host| !names.contains(host)).cloned().collect::<Vec<_>>());
                if let Ok(kept) = load_files(&certificate, &key)
                    && suits(&kept, &names)
                {
                    return Ok(kept);
                }
                generate(directory, &certificate, &key, &names)?;
                load_files(&certificate, &key)
            }
        }
    }
}

/// The certificate that listeners present, replaceable while they run.
#[derive(Debug)]
pub struct ServerCertificate {
    source: CertificateSource,
    current: ArcSwap<CertifiedKey>,
}

impl ServerCertificate {
    /// Reads or makes the certificate.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(source: CertificateSource) -> Result<Arc<Self>, TlsError> {
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

    /// When the leaf certificate ends.
    pub fn expires(&self) -> Option<SystemTime> {
        expiry(&self.current.load())
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

fn expiry(key: &CertifiedKey) -> Option<SystemTime> {
    let leaf = key.cert.first()?;
    let (_, parsed) = x509_parser::parse_x509_certificate(leaf).ok()?;
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn suits(key: &CertifiedKey, names: &[String]) -> bool {
    let lasts = expiry(key).is_some_and(|end| end > SystemTime::now() + RENEWAL);
    let Some(parsed) = key.cert.first().and_then(|leaf| ParsedCertificate::try_from(leaf).ok()) else { return false };
    let named = |name: &String| {
        let name = ServerName::try_from(name.as_str());
        name.is_ok_and(|name| rustls::client::verify_server_name(&parsed, &name).is_ok())
    };
    lasts && names.iter().all(named)
}

fn generate(directory: &Path, certificate: &Path, key: &Path, names: &[String]) -> Result<(), TlsError> {
    let now = SystemTime::now();
    let mut params = rcgen::CertificateParams::new(names.to_vec())?;
    params.not_before = (now - Duration::from_hours(24)).into();
    params.not_after = (now + VALIDITY).into();
    params.distinguished_name.push(rcgen::DnType::CommonName, names.last().map_or("localhost", String::as_str));
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let pair = rcgen::KeyPair::generate()?;
    let signed = params.self_signed(&pair)?;
    create_private_directory(directory).map_err(|source| TlsError::File { path: directory.to_owned(), source })?;
    // After an interruption in between, the two do not match, and are made anew.
    replace(key, pair.serialize_pem().as_bytes())?;
    replace(certificate, signed.pem().as_bytes())?;
    tracing::info!(certificate = %certificate.display(), names = %names.join(", "), "made a self-signed certificate");
    Ok(())
}

fn create_private_directory(path: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Writes a file that only its owner may read, and puts it in place at once.
fn replace(path: &Path, content: &[u8]) -> Result<(), TlsError> {
    let temporary = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|source| TlsError::File { path: path.to_owned(), source })
}
