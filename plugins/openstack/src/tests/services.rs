//! Nova, Glance, Neutron and Cinder, played.

use ostler_driver::http::Answer;
use ostler_driver::time;
use serde_json::{Value, json};

use super::fake::{Asked, FakeServer, Stage, answer};

const SECOND: u64 = 1_000_000;

fn nova_error(status: u16, name: &str, message: &str) -> Answer {
    answer(status, &json!({name: {"code": status, "message": message}}))
}

fn neutron_error(status: u16, kind: &str, message: &str) -> Answer {
    answer(status, &json!({"NeutronError": {"type": kind, "message": message, "detail": ""}}))
}

/// An image as Glance shows it.
pub(super) fn image(id: &str, name: &str, status: &str) -> Value {
    json!({
        "id": id, "name": name, "status": status, "visibility": "public", "size": 65536, "virtual_size": 65536, "disk_format": "raw",
        "container_format": "bare", "min_disk": 0, "min_ram": 0, "owner": "p0", "checksum": "d41d8", "os_hash_algo": "sha512",
        "os_hash_value": "cf83e", "protected": false, "os_hidden": false, "tags": [], "created_at": "2026-11-22T15:21:06Z",
        "updated_at": "2026-11-22T15:21:06Z", "self": format!("/v2/images/{id}"), "file": "f", "schema": "s", "stores": "file",
        "os_distro": "cirros", "os_version": "0.6",
    })
}

/// A part of a list, and the marker of the next.
fn cut(all: Vec<Value>, asked: &Asked<'_>, most: usize) -> Option<(Vec<Value>, Option<String>)> {
    let start = match asked.query("marker") {
        None => 0,
        Some(marker) => all.iter().position(|item| item["id"] == marker)? + 1,
    };
    let limit = asked.query("limit").map_or(most, |limit| limit.parse().unwrap()).min(most);
    let rest: Vec<_> = all.into_iter().skip(start).collect();
    let more = rest.len() > limit;
    let page: Vec<_> = rest.into_iter().take(limit).collect();
    let next = page.last().filter(|_| more).map(|last| last["id"].as_str().unwrap().to_owned());
    Some((page, next))
}

fn listed(name: &str, all: Vec<Value>, asked: &Asked<'_>, most: usize) -> Answer {
    let Some((page, next)) = cut(all, asked, most) else {
        return nova_error(400, "badRequest", "marker [x] not found");
    };
    let mut body = json!({name: page});
    if let Some(next) = next {
        // Elsewhere, as behind a proxy: only the marker counts.
        body[format!("{name}_links")] =
            json!([{"rel": "next", "href": format!("http://elsewhere/{name}?limit=2&marker={next}")}]);
    }
    answer(200, &body)
}

impl Stage {
    pub(super) fn nova(&mut self, asked: &Asked<'_>) -> Answer {
        let minor: u32 = self.microversions.1.strip_prefix("2.").map_or(1, |minor| minor.parse().unwrap());
        if asked.microversion.1 > minor {
            let text = format!(
                "Version 2.{} is not supported by the API. Minimum is 2.1 and maximum is 2.{minor}.",
                asked.microversion.1
            );
            return nova_error(406, "computeFault", &text);
        }
        match (asked.method, &asked.path[1..]) {
            ("GET", [""]) => {
                let (least, most) = self.microversions;
                answer(200, &json!({"version": {"id": "v2.1", "status": "CURRENT", "version": most, "min_version": least}}))
            }
            ("GET", ["limits"]) => answer(
                200,
                &json!({"limits": {"rate": [], "absolute": {"maxTotalInstances": 10, "totalInstancesUsed": self.servers.len(),
                    "maxTotalCores": 20, "totalCoresUsed": 1, "maxTotalRAMSize": -1, "totalRAMUsed": 64, "maxTotalKeypairs": 100,
                    "maxServerGroups": 10, "totalServerGroupsUsed": 0}}}),
            ),
            ("GET", ["flavors", "detail"]) => {
                let flavor = |id: &str, name: &str, ram: u64| {
                    json!({"id": id, "name": name, "ram": ram, "vcpus": 1, "disk": 1, "swap": "", "OS-FLV-EXT-DATA:ephemeral": 0,
                        "OS-FLV-DISABLED:disabled": id == "off", "os-flavor-access:is_public": true, "rxtx_factor": 1.0, "links": [],
                        "description": null, "extra_specs": {"hw:cpu_policy": "dedicated"}})
                };
                let all = vec![flavor("42", "m1.nano", 64), flavor("off", "old", 1), flavor("1", "m1.tiny", 512)];
                listed("flavors", all, asked, self.page)
            }
            ("GET", ["servers", "detail"]) => self.servers(asked),
            ("POST", ["servers"]) => self.create(asked),
            (method, ["servers", id, rest @ ..]) => {
                let Some(at) = self.servers.iter().position(|server| server.fields["id"] == *id) else {
                    return nova_error(404, "itemNotFound", &format!("Instance {id} could not be found."));
                };
                self.one_server(asked, at, method, rest)
            }
            (method, path) => panic!("Nova has no {method} {path:?}"),
        }
    }

