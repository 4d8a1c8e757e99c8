//! Nodes: instances with what was ordered besides.

use ostler_driver::http::is_identifier;
use ostler_driver::orders::is_uncertain;
use ostler_driver::{
    Action, Address, Error, Extra, Force, Node, NodeState, Page, Reach, Result, Versioned, bad_cursor, is_token,
};
use serde_json::{Map, Value, json};

use crate::config::{AddressReach, DEFAULT_SIZE};
use crate::details::{BUDGET, Kind};
use crate::http::Api;
use crate::record::{Record, micros};
use crate::wire::{self, Entry, is_public};

/// What came of going on with an order.
pub(crate) enum Progress {
    /// The node as it is now.
    Node(Node),
    /// The far side will not do what is still owed.
    Refused(Node, Error),
}

impl Api {
    /// A page of nodes. What is owed to them is gone on with here as well, since not everybody asks for single nodes.
    pub(crate) fn nodes(&self, cursor: Option<&str>) -> Result<Page<Node>> {
        if let Some(cursor) = cursor.filter(|cursor| !is_identifier(cursor)) {
            return Err(bad_cursor(cursor));
        }
        let entries = self.entries(Kind::Instance)?;
        let records = self.records()?;
        self.sweep_records(&records, |token| entries.iter().any(|entry| entry.token() == Some(token)));
        let page = self.page(Kind::Instance, entries, cursor)?;
        // With time of its own: what is owed would wait for ever where looking takes all the time there is.
        let began = self.ctx.now();
        let mut items = Vec::with_capacity(page.items.len());
        for entry in page.items {
            let record = entry.token().and_then(|token| records.iter().find(|(of, _)| of == token));
            let record = record.map(|(_, record)| &record.value);
            let now = self.ctx.now();
            let due =
                record.is_some_and(|record| record.is_open() && (entry.state() == NodeState::Running || now >= record.next));
            if !due || now.saturating_sub(began) >= micros(BUDGET / 2) {
                items.push(self.show(&entry, record));
                continue;
            }
            match self.go_on(entry.clone()) {
                Ok(Progress::Node(node) | Progress::Refused(node, _)) => items.push(node),
                Err(Error::NotFound(_)) => {}
                Err(error) => {
                    self.ctx.log().debug("what is owed to a node was not done", &[("error", error.message())]);
                    items.push(self.show(&entry, record));
                }
            }
        }
        Ok(Page { items, next: page.next })
    }

    /// One node; what is owed to it is gone on with, since the host polls this.
    pub(crate) fn node(&self, id: &str) -> Result<Node> {
        let entry = self.entry(Kind::Instance, id)?;
        let (Progress::Node(node) | Progress::Refused(node, _)) = self.go_on(entry)?;
        Ok(node)
    }

    pub(crate) fn find_node(&self, token: &str) -> Result<Option<Node>> {
        if !is_token(token) {
            return Ok(None);
        }
        let Some(found) = self.by_token(Kind::Instance, token, false)? else { return Ok(None) };
        match self.node(&found.id) {
            // Deleted in between.
            Err(Error::NotFound(_)) => Ok(None),
            node => node.map(Some),
        }
    }

