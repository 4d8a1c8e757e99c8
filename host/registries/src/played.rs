//! Registries on a loopback address that answer what a test tells them to.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use url::Url;

use crate::config::Config;

/// What is answered to a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// 200 with JSON.
    Json(Value),
    /// A status and a body, of which the header says that it is JSON.
    Text(u16, String),
    /// 302 to this address.
    Redirect(String),
    /// Nothing: the request is taken and never answered.
    Silence,
    /// 200, a head that announces twice as much, this body, and the end of the connection.
    Cut(String),
    /// 200 and a body without an end.
    Endless,
}

/// A request that was received.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `GET`, `POST`.
    pub method: String,
    /// With the query.
    pub path: String,
    /// The field `Authorization`; empty if there was none.
    pub authorization: String,
    /// The body as text.
    pub body: String,
}

#[derive(Default)]
struct Behaviour {
    answers: Mutex<HashMap<String, Answer>>,
    seen: Mutex<Vec<Seen>>,
}

/// The four registries, each below a path of its own: `/slam`, `/cmdb`, `/cpr`, `/monitoring`. What has no answer is 404.
pub struct Played {
    /// Without a slash at the end.
    pub url: String,
    behaviour: Arc<Behaviour>,
    task: JoinHandle<()>,
}

impl Drop for Played {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Played {
    /// Starts without any answer, on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let behaviour = Arc::<Behaviour>::default();
        let task = tokio::spawn(serve(listener, Arc::clone(&behaviour)));
        Ok(Self { url, behaviour, task })
    }

    /// A configuration with all four registries here, and nothing kept.
    #[must_use]
    pub fn config(&self) -> Config {
        let at = |path: &str| Url::parse(&format!("{}{path}", self.url)).ok();
        Config {
            slam: at("/slam"),
            cmdb: at("/cmdb"),
            cpr: at("/cpr"),
            monitoring: at("/monitoring"),
            cache_ttl: Duration::ZERO,
            ..Config::default()
        }
    }

    /// What is answered from now on to requests for a path, query included.
    pub fn answer(&self, path: &str, answer: Answer) {
        self.behaviour.answers.lock().insert(path.to_owned(), answer);
    }

    /// 200 with JSON to requests for a path, query included.
    pub fn json(&self, path: &str, body: Value) {
        self.answer(path, Answer::Json(body));
    }

    /// No path has an answer any more.
    pub fn forget(&self) {
        self.behaviour.answers.lock().clear();
    }

