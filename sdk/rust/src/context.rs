//! What a driver can reach: the capabilities, behind one handle.
//!
//! In a component each capability is a set of plain functions and the handle is empty, so that a component imports exactly the
//! interfaces whose functions its code can reach. In a native build the handle leads to a [`crate::testing::Cloud`].

use std::{str::FromStr, time::Duration};

use serde::de::DeserializeOwned;

use crate::bindings::ostler::driver::log as wit_log;
use crate::{Error, Hypervisor, Result, State};

#[cfg(target_family = "wasm")]
pub(crate) use crate::imports::Imports as Backend;
#[cfg(not(target_family = "wasm"))]
pub(crate) use crate::testing::Cloud as Backend;

/// The capabilities of one cloud. Cheap to clone and to keep in a driver.
#[derive(Debug, Clone)]
pub struct Context {
    backend: Backend,
}

impl Context {
    /// The context of the running component.
    #[cfg(target_family = "wasm")]
    pub(crate) fn current() -> Self {
        Self { backend: Backend }
    }

    /// The context of a test cloud.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn of(cloud: Backend) -> Self {
        Self { backend: cloud }
    }

    /// The cloud's configuration.
    pub fn config(&self) -> Config<'_> {
        Config { backend: &self.backend }
    }

    /// The cloud's secrets.
    pub fn secrets(&self) -> Secrets<'_> {
        Secrets { backend: &self.backend }
    }

    /// The host's log.
    pub fn log(&self) -> Log<'_> {
        Log { backend: &self.backend }
    }

    /// The cloud's durable storage.
    pub fn state(&self) -> State<'_> {
        State::new(&self.backend)
    }

    /// The cloud's volatile storage.
    pub fn cache(&self) -> Cache<'_> {
        Cache { backend: &self.backend }
    }

    /// The hypervisor that the operator granted.
    pub fn hypervisor(&self) -> Hypervisor<'_> {
        Hypervisor::new(&self.backend)
    }

    /// An HTTP client for the origins that the operator allowed.
    #[cfg(feature = "http")]
    pub fn http(&self) -> crate::http::Client<'_> {
        crate::http::Client::new(&self.backend)
    }

    /// The time: microseconds since 1970-01-01T00:00:00Z.
    pub fn now(&self) -> u64 {
        self.backend.now()
    }

    /// Waits. The host bounds every call, so only for moments.
    pub fn sleep(&self, time: Duration) {
        self.backend.sleep(time);
    }
}

/// The cloud's configuration, as the operator wrote it. What is not text there arrives as its JSON text.
#[derive(Debug, Clone, Copy)]
pub struct Config<'a> {
    backend: &'a Backend,
}

impl Config<'_> {
    /// The cloud's name.
    pub fn cloud(&self) -> String {
        self.backend.config_cloud()
    }

    /// One value as text.
    pub fn get(&self, key: &str) -> Option<String> {
        self.backend.config_get(key)
    }

    /// All values, sorted by key.
    pub fn entries(&self) -> Vec<(String, String)> {
        self.backend.config_entries()
    }

    /// One value as text that must be there.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the setting.
    pub fn require(&self, key: &str) -> Result<String> {
        self.get(key).ok_or_else(|| Error::Invalid(format!("setting `{key}` is missing")))
    }

    /// One value as a number, a truth value or whatever else can be read from text; surrounding blanks do not count.
    ///
    /// # Errors
    /// [`Error::Invalid`]: ``setting `boot_ms`: expected a whole number: …``. The text does not repeat the value.
    pub fn parse<T>(&self, key: &str) -> Result<Option<T>>
    where
        T: FromStr<Err: std::fmt::Display>,
    {
        let Some(text) = self.get(key) else { return Ok(None) };
        let malformed = |error| Error::Invalid(format!("setting `{key}`: expected {}: {error}", kind_of::<T>()));
        text.trim().parse().map(Some).map_err(malformed)
    }

    /// One value as JSON, for lists and tables.
    ///
    /// # Errors
    /// [`Error::Invalid`]: ``setting `faults`: expected …``, with the place.
    pub fn json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let Some(text) = self.get(key) else { return Ok(None) };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| Error::Invalid(format!("setting `{key}`: expected JSON of another form: {error}")))
    }

    /// Refuses keys that the driver does not know, which are mostly typing errors.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the first unknown key and those that are known.
    pub fn reject_unknown(&self, known: &[&str]) -> Result<()> {
        match self.entries().into_iter().find(|(key, _)| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some((key, _)) => Err(Error::Invalid(format!("setting `{key}` is unknown; this driver knows {}", known.join(", ")))),
        }
    }
}

/// What to call a type in a message for operators.
fn kind_of<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    match name {
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" | "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "bool" => "true or false",
        _ => name.rsplit("::").next().unwrap_or(name),
    }
}

