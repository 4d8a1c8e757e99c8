//! JSON of clouds.

use super::accounts::Secret;
use crate::config::write_cloud;
use ostler_core::clouds::{Origin, Tested};
use ostler_core::compute::CloudInfo;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

/// A cloud of this host.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Cloud {
    /// Its name.
    pub name: String,
    /// Its driver's name.
    pub driver: String,
    /// `configuration`, or `added` while the server ran.
    pub origin: String,
    /// `serving`, `degraded` (the latest check failed), `resting` (calls are refused for a while after a run of failures), or
    /// `unavailable` (no driver is loaded).
    pub state: String,
    /// Why, where it is not `serving`.
    pub reason: Option<String>,
    /// `sha256:<hex>` of the component that serves.
    pub digest: Option<String>,
    /// The provider kind, for machines.
    pub provider: Option<String>,
    /// The provider kind, for people.
    pub cloud_type: Option<String>,
    /// What the driver can do.
    pub features: Vec<String>,
    /// The provider's host, as the latest check found it.
    pub endpoint: Option<String>,
    /// How it is configured, for those who may see drivers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<CloudSettings>,
}

/// How a cloud is configured. Values of settings and secrets are not shown.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct CloudSettings {
    /// Origins that its driver may call.
    pub http: Vec<String>,
    /// The hypervisor that its driver may use.
    pub hypervisor: Option<String>,
    /// The keys of its settings.
    pub config: Vec<String>,
    /// The names of its secrets.
    pub secrets: Vec<String>,
}

/// All clouds of this host.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Clouds {
    /// By name.
    pub clouds: Vec<Cloud>,
}

/// A cloud that was added.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AddedCloud {
    /// The cloud.
    #[serde(flatten)]
    pub cloud: Cloud,
    /// What deserves a look.
    pub warnings: Vec<String>,
}

impl Cloud {
    /// As it is shown; `detailed` to those who may see how it is configured.
    pub fn new(info: CloudInfo, origin: Origin, detailed: bool) -> Self {
        let (state, reason) = match (&info.digest, &info.health) {
            (None, _) => ("unavailable", info.refused.clone()),
            (_, Some(Err(error))) if info.resting => ("resting", Some(error.to_string())),
            _ if info.resting => ("resting", Some("the latest calls failed".into())),
            (_, Some(Err(error))) => ("degraded", Some(error.to_string())),
            _ => ("serving", None),
        };
        let description = info.description.as_deref();
        let ostler_core::compute::Settings { http, hypervisor, config, secrets } = info.settings;
        Self {
            origin: origin.as_str().to_owned(),
            state: state.to_owned(),
            reason,
            digest: info.digest.clone(),
            provider: description.map(|d| d.provider.clone()),
            cloud_type: description.map(|d| d.cloud_type.clone()),
            features: description.map(|d| d.features.clone()).unwrap_or_default(),
            endpoint: info.health.as_ref().and_then(|health| health.as_ref().ok()?.endpoint.clone()),
            settings: detailed.then_some(CloudSettings { http, hypervisor, config, secrets }),
            name: info.name,
            driver: info.driver,
        }
    }
}

/// A cloud that is to be added. The members are the keys of a `[clouds.NAME]` table, with secrets and certificates themselves.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCloud {
    /// 1 to 64 letters, digits, `_`, `.` or `-`; stands in paths.
    pub name: String,
    /// The driver's name. It must be installed.
    pub driver: String,
    /// `warm` (default) or `fresh`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<String>,
    /// What the driver may use, such as `{"http": ["https://cloud.example:5000"]}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub grants: Option<Value>,
    /// What the driver reads; `ostler driver show NAME` tells its keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub config: Option<Value>,
    /// Bounds on the driver's calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub limits: Option<Value>,
    /// Whether deployments are placed there, and how willingly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub deployments: Option<Value>,
    /// What the driver may use of the hypervisor that it is granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub hypervisor: Option<Value>,
    /// What the driver reads and nobody else: texts by name. Never shown again.
    #[serde(default, deserialize_with = "secrets", skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = std::collections::HashMap<String, String>, write_only)]
    pub secrets: BTreeMap<String, Secret>,
    /// For the driver's own HTTPS, in PEM.
    #[serde(default, deserialize_with = "tls")]
    #[schema(write_only)]
    pub tls: NewTls,
    /// Whether the provider is asked first. True unless said otherwise.
    #[serde(default = "yes")]
    pub test: bool,
    /// Whether it is added although its provider does not answer as it should.
    #[serde(default)]
    pub force: bool,
}

