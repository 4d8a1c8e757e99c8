//! `secrets`: what the operator configured for this cloud, and nothing else.

use crate::guest::Guest;
use crate::v0_1::imports::secrets::Host;
use ::secrecy::ExposeSecret;

impl Host for Guest {
    fn get(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        Ok(self.cloud.settings.secrets.get(&name).map(|secret| secret.expose_secret().to_owned()))
    }
}
