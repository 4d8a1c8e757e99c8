//! Where the nodes are: in the cloud's state, so that any number of instances share them.
//!
//! | key | value |
//! |---|---|
//! | `meta` | [`Meta`]; absent until the first change |
//! | `n/<sequence>` | a [`Record`], or a tombstone in place of one of the first nodes |
//! | `t/<token>` | the sequence of the node that was made with the token |
//! | `i/<id>/<sequence>` | empty; only in the fake form, whose identifiers repeat |
//!
//! The first nodes exist without being written: a sequence below [`Meta::initial`] without an entry is such a node. Creating and
//! destroying write a few keys, whatever the number of nodes, on the condition that `meta` did not change, so that they
//! happen one after the other.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use ostler_driver::{Action, Context, Error, Node, NodeSpec, NodeState, Page, Result, bad_cursor, check_token, is_token};
use serde::{Deserialize, Serialize};

use crate::catalog;
use crate::record::{Record, TOMBSTONE};
use crate::settings::{Form, Settings};

const META: &str = "meta";
/// Nodes that an instance keeps decoded at most.
const MAX_CACHED: usize = 20_000;

/// What must be known of all nodes together.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// How many nodes exist.
    pub(crate) count: u64,
    /// The sequence of the next node.
    pub(crate) next: u64,
    /// How many nodes there were at first.
    pub(crate) initial: u64,
    /// The number of the next image.
    pub(crate) images: u64,
}

/// A node in its place.
struct Found {
    sequence: u64,
    record: Record,
    /// The version of its entry; none for one of the first nodes that has not changed.
    version: Option<u64>,
}

/// A decoded page.
struct Decoded {
    nodes: Vec<(Node, Option<(u64, NodeState)>)>,
    next: Option<u64>,
}

/// What was decoded at one revision.
#[derive(Default)]
struct Cached {
    revision: u64,
    pages: HashMap<Option<u64>, Rc<Decoded>>,
    nodes: usize,
}

/// The nodes of one cloud, by one instance.
pub(crate) struct Store {
    ctx: Context,
    cached: RefCell<Cached>,
}

impl Store {
    pub(crate) fn new(ctx: Context) -> Self {
        Self { ctx, cached: RefCell::default() }
    }

    /// `meta` and its version; none where nothing has changed yet.
    pub(crate) fn meta(&self, settings: &Settings) -> Result<(Meta, Option<u64>)> {
        Ok(match self.ctx.state().get_json(META)? {
            Some(entry) => (entry.value, Some(entry.version)),
            None => (Meta { count: settings.nodes, next: settings.nodes, initial: settings.nodes, images: 0 }, None),
        })
    }

    /// The key under which [`Meta`] is kept, for commits that depend on it.
    pub(crate) const META: &'static str = META;

    /// One page.
    pub(crate) fn page(&self, settings: &Settings, cursor: Option<&str>) -> Result<Page<Node>> {
        let after = match cursor {
            None => None,
            Some(text) => Some(number(text).ok_or_else(|| bad_cursor(text))?),
        };
        let decoded = self.decoded(settings, after)?;
        // The clock is read only where something is on its way.
        let mut now = None;
        let nodes = decoded.nodes.iter().map(|(node, moving)| {
            let state = moving.as_ref().filter(|(end, _)| *now.get_or_insert_with(|| self.ctx.now()) < *end);
            match state {
                Some((_, state)) => Node { state: state.clone(), ..node.clone() },
                None => node.clone(),
            }
        });
        Ok(Page { items: nodes.collect(), next: decoded.next.map(|sequence| sequence.to_string()) })
    }

    /// All nodes, page by page.
    pub(crate) fn all(&self, settings: &Settings, mut look: impl FnMut(Node)) -> Result<()> {
        let mut cursor = None;
        loop {
            let page = self.page(settings, cursor.as_deref())?;
            page.items.into_iter().for_each(&mut look);
            match page.next {
                None => return Ok(()),
                next => cursor = next,
            }
        }
    }

    /// One page as it was at this revision, decoded once.
    fn decoded(&self, settings: &Settings, after: Option<u64>) -> Result<Rc<Decoded>> {
        // Read before the entries: what they say is at least as new.
        let revision = self.ctx.state().revision()?;
        {
            let mut cached = self.cached.borrow_mut();
            if cached.revision != revision || cached.nodes > MAX_CACHED {
                *cached = Cached { revision, ..Cached::default() };
            } else if let Some(page) = cached.pages.get(&after) {
                return Ok(Rc::clone(page));
            }
        }
        let decoded = Rc::new(self.read(settings, after)?);
        let mut cached = self.cached.borrow_mut();
        cached.nodes += decoded.nodes.len();
        cached.pages.insert(after, Rc::clone(&decoded));
        Ok(decoded)
    }

