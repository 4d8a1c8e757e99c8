//! What a file is, by its content.

use crate::Error;
use crate::archive;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Bytes at the beginning that are looked at.
const HEAD: usize = 4096;

/// What can become an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Qcow2,
    Gzip,
    Tar,
    /// Nothing that is known: a disk as it is, if its size fits.
    Raw,
}

/// Formats that are refused by their names: where they begin, with what.
const OTHERS: [(usize, &[u8], &str); 28] = [
    (0, b"KDMV", "a VMDK image"),
    (0, b"COWD", "a VMDK image"),
    (0, b"# Disk DescriptorFile", "a VMDK description"),
    (0x40, b"\x7f\x10\xda\xbe", "a VDI image"),
    (0, b"vhdxfile", "a VHDX image"),
    (0, b"conectix", "a VHD image"),
    (0, b"cxsparse", "a VHD image"),
    (0, b"QED\0", "a QED image"),
    (0, b"WithoutFreeSpace", "a Parallels image"),
    (0, b"WithouFreSpacExt", "a Parallels image"),
    (0, b"OOOM", "a UML COW image"),
    (0, b"Bochs Virtual HD Image", "a Bochs image"),
    (0, b"#!/bin/sh\n#V2.0 Format", "a cloop image"),
    (0, b"LUKS\xba\xbe", "an encrypted disk (LUKS)"),
    (0, b"\xfd7zXZ\0", "compressed with xz; gzip is understood"),
    (0, b"\x28\xb5\x2f\xfd", "compressed with zstd; gzip is understood"),
    (0, b"BZh", "compressed with bzip2; gzip is understood"),
    (0, b"\x04\x22\x4d\x18", "compressed with lz4; gzip is understood"),
    (0, b"\x89LZO", "compressed with lzop; gzip is understood"),
    (0, b"PK\x03\x04", "a zip archive; tar and gzip are understood"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive; tar and gzip are understood"),
    (0, b"Rar!\x1a\x07", "a RAR archive; tar and gzip are understood"),
    (0, b"!<arch>\n", "an ar archive"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ", "a program"),
    (0, b"%PDF-", "a PDF document"),
    (0, b"\x89PNG", "a picture"),
    (0, b"hsqs", "a squashfs file system without a disk"),
];

/// Recognises a file. What cannot become an image is refused by its name.
pub(crate) fn recognise(file: &File) -> Result<Kind, Error> {
    let length = file.metadata()?.len();
    let head = at(file, 0, HEAD)?;
    let tail = at(file, length.saturating_sub(512), 512)?;
    judge(&head, &tail, length)
}

/// Up to so many bytes at a place.
pub(crate) fn at(file: &File, offset: u64, count: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; count];
    let mut have = 0;
    while let Some(rest) = bytes.get_mut(have..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + have as u64) {
            Ok(0) => break,
            Ok(more) => have += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    bytes.truncate(have);
    Ok(bytes)
}

fn judge(head: &[u8], tail: &[u8], length: u64) -> Result<Kind, Error> {
    if length == 0 {
        return Err(Error::refused("there is no content"));
    }
    if let Some(kind) = known(head)? {
        return Ok(kind);
    }
    // Formats that show at their end.
    if tail.starts_with(b"conectix") {
        return Err(refuse("a VHD image"));
    }
    if tail.starts_with(b"koly") {
        return Err(refuse("a DMG image"));
    }
    if let Some(text) = text(head) {
        return Err(refuse(text));
    }
    Ok(Kind::Raw)
}

/// What a beginning says by itself: how an entry of an archive is told from others. None for what may be a raw disk.
pub(crate) fn known(head: &[u8]) -> Result<Option<Kind>, Error> {
    if head.starts_with(b"QFI\xfb") {
        return Ok(Some(Kind::Qcow2));
    }
    if head.starts_with(b"\x1f\x8b") {
        return Ok(Some(Kind::Gzip));
    }
    if let Some((_, _, name)) = OTHERS.iter().find(|(at, magic, _)| head.get(*at..).is_some_and(|rest| rest.starts_with(magic))) {
        // A boot sector may begin with the letters of a program.
        let sector = *name == "a program" && head.get(510..512) == Some(b"\x55\xaa");
        if !sector {
            return Err(refuse(name));
        }
    }
    if archive::is_header(head) {
        return Ok(Some(Kind::Tar));
    }
    Ok(None)
}

fn refuse(name: &str) -> Error {
    Error::refused(format!("this is {name}, not an image in the format qcow2 or raw"))
}

/// What kind of text it is, if it is one.
fn text(head: &[u8]) -> Option<&'static str> {
    let plain = |byte: &u8| !byte.is_ascii_control() || matches!(byte, b'\t' | b'\n' | b'\r' | b'\x0c');
    if !head.iter().all(plain) {
        return None;
    }
    let begin: Vec<u8> =
        head.iter().skip_while(|byte| byte.is_ascii_whitespace() || !byte.is_ascii()).take(256).copied().collect();
    let begin = begin.to_ascii_lowercase();
    Some(match begin.as_slice() {
        page if page.starts_with(b"<!doctype html") || page.starts_with(b"<html") => "an HTML page",
        document if document.starts_with(b"<") => "an XML document",
        object if object.starts_with(b"{") || object.starts_with(b"[") => "a JSON document",
        _ => "a text",
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn see(content: &[u8]) -> String {
        let head = &content[..content.len().min(HEAD)];
        let tail = &content[content.len().saturating_sub(512)..];
        match judge(head, tail, content.len() as u64) {
            Ok(kind) => format!("{kind:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn content_tells_what_it_is() {
        let sectors = |begin: &[u8]| [begin, &vec![0; 4096 - begin.len()]].concat();
        let mut boot = sectors(b"MZ\x90");
        boot[510..512].copy_from_slice(b"\x55\xaa");
        let mut vdi = sectors(b"<<< Oracle VM VirtualBox Disk Image >>>\n");
        vdi[0x40..0x44].copy_from_slice(b"\x7f\x10\xda\xbe");
        let mut vhd = sectors(b"\x33\xc0");
        vhd[4096 - 512..4096 - 504].copy_from_slice(b"conectix");
        for (content, expected) in [
            (sectors(b"QFI\xfb"), "Qcow2"),
            (sectors(b"\x1f\x8b\x08"), "Gzip"),
            (archive::tests::header("a.img", b'0', 5), "Tar"),
            (sectors(b""), "Raw"),
            (sectors(b"\x33\xc0\x8e\xd0"), "Raw"),
            (boot, "Raw"),
            (sectors(b"MZ\x90"), "a program"),
            (sectors(b"KDMV"), "VMDK"),
            (sectors(b"# Disk DescriptorFile\nversion=1\n"), "VMDK"),
            (sectors(b"vhdxfile"), "VHDX"),
            (vdi, "VDI"),
            (vhd, "VHD"),
            (sectors(b"\xfd7zXZ\0"), "xz"),
            (sectors(b"\x28\xb5\x2f\xfd"), "zstd"),
            (sectors(b"LUKS\xba\xbe"), "LUKS"),
            (b"\n <!DOCTYPE HTML><title>404</title>".repeat(512), "HTML"),
            (b"<?xml version='1.0'?>".to_vec(), "XML"),
            (b"{\"error\": 1}".to_vec(), "JSON"),
            ("Größe\n".repeat(1000).into_bytes(), "a text"),
            (Vec::new(), "no content"),
        ] {
            let seen = see(&content);
            assert!(seen.contains(expected), "{expected}: {seen}");
        }
    }
}
