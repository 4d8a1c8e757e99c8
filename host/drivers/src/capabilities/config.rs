//! `config`: the cloud's configuration.

use crate::guest::Guest;
use crate::host::INSTANCE;
use crate::v0_1::imports::config::Host;

impl Host for Guest {
    fn cloud(&mut self) -> wasmtime::Result<String> {
        Ok(self.cloud.settings.name.clone())
    }

    fn get(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        let own = || self.cloud.settings.instance.clone().filter(|_| key == INSTANCE);
        Ok(self.cloud.settings.config.get(&key).cloned().or_else(own))
    }

    fn entries(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(self.cloud.settings.config.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}
