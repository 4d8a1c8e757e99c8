//! What a node's first boot finds: cloud-init's data source NoCloud.

use ostler_driver::hypervisor_types::Seed;
use ostler_driver::{Error, NodeSpec, Result};
use serde_json::json;

/// Bytes of user data; the same bound as elsewhere.
const MAX: usize = 1 << 20;

/// The seed; none where the order has neither user data nor keys: a guest without cloud-init then sees no disk that it does not
/// expect.
pub(crate) fn seed(uuid: &str, spec: &NodeSpec) -> Result<Option<Seed>> {
    if spec.ssh_keys.iter().any(|key| key.contains(['\n', '\r']) || key.trim().is_empty()) {
        return Err(Error::Invalid("a public key is one line".to_owned()));
    }
    let user_data = spec.user_data.clone().unwrap_or_default();
    if user_data.len() > MAX {
        return Err(Error::Invalid(format!("user data have at most {MAX} bytes")));
    }
    if user_data.is_empty() && spec.ssh_keys.is_empty() {
        return Ok(None);
    }
    // JSON is YAML. The keys stand in the meta-data, so that the user data go as they are, whatever their form.
    let keys: Vec<_> = spec.ssh_keys.iter().map(|key| key.trim()).collect();
    let meta_data = json!({"instance-id": uuid, "local-hostname": host_name(&spec.name), "public-keys": keys});
    let user_data = if user_data.is_empty() { b"#cloud-config\n{}\n".to_vec() } else { user_data };
    Ok(Some(Seed { user_data, meta_data: format!("{meta_data}\n").into_bytes(), network_config: None }))
}

/// A host name (RFC 1123) that is like the node's name.
fn host_name(name: &str) -> String {
    let mapped: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).take(63).collect();
    let trimmed = mapped.trim_matches('-');
    if trimmed.is_empty() { "node".to_owned() } else { trimmed.to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::Value;

    fn spec(user_data: Option<&[u8]>, keys: &[&str]) -> NodeSpec {
        let ssh_keys = keys.iter().map(|key| (*key).to_owned()).collect();
        NodeSpec { user_data: user_data.map(<[u8]>::to_vec), ssh_keys, ..NodeSpec::new("My Node_1.", "i", "s") }
    }

    #[test]
    fn data_go_as_they_are_and_keys_beside_them() {
        assert_eq!(seed("u", &spec(None, &[])).unwrap(), None);
        assert_eq!(seed("u", &spec(Some(b""), &[])).unwrap(), None);
        let seed = |data, keys: &[&str]| seed("u", &spec(data, keys)).unwrap().unwrap();
        let both = seed(Some(b"\x1f\x8b\0"), &[" ssh-ed25519 AAAA me@home "]);
        assert_eq!(both.user_data, b"\x1f\x8b\0");
        let meta: Value = serde_json::from_slice(&both.meta_data).unwrap();
        assert_eq!(meta, json!({"instance-id": "u", "local-hostname": "my-node-1", "public-keys": ["ssh-ed25519 AAAA me@home"]}));
        assert_eq!(seed(None, &["k"]).user_data, b"#cloud-config\n{}\n");
    }

    #[test]
    fn what_cloud_init_would_misread_is_refused() {
        for key in ["a\nb", " ", ""] {
            assert_eq!(seed("u", &spec(None, &[key])).unwrap_err().class(), "invalid", "{key:?}");
        }
        assert_eq!(seed("u", &spec(Some(&vec![b'x'; MAX + 1]), &[])).unwrap_err().class(), "invalid");
        for (name, expected) in
            [("a", "a"), ("-_-", "node"), ("", "node"), ("Ünit 7", "nit-7"), (&"x".repeat(70), &"x".repeat(63))]
        {
            assert_eq!(host_name(name), *expected);
        }
    }
}
