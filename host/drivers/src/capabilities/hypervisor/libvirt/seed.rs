//! The disk from which cloud-init reads a guest's first orders (data source NoCloud): an ISO 9660 image with the volume name
//! `cidata` and the files `user-data`, `meta-data` and `network-config`.
//!
//! Only as much of ECMA-119 as this needs: one directory, each file in one extent. The names, which are too long for it, stand in
//! Rock Ridge entries (Linux, BSD) and in a Joliet tree (Windows).

use crate::v0_1::imports::hypervisor::Seed;

/// Bytes of a sector.
const SECTOR: usize = 2048;
/// The volume name by which cloud-init knows the disk.
const LABEL: &str = "cidata";
/// Sectors of the structures; the files come after.
const PRIMARY: u32 = 16;
const TABLES: u32 = 19;
const ROOT: u32 = 23;
const JOLIET_ROOT: u32 = 24;
const FILES: u32 = 25;
/// Bytes of the largest seed: user data are texts.
pub(super) const MAX: usize = 4 << 20;

struct File<'a> {
    /// Upper case, 8.3, with a version: what the standard admits.
    short: &'static str,
    /// What the guest looks for.
    long: &'static str,
    content: &'a [u8],
    /// Its first sector.
    at: u32,
}

/// Which of the two trees a record is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tree {
    Primary,
    Joliet,
}

/// The image.
pub(super) fn image(seed: &Seed) -> Vec<u8> {
    let mut files = vec![
        File { short: "METADATA.;1", long: "meta-data", content: &seed.meta_data, at: 0 },
        File { short: "USERDATA.;1", long: "user-data", content: &seed.user_data, at: 0 },
    ];
    if let Some(network) = &seed.network_config {
        files.insert(1, File { short: "NETCONF.;1", long: "network-config", content: network, at: 0 });
    }
    let mut next = FILES;
    for file in &mut files {
        file.at = next;
        next += sectors(file.content.len());
    }
    let mut image = vec![0; PRIMARY as usize * SECTOR];
    for tree in [Tree::Primary, Tree::Joliet] {
        place(&mut image, &descriptor(tree, next));
    }
    place(&mut image, b"\xffCD001\x01");
    for root in [ROOT, JOLIET_ROOT] {
        place(&mut image, &path_table(root, u32::to_le_bytes, u16::to_le_bytes));
        place(&mut image, &path_table(root, u32::to_be_bytes, u16::to_be_bytes));
    }
    place(&mut image, &directory(Tree::Primary, &files));
    place(&mut image, &directory(Tree::Joliet, &files));
    for file in &files {
        place(&mut image, file.content);
    }
    image
}

fn sectors(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(SECTOR)).unwrap_or(u32::MAX)
}

/// Adds bytes, filled up to whole sectors.
fn place(image: &mut Vec<u8>, bytes: &[u8]) {
    image.extend_from_slice(bytes);
    image.resize(image.len().next_multiple_of(SECTOR), 0);
}

/// A number in both byte orders.
fn both16(value: u16) -> [u8; 4] {
    let (l, b) = (value.to_le_bytes(), value.to_be_bytes());
    [l[0], l[1], b[0], b[1]]
}

fn both32(value: u32) -> [u8; 8] {
    let (l, b) = (value.to_le_bytes(), value.to_be_bytes());
    [l[0], l[1], l[2], l[3], b[0], b[1], b[2], b[3]]
}

/// A text in the tree's characters, filled up with blanks to so many bytes.
fn text(tree: Tree, text: &str, length: usize) -> Vec<u8> {
    let mut bytes = name(tree, text);
    while bytes.len() < length {
        bytes.extend_from_slice(if tree == Tree::Joliet { &[0, b' '] } else { b" " });
    }
    bytes.truncate(length);
    bytes
}

/// A name in the tree's characters: bytes, or UCS-2 with the high byte first.
fn name(tree: Tree, text: &str) -> Vec<u8> {
    match tree {
        Tree::Primary => text.as_bytes().to_vec(),
        Tree::Joliet => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
    }
}

