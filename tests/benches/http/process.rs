//! Processes: the server under test, what the system says of a process, and where files go.

use ostler_tests::components::target;
use ostler_tests::server::program;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Both the server and the reference get so many threads, whatever the machine has: more would let the load generator, which has
/// one, bound them both and the ratio mean nothing.
pub(crate) const THREADS: &str = "2";
/// No start takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory on the disk of the build (temporary ones are often in memory, where a commit costs nothing), gone at the end.
pub(crate) struct Scratch(tempfile::TempDir);

impl Scratch {
    pub(crate) fn new() -> Self {
        let directory = target().join("bench");
        std::fs::create_dir_all(&directory).expect("target/bench can be made");
        Self(tempfile::Builder::new().prefix("run-").tempdir_in(directory).expect("a directory in target/bench can be made"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("a file in target/bench can be written");
        path
    }
}

/// A child process that says where it listens. Dies with this value.
pub(crate) struct Listening {
    child: Child,
    /// Where.
    pub(crate) address: SocketAddr,
    /// From the start of the process to the line that says so.
    pub(crate) ready: Duration,
}

impl Listening {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let started = Instant::now();
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let output = child.stdout.take().expect("it is piped");
        let (sender, lines) = mpsc::channel();
        // Reads to the end, so that the child never waits for somebody to read.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send((Instant::now(), line));
            }
        });
        loop {
            let left = PATIENCE.saturating_sub(started.elapsed());
            let Ok((at, line)) = lines.recv_timeout(left) else {
                let _ = child.kill();
                panic!("{command:?} did not say where it listens: {:?}", child.wait());
            };
            if let Some((_, address)) = line.split_once("listening on http://") {
                let address = address.trim().parse().expect("an address follows");
                return Self { child, address, ready: at - started };
            }
        }
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it runs");
        let status = self.child.wait().expect("it was started here");
        assert!(status.success(), "the server ended with {status}");
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).expect("Linux tells about its processes")
    }

    /// Processor time used so far, in a resolution of 10 ms.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = self.read("stat");
        // The name in parentheses may hold spaces; user and system time are the 14th and 15th fields.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Resident memory in bytes: all, and the part that no file backs. Libraries of the system do not count, but for the usual
    /// ones: a program that is built with libvirt maps some forty more.
    pub(crate) fn memory(&self) -> (u64, u64) {
        const USUAL: [&str; 4] = ["/libc.", "/libm.", "/libgcc_s.", "/ld-linux"];
        let maps = self.read("smaps");
        let (mut counts, mut all, mut anonymous) = (true, 0, 0);
        for line in maps.lines() {
            let kilobytes = |name: &str| {
                line.strip_prefix(name).and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
            };
            if line.starts_with(|first: char| first.is_ascii_hexdigit() && !first.is_ascii_uppercase()) {
                counts = !line.contains(".so") || USUAL.iter().any(|name| line.contains(name));
            } else if counts {
                all += kilobytes("Rss:");
                anonymous += kilobytes("Anonymous:");
            }
        }
        (all * 1024, anonymous * 1024)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server under test.
pub(crate) struct Server(Listening);

impl std::ops::Deref for Server {
    type Target = Listening;

    fn deref(&self) -> &Listening {
        &self.0
    }
}

impl Server {
    /// Starts it; its log goes to a file beside the data directory.
    pub(crate) fn spawn(data: &Path, configuration: Option<&Path>) -> Self {
        let log = std::fs::File::create(data.with_extension("log")).expect("a log in target/bench can be written");
        let mut command = program();
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data).stderr(log);
        command.env("TOKIO_WORKER_THREADS", THREADS).env("OSTLER_ADMIN_PASSWORD", "only for the bench");
        if let Some(configuration) = configuration {
            command.arg("--config").arg(configuration);
        }
        Self(Listening::spawn(&mut command))
    }

    pub(crate) fn stop(self) {
        self.0.stop();
    }
}
