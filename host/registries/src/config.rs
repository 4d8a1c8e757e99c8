//! What the operator configures.

use std::time::Duration;

use ostler_egress::{AddressPolicy, ClientConfig, HostPattern, Origin, Scheme, Timeouts};
use serde::Serialize;
use url::Url;

use crate::error::{ConfigError, Registry};

/// Where the registries are and how much of them is accepted. The default has none.
#[derive(Clone, Debug)]
pub struct Config {
    /// Base URL of SLAM, such as `https://slam.example/rest/slam`. It is shown the users' tokens: https, or http on loopback.
    pub slam: Option<Url>,
    /// Base URL of the CMDB, such as `https://paas.example/cmdb`.
    pub cmdb: Option<Url>,
    /// Base URL of the cloud provider ranker.
    pub cpr: Option<Url>,
    /// Base URL of the Zabbix wrapper.
    pub monitoring: Option<Url>,
    /// Where the CMDB keeps images and flavors.
    pub holder: Holder,
    /// For one request and its whole answer.
    pub deadline: Duration,
    /// The largest answer in bytes.
    pub max_answer_bytes: u64,
    /// The most items that a list of an answer may have.
    pub max_items: usize,
    /// For how long answers of the CMDB are good. Zero: each is fetched anew.
    pub cache_ttl: Duration,
    /// How many bytes of answers of the CMDB are kept, of each kind.
    pub cache_bytes: u64,
    /// How the registries are reached: addresses, certificate authorities, timeouts. `allow` is set by this crate, to the origin
    /// of each registry; loopback addresses are reached if the base URL names one.
    pub client: ClientConfig,
}

impl Default for Config {
    /// No registry; images and flavors by tenant; 20 s, 8 MiB and 10,000 items; the CMDB's answers are good for a minute, 16 MiB
    /// of each kind are kept; addresses as for providers.
    fn default() -> Self {
        Self {
            slam: None,
            cmdb: None,
            cpr: None,
            monitoring: None,
            holder: Holder::Tenant,
            deadline: Duration::from_secs(20),
            max_answer_bytes: 8 << 20,
            max_items: 10_000,
            cache_ttl: Duration::from_secs(60),
            cache_bytes: 16 << 20,
            client: ClientConfig {
                addresses: AddressPolicy::PROVIDER,
                timeouts: Timeouts {
                    connect: Duration::from_secs(5),
                    first_byte: Duration::from_secs(15),
                    between_bytes: Duration::from_secs(5),
                },
                ..ClientConfig::default()
            },
        }
    }
}

/// To what the CMDB attaches images and flavors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Holder {
    /// To the tenants of a service (`/tenant/id/{t}/has_many/…`), of which the one of the user's organisation counts.
    #[default]
    Tenant,
    /// To the service itself (`/service/id/{s}/has_many/…`), as older ones do.
    Service,
}

/// Which registries are configured, with the members of `GET /configuration`. What is not configured is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Of the cloud provider ranker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpr_url: Option<String>,
    /// Of SLAM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slam_url: Option<String>,
    /// Of the CMDB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmdb_url: Option<String>,
    /// Of monitoring.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitoring_url: Option<String>,
}

impl Config {
    pub(crate) fn url(&self, registry: Registry) -> Option<&Url> {
        match registry {
            Registry::Slam => self.slam.as_ref(),
            Registry::Cmdb => self.cmdb.as_ref(),
            Registry::Cpr => self.cpr.as_ref(),
            Registry::Monitoring => self.monitoring.as_ref(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let limits = [
            ("the deadline", self.deadline.is_zero()),
            ("the largest answer", self.max_answer_bytes == 0),
            ("the number of items", self.max_items == 0),
        ];
        match limits.iter().find(|(_, zero)| *zero) {
            Some((what, _)) => Err(ConfigError::Zero(what)),
            None => Ok(()),
        }
    }
}

/// The base URL of a registry: its text without a slash at the end, and its origin.
pub(crate) struct Base {
    pub(crate) text: String,
    pub(crate) origin: Origin,
    pub(crate) loopback: bool,
}

pub(crate) fn base(registry: Registry, url: &Url) -> Result<Base, ConfigError> {
    let refuse = |why| Err(ConfigError::Url { registry, why });
    if !matches!(url.scheme(), "http" | "https") {
        return refuse("must begin with http:// or https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("contains credentials");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refuse("has a query or a fragment");
    }
    let Ok(origin) = url.origin().ascii_serialization().parse::<Origin>() else {
        return refuse("has no host that can be reached");
    };
    let loopback = match origin.host() {
        HostPattern::Name(name) => name == "localhost",
        HostPattern::Address(address) => address.is_loopback(),
        HostPattern::Below(_) => return refuse("has no host that can be reached"),
    };
    if registry == Registry::Slam && origin.scheme() != Scheme::Https && !loopback {
        return refuse("must begin with https://, since it is shown tokens (http:// is possible for a loopback address only)");
    }
    Ok(Base { text: url.as_str().trim_end_matches('/').to_owned(), origin, loopback })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn urls() {
        let cases = [
            (Registry::Slam, "https://slam.example/rest/slam", Ok("https://slam.example/rest/slam")),
            (Registry::Slam, "https://slam.example:8443/rest/slam/", Ok("https://slam.example:8443/rest/slam")),
            (Registry::Slam, "http://slam.example/", Err("https")),
            (Registry::Slam, "http://127.0.0.1:1/x", Ok("http://127.0.0.1:1/x")),
            (Registry::Slam, "http://[::1]:1/x", Ok("http://[::1]:1/x")),
            (Registry::Cpr, "http://cpr.example:8080", Ok("http://cpr.example:8080")),
            (Registry::Cmdb, "https://u:p@cmdb.example/", Err("credentials")),
            (Registry::Cmdb, "https://u@cmdb.example/", Err("credentials")),
            (Registry::Cmdb, "https://cmdb.example/?a=b", Err("query")),
            (Registry::Cmdb, "https://cmdb.example/#a", Err("fragment")),
            (Registry::Monitoring, "ftp://m.example/", Err("http")),
            (Registry::Monitoring, "file:///etc/passwd", Err("http")),
        ];
        for (registry, text, expected) in cases {
            match (base(registry, &text.parse().unwrap()), expected) {
                (Ok(base), Ok(text)) => assert_eq!(base.text, text),
                (Err(error), Err(word)) => {
                    let shown = error.to_string();
                    assert!(shown.contains(word) && shown.contains(&registry.to_string()), "{text}: {shown}");
                    assert!(!shown.contains("u:p"), "{shown}");
                }
                (Ok(base), Err(_)) => panic!("{text} is accepted as {}", base.text),
                (Err(error), Ok(_)) => panic!("{text}: {error}"),
            }
        }
    }

    #[test]
    fn limits() {
        assert_eq!(Config::default().check(), Ok(()));
        let zero = [
            Config { deadline: Duration::ZERO, ..Config::default() },
            Config { max_answer_bytes: 0, ..Config::default() },
            Config { max_items: 0, ..Config::default() },
        ];
        for config in zero {
            assert!(matches!(config.check(), Err(ConfigError::Zero(_))));
        }
    }
}
