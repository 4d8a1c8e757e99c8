//! Forwarding rules: ports of the far platform that lead to ports of an instance.

use ostler_driver::{Error, Result};
use serde_json::{Value, json};

use crate::http::Api;
use crate::record::Forward;
use crate::wire;

impl Api {
    /// The rules of one instance. A far side may not know the filter, so each rule has to say whose it is.
    fn rules_of(&self, instance: &str) -> Result<Vec<(String, Value)>> {
        let body = self.get("/fwrules").query("instance", instance).json()?;
        let list = wire::list(&body, "fwrules").ok_or_else(|| self.failed("the answer has no `fwrules`"))?;
        let mut rules = Vec::new();
        for mut rule in list {
            let Some(id) = wire::id(&rule) else { continue };
            if owner(&rule).is_none() {
                match self.rule(&id) {
                    Ok(whole) => rule = whole,
                    Err(Error::NotFound(_)) => continue,
                    Err(error) => return Err(error),
                }
            }
            if owner(&rule).as_deref() == Some(instance) {
                rules.push((id, rule));
            }
        }
        Ok(rules)
    }

    fn rule(&self, id: &str) -> Result<Value> {
        let body = self.get(wire::path("fwrules", id)).json()?;
        wire::object(&body, &["fwrule", "fwrules"]).ok_or_else(|| self.failed("the answer has no rule"))
    }

    /// A rule to a port: the one that there is, or a new one.
    pub(crate) fn forward(&self, token: &str, instance: &str, port: u16) -> Result<Forward> {
        for (id, listed) in self.rules_of(instance)? {
            let rule = if listed.get("port_to").is_some() { listed } else { self.rule(&id)? };
            if let Some(forward) = read(&id, &rule).filter(|forward| forward.port_to == port) {
                return Ok(forward);
            }
        }
        let body = json!({"fwrule": {"instanceRef": wire::to_reference(instance), "port_to": port}});
        let answer = self.post("/fwrules", &body).key(&format!("{token}-forward-{port}")).json()?;
        let made = wire::object(&answer, &["fwrule", "fwrules"]);
        let id = made.as_ref().and_then(wire::id).ok_or_else(|| self.failed("the answer has no rule"))?;
        let made = match made.filter(|made| made.get("port_from").is_some()) {
            Some(made) => made,
            None => self.rule(&id)?,
        };
        let forward = read(&id, &made).ok_or_else(|| self.failed("the rule has no ports"))?;
        Ok(Forward { port_to: port, ..forward })
    }

    /// Deletes all rules of an instance, as far as the far side has rules.
    pub(crate) fn delete_forwards(&self, instance: &str, known: &[Forward]) -> Result<()> {
        let (rules, listed): (Vec<String>, bool) = match self.rules_of(instance) {
            Ok(rules) => (rules.into_iter().map(|(id, _)| id).collect(), true),
            // There are none, or they are not ours to see: whoever deletes the instance decides.
            Err(Error::Unsupported(_) | Error::Forbidden(_) | Error::NotFound(_) | Error::Invalid(_) | Error::Failed(_)) => {
                (known.iter().map(|forward| forward.id.clone()).collect(), false)
            }
            Err(error) => return Err(error),
        };
        for id in rules {
            match self.delete(wire::path("fwrules", &id)).send() {
                Ok(_) | Err(Error::NotFound(_)) => {}
                Err(error) if listed => return Err(error),
                Err(_) => {}
            }
        }
        Ok(())
    }
}

/// The instance that a rule leads to, where it says so.
fn owner(rule: &Value) -> Option<String> {
    rule.get("instance_id").and_then(wire::reference).or_else(|| match rule.get("instance")? {
        instance @ Value::Object(_) => wire::id(instance),
        instance => wire::reference(instance),
    })
}

fn read(id: &str, rule: &Value) -> Option<Forward> {
    let port = |key: &str| rule.get(key).and_then(wire::number).and_then(|port| u16::try_from(port).ok());
    // The answer to an order may leave out what the order said.
    Some(Forward { id: id.to_owned(), port_to: port("port_to").unwrap_or(0), port_from: port("port_from")? })
}
