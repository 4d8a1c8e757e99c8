//! From a name to a connection: resolve once, check every address, connect to a checked one.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use http::Uri;
use hyper::rt::{Executor, Read, ReadBufCursor, Sleep, Timer, Write};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tower::Service;

use crate::address::{AddressClass, AddressPolicy};
use crate::body::BoxError;
use crate::config::{Allow, ClientConfig, ConfigError};
use crate::error::{Error, Wait, brief, find};
use crate::meter::{Meter, OpenConnection};
use crate::origin::{Destination, Host, HostPattern};
use crate::tls::tls_config;

/// Name resolution.
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of `host` (a name, never a literal address), best first. An empty answer counts as unknown.
    ///
    /// # Errors
    /// Whatever prevented an answer; its text is shown to the caller.
    fn resolve(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The system's resolver (`getaddrinfo`).
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let host = host.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

tokio::task_local! {
    /// The connect timeout of the request on whose behalf the pool opens a connection: a connector is only told the URI.
    pub(crate) static CONNECT_TIMEOUT: Duration;
}

/// Which address is acceptable for which host.
pub(crate) struct Gate {
    pub(crate) allow: Allow,
    pub(crate) addresses: AddressPolicy,
}

impl Gate {
    fn check(&self, host: &Host, address: IpAddr) -> Result<(), Error> {
        let class = AddressClass::of(address);
        if self.addresses.permits(class) || (class.is_usable() && self.is_explicit(host, class)) {
            return Ok(());
        }
        Err(Error::Address { host: host.to_string(), address, class })
    }

    /// Whether the operator has named this very address, or `localhost`, in the allow-list.
    fn is_explicit(&self, host: &Host, class: AddressClass) -> bool {
        let Allow::Origins(origins) = &self.allow else {
            return false;
        };
        origins.iter().any(|origin| match (origin.host(), host) {
            (HostPattern::Address(named), Host::Address(address)) => named == address,
            (HostPattern::Name(named), Host::Name(name)) => {
                named == name && name == "localhost" && class == AddressClass::Loopback
            }
            _ => false,
        })
    }

    /// The acceptable ones of the addresses of `host`; the first refusal if there is none.
    pub(crate) fn sift(&self, host: &Host, found: Vec<IpAddr>) -> Result<Vec<SocketAddr>, Error> {
        let mut refusal = Error::Resolve { host: host.to_string(), reason: "the name has no address".to_owned() };
        let mut good = Vec::with_capacity(found.len());
        for address in found {
            match self.check(host, address) {
                // Port 0 is a blank for the connector to fill in.
                Ok(()) => good.push(SocketAddr::new(address, 0)),
                Err(error) if matches!(refusal, Error::Resolve { .. }) => refusal = error,
                Err(_) => {}
            }
        }
        if good.is_empty() { Err(refusal) } else { Ok(good) }
    }
}

/// The resolver inside the TCP connector: what it yields has been checked, and nothing else is connected to.
#[derive(Clone)]
struct CheckedResolver {
    resolver: Arc<dyn Resolve>,
    gate: Arc<Gate>,
}

impl Service<Name> for CheckedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Self::Response, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let answer = self.resolver.resolve(name.as_str());
        let gate = Arc::clone(&self.gate);
        Box::pin(async move {
            let found = answer.await.map_err(|error| Error::Resolve { host: name.as_str().to_owned(), reason: brief(&error) })?;
            let good = gate.sift(&Host::Name(name.as_str().to_owned()), found)?;
            Ok(good.into_iter())
        })
    }
}

/// The connector of a client's pool.
#[derive(Clone)]
pub(crate) struct Connector {
    https: HttpsConnector<HttpConnector<CheckedResolver>>,
    gate: Arc<Gate>,
    runtime: Handle,
    timeout: Duration,
    meter: Arc<Meter>,
}

