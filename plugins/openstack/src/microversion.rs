//! Nova's microversions: each request names the one it is written for, or the nearest that the cloud has.

use std::fmt;
use std::time::Duration;

use ostler_driver::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::auth::Service;
use crate::http::Api;

/// How long it is believed what Nova offers. A 406 ends it, too.
const KEPT: Duration = Duration::from_secs(3600);

/// Two integers: 2.104 is later than 2.96.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Microversion(pub(crate) u16, pub(crate) u16);

/// Reading servers: the last in which a server's flavor has its identifier.
pub(crate) const SERVERS: Microversion = Microversion(2, 46);
/// Creating servers: the first that takes tags.
pub(crate) const CREATE: Microversion = Microversion(2, 52);
/// The first in which a network must be named, or `auto`.
pub(crate) const NETWORKS: Microversion = Microversion(2, 37);
/// Flavors: the first that shows extra specs.
pub(crate) const FLAVORS: Microversion = Microversion(2, 61);
/// Diagnostics: the first of one shape for all hypervisors.
pub(crate) const DIAGNOSTICS: Microversion = Microversion(2, 48);

impl Microversion {
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }
}

impl fmt::Display for Microversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

#[derive(Deserialize)]
struct Document {
    version: Offer,
}

/// Both texts are empty where there are no microversions.
#[derive(Deserialize)]
struct Offer {
    #[serde(default)]
    min_version: String,
    #[serde(default)]
    version: String,
}

impl Api {
    /// The wanted microversion or the nearest to it; none where Nova has none at all.
    pub(crate) fn microversion(&self, wanted: Microversion) -> Result<Option<Microversion>> {
        Ok(self.microversions()?.map(|(least, most)| wanted.clamp(least, most)))
    }

    /// The least and the most that Nova has.
    pub(crate) fn microversions(&self) -> Result<Option<(Microversion, Microversion)>> {
        let key = self.cache_key("microversions");
        if let Some(kept) = self.ctx.cache().get_json(&key) {
            return Ok(kept);
        }
        let document: Document = self.get(Service::ComputeVersion, "/").json()?;
        let offer = match (Microversion::parse(&document.version.min_version), Microversion::parse(&document.version.version)) {
            (Some(least), Some(most)) if least <= most => Some((least, most)),
            (None, None) => None,
            _ => return Err(Error::Failed("compute: its microversions cannot be read".to_owned())),
        };
        self.ctx.cache().set_json(&key, &offer, KEPT)?;
        Ok(offer)
    }

    pub(crate) fn forget_microversions(&self) {
        self.ctx.cache().delete(&self.cache_key("microversions"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_two_integers() {
        assert!(Microversion::parse("2.104") > Microversion::parse("2.96"));
        assert_eq!(Microversion::parse("2.96"), Some(Microversion(2, 96)));
        for text in ["", "2", "2.x", "2.96.1", "latest"] {
            assert_eq!(Microversion::parse(text), None, "{text}");
        }
        assert_eq!(CREATE.to_string(), "2.52");
    }
}
