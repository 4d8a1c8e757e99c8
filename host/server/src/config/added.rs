//! Files of clouds that were added while the server ran: each has the keys of a `[clouds.NAME]` table.

use std::collections::BTreeMap;

use ostler_core::clouds::{CloudFiles, secret_path, tls_path};
use serde_json::{Map, Value};

use super::clouds::{cloud, cloud_name};
use super::problem::{Problem, Severity};
use super::reader::{Reader, reason};
use super::types::Cloud;

/// The longest name of a secret.
const KEY: usize = 64;

/// The clouds that were added, and what is wrong with the files of others.
#[derive(Clone, Debug, Default)]
pub struct Added {
    /// By name. None of the configuration is among them.
    pub clouds: BTreeMap<String, Cloud>,
    /// Errors (that cloud is left out) and warnings.
    pub problems: Vec<Problem>,
}

impl Added {
    /// Reads all files. A cloud that cannot be read leaves the others as they are; one that the configuration has as well is that
    /// of the configuration.
    pub fn read(files: &CloudFiles, configured: &BTreeMap<String, Cloud>, env: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut added = Self::default();
        let names = match files.names() {
            Ok(names) => names,
            Err(error) => {
                let place = files.directory().display().to_string();
                added.problems.push(Problem::elsewhere(Severity::Error, &place, "", reason(&error)));
                return added;
            }
        };
        for name in names {
            let file = files.file(&name);
            let place = file.display().to_string();
            if configured.contains_key(&name) {
                let message = "is in the configuration as well, and that counts: remove this file, or the table there";
                added.problems.push(Problem::elsewhere(Severity::Error, &place, &format!("clouds.{name}"), message));
                continue;
            }
            let text = match super::read_file(&file) {
                Ok(text) => text,
                Err(reason) => {
                    added.problems.push(Problem::elsewhere(Severity::Error, &place, "", format!("cannot be read: {reason}")));
                    continue;
                }
            };
            let (cloud, problems) = read_cloud(&name, &place, &text, files, env);
            added.problems.extend(problems);
            if let Some(cloud) = cloud {
                added.clouds.insert(name, cloud);
            }
        }
        added
    }
}

/// Reads a cloud's file. No cloud where there are errors; paths in it start in the directory of added clouds.
pub fn read_cloud(
    name: &str,
    place: &str,
    text: &str,
    files: &CloudFiles,
    env: &dyn Fn(&str) -> Option<String>,
) -> (Option<Cloud>, Vec<Problem>) {
    if let Err(message) = cloud_name(name) {
        return (None, vec![Problem::elsewhere(Severity::Error, place, "", message)]);
    }
    let reader = Reader::new(place, text, files.directory().to_owned(), env);
    let root = reader.root_as(format!("clouds.{name}"));
    if reader.failed() {
        root.take_all();
        drop(root);
        return (None, reader.into_problems());
    }
    let cloud = cloud(&root);
    drop(root);
    let failed = reader.failed();
    ((!failed).then_some(cloud), reader.into_problems())
}

/// The file of a cloud: `settings` are all keys of its table but `secrets` and `tls`, of which the names are enough.
///
/// # Errors
/// What cannot be written down, by its key. No value is repeated.
pub fn write_cloud(name: &str, settings: &Map<String, Value>, secrets: &[&str], tls: &[&str]) -> Result<String, String> {
    let mut text = toml::to_string(&table(&format!("clouds.{name}"), settings)?).map_err(|_| "cannot be written down")?;
    let mut section = |title: &str, entries: Vec<(String, String)>| {
        if !entries.is_empty() {
            let lines: String = entries.into_iter().map(|(key, value)| format!("{} = {value}\n", bare(&key))).collect();
            text.push_str(&format!("\n[{title}]\n{lines}"));
        }
    };
    let quoted = |path: String| toml::Value::String(path).to_string();
    let file = |key: &&str| ((*key).to_owned(), format!("{{ file = {} }}", quoted(secret_path(name, key))));
    section("secrets", secrets.iter().map(file).collect());
    section("tls", tls.iter().map(|part| ((*part).to_owned(), quoted(tls_path(name, part)))).collect());
    Ok(text)
}

/// Checks the name of a secret, which is a file's name as well.
///
/// # Errors
/// What a name must be.
pub fn secret_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if name.is_empty() || name.len() > KEY || name.starts_with('.') || !name.chars().all(plain) {
        return Err(format!("a secret's name must be 1 to {KEY} letters, digits, `_`, `.` or `-`, and not start with a dot"));
    }
    Ok(())
}

/// A key as it stands in TOML.
fn bare(key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if plain { key.to_owned() } else { toml::Value::String(key.to_owned()).to_string() }
}

