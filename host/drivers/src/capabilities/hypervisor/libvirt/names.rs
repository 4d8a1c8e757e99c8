//! Names: what a cloud's volumes and domains are called at the hypervisor, and what may be in a name at all.
//!
//! libvirt keeps no metadata with a volume, so its owner stands in its name: `ostler+CLOUD+TOKEN+NAME`. Neither clouds' names nor
//! tokens nor drivers' names have a plus sign, so that no cloud's name can be read as the beginning of another's.

use super::error::Outcome;
use super::xml::fits;
use crate::v0_1::imports::hypervisor::Error;

/// What every name of ours begins with.
const PREFIX: &str = "ostler+";
/// At the end of the name of the small volume that has another's labels.
const LABELS: &str = "+labels";
/// At the end of the name of the small volume that is there while another's content has not arrived completely.
const IMPORTING: &str = "+importing";

/// What a volume's name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// A volume of this cloud.
    Ours { token: String, name: String },
    /// The labels of one.
    Labels,
    /// The sign that the content of one has not arrived completely.
    Importing,
    /// Another cloud's.
    Theirs,
    /// Nobody's: made by hand.
    Unmarked,
}

/// What a volume is called at the hypervisor.
pub(super) fn volume(cloud: &str, token: &str, name: &str) -> String {
    format!("{PREFIX}{cloud}+{token}+{name}")
}

/// What the volume with its labels is called.
pub(super) fn labels(volume: &str) -> String {
    format!("{volume}{LABELS}")
}

/// What the volume is called that is there while the content of this one has not arrived completely.
pub(super) fn importing(volume: &str) -> String {
    format!("{volume}{IMPORTING}")
}

/// What a volume's name says to this cloud.
pub(super) fn read(cloud: &str, volume: &str) -> Named {
    let Some(rest) = volume.strip_prefix(PREFIX) else { return Named::Unmarked };
    let mut parts = rest.splitn(3, '+');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(owner), Some(token), Some(name)) if owner == cloud => match name {
            _ if name.ends_with(LABELS) => Named::Labels,
            _ if name.ends_with(IMPORTING) => Named::Importing,
            _ if check_token(token).is_ok() && check_volume(name).is_ok() => {
                Named::Ours { token: token.to_owned(), name: name.to_owned() }
            }
            _ => Named::Theirs,
        },
        _ => Named::Theirs,
    }
}

/// What a domain is called at the hypervisor: something to recognize, and its uuid, since two nodes may have one name.
pub(super) fn domain(shown: &str, uuid: uuid::Uuid) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let recognized: String = shown.chars().filter(plain).take(40).collect();
    let recognized = recognized.trim_matches(['.', '-']);
    if recognized.is_empty() { format!("ostler-{uuid}") } else { format!("{recognized}-{uuid}") }
}

/// 1 to 64 characters of `[a-z0-9-]`.
pub(super) fn check_token(token: &str) -> Outcome<()> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=64).contains(&token.len()) && token.bytes().all(plain) {
        return Ok(());
    }
    Err(invalid("a token has 1 to 64 characters of a-z 0-9 -"))
}

/// A file's name that needs no care anywhere: 1 to 100 characters of `[A-Za-z0-9._-]`, the first no dot and no hyphen.
pub(super) fn check_volume(name: &str) -> Outcome<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=100).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with(['.', '-']) {
        return Ok(());
    }
    Err(invalid("a volume's name has 1 to 100 characters of A-Z a-z 0-9 . _ - and does not begin with a dot or hyphen"))
}

/// A text to show or to keep: not too long, and nothing that XML cannot hold.
pub(super) fn check_text(what: &str, text: &str, longest: usize) -> Outcome<()> {
    if text.len() > longest {
        return Err(invalid(&format!("{what} has at most {longest} bytes")));
    }
    if !fits(text) {
        return Err(invalid(&format!("{what} has a control character")));
    }
    Ok(())
}

