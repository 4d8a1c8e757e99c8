//! Keystone: tokens and the catalog that comes with them.
//!
//! A token is kept in the `cache` capability and renewed a while before it expires; instances share it. A service that refuses
//! it makes the driver authenticate anew, once per request.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ostler_driver::{Error, Result, time};
use serde::{Deserialize, Serialize};

use crate::errors;
use crate::http::Api;

/// A token is not used for the last two minutes of its life, or for the last tenth of a short one.
const MARGIN: Duration = Duration::from_secs(120);

/// A service of the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Service {
    Compute,
    /// Where Nova describes its versions; not in the catalog.
    ComputeVersion,
    Image,
    Network,
    Volume,
}

impl Service {
    /// Those of the catalog.
    const ALL: [Self; 4] = [Self::Compute, Self::Image, Self::Network, Self::Volume];

    /// What it is called in texts.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Compute | Self::ComputeVersion => "compute",
            Self::Image => "image",
            Self::Network => "network",
            Self::Volume => "block-storage",
        }
    }

    /// Its types in catalogs, the best first.
    fn types(self) -> &'static [&'static str] {
        match self {
            Self::Compute | Self::ComputeVersion => &["compute"],
            Self::Image => &["image"],
            Self::Network => &["network"],
            Self::Volume => &["block-storage", "volumev3"],
        }
    }

    /// The address below which the API of the wanted version is: catalogs name some services without version.
    fn address(self, url: &str) -> String {
        let url = url.trim_end_matches('/');
        if url.split('/').skip(3).any(is_version) {
            return url.to_owned();
        }
        let version = match self {
            Self::Compute | Self::ComputeVersion => "v2.1",
            Self::Image => "v2",
            Self::Network => "v2.0",
            Self::Volume => "v3",
        };
        format!("{url}/{version}")
    }
}

/// Whether a part of a path names a version: `v2`, `v2.1`.
fn is_version(part: &str) -> bool {
    part.strip_prefix('v').is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_ascii_digit()) && rest.chars().all(|c| c.is_ascii_digit() || c == '.')
    })
}

/// A token and what it opens. No `Debug`: it is a credential.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) token: String,
    pub(crate) user: String,
    pub(crate) project: String,
    pub(crate) project_id: String,
    endpoints: BTreeMap<String, String>,
    /// What the catalog lacks, for people.
    catalog: String,
}

impl Session {
    pub(crate) fn has(&self, service: Service) -> bool {
        self.endpoints.contains_key(service.name())
    }

    /// The address of a service, without a slash at its end.
    pub(crate) fn endpoint(&self, service: Service) -> Result<String> {
        let found = self.endpoints.get(service.name());
        let url =
            found.ok_or_else(|| Error::Unsupported(format!("the catalog has no {} of `{}`", self.catalog, service.name())))?;
        if service != Service::ComputeVersion {
            return Ok(url.clone());
        }
        // The document stands before a project's identifier.
        let mut parts: Vec<&str> = url.split('/').collect();
        if let Some(at) = parts.iter().rposition(|part| is_version(part)) {
            parts.truncate(at + 1);
        }
        Ok(parts.join("/"))
    }
}

#[derive(Deserialize)]
struct Body {
    token: Token,
}

#[derive(Deserialize)]
struct Token {
    expires_at: String,
    issued_at: String,
    user: Named,
    project: Option<Named>,
    #[serde(default)]
    catalog: Vec<Entry>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    interface: String,
    region: Option<String>,
    region_id: Option<String>,
    url: String,
}

impl Endpoint {
    fn region(&self) -> Option<&str> {
        self.region_id.as_deref().or(self.region.as_deref())
    }
}

impl Api {
    /// The session that is kept, or a new one.
    pub(crate) fn session(&self) -> Result<Session> {
        match self.ctx.cache().get_json(&self.cache_key("session")) {
            Some(session) => Ok(session),
            None => self.authenticate(),
        }
    }

    /// A session instead of one that a service refused. Another instance may have renewed it already.
    pub(crate) fn renew(&self, refused: &Session) -> Result<Session> {
        match self.ctx.cache().get_json::<Session>(&self.cache_key("session")) {
            Some(session) if session.token != refused.token => Ok(session),
            _ => {
                self.ctx.cache().delete(&self.cache_key("session"));
                self.authenticate()
            }
        }
    }

