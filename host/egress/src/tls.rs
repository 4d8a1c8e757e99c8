//! The TLS configuration of a client.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig as TlsConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::config::{ClientConfig, ConfigError, Identity, PeerCheck};
use crate::error::brief;

/// TLS 1.2 and 1.3, HTTP/2 preferred over HTTP/1.1 by ALPN, the trust and the identity of `config`.
pub(crate) fn tls_config(config: &ClientConfig) -> Result<TlsConfig, ConfigError> {
    let builder = TlsConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| ConfigError::Tls(brief(&error)))?;
    let builder = match &config.peer {
        None => builder.with_root_certificates(roots(config)?),
        Some(check) => {
            let verifier = Peer { roots: roots(config)?, check: Arc::clone(check), algorithms: algorithms() };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    let mut tls = match &config.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let (chain, key) = parse_identity(identity)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| ConfigError::Identity(brief(&error)))?
        }
    };
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tls)
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    aws_lc_rs::default_provider().signature_verification_algorithms
}

/// Verifies all but the host's name, in whose place the check is.
struct Peer {
    roots: RootCertStore,
    check: PeerCheck,
    algorithms: WebPkiSupportedAlgorithms,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Peer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let leaf = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(&leaf, &self.roots, intermediates, now, self.algorithms.all)?;
        if (self.check)(end_entity) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn roots(config: &ClientConfig) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    if !config.ca_only {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        roots.add_parsable_certificates(system_roots().iter().cloned());
    }
    match &config.ca_pem {
        Some(pem) => {
            for certificate in certificates(pem).map_err(ConfigError::Ca)? {
                roots.add(certificate).map_err(|error| ConfigError::Ca(brief(&error)))?;
            }
        }
        None if config.ca_only => return Err(ConfigError::NoCa),
        None => {}
    }
    Ok(roots)
}

/// The system's authorities, read once: it takes milliseconds, and there is a client per cloud.
fn system_roots() -> &'static [CertificateDer<'static>] {
    static ROOTS: OnceLock<Vec<CertificateDer<'static>>> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "some of the system's certificate authorities are unreadable");
        }
        found.certs
    })
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| brief(&error))?;
    if found.is_empty() { Err("no certificate in the PEM text".to_owned()) } else { Ok(found) }
}

fn parse_identity(identity: &Identity) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), ConfigError> {
    let chain = certificates(&identity.cert_pem).map_err(ConfigError::Identity)?;
    // The parser's own words could quote the key.
    let key = PrivateKeyDer::from_pem_slice(&identity.key_pem)
        .map_err(|_| ConfigError::Identity("no usable private key in the PEM text".to_owned()))?;
    Ok((chain, key))
}
