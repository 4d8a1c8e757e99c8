//! HTTP/1.1, plain or over TLS, with nothing added and nothing taken away.

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body's bytes.
    pub body: Bytes,
}

impl Reply {
    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or("(not UTF-8)")
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {} {}", self.status, self.text()))
    }

    /// A header field, empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap_or("(not ASCII)"))
    }
}

/// One connection, opened when it is needed and kept alive.
pub struct Client {
    address: SocketAddr,
    /// Where it comes from, if that matters.
    from: Option<Ipv4Addr>,
    tls: Option<TlsConnector>,
    sender: Option<http1::SendRequest<Full<Bytes>>>,
}

impl Client {
    /// A client of this address.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, from: None, tls: None, sender: None }
    }

    /// A client over TLS. The server is to be `localhost`.
    pub fn tls(address: SocketAddr, config: rustls::ClientConfig) -> Self {
        Self { tls: Some(TlsConnector::from(Arc::new(config))), ..Self::new(address) }
    }

    /// Comes from this address of this machine.
    #[must_use]
    pub fn from(mut self, from: Ipv4Addr) -> Self {
        self.from = Some(from);
        self
    }

    /// Sends a request and reads the whole answer. An error says at which step the transport failed.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Reply, String> {
        let mut sender = match self.sender.take() {
            Some(sender) if !sender.is_closed() => sender,
            _ => self.connect().await?,
        };
        let exchange = async {
            sender.ready().await.map_err(|error| format!("ready: {error}"))?;
            let response = sender.send_request(request).await.map_err(|error| format!("send: {error:?}"))?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await.map_err(|error| format!("body: {error}"))?.to_bytes();
            Ok::<_, String>(Reply { status: parts.status.as_u16(), headers: parts.headers, body })
        };
        let reply = tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| "no answer".to_owned())??;
        self.sender = Some(sender);
        Ok(reply)
    }

    async fn connect(&self) -> Result<http1::SendRequest<Full<Bytes>>, String> {
        let stream = match self.from {
            None => TcpStream::connect(self.address).await,
            Some(from) => {
                let socket = TcpSocket::new_v4().map_err(|error| error.to_string())?;
                socket.bind(SocketAddr::new(IpAddr::V4(from), 0)).map_err(|error| error.to_string())?;
                socket.connect(self.address).await
            }
        };
        let stream = stream.map_err(|error| format!("connect: {error}"))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        match &self.tls {
            None => handshake(stream).await,
            Some(tls) => {
                let name = ServerName::try_from("localhost").map_err(|error| error.to_string())?;
                handshake(tls.connect(name, stream).await.map_err(|error| format!("tls: {error}"))?).await
            }
        }
    }

    /// A request with `Host` and these header fields.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Full<Bytes>> {
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
        if headers.iter().all(|(name, _)| !name.eq_ignore_ascii_case("host")) {
            request = request.header("host", self.address.to_string());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Full::new(body.into())).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// A request that must be answered.
    pub async fn call(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
        let request = self.request(method, path, headers, body);
        self.send(request).await.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// `GET`.
    pub async fn get(&mut self, path: &str) -> Reply {
        self.call("GET", path, &[], "").await
    }
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<http1::SendRequest<Full<Bytes>>, String> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| format!("handshake: {error}"))?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Writes these bytes on a new connection and reads until the server closes it or has answered with as much as it announced.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may refuse, and close, before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while !is_whole(&answer) {
        match tokio::time::timeout(PATIENCE, stream.read(&mut chunk)).await.expect("no answer") {
            Ok(0) | Err(_) => break,
            Ok(read) => answer.extend_from_slice(&chunk[..read]),
        }
    }
    answer
}

fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    length.is_some_and(|length| body.len() >= length)
}

/// Status and body of an answer in bytes.
pub fn parse(answer: &[u8]) -> (u16, String) {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    (status, body.to_owned())
}