/// Labels of a domain or a volume.
pub(super) fn check_labels(labels: &[(String, String)]) -> Outcome<()> {
    if labels.len() > 128 {
        return Err(invalid("at most 128 labels"));
    }
    for (key, value) in labels {
        check_text("a label's key", key, 255)?;
        check_text("a label's value", value, 16 << 10)?;
    }
    Ok(())
}

/// The uuid of a domain.
pub(super) fn check_uuid(uuid: &str) -> Outcome<uuid::Uuid> {
    // Only the usual form: what is compared as a text elsewhere must not have two.
    match uuid.parse::<uuid::Uuid>() {
        Ok(parsed) if parsed.to_string() == uuid && !parsed.is_nil() => Ok(parsed),
        _ => Err(invalid("a uuid has the form 01234567-89ab-cdef-0123-456789abcdef")),
    }
}

/// The error for what can never succeed.
pub(super) fn invalid(text: &str) -> super::error::Failure {
    Error::Invalid(text.to_owned()).into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_name_says_whose_a_volume_is() {
        let ours = Named::Ours { token: "t-1".to_owned(), name: "a.qcow2".to_owned() };
        let real = volume("lab.a", "t-1", "a.qcow2");
        for (cloud, name, expected) in [
            ("lab.a", real.as_str(), ours),
            ("lab", real.as_str(), Named::Theirs),
            ("lab.a+t-1", real.as_str(), Named::Theirs),
            ("lab.a", &labels(&real), Named::Labels),
            ("lab", &labels(&real), Named::Theirs),
            ("lab.a", &importing(&real), Named::Importing),
            ("lab", &importing(&real), Named::Theirs),
            ("lab.a", "tiny.qcow2", Named::Unmarked),
            ("lab.a", "ostler+lab.a", Named::Theirs),
            ("lab.a", "ostler+lab.a+t", Named::Theirs),
            ("lab.a", "ostler+lab.a+T+n", Named::Theirs),
            ("lab.a", "ostler+lab.a+t+../n", Named::Theirs),
            ("lab.a", "ostler+lab.a+t+n+m", Named::Theirs),
        ] {
            assert_eq!(read(cloud, name), expected, "{cloud} {name}");
        }
        // The longest still is a file's name.
        assert!(importing(&volume(&"c".repeat(64), &"t".repeat(64), &"n".repeat(100))).len() <= 255);
    }

    #[test]
    fn names_that_need_care_are_refused() {
        for name in ["", ".", "..", ".a", "-a", "a/b", "a+b", "a b", "a\n", "a<b", "ü", &"n".repeat(101)] {
            assert!(check_volume(name).is_err(), "{name:?}");
        }
        for token in ["", "A", "a b", "a+b", &"t".repeat(65)] {
            assert!(check_token(token).is_err(), "{token:?}");
        }
        for uuid in ["", "x", "0F0F0F0F-0000-4000-8000-000000000000", "00000000-0000-0000-0000-000000000000"] {
            assert!(check_uuid(uuid).is_err(), "{uuid:?}");
        }
        assert!(check_uuid("0f0f0f0f-0000-4000-8000-000000000000").is_ok());
        assert!(check_text("x", "a\0", 10).is_err() && check_text("x", "abc", 2).is_err() && check_text("x", "a<&>", 9).is_ok());
    }

    #[test]
    fn a_domain_can_be_recognized() {
        let uuid = "0f0f0f0f-0000-4000-8000-000000000000".parse().unwrap();
        for (shown, expected) in
            [("web", "web-"), ("<web>/&'\"", "web-"), ("../..", "ostler-"), ("", "ostler-"), ("a.b_c-", "a.b_c-")]
        {
            assert_eq!(domain(shown, uuid), format!("{expected}{uuid}"), "{shown}");
        }
        assert!(domain(&"n".repeat(300), uuid).len() < 80);
    }
}
