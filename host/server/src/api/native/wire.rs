//! JSON of our own API.

pub mod accounts;
pub mod clouds;
pub mod data_events;
pub mod work;

use ostler_core::drivers::{DriverInfo, Installed};
use ostler_store::DriverVersion;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A component that serves or served a driver name.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// A number that grows with every installation.
    pub id: i64,
    /// `sha256:<hex>` of the component.
    pub digest: String,
    /// How it came to serve: `builtin`, `directory`, `upload` or `rollback`.
    pub source: String,
    /// When, RFC 3339.
    pub installed_at: String,
    /// Who did it.
    pub installed_by: String,
    /// What the component says of itself, its contract version, imports, size in bytes, and whether it is signed.
    pub about: Value,
}

/// A driver name and what serves it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Driver {
    /// The name that clouds refer to.
    pub name: String,
    /// What serves; none where nothing is installed.
    pub active: Option<Version>,
    /// The clouds that use it.
    pub clouds: Vec<String>,
    /// Whether the program brings one of this name along.
    pub builtin: bool,
}

/// All driver names.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Drivers {
    /// By name.
    pub drivers: Vec<Driver>,
}

/// A driver name with its history.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct DriverHistory {
    /// The driver.
    #[serde(flatten)]
    pub driver: Driver,
    /// What served, the latest first.
    pub history: Vec<Version>,
}

/// What a change of versions came to.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// The driver's name.
    pub driver: String,
    /// What serves now.
    pub active: Version,
    /// Whether that is another component than before.
    pub changed: bool,
}

/// Where to go back to.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// `sha256:<hex>` of an earlier version; none for the one that served before.
    #[serde(default)]
    pub digest: Option<String>,
}

impl From<DriverVersion> for Version {
    fn from(version: DriverVersion) -> Self {
        Self {
            id: version.id,
            digest: version.digest,
            source: version.source.as_str().to_owned(),
            installed_at: time(version.installed_at),
            installed_by: version.installed_by,
            about: version.description,
        }
    }
}

impl From<DriverInfo> for Driver {
    fn from(info: DriverInfo) -> Self {
        Self { name: info.name, active: info.active.map(Into::into), clouds: info.clouds, builtin: info.builtin }
    }
}

impl From<Installed> for Change {
    fn from(installed: Installed) -> Self {
        Self { driver: installed.version.driver.clone(), active: installed.version.into(), changed: installed.changed }
    }
}

/// Microseconds since 1970 as RFC 3339.
fn time(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros).map(|time| time.to_string()).unwrap_or_default()
}
