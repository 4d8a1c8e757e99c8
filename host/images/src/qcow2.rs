//! The header of a qcow2 image, checked before any other program reads it.
//! Source: QEMU's `docs/interop/qcow2.txt`; the bounds are those of QEMU's own reader.

use crate::Error;
use crate::content::at;
use std::fs::File;

/// Incompatible features that may be there: another compression, and larger entries of the second table.
const HARMLESS: u64 = 1 << 3 | 1 << 4;
/// An external data file.
const DATA_FILE: u64 = 1 << 2;
/// Bytes of the first table, and of the table of reference counts, at most.
const L1: u64 = 32 << 20;
const REFCOUNTS: u64 = 8 << 20;
/// Header extensions, by their types.
const END: u32 = 0;
const DATA_FILE_NAME: u32 = 0x4441_5441;
const ENCRYPTION: u32 = 0x0537_be77;
/// Extensions that are walked through.
const EXTENSIONS: usize = 64;

/// Checks a header; the bytes of the disk.
pub(crate) fn check(file: &File) -> Result<u64, Error> {
    let length = file.metadata()?.len();
    header(&at(file, 0, 128 << 10)?, length)
}

fn refuse<T>(why: &str) -> Result<T, Error> {
    Err(Error::refused(format!("the qcow2 image {why}")))
}

/// A number in the header, high byte first.
fn number(bytes: &[u8], at: usize, size: usize) -> Result<u64, Error> {
    match bytes.get(at..at + size) {
        Some(field) => Ok(field.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))),
        None => refuse("ends within its header"),
    }
}

fn header(bytes: &[u8], length: u64) -> Result<u64, Error> {
    if bytes.get(..4) != Some(b"QFI\xfb") {
        return refuse("is none");
    }
    let long = |at| number(bytes, at, 8);
    let short = |at| number(bytes, at, 4);
    let version = short(4)?;
    if !matches!(version, 2 | 3) {
        return refuse(&format!("has version {version}; versions 2 and 3 are understood"));
    }
    if long(8)? != 0 || short(16)? != 0 {
        return refuse("refers to another image (a backing file)");
    }
    let cluster_bits = short(20)?;
    if !(9..=21).contains(&cluster_bits) {
        return refuse("has clusters of an impossible size");
    }
    let cluster = 1_u64 << cluster_bits;
    let size = long(24)?;
    if size == 0 || size % 512 != 0 {
        return refuse("has a disk of an impossible size");
    }
    if short(32)? != 0 {
        return refuse("is encrypted");
    }
    if short(60)? != 0 {
        return refuse("has snapshots: give it without");
    }
    let features = if version == 3 { long(72)? } else { 0 };
    if features & DATA_FILE != 0 {
        return refuse("refers to another file (an external data file)");
    }
    if features & 3 != 0 {
        return refuse("was not closed properly, or is marked as corrupt");
    }
    if features & !HARMLESS != 0 {
        return refuse(&format!("needs features that are not known here ({:#x})", features & !HARMLESS));
    }
    let header_length = if version == 3 { short(100)? } else { 72 };
    if version == 3 && (header_length < 104 || header_length % 8 != 0 || header_length > cluster || short(96)? > 6) {
        return refuse("has an impossible header");
    }
    if header_length > 104 && features & 1 << 3 != 0 && number(bytes, 104, 1)? > 1 {
        return refuse("is compressed in a way that is not known here");
    }
    // An entry of the first table stands for a table of one cluster, whose entries have 8 or 16 bytes.
    let entry = if features & 1 << 4 != 0 { 16 } else { 8 };
    let covered = cluster * (cluster / entry);
    let l1 = short(36)? * 8;
    if l1 > L1 || l1 / 8 < size.div_ceil(covered) {
        return refuse("has a first table that does not fit its disk");
    }
    let refcounts = short(56)? * cluster;
    if refcounts == 0 || refcounts > REFCOUNTS {
        return refuse("has an impossible table of reference counts");
    }
    // A file may end within its last cluster.
    let end = length.next_multiple_of(cluster);
    for (name, offset, bytes) in [("first table", long(40)?, l1), ("table of reference counts", long(48)?, refcounts)] {
        let inside = offset.checked_add(bytes).is_some_and(|last| last <= end);
        if offset < cluster || offset % cluster != 0 || !inside {
            return refuse(&format!("has its {name} outside of the file"));
        }
    }
    extensions(bytes, header_length, cluster)?;
    Ok(size)
}