/// Certificates and keys for a driver's HTTPS, in PEM.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTls {
    /// Authorities to trust instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The client's certificate chain. Needs `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Its private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub key: Option<Secret>,
}

fn yes() -> bool {
    true
}

fn secrets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Secret>, D::Error> {
    opaque(deserializer, "secrets is an object of texts: a secret is a text")
}

fn tls<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NewTls, D::Error> {
    opaque(deserializer, "tls is an object of the texts `ca`, `certificate` and `key`")
}

/// Reads what no message may repeat, as the library's own would.
fn opaque<'de, T: DeserializeOwned, D: Deserializer<'de>>(deserializer: D, wanted: &'static str) -> Result<T, D::Error> {
    serde_json::from_value(Value::deserialize(deserializer)?).map_err(|_| D::Error::custom(wanted))
}

impl NewCloud {
    /// The keys of its table that hold no secrets.
    pub fn settings(&self) -> Map<String, Value> {
        let text = |text: &String| Value::String(text.clone());
        let members = [
            ("driver", Some(text(&self.driver))),
            ("instances", self.instances.as_ref().map(text)),
            ("grants", self.grants.clone()),
            ("config", self.config.clone()),
            ("limits", self.limits.clone()),
            ("deployments", self.deployments.clone()),
            ("hypervisor", self.hypervisor.clone()),
        ];
        members.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
    }

    /// The cloud's file.
    ///
    /// # Errors
    /// What cannot be written down, by its key.
    pub fn document(&self) -> Result<String, String> {
        let secrets: Vec<&str> = self.secrets.keys().map(String::as_str).collect();
        let parts =
            [("ca", self.tls.ca.is_some()), ("certificate", self.tls.certificate.is_some()), ("key", self.tls.key.is_some())];
        let tls: Vec<&str> = parts.into_iter().filter(|(_, given)| *given).map(|(part, _)| part).collect();
        write_cloud(&self.name, &self.settings(), &secrets, &tls)
    }
}

/// What a removal does besides.
#[derive(Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Removal {
    /// Whether it is removed although something still needs it.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    pub force: bool,
    /// Whether its driver's durable state is deleted, too. Otherwise another cloud of this name finds it.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    pub purge: bool,
}

/// What a test of a cloud came to.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct CloudTest {
    /// The cloud.
    pub cloud: String,
    /// Whether all is well.
    pub healthy: bool,
    /// How long the driver took to answer.
    pub milliseconds: f64,
    /// The provider's host.
    pub endpoint: Option<String>,
    /// Whose credentials they are.
    pub account: Option<String>,
    /// The provider's version.
    pub version: Option<String>,
    /// What is not well.
    pub error: Option<CloudFailure>,
}

/// Why a cloud is not well.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct CloudFailure {
    /// The class, such as `unauthorized` or `transient`.
    pub class: String,
    /// In words.
    pub message: String,
}

impl CloudTest {
    /// As it is shown.
    pub fn new(cloud: String, tested: Tested) -> Self {
        let milliseconds = (tested.took.as_secs_f64() * 1e6).round() / 1e3;
        let (health, error) = match tested.health {
            Ok(health) => (Some(health), None),
            Err(error) => (None, Some(CloudFailure { class: error.kind.as_str().to_owned(), message: error.message })),
        };
        let (endpoint, account, version) =
            health.map(|health| (health.endpoint, health.account, health.provider_version)).unwrap_or_default();
        Self { cloud, healthy: error.is_none(), milliseconds, endpoint, account, version, error }
    }
}
