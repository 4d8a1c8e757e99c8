//! A server on a loopback address that answers what a test tells it to.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use parking_lot::Mutex;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use url::Url;

pub(super) type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;

pub(super) struct Server {
    origin: String,
    seen: Arc<Mutex<Vec<(String, HeaderMap)>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Answers the requests; the function is told the number of each, from 0.
    pub(super) async fn start(answer: impl Fn(usize, &Parts) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::<Mutex<Vec<_>>>::default();
        let (answer, record) = (Arc::new(answer), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (answer, record) = (Arc::clone(&answer), Arc::clone(&record));
                let service = service_fn(move |request: Request<Incoming>| {
                    let parts = request.into_parts().0;
                    let number = {
                        let mut seen = record.lock();
                        seen.push((parts.uri.to_string(), parts.headers.clone()));
                        seen.len() - 1
                    };
                    let answer = answer(number, &parts);
                    async move { Ok::<_, Infallible>(answer) }
                });
                // The client may hang up at any time.
                connections.spawn(async move {
                    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { origin, seen, task }
    }

    /// Gives this to everybody.
    pub(super) async fn giving(content: Vec<u8>) -> Self {
        Self::start(move |_, _| whole(&content)).await
    }

    pub(super) fn origin(&self) -> String {
        self.origin.clone()
    }

    pub(super) fn url(&self, path: &str) -> Url {
        format!("{}{path}", self.origin).parse().unwrap()
    }

    /// A field of each request so far; empty where it was missing.
    pub(super) fn fields(&self, name: &str) -> Vec<String> {
        let seen = self.seen.lock();
        seen.iter()
            .map(|(_, fields)| fields.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default())
            .collect()
    }
}

/// All of it, with an entity tag.
pub(super) fn whole(content: &[u8]) -> Answer {
    let body = Full::new(Bytes::copy_from_slice(content)).map_err(|never| match never {}).boxed_unsync();
    Response::builder().header("etag", "\"one\"").body(body).unwrap()
}

/// The rest from this byte.
pub(super) fn rest(content: &[u8], first: usize, tag: &str) -> Answer {
    let mut answer = whole(&content[first..]);
    *answer.status_mut() = http::StatusCode::PARTIAL_CONTENT;
    let range = format!("bytes {first}-{}/{}", content.len() - 1, content.len());
    answer.headers_mut().insert("content-range", range.parse().unwrap());
    answer.headers_mut().insert("etag", tag.parse().unwrap());
    answer
}

/// As long as it says, or of unknown length, and then what comes.
pub(super) fn sending(length: Option<usize>, body: impl Body<Data = Bytes, Error = io::Error> + Send + 'static) -> Answer {
    let mut answer = Response::builder().header("etag", "\"one\"");
    if let Some(length) = length {
        answer = answer.header("content-length", length);
    }
    answer.body(body.boxed_unsync()).unwrap()
}

pub(super) fn redirect(to: &str) -> Answer {
    let mut answer = whole(b"");
    *answer.status_mut() = http::StatusCode::FOUND;
    answer.headers_mut().insert("location", to.parse().unwrap());
    answer
}

pub(super) fn status(code: u16) -> Answer {
    let mut answer = whole(b"no");
    *answer.status_mut() = code.try_into().unwrap();
    answer
}

/// This, and then the end of the connection, once this was sent.
pub(super) struct Cut {
    content: Option<Bytes>,
    waited: bool,
}

pub(super) fn cut(content: &[u8]) -> Cut {
    Cut { content: Some(Bytes::copy_from_slice(content)), waited: false }
}

impl Body for Cut {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.content.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            // While it waits, the connection sends what it has.
            None if !std::mem::replace(&mut self.waited, true) => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            None => Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into()))),
        }
    }
}

/// Zeros without an end.
pub(super) struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[0; 4096])))))
    }
}

/// A byte at a time, this often.
pub(super) struct Drip(pub(super) Pin<Box<tokio::time::Sleep>>, pub(super) Duration);

impl Drip {
    pub(super) fn every(pause: Duration) -> Self {
        Self(Box::pin(tokio::time::sleep(pause)), pause)
    }
}

impl Body for Drip {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        std::task::ready!(self.0.as_mut().poll(context));
        let next = tokio::time::Instant::now() + self.1;
        self.0.as_mut().reset(next);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
    }
}