/// The cloud's secrets. What is read here must not be logged or returned.
#[derive(Debug, Clone, Copy)]
pub struct Secrets<'a> {
    backend: &'a Backend,
}

impl Secrets<'_> {
    /// One secret.
    pub fn get(&self, name: &str) -> Option<String> {
        self.backend.secret_get(name)
    }

    /// One secret that must be there.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the secret.
    pub fn require(&self, name: &str) -> Result<String> {
        self.get(name).ok_or_else(|| Error::Invalid(format!("secret `{name}` is missing")))
    }
}

/// How much a line of the log matters.
pub use wit_log::Level;

/// The host's log.
#[derive(Debug, Clone, Copy)]
pub struct Log<'a> {
    backend: &'a Backend,
}

impl Log<'_> {
    /// Writes one line, with fields.
    pub fn write(&self, level: Level, message: &str, fields: &[(&str, &str)]) {
        let fields: Vec<_> = fields.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        self.backend.log(level, message, &fields);
    }

    /// Writes a line of level trace.
    pub fn trace(&self, message: &str, fields: &[(&str, &str)]) {
        self.write(Level::Trace, message, fields);
    }

    /// Writes a line of level debug.
    pub fn debug(&self, message: &str, fields: &[(&str, &str)]) {
        self.write(Level::Debug, message, fields);
    }

    /// Writes a line of level info.
    pub fn info(&self, message: &str, fields: &[(&str, &str)]) {
        self.write(Level::Info, message, fields);
    }

    /// Writes a line of level warn.
    pub fn warn(&self, message: &str, fields: &[(&str, &str)]) {
        self.write(Level::Warn, message, fields);
    }

    /// Writes a line of level error.
    pub fn error(&self, message: &str, fields: &[(&str, &str)]) {
        self.write(Level::Error, message, fields);
    }
}

/// In-memory values of this cloud, which may vanish at any time: provider tokens, catalogues.
#[derive(Debug, Clone, Copy)]
pub struct Cache<'a> {
    backend: &'a Backend,
}

impl Cache<'_> {
    /// One value, if it is there and not expired.
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.backend.cache_get(key)
    }

    /// Keeps a value for so long.
    pub fn set(&self, key: &str, value: &[u8], ttl: Duration) {
        self.backend.cache_set(key, value, u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
    }

    /// Forgets a value.
    pub fn delete(&self, key: &str) {
        self.backend.cache_delete(key);
    }

    /// One value kept as JSON; what cannot be read, say of an older version of the driver, counts as not there.
    pub fn get_json<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_slice(&self.get(key)?).ok()
    }

    /// Keeps a value as JSON for so long.
    ///
    /// # Errors
    /// [`Error::Failed`] where the value has no JSON.
    pub fn set_json<T: serde::Serialize>(&self, key: &str, value: &T, ttl: Duration) -> Result<()> {
        self.set(key, &serde_json::to_vec(value)?, ttl);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::testing::Cloud;

    #[test]
    fn settings_are_read_or_refused_by_name() {
        let cloud = Cloud::new("lab").config("n", " 5 ").config("bad", "five").config("list", "[1,2]").config("odd", "{");
        let ctx = cloud.context();
        let config = ctx.config();
        assert_eq!(config.cloud(), "lab");
        assert_eq!(config.parse::<u32>("n").unwrap(), Some(5));
        assert_eq!(config.parse::<u32>("none").unwrap(), None);
        assert_eq!(config.json::<Vec<u8>>("list").unwrap(), Some(vec![1, 2]));
        for (error, part) in [
            (config.parse::<u32>("bad").unwrap_err(), "setting `bad`: expected a whole number: "),
            (config.json::<Vec<u8>>("odd").unwrap_err(), "setting `odd`: expected JSON"),
            (config.require("none").unwrap_err(), "setting `none` is missing"),
            (config.reject_unknown(&["n", "list", "odd"]).unwrap_err(), "setting `bad` is unknown"),
            (ctx.secrets().require("password").unwrap_err(), "secret `password` is missing"),
        ] {
            assert_eq!(error.class(), "invalid");
            assert!(error.message().starts_with(part), "{error}");
            assert!(!error.message().contains("five"), "a value in {error}");
        }
        assert!(config.reject_unknown(&["n", "bad", "list", "odd"]).is_ok());
    }

    #[test]
    fn cached_values_expire() {
        let cloud = Cloud::new("lab");
        let ctx = cloud.context();
        ctx.cache().set_json("token", &"abc", Duration::from_secs(5)).unwrap();
        assert_eq!(ctx.cache().get_json::<String>("token").as_deref(), Some("abc"));
        assert_eq!(ctx.cache().get_json::<u64>("token"), None, "another type");
        cloud.advance(Duration::from_secs(5));
        assert_eq!(ctx.cache().get("token"), None);
        ctx.cache().set("x", b"1", Duration::MAX);
        ctx.cache().delete("x");
        assert_eq!(ctx.cache().get("x"), None);
    }
}
