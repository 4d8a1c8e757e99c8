//! `ostler config`.

use super::say;
use crate::config::{Config, VARIABLES};
use clap::Subcommand;
use std::path::PathBuf;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Check a configuration, and say what it would serve. Every problem is shown with file, line and column.
    Check {
        /// The configuration file.
        #[arg(value_name = "FILE", env = "OSTLER_CONFIG", default_value = "ostler.toml")]
        file: PathBuf,
    },
    /// List the environment variables that override the configuration.
    Environment,
}

impl Command {
    pub(super) fn run(self) -> Result<(), String> {
        match self {
            Self::Check { file } => {
                let config =
                    Config::load(Some(&file), &|name| std::env::var(name).ok()).map_err(|problems| format!("\n{problems}"))?;
                for warning in &config.warnings {
                    super::complain(&warning.to_string());
                }
                say(&config.check_report());
            }
            Self::Environment => {
                for variable in VARIABLES {
                    say(&format!("{:<28} {}", variable.name, variable.about));
                }
            }
        }
        Ok(())
    }
}
