//! Orders for nodes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ostler_driver::http::is_identifier;
use ostler_driver::orders::{Orders, Stop, is_uncertain};
use ostler_driver::{Error, Extra, Node, NodeSpec, Result, check_token};
use serde_json::{Value, json};

use crate::config::DEFAULT_SIZE;
use crate::details::Kind;
use crate::http::Api;
use crate::name;
use crate::nodes::Progress;
use crate::record::Record;
use crate::wire::{self, Entry};

/// Bytes of user data that are passed on: what the far side's API takes in one request, less what base64 adds.
const MOST_USER_DATA: usize = 512 << 10;

impl Api {
    /// Makes an instance, and starts it and forwards to it as far as that goes at once; `get-node` goes on with the rest.
    pub(crate) fn create(&self, token: &str, spec: &NodeSpec) -> Result<Node> {
        let body = self.body(token, spec)?;
        let repeatable = self.is_repeatable()?;
        let find = |settle| self.by_token(Kind::Instance, token, settle);
        let orders = Orders::new(&self.ctx).repeatable(repeatable);
        let entry = orders.once("node", token, find, || self.make(token, spec, &body, repeatable))?;
        // The list tells no status, and the answer to an order may be an old one that was repeated.
        let entry = self.entry(Kind::Instance, &entry.id)?;
        match self.go_on(entry)? {
            Progress::Node(node) => Ok(node),
            Progress::Refused(node, error) => match self.destroy(&node.id) {
                Ok(()) | Err(Error::NotFound(_)) => Err(error),
                Err(left) => {
                    self.ctx
                        .log()
                        .warn("what could not be started was not deleted", &[("id", &node.id), ("error", left.message())]);
                    Ok(node)
                }
            },
        }
    }

    fn make(&self, token: &str, spec: &NodeSpec, body: &Value, repeatable: bool) -> Result<Entry, Stop> {
        let ports = if spec.public_address { self.settings.forward_ports.clone() } else { Vec::new() };
        let record = Record { since: self.ctx.now(), start: spec.start, ports, ..Record::default() };
        if record.is_open() {
            self.remember(token, &record)?;
        }
        let made = self.ordered(Kind::Instance, token, repeatable, || {
            let image = &spec.image_id;
            let call = self.post("/instances", body).key(token);
            let answer = call.send_about("image", image, || self.is_listed(Kind::Image, image))?;
            self.object(Kind::Instance, &self.read(&answer)?)
        });
        if let Err(Stop::Refused(error)) = &made
            && !is_uncertain(error)
            && record.is_open()
        {
            self.forget(token)?;
        }
        made
    }

    /// Whether the far side makes nothing of an order that it has had before. Fails where an order would come back here.
    pub(crate) fn is_repeatable(&self) -> Result<bool> {
        match self.far() {
            Ok(far) => self.refuse_loop(&far).map(|()| far.knows_keys()),
            Err(error @ (Error::Transient(_) | Error::Throttled { .. } | Error::Unauthorized(_))) => Err(error),
            // A far side that does not tell its version is no Ostler.
            Err(_) => Ok(false),
        }
    }

    /// Sends an order and looks what there is then: the answer may be lost, and there may be more than was ordered.
    pub(crate) fn ordered(
        &self,
        kind: Kind,
        token: &str,
        repeatable: bool,
        send: impl FnOnce() -> Result<Value>,
    ) -> Result<Entry, Stop> {
        let error = match send() {
            Ok(made) => {
                let made = Entry::read(made).ok_or_else(|| Stop::Uncertain(self.failed("the answer names nothing")))?;
                return match self.by_token(kind, token, true) {
                    Ok(Some(entry)) => Ok(entry),
                    Ok(None) => self.keeps_names(kind, token, &made),
                    // It was made, and that is what counts.
                    Err(_) if made.token() == Some(token) => Ok(made),
                    Err(error) => Err(Stop::Uncertain(error)),
                };
            }
            Err(error) => error,
        };
        let uncertain = is_uncertain(&error);
        if !uncertain && !matches!(error, Error::Conflict(_)) {
            return Err(Stop::Refused(match error {
                // Nothing of the address can be missing, so it is something of the order.
                Error::NotFound(text) => Error::Invalid(text),
                error => error,
            }));
        }
        // A conflict may be one with the order itself, which is under way.
        match self.by_token(kind, token, true) {
            Ok(Some(entry)) => Ok(entry),
            Ok(None) | Err(_) if repeatable => Err(Stop::Refused(match error {
                Error::Conflict(text) => Error::Transient(text),
                error => error,
            })),
            Ok(None) if !uncertain => Err(Stop::Refused(error)),
            Ok(None) | Err(_) => Err(Stop::Uncertain(error)),
        }
    }

