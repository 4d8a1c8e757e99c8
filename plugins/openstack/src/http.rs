//! Requests to the services of the catalog: with the token, a second time with a new one where the first is refused, and with
//! refusals turned into the contract's errors.

use std::time::Duration;

use ostler_driver::http::{Answer, Request, query};
use ostler_driver::{Context, Error, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::auth::{Service, Session};
use crate::config::Settings;
use crate::errors;
use crate::microversion::Microversion;

/// How long one exchange may last. A call of the driver makes several.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of the largest answer: a page of 1000 servers has about 1.6 MB.
const LIMIT: u64 = 8 << 20;
/// Pages after which a list counts as endless.
const MAX_PAGES: usize = 200;

/// The way to the cloud.
pub(crate) struct Api {
    pub(crate) ctx: Context,
    pub(crate) settings: Settings,
}

impl Api {
    /// A request to anywhere.
    pub(crate) fn request(&self, method: &str, url: impl Into<String>) -> Request<'_> {
        self.ctx.http().request(method, url).timeout(TIMEOUT).limit(LIMIT)
    }

    /// A request to a service; `path` begins with a slash and follows the endpoint.
    pub(crate) fn call(&self, method: &'static str, service: Service, path: impl Into<String>) -> Call<'_> {
        Call { api: self, method, service, path: path.into(), query: Vec::new(), body: None, microversion: None }
    }

    pub(crate) fn get(&self, service: Service, path: impl Into<String>) -> Call<'_> {
        self.call("GET", service, path)
    }

    pub(crate) fn post(&self, service: Service, path: impl Into<String>) -> Call<'_> {
        self.call("POST", service, path)
    }

    pub(crate) fn delete(&self, service: Service, path: impl Into<String>) -> Call<'_> {
        self.call("DELETE", service, path)
    }

    /// A key of the cache, of which values do not outlive the settings.
    pub(crate) fn cache_key(&self, what: &str) -> String {
        format!("{what}/{}", self.settings.fingerprint)
    }
}

/// A request to a service, being put together.
#[must_use = "nothing happens before it is sent"]
#[derive(Clone)]
pub(crate) struct Call<'a> {
    api: &'a Api,
    method: &'static str,
    service: Service,
    path: String,
    query: Vec<(String, String)>,
    body: Option<(&'static str, Vec<u8>)>,
    microversion: Option<Microversion>,
}

impl Call<'_> {
    pub(crate) fn query(mut self, key: &str, value: &str) -> Self {
        self.query.push((key.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn json_body(self, body: &Value) -> Self {
        self.bytes("application/json", body.to_string().into_bytes())
    }

    pub(crate) fn bytes(mut self, content_type: &'static str, bytes: Vec<u8>) -> Self {
        self.body = Some((content_type, bytes));
        self
    }

    /// Of Nova: what the request is written for. [`Api::microversion`] says what there is.
    pub(crate) fn microversion(mut self, version: Option<Microversion>) -> Self {
        self.microversion = version;
        self
    }

    /// Sends it, and again with a new token where the first is not accepted.
    pub(crate) fn send(self) -> Result<Answer> {
        let session = self.api.session()?;
        let first = self.exchange(&session)?;
        if first.status != 401 {
            return self.conclude(&session, first);
        }
        let session = self.api.renew(&session)?;
        let second = self.exchange(&session)?;
        self.conclude(&session, second)
    }

    pub(crate) fn json<T: DeserializeOwned>(self) -> Result<T> {
        let what = self.what();
        self.send()?.json().map_err(|error: Error| error.context(&what))
    }

    /// All pages of a list, as `page` reads them: the items of one, and the address of the next.
    pub(crate) fn pages<P: DeserializeOwned, T>(self, page: impl Fn(P) -> (Vec<T>, Option<String>)) -> Result<Vec<T>> {
        let (mut all, mut markers) = (Vec::new(), Vec::<String>::new());
        for _ in 0..MAX_PAGES {
            let call = match markers.last() {
                Some(marker) => self.clone().query("marker", marker),
                None => self.clone(),
            };
            let (items, next) = page(call.json()?);
            all.extend(items);
            match next.as_deref().and_then(marker) {
                None => return Ok(all),
                Some(marker) if markers.contains(&marker) => break,
                Some(marker) => markers.push(marker),
            }
        }
        Err(Error::Failed(format!("{}: the list does not end", self.what())))
    }

    fn what(&self) -> String {
        format!("{} {} {}", self.service.name(), self.method, self.path)
    }

    fn exchange(&self, session: &Session) -> Result<Answer> {
        let endpoint = session.endpoint(self.service)?;
        let mut request = self.api.request(self.method, format!("{endpoint}{}", self.path));
        request = request.header("accept", "application/json").header("x-auth-token", session.token.as_str());
        for (key, value) in &self.query {
            request = request.query(key, value);
        }
        if let Some(version) = self.microversion {
            // The older name is the only one that Nova reads before 2.27.
            request = request.header("openstack-api-version", format!("compute {version}"));
            request = request.header("x-openstack-nova-api-version", version.to_string());
        }
        if let Some((content_type, body)) = &self.body {
            request = request.body(content_type, body.clone());
        }
        request.answer()
    }

    fn conclude(&self, session: &Session, answer: Answer) -> Result<Answer> {
        if answer.is_success() {
            return Ok(answer);
        }
        let mut error = errors::of(self.service.name(), &answer, Some(&session.token));
        if answer.status == 406 && self.microversion.is_some() {
            // Nova was exchanged for another: the next call asks what it offers.
            self.api.forget_microversions();
            error = Error::Transient(error.message().to_owned());
        }
        let status = answer.status.to_string();
        let request_id = answer.header("x-openstack-request-id").unwrap_or_default();
        let fields = [("request", self.what()), ("status", status), ("request_id", request_id.to_owned())];
        self.api.ctx.log().debug(error.message(), &fields.each_ref().map(|(key, value)| (*key, value.as_str())));
        Err(error)
    }
}

/// The marker in the address of a next page. The address itself is not followed: it might lead elsewhere, with our token.
pub(crate) fn marker(address: &str) -> Option<String> {
    query(address).find(|(key, _)| key == "marker").map(|(_, value)| value).filter(|marker| !marker.is_empty())
}

/// A link of Nova, Neutron and Cinder.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Link {
    rel: String,
    href: String,
}

/// The address of the next page among links.
pub(crate) fn next(links: Vec<Link>) -> Option<String> {
    links.into_iter().find(|link| link.rel == "next").map(|link| link.href)
}
