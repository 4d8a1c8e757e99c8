//! The server as a process of its own.

use crate::client::{Client, Reply};
use crate::components;
use crate::turn::{self, Turn};
use crate::{PATIENCE, eventually};
use bytes::Bytes;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use tempfile::TempDir;

/// How a server is to be started.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    config: Option<String>,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
    drivers: Vec<(String, Vec<u8>)>,
    authority: Option<PathBuf>,
    alone: bool,
}

impl Setup {
    /// Development mode: no configuration, the clouds `default` and `fake_driver`.
    pub fn development() -> Self {
        Self::default()
    }

    /// With this configuration.
    pub fn configured(toml: impl Into<String>) -> Self {
        Self { config: Some(toml.into()), ..Self::default() }
    }

    /// With a variable in the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With an argument of the command line.
    #[must_use]
    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// With a component in the watched directory.
    #[must_use]
    pub fn driver(mut self, name: &str, component: impl Into<Vec<u8>>) -> Self {
        self.drivers.push((name.to_owned(), component.into()));
        self
    }

    /// With the certificate authority of this directory: all servers on one database must have the same.
    #[must_use]
    pub fn authority(mut self, directory: &Path) -> Self {
        self.authority = Some(directory.to_owned());
        self
    }

    /// In a turn that the test has taken itself.
    #[must_use]
    pub fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// Starts it and waits until it is ready. Drivers of the watched directory may still be on their way: [`Server::serving`].
    pub async fn start(self) -> Server {
        let turn = if self.alone { None } else { Some(turn::shared().await) };
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        std::fs::create_dir_all(data.join("drivers")).unwrap();
        for (name, component) in &self.drivers {
            std::fs::write(data.join("drivers").join(format!("{name}.wasm")), component).unwrap();
        }
        if let Some(authority) = &self.authority {
            std::fs::create_dir(data.join("ca")).unwrap();
            for name in ["ca_cert.pem", "ca_key.pem"] {
                // With the mode, which the server looks at.
                std::fs::copy(authority.join(name), data.join("ca").join(name)).unwrap();
            }
        }
        if let Some(config) = &self.config {
            std::fs::write(directory.path().join("ostler.toml"), config).unwrap();
        }
        let mut server = Server {
            setup: self,
            directory,
            child: None,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: None,
            output: Arc::default(),
            log: Arc::default(),
            _turn: turn,
        };
        server.start().await;
        server
    }
}

/// A running server and its data directory; both end with it.
#[derive(Debug)]
pub struct Server {
    setup: Setup,
    directory: TempDir,
    child: Option<Child>,
    address: SocketAddr,
    tls: Option<SocketAddr>,
    output: Arc<Mutex<Vec<u8>>>,
    log: Arc<Mutex<Vec<u8>>>,
    _turn: Option<Turn>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            println!("--- stdout\n{}--- log\n{}", self.output(), self.log());
        }
    }
}

fn collect(mut from: impl Read + Send + 'static, into: Arc<Mutex<Vec<u8>>>) {
    std::thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(read @ 1..) = from.read(&mut chunk) {
            into.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&chunk[..read]);
        }
    });
}

