//! An issuer that answers what it is told to, and a clock that stands still.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use ostler_oidc::{ClientCredentials, Clock, Error, Identity, Invalid, IssuerConfig, Issuers, Problem};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::signers::Signer;

pub(crate) const DISCOVERY: &str = "/.well-known/openid-configuration";
pub(crate) const KEYS: &str = "/keys";
pub(crate) const INTROSPECTION: &str = "/introspect";
pub(crate) const USERINFO: &str = "/userinfo";
pub(crate) const TOKENS: &str = "/token";

/// The secret of the client that we are. It has what form encoding changes, and is looked for in all texts.
pub(crate) const SECRET: &str = "s3cr3t:+ %canary";

/// 2030-01-01, in seconds.
pub(crate) const START: i64 = 1_893_456_000;

pub(crate) const SECOND: i64 = 1_000_000;

/// Fails a test that hangs; no test depends on how much sooner it ends.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("took more than 30 s")
}

/// A clock that moves when it is told to.
#[derive(Clone)]
pub(crate) struct Time(Arc<AtomicI64>);

impl Time {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(START * SECOND)))
    }

    /// In microseconds.
    pub(crate) fn pass(&self, micros: i64) {
        self.0.fetch_add(micros, Ordering::SeqCst);
    }

    pub(crate) fn seconds(&self, seconds: i64) {
        self.pass(seconds * SECOND);
    }

    pub(crate) fn clock(&self) -> Clock {
        let time = Arc::clone(&self.0);
        Arc::new(move || time.load(Ordering::SeqCst))
    }
}

/// A request that an issuer received.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) authorization: String,
    pub(crate) body: String,
}

#[derive(Default)]
struct Behaviour {
    answers: Mutex<HashMap<String, (u16, String)>>,
    seen: Mutex<Vec<Seen>>,
    /// If there is one, each answer takes a permit.
    gate: Mutex<Option<Arc<Semaphore>>>,
}

/// An issuer on a loopback address.
pub(crate) struct Issuer {
    /// Its name, without a slash at the end.
    pub(crate) url: String,
    behaviour: Arc<Behaviour>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Issuer {
    /// An issuer with a discovery document and these keys.
    pub(crate) async fn start(keys: &[Value]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let behaviour = Arc::<Behaviour>::default();
        let served = Arc::clone(&behaviour);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let behaviour = Arc::clone(&served);
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&behaviour), request));
                    // The client may hang up at any time.
                    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        let issuer = Self { url, behaviour, task };
        issuer.answer(DISCOVERY, 200, &issuer.discovery());
        issuer.publish(keys);
        issuer
    }

    pub(crate) fn discovery(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.url);
        json!({
            "issuer": self.url,
            "jwks_uri": at(KEYS),
            "introspection_endpoint": at(INTROSPECTION),
            "userinfo_endpoint": at(USERINFO),
            "token_endpoint": at(TOKENS),
            "something_else": [1, { "two": 3 }],
        })
    }

    pub(crate) fn publish(&self, keys: &[Value]) {
        self.answer(KEYS, 200, &json!({ "keys": keys }));
    }

    pub(crate) fn answer(&self, path: &str, status: u16, body: &Value) {
        self.answer_text(path, status, &body.to_string());
    }

    pub(crate) fn answer_text(&self, path: &str, status: u16, body: &str) {
        self.behaviour.answers.lock().insert(path.to_owned(), (status, body.to_owned()));
    }

    /// Every answer takes a permit of this from now on.
    pub(crate) fn gate(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.behaviour.gate.lock() = Some(Arc::clone(&gate));
        gate
    }

    pub(crate) fn seen(&self, path: &str) -> Vec<Seen> {
        self.behaviour.seen.lock().iter().filter(|seen| seen.path == path).cloned().collect()
    }

    pub(crate) fn count(&self, path: &str) -> usize {
        self.seen(path).len()
    }

    /// How many requests it received in all.
    pub(crate) fn total(&self) -> usize {
        self.behaviour.seen.lock().len()
    }

    pub(crate) fn config(&self) -> IssuerConfig {
        IssuerConfig::new(&self.url, vec!["ostler".to_owned()])
    }

    pub(crate) fn config_with_client(&self) -> IssuerConfig {
        IssuerConfig { credentials: Some(client()), ..self.config() }
    }

    /// The claims of a good token, which lives for ten minutes.
    pub(crate) fn claims(&self) -> Value {
        json!({ "iss": self.url, "sub": "user-1", "aud": "ostler", "exp": START + 600, "scope": "openid profile" })
    }

    /// A good token of a key of P-256.
    pub(crate) fn token(&self, signer: &Signer, key: &str) -> String {
        signer.sign(&json!({ "alg": "ES256", "kid": key }), &self.claims())
    }
}

