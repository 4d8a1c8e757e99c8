//! Lists with what they leave out. The API's lists name objects only, so that each object is asked for besides, one request each.

use std::time::Duration;

use ostler_driver::http::{check_identifier, is_identifier};
use ostler_driver::{Error, Page, Result, bad_cursor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::http::Api;
use crate::wire::{self, Entry};

/// Objects on a page.
pub(crate) const PAGE: usize = 100;
/// After so long no further object is asked for: the call must end, and a whole listing has the time of one call.
pub(crate) const BUDGET: Duration = Duration::from_secs(4);
/// How long an object is good enough for a list for which there is no time.
const KEPT: Duration = Duration::from_secs(600);

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Instance,
    Image,
}

impl Kind {
    /// As the path has it, and the list's key.
    pub(crate) fn list(self) -> &'static str {
        match self {
            Self::Instance => "instances",
            Self::Image => "images",
        }
    }

    /// As the contract has it.
    fn name(self) -> &'static str {
        match self {
            Self::Instance => "node",
            Self::Image => "image",
        }
    }

    /// What an object stands below: the text has the plural for one instance.
    fn keys(self) -> [&'static str; 2] {
        match self {
            Self::Instance => ["instances", "instance"],
            Self::Image => ["image", "images"],
        }
    }
}

/// An object as it was at a time.
#[derive(Serialize, Deserialize)]
struct Kept {
    at: u64,
    whole: Value,
}

impl Api {
    /// What the list has, by identifier.
    pub(crate) fn entries(&self, kind: Kind) -> Result<Vec<Entry>> {
        let body = self.get(format!("/{}", kind.list())).json()?;
        let list = wire::list(&body, kind.list()).ok_or_else(|| self.failed(&format!("the answer has no `{}`", kind.list())))?;
        let mut entries = Vec::with_capacity(list.len());
        for value in list {
            entries.push(Entry::read(value).ok_or_else(|| self.failed(&format!("one of `{}` has no identifier", kind.list())))?);
        }
        entries.sort_by(|a, b| wire::order(&a.id).cmp(&wire::order(&b.id)));
        entries.dedup_by(|a, b| a.id == b.id);
        Ok(entries)
    }

    /// One object; `not-found` where there is none.
    pub(crate) fn entry(&self, kind: Kind, id: &str) -> Result<Entry> {
        check_identifier(kind.name(), id)?;
        let answer = self.get(wire::path(kind.list(), id)).send_about(kind.name(), id, || self.is_listed(kind, id))?;
        let whole = self.object(kind, &self.read(&answer)?)?;
        let kept = Kept { at: self.ctx.now(), whole };
        self.ctx.cache().set_json(&self.kept_key(kind, id), &kept, KEPT)?;
        Entry::read(kept.whole).filter(|entry| entry.id == id).ok_or_else(|| self.failed("the answer is about another object"))
    }

    /// The object of an answer.
    pub(crate) fn object(&self, kind: Kind, body: &Value) -> Result<Value> {
        wire::object(body, &kind.keys()).ok_or_else(|| self.failed(&format!("the answer has no {}", kind.name())))
    }

    /// Whether the list has an object.
    pub(crate) fn is_listed(&self, kind: Kind, id: &str) -> Result<bool> {
        Ok(self.entries(kind)?.iter().any(|entry| entry.id == id))
    }

    /// A page of entries with all that is known of them. Where the time is up, what was seen last has to do, or what the list has.
    /// Objects that have gone meanwhile are left out.
    pub(crate) fn page(&self, kind: Kind, entries: Vec<Entry>, cursor: Option<&str>) -> Result<Page<Entry>> {
        let start = match cursor {
            None => 0,
            Some(cursor) if !is_identifier(cursor) => return Err(bad_cursor(cursor)),
            Some(cursor) => entries.partition_point(|entry| wire::order(&entry.id) <= wire::order(cursor)),
        };
        let more = entries.len() > start.saturating_add(PAGE);
        let page: Vec<Entry> = entries.into_iter().skip(start).take(PAGE).collect();
        let next = page.last().filter(|_| more).map(|last| last.id.clone());
        Ok(Page { items: self.complete(kind, page)?, next })
    }

    fn complete(&self, kind: Kind, entries: Vec<Entry>) -> Result<Vec<Entry>> {
        let began = self.ctx.now();
        // Those first that were not seen for the longest time, so that in the end each has its turn.
        let kept: Vec<Option<Kept>> =
            entries.iter().map(|entry| self.ctx.cache().get_json(&self.kept_key(kind, &entry.id))).collect();
        let mut slots: Vec<(usize, Entry, Option<Kept>)> =
            entries.into_iter().zip(kept).enumerate().map(|(at, (entry, kept))| (at, entry, kept)).collect();
        slots.sort_by_key(|(at, _, kept)| (kept.as_ref().map(|kept| kept.at), *at));
        let (mut complete, mut late) = (Vec::with_capacity(slots.len()), 0_usize);
        for (at, entry, kept) in slots {
            if entry.status().is_some() {
                // A far side that tells more than it must.
                complete.push((at, entry));
            } else if Duration::from_micros(self.ctx.now().saturating_sub(began)) < BUDGET {
                match self.entry(kind, &entry.id) {
                    Ok(entry) => complete.push((at, entry)),
                    Err(Error::NotFound(_)) => {}
                    Err(error) => return Err(error),
                }
            } else {
                late += 1;
                let seen = kept.and_then(|kept| Entry::read(kept.whole)).filter(|seen| seen.name == entry.name);
                complete.push((at, seen.unwrap_or(entry)));
            }
        }
        if late > 0 {
            self.ctx.log().warn("not all was asked for in time", &[("list", kind.list()), ("left", &late.to_string())]);
        }
        complete.sort_by_key(|(at, _)| *at);
        Ok(complete.into_iter().map(|(_, entry)| entry).collect())
    }

    /// The first object whose name has a token. With `settle`, others with the same token, of orders that took effect twice, are
    /// deleted.
    pub(crate) fn by_token(&self, kind: Kind, token: &str, settle: bool) -> Result<Option<Entry>> {
        let mut found = self.entries(kind)?.into_iter().filter(|entry| entry.token() == Some(token));
        let first = found.next();
        for double in found.filter(|_| settle) {
            let fields = [("token", token), ("id", double.id.as_str())];
            match self.delete(wire::path(kind.list(), &double.id)).send() {
                Ok(_) => self.ctx.log().warn("an order took effect twice: the second is deleted", &fields),
                Err(Error::NotFound(_)) => {}
                Err(error) => {
                    let fields = [fields.as_slice(), &[("error", error.message())]].concat();
                    self.ctx.log().warn("an order took effect twice, and the second is there still", &fields);
                }
            }
        }
        Ok(first)
    }

    fn kept_key(&self, kind: Kind, id: &str) -> String {
        self.cache_key(&format!("{}/{id}", kind.list()))
    }
}