    /// A new session, whatever is kept.
    pub(crate) fn authenticate(&self) -> Result<Session> {
        let url = format!("{}/auth/tokens", self.settings.auth_url);
        let request = self.request("POST", url).header("accept", "application/json");
        let answer = request.body("application/json", self.settings.auth_request().to_string()).answer()?;
        if !answer.is_success() {
            let error = errors::of("identity", &answer, None);
            return Err(match error {
                // A deleted application credential does not exist any more; so says Keystone, in JSON.
                Error::NotFound(text) if self.settings.uses_application_credential() && answer.body.starts_with(b"{") => {
                    Error::Unauthorized(text)
                }
                Error::NotFound(text) => Error::Invalid(format!("setting `auth_url`: no Keystone v3 there: {text}")),
                error => error,
            });
        }
        let token = answer.header("x-subject-token").filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| Error::Failed("identity: a token without X-Subject-Token".to_owned()))?.to_owned();
        let Body { token: body } = answer.json().map_err(|error: Error| error.context("identity"))?;
        let life = match (time::parse(&body.issued_at), time::parse(&body.expires_at)) {
            (Some(issued), Some(expires)) => Duration::from_micros(expires.saturating_sub(issued)),
            _ => return Err(Error::Failed("identity: a token whose times cannot be read".to_owned())),
        };
        let session = self.open(token, body)?;
        // By the difference of Keystone's two times, so that our clock does not matter.
        let kept = life.saturating_sub(MARGIN.min(life / 10));
        self.ctx.cache().set_json(&self.cache_key("session"), &session, kept)?;
        Ok(session)
    }

    fn open(&self, token: String, body: Token) -> Result<Session> {
        let Some(project) = body.project else {
            return Err(Error::Invalid("identity: the token is for no project; set `project_name` or `project_id`".to_owned()));
        };
        let (interface, region) = (&self.settings.interface, self.settings.region.as_deref());
        let mut endpoints = BTreeMap::new();
        for service in Service::ALL {
            let of_type = |kind: &&str| body.catalog.iter().find(|entry| entry.kind == **kind);
            let Some(entry) = service.types().iter().find_map(of_type) else { continue };
            let fits = |endpoint: &&Endpoint| {
                endpoint.interface == *interface && region.is_none_or(|region| endpoint.region() == Some(region))
            };
            let found: Vec<&Endpoint> = entry.endpoints.iter().filter(fits).collect();
            let regions: BTreeSet<_> = found.iter().filter_map(|endpoint| endpoint.region()).collect();
            if regions.len() > 1 {
                let regions: Vec<_> = regions.into_iter().collect();
                return Err(Error::Invalid(format!("setting `region` is missing: the catalog has {}", regions.join(", "))));
            }
            if let Some(endpoint) = found.first() {
                endpoints.insert(service.name().to_owned(), service.address(&endpoint.url));
            }
        }
        let catalog = match region {
            Some(region) => format!("{interface} endpoint in region `{region}`"),
            None => format!("{interface} endpoint"),
        };
        let user = body.user.name;
        Ok(Session { token, user, project: project.name, project_id: project.id, endpoints, catalog })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_carry_a_version() {
        for (service, url, address) in [
            (Service::Compute, "http://c:8774/v2.1", "http://c:8774/v2.1"),
            (Service::Compute, "http://c:8774/v2.1/abc/", "http://c:8774/v2.1/abc"),
            (Service::Compute, "https://c/compute", "https://c/compute/v2.1"),
            (Service::Image, "http://v2.example:9292", "http://v2.example:9292/v2"),
            (Service::Image, "http://i:9292/v2/", "http://i:9292/v2"),
            (Service::Network, "http://n:9696/", "http://n:9696/v2.0"),
            (Service::Volume, "http://b:8776/v3/p", "http://b:8776/v3/p"),
            (Service::Volume, "http://b/volume", "http://b/volume/v3"),
        ] {
            assert_eq!(service.address(url), address);
        }
    }

    #[test]
    fn the_version_document_stands_before_a_project() {
        for (url, root) in [("http://c/v2.1", "http://c/v2.1"), ("http://c/v2.1/abc", "http://c/v2.1")] {
            let session = Session {
                token: String::new(),
                user: String::new(),
                project: String::new(),
                project_id: String::new(),
                endpoints: BTreeMap::from([("compute".to_owned(), url.to_owned())]),
                catalog: "public endpoint".to_owned(),
            };
            assert_eq!(session.endpoint(Service::ComputeVersion), Ok(root.to_owned()));
            assert_eq!(session.endpoint(Service::Image).map_err(|error| error.class().to_owned()), Err("unsupported".to_owned()));
        }
    }
}