/// The volume descriptor of a tree (ECMA-119, 8.4 and 8.5).
fn descriptor(tree: Tree, sectors: u32) -> Vec<u8> {
    let (kind, root, table) = match tree {
        Tree::Primary => (1, ROOT, TABLES),
        Tree::Joliet => (2, JOLIET_ROOT, TABLES + 2),
    };
    let mut bytes = vec![kind];
    bytes.extend_from_slice(b"CD001\x01\0");
    bytes.extend(text(tree, "", 32));
    bytes.extend(text(tree, LABEL, 32));
    bytes.extend([0; 8]);
    bytes.extend(both32(sectors));
    let mut escapes = [0; 32];
    if tree == Tree::Joliet {
        // UCS-2, level 3.
        escapes[..3].copy_from_slice(b"%/E");
    }
    bytes.extend(escapes);
    // One volume of one; sectors of 2048 bytes; a path table of one record.
    bytes.extend(both16(1).into_iter().chain(both16(1)).chain(both16(2048)).chain(both32(10)));
    bytes.extend(table.to_le_bytes().into_iter().chain([0; 4]).chain((table + 1).to_be_bytes()).chain([0; 4]));
    bytes.extend(record(&[0], root, SECTOR, true, &[]));
    // Volume set, publisher, preparer, application; three file names.
    for length in [128, 128, 128, 128, 37, 37, 37] {
        bytes.extend(text(tree, "", length));
    }
    // Four times: no time is given.
    for _ in 0..4 {
        bytes.extend(b"0000000000000000\0");
    }
    bytes.push(1);
    bytes
}

/// The path table of one root directory (ECMA-119, 9.4).
fn path_table(root: u32, long: fn(u32) -> [u8; 4], short: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let mut bytes = vec![1, 0];
    bytes.extend(long(root).into_iter().chain(short(1)).chain([0, 0]));
    bytes
}