async fn answer(behaviour: Arc<Behaviour>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let authorization = head.headers.get("authorization").map_or("", |value| value.to_str().unwrap()).to_owned();
    let path = head.uri.path().to_owned();
    behaviour.seen.lock().push(Seen { path: path.clone(), authorization, body });
    let gate = behaviour.gate.lock().clone();
    if let Some(gate) = gate {
        gate.acquire().await.unwrap().forget();
    }
    let (status, body) = behaviour.answers.lock().get(&path).cloned().unwrap_or((404, "{}".to_owned()));
    let response = Response::builder().status(status).header("content-type", "application/json");
    Ok(response.body(Full::from(body)).unwrap())
}

pub(crate) fn client() -> ClientCredentials {
    ClientCredentials { id: "ostler client".to_owned(), secret: SECRET.into() }
}

/// What the client's credentials look like in a request, by RFC 6749, section 2.3.1.
pub(crate) fn basic() -> String {
    format!("Basic {}", STANDARD.encode("ostler+client:s3cr3t%3A%2B+%25canary"))
}

pub(crate) fn issuers(configs: Vec<IssuerConfig>, time: &Time) -> Issuers {
    Issuers::with_clock(configs, time.clock()).unwrap()
}

/// An issuer with one key of P-256, called `k`, and what checks its tokens.
pub(crate) struct Scene {
    pub(crate) issuer: Issuer,
    pub(crate) signer: Signer,
    pub(crate) time: Time,
    pub(crate) issuers: Issuers,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut IssuerConfig)) -> Self {
        let signer = Signer::p256();
        let issuer = Issuer::start(&[signer.jwk("k")]).await;
        let mut config = issuer.config_with_client();
        change(&mut config);
        let time = Time::new();
        let issuers = issuers(vec![config], &time);
        Self { issuer, signer, time, issuers }
    }

    pub(crate) fn token(&self) -> String {
        self.issuer.token(&self.signer, "k")
    }

    /// A good token but for these claims; those that are null are left out.
    pub(crate) fn token_with(&self, changes: &Value) -> String {
        let mut claims = self.issuer.claims();
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        self.signer.sign(&json!({ "alg": "ES256", "kid": "k" }), &claims)
    }

    pub(crate) async fn verify(&self, token: &str) -> Result<Arc<Identity>, Error> {
        verify(&self.issuers, token).await
    }

    pub(crate) async fn good(&self, token: &str) -> Arc<Identity> {
        self.verify(token).await.unwrap()
    }

    pub(crate) async fn invalid(&self, token: &str) -> Invalid {
        invalid(self.verify(token).await)
    }

    pub(crate) async fn unavailable(&self, token: &str) -> Problem {
        unavailable(self.verify(token).await)
    }
}

/// Verifies, and makes sure that nothing that comes of it shows the token or our secret.
pub(crate) async fn verify(issuers: &Issuers, token: &str) -> Result<Arc<Identity>, Error> {
    let result = within(issuers.verify(token)).await;
    let mut texts = vec![format!("{issuers:?}"), format!("{result:?}")];
    if let Err(error) = &result {
        texts.push(error.to_string());
    }
    for text in &texts {
        assert_shows_nothing(text, token);
    }
    result
}

/// Neither a token, nor a part of it, nor our secret.
pub(crate) fn assert_shows_nothing(text: &str, token: &str) {
    let parts = token.split('.').filter(|part| part.len() >= 8);
    for secret in parts.chain([SECRET, "canary"]) {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
}

pub(crate) fn invalid(result: Result<Arc<Identity>, Error>) -> Invalid {
    match result {
        Err(Error::Invalid(invalid)) => invalid,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn unavailable(result: Result<Arc<Identity>, Error>) -> Problem {
    match result {
        Err(Error::Unavailable(unavailable)) => unavailable.problem,
        other => panic!("{other:?}"),
    }
}