fn extensions(bytes: &[u8], header_length: u64, cluster: u64) -> Result<(), Error> {
    let impossible = || refuse("has impossible header extensions");
    let end = usize::try_from(cluster).unwrap_or(usize::MAX).min(bytes.len());
    let mut at = usize::try_from(header_length).unwrap_or(usize::MAX);
    for _ in 0..EXTENSIONS {
        // They need no end where the cluster ends.
        if at + 8 > end {
            return Ok(());
        }
        let kind = u32::try_from(number(bytes, at, 4)?).unwrap_or_default();
        let size = usize::try_from(number(bytes, at + 4, 4)?).unwrap_or(usize::MAX);
        match kind {
            END => return Ok(()),
            DATA_FILE_NAME => return refuse("refers to another file (an external data file)"),
            ENCRYPTION => return refuse("is encrypted"),
            _ => {}
        }
        if size > end - at - 8 {
            return impossible();
        }
        at += 8 + size.next_multiple_of(8);
    }
    impossible()
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn set(bytes: &mut [u8], at: usize, value: u64, size: usize) {
        bytes[at..at + size].copy_from_slice(&value.to_be_bytes()[8 - size..]);
    }

    /// An empty image of version 3 with a disk of one MiB: a header, a table of reference counts, its block, and a first table.
    pub(crate) fn empty() -> Vec<u8> {
        let mut bytes = vec![0; 4 << 16];
        bytes[..4].copy_from_slice(b"QFI\xfb");
        for (at, value, size) in [
            (4, 3, 4),
            (20, 16, 4),
            (24, 1 << 20, 8),
            (36, 1, 4),
            (40, 3 << 16, 8),
            (48, 1 << 16, 8),
            (56, 1, 4),
            (96, 4, 4),
            (100, 104, 4),
            // The first block of reference counts: four clusters are used.
            (1 << 16, 2 << 16, 8),
        ] {
            set(&mut bytes, at, value, size);
        }
        for cluster in 0..4 {
            set(&mut bytes, (2 << 16) + cluster * 2, 1, 2);
        }
        bytes
    }

    /// The same with other values at some places.
    pub(crate) fn with(changes: &[(usize, u64, usize)]) -> Vec<u8> {
        let mut bytes = empty();
        for (at, value, size) in changes {
            set(&mut bytes, *at, *value, *size);
        }
        bytes
    }

    /// One with a backing file of this name.
    pub(crate) fn backed(name: &str) -> Vec<u8> {
        let mut bytes = with(&[(8, 512, 8), (16, name.len() as u64, 4)]);
        bytes[512..512 + name.len()].copy_from_slice(name.as_bytes());
        bytes
    }

    fn see(bytes: &[u8]) -> String {
        match header(&bytes[..bytes.len().min(128 << 10)], bytes.len() as u64) {
            Ok(size) => size.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_refers_to_something_or_is_impossible_is_refused() {
        let v2 = [(4, 2, 4), (72, 0, 8), (96, 0, 8)];
        for (changes, expected) in [
            (&[][..], "1048576"),
            (&v2[..], "1048576"),
            (&[(72, 1 << 3, 8)], "1048576"),
            (&[(72, 1 << 4, 8)], "1048576"),
            // A name of a backing file's format alone leads nowhere.
            (&[(104, 0xe279_2aca, 4), (108, 3, 4)], "1048576"),
            (&[(4, 1, 4)], "version 1"),
            (&[(4, 4, 4)], "version 4"),
            (&[(8, 512, 8)], "backing file"),
            (&[(16, 12, 4)], "backing file"),
            (&[(4, 2, 4), (8, 512, 8), (16, 12, 4)], "backing file"),
            (&[(72, 1 << 2, 8)], "external data file"),
            (&[(104, 0x4441_5441, 4), (108, 11, 4)], "external data file"),
            (&[(32, 1, 4)], "encrypted"),
            (&[(32, 2, 4)], "encrypted"),
            (&[(104, 0x0537_be77, 4), (108, 16, 4)], "encrypted"),
            (&[(60, 1, 4)], "snapshots"),
            (&[(72, 1, 8)], "closed properly"),
            (&[(72, 2, 8)], "corrupt"),
            (&[(72, 1 << 5, 8)], "not known here (0x20)"),
            (&[(72, 1 << 63, 8)], "not known here"),
            (&[(20, 8, 4)], "clusters"),
            (&[(20, 22, 4)], "clusters"),
            (&[(24, 0, 8)], "impossible size"),
            (&[(24, 1000, 8)], "impossible size"),
            (&[(24, u64::MAX - 511, 8)], "first table"),
            (&[(24, 1 << 40, 8)], "first table"),
            (&[(36, 0, 4)], "first table"),
            (&[(36, u64::from(u32::MAX), 4)], "first table"),
            (&[(40, 0, 8)], "first table outside"),
            (&[(40, (3 << 16) + 8, 8)], "first table outside"),
            (&[(40, 9 << 16, 8)], "first table outside"),
            (&[(40, u64::MAX << 16, 8)], "first table outside"),
            (&[(48, 0, 8)], "reference counts outside"),
            (&[(56, 0, 4)], "reference counts"),
            (&[(56, u64::from(u32::MAX), 4)], "reference counts"),
            (&[(96, 7, 4)], "impossible header"),
            (&[(100, 64, 4)], "impossible header"),
            (&[(100, 105, 4)], "impossible header"),
            (&[(100, u64::from(u32::MAX), 4)], "impossible header"),
            (&[(104, 7, 4), (108, u64::from(u32::MAX), 4)], "extensions"),
        ] {
            let seen = see(&with(changes));
            assert!(seen.contains(expected), "{changes:?}: {seen}");
        }
        for cut in [0, 3, 8, 71, 90, 103] {
            assert!(header(&empty()[..cut], cut as u64).is_err(), "{cut}");
        }
        for name in ["/etc/shadow", "json:{\"driver\":\"file\",\"filename\":\"/etc/shadow\"}", "nbd://10.0.0.1/x"] {
            assert!(see(&backed(name)).contains("backing file"), "{name}");
        }
        // Extensions without an end.
        let endless: Vec<_> = (0..EXTENSIONS + 1).map(|at| (104 + at * 8, 7, 4)).collect();
        assert!(see(&with(&endless)).contains("extensions"));
    }
}
