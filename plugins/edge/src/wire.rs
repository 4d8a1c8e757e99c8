//! The far side's objects, read as servers write them: numbers may be texts, wrappers singular or plural, links without a host.

use std::net::IpAddr;

use ostler_driver::http::{encode, is_identifier};
use ostler_driver::{NodeState, time};
use serde_json::Value;

use crate::http::is_number;
use crate::name;

/// The elements of a list: below its key, or bare.
pub(crate) fn list(body: &Value, key: &str) -> Option<Vec<Value>> {
    let found = match body {
        Value::Object(object) => object.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, list)| list)?,
        bare => bare,
    };
    found.as_array().cloned()
}

/// One object: below one of its keys, alone in a list below it, or bare.
pub(crate) fn object(body: &Value, keys: &[&str]) -> Option<Value> {
    let found = keys.iter().find_map(|key| body.get(key)).unwrap_or(body);
    let found = match found.as_array().map(Vec::as_slice) {
        Some([one]) => one,
        _ => found,
    };
    (found.is_object() && id(found).is_some()).then(|| found.clone())
}

/// An identifier: a number, a text, or the number that a link ends with.
pub(crate) fn id(value: &Value) -> Option<String> {
    reference(value.get("id")?).or_else(|| reference(value.get("link")?))
}

/// A reference to an object: its identifier or its link.
pub(crate) fn reference(value: &Value) -> Option<String> {
    let text = scalar(value)?;
    if is_identifier(&text) {
        return Some(text);
    }
    let last = text.split(['?', '#']).next()?.trim_end_matches('/').rsplit('/').next()?;
    is_number(last).then(|| last.to_owned())
}

/// A number or a text, as a text.
pub(crate) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.trim().to_owned()),
        _ => None,
    }
}

/// A text that is there and not empty.
pub(crate) fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(scalar).filter(|text| !text.is_empty())
}

/// A whole number, perhaps as a text or with a fraction, which is cut off.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded before")]
pub(crate) fn number(value: &Value) -> Option<u64> {
    let float = |number: f64| (0.0..9e15).contains(&number).then_some(number as u64);
    match value {
        Value::Number(number) => number.as_u64().or_else(|| number.as_f64().and_then(float)),
        Value::String(text) => text.trim().parse().ok().or_else(|| text.trim().parse().ok().and_then(float)),
        _ => None,
    }
}

/// What to send as a reference: a number where it is one, as the text of the API has it.
pub(crate) fn to_reference(id: &str) -> Value {
    id.parse::<u64>().map_or_else(|_| id.into(), Value::from)
}

/// The order of identifiers: by number where they are numbers.
pub(crate) fn order(id: &str) -> (bool, usize, &str, &str) {
    // Without zeros in front a longer number is a greater one.
    let number = is_number(id);
    let digits = if number { id.trim_start_matches('0') } else { id };
    (!number, if number { digits.len() } else { 0 }, digits, id)
}

/// The path of an object.
pub(crate) fn path(list: &str, id: &str) -> String {
    format!("/{list}/{}", encode(id))
}

/// What a list or an object says of an instance or an image, which have much in common.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: String,
    /// The name as it is at the far side.
    pub(crate) name: String,
    /// The object as it came.
    pub(crate) whole: Value,
}

impl Entry {
    pub(crate) fn read(value: Value) -> Option<Self> {
        Some(Self { id: id(&value)?, name: text(&value, "name").unwrap_or_default(), whole: value })
    }

    pub(crate) fn token(&self) -> Option<&str> {
        name::split(&self.name).1
    }

    pub(crate) fn plain_name(&self) -> &str {
        name::split(&self.name).0
    }

    /// In lower case; none in lists that name objects only.
    pub(crate) fn status(&self) -> Option<String> {
        text(&self.whole, "status").map(|status| status.to_ascii_lowercase())
    }

    pub(crate) fn created_at(&self) -> Option<u64> {
        text(&self.whole, "created_at").as_deref().and_then(time::parse)
    }

    /// The state of an instance.
    pub(crate) fn state(&self) -> NodeState {
        match self.status().as_deref() {
            None => NodeState::Unknown,
            Some("running" | "active") => NodeState::Running,
            Some("stopped" | "shutoff" | "created") => NodeState::Stopped,
            Some("frozen" | "suspended" | "paused") => NodeState::Suspended,
            Some("starting" | "resuming") => NodeState::Starting,
            Some("stopping") => NodeState::Stopping,
            Some("rebooting") => NodeState::Rebooting,
            Some("pending" | "building" | "build" | "creating" | "saving") => NodeState::Pending,
            Some("deleting") => NodeState::Terminating,
            Some("error" | "failed") => NodeState::Failed,
            Some(other) => NodeState::Other(other.chars().take(64).collect()),
        }
    }