    /// A far side that gives other names than it is told cannot be asked for a token again.
    fn keeps_names(&self, kind: Kind, token: &str, made: &Entry) -> Result<Entry, Stop> {
        let made = match self.entry(kind, &made.id) {
            // The answer to an order of before, repeated.
            Err(Error::NotFound(_)) => return Err(Stop::Refused(self.failed("what was made by this token is gone again"))),
            made => made.map_err(Stop::Uncertain)?,
        };
        if made.token() == Some(token) {
            return Ok(made);
        }
        self.delete(wire::path(kind.list(), &made.id)).send().map_err(Stop::Uncertain)?;
        let text =
            format!("at {}: it does not keep the names that it is given, so nothing could be found again", self.settings.host);
        Err(Stop::Refused(Error::Unsupported(text)))
    }

    /// The order as it is sent: the same for the same order, as a key demands.
    fn body(&self, token: &str, spec: &NodeSpec) -> Result<Value> {
        self.acceptable(token, spec)?;
        let mut instance = json!({
            "imageRef": wire::to_reference(&spec.image_id), "name": name::instance(&spec.name, token),
        });
        if spec.size_id != DEFAULT_SIZE {
            instance["flavor"] = spec.size_id.as_str().into();
        }
        if let Some(data) = spec.user_data.as_deref().filter(|data| !data.is_empty()) {
            instance["user_data"] = STANDARD.encode(data).into();
        }
        if !spec.ssh_keys.is_empty() {
            instance["ssh_keys"] = spec.ssh_keys.clone().into();
        }
        Ok(json!({"instance": instance}))
    }

    /// What can be said of an order without asking.
    fn acceptable(&self, token: &str, spec: &NodeSpec) -> Result<()> {
        check_token(token)?;
        if !self.settings.sizes.iter().any(|size| size.id == spec.size_id) {
            return Err(Error::Invalid(format!("no size `{}`", spec.size_id.chars().take(64).collect::<String>())));
        }
        if !is_identifier(&spec.image_id) {
            return Err(Error::Invalid(format!("no image `{}`", spec.image_id.chars().take(64).collect::<String>())));
        }
        let data = spec.user_data.as_deref().unwrap_or_default();
        if data.len() > MOST_USER_DATA {
            return Err(Error::Invalid(format!("user data may have {MOST_USER_DATA} bytes")));
        }
        let for_first_boot = !data.is_empty() || !spec.ssh_keys.is_empty();
        if for_first_boot && !self.settings.far_user_data {
            let text = "user data and keys: the Cloud Edge API has none; where the far side is an Ostler, set `far_user_data`";
            return Err(Error::unsupported(text));
        }
        for (what, wanted) in [
            ("key pairs", spec.key_name.is_some()),
            ("networks", !spec.networks.is_empty()),
            ("security groups", !spec.security_groups.is_empty()),
            ("further disks", !spec.block_devices.is_empty()),
            ("zones", spec.zone.is_some()),
        ] {
            if wanted {
                return Err(Error::unsupported(what));
            }
        }
        match spec.extra()?.keys().next() {
            None => Ok(()),
            Some(key) => Err(Error::Invalid(format!("`extra`: unknown key `{}`", key.chars().take(64).collect::<String>()))),
        }
    }
}
