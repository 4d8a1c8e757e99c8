//! A directory that stands for a machine.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ostler_cloudinit::{Component, Kind, Lifecycle, Machine, Operation, Options, Report, Source, user_data};
use tempfile::TempDir;

use crate::server::Server;
use crate::yaml;

pub(crate) const TOKEN: &str = "canary-token.of~this+machine/0==";

/// Where programs of the machine come from, and what they are called.
const PROGRAMS: [&str; 26] = [
    "sh",
    "base64",
    "cat",
    "chmod",
    "cut",
    "date",
    "dd",
    "env",
    "flock",
    "grep",
    "head",
    "id",
    "ln",
    "mkdir",
    "mv",
    "pwd",
    "rm",
    "sed",
    "seq",
    "setsid",
    "sha256sum",
    "sleep",
    "tail",
    "touch",
    "tr",
    "wc",
];

/// What stands for `sh` and its programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shell {
    /// `/bin/sh`, whatever it is.
    System,
    /// bash, as `sh`.
    Bash,
    /// BusyBox, its programs too.
    BusyBox,
}

/// Those that are here.
pub(crate) fn shells() -> Vec<Shell> {
    let mut shells = vec![Shell::System];
    shells.extend(program("bash").map(|_| Shell::Bash));
    shells.extend(program("busybox").map(|_| Shell::BusyBox));
    shells
}

/// The programs for HTTP that are here.
pub(crate) fn clients() -> Vec<&'static str> {
    let clients: Vec<_> = ["curl", "python3", "wget"].into_iter().filter(|name| program(name).is_some()).collect();
    assert!(!clients.is_empty(), "there is curl, python3 or wget");
    clients
}

/// The system's shell with every client, and the other shells with one.
pub(crate) fn pairs() -> Vec<(Shell, &'static str)> {
    let others = shells().into_iter().skip(1).map(|shell| (shell, clients()[0]));
    clients().into_iter().map(|client| (Shell::System, client)).chain(others).collect()
}

/// A program's path; of Python's, that of the interpreter itself.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path =
        std::env::split_paths(&std::env::var_os("PATH")?).map(|directory| directory.join(name)).find(|path| path.is_file())?;
    if name != "python3" {
        return Some(path);
    }
    let output = Command::new(path).args(["-c", "import sys; print(sys.executable)"]).output().ok()?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
}

/// What BusyBox can be called, a name a line.
fn applets() -> String {
    String::from_utf8(Command::new("busybox").arg("--list").output().unwrap().stdout).unwrap()
}

pub(crate) struct Place {
    pub(crate) root: TempDir,
    pub(crate) server: Server,
}

impl Place {
    pub(crate) fn new(shell: Shell, client: &str) -> Self {
        let place = Self { root: TempDir::new().unwrap(), server: Server::new() };
        let bin = place.path("bin");
        fs::create_dir(&bin).unwrap();
        let applets = if shell == Shell::BusyBox { applets() } else { String::new() };
        for name in PROGRAMS {
            let source = match (shell, name) {
                (Shell::BusyBox, _) => program("busybox").filter(|_| applets.lines().any(|applet| applet == name)),
                (Shell::Bash, "sh") => program("bash"),
                (_, "sh") => Some("/bin/sh".into()),
                _ => program(name),
            };
            // Of those without any, some may be missing, flock and setsid: the runner does without.
            if let Some(source) = source {
                symlink(source, bin.join(name)).unwrap();
            }
        }
        // Whatever a program gets as an argument, every user of the machine can read.
        let real = program(client).unwrap();
        place.script(
            client,
            &format!("printf '%s\\n' \"$@\" >>{}\nexec {} \"$@\"", place.path("arguments").display(), real.display()),
        );
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// The text of a file that an operation made.
    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// A program of the machine.
    pub(crate) fn script(&self, name: &str, text: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            base: self.path("base").to_str().unwrap().into(),
            tries: 2,
            retry_delay: Duration::ZERO,
            grace: Duration::ZERO,
            ..Options::default()
        }
    }

    /// A machine that reports, with these operations of a component `web`.
    pub(crate) fn machine(&self, operations: Vec<Operation>) -> Machine {
        let mut machine = Machine::new("m", "m", Duration::from_secs(60));
        machine.components.push(Component { name: "web".into(), operations });
        machine.report = Some(Report::new(format!("{}/reports?of=m&x=[1]{{2}}", self.server.address), TOKEN));
        machine
    }

    /// Writes what cloud-init would.
    pub(crate) fn install(&self, machine: &Machine) {
        let options = self.options();
        let document = user_data(machine, &options).unwrap();
        for (path, mode, content) in files(document.as_str()) {
            let path = if path.starts_with(&options.base) { path.into() } else { self.path("boot") };
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    /// What cloud-init starts at each boot.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(self.path("bin/sh"));
        command.arg(self.path("boot")).env_clear().env("PATH", self.path("bin")).stdin(Stdio::null()).current_dir(&self.root);
        command
    }

    /// Boots the machine; the exit status of the runner, and what it says.
    pub(crate) fn boot(&self) -> (i32, String) {
        let Output { status, stdout, stderr } = self.command().output().unwrap();
        let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
        (status.code().unwrap(), text)
    }

    /// Boots the machine, which has to succeed.
    pub(crate) fn succeed(&self) {
        assert_eq!(self.boot(), (0, String::new()));
    }

    /// A line for a script, and what tells when neither the process that ran it nor any that it started lives.
    pub(crate) fn witness(&self) -> (String, mpsc::Receiver<()>) {
        let path = self.path("witness");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let (sender, receiver) = mpsc::channel();
        let line = format!("exec 8>{}", path.display());
        std::thread::spawn(move || {
            // It ends when nobody can write any more.
            fs::read(path).unwrap();
            sender.send(())
        });
        (line, receiver)
    }

    /// Arguments of the program for HTTP.
    pub(crate) fn arguments(&self) -> String {
        self.text("arguments")
    }
}

/// Path, mode and content of the files in a document.
pub(crate) fn files(document: &str) -> Vec<(String, u32, Vec<u8>)> {
    let document = yaml::read(document);
    let entries = document["write_files"].as_array().cloned().unwrap_or_default();
    let file = |entry: serde_json::Value| {
        let text = |key: &str| entry[key].as_str().unwrap().to_owned();
        let content = STANDARD.decode(text("content")).unwrap();
        let content = match text("encoding").as_str() {
            "b64" => content,
            "gz+b64" => {
                let mut plain = Vec::new();
                flate2::read::GzDecoder::new(content.as_slice()).read_to_end(&mut plain).unwrap();
                plain
            }
            other => panic!("{other}"),
        };
        (text("path"), u32::from_str_radix(&text("permissions"), 8).unwrap(), content)
    };
    entries.into_iter().map(file).collect()
}

pub(crate) fn shell(name: Lifecycle, script: &str) -> Operation {
    Operation::new(name, Kind::Shell, Source::Inline(script.into()))
}

/// A process that is there and has not ended.
pub(crate) fn lives(pid: &str) -> bool {
    let status = fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
    status.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
