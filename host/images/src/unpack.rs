//! From a packed image to its content: within the limits, and without writing what is zero.

use crate::content::Kind;
use crate::shelf::Shelf;
use crate::transfer::Turn;
use crate::{Error, NO_ROOM, Settings, archive, shown};
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::os::unix::fs::FileExt;

/// Bytes that are read and written at once.
const CHUNK: usize = 64 << 10;
/// Bytes of an archive besides its image, at most.
const BESIDES: u64 = 256 << 20;
/// Written bytes after which is looked whether there is room.
const LOOK: u64 = 64 << 20;

/// Unpacks what is compressed with gzip, or in a tar archive, or both.
pub(crate) fn unpack(part: File, kind: Kind, out: &File, shelf: &Shelf, settings: &Settings, turn: &Turn) -> Result<(), Error> {
    let reader: Box<dyn Read> = match kind {
        Kind::Gzip => Box::new(MultiGzDecoder::new(BufReader::with_capacity(CHUNK, part))),
        _ => Box::new(part),
    };
    let most = settings.max_disk_bytes;
    let mut source = Source { reader, ahead: Vec::new(), left: most.saturating_add(BESIDES), most, turn };
    let mut out = Out { file: out, at: 0, most, written: 0, looked: 0, room: Box::new(|| Ok(shelf.room(settings.keep_free)?)) };
    let mut head = vec![0; archive::BLOCK];
    let have = source.fill(&mut head)?;
    head.truncate(have);
    let tar = archive::is_header(&head);
    source.ahead = head;
    if tar {
        archive::extract(&mut source, &mut out)?;
    } else {
        source.copy(u64::MAX, &mut out)?;
    }
    // What is at the end tells whether all of it was right.
    let mut rest = vec![0; CHUNK];
    while source.read(&mut rest)? != 0 {}
    out.end()
}

/// What is unpacked, as it comes.
pub(crate) struct Source<'a> {
    reader: Box<dyn Read + 'a>,
    /// What was read to be looked at.
    pub(crate) ahead: Vec<u8>,
    /// Bytes that may still come.
    left: u64,
    most: u64,
    turn: &'a Turn,
}

impl Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        self.turn.go_on()?;
        if !self.ahead.is_empty() && !buffer.is_empty() {
            let count = self.ahead.len().min(buffer.len());
            for (to, from) in buffer.iter_mut().zip(self.ahead.drain(..count)) {
                *to = from;
            }
            return Ok(count);
        }
        let count = loop {
            match self.reader.read(buffer) {
                Ok(count) => break count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof) =>
                {
                    return Err(Error::refused("the image is compressed with gzip, and broken"));
                }
                Err(error) => return Err(error.into()),
            }
        };
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| too_large(self.most))?;
        Ok(count)
    }

    /// Reads until the buffer is full or nothing comes any more.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut have = 0;
        while let Some(rest) = buffer.get_mut(have..).filter(|rest| !rest.is_empty()) {
            match self.read(rest)? {
                0 => break,
                more => have += more,
            }
        }
        Ok(have)
    }

    /// Writes so many bytes, or all that come; how many came.
    pub(crate) fn copy(&mut self, count: u64, out: &mut Out<'_>) -> Result<u64, Error> {
        self.pass(count, |bytes| out.write(bytes))
    }

    /// Passes over so many bytes, or all that come.
    pub(crate) fn skip(&mut self, count: u64) -> Result<u64, Error> {
        self.pass(count, |_| Ok(()))
    }

    fn pass(&mut self, count: u64, mut to: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<u64, Error> {
        let (mut buffer, mut done) = (vec![0; CHUNK], 0);
        while done < count {
            let wanted = usize::try_from(count - done).unwrap_or(CHUNK).min(CHUNK);
            let have = self.fill(buffer.get_mut(..wanted).unwrap_or_default())?;
            if have == 0 {
                break;
            }
            to(buffer.get(..have).unwrap_or_default())?;
            done += have as u64;
        }
        Ok(done)
    }
}

/// The file that is written.
pub(crate) struct Out<'a> {
    file: &'a File,
    at: u64,
    most: u64,
    written: u64,
    looked: u64,
    room: Box<dyn Fn() -> Result<u64, Error> + 'a>,
}

impl Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let next = self.at.saturating_add(bytes.len() as u64);
        if next > self.most {
            return Err(too_large(self.most));
        }
        if bytes.iter().any(|byte| *byte != 0) {
            if self.written == 0 || self.written - self.looked >= LOOK {
                self.looked = self.written;
                if (self.room)()? < LOOK {
                    return Err(Error::interrupted(NO_ROOM));
                }
            }
            self.file.write_all_at(bytes, self.at).map_err(Error::of_file)?;
            self.written += bytes.len() as u64;
        }
        self.at = next;
        Ok(())
    }

    fn end(&self) -> Result<(), Error> {
        self.file.set_len(self.at).map_err(Error::of_file)
    }
}

fn too_large(most: u64) -> Error {
    Error::refused(format!("the image unpacks to more than the {} that are permitted", shown(most)))
}