/// The root directory of a tree.
fn directory(tree: Tree, files: &[File<'_>]) -> Vec<u8> {
    let root = if tree == Tree::Joliet { JOLIET_ROOT } else { ROOT };
    let (mut first, mut parent) = (Vec::new(), Vec::new());
    if tree == Tree::Primary {
        // Rock Ridge begins here: SP says that there are entries, ER whose.
        first.extend(b"SP\x07\x01\xbe\xef\0");
        first.extend(b"ER\x12\x01\x0a\0\0\x01RRIP_1991A");
        first.extend(posix(0o040_555, 2));
        parent.extend(posix(0o040_555, 2));
    }
    let mut bytes = record(&[0], root, SECTOR, true, &first);
    bytes.extend(record(&[1], root, SECTOR, true, &parent));
    for file in files {
        let mut system = Vec::new();
        if tree == Tree::Primary {
            system.extend([b'N', b'M', 5 + u8::try_from(file.long.len()).unwrap_or(0), 1, 0]);
            system.extend_from_slice(file.long.as_bytes());
            system.extend(posix(0o100_444, 1));
        }
        let shown = if tree == Tree::Joliet { file.long } else { file.short };
        bytes.extend(record(&name(tree, shown), file.at, file.content.len(), false, &system));
    }
    bytes
}

/// A directory record (ECMA-119, 9.1), with what Rock Ridge puts after it.
fn record(name: &[u8], at: u32, bytes: usize, directory: bool, system: &[u8]) -> Vec<u8> {
    let mut record = vec![0, 0];
    record.extend(both32(at).into_iter().chain(both32(u32::try_from(bytes).unwrap_or(u32::MAX))));
    // 1970-01-01: the same order makes the same disk.
    record.extend([70, 1, 1, 0, 0, 0, 0]);
    record.extend([if directory { 2 } else { 0 }, 0, 0]);
    record.extend(both16(1));
    record.push(u8::try_from(name.len()).unwrap_or(0));
    record.extend_from_slice(name);
    record.resize(record.len().next_multiple_of(2), 0);
    record.extend_from_slice(system);
    record.resize(record.len().next_multiple_of(2), 0);
    record[0] = u8::try_from(record.len()).unwrap_or(0);
    record
}

/// A Rock Ridge entry with mode and links; owner and group are root.
fn posix(mode: u32, links: u32) -> Vec<u8> {
    let mut bytes = b"PX\x24\x01".to_vec();
    bytes.extend(both32(mode).into_iter().chain(both32(links)).chain(both32(0)).chain(both32(0)));
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::process::Command;

    fn seed(user_data: &[u8], network: Option<&[u8]>) -> Seed {
        let meta_data = b"instance-id: i\nlocal-hostname: web\n".to_vec();
        Seed { user_data: user_data.to_vec(), meta_data, network_config: network.map(<[u8]>::to_vec) }
    }

    /// Reads as an operating system does, by the names of one tree.
    fn by_joliet(image: &[u8], wanted: &str) -> Option<Vec<u8>> {
        let sector = |at: usize| &image[at * SECTOR..(at + 1) * SECTOR];
        let descriptor = sector(17);
        assert_eq!((descriptor[0], &descriptor[1..6]), (2, b"CD001".as_slice()));
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
        let mut rest = sector(number(&descriptor[156 + 2..]));
        while rest[0] != 0 {
            let (record, after) = rest.split_at(usize::from(rest[0]));
            let name: Vec<u16> = record[33..33 + usize::from(record[32])]
                .chunks(2)
                .map(|c| c.iter().fold(0, |n, b| n << 8 | u16::from(*b)))
                .collect();
            if String::from_utf16_lossy(&name) == wanted {
                let (at, length) = (number(&record[2..]), number(&record[10..]));
                return Some(image[at * SECTOR..at * SECTOR + length].to_vec());
            }
            rest = after;
        }
        None
    }

    #[test]
    fn files_are_found_by_their_long_names() {
        for size in [0, 1, 2047, 2048, 2049, 100_000] {
            let (user, network) = (vec![b'x'; size], b"version: 2\n".to_vec());
            let seed = seed(&user, Some(&network));
            let image = image(&seed);
            assert_eq!(image.len() % SECTOR, 0);
            let blocks = u32::from_le_bytes(image[16 * SECTOR + 80..][..4].try_into().unwrap());
            assert_eq!(blocks as usize * SECTOR, image.len(), "{size}");
            assert_eq!(by_joliet(&image, "user-data").unwrap(), user);
            assert_eq!(by_joliet(&image, "meta-data").unwrap(), seed.meta_data);
            assert_eq!(by_joliet(&image, "network-config").unwrap(), network);
        }
        let plain = image(&seed(b"", None));
        assert_eq!(by_joliet(&plain, "network-config"), None);
    }

    /// Another reader of the same format, where there is one.
    #[test]
    fn isoinfo_reads_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), image(&seed(b"#!/bin/sh\n", Some(b"version: 2\n")))).unwrap();
        let isoinfo = |arguments: &[&str]| {
            let output = Command::new("isoinfo").arg("-i").arg(file.path()).args(arguments).output().ok()?;
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let Some(about) = isoinfo(&["-d"]) else { return };
        assert!(about.contains("Volume id: cidata") && about.contains("Rock Ridge signatures"), "{about}");
        assert!(about.contains("Joliet with UCS level 3"), "{about}");
        for tree in ["-R", "-J"] {
            let listed = isoinfo(&[tree, "-f"]).unwrap();
            assert_eq!(listed.lines().collect::<Vec<_>>(), ["/meta-data", "/network-config", "/user-data"], "{tree}");
            assert_eq!(isoinfo(&[tree, "-x", "/user-data"]).unwrap(), "#!/bin/sh\n", "{tree}");
        }
    }
}
