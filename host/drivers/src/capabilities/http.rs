//! `wasi:http`: outgoing requests of a driver, through the cloud's own egress client and nothing else.

use http_body_util::BodyExt;
use ostler_egress::{Client, Error as Egress, Part, Timeouts, Wait};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

/// Origins that are remembered as refused.
const REFUSED: usize = 16;

/// Origins that a cloud's driver asked for and that it is not granted, for whoever configures it.
#[derive(Clone, Default)]
pub(crate) struct Refused(Arc<Mutex<BTreeSet<String>>>);

impl Refused {
    fn add(&self, origin: &str) {
        let mut origins = self.0.lock();
        if origins.len() < REFUSED {
            origins.insert(origin.to_owned());
        }
    }

    /// What was refused since this was last asked.
    pub(crate) fn take(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.0.lock())
    }
}

/// The way out for one instance.
pub(crate) struct Hooks {
    client: Option<Client>,
    refused: Refused,
    /// No request may wait longer than the call that makes it.
    longest: Duration,
    /// Resources that stay in the instance's table although the guest has given them away.
    kept: usize,
}

impl Hooks {
    pub(crate) fn new(client: Option<Client>, refused: Refused, longest: Duration) -> Self {
        Self { client, refused, longest, kept: 0 }
    }

    /// How many resources have stayed behind.
    pub(crate) fn kept(&self) -> usize {
        self.kept
    }
}

type Sent = Result<(http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>;

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _body_errors: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        // wasmtime-wasi-http 48 copies the options of a request and leaves what the guest handed over in the table.
        self.kept += usize::from(options.is_some());
        let (client, refused, longest) = (self.client.clone(), self.refused.clone(), self.longest);
        Box::new(async move {
            let client = client.ok_or(Error::HttpRequestDenied)?;
            let bound = |wanted: Option<Duration>| wanted.unwrap_or(longest).min(longest);
            let options = options.unwrap_or_default();
            let timeouts = Timeouts {
                connect: bound(options.connect_timeout),
                first_byte: bound(options.first_byte_timeout),
                between_bytes: bound(options.between_bytes_timeout),
            };
            let response = client.send_with(request, timeouts).await.map_err(|error| {
                if let Egress::Denied { origin } = &error {
                    refused.add(origin);
                }
                convert(&error)
            })?;
            let done: Box<dyn Future<Output = Result<(), Error>> + Send> = Box::new(async { Ok(()) });
            Ok((response.map(|body| body.map_err(|error| convert(&error)).boxed_unsync()), done))
        })
    }
}

/// The driver learns the class; what the operator needs to know goes to the log.
fn convert(error: &Egress) -> Error {
    if matches!(error, Egress::Denied { .. } | Egress::Address { .. }) {
        tracing::warn!(target: "driver", %error, "a driver's request was refused");
    } else {
        tracing::debug!(target: "driver", %error, "a driver's request failed");
    }
    match error {
        Egress::Denied { .. } => Error::HttpRequestDenied,
        Egress::Address { .. } => Error::DestinationIpProhibited,
        Egress::Resolve { .. } => Error::DnsError { rcode: None, info_code: None },
        Egress::Connect { kind: std::io::ErrorKind::ConnectionRefused, .. } => Error::ConnectionRefused,
        Egress::Connect { .. } => Error::DestinationUnavailable,
        Egress::Tls { certificate: true, .. } => Error::TlsCertificateError,
        Egress::Tls { .. } => Error::TlsProtocolError,
        Egress::Timeout { what: Wait::Slot } => Error::ConnectionLimitReached,
        Egress::Timeout { what: Wait::Connect } => Error::ConnectionTimeout,
        Egress::Timeout { what: Wait::BetweenBytes } => Error::ConnectionReadTimeout,
        Egress::Timeout { .. } => Error::HttpResponseTimeout,
        Egress::TooLarge { what: Part::RequestBody, limit } => Error::HttpRequestBodySize(Some(*limit)),
        Egress::TooLarge { limit, .. } => Error::HttpResponseBodySize(Some(*limit)),
        Egress::BadRequest { .. } => Error::HttpRequestUriInvalid,
        _ => Error::HttpProtocolError,
    }
}