    /// Merges the first nodes with the entries, both in order of sequence.
    fn read(&self, settings: &Settings, after: Option<u64>) -> Result<Decoded> {
        let size = settings.page_size as usize;
        let (meta, _) = self.meta(settings)?;
        let mut first = after.map_or(0, |after| after + 1)..meta.initial;
        let mut entries = self.ctx.state().entries("n/").at_once(settings.page_size + 1);
        if let Some(after) = after {
            entries = entries.after(node_key(after));
        }
        let mut entries = entries.peekable();
        let mut nodes: Vec<(u64, Record)> = Vec::new();
        while nodes.len() <= size {
            let entry = match entries.peek() {
                None => None,
                Some(Ok(entry)) => Some(sequence_of(&entry.key)?),
                Some(Err(error)) => return Err(error.clone().into()),
            };
            match (first.start < first.end, entry) {
                (true, entry) if entry.is_none_or(|entry| entry > first.start) => {
                    nodes.push((first.start, catalog::initial(settings.form, first.start)));
                    first.start += 1;
                }
                (_, Some(sequence)) => {
                    first.start = first.start.max(sequence + 1);
                    if let Some(record) =
                        entries.next().transpose()?.map(|entry| Record::decode(&entry.value)).transpose()?.flatten()
                    {
                        nodes.push((sequence, record));
                    }
                }
                (_, None) => break,
            }
        }
        let more = nodes.len() > size;
        nodes.truncate(size);
        let next = nodes.last().map(|(sequence, _)| *sequence).filter(|_| more);
        let nodes = nodes.into_iter().map(|(_, record)| {
            let moving = record.moving(settings.boot_us);
            (record.settled(), moving)
        });
        Ok(Decoded { nodes: nodes.collect(), next })
    }

    /// The node in this place.
    fn at(&self, settings: &Settings, meta: &Meta, sequence: u64) -> Result<Option<Found>> {
        let found = |record, version| Found { sequence, record, version };
        Ok(match self.ctx.state().get(&node_key(sequence))? {
            Some(entry) => Record::decode(&entry.value)?.map(|record| found(record, Some(entry.version))),
            None => (sequence < meta.initial).then(|| found(catalog::initial(settings.form, sequence), None)),
        })
    }

    /// The first node of the list with this identifier.
    fn by_id(&self, settings: &Settings, meta: &Meta, id: &str) -> Result<Option<Found>> {
        let digits = match settings.form {
            Form::Fake => Some(id),
            Form::Plain => id.strip_prefix("node-"),
        };
        // Numbers count from one, and only as they are written.
        let Some(sequence) = digits.and_then(number).and_then(|number| number.checked_sub(1)) else { return Ok(None) };
        if catalog::node_id(settings.form, sequence, sequence) != id {
            return Ok(None);
        }
        if settings.form == Form::Plain || sequence < meta.initial {
            let found = self.at(settings, meta, sequence)?;
            if found.is_some() || settings.form == Form::Plain {
                return Ok(found);
            }
        }
        let prefix = format!("i/{id}/");
        let Some(entry) = self.ctx.state().list(&prefix, None, 1)?.pop() else { return Ok(None) };
        self.at(settings, meta, sequence_of(&entry.key)?)
    }

    /// One node.
    pub(crate) fn get(&self, settings: &Settings, id: &str) -> Result<Node> {
        let (meta, _) = self.meta(settings)?;
        let found = self.by_id(settings, &meta, id)?.ok_or_else(|| Error::not_found("node", id))?;
        Ok(found.record.node(self.ctx.now(), settings.boot_us))
    }

    /// The node that was made with this token.
    pub(crate) fn by_token(&self, settings: &Settings, token: &str) -> Result<Option<Node>> {
        if !is_token(token) {
            return Ok(None);
        }
        let Some(entry) = self.ctx.state().get(&token_key(token))? else { return Ok(None) };
        let sequence = String::from_utf8(entry.value)?;
        let sequence = number(&sequence).ok_or_else(|| Error::Failed(format!("the entry of token `{token}` is malformed")))?;
        let entry = self.ctx.state().get(&node_key(sequence))?;
        let record = entry.map(|entry| Record::decode(&entry.value)).transpose()?.flatten();
        Ok(record.map(|record| record.node(self.ctx.now(), settings.boot_us)))
    }

