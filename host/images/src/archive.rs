//! Tar archives (POSIX `ustar` and `pax`, GNU, and the old form) with one image in them. A reader of our own, since what it must not
//! do is more than what it must: it writes nothing under a name of the archive, keeps no more than a name in memory, and refuses
//! what is neither a file nor a directory.

use crate::Error;
use crate::content::{self, Kind};
use crate::unpack::{Out, Source};

/// Bytes of a header, and what the size of each content is rounded up to.
pub(crate) const BLOCK: usize = 512;
/// Entries of an archive, and bytes of a long name or of attributes.
const ENTRIES: usize = 10_000;
const ATTRIBUTES: u64 = 64 << 10;
/// What images are called. What content they have is looked at afterwards.
const IMAGES: [&str; 6] = ["img", "raw", "qcow2", "qcow", "disk", "iso"];
/// What images of other formats are called.
const OTHERS: [&str; 6] = ["vmdk", "vdi", "vhd", "vhdx", "qed", "ova"];

/// Whether a block is the header of an entry.
pub(crate) fn is_header(block: &[u8]) -> bool {
    let Some(block) = block.get(..BLOCK) else { return false };
    if block.first() == Some(&0) {
        return false;
    }
    let blank = |at: usize| (148..156).contains(&at);
    let sum: u64 = block.iter().enumerate().map(|(at, byte)| if blank(at) { 32 } else { u64::from(*byte) }).sum();
    octal(block, 148, 8) == Some(sum)
}

fn field(block: &[u8], at: usize, length: usize) -> &[u8] {
    block.get(at..at + length).unwrap_or_default()
}

/// A text that ends at a zero, or with its field.
fn text(field: &[u8]) -> Vec<u8> {
    field.iter().take_while(|byte| **byte != 0).copied().collect()
}

fn octal(block: &[u8], at: usize, length: usize) -> Option<u64> {
    let digits = text(field(block, at, length));
    let digits = std::str::from_utf8(&digits).ok()?.trim();
    u64::from_str_radix(digits, 8).ok()
}

/// A size: octal digits or, for large ones, GNU's binary form.
fn size(block: &[u8]) -> Option<u64> {
    match field(block, 124, 12) {
        [0x80, rest @ ..] => rest.iter().try_fold(0_u64, |value, byte| value.checked_mul(256)?.checked_add(u64::from(*byte))),
        _ => octal(block, 124, 12),
    }
}

/// What an entry's attributes say, which stand before it.
#[derive(Default)]
struct Attributes {
    path: Option<Vec<u8>>,
    size: Option<u64>,
}

/// Writes the one image of an archive.
pub(crate) fn extract(source: &mut Source<'_>, out: &mut Out<'_>) -> Result<(), Error> {
    let broken = || Error::refused("the tar archive is broken");
    let (mut found, mut attributes) = (false, Attributes::default());
    for _ in 0..ENTRIES {
        let mut block = [0; BLOCK];
        let have = source.fill(&mut block)?;
        if have == 0 || (have == BLOCK && block.iter().all(|byte| *byte == 0)) {
            return if found { Ok(()) } else { Err(nothing()) };
        }
        if have < BLOCK || !is_header(&block) {
            return Err(broken());
        }
        let bytes = size(&block).ok_or_else(broken)?;
        let kind = block.get(156).copied().unwrap_or_default();
        if matches!(kind, b'L' | b'K' | b'x' | b'g') {
            let content = small(source, bytes)?;
            match kind {
                b'L' => attributes.path = Some(text(&content)),
                b'K' => {}
                b'x' => attributes.read(&content)?,
                // For all entries: what would rename them or change their sizes is nothing that archives of images have.
                _ => {
                    let mut global = Attributes::default();
                    global.read(&content)?;
                    if global.path.is_some() || global.size.is_some() {
                        return Err(broken());
                    }
                }
            }
            continue;
        }
        let Attributes { path, size } = std::mem::take(&mut attributes);
        let path = path.unwrap_or_else(|| path_of(&block));
        check_path(&path)?;
        let bytes = size.unwrap_or(bytes);
        match kind {
            b'5' => pass(source, bytes)?,
            b'0' | 0 | b'7' => found |= file(source, out, &path, bytes, found)?,
            _ => return Err(Error::refused(format!("the tar archive has {}, which are not unpacked", called(kind)))),
        }
    }
    Err(Error::refused(format!("the tar archive has more than {ENTRIES} entries")))
}

/// A file; whether it is the image.
fn file(source: &mut Source<'_>, out: &mut Out<'_>, path: &[u8], bytes: u64, found: bool) -> Result<bool, Error> {
    let mut head = vec![0; usize::try_from(bytes).unwrap_or(BLOCK).min(BLOCK)];
    if source.fill(&mut head)? < head.len() {
        return Err(short());
    }
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let suffix = match name.iter().rposition(|byte| *byte == b'.') {
        Some(dot) if dot > 0 => String::from_utf8_lossy(name.get(dot + 1..).unwrap_or_default()).to_ascii_lowercase(),
        _ => String::new(),
    };
    // Attributes of macOS lie beside the files, under their names.
    let beside = name.starts_with(b"._");
    let image = !beside && (IMAGES.contains(&suffix.as_str()) || matches!(content::known(&head), Ok(Some(Kind::Qcow2))));
    if OTHERS.contains(&suffix.as_str()) && !beside {
        return Err(Error::refused(format!("the tar archive has an image in the format {suffix}; qcow2 and raw are understood")));
    }
    let mut ahead = std::mem::replace(&mut source.ahead, head);
    source.ahead.append(&mut ahead);
    if !image {
        pass(source, bytes)?;
        return Ok(false);
    }
    if found {
        return Err(Error::refused("the tar archive has more than one image"));
    }
    if source.copy(bytes, out)? < bytes {
        return Err(short());
    }
    pad(source, bytes)?;
    Ok(true)
}

