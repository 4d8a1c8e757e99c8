//! `ostler callback`.

use super::{Data, say};
use crate::callbacks::Secrets;
use clap::Subcommand;
use secrecy::ExposeSecret;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Show the secret with which receivers of callbacks verify signatures (Standard Webhooks). Reads the data directory.
    Secret {
        #[command(flatten)]
        data: Data,
    },
}

impl Command {
    pub(super) fn run(self) -> Result<(), String> {
        let Self::Secret { data } = self;
        // The server makes it when it starts: whoever asks on another machine, or of another directory, gets no secret of nobody's.
        let secrets = Secrets::open(&data.directory).map_err(|error| error.to_string())?;
        say(secrets.first().expose_secret());
        Ok(())
    }
}