    /// Makes a node, or answers the one that was made with this token. `check` refuses what cannot be ordered.
    pub(crate) fn create(
        &self,
        settings: &Settings,
        token: &str,
        spec: &NodeSpec,
        check: impl Fn() -> Result<()>,
    ) -> Result<Node> {
        check_token(token)?;
        let state = self.ctx.state();
        state.retry(|| {
            // First of all: what is read after it holds if it did not change until the commit.
            let (meta, version) = self.meta(settings)?;
            if let Some(node) = self.by_token(settings, token)? {
                return Ok(Some(node));
            }
            check()?;
            if let Some(quota) = settings.quota_nodes.filter(|quota| meta.count >= *quota) {
                return Err(Error::Quota(format!("the account may have {quota} nodes")));
            }
            if let Some(capacity) = settings.capacity_nodes.filter(|capacity| meta.count >= *capacity) {
                return Err(Error::Capacity(format!("the cloud has room for {capacity} nodes")));
            }
            let now = self.ctx.now();
            let record = catalog::ordered(settings, meta.next, meta.count, token, spec, now)?;
            let after = Meta { count: meta.count + 1, next: meta.next + 1, ..meta };
            let mut commit = state
                .commit()
                .require(META, version)
                .require_absent(token_key(token))
                .put_json(META, &after)?
                .put(node_key(meta.next), record.encode()?)
                .put(token_key(token), meta.next.to_string());
            if settings.form == Form::Fake {
                commit = commit.put(id_key(&record.id, meta.next), "");
            }
            Ok(commit.try_run()?.map(|_| record.node(now, settings.boot_us)))
        })
    }

    /// Removes the first node with this identifier.
    pub(crate) fn destroy(&self, settings: &Settings, id: &str) -> Result<()> {
        let state = self.ctx.state();
        state.retry(|| {
            let (meta, version) = self.meta(settings)?;
            let found = self.by_id(settings, &meta, id)?.ok_or_else(|| Error::not_found("node", id))?;
            let after = Meta { count: meta.count.saturating_sub(1), ..meta };
            let key = node_key(found.sequence);
            let mut commit = state.commit().require(META, version).require(&key, found.version).put_json(META, &after)?;
            if found.sequence < meta.initial {
                commit = commit.put(key, TOMBSTONE);
            } else {
                commit = commit.delete(key);
                if settings.form == Form::Fake {
                    commit = commit.delete(id_key(id, found.sequence));
                }
            }
            if let Some(token) = &found.record.token {
                commit = commit.delete(token_key(token));
            }
            Ok(commit.try_run()?.map(|_| ()))
        })
    }

    /// Changes what the first node with this identifier does.
    pub(crate) fn act(&self, settings: &Settings, id: &str, action: &Action) -> Result<()> {
        let state = self.ctx.state();
        state.retry(|| {
            let (meta, version) = self.meta(settings)?;
            let mut found = self.by_id(settings, &meta, id)?.ok_or_else(|| Error::not_found("node", id))?;
            found.record.act(action, self.ctx.now(), settings.boot_us)?;
            let key = node_key(found.sequence);
            let mut commit = state.commit().require(&key, found.version).put(key, found.record.encode()?);
            if version.is_none() {
                // The first change: from now on the number of first nodes is fixed.
                commit = commit.require_absent(META).put_json(META, &meta)?;
            }
            Ok(commit.try_run()?.map(|_| ()))
        })
    }
}

fn node_key(sequence: u64) -> String {
    format!("n/{sequence:012}")
}

fn token_key(token: &str) -> String {
    format!("t/{token}")
}

fn id_key(id: &str, sequence: u64) -> String {
    format!("i/{id}/{sequence:012}")
}

/// The sequence at the end of a key.
fn sequence_of(key: &str) -> Result<u64> {
    let digits = key.rsplit('/').next().unwrap_or_default();
    number(digits).ok_or_else(|| Error::Failed(format!("the key `{key}` is not of this driver")))
}

/// A number of at most twelve digits, without sign.
pub(crate) fn number(text: &str) -> Option<u64> {
    ((1..=12).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}
