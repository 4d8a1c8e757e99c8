//! The document: what cloud-init reads, and the files of the runner in it.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::{Compression, GzBuilder};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{Error, Kind, Limit, Machine, Operation, Options, Report, Source, check, vars::vars};

/// The runner; the same for all machines.
const RUNNER: &str = include_str!("runner.sh");
/// Where cloud-init looks for what it starts at the end of each boot (module `scripts_per_boot`). Its own `runcmd` is for the first
/// boot only, and would not go on with work that a reboot interrupted.
const BOOT: &str = "/var/lib/cloud/scripts/per-boot/ostler";

/// User data. It holds the token and the inputs; [`fmt::Debug`] shows its length only.
#[derive(Clone, PartialEq, Eq)]
pub struct UserData(String);

impl UserData {
    /// The document, in ASCII.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The document, in ASCII.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Debug for UserData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserData(<{} bytes>)", self.0.len())
    }
}

/// A file on the machine.
struct File {
    path: String,
    executable: bool,
    content: Vec<u8>,
}

/// The `#cloud-config` document that makes of an image what the machine is to be.
///
/// # Errors
/// When something in the machine or the options cannot be, or the document is over [`Options::limit`].
pub fn user_data(machine: &Machine, options: &Options) -> Result<UserData, Error> {
    check::machine(machine, options)?;
    let files = files(machine, options)?;
    let text = document(machine, &files, options.compress);
    let (size, limit) = options.limit.measure(text.len());
    if size > limit {
        let compressed = (!options.compress).then(|| options.limit.measure(document(machine, &files, true).len()).0);
        return Err(Error::TooLarge { size, limit, base64: matches!(options.limit, Limit::Base64(_)), compressed });
    }
    Ok(UserData(text))
}

/// A mapping, each of its values in JSON, which is YAML; all texts are ASCII.
fn document(machine: &Machine, files: &[File], compress: bool) -> String {
    let mut text = String::from("#cloud-config\n");
    let mut entry = |key: &str, value: &Value| {
        let _ = writeln!(text, "{key}: {value}");
    };
    if let Some((label, _)) = machine.hostname.split_once('.') {
        entry("hostname", &label.into());
        entry("fqdn", &machine.hostname.as_str().into());
    } else {
        entry("hostname", &machine.hostname.as_str().into());
    }
    let keys: Vec<_> = machine.ssh_keys.iter().filter_map(|key| check::ssh_key(key)).collect();
    if !keys.is_empty() {
        entry("ssh_authorized_keys", &keys.into());
    }
    if !machine.packages.is_empty() {
        entry("package_update", &true.into());
        entry("packages", &machine.packages.clone().into());
    }
    if !files.is_empty() {
        text.push_str("write_files:\n");
    }
    for file in files {
        let packed = if compress { Some(packed(&file.content)) } else { None };
        let (encoding, content) = match &packed {
            Some(packed) if packed.len() < file.content.len() => ("gz+b64", packed),
            _ => ("b64", &file.content),
        };
        let value = json!({
            "path": file.path,
            "permissions": if file.executable { "0700" } else { "0600" },
            "encoding": encoding,
            "content": STANDARD.encode(content),
        });
        let _ = writeln!(text, "- {value}");
    }
    text
}

/// Without a time, so that the same content is the same document.
fn packed(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::best());
    // Writing to memory does not fail; if it did, the content is longer than nothing, and nothing is not taken.
    match encoder.write_all(content) {
        Ok(()) => encoder.finish().unwrap_or_else(|_| content.to_vec()),
        Err(_) => content.to_vec(),
    }
}

fn files(machine: &Machine, options: &Options) -> Result<Vec<File>, Error> {
    let base = &options.base;
    let operations = || {
        machine.components.iter().flat_map(|component| component.operations.iter().map(move |operation| (component, operation)))
    };
    if machine.report.is_none() && operations().next().is_none() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    let mut add = |name: &str, content: Vec<u8>| {
        files.push(File { path: format!("{base}/{name}"), executable: false, content });
    };
    let mut plan = String::new();
    if let Some(Report { url, token, ca_pem }) = &machine.report {
        let url = check::address(url, options.plain_http).map_err(Error::ReportUrl)?;
        let _ = writeln!(plan, "report {url}");
        add("token", format!("{}\n", token.expose_secret()).into_bytes());
        if let Some(pem) = ca_pem {
            add("ca.pem", pem.clone().into_bytes());
        }
    }
    let Options { output, outputs, tries, retry_delay, grace, .. } = options;
    let _ = writeln!(
        plan,
        "output {output}\noutputs {outputs}\ntries {tries}\ndelay {}\ngrace {}",
        retry_delay.as_secs(),
        grace.as_secs()
    );
    for (index, (component, operation)) in operations().enumerate() {
        let number = format!("{:03}", index + 1);
        let seconds = check::deadline(machine, operation)?;
        let kind = if operation.kind == Kind::Ansible { "ansible" } else { "shell" };
        let source = match &operation.source {
            Source::Inline(text) => {
                add(&format!("ops/{number}.script"), text.clone().into_bytes());
                "inline"
            }
            Source::Url(url) => {
                // It was checked with the machine; whether `http` will do is settled.
                let url = check::address(url, true).unwrap_or_default();
                add(&format!("ops/{number}.url"), format!("{url}\n").into_bytes());
                "url"
            }
        };
        if let Some((suffix, content)) = inputs(operation) {
            add(&format!("ops/{number}.{suffix}"), content.into_bytes());
        }
        let digest = operation.sha256.map_or_else(|| "-".into(), |digest| hex(&digest));
        // JSON has no line feeds, so this is one line, whatever the name.
        let name = Value::from(component.name.as_str());
        let _ = writeln!(
            plan,
            "op {number} {kind} {seconds} {source} {digest} \"component\":{name},\"operation\":\"{}\"",
            operation.name
        );
    }
    // What has succeeded under this mark is not repeated.
    let mut mark = Sha256::new();
    mark.update((machine.name.len() as u64).to_be_bytes());
    mark.update(machine.name.as_bytes());
    mark.update((plan.len() as u64).to_be_bytes());
    mark.update(plan.as_bytes());
    for file in &files {
        mark.update((file.content.len() as u64).to_be_bytes());
        mark.update(&file.content);
    }
    let mark = hex(mark.finalize().get(..8).unwrap_or_default());
    files.push(File { path: format!("{base}/plan"), executable: false, content: format!("id {mark}\n{plan}").into_bytes() });
    files.push(File { path: format!("{base}/runner"), executable: true, content: RUNNER.into() });
    let start = format!("#!/bin/sh\nexec sh {base}/runner {base}\n");
    files.push(File { path: BOOT.into(), executable: true, content: start.into_bytes() });
    Ok(files)
}

/// The file of an operation's inputs, and the end of its name.
fn inputs(operation: &Operation) -> Option<(&'static str, String)> {
    match operation.kind {
        Kind::Ansible => Some(("vars", vars(&operation.inputs))),
        Kind::Shell if operation.inputs.is_empty() => None,
        Kind::Shell => {
            let mut lines = String::new();
            for (name, value) in &operation.inputs {
                let _ = writeln!(lines, "{name} {}", STANDARD.encode(check::variable(value).as_bytes()));
            }
            Some(("env", lines))
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