    /// Does what is owed to an instance, if it is time for another try.
    pub(crate) fn go_on(&self, mut entry: Entry) -> Result<Progress> {
        let Some(token) = entry.token().map(str::to_owned) else { return Ok(Progress::Node(self.show(&entry, None))) };
        let Some(Versioned { value: mut record, version }) = self.record(&token)? else {
            return Ok(Progress::Node(self.show(&entry, None)));
        };
        let before = record.clone();
        if entry.state() == NodeState::Running && record.start {
            // By whomever it was started.
            (record.start, record.failed, record.next) = (false, None, 0);
        }
        let now = self.ctx.now();
        if !record.is_open() || record.failed.is_some() || entry.state() == NodeState::Failed || now < record.next {
            if record != before {
                self.rewrite(&token, version, &record)?;
            }
            return Ok(Progress::Node(self.show(&entry, Some(&record))));
        }
        record.id = Some(entry.id.clone());
        record.tried(now);
        // Written before the try: whoever else looks at the node meanwhile does not try, too.
        let Some(version) = self.rewrite(&token, version, &record)? else {
            return Ok(Progress::Node(self.show(&entry, Some(&before))));
        };
        let tried = record.clone();
        let refused = match self.pursue(&token, &mut entry, &mut record) {
            Ok(()) => {
                record.last = None;
                None
            }
            // It is gone.
            Err(error @ Error::NotFound(_)) => match self.entry(Kind::Instance, &entry.id) {
                Err(gone @ Error::NotFound(_)) => return Err(gone),
                _ => Some(error),
            },
            Err(error) => {
                record.last = Some(error.message().to_owned());
                let passes = is_uncertain(&error)
                    || matches!(error, Error::Conflict(_) | Error::Throttled { .. } | Error::Unauthorized(_));
                let late = now.saturating_sub(record.since) >= micros(self.settings.start_patience);
                (!passes || late).then_some(error)
            }
        };
        if let Some(error) = &refused {
            record.failed = Some(error.message().to_owned());
        }
        if record != tried {
            self.rewrite(&token, version, &record)?;
        }
        let node = self.show(&entry, Some(&record));
        Ok(match refused {
            None => Progress::Node(node),
            Some(error) => Progress::Refused(node, error),
        })
    }

    /// One try.
    fn pursue(&self, token: &str, entry: &mut Entry, record: &mut Record) -> Result<()> {
        if record.start && entry.state() == NodeState::Stopped {
            let late = self.ctx.now().saturating_sub(record.since) >= micros(self.settings.start_patience);
            if late && record.tries > 1 {
                let why = record.last.clone().unwrap_or_else(|| "it does not come up".to_owned());
                return Err(Error::Failed(format!("not started in time: {why}")));
            }
            self.post_action(&entry.id, &json!({"start": null}))?;
        }
        while let Some(port) = record.ports.first().copied() {
            record.forwards.push(self.forward(token, &entry.id, port)?);
            record.ports.retain(|other| *other != port);
        }
        Ok(())
    }

    /// What is known of an instance, by the far side and by what was ordered.
    pub(crate) fn show(&self, entry: &Entry, record: Option<&Record>) -> Node {
        let state = entry.state();
        let mut node = Node::new(&entry.id, entry.plain_name());
        node.token = entry.token().map(str::to_owned);
        node.state_detail = entry.detail();
        node.image_id = entry.image_id();
        node.created_at = entry.created_at();
        node.size_id = entry.size_id().or_else(|| (self.settings.sizes.len() == 1).then(|| DEFAULT_SIZE.to_owned()));
        node.addresses = entry
            .addresses()
            .into_iter()
            .map(|ip| {
                let public = match self.settings.address_reach {
                    AddressReach::Auto => is_public(ip),
                    reach => reach == AddressReach::Public,
                };
                Address { reach: if public { Reach::Public } else { Reach::Private }, ..Address::public(ip.to_string()) }
            })
            .collect();
        // What runs is no longer to be started, whether or not that is written down already.
        let running = state == NodeState::Running;
        let open = record.filter(|record| record.is_open() && !(running && record.ports.is_empty()));
        let coming = matches!(state, NodeState::Stopped | NodeState::Starting | NodeState::Running | NodeState::Pending);
        node.state = match (record.and_then(|record| record.failed.as_ref()), open) {
            (Some(why), _) => {
                node.state_detail = Some(format!("it could not be made as ordered: {why}"));
                NodeState::Failed
            }
            (None, Some(open)) if coming => {
                node.state_detail = open.last.clone().or(node.state_detail);
                NodeState::Pending
            }
            _ => state,
        };
        let mut extra = Map::new();
        for key in ["status", "created_by", "updated_at", "link"] {
            extra.extend(entry.whole.get(key).filter(|value| !value.is_null()).map(|value| (key.to_owned(), value.clone())));
        }
        extra.extend(entry.whole.pointer("/image/name").map(|name| ("image_name".to_owned(), name.clone())));
        if let Some(record) = record.filter(|record| !record.forwards.is_empty()) {
            let forward = |one: &crate::record::Forward| json!({"port_to": one.port_to, "port_from": one.port_from});
            extra.insert("forwards".to_owned(), record.forwards.iter().map(forward).collect::<Vec<_>>().into());
            extra.insert("forward_host".to_owned(), self.settings.host_name().into());
        }
        node.with_extra(Value::Object(extra))
    }

