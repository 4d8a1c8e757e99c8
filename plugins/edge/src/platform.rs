//! The far side itself: its version, and whether it leads back here.
//!
//! An Ostler adds a member to the version that it tells: `{"version": {"major": 1, "minor": 3}, "ostler": {"instance": "<id>",
//! "upstream": ["<id>", …]}}`. `instance` is its own identifier; `upstream` are the identifiers of all Ostlers that the cloud of
//! this address leads to in the end, which it learns by the `extra` of this driver's `check`, where both are told.

use std::time::Duration;

use ostler_driver::{Error, Extra, Health, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::details::Kind;
use crate::http::Api;
use crate::wire;

/// How long is remembered what kind of server it is.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Ostlers behind the far side that are looked at.
const MOST_UPSTREAM: usize = 1000;

/// What the far side says of itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Far {
    version: Option<(u64, u64)>,
    /// The Ostler's identifier; none where it is no Ostler.
    ostler: Option<String>,
    upstream: Vec<String>,
}

impl Far {
    /// Whether it knows `Idempotency-Key`.
    pub(crate) fn knows_keys(&self) -> bool {
        self.ostler.is_some()
    }

    fn read(body: &Value) -> Self {
        let version = body.get("version").unwrap_or(body);
        let number = |key: &str| version.get(key).and_then(wire::number);
        let ostler = body.get("ostler").filter(|ostler| ostler.is_object());
        let upstream = ostler.and_then(|ostler| ostler.get("upstream")).and_then(Value::as_array);
        Self {
            version: number("major").map(|major| (major, number("minor").unwrap_or(0))),
            ostler: ostler.map(|ostler| wire::text(ostler, "instance").unwrap_or_default()),
            upstream: upstream.into_iter().flatten().filter_map(wire::scalar).take(MOST_UPSTREAM).collect(),
        }
    }
}

impl Api {
    /// What kind of server it is, as it was a moment ago.
    pub(crate) fn far(&self) -> Result<Far> {
        match self.ctx.cache().get_json(&self.cache_key("far")) {
            Some(far) => Ok(far),
            None => self.ask_far(),
        }
    }

    fn ask_far(&self) -> Result<Far> {
        // Both spellings are in the text.
        let body = match self.get("/platform/version").json() {
            Err(Error::NotFound(_) | Error::Unsupported(_) | Error::Failed(_)) => self.get("/version").json()?,
            body => body?,
        };
        let far = Far::read(&body);
        self.ctx.cache().set_json(&self.cache_key("far"), &far, REMEMBERED)?;
        Ok(far)
    }

    /// [`Error::Invalid`] where the far side leads back here.
    pub(crate) fn refuse_loop(&self, far: &Far) -> Result<()> {
        match &self.settings.instance {
            Some(own) if far.ostler.iter().chain(&far.upstream).any(|id| id.eq_ignore_ascii_case(own)) => {
                let text = format!("at {}: it leads back to this Ostler: a loop of clouds has no machines", self.settings.host);
                Err(Error::Invalid(text))
            }
            _ => Ok(()),
        }
    }

    /// Asks for the version and, since that may need no account, for instances.
    pub(crate) fn check(&self) -> Result<Health> {
        let far = self.ask_far()?;
        let host = &self.settings.host;
        let Some((major, minor)) = far.version else {
            return Err(self.failed("the answer has no version: is the address that of a Cloud Edge API?"));
        };
        if major != 1 {
            return Err(Error::Invalid(format!("at {host}: it speaks version {major}.{minor} of the API, this driver 1.x")));
        }
        self.refuse_loop(&far)?;
        self.entries(Kind::Instance)?;
        let health = Health {
            endpoint: Some(host.clone()),
            account: Some(self.settings.username.clone()),
            provider_version: Some(format!("{major}.{minor}")),
            extra: String::new(),
        };
        Ok(match far.ostler {
            Some(instance) => health.with_extra(json!({"ostler": {"instance": instance, "upstream": far.upstream}})),
            None => health,
        })
    }
}
