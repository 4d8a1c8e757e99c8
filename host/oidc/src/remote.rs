//! Requests to an issuer.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Uri};
use ostler_egress::{Allow, Client, Origin, RequestBody, Scheme, empty, full};
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::form_urlencoded;

use crate::cached::Pause;
use crate::claims::Claims;
use crate::config::{ClientCredentials, IssuerConfig, LARGEST_ANSWER, is_loopback};
use crate::error::{ConfigError, Document, Problem, Unavailable};
use crate::issuers::Clock;

/// For one request and its whole answer, in seconds: an answer that trickles in is none.
const DEADLINE: u64 = 20;

/// An answer, whatever its status.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body as a JSON object.
    pub(crate) fn object(&self) -> Result<Claims, Problem> {
        match serde_json::from_slice(&self.body) {
            Ok(Value::Object(members)) => Ok(members),
            _ => Err(Problem::Answer("not a JSON object")),
        }
    }
}

/// The way to one issuer.
pub(crate) struct Remote {
    issuer: String,
    client: Client,
    /// Where requests may go, the issuer's own origin first.
    origins: Vec<Origin>,
    clock: Clock,
    introspection: Mutex<Pause>,
    userinfo: Mutex<Pause>,
    tokens: Mutex<Pause>,
}

impl Remote {
    pub(crate) fn new(config: &IssuerConfig, clock: Clock) -> Result<Self, ConfigError> {
        let origins = config.check()?;
        let mut settings = config.client.clone();
        settings.allow = Allow::Origins(origins.clone());
        settings.max_response_bytes = Some(settings.max_response_bytes.map_or(LARGEST_ANSWER, |limit| limit.min(LARGEST_ANSWER)));
        let issuer = config.issuer.clone();
        let client = Client::new(&issuer, &settings).map_err(|error| ConfigError::Client { issuer: issuer.clone(), error })?;
        let [introspection, userinfo, tokens] = std::array::from_fn(|_| Mutex::default());
        Ok(Self { issuer, client, origins, clock, introspection, userinfo, tokens })
    }

    pub(crate) fn unavailable(&self, document: Document, problem: impl Into<Problem>) -> Unavailable {
        Unavailable { issuer: self.issuer.clone(), document, problem: problem.into() }
    }

    /// The address of an endpoint that the discovery document names, if requests may go there.
    pub(crate) fn endpoint(&self, document: Document, url: Option<&str>) -> Result<Uri, Unavailable> {
        self.permitted(url).map_err(|problem| self.unavailable(document, problem))
    }

    fn permitted(&self, url: Option<&str>) -> Result<Uri, Problem> {
        let uri: Uri = url.ok_or(Problem::NotOffered)?.parse().map_err(|_| Problem::Insecure)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(Problem::Insecure);
        };
        // The origin alone: what else an authority can contain is refused with it.
        let origin: Origin = format!("{scheme}://{authority}").parse().map_err(|_| Problem::Insecure)?;
        let own_is_loopback = self.origins.first().is_some_and(is_loopback);
        if origin.scheme() != Scheme::Https && !(own_is_loopback && is_loopback(&origin)) {
            return Err(Problem::Insecure);
        }
        if !self.origins.iter().any(|allowed| allowed.matches(&uri)) {
            return Err(Problem::Origin { origin: origin.to_string() });
        }
        Ok(uri)
    }

    /// Gets a document, whose status has to be 200.
    pub(crate) async fn get(&self, document: Document, uri: Uri) -> Result<Answer, Unavailable> {
        let answer = self.send(document, request(Method::GET, uri, None, empty())).await?;
        match answer.status {
            200 => Ok(answer),
            status => Err(self.unavailable(document, Problem::Status(status))),
        }
    }

    /// Gets a document with a bearer token (RFC 6750, section 2.1).
    pub(crate) async fn get_with_token(&self, document: Document, uri: Uri, token: &str) -> Result<Answer, Unavailable> {
        let authorization = HeaderValue::try_from(format!("Bearer {token}")).ok();
        self.send_or_pause(document, request(Method::GET, uri, authorization, empty())).await
    }

    /// Posts a form as the client that we are (RFC 6749, section 2.3.1).
    pub(crate) async fn post(
        &self,
        document: Document,
        uri: Uri,
        credentials: &ClientCredentials,
        form: &[(&str, &str)],
    ) -> Result<Answer, Unavailable> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut request = request(Method::POST, uri, basic(&credentials.id, &credentials.secret), full(body));
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        self.send_or_pause(document, request).await
    }

    /// Sends a request on behalf of one token, unless others have just failed to get through.
    async fn send_or_pause(&self, document: Document, request: Request<RequestBody>) -> Result<Answer, Unavailable> {
        use ostler_egress::Error::{BadRequest, TooLarge};
        let pause = match document {
            Document::Introspection => &self.introspection,
            Document::Userinfo => &self.userinfo,
            Document::Tokens | Document::Discovery | Document::Keys => &self.tokens,
        };
        if let Some(error) = pause.lock().reason((self.clock)()) {
            return Err(error.clone());
        }
        let result = self.send(document, request).await;
        let failure = match &result {
            Ok(Answer { status: status @ (429 | 502..=504), .. }) => Some(self.unavailable(document, Problem::Status(*status))),
            // These depend on what was sent: nobody's token should stop those of others.
            Err(Unavailable { problem: Problem::Egress(TooLarge { .. } | BadRequest { .. }), .. }) | Ok(_) => None,
            Err(error) => Some(error.clone()),
        };
        let now = (self.clock)();
        match (failure, &result) {
            (Some(error), _) => {
                tracing::warn!(%error, "an issuer of tokens cannot be asked");
                pause.lock().failed(now, error.clone());
                Err(error)
            }
            (None, Ok(_)) => {
                pause.lock().succeeded();
                result
            }
            (None, Err(_)) => result,
        }
    }

    async fn send(&self, document: Document, request: Request<RequestBody>) -> Result<Answer, Unavailable> {
        let exchange = async {
            let (head, body) = self.client.send(request).await?.into_parts();
            Ok::<_, ostler_egress::Error>(Answer { status: head.status.as_u16(), body: body.bytes(LARGEST_ANSWER).await? })
        };
        let result = match tokio::time::timeout(Duration::from_secs(DEADLINE), exchange).await {
            Ok(result) => result.map_err(Problem::Egress),
            Err(_) => Err(Problem::Timeout(DEADLINE)),
        };
        result.map_err(|problem| self.unavailable(document, problem))
    }
}

fn request(method: Method, uri: Uri, authorization: Option<HeaderValue>, body: RequestBody) -> Request<RequestBody> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
    if let Some(mut authorization) = authorization {
        authorization.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, authorization);
    }
    request
}

/// Identifier and secret are encoded as in a form first, which is easily forgotten.
fn basic(id: &str, secret: &SecretString) -> Option<HeaderValue> {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encode(id), encode(secret.expose_secret()));
    HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))).ok()
}
