//! OpenStack's `clouds.yaml`, as openstacksdk reads it, and what of it the driver `openstack` needs. No message repeats a value:
//! any of them may be a secret that stands in the wrong place.

use secrecy::SecretString;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;
use url::Url;

/// Bytes of the largest file.
pub(super) const LARGEST: u64 = 1 << 20;

/// How `auth` says who comes. What is not here would change whose account it is, so it is refused and not passed over.
const AUTH: [&str; 23] = [
    "auth_url",
    "username",
    "user_id",
    "password",
    "user_domain_name",
    "user_domain_id",
    "project_name",
    "project_id",
    "project_domain_name",
    "project_domain_id",
    "tenant_name",
    "tenant_id",
    "default_domain",
    "default_domain_name",
    "default_domain_id",
    "application_credential_id",
    "application_credential_name",
    "application_credential_secret",
    "domain_id",
    "domain_name",
    "system_scope",
    "trust_id",
    "token",
];
/// Those of them that the driver cannot do.
const OTHER_SCOPES: [&str; 5] = ["domain_id", "domain_name", "system_scope", "trust_id", "token"];
/// What else is read here.
const READ: [&str; 11] =
    ["auth", "auth_type", "region_name", "regions", "interface", "endpoint_type", "cacert", "cert", "key", "verify", "insecure"];
/// What says nothing that matters.
const IDLE: [&str; 2] = ["identity_api_version", "image_api_version"];

/// One region of a cloud.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// The region, where there is one.
    pub(super) region: Option<String>,
    /// The driver's settings.
    pub(super) config: Map<String, Value>,
    pub(super) secrets: BTreeMap<String, SecretString>,
    /// The secret that the driver needs.
    pub(super) needs: &'static str,
    /// Where Keystone is: `https://host:port`.
    pub(super) origin: String,
    pub(super) ca: Option<PathBuf>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    /// Keys that mean nothing to the driver.
    pub(super) unused: Vec<String>,
}

/// Reads a file's text.
///
/// # Errors
/// Where it is not YAML.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        // Names may be `n` and `on`.
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        budget: serde_saphyr::budget! {
            max_events: 50_000, max_nodes: 20_000, max_depth: 32, max_documents: 1, max_aliases: 100, max_anchors: 100,
            max_merge_keys: 100, max_total_scalar_bytes: 1 << 20,
        },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| match error.location() {
        Some(place) => format!("line {}, column {}: this cannot be read as YAML", place.line(), place.column()),
        None => "this cannot be read as YAML, or is larger than such a file can be".to_owned(),
    })
}

/// Lays one document over another, table by table.
pub(super) fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (base, over) => *base = over,
    }
}

/// The clouds of a document, by name.
pub(super) fn clouds(document: &Value) -> Result<&Map<String, Value>, String> {
    document.get("clouds").and_then(Value::as_object).ok_or_else(|| "there is no table `clouds`".to_owned())
}

/// What one cloud is to the driver: one for each region.
///
/// # Errors
/// What the driver cannot do, by its key.
pub(super) fn regions(cloud: &Value) -> Result<Vec<Found>, String> {
    let Some(Value::Array(regions)) = cloud.get("regions") else { return Ok(vec![one(cloud, None)?]) };
    if regions.is_empty() {
        return Err("regions: is empty".to_owned());
    }
    let region = |(index, region): (usize, &Value)| {
        let mut cloud = cloud.clone();
        let name = match region {
            Value::Object(table) => {
                merge(&mut cloud, table.get("values").cloned().unwrap_or_default());
                text(table, "name").map_err(|error| format!("regions[{index}].{error}"))?
            }
            Value::String(name) => Some(name.clone()),
            _ => None,
        };
        let name = name.ok_or_else(|| format!("regions[{index}]: must be a text, or a table with `name`"))?;
        one(&cloud, Some(name))
    };
    regions.iter().enumerate().map(region).collect()
}

