//! Bodies: bounded in both directions.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::Sleep;

use crate::connect::OnRuntime;
use crate::error::{Error, Part, Wait};
use crate::meter::Ticket;

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request body of one type, for callers that choose between several. `send` takes any body.
pub type RequestBody = UnsyncBoxBody<Bytes, BoxError>;

/// No body.
#[must_use]
pub fn empty() -> RequestBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body that is at hand.
pub fn full(bytes: impl Into<Bytes>) -> RequestBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// What a request body tells the exchange it belongs to.
#[derive(Default)]
pub(crate) struct Progress {
    /// Signalled with every part that the connection takes.
    pub(crate) moved: Notify,
    /// Why the body ended early. The HTTP library reports it in words of its own, or not at all.
    pub(crate) failure: OnceLock<Error>,
}

/// A request body on its way out.
pub(crate) struct Outgoing {
    inner: RequestBody,
    sent: u64,
    limit: Option<u64>,
    progress: Arc<Progress>,
}

impl Outgoing {
    pub(crate) fn new(inner: RequestBody, limit: Option<u64>, progress: Arc<Progress>) -> Self {
        Self { inner, sent: 0, limit, progress }
    }

    fn fail(&self, error: Error) -> Error {
        self.progress.failure.get_or_init(|| error).clone()
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        self.progress.moved.notify_one();
        Poll::Ready(match frame {
            None => None,
            // The error's own text is the caller's and may say anything.
            Some(Err(_)) => Some(Err(self.fail(Error::bad_request("its body failed while it was sent")))),
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                self.sent = self.sent.saturating_add(length);
                match self.limit {
                    Some(limit) if self.sent > limit => Some(Err(self.fail(Error::TooLarge { what: Part::RequestBody, limit }))),
                    _ => Some(Ok(frame)),
                }
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A response body. It ends with an error when it grows beyond the client's limit or when nothing arrives for too long.
///
/// The exchange occupies its slot ([`ClientConfig::max_connections`](crate::ClientConfig::max_connections)) until the body has
/// ended or is dropped; a body that is dropped before its end costs its connection.
pub struct ResponseBody {
    /// `None` after the end or an error.
    open: Option<Open>,
    limit: Option<u64>,
    received: u64,
}

struct Open {
    incoming: Incoming,
    /// Runs while somebody waits; `waiting` says whether it does.
    timer: Pin<Box<Sleep>>,
    waiting: bool,
    between_bytes: Duration,
    origin: String,
    ticket: Ticket,
    _slot: OwnedSemaphorePermit,
}

impl ResponseBody {
    pub(crate) fn new(
        incoming: Incoming,
        origin: String,
        limit: Option<u64>,
        between_bytes: Duration,
        runtime: &OnRuntime,
        ticket: Ticket,
        slot: OwnedSemaphorePermit,
    ) -> Self {
        // A response without a body gives its slot back at once.
        let open = (!incoming.is_end_stream()).then(|| Open {
            incoming,
            timer: Box::pin(runtime.sleep_for(between_bytes)),
            waiting: false,
            between_bytes,
            origin,
            ticket,
            _slot: slot,
        });
        Self { open, limit, received: 0 }
    }

    /// The whole body, at most `limit` bytes of it or what the client allows, whichever is less.
    ///
    /// # Errors
    /// [`Error::TooLarge`] with the limit that was exceeded; whatever else ends the body early.
    pub async fn bytes(mut self, limit: u64) -> Result<Bytes, Error> {
        self.limit = Some(self.limit.map_or(limit, |own| own.min(limit)));
        Ok(self.collect().await?.to_bytes())
    }

    fn fail(&mut self, error: Error) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(mut open) = self.open.take() {
            open.ticket.failed(&error);
        }
        Poll::Ready(Some(Err(error)))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(open) = &mut self.open else {
            return Poll::Ready(None);
        };
        match Pin::new(&mut open.incoming).poll_frame(cx) {
            Poll::Pending => {
                if !open.waiting {
                    open.waiting = true;
                    let deadline = tokio::time::Instant::now().checked_add(open.between_bytes);
                    if let Some(deadline) = deadline {
                        open.timer.as_mut().reset(deadline);
                    }
                }
                ready!(open.timer.as_mut().poll(cx));
                self.fail(Error::Timeout { what: Wait::BetweenBytes })
            }
            Poll::Ready(None) => {
                self.open = None;
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                let error = Error::from_exchange(&error, &open.origin, None);
                self.fail(error)
            }
            Poll::Ready(Some(Ok(frame))) => {
                open.waiting = false;
                let ended = open.incoming.is_end_stream();
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                self.received = self.received.saturating_add(length);
                match self.limit {
                    Some(limit) if self.received > limit => self.fail(Error::TooLarge { what: Part::ResponseBody, limit }),
                    _ => {
                        if ended {
                            self.open = None;
                        }
                        Poll::Ready(Some(Ok(frame)))
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.open.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.open.as_ref().map_or_else(|| SizeHint::with_exact(0), |open| open.incoming.size_hint())
    }
}

impl std::fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseBody").field("received", &self.received).field("limit", &self.limit).finish_non_exhaustive()
    }
}
