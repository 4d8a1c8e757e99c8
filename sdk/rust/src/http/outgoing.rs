//! The client in a component: `wasi:http/outgoing-handler`.

use std::{
    io::{self, Read},
    time::{Duration, Instant},
};

use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest, RequestOptions, Scheme,
};
use wasip2::io::poll::{Pollable, poll};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

use super::{Outgoing, RawResponse, url};
use crate::imports::Imports;
use crate::{Error, Result};

impl Imports {
    pub(crate) fn http_send(&self, parts: &Outgoing) -> Result<RawResponse> {
        let deadline = Deadline(Instant::now() + parts.timeout);
        let request = build(parts)?;
        let body = request.body().map_err(|()| malformed("a body"))?;
        let answer = outgoing_handler::handle(request, Some(options(parts.timeout))).map_err(|code| refused(&code))?;
        send_body(body, &parts.body, &deadline)?;
        deadline.wait(&answer.subscribe())?;
        let response = match answer.get() {
            Some(Ok(Ok(response))) => response,
            Some(Ok(Err(code))) => return Err(refused(&code)),
            Some(Err(())) | None => return Err(Error::Transient("the answer was lost".into())),
        };
        let headers = response.headers();
        let text = |(name, value): (String, Vec<u8>)| Some((name, String::from_utf8(value).ok()?));
        let headers = headers.entries().into_iter().filter_map(text).collect();
        Ok(RawResponse { status: response.status(), headers, body: Box::new(Body::open(response, deadline)?) })
    }
}

fn build(parts: &Outgoing) -> Result<OutgoingRequest> {
    let (scheme, authority, path) = url::split(&parts.url).ok_or_else(|| malformed("the URL"))?;
    let fields = Fields::new();
    for (name, value) in &parts.headers {
        fields.append(name, value.as_bytes()).map_err(|_| malformed(&format!("the header `{name}`")))?;
    }
    if !parts.body.is_empty() {
        let length = parts.body.len().to_string();
        fields.set("content-length", &[length.into_bytes()]).map_err(|_| malformed("the length"))?;
    }
    let request = OutgoingRequest::new(fields);
    let method = match parts.method.as_str() {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "PATCH" => Method::Patch,
        "OPTIONS" => Method::Options,
        other => Method::Other(other.to_owned()),
    };
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    request.set_method(&method).map_err(|()| malformed("the method"))?;
    request.set_scheme(Some(&scheme)).map_err(|()| malformed("the scheme"))?;
    request.set_authority(Some(authority)).map_err(|()| malformed("the host"))?;
    request.set_path_with_query(Some(&path)).map_err(|()| malformed("the path"))?;
    Ok(request)
}

/// Hints for the host; the deadline here is what counts.
fn options(timeout: Duration) -> RequestOptions {
    let options = RequestOptions::new();
    let nanos = Some(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
    // A host need not know every one of them.
    let _ = options.set_connect_timeout(nanos);
    let _ = options.set_first_byte_timeout(nanos);
    let _ = options.set_between_bytes_timeout(nanos);
    options
}

fn send_body(body: OutgoingBody, bytes: &[u8], deadline: &Deadline) -> Result<()> {
    if !bytes.is_empty() {
        let stream = body.write().map_err(|()| malformed("a body"))?;
        match write_all(&stream, bytes, deadline) {
            // The provider may answer before it has read everything, and that answer is what the caller wants.
            Ok(()) | Err(None) => {}
            Err(Some(error)) => return Err(error),
        }
    }
    // Fails where the connection did, which the answer tells better.
    let _ = OutgoingBody::finish(body, None);
    Ok(())
}

/// Writes everything; an error without content where the other side has stopped reading.
fn write_all(stream: &OutputStream, mut bytes: &[u8], deadline: &Deadline) -> Result<(), Option<Error>> {
    while !bytes.is_empty() {
        let room = stream.check_write().map_err(|_| None)?;
        let now = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        if now == 0 {
            deadline.wait(&stream.subscribe()).map_err(Some)?;
            continue;
        }
        let (part, rest) = bytes.split_at(now);
        stream.write(part).map_err(|_| None)?;
        bytes = rest;
    }
    stream.flush().map_err(|_| None)?;
    deadline.wait(&stream.subscribe()).map_err(Some)?;
    stream.check_write().map(|_| ()).map_err(|_| None)
}

/// When an exchange must be over.
struct Deadline(Instant);

impl Deadline {
    fn wait(&self, what: &Pollable) -> Result<()> {
        if what.ready() {
            return Ok(());
        }
        let left = self.0.saturating_duration_since(Instant::now());
        let timer = subscribe_duration(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX));
        if poll(&[what, &timer]).contains(&0) {
            return Ok(());
        }
        Err(Error::Transient("no answer in time".into()))
    }
}

/// Bytes of a body that cross at once: the host hands them over in a buffer of its own.
const PORTION: usize = 64 * 1024;

/// A body that is being read. The fields are dropped in this order: a stream must go before its body.
struct Body {
    stream: InputStream,
    _body: IncomingBody,
    _response: IncomingResponse,
    deadline: Deadline,
}

impl Body {
    fn open(response: IncomingResponse, deadline: Deadline) -> Result<Self> {
        let lost = || Error::Transient("the body was lost".into());
        let body = response.consume().map_err(|()| lost())?;
        let stream = body.stream().map_err(|()| lost())?;
        Ok(Self { stream, _body: body, _response: response, deadline })
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let room = buffer.len().min(PORTION);
        loop {
            match self.stream.read(room as u64) {
                Ok(bytes) if bytes.is_empty() => {
                    self.deadline.wait(&self.stream.subscribe()).map_err(|error| io::Error::other(error.message().to_owned()))?;
                }
                Ok(bytes) => {
                    let read = bytes.len().min(buffer.len());
                    buffer[..read].copy_from_slice(&bytes[..read]);
                    return Ok(read);
                }
                Err(StreamError::Closed) => return Ok(0),
                Err(StreamError::LastOperationFailed(error)) => return Err(io::Error::other(error.to_debug_string())),
            }
        }
    }
}

fn malformed(what: &str) -> Error {
    Error::Failed(format!("{what} cannot be sent"))
}

/// What will not change by trying again has failed; connections come and go.
fn refused(code: &ErrorCode) -> Error {
    let text = match code {
        ErrorCode::InternalError(Some(text)) => text.clone(),
        ErrorCode::HttpRequestDenied => {
            "the host does not allow this connection; the operator grants origins per cloud".to_owned()
        }
        code => format!("{code:?}"),
    };
    match code {
        ErrorCode::HttpRequestDenied
        | ErrorCode::DestinationIpProhibited
        | ErrorCode::HttpRequestUriInvalid
        | ErrorCode::HttpRequestUriTooLong
        | ErrorCode::HttpRequestMethodInvalid
        | ErrorCode::HttpRequestLengthRequired
        | ErrorCode::HttpRequestBodySize(_)
        | ErrorCode::HttpRequestHeaderSectionSize(_)
        | ErrorCode::HttpRequestHeaderSize(_)
        | ErrorCode::HttpResponseBodySize(_)
        | ErrorCode::HttpResponseHeaderSectionSize(_)
        | ErrorCode::HttpResponseHeaderSize(_)
        | ErrorCode::TlsProtocolError
        | ErrorCode::TlsCertificateError
        | ErrorCode::TlsAlertReceived(_)
        | ErrorCode::ConfigurationError => Error::Failed(text),
        _ => Error::Transient(text),
    }
}
