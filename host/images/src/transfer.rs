//! The transfer: into the part, from where it ended, with a hash of all of it.

use crate::hops::{Clients, Landed, bare, place, read, too_large};
use crate::shelf::{Item, Shelf};
use crate::{Error, NO_ROOM, Settings};
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, IF_RANGE, LAST_MODIFIED, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt;
use jiff::fmt::rfc2822;
use ostler_egress::ResponseBody;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

/// Bytes that are written at once.
const CHUNK: usize = 1 << 20;
/// Bytes a second that must arrive.
const LEAST: u64 = 1 << 10;
/// Bytes after which is looked whether there is room.
const LOOK: u64 = 64 << 20;

/// Whose turn it is with a name, and whether it has ended. What runs on another thread has one too: it may outlive its caller.
#[derive(Clone)]
pub(crate) struct Turn {
    pub(crate) _held: Arc<OwnedMutexGuard<()>>,
    pub(crate) ended: CancellationToken,
}

impl Turn {
    pub(crate) fn go_on(&self) -> Result<(), Error> {
        if self.ended.is_cancelled() { Err(Error::interrupted("the image was given up")) } else { Ok(()) }
    }

    /// Runs what blocks on a thread where it may.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let turn = self.clone();
        match tokio::task::spawn_blocking(move || work(&turn)).await {
            Ok(result) => result,
            Err(error) => Err(Error::interrupted(format!("the image was given up: {error}"))),
        }
    }
}

/// Where a part came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct From {
    /// The hash of the address that was asked for, without its credentials.
    source: String,
    /// Where it led, without query.
    at: String,
    /// What tells whether the content is still the same (RFC 9110, section 8.8).
    validator: Option<String>,
    total: Option<u64>,
    complete: bool,
}

/// What has been transferred.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) checksum: String,
    pub(crate) bytes: u64,
}

/// A transfer.
pub(crate) struct Transfer<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) clients: &'a Clients,
    pub(crate) shelf: &'a Shelf,
    pub(crate) name: &'a str,
    pub(crate) turn: &'a Turn,
    pub(crate) progress: &'a (dyn Fn(u64, Option<u64>) + Send + Sync),
}

impl Transfer<'_> {
    /// Has the content of an address in the part.
    pub(crate) async fn run(&self, source: &Url) -> Result<Arrived, Error> {
        let fingerprint = hex(&Sha256::digest(bare(source).as_str()));
        let begun = self.shelf.read::<From>(self.name, Item::From)?.filter(|from| from.source == fingerprint);
        let have = self.shelf.length(self.name, Item::Part)?.unwrap_or(0);
        let mut begun = match begun {
            Some(from) if have > 0 && (from.validator.is_some() || from.complete) => Some(from),
            _ => None,
        };
        loop {
            let resume = begun.take();
            if resume.is_none() {
                self.shelf.remove_one(self.name, Item::Part)?;
            }
            let sink = Sink::open(self, resume.is_some()).await?;
            if let Some(from) = &resume
                && (from.complete || from.total == Some(sink.have))
            {
                (self.progress)(sink.have, Some(sink.have));
                return sink.end(self, from.clone()).await;
            }
            let landed = self.clients.ask(source, |at| resumption(resume.as_ref(), at, sink.have)).await?;
            let status = landed.response.status().as_u16();
            match status {
                200 | 206 => {}
                // The content has become shorter, or was complete: it begins anew, once.
                416 if resume.is_some() => continue,
                408 | 425 | 429 | 500..=599 => {
                    return Err(Error::interrupted(format!("{} answers {status}", place(&landed.at))));
                }
                _ => return Err(Error::refused(format!("{} answers {status}", place(&landed.at)))),
            }
            let from = From { source: fingerprint.clone(), ..about(&landed) };
            let continued = status == 206;
            if continued && !resume.as_ref().is_some_and(|resume| continues(resume, &from, &landed, sink.have)) {
                // What was asked for was something else; without a range the answer is the whole.
                if resume.is_none() {
                    return Err(Error::refused(format!("{} answers with a part that nobody asked for", place(&landed.at))));
                }
                continue;
            }
            let sink = if continued { sink } else { sink.anew(self)? };
            return self.stream(landed, sink, from).await;
        }
    }

    async fn stream(&self, landed: Landed, mut sink: Sink, from: From) -> Result<Arrived, Error> {
        let limit = self.settings.max_bytes;
        if from.total.is_some_and(|total| total > limit) {
            return Err(too_large(limit));
        }
        self.room(from.total.unwrap_or(0).saturating_sub(sink.have))?;
        self.shelf.write(self.name, Item::From, &from).map_err(Error::of_file)?;
        (self.progress)(sink.have, from.total);
        let (at, mut body) = (landed.at, landed.response.into_body());
        let mut looked = sink.have;
        let result = self.receive(&at, &mut body, &mut sink, from.total, &mut looked).await;
        // What has arrived is kept, whatever ended it.
        sink.flush(self).await?;
        result?;
        if from.total.is_some_and(|total| total != sink.have) {
            return Err(Error::interrupted(format!("{} ended the transfer too early", place(&at))));
        }
        (self.progress)(sink.have, Some(sink.have));
        sink.end(self, from).await
    }

    async fn receive(
        &self,
        at: &Url,
        body: &mut ResponseBody,
        sink: &mut Sink,
        total: Option<u64>,
        looked: &mut u64,
    ) -> Result<(), Error> {
        let stall = self.settings.stall;
        let (mut since, mut before) = (Instant::now(), sink.have);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| read(&error, at))?;
            let Ok(bytes) = frame.into_data() else { continue };
            if sink.have + (sink.buffer.len() + bytes.len()) as u64 > self.settings.max_bytes {
                return Err(too_large(self.settings.max_bytes));
            }
            if sink.put(self, &bytes).await? {
                (self.progress)(sink.have, total);
                if sink.have - *looked >= LOOK {
                    *looked = sink.have;
                    self.room(LOOK)?;
                }
            }
            let arrived = sink.have + sink.buffer.len() as u64;
            if since.elapsed() >= stall {
                if arrived - before < stall.as_millis().try_into().unwrap_or(u64::MAX).saturating_mul(LEAST) / 1_000 {
                    return Err(Error::interrupted(format!("{} sends too slowly", place(at))));
                }
                (since, before) = (Instant::now(), arrived);
            }
        }
        Ok(())
    }

    fn room(&self, bytes: u64) -> Result<(), Error> {
        if self.shelf.room(self.settings.keep_free)? < bytes.max(1) { Err(Error::interrupted(NO_ROOM)) } else { Ok(()) }
    }
}

