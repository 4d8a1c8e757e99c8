//! A service on this machine that plays a provider, or a Cistern: it keeps what it is asked, and answers as it is told.

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// `Content-Type`, empty where there was none.
    pub content_type: String,
    /// The body.
    pub body: String,
}

/// What to answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// JSON with this status.
    Json(u16, String),
    /// A body that never ends, as fast as it is read.
    Endless,
}

type Body = UnsyncBoxBody<Bytes, Infallible>;
type Decide = dyn Fn(&Seen) -> Answer + Send + Sync;
type Tls = Arc<Mutex<Option<Arc<ServerConfig>>>>;

/// The service. It ends when this is dropped.
pub struct Provider {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    tls: Tls,
    task: JoinHandle<()>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Provider {
    /// Starts it on a free port.
    pub async fn start(decide: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), decide)
    }

    /// Starts it on this listener.
    pub fn on(listener: TcpListener, decide: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let tls = Tls::default();
        let (kept, decide): (_, Arc<Decide>) = (Arc::clone(&seen), Arc::new(decide));
        let shown = Arc::clone(&tls);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, decide) = (Arc::clone(&kept), Arc::clone(&decide));
                let service = service_fn(move |request| answer(request, Arc::clone(&kept), Arc::clone(&decide)));
                let tls = shown.lock().unwrap().clone();
                connections.spawn(async move {
                    let http = hyper::server::conn::http1::Builder::new();
                    // Whoever hangs up or is refused notices it himself.
                    match tls {
                        None => drop(http.serve_connection(TokioIo::new(stream), service).await),
                        Some(tls) => {
                            if let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await {
                                drop(http.serve_connection(TokioIo::new(stream), service).await);
                            }
                        }
                    }
                });
            }
        });
        Self { address, seen, tls, task }
    }

    /// Lets it speak TLS from the next connection on.
    pub fn show(&self, tls: ServerConfig) {
        *self.tls.lock().unwrap() = Some(Arc::new(tls));
    }

    /// `http://127.0.0.1:PORT`.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked since the last time this was called.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

async fn answer(
    request: Request<Incoming>,
    kept: Arc<Mutex<Vec<Seen>>>,
    decide: Arc<Decide>,
) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let seen = Seen {
        method: parts.method.to_string(),
        path: parts.uri.to_string(),
        content_type: parts.headers.get("content-type").map_or("", |kind| kind.to_str().unwrap()).to_owned(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let answer = decide(&seen);
    kept.lock().unwrap().push(seen);
    let response = Response::builder().header("content-type", "application/json");
    Ok(match answer {
        Answer::Json(status, text) => response.status(status).body(Full::new(Bytes::from(text)).boxed_unsync()).unwrap(),
        Answer::Endless => {
            let chunk = Bytes::from(vec![b' '; 16 << 10]);
            let chunks = futures::stream::repeat(chunk).map(|chunk| Ok::<_, Infallible>(Frame::data(chunk)));
            // So that others get their turn on the same thread.
            let chunks = chunks.then(async |chunk| {
                tokio::task::yield_now().await;
                chunk
            });
            response.body(StreamBody::new(chunks).boxed_unsync()).unwrap()
        }
    })
}
