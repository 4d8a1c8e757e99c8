//! Lists of servers, and the search for one by its token.

use std::time::Duration;

use ostler_driver::http::Answer;
use ostler_driver::{Error, Node, Page, Result, bad_cursor, time};
use serde::{Deserialize, Serialize};

use super::flavors::check_cursor;
use super::server::Server;
use crate::auth::Service;
use crate::http::{Api, Call, Link, marker, next};
use crate::microversion::{CREATE, SERVERS};

/// Nova's clocks differ among each other, and a change is visible a moment after its time.
const OVERLAP_US: u64 = 10_000_000;

#[derive(Deserialize)]
struct Servers {
    servers: Vec<Server>,
    #[serde(default)]
    servers_links: Vec<Link>,
}

/// A whole list, as it was at a time.
#[derive(Serialize, Deserialize)]
struct Snapshot {
    /// When it was read as a whole, by our clock.
    read_at: u64,
    /// Until when all changes are in it, by Nova's clock.
    until: u64,
    servers: Vec<Server>,
}

impl Api {
    /// A page of nodes.
    ///
    /// A list of one page is kept for a while and only brought up to date: `changes-since` costs a twentieth of a whole list.
    pub(crate) fn nodes(&self, cursor: Option<&str>) -> Result<Page<Node>> {
        check_cursor(cursor)?;
        if cursor.is_none()
            && let Some(servers) = self.refresh()?
        {
            return Ok(Page::last(nodes(&servers)));
        }
        let mut call = self.details(&self.settings.page_size.to_string())?;
        if let Some(cursor) = cursor {
            call = call.query("marker", cursor);
        }
        let answer = match (call.send(), cursor) {
            (Err(Error::Invalid(_) | Error::NotFound(_)), Some(cursor)) => return Err(bad_cursor(cursor)),
            (answer, _) => answer?,
        };
        let page: Servers = answer.json()?;
        let next = next(page.servers_links).as_deref().and_then(marker);
        // For a moment Nova lists what it has deleted.
        let servers: Vec<Server> = page.servers.into_iter().filter(|server| !server.is_gone()).collect();
        let items = nodes(&servers);
        if cursor.is_none() && next.is_none() {
            self.keep(&answer, self.ctx.now(), servers)?;
        }
        Ok(Page { items, next })
    }

    /// What is kept, with the changes since; none where nothing is kept or the changes do not fit on a page.
    fn refresh(&self) -> Result<Option<Vec<Server>>> {
        let Some(mut kept) = self.ctx.cache().get_json::<Snapshot>(&self.cache_key("servers")) else { return Ok(None) };
        let since = time::format(kept.until.saturating_sub(OVERLAP_US));
        let answer = self.details(&self.settings.page_size.to_string())?.query("changes-since", &since).send()?;
        let changes: Servers = answer.json()?;
        if next(changes.servers_links).is_some() {
            self.forget_snapshot();
            return Ok(None);
        }
        // The latest come first, as in a whole list.
        for server in changes.servers.into_iter().rev() {
            let position = kept.servers.iter().position(|known| known.id == server.id);
            match (position, server.is_gone()) {
                (Some(at), true) => drop(kept.servers.remove(at)),
                (Some(at), false) => kept.servers[at] = server,
                (None, true) => {}
                (None, false) => kept.servers.insert(0, server),
            }
        }
        self.keep(&answer, kept.read_at, kept.servers.clone())?;
        Ok(Some(kept.servers))
    }

    fn keep(&self, answer: &Answer, read_at: u64, servers: Vec<Server>) -> Result<()> {
        let age = Duration::from_micros(self.ctx.now().saturating_sub(read_at));
        let left = Duration::from_secs(self.settings.snapshot_seconds).saturating_sub(age);
        // Without Nova's own time nobody knows what has changed since.
        if let Some(until) = answer.header("date").and_then(time::parse_http).filter(|_| !left.is_zero()) {
            self.ctx.cache().set_json(&self.cache_key("servers"), &Snapshot { read_at, until, servers }, left)?;
        }
        Ok(())
    }

    /// After a change that `changes-since` may not tell, or not yet.
    pub(crate) fn forget_snapshot(&self) {
        self.ctx.cache().delete(&self.cache_key("servers"));
    }

    /// The server with this token. Of several, which nothing here makes, the first that was created.
    ///
    /// The metadata says it; the tag is how Nova finds it without listing all. Where Nova takes no tags when a server is
    /// created, all servers are looked through.
    pub(crate) fn find_server(&self, token: &str) -> Result<Option<Server>> {
        let mut call = self.details("1000")?;
        if self.microversion(CREATE)? >= Some(CREATE) {
            call = call.query("tags", &tag(token));
        }
        let all = call.pages(|page: Servers| (page.servers, next(page.servers_links)))?;
        let mut found: Vec<_> = all.into_iter().filter(|server| server.token() == Some(token) && !server.is_gone()).collect();
        found.sort_by(|a, b| (&a.created, &a.id).cmp(&(&b.created, &b.id)));
        if found.len() > 1 {
            let ids: Vec<_> = found.iter().map(|server| server.id.as_str()).collect();
            self.ctx.log().warn("several servers carry one token", &[("token", token), ("servers", &ids.join(" "))]);
        }
        Ok(found.into_iter().next())
    }

    fn details(&self, limit: &str) -> Result<Call<'_>> {
        let version = self.microversion(SERVERS)?;
        Ok(self.get(Service::Compute, "/servers/detail").microversion(version).query("limit", limit))
    }
}

fn nodes(servers: &[Server]) -> Vec<Node> {
    servers.iter().map(Server::node).collect()
}

/// The tag of a token. Nova's tags have at most 60 characters, so that of a long token is cut; the metadata decides.
pub(super) fn tag(token: &str) -> String {
    format!("ostler:{token}").chars().take(60).collect()
}
