//! The listeners: HTTP/1.1 and HTTP/2, plain and over TLS, on several addresses at once.
//!
//! A connection must get somewhere in time: the TLS handshake, the head of each HTTP/1 request and the first request of an HTTP/2
//! connection have deadlines (an idle keep-alive connection is one that does not send its next head). What is bounded besides:
//! connections at once, size and number of header fields, streams at once. Bodies and handlers are the router's to bound.

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::routing::future::RouteFuture;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

/// Connections that the kernel may keep waiting.
const BACKLOG: u32 = 4096;

/// Header fields of an HTTP/1 request; hyper answers 431 above.
const MAX_HEADERS: usize = 100;

/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;

/// How an HTTP/2 connection begins (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The first byte of a TLS handshake record (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

const PLAIN_ON_TLS: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 45\r\nConnection: close\r\n\r\n\
    This address speaks HTTPS: use https:// here.";

/// Who is at the other end. Handlers get it by the extractor `ConnectInfo<PeerInfo>`. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// The other end's address; a reverse proxy's where there is one.
    pub addr: SocketAddr,
    /// Our end's address.
    pub local: SocketAddr,
    /// What TLS says, if the connection is one over TLS.
    pub tls: Option<Arc<TlsInfo>>,
}

/// What the TLS handshake established.
#[derive(Clone, Debug)]
pub struct TlsInfo {
    /// The client's chain, leaf first, as the verifier accepted it; empty if it has shown none.
    pub client_certificates: Vec<CertificateDer<'static>>,
    /// The host that the client asked for (SNI), lower case.
    pub server_name: Option<String>,
}

/// Bounds of all connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// For the head of a request, from the moment one can be sent. Also ends idle connections. Default 30 s.
    pub header_timeout: Duration,
    /// For the TLS handshake. Default 10 s.
    pub handshake_timeout: Duration,
    /// For requests in flight when the server stops. Default 30 s.
    pub shutdown_timeout: Duration,
    /// Connections at once, over all endpoints; more wait in the kernel's queue. Default 8192.
    pub max_connections: usize,
    /// Size of a request's head in bytes, at least 8192; above it the answer is 431. Default 64 KiB.
    pub max_header_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            shutdown_timeout: Duration::from_secs(30),
            max_connections: 8192,
            max_header_bytes: 64 << 10,
        }
    }
}

impl From<&crate::config::Server> for Options {
    fn from(server: &crate::config::Server) -> Self {
        Self {
            shutdown_timeout: Duration::from_secs(server.shutdown_seconds),
            max_connections: usize::try_from(server.max_connections).unwrap_or(usize::MAX),
            ..Self::default()
        }
    }
}

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// Why.
    pub source: io::Error,
}

/// A bound address. The kernel takes connections from now on; they are answered once it is served.
pub struct Endpoint {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
}

impl Endpoint {
    /// Binds an address, within a Tokio runtime. Port 0 takes a free one.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let bind = || -> io::Result<(TcpListener, SocketAddr)> {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            // A restart need not wait for the old connections' TIME_WAIT.
            #[cfg(unix)]
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            let listener = socket.listen(BACKLOG)?;
            let bound = listener.local_addr()?;
            Ok((listener, bound))
        };
        let (listener, address) = bind().map_err(|source| BindError { address, source })?;
        Ok(Self { listener, address, tls: None })
    }

    /// Makes it speak TLS.
    #[must_use]
    pub fn with_tls(self, config: Arc<ServerConfig>) -> Self {
        Self { tls: Some(TlsAcceptor::from(config)), ..self }
    }

    /// The address, with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it speaks TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }
}

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections whose requests were not finished in time and were cut.
    pub cut: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// No new connections and no new requests.
    Draining,
    /// Everything ends now.
    Cutting,
}