    /// Destroys an instance: the rules to it go first, since they may outlive it.
    pub(crate) fn destroy(&self, id: &str) -> Result<()> {
        let entry = match self.entry(Kind::Instance, id) {
            Err(error @ Error::NotFound(_)) => {
                self.forget_instance(id)?;
                return Err(error);
            }
            entry => entry?,
        };
        let mut forwards = Vec::new();
        if let Some(token) = entry.token() {
            self.stop_starting(token)?;
            forwards = self.record(token)?.map(|record| record.value.forwards).unwrap_or_default();
        }
        self.delete_forwards(id, &forwards)?;
        let result =
            self.delete(wire::path("instances", id)).send_about("node", id, || self.is_listed(Kind::Instance, id)).map(drop);
        if matches!(result, Ok(()) | Err(Error::NotFound(_)))
            && let Some(token) = entry.token()
        {
            self.forget(token)?;
        }
        result
    }

    /// Starts an action. Far sides differ in what they say to one that does nothing, so the state is looked at first.
    pub(crate) fn act(&self, id: &str, action: &Action) -> Result<()> {
        let body = match action {
            Action::Start => json!({"start": null}),
            Action::Stop(force) => json!({"stop": {"type": hardness(force)?}}),
            Action::Reboot(force) => json!({"reboot": {"type": hardness(force)?}}),
            Action::Suspend => json!({"freeze": null}),
            Action::Resume => json!({"resume": null}),
            Action::Other(_) => return Err(Error::unsupported("this action")),
        };
        let entry = self.entry(Kind::Instance, id)?;
        // Whoever stops a node does not want it to be started by the order that made it.
        let halts = matches!(action, Action::Stop(_) | Action::Suspend);
        let outstanding = match entry.token().filter(|_| halts) {
            Some(token) => self.stop_starting(token)?,
            None => false,
        };
        let state = entry.state();
        let vain = match action {
            Action::Start => state == NodeState::Running,
            Action::Stop(_) => state == NodeState::Stopped,
            Action::Reboot(_) => matches!(state, NodeState::Stopped | NodeState::Suspended),
            Action::Suspend => matches!(state, NodeState::Stopped | NodeState::Suspended),
            Action::Resume | Action::Other(_) => matches!(state, NodeState::Stopped | NodeState::Running),
        };
        if vain && outstanding && matches!(action, Action::Stop(_)) {
            return Ok(());
        }
        if vain {
            let status = entry.status().unwrap_or_default();
            return Err(Error::Conflict(format!("at {}: the instance is {status}", self.settings.host)));
        }
        self.post_action(id, &body)
    }

    fn post_action(&self, id: &str, body: &Value) -> Result<()> {
        let call = self.post(format!("{}/action", wire::path("instances", id)), body);
        call.send_about("node", id, || self.is_listed(Kind::Instance, id)).map(drop)
    }
}

fn hardness(force: &Force) -> Result<&'static str> {
    match force {
        Force::Soft => Ok("SOFT"),
        Force::Hard => Ok("HARD"),
        Force::Other(_) => Err(Error::unsupported("this way to stop")),
    }
}
