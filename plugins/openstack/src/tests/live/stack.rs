//! The cloud of `tests/setup/openstack.sh`: one test at a time has it, and leaves it as it was.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use ostler_driver::testing::Cloud;
use serde_json::{Map, Value, json};

use super::wire;
use super::{DEADLINE, nap};
use crate::auth::Service;
use crate::config::Settings;
use crate::http::Api;

/// What must be the same before and after a test.
const HELD: [&str; 7] = ["servers", "ports", "floating_ips", "networks", "keypairs", "images", "volumes"];

pub(super) struct Stack {
    environment: BTreeMap<String, String>,
    before: Value,
    /// What is held goes with the test.
    _turn: File,
}

impl Stack {
    /// The cloud, when no other test has it; none where there is none.
    pub(super) fn open() -> Option<Self> {
        let path = std::env::var("OSTLER_TEST_OPENSTACK").ok().filter(|path| !path.is_empty())?;
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let entries = text.lines().filter_map(|line| line.split_once('='));
        let environment: BTreeMap<_, _> = entries.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let turn = File::create(PathBuf::from(&environment["OSTLER_OPENSTACK_DIR"]).join("run/turn")).unwrap();
        turn.lock().unwrap();
        let mut stack = Self { environment, before: Value::Null, _turn: turn };
        stack.before = stack.report();
        Some(stack)
    }

    pub(super) fn of(&self, key: &str) -> &str {
        &self.environment[key]
    }

    /// The project, as its user sees it.
    pub(super) fn cloud(&self) -> Cloud {
        wire::cloud()
            .config("auth_url", self.of("OS_AUTH_URL"))
            .config("region", self.of("OS_REGION_NAME"))
            .config("username", self.of("OS_USERNAME"))
            .config("project_name", self.of("OS_PROJECT_NAME"))
            .secret("password", self.of("OS_PASSWORD"))
    }

    /// The project, as the administrator sees it.
    pub(super) fn admins_cloud(&self) -> Cloud {
        self.cloud().config("username", "admin").secret("password", self.of("OSTLER_OPENSTACK_ADMIN_PASSWORD"))
    }

    /// For requests that the driver never makes.
    pub(super) fn api(cloud: &Cloud) -> Api {
        let ctx = cloud.context();
        Api { settings: Settings::read(&ctx).unwrap(), ctx }
    }

    /// What openstacksdk sees.
    pub(super) fn report(&self) -> Value {
        self.ask("")
    }

    /// One process of it serves all tests, since its start takes longer than a test.
    fn ask(&self, line: &str) -> Value {
        static WITNESS: Mutex<Option<(Child, ChildStdin, BufReader<ChildStdout>)>> = Mutex::new(None);
        let mut witness = WITNESS.lock().unwrap_or_else(PoisonError::into_inner);
        let (child, input, output) = witness.get_or_insert_with(|| {
            let mut command = Command::new(self.of("OSTLER_OPENSTACK_PYTHON"));
            command.args(["-W", "ignore"]).arg(PathBuf::from(self.of("OSTLER_OPENSTACK_TOOLS")).join("report.py"));
            let mut child = command.envs(&self.environment).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
            (child, input, BufReader::new(output))
        });
        let mut answer = String::new();
        let asked = writeln!(input, "{line}").and_then(|()| output.read_line(&mut answer));
        if answer.is_empty() {
            child.wait().unwrap();
            *witness = None;
        }
        asked.unwrap();
        serde_json::from_str(&answer).expect("openstacksdk has failed")
    }

    /// Ends services as a crash would.
    pub(super) fn kill(&self, services: &[&str]) {
        self.script("kill", services, None);
    }

    /// Starts them again; a token lives for so many seconds from then on.
    pub(super) fn start(&self, services: &[&str], token_seconds: Option<u32>) {
        self.script("start", services, token_seconds);
    }

    fn script(&self, action: &str, services: &[&str], token_seconds: Option<u32>) {
        let script = PathBuf::from(self.of("OSTLER_OPENSTACK_TOOLS")).with_extension("sh");
        let mut command = Command::new(script);
        command.args([action, self.of("OSTLER_OPENSTACK_DIR")]).args(services);
        if let Some(seconds) = token_seconds {
            command.env("OSTLER_TOKEN_SECONDS", seconds.to_string());
        }
        assert!(command.status().unwrap().success(), "{action} {services:?}");
    }

    /// Sets quotas of the project, and takes them back when it is dropped.
    pub(super) fn quota(&self, service: Service, values: &Value) -> Quota {
        let api = Self::api(&self.admins_cloud());
        let project = self.before["project"].as_str().unwrap();
        let (path, name) = match service {
            Service::Compute => (format!("/os-quota-sets/{project}"), "quota_set"),
            _ => (format!("/quotas/{project}"), "quota"),
        };
        api.call("PUT", service, path.as_str()).json_body(&json!({name: values})).send().unwrap();
        Quota { api, service, path }
    }

    /// Waits until the project holds what it held before the test, and nothing else.
    pub(super) fn assert_unchanged(&self) {
        let end = Instant::now() + DEADLINE;
        loop {
            let left = self.left();
            if left.values().all(|kind| kind.as_object().unwrap().is_empty()) {
                break;
            }
            assert!(Instant::now() < end, "left behind: {}", Value::Object(left));
            nap();
        }
        let now = self.report();
        for kind in HELD {
            let missing: Vec<_> = ids(&self.before[kind]).filter(|id| now[kind].get(*id).is_none()).collect();
            assert!(missing.is_empty(), "these {kind} were not the test's: {missing:?}");
        }
    }

    /// What was not there before.
    fn left(&self) -> Map<String, Value> {
        let now = self.report();
        let added = |kind: &&str| {
            let all = now[*kind].as_object().unwrap().iter();
            let added: Map<_, _> =
                all.filter(|(id, _)| self.before[*kind].get(*id).is_none()).map(|(id, one)| (id.clone(), one.clone())).collect();
            ((*kind).to_owned(), Value::Object(added))
        };
        HELD.iter().map(added).collect()
    }
}

impl Drop for Stack {
    /// A test that failed does not make the next ones fail.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.start(&["keystone", "placement", "glance", "neutron", "nova"], None);
            self.ask(&Value::Object(self.left()).to_string());
        }
    }
}

/// The identifiers of a kind in a report.
pub(super) fn ids(kind: &Value) -> impl Iterator<Item = &str> {
    kind.as_object().unwrap().keys().map(String::as_str)
}

/// Quotas that a test has set.
pub(super) struct Quota {
    api: Api,
    service: Service,
    path: String,
}

impl Drop for Quota {
    fn drop(&mut self) {
        let restored = self.api.delete(self.service, self.path.as_str()).send();
        assert!(restored.is_ok() || std::thread::panicking(), "the quotas stay");
    }
}
