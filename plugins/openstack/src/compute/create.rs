//! Orders for servers.

use std::collections::BTreeMap;

use ostler_driver::orders::{Orders, Stop};
use ostler_driver::{Error, Extra, Node, NodeSpec, NodeState, Result, check_token};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::list::tag;
use super::server::{ADDRESS, IMAGE, RESERVED, Server, TOKEN, WANTED};
use crate::auth::Service;
use crate::config::Floating;
use crate::http::Api;
use crate::microversion::{CREATE, NETWORKS};
use crate::userdata::user_data;

/// Settings of OpenStack's own in an order's `extra`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrderExtra {
    /// Boot from a new volume of so many gigabytes, made from the image and destroyed with the node.
    pub(crate) boot_volume_gb: Option<u64>,
    /// Whether the user data come on a disk.
    config_drive: Option<bool>,
    /// For Nova's scheduler, as they are.
    scheduler_hints: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Created {
    server: CreatedServer,
}

#[derive(Deserialize)]
struct CreatedServer {
    id: String,
}

impl Api {
    /// Orders a server. [`Orders`] says what a second order with the token does, at once or later.
    ///
    /// A public address is not allocated here but when the server is up ([`Api::node`]): what is allocated for a server that is
    /// never made would belong to nobody. Here it is only checked that there is one to be had.
    pub(crate) fn create(&self, token: &str, spec: &NodeSpec) -> Result<Node> {
        let extra = check(token, spec)?;
        let find = |_| Ok(self.find_server(token)?.as_ref().map(Server::node));
        Orders::new(&self.ctx).once("node", token, find, || {
            let (metadata, body) = self.body(token, spec, &extra)?;
            let version = self.microversion(CREATE)?;
            self.forget_snapshot();
            let call = self.post(Service::Compute, "/servers").microversion(version).json_body(&body);
            let Created { server } = call.json().map_err(|error| {
                Stop::of_order(match error {
                    // Nothing of the address can be missing, so it is something of the order.
                    Error::NotFound(text) => Error::Invalid(text),
                    error => error,
                })
            })?;
            let mut node = Node::new(server.id, &spec.name).with_token(token).with_state(NodeState::Pending);
            node.image_id = Some(spec.image_id.clone());
            node.size_id = Some(spec.size_id.clone());
            node.created_at = Some(self.ctx.now());
            let labels: BTreeMap<_, _> = metadata.iter().filter(|(key, _)| !RESERVED.contains(&key.as_str())).collect();
            Ok(node.with_extra(json!({"status": "BUILD", "metadata": labels})))
        })
    }

    fn body(&self, token: &str, spec: &NodeSpec, extra: &OrderExtra) -> Result<(BTreeMap<String, String>, Value)> {
        let version = self.microversion(CREATE)?;
        let mut metadata: BTreeMap<String, String> = spec.metadata.iter().cloned().collect();
        metadata.insert(TOKEN.to_owned(), token.to_owned());
        if spec.public_address && !matches!(self.settings.floating, Floating::Never) {
            self.check_floating()?;
            metadata.insert(ADDRESS.to_owned(), WANTED.to_owned());
        }
        let devices = self.block_devices(spec, extra.boot_volume_gb)?;
        let image = if extra.boot_volume_gb.is_some() {
            // Nova shows no image of such a server.
            metadata.insert(IMAGE.to_owned(), spec.image_id.clone());
            ""
        } else {
            &spec.image_id
        };
        let mut server = json!({
            "name": spec.name, "imageRef": image, "flavorRef": spec.size_id, "metadata": metadata,
        });
        if version >= Some(CREATE) {
            server["tags"] = json!([tag(token)]);
        }
        let wanted = if spec.networks.is_empty() { &self.settings.networks } else { &spec.networks };
        if !wanted.is_empty() {
            server["networks"] = self.networks(wanted)?.iter().map(|id| json!({"uuid": id})).collect();
        } else if version >= Some(NETWORKS) {
            server["networks"] = "auto".into();
        }
        if !spec.security_groups.is_empty() {
            // By identifier: two groups may have one name.
            server["security_groups"] =
                self.security_groups(&spec.security_groups)?.iter().map(|id| json!({"name": id})).collect();
        }
        if let Some(devices) = devices {
            server["block_device_mapping_v2"] = devices.into();
        }
        if let Some(user_data) = user_data(spec.user_data.as_deref(), &spec.ssh_keys)? {
            server["user_data"] = user_data.into();
        }
        for (field, value) in [("key_name", &spec.key_name), ("availability_zone", &spec.zone)] {
            if let Some(value) = value {
                server[field] = value.as_str().into();
            }
        }
        if let Some(drive) = extra.config_drive {
            server["config_drive"] = drive.into();
        }
        let mut body = json!({"server": server});
        if let Some(hints) = &extra.scheduler_hints {
            body["os:scheduler_hints"] = hints.clone().into();
        }
        Ok((metadata, body))
    }
}

/// What can be said of an order without asking.
fn check(token: &str, spec: &NodeSpec) -> Result<OrderExtra> {
    check_token(token)?;
    if !spec.start {
        return Err(Error::unsupported("nodes that are created stopped"));
    }
    if let Some((key, _)) = spec.metadata.iter().find(|(key, _)| RESERVED.contains(&key.as_str())) {
        return Err(Error::Invalid(format!("the metadata key `{key}` is the driver's own")));
    }
    if spec.image_id.is_empty() || spec.size_id.is_empty() {
        return Err(Error::Invalid("an order needs an image and a size".to_owned()));
    }
    let extra = Value::Object(spec.extra()?);
    serde_json::from_value(extra).map_err(|error| Error::Invalid(format!("`extra`: {error}")))
}
