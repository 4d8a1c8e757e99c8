//! The command line: one file a command.

mod callback;
mod cert;
mod cloud;
mod config;
mod credit;
mod driver;
mod remote;
mod serve;
mod token;
mod user;
mod work;

use clap::{Args, Parser, Subcommand};
use comfy_table::{Table, presets};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// A host for WebAssembly cloud drivers, behind four cloud-management APIs.
#[derive(Parser)]
#[command(name = "ostler", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve (the default). Without --config this is development mode: loopback only, clouds `default` and `fake_driver`.
    Serve(serve::Serve),
    /// Look at the configuration.
    #[command(subcommand)]
    Config(config::Command),
    /// List, show, install, remove and roll back the drivers of a running server.
    #[command(subcommand)]
    Driver(driver::Command),
    /// List, show, add, test, remove and import the clouds of a running server.
    #[command(subcommand)]
    Cloud(cloud::Command),
    /// List, show, retry, cancel and abandon operations of several steps on a running server.
    #[command(subcommand)]
    Work(work::Command),
    /// Add, list, show, change, disable and enable the users of a running server.
    #[command(subcommand)]
    User(user::Command),
    /// Make, list and revoke users' tokens.
    #[command(subcommand)]
    Token(token::Command),
    /// List, show, revoke and renew the certificates that a running server issued.
    #[command(subcommand)]
    Cert(cert::Command),
    /// Show users' credit and its history, and give credit.
    #[command(subcommand)]
    Credit(credit::Command),
    /// What receivers of callbacks need to know.
    #[command(subcommand)]
    Callback(callback::Command),
    /// Print the OpenAPI document of Ostler's own API.
    Openapi,
}

/// Where files are kept.
#[derive(Args, Clone)]
struct Data {
    /// The data directory: database, keys, compiled drivers.
    #[arg(long = "data", value_name = "DIR", env = "OSTLER_DATA", default_value = "ostler-data")]
    directory: PathBuf,
}

/// Runs the command.
pub fn run() -> ExitCode {
    // Two rustls providers in one process panic; this one is ours.
    let _ = crate::tls::provider().install_default();
    // Without a command: serve.
    let mut arguments: Vec<_> = std::env::args_os().collect();
    if arguments.len() < 2 {
        arguments.push("serve".into());
    }
    let result = match Cli::parse_from(arguments).command {
        Command::Serve(serve) => serve.run(),
        Command::Config(command) => command.run(),
        Command::Driver(command) => command.run(),
        Command::Cloud(command) => command.run(),
        Command::Work(command) => command.run(),
        Command::User(command) => command.run(),
        Command::Token(command) => command.run(),
        Command::Cert(command) => command.run(),
        Command::Credit(command) => command.run(),
        Command::Callback(command) => command.run(),
        Command::Openapi => openapi(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            complain(&message);
            ExitCode::FAILURE
        }
    }
}

fn openapi() -> Result<(), String> {
    let text = crate::api::native::document().to_pretty_json().map_err(|error| error.to_string())?;
    say(&text);
    Ok(())
}

/// Prints a line for whoever called us. A closed pipe is not our failure.
fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints JSON, for programs.
fn say_json(value: &impl Serialize) -> Result<(), String> {
    say(&serde_json::to_string_pretty(value).map_err(|error| error.to_string())?);
    Ok(())
}

/// A table, as all commands print theirs.
fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}

/// What stands in a table where there is nothing.
fn or_dash(text: Option<String>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".into())
}

fn complain(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "ostler: {text}");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::Cli;
    use clap::CommandFactory;
    use ostler_core::identity::{PERMISSIONS, ROLES};

    /// The words of a help, without what separates them.
    fn help(path: &[&str]) -> Vec<String> {
        let mut command = Cli::command();
        let found = path.iter().fold(&mut command, |command, name| command.find_subcommand_mut(name).unwrap());
        let text = found.render_long_help().to_string();
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        text.split(|c| !word(c)).map(|word| word.trim_end_matches('.').to_owned()).collect()
    }

    #[test]
    fn helps_name_all_that_can_be_given() {
        let roles = ROLES.map(|role| role.as_str()).to_vec();
        let scopes = PERMISSIONS.map(|permission| permission.as_str()).to_vec();
        for (path, names) in [(["user", "add"], &roles), (["user", "role"], &roles), (["token", "create"], &scopes)] {
            let words = help(&path);
            let missing: Vec<_> = names.iter().filter(|name| !words.iter().any(|word| word == *name)).collect();
            assert!(missing.is_empty(), "{path:?} has no word of {missing:?}");
        }
    }
}