    fn servers(&mut self, asked: &Asked<'_>) -> Answer {
        let since = asked.query("changes-since").map(|since| time::parse(since).unwrap());
        let fits = |server: &&FakeServer| {
            let tags = server.fields["tags"].as_array().unwrap();
            since.is_none_or(|since| server.updated >= since)
                && asked.query("tags").is_none_or(|wanted| tags.iter().any(|tag| tag == wanted))
                && (since.is_some() || server.fields["status"] != "DELETED")
        };
        let all = self.servers.iter().rev().filter(fits).map(|server| server.fields.clone()).collect();
        listed("servers", all, asked, self.page)
    }

    fn create(&mut self, asked: &Asked<'_>) -> Answer {
        let order = &asked.body["server"];
        if order["imageRef"] != "" && !self.images.iter().any(|image| image["id"] == order["imageRef"]) {
            return nova_error(400, "badRequest", "Can not find requested image");
        }
        if !["42", "1"].iter().any(|id| order["flavorRef"] == *id) {
            return nova_error(400, "badRequest", "Flavor x could not be found.");
        }
        if self.servers.len() >= 10 {
            return nova_error(
                403,
                "forbidden",
                "Quota exceeded for instances: Requested 1, but already used 10 of 10 instances",
            );
        }
        assert_eq!(order.get("tags").is_some(), asked.microversion.1 >= 52, "tags and microversion");
        assert!(order.get("networks").is_some() || asked.microversion.1 < 37, "networks and microversion");
        let id = self.identifier();
        let mut fields = json!({
            "id": id, "name": order["name"], "status": "BUILD", "tenant_id": "p1", "user_id": "u1", "hostId": "",
            "created": time::format(self.now), "updated": time::format(self.now), "addresses": {}, "metadata": order["metadata"],
            "key_name": order["key_name"], "flavor": {"id": order["flavorRef"], "links": []}, "image": {"id": order["imageRef"], "links": []},
            "OS-EXT-STS:vm_state": "building", "OS-EXT-STS:task_state": "spawning", "OS-EXT-STS:power_state": 0, "locked": false,
            "tags": order.get("tags").cloned().unwrap_or_else(|| json!([])), "os-extended-volumes:volumes_attached": [], "links": [],
        });
        if order["imageRef"] == "" {
            fields["image"] = "".into();
        }
        let (now, coming) = (self.now, Some((self.now + 5 * SECOND, "ACTIVE")));
        self.servers.push(FakeServer { fields, coming, updated: now });
        answer(202, &json!({"server": {"id": id, "links": [], "OS-DCF:diskConfig": "MANUAL", "adminPass": "canary-pass"}}))
    }