fn table(path: &str, object: &Map<String, Value>) -> Result<toml::Table, String> {
    let entry = |(key, value): (&String, &Value)| {
        let path = format!("{path}.{key}");
        Ok((key.clone(), toml_value(&path, value)?))
    };
    object.iter().map(entry).collect()
}

fn toml_value(path: &str, value: &Value) -> Result<toml::Value, String> {
    Ok(match value {
        Value::Null => return Err(format!("{path}: must not be null")),
        Value::Bool(boolean) => toml::Value::Boolean(*boolean),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => toml::Value::Integer(integer),
            (None, Some(float)) if number.is_f64() => toml::Value::Float(float),
            _ => return Err(format!("{path}: the number is too large")),
        },
        Value::String(text) => toml::Value::String(text.clone()),
        Value::Array(items) => {
            let item = |(index, item): (usize, &Value)| toml_value(&format!("{path}[{index}]"), item);
            toml::Value::Array(items.iter().enumerate().map(item).collect::<Result<_, _>>()?)
        }
        Value::Object(object) => toml::Value::Table(table(path, object)?),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use secrecy::ExposeSecret;
    use serde_json::json;

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(object) = value else { panic!("an object") };
        object
    }

    #[test]
    fn what_is_written_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let files = CloudFiles::of(directory.path());
        for (path, content) in [("a.secrets/password", "canary\n"), ("a.secrets/x.y", "other"), ("a.tls/ca.pem", "PEM")] {
            let path = files.directory().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let settings = object(json!({
            "driver": "dummy", "instances": "fresh",
            "config": { "form": "plain", "boot_ms": 5, "ratio": 0.5, "list": ["a", "b"], "o'dd \"key\"": true, "text": "a\nb" },
            "grants": { "http": ["https://cloud.example:5000"], "cache": false },
            "limits": { "call_seconds": 3 }, "deployments": { "priority": 2.0 },
        }));
        let text = write_cloud("a", &settings, &["password", "x.y"], &["ca"]).unwrap();
        assert!(text.contains("password = { file = \"a.secrets/password\" }\n") && !text.contains("canary"), "{text}");
        std::fs::write(files.file("a"), text).unwrap();
        std::fs::write(files.file("both"), "driver = \"dummy\"\n").unwrap();
        std::fs::write(files.file("bad"), "driver = \"dummy\"\n\n[limits]\nmemory = 1\n").unwrap();
        std::fs::write(files.file("syntax"), "driver = \"dummy\n").unwrap();
        std::fs::write(files.directory().join("a.toml.1-1.part"), "half").unwrap();
        let configured = BTreeMap::from([("both".to_owned(), Cloud::new("dummy"))]);
        let added = Added::read(&files, &configured, &|_| None);
        assert_eq!(added.clouds.keys().collect::<Vec<_>>(), ["a"]);
        let cloud = &added.clouds["a"];
        assert_eq!((cloud.driver.as_str(), cloud.limits.call_seconds, cloud.grants.cache), ("dummy", 3, false));
        assert_eq!(cloud.grants.http, ["https://cloud.example:5000"]);
        assert_eq!(cloud.config["o'dd \"key\""], toml::Value::Boolean(true));
        assert_eq!((cloud.config["text"].as_str(), cloud.config["ratio"].as_float()), (Some("a\nb"), Some(0.5)));
        assert_eq!(cloud.secrets["password"].value.expose_secret(), "canary");
        assert_eq!(cloud.secrets["x.y"].value.expose_secret(), "other");
        assert!(cloud.tls.ca.as_ref().is_some_and(|path| path.ends_with("clouds/a.tls/ca.pem")));
        let problems: Vec<_> = added.problems.iter().map(|p| p.to_string().lines().next().unwrap().to_owned()).collect();
        for (name, part) in [
            ("bad", ".toml:4:1: clouds.bad.limits.memory: unknown key"),
            ("both", "clouds.both: is in the configuration"),
            ("syntax", ".toml:1:"),
        ] {
            let found = problems.iter().filter(|line| line.contains(&format!("/{name}.toml")) && line.contains(part)).count();
            assert_eq!(found, 1, "{name}: {problems:?}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_named_without_its_value() {
        for (settings, expected) in [
            (json!({ "config": { "a": null } }), "clouds.lab.config.a: must not be null"),
            (json!({ "config": { "a": [1, { "b": null }] } }), "clouds.lab.config.a[1].b: must not be null"),
            (json!({ "limits": { "memory_mb": u64::MAX } }), "clouds.lab.limits.memory_mb: the number is too large"),
        ] {
            assert_eq!(write_cloud("lab", &object(settings), &[], &[]).unwrap_err(), expected);
        }
        for (name, good) in [("password", true), ("a.b-c_D9", true), ("", false), (".a", false), ("a/b", false), ("é", false)] {
            assert_eq!(secret_name(name).is_ok(), good, "{name}");
        }
    }
}