/// The part while it is written.
struct Sink {
    /// None while they are on another thread.
    writer: Option<(File, Sha256)>,
    /// Bytes that are written.
    have: u64,
    buffer: BytesMut,
}

impl Sink {
    /// Opens the part; what is in it is hashed again.
    async fn open(transfer: &Transfer<'_>, resume: bool) -> Result<Self, Error> {
        let mut file = transfer.shelf.append(transfer.name, Item::Part)?;
        let mut sink = Self { writer: None, have: 0, buffer: BytesMut::with_capacity(CHUNK) };
        if !resume {
            file.set_len(0)?;
            sink.writer = Some((file, Sha256::new()));
            return Ok(sink);
        }
        let read = move |turn: &Turn| {
            let (mut hasher, mut have, mut buffer) = (Sha256::new(), 0, vec![0; CHUNK]);
            loop {
                turn.go_on()?;
                let count = file.read(&mut buffer)?;
                let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
                hasher.update(bytes);
                have += count as u64;
            }
            Ok(((file, hasher), have))
        };
        let (writer, have) = transfer.turn.blocking(read).await?;
        (sink.writer, sink.have) = (Some(writer), have);
        Ok(sink)
    }

    /// Begins anew.
    fn anew(mut self, transfer: &Transfer<'_>) -> Result<Self, Error> {
        let file = transfer.shelf.create(transfer.name, Item::Part)?;
        (self.writer, self.have) = (Some((file, Sha256::new())), 0);
        Ok(self)
    }

    /// Takes bytes; true where some were written.
    async fn put(&mut self, transfer: &Transfer<'_>, bytes: &Bytes) -> Result<bool, Error> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() < CHUNK {
            return Ok(false);
        }
        self.flush(transfer).await?;
        Ok(true)
    }

    async fn flush(&mut self, transfer: &Transfer<'_>) -> Result<(), Error> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let Some((mut file, mut hasher)) = self.writer.take() else {
            return Err(Error::interrupted("the image was given up"));
        };
        let bytes = std::mem::replace(&mut self.buffer, BytesMut::with_capacity(CHUNK)).freeze();
        let count = bytes.len() as u64;
        let write = move |_: &Turn| {
            file.write_all(&bytes).map_err(Error::of_file)?;
            hasher.update(&bytes);
            Ok((file, hasher))
        };
        self.writer = Some(transfer.turn.blocking(write).await?);
        self.have += count;
        Ok(())
    }

    /// All has arrived.
    async fn end(self, transfer: &Transfer<'_>, from: From) -> Result<Arrived, Error> {
        let Some((file, hasher)) = self.writer else { return Err(Error::interrupted("the image was given up")) };
        let (shelf, name, have) = (transfer.shelf.clone(), transfer.name.to_owned(), self.have);
        let end = move |_: &Turn| {
            file.sync_all().map_err(Error::of_file)?;
            shelf.write(&name, Item::From, &From { complete: true, total: Some(have), ..from }).map_err(Error::of_file)
        };
        transfer.turn.blocking(end).await?;
        Ok(Arrived { checksum: format!("sha256:{}", hex(&hasher.finalize())), bytes: have })
    }
}

