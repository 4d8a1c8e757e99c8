//! The command line: one file a command.

mod config;
mod driver;
mod remote;
mod serve;

use clap::{Args, Parser, Subcommand};
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

fn complain(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "ostler: {text}");
}