fn one(cloud: &Value, region: Option<String>) -> Result<Found, String> {
    let Some(cloud) = cloud.as_object() else { return Err("must be a table".to_owned()) };
    for key in ["profile", "cloud"] {
        if cloud.contains_key(key) {
            return Err(format!(
                "{key}: vendors' profiles are not fetched; write `auth.auth_url` and `region_name` into the file"
            ));
        }
    }
    let auth = auth(cloud)?;
    if text(cloud, "identity_api_version")?.is_some_and(|version| !version.starts_with('3')) {
        return Err("identity_api_version: the driver speaks Keystone v3 only".to_owned());
    }
    for (key, wanted) in [("verify", true), ("insecure", false)] {
        if cloud.get(key).is_some_and(|given| !given.is_null() && flag(given) != Some(wanted)) {
            return Err(format!("{key}: certificates are always checked; name the authority of the cloud's by `cacert`"));
        }
    }
    let given = |key: &str| text(&auth, key).map_err(|error| format!("auth.{error}"));
    let address = given("auth_url")?.ok_or("auth.auth_url: is missing")?;
    let url = Url::parse(&address).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let url = url.filter(|url| url.username().is_empty() && url.password().is_none());
    let url = url.ok_or("auth.auth_url: must be an http or https address without credentials")?;
    let mut config = Map::new();
    let mut put = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            config.insert(key.to_owned(), Value::String(value));
        }
    };
    let region = match region {
        Some(region) => Some(region),
        None => text(cloud, "region_name")?,
    };
    put("auth_url", Some(address));
    put("region", region.clone());
    put("interface", interface(cloud)?);
    let kind = text(cloud, "auth_type")?;
    let by_credential = match kind.as_deref() {
        Some("v3applicationcredential") => true,
        Some("password" | "v3password") => false,
        None => auth.contains_key("application_credential_id") || auth.contains_key("application_credential_name"),
        Some(_) => return Err("auth_type: must be `password`, `v3password` or `v3applicationcredential`".to_owned()),
    };
    let mut keys = Vec::new();
    let needs = if by_credential {
        let id = given("application_credential_id")?;
        if id.is_none() {
            keys.extend(["application_credential_name", "username", "user_id", "user_domain_name", "user_domain_id"]);
        }
        put("application_credential_id", id);
        "application_credential_secret"
    } else {
        keys.extend(["username", "user_id", "user_domain_name", "user_domain_id"]);
        keys.extend(["project_name", "project_id", "project_domain_name", "project_domain_id"]);
        "password"
    };
    for key in keys {
        put(key, given(key)?);
    }
    let mut secrets = BTreeMap::new();
    match auth.get(needs) {
        Some(Value::String(secret)) if !secret.is_empty() => drop(secrets.insert(needs.to_owned(), secret.clone().into())),
        None | Some(Value::Null | Value::String(_)) => {}
        Some(_) => return Err(format!("auth.{needs}: must be a text: put it in quotes")),
    }
    let unused = |key: &&String| ![&AUTH[..], &READ, &IDLE].concat().contains(&key.as_str());
    let path = |key: &str| Ok::<_, String>(text(cloud, key)?.map(|path| home(&path)));
    Ok(Found {
        region,
        config,
        secrets,
        needs,
        origin: url.origin().ascii_serialization(),
        ca: path("cacert")?,
        certificate: path("cert")?,
        key: path("key")?,
        unused: cloud.keys().filter(unused).cloned().collect(),
    })
}

/// Who comes: `auth`, and what older files have beside it; in the present words.
fn auth(cloud: &Map<String, Value>) -> Result<Map<String, Value>, String> {
    let mut auth = match cloud.get("auth") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(auth)) => auth.clone(),
        Some(_) => return Err("auth: must be a table".to_owned()),
    };
    for key in AUTH {
        if let (Some(value), false) = (cloud.get(key), auth.contains_key(key)) {
            auth.insert(key.to_owned(), value.clone());
        }
    }
    if let Some(unknown) = auth.keys().find(|key| !AUTH.contains(&key.as_str())) {
        return Err(format!("auth.{unknown}: is not known to the driver"));
    }
    if let Some(scope) = OTHER_SCOPES.into_iter().find(|key| auth.get(*key).is_some_and(|value| !value.is_null())) {
        return Err(format!("auth.{scope}: the driver acts in a project, as a user or by an application credential"));
    }
    let mut rename = |old: &str, names: &[&str]| {
        if let Some(value) = auth.remove(old) {
            for name in names {
                auth.entry(*name).or_insert_with(|| value.clone());
            }
        }
    };
    rename("tenant_name", &["project_name"]);
    rename("tenant_id", &["project_id"]);
    for end in ["id", "name"] {
        let (user, project) = (format!("user_domain_{end}"), format!("project_domain_{end}"));
        rename(&format!("default_domain_{end}"), &[user.as_str(), project.as_str()]);
    }
    rename("default_domain", &["user_domain_id", "project_domain_id"]);
    Ok(auth)
}

fn interface(cloud: &Map<String, Value>) -> Result<Option<String>, String> {
    let given = match text(cloud, "interface")? {
        None => text(cloud, "endpoint_type")?,
        given => given,
    };
    let Some(given) = given else { return Ok(None) };
    let short = given.strip_suffix("URL").unwrap_or(&given);
    if ["public", "internal", "admin"].contains(&short) {
        return Ok(Some(short.to_owned()));
    }
    Err("interface: must be `public`, `internal` or `admin`".to_owned())
}

/// A text that is there and not empty. Whole numbers stand for their digits; other values may have lost how they were written.
fn text(table: &Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match table.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(Value::Number(number)) if !number.is_f64() => Ok(Some(number.to_string())),
        Some(_) => Err(format!("{key}: must be a text: put it in quotes")),
    }
}

/// A truth value, in one of the words for it.
fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(word) => match word.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// A path with the home directory for `~`.
fn home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests;