/// The fields that ask for the rest, where it can be asked for.
fn resumption(begun: Option<&From>, at: &Url, have: u64) -> HeaderMap {
    let mut fields = HeaderMap::new();
    if let Some(begun) = begun
        && begun.at == without_query(at)
        && let Some(validator) = begun.validator.as_ref().and_then(|validator| HeaderValue::try_from(validator).ok())
        && let Ok(range) = HeaderValue::try_from(format!("bytes={have}-"))
    {
        fields.insert(RANGE, range);
        fields.insert(IF_RANGE, validator);
    }
    fields
}

/// What a response says of its content.
fn about(landed: &Landed) -> From {
    let headers = landed.response.headers();
    let total = match landed.response.status().as_u16() {
        206 => range(headers).and_then(|(_, total)| total),
        _ => text(headers, &CONTENT_LENGTH).and_then(|length| length.parse().ok()),
    };
    From { at: without_query(&landed.at), validator: validator(headers), total, ..From::default() }
}

/// Whether a part of the content is the rest of what was begun.
fn continues(begun: &From, now: &From, landed: &Landed, have: u64) -> bool {
    let same = now.validator.is_none() || now.validator == begun.validator;
    let whole = begun.total.is_none() || now.total.is_none() || begun.total == now.total;
    let here = range(landed.response.headers()).is_some_and(|(first, _)| first == have);
    same && whole && here && begun.at == now.at
}

/// A strong validator: an entity tag that is not weak, or a time of the last change that was past for a minute when the response
/// was made (RFC 9110, section 8.8.2.2, and the older RFC 7232, which names the minute).
fn validator(headers: &HeaderMap) -> Option<String> {
    if let Some(tag) = text(headers, &ETAG) {
        return (tag.starts_with('"') && tag.ends_with('"') && tag.len() > 2).then(|| tag.to_owned());
    }
    let changed = text(headers, &LAST_MODIFIED)?;
    let seconds = |date: &str| rfc2822::parse(date).ok().map(|date| date.timestamp().as_second());
    let age = seconds(text(headers, &DATE)?)?.checked_sub(seconds(changed)?)?;
    (age >= 60).then(|| changed.to_owned())
}

/// The first byte and the total of `Content-Range: bytes 5-9/10`.
fn range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let (bounds, total) = text(headers, &CONTENT_RANGE)?.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = bounds.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let total = match total.trim() {
        "*" => None,
        total => Some(total.parse::<u64>().ok()?),
    };
    // The rest, not a piece of it.
    (first <= last && total.is_none_or(|total| last.checked_add(1) == Some(total))).then_some((first, total))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

fn without_query(at: &Url) -> String {
    let mut at = at.clone();
    at.set_query(None);
    at.into()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_strong_validators_count() {
        let (late, early) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:48:30 GMT");
        for (fields, expected) in [
            (vec![(ETAG, "\"a\"")], Some("\"a\"")),
            (vec![(ETAG, "W/\"a\"")], None),
            (vec![(ETAG, "a")], None),
            (vec![(ETAG, "W/\"a\""), (LAST_MODIFIED, early), (DATE, late)], None),
            (vec![(LAST_MODIFIED, early), (DATE, late)], Some(early)),
            (vec![(LAST_MODIFIED, late), (DATE, late)], None),
            (vec![(LAST_MODIFIED, late), (DATE, early)], None),
            (vec![(LAST_MODIFIED, early)], None),
            (vec![(LAST_MODIFIED, "yesterday"), (DATE, late)], None),
            (vec![], None),
        ] {
            assert_eq!(validator(&headers(&fields)).as_deref(), expected, "{fields:?}");
        }
    }

    #[test]
    fn a_range_is_the_rest() {
        for (value, expected) in [
            ("bytes 5-9/10", Some((5, Some(10)))),
            ("bytes 5-9/*", Some((5, None))),
            ("bytes 5-8/10", None),
            ("bytes 9-5/10", None),
            ("bytes */10", None),
            ("bytes 0-18446744073709551615/10", None),
            ("lines 5-9/10", None),
            ("", None),
        ] {
            assert_eq!(range(&headers(&[(CONTENT_RANGE, value)])), expected, "{value}");
        }
    }
}