    /// All requests so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.behaviour.seen.lock().clone()
    }

    /// How many requests there were for a path, query included.
    #[must_use]
    pub fn count(&self, path: &str) -> usize {
        self.behaviour.seen.lock().iter().filter(|seen| seen.path == path).count()
    }

    /// The agreements of a customer.
    pub fn agreements(&self, customer: &str, body: Value) {
        self.json(&format!("/slam/preferences/{customer}"), body);
    }

    /// A provider with its services: `(id, data)` each.
    pub fn provider(&self, id: &str, name: &str, services: &[(&str, Value)]) {
        self.json(&format!("/cmdb/provider/id/{id}?include_docs=true"), document(id, "provider", &json!({ "name": name })));
        self.rows(&format!("/cmdb/provider/id/{id}/has_many/services"), "service", services);
    }

    /// The tenants of a service: `(id, data)` each.
    pub fn tenants(&self, service: &str, tenants: &[(&str, Value)]) {
        self.rows(&format!("/cmdb/service/id/{service}/has_many/tenants"), "tenant", tenants);
    }

    /// Images and flavors of a tenant: `(id, data)` each.
    pub fn holdings(&self, tenant: &str, images: &[(&str, Value)], flavors: &[(&str, Value)]) {
        self.rows(&format!("/cmdb/tenant/id/{tenant}/has_many/images"), "image", images);
        self.rows(&format!("/cmdb/tenant/id/{tenant}/has_many/flavors"), "flavor", flavors);
    }

    /// Any list of the CMDB, without the query.
    pub fn rows(&self, path: &str, kind: &str, documents: &[(&str, Value)]) {
        let row =
            |(id, data): &(&str, Value)| json!({ "id": id, "key": [path, kind], "value": {}, "doc": document(id, kind, data) });
        let rows: Vec<_> = documents.iter().map(row).collect();
        self.json(&format!("{path}?include_docs=true"), json!({ "total_rows": 264, "offset": 7, "rows": rows }));
    }

    /// What monitoring says of a provider: for each machine the value of its metrics by name.
    pub fn metrics(&self, provider: &str, machines: &[(&str, &[(&str, f64)])]) {
        let metric = |(name, value): &(&str, f64)| {
            json!({
                "metricName": name, "metricKey": format!("Cloud_Providers.{provider}..{name}"), "metricValue": value,
                "metricTime": "01-02-2021 10:00:00", "metricUnit": "bit", "paasThresholds": [], "historyClocks": [],
                "historyValues": [],
            })
        };
        let machine = |(name, metrics): &(&str, &[(&str, f64)])| {
            let metrics: Vec<_> = metrics.iter().map(metric).collect();
            json!({
                "machineName": name, "ip": "127.0.0.1", "serviceCategory": "org.openstack.nova", "serviceId": "ID",
                "services": [{ "serviceName": "", "paasMetrics": metrics }],
            })
        };
        let machines: Vec<_> = machines.iter().map(machine).collect();
        let group = json!({ "groupName": "Cloud_Providers", "paasMachines": machines });
        let path = format!("/monitoring/monitoring/adapters/zabbix/zones/indigo/types/infrastructure/groups/{provider}");
        self.json(&path, json!({ "meta": { "status": 200, "additionalProperties": {} }, "result": { "groups": [group] } }));
    }

    /// What the ranker answers: `(provider, service)`, the best first.
    pub fn ranks(&self, services: &[(&str, &str)]) {
        let rank = |(place, (provider, service)): (usize, &(&str, &str))| {
            json!({
                "provider": provider, "service_id": service, "rank": place + 1, "ranked": true,
                "total_score": 1.0 / (place as f64 + 1.0), "error_reason": "",
            })
        };
        self.json("/cpr/rank", services.iter().enumerate().map(rank).collect());
    }
}

fn document(id: &str, kind: &str, data: &Value) -> Value {
    json!({ "_id": id, "_rev": "1-0", "type": kind, "data": data })
}

async fn serve(listener: TcpListener, behaviour: Arc<Behaviour>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let behaviour = Arc::clone(&behaviour);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&behaviour), request));
            // The client may hang up at any time.
            let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(behaviour: Arc<Behaviour>, request: Request<Incoming>) -> Result<Response<Outgoing>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let path = head.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let authorization = head.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    behaviour.seen.lock().push(Seen {
        method: head.method.to_string(),
        path: path.clone(),
        authorization: authorization.to_owned(),
        body: String::from_utf8_lossy(&body).into_owned(),
    });
    let answer = behaviour.answers.lock().get(&path).cloned().unwrap_or_else(|| Answer::Text(404, "{}".to_owned()));
    let (status, body, location, announced) = match answer {
        Answer::Json(value) => (200, Content::text(&value.to_string()), None, None),
        Answer::Text(status, text) => (status, Content::text(&text), None, None),
        Answer::Redirect(to) => (302, Content::text(""), Some(to), None),
        Answer::Silence => std::future::pending().await,
        Answer::Cut(text) => (200, Content::Cut(Some(Bytes::from(text.clone()))), None, Some(text.len() * 2)),
        Answer::Endless => (200, Content::Endless, None, None),
    };
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(to) = location.and_then(|to| HeaderValue::try_from(to).ok()) {
        response.headers_mut().insert(LOCATION, to);
    }
    if let Some(length) = announced {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(response)
}

type Outgoing = UnsyncBoxBody<Bytes, io::Error>;

enum Content {
    Whole(Option<Bytes>),
    Cut(Option<Bytes>),
    Endless,
}

impl Content {
    fn text(text: &str) -> Self {
        Self::Whole(Some(Bytes::from(text.to_owned())))
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(match &mut *self {
            Self::Whole(bytes) => bytes.take().map(|bytes| Ok(Frame::data(bytes))),
            Self::Cut(bytes) => Some(bytes.take().map(Frame::data).ok_or_else(|| io::ErrorKind::BrokenPipe.into())),
            Self::Endless => Some(Ok(Frame::data(Bytes::from_static(&[b' '; 8192])))),
        })
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Cut(_) | Self::Endless => SizeHint::default(),
        }
    }
}