    /// Why it is so, where the far side says it.
    pub(crate) fn detail(&self) -> Option<String> {
        let said = ["detail", "status_detail", "reason"].iter().find_map(|key| text(&self.whole, key));
        let fault = || self.whole.get("fault").and_then(|fault| text(fault, "message"));
        said.or_else(fault).map(|detail| detail.chars().take(500).collect())
    }

    /// The image of an instance.
    pub(crate) fn image_id(&self) -> Option<String> {
        match self.whole.get("image") {
            Some(image @ Value::Object(_)) => id(image),
            Some(image) => reference(image),
            None => self.whole.get("imageRef").and_then(reference),
        }
    }

    /// The size of an instance, where the far side has such a thing.
    pub(crate) fn size_id(&self) -> Option<String> {
        ["flavor", "size"].iter().find_map(|key| match self.whole.get(key) {
            Some(size @ Value::Object(_)) => text(size, "id"),
            Some(size) => scalar(size).filter(|size| !size.is_empty()),
            None => None,
        })
    }

    /// The addresses of an instance.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let one = |value: &Value| value.as_str().and_then(|ip| ip.trim().parse().ok());
        match self.whole.get("ip") {
            Some(Value::Array(all)) => all.iter().filter_map(one).collect(),
            Some(ip) => one(ip).into_iter().collect(),
            None => Vec::new(),
        }
    }
}

/// Whether an address is one of the Internet, as far as it says so itself.
pub(crate) fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            let shared = a == 100 && (64..128).contains(&b);
            !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || ip.is_multicast() || shared)
        }
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(mapped) => is_public(IpAddr::V4(mapped)),
            None => {
                let local = ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_loopback();
                !(local || ip.is_unspecified() || ip.is_multicast())
            }
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    #[test]
    fn identifiers_come_in_every_form() {
        for (value, expected) in [
            (json!(62), Some("62")),
            (json!("62"), Some("62")),
            (json!(" 62 "), Some("62")),
            (json!("https://far/cloudedge/images/62"), Some("62")),
            (json!("/cloudedge/images/62/?x"), Some("62")),
            (json!("images/62"), Some("62")),
            (json!("8a1c-b"), Some("8a1c-b")),
            (json!("https://far/cloudedge/instances"), None),
            (json!("../x"), None),
            (json!(null), None),
        ] {
            assert_eq!(reference(&value).as_deref(), expected, "{value}");
        }
        assert_eq!(id(&json!({"id": null, "link": "/cloudedge/users/123"})).as_deref(), Some("123"));
        assert_eq!((to_reference("62"), to_reference("a")), (json!(62), json!("a")));
        let mut ids = ["10", "b", "9", "009", "a", "2"];
        ids.sort_by_key(|id| order(id));
        assert_eq!(ids, ["2", "009", "9", "10", "a", "b"]);
    }

    #[test]
    fn wrappers_come_in_every_form() {
        let one = json!({"id": 7, "name": "x"});
        let keys = ["instances", "instance"];
        for body in [json!({"instances": one}), json!({"instance": one}), json!({"instances": [one]}), one.clone()] {
            assert_eq!(object(&body, &keys), Some(one.clone()), "{body}");
        }
        for body in [json!({"instances": []}), json!({"instances": [one, one]}), json!({}), json!([]), json!({"id": null})] {
            assert_eq!(object(&body, &keys), None, "{body}");
        }
        for body in [json!({"Users": [one]}), json!({"users": [one]}), json!([one])] {
            assert_eq!(list(&body, "users"), Some(vec![one.clone()]), "{body}");
        }
        assert_eq!(list(&json!({"images": one}), "images"), None);
    }

    #[test]
    fn numbers_come_in_every_form() {
        for (value, expected) in [
            (json!(5), Some(5)),
            (json!(5.9), Some(5)),
            (json!("5"), Some(5)),
            (json!("5.9"), Some(5)),
            (json!(-1), None),
            (json!("many"), None),
            (json!(1e300), None),
        ] {
            assert_eq!(number(&value), expected, "{value}");
        }
    }

    #[test]
    fn an_address_tells_its_reach() {
        for (ip, public) in [
            ("10.0.3.2", false),
            ("192.168.1.1", false),
            ("127.0.0.3", false),
            ("169.254.1.1", false),
            ("100.64.0.1", false),
            ("::ffff:10.0.0.1", false),
            ("fd00::1", false),
            ("fe80::1", false),
            ("93.184.216.34", true),
            ("2606:2800::1", true),
        ] {
            assert_eq!(is_public(ip.parse().unwrap()), public, "{ip}");
        }
    }
}