fn text(bytes: &Mutex<Vec<u8>>) -> String {
    String::from_utf8_lossy(&bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
}

/// The built program, with none of our own variables in its environment.
pub fn program() -> Command {
    let path = components::target().join("release/ostler");
    assert!(path.exists(), "{} is missing: cargo build --release --workspace", path.display());
    let mut command = Command::new(path);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OSTLER_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

impl Server {
    /// Starts the process, on the same data as before, and waits until it is ready.
    pub async fn start(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let before = self.output().len();
        let mut command = self.command(&self.data());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        collect(child.stdout.take().unwrap(), Arc::clone(&self.output));
        collect(child.stderr.take().unwrap(), Arc::clone(&self.log));
        self.child = Some(child);
        let wanted = 1 + usize::from(self.setup.arguments.iter().any(|argument| argument == "--listen-tls"));
        let listening = eventually("the server is ready", PATIENCE, async || {
            let output = self.output().split_off(before);
            let lines: Vec<String> =
                output.lines().filter_map(|line| line.strip_prefix("listening on ")).map(str::to_owned).collect();
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().unwrap()) {
                panic!("the server ended with {status}");
            }
            (lines.len() >= wanted && output.ends_with('\n')).then_some(lines)
        })
        .await;
        for line in listening {
            match line.split_once("://").unwrap() {
                ("http", address) => self.address = address.trim().parse().unwrap(),
                (_, address) => self.tls = Some(address.trim().parse().unwrap()),
            }
        }
    }

    /// Starts the process, which is to end on its way up or soon after it.
    pub async fn start_and_die(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let mut command = self.command(&self.data());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        collect(child.stdout.take().unwrap(), Arc::clone(&self.output));
        collect(child.stderr.take().unwrap(), Arc::clone(&self.log));
        self.child = Some(child);
        assert!(!self.ended().await.success(), "it ended by itself");
    }

    /// `ostler serve` as it was set up, on this data directory.
    pub fn command(&self, data: &Path) -> Command {
        let mut command = program();
        command.arg("serve").arg("--data").arg(data).args(["--listen", "127.0.0.1:0"]).args(&self.setup.arguments);
        if self.setup.config.is_some() {
            command.arg("--config").arg(self.directory.path().join("ostler.toml"));
        }
        for (name, value) in &self.setup.environment {
            command.env(name, value);
        }
        command
    }

    /// Sets a variable for the next start, or takes it away.
    pub fn set_env(&mut self, name: &str, value: Option<&str>) {
        self.setup.environment.retain(|(known, _)| known != name);
        self.setup.environment.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }

    /// `kill -9`, and waits for the end.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) {
        self.signal(rustix::process::Signal::HUP);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let child = self.child.as_ref().expect("it runs");
        rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
    }

    /// Waits until the process has ended by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        let status = eventually("the server ends", PATIENCE * 2, async || child.try_wait().unwrap()).await;
        drop(child);
        status
    }

    /// The address for plain HTTP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address for HTTPS.
    pub fn tls_address(&self) -> SocketAddr {
        self.tls.expect("started with --listen-tls")
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// A file in the watched directory.
    pub fn driver_file(&self, name: &str) -> PathBuf {
        self.data().join("drivers").join(name)
    }

    /// What it wrote on standard output.
    pub fn output(&self) -> String {
        text(&self.output)
    }

    /// What it wrote on standard error.
    pub fn log(&self) -> String {
        text(&self.log)
    }

    /// A client with a connection of its own.
    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// `GET` on a new connection.
    pub async fn get(&self, path: &str) -> Reply {
        self.client().get(path).await
    }

    /// A request on a new connection.
    pub async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
        self.client().call(method, path, headers, body).await
    }

    /// A request with a JSON body, on a new connection.
    pub async fn json(&self, method: &str, path: &str, body: &str) -> Reply {
        self.call(method, path, &[("content-type", "application/json")], body.to_owned()).await
    }

    /// The token of the local operator.
    pub fn operator(&self) -> String {
        std::fs::read_to_string(self.data().join("operator.token")).unwrap().trim().to_owned()
    }

    /// A request by the local operator, on a new connection.
    pub async fn as_operator(&self, method: &str, path: &str, body: impl Into<Bytes>) -> Reply {
        let token = format!("Bearer {}", self.operator());
        self.call(method, path, &[("authorization", &token), ("content-type", "application/json")], body).await
    }

    /// Installs a component by the API.
    pub async fn install(&self, name: &str, component: impl Into<Bytes>) -> Reply {
        let token = format!("Bearer {}", self.operator());
        let headers = [("authorization", token.as_str()), ("content-type", "application/wasm")];
        self.call("PUT", &format!("/ostler/v1/drivers/{name}"), &headers, component).await
    }

    /// The digest of what serves a driver name.
    pub async fn active(&self, name: &str) -> String {
        let shown = self.as_operator("GET", &format!("/ostler/v1/drivers/{name}"), "").await;
        shown.json()["active"]["digest"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until a cloud's driver serves.
    pub async fn serving(&self, cloud: &str) {
        eventually(&format!("{cloud} has a driver"), PATIENCE, async || {
            let shown = self.as_operator("GET", &format!("/ostler/v1/clouds/{cloud}"), "").await.json();
            shown["digest"].is_string().then_some(())
        })
        .await;
    }

    /// A sample of the metrics: the sum of all whose name and labels contain all of these.
    pub async fn metric(&self, parts: &[&str]) -> f64 {
        let text = self.as_operator("GET", "/metrics", "").await;
        let samples = text.text().lines().filter(|line| !line.starts_with('#') && parts.iter().all(|part| line.contains(part)));
        samples.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> u64 {
        let id = self.child.as_ref().expect("it runs").id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
    }

    /// A command of the command line against this server, as on the same machine.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        let mut command = program();
        command.args(arguments).arg("--server").arg(format!("http://{}", self.address)).arg("--data").arg(self.data());
        command.output().unwrap()
    }
}
