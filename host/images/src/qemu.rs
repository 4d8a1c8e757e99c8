//! `qemu-img`, which looks at a qcow2 image and writes it anew: as a child without environment and input, with limits on time,
//! memory and what it writes, which ends with whoever waits for it.

use crate::{Error, NO_ROOM};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// How long a look may take.
const LOOK: Duration = Duration::from_secs(60);
/// Processor seconds of a look and of a rewriting.
const LOOK_CPU: u64 = 30;
const REWRITE_CPU: u64 = 4 * 3600;
/// Bytes of address space: threads' stacks and arenas are most of it.
const MEMORY: u64 = 4 << 30;
/// Bytes of its output that are read.
const OUTPUT: u64 = 1 << 20;
/// How nice it is to others.
const NICE: i32 = 10;

/// The program, where `PATH` leads to it.
pub(crate) fn installed() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let program = |directory: PathBuf| Some(directory.join("qemu-img")).filter(|program| is_program(program));
    std::env::split_paths(&path).filter(|directory| directory.is_absolute()).find_map(program)
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

/// The program on files of one directory.
pub(crate) struct Qemu<'a> {
    pub(crate) program: &'a Path,
    pub(crate) directory: &'a Path,
    /// Bytes that may be written.
    pub(crate) room: u64,
}

impl Qemu<'_> {
    /// Looks once more whether an image refers to anything.
    pub(crate) async fn look(&self, file: &str, disk_bytes: u64) -> Result<(), Error> {
        // Never without a format: it must not be guessed. The path is no protocol's because of its beginning.
        let file = format!("./{file}");
        let arguments = ["info", "--output=json", "-f", "qcow2", &file];
        let run = self.run(&arguments, LOOK_CPU, 0);
        let Ok(output) = tokio::time::timeout(LOOK, run).await else {
            return Err(Error::refused("the qcow2 image takes too long to be looked at"));
        };
        judge(&output?, disk_bytes)
    }

    /// Writes an image anew.
    pub(crate) async fn rewrite(&self, from: &str, to: &str, disk_bytes: u64) -> Result<(), Error> {
        let (from, to) = (format!("./{from}"), format!("./{to}"));
        // The tables take less than a hundredth.
        let bytes = disk_bytes.saturating_add(disk_bytes / 100).saturating_add(64 << 20);
        let written = bytes.min(self.room);
        let arguments = ["convert", "-f", "qcow2", "-O", "qcow2", "-o", "compat=1.1,cluster_size=65536", &from, &to];
        match self.run(&arguments, REWRITE_CPU, written).await {
            // The bound was the room, not the disk.
            Err(Error::Refused(_)) if written < bytes && self.full(&to, written) => Err(Error::interrupted(NO_ROOM)),
            result => result.map(drop),
        }
    }

    fn full(&self, to: &str, bound: u64) -> bool {
        std::fs::metadata(self.directory.join(to)).is_ok_and(|about| about.len().saturating_add(16 << 20) >= bound)
    }

    #[allow(unsafe_code)]
    async fn run(&self, arguments: &[&str], cpu: u64, file: u64) -> Result<Vec<u8>, Error> {
        let mut command = Command::new(self.program);
        command.args(arguments).current_dir(self.directory).env_clear().kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let limits =
            [(Resource::Cpu, cpu), (Resource::Fsize, file), (Resource::As, MEMORY), (Resource::Core, 0), (Resource::Nofile, 64)];
        // SAFETY: between fork and exec only system calls are made, on values that were made before.
        unsafe {
            command.pre_exec(move || {
                for (resource, limit) in limits {
                    setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })?;
                }
                rustix::thread::set_no_new_privs(true)?;
                // To be less nice than others is no reason to fail.
                let _ = rustix::process::nice(NICE);
                Ok(())
            });
        }
        let mut child = command.spawn()?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (output, errors, status) = tokio::join!(all(stdout), all(stderr), child.wait());
        let status = status?;
        if status.success() {
            return Ok(output);
        }
        Err(failure(status, &errors))
    }
}

/// What a pipe has. What is too much is read on, so that nobody waits, and forgotten.
async fn all(pipe: Option<impl tokio::io::AsyncRead + Unpin>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // A pipe that breaks has ended.
        let _ = (&mut pipe).take(OUTPUT).read_to_end(&mut bytes).await;
        let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
    }
    bytes
}

fn failure(status: ExitStatus, errors: &[u8]) -> Error {
    if let Some(signal) = status.signal() {
        return Error::refused(format!("the qcow2 image takes more than is permitted to be read (signal {signal})"));
    }
    let text = String::from_utf8_lossy(errors);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    if text.contains("No space left") || text.contains("Cannot allocate memory") {
        return Error::interrupted(if text.contains("No space") {
            NO_ROOM
        } else {
            "there is not enough memory to read the image"
        });
    }
    let line: String = line.chars().filter(|c| !c.is_control()).take(200).collect();
    Error::refused(format!("the qcow2 image cannot be read: {}", line.trim_start_matches("qemu-img: ")))
}

/// What the look found.
fn judge(output: &[u8], disk_bytes: u64) -> Result<(), Error> {
    let refuse = |why: &str| Err(Error::refused(format!("the qcow2 image {why}")));
    let Ok(about) = serde_json::from_slice::<Value>(output) else { return refuse("cannot be looked at") };
    let format = about.get("format").and_then(Value::as_str);
    let size = about.get("virtual-size").and_then(Value::as_u64);
    if format != Some("qcow2") || size != Some(disk_bytes) {
        return refuse("is not what its header says");
    }
    if about.as_object().is_some_and(|about| about.keys().any(|key| key.contains("backing"))) {
        return refuse("refers to another image (a backing file)");
    }
    let data = about.pointer("/format-specific/data");
    if data.and_then(Value::as_object).is_some_and(|data| data.contains_key("data-file") || data.contains_key("encrypt")) {
        return refuse("refers to another file, or is encrypted");
    }
    let set = |pointer: &str| about.pointer(pointer).is_some_and(|value| value != &Value::Bool(false));
    if set("/encrypted") || set("/dirty-flag") || set("/format-specific/data/corrupt") {
        return refuse("is encrypted, or was not closed properly");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_look_finds_what_a_header_may_hide() {
        let good = json!({
            "virtual-size": 1024, "filename": "./a.part", "format": "qcow2", "dirty-flag": false,
            "format-specific": {"type": "qcow2", "data": {"compat": "1.1", "corrupt": false}},
        });
        assert!(judge(good.to_string().as_bytes(), 1024).is_ok());
        assert!(judge(good.to_string().as_bytes(), 2048).is_err() && judge(b"", 1024).is_err());
        for (at, value) in [
            ("/format", json!("raw")),
            ("/backing-filename", json!("/etc/shadow")),
            ("/full-backing-filename", json!("json:{}")),
            ("/encrypted", json!(true)),
            ("/dirty-flag", json!(true)),
            ("/format-specific/data/corrupt", json!(true)),
            ("/format-specific/data/data-file", json!("/etc/shadow")),
            ("/format-specific/data/encrypt", json!({})),
        ] {
            let mut bad = good.clone();
            let (parent, key) = at.rsplit_once('/').unwrap();
            bad.pointer_mut(parent).unwrap()[key] = value;
            assert!(judge(bad.to_string().as_bytes(), 1024).is_err(), "{at}");
        }
    }
}