/// What all connections share.
struct Shared {
    options: Options,
    connections: Arc<Semaphore>,
    cut: AtomicUsize,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

/// Serves each endpoint with its router until `shutdown` completes; then accepts nothing more, closes idle connections, lets
/// requests in flight finish for [`Options::shutdown_timeout`] and cuts what is left.
///
/// Answers without an end (server-sent events) count as in flight: end them by the same signal.
pub async fn serve(endpoints: Vec<(Endpoint, Router)>, options: Options, shutdown: impl Future<Output = ()>) -> Drained {
    let (phase, receiver) = watch::channel(Phase::Running);
    let shared = Arc::new(Shared::new(options));
    let tasks = TaskTracker::new();
    for (endpoint, router) in endpoints {
        // Without it the router would convert its routes at each request.
        let router = router.with_state(());
        tasks.spawn(accept(endpoint, router, Arc::clone(&shared), receiver.clone(), tasks.clone()));
    }
    drop(receiver);
    tasks.close();

    shutdown.await;
    phase.send_replace(Phase::Draining);
    if timeout(options.shutdown_timeout, tasks.wait()).await.is_err() {
        phase.send_replace(Phase::Cutting);
        tasks.wait().await;
    }
    Drained { cut: shared.cut.load(Ordering::Relaxed) }
}

impl Shared {
    fn new(options: Options) -> Self {
        let max_header_bytes = options.max_header_bytes.max(8192);
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(options.header_timeout)
            .max_headers(MAX_HEADERS)
            .max_header_size(max_header_bytes)
            .max_buf_size(max_header_bytes);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(options.header_timeout)
            .keep_alive_timeout(options.header_timeout)
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(u32::try_from(max_header_bytes).unwrap_or(u32::MAX));
        let connections = Arc::new(Semaphore::new(options.max_connections.min(Semaphore::MAX_PERMITS)));
        Self { options, connections, cut: AtomicUsize::new(0), http1, http2 }
    }
}

async fn accept(endpoint: Endpoint, router: Router, shared: Arc<Shared>, mut phase: watch::Receiver<Phase>, tasks: TaskTracker) {
    let kind = if endpoint.is_tls() { "tls" } else { "plain" };
    let accepted = metrics::counter!("ostler_connections_total", "listener" => kind);
    let current = metrics::gauge!("ostler_connections", "listener" => kind);
    loop {
        let permit = tokio::select! {
            biased;
            _ = phase.changed() => return,
            permit = Arc::clone(&shared.connections).acquire_owned() => permit,
        };
        // The semaphore is never closed.
        let Ok(permit) = permit else { return };
        let (stream, addr) = loop {
            let result = tokio::select! {
                biased;
                _ = phase.changed() => return,
                result = endpoint.listener.accept() => result,
            };
            match result {
                Ok(connection) => break connection,
                Err(error) if of_connection(&error) => {}
                Err(error) => {
                    // Out of file descriptors, most likely: others must close first.
                    tracing::error!(listener = kind, %error, "cannot accept connections");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        };
        accepted.increment(1);
        let peer = PeerInfo { addr, local: stream.local_addr().unwrap_or(endpoint.address), tls: None };
        let slot = Slot::new(permit, current.clone());
        let (tls, router) = (endpoint.tls.clone(), router.clone());
        let connection = connection(stream, tls, Handler { router, peer, seen: None }, Arc::clone(&shared), phase.clone());
        tasks.spawn(async move {
            connection.await;
            drop(slot);
        });
    }
}

/// A connection's place among those allowed, given back when it ends, however it does.
struct Slot {
    _permit: OwnedSemaphorePermit,
    current: metrics::Gauge,
}

impl Slot {
    fn new(permit: OwnedSemaphorePermit, current: metrics::Gauge) -> Self {
        current.increment(1.0);
        Self { _permit: permit, current }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.current.decrement(1.0);
    }
}

/// Whether the error is about the one connection that was to be accepted.
fn of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    mut handler: Handler,
    shared: Arc<Shared>,
    mut phase: watch::Receiver<Phase>,
) {
    // Answers are written in one piece; waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        let http2 = tokio::select! {
            biased;
            _ = phase.changed() => return,
            result = timeout(shared.options.header_timeout, begins_with_preface(&stream)) => result,
        };
        if let Ok(Ok(http2)) = http2 {
            drive(stream, http2, handler, &shared, phase).await;
        }
        return;
    };
    let handshake = tokio::select! {
        biased;
        _ = phase.changed() => return,
        result = timeout(shared.options.handshake_timeout, handshake(stream, &tls)) => result,
    };
    let failure = match handshake {
        Ok(Ok(Some(stream))) => {
            let (_, session) = stream.get_ref();
            let http2 = session.alpn_protocol() == Some(b"h2");
            handler.peer.tls = Some(Arc::new(TlsInfo {
                client_certificates: session.peer_certificates().unwrap_or_default().to_vec(),
                server_name: session.server_name().map(str::to_owned),
            }));
            return drive(stream, http2, handler, &shared, phase).await;
        }
        Ok(Ok(None)) => "not TLS".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "timeout".to_owned(),
    };
    metrics::counter!("ostler_tls_handshake_failures_total").increment(1);
    tracing::debug!(peer = %handler.peer.addr, failure, "TLS handshake failed");
}

