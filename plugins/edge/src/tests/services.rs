//! The played far side's instances, rules and metrics.

use ostler_driver::http::Answer;
use ostler_driver::time;
use serde_json::{Value, json};

use super::fake::{Stage, is, plain};

impl Stage {
    pub(super) fn version(&self) -> Value {
        let mut version = self.version.clone();
        if self.manners.ostler {
            version["ostler"] = json!({"instance": "B", "upstream": self.upstream});
        }
        version
    }

    /// Instances become what they were about to be.
    pub(super) fn pass_time(&mut self) {
        let now = self.now();
        for instance in &mut self.instances {
            let due = instance["coming_at"].as_u64().is_some_and(|at| at != 0 && at <= now);
            if due {
                instance["coming_at"] = 0.into();
                instance["status"] = "running".into();
            }
        }
    }

    pub(super) fn create(&mut self, order: &Value) -> Answer {
        let reference = crate::wire::reference(&order["imageRef"]);
        let Some(image) = self.images.iter().find(|image| Some(image["id"].to_string()) == reference) else {
            return self.refuse("itemNotFound", 404, "no such image");
        };
        if image["status"] != "ACTIVE" {
            return self.refuse("buildInProgress", 409, "the image is being saved");
        }
        let name = match order["name"].as_str() {
            Some(name) if !self.manners.own_names => name.to_owned(),
            _ => "test-instance".to_owned(),
        };
        self.add_instance(&name, "stopped");
        let one = self.instances.last_mut().unwrap();
        if let Some(flavor) = order.get("flavor") {
            one["flavor"] = flavor.clone();
        }
        let one = one.clone();
        let keys = ["id", "name", "status", "image", "ip", "created_at", "link"];
        plain(202, &json!({"instance": self.tell("instances", &one, Some(&keys))}))
    }

    pub(super) fn act(&mut self, id: &str, body: &Value) -> Answer {
        let (now, boot) = (self.now(), self.manners.boot_seconds * 1_000_000);
        let lenient = self.manners.lenient_actions;
        let Some(at) = self.instances.iter().position(|one| is(&one["id"], id)) else { return self.gone(id) };
        let body = body.as_object().unwrap();
        let (action, about) = body.iter().next().unwrap();
        assert_eq!(body.len(), 1);
        let status = self.instances[at]["status"].as_str().unwrap().to_owned();
        let hardness = about.get("type").and_then(Value::as_str);
        assert!(matches!(hardness, None | Some("SOFT" | "HARD")));
        let (from, to): (&[&str], &str) = match action.as_str() {
            "start" => (&["stopped", "error"], "running"),
            "stop" => (&["running", "starting"], "stopped"),
            "reboot" => (&["running"], "running"),
            "freeze" => (&["running"], "frozen"),
            "resume" => (&["frozen"], "running"),
            other => panic!("{other}"),
        };
        if !from.contains(&status.as_str()) {
            return if lenient {
                plain(202, &Value::Null)
            } else {
                self.refuse("buildInProgress", 409, &format!("it is {status}"))
            };
        }
        let one = &mut self.instances[at];
        one["coming_at"] = 0.into();
        if matches!(action.as_str(), "start" | "reboot") && boot > 0 {
            one["status"] = if action == "start" { "starting" } else { "rebooting" }.into();
            one["coming_at"] = (now + boot).into();
        } else {
            one["status"] = to.into();
        }
        plain(202, &Value::Null)
    }

    pub(super) fn rules(&mut self, method: &str, path: &[&str], query: &[(String, String)], body: &Value) -> Answer {
        match (method, path) {
            ("GET", ["fwrules"]) => {
                let wanted = query.iter().find(|(key, _)| key == "instance").map(|(_, value)| value.as_str());
                let wanted = wanted.filter(|_| !self.manners.no_filter);
                let listed = self.rules.iter().filter(|rule| wanted.is_none_or(|id| is(&rule["instance_id"], id)));
                let keys: &[&str] = if self.manners.bare_rules { &["id", "link"] } else { &["id", "instance_id", "link"] };
                let told: Vec<_> = listed.map(|rule| self.tell("fwrules", rule, Some(keys))).collect();
                plain(200, &json!({"fwrules": told}))
            }
            ("GET", ["fwrules", id]) => match self.rules.iter().find(|rule| is(&rule["id"], id)) {
                Some(rule) => {
                    let keys = ["id", "port_to", "port_from", "instance", "created_at", "updated_at", "link"];
                    plain(200, &json!({"fwrule": self.tell("fwrules", rule, Some(&keys))}))
                }
                None => self.gone(id),
            },
            ("POST", ["fwrules"]) => {
                let order = &body["fwrule"];
                let reference = crate::wire::reference(&order["instanceRef"]).unwrap();
                let Some(instance) = self.instances.iter().find(|one| is(&one["id"], &reference)).cloned() else {
                    return self.refuse("itemNotFound", 404, "no such instance");
                };
                let id = self.fresh();
                let port = 7000 + self.rules.len();
                self.rules.push(json!({"id": id, "port_to": order["port_to"], "port_from": port, "instance_id": instance["id"],
                    "instance": {"id": instance["id"], "name": instance["name"]}}));
                plain(202, &json!({"fwrule": {"id": id, "port_to": order["port_to"], "port_from": port}}))
            }
            _ => self.refuse("badMethod", 405, "not here"),
        }
    }

    pub(super) fn metrics(&mut self, method: &str, rest: &[&str], query: &[(String, String)], body: &Value) -> Answer {
        if rest.is_empty() && method == "GET" {
            let metrics =
                json!([{"CPUUtilization": {"statistics": ["min", "max", "average"]}}, {"NetworkIn": {"statistics": ["max"]}}]);
            return plain(200, &json!({"metrics": metrics}));
        }
        assert_eq!(rest, ["statistics"]);
        let way = match (method, body.is_null()) {
            ("GET", true) => "query",
            ("GET", false) => "body",
            _ => "post",
        };
        if way != self.manners.statistics {
            return match way {
                "post" => self.refuse("badMethod", 405, "not so"),
                _ => self.refuse("badRequest", 400, "not so"),
            };
        }
        let given = |key: &str| query.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
        let (metric, about) = match way {
            "query" => {
                let about = json!({"statistics": given("statistics"), "startTime": given("startTime"),
                    "endTime": given("endTime"), "period": given("period")});
                (given("metric").unwrap(), about)
            }
            _ => body.as_object().unwrap().iter().next().map(|(name, about)| (name.clone(), about.clone())).unwrap(),
        };
        let [start, end] = ["startTime", "endTime"].map(|key| time::parse(about[key].as_str().unwrap()).unwrap());
        assert!(start < end && about["period"] == "minute");
        let minute = |ago: u64| time::format(self.now() - ago * 60_000_000).replace('T', " ");
        let points = json!({minute(2): 230, minute(1): 200});
        plain(200, &json!({metric: {"statistics": about["statistics"], "unit": "Kilobits/Second", "datapoints": points}}))
    }
}
