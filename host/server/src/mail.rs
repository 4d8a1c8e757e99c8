//! Mail, by the server of the configuration.

use crate::app::StartError;
use crate::config;
use async_trait::async_trait;
use ostler_core::identity::{Letter, Mail};
use ostler_mail::{Config, Sender};
use secrecy::ExposeSecret;

/// Whoever takes the letters of the use cases.
pub struct Post(Sender);

impl Post {
    /// By this server.
    pub fn new(mail: &config::Mail) -> Result<Self, StartError> {
        let read =
            |path: &std::path::PathBuf| std::fs::read(path).map_err(|source| StartError::File { path: path.clone(), source });
        let config = Config {
            server: mail.server.clone(),
            port: mail.port,
            tls: mail.tls,
            credentials: mail.user.clone().zip(mail.password.as_ref().map(|password| password.value.clone())),
            from: mail.from.clone(),
            ca_pem: mail.ca.as_ref().map(read).transpose()?,
        };
        Sender::new(config).map(Self).map_err(|error| StartError::Config(format!("mail: {error}")))
    }
}

#[async_trait]
impl Mail for Post {
    async fn send(&self, letter: &Letter) -> Result<(), String> {
        self.0.send(&letter.to, &letter.subject, letter.text.expose_secret()).await.map_err(|error| error.to_string())
    }
}