impl Connector {
    pub(crate) fn new(
        config: &ClientConfig,
        resolver: Arc<dyn Resolve>,
        runtime: Handle,
        meter: Arc<Meter>,
    ) -> Result<Self, ConfigError> {
        let gate = Arc::new(Gate { allow: config.allow.clone(), addresses: config.addresses });
        let mut tcp = HttpConnector::new_with_resolver(CheckedResolver { resolver, gate: Arc::clone(&gate) });
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(60)));
        // Shared out among the addresses, so that one that swallows packets leaves time for the others.
        tcp.set_connect_timeout(Some(config.timeouts.connect));
        let https = HttpsConnector::from((tcp, tls_config(config)?));
        Ok(Self { https, gate, runtime, timeout: config.timeouts.connect, meter })
    }
}

impl Service<Uri> for Connector {
    type Response = Tracked;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Tracked, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let limit = CONNECT_TIMEOUT.try_with(|limit| *limit).unwrap_or(self.timeout);
        let this = self.clone();
        Box::pin(async move {
            let to = Destination::from_uri(&uri).map_err(Error::bad_request)?;
            // The TCP connector does not resolve literal addresses: they are checked here.
            if let Host::Address(address) = to.host {
                this.gate.check(&to.host, address)?;
            }
            let mut https = this.https;
            let attempt = async move {
                poll_fn(|cx| https.poll_ready(cx)).await?;
                https.call(uri).await as Result<_, BoxError>
            };
            // On the client's own runtime, whoever calls: the pool outlives the caller. Dropping the set ends the attempt.
            let mut task = JoinSet::new();
            task.spawn_on(async move { tokio::time::timeout(limit, attempt).await }, &this.runtime);
            match task.join_next().await {
                Some(Ok(Ok(Ok(stream)))) => Ok(Tracked { stream, _open: this.meter.connected() }),
                Some(Ok(Ok(Err(error)))) => Err(read_error(&*error, &to)),
                Some(Ok(Err(_elapsed))) => Err(Error::Timeout { what: Wait::Connect }),
                Some(Err(_)) | None => Err(Error::Connect {
                    origin: to.to_string(),
                    kind: io::ErrorKind::Interrupted,
                    reason: "the runtime is shutting down".to_owned(),
                }),
            }
        })
    }
}

/// Sorts what the TCP and TLS connectors report.
fn read_error(error: &(dyn std::error::Error + Send + Sync + 'static), to: &Destination) -> Error {
    let error: &(dyn std::error::Error + 'static) = error;
    if let Some(own) = find::<Error>(error) {
        return own.clone();
    }
    if let Some(tls) = find::<rustls::Error>(error) {
        return Error::tls(to.to_string(), tls);
    }
    // The TLS connector reports bare I/O errors, the TCP connector wraps them.
    if error.is::<io::Error>() {
        return Error::Tls { origin: to.to_string(), certificate: false, reason: brief(error) };
    }
    match find::<io::Error>(error).map(io::Error::kind) {
        Some(io::ErrorKind::TimedOut) => Error::Timeout { what: Wait::Connect },
        kind => Error::Connect { origin: to.to_string(), kind: kind.unwrap_or(io::ErrorKind::Other), reason: brief(error) },
    }
}

/// A connection that the metrics count while it is open.
pub(crate) struct Tracked {
    stream: MaybeHttpsStream<TokioIo<TcpStream>>,
    _open: OpenConnection,
}

impl Connection for Tracked {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

impl Read for Tracked {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl Write for Tracked {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}

/// Runs the pool's tasks and timers on the client's runtime rather than on the caller's, which may be short-lived or busy.
#[derive(Clone)]
pub(crate) struct OnRuntime(pub(crate) Handle);

impl OnRuntime {
    pub(crate) fn sleep_for(&self, duration: Duration) -> tokio::time::Sleep {
        let _inside = self.0.enter();
        tokio::time::sleep(duration)
    }
}

impl<F> Executor<F> for OnRuntime
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

impl Timer for OnRuntime {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        let _inside = self.0.enter();
        TokioTimer::new().sleep(duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let _inside = self.0.enter();
        TokioTimer::new().sleep_until(deadline)
    }
}
