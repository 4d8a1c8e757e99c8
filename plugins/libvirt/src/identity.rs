//! Names that follow from a token, so that a second order finds what the first one made.

use sha2::{Digest, Sha256};

/// The uuid of what is made for this token in this cloud: version 8 of RFC 9562, from SHA-256. `part` tells what of it.
pub(crate) fn uuid(cloud: &str, token: &str, part: &str) -> String {
    let mut hasher = Sha256::new();
    for text in ["ostler-plugin-libvirt", cloud, token, part] {
        // The same width on every target.
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text);
    }
    let mut text = String::with_capacity(36);
    for (at, byte) in hasher.finalize().iter().take(16).enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let byte = match at {
            6 => byte & 0x0f | 0x80,
            8 => byte & 0x3f | 0x80,
            _ => *byte,
        };
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    text
}

/// The uuid of the node of this token.
pub(crate) fn node(cloud: &str, token: &str) -> String {
    uuid(cloud, token, "node")
}

/// The name of the volume of the image of this token.
pub(crate) fn image(cloud: &str, token: &str) -> String {
    uuid(cloud, token, "image")
}

/// What the names of a node's disks begin with.
pub(crate) fn disks_of(node: &str) -> String {
    format!("{node}-")
}

/// The name of a node's disk: `root`, `1`, `2`, …
pub(crate) fn disk(node: &str, part: &str) -> String {
    format!("{}{part}.img", disks_of(node))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn uuids_differ_by_cloud_token_and_part_and_never_change() {
        let names =
            [("lab", "t", "node"), ("lab", "t", "root"), ("lab", "t2", "node"), ("labt", "", "node"), ("la", "bt", "node")];
        let distinct: HashSet<_> = names.iter().map(|(cloud, token, part)| uuid(cloud, token, part)).collect();
        assert_eq!(distinct.len(), names.len());
        // Written down once: what was made by an older version must be found by a later one.
        assert_eq!(node("lab", "t"), uuid("lab", "t", "node"));
        assert_eq!(node("lab", "t"), "298cb83c-41f9-8285-87d9-5cac43e6d141");
        for uuid in distinct {
            assert_eq!(uuid.len(), 36);
            assert_eq!(&uuid[14..15], "8", "version");
            assert!(matches!(&uuid[19..20], "8" | "9" | "a" | "b"), "variant of {uuid}");
        }
        assert!(disk("u", "root").starts_with(&disks_of("u")));
    }
}
