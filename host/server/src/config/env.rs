//! The environment variables of Ostler, in one table: what overrides the file, and what else is known.

use super::problem::{Problem, Severity};

/// One environment variable.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// The key of the configuration that it overrides, if it does.
    pub key: Option<&'static str>,
    /// What it does, for people.
    pub about: &'static str,
}

/// How the names of all variables begin.
const PREFIX: &str = "OSTLER_";

/// All variables that begin with `OSTLER_` and mean something. An empty value counts as not set.
pub const VARIABLES: &[Variable] = &[
    Variable { name: "OSTLER_LISTEN", key: Some("server.listen"), about: "address for plain HTTP" },
    Variable { name: "OSTLER_LISTEN_TLS", key: Some("server.listen_tls"), about: "address for HTTPS" },
    Variable { name: "OSTLER_PUBLIC_URL", key: Some("server.public_url"), about: "how clients reach the server" },
    Variable { name: "OSTLER_STORE_URL", key: Some("store.url"), about: "the database" },
    Variable { name: "OSTLER_DRIVERS_DIRECTORY", key: Some("drivers.directory"), about: "the watched directory of drivers" },
    Variable { name: "OSTLER_LOG", key: Some("log.filter"), about: "what is logged" },
    Variable { name: "OSTLER_ADMIN_PASSWORD", key: None, about: "the first administrator's password" },
    Variable { name: "OSTLER_CONFIG", key: None, about: "the configuration file" },
    Variable { name: "OSTLER_DATA", key: None, about: "the data directory" },
    Variable { name: "OSTLER_SERVER", key: None, about: "the server that the commands talk to" },
    Variable { name: ostler_core::kill::VARIABLE, key: None, about: "for tests: the place at which the process dies" },
    Variable {
        name: ostler_core::scheduler::fault::VARIABLE,
        key: None,
        about: "for tests: the step at which an operation breaks",
    },
    Variable { name: "OSTLER_TOKEN", key: None, about: "the token with which the commands talk to it" },
];

/// The variable that overrides a key.
pub(super) fn overriding(key: &str) -> Option<&'static str> {
    VARIABLES.iter().find(|variable| variable.key == Some(key)).map(|variable| variable.name)
}

/// A warning for each name that begins with `OSTLER_` and means nothing, most likely a slip. Give it the names of the
/// process's environment.
pub fn unknown_variables(names: impl IntoIterator<Item = String>) -> Vec<Problem> {
    let mut unknown: Vec<String> =
        names.into_iter().filter(|name| name.starts_with(PREFIX) && VARIABLES.iter().all(|known| known.name != name)).collect();
    unknown.sort_unstable();
    unknown
        .iter()
        .map(|name| {
            let mut problem = Problem::elsewhere(Severity::Warning, "environment", name, "unknown variable, it has no effect");
            let known = VARIABLES.iter().filter_map(|known| known.name.strip_prefix(PREFIX));
            let nearest = super::reader::nearest(name.trim_start_matches(PREFIX), known);
            problem.help = nearest.map(|known| format!("did you mean `{PREFIX}{known}`?"));
            problem
        })
        .collect()
}
