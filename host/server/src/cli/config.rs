//! `ostler config`.

use super::{Data, say};
use crate::config::{Added, Config, Problems, Severity, VARIABLES};
use clap::Subcommand;
use ostler_core::clouds::CloudFiles;
use std::path::PathBuf;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Check a configuration and the clouds that were added on the data directory, and say what would be served. Every problem is
    /// shown with file, line and column.
    Check {
        /// The configuration file.
        #[arg(value_name = "FILE", env = "OSTLER_CONFIG", default_value = "ostler.toml")]
        file: PathBuf,
        #[command(flatten)]
        data: Data,
    },
    /// List the environment variables that override the configuration.
    Environment,
}

impl Command {
    pub(super) fn run(self) -> Result<(), String> {
        match self {
            Self::Check { file, data } => {
                let environment = |name: &str| std::env::var(name).ok();
                let mut config = Config::load(Some(&file), &environment).map_err(|problems| format!("\n{problems}"))?;
                let added = Added::read(&CloudFiles::of(&data.directory), &config.clouds, &environment);
                if added.problems.iter().any(|problem| problem.severity == Severity::Error) {
                    return Err(format!("\n{}", Problems(added.problems)));
                }
                for warning in config.warnings.iter().chain(&added.problems) {
                    super::complain(&warning.to_string());
                }
                config.clouds.extend(added.clouds);
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
