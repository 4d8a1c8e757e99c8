//! What a machine has to do.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use indexmap::IndexMap;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

/// A machine as it is to become.
#[derive(Debug, Clone)]
pub struct Machine {
    /// What the host calls it. It is not seen on the machine; the same plan for another name starts anew.
    pub name: String,
    /// A host name (RFC 1123); with dots, it is the fully qualified one.
    pub hostname: String,
    /// Public keys of the image's standard user, as lines of `authorized_keys` without options.
    pub ssh_keys: Vec<String>,
    /// Packages that are installed before the operations, by the names that the image's distribution has for them. Ansible
    /// operations need `ansible-core` or `ansible`, where the image has neither.
    pub packages: Vec<String>,
    /// What runs on it, each after what it requires.
    pub components: Vec<Component>,
    /// Where it reports to; without, it does its work in silence.
    pub report: Option<Report>,
    /// Deadline of an operation that has none of its own; whole seconds, from 1 second to 30 days.
    pub timeout: Duration,
}

impl Machine {
    /// A machine with nothing to do.
    pub fn new(name: impl Into<String>, hostname: impl Into<String>, timeout: Duration) -> Self {
        Self {
            name: name.into(),
            hostname: hostname.into(),
            ssh_keys: Vec::new(),
            packages: Vec::new(),
            components: Vec::new(),
            report: None,
            timeout,
        }
    }
}

/// A software component of a machine.
#[derive(Debug, Clone)]
pub struct Component {
    /// Any text of at most [`crate::MAX_NAME`] bytes; no two components of a machine share one.
    pub name: String,
    /// In the order in which they are carried out, none twice.
    pub operations: Vec<Operation>,
}

/// An operation of a component.
#[derive(Clone)]
pub struct Operation {
    /// Which one.
    pub name: Lifecycle,
    /// What understands its source.
    pub kind: Kind,
    /// The script or the playbook.
    pub source: Source,
    /// By name. Of shell operations they are names of environment variables: letters, digits and `_`, other than those that a shell
    /// sets itself and those that start with `OSTLER_`.
    pub inputs: IndexMap<String, Value>,
    /// SHA-256 of the source: nothing else is run.
    pub sha256: Option<[u8; 32]>,
    /// Its own deadline; see [`Machine::timeout`].
    pub timeout: Option<Duration>,
}

impl Operation {
    /// An operation without inputs.
    #[must_use]
    pub fn new(name: Lifecycle, kind: Kind, source: Source) -> Self {
        Self { name, kind, source, inputs: IndexMap::new(), sha256: None, timeout: None }
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("source", &self.source)
            .field("inputs", &self.inputs.keys().collect::<Vec<_>>())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Operations of TOSCA's `Standard` interface that bring a component up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lifecycle {
    /// `create`
    Create,
    /// `configure`
    Configure,
    /// `start`
    Start,
}

impl Lifecycle {
    /// The name in templates and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Configure => "configure",
            Self::Start => "start",
        }
    }
}

impl fmt::Display for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Lifecycle {
    type Err = ();

    /// # Errors
    /// For all other operations, such as `stop` and `delete`.
    fn from_str(name: &str) -> Result<Self, ()> {
        [Self::Create, Self::Configure, Self::Start].into_iter().find(|operation| operation.as_str() == name).ok_or(())
    }
}

/// What understands the source of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The interpreter that the script names, or `sh`.
    Shell,
    /// `ansible-playbook`, on the machine itself (`localhost`).
    Ansible,
}

/// Where the source of an operation comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// The text itself.
    Inline(String),
    /// The machine fetches it, at most 64 MiB, from `https`; with a digest, or from the machine itself, `http` will do.
    Url(String),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(text) => write!(f, "Inline(<{} bytes>)", text.len()),
            // Queries carry signatures, and user information passwords.
            Self::Url(url) => match url::Url::parse(url) {
                Ok(url) => write!(f, "Url({}{})", url.origin().ascii_serialization(), url.path()),
                Err(_) => f.write_str("Url(<not a URL>)"),
            },
        }
    }
}

/// Where a machine reports to.
#[derive(Debug, Clone)]
pub struct Report {
    /// `https`, or `http` of the machine itself (see also [`Options::plain_http`]). Not a place for secrets.
    pub url: String,
    /// A bearer token (RFC 6750, section 2.1) that admits reports of this machine.
    pub token: SecretString,
    /// Certificates, in PEM, of which one must vouch for the host; without, those that the image trusts.
    pub ca_pem: Option<String>,
}

impl Report {
    /// Reports to a host whose certificate the image trusts.
    pub fn new(url: impl Into<String>, token: impl Into<SecretString>) -> Self {
        Self { url: url.into(), token: token.into(), ca_pem: None }
    }
}

/// How the document is made.
#[derive(Debug, Clone)]
pub struct Options {
    /// Directory of the runner on the machine: a full path of letters, digits and `._-/`. Default `/var/lib/ostler`.
    pub base: String,
    /// Whether contents are compressed where that makes them shorter. Default true.
    pub compress: bool,
    /// What the provider takes. Default [`Limit::COMMON`].
    pub limit: Limit,
    /// Bytes of an operation's output, from its end, in a report. Default 16 KiB.
    pub output: usize,
    /// Bytes that an operation may write to `$OSTLER_OUTPUTS`; with more it has failed. Default 64 KiB.
    pub outputs: usize,
    /// How often the reports that wait are tried at the end of a run, 1 to 100. Default 10.
    pub tries: u64,
    /// Pause before a report is tried a second time, in whole seconds. Default 1 s.
    pub retry_delay: Duration,
    /// From `SIGTERM` to `SIGKILL`, in whole seconds. Default 10 s.
    pub grace: Duration,
    /// Whether reports may go over plain `http` to other machines. Whoever is on the way can read the token and change reports:
    /// only for networks that belong to the hypervisor. Default false.
    pub plain_http: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            base: "/var/lib/ostler".into(),
            compress: true,
            limit: Limit::COMMON,
            output: 16 << 10,
            outputs: 64 << 10,
            tries: 10,
            retry_delay: Duration::from_secs(1),
            grace: Duration::from_secs(10),
            plain_http: false,
        }
    }
}

/// How long user data may be, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Of the document.
    Text(usize),
    /// Of the document in base64.
    Base64(usize),
}

impl Limit {
    /// What the most narrow of the usual providers take (Amazon EC2): 16 KiB.
    pub const COMMON: Self = Self::Text(16 << 10);
    /// OpenStack Nova: 65,535 bytes of base64.
    pub const NOVA: Self = Self::Base64(65_535);
    /// NoCloud reads a file of any size; 1 MiB is a bound against mistakes.
    pub const NO_CLOUD: Self = Self::Text(1 << 20);

    /// What counts of a document, and how much of it is admitted.
    pub(crate) fn measure(self, bytes: usize) -> (usize, usize) {
        match self {
            Self::Text(limit) => (bytes, limit),
            Self::Base64(limit) => (bytes.div_ceil(3) * 4, limit),
        }
    }
}