/// Whether the client begins with the HTTP/2 preface. Takes nothing from the stream.
async fn begins_with_preface(stream: &TcpStream) -> io::Result<bool> {
    let mut buffer = [0; PREFACE.len()];
    loop {
        let length = stream.peek(&mut buffer).await?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if buffer[..length] != PREFACE[..length] {
            return Ok(false);
        }
        if length == PREFACE.len() {
            return Ok(true);
        }
        // A preface in pieces is rare, and a peek does not wait for more than there is.
        sleep(Duration::from_millis(5)).await;
    }
}

/// The TLS handshake; none where the client speaks something else, which gets an answer that says so.
async fn handshake(mut stream: TcpStream, tls: &TlsAcceptor) -> io::Result<Option<tokio_rustls::server::TlsStream<TcpStream>>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first[0] != TLS_HANDSHAKE {
        // What is left unread would make the close a reset, which can overtake the answer.
        let _ = stream.try_read(&mut [0; 16 << 10]);
        stream.write_all(PLAIN_ON_TLS).await?;
        stream.shutdown().await?;
        return Ok(None);
    }
    tls.accept(stream).await.map(Some)
}

async fn drive<S>(stream: S, http2: bool, mut handler: Handler, shared: &Shared, phase: watch::Receiver<Phase>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let addr = handler.peer.addr;
    if http2 {
        let seen = Arc::new(AtomicBool::new(false));
        handler.seen = Some(Arc::clone(&seen));
        let first = async {
            sleep(shared.options.header_timeout).await;
            if seen.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        run(shared.http2.serve_connection(io, handler), first, addr, shared, phase).await;
    } else {
        // Its deadlines are hyper's own.
        run(shared.http1.serve_connection(io, handler), std::future::pending(), addr, shared, phase).await;
    }
}

/// Runs a connection to its end, a deadline or the server's end.
async fn run<C>(
    connection: C,
    deadline: impl Future<Output = ()>,
    addr: SocketAddr,
    shared: &Shared,
    mut phase: watch::Receiver<Phase>,
) where
    C: GracefulConnection,
    C::Error: std::fmt::Display,
{
    let mut connection = pin!(connection);
    let mut deadline = pin!(deadline);
    loop {
        tokio::select! {
            biased;
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(peer = %addr, %error, "connection ended");
                }
                return;
            }
            changed = phase.changed() => {
                let now = *phase.borrow_and_update();
                if changed.is_err() || now == Phase::Cutting {
                    shared.cut.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                connection.as_mut().graceful_shutdown();
            }
            () = deadline.as_mut() => {
                tracing::debug!(peer = %addr, "no request in time");
                return;
            }
        }
    }
}

/// A connection's service: the router, told about the peer.
struct Handler {
    router: Router,
    peer: PeerInfo,
    /// Set by the first request, where somebody wants to know.
    seen: Option<Arc<AtomicBool>>,
}

impl Service<Request<Incoming>> for Handler {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        if let Some(seen) = &self.seen {
            seen.store(true, Ordering::Relaxed);
        }
        request.extensions_mut().insert(ConnectInfo(self.peer.clone()));
        tower::Service::call(&mut self.router.clone(), request)
    }
}
