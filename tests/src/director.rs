//! A client of the Director API, as the command-line clients of the original are: over TLS, with verification, with the
//! certificates that the server sends in a zip archive.

use crate::{Client, Reply, Server};
use bytes::Bytes;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use std::io::{Cursor, Read};
use std::net::SocketAddr;
use std::sync::Arc;

/// A certificate and its key, PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub cert: String,
    /// The key.
    pub key: String,
}

impl Identity {
    /// Out of the archive of `getcerts`, with the authority's certificate.
    pub fn unzip(archive: &Bytes) -> (Self, String) {
        let mut archive = zip::ZipArchive::new(Cursor::new(archive.as_ref())).unwrap();
        let mut file = |name: &str| {
            let mut text = String::new();
            archive.by_name(name).unwrap_or_else(|error| panic!("{name}: {error}")).read_to_string(&mut text).unwrap();
            text
        };
        (Self { cert: file("cert.pem"), key: file("key.pem") }, file("ca_cert.pem"))
    }

    /// Out of the texts of a manager's user-data.
    pub fn from_user_data(user_data: &str) -> Self {
        let block = |begin: &str, end: &str| {
            let start = user_data.find(begin).unwrap_or_else(|| panic!("no {begin} in the user-data"));
            let stop = start + user_data[start..].find(end).unwrap() + end.len();
            user_data[start..stop].to_owned() + "\n"
        };
        Self {
            cert: block("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"),
            key: block("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"),
        }
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.cert.as_bytes()).collect::<Result<_, _>>().unwrap()
    }
}

/// Where the API is, and whom to trust.
#[derive(Clone)]
pub struct Director {
    address: SocketAddr,
    authority: String,
}

/// Encodes a form.
pub fn form(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// A multipart form of fields and files, and its type.
pub fn multipart(fields: &[(&str, &str)], files: &[(&str, &[u8])]) -> (String, Vec<u8>) {
    const BOUNDARY: &str = "ostler-tests-0123456789";
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend_from_slice(
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").as_bytes(),
        );
    }
    for (name, content) in files {
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{name}.pem\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={BOUNDARY}"), body)
}

impl Director {
    /// Of a server that was started with `--listen-tls`.
    pub fn of(server: &Server) -> Self {
        let authority = std::fs::read_to_string(server.data().join("ca/ca_cert.pem")).unwrap();
        Self { address: server.tls_address(), authority }
    }

    /// The address of HTTPS.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How a client trusts the server, and what it shows.
    pub fn tls(&self, identity: Option<&Identity>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(identity.chain(), key).unwrap()
            }
        }
    }

    /// A client with a connection of its own.
    pub fn client(&self, identity: Option<&Identity>) -> Client {
        Client::tls(self.address, self.tls(identity))
    }

    /// `GET` on a new connection.
    pub async fn get(&self, identity: Option<&Identity>, path: &str) -> Reply {
        self.client(identity).get(path).await
    }

    /// An urlencoded `POST` on a new connection.
    pub async fn post(&self, identity: Option<&Identity>, path: &str, fields: &[(&str, &str)]) -> Reply {
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        self.client(identity).call("POST", path, &headers, form(fields)).await
    }

    /// A multipart `POST` on a new connection.
    pub async fn upload(
        &self,
        identity: Option<&Identity>,
        path: &str,
        fields: &[(&str, &str)],
        files: &[(&str, &[u8])],
    ) -> Reply {
        let (media_type, body) = multipart(fields, files);
        self.client(identity).call("POST", path, &[("content-type", &media_type)], body).await
    }

    /// Registers a user with this credit. What the server says of him.
    pub async fn new_user(&self, name: &str, credit: &str) -> Value {
        let email = format!("{name}@example.org");
        let fields = [
            ("username", name),
            ("fname", "Ann"),
            ("lname", "Other"),
            ("email", &email),
            ("affiliation", "VU"),
            ("password", "right horse"),
            ("credit", credit),
        ];
        let reply = self.post(None, "/new_user", &fields).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    }

    /// The certificate of a user whom [`Director::new_user`] has made.
    pub async fn certificate(&self, name: &str) -> Identity {
        let reply = self.post(None, "/getcerts", &[("username", name), ("password", "right horse")]).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, "application/zip"), "{}", reply.text());
        Identity::unzip(&reply.body).0
    }

    /// A new user with this credit, and his certificate.
    pub async fn user(&self, name: &str, credit: &str) -> Identity {
        let user = self.new_user(name, credit).await;
        assert_eq!(user["username"], name, "{user}");
        self.certificate(name).await
    }
}
