//! A real OpenStack, which `tests/setup/openstack.sh start DIR` brings up; `OSTLER_TEST_OPENSTACK=DIR/env` says how to reach it.

use crate::Client;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The cloud of the script; one test at a time has it.
pub struct Stack {
    environment: BTreeMap<String, String>,
    _turn: File,
}

impl Stack {
    /// Of the environment, when nobody else has it.
    pub fn open() -> Self {
        let path =
            std::env::var("OSTLER_TEST_OPENSTACK").expect("OSTLER_TEST_OPENSTACK is not set: see tests/setup/openstack.sh");
        let text = std::fs::read_to_string(&path).unwrap();
        let entries = text.lines().filter_map(|line| line.split_once('='));
        let environment: BTreeMap<_, _> = entries.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let turn = File::create(PathBuf::from(&environment["OSTLER_OPENSTACK_DIR"]).join("run/turn")).unwrap();
        turn.lock().unwrap();
        Self { environment, _turn: turn }
    }

    /// A variable of the script.
    pub fn of(&self, key: &str) -> &str {
        &self.environment[key]
    }

    /// A program on openstacksdk, which reads lines and answers with lines.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.of("OSTLER_OPENSTACK_PYTHON"));
        command.args(["-W", "ignore"]).arg(PathBuf::from(self.of("OSTLER_OPENSTACK_TOOLS")).join(name));
        command.envs(&self.environment).stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    }

    /// What openstacksdk sees: objects of each kind by their identifiers.
    pub fn report(&self) -> Map<String, Value> {
        let mut child = self.program("report.py").spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        let output = child.wait_with_output().unwrap();
        let first = output.stdout.split(|byte| *byte == b'\n').next().unwrap();
        serde_json::from_slice::<Value>(first).expect("openstacksdk has failed").as_object().unwrap().clone()
    }

    /// Origins of the services that the catalog names.
    pub async fn origins(&self) -> BTreeSet<String> {
        let url: url::Url = self.of("OS_AUTH_URL").parse().unwrap();
        let address = format!("{}:{}", url.host_str().unwrap(), url.port_or_known_default().unwrap()).parse().unwrap();
        let login = json!({ "auth": {
            "identity": { "methods": ["password"], "password": { "user": {
                "name": self.of("OS_USERNAME"), "domain": { "id": "default" }, "password": self.of("OS_PASSWORD"),
            } } },
            "scope": { "project": { "name": self.of("OS_PROJECT_NAME"), "domain": { "id": "default" } } },
        } });
        let path = format!("{}/auth/tokens", url.path());
        let reply = Client::new(address).call("POST", &path, &[("content-type", "application/json")], login.to_string()).await;
        assert_eq!(reply.status, 201, "{}", reply.text());
        let catalog = reply.json()["token"]["catalog"].as_array().unwrap().clone();
        let endpoints = catalog.iter().flat_map(|service| service["endpoints"].as_array().unwrap().clone());
        let origin =
            |endpoint: Value| endpoint["url"].as_str().unwrap().parse::<url::Url>().unwrap().origin().ascii_serialization();
        endpoints.map(origin).chain([url.origin().ascii_serialization()]).collect()
    }

    /// The table of a cloud of this name on it; the password is in `STACK_PASSWORD`.
    pub async fn cloud(&self, name: &str) -> String {
        let origins: Vec<_> = self.origins().await.into_iter().map(|origin| format!("\"{origin}\"")).collect();
        format!(
            "[clouds.{name}]\ndriver = \"openstack\"\ngrants = {{ http = [{}] }}\n\
             config = {{ auth_url = \"{}\", region = \"{}\", username = \"{}\", project_name = \"{}\", networks = [\"private\"] }}\n\
             secrets = {{ password = {{ env = \"STACK_PASSWORD\" }} }}\nlimits = {{ call_seconds = 60, cpu_ms = 10000 }}\n",
            origins.join(", "),
            self.of("OS_AUTH_URL"),
            self.of("OS_REGION_NAME"),
            self.of("OS_USERNAME"),
            self.of("OS_PROJECT_NAME"),
        )
    }

    /// The image that the script makes.
    pub fn image(&self) -> String {
        let images = self.report()["images"].as_object().unwrap().clone();
        let found = images.iter().find(|(_, image)| image["name"] == "cirros-fake");
        found.expect("the script makes it").0.clone()
    }
}

/// openstacksdk in its own process: `tests/setup/openstack/sdk.py`.
pub struct Sdk {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Sdk {
    /// Of the same project.
    pub fn new(stack: &Stack) -> Self {
        let mut child = stack.program("sdk.py").spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    /// Does what a line asks for; how many milliseconds that took, where it is timed.
    pub fn ask(&mut self, line: &str) -> f64 {
        writeln!(self.input, "{line}").unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        answer.trim().parse().unwrap_or_else(|_| panic!("{line}: openstacksdk has failed"))
    }
}

impl Drop for Sdk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