fn short() -> Error {
    Error::refused("the tar archive ends too early")
}

fn nothing() -> Error {
    Error::refused(format!("the tar archive has no image: a file in the format qcow2, or called .{}", IMAGES.join(", .")))
}

/// The content of an entry that describes another.
fn small(source: &mut Source<'_>, bytes: u64) -> Result<Vec<u8>, Error> {
    if bytes > ATTRIBUTES {
        return Err(Error::refused("the tar archive has names or attributes that are too long"));
    }
    let mut content = vec![0; usize::try_from(bytes).unwrap_or_default()];
    if source.fill(&mut content)? < content.len() {
        return Err(short());
    }
    pad(source, bytes)?;
    Ok(content)
}

fn pass(source: &mut Source<'_>, bytes: u64) -> Result<(), Error> {
    if source.skip(bytes)? < bytes {
        return Err(short());
    }
    pad(source, bytes)
}

fn pad(source: &mut Source<'_>, bytes: u64) -> Result<(), Error> {
    source.skip((BLOCK as u64 - bytes % BLOCK as u64) % BLOCK as u64).map(drop)
}

fn path_of(block: &[u8]) -> Vec<u8> {
    let name = text(field(block, 0, 100));
    // GNU's own form has other things where POSIX has the beginning of a long path.
    let prefix = if field(block, 257, 8) == b"ustar\x0000" { text(field(block, 345, 155)) } else { Vec::new() };
    if prefix.is_empty() { name } else { [prefix, name].join(&b'/') }
}

fn check_path(path: &[u8]) -> Result<(), Error> {
    let outside = path.starts_with(b"/") || path.split(|byte| *byte == b'/').any(|part| part == b"..");
    if path.is_empty() || outside {
        return Err(Error::refused("the tar archive has a path that leads out of it"));
    }
    Ok(())
}

fn called(kind: u8) -> &'static str {
    match kind {
        b'1' | b'2' => "links",
        b'3' | b'4' => "devices",
        b'6' => "pipes",
        b'S' => "files with holes",
        _ => "entries of an unknown kind",
    }
}

impl Attributes {
    /// Reads records of the form `LENGTH KEY=VALUE\n` (POSIX, pax interchange format).
    fn read(&mut self, mut content: &[u8]) -> Result<(), Error> {
        let broken = || Error::refused("the tar archive has broken attributes");
        while !content.is_empty() {
            let blank = content.iter().position(|byte| *byte == b' ').ok_or_else(broken)?;
            let length = content.get(..blank).and_then(|digits| std::str::from_utf8(digits).ok());
            let length: usize = length.and_then(|digits| digits.parse().ok()).ok_or_else(broken)?;
            let record = content.get(blank + 1..length).and_then(|record| record.strip_suffix(b"\n")).ok_or_else(broken)?;
            content = content.get(length..).unwrap_or_default();
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(broken)?;
            let (key, value) = (record.get(..equals).unwrap_or_default(), record.get(equals + 1..).unwrap_or_default());
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|size| size.parse().ok());
                    self.size = Some(size.ok_or_else(broken)?);
                }
                key if key.starts_with(b"GNU.sparse.") => {
                    return Err(Error::refused("the tar archive has files with holes, which are not unpacked"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    /// The header of an entry.
    pub(crate) fn header(name: &str, kind: u8, bytes: u64) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[100..107].copy_from_slice(b"0000644");
        block[124..135].copy_from_slice(format!("{bytes:011o}").as_bytes());
        block[156] = kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        block
    }

    /// An entry.
    pub(crate) fn entry(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = header(name, kind, content.len() as u64);
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }

    /// An archive.
    pub(crate) fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
        [entries.concat(), vec![0; 2 * BLOCK]].concat()
    }

    #[test]
    fn a_header_is_known_by_its_sum() {
        let mut block = header("a.img", b'0', 5);
        assert!(is_header(&block) && size(&block) == Some(5) && path_of(&block) == b"a.img");
        block[0] = b'b';
        assert!(!is_header(&block) && !is_header(&block[..100]) && !is_header(&[0; BLOCK]));
        block[124..136].copy_from_slice(b"\x80\0\0\0\0\0\0\x02\0\0\0\0");
        assert_eq!(size(&block), Some(2 << 32));
        block[124..136].copy_from_slice(&[0xff; 12]);
        assert_eq!(size(&block), None);
        for path in [&b"/etc/shadow"[..], b"..", b"a/../b", b"../x", b""] {
            assert!(check_path(path).is_err(), "{path:?}");
        }
        assert!(check_path(b"./a/b..c").is_ok());
    }

    #[test]
    fn attributes_are_read_within_their_bounds() {
        let mut attributes = Attributes::default();
        attributes.read(b"16 path=a/b.img\n").unwrap();
        attributes.read(b"10 size=7\n").unwrap();
        assert_eq!((attributes.path.as_deref(), attributes.size), (Some(&b"a/b.img"[..]), Some(7)));
        for broken in ["x", "99 path=a\n", "5 a=b", "10 size=x\n", "0 a=b\n", "2 a", "22 GNU.sparse.major=1\n"] {
            assert!(Attributes::default().read(broken.as_bytes()).is_err(), "{broken:?}");
        }
    }
}