    fn one_server(&mut self, asked: &Asked<'_>, at: usize, method: &str, rest: &[&str]) -> Answer {
        let now = self.now;
        let server = &mut self.servers[at];
        let status = server.fields["status"].as_str().unwrap().to_owned();
        match (method, rest) {
            ("GET", []) => answer(200, &json!({"server": server.fields})),
            ("DELETE", []) => {
                server.fields["OS-EXT-STS:task_state"] = "deleting".into();
                server.coming = Some((now + SECOND, "gone"));
                server.updated = now;
                answer(204, &Value::Null)
            }
            ("POST", ["metadata"]) => {
                for (key, value) in asked.body["metadata"].as_object().unwrap() {
                    server.fields["metadata"][key] = value.clone();
                }
                answer(200, &json!({"metadata": server.fields["metadata"]}))
            }
            ("GET", ["diagnostics"]) if status == "ACTIVE" => answer(
                200,
                &json!({"state": "running", "driver": "libvirt", "uptime": 46664, "cpu_details": [{"id": 0, "time": 17300000000u64,
                    "utilisation": 15}], "disk_details": [], "nic_details": [], "memory_details": {"maximum": 64, "used": 32}}),
            ),
            ("POST", ["action"]) => {
                let (name, argument) = asked.body.as_object().unwrap().iter().next().unwrap();
                let hard = argument["type"] == "HARD";
                let Some((task, to)) = (match (name.as_str(), status.as_str(), server.coming.is_some()) {
                    ("os-start", "SHUTOFF", false) => Some(("powering-on", "ACTIVE")),
                    ("os-stop", "ACTIVE", false) => Some(("powering-off", "SHUTOFF")),
                    ("reboot", "ACTIVE", false) if !hard => Some(("rebooting", "ACTIVE")),
                    ("reboot", "ACTIVE" | "SHUTOFF", false) if hard => Some(("rebooting_hard", "ACTIVE")),
                    ("suspend", "ACTIVE", false) => Some(("suspending", "SUSPENDED")),
                    ("resume", "SUSPENDED", false) => Some(("resuming", "ACTIVE")),
                    ("unpause", "PAUSED", false) => Some(("unpausing", "ACTIVE")),
                    _ => None,
                }) else {
                    let text = format!("Cannot '{name}' instance x while it is in vm_state {}", status.to_lowercase());
                    return nova_error(409, "conflictingRequest", &text);
                };
                server.fields["OS-EXT-STS:task_state"] = task.into();
                server.coming = Some((now + 2 * SECOND, to));
                server.updated = now;
                answer(202, &Value::Null)
            }
            (method, rest) => nova_error(409, "conflictingRequest", &format!("Cannot {method} {rest:?} now")),
        }
    }

    pub(super) fn glance(&mut self, asked: &Asked<'_>) -> Answer {
        let missing = || {
            answer(
                404,
                &json!({"message": "No image found with ID x<br /><br />\n", "code": "404 Not Found", "title": "Not Found"}),
            )
        };
        match (asked.method, &asked.path[1..]) {
            ("GET", ["info", "import"]) => {
                answer(200, &json!({"import-methods": {"description": "d", "type": "array", "value": self.import_methods}}))
            }
            ("GET", ["images"]) => {
                let fits = |image: &&Value| {
                    asked.query("tag").is_none_or(|tag| image["tags"].as_array().unwrap().iter().any(|own| own == tag))
                        && asked.query("status").is_none_or(|status| image["status"] == status)
                };
                let all = self.images.iter().filter(fits).cloned().collect();
                let Some((page, next)) = cut(all, asked, self.page) else { return missing() };
                let mut body = json!({"images": page, "first": "/v2/images", "schema": "/v2/schemas/images"});
                if let Some(next) = next {
                    body["next"] = format!("/v2/images?limit=2&marker={next}").into();
                }
                answer(200, &body)
            }
            ("POST", ["images"]) => {
                let id = self.identifier();
                let mut made = image(&id, "", "queued");
                for (key, value) in asked.body.as_object().unwrap() {
                    made[key] = value.clone();
                }
                self.images.push(made.clone());
                answer(201, &made)
            }
            (method, ["images", id, rest @ ..]) => {
                let Some(at) = self.images.iter().position(|image| image["id"] == *id) else { return missing() };
                match (method, rest) {
                    ("GET", []) => answer(200, &self.images[at]),
                    ("DELETE", []) => {
                        self.images.remove(at);
                        answer(204, &Value::Null)
                    }
                    ("POST", ["import"]) => {
                        assert_eq!(asked.body["method"]["name"], "web-download");
                        self.images[at]["status"] = "importing".into();
                        answer(202, &Value::Null)
                    }
                    ("PUT", ["file"]) => {
                        assert_eq!(asked.raw, b"content");
                        self.images[at]["status"] = "active".into();
                        answer(204, &Value::Null)
                    }
                    (method, rest) => panic!("Glance has no {method} {rest:?}"),
                }
            }
            (method, path) => panic!("Glance has no {method} {path:?}"),
        }
    }

