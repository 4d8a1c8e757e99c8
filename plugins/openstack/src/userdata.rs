//! What a server's first boot finds: the order's user data, and its public keys in a form that cloud-init reads beside them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ostler_driver::{Error, Result};
use serde_json::json;

/// Characters of the base64 text that Nova takes.
const MAX: usize = 65_535;
/// Between the parts. Both are base64, which has no hyphen.
const BOUNDARY: &str = "ostler-part";

/// The base64 text for Nova; none where the order has neither data nor keys.
///
/// Without keys the data go as they are. With keys they become one part of a MIME message of which the other is a cloud-config
/// with the keys, which adds to and does not replace what the data say.
pub(crate) fn user_data(data: Option<&[u8]>, keys: &[String]) -> Result<Option<String>> {
    if keys.iter().any(|key| key.contains(['\n', '\r']) || key.trim().is_empty()) {
        return Err(Error::Invalid("a public key is one line".to_owned()));
    }
    let encoded = match (data.filter(|data| !data.is_empty()), keys) {
        (None, []) => return Ok(None),
        (Some(data), []) => STANDARD.encode(data),
        (None, keys) => STANDARD.encode(cloud_config(keys)),
        (Some(data), keys) => {
            let parts = [("text/cloud-config", cloud_config(keys).into_bytes()), (content_type(data), data.to_vec())];
            STANDARD.encode(message(&parts))
        }
    };
    if encoded.len() > MAX {
        let most = MAX / 4 * 3;
        return Err(Error::Invalid(format!(
            "user data and keys are too large: Nova takes {most} bytes, encoded as they are sent"
        )));
    }
    Ok(Some(encoded))
}

/// JSON is YAML.
fn cloud_config(keys: &[String]) -> String {
    let config = json!({
        "ssh_authorized_keys": keys.iter().map(|key| key.trim()).collect::<Vec<_>>(),
        "merge_how": "list(append)+dict(no_replace,recurse_list)+str()",
    });
    format!("#cloud-config\n{config}\n")
}

/// What cloud-init takes data for that begin like this.
fn content_type(data: &[u8]) -> &'static str {
    let begins = |prefix: &str| data.starts_with(prefix.as_bytes());
    for (prefix, content_type) in [
        ("#!", "text/x-shellscript"),
        ("#cloud-config-archive", "text/cloud-config-archive"),
        ("#cloud-config", "text/cloud-config"),
        ("#cloud-boothook", "text/cloud-boothook"),
        ("#part-handler", "text/part-handler"),
        ("#include-once", "text/x-include-once-url"),
        ("#include", "text/x-include-url"),
        ("## template: jinja", "text/jinja2"),
    ] {
        if begins(prefix) {
            return content_type;
        }
    }
    // Anything else cloud-init looks at itself: compressed data, a MIME message.
    "text/plain"
}

fn message(parts: &[(&str, Vec<u8>)]) -> String {
    let mut message = format!("Content-Type: multipart/mixed; boundary=\"{BOUNDARY}\"\nMIME-Version: 1.0\n\n");
    for (content_type, content) in parts {
        message.push_str(&format!(
            "--{BOUNDARY}\nContent-Type: {content_type}\nMIME-Version: 1.0\nContent-Transfer-Encoding: base64\n\n"
        ));
        // Lines of a message are short.
        let encoded = STANDARD.encode(content);
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(76));
            message.push_str(line);
            message.push('\n');
            rest = after;
        }
    }
    message.push_str(&format!("--{BOUNDARY}--\n"));
    message
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn text(data: Option<&[u8]>, keys: &[String]) -> String {
        String::from_utf8(STANDARD.decode(user_data(data, keys).unwrap().unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn data_without_keys_go_as_they_are() {
        assert_eq!(user_data(None, &[]).unwrap(), None);
        assert_eq!(user_data(Some(b""), &[]).unwrap(), None);
        assert_eq!(text(Some(b"#!/bin/sh\ntrue\n"), &[]), "#!/bin/sh\ntrue\n");
    }

    #[test]
    fn keys_stand_beside_the_data() {
        let keys = ["ssh-ed25519 AAAA me@home".to_owned()];
        let config = "#cloud-config\n{\"merge_how\":\"list(append)+dict(no_replace,recurse_list)+str()\",\
                      \"ssh_authorized_keys\":[\"ssh-ed25519 AAAA me@home\"]}\n";
        assert_eq!(text(None, &keys), config);
        let script = format!("#!/bin/sh\necho {}\n", "x".repeat(200));
        let message = text(Some(script.as_bytes()), &keys);
        let parts: Vec<_> = message.split("--ostler-part").collect();
        assert_eq!(parts.len(), 4, "{message}");
        for (part, content_type, content) in
            [(parts[1], "text/cloud-config", config), (parts[2], "text/x-shellscript", script.as_str())]
        {
            let (head, body) = part.split_once("\n\n").unwrap();
            assert!(head.contains(&format!("Content-Type: {content_type}\n")) && head.ends_with("base64"), "{head}");
            assert!(body.lines().all(|line| line.len() <= 76), "{body}");
            assert_eq!(STANDARD.decode(body.replace('\n', "")).unwrap(), content.as_bytes());
        }
        assert_eq!(parts[3], "--\n");
    }

    #[test]
    fn what_nova_would_refuse_is_not_sent() {
        assert_eq!(user_data(Some(&[b'x'; 49_152]), &[]).unwrap_err().class(), "invalid");
        assert!(user_data(Some(&[b'x'; 49_149]), &[]).is_ok());
        for key in ["a\nb", " ", ""] {
            assert_eq!(user_data(None, &[key.to_owned()]).unwrap_err().class(), "invalid", "{key:?}");
        }
    }
}