    pub(super) fn neutron(&mut self, asked: &Asked<'_>) -> Answer {
        match (asked.method, &asked.path[1..]) {
            ("GET", ["networks"]) => {
                let external = asked.query("router:external").is_some();
                let all =
                    self.networks.iter().filter(|network| !external || network["router:external"] == true).cloned().collect();
                listed("networks", all, asked, self.page)
            }
            ("GET", ["security-groups"]) => listed("security_groups", self.groups.clone(), asked, self.page),
            ("GET", ["quotas", "p1", "details"]) => answer(
                200,
                &json!({"quota": {"floatingip": {"limit": self.floating_limit, "used": self.floating.len(), "reserved": 0},
                    "network": {"limit": -1, "used": 2, "reserved": 0}}}),
            ),
            ("GET", ["ports"]) => {
                let server = asked.query("device_id").unwrap();
                let has = self.servers.iter().any(|known| known.fields["id"] == server && known.fields["addresses"] != json!({}));
                let port = |port: &str, ip: &str| {
                    json!({"id": port, "device_id": server, "mac_address": "fa:16:3e:00:00:07", "status": "ACTIVE",
                        "fixed_ips": [{"subnet_id": "s6", "ip_address": "fd00::7"}, {"subnet_id": "s", "ip_address": ip}]})
                };
                let all = vec![port(&format!("far-{server}"), "10.9.0.7"), port(&format!("port-{server}"), "10.0.0.7")];
                listed("ports", if has { all } else { Vec::new() }, asked, self.page)
            }
            ("GET", ["floatingips"]) => listed("floatingips", self.floating.clone(), asked, self.page),
            ("POST", ["floatingips"]) => {
                let order = &asked.body["floatingip"];
                if let Some(refusal) = self.port_refuses(&order["port_id"]) {
                    return refusal;
                }
                if i64::try_from(self.floating.len()).unwrap() >= self.floating_limit {
                    return neutron_error(409, "OverQuota", "Quota exceeded for resources: ['floatingip'].");
                }
                let id = self.identifier();
                let ip = json!({"id": id, "floating_ip_address": format!("203.0.113.{}", 9 + self.made), "status": "DOWN",
                    "fixed_ip_address": order["fixed_ip_address"], "port_id": order["port_id"], "description": order["description"],
                    "floating_network_id": order["floating_network_id"], "router_id": "r"});
                self.floating.push(ip.clone());
                answer(201, &json!({"floatingip": ip}))
            }
            (method, ["floatingips", id]) => {
                let Some(at) = self.floating.iter().position(|ip| ip["id"] == *id) else {
                    return neutron_error(404, "FloatingIPNotFound", "Floating IP x could not be found");
                };
                if method == "DELETE" {
                    self.floating.remove(at);
                    return answer(204, &Value::Null);
                }
                let port = asked.body["floatingip"]["port_id"].clone();
                if let Some(refusal) = self.port_refuses(&port) {
                    return refusal;
                }
                self.floating[at]["port_id"] = port;
                answer(200, &json!({"floatingip": self.floating[at]}))
            }
            (method, path) => panic!("Neutron has no {method} {path:?}"),
        }
    }

    fn port_refuses(&self, port: &Value) -> Option<Answer> {
        if port.as_str().unwrap().starts_with("far-") {
            let text = "External network 1 is not reachable from subnet s.";
            return Some(neutron_error(404, "ExternalGatewayForFloatingIPNotFound", text));
        }
        self.floating.iter().any(|ip| ip["port_id"] == *port).then(|| {
            neutron_error(
                409,
                "FloatingIPPortAlreadyAssociated",
                "Cannot associate floating IP x with port y: it already has one.",
            )
        })
    }

    pub(super) fn cinder(&mut self, asked: &Asked<'_>) -> Answer {
        match (asked.method, &asked.path[2..]) {
            ("GET", ["limits"]) => answer(
                200,
                &json!({"limits": {"rate": [], "absolute": {"maxTotalVolumes": 10, "totalVolumesUsed": 1,
                    "maxTotalVolumeGigabytes": 1000, "totalGigabytesUsed": 5, "maxTotalSnapshots": 10}}}),
            ),
            ("GET", ["volumes", "detail"]) => {
                let name = asked.query("name").unwrap();
                let all = self.volumes.iter().filter(|volume| volume["name"] == name).cloned().collect();
                listed("volumes", all, asked, self.page)
            }
            ("DELETE", ["volumes", id]) => {
                self.volumes.retain(|volume| volume["id"] != *id);
                answer(202, &Value::Null)
            }
            (method, path) => panic!("Cinder has no {method} {path:?}"),
        }
    }
}
